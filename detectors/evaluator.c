/* One round: bring the sums up to date, judge every rule, let the alerts step, commit what changed. */
#include "detectors/alert_changes.h"
#include "detectors/budget_alerts.h"
#include "detectors/condition_alerts.h"
#include "detectors/evaluator.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/stats.h"
#include <stdio.h>
#include <stdlib.h>

#define ROUND_LIMIT_NS (INT64_C(30) * 1000000000)
#define SAMPLES_EVERY_MS 15000 /* sample series do not say when they change */
#define LATE_EVERY_MS 20000 /* rows before the ring: recount at most this often */
#define RING_KEEPS_MINUTES 390u /* safely inside the tracker's ring */
#define BOUNDS_EVERY_MINUTES 10u
#define TEXT_ARENA_BYTES ((size_t)32 << 20)

STATS_COUNTER(stat_rounds, "telltale_slo_rounds_total", "", "Evaluation rounds.");
STATS_COUNTER(stat_round_ns, "telltale_slo_round_nanoseconds_total", "",
              "Time spent in evaluation rounds.");
STATS_COUNTER(stat_errors, "telltale_slo_evaluation_failures_total", "",
              "Objectives that could not be evaluated in a round.");

struct round {
    struct detectors *d;
    const struct query_slo_source *src;
    struct tsdb_view *view; /* NULL with a test's source */
    int64_t now_ms;
    uint32_t horizon;
    struct arena *arena; /* of the texts */
    struct transitions changes;
};

/* --- sums ---------------------------------------------------------------------------------------- */

static enum err advance(struct round *r, struct objective *o)
{
    if (o->slo->indicator == QUERY_SLO_RATIO && r->now_ms - r->d->samples_ms >= SAMPLES_EVERY_MS) {
        o->dirty_from = MIN(o->dirty_from, r->horizon - QUERY_SLO_RECHECK_MINUTES);
        o->dirty_to = MAX(o->dirty_to, r->horizon);
    }
    bool built = query_slo_tracker_horizon(o->tracker) != 0;
    uint32_t from = o->dirty_from, to = o->dirty_to, kept_from = UINT32_MAX, kept_to = 0;
    uint32_t ring_from = r->horizon - RING_KEEPS_MINUTES;
    if (built && from < ring_from && r->now_ms - o->late_ms < LATE_EVERY_MS) {
        kept_from = from; /* later, together with what else comes late */
        kept_to = MIN(to, ring_from - 1);
        from = ring_from;
    } else if (from < ring_from) {
        o->late_ms = r->now_ms;
    }
    enum err e = query_slo_source_advance(o->tracker, r->src, r->horizon, from, to);
    if (e == ERR_OK) {
        o->dirty_from = kept_from;
        o->dirty_to = kept_to;
    }
    return e;
}

static enum err sums_of(struct round *r, struct objective *o)
{
    struct objective_view *v = &o->work;
    enum err e = slo_judge_sums(o->slo, o->tracker, o->calendar, r->src, false, &v->judge);
    v->hour = v->day = (struct query_slo_counts){0};
    (void)query_slo_tracker_window(o->tracker, 60, 0, &v->hour);
    (void)query_slo_tracker_window(o->tracker, 1440, 0, &v->day);
    query_slo_tracker_revised(o->tracker, &v->revised_minutes, &v->revised_events);
    return e;
}

/* What was excluded and why: once a minute. */
static void excluded_of(struct round *r, struct objective *o)
{
    struct query_slo_reason *list;
    size_t n;
    if (o->detail_minute == r->horizon || o->work.judge.period.excluded == 0)
        return;
    if (query_slo_source_excluded(r->src, o->slo, r->horizon + 1 - o->slo->period_minutes,
                                  r->horizon + 1, r->arena, &list, &n) != ERR_OK)
        return; /* the total is known; the reasons come with the next minute */
    o->detail_minute = r->horizon;
    o->work.excluded_count = 0;
    for (size_t i = 0; i < n && i < EVALUATOR_REASONS; i++) {
        snprintf(o->work.excluded[i].reason, sizeof(o->work.excluded[i].reason), "%.*s",
                 (int)MIN(list[i].reason.size, (size_t)47),
                 list[i].reason.size ? (const char *)list[i].reason.data : "");
        o->work.excluded[i].count = list[i].count;
        o->work.excluded_count++;
    }
}

