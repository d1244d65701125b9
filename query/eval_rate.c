/* rate, increase, delta, irate, idelta, changes, resets: Prometheus' extrapolation, counter resets, start timestamps. */
#include "query/eval.h"

#include <math.h>

/* Did a counter start anew between two samples, as far as their start timestamps tell? Unknown: 0, or equal to the sample's time. */
static bool start_resets(int64_t prev_start, int64_t prev_t, int64_t start, int64_t t)
{
    if (start == 0 || start >= t || start < prev_t)
        return false;
    if (start > prev_t)
        return true;
    return prev_start != 0 && prev_start < prev_t; /* a delta series; not one with unknown start */
}

static bool start_overlaps(int64_t prev_start, int64_t prev_t, int64_t start)
{
    return start != 0 && start < prev_t && start != prev_start;
}

static void warn_overlap(struct range_call *c)
{
    struct bytes name = tsdb_labels_get(c->labels, BYTES_LIT("__name__"));
    eval_warn(c->e, c->arg,
              "sample has start time that overlaps with previous sample timestamp for metric "
              "\"" BYTES_FMT "\"",
              BYTES_ARG(name));
}

static void warn_metric(struct range_call *c, const char *what)
{
    struct bytes name = tsdb_labels_get(c->labels, BYTES_LIT("__name__"));
    eval_warn(c->e, c->arg, "%s \"" BYTES_FMT "\"", what, BYTES_ARG(name));
}

static void warn_schemas(struct range_call *c)
{
    struct bytes name = eval_for_metric(c->e, c->labels);
    eval_warn(c->e, c->arg,
              "vector contains a mix of histograms with exponential and custom buckets "
              "schemas" BYTES_FMT,
              BYTES_ARG(name));
}

/* x + sign * y with the warnings of a range function; NULL when it cannot be. */
static const struct query_hist *combine(struct range_call *c, const struct query_hist *x,
                                        const struct query_hist *y, double sign)
{
    unsigned flags;
    const struct query_hist *r = query_hist_add(x, y, sign, c->e->arena, &flags);
    if (flags & QUERY_HIST_INCOMPATIBLE)
        warn_schemas(c);
    else if (!r)
        eval_nomem(c->e);
    if (flags & QUERY_HIST_BOUNDS_RECONCILED)
        eval_info(c->e, c->arg, "mismatched custom buckets were reconciled during %s",
                  sign < 0 ? "subtraction" : "addition");
    return r;
}

static bool hist_reset_at(struct range_call *c, const struct series_points *p, size_t i,
                          const struct query_hist *prev)
{
    if (p->hst && start_resets(p->hst[i - 1], p->ht[i - 1], p->hst[i], p->ht[i]))
        return true;
    return query_hist_is_reset(p->hh[i], prev, c->e->arena);
}

/* last - first, resets added back; NULL (with a warning) when the histograms do not fit together. */
static const struct query_hist *hist_increase(struct range_call *c, const struct series_points *p,
                                              bool counter)
{
    const struct query_hist *prev = p->hh[0], *last = p->hh[p->hn - 1];
    struct query_hist empty = {0};
    if (counter && (prev->hint == TSDB_HIST_GAUGE || last->hint == TSDB_HIST_GAUGE))
        warn_metric(c, "this native histogram metric is not a counter:");
    if (counter && hist_reset_at(c, p, 1, prev)) {
        empty.schema = p->hh[1]->schema;
        empty.custom = p->hh[1]->custom;
        empty.custom_count = p->hh[1]->custom_count;
        empty.zero_threshold = query_hist_is_custom(p->hh[1]) ? 0 : p->hh[1]->zero_threshold;
        prev = &empty; /* whatever the first one looked like does not matter */
    }
    bool custom = query_hist_is_custom(prev);
    if (query_hist_is_custom(last) != custom) {
        warn_schemas(c);
        return NULL;
    }
    int8_t schema = MIN(last->schema, prev->schema);
    for (size_t i = 1; counter && i + 1 < p->hn; i++) {
        if (p->hh[i]->hint == TSDB_HIST_GAUGE)
            warn_metric(c, "this native histogram metric is not a counter:");
        if (query_hist_is_custom(p->hh[i]) != custom) {
            warn_schemas(c);
            return NULL;
        }
        schema = MIN(schema, p->hh[i]->schema);
    }
    const struct query_hist *h = query_hist_reduce(last, schema, c->e->arena);
    h = h ? combine(c, h, prev, -1) : NULL;
    bool overlap = false;
    for (size_t i = 1; h && counter && i < p->hn; i++) {
        if (!overlap && p->hst && start_overlaps(p->hst[i - 1], p->ht[i - 1], p->hst[i])) {
            overlap = true;
            warn_overlap(c);
        }
        if (hist_reset_at(c, p, i, prev))
            h = combine(c, h, prev, 1);
        prev = p->hh[i];
    }
    if (!counter && (p->hh[0]->hint != TSDB_HIST_GAUGE || last->hint != TSDB_HIST_GAUGE))
        warn_metric(c, "this native histogram metric is not a gauge:");
    h = h ? query_hist_compact(h, c->e->arena) : NULL;
    return h ? query_hist_with_hint(h, TSDB_HIST_GAUGE, c->e->arena) : NULL;
}

