/* The *_over_time functions and regressions: one window in, one value out. */
#include "query/eval.h"

#include <math.h>
#include <stdlib.h>

static enum cell floats_only(struct range_call *c, const struct window *w)
{
    if (w->p.fn && w->p.hn) {
        struct bytes name = eval_for_metric(c->e, c->labels);
        eval_info(c->e, c->arg,
                  "ignored histograms in a range containing both floats and histograms" BYTES_FMT,
                  BYTES_ARG(name));
    }
    return w->p.fn ? CELL_FLOAT : CELL_NONE;
}

#define RANGE_FUNCTION(name)                                                         \
    static enum cell name(struct range_call *c, const struct window *w, double *out, \
                          const struct query_hist **out_h)

static void note_flags(struct range_call *c, unsigned flags)
{
    if (flags & QUERY_HIST_INCOMPATIBLE) {
        struct bytes name = eval_for_metric(c->e, c->labels);
        eval_warn(c->e, c->arg,
                  "vector contains a mix of histograms with exponential and custom buckets "
                  "schemas" BYTES_FMT,
                  BYTES_ARG(name));
    }
    if (flags & QUERY_HIST_BOUNDS_RECONCILED)
        eval_info(c->e, c->arg, "mismatched custom buckets were reconciled during aggregation");
}

static bool hints_collide(const struct window *w)
{
    bool reset = false, no_reset = false;
    for (size_t i = 0; i < w->p.hn; i++) {
        reset |= w->p.hh[i]->hint == TSDB_HIST_RESET;
        no_reset |= w->p.hh[i]->hint == TSDB_HIST_NO_RESET;
    }
    return reset && no_reset;
}

static enum cell sum_hists(struct range_call *c, const struct window *w, bool averaging,
                           const struct query_hist **out_h)
{
    struct query_hist_sum sum = {0};
    unsigned flags = 0;
    for (size_t i = 0; i < w->p.hn; i++) {
        bool ok = query_hist_sum_add(&sum, w->p.hh[i], averaging, c->e->arena, &flags);
        note_flags(c, flags);
        if (!ok)
            return CELL_NONE;
    }
    if (hints_collide(w))
        eval_warn(c->e, c->arg, "conflicting counter resets during histogram aggregation");
    *out_h = query_hist_sum_result(&sum, averaging, c->e->arena);
    return *out_h ? CELL_HIST : CELL_NONE;
}

RANGE_FUNCTION(sum_over_time)
{
    double sum = 0, carry = 0;
    if (w->p.fn && w->p.hn) {
        eval_mixed_warning(c->e, c->arg, c->labels);
        return CELL_NONE;
    }
    if (w->p.hn)
        return sum_hists(c, w, false, out_h);
    for (size_t i = 0; i < w->p.fn; i++)
        kahan_add(w->p.fv[i], &sum, &carry);
    *out = isinf(sum) ? sum : sum + carry;
    return CELL_FLOAT;
}

/* The mean that survives overflow: incremental once the plain sum is no longer finite. */
static double mean_of(const double *v, size_t n)
{
    double sum = v[0], carry = 0, mean = 0, count = 1;
    bool incremental = false;
    for (size_t i = 1; i < n; i++) {
        count++;
        if (!incremental) {
            double s = sum, k = carry;
            kahan_add(v[i], &s, &k);
            if (!isinf(s)) {
                sum = s;
                carry = k;
                continue;
            }
            incremental = true;
            mean = sum / (count - 1);
            carry /= count - 1;
        }
        double q = (count - 1) / count, s = q * mean, k = q * carry;
        kahan_add(v[i] / count, &s, &k);
        mean = s;
        carry = k;
    }
    return incremental ? mean + carry : sum / count + carry / count;
}

RANGE_FUNCTION(avg_over_time)
{
    if (w->p.fn && w->p.hn) {
        eval_mixed_warning(c->e, c->arg, c->labels);
        return CELL_NONE;
    }
    if (w->p.hn)
        return sum_hists(c, w, true, out_h);
    *out = mean_of(w->p.fv, w->p.fn);
    return CELL_FLOAT;
}

RANGE_FUNCTION(count_over_time)
{
    *out = (double)(w->p.fn + w->p.hn);
    return CELL_FLOAT;
}

RANGE_FUNCTION(present_over_time)
{
    *out = 1;
    return CELL_FLOAT;
}

RANGE_FUNCTION(last_over_time)
{
    bool hist = w->p.hn && (!w->p.fn || w->p.ht[w->p.hn - 1] > w->p.ft[w->p.fn - 1]);
    if (hist)
        *out_h = query_hist_copy(w->p.hh[w->p.hn - 1], c->e->arena);
    else
        *out = w->p.fv[w->p.fn - 1];
    return hist ? CELL_HIST : CELL_FLOAT;
}

RANGE_FUNCTION(first_over_time)
{
    bool hist = w->p.hn && (!w->p.fn || w->p.ht[0] < w->p.ft[0]);
    if (hist)
        *out_h = query_hist_copy(w->p.hh[0], c->e->arena);
    else
        *out = w->p.fv[0];
    return hist ? CELL_HIST : CELL_FLOAT;
}

