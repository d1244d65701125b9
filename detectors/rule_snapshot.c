/* What the APIs and /metrics show of rules: copies under the lock. */
#include "detectors/rule_book.h"

#include "base/check.h"
#include "base/json_out.h"

#include <math.h>
#include <stdio.h>

static bool copy_bytes(struct arena *a, struct bytes b, struct bytes *out)
{
    *out = arena_copy(a, b);
    return out->data || !b.size;
}

static enum err copy_labels(struct tsdb_labels l, struct arena *a, struct query_slo_pair **out,
                            size_t *out_count)
{
    struct bytes enc = arena_copy(a, l.enc);
    struct tsdb_labels kept = {enc};
    struct tsdb_label label;
    struct query_slo_pair *list = ARENA_ARRAY(a, struct query_slo_pair, tsdb_labels_count(l) + 1);
    if (!list || (l.enc.size && !enc.data))
        return ERR_LIMIT;
    *out_count = 0;
    struct tsdb_labels_iter it = tsdb_labels_begin(kept);
    while (tsdb_labels_next(&it, &label))
        list[(*out_count)++] = (struct query_slo_pair){label.name, label.value};
    *out = list;
    return ERR_OK;
}

static enum err copy_pairs(const struct rule_pair *list, uint32_t n, struct arena *a,
                           struct query_slo_pair **out, size_t *out_count)
{
    *out = ARENA_ARRAY(a, struct query_slo_pair, n + 1);
    if (!*out)
        return ERR_LIMIT;
    for (uint32_t i = 0; i < n; i++)
        if (!copy_bytes(a, list[i].name, &(*out)[i].name) ||
            !copy_bytes(a, list[i].value, &(*out)[i].value))
            return ERR_LIMIT;
    *out_count = n;
    return ERR_OK;
}

static enum err fill_alert(const struct rule_group *g, const struct rule_state *s,
                           const struct rule_alert *x, struct arena *a, struct detectors_alert *out)
{
    *out = (struct detectors_alert){.is_rule = true,
                                    .severity = rule_book_severity(x),
                                    .state = x->state == RULE_FIRING    ? DETECTORS_FIRING
                                             : x->state == RULE_PENDING ? DETECTORS_PENDING
                                                                        : DETECTORS_RESOLVED,
                                    .value = x->value,
                                    .active_since_ms = x->active_ms,
                                    .fired_ms = x->fired_ms,
                                    .resolved_ms = x->resolved_ms,
                                    .keep_firing_since_ms = x->keep_since_ms,
                                    .long_burn = (double)NAN,
                                    .short_burn = (double)NAN,
                                    .factor = (double)NAN,
                                    .budget_left = (double)NAN,
                                    .exhaustion_minutes = (double)NAN,
                                    .service = BYTES_NONE};
    enum err e = copy_labels(x->labels, a, &out->labels, &out->label_count);
    if (e == ERR_OK)
        e = copy_labels(x->annotations, a, &out->annotations, &out->annotation_count);
    out->slo_id = arena_printf(a, "rule:" BYTES_FMT, BYTES_ARG(s->def->name));
    if (e != ERR_OK || !out->slo_id.data || !copy_bytes(a, g->def->name, &out->rule) ||
        !copy_bytes(a, bytes_str(x->fingerprint), &out->fingerprint))
        return ERR_LIMIT;
    for (size_t i = 0; i < out->label_count; i++)
        if (bytes_equal_str(out->labels[i].name, "service"))
            out->service = out->labels[i].value;
    out->summary = s->def->name;
    for (size_t i = 0; i < out->annotation_count; i++)
        if (bytes_equal_str(out->annotations[i].name, "summary"))
            out->summary = out->annotations[i].value;
        else if (bytes_equal_str(out->annotations[i].name, "description"))
            out->sentence = out->annotations[i].value;
    return copy_bytes(a, out->summary, &out->summary) ? ERR_OK : ERR_LIMIT;
}

