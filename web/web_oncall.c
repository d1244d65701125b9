/* The on-call page's document: one answer with everything the page shows (docs/api.md). */
#include "base/check.h"
#include "base/clock.h"
#include "query/query_traffic.h"
#include "web/web_json.h"

#include <math.h>

#define WEEK_MINUTES (7 * 24 * 60)
#define EXAMPLES_MAX 5
#define SHARES_MAX 8

struct ask {
    struct query_traffic_ask q;
    int64_t now_ms;
    bool live; /* the end is now */
};

static enum err read_ask(struct web_call *c, struct ask *out)
{
    int64_t to_ms, range;
    out->now_ms = clock_wall_ms();
    enum err e = web_call_i64(c, "range", 60, 5, WEB_RANGE_MINUTES_MAX, &range);
    if (e == ERR_OK)
        e = web_call_i64(c, "to", 0, 0, INT64_MAX / 1000000, &to_ms); /* in ns it still fits */
    if (e != ERR_OK)
        return e;
    out->live = to_ms == 0;
    /* the open minute belongs to the picture: what was just acknowledged is on the page */
    uint32_t end = (uint32_t)((out->live ? out->now_ms : to_ms) / 60000) + (out->live ? 1 : 0);
    static const uint32_t steps[] = {1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720};
    uint32_t step = steps[ARRAY_LEN(steps) - 1];
    for (size_t i = ARRAY_LEN(steps); i-- > 0;)
        if (range / steps[i] < WEB_POINTS_MAX)
            step = steps[i];
    if (end < range)
        return err_set(&c->msg, ERR_INVALID, "to: this is before 1970");
    out->q = (struct query_traffic_ask){.service = web_call_value(c, "service"),
                                        .model = web_call_value(c, "model"),
                                        .from = end - (uint32_t)range,
                                        .to = end,
                                        .step = step};
    return ERR_OK;
}

/* --- pieces ------------------------------------------------------------------------------------ */

static void counts_json(struct json_out *j, const char *key, const struct query_traffic_counts *n)
{
    json_out_key(j, key);
    json_out_object(j);
    web_json_i64(j, "good", n->good);
    web_json_i64(j, "bad", n->bad);
    web_json_i64(j, "excluded", n->excluded);
    json_out_object_end(j);
}

static void quantiles_json(struct json_out *j, const char *key,
                           const struct query_traffic_quantiles *q, size_t points)
{
    const struct {
        const char *key;
        const double *at;
    } lines[] = {{"p50_at", q->p50_at}, {"p95_at", q->p95_at}, {"p99_at", q->p99_at}};
    json_out_key(j, key);
    json_out_object(j);
    web_json_f64(j, "n", q->n);
    web_json_f64(j, "p50", q->p50);
    web_json_f64(j, "p95", q->p95);
    web_json_f64(j, "p99", q->p99);
    for (size_t l = 0; points && l < ARRAY_LEN(lines); l++) {
        json_out_key(j, lines[l].key);
        json_out_array(j);
        for (size_t i = 0; i < points; i++)
            json_out_f64(j, lines[l].at[i]);
        json_out_array_end(j);
    }
    json_out_object_end(j);
}

static void totals_json(struct json_out *j, const struct query_traffic *t, size_t points)
{
    web_json_i64(j, "minutes", t->to - t->from);
    counts_json(j, "calls", &t->calls);
    counts_json(j, "requests", &t->requests);
    quantiles_json(j, "latency", &t->latency, points);
    quantiles_json(j, "ttft", &t->ttft, points);
    web_json_i64(j, "input_tokens", t->input_tokens);
    web_json_i64(j, "output_tokens", t->output_tokens);
    web_json_i64(j, "cache_read_tokens", t->cache_read_tokens);
    web_json_i64(j, "reasoning_tokens", t->reasoning_tokens);
    web_json_i64(j, "cost_nanousd", t->cost_nanousd);
    web_json_i64(j, "cost_other_planes_nanousd", t->cost_other_planes_nanousd);
    web_json_i64(j, "unpriced_calls", t->unpriced);
}

