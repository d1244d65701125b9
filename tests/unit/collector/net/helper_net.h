/* A server on any port with a few routes, and a raw-socket client to treat it badly with. */
#ifndef HELPER_NET_H
#define HELPER_NET_H

#include "base/buf.h"
#include "collector/net/net.h"

struct helper_net {
    struct net *net;
    unsigned port[NET_DOOR_COUNT];
    _Atomic unsigned handled; /* requests that reached a handler */
    _Atomic unsigned authorised; /* calls of the authorise callback */
    _Atomic(struct net_request *) held; /* by the route /hold */
    _Atomic(struct net_stream *) stream; /* by the route /events */
};

/* Routes on all HTTP doors: POST /v1/traces and ANY /echo (the body back), GET /hello, GET /p/{}/x/{}, GET /files/ *, POST /small
 * (body limit 10), POST /form (value of "a"), GET /hold, GET /events, GET /big (1 MiB), POST /secret (needs
 * "authorization: Bearer good"); gRPC: /test.Service/Echo, /test.Service/Fail, /test.Service/Hold. */
struct helper_net *helper_net_start(struct net_opts opts, bool with_auth);
void helper_net_stop(struct helper_net *h);

int helper_net_connect(unsigned port);
int helper_net_connect_fd(int fd, unsigned port); /* 0 = connected */
void helper_net_send(int fd, const char *text);
void helper_net_send_bytes(int fd, struct bytes b);
/* Reads one response (head and Content-Length or chunked body) as text into out (NUL-terminated); false: closed before. */
bool helper_net_response(int fd, struct buf *out);
/* Reads until the peer closes or ms have passed; true when it closed. */
bool helper_net_read_all(int fd, struct buf *out, int ms);
bool helper_net_wait(bool (*done)(void *ctx), void *ctx, int ms);
/* Sends text on a new connection, gives the first status (0: closed without an answer). body may be NULL. */
int helper_net_status(unsigned port, const char *text, struct buf *out);

#endif