static enum err fill_rule(const struct rule_group *g, const struct rule_state *s, struct arena *a,
                          struct detectors_prom_rule *out)
{
    const struct rule_def *d = s->def;
    *out = (struct detectors_prom_rule){.is_record = !d->is_alert,
                                        .duration_s = (double)d->for_ms / 1000,
                                        .keep_firing_s = (double)d->keep_firing_ms / 1000,
                                        .state = rule_alert_state_name(rule_state_worst(s)),
                                        .health = rule_health_name(s->health),
                                        .last_evaluation_ms = s->evaluated_ms,
                                        .evaluation_s = (double)s->evaluation_ns / 1e9};
    out->alerts = ARENA_ARRAY(a, struct detectors_alert, s->alert_count + 1);
    if (!out->alerts || !copy_bytes(a, d->name, &out->name) ||
        !copy_bytes(a, d->expr, &out->query) ||
        !copy_bytes(a, bytes_str(s->last_error), &out->last_error))
        return ERR_LIMIT;
    enum err e = copy_pairs(d->labels, d->label_count, a, &out->labels, &out->label_count);
    if (e == ERR_OK)
        e = copy_pairs(d->annotations, d->annotation_count, a, &out->annotations,
                       &out->annotation_count);
    for (size_t i = 0; i < s->alert_count && e == ERR_OK; i++)
        if (s->alerts[i].state != RULE_INACTIVE)
            e = fill_alert(g, s, &s->alerts[i], a, &out->alerts[out->alert_count++]);
    return e;
}

enum err rule_snapshot_groups(struct detectors_rules *r, struct arena *a,
                              struct detectors_prom_group **io, size_t *io_count)
{
    pthread_mutex_lock(&r->lock);
    size_t n = *io_count;
    struct detectors_prom_group *list =
        ARENA_ARRAY(a, struct detectors_prom_group, n + r->book.group_count + 1);
    enum err e = list ? ERR_OK : ERR_LIMIT;
    if (list && n)
        memcpy(list, *io, n * sizeof(*list));
    for (uint32_t i = 0; i < r->book.group_count && e == ERR_OK; i++) {
        const struct rule_group *g = &r->book.groups[i];
        struct detectors_prom_group *to = &list[n++];
        *to = (struct detectors_prom_group){
            .interval_s = (double)g->def->interval_ms / 1000,
            .limit = g->def->limit,
            .last_evaluation_ms = g->evaluated_ms,
            .evaluation_s = (double)g->evaluation_ns / 1e9,
            .rules = ARENA_ARRAY(a, struct detectors_prom_rule, g->def->rule_count + 1)};
        if (!to->rules || !copy_bytes(a, g->def->name, &to->name) ||
            !copy_bytes(a, bytes_str(g->def->file), &to->file))
            e = ERR_LIMIT;
        for (uint32_t k = 0; k < g->def->rule_count && e == ERR_OK; k++)
            e = fill_rule(g, &g->rules[k], a, &to->rules[to->rule_count++]);
    }
    pthread_mutex_unlock(&r->lock);
    if (e == ERR_OK) {
        *io = list;
        *io_count = n;
    }
    return e;
}

enum err rule_snapshot_alerts(struct detectors_rules *r, struct arena *a,
                              struct detectors_alert **io, size_t *io_count)
{
    size_t n = *io_count, more = 0;
    pthread_mutex_lock(&r->lock);
    for (uint32_t i = 0; i < r->book.group_count; i++)
        for (uint32_t k = 0; k < r->book.groups[i].def->rule_count; k++)
            more += r->book.groups[i].rules[k].alert_count;
    struct detectors_alert *list = ARENA_ARRAY(a, struct detectors_alert, n + more + 1);
    enum err e = list ? ERR_OK : ERR_LIMIT;
    if (list && n)
        memcpy(list, *io, n * sizeof(*list));
    for (uint32_t i = 0; i < r->book.group_count; i++)
        for (uint32_t k = 0; k < r->book.groups[i].def->rule_count; k++) {
            const struct rule_state *s = &r->book.groups[i].rules[k];
            for (size_t x = 0; x < s->alert_count && e == ERR_OK; x++)
                e = fill_alert(&r->book.groups[i], s, &s->alerts[x], a, &list[n++]);
        }
    pthread_mutex_unlock(&r->lock);
    if (e == ERR_OK) {
        *io = list;
        *io_count = n;
    }
    return e;
}

