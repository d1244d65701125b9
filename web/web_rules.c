/* Rules and alerts as Prometheus' API shows them (objectives' and those of rule files), and reading the rule files again. */
#include "base/check.h"
#include "base/clock.h"
#include "base/hash.h"
#include "detectors/detectors_rules.h"
#include "query/query.h"
#include "web/web_json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define MATCHES_MAX 32u

/* --- values -------------------------------------------------------------------------------------- */

static void time_json(struct json_out *j, const char *key, int64_t ms)
{
    char text[CLOCK_RFC3339_MAX];
    clock_rfc3339(ms, text);
    web_json_text(j, key, ms ? text : "0001-01-01T00:00:00Z");
}

/* Go's 'e' form, shortest: "1e+00", "2.5e-01". */
static void value_json(struct json_out *j, const char *key, double v)
{
    char text[40];
    if (isnan(v) || isinf(v)) {
        web_json_text(j, key, isnan(v) ? "NaN" : v > 0 ? "+Inf" : "-Inf");
        return;
    }
    int digits = 0;
    do
        snprintf(text, sizeof text, "%.*e", digits, v);
    while (strtod(text, NULL) != v && digits++ < 17);
    web_json_text(j, key, text);
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

static void alert_json(struct json_out *j, const struct detectors_alert *a)
{
    json_out_object(j);
    pairs_json(j, "labels", a->labels, a->label_count);
    pairs_json(j, "annotations", a->annotations, a->annotation_count);
    web_json_text(j, "state", a->state == DETECTORS_PENDING ? "pending" : "firing");
    time_json(j, "activeAt", a->active_since_ms);
    if (a->keep_firing_since_ms)
        time_json(j, "keepFiringSince", a->keep_firing_since_ms);
    value_json(j, "value", a->value);
    json_out_object_end(j);
}

static void alerting_json(struct json_out *j, const struct detectors_prom_rule *r, bool with_alerts)
{
    web_json_text(j, "state", r->state);
    web_json_str(j, "name", r->name);
    web_json_str(j, "query", r->query);
    web_json_f64(j, "duration", r->duration_s);
    web_json_f64(j, "keepFiringFor", r->keep_firing_s);
    pairs_json(j, "labels", r->labels, r->label_count);
    pairs_json(j, "annotations", r->annotations, r->annotation_count);
    json_out_key(j, "alerts");
    json_out_array(j);
    for (size_t i = 0; i < r->alert_count && with_alerts; i++)
        if (r->alerts[i].state != DETECTORS_RESOLVED)
            alert_json(j, &r->alerts[i]);
    json_out_array_end(j);
}

static void rule_json(struct json_out *j, const struct detectors_prom_rule *r, bool with_alerts)
{
    json_out_object(j);
    if (r->is_record) {
        web_json_str(j, "name", r->name);
        web_json_str(j, "query", r->query);
        if (r->label_count)
            pairs_json(j, "labels", r->labels, r->label_count);
    } else {
        alerting_json(j, r, with_alerts);
    }
    web_json_text(j, "health", r->health);
    if (r->last_error.size)
        web_json_str(j, "lastError", r->last_error);
    web_json_f64(j, "evaluationTime", r->evaluation_s);
    time_json(j, "lastEvaluation", r->last_evaluation_ms);
    web_json_text(j, "type", r->is_record ? "recording" : "alerting");
    json_out_object_end(j);
}

/* --- what is asked for ----------------------------------------------------------------------------- */

struct asked {
    struct web_call *c;
    bool records, alerts, with_alerts;
    struct query_selector *matches[MATCHES_MAX];
    size_t match_count;
    size_t groups_max; /* 0 = all */
    struct bytes token;
};

static bool read_bool(struct bytes v, bool *out)
{
    static const char *const yes[] = {"1", "t", "T", "TRUE", "true", "True"};
    static const char *const no[] = {"0", "f", "F", "FALSE", "false", "False"};
    for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
        *out = bytes_equal_str(v, yes[i]);
        if (*out || bytes_equal_str(v, no[i]))
            return true;
    }
    return false;
}

static enum err read_pages(struct asked *q)
{
    struct err_msg *msg = &q->c->msg;
    struct bytes limit = web_call_value(q->c, "group_limit");
    int64_t n = 0;
    q->token = web_call_value(q->c, "group_next_token");
    if (q->token.size && !limit.size)
        return err_set(msg, ERR_INVALID,
                       "invalid parameter \"group_next_token\": group_limit needs to be present in "
                       "order to paginate over the groups");
    if (limit.size && !bytes_to_i64(limit, &n))
        return err_set(msg, ERR_INVALID,
                       "invalid parameter \"group_limit\": group_limit needs to be a valid number: "
                       "\"" BYTES_FMT "\"",
                       BYTES_ARG(limit));
    if (limit.size && n <= 0)
        return err_set(msg, ERR_INVALID,
                       "invalid parameter \"group_limit\": group_limit needs to be greater than 0");
    q->groups_max = (size_t)n;
    return ERR_OK;
}