const uint32_t *rate_events(const struct series_points *p, struct arena *a)
{
    uint32_t *events = arena_alloc_raw(a, p->fn * sizeof *events, sizeof *events), n = 0;
    for (size_t i = 0; events && i < p->fn; i++) {
        if (i)
            n += p->fv[i] < p->fv[i - 1];
        if (i && p->fst)
            n += start_resets(p->fst[i - 1], p->ft[i - 1], p->fst[i], p->ft[i]) ||
                 start_overlaps(p->fst[i - 1], p->ft[i - 1], p->fst[i]);
        events[i] = n;
    }
    return events;
}

static double float_increase(struct range_call *c, const struct series_points *p, bool counter)
{
    double sum = p->fv[p->fn - 1] - p->fv[0];
    bool overlap = false;
    if (!counter || (p->events && p->events[0] == p->events[p->fn - 1]))
        return sum;
    if (!p->fst) {
        for (size_t i = 1; i < p->fn; i++)
            if (p->fv[i] < p->fv[i - 1])
                sum += p->fv[i - 1];
        return sum;
    }
    for (size_t i = 1; i < p->fn; i++) {
        if (!overlap && start_overlaps(p->fst[i - 1], p->ft[i - 1], p->fst[i])) {
            overlap = true;
            warn_overlap(c);
        }
        if (p->fv[i] < p->fv[i - 1] ||
            start_resets(p->fst[i - 1], p->ft[i - 1], p->fst[i], p->ft[i]))
            sum += p->fv[i - 1];
    }
    return sum;
}

/* By how much the increase between the first and the last sample is to be scaled to cover the window. */
struct extrapolation {
    double to_start, to_end, sampled, average;
};

static double scale_factor(const struct extrapolation *x, bool is_rate, int64_t range_ms)
{
    double factor = x->sampled != 0 ? (x->sampled + x->to_start + x->to_end) / x->sampled : 1;
    return is_rate ? factor / ((double)range_ms / 1000) : factor;
}

static void bound_start(struct extrapolation *x, bool counter, double first, double increase)
{
    if (x->to_start >= x->average * 1.1)
        x->to_start = x->average / 2;
    if (counter && increase > 0 && first >= 0) { /* a counter was never below zero */
        double to_zero = x->sampled * (first / increase);
        x->to_start = MIN(x->to_start, to_zero);
    }
}

