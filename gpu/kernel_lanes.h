/* The kernels in GCC's portable vectors, LANES floats wide: included once per instruction set by a file that defines
 * LANES, TILE_ROWS (rows of a register tile) and KERNEL(name); compiled with that set's flags. The panel is two vectors wide.
 */
#include <math.h>
#include <string.h>

#include "base/check.h"
#include "gpu/kernel.h"

typedef float vec __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int32_t veci __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
#define PANEL (2 * LANES)
#define INLINE static inline __attribute__((always_inline))

INLINE vec load(const float *p)
{
    return *(const vec *)(const void *)p;
}
INLINE void store(float *p, vec v)
{
    *(vec *)(void *)p = v;
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

/* erf by Abramowitz and Stegun 7.1.26: absolute error below 1.5e-7. */
INLINE vec erf_of(vec x)
{
    veci negative = x < all(0.0f);
    vec a = pick(negative, -x, x);
    vec t = 1.0f / (1.0f + 0.3275911f * a);
    vec p = all(1.061405429f);
    p = p * t - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    vec y = 1.0f - p * t * exp_of(-a * a);
    return pick(negative, -y, y);
}

/* --- product ------------------------------------------------------------------------------------- */

INLINE void tile(uint32_t rows, const float *x, size_t ldx, uint32_t k, const float *w,
                 const float *bias, float *y, size_t ldy)
{
    vec acc[TILE_ROWS][2];
#pragma GCC unroll 16
    for (uint32_t r = 0; r < rows; r++)
        acc[r][0] = load(bias), acc[r][1] = load(bias + LANES);
    for (uint32_t i = 0; i < k; i++, w += PANEL) {
        vec w0 = load(w), w1 = load(w + LANES);
#pragma GCC unroll 16
        for (uint32_t r = 0; r < rows; r++) {
            vec v = all(x[r * ldx + i]);
            acc[r][0] += v * w0;
            acc[r][1] += v * w1;
        }
    }
#pragma GCC unroll 16
    for (uint32_t r = 0; r < rows; r++)
        store(y + r * ldy, acc[r][0]), store(y + r * ldy + LANES, acc[r][1]);
}

static void product(const struct kernel_weights *w, const struct kernel_rows *in, uint32_t rows,
                    float *y, uint32_t ldy)
{
    const float *packed = w->packed;
    for (uint32_t n = 0; n < w->n_padded; n += PANEL, packed += (size_t)w->k_padded * PANEL) {
        uint32_t r = 0;
        for (; r + TILE_ROWS <= rows; r += TILE_ROWS)
            tile(TILE_ROWS, in->f32 + (size_t)r * in->ld, in->ld, w->k, packed, w->bias + n,
                 y + (size_t)r * ldy + n, ldy);
        for (; r + TILE_ROWS / 3 <= rows; r += TILE_ROWS / 3)
            tile(TILE_ROWS / 3, in->f32 + (size_t)r * in->ld, in->ld, w->k, packed, w->bias + n,
                 y + (size_t)r * ldy + n, ldy);
        for (; r < rows; r++)
            tile(1, in->f32 + (size_t)r * in->ld, in->ld, w->k, packed, w->bias + n,
                 y + (size_t)r * ldy + n, ldy);
    }
}

static void as_they_are(const struct kernel_weights *w, const float *x, uint32_t ldx, uint32_t rows,
                        struct kernel_rows *out)
{
    (void)rows, (void)w;
    out->f32 = x;
    out->ld = ldx;
}

/* --- attention ----------------------------------------------------------------------------------- */

#define ATTENTION_ROWS 6

/* score[r][j] = q_r . k_j for a block of two vectors of j */
INLINE void scores(uint32_t rows, const float *q, size_t ld, const float *kt, size_t stride,
                   uint32_t columns, uint32_t size, float *s)
{
    for (uint32_t j = 0; j < columns; j += PANEL) {
        vec acc[ATTENTION_ROWS][2];
#pragma GCC unroll 8
        for (uint32_t r = 0; r < rows; r++)
            acc[r][0] = acc[r][1] = all(0);
        for (uint32_t d = 0; d < size; d++) {
            vec k0 = load(kt + (size_t)d * stride + j),
                k1 = load(kt + (size_t)d * stride + j + LANES);
#pragma GCC unroll 8
            for (uint32_t r = 0; r < rows; r++) {
                vec v = all(q[r * ld + d]);
                acc[r][0] += v * k0;
                acc[r][1] += v * k1;
            }
        }
#pragma GCC unroll 8
        for (uint32_t r = 0; r < rows; r++)
            store(s + r * stride + j, acc[r][0]), store(s + r * stride + j + LANES, acc[r][1]);
    }
}

/* In place: e^(s - max); gives 1 / sum. What is past length adds next to nothing (e^-87) and is not mixed. */
INLINE float soften(float *s, uint32_t length, uint32_t columns)
{
    for (uint32_t j = length; j < columns; j++)
        s[j] = -INFINITY;
    vec m = load(s);
    for (uint32_t j = LANES; j < columns; j += LANES) {
        vec v = load(s + j);
        m = pick(v > m, v, m);
    }
    vec top = all(largest(m)), total = all(0);
    for (uint32_t j = 0; j < columns; j += LANES) {
        vec e = exp_of(load(s + j) - top);
        store(s + j, e);
        total += e;
    }
    return 1.0f / sum(total);
}

/* out[r] = sum over j of s[r][j] * v[j], for `width` vectors of the head at a time (1 or 2). */
INLINE void mix(uint32_t rows, uint32_t width, const float *s, size_t stride, const float *v,
                size_t size, uint32_t length, const float *inverse, float *out, uint32_t ldo)
{
    for (uint32_t d = 0; d < size; d += width * LANES) {
        vec acc[ATTENTION_ROWS][2];
#pragma GCC unroll 8
        for (uint32_t r = 0; r < rows; r++)
            acc[r][0] = acc[r][1] = all(0);
        for (uint32_t j = 0; j < length; j++) {
            const float *p = v + (size_t)j * size + d;
            vec x0 = load(p), x1 = width == 2 ? load(p + LANES) : x0;
#pragma GCC unroll 8
            for (uint32_t r = 0; r < rows; r++) {
                vec w = all(s[r * stride + j]);
                acc[r][0] += w * x0;
                if (width == 2)
                    acc[r][1] += w * x1;
            }
        }
#pragma GCC unroll 8
        for (uint32_t r = 0; r < rows; r++) {
            store(out + (size_t)r * ldo + d, acc[r][0] * inverse[r]);
            if (width == 2)
                store(out + (size_t)r * ldo + d + LANES, acc[r][1] * inverse[r]);
        }
    }
}

INLINE void attend_rows(uint32_t rows, const float *q, uint32_t ld, const float *kt, const float *v,
                        uint32_t length, uint32_t columns, uint32_t size, float *s, float *out,
                        uint32_t ldo)
{
    float inverse[ATTENTION_ROWS];
    scores(rows, q, ld, kt, columns, columns, size, s);
    for (uint32_t r = 0; r < rows; r++)
        inverse[r] = soften(s + (size_t)r * columns, length, columns);
    if (size % PANEL == 0)
        mix(rows, 2, s, columns, v, size, length, inverse, out, ldo);
    else
        mix(rows, 1, s, columns, v, size, length, inverse, out, ldo);
}

static void attention(const float *qkv, uint32_t ld, uint32_t length, uint32_t heads, uint32_t size,
                      float *out, uint32_t ldo, float *scratch)
{
    uint32_t columns = (length + PANEL - 1) / PANEL * PANEL, width = heads * size;
    float *kt = scratch, *v = kt + (size_t)columns * size, *s = v + (size_t)columns * size;
    CHECK(size % LANES == 0 && size <= KERNEL_HEAD_MAX);
    for (uint32_t h = 0; h < heads; h++) {
        const float *q = qkv + h * size, *k = q + width, *value = k + width;
        for (uint32_t j = 0; j < length;
             j += 8) { /* eight rows at a time: a whole run of each line of kt is written */
            uint32_t end = j + 8 < length ? j + 8 : length;
            for (uint32_t d = 0; d < size; d++)
                for (uint32_t i = j; i < end; i++)
                    kt[(size_t)d * columns + i] = k[(size_t)i * ld + d];
            for (uint32_t i = j; i < end; i++)
                memcpy(v + (size_t)i * size, value + (size_t)i * ld, size * sizeof(float));
        }
        for (uint32_t d = 0; d < size; d++)
            memset(kt + (size_t)d * columns + length, 0, (columns - length) * sizeof(float));
        uint32_t r = 0;
        for (; r + ATTENTION_ROWS <= length; r += ATTENTION_ROWS)
            attend_rows(ATTENTION_ROWS, q + (size_t)r * ld, ld, kt, v, length, columns, size, s,
                        out + (size_t)r * ldo + h * size, ldo);
        for (; r < length; r++)
            attend_rows(1, q + (size_t)r * ld, ld, kt, v, length, columns, size, s,
                        out + (size_t)r * ldo + h * size, ldo);
    }
}

/* --- by rows ------------------------------------------------------------------------------------- */

static void gelu(float *x, uint32_t ld, uint32_t rows, uint32_t n)
{
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t i = 0; i < n; i += LANES) {
            float *p = x + (size_t)r * ld + i;
            vec v = load(p);
            store(p, 0.5f * v * (1.0f + erf_of(v * 0.70710678f)));
        }
}

