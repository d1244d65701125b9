/* Newton's method on a handful of columns, and pool-adjacent-violators. */
#include "detectors/ground_curve.h"

#include <math.h>
#include <stdlib.h>

#include "base/check.h"

#define SIDE (GROUND_CURVE_COLUMNS_MAX + 1)

static double sigmoid(double x)
{
    return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x));
}

/* a x = b for a symmetric positive matrix, in place (Cholesky); b becomes x. */
static bool solve(double a[SIDE][SIDE], double *b, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j <= i; j++) {
            double sum = a[i][j];
            for (uint32_t k = 0; k < j; k++)
                sum -= a[i][k] * a[j][k];
            if (i == j && !(sum > 0))
                return false;
            a[i][j] = i == j ? sqrt(sum) : sum / a[j][j];
        }
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t k = 0; k < i; k++)
            b[i] -= a[i][k] * b[k];
        b[i] /= a[i][i];
    }
    for (uint32_t i = n; i-- > 0;) {
        for (uint32_t k = i + 1; k < n; k++)
            b[i] -= a[k][i] * b[k];
        b[i] /= a[i][i];
    }
    return true;
}

struct columns {
    double mean[SIDE], scale[SIDE];
};

static void standardise(const float *rows, uint32_t n, uint32_t d, struct columns *c)
{
    for (uint32_t k = 0; k < d; k++) {
        double sum = 0, square = 0;
        for (uint32_t i = 0; i < n; i++)
            sum += (double)rows[(size_t)i * d + k];
        c->mean[k] = sum / n;
        for (uint32_t i = 0; i < n; i++) {
            double x = (double)rows[(size_t)i * d + k] - c->mean[k];
            square += x * x;
        }
        c->scale[k] = square > 1e-12 * n ? 1 / sqrt(square / n) : 0;
    }
}

/* One Newton step; false when the matrix is not to be solved. *moved: the largest change. target: what a label counts as. */
static bool newton(const float *rows, uint32_t n, uint32_t d, const uint8_t *label,
                   const float *weight, const double target[2], double ridge,
                   const struct columns *c, double *w, double *moved)
{
    double hessian[SIDE][SIDE] = {{0}}, gradient[SIDE] = {0}, x[SIDE];
    for (uint32_t i = 0; i < n; i++) {
        double z = w[d], m = weight ? (double)weight[i] : 1;
        for (uint32_t k = 0; k < d; k++) {
            x[k] = ((double)rows[(size_t)i * d + k] - c->mean[k]) * c->scale[k];
            z += w[k] * x[k];
        }
        x[d] = 1;
        double p = sigmoid(z), g = m * (p - target[label[i]]), h = m * fmax(p * (1 - p), 1e-9);
        for (uint32_t k = 0; k <= d; k++) {
            gradient[k] += g * x[k];
            for (uint32_t j = 0; j <= k; j++)
                hessian[k][j] += h * x[k] * x[j];
        }
    }
    for (uint32_t k = 0; k <= d; k++) {
        gradient[k] += k < d ? ridge * w[k] : 0;
        hessian[k][k] += k < d ? ridge : 1e-9;
    }
    if (!solve(hessian, gradient, d + 1))
        return false;
    *moved = 0;
    for (uint32_t k = 0; k <= d; k++) {
        double step = fmax(-4, fmin(4, gradient[k]));
        w[k] -= step;
        *moved = fmax(*moved, fabs(step));
    }
    return true;
}

/* The column that may not weigh below 0 and does so most; d when there is none. */
static uint32_t most_negative(const double *w, uint32_t d, uint32_t free_columns)
{
    uint32_t worst = d;
    for (uint32_t k = 0; k < d; k++)
        if (!(free_columns >> k & 1) && w[k] < -1e-9 && (worst == d || w[k] < w[worst]))
            worst = k;
    return worst;
}

static enum err fit(const float *rows, uint32_t n, uint32_t d, const uint8_t *label,
                    const float *weight, const double target[2], double ridge,
                    uint32_t free_columns, float *weights)
{
    struct columns c;
    double w[SIDE] = {0};
    if (n == 0 || d > GROUND_CURVE_COLUMNS_MAX)
        return ERR_INVALID;
    standardise(rows, n, d, &c);
    for (uint32_t worst = 0; worst < d;) {
        double moved = 1;
        memset(w, 0, sizeof(w));
        for (unsigned i = 0; i < 50 && moved > 1e-7; i++)
            if (!newton(rows, n, d, label, weight, target, ridge, &c, w, &moved))
                return ERR_INVALID;
        worst = most_negative(w, d, free_columns);
        if (worst < d)
            c.scale[worst] = 0; /* a column of zeros: its weight stays 0 */
    }
    double constant = w[d];
    for (uint32_t k = 0; k < d; k++) {
        weights[k] = (float)(w[k] * c.scale[k]);
        constant -= w[k] * c.scale[k] * c.mean[k];
    }
    weights[d] = (float)constant;
    return ERR_OK;
}

enum err ground_curve_logistic(const float *rows, uint32_t n, uint32_t columns,
                               const uint8_t *label, const float *weight, double ridge,
                               uint32_t free_columns, float *weights)
{
    static const double target[2] = {0, 1};
    return fit(rows, n, columns, label, weight, target, ridge, free_columns, weights);
}

