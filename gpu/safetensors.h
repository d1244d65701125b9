/* A safetensors file: names, shapes and places of tensors in one block of bytes. Nothing is copied; nothing is believed before it is checked.
 *
 *     file := u64 LE header size, header (JSON: { name: { dtype, shape, data_offsets: [from, to] } }, "__metadata__": { text: text }), data
 * Owner: the arena given; slices point into the file's bytes.  Thread: any once opened.
 * Failure: ERR_INVALID with a sentence for any bytes that are not a safetensors file.
 * Limits: header SAFETENSORS_HEADER_MAX, tensors SAFETENSORS_TENSORS_MAX, four dimensions.
 * Invariants: 1. data.size == product of shape * size of dtype, inside the file.
 * Source: the format's description in its repository's README (little-endian, row-major).
 */
#ifndef GPU_SAFETENSORS_H
#define GPU_SAFETENSORS_H

#include "base/arena.h"

#define SAFETENSORS_HEADER_MAX (16u << 20)
#define SAFETENSORS_TENSORS_MAX 65536u

enum safetensors_type {
    SAFETENSORS_F32,
    SAFETENSORS_F16,
    SAFETENSORS_BF16,
    SAFETENSORS_I8,
    SAFETENSORS_U8,
    SAFETENSORS_I64,
    SAFETENSORS_OTHER
};

struct safetensor {
    struct bytes name, data;
    enum safetensors_type type;
    uint32_t dims;
    uint64_t shape[4];
};

struct safetensors {
    struct safetensor *tensor; /* sorted by name */
    uint32_t count;
    struct safetensor *metadata; /* name and data = key and value of __metadata__ */
    uint32_t metadata_count;
};

enum err safetensors_open(struct bytes file, struct arena *a, struct safetensors *out,
                          struct err_msg *msg) MUST_CHECK;
const struct safetensor *safetensors_find(const struct safetensors *s,
                                          struct bytes name); /* or NULL */
struct bytes safetensors_meta(const struct safetensors *s, const char *key); /* empty when absent */
/* The i-th value of a floating-point tensor as float. */
float safetensors_float(const struct safetensor *t, uint64_t i);
/* count of them from the i-th on. */
void safetensors_floats(const struct safetensor *t, uint64_t i, uint64_t count, float *out);
const char *safetensors_type_name(enum safetensors_type t);

#endif
