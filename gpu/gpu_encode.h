/* Running a model: sequences of token ids in, sentence vectors, hidden states, token logits or scores out.
 *
 * Sequences are laid end to end into slabs (no padding) and the slabs shared out over the encoder's threads.
 * Owner: gpu_encoder_new / gpu_encoder_free.  Thread: one call at a time per encoder; the model is shared by any number.
 * Failure: ERR_INVALID names the sequence that is too long or has an id that the model lacks; ERR_EXECUTION when a result is not finite.
 * Limits: a sequence has 1 to `positions` tokens.
 */
#ifndef GPU_GPU_ENCODE_H
#define GPU_GPU_ENCODE_H

#include "gpu/gpu_model.h"

enum gpu_output {
    GPU_VECTOR, /* out[hidden]: pooled, of length 1 */
    GPU_HIDDEN, /* out[count][hidden]: the last hidden states */
    GPU_TOKEN_LOGITS, /* out[count][labels] */
    GPU_SCORES /* out[labels]: of the whole sequence */
};

struct gpu_sequence {
    const uint32_t *ids;
    const uint8_t *types; /* NULL: all 0 */
    uint32_t count;
    float *out;
};

struct gpu_encoder;
/* threads 0: one per processor. */
struct gpu_encoder *gpu_encoder_new(const struct gpu_model *m,
                                    unsigned threads); /* NULL: no memory */
void gpu_encoder_free(struct gpu_encoder *e);
enum err gpu_encode(struct gpu_encoder *e, struct gpu_sequence *s, uint32_t n, enum gpu_output what,
                    struct err_msg *msg) MUST_CHECK;
/* What gpu_encode would refuse before it runs anything. */
enum err gpu_encode_check(const struct gpu_model *m, const struct gpu_sequence *s, uint32_t n,
                          enum gpu_output what, struct err_msg *msg) MUST_CHECK;
/* Floats that one sequence's out needs. */
size_t gpu_encode_floats(const struct gpu_model *m, const struct gpu_sequence *s,
                         enum gpu_output what);

/* [CLS] a [SEP], or [CLS] a [SEP] b [SEP]; cut to the model's positions (max 0) or max: the last place is [SEP]. The tokens are appended. */
bool gpu_encode_text(const struct gpu_model *m, struct bytes a, const struct bytes *b, uint32_t max,
                     struct gpu_tokens *out) MUST_CHECK;

#endif
