/* Range vectors: a window of points slides over each series, a function makes one cell of it. */
#include "query/eval.h"

#include <math.h>
#include <stdlib.h>

#define STALE_BITS 0x7ff0000000000002ull

static bool is_stale(double v)
{
    uint64_t bits;
    memcpy(&bits, &v, 8);
    return bits == STALE_BITS;
}

/* --- points ------------------------------------------------------------------------------------ */

static bool split_copy(struct eval *e, const struct tsdb_points *p, struct arena *a,
                       struct series_points *out)
{
    int64_t *ft = ARENA_ARRAY(a, int64_t, p->count), *ht = ARENA_ARRAY(a, int64_t, p->count);
    int64_t *fst = p->start_ms ? ARENA_ARRAY(a, int64_t, p->count) : NULL;
    int64_t *hst = p->start_ms ? ARENA_ARRAY(a, int64_t, p->count) : NULL;
    double *fv = ARENA_ARRAY(a, double, p->count);
    const struct query_hist **hh = arena_alloc(a, p->count * sizeof *hh);
    if (!ft || !ht || !fv || !hh || (p->start_ms && (!fst || !hst)))
        return eval_nomem(e);
    for (size_t i = 0; i < p->count; i++) {
        if (p->hist && p->hist[i]) {
            if (hst)
                hst[out->hn] = p->start_ms[i];
            ht[out->hn] = p->t_ms[i];
            hh[out->hn] = query_hist_of(p->hist[i], a);
            if (!hh[out->hn++])
                return eval_nomem(e);
        } else if (!is_stale(p->value[i])) {
            if (fst)
                fst[out->fn] = p->start_ms[i];
            ft[out->fn] = p->t_ms[i];
            fv[out->fn++] = p->value[i];
        }
    }
    out->ft = ft;
    out->fv = fv;
    out->fst = fst;
    out->ht = ht;
    out->hh = hh;
    out->hst = hst;
    return true;
}

bool range_split(struct eval *e, const struct tsdb_points *p, struct arena *a,
                 struct series_points *out)
{
    *out = (struct series_points){0};
    bool plain = p->hist == NULL;
    for (size_t i = 0; i < p->count && plain; i++)
        plain = !is_stale(p->value[i]);
    if (!plain)
        return p->count == 0 || split_copy(e, p, a, out);
    out->fn = p->count;
    out->ft = p->t_ms;
    out->fv = p->value;
    out->fst = p->start_ms;
    return true;
}

static bool points_of_row(struct eval *e, const struct row *r, struct grid g, struct arena *a,
                          struct series_points *out)
{
    *out = (struct series_points){0};
    int64_t *ft = ARENA_ARRAY(a, int64_t, g.count), *ht = ARENA_ARRAY(a, int64_t, g.count);
    double *fv = ARENA_ARRAY(a, double, g.count);
    const struct query_hist **hh = arena_alloc(a, g.count * sizeof *hh);
    if (!ft || !ht || !fv || !hh)
        return eval_nomem(e);
    for (size_t i = 0; i < g.count; i++) {
        if (r->has[i] == CELL_FLOAT) {
            ft[out->fn] = grid_time(g, i);
            fv[out->fn++] = r->v[i];
        } else if (r->has[i] == CELL_HIST) {
            /* Hints speak of neighbouring samples; these are steps. */
            const struct query_hist *h = r->h[i];
            if (h->hint == TSDB_HIST_RESET || h->hint == TSDB_HIST_NO_RESET)
                h = query_hist_with_hint(h, TSDB_HIST_UNKNOWN_RESET, a);
            if (!h)
                return eval_nomem(e);
            ht[out->hn] = grid_time(g, i);
            hh[out->hn++] = h;
        }
    }
    out->ft = ft;
    out->fv = fv;
    out->ht = ht;
    out->hh = hh;
    return true;
}

/* --- the window -------------------------------------------------------------------------------- */

struct slider {
    const struct series_points *p;
    size_t f_from, f_to, h_from, h_to;
};

