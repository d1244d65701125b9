/* AVX2 and FMA. Compiled with those flags alone; nobody calls it where they are missing. */
#define LANES 8
#define TILE_ROWS 6
#include "gpu/kernel_lanes.h"

static bool is_supported(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return false;
#endif
}

const struct kernel_set kernel_avx2 = {.name = "avx2",
                                       .panel = PANEL,
                                       .is_supported = is_supported,
                                       .product = {product, NULL, NULL},
                                       .quantise = {as_they_are, NULL, NULL},
                                       .attention = attention,
                                       .gelu = gelu,
                                       .gelu_tanh = gelu_tanh,
                                       .norm = norm};
