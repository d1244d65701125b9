/* The inner loops of an encoder on the CPU: matrix product, attention, GELU, LayerNorm; one set of functions per instruction set.
 *
 * Owner: caller's arrays; weights are packed for one set by kernel_pack.  Thread: any; nothing is shared but packed weights.
 * Failure: none but kernel_pack's (ERR_NOMEM). Sizes are the caller's promise (CHECKed).
 * Invariants: 1. Rows are padded to kernel_round columns, padding is zero on entry and stays so. 2. Every set computes what the generic one does,
 *             up to rounding; bf16 and int8 round their inputs by design.
 * Shapes: x [rows, k] row-major with stride ldx floats; weights [n, k] as published (out, in); y [rows, n] with stride ldy.
 */
#ifndef GPU_KERNEL_H
#define GPU_KERNEL_H

#include "base/bytes.h"
#include "base/err.h"

enum kernel_precision { KERNEL_F32, KERNEL_BF16, KERNEL_INT8, KERNEL_PRECISION_COUNT };

/* Columns of a row are padded to this many floats. */
#define KERNEL_ALIGN 64u
static inline uint32_t kernel_round(uint32_t n)
{
    return (n + KERNEL_ALIGN - 1) / KERNEL_ALIGN * KERNEL_ALIGN;
}

/* INT8: a row's values share a scale and a zero point in groups of this many columns, if nothing else is asked for. */
#define KERNEL_GROUP 128u

struct kernel_weights {
    enum kernel_precision
        precision; /* as computed: what the set has no instructions for is kept as F32 */
    uint32_t n, k, n_padded, k_padded;
    uint32_t group; /* INT8: columns of a group, a multiple of KERNEL_ALIGN */
    void *
        packed; /* panels of `panel` output columns, k innermost but for the pairs or fours of one dot instruction */
    float *bias; /* n_padded */
    float *scale; /* INT8: [groups][n_padded] */
    float *offset; /* INT8: [groups][n_padded], -scale * sum of the column's weights in the group */
    float *
        inverse_smooth; /* INT8: [k_padded], what inputs are multiplied by before they are rounded; NULL: 1 */
};
static inline uint32_t kernel_groups(const struct kernel_weights *w)
{
    return w->group ? (w->k_padded + w->group - 1) / w->group : 0;
}

/* Rows as the product wants them: f32 as they are, bf16 pairs, or u8 = value / scale + zero, one scale and zero for each group of a row. */
struct kernel_rows {
    const float *f32;
    uint32_t ld; /* floats between rows of f32 */
    void *quantised; /* [rows][k_padded] */
    float *scale, *zero; /* INT8: [rows][groups] */
};

/* A piece of a product: some columns, over some groups of k. INT8 alone. */
struct kernel_range {
    uint32_t column, columns; /* multiples of the panel */
    uint32_t group, groups;
    bool add; /* to what is in y already; else y begins as the bias */
};

struct kernel_set {
    const char *name;
    uint32_t panel; /* output columns of a packed panel */
    bool (*is_supported)(void);
    /* y = x W^T + bias, rows <= KERNEL_ROWS_MAX */
    void (*product[KERNEL_PRECISION_COUNT])(const struct kernel_weights *w,
                                            const struct kernel_rows *x, uint32_t rows, float *y,
                                            uint32_t ldy); /* NULL: none of its own */
    void (*quantise[KERNEL_PRECISION_COUNT])(const struct kernel_weights *w, const float *x,
                                             uint32_t ldx, uint32_t rows, struct kernel_rows *out);
    /* The same by pieces, so that the wide middle of a layer never leaves the cache; NULL where INT8 has no product of its own.
     * product_part: y points at the place of the first column. quantise_part: x holds the columns of `group` alone. */
    void (*product_part)(const struct kernel_weights *w, const struct kernel_rows *x, uint32_t rows,
                         const struct kernel_range *range, float *y, uint32_t ldy);
    void (*quantise_part)(const struct kernel_weights *w, const float *x, uint32_t ldx,
                          uint32_t rows, uint32_t group, struct kernel_rows *out);
    /* One sequence: qkv [length, ld] holds heads * 32 columns each of q, k, v; q is scaled already. out [length, ldo].
     * scratch: kernel_attention_floats(length). */
    void (*attention)(const float *qkv, uint32_t ld, uint32_t length, uint32_t heads,
                      uint32_t head_size, float *out, uint32_t ldo, float *scratch);
    /* The same on bf16 inputs, for head sizes that are multiples of 32; NULL: none. */
    void (*attention_bf16)(const float *qkv, uint32_t ld, uint32_t length, uint32_t heads,
                           uint32_t head_size, float *out, uint32_t ldo, float *scratch);
    void (*gelu)(float *x, uint32_t ld, uint32_t rows,
                 uint32_t n); /* exact: x/2 (1 + erf(x / sqrt 2)) */
    void (*gelu_tanh)(float *x, uint32_t ld, uint32_t rows,
                      uint32_t n); /* x/2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) */
    /* Within 3e-4 of gelu, for what is rounded to bf16 or int8 next; NULL: none of its own. */
    void (*gelu_coarse)(float *x, uint32_t ld, uint32_t rows, uint32_t n);
    /* x = norm(x + add) * gain + shift; add may be NULL */
    void (*norm)(float *x, uint32_t ld, const float *add, uint32_t ld_add, uint32_t rows,
                 uint32_t n, const float *gain, const float *shift, float epsilon);
};

#define KERNEL_ROWS_MAX 96u /* rows of one product call: their inputs stay in the nearest caches */
#define KERNEL_HEAD_MAX 128u

extern const struct kernel_set kernel_generic, kernel_avx2, kernel_avx512f, kernel_vnni,
    kernel_avx512;

/* The best set that this processor runs. TELLTALE_KERNELS names another one (for tests and measurements). */
const struct kernel_set *kernel_choose(void);
/* get(ctx, row, column) gives the weights; bias may be NULL. */
enum err kernel_pack(const struct kernel_set *set, enum kernel_precision want, uint32_t n,
                     uint32_t k, float (*get)(const void *ctx, uint32_t row, uint32_t column),
                     const void *ctx, const float *bias, struct kernel_weights *out) MUST_CHECK;
/* INT8 with groups of `group` columns (0: KERNEL_GROUP), and column j of the weights multiplied, of the inputs divided by smooth[j] (NULL: 1):
 * what moves the range of a few wide inputs into the weights. */
enum err kernel_pack_int8(const struct kernel_set *set, uint32_t n, uint32_t k,
                          float (*get)(const void *ctx, uint32_t row, uint32_t column),
                          const void *ctx, const float *bias, uint32_t group, const float *smooth,
                          struct kernel_weights *out) MUST_CHECK;
void kernel_weights_done(struct kernel_weights *w);
/* Bytes of quantised rows and floats of attention scratch. */
size_t kernel_quantised_bytes(uint32_t rows, uint32_t k);
size_t kernel_attention_floats(uint32_t length);

#endif
