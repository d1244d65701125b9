#include "base/check.h"
#include "collector/otlp/attr_encode.h"
#include "collector/otlp/decode.h"

/* One Span's fields as slices and numbers; attributes, events and links go to the scratch buffers. */
struct span {
    struct bytes trace_id, span_id, parent_id, trace_state, name, status_message;
    uint64_t kind, start_ns, end_ns, status, flags, dropped;
    bool bad_link;
};

static void add_event(struct decode *d, struct bytes wire, struct buf *attrs)
{
    struct tsdb_event event = {0};
    struct otlp_wire w = otlp_wire_of(wire);
    struct otlp_wire_field f;
    buf_clear(attrs);
    while (otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD) {
        switch (f.number) {
        case 1: event.time_ns = f.value; break;
        case 2: event.name = f.bytes; break;
        case 3: attr_encode_key_value(f.bytes, attrs); break;
        case 4: event.dropped = (uint32_t)f.value; break;
        default: break;
        }
    }
    event.attrs = buf_bytes(attrs);
    d->events.failed |= attrs->failed;
    tsdb_attrs_put_event(&d->events, &event);
}

static bool take_id(struct bytes wire, uint8_t *out, size_t size)
{
    if (wire.size != size)
        return false;
    memcpy(out, wire.data, size);
    return true;
}

static bool add_link(struct decode *d, struct bytes wire, struct buf *attrs)
{
    struct tsdb_link link = {0};
    struct otlp_wire w = otlp_wire_of(wire);
    struct otlp_wire_field f;
    bool ids_fit = true;
    buf_clear(attrs);
    while (otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD) {
        switch (f.number) {
        case 1: ids_fit &= take_id(f.bytes, link.trace_id, 16) || !f.bytes.size; break;
        case 2: ids_fit &= take_id(f.bytes, link.span_id, 8) || !f.bytes.size; break;
        case 3: link.trace_state = f.bytes; break;
        case 4: attr_encode_key_value(f.bytes, attrs); break;
        case 5: link.dropped = (uint32_t)f.value; break;
        case 6: link.flags = (uint32_t)f.value; break;
        default: break;
        }
    }
    link.attrs = buf_bytes(attrs);
    d->links.failed |= attrs->failed;
    tsdb_attrs_put_link(&d->links, &link);
    return ids_fit;
}

static void read_status(struct bytes wire, struct span *s)
{
    struct otlp_wire w = otlp_wire_of(wire);
    struct otlp_wire_field f;
    while (otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD) {
        if (f.number == 2)
            s->status_message = f.bytes;
        else if (f.number == 3)
            s->status = f.value;
    }
}

static void read_span(struct decode *d, struct bytes wire, struct buf *nested, struct span *s)
{
    struct otlp_wire w = otlp_wire_of(wire);
    struct otlp_wire_field f;
    *s = (struct span){0};
    buf_clear(&d->attrs);
    buf_clear(&d->events);
    buf_clear(&d->links);
    while (otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD) {
        switch (f.number) {
        case 1: s->trace_id = f.bytes; break;
        case 2: s->span_id = f.bytes; break;
        case 3: s->trace_state = f.bytes; break;
        case 4: s->parent_id = f.bytes; break;
        case 5: s->name = f.bytes; break;
        case 6: s->kind = f.value; break;
        case 7: s->start_ns = f.value; break;
        case 8: s->end_ns = f.value; break;
        case 9: attr_encode_key_value(f.bytes, &d->attrs); break;
        case 10:
        case 12:
        case 14: s->dropped += (uint32_t)f.value; break;
        case 11: add_event(d, f.bytes, nested); break;
        case 13: s->bad_link |= !add_link(d, f.bytes, nested); break;
        case 15: read_status(f.bytes, s); break;
        case 16: s->flags = f.value; break;
        default: break;
        }
    }
}

static bool is_zero(struct bytes id)
{
    for (size_t i = 0; i < id.size; i++)
        if (id.data[i])
            return false;
    return true;
}

