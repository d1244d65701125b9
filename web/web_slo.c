/* Objectives, budgets, alerts and the outbox. Snapshots of detectors, written as JSON. */
#include <math.h>

#include "base/check.h"
#include "base/clock.h"
#include "tsdb/tsdb_quarantine.h"
#include "web/web_json.h"

static void counts_json(struct json_out *j, const char *key, const struct query_slo_counts *n)
{
    json_out_key(j, key);
    json_out_object(j);
    web_json_i64(j, "good", n->good);
    web_json_i64(j, "bad", n->bad);
    web_json_i64(j, "excluded", n->excluded);
    web_json_i64(j, "missing", n->missing);
    json_out_object_end(j);
}

static void pairs_json(struct json_out *j, const char *key, const struct query_slo_pair *pairs,
                       size_t n)
{
    json_out_key(j, key);
    json_out_object(j);
    for (size_t i = 0; i < n; i++) {
        json_out_key_bytes(j, pairs[i].name);
        json_out_bytes(j, pairs[i].value);
    }
    json_out_object_end(j);
}

static void rule_json(struct json_out *j, const struct detectors_rule_row *r)
{
    json_out_object(j);
    web_json_text(j, "name", r->rule->name);
    web_json_text(j, "severity", query_slo_severity_name(r->rule->severity));
    web_json_i64(j, "long_minutes", r->rule->long_minutes);
    web_json_i64(j, "short_minutes", r->rule->short_minutes);
    web_json_f64(j, "factor", r->rule->factor);
    web_json_f64(j, "long_burn", r->long_burn);
    web_json_f64(j, "short_burn", r->short_burn);
    counts_json(j, "long", &r->long_counts);
    counts_json(j, "short", &r->short_counts);
    web_json_text(j, "state", r->rule->refused ? "refused" : detectors_state_name(r->state));
    web_json_text(j, "why_refused", r->rule->refused ? r->rule->why_refused : NULL);
    web_json_i64(j, "active_since_ms", r->active_since_ms);
    json_out_object_end(j);
}

/* Samples: a ratio of two selectors is counted from them. */
static void damage_json(struct web_call *c, const struct web_damage *d, const struct query_slo *s,
                        int64_t from_ms, int64_t to_ms)
{
    web_quarantine_warnings_between(c, d, s->indicator == QUERY_SLO_RATIO,
                                    from_ms - (int64_t)s->period_minutes * 60000, to_ms);
}

static void slo_json(struct web_call *c, const struct web_damage *d,
                     const struct detectors_slo_row *s)
{
    struct json_out *j = &c->j;
    json_out_object(j);
    web_json_str(j, "id", s->slo->id);
    web_json_str(j, "name", s->slo->display_name.size ? s->slo->display_name : s->slo->id);
    web_json_str(j, "service", s->slo->service);
    web_json_str(j, "description", s->slo->description);
    web_json_bool(j, "is_default", s->slo->is_default);
    web_json_text(j, "indicator", s->indicator);
    web_json_text(j, "what", s->what);
    web_json_text(j, "state", detectors_state_name(s->state));
    web_json_text(j, "severity", query_slo_severity_name(s->severity));
    web_json_f64(j, "target", s->slo->target);
    web_json_f64(j, "threshold_seconds", s->slo->le_seconds);
    web_json_i64(j, "period_minutes", s->slo->period_minutes);
    web_json_i64(j, "evaluated_ms", s->evaluated_ms);
    web_json_i64(j, "horizon_ms", s->horizon_ms);
    counts_json(j, "period", &s->period);
    web_json_f64(j, "sli", s->sli);
    web_json_f64(j, "budget_left", s->budget_left);
    web_json_f64(j, "burn_1h", s->burn_1h);
    web_json_f64(j, "burn_24h", s->burn_24h);
    web_json_f64(j, "exhaustion_minutes",
                 s->exhaustion_minutes); /* null: not burning, or no data */
    web_json_f64(j, "coverage", s->coverage);
    web_json_text(j, "quality", query_slo_quality_name(s->quality));
    web_json_str(j, "quality_text", s->quality_text);
    web_json_str(j, "sentence", s->sentence);
    json_out_key(j, "excluded");
    json_out_array(j);
    for (size_t i = 0; i < s->excluded_count; i++) {
        json_out_object(j);
        web_json_str(j, "reason", s->excluded[i].reason);
        web_json_i64(j, "count", s->excluded[i].count);
        json_out_object_end(j);
    }
    json_out_array_end(j);
    json_out_key(j, "rules");
    json_out_array(j);
    for (size_t i = 0; i < s->rule_count; i++)
        rule_json(j, &s->rules[i]);
    json_out_array_end(j);
    web_json_i64(j, "revised_minutes", (int64_t)s->revised_minutes);
    web_json_i64(j, "revised_events", (int64_t)s->revised_events);
    web_json_i64(j, "budget_since_ms", s->budget_since_ms);
    damage_json(c, d, s->slo, s->horizon_ms, s->horizon_ms);
    json_out_object_end(j);
}

