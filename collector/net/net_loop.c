/* Event loops: the inbox other threads post to, and the timer wheel. */
#include "collector/net/net_loop.h"
#include "base/check.h"
#include "collector/net/net_conn.h"
#include "collector/net/net_request.h"
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static _Thread_local struct net_loop *current; /* the loop this thread runs, or NULL */

static void on_async(uv_async_t *handle);
static void on_check(uv_check_t *handle);
static void on_tick(uv_timer_t *handle);
static void on_watch(uv_timer_t *handle);

enum err net_loop_init_detached(struct net_loop *loop, struct net *net)
{
    loop->net = net;
    loop->detached = true;
    loop->read_buf = malloc(NET_READ_BUF);
    loop->plain_buf = malloc(16 * 1024);
    if (!loop->read_buf || !loop->plain_buf) {
        free(loop->read_buf);
        free(loop->plain_buf);
        return ERR_NOMEM;
    }
    return ERR_OK;
}

enum err net_loop_init(struct net_loop *loop, struct net *net, unsigned index)
{
    enum err e = net_loop_init_detached(loop, net);
    if (e != ERR_OK)
        return e;
    loop->detached = false;
    loop->index = index;
    if (uv_loop_init(&loop->uv) != 0)
        goto failed;
    if (uv_async_init(&loop->uv, &loop->async, on_async) != 0) {
        uv_loop_close(&loop->uv);
        goto failed;
    }
    uv_check_init(&loop->uv, &loop->check);
    uv_check_start(&loop->check, on_check);
    uv_timer_init(&loop->uv, &loop->tick);
    uv_timer_init(&loop->uv, &loop->watch);
    loop->uv.data = loop->async.data = loop->check.data = loop->tick.data = loop->watch.data = loop;
    return ERR_OK;
failed:
    free(loop->read_buf);
    free(loop->plain_buf);
    return ERR_UNAVAILABLE;
}

/* Signals are the main thread's; SIGPIPE (libuv writes without MSG_NOSIGNAL) stays pending and harmless. */
static void block_signals(void)
{
    static const int ours[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP};
    sigset_t set;

    sigfillset(&set);
    for (size_t i = 0; i < ARRAY_LEN(ours); i++)
        sigdelset(&set, ours[i]);
    pthread_sigmask(SIG_SETMASK, &set, NULL);
}

static void loop_main(void *arg)
{
    struct net_loop *loop = arg;
    char name[16];

    snprintf(name, sizeof(name), "net-%u", loop->index);
    pthread_setname_np(pthread_self(), name);
    block_signals();
    current = loop;
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    current = NULL;
}

enum err net_loop_start(struct net_loop *loop)
{
    if (loop->index == 0 && loop->net->tls)
        uv_timer_start(&loop->watch, on_watch, NET_TLS_WATCH_MS, NET_TLS_WATCH_MS);
    return uv_thread_create(&loop->thread, loop_main, loop) == 0 ? ERR_OK : ERR_UNAVAILABLE;
}

void net_loop_join(struct net_loop *loop)
{
    uv_thread_join(&loop->thread);
}

