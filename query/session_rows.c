#include "query/session_rows.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"

#define TRACES_MAX 64u /* of one session, that are looked at for spans without its id */
#define BIT(column) (UINT64_C(1) << TSDB_SPAN_##column)
#define LOG_BIT(column) (UINT64_C(1) << TSDB_LOG_##column)
#define SPAN_COLUMNS                                                                               \
    (BIT(trace_id) | BIT(span_id) | BIT(parent_id) | BIT(start_ns) | BIT(end_ns) | BIT(kind) |     \
     BIT(service) | BIT(attrs) | BIT(row_class) | BIT(outcome) | BIT(row_flags) | BIT(operation) | \
     BIT(model) | BIT(response_id) | BIT(conversation_id) | BIT(agent_name) | BIT(tool_name) |     \
     BIT(input_tokens) | BIT(output_tokens) | BIT(cache_read_tokens) | BIT(cost_nanousd) |         \
     BIT(reported_cost_nanousd) | BIT(tool_call_id) | BIT(tool_outcome) | BIT(lane))
#define LOG_COLUMNS                                                                                \
    (LOG_BIT(time_ns) | LOG_BIT(trace_id) | LOG_BIT(span_id) | LOG_BIT(service) | LOG_BIT(event) | \
     LOG_BIT(outcome) | LOG_BIT(row_flags) | LOG_BIT(tool_outcome) | LOG_BIT(lane) |               \
     LOG_BIT(model) | LOG_BIT(response_id) | LOG_BIT(conversation_id) | LOG_BIT(turn) |            \
     LOG_BIT(agent_name) | LOG_BIT(tool_name) | LOG_BIT(tool_call_id) | LOG_BIT(word) |            \
     LOG_BIT(duration_ns) | LOG_BIT(input_tokens) | LOG_BIT(output_tokens) |                       \
     LOG_BIT(cache_read_tokens) | LOG_BIT(cost_nanousd) | LOG_BIT(reported_cost_nanousd))

struct collector {
    struct arena *a;
    struct session_rows *out;
    struct bytes last; /* copied last: neighbours repeat it */
    bool failed;
};

static const struct tsdb_id16 no_trace;

static struct bytes keep(struct collector *c, struct bytes text)
{
    if (!text.size)
        return BYTES_NONE;
    if (bytes_equal(text, c->last))
        return c->last;
    c->last = arena_copy(c->a, text);
    c->failed = c->failed || !c->last.data;
    return c->last;
}

static struct session_row *row_new(struct collector *c)
{
    struct session_rows *r = c->out;
    if (r->count == QUERY_SESSION_ROWS_MAX) {
        r->is_complete = false;
        return NULL;
    }
    if (r->count == r->cap) {
        uint32_t cap = r->cap ? r->cap * 2 : 64;
        struct session_row *grown = arena_grow(c->a, r->rows, sizeof *grown, r->cap, cap);
        if (!grown) {
            c->failed = true;
            return NULL;
        }
        r->rows = grown;
        r->cap = cap;
    }
    struct session_row *row = &r->rows[r->count++];
    memset(row, 0, sizeof *row);
    row->duration_ns = row->input = row->output = row->cache_read = row->cost = row->reported = -1;
    return row;
}

static uint64_t id_hash(struct bytes id, uint64_t what)
{
    return id.size ? hash64(id, what) | 1 : 0;
}

/* The prompt that the span belongs to, where its sender says so. */
static struct bytes turn_of(struct bytes attrs)
{
    static const char *const names[] = {"prompt.id", "gen_ai.prompt.name"};
    struct tsdb_value v;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (tsdb_attrs_find(attrs, bytes_str(names[i]), &v) && v.type == TSDB_VALUE_STRING)
            return v.bytes;
    return BYTES_NONE;
}

static bool span_kind_of(const struct tsdb_spans *t, uint32_t i, enum query_session_kind *out)
{
    if (TSDB_SPAN_GET(t, row_class, i, 0) & TSDB_CLASS_CALL)
        *out = QUERY_SESSION_CALL;
    else if (TSDB_SPAN_GET(t, tool_outcome, i, 0))
        *out = QUERY_SESSION_TOOL;
    else if (bytes_equal_str(TSDB_SPAN_GET(t, operation, i, BYTES_NONE), "handoff"))
        *out = QUERY_SESSION_HANDOFF;
    else
        return false;
    return true;
}

