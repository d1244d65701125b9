#include "query/query_spans.h"

#include <math.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"
#include "query/traceql_ast.h"

#define BIT(column) (UINT64_C(1) << TSDB_SPAN_##column)
#define LIMIT_DEFAULT 20u
#define BUCKETS_AN_OCTAVE 64.0 /* 1.09 % wide: the middle is at most 0.55 % off */

/* --- which spans -------------------------------------------------------------------------------- */

enum err query_spans_check(const struct query_traceql *q, struct err_msg *msg)
{
    if (!q)
        return ERR_OK;
    if (q->stages->next || q->stages->spanset->left)
        return err_set(msg, ERR_INVALID, "give one span set { … } without a pipeline here");
    if (q->stages->spanset->filter && q->stages->spanset->filter->whole)
        return err_set(msg, ERR_INVALID,
                       "fields of parents and of whole traces cannot be asked for here");
    return ERR_OK;
}

struct chosen { /* a question's filters in the store's words */
    struct tsdb_span_filter f;
    struct tsdb_row_filter more;
    struct tsdb_where where[TRACEQL_WHERE_MAX];
    const struct traceql_expr *filter;
    uint64_t columns; /* that the filter looks at */
};

static enum err choose(const struct query_spans_which *w, struct chosen *c, struct err_msg *msg)
{
    enum err e = query_spans_check(w->q, msg);
    *c = (struct chosen){.f = {.start_min_ns = w->start_min_ns,
                               .start_max_ns = w->start_max_ns ? w->start_max_ns : INT64_MAX}};
    if (e != ERR_OK || !w->q)
        return e;
    c->filter = w->q->stages->spanset->filter;
    traceql_push_down(c->filter, &c->f, &c->more, c->where);
    for (uint32_t i = 0; i < w->q->field_count; i++)
        c->columns |= traceql_field_columns(w->q->fields[i]);
    return ERR_OK;
}

/* The text asked for comes before one that the query happens to contain: the query is judged anyway. */
static void choose_text(struct chosen *c, struct bytes contains)
{
    if (contains.size)
        c->more.contains = contains;
}

static bool is_chosen(const struct chosen *c, const struct tsdb_spans *t, uint32_t row)
{
    struct traceql_row r = {.t = t, .row = row};
    return !c->filter || traceql_expr_is_true(c->filter, &r);
}

static struct tsdb_visit visit_of(const struct chosen *c)
{
    return (struct tsdb_visit){.start_min_ns = c->f.start_min_ns,
                               .start_max_ns = c->f.start_max_ns,
                               .duration_min_ns = c->f.duration_min_ns,
                               .duration_max_ns = c->f.duration_max_ns,
                               .service = c->f.service,
                               .name = c->f.name,
                               .more = &c->more};
}

static bool as_number(const struct query_traceql_value *v, double *out)
{
    if (v->type == TRACEQL_FLOAT)
        *out = v->number;
    else if (v->type == TRACEQL_INT)
        *out = (double)v->integer;
    else if (v->type == TRACEQL_DURATION)
        *out = (double)v->integer / 1e9; /* seconds, as everywhere outside */
    else
        return false;
    return isfinite(*out);
}

static enum err field_of(struct bytes text, struct traceql_field *out, struct err_msg *msg)
{
    enum err e = traceql_field_parse(text, out, msg);
    if (e == ERR_OK && (out->parent || out->intrinsic >= TRACEQL_I_ROOT_NAME))
        e = err_set(msg, ERR_INVALID,
                    "fields of parents and of whole traces cannot be asked for here: '" BYTES_FMT
                    "'",
                    BYTES_ARG(text));
    return e;
}

/* --- quantiles ---------------------------------------------------------------------------------- */

struct window { /* weights of the buckets from `low` on */
    double *weight;
    int low, count;
};

static bool window_add(struct window *w, struct arena *a, int bucket, double weight)
{
    if (!w->count || bucket < w->low || bucket >= w->low + w->count) {
        int low = w->count ? MIN(w->low, bucket) : bucket,
            high = w->count ? MAX(w->low + w->count, bucket + 1) : bucket + 1;
        if (w->count) { /* half as much again on the side that grows */
            low -= low < w->low ? w->count / 2 : 0;
            high += high > w->low + w->count ? w->count / 2 : 0;
        }
        double *more = ARENA_ARRAY(a, double, high - low);
        if (!more)
            return false;
        for (int i = 0; i < w->count; i++)
            more[w->low - low + i] = w->weight[i];
        *w = (struct window){more, low, high - low};
    }
    w->weight[bucket - w->low] += weight;
    return true;
}