static void close_any(uv_handle_t *handle, void *arg)
{
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

void net_loop_done(struct net_loop *loop)
{
    if (!loop->detached) {
        uv_walk(&loop->uv, close_any, NULL); /* a loop that never ran */
        uv_run(&loop->uv, UV_RUN_DEFAULT);
        CHECK(uv_loop_close(&loop->uv) == 0);
    }
    loop->quitting = true;
    net_loop_drain(loop); /* what was posted too late */
    while (loop->requests)
        net_request_free(loop->requests);
    free(loop->read_buf);
    free(loop->plain_buf);
}

/* --- inbox ------------------------------------------------------------------------------------ */

void net_loop_wake(struct net_loop *loop)
{
    if (!loop->detached)
        uv_async_send(&loop->async);
}

void net_loop_post(struct net_loop *loop, struct net_msg *msg)
{
    struct net_msg *head = atomic_load_explicit(&loop->inbox, memory_order_relaxed);
    do
        msg->next = head;
    while (!atomic_compare_exchange_weak_explicit(&loop->inbox, &head, msg, memory_order_release,
                                                  memory_order_relaxed));
    if (current != loop) /* the loop itself drains before it sleeps */
        net_loop_wake(loop);
}

void net_loop_drain(struct net_loop *loop)
{
    for (;;) {
        struct net_msg *msg = atomic_exchange_explicit(&loop->inbox, NULL, memory_order_acquire);
        struct net_msg *first = NULL;
        if (!msg)
            return;
        while (msg) { /* the stack holds the newest first */
            struct net_msg *next = msg->next;
            msg->next = first;
            first = msg;
            msg = next;
        }
        while (first) {
            struct net_msg *next = first->next; /* run may free it */
            first->run(loop, first);
            first = next;
        }
    }
}

static void each_conn(struct net_loop *loop, void (*fn)(struct net_conn *conn))
{
    for (struct net_conn *c = loop->conns, *next; c; c = next) {
        next = c->next;
        fn(c);
    }
}

static void stop_polling(struct net_loop *loop)
{
    for (unsigned i = 0; loop->index == 0 && i < loop->net->listener_count; i++) {
        struct net_listener *l = &loop->net->listeners[i];
        if (l->polling)
            uv_poll_stop(&l->poll);
        l->polling = false;
        uv_timer_stop(&l->resume);
        close(l->fd); /* so that connecting is refused instead of left waiting */
        l->fd = -1;
    }
}

static void on_async(uv_async_t *handle)
{
    struct net_loop *loop = handle->data;

    net_loop_drain(loop);
    if (atomic_load(&loop->net->draining)) {
        if (!loop->drain_seen)
            stop_polling(loop);
        loop->drain_seen = true;
        each_conn(loop, net_conn_drain);
    }
    if (atomic_load(&loop->net->closing) && !loop->close_seen) {
        loop->close_seen = true;
        each_conn(loop, net_conn_close);
    }
    if (loop->quitting) {
        each_conn(loop, net_conn_close);
        uv_walk(&loop->uv, close_any, NULL);
    }
    net_loop_drain(loop);
}

static void on_check(uv_check_t *handle)
{
    net_loop_drain(handle->data);
}

static void on_watch(uv_timer_t *handle)
{
    struct net_loop *loop = handle->data;
    net_tls_ctx_watch(loop->net->tls);
}

struct quit_msg {
    struct net_msg msg;
};

static void run_quit(struct net_loop *loop, struct net_msg *msg)
{
    loop->quitting = true;
    free(msg);
}

void net_loop_quit(struct net_loop *loop)
{
    struct quit_msg *m = malloc(sizeof(*m));
    CHECK(m); /* a few bytes at the end of the process */
    m->msg.run = run_quit;
    net_loop_post(loop, &m->msg);
}

/* --- time ------------------------------------------------------------------------------------- */

int64_t net_loop_now_ms(const struct net_loop *loop)
{
    /* uv's loop time starts anywhere, also at 0 after boot; ours is never 0, so that 0 can mean "no time" */
    return loop->detached ? loop->detached_now_ms + 1 : (int64_t)uv_now(&loop->uv) + 1;
}

const char *net_loop_date(struct net_loop *loop)
{
    time_t now = loop->detached ? 1 : time(NULL);
    struct tm tm;

    if (now != loop->date_s) {
        gmtime_r(&now, &tm);
        strftime(loop->date, sizeof(loop->date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
        loop->date_s = now;
    }
    return loop->date;
}

static void wheel_remove(struct net_loop *loop, struct net_conn *conn)
{
    unsigned slot = (unsigned)(conn->wheel_ms / NET_TICK_MS) % NET_WHEEL_SLOTS;

    if (!conn->wheel_ms)
        return;
    if (conn->wheel_prev)
        conn->wheel_prev->wheel_next = conn->wheel_next;
    else
        loop->wheel[slot] = conn->wheel_next;
    if (conn->wheel_next)
        conn->wheel_next->wheel_prev = conn->wheel_prev;
    conn->wheel_prev = conn->wheel_next = NULL;
    conn->wheel_ms = 0;
}

static void wheel_insert(struct net_loop *loop, struct net_conn *conn, int64_t at_ms)
{
    int64_t tick = at_ms / NET_TICK_MS + 1;
    unsigned slot;

    if (tick <= loop->wheel_tick) /* the slot of the past is served last: use the next one */
        tick = loop->wheel_tick + 1;
    if (tick > loop->wheel_tick + NET_WHEEL_SLOTS - 1)
        tick = loop->wheel_tick + NET_WHEEL_SLOTS - 1;
    slot = (unsigned)(tick % NET_WHEEL_SLOTS);
    conn->wheel_ms = tick * NET_TICK_MS;
    conn->wheel_prev = NULL;
    conn->wheel_next = loop->wheel[slot];
    if (conn->wheel_next)
        conn->wheel_next->wheel_prev = conn;
    loop->wheel[slot] = conn;
}

static void tick_start(struct net_loop *loop)
{
    if (loop->ticking || loop->detached)
        return;
    loop->ticking = true;
    loop->wheel_tick = net_loop_now_ms(loop) / NET_TICK_MS;
    uv_timer_start(&loop->tick, on_tick, NET_TICK_MS, NET_TICK_MS);
}

void net_loop_deadline(struct net_loop *loop, struct net_conn *conn, int64_t deadline_ms)
{
    tick_start(loop);
    conn->deadline_ms = deadline_ms;
    /* later than where it hangs: it will be looked at and hung up again; earlier: it must move now */
    if (conn->wheel_ms && deadline_ms + NET_TICK_MS >= conn->wheel_ms)
        return;
    wheel_remove(loop, conn);
    wheel_insert(loop, conn, deadline_ms);
}

void net_loop_deadline_none(struct net_loop *loop, struct net_conn *conn)
{
    wheel_remove(loop, conn);
    conn->deadline_ms = 0;
}

static void wheel_serve(struct net_loop *loop, unsigned slot, int64_t now)
{
    struct net_conn *list = loop->wheel[slot];

    /* Unhook the whole slot first: what is hung up again meanwhile must not be met twice. */
    loop->wheel[slot] = NULL;
    for (struct net_conn *c = list; c; c = c->wheel_next)
        c->wheel_ms = -1;
    while (list) {
        struct net_conn *conn = list;
        list = conn->wheel_next;
        if (list)
            list->wheel_prev = NULL;
        conn->wheel_next = conn->wheel_prev = NULL;
        conn->wheel_ms = 0;
        if (conn->deadline_ms > now)
            wheel_insert(loop, conn, conn->deadline_ms);
        else
            net_conn_timeout(conn, now);
    }
}

static void unpause_memory(struct net_conn *conn)
{
    net_conn_unpause(conn, NET_PAUSE_MEMORY);
}

static void on_tick(uv_timer_t *handle)
{
    struct net_loop *loop = handle->data;
    int64_t now = net_loop_now_ms(loop), to = now / NET_TICK_MS;

    if (to - loop->wheel_tick > NET_WHEEL_SLOTS) /* stood still: every slot once is enough */
        loop->wheel_tick = to - NET_WHEEL_SLOTS;
    while (loop->wheel_tick < to) {
        loop->wheel_tick++;
        wheel_serve(loop, (unsigned)(loop->wheel_tick % NET_WHEEL_SLOTS), now);
    }
    if (loop->paused_memory && !net_admit_memory_short(loop->net)) {
        loop->paused_memory = false;
        each_conn(loop, unpause_memory);
    }
    net_loop_drain(loop);
    if (!loop->conns) {
        loop->ticking = false;
        uv_timer_stop(&loop->tick);
    }
}
