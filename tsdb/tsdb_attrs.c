#include "tsdb/tsdb_attrs.h"

#include "base/json_out.h"

struct tsdb_attrs_iter tsdb_attrs_begin(struct bytes attrs)
{
    return (struct tsdb_attrs_iter){reader_of(attrs), false};
}

static bool read_value(struct reader *r, struct tsdb_value *out)
{
    uint8_t tag = reader_u8(r);
    *out = (struct tsdb_value){.type = (enum tsdb_value_type)tag};
    switch (tag) {
    case TSDB_VALUE_EMPTY: break;
    case TSDB_VALUE_BOOL: {
        uint8_t v = reader_u8(r);
        if (v > 1)
            r->failed = true;
        out->boolean = v == 1;
        break;
    }
    case TSDB_VALUE_INT: out->integer = (int64_t)reader_u64(r); break;
    case TSDB_VALUE_DOUBLE: out->number = reader_f64(r); break;
    case TSDB_VALUE_STRING:
    case TSDB_VALUE_BYTES:
    case TSDB_VALUE_ARRAY:
    case TSDB_VALUE_KVLIST: out->bytes = reader_lenbytes(r); break;
    default: r->failed = true;
    }
    return !r->failed;
}

bool tsdb_attrs_next(struct tsdb_attrs_iter *it, struct bytes *out_key, struct tsdb_value *out)
{
    struct tsdb_value v;
    if (reader_left(&it->r) == 0)
        return false;
    struct bytes key = reader_lenbytes(&it->r);
    if (!read_value(&it->r, &v)) {
        it->corrupt = true;
        return false;
    }
    *out_key = key;
    *out = v;
    return true;
}

bool tsdb_attrs_next_value(struct tsdb_attrs_iter *it, struct tsdb_value *out)
{
    struct tsdb_value v;
    if (reader_left(&it->r) == 0)
        return false;
    if (!read_value(&it->r, &v)) {
        it->corrupt = true;
        return false;
    }
    *out = v;
    return true;
}

bool tsdb_attrs_find(struct bytes attrs, struct bytes key, struct tsdb_value *out)
{
    struct tsdb_attrs_iter it = tsdb_attrs_begin(attrs);
    struct bytes k;
    struct tsdb_value v;
    while (tsdb_attrs_next(&it, &k, &v))
        if (bytes_equal(k, key)) {
            *out = v;
            return true;
        }
    return false;
}

static enum err check_attrs(struct bytes attrs, unsigned depth);

static enum err check_value(struct tsdb_value v, unsigned depth)
{
    if (v.type == TSDB_VALUE_KVLIST)
        return check_attrs(v.bytes, depth + 1);
    if (v.type != TSDB_VALUE_ARRAY)
        return ERR_OK;
    if (depth + 1 >= TSDB_ATTRS_DEPTH_MAX)
        return ERR_TOO_DEEP;
    struct tsdb_attrs_iter it = tsdb_attrs_begin(v.bytes);
    struct tsdb_value item;
    while (tsdb_attrs_next_value(&it, &item)) {
        enum err e = check_value(item, depth + 1);
        if (e != ERR_OK)
            return e;
    }
    return it.corrupt ? ERR_CORRUPT : ERR_OK;
}

static enum err check_attrs(struct bytes attrs, unsigned depth)
{
    if (depth >= TSDB_ATTRS_DEPTH_MAX)
        return ERR_TOO_DEEP;
    struct tsdb_attrs_iter it = tsdb_attrs_begin(attrs);
    struct bytes key;
    struct tsdb_value v;
    while (tsdb_attrs_next(&it, &key, &v)) {
        enum err e = check_value(v, depth);
        if (e != ERR_OK)
            return e;
    }
    return it.corrupt ? ERR_CORRUPT : ERR_OK;
}

enum err tsdb_attrs_check(struct bytes attrs)
{
    return check_attrs(attrs, 0);
}

void tsdb_attrs_put_value(struct buf *out, struct tsdb_value v)
{
    buf_u8(out, (uint8_t)v.type);
    switch (v.type) {
    case TSDB_VALUE_EMPTY: break;
    case TSDB_VALUE_BOOL: buf_u8(out, v.boolean); break;
    case TSDB_VALUE_INT: buf_u64(out, (uint64_t)v.integer); break;
    case TSDB_VALUE_DOUBLE: buf_f64(out, v.number); break;
    case TSDB_VALUE_STRING:
    case TSDB_VALUE_BYTES:
    case TSDB_VALUE_ARRAY:
    case TSDB_VALUE_KVLIST: buf_lenbytes(out, v.bytes); break;
    }
}

