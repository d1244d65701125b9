/* The book of alerts: in memory for the snapshots, in the state store for the next process. */
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/stats.h"
#include "detectors/budget_alerts.h"
#include "detectors/catalogue.h"
#include "detectors/condition_alerts.h"
#include "detectors/evaluator.h"
#include "detectors/message.h"
#include <stdio.h>
#include <stdlib.h>

#define LOAD_BYTES ((size_t)256 << 20)

STATS_COUNTER(stat_fired, "telltale_alert_transitions_total", "to=\"firing\"",
              "State changes of alerts, once committed.");
STATS_COUNTER(stat_resolved, "telltale_alert_transitions_total", "to=\"resolved\"",
              "State changes of alerts, once committed.");
STATS_COUNTER(stat_commit_failed, "telltale_alert_commit_failures_total", "",
              "Evaluations whose state changes could not be committed; they are tried again.");
STATS_COUNTER(stat_alerts_full, "telltale_alerts_refused_total", "",
              "Alerts not opened because the book is full.");

/* --- in memory ----------------------------------------------------------------------------------- */

int32_t book_find_active(const struct detectors *d, struct bytes slo_id, const char *rule)
{
    for (uint32_t i = 0; i < d->book.count; i++) {
        const struct alert *a = d->book.list[i];
        if (a->state != DETECTORS_RESOLVED && bytes_equal_str(slo_id, a->slo_id) &&
            strcmp(a->rule, rule) == 0)
            return (int32_t)i;
    }
    return -1;
}

static enum err book_add(struct book *b, const struct alert *a)
{
    if (b->count == DETECTORS_ALERTS_MAX) {
        stats_add(&stat_alerts_full, 1);
        return ERR_LIMIT;
    }
    if (b->count == b->cap) {
        uint32_t cap = b->cap ? b->cap * 2 : 64;
        struct alert **list = realloc(b->list, cap * sizeof(struct alert *));
        if (!list)
            return ERR_NOMEM;
        b->list = list;
        b->cap = cap;
    }
    struct alert *copy = malloc(sizeof(*copy));
    if (!copy)
        return ERR_NOMEM;
    *copy = *a;
    b->list[b->count++] = copy;
    return ERR_OK;
}

void book_free(struct detectors *d)
{
    for (uint32_t i = 0; i < d->book.count; i++)
        free(d->book.list[i]);
    free(d->book.list);
    d->book = (struct book){0};
}

/* Repetitions that fell due before this process began count as sent. */
static void restore_repeats(struct detectors *d, struct alert *a, int64_t now_ms)
{
    for (size_t r = 0; r < d->o.receiver_count; r++) {
        int64_t every = d->o.receivers[r].repeat_ms ? d->o.receivers[r].repeat_ms : BOOK_REPEAT_MS;
        a->repeats[r] = now_ms > a->fired_ms ? (uint32_t)((now_ms - a->fired_ms) / every) : 0;
    }
}

enum err book_load(struct detectors *d, struct buf *errors)
{
    struct arena *arena = arena_new(LOAD_BYTES);
    struct tsdb_state_row *rows;
    size_t n = 0;
    enum err e = arena ? d->store.scan(d->store.ctx, EVALUATOR_ALERTS_TABLE, BYTES_NONE,
                                       2 * DETECTORS_ALERTS_MAX, arena, &rows, &n)
                       : ERR_NOMEM;
    for (size_t i = 0; e == ERR_OK && i < n; i++) {
        struct alert a;
        if (alert_decode(rows[i].value, &a) != ERR_OK) {
            log_error("detect", "an alert of the state store cannot be read and is left alone");
            continue;
        }
        restore_repeats(d, &a, clock_wall_ms());
        e = book_add(&d->book, &a);
    }
    if (e != ERR_OK)
        buf_printf(errors, "state store: alerts cannot be read: %s\n", err_text(e));
    arena_free(arena);
    return e;
}

