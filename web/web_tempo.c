/* Tempo's HTTP API, as Grafana's data source asks it: traces by id, search by TraceQL or tags, tags and their values. Times are Unix seconds. */
#include "base/check.h"
#include "base/clock.h"
#include "query/query_traceql.h"
#include "web/web_json.h"
#include "web/web_otlp.h"

#include <stdio.h>

#define SPANS_SHOWN 3 /* of one trace of a search */
#define SPANS_SHOWN_MAX 100
#define SECONDS_MAX (INT64_MAX / 1000000000)

static enum err echo(struct web_call *c)
{
    c->content_type = "text/plain; charset=utf-8";
    buf_str(&c->out, "echo");
    return ERR_OK;
}

static enum err build_info(struct web_call *c)
{
    json_out_object(&c->j);
    web_json_text(&c->j, "version", TELLTALE_VERSION);
    web_json_text(&c->j, "revision", "");
    web_json_text(&c->j, "branch", "");
    web_json_text(&c->j, "buildUser", "");
    web_json_text(&c->j, "buildDate", "");
    web_json_text(&c->j, "goVersion", "");
    json_out_object_end(&c->j);
    return ERR_OK;
}

/* --- one trace ---------------------------------------------------------------------------------- */

static void write_json(struct web_call *c, const struct tsdb_view *v, const struct tsdb_spans *t,
                       struct arena *a, bool wrapped)
{
    json_out_object(&c->j);
    if (wrapped) {
        json_out_key(&c->j, "trace");
        json_out_object(&c->j);
    }
    json_out_key(&c->j, wrapped ? "resourceSpans" : "batches");
    web_otlp_json(&c->j, t, a);
    if (wrapped)
        json_out_object_end(&c->j);
    web_quarantine_warnings(c, v);
    json_out_object_end(&c->j);
}

/* The second version has the trace as field 1 of an answer that may say more. */
static void write_protobuf(struct web_call *c, const struct tsdb_spans *t, struct arena *a,
                           bool wrapped)
{
    struct buf own;
    c->content_type = "application/protobuf";
    if (!wrapped) {
        web_otlp_protobuf(&c->out, t, a);
        return;
    }
    buf_init(&own, WEB_ANSWER_MAX);
    web_otlp_protobuf(&own, t, a);
    c->out.failed |= !buf_ok(&own);
    buf_u8(&c->out, 1 << 3 | 2);
    buf_lenbytes(&c->out, buf_bytes(&own));
    buf_done(&own);
}

static enum err trace_of(struct web_call *c, bool wrapped)
{
    struct tsdb_id16 id = {0};
    struct tsdb_view *v;
    struct tsdb_spans spans = {0};
    struct bytes accept = net_request_header(c->req, "accept");
    enum err e = web_traces_id(c, net_request_param(c->req, 0), &id);
    if (e == ERR_OK)
        e = web_call_view(c, &v);
    if (e != ERR_OK)
        return e;
    struct arena *scratch = arena_new(WEB_TRACE_BYTES_MAX);
    e = scratch ? tsdb_trace(v, id, scratch, &spans) : ERR_NOMEM;
    if (e == ERR_NOT_FOUND)
        err_set(&c->msg, e, "trace not found%s", web_quarantine_doubt(v));
    else if (e == ERR_OK && bytes_find(accept, BYTES_LIT("application/protobuf")) < accept.size)
        write_protobuf(c, &spans, scratch, wrapped);
    else if (e == ERR_OK)
        write_json(c, v, &spans, scratch, wrapped);
    arena_free(scratch);
    tsdb_view_close(v);
    return e;
}

static enum err trace_v1(struct web_call *c)
{
    return trace_of(c, false);
}

static enum err trace_v2(struct web_call *c)
{
    return trace_of(c, true);
}

/* --- search ------------------------------------------------------------------------------------- */

/* start and end; both absent: any time. */
static enum err range_of(struct web_call *c, int64_t *start_ns, int64_t *end_ns)
{
    int64_t start, end;
    enum err e = web_call_i64(c, "start", 0, 0, SECONDS_MAX, &start);
    if (e == ERR_OK)
        e = web_call_i64(c, "end", 0, 0, SECONDS_MAX, &end);
    if (e == ERR_OK && end && end < start)
        e = err_set(&c->msg, ERR_INVALID, "end is before start");
    if (e == ERR_OK) {
        *start_ns = start * 1000000000;
        *end_ns = end ? end * 1000000000 : 0;
    }
    return e;
}

