/* Remote read: series as protobuf, in a snappy block, for other Prometheus servers. Whole answers (SAMPLES), no streamed chunks: a client
 * that would rather have those takes these.
 *
 *   ReadResponse 1 QueryResult { 1 TimeSeries { 1 Label { 1 name, 2 value }, 2 Sample { 1 value, 2 t }, 4 Histogram } }
 */
#include "base/zip.h"
#include "web/web_prom_call.h"
#include "web/web_read_request.h"

#define REQUEST_MAX (4u << 20)

enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2 };

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

/* A message within; buf_put_length ends it. */
static size_t begin(struct buf *out, uint32_t field)
{
    tag(out, field, WIRE_BYTES);
    return out->size;
}

static void put_label(struct buf *out, struct bytes name, struct bytes value)
{
    size_t at = begin(out, 1);
    put_bytes(out, 1, name);
    put_bytes(out, 2, value);
    buf_put_length(out, at);
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
        buf_put_length(out, at);
    }
}

static void put_doubles(struct buf *out, uint32_t field, const double *v, uint32_t n)
{
    if (!n)
        return;
    size_t at = begin(out, field);
    for (uint32_t i = 0; i < n; i++)
        buf_f64(out, v[i]);
    buf_put_length(out, at);
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
    buf_put_length(out, at);
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
        buf_put_length(out, at);
    }
}

/* --- the answer ---------------------------------------------------------------------------------- */

struct answer {
    struct prom_call *c;
    struct tsdb_view *v;
    struct arena *scratch; /* of one series */
    struct buf *out;
};

static enum err put_series(const struct answer *x, const struct web_read_query *q)
{
    struct prom_call *c = x->c;
    struct tsdb_view *v = x->v;
    struct arena *scratch = x->scratch;
    struct buf *out = x->out;
    struct query_selector *selector = NULL;
    struct tsdb_series *series = NULL;
    struct err_msg why;
    size_t count = 0, n;
    enum err e = query_selector_parse(q->selector, &selector, &why);
    if (e != ERR_OK)
        return err_set(&c->msg, e, "the matchers of the read request: %s", why.text);
    const struct tsdb_matcher *m = query_selector_matchers(selector, &n);
    e = tsdb_select(v, m, n, q->start_ms, q->end_ms, c->arena, &series, &count);
    for (size_t i = 0; e == ERR_OK && i < count && buf_ok(out); i++) {
        struct tsdb_points p = {0};
        struct tsdb_labels labels;
        arena_reset(scratch);
        e = prom_with_external(c, series[i].labels, scratch, &labels);
        if (e == ERR_OK)
            e = tsdb_points_read(v, &series[i], q->start_ms, q->end_ms, scratch, &p);
        if (e != ERR_OK || !p.count)
            continue;
        size_t at = begin(out, 1);
        put_labels(out, labels);
        put_points(out, &p);
        buf_put_length(out, at);
    }
    query_selector_free(selector);
    return e == ERR_OK ? e : err_set(&c->msg, e, "remote read: %s", err_text(e));
}

static enum err put_result(void *ctx, const struct web_read_query *q)
{
    struct answer *x = ctx;
    size_t at = begin(x->out, 1);
    enum err e = put_series(x, q);
    buf_put_length(x->out, at);
    return e;
}

static enum err answer(struct prom_call *c, struct tsdb_view *v, struct bytes request,
                       struct buf *out)
{
    struct answer x = {
        .c = c,
        .v = v,
        .scratch = arena_new_in(tsdb_query_budget(c->prom->opts.db), 256u << 20),
        .out = out,
    };
    enum err e = x.scratch ? web_read_request(request, c->prom->opts.external_labels, put_result,
                                              &x, &c->msg)
                           : ERR_NOMEM;
    arena_free(x.scratch);
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