struct transition *book_change(struct transitions *t)
{
    if (t->count == t->cap) {
        uint32_t cap = t->cap ? t->cap * 2 : 8;
        struct transition *list = realloc(t->list, cap * sizeof(*list));
        if (!list) {
            t->failed = true;
            return NULL;
        }
        t->list = list;
        t->cap = cap;
    }
    struct transition *at = &t->list[t->count++];
    *at = (struct transition){.at = -1};
    return at;
}

/* --- into the transaction ------------------------------------------------------------------------ */

/* The objective's targets go before what the service's owner says. */
static bool is_routed(const struct detectors *d, const struct detectors_receiver *r,
                      const struct alert *a, const struct query_slo *s)
{
    const struct detectors_service *of =
        catalogue_find(d->o.services, d->o.service_count, bytes_str(a->service));
    struct bytes kind = BYTES_NONE;
    for (uint32_t i = 0; s && i < s->label_count; i++)
        if (bytes_equal_str(s->labels[i].name, "kind"))
            kind = s->labels[i].value;
    return (s && s->target_count) || catalogue_routes(of, kind, a->severity, r->name);
}

static bool wants(const struct detectors *d, const struct detectors_receiver *r,
                  const struct alert *a, const struct query_slo *s)
{
    if (r->heartbeat)
        return false;
    if ((r->pages || r->tickets) && !(a->severity == QUERY_SLO_PAGE ? r->pages : r->tickets))
        return false;
    if (!is_routed(d, r, a, s))
        return false;
    for (uint32_t i = 0; s && i < s->target_count; i++)
        if (bytes_equal_str(s->targets[i], r->name))
            return true;
    return !s || s->target_count == 0;
}

bool book_is_of_objective(const struct alert *a)
{
    return !budget_alerts_owns(a) && !condition_alerts_owns(a);
}

static bool is_burn_rule(const struct alert *a)
{
    return strcmp(a->rule, "no-data") != 0 && strcmp(a->rule, "excluded-share") != 0 &&
           book_is_of_objective(a); /* each threshold of a budget is told, and each condition */
}

/* x fires, the receiver knows, and it is at least as bad about the same objective. */
static bool covers(const struct alert *x, const struct alert *a, uint32_t receiver_hash)
{
    return x->state == DETECTORS_FIRING && is_burn_rule(x) && strcmp(x->slo_id, a->slo_id) == 0 &&
           strcmp(x->fingerprint, a->fingerprint) != 0 &&
           (x->severity == QUERY_SLO_PAGE || a->severity == QUERY_SLO_TICKET) &&
           alert_was_told(x, receiver_hash);
}

/* Does a silence or a maintenance window cover it now? */
static bool is_muted(const struct detectors *d, const struct alert *a, const struct objective *o)
{
    int64_t now_ms = clock_wall_ms();
    if (!silences_any(d->silences, now_ms))
        return false;
    struct arena *arena = arena_new((size_t)1 << 20);
    struct query_slo_pair *labels;
    size_t n;
    bool muted = arena && webhook_labels(a, o ? o->slo : NULL, arena, &labels, &n) == ERR_OK &&
                 silences_mute(d->silences, labels, n, now_ms);
    arena_free(arena);
    return muted;
}

/* The receiver was paged for another service, and what burns here has the same cause: it is one outage. */
static bool inhibits(const struct alert *x, const struct alert *a, uint32_t receiver_hash)
{
    return x->state == DETECTORS_FIRING && is_burn_rule(x) && alert_shares_cause(x, a) &&
           alert_was_told(x, receiver_hash);
}

typedef bool (*relation)(const struct alert *x, const struct alert *a, uint32_t receiver_hash);

/* The first alert, of this round or of before, that stands in this relation to a. */
static const struct alert *find_related(const struct detectors *d, const struct transitions *ts,
                                        const struct alert *a, uint32_t hash, relation holds)
{
    for (uint32_t i = 0; i < ts->count; i++)
        if (holds(&ts->list[i].alert, a, hash))
            return &ts->list[i].alert;
    for (uint32_t i = 0; i < d->book.count; i++) {
        bool is_changing = false;
        for (uint32_t k = 0; k < ts->count && !is_changing; k++)
            is_changing = ts->list[k].at == (int32_t)i;
        if (!is_changing && holds(d->book.list[i], a, hash))
            return d->book.list[i];
    }
    return NULL;
}

