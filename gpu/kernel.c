#include "gpu/kernel.h"

#include <math.h>
#include <stdlib.h>

#include "base/check.h"

static const struct kernel_set *const sets[] = {&kernel_avx512, &kernel_avx2, &kernel_generic};

const struct kernel_set *kernel_choose(void)
{
    const char *name = getenv("TELLTALE_KERNELS");
    for (size_t i = 0; name && i < ARRAY_LEN(sets); i++)
        if (strcmp(sets[i]->name, name) == 0 && sets[i]->is_supported())
            return sets[i];
    for (size_t i = 0; i < ARRAY_LEN(sets); i++)
        if (sets[i]->is_supported())
            return sets[i];
    CHECK_UNREACHABLE();
}

static uint16_t to_bf16(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, 4);
    if (isnan(f))
        return 0x7fc0;
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16); /* nearest, ties to even */
}

static void *aligned(size_t bytes)
{
    void *p = NULL;
    bytes = (bytes + 63) / 64 * 64 + 64;
    if (posix_memalign(&p, 64, bytes) != 0)
        return NULL;
    memset(p, 0, bytes);
    return p;
}

/* Where weight (n, k) lies in panels whose k runs in groups of `group`. */
static size_t place(const struct kernel_set *set, const struct kernel_weights *w, uint32_t group,
                    uint32_t n, uint32_t k)
{
    size_t panel = n / set->panel;
    return panel * w->k_padded * set->panel + (size_t)(k / group) * group * set->panel +
           (size_t)(n % set->panel) * group + k % group;
}

static void pack_int8(const struct kernel_set *set, float (*get)(const void *, uint32_t, uint32_t),
                      const void *ctx, struct kernel_weights *w)
{
    int8_t *to = w->packed;
    for (uint32_t n = 0; n < w->n; n++)
        for (uint32_t from = 0; from < w->k; from += KERNEL_GROUP) {
            uint32_t end = MIN(from + KERNEL_GROUP, w->k);
            size_t at = (size_t)(from / KERNEL_GROUP) * w->n_padded + n;
            float top = 0;
            for (uint32_t k = from; k < end; k++)
                top = fmaxf(top, fabsf(get(ctx, n, k)));
            w->scale[at] = top / 127.0f;
            for (uint32_t k = from; k < end; k++) {
                int8_t v = (int8_t)lrintf(top > 0 ? get(ctx, n, k) / w->scale[at] : 0);
                to[place(set, w, 4, n, k)] = v;
                w->offset[at] -= 128 * v;
            }
        }
}

enum err kernel_pack(const struct kernel_set *set, enum kernel_precision want, uint32_t n,
                     uint32_t k, float (*get)(const void *ctx, uint32_t row, uint32_t column),
                     const void *ctx, const float *bias, struct kernel_weights *out)
{
    static const size_t sizes[] = {[KERNEL_F32] = 4, [KERNEL_BF16] = 2, [KERNEL_INT8] = 1};
    enum kernel_precision p = set->product[want] ? want : KERNEL_F32;
    struct kernel_weights w = {
        .precision = p, .n = n, .k = k, .n_padded = kernel_round(n), .k_padded = kernel_round(k)};
    w.packed = aligned((size_t)w.n_padded * w.k_padded * sizes[p]);
    w.bias = aligned(w.n_padded * sizeof(float));
    w.scale = aligned((size_t)kernel_groups(k) * w.n_padded * sizeof(float));
    w.offset = aligned((size_t)kernel_groups(k) * w.n_padded * sizeof(int32_t));
    if (!w.packed || !w.bias || !w.scale || !w.offset) {
        kernel_weights_done(&w);
        return ERR_NOMEM;
    }
    for (uint32_t i = 0; bias && i < n; i++)
        w.bias[i] = bias[i];
    for (uint32_t i = 0; p != KERNEL_INT8 && i < n; i++)
        for (uint32_t j = 0; j < k; j++) {
            float v = get(ctx, i, j);
            if (p == KERNEL_BF16)
                ((uint16_t *)w.packed)[place(set, &w, 2, i, j)] = to_bf16(v);
            else
                ((float *)w.packed)[place(set, &w, 1, i, j)] = v;
        }
    if (p == KERNEL_INT8)
        pack_int8(set, get, ctx, &w);
    *out = w;
    return ERR_OK;
}

void kernel_weights_done(struct kernel_weights *w)
{
    free(w->packed);
    free(w->bias);
    free(w->scale);
    free(w->offset);
    *w = (struct kernel_weights){0};
}

size_t kernel_quantised_bytes(uint32_t rows, uint32_t k)
{
    return (size_t)rows * kernel_round(k) * 2;
}

size_t kernel_attention_floats(uint32_t length)
{
    size_t columns = (length + 31) / 32 * 32;
    return columns * KERNEL_HEAD_MAX * 2 + columns * 8;
}
