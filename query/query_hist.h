/* Native histograms as PromQL computes with them: sparse sorted buckets of floats, any schema, and the arithmetic of Prometheus 3.
 *
 * Owner: the arena given.  Thread: any; a histogram is immutable once returned.
 * Failure: functions that allocate return NULL when the arena is full; query_hist_add also when the two cannot be combined
 *          (*out_flags has QUERY_HIST_INCOMPATIBLE then).
 * Limits: TSDB_HIST_BUCKETS_MAX buckets a side on input.
 * Invariants: 1. Bucket indexes ascend and are distinct. 2. Custom bounds ascend strictly; only positive buckets, index 0..custom_count.
 */
#ifndef QUERY_QUERY_HIST_H
#define QUERY_QUERY_HIST_H

#include "tsdb/tsdb_hist.h"

struct query_hist_bucket {
    int32_t index;
    double count;
};

struct query_hist {
    int8_t schema;
    uint8_t hint; /* enum tsdb_hist_hint */
    double zero_threshold, zero_count, count, sum;
    uint32_t pos_count, neg_count, custom_count;
    const struct query_hist_bucket *pos, *neg;
    const double *custom;
};

/* A bucket with its bounds, as the HTTP API shows it. */
struct query_hist_range {
    double lower, upper, count;
    bool lower_inclusive, upper_inclusive;
};

enum query_hist_flags {
    QUERY_HIST_INCOMPATIBLE = 1, /* exponential with custom bounds */
    QUERY_HIST_HINTS_COLLIDE = 2, /* one says reset, the other says no reset */
    QUERY_HIST_BOUNDS_RECONCILED = 4, /* custom bounds differed: reduced to the common ones */
};

static inline bool query_hist_is_custom(const struct query_hist *h)
{
    return h->schema == TSDB_HIST_CUSTOM_SCHEMA;
}

const struct query_hist *query_hist_of(const struct tsdb_hist *h, struct arena *a);
/* As the store keeps it; false when the arena is full. */
bool query_hist_store(const struct query_hist *h, struct arena *a, struct tsdb_hist *out);
const struct query_hist *query_hist_copy(const struct query_hist *h, struct arena *a);
/* a + sign * b; schemas go to the coarser, zero buckets to the wider. flags may be NULL. */
const struct query_hist *query_hist_add(const struct query_hist *x, const struct query_hist *y,
                                        double sign, struct arena *a, unsigned *out_flags);
const struct query_hist *query_hist_scale(const struct query_hist *h, double factor,
                                          struct arena *a);
const struct query_hist *query_hist_divide(const struct query_hist *h, double by, struct arena *a);
const struct query_hist *query_hist_with_hint(const struct query_hist *h, enum tsdb_hist_hint hint,
                                              struct arena *a);
/* Without empty buckets. */
const struct query_hist *query_hist_compact(const struct query_hist *h, struct arena *a);
/* To a coarser exponential schema. */
const struct query_hist *query_hist_reduce(const struct query_hist *h, int8_t schema,
                                           struct arena *a);
/* Did the counter start anew between prev and h? scratch may be reset by the caller afterwards. */
bool query_hist_is_reset(const struct query_hist *h, const struct query_hist *prev,
                         struct arena *scratch);
bool query_hist_equal(const struct query_hist *x, const struct query_hist *y);

/* A compensated sum or mean in the making; start with all zero. add: false when the two cannot be combined (flags) or the arena is full. */
struct query_hist_sum {
    const struct query_hist *total, *carry;
    double n;
    bool is_mean; /* a sum would overflow */
};
bool query_hist_sum_add(struct query_hist_sum *s, const struct query_hist *h, bool averaging,
                        struct arena *a, unsigned *out_flags);
const struct query_hist *query_hist_sum_result(const struct query_hist_sum *s, bool averaging,
                                               struct arena *a);

/* All buckets in ascending order of bounds, empty ones left out unless keep_empty. */
size_t query_hist_ranges(const struct query_hist *h, bool keep_empty, struct arena *a,
                         struct query_hist_range **out);
double query_hist_bound(const struct query_hist *h, int32_t index); /* upper bound of a bucket */

/* Prometheus' estimates. out_nan (may be NULL): observations of NaN are in the count. */
double query_hist_quantile(double q, const struct query_hist *h, struct arena *scratch,
                           bool *out_nan);
double query_hist_fraction(double lower, double upper, const struct query_hist *h,
                           struct arena *scratch, bool *out_nan);
double query_hist_variance(const struct query_hist *h, struct arena *scratch);
/* Observations at most (upper true) or above `bound` only: the operators </ and >/. */
const struct query_hist *query_hist_trim(const struct query_hist *h, double bound, bool upper,
                                         struct arena *a);
/* {count:1, sum:2, (0.5,1]:3}: the text that Prometheus prints (count_values, format). */
struct bytes query_hist_text(const struct query_hist *h, struct arena *a);

#endif
