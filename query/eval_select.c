#include "query/eval.h"

#include "base/hash.h"
#include <math.h>

#define STALE_BITS 0x7ff0000000000002ull

static bool is_stale(double v)
{
    uint64_t bits;
    memcpy(&bits, &v, 8);
    return bits == STALE_BITS;
}

static bool match_regex(void *ctx, struct bytes value)
{
    return regex_re2_matches(ctx, value);
}

bool select_series(struct eval *e, const struct node *n, int64_t min_ms, int64_t max_ms,
                   struct tsdb_series **out, size_t *out_count)
{
    struct tsdb_matcher *m = ARENA_ARRAY(e->arena, struct tsdb_matcher, n->selector.count + 1u);
    if (!m)
        return eval_nomem(e);
    for (uint32_t i = 0; i < n->selector.count; i++) {
        const struct node_matcher *from = &n->selector.matchers[i];
        m[i] = (struct tsdb_matcher){.op = from->op, .name = from->name, .value = from->value};
        if (from->op == TSDB_MATCH_RE || from->op == TSDB_MATCH_NRE) {
            m[i].ctx = (void *)(uintptr_t)eval_regex(e, from->value);
            m[i].match = match_regex;
            if (!m[i].ctx)
                return false;
        }
    }
    enum err err =
        e->src->select(e->src->ctx, m, n->selector.count, min_ms, max_ms, e->arena, out, out_count);
    if (err != ERR_OK)
        return eval_fail(e, err, "reading series: %s", err_text(err));
    if (*out_count > e->limits.series_max)
        return eval_fail(e, ERR_LIMIT, "query would touch more than %llu series",
                         (unsigned long long)e->limits.series_max);
    explain_selected(e, n, *out_count, min_ms, max_ms);
    return eval_tick(e, 0);
}

static bool duration_ms(struct eval *e, const struct node *expr, int64_t constant, int64_t *out)
{
    *out = constant;
    if (!expr)
        return true;
    double s;
    struct err_msg why;
    if (!promql_duration_eval(expr, (double)e->step / 1000, (double)(e->end - e->start) / 1000, &s,
                              &why))
        return eval_fail(e, ERR_INVALID, "%s", why.text);
    if (!(fabs(s) < 9e12))
        return eval_fail(e, ERR_INVALID, "duration out of range");
    *out = llround(s * 1000);
    return true;
}

bool select_offset(struct eval *e, const struct node *n, int64_t *out_ms)
{
    return duration_ms(e, n->offset_expr, n->offset_ms, out_ms);
}

int64_t select_reference(const struct eval *e, const struct node *n, struct grid g, size_t i)
{
    switch (n->at) {
    case AT_TIME: return n->at_ms;
    case AT_START: return e->start;
    case AT_END: return e->end;
    default: return grid_time(g, i);
    }
}

struct filler {
    struct eval *e;
    const struct node *n;
    struct grid g;
    enum select_what what;
    int64_t offset, lookback;
};

/* A histogram between two; a counter that was reset in between grew from zero. */
static enum cell smooth_hists(const struct filler *f, struct tsdb_labels labels,
                              const struct tsdb_points *p, size_t from, size_t to, double share,
                              const struct query_hist **out)
{
    struct arena *a = f->e->arena;
    const struct query_hist *x = query_hist_of(p->hist[from], a);
    const struct query_hist *y = query_hist_of(p->hist[to], a), *d;
    unsigned flags = 0;
    if (!x || !y)
        return eval_nomem(f->e), CELL_NONE;
    if (query_hist_is_custom(x) != query_hist_is_custom(y)) {
        struct bytes name = eval_for_metric(f->e, labels);
        eval_warn(f->e, f->n,
                  "vector contains a mix of histograms with exponential and custom buckets "
                  "schemas" BYTES_FMT,
                  BYTES_ARG(name));
        return CELL_NONE;
    }
    if (y->hint != TSDB_HIST_GAUGE && query_hist_is_reset(y, x, f->e->scratch)) {
        *out = query_hist_scale(y, share, a);
    } else {
        d = query_hist_add(y, x, -1, a, &flags);
        d = d ? query_hist_scale(d, share, a) : NULL;
        *out = d ? query_hist_add(x, d, 1, a, &flags) : NULL;
    }
    return *out ? CELL_HIST : CELL_NONE;
}

