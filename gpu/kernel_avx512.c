/* AVX-512: f32 as everywhere, bf16 pairs and int8 fours through the dot instructions where the processor has them. */
#define LANES 16
#define TILE_ROWS 12
#include "gpu/kernel_lanes.h"

#if defined(__AVX512F__)
#include <immintrin.h>

/* --- bf16: packed[k / 2][32][2], x as pairs ------------------------------------------------------ */

INLINE void tile_bf16(uint32_t rows, const uint32_t *x, size_t ldx, uint32_t pairs,
                      const uint16_t *w, const float *bias, float *y, uint32_t ldy)
{
    __m512 acc[TILE_ROWS][2];
#pragma GCC unroll 16
    for (uint32_t r = 0; r < rows; r++)
        acc[r][0] = _mm512_loadu_ps(bias), acc[r][1] = _mm512_loadu_ps(bias + 16);
    for (uint32_t i = 0; i < pairs; i++, w += 64) {
        __m512bh w0 = (__m512bh)_mm512_loadu_si512(w), w1 = (__m512bh)_mm512_loadu_si512(w + 32);
#pragma GCC unroll 16
        for (uint32_t r = 0; r < rows; r++) {
            __m512bh v = (__m512bh)_mm512_set1_epi32((int)x[r * ldx + i]);
            acc[r][0] = _mm512_dpbf16_ps(acc[r][0], v, w0);
            acc[r][1] = _mm512_dpbf16_ps(acc[r][1], v, w1);
        }
    }
#pragma GCC unroll 16
    for (uint32_t r = 0; r < rows; r++)
        _mm512_storeu_ps(y + r * ldy, acc[r][0]), _mm512_storeu_ps(y + r * ldy + 16, acc[r][1]);
}

static void product_bf16(const struct kernel_weights *w, const struct kernel_rows *in,
                         uint32_t rows, float *y, uint32_t ldy)
{
    const uint16_t *packed = w->packed;
    uint32_t pairs = w->k_padded / 2;
    const uint32_t *x = in->quantised;
    for (uint32_t n = 0; n < w->n_padded; n += PANEL, packed += (size_t)w->k_padded * PANEL) {
        uint32_t r = 0;
        for (; r + TILE_ROWS <= rows; r += TILE_ROWS)
            tile_bf16(TILE_ROWS, x + (size_t)r * pairs, pairs, pairs, packed, w->bias + n,
                      y + (size_t)r * ldy + n, ldy);
        for (; r + 4 <= rows; r += 4)
            tile_bf16(4, x + (size_t)r * pairs, pairs, pairs, packed, w->bias + n,
                      y + (size_t)r * ldy + n, ldy);
        for (; r < rows; r++)
            tile_bf16(1, x + (size_t)r * pairs, pairs, pairs, packed, w->bias + n,
                      y + (size_t)r * ldy + n, ldy);
    }
}

static void quantise_bf16(const float *x, uint32_t ldx, uint32_t rows, uint32_t k,
                          struct kernel_rows *out)
{
    uint32_t padded = kernel_round(k);
    uint16_t *to = out->quantised;
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t i = 0; i < padded; i += 32) {
            __m512bh v = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + (size_t)r * ldx + i + 16),
                                             _mm512_loadu_ps(x + (size_t)r * ldx + i));
            _mm512_storeu_si512(to + (size_t)r * padded + i, (__m512i)v);
        }
}

/* --- int8: packed[k / 4][32][4]; x as u8 = value + 128, with a scale for every KERNEL_GROUP values of a row ------------------------ */

#define INT8_ROWS 6

