/* Makes a judge (ground_judge.h) of cases, so that no part of it is fitted to scores of something that had seen the case.
 *
 * Trees are fitted five times on four fifths for the scores that the stack learns from, then once on all. The stack's own scores for calibration and
 * thresholds are cross-fitted too. With an encoder only cases that it has judged, and not learned from, count for the stack.
 * Owner: the caller.  Thread: one.  Failure: ERR_INVALID with a sentence when there is too little to learn from; ERR_NOMEM.
 */
#ifndef DETECTORS_GROUND_FIT_H
#define DETECTORS_GROUND_FIT_H

#include "detectors/ground_case.h"

struct ground_fit_options {
    uint32_t trees; /* 0: 250 */
    uint64_t seed;
    bool encoder; /* a stack over the tokens too */
};

/* use[i]: case i may be learned from. Appends the judge's form to out. */
enum err ground_fit_judge(struct ground_cases *all, const bool *use,
                          const struct ground_fit_options *o, struct buf *out,
                          struct err_msg *msg) MUST_CHECK;

/* A case judged: calibrated probability and logit of the response, probability of each sentence, spans. */
struct ground_fit_verdict {
    float probability, logit;
    float *sentences;
    struct ground_span *spans;
    uint32_t spans_count;
};
/* trees: logits of each sentence, as the judge's own trees give them (ground_fit_trees) or others. */
enum err ground_fit_apply(const struct ground_judge *j, const struct ground_case *c,
                          const float *trees, struct arena *a,
                          struct ground_fit_verdict *out) MUST_CHECK;
void ground_fit_trees(const struct ground_judge *j, const struct ground_case *c, float *out);

#endif