static enum cell extrapolated(struct range_call *c, const struct window *w, bool counter,
                              bool is_rate, double *out, const struct query_hist **out_h)
{
    const struct series_points *p = &w->p;
    bool hist = p->hn > 0;
    size_t n = hist ? p->hn : p->fn;
    const int64_t *t = hist ? p->ht : p->ft, *st = hist ? p->hst : p->fst;
    double increase = 0;
    const struct query_hist *h = NULL;
    if (p->hn && p->fn) {
        eval_mixed_warning(c->e, c->arg, c->labels);
        return CELL_NONE;
    }
    if (hist && n > 1) {
        h = hist_increase(c, p, counter);
        if (!h)
            return CELL_NONE;
    } else if (!hist) {
        increase = float_increase(c, p, counter);
    }
    struct extrapolation x = {.to_start = (double)(t[0] - w->start) / 1000,
                              .to_end = (double)(w->end - t[n - 1]) / 1000,
                              .sampled = (double)(t[n - 1] - t[0]) / 1000};
    x.average = n > 1 ? x.sampled / (double)(n - 1) : 0;
    if (counter && st && st[0] != 0 && st[0] > w->start && st[0] < t[0]) {
        x.to_start = 0; /* it was zero at its start: no guess needed */
        x.sampled = (double)(t[n - 1] - st[0]) / 1000;
        if (!hist)
            increase += p->fv[0];
        else
            h = h ? combine(c, h, p->hh[0], 1) : p->hh[0];
        if (hist && !h)
            return CELL_NONE;
    } else if (n == 1) {
        return CELL_NONE;
    } else {
        bound_start(&x, counter, hist ? p->hh[0]->count : p->fv[0], hist ? h->count : increase);
    }
    if (x.to_end >= x.average * 1.1)
        x.to_end = x.average / 2;
    double factor = scale_factor(&x, is_rate, c->range_ms);
    if (!hist) {
        *out = increase * factor;
        return CELL_FLOAT;
    }
    *out_h = query_hist_scale(h, factor, c->e->arena);
    return CELL_HIST;
}

/* --- anchored and smoothed --------------------------------------------------------------------- */

static double interpolate(const struct series_points *p, size_t i, int64_t t, bool counter)
{
    double y1 = p->fv[i], y2 = p->fv[i + 1];
    if (counter && y2 < y1)
        y1 = 0;
    return y1 + (y2 - y1) * (double)(t - p->ft[i]) / (double)(p->ft[i + 1] - p->ft[i]);
}

static const struct query_hist *hist_between(struct range_call *c, const struct series_points *p,
                                             size_t i, int64_t t, bool counter)
{
    const struct query_hist *y1 = p->hh[i], *y2 = p->hh[i + 1];
    double share = (double)(t - p->ht[i]) / (double)(p->ht[i + 1] - p->ht[i]);
    if (counter && query_hist_is_reset(y2, y1, c->e->arena))
        return query_hist_scale(y2, share, c->e->arena);
    const struct query_hist *d = combine(c, y2, y1, -1);
    d = d ? query_hist_scale(d, share, c->e->arena) : NULL;
    return d ? combine(c, y1, d, 1) : NULL;
}

/* first: the last sample at or before the start (or the first of all); last: the first at or after the end when smoothed. */
static bool extended_bounds(const int64_t *t, size_t n, const struct window *w, bool smoothed,
                            size_t *first, size_t *last)
{
    *first = 0;
    *last = n - 1;
    while (*first + 1 < n && t[*first + 1] <= w->start)
        ++*first;
    if (smoothed) {
        size_t k = 0;
        while (k + 1 < n && t[k] < w->end)
            k++;
        *last = k;
    }
    return t[*last] > w->start && !(smoothed && t[*first] > w->end);
}

static enum cell extended_floats(struct range_call *c, const struct window *w, bool counter,
                                 bool is_rate, bool smoothed, double *out)
{
    const struct series_points *p = &w->p;
    size_t first, last;
    if (!extended_bounds(p->ft, p->fn, w, smoothed, &first, &last))
        return CELL_NONE;
    double left = smoothed && p->ft[first] < w->start ? interpolate(p, first, w->start, counter)
                                                      : p->fv[first];
    double right = smoothed && last > 0 && p->ft[last] > w->end
                       ? interpolate(p, last - 1, w->end, counter)
                       : p->fv[last];
    double result = right - left, prev = left;
    if (counter) {
        size_t from = p->ft[first] <= w->start ? first + 1 : first;
        for (size_t i = from; i <= last && p->ft[i] < w->end; i++) {
            if (p->fv[i] < prev)
                result += prev;
            prev = p->fv[i];
        }
        if (right < prev)
            result += prev;
    }
    *out = is_rate ? result / ((double)c->range_ms / 1000) : result;
    return CELL_FLOAT;
}