void tsdb_attrs_put(struct buf *out, struct bytes key, struct tsdb_value v)
{
    buf_lenbytes(out, key);
    tsdb_attrs_put_value(out, v);
}

/* --- events and links: a size, then fields ------------------------------------------------------- */

static size_t varint_size(uint64_t v)
{
    size_t n = 1;
    for (; v >= 128; v >>= 7)
        n++;
    return n;
}

void tsdb_attrs_put_event(struct buf *out, const struct tsdb_event *e)
{
    buf_varint(out, 8 + 4 + varint_size(e->name.size) + e->name.size + e->attrs.size);
    buf_u64(out, e->time_ns);
    buf_u32(out, e->dropped);
    buf_lenbytes(out, e->name);
    buf_bytes_append(out, e->attrs);
}

void tsdb_attrs_put_link(struct buf *out, const struct tsdb_link *l)
{
    buf_varint(out, 16 + 8 + 4 + 4 + varint_size(l->trace_state.size) + l->trace_state.size +
                        l->attrs.size);
    buf_append(out, l->trace_id, 16);
    buf_append(out, l->span_id, 8);
    buf_u32(out, l->flags);
    buf_u32(out, l->dropped);
    buf_lenbytes(out, l->trace_state);
    buf_bytes_append(out, l->attrs);
}

/* Opens the next sized item; false at the end or when its size lies. */
static bool next_item(struct tsdb_attrs_iter *it, struct reader *out)
{
    if (reader_left(&it->r) == 0)
        return false;
    struct bytes item = reader_lenbytes(&it->r);
    it->corrupt = it->corrupt || it->r.failed;
    *out = reader_of(item);
    return !it->corrupt;
}

bool tsdb_attrs_next_event(struct tsdb_attrs_iter *it, struct tsdb_event *out)
{
    struct reader r;
    if (!next_item(it, &r))
        return false;
    struct tsdb_event e = {.time_ns = reader_u64(&r), .dropped = 0};
    e.dropped = reader_u32(&r);
    e.name = reader_lenbytes(&r);
    e.attrs = reader_bytes(&r, reader_left(&r));
    it->corrupt = it->corrupt || r.failed;
    if (!r.failed)
        *out = e;
    return !r.failed;
}

bool tsdb_attrs_next_link(struct tsdb_attrs_iter *it, struct tsdb_link *out)
{
    struct reader r;
    struct tsdb_link l = {.flags = 0};
    if (!next_item(it, &r))
        return false;
    struct bytes trace = reader_bytes(&r, 16), span = reader_bytes(&r, 8);
    l.flags = reader_u32(&r);
    l.dropped = reader_u32(&r);
    l.trace_state = reader_lenbytes(&r);
    l.attrs = reader_bytes(&r, reader_left(&r));
    it->corrupt = it->corrupt || r.failed;
    if (r.failed)
        return false;
    memcpy(l.trace_id, trace.data, 16);
    memcpy(l.span_id, span.data, 8);
    *out = l;
    return true;
}

/* --- text ---------------------------------------------------------------------------------------- */

static void base64(struct buf *out, struct bytes b)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < b.size; i += 3) {
        size_t left = b.size - i;
        uint32_t v = (uint32_t)b.data[i] << 16 | (left > 1 ? (uint32_t)b.data[i + 1] << 8 : 0) |
                     (left > 2 ? b.data[i + 2] : 0);
        buf_u8(out, (uint8_t)digits[v >> 18]);
        buf_u8(out, (uint8_t)digits[v >> 12 & 63]);
        buf_u8(out, left > 1 ? (uint8_t)digits[v >> 6 & 63] : '=');
        buf_u8(out, left > 2 ? (uint8_t)digits[v & 63] : '=');
    }
}

