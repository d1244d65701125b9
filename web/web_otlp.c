#include "web/web_otlp.h"

#include <math.h>

#include "base/check.h"
#include "tsdb/tsdb_attrs.h"
#include "web/web_json.h"

/* --- rows by resource and scope ----------------------------------------------------------------- */

struct groups {
    uint32_t *next; /* of the same scope, TSDB_NO_ROW: the last */
    uint32_t *scope_next; /* of a scope's first row: the first row of the resource's next scope */
    uint32_t *resource_next; /* of a resource's first row: the first row of the next resource */
    uint32_t *last; /* of a scope's first row: its newest row so far */
    uint32_t first;
};

static bool same_resource(const struct tsdb_spans *t, uint32_t a, uint32_t b)
{
    return bytes_equal(t->resource_attrs[a], t->resource_attrs[b]);
}

static bool same_scope(const struct tsdb_spans *t, uint32_t a, uint32_t b)
{
    return bytes_equal(TSDB_SPAN_GET(t, scope_name, a, BYTES_NONE),
                       TSDB_SPAN_GET(t, scope_name, b, BYTES_NONE)) &&
           bytes_equal(TSDB_SPAN_GET(t, scope_version, a, BYTES_NONE),
                       TSDB_SPAN_GET(t, scope_version, b, BYTES_NONE));
}

/* Puts the row where it belongs. Traces have few resources and scopes. */
static void group_row(struct groups *g, const struct tsdb_spans *t, uint32_t row)
{
    uint32_t *at = &g->first;
    while (*at != TSDB_NO_ROW && !same_resource(t, *at, row))
        at = &g->resource_next[*at];
    if (*at == TSDB_NO_ROW) {
        *at = row;
        return;
    }
    while (*at != TSDB_NO_ROW && !same_scope(t, *at, row))
        at = &g->scope_next[*at];
    if (*at == TSDB_NO_ROW) {
        *at = row;
        return;
    }
    g->next[g->last[*at]] = row;
    g->last[*at] = row;
}

static bool groups_of(const struct tsdb_spans *t, struct arena *a, struct groups *g)
{
    uint32_t *all = ARENA_ARRAY(a, uint32_t, 4 * (size_t)t->count + 1);
    if (!all)
        return false;
    *g = (struct groups){all, all + t->count, all + 2 * (size_t)t->count,
                         all + 3 * (size_t)t->count, TSDB_NO_ROW};
    for (uint32_t row = 0; row < t->count; row++) {
        g->next[row] = g->scope_next[row] = g->resource_next[row] = TSDB_NO_ROW;
        g->last[row] = row;
    }
    for (uint32_t row = 0; row < t->count; row++)
        group_row(g, t, row);
    return true;
}

/* --- protobuf ----------------------------------------------------------------------------------- */

enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

static void tag(struct buf *out, uint32_t field, uint32_t wire)
{
    buf_varint(out, field << 3 | wire);
}

static void put_bytes(struct buf *out, uint32_t field, struct bytes b)
{
    if (!b.size)
        return;
    tag(out, field, WIRE_BYTES);
    buf_lenbytes(out, b);
}

static void put_varint(struct buf *out, uint32_t field, uint64_t v)
{
    if (!v)
        return;
    tag(out, field, WIRE_VARINT);
    buf_varint(out, v);
}

static void put_fixed64(struct buf *out, uint32_t field, uint64_t v)
{
    tag(out, field, WIRE_FIXED64);
    buf_u64(out, v);
}

static void put_fixed32(struct buf *out, uint32_t field, uint32_t v)
{
    if (!v)
        return;
    tag(out, field, WIRE_FIXED32);
    buf_u32(out, v);
}

/* A message within: its bytes are written behind `out` and moved when their number is known. */
struct nested {
    size_t at;
};

static struct nested begin(struct buf *out, uint32_t field)
{
    tag(out, field, WIRE_BYTES);
    return (struct nested){out->size};
}

static void end(struct buf *out, struct nested n)
{
    uint8_t length[BUF_VARINT_MAX];
    if (!buf_ok(out))
        return;
    size_t size = out->size - n.at, width = (size_t)(buf_write_varint(length, size) - length);
    if (!buf_reserve(out, width))
        return;
    memmove(out->data + n.at + width, out->data + n.at, size);
    memcpy(out->data + n.at, length, width);
    out->size += width;
}

static void put_attrs(struct buf *out, uint32_t field, struct bytes attrs, unsigned depth);

