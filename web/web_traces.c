/* Trace lists and single traces in our own form: canonical columns, layout of the waterfall. */
#include "base/check.h"
#include "base/clock.h"
#include "query/query_stream.h"
#include "web/web_json.h"

void web_traces_summary(struct json_out *j, const struct query_trace_summary *s)
{
    json_out_object(j);
    web_json_hex(j, "trace_id", s->id.b, sizeof s->id.b);
    web_json_str(j, "service", s->service);
    web_json_str(j, "name", s->name);
    web_json_bool(j, "has_root", s->has_root);
    web_json_i64(j, "start_ms", s->start_ns / 1000000);
    web_json_i64(j, "duration_ns", s->end_ns - s->start_ns);
    web_json_i64(j, "spans", s->spans);
    web_json_i64(j, "errors", s->errors);
    web_json_i64(j, "calls", s->calls);
    web_json_f64(j, "weight", s->weight);
    web_json_str(j, "model", s->model);
    web_json_str(j, "error", s->outcome_error);
    web_json_known(j, "input_tokens", s->input_tokens);
    web_json_known(j, "output_tokens", s->output_tokens);
    web_json_known(j, "cost_nanousd", s->cost_nanousd);
    web_json_known(j, "ttft_ns", s->ttft_ns);
    json_out_object_end(j);
}

enum err web_traces_list(struct web_call *c, struct tsdb_view *v,
                         const struct query_trace_search *s)
{
    struct tsdb_id16 *ids = NULL;
    size_t n = 0;
    enum err e = query_trace_find(v, s, c->arena, &ids, &n);
    if (e != ERR_OK)
        return err_set(&c->msg, e, "the search failed: %s", err_text(e));
    struct arena *scratch = arena_new(WEB_TRACE_BYTES_MAX);
    if (!scratch)
        return ERR_NOMEM;
    json_out_array(&c->j);
    for (size_t i = 0; e == ERR_OK && i < n; i++) {
        struct tsdb_spans spans = {0};
        struct query_trace_summary summary;
        arena_reset(scratch); /* a trace may be large, its line is not */
        e = tsdb_trace(v, ids[i], scratch, &spans);
        if (e == ERR_NOT_FOUND || (e == ERR_OK && spans.count == 0)) {
            e = ERR_OK; /* dropped by retention between the two reads */
            continue;
        }
        if (e != ERR_OK)
            break;
        query_trace_summarise(&spans, &summary);
        web_traces_summary(&c->j, &summary);
    }
    json_out_array_end(&c->j);
    arena_free(scratch);
    return e;
}

static enum err traces(struct web_call *c)
{
    struct query_trace_search s = {0};
    int64_t limit, from_ms, to_ms, min_ms, max_ms;
    struct tsdb_view *v;
    struct bytes tags = web_call_value(c, "tags"), model = web_call_value(c, "model");
    enum err e = web_call_i64(c, "limit", 50, 1, 500, &limit);
    if (e == ERR_OK)
        e = web_call_i64(c, "from", 0, 0, INT64_MAX / 1000000, &from_ms);
    if (e == ERR_OK)
        e = web_call_i64(c, "to", 0, 0, INT64_MAX / 1000000, &to_ms);
    if (e == ERR_OK)
        e = web_call_i64(c, "min_ms", 0, 0, INT64_MAX / 1000000, &min_ms);
    if (e == ERR_OK)
        e = web_call_i64(c, "max_ms", 0, 0, INT64_MAX / 1000000, &max_ms);
    if (e == ERR_OK && tags.size)
        e = query_trace_tags(tags, c->arena, &s, &c->msg);
    if (e != ERR_OK)
        return e;
    if (model.size && s.tag_count < QUERY_TRACE_TAGS_MAX)
        s.tags[s.tag_count++] = (struct query_trace_tag){BYTES_LIT("model"), model};
    s.service = web_call_value(c, "service");
    s.operation = web_call_value(c, "operation");
    s.errors_only = bytes_equal_str(web_call_value(c, "errors"), "1");
    s.genai_only = bytes_equal_str(web_call_value(c, "calls"), "1");
    s.limit = (uint32_t)limit;
    s.start_min_ns = from_ms * 1000000;
    s.start_max_ns = to_ms * 1000000;
    s.duration_min_ns = min_ms * 1000000;
    s.duration_max_ns = max_ms * 1000000;
    e = web_call_view(c, &v);
    if (e != ERR_OK)
        return e;
    json_out_object(&c->j);
    json_out_key(&c->j, "traces");
    e = web_traces_list(c, v, &s);
    web_quarantine_warnings(c, v);
    json_out_object_end(&c->j);
    tsdb_view_close(v);
    return e;
}