static void quote(struct buf *out, struct bytes text)
{
    buf_u8(out, '"');
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == '"' || text.data[i] == '\\')
            buf_u8(out, '\\');
        buf_u8(out, text.data[i]);
    }
    buf_u8(out, '"');
}

/* One word or quoted text of logfmt; *at moves on. */
static struct bytes logfmt_piece(struct web_call *c, struct bytes text, size_t *at, bool is_key)
{
    uint8_t *copy = arena_alloc_raw(c->arena, text.size + 1, 1);
    size_t size = 0;
    if (!copy)
        return BYTES_NONE;
    bool in_quotes = *at < text.size && text.data[*at] == '"';
    for (*at += in_quotes; *at < text.size; (*at)++) {
        uint8_t ch = text.data[*at];
        if (in_quotes ? ch == '"' : ch == ' ' || (is_key && ch == '='))
            break;
        if (in_quotes && ch == '\\' && *at + 1 < text.size)
            ch = text.data[++*at];
        copy[size++] = ch;
    }
    *at += in_quotes && *at < text.size;
    return bytes_of(copy, size);
}

/* tags=service.name=x http.status_code=500: a text is compared as it stands, numbers and true or false also as such. */
static void condition(struct buf *q, struct bytes key, struct bytes value)
{
    double number;
    static const char *const intrinsics[] = {"name", "status", "kind"};
    bool intrinsic = false;
    for (size_t i = 0; i < ARRAY_LEN(intrinsics); i++)
        intrinsic |= bytes_equal_str(key, intrinsics[i]);
    buf_str(q, q->size > 2 ? " && " : "");
    if (intrinsic) {
        buf_bytes_append(q, key);
        buf_u8(q, '=');
        if (bytes_equal_str(key, "name"))
            quote(q, value);
        else
            buf_bytes_append(q, value);
        return;
    }
    if (bytes_equal_str(key, "error") && bytes_equal_str(value, "true")) {
        buf_str(q, "status=error");
        return;
    }
    bool bare = bytes_to_f64(value, &number) || bytes_equal_str(value, "true") ||
                bytes_equal_str(value, "false");
    buf_str(q, "(.");
    quote(q, key);
    buf_u8(q, '=');
    quote(q, value);
    if (bare) {
        buf_str(q, " || .");
        quote(q, key);
        buf_u8(q, '=');
        buf_bytes_append(q, value);
    }
    buf_u8(q, ')');
}

/* The query: q, or made from tags. */
static enum err query_of(struct web_call *c, struct query_traceql **out)
{
    struct bytes q = web_call_value(c, "q"), tags = web_call_value(c, "tags");
    struct buf made;
    if (q.size)
        return query_traceql_parse(q, c->arena, out, &c->msg);
    buf_init(&made, QUERY_TRACEQL_BYTES_MAX);
    buf_str(&made, "{ ");
    for (size_t at = 0; at < tags.size;) {
        if (tags.data[at] == ' ') {
            at++;
            continue;
        }
        struct bytes key = logfmt_piece(c, tags, &at, true);
        if (!key.size || at == tags.size || tags.data[at] != '=') {
            buf_done(&made);
            return err_set(&c->msg, ERR_INVALID, "tags: give key=value pairs with blanks between");
        }
        at++;
        condition(&made, key, logfmt_piece(c, tags, &at, false));
    }
    buf_str(&made, " }");
    struct bytes text = arena_copy(c->arena, buf_bytes(&made));
    enum err e = buf_ok(&made) && text.data ? query_traceql_parse(text, c->arena, out, &c->msg)
                                            : err_set(&c->msg, ERR_LIMIT, "tags: too long");
    buf_done(&made);
    return e;
}

