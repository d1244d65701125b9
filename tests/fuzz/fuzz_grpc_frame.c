/* The length-prefixed message: any bytes, cut anywhere, give the same message or the same refusal, within the limit. */
#include "base/check.h"
#include "collector/net/net_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct result {
    enum err e;
    struct buf body;
    char encoding[24];
};

static struct result run(struct net_conn *conn, struct bytes input, unsigned cut, bool encoding)
{
    struct net_request *req = net_request_new(conn);
    struct result r = {.e = ERR_OK};
    struct err_msg msg;
    unsigned step = 0;

    CHECK(req);
    req->body_max = 1024;
    if (encoding)
        net_request_add_header(req, BYTES_LIT("grpc-encoding"), BYTES_LIT("Gzip"));
    while (input.size > 0 && r.e == ERR_OK) {
        size_t n = cut ? 1 + step++ % cut : input.size;
        n = MIN(n, input.size);
        r.e = net_grpc_append(req, input.data, n, &msg);
        input = bytes_slice(input, n, input.size);
    }
    if (r.e == ERR_OK)
        r.e = net_grpc_end(req, &msg);
    CHECK(req->body.size <= req->body_max);
    buf_init(&r.body, 0);
    if (r.e == ERR_OK)
        buf_bytes_append(&r.body, net_request_body(req));
    memcpy(r.encoding, req->content_encoding, sizeof(r.encoding));
    net_request_free(req);
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct net *net;
    struct net_conn *conn;
    struct result whole, pieces;
    struct bytes input;
    struct buf text;

    if (size < 1)
        return 0;
    input = bytes_of(data + 1, size - 1);
    net = net_new_detached(&(struct net_opts){.loops = 1});
    CHECK(net);
    conn = net_conn_new_detached(&net->loops[0], NET_OTLP_GRPC, NULL);
    CHECK(conn);
    whole = run(conn, input, 0, data[0] & 1);
    pieces = run(conn, input, 1 + data[0] / 2 % 8, data[0] & 1);
    CHECK(whole.e == pieces.e);
    CHECK(bytes_equal(buf_bytes(&whole.body), buf_bytes(&pieces.body)));
    CHECK(strcmp(whole.encoding, pieces.encoding) == 0);
    if (whole.e == ERR_OK) { /* the message is what lies between the prefix and the end */
        CHECK(input.size == whole.body.size + 5);
        CHECK(whole.body.size == 0 ||
              memcmp(whole.body.data, input.data + 5, whole.body.size) == 0);
    }
    buf_init(&text, 0);
    net_grpc_percent_encode(&text, input);
    net_grpc_base64(&text, input);
    for (size_t i = 0; i < text.size; i++)
        CHECK(text.data[i] >= 0x20 && text.data[i] <= 0x7e);
    buf_done(&text);
    buf_done(&whole.body);
    buf_done(&pieces.body);
    net_conn_free_detached(conn);
    net_free(net);
    return 0;
}