/* A later step of an escalation: not yet, or somebody works on it. The moment is that of firing, which is durable. */
static bool is_early(const struct detectors *d, const struct detectors_receiver *r,
                     const struct alert *a)
{
    return r->after_ms &&
           (clock_wall_ms() - a->fired_ms < r->after_ms || acks_has(d->acks, a->fingerprint));
}

enum verdict { TELLS, TELLS_NOT, NOTICES };

static enum verdict judge(const struct detectors *d, const struct transitions *ts,
                          const struct alert *a, const struct objective *o, uint32_t receiver,
                          const struct alert **out_by)
{
    const struct detectors_receiver *r = &d->o.receivers[receiver];
    uint32_t hash = alert_receiver_hash(r->name);
    if (!wants(d, r, a, o ? o->slo : NULL) || is_muted(d, a, o) || is_early(d, r, a))
        return TELLS_NOT;
    if (!is_burn_rule(a))
        return TELLS;
    if (find_related(d, ts, a, hash, covers))
        return TELLS_NOT;
    *out_by = find_related(d, ts, a, hash, inhibits);
    return *out_by ? NOTICES : TELLS;
}

bool book_may_tell(const struct detectors *d, const struct transitions *ts, const struct alert *a,
                   const struct objective *o, uint32_t receiver)
{
    const struct alert *by = NULL;
    return judge(d, ts, a, o, receiver, &by) == TELLS;
}

/* A page that is not sent, because another service's says it, becomes a notice: for those who take tickets, else for whom the page was. Services
 * that would open an incident of it get none. */
static void notice(struct detectors *d, struct transition *t, uint32_t receiver,
                   const struct alert *by)
{
    struct alert as_ticket = t->alert;
    as_ticket.severity = QUERY_SLO_TICKET;
    for (uint32_t r = 0; r < d->o.receiver_count; r++)
        if (wants(d, &d->o.receivers[r], &as_ticket, t->objective ? t->objective->slo : NULL))
            t->notice |= 1u << r;
    if (!t->notice)
        t->notice = 1u << receiver;
    for (uint32_t r = 0; r < d->o.receiver_count; r++)
        if (d->o.receivers[r].kind == DETECTORS_PAGERDUTY ||
            d->o.receivers[r].kind == DETECTORS_ALERTMANAGER)
            t->notice &= ~(1u << r);
    memcpy(t->notice_of, by->fingerprint, sizeof(t->notice_of));
}

static bool begins(const struct transition *t)
{
    return t->event == ALERT_FIRED || t->event == ALERT_STEPPED;
}

/* What somebody works on is not said again; to Alertmanager, which would take silence for an end, it is. */
static bool repeats(const struct detectors *d, const struct transition *t, uint32_t r)
{
    bool is_acked =
        d->o.receivers[r].kind != DETECTORS_ALERTMANAGER && acks_has(d->acks, t->alert.fingerprint);
    return !is_acked && !is_muted(d, &t->alert, t->objective);
}

/* Does the receiver hear of this change? */
static bool hears(struct detectors *d, struct transitions *ts, struct transition *t, uint32_t r)
{
    bool told = alert_was_told(&t->alert, alert_receiver_hash(d->o.receivers[r].name));
    const struct alert *by = NULL;
    if (t->event == ALERT_RESOLVED)
        return told && !d->o.receivers[r].send_resolved_off;
    if (t->event == ALERT_NOTHING)
        return told && t->repeat > 0 && t->receiver == r && repeats(d, t, r);
    if (!begins(t) && !(t->event == ALERT_RELEASED && t->receiver == r))
        return false;
    enum verdict v = judge(d, ts, &t->alert, t->objective, r, &by);
    if (v == NOTICES && begins(t))
        notice(d, t, r, by);
    return v == TELLS;
}

