#include "web/web_read_request.h"

#include "base/check.h"
#include "query/query.h"

#define MATCHERS_MAX 64u
#define QUERIES_MAX 64u

enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

struct field {
    uint32_t number, type;
    uint64_t value;
    struct bytes bytes;
};

/* The next field of a message; false at its end or where it is none (its failed tells). */
static bool next_field(struct reader *r, struct field *f)
{
    if (reader_left(r) == 0)
        return false;
    uint64_t tag = reader_varint(r);
    *f = (struct field){.number = (uint32_t)(tag >> 3), .type = tag & 7};
    switch (f->type) {
    case WIRE_VARINT: f->value = reader_varint(r); break;
    case WIRE_FIXED64: f->value = reader_u64(r); break;
    case WIRE_BYTES: f->bytes = reader_lenbytes(r); break;
    case WIRE_FIXED32: f->value = reader_u32(r); break;
    default: r->failed = true;
    }
    return !r->failed;
}

static void quote(struct buf *out, struct bytes s)
{
    buf_u8(out, '"');
    for (size_t i = 0; i < s.size; i++) {
        uint8_t c = s.data[i];
        if (c == '"' || c == '\\')
            buf_printf(out, "\\%c", c);
        else if (c < 32 || c == 127)
            buf_printf(out, "\\x%02x", c);
        else
            buf_u8(out, c);
    }
    buf_u8(out, '"');
}

struct reading {
    struct tsdb_labels external;
    struct web_read_query q;
    struct buf selector; /* the matchers as PromQL writes them */
    unsigned matchers;
    struct err_msg *msg;
};

/* Ours on every series that goes out: one who asks for it by name is right, and no stored series has it. */
static bool is_external(const struct reading *x, struct bytes name, struct bytes value)
{
    return value.size && bytes_equal(tsdb_labels_get(x->external, name), value);
}

static enum err read_matcher(struct reading *x, struct bytes message)
{
    static const char *const ops[] = {"=", "!=", "=~", "!~"};
    struct reader r = reader_of(message);
    struct field f;
    struct bytes name = BYTES_NONE, value = BYTES_NONE;
    uint64_t op = 0;
    while (next_field(&r, &f)) {
        if (f.number == 1 && f.type == WIRE_VARINT)
            op = f.value;
        else if (f.number == 2 && f.type == WIRE_BYTES)
            name = f.bytes;
        else if (f.number == 3 && f.type == WIRE_BYTES)
            value = f.bytes;
    }
    if (r.failed || op >= ARRAY_LEN(ops) || !name.size || !bytes_is_utf8(name) ||
        !bytes_is_utf8(value))
        return err_set(x->msg, ERR_INVALID, "a matcher of the read request is not valid");
    if (op == 0 && is_external(x, name, value))
        return ERR_OK;
    if (++x->matchers > MATCHERS_MAX)
        return err_set(x->msg, ERR_INVALID, "more than %u matchers in a query", MATCHERS_MAX);
    buf_str(&x->selector, x->selector.size ? "," : "{");
    quote(&x->selector, name);
    buf_str(&x->selector, ops[op]);
    quote(&x->selector, value);
    return ERR_OK;
}

static enum err read_query(struct reading *x, struct bytes message)
{
    struct reader r = reader_of(message);
    struct field f;
    enum err e = ERR_OK;
    while (e == ERR_OK && next_field(&r, &f)) {
        if (f.number == 1 && f.type == WIRE_VARINT)
            x->q.start_ms = (int64_t)f.value;
        else if (f.number == 2 && f.type == WIRE_VARINT)
            x->q.end_ms = (int64_t)f.value;
        else if (f.number == 3 && f.type == WIRE_BYTES)
            e = read_matcher(x, f.bytes);
    }
    if (e == ERR_OK && r.failed)
        e = err_set(x->msg, ERR_INVALID, "the read request is no protobuf of one");
    buf_str(&x->selector, x->selector.size ? "}" : "{__name__=~\".+\"}");
    return e;
}

static enum err one_query(struct reading *x, struct bytes message, web_read_each each, void *ctx)
{
    x->q = (struct web_read_query){.start_ms = 0};
    x->matchers = 0;
    buf_clear(&x->selector);
    enum err e = read_query(x, message);
    if (e == ERR_OK && !buf_ok(&x->selector))
        e = err_set(x->msg, ERR_INVALID, "the matchers of the read request are too long");
    x->q.selector = buf_bytes(&x->selector);
    return e == ERR_OK ? each(ctx, &x->q) : e;
}

enum err web_read_request(struct bytes message, struct tsdb_labels external, web_read_each each,
                          void *ctx, struct err_msg *msg)
{
    struct reading x = {.external = external, .msg = msg};
    struct reader r = reader_of(message);
    struct field f;
    enum err e = ERR_OK;
    unsigned queries = 0;
    buf_init(&x.selector, QUERY_TEXT_MAX);
    while (e == ERR_OK && next_field(&r, &f)) {
        if (f.number != 1 || f.type != WIRE_BYTES)
            continue; /* accepted types: what is sent is always accepted */
        if (++queries > QUERIES_MAX)
            e = err_set(msg, ERR_INVALID, "more than %u queries in a read request", QUERIES_MAX);
        else
            e = one_query(&x, f.bytes, each, ctx);
    }
    if (e == ERR_OK && r.failed)
        e = err_set(msg, ERR_INVALID, "the read request is no protobuf of one");
    buf_done(&x.selector);
    return e;
}
