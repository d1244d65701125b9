/* The inner loops of training on the CPU: packing, one product for all of forward and backward, and what goes row by row.
 *
 * Operands are arrays of 4-byte cells: a cell is one float, or a pair of bf16 that lie next to each other in the dimension that is summed.
 * Three forms, all made from row-major floats:
 *     rows    [r][k / group]            left operand, summed along a row
 *     columns [r / group][n]            left operand, summed down the rows: the transpose, without transposing
 *     panels  [n / panel][k / group][panel]   right operand
 * Owner: caller's arrays.  Thread: any; nothing is shared.  Failure: none; sizes are the caller's promise (CHECKed).
 * Invariants: 1. Every set computes what the generic one does, up to rounding; bf16 rounds operands by design, sums are fp32.
 *             2. Cells past the end of the summed dimension, and columns past n of a panel, are zero.
 */
#ifndef GPU_TRAIN_KERNEL_H
#define GPU_TRAIN_KERNEL_H

#include "gpu/kernel.h"

typedef uint32_t train_cell;

#define TRAIN_PANEL_MAX 32u /* of every set */
#define TRAIN_ROWS 96u /* rows of one product: a multiple of every set's tile */
#define TRAIN_ALIGN \
    32u /* columns of a row of activations are padded to this many floats, padding is zero */

static inline uint32_t train_round(uint32_t n)
{
    return (n + TRAIN_ALIGN - 1) / TRAIN_ALIGN * TRAIN_ALIGN;
}

/* c[m][n] = bias + a b, or c += a b. */
struct train_product {
    const train_cell *a;
    size_t a_ld; /* cells between rows (form rows), or between rows of cells (form columns) */
    bool a_is_columns;
    const train_cell *b;
    size_t b_panel; /* cells between panels */
    const float *bias; /* [n] or NULL */
    bool add;
    float *c;
    size_t ldc;
    uint32_t m, n, cells; /* cells: of the summed dimension */
};

struct train_adam { /* of one step, for one tensor */
    float rate, decay, beta1, beta2, correct1, correct2, epsilon,
        scale; /* scale: of the gradient */
    float average;
};

struct train_set {
    const char *name;
    uint32_t group, panel;
    bool (*is_supported)(void);
    /* x [rows, n] row-major with ld floats. */
    void (*pack_rows)(const float *x, size_t ld, uint32_t rows, uint32_t n, train_cell *out,
                      size_t ld_out);
    void (*pack_columns)(const float *x, size_t ld, uint32_t rows, uint32_t n, train_cell *out,
                         size_t ld_out);
    void (*pack_panels)(const float *x, size_t ld, uint32_t rows, uint32_t n, train_cell *out,
                        size_t panel); /* summed down the rows */
    void (*pack_panels_t)(
        const float *x, size_t ld, uint32_t rows, uint32_t n, train_cell *out,
        size_t panel); /* summed along a row: columns of the panels are rows of x */
    void (*product)(const struct train_product *p);

    /* n a multiple of TRAIN_ALIGN, or of 16 where it is the hidden size. */
    void (*gelu)(const float *h, float *y, size_t n); /* exact: h/2 (1 + erf(h / sqrt 2)) */
    void (*gelu_back)(const float *h, float *dy, size_t n); /* dy becomes dh */
    /* y = norm(x + add) gain + shift; keeps what was normalised and 1 / deviation. add may be NULL. */
    void (*norm)(const float *x, const float *add, size_t ld, uint32_t rows, uint32_t n,
                 const float *gain, const float *shift, float epsilon, float *normal,
                 float *inverse, float *y);
    /* dy becomes the gradient of x + add; gain's and shift's are added to. */
    void (*norm_back)(float *dy, const float *normal, const float *inverse, size_t ld,
                      uint32_t rows, uint32_t n, const float *gain, float *dgain, float *dshift);
    /* Value (r, i) stays, times scale, where the hash of keys[r] and i is at least threshold; else 0. */
    void (*drop)(float *x, size_t ld, uint32_t rows, uint32_t n, const uint32_t *keys,
                 uint32_t threshold, float scale);
    /* out row r = x row r times by[r] */
    void (*scale_rows)(const float *x, size_t ld, uint32_t rows, uint32_t n, const float *by,
                       float *out, size_t ld_out);
    void (*add_rows)(const float *x, size_t ld, uint32_t rows, uint32_t n, float *sum);

    /* Scores s [rows, ld] of `length` columns, times scale: p = e^(s - max) as rows; inverse 1 / sum, log_sum the log of sum of e^s. */
    void (*soften)(float *s, size_t ld, uint32_t rows, uint32_t length, float scale, train_cell *p,
                   size_t ld_p, float *inverse, float *log_sum);
    /* p = e^(scale s - log_sum); ds = scale p (dp - sum of p dp): p as columns, ds as columns and as rows. s, dp are destroyed. */
    void (*soften_back)(float *s, float *dp, size_t ld, uint32_t rows, uint32_t length, float scale,
                        const float *log_sum, train_cell *p_columns, train_cell *ds_columns,
                        size_t ld_columns, train_cell *ds_rows, size_t ld_rows);

    void (*adam)(const struct train_adam *o, size_t n, float *w, float *m, float *v, const float *g,
                 float *average);
    double (*sum_squares)(const float *x, size_t n);
};

extern const struct train_set train_generic, train_avx2, train_avx512, train_bf16;

/* The best set of this processor for products of that precision; TELLTALE_KERNELS names another (generic, avx2, avx512). */
const struct train_set *train_kernel_choose(bool bf16);

static inline size_t train_cells(const struct train_set *s, uint32_t k)
{
    return (k + s->group - 1) / s->group;
}
/* Cells of all panels of an operand [k, n]. */
static inline size_t train_panels(const struct train_set *s, uint32_t k, uint32_t n)
{
    return train_cells(s, k) * train_round(n);
}

#endif