static void write_json(struct json_out *j, struct tsdb_value v, unsigned depth)
{
    struct tsdb_attrs_iter it;
    struct bytes key;
    struct tsdb_value item;
    if (depth >= TSDB_ATTRS_DEPTH_MAX) {
        json_out_null(j);
        return;
    }
    switch (v.type) {
    case TSDB_VALUE_EMPTY: json_out_null(j); break;
    case TSDB_VALUE_STRING: json_out_bytes(j, v.bytes); break;
    case TSDB_VALUE_BOOL: json_out_bool(j, v.boolean); break;
    case TSDB_VALUE_INT: json_out_i64(j, v.integer); break;
    case TSDB_VALUE_DOUBLE: json_out_f64(j, v.number); break;
    case TSDB_VALUE_BYTES: {
        struct buf text = {0};
        base64(&text, v.bytes);
        json_out_bytes(j, buf_bytes(&text));
        buf_done(&text);
        break;
    }
    case TSDB_VALUE_ARRAY:
        json_out_array(j);
        it = tsdb_attrs_begin(v.bytes);
        while (tsdb_attrs_next_value(&it, &item))
            write_json(j, item, depth + 1);
        json_out_array_end(j);
        break;
    case TSDB_VALUE_KVLIST:
        json_out_object(j);
        it = tsdb_attrs_begin(v.bytes);
        while (tsdb_attrs_next(&it, &key, &item)) {
            json_out_key_bytes(j, key);
            write_json(j, item, depth + 1);
        }
        json_out_object_end(j);
        break;
    }
}

void tsdb_attrs_json(struct buf *out, struct tsdb_value v)
{
    struct json_out j = json_out_to(out);
    write_json(&j, v, 0);
}

void tsdb_attrs_text(struct buf *out, struct tsdb_value v)
{
    char number[JSON_OUT_PROM_FLOAT_MAX];
    switch (v.type) {
    case TSDB_VALUE_EMPTY: break;
    case TSDB_VALUE_STRING: buf_bytes_append(out, v.bytes); break;
    case TSDB_VALUE_DOUBLE: buf_append(out, number, json_out_prom_float(v.number, number)); break;
    case TSDB_VALUE_BYTES: base64(out, v.bytes); break;
    case TSDB_VALUE_BOOL:
    case TSDB_VALUE_INT:
    case TSDB_VALUE_ARRAY:
    case TSDB_VALUE_KVLIST: tsdb_attrs_json(out, v); break;
    }
}

/* --- searching ----------------------------------------------------------------------------------- */

bool tsdb_attrs_value_is(struct tsdb_value v, struct bytes text)
{
    int64_t n;
    struct buf b;
    if (v.type == TSDB_VALUE_STRING)
        return bytes_equal(v.bytes, text);
    if (v.type == TSDB_VALUE_INT)
        return bytes_to_i64(text, &n) && n == v.integer;
    buf_init(&b, 64 * 1024);
    tsdb_attrs_text(&b, v);
    bool same = buf_ok(&b) && bytes_equal(buf_bytes(&b), text);
    buf_done(&b);
    return same;
}

static bool has_bytes(struct bytes in, struct bytes needle)
{
    return in.size >= needle.size && memmem(in.data, in.size, needle.data, needle.size);
}

static bool attrs_contain(struct bytes attrs, struct bytes needle, unsigned depth);

static bool value_contains(struct tsdb_value v, struct bytes needle, unsigned depth)
{
    struct tsdb_attrs_iter it;
    struct tsdb_value inner;
    if (v.type == TSDB_VALUE_STRING)
        return has_bytes(v.bytes, needle);
    if ((v.type != TSDB_VALUE_ARRAY && v.type != TSDB_VALUE_KVLIST) ||
        depth == TSDB_ATTRS_DEPTH_MAX || !has_bytes(v.bytes, needle))
        return false;
    if (v.type == TSDB_VALUE_KVLIST)
        return attrs_contain(v.bytes, needle, depth + 1);
    for (it = tsdb_attrs_begin(v.bytes); tsdb_attrs_next_value(&it, &inner);)
        if (value_contains(inner, needle, depth + 1))
            return true;
    return false;
}

static bool attrs_contain(struct bytes attrs, struct bytes needle, unsigned depth)
{
    struct bytes key;
    struct tsdb_value v;
    for (struct tsdb_attrs_iter it = tsdb_attrs_begin(attrs); tsdb_attrs_next(&it, &key, &v);)
        if (value_contains(v, needle, depth))
            return true;
    return false;
}

/* A string lies in the encoding as it is: bytes that are nowhere in it are in none of them. */
bool tsdb_attrs_contain(struct bytes attrs, struct bytes needle)
{
    return has_bytes(attrs, needle) && attrs_contain(attrs, needle, 0);
}

bool tsdb_attrs_value_contains(struct bytes value, struct bytes needle)
{
    struct tsdb_attrs_iter it = tsdb_attrs_begin(value);
    struct tsdb_value v;
    return has_bytes(value, needle) && tsdb_attrs_next_value(&it, &v) &&
           value_contains(v, needle, 0);
}
