/* Training's inner loops in GCC's portable vectors, LANES floats wide: included once per set by a file that defines LANES, TILE_ROWS (rows of
 * a register tile, a divisor of TRAIN_ROWS) and GROUP (1: cells are floats; 2: pairs of bf16, and the file's cells_along, cells_down and
 * add_product say how). The panel is two vectors wide.
 */
#include <math.h>
#include <string.h>

#include "base/check.h"
#include "gpu/train_kernel.h"

typedef float vec __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int32_t veci __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef uint32_t vecu __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
#define PANEL (2 * LANES)
#define DEPTH \
    256u /* cells of the summed dimension at a time: a panel of them stays in the nearest cache */
#define INLINE static inline __attribute__((always_inline))

_Static_assert(TRAIN_ROWS % TILE_ROWS == 0 && TRAIN_PANEL_MAX % PANEL == 0, "tiles fill blocks");

INLINE vec load(const float *p)
{
    return *(const vec *)(const void *)p;
}
INLINE void store(float *p, vec v)
{
    *(vec *)(void *)p = v;
}
INLINE veci load_cells(const train_cell *p)
{
    return *(const veci *)(const void *)p;
}
INLINE void store_cells(train_cell *p, veci v)
{
    *(veci *)(void *)p = v;
}
INLINE vec all(float x)
{
    return x - (vec){0};
}
INLINE vec pick(veci mask, vec yes, vec no)
{
    return (vec)((mask & (veci)yes) | (~mask & (veci)no));
}
INLINE float sum(vec v)
{
    float s = 0;
    for (int i = 0; i < LANES; i++)
        s += v[i];
    return s;
}
INLINE float largest(vec v)
{
    float m = v[0];
    for (int i = 1; i < LANES; i++)
        m = v[i] > m ? v[i] : m;
    return m;
}

/* e^x for x <= 0 (below -87 it is e^-87): 2^n times a polynomial of degree 6 on [-1/2, 1/2]; relative error below 2e-7. */
INLINE vec exp_of(vec x)
{
    x = pick(x < all(-87.0f), all(-87.0f), x);
    vec t = x * 1.44269504f, magic = all(12582912.0f);
    vec n = (t + magic) - magic, f = t - n;
    vec p = all(1.54035304e-4f);
    p = p * f + 1.33335581e-3f;
    p = p * f + 9.61812911e-3f;
    p = p * f + 5.55041087e-2f;
    p = p * f + 2.40226507e-1f;
    p = p * f + 6.93147181e-1f;
    p = p * f + 1.0f;
    veci e = __builtin_convertvector(n, veci) << 23;
    return (vec)((veci)p + e);
}

/* The normal distribution function by Abramowitz and Stegun 7.1.26 (absolute error below 1.5e-7); *bell is e^(-x^2 / 2). */
INLINE vec normal_of(vec x, vec *bell)
{
    veci negative = x < all(0.0f);
    vec a = pick(negative, -x, x) * 0.70710678f;
    vec t = 1.0f / (1.0f + 0.3275911f * a);
    vec p = all(1.061405429f);
    p = p * t - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    vec e = exp_of(-a * a);
    vec upper = 0.5f * p * t * e;
    *bell = e;
    return pick(negative, upper, 1.0f - upper);
}

#if GROUP == 1
INLINE veci cells_along(const float *p)
{
    return (veci)load(p);
}
INLINE veci cells_down(vec upper, vec lower)
{
    (void)lower;
    return (veci)upper;
}
INLINE vec add_product(vec acc, train_cell a, veci b)
{
    float f;
    memcpy(&f, &a, 4);
    return acc + f * (vec)b;
}
#else
INLINE veci cells_along(const float *p);
INLINE veci cells_down(vec upper, vec lower);
INLINE vec add_product(vec acc, train_cell a, veci b);
#endif

/* --- packing ------------------------------------------------------------------------------------- */

/* The first n < LANES floats, zeros behind them. */
INLINE vec load_some(const float *p, uint32_t n)
{
    float t[LANES] = {0};
    memcpy(t, p, n * sizeof(*t));
    return load(t);
}

INLINE vec load_upto(const float *p, uint32_t n)
{
    return n >= LANES ? load(p) : load_some(p, n);
}

