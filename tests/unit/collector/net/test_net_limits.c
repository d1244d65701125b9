/* Slow, idle, many and greedy peers; and the end of the server. */
#include "base/check.h"
#include "base/clock.h"
#include "collector/net/helper_h2.h"
#include "collector/net/helper_net.h"
#include "collector/net/net_limits.h"
#include "collector/net/net_stats.h"
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#define HOST "Host: localhost\r\n"
#define assert_contains(text, part)                                            \
    do {                                                                       \
        if (!(text).data || !strstr((const char *)(text).data, part)) {        \
            print_error("no '%s' in:\n%s\n", part, (const char *)(text).data); \
            fail();                                                            \
        }                                                                      \
    } while (0)

static struct helper_net *start_impatient(void)
{
    return helper_net_start((struct net_opts){.loops = 2,
                                              .header_timeout_ms = 300,
                                              .body_timeout_ms = 300,
                                              .idle_timeout_ms = 300,
                                              .write_timeout_ms = 300},
                            false);
}

static void headers_that_trickle_are_cut_off(void **state)
{
    struct helper_net *h = start_impatient();
    int64_t before = net_stats_refused_count(NET_REFUSED_HEADER_TIMEOUT), begin = clock_mono_ns();
    int fd = helper_net_connect(h->port[NET_WEB]);
    struct buf b;

    buf_init(&b, 0);
    for (int i = 0; i < 8; i++) {
        helper_net_send_bytes(fd, bytes_of("GET /hello HTTP/1.1\r\n" + i, 1));
        clock_sleep_ms(20); /* more bytes win no more time */
    }
    assert_true(helper_net_read_all(fd, &b, 3000));
    assert_contains(b, "HTTP/1.1 408 ");
    assert_true(clock_mono_ns() - begin < 1500 * INT64_C(1000000));
    assert_int_equal(net_stats_refused_count(NET_REFUSED_HEADER_TIMEOUT), before + 1);
    close(fd);
    fd = helper_net_connect(h->port[NET_WEB]); /* silence */
    assert_true(helper_net_read_all(fd, &b, 3000));
    assert_int_equal(b.size, 0);
    close(fd);
    buf_done(&b);
    helper_net_stop(h);
}

static void http2_headers_without_an_end_are_cut_off(void **state)
{
    static const char begin[] = NGHTTP2_CLIENT_MAGIC "\0\0\0\4\0\0\0\0\0"
                                                     "\0\0\1\1\0\0\0\0\1\x82";
    struct helper_net *h = start_impatient();
    int64_t before = net_stats_refused_count(NET_REFUSED_HEADER_TIMEOUT);
    int fd = helper_net_connect(h->port[NET_OTLP_GRPC]);
    struct buf b;

    buf_init(&b, 0);
    helper_net_send_bytes(fd, bytes_of(begin, sizeof(begin) - 1));
    assert_true(helper_net_read_all(fd, &b, 3000));
    assert_int_equal(net_stats_refused_count(NET_REFUSED_HEADER_TIMEOUT), before + 1);
    close(fd);
    buf_done(&b);
    helper_net_stop(h);
}