static enum err read_asked(struct web_call *c, struct asked *q)
{
    struct bytes type = web_call_value(c, "type"), text = web_call_value(c, "exclude_alerts");
    bool excludes = false;
    struct err_msg why = {""};
    *q = (struct asked){.c = c};
    q->alerts = !type.size || bytes_equal_str(type, "alert");
    q->records = !type.size || bytes_equal_str(type, "record");
    if (!q->alerts && !q->records)
        return err_set(&c->msg, ERR_INVALID,
                       "invalid parameter \"type\": not supported value \"" BYTES_FMT "\"",
                       BYTES_ARG(type));
    if (text.size && !read_bool(text, &excludes))
        return err_set(&c->msg, ERR_INVALID,
                       "invalid parameter \"exclude_alerts\": error converting exclude_alerts: "
                       "\"" BYTES_FMT "\" is neither true nor false",
                       BYTES_ARG(text));
    q->with_alerts = !excludes;
    for (unsigned i = 0; net_request_value(c->req, "match[]", i, &text); i++) {
        if (i == MATCHES_MAX)
            return err_set(&c->msg, ERR_INVALID, "invalid parameter \"match[]\": more than %u",
                           MATCHES_MAX);
        if (query_selector_parse(text, &q->matches[i], &why) != ERR_OK)
            return err_set(&c->msg, ERR_INVALID, "invalid parameter \"match[]\": %s", why.text);
        q->match_count++;
    }
    return read_pages(q);
}

static void asked_done(struct asked *q)
{
    for (size_t i = 0; i < q->match_count; i++)
        query_selector_free(q->matches[i]);
}

/* Without the parameter everything passes. */
static bool is_named(const struct asked *q, const char *parameter, struct bytes value)
{
    struct bytes v;
    unsigned i = 0;
    for (; net_request_value(q->c->req, parameter, i, &v); i++)
        if (bytes_equal(v, value))
            return true;
    return i == 0;
}

static bool selector_matches(const struct query_selector *s, const struct query_slo_pair *labels,
                             size_t n)
{
    size_t count;
    const struct tsdb_matcher *m = query_selector_matchers(s, &count);
    for (size_t i = 0; i < count; i++) {
        struct bytes v = BYTES_NONE;
        for (size_t k = 0; k < n; k++)
            if (bytes_equal(labels[k].name, m[i].name))
                v = labels[k].value;
        bool is = m[i].op == TSDB_MATCH_EQ || m[i].op == TSDB_MATCH_NE ? bytes_equal(v, m[i].value)
                                                                       : m[i].match(m[i].ctx, v);
        if (is != (m[i].op == TSDB_MATCH_EQ || m[i].op == TSDB_MATCH_RE))
            return false;
    }
    return true;
}

static bool is_wanted(const struct asked *q, const struct detectors_prom_rule *r)
{
    if (!(r->is_record ? q->records : q->alerts) || !is_named(q, "rule_name[]", r->name))
        return false;
    for (size_t i = 0; i < q->match_count; i++)
        if (selector_matches(q->matches[i], r->labels, r->label_count))
            return true;
    return q->match_count == 0;
}

/* --- answers ------------------------------------------------------------------------------------- */

static struct bytes token_of(const struct detectors_prom_group *g, struct arena *a)
{
    struct hash128 h = hash128(g->name, hash64(g->file, 0));
    return arena_printf(a, "%016llx%016llx", (unsigned long long)h.hi, (unsigned long long)h.lo);
}

/* False: nothing of it is wanted, nothing is written. */
static bool group_json(const struct asked *q, const struct detectors_prom_group *g)
{
    struct json_out *j = &q->c->j;
    size_t wanted = 0;
    if (!is_named(q, "rule_group[]", g->name) || !is_named(q, "file[]", g->file))
        return false;
    for (size_t k = 0; k < g->rule_count; k++)
        wanted += is_wanted(q, &g->rules[k]);
    if (!wanted)
        return false;
    json_out_object(j);
    web_json_str(j, "name", g->name);
    web_json_str(j, "file", g->file);
    json_out_key(j, "rules");
    json_out_array(j);
    for (size_t k = 0; k < g->rule_count; k++)
        if (is_wanted(q, &g->rules[k]))
            rule_json(j, &g->rules[k], q->with_alerts);
    json_out_array_end(j);
    web_json_f64(j, "interval", g->interval_s);
    web_json_i64(j, "limit", g->limit);
    web_json_f64(j, "evaluationTime", g->evaluation_s);
    time_json(j, "lastEvaluation", g->last_evaluation_ms);
    json_out_object_end(j);
    return true;
}