static void points_json(struct json_out *j, const char *key, const int64_t *v, size_t n)
{
    json_out_key(j, key);
    json_out_array(j);
    for (size_t i = 0; i < n; i++)
        json_out_i64(j, v[i]);
    json_out_array_end(j);
}

static void traffic_json(struct json_out *j, const struct query_traffic *t)
{
    json_out_key(j, "traffic");
    json_out_object(j);
    totals_json(j, t, t->count);
    web_json_i64(j, "step_ms", t->step * INT64_C(60000));
    json_out_key(j, "t_ms");
    json_out_array(j);
    for (size_t i = 0; i < t->count; i++)
        json_out_i64(j, (t->from + (int64_t)i * t->step) * 60000);
    json_out_array_end(j);
    const char *const names[] = {"good_at", "bad_at", "excluded_at"};
    for (int k = 0; k < 3; k++) {
        json_out_key(j, names[k]);
        json_out_array(j);
        for (size_t i = 0; i < t->count; i++) {
            const struct query_traffic_counts *n = &t->calls_at[i];
            json_out_i64(j, k == 0 ? n->good : k == 1 ? n->bad : n->excluded);
        }
        json_out_array_end(j);
    }
    json_out_object_end(j);
}

static void models_json(struct json_out *j, const struct query_traffic *t)
{
    json_out_key(j, "models");
    json_out_array(j);
    for (size_t i = 0; i < t->model_count; i++) {
        const struct query_traffic_model *m = &t->models[i];
        json_out_object(j);
        web_json_str(j, "model", m->model);
        web_json_bool(j, "is_rest", m->is_rest);
        counts_json(j, "calls", &m->calls);
        web_json_i64(j, "input_tokens", m->input_tokens);
        web_json_i64(j, "output_tokens", m->output_tokens);
        web_json_i64(j, "cost_nanousd", m->cost_nanousd);
        web_json_f64(j, "p50", m->p50);
        web_json_f64(j, "p95", m->p95);
        web_json_f64(j, "p99", m->p99);
        web_json_f64(j, "ttft_p50", m->ttft_p50);
        web_json_f64(j, "ttft_p95", m->ttft_p95);
        points_json(j, "calls_at", m->calls_at, t->count);
        points_json(j, "bad_at", m->bad_at, t->count);
        points_json(j, "cost_at", m->cost_at, t->count);
        points_json(j, "tokens_at", m->tokens_at, t->count);
        json_out_object_end(j);
    }
    json_out_array_end(j);
}

/* The same hour last week; where there was nothing yet, the stretch just before. */
static enum err compare_json(struct web_call *c, struct tsdb_view *v, const struct ask *ask)
{
    const struct {
        const char *name;
        uint32_t back;
    } tries[] = {{"same time last week", WEEK_MINUTES},
                 {"the stretch before", ask->q.to - ask->q.from}};
    json_out_key(&c->j, "compare");
    for (size_t i = 0; i < ARRAY_LEN(tries); i++) {
        struct query_traffic_ask q = ask->q;
        struct query_traffic t;
        if (tries[i].back < q.to - q.from || q.from < tries[i].back)
            continue;
        q.from -= tries[i].back;
        q.to -= tries[i].back;
        enum err e = query_traffic_totals(v, &q, c->arena, &t);
        if (e != ERR_OK)
            return e;
        if (t.calls.good + t.calls.bad + t.calls.excluded == 0)
            continue;
        json_out_object(&c->j);
        web_json_text(&c->j, "with", tries[i].name);
        totals_json(&c->j, &t, 0);
        json_out_object_end(&c->j);
        return ERR_OK;
    }
    json_out_null(&c->j);
    return ERR_OK;
}

