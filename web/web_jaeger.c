/* Jaeger's query API, as Grafana's data source and the Jaeger UI ask it. Times are microseconds. */
#include "base/check.h"
#include "base/clock.h"
#include "tsdb/tsdb_quarantine.h"
#include "web/web_json.h"

#include <math.h>
#include <stdio.h>

static void list_begin(struct web_call *c)
{
    json_out_object(&c->j);
    json_out_key(&c->j, "data");
    json_out_array(&c->j);
}

/* v: what was read, NULL: nothing. "warnings" beside Jaeger's members: its clients take no notice of it. */
static void list_end(struct web_call *c, const struct tsdb_view *v, size_t total)
{
    json_out_array_end(&c->j);
    if (v)
        web_quarantine_warnings(c, v);
    web_json_i64(&c->j, "total", (int64_t)total);
    web_json_i64(&c->j, "limit", 0);
    web_json_i64(&c->j, "offset", 0);
    json_out_key(&c->j, "errors");
    json_out_null(&c->j);
    json_out_object_end(&c->j);
}

static enum err services(struct web_call *c)
{
    struct tsdb_view *v;
    struct bytes *names;
    size_t n;
    enum err e = web_call_view(c, &v);
    if (e != ERR_OK)
        return e;
    e = tsdb_services(v, c->arena, &names, &n);
    if (e == ERR_OK) {
        list_begin(c);
        for (size_t i = 0; i < n; i++)
            json_out_bytes(&c->j, names[i]);
        list_end(c, v, n);
    }
    tsdb_view_close(v);
    return e;
}

/* as_objects: the newer form, [{"name":"GET /","spanKind":""}]. */
static enum err operations_of(struct web_call *c, struct bytes service, bool as_objects)
{
    struct tsdb_view *v;
    struct bytes *names;
    size_t n;
    enum err e = web_call_view(c, &v);
    if (e != ERR_OK)
        return e;
    e = tsdb_span_names(v, service, c->arena, &names, &n);
    if (e == ERR_NOT_FOUND)
        e = ERR_OK, n = 0;
    if (e == ERR_OK) {
        list_begin(c);
        for (size_t i = 0; i < n; i++)
            if (as_objects) {
                json_out_object(&c->j);
                web_json_str(&c->j, "name", names[i]);
                web_json_text(&c->j, "spanKind", "");
                json_out_object_end(&c->j);
            } else {
                json_out_bytes(&c->j, names[i]);
            }
        list_end(c, v, n);
    }
    tsdb_view_close(v);
    return e;
}

static enum err operations(struct web_call *c)
{
    return operations_of(c, net_request_param(c->req, 0), false);
}

static enum err operations_query(struct web_call *c)
{
    struct bytes service = web_call_value(c, "service");
    if (!service.size)
        return err_set(&c->msg, ERR_INVALID, "parameter 'service' is required");
    return operations_of(c, service, true);
}

/* --- one trace --------------------------------------------------------------------------------- */

static void tag_begin(struct json_out *j, struct bytes key, const char *type)
{
    json_out_object(j);
    web_json_str(j, "key", key);
    web_json_text(j, "type", type);
    json_out_key(j, "value");
}

static void tag_text(struct json_out *j, const char *key, struct bytes value)
{
    if (!value.size)
        return;
    tag_begin(j, bytes_str(key), "string");
    json_out_bytes(j, value);
    json_out_object_end(j);
}

static void tag_value(struct json_out *j, struct bytes key, struct tsdb_value v)
{
    if (v.type == TSDB_VALUE_BOOL) {
        tag_begin(j, key, "bool");
        json_out_bool(j, v.boolean);
    } else if (v.type == TSDB_VALUE_INT) {
        tag_begin(j, key, "int64");
        json_out_i64(j, v.integer);
    } else if (v.type == TSDB_VALUE_DOUBLE && isfinite(v.number)) {
        tag_begin(j, key, "float64");
        json_out_f64(j, v.number);
    } else {
        struct buf text;
        buf_init(&text, WEB_ANSWER_MAX);
        tsdb_attrs_text(&text, v);
        tag_begin(j, key, "string");
        json_out_bytes(j, buf_bytes(&text));
        buf_done(&text);
    }
    json_out_object_end(j);
}

