#include "query/query_reach.h"

#include "query/promql_functions.h"

#define REACH_MS_MAX \
    (INT64_C(1) << 52) /* sums of offsets and ranges stay far from the end of numbers */

struct walker {
    const struct query_limits *limits;
    struct query_reach *out;
    const char *why;
    unsigned depth;
};

static void walk(struct walker *w, const struct node *n, struct query_reach_span at);

static bool refuse(struct walker *w, const char *why)
{
    if (!w->why)
        w->why = why;
    return false;
}

static int64_t lookback(const struct walker *w)
{
    return w->limits && w->limits->lookback_ms ? w->limits->lookback_ms : QUERY_LOOKBACK_MS;
}

static void add_span(struct walker *w, struct query_reach_span s)
{
    struct query_reach *r = w->out;
    for (uint32_t i = 0; i < r->count; i++)
        if (r->spans[i].from_ms == s.from_ms && r->spans[i].to_ms == s.to_ms)
            return;
    if (r->count == QUERY_REACH_MAX)
        refuse(w, "many selectors");
    else if (s.from_ms < -REACH_MS_MAX || s.to_ms > REACH_MS_MAX)
        refuse(w, "long ranges");
    else
        r->spans[r->count++] = s;
}

/* Derived series carry job="telltale" and names that begin with llm_; no other series has that job. */
static bool may_be_cells(const struct node *selector)
{
    for (uint32_t i = 0; i < selector->selector.count; i++) {
        const struct node_matcher *m = &selector->selector.matchers[i];
        if (m->op != TSDB_MATCH_EQ)
            continue;
        if (bytes_equal_str(m->name, "job") && !bytes_equal_str(m->value, "telltale"))
            return false;
        if (bytes_equal_str(m->name, "__name__") && !bytes_has_prefix(m->value, BYTES_LIT("llm_")))
            return false;
    }
    return true;
}

/* Modifiers that are the same at every step. */
static bool is_plain(struct walker *w, const struct node *n)
{
    if (n->at != AT_NONE)
        return refuse(w, "@");
    if (n->offset_expr || n->range_expr || n->step_expr)
        return refuse(w, "a duration expression");
    return true;
}

static void add_selector(struct walker *w, const struct node *n, struct query_reach_span at,
                         int64_t back_ms, int64_t ahead_ms)
{
    if (!is_plain(w, n))
        return;
    w->out->may_be_cells |= may_be_cells(n);
    add_span(w, (struct query_reach_span){at.from_ms - n->offset_ms - back_ms + 1,
                                          at.to_ms - n->offset_ms + ahead_ms});
}

static void walk_call(struct walker *w, const struct node *n, struct query_reach_span at)
{
    switch (n->call.function->id) {
    case FUNCTION_INFO: refuse(w, "info()"); return;
    case FUNCTION_START: refuse(w, "start()"); return;
    case FUNCTION_END: refuse(w, "end()"); return;
    case FUNCTION_RANGE: refuse(w, "range()"); return;
    default: break;
    }
    for (uint32_t i = 0; i < n->call.args.count; i++)
        walk(w, n->call.args.items[i], at);
}

static void walk(struct walker *w, const struct node *n, struct query_reach_span at)
{
    if (w->why || !n)
        return;
    if (++w->depth > QUERY_DEPTH_MAX * 8) {
        refuse(w, "nesting");
        return;
    }
    switch (n->kind) {
    case NODE_SELECTOR: add_selector(w, n, at, lookback(w), n->smoothed ? lookback(w) : 0); break;
    case NODE_MATRIX: {
        const struct node *s = n->inner.expr;
        if (is_plain(w, n))
            add_selector(w, s, at, n->range_ms + (s->anchored || s->smoothed ? lookback(w) : 0),
                         s->smoothed ? lookback(w) : 0);
        break;
    }
    case NODE_SUBQUERY:
        if (is_plain(w, n))
            walk(w, n->inner.expr,
                 (struct query_reach_span){at.from_ms - n->offset_ms - n->range_ms + 1,
                                           at.to_ms - n->offset_ms});
        break;
    case NODE_PAREN: walk(w, n->inner.expr, at); break;
    case NODE_UNARY: walk(w, n->unary.expr, at); break;
    case NODE_BINARY:
        walk(w, n->binary.lhs, at);
        walk(w, n->binary.rhs, at);
        break;
    case NODE_AGGREGATE:
        walk(w, n->aggregate.param, at);
        walk(w, n->aggregate.expr, at);
        break;
    case NODE_CALL: walk_call(w, n, at); break;
    default: break;
    }
    w->depth--;
}

const char *query_reach_of(const struct node *n, const struct query_limits *limits,
                           struct query_reach *out)
{
    struct walker w = {.limits = limits, .out = out};
    *out = (struct query_reach){0};
    walk(&w, n, (struct query_reach_span){0, 0});
    if (!w.why && out->count == 0)
        w.why = "no selector";
    return w.why;
}
