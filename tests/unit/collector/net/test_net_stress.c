/* Many clients of all kinds at once, replies from other threads, clients that leave at any moment: for a bounded time. Worth
 * most under the tsan preset. TELLTALE_NET_STRESS_MS lengthens it. */
#include "base/check.h"
#include "base/clock.h"
#include "base/pool.h"
#include "collector/net/helper_h2.h"
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

enum { CLIENTS = 6 };

struct world {
    struct net *net;
    struct pool *pool;
    unsigned port[NET_DOOR_COUNT];
    int64_t until_ns;
    atomic_bool stopping; /* open streams are cut then, by design */
    _Atomic unsigned answered, streamed, wrong, left;
};

/* --- the server's side ------------------------------------------------------------------------ */

static void job_reply(void *ctx)
{
    struct net_request *req = ctx;
    size_t size;
    uint8_t *body;

    if (net_request_is_grpc(req)) {
        net_reply_grpc(req, &(struct net_grpc_response){.body = net_request_body(req)});
        return;
    }
    body = net_request_take_body(req, &size);
    net_reply(req, &(struct net_response){.status = 200,
                                          .content_type = "text/plain",
                                          .body = bytes_of(body, size),
                                          .body_take = true});
}

static void job_stream(void *ctx)
{
    struct net_request *req = ctx;
    struct net_stream *s = net_stream_begin(req, &(struct net_response){.status = 200});

    for (int i = 0; s && i < 20; i++)
        if (net_stream_send(s, BYTES_LIT("0123456789")) != ERR_OK)
            break;
    if (s)
        net_stream_end(s);
}

static void on_work(void *ctx, struct net_request *req)
{
    struct world *w = ctx;
    if (pool_submit(w->pool, job_reply, req) != ERR_OK)
        net_reply_err(req, ERR_UNAVAILABLE, "the queue is full", 1);
}

static void on_stream(void *ctx, struct net_request *req)
{
    struct world *w = ctx;
    if (pool_submit(w->pool, job_stream, req) != ERR_OK)
        net_reply_err(req, ERR_UNAVAILABLE, "the queue is full", 1);
}

/* --- the clients ------------------------------------------------------------------------------ */

