#include "collector/net/helper_net.h"
#include "base/check.h"
#include "base/clock.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- handlers --------------------------------------------------------------------------------- */

static void on_echo(void *ctx, struct net_request *req)
{
    struct helper_net *h = ctx;
    size_t size;
    uint8_t *body = net_request_take_body(req, &size);
    h->handled++;
    net_reply(req, &(struct net_response){.status = 200,
                                          .content_type = "text/plain",
                                          .body = bytes_of(body, size),
                                          .body_take = true});
}

static void on_hello(void *ctx, struct net_request *req)
{
    struct helper_net *h = ctx;
    struct net_header header = {"X-Peer", net_request_peer(req)};
    h->handled++;
    net_reply(req, &(struct net_response){.status = 200,
                                          .content_type = "text/plain",
                                          .headers = &header,
                                          .header_count = 1,
                                          .body = BYTES_LIT("hello"),
                                          .body_static = true});
}

static void on_params(void *ctx, struct net_request *req)
{
    struct helper_net *h = ctx;
    struct buf out;
    struct bytes q = BYTES_LIT("-");
    h->handled++;
    buf_init(&out, 0);
    net_request_value(req, "q", 0, &q);
    buf_printf(&out, BYTES_FMT "|" BYTES_FMT "|" BYTES_FMT, BYTES_ARG(net_request_param(req, 0)),
               BYTES_ARG(net_request_param(req, 1)), BYTES_ARG(q));
    net_reply_text(req, 200, "text/plain", buf_bytes(&out));
    buf_done(&out);
}

static void on_form(void *ctx, struct net_request *req)
{
    struct bytes first = BYTES_NONE, second = BYTES_NONE;
    struct buf out;
    buf_init(&out, 0);
    net_request_value(req, "a[]", 0, &first);
    net_request_value(req, "a[]", 1, &second);
    buf_printf(&out, BYTES_FMT "," BYTES_FMT, BYTES_ARG(first), BYTES_ARG(second));
    net_reply_text(req, 200, "text/plain", buf_bytes(&out));
    buf_done(&out);
}

static void on_hold(void *ctx, struct net_request *req)
{
    struct helper_net *h = ctx;
    h->handled++;
    atomic_store(&h->held, req);
}

static void on_events(void *ctx, struct net_request *req)
{
    struct helper_net *h = ctx;
    struct net_response head = {
        .status = 200, .content_type = "text/event-stream", .body = BYTES_LIT("retry: 9\n\n")};
    h->handled++;
    atomic_store(&h->stream, net_stream_begin(req, &head));
}

static void on_big(void *ctx, struct net_request *req)
{
    struct helper_net *h = ctx;
    uint8_t *data = malloc(1 << 20);
    CHECK(data);
    h->handled++;
    memset(data, 'x', 1 << 20);
    net_reply(req, &(struct net_response){
                       .status = 200, .body = bytes_of(data, 1 << 20), .body_take = true});
}

static void on_grpc_echo(void *ctx, struct net_request *req)
{
    struct helper_net *h = ctx;
    struct buf out;
    h->handled++;
    buf_init(&out, 0);
    buf_bytes_append(&out, net_request_content_encoding(req));
    buf_str(&out, "|");
    buf_bytes_append(&out, net_request_body(req));
    net_reply_grpc(req, &(struct net_grpc_response){.body = buf_bytes(&out)});
    buf_done(&out);
}

static void on_grpc_fail(void *ctx, struct net_request *req)
{
    net_reply_grpc(req, &(struct net_grpc_response){.grpc_status = 3,
                                                    .message = "bad: 100% \xc3\xa4\n",
                                                    .details = BYTES_LIT("\x08\x03")});
}