struct sketch {
    struct window above, below; /* zero; of the logarithm of the size */
    double zero, total;
};

static bool sketch_add(struct sketch *s, struct arena *a, double v, double weight)
{
    s->total += weight;
    if (v == 0) {
        s->zero += weight;
        return true;
    }
    return window_add(v > 0 ? &s->above : &s->below, a,
                      (int)floor(log2(fabs(v)) * BUCKETS_AN_OCTAVE), weight);
}

static double middle(int bucket)
{
    return exp2((bucket + 0.5) / BUCKETS_AN_OCTAVE);
}

static double sketch_quantile(const struct sketch *s, double q)
{
    double rank = q * s->total, seen = 0;
    for (int i = s->below.count; i-- > 0;)
        if (s->below.weight[i] > 0 && (seen += s->below.weight[i]) >= rank)
            return -middle(s->below.low + i);
    if (s->zero > 0 && (seen += s->zero) >= rank)
        return 0;
    double last = 0;
    for (int i = 0; i < s->above.count; i++) {
        if (!(s->above.weight[i] > 0))
            continue;
        last = middle(s->above.low + i);
        if ((seen += s->above.weight[i]) >= rank)
            break;
    }
    return last;
}

/* --- groups ------------------------------------------------------------------------------------- */

struct group {
    struct query_spans_group out;
    uint64_t hash;
    struct sketch sketch;
};

struct grouping {
    const struct query_spans_groups_ask *ask;
    const struct chosen *chosen;
    struct traceql_field by[QUERY_SPANS_BY_MAX], of;
    struct arena *a;
    struct group **groups;
    uint32_t *slots; /* index + 1 */
    uint32_t count;
    enum err err;
};
#define SLOTS (4u * 8192u)
_Static_assert(SLOTS > 2 * QUERY_SPANS_GROUPS_MAX && (SLOTS & (SLOTS - 1)) == 0,
               "the table never fills");

static bool same_value(const struct query_traceql_value *a, const struct query_traceql_value *b)
{
    if (a->type != b->type)
        return false;
    switch (a->type) {
    case TRACEQL_NIL: return true;
    case TRACEQL_STRING: return bytes_equal(a->text, b->text);
    case TRACEQL_BOOL: return a->boolean == b->boolean;
    case TRACEQL_FLOAT: return a->number == b->number;
    default: return a->integer == b->integer;
    }
}

static uint64_t hash_value(const struct query_traceql_value *v, uint64_t seed)
{
    switch (v->type) {
    case TRACEQL_NIL: return hash64(BYTES_NONE, seed + 1);
    case TRACEQL_STRING: return hash64(v->text, seed);
    case TRACEQL_BOOL: return hash64(bytes_of(&v->boolean, sizeof v->boolean), seed);
    default: return hash64(bytes_of(&v->integer, sizeof v->integer), seed + (uint64_t)v->type);
    }
}

static struct group *group_new(struct grouping *g, const struct query_spans_group *like,
                               uint64_t hash, uint32_t *slot)
{
    struct group *made = g->count < QUERY_SPANS_GROUPS_MAX ? arena_alloc(g->a, sizeof *made) : NULL;
    if (!made) {
        g->err = ERR_LIMIT;
        return NULL;
    }
    made->out = *like;
    made->hash = hash;
    for (uint32_t i = 0; i < g->ask->by_count; i++) {
        struct query_traceql_value *v = &made->out.by[i];
        if (v->type != TRACEQL_STRING || !v->text.size)
            continue;
        v->text = arena_copy(g->a, v->text);
        if (!v->text.data) {
            g->err = ERR_LIMIT;
            return NULL;
        }
    }
    g->groups[g->count] = made;
    *slot = ++g->count;
    return made;
}

