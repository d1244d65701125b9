/* Aggregations: rows are grouped once, then added column by column as they come. */
#include "query/eval.h"

#include "base/json_out.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct group {
    struct tsdb_labels labels;
    bool drop_name;
    struct row row; /* v: sum, minimum, count, mean; has: what was seen */
    struct query_hist_sum *hists;
    double *carry, *mean, *count, *aux; /* where the operation needs them */
    uint8_t *state; /* bit flags below */
    uint32_t *members, member_count, member_cap; /* rows kept for topk, quantile, limitk */
};
enum {
    STATE_FLOAT = 1,
    STATE_HIST = 2,
    STATE_INCREMENTAL = 4,
    STATE_SPOILED = 8, /* histograms that do not fit together */
    STATE_RESET = 16,
    STATE_NO_RESET = 32
};

struct aggregator {
    struct eval *e;
    const struct node *n;
    struct grid g;
    enum aggregate_op op;
    struct key_map keys;
    struct group *groups;
    size_t group_cap;
    struct buf key;
    struct rows kept;
    double *param;
};

/* --- groups ------------------------------------------------------------------------------------ */

static bool group_arrays(struct aggregator *a, struct group *g)
{
    struct eval *e = a->e;
    size_t bytes = a->g.count * sizeof(double);
    enum aggregate_op op = a->op;
    if (op > AGG_STDVAR)
        return true;
    if (!eval_tick(e, a->g.count) || !row_init(e, &g->row, a->g.count))
        return false;
    g->state = arena_alloc(e->arena, a->g.count);
    bool averages = op == AGG_AVG || op == AGG_STDDEV || op == AGG_STDVAR;
    if (op == AGG_SUM || averages)
        g->carry = arena_alloc(e->arena, bytes);
    if (averages) {
        g->mean = arena_alloc(e->arena, bytes);
        g->count = arena_alloc(e->arena, bytes);
        g->aux = arena_alloc(e->arena, bytes);
    }
    return (g->state && (!averages || (g->mean && g->count && g->aux && g->carry)) &&
            (op != AGG_SUM || g->carry)) ||
           eval_nomem(e);
}

static bool by_has_name(const struct node *n)
{
    for (uint32_t i = 0; i < n->aggregate.labels.count; i++)
        if (bytes_equal_str(n->aggregate.labels.items[i], "__name__"))
            return true;
    return false;
}

static struct group *group_of(struct aggregator *a, const struct row *r)
{
    const struct node *n = a->n;
    bool is_new;
    struct bytes key = labels_key(&a->key, r->labels, &n->aggregate.labels, !n->aggregate.without);
    size_t at = buf_ok(&a->key) ? key_map_put(&a->keys, key, &is_new) : SIZE_MAX;
    if (at == SIZE_MAX) {
        eval_nomem(a->e);
        return NULL;
    }
    if (at >= a->group_cap) {
        size_t cap = MAX(at + 1, a->group_cap * 2 + 16);
        a->groups = arena_grow(a->e->arena, a->groups, sizeof *a->groups, a->group_cap, cap);
        if (!a->groups) {
            eval_nomem(a->e);
            return NULL;
        }
        memset(a->groups + a->group_cap, 0, (cap - a->group_cap) * sizeof *a->groups);
        a->group_cap = cap;
    }
    struct group *g = &a->groups[at];
    g->drop_name |= !n->aggregate.without && r->drop_name && by_has_name(n);
    if (is_new) {
        g->labels.enc = a->keys.entries[at].key; /* the key is the group's labels, canonical */
        if (!group_arrays(a, g))
            return NULL;
    }
    return g;
}

/* --- adding a row ------------------------------------------------------------------------------ */

static void note_ignored(struct aggregator *a)
{
    eval_info(a->e, a->n->aggregate.expr, "ignored histogram in %s aggregation",
              promql_aggregate_text(a->op));
}

static void add_mean(struct group *g, size_t i, double v)
{
    g->count[i]++;
    if (g->count[i] == 1) {
        g->row.v[i] = v;
        return;
    }
    if (!(g->state[i] & STATE_INCREMENTAL)) {
        double s = g->row.v[i], c = g->carry[i];
        kahan_add(v, &s, &c);
        if (!isinf(s)) {
            g->row.v[i] = s;
            g->carry[i] = c;
            return;
        }
        g->state[i] |= STATE_INCREMENTAL;
        g->mean[i] = g->row.v[i] / (g->count[i] - 1);
        g->carry[i] /= g->count[i] - 1;
    }
    double q = (g->count[i] - 1) / g->count[i], s = q * g->mean[i], c = q * g->carry[i];
    kahan_add(v / g->count[i], &s, &c);
    g->mean[i] = s;
    g->carry[i] = c;
}

