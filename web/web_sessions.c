/* Sessions of agents and coding CLIs: which there were, and one of them turn by turn. */
#include "base/check.h"
#include "base/clock.h"
#include "query/query_session.h"
#include "query/query_trace.h"
#include "web/web_json.h"

#define DAY_MS INT64_C(86400000)

static void sums_json(struct json_out *j, const struct query_session_sums *s)
{
    static const struct tsdb_id16 none;
    web_json_i64(j, "start_ms", s->start_ns / 1000000);
    web_json_i64(j, "end_ms", s->end_ns / 1000000);
    web_json_i64(j, "calls", s->calls);
    web_json_i64(j, "failed_calls", s->failed_calls);
    web_json_i64(j, "tools", s->tools);
    json_out_key(j, "tools_by");
    json_out_object(j);
    for (unsigned i = TSDB_TOOL_OK; i < TSDB_TOOL_COUNT; i++)
        web_json_i64(j, query_session_tool_name((uint8_t)i), s->tools_by[i]);
    json_out_object_end(j);
    web_json_i64(j, "compactions", s->compactions);
    web_json_i64(j, "handoffs", s->handoffs);
    web_json_i64(j, "input_tokens", s->input_tokens);
    web_json_i64(j, "output_tokens", s->output_tokens);
    web_json_i64(j, "cache_read_tokens", s->cache_read_tokens);
    web_json_i64(j, "cost_nanousd", s->cost_nanousd);
    web_json_i64(j, "reported_cost_nanousd", s->reported_cost_nanousd);
    web_json_i64(j, "unpriced", s->unpriced);
    web_json_known(j, "context_tokens", s->context_tokens);
    web_json_str(j, "model", s->model);
    json_out_key(j, "trace_id");
    if (memcmp(s->trace_id.b, none.b, 16) == 0)
        json_out_null(j);
    else {
        char hex[33];
        bytes_to_hex(bytes_of(s->trace_id.b, 16), hex);
        json_out_str(j, hex);
    }
}

static void line_json(struct json_out *j, const struct query_session_line *l)
{
    json_out_object(j);
    web_json_str(j, "id", l->id);
    web_json_str(j, "service", l->service);
    web_json_i64(j, "turns", l->turns);
    sums_json(j, &l->sums);
    json_out_object_end(j);
}

static void step_json(struct json_out *j, const struct query_session_step *s)
{
    json_out_object(j);
    web_json_text(j, "kind", query_session_kind_name(s->kind));
    web_json_i64(j, "turn", s->turn);
    web_json_i64(j, "start_ms", s->start_ns / 1000000);
    web_json_known(j, "duration_ns", s->duration_ns);
    web_json_str(j, "name", s->name);
    web_json_str(j, "word", s->word);
    web_json_str(j, "agent", s->agent);
    web_json_text(j, "outcome",
                  s->kind == QUERY_SESSION_CALL ? query_trace_outcome_name(s->outcome)
                                                : query_session_tool_name(s->outcome));
    web_json_text(j, "lane", query_session_lane_name(s->lane));
    web_json_bool(j, "log", s->is_log);
    web_json_known(j, "input_tokens", s->input_tokens);
    web_json_known(j, "output_tokens", s->output_tokens);
    web_json_known(j, "cache_read_tokens", s->cache_read_tokens);
    web_json_known(j, "cost_nanousd", s->cost_nanousd);
    web_json_hex(j, "trace_id", s->trace_id.b, sizeof s->trace_id.b);
    web_json_hex(j, "span_id", s->span_id.b, sizeof s->span_id.b);
    json_out_object_end(j);
}

/* from, to: ms; the last day and the last month when they are not said. */
static enum err stretch(struct web_call *c, int64_t back_ms, int64_t *out_from_ns,
                        int64_t *out_to_ns)
{
    int64_t now = clock_wall_ms(), from, to;
    enum err e = web_call_i64(c, "to", now + 600000, 0, INT64_MAX / 1000000, &to);
    if (e == ERR_OK)
        e = web_call_i64(c, "from", MAX(0, MIN(to, now) - back_ms), 0, INT64_MAX / 1000000, &from);
    if (e == ERR_OK && from > to)
        e = err_set(&c->msg, ERR_INVALID, "from is later than to");
    *out_from_ns = e == ERR_OK ? from * 1000000 : 0;
    *out_to_ns = e == ERR_OK ? to * 1000000 : 0;
    return e;
}

