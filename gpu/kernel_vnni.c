/* AVX-512 with the dot instruction for int8 fours, without the one for bf16: bf16 is computed as fp32. */
#define LANES 16
#define TILE_ROWS 12
#include "gpu/kernel_lanes.h"

#if defined(__AVX512F__)
#include "gpu/kernel_avx512_lanes.h"
#include "gpu/kernel_int8.h"

static bool is_supported(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vnni");
}
#else
#define product_int8 NULL
#define part_int8 NULL
#define quantise_int8 NULL
#define quantise_part_int8 NULL
#define gelu_coarse NULL
static bool is_supported(void)
{
    return false;
}
#endif

const struct kernel_set kernel_vnni = {.name = "vnni",
                                       .panel = PANEL,
                                       .is_supported = is_supported,
                                       .product = {product, NULL, product_int8},
                                       .quantise = {as_they_are, NULL, quantise_int8},
                                       .product_part = part_int8,
                                       .quantise_part = quantise_part_int8,
                                       .attention = attention,
                                       .gelu = gelu,
                                       .gelu_tanh = gelu_tanh,
                                       .gelu_coarse = gelu_coarse,
                                       .norm = norm};
