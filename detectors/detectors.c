#include "detectors/detectors.h"
#include "base/alive.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/stats.h"
#include "detectors/detectors_conditions.h"
#include "detectors/evaluator.h"
#include "detectors/receiver.h"
#include "detectors/watchdog.h"
#include <stdio.h>
#include <stdlib.h>

#define ARENA_BYTES ((size_t)64 << 20)
#define ALIVE_LIMIT_MS INT64_C(300000) /* the longest round and the wait behind it */
#define DEFAULT_URL "http://127.0.0.1:4320"

const char *detectors_state_name(enum detectors_state s)
{
    static const char *const names[] = {"ok",      "pending",      "firing",   "resolved",
                                        "no_data", "insufficient", "starting", "spent"};
    CHECK((size_t)s < ARRAY_LEN(names));
    return names[s];
}

const char *detectors_delivery_name(enum detectors_delivery s)
{
    static const char *const names[] = {"waiting", "delivered", "dead"};
    CHECK((size_t)s < ARRAY_LEN(names));
    return names[s];
}

/* --- new ----------------------------------------------------------------------------------------- */

static bool is_receiver_name(const char *s)
{
    size_t n = s ? strlen(s) : 0;
    if (n == 0 || n > 60)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!((s[i] >= 'a' && s[i] <= 'z') || (s[i] >= '0' && s[i] <= '9') || s[i] == '-' ||
              s[i] == '_'))
            return false;
    return true;
}

static enum err check_receivers(const struct detectors_options *o, struct buf *errors)
{
    size_t before = errors->size;
    if (o->receiver_count > DETECTORS_RECEIVERS_MAX)
        buf_printf(errors, "receivers: more than %u\n", DETECTORS_RECEIVERS_MAX);
    for (size_t i = 0; i < MIN(o->receiver_count, (size_t)DETECTORS_RECEIVERS_MAX); i++) {
        const struct detectors_receiver *r = &o->receivers[i];
        char prefix[128];
        if (!is_receiver_name(r->name))
            buf_printf(errors,
                       "receivers: name: \"%.64s\" must be 1 to 60 lower-case letters, digits, "
                       "'-' and '_'\n",
                       r->name ? r->name : "");
        for (size_t k = 0; k < i; k++)
            if (r->name && o->receivers[k].name && strcmp(r->name, o->receivers[k].name) == 0)
                buf_printf(errors, "receivers: name: \"%s\" is given twice\n", r->name);
        snprintf(prefix, sizeof(prefix), "receivers: %.64s: ", r->name ? r->name : "");
        receiver_check(r, prefix, errors);
    }
    return errors->size == before ? ERR_OK : ERR_INVALID;
}

static enum err load_calendar(struct loaded *l, struct objective *o, struct buf *errors)
{
    const struct query_slo *s = o->slo;
    struct slo_calendar *c;
    struct err_msg msg = {""};
    if (!s->calendar.months && !s->calendar.days)
        return ERR_OK;
    c = ARENA_ARRAY(l->arena, struct slo_calendar, 1);
    enum err e = c ? slo_calendar_load(s, l->arena, c, &msg) : ERR_NOMEM;
    o->calendar = c;
    if (e == ERR_OK || e == ERR_NOMEM)
        return e;
    buf_printf(errors, "%s:%u: spec.timeWindow.calendar.timeZone: %s\n", s->file, s->line,
               msg.text);
    return ERR_INVALID;
}

static enum err collect_thresholds(struct loaded *l)
{
    l->thresholds = ARENA_ARRAY(l->arena, struct detectors_threshold, l->set.count + 1);
    if (!l->thresholds)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < l->set.count; i++) {
        const struct query_slo *s = &l->set.slos[i];
        bool known = s->family.size == 0;
        for (size_t k = 0; k < l->threshold_count && !known; k++)
            known = bytes_equal(l->thresholds[k].family, s->family) &&
                    l->thresholds[k].le_seconds == s->le_seconds;
        if (!known)
            l->thresholds[l->threshold_count++] =
                (struct detectors_threshold){s->family, s->le_seconds};
    }
    return ERR_OK;
}

