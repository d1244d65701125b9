/* The ingest path over real sockets with a store that does as the test says: every answer, and when it is given. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <pthread.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/http_client.h"
#include "base/zip.h"
#include "collector/collector.h"
#include "collector/net/helper_h2.h"
#include "collector/otlp/otlp.h"
#include "otlp.pb-c.h"
#include "remote_write.pb-c.h"
#include "rpc_status.pb-c.h"

/* --- the store ------------------------------------------------------------------------------------ */

enum fake_mode { FAKE_STORE, FAKE_HOLD, FAKE_REFUSE, FAKE_FAIL, FAKE_REPEAT };

struct tsdb {
    struct tsdb_registry *series;
    _Atomic int mode;
    _Atomic enum err error;
    _Atomic unsigned appended;
    _Atomic uint64_t rows;
    _Atomic int expected; /* begin - end */
    pthread_t appender; /* thread of the last append */
    pthread_mutex_t lock;
    struct tsdb_batch *held;
    tsdb_append_done held_done;
    void *held_ctx;
};
static struct tsdb fake = {.lock = PTHREAD_MUTEX_INITIALIZER};

struct tsdb_registry *tsdb_series(struct tsdb *db)
{
    return db->series;
}

int64_t tsdb_retention_floor_ms(const struct tsdb *db)
{
    return clock_wall_ms() - INT64_C(30) * 86400000;
}

void tsdb_expect_begin(struct tsdb *db)
{
    db->expected++;
}

void tsdb_expect_end(struct tsdb *db)
{
    db->expected--;
}

static void finish(struct tsdb_batch *b, tsdb_append_done done, void *ctx, enum err e)
{
    struct tsdb_result r = {.stored = b->received - tsdb_batch_rejected(b),
                            .rejected = tsdb_batch_rejected(b),
                            .reject_msg = b->reject_msg};
    done(ctx, e, &r);
    tsdb_batch_free(b);
}

enum err tsdb_append(struct tsdb *db, struct tsdb_batch **take_batch, tsdb_append_done done,
                     void *ctx)
{
    struct tsdb_batch *b = *take_batch;
    CHECK(db->expected > 0); /* the commit knows of every request that is being decoded */
    db->appended++;
    db->appender = pthread_self();
    if (db->mode == FAKE_REFUSE)
        return db->error;
    *take_batch = NULL;
    db->rows +=
        b->spans.count + b->logs.count + b->samples.count + b->hists.count + b->tokens.count;
    if (db->mode == FAKE_HOLD) {
        pthread_mutex_lock(&db->lock);
        db->held = b;
        db->held_done = done;
        db->held_ctx = ctx;
        pthread_mutex_unlock(&db->lock);
    } else if (db->mode == FAKE_REPEAT) {
        struct tsdb_result r = {.repeated_request = true, .rejected = 7, .reject_msg = {"seven"}};
        done(ctx, ERR_OK, &r);
        tsdb_batch_free(b);
    } else {
        finish(b, done, ctx, db->mode == FAKE_FAIL ? db->error : ERR_OK);
    }
    return ERR_OK;
}

static void fake_set(enum fake_mode mode, enum err error)
{
    fake.error = error;
    fake.mode = (int)mode;
    fake.rows = 0;
    fake.appended = 0;
}

/* --- the server ----------------------------------------------------------------------------------- */

struct server {
    struct net *net;
    struct collector *collector;
    struct http_client *client;
    unsigned grpc, http, web;
};

static int start(void **state)
{
    struct server *s = calloc(1, sizeof(*s));
    struct err_msg msg;
    struct net_opts opts = {.loops = 1};
    assert_non_null(s);
    fake.series = tsdb_registry_new(0);
    s->net = net_new(&opts);
    struct collector_options co = {.db = &fake};
    assert_int_equal(collector_new(&co, &s->collector, &msg), ERR_OK);
    assert_int_equal(collector_routes(s->collector, s->net), ERR_OK);
    assert_int_equal(net_listen(s->net, NET_OTLP_GRPC, "127.0.0.1:0", &s->grpc, &msg), ERR_OK);
    assert_int_equal(net_listen(s->net, NET_OTLP_HTTP, "127.0.0.1:0", &s->http, &msg), ERR_OK);
    assert_int_equal(net_listen(s->net, NET_WEB, "127.0.0.1:0", &s->web, &msg), ERR_OK);
    assert_int_equal(net_start(s->net, &msg), ERR_OK);
    s->client = http_client_new();
    *state = s;
    return 0;
}

