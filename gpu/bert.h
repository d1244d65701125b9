/* The encoder itself: packed weights and one forward pass over a slab of sequences laid end to end, without padding.
 *
 * Owner: gpu_model (weights), one struct bert_work per worker.  Thread: weights immutable; a work belongs to one thread at a time.
 * Failure: bert_work_new: NULL. The pass itself cannot fail.
 * Limits: a slab of BERT_SLAB_TOKENS tokens, or one sequence of up to `positions`.
 */
#ifndef GPU_BERT_H
#define GPU_BERT_H

#include "gpu/kernel.h"

#define BERT_SLAB_TOKENS 768u

struct bert_layer {
    struct kernel_weights qkv, out, in, down; /* q is scaled by 1 / sqrt(head size) */
    float *norm1[2], *norm2[2]; /* gain, shift */
};

struct bert {
    const struct kernel_set *set;
    uint32_t layers, hidden, heads, head_size, inner, vocabulary, positions, types, labels;
    float epsilon;
    bool tanh_gelu; /* the activation is the one with tanh */
    uint16_t *word; /* bf16 [vocabulary, hidden], or */
    float *word_f32;
    float *position, *type, *norm[2];
    struct bert_layer *layer;
    struct kernel_weights pooler; /* n 0: none */
    float *head_weight, *head_bias; /* [labels, hidden], [labels]; NULL: none */
};

struct bert_span { /* one sequence in a slab */
    const uint32_t *ids;
    const uint8_t *types; /* NULL: all 0 */
    uint32_t count;
};

struct bert_work;
struct bert_work *bert_work_new(const struct bert *b);
void bert_work_free(struct bert_work *w);
/* Sum of counts <= max(BERT_SLAB_TOKENS, positions), each <= positions, ids < vocabulary, types < types.
 * The last hidden states, row by row in order; valid until the next call. *out_ld floats between rows. */
const float *bert_forward(const struct bert *b, struct bert_work *w, const struct bert_span *s,
                          uint32_t n, uint32_t *out_ld);
void bert_done(struct bert *b);

#endif