/* Which receivers hear of which change; marks in the alert who was told. */
static void decide(struct detectors *d, struct transitions *ts)
{
    for (uint32_t i = 0; i < ts->count; i++) {
        struct transition *t = &ts->list[i];
        for (uint32_t r = 0; r < d->o.receiver_count; r++)
            if (hears(d, ts, t, r)) {
                alert_tell(&t->alert, alert_receiver_hash(d->o.receivers[r].name));
                t->send |= 1u << r;
            }
        t->notice &= ~t->send;
    }
}

static void event_name(const struct transition *t, char out[24])
{
    switch (t->event) {
    case ALERT_RELEASED:
    case ALERT_FIRED: snprintf(out, 24, "firing"); break;
    case ALERT_STEPPED: snprintf(out, 24, "step-%u", t->alert.steps); break;
    case ALERT_RESOLVED: snprintf(out, 24, "resolved"); break;
    default: snprintf(out, 24, "repeat-%u", t->repeat);
    }
}

enum err book_stage(struct detectors *d, void *txn, const struct detectors_receiver *r,
                    const struct book_note *n, struct buf *body, int64_t now_ms)
{
    struct outbox_entry e = {.created_ms = now_ms, .next_attempt_ms = now_ms};
    snprintf(e.event, sizeof(e.event), "%s", n->event);
    snprintf(e.receiver, sizeof(e.receiver), "%s", r->name);
    snprintf(e.fingerprint, sizeof(e.fingerprint), "%s", n->fingerprint);
    snprintf(e.webhook_id, sizeof(e.webhook_id), "%s-%.63s-%s", e.fingerprint, e.receiver, e.event);
    snprintf(e.slo_id, sizeof(e.slo_id), "%s", n->slo_id);
    snprintf(e.rule, sizeof(e.rule), "%s", n->rule);
    if (!buf_ok(body)) {
        buf_done(body);
        return ERR_NOMEM;
    }
    if (strncmp(n->event, "repeat-", 7) == 0 &&
        outbox_waits(d->outbox, r->name, n->fingerprint)) { /* what waits will say it */
        buf_done(body);
        return ERR_OK;
    }
    size_t size;
    uint8_t *taken = buf_take(body, &size);
    enum err err = outbox_stage(d->outbox, txn, &e, &taken, size);
    free(taken);
    if (err == ERR_LIMIT) {
        log_error("detect", "receiver=%s has %u notifications waiting: alert %s is not sent to it",
                  r->name, DETECTORS_OUTBOX_MAX, e.fingerprint);
        return ERR_OK; /* counted; the alert itself is kept and shown */
    }
    return err;
}

/* Says why it is no page. */
static enum err add_inhibitor(const struct transition *t, struct arena *arena,
                              struct webhook_note *n)
{
    struct query_slo_pair *list =
        ARENA_ARRAY(arena, struct query_slo_pair, n->annotation_count + 2);
    if (!list)
        return ERR_NOMEM;
    for (size_t i = 0; i < n->annotation_count; i++)
        list[i] = n->annotations[i];
    list[n->annotation_count++] =
        (struct query_slo_pair){BYTES_LIT("inhibited_by"), bytes_str(t->notice_of)};
    list[n->annotation_count++] =
        (struct query_slo_pair){BYTES_LIT("cause"), bytes_str(t->alert.cause)};
    n->annotations = list;
    return ERR_OK;
}

/* They are not part of the fingerprint: two nodes that differ in them tell of the same alert. */
static enum err add_external(struct detectors *d, struct arena *arena, struct webhook_note *n)
{
    struct tsdb_labels_iter it = tsdb_labels_begin(d->o.external_labels);
    struct tsdb_label l;
    size_t more = tsdb_labels_count(d->o.external_labels);
    struct query_slo_pair *list =
        more ? ARENA_ARRAY(arena, struct query_slo_pair, n->label_count + more) : NULL;
    if (!more)
        return ERR_OK;
    if (!list)
        return ERR_NOMEM;
    for (size_t i = 0; i < n->label_count; i++)
        list[i] = n->labels[i];
    size_t own = n->label_count;
    while (tsdb_labels_next(&it, &l)) {
        bool is_there = false;
        for (size_t i = 0; i < own && !is_there; i++)
            is_there = bytes_equal(list[i].name, l.name);
        if (!is_there)
            list[n->label_count++] = (struct query_slo_pair){l.name, l.value};
    }
    n->labels = list;
    return ERR_OK;
}

