/* HTTP/2, gRPC and TLS against a real server. */
#include "base/check.h"
#include "base/clock.h"
#include "collector/net/helper_h2.h"
#include "collector/net/helper_net.h"
#include "collector/net/net_conn.h"
#include "collector/net/net_stats.h"
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#define ECHO_PATH "/test.Service/Echo"
#define GRPC "application/grpc"
#define assert_contains(text, part)                                            \
    do {                                                                       \
        if (!(text).data || !strstr((const char *)(text).data, part)) {        \
            print_error("no '%s' in:\n%s\n", part, (const char *)(text).data); \
            fail();                                                            \
        }                                                                      \
    } while (0)

static int start(void **state)
{
    *state = helper_net_start((struct net_opts){.loops = 2}, true);
    return 0;
}

static int stop(void **state)
{
    helper_net_stop(*state);
    return 0;
}

static struct helper_h2_reply *call(struct helper_h2 *c, const char *path, struct bytes framed)
{
    static const char *const te[] = {"te", "trailers", NULL};
    struct helper_h2_request r = {
        .path = path, .content_type = GRPC, .headers = te, .body = framed};
    struct helper_h2_reply *reply = helper_h2_send(c, &r);
    assert_true(helper_h2_run(c, reply, 5000));
    return reply;
}

static void a_unary_call_gets_its_message_and_status_in_trailers(void **state)
{
    struct helper_net *h = *state;
    struct helper_h2 *c = helper_h2_open(h->port[NET_OTLP_GRPC]);
    struct helper_h2_reply *r;
    struct buf frame;

    buf_init(&frame, 0);
    helper_h2_grpc_frame(&frame, false, BYTES_LIT("hello"));
    r = call(c, ECHO_PATH, buf_bytes(&frame));
    assert_int_equal(r->status, 200);
    assert_contains(r->headers, "content-type: application/grpc\n");
    assert_contains(r->trailers, "grpc-status: 0\n");
    assert_int_equal(r->body.size, 5 + 6);
    assert_memory_equal(r->body.data, "\0\0\0\0\6|hello", 11);

    r = call(c, "/test.Service/Fail", buf_bytes(&frame));
    assert_int_equal(r->status, 200);
    assert_contains(r->headers, "grpc-status: 3\n");
    assert_contains(r->headers, "grpc-message: bad: 100%25 %C3%A4%0A\n");
    assert_contains(r->headers, "grpc-status-details-bin: CAM\n");
    assert_int_equal(r->body.size, 0);

    buf_clear(&frame);
    helper_h2_grpc_frame(&frame, false, BYTES_NONE);
    r = call(c, ECHO_PATH, buf_bytes(&frame)); /* an empty message is a message */
    assert_contains(r->trailers, "grpc-status: 0\n");
    helper_h2_close(c);
    buf_done(&frame);
}

static void compressed_messages_reach_the_handler_as_they_are(void **state)
{
    static const char *const gzip[] = {"grpc-encoding", "GZIP", NULL};
    struct helper_net *h = *state;
    struct helper_h2 *c = helper_h2_open(h->port[NET_OTLP_GRPC]);
    struct helper_h2_request q = {.path = ECHO_PATH, .content_type = "application/grpc+proto"};
    struct helper_h2_reply *r;
    struct buf frame;

    buf_init(&frame, 0);
    helper_h2_grpc_frame(&frame, true, BYTES_LIT("zzz"));
    q.headers = gzip;
    q.body = buf_bytes(&frame);
    r = helper_h2_send(c, &q);
    assert_true(helper_h2_run(c, r, 5000));
    assert_int_equal(r->body.size, 5 + 8);
    assert_memory_equal(r->body.data + 5, "gzip|zzz", 8);
    q.headers = NULL; /* flagged, but no encoding named */
    r = helper_h2_send(c, &q);
    assert_true(helper_h2_run(c, r, 5000));
    assert_contains(r->headers, "grpc-status: 13\n");
    helper_h2_close(c);
    buf_done(&frame);
}