static void add_variance(struct group *g, size_t i, double v)
{
    g->count[i]++;
    double delta = v - (g->mean[i] + g->carry[i]);
    kahan_add(delta / g->count[i], &g->mean[i], &g->carry[i]);
    kahan_add(delta * (v - (g->mean[i] + g->carry[i])), &g->row.v[i], &g->aux[i]);
}

static bool add_hist(struct aggregator *a, struct group *g, size_t i, const struct query_hist *h)
{
    unsigned flags = 0;
    if (!row_need_hist(a->e, &g->row, a->g.count))
        return false;
    if (!g->hists && !(g->hists = arena_alloc(a->e->arena, a->g.count * sizeof *g->hists)))
        return eval_nomem(a->e);
    g->state[i] |= STATE_HIST | (h->hint == TSDB_HIST_RESET      ? STATE_RESET
                                 : h->hint == TSDB_HIST_NO_RESET ? STATE_NO_RESET
                                                                 : 0);
    if (g->state[i] & STATE_SPOILED)
        return true;
    bool ok = query_hist_sum_add(&g->hists[i], h, a->op == AGG_AVG, a->e->arena, &flags);
    if (flags & QUERY_HIST_INCOMPATIBLE) {
        g->state[i] |= STATE_SPOILED;
        eval_warn(a->e, a->n->aggregate.expr,
                  "vector contains a mix of histograms with exponential and custom buckets "
                  "schemas");
    } else if (!ok) {
        return eval_nomem(a->e);
    }
    if (flags & QUERY_HIST_BOUNDS_RECONCILED)
        eval_info(a->e, a->n->aggregate.expr,
                  "mismatched custom buckets were reconciled during aggregation");
    return true;
}

static void add_float(struct group *g, enum aggregate_op op, size_t i, double v)
{
    bool first = !(g->state[i] & STATE_FLOAT);
    double *to = &g->row.v[i];
    if (first)
        *to = op == AGG_MIN || op == AGG_MAX ? v : 0;
    switch (op) {
    case AGG_SUM: kahan_add(v, to, &g->carry[i]); break;
    case AGG_AVG: add_mean(g, i, v); break;
    case AGG_MIN:
        if (v < *to || isnan(*to))
            *to = v;
        break;
    case AGG_MAX:
        if (v > *to || isnan(*to))
            *to = v;
        break;
    case AGG_STDDEV:
    case AGG_STDVAR: add_variance(g, i, v); break;
    default: break;
    }
    g->state[i] |= STATE_FLOAT;
}

static bool add_row(void *ctx, const struct row *r)
{
    struct aggregator *a = ctx;
    enum aggregate_op op = a->op;
    struct group *g = group_of(a, r);
    if (!g)
        return false;
    for (size_t i = 0; i < a->g.count; i++) {
        if (r->has[i] == CELL_NONE)
            continue;
        if (op == AGG_COUNT || op == AGG_GROUP) {
            g->row.v[i] = op == AGG_COUNT && g->state[i] ? g->row.v[i] + 1 : 1;
            g->state[i] |= STATE_FLOAT;
        } else if (r->has[i] == CELL_FLOAT) {
            add_float(g, op, i, r->v[i]);
        } else if (op == AGG_SUM || op == AGG_AVG) {
            if (!add_hist(a, g, i, r->h[i]))
                return false;
        } else {
            note_ignored(a);
        }
    }
    return eval_tick(a->e, 0);
}

/* --- the group's cell at the end --------------------------------------------------------------- */

static bool finish_hist(struct aggregator *a, struct group *g, size_t i)
{
    const struct node *at = a->n->aggregate.expr;
    if (g->state[i] & STATE_SPOILED)
        return true;
    if ((g->state[i] & STATE_RESET) && (g->state[i] & STATE_NO_RESET))
        eval_warn(a->e, at, "conflicting counter resets during histogram aggregation");
    const struct query_hist *h = query_hist_sum_result(&g->hists[i], a->op == AGG_AVG, a->e->arena);
    if (!h)
        return eval_nomem(a->e);
    g->row.h[i] = h;
    g->row.has[i] = CELL_HIST;
    return true;
}

