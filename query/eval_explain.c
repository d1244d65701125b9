#include "query/query_explain.h"

#include "base/clock.h"
#include "query/eval.h"

/* --- the plan ---------------------------------------------------------------------------------- */

static const char *kind_of(const struct node *n)
{
    switch (n->kind) {
    case NODE_SELECTOR: return "selector";
    case NODE_MATRIX: return "range";
    case NODE_SUBQUERY: return "subquery";
    case NODE_CALL: return "call";
    case NODE_AGGREGATE: return "aggregation";
    case NODE_BINARY: return "binary";
    case NODE_UNARY: return "unary";
    case NODE_STRING: return "string";
    default: return "number";
    }
}

static struct bytes text_of(struct arena *a, const struct node *n)
{
    struct buf b;
    buf_init(&b, QUERY_TEXT_MAX * 4);
    promql_print(n, &b);
    struct bytes copy = buf_ok(&b) ? arena_copy(a, buf_bytes(&b)) : BYTES_NONE;
    buf_done(&b);
    return copy;
}

static void fill(struct query_explain *x, const struct node *n, unsigned depth)
{
    struct query_explain_node *to = &x->nodes[x->count++];
    *to = (struct query_explain_node){.kind = kind_of(n),
                                      .expr = text_of(x->arena, n),
                                      .depth = depth,
                                      .min_ms = INT64_MAX,
                                      .max_ms = INT64_MIN};
    struct bytes *list = n->kind == NODE_SELECTOR
                             ? ARENA_ARRAY(x->arena, struct bytes, n->selector.count + 1u)
                             : NULL;
    static const char *const ops[] = {"=", "!=", "=~", "!~"};
    for (uint32_t i = 0; list && i < n->selector.count; i++) {
        const struct node_matcher *m = &n->selector.matchers[i];
        list[to->matcher_count++] =
            arena_printf(x->arena, BYTES_FMT "%s\"" BYTES_FMT "\"", BYTES_ARG(m->name), ops[m->op],
                         BYTES_ARG(m->value));
    }
    to->matchers = list;
}

/* Nodes get their numbers in preorder: the same in every run of a text. */
static void number(struct query_explain *x, struct node *n, unsigned depth, uint32_t *next,
                   bool fills)
{
    while (n && n->kind == NODE_PAREN)
        n = n->inner.expr;
    if (!n)
        return;
    if (*next == QUERY_EXPLAIN_MAX) {
        x->is_cut = true;
        return;
    }
    n->explain = (uint16_t)++ * next;
    if (fills)
        fill(x, n, depth);
    switch (n->kind) {
    case NODE_MATRIX:
    case NODE_SUBQUERY: number(x, n->inner.expr, depth + 1, next, fills); break;
    case NODE_UNARY: number(x, n->unary.expr, depth + 1, next, fills); break;
    case NODE_BINARY:
        number(x, n->binary.lhs, depth + 1, next, fills);
        number(x, n->binary.rhs, depth + 1, next, fills);
        break;
    case NODE_AGGREGATE:
        number(x, n->aggregate.param, depth + 1, next, fills);
        number(x, n->aggregate.expr, depth + 1, next, fills);
        break;
    case NODE_CALL:
        for (uint32_t i = 0; i < n->call.args.count; i++)
            number(x, n->call.args.items[i], depth + 1, next, fills);
        break;
    default: break;
    }
}

void explain_begin(struct query_explain *x, struct node *root)
{
    uint32_t next = 0;
    bool fills = !x->nodes;
    if (fills)
        x->nodes = ARENA_ARRAY(x->arena, struct query_explain_node, QUERY_EXPLAIN_MAX);
    if (!x->nodes) {
        x->is_cut = true;
        return;
    }
    number(x, root, 0, &next, fills);
    x->now = x->above = 0;
    x->since_ns = clock_mono_ns();
}

enum err query_explain_plan(struct bytes text, struct query_explain *x, struct err_msg *msg)
{
    struct node *n;
    enum err e = promql_parse(text, x->arena, &n, msg);
    if (e == ERR_OK && !x->nodes)
        explain_begin(x, n);
    return e;
}

/* --- while it runs ----------------------------------------------------------------------------- */

static struct query_explain_node *node_of(struct eval *e, const struct node *n)
{
    struct query_explain *x = e->limits.explain;
    uint32_t at = n->explain;
    return x && at && at <= x->count ? &x->nodes[at - 1] : NULL;
}

static void switch_to(struct query_explain *x, uint32_t node)
{
    int64_t now = clock_mono_ns();
    if (x->now && x->now <= x->count)
        x->nodes[x->now - 1].self_ns += now - x->since_ns;
    x->now = node;
    x->since_ns = now;
}

struct explain_place explain_enter(struct eval *e, const struct node *n)
{
    struct query_explain *x = e->limits.explain;
    struct query_explain_node *to = x ? node_of(e, n) : NULL;
    struct explain_place before = {0, 0};
    if (!x)
        return before;
    before = (struct explain_place){x->now, x->above};
    x->above = x->now;
    switch_to(x, n->explain);
    if (to)
        to->runs++;
    return before;
}

void explain_leave(struct eval *e, struct explain_place before, size_t rows)
{
    struct query_explain *x = e->limits.explain;
    if (!x)
        return;
    if (x->now && x->now <= x->count)
        x->nodes[x->now - 1].rows += rows;
    switch_to(x, before.now);
    x->above = before.above;
}

bool explain_row(struct eval *e, row_fn fn, void *ctx, const struct row *r)
{
    struct query_explain *x = e->limits.explain;
    if (!x)
        return fn(ctx, r);
    uint32_t here = x->now;
    if (here && here <= x->count)
        x->nodes[here - 1].rows++;
    switch_to(x, x->above ? x->above : here);
    bool ok = fn(ctx, r);
    switch_to(x, here);
    return ok;
}

void explain_selected(struct eval *e, const struct node *selector, size_t series, int64_t min_ms,
                      int64_t max_ms)
{
    struct query_explain_node *to = node_of(e, selector);
    if (!to)
        return;
    to->series = MAX(to->series, series);
    to->min_ms = MIN(to->min_ms, min_ms);
    to->max_ms = MAX(to->max_ms, max_ms);
}

void explain_read(struct eval *e, const struct node *selector, uint64_t samples, uint64_t blocks)
{
    struct query_explain_node *to = node_of(e, selector);
    if (!to)
        return;
    to->samples += samples;
    to->blocks += blocks;
}