static enum err make_objectives(struct loaded *l, struct buf *errors)
{
    enum err e = ERR_OK;
    l->objectives = ARENA_ARRAY(l->arena, struct objective, l->set.count + 1);
    if (!l->objectives)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < l->set.count; i++) {
        struct objective *o = &l->objectives[i];
        o->slo = &l->set.slos[i];
        o->dirty_from = UINT32_MAX;
        o->tracker = query_slo_tracker_new(o->slo);
        if (!o->tracker)
            return ERR_NOMEM;
        o->work.error = o->view.error = ERR_UNAVAILABLE; /* not evaluated yet */
        enum err one = load_calendar(l, o, errors);
        e = e == ERR_OK ? one : e;
    }
    return e;
}

enum err loaded_make(const struct detectors_options *o, struct loaded *out, struct buf *errors)
{
    struct loaded l = {.arena = arena_new(ARENA_BYTES)};
    enum err e = l.arena ? query_slo_set_init(&l.set) : ERR_NOMEM;
    if (e == ERR_OK)
        e = o->slo_path_count ? query_slo_load(&l.set, o->slo_paths, o->slo_path_count, errors)
                              : query_slo_load_defaults(&l.set);
    if (e == ERR_OK)
        e = make_objectives(&l, errors);
    if (e == ERR_OK)
        e = collect_thresholds(&l);
    if (e == ERR_OK && !(l.feed = query_slo_feed_new(l.set.slos, l.set.count)))
        e = ERR_NOMEM;
    if (e == ERR_OK)
        *out = l;
    else
        loaded_free(&l);
    return e;
}

void loaded_free(struct loaded *l)
{
    for (uint32_t i = 0; l->objectives && i < l->set.count; i++)
        query_slo_tracker_free(l->objectives[i].tracker);
    query_slo_feed_free(l->feed);
    query_slo_set_done(&l->set);
    arena_free(l->arena);
    *l = (struct loaded){0};
}

/* An objective that counts something else than before begins a new version of its budget: remember since when. */
static enum err load_versions(struct detectors *d, void *txn, struct loaded *l,
                              const struct tsdb_state_row *rows, size_t n)
{
    enum err e = ERR_OK;
    for (uint32_t i = 0; i < l->set.count && e == ERR_OK; i++) {
        struct objective *o = &l->objectives[i];
        struct bytes key = arena_printf(l->arena, "budget/" BYTES_FMT, BYTES_ARG(o->slo->id));
        if (!key.data)
            return ERR_NOMEM;
        for (size_t k = 0; k < n; k++)
            if (bytes_equal(rows[k].key, key) && rows[k].value.size == 16 &&
                bytes_u64le(rows[k].value.data) == o->slo->fingerprint)
                o->budget_since_ms = (int64_t)bytes_u64le(rows[k].value.data + 8);
        if (o->budget_since_ms)
            continue;
        o->budget_since_ms = clock_wall_ms();
        uint8_t value[16];
        bytes_put_u64le(value, o->slo->fingerprint);
        bytes_put_u64le(value + 8, (uint64_t)o->budget_since_ms);
        e = d->store.put(d->store.ctx, txn, EVALUATOR_META_TABLE, key,
                         bytes_of(value, sizeof(value)));
    }
    return e;
}

/* Budgets' versions are durable, and whoever counts thresholds has agreed, or nothing has happened. */
static enum err settle_versions(struct detectors *d, struct loaded *l,
                                const struct detectors_accept *accept, struct err_msg *msg)
{
    struct tsdb_state_row *rows;
    size_t n;
    void *txn;
    enum err e = d->store.scan(d->store.ctx, EVALUATOR_META_TABLE, BYTES_LIT("budget/"),
                               2 * QUERY_SLO_MAX, l->arena, &rows, &n);
    if (e == ERR_OK)
        e = d->store.begin(d->store.ctx, &txn);
    if (e != ERR_OK)
        return e;
    e = load_versions(d, txn, l, rows, n);
    if (e == ERR_OK && accept && accept->run)
        e = accept->run(accept->ctx, l->thresholds, l->threshold_count, msg);
    if (e == ERR_OK)
        return d->store.commit(d->store.ctx, txn);
    d->store.abort(d->store.ctx, txn);
    return e;
}