static void slide(struct slider *s, int64_t start, int64_t end, struct window *w)
{
    const struct series_points *p = s->p;
    while (s->f_to < p->fn && p->ft[s->f_to] <= end)
        s->f_to++;
    while (s->f_from < s->f_to && p->ft[s->f_from] <= start)
        s->f_from++;
    while (s->h_to < p->hn && p->ht[s->h_to] <= end)
        s->h_to++;
    while (s->h_from < s->h_to && p->ht[s->h_from] <= start)
        s->h_from++;
    w->p = (struct series_points){.fn = s->f_to - s->f_from, .hn = s->h_to - s->h_from};
    if (w->p.fn) {
        w->p.ft = p->ft + s->f_from;
        w->p.fv = p->fv + s->f_from;
        w->p.fst = p->fst ? p->fst + s->f_from : NULL;
        w->p.events = p->events ? p->events + s->f_from : NULL;
    }
    if (w->p.hn) {
        w->p.ht = p->ht + s->h_from;
        w->p.hh = p->hh + s->h_from;
        w->p.hst = p->hst ? p->hst + s->h_from : NULL;
    }
}

struct ranger {
    struct eval *e;
    struct grid g;
    struct range_call call;
    range_function function;
    int64_t offset, range, before, after; /* anchored and smoothed look further */
    const struct node *refs; /* carries @ */
    const double *p1, *p2;
    row_fn fn;
    void *ctx;
    struct row row;
    bool keeps_name;
};

static bool run_windows(struct ranger *r, const struct series_points *points)
{
    struct series_points p = *points;
    struct slider s = {.p = &p};
    struct window w;
    if (r->g.count > 1 && p.fn && r->function == rate_rate &&
        r->call.call->call.function->id != FUNCTION_DELTA) {
        p.events = rate_events(&p, r->e->scratch);
        if (!p.events)
            return eval_nomem(r->e);
    }
    for (size_t i = 0; i < r->g.count; i++) {
        int64_t ref = select_reference(r->e, r->refs, r->g, i) - r->offset;
        w.start = ref - r->range;
        w.end = ref;
        slide(&s, w.start - r->before, w.end + r->after, &w);
        if (!w.p.fn && !w.p.hn)
            continue;
        r->call.at_ms = grid_time(r->g, i);
        r->call.p1 = r->p1 ? r->p1[i] : 0;
        r->call.p2 = r->p2 ? r->p2[i] : 0;
        const struct query_hist *h = NULL;
        r->row.has[i] = (uint8_t)r->function(&r->call, &w, &r->row.v[i], &h);
        if (r->row.has[i] == CELL_HIST) {
            if (!h || !row_need_hist(r->e, &r->row, r->g.count))
                return eval_nomem(r->e);
            r->row.h[i] = h;
        }
    }
    return r->e->err == ERR_OK;
}

static bool run_series(struct ranger *r, struct tsdb_labels labels, bool drop_name,
                       const struct series_points *p)
{
    row_clear(&r->row, r->g.count);
    r->row.labels = r->call.labels = labels;
    r->row.drop_name = drop_name || !r->keeps_name;
    return eval_tick(r->e, 0) && run_windows(r, p) && explain_row(r->e, r->fn, r->ctx, &r->row);
}

static bool span_ms(struct eval *e, const struct node *expr, int64_t constant, int64_t *out)
{
    double s;
    struct err_msg why;
    *out = constant;
    if (!expr)
        return true;
    if (!promql_duration_eval(expr, (double)e->step / 1000, (double)(e->end - e->start) / 1000, &s,
                              &why))
        return eval_fail(e, ERR_INVALID, "%s", why.text);
    if (!(s > 0) || s > 9e12)
        return eval_fail(e, ERR_INVALID, "duration must be greater than 0");
    *out = llround(s * 1000);
    return true;
}

static bool range_of(struct eval *e, const struct node *n, int64_t *out_ms)
{
    return span_ms(e, n->range_expr, n->range_ms, out_ms);
}

/* ctx: the ranger as it is set up; a thread fills a row of its own. */
static bool make_row(void *ctx, struct eval *e, const struct tsdb_points *p, struct row *row)
{
    struct ranger mine = *(const struct ranger *)ctx;
    struct series_points split;
    mine.e = mine.call.e = e;
    mine.row = *row;
    mine.row.drop_name = !mine.keeps_name;
    mine.call.labels = row->labels;
    bool ok = range_split(e, p, e->scratch, &split) && run_windows(&mine, &split);
    *row = mine.row;
    return ok;
}