static void value_json(struct json_out *j, const struct query_traceql_value *v)
{
    struct tsdb_value a = {TSDB_VALUE_EMPTY, {.integer = 0}};
    switch (v->type) {
    case TRACEQL_NIL: break;
    case TRACEQL_BOOL: a = (struct tsdb_value){TSDB_VALUE_BOOL, {.boolean = v->boolean}}; break;
    case TRACEQL_INT:
    case TRACEQL_DURATION: a = (struct tsdb_value){TSDB_VALUE_INT, {.integer = v->integer}}; break;
    case TRACEQL_FLOAT: a = (struct tsdb_value){TSDB_VALUE_DOUBLE, {.number = v->number}}; break;
    case TRACEQL_STRING: a = (struct tsdb_value){TSDB_VALUE_STRING, {.bytes = v->text}}; break;
    case TRACEQL_STATUS:
    case TRACEQL_KIND:
        a = (struct tsdb_value){TSDB_VALUE_STRING, {.bytes = query_traceql_keyword(v)}};
        break;
    }
    web_otlp_json_value(j, a);
}

struct answer {
    struct web_call *c;
    const struct query_traceql *q;
    uint32_t shown_max;
};

static void span_json(struct answer *x, const struct tsdb_spans *t, uint32_t row)
{
    struct json_out *j = &x->c->j;
    json_out_object(j);
    web_json_hex(j, "spanID", t->span_id[row].b, sizeof t->span_id[row].b);
    web_json_str(j, "name", t->name[row]);
    json_out_key(j, "startTimeUnixNano");
    json_out_i64_str(j, t->start_ns[row]);
    json_out_key(j, "durationNanos");
    json_out_i64_str(j, MAX(t->end_ns[row] - t->start_ns[row], 0));
    json_out_key(j, "attributes");
    json_out_array(j);
    for (uint32_t i = 0; i < query_traceql_fields(x->q); i++) {
        struct bytes name = query_traceql_field_name(x->q, i);
        struct query_traceql_value v = query_traceql_field(x->q, i, t, row);
        if (v.type == TRACEQL_NIL || bytes_equal_str(name, "name") ||
            bytes_equal_str(name, "duration"))
            continue; /* these the span has anyway */
        json_out_object(j);
        web_json_str(j, "key", name);
        json_out_key(j, "value");
        value_json(j, &v);
        json_out_object_end(j);
    }
    json_out_array_end(j);
    json_out_object_end(j);
}

static bool hit(void *ctx, const struct tsdb_spans *t, const uint32_t *rows, uint32_t count)
{
    struct answer *x = ctx;
    struct json_out *j = &x->c->j;
    struct query_trace_summary s;
    query_trace_summarise(t, &s);
    json_out_object(j);
    web_json_hex(j, "traceID", s.id.b, sizeof s.id.b);
    web_json_str(j, "rootServiceName",
                 s.has_root ? s.service : BYTES_LIT("<root span not yet received>"));
    web_json_str(j, "rootTraceName", s.has_root ? s.name : BYTES_NONE);
    json_out_key(j, "startTimeUnixNano");
    json_out_i64_str(j, s.start_ns);
    web_json_i64(j, "durationMs", (s.end_ns - s.start_ns) / 1000000);
    json_out_key(j, "spanSets");
    json_out_array(j);
    json_out_object(j);
    json_out_key(j, "spans");
    json_out_array(j);
    for (uint32_t i = 0; i < count && i < x->shown_max; i++)
        span_json(x, t, rows[i]);
    json_out_array_end(j);
    web_json_i64(j, "matched", count);
    json_out_object_end(j);
    json_out_array_end(j);
    json_out_object_end(j);
    return buf_ok(&x->c->out) && !atomic_load(net_request_cancelled(x->c->req));
}

static enum err search(struct web_call *c)
{
    struct query_traceql *q = NULL;
    struct query_traceql_search s = {.hit = hit};
    struct answer x = {.c = c};
    struct tsdb_view *v;
    int64_t limit, shown;
    enum err e = range_of(c, &s.start_min_ns, &s.start_max_ns);
    if (e == ERR_OK)
        e = web_call_i64(c, "limit", 20, 1, QUERY_TRACE_LIMIT_MAX, &limit);
    if (e == ERR_OK)
        e = web_call_i64(c, "spss", SPANS_SHOWN, 1, SPANS_SHOWN_MAX, &shown);
    if (e == ERR_OK)
        e = web_traces_duration(c, "minDuration", &s.duration_min_ns);
    if (e == ERR_OK)
        e = web_traces_duration(c, "maxDuration", &s.duration_max_ns);
    if (e == ERR_OK)
        e = query_of(c, &q);
    if (e != ERR_OK)
        return e;
    e = web_call_view(c, &v);
    if (e == ERR_OK) {
        x.q = s.q = q;
        x.shown_max = (uint32_t)shown;
        s.ctx = &x;
        s.limit = (uint32_t)limit;
        json_out_object(&c->j);
        json_out_key(&c->j, "traces");
        json_out_array(&c->j);
        e = query_traceql_run(v, &s);
        json_out_array_end(&c->j);
        json_out_key(&c->j, "metrics");
        json_out_object(&c->j);
        web_json_i64(&c->j, "inspectedTraces", s.out_traces);
        web_json_bool(&c->j, "complete", s.out_complete);
        json_out_object_end(&c->j);
        web_quarantine_warnings(c, v);
        json_out_object_end(&c->j);
        tsdb_view_close(v);
    }
    query_traceql_free(q);
    return e;
}