static void bad_grpc_framing_gets_a_status(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
        const char *status;
    } cases[] = {
        {"", 0, "grpc-status: 13\n"},
        {"\0\0", 2, "grpc-status: 13\n"},
        {"\0\0\0\0\5abc", 8, "grpc-status: 13\n"},
        {"\2\0\0\0\1a", 6, "grpc-status: 13\n"},
        {"\0\0\0\0\1ab", 7, "grpc-status: 12\n"},
        {"\0\0\0\0\1a\0\0\0\0\1b", 12, "grpc-status: 12\n"},
        {"\0\xff\xff\xff\xff", 5, "grpc-status: 8\n"},
        {"\0\0\x10\0\1", 5, "grpc-status: 8\n"}, /* one byte over this route's 1 MiB */
    };
    struct helper_net *h = *state;
    struct helper_h2 *c = helper_h2_open(h->port[NET_OTLP_GRPC]);

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        unsigned handled = h->handled;
        struct helper_h2_reply *r = call(c, ECHO_PATH, bytes_of(cases[i].bytes, cases[i].size));
        if (!strstr((char *)r->headers.data, cases[i].status)) {
            print_error("case %zu: %s\n", i, (char *)r->headers.data);
            fail();
        }
        assert_int_equal(h->handled, handled);
    }
    helper_h2_close(c);
}

static void a_large_message_of_many_frames_is_put_together(void **state)
{
    struct helper_net *h = *state;
    struct helper_h2 *c = helper_h2_open(h->port[NET_OTLP_GRPC]);
    size_t size = 1 << 20;
    uint8_t *data = malloc(size);
    struct helper_h2_reply *r;
    struct buf frame;

    memset(data, 'm', size);
    buf_init(&frame, 0);
    helper_h2_grpc_frame(&frame, false, bytes_of(data, size));
    r = call(c, ECHO_PATH, buf_bytes(&frame));
    assert_contains(r->trailers, "grpc-status: 0\n");
    assert_int_equal(r->body.size, size + 6);
    assert_memory_equal(r->body.data + 6, data, size);
    helper_h2_close(c);
    buf_done(&frame);
    free(data);
}

static void unknown_methods_are_unimplemented(void **state)
{
    struct helper_net *h = *state;
    struct helper_h2 *c = helper_h2_open(h->port[NET_OTLP_GRPC]);
    struct helper_h2_reply *r = call(c, "/no.Such/Method", BYTES_LIT("\0\0\0\0\0"));

    assert_int_equal(r->status, 200);
    assert_contains(r->headers, "grpc-status: 12\n");
    assert_contains(r->headers, "grpc-message: unknown gRPC method /no.Such/Method\n");
    helper_h2_close(c);
}

static void grpc_at_the_wrong_door_is_told_where_to_go(void **state)
{
    struct helper_net *h = *state;
    struct helper_h2 *c = helper_h2_open(h->port[NET_OTLP_HTTP]);
    struct helper_h2_request q = {.method = "GET", .path = "/hello"};
    struct helper_h2_reply *r = call(c, ECHO_PATH, BYTES_LIT("\0\0\0\0\0"));
    char want[64];

    snprintf(want, sizeof(want), "OTLP over gRPC goes to port %u.", h->port[NET_OTLP_GRPC]);
    assert_contains(r->headers, "grpc-status: 12\n");
    assert_contains(r->headers, want);
    helper_h2_close(c);

    c = helper_h2_open(h->port[NET_WEB]);
    r = call(c, ECHO_PATH, BYTES_LIT("\0\0\0\0\0"));
    assert_contains(r->headers, want);
    helper_h2_close(c);

    c = helper_h2_open(h->port[NET_OTLP_GRPC]);
    r = helper_h2_send(c, &q);
    assert_true(helper_h2_run(c, r, 5000));
    assert_int_equal(r->status, 415);
    assert_contains(r->body, "OTLP over HTTP goes to");
    helper_h2_close(c);
}