enum err web_traces_id(struct web_call *c, struct bytes hex, struct tsdb_id16 *out)
{
    char padded[32];
    bool fits = hex.size > 0 && hex.size <= sizeof padded;
    if (fits) {
        memset(padded, '0', sizeof padded);
        memcpy(padded + sizeof padded - hex.size, hex.data, hex.size);
    }
    if (!fits || !bytes_from_hex(bytes_of(padded, sizeof padded), out->b, sizeof out->b))
        return err_set(&c->msg, ERR_INVALID, "a trace id is 1 to 32 hex digits");
    return ERR_OK;
}

enum err web_traces_duration(struct web_call *c, const char *name, int64_t *out_ns)
{
    struct bytes text = web_call_value(c, name);
    if (!text.size || query_trace_duration(text, out_ns))
        return ERR_OK;
    return err_set(&c->msg, ERR_INVALID, "%s: give a duration such as 1.2s, 100ms, 500us", name);
}

/* --- one trace --------------------------------------------------------------------------------- */

void web_traces_attrs(struct json_out *j, const char *key, struct bytes attrs)
{
    struct tsdb_attrs_iter it = tsdb_attrs_begin(attrs);
    struct bytes name;
    struct tsdb_value v;
    json_out_key(j, key);
    json_out_array(
        j); /* pairs, not an object: names may repeat and may be anything, "__proto__" included */
    while (tsdb_attrs_next(&it, &name, &v)) {
        struct buf text;
        buf_init(&text, WEB_ANSWER_MAX);
        tsdb_attrs_text(&text, v);
        json_out_array(j);
        json_out_bytes(j, name);
        json_out_bytes(j, buf_bytes(&text));
        json_out_array_end(j);
        buf_done(&text);
    }
    json_out_array_end(j);
}

static void events_json(struct json_out *j, struct bytes events)
{
    struct tsdb_attrs_iter it = tsdb_attrs_begin(events);
    struct tsdb_event ev;
    json_out_key(j, "events");
    json_out_array(j);
    while (tsdb_attrs_next_event(&it, &ev)) {
        json_out_object(j);
        json_out_key(j, "time_ns");
        json_out_i64_str(j, (int64_t)ev.time_ns);
        web_json_str(j, "name", ev.name);
        web_traces_attrs(j, "attributes", ev.attrs);
        json_out_object_end(j);
    }
    json_out_array_end(j);
}

