/* The values of one series, and of the buckets of one histogram: how they are written and read. Drawn in docs/format/block-series.md.
 *
 * Owner: caller.  Thread: one at a time per struct block_values_work.
 * Failure: readers: false for any other bytes. Writers: the buffer's.
 * Limits: BLOCK_VALUES_MAX values, BLOCK_GROUP_MAX buckets.
 * Invariant: what is read has the very bits of what was written.
 */
#ifndef TSDB_BLOCK_VALUES_H
#define TSDB_BLOCK_VALUES_H

#include "base/buf.h"

#define BLOCK_VALUES_MAX 4096u
#define BLOCK_GROUP_MAX 64u

struct block_values_work { /* scratch */
    uint64_t a[BLOCK_VALUES_MAX], b[BLOCK_VALUES_MAX], c[BLOCK_VALUES_MAX];
    double d[BLOCK_VALUES_MAX]; /* of the caller */
};

void block_values_put(struct buf *out, const double *v, uint32_t n, struct block_values_work *w);
bool block_values_get(struct reader *r, double *v, uint32_t n,
                      struct block_values_work *w) MUST_CHECK;

/* Whole numbers but for the values that are none in any of them, and those have the same bits in all? Only such can be a group. */
bool block_group_fits(const double *const *v, uint32_t members, uint32_t n);
/* v: members columns of n values; neighbours should be neighbouring buckets. */
void block_group_put(struct buf *out, const double *const *v, uint32_t members, uint32_t n,
                     struct block_values_work *w);
/* Column i goes to place rank[i] (a permutation, checked by the caller) of v, the columns one behind the other. */
bool block_group_get(struct reader *r, double *v, const uint8_t *rank, uint32_t members, uint32_t n,
                     struct block_values_work *w) MUST_CHECK;

#endif