static void pack_rows(const float *x, size_t ld, uint32_t rows, uint32_t n, train_cell *out,
                      size_t ld_out)
{
    for (uint32_t r = 0; r < rows; r++, x += ld, out += ld_out) {
        uint32_t i = 0;
        for (; i + LANES * GROUP <= n; i += LANES * GROUP)
            store_cells(out + i / GROUP, cells_along(x + i));
        if (i < n) {
            float t[LANES * GROUP] = {0};
            train_cell c[LANES];
            memcpy(t, x + i, (n - i) * sizeof(*t));
            store_cells(c, cells_along(t));
            memcpy(out + i / GROUP, c, (n - i + GROUP - 1) / GROUP * sizeof(*c));
        }
    }
}

static void pack_columns(const float *x, size_t ld, uint32_t rows, uint32_t n, train_cell *out,
                         size_t ld_out)
{
    for (uint32_t r = 0; r < rows; r += GROUP, out += ld_out) {
        const float *a = x + (size_t)r * ld, *b = r + 1 < rows ? a + ld : NULL;
        uint32_t i = 0;
        for (; i + LANES <= n; i += LANES)
            store_cells(out + i, cells_down(load(a + i), b ? load(b + i) : all(0)));
        if (i < n) {
            train_cell c[LANES];
            store_cells(c,
                        cells_down(load_some(a + i, n - i), b ? load_some(b + i, n - i) : all(0)));
            memcpy(out + i, c, (n - i) * sizeof(*c));
        }
    }
}

static void pack_panels(const float *x, size_t ld, uint32_t rows, uint32_t n, train_cell *out,
                        size_t panel)
{
    for (uint32_t r = 0; r < rows; r += GROUP, out += PANEL) {
        const float *a = x + (size_t)r * ld, *b = r + 1 < rows ? a + ld : NULL;
        train_cell *to = out;
        for (uint32_t at = 0; at < n; at += PANEL, to += panel)
            for (uint32_t i = 0; i < PANEL; i += LANES) {
                uint32_t left = at + i < n ? n - at - i : 0;
                vec upper = left ? load_upto(a + at + i, left) : all(0);
                vec lower = left && b ? load_upto(b + at + i, left) : all(0);
                store_cells(to + i, cells_down(upper, lower));
            }
    }
}

static void pack_panels_t(const float *x, size_t ld, uint32_t rows, uint32_t n, train_cell *out,
                          size_t panel)
{
    uint32_t cells = (n + GROUP - 1) / GROUP;
    for (uint32_t at = 0; at < rows; at += PANEL, out += panel)
        for (uint32_t i = 0; i < cells; i += LANES) {
            train_cell block[PANEL][LANES];
            uint32_t some = cells - i < LANES ? cells - i : LANES;
            for (uint32_t r = 0; r < PANEL; r++) {
                if (at + r >= rows) {
                    store_cells(block[r], (veci)all(0));
                    continue;
                }
                const float *p = x + (size_t)(at + r) * ld + (size_t)i * GROUP;
                if ((i + LANES) * GROUP <= n) {
                    store_cells(block[r], cells_along(p));
                } else {
                    float t[LANES * GROUP] = {0};
                    memcpy(t, p, (n - i * GROUP) * sizeof(*t));
                    store_cells(block[r], cells_along(t));
                }
            }
            for (uint32_t c = 0; c < some; c++)
                for (uint32_t r = 0; r < PANEL; r++)
                    out[(size_t)(i + c) * PANEL + r] = block[r][c];
        }
}

/* --- product ------------------------------------------------------------------------------------- */

/* c = start + a b of one register tile; start: c itself, or the same row for all (bias), or nothing. */
INLINE void tile(uint32_t rows, bool columns, const train_cell *a, size_t ld, const train_cell *b,
                 uint32_t cells, const float *bias, bool add, float *c, size_t ldc)
{
    vec acc[TILE_ROWS][2];
    vec b0 = bias ? load(bias) : all(0), b1 = bias ? load(bias + LANES) : all(0);
#pragma GCC unroll 16
    for (uint32_t r = 0; r < rows; r++) {
        acc[r][0] = add ? load(c + r * ldc) : b0;
        acc[r][1] = add ? load(c + r * ldc + LANES) : b1;
    }
    for (uint32_t i = 0; i < cells; i++, b += PANEL) {
        veci w0 = load_cells(b), w1 = load_cells(b + LANES);
#pragma GCC unroll 16
        for (uint32_t r = 0; r < rows; r++) {
            train_cell v = columns ? a[i * ld + r] : a[r * ld + i];
            acc[r][0] = add_product(acc[r][0], v, w0);
            acc[r][1] = add_product(acc[r][1], v, w1);
        }
    }
#pragma GCC unroll 16
    for (uint32_t r = 0; r < rows; r++)
        store(c + r * ldc, acc[r][0]), store(c + r * ldc + LANES, acc[r][1]);
}

