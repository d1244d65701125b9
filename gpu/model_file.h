/* The files of a model in memory: configuration, vocabulary, tensors; from a directory or from one file that carries them all.
 *
 * Owner: model_file_open, model_file_open_bytes / model_file_close.  Thread: one.
 * Failure: ERR_NOT_FOUND, ERR_IO, ERR_TOO_LARGE, ERR_INVALID, with the file's name.
 */
#ifndef GPU_MODEL_FILE_H
#define GPU_MODEL_FILE_H

#include "base/json_in.h"
#include "gpu/safetensors.h"

struct model_file {
    struct arena *arena;
    struct safetensors tensors;
    struct json_node *config;
    struct bytes config_text, vocab;
    bool pools_cls; /* what 1_Pooling/config.json says */
    bool keeps_case; /* what tokenizer_config.json says */
};

/* base: NULL, or a directory whose configuration, vocabulary and pooling go with `path`, a file of weights alone. */
enum err model_file_open(const char *path, const char *base, struct model_file *out,
                         struct err_msg *msg) MUST_CHECK;
/* The one-file form in memory, which must outlive `out`; name is for messages. */
enum err model_file_open_bytes(struct bytes file, const char *name, struct model_file *out,
                               struct err_msg *msg) MUST_CHECK;
void model_file_close(struct model_file *f);
/* What stands before "embeddings." in the names: nothing, "bert.", "enc.", …; data NULL: there is no table of words. */
struct bytes model_file_prefix(const struct safetensors *s);
/* The whole of a file; data is the arena's. */
enum err model_file_read(const char *path, size_t bytes_max, struct arena *a, struct bytes *out,
                         struct err_msg *msg) MUST_CHECK;

#endif