void detectors_rules_status_get(struct detectors_rules *r, struct detectors_rules_status *out)
{
    *out = (struct detectors_rules_status){0};
    pthread_mutex_lock(&r->lock);
    out->groups = r->book.group_count;
    for (uint32_t i = 0; i < r->book.group_count; i++)
        for (uint32_t k = 0; k < r->book.groups[i].def->rule_count; k++) {
            const struct rule_state *s = &r->book.groups[i].rules[k];
            out->rules++;
            for (size_t x = 0; x < s->alert_count; x++) {
                out->alerts_pending += s->alerts[x].state == RULE_PENDING;
                out->alerts_firing += s->alerts[x].state == RULE_FIRING;
            }
        }
    pthread_mutex_unlock(&r->lock);
}

/* --- metrics ------------------------------------------------------------------------------------- */

struct family {
    const char *name, *type, *help;
    double (*value)(const struct rule_group *g);
};

static double interval(const struct rule_group *g)
{
    return (double)g->def->interval_ms / 1000;
}
static double last_time(const struct rule_group *g)
{
    return (double)g->evaluated_ms / 1000;
}
static double last_duration(const struct rule_group *g)
{
    return (double)g->evaluation_ns / 1e9;
}
static double last_samples(const struct rule_group *g)
{
    return (double)g->last_samples;
}
static double rules(const struct rule_group *g)
{
    return (double)g->def->rule_count;
}
static double iterations(const struct rule_group *g)
{
    return (double)g->iterations;
}
static double missed(const struct rule_group *g)
{
    return (double)g->missed;
}
static double evaluations(const struct rule_group *g)
{
    return (double)g->evaluations;
}
static double failures(const struct rule_group *g)
{
    return (double)g->failures;
}
static double duration_sum(const struct rule_group *g)
{
    return (double)g->evaluation_ns_total / 1e9;
}

static void put_group(struct buf *out, const struct family *f, const struct rule_group *g)
{
    char text[JSON_OUT_PROM_FLOAT_MAX];
    size_t n = json_out_prom_float(f->value(g), text);
    buf_printf(out, "%s{rule_group=\"", f->name);
    for (const char *at = g->def->file; *at; at++)
        if (*at == '"' || *at == '\\')
            buf_printf(out, "\\%c", *at);
        else
            buf_u8(out, (uint8_t)*at);
    buf_u8(out, ';');
    for (size_t i = 0; i < g->def->name.size; i++) {
        uint8_t c = g->def->name.data[i];
        if (c == '"' || c == '\\')
            buf_u8(out, '\\');
        if (c == '\n')
            buf_str(out, "\\n");
        else
            buf_u8(out, c);
    }
    buf_printf(out, "\"} %.*s\n", (int)n, text);
}

void detectors_rules_metrics(struct detectors_rules *r, struct buf *out)
{
    static const struct family families[] = {
        {"prometheus_rule_evaluation_failures_total", "counter",
         "The total number of rule evaluation failures.", failures},
        {"prometheus_rule_evaluations_total", "counter", "The total number of rule evaluations.",
         evaluations},
        {"prometheus_rule_group_interval_seconds", "gauge", "The interval of a rule group.",
         interval},
        {"prometheus_rule_group_iterations_missed_total", "counter",
         "The total number of rule group evaluations missed due to slow rule group evaluation.",
         missed},
        {"prometheus_rule_group_iterations_total", "counter",
         "The total number of scheduled rule group evaluations, whether executed or missed.",
         iterations},
        {"prometheus_rule_group_last_duration_seconds", "gauge",
         "The duration of the last rule group evaluation.", last_duration},
        {"prometheus_rule_group_last_evaluation_samples", "gauge",
         "The number of samples returned during the last rule group evaluation.", last_samples},
        {"prometheus_rule_group_last_evaluation_timestamp_seconds", "gauge",
         "The timestamp of the last rule group evaluation in seconds.", last_time},
        {"prometheus_rule_group_rules", "gauge", "The number of rules.", rules},
        {"telltale_rule_group_evaluation_seconds_total", "counter",
         "Time spent in evaluations of the rule group.", duration_sum},
    };
    pthread_mutex_lock(&r->lock);
    for (size_t f = 0; f < ARRAY_LEN(families) && r->book.group_count; f++) {
        buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", families[f].name, families[f].help,
                   families[f].name, families[f].type);
        for (uint32_t i = 0; i < r->book.group_count; i++)
            put_group(out, &families[f], &r->book.groups[i]);
    }
    pthread_mutex_unlock(&r->lock);
}