static bool ids_are_fine(struct decode *d, const struct span *s)
{
    const char *why = NULL;
    if (s->trace_id.size != 16 || is_zero(s->trace_id))
        why = "trace id must be 16 bytes, not all zero";
    else if (s->span_id.size != 8 || is_zero(s->span_id))
        why = "span id must be 8 bytes, not all zero";
    else if (s->parent_id.size != 0 && s->parent_id.size != 8)
        why = "parent span id must be 8 bytes or absent";
    else if (s->bad_link)
        why = "a link's ids must be 16 and 8 bytes";
    if (why)
        tsdb_batch_reject(d->batch, TSDB_REJECT_MALFORMED, "span \"%.*s\": %s",
                          (int)MIN(s->name.size, 80), (const char *)s->name.data, why);
    return !why;
}

static enum err keep_span(struct decode *d, const struct decode_resource *r,
                          const struct decode_scope *scope, struct span *s)
{
    /* A span without an end is placed at its start, without both at its arrival: kept and flagged, never used as a latency. */
    bool no_time = s->end_ns == 0 || s->start_ns == 0;
    int64_t start = decode_ns(s->start_ns), end = decode_ns(s->end_ns);
    if (end == 0)
        end = start ? start : d->o->now_ns;
    if (!ids_are_fine(d, s) || !decode_time_is_fine(d, "span that ended", end / 1000000))
        return ERR_OK;
    uint32_t row = tsdb_batch_add_span(d->batch);
    if (row == TSDB_NO_ROW)
        return decode_full();
    struct tsdb_spans *c = &d->batch->spans;
    memcpy(c->trace_id[row].b, s->trace_id.data, 16);
    memcpy(c->span_id[row].b, s->span_id.data, 8);
    if (s->parent_id.size)
        memcpy(c->parent_id[row].b, s->parent_id.data, 8);
    c->start_ns[row] = start;
    c->end_ns[row] = end;
    c->kind[row] = s->kind <= UINT8_MAX ? (uint8_t)s->kind : 0;
    c->status[row] = s->status <= UINT8_MAX ? (uint8_t)s->status : 0;
    c->flags[row] = (uint32_t)s->flags;
    c->dropped[row] = s->dropped > UINT32_MAX ? UINT32_MAX : (uint32_t)s->dropped;
    c->service[row] = r->service;
    c->scope_name[row] = scope->name;
    c->scope_version[row] = scope->version;
    c->resource_attrs[row] = r->attrs;
    if (no_time) {
        if (!tsdb_batch_span_column(d->batch, TSDB_SPAN_row_flags))
            return decode_full();
        c->row_flags[row] |= TSDB_ROW_BAD_TIME;
    }
    enum err e = decode_text(d, s->name, &c->name[row]);
    if (e == ERR_OK)
        e = decode_text(d, s->status_message, &c->status_message[row]);
    if (e == ERR_OK)
        e = decode_text(d, s->trace_state, &c->trace_state[row]);
    if (e == ERR_OK)
        e = decode_keep(d, &d->attrs, &c->attrs[row]);
    if (e == ERR_OK)
        e = decode_keep(d, &d->events, &c->events[row]);
    return e == ERR_OK ? decode_keep(d, &d->links, &c->links[row]) : e;
}

static enum err decode_scope_spans(struct decode *d, const struct decode_resource *r,
                                   const struct decode_scope *scope, struct bytes scope_rows)
{
    struct otlp_wire w = otlp_wire_of(scope_rows);
    struct otlp_wire_field f;
    struct buf nested;
    buf_init(&nested, 0);
    enum err e = ERR_OK;
    while (e == ERR_OK && otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD) {
        if (f.number != 2)
            continue;
        struct span s;
        read_span(d, f.bytes, &nested, &s);
        e = keep_span(d, r, scope, &s);
    }
    buf_done(&nested);
    return e;
}

enum err decode_spans(struct decode *d, struct bytes body)
{
    return decode_each_scope(d, body, decode_scope_spans);
}
