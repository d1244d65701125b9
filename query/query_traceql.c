#include "query/query_traceql.h"

#include <stdlib.h>

#include "base/check.h"
#include "query/query_trace.h"
#include "query/traceql_ast.h"

#define LIMIT_DEFAULT 20u
#define SCRATCH_MAX ((size_t)256 << 20)
#define ROUND_ROWS 2000u
#define ROUNDS_MAX 64
#define BIT(column) (UINT64_C(1) << TSDB_SPAN_##column)

/* --- what the query asks of a row --------------------------------------------------------------- */

uint32_t query_traceql_fields(const struct query_traceql *q)
{
    return q->field_count;
}

struct bytes query_traceql_field_name(const struct query_traceql *q, uint32_t i)
{
    return q->fields[i]->name;
}

struct query_traceql_value query_traceql_field(const struct query_traceql *q, uint32_t i,
                                               const struct tsdb_spans *t, uint32_t row)
{
    struct traceql_row r = {.t = t, .row = row};
    return traceql_field_value(q->fields[i], &r);
}

static uint64_t columns_of(const struct query_traceql *q)
{
    uint64_t mask = BIT(trace_id) | BIT(start_ns) | BIT(end_ns);
    for (uint32_t i = 0; i < q->field_count; i++)
        mask |= traceql_field_columns(q->fields[i]);
    return mask;
}

/* Every trace that answers has a row that this lets pass: one side is enough of what must all be there. */
static bool may_lead(const struct traceql_spanset *s, const struct traceql_row *r)
{
    if (!s->left)
        return traceql_expr_may(s->filter, r);
    if (s->op == TRACEQL_OP_OR)
        return may_lead(s->left, r) || may_lead(s->right, r);
    return may_lead(s->left, r);
}

/* --- one trace ---------------------------------------------------------------------------------- */

struct whole { /* a trace under the query */
    struct traceql_row at;
    struct query_trace_layout layout;
    struct arena *a;
    uint32_t count;
};

/* near[row]: the row stands in that relation to one of the others. */
static bool *relate(struct whole *w, enum traceql_op op, const bool *others)
{
    const uint32_t *parent = w->layout.parent;
    bool *near = ARENA_ARRAY(w->a, bool, w->count);
    uint32_t *among = ARENA_ARRAY(w->a, uint32_t, w->count); /* others that are children of row */
    if (!near || !among)
        return NULL;
    for (uint32_t row = 0; row < w->count; row++)
        if (others[row] && parent[row] != TSDB_NO_ROW)
            among[parent[row]]++;
    for (uint32_t i = 0; i < w->count; i++) { /* parents come before their children */
        uint32_t row = w->layout.order[i], up = parent[row];
        if (op == TRACEQL_OP_LT)
            near[row] = among[row] > 0;
        else if (op == TRACEQL_OP_ANCESTOR)
            for (uint32_t at = others[row] ? up : TSDB_NO_ROW; at != TSDB_NO_ROW && !near[at];
                 at = parent[at])
                near[at] = true;
        else if (up == TSDB_NO_ROW)
            continue;
        else if (op == TRACEQL_OP_SIBLING)
            near[row] = among[up] > (others[row] ? 1u : 0u);
        else
            near[row] = others[up] || (op == TRACEQL_OP_DESCENDANT && near[up]);
    }
    return near;
}

/* Marks in out the rows of `in` that are of the set; false: none. NULL out of memory is ERR_LIMIT in *err. */
static bool mark(struct whole *w, const struct traceql_spanset *s, const bool *in, bool *out,
                 enum err *err)
{
    bool any = false;
    if (!s->left) {
        for (uint32_t row = 0; row < w->count; row++) {
            w->at.row = row;
            out[row] = in[row] && (!s->filter || traceql_expr_is_true(s->filter, &w->at));
            any |= out[row];
        }
        return any;
    }
    bool *left = ARENA_ARRAY(w->a, bool, w->count), *right = ARENA_ARRAY(w->a, bool, w->count);
    if (!left || !right) {
        *err = ERR_LIMIT;
        return false;
    }
    bool l = mark(w, s->left, in, left, err), r = mark(w, s->right, in, right, err);
    bool logic = s->op == TRACEQL_OP_AND || s->op == TRACEQL_OP_OR;
    if (s->op == TRACEQL_OP_OR ? !l && !r : !l || !r)
        return false;
    const bool *near = logic ? left : relate(w, s->op, left);
    if (!near) {
        *err = ERR_LIMIT;
        return false;
    }
    for (uint32_t row = 0; row < w->count; row++) {
        out[row] = logic ? left[row] || right[row] : right[row] && near[row];
        any |= out[row];
    }
    return any;
}

