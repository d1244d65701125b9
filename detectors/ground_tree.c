/* Rows to bins, bins to histograms, histograms to splits. */
#include "detectors/ground_tree.h"

#include <math.h>
#include <stdlib.h>

#include "base/check.h"
#include "detectors/ground_negative.h"

#define VERSION 1u
#define BINS 64u
#define TREE_BYTES (GROUND_TREE_SPLITS * 6u + GROUND_TREE_LEAVES * 4u)

struct sums {
    double g, h;
};
struct fitting {
    const struct ground_tree_options *o;
    uint32_t n, columns;
    uint8_t *bins; /* [columns][n] */
    float *edges; /* [columns][BINS]: bin b has x <= edges[b] */
    const uint8_t *label;
    const float *weight;
    float *logit, *g, *h;
    uint8_t *node; /* of each row, in the level: 0 .. 2^level - 1 */
    bool *used; /* the row is in this tree's sample */
    uint64_t random;
};
struct tree {
    uint16_t column[GROUND_TREE_SPLITS];
    float threshold[GROUND_TREE_SPLITS];
    float value[GROUND_TREE_LEAVES];
};

/* --- applying -------------------------------------------------------------------------------------- */

static float f32(const uint8_t *p)
{
    float v;
    memcpy(&v, p, 4);
    return v;
}

enum err ground_tree_read(struct bytes form, struct ground_trees *out)
{
    struct reader r = reader_of(form);
    uint32_t version = reader_u32(&r), columns = reader_u32(&r), count = reader_u32(&r);
    uint32_t base = reader_u32(&r);
    if (r.failed || version != VERSION || count > GROUND_TREE_MAX ||
        columns > GROUND_TREE_COLUMNS_MAX || reader_left(&r) != (size_t)count * TREE_BYTES)
        return ERR_CORRUPT;
    struct ground_trees t = {r.at, count, columns, 0};
    memcpy(&t.base, &base, 4);
    bool sound = isfinite(t.base);
    for (uint32_t k = 0; k < count; k++) {
        const uint8_t *p = t.data + (size_t)k * TREE_BYTES, *f = p + GROUND_TREE_SPLITS * 2;
        for (uint32_t i = 0; i < GROUND_TREE_SPLITS; i++)
            sound &= (p[2 * i] | p[2 * i + 1] << 8) < (int)columns;
        for (uint32_t i = 0; i < GROUND_TREE_SPLITS + GROUND_TREE_LEAVES; i++)
            sound &= !isnan(f32(f + 4 * (size_t)i));
    }
    if (!sound)
        return ERR_CORRUPT;
    *out = t;
    return ERR_OK;
}

float ground_tree_logit(const struct ground_trees *t, const float *row)
{
    float sum = t->base;
    for (uint32_t k = 0; k < t->count; k++) {
        const uint8_t *p = t->data + (size_t)k * TREE_BYTES, *f = p + GROUND_TREE_SPLITS * 2;
        uint32_t i = 0;
        while (i < GROUND_TREE_SPLITS)
            i = 2 * i + 1 + (row[p[2 * i] | p[2 * i + 1] << 8] > f32(f + 4 * (size_t)i));
        sum += f32(f + 4 * (size_t)i); /* leaves follow the thresholds */
    }
    return sum;
}

/* --- bins ------------------------------------------------------------------------------------------ */

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Edges at quantiles; values that many rows share have a bin of their own. */
static void bin_column(struct fitting *f, const float *rows, uint32_t column, float *sorted)
{
    float *edges = f->edges + (size_t)column * BINS;
    uint8_t *bins = f->bins + (size_t)column * f->n;
    uint32_t used = 0;
    for (uint32_t i = 0; i < f->n; i++)
        sorted[i] = rows[(size_t)i * f->columns + column];
    qsort(sorted, f->n, sizeof(*sorted), by_value);
    for (uint32_t b = 1; b < BINS; b++) {
        float at = sorted[(size_t)b * f->n / BINS];
        if (at < sorted[f->n - 1] && (used == 0 || at > edges[used - 1]))
            edges[used++] = at;
    }
    for (uint32_t b = used; b < BINS; b++)
        edges[b] = INFINITY;
    for (uint32_t i = 0; i < f->n; i++) {
        float x = rows[(size_t)i * f->columns + column];
        uint32_t low = 0, high = used;
        while (low < high) {
            uint32_t mid = (low + high) / 2;
            if (x <= edges[mid])
                high = mid;
            else
                low = mid + 1;
        }
        bins[i] = (uint8_t)low;
    }
}

