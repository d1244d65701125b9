/* How good scores are beside labels: the figures that `telltale ground eval` prints.
 *
 * Owner: nobody: arrays in, numbers out.  Thread: any.  Failure: NAN where a figure has no meaning (one class only, no rows) or memory is short.
 * Ties count as they fall: half in the area under the curve, in order of appearance nowhere.
 */
#ifndef DETECTORS_GROUND_MEASURE_H
#define DETECTORS_GROUND_MEASURE_H

#include <stdbool.h>
#include <stdint.h>

double ground_measure_auroc(const float *score, const uint8_t *label, uint32_t n);
double ground_measure_auprc(const float *score, const uint8_t *label,
                            uint32_t n); /* average precision */
struct ground_measure_at {
    double precision, recall, f1;
};
struct ground_measure_at ground_measure_at(const float *score, const uint8_t *label, uint32_t n,
                                           double threshold); /* flagged: score >= threshold */
/* The threshold with the largest F1, half-way to the next score below. */
double ground_measure_best_threshold(const float *score, const uint8_t *label, uint32_t n);
double ground_measure_precision_at(const float *score, const uint8_t *label, uint32_t n,
                                   uint32_t k);
double ground_measure_recall_at_fpr(const float *score, const uint8_t *label, uint32_t n,
                                    double fpr);
double ground_measure_ece(const float *p, const uint8_t *label, uint32_t n); /* 10 equal bins */
double ground_measure_brier(const float *p, const uint8_t *label, uint32_t n);

#endif
