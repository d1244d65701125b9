/* From a logit to a probability that can be believed: Platt's line, then isotonic steps where there are labels enough; and the logistic fits behind it.
 *
 * Owner: the caller's struct.  Thread: any.  Failure: ERR_INVALID for nothing to fit; ERR_NOMEM.
 * Invariants: 1. The curve never falls. 2. It is strictly rising where Platt's line is: a tenth of that is in it, so that ranks stay.
 * Sources: Platt 1999 (with his smoothed targets); Zadrozny and Elkan 2002 for the steps.
 */
#ifndef DETECTORS_GROUND_CURVE_H
#define DETECTORS_GROUND_CURVE_H

#include "base/buf.h"

#define GROUND_CURVE_POINTS 32u
#define GROUND_CURVE_LABELS_LEAST 1000u /* for steps */
#define GROUND_CURVE_COLUMNS_MAX 32u

struct ground_curve {
    float slope, shift; /* p = sigmoid(slope * logit + shift) */
    uint32_t points; /* 0: the line alone */
    float at[GROUND_CURVE_POINTS], p[GROUND_CURVE_POINTS]; /* the line's p, the observed share */
};

enum err ground_curve_fit(const float *logit, const uint8_t *label, uint32_t n,
                          struct ground_curve *out) MUST_CHECK;
float ground_curve_probability(const struct ground_curve *c, float logit);
void ground_curve_write(const struct ground_curve *c, struct buf *out);
enum err ground_curve_read(struct reader *r, struct ground_curve *out) MUST_CHECK;

/* weights[columns] and, behind them, the constant: logistic regression with a ridge on standardised columns, by Newton's method. Columns whose bit is
 * set in `free_columns` may weigh either way; the others never below 0: they are scores that mean the same, and two that say "unsupported" must not
 * add up to "supported". The most negative one is left out until none is. */
enum err ground_curve_logistic(const float *rows, uint32_t n, uint32_t columns,
                               const uint8_t *label, const float *weight, double ridge,
                               uint32_t free_columns, float *weights) MUST_CHECK;
float ground_curve_dot(const float *weights, const float *row, uint32_t columns);

#endif