/* --- growing --------------------------------------------------------------------------------------- */

static double gain_of(struct sums s, double lambda)
{
    return s.g * s.g / (s.h + lambda);
}

/* The best split of each node of the level on one column. */
static void try_column(const struct fitting *f, uint32_t column, uint32_t nodes,
                       struct sums hist[][BINS], const struct sums *whole, struct tree *t,
                       double *best)
{
    const uint8_t *bins = f->bins + (size_t)column * f->n;
    memset(hist, 0, sizeof(*hist) * nodes);
    for (uint32_t i = 0; i < f->n; i++)
        if (f->used[i]) {
            hist[f->node[i]][bins[i]].g += (double)f->g[i];
            hist[f->node[i]][bins[i]].h += (double)f->h[i];
        }
    for (uint32_t k = 0; k < nodes; k++) {
        struct sums left = {0, 0};
        uint32_t at = nodes - 1 + k;
        for (uint32_t b = 0; b + 1 < BINS; b++) {
            left.g += hist[k][b].g, left.h += hist[k][b].h;
            struct sums right = {whole[k].g - left.g, whole[k].h - left.h};
            float edge = f->edges[(size_t)column * BINS + b];
            if (left.h < (double)f->o->least || right.h < (double)f->o->least || isinf(edge))
                continue;
            double gain = gain_of(left, (double)f->o->lambda) +
                          gain_of(right, (double)f->o->lambda) -
                          gain_of(whole[k], (double)f->o->lambda);
            if (gain > best[k]) {
                best[k] = gain;
                t->column[at] = (uint16_t)column, t->threshold[at] = edge;
            }
        }
    }
}

static void sum_nodes(const struct fitting *f, uint32_t nodes, struct sums *whole)
{
    memset(whole, 0, sizeof(*whole) * nodes);
    for (uint32_t i = 0; i < f->n; i++)
        if (f->used[i])
            whole[f->node[i]].g += (double)f->g[i], whole[f->node[i]].h += (double)f->h[i];
}

static void grow(struct fitting *f, struct tree *t, struct sums hist[][BINS], const bool *columns)
{
    struct sums whole[GROUND_TREE_LEAVES];
    memset(f->node, 0, f->n);
    for (uint32_t level = 0; level < GROUND_TREE_DEPTH; level++) {
        uint32_t nodes = 1u << level;
        double best[GROUND_TREE_LEAVES] = {0};
        for (uint32_t k = 0; k < nodes; k++) /* no split that helps: everything goes left */
            t->column[nodes - 1 + k] = 0, t->threshold[nodes - 1 + k] = INFINITY;
        sum_nodes(f, nodes, whole);
        for (uint32_t c = 0; c < f->columns; c++)
            if (columns[c])
                try_column(f, c, nodes, hist, whole, t, best);
        for (uint32_t i = 0; i < f->n; i++) {
            uint32_t at = nodes - 1 + f->node[i];
            uint32_t c = t->column[at], b = f->bins[(size_t)c * f->n + i];
            float x = b < BINS ? f->edges[(size_t)c * BINS + b] : INFINITY;
            f->node[i] = (uint8_t)(2 * f->node[i] + (x > t->threshold[at]));
        }
    }
    sum_nodes(f, GROUND_TREE_LEAVES, whole);
    for (uint32_t k = 0; k < GROUND_TREE_LEAVES; k++)
        t->value[k] =
            (float)(-(double)f->o->rate * whole[k].g / (whole[k].h + (double)f->o->lambda));
    for (uint32_t i = 0; i < f->n; i++)
        f->logit[i] += t->value[f->node[i]];
}