static void put_value(struct buf *out, struct tsdb_value v, unsigned depth)
{
    struct tsdb_attrs_iter it;
    struct tsdb_value one;
    struct nested list, item;
    switch (v.type) {
    case TSDB_VALUE_EMPTY: break;
    case TSDB_VALUE_STRING:
        tag(out, 1, WIRE_BYTES);
        buf_lenbytes(out, v.bytes);
        break;
    case TSDB_VALUE_BOOL:
        tag(out, 2, WIRE_VARINT);
        buf_varint(out, v.boolean);
        break;
    case TSDB_VALUE_INT:
        tag(out, 3, WIRE_VARINT);
        buf_varint(out, (uint64_t)v.integer);
        break;
    case TSDB_VALUE_DOUBLE:
        tag(out, 4, WIRE_FIXED64);
        buf_f64(out, v.number);
        break;
    case TSDB_VALUE_BYTES:
        tag(out, 7, WIRE_BYTES);
        buf_lenbytes(out, v.bytes);
        break;
    case TSDB_VALUE_ARRAY:
        list = begin(out, 5);
        it = tsdb_attrs_begin(v.bytes);
        while (depth && tsdb_attrs_next_value(&it, &one)) {
            item = begin(out, 1);
            put_value(out, one, depth - 1);
            end(out, item);
        }
        end(out, list);
        break;
    case TSDB_VALUE_KVLIST:
        list = begin(out, 6);
        if (depth)
            put_attrs(out, 1, v.bytes, depth - 1);
        end(out, list);
        break;
    }
}

static void put_attrs(struct buf *out, uint32_t field, struct bytes attrs, unsigned depth)
{
    struct tsdb_attrs_iter it = tsdb_attrs_begin(attrs);
    struct bytes key;
    struct tsdb_value v;
    while (tsdb_attrs_next(&it, &key, &v)) {
        struct nested pair = begin(out, field);
        put_bytes(out, 1, key);
        struct nested value = begin(out, 2);
        put_value(out, v, depth);
        end(out, value);
        end(out, pair);
    }
}

static void put_events(struct buf *out, struct bytes events)
{
    struct tsdb_attrs_iter it = tsdb_attrs_begin(events);
    struct tsdb_event ev;
    while (tsdb_attrs_next_event(&it, &ev)) {
        struct nested n = begin(out, 11);
        put_fixed64(out, 1, ev.time_ns);
        put_bytes(out, 2, ev.name);
        put_attrs(out, 3, ev.attrs, TSDB_ATTRS_DEPTH_MAX);
        put_varint(out, 4, ev.dropped);
        end(out, n);
    }
}

static void put_links(struct buf *out, struct bytes links)
{
    struct tsdb_attrs_iter it = tsdb_attrs_begin(links);
    struct tsdb_link link;
    while (tsdb_attrs_next_link(&it, &link)) {
        struct nested n = begin(out, 13);
        put_bytes(out, 1, bytes_of(link.trace_id, sizeof link.trace_id));
        put_bytes(out, 2, bytes_of(link.span_id, sizeof link.span_id));
        put_bytes(out, 3, link.trace_state);
        put_attrs(out, 4, link.attrs, TSDB_ATTRS_DEPTH_MAX);
        put_varint(out, 5, link.dropped);
        put_fixed32(out, 6, link.flags);
        end(out, n);
    }
}

static void put_span(struct buf *out, const struct tsdb_spans *t, uint32_t row)
{
    struct nested n = begin(out, 2);
    put_bytes(out, 1, bytes_of(t->trace_id[row].b, sizeof t->trace_id[row].b));
    put_bytes(out, 2, bytes_of(t->span_id[row].b, sizeof t->span_id[row].b));
    put_bytes(out, 3, TSDB_SPAN_GET(t, trace_state, row, BYTES_NONE));
    if (bytes_u64le(t->parent_id[row].b))
        put_bytes(out, 4, bytes_of(t->parent_id[row].b, sizeof t->parent_id[row].b));
    put_bytes(out, 5, t->name[row]);
    put_varint(out, 6, TSDB_SPAN_GET(t, kind, row, 0));
    put_fixed64(out, 7, (uint64_t)t->start_ns[row]);
    put_fixed64(out, 8, (uint64_t)t->end_ns[row]);
    put_attrs(out, 9, TSDB_SPAN_GET(t, attrs, row, BYTES_NONE), TSDB_ATTRS_DEPTH_MAX);
    put_events(out, TSDB_SPAN_GET(t, events, row, BYTES_NONE));
    put_links(out, TSDB_SPAN_GET(t, links, row, BYTES_NONE));
    struct nested status = begin(out, 15);
    put_bytes(out, 2, TSDB_SPAN_GET(t, status_message, row, BYTES_NONE));
    put_varint(out, 3, TSDB_SPAN_GET(t, status, row, 0));
    end(out, status);
    put_fixed32(out, 16, TSDB_SPAN_GET(t, flags, row, 0));
    end(out, n);
}