enum err web_slo_table(struct web_call *c)
{
    struct detectors_slo_row *rows = NULL;
    struct web_damage damage = {0};
    size_t n = 0;
    enum err e = web_call_sees_detectors(c)
                     ? detectors_slos(c->web->opts.detectors, c->arena, &rows, &n)
                     : ERR_OK;
    if (e == ERR_OK && n)
        e = web_quarantine_counts(c, &damage);
    if (e != ERR_OK)
        return err_set(&c->msg, e, "the objectives cannot be read: %s", err_text(e));
    json_out_array(&c->j);
    for (size_t i = 0; i < n; i++)
        slo_json(c, &damage, &rows[i]);
    json_out_array_end(&c->j);
    return ERR_OK;
}

static enum err slos(struct web_call *c)
{
    json_out_object(&c->j);
    json_out_key(&c->j, "slos");
    enum err e = web_slo_table(c);
    json_out_object_end(&c->j);
    return e;
}

/* Where each number of the objective comes from, as lines for people. */
static enum err explain(struct web_call *c, struct bytes id)
{
    struct detectors_slo_row row;
    struct buf text;
    enum err e = detectors_slo(c->web->opts.detectors, id, c->arena, &row);
    if (e != ERR_OK)
        return err_set(&c->msg, e, "%s",
                       e == ERR_NOT_FOUND ? "there is no objective of this id" : err_text(e));
    struct query_slo_explain_more more = {.per_day = (double)query_slo_eligible(&row.day)};
    buf_init(&text, WEB_ANSWER_MAX);
    query_slo_explain(row.slo, &more, &text);
    json_out_object(&c->j);
    web_json_str(&c->j, "id", row.slo->id);
    web_json_str(&c->j, "text", buf_bytes(&text));
    json_out_object_end(&c->j);
    buf_done(&text);
    return ERR_OK;
}

/* An id may hold "/", and end like a question about it. */
static enum err slo_one(struct web_call *c)
{
    struct detectors_slo_row row;
    struct web_damage damage = {0};
    const struct bytes backtest = BYTES_LIT("/backtest"), why = BYTES_LIT("/explain"),
                       id = net_request_param(c->req, 0);
    enum err e = web_call_sees_detectors(c)
                     ? detectors_slo(c->web->opts.detectors, id, c->arena, &row)
                     : ERR_NOT_FOUND;
    if (e == ERR_NOT_FOUND && web_call_sees_detectors(c) && bytes_has_suffix(id, backtest))
        return web_backtest_one(c, bytes_slice(id, 0, id.size - backtest.size));
    if (e == ERR_NOT_FOUND && web_call_sees_detectors(c) && bytes_has_suffix(id, why))
        return explain(c, bytes_slice(id, 0, id.size - why.size));
    if (e == ERR_OK)
        e = web_quarantine_counts(c, &damage);
    if (e != ERR_OK)
        return err_set(&c->msg, e, "%s",
                       e == ERR_NOT_FOUND ? "there is no objective of this id" : err_text(e));
    slo_json(c, &damage, &row);
    return ERR_OK;
}

/* --- budget and burn over time ----------------------------------------------------------------- */

static void points_json(struct json_out *j, const char *key, const double *v, size_t n)
{
    json_out_key(j, key);
    json_out_array(j);
    for (size_t i = 0; i < n; i++)
        json_out_f64(j, v[i]);
    json_out_array_end(j);
}

static void integers_json(struct json_out *j, const char *key, const int64_t *v, size_t n)
{
    json_out_key(j, key);
    json_out_array(j);
    for (size_t i = 0; i < n; i++)
        json_out_i64(j, v[i]);
    json_out_array_end(j);
}

/* null: nothing to tell it by; never: not at this rate. */
static void forecast_json(struct json_out *j, const struct query_slo_forecast *x)
{
    json_out_key(j, "forecast");
    if (isnan(x->minutes)) {
        json_out_null(j);
        return;
    }
    json_out_object(j);
    web_json_f64(j, "low_minutes", x->low_minutes);
    web_json_f64(j, "minutes", x->minutes);
    web_json_f64(j, "high_minutes", x->high_minutes);
    json_out_object_end(j);
}