static void plain_requests_over_http2_reach_the_same_routes(void **state)
{
    struct helper_net *h = *state;
    struct helper_h2 *c = helper_h2_open(h->port[NET_OTLP_HTTP]);
    struct helper_h2_request q = {
        .path = "/v1/traces", .content_type = "application/json", .body = BYTES_LIT("{\"a\":1}")};
    struct helper_h2_reply *r[20];

    for (unsigned i = 0; i < 20; i++)
        r[i] = helper_h2_send(c, &q); /* all at once */
    for (unsigned i = 0; i < 20; i++) {
        assert_true(helper_h2_run(c, r[i], 5000));
        assert_int_equal(r[i]->status, 200);
        assert_string_equal((char *)r[i]->body.data, "{\"a\":1}");
    }
    q = (struct helper_h2_request){.method = "HEAD", .path = "/hello"};
    r[0] = helper_h2_send(c, &q);
    assert_true(helper_h2_run(c, r[0], 5000));
    assert_contains(r[0]->headers, "content-length: 5\n");
    assert_int_equal(r[0]->body.size, 0);
    q = (struct helper_h2_request){.method = "GET", .path = "/big"};
    r[0] = helper_h2_send(c, &q);
    assert_true(helper_h2_run(c, r[0], 5000));
    assert_int_equal(r[0]->body.size, 1 << 20);
    helper_h2_close(c);
}

static void refusals_come_before_the_body(void **state)
{
    static const char *const length[] = {"content-length", "11", NULL};
    struct helper_net *h = *state;
    struct helper_h2 *c = helper_h2_open(h->port[NET_OTLP_HTTP]);
    struct helper_h2_request q = {.path = "/secret", .no_end = true};
    struct helper_h2_reply *r = helper_h2_send(c, &q);

    assert_true(helper_h2_run(c, r, 5000)); /* the body never ends, the stream does */
    assert_int_equal(r->status, 401);
    assert_contains(r->headers, "www-authenticate: ");
    q = (struct helper_h2_request){.path = "/small", .headers = length, .no_end = true};
    r = helper_h2_send(c, &q);
    assert_true(helper_h2_run(c, r, 5000));
    assert_int_equal(r->status, 413);
    q = (struct helper_h2_request){.path = "/small", .body = BYTES_LIT("12345678901")};
    r = helper_h2_send(c, &q);
    assert_true(helper_h2_run(c, r, 5000));
    assert_int_equal(r->status, 413);
    q = (struct helper_h2_request){.path = "/small", .body = BYTES_LIT("1234567890")};
    r = helper_h2_send(c, &q);
    assert_true(helper_h2_run(c, r, 5000));
    assert_int_equal(r->status, 200); /* the connection lives on */
    helper_h2_close(c);
}

static void the_host_is_checked_over_http2_too(void **state)
{
    struct helper_net *h = *state;
    struct helper_h2 *c = helper_h2_open(h->port[NET_WEB]);
    struct helper_h2_request q = {
        .method = "GET", .path = "/hello", .authority = "evil.example:4320"};
    struct helper_h2_reply *r = helper_h2_send(c, &q);

    assert_true(helper_h2_run(c, r, 5000));
    assert_int_equal(r->status, 421);
    helper_h2_close(c);
}

static void too_many_headers_are_431(void **state)
{
    struct helper_net *h = *state;
    struct helper_h2 *c = helper_h2_open(h->port[NET_WEB]);
    const char *headers[2 * 150 + 1];
    struct helper_h2_request q = {.method = "GET", .path = "/hello", .headers = headers};
    struct helper_h2_reply *r;

    for (unsigned i = 0; i < 150; i++) {
        headers[2 * i] = "x-a";
        headers[2 * i + 1] = "b";
    }
    headers[300] = NULL;
    r = helper_h2_send(c, &q);
    assert_true(helper_h2_run(c, r, 5000));
    assert_int_equal(r->status, 431);
    helper_h2_close(c);
}

static bool is_held(void *ctx)
{
    struct helper_net *h = ctx;
    return atomic_load(&h->held) != NULL;
}

static bool is_cancelled(void *ctx)
{
    return atomic_load(net_request_cancelled(ctx));
}