static void put_scope(struct buf *out, const struct tsdb_spans *t, const struct groups *g,
                      uint32_t first)
{
    struct nested n = begin(out, 2), scope = begin(out, 1);
    put_bytes(out, 1, TSDB_SPAN_GET(t, scope_name, first, BYTES_NONE));
    put_bytes(out, 2, TSDB_SPAN_GET(t, scope_version, first, BYTES_NONE));
    end(out, scope);
    for (uint32_t row = first; row != TSDB_NO_ROW; row = g->next[row])
        put_span(out, t, row);
    end(out, n);
}

void web_otlp_protobuf(struct buf *out, const struct tsdb_spans *t, struct arena *a)
{
    struct groups g;
    if (!groups_of(t, a, &g)) {
        out->failed = true;
        return;
    }
    for (uint32_t r = g.first; r != TSDB_NO_ROW; r = g.resource_next[r]) {
        struct nested n = begin(out, 1), resource = begin(out, 1);
        put_attrs(out, 1, t->resource_attrs[r], TSDB_ATTRS_DEPTH_MAX);
        end(out, resource);
        for (uint32_t s = r; s != TSDB_NO_ROW; s = g.scope_next[s])
            put_scope(out, t, &g, s);
        end(out, n);
    }
}

/* --- JSON --------------------------------------------------------------------------------------- */

static void json_attrs(struct json_out *j, const char *key, struct bytes attrs, unsigned depth);
static void json_pairs(struct json_out *j, struct bytes attrs, unsigned depth);

static void json_value(struct json_out *j, struct tsdb_value v, unsigned depth)
{
    struct tsdb_attrs_iter it;
    struct tsdb_value one;
    struct buf text;
    json_out_object(j);
    switch (v.type) {
    case TSDB_VALUE_EMPTY: break;
    case TSDB_VALUE_STRING: web_json_str(j, "stringValue", v.bytes); break;
    case TSDB_VALUE_BOOL: web_json_bool(j, "boolValue", v.boolean); break;
    case TSDB_VALUE_INT:
        json_out_key(j, "intValue");
        json_out_i64_str(j, v.integer);
        break;
    case TSDB_VALUE_DOUBLE:
        json_out_key(j, "doubleValue");
        if (isfinite(v.number))
            json_out_f64(j, v.number);
        else
            json_out_str(j, isnan(v.number) ? "NaN" : v.number > 0 ? "Infinity" : "-Infinity");
        break;
    case TSDB_VALUE_BYTES:
        json_out_key(j, "bytesValue");
        buf_init(&text, 0);
        tsdb_attrs_json(&text, v);
        json_out_raw(j, buf_bytes(&text));
        buf_done(&text);
        break;
    case TSDB_VALUE_ARRAY:
        json_out_key(j, "arrayValue");
        json_out_object(j);
        json_out_key(j, "values");
        json_out_array(j);
        it = tsdb_attrs_begin(v.bytes);
        while (depth && tsdb_attrs_next_value(&it, &one))
            json_value(j, one, depth - 1);
        json_out_array_end(j);
        json_out_object_end(j);
        break;
    case TSDB_VALUE_KVLIST:
        json_out_key(j, "kvlistValue");
        json_out_object(j);
        json_attrs(j, "values", depth ? v.bytes : BYTES_NONE, depth ? depth - 1 : 0);
        json_out_object_end(j);
        break;
    }
    json_out_object_end(j);
}

/* Three braces a level: what lies deeper than this is left empty. */
#define JSON_DEPTH 24u

void web_otlp_json_value(struct json_out *j, struct tsdb_value v)
{
    json_value(j, v, JSON_DEPTH);
}

static void json_pairs(struct json_out *j, struct bytes attrs, unsigned depth)
{
    struct tsdb_attrs_iter it = tsdb_attrs_begin(attrs);
    struct bytes key;
    struct tsdb_value v;
    while (tsdb_attrs_next(&it, &key, &v)) {
        json_out_object(j);
        web_json_str(j, "key", key);
        json_out_key(j, "value");
        json_value(j, v, depth);
        json_out_object_end(j);
    }
}

static void json_attrs(struct json_out *j, const char *key, struct bytes attrs, unsigned depth)
{
    json_out_key(j, key);
    json_out_array(j);
    json_pairs(j, attrs, depth);
    json_out_array_end(j);
}

static void json_time(struct json_out *j, const char *key, uint64_t ns)
{
    json_out_key(j, key);
    json_out_i64_str(j, (int64_t)ns);
}