static int stop(void **state)
{
    struct server *s = *state;
    http_client_free(s->client);
    assert_int_equal(net_stop(s->net, 2000), 0);
    collector_free(s->collector);
    assert_int_equal(fake.expected, 0);
    net_free(s->net);
    tsdb_registry_free(fake.series);
    free(s);
    return 0;
}

struct answer {
    int status;
    int64_t retry_after_s;
    char type[128];
    struct buf body; /* NUL behind its end */
};

static void answer_done(struct answer *a)
{
    buf_done(&a->body);
}

static struct answer post(struct server *s, unsigned port, const char *path, const char *type,
                          const char *encoding, struct bytes body)
{
    char url[128], type_line[256], encoding_line[128];
    snprintf(url, sizeof(url), "http://127.0.0.1:%u%s", port, path);
    snprintf(type_line, sizeof(type_line), type ? "Content-Type: %s" : "Content-Type:%s",
             type ? type : "");
    snprintf(encoding_line, sizeof(encoding_line), "Content-Encoding: %s",
             encoding ? encoding : "");
    const char *headers[] = {type_line, encoding ? encoding_line : NULL, NULL};
    struct http_client_request q = {.method = "POST",
                                    .url = url,
                                    .headers = headers,
                                    .body = body,
                                    .timeout_ms = 20000,
                                    .response_max = 1 << 20};
    struct http_client_response r;
    struct err_msg msg = {""};
    if (http_client_send(s->client, &q, &r, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    struct answer a = {.status = r.status, .retry_after_s = r.retry_after_s, .body = r.body};
    memcpy(a.type, r.content_type, sizeof(a.type));
    buf_u8(&a.body, 0);
    a.body.size--;
    return a;
}

static void expect(struct server *s, const char *path, const char *type, const char *encoding,
                   struct bytes body, int status, const char *text)
{
    struct answer a = post(s, s->http, path, type, encoding, body);
    if (a.status != status || (text && !strstr((char *)a.body.data, text)))
        fail_msg("%s %s: %d %s", path, type, a.status, (char *)a.body.data);
    answer_done(&a);
}

#define JSON "application/json"
#define PROTO "application/x-protobuf"

/* n spans, the first `bad` of them with an id that cannot be. */
static struct bytes spans(unsigned n, unsigned bad, struct buf *out)
{
    Otlp__Span *span = calloc(n, sizeof(*span)), **list = calloc(n, sizeof(*list));
    Otlp__ScopeSpans ss = OTLP__SCOPE_SPANS__INIT, *sss[] = {&ss};
    Otlp__ResourceSpans rs = OTLP__RESOURCE_SPANS__INIT, *rss[] = {&rs};
    Otlp__ExportTraceServiceRequest m = OTLP__EXPORT_TRACE_SERVICE_REQUEST__INIT;
    uint64_t now = (uint64_t)clock_wall_ns();
    assert_true(span && list);
    for (unsigned i = 0; i < n; i++) {
        list[i] = &span[i];
        otlp__span__init(&span[i]);
        span[i].trace_id = (ProtobufCBinaryData){i < bad ? 3 : 16, (uint8_t *)"0123456789abcdef"};
        span[i].span_id = (ProtobufCBinaryData){8, (uint8_t *)"01234567"};
        span[i].name = (char *)"chat";
        span[i].start_time_unix_nano = now - 1000;
        span[i].end_time_unix_nano = now;
    }
    ss.spans = list;
    ss.n_spans = n;
    rs.scope_spans = sss;
    m.resource_spans = rss;
    rs.n_scope_spans = m.n_resource_spans = 1;
    size_t size = otlp__export_trace_service_request__get_packed_size(&m);
    buf_init(out, 0);
    assert_true(buf_reserve(out, size));
    out->size = otlp__export_trace_service_request__pack(&m, out->data);
    free(span);
    free(list);
    return buf_bytes(out);
}

static struct bytes zip(enum zip_kind kind, struct bytes in, struct buf *out)
{
    buf_init(out, 0);
    assert_int_equal(zip_deflate(kind, 3, in, out), ERR_OK);
    return buf_bytes(out);
}

/* --- OTLP/HTTP ------------------------------------------------------------------------------------ */

static void every_compression_is_understood(void **state)
{
    struct server *s = *state;
    static const struct {
        const char *name;
        enum zip_kind kind;
    } kinds[] = {{"gzip", ZIP_GZIP}, {"zstd", ZIP_ZSTD}, {"deflate", ZIP_ZLIB}, {"GZIP", ZIP_GZIP}};
    struct buf plain, packed;
    spans(3, 0, &plain);
    fake_set(FAKE_STORE, ERR_OK);
    struct answer a = post(s, s->http, "/v1/traces", PROTO, NULL, buf_bytes(&plain));
    assert_int_equal(a.status, 200);
    assert_int_equal(a.body.size, 0);
    assert_string_equal(a.type, PROTO);
    answer_done(&a);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        zip(kinds[i].kind, buf_bytes(&plain), &packed);
        expect(s, "/v1/traces", "application/X-Protobuf; charset=utf-8", kinds[i].name,
               buf_bytes(&packed), 200, NULL);
        buf_done(&packed);
    }
    assert_int_equal(fake.rows, 3 * (1 + ARRAY_LEN(kinds)));
    buf_done(&plain);
}

static void json_is_answered_in_json(void **state)
{
    struct server *s = *state;
    fake_set(FAKE_STORE, ERR_OK);
    struct answer a = post(s, s->http, "/v1/logs", JSON, NULL,
                           BYTES_LIT("{\"resourceLogs\":[{\"scopeLogs\":[{\"logRecords\":["
                                     "{\"body\":{\"stringValue\":\"hello\"}}]}]}]}"));
    assert_int_equal(a.status, 200);
    assert_string_equal(a.type, JSON);
    assert_string_equal((char *)a.body.data, "{}");
    assert_int_equal(fake.rows, 1);
    answer_done(&a);
    expect(s, "/v1/metrics", JSON, NULL, BYTES_LIT("{}"), 200, "{}"); /* empty: success */
    expect(s, "/v1/metrics", PROTO, NULL, BYTES_NONE, 200, NULL);
    assert_int_equal(fake.appended, 1);
}

static void token_events_are_answered_as_otlp_is(void **state)
{
    struct server *s = *state;
    char body[256];
    struct buf plain = {0}, packed;
    fake_set(FAKE_STORE, ERR_OK);
    snprintf(body, sizeof body,
             "{\"request_id\":\"r\",\"events\":[{\"time_unix_nano\":%lld},{\"kind\":\"end\"}]}",
             (long long)clock_wall_ns());
    expect(s, "/v1/tokens", JSON, NULL, bytes_str(body), 200, "\"rejectedEvents\":\"1\"");
    assert_int_equal(fake.rows, 1);
    buf_str(&plain, body);
    zip(ZIP_GZIP, buf_bytes(&plain), &packed);
    expect(s, "/v1/tokens", JSON, "gzip", buf_bytes(&packed), 200, "rejectedEvents");
    assert_int_equal(fake.rows, 2);
    buf_done(&packed);
    buf_done(&plain);
    expect(s, "/v1/tokens", PROTO, NULL, BYTES_NONE, 200, NULL); /* empty: success */
    assert_int_equal(fake.appended, 2);
    expect(s, "/v1/tokens", "text/plain", NULL, BYTES_LIT("x"), 415, "415 unsupported");
    expect(s, "/v1/tokens", JSON, NULL, BYTES_LIT("{\"events\":1}"), 400, "{\"code\":3,");
    expect(s, "/v1/tokens", PROTO, NULL, BYTES_LIT("\x0a\x05"), 400, NULL);
    fake_set(FAKE_REFUSE, ERR_UNAVAILABLE);
    struct answer a = post(s, s->http, "/v1/tokens", JSON, NULL, bytes_str(body));
    assert_int_equal(a.status, 503);
    answer_done(&a);
}

static void refused_rows_are_reported_and_the_rest_is_stored(void **state)
{
    struct server *s = *state;
    struct buf body;
    spans(5, 2, &body);
    fake_set(FAKE_STORE, ERR_OK);
    struct answer a = post(s, s->http, "/v1/traces", PROTO, NULL, buf_bytes(&body));
    assert_int_equal(a.status, 200);
    Otlp__ExportTraceServiceResponse *r =
        otlp__export_trace_service_response__unpack(NULL, a.body.size, a.body.data);
    assert_non_null(r);
    assert_int_equal(r->partial_success->rejected_spans, 2);
    assert_string_equal(r->partial_success->error_message,
                        "span \"chat\": trace id must be 16 bytes, not all zero");
    otlp__export_trace_service_response__free_unpacked(r, NULL);
    assert_int_equal(fake.rows, 3);
    answer_done(&a);
    fake_set(FAKE_REPEAT, ERR_OK); /* the answer of the first time */
    a = post(s, s->http, "/v1/traces", PROTO, NULL, buf_bytes(&body));
    r = otlp__export_trace_service_response__unpack(NULL, a.body.size, a.body.data);
    assert_int_equal(r->partial_success->rejected_spans, 7);
    assert_string_equal(r->partial_success->error_message, "seven");
    otlp__export_trace_service_response__free_unpacked(r, NULL);
    answer_done(&a);
    buf_done(&body);
}

static void bad_requests_are_named_in_their_own_encoding(void **state)
{
    struct server *s = *state;
    fake_set(FAKE_STORE, ERR_OK);
    static const char media[] =
        "415 unsupported media type, supported: [application/json, application/x-protobuf]";
    expect(s, "/v1/traces", "text/plain", NULL, BYTES_LIT("x"), 415, media);
    expect(s, "/v1/traces", NULL, NULL, BYTES_LIT("x"), 415, media);
    expect(s, "/v1/traces", JSON, NULL, BYTES_LIT("{\"resourceSpans\":1}"), 400, "{\"code\":3,");
    expect(s, "/v1/traces", JSON, "gzip", BYTES_LIT("{}"), 400, "{\"code\":3,");
    expect(s, "/v1/traces", JSON, "lz4", BYTES_LIT("{}"), 400, "unsupported compression");
    struct answer a = post(s, s->http, "/v1/traces", PROTO, NULL, BYTES_LIT("\x0a\x05"));
    assert_int_equal(a.status, 400);
    assert_string_equal(a.type, PROTO);
    Rpc__Status *status = rpc__status__unpack(NULL, a.body.size, a.body.data);
    assert_non_null(status);
    assert_int_equal(status->code, 3);
    assert_non_null(strstr(status->message, "resource_spans (field 1) at byte 0"));
    rpc__status__free_unpacked(status, NULL);
    answer_done(&a);
    assert_int_equal(fake.appended, 0);
}

static void bombs_end_at_64_mib(void **state)
{
    struct server *s = *state;
    static const enum zip_kind kinds[] = {ZIP_GZIP, ZIP_ZSTD, ZIP_ZLIB};
    static const char *const names[] = {"gzip", "zstd", "deflate"};
    size_t size = OTLP_BODY_MAX + 1;
    uint8_t *zeros = calloc(1, size);
    assert_non_null(zeros);
    fake_set(FAKE_STORE, ERR_OK);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct buf bomb;
        zip(kinds[i], bytes_of(zeros, size), &bomb);
        expect(s, "/v1/traces", JSON, names[i], buf_bytes(&bomb), 413,
               "{\"code\":8,\"message\":\"the body is larger than 64 MiB after decompression\"}");
        buf_done(&bomb);
    }
    free(zeros);
    assert_int_equal(fake.appended, 0);
}