INLINE void tiles(uint32_t m, bool columns, const train_cell *a, size_t ld, const train_cell *b,
                  uint32_t cells, const float *bias, bool add, float *c, size_t ldc)
{
    uint32_t r = 0;
    for (; r + TILE_ROWS <= m; r += TILE_ROWS)
        tile(TILE_ROWS, columns, columns ? a + r : a + r * ld, ld, b, cells, bias, add, c + r * ldc,
             ldc);
    for (; r + TILE_ROWS / 3 <= m; r += TILE_ROWS / 3)
        tile(TILE_ROWS / 3, columns, columns ? a + r : a + r * ld, ld, b, cells, bias, add,
             c + r * ldc, ldc);
    for (; r < m; r++)
        tile(1, columns, columns ? a + r : a + r * ld, ld, b, cells, bias, add, c + r * ldc, ldc);
}

static __attribute__((noinline)) void by_rows(uint32_t m, const train_cell *a, size_t ld,
                                              const train_cell *b, uint32_t cells,
                                              const float *bias, bool add, float *c, size_t ldc)
{
    tiles(m, false, a, ld, b, cells, bias, add, c, ldc);
}

static __attribute__((noinline)) void by_columns(uint32_t m, const train_cell *a, size_t ld,
                                                 const train_cell *b, uint32_t cells,
                                                 const float *bias, bool add, float *c, size_t ldc)
{
    tiles(m, true, a, ld, b, cells, bias, add, c, ldc);
}

static void block(const struct train_product *p, const train_cell *a, const train_cell *b,
                  uint32_t m, uint32_t cells, const float *bias, bool add, float *c, size_t ldc)
{
    if (p->a_is_columns)
        by_columns(m, a, p->a_ld, b, cells, bias, add, c, ldc);
    else
        by_rows(m, a, p->a_ld, b, cells, bias, add, c, ldc);
}

/* A panel that is not full: through a block of its own, so that nothing past n is touched. */
static void edge_block(const struct train_product *p, const train_cell *a, const train_cell *b,
                       uint32_t m, uint32_t n, uint32_t cells, const float *bias, bool add,
                       float *c)
{
    float t[TRAIN_ROWS * PANEL], wide[PANEL] = {0};
    if (bias)
        memcpy(wide, bias, n * sizeof(*wide));
    for (uint32_t r = 0; add && r < m; r++) {
        memset(t + (size_t)r * PANEL, 0, PANEL * sizeof(*t));
        memcpy(t + (size_t)r * PANEL, c + r * p->ldc, n * sizeof(*t));
    }
    block(p, a, b, m, cells, bias ? wide : NULL, add, t, PANEL);
    for (uint32_t r = 0; r < m; r++)
        memcpy(c + r * p->ldc, t + (size_t)r * PANEL, n * sizeof(*t));
}

static void product(const struct train_product *p)
{
    CHECK(p->cells > 0);
    for (uint32_t at = 0; at < p->cells; at += DEPTH) {
        uint32_t cells = p->cells - at < DEPTH ? p->cells - at : DEPTH;
        bool add = p->add || at > 0;
        for (uint32_t r = 0; r < p->m; r += TRAIN_ROWS) {
            uint32_t m = p->m - r < TRAIN_ROWS ? p->m - r : TRAIN_ROWS;
            const train_cell *a =
                p->a_is_columns ? p->a + (size_t)at * p->a_ld + r : p->a + (size_t)r * p->a_ld + at;
            for (uint32_t n = 0; n < p->n; n += PANEL) {
                const train_cell *b = p->b + n / PANEL * p->b_panel + (size_t)at * PANEL;
                const float *bias = p->bias && !add ? p->bias + n : NULL;
                float *c = p->c + (size_t)r * p->ldc + n;
                if (p->n - n >= PANEL)
                    block(p, a, b, m, cells, bias, add, c, p->ldc);
                else
                    edge_block(p, a, b, m, p->n - n, cells, bias, add, c);
            }
        }
    }
}

/* --- by rows ------------------------------------------------------------------------------------- */

static void gelu(const float *h, float *y, size_t n)
{
    for (size_t i = 0; i < n; i += LANES) {
        vec x = load(h + i), bell;
        store(y + i, x * normal_of(x, &bell));
    }
}

static void gelu_back(const float *h, float *dy, size_t n)
{
    for (size_t i = 0; i < n; i += LANES) {
        vec x = load(h + i), bell;
        vec whole = normal_of(x, &bell);
        store(dy + i, load(dy + i) * (whole + 0.39894228f * x * bell));
    }
}

