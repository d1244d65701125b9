/* Training a change of low rank instead of the matrices themselves: W = start + up x down (LoRA, arXiv 2106.09685).
 *
 * up and down are tensors of the net like others ("NAME.up" [n, r], "NAME.down" [r, k]): they have a gradient, moments and a place in checkpoints.
 * The matrices, and the tables of words and positions, get no step of their own.
 * Owner: the net.  Thread: each call works on the changes of one part, so that threads can share them out.
 */
#ifndef GPU_TRAIN_LOW_RANK_H
#define GPU_TRAIN_LOW_RANK_H

#include "gpu/train_net.h"

/* Gets no step: it stays, or it follows from up and down. */
bool train_low_rank_is_fixed(const struct train_net *n, const struct train_tensor *t);
/* Makes start out of the weights, up 0 and down small numbers of the seed. */
enum err train_low_rank_begin(struct train_net *n, uint64_t seed) MUST_CHECK;
/* Weights of a fine-tuned model taken over: up and down become the nearest that there are to the difference; the matrices follow. */
enum err train_low_rank_take(struct train_net *n) MUST_CHECK;
/* The matrices of changes part, part + parts, …, out of start, up and down. */
void train_low_rank_rebuild(struct train_net *n, unsigned part, unsigned parts);
/* gradient has that of the matrices; that of their up and down is written beside it. */
void train_low_rank_back(const struct train_net *n, float *gradient, unsigned part, unsigned parts);

#endif
