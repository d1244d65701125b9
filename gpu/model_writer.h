/* Writes a safetensors file: tensors one after the other, the header in front of them when all are known.
 *
 * Owner: model_writer_init / model_writer_done.  Thread: one.
 * Failure: kept until model_writer_finish, which says it; a file that could not be written whole is not left behind.
 * Invariants: 1. Every data offset is a multiple of 4 as long as byte tensors come last (they are put last by the callers).
 */
#ifndef GPU_MODEL_WRITER_H
#define GPU_MODEL_WRITER_H

#include <stdio.h>

#include "base/json_out.h"
#include "gpu/safetensors.h"

struct model_writer {
    struct json_out json;
    struct buf header;
    FILE *data; /* a temporary file: offsets are known when the header is done */
    uint64_t at;
    bool failed;
};

/* Metadata first: pairs of the model_writer_meta, then tensors. */
enum err model_writer_init(struct model_writer *w, struct err_msg *msg) MUST_CHECK;
void model_writer_done(struct model_writer *w);
void model_writer_meta(struct model_writer *w, struct bytes key, struct bytes value);
void model_writer_meta_end(struct model_writer *w);
void model_writer_tensor(struct model_writer *w, struct bytes name, const char *suffix,
                         const char *type, uint32_t dims, const uint64_t *shape, const void *data,
                         size_t size);
/* A byte tensor "PREFIXname". */
void model_writer_bytes(struct model_writer *w, const char *prefix, struct bytes name,
                        struct bytes data);
/* A matrix as I8 with a scale per row, "NAME.scale": value = int8 x scale. */
void model_writer_int8(struct model_writer *w, const struct safetensor *t);
/* Writes the file. over: takes the place of a file that is there, at once or not at all; else such a file is ERR_IO. */
enum err model_writer_finish(struct model_writer *w, const char *to, bool over,
                             struct err_msg *msg) MUST_CHECK;

#endif
