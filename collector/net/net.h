/* The network front: three doors (OTLP gRPC, OTLP HTTP, web), HTTP/1.1, HTTP/2, gRPC and TLS on a few event-loop threads.
 *
 *   net_new -> net_route... -> net_listen... -> net_start -> (handlers run, replies come back) -> net_stop -> net_free
 *
 * Owner: caller (net_free). A request belongs to its handler from the call until exactly one of net_reply, net_reply_grpc,
 *   net_reply_err or net_stream_begin takes it; until then every slice an accessor gave stays valid.
 * Thread: net_new, net_route, net_listen, net_start, net_stop, net_free: one thread. Handlers and the authorise callback run on
 *   a loop thread and must not block. Accessors: the thread that holds the request. Replies and streams: any thread.
 * Failure: a refused request never reaches a handler; its peer gets a sentence and a counter of telltale_net_* goes up.
 *   A reply whose client is gone is discarded.
 * Limits: net_limits.h, and struct net_opts.
 * Invariants: 1. One reply per request. 2. Replies on one HTTP/1 connection leave in the order of their requests.
 *   3. No body byte is read before the authorise callback has allowed the request. 4. Body memory in flight <= body_bytes_max.
 */
#ifndef COLLECTOR_NET_H
#define COLLECTOR_NET_H

#include "base/arena.h"
#include "base/err.h"
#include <stdatomic.h>

struct net;
struct net_request;
struct net_stream;

enum net_door { NET_OTLP_GRPC, NET_OTLP_HTTP, NET_WEB, NET_DOOR_COUNT };
#define NET_DOOR_MASK(door) (1u << (door))
#define NET_DOORS_ALL ((1u << NET_DOOR_COUNT) - 1)

struct net_header {
    const char *name, *value;
};

/* What the authorise callback found out; kept with the request. */
struct net_access {
    uint32_t org;
    uint32_t role; /* the caller's own numbers */
    uint64_t key_id;
    void *user; /* borrowed; must outlive the request */
};

/* Filled by the authorise callback when it refuses. */
struct net_refusal {
    enum err
        code; /* usually ERR_UNAUTHENTICATED or ERR_FORBIDDEN; gives the HTTP and gRPC status */
    struct err_msg msg;
    const char *www_authenticate; /* static text for the header, or NULL */
    unsigned retry_after_s; /* 0 = no header */
};

/* Called once a request, when its headers are complete and a route was found. true allows it (and fills out_access). */
typedef bool (*net_authorise)(void *ctx, struct net_request *req, struct net_access *out_access,
                              struct net_refusal *out_refusal);
typedef void (*net_handler)(void *ctx, struct net_request *take_req);

struct net_opts { /* zero = the default in brackets */
    unsigned loops; /* [2] */
    unsigned connections_max; /* a door [20000] */
    size_t
        body_bytes_max; /* of all requests in flight [512 MiB]; past 3/4 of it new bodies wait, past it 503 */
    int64_t header_timeout_ms; /* [10 s] from the first byte (or accept) to complete headers */
    int64_t body_timeout_ms; /* [10 s] grace, then body_rate_min must hold */
    size_t body_rate_min; /* bytes/s [1024] */
    int64_t idle_timeout_ms; /* between requests [75 s] */
    int64_t write_timeout_ms; /* no progress in sending [30 s] */
    net_authorise authorise; /* NULL: everything is allowed, access is all zero but org = 1 */
    void *authorise_ctx;
    const char *const *
        host_names; /* web door: names beside localhost and IP addresses that Host may hold; "*" = any; NULL-terminated */
    const char *tls_cert_file, *tls_key_file; /* PEM; both or none */
    unsigned tls_doors; /* NET_DOOR_MASK of the doors that speak TLS; others are plain */
    const char *advertise
        [NET_DOOR_COUNT]; /* "host:port" for sentences that name the right door; NULL = "port N" as bound */
};

struct net *net_new(const struct net_opts *opts); /* copies opts; NULL when out of memory */

enum net_route_flags {
    NET_ROUTE_OPEN = 1, /* not shown to the authorise callback */
    NET_ROUTE_LOW = 2, /* served even when body memory is short (no effect on its own body limit) */
};
/* Adds a route; before net_start. method: "GET" (HEAD is answered too), "POST", ...; "*" = any.
 * pattern: a path; a segment "{}" matches one segment (net_request_param); a final "*" matches the rest, also empty.
 * Literal text wins over "{}", "{}" over "*". gRPC: method "POST", pattern "/package.Service/Method", door NET_OTLP_GRPC. */
struct net_route {
    unsigned doors; /* NET_DOOR_MASK(..) | .. */
    const char *method, *pattern;
    net_handler handler;
    void *ctx;
    size_t body_max; /* 0 = 64 MiB */
    unsigned flags;
};
enum err net_route(struct net *net, const struct net_route *route) MUST_CHECK;

/* Binds and listens (connections are accepted after net_start). address: "127.0.0.1:4317", "[::]:4318", "localhost:0". Port 0 = any. */
enum err net_listen(struct net *net, enum net_door door, const char *address, unsigned *out_port,
                    struct err_msg *msg) MUST_CHECK;
