/* What the page and the API read: copies under the lock, in the caller's arena. */
#include "base/check.h"
#include "base/clock.h"
#include "detectors/evaluator.h"
#include "detectors/rule_book.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define UNCOVERED_SHARE 0.005 /* fewer calls without the exact counter do not matter */

/* --- objectives ---------------------------------------------------------------------------------- */

static const struct alert *active_alert(const struct detectors *d, struct bytes slo_id,
                                        const char *rule)
{
    int32_t at = book_find_active(d, slo_id, rule);
    return at < 0 ? NULL : d->book.list[at];
}

static enum detectors_state rule_state(const struct alert *a, const struct slo_judge_rule *v)
{
    if (a)
        return a->state;
    return v->verdict == QUERY_SLO_NO_EVENTS ? DETECTORS_NO_DATA : DETECTORS_OK;
}

/* Cost slices without prices count like missing measurements. */
static bool is_insufficient(const struct query_slo *s, const struct query_slo_counts *c)
{
    if (s->indicator != QUERY_SLO_TTFT && s->indicator != QUERY_SLO_TPOT &&
        s->indicator != QUERY_SLO_COST)
        return false;
    return query_slo_coverage(c) < EVALUATOR_COVERAGE_MIN;
}

static enum detectors_state objective_state(const struct detectors *d, const struct objective *o,
                                            enum query_slo_severity *out_severity)
{
    enum detectors_state state = DETECTORS_OK;
    *out_severity = QUERY_SLO_TICKET;
    for (uint32_t i = 0; i < d->book.count; i++) {
        const struct alert *a = d->book.list[i];
        if (!bytes_equal_str(o->slo->id, a->slo_id) || a->state == DETECTORS_RESOLVED)
            continue;
        if (a->state == DETECTORS_FIRING) {
            state = DETECTORS_FIRING;
            if (a->severity == QUERY_SLO_PAGE)
                *out_severity = QUERY_SLO_PAGE;
        } else if (state != DETECTORS_FIRING) {
            state = DETECTORS_PENDING;
        }
    }
    if (state != DETECTORS_OK)
        return state;
    if (o->view.evaluated_ms == 0)
        return DETECTORS_STARTING;
    if (query_slo_eligible(&o->view.judge.period) == 0 && o->view.judge.period.missing == 0)
        return DETECTORS_NO_DATA;
    if (is_insufficient(o->slo, &o->view.judge.period))
        return DETECTORS_INSUFFICIENT;
    return query_slo_budget_left_of(o->slo, &o->view.judge.period) <= 0 ? DETECTORS_SPENT
                                                                        : DETECTORS_OK;
}

/* The sentence of the newest firing alert of the service speaks for all of them. */
static const struct alert *speaker(const struct detectors *d, const char *service)
{
    const struct alert *best = NULL;
    for (uint32_t i = 0; i < d->book.count; i++) {
        const struct alert *a = d->book.list[i];
        if (a->state == DETECTORS_FIRING && strcmp(a->service, service) == 0 &&
            (!best || a->fired_ms > best->fired_ms))
            best = a;
    }
    return best;
}

static bool fill_rules(const struct detectors *d, const struct objective *o, struct arena *a,
                       struct detectors_slo_row *row)
{
    const struct query_slo *s = o->slo;
    row->rules = ARENA_ARRAY(a, struct detectors_rule_row, s->rule_count + 1);
    if (!row->rules)
        return false;
    for (uint32_t i = 0; i < s->rule_count; i++) {
        const struct slo_judge_rule *v = &o->view.judge.rules[i];
        const struct alert *alert = active_alert(d, s->id, s->rules[i].name);
        row->rules[row->rule_count++] = (struct detectors_rule_row){
            .rule = &s->rules[i],
            .long_counts = v->long_counts,
            .short_counts = v->short_counts,
            .long_burn = query_slo_burn_of(s, &v->long_counts),
            .short_burn = query_slo_burn_of(s, &v->short_counts),
            .state = rule_state(alert, v),
            .active_since_ms = alert ? (int64_t)alert->start_minute * 60000 : 0};
    }
    return true;
}

