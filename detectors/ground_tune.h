/* Fine-tuning an encoder to say of each token of a response whether its context supports it.
 *
 *   cases ─┬─ a fifth of the sources that calibration is made for: held out, judged now and then for the progress
 *          └─ the others: shuffled, some of the clean ones made wrong ─▶ parts ─▶ batches ─▶ gpu_train ─▶ one-file model
 *
 * With a rank the model that comes out is the base, whose sentence vectors stay what they are, with a branch for the head (gpu_model_branch).
 * What is learned from in which order follows from the seed; a run that was stopped goes on from its checkpoint as if it had not been.
 * Owner: the caller.  Thread: one; hours.
 * Failure: ERR_INVALID with a sentence (nothing to learn from, a base that cannot be trained); ERR_CANCELLED when *stop became true (the checkpoint
 *          is written); the trainer's; ERR_NOMEM.
 */
#ifndef DETECTORS_GROUND_TUNE_H
#define DETECTORS_GROUND_TUNE_H

#include <stdatomic.h>
#include <stdio.h>

#include "detectors/ground_case.h"

#define GROUND_TUNE_FOLDS 5u /* one of them is held out */

struct ground_tune_options {
    const char *base; /* an encoder: directory or one file */
    const char *
        out; /* the one-file model: int8, its extra GROUND_ENCODE_HELD_OUT lists the sources it has not seen */
    const char *checkpoint; /* NULL: none is written; one that is there is gone on from */
    double epochs; /* 0: 3 */
    uint32_t batch_tokens; /* 0: 6,000 */
    uint64_t steps_max; /* of this run, which then ends as if stopped; 0: none */
    float rate; /* peak learning rate; 0: 6e-5. The head's is ten times that */
    unsigned threads;
    uint64_t seed;
    uint32_t
        rank; /* of the change to each matrix; 0: the whole encoder changes, and its vectors with it */
    const char *from; /* NULL, or a fine-tuned form of the base to begin at */
    const atomic_bool *stop; /* NULL: none */
    FILE *report; /* a line now and then */
};

enum err ground_tune_run(struct ground_cases *all, const struct ground_tune_options *o,
                         struct err_msg *msg) MUST_CHECK;
/* Is the case's source one of those that are held out? */
bool ground_tune_is_held_out(const struct ground_case *c);

#endif
