/* Remote read: series as protobuf, in a snappy block, for other Prometheus servers. Whole answers (SAMPLES), no streamed chunks: a client
 * that would rather have those takes these.
 *
 *   ReadRequest  1 Query { 1 start ms, 2 end ms, 3 Matcher { 1 type, 2 name, 3 value } }, 2 accepted types
 *   ReadResponse 1 QueryResult { 1 TimeSeries { 1 Label { 1 name, 2 value }, 2 Sample { 1 value, 2 t }, 4 Histogram } }
 */
#include "base/zip.h"
#include "web/web_prom_call.h"

#define REQUEST_MAX (4u << 20)
#define MATCHERS_MAX 64u
#define QUERIES_MAX 64u
#define SAMPLES_ACCEPTED 0 /* of accepted types */

enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

/* --- reading ------------------------------------------------------------------------------------- */

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

struct ask {
    int64_t start, end;
    struct buf selector; /* the matchers as PromQL writes them */
    unsigned matchers;
};

/* Ours on every series that goes out: one who asks for it by name is right, and no stored series has it. */
static bool is_external(const struct prom_call *c, struct bytes name, struct bytes value)
{
    return bytes_equal(tsdb_labels_get(c->prom->opts.external_labels, name), value) && value.size;
}

static enum err read_matcher(struct prom_call *c, struct bytes message, struct ask *q)
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
        return err_set(&c->msg, ERR_INVALID, "a matcher of the read request is not valid");
    if (op == 0 && is_external(c, name, value))
        return ERR_OK;
    if (++q->matchers > MATCHERS_MAX)
        return err_set(&c->msg, ERR_INVALID, "more than %u matchers in a query", MATCHERS_MAX);
    buf_str(&q->selector, q->selector.size ? "," : "{");
    quote(&q->selector, name);
    buf_str(&q->selector, ops[op]);
    quote(&q->selector, value);
    return ERR_OK;
}

static enum err read_query(struct prom_call *c, struct bytes message, struct ask *q)
{
    struct reader r = reader_of(message);
    struct field f;
    enum err e = ERR_OK;
    while (e == ERR_OK && next_field(&r, &f)) {
        if (f.number == 1 && f.type == WIRE_VARINT)
            q->start = (int64_t)f.value;
        else if (f.number == 2 && f.type == WIRE_VARINT)
            q->end = (int64_t)f.value;
        else if (f.number == 3 && f.type == WIRE_BYTES)
            e = read_matcher(c, f.bytes, q);
    }
    if (e == ERR_OK && r.failed)
        e = err_set(&c->msg, ERR_INVALID, "the read request is no protobuf of one");
    buf_str(&q->selector, q->selector.size ? "}" : "{__name__=~\".+\"}");
    return e;
}

/* --- writing ------------------------------------------------------------------------------------- */

static void tag(struct buf *out, uint32_t field, uint32_t wire)
{
    buf_varint(out, field << 3 | wire);
}

static void put_varint(struct buf *out, uint32_t field, uint64_t v)
{
    tag(out, field, WIRE_VARINT);
    buf_varint(out, v);
}

static void put_zigzag(struct buf *out, uint32_t field, int64_t v)
{
    put_varint(out, field, ((uint64_t)v << 1) ^ (uint64_t)(v >> 63));
}

static void put_double(struct buf *out, uint32_t field, double v)
{
    tag(out, field, WIRE_FIXED64);
    buf_f64(out, v);
}

static void put_bytes(struct buf *out, uint32_t field, struct bytes b)
{
    tag(out, field, WIRE_BYTES);
    buf_lenbytes(out, b);
}

/* A message within: its length goes before it when it is known. */
static size_t begin(struct buf *out, uint32_t field)
{
    tag(out, field, WIRE_BYTES);
    return out->size;
}

static void end(struct buf *out, size_t at)
{
    uint8_t length[BUF_VARINT_MAX];
    if (!buf_ok(out))
        return;
    size_t size = out->size - at, width = (size_t)(buf_write_varint(length, size) - length);
    if (!buf_reserve(out, width))
        return;
    memmove(out->data + at + width, out->data + at, size);
    memcpy(out->data + at, length, width);
    out->size += width;
}

static void put_label(struct buf *out, struct bytes name, struct bytes value)
{
    size_t at = begin(out, 1);
    put_bytes(out, 1, name);
    put_bytes(out, 2, value);
    end(out, at);
}

static void put_labels(struct buf *out, struct tsdb_labels l)
{
    struct tsdb_labels_iter it = tsdb_labels_begin(l);
    struct tsdb_label label;
    while (tsdb_labels_next(&it, &label))
        put_label(out, label.name, label.value);
}

static void put_spans(struct buf *out, uint32_t field, const struct tsdb_hist_span *s, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        size_t at = begin(out, field);
        put_zigzag(out, 1, s[i].offset);
        put_varint(out, 2, s[i].length);
        end(out, at);
    }
}

static void put_doubles(struct buf *out, uint32_t field, const double *v, uint32_t n)
{
    if (!n)
        return;
    size_t at = begin(out, field);
    for (uint32_t i = 0; i < n; i++)
        buf_f64(out, v[i]);
    end(out, at);
}