static bool fill_excluded(const struct objective *o, struct arena *a, struct detectors_slo_row *row)
{
    const struct objective_view *v = &o->view;
    row->excluded = ARENA_ARRAY(a, struct query_slo_reason, v->excluded_count + 1);
    if (!row->excluded)
        return false;
    for (uint32_t i = 0; i < v->excluded_count; i++) {
        row->excluded[i].reason = arena_copy(a, bytes_str(v->excluded[i].reason));
        row->excluded[i].count = v->excluded[i].count;
    }
    row->excluded_count = v->excluded_count;
    return true;
}

/* "interval: exact for 40 % of the calls, 97.2-98.4 % over all": part of the period is older than the threshold's own counter. */
static struct bytes quality_text(const struct objective_view *v, struct arena *a,
                                 enum query_slo_quality *io_quality)
{
    const struct query_slo_bounds *b = &v->bounds;
    double uncovered = b->count - (double)v->bounds_covered;
    if (b->count <= 0 || uncovered <= MAX(1.0, b->count * UNCOVERED_SHARE))
        return bytes_str(query_slo_quality_name(*io_quality));
    *io_quality = QUERY_SLO_INTERVAL;
    return arena_printf(a, "exact for %.0f %% of the calls, %.1f-%.1f %% over all (histogram)",
                        100 * (double)v->bounds_covered / b->count, 100 * b->low / b->count,
                        100 * b->high / b->count);
}

/* "uniform sample: 1204 checked, 2.1-4.8 % unsupported (90 % interval)" */
static struct bytes sample_text(const struct query_slo *s, const struct query_slo_counts *c,
                                struct arena *a)
{
    double low, high;
    int64_t n = query_slo_eligible(c);
    query_slo_checked_interval(s, c, &low, &high);
    if (n <= 0)
        return bytes_str("uniform sample: nothing checked yet");
    return arena_printf(a,
                        "uniform sample: %lld checked, %.1f-%.1f %% unsupported (90 %% interval)",
                        (long long)n, 100 * low, 100 * high);
}

static enum err fill_row(const struct detectors *d, const struct objective *o, struct arena *a,
                         struct detectors_slo_row *row)
{
    const struct query_slo *s = o->slo;
    const struct objective_view *v = &o->view;
    bool has_coverage = s->indicator == QUERY_SLO_TTFT || s->indicator == QUERY_SLO_TPOT;
    *row = (struct detectors_slo_row){
        .slo = s,
        .indicator = query_slo_indicator_name(s->indicator),
        .what = query_slo_indicator_what(s->indicator),
        .evaluated_ms = v->evaluated_ms,
        .horizon_ms = v->horizon_ms,
        .period = v->judge.period,
        .day = v->day,
        .sli = 1 - query_slo_ratio_of(s, &v->judge.period),
        .budget_left = query_slo_budget_left_of(s, &v->judge.period),
        .burn_1h = query_slo_burn_of(s, &v->hour),
        .burn_24h = query_slo_burn_of(s, &v->day),
        .coverage = has_coverage ? query_slo_coverage(&v->judge.period) : (double)NAN,
        .quality = s->indicator == QUERY_SLO_RATIO           ? QUERY_SLO_METRICS_ONLY
                   : s->indicator == QUERY_SLO_HALLUCINATION ? QUERY_SLO_WEIGHTED
                                                             : QUERY_SLO_EXACT,
        .revised_minutes = v->revised_minutes,
        .revised_events = v->revised_events,
        .budget_since_ms = o->budget_since_ms};
    row->state = objective_state(d, o, &row->severity);
    row->exhaustion_minutes =
        query_slo_exhaustion_minutes(row->budget_left, row->burn_1h, s->period_minutes);
    row->quality_text = s->indicator == QUERY_SLO_HALLUCINATION
                            ? sample_text(s, &v->judge.period, a)
                            : quality_text(v, a, &row->quality);
    if (!row->quality_text.data)
        return ERR_LIMIT;
    char service[128];
    snprintf(service, sizeof(service), "%.*s", (int)MIN(s->service.size, (size_t)127),
             (const char *)s->service.data);
    const struct alert *says = row->state == DETECTORS_FIRING ? speaker(d, service) : NULL;
    if (says) {
        row->sentence = arena_copy(a, bytes_str(says->sentence));
        if (!row->sentence.data)
            return ERR_LIMIT;
    }
    return fill_rules(d, o, a, row) && fill_excluded(o, a, row) ? ERR_OK : ERR_LIMIT;
}

