/* Questions over the spans themselves: the first, the dearest, the slowest; counts, sums, means and quantiles by any fields and by time.
 *
 * Which spans: a TraceQL span set, of which only what a row alone can tell is asked. By and of what: fields of TraceQL.
 * Owner: results live in the caller's arena.  Thread: the view's.
 * Failure: the view's errors; ERR_INVALID with a sentence; ERR_LIMIT past QUERY_SPANS_GROUPS_MAX groups.
 * Invariants: 1. Rows count with their weight: what tail sampling left stands for what it took. 2. Quantiles are within QUERY_SPANS_ERROR of the value
 *             at that rank; all else is exact.
 */
#ifndef QUERY_QUERY_SPANS_H
#define QUERY_QUERY_SPANS_H

#include "query/query_traceql.h"

#define QUERY_SPANS_BY_MAX 4u
#define QUERY_SPANS_QUANTILES_MAX 8u
#define QUERY_SPANS_GROUPS_MAX 10000u
#define QUERY_SPANS_ROWS_MAX 1000u
#define QUERY_SPANS_ERROR 0.006

struct query_spans_which {
    const struct query_traceql *q; /* one span set, no pipeline; NULL = all */
    struct bytes contains; /* a text anywhere in the attributes; empty = any */
    int64_t start_min_ns, start_max_ns; /* 0, 0 = any */
};
/* ERR_INVALID when the query is more than one span set or asks of whole traces. */
enum err query_spans_check(const struct query_traceql *q, struct err_msg *msg) MUST_CHECK;

struct query_spans_groups_ask {
    struct query_spans_which which;
    struct bytes by[QUERY_SPANS_BY_MAX]; /* fields */
    uint32_t by_count;
    struct bytes of; /* a field with numbers; empty: only counts */
    double quantiles[QUERY_SPANS_QUANTILES_MAX];
    uint32_t quantile_count;
    int64_t step_ns; /* groups by start as well; 0 = not */
};
struct query_spans_group {
    struct query_traceql_value by[QUERY_SPANS_BY_MAX]; /* NIL: the span lacks it */
    int64_t start_ns; /* of the step; 0 without one */
    double count, with; /* spans; those with a number in `of` */
    double errors; /* spans of status error */
    double sum, min, max;
    double quantile[QUERY_SPANS_QUANTILES_MAX];
};
/* Most spans first; by start within the same fields where there are steps. */
enum err query_spans_groups(struct tsdb_view *v, const struct query_spans_groups_ask *ask,
                            struct arena *a, struct query_spans_group **out, size_t *out_count,
                            struct err_msg *msg) MUST_CHECK;

struct query_spans_list_ask {
    struct query_spans_which which;
    struct bytes order; /* largest first of this field; empty: newest first */
    uint32_t limit; /* 0 = 20, at most QUERY_SPANS_ROWS_MAX */
};
/* The rows with every column; out_order: in which order they are to be read. */
enum err query_spans_list(struct tsdb_view *v, const struct query_spans_list_ask *ask,
                          struct arena *a, struct tsdb_spans *out, uint32_t **out_order,
                          struct err_msg *msg) MUST_CHECK;

#endif
