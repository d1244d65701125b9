/* Log records: by service, severity, attribute, text, trace and time, newest first. */
#include "base/check.h"
#include "base/clock.h"
#include "web/web_json.h"
#include "web/web_logs.h"

#define LIMIT_DEFAULT 100
#define LIMIT_MAX 5000

/* A severity's number, or the name of the range that begins there: OpenTelemetry's table. */
static bool severity_of(struct bytes text, uint8_t *out)
{
    static const struct {
        const char *name;
        uint8_t from;
    } names[] = {{"trace", 1},  {"debug", 5},    {"info", 9},  {"warn", 13},
                 {"error", 17}, {"warning", 13}, {"fatal", 21}};
    int64_t n;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (bytes_equal_nocase(text, bytes_str(names[i].name))) {
            *out = names[i].from;
            return true;
        }
    if (!bytes_to_i64(text, &n) || n < 0 || n > 24)
        return false;
    *out = (uint8_t)n;
    return true;
}

static enum err id_of(struct web_call *c, const char *name, uint8_t *id, size_t size,
                      uint32_t column, struct web_logs_question *q)
{
    struct bytes hex = web_call_value(c, name);
    if (!hex.size)
        return ERR_OK;
    if (!bytes_from_hex(hex, id, size))
        return err_set(&c->msg, ERR_INVALID, "%s: give %zu hex digits", name, 2 * size);
    q->where[q->more.where_count++] =
        (struct tsdb_where){.column = column, .op = TSDB_WHERE_IS, .text = bytes_of(id, size)};
    return ERR_OK;
}

static enum err attributes_of(struct web_call *c, struct web_logs_question *q)
{
    struct bytes attr;
    for (unsigned i = 0; net_request_value(c->req, "attr", i, &attr); i++) {
        size_t at = bytes_find(attr, BYTES_LIT("="));
        if (at == attr.size || at == 0 || q->more.attr_count == WEB_LOGS_ATTRS_MAX)
            return err_set(&c->msg, ERR_INVALID, "attr: give key=value, at most %u of them",
                           WEB_LOGS_ATTRS_MAX);
        q->attrs[q->more.attr_count++] = (struct tsdb_where_attr){
            bytes_slice(attr, 0, at), bytes_slice(attr, at + 1, attr.size)};
    }
    return ERR_OK;
}

enum err web_logs_read(struct web_call *c, struct web_logs_question *q)
{
    *q = (struct web_logs_question){.more = {.where_count = 0}};
    int64_t from_ms, to_ms;
    struct bytes severity = web_call_value(c, "severity"), event = web_call_value(c, "event");
    enum err e = web_call_i64(c, "from", 0, 0, INT64_MAX / 1000000, &from_ms);
    if (e == ERR_OK)
        e = web_call_i64(c, "to", clock_wall_ms(), from_ms, INT64_MAX / 1000000, &to_ms);
    if (e == ERR_OK)
        e = id_of(c, "trace_id", q->trace, sizeof q->trace, TSDB_LOG_trace_id, q);
    if (e == ERR_OK)
        e = id_of(c, "span_id", q->span, sizeof q->span, TSDB_LOG_span_id, q);
    if (e == ERR_OK)
        e = attributes_of(c, q);
    if (e != ERR_OK)
        return e;
    if (severity.size && !severity_of(severity, &q->f.severity_min))
        return err_set(&c->msg, ERR_INVALID,
                       "severity: trace, debug, info, warn, error, fatal, or a number to 24");
    if (event.size)
        q->where[q->more.where_count++] =
            (struct tsdb_where){.column = TSDB_LOG_event_name, .op = TSDB_WHERE_IS, .text = event};
    q->more.where = q->where;
    q->more.attrs = q->attrs;
    q->more.contains = web_call_value(c, "contains");
    q->f.min_ns = from_ms * 1000000;
    q->f.max_ns = to_ms * 1000000 + 999999;
    q->f.service = web_call_value(c, "service");
    q->f.more = &q->more;
    return ERR_OK;
}

static bool keep_text(struct arena *a, struct bytes *text)
{
    *text = text->size ? arena_copy(a, *text) : BYTES_NONE;
    return text->data || !text->size;
}

