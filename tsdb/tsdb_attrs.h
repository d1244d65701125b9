/* Attributes of spans, logs, resources, scopes, events and links: OTLP's AnyValue in one compact, depth-bounded form.
 *
 *     attrs  := { varint key length, key, value }*           in the order they were sent
 *     value  := tag u8, then by tag:
 *               0 empty | 1 string: varint length, bytes | 2 bool: u8 | 3 int: i64 LE | 4 double: f64 LE
 *               5 bytes: varint length, bytes | 6 array: varint size in bytes, { value }* | 7 kvlist: varint size in bytes, attrs
 *     events := { varint size, u64 time_ns, u32 dropped, varint name length, name, attrs }*
 *     links  := { varint size, trace id 16, span id 8, u32 flags, u32 dropped, varint state length, trace_state, attrs }*
 * Owner: the bytes' owner.  Thread: any.
 * Failure: iterators stop (return false) at malformed bytes and set .corrupt; tsdb_attrs_check gives ERR_CORRUPT / ERR_TOO_DEEP.
 * Limits: nesting TSDB_ATTRS_DEPTH_MAX.
 */
#ifndef TSDB_TSDB_ATTRS_H
#define TSDB_TSDB_ATTRS_H

#include "base/buf.h"

#define TSDB_ATTRS_DEPTH_MAX 64u

enum tsdb_value_type {
    TSDB_VALUE_EMPTY,
    TSDB_VALUE_STRING,
    TSDB_VALUE_BOOL,
    TSDB_VALUE_INT,
    TSDB_VALUE_DOUBLE,
    TSDB_VALUE_BYTES,
    TSDB_VALUE_ARRAY,
    TSDB_VALUE_KVLIST
};

struct tsdb_value {
    enum tsdb_value_type type;
    union {
        struct bytes bytes; /* STRING, BYTES; ARRAY and KVLIST: the nested encoding */
        bool boolean;
        int64_t integer;
        double number;
    };
};

struct tsdb_attrs_iter {
    struct reader r;
    bool corrupt;
};
struct tsdb_attrs_iter tsdb_attrs_begin(struct bytes attrs);
bool tsdb_attrs_next(struct tsdb_attrs_iter *it, struct bytes *out_key, struct tsdb_value *out);
bool tsdb_attrs_next_value(struct tsdb_attrs_iter *it,
                           struct tsdb_value *out); /* inside an ARRAY */
bool tsdb_attrs_find(struct bytes attrs, struct bytes key, struct tsdb_value *out);
enum err tsdb_attrs_check(struct bytes attrs) MUST_CHECK;

/* Writers. Arrays and kvlists: encode the content into a scratch buffer first, then append it with its size. */
void tsdb_attrs_put(struct buf *out, struct bytes key, struct tsdb_value v);
void tsdb_attrs_put_value(struct buf *out, struct tsdb_value v);
static inline void tsdb_attrs_put_str(struct buf *out, struct bytes key, struct bytes v)
{
    tsdb_attrs_put(out, key, (struct tsdb_value){TSDB_VALUE_STRING, {.bytes = v}});
}
static inline void tsdb_attrs_put_i64(struct buf *out, struct bytes key, int64_t v)
{
    tsdb_attrs_put(out, key, (struct tsdb_value){TSDB_VALUE_INT, {.integer = v}});
}

struct tsdb_event {
    uint64_t time_ns;
    uint32_t dropped;
    struct bytes name, attrs;
};
struct tsdb_link {
    uint8_t trace_id[16], span_id[8];
    uint32_t flags, dropped;
    struct bytes trace_state, attrs;
};
void tsdb_attrs_put_event(struct buf *out, const struct tsdb_event *e);
void tsdb_attrs_put_link(struct buf *out, const struct tsdb_link *l);
bool tsdb_attrs_next_event(struct tsdb_attrs_iter *it, struct tsdb_event *out);
bool tsdb_attrs_next_link(struct tsdb_attrs_iter *it, struct tsdb_link *out);

/* Is the value, as text, this? */
bool tsdb_attrs_value_is(struct tsdb_value v, struct bytes text);
/* Does a string anywhere in attrs (value) contain the needle? Keys do not count. */
bool tsdb_attrs_contain(struct bytes attrs, struct bytes needle);
bool tsdb_attrs_value_contains(struct bytes value, struct bytes needle);

/* The value as text: strings as they are, numbers shortest, arrays and kvlists as JSON. Appends. */
void tsdb_attrs_text(struct buf *out, struct tsdb_value v);
/* The value as JSON (bytes in base64). Appends. */
void tsdb_attrs_json(struct buf *out, struct tsdb_value v);

#endif
