/* A request as the front keeps it: head, body, reply, and its place in connection and loop.
 *
 * Owner: the loop until the handler gets it, then the handler until it replies, then the loop again, which frees it.
 * Thread: fields as marked.  Failure: net_body_append returns an error; the request is then refused.
 * Invariants: 1. conn is NULL once the client is gone, and then cancelled is set. 2. charged is what the budget counts for it
 *   (head and body).
 */
#ifndef COLLECTOR_NET_REQUEST_H
#define COLLECTOR_NET_REQUEST_H

#include "collector/net/net_conn.h"

struct net_slot { /* offsets into head */
    uint32_t name, name_size, value, value_size;
};

struct net_reply_data {
    int status;
    bool is_grpc, is_static;
    struct buf headers; /* "name\0value\0"..., names in lower case */
    uint8_t *body;
    size_t body_size;
    struct buf trailers; /* as headers; gRPC */
};

enum net_grpc_phase { NET_GRPC_PREFIX, NET_GRPC_MESSAGE, NET_GRPC_COMPLETE };

struct net_h2_stream;

struct net_request {
    struct net_msg msg;
    struct net *net;
    struct net_loop *loop;

    /* loop only */
    struct net_conn *conn;
    struct net_h2_stream *stream;
    struct net_request *loop_prev, *loop_next, *conn_prev, *conn_next;
    size_t charged, head_charged; /* all of it; the head's part */
    int64_t body_since_ms; /* begin of the window in which body_rate_min must be reached */
    size_t body_seen; /* its bytes at that moment */
    bool body_expected, body_complete, dispatched, refused;
    uint8_t grpc_prefix[5], grpc_prefix_size, grpc_phase;
    uint32_t grpc_left;
    bool keep_alive, is_head, streaming;
    bool answered; /* HTTP/2: the stream sends the reply and then lets the request go */
    int refused_status; /* HTTP status in place of the error's own; 0 = none */

    /* immutable after the headers */
    enum net_door door;
    bool is_tls, is_loopback, is_grpc, is_h2, head_failed;
    struct buf head; /* method, target, header names (lower case) and values, each NUL-terminated */
    struct net_slot *slots;
    uint32_t slot_count, slot_cap;
    struct net_slot method_target; /* name = method, value = request target */
    struct bytes method, target, path, query;
    struct bytes params[NET_PARAMS_MAX];
    char *path_text; /* decoded path and params */
    char content_type[64], content_encoding[24];
    const struct net_route *route;
    struct net_access access;
    size_t body_max;
    int64_t content_length; /* -1 = not given */
    char peer[64];

    atomic_bool cancelled;

    /* handler */
    struct arena *arena;
    struct buf body; /* plain malloc'ed memory */
    struct net_pair *pairs;
    uint32_t pair_count;
    bool pairs_parsed;
    struct net_reply_data reply;
};

struct net_request *net_request_new(struct net_conn *conn); /* NULL when out of memory */
void net_request_free(struct net_request *req); /* loop thread */
void net_request_detach(struct net_request *req); /* the client is gone */
void net_request_release_body(struct net_request *req); /* its memory is free for others */
/* Building the head; failures set head_failed. */
void net_request_add_header(struct net_request *req, struct bytes name, struct bytes value);
enum err net_body_append(struct net_request *req, const uint8_t *data, size_t size);
struct bytes net_request_slot_value(const struct net_request *req, const struct net_slot *slot);
/* Counts the head's memory against the server's budget; false: there is none left. */
bool net_request_charge_head(struct net_request *req) MUST_CHECK;
unsigned net_request_count_header(const struct net_request *req, const char *name);

/* net_admit.c: everything between complete headers and the first body byte. false: refused, the reply is posted. */
bool net_admit(struct net_request *req);
/* The body is complete: gives the request to its handler. */
void net_dispatch(struct net_request *req);
/* Refuses a request that no handler has seen. */
void net_refuse(struct net_request *req, enum net_refused why, enum err e, const char *sentence,
                unsigned retry_after_s);
void net_refuse_status(struct net_request *req, enum net_refused why, int http_status, enum err e,
                       const char *sentence);
bool net_admit_memory_short(const struct net *net); /* new bodies should wait */
/* Whether less than body_rate_min came in the window that ends now; begins a new window if not. */
bool net_admit_too_slow(struct net_request *req, int64_t now_ms);

/* net_grpc.c */
enum err net_grpc_append(struct net_request *req, const uint8_t *data, size_t size,
                         struct err_msg *msg);
enum err net_grpc_end(struct net_request *req, struct err_msg *msg);
void net_grpc_percent_encode(struct buf *out, struct bytes text);
void net_grpc_base64(struct buf *out, struct bytes data);
/* google.rpc.Status in protobuf, with RetryInfo if retry_after_s > 0 */
void net_grpc_status_message(struct buf *out, int code, const char *message,
                             unsigned retry_after_s);

/* net_reply.c */
void net_reply_header(struct buf *headers, const char *name, const char *value);
void net_reply_post(struct net_request *req);

#endif