static bool each_matrix(struct ranger *r, const struct node *matrix)
{
    struct eval *e = r->e;
    const struct node *selector = matrix->inner.expr;
    struct tsdb_series *series;
    r->refs = selector;
    if (!select_offset(e, selector, &r->offset) || !range_of(e, matrix, &r->range))
        return false;
    r->before = selector->anchored || selector->smoothed ? e->limits.lookback_ms : 0;
    r->after = selector->smoothed ? e->limits.lookback_ms : 0;
    r->call.range_ms = r->range;
    int64_t min = select_reference(e, selector, r->g, 0) - r->offset - r->range - r->before + 1;
    int64_t max = select_reference(e, selector, r->g, r->g.count - 1) - r->offset + r->after;
    struct series_job j = {.e = e,
                           .selector = selector,
                           .cells = r->g.count,
                           .min_ms = min,
                           .max_ms = max,
                           .make = make_row,
                           .ctx = r};
    if (!select_series(e, selector, min, max, &series, &j.count))
        return false;
    j.series = series;
    j.fn = r->fn;
    j.fn_ctx = r->ctx;
    return series_each(&j);
}

/* The steps of a subquery: multiples of its step, all windows of the outer grid together. */
static bool subquery_rows(struct eval *e, const struct node *n, struct grid g, struct grid *out_g,
                          struct rows *out, int64_t *out_offset, int64_t *out_range)
{
    int64_t step;
    if (!select_offset(e, n, out_offset) || !range_of(e, n, out_range) ||
        !span_ms(e, n->step_expr, n->step_ms ? n->step_ms : e->limits.subquery_step_ms, &step))
        return false;
    int64_t from = select_reference(e, n, g, 0) - *out_offset - *out_range;
    int64_t to = select_reference(e, n, g, g.count - 1) - *out_offset;
    int64_t start = from - from % step;
    while (start <= from)
        start += step;
    *out_g = (struct grid){start, step, to < start ? 0 : (size_t)((to - start) / step + 1)};
    if (out_g->count > QUERY_STEPS_MAX)
        return eval_fail(e, ERR_LIMIT,
                         "query processing would load too many samples into memory in query "
                         "execution");
    return out_g->count == 0 || eval_rows(e, n->inner.expr, *out_g, out);
}

static bool each_subquery(struct ranger *r, const struct node *n)
{
    struct eval *e = r->e;
    struct rows rows = {0};
    struct grid sub;
    r->refs = n;
    if (!subquery_rows(e, n, r->g, &sub, &rows, &r->offset, &r->range))
        return false;
    r->call.range_ms = r->range;
    if (!rows_sort(e, &rows))
        return false;
    for (size_t k = 0; k < rows.count; k++) {
        struct series_points p;
        arena_reset(e->scratch);
        if (!points_of_row(e, &rows.items[k], sub, e->scratch, &p) ||
            !run_series(r, rows.items[k].labels, rows.items[k].drop_name, &p))
            return false;
    }
    return true;
}

static bool parameters(struct ranger *r, const struct node *call)
{
    unsigned found = 0;
    for (uint32_t i = 0; i < call->call.args.count; i++) {
        const struct node *arg = call->call.args.items[i];
        if (arg->type != TYPE_SCALAR)
            continue;
        double *values = arena_alloc_raw(r->e->arena, r->g.count * sizeof *values, 8);
        if (!values)
            return eval_nomem(r->e);
        if (!eval_scalar(r->e, arg, r->g, values))
            return false;
        *(found++ ? &r->p2 : &r->p1) = values;
    }
    return true;
}

static const struct node *range_arg(const struct node *call)
{
    for (uint32_t i = 0; i < call->call.args.count; i++)
        if (call->call.args.items[i]->type == TYPE_MATRIX)
            return promql_unparen(call->call.args.items[i]);
    CHECK_UNREACHABLE();
}

bool range_each(struct eval *e, const struct node *call, struct grid g, row_fn fn, void *ctx)
{
    int id = call->call.function->id;
    struct ranger r = {.e = e, .g = g, .fn = fn, .ctx = ctx};
    r.call = (struct range_call){.e = e, .call = call, .arg = range_arg(call)};
    r.function =
        range_function_of(id == FUNCTION_ABSENT_OVER_TIME ? FUNCTION_PRESENT_OVER_TIME : id);
    r.keeps_name = id == FUNCTION_LAST_OVER_TIME || id == FUNCTION_FIRST_OVER_TIME;
    if (id == FUNCTION_QUANTILE_OVER_TIME || id == FUNCTION_PREDICT_LINEAR ||
        id == FUNCTION_HOLT_WINTERS || id == FUNCTION_DOUBLE_EXPONENTIAL_SMOOTHING) {
        if (!parameters(&r, call))
            return false;
    }
    if (id == FUNCTION_QUANTILE_OVER_TIME)
        for (size_t i = 0; i < g.count; i++)
            if (isnan(r.p1[i]) || r.p1[i] < 0 || r.p1[i] > 1) {
                eval_warn(e, call->call.args.items[0],
                          "quantile value should be between 0 and 1, got %s%g",
                          isnan(r.p1[i])                  ? "N"
                          : isinf(r.p1[i]) && r.p1[i] > 0 ? "+"
                                                          : "",
                          r.p1[i]);
                break;
            }
    if (!row_init(e, &r.row, g.count))
        return false;
    return r.call.arg->kind == NODE_MATRIX ? each_matrix(&r, r.call.arg)
                                           : each_subquery(&r, r.call.arg);
}

