/* A response as it is judged: its sentences, their words, what each is for.
 *
 * Owner: the caller's arena.  Thread: any.  Failure: ERR_NOMEM.
 * Limits: GROUND_RESPONSE_BYTES_MAX, GROUND_SENTENCES_MAX; what is beyond is left out and `cut` set.
 */
#ifndef DETECTORS_GROUND_ANSWER_H
#define DETECTORS_GROUND_ANSWER_H

#include "detectors/ground_split.h"
#include "detectors/ground_word.h"

struct ground_answer {
    struct bytes text;
    struct ground_split_range *ranges;
    struct ground_words *words; /* of each sentence; their places are the sentence's */
    enum ground_kind *kinds;
    uint32_t count;
    bool cut;
};

enum err ground_answer_make(struct bytes response, struct arena *a,
                            struct ground_answer *out) MUST_CHECK;
static inline struct bytes ground_answer_sentence(const struct ground_answer *r, uint32_t i)
{
    return bytes_slice(r->text, r->ranges[i].begin, r->ranges[i].end);
}

#endif
