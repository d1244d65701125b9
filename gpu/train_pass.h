/* One forward pass over a slab of sequences that keeps what the way back needs, and the way back into gradients.
 *
 * Owner: one struct train_work per worker.  Thread: one at a time per work; the net is only read.
 * Failure: train_work_new: NULL. The passes cannot fail.
 * Limits: a slab of train_work_tokens tokens.
 * Invariants: 1. A gradient array has the shape of the net's weights; passes add to it.
 *             2. The last layer's rows behind attention are those of wanted tokens alone, end to end.
 *             3. Kept for each token and layer, in floats: 3 rows of qkv, 2 normalised rows, 1 inner row, and as cells the inputs of the four
 *                products; with bf16 products 20 KB at a width of 384 and an inner width of 1,536.
 */
#ifndef GPU_TRAIN_PASS_H
#define GPU_TRAIN_PASS_H

#include "gpu/train_net.h"

#define TRAIN_SLAB_TOKENS 1024u

struct train_span { /* one sequence in a slab */
    const uint32_t *ids;
    const uint8_t *types; /* NULL: all 0 */
    uint32_t count;
    uint32_t key; /* of its dropout */
    struct train_queries wanted; /* tokens whose last hidden states are asked for */
};

struct train_dropout {
    uint32_t threshold; /* of 2^32; 0: none */
    float scale;
};

struct train_work;
struct train_work *train_work_new(const struct train_net *n);
void train_work_free(struct train_work *w);
uint32_t train_work_tokens(const struct train_net *n); /* of the largest slab */

/* The last hidden states of the wanted tokens, row by row in order, ld floats apart (train_net.ld); valid until the next pass.
 * What only other tokens would need of the last layer is left out. weights: those that are packed. */
const float *train_forward(const struct train_net *n, struct train_work *w, const float *weights,
                           const struct train_span *s, uint32_t count, struct train_dropout drop);
/* Where the gradient of those rows goes, zero after train_forward. */
float *train_work_slopes(struct train_work *w);
/* Of the slab last run forward, with the same weights. */
void train_back(const struct train_net *n, struct train_work *w, const float *weights,
                float *gradient);

#endif
