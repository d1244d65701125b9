/* Training on any processor: the twin that every other set is compared with. */
#define LANES 4
#define TILE_ROWS 3
#define GROUP 1
#include "gpu/train_lanes.h"

static bool is_supported(void)
{
    return true;
}

TRAIN_SET(train_generic, "generic");