enum err detectors_slos(struct detectors *d, struct arena *a, struct detectors_slo_row **out,
                        size_t *out_count)
{
    pthread_mutex_lock(&d->lock);
    size_t n = d->now.set.count;
    struct detectors_slo_row *rows = ARENA_ARRAY(a, struct detectors_slo_row, n + 1);
    enum err e = rows ? ERR_OK : ERR_LIMIT;
    for (size_t i = 0; e == ERR_OK && i < n; i++)
        e = fill_row(d, &d->now.objectives[i], a, &rows[i]);
    pthread_mutex_unlock(&d->lock);
    if (e == ERR_OK) {
        *out = rows;
        *out_count = n;
    }
    return e;
}

static struct objective *find_objective(struct detectors *d, struct bytes id)
{
    for (uint32_t i = 0; i < d->now.set.count; i++)
        if (bytes_equal(d->now.set.slos[i].id, id))
            return &d->now.objectives[i];
    return NULL;
}

enum err detectors_slo(struct detectors *d, struct bytes id, struct arena *a,
                       struct detectors_slo_row *out)
{
    pthread_mutex_lock(&d->lock);
    const struct objective *o = find_objective(d, id);
    enum err e = o ? fill_row(d, o, a, out) : ERR_NOT_FOUND;
    pthread_mutex_unlock(&d->lock);
    return e;
}

/* --- headline ------------------------------------------------------------------------------------ */

/* Services with firing alerts, other than the first one's. */
static unsigned other_services(const struct detectors *d, const char *first)
{
    unsigned n = 0;
    for (uint32_t i = 0; i < d->book.count; i++) {
        const struct alert *a = d->book.list[i];
        bool counted = a->state != DETECTORS_FIRING || strcmp(a->service, first) == 0;
        for (uint32_t k = 0; k < i && !counted; k++)
            counted = d->book.list[k]->state == DETECTORS_FIRING &&
                      strcmp(d->book.list[k]->service, a->service) == 0;
        n += !counted;
    }
    return n;
}

static struct bytes quiet_sentence(const struct detectors_headline *h, uint32_t spent,
                                   struct arena *a)
{
    uint32_t fine = h->total - h->no_data - spent;
    if (h->total == 0)
        return BYTES_LIT("No SLO is loaded.");
    if (h->no_data == h->total)
        return h->total == 1 ? BYTES_LIT("No data yet for the one SLO.")
                             : arena_printf(a, "No data yet for any of the %u SLOs.", h->total);
    if (spent)
        return arena_printf(a, "Nothing burns now; %u of %u SLOs %s spent %s error budget.", spent,
                            h->total, spent == 1 ? "has" : "have", spent == 1 ? "its" : "their");
    if (h->no_data)
        return arena_printf(a, "%u of %u SLOs %s within budget, %u without data.", fine, h->total,
                            fine == 1 ? "is" : "are", h->no_data);
    return h->total == 1 ? BYTES_LIT("The one SLO is within budget.")
                         : arena_printf(a, "All %u SLOs are within budget.", h->total);
}

enum err detectors_headline_get(struct detectors *d, struct arena *a,
                                struct detectors_headline *out)
{
    struct detectors_headline h = {0};
    uint32_t spent = 0, first_minute = UINT32_MAX;
    const struct alert *first = NULL;
    pthread_mutex_lock(&d->lock);
    h.total = d->now.set.count;
    for (uint32_t i = 0; i < d->now.set.count; i++) {
        const struct objective *o = &d->now.objectives[i];
        enum query_slo_severity severity;
        enum detectors_state s = objective_state(d, o, &severity);
        h.burning += s == DETECTORS_FIRING;
        h.pending += s == DETECTORS_PENDING;
        h.no_data += s == DETECTORS_NO_DATA || s == DETECTORS_STARTING;
        spent += s == DETECTORS_SPENT;
    }
    for (uint32_t i = 0; i < d->book.count; i++) {
        const struct alert *x = d->book.list[i];
        if (x->state == DETECTORS_FIRING && x->start_minute < first_minute) {
            first_minute = x->start_minute;
            first = x;
        }
    }
    if (first) {
        unsigned others = other_services(d, first->service);
        const struct alert *says = speaker(d, first->service);
        h.since_ms = (int64_t)first_minute * 60000;
        h.sentence = others ? arena_printf(a, "%s %u more service%s burning.", says->sentence,
                                           others, others == 1 ? " is" : "s are")
                            : arena_printf(a, "%s", says->sentence);
    } else {
        h.sentence = quiet_sentence(&h, spent, a);
    }
    pthread_mutex_unlock(&d->lock);
    if (!h.sentence.data)
        return ERR_LIMIT;
    *out = h;
    return ERR_OK;
}

