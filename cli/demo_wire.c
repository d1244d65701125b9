#include "cli/demo_wire.h"

enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2 };
enum { VALUE_STRING = 1, VALUE_BOOL = 2, VALUE_INT = 3, VALUE_DOUBLE = 4, VALUE_ARRAY = 5 };

static void tag(struct buf *b, uint32_t field, uint32_t type)
{
    buf_varint(b, (uint64_t)field << 3 | type);
}

static size_t varint_size(uint64_t v)
{
    size_t n = 1;
    while (v >= 128) {
        v >>= 7;
        n++;
    }
    return n;
}

void demo_wire_varint(struct buf *b, uint32_t field, uint64_t v)
{
    tag(b, field, WIRE_VARINT);
    buf_varint(b, v);
}

void demo_wire_fixed64(struct buf *b, uint32_t field, uint64_t v)
{
    tag(b, field, WIRE_FIXED64);
    buf_u64(b, v);
}

void demo_wire_double(struct buf *b, uint32_t field, double v)
{
    tag(b, field, WIRE_FIXED64);
    buf_f64(b, v);
}

void demo_wire_bytes(struct buf *b, uint32_t field, struct bytes v)
{
    tag(b, field, WIRE_BYTES);
    buf_lenbytes(b, v);
}

void demo_wire_str(struct buf *b, uint32_t field, const char *v)
{
    demo_wire_bytes(b, field, bytes_str(v));
}

/* The head of a KeyValue whose AnyValue has value_size bytes; the value follows. */
static void attr_head(struct buf *b, uint32_t field, const char *key, size_t value_size)
{
    size_t key_size = strlen(key);
    tag(b, field, WIRE_BYTES);
    buf_varint(b, 1 + varint_size(key_size) + key_size + 1 + varint_size(value_size) + value_size);
    demo_wire_bytes(b, 1, bytes_of(key, key_size));
    tag(b, 2, WIRE_BYTES);
    buf_varint(b, value_size);
}

void demo_wire_attr_bytes(struct buf *b, uint32_t field, const char *key, struct bytes value)
{
    if (!value.size)
        return;
    attr_head(b, field, key, 1 + varint_size(value.size) + value.size);
    demo_wire_bytes(b, VALUE_STRING, value);
}

void demo_wire_attr(struct buf *b, uint32_t field, const char *key, const char *value)
{
    demo_wire_attr_bytes(b, field, key, bytes_str(value));
}

void demo_wire_attr_int(struct buf *b, uint32_t field, const char *key, int64_t v)
{
    attr_head(b, field, key, 1 + varint_size((uint64_t)v));
    demo_wire_varint(b, VALUE_INT, (uint64_t)v);
}

void demo_wire_attr_double(struct buf *b, uint32_t field, const char *key, double v)
{
    attr_head(b, field, key, 9);
    demo_wire_double(b, VALUE_DOUBLE, v);
}

void demo_wire_attr_bool(struct buf *b, uint32_t field, const char *key, bool v)
{
    attr_head(b, field, key, 2);
    demo_wire_varint(b, VALUE_BOOL, v);
}

void demo_wire_attr_list(struct buf *b, uint32_t field, const char *key, const char *one)
{
    size_t n = strlen(one), item = 1 + varint_size(n) + n, array = 1 + varint_size(item) + item;
    attr_head(b, field, key, 1 + varint_size(array) + array);
    tag(b, VALUE_ARRAY, WIRE_BYTES);
    buf_varint(b, array);
    tag(b, 1, WIRE_BYTES);
    buf_varint(b, item);
    demo_wire_str(b, VALUE_STRING, one);
}

void demo_wire_span_begin(struct buf *span, const struct demo_wire_ids *ids, const char *name,
                          enum demo_wire_kind kind, int64_t start_ns, int64_t end_ns)
{
    static const uint8_t none[8];
    buf_clear(span);
    demo_wire_bytes(span, 1, bytes_of(ids->trace, 16));
    demo_wire_bytes(span, 2, bytes_of(ids->span, 8));
    if (memcmp(ids->parent, none, 8) != 0)
        demo_wire_bytes(span, 4, bytes_of(ids->parent, 8));
    demo_wire_str(span, 5, name);
    demo_wire_varint(span, 6, kind);
    demo_wire_fixed64(span, 7, (uint64_t)start_ns);
    demo_wire_fixed64(span, 8, (uint64_t)end_ns);
}

void demo_wire_span_end(struct buf *span, bool failed, const char *message, struct buf *out_spans)
{
    if (failed) {
        size_t n = message ? strlen(message) : 0;
        tag(span, 15, WIRE_BYTES);
        buf_varint(span, 2 + (n ? 1 + varint_size(n) + n : 0));
        if (n)
            demo_wire_str(span, 2, message);
        demo_wire_varint(span, 3, 2);
    }
    demo_wire_bytes(out_spans, 2, buf_bytes(span));
}
