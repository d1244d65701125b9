/* What the network front counts. One enum entry, one line on /metrics; label sets are fixed here.
 * Thread: any.  Failure: none.
 */
#ifndef COLLECTOR_NET_STATS_H
#define COLLECTOR_NET_STATS_H

#include <stdint.h>

/*    id                  reason label          help is the family's */
#define NET_REFUSED_TABLE(X)                                                            \
    X(SYNTAX, "syntax") /* malformed HTTP/1 */                                          \
    X(SMUGGLING, "smuggling") /* bare LF, folding, two lengths, ... */                  \
    X(HEAD_TOO_LARGE, "head_too_large")                                                 \
    X(BODY_TOO_LARGE, "body_too_large")                                                 \
    X(MEMORY, "memory") /* body memory in flight is used up */                          \
    X(NO_ROUTE, "no_route")                                                             \
    X(METHOD, "method")                                                                 \
    X(WRONG_DOOR, "wrong_door") /* another protocol or port was meant */                \
    X(TLS_TO_PLAIN, "tls_to_plain_port")                                                \
    X(PLAIN_TO_TLS, "plain_to_tls_port")                                                \
    X(HOST, "host") /* Host header names somebody else: DNS rebinding */                \
    X(ACCESS, "access") /* the authorise callback said no */                            \
    X(HEADER_TIMEOUT, "header_timeout")                                                 \
    X(BODY_TIMEOUT, "body_timeout")                                                     \
    X(WRITE_TIMEOUT, "write_timeout")                                                   \
    X(TLS_HANDSHAKE, "tls_handshake")                                                   \
    X(H2_PROTOCOL, "h2_protocol")                                                       \
    X(H2_FLOOD, "h2_flood")                                                             \
    X(GRPC_FRAMING, "grpc_framing")                                                     \
    X(CONNECTIONS, "connections") /* over connections_max: accepted and closed */       \
    X(NO_DESCRIPTORS, "no_descriptors") /* accepting paused: no file descriptor left */ \
    X(SLOW_READER, "slow_reader") /* a stream was cut off */                            \
    X(NO_MEMORY, "no_memory")

enum net_refused {
#define X(id, reason) NET_REFUSED_##id,
    NET_REFUSED_TABLE(X)
#undef X
        NET_REFUSED_COUNT
};

enum net_counted {
    NET_COUNTED_BYTES_IN,
    NET_COUNTED_BYTES_OUT,
    NET_COUNTED_ACCEPTED,
    NET_COUNTED_REQUESTS,
    NET_COUNTED_OPEN, /* gauge */
    NET_COUNTED_BODY_BYTES, /* gauge */
    NET_COUNTED_GONE, /* replies discarded because the client had left */
    NET_COUNTED_PAUSED, /* reads paused for memory */
    NET_COUNTED_TLS_RELOADS,
    NET_COUNTED_TLS_RELOAD_FAILURES,
    NET_COUNTED_COUNT
};

void net_stats_refused(enum net_refused reason);
int64_t net_stats_refused_count(enum net_refused reason);
void net_stats_add(enum net_counted what, int64_t n);
int64_t net_stats_count(enum net_counted what);

#endif
