/* What the traffic of model calls looked like over a stretch of event minutes: counts, quantiles, tokens and cost, exact from delta cells.
 *
 * Calls are llm_requests_total of the user plane; good, bad and excluded by query_slo_classify. Nothing is extrapolated.
 * Owner: results live in the caller's arena.  Thread: the view's.
 * Failure: ERR_INVALID for an empty or too long stretch; else the view's errors.
 * Limits: QUERY_TRAFFIC_POINTS_MAX points, QUERY_TRAFFIC_MODELS_MAX models named (the rest are summed as "other").
 * Invariants: 1. The points' sums equal the totals. 2. A step without an observation has NaN quantiles, never 0.
 */
#ifndef QUERY_QUERY_TRAFFIC_H
#define QUERY_QUERY_TRAFFIC_H

#include "query/query_slo.h"

#define QUERY_TRAFFIC_POINTS_MAX 1500u
#define QUERY_TRAFFIC_MODELS_MAX 6u
#define QUERY_TRAFFIC_MINUTES_MAX (60u * 24 * 45)

struct query_traffic_ask {
    struct bytes service, model; /* empty = all */
    uint32_t from, to; /* event minutes from <= m < to */
    uint32_t step; /* minutes a point, >= 1 */
};

struct query_traffic_counts {
    int64_t good, bad, excluded;
};

struct query_traffic_quantiles {
    double n, p50, p95, p99; /* seconds; NaN without observations */
    double *p50_at, *p95_at, *p99_at; /* a point each; NULL in totals-only answers */
};

struct query_traffic_model {
    struct bytes model;
    bool is_rest; /* the sum of all that are not named */
    struct query_traffic_counts calls;
    int64_t input_tokens, output_tokens, cost_nanousd;
    int64_t *calls_at, *bad_at, *cost_at, *tokens_at; /* a point each */
    double p50, p95, p99, ttft_p50, ttft_p95; /* seconds; NaN without observations */
};

struct query_traffic {
    uint32_t from, to, step;
    size_t count; /* points; point i covers minutes from + i * step .. + step */
    struct query_traffic_counts calls, *calls_at;
    struct query_traffic_counts requests; /* user requests (entries) */
    struct query_traffic_quantiles latency, ttft;
    int64_t input_tokens, output_tokens, cache_read_tokens, reasoning_tokens;
    int64_t cost_nanousd, cost_other_planes_nanousd, unpriced;
    struct query_traffic_model *models; /* most calls first */
    size_t model_count;
};

/* Counts, quantiles, tokens and cost of the stretch alone. */
enum err query_traffic_totals(struct tsdb_view *v, const struct query_traffic_ask *q,
                              struct arena *a, struct query_traffic *out) MUST_CHECK;
/* The same with points and models. */
enum err query_traffic_read(struct tsdb_view *v, const struct query_traffic_ask *q, struct arena *a,
                            struct query_traffic *out) MUST_CHECK;

/* Share of a value among the bad calls beside its share among all, largest difference first. */
struct query_traffic_share {
    const char *dim; /* "model", "provider", "endpoint", "service", "region", "variant" */
    struct bytes value;
    int64_t bad, all; /* of this value */
    double bad_share, all_share;
};
enum err query_traffic_responsible(struct tsdb_view *v, const struct query_traffic_ask *q,
                                   size_t max, struct arena *a, struct query_traffic_share **out,
                                   size_t *out_count) MUST_CHECK;

/* Has any model call ever been counted? Distinct services and models of the stretch, for the page's filters. */
enum err query_traffic_any(struct tsdb_view *v, struct arena *a, bool *out) MUST_CHECK;
enum err query_traffic_values(struct tsdb_view *v, const char *label,
                              const struct query_traffic_ask *q, struct arena *a,
                              struct bytes **out, size_t *out_count) MUST_CHECK;

#endif