/* h with what resets inside of the window took away. An end that was interpolated has dealt with a reset beside it already. */
static const struct query_hist *add_resets(struct range_call *c, const struct window *w,
                                           const struct query_hist *h,
                                           const struct query_hist *left,
                                           const struct query_hist *right, size_t first,
                                           size_t last, bool left_interpolated)
{
    const struct series_points *p = &w->p;
    const struct query_hist *prev = left;
    size_t from = p->ht[first] <= w->start ? first + 1 : first;
    if (left_interpolated) {
        if (last == first + 1)
            return h;
        prev = p->hh[first + 1];
        from = first + 2;
    }
    for (size_t i = from; h && i <= last && p->ht[i] < w->end; i++) {
        if (query_hist_is_reset(p->hh[i], prev, c->e->arena))
            h = combine(c, h, prev, 1);
        prev = p->hh[i];
    }
    bool right_seen = p->ht[last] < w->end; /* it is prev */
    if (h && !right_seen && query_hist_is_reset(right, prev, c->e->arena))
        h = combine(c, h, prev, 1);
    return h;
}

static enum cell extended_hists(struct range_call *c, const struct window *w, bool counter,
                                bool is_rate, bool smoothed, const struct query_hist **out_h)
{
    const struct series_points *p = &w->p;
    size_t first, last;
    if (!extended_bounds(p->ht, p->hn, w, smoothed, &first, &last))
        return CELL_NONE;
    const struct query_hist *left = p->hh[first], *right = p->hh[last];
    for (size_t i = first; i <= last; i++) {
        if (counter && p->hh[i]->hint == TSDB_HIST_GAUGE)
            warn_metric(c, "this native histogram metric is not a counter:");
        if (!counter && p->hh[i]->hint != TSDB_HIST_GAUGE)
            warn_metric(c, "this native histogram metric is not a gauge:");
        if (query_hist_is_custom(p->hh[i]) != query_hist_is_custom(right)) {
            warn_schemas(c);
            return CELL_NONE;
        }
    }
    if (smoothed && p->ht[first] < w->start)
        left = hist_between(c, p, first, w->start, counter);
    if (smoothed && last > 0 && p->ht[last] > w->end)
        right = hist_between(c, p, last - 1, w->end, counter);
    const struct query_hist *h = left && right ? combine(c, right, left, -1) : NULL;
    if (h && counter)
        h = add_resets(c, w, h, left, right, first, last, smoothed && p->ht[first] < w->start);
    if (h && is_rate)
        h = query_hist_divide(h, (double)c->range_ms / 1000, c->e->arena);
    h = h ? query_hist_compact(h, c->e->arena) : NULL;
    *out_h = h ? query_hist_with_hint(h, TSDB_HIST_GAUGE, c->e->arena) : NULL;
    return *out_h ? CELL_HIST : CELL_NONE;
}

enum cell rate_rate(struct range_call *c, const struct window *w, double *out,
                    const struct query_hist **out_h)
{
    int id = c->call->call.function->id;
    bool counter = id != FUNCTION_DELTA, is_rate = id == FUNCTION_RATE;
    const struct node *selector = c->arg->kind == NODE_MATRIX ? c->arg->inner.expr : c->arg;
    if (!selector->anchored && !selector->smoothed)
        return extrapolated(c, w, counter, is_rate, out, out_h);
    if (w->p.fn && w->p.hn) {
        eval_mixed_warning(c->e, c->arg, c->labels);
        return CELL_NONE;
    }
    return w->p.fn ? extended_floats(c, w, counter, is_rate, selector->smoothed, out)
                   : extended_hists(c, w, counter, is_rate, selector->smoothed, out_h);
}

/* --- irate, idelta ----------------------------------------------------------------------------- */

static enum cell instant_hist(struct range_call *c, const struct window *w, bool is_rate,
                              double seconds, const struct query_hist **out_h)
{
    const struct series_points *p = &w->p;
    const struct query_hist *prev = p->hh[p->hn - 2], *last = p->hh[p->hn - 1], *h = last;
    if (is_rate && (prev->hint == TSDB_HIST_GAUGE || last->hint == TSDB_HIST_GAUGE))
        warn_metric(c, "this native histogram metric is not a counter:");
    if (!is_rate && (prev->hint != TSDB_HIST_GAUGE || last->hint != TSDB_HIST_GAUGE))
        warn_metric(c, "this native histogram metric is not a gauge:");
    if (!is_rate || !hist_reset_at(c, p, p->hn - 1, prev))
        h = combine(c, last, prev, -1);
    if (h && is_rate)
        h = query_hist_divide(h, seconds, c->e->arena);
    h = h ? query_hist_compact(h, c->e->arena) : NULL;
    *out_h = h ? query_hist_with_hint(h, TSDB_HIST_GAUGE, c->e->arena) : NULL;
    return *out_h ? CELL_HIST : CELL_NONE;
}