/* How much of the period is older than the threshold's own counter: a histogram over a month changes slowly. */
static void bounds_of(struct round *r, struct objective *o)
{
    if (o->slo->family.size == 0 ||
        (o->bounds_minute && r->horizon - o->bounds_minute < BOUNDS_EVERY_MINUTES))
        return;
    struct query_slo_bounds b;
    if (query_slo_source_bounds(r->src, o->slo, r->horizon + 1 - o->slo->period_minutes,
                                r->horizon + 1, r->arena, &b) != ERR_OK)
        return; /* said again in ten minutes; the counters are exact for what they cover */
    o->bounds_minute = r->horizon;
    o->work.bounds = b;
    o->work.bounds_covered = query_slo_eligible(&o->work.judge.period);
}

/* --- texts --------------------------------------------------------------------------------------- */

/* Burning objectives of a service and the first start, alerts of this round included. */
static unsigned burning_of(const struct round *r, const char *service, const char *slo_id,
                           uint32_t *io_since)
{
    unsigned n = 1; /* slo_id itself */
    const struct book *b = &r->d->book;
    for (uint32_t i = 0; i < b->count + r->changes.count; i++) {
        const struct alert *a = i < b->count ? b->list[i] : &r->changes.list[i - b->count].alert;
        if (a->state != DETECTORS_FIRING || strcmp(a->service, service) != 0)
            continue;
        *io_since = MIN(*io_since, a->start_minute);
        bool counted = strcmp(a->slo_id, slo_id) == 0;
        for (uint32_t k = 0; k < i && !counted; k++) {
            const struct alert *other =
                k < b->count ? b->list[k] : &r->changes.list[k - b->count].alert;
            counted = other->state == DETECTORS_FIRING && strcmp(other->service, service) == 0 &&
                      strcmp(other->slo_id, a->slo_id) == 0;
        }
        n += !counted;
    }
    return n;
}

static void fill_texts(struct round *r, const struct objective *o, struct alert *a)
{
    uint32_t to = r->horizon + 1, from = to - (a->long_minutes ? a->long_minutes : 60);
    struct query_slo_blame blame = {0};
    uint32_t since = a->start_minute;
    if (a->state == DETECTORS_FIRING) {
        if (query_slo_source_blame(r->src, o->slo, from, to, r->arena, &blame) != ERR_OK)
            blame =
                (struct query_slo_blame){0}; /* an alert without its culprit is still an alert */
        unsigned n = burning_of(r, a->service, a->slo_id, &since);
        alert_blame(a, &blame);
        alert_text_sentence(a->service, n, (int64_t)since * 60000, blame.phrase, a->sentence);
        if (r->view && !a->changed[0])
            alert_changes_fill(r->view, r->src, o->slo, to, r->arena, a);
        struct bytes *ids;
        size_t count = 0;
        if (r->view &&
            query_slo_examples(r->view, o->slo, (int64_t)from * 60000, (int64_t)to * 60000,
                               ALERT_TRACES_MAX, r->arena, &ids, &count) == ERR_OK) {
            a->trace_count = (uint32_t)count;
            for (size_t i = 0; i < count; i++)
                snprintf(a->traces[i], sizeof(a->traces[i]), "%.32s", (const char *)ids[i].data);
        }
    }
    alert_text_summary(a, o->slo);
}

/* --- stepping ------------------------------------------------------------------------------------ */

static void copy_text(char *out, size_t size, struct bytes b)
{
    size_t n = MIN(b.size, size - 1);
    if (n)
        memcpy(out, b.data, n);
    out[n] = 0;
}

static void open_alert(struct round *r, struct objective *o, uint32_t rule,
                       const struct alert_input *in, uint32_t start)
{
    struct transition *t = book_change(&r->changes);
    if (!t)
        return;
    t->objective = o;
    struct alert *a = &t->alert;
    copy_text(a->slo_id, sizeof(a->slo_id), o->slo->id);
    copy_text(a->service, sizeof(a->service), o->slo->service);
    copy_text(a->rule, sizeof(a->rule), bytes_str(slo_judge_rule_name(o->slo, rule)));
    alert_fingerprint(a->slo_id, a->rule, o->slo->labels, o->slo->label_count, start,
                      a->fingerprint);
    slo_judge_numbers(&o->work.judge, rule, a);
    t->event = alert_open(a, in, start);
    fill_texts(r, o, a);
}

