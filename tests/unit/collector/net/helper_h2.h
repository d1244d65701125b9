/* A small blocking HTTP/2 client on nghttp2, plain or TLS, that can also misbehave. */
#ifndef HELPER_H2_H
#define HELPER_H2_H

#include "base/buf.h"
#include <nghttp2/nghttp2.h>
#include <openssl/ssl.h>

struct helper_h2_reply {
    int32_t stream_id;
    int status;
    struct buf headers, trailers; /* "name: value\n"..., NUL-terminated by helper_h2_run */
    struct buf body;
    uint32_t error; /* of RST_STREAM or stream close */
    bool closed;
    struct bytes left; /* of the request's body */
    bool no_end;
};

struct helper_h2 {
    int fd;
    SSL *ssl; /* NULL = plain */
    nghttp2_session *session;
    struct helper_h2_reply *replies[256];
    unsigned reply_count;
    uint32_t goaway; /* error code + 1; 0 = none came */
    bool eof;
};

struct helper_h2_request {
    const char *method, *path, *content_type, *authority;
    const char *const *headers; /* name, value, ..., NULL */
    struct bytes body;
    bool no_end; /* the body never ends */
};

struct helper_h2 *helper_h2_open(unsigned port);
struct helper_h2 *helper_h2_open_fd(int fd, SSL *take_ssl);
void helper_h2_close(struct helper_h2 *c);
struct helper_h2_reply *helper_h2_send(struct helper_h2 *c, const struct helper_h2_request *r);
/* Until the reply is complete, the connection ends, or ms have passed. reply NULL: until the end or the time. */
bool helper_h2_run(struct helper_h2 *c, struct helper_h2_reply *reply, int ms);
void helper_h2_flush(struct helper_h2 *c);
/* A gRPC message with its prefix. */
void helper_h2_grpc_frame(struct buf *out, bool compressed, struct bytes message);

#endif
