/* The int8 product through AVX-512 VNNI: inputs u8 with a zero point, weights s8; included after kernel_lanes.h where the flags allow it.
 *
 * packed[k / 4][32][4]. Sums of a group are exact in 32 bits: 255 * 127 * 16,384 < 2^31.
 * A panel of weights goes once through the nearest cache for all rows of the call; y gathers the groups.
 */
#include <immintrin.h>

#define INT8_ROWS 12

struct int8_panel {
    const int8_t *w;
    const float *scale, *offset, *bias; /* bias NULL: add to what is there */
    uint32_t fours;
};

struct int8_columns {
    __m512 scale, offset, bias;
};

INLINE struct int8_columns columns_of(const struct int8_panel *p, size_t at)
{
    return (struct int8_columns){_mm512_loadu_ps(p->scale + at), _mm512_loadu_ps(p->offset + at),
                                 p->bias ? _mm512_loadu_ps(p->bias + at) : _mm512_setzero_ps()};
}

/* y (or the bias) + row scale * (column scale * sum - row zero * column scale * sum of weights) */
INLINE void scale_int8(__m512i sum, const struct int8_columns *c, __m512 scale, __m512 zero,
                       __mmask16 add, float *y)
{
    __m512 t = _mm512_fmadd_ps(zero, c->offset, _mm512_mul_ps(_mm512_cvtepi32_ps(sum), c->scale));
    __m512 start = _mm512_add_ps(c->bias, _mm512_maskz_loadu_ps(add, y));
    _mm512_storeu_ps(y, _mm512_fmadd_ps(scale, t, start));
}

/* `rows` rows of one panel over one group; x and its scales advance by whole rows. */
INLINE void tile_int8(uint32_t rows, const struct int8_panel *p, const uint32_t *x, size_t ldx,
                      const float *row_scale, const float *row_zero, size_t groups, float *y,
                      size_t ldy)
{
    __v16si acc[INT8_ROWS][2];
    const int8_t *w = p->w;
#pragma GCC unroll 16
    for (uint32_t r = 0; r < rows; r++)
        acc[r][0] = acc[r][1] = (__v16si){0};
    for (uint32_t i = 0; i < p->fours; i++, w += 128) {
        __m512i w0 = _mm512_loadu_si512(w), w1 = _mm512_loadu_si512(w + 64);
#pragma GCC unroll 16
        for (uint32_t r = 0; r < rows; r++) {
            __m512i v = _mm512_set1_epi32((int)x[r * ldx + i]);
            acc[r][0] = (__v16si)_mm512_dpbusd_epi32((__m512i)acc[r][0], v, w0);
            acc[r][1] = (__v16si)_mm512_dpbusd_epi32((__m512i)acc[r][1], v, w1);
        }
    }
    __mmask16 add = p->bias ? 0 : 0xffff;
    struct int8_columns left = columns_of(p, 0), right = columns_of(p, 16);
#pragma GCC unroll 16
    for (uint32_t r = 0; r < rows; r++) {
        __m512 scale = _mm512_set1_ps(row_scale[r * groups]),
               zero = _mm512_set1_ps(row_zero[r * groups]);
        scale_int8((__m512i)acc[r][0], &left, scale, zero, add, y + r * ldy);
        scale_int8((__m512i)acc[r][1], &right, scale, zero, add, y + r * ldy + 16);
    }
}

static void panel_int8(const struct int8_panel *p, const struct kernel_rows *in, size_t ldx,
                       uint32_t at, size_t groups, uint32_t group, uint32_t rows, float *y,
                       uint32_t ldy)
{
    const uint32_t *x = (const uint32_t *)in->quantised + at / 4;
    const float *scale = in->scale + group, *zero = in->zero + group;
    uint32_t r = 0;
    for (; r + INT8_ROWS <= rows; r += INT8_ROWS)
        tile_int8(INT8_ROWS, p, x + r * ldx, ldx, scale + r * groups, zero + r * groups, groups,
                  y + (size_t)r * ldy, ldy);
    for (; r + 4 <= rows; r += 4)
        tile_int8(4, p, x + r * ldx, ldx, scale + r * groups, zero + r * groups, groups,
                  y + (size_t)r * ldy, ldy);
    for (; r < rows; r++)
        tile_int8(1, p, x + r * ldx, ldx, scale + r * groups, zero + r * groups, groups,
                  y + (size_t)r * ldy, ldy);
}

