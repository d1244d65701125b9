/* bf16 products and attention through AVX-512 BF16; included after kernel_lanes.h and kernel_avx512_lanes.h where the flags allow it. */
#include <immintrin.h>

/* --- product: packed[k / 2][32][2], x as pairs ---------------------------------------------------- */

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

static void quantise_bf16(const struct kernel_weights *w, const float *x, uint32_t ldx,
                          uint32_t rows, struct kernel_rows *out)
{
    uint32_t padded = w->k_padded;
    uint16_t *to = out->quantised;
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t i = 0; i < padded; i += 32) {
            __m512bh v = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + (size_t)r * ldx + i + 16),
                                             _mm512_loadu_ps(x + (size_t)r * ldx + i));
            _mm512_storeu_si512(to + (size_t)r * padded + i, (__m512i)v);
        }
}

/* --- attention ------------------------------------------------------------------------------------
 * One head at a time, everything of it packed for the dot instruction:
 *
 *   q[row][size / 2] pairs        kt[size / 2][columns] pairs of k       v[columns / 2][size] pairs of two rows
 *
 * The weights of a row are 2^(q.k log2 e - bound) with bound = |q| max |k|, never less than the largest: so the exponential needs no pass for
 * the maximum and is taken while the dots are in registers. Where the bound is so far above that the row's sum nears what a float can hold,
 * the rows are done again with the maximum itself.
 */

#define BF16_ROWS 12

struct head {
    uint32_t *q, *kt, *v, *p; /* p: BF16_ROWS rows of columns / 2 pairs */
    float *bound; /* of a row of q */
    uint32_t length, columns, size;
};

static inline __m512i pair_rows(const float *p)
{
    return (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(p + 16), _mm512_loadu_ps(p));
}

INLINE void transpose_16(__m512i r[16])
{
    __m512i t[16];
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
        r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
        r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
        r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
    }
}

static float square_of(const float *p, uint32_t n)
{
    __m512 s = _mm512_setzero_ps();
    for (uint32_t i = 0; i < n; i += 16)
        s = _mm512_fmadd_ps(_mm512_loadu_ps(p + i), _mm512_loadu_ps(p + i), s);
    return _mm512_reduce_add_ps(s);
}

/* kt, 16 rows of k at a time; the largest square of a row. */
static float pack_keys(const struct head *h, const float *k, uint32_t ld)
{
    float top = 0;
    for (uint32_t j = 0; j < h->columns; j += 16)
        for (uint32_t d = 0; d < h->size; d += 32) {
            __m512i r[16];
            for (uint32_t i = 0; i < 16; i++)
                r[i] = j + i < h->length ? pair_rows(k + (size_t)(j + i) * ld + d)
                                         : _mm512_setzero_si512();
            transpose_16(r);
            for (uint32_t i = 0; i < 16; i++)
                _mm512_storeu_si512(h->kt + (size_t)(d / 2 + i) * h->columns + j, r[i]);
        }
    for (uint32_t j = 0; j < h->length; j++)
        top = MAX(top, square_of(k + (size_t)j * ld, h->size));
    return top;
}

