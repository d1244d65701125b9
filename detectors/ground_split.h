/* A text in sentences, as byte ranges, with what each is for: a claim, a greeting, a refusal.
 *
 * Owner: the caller's arena.  Thread: any.  Failure: ERR_NOMEM.
 * Limits: a sentence has at most GROUND_SPLIT_BYTES_MAX bytes, a longer one is several; at most `max` sentences, then *cut is set.
 * Invariants: 1. begin < end <= size, ascending, not overlapping, no blanks at either end. 2. Each holds a letter or a digit. 3. Any bytes are
 *             text; a range never cuts a character of valid UTF-8.
 */
#ifndef DETECTORS_GROUND_SPLIT_H
#define DETECTORS_GROUND_SPLIT_H

#include "base/arena.h"
#include "detectors/detectors_ground.h"

#define GROUND_SPLIT_BYTES_MAX 1000u

struct ground_split_range {
    uint32_t begin, end;
};

enum err ground_split_text(struct bytes text, uint32_t max, struct arena *a,
                           struct ground_split_range **out, uint32_t *out_count,
                           bool *cut) MUST_CHECK;
/* What a sentence of a response is. first, last: of its response. */
enum ground_kind ground_split_kind(struct bytes sentence, bool first, bool last);

#endif
