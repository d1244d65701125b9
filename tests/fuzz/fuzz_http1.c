/* Any bytes on an HTTP/1 connection: no crash, nothing left behind, and the answers do not depend on how TCP cut the bytes.
 * The first byte chooses the door and where the cuts are. */
#include "base/check.h"
#include "collector/net/net_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_request(void *ctx, struct net_request *req)
{
    struct bytes value = BYTES_LIT("-");
    net_request_value(req, "a", 0, &value);
    net_request_value(req, "a", 1, &value);
    net_reply_text(req, 200, "text/plain", value.size ? value : net_request_body(req));
}

static bool on_authorise(void *ctx, struct net_request *req, struct net_access *access,
                         struct net_refusal *refusal)
{
    return !net_request_has_header(req, "x-refuse");
}

static struct net *make_net(void)
{
    struct net_opts opts = {.authorise = on_authorise, .body_bytes_max = 1 << 20};
    struct net_route routes[] = {
        {NET_DOORS_ALL, "POST", "/v1/traces", on_request, NULL, 4096, 0},
        {NET_DOORS_ALL, "GET", "/a/{}/b/*", on_request, NULL, 0, 0},
        {NET_DOORS_ALL, "*", "/", on_request, NULL, 0, NET_ROUTE_OPEN},
    };
    struct net *net = net_new_detached(&opts);
    CHECK(net);
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        enum err e = net_route(net, &routes[i]);
        CHECK(e == ERR_OK);
    }
    return net;
}

/* cut 0: all at once; n: pieces of 1 to n bytes */
static void run(struct bytes input, enum net_door door, unsigned cut, struct buf *out)
{
    struct net *net = make_net();
    struct net_loop *loop = &net->loops[0];
    struct net_conn *conn = net_conn_new_detached(loop, door, out);
    unsigned step = 0;

    CHECK(conn);
    while (input.size > 0 && !conn->closed) {
        size_t n = cut ? 1 + step++ % cut : input.size;
        n = MIN(n, input.size);
        net_conn_raw(conn, input.data, n);
        net_loop_drain(loop);
        input = bytes_slice(input, n, input.size);
    }
    loop->detached_now_ms += 100000;
    if (!conn->closed)
        net_conn_timeout(conn, net_loop_now_ms(loop));
    net_loop_drain(loop);
    if (!conn->closed)
        net_conn_eof(conn);
    net_loop_drain(loop);
    net_conn_free_detached(conn);
    net_loop_drain(loop);
    CHECK(atomic_load(&net->requests) == 0);
    CHECK(atomic_load(&net->body_bytes) == 0);
    net_free(net);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole, pieces;
    struct bytes input;

    if (size < 2)
        return 0;
    input = bytes_of(data + 1, size - 1);
    /* HTTP/2 answers depend on when they can be sent: that is fuzz_h2's business */
    if (input.data[0] == 'P' && bytes_has_prefix(input, BYTES_LIT("PRI * HTTP/2.0")))
        return 0;
    buf_init(&whole, 0);
    buf_init(&pieces, 0);
    run(input, data[0] % NET_DOOR_COUNT, 0, &whole);
    run(input, data[0] % NET_DOOR_COUNT, 1 + data[0] / NET_DOOR_COUNT % 16, &pieces);
    CHECK(bytes_equal(buf_bytes(&whole), buf_bytes(&pieces)));
    buf_done(&whole);
    buf_done(&pieces);
    return 0;
}