static void tags_of(struct json_out *j, struct bytes attrs, struct bytes leave_out)
{
    struct tsdb_attrs_iter it = tsdb_attrs_begin(attrs);
    struct bytes key;
    struct tsdb_value v;
    while (tsdb_attrs_next(&it, &key, &v))
        if (!leave_out.size || !bytes_equal(key, leave_out))
            tag_value(j, key, v);
}

static void logs_of(struct json_out *j, struct bytes events)
{
    struct tsdb_attrs_iter it = tsdb_attrs_begin(events);
    struct tsdb_event ev;
    json_out_key(j, "logs");
    json_out_array(j);
    while (tsdb_attrs_next_event(&it, &ev)) {
        json_out_object(j);
        web_json_i64(j, "timestamp", (int64_t)(ev.time_ns / 1000));
        json_out_key(j, "fields");
        json_out_array(j);
        tag_text(j, "event", ev.name);
        tags_of(j, ev.attrs, BYTES_NONE);
        json_out_array_end(j);
        json_out_object_end(j);
    }
    json_out_array_end(j);
}

static void reference(struct json_out *j, const char *type, const uint8_t *trace,
                      const uint8_t *span)
{
    json_out_object(j);
    web_json_text(j, "refType", type);
    web_json_hex(j, "traceID", trace, 16);
    web_json_hex(j, "spanID", span, 8);
    json_out_object_end(j);
}

static void references_of(struct json_out *j, const struct tsdb_spans *t, uint32_t row)
{
    struct tsdb_attrs_iter it = tsdb_attrs_begin(TSDB_SPAN_GET(t, links, row, BYTES_NONE));
    struct tsdb_link link;
    json_out_key(j, "references");
    json_out_array(j);
    if (bytes_u64le(t->parent_id[row].b))
        reference(j, "CHILD_OF", t->trace_id[row].b, t->parent_id[row].b);
    while (tsdb_attrs_next_link(&it, &link))
        reference(j, "FOLLOWS_FROM", link.trace_id, link.span_id);
    json_out_array_end(j);
}

static void span_tags(struct json_out *j, const struct tsdb_spans *t, uint32_t row)
{
    static const char *const statuses[] = {"", "OK", "ERROR"};
    uint8_t status = TSDB_SPAN_GET(t, status, row, 0), kind = TSDB_SPAN_GET(t, kind, row, 0);
    json_out_key(j, "tags");
    json_out_array(j);
    tags_of(j, TSDB_SPAN_GET(t, attrs, row, BYTES_NONE), BYTES_NONE);
    if (kind)
        tag_text(j, "span.kind", bytes_str(query_trace_kind_name(kind)));
    if (status < 3)
        tag_text(j, "otel.status_code", bytes_str(statuses[status]));
    tag_text(j, "otel.status_description", TSDB_SPAN_GET(t, status_message, row, BYTES_NONE));
    tag_text(j, "otel.scope.name", TSDB_SPAN_GET(t, scope_name, row, BYTES_NONE));
    tag_text(j, "otel.scope.version", TSDB_SPAN_GET(t, scope_version, row, BYTES_NONE));
    tag_text(j, "w3c.tracestate", TSDB_SPAN_GET(t, trace_state, row, BYTES_NONE));
    if (status == 2)
        tag_value(j, BYTES_LIT("error"), (struct tsdb_value){TSDB_VALUE_BOOL, {.boolean = true}});
    json_out_array_end(j);
}

/* Rows with the same service and resource share a process. */
static uint32_t process_of(const struct tsdb_spans *t, uint32_t row, uint32_t *firsts,
                           uint32_t *count)
{
    for (uint32_t i = 0; i < *count; i++)
        if (bytes_equal(t->service[firsts[i]], t->service[row]) &&
            bytes_equal(t->resource_attrs[firsts[i]], t->resource_attrs[row]))
            return i;
    firsts[*count] = row;
    return (*count)++;
}

