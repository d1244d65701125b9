/* Sessions: what an agent or coding CLI did in one conversation: turns, model calls, tools, how its context grew, and what it cost.
 *
 * A session is the rows (spans and log records) of one conversation id; it is never a label. A span without the id belongs to the session that
 * the rest of its trace names, when that is one. A call or tool call told of by several rows counts once, by the rules of
 * collector/stage (log record before span, inner before outer call, outermost tool with the worst outcome): so a session's sums are
 * those of the series.
 * Owner: results live in the caller's arena.  Thread: the view's.
 * Failure: ERR_INVALID for an empty stretch, ERR_NOT_FOUND (query_session_read), else the view's errors.
 * Limits: QUERY_SESSION_ROWS_MAX rows looked at (newest blocks first; *out_complete says whether that was all), QUERY_SESSION_STEPS_MAX steps
 *         and QUERY_SESSION_TURNS_MAX turns of one session.
 * Invariants: 1. Sums over the turns are those of the session. 2. Turns and steps come in the order of their beginnings.
 */
#ifndef QUERY_QUERY_SESSION_H
#define QUERY_QUERY_SESSION_H

#include "tsdb/tsdb_read.h"

#define QUERY_SESSION_ROWS_MAX 100000u
#define QUERY_SESSION_LIMIT_MAX 500u
#define QUERY_SESSION_STEPS_MAX 5000u
#define QUERY_SESSION_TURNS_MAX 1000u

enum query_session_order { QUERY_SESSION_RECENT, QUERY_SESSION_COST, QUERY_SESSION_TOKENS };

struct query_session_ask {
    int64_t from_ns, to_ns; /* of the rows' times */
    struct bytes service; /* empty = any */
    enum query_session_order order;
    uint32_t limit; /* 0 = 50 */
};

/* Of a session or of one of its turns. */
struct query_session_sums {
    int64_t start_ns, end_ns;
    uint32_t calls, failed_calls, tools, tools_by[TSDB_TOOL_COUNT], compactions, handoffs;
    int64_t input_tokens, output_tokens, cache_read_tokens, cost_nanousd, reported_cost_nanousd;
    uint32_t unpriced; /* calls without a price: the cost is incomplete */
    int64_t
        context_tokens; /* input, cache included, of the newest call of the main lane; -1: none */
    struct bytes model; /* of the newest call of the main lane, else of any */
    struct tsdb_id16 trace_id; /* of its first span; zero: log records only */
};

struct query_session_line {
    struct bytes id, service;
    uint32_t turns;
    struct query_session_sums sums;
};
enum err query_session_list(struct tsdb_view *v, const struct query_session_ask *q, struct arena *a,
                            struct query_session_line **out, size_t *out_count,
                            bool *out_complete) MUST_CHECK;

enum query_session_kind {
    QUERY_SESSION_CALL,
    QUERY_SESSION_TOOL,
    QUERY_SESSION_PROMPT,
    QUERY_SESSION_COMPACTION,
    QUERY_SESSION_CONNECTION,
    QUERY_SESSION_HANDOFF
};

struct query_session_step {
    enum query_session_kind kind;
    uint32_t turn;
    int64_t start_ns, duration_ns; /* duration -1: not known */
    struct bytes name; /* model, tool, server */
    struct bytes word; /* trigger, status */
    struct bytes agent;
    uint8_t outcome; /* enum tsdb_outcome of a call, tsdb_tool_outcome of a tool */
    uint8_t lane;
    bool is_log;
    int64_t input_tokens, output_tokens, cache_read_tokens, cost_nanousd; /* -1: not known */
    struct tsdb_id16 trace_id;
    struct tsdb_id8 span_id;
};

struct query_session {
    struct query_session_line line;
    struct query_session_sums *turns;
    size_t turn_count;
    struct query_session_step *steps;
    size_t step_count;
    bool is_complete; /* false: rows, turns or steps past a limit are not shown */
};
/* from_ns, to_ns: where to look. */
enum err query_session_read(struct tsdb_view *v, struct bytes id, int64_t from_ns, int64_t to_ns,
                            struct arena *a, struct query_session *out) MUST_CHECK;

const char *query_session_kind_name(enum query_session_kind kind);
const char *query_session_tool_name(uint8_t tool_outcome); /* "ok", "error", ... */
const char *query_session_lane_name(
    uint8_t lane); /* "main", "subagent", "auxiliary"; "" for none */

#endif
