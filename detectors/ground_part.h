/* What the token classifier is shown: a response in parts of whole sentences, each behind the lines of the context that are nearest to it.
 *
 *     [CLS] evidence [SEP] question [SEP] part [SEP]        types 0 … 0 1 … 1: the part and its [SEP] are segment 1
 *
 * With marks the segment tells more: a word of the part that the context has nowhere is of segment 0. What was left out of the evidence for want of
 * room is so told from what is not there at all.
 * Evidence: lines ranked by the largest share of a sentence's idf that they have, over the part's sentences, plus .3 of each neighbour's; as many as
 * fit, in document order. A part is whole sentences of at most GROUND_PART_TOKENS_MAX tokens together; a longer sentence is several parts.
 * Owner: the caller's arena.  Thread: any.  Failure: ERR_NOMEM.  Limits: GROUND_PART_LENGTH_MAX tokens a sequence.
 * Invariants: 1. count <= GROUND_PART_LENGTH_MAX. 2. Tokens first..count-2 are the part's; begin and end are bytes of the response there, 0 elsewhere.
 */
#ifndef DETECTORS_GROUND_PART_H
#define DETECTORS_GROUND_PART_H

#include "detectors/ground_answer.h"
#include "detectors/ground_context.h"

#define GROUND_PART_LENGTH_MAX 512u
#define GROUND_PART_TOKENS_MAX 170u
#define GROUND_PART_QUESTION_MAX 64u

struct ground_part {
    uint32_t *ids, *begin, *end;
    uint8_t *types;
    uint32_t count, first;
    uint32_t sentence_begin, sentence_end; /* of the response: [begin, end) */
};
struct ground_part_input {
    const struct gpu_vocab *vocab;
    const struct ground_idf *idf;
    const struct ground_context *context;
    struct bytes question;
    const struct ground_answer *answer;
    bool
        marks; /* of segment 0 instead of 1: tokens of content words that no line of the context has */
};

enum err ground_part_make(const struct ground_part_input *in, struct arena *a,
                          struct ground_part **out, uint32_t *out_count) MUST_CHECK;
/* score[line] of the context for sentences begin..end, as above. */
void ground_part_rank(const struct ground_part_input *in, uint32_t begin, uint32_t end,
                      float *scratch, float *score);

#endif