enum err book_add_pairs(struct detectors *d, const struct detectors_receiver *r, bool with_link,
                        struct arena *arena, struct webhook_note *n)
{
    struct query_slo_pair *list =
        ARENA_ARRAY(arena, struct query_slo_pair, n->annotation_count + 2);
    struct bytes service = message_label(n, "service");
    const struct detectors_service *of = catalogue_find(d->o.services, d->o.service_count, service);
    if (!list)
        return ERR_NOMEM;
    for (size_t i = 0; i < n->annotation_count; i++)
        list[i] = n->annotations[i];
    if (of && !message_annotation(n, "owner").size)
        list[n->annotation_count++] = (struct query_slo_pair){BYTES_LIT("owner"), of->owner};
    if (with_link) {
        struct bytes link =
            acks_link(d->acks, d->o.external_url, n->fingerprint, r->name, n->starts_ms, arena);
        if (!link.data)
            return ERR_NOMEM;
        list[n->annotation_count++] = (struct query_slo_pair){BYTES_LIT("acknowledge"), link};
    }
    n->annotations = list;
    return add_external(d, arena, n);
}

static enum err stage_one(struct detectors *d, void *txn, const struct transition *t,
                          const struct detectors_receiver *r, int64_t now_ms)
{
    char event[24] = "notice";
    bool is_notice = !(t->send >> (r - d->o.receivers) & 1);
    struct alert alert = t->alert;
    if (is_notice)
        alert.severity = QUERY_SLO_TICKET;
    else
        event_name(t, event);
    struct book_note note = {.fingerprint = alert.fingerprint,
                             .event = event,
                             .slo_id = alert.slo_id,
                             .rule = alert.rule};
    struct webhook_text text = {.receiver = r->name,
                                .external_url = d->o.external_url,
                                .slo = t->objective ? t->objective->slo : NULL};
    struct webhook_note about;
    struct buf body;
    struct arena *arena = arena_new((size_t)1 << 20);
    enum err e = arena ? webhook_note_of(&alert, &text, arena, &about) : ERR_NOMEM;
    if (e == ERR_OK && is_notice)
        e = add_inhibitor(t, arena, &about);
    if (e == ERR_OK)
        e = book_add_pairs(d, r, t->event != ALERT_RESOLVED, arena, &about);
    if (e == ERR_OK) {
        about.event = event;
        about.now_ms = now_ms;
        buf_init(&body, BOOK_BODY_MAX);
        message_write(r, &about, d->o.external_url, &body);
        e = book_stage(d, txn, r, &note, &body, now_ms);
    }
    arena_free(arena);
    return e;
}

static enum err put_alert(struct detectors *d, void *txn, const struct transition *t)
{
    struct bytes key = bytes_str(t->alert.fingerprint);
    if (t->event == ALERT_DROPPED)
        return d->store.del(d->store.ctx, txn, EVALUATOR_ALERTS_TABLE, key);
    struct buf b;
    buf_init(&b, 0);
    alert_encode(&t->alert, &b);
    enum err e = buf_ok(&b)
                     ? d->store.put(d->store.ctx, txn, EVALUATOR_ALERTS_TABLE, key, buf_bytes(&b))
                     : ERR_NOMEM;
    buf_done(&b);
    return e;
}

static enum err stage_all(struct detectors *d, void *txn, const struct transitions *ts,
                          int64_t now_ms)
{
    enum err e = ERR_OK;
    for (uint32_t i = 0; i < ts->count && e == ERR_OK; i++) {
        const struct transition *t = &ts->list[i];
        for (uint32_t r = 0; r < d->o.receiver_count && e == ERR_OK; r++)
            if ((t->send | t->notice) >> r & 1)
                e = stage_one(d, txn, t, &d->o.receivers[r], now_ms);
    }
    return e;
}