static bool aggregate_holds(struct whole *w, const struct traceql_stage *s, const bool *in)
{
    double sum = 0, low = 0, high = 0;
    uint64_t n = 0;
    for (uint32_t row = 0; row < w->count; row++) {
        if (!in[row])
            continue;
        w->at.row = row;
        struct query_traceql_value v = {TRACEQL_INT, {.integer = 1}};
        if (s->of)
            v = traceql_expr_value(s->of, &w->at);
        if (v.type != TRACEQL_INT && v.type != TRACEQL_FLOAT && v.type != TRACEQL_DURATION)
            continue;
        double x = v.type == TRACEQL_FLOAT ? v.number : (double)v.integer;
        low = n ? MIN(low, x) : x;
        high = n ? MAX(high, x) : x;
        sum += x;
        n++;
    }
    if (n == 0 && s->aggregate != TRACEQL_COUNT)
        return false;
    const double results[] = {[TRACEQL_COUNT] = (double)n,
                              [TRACEQL_AVG] = n ? sum / (double)n : 0,
                              [TRACEQL_MIN] = low,
                              [TRACEQL_MAX] = high,
                              [TRACEQL_SUM] = sum};
    struct query_traceql_value result = {TRACEQL_FLOAT, {.number = results[s->aggregate]}};
    return traceql_compare(s->op, &result, &s->value);
}

static enum err whole_init(struct whole *w, const struct tsdb_spans *t, struct arena *a)
{
    *w = (struct whole){.at = {.t = t}, .a = a, .count = t->count};
    uint32_t *children = ARENA_ARRAY(a, uint32_t, t->count + 1);
    enum err e = children ? query_trace_layout(t, a, &w->layout) : ERR_LIMIT;
    if (e != ERR_OK)
        return e;
    uint32_t root = w->layout.order[0];
    for (uint32_t row = 0; row < t->count; row++) {
        if (w->layout.parent[row] != TSDB_NO_ROW)
            children[w->layout.parent[row]]++;
        if (!bytes_u64le(t->parent_id[row].b) && bytes_u64le(t->parent_id[root].b))
            root = row; /* one without a parent before one whose parent is missing */
    }
    w->at.layout = &w->layout;
    w->at.children = children;
    w->at.root = root;
    return ERR_OK;
}

/* The rows that answer, in the arena; *out_count 0: the trace does not. */
static enum err match(const struct query_traceql *q, const struct tsdb_spans *t, struct arena *a,
                      uint32_t **out, uint32_t *out_count)
{
    struct whole w;
    *out_count = 0;
    enum err e = whole_init(&w, t, a);
    bool *in = ARENA_ARRAY(a, bool, t->count + 1);
    *out = ARENA_ARRAY(a, uint32_t, t->count + 1);
    if (e != ERR_OK || !in || !*out)
        return e != ERR_OK ? e : ERR_LIMIT;
    memset(in, 1, t->count);
    bool holds = true;
    for (const struct traceql_stage *s = q->stages; holds && e == ERR_OK && s; s = s->next) {
        if (!s->spanset) {
            holds = aggregate_holds(&w, s, in);
            continue;
        }
        bool *next = ARENA_ARRAY(a, bool, t->count + 1);
        if (!next)
            return ERR_LIMIT;
        holds = mark(&w, s->spanset, in, next, &e);
        in = next;
    }
    for (uint32_t row = 0; holds && e == ERR_OK && row < t->count; row++)
        if (in[row])
            (*out)[(*out_count)++] = row;
    return e;
}

/* --- the search --------------------------------------------------------------------------------- */

#define SEEN_SLOTS (4 * 4096u)
_Static_assert(SEEN_SLOTS >= 2 * QUERY_TRACEQL_TRACES_MAX, "the table of traces never fills");
struct hunt {
    const struct query_traceql_search *s;
    struct tsdb_id16 *seen; /* open addressing; all zero: free */
    uint32_t looked_at, hits, limit;
};

static bool is_none(struct tsdb_id16 id)
{
    return !bytes_u64le(id.b) && !bytes_u64le(id.b + 8);
}

/* The trace's place: where it is, or where it belongs. */
static struct tsdb_id16 *place(const struct hunt *h, struct tsdb_id16 id)
{
    uint64_t at = (bytes_u64le(id.b) * UINT64_C(0x9e3779b97f4a7c15)) ^ bytes_u64le(id.b + 8);
    for (at = at ^ at >> 29;; at++) {
        struct tsdb_id16 *slot = &h->seen[at % SEEN_SLOTS];
        if (is_none(*slot) || memcmp(slot->b, id.b, sizeof id.b) == 0)
            return slot;
    }
}

