/* AVX-512 with products in fp32. */
#define LANES 16
#define TILE_ROWS 12
#define GROUP 1
#include "gpu/train_lanes.h"

static bool is_supported(void)
{
#if defined(__AVX512F__)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
#else
    return false;
#endif
}

TRAIN_SET(train_avx512, "avx512");