static enum err trace_json(struct web_call *c, const struct tsdb_view *v,
                           const struct tsdb_spans *t, struct arena *a)
{
    struct tsdb_damage damage;
    struct json_out *j = &c->j;
    uint32_t *firsts = ARENA_ARRAY(a, uint32_t, t->count), processes = 0;
    if (!firsts)
        return ERR_LIMIT;
    json_out_object(j);
    web_json_hex(j, "traceID", t->trace_id[0].b, 16);
    json_out_key(j, "spans");
    json_out_array(j);
    for (uint32_t row = 0; row < t->count; row++) {
        json_out_object(j);
        web_json_hex(j, "traceID", t->trace_id[row].b, 16);
        web_json_hex(j, "spanID", t->span_id[row].b, 8);
        web_json_i64(j, "flags", t->flags ? (t->flags[row] & 1) : 1);
        web_json_str(j, "operationName", t->name[row]);
        references_of(j, t, row);
        web_json_i64(j, "startTime", t->start_ns[row] / 1000);
        web_json_i64(j, "duration", MAX(t->end_ns[row] - t->start_ns[row], 0) / 1000);
        span_tags(j, t, row);
        logs_of(j, TSDB_SPAN_GET(t, events, row, BYTES_NONE));
        json_out_key(j, "processID");
        json_out_printf(j, "p%u", process_of(t, row, firsts, &processes) + 1);
        json_out_key(j, "warnings");
        json_out_null(j);
        json_out_object_end(j);
    }
    json_out_array_end(j);
    json_out_key(j, "processes");
    json_out_object(j);
    for (uint32_t i = 0; i < processes; i++) {
        char name[16];
        snprintf(name, sizeof name, "p%u", i + 1);
        json_out_key(j, name);
        json_out_object(j);
        web_json_str(j, "serviceName", t->service[firsts[i]]);
        json_out_key(j, "tags");
        json_out_array(j);
        tags_of(j, t->resource_attrs[firsts[i]], BYTES_LIT("service.name"));
        json_out_array_end(j);
        json_out_object_end(j);
    }
    json_out_object_end(j);
    if (tsdb_view_damage(v, &damage, 1)) {
        web_quarantine_warnings(c, v);
    } else {
        json_out_key(j, "warnings");
        json_out_null(j);
    }
    json_out_object_end(j);
    return ERR_OK;
}

static enum err trace(struct web_call *c)
{
    struct tsdb_id16 id = {0};
    struct tsdb_view *v;
    struct tsdb_spans spans = {0};
    enum err e = web_traces_id(c, net_request_param(c->req, 0), &id);
    if (e == ERR_OK)
        e = web_call_view(c, &v);
    if (e != ERR_OK)
        return e;
    struct arena *scratch = arena_new(WEB_TRACE_BYTES_MAX);
    e = scratch ? tsdb_trace(v, id, scratch, &spans) : ERR_NOMEM;
    if (e == ERR_OK) {
        list_begin(c);
        e = trace_json(c, v, &spans, scratch);
        list_end(c, v, 1);
    } else if (e == ERR_NOT_FOUND) {
        err_set(&c->msg, e, "trace not found%s", web_quarantine_doubt(v));
    }
    arena_free(scratch);
    tsdb_view_close(v);
    return e;
}

/* --- search ------------------------------------------------------------------------------------ */