/* --- alerts -------------------------------------------------------------------------------------- */

static bool copy_str(struct arena *a, const char *s, struct bytes *out)
{
    *out = arena_copy(a, bytes_str(s));
    return out->data || !*s;
}

static enum err fill_alert(struct detectors *d, const struct alert *x, struct arena *a,
                           struct detectors_alert *out)
{
    struct objective *o = find_objective(d, bytes_str(x->slo_id));
    struct webhook_text text = {
        .receiver = "", .external_url = d->o.external_url, .slo = o ? o->slo : NULL};
    *out = (struct detectors_alert){.severity = x->severity,
                                    .state = x->state,
                                    .active_since_ms = (int64_t)x->start_minute * 60000,
                                    .fired_ms = x->fired_ms,
                                    .resolved_ms = x->resolved_ms,
                                    .value = x->long_burn,
                                    .long_burn = x->long_burn,
                                    .short_burn = x->short_burn,
                                    .factor = x->factor,
                                    .budget_left = x->budget_left,
                                    .exhaustion_minutes = x->exhaustion_minutes,
                                    .long_minutes = x->long_minutes,
                                    .short_minutes = x->short_minutes};
    out->traces = ARENA_ARRAY(a, struct bytes, x->trace_count + 1);
    if (!out->traces || !copy_str(a, x->fingerprint, &out->fingerprint) ||
        !copy_str(a, x->slo_id, &out->slo_id) || !copy_str(a, x->service, &out->service) ||
        !copy_str(a, x->rule, &out->rule) || !copy_str(a, x->summary, &out->summary) ||
        !copy_str(a, x->sentence, &out->sentence) || !copy_str(a, x->changed, &out->changed))
        return ERR_LIMIT;
    for (uint32_t i = 0; i < x->trace_count; i++)
        if (!copy_str(a, x->traces[i], &out->traces[out->trace_count++]))
            return ERR_LIMIT;
    enum err e = webhook_labels(x, text.slo, a, &out->labels, &out->label_count);
    return e == ERR_OK ? webhook_annotations(x, &text, a, &out->annotations, &out->annotation_count)
                       : e;
}

/* Pending and firing before resolved, newest first. */
static int alert_order(const void *a, const void *b)
{
    const struct detectors_alert *x = a, *y = b;
    bool x_over = x->state == DETECTORS_RESOLVED, y_over = y->state == DETECTORS_RESOLVED;
    if (x_over != y_over)
        return x_over - y_over;
    if (x->active_since_ms != y->active_since_ms)
        return x->active_since_ms < y->active_since_ms ? 1 : -1;
    return bytes_compare(x->fingerprint, y->fingerprint);
}

enum err detectors_alerts(struct detectors *d, struct arena *a, struct detectors_alert **out,
                          size_t *out_count)
{
    pthread_mutex_lock(&d->lock);
    size_t n = d->book.count;
    struct detectors_alert *list = ARENA_ARRAY(a, struct detectors_alert, n + 1);
    enum err e = list ? ERR_OK : ERR_LIMIT;
    for (size_t i = 0; i < n && e == ERR_OK; i++)
        e = fill_alert(d, d->book.list[i], a, &list[i]);
    pthread_mutex_unlock(&d->lock);
    if (e == ERR_OK && d->rules)
        e = rule_snapshot_alerts(d->rules, a, &list, &n);
    if (e != ERR_OK)
        return e;
    qsort(list, n, sizeof(*list), alert_order);
    *out = list;
    *out_count = n;
    return ERR_OK;
}

/* --- rules --------------------------------------------------------------------------------------- */