/* --- a range vector as a result ---------------------------------------------------------------- */

struct matrix_out {
    struct eval *e;
    struct query_row *rows;
    size_t count, cap;
    bool names_known;
};

static bool matrix_add(struct matrix_out *m, struct tsdb_labels labels, const struct window *w)
{
    struct eval *e = m->e;
    size_t n = w->p.fn + w->p.hn, f = 0, h = 0;
    if (n == 0)
        return true;
    if (m->count == m->cap) {
        size_t cap = m->cap ? m->cap * 2 : 16;
        m->rows = arena_grow(e->arena, m->rows, sizeof *m->rows, m->cap, cap);
        m->cap = cap;
        if (!m->rows)
            return eval_nomem(e);
    }
    int64_t *t = ARENA_ARRAY(e->arena, int64_t, n);
    double *v = ARENA_ARRAY(e->arena, double, n);
    const struct query_hist **hist = arena_alloc(e->arena, n * sizeof *hist);
    if (!t || !v || !hist)
        return eval_nomem(e);
    for (size_t i = 0; i < n; i++) {
        if (h == w->p.hn || (f < w->p.fn && w->p.ft[f] < w->p.ht[h])) {
            t[i] = w->p.ft[f];
            v[i] = w->p.fv[f++];
        } else {
            t[i] = w->p.ht[h];
            hist[i] = query_hist_copy(w->p.hh[h++], e->arena);
            if (!hist[i])
                return eval_nomem(e);
        }
    }
    m->rows[m->count++] = (struct query_row){labels, n, t, v, w->p.hn ? hist : NULL};
    return eval_tick(e, n);
}

static bool matrix_of_selector(struct matrix_out *m, const struct node *n, struct grid g)
{
    struct eval *e = m->e;
    const struct node *selector = n->inner.expr;
    struct tsdb_series *series;
    size_t count;
    int64_t offset, range;
    if (!select_offset(e, selector, &offset) || !range_of(e, n, &range))
        return false;
    int64_t end = select_reference(e, selector, g, 0) - offset;
    if (!select_series(e, selector, end - range + 1, end, &series, &count))
        return false;
    uint64_t read = e->samples_read;
    for (size_t s = 0; s < count; s++) {
        struct tsdb_points points = {0};
        struct window w = {0};
        arena_reset(e->scratch);
        enum err err =
            e->src->points(e->src->ctx, &series[s], end - range + 1, end, e->scratch, &points);
        if (err != ERR_OK)
            return eval_fail(e, err, "reading samples: %s", err_text(err));
        e->samples_read += points.count;
        if (!range_split(e, &points, e->scratch, &w.p) || !matrix_add(m, series[s].labels, &w))
            return false;
    }
    explain_read(e, selector, e->samples_read - read, 0);
    return true;
}

bool range_matrix(struct eval *e, const struct node *n, int64_t at_ms, struct query_row **out,
                  size_t *out_count)
{
    struct matrix_out m = {.e = e};
    struct grid g = {at_ms, 1, 1}, sub;
    int64_t offset, range;
    struct rows rows = {0};
    n = promql_unparen(n);
    if (n->kind == NODE_MATRIX) {
        if (!matrix_of_selector(&m, n, g))
            return false;
    } else {
        if (!subquery_rows(e, n, g, &sub, &rows, &offset, &range) ||
            (sub.count && !rows_settle(e, &rows, sub.count, true)))
            return false;
        for (size_t k = 0; k < rows.count; k++) {
            struct window w = {0};
            if (!points_of_row(e, &rows.items[k], sub, e->arena, &w.p) ||
                !matrix_add(&m, rows.items[k].labels, &w))
                return false;
        }
    }
    *out = m.rows;
    *out_count = m.count;
    return true;
}