static bool on_authorise(void *ctx, struct net_request *req, struct net_access *access,
                         struct net_refusal *refusal)
{
    struct helper_net *h = ctx;
    struct bytes token = net_request_header(req, "authorization");
    h->authorised++;
    if (bytes_equal_str(net_request_path(req), "/secret") &&
        !bytes_equal_str(token, "Bearer good")) {
        refusal->www_authenticate = "Bearer realm=\"telltale\"";
        refusal->code = err_set(&refusal->msg, ERR_UNAUTHENTICATED, "an ingest key is needed");
        return false;
    }
    *access = (struct net_access){.org = 7, .role = 2, .key_id = 3};
    return true;
}

static void on_secret(void *ctx, struct net_request *req)
{
    struct helper_net *h = ctx;
    char text[64];
    h->handled++;
    snprintf(text, sizeof(text), "org %u", net_request_access(req)->org);
    net_reply_text(req, 200, "text/plain", bytes_str(text));
}

/* --- the server ------------------------------------------------------------------------------- */

static void add(struct helper_net *h, unsigned doors, const char *method, const char *pattern,
                net_handler handler, size_t body_max)
{
    struct net_route r = {doors, method, pattern, handler, h, body_max, 0};
    enum err e = net_route(h->net, &r);
    CHECK(e == ERR_OK);
}

struct helper_net *helper_net_start(struct net_opts opts, bool with_auth)
{
    struct helper_net *h = calloc(1, sizeof(*h));
    unsigned http = NET_DOOR_MASK(NET_OTLP_HTTP) | NET_DOOR_MASK(NET_WEB);
    unsigned grpc = NET_DOOR_MASK(NET_OTLP_GRPC);
    struct err_msg msg = {""};

    CHECK(h);
    if (with_auth) {
        opts.authorise = on_authorise;
        opts.authorise_ctx = h;
    }
    h->net = net_new(&opts);
    CHECK(h->net);
    add(h, NET_DOOR_MASK(NET_OTLP_HTTP), "POST", "/v1/traces", on_echo, 0);
    add(h, http, "*", "/echo", on_echo, 0);
    add(h, http, "GET", "/hello", on_hello, 0);
    add(h, http, "GET", "/p/{}/x/{}", on_params, 0);
    add(h, http, "GET", "/p/literal/x/{}", on_hello, 0);
    add(h, http, "GET", "/files/*", on_params, 0);
    add(h, http, "POST", "/small", on_echo, 10);
    add(h, http, "POST", "/form", on_form, 0);
    add(h, http, "GET", "/hold", on_hold, 0);
    add(h, http, "GET", "/events", on_events, 0);
    add(h, http, "GET", "/big", on_big, 0);
    add(h, http, "POST", "/secret", on_secret, 0);
    add(h, grpc, "POST", "/test.Service/Echo", on_grpc_echo, 1 << 20);
    add(h, grpc, "POST", "/test.Service/Fail", on_grpc_fail, 0);
    add(h, grpc, "POST", "/test.Service/Hold", on_hold, 0);
    for (unsigned d = 0; d < NET_DOOR_COUNT; d++) {
        enum err e = net_listen(h->net, d, "127.0.0.1:0", &h->port[d], &msg);
        CHECK(e == ERR_OK);
    }
    if (net_start(h->net, &msg) != ERR_OK) {
        fprintf(stderr, "%s\n", msg.text);
        CHECK_UNREACHABLE();
    }
    return h;
}

void helper_net_stop(struct helper_net *h)
{
    net_stop(h->net, 200);
    net_free(h->net);
    free(h);
}

/* --- the client ------------------------------------------------------------------------------- */

int helper_net_connect_fd(int fd, unsigned port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int one = 1;

    CHECK(fd >= 0);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return connect(fd, (struct sockaddr *)&to, sizeof(to));
}