static enum err groups_json(const struct asked *q, const struct detectors_prom_group *groups,
                            size_t n)
{
    struct json_out *j = &q->c->j;
    size_t first = 0, shown = 0, i;
    struct bytes next = BYTES_NONE;
    while (q->token.size && first < n &&
           !bytes_equal(token_of(&groups[first], q->c->arena), q->token))
        first++;
    if (q->token.size && first == n)
        return err_set(
            &q->c->msg, ERR_INVALID,
            "invalid parameter \"group_next_token\": invalid group_next_token '" BYTES_FMT
            "'. were rule groups changed?",
            BYTES_ARG(q->token));
    json_out_object(j);
    web_json_text(j, "status", "success");
    json_out_key(j, "data");
    json_out_object(j);
    json_out_key(j, "groups");
    json_out_array(j);
    for (i = first; i < n && !next.size; i++)
        if (q->groups_max && shown == q->groups_max)
            next = token_of(&groups[i], q->c->arena);
        else
            shown += group_json(q, &groups[i]);
    json_out_array_end(j);
    if (next.size)
        web_json_str(j, "groupNextToken", next);
    json_out_object_end(j);
    json_out_object_end(j);
    return ERR_OK;
}

static enum err rules(struct web_call *c)
{
    struct detectors_prom_group *groups = NULL;
    struct asked q;
    size_t n = 0;
    enum err e = read_asked(c, &q);
    if (e == ERR_OK && web_call_sees_detectors(c)) {
        e = detectors_rules(c->web->opts.detectors, c->arena, &groups, &n);
        if (e != ERR_OK)
            (void)err_set(&c->msg, e, "the rules cannot be read: %s", err_text(e));
    }
    if (e == ERR_OK)
        e = groups_json(&q, groups, n);
    asked_done(&q);
    return e;
}

static enum err alerts(struct web_call *c)
{
    struct detectors_alert *rows = NULL;
    struct json_out *j = &c->j;
    size_t n = 0;
    enum err e = web_call_sees_detectors(c)
                     ? detectors_alerts(c->web->opts.detectors, c->arena, &rows, &n)
                     : ERR_OK;
    if (e != ERR_OK)
        return err_set(&c->msg, e, "the alerts cannot be read: %s", err_text(e));
    json_out_object(j);
    web_json_text(j, "status", "success");
    json_out_key(j, "data");
    json_out_object(j);
    json_out_key(j, "alerts");
    json_out_array(j);
    for (size_t i = 0; i < n; i++)
        if (rows[i].state != DETECTORS_RESOLVED)
            alert_json(j, &rows[i]);
    json_out_array_end(j);
    json_out_object_end(j);
    json_out_object_end(j);
    return ERR_OK;
}

/* --- reading again ------------------------------------------------------------------------------- */

static enum err reload(struct web_call *c)
{
    const struct web_reload *r = &c->web->opts.rules_reload;
    if (!r->run)
        return err_set(&c->msg, ERR_NOT_FOUND, "there are no rules here");
    if (web_call_org(c) != TSDB_ORG_DEFAULT)
        return err_set(&c->msg, ERR_FORBIDDEN,
                       "the files are of the machine: its owner has them read again");
    return r->run(r->ctx, &c->out, &c->msg);
}

/* As Prometheus has it: everything that is not of the command line. A mistake in the first leaves the second alone. */
static enum err reload_all(struct web_call *c)
{
    const struct web_reload *slos = &c->web->opts.slos_reload;
    struct buf said = {0};
    enum err e = ERR_OK;
    if (web_call_org(c) == TSDB_ORG_DEFAULT && slos->run)
        e = slos->run(slos->ctx, &said, &c->msg);
    buf_done(&said);
    return e == ERR_OK ? reload(c) : e;
}

enum err web_rules_routes(struct web *w, struct net *net)
{
    static const struct web_endpoint endpoints[] = {
        {"GET", "/api/v1/rules", rules, WEB_FORM_PROM, 0},
        {"GET", "/api/v1/alerts", alerts, WEB_FORM_PROM, 0},
        {"POST", "/api/telltale/v1/admin/rules/reload", reload, WEB_FORM_OURS, 0},
        {"POST", "/-/reload", reload_all, WEB_FORM_OURS, 0},
        {"PUT", "/-/reload", reload_all, WEB_FORM_OURS, 0},
    };
    return web_call_routes(w, net, endpoints, ARRAY_LEN(endpoints));
}