static bool finish_cell(struct aggregator *a, struct group *g, size_t i)
{
    if ((g->state[i] & STATE_FLOAT) && (g->state[i] & STATE_HIST)) {
        eval_warn(a->e, a->n->aggregate.expr,
                  "encountered a mix of histograms and floats for aggregation");
        return true;
    }
    if (g->state[i] & STATE_HIST)
        return finish_hist(a, g, i);
    if (!(g->state[i] & STATE_FLOAT))
        return true;
    double *v = &g->row.v[i];
    g->row.has[i] = CELL_FLOAT;
    switch (a->op) {
    case AGG_SUM: *v = isinf(*v) ? *v : *v + g->carry[i]; break;
    case AGG_AVG:
        *v = g->state[i] & STATE_INCREMENTAL ? g->mean[i] + g->carry[i]
                                             : *v / g->count[i] + g->carry[i] / g->count[i];
        break;
    case AGG_STDVAR: *v = (*v + g->aux[i]) / g->count[i]; break;
    case AGG_STDDEV: *v = sqrt((*v + g->aux[i]) / g->count[i]); break;
    default: break;
    }
    return true;
}

static struct row *push_row(struct eval *e, struct rows *out, struct row r)
{
    if (out->count == out->cap) {
        size_t cap = out->cap ? out->cap * 2 : 16;
        out->items = arena_grow(e->arena, out->items, sizeof *out->items, out->cap, cap);
        out->cap = cap;
        if (!out->items) {
            eval_nomem(e);
            return NULL;
        }
    }
    out->items[out->count] = r;
    return &out->items[out->count++];
}

static bool finish_simple(struct aggregator *a, struct rows *out)
{
    for (size_t k = 0; k < a->keys.count; k++) {
        struct group *g = &a->groups[k];
        for (size_t i = 0; i < a->g.count; i++)
            if (!finish_cell(a, g, i))
                return false;
        g->row.labels = g->labels;
        g->row.drop_name = g->drop_name;
        if (!push_row(a->e, out, g->row))
            return false;
    }
    return true;
}

/* --- operations that need all rows of a group -------------------------------------------------- */

static bool keep_member(void *ctx, const struct row *r)
{
    struct aggregator *a = ctx;
    struct keep keep = {a->e, &a->kept, a->g.count};
    struct group *g = group_of(a, r);
    if (!g || !rows_keep(&keep, r))
        return false;
    if (g->member_count == g->member_cap) {
        uint32_t cap = g->member_cap ? g->member_cap * 2 : 8;
        g->members = arena_grow(a->e->arena, g->members, sizeof *g->members, g->member_cap, cap);
        g->member_cap = cap;
        if (!g->members)
            return eval_nomem(a->e);
    }
    g->members[g->member_count++] = (uint32_t)(a->kept.count - 1);
    return true;
}

static bool finish_quantile(struct aggregator *a, struct rows *out)
{
    for (size_t k = 0; k < a->keys.count; k++) {
        struct group *g = &a->groups[k];
        double *v = arena_alloc_raw(a->e->arena, g->member_count * sizeof *v, 8);
        struct row r;
        if (!v)
            return eval_nomem(a->e);
        if (!eval_tick(a->e, a->g.count) || !row_init(a->e, &r, a->g.count))
            return false;
        r.labels = g->labels;
        r.drop_name = g->drop_name;
        for (size_t i = 0; i < a->g.count; i++) {
            size_t n = 0;
            for (uint32_t m = 0; m < g->member_count; m++) {
                const struct row *from = &a->kept.items[g->members[m]];
                if (from->has[i] == CELL_FLOAT)
                    v[n++] = from->v[i];
                else if (from->has[i] == CELL_HIST)
                    note_ignored(a);
            }
            if (n) {
                r.has[i] = CELL_FLOAT;
                r.v[i] = quantile_of(a->param[i], v, n);
            }
        }
        if (!push_row(a->e, out, r))
            return false;
    }
    return true;
}

struct candidate {
    double v;
    uint32_t row;
};

/* The best first; NaN is the worst; among equals the earlier series. */
static int compare_top(const void *x, const void *y)
{
    const struct candidate *a = x, *b = y;
    if (isnan(a->v) || isnan(b->v))
        return isnan(a->v) == isnan(b->v) ? (a->row > b->row) - (a->row < b->row)
                                          : isnan(a->v) - isnan(b->v);
    return a->v > b->v ? -1 : a->v < b->v ? 1 : (a->row > b->row) - (a->row < b->row);
}

