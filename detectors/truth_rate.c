#include "detectors/truth_rate.h"

#include <math.h>
#include <stdlib.h>

#include "base/check.h"

#define Z 1.959963984540054 /* two-sided 95 % */
#define PSEUDO \
    2.0 /* labels of each class that the interval adds, as Agresti and Coull do: few labels are never sure of zero */
#define NEWTON_STEPS 50

void truth_pool_add(struct truth_pool *p, double score, bool is_flagged, double weight)
{
    p->n++;
    p->w += weight;
    p->ww += weight * weight;
    p->wx += weight * score;
    p->wxx += weight * score * score;
    p->wf += is_flagged ? weight : 0;
}

static double clip(double v)
{
    return v > 1 ? 1 : v > 0 ? v : 0;
}

static struct truth_interval interval_of(double rate, double low, double high)
{
    struct truth_interval i = {clip(rate), clip(low), clip(high)};
    i.low = MIN(i.low, i.rate);
    i.high = MAX(i.high, i.rate);
    return i;
}

/* Student's t for 95 %, by Cornish and Fisher's expansion: within 0.5 % from 6 degrees on. */
static double t_quantile(double degrees)
{
    double z = Z, z3 = z * z * z, z5 = z3 * z * z;
    return z + (z3 + z) / (4 * degrees) + (5 * z5 + 16 * z3 + 3 * z) / (96 * degrees * degrees);
}

/* --- PPI++ -------------------------------------------------------------------------------------------- */

struct moments {
    double w, ww, y, x, yy, xx, xy; /* weighted sums, then means */
};

static struct moments moments_of(const struct truth_label *l, size_t n)
{
    struct moments m = {0};
    for (size_t i = 0; i < n; i++) {
        double w = l[i].weight, y = l[i].is_bad, x = l[i].score;
        m.w += w;
        m.ww += w * w;
        m.y += w * y;
        m.x += w * x;
        m.yy += w * y * y;
        m.xx += w * x * x;
        m.xy += w * x * y;
    }
    return m;
}

static void moments_add_pseudo(struct moments *m, size_t n)
{
    double w = PSEUDO * m->w / (double)n, x = m->x / m->w;
    for (int y = 0; y < 2; y++) {
        m->w += w;
        m->ww += w * m->ww / m->w;
        m->y += w * y;
        m->x += w * x;
        m->yy += w * y;
        m->xx += w * x * x;
        m->xy += w * x * y;
    }
}

static void moments_divide(struct moments *m)
{
    m->y /= m->w;
    m->x /= m->w;
    m->yy /= m->w;
    m->xx /= m->w;
    m->xy /= m->w;
}

/* theta = mean y + lambda (mean of the pool's scores - mean of the labelled scores), and its variance. */
static double ppi_at(const struct moments *m, const struct truth_pool *pool, double lambda,
                     double *out_variance)
{
    double n = m->w * m->w / m->ww, big = pool->n ? pool->w * pool->w / pool->ww : 0;
    double pool_mean = pool->n ? pool->wx / pool->w : 0;
    double pool_var = pool->n ? MAX(pool->wxx / pool->w - pool_mean * pool_mean, 0) : 0;
    double vy = m->yy - m->y * m->y, vx = m->xx - m->x * m->x, c = m->xy - m->x * m->y;
    double residual = MAX(vy - 2 * lambda * c + lambda * lambda * vx, 0);
    *out_variance = residual / MAX(n - 1, 1) + (pool->n ? lambda * lambda * pool_var / big : 0);
    return m->y + lambda * (pool_mean - m->x);
}

bool truth_rate_ppi(const struct truth_label *l, size_t n, const struct truth_pool *pool,
                    struct truth_interval *out, double *out_lambda)
{
    double variance, lambda = 0;
    if (n < TRUTH_PPI_LABELS_MIN)
        return false;
    struct moments m = moments_of(l, n), wide = m;
    moments_divide(&m);
    double vx = m.xx - m.x * m.x, c = m.xy - m.x * m.y;
    if (pool->n && vx > 1e-12)
        lambda = clip(c / ((1 + (double)n / (double)pool->n) * vx));
    double rate = ppi_at(&m, pool, lambda, &variance);
    moments_add_pseudo(&wide, n);
    moments_divide(&wide);
    double centre = ppi_at(&wide, pool, lambda, &variance);
    double half = t_quantile(MAX(wide.w * wide.w / wide.ww - 1, 3)) * sqrt(variance);
    *out = interval_of(rate, centre - half, centre + half);
    *out_lambda = lambda;
    return true;
}

/* --- Rogan and Gladen ------------------------------------------------------------------------------------ */

