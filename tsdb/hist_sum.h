/* A running sum of many histograms: dense buckets while they share a schema (what stage derives), tsdb_hist_add beyond that.
 *
 * Owner: the arena.  Thread: one.  Failure: ERR_LIMIT (arena), ERR_INVALID (custom bounds that disagree).
 * Limits: a dense window of HIST_SUM_WIDTH buckets; what lies outside goes the general way.
 */
#ifndef TSDB_HIST_SUM_H
#define TSDB_HIST_SUM_H

#include "tsdb/tsdb_hist.h"

#define HIST_SUM_WIDTH 4096

struct hist_sum {
    struct arena *arena;
    bool has_dense, has_general;
    int8_t schema;
    uint8_t hint;
    double zero_threshold, zero_count, count, sum;
    int32_t base; /* index of buckets[0] */
    uint32_t width;
    double *buckets;
    struct tsdb_hist general;
};

void hist_sum_init(struct hist_sum *s, struct arena *a);
enum err hist_sum_add(struct hist_sum *s, const struct tsdb_hist *h) MUST_CHECK;
/* The sum so far, in the arena; an empty histogram of schema 3 when nothing was added. */
enum err hist_sum_get(const struct hist_sum *s, struct tsdb_hist *out) MUST_CHECK;

#endif