static void a_reset_stream_cancels_its_request_only(void **state)
{
    struct helper_net *h = *state;
    struct helper_h2 *c = helper_h2_open(h->port[NET_WEB]);
    struct helper_h2_request q = {.method = "GET", .path = "/hold"};
    struct helper_h2_reply *r = helper_h2_send(c, &q), *other;
    struct net_request *req;

    helper_h2_flush(c);
    assert_true(helper_net_wait(is_held, h, 3000));
    req = atomic_exchange(&h->held, NULL);
    nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, r->stream_id, NGHTTP2_CANCEL);
    helper_h2_flush(c);
    assert_true(helper_net_wait(is_cancelled, req, 3000));
    net_reply_text(req, 200, "text/plain", BYTES_LIT("nobody"));
    q.path = "/hello";
    other = helper_h2_send(c, &q);
    assert_true(helper_h2_run(c, other, 5000));
    assert_int_equal(other->status, 200);
    helper_h2_close(c);
}

static bool has_stream(void *ctx)
{
    struct helper_net *h = ctx;
    return atomic_load(&h->stream) != NULL;
}

static bool stream_is_shut(void *ctx)
{
    return !net_stream_is_open(ctx);
}

static void streams_work_over_http2(void **state)
{
    struct helper_net *h = *state;
    struct helper_h2 *c = helper_h2_open(h->port[NET_WEB]);
    struct helper_h2_request q = {.method = "GET", .path = "/events"};
    struct helper_h2_reply *r = helper_h2_send(c, &q);
    struct net_stream *s;

    helper_h2_flush(c);
    assert_true(helper_net_wait(has_stream, h, 3000));
    s = atomic_exchange(&h->stream, NULL);
    assert_int_equal(net_stream_send(s, BYTES_LIT("data: 1\n\n")), ERR_OK);
    helper_h2_run(c, r, 100);
    assert_contains(r->body, "retry: 9\n\ndata: 1\n\n");
    assert_false(r->closed);
    assert_int_equal(net_stream_send(s, BYTES_LIT("data: 2\n\n")), ERR_OK);
    net_stream_end(s);
    assert_true(helper_h2_run(c, r, 3000));
    assert_contains(r->body, "data: 1\n\ndata: 2\n\n");

    r = helper_h2_send(c, &q);
    helper_h2_flush(c);
    assert_true(helper_net_wait(has_stream, h, 3000));
    s = atomic_exchange(&h->stream, NULL);
    nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, r->stream_id, NGHTTP2_CANCEL);
    helper_h2_flush(c);
    assert_true(helper_net_wait(stream_is_shut, s, 3000));
    net_stream_end(s);
    helper_h2_close(c);
}

/* --- abuse ------------------------------------------------------------------------------------ */

static void rapid_resets_end_in_goaway(void **state)
{
    struct helper_net *h = *state;
    int64_t before = net_stats_refused_count(NET_REFUSED_H2_FLOOD);
    struct helper_h2 *c = helper_h2_open(h->port[NET_OTLP_GRPC]);
    struct helper_h2_request q = {.path = ECHO_PATH, .content_type = GRPC, .no_end = true};

    helper_h2_run(c, NULL, 50);
    for (int i = 0; i < 250; i++) {
        struct helper_h2_reply *r = helper_h2_send(c, &q);
        helper_h2_flush(c);
        nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, r->stream_id, NGHTTP2_CANCEL);
        helper_h2_flush(c);
    }
    assert_true(helper_h2_run(c, NULL, 3000));
    assert_int_equal(c->goaway, NGHTTP2_ENHANCE_YOUR_CALM + 1);
    assert_int_equal(net_stats_refused_count(NET_REFUSED_H2_FLOOD), before + 1);
    helper_h2_close(c);
}

static void preface(struct buf *out)
{
    buf_append(out, NGHTTP2_CLIENT_MAGIC, NGHTTP2_CLIENT_MAGIC_LEN);
    buf_append(out, "\0\0\0\4\0\0\0\0\0", 9);
}

static void frame(struct buf *out, uint32_t size, uint8_t type, uint8_t flags, uint32_t id,
                  const char *payload)
{
    uint8_t head[9] = {
        (uint8_t)(size >> 16), (uint8_t)(size >> 8), (uint8_t)size,      type,       flags,
        (uint8_t)(id >> 24),   (uint8_t)(id >> 16),  (uint8_t)(id >> 8), (uint8_t)id};
    buf_append(out, head, 9);
    buf_append(out, payload, size);
}