static bool add_span(struct collector *c, const struct tsdb_spans *t, uint32_t i)
{
    enum query_session_kind kind;
    struct bytes session = TSDB_SPAN_GET(t, conversation_id, i, BYTES_NONE);
    /* Tools often leave the id to their trace; a call without one is nobody's, or a gateway's view of one that has it. */
    if (!span_kind_of(t, i, &kind) || (!session.size && kind == QUERY_SESSION_CALL))
        return true;
    struct session_row *r = row_new(c);
    if (!r)
        return false;
    bool is_call = kind == QUERY_SESSION_CALL;
    r->kind = kind;
    r->outcome = is_call ? TSDB_SPAN_GET(t, outcome, i, 0) : TSDB_SPAN_GET(t, tool_outcome, i, 0);
    r->lane = TSDB_SPAN_GET(t, lane, i, 0);
    r->flags = TSDB_SPAN_GET(t, row_flags, i, 0);
    r->span_kind = TSDB_SPAN_GET(t, kind, i, 0);
    r->start_ns = t->start_ns[i];
    r->end_ns = t->end_ns[i] > t->start_ns[i] ? t->end_ns[i] : t->start_ns[i];
    r->duration_ns =
        t->start_ns[i] > 0 && t->end_ns[i] >= t->start_ns[i] ? t->end_ns[i] - t->start_ns[i] : -1;
    r->trace_id = t->trace_id[i];
    r->span_id = t->span_id[i];
    r->parent_id = t->parent_id[i];
    r->session = keep(c, session);
    r->service = keep(c, TSDB_SPAN_GET(t, service, i, BYTES_NONE));
    r->agent = keep(c, TSDB_SPAN_GET(t, agent_name, i, BYTES_NONE));
    r->turn = keep(c, turn_of(TSDB_SPAN_GET(t, attrs, i, BYTES_NONE)));
    r->name = keep(c, is_call ? TSDB_SPAN_GET(t, model, i, BYTES_NONE)
                              : TSDB_SPAN_GET(t, tool_name, i, BYTES_NONE));
    r->id = is_call ? id_hash(TSDB_SPAN_GET(t, response_id, i, BYTES_NONE), 1)
                    : id_hash(TSDB_SPAN_GET(t, tool_call_id, i, BYTES_NONE), 2);
    if (is_call) {
        r->input = TSDB_SPAN_GET(t, input_tokens, i, -1);
        r->output = TSDB_SPAN_GET(t, output_tokens, i, -1);
        r->cache_read = TSDB_SPAN_GET(t, cache_read_tokens, i, -1);
        r->cost = TSDB_SPAN_GET(t, cost_nanousd, i, -1);
        r->reported = TSDB_SPAN_GET(t, reported_cost_nanousd, i, -1);
    }
    return !c->failed;
}

static bool add_log(struct collector *c, const struct tsdb_logs *t, uint32_t i)
{
    static const enum query_session_kind kinds[] = {
        [TSDB_EVENT_CALL] = QUERY_SESSION_CALL,
        [TSDB_EVENT_TOOL] = QUERY_SESSION_TOOL,
        [TSDB_EVENT_PROMPT] = QUERY_SESSION_PROMPT,
        [TSDB_EVENT_COMPACTION] = QUERY_SESSION_COMPACTION,
        [TSDB_EVENT_CONNECTION] = QUERY_SESSION_CONNECTION};
    uint8_t event = TSDB_SPAN_GET(t, event, i, 0);
    struct bytes session = TSDB_SPAN_GET(t, conversation_id, i, BYTES_NONE);
    if (!event || event >= ARRAY_LEN(kinds) || !session.size)
        return true;
    struct session_row *r = row_new(c);
    if (!r)
        return false;
    r->kind = kinds[event];
    r->is_log = true;
    r->outcome = event == TSDB_EVENT_TOOL ? TSDB_SPAN_GET(t, tool_outcome, i, 0)
                                          : TSDB_SPAN_GET(t, outcome, i, 0);
    r->lane = TSDB_SPAN_GET(t, lane, i, 0);
    r->flags = TSDB_SPAN_GET(t, row_flags, i, 0);
    r->duration_ns = TSDB_SPAN_GET(t, duration_ns, i, -1);
    r->end_ns = t->time_ns[i];
    r->start_ns = t->time_ns[i] - (r->duration_ns > 0 ? r->duration_ns : 0);
    r->trace_id = t->trace_id[i];
    r->span_id = t->span_id[i];
    r->session = keep(c, session);
    r->service = keep(c, TSDB_SPAN_GET(t, service, i, BYTES_NONE));
    r->agent = keep(c, TSDB_SPAN_GET(t, agent_name, i, BYTES_NONE));
    r->turn = keep(c, TSDB_SPAN_GET(t, turn, i, BYTES_NONE));
    r->word = keep(c, TSDB_SPAN_GET(t, word, i, BYTES_NONE));
    r->name = keep(c, event == TSDB_EVENT_CALL ? TSDB_SPAN_GET(t, model, i, BYTES_NONE)
                                               : TSDB_SPAN_GET(t, tool_name, i, BYTES_NONE));
    r->id = event == TSDB_EVENT_TOOL ? id_hash(TSDB_SPAN_GET(t, tool_call_id, i, BYTES_NONE), 2)
                                     : id_hash(TSDB_SPAN_GET(t, response_id, i, BYTES_NONE), 1);
    r->input = TSDB_SPAN_GET(t, input_tokens, i, -1);
    r->output = TSDB_SPAN_GET(t, output_tokens, i, -1);
    r->cache_read = TSDB_SPAN_GET(t, cache_read_tokens, i, -1);
    r->cost = TSDB_SPAN_GET(t, cost_nanousd, i, -1);
    r->reported = TSDB_SPAN_GET(t, reported_cost_nanousd, i, -1);
    return !c->failed;
}

