/* Fine-tuning an encoder with a token head: forward and backward on the CPU, AdamW with fp32 master weights, products in fp32 or bf16.
 *
 * One step: the examples are shared out over the threads, each of which runs some sequences forward and back (laid end to end, without
 * padding) into gradients of its own; these are added up, cut to a global norm, and AdamW takes its step.
 * The loss of a batch is the sum of
 *     token:  mean over judged tokens of w BCE(logit, label)
 *     part:   part_weight x mean over examples with a part label of w BCE(logsumexp of its judged tokens' logits, part)
 *     vector: vector_weight x mean over examples with a vector of w (1 - cos(mean-pooled last hidden state, vector))
 * where w is the example's weight and each mean divides by the sum of those weights.
 * Owner: gpu_trainer_open / gpu_trainer_close.  Thread: one call at a time; works on `threads` of its own.
 * Failure: ERR_INVALID (input; nothing has changed then), ERR_NOMEM, ERR_EXECUTION (loss or gradient not finite: names step and tensor; the
 *          weights are as they were before the step), ERR_UNIMPLEMENTED (a kind of model that is not trained).
 * Limits: a sequence has 1 to `positions` tokens; a batch GPU_TRAIN_EXAMPLES_MAX examples. Memory: 16 bytes a parameter (20 with an average),
 *         4 more for each thread, and about 20 KB for each token and layer of a thread's slab of 1,024 tokens.
 * Invariants: 1. The same model, options, batches and threads give the same bits; dropout is a function of seed, step, example and place, so
 *         that another number of threads gives the same up to rounding. 2. A step that fails changes no weight.
 */
#ifndef GPU_GPU_TRAIN_H
#define GPU_GPU_TRAIN_H

#include "gpu/gpu_model.h"

#define GPU_TRAIN_EXAMPLES_MAX 65536u

struct gpu_train_options {
    uint32_t threads; /* 0: one per processor */
    float rate, head_rate, factor_rate; /* peak learning rates; factor_rate: of what `rank` adds */
    uint32_t
        rank; /* 0: all weights are trained. Else matrices change by a product of that rank (gpu_model_branch keeps it), and the tables of words and positions stay */
    float warmup; /* share of all steps in which the rates rise; then a cosine down to 0 */
    float decay; /* of AdamW, not on biases and norms */
    float clip; /* global norm of the gradient; 0: not cut */
    float
        dropout; /* of hidden states (embeddings, attention output, inner output); none in attention */
    float part_weight, vector_weight;
    float average; /* moving average of the weights, .999 say, for judging and saving; 0: none */
    uint64_t steps; /* planned in all, for the schedule */
    uint64_t seed;
    enum gpu_precision
        precision; /* of products: GPU_F32 or GPU_BF16 (fp32 where the processor has no bf16) */
};
/* 6e-5, 6e-4 for the head and 2e-4 for factors of a rank, which is 0, 6 % warm-up, decay .01, clip 1, dropout .1, part .3, no vector, no average, bf16; steps is left to be set. */
struct gpu_train_options gpu_train_options_default(void);

/* One sequence. */
struct gpu_train_example {
    const uint32_t *ids;
    const uint8_t *types; /* NULL: all 0 */
    uint32_t count;
    const int8_t *labels; /* [count]: -1 not judged, 0 supported, 1 not; NULL: none judged */
    int8_t part; /* -1: not known, 0, 1; counts where a token is judged */
    float weight;
    const float *vector; /* NULL, or [hidden]: what the sentence vector is to stay near */
};

struct gpu_trainer;
/* A directory or the one-file form. A head of one label is taken on, one of two labels as the difference of both; without, one is made. */
enum err gpu_trainer_open(const char *model, const struct gpu_train_options *o,
                          struct gpu_trainer **out, struct err_msg *msg) MUST_CHECK;
void gpu_trainer_close(struct gpu_trainer *t);

/* Begins at a fine-tuned form of the same model instead of the model: with a rank, at the nearest that can be had of it. */
enum err gpu_trainer_take(struct gpu_trainer *t, const char *tuned, struct err_msg *msg) MUST_CHECK;

struct gpu_train_loss {
    double token, part, vector; /* each before its weight of the sum */
    double gradient_norm; /* before it is cut */
    double rate; /* of this step */
    uint64_t tokens;
};
/* One step of the optimiser over a batch (about 6,000 tokens). */
enum err gpu_trainer_step(struct gpu_trainer *t, const struct gpu_train_example *x, uint32_t n,
                          struct gpu_train_loss *out, struct err_msg *msg) MUST_CHECK;
/* logits[i][x[i].count] with the weights of this moment (their average where one is kept), without dropout. */
enum err gpu_trainer_logits(struct gpu_trainer *t, const struct gpu_train_example *x, uint32_t n,
                            float *const *logits, struct err_msg *msg) MUST_CHECK;
uint64_t gpu_trainer_steps(const struct gpu_trainer *t); /* done so far */
const struct gpu_vocab *gpu_trainer_vocab(const struct gpu_trainer *t);
uint32_t gpu_trainer_hidden(const struct gpu_trainer *t);
uint32_t gpu_trainer_positions(const struct gpu_trainer *t);
const char *gpu_trainer_kernels(const struct gpu_trainer *t);

/* Weights, moments, average and step: a run that is restored from it goes on bit for bit (same options and threads).
 * Written beside and renamed. A file of another model or a damaged one is ERR_CORRUPT and changes nothing. */
enum err gpu_trainer_checkpoint(const struct gpu_trainer *t, const char *file,
                                struct err_msg *msg) MUST_CHECK;
enum err gpu_trainer_restore(struct gpu_trainer *t, const char *file,
                             struct err_msg *msg) MUST_CHECK;
/* The model in the one-file form that gpu_model_open reads, matrices int8 with a scale per row or fp32, head as head.weight [1, hidden] and
 * head.bias [1]. A file that is there is replaced at once or not at all. */
enum err gpu_trainer_save(const struct gpu_trainer *t, const char *file, bool int8,
                          struct err_msg *msg) MUST_CHECK;

#endif