static void json_events(struct json_out *j, struct bytes events)
{
    struct tsdb_attrs_iter it = tsdb_attrs_begin(events);
    struct tsdb_event ev;
    json_out_key(j, "events");
    json_out_array(j);
    while (tsdb_attrs_next_event(&it, &ev)) {
        json_out_object(j);
        json_time(j, "timeUnixNano", ev.time_ns);
        web_json_str(j, "name", ev.name);
        json_attrs(j, "attributes", ev.attrs, JSON_DEPTH);
        json_out_object_end(j);
    }
    json_out_array_end(j);
}

static void json_links(struct json_out *j, struct bytes links)
{
    struct tsdb_attrs_iter it = tsdb_attrs_begin(links);
    struct tsdb_link link;
    json_out_key(j, "links");
    json_out_array(j);
    while (tsdb_attrs_next_link(&it, &link)) {
        json_out_object(j);
        web_json_hex(j, "traceId", link.trace_id, sizeof link.trace_id);
        web_json_hex(j, "spanId", link.span_id, sizeof link.span_id);
        if (link.trace_state.size)
            web_json_str(j, "traceState", link.trace_state);
        json_attrs(j, "attributes", link.attrs, JSON_DEPTH);
        json_out_object_end(j);
    }
    json_out_array_end(j);
}

static void json_span(struct json_out *j, const struct tsdb_spans *t, uint32_t row)
{
    struct bytes state = TSDB_SPAN_GET(t, trace_state, row, BYTES_NONE),
                 message = TSDB_SPAN_GET(t, status_message, row, BYTES_NONE);
    json_out_object(j);
    web_json_hex(j, "traceId", t->trace_id[row].b, sizeof t->trace_id[row].b);
    web_json_hex(j, "spanId", t->span_id[row].b, sizeof t->span_id[row].b);
    if (bytes_u64le(t->parent_id[row].b))
        web_json_hex(j, "parentSpanId", t->parent_id[row].b, sizeof t->parent_id[row].b);
    if (state.size)
        web_json_str(j, "traceState", state);
    web_json_i64(j, "flags", TSDB_SPAN_GET(t, flags, row, 0));
    web_json_str(j, "name", t->name[row]);
    web_json_i64(j, "kind", TSDB_SPAN_GET(t, kind, row, 0));
    json_time(j, "startTimeUnixNano", (uint64_t)t->start_ns[row]);
    json_time(j, "endTimeUnixNano", (uint64_t)t->end_ns[row]);
    json_attrs(j, "attributes", TSDB_SPAN_GET(t, attrs, row, BYTES_NONE), JSON_DEPTH);
    json_events(j, TSDB_SPAN_GET(t, events, row, BYTES_NONE));
    json_links(j, TSDB_SPAN_GET(t, links, row, BYTES_NONE));
    json_out_key(j, "status");
    json_out_object(j);
    if (message.size)
        web_json_str(j, "message", message);
    if (TSDB_SPAN_GET(t, status, row, 0))
        web_json_i64(j, "code", TSDB_SPAN_GET(t, status, row, 0));
    json_out_object_end(j);
    json_out_object_end(j);
}

static void json_scope(struct json_out *j, const struct tsdb_spans *t, const struct groups *g,
                       uint32_t first)
{
    json_out_object(j);
    json_out_key(j, "scope");
    json_out_object(j);
    web_json_str(j, "name", TSDB_SPAN_GET(t, scope_name, first, BYTES_NONE));
    web_json_str(j, "version", TSDB_SPAN_GET(t, scope_version, first, BYTES_NONE));
    json_out_object_end(j);
    json_out_key(j, "spans");
    json_out_array(j);
    for (uint32_t row = first; row != TSDB_NO_ROW; row = g->next[row])
        json_span(j, t, row);
    json_out_array_end(j);
    json_out_object_end(j);
}

void web_otlp_json(struct json_out *j, const struct tsdb_spans *t, struct arena *a)
{
    struct groups g;
    json_out_array(j);
    if (!groups_of(t, a, &g)) {
        j->buf->failed = true;
        g.first = TSDB_NO_ROW;
    }
    for (uint32_t r = g.first; r != TSDB_NO_ROW; r = g.resource_next[r]) {
        json_out_object(j);
        json_out_key(j, "resource");
        json_out_object(j);
        json_attrs(j, "attributes", t->resource_attrs[r], JSON_DEPTH);
        json_out_object_end(j);
        json_out_key(j, "scopeSpans");
        json_out_array(j);
        for (uint32_t s = r; s != TSDB_NO_ROW; s = g.scope_next[s])
            json_scope(j, t, &g, s);
        json_out_array_end(j);
        json_out_object_end(j);
    }
    json_out_array_end(j);
}
