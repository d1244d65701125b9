/* What a trainer is inside gpu/. Owner: gpu_train.c; train_file.c reads and writes it. */
#ifndef GPU_TRAIN_CORE_H
#define GPU_TRAIN_CORE_H

#include "gpu/gpu_train.h"
#include "gpu/train_loss.h"
#include "gpu/train_pass.h"
#include "gpu/train_team.h"

struct train_piece { /* of one tensor: what one thread adds up and steps at a time */
    uint32_t tensor;
    size_t from, to; /* places in the array */
};

struct gpu_trainer {
    /* immutable after gpu_trainer_open */
    struct gpu_train_options options;
    struct train_net net; /* .weights: written by steps */
    struct gpu_vocab *vocab;
    struct bytes config_text, vocab_text; /* the arena's */
    struct arena *arena;
    struct train_team *team;
    unsigned threads;
    struct train_work **work; /* [threads] */
    float **gradient; /* [threads][net.floats]; all zero between steps */
    float **logits; /* [threads][tokens of a slab] */
    struct train_piece *piece;
    uint32_t pieces;
    /* written by steps */
    uint64_t step;
    float *moment1, *moment2;
    float *average; /* NULL: none is kept */
    double *square; /* [pieces] of the step under way */
};

/* Loss and gradient of a batch without a step: in gradient[0], until train_gradient_clear. For steps and for tests. */
enum err train_gradient(struct gpu_trainer *t, const struct gpu_train_example *x, uint32_t n,
                        struct gpu_train_loss *out, struct err_msg *msg) MUST_CHECK;
void train_gradient_clear(struct gpu_trainer *t);

#endif