INLINE void tile_int8(uint32_t rows, const uint32_t *x, const struct kernel_weights *m,
                      const int8_t *w, uint32_t n, const float *scale, float *y, uint32_t ldy)
{
    size_t fours = m->k_padded / 4, groups = kernel_groups(m->k);
    const int32_t *offset = m->offset + n;
    const float *column = m->scale + n;
    __m512 total[INT8_ROWS][2];
#pragma GCC unroll 8
    for (uint32_t r = 0; r < rows; r++)
        total[r][0] = total[r][1] = _mm512_setzero_ps();
    for (size_t g = 0, i = 0; g < groups; g++, offset += m->n_padded, column += m->n_padded) {
        __m512i acc[INT8_ROWS][2], offset0 = _mm512_loadu_si512(offset),
                                   offset1 = _mm512_loadu_si512(offset + 16);
        size_t end = MIN(i + KERNEL_GROUP / 4, fours);
#pragma GCC unroll 8
        for (uint32_t r = 0; r < rows; r++)
            acc[r][0] = offset0, acc[r][1] = offset1;
        for (; i < end; i++, w += 128) {
            __m512i w0 = _mm512_loadu_si512(w), w1 = _mm512_loadu_si512(w + 64);
#pragma GCC unroll 8
            for (uint32_t r = 0; r < rows; r++) {
                __m512i v = _mm512_set1_epi32((int)x[r * fours + i]);
                acc[r][0] = _mm512_dpbusd_epi32(acc[r][0], v, w0);
                acc[r][1] = _mm512_dpbusd_epi32(acc[r][1], v, w1);
            }
        }
#pragma GCC unroll 8
        for (uint32_t r = 0; r < rows; r++) {
            __m512 s = _mm512_set1_ps(scale[r * groups + g]);
            __m512 s0 = _mm512_mul_ps(s, _mm512_loadu_ps(column)),
                   s1 = _mm512_mul_ps(s, _mm512_loadu_ps(column + 16));
            total[r][0] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[r][0]), s0, total[r][0]);
            total[r][1] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[r][1]), s1, total[r][1]);
        }
    }
    __m512 bias0 = _mm512_loadu_ps(m->bias + n), bias1 = _mm512_loadu_ps(m->bias + n + 16);
#pragma GCC unroll 8
    for (uint32_t r = 0; r < rows; r++) {
        _mm512_storeu_ps(y + r * ldy, _mm512_add_ps(total[r][0], bias0));
        _mm512_storeu_ps(y + r * ldy + 16, _mm512_add_ps(total[r][1], bias1));
    }
}

static void product_int8(const struct kernel_weights *w, const struct kernel_rows *in,
                         uint32_t rows, float *y, uint32_t ldy)
{
    const int8_t *packed = w->packed;
    uint32_t fours = w->k_padded / 4, groups = kernel_groups(w->k);
    const uint32_t *x = in->quantised;
    for (uint32_t n = 0; n < w->n_padded; n += PANEL, packed += (size_t)w->k_padded * PANEL) {
        uint32_t r = 0;
        for (; r + INT8_ROWS <= rows; r += INT8_ROWS)
            tile_int8(INT8_ROWS, x + (size_t)r * fours, w, packed, n,
                      in->scale + (size_t)r * groups, y + (size_t)r * ldy + n, ldy);
        for (; r < rows; r++)
            tile_int8(1, x + (size_t)r * fours, w, packed, n, in->scale + (size_t)r * groups,
                      y + (size_t)r * ldy + n, ldy);
    }
}

static void quantise_group(const float *p, uint32_t n, uint8_t *to, float *out_scale)
{
    __m512 m = _mm512_setzero_ps();
    for (uint32_t i = 0; i < n; i += 16)
        m = _mm512_max_ps(m, _mm512_abs_ps(_mm512_loadu_ps(p + i)));
    float top = _mm512_reduce_max_ps(m);
    __m512 inverse = _mm512_set1_ps(top > 0 ? 127.0f / top : 0);
    *out_scale = top / 127.0f;
    for (uint32_t i = 0; i < n; i += 16) {
        __m512i v = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(p + i), inverse));
        v = _mm512_add_epi32(v, _mm512_set1_epi32(128));
        _mm_storeu_si128((__m128i *)(void *)(to + i), _mm512_cvtusepi32_epi8(v));
    }
}

static void quantise_int8(const float *x, uint32_t ldx, uint32_t rows, uint32_t k,
                          struct kernel_rows *out)
{
    uint32_t padded = kernel_round(k), groups = kernel_groups(k);
    uint8_t *to = out->quantised;
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t g = 0; g < groups; g++) {
            uint32_t from = g * KERNEL_GROUP;
            quantise_group(x + (size_t)r * ldx + from, MIN(KERNEL_GROUP, padded - from),
                           to + (size_t)r * padded + from, &out->scale[(size_t)r * groups + g]);
        }
}

static bool is_supported(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bf16");
}
#else
#define product_bf16 NULL
#define product_int8 NULL
#define quantise_bf16 NULL
#define quantise_int8 NULL
static bool is_supported(void)
{
    return false;
}
#endif

const struct kernel_set kernel_avx512 = {.name = "avx512",
                                         .panel = PANEL,
                                         .is_supported = is_supported,
                                         .product = {product, product_bf16, product_int8},
                                         .quantise = {as_they_are, quantise_bf16, quantise_int8},
                                         .attention = attention,
                                         .gelu = gelu,
                                         .norm = norm};