static void control_floods_end_the_connection(void **state)
{
    /* type, flags, stream, payload of 8 */
    static const struct {
        uint8_t type, flags;
        uint32_t size, stream;
        const char *payload;
    } kinds[] = {
        {NGHTTP2_PING, 0, 8, 0, "12345678"},
        {NGHTTP2_SETTINGS, 0, 6, 0, "\0\3\0\0\0\1"},
        {NGHTTP2_PRIORITY, 0, 5, 3, "\0\0\0\0\1"},
        {NGHTTP2_WINDOW_UPDATE, 0, 4, 0, "\0\0\0\1"},
    };
    struct helper_net *h = *state;

    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        int64_t before = net_stats_refused_count(NET_REFUSED_H2_FLOOD);
        int fd = helper_net_connect(h->port[NET_OTLP_HTTP]);
        struct buf out, in;
        buf_init(&out, 0);
        buf_init(&in, 0);
        preface(&out);
        for (int k = 0; k < 2000; k++)
            frame(&out, kinds[i].size, kinds[i].type, kinds[i].flags, kinds[i].stream,
                  kinds[i].payload);
        helper_net_send_bytes(fd, buf_bytes(&out));
        if (!helper_net_read_all(fd, &in, 3000) ||
            net_stats_refused_count(NET_REFUSED_H2_FLOOD) == before) {
            print_error("flood %zu goes on\n", i);
            fail();
        }
        close(fd);
        buf_done(&out);
        buf_done(&in);
    }
}

static void broken_http2_closes_the_connection(void **state)
{
    static const struct {
        uint8_t type, flags;
        uint32_t size, stream;
        const char *payload;
    } kinds[] = {
        {NGHTTP2_DATA, 0, 1, 1, "x"}, /* idle stream */
        {NGHTTP2_HEADERS, 4, 3, 2, "\x82\x86\x84"}, /* even stream id */
        {NGHTTP2_HEADERS, 4, 2, 1, "\xff\xff"}, /* HPACK index out of range */
        {NGHTTP2_PING, 0, 7, 0, "1234567"},
        {NGHTTP2_WINDOW_UPDATE, 0, 4, 0, "\0\0\0\0"},
        {NGHTTP2_PUSH_PROMISE, 4, 4, 1, "\0\0\0\2"},
        {NGHTTP2_CONTINUATION, 4, 1, 1, "\x82"},
    };
    struct helper_net *h = *state;

    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        int fd = helper_net_connect(h->port[NET_OTLP_HTTP]);
        struct buf out, in;
        buf_init(&out, 0);
        buf_init(&in, 0);
        preface(&out);
        frame(&out, kinds[i].size, kinds[i].type, kinds[i].flags, kinds[i].stream,
              kinds[i].payload);
        helper_net_send_bytes(fd, buf_bytes(&out));
        if (!helper_net_read_all(fd, &in, 3000)) {
            print_error("case %zu stays open\n", i);
            fail();
        }
        close(fd);
        buf_done(&out);
        buf_done(&in);
    }
}

/* A request's header block, literals without indexing. */
static void header_block(struct buf *out, const char *method, const char *path)
{
    const char *nv[] = {":method", method, ":scheme",    "http",
                        ":path",   path,   ":authority", "localhost"};
    for (size_t i = 0; i < ARRAY_LEN(nv); i += 2) {
        buf_u8(out, 0);
        buf_u8(out, (uint8_t)strlen(nv[i]));
        buf_str(out, nv[i]);
        buf_u8(out, (uint8_t)strlen(nv[i + 1]));
        buf_str(out, nv[i + 1]);
    }
}

/* Sends, and expects the end of the connection within 3 s. */
static void expect_end(unsigned port, struct buf *out, const char *what)
{
    int fd = helper_net_connect(port);
    struct buf in;

    buf_init(&in, 0);
    helper_net_send_bytes(fd, buf_bytes(out));
    if (!helper_net_read_all(fd, &in, 3000)) {
        print_error("%s: the connection stays open\n", what);
        fail();
    }
    close(fd);
    buf_done(&in);
}