static void norm(const float *x, const float *add, size_t ld, uint32_t rows, uint32_t n,
                 const float *gain, const float *shift, float epsilon, float *normal,
                 float *inverse, float *y)
{
    for (uint32_t r = 0; r < rows; r++) {
        const float *p = x + r * ld, *q = add ? add + r * ld : NULL;
        float *to = normal + r * ld, *out = y + r * ld;
        vec total = all(0), square = all(0);
        for (uint32_t i = 0; i < n; i += LANES) {
            vec v = load(p + i);
            if (q)
                v += load(q + i);
            store(to + i, v);
            total += v;
        }
        float mean = sum(total) / (float)n;
        for (uint32_t i = 0; i < n; i += LANES) {
            vec d = load(to + i) - mean;
            square += d * d;
        }
        inverse[r] = 1.0f / sqrtf(sum(square) / (float)n + epsilon);
        for (uint32_t i = 0; i < n; i += LANES) {
            vec v = (load(to + i) - mean) * inverse[r];
            store(to + i, v);
            store(out + i, v * load(gain + i) + load(shift + i));
        }
    }
}

static void norm_back(float *dy, const float *normal, const float *inverse, size_t ld,
                      uint32_t rows, uint32_t n, const float *gain, float *dgain, float *dshift)
{
    for (uint32_t r = 0; r < rows; r++) {
        float *d = dy + r * ld;
        const float *x = normal + r * ld;
        vec total = all(0), along = all(0);
        for (uint32_t i = 0; i < n; i += LANES) {
            vec g = load(d + i), v = load(x + i);
            store(dgain + i, load(dgain + i) + g * v);
            store(dshift + i, load(dshift + i) + g);
            g *= load(gain + i);
            total += g;
            along += g * v;
        }
#ifdef TELLTALE_FAULT_TRAIN_GRADIENT
        along = all(0); /* a test builds this to see that the check of gradients can fail */
#endif
        float mean = sum(total) / (float)n, slope = sum(along) / (float)n;
        for (uint32_t i = 0; i < n; i += LANES)
            store(d + i, inverse[r] * (load(d + i) * load(gain + i) - mean - slope * load(x + i)));
    }
}

/* A finaliser of multiplies and shifts: every bit of the key and the column reaches every bit of the result. */
INLINE vecu mixed(vecu x)
{
    x ^= x >> 16;
    x *= 0x85ebca6bu;
    x ^= x >> 13;
    x *= 0xc2b2ae35u;
    return x ^ x >> 16;
}

static void drop(float *x, size_t ld, uint32_t rows, uint32_t n, const uint32_t *keys,
                 uint32_t threshold, float scale)
{
    vecu lane;
    for (uint32_t i = 0; i < LANES; i++)
        lane[i] = i * 0x9e3779b9u;
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t i = 0; i < n; i += LANES) {
            float *p = x + r * ld + i;
            veci stays = (veci)(mixed(lane + (keys[r] + i * 0x9e3779b9u)) >= threshold);
            store(p, pick(stays, load(p) * scale, all(0)));
        }
}

static void scale_rows(const float *x, size_t ld, uint32_t rows, uint32_t n, const float *by,
                       float *out, size_t ld_out)
{
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t i = 0; i < n; i += LANES)
            store(out + r * ld_out + i, load(x + r * ld + i) * by[r]);
}

static void add_rows(const float *x, size_t ld, uint32_t rows, uint32_t n, float *total)
{
    for (uint32_t r = 0; r < rows; r++) {
        uint32_t i = 0;
        for (; i + LANES <= n; i += LANES)
            store(total + i, load(total + i) + load(x + r * ld + i));
        for (; i < n; i++)
            total[i] += x[r * ld + i];
    }
}

static void soften(float *s, size_t ld, uint32_t rows, uint32_t length, float scale, train_cell *p,
                   size_t ld_p, float *inverse, float *log_sum)
{
    uint32_t columns = train_round(length);
    for (uint32_t r = 0; r < rows; r++, s += ld, p += ld_p) {
        for (uint32_t j = length; j < columns; j++)
            s[j] = -INFINITY;
        vec m = load(s), total = all(0);
        for (uint32_t j = LANES; j < columns; j += LANES) {
            vec v = load(s + j);
            m = pick(v > m, v, m);
        }
        float top = largest(m) * scale;
        for (uint32_t j = 0; j < columns; j += LANES * GROUP) {
            for (uint32_t k = 0; k < LANES * GROUP; k += LANES) {
                vec e = exp_of(load(s + j + k) * scale - top);
                total += e;
                store(s + j + k, e);
            }
            store_cells(p + j / GROUP, cells_along(s + j));
        }
        inverse[r] = 1.0f / sum(total);
        log_sum[r] = top + logf(sum(total));
    }
}

