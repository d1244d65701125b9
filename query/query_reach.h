/* Which times an expression looks at, seen from a step: what tells whether an answer that was kept still holds.
 *
 * Owner: caller.  Thread: any.  Failure: query_reach_of says why the steps of an expression do not stand for themselves.
 * Limits: QUERY_REACH_MAX selectors.
 * Invariant: the value of a step at t depends on nothing but the expression, the step width, the lookback, and on points with
 *            t + from_ms <= time <= t + to_ms of one of the spans.
 */
#ifndef QUERY_QUERY_REACH_H
#define QUERY_QUERY_REACH_H

#include "query/promql_ast.h"
#include "query/query.h"

#define QUERY_REACH_MAX 16u

struct query_reach {
    uint32_t count;
    bool may_be_cells; /* derived series may be selected */
    struct query_reach_span {
        int64_t from_ms, to_ms;
    } spans[QUERY_REACH_MAX];
};

/* NULL, or why not: a word for people ("@", "range()", ...). */
const char *query_reach_of(const struct node *n, const struct query_limits *limits,
                           struct query_reach *out);

#endif
