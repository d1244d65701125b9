/* Native histograms, exponential (schema -4..8) and with custom bounds (schema -53), as Prometheus defines them.
 *
 * Bucket counts are absolute (not deltas); positive spans say which buckets are present: the first offset is the index of the first
 * bucket, later ones are gaps. Exponential bucket i covers (base^(i-1), base^i], base = 2^(2^-schema).
 * A custom histogram uses positive spans over `custom` (sorted upper bounds; the last bucket +Inf is implicit).
 * Owner: the arena or view that holds the arrays.  Thread: any (immutable).
 * Failure: tsdb_hist_check: ERR_INVALID with the reason.  Limits: TSDB_HIST_BUCKETS_MAX buckets a side.
 */
#ifndef TSDB_TSDB_HIST_H
#define TSDB_TSDB_HIST_H

#include "base/buf.h"
#include "base/arena.h"

#define TSDB_HIST_CUSTOM_SCHEMA (-53)
#define TSDB_HIST_BUCKETS_MAX 10000u

enum tsdb_hist_hint {
    TSDB_HIST_UNKNOWN_RESET,
    TSDB_HIST_RESET,
    TSDB_HIST_NO_RESET,
    TSDB_HIST_GAUGE
};

struct tsdb_hist_span {
    int32_t offset;
    uint32_t length;
};

struct tsdb_hist {
    int8_t schema;
    uint8_t hint; /* enum tsdb_hist_hint */
    double zero_threshold, zero_count, count, sum;
    uint32_t pos_span_count, neg_span_count, pos_count, neg_count, custom_count;
    const struct tsdb_hist_span *pos_spans, *neg_spans;
    const double *pos, *neg; /* absolute bucket counts, pos_count = sum of the spans' lengths */
    const double *custom;
};

enum err tsdb_hist_check(const struct tsdb_hist *h, struct err_msg *msg) MUST_CHECK;
void tsdb_hist_encode(const struct tsdb_hist *h, struct buf *out); /* docs/format/histogram.md */
enum err tsdb_hist_decode(struct reader *r, struct arena *a, struct tsdb_hist *out) MUST_CHECK;
bool tsdb_hist_equal_bits(const struct tsdb_hist *a, const struct tsdb_hist *b);
/* a + b (sign +1) or a - b (sign -1) into the arena: schemas are reduced to the coarser, zero buckets widened, custom bounds must agree
 * (ERR_INVALID otherwise). The arithmetic of cells and of PromQL alike. */
enum err tsdb_hist_add(const struct tsdb_hist *a, const struct tsdb_hist *b, int sign,
                       struct arena *arena, struct tsdb_hist *out) MUST_CHECK;
enum err tsdb_hist_copy(const struct tsdb_hist *h, struct arena *a,
                        struct tsdb_hist *out) MUST_CHECK;

/* One observation as a histogram of schema 3 with a single bucket: what a latency adds to a cell. */
enum err tsdb_hist_of(double value, struct arena *a, struct tsdb_hist *out) MUST_CHECK;
/* Many observations of values >= 0 as one histogram: the sum of what tsdb_hist_of makes of each. Values are seconds: below 2^-32 they count as
 * zero, above 2^32 as 2^32. */
#define TSDB_HIST_BUILDER_BUCKETS 513u
struct tsdb_hist_builder {
    double sum;
    uint64_t count, zero, counts[TSDB_HIST_BUILDER_BUCKETS];
    uint32_t low, high; /* buckets in use */
};
void tsdb_hist_builder_init(struct tsdb_hist_builder *h);
void tsdb_hist_builder_add(struct tsdb_hist_builder *h, double value, uint64_t times);
enum err tsdb_hist_builder_finish(const struct tsdb_hist_builder *h, struct arena *a,
                                  struct tsdb_hist *out) MUST_CHECK;
/* h is what tsdb_hist_of makes of its sum. May say no of one that is (zero, negative, infinite). */
bool tsdb_hist_is_one(const struct tsdb_hist *h);

#endif
