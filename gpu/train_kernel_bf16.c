/* AVX-512 with products of bf16 pairs summed in fp32 (vdpbf16ps). Where the compiler does not know them the set is there and never supported. */
#define LANES 16
#define TILE_ROWS 12
#if defined(__AVX512BF16__)
#define GROUP 2
#else
#define GROUP 1
#endif
#include "gpu/train_lanes.h"

#if defined(__AVX512BF16__)
#include <immintrin.h>

INLINE veci cells_along(const float *p)
{
    return (veci)_mm512_cvtne2ps_pbh((__m512)load(p + LANES), (__m512)load(p));
}

INLINE veci cells_down(vec upper, vec lower)
{
    const __m512i order =
        _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                         21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    __m512i both = (__m512i)_mm512_cvtne2ps_pbh((__m512)lower, (__m512)upper);
    return (veci)_mm512_permutexvar_epi16(order, both);
}

INLINE vec add_product(vec acc, train_cell a, veci b)
{
    return (vec)_mm512_dpbf16_ps((__m512)acc, (__m512bh)_mm512_set1_epi32((int)a), (__m512bh)b);
}

static bool is_supported(void)
{
    return train_avx512.is_supported() && __builtin_cpu_supports("avx512bf16");
}
#else
static bool is_supported(void)
{
    return false;
}
#endif

TRAIN_SET(train_bf16, "avx512 bf16");
