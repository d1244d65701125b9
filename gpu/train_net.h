/* The parameters of an encoder that is trained: one array of fp32 values with a table of tensors, and the matrices packed for this step.
 *
 * Owner: train_net_open / train_net_done.  Thread: read by all while a step runs; written between steps.
 * Failure: ERR_INVALID, ERR_UNIMPLEMENTED, ERR_NOMEM with a sentence.
 * Invariants: 1. Tensors lie in the table's order, each at a multiple of 16 floats; what is between them is zero and stays zero.
 *             2. The first tensor is the words' table: its gradient has rows only for words that were seen.
 */
#ifndef GPU_TRAIN_NET_H
#define GPU_TRAIN_NET_H

#include "gpu/model_file.h"
#include "gpu/train_attention.h"

struct train_tensor {
    char name[96]; /* without the model's prefix; head.* is as in files */
    size_t at; /* floats from the array's start */
    uint32_t rows, columns; /* rows 0: a vector */
    bool decays, is_head, is_factor;
};

struct train_matrix { /* [n, k] */
    size_t at;
    uint32_t n, k;
    train_cell *forward; /* panels [k, n]: y = x W^T */
    train_cell *back; /* panels [n, k]: dx = dy W */
};

struct train_layer {
    struct train_matrix qkv, out, in, down;
    size_t qkv_bias, out_bias, in_bias, down_bias; /* places in the array */
    size_t norm1[2], norm2[2];
};

struct train_change { /* of a matrix: places in the array of what is multiplied for it */
    size_t at, up, down;
    uint32_t n, k;
};

struct train_net {
    /* immutable after train_net_open */
    const struct train_set *set;
    uint32_t layers, hidden, heads, head_size, inner, vocabulary, positions, types;
    uint32_t ld, ld_qkv, ld_inner; /* floats between rows of activations */
    float epsilon;
    struct train_tensor *tensor;
    uint32_t tensors;
    size_t word, position, type, norm[2], head, head_bias;
    size_t floats, dense; /* of the array; where the tensors behind the words' table begin */
    uint32_t rank, changes; /* rank 0: matrices are trained as they are */
    struct train_change *change; /* [changes] */
    size_t factors; /* where up and down of the changes begin */
    float *start; /* [factors - dense]: the values before training; NULL without changes */
    struct train_layer *layer;
    char prefix[64];
    /* written between steps */
    float *weights; /* 64-byte aligned */
};

/* Reads everything that is trained out of a model's files. seed: of a head that has to be made. rank: of the change to each matrix; 0: the matrices
 * themselves are trained. */
enum err train_net_open(const struct model_file *f, const char *name, const struct train_set *set,
                        uint32_t rank, uint64_t seed, struct train_net *out,
                        struct err_msg *msg) MUST_CHECK;
void train_net_done(struct train_net *n);
/* Packs the matrices of one layer out of weights. */
void train_net_pack(struct train_net *n, uint32_t layer, const float *weights);
/* NULL when there is none of that name. */
const struct train_tensor *train_net_find(const struct train_net *n, const char *name);

/* 64-byte aligned and zero, in large pages where there are any; NULL: no memory. free() gives it back. */
void *train_memory(size_t bytes);

#endif