static void step_alert(struct round *r, struct objective *o, uint32_t rule, int32_t at,
                       const struct alert_input *in)
{
    struct alert next = *r->d->book.list[at];
    slo_judge_numbers(&o->work.judge, rule, &next);
    enum alert_event event = alert_step(&next, in);
    if (event == ALERT_NOTHING) { /* fresh numbers for the page; nothing durable changes */
        pthread_mutex_lock(&r->d->lock);
        *r->d->book.list[at] = next;
        pthread_mutex_unlock(&r->d->lock);
        return;
    }
    struct transition *t = book_change(&r->changes);
    if (!t)
        return;
    *t = (struct transition){.alert = next, .at = at, .event = event, .objective = o};
    fill_texts(r, o, &t->alert);
    if (event == ALERT_RESOLVED || event == ALERT_DROPPED)
        o->floor[rule] = r->horizon;
}

static void run_rule(struct round *r, struct objective *o, uint32_t rule)
{
    struct slo_judge_answer answer;
    if (o->floor[rule] > r->horizon)
        o->floor[rule] = 0; /* the clock went back: nothing of that future has happened */
    if (rule < SLO_JUDGE_EXCLUDED && rule >= o->slo->rule_count)
        return;
    int32_t at = book_find_active(r->d, o->slo->id, slo_judge_rule_name(o->slo, rule));
    if (!slo_judge_ask(&o->work.judge, rule, o->floor[rule], at >= 0, r->now_ms, &answer))
        return;
    if (at >= 0)
        step_alert(r, o, rule, at, &answer.in);
    else if (answer.opens)
        open_alert(r, o, rule, &answer.in, answer.start);
}

static bool is_changing(const struct transitions *t, int32_t at)
{
    for (uint32_t i = 0; i < t->count; i++)
        if (t->list[i].at == at)
            return true;
    return false;
}

/* A receiver was spared this alert because it knew of a worse one, which is over now. */
static void release(struct round *r, uint32_t at, const struct objective *o, uint32_t receiver)
{
    const struct alert *a = r->d->book.list[at];
    if (!book_may_tell(r->d, &r->changes, a, o, receiver))
        return;
    struct transition *t = book_change(&r->changes);
    if (t)
        *t = (struct transition){.alert = *a,
                                 .at = (int32_t)at,
                                 .event = ALERT_RELEASED,
                                 .receiver = receiver,
                                 .objective = o};
}

static bool has_rule(const struct objective *o, const char *name)
{
    for (uint32_t i = 0; i < SLO_JUDGE_RULES; i++)
        if ((i >= QUERY_SLO_RULES_MAX || (i < o->slo->rule_count && !o->slo->rules[i].refused)) &&
            strcmp(slo_judge_rule_name(o->slo, i), name) == 0)
            return true;
    return false;
}

/* Its objective was removed, or the rule was: what fires ends, what pends was nothing. */
static void end_orphan(struct round *r, uint32_t at, const struct objective *o)
{
    const struct alert *a = r->d->book.list[at];
    struct transition *t = book_change(&r->changes);
    if (!t)
        return;
    *t =
        (struct transition){.alert = *a, .at = (int32_t)at, .event = ALERT_DROPPED, .objective = o};
    if (a->state != DETECTORS_FIRING)
        return;
    t->event = ALERT_RESOLVED;
    t->alert.state = DETECTORS_RESOLVED;
    t->alert.resolved_ms = r->now_ms;
    alert_text_summary(&t->alert, o ? o->slo : NULL);
}

/* Repetitions of what keeps firing, and resolved alerts whose day is over. */
static void run_book(struct round *r)
{
    struct detectors *d = r->d;
    for (uint32_t i = 0; i < d->book.count; i++) {
        const struct alert *a = d->book.list[i];
        const struct objective *o = NULL;
        if (is_changing(&r->changes, (int32_t)i))
            continue;
        for (uint32_t k = 0; k < d->now.set.count && !o; k++)
            if (bytes_equal_str(d->now.set.slos[k].id, a->slo_id))
                o = &d->now.objectives[k];
        if (alert_expired(a, r->now_ms)) {
            struct transition *t = book_change(&r->changes);
            if (t)
                *t = (struct transition){
                    .alert = *a, .at = (int32_t)i, .event = ALERT_DROPPED, .objective = o};
            continue;
        }
        if (a->state != DETECTORS_RESOLVED && book_is_of_objective(a) &&
            (!o || !has_rule(o, a->rule))) {
            end_orphan(r, i, o);
            continue;
        }
        for (uint32_t k = 0; a->state == DETECTORS_FIRING && k < d->o.receiver_count; k++) {
            if (!alert_was_told(a, alert_receiver_hash(d->o.receivers[k].name))) {
                release(r, i, o, k);
                continue;
            }
            int64_t every =
                d->o.receivers[k].repeat_ms ? d->o.receivers[k].repeat_ms : BOOK_REPEAT_MS;
            uint32_t due =
                r->now_ms > a->fired_ms ? (uint32_t)((r->now_ms - a->fired_ms) / every) : 0;
            if (due <= a->repeats[k])
                continue;
            struct transition *t = book_change(&r->changes);
            if (t)
                *t = (struct transition){
                    .alert = *a, .at = (int32_t)i, .repeat = due, .receiver = k, .objective = o};
        }
    }
}

