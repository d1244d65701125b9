/* From a text to what is sensitive in it: recognisers at anchors (words of redact_words.c) and at runs of digits.
 *
 * Owner: caller; the list grows and is kept.  Thread: one at a time.
 * Failure: out of memory or more than REDACT_MATCHES_MAX findings sets overflow: the caller then hides the whole text.
 * Invariant: after redact_match_settle the matches are in order, lie in the text and do not overlap.
 */
#ifndef COLLECTOR_REDACT_REDACT_MATCH_H
#define COLLECTOR_REDACT_REDACT_MATCH_H

#include "collector/redact/redact_types.h"

struct redact_match {
    uint32_t from, to;
    uint32_t type;
};
struct redact_matches {
    struct redact_match *list;
    uint32_t count, cap;
    bool overflow;
};
void redact_match_add(struct redact_matches *m, size_t from, size_t to, uint32_t type);
void redact_match_settle(struct redact_matches *m);
void redact_match_done(struct redact_matches *m);

/* A text and the name under which it stands: "customer.iban" says what its digits are. */
struct redact_subject {
    struct bytes text, key;
};

/* Can there be a number that matters in these bytes (encoded values among them)? May be wrong with yes, never with no. */
bool redact_match_has_digits(struct bytes raw);
/* redact_numbers.c */
void redact_match_numbers(const struct redact_subject *s, struct redact_matches *out);
/* redact_words.c: what stands at the anchor that ends at `end` of the text. */
struct redact_engine_word;
size_t redact_match_words(const struct redact_engine_word **out);
void redact_match_word(const struct redact_subject *s, uint32_t word, size_t end,
                       struct redact_matches *out);
/* A value whose key says that it is a secret as a whole ("db.password"). */
void redact_match_key(const struct redact_subject *s, struct redact_matches *out);

/* --- what both share (redact_context.c) --------------------------------------------------------------------- */

static inline bool redact_match_is_digit(uint8_t c)
{
    return (uint8_t)(c - '0') < 10;
}
static inline bool redact_match_is_alpha(uint8_t c)
{
    return (uint8_t)((c | 32) - 'a') < 26;
}
static inline bool redact_match_is_word(uint8_t c)
{
    return redact_match_is_digit(c) || redact_match_is_alpha(c) || c == '_';
}
/* Does a word begin (end) at this place? Behind an escape of JSON or of a URL one does. */
bool redact_match_starts(struct bytes text, size_t at);
bool redact_match_ends(struct bytes text, size_t at);

#define REDACT_CONTEXT_MAX 256u
/* Lower-case words round a place: those of the key, of 64 bytes before it and of 24 behind. */
struct redact_context {
    char text[REDACT_CONTEXT_MAX];
    size_t before; /* so much of it stands before the place */
};
void redact_context_read(struct redact_context *c, const struct redact_subject *s, size_t from,
                         size_t to);
/* words: "a|b|c" */
bool redact_context_has(const struct redact_context *c, const char *words);
/* Is it called something harmless right before: "order no. 4111…", "build_id": …? */
bool redact_context_is_harmless(const struct redact_context *c);

#endif
