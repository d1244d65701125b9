/* vectorscan, wrapped: where in these bytes are anchors, and where do own patterns match?
 *
 * Measured on bench spans (one core of two): literals 25 ns a call and 4-5 GB/s; RE2::Set over the same words 55 ns and .6 GB/s.
 * Anchors are literals, so a match's beginning is known without asking for it.
 * Owner: the engine: redact; the scratch: a scan.  Thread: the engine is immutable; a scratch has one thread.
 * Failure: compile: ERR_INVALID with a sentence (what the library says, or that it takes too long or too much); ERR_NOMEM.
 * Limits: REDACT_PATTERN_SECONDS of processor time and REDACT_DATABASE_MAX bytes for own patterns: tried in a child process first, since
 *         the library cannot be told to stop.
 */
#ifndef COLLECTOR_REDACT_REDACT_ENGINE_H
#define COLLECTOR_REDACT_REDACT_ENGINE_H

#include "base/bytes.h"
#include "base/err.h"

struct redact_engine;
struct redact_engine_scratch;

struct redact_engine_word {
    const char *text;
    bool is_caseless;
};

enum err redact_engine_words(const struct redact_engine_word *words, size_t count,
                             struct redact_engine **out, struct err_msg *msg) MUST_CHECK;
/* Does this pattern compile within the limits, and match no empty text? */
enum err redact_engine_try(const char *pattern, struct err_msg *msg) MUST_CHECK;
enum err redact_engine_patterns(const char *const *patterns, size_t count,
                                struct redact_engine **out, struct err_msg *msg) MUST_CHECK;
void redact_engine_free(struct redact_engine *e); /* NULL is fine */

/* Scratch for both engines; b may be NULL. NULL = no memory. */
struct redact_engine_scratch *redact_engine_scratch_new(const struct redact_engine *a,
                                                        const struct redact_engine *b);
void redact_engine_scratch_free(struct redact_engine_scratch *s); /* NULL is fine */

/* Calls seen for each match in the order of their ends; from is 0 for words. False from seen: enough. */
typedef bool (*redact_engine_seen)(void *ctx, uint32_t id, size_t from, size_t to);
void redact_engine_scan(const struct redact_engine *e, struct redact_engine_scratch *s,
                        struct bytes text, redact_engine_seen seen, void *ctx);

#endif