static bool is_alive(void *ctx)
{
    struct detectors *d = ctx;
    int64_t age = clock_mono_ns() / 1000000 - atomic_load(&d->alive_ms);
    return atomic_load(&d->alive_ms) != 0 && age < 3 * d->o.interval_ms + 30000;
}

static enum err make_parts(struct detectors *d, struct buf *errors)
{
    d->outbox = outbox_new(&d->store);
    enum err e = d->outbox ? outbox_load(d->outbox) : ERR_NOMEM;
    if (e == ERR_OK)
        e = (d->silences = silences_new(&d->store)) ? silences_load(d->silences) : ERR_NOMEM;
    if (e == ERR_OK)
        e = (d->acks = acks_new(&d->store)) ? acks_load(d->acks) : ERR_NOMEM;
    if (e == ERR_OK)
        e = book_load(d, errors);
    if (e == ERR_OK)
        e = settle_versions(d, &d->now, NULL, NULL);
    if (e != ERR_OK)
        return e;
    struct notify_options n = {.outbox = d->outbox,
                               .receivers = d->o.receivers,
                               .receiver_count = d->o.receiver_count,
                               .external_url = d->o.external_url,
                               .retry_base_ms = d->o.retry_base_ms,
                               .retry_max_ms = d->o.retry_max_ms,
                               .mutate = d->o.mutate,
                               .is_alive = is_alive,
                               .ctx = d};
    d->notify = notify_new(&n);
    d->watchdog = watchdog_new(d);
    return d->notify && d->watchdog ? ERR_OK : ERR_NOMEM;
}

static void apply_defaults(struct detectors_options *o)
{
    o->org = o->org ? o->org : TSDB_ORG_DEFAULT;
    o->external_url = o->external_url ? o->external_url : DEFAULT_URL;
    o->interval_ms = o->interval_ms ? o->interval_ms : 2000;
    o->retry_base_ms = o->retry_base_ms ? o->retry_base_ms : 5000;
    o->retry_max_ms = o->retry_max_ms ? o->retry_max_ms : 600000;
}

enum err detectors_new(const struct detectors_options *o, struct detectors **out,
                       struct buf *errors)
{
    CHECK(o->db || (o->source && o->store));
    CHECK(o->condition_count <= DETECTORS_CONDITIONS_MAX);
    enum err e = check_receivers(o, errors);
    if (e != ERR_OK)
        return e;
    struct detectors *d = calloc(1, sizeof(*d));
    if (!d)
        return ERR_NOMEM;
    d->o = *o;
    apply_defaults(&d->o);
    d->store = o->store ? *o->store : detectors_store_of(o->db);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&d->round_lock, NULL);
    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->wake, &attr);
    pthread_condattr_destroy(&attr);
    d->arena = arena_new(ARENA_BYTES);
    e = d->arena ? loaded_make(&d->o, &d->now, errors) : ERR_NOMEM;
    if (e == ERR_OK)
        e = make_parts(d, errors);
    if (e != ERR_OK) {
        detectors_free(d);
        return e;
    }
    *out = d;
    return ERR_OK;
}