static void back_pressure_asks_to_come_again(void **state)
{
    struct server *s = *state;
    static const struct {
        enum fake_mode mode;
        enum err error;
        const char *text;
    } cases[] = {
        {FAKE_REFUSE, ERR_UNAVAILABLE, "more data waits than the store can take; try again"},
        {FAKE_REFUSE, ERR_FULL, "the disk is nearly full; nothing was stored"},
        {FAKE_FAIL, ERR_IO, "the store could not take the data; try again"},
    };
    static const struct bytes log =
        BYTES_LIT("{\"resourceLogs\":[{\"scopeLogs\":[{\"logRecords\":[{}]}]}]}");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        fake_set(cases[i].mode, cases[i].error);
        struct answer a = post(s, s->http, "/v1/logs", JSON, NULL, log);
        assert_int_equal(a.status, 503);
        assert_int_equal(a.retry_after_s, 1);
        assert_non_null(strstr((char *)a.body.data, cases[i].text));
        assert_non_null(strstr((char *)a.body.data, "\"retryDelay\":\"1s\""));
        answer_done(&a);
    }
}

struct sender {
    struct server *server;
    atomic_int status;
};

static void *send_one(void *ctx)
{
    struct sender *x = ctx;
    struct server own = *x->server;
    struct buf body;
    own.client = http_client_new();
    spans(1, 0, &body);
    struct answer a = post(&own, own.http, "/v1/traces", PROTO, NULL, buf_bytes(&body));
    x->status = a.status;
    answer_done(&a);
    buf_done(&body);
    http_client_free(own.client);
    return NULL;
}