static struct group *group_of(struct grouping *g, const struct traceql_row *r)
{
    struct query_spans_group like = {.start_ns = 0};
    uint64_t hash = 0;
    if (g->ask->step_ns)
        like.start_ns = r->t->start_ns[r->row] - r->t->start_ns[r->row] % g->ask->step_ns;
    hash = hash64(bytes_of(&like.start_ns, sizeof like.start_ns), 7);
    for (uint32_t i = 0; i < g->ask->by_count; i++) {
        like.by[i] = traceql_field_value(&g->by[i], r);
        hash = hash_value(&like.by[i], hash);
    }
    for (uint64_t at = hash;; at++) {
        uint32_t *slot = &g->slots[at & (SLOTS - 1)];
        if (!*slot)
            return group_new(g, &like, hash, slot);
        struct group *x = g->groups[*slot - 1];
        bool same = x->hash == hash && x->out.start_ns == like.start_ns;
        for (uint32_t i = 0; same && i < g->ask->by_count; i++)
            same = same_value(&x->out.by[i], &like.by[i]);
        if (same)
            return x;
    }
}

static void group_add(struct grouping *g, struct group *x, const struct traceql_row *r)
{
    double weight = (double)TSDB_SPAN_GET(r->t, weight, r->row, TSDB_WEIGHT_ONE) / TSDB_WEIGHT_ONE,
           number;
    struct query_spans_group *o = &x->out;
    o->count += weight;
    if (TSDB_SPAN_GET(r->t, status, r->row, 0) == 2)
        o->errors += weight;
    if (!g->ask->of.size)
        return;
    struct query_traceql_value v = traceql_field_value(&g->of, r);
    if (!as_number(&v, &number))
        return;
    o->min = o->with > 0 ? MIN(o->min, number) : number;
    o->max = o->with > 0 ? MAX(o->max, number) : number;
    o->with += weight;
    o->sum += weight * number;
    if (g->ask->quantile_count && !sketch_add(&x->sketch, g->a, number, weight))
        g->err = ERR_LIMIT;
}

static bool see_rows(void *ctx, const struct tsdb_spans *t, const uint32_t *rows, uint32_t count)
{
    struct grouping *g = ctx;
    for (uint32_t i = 0; g->err == ERR_OK && i < count; i++) {
        struct traceql_row r = {.t = t, .row = rows[i]};
        struct group *x;
        if (is_chosen(g->chosen, t, rows[i]) && (x = group_of(g, &r)))
            group_add(g, x, &r);
    }
    return g->err == ERR_OK;
}

static int most_first(const void *x, const void *y)
{
    const struct query_spans_group *a = x, *b = y;
    if (a->start_ns != b->start_ns)
        return a->start_ns < b->start_ns ? -1 : 1;
    return a->count < b->count ? 1 : a->count > b->count ? -1 : 0;
}

static enum err finish(struct grouping *g, struct query_spans_group **out, size_t *out_count)
{
    struct query_spans_group *all = ARENA_ARRAY(g->a, struct query_spans_group, g->count + 1);
    if (!all)
        return ERR_LIMIT;
    for (uint32_t i = 0; i < g->count; i++) {
        const struct group *x = g->groups[i];
        all[i] = x->out;
        for (uint32_t k = 0; k < g->ask->quantile_count; k++) {
            double q = x->sketch.total > 0 ? sketch_quantile(&x->sketch, g->ask->quantiles[k]) : 0;
            all[i].quantile[k] = MIN(MAX(q, x->out.min), x->out.max);
        }
    }
    qsort(all, g->count, sizeof *all, most_first);
    *out = all;
    *out_count = g->count;
    return ERR_OK;
}

