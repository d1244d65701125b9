/* A connection: which protocol it speaks, what it has read but not used, what waits to be sent, when to give it up.
 *
 * Owner: its loop (a detached one: the test).  Thread: the loop's.
 * Failure: protocol errors are answered and close the connection; nothing is returned to the caller.
 * Limits: net_limits.h.
 * Invariants: 1. After net_conn_close nothing is parsed or sent. 2. HTTP/1: at most one request at a time is admitted.
 */
#ifndef COLLECTOR_NET_CONN_H
#define COLLECTOR_NET_CONN_H

#include "base/buf.h"
#include "collector/net/net_loop.h"
#include <http_parser.h>

struct net_h2;
struct net_tls;

enum net_proto { NET_PROTO_NONE, NET_PROTO_HTTP1, NET_PROTO_H2 };

enum net_http1_state {
    NET_HTTP1_HEAD, /* idle, or reading request line and headers */
    NET_HTTP1_BODY,
    NET_HTTP1_WAIT, /* the handler has it; further bytes are kept */
    NET_HTTP1_STREAM, /* a streaming reply is open */
    NET_HTTP1_REFUSED, /* the answer is on its way; input is thrown away */
};

struct net_http1 {
    http_parser parser;
    uint8_t state; /* enum net_http1_state */
    uint8_t line; /* where the line scanner is */
    uint8_t chunk; /* where the chunk scanner is */
    bool in_value, chunked, head_complete, http10;
    uint32_t head_bytes, trailer_bytes;
    uint64_t body_left; /* of the body or of this chunk */
};

enum net_pause { NET_PAUSE_PIPELINE = 1, NET_PAUSE_MEMORY = 2 };

struct net_conn {
    uv_tcp_t tcp;
    struct net_loop *loop;
    struct net_conn *prev, *next;
    struct net_conn *wheel_prev, *wheel_next;
    int64_t deadline_ms, wheel_ms; /* wanted; where it hangs in the wheel (0: nowhere) */

    enum net_door door;
    uint8_t proto, pause;
    bool door_tls, is_loopback, sniffed_raw;
    bool closed, reading, eof, lingering, close_after_write, shutdown_sent, processing;
    uint8_t addr[16];
    uint16_t port;
    bool ipv6;

    int64_t head_since_ms; /* first byte of a head, or accept; 0 = idle between requests */
    int64_t idle_since_ms;
    int64_t write_since_ms; /* last progress of sending */
    size_t out_bytes, out_seen; /* queued; at the last look */
    uint64_t discarded;

    struct buf pending; /* read, not used yet */
    size_t pending_charged; /* what the budget counts for it */
    struct net_request *requests; /* admitted or being read, still connected */
    struct net_request *current; /* HTTP/1: the one being read or answered */
    struct net_tls *tls;
    struct net_h2 *h2;
    struct net_http1 h1;

    struct buf *sink; /* detached: where output goes */
};

void net_conn_accept(struct net_loop *loop, int fd, struct net_listener *listener);
struct net_conn *net_conn_new_detached(struct net_loop *loop, enum net_door door, struct buf *sink);
void net_conn_free_detached(struct net_conn *conn);

void net_conn_raw(struct net_conn *conn, const uint8_t *data, size_t size); /* from the socket */
void net_conn_plain(struct net_conn *conn, const uint8_t *data, size_t size); /* after TLS */
void net_conn_eof(struct net_conn *conn);
void net_conn_resume(struct net_conn *conn); /* uses what is pending, reads again if it may */
void net_conn_pause(struct net_conn *conn, enum net_pause why);
void net_conn_unpause(struct net_conn *conn, enum net_pause why);

/* Sends plaintext (through TLS if there is one). _take: data is malloc'ed and freed when sent. */
void net_conn_send(struct net_conn *conn, struct bytes data);
void net_conn_send_take(struct net_conn *conn, uint8_t *data, size_t size);
void net_conn_send_static(struct net_conn *conn, struct bytes data);
void net_conn_send_raw(struct net_conn *conn, uint8_t *take_data, size_t size); /* below TLS */
/* Sends what is queued, then half-closes, throws input away for a moment, and closes. */
void net_conn_finish(struct net_conn *conn);
void net_conn_close(struct net_conn *conn); /* now */
void net_conn_timeout(struct net_conn *conn, int64_t now_ms);
void net_conn_rearm(struct net_conn *conn); /* computes the next deadline from the state */
void net_conn_drain(struct net_conn *conn); /* the server stops: finish when nothing is in flight */
void net_conn_peer(const struct net_conn *conn, char *out, size_t size);

/* net_http1.c */
void net_http1_init(struct net_conn *conn);
size_t net_http1_feed(struct net_conn *conn, const uint8_t *data, size_t size); /* bytes used */
void net_http1_bad(struct net_conn *conn, int status, enum net_refused why, const char *sentence);
void net_http1_reply(struct net_conn *conn, struct net_request *req); /* from req->reply */
void net_http1_stream_begin(struct net_conn *conn, struct net_request *req);
void net_http1_stream_chunk(struct net_conn *conn, struct net_request *req, struct bytes chunk);
void net_http1_stream_end(struct net_conn *conn, struct net_request *req);
void net_http1_timeout(struct net_conn *conn, int64_t now_ms);
const char *net_http1_reason(int status);

/* net_h2.c */
bool net_h2_init(struct net_conn *conn);
void net_h2_free(struct net_conn *conn);
void net_h2_feed(struct net_conn *conn, const uint8_t *data, size_t size);
void net_h2_flush(struct net_conn *conn);
void net_h2_reply(struct net_conn *conn, struct net_request *req);
void net_h2_stream_begin(struct net_conn *conn, struct net_request *req);
void net_h2_stream_chunk(struct net_conn *conn, struct net_request *req, struct bytes chunk);
void net_h2_stream_end(struct net_conn *conn, struct net_request *req);
size_t net_h2_stream_waiting(
    const struct net_request *req); /* bytes that nghttp2 has not taken yet */
void net_h2_shutdown(struct net_conn *conn); /* GOAWAY: no new streams */
void net_h2_timeout(struct net_conn *conn, int64_t now_ms);
int64_t net_h2_deadline(const struct net_conn *conn);
bool net_h2_is_idle(const struct net_conn *conn);
struct net_h2_stream;
void net_h2_forget(struct net_h2_stream *stream); /* its request goes away */
void net_h2_cancel_streaming(struct net_conn *conn);

/* net_tls.c */
struct net_tls *net_tls_new(struct net_tls_ctx *ctx);
void net_tls_free(struct net_tls *tls);
void net_tls_feed(struct net_conn *conn, const uint8_t *data, size_t size);
void net_tls_send(struct net_conn *conn, struct bytes data);
void net_tls_shutdown(struct net_conn *conn);
bool net_tls_is_h2(const struct net_tls *tls);
bool net_tls_is_ready(const struct net_tls *tls);
enum err net_tls_ctx_new(const char *cert, const char *key, struct net_tls_ctx **out,
                         struct err_msg *msg);
void net_tls_ctx_free(struct net_tls_ctx *ctx);
enum err net_tls_ctx_reload(struct net_tls_ctx *ctx, struct err_msg *msg); /* any thread */
void net_tls_ctx_watch(struct net_tls_ctx *ctx); /* reloads if a file changed */

#endif
