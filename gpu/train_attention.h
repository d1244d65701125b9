/* Attention of one sequence, forward and back, head by head: probabilities are not kept, they are computed again from the log of their sums.
 *
 * Owner: caller's arrays and scratch.  Thread: any.  Failure: none.
 * Limits: heads of 16, 32, … KERNEL_HEAD_MAX columns.
 * Invariants: 1. q is scaled by 1 / sqrt(size) already, in qkv and in what comes back for it.
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
/* qkv [length, ld]: heads * size columns each of q, k, v. out [length, ldo]; log_sums [heads][length]. */
void train_attention(const struct train_heads *t, const float *qkv, size_t ld, uint32_t length,
                     float *out, size_t ldo, float *log_sums, void *scratch);
/* dout [length, ldo] -> dqkv [length, ld], all of it written. */
void train_attention_back(const struct train_heads *t, const float *qkv, size_t ld, uint32_t length,
                          const float *dout, size_t ldo, const float *log_sums, float *dqkv,
                          void *scratch);

#endif