/* The promise itself: no 200 before the store says that the commit is synced. */
static void no_acknowledgement_before_the_commit(void **state)
{
    struct sender x = {.server = *state};
    pthread_t thread;
    struct tsdb_batch *b = NULL;
    fake_set(FAKE_HOLD, ERR_OK);
    assert_int_equal(pthread_create(&thread, NULL, send_one, &x), 0);
    for (int i = 0; i < 500 && !b; i++) {
        clock_sleep_ms(10);
        pthread_mutex_lock(&fake.lock);
        b = fake.held;
        pthread_mutex_unlock(&fake.lock);
    }
    assert_non_null(b);
    clock_sleep_ms(100);
    assert_int_equal(x.status, 0);
    fake.held = NULL;
    finish(b, fake.held_done, fake.held_ctx, ERR_OK);
    pthread_join(thread, NULL);
    assert_int_equal(x.status, 200);
}

static void large_bodies_are_decoded_away_from_the_loop(void **state)
{
    struct server *s = *state;
    struct buf small, large, packed;
    spans(1, 0, &small);
    spans(40000, 0, &large);
    assert_true(large.size > COLLECTOR_INLINE_MAX);
    fake_set(FAKE_STORE, ERR_OK);
    expect(s, "/v1/traces", PROTO, NULL, buf_bytes(&small), 200, NULL);
    pthread_t loop = fake.appender;
    expect(s, "/v1/traces", PROTO, NULL, buf_bytes(&large), 200, NULL);
    assert_false(pthread_equal(loop, fake.appender));
    expect(s, "/v1/traces", PROTO, NULL, buf_bytes(&small), 200, NULL);
    assert_true(pthread_equal(loop, fake.appender));
    zip(ZIP_ZSTD, buf_bytes(&large), &packed); /* small on the wire, large within */
    assert_true(packed.size < COLLECTOR_INLINE_MAX / 8);
    expect(s, "/v1/traces", PROTO, "zstd", buf_bytes(&packed), 200, NULL);
    assert_false(pthread_equal(loop, fake.appender));
    assert_int_equal(fake.rows, 80002);
    buf_done(&small);
    buf_done(&large);
    buf_done(&packed);
}

