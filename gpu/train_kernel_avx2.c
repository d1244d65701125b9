/* AVX2 and FMA. Compiled with those flags alone; nobody calls it where they are missing. */
#define LANES 8
#define TILE_ROWS 6
#define GROUP 1
#include "gpu/train_lanes.h"

static bool is_supported(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return false;
#endif
}

TRAIN_SET(train_avx2, "avx2");