static struct bytes rule_expression(const struct query_slo *s, const struct query_slo_rule *r,
                                    struct arena *a)
{
    char l[48], c[48];
    clock_format_duration((int64_t)r->long_minutes * 60000, l);
    clock_format_duration((int64_t)r->short_minutes * 60000, c);
    return arena_printf(a,
                        "slo_bad_ratio{slo=\"" BYTES_FMT "\",window=\"%s\"} > %.4g * %.6g and "
                        "slo_bad_ratio{slo=\"" BYTES_FMT "\",window=\"%s\"} > %.4g * %.6g",
                        BYTES_ARG(s->id), l, r->factor, 1 - s->target, BYTES_ARG(s->id), c,
                        r->factor, 1 - s->target);
}

static enum err fill_prom_rule(struct detectors *d, const struct objective *o, uint32_t i,
                               struct arena *a, struct detectors_prom_rule *out)
{
    const struct query_slo *s = o->slo;
    const struct query_slo_rule *r = &s->rules[i];
    const struct alert *x = active_alert(d, s->id, r->name);
    struct alert shape = {.severity = r->severity}; /* labels of a rule that is not active */
    snprintf(shape.slo_id, sizeof(shape.slo_id), BYTES_FMT, BYTES_ARG(s->id));
    snprintf(shape.service, sizeof(shape.service), BYTES_FMT, BYTES_ARG(s->service));
    snprintf(shape.rule, sizeof(shape.rule), "%s", r->name);
    *out = (struct detectors_prom_rule){
        .name = arena_printf(a, BYTES_FMT " %s", BYTES_ARG(s->id), r->name),
        .query = rule_expression(s, r, a),
        .duration_s = r->after_minutes * 60.0,
        .state = !x                              ? "inactive"
                 : x->state == DETECTORS_PENDING ? "pending"
                                                 : "firing",
        .health = o->view.error == ERR_OK     ? "ok"
                  : o->view.evaluated_ms == 0 ? "unknown"
                                              : "err",
        .last_error = o->view.error == ERR_OK || o->view.evaluated_ms == 0
                          ? BYTES_NONE
                          : bytes_str(err_text(o->view.error)),
        .last_evaluation_ms = o->view.evaluated_ms,
        .evaluation_s = (double)o->view.evaluation_ns / 1e9};
    if (!out->name.data || !out->query.data)
        return ERR_LIMIT;
    enum err e = webhook_labels(&shape, s, a, &out->labels, &out->label_count);
    if (e == ERR_OK && x) {
        out->alerts = ARENA_ARRAY(a, struct detectors_alert, 1);
        e = out->alerts ? fill_alert(d, x, a, out->alerts) : ERR_LIMIT;
        out->alert_count = e == ERR_OK;
        out->annotations = e == ERR_OK ? out->alerts->annotations : NULL;
        out->annotation_count = e == ERR_OK ? out->alerts->annotation_count : 0;
    }
    return e;
}

enum err detectors_rules(struct detectors *d, struct arena *a, struct detectors_prom_group **out,
                         size_t *out_count)
{
    pthread_mutex_lock(&d->lock);
    size_t n = d->now.set.count;
    struct detectors_prom_group *groups = ARENA_ARRAY(a, struct detectors_prom_group, n + 1);
    enum err e = groups ? ERR_OK : ERR_LIMIT;
    for (uint32_t g = 0; g < d->now.set.count && e == ERR_OK; g++) {
        const struct objective *o = &d->now.objectives[g];
        struct detectors_prom_group *at = &groups[g];
        *at = (struct detectors_prom_group){
            .name = o->slo->id,
            .file = bytes_str(o->slo->file),
            .interval_s = (double)d->o.interval_ms / 1000,
            .last_evaluation_ms = o->view.evaluated_ms,
            .evaluation_s = (double)o->view.evaluation_ns / 1e9,
            .rules = ARENA_ARRAY(a, struct detectors_prom_rule, o->slo->rule_count + 1)};
        e = at->rules ? ERR_OK : ERR_LIMIT;
        for (uint32_t i = 0; i < o->slo->rule_count && e == ERR_OK; i++)
            if (!o->slo->rules[i].refused)
                e = fill_prom_rule(d, o, i, a, &at->rules[at->rule_count++]);
    }
    pthread_mutex_unlock(&d->lock);
    if (e == ERR_OK && d->rules)
        e = rule_snapshot_groups(d->rules, a, &groups, &n);
    if (e == ERR_OK) {
        *out = groups;
        *out_count = n;
    }
    return e;
}
