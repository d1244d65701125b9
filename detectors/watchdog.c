#include "detectors/watchdog.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/alive.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/stats.h"
#include "detectors/attempt.h"
#include "detectors/message.h"
#include "detectors/rule_book.h"

#define ALIVE_LIMIT_MS INT64_C(600000) /* it tells up to 32 receivers one after the other */
#define LATE_LOOKS 2 /* a clock that was set makes one look wrong */

STATS_COUNTER(stat_late, "telltale_watchdog_late_total", "",
              "Looks of the watchdog at which a watermark was older than three intervals.");
STATS_COUNTER(stat_sent, "telltale_watchdog_notifications_total", "result=\"delivered\"",
              "What the watchdog told receivers past the outbox.");
STATS_COUNTER(stat_failed, "telltale_watchdog_notifications_total", "result=\"failed\"",
              "What the watchdog told receivers past the outbox.");

struct told { /* of one receiver */
    int64_t told_ms, failed_ms; /* monotonic: it took it, it did not; 0 = never */
    bool knows; /* that something is late */
};

struct watchdog {
    struct detectors *d;
    pthread_t thread;
    bool is_started;
    /* guarded by lock */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool is_stopping;
    /* owned by watchdog */
    struct told told[DETECTORS_RECEIVERS_MAX];
    int64_t began_ms; /* wall; 0 = nothing is late */
    int64_t since_ms; /* wall: from then on evaluations are awaited */
    uint32_t looks, said;
    struct http_client *client;
};

/* --- looking ------------------------------------------------------------------------------------- */

static void judge(struct watchdog_late *out, const char *what, struct bytes name, int64_t mark_ms,
                  int64_t interval_ms, int64_t now_ms)
{
    int64_t age = now_ms - mark_ms;
    if (age <= 3 * interval_ms + WATCHDOG_GRACE_MS)
        return;
    if (out->count++ == 0) {
        out->age_ms = age;
        snprintf(out->name, sizeof(out->name), "%s %.*s", what, (int)MIN(name.size, (size_t)256),
                 name.size ? (const char *)name.data : "");
    }
}

void watchdog_look(struct detectors *d, int64_t since_ms, int64_t now_ms, struct watchdog_late *out)
{
    *out = (struct watchdog_late){0};
    pthread_mutex_lock(&d->lock);
    for (uint32_t i = 0; i < d->now.set.count; i++) {
        const struct objective *o = &d->now.objectives[i];
        int64_t loaded_ms = MAX(o->budget_since_ms, since_ms); /* not before it was there */
        judge(out, "objective", o->slo->id, MAX(o->view.evaluated_ms, loaded_ms), d->o.interval_ms,
              now_ms);
    }
    pthread_mutex_unlock(&d->lock);
    if (!d->rules)
        return;
    pthread_mutex_lock(&d->rules->lock);
    for (uint32_t i = 0; i < d->rules->book.group_count; i++) {
        const struct rule_group *g = &d->rules->book.groups[i];
        int64_t mark_ms = g->evaluated_ms ? g->evaluated_ms : g->next_ms; /* when it falls due */
        if (mark_ms)
            judge(out, "rule group", g->def->name, MAX(mark_ms, since_ms), g->def->interval_ms,
                  now_ms);
    }
    pthread_mutex_unlock(&d->rules->lock);
}

/* --- telling ------------------------------------------------------------------------------------- */

static bool tell(struct watchdog *w, const struct detectors_receiver *r,
                 const struct watchdog_late *late, int64_t now_ms)
{
    char summary[512], fingerprint[33], id[160];
    struct webhook_url url;
    struct attempt a = {.err = ERR_INVALID};
    struct buf body;
    snprintf(summary, sizeof(summary), "%s is not evaluated since %lld s; %u in all are late",
             late->name, (long long)(late->age_ms / 1000), late->count);
    alert_fingerprint("watchdog", r->name, NULL, 0, (uint32_t)(w->began_ms / 60000), fingerprint);
    struct query_slo_pair labels[] = {{BYTES_LIT("alertname"), BYTES_LIT("TelltaleWatchdog")},
                                      {BYTES_LIT("severity"), BYTES_LIT("page")}};
    struct query_slo_pair notes[] = {
        {BYTES_LIT("summary"),
         late->count ? bytes_str(summary) : BYTES_LIT("Everything is evaluated again.")},
        {BYTES_LIT("description"),
         BYTES_LIT("Telltale has missed three evaluations: alerts that should fire may not. This "
                   "was sent past the outbox.")}};
    struct webhook_note n = {.is_resolved = late->count == 0,
                             .labels = labels,
                             .annotations = notes,
                             .label_count = ARRAY_LEN(labels),
                             .annotation_count = ARRAY_LEN(notes),
                             .group_count = 1,
                             .starts_ms = w->began_ms,
                             .ends_ms = now_ms,
                             .link = w->d->o.external_url,
                             .fingerprint = fingerprint,
                             .event = late->count ? "firing" : "resolved",
                             .now_ms = now_ms,
                             .group_key = BYTES_LIT("{}:{alertname=\"TelltaleWatchdog\"}")};
    buf_init(&body, BOOK_BODY_MAX);
    message_write(r, &n, w->d->o.external_url, &body);
    snprintf(id, sizeof(id), "watchdog-%.60s-%lld-%u", r->name, (long long)w->began_ms, w->said);
    enum err e = r->kind == DETECTORS_EMAIL ? webhook_mail_url_check(r->url, &url, NULL)
                                            : webhook_url_check(r->url, &url, NULL);
    if (e == ERR_OK && buf_ok(&body))
        attempt_run(r, &url, w->client, id, buf_bytes(&body), &a);
    buf_done(&body);
    bool taken = attempt_is_taken(&a);
    stats_add(taken ? &stat_sent : &stat_failed, 1);
    if (!taken)
        log_error("watchdog", "receiver=%s cannot be told: %s", r->name, a.msg.text);
    return taken;
}

