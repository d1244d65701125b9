/* What scores and a few human labels say about the true rate, and about scores: published methods over plain arrays.
 *
 *   PPI++ (Angelopoulos, Duchi, Zrnic: arXiv 2311.01453): mean of the labels, corrected by what the scores say of all the others
 *   Rogan and Gladen (Am J Epidemiol 107:71), interval of Lang and Reiczigel (Prev Vet Med 113:13): from flags, sensitivity, specificity
 *   Platt's sigmoid with a prior; isotonic regression by pooling; class-conditional conformal thresholds
 *
 * Owner: caller.  Thread: any.
 * Failure: false: too little to say anything; nothing is written.
 * Limits: none of its own; time is n log n at most.
 * Invariants: 1. 0 <= low <= rate <= high <= 1. 2. A weight is 1 / the probability with which the response was chosen; all equal: they do not matter.
 */
#ifndef DETECTORS_TRUTH_RATE_H
#define DETECTORS_TRUTH_RATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define TRUTH_PPI_LABELS_MIN 30u
#define TRUTH_RG_LABELS_MIN 10u /* of each class */
#define TRUTH_ISOTONIC_LABELS_MIN 1000u

struct truth_label {
    double score, logit, weight;
    bool is_bad; /* a person says: not supported */
    bool is_flagged;
};
/* Scores of responses without a label. */
struct truth_pool {
    uint64_t n;
    double w, ww, wx, wxx,
        wf; /* sums of weight, its square, weight x score, x score^2, of the flagged */
};
void truth_pool_add(struct truth_pool *p, double score, bool is_flagged, double weight);

struct truth_interval {
    double rate, low, high; /* of 95 % */
};
bool truth_rate_ppi(const struct truth_label *l, size_t n, const struct truth_pool *pool,
                    struct truth_interval *out, double *out_lambda);
bool truth_rate_rogan_gladen(const struct truth_label *l, size_t n, const struct truth_pool *pool,
                             struct truth_interval *out);

struct truth_platt {
    double a, b; /* probability = 1 / (1 + exp(-(a logit + b))) */
};
/* The fit that trades the labels' likelihood for nearness to prior; strength: as many labels' worth of it. */
struct truth_platt truth_rate_platt(const struct truth_label *l, size_t n, struct truth_platt prior,
                                    double strength);
double truth_rate_platt_at(struct truth_platt p, double logit);

/* Steps of a rising function: value[i] from score bound[i] on; sorts l. Returns how many. */
size_t truth_rate_isotonic(struct truth_label *l, size_t n, double *bound, double *value);

/* At most alpha of what is supported is flagged at this score and above, whatever the scores' distribution. */
bool truth_rate_precision_threshold(const struct truth_label *l, size_t n, double alpha,
                                    double *scratch, double *out);
/* At most alpha of what is not supported lies below it. */
bool truth_rate_triage_threshold(const struct truth_label *l, size_t n, double alpha,
                                 double *scratch, double *out);

#endif