/* --- tags and values ---------------------------------------------------------------------------- */

static enum err ask_of(struct web_call *c, struct query_traceql_tags_ask *ask)
{
    int64_t limit;
    enum err e = range_of(c, &ask->start_min_ns, &ask->start_max_ns);
    if (e == ERR_OK)
        e = web_call_i64(c, "limit", 1000, 0, 10000, &limit);
    if (e == ERR_OK)
        ask->limit = (uint32_t)limit;
    return e;
}

static void names_json(struct json_out *j, const struct bytes *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        json_out_bytes(j, names[i]);
}

static bool scope_wanted(struct bytes asked, enum query_traceql_scope s)
{
    return !asked.size || bytes_equal_str(asked, query_traceql_scope_name(s));
}

static void intrinsics_json(struct json_out *j)
{
    for (size_t i = 0; query_traceql_intrinsics[i]; i++)
        json_out_str(j, query_traceql_intrinsics[i]);
}

static void scopes_json(struct json_out *j, const struct query_traceql_tags *t, struct bytes scope)
{
    json_out_key(j, "scopes");
    json_out_array(j);
    for (int s = TRACEQL_SPAN; s <= TRACEQL_INTRINSIC; s++) {
        if (!scope_wanted(scope, (enum query_traceql_scope)s))
            continue;
        json_out_object(j);
        web_json_text(j, "name", query_traceql_scope_name((enum query_traceql_scope)s));
        json_out_key(j, "tags");
        json_out_array(j);
        if (s == TRACEQL_INTRINSIC)
            intrinsics_json(j);
        else
            names_json(j, t->name[s], t->count[s]);
        json_out_array_end(j);
        json_out_object_end(j);
    }
    json_out_array_end(j);
}

static bool scope_is_known(struct bytes scope)
{
    bool known = !scope.size;
    for (int s = TRACEQL_SPAN; s <= TRACEQL_INTRINSIC; s++)
        known |= bytes_equal_str(scope, query_traceql_scope_name((enum query_traceql_scope)s));
    return known;
}

/* by_scope: the second version's form. */
static enum err tags_of(struct web_call *c, bool by_scope)
{
    struct query_traceql_tags_ask ask = {0};
    struct query_traceql_tags t;
    struct tsdb_view *v;
    struct bytes scope = web_call_value(c, "scope");
    enum err e = ask_of(c, &ask);
    if (e == ERR_OK && !scope_is_known(scope))
        e = err_set(&c->msg, ERR_INVALID,
                    "scope: span, resource, event, link, instrumentation or intrinsic");
    if (e == ERR_OK)
        e = web_call_view(c, &v);
    if (e != ERR_OK)
        return e;
    struct arena *scratch = arena_new(WEB_TRACE_BYTES_MAX);
    e = scratch ? query_traceql_tags(v, &ask, scratch, &t) : ERR_NOMEM;
    if (e == ERR_OK) {
        json_out_object(&c->j);
        if (by_scope) {
            scopes_json(&c->j, &t, scope);
        } else {
            json_out_key(&c->j, "tagNames");
            json_out_array(&c->j);
            for (int s = TRACEQL_SPAN; s <= TRACEQL_LINK; s++)
                if (scope_wanted(scope, (enum query_traceql_scope)s))
                    names_json(&c->j, t.name[s], t.count[s]);
            if (scope_wanted(scope, TRACEQL_INTRINSIC))
                intrinsics_json(&c->j);
            json_out_array_end(&c->j);
        }
        json_out_object_end(&c->j);
    }
    arena_free(scratch);
    tsdb_view_close(v);
    return e;
}