void detectors_free(struct detectors *d)
{
    if (!d)
        return;
    CHECK(!d->is_started);
    watchdog_free(d->watchdog);
    notify_free(d->notify);
    outbox_free(d->outbox);
    silences_free(d->silences);
    acks_free(d->acks);
    book_free(d);
    loaded_free(&d->now);
    for (uint32_t i = 0; i < d->retired_count; i++)
        loaded_free(&d->retired[i]);
    arena_free(d->arena);
    pthread_mutex_destroy(&d->round_lock);
    pthread_cond_destroy(&d->wake);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

/* --- reading again ------------------------------------------------------------------------------- */

STATS_COUNTER(stat_reloads, "telltale_slo_reloads_total", "",
              "Times the objectives were read again.");
STATS_COUNTER(stat_reload_failures, "telltale_slo_reload_failures_total", "",
              "Times the objectives were to be read again and those of before stayed.");

static const struct objective *same_objective(const struct loaded *l, const struct query_slo *s)
{
    for (uint32_t i = 0; i < l->set.count; i++)
        if (l->set.slos[i].fingerprint == s->fingerprint && bytes_equal(l->set.slos[i].id, s->id))
            return &l->objectives[i];
    return NULL;
}

/* What counts as before goes on: its alerts are in the book by id and rule; here what it last said, and what may not begin again. */
static void carry(const struct loaded *old, struct loaded *fresh)
{
    for (uint32_t i = 0; i < fresh->set.count; i++) {
        struct objective *o = &fresh->objectives[i];
        const struct objective *was = same_objective(old, o->slo);
        if (!was)
            continue;
        bool same_rules = was->slo->rule_count == o->slo->rule_count;
        for (uint32_t k = 0; same_rules && k < o->slo->rule_count; k++)
            same_rules = strcmp(was->slo->rules[k].name, o->slo->rules[k].name) == 0 &&
                         was->slo->rules[k].factor == o->slo->rules[k].factor &&
                         was->slo->rules[k].long_minutes == o->slo->rules[k].long_minutes;
        if (!same_rules)
            continue;
        memcpy(o->floor, was->floor, sizeof(o->floor));
        o->work = was->work;
        o->view = was->view;
        o->work.judge.slo = o->view.judge.slo = o->slo;
        o->work.judge.tracker = o->view.judge.tracker = o->tracker;
    }
}

/* Of those of before, whom nobody can hold any more. False: there are too many that somebody may. */
static bool make_room(struct detectors *d, int64_t now_ms)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < d->retired_count; i++) {
        if (now_ms - d->retired[i].retired_ms > LOADED_GRACE_MS)
            loaded_free(&d->retired[i]);
        else
            d->retired[n++] = d->retired[i];
    }
    d->retired_count = n;
    return n < LOADED_RETIRED_MAX;
}

/* Under round_lock: no evaluation runs. */
static enum err take_over(struct detectors *d, struct loaded *fresh,
                          const struct detectors_accept *accept, struct buf *errors)
{
    struct err_msg msg = {""};
    int64_t now_ms = clock_mono_ns() / 1000000;
    if (!make_room(d, now_ms)) {
        buf_printf(errors, "the objectives were read %u times within five minutes: wait a little\n",
                   LOADED_RETIRED_MAX);
        return ERR_UNAVAILABLE;
    }
    enum err e = settle_versions(d, fresh, accept, &msg);
    if (e != ERR_OK) {
        buf_printf(errors, "the objectives cannot be taken over: %s\n",
                   msg.text[0] ? msg.text : err_text(e));
        if (accept && accept->run) /* it may have agreed before the store did not */
            (void)accept->run(accept->ctx, d->now.thresholds, d->now.threshold_count, &msg);
        return e;
    }
    carry(&d->now, fresh);
    pthread_mutex_lock(&d->lock);
    d->retired[d->retired_count] = d->now;
    d->retired[d->retired_count++].retired_ms = now_ms;
    d->now = *fresh;
    pthread_mutex_unlock(&d->lock);
    *fresh = (struct loaded){0};
    return ERR_OK;
}

enum err detectors_reload(struct detectors *d, const struct detectors_accept *accept,
                          uint32_t *out_objectives, struct buf *errors)
{
    struct loaded fresh = {0};
    enum err e = loaded_make(&d->o, &fresh, errors);
    if (e == ERR_OK) {
        pthread_mutex_lock(&d->round_lock);
        e = take_over(d, &fresh, accept, errors);
        *out_objectives = d->now.set.count;
        pthread_mutex_unlock(&d->round_lock);
    }
    loaded_free(&fresh);
    stats_add(e == ERR_OK ? &stat_reloads : &stat_reload_failures, 1);
    return e;
}

enum err detectors_slo_check(const struct query_slo_set *set, struct buf *errors)
{
    enum err e = ERR_OK;
    for (uint32_t i = 0; i < set->count; i++) {
        struct objective o = {.slo = &set->slos[i]};
        struct loaded l = {.arena = arena_new(ARENA_BYTES)};
        enum err one = l.arena ? load_calendar(&l, &o, errors) : ERR_NOMEM;
        arena_free(l.arena);
        e = e == ERR_OK ? one : e;
    }
    return e;
}