static bool on_spans(void *ctx, const struct tsdb_spans *t, const uint32_t *rows, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (!add_span(ctx, t, rows[i]))
            return false;
    return true;
}

static bool on_logs(void *ctx, const struct tsdb_logs *t, const uint32_t *rows, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (!add_log(ctx, t, rows[i]))
            return false;
    return true;
}

/* --- spans that leave it to their trace ------------------------------------------------------------- */

static int by_trace(const void *a, const void *b)
{
    const struct session_row *x = a, *y = b;
    int c = memcmp(x->trace_id.b, y->trace_id.b, 16);
    return c ? c : (x->session.size == 0) - (y->session.size == 0); /* those that name one first */
}

/* Spans of the session's traces that do not carry its id. */
static enum err read_traces(struct tsdb_view *v, struct collector *c)
{
    struct session_rows *r = c->out;
    struct tsdb_id16 ids[TRACES_MAX];
    uint32_t n = 0;
    enum err e = ERR_OK;
    for (uint32_t i = 0; i < r->count; i++) {
        bool known = memcmp(r->rows[i].trace_id.b, no_trace.b, 16) == 0;
        for (uint32_t k = n; k > 0 && !known; k--)
            known = memcmp(ids[k - 1].b, r->rows[i].trace_id.b, 16) == 0;
        if (known)
            continue;
        if (n == TRACES_MAX) {
            r->is_complete = false;
            break;
        }
        ids[n++] = r->rows[i].trace_id;
    }
    for (uint32_t i = 0; i < n && e == ERR_OK && !c->failed; i++) {
        struct tsdb_spans t = {0};
        e = tsdb_trace(v, ids[i], c->a, &t);
        for (uint32_t k = 0; e == ERR_OK && k < t.count; k++)
            if (!TSDB_SPAN_GET(&t, conversation_id, k, BYTES_NONE).size && !add_span(c, &t, k))
                break;
        if (e == ERR_NOT_FOUND)
            e = ERR_OK;
    }
    return e;
}

/* A trace that names one session lends it to its other rows; what is left without one goes. */
static void join_traces(struct session_rows *r)
{
    uint32_t kept = 0;
    if (r->count)
        qsort(r->rows, r->count, sizeof *r->rows, by_trace);
    for (uint32_t i = 0, end; i < r->count; i = end) {
        struct tsdb_id16 trace = r->rows[i].trace_id;
        struct bytes session = r->rows[i].session;
        bool one = memcmp(trace.b, no_trace.b, 16) != 0;
        for (end = i; end < r->count && memcmp(r->rows[end].trace_id.b, trace.b, 16) == 0; end++)
            one = one && (!r->rows[end].session.size || bytes_equal(r->rows[end].session, session));
        for (uint32_t k = i; k < end; k++) {
            if (!r->rows[k].session.size && one)
                r->rows[k].session = session;
            if (r->rows[k].session.size)
                r->rows[kept++] = r->rows[k];
        }
    }
    r->count = kept;
}

enum err session_rows_collect(struct tsdb_view *v, struct bytes id, struct bytes service,
                              int64_t from_ns, int64_t to_ns, struct arena *a,
                              struct session_rows *out)
{
    struct collector c = {.a = a, .out = out};
    struct tsdb_where of_spans = {TSDB_SPAN_row_class, TSDB_WHERE_AT_LEAST, BYTES_NONE, 1};
    struct tsdb_where of_logs = {TSDB_LOG_event, TSDB_WHERE_AT_LEAST, BYTES_NONE, 1};
    *out = (struct session_rows){.is_complete = true};
    if (id.size) {
        of_spans = (struct tsdb_where){TSDB_SPAN_conversation_id, TSDB_WHERE_IS, id, 0};
        of_logs = (struct tsdb_where){TSDB_LOG_conversation_id, TSDB_WHERE_IS, id, 0};
    }
    struct tsdb_row_filter span_filter = {.where = &of_spans, .where_count = 1},
                           log_filter = {.where = &of_logs, .where_count = 1};
    struct tsdb_visit q = {.start_min_ns = from_ns,
                           .start_max_ns = to_ns,
                           .service = service,
                           .more = &log_filter,
                           .columns = LOG_COLUMNS,
                           .order = TSDB_VISIT_NEWEST,
                           .logs = on_logs,
                           .ctx = &c};
    enum err e = tsdb_logs_visit(v, &q);
    q.more = &span_filter;
    q.columns = SPAN_COLUMNS;
    q.spans = on_spans;
    if (e == ERR_OK)
        e = tsdb_spans_visit(v, &q);
    if (e == ERR_OK && id.size)
        e = read_traces(v, &c);
    if (e != ERR_OK || c.failed)
        return e != ERR_OK ? e : ERR_LIMIT;
    join_traces(out);
    return ERR_OK;
}