INLINE float recompute(float *s, float *dp, uint32_t length, uint32_t columns, float scale,
                       float log_sum)
{
    vec total = all(0);
    for (uint32_t j = length; j < columns; j++)
        s[j] = -INFINITY, dp[j] = 0;
    for (uint32_t j = 0; j < columns; j += LANES) {
        vec p = exp_of(load(s + j) * scale - log_sum);
        store(s + j, p);
        total += p * load(dp + j);
    }
    return sum(total);
}

static void soften_back(float *s, float *dp, size_t ld, uint32_t rows, uint32_t length, float scale,
                        const float *log_sum, train_cell *p_columns, train_cell *ds_columns,
                        size_t ld_columns, train_cell *ds_rows, size_t ld_rows)
{
    uint32_t columns = train_round(length);
    for (uint32_t r = 0; r < rows; r += GROUP) {
        float mean[GROUP];
        uint32_t some = rows - r < GROUP ? rows - r : GROUP;
        for (uint32_t k = 0; k < some; k++)
            mean[k] = recompute(s + k * ld, dp + k * ld, length, columns, scale, log_sum[r + k]);
        for (uint32_t j = 0; j < columns; j += LANES) {
            vec p[2] = {all(0), all(0)}, d[2] = {all(0), all(0)};
            for (uint32_t k = 0; k < some; k++) {
                p[k] = load(s + k * ld + j);
                d[k] = p[k] * (load(dp + k * ld + j) - mean[k]) * scale;
                store(dp + k * ld + j, d[k]);
            }
            store_cells(p_columns + j, cells_down(p[0], p[1]));
            store_cells(ds_columns + j, cells_down(d[0], d[1]));
        }
        for (uint32_t k = 0; k < some; k++, ds_rows += ld_rows)
            for (uint32_t j = 0; j < columns; j += LANES * GROUP)
                store_cells(ds_rows + j / GROUP, cells_along(dp + k * ld + j));
        s += GROUP * ld, dp += GROUP * ld, p_columns += ld_columns, ds_columns += ld_columns;
    }
}

/* --- optimiser ----------------------------------------------------------------------------------- */

static void adam(const struct train_adam *o, size_t n, float *restrict w, float *restrict m,
                 float *restrict v, const float *restrict g, float *restrict average)
{
    float keep = 1.0f - o->rate * o->decay, step = o->rate / o->correct1,
          root = 1.0f / sqrtf(o->correct2);
    for (size_t i = 0; i < n; i++) {
        float d = g[i] * o->scale;
        m[i] = o->beta1 * m[i] + (1.0f - o->beta1) * d;
        v[i] = o->beta2 * v[i] + (1.0f - o->beta2) * d * d;
        w[i] = keep * w[i] - step * m[i] / (sqrtf(v[i]) * root + o->epsilon);
    }
    for (size_t i = 0; average && i < n; i++)
        average[i] += (1.0f - o->average) * (w[i] - average[i]);
}

static double sum_squares(const float *x, size_t n)
{
    double total = 0;
    for (size_t i = 0; i < n;) {
        vec part = all(0);
        size_t end = n - i > 4096 ? i + 4096 : n;
        for (; i + LANES <= end; i += LANES)
            part += load(x + i) * load(x + i);
        for (; i < end; i++)
            total += (double)x[i] * (double)x[i];
        total += (double)sum(part);
    }
    return total;
}

#define TRAIN_SET(symbol, label)                                     \
    const struct train_set symbol = {.name = label,                  \
                                     .group = GROUP,                 \
                                     .panel = PANEL,                 \
                                     .is_supported = is_supported,   \
                                     .pack_rows = pack_rows,         \
                                     .pack_columns = pack_columns,   \
                                     .pack_panels = pack_panels,     \
                                     .pack_panels_t = pack_panels_t, \
                                     .product = product,             \
                                     .gelu = gelu,                   \
                                     .gelu_back = gelu_back,         \
                                     .norm = norm,                   \
                                     .norm_back = norm_back,         \
                                     .drop = drop,                   \
                                     .scale_rows = scale_rows,       \
                                     .add_rows = add_rows,           \
                                     .soften = soften,               \
                                     .soften_back = soften_back,     \
                                     .adam = adam,                   \
                                     .sum_squares = sum_squares}