static bool is_for(const struct detectors_receiver *r)
{
    return !r->heartbeat && (r->pages || !r->tickets);
}

static void tell_all(struct watchdog *w, const struct watchdog_late *late, int64_t now_ms)
{
    int64_t mono = clock_mono_ns() / 1000000;
    for (size_t i = 0; i < w->d->o.receiver_count; i++) {
        const struct detectors_receiver *r = &w->d->o.receivers[i];
        struct told *t = &w->told[i];
        bool changes = t->knows != (late->count != 0),
             repeats = t->knows && late->count && mono - t->told_ms >= WATCHDOG_REPEAT_MS,
             waits = t->failed_ms && mono - t->failed_ms < WATCHDOG_RETRY_MS;
        if (!is_for(r) || !(changes || repeats) || waits)
            continue;
        w->said++;
        if (tell(w, r, late, now_ms))
            *t = (struct told){.told_ms = mono, .knows = late->count != 0};
        else
            t->failed_ms = mono;
    }
}

static bool somebody_knows(const struct watchdog *w)
{
    for (size_t i = 0; i < DETECTORS_RECEIVERS_MAX; i++)
        if (w->told[i].knows)
            return true;
    return false;
}

static void look(struct watchdog *w)
{
    struct watchdog_late late;
    int64_t now_ms = clock_wall_ms();
    watchdog_look(w->d, w->since_ms, now_ms, &late);
    stats_add(&stat_late, late.count != 0);
    w->looks = late.count ? w->looks + 1 : 0;
    if (late.count && w->looks < LATE_LOOKS)
        return;
    if (late.count && !w->began_ms) {
        w->began_ms = now_ms;
        w->said = 0;
        log_error("watchdog", "%s is not evaluated since %lld s; %u in all are late", late.name,
                  (long long)(late.age_ms / 1000), late.count);
    }
    if (w->began_ms)
        tell_all(w, &late, now_ms);
    if (!late.count && !somebody_knows(w)) {
        w->began_ms = 0;
        memset(w->told, 0, sizeof(w->told));
    }
}

/* --- the thread ---------------------------------------------------------------------------------- */

static void *run(void *arg)
{
    struct watchdog *w = arg;
    int alive = alive_begin("watchdog", ALIVE_LIMIT_MS);
    pthread_mutex_lock(&w->lock);
    while (!w->is_stopping) {
        int64_t until = clock_mono_ns() + w->d->o.interval_ms * 1000000;
        struct timespec ts = {until / 1000000000, until % 1000000000};
        pthread_mutex_unlock(&w->lock);
        alive_beat(alive);
        look(w);
        pthread_mutex_lock(&w->lock);
        while (!w->is_stopping && clock_mono_ns() < until)
            pthread_cond_timedwait(&w->wake, &w->lock, &ts);
    }
    pthread_mutex_unlock(&w->lock);
    alive_end(alive);
    return NULL;
}

struct watchdog *watchdog_new(struct detectors *d)
{
    struct watchdog *w = calloc(1, sizeof(*w));
    pthread_condattr_t attr;
    if (!w || !(w->client = http_client_new())) {
        free(w);
        return NULL;
    }
    w->d = d;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->wake, &attr);
    pthread_condattr_destroy(&attr);
    return w;
}

void watchdog_free(struct watchdog *w)
{
    if (!w)
        return;
    CHECK(!w->is_started);
    http_client_free(w->client);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

enum err watchdog_start(struct watchdog *w, struct err_msg *msg)
{
    w->is_stopping = false;
    w->since_ms = clock_wall_ms();
    if (pthread_create(&w->thread, NULL, run, w) != 0)
        return err_set(msg, ERR_NOMEM, "no thread for the watchdog");
    w->is_started = true;
    return ERR_OK;
}

void watchdog_stop(struct watchdog *w)
{
    if (!w->is_started)
        return;
    pthread_mutex_lock(&w->lock);
    w->is_stopping = true;
    pthread_cond_broadcast(&w->wake);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    w->is_started = false;
}
