/* The HTTP/1 side of the front: a real server on 127.0.0.1, raw sockets. */
#include "base/check.h"
#include "base/clock.h"
#include "collector/net/helper_net.h"
#include "collector/net/net_stats.h"
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#define HOST "Host: localhost\r\n"
#define assert_contains(text, part)                                            \
    do {                                                                       \
        if (!strstr((const char *)(text).data, part)) {                        \
            print_error("no '%s' in:\n%s\n", part, (const char *)(text).data); \
            fail();                                                            \
        }                                                                      \
    } while (0)

static struct net_opts no_opts(void)
{
    return (struct net_opts){.loops = 2};
}

static int start(void **state)
{
    *state = helper_net_start(no_opts(), true);
    return 0;
}

static int stop(void **state)
{
    helper_net_stop(*state);
    return 0;
}

static void a_connection_serves_many_requests_one_after_the_other(void **state)
{
    struct helper_net *h = *state;
    int fd = helper_net_connect(h->port[NET_WEB]);
    struct buf b;

    buf_init(&b, 0);
    for (int i = 0; i < 5; i++) {
        helper_net_send(fd, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
        assert_true(helper_net_response(fd, &b));
        assert_contains(b, "HTTP/1.1 200 OK\r\n");
        assert_contains(b, "\r\n\r\nhello");
        assert_contains(b, "x-peer: 127.0.0.1:");
    }
    close(fd);
    buf_done(&b);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    struct helper_net *h = *state;
    int fd = helper_net_connect(h->port[NET_WEB]);
    struct buf b, out;

    buf_init(&b, 0);
    buf_init(&out, 0);
    for (int i = 0; i < 50; i++)
        buf_printf(&out, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\n%03d", i);
    helper_net_send_bytes(fd, buf_bytes(&out));
    for (int i = 0; i < 50; i++) {
        char want[16];
        snprintf(want, sizeof(want), "\r\n\r\n%03d", i);
        assert_true(helper_net_response(fd, &b));
        assert_contains(b, want);
    }
    close(fd);
    buf_done(&b);
    buf_done(&out);
}

static void bodies_come_with_a_length_or_in_chunks_also_byte_by_byte(void **state)
{
    struct helper_net *h = *state;
    static const char chunked[] =
        "POST /v1/traces HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
        "5\r\nhello\r\n6\r\n world\r\n0\r\nX-Trailer: 1\r\n\r\n";
    static const char length[] =
        "POST /v1/traces HTTP/1.1\r\n" HOST "Content-Length: 11\r\n\r\nhello world";
    const char *both[] = {chunked, length};
    struct buf b;

    buf_init(&b, 0);
    for (unsigned i = 0; i < 2; i++) {
        int fd = helper_net_connect(h->port[NET_OTLP_HTTP]);
        helper_net_send(fd, both[i]);
        assert_true(helper_net_response(fd, &b));
        assert_contains(b, "\r\n\r\nhello world");
        for (const char *p = both[i]; *p; p++)
            helper_net_send_bytes(fd, bytes_of(p, 1));
        assert_true(helper_net_response(fd, &b));
        assert_contains(b, "\r\n\r\nhello world");
        close(fd);
    }
    buf_done(&b);
}

static void a_large_body_makes_the_round_trip(void **state)
{
    struct helper_net *h = *state;
    int fd = helper_net_connect(h->port[NET_WEB]);
    size_t size = 3 << 20, at;
    uint8_t *data = malloc(size);
    struct buf b;

    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)('a' + i % 23);
    buf_init(&b, 0);
    helper_net_send(fd, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 3145728\r\n\r\n");
    helper_net_send_bytes(fd, bytes_of(data, size));
    assert_true(helper_net_response(fd, &b));
    at = bytes_find(buf_bytes(&b), BYTES_LIT("\r\n\r\n")) + 4;
    assert_int_equal(b.size - at, size);
    assert_memory_equal(b.data + at, data, size);
    close(fd);
    buf_done(&b);
    free(data);
    for (int i = 0; i < 1000 && net_body_bytes(h->net) > 0; i++)
        clock_sleep_ms(1);
    assert_int_equal(net_body_bytes(h->net), 0);
}

static void expect_continue_is_answered_only_to_those_who_may_go_on(void **state)
{
    struct helper_net *h = *state;
    int fd = helper_net_connect(h->port[NET_WEB]);
    struct buf b;

    buf_init(&b, 0);
    helper_net_send(fd, "POST /echo HTTP/1.1\r\n" HOST
                        "Content-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    assert_true(helper_net_response(fd, &b));
    assert_contains(b, "HTTP/1.1 100 Continue\r\n\r\n");
    helper_net_send(fd, "ok");
    assert_true(helper_net_response(fd, &b));
    assert_contains(b, "\r\n\r\nok");
    helper_net_send(fd, "POST /secret HTTP/1.1\r\n" HOST
                        "Content-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    assert_true(helper_net_response(fd, &b));
    assert_contains(b, "HTTP/1.1 401 ");
    close(fd);
    buf_done(&b);
}

static void head_has_the_length_but_not_the_body(void **state)
{
    struct helper_net *h = *state;
    struct buf b;

    buf_init(&b, 0);
    assert_int_equal(
        helper_net_status(h->port[NET_WEB], "HEAD /hello HTTP/1.1\r\n" HOST "\r\n", &b), 200);
    assert_contains(b, "content-length: 5\r\n");
    assert_null(strstr((char *)b.data, "hello"));
    buf_done(&b);
}

static void http_1_0_closes_unless_asked(void **state)
{
    struct helper_net *h = *state;
    struct buf b;
    int fd = helper_net_connect(h->port[NET_WEB]);

    buf_init(&b, 0);
    helper_net_send(fd, "GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_true(helper_net_response(fd, &b));
    assert_contains(b, "connection: keep-alive");
    helper_net_send(fd, "GET /hello HTTP/1.0\r\n\r\n");
    assert_true(helper_net_read_all(fd, &b, 3000));
    assert_contains(b, "connection: close");
    close(fd);
    buf_done(&b);
}

static void whatever_two_parsers_could_read_differently_is_refused(void **state)
{
    static const char *const cases[] = {
        "POST /echo HTTP/1.1\r\n" HOST
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\n" HOST
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 5, 5\r\n\r\nhello",
        "POST /echo HTTP/1.1\r\n" HOST "Content-Length: +5\r\n\r\nhello",
        "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 0x5\r\n\r\nhello",
        "POST /echo HTTP/1.1\r\n" HOST "Content-Length: -1\r\n\r\n",
        "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 99999999999999999999\r\n\r\n",
        "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\n" HOST
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
        "GET /hello HTTP/1.1\n" HOST "\r\n",
        "GET /hello HTTP/1.1\r\nHost: localhost\n\r\n",
        "GET /hello HTTP/1.1\r\n" HOST "\n",
        "GET /hello HTTP/1.1\r\nHost: localhost\rX: 1\r\n\r\n",
        "GET /hello HTTP/1.1\r\n" HOST "X: a\r\n b\r\n\r\n",
        "GET /hello HTTP/1.1\r\n" HOST " X: a\r\n\r\n",
        "GET /hello HTTP/1.1\r\n" HOST ": a\r\n\r\n",
        "GET /hello HTTP/1.1\r\n" HOST "X\x01: a\r\n\r\n",
        "GET /hello HTTP/1.1\r\n" HOST "X: a\x01\r\n\r\n",
        "GET /hello HTTP/1.1\r\n\r\n",
        "GET /hello HTTP/1.1\r\n" HOST HOST "\r\n",
        "GET http://evil/hello HTTP/1.1\r\n" HOST "\r\n",
        "GET  /hello HTTP/1.1\r\n" HOST "\r\n",
        "POST /echo HTTP/1.1\r\n" HOST
        "Transfer-Encoding: chunked\r\n\r\n5;x=1\r\nhello\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n 5\r\nhello\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\n" HOST
        "Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n4\r\nhello\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\n" HOST
        "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "GET /../hello HTTP/1.1\r\n" HOST "\r\n",
        "GET /%2e%2e/hello HTTP/1.1\r\n" HOST "\r\n",
        "GET /hello%00 HTTP/1.1\r\n" HOST "\r\n",
        "GET /hello%0a HTTP/1.1\r\n" HOST "\r\n",
        "GET /hello%zz HTTP/1.1\r\n" HOST "\r\n",
        "\x01\x02\x03\x04",
        "HELO mail.example\r\n",
    };
    struct helper_net *h = *state;
    struct buf b;

    buf_init(&b, 0);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[1024];
        unsigned before = h->handled;
        int status;
        /* what follows must not be taken for a second request */
        snprintf(text, sizeof(text), "%sGET /hello HTTP/1.1\r\n" HOST "\r\n", cases[i]);
        status = helper_net_status(h->port[NET_WEB], text, &b);
        if (status != 400 || h->handled != before) {
            /* refusals of a well-framed request keep the connection: then the second one is a request of its own */
            bool framed = strncmp(cases[i], "GET /", 5) == 0 && strchr(cases[i], '%');
            framed |= strncmp(cases[i], "GET /..", 7) == 0 || strncmp(cases[i], "GET http", 8) == 0;
            if (status != 400 || !framed) {
                print_error("case %zu: status %d\n%s\n", i, status, cases[i]);
                fail();
            }
        }
    }
    buf_done(&b);
}

static void heads_that_are_too_large_are_refused(void **state)
{
    struct helper_net *h = *state;
    struct buf b;

    buf_init(&b, 0);
    buf_str(&b, "GET /hello HTTP/1.1\r\n" HOST "X: ");
    for (int i = 0; i < 40000; i++)
        buf_u8(&b, 'x');
    buf_str(&b, "\r\n\r\n");
    buf_u8(&b, 0);
    assert_int_equal(helper_net_status(h->port[NET_WEB], (char *)b.data, NULL), 431);
    buf_clear(&b);
    buf_str(&b, "GET /hello HTTP/1.1\r\n" HOST);
    for (int i = 0; i < 200; i++)
        buf_printf(&b, "X-%d: 1\r\n", i);
    buf_str(&b, "\r\n");
    buf_u8(&b, 0);
    assert_int_equal(helper_net_status(h->port[NET_WEB], (char *)b.data, NULL), 431);
    buf_clear(&b);
    buf_str(&b, "GET /hello?");
    for (int i = 0; i < 20000; i++)
        buf_u8(&b, 'x');
    buf_str(&b, " HTTP/1.1\r\n" HOST "\r\n");
    buf_u8(&b, 0);
    assert_int_equal(helper_net_status(h->port[NET_WEB], (char *)b.data, NULL), 400);
    buf_done(&b);
}

static void routes_prefer_literal_text_and_decode_parameters(void **state)
{
    struct helper_net *h = *state;
    struct buf b;

    buf_init(&b, 0);
    helper_net_status(h->port[NET_WEB],
                      "GET /p/a%20b/x/c%2Fd?z=1&q=1%2B1+%41&q=2 HTTP/1.1\r\n" HOST "\r\n", &b);
    assert_contains(b, "\r\n\r\na b|c/d|1+1 A");
    helper_net_status(h->port[NET_WEB], "GET /p/literal/x/1 HTTP/1.1\r\n" HOST "\r\n", &b);
    assert_contains(b, "\r\n\r\nhello");
    helper_net_status(h->port[NET_WEB], "GET /files/a/b.js HTTP/1.1\r\n" HOST "\r\n", &b);
    assert_contains(b, "\r\n\r\na/b.js|");
    helper_net_status(h->port[NET_WEB], "GET /files/ HTTP/1.1\r\n" HOST "\r\n", &b);
    assert_contains(b, "\r\n\r\n||-");
    assert_int_equal(
        helper_net_status(h->port[NET_WEB], "GET /p//x/1 HTTP/1.1\r\n" HOST "\r\n", NULL), 404);
    helper_net_status(h->port[NET_WEB],
                      "POST /form?a[]=1 HTTP/1.1\r\n" HOST
                      "Content-Type: application/x-www-form-urlencoded; charset=utf-8\r\n"
                      "Content-Length: 13\r\n\r\nb=9&a%5B%5D=2",
                      &b);
    assert_contains(b, "\r\n\r\n1,2");
    buf_done(&b);
}

static void unknown_paths_and_methods_get_a_sentence(void **state)
{
    struct helper_net *h = *state;
    struct buf b;

    buf_init(&b, 0);
    assert_int_equal(helper_net_status(h->port[NET_WEB], "GET /nope HTTP/1.1\r\n" HOST "\r\n", &b),
                     404);
    assert_contains(b,
                    "{\"status\":\"error\",\"errorType\":\"not_found\",\"error\":\"No such path: "
                    "/nope\"}");
    assert_int_equal(
        helper_net_status(h->port[NET_WEB], "DELETE /hello HTTP/1.1\r\n" HOST "\r\n", &b), 405);
    assert_contains(b, "allow: GET\r\n");
    buf_done(&b);
}

static void the_wrong_door_is_named_in_the_answer(void **state)
{
    struct helper_net *h = *state;
    char want[64];
    struct buf b;

    buf_init(&b, 0);
    assert_int_equal(helper_net_status(h->port[NET_OTLP_GRPC],
                                       "POST /v1/traces HTTP/1.1\r\n" HOST
                                       "Content-Type: application/json\r\n"
                                       "Content-Length: 2\r\n\r\n{}",
                                       &b),
                     415);
    snprintf(want, sizeof(want), "OTLP over HTTP goes to port %u", h->port[NET_OTLP_HTTP]);
    assert_contains(b, want);
    assert_int_equal(helper_net_status(h->port[NET_OTLP_HTTP],
                                       "POST / HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\n{}",
                                       &b),
                     404);
    assert_contains(b, "/v1/traces");
    assert_contains(b, "{\"code\":5,");
    assert_int_equal(
        helper_net_status(h->port[NET_WEB],
                          "POST /v1/traces HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\n{}", &b),
        404);
    assert_contains(b, want);
    assert_int_equal(
        helper_net_status(h->port[NET_OTLP_HTTP], "GET / HTTP/1.1\r\n" HOST "\r\n", &b), 404);
    snprintf(want, sizeof(want), "are on port %u", h->port[NET_WEB]);
    assert_contains(b, want);
    assert_int_equal(helper_net_status(h->port[NET_OTLP_HTTP],
                                       "POST /v1/traces HTTP/1.1\r\n" HOST
                                       "Content-Type: application/grpc\r\n"
                                       "Content-Length: 2\r\n\r\n{}",
                                       &b),
                     415);
    buf_done(&b);
}

static void a_client_hello_on_a_plain_port_gets_an_alert(void **state)
{
    static const uint8_t hello[] = {0x16, 0x03, 0x01, 0x00, 0x05, 1, 0, 0, 1, 3};
    struct helper_net *h = *state;
    int64_t before = net_stats_refused_count(NET_REFUSED_TLS_TO_PLAIN);
    int fd = helper_net_connect(h->port[NET_OTLP_GRPC]);
    struct buf b;

    buf_init(&b, 0);
    helper_net_send_bytes(fd, bytes_of(hello, sizeof(hello)));
    shutdown(fd, SHUT_WR);
    assert_true(helper_net_read_all(fd, &b, 3000));
    assert_int_equal(b.size, 7);
    assert_int_equal(b.data[0], 0x15);
    assert_int_equal(b.data[5], 2); /* fatal */
    assert_int_equal(net_stats_refused_count(NET_REFUSED_TLS_TO_PLAIN), before + 1);
    close(fd);
    buf_done(&b);
}

static void credentials_are_judged_before_the_body_is_read(void **state)
{
    struct helper_net *h = *state;
    int fd = helper_net_connect(h->port[NET_OTLP_HTTP]);
    unsigned handled = h->handled;
    struct buf b;

    buf_init(&b, 0);
    /* the body never comes, the answer does */
    helper_net_send(fd, "POST /secret HTTP/1.1\r\n" HOST "Content-Length: 1000000\r\n\r\n");
    assert_true(helper_net_response(fd, &b));
    assert_contains(b, "HTTP/1.1 401 Unauthorized");
    assert_contains(b, "www-authenticate: Bearer realm=\"telltale\"");
    assert_contains(b, "{\"code\":16,\"message\":\"an ingest key is needed\"}");
    assert_int_equal(h->handled, handled);
    close(fd);
    assert_int_equal(helper_net_status(h->port[NET_OTLP_HTTP],
                                       "POST /secret HTTP/1.1\r\n" HOST
                                       "Authorization: Bearer good\r\nContent-Length: 2\r\n\r\nhi",
                                       &b),
                     200);
    assert_contains(b, "org 7");
    buf_done(&b);
}

static void bodies_over_the_limit_are_refused_before_they_are_read(void **state)
{
    struct helper_net *h = *state;
    int fd = helper_net_connect(h->port[NET_OTLP_HTTP]);
    struct buf b;

    buf_init(&b, 0);
    helper_net_send(fd, "POST /small HTTP/1.1\r\n" HOST "Content-Length: 11\r\n\r\n");
    assert_true(helper_net_response(fd, &b));
    assert_contains(b, "HTTP/1.1 413 ");
    close(fd);
    assert_int_equal(helper_net_status(h->port[NET_OTLP_HTTP],
                                       "POST /small HTTP/1.1\r\n" HOST
                                       "Transfer-Encoding: chunked\r\n\r\n"
                                       "b\r\n12345678901\r\n0\r\n\r\n",
                                       NULL),
                     413);
    assert_int_equal(helper_net_status(h->port[NET_OTLP_HTTP],
                                       "POST /small HTTP/1.1\r\n" HOST
                                       "Transfer-Encoding: chunked\r\n\r\n"
                                       "a\r\n1234567890\r\n0\r\n\r\n",
                                       NULL),
                     200);
    /* in protobuf for those who speak it: Status{code 8, message} */
    helper_net_status(h->port[NET_OTLP_HTTP],
                      "POST /small HTTP/1.1\r\n" HOST
                      "Content-Type: application/x-protobuf\r\nContent-Length: 11\r\n\r\n",
                      &b);
    assert_contains(b, "content-type: application/x-protobuf");
    assert_contains(b, "\r\n\r\n\x08\x08\x12");
    buf_done(&b);
}

static void *reply_later(void *arg)
{
    struct net_request *req = arg;
    clock_sleep_ms(20);
    net_reply_text(req, 202, "text/plain", BYTES_LIT("later"));
    return NULL;
}

static bool is_held(void *ctx)
{
    struct helper_net *h = ctx;
    return atomic_load(&h->held) != NULL;
}

static void another_thread_may_reply(void **state)
{
    struct helper_net *h = *state;
    int fd = helper_net_connect(h->port[NET_WEB]);
    pthread_t thread;
    struct buf b;

    buf_init(&b, 0);
    atomic_store(&h->held, NULL);
    helper_net_send(fd, "GET /hold HTTP/1.1\r\n" HOST "\r\nGET /hello HTTP/1.1\r\n" HOST "\r\n");
    assert_true(helper_net_wait(is_held, h, 3000));
    pthread_create(&thread, NULL, reply_later, atomic_exchange(&h->held, NULL));
    assert_true(helper_net_response(fd, &b));
    assert_contains(b, "HTTP/1.1 202 Accepted");
    assert_true(helper_net_response(fd, &b));
    assert_contains(b, "\r\n\r\nhello");
    pthread_join(thread, NULL);
    close(fd);
    buf_done(&b);
}

static bool is_cancelled(void *ctx)
{
    return atomic_load(net_request_cancelled(ctx));
}

static void a_client_that_leaves_sets_the_cancel_flag(void **state)
{
    struct helper_net *h = *state;
    int fd = helper_net_connect(h->port[NET_WEB]);
    struct linger now = {1, 0};
    struct net_request *req;

    atomic_store(&h->held, NULL);
    helper_net_send(fd, "GET /hold HTTP/1.1\r\n" HOST "\r\n");
    assert_true(helper_net_wait(is_held, h, 3000));
    req = atomic_exchange(&h->held, NULL);
    assert_false(is_cancelled(req));
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)); /* reset, not FIN */
    close(fd);
    assert_true(helper_net_wait(is_cancelled, req, 3000));
    net_reply_text(req, 200, "text/plain", BYTES_LIT("nobody"));

    fd = helper_net_connect(h->port[NET_WEB]);
    helper_net_send(fd, "GET /hold HTTP/1.1\r\n" HOST "\r\n");
    assert_true(helper_net_wait(is_held, h, 3000));
    req = atomic_exchange(&h->held, NULL);
    shutdown(fd, SHUT_WR); /* a half-closed client still wants its answer */
    assert_true(helper_net_wait(is_cancelled, req, 3000));
    net_reply_text(req, 200, "text/plain", BYTES_LIT("somebody"));
    {
        struct buf b;
        buf_init(&b, 0);
        assert_true(helper_net_read_all(fd, &b, 3000));
        assert_contains(b, "somebody");
        buf_done(&b);
    }
    close(fd);
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

static struct net_stream *open_stream(struct helper_net *h, int fd)
{
    atomic_store(&h->stream, NULL);
    helper_net_send(fd, "GET /events HTTP/1.1\r\n" HOST "\r\n");
    assert_true(helper_net_wait(has_stream, h, 3000));
    return atomic_exchange(&h->stream, NULL);
}

static void a_stream_carries_events_until_its_end(void **state)
{
    struct helper_net *h = *state;
    int fd = helper_net_connect(h->port[NET_WEB]);
    struct net_stream *s = open_stream(h, fd);
    struct buf b;

    buf_init(&b, 0);
    assert_int_equal(net_stream_send(s, BYTES_LIT("data: 1\n\n")), ERR_OK);
    assert_int_equal(net_stream_send(s, BYTES_LIT("data: 2\n\n")), ERR_OK);
    net_stream_end(s);
    helper_net_send(fd, ""); /* then the connection serves on */
    assert_false(helper_net_read_all(fd, &b, 200));
    assert_contains(b, "content-type: text/event-stream\r\n");
    assert_contains(
        b, "\r\n\r\na\r\nretry: 9\n\n\r\n9\r\ndata: 1\n\n\r\n9\r\ndata: 2\n\n\r\n0\r\n\r\n");
    helper_net_send(fd, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
    assert_true(helper_net_response(fd, &b));
    assert_contains(b, "\r\n\r\nhello");
    close(fd);

    fd = helper_net_connect(h->port[NET_WEB]);
    s = open_stream(h, fd);
    close(fd);
    assert_true(helper_net_wait(stream_is_shut, s, 3000));
    assert_int_equal(net_stream_send(s, BYTES_LIT("x")), ERR_CANCELLED);
    net_stream_end(s);
    buf_done(&b);
}

static void what_was_pipelined_behind_a_stream_is_served_after_it(void **state)
{
    struct helper_net *h = *state;
    int fd = helper_net_connect(h->port[NET_WEB]);
    struct net_stream *s;
    struct buf b;

    buf_init(&b, 0);
    atomic_store(&h->stream, NULL);
    helper_net_send(fd, "GET /events HTTP/1.1\r\n" HOST "\r\nGET /hello HTTP/1.1\r\n" HOST "\r\n");
    assert_true(helper_net_wait(has_stream, h, 3000));
    s = atomic_exchange(&h->stream, NULL);
    clock_sleep_ms(20);
    net_stream_end(s);
    assert_false(helper_net_read_all(fd, &b, 200));
    assert_contains(b, "\r\n0\r\n\r\nHTTP/1.1 200 OK");
    assert_contains(b, "\r\n\r\nhello");
    close(fd);
    buf_done(&b);
}

static void a_slow_reader_of_a_stream_is_cut_off(void **state)
{
    struct helper_net *h = *state;
    int fd = helper_net_connect(h->port[NET_WEB]);
    struct net_stream *s = open_stream(h, fd);
    static uint8_t chunk[16384];
    enum err e = ERR_OK;
    int64_t before = net_stats_refused_count(NET_REFUSED_SLOW_READER);

    memset(chunk, 'x', sizeof(chunk));
    for (int i = 0; i < 20000 && e == ERR_OK; i++) {
        e = net_stream_send(s, bytes_of(chunk, sizeof(chunk)));
        if (i % 8 == 0)
            clock_sleep_ms(1);
    }
    assert_int_not_equal(e, ERR_OK);
    assert_true(net_stats_refused_count(NET_REFUSED_SLOW_READER) > before);
    net_stream_end(s);
    close(fd);
}

static void the_web_door_knows_its_names(void **state)
{
    static const struct {
        const char *host;
        int status;
    } cases[] = {
        {"localhost", 200},      {"LOCALHOST:4320", 200},
        {"127.0.0.1:4320", 200}, {"[::1]:4320", 200},
        {"10.1.2.3", 200},       {"app.localhost", 200},
        {"evil.example", 421},   {"localhost.evil.example", 421},
        {"127.0.0.1.evil", 421}, {"", 421},
    };
    struct helper_net *h = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[256];
        int status;
        snprintf(text, sizeof(text), "GET /hello HTTP/1.1\r\nHost: %s\r\n\r\n", cases[i].host);
        status = helper_net_status(h->port[NET_WEB], text, NULL);
        if (cases[i].host[0] && status != cases[i].status) {
            print_error("%s: %d\n", cases[i].host, status);
            fail();
        }
        /* services call the OTLP port by any name */
        assert_int_equal(helper_net_status(h->port[NET_OTLP_HTTP], text, NULL), 200);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_serves_many_requests_one_after_the_other),
        cmocka_unit_test(pipelined_requests_are_answered_in_order),
        cmocka_unit_test(bodies_come_with_a_length_or_in_chunks_also_byte_by_byte),
        cmocka_unit_test(a_large_body_makes_the_round_trip),
        cmocka_unit_test(expect_continue_is_answered_only_to_those_who_may_go_on),
        cmocka_unit_test(head_has_the_length_but_not_the_body),
        cmocka_unit_test(http_1_0_closes_unless_asked),
        cmocka_unit_test(whatever_two_parsers_could_read_differently_is_refused),
        cmocka_unit_test(heads_that_are_too_large_are_refused),
        cmocka_unit_test(routes_prefer_literal_text_and_decode_parameters),
        cmocka_unit_test(unknown_paths_and_methods_get_a_sentence),
        cmocka_unit_test(the_wrong_door_is_named_in_the_answer),
        cmocka_unit_test(a_client_hello_on_a_plain_port_gets_an_alert),
        cmocka_unit_test(credentials_are_judged_before_the_body_is_read),
        cmocka_unit_test(bodies_over_the_limit_are_refused_before_they_are_read),
        cmocka_unit_test(another_thread_may_reply),
        cmocka_unit_test(a_client_that_leaves_sets_the_cancel_flag),
        cmocka_unit_test(a_stream_carries_events_until_its_end),
        cmocka_unit_test(what_was_pipelined_behind_a_stream_is_served_after_it),
        cmocka_unit_test(a_slow_reader_of_a_stream_is_cut_off),
        cmocka_unit_test(the_web_door_knows_its_names),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