static void resets_that_the_client_provokes_count_as_its_own(void **state)
{
    struct helper_net *h = *state;
    int64_t before = net_stats_refused_count(NET_REFUSED_H2_FLOOD);
    struct buf out, block;

    buf_init(&out, 0);
    buf_init(&block, 0);
    header_block(&block, "GET", "/hello");
    preface(&out);
    for (uint32_t id = 1; id < 1000;
         id += 2) { /* the window overflows: the server must reset the stream */
        frame(&out, (uint32_t)block.size, NGHTTP2_HEADERS, 5, id, (char *)block.data);
        frame(&out, 4, NGHTTP2_WINDOW_UPDATE, 0, id, "\x7f\xff\xff\xff");
    }
    expect_end(h->port[NET_OTLP_HTTP], &out, "provoked resets");
    assert_true(net_stats_refused_count(NET_REFUSED_H2_FLOOD) > before);
    buf_done(&out);
    buf_done(&block);
}

static void endless_continuations_end_the_connection(void **state)
{
    struct helper_net *h = *state;
    struct buf out, block;

    buf_init(&out, 0);
    buf_init(&block, 0);
    header_block(&block, "GET", "/hello");
    preface(&out);
    frame(&out, (uint32_t)block.size, NGHTTP2_HEADERS, 1, 1, (char *)block.data);
    for (int i = 0; i < 5000; i++)
        frame(&out, 0, NGHTTP2_CONTINUATION, 0, 1, "");
    expect_end(h->port[NET_OTLP_HTTP], &out, "continuations");
    buf_done(&out);
    buf_done(&block);
}

static void empty_data_floods_end_the_connection(void **state)
{
    struct helper_net *h = *state;
    struct buf out, block;

    buf_init(&out, 0);
    buf_init(&block, 0);
    header_block(&block, "POST", "/echo");
    preface(&out);
    frame(&out, (uint32_t)block.size, NGHTTP2_HEADERS, 4, 1, (char *)block.data);
    for (int i = 0; i < 2000; i++)
        frame(&out, 0, NGHTTP2_DATA, 0, 1, "");
    expect_end(h->port[NET_OTLP_HTTP], &out, "empty data");
    buf_done(&out);
    buf_done(&block);
}

static void a_header_bomb_is_refused(void **state)
{
    struct helper_net *h = *state;
    unsigned handled = h->handled;
    struct buf out, block, in;
    int fd = helper_net_connect(h->port[NET_OTLP_HTTP]);

    buf_init(&out, 0);
    buf_init(&in, 0);
    buf_init(&block, 0);
    header_block(&block, "GET", "/hello");
    buf_append(&block, "\x40\x03x-a\x7f\xa1\x1e",
               8); /* into the table: a value of 127 + 3873 bytes */
    for (int i = 0; i < 4000; i++)
        buf_u8(&block, 'v');
    for (int i = 0; i < 5000; i++)
        buf_u8(&block, 0xbe); /* 5,000 times the newest entry: 20 MB */
    preface(&out);
    frame(&out, (uint32_t)block.size, NGHTTP2_HEADERS, 5, 1, (char *)block.data);
    helper_net_send_bytes(fd, buf_bytes(&out));
    helper_net_read_all(fd, &in, 300);
    assert_int_equal(h->handled, handled);
    assert_true(in.size < 4096);
    assert_int_equal(
        helper_net_status(h->port[NET_WEB], "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n", NULL),
        200);
    close(fd);
    buf_done(&out);
    buf_done(&in);
    buf_done(&block);
}

/* --- TLS -------------------------------------------------------------------------------------- */

static void write_certificate(const char *cert_file, const char *key_file, const char *name)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    FILE *f;

    CHECK(key && x);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -60);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                               (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    X509_sign(x, key, EVP_sha256());
    f = fopen(cert_file, "w");
    CHECK(f);
    PEM_write_X509(f, x);
    fclose(f);
    f = fopen(key_file, "w");
    CHECK(f);
    PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
    fclose(f);
    X509_free(x);
    EVP_PKEY_free(key);
}

static SSL *tls_connect(SSL_CTX *ctx, int fd, const char *alpn, size_t alpn_size)
{
    SSL *ssl = SSL_new(ctx);
    CHECK(ssl);
    SSL_set_fd(ssl, fd);
    SSL_set_alpn_protos(ssl, (const unsigned char *)alpn, (unsigned)alpn_size);
    if (SSL_connect(ssl) != 1) {
        SSL_free(ssl);
        return NULL;
    }
    return ssl;
}

