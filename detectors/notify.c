#include "detectors/notify.h"
#include "base/alive.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "detectors/attempt.h"
#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define IDLE_MS 1000
#define LIMITED_MS 20
#define ALIVE_SLACK_MS INT64_C(120000) /* two attempts, names that resolve slowly, a slow disk */

struct worker {
    struct notify *notify;
    const struct detectors_receiver *receiver;
    struct webhook_url url;
    pthread_t thread;
    bool is_started;
    int64_t heartbeat_due_ms; /* monotonic */
    double tokens; /* attempts that per_minute leaves */
    int64_t filled_ms; /* monotonic */
};

struct notify {
    struct notify_options o;
    atomic_bool is_stopping;
    size_t count;
    struct worker workers[DETECTORS_RECEIVERS_MAX];
};

int64_t notify_backoff_ms(int64_t base_ms, int64_t max_ms, uint32_t attempts, double random)
{
    int64_t wait = base_ms;
    for (uint32_t i = 1; i < attempts && wait < max_ms; i++)
        wait *= 2;
    wait = MIN(wait, max_ms);
    return wait - wait / 5 + (int64_t)((double)(wait * 2 / 5) * random); /* +- 20 % */
}

struct notify *notify_new(const struct notify_options *o)
{
    CHECK(o->receiver_count <= DETECTORS_RECEIVERS_MAX);
    struct notify *n = calloc(1, sizeof(*n));
    if (!n)
        return NULL;
    n->o = *o;
    n->count = o->receiver_count;
    for (size_t i = 0; i < n->count; i++) {
        n->workers[i].notify = n;
        n->workers[i].receiver = &o->receivers[i];
        enum err e = o->receivers[i].kind == DETECTORS_EMAIL
                         ? webhook_mail_url_check(o->receivers[i].url, &n->workers[i].url, NULL)
                         : webhook_url_check(o->receivers[i].url, &n->workers[i].url, NULL);
        CHECK(e == ERR_OK); /* detectors_new has looked */
    }
    return n;
}

/* --- deliveries ---------------------------------------------------------------------------------- */

static void deliver(struct worker *w, struct http_client *client, const struct outbox_entry *e)
{
    const struct notify_options *o = &w->notify->o;
    char id[256];
    snprintf(id, sizeof(id), "%s", e->webhook_id);
    if (o->mutate & DETECTORS_MUTATE_NEW_IDS)
        snprintf(id, sizeof(id), "%.190s-%u", e->webhook_id, e->attempts);
    struct attempt a;
    attempt_run(w->receiver, &w->url, client, id, bytes_of(e->body, e->body_size), &a);
    int64_t now_ms = clock_wall_ms();
    struct outbox_result r = {.state = DETECTORS_DELIVERED, .now_ms = now_ms, .status = a.status};
    if (!attempt_is_taken(&a)) {
        bool dead = attempt_is_final(w->receiver, &a) || now_ms - e->created_ms > OUTBOX_GIVE_UP_MS;
        int64_t wait = notify_backoff_ms(o->retry_base_ms, o->retry_max_ms, e->attempts + 1,
                                         (double)randombytes_uniform(1u << 20) / (1u << 20));
        r.state = dead ? DETECTORS_DEAD : DETECTORS_WAITING;
        r.error = a.msg.text;
        r.next_attempt_ms = now_ms + MAX(wait, a.retry_after_ms);
        if (dead)
            log_error("notify", "receiver=%s id=%s is a dead letter: %s", e->receiver, id,
                      a.msg.text);
        else
            log_warn("notify", "receiver=%s id=%s attempt=%u failed: %s", e->receiver, id,
                     e->attempts + 1, a.msg.text);
    }
    outbox_done(o->outbox, e->id, &r);
}

/* --- threads ------------------------------------------------------------------------------------- */

static void send_heartbeat(struct worker *w, struct http_client *client)
{
    const struct notify_options *o = &w->notify->o;
    int64_t every = w->receiver->heartbeat_ms ? w->receiver->heartbeat_ms : 60000;
    int64_t now = clock_mono_ns() / 1000000;
    if (now < w->heartbeat_due_ms)
        return;
    w->heartbeat_due_ms = now + every;
    if (o->is_alive && !o->is_alive(o->ctx))
        return; /* silence is the message */
    struct buf body;
    char id[128];
    buf_init(&body, 65536);
    webhook_heartbeat_body(w->receiver->name, o->external_url, clock_wall_ms(), &body);
    snprintf(id, sizeof(id), "heartbeat-%.60s-%lld", w->receiver->name,
             (long long)(clock_wall_ms() / every));
    struct attempt a;
    if (buf_ok(&body)) {
        attempt_run(w->receiver, &w->url, client, id, buf_bytes(&body), &a);
        if (!attempt_is_taken(&a))
            log_warn("notify", "receiver=%s heartbeat failed: %s", w->receiver->name, a.msg.text);
    }
    buf_done(&body);
}

/* May another attempt be made now? A bucket that holds a minute's worth. */
static bool may_send(struct worker *w)
{
    double rate = w->receiver->per_minute;
    int64_t now = clock_mono_ns() / 1000000;
    if (!w->receiver->per_minute)
        return true;
    w->tokens = w->filled_ms ? w->tokens + (double)(now - w->filled_ms) * rate / 60000 : rate;
    w->tokens = MIN(w->tokens, rate);
    w->filled_ms = now;
    return w->tokens >= 1;
}

static void *work(void *arg)
{
    struct worker *w = arg;
    struct http_client *client = http_client_new();
    char name[ALIVE_NAME_MAX];
    snprintf(name, sizeof(name), "notify %.60s", w->receiver->name);
    int alive = alive_begin(name, (w->receiver->timeout_ms ? w->receiver->timeout_ms : 10000) +
                                      ALIVE_SLACK_MS);
    while (client && !atomic_load(&w->notify->is_stopping)) {
        struct outbox_entry e;
        alive_beat(alive);
        if (w->receiver->heartbeat)
            send_heartbeat(w, client);
        int64_t idle = w->receiver->heartbeat && w->receiver->heartbeat_ms
                           ? MIN(w->receiver->heartbeat_ms, IDLE_MS)
                           : IDLE_MS;
        if (!may_send(w)) {
            clock_sleep_ms(LIMITED_MS);
        } else if (outbox_take(w->notify->o.outbox, w->receiver->name, idle, &e)) {
            w->tokens -= 1;
            deliver(w, client, &e);
        }
    }
    if (!client)
        log_error("notify", "receiver=%s: out of memory, nothing will be sent", w->receiver->name);
    else
        alive_end(alive); /* without a client it is dead, and is said to be */
    http_client_free(client);
    return NULL;
}

enum err notify_start(struct notify *n, struct err_msg *msg)
{
    for (size_t i = 0; i < n->count; i++) {
        struct worker *w = &n->workers[i];
        if (pthread_create(&w->thread, NULL, work, w) != 0) {
            notify_stop(n);
            return err_set(msg, ERR_NOMEM, "no thread for receiver %s", w->receiver->name);
        }
        w->is_started = true;
    }
    return ERR_OK;
}

void notify_stop(struct notify *n)
{
    atomic_store(&n->is_stopping, true);
    outbox_wake_all(n->o.outbox);
    for (size_t i = 0; i < n->count; i++) {
        if (n->workers[i].is_started)
            pthread_join(n->workers[i].thread, NULL);
        n->workers[i].is_started = false;
    }
}

void notify_free(struct notify *n)
{
    free(n);
}
