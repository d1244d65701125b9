#include "detectors/condition_alerts.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>

#include "base/check.h"

#define RULE "holds"
#define ID_MAX 256u
#define SUBJECT_MAX 120u
static_assert(sizeof(CONDITION_ALERTS_PREFIX) + 64 + 1 + SUBJECT_MAX <= ID_MAX,
              "an id holds all its parts");

/* At most max bytes, and no part of a character at the end. */
static size_t text_fit(struct bytes text, size_t max)
{
    size_t n = MIN(text.size, max);
    while (n < text.size && n && (text.data[n] & 0xc0) == 0x80)
        n--;
    return n;
}

/* "condition:NAME" or "condition:NAME/SUBJECT". A byte that cannot stand in a text becomes '?'. */
static void id_of(const struct detectors_condition *c, struct bytes subject, char out[ID_MAX])
{
    int n = snprintf(out, ID_MAX, CONDITION_ALERTS_PREFIX "%.64s", c->name);
    size_t size = text_fit(subject, SUBJECT_MAX);
    if (!size)
        return;
    out[n++] = '/';
    for (size_t i = 0; i < size; i++)
        out[n++] = subject.data[i] < ' ' ? '?' : (char)subject.data[i];
    out[n] = 0;
}

/* Whose alert is it? */
static bool is_of(const struct detectors_condition *c, const struct alert *a)
{
    const char *name = a->slo_id + sizeof(CONDITION_ALERTS_PREFIX) - 1;
    size_t n = strlen(c->name);
    return strncmp(name, c->name, n) == 0 && (name[n] == 0 || name[n] == '/');
}

static void text_copy(char out[ALERT_TEXT_MAX], struct bytes text)
{
    size_t n = text_fit(text, ALERT_TEXT_MAX - 1);
    if (n)
        memcpy(out, text.data, n);
    out[n] = 0;
}

static struct alert_input input_of(const struct detectors_condition *c,
                                   const struct detectors_finding *f, uint32_t horizon,
                                   int64_t now_ms)
{
    return (struct alert_input){.horizon = horizon,
                                .now_ms = now_ms,
                                .verdict = !f                              ? QUERY_SLO_QUIET
                                           : f->severity == QUERY_SLO_PAGE ? QUERY_SLO_BURNS_PAGE
                                                                           : QUERY_SLO_BURNS_TICKET,
                                .eased = true,
                                .after_minutes = c->after_minutes,
                                .resolve_minutes = c->resolve_minutes};
}

static void open_alert(struct transitions *changes, const char *id, const struct alert_input *in,
                       const struct detectors_finding *f)
{
    struct transition *t = book_change(changes);
    if (!t)
        return;
    struct alert *a = &t->alert;
    snprintf(a->slo_id, sizeof(a->slo_id), "%s", id);
    snprintf(a->rule, sizeof(a->rule), RULE);
    snprintf(a->service, sizeof(a->service), CONDITION_ALERTS_SERVICE);
    a->long_burn = a->short_burn = a->factor = a->budget_left = a->exhaustion_minutes = NAN;
    alert_fingerprint(a->slo_id, a->rule, NULL, 0, in->horizon, a->fingerprint);
    text_copy(a->summary, f->summary);
    text_copy(a->sentence, f->sentence);
    t->event = alert_open(a, in, in->horizon);
}

/* f NULL: it does not hold now. What it said last stays its text. */
static void step_alert(struct detectors *d, struct transitions *changes, int32_t at,
                       const struct alert_input *in, const struct detectors_finding *f)
{
    struct alert next = *d->book.list[at];
    enum alert_event event = alert_step(&next, in);
    if (f) {
        text_copy(next.summary, f->summary);
        text_copy(next.sentence, f->sentence);
    }
    if (event == ALERT_NOTHING) { /* fresh words for the page; nothing durable changes */
        pthread_mutex_lock(&d->lock);
        *d->book.list[at] = next;
        pthread_mutex_unlock(&d->lock);
        return;
    }
    struct transition *t = book_change(changes);
    if (t)
        *t = (struct transition){.alert = next, .at = at, .event = event};
}

static enum err run_condition(struct detectors *d, struct transitions *changes,
                              const struct detectors_condition *c, uint32_t horizon, int64_t now_ms,
                              struct arena *a)
{
    struct detectors_finding *found = NULL;
    size_t n = 0;
    enum err e = c->look(c->ctx, now_ms, a, &found, &n);
    if (e != ERR_OK)
        return e;
    n = MIN(n, (size_t)DETECTORS_FINDINGS_MAX);
    char(*ids)[ID_MAX] = arena_alloc(a, (n + 1) * ID_MAX);
    if (!ids)
        return ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        bool is_twice = false;
        id_of(c, found[i].subject, ids[i]);
        for (size_t k = 0; k < i; k++)
            is_twice = is_twice || strcmp(ids[k], ids[i]) == 0;
        if (is_twice)
            continue;
        struct alert_input in = input_of(c, &found[i], horizon, now_ms);
        int32_t at = book_find_active(d, bytes_str(ids[i]), RULE);
        if (at < 0)
            open_alert(changes, ids[i], &in, &found[i]);
        else
            step_alert(d, changes, at, &in, &found[i]);
    }
    for (uint32_t i = 0; i < d->book.count; i++) {
        const struct alert *x = d->book.list[i];
        bool holds = !condition_alerts_owns(x) || x->state == DETECTORS_RESOLVED || !is_of(c, x);
        for (size_t k = 0; k < n && !holds; k++)
            holds = strcmp(ids[k], x->slo_id) == 0;
        struct alert_input in = input_of(c, NULL, horizon, now_ms);
        if (!holds)
            step_alert(d, changes, (int32_t)i, &in, NULL);
    }
    return ERR_OK;
}

/* Of a condition that this program does not have any more. */
static void resolve_orphans(struct detectors *d, struct transitions *changes, int64_t now_ms)
{
    for (uint32_t i = 0; i < d->book.count; i++) {
        const struct alert *x = d->book.list[i];
        bool is_known = !condition_alerts_owns(x) || x->state == DETECTORS_RESOLVED;
        for (size_t k = 0; k < d->o.condition_count && !is_known; k++)
            is_known = is_of(&d->o.conditions[k], x);
        struct transition *t = is_known ? NULL : book_change(changes);
        if (!t)
            continue;
        *t = (struct transition){.alert = *x, .at = (int32_t)i, .event = ALERT_RESOLVED};
        t->alert.state = DETECTORS_RESOLVED;
        t->alert.resolved_ms = now_ms;
    }
}

/* Nobody looked while the program was down: what fires has its whole time to show that it still holds. */
static void begin_anew(struct detectors *d, uint32_t horizon)
{
    pthread_mutex_lock(&d->lock);
    for (uint32_t i = 0; i < d->book.count; i++)
        if (condition_alerts_owns(d->book.list[i]) && d->book.list[i]->state == DETECTORS_FIRING)
            d->book.list[i]->last_true_minute = horizon;
    pthread_mutex_unlock(&d->lock);
}

enum err condition_alerts_run(struct detectors *d, struct transitions *changes, uint32_t horizon,
                              int64_t now_ms, struct arena *a)
{
    enum err e = ERR_OK;
    if (!d->has_looked)
        begin_anew(d, horizon);
    d->has_looked = true;
    for (size_t i = 0; i < d->o.condition_count; i++) {
        enum err one = run_condition(d, changes, &d->o.conditions[i], horizon, now_ms, a);
        e = e == ERR_OK ? one : e;
    }
    resolve_orphans(d, changes, now_ms);
    return e;
}