float ground_curve_dot(const float *weights, const float *row, uint32_t columns)
{
    float sum = weights[columns];
    for (uint32_t k = 0; k < columns; k++)
        sum += weights[k] * row[k];
    return sum;
}

/* --- steps ----------------------------------------------------------------------------------------- */

struct block {
    double at, p, n; /* sums of the line's p and of labels */
};

static int by_at(const void *a, const void *b)
{
    const struct block *x = a, *y = b;
    return (x->at > y->at) - (x->at < y->at);
}

/* Pool-adjacent-violators, then neighbours joined until few enough are left. */
static uint32_t pool(struct block *b, uint32_t n)
{
    uint32_t top = 0;
    for (uint32_t i = 0; i < n; i++) {
        b[top++] = b[i];
        while (top > 1 && b[top - 2].p * b[top - 1].n >= b[top - 1].p * b[top - 2].n) {
            b[top - 2].at += b[top - 1].at, b[top - 2].p += b[top - 1].p;
            b[top - 2].n += b[top - 1].n;
            top--;
        }
    }
    while (top > 1) {
        uint32_t small = 0;
        for (uint32_t i = 1; i < top; i++)
            if (b[i].n < b[small].n)
                small = i;
        if (top <= GROUND_CURVE_POINTS && b[small].n >= 20)
            break;
        uint32_t into = small == 0 ? 1 : small - 1, low = MIN(small, into);
        b[low].at += b[low + 1].at, b[low].p += b[low + 1].p, b[low].n += b[low + 1].n;
        for (uint32_t i = low + 1; i + 1 < top; i++)
            b[i] = b[i + 1];
        top--;
    }
    return top;
}

static float line_of(const struct ground_curve *c, float logit)
{
    return (float)sigmoid((double)(c->slope * logit + c->shift));
}

static enum err fit_steps(const float *logit, const uint8_t *label, uint32_t n,
                          struct ground_curve *c)
{
    struct block *b = malloc(sizeof(*b) * n);
    if (!b)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < n; i++)
        b[i] = (struct block){(double)line_of(c, logit[i]), label[i], 1};
    qsort(b, n, sizeof(*b), by_at);
    uint32_t top = pool(b, n);
    c->points = top > 1 ? top : 0;
    for (uint32_t i = 0; i < c->points; i++)
        c->at[i] = (float)(b[i].at / b[i].n), c->p[i] = (float)(b[i].p / b[i].n);
    free(b);
    return ERR_OK;
}

enum err ground_curve_fit(const float *logit, const uint8_t *label, uint32_t n,
                          struct ground_curve *out)
{
    struct ground_curve c = {0};
    float w[2];
    uint32_t positives = 0;
    for (uint32_t i = 0; i < n; i++)
        positives += label[i];
    double target[2] = {1. / (n - positives + 2.), (positives + 1.) / (positives + 2.)};
    enum err e = fit(logit, n, 1, label, NULL, target, 1e-6, 1, w);
    c.slope = w[0], c.shift = w[1];
    if (e == ERR_OK && !(c.slope > 0))
        c.slope = 1e-3f; /* the scores say nothing: the base rate, ranks kept */
    if (e == ERR_OK && n >= GROUND_CURVE_LABELS_LEAST)
        e = fit_steps(logit, label, n, &c);
    if (e == ERR_OK)
        *out = c;
    return e;
}

float ground_curve_probability(const struct ground_curve *c, float logit)
{
    float line = line_of(c, logit), step;
    if (c->points == 0)
        return line;
    uint32_t i = 0;
    while (i < c->points && c->at[i] < line)
        i++;
    if (i == 0)
        step = c->p[0] * (c->at[0] > 0 ? line / c->at[0] : 1);
    else if (i == c->points)
        step = c->p[i - 1] +
               (1 - c->p[i - 1]) * (line - c->at[i - 1]) / MAX(1 - c->at[i - 1], 1e-6f) * .5f;
    else
        step = c->p[i - 1] + (c->p[i] - c->p[i - 1]) * (line - c->at[i - 1]) /
                                 MAX(c->at[i] - c->at[i - 1], 1e-6f);
    return MIN(1.f, MAX(0.f, .9f * step + .1f * line));
}

void ground_curve_write(const struct ground_curve *c, struct buf *out)
{
    buf_append(out, &c->slope, 4), buf_append(out, &c->shift, 4);
    buf_u32(out, c->points);
    buf_append(out, c->at, sizeof(c->at)), buf_append(out, c->p, sizeof(c->p));
}

enum err ground_curve_read(struct reader *r, struct ground_curve *out)
{
    struct ground_curve c;
    struct bytes b = reader_bytes(r, sizeof(c));
    _Static_assert(sizeof(c) == 12 + 8 * GROUND_CURVE_POINTS, "written field by field");
    if (r->failed)
        return ERR_CORRUPT;
    memcpy(&c, b.data, sizeof(c));
    bool sound =
        isfinite(c.slope) && isfinite(c.shift) && c.slope > 0 && c.points <= GROUND_CURVE_POINTS;
    for (uint32_t i = 0; sound && i < c.points; i++)
        sound = c.at[i] >= 0 && c.at[i] <= 1 && c.p[i] >= 0 && c.p[i] <= 1 &&
                (i == 0 || (c.at[i] >= c.at[i - 1] && c.p[i] >= c.p[i - 1]));
    if (!sound)
        return ERR_CORRUPT;
    *out = c;
    return ERR_OK;
}
