#include "detectors/budget_alerts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "detectors/budget.h"

/* "budget:NAME" or "budget:NAME/KEY"; a long key is cut and told apart by its hash. */
static void id_of(const struct budget_hot *h, char out[256])
{
    if (!h->key[0])
        snprintf(out, 256, BUDGET_ALERTS_PREFIX "%.64s", h->row.name);
    else if (strlen(h->key) <= 160)
        snprintf(out, 256, BUDGET_ALERTS_PREFIX "%.64s/%.160s", h->row.name, h->key);
    else
        snprintf(out, 256, BUDGET_ALERTS_PREFIX "%.64s/%.140s~%016llx", h->row.name, h->key,
                 (unsigned long long)hash64(bytes_str(h->key), 0));
}

static void rule_of(const struct budget_hot *b, uint32_t i, char out[64])
{
    if (b->thresholds[i] == DETECTORS_BUDGETS_FORECAST)
        snprintf(out, 64, "forecast");
    else
        snprintf(out, 64, "%u%%", b->thresholds[i]);
}

static void amount_text(enum detectors_budget_unit unit, double amount, char out[48])
{
    if (unit == DETECTORS_BUDGET_USD)
        snprintf(out, 48, "$%.2f", amount / 1e9);
    else
        snprintf(out, 48, "%.0f %s", amount, detectors_budget_unit_name(unit));
}

static void texts(const struct budget_hot *h, bool is_forecast, struct alert *a)
{
    const struct detectors_budget_row *r = &h->row;
    char spent[48], limit[48], forecast[48], reset[CLOCK_RFC3339_MAX] = "";
    amount_text(r->unit, (double)r->spent, spent);
    amount_text(r->unit, (double)r->limit, limit);
    amount_text(r->unit, r->forecast, forecast);
    if (r->reset_ms)
        clock_rfc3339(r->reset_ms, reset);
    char who[240] = "", pace[72] = "";
    if (h->key[0])
        snprintf(who, sizeof(who), ", %s %.200s", tsdb_ledger_dim_text(r->by), h->key);
    if (is_forecast)
        snprintf(pace, sizeof(pace), "; at this pace %s", forecast);
    snprintf(a->summary, sizeof(a->summary),
             "Budget %.64s%s: %.40s of %.40s spent (%.0f %%, %.16s)%.64s", r->name, who, spent,
             limit, 100.0 * (double)r->spent / (double)r->limit, r->window, pace);
    snprintf(a->sentence, sizeof(a->sentence), "%.400s%.50s%.24s.", a->summary,
             !r->reset_ms    ? ""
             : r->is_rolling ? "; the first of it leaves the window at "
                             : "; it begins anew at ",
             reset);
    if (r->is_hard)
        strncat(a->sentence, " Gateways that ask are told to refuse what would pass it.",
                sizeof(a->sentence) - strlen(a->sentence) - 1);
}

static void numbers(const struct budget_hot *h, struct alert *a)
{
    a->long_burn = a->short_burn = a->factor = NAN;
    a->budget_left = 1 - (double)h->row.spent / (double)h->row.limit;
    a->exhaustion_minutes = NAN;
    a->bad = h->row.spent;
    a->eligible = h->row.limit;
}

/* Alerts of budgets that are not over, by the hash of id and rule. */
struct active {
    uint64_t hash;
    int32_t at;
};
struct actives {
    struct active *list;
    size_t count;
};

static uint64_t active_hash(const char *id, const char *rule)
{
    return hash64(bytes_str(id), hash64(bytes_str(rule), 0));
}

static int by_hash(const void *x, const void *y)
{
    uint64_t a = ((const struct active *)x)->hash, b = ((const struct active *)y)->hash;
    return (a > b) - (a < b);
}

static bool actives_make(const struct detectors *d, struct actives *out)
{
    out->list = malloc((d->book.count + 1) * sizeof(*out->list));
    for (uint32_t i = 0; out->list && i < d->book.count; i++) {
        const struct alert *a = d->book.list[i];
        if (budget_alerts_owns(a) && a->state != DETECTORS_RESOLVED)
            out->list[out->count++] = (struct active){active_hash(a->slo_id, a->rule), (int32_t)i};
    }
    if (out->count)
        qsort(out->list, out->count, sizeof(*out->list), by_hash);
    return out->list != NULL;
}

static int32_t actives_find(const struct actives *all, const char *id, const char *rule)
{
    struct active key = {.hash = active_hash(id, rule)};
    const struct active *found =
        all->count ? bsearch(&key, all->list, all->count, sizeof(key), by_hash) : NULL;
    return found ? found->at : -1;
}