static void pack_values(const struct head *h, const float *v, uint32_t ld)
{
    static const uint16_t order[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                       21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                       11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    __m512i interleave = _mm512_loadu_si512(order);
    for (uint32_t j = 0; j < h->columns; j += 2)
        for (uint32_t d = 0; d < h->size; d += 16) {
            const float *p = v + (size_t)j * ld + d;
            __m512 a = j < h->length ? _mm512_loadu_ps(p) : _mm512_setzero_ps(),
                   b = j + 1 < h->length ? _mm512_loadu_ps(p + ld) : _mm512_setzero_ps();
            _mm512_storeu_si512(
                h->v + (size_t)j / 2 * h->size + d,
                _mm512_permutexvar_epi16(interleave, (__m512i)_mm512_cvtne2ps_pbh(b, a)));
        }
}

#define LOG2_E 1.44269504f

/* Rows of q times log2 e; rows up to a whole tile are zero. */
static void pack_queries(const struct head *h, const float *q, uint32_t ld, float key_square)
{
    uint32_t padded = (h->length + BF16_ROWS - 1) / BF16_ROWS * BF16_ROWS;
    __m512 by = _mm512_set1_ps(LOG2_E);
    for (uint32_t r = 0; r < padded; r++) {
        const float *p = q + (size_t)r * ld;
        for (uint32_t d = 0; d < h->size; d += 32) {
            __m512i pairs = _mm512_setzero_si512();
            if (r < h->length)
                pairs = (__m512i)_mm512_cvtne2ps_pbh(_mm512_mul_ps(_mm512_loadu_ps(p + d + 16), by),
                                                     _mm512_mul_ps(_mm512_loadu_ps(p + d), by));
            _mm512_storeu_si512(h->q + (size_t)r * (h->size / 2) + d / 2, pairs);
        }
        h->bound[r] =
            r < h->length ? LOG2_E * 1.01f * sqrtf(square_of(p, h->size) * key_square) : 0;
    }
}

/* Dots of `rows` rows with 32 columns, less what each row begins with. */
INLINE void dots(uint32_t rows, const struct head *h, const uint32_t *q, uint32_t j,
                 const float *less, __m512 acc[BF16_ROWS][2])
{
    uint32_t half = h->size / 2;
    const uint32_t *k = h->kt + j;
#pragma GCC unroll 16
    for (uint32_t r = 0; r < rows; r++)
        acc[r][0] = acc[r][1] = _mm512_set1_ps(-less[r]);
    for (uint32_t d = 0; d < half; d++, k += h->columns) {
        __m512bh k0 = (__m512bh)_mm512_loadu_si512(k), k1 = (__m512bh)_mm512_loadu_si512(k + 16);
#pragma GCC unroll 16
        for (uint32_t r = 0; r < rows; r++) {
            __m512bh v = (__m512bh)_mm512_set1_epi32((int)q[r * half + d]);
            acc[r][0] = _mm512_dpbf16_ps(acc[r][0], v, k0);
            acc[r][1] = _mm512_dpbf16_ps(acc[r][1], v, k1);
        }
    }
}

/* p and the sums of its rows. */
INLINE void weigh(uint32_t rows, const struct head *h, const uint32_t *q, const float *less,
                  float *sums)
{
    __m512 total[BF16_ROWS];
#pragma GCC unroll 16
    for (uint32_t r = 0; r < rows; r++)
        total[r] = _mm512_setzero_ps();
    for (uint32_t j = 0; j < h->columns; j += 32) {
        __m512 acc[BF16_ROWS][2];
        uint32_t left = h->length - j;
        __mmask16 m0 = left >= 16 ? 0xffff : (__mmask16)((1u << left) - 1),
                  m1 = left >= 32   ? 0xffff
                       : left <= 16 ? 0
                                    : (__mmask16)((1u << (left - 16)) - 1);
        dots(rows, h, q, j, less, acc);
#pragma GCC unroll 16
        for (uint32_t r = 0; r < rows; r++) {
            __m512 e0 = power_of_two(acc[r][0], m0), e1 = power_of_two(acc[r][1], m1);
            total[r] = _mm512_add_ps(total[r], _mm512_add_ps(e0, e1));
            _mm512_storeu_si512(h->p + (size_t)r * (h->columns / 2) + j / 2,
                                (__m512i)_mm512_cvtne2ps_pbh(e1, e0));
        }
    }
#pragma GCC unroll 16
    for (uint32_t r = 0; r < rows; r++)
        sums[r] = _mm512_reduce_add_ps(total[r]);
}

INLINE void mix_bf16(uint32_t rows, const struct head *h, const float *sums, uint32_t rows_out,
                     float *out, uint32_t ldo)
{
    uint32_t pairs = h->columns / 2;
    for (uint32_t d = 0; d < h->size; d += 32) {
        __m512 acc[BF16_ROWS][2];
        const uint32_t *v = h->v + d;
#pragma GCC unroll 16
        for (uint32_t r = 0; r < rows; r++)
            acc[r][0] = acc[r][1] = _mm512_setzero_ps();
        for (uint32_t j = 0; j < pairs; j++, v += h->size) {
            __m512bh v0 = (__m512bh)_mm512_loadu_si512(v),
                     v1 = (__m512bh)_mm512_loadu_si512(v + 16);
#pragma GCC unroll 16
            for (uint32_t r = 0; r < rows; r++) {
                __m512bh w = (__m512bh)_mm512_set1_epi32((int)h->p[r * pairs + j]);
                acc[r][0] = _mm512_dpbf16_ps(acc[r][0], w, v0);
                acc[r][1] = _mm512_dpbf16_ps(acc[r][1], w, v1);
            }
        }
#pragma GCC unroll 16
        for (uint32_t r = 0; r < rows; r++) {
            __m512 by = _mm512_set1_ps(1.0f / sums[r]);
            if (r < rows_out) {
                _mm512_storeu_ps(out + (size_t)r * ldo + d, _mm512_mul_ps(acc[r][0], by));
                _mm512_storeu_ps(out + (size_t)r * ldo + d + 16, _mm512_mul_ps(acc[r][1], by));
            }
        }
    }
}

/* The largest dot of each row: for rows whose bound is too far above. */
static void largest_dots(const struct head *h, const uint32_t *q, float *out)
{
    static const float none[BF16_ROWS];
    for (uint32_t r = 0; r < BF16_ROWS; r++)
        out[r] = -INFINITY;
    for (uint32_t j = 0; j < h->columns; j += 32) {
        __m512 acc[BF16_ROWS][2];
        float of[32];
        dots(BF16_ROWS, h, q, j, none, acc);
        for (uint32_t r = 0; r < BF16_ROWS; r++) {
            _mm512_storeu_ps(of, acc[r][0]);
            _mm512_storeu_ps(of + 16, acc[r][1]);
            for (uint32_t i = 0; i < 32 && j + i < h->length; i++)
                out[r] = MAX(out[r], of[i]);
        }
    }
}

INLINE void attend_tile(uint32_t rows, const struct head *h, uint32_t from, uint32_t rows_out,
                        float *out, uint32_t ldo)
{
    const uint32_t *q = h->q + (size_t)from * (h->size / 2);
    float sums[BF16_ROWS], least = INFINITY;
    weigh(rows, h, q, h->bound + from, sums);
    for (uint32_t r = 0; r < rows_out; r++)
        least = MIN(least, sums[r]);
    if (!(least > 0x1p-80f)) { /* so that what was lost below 2^-126 does not count */
        float top[BF16_ROWS];
        largest_dots(h, q, top);
        weigh(rows, h, q, top, sums);
    }
    mix_bf16(rows, h, sums, rows_out, out, ldo);
}

static void attention_bf16(const float *qkv, uint32_t ld, uint32_t length, uint32_t heads,
                           uint32_t size, float *out, uint32_t ldo, float *scratch)
{
    uint32_t columns = (length + 31) / 32 * 32, width = heads * size;
    CHECK(size % 32 == 0 && size <= KERNEL_HEAD_MAX);
    struct head h = {.length = length, .columns = columns, .size = size};
    h.kt = (uint32_t *)(void *)scratch;
    h.v = h.kt + (size_t)columns * size / 2;
    h.p = h.v + (size_t)columns * size / 2;
    h.q = h.p + (size_t)columns / 2 * BF16_ROWS;
    h.bound = (float *)(void *)(h.q + (size_t)(columns + BF16_ROWS) * size / 2);
    for (uint32_t i = 0; i < heads; i++) {
        const float *q = qkv + (size_t)i * size;
        float *to = out + (size_t)i * size;
        float key_square = pack_keys(&h, q + width, ld);
        pack_values(&h, q + 2 * (size_t)width, ld);
        pack_queries(&h, q, ld, key_square);
        uint32_t r = 0;
        for (; r + BF16_ROWS <= length; r += BF16_ROWS)
            attend_tile(BF16_ROWS, &h, r, BF16_ROWS, to + (size_t)r * ldo, ldo);
        if (length - r > 4)
            attend_tile(BF16_ROWS, &h, r, length - r, to + (size_t)r * ldo, ldo);
        else if (length > r)
            attend_tile(4, &h, r, length - r, to + (size_t)r * ldo, ldo);
    }
}
