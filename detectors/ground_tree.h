/* Gradient-boosted trees over rows of numbers: made here, applied here.
 *
 * Trees are complete, of GROUND_TREE_DEPTH levels; each adds a value to the logit. Splits are found on at most 64 bins a column, with Newton steps on
 * the logistic loss (Friedman 2001; Chen and Guestrin 2016 for the regularised gain).
 * Owner: trees that were read point into the caller's bytes.  Thread: any.
 * Failure: ERR_CORRUPT for bytes that are no trees; ERR_NOMEM.
 * Invariants: 1. The same rows and options give the same trees. 2. A row that is judged has `columns` finite numbers.
 * Form: little-endian u32 version, u32 columns, u32 trees, f32 base; a tree: 15 × u16 column, 15 × f32 threshold (right where x > threshold),
 * 16 × f32 value.
 */
#ifndef DETECTORS_GROUND_TREE_H
#define DETECTORS_GROUND_TREE_H

#include "base/buf.h"

#define GROUND_TREE_DEPTH 4u
#define GROUND_TREE_SPLITS 15u
#define GROUND_TREE_LEAVES 16u
#define GROUND_TREE_MAX 2000u
#define GROUND_TREE_COLUMNS_MAX 256u

struct ground_tree_options {
    uint32_t trees; /* 250 */
    float rate; /* .06 */
    float row_share, column_share; /* of each tree: .8, .4 */
    float least; /* hessian in a leaf: 4 */
    float lambda; /* 2 */
    uint64_t seed;
};
struct ground_trees {
    const uint8_t *data; /* what follows the head */
    uint32_t count, columns;
    float base;
};

/* Appends the trees' form to out. rows: [n][columns]; label 0 or 1; weight NULL: all 1. */
enum err ground_tree_fit(const struct ground_tree_options *o, const float *rows, uint32_t n,
                         uint32_t columns, const uint8_t *label, const float *weight,
                         struct buf *out) MUST_CHECK;
enum err ground_tree_read(struct bytes form, struct ground_trees *out) MUST_CHECK;
float ground_tree_logit(const struct ground_trees *t, const float *row);

#endif
