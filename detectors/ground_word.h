/* Words of a text as the grounding checker compares them: stems and numbers by hash, with what kind of word each is.
 *
 * Owner: the caller's arena.  Thread: any.  Failure: ERR_NOMEM.
 * Limits: a word has at most GROUND_WORD_BYTES_MAX bytes; a longer run of letters is several words.
 * Invariants: 1. begin < end, ascending, not overlapping. 2. Any bytes are text; bytes above 0x7f count as letters, but for the punctuation of
 *             U+2010..U+2027 and the no-break space.
 * A stem is a crude one (plural, -ed, -ing, final e): both sides go through the same function, so it only has to be consistent.
 */
#ifndef DETECTORS_GROUND_WORD_H
#define DETECTORS_GROUND_WORD_H

#include "base/arena.h"

#define GROUND_WORD_BYTES_MAX 64u

enum ground_word_flag {
    GROUND_WORD_NUMBER = 1, /* digits, or a number word: "7", "1,209", "twelve", "3rd" */
    GROUND_WORD_CAPITAL = 2, /* begins with A–Z */
    GROUND_WORD_STOP = 4, /* says nothing about the content */
    GROUND_WORD_NEGATION = 8, /* not, no, never, n't, without, … */
    GROUND_WORD_HEDGE = 16 /* may, might, likely, possibly, … */
};

struct ground_word {
    uint32_t begin, end; /* bytes of the text */
    uint32_t hash; /* of the stem, never 0 */
    uint8_t flags;
};
struct ground_words {
    struct ground_word *words;
    uint32_t count;
};

enum err ground_word_split(struct bytes text, struct arena *a, struct ground_words *out) MUST_CHECK;
/* Of one word, given as it is written. */
uint32_t ground_word_hash(struct bytes word);
static inline bool ground_word_is_content(const struct ground_word *w)
{
    return !(w->flags & (GROUND_WORD_STOP | GROUND_WORD_NEGATION | GROUND_WORD_HEDGE));
}

#endif
