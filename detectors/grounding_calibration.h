/* From the score of the shipped model to the probability for one application and model, by the labels that people gave there.
 *
 *   labels of the version  < CALIBRATION_LABELS_MIN: the score as it is
 *                          else Platt's sigmoid on the score's logit, held near the fit over all labels of the version
 *   labels of the stream   >= TRUTH_ISOTONIC_LABELS_MIN: steps of isotonic regression
 *
 * Owner: detectors_grounding.  Thread: any, under its lock.
 * Failure: out of memory: the score as it is.
 * Limits: CALIBRATION_SLOTS streams are remembered; a fit is made anew when labels have changed, and then costs one pass over them.
 * Invariant: the result rises with the score.
 */
#ifndef DETECTORS_GROUNDING_CALIBRATION_H
#define DETECTORS_GROUNDING_CALIBRATION_H

#include "detectors/grounding_labels.h"
#include "detectors/truth_rate.h"

#define CALIBRATION_SLOTS 256u
#define CALIBRATION_LABELS_MIN 30u
#define CALIBRATION_PRIOR_LABELS 20.0 /* what the fit over all counts for in a stream's own */

struct calibration_fit {
    uint64_t key, change;
    bool is_used;
    struct truth_platt platt;
    double *bounds, *values; /* isotonic; NULL: Platt */
    size_t steps;
};
struct calibration_fits {
    struct calibration_fit slots[CALIBRATION_SLOTS];
};

/* change: a number that moves when labels do. */
double grounding_calibration_at(struct calibration_fits *c, const struct grounding_labels *labels,
                                uint64_t change, const struct grounding_stream *s, double score);
void grounding_calibration_done(struct calibration_fits *c);
/* A label as the fits see it: its logit is that of the shipped probability, so that (1, 0) changes nothing. */
struct truth_label grounding_calibration_label(const struct grounding_labelled *l);

#endif
