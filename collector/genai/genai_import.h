/* LiteLLM's model_prices_and_context_window.json -> a price document of ours (docs/prices.md).
 *
 * A name with a path before it is that provider's price and never that of the bare name; of several names that mean one model at one provider
 * the one with the shortest path is taken, others with other rates are left out and said. Rows without input and output rate, and rows that
 * cost nothing at all, are left out: unknown, not free.
 * Owner: caller.  Thread: any.  Failure: ERR_INVALID with the byte for what is no JSON; ERR_LIMIT.
 * Limits: GENAI_IMPORT_BYTES_MAX, GENAI_IMPORT_MODELS_MAX, nesting of 16; memory for names and numbers of prices only.
 * Invariant: what is written is a document that price_yaml_load accepts.
 */
#ifndef COLLECTOR_GENAI_GENAI_IMPORT_H
#define COLLECTOR_GENAI_GENAI_IMPORT_H

#include "base/buf.h"

#define GENAI_IMPORT_BYTES_MAX (64u << 20)
#define GENAI_IMPORT_MODELS_MAX 16384u

/* X(NAME, "why") */
#define GENAI_IMPORT_SKIPS(X)                                                                    \
    X(NO_RATE, "no input or no output price")                                                    \
    X(FREE, "input and output cost nothing: taken as unknown")                                   \
    X(SHADOW, "another name of this model at this provider has other prices and a shorter path") \
    X(SAME, "another name of this model at this provider has the same prices")                   \
    X(TIER, "a tier without input or output price: the tier is left out")                        \
    X(NAME, "the name is empty, too long, or no text")                                           \
    X(NUMBER, "a price that is no number, negative, or too large")
enum genai_import_skip {
#define X(name, text) GENAI_IMPORT_##name,
    GENAI_IMPORT_SKIPS(X)
#undef X
        GENAI_IMPORT_SKIP_COUNT
};
const char *genai_import_why(enum genai_import_skip s);

struct genai_import {
    uint32_t models, rows; /* written: offers, and rate cards */
    uint32_t skipped[GENAI_IMPORT_SKIP_COUNT];
    uint32_t rounded; /* rates finer than a millionth of a dollar per million tokens */
    /* Every row that is left out; NULL = not asked for. */
    void (*skip)(void *ctx, struct bytes name, enum genai_import_skip why);
    void *ctx;
};

/* source: a remark for every row, such as the file's name and date. */
enum err genai_import_litellm(struct bytes json, struct bytes source, struct genai_import *i,
                              struct buf *out_yaml, struct err_msg *msg) MUST_CHECK;

#endif
