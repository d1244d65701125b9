/* The tap: rows of calls, and of what fetched their documents, offered to whoever looks at texts, before they are stored.
 *
 *   stage_apply --wants? (a hash of the trace id)--> offer --copies--> somebody's bounded queue
 *
 * The stage knows nothing of who listens; the program connects them (cli/).
 * Owner: the program; it outlives the stage's callers.  Thread: those of stage_apply, many at once; neither function may block.
 * Failure: none: what the listener cannot take it drops and counts.
 * Invariant: a row that is not wanted costs no more than the question.
 */
#ifndef COLLECTOR_STAGE_STAGE_TAP_H
#define COLLECTOR_STAGE_STAGE_TAP_H

#include "collector/stage/stage.h"

enum stage_tap_kind {
    STAGE_TAP_CALL,
    STAGE_TAP_SOURCE, /* a span that fetched documents */
    STAGE_TAP_RECORD /* a log record with a part of a conversation */
};

struct stage_tap_row {
    enum stage_tap_kind kind;
    uint32_t org;
    struct tsdb_id16 trace_id;
    struct tsdb_id8 span_id;
    int64_t end_ns;
    bool is_anomalous; /* of a call: cut off, degraded, fallen back to another model */
    const struct genai_row *call; /* of a call; valid during the offer */
    struct bytes service, attrs, events, event_name, body;
};

struct stage_tap {
    void *ctx;
    bool (*wants)(void *ctx, uint32_t org, struct tsdb_id16 trace_id);
    void (*offer)(void *ctx, const struct stage_tap_row *row);
};

/* Before the first stage_apply; copied. */
void stage_set_tap(struct stage *s, const struct stage_tap *tap);
/* The texts of a row as they were sent, before anything in them was masked: only the listener's memory ever holds them. */
struct stage_tap_text {
    struct bytes attrs, events, body;
};
/* What the stage calls for each row; call NULL: the row is nothing of GenAI. */
void stage_tap_span(const struct stage_tap *t, const struct tsdb_batch *b, uint32_t row,
                    const struct genai_row *call, const struct stage_tap_text *sent);
void stage_tap_log(const struct stage_tap *t, const struct tsdb_batch *b, uint32_t row,
                   const struct stage_tap_text *sent);

#endif
