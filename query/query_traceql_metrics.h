/* TraceQL metrics: a span set, then one function over time, as Tempo's query_range asks for it.
 *
 *     { resource.service.name = "api" } | rate() by (span.http.route)
 *     { status = error } | quantile_over_time(duration, .5, .99) by (name) | topk(5)
 *
 * Understood: rate(), count_over_time(), min_over_time(f), max_over_time(f), avg_over_time(f), sum_over_time(f), quantile_over_time(f, q…); by (…);
 * topk(n), bottomk(n); with (…) is passed by: it asks for exemplars and sampling. Not: histogram_over_time, compare, arithmetic between such.
 * Owner: the arena, and query_traceql_metrics_free.  Thread: immutable once parsed.
 * Failure: ERR_INVALID with a sentence.
 * Limits: those of TraceQL and of query_spans.h.
 */
#ifndef QUERY_QUERY_TRACEQL_METRICS_H
#define QUERY_QUERY_TRACEQL_METRICS_H

#include "query/query_spans.h"

enum query_traceql_function {
    TRACEQL_RATE,
    TRACEQL_COUNT_OVER_TIME,
    TRACEQL_MIN_OVER_TIME,
    TRACEQL_MAX_OVER_TIME,
    TRACEQL_AVG_OVER_TIME,
    TRACEQL_SUM_OVER_TIME,
    TRACEQL_QUANTILE_OVER_TIME
};
const char *query_traceql_function_name(enum query_traceql_function f);

struct query_traceql_metrics {
    struct query_traceql *q; /* the span set */
    enum query_traceql_function function;
    struct query_spans_groups_ask
        ask; /* by, of, quantiles; which.q is q; times and step are the caller's */
    uint32_t top; /* series; 0 = all */
    bool is_bottom;
};

enum err query_traceql_metrics_parse(struct bytes text, struct arena *a,
                                     struct query_traceql_metrics *out,
                                     struct err_msg *msg) MUST_CHECK;
void query_traceql_metrics_free(struct query_traceql_metrics *m);
/* What the function makes of a group; NAN: nothing. seconds: of the step, or of the whole range. quantile: which. */
double query_traceql_metrics_value(const struct query_traceql_metrics *m,
                                   const struct query_spans_group *g, double seconds,
                                   uint32_t quantile);

#endif