enum cell rate_instant(struct range_call *c, const struct window *w, double *out,
                       const struct query_hist **out_h)
{
    bool is_rate = c->call->call.function->id == FUNCTION_IRATE;
    const struct series_points *p = &w->p;
    size_t f = p->fn, h = p->hn;
    if (f + h < 2)
        return CELL_NONE;
    /* Of the last two samples: both floats, both histograms, or a mix. */
    bool last_hist = h && (!f || p->ht[h - 1] > p->ft[f - 1]);
    bool prev_hist = last_hist ? h > 1 && (!f || p->ht[h - 2] > p->ft[f - 1])
                               : h && (f < 2 || p->ht[h - 1] > p->ft[f - 2]);
    if (last_hist != prev_hist) {
        eval_mixed_warning(c->e, c->arg, c->labels);
        return CELL_NONE;
    }
    int64_t t1 = last_hist ? p->ht[h - 2] : p->ft[f - 2],
            t2 = last_hist ? p->ht[h - 1] : p->ft[f - 1];
    if (t1 == t2)
        return CELL_NONE;
    double seconds = (double)(t2 - t1) / 1000;
    if (last_hist)
        return instant_hist(c, w, is_rate, seconds, out_h);
    double prev = p->fv[f - 2], last = p->fv[f - 1];
    bool reset = last < prev || (p->fst && start_resets(p->fst[f - 2], t1, p->fst[f - 1], t2));
    *out = is_rate && reset ? last : last - prev;
    if (is_rate)
        *out /= seconds;
    return CELL_FLOAT;
}

/* --- changes, resets --------------------------------------------------------------------------- */

static bool pair_counts(struct range_call *c, bool resets, const double *pv,
                        const struct query_hist *ph, const double *v, const struct query_hist *h)
{
    if (h && ph)
        return resets ? query_hist_is_reset(h, ph, c->e->arena) : !query_hist_equal(h, ph);
    if (h || ph)
        return true;
    return resets ? *v < *pv : *v != *pv && !(isnan(*v) && isnan(*pv));
}

enum cell rate_changes(struct range_call *c, const struct window *w, double *out,
                       const struct query_hist **out_h)
{
    bool resets = c->call->call.function->id == FUNCTION_RESETS;
    const struct series_points *p = &w->p;
    size_t f = 0, h = 0, count = 0;
    const double *pv = NULL;
    const struct query_hist *ph = NULL;
    int64_t prev_t = 0, prev_st = 0;
    if (c->arg->kind == NODE_MATRIX && c->arg->inner.expr->anchored) {
        while (f + 1 < p->fn && p->ft[f + 1] <= w->start)
            f++;
        while (h + 1 < p->hn && p->ht[h + 1] <= w->start)
            h++;
        int64_t newest =
            MAX(p->fn ? p->ft[p->fn - 1] : INT64_MIN, p->hn ? p->ht[p->hn - 1] : INT64_MIN);
        if (newest <= w->start)
            return CELL_NONE;
        if (p->fn && p->hn && p->ft[f] <= w->start && p->ht[h] <= w->start)
            p->ft[f] < p->ht[h] ? f++ : h++;
    }
    for (size_t k = 0; f < p->fn || h < p->hn; k++) {
        bool is_hist = f == p->fn || (h < p->hn && p->ht[h] < p->ft[f]);
        int64_t t = is_hist ? p->ht[h] : p->ft[f];
        int64_t st = is_hist ? (p->hst ? p->hst[h] : 0) : p->fst ? p->fst[f] : 0;
        const double *v = is_hist ? NULL : &p->fv[f];
        const struct query_hist *hist = is_hist ? p->hh[h] : NULL;
        if (k > 0 && (pair_counts(c, resets, pv, ph, v, hist) ||
                      (resets && start_resets(prev_st, prev_t, st, t))))
            count++;
        pv = v;
        ph = hist;
        prev_t = t;
        prev_st = st;
        is_hist ? h++ : f++;
    }
    *out = (double)count;
    return CELL_FLOAT;
}