RANGE_FUNCTION(ts_of_last)
{
    int64_t f = w->p.fn ? w->p.ft[w->p.fn - 1] : INT64_MIN;
    int64_t h = w->p.hn ? w->p.ht[w->p.hn - 1] : INT64_MIN;
    *out = (double)MAX(f, h) / 1000;
    return CELL_FLOAT;
}

RANGE_FUNCTION(ts_of_first)
{
    int64_t f = w->p.fn ? w->p.ft[0] : INT64_MAX, h = w->p.hn ? w->p.ht[0] : INT64_MAX;
    *out = (double)MIN(f, h) / 1000;
    return CELL_FLOAT;
}

static size_t extreme(const struct window *w, bool max, bool latest)
{
    const double *v = w->p.fv;
    size_t at = 0;
    for (size_t i = 1; i < w->p.fn; i++) {
        bool better = max ? v[i] > v[at] : v[i] < v[at];
        if (better || isnan(v[at]) || (latest && v[i] == v[at]))
            at = i;
    }
    return at;
}

RANGE_FUNCTION(max_over_time)
{
    enum cell cell = floats_only(c, w);
    if (cell)
        *out = w->p.fv[extreme(w, true, false)];
    return cell;
}

RANGE_FUNCTION(min_over_time)
{
    enum cell cell = floats_only(c, w);
    if (cell)
        *out = w->p.fv[extreme(w, false, false)];
    return cell;
}

RANGE_FUNCTION(ts_of_max)
{
    enum cell cell = floats_only(c, w);
    if (cell)
        *out = (double)w->p.ft[extreme(w, true, true)] / 1000;
    return cell;
}

RANGE_FUNCTION(ts_of_min)
{
    enum cell cell = floats_only(c, w);
    if (cell)
        *out = (double)w->p.ft[extreme(w, false, true)] / 1000;
    return cell;
}

static double variance_of(const double *v, size_t n)
{
    double count = 0, mean = 0, mean_carry = 0, aux = 0, aux_carry = 0;
    for (size_t i = 0; i < n; i++) {
        count++;
        double delta = v[i] - (mean + mean_carry);
        kahan_add(delta / count, &mean, &mean_carry);
        kahan_add(delta * (v[i] - (mean + mean_carry)), &aux, &aux_carry);
    }
    return (aux + aux_carry) / count;
}

RANGE_FUNCTION(stdvar_over_time)
{
    enum cell cell = floats_only(c, w);
    if (cell)
        *out = variance_of(w->p.fv, w->p.fn);
    return cell;
}

RANGE_FUNCTION(stddev_over_time)
{
    enum cell cell = floats_only(c, w);
    if (cell)
        *out = sqrt(variance_of(w->p.fv, w->p.fn));
    return cell;
}

static int compare_doubles(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    if (isnan(a) || isnan(b))
        return isnan(b) - isnan(a); /* NaN is the least */
    return (a > b) - (a < b);
}

double quantile_of(double q, double *v, size_t n)
{
    if (n == 0 || isnan(q))
        return NAN;
    if (q < 0)
        return -INFINITY;
    if (q > 1)
        return INFINITY;
    qsort(v, n, sizeof *v, compare_doubles);
    double rank = q * ((double)n - 1), low = fmax(0, floor(rank));
    size_t at = (size_t)low, next = MIN(n - 1, at + 1);
    double weight = rank - floor(rank);
    return v[at] * (1 - weight) + v[next] * weight;
}

static double *sorted_copy(struct range_call *c, const struct window *w)
{
    double *v = arena_alloc_raw(c->e->scratch, w->p.fn * sizeof *v, 8);
    if (!v)
        eval_nomem(c->e);
    else
        memcpy(v, w->p.fv, w->p.fn * sizeof *v);
    return v;
}

RANGE_FUNCTION(quantile_over_time)
{
    double *v;
    if (!floats_only(c, w) || !(v = sorted_copy(c, w)))
        return CELL_NONE;
    *out = quantile_of(c->p1, v, w->p.fn);
    return CELL_FLOAT;
}

RANGE_FUNCTION(mad_over_time)
{
    double *v;
    if (!floats_only(c, w) || !(v = sorted_copy(c, w)))
        return CELL_NONE;
    double median = quantile_of(0.5, v, w->p.fn);
    bool has_nan = false;
    for (size_t i = 0; i < w->p.fn; i++) {
        has_nan |= isnan(w->p.fv[i]);
        v[i] = fabs(w->p.fv[i] - median);
    }
    *out = has_nan ? NAN : quantile_of(0.5, v, w->p.fn);
    return CELL_FLOAT;
}

