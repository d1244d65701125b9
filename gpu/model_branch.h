/* A branch of a model: what its token head sees differs from what its vectors are made of by a few small tensors.
 *
 * One file, one table of words, two encoders: the base, whose sentence vectors stay what they were, and the base with a change of low rank on each
 * matrix, which a token head was trained with. In the file, for a tensor NAME of the base:
 *     token.NAME                       F32: takes NAME's place (biases, normalisations, segments)
 *     token.NAME.up [n, r], token.NAME.down [r, k]    I8 with F32 scales a row, or F32: NAME + up x down (matrices; LoRA's form, arXiv 2106.09685)
 * Owner: the tensors' file.  Thread: any.  Failure: ERR_INVALID with a sentence, ERR_NOMEM.
 */
#ifndef GPU_MODEL_BRANCH_H
#define GPU_MODEL_BRANCH_H

#include "gpu/model_file.h"

bool model_branch_is_there(const struct safetensors *s);
/* What takes the place of a tensor (its name without the model's prefix), or NULL. */
const struct safetensor *model_branch_find(const struct safetensors *s, struct bytes name);
/* values [n, k] += up x down, where the branch changes that matrix. */
enum err model_branch_add(const struct safetensors *s, struct bytes name, uint32_t n, uint32_t k,
                          float *values, struct err_msg *msg) MUST_CHECK;

/* The product up [n, r] x down [r, k] nearest to values [n, k], nearly: subspace iteration from a fixed start. False: no memory.
 * Rows of down beyond the rank of values are 0. */
bool model_branch_factor(const float *values, uint32_t n, uint32_t k, uint32_t r, float *up,
                         float *down) MUST_CHECK;

#endif
