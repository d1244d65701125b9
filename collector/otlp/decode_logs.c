#include "collector/otlp/attr_encode.h"
#include "collector/otlp/decode.h"

struct log_record {
    uint64_t time_ns, observed_ns, severity, dropped, flags;
    struct bytes severity_text, body, trace_id, span_id, event_name;
};

static void read_log(struct decode *d, struct bytes wire, struct log_record *l)
{
    struct otlp_wire w = otlp_wire_of(wire);
    struct otlp_wire_field f;
    *l = (struct log_record){0};
    buf_clear(&d->attrs);
    while (otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD) {
        switch (f.number) {
        case 1: l->time_ns = f.value; break;
        case 2: l->severity = f.value; break;
        case 3: l->severity_text = f.bytes; break;
        case 5: l->body = f.bytes.data ? f.bytes : BYTES_LIT(""); break;
        case 6: attr_encode_key_value(f.bytes, &d->attrs); break;
        case 7: l->dropped = f.value; break;
        case 8: l->flags = f.value; break;
        case 9: l->trace_id = f.bytes; break;
        case 10: l->span_id = f.bytes; break;
        case 11: l->observed_ns = f.value; break;
        case 12: l->event_name = f.bytes; break;
        default: break;
        }
    }
}

static enum err keep_log(struct decode *d, const struct decode_resource *r,
                         const struct decode_scope *scope, const struct log_record *l)
{
    int64_t observed = decode_ns(l->observed_ns);
    int64_t time = l->time_ns ? decode_ns(l->time_ns) : observed ? observed : d->o->now_ns;
    if (!decode_time_is_fine(d, "log record", time / 1000000))
        return ERR_OK;
    uint32_t row = tsdb_batch_add_log(d->batch);
    if (row == TSDB_NO_ROW)
        return decode_full();
    struct tsdb_logs *c = &d->batch->logs;
    c->time_ns[row] = time;
    c->observed_ns[row] = observed;
    /* An id of another length is no id: the record stands without its trace. */
    if (l->trace_id.size == 16)
        memcpy(c->trace_id[row].b, l->trace_id.data, 16);
    if (l->span_id.size == 8)
        memcpy(c->span_id[row].b, l->span_id.data, 8);
    c->severity[row] = l->severity <= UINT8_MAX ? (uint8_t)l->severity : 0;
    c->flags[row] = (uint32_t)l->flags;
    c->dropped[row] = (uint32_t)l->dropped;
    c->service[row] = r->service;
    c->scope_name[row] = scope->name;
    c->scope_version[row] = scope->version;
    c->resource_attrs[row] = r->attrs;
    enum err e = decode_text(d, l->severity_text, &c->severity_text[row]);
    if (e == ERR_OK)
        e = decode_text(d, l->event_name, &c->event_name[row]);
    if (e == ERR_OK)
        e = decode_keep(d, &d->attrs, &c->attrs[row]);
    if (e == ERR_OK && l->body.data) {
        attr_encode_value(l->body, &d->attrs);
        e = decode_keep(d, &d->attrs, &c->body[row]);
    }
    return e;
}

static enum err decode_scope_logs(struct decode *d, const struct decode_resource *r,
                                  const struct decode_scope *scope, struct bytes scope_rows)
{
    struct otlp_wire w = otlp_wire_of(scope_rows);
    struct otlp_wire_field f;
    enum err e = ERR_OK;
    while (e == ERR_OK && otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD) {
        if (f.number != 2)
            continue;
        struct log_record l;
        read_log(d, f.bytes, &l);
        e = keep_log(d, r, scope, &l);
    }
    return e;
}

enum err decode_logs(struct decode *d, struct bytes body)
{
    return decode_each_scope(d, body, decode_scope_logs);
}
