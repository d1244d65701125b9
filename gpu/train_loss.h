/* The losses of one sequence from its last hidden states, and their gradient.
 *
 * Owner: caller.  Thread: any.  Failure: none; what is not finite shows in the sums.
 */
#ifndef GPU_TRAIN_LOSS_H
#define GPU_TRAIN_LOSS_H

#include "gpu/gpu_train.h"
#include "gpu/train_net.h"

struct train_sums { /* of a batch: of weights, or of weighted losses */
    double token, part, vector;
};

/* Adds what the example counts in each mean. */
void train_loss_count(const struct gpu_train_example *x, struct train_sums *io);
void train_logits(const struct train_net *n, const float *weights, const float *hidden,
                  uint32_t count, float *logits);
/* hidden [count][ld]; slopes [count][ld] and the head's places in gradient are added to. logits is scratch of count floats. */
void train_loss(const struct train_net *n, const struct gpu_train_options *o,
                const struct train_sums *weights_of, const float *weights,
                const struct gpu_train_example *x, const float *hidden, float *logits,
                float *slopes, float *gradient, struct train_sums *io);

#endif