static void part_int8(const struct kernel_weights *w, const struct kernel_rows *in, uint32_t rows,
                      const struct kernel_range *range, float *y, uint32_t ldy)
{
    size_t groups = kernel_groups(w);
    for (uint32_t n = range->column; n < range->column + range->columns; n += PANEL)
        for (uint32_t g = range->group; g < range->group + range->groups; g++) {
            size_t at = (size_t)g * w->group, end = MIN(at + w->group, w->k_padded),
                   column = (size_t)g * w->n_padded + n;
            struct int8_panel p = {.w = (const int8_t *)w->packed + (size_t)n * w->k_padded +
                                        at * PANEL,
                                   .scale = w->scale + column,
                                   .offset = w->offset + column,
                                   .bias = g > range->group || range->add ? NULL : w->bias + n,
                                   .fours = (uint32_t)(end - at) / 4};
            panel_int8(&p, in, w->k_padded / 4, (uint32_t)at, groups, g, rows,
                       y + (n - range->column), ldy);
        }
}

static void product_int8(const struct kernel_weights *w, const struct kernel_rows *in,
                         uint32_t rows, float *y, uint32_t ldy)
{
    struct kernel_range all = {.columns = w->n_padded, .groups = kernel_groups(w)};
    part_int8(w, in, rows, &all, y, ldy);
}

/* n values with one scale and zero point: u8 = value / scale + zero. 0 is always among what can be said exactly. */
static void quantise_group(const float *x, const float *smooth, uint32_t n, uint8_t *to,
                           float *out_scale, float *out_zero)
{
    __m512 low = _mm512_setzero_ps(), high = low;
    for (uint32_t i = 0; i < n; i += 16) {
        __m512 v = _mm512_loadu_ps(x + i);
        if (smooth)
            v = _mm512_mul_ps(v, _mm512_loadu_ps(smooth + i));
        low = _mm512_min_ps(low, v);
        high = _mm512_max_ps(high, v);
    }
    float bottom = _mm512_reduce_min_ps(low), range = _mm512_reduce_max_ps(high) - bottom,
          inverse = range > 1e-30f ? 255.0f / range : 0, zero = rintf(-bottom * inverse);
    __m512 by = _mm512_set1_ps(inverse), plus = _mm512_set1_ps(zero);
    for (uint32_t i = 0; i < n; i += 16) {
        __m512 v = _mm512_loadu_ps(x + i);
        if (smooth)
            v = _mm512_mul_ps(v, _mm512_loadu_ps(smooth + i));
        __m512i q = _mm512_cvtps_epi32(_mm512_fmadd_ps(v, by, plus));
        q = _mm512_max_epi32(q, _mm512_setzero_si512());
        _mm_storeu_si128((__m128i *)(void *)(to + i), _mm512_cvtusepi32_epi8(q));
    }
    *out_scale = range / 255.0f;
    *out_zero = zero;
}

static void quantise_part_int8(const struct kernel_weights *w, const float *x, uint32_t ldx,
                               uint32_t rows, uint32_t group, struct kernel_rows *out)
{
    size_t groups = kernel_groups(w), from = (size_t)group * w->group;
    uint32_t n = (uint32_t)MIN((size_t)w->group, w->k_padded - from);
    const float *smooth = w->inverse_smooth ? w->inverse_smooth + from : NULL;
    for (uint32_t r = 0; r < rows; r++)
        quantise_group(x + (size_t)r * ldx, smooth, n,
                       (uint8_t *)out->quantised + (size_t)r * w->k_padded + from,
                       out->scale + r * groups + group, out->zero + r * groups + group);
}

static void quantise_int8(const struct kernel_weights *w, const float *x, uint32_t ldx,
                          uint32_t rows, struct kernel_rows *out)
{
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t g = 0; g < kernel_groups(w); g++) {
            struct kernel_rows one = {.quantised =
                                          (uint8_t *)out->quantised + (size_t)r * w->k_padded,
                                      .scale = out->scale + (size_t)r * kernel_groups(w),
                                      .zero = out->zero + (size_t)r * kernel_groups(w)};
            quantise_part_int8(w, x + (size_t)r * ldx + (size_t)g * w->group, ldx, 1, g, &one);
        }
}
