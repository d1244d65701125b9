/* What a response may rest on: the documents in lines (a sentence, or one leaf of JSON), and where each word stands.
 *
 * Owner: the caller's arena.  Thread: any.  Failure: ERR_NOMEM, ERR_LIMIT when the arena is full: some 20 bytes a byte of context.
 * Limits: GROUND_CONTEXT_BYTES_MAX, GROUND_DOCUMENTS_MAX, GROUND_CONTEXT_LINES_MAX; what is beyond is left out and `cut` set.
 * Invariants: 1. Lines are in document order. 2. begin <= end <= the document's size. 3. A line's words lie in its text.
 *
 *     {"hours": {"Monday": "11:0-17:0"}, "wifi": null}   ->   "hours Monday: 11:0-17:0 (11 am to 5 pm)" · "wifi: null"
 */
#ifndef DETECTORS_GROUND_CONTEXT_H
#define DETECTORS_GROUND_CONTEXT_H

#include "detectors/detectors_ground.h"
#include "detectors/ground_idf.h"

#define GROUND_CONTEXT_LINES_MAX (1u << 18)
/* A word that more lines than this have tells nothing about which line is meant: it is not looked up there. */
#define GROUND_CONTEXT_LINES_A_WORD_MAX 4096u

enum ground_truth {
    GROUND_TRUTH_NONE, /* not a yes or no */
    GROUND_TRUTH_NO, /* false, null, "no", "none" */
    GROUND_TRUTH_YES
};
struct ground_line {
    uint32_t document, begin, end; /* bytes of the document */
    struct bytes text; /* as it is judged: a slice of the document, or a line made of a leaf */
    uint32_t path_bytes; /* how much of text is a leaf's path; 0: prose */
    enum ground_truth truth;
    struct ground_words words;
};
struct ground_context {
    struct ground_line *lines;
    uint32_t count, words_count;
    bool json, cut; /* json: most lines are leaves */
    struct ground_context_index *index;
};

enum err ground_context_make(const struct bytes *documents, uint32_t count, struct arena *a,
                             struct ground_context *out) MUST_CHECK;

bool ground_context_has(const struct ground_context *c, uint32_t hash);
/* Two and three words in a row, as they stand in one line. */
bool ground_context_has_pair(const struct ground_context *c, uint32_t first, uint32_t second);
bool ground_context_has_three(const struct ground_context *c, uint32_t first, uint32_t second,
                              uint32_t third);
/* A word of the context begins with the same GROUND_CONTEXT_PREFIX letters: "celebration" where there is "celebrated". */
#define GROUND_CONTEXT_PREFIX 5u
bool ground_context_has_prefix(const struct ground_context *c, struct bytes word);
/* The lines that have a word, ascending. */
const uint32_t *ground_context_lines_of(const struct ground_context *c, uint32_t hash,
                                        uint32_t *count);
/* score[line] += the share of the words' idf that the line has, content words counted once each. Gives the whole idf; score has c->count places. */
float ground_context_recall(const struct ground_context *c, const struct ground_idf *idf,
                            const struct ground_word *words, uint32_t count, float *score);

#endif
