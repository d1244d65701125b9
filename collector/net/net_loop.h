/* One event loop: its thread, its inbox, its timer wheel, its connections.
 *
 * Owner: struct net.  Thread: everything on the loop's thread except net_loop_post.
 * Failure: net_loop_init returns an error; posting cannot fail (messages are part of what they speak of).
 * Limits: the inbox holds at most one message a request, one begin and one end a stream, and NET_STREAM_QUEUE bytes a stream.
 * Invariants: 1. A posted message runs exactly once, on the loop's thread, in the order of posting by one thread.
 */
#ifndef COLLECTOR_NET_LOOP_H
#define COLLECTOR_NET_LOOP_H

#include "collector/net/net_core.h"

struct net_request;

struct net_msg {
    struct net_msg *next;
    void (*run)(struct net_loop *loop, struct net_msg *msg);
};

struct net_loop {
    struct net *net;
    unsigned index;
    bool detached; /* no thread and no sockets: a test feeds bytes */
    uv_loop_t uv;
    uv_async_t async;
    uv_check_t check;
    uv_timer_t tick, watch;
    uv_thread_t thread;
    bool ticking, quitting, drain_seen, close_seen, paused_memory;
    int64_t detached_now_ms;

    struct net_conn *conns;
    unsigned conn_count;
    struct net_request *requests;
    uint8_t *read_buf; /* NET_READ_BUF */
    uint8_t *plain_buf; /* 16 KiB: decrypted records */

    struct net_conn *wheel[NET_WHEEL_SLOTS];
    int64_t wheel_tick; /* the last tick that was served */

    int64_t date_s;
    char date[32]; /* RFC 9110 date of date_s */

    _Atomic(struct net_msg *) inbox;
    _Atomic unsigned load; /* connections given to this loop */
};

enum err net_loop_init(struct net_loop *loop, struct net *net, unsigned index);
enum err net_loop_init_detached(struct net_loop *loop, struct net *net);
enum err net_loop_start(struct net_loop *loop);
void net_loop_quit(
    struct net_loop *loop); /* any thread; ends the thread after closing everything */
void net_loop_join(struct net_loop *loop);
void net_loop_done(struct net_loop *loop); /* after join; frees requests nobody answered */

void net_loop_post(struct net_loop *loop, struct net_msg *msg); /* any thread */
void net_loop_wake(struct net_loop *loop); /* any thread */
void net_loop_drain(struct net_loop *loop);
int64_t net_loop_now_ms(const struct net_loop *loop);
const char *net_loop_date(struct net_loop *loop);

/* The timer wheel. A deadline may move at will; a connection is looked at no later than one tick after it. */
void net_loop_deadline(struct net_loop *loop, struct net_conn *conn, int64_t deadline_ms);
void net_loop_deadline_none(struct net_loop *loop, struct net_conn *conn);

#endif