static void open_or_step(struct detectors *d, const struct actives *actives,
                         struct transitions *changes, const struct budget_hot *h, uint32_t i,
                         uint32_t horizon, int64_t now_ms)
{
    bool is_forecast = h->thresholds[i] == DETECTORS_BUDGETS_FORECAST;
    double share = is_forecast ? h->row.forecast / (double)h->row.limit
                               : (double)h->row.spent / (double)h->row.limit;
    double threshold = is_forecast ? 1 : (double)h->thresholds[i] / 100;
    struct alert_input in = {.horizon = horizon,
                             .now_ms = now_ms,
                             .verdict = share >= threshold ? (!is_forecast && threshold >= 1
                                                                  ? QUERY_SLO_BURNS_PAGE
                                                                  : QUERY_SLO_BURNS_TICKET)
                                                           : QUERY_SLO_QUIET,
                             .eased = share < ALERT_EASE * threshold};
    struct alert next = {0};
    id_of(h, next.slo_id);
    rule_of(h, i, next.rule);
    /* A calendar window is part of the alert's identity; of a rolling one it is the moment that it was passed. */
    uint32_t start = h->row.is_rolling ? horizon : (uint32_t)(h->row.start_ms / 60000);
    char fingerprint[33];
    alert_fingerprint(next.slo_id, next.rule, NULL, 0, start, fingerprint);
    int32_t at = actives_find(actives, next.slo_id, next.rule);
    bool is_new = at < 0;
    if (is_new && in.verdict == QUERY_SLO_QUIET)
        return;
    if (!is_new) {
        next = *d->book.list[at];
        if (!h->row.is_rolling &&
            strcmp(next.fingerprint, fingerprint) != 0) /* the window before is over */
            in = (struct alert_input){
                .horizon = horizon, .now_ms = now_ms, .verdict = QUERY_SLO_QUIET, .eased = true};
    }
    numbers(h, &next);
    enum alert_event event;
    if (is_new) {
        snprintf(next.service, sizeof(next.service), "%.127s", h->key[0] ? h->key : h->row.name);
        memcpy(next.fingerprint, fingerprint, sizeof(fingerprint));
        event = alert_open(&next, &in, horizon);
    } else {
        event = alert_step(&next, &in);
    }
    texts(h, is_forecast, &next);
    if (!is_new && event == ALERT_NOTHING) { /* fresh numbers for the page */
        pthread_mutex_lock(&d->lock);
        *d->book.list[at] = next;
        pthread_mutex_unlock(&d->lock);
        return;
    }
    struct transition *t = book_change(changes);
    if (t)
        *t = (struct transition){.alert = next, .at = at, .event = event};
}

static int by_id(const void *x, const void *y)
{
    return strcmp(*(const char *const *)x, *(const char *const *)y);
}

/* Alerts whose windows have cooled off, or whose budgets are gone. */
static void resolve_rest(struct detectors *d, struct transitions *changes, char (*ids)[256],
                         size_t n, int64_t now_ms)
{
    const char **sorted = malloc((n + 1) * sizeof(*sorted));
    if (!sorted)
        return; /* in the next round */
    for (size_t i = 0; i < n; i++)
        sorted[i] = ids[i];
    qsort(sorted, n, sizeof(*sorted), by_id);
    for (uint32_t i = 0; i < d->book.count; i++) {
        const struct alert *a = d->book.list[i];
        const char *id = a->slo_id;
        if (!budget_alerts_owns(a) || a->state == DETECTORS_RESOLVED ||
            bsearch(&id, sorted, n, sizeof(*sorted), by_id))
            continue;
        struct transition *t = book_change(changes);
        if (!t)
            break;
        *t = (struct transition){.alert = *a, .at = (int32_t)i, .event = ALERT_RESOLVED};
        t->alert.state = DETECTORS_RESOLVED;
        t->alert.resolved_ms = now_ms;
    }
    free(sorted);
}

enum err budget_alerts_run(struct detectors *d, struct transitions *changes, uint32_t horizon,
                           int64_t now_ms)
{
    struct budget_hot *hot = NULL;
    size_t n = 0;
    enum err e = d->o.budgets ? budget_hot_take(d->o.budgets, now_ms, &hot, &n) : ERR_OK;
    if (e != ERR_OK)
        return e;
    struct actives actives = {0};
    char(*ids)[256] = calloc(n + 1, sizeof(*ids));
    if (!ids || !actives_make(d, &actives)) {
        free(ids);
        free(hot);
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        id_of(&hot[i], ids[i]);
        for (uint32_t k = 0; k < hot[i].threshold_count; k++)
            open_or_step(d, &actives, changes, &hot[i], k, horizon, now_ms);
    }
    resolve_rest(d, changes, ids, n, now_ms);
    free(actives.list);
    free(ids);
    free(hot);
    return ERR_OK;
}