static unsigned next_random(unsigned *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static void http1_session(struct world *w, unsigned *seed)
{
    int fd = helper_net_connect(w->port[NET_WEB]);
    unsigned n = 1 + next_random(seed) % 10;
    char body[64], text[256];
    struct buf b;

    buf_init(&b, 0);
    for (unsigned i = 0; fd >= 0 && i < n; i++) {
        snprintf(body, sizeof(body), "body-%u-%u", *seed, i);
        snprintf(text, sizeof(text),
                 "POST /work HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n%s",
                 strlen(body), body);
        helper_net_send(fd, text);
        if (!helper_net_response(fd, &b))
            break;
        if (strstr((char *)b.data, " 200 ") && !strstr((char *)b.data, body))
            w->wrong++;
        w->answered++;
    }
    if (fd >= 0)
        close(fd);
    buf_done(&b);
}

/* Leaves in the middle of something. */
static void rude_session(struct world *w, unsigned *seed)
{
    static const char *const parts[] = {
        "POST /work HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50000\r\n\r\nhalf",
        "POST /work HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi",
        "GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /str",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "",
    };
    int fd = helper_net_connect(w->port[next_random(seed) % NET_DOOR_COUNT]);
    struct linger now = {1, 0};

    if (fd < 0)
        return;
    helper_net_send(fd, parts[next_random(seed) % ARRAY_LEN(parts)]);
    if (next_random(seed) % 2)
        clock_sleep_ms(next_random(seed) % 3);
    if (next_random(seed) % 2)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close(fd);
    w->left++;
}

static void stream_session(struct world *w, unsigned *seed)
{
    int fd = helper_net_connect(w->port[NET_WEB]);
    struct buf b;

    if (fd < 0)
        return;
    buf_init(&b, 0);
    helper_net_send(fd, "GET /stream HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    if (helper_net_read_all(fd, &b, 3000)) {
        if (strstr((char *)b.data, " 200 ") && !strstr((char *)b.data, "\r\n0\r\n\r\n") &&
            !w->stopping)
            w->wrong++;
        w->streamed++;
    }
    close(fd);
    buf_done(&b);
}

static void grpc_session(struct world *w, unsigned *seed)
{
    int fd = helper_net_connect(w->port[NET_OTLP_GRPC]);
    struct helper_h2 *c;
    struct helper_h2_reply *r[8];
    struct buf frame;
    struct helper_h2_request q = {.path = "/work", .content_type = "application/grpc"};
    char text[32];

    if (fd < 0)
        return;
    c = helper_h2_open_fd(fd, NULL);
    snprintf(text, sizeof(text), "call-%u", *seed);
    buf_init(&frame, 0);
    helper_h2_grpc_frame(&frame, false, bytes_str(text));
    q.body = buf_bytes(&frame);
    for (unsigned i = 0; i < ARRAY_LEN(r); i++)
        r[i] = helper_h2_send(c, &q);
    for (unsigned i = 0; i < ARRAY_LEN(r); i++) {
        if (next_random(seed) % 8 == 0) {
            nghttp2_submit_rst_stream(c->session, 0, r[i]->stream_id, NGHTTP2_CANCEL);
            helper_h2_flush(c);
            continue;
        }
        if (!helper_h2_run(c, r[i], 3000) || r[i]->error)
            continue;
        if (r[i]->body.size && memcmp(r[i]->body.data, frame.data, frame.size) != 0)
            w->wrong++;
        w->answered++;
    }
    helper_h2_close(c);
    buf_done(&frame);
}

struct client {
    pthread_t thread;
    struct world *world;
    unsigned seed;
};

static void *client_main(void *arg)
{
    struct client *c = arg;
    while (clock_mono_ns() < c->world->until_ns) {
        switch (next_random(&c->seed) % 6) {
        case 0: rude_session(c->world, &c->seed); break;
        case 1: stream_session(c->world, &c->seed); break;
        case 2:
        case 3: grpc_session(c->world, &c->seed); break;
        default: http1_session(c->world, &c->seed); break;
        }
    }
    return NULL;
}

static struct world *start_world(int64_t ms)
{
    struct world *w = calloc(1, sizeof(*w));
    struct net_opts opts = {.loops = 3, .body_bytes_max = 8 << 20};
    struct net_route work = {NET_DOORS_ALL, "POST", "/work", on_work, w, 0, 0};
    struct net_route stream = {NET_DOORS_ALL, "GET", "/stream", on_stream, w, 0, 0};
    struct err_msg msg = {""};

    CHECK(w);
    w->until_ns = clock_mono_ns() + ms * 1000000;
    w->pool = pool_new("stress", 3, 1000);
    w->net = net_new(&opts);
    CHECK(w->pool && w->net);
    assert_int_equal(net_route(w->net, &work), ERR_OK);
    assert_int_equal(net_route(w->net, &stream), ERR_OK);
    for (unsigned d = 0; d < NET_DOOR_COUNT; d++)
        assert_int_equal(net_listen(w->net, d, "127.0.0.1:0", &w->port[d], &msg), ERR_OK);
    assert_int_equal(net_start(w->net, &msg), ERR_OK);
    return w;
}

static bool has_no_connection(void *ctx)
{
    return net_connections(ctx) == 0 && net_body_bytes(ctx) == 0;
}

static void all_kinds_of_clients_at_once_are_served_right(void **state)
{
    const char *env = getenv("TELLTALE_NET_STRESS_MS");
    struct world *w = start_world(env ? atoi(env) : 1500);
    struct client clients[CLIENTS];

    for (unsigned i = 0; i < CLIENTS; i++) {
        clients[i] = (struct client){.world = w, .seed = i * 7919 + 1};
        pthread_create(&clients[i].thread, NULL, client_main, &clients[i]);
    }
    for (unsigned i = 0; i < CLIENTS; i++)
        pthread_join(clients[i].thread, NULL);
    print_message("%u answers, %u streams, %u clients that left\n", w->answered, w->streamed,
                  w->left);
    assert_int_equal(w->wrong, 0);
    assert_true(w->answered > 50 && w->streamed > 0 && w->left > 0);
    assert_true(helper_net_wait(has_no_connection, w->net, 5000));
    net_stop(w->net, 1000);
    pool_free(w->pool);
    net_free(w->net);
    free(w);
}

static void stopping_in_the_middle_of_the_traffic_is_clean(void **state)
{
    struct world *w = start_world(700);
    struct client clients[CLIENTS];

    for (unsigned i = 0; i < CLIENTS; i++) {
        clients[i] = (struct client){.world = w, .seed = i * 104729 + 3};
        pthread_create(&clients[i].thread, NULL, client_main, &clients[i]);
    }
    clock_sleep_ms(300);
    w->stopping = true;
    net_stop(w->net, 2000);
    assert_int_equal(net_connections(w->net), 0);
    for (unsigned i = 0; i < CLIENTS; i++)
        pthread_join(clients[i].thread, NULL);
    assert_int_equal(w->wrong, 0);
    pool_free(w->pool); /* before net_free: its jobs hold requests */
    assert_int_equal(net_body_bytes(w->net), 0);
    net_free(w->net);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_kinds_of_clients_at_once_are_served_right),
        cmocka_unit_test(stopping_in_the_middle_of_the_traffic_is_clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
