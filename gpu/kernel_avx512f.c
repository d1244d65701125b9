/* AVX-512 without dot instructions: fp32 alone. */
#define LANES 16
#define TILE_ROWS 12
#include "gpu/kernel_lanes.h"

#if defined(__AVX512F__)
static bool is_supported(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}
#else
static bool is_supported(void)
{
    return false;
}
#endif

const struct kernel_set kernel_avx512f = {.name = "avx512f",
                                          .panel = PANEL,
                                          .is_supported = is_supported,
                                          .product = {product, NULL, NULL},
                                          .quantise = {as_they_are, NULL, NULL},
                                          .attention = attention,
                                          .gelu = gelu,
                                          .gelu_tanh = gelu_tanh,
                                          .norm = norm};