/* --- the detect thread --------------------------------------------------------------------------- */

/* Very many objectives over very many series: rounds come less often rather than take more than a tenth of a core. */
#define ROUND_SHARE 10

static bool wait_round(struct detectors *d, int64_t round_ns)
{
    int64_t until = clock_mono_ns() + MAX(d->o.interval_ms * 1000000, round_ns * (ROUND_SHARE - 1));
    struct timespec ts = {until / 1000000000, until % 1000000000};
    pthread_mutex_lock(&d->lock);
    int rc = 0;
    while (!d->is_stopping && rc == 0)
        rc = pthread_cond_timedwait(&d->wake, &d->lock, &ts);
    bool go_on = !d->is_stopping;
    pthread_mutex_unlock(&d->lock);
    return go_on;
}

static void *detect(void *arg)
{
    struct detectors *d = arg;
    enum err last = ERR_OK;
    int64_t begin;
    int alive = alive_begin("detect", ALIVE_LIMIT_MS);
    do {
        begin = clock_mono_ns();
        alive_beat(alive);
        enum err e = detectors_evaluate(d, clock_wall_ms());
        if (e != ERR_OK && e != last)
            log_warn("detect", "evaluation failed and will be repeated: %s", err_text(e));
        last = e;
        alive_beat(alive);
    } while (wait_round(d, clock_mono_ns() - begin));
    alive_end(alive);
    return NULL;
}

enum err detectors_start(struct detectors *d, struct err_msg *msg)
{
    CHECK(!d->is_started);
    enum err e = notify_start(d->notify, msg);
    if (e != ERR_OK)
        return e;
    if (pthread_create(&d->thread, NULL, detect, d) != 0) {
        notify_stop(d->notify);
        return err_set(msg, ERR_NOMEM, "no thread for the detectors");
    }
    d->is_started = true;
    e = watchdog_start(d->watchdog, msg);
    if (e != ERR_OK)
        detectors_stop(d);
    return e;
}

void detectors_stop(struct detectors *d)
{
    if (!d->is_started)
        return;
    watchdog_stop(d->watchdog);
    pthread_mutex_lock(&d->lock);
    d->is_stopping = true;
    pthread_cond_broadcast(&d->wake);
    pthread_mutex_unlock(&d->lock);
    pthread_join(d->thread, NULL);
    notify_stop(d->notify);
    d->is_started = false;
}

/* --- watermarks ---------------------------------------------------------------------------------- */

void detectors_metrics(struct detectors *d, struct buf *out)
{
    int64_t now_ms = clock_wall_ms();
    buf_str(out, "# HELP telltale_slo_watermark_age_seconds How long ago the objective was last "
                 "evaluated.\n# TYPE telltale_slo_watermark_age_seconds gauge\n");
    pthread_mutex_lock(&d->lock);
    for (uint32_t i = 0; i < d->now.set.count; i++) {
        int64_t at_ms = d->now.objectives[i].view.evaluated_ms;
        if (!at_ms)
            continue; /* not yet */
        buf_str(out, "telltale_slo_watermark_age_seconds{slo=\"");
        struct bytes id = d->now.set.slos[i].id;
        for (size_t k = 0; k < id.size; k++) {
            if (id.data[k] == '"' || id.data[k] == '\\')
                buf_u8(out, '\\');
            buf_u8(out, id.data[k] == '\n' ? ' ' : id.data[k]);
        }
        buf_printf(out, "\"} %.3f\n", (double)MAX(now_ms - at_ms, 0) / 1000);
    }
    pthread_mutex_unlock(&d->lock);
}

/* --- small answers ------------------------------------------------------------------------------- */

size_t detectors_thresholds(const struct detectors *d, const struct detectors_threshold **out)
{
    *out = d->now.thresholds;
    return d->now.threshold_count;
}

enum err detectors_outbox(struct detectors *d, struct arena *a, struct detectors_outbox_row **out,
                          size_t *out_count)
{
    return outbox_rows(d->outbox, a, out, out_count);
}

enum err detectors_outbox_retry(struct detectors *d, uint64_t id)
{
    return outbox_retry(d->outbox, id, clock_wall_ms());
}
