/* A model: configuration, vocabulary and weights of a BERT-family encoder, ready to run on this machine's processor.
 *
 * A directory as published (config.json, model.safetensors, vocab.txt, 1_Pooling/config.json where it has one), or one file that carries
 * them all (gpu_model_convert writes it: configuration in the metadata, vocabulary as a tensor of bytes).
 * Owner: gpu_model_open, gpu_model_open_bytes / gpu_model_close; immutable in between.  Thread: any.
 * Failure: ERR_NOT_FOUND, ERR_INVALID (broken, hostile, NaN), ERR_UNIMPLEMENTED (a kind of model that this program does not run); each with a
 *          sentence that names the file, tensor or key.
 * Limits: file GPU_MODEL_BYTES_MAX, hidden size 4,096, 64 layers, 8,192 positions.
 */
#ifndef GPU_GPU_MODEL_H
#define GPU_GPU_MODEL_H

#include "base/arena.h"
#include "gpu/gpu_tokens.h"

#define GPU_MODEL_BYTES_MAX (4ull << 30)

enum gpu_precision { GPU_F32, GPU_BF16, GPU_INT8, GPU_PRECISION_COUNT };
enum gpu_pooling { GPU_POOL_MEAN, GPU_POOL_CLS };
enum gpu_head { GPU_HEAD_NONE, GPU_HEAD_TOKEN, GPU_HEAD_SEQUENCE };

struct gpu_model;

enum err gpu_model_open(const char *path, enum gpu_precision precision, struct gpu_model **out,
                        struct err_msg *msg) MUST_CHECK;
/* The one-file form, in memory already (linked into the program, say). name is for messages. The bytes must outlive the model. */
enum err gpu_model_open_bytes(struct bytes file, const char *name, enum gpu_precision precision,
                              struct gpu_model **out, struct err_msg *msg) MUST_CHECK;
void gpu_model_close(struct gpu_model *m);

struct gpu_model_info {
    uint32_t layers, hidden, heads, inner, vocabulary, positions,
        labels; /* labels: of the head, else 0 */
    uint64_t parameters;
    enum gpu_pooling pooling;
    enum gpu_head head;
    enum gpu_precision precision; /* as it computes, which may be more than was asked for */
    const char *kernels; /* the set of kernels chosen */
    bool has_branch; /* the token head has weights of its own */
};
void gpu_model_info(const struct gpu_model *m, struct gpu_model_info *out);
const struct gpu_vocab *gpu_model_vocab(const struct gpu_model *m);
/* The vocabulary alone, of a directory or of the one-file form: no weights are looked at. */
enum err gpu_model_read_vocab(const char *path, struct gpu_vocab **out,
                              struct err_msg *msg) MUST_CHECK;
const char *gpu_precision_name(enum gpu_precision p);
bool gpu_precision_of(const char *name, enum gpu_precision *out); /* fp32, bf16, int8 */

/* Writes the one-file form: matrices as int8 with an F32 scale per row ("NAME.scale"), or as they are. Never over a file that is there.
 * base: NULL, or a directory that configuration and vocabulary are taken from when `from` is a file of weights alone. */
enum err gpu_model_convert(const char *from, const char *base, const char *to, bool int8,
                           struct err_msg *msg) MUST_CHECK;

/* Writes the one-file form of `base` with int8 matrices, and with it what the token head of `tuned` (the same model, fine-tuned) was trained with, as a
 * branch: a change of that rank to each matrix. Vectors come from the base, token logits from the branch. The tables of words and positions are the
 * base's for both: train with them frozen. A file at `to` is replaced at once or not at all. */
enum err gpu_model_branch(const char *base, const char *tuned, uint32_t rank, const char *to,
                          struct err_msg *msg) MUST_CHECK;

/* What else a one-file model carries for those who use it (trees, calibration): byte tensors named "extra.NAME". */
struct gpu_extra {
    const char *name; /* without "extra." */
    struct bytes data;
};
/* Empty when absent; lives as long as the model. */
struct bytes gpu_model_extra(const struct gpu_model *m, const char *name);
/* The same of a file that may carry no encoder at all; copied into the arena, empty when absent. */
enum err gpu_model_read_extra(struct bytes file, const char *name, struct arena *a,
                              struct bytes *out, struct err_msg *msg) MUST_CHECK;
/* The file written out again with these extras added or replaced; a file at `to` is replaced at once or not at all.
 * model_file of size 0: a file of extras alone. Tensors of a type that this program does not read are not carried over. */
enum err gpu_model_write_extras(struct bytes model_file, const struct gpu_extra *x, uint32_t n,
                                const char *to, struct err_msg *msg) MUST_CHECK;

#endif