/* The parameters of /traces. */
static enum err search_of(struct web_call *c, struct query_trace_search *s)
{
    int64_t start_us, end_us, limit;
    struct bytes tags = web_call_value(c, "tags"), tag;
    s->service = web_call_value(c, "service");
    s->operation = web_call_value(c, "operation");
    enum err e = web_call_i64(c, "start", 0, 0, INT64_MAX / 1000, &start_us);
    if (e == ERR_OK)
        e = web_call_i64(c, "end", clock_wall_ns() / 1000, 0, INT64_MAX / 1000, &end_us);
    if (e == ERR_OK)
        e = web_call_i64(c, "limit", 20, 1, QUERY_TRACE_LIMIT_MAX, &limit);
    if (e == ERR_OK)
        e = web_traces_duration(c, "minDuration", &s->duration_min_ns);
    if (e == ERR_OK)
        e = web_traces_duration(c, "maxDuration", &s->duration_max_ns);
    if (e == ERR_OK && tags.size)
        e = query_trace_tags(tags, c->arena, s, &c->msg);
    for (unsigned i = 0; e == ERR_OK && net_request_value(c->req, "tag", i, &tag); i++) {
        size_t colon = bytes_find(tag, BYTES_LIT(":"));
        if (colon == tag.size || s->tag_count == QUERY_TRACE_TAGS_MAX)
            return err_set(&c->msg, ERR_INVALID, "tag: give key:value, at most %u of them",
                           QUERY_TRACE_TAGS_MAX);
        s->tags[s->tag_count++] = (struct query_trace_tag){bytes_slice(tag, 0, colon),
                                                           bytes_slice(tag, colon + 1, tag.size)};
    }
    if (e != ERR_OK)
        return e;
    if (bytes_equal_str(s->operation, "all"))
        s->operation = BYTES_NONE; /* what the Jaeger UI sends for "any" */
    s->start_min_ns = start_us * 1000;
    s->start_max_ns = end_us * 1000;
    s->limit = (uint32_t)limit;
    return ERR_OK;
}

static enum err by_ids(struct web_call *c, struct tsdb_view *v, const struct tsdb_id16 *ids,
                       size_t n)
{
    enum err e = ERR_OK;
    size_t found = 0;
    struct arena *scratch = arena_new(WEB_TRACE_BYTES_MAX);
    if (!scratch)
        return ERR_NOMEM;
    list_begin(c);
    for (size_t i = 0; e == ERR_OK && i < n; i++) {
        struct tsdb_spans spans = {0};
        arena_reset(scratch);
        e = tsdb_trace(v, ids[i], scratch, &spans);
        if (e == ERR_NOT_FOUND)
            e = ERR_OK;
        else if (e == ERR_OK && spans.count) {
            e = trace_json(c, v, &spans, scratch);
            found++;
        }
    }
    list_end(c, v, found);
    arena_free(scratch);
    return e;
}

static enum err traces(struct web_call *c)
{
    struct query_trace_search s = {0};
    struct tsdb_view *v;
    struct tsdb_id16 *ids = NULL;
    struct bytes id;
    size_t n = 0;
    enum err e = search_of(c, &s);
    if (e != ERR_OK)
        return e;
    bool named = net_request_value(c->req, "traceID", 0, &id);
    if (!named && !s.service.size)
        return err_set(&c->msg, ERR_INVALID, "parameter 'service' is required");
    e = web_call_view(c, &v);
    if (e != ERR_OK)
        return e;
    if (named) {
        ids = ARENA_ARRAY(c->arena, struct tsdb_id16, QUERY_TRACE_LIMIT_MAX);
        for (unsigned i = 0; e == ERR_OK && i < QUERY_TRACE_LIMIT_MAX &&
                             net_request_value(c->req, "traceID", i, &id);
             i++)
            e = ids ? web_traces_id(c, id, &ids[n++]) : ERR_NOMEM;
    } else {
        e = query_trace_find(v, &s, c->arena, &ids, &n);
    }
    if (e == ERR_OK)
        e = by_ids(c, v, ids, n);
    tsdb_view_close(v);
    return e;
}

/* Calls between services are not derived yet; an empty answer is what Grafana shows as "no graph". */
static enum err dependencies(struct web_call *c)
{
    list_begin(c);
    list_end(c, NULL, 0);
    return ERR_OK;
}

enum err web_jaeger_routes(struct web *w, struct net *net)
{
    static const struct web_endpoint endpoints[] = {
        {"GET", "/jaeger/api/services", services, WEB_FORM_JAEGER, 0},
        {"GET", "/jaeger/api/services/{}/operations", operations, WEB_FORM_JAEGER, 0},
        {"GET", "/jaeger/api/operations", operations_query, WEB_FORM_JAEGER, 0},
        {"GET", "/jaeger/api/traces", traces, WEB_FORM_JAEGER, 0},
        {"GET", "/jaeger/api/traces/{}", trace, WEB_FORM_JAEGER, 0},
        {"GET", "/jaeger/api/dependencies", dependencies, WEB_FORM_JAEGER, 0},
    };
    return web_call_routes(w, net, endpoints, ARRAY_LEN(endpoints));
}
