/* Attention of one sequence, forward and back, head by head: probabilities are not kept, they are computed again from the log of their sums.
 *
 * Owner: caller's arrays and scratch.  Thread: any.  Failure: none.
 * Limits: heads of 16, 32, … KERNEL_HEAD_MAX columns.
 * Invariants: 1. Queries may be a run of the sequence's tokens: the q of others is not looked at, and what comes back for it is zero.
 */
#ifndef GPU_TRAIN_ATTENTION_H
#define GPU_TRAIN_ATTENTION_H

#include "gpu/train_kernel.h"

struct train_heads {
    const struct train_set *set;
    uint32_t heads, size;
};

/* Bytes of scratch for sequences of up to length tokens. */
size_t train_attention_bytes(const struct train_heads *t, uint32_t length);
struct train_queries {
    uint32_t from, to; /* from <= to <= length */
};
/* qkv [length, ld]: heads * size columns each of q, k, v. out [to - from, ldo]; log_sums [heads][to - from]. */
void train_attention(const struct train_heads *t, const float *qkv, size_t ld, uint32_t length,
                     struct train_queries of, float *out, size_t ldo, float *log_sums,
                     void *scratch);
/* dout [to - from, ldo] -> dqkv [length, ld], all of it written. */
void train_attention_back(const struct train_heads *t, const float *qkv, size_t ld, uint32_t length,
                          struct train_queries of, const float *dout, size_t ldo,
                          const float *log_sums, float *dqkv, void *scratch);

#endif