void web_traces_genai(struct json_out *j, const struct tsdb_spans *t, uint32_t row)
{
    const struct {
        const char *key;
        const struct bytes *column;
    } texts[] = {{"provider", t->provider},
                 {"operation", t->operation},
                 {"model", t->model},
                 {"request_model", t->request_model},
                 {"response_model", t->response_model},
                 {"response_id", t->response_id},
                 {"finish_reason", t->finish_reason},
                 {"error_type", t->error_type},
                 {"endpoint", t->endpoint},
                 {"tenant", t->tenant},
                 {"conversation_id", t->conversation_id},
                 {"prompt_name", t->prompt_name},
                 {"prompt_version", t->prompt_version},
                 {"agent_name", t->agent_name},
                 {"tool_name", t->tool_name}};
    const struct {
        const char *key;
        const int64_t *column;
    } numbers[] = {{"input_tokens", t->input_tokens},
                   {"output_tokens", t->output_tokens},
                   {"cache_read_tokens", t->cache_read_tokens},
                   {"cache_write_tokens", t->cache_write_tokens},
                   {"reasoning_tokens", t->reasoning_tokens},
                   {"max_tokens", t->max_tokens},
                   {"cost_nanousd", t->cost_nanousd}};
    uint8_t class = TSDB_SPAN_GET(t, row_class, row, 0);
    uint32_t price = TSDB_SPAN_GET(t, price_id, row, 0);
    if (!class)
        return;
    json_out_key(j, "genai");
    json_out_object(j);
    if (price) { /* of GET prices/ID */
        json_out_key(j, "price_id");
        json_out_printf(j, "%08x", price);
    }
    web_json_text(j, "class",
                  class & TSDB_CLASS_CALL      ? "call"
                  : class & TSDB_CLASS_REQUEST ? "request"
                                               : "step");
    web_json_text(j, "outcome", query_trace_outcome_name(TSDB_SPAN_GET(t, outcome, row, 0)));
    web_json_text(j, "fault", query_trace_fault_name(TSDB_SPAN_GET(t, fault, row, 0)));
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (texts[i].column && texts[i].column[row].size)
            web_json_str(j, texts[i].key, texts[i].column[row]);
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        if (numbers[i].column && numbers[i].column[row] >= 0)
            web_json_i64(j, numbers[i].key, numbers[i].column[row]);
    if (TSDB_SPAN_GET(t, ttft_ns, row, -1) >= 0) {
        json_out_key(j, "ttft_ns");
        json_out_i64(j, t->ttft_ns[row]);
    }
    uint8_t flags = TSDB_SPAN_GET(t, row_flags, row, 0);
    web_json_bool(j, "stream", flags & TSDB_ROW_STREAM);
    web_json_bool(j, "estimated", flags & TSDB_ROW_ESTIMATED);
    web_json_bool(j, "unpriced", flags & TSDB_ROW_UNPRICED);
    json_out_object_end(j);
}

/* What token events told of the span: times after the trace's start (offset_ns) or the stream's (all others). */
static void stream_json(struct json_out *j, const struct query_stream *s, int64_t start_ns)
{
    json_out_key(j, "stream");
    json_out_object(j);
    web_json_str(j, "result", s->result);
    web_json_str(j, "reason", s->reason);
    web_json_str(j, "source", s->source);
    web_json_i64(j, "offset_ns", s->start_ns - start_ns);
    web_json_i64(j, "duration_ns", s->end_ns - s->start_ns);
    web_json_known(j, "ttft_ns", s->ttft_ns);
    json_out_key(j, "tokens");
    json_out_object(j);
    web_json_i64(j, "output", s->output);
    web_json_i64(j, "reasoning", s->reasoning);
    web_json_i64(j, "tool", s->tool);
    json_out_object_end(j);
    web_json_f64(j, "tokens_per_second", s->tokens_per_second);
    web_json_f64(j, "mean_logprob", s->mean_logprob);
    web_json_i64(j, "stall_count", s->stall_count);
    json_out_key(j, "stalls");
    json_out_array(j);
    for (uint32_t i = 0; i < s->stalls_placed; i++) {
        json_out_object(j);
        web_json_i64(j, "at_ns", s->stalls[i].after_ns);
        web_json_i64(j, "ns", s->stalls[i].length_ns);
        json_out_object_end(j);
    }
    json_out_array_end(j);
    json_out_key(j, "timeline");
    json_out_object(j);
    web_json_i64(j, "bin_ns", s->bin_ns);
    json_out_key(j, "tokens");
    json_out_array(j);
    for (uint32_t i = 0; i < s->bin_count; i++)
        json_out_i64(j, (int64_t)s->bins[i]);
    json_out_array_end(j);
    json_out_object_end(j);
    json_out_object_end(j);
}