static bool keep(void *ctx, const struct tsdb_spans *t, uint32_t row)
{
    const struct hunt *h = ctx;
    struct traceql_row r = {.t = t, .row = row};
    return may_lead(h->s->q->stages->spanset, &r) && !is_none(t->trace_id[row]) &&
           is_none(*place(h, t->trace_id[row]));
}

static bool duration_fits(const struct query_traceql_search *s, const struct tsdb_spans *t)
{
    int64_t first = INT64_MAX, last = INT64_MIN;
    for (uint32_t row = 0; row < t->count; row++) {
        first = MIN(first, t->start_ns[row]);
        last = MAX(last, t->end_ns[row]);
    }
    return last - first >= s->duration_min_ns &&
           (!s->duration_max_ns || last - first <= s->duration_max_ns);
}

/* Looks at one trace. *more false: enough. */
static enum err look(struct tsdb_view *v, struct hunt *h, struct tsdb_id16 id, struct arena *a,
                     bool *more)
{
    struct tsdb_spans t = {0};
    uint32_t *rows, count;
    *place(h, id) = id;
    h->looked_at++;
    arena_reset(a);
    enum err e = tsdb_trace(v, id, a, &t);
    if (e == ERR_NOT_FOUND)
        return ERR_OK;
    if (e == ERR_OK && t.count && duration_fits(h->s, &t)) {
        e = match(h->s->q, &t, a, &rows, &count);
        if (e == ERR_OK && count) {
            *more = h->s->hit(h->s->ctx, &t, rows, count) && ++h->hits < h->limit;
        }
    }
    return e;
}

static enum err hunt_round(struct tsdb_view *v, const struct tsdb_span_filter *f, struct hunt *h,
                           struct arena *a, bool *more)
{
    struct tsdb_spans found = {0};
    struct arena *ids = arena_new(SCRATCH_MAX);
    if (!ids)
        return ERR_NOMEM;
    enum err e = tsdb_span_scan(v, f, ROUND_ROWS, ids, &found);
    if (e == ERR_NOT_FOUND)
        e = ERR_OK, found.count = 0;
    *more = found.count == ROUND_ROWS;
    for (uint32_t row = 0; e == ERR_OK && row < found.count && h->hits < h->limit; row++)
        if (is_none(*place(h, found.trace_id[row]))) {
            bool go_on = true;
            if (h->looked_at == QUERY_TRACEQL_TRACES_MAX) {
                *more = true;
                break;
            }
            e = look(v, h, found.trace_id[row], a, &go_on);
            if (!go_on) {
                h->limit = h->hits; /* the caller has had enough */
                break;
            }
        }
    arena_free(ids);
    return e;
}

enum err query_traceql_run(struct tsdb_view *v, struct query_traceql_search *s)
{
    struct arena *own = arena_new(1 << 20), *scratch = arena_new(SCRATCH_MAX);
    struct hunt h = {.s = s, .limit = s->limit ? s->limit : LIMIT_DEFAULT};
    struct tsdb_span_filter f = {.start_min_ns = s->start_min_ns,
                                 .start_max_ns = s->start_max_ns ? s->start_max_ns : INT64_MAX,
                                 .newest_first = 1,
                                 .keep = keep,
                                 .ctx = &h,
                                 .keep_columns = columns_of(s->q),
                                 .columns = BIT(trace_id)};
    struct tsdb_where where[TRACEQL_WHERE_MAX];
    struct tsdb_row_filter filter = {0};
    bool more = true;
    enum err e = own && scratch ? ERR_OK : ERR_NOMEM;
    if (e == ERR_OK && !(h.seen = ARENA_ARRAY(own, struct tsdb_id16, SEEN_SLOTS)))
        e = ERR_LIMIT;
    const struct traceql_spanset *lead = s->q->stages->spanset;
    while (lead->left && lead->op != TRACEQL_OP_OR)
        lead = lead->left;
    if (!lead->left)
        traceql_push_down(lead->filter, &f, &filter, where);
    f.more = &filter;
    for (int round = 0; e == ERR_OK && more && round < ROUNDS_MAX && h.hits < h.limit &&
                        h.looked_at < QUERY_TRACEQL_TRACES_MAX;
         round++)
        e = hunt_round(v, &f, &h, scratch, &more);
    s->out_traces = h.looked_at;
    s->out_complete = !more || h.hits >= h.limit;
    arena_free(scratch);
    arena_free(own);
    return e;
}