bool truth_rate_rogan_gladen(const struct truth_label *l, size_t n, const struct truth_pool *pool,
                             struct truth_interval *out)
{
    double bad = 0, good = 0, hit = 0, pass = 0;
    for (size_t i = 0; i < n; i++) {
        bad += l[i].is_bad;
        good += !l[i].is_bad;
        hit += l[i].is_bad && l[i].is_flagged;
        pass += !l[i].is_bad && !l[i].is_flagged;
    }
    if (bad < TRUTH_RG_LABELS_MIN || good < TRUTH_RG_LABELS_MIN || !pool->n)
        return false;
    double size = pool->w * pool->w / pool->ww, flagged = pool->wf / pool->w;
    double se0 = hit / bad, sp0 = pass / good;
    /* Lang and Reiczigel's adjusted values */
    double se = (hit + 1) / (bad + 2), sp = (pass + 1) / (good + 2);
    double f = (size * flagged + Z * Z / 2) / (size + Z * Z);
    double youden = se + sp - 1;
    if (youden <= 0.05 || se0 + sp0 - 1 <= 0.05)
        return false; /* flags that say nothing */
    double p = clip((f + sp - 1) / youden);
    double vse = se * (1 - se) / (bad + 2), vsp = sp * (1 - sp) / (good + 2);
    double shift = 2 * Z * Z * (p * vse - (1 - p) * vsp);
    double half =
        Z * sqrt(f * (1 - f) / (size + Z * Z) + p * p * vse + (1 - p) * (1 - p) * vsp) / youden;
    *out = interval_of((flagged + sp0 - 1) / (se0 + sp0 - 1), p + shift - half, p + shift + half);
    return true;
}

/* --- calibration -------------------------------------------------------------------------------------------- */

double truth_rate_platt_at(struct truth_platt p, double logit)
{
    return 1 / (1 + exp(-(p.a * logit + p.b)));
}

/* Newton's method on a convex function of two variables; the prior keeps it from running off when labels can be told apart exactly. */
struct truth_platt truth_rate_platt(const struct truth_label *l, size_t n, struct truth_platt prior,
                                    double strength)
{
    struct truth_platt p = prior;
    double lambda = MAX(strength, 1e-3) / 4; /* a label's curvature is at most a quarter */
    for (int step = 0; step < NEWTON_STEPS; step++) {
        double ga = lambda * (p.a - prior.a), gb = lambda * (p.b - prior.b);
        double haa = lambda, hbb = lambda, hab = 0;
        for (size_t i = 0; i < n; i++) {
            double x = l[i].logit, q = truth_rate_platt_at(p, x);
            double d = q - l[i].is_bad, h = q * (1 - q);
            ga += d * x;
            gb += d;
            haa += h * x * x;
            hab += h * x;
            hbb += h;
        }
        double det = haa * hbb - hab * hab;
        double da = (hbb * ga - hab * gb) / det, db = (haa * gb - hab * ga) / det;
        double shrink =
            MAX(1, MAX(fabs(da), fabs(db)) / 2); /* far from the end a step may be too bold */
        p.a -= da / shrink;
        p.b -= db / shrink;
        if (fabs(da) + fabs(db) < 1e-9)
            break;
    }
    return p;
}

static int compare_label(const void *a, const void *b)
{
    double x = ((const struct truth_label *)a)->score, y = ((const struct truth_label *)b)->score;
    return (x > y) - (x < y);
}

size_t truth_rate_isotonic(struct truth_label *l, size_t n, double *bound, double *value)
{
    size_t blocks = 0;
    double *weight = n ? calloc(n, sizeof *weight) : NULL;
    if (!weight)
        return 0;
    qsort(l, n, sizeof *l, compare_label);
    for (size_t i = 0; i < n; i++) {
        bool is_same = blocks && i && l[i].score == l[i - 1].score;
        if (is_same) {
            size_t k = blocks - 1;
            value[k] =
                (value[k] * weight[k] + l[i].is_bad * l[i].weight) / (weight[k] + l[i].weight);
            weight[k] += l[i].weight;
        } else {
            bound[blocks] = l[i].score;
            value[blocks] = l[i].is_bad;
            weight[blocks++] = l[i].weight;
        }
        bool is_last_of_score = i + 1 == n || l[i + 1].score != l[i].score;
        while (is_last_of_score && blocks > 1 && value[blocks - 2] >= value[blocks - 1]) {
            size_t k = blocks - 2;
            value[k] =
                (value[k] * weight[k] + value[k + 1] * weight[k + 1]) / (weight[k] + weight[k + 1]);
            weight[k] += weight[k + 1];
            blocks--;
        }
    }
    free(weight);
    return blocks;
}

/* --- thresholds ------------------------------------------------------------------------------------------------ */

static int compare_double(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static size_t scores_of(const struct truth_label *l, size_t n, bool is_bad, double *out)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        if (l[i].is_bad == is_bad)
            out[count++] = l[i].score;
    qsort(out, count, sizeof *out, compare_double);
    return count;
}

bool truth_rate_precision_threshold(const struct truth_label *l, size_t n, double alpha,
                                    double *scratch, double *out)
{
    size_t clean = scores_of(l, n, false, scratch);
    double allowed = floor(alpha * ((double)clean + 1)) - 1; /* of the clean ones at or above it */
    if (allowed < 0)
        return false;
    size_t at = clean - (size_t)allowed;
    *out = at ? nextafter(scratch[at - 1], 2) : 0;
    return true;
}

bool truth_rate_triage_threshold(const struct truth_label *l, size_t n, double alpha,
                                 double *scratch, double *out)
{
    size_t bad = scores_of(l, n, true, scratch);
    double rank = floor(alpha * ((double)bad + 1));
    if (rank < 1)
        return false;
    *out = scratch[(size_t)rank - 1];
    return true;
}