/* x / (1 + e^-t), t = sqrt(8 / pi) (x + 0.044715 x^3): half of 1 + tanh of half of it. */
static void gelu_tanh(float *x, uint32_t ld, uint32_t rows, uint32_t n)
{
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t i = 0; i < n; i += LANES) {
            float *p = x + (size_t)r * ld + i;
            vec v = load(p), t = 1.59576912f * (v + 0.044715f * v * v * v);
            veci negative = t < all(0.0f);
            vec e = exp_of(pick(negative, t, -t));
            store(p, v * pick(negative, e, all(1.0f)) / (1.0f + e));
        }
}

static void norm(float *x, uint32_t ld, const float *add, uint32_t ld_add, uint32_t rows,
                 uint32_t n, const float *gain, const float *shift, float epsilon)
{
    uint32_t whole = n / LANES * LANES;
    for (uint32_t r = 0; r < rows; r++) {
        float *p = x + (size_t)r * ld;
        const float *q = add ? add + (size_t)r * ld_add : NULL;
        vec total = all(0), square = all(0);
        float rest = 0, rest_square = 0;
        for (uint32_t i = 0; i < whole; i += LANES) {
            vec v = load(p + i);
            if (q)
                v += load(q + i);
            store(p + i, v);
            total += v;
        }
        for (uint32_t i = whole; i < n; i++) {
            p[i] += q ? q[i] : 0;
            rest += p[i];
        }
        float mean = (sum(total) + rest) / (float)n;
        for (uint32_t i = 0; i < whole; i += LANES) {
            vec d = load(p + i) - mean;
            square += d * d;
        }
        for (uint32_t i = whole; i < n; i++)
            rest_square += (p[i] - mean) * (p[i] - mean);
        float inverse = 1.0f / sqrtf((sum(square) + rest_square) / (float)n + epsilon);
        for (uint32_t i = 0; i < whole; i += LANES)
            store(p + i, (load(p + i) - mean) * inverse * load(gain + i) + load(shift + i));
        for (uint32_t i = whole; i < n; i++)
            p[i] = (p[i] - mean) * inverse * gain[i] + shift[i];
    }
}
