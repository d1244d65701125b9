/* The rows that sessions are made of: calls, tools, prompts, compactions, connections and handoffs, from spans and log records alike.
 *
 * Owner: the caller's arena.  Thread: the view's.
 * Failure: the view's errors; ERR_LIMIT when the arena is full.
 * Limits: QUERY_SESSION_ROWS_MAX rows; past it rows->is_complete is false.
 * Invariant: every row that is kept names its session: by itself, or through its trace.
 */
#ifndef QUERY_SESSION_ROWS_H
#define QUERY_SESSION_ROWS_H

#include "query/query_session.h"

struct session_row {
    enum query_session_kind kind;
    bool is_log, is_lost; /* lost: another row counts what it tells of */
    uint8_t outcome, lane, flags, span_kind;
    int64_t start_ns, end_ns, duration_ns, input, output, cache_read, cost, reported;
    uint64_t id; /* of the response or tool call; 0: none */
    struct tsdb_id16 trace_id;
    struct tsdb_id8 span_id, parent_id;
    struct bytes session, turn, name, word, agent, service;
};

struct session_rows {
    struct session_row *rows;
    uint32_t count, cap;
    bool is_complete;
};

/* Rows of [from_ns, to_ns]; id empty: of every session. */
enum err session_rows_collect(struct tsdb_view *v, struct bytes id, struct bytes service,
                              int64_t from_ns, int64_t to_ns, struct arena *a,
                              struct session_rows *out) MUST_CHECK;

#endif