static enum err budgets(struct web_call *c)
{
    struct query_slo_forecast forecast = {0};
    struct detectors_series s = {0};
    struct detectors_slo_row row;
    struct web_damage damage = {0};
    struct bytes id = web_call_value(c, "slo");
    int64_t now = clock_wall_ms(), from = 0, to = 0, step = 1;
    enum err e = web_call_i64(c, "to", now, 0, INT64_MAX / 2, &to);
    if (e == ERR_OK)
        e = web_call_i64(c, "from", to - INT64_C(3600000) * 24, 0, to, &from);
    int64_t least = (to - from) / 60000 / WEB_POINTS_MAX + 1;
    if (e == ERR_OK)
        e = web_call_i64(c, "step", least, 1, 1440 * 31, &step);
    if (e == ERR_OK && (to - from) / 60000 / step > 10000)
        e = err_set(&c->msg, ERR_INVALID, "more than 10,000 points; give a larger step (minutes)");
    if (e == ERR_OK && !web_call_sees_detectors(c))
        e = ERR_NOT_FOUND;
    if (e == ERR_OK)
        e = detectors_slo_series(c->web->opts.detectors, id, from, to, (uint32_t)step, c->arena,
                                 &s);
    if (e == ERR_OK)
        e = detectors_slo(c->web->opts.detectors, id, c->arena, &row);
    if (e == ERR_OK)
        e = detectors_slo_forecast(c->web->opts.detectors, id, row.budget_left, c->arena,
                                   &forecast);
    if (e == ERR_OK)
        e = web_quarantine_counts(c, &damage);
    if (e != ERR_OK)
        return err_set(&c->msg, e, "%s",
                       e == ERR_NOT_FOUND ? "slo: there is no objective of this id"
                       : c->msg.text[0]   ? c->msg.text
                                          : err_text(e));
    json_out_object(&c->j);
    web_json_str(&c->j, "slo", id);
    web_json_i64(&c->j, "step_minutes", step);
    web_json_f64(&c->j, "threshold", s.long_threshold);
    web_json_i64(&c->j, "long_minutes", s.long_minutes);
    web_json_i64(&c->j, "short_minutes", s.short_minutes);
    integers_json(&c->j, "t_ms", s.t_ms, s.count);
    points_json(&c->j, "budget_left", s.budget_left, s.count);
    points_json(&c->j, "burn_long", s.burn_long, s.count);
    points_json(&c->j, "burn_short", s.burn_short, s.count);
    integers_json(&c->j, "bad", s.bad, s.count);
    integers_json(&c->j, "eligible", s.eligible, s.count);
    forecast_json(&c->j, &forecast);
    damage_json(c, &damage, row.slo, from, to);
    json_out_object_end(&c->j);
    return ERR_OK;
}

/* --- alerts ------------------------------------------------------------------------------------ */

static void alert_json(struct web_call *c, const struct detectors_alert *a,
                       const struct web_silences *silences)
{
    struct json_out *j = &c->j;
    json_out_object(j);
    web_json_str(j, "fingerprint", a->fingerprint);
    web_json_str(j, "slo", a->slo_id);
    web_json_str(j, "service", a->service);
    web_json_str(j, "rule", a->rule);
    web_json_text(j, "severity", query_slo_severity_name(a->severity));
    web_json_text(j, "state", detectors_state_name(a->state));
    web_json_i64(j, "active_since_ms", a->active_since_ms);
    web_json_i64(j, "fired_ms", a->fired_ms);
    web_json_i64(j, "resolved_ms", a->resolved_ms);
    web_json_f64(j, "long_burn", a->long_burn);
    web_json_f64(j, "short_burn", a->short_burn);
    web_json_f64(j, "factor", a->factor);
    web_json_f64(j, "budget_left", a->budget_left);
    web_json_f64(j, "exhaustion_minutes", a->exhaustion_minutes);
    web_json_i64(j, "long_minutes", a->long_minutes);
    web_json_i64(j, "short_minutes", a->short_minutes);
    web_json_str(j, "summary", a->summary);
    web_json_str(j, "sentence", a->sentence);
    web_json_str(j, "changed", a->changed);
    json_out_key(j, "traces");
    json_out_array(j);
    for (size_t i = 0; i < a->trace_count; i++)
        json_out_bytes(j, a->traces[i]);
    json_out_array_end(j);
    pairs_json(j, "labels", a->labels, a->label_count);
    pairs_json(j, "annotations", a->annotations, a->annotation_count);
    web_silences_of(j, silences, a);
    web_ack_of(c, a);
    json_out_object_end(j);
}

static enum err alerts_read(struct web_call *c, struct detectors_alert **out, size_t *out_count)
{
    *out = NULL;
    *out_count = 0;
    enum err e = web_call_sees_detectors(c)
                     ? detectors_alerts(c->web->opts.detectors, c->arena, out, out_count)
                     : ERR_OK;
    return e == ERR_OK ? e : err_set(&c->msg, e, "the alerts cannot be read: %s", err_text(e));
}

