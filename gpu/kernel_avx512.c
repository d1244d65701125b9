/* AVX-512 with the dot instructions for bf16 pairs and int8 fours. */
#define LANES 16
#define TILE_ROWS 12
#include "gpu/kernel_lanes.h"

#if defined(__AVX512F__)
#include "gpu/kernel_avx512_lanes.h"
#include "gpu/kernel_bf16.h"
#include "gpu/kernel_int8.h"

static bool is_supported(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bf16");
}
#else
#define product_bf16 NULL
#define product_int8 NULL
#define part_int8 NULL
#define quantise_bf16 NULL
#define quantise_int8 NULL
#define quantise_part_int8 NULL
#define attention_bf16 NULL
#define gelu_coarse NULL
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
                                         .product_part = part_int8,
                                         .quantise_part = quantise_part_int8,
                                         .attention = attention,
                                         .attention_bf16 = attention_bf16,
                                         .gelu = gelu,
                                         .gelu_tanh = gelu_tanh,
                                         .gelu_coarse = gelu_coarse,
                                         .norm = norm};