/* As a histogram of floats: counts are doubles here. */
static void put_hist(struct buf *out, const struct tsdb_hist *h, int64_t t_ms)
{
    size_t at = begin(out, 4);
    put_double(out, 2, h->count);
    put_double(out, 3, h->sum);
    put_zigzag(out, 4, h->schema);
    put_double(out, 5, h->zero_threshold);
    put_double(out, 7, h->zero_count);
    put_spans(out, 8, h->neg_spans, h->neg_span_count);
    put_doubles(out, 10, h->neg, h->neg_count);
    put_spans(out, 11, h->pos_spans, h->pos_span_count);
    put_doubles(out, 13, h->pos, h->pos_count);
    put_varint(out, 14, h->hint);
    put_varint(out, 15, (uint64_t)t_ms);
    put_doubles(out, 16, h->custom, h->custom_count);
    end(out, at);
}

static void put_points(struct buf *out, const struct tsdb_points *p)
{
    for (size_t i = 0; i < p->count; i++) {
        if (p->hist && p->hist[i]) {
            put_hist(out, p->hist[i], p->t_ms[i]);
            continue;
        }
        size_t at = begin(out, 2);
        put_double(out, 1, p->value[i]);
        put_varint(out, 2, (uint64_t)p->t_ms[i]);
        end(out, at);
    }
}

/* --- the answer ---------------------------------------------------------------------------------- */

static enum err put_series(struct prom_call *c, struct tsdb_view *v, const struct ask *q,
                           struct arena *scratch, struct buf *out)
{
    struct query_selector *selector = NULL;
    struct tsdb_series *series = NULL;
    struct err_msg why;
    size_t count = 0, n;
    enum err e = query_selector_parse(buf_bytes(&q->selector), &selector, &why);
    if (e != ERR_OK)
        return err_set(&c->msg, e, "the matchers of the read request: %s", why.text);
    const struct tsdb_matcher *m = query_selector_matchers(selector, &n);
    e = tsdb_select(v, m, n, q->start, q->end, c->arena, &series, &count);
    for (size_t i = 0; e == ERR_OK && i < count && buf_ok(out); i++) {
        struct tsdb_points p = {0};
        struct tsdb_labels labels;
        arena_reset(scratch);
        e = prom_with_external(c, series[i].labels, scratch, &labels);
        if (e == ERR_OK)
            e = tsdb_points_read(v, &series[i], q->start, q->end, scratch, &p);
        if (e != ERR_OK || !p.count)
            continue;
        size_t at = begin(out, 1);
        put_labels(out, labels);
        put_points(out, &p);
        end(out, at);
    }
    query_selector_free(selector);
    return e == ERR_OK ? e : err_set(&c->msg, e, "remote read: %s", err_text(e));
}

static enum err answer(struct prom_call *c, struct tsdb_view *v, struct bytes request,
                       struct buf *out)
{
    struct reader r = reader_of(request);
    struct field f;
    struct arena *scratch = arena_new_in(tsdb_query_budget(c->prom->opts.db), 256u << 20);
    enum err e = scratch ? ERR_OK : ERR_NOMEM;
    unsigned queries = 0;
    while (e == ERR_OK && next_field(&r, &f)) {
        struct ask q = {.start = 0};
        if (f.number != 1 || f.type != WIRE_BYTES)
            continue; /* accepted types: what is sent is always accepted */
        if (++queries > QUERIES_MAX) {
            e = err_set(&c->msg, ERR_INVALID, "more than %u queries in a read request",
                        QUERIES_MAX);
            break;
        }
        buf_init(&q.selector, QUERY_TEXT_MAX);
        e = read_query(c, f.bytes, &q);
        if (e == ERR_OK && !buf_ok(&q.selector))
            e = err_set(&c->msg, ERR_INVALID, "the matchers of the read request are too long");
        size_t at = begin(out, 1);
        if (e == ERR_OK)
            e = put_series(c, v, &q, scratch, out);
        end(out, at);
        buf_done(&q.selector);
    }
    if (e == ERR_OK && r.failed)
        e = err_set(&c->msg, ERR_INVALID, "the read request is no protobuf of one");
    arena_free(scratch);
    return e;
}

enum err prom_read(struct prom_call *c)
{
    struct buf request, plain;
    struct tsdb_view *v;
    buf_init(&request, 0);
    buf_init(&plain, WEB_PROM_ANSWER_MAX);
    enum err e =
        bytes_equal_str(net_request_content_encoding(c->req), "snappy")
            ? zip_inflate(ZIP_SNAPPY, net_request_body(c->req), REQUEST_MAX, &request, &c->msg)
            : err_set(&c->msg, ERR_INVALID,
                      "read requests are compressed with snappy (block format)");
    if (e == ERR_TOO_LARGE)
        e = err_set(&c->msg, ERR_INVALID, "the read request is larger than 4 MiB");
    if (e == ERR_OK)
        e = prom_view(c, &v);
    if (e == ERR_OK) {
        e = answer(c, v, buf_bytes(&request), &plain);
        tsdb_view_close(v);
    }
    if (e == ERR_OK && !buf_ok(&plain))
        e = err_set(&c->msg, ERR_LIMIT, "the answer is larger than %u bytes", WEB_PROM_ANSWER_MAX);
    if (e == ERR_OK)
        e = zip_deflate(ZIP_SNAPPY, 0, buf_bytes(&plain), &c->out);
    buf_done(&request);
    buf_done(&plain);
    return e;
}