static enum err put_states(struct detectors *d, void *txn, const struct transitions *ts,
                           uint32_t horizon)
{
    struct buf cursor;
    buf_init(&cursor, 0);
    buf_u32(&cursor, horizon);
    buf_u64(&cursor, d->seen_seq);
    enum err e = buf_ok(&cursor) ? d->store.put(d->store.ctx, txn, EVALUATOR_META_TABLE,
                                                BYTES_LIT("cursor"), buf_bytes(&cursor))
                                 : ERR_NOMEM;
    buf_done(&cursor);
    for (uint32_t i = 0; i < ts->count && e == ERR_OK; i++)
        e = put_alert(d, txn, &ts->list[i]);
    return e;
}

/* Under the lock: what was committed becomes visible. */
static void apply(struct detectors *d, const struct transitions *ts)
{
    for (uint32_t i = 0; i < ts->count; i++) {
        const struct transition *t = &ts->list[i];
        stats_add(&stat_fired, t->event == ALERT_FIRED);
        stats_add(&stat_resolved, t->event == ALERT_RESOLVED);
        if (t->at < 0) {
            if (book_add(&d->book, &t->alert) != ERR_OK)
                log_error("detect", "alert %s is committed but not shown: out of memory",
                          t->alert.fingerprint);
        } else if (t->event == ALERT_NOTHING && t->repeat > 0) {
            d->book.list[t->at]->repeats[t->receiver] = t->repeat;
        } else if (t->event == ALERT_RELEASED) {
            for (uint32_t k = 0; k < t->alert.told_count; k++)
                alert_tell(d->book.list[t->at], t->alert.told[k]);
        } else {
            *d->book.list[t->at] = t->alert;
        }
    }
    /* Dropped ones leave last, so that indices held until here. */
    for (uint32_t i = 0; i < ts->count; i++) {
        if (ts->list[i].event != ALERT_DROPPED)
            continue;
        for (uint32_t k = 0; k < d->book.count; k++) {
            if (strcmp(d->book.list[k]->fingerprint, ts->list[i].alert.fingerprint) != 0)
                continue;
            free(d->book.list[k]);
            d->book.list[k] = d->book.list[--d->book.count];
            break;
        }
    }
}

static enum err run_txn(struct detectors *d, const struct transitions *ts, int64_t now_ms,
                        uint32_t horizon, bool with_states, bool with_outbox)
{
    void *txn;
    enum err e = d->store.begin(d->store.ctx, &txn);
    if (e != ERR_OK)
        return e;
    if (with_states)
        e = put_states(d, txn, ts, horizon);
    if (e == ERR_OK && with_outbox)
        e = stage_all(d, txn, ts, now_ms);
    if (e == ERR_OK)
        return d->store.commit(d->store.ctx, txn);
    d->store.abort(d->store.ctx, txn);
    return e;
}

enum err book_commit(struct detectors *d, struct transitions *t, int64_t now_ms, uint32_t horizon)
{
    if (t->failed)
        return ERR_NOMEM;
    if (t->count == 0)
        return ERR_OK;
    outbox_begin(d->outbox);
    decide(d, t);
    enum err e;
    if (d->o.mutate & DETECTORS_MUTATE_SPLIT_TXN) {
        e = run_txn(d, t, now_ms, horizon, true, false);
        if (e == ERR_OK) {
            pthread_mutex_lock(&d->lock);
            apply(d, t);
            pthread_mutex_unlock(&d->lock);
            e = run_txn(d, t, now_ms, horizon, false, true);
        }
    } else {
        e = run_txn(d, t, now_ms, horizon, true, true);
        if (e == ERR_OK) {
            pthread_mutex_lock(&d->lock);
            apply(d, t);
            pthread_mutex_unlock(&d->lock);
        }
    }
    if (e == ERR_OK) {
        outbox_publish(d->outbox);
    } else {
        outbox_discard(d->outbox);
        stats_add(&stat_commit_failed, 1);
        log_error("detect", "%u alert changes could not be committed and will be tried again: %s",
                  t->count, err_text(e));
    }
    outbox_end(d->outbox);
    return e;
}
