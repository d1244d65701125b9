/* Log records of coding CLIs: one table per emitter says which record books a call, and which tell of tools, turns and context.
 * Owner: none.  Thread: any.  Failure: none.
 * Invariant: of several records of one call exactly one kind books; the others are a cross-check and never counted here.
 */
#ifndef COLLECTOR_GENAI_CALL_LOG_H
#define COLLECTOR_GENAI_CALL_LOG_H

#include "collector/genai/found.h"
#include "collector/genai/genai.h"

enum call_log_kind {
    CALL_LOG_NONE,
    CALL_LOG_DONE,
    CALL_LOG_FAILED,
    CALL_LOG_BLOCKED,
    CALL_LOG_TOOL,
    CALL_LOG_PROMPT,
    CALL_LOG_COMPACTION,
    CALL_LOG_CONNECTION
};

struct call_log {
    enum call_log_kind kind;
    uint8_t dialect;
    const char *provider; /* NULL = by the model */
};

/* f holds the CLI vocabulary of the record's attributes. */
struct call_log call_log_of(const struct found *f, uint8_t dialect, struct bytes event_name,
                            struct bytes body);

#endif
