/* How a call or request ended, and whose fault it was; finish reasons, truncation, safety.
 * Owner: none.  Thread: any.  Failure: none: what cannot be told is not said.
 * Invariant: decided from the row alone; every call and every request gets an outcome other than NONE.
 */
#ifndef COLLECTOR_GENAI_OUTCOME_H
#define COLLECTOR_GENAI_OUTCOME_H

#include "collector/genai/found.h"
#include "collector/genai/genai.h"

struct outcome_span {
    uint8_t status; /* OTLP status code */
    struct bytes status_message;
    int64_t ttft_target_ns;
};

/* Canonical finish reason (stop, length, tool_calls, content_filter, context_window, error, cancelled) or the word as sent. */
struct bytes outcome_finish(struct bytes raw);
/* Needs class, tokens, times, stream flag, finish reason. Fills outcome, fault, truncation, tokens_lost, safety, latency_excluded. */
void outcome_decide(struct found *f, const struct outcome_span *s, struct genai_row *r);

#endif