enum err query_spans_groups(struct tsdb_view *v, const struct query_spans_groups_ask *ask,
                            struct arena *a, struct query_spans_group **out, size_t *out_count,
                            struct err_msg *msg)
{
    struct chosen chosen;
    struct grouping g = {.ask = ask, .chosen = &chosen, .a = a};
    enum err e = choose(&ask->which, &chosen, msg);
    choose_text(&chosen, ask->which.contains);
    uint64_t columns = chosen.columns | BIT(start_ns) | BIT(status) | BIT(weight);
    CHECK(ask->by_count <= QUERY_SPANS_BY_MAX && ask->quantile_count <= QUERY_SPANS_QUANTILES_MAX);
    for (uint32_t i = 0; e == ERR_OK && i < ask->by_count; i++) {
        e = field_of(ask->by[i], &g.by[i], msg);
        columns |= e == ERR_OK ? traceql_field_columns(&g.by[i]) : 0;
    }
    if (e == ERR_OK && ask->of.size) {
        e = field_of(ask->of, &g.of, msg);
        columns |= e == ERR_OK ? traceql_field_columns(&g.of) : 0;
    }
    if (e != ERR_OK)
        return e;
    g.groups = ARENA_ARRAY(a, struct group *, QUERY_SPANS_GROUPS_MAX);
    g.slots = ARENA_ARRAY(a, uint32_t, SLOTS);
    if (!g.groups || !g.slots)
        return ERR_LIMIT;
    struct tsdb_visit q = visit_of(&chosen);
    q.columns = columns;
    q.spans = see_rows;
    q.ctx = &g;
    e = tsdb_spans_visit(v, &q);
    if (e == ERR_OK && g.err != ERR_OK)
        e = err_set(msg, g.err, "more than %u groups, or more memory than a question has",
                    QUERY_SPANS_GROUPS_MAX);
    return e == ERR_OK ? finish(&g, out, out_count) : e;
}

/* --- lists -------------------------------------------------------------------------------------- */

struct top { /* the largest so far: a heap with the smallest of them first */
    struct top_row {
        double value;
        int64_t start_ns;
        struct tsdb_id16 trace;
        struct tsdb_id8 span;
    } * rows;
    uint32_t count, max;
};

static bool is_below(const struct top_row *a, const struct top_row *b)
{
    return a->value != b->value ? a->value < b->value : a->start_ns < b->start_ns;
}

static void sink(struct top *t, uint32_t at)
{
    for (uint32_t child; (child = 2 * at + 1) < t->count; at = child) {
        if (child + 1 < t->count && is_below(&t->rows[child + 1], &t->rows[child]))
            child++;
        if (!is_below(&t->rows[child], &t->rows[at]))
            return;
        struct top_row swap = t->rows[at];
        t->rows[at] = t->rows[child];
        t->rows[child] = swap;
    }
}

static void top_add(struct top *t, const struct top_row *r)
{
    if (t->count < t->max) {
        uint32_t at = t->count++;
        t->rows[at] = *r;
        while (at && is_below(&t->rows[at], &t->rows[(at - 1) / 2])) {
            struct top_row swap = t->rows[at];
            t->rows[at] = t->rows[(at - 1) / 2];
            t->rows[(at - 1) / 2] = swap;
            at = (at - 1) / 2;
        }
    } else if (t->max && is_below(&t->rows[0], r)) {
        t->rows[0] = *r;
        sink(t, 0);
    }
}

struct ordering {
    const struct chosen *chosen;
    struct traceql_field by;
    struct top top;
};

static bool see_order(void *ctx, const struct tsdb_spans *t, const uint32_t *rows, uint32_t count)
{
    struct ordering *o = ctx;
    for (uint32_t i = 0; i < count; i++) {
        struct traceql_row r = {.t = t, .row = rows[i]};
        struct top_row row = {.start_ns = t->start_ns[rows[i]],
                              .trace = t->trace_id[rows[i]],
                              .span = t->span_id[rows[i]]};
        if (!is_chosen(o->chosen, t, rows[i]))
            continue;
        struct query_traceql_value v = traceql_field_value(&o->by, &r);
        if (as_number(&v, &row.value))
            top_add(&o->top, &row);
    }
    return true;
}

static int by_ids(const void *x, const void *y)
{
    const struct top_row *a = x, *b = y;
    int c = memcmp(a->trace.b, b->trace.b, sizeof a->trace.b);
    return c ? c : memcmp(a->span.b, b->span.b, sizeof a->span.b);
}

static bool keep_top(void *ctx, const struct tsdb_spans *t, uint32_t row)
{
    const struct top *top = ctx;
    struct top_row like = {.trace = t->trace_id[row], .span = t->span_id[row]};
    return bsearch(&like, top->rows, top->count, sizeof like, by_ids) != NULL;
}

static bool keep_chosen(void *ctx, const struct tsdb_spans *t, uint32_t row)
{
    return is_chosen(ctx, t, row);
}