/* --- the round ----------------------------------------------------------------------------------- */

static bool run_objective(struct round *r, struct objective *o)
{
    int64_t begin = clock_mono_ns();
    enum err e = advance(r, o);
    if (e == ERR_OK) {
        e = sums_of(r, o);
        excluded_of(r, o);
        bounds_of(r, o);
        for (uint32_t rule = 0; rule < SLO_JUDGE_RULES; rule++)
            run_rule(r, o, rule);
        o->work.evaluated_ms = r->now_ms;
        o->work.horizon_ms = ((int64_t)r->horizon + 1) * 60000;
        o->work.evaluation_ns = clock_mono_ns() - begin;
    }
    if (e != ERR_OK)
        stats_add(&stat_errors, 1);
    o->work.error = e;
    pthread_mutex_lock(&r->d->lock);
    o->view = o->work;
    pthread_mutex_unlock(&r->d->lock);
    return e == ERR_OK;
}

static enum err run_round(struct round *r)
{
    struct detectors *d = r->d;
    uint32_t from = UINT32_MAX, to = 0;
    uint64_t seq = d->seen_seq;
    enum err e =
        r->src->changed ? r->src->changed(r->src->ctx, d->seen_seq, &from, &to, &seq) : ERR_OK;
    if (e != ERR_OK)
        return e;
    d->seen_seq = seq;
    for (uint32_t i = 0; i < d->now.set.count; i++) { /* each keeps what it has not read yet */
        d->now.objectives[i].dirty_from = MIN(d->now.objectives[i].dirty_from, from);
        d->now.objectives[i].dirty_to =
            from <= to ? MAX(d->now.objectives[i].dirty_to, to) : d->now.objectives[i].dirty_to;
    }
    for (uint32_t i = 0; i < d->now.set.count; i++)
        if (!run_objective(r, &d->now.objectives[i]))
            e = d->now.objectives[i].work.error;
    if (r->now_ms - d->samples_ms >= SAMPLES_EVERY_MS)
        d->samples_ms = r->now_ms;
    enum err of_budgets = budget_alerts_run(d, &r->changes, r->horizon, r->now_ms);
    e = e == ERR_OK ? of_budgets : e;
    enum err of_conditions = condition_alerts_run(d, &r->changes, r->horizon, r->now_ms, r->arena);
    e = e == ERR_OK ? of_conditions : e;
    run_book(r);
    enum err committed = book_commit(d, &r->changes, r->now_ms, r->horizon);
    return committed != ERR_OK ? committed : e;
}

static enum err evaluate(struct detectors *d, int64_t now_ms)
{
    int64_t begin = clock_mono_ns();
    struct round r = {.d = d,
                      .now_ms = now_ms,
                      .horizon = (uint32_t)((now_ms - QUERY_SLO_DELAY_MS) / 60000),
                      .arena = arena_new(TEXT_ARENA_BYTES),
                      .src = d->o.source};
    struct query_slo_source view_source;
    enum err e = r.arena ? ERR_OK : ERR_NOMEM;
    if (e == ERR_OK && !r.src) {
        struct tsdb_read_limits limits = {.deadline_mono_ns = begin + ROUND_LIMIT_NS};
        e = tsdb_view_open(d->o.db, d->o.org, &limits, &r.view);
        if (e == ERR_OK) {
            view_source = query_slo_feed_source(d->now.feed, r.view);
            r.src = &view_source;
        }
    }
    if (e == ERR_OK)
        e = run_round(&r);
    if (r.view)
        tsdb_view_close(r.view);
    free(r.changes.list);
    arena_free(r.arena);
    stats_add(&stat_rounds, 1);
    stats_add(&stat_round_ns, clock_mono_ns() - begin);
    if (e == ERR_OK)
        atomic_store(&d->alive_ms, clock_mono_ns() / 1000000);
    return e;
}

enum err detectors_evaluate(struct detectors *d, int64_t now_ms)
{
    pthread_mutex_lock(&d->round_lock);
    enum err e = evaluate(d, now_ms);
    pthread_mutex_unlock(&d->round_lock);
    return e;
}