static int compare_bottom(const void *x, const void *y)
{
    const struct candidate *a = x, *b = y;
    if (isnan(a->v) || isnan(b->v))
        return isnan(a->v) == isnan(b->v) ? (a->row > b->row) - (a->row < b->row)
                                          : isnan(a->v) - isnan(b->v);
    return a->v < b->v ? -1 : a->v > b->v ? 1 : (a->row > b->row) - (a->row < b->row);
}

/* A stable place in [0, 1) for a series: limit_ratio keeps r by it. */
static double ratio_place(struct tsdb_labels l)
{
    return (double)(hash64(l.enc, 3) >> 11) / 9007199254740992.0;
}

static bool ratio_keeps(double ratio, struct tsdb_labels l)
{
    double place = ratio_place(l);
    return (ratio >= 0 && place < ratio) || (ratio < 0 && place >= 1 + ratio);
}

static size_t candidates_at(struct aggregator *a, const struct group *g, size_t i,
                            struct candidate *c)
{
    size_t n = 0;
    for (uint32_t m = 0; m < g->member_count; m++) {
        const struct row *r = &a->kept.items[g->members[m]];
        if (r->has[i] == CELL_NONE)
            continue;
        if (r->has[i] == CELL_HIST && (a->op == AGG_TOPK || a->op == AGG_BOTTOMK)) {
            note_ignored(a);
            continue;
        }
        c[n++] = (struct candidate){r->has[i] == CELL_FLOAT ? r->v[i] : 0, g->members[m]};
    }
    if (n && (a->op == AGG_TOPK || a->op == AGG_BOTTOMK))
        qsort(c, n, sizeof *c, a->op == AGG_TOPK ? compare_top : compare_bottom);
    return n;
}

/* Which members stay at step i. */
static size_t choose(struct aggregator *a, struct candidate *c, size_t n, size_t i)
{
    double p = a->param[i];
    if (a->op != AGG_LIMIT_RATIO)
        return p < 1 ? 0 : (size_t)fmin(p, (double)n);
    size_t k = 0;
    for (size_t m = 0; m < n; m++)
        if (ratio_keeps(p, a->kept.items[c[m].row].labels))
            c[k++] = c[m];
    return k;
}

static bool finish_choice(struct aggregator *a, struct rows *out)
{
    struct candidate *c = ARENA_ARRAY(a->e->arena, struct candidate, a->kept.count + 1);
    uint8_t *stays = arena_alloc(a->e->arena, a->kept.count + 1);
    if (!c || !stays)
        return eval_nomem(a->e);
    bool instant = a->g.count == 1;
    for (size_t i = 0; i < a->g.count; i++) {
        memset(stays, 0, a->kept.count);
        for (size_t k = 0; k < a->keys.count; k++) {
            size_t n = choose(a, c, candidates_at(a, &a->groups[k], i, c), i);
            for (size_t m = 0; m < n; m++) {
                stays[c[m].row] = 1;
                if (instant && !push_row(a->e, out, a->kept.items[c[m].row]))
                    return false;
            }
        }
        for (size_t k = 0; k < a->kept.count; k++)
            if (!stays[k])
                a->kept.items[k].has[i] = CELL_NONE;
        if (!eval_tick(a->e, 0))
            return false;
    }
    if (!instant)
        *out = a->kept;
    else
        out->ordered = a->op == AGG_TOPK || a->op == AGG_BOTTOMK;
    return true;
}

/* --- count_values ------------------------------------------------------------------------------ */

struct value_counter {
    struct aggregator *a;
    struct bytes label;
    struct key_map outputs;
    struct rows *out;
};

