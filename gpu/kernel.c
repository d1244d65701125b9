#include "gpu/kernel.h"

#include <math.h>
#include <stdlib.h>

#include "base/check.h"

static const struct kernel_set *const sets[] = {&kernel_avx512, &kernel_vnni, &kernel_avx512f,
                                                &kernel_avx2, &kernel_generic};

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

struct source {
    float (*get)(const void *, uint32_t, uint32_t);
    const void *ctx;
    const float *smooth;
};

static float value(const struct source *s, uint32_t n, uint32_t k)
{
    float v = s->get(s->ctx, n, k);
    return s->smooth ? v * s->smooth[k] : v;
}

static void pack_int8(const struct kernel_set *set, const struct source *s,
                      struct kernel_weights *w)
{
    int8_t *to = w->packed;
    for (uint32_t n = 0; n < w->n; n++)
        for (uint32_t from = 0; from < w->k; from += w->group) {
            uint32_t end = MIN(from + w->group, w->k);
            size_t at = (size_t)(from / w->group) * w->n_padded + n;
            float top = 0;
            int32_t sum = 0;
            for (uint32_t k = from; k < end; k++)
                top = fmaxf(top, fabsf(value(s, n, k)));
            w->scale[at] = top / 127.0f;
            for (uint32_t k = from; k < end; k++) {
                int8_t v = (int8_t)lrintf(top > 0 ? value(s, n, k) / top * 127.0f : 0);
                to[place(set, w, 4, n, k)] = v;
                sum += v;
            }
            w->offset[at] = -w->scale[at] * (float)sum;
        }
}

static void pack_floats(const struct kernel_set *set, const struct source *s,
                        struct kernel_weights *w)
{
    for (uint32_t i = 0; i < w->n; i++)
        for (uint32_t j = 0; j < w->k; j++) {
            float v = value(s, i, j);
            if (w->precision == KERNEL_BF16)
                ((uint16_t *)w->packed)[place(set, w, 2, i, j)] = to_bf16(v);
            else
                ((float *)w->packed)[place(set, w, 1, i, j)] = v;
        }
}

static bool allocate(struct kernel_weights *w, bool smooth)
{
    static const size_t sizes[] = {[KERNEL_F32] = 4, [KERNEL_BF16] = 2, [KERNEL_INT8] = 1};
    size_t groups = kernel_groups(w);
    w->packed = aligned((size_t)w->n_padded * w->k_padded * sizes[w->precision]);
    w->bias = aligned(w->n_padded * sizeof(float));
    w->scale = aligned(groups * w->n_padded * sizeof(float));
    w->offset = aligned(groups * w->n_padded * sizeof(float));
    w->inverse_smooth = smooth ? aligned(w->k_padded * sizeof(float)) : NULL;
    return w->packed && w->bias && w->scale && w->offset && (w->inverse_smooth || !smooth);
}

static enum err pack(const struct kernel_set *set, const struct source *s, const float *bias,
                     struct kernel_weights *w, struct kernel_weights *out)
{
    w->n_padded = kernel_round(w->n);
    w->k_padded = kernel_round(w->k);
    if (!allocate(w, s->smooth != NULL)) {
        kernel_weights_done(w);
        return ERR_NOMEM;
    }
    for (uint32_t i = 0; bias && i < w->n; i++)
        w->bias[i] = bias[i];
    for (uint32_t i = 0; s->smooth && i < w->k; i++)
        w->inverse_smooth[i] = 1.0f / s->smooth[i];
    if (w->precision == KERNEL_INT8)
        pack_int8(set, s, w);
    else
        pack_floats(set, s, w);
    *out = *w;
    return ERR_OK;
}

enum err kernel_pack(const struct kernel_set *set, enum kernel_precision want, uint32_t n,
                     uint32_t k, float (*get)(const void *ctx, uint32_t row, uint32_t column),
                     const void *ctx, const float *bias, struct kernel_weights *out)
{
    if (want == KERNEL_INT8)
        return kernel_pack_int8(set, n, k, get, ctx, bias, 0, NULL, out);
    struct source s = {get, ctx, NULL};
    struct kernel_weights w = {.precision = set->product[want] ? want : KERNEL_F32, .n = n, .k = k};
    return pack(set, &s, bias, &w, out);
}

enum err kernel_pack_int8(const struct kernel_set *set, uint32_t n, uint32_t k,
                          float (*get)(const void *ctx, uint32_t row, uint32_t column),
                          const void *ctx, const float *bias, uint32_t group, const float *smooth,
                          struct kernel_weights *out)
{
    CHECK(group % KERNEL_ALIGN == 0);
    if (!set->product[KERNEL_INT8])
        return kernel_pack(set, KERNEL_F32, n, k, get, ctx, bias, out);
    struct source s = {get, ctx, smooth};
    struct kernel_weights w = {
        .precision = KERNEL_INT8, .n = n, .k = k, .group = group ? group : KERNEL_GROUP};
    return pack(set, &s, bias, &w, out);
}

void kernel_weights_done(struct kernel_weights *w)
{
    free(w->packed);
    free(w->bias);
    free(w->scale);
    free(w->offset);
    free(w->inverse_smooth);
    *w = (struct kernel_weights){0};
}

size_t kernel_quantised_bytes(uint32_t rows, uint32_t k)
{
    return (size_t)rows * kernel_round(k) * 2;
}

size_t kernel_attention_floats(uint32_t length)
{
    size_t columns = (length + 31) / 32 * 32;
    return (columns + 16) * KERNEL_HEAD_MAX * 2 + columns * 8;
}