static void span_json(struct json_out *j, const struct tsdb_spans *t, uint32_t row,
                      const struct query_trace_layout *l, const struct query_stream *stream,
                      int64_t start_ns)
{
    json_out_object(j);
    web_json_hex(j, "span_id", t->span_id[row].b, sizeof t->span_id[row].b);
    web_json_hex(j, "parent_id", t->parent_id[row].b, sizeof t->parent_id[row].b);
    web_json_str(j, "service", TSDB_SPAN_GET(t, service, row, BYTES_NONE));
    web_json_str(j, "name", TSDB_SPAN_GET(t, name, row, BYTES_NONE));
    web_json_text(j, "kind", query_trace_kind_name(TSDB_SPAN_GET(t, kind, row, 0)));
    web_json_i64(j, "status", TSDB_SPAN_GET(t, status, row, 0));
    web_json_str(j, "status_message", TSDB_SPAN_GET(t, status_message, row, BYTES_NONE));
    web_json_i64(j, "offset_ns", t->start_ns[row] - start_ns); /* small enough for a double */
    web_json_i64(j, "duration_ns", t->end_ns[row] - t->start_ns[row]);
    web_json_i64(j, "depth", l->depth[row]);
    web_json_bool(j, "critical", l->critical[row]);
    web_json_bool(j, "orphan",
                  l->parent[row] == TSDB_NO_ROW && t->parent_id &&
                      bytes_u64le(t->parent_id[row].b));
    web_json_f64(j, "weight",
                 (double)TSDB_SPAN_GET(t, weight, row, TSDB_WEIGHT_ONE) / TSDB_WEIGHT_ONE);
    web_json_str(j, "scope", TSDB_SPAN_GET(t, scope_name, row, BYTES_NONE));
    web_traces_genai(j, t, row);
    if (stream)
        stream_json(j, stream, start_ns);
    web_traces_attrs(j, "attributes", TSDB_SPAN_GET(t, attrs, row, BYTES_NONE));
    web_traces_attrs(j, "resource", TSDB_SPAN_GET(t, resource_attrs, row, BYTES_NONE));
    events_json(j, TSDB_SPAN_GET(t, events, row, BYTES_NONE));
    json_out_object_end(j);
}

static enum err trace(struct web_call *c)
{
    struct tsdb_id16 id;
    struct tsdb_view *v;
    struct tsdb_spans spans = {0};
    struct query_trace_layout layout;
    struct query_trace_summary summary;
    struct query_streams streams = {0};
    if (!bytes_from_hex(net_request_param(c->req, 0), id.b, sizeof id.b))
        return err_set(&c->msg, ERR_INVALID, "a trace id is 32 hex digits");
    enum err e = web_call_view(c, &v);
    if (e != ERR_OK)
        return e;
    struct arena *scratch = arena_new(WEB_TRACE_BYTES_MAX);
    e = scratch ? tsdb_trace(v, id, scratch, &spans) : ERR_NOMEM;
    if (e == ERR_OK)
        e = query_trace_layout(&spans, scratch, &layout);
    if (e == ERR_OK) {
        query_trace_summarise(&spans, &summary);
        e = query_streams_read(v, id, summary.start_ns, summary.end_ns, scratch, &streams);
    }
    if (e == ERR_OK) {
        json_out_object(&c->j);
        json_out_key(&c->j, "summary");
        web_traces_summary(&c->j, &summary);
        web_json_i64(&c->j, "now_ms", clock_wall_ms());
        json_out_key(&c->j, "spans");
        json_out_array(&c->j);
        for (uint32_t i = 0; i < spans.count; i++)
            span_json(&c->j, &spans, layout.order[i], &layout,
                      query_streams_of(&streams, spans.span_id[layout.order[i]]), summary.start_ns);
        json_out_array_end(&c->j);
        web_quarantine_warnings(c, v);
        json_out_object_end(&c->j);
    } else {
        err_set(&c->msg, e, "%s%s",
                e == ERR_NOT_FOUND ? "no trace of this id is stored: it may be past retention, "
                                     "or was never sent here"
                                   : err_text(e),
                e == ERR_NOT_FOUND ? web_quarantine_doubt(v) : "");
    }
    arena_free(scratch);
    tsdb_view_close(v);
    return e;
}

enum err web_traces_routes(struct web *w, struct net *net)
{
    static const struct web_endpoint endpoints[] = {
        {"GET", "/api/telltale/v1/traces", traces, WEB_FORM_OURS, 0},
        {"GET", "/api/telltale/v1/traces/{}", trace, WEB_FORM_OURS, 0},
    };
    return web_call_routes(w, net, endpoints, ARRAY_LEN(endpoints));
}