/* --- gRPC ----------------------------------------------------------------------------------------- */

static struct helper_h2_reply *grpc(struct helper_h2 *c, const char *encoding, struct bytes message)
{
    struct buf frame;
    const char *headers[] = {"grpc-encoding", encoding, NULL};
    buf_init(&frame, 0);
    helper_h2_grpc_frame(&frame, encoding != NULL, message);
    struct helper_h2_request q = {.method = "POST",
                                  .path = "/opentelemetry.proto.collector.trace.v1.TraceService/"
                                          "Export",
                                  .content_type = "application/grpc",
                                  .headers = encoding ? headers : NULL,
                                  .body = buf_bytes(&frame)};
    struct helper_h2_reply *r = helper_h2_send(c, &q);
    assert_true(helper_h2_run(c, r, 5000));
    buf_done(&frame);
    return r;
}

static bool grpc_says(const struct helper_h2_reply *r, const char *text)
{
    return strstr((char *)r->headers.data, text) ||
           (r->trailers.data && strstr((char *)r->trailers.data, text));
}

static void grpc_export_has_its_own_statuses(void **state)
{
    struct server *s = *state;
    struct helper_h2 *c = helper_h2_open(s->grpc);
    struct buf plain, packed;
    struct helper_h2_reply *r;
    static const char *const names[] = {NULL, "gzip", "zstd", "snappy"};
    static const enum zip_kind kinds[] = {ZIP_NONE, ZIP_GZIP, ZIP_ZSTD, ZIP_SNAPPY};
    spans(4, 1, &plain);
    fake_set(FAKE_STORE, ERR_OK);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        zip(kinds[i], buf_bytes(&plain), &packed);
        r = grpc(c, names[i], buf_bytes(&packed));
        assert_true(grpc_says(r, "grpc-status: 0\n"));
        Otlp__ExportTraceServiceResponse *m =
            otlp__export_trace_service_response__unpack(NULL, r->body.size - 5, r->body.data + 5);
        assert_non_null(m);
        assert_int_equal(m->partial_success->rejected_spans, 1);
        otlp__export_trace_service_response__free_unpacked(m, NULL);
        buf_done(&packed);
    }
    assert_int_equal(fake.rows, 3 * ARRAY_LEN(names));
    assert_true(grpc_says(grpc(c, "lz4", buf_bytes(&plain)), "grpc-status: 12\n"));
    assert_true(grpc_says(grpc(c, NULL, BYTES_LIT("\x0a\x05")), "grpc-status: 3\n"));
    assert_true(grpc_says(grpc(c, "gzip", BYTES_LIT("nonsense")), "grpc-status: 3\n"));
    fake_set(FAKE_REFUSE, ERR_UNAVAILABLE);
    r = grpc(c, NULL, buf_bytes(&plain));
    assert_true(grpc_says(r, "grpc-status: 14\n"));
    assert_true(grpc_says(r, "grpc-status-details-bin: ")); /* RetryInfo */
    helper_h2_close(c);
    buf_done(&plain);
}