static bool count_value(void *ctx, const struct row *r)
{
    struct value_counter *c = ctx;
    struct aggregator *a = c->a;
    struct eval *e = a->e;
    const struct node *n = a->n;
    struct tsdb_labels base = n->aggregate.without
                                  ? labels_without(e, r->labels, &n->aggregate.labels, true)
                                  : labels_keep(e, r->labels, &n->aggregate.labels);
    for (size_t i = 0; i < a->g.count && e->err == ERR_OK; i++) {
        char text[400];
        struct bytes value;
        bool is_new;
        if (r->has[i] == CELL_NONE)
            continue;
        if (r->has[i] == CELL_HIST)
            value = query_hist_text(r->h[i], e->arena);
        else if (isfinite(r->v[i]) && (fabs(r->v[i]) >= 1e21 || fabs(r->v[i]) < 1e-6))
            value = bytes_of(text, (size_t)snprintf(text, sizeof text, "%.0f", r->v[i]));
        else
            value = bytes_of(text, json_out_prom_float(r->v[i], text));
        struct tsdb_labels labels = labels_set(e, base, c->label, value);
        size_t at = e->err == ERR_OK ? key_map_put(&c->outputs, labels.enc, &is_new) : SIZE_MAX;
        if (at == SIZE_MAX)
            return false;
        if (is_new) {
            struct row *o = eval_tick(e, a->g.count) ? rows_add(e, c->out, a->g.count) : NULL;
            if (!o)
                return false;
            o->labels = labels;
        }
        struct row *o = &c->out->items[at];
        o->v[i] = o->has[i] ? o->v[i] + 1 : 1;
        o->has[i] = CELL_FLOAT;
    }
    return eval_tick(e, 0);
}

static bool count_values(struct aggregator *a, struct rows *out)
{
    struct value_counter c = {.a = a, .out = out};
    c.outputs.e = a->e;
    if (!eval_string(a->e, a->n->aggregate.param, &c.label))
        return false;
    if (c.label.size == 0 || !bytes_is_utf8(c.label)) {
        struct buf b;
        buf_init(&b, 4096);
        for (size_t i = 0; i < c.label.size; i++) {
            uint8_t ch = c.label.data[i];
            buf_printf(&b, ch < 32 || ch > 126 ? "\\x%02x" : "%c", ch);
        }
        eval_fail(a->e, ERR_EXECUTION, "invalid label name \"" BYTES_FMT "\"",
                  BYTES_ARG(buf_bytes(&b)));
        buf_done(&b);
        return false;
    }
    return eval_each(a->e, a->n->aggregate.expr, a->g, count_value, &c);
}

/* --- parameters -------------------------------------------------------------------------------- */

static bool check_param(struct aggregator *a)
{
    struct eval *e = a->e;
    bool warned = false;
    for (size_t i = 0; i < a->g.count; i++) {
        double p = a->param[i];
        char text[JSON_OUT_PROM_FLOAT_MAX];
        size_t n = json_out_prom_float(p, text);
        if (a->op == AGG_QUANTILE) {
            if ((isnan(p) || p < 0 || p > 1) && !warned)
                eval_warn(e, a->n->aggregate.param,
                          "quantile value should be between 0 and 1, got %.*s", (int)n, text);
            warned |= isnan(p) || p < 0 || p > 1;
        } else if (isnan(p)) {
            return eval_fail(e, ERR_EXECUTION,
                             a->op == AGG_LIMIT_RATIO ? "Ratio value is NaN"
                                                      : "Parameter value is NaN");
        } else if (a->op == AGG_LIMIT_RATIO) {
            if (p > 1 || p < -1)
                eval_warn(e, a->n->aggregate.param,
                          "ratio value should be between -1 and 1, got %.*s, capping to %d", (int)n,
                          text, p > 1 ? 1 : -1);
            a->param[i] = fmax(-1, fmin(1, p));
        } else if (p >= 9223372036854775808.0 || p <= -9223372036854775808.0) {
            return eval_fail(e, ERR_EXECUTION, "Scalar value %.*s overflows int64", (int)n, text);
        }
    }
    return true;
}

bool aggregate_rows(struct eval *e, const struct node *n, struct grid g, struct rows *out)
{
    struct aggregator a = {.e = e, .n = n, .g = g, .op = n->aggregate.op};
    bool ok = true;
    a.keys.e = e;
    buf_init(&a.key, 0);
    if (aggregate_has_param(a.op) && a.op != AGG_COUNT_VALUES) {
        a.param = arena_alloc_raw(e->arena, g.count * sizeof *a.param, 8);
        ok = (a.param || eval_nomem(e)) && eval_scalar(e, n->aggregate.param, g, a.param) &&
             check_param(&a);
    }
    if (ok && a.op == AGG_COUNT_VALUES)
        ok = count_values(&a, out);
    else if (ok && a.op <= AGG_STDVAR)
        ok = eval_each(e, n->aggregate.expr, g, add_row, &a) && finish_simple(&a, out);
    else if (ok)
        ok = eval_each(e, n->aggregate.expr, g, keep_member, &a) &&
             (a.op == AGG_QUANTILE ? finish_quantile(&a, out) : finish_choice(&a, out));
    buf_done(&a.key);
    return ok && e->err == ERR_OK;
}