int helper_net_connect(unsigned port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (helper_net_connect_fd(fd, port) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

void helper_net_send_bytes(int fd, struct bytes b)
{
    while (b.size > 0) {
        ssize_t n = send(fd, b.data, b.size, MSG_NOSIGNAL);
        if (n <= 0)
            return; /* the server may hang up on us: what it said is read afterwards */
        b = bytes_slice(b, (size_t)n, b.size);
    }
}

void helper_net_send(int fd, const char *text)
{
    helper_net_send_bytes(fd, bytes_str(text));
}

static bool read_more(int fd, struct buf *out, int ms)
{
    struct pollfd p = {fd, POLLIN, 0};
    uint8_t chunk[16384];
    ssize_t n;

    if (poll(&p, 1, ms) <= 0)
        return false;
    n = recv(fd, chunk, sizeof(chunk), 0);
    if (n <= 0)
        return false;
    buf_append(out, chunk, (size_t)n);
    return true;
}

static void terminate(struct buf *out)
{
    buf_u8(out, 0);
    out->size--;
}

/* Byte by byte, so that what follows on the connection stays unread. */
static bool read_line(int fd, struct buf *out)
{
    size_t begin = out->size;
    while (out->size - begin < 2 || out->data[out->size - 1] != '\n') {
        struct pollfd p = {fd, POLLIN, 0};
        uint8_t c;
        if (poll(&p, 1, 10000) <= 0 || recv(fd, &c, 1, 0) != 1)
            return false;
        buf_u8(out, c);
    }
    return true;
}

static bool read_exactly(int fd, struct buf *out, size_t n)
{
    while (n > 0) {
        struct pollfd p = {fd, POLLIN, 0};
        uint8_t chunk[16384];
        ssize_t got;
        if (poll(&p, 1, 10000) <= 0)
            return false;
        got = recv(fd, chunk, n < sizeof(chunk) ? n : sizeof(chunk), 0);
        if (got <= 0)
            return false;
        buf_append(out, chunk, (size_t)got);
        n -= (size_t)got;
    }
    return true;
}

bool helper_net_response(int fd, struct buf *out)
{
    size_t length = 0;
    bool chunked = false;

    buf_clear(out);
    for (;;) {
        size_t begin = out->size;
        if (!read_line(fd, out))
            return false;
        terminate(out);
        if (out->size - begin == 2)
            break;
        if (strncasecmp((char *)out->data + begin, "content-length:", 15) == 0)
            length = strtoul((char *)out->data + begin + 15, NULL, 10);
        if (strncasecmp((char *)out->data + begin, "transfer-encoding: chunked", 26) == 0)
            chunked = true;
    }
    if (!chunked && !read_exactly(fd, out, length))
        return false;
    terminate(out);
    return true;
}

bool helper_net_read_all(int fd, struct buf *out, int ms)
{
    int64_t until = clock_mono_ns() + (int64_t)ms * 1000000;

    buf_clear(out);
    for (;;) {
        int64_t left = (until - clock_mono_ns()) / 1000000;
        struct pollfd p = {fd, POLLIN, 0};
        if (left <= 0 || poll(&p, 1, (int)left) == 0) {
            terminate(out);
            return false;
        }
        if (!read_more(fd, out, 0)) {
            terminate(out);
            return true;
        }
    }
}

bool helper_net_wait(bool (*done)(void *ctx), void *ctx, int ms)
{
    for (int i = 0; i < ms; i++) {
        if (done(ctx))
            return true;
        clock_sleep_ms(1);
    }
    return done(ctx);
}

int helper_net_status(unsigned port, const char *text, struct buf *out)
{
    struct buf own;
    struct buf *b = out ? out : &own;
    int fd = helper_net_connect(port), status = 0;

    buf_init(&own, 0);
    CHECK(fd >= 0);
    helper_net_send(fd, text);
    shutdown(fd, SHUT_WR);
    helper_net_read_all(fd, b, 5000);
    close(fd);
    if (b->size > 12 && memcmp(b->data, "HTTP/1.1 ", 9) == 0)
        status = atoi((char *)b->data + 9);
    buf_done(&own);
    return status;
}