bool web_logs_keep(struct web_logs_question *q, struct arena *a)
{
    bool kept = keep_text(a, &q->f.service) && keep_text(a, &q->more.contains);
    for (uint32_t i = 0; kept && i < q->more.where_count; i++)
        kept = q->where[i].column != TSDB_LOG_event_name || keep_text(a, &q->where[i].text);
    for (uint32_t i = 0; kept && i < q->more.attr_count; i++)
        kept = keep_text(a, &q->attrs[i].key) && keep_text(a, &q->attrs[i].value);
    return kept;
}

static const char *severity_name(uint8_t n)
{
    static const char *const names[] = {"trace", "debug", "info", "warn", "error", "fatal"};
    return n >= 1 && n <= 24 ? names[(n - 1) / 4] : "";
}

static void body_json(struct json_out *j, struct bytes body)
{
    struct tsdb_attrs_iter it = tsdb_attrs_begin(body);
    struct tsdb_value v;
    struct buf text;
    json_out_key(j, "body");
    if (!body.size || !tsdb_attrs_next_value(&it, &v)) {
        json_out_null(j);
        return;
    }
    buf_init(&text, WEB_ANSWER_MAX);
    tsdb_attrs_text(&text, v);
    json_out_bytes(j, buf_bytes(&text));
    buf_done(&text);
}

void web_logs_row_json(struct json_out *j, const struct tsdb_logs *t, uint32_t row)
{
    json_out_object(j);
    json_out_key(j, "time_ns");
    json_out_i64_str(j, t->time_ns[row]);
    web_json_str(j, "service", TSDB_SPAN_GET(t, service, row, BYTES_NONE));
    web_json_i64(j, "severity", TSDB_SPAN_GET(t, severity, row, 0));
    web_json_text(j, "level", severity_name(TSDB_SPAN_GET(t, severity, row, 0)));
    web_json_str(j, "severity_text", TSDB_SPAN_GET(t, severity_text, row, BYTES_NONE));
    web_json_str(j, "event", TSDB_SPAN_GET(t, event_name, row, BYTES_NONE));
    if (t->trace_id && (bytes_u64le(t->trace_id[row].b) || bytes_u64le(t->trace_id[row].b + 8)))
        web_json_hex(j, "trace_id", t->trace_id[row].b, sizeof t->trace_id[row].b);
    if (t->span_id && bytes_u64le(t->span_id[row].b))
        web_json_hex(j, "span_id", t->span_id[row].b, sizeof t->span_id[row].b);
    body_json(j, TSDB_SPAN_GET(t, body, row, BYTES_NONE));
    web_json_str(j, "scope", TSDB_SPAN_GET(t, scope_name, row, BYTES_NONE));
    web_traces_attrs(j, "attributes", TSDB_SPAN_GET(t, attrs, row, BYTES_NONE));
    web_traces_attrs(j, "resource", TSDB_SPAN_GET(t, resource_attrs, row, BYTES_NONE));
    json_out_object_end(j);
}

static enum err logs(struct web_call *c)
{
    struct web_logs_question q;
    struct tsdb_view *v;
    struct tsdb_logs rows = {0};
    int64_t limit;
    enum err e = web_logs_read(c, &q);
    if (e == ERR_OK)
        e = web_call_i64(c, "limit", LIMIT_DEFAULT, 1, LIMIT_MAX, &limit);
    if (e == ERR_OK)
        e = web_call_view(c, &v);
    if (e != ERR_OK)
        return e;
    struct arena *scratch = arena_new(WEB_TRACE_BYTES_MAX);
    e = scratch ? tsdb_log_scan(v, &q.f, (uint32_t)limit, scratch, &rows) : ERR_NOMEM;
    if (e == ERR_NOT_FOUND)
        e = ERR_OK, rows.count = 0;
    if (e == ERR_OK) {
        json_out_object(&c->j);
        json_out_key(&c->j, "logs");
        json_out_array(&c->j);
        for (uint32_t row = 0; row < rows.count; row++)
            web_logs_row_json(&c->j, &rows, row);
        json_out_array_end(&c->j);
        web_quarantine_warnings(c, v);
        json_out_object_end(&c->j);
    }
    arena_free(scratch);
    tsdb_view_close(v);
    return e;
}

enum err web_logs_routes(struct web *w, struct net *net)
{
    static const struct web_endpoint endpoints[] = {
        {"GET", "/api/telltale/v1/logs", logs, WEB_FORM_OURS, 0},
    };
    return web_call_routes(w, net, endpoints, ARRAY_LEN(endpoints));
}