/* Least squares over the window, the intercept at intercept_ms. */
static void regression(const struct window *w, int64_t intercept_ms, double *slope,
                       double *intercept)
{
    double n = 0, sx = 0, cx = 0, sy = 0, cy = 0, sxy = 0, cxy = 0, sxx = 0, cxx = 0;
    bool constant = true;
    for (size_t i = 0; i < w->p.fn; i++) {
        double v = w->p.fv[i], x = (double)(w->p.ft[i] - intercept_ms) / 1e3;
        constant &= v == w->p.fv[0];
        n++;
        kahan_add(x, &sx, &cx);
        kahan_add(v, &sy, &cy);
        kahan_add(x * v, &sxy, &cxy);
        kahan_add(x * x, &sxx, &cxx);
    }
    if (constant) {
        *slope = isinf(w->p.fv[0]) ? NAN : 0;
        *intercept = isinf(w->p.fv[0]) ? NAN : w->p.fv[0];
        return;
    }
    sx += cx;
    sy += cy;
    sxy += cxy;
    sxx += cxx;
    double cov = sxy - sx * sy / n, var = sxx - sx * sx / n;
    *slope = cov / var;
    *intercept = sy / n - *slope * sx / n;
}

RANGE_FUNCTION(deriv)
{
    double intercept;
    if (w->p.fn < 2) {
        if (w->p.fn == 1)
            (void)floats_only(c, w);
        return CELL_NONE;
    }
    (void)floats_only(c, w);
    regression(w, w->p.ft[0], out,
               &intercept); /* from the first sample: no precision is lost to large times */
    return CELL_FLOAT;
}

RANGE_FUNCTION(predict_linear)
{
    double slope, intercept;
    if (w->p.fn < 2) {
        if (w->p.fn == 1)
            (void)floats_only(c, w);
        return CELL_NONE;
    }
    (void)floats_only(c, w);
    regression(w, c->at_ms, &slope, &intercept);
    *out = slope * c->p1 + intercept;
    return CELL_FLOAT;
}

RANGE_FUNCTION(double_exponential)
{
    double sf = c->p1, tf = c->p2;
    if (!(sf > 0 && sf < 1)) {
        eval_fail(c->e, ERR_EXECUTION, "invalid smoothing factor. Expected: 0 < sf < 1, got: %f",
                  sf);
        return CELL_NONE;
    }
    if (!(tf > 0 && tf < 1)) {
        eval_fail(c->e, ERR_EXECUTION, "invalid trend factor. Expected: 0 < tf < 1, got: %f", tf);
        return CELL_NONE;
    }
    if (w->p.fn < 2) {
        if (w->p.fn == 1)
            (void)floats_only(c, w);
        return CELL_NONE;
    }
    (void)floats_only(c, w);
    double s0 = 0, s1 = w->p.fv[0], b = w->p.fv[1] - w->p.fv[0];
    for (size_t i = 1; i < w->p.fn; i++) {
        double x = sf * w->p.fv[i];
        if (i > 1)
            b = tf * (s1 - s0) + (1 - tf) * b;
        double y = (1 - sf) * (s1 + b);
        s0 = s1;
        s1 = x + y;
    }
    *out = s1;
    return CELL_FLOAT;
}

range_function range_function_of(int id)
{
    static const range_function table[FUNCTION_COUNT] = {
        [FUNCTION_AVG_OVER_TIME] = avg_over_time,
        [FUNCTION_CHANGES] = rate_changes,
        [FUNCTION_COUNT_OVER_TIME] = count_over_time,
        [FUNCTION_DELTA] = rate_rate,
        [FUNCTION_DERIV] = deriv,
        [FUNCTION_DOUBLE_EXPONENTIAL_SMOOTHING] = double_exponential,
        [FUNCTION_FIRST_OVER_TIME] = first_over_time,
        [FUNCTION_HOLT_WINTERS] = double_exponential,
        [FUNCTION_IDELTA] = rate_instant,
        [FUNCTION_INCREASE] = rate_rate,
        [FUNCTION_IRATE] = rate_instant,
        [FUNCTION_LAST_OVER_TIME] = last_over_time,
        [FUNCTION_MAD_OVER_TIME] = mad_over_time,
        [FUNCTION_MAX_OVER_TIME] = max_over_time,
        [FUNCTION_MIN_OVER_TIME] = min_over_time,
        [FUNCTION_PREDICT_LINEAR] = predict_linear,
        [FUNCTION_PRESENT_OVER_TIME] = present_over_time,
        [FUNCTION_QUANTILE_OVER_TIME] = quantile_over_time,
        [FUNCTION_RATE] = rate_rate,
        [FUNCTION_RESETS] = rate_changes,
        [FUNCTION_STDDEV_OVER_TIME] = stddev_over_time,
        [FUNCTION_STDVAR_OVER_TIME] = stdvar_over_time,
        [FUNCTION_SUM_OVER_TIME] = sum_over_time,
        [FUNCTION_TS_OF_FIRST_OVER_TIME] = ts_of_first,
        [FUNCTION_TS_OF_LAST_OVER_TIME] = ts_of_last,
        [FUNCTION_TS_OF_MAX_OVER_TIME] = ts_of_max,
        [FUNCTION_TS_OF_MIN_OVER_TIME] = ts_of_min,
    };
    return table[id];
}
