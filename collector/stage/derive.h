/* One row, read -> its delta cells. The families, their labels and when each counts are the table of docs/genai.md.
 *
 * Owner: one context.  Thread: one at a time.
 * Failure: false when the batch's arena is full.
 * Limits: STAGE_THRESHOLDS_MAX latency thresholds; DERIVE_BREAKDOWN_SLOTS cached breakdown series.
 * Invariant: the cells are a function of the row and of the thresholds.
 */
#ifndef COLLECTOR_STAGE_DERIVE_H
#define COLLECTOR_STAGE_DERIVE_H

#include "base/hash.h"
#include "collector/stage/breakdown.h"
#include "collector/stage/label_group.h"

#define DERIVE_BREAKDOWN_SLOTS 4096u

enum derive_latency {
    DERIVE_REQUEST_DURATION,
    DERIVE_USER_DURATION,
    DERIVE_FIRST_TOKEN,
    DERIVE_PER_TOKEN,
    DERIVE_LATENCY_COUNT
};
extern const char *const derive_latency_families[DERIVE_LATENCY_COUNT];

struct derive_threshold {
    enum derive_latency family;
    double le;
    char le_text[32];
};

struct derive_breakdown {
    struct hash128 key;
    struct tsdb_ref requests, input, output, cost;
    uint32_t evictions; /* of the registry, when they were found */
};

struct derive {
    struct tsdb_registry *series;
    struct breakdown *breakdown;
    struct label_groups *groups;
    struct genai_memo *memo;
    struct genai_row row; /* of the moment */
    struct derive_threshold thresholds[STAGE_THRESHOLDS_MAX];
    uint32_t threshold_count, thresholds_version;
    uint32_t cells_likely; /* of 16 spans */
    uint32_t breakdown_count;
    struct derive_breakdown breakdowns[DERIVE_BREAKDOWN_SLOTS];
};

struct derive *derive_new(struct breakdown *shared); /* NULL = no memory */
void derive_free(struct derive *d);
/* Adds the cells of *r; row is the span they belong to, or TSDB_NO_ROW. */
bool derive_row(struct derive *d, struct tsdb_batch *b, uint32_t row, const struct genai_row *r,
                struct bytes scope) MUST_CHECK;
/* Tokens on a row that may not book them. */
bool derive_unclaimed(struct derive *d, struct tsdb_batch *b, uint32_t row,
                      const struct genai_row *r, struct bytes scope) MUST_CHECK;
/* What takes the observations of h back; out may be h. */
bool derive_negate(const struct tsdb_hist *h, struct arena *a, struct tsdb_hist *out) MUST_CHECK;
/* Time between two observers of one call: outer minus inner duration, in the inner one's minute. */
bool derive_overhead(struct derive *d, struct tsdb_batch *b, const struct genai_row *booked,
                     int64_t overhead_ns) MUST_CHECK;

#endif
