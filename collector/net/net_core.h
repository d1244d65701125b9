/* The server object: options, doors, routes, loops, and the budget of body memory.
 *
 * Owner: net_new's caller.  Thread: as marked.  Failure: see functions.
 * Invariants: 1. Routes and options never change after net_start. 2. body_bytes = the sum of all requests' `charged`
 *   and all connections' `pending_charged`.
 */
#ifndef COLLECTOR_NET_CORE_H
#define COLLECTOR_NET_CORE_H

#include "base/check.h" /* before uv.h: <sys/param.h> has a MIN of its own */
#include "collector/net/net.h"
#include "collector/net/net_limits.h"
#include "collector/net/net_stats.h"
#include <pthread.h>
#include <uv.h>

struct net_loop;
struct net_conn;
struct net_tls_ctx;

struct net_route_entry {
    struct net_route route; /* method and pattern are copies of ours */
    size_t pattern_size;
    unsigned params; /* "{}" and "*" in the pattern */
    bool rest; /* ends in "*" */
};

struct net_listener {
    enum net_door door;
    int fd;
    unsigned port;
    struct net *net;
    uv_poll_t poll; /* on loop 0 */
    uv_timer_t resume; /* accepting again after a shortage of descriptors */
    bool polling;
};

#define NET_LISTENERS_MAX 16

struct net {
    /* immutable after net_start */
    struct net_opts opts;
    char **host_names; /* owned, NULL-terminated or NULL */
    char *advertise[NET_DOOR_COUNT];
    struct net_route_entry *routes;
    unsigned route_count;
    struct net_loop *loops; /* opts.loops of them */
    struct net_listener listeners[NET_LISTENERS_MAX];
    unsigned listener_count;
    struct net_tls_ctx *tls; /* NULL: no TLS */
    bool started;
    unsigned threads; /* loops that run */

    /* atomic */
    _Atomic size_t body_bytes;
    _Atomic unsigned open[NET_DOOR_COUNT];
    _Atomic unsigned requests; /* alive: not yet answered */
    atomic_bool draining;
    atomic_bool closing; /* the drain time is over */
};

/* net_route.c */
enum net_route_result { NET_ROUTE_FOUND, NET_ROUTE_NONE, NET_ROUTE_WRONG_METHOD };
struct net_route_match {
    const struct net_route_entry *entry;
    struct bytes params[NET_PARAMS_MAX]; /* raw */
    char allow[64]; /* for NET_ROUTE_WRONG_METHOD */
};
enum net_route_result net_route_find(const struct net *net, enum net_door door, struct bytes method,
                                     struct bytes path, struct net_route_match *out);
void net_route_free_all(struct net *net);

/* net.c */
bool net_has_tls(const struct net *net, enum net_door door);
/* "host:port" or "port N" of another door, for a sentence. */
void net_door_name(const struct net *net, enum net_door door, char *out, size_t size);
/* A server with one loop that has no thread and no sockets: tests feed bytes into net_conn_new_detached connections, call
 * net_loop_drain, and end with net_free. */
struct net *net_new_detached(const struct net_opts *opts);

#endif
