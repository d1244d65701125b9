#include "collector/otlp/decode.h"

#include "base/clock.h"
#include "collector/otlp/attr_encode.h"

enum err decode_full(void)
{
    return ERR_TOO_LARGE;
}

enum err decode_keep(struct decode *d, struct buf *scratch, struct bytes *out)
{
    if (!buf_ok(scratch))
        return ERR_NOMEM;
    *out = BYTES_NONE;
    if (scratch->size) {
        *out = arena_copy(d->batch->arena, buf_bytes(scratch));
        if (!out->data)
            return decode_full();
        buf_clear(scratch);
    }
    return ERR_OK;
}

enum err decode_text(struct decode *d, struct bytes wire, struct bytes *out)
{
    *out = BYTES_NONE;
    if (!wire.size)
        return ERR_OK;
    /* Length, ends and middle: enough to spread the names of spans, and cheap. A clash only copies again. */
    uint32_t h = (uint32_t)wire.size * 31 + wire.data[0];
    h = h * 31 + wire.data[wire.size - 1];
    h = h * 31 + wire.data[wire.size / 2];
    struct bytes *slot = &d->texts[h % DECODE_TEXTS];
    if (!bytes_equal(*slot, wire)) {
        struct bytes copy = arena_copy(d->batch->arena, wire);
        if (!copy.data)
            return decode_full();
        *slot = copy;
    }
    *out = *slot;
    return ERR_OK;
}

bool decode_time_is_fine(struct decode *d, const char *what, int64_t t_ms)
{
    if (t_ms >= d->o->floor_ms && t_ms <= d->ceiling_ms)
        return true;
    char when[CLOCK_RFC3339_MAX], limit[CLOCK_RFC3339_MAX];
    bool old = t_ms < d->o->floor_ms;
    bool printable = t_ms > -INT64_C(62000000000000) && t_ms < INT64_C(250000000000000);
    clock_rfc3339(printable ? t_ms : 0, when);
    clock_rfc3339(old ? d->o->floor_ms : d->ceiling_ms, limit);
    tsdb_batch_reject(d->batch, old ? TSDB_REJECT_TOO_OLD : TSDB_REJECT_TOO_NEW,
                      old ? "%s at %s is older than the retention keeps (%s)"
                          : "%s at %s is more than 10 minutes ahead of the server's clock (%s)",
                      what, printable ? when : "a time beyond the calendar", limit);
    return false;
}

static struct bytes last_field(struct bytes wire, uint32_t number)
{
    struct otlp_wire w = otlp_wire_of(wire);
    struct otlp_wire_field f;
    struct bytes found = BYTES_NONE;
    while (otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD)
        if (f.number == number)
            found = f.bytes;
    return found;
}

/* What every resource of the request has besides. */
static bool add_extra(struct decode *d, struct decode_resource *r)
{
    struct bytes extra = d->o->resource_extra;
    uint8_t *both = ARENA_ARRAY(d->batch->arena, uint8_t, r->wire.size + extra.size);
    if (!both)
        return false;
    if (r->wire.size)
        memcpy(both, r->wire.data, r->wire.size);
    memcpy(both + r->wire.size, extra.data, extra.size);
    r->wire = bytes_of(both, r->wire.size + extra.size);
    return true;
}

enum err decode_resource(struct decode *d, struct bytes resource_rows, struct decode_resource *out)
{
    *out = (struct decode_resource){.wire = last_field(resource_rows, 1)};
    if (d->o->resource_extra.size && !add_extra(d, out))
        return decode_full();
    struct otlp_wire w = otlp_wire_of(out->wire);
    struct otlp_wire_field f;
    buf_clear(&d->attrs);
    while (otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD) {
        if (f.number != 1)
            continue;
        struct bytes key, value;
        attr_encode_split(f.bytes, &key, &value);
        if (bytes_equal(key, BYTES_LIT("service.name")))
            attr_encode_is_string(value, &out->service);
        else if (bytes_equal(key, BYTES_LIT("service.namespace")))
            attr_encode_is_string(value, &out->name_space);
        else if (bytes_equal(key, BYTES_LIT("service.instance.id")))
            attr_encode_is_string(value, &out->instance);
        attr_encode_key_value(f.bytes, &d->attrs);
    }
    enum err e = decode_keep(d, &d->attrs, &out->attrs);
    if (e == ERR_OK)
        e = decode_text(d, out->service, &out->service);
    if (e == ERR_OK)
        e = decode_text(d, out->name_space, &out->name_space);
    return e == ERR_OK ? decode_text(d, out->instance, &out->instance) : e;
}

enum err decode_scope(struct decode *d, struct bytes scope_rows, struct decode_scope *out)
{
    *out = (struct decode_scope){.wire = last_field(scope_rows, 1)};
    enum err e = decode_text(d, last_field(out->wire, 1), &out->name);
    return e == ERR_OK ? decode_text(d, last_field(out->wire, 2), &out->version) : e;
}

enum err decode_each_scope(struct decode *d, struct bytes body,
                           enum err (*fn)(struct decode *d, const struct decode_resource *r,
                                          const struct decode_scope *s, struct bytes scope_rows))
{
    struct otlp_wire requests = otlp_wire_of(body);
    struct otlp_wire_field rf, sf;
    while (otlp_wire_next(&requests, &rf) == OTLP_WIRE_FIELD) {
        if (rf.number != 1)
            continue;
        struct decode_resource resource;
        enum err e = decode_resource(d, rf.bytes, &resource);
        struct otlp_wire scopes = otlp_wire_of(rf.bytes);
        while (e == ERR_OK && otlp_wire_next(&scopes, &sf) == OTLP_WIRE_FIELD) {
            if (sf.number != 2)
                continue;
            struct decode_scope scope;
            e = decode_scope(d, sf.bytes, &scope);
            if (e == ERR_OK)
                e = fn(d, &resource, &scope, sf.bytes);
        }
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}