static enum err responsible_json(struct web_call *c, struct tsdb_view *v, const struct ask *ask)
{
    struct query_traffic_share *rows = NULL;
    size_t n = 0;
    enum err e = query_traffic_responsible(v, &ask->q, SHARES_MAX, c->arena, &rows, &n);
    if (e != ERR_OK)
        return e;
    json_out_key(&c->j, "responsible");
    json_out_array(&c->j);
    for (size_t i = 0; i < n; i++) {
        json_out_object(&c->j);
        web_json_text(&c->j, "dim", rows[i].dim);
        web_json_str(&c->j, "value", rows[i].value);
        web_json_i64(&c->j, "bad", rows[i].bad);
        web_json_i64(&c->j, "all", rows[i].all);
        web_json_f64(&c->j, "bad_share", rows[i].bad_share);
        web_json_f64(&c->j, "all_share", rows[i].all_share);
        json_out_object_end(&c->j);
    }
    json_out_array_end(&c->j);
    return ERR_OK;
}

static enum err values_json(struct web_call *c, struct tsdb_view *v, const struct ask *ask,
                            const char *key, const char *label)
{
    struct bytes *values = NULL;
    size_t n = 0;
    enum err e = query_traffic_values(v, label, &ask->q, c->arena, &values, &n);
    if (e != ERR_OK)
        return e;
    json_out_key(&c->j, key);
    json_out_array(&c->j);
    for (size_t i = 0; i < MIN(n, 1000); i++)
        if (values[i].size)
            json_out_bytes(&c->j, values[i]);
    json_out_array_end(&c->j);
    return ERR_OK;
}

static enum err examples_json(struct web_call *c, struct tsdb_view *v, const struct ask *ask,
                              const struct query_traffic *t)
{
    struct query_trace_search s = {.service = ask->q.service,
                                   .limit = EXAMPLES_MAX,
                                   .genai_only = true,
                                   .errors_only = true,
                                   .start_min_ns = ask->q.from * INT64_C(60000000000),
                                   .start_max_ns = ask->q.to * INT64_C(60000000000)};
    if (ask->q.model.size)
        s.tags[s.tag_count++] = (struct query_trace_tag){BYTES_LIT("model"), ask->q.model};
    json_out_key(&c->j, "examples");
    json_out_object(&c->j);
    json_out_key(&c->j, "errors");
    enum err e = web_traces_list(c, v, &s);
    s.errors_only = false;
    if (isfinite(t->latency.p95)) /* a bucket's bound may lie above every value in it */
        s.duration_min_ns = (int64_t)(t->latency.p95 * 0.9 * 1e9);
    json_out_key(&c->j, "slow");
    if (e == ERR_OK)
        e = web_traces_list(c, v, &s);
    json_out_object_end(&c->j);
    return e;
}

static void address_json(struct web_call *c)
{
    const struct web_opts *o = &c->web->opts;
    const char *scheme = o->tls ? "https" : "http";
    struct json_out *j = &c->j;
    json_out_key(j, "address");
    json_out_object(j);
    json_out_key(j, "grpc");
    json_out_printf(j, "%s://%s", scheme, o->address_grpc ? o->address_grpc : "");
    json_out_key(j, "http");
    json_out_printf(j, "%s://%s", scheme, o->address_http ? o->address_http : "");
    json_out_key(j, "web");
    json_out_printf(j, "%s://%s", scheme, o->address_web ? o->address_web : "");
    web_json_bool(j, "needs_key", o->access && web_access_needs_key(o->access, NET_OTLP_HTTP));
    json_out_object_end(j);
}

/* What the page says before it can show pictures. */
static enum err state_json(struct web_call *c, struct tsdb_view *v)
{
    struct json_out *j = &c->j;
    struct tsdb_freshness *rows = NULL;
    size_t n = 0;
    uint64_t spans = 0;
    bool any = false;
    int64_t last_ns = 0;
    enum err e = query_traffic_any(v, c->arena, &any);
    if (e == ERR_OK)
        e = tsdb_count(c->web->opts.db, web_call_org(c), TSDB_SPANS, &spans);
    if (e == ERR_OK)
        e = tsdb_freshness_read(v, c->arena, &rows, &n);
    if (e != ERR_OK)
        return e;
    for (size_t i = 0; i < n; i++)
        last_ns = MAX(last_ns, rows[i].received_ns);
    web_json_text(j, "state", any ? "ok" : spans ? "no_genai" : "empty");
    web_json_i64(j, "spans", (int64_t)spans);
    web_json_i64(j, "last_received_ms", last_ns / 1000000);
    json_out_key(j, "missing");
    if (any || !spans)
        json_out_null(j);
    else
        json_out_printf(
            j,
            "%llu spans arrived, and none of them says that it called a model: none carries "
            "gen_ai.*, llm.*, ai.* or openinference.* attributes. Turn on the instrumentation of "
            "your model client, or set gen_ai.operation.name and gen_ai.request.model on its "
            "spans.",
            (unsigned long long)spans);
    return ERR_OK;
}

