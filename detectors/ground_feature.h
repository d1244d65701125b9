/* What can be counted about a sentence of a response beside its context: the columns that the trees split on.
 *
 * Owner: the caller's arena.  Thread: any.  Failure: ERR_NOMEM; ERR_TIMEOUT past the deadline.
 * Limits: none but the context's and the response's.  Invariants: 1. Every value is finite. 2. A change of the list or of a meaning changes
 * GROUND_FEATURE_VERSION: trees that were made for another one are refused.
 * Shares are of idf, over content words counted once each; "window" is the three lines in a row that have the largest share.
 */
#ifndef DETECTORS_GROUND_FEATURE_H
#define DETECTORS_GROUND_FEATURE_H

#include "detectors/ground_answer.h"
#include "detectors/ground_context.h"

#define GROUND_FEATURE_VERSION 1u

/* clang-format off */
#define GROUND_FEATURE_TABLE(X)                                                                         \
    X(RECALL)          /* share that the whole context has */                                           \
    X(RECALL_WINDOW)   /* … the best window */                                                          \
    X(RECALL_LINE)     /* … the best line */                                                            \
    X(RECALL_THREE)    /* … the three best lines, wherever they stand */                                \
    X(COSINE)          /* of idf vectors, with the best line */                                         \
    X(PAIRS)           /* share of two words in a row that the context has in a row */                  \
    X(TRIPLES)         /* … three */                                                                    \
    X(RUN)             /* words in the longest run copied */                                            \
    X(RUN_SHARE)       /* … of all words */                                                             \
    X(NUMBERS)         X(NUMBERS_MISSING)  X(NUMBERS_MISSING_WINDOW) X(NUMBERS_MISSING_SHARE)           \
    X(NAMES)           X(NAMES_MISSING)    X(NAMES_MISSING_WINDOW)   X(NAMES_MISSING_SHARE)             \
    X(CONTENT)         X(MISSING)          X(MISSING_SHARE)                                             \
    X(MISSING_PREFIX)  /* content words missing even by their first letters */                          \
    X(MISSING_PREFIX_SHARE)                                                                             \
    X(MISSING_IDF)     /* sum over them */                                                              \
    X(MISSING_RAREST)  X(MISSING_SECOND)                                                                \
    X(MISSING_RUN)     /* longest run of content words missing */                                       \
    X(MISSING_ASKED)   /* missing, but in the question */                                               \
    X(NEGATED)         X(NEGATED_WINDOW)   X(NEGATED_APART)                                             \
    X(NO_SAID_YES)     /* share of a leaf's path that stands in a sentence without negation, where the leaf says no */ \
    X(YES_SAID_NO)     X(NO_SAID_NO)       X(YES_SAID_YES)                                              \
    X(JSON)            X(LEAF_BEST)        /* the best line is a leaf */                                \
    X(REFUSAL)         X(META)             X(CONCLUSION)       X(ABSENCE) /* "does not mention" */      \
    X(HEDGES)          X(QUOTES)           X(COLON)            X(LIST)                                  \
    X(PLACE)           /* in the response: 0 first, 1 last */                                           \
    X(SENTENCES)       X(WORDS)            X(ASKED)            /* share that the question has */        \
    X(QUESTION)        /* there is one */                                                               \
    X(CONTEXT_WORDS)   X(CONTEXT_LINES)                                                                 \
    X(MEAN_RECALL)     /* over the response's sentences */                                              \
    X(MEAN_PAIRS)      X(LEAST_WINDOW)     X(WINDOW_OVER_MEAN) X(PAIRS_OVER_MEAN)                       \
    X(BEFORE_WINDOW)   X(AFTER_WINDOW)
/* clang-format on */

enum ground_feature {
#define X(name) GROUND_FEATURE_##name,
    GROUND_FEATURE_TABLE(X)
#undef X
        GROUND_FEATURE_COUNT
};

struct ground_feature_input {
    const struct ground_idf *idf;
    const struct ground_context *context;
    const struct ground_answer *answer;
    struct bytes question;
    uint64_t deadline_ns; /* of the monotonic clock; 0: none */
};

/* rows: [answer->count][GROUND_FEATURE_COUNT]. nearest: [answer->count][GROUND_EVIDENCE_MAX], the best lines, best first, UINT32_MAX
 * where there are fewer; shares beside it. */
struct ground_feature_rows {
    float *rows;
    uint32_t *nearest;
    float *shares;
};
enum err ground_feature_make(const struct ground_feature_input *in, struct arena *a,
                             struct ground_feature_rows *out) MUST_CHECK;
const char *ground_feature_name(enum ground_feature f);

#endif