static void bodies_that_trickle_are_cut_off(void **state)
{
    struct helper_net *h = start_impatient();
    int64_t before = net_stats_refused_count(NET_REFUSED_BODY_TIMEOUT);
    int fd = helper_net_connect(h->port[NET_WEB]);
    struct helper_h2 *c;
    struct helper_h2_request q = {.path = "/test.Service/Echo",
                                  .content_type = "application/grpc",
                                  .body = BYTES_LIT("\0\0\0"),
                                  .no_end = true};
    struct helper_h2_reply *r;
    struct buf b;

    buf_init(&b, 0);
    helper_net_send(fd, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 100000\r\n\r\n");
    for (int i = 0; i < 10; i++) {
        helper_net_send(fd, "x");
        clock_sleep_ms(20);
    }
    assert_true(helper_net_read_all(fd, &b, 4000));
    assert_contains(b, "HTTP/1.1 408 ");
    c = helper_h2_open(h->port[NET_OTLP_GRPC]);
    r = helper_h2_send(c, &q);
    assert_true(helper_h2_run(c, r, 4000));
    assert_contains(r->headers, "grpc-status: 4\n");
    assert_int_equal(net_stats_refused_count(NET_REFUSED_BODY_TIMEOUT), before + 2);
    assert_int_equal(h->handled, 0);
    helper_h2_close(c);
    close(fd);
    buf_done(&b);
    helper_net_stop(h);
}

static void idle_connections_are_closed(void **state)
{
    struct helper_net *h = start_impatient();
    int fd = helper_net_connect(h->port[NET_WEB]);
    struct helper_h2 *c = helper_h2_open(h->port[NET_OTLP_GRPC]);
    struct buf b;

    buf_init(&b, 0);
    helper_h2_flush(c);
    helper_net_send(fd, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
    assert_true(helper_net_response(fd, &b));
    assert_true(helper_net_read_all(fd, &b, 3000));
    assert_int_equal(b.size, 0);
    assert_true(helper_h2_run(c, NULL, 3000));
    assert_int_equal(c->goaway, NGHTTP2_NO_ERROR + 1);
    helper_h2_close(c);
    close(fd);
    buf_done(&b);
    helper_net_stop(h);
}

static bool wrote_too_slowly(void *ctx)
{
    return net_stats_refused_count(NET_REFUSED_WRITE_TIMEOUT) > *(int64_t *)ctx;
}

static void readers_that_do_not_read_are_cut_off(void **state)
{
    struct helper_net *h = start_impatient();
    int64_t before = net_stats_refused_count(NET_REFUSED_WRITE_TIMEOUT);
    int fd = helper_net_connect(h->port[NET_WEB]);
    struct helper_h2 *c;
    struct helper_h2_request q = {.method = "GET", .path = "/big"};

    atomic_store(&h->handled, 0);
    for (int i = 0; i < 200; i++)
        helper_net_send(fd, "GET /big HTTP/1.1\r\n" HOST "\r\n");
    assert_true(helper_net_wait(wrote_too_slowly, &before, 5000));
    assert_true(h->handled < 20); /* answers do not pile up for who does not read them */
    close(fd);
    /* HTTP/2: the window of 64 KiB is never opened */
    before = net_stats_refused_count(NET_REFUSED_WRITE_TIMEOUT);
    c = helper_h2_open(h->port[NET_WEB]);
    helper_h2_send(c, &q);
    helper_h2_flush(c);
    assert_true(helper_net_wait(wrote_too_slowly, &before, 5000));
    helper_h2_close(c);
    helper_net_stop(h);
}

static void a_fast_begin_buys_no_time_for_a_slow_end(void **state)
{
    struct helper_net *h = start_impatient();
    static uint8_t half[500000];
    int64_t begin = clock_mono_ns();
    int fd = helper_net_connect(h->port[NET_WEB]);
    struct buf b;

    buf_init(&b, 0);
    helper_net_send(fd, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 1000000\r\n\r\n");
    helper_net_send_bytes(fd, bytes_of(half, sizeof(half)));
    assert_true(helper_net_read_all(fd, &b, 4000));
    assert_contains(b, "HTTP/1.1 408 ");
    assert_true(clock_mono_ns() - begin < 2500 * INT64_C(1000000));
    close(fd);
    buf_done(&b);
    helper_net_stop(h);
}

/* --- memory ----------------------------------------------------------------------------------- */

static void send_filler(int fd, size_t n)
{
    static uint8_t filler[65536];
    while (n > 0) {
        size_t now = MIN(n, sizeof(filler));
        helper_net_send_bytes(fd, bytes_of(filler, now));
        n -= now;
    }
}

static bool is_charged(void *ctx)
{
    return net_body_bytes(ctx) > 800000;
}

static bool is_uncharged(void *ctx)
{
    return net_body_bytes(ctx) == 0;
}

static void new_bodies_wait_while_memory_is_short(void **state)
{
    struct helper_net *h =
        helper_net_start((struct net_opts){.loops = 2, .body_bytes_max = 1 << 20}, false);
    int a = helper_net_connect(h->port[NET_WEB]), b = helper_net_connect(h->port[NET_WEB]);
    struct buf out;

    buf_init(&out, 0);
    helper_net_send(a, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 950000\r\n\r\n");
    send_filler(a, 900000);
    assert_true(helper_net_wait(is_charged, h->net, 3000));
    helper_net_send(b, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\nhi");
    assert_false(helper_net_read_all(b, &out, 200));
    assert_int_equal(out.size, 0); /* b is not read */
    send_filler(a, 50000);
    assert_true(helper_net_response(a, &out));
    assert_true(helper_net_response(b, &out));
    assert_contains(out, "\r\n\r\nhi");
    close(a);
    close(b);
    assert_true(helper_net_wait(is_uncharged, h->net, 3000));
    buf_done(&out);
    helper_net_stop(h);
}

static void bodies_beyond_the_memory_get_503(void **state)
{
    struct helper_net *h =
        helper_net_start((struct net_opts){.loops = 2, .body_bytes_max = 1 << 20}, false);
    int fd[4];
    unsigned refused = 0;
    struct buf out;

    buf_init(&out, 0);
    for (unsigned i = 0; i < 4; i++) { /* all begin before any is large */
        fd[i] = helper_net_connect(h->port[NET_WEB]);
        helper_net_send(fd[i], "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 900000\r\n\r\nx");
    }
    clock_sleep_ms(50);
    for (unsigned k = 0; k < 15; k++)
        for (unsigned i = 0; i < 4; i++) {
            send_filler(fd[i], k < 14 ? 60000 : 59999);
            assert_true(net_body_bytes(h->net) <= 1 << 20);
        }
    for (unsigned i = 0; i < 4; i++) {
        if (!helper_net_response(fd[i], &out))
            continue;
        if (strstr((char *)out.data, " 503 ")) {
            refused++;
            assert_contains(out, "retry-after: 1\r\n");
        }
    }
    assert_true(refused >= 1);
    for (unsigned i = 0; i < 4; i++)
        close(fd[i]);
    assert_true(helper_net_wait(is_uncharged, h->net, 3000));
    buf_done(&out);
    helper_net_stop(h);
}

/* --- many ------------------------------------------------------------------------------------- */

static size_t memory_in_use(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return 0;
#else
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
#endif
}

struct count {
    struct net *net;
    unsigned want;
};

static bool has_connections(void *ctx)
{
    struct count *c = ctx;
    return net_connections(c->net) == c->want;
}

/* TELLTALE_NET_CONNECTIONS=10000 for the figure of the report. */
static void thousands_of_slow_connections_cost_little(void **state)
{
    const char *env = getenv("TELLTALE_NET_CONNECTIONS");
    unsigned n = env ? (unsigned)atoi(env) : 3000;
    struct helper_net *h = helper_net_start((struct net_opts){.loops = 2}, false);
    struct rlimit r;
    struct count want = {h->net, n};
    size_t idle = memory_in_use(), open_bytes, slow_bytes;
    int *fd = calloc(n, sizeof(*fd));
    struct buf b;

    getrlimit(RLIMIT_NOFILE, &r); /* net_new has raised it */
    if (r.rlim_cur < 2 * n + 100)
        n = want.want = (unsigned)(r.rlim_cur - 100) / 2;
    idle = memory_in_use();
    for (unsigned i = 0; i < n; i++) {
        fd[i] = helper_net_connect(h->port[i % NET_DOOR_COUNT]);
        assert_true(fd[i] >= 0);
    }
    assert_true(helper_net_wait(has_connections, &want, 10000));
    open_bytes = (memory_in_use() - idle) / n;
    for (unsigned i = 0; i < n; i++)
        helper_net_send(fd[i], "POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nX-Slow: ");
    clock_sleep_ms(300);
    slow_bytes = (memory_in_use() - idle) / n;
    print_message("%u connections: %zu bytes each when open, %zu with half a head\n", n, open_bytes,
                  slow_bytes);
    assert_true(open_bytes <= 1024);
    assert_true(slow_bytes <= 4096);
    buf_init(&b, 0);
    assert_int_equal(helper_net_status(h->port[NET_WEB], "GET /hello HTTP/1.1\r\n" HOST "\r\n", &b),
                     200);
    buf_done(&b);
    for (unsigned i = 0; i < n; i++)
        close(fd[i]);
    want.want = 0;
    assert_true(helper_net_wait(has_connections, &want, 10000));
    free(fd);
    helper_net_stop(h);
}

static void connections_over_the_limit_are_closed_at_once(void **state)
{
    struct helper_net *h =
        helper_net_start((struct net_opts){.loops = 2, .connections_max = 5}, false);
    int64_t before = net_stats_refused_count(NET_REFUSED_CONNECTIONS);
    struct count want = {h->net, 5};
    int fd[7];
    struct buf b;

    buf_init(&b, 0);
    for (unsigned i = 0; i < 5; i++)
        fd[i] = helper_net_connect(h->port[NET_WEB]);
    assert_true(helper_net_wait(has_connections, &want, 3000));
    fd[5] = helper_net_connect(h->port[NET_WEB]);
    assert_true(helper_net_read_all(fd[5], &b, 3000));
    assert_int_equal(net_stats_refused_count(NET_REFUSED_CONNECTIONS), before + 1);
    fd[6] = helper_net_connect(h->port[NET_OTLP_HTTP]); /* other doors are not affected */
    helper_net_send(fd[6], "GET /hello HTTP/1.1\r\n" HOST "\r\n");
    assert_true(helper_net_response(fd[6], &b));
    for (unsigned i = 0; i < 7; i++)
        close(fd[i]);
    buf_done(&b);
    helper_net_stop(h);
}

static bool lacked_descriptors(void *ctx)
{
    return net_stats_refused_count(NET_REFUSED_NO_DESCRIPTORS) > *(int64_t *)ctx;
}

static void a_lack_of_descriptors_pauses_accepting_without_spinning(void **state)
{
    struct helper_net *h = helper_net_start((struct net_opts){.loops = 1}, false);
    int64_t before = net_stats_refused_count(NET_REFUSED_NO_DESCRIPTORS), cpu;
    struct rlimit old, low;
    struct timespec t;
    int fd[12], top;
    struct buf b;

    buf_init(&b, 0);
    for (unsigned i = 0; i < 12; i++)
        fd[i] = socket(AF_INET, SOCK_STREAM, 0);
    top = open("/dev/null", O_RDONLY);
    close(top);
    getrlimit(RLIMIT_NOFILE, &old);
    low = old;
    low.rlim_cur = (rlim_t)top + 4; /* four more may be opened */
    setrlimit(RLIMIT_NOFILE, &low);
    for (unsigned i = 0; i < 12; i++) {
        int one = helper_net_connect_fd(fd[i], h->port[NET_WEB]);
        assert_int_equal(one, 0);
        helper_net_send(fd[i], "GET /hello HTTP/1.1\r\n" HOST "\r\n");
    }
    assert_true(helper_net_wait(lacked_descriptors, &before, 3000));
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    cpu = t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
    clock_sleep_ms(500);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    cpu = t.tv_sec * INT64_C(1000000000) + t.tv_nsec - cpu;
    setrlimit(RLIMIT_NOFILE, &old);
    assert_true(cpu < 100 * INT64_C(1000000)); /* 20 % */
    for (unsigned i = 0; i < 12; i++) {
        assert_true(helper_net_response(fd[i], &b));
        close(fd[i]);
    }
    buf_done(&b);
    helper_net_stop(h);
}

/* --- the end ---------------------------------------------------------------------------------- */

static bool is_held(void *ctx)
{
    struct helper_net *h = ctx;
    return atomic_load(&h->held) != NULL;
}

struct later {
    struct net_request *req;
    int ms;
};

static void *reply_later(void *arg)
{
    struct later *l = arg;
    clock_sleep_ms(l->ms);
    net_reply_text(l->req, 200, "text/plain", BYTES_LIT("just in time"));
    return NULL;
}

static void requests_in_flight_are_answered_before_the_end(void **state)
{
    struct helper_net *h = helper_net_start((struct net_opts){.loops = 2}, false);
    int fd = helper_net_connect(h->port[NET_WEB]), idle = helper_net_connect(h->port[NET_WEB]);
    struct helper_h2 *c = helper_h2_open(h->port[NET_OTLP_GRPC]);
    struct later l = {.ms = 100};
    pthread_t thread;
    struct buf b;

    buf_init(&b, 0);
    helper_h2_run(c, NULL, 50);
    helper_net_send(fd, "GET /hold HTTP/1.1\r\n" HOST "\r\n");
    assert_true(helper_net_wait(is_held, h, 3000));
    l.req = atomic_load(&h->held);
    pthread_create(&thread, NULL, reply_later, &l);
    assert_int_equal(net_stop(h->net, 3000), 0);
    pthread_join(thread, NULL);
    assert_true(helper_net_read_all(fd, &b, 3000));
    assert_contains(b, "just in time");
    assert_contains(b, "connection: close");
    assert_true(helper_net_read_all(idle, &b, 3000));
    assert_true(helper_h2_run(c, NULL, 3000));
    assert_int_equal(c->goaway, NGHTTP2_NO_ERROR + 1);
    assert_int_equal(helper_net_connect(h->port[NET_WEB]), -1);
    close(fd);
    close(idle);
    helper_h2_close(c);
    buf_done(&b);
    helper_net_stop(h);
}

static void what_takes_too_long_is_cut_off_at_the_end(void **state)
{
    struct helper_net *h = helper_net_start((struct net_opts){.loops = 2}, false);
    int fd = helper_net_connect(h->port[NET_WEB]);
    struct helper_h2 *c = helper_h2_open(h->port[NET_WEB]);
    struct helper_h2_request q = {.method = "GET", .path = "/hold"};
    struct net_request *first, *second;
    struct buf b;

    buf_init(&b, 0);
    helper_net_send(fd, "GET /hold HTTP/1.1\r\n" HOST "\r\n");
    assert_true(helper_net_wait(is_held, h, 3000));
    first = atomic_exchange(&h->held, NULL);
    helper_h2_send(c, &q);
    helper_h2_flush(c);
    assert_true(helper_net_wait(is_held, h, 3000));
    second = atomic_exchange(&h->held, NULL);
    assert_int_equal(net_stop(h->net, 50), 2);
    assert_true(atomic_load(net_request_cancelled(first)));
    assert_true(atomic_load(net_request_cancelled(second)));
    net_reply_text(first, 200, "text/plain", BYTES_LIT("too late"));
    assert_true(helper_net_read_all(fd, &b, 3000));
    assert_int_equal(b.size, 0);
    close(fd);
    helper_h2_close(c);
    buf_done(&b);
    helper_net_stop(h); /* frees the second, which nobody answered */
}

static void a_port_in_use_is_an_error_with_a_sentence(void **state)
{
    struct helper_net *h = helper_net_start((struct net_opts){.loops = 1}, false);
    struct net *other = net_new(&(struct net_opts){.loops = 1});
    struct err_msg msg = {""};
    unsigned port;
    char address[64];

    snprintf(address, sizeof(address), "127.0.0.1:%u", h->port[NET_WEB]);
    assert_int_equal(net_listen(other, NET_WEB, address, &port, &msg), ERR_CONFLICT);
    assert_non_null(strstr(msg.text, address));
    assert_int_equal(net_listen(other, NET_WEB, "127.0.0.1", &port, &msg), ERR_INVALID);
    assert_int_equal(net_listen(other, NET_WEB, "127.0.0.1:99999", &port, &msg), ERR_INVALID);
    assert_int_equal(net_listen(other, NET_WEB, "::1:80", &port, &msg), ERR_INVALID);
    assert_int_equal(net_listen(other, NET_WEB, "localhost:0", &port, &msg), ERR_OK);
    assert_true(port > 0);
    net_free(other);
    helper_net_stop(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thousands_of_slow_connections_cost_little),
        cmocka_unit_test(headers_that_trickle_are_cut_off),
        cmocka_unit_test(http2_headers_without_an_end_are_cut_off),
        cmocka_unit_test(bodies_that_trickle_are_cut_off),
        cmocka_unit_test(a_fast_begin_buys_no_time_for_a_slow_end),
        cmocka_unit_test(idle_connections_are_closed),
        cmocka_unit_test(readers_that_do_not_read_are_cut_off),
        cmocka_unit_test(new_bodies_wait_while_memory_is_short),
        cmocka_unit_test(bodies_beyond_the_memory_get_503),
        cmocka_unit_test(connections_over_the_limit_are_closed_at_once),
        cmocka_unit_test(a_lack_of_descriptors_pauses_accepting_without_spinning),
        cmocka_unit_test(requests_in_flight_are_answered_before_the_end),
        cmocka_unit_test(what_takes_too_long_is_cut_off_at_the_end),
        cmocka_unit_test(a_port_in_use_is_an_error_with_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