static void certificate_name(SSL *ssl, char *out, int size)
{
    X509 *x = SSL_get1_peer_certificate(ssl);
    X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, out, size);
    X509_free(x);
}

struct tls_files {
    char dir[64], cert[96], key[96];
};

static void make_files(struct tls_files *f)
{
    snprintf(f->dir, sizeof(f->dir), "/tmp/telltale-net-XXXXXX");
    CHECK(mkdtemp(f->dir));
    snprintf(f->cert, sizeof(f->cert), "%s/cert.pem", f->dir);
    snprintf(f->key, sizeof(f->key), "%s/key.pem", f->dir);
    write_certificate(f->cert, f->key, "first");
}

static void remove_files(struct tls_files *f)
{
    unlink(f->cert);
    unlink(f->key);
    rmdir(f->dir);
}

static struct helper_net *start_tls(struct tls_files *f)
{
    make_files(f);
    return helper_net_start((struct net_opts){.loops = 1,
                                              .tls_cert_file = f->cert,
                                              .tls_key_file = f->key,
                                              .tls_doors = NET_DOORS_ALL},
                            false);
}

static void tls_carries_http1_and_grpc(void **state)
{
    struct tls_files f;
    struct helper_net *h = start_tls(&f);
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    int fd = helper_net_connect(h->port[NET_WEB]), n;
    SSL *ssl = tls_connect(ctx, fd, "\x08http/1.1", 9);
    char text[1024] = "";
    struct helper_h2 *c;
    struct helper_h2_reply *r;
    struct helper_h2_request q = {.method = "GET", .path = "/big"};

    assert_non_null(ssl);
    SSL_write(ssl, "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n", 40);
    n = SSL_read(ssl, text, sizeof(text) - 1);
    assert_true(n > 0);
    assert_non_null(strstr(text, "\r\n\r\nhello"));
    SSL_free(ssl);
    close(fd);

    fd = helper_net_connect(h->port[NET_OTLP_GRPC]);
    ssl = tls_connect(ctx, fd, "\x02h2", 3);
    assert_non_null(ssl);
    c = helper_h2_open_fd(fd, ssl);
    r = call(c, ECHO_PATH, BYTES_LIT("\0\0\0\0\2hi"));
    assert_contains(r->trailers, "grpc-status: 0\n");
    assert_memory_equal(r->body.data + 5, "|hi", 3);
    helper_h2_close(c);

    fd = helper_net_connect(h->port[NET_WEB]);
    ssl = tls_connect(ctx, fd, "\x02h2\x08http/1.1", 12);
    c = helper_h2_open_fd(fd, ssl);
    r = helper_h2_send(c, &q);
    assert_true(helper_h2_run(c, r, 5000));
    assert_int_equal(r->body.size, 1 << 20);
    helper_h2_close(c);
    SSL_CTX_free(ctx);
    helper_net_stop(h);
    remove_files(&f);
}

static void old_tls_is_refused(void **state)
{
    struct tls_files f;
    struct helper_net *h = start_tls(&f);
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    int64_t before = net_stats_refused_count(NET_REFUSED_TLS_HANDSHAKE);
    int fd = helper_net_connect(h->port[NET_WEB]);

    SSL_CTX_set_security_level(ctx, 0);
    SSL_CTX_set_min_proto_version(ctx, TLS1_1_VERSION);
    SSL_CTX_set_max_proto_version(ctx, TLS1_1_VERSION);
    assert_null(tls_connect(ctx, fd, "\x02h2", 3));
    close(fd);
    assert_int_equal(net_stats_refused_count(NET_REFUSED_TLS_HANDSHAKE), before + 1);
    SSL_CTX_free(ctx);
    helper_net_stop(h);
    remove_files(&f);
}

static void plaintext_to_a_tls_port_gets_a_sentence(void **state)
{
    struct tls_files f;
    struct helper_net *h = start_tls(&f);
    struct buf b;

    buf_init(&b, 0);
    assert_int_equal(helper_net_status(h->port[NET_OTLP_HTTP],
                                       "POST /v1/traces HTTP/1.1\r\nHost: a\r\n\r\n", &b),
                     400);
    assert_contains(b, "This port speaks TLS");
    buf_done(&b);
    helper_net_stop(h);
    remove_files(&f);
}

