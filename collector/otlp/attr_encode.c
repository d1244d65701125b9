#include "collector/otlp/attr_encode.h"

#include "collector/otlp/otlp.h"
#include "collector/otlp/otlp_wire.h"

/* Room is reserved once a value: an encoded value is at most three times its wire form and a little (an integer of one byte becomes
 * eight, behind at least three bytes of framing), so that the writers below need no checks. */
static uint8_t *room(struct buf *out, size_t wire_size)
{
    return buf_reserve(out, 3 * wire_size + 32) ? out->data + out->size : NULL;
}

static inline uint8_t *put_varint(uint8_t *p, uint64_t v)
{
    while (v >= 0x80) {
        *p++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *p++ = (uint8_t)v;
    return p;
}

static unsigned varint_size(uint64_t v)
{
    unsigned n = 1;
    while (v >>= 7)
        n++;
    return n;
}

static inline uint8_t *put_bytes(uint8_t *p, struct bytes b)
{
    p = put_varint(p, b.size);
    if (b.size)
        memcpy(p, b.data, b.size);
    return p + b.size;
}

void attr_encode_split(struct bytes wire, struct bytes *out_key, struct bytes *out_value)
{
    struct otlp_wire w = otlp_wire_of(wire);
    struct otlp_wire_field f;
    *out_key = *out_value = BYTES_NONE;
    while (otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD) {
        if (f.number == 1)
            *out_key = f.bytes;
        else if (f.number == 2)
            *out_value = f.bytes;
    }
}

static uint8_t *put_value(uint8_t *p, struct bytes wire, unsigned depth);

static uint8_t *put_key_value(uint8_t *p, struct bytes wire, unsigned depth)
{
    struct bytes key, value;
    attr_encode_split(wire, &key, &value);
    return put_value(put_bytes(p, key), value, depth);
}

/* ArrayValue or KeyValueList: content first behind a guessed length of its size, moved if the guess was wrong. */
static uint8_t *put_nested(uint8_t *p, struct bytes wire, bool is_kvlist, unsigned depth)
{
    unsigned guess = varint_size(wire.size);
    uint8_t *content = p + guess, *end = content;
    struct otlp_wire w = otlp_wire_of(wire);
    struct otlp_wire_field f;
    while (otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD)
        if (f.number == 1)
            end = is_kvlist ? put_key_value(end, f.bytes, depth + 1)
                            : put_value(end, f.bytes, depth + 1);
    size_t size = (size_t)(end - content);
    unsigned need = varint_size(size);
    if (need != guess)
        memmove(p + need, content, size);
    put_varint(p, size);
    return p + need + size;
}

static inline uint8_t *put_plain(uint8_t *p, const struct otlp_wire_field *f)
{
    switch (f->number) {
    case 1: *p++ = TSDB_VALUE_STRING; return put_bytes(p, f->bytes);
    case 2:
        *p++ = TSDB_VALUE_BOOL;
        *p++ = f->value != 0;
        return p;
    default:
        *p++ = f->number == 3 ? TSDB_VALUE_INT : TSDB_VALUE_DOUBLE;
        bytes_put_u64le(p, f->value);
        return p + 8;
    }
}

static uint8_t *put_value(uint8_t *p, struct bytes wire, unsigned depth)
{
    struct otlp_wire w = otlp_wire_of(wire);
    struct otlp_wire_field f, last = {.number = 0};
    while (otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD)
        if (f.number >= 1 && f.number <= 7)
            last = f; /* one of: the last one sent counts */
    if (depth > OTLP_DEPTH_MAX)
        last.number = 0; /* cannot be after the check; bounds the recursion by itself */
    switch (last.number) {
    case 1:
    case 2:
    case 3:
    case 4: return put_plain(p, &last);
    case 5: *p++ = TSDB_VALUE_ARRAY; return put_nested(p, last.bytes, false, depth);
    case 6: *p++ = TSDB_VALUE_KVLIST; return put_nested(p, last.bytes, true, depth);
    case 7: *p++ = TSDB_VALUE_BYTES; return put_bytes(p, last.bytes);
    default: *p++ = TSDB_VALUE_EMPTY; return p;
    }
}

void attr_encode_key_value(struct bytes wire, struct buf *out)
{
    uint8_t *p = room(out, wire.size);
    struct bytes key;
    struct otlp_wire_field f;
    if (!p)
        return;
    if (otlp_wire_plain_attr(wire, &key, &f))
        p = put_plain(put_bytes(p, key), &f);
    else
        p = put_key_value(p, wire, 1);
    out->size = (size_t)(p - out->data);
}

void attr_encode_value(struct bytes wire, struct buf *out)
{
    uint8_t *p = room(out, wire.size);
    if (p)
        out->size = (size_t)(put_value(p, wire, 1) - out->data);
}

bool attr_encode_is_string(struct bytes wire, struct bytes *out)
{
    struct otlp_wire w = otlp_wire_of(wire);
    struct otlp_wire_field f;
    bool is_string = false;
    while (otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD) {
        if (f.number < 1 || f.number > 7)
            continue;
        is_string = f.number == 1;
        if (is_string)
            *out = f.bytes;
    }
    return is_string;
}