/* Starts the loop threads. */
enum err net_start(struct net *net, struct err_msg *msg) MUST_CHECK;
/* Reads certificate and key again now; on failure the old ones stay. Files are also watched (5 s). Any thread. */
enum err net_reload(struct net *net, struct err_msg *msg) MUST_CHECK;
/* Stops accepting; requests in flight may finish. Any thread, returns at once. */
void net_stop_accepting(struct net *net);
/* net_stop_accepting, then waits until all requests are answered or the time is over; then closes all connections and sets
 * the cancel flag of what is left. Returns the number of requests that were cut off. */
unsigned net_stop(struct net *net, int64_t drain_ms);
/* Ends the threads and frees everything. Nobody may hold a request or stream any more. NULL is fine. */
void net_free(struct net *net);
unsigned net_connections(const struct net *net); /* open now */
size_t net_body_bytes(const struct net *net); /* body memory in flight now */
unsigned net_port(const struct net *net, enum net_door door); /* 0 when not listening */

/* --- the request ------------------------------------------------------------------------------ */
struct bytes net_request_method(const struct net_request *req); /* "GET" */
struct bytes net_request_path(
    const struct net_request *req); /* decoded, without the query; NUL-terminated beyond size */
struct bytes net_request_param(const struct net_request *req,
                               unsigned index); /* what the n-th "{}" or "*" matched, decoded */
struct bytes net_request_header(const struct net_request *req,
                                const char *name); /* any case; first one; size 0 when absent */
/* "host" is :authority in HTTP/2. */
bool net_request_has_header(const struct net_request *req, const char *name);
/* Decoded parameters of the query string, then (POST with application/x-www-form-urlencoded) of the body. name is exact.
 * Returns false when there is no n-th value of that name. Values live in the request. */
bool net_request_value(struct net_request *req, const char *name, unsigned n, struct bytes *out);
struct bytes net_request_content_type(
    const struct net_request *req); /* media type in lower case, without parameters */
struct bytes net_request_content_encoding(
    const struct net_request *
        req); /* HTTP: Content-Encoding; gRPC: grpc-encoding if the message is flagged compressed; lower case; empty = identity */
struct bytes net_request_body(const struct net_request *req);
/* Moves the body out as malloc'ed memory (arena_adopt it). Size 0: NULL. Its bytes stay accounted until the reply. */
uint8_t *net_request_take_body(struct net_request *req, size_t *out_size);
/* An arena that dies with the request, for what a handler computes; limit 64 MiB. NULL when out of memory. */
struct arena *net_request_arena(struct net_request *req);
enum net_door net_request_door(const struct net_request *req);
bool net_request_is_grpc(const struct net_request *req);
bool net_request_is_tls(const struct net_request *req);
bool net_request_is_loopback(const struct net_request *req); /* the peer's address */
const char *net_request_peer(const struct net_request *req); /* "127.0.0.1:5555" */
const struct net_access *net_request_access(const struct net_request *req);
/* Set when the client is gone or the server stops: long work may end early; the reply must still be made. */
const atomic_bool *net_request_cancelled(const struct net_request *req);

/* --- replies: each takes the request ---------------------------------------------------------- */
struct net_response {
    int status;
    const char *content_type; /* NULL = no body type */
    const struct net_header *headers; /* copied */
    unsigned header_count;
    struct bytes body; /* copied, unless one of the two below */
    bool body_take; /* body.data is malloc'ed and now the server's to free */
    bool body_static; /* body outlives the server */
};
void net_reply(struct net_request *take_req, const struct net_response *response);

struct net_grpc_response {
    int grpc_status; /* 0 = OK */
    const char *message; /* UTF-8, percent-encoded by us; NULL = none */
    struct bytes body; /* the reply message; sent only with status 0; copied */
    struct bytes details; /* google.rpc.Status, for grpc-status-details-bin; copied */
};
void net_reply_grpc(struct net_request *take_req, const struct net_grpc_response *response);

/* The refusal in the door's own form: gRPC status; on NET_OTLP_HTTP google.rpc.Status in the request's type; on NET_WEB
 * {"status":"error","errorType":..,"error":..}. retry_after_s > 0 adds Retry-After (HTTP) or RetryInfo (gRPC, OTLP). */
void net_reply_err(struct net_request *take_req, enum err e, const char *sentence,
                   unsigned retry_after_s);
/* Shorthand: 200 with a text the server copies. */
void net_reply_text(struct net_request *take_req, int status, const char *content_type,
                    struct bytes body);

/* --- streaming (Server-Sent Events) ----------------------------------------------------------- */
/* Sends status, headers and the body given (the first chunk), and keeps the response open. NULL when out of memory (the request has then been answered). */
struct net_stream *net_stream_begin(struct net_request *take_req, const struct net_response *head);
/* Queues a chunk (copied). ERR_CANCELLED: client gone. ERR_LIMIT: more than 256 KiB wait: the reader is too slow and is cut off.
 * After either, only net_stream_end is of use. */
enum err net_stream_send(struct net_stream *s, struct bytes chunk) MUST_CHECK;
bool net_stream_is_open(const struct net_stream *s);
/* Bytes that waited for the reader when the last chunk was taken, and what was sent since. */
size_t net_stream_waiting(const struct net_stream *s);
void net_stream_end(struct net_stream *take_s);

#endif
