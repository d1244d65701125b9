/* What a notification says: Alertmanager's webhook body, version 4. */
#include "detectors/budget_alerts.h"
#include "detectors/condition_alerts.h"
#include "detectors/webhook.h"
#include "base/check.h"
#include "base/clock.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#define PAIRS_MAX 96u
#define NO_END "0001-01-01T00:00:00Z"

struct pairs {
    struct arena *arena;
    struct query_slo_pair *list;
    size_t count;
    bool failed;
};

/* A later pair of the same name is dropped: ours come first and win. */
static void pair_add(struct pairs *p, struct bytes name, struct bytes value)
{
    if (p->failed || p->count == PAIRS_MAX || value.size == 0)
        return;
    for (size_t i = 0; i < p->count; i++)
        if (bytes_equal(p->list[i].name, name))
            return;
    struct query_slo_pair *at = &p->list[p->count++];
    at->name = arena_copy(p->arena, name);
    at->value = arena_copy(p->arena, value);
    p->failed = !at->name.data || !at->value.data;
}

static void pair_str(struct pairs *p, const char *name, const char *value)
{
    pair_add(p, bytes_str(name), bytes_str(value));
}

static void pair_printf(struct pairs *p, const char *name, const char *fmt, ...) PRINTF_LIKE(3, 4);
static void pair_printf(struct pairs *p, const char *name, const char *fmt, ...)
{
    char text[ALERT_TEXT_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    pair_str(p, name, text);
}

static struct pairs pairs_begin(struct arena *a)
{
    struct pairs p = {.arena = a, .list = ARENA_ARRAY(a, struct query_slo_pair, PAIRS_MAX)};
    p.failed = !p.list;
    return p;
}

static enum err pairs_end(struct pairs *p, struct query_slo_pair **out, size_t *out_count)
{
    if (p->failed)
        return ERR_LIMIT;
    *out = p->list;
    *out_count = p->count;
    return ERR_OK;
}

static const char *alert_name(const struct alert *a)
{
    return budget_alerts_owns(a)      ? "BudgetThreshold"
           : condition_alerts_owns(a) ? "TelltaleCondition"
                                      : "SLOBurnRate";
}

static void link_to(const struct alert *a, const char *external_url, char out[ALERT_TEXT_MAX])
{
    if (budget_alerts_owns(a))
        snprintf(out, ALERT_TEXT_MAX, "%s/costs", external_url);
    else if (condition_alerts_owns(a))
        snprintf(out, ALERT_TEXT_MAX, "%s/oncall", external_url);
    else
        snprintf(out, ALERT_TEXT_MAX, "%s/oncall?slo=%s", external_url, a->slo_id);
}

enum err webhook_labels(const struct alert *a, const struct query_slo *slo, struct arena *arena,
                        struct query_slo_pair **out, size_t *out_count)
{
    struct pairs p = pairs_begin(arena);
    bool is_budget = budget_alerts_owns(a), is_condition = condition_alerts_owns(a);
    size_t prefix = is_budget      ? strlen(BUDGET_ALERTS_PREFIX)
                    : is_condition ? strlen(CONDITION_ALERTS_PREFIX)
                                   : 0;
    pair_str(&p, "alertname", alert_name(a));
    struct bytes name = bytes_str(a->slo_id + prefix);
    if (is_condition) { /* "NAME" or "NAME/SUBJECT" */
        size_t slash = bytes_find(name, BYTES_LIT("/"));
        pair_add(&p, BYTES_LIT("subject"), bytes_slice(name, MIN(slash + 1, name.size), name.size));
        name.size = MIN(slash, name.size);
    }
    pair_add(&p, bytes_str(is_budget ? "budget" : is_condition ? "condition" : "slo"), name);
    pair_str(&p, is_budget ? "value" : "service", a->service);
    pair_str(&p, "rule", a->rule);
    pair_str(&p, "severity", query_slo_severity_name(a->severity));
    for (uint32_t i = 0; slo && i < slo->label_count; i++)
        pair_add(&p, slo->labels[i].name, slo->labels[i].value);
    return pairs_end(&p, out, out_count);
}

static void add_numbers(struct pairs *p, const struct alert *a)
{
    char long_window[48], short_window[48];
    clock_format_duration((int64_t)a->long_minutes * 60000, long_window);
    clock_format_duration((int64_t)a->short_minutes * 60000, short_window);
    if (a->long_minutes) {
        pair_printf(p, "window", "%s/%s", long_window, short_window);
        pair_printf(p, "burn_rate", "%.3g", a->long_burn);
        pair_printf(p, "burn_rate_short", "%.3g", a->short_burn);
        pair_printf(p, "burn_rate_threshold", "%.4g", a->factor);
        pair_printf(p, "bad_events", "%lld of %lld", (long long)a->bad, (long long)a->eligible);
    }
    if (!isnan(a->budget_left))
        pair_printf(p, "budget_left", "%.1f %%", a->budget_left * 100);
    if (isfinite(a->exhaustion_minutes)) {
        char left[48], at[CLOCK_RFC3339_MAX];
        int64_t minutes = (int64_t)a->exhaustion_minutes;
        int64_t now_ms = ((int64_t)a->last_true_minute + 1) * 60000;
        clock_format_duration(minutes * 60000, left);
        clock_rfc3339(now_ms + minutes * 60000, at);
        pair_str(p, "budget_gone_in", minutes > 0 ? left : "0 (it is gone)");
        if (minutes > 0)
            pair_str(p, "budget_gone_at", at);
    }
}

/* Of docs/runbooks; NULL: there is none. */
static const char *runbook_of(const struct alert *a, const struct query_slo *slo)
{
    static const char *const of_indicator[QUERY_SLO_INDICATOR_COUNT] = {
        [QUERY_SLO_AVAILABILITY_REQUEST] = "errors",
        [QUERY_SLO_AVAILABILITY_CALL] = "errors",
        [QUERY_SLO_ERROR_API] = "errors",
        [QUERY_SLO_ERROR_MODEL] = "errors",
        [QUERY_SLO_RATIO] = "errors",
        [QUERY_SLO_COST] = "F1",
        [QUERY_SLO_TOKENS] = "F1",
        [QUERY_SLO_LATENCY] = "F2",
        [QUERY_SLO_TTFT] = "F2",
        [QUERY_SLO_TPOT] = "F2",
        [QUERY_SLO_HALLUCINATION] = "F3",
        [QUERY_SLO_FEEDBACK] = "F3",
        [QUERY_SLO_TRUNCATION] = "F5",
        [QUERY_SLO_ROUTE] = "F6",
        [QUERY_SLO_SAFETY] = "F7",
    };
    if (budget_alerts_owns(a))
        return "F1";
    if (condition_alerts_owns(a))
        return strstr(a->slo_id, "sensitive_output") ? "F4" : NULL;
    if (strcmp(a->rule, "no-data") == 0)
        return "no-data";
    return slo ? of_indicator[slo->indicator] : NULL;
}

enum err webhook_annotations(const struct alert *a, const struct webhook_text *t,
                             struct arena *arena, struct query_slo_pair **out, size_t *out_count)
{
    struct pairs p = pairs_begin(arena);
    pair_str(&p, "summary", a->summary);
    pair_str(&p, "description", a->sentence[0] ? a->sentence : a->summary);
    pair_str(&p, "what_changed", a->changed);
    add_numbers(&p, a);
    for (uint32_t i = 0; i < a->trace_count; i++) {
        char name[32];
        snprintf(name, sizeof(name), "trace_%u", i + 1);
        pair_printf(&p, name, "%s/trace/%s", t->external_url, a->traces[i]);
    }
    char link[ALERT_TEXT_MAX];
    link_to(a, t->external_url, link);
    pair_str(&p, "dashboard", link);
    for (uint32_t i = 0; t->slo && i < t->slo->annotation_count; i++)
        pair_add(&p, t->slo->annotations[i].name, t->slo->annotations[i].value);
    const char *runbook = runbook_of(a, t->slo);
    if (runbook)
        pair_printf(&p, "runbook", "%s/runbooks/%s", t->external_url, runbook);
    return pairs_end(&p, out, out_count);
}

static void write_pairs(struct json_out *j, const char *key, const struct query_slo_pair *list,
                        size_t n)
{
    json_out_key(j, key);
    json_out_object(j);
    for (size_t i = 0; i < n; i++) {
        json_out_key_bytes(j, list[i].name);
        json_out_bytes(j, list[i].value);
    }
    json_out_object_end(j);
}

static void write_envelope(struct json_out *j, const char *status, const char *receiver,
                           const char *external_url, const struct query_slo_pair *labels,
                           size_t label_count, size_t group_count,
                           const struct query_slo_pair *notes, size_t note_count)
{
    json_out_key(j, "version");
    json_out_str(j, "4");
    json_out_key(j, "truncatedAlerts");
    json_out_u64(j, 0);
    json_out_key(j, "status");
    json_out_str(j, status);
    json_out_key(j, "receiver");
    json_out_str(j, receiver);
    write_pairs(j, "groupLabels", labels, MIN(label_count, group_count));
    write_pairs(j, "commonLabels", labels, label_count);
    write_pairs(j, "commonAnnotations", notes, note_count);
    json_out_key(j, "externalURL");
    json_out_str(j, external_url);
}

enum err webhook_note_of(const struct alert *a, const struct webhook_text *t, struct arena *arena,
                         struct webhook_note *out)
{
    struct query_slo_pair *labels, *notes;
    size_t label_count, note_count;
    enum err e = webhook_labels(a, t->slo, arena, &labels, &label_count);
    if (e == ERR_OK)
        e = webhook_annotations(a, t, arena, &notes, &note_count);
    if (e != ERR_OK)
        return e;
    char text[ALERT_TEXT_MAX];
    link_to(a, t->external_url, text);
    struct bytes link = arena_printf(arena, "%s", text),
                 key = arena_printf(arena, "{}:{alertname=\"%s\", slo=\"%s\"}", alert_name(a),
                                    a->slo_id);
    if (!link.data || !key.data)
        return ERR_LIMIT;
    *out = (struct webhook_note){.is_resolved = a->state == DETECTORS_RESOLVED,
                                 .labels = labels,
                                 .annotations = notes,
                                 .label_count = label_count,
                                 .annotation_count = note_count,
                                 .group_count = 2, /* alertname, slo */
                                 .starts_ms = (int64_t)a->start_minute * 60000,
                                 .ends_ms = a->resolved_ms,
                                 .link = (const char *)link.data,
                                 .fingerprint = a->fingerprint,
                                 .group_key = key};
    return ERR_OK;
}

void webhook_note_body(const struct webhook_note *n, const char *receiver, const char *external_url,
                       struct buf *out)
{
    const char *status = n->is_resolved ? "resolved" : "firing";
    char starts[CLOCK_RFC3339_MAX], ends[CLOCK_RFC3339_MAX] = NO_END;
    clock_rfc3339(n->starts_ms, starts);
    if (n->is_resolved)
        clock_rfc3339(n->ends_ms, ends);
    struct json_out j = json_out_to(out);
    json_out_object(&j);
    write_envelope(&j, status, receiver, external_url, n->labels, n->label_count, n->group_count,
                   n->annotations, n->annotation_count);
    json_out_key(&j, "groupKey");
    json_out_bytes(&j, n->group_key);
    json_out_key(&j, "alerts");
    json_out_array(&j);
    json_out_object(&j);
    json_out_key(&j, "status");
    json_out_str(&j, status);
    write_pairs(&j, "labels", n->labels, n->label_count);
    write_pairs(&j, "annotations", n->annotations, n->annotation_count);
    json_out_key(&j, "startsAt");
    json_out_str(&j, starts);
    json_out_key(&j, "endsAt");
    json_out_str(&j, ends);
    json_out_key(&j, "generatorURL");
    json_out_str(&j, n->link);
    json_out_key(&j, "fingerprint");
    json_out_str(&j, n->fingerprint);
    json_out_object_end(&j);
    json_out_array_end(&j);
    json_out_object_end(&j);
}

void webhook_heartbeat_body(const char *receiver, const char *external_url, int64_t now_ms,
                            struct buf *out)
{
    struct query_slo_pair labels[] = {{BYTES_LIT("alertname"), BYTES_LIT("Watchdog")},
                                      {BYTES_LIT("severity"), BYTES_LIT("none")}};
    struct query_slo_pair notes[] = {
        {BYTES_LIT("summary"), BYTES_LIT("Telltale evaluates its objectives. When this stops "
                                         "arriving, nothing watches them.")}};
    char now[CLOCK_RFC3339_MAX];
    clock_rfc3339(now_ms, now);
    struct json_out j = json_out_to(out);
    json_out_object(&j);
    write_envelope(&j, "firing", receiver, external_url, labels, ARRAY_LEN(labels), 2, notes,
                   ARRAY_LEN(notes));
    json_out_key(&j, "groupKey");
    json_out_str(&j, "{}:{alertname=\"Watchdog\"}");
    json_out_key(&j, "alerts");
    json_out_array(&j);
    json_out_object(&j);
    json_out_key(&j, "status");
    json_out_str(&j, "firing");
    write_pairs(&j, "labels", labels, ARRAY_LEN(labels));
    write_pairs(&j, "annotations", notes, ARRAY_LEN(notes));
    json_out_key(&j, "startsAt");
    json_out_str(&j, now);
    json_out_key(&j, "endsAt");
    json_out_str(&j, NO_END);
    json_out_object_end(&j);
    json_out_array_end(&j);
    json_out_object_end(&j);
}