/* Which rows they are is known: they are read once more, with every column. */
static enum err read_top(struct tsdb_view *v, struct top *top, struct arena *a,
                         struct tsdb_spans *out)
{
    struct tsdb_span_filter f = {.start_min_ns = INT64_MAX,
                                 .start_max_ns = INT64_MIN,
                                 .keep = keep_top,
                                 .ctx = top,
                                 .keep_columns = BIT(trace_id) | BIT(span_id)};
    for (uint32_t i = 0; i < top->count; i++) {
        f.start_min_ns = MIN(f.start_min_ns, top->rows[i].start_ns);
        f.start_max_ns = MAX(f.start_max_ns, top->rows[i].start_ns);
    }
    qsort(top->rows, top->count, sizeof *top->rows, by_ids);
    if (top->count == 0) {
        *out = (struct tsdb_spans){0};
        return ERR_OK;
    }
    return tsdb_span_scan(v, &f, top->count, a, out);
}

struct ordered {
    double value;
    uint32_t row;
};

static int largest_first(const void *x, const void *y)
{
    const struct ordered *a = x, *b = y;
    return a->value < b->value   ? 1
           : a->value > b->value ? -1
                                 : (a->row > b->row) - (a->row < b->row);
}

/* by NULL: as the rows lie. */
static enum err put_in_order(const struct tsdb_spans *t, const struct traceql_field *by,
                             struct arena *a, uint32_t **out)
{
    struct ordered *rows = ARENA_ARRAY(a, struct ordered, t->count + 1);
    *out = ARENA_ARRAY(a, uint32_t, t->count + 1);
    if (!rows || !*out)
        return ERR_LIMIT;
    for (uint32_t row = 0; row < t->count; row++) {
        struct traceql_row r = {.t = t, .row = row};
        rows[row].row = row;
        if (by) {
            struct query_traceql_value v = traceql_field_value(by, &r);
            (void)as_number(&v, &rows[row].value); /* it had one when it was chosen */
        }
    }
    qsort(rows, t->count, sizeof *rows, largest_first);
    for (uint32_t i = 0; i < t->count; i++)
        (*out)[i] = rows[i].row;
    return ERR_OK;
}

static enum err list_newest(struct tsdb_view *v, struct chosen *chosen, uint32_t limit,
                            struct arena *a, struct tsdb_spans *out)
{
    struct tsdb_span_filter f = chosen->f;
    f.newest_first = 1;
    f.keep = keep_chosen;
    f.ctx = chosen;
    f.keep_columns = chosen->columns | BIT(start_ns);
    f.more = &chosen->more;
    return tsdb_span_scan(v, &f, limit, a, out);
}

static enum err list_largest(struct tsdb_view *v, const struct chosen *chosen, uint32_t limit,
                             const struct traceql_field *by, struct arena *a,
                             struct tsdb_spans *out)
{
    struct ordering o = {.chosen = chosen, .by = *by, .top = {.max = limit}};
    struct tsdb_visit q = visit_of(chosen);
    o.top.rows = ARENA_ARRAY(a, struct top_row, limit);
    if (!o.top.rows)
        return ERR_LIMIT;
    q.columns =
        chosen->columns | traceql_field_columns(by) | BIT(start_ns) | BIT(trace_id) | BIT(span_id);
    q.spans = see_order;
    q.ctx = &o;
    enum err e = tsdb_spans_visit(v, &q);
    return e == ERR_OK ? read_top(v, &o.top, a, out) : e;
}

enum err query_spans_list(struct tsdb_view *v, const struct query_spans_list_ask *ask,
                          struct arena *a, struct tsdb_spans *out, uint32_t **out_order,
                          struct err_msg *msg)
{
    struct chosen chosen;
    struct traceql_field by;
    uint32_t limit = MIN(ask->limit ? ask->limit : LIMIT_DEFAULT, QUERY_SPANS_ROWS_MAX);
    enum err e = choose(&ask->which, &chosen, msg);
    choose_text(&chosen, ask->which.contains);
    if (e == ERR_OK && ask->order.size)
        e = field_of(ask->order, &by, msg);
    if (e != ERR_OK)
        return e;
    e = ask->order.size ? list_largest(v, &chosen, limit, &by, a, out)
                        : list_newest(v, &chosen, limit, a, out);
    if (e == ERR_NOT_FOUND) {
        *out = (struct tsdb_spans){0};
        e = ERR_OK;
    }
    return e == ERR_OK ? put_in_order(out, ask->order.size ? &by : NULL, a, out_order) : e;
}