/* The value between the neighbours of ref: what `smoothed` makes of an instant selector. */
static enum cell smooth(const struct filler *f, struct tsdb_labels labels,
                        const struct tsdb_points *p, size_t next, int64_t ref, double *out,
                        const struct query_hist **out_h)
{
    while (next > 0 && is_stale(p->value[next - 1]))
        next--;
    if (next == 0 || p->t_ms[next - 1] <= ref - f->lookback)
        return CELL_NONE;
    size_t from = next - 1, to = next;
    while (to < p->count && is_stale(p->value[to]))
        to++;
    bool hist = p->hist && p->hist[from];
    bool alone = p->t_ms[from] == ref || to == p->count || p->t_ms[to] > ref + f->lookback;
    if (!alone && hist != (p->hist && p->hist[to])) {
        eval_mixed_warning(f->e, f->n, labels);
        return CELL_NONE;
    }
    if (alone && hist) {
        *out_h = query_hist_of(p->hist[from], f->e->arena);
        return *out_h ? CELL_HIST : CELL_NONE;
    }
    *out = p->value[from];
    if (alone)
        return CELL_FLOAT;
    double share = (double)(ref - p->t_ms[from]) / (double)(p->t_ms[to] - p->t_ms[from]);
    if (hist)
        return smooth_hists(f, labels, p, from, to, share, out_h);
    *out += (p->value[to] - p->value[from]) * (double)(ref - p->t_ms[from]) /
            (double)(p->t_ms[to] - p->t_ms[from]);
    return CELL_FLOAT;
}

static bool fill_cell(const struct filler *f, const struct tsdb_points *p, size_t next, size_t i,
                      int64_t ref, struct row *r)
{
    if (f->n->smoothed) {
        const struct query_hist *h = NULL;
        r->has[i] = (uint8_t)smooth(f, r->labels, p, next, ref, &r->v[i], &h);
        if (r->has[i] == CELL_HIST) {
            if (!row_need_hist(f->e, r, f->g.count))
                return false;
            r->h[i] = h;
        }
        return f->e->err == ERR_OK;
    }
    if (next == 0 || p->t_ms[next - 1] <= ref - f->lookback || is_stale(p->value[next - 1]))
        return true;
    r->has[i] = CELL_FLOAT;
    if (f->what == SELECT_TIMESTAMP) {
        r->v[i] = (double)p->t_ms[next - 1] / 1000;
    } else if (f->what == SELECT_START) {
        int64_t st = p->start_ms ? p->start_ms[next - 1] : 0;
        r->v[i] = (double)st / 1000;
    } else if (p->hist && p->hist[next - 1]) {
        if (!row_need_hist(f->e, r, f->g.count))
            return false;
        r->has[i] = CELL_HIST;
        bool again = i > 0 && r->has[i - 1] == CELL_HIST && next == (size_t)r->v[i - 1];
        r->h[i] = again ? r->h[i - 1] : query_hist_of(p->hist[next - 1], f->e->arena);
        r->v[i] = (double)next; /* remembers which point, so that a repeated one is shared */
        if (!r->h[i])
            return eval_nomem(f->e);
    } else {
        r->v[i] = p->value[next - 1];
    }
    return true;
}

static bool fill_row(const struct filler *f, const struct tsdb_points *p, struct row *r)
{
    size_t next = 0; /* the first point behind ref */
    bool fixed = f->n->at != AT_NONE;
    for (size_t i = 0; i < f->g.count; i++) {
        int64_t ref = select_reference(f->e, f->n, f->g, i) - f->offset;
        while (next < p->count && p->t_ms[next] <= ref)
            next++;
        if (!fill_cell(f, p, next, i, ref, r))
            return false;
        if (fixed && i == 0 && f->g.count > 1) { /* the same at every step */
            for (size_t k = 1; k < f->g.count; k++) {
                r->has[k] = r->has[0];
                r->v[k] = r->v[0];
                if (r->has[0] == CELL_HIST)
                    r->h[k] = r->h[0];
            }
            break;
        }
    }
    return true;
}

static bool make_row(void *ctx, struct eval *e, const struct tsdb_points *p, struct row *row)
{
    struct filler f = *(const struct filler *)ctx;
    f.e = e;
    row->drop_name = f.what != SELECT_VALUE;
    return fill_row(&f, p, row);
}

bool select_each(struct eval *e, const struct node *n, struct grid g, enum select_what what,
                 row_fn fn, void *ctx)
{
    struct filler f = {e, n, g, what, 0, e->limits.lookback_ms};
    struct tsdb_series *series;
    if (!select_offset(e, n, &f.offset))
        return false;
    int64_t min = select_reference(e, n, g, 0) - f.offset - f.lookback + 1;
    int64_t max = select_reference(e, n, g, g.count - 1) - f.offset;
    if (n->smoothed)
        max += f.lookback;
    struct series_job j = {.e = e,
                           .selector = n,
                           .cells = g.count,
                           .min_ms = min,
                           .max_ms = max,
                           .make = make_row,
                           .ctx = &f};
    if (!select_series(e, n, min, max, &series, &j.count))
        return false;
    j.series = series;
    j.fn = fn;
    j.fn_ctx = ctx;
    return series_each(&j);
}