static void a_new_certificate_is_taken_and_a_broken_one_is_not(void **state)
{
    struct tls_files f;
    struct helper_net *h = start_tls(&f);
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    struct err_msg msg = {""};
    char name[64];
    FILE *file;
    int64_t failures;

    for (int round = 0; round < 3; round++) {
        int fd = helper_net_connect(h->port[NET_WEB]);
        SSL *ssl = tls_connect(ctx, fd, "\x08http/1.1", 9);
        assert_non_null(ssl);
        certificate_name(ssl, name, sizeof(name));
        assert_string_equal(name, round == 0 ? "first" : "second");
        SSL_free(ssl);
        close(fd);
        if (round == 0) {
            write_certificate(f.cert, f.key, "second");
            assert_int_equal(net_reload(h->net, &msg), ERR_OK);
        } else {
            failures = net_stats_count(NET_COUNTED_TLS_RELOAD_FAILURES);
            file = fopen(f.cert, "w");
            fputs("not a certificate\n", file);
            fclose(file);
            assert_int_equal(net_reload(h->net, &msg), ERR_INVALID);
            assert_non_null(strstr(msg.text, f.cert));
            assert_int_equal(net_stats_count(NET_COUNTED_TLS_RELOAD_FAILURES), failures + 1);
        }
    }
    SSL_CTX_free(ctx);
    helper_net_stop(h);
    remove_files(&f);
}

static void changed_files_are_noticed_by_the_watch(void **state)
{
    struct tls_files f;
    struct net_tls_ctx *ctx = NULL;
    struct err_msg msg = {""};
    int64_t before = net_stats_count(NET_COUNTED_TLS_RELOADS);

    make_files(&f);
    assert_int_equal(net_tls_ctx_new(f.cert, f.key, &ctx, &msg), ERR_OK);
    net_tls_ctx_watch(ctx);
    assert_int_equal(net_stats_count(NET_COUNTED_TLS_RELOADS), before);
    write_certificate(f.cert, f.key, "second");
    net_tls_ctx_watch(ctx);
    net_tls_ctx_watch(ctx);
    assert_int_equal(net_stats_count(NET_COUNTED_TLS_RELOADS), before + 1);
    net_tls_ctx_free(ctx);
    remove_files(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_unary_call_gets_its_message_and_status_in_trailers),
        cmocka_unit_test(compressed_messages_reach_the_handler_as_they_are),
        cmocka_unit_test(bad_grpc_framing_gets_a_status),
        cmocka_unit_test(a_large_message_of_many_frames_is_put_together),
        cmocka_unit_test(unknown_methods_are_unimplemented),
        cmocka_unit_test(grpc_at_the_wrong_door_is_told_where_to_go),
        cmocka_unit_test(plain_requests_over_http2_reach_the_same_routes),
        cmocka_unit_test(refusals_come_before_the_body),
        cmocka_unit_test(the_host_is_checked_over_http2_too),
        cmocka_unit_test(too_many_headers_are_431),
        cmocka_unit_test(a_reset_stream_cancels_its_request_only),
        cmocka_unit_test(streams_work_over_http2),
        cmocka_unit_test(rapid_resets_end_in_goaway),
        cmocka_unit_test(control_floods_end_the_connection),
        cmocka_unit_test(broken_http2_closes_the_connection),
        cmocka_unit_test(resets_that_the_client_provokes_count_as_its_own),
        cmocka_unit_test(endless_continuations_end_the_connection),
        cmocka_unit_test(empty_data_floods_end_the_connection),
        cmocka_unit_test(a_header_bomb_is_refused),
        cmocka_unit_test(tls_carries_http1_and_grpc),
        cmocka_unit_test(old_tls_is_refused),
        cmocka_unit_test(plaintext_to_a_tls_port_gets_a_sentence),
        cmocka_unit_test(a_new_certificate_is_taken_and_a_broken_one_is_not),
        cmocka_unit_test(changed_files_are_noticed_by_the_watch),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