static enum err tags_v1(struct web_call *c)
{
    return tags_of(c, false);
}

static enum err tags_v2(struct web_call *c)
{
    return tags_of(c, true);
}

static struct bytes value_text(struct arena *a, const struct query_traceql_value *v)
{
    char number[JSON_OUT_PROM_FLOAT_MAX];
    switch (v->type) {
    case TRACEQL_STRING: return v->text;
    case TRACEQL_STATUS:
    case TRACEQL_KIND: return query_traceql_keyword(v);
    case TRACEQL_BOOL: return v->boolean ? BYTES_LIT("true") : BYTES_LIT("false");
    case TRACEQL_FLOAT:
        return arena_copy(a, bytes_of(number, json_out_prom_float(v->number, number)));
    case TRACEQL_DURATION: return arena_printf(a, "%lldns", (long long)v->integer);
    case TRACEQL_INT:
    case TRACEQL_NIL: break;
    }
    return arena_printf(a, "%lld", (long long)v->integer);
}

static void values_json(struct web_call *c, const struct query_traceql_value *values, size_t n,
                        bool typed)
{
    json_out_object(&c->j);
    json_out_key(&c->j, "tagValues");
    json_out_array(&c->j);
    for (size_t i = 0; i < n; i++) {
        struct bytes text = value_text(c->arena, &values[i]);
        if (!typed) {
            json_out_bytes(&c->j, text);
            continue;
        }
        json_out_object(&c->j);
        web_json_text(&c->j, "type", query_traceql_type_name(values[i].type));
        web_json_str(&c->j, "value", text);
        json_out_object_end(&c->j);
    }
    json_out_array_end(&c->j);
    json_out_object_end(&c->j);
}

static enum err values_of(struct web_call *c, bool typed)
{
    struct query_traceql_tags_ask ask = {0};
    struct query_traceql_value *values;
    struct query_traceql *only = NULL;
    struct tsdb_view *v;
    size_t n;
    struct bytes q = web_call_value(c, "q"), field = net_request_param(c->req, 0);
    enum err e = ask_of(c, &ask);
    if (e == ERR_OK && typed && q.size) { /* while a query is being typed it may not be one yet */
        struct err_msg ignored = {""};
        e = query_traceql_parse(q, c->arena, &only, &ignored);
        if (e == ERR_INVALID)
            e = ERR_OK, only = NULL;
    }
    if (e == ERR_OK)
        e = web_call_view(c, &v);
    if (e != ERR_OK) {
        query_traceql_free(only);
        return e;
    }
    struct arena *scratch = arena_new(WEB_TRACE_BYTES_MAX);
    e = scratch ? query_traceql_values(v, field, only, &ask, scratch, &values, &n, &c->msg)
                : ERR_NOMEM;
    if (e == ERR_OK)
        values_json(c, values, n, typed);
    arena_free(scratch);
    tsdb_view_close(v);
    query_traceql_free(only);
    return e;
}

static enum err values_v1(struct web_call *c)
{
    return values_of(c, false);
}

static enum err values_v2(struct web_call *c)
{
    return values_of(c, true);
}

enum err web_tempo_routes(struct web *w, struct net *net)
{
    static const struct web_endpoint endpoints[] = {
        {"GET", "/tempo/api/echo", echo, WEB_FORM_OURS, 0},
        {"GET", "/tempo/api/status/buildinfo", build_info, WEB_FORM_OURS, 0},
        {"GET", "/tempo/api/traces/{}", trace_v1, WEB_FORM_OURS, 0},
        {"GET", "/tempo/api/v2/traces/{}", trace_v2, WEB_FORM_OURS, 0},
        {"GET", "/tempo/api/search", search, WEB_FORM_OURS, 0},
        {"GET", "/tempo/api/search/tags", tags_v1, WEB_FORM_OURS, 0},
        {"GET", "/tempo/api/v2/search/tags", tags_v2, WEB_FORM_OURS, 0},
        {"GET", "/tempo/api/search/tag/{}/values", values_v1, WEB_FORM_OURS, 0},
        {"GET", "/tempo/api/v2/search/tag/{}/values", values_v2, WEB_FORM_OURS, 0},
    };
    return web_call_routes(w, net, endpoints, ARRAY_LEN(endpoints));
}