static uint32_t masked_crc(struct bytes b)
{
    uint32_t crc = hash_crc32c(0, b);
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

static void put_chunk(struct buf *out, uint8_t type, uint32_t crc, struct bytes data)
{
    buf_u32(out, (uint32_t)(data.size + 4) << 8 | type);
    buf_u32(out, crc);
    buf_bytes_append(out, data);
}

/* Some senders mean snappy's framing by "snappy", others the plain block. */
static void framed_snappy_is_read_and_its_checksums_are_checked(void **state)
{
    struct server *s = *state;
    struct buf plain, block, framed;
    spans(4, 0, &plain);
    size_t half = plain.size / 2;
    struct bytes one = bytes_slice(buf_bytes(&plain), 0, half),
                 two = bytes_slice(buf_bytes(&plain), half, plain.size);
    fake_set(FAKE_STORE, ERR_OK);
    static const struct {
        uint32_t wrong_crc;
        uint8_t extra_type;
        int status;
    } cases[] = {{0, 0xfe, 200}, {0, 0x99, 200}, {1, 0xfe, 400}, {0, 0x02, 400}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        buf_init(&framed, 0);
        buf_append(&framed, "\xff\x06\x00\x00sNaPpY", 10);
        zip(ZIP_SNAPPY, one, &block);
        put_chunk(&framed, 0x00, masked_crc(one) + cases[i].wrong_crc, buf_bytes(&block));
        put_chunk(&framed, cases[i].extra_type, 0, BYTES_LIT("padding"));
        put_chunk(&framed, 0x01, masked_crc(two), two);
        expect(s, "/v1/traces", PROTO, "snappy", buf_bytes(&framed), cases[i].status, NULL);
        framed.size--;
        expect(s, "/v1/traces", PROTO, "snappy", buf_bytes(&framed), 400, NULL);
        buf_done(&block);
        buf_done(&framed);
    }
    assert_int_equal(fake.rows, 8);
    buf_done(&plain);
}

/* --- remote write --------------------------------------------------------------------------------- */

static struct bytes samples(const char *name, int64_t t_ms, struct buf *out)
{
    Prom__Label l = PROM__LABEL__INIT, *ls[] = {&l};
    Prom__Sample x = PROM__SAMPLE__INIT, old = PROM__SAMPLE__INIT, *xs[] = {&x, &old};
    Prom__TimeSeries ts = PROM__TIME_SERIES__INIT, *tss[] = {&ts};
    Prom__WriteRequest m = PROM__WRITE_REQUEST__INIT;
    uint8_t packed[256];
    l.name = (char *)"__name__";
    l.value = (char *)name;
    x.timestamp = clock_wall_ms();
    old.timestamp = t_ms;
    ts.labels = ls;
    ts.samples = xs;
    m.timeseries = tss;
    ts.n_labels = m.n_timeseries = 1;
    ts.n_samples = t_ms ? 2 : 1;
    return zip(ZIP_SNAPPY, bytes_of(packed, prom__write_request__pack(&m, packed)), out);
}

static void remote_write_answers_as_its_specification_says(void **state)
{
    struct server *s = *state;
    struct buf good, part;
    samples("up", 0, &good);
    samples("up", 5, &part);
    fake_set(FAKE_STORE, ERR_OK);
    unsigned ports[] = {s->http, s->web};
    for (size_t i = 0; i < ARRAY_LEN(ports); i++) {
        struct answer a = post(s, ports[i], "/api/v1/write", PROTO, "snappy", buf_bytes(&good));
        assert_int_equal(a.status, 204);
        answer_done(&a);
    }
    assert_int_equal(fake.rows, 2);
    expect(s, "/api/v1/write", PROTO, "snappy", buf_bytes(&part), 400,
           "1 refused, the rest is stored: a sample at 5 ms is older than the retention keeps");
    assert_int_equal(fake.rows, 3);
    expect(s, "/api/v1/write", PROTO ";proto=io.prometheus.write.v2.Request", "snappy",
           buf_bytes(&good), 400, "it has fields of a 1.0 request");
    expect(s, "/api/v1/write", PROTO ";proto=io.prometheus.write.v3.Request", "snappy",
           buf_bytes(&good), 415, "remote write messages are");
    expect(s, "/api/v1/write", PROTO, NULL, buf_bytes(&good), 415, "snappy");
    expect(s, "/api/v1/write", JSON, "snappy", buf_bytes(&good), 415, PROTO);
    expect(s, "/api/v1/write", PROTO, "snappy", BYTES_LIT("\xff\xff\xff\xff\x0f"), 413, NULL);
    expect(s, "/api/v1/write", PROTO, "snappy", BYTES_LIT("\x05\x01"), 400, NULL);
    fake_set(FAKE_REFUSE, ERR_FULL);
    struct answer a = post(s, s->http, "/api/v1/write", PROTO, "snappy", buf_bytes(&good));
    assert_int_equal(a.status, 503);
    assert_int_equal(a.retry_after_s, 1);
    answer_done(&a);
    buf_done(&good);
    buf_done(&part);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_compression_is_understood, start, stop),
        cmocka_unit_test_setup_teardown(json_is_answered_in_json, start, stop),
        cmocka_unit_test_setup_teardown(token_events_are_answered_as_otlp_is, start, stop),
        cmocka_unit_test_setup_teardown(refused_rows_are_reported_and_the_rest_is_stored, start,
                                        stop),
        cmocka_unit_test_setup_teardown(bad_requests_are_named_in_their_own_encoding, start, stop),
        cmocka_unit_test_setup_teardown(bombs_end_at_64_mib, start, stop),
        cmocka_unit_test_setup_teardown(back_pressure_asks_to_come_again, start, stop),
        cmocka_unit_test_setup_teardown(no_acknowledgement_before_the_commit, start, stop),
        cmocka_unit_test_setup_teardown(large_bodies_are_decoded_away_from_the_loop, start, stop),
        cmocka_unit_test_setup_teardown(grpc_export_has_its_own_statuses, start, stop),
        cmocka_unit_test_setup_teardown(framed_snappy_is_read_and_its_checksums_are_checked, start,
                                        stop),
        cmocka_unit_test_setup_teardown(remote_write_answers_as_its_specification_says, start,
                                        stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
