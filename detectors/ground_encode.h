/* The token classifier over a response: each token of it with the logit that it is not supported.
 *
 * Owner: the caller's arena.  Thread: one at a time per encoder.  Failure: ERR_TIMEOUT past the deadline; ERR_INVALID for a model without a token
 * head; the encoder's; ERR_NOMEM.
 * Invariants: 1. Tokens are ascending and inside the response. 2. Logits are finite.
 */
#ifndef DETECTORS_GROUND_ENCODE_H
#define DETECTORS_GROUND_ENCODE_H

#include "detectors/detectors_ground_lab.h"
#include "detectors/ground_case.h"
#include "detectors/ground_part.h"
#include "gpu/gpu_encode.h"

struct ground_encode_result {
    struct ground_token *tokens;
    uint32_t count, spent; /* spent: tokens that the encoder saw, evidence and all */
};
enum err ground_encode_tokens(struct gpu_encoder *encoder, const struct gpu_model *m,
                              const struct ground_part_input *in, uint64_t deadline_ns,
                              struct arena *a, struct ground_encode_result *out,
                              struct err_msg *msg) MUST_CHECK;

/* The extra of a model file that lists the sources which the encoder has not been trained on: u64 groups, little-endian, ascending. */
#define GROUND_ENCODE_HELD_OUT "ground_held_out"
/* Present: the head was trained with words marked that the context does not have (ground_part_input.marks). */
#define GROUND_ENCODE_MARKS "ground_marks"
/* Judges the cases that calibration is made for with the options' model: those that it has not been trained on; all of them, and says so, where the
 * file does not tell which those are. */
enum err ground_encode_cases(struct ground_cases *all, const struct ground_lab_options *o,
                             struct arena *a, struct err_msg *msg) MUST_CHECK;

#endif
