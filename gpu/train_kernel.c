#include "gpu/train_kernel.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

const struct train_set *train_kernel_choose(bool bf16)
{
    static const struct train_set *const sets[] = {&train_avx512, &train_avx2, &train_generic};
    const char *name = getenv("TELLTALE_KERNELS");
    const struct train_set *best = NULL;
    for (size_t i = 0; i < ARRAY_LEN(sets); i++)
        if (sets[i]->is_supported() && (!best || (name && strcmp(sets[i]->name, name) == 0)))
            best = sets[i];
    CHECK(best);
    return bf16 && best == &train_avx512 && train_bf16.is_supported() ? &train_bf16 : best;
}