static enum err order_of(struct web_call *c, enum query_session_order *out)
{
    static const char *const names[] = {"recent", "cost", "tokens"};
    struct bytes by = web_call_value(c, "by");
    *out = QUERY_SESSION_RECENT;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (bytes_equal_str(by, names[i])) {
            *out = (enum query_session_order)i;
            return ERR_OK;
        }
    return by.size ? err_set(&c->msg, ERR_INVALID, "by is recent, cost or tokens") : ERR_OK;
}

static enum err sessions(struct web_call *c)
{
    struct query_session_ask q = {.service = web_call_value(c, "service")};
    struct query_session_line *lines = NULL;
    struct tsdb_view *v;
    size_t n = 0;
    int64_t limit;
    bool complete = true;
    enum err e = web_call_i64(c, "limit", 50, 1, QUERY_SESSION_LIMIT_MAX, &limit);
    if (e == ERR_OK)
        e = order_of(c, &q.order);
    if (e == ERR_OK)
        e = stretch(c, DAY_MS, &q.from_ns, &q.to_ns);
    if (e == ERR_OK)
        e = web_call_view(c, &v);
    if (e != ERR_OK)
        return e;
    q.limit = (uint32_t)limit;
    struct arena *scratch = arena_new(WEB_TRACE_BYTES_MAX);
    e = scratch ? query_session_list(v, &q, scratch, &lines, &n, &complete) : ERR_NOMEM;
    if (e == ERR_OK) {
        json_out_object(&c->j);
        json_out_key(&c->j, "sessions");
        json_out_array(&c->j);
        for (size_t i = 0; i < n; i++)
            line_json(&c->j, &lines[i]);
        json_out_array_end(&c->j);
        web_json_bool(&c->j, "complete", complete);
        web_json_i64(&c->j, "now_ms", clock_wall_ms());
        web_quarantine_warnings(c, v);
        json_out_object_end(&c->j);
    } else
        err_set(&c->msg, e, "the sessions could not be read: %s", err_text(e));
    arena_free(scratch);
    tsdb_view_close(v);
    return e;
}

static void session_json(struct web_call *c, struct tsdb_view *v, const struct query_session *s)
{
    json_out_object(&c->j);
    json_out_key(&c->j, "session");
    line_json(&c->j, &s->line);
    json_out_key(&c->j, "turns");
    json_out_array(&c->j);
    for (size_t i = 0; i < s->turn_count; i++) {
        json_out_object(&c->j);
        sums_json(&c->j, &s->turns[i]);
        json_out_object_end(&c->j);
    }
    json_out_array_end(&c->j);
    json_out_key(&c->j, "steps");
    json_out_array(&c->j);
    for (size_t i = 0; i < s->step_count; i++)
        step_json(&c->j, &s->steps[i]);
    json_out_array_end(&c->j);
    web_json_bool(&c->j, "complete", s->is_complete);
    web_json_i64(&c->j, "now_ms", clock_wall_ms());
    web_quarantine_warnings(c, v);
    json_out_object_end(&c->j);
}

static enum err session(struct web_call *c)
{
    struct query_session s;
    struct tsdb_view *v;
    int64_t from_ns, to_ns;
    struct bytes id = net_request_param(c->req, 0);
    enum err e = stretch(c, 30 * DAY_MS, &from_ns, &to_ns);
    if (e == ERR_OK)
        e = web_call_view(c, &v);
    if (e != ERR_OK)
        return e;
    struct arena *scratch = arena_new(WEB_TRACE_BYTES_MAX);
    e = scratch ? query_session_read(v, id, from_ns, to_ns, scratch, &s) : ERR_NOMEM;
    if (e == ERR_OK)
        session_json(c, v, &s);
    else
        err_set(&c->msg, e, "%s%s",
                e == ERR_NOT_FOUND ? "no session of this id is stored: it may be past retention, "
                                     "or was never sent here"
                                   : err_text(e),
                e == ERR_NOT_FOUND ? web_quarantine_doubt(v) : "");
    arena_free(scratch);
    tsdb_view_close(v);
    return e;
}

enum err web_sessions_routes(struct web *w, struct net *net)
{
    static const struct web_endpoint endpoints[] = {
        {"GET", "/api/telltale/v1/sessions", sessions, WEB_FORM_OURS, 0},
        {"GET", "/api/telltale/v1/sessions/*", session, WEB_FORM_OURS, 0},
    };
    return web_call_routes(w, net, endpoints, ARRAY_LEN(endpoints));
}