enum err web_slo_alerts(struct web_call *c)
{
    struct detectors_alert *rows;
    struct web_silences silences;
    size_t n;
    enum err e = alerts_read(c, &rows, &n);
    if (e == ERR_OK)
        e = web_silences_read(c, &silences);
    if (e != ERR_OK)
        return e;
    json_out_array(&c->j);
    for (size_t i = 0; i < n; i++)
        alert_json(c, &rows[i], &silences);
    json_out_array_end(&c->j);
    return ERR_OK;
}

static enum err alerts(struct web_call *c)
{
    json_out_object(&c->j);
    json_out_key(&c->j, "alerts");
    enum err e = web_slo_alerts(c);
    json_out_object_end(&c->j);
    return e;
}

/* --- outbox ------------------------------------------------------------------------------------ */

static void outbox_json(struct json_out *j, const struct detectors_outbox_row *r)
{
    json_out_object(j);
    web_json_i64(j, "id", (int64_t)r->id);
    web_json_str(j, "receiver", r->receiver);
    web_json_str(j, "webhook_id", r->webhook_id);
    web_json_str(j, "event", r->event);
    web_json_str(j, "slo", r->slo_id);
    web_json_str(j, "rule", r->rule);
    web_json_str(j, "fingerprint", r->fingerprint);
    web_json_text(j, "state", detectors_delivery_name(r->state));
    web_json_i64(j, "attempts", r->attempts);
    web_json_i64(j, "created_ms", r->created_ms);
    web_json_i64(j, "next_attempt_ms", r->next_attempt_ms);
    web_json_i64(j, "last_attempt_ms", r->last_attempt_ms);
    web_json_i64(j, "delivered_ms", r->delivered_ms);
    web_json_i64(j, "last_status", r->last_status);
    web_json_str(j, "last_error", r->last_error);
    json_out_object_end(j);
}

static enum err outbox(struct web_call *c)
{
    struct detectors_outbox_row *rows = NULL;
    size_t n = 0;
    enum err e = web_call_sees_detectors(c)
                     ? detectors_outbox(c->web->opts.detectors, c->arena, &rows, &n)
                     : ERR_OK;
    if (e != ERR_OK)
        return err_set(&c->msg, e, "the outbox cannot be read: %s", err_text(e));
    json_out_object(&c->j);
    json_out_key(&c->j, "outbox");
    json_out_array(&c->j);
    for (size_t i = 0; i < n; i++)
        outbox_json(&c->j, &rows[i]);
    json_out_array_end(&c->j);
    json_out_object_end(&c->j);
    return ERR_OK;
}

static enum err outbox_retry(struct web_call *c)
{
    uint64_t id;
    if (!bytes_to_u64(net_request_param(c->req, 0), &id))
        return err_set(&c->msg, ERR_INVALID, "give the id of a notification");
    enum err e = web_call_sees_detectors(c) ? detectors_outbox_retry(c->web->opts.detectors, id)
                                            : ERR_NOT_FOUND;
    if (e != ERR_OK)
        return err_set(&c->msg, e, "%s",
                       e == ERR_NOT_FOUND ? "no waiting or dead notification has this id"
                                          : err_text(e));
    json_out_object(&c->j);
    web_json_text(&c->j, "status", "will be tried now");
    json_out_object_end(&c->j);
    return ERR_OK;
}

static enum err reload(struct web_call *c)
{
    const struct web_reload *r = &c->web->opts.slos_reload;
    if (!r->run)
        return err_set(&c->msg, ERR_NOT_FOUND, "there are no objectives here");
    if (web_call_org(c) != TSDB_ORG_DEFAULT)
        return err_set(&c->msg, ERR_FORBIDDEN,
                       "the files are of the machine: its owner has them read again");
    return r->run(r->ctx, &c->out, &c->msg);
}

enum err web_slo_routes(struct web *w, struct net *net)
{
    static const struct web_endpoint endpoints[] = {
        {"GET", "/api/telltale/v1/slos", slos, WEB_FORM_OURS, 0},
        {"GET", "/api/telltale/v1/slos/*", slo_one, WEB_FORM_OURS, 0}, /* an id may hold "/" */
        {"POST", "/api/telltale/v1/admin/slos/reload", reload, WEB_FORM_OURS, 0},
        {"GET", "/api/telltale/v1/budgets", budgets, WEB_FORM_OURS, 0},
        {"GET", "/api/telltale/v1/alerts", alerts, WEB_FORM_OURS, 0},
        {"GET", "/api/telltale/v1/outbox", outbox, WEB_FORM_OURS, 0},
        {"POST", "/api/telltale/v1/outbox/{}/retry", outbox_retry, WEB_FORM_OURS, 0},
    };
    return web_call_routes(w, net, endpoints, ARRAY_LEN(endpoints));
}
