/* The kernels for any processor: the twin that every other set is compared with. */
#define LANES 4
#define TILE_ROWS 3
#include "gpu/kernel_lanes.h"

static bool is_supported(void)
{
    return true;
}

const struct kernel_set kernel_generic = {.name = "generic",
                                          .panel = PANEL,
                                          .is_supported = is_supported,
                                          .product = {product, NULL, NULL},
                                          .quantise = {as_they_are, NULL, NULL},
                                          .attention = attention,
                                          .gelu = gelu,
                                          .gelu_tanh = gelu_tanh,
                                          .norm = norm};