static void write_tree(const struct tree *t, struct buf *out)
{
    for (uint32_t i = 0; i < GROUND_TREE_SPLITS; i++) {
        buf_u8(out, (uint8_t)t->column[i]);
        buf_u8(out, (uint8_t)(t->column[i] >> 8));
    }
    buf_append(out, t->threshold, sizeof(t->threshold));
    buf_append(out, t->value, sizeof(t->value));
}

static float weight_of(const struct fitting *f, uint32_t i)
{
    return f->weight ? f->weight[i] : 1.f;
}

static void gradients(struct fitting *f, uint32_t tree)
{
    for (uint32_t i = 0; i < f->n; i++) {
        float p = 1.f / (1.f + expf(-f->logit[i]));
        f->g[i] = weight_of(f, i) * (p - (float)f->label[i]);
        f->h[i] = weight_of(f, i) * MAX(p * (1.f - p), 1e-6f);
        f->used[i] =
            (float)(ground_negative_random(&f->random) >> 40) < f->o->row_share * (float)(1u << 24);
    }
}

static enum err fit(struct fitting *f, const float *rows, struct sums hist[][BINS], bool *columns,
                    struct buf *out)
{
    double positive = 1, negative = 1;
    for (uint32_t c = 0; c < f->columns; c++)
        bin_column(f, rows, c, f->g);
    for (uint32_t i = 0; i < f->n; i++)
        *(f->label[i] ? &positive : &negative) += (double)weight_of(f, i);
    float base = (float)log(positive / negative);
    uint32_t bits;
    memcpy(&bits, &base, 4);
    buf_u32(out, VERSION), buf_u32(out, f->columns), buf_u32(out, f->o->trees), buf_u32(out, bits);
    for (uint32_t i = 0; i < f->n; i++)
        f->logit[i] = base;
    for (uint32_t k = 0; k < f->o->trees; k++) {
        struct tree t;
        gradients(f, k);
        for (uint32_t c = 0; c < f->columns; c++)
            columns[c] = (float)(ground_negative_random(&f->random) >> 40) <
                         f->o->column_share * (float)(1u << 24);
        grow(f, &t, hist, columns);
        write_tree(&t, out);
    }
    return buf_ok(out) ? ERR_OK : ERR_NOMEM;
}

enum err ground_tree_fit(const struct ground_tree_options *o, const float *rows, uint32_t n,
                         uint32_t columns, const uint8_t *label, const float *weight,
                         struct buf *out)
{
    if (n == 0 || columns == 0 || columns > GROUND_TREE_COLUMNS_MAX || o->trees > GROUND_TREE_MAX)
        return ERR_INVALID;
    struct fitting f = {.o = o,
                        .n = n,
                        .columns = columns,
                        .label = label,
                        .weight = weight,
                        .random = o->seed,
                        .bins = malloc((size_t)n * columns),
                        .edges = malloc(sizeof(float) * BINS * columns),
                        .logit = malloc(sizeof(float) * n),
                        .g = malloc(sizeof(float) * n),
                        .h = malloc(sizeof(float) * n),
                        .node = malloc(n),
                        .used = malloc(sizeof(bool) * n)};
    struct sums(*hist)[BINS] = malloc(sizeof(*hist) * GROUND_TREE_LEAVES);
    bool *chosen = malloc(sizeof(bool) * columns);
    bool ok = f.bins && f.edges && f.logit && f.g && f.h && f.node && f.used && hist && chosen;
    enum err e = ok ? fit(&f, rows, hist, chosen, out) : ERR_NOMEM;
    free(f.bins), free(f.edges), free(f.logit), free(f.g), free(f.h), free(f.node), free(f.used);
    free(hist), free(chosen);
    return e;
}