static enum err headline_json(struct web_call *c)
{
    struct detectors_headline h = {0};
    enum err e = ERR_OK;
    if (web_call_sees_detectors(c))
        e = detectors_headline_get(c->web->opts.detectors, c->arena, &h);
    if (e != ERR_OK)
        return e;
    web_json_str(&c->j, "sentence", h.sentence);
    json_out_key(&c->j, "headline");
    json_out_object(&c->j);
    web_json_i64(&c->j, "burning", h.burning);
    web_json_i64(&c->j, "pending", h.pending);
    web_json_i64(&c->j, "no_data", h.no_data);
    web_json_i64(&c->j, "total", h.total);
    web_json_i64(&c->j, "since_ms", h.since_ms);
    json_out_object_end(&c->j);
    return ERR_OK;
}

static enum err lists_json(struct web_call *c, struct tsdb_view *v, const struct ask *ask)
{
    enum err e = headline_json(c);
    json_out_key(&c->j, "slos");
    if (e == ERR_OK)
        e = web_slo_table(c);
    json_out_key(&c->j, "alerts");
    if (e == ERR_OK)
        e = web_slo_alerts(c);
    json_out_key(&c->j, "freshness");
    if (e == ERR_OK)
        e = web_admin_freshness(c, v);
    json_out_key(&c->j, "accounts");
    if (e == ERR_OK)
        web_admin_accounts(c);
    if (e == ERR_OK)
        e = values_json(c, v, ask, "services", "service");
    if (e == ERR_OK)
        e = values_json(c, v, ask, "model_names", "model");
    return e;
}

static enum err document(struct web_call *c, struct tsdb_view *v, const struct ask *ask)
{
    struct query_traffic t;
    struct json_out *j = &c->j;
    enum err e = query_traffic_read(v, &ask->q, c->arena, &t);
    if (e != ERR_OK)
        return e;
    json_out_object(j);
    web_json_i64(j, "now_ms", ask->now_ms);
    web_json_i64(j, "from_ms", ask->q.from * INT64_C(60000));
    web_json_i64(j, "to_ms", ask->q.to * INT64_C(60000));
    web_json_bool(j, "live", ask->live);
    web_json_text(j, "version", TELLTALE_VERSION);
    web_json_i64(j, "start_ms", c->web->opts.start_ms);
    address_json(c);
    e = state_json(c, v);
    if (e == ERR_OK)
        e = lists_json(c, v, ask);
    if (e == ERR_OK) {
        traffic_json(j, &t);
        models_json(j, &t);
        e = compare_json(c, v, ask);
    }
    if (e == ERR_OK)
        e = responsible_json(c, v, ask);
    if (e == ERR_OK)
        e = examples_json(c, v, ask, &t);
    json_out_object_end(j);
    return e;
}

static enum err oncall(struct web_call *c)
{
    struct ask ask;
    struct tsdb_view *v;
    enum err e = read_ask(c, &ask);
    if (e == ERR_OK)
        e = web_call_view(c, &v);
    if (e != ERR_OK)
        return e;
    e = document(c, v, &ask);
    tsdb_view_close(v);
    if (e != ERR_OK && !c->msg.text[0])
        err_set(&c->msg, e, "the page's numbers cannot be read: %s", err_text(e));
    return e;
}

enum err web_oncall_routes(struct web *w, struct net *net)
{
    static const struct web_endpoint endpoints[] = {
        {"GET", "/api/telltale/v1/oncall", oncall, WEB_FORM_OURS, 0},
    };
    return web_call_routes(w, net, endpoints, ARRAY_LEN(endpoints));
}
