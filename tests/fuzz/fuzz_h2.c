/* Any bytes after the HTTP/2 preface: no crash, no request or memory left behind. The first byte chooses door and cuts. */
#include "base/check.h"
#include "collector/net/net_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_request(void *ctx, struct net_request *req)
{
    if (net_request_is_grpc(req))
        net_reply_grpc(req, &(struct net_grpc_response){.body = net_request_body(req)});
    else
        net_reply_text(req, 200, "text/plain", net_request_body(req));
}

static void on_stream(void *ctx, struct net_request *req)
{
    struct net_stream *s = net_stream_begin(req, &(struct net_response){.status = 200});
    if (s && net_stream_send(s, BYTES_LIT("data: x\n\n")) == ERR_OK)
        net_stream_end(s);
    else if (s)
        net_stream_end(s);
}

static struct net *make_net(void)
{
    struct net_opts opts = {.body_bytes_max = 1 << 20};
    struct net_route routes[] = {
        {NET_DOORS_ALL, "POST", "/s/M", on_request, NULL, 4096, 0},
        {NET_DOORS_ALL, "GET", "/e", on_stream, NULL, 0, 0},
        {NET_DOORS_ALL, "*", "/", on_request, NULL, 0, 0},
    };
    struct net *net = net_new_detached(&opts);
    CHECK(net);
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        enum err e = net_route(net, &routes[i]);
        CHECK(e == ERR_OK);
    }
    return net;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    struct net *net;
    struct net_loop *loop;
    struct net_conn *conn;
    struct buf out;
    struct bytes input;
    unsigned step = 0, cut;

    if (size < 1)
        return 0;
    input = bytes_of(data + 1, size - 1);
    cut = data[0] / NET_DOOR_COUNT;
    net = make_net();
    loop = &net->loops[0];
    buf_init(&out, 0);
    conn = net_conn_new_detached(loop, data[0] % NET_DOOR_COUNT, &out);
    CHECK(conn);
    net_conn_raw(conn, (const uint8_t *)preface, sizeof(preface) - 1);
    while (input.size > 0 && !conn->closed) {
        size_t n = cut ? 1 + step++ % cut : input.size;
        n = MIN(n, input.size);
        net_conn_raw(conn, input.data, n);
        net_loop_drain(loop);
        input = bytes_slice(input, n, input.size);
    }
    loop->detached_now_ms += 20000;
    if (!conn->closed)
        net_conn_timeout(conn, net_loop_now_ms(loop));
    net_loop_drain(loop);
    if (!conn->closed)
        net_conn_drain(conn);
    net_loop_drain(loop);
    net_conn_free_detached(conn);
    net_loop_drain(loop);
    CHECK(atomic_load(&net->requests) == 0);
    CHECK(atomic_load(&net->body_bytes) == 0);
    net_free(net);
    buf_done(&out);
    return 0;
}
