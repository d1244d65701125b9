/* Walking protobuf fields inside a slice: the hot path's reader, all inline.
 *
 * Owner: the slice's owner.  Thread: any.
 * Failure: otlp_wire_next returns OTLP_WIRE_BAD at the first byte that is not a field (truncated, varint over 64 bits, field number 0,
 *          group); it never reads past the end. Walkers run after otlp_schema_check, so for them BAD does not happen and ends a loop.
 */
#ifndef COLLECTOR_OTLP_OTLP_WIRE_H
#define COLLECTOR_OTLP_OTLP_WIRE_H

#include "base/bytes.h"

enum otlp_wire_type { OTLP_WIRE_VARINT, OTLP_WIRE_FIXED64, OTLP_WIRE_LEN, OTLP_WIRE_FIXED32 = 5 };
enum otlp_wire_step { OTLP_WIRE_END, OTLP_WIRE_FIELD, OTLP_WIRE_BAD };

struct otlp_wire {
    const uint8_t *at, *end;
};

struct otlp_wire_field {
    uint32_t number;
    uint32_t type; /* enum otlp_wire_type */
    uint64_t value; /* VARINT, FIXED64, FIXED32 */
    struct bytes bytes; /* LEN */
};

static inline struct otlp_wire otlp_wire_of(struct bytes b)
{
    return (struct otlp_wire){b.data, b.data ? b.data + b.size : b.data};
}

/* More than one byte. Apart and cold, so that the common case stays small where it is inlined. */
__attribute__((noinline, unused)) static bool otlp_wire_varint_long(struct otlp_wire *w,
                                                                    uint64_t *out)
{
    const uint8_t *p = w->at;
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (p == w->end)
            return false;
        uint8_t byte = *p++;
        if (shift == 63 && byte > 1)
            return false; /* more than 64 bits */
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out = v;
            w->at = p;
            return true;
        }
    }
    return false;
}

__attribute__((always_inline)) static inline bool otlp_wire_varint(struct otlp_wire *w,
                                                                   uint64_t *out)
{
    const uint8_t *p = w->at;
    if (p < w->end && *p < 0x80) {
        *out = *p;
        w->at = p + 1;
        return true;
    }
    if (w->end - p >= 2 && p[1] < 0x80) {
        *out = (uint64_t)(p[0] & 0x7f) | (uint64_t)p[1] << 7;
        w->at = p + 2;
        return true;
    }
    return otlp_wire_varint_long(w, out);
}

__attribute__((always_inline)) static inline enum otlp_wire_step otlp_wire_next(
    struct otlp_wire *w, struct otlp_wire_field *f)
{
    if (w->at == w->end)
        return OTLP_WIRE_END;
    uint64_t tag, size;
    if (!otlp_wire_varint(w, &tag) || tag > UINT32_MAX || tag < 8)
        return OTLP_WIRE_BAD;
    f->number = (uint32_t)(tag >> 3);
    f->type = (uint32_t)(tag & 7);
    if (f->type == OTLP_WIRE_LEN) { /* by far the most frequent */
        if (!otlp_wire_varint(w, &size) || size > (size_t)(w->end - w->at))
            return OTLP_WIRE_BAD;
        f->bytes = (struct bytes){w->at, (size_t)size};
        w->at += size;
        return OTLP_WIRE_FIELD;
    }
    if (f->type == OTLP_WIRE_VARINT)
        return otlp_wire_varint(w, &f->value) ? OTLP_WIRE_FIELD : OTLP_WIRE_BAD;
    if (f->type == OTLP_WIRE_FIXED64) {
        if (w->end - w->at < 8)
            return OTLP_WIRE_BAD;
        f->value = bytes_u64le(w->at);
        w->at += 8;
        return OTLP_WIRE_FIELD;
    }
    if (f->type != OTLP_WIRE_FIXED32 || w->end - w->at < 4)
        return OTLP_WIRE_BAD; /* groups, what was never assigned, truncated */
    f->value = bytes_u32le(w->at);
    w->at += 4;
    return OTLP_WIRE_FIELD;
}

/* A KeyValue as every encoder writes the usual ones: a key below 128 bytes, then a text, an integer, a double or a bool, and nothing else.
 *     0a K key 12 V  { 0a size text | 18 varint | 21 eight bytes | 10 varint }
 * f becomes the value's field. false: it may be fine, but it takes the long way. */
__attribute__((always_inline)) static inline bool otlp_wire_plain_attr(struct bytes wire,
                                                                       struct bytes *key,
                                                                       struct otlp_wire_field *f)
{
    const uint8_t *p = wire.data;
    if (wire.size < 4 || p[0] != 0x0a || p[1] >= 0x80 || wire.size < p[1] + 4u ||
        p[p[1] + 2] != 0x12)
        return false;
    struct otlp_wire w = {p + p[1] + 3, p + wire.size};
    uint64_t size;
    *key = (struct bytes){p + 2, p[1]};
    if (!otlp_wire_varint(&w, &size) || size != (size_t)(w.end - w.at) ||
        otlp_wire_next(&w, f) != OTLP_WIRE_FIELD || w.at != w.end)
        return false;
    return (f->number == 1 && f->type == OTLP_WIRE_LEN) ||
           ((f->number == 2 || f->number == 3) && f->type == OTLP_WIRE_VARINT) ||
           (f->number == 4 && f->type == OTLP_WIRE_FIXED64);
}

static inline double otlp_wire_f64(uint64_t bits)
{
    double v;
    memcpy(&v, &bits, sizeof(v));
    return v;
}

static inline int64_t otlp_wire_zigzag(uint64_t v)
{
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

#endif
