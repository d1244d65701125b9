#include "web/web_call.h"

#include "base/alive.h"
#include "base/clock.h"
#include "base/stats.h"
#include "detectors/detectors_budgets.h"
#include "detectors/detectors_rules.h"
#include "web/web_openmetrics.h"

#include <stdlib.h>

static bool copy_text(struct arena *a, const char **text)
{
    struct bytes copy;
    if (!*text)
        return true;
    copy = arena_printf(a, "%s", *text);
    *text = (const char *)copy.data;
    return copy.data != NULL;
}

struct web *web_new(const struct web_opts *o)
{
    struct web *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    w->opts = *o;
    w->arena = arena_new(0);
    if (!w->opts.start_ms)
        w->opts.start_ms = clock_wall_ms();
    bool ok = w->arena && copy_text(w->arena, &w->opts.address_grpc) &&
              copy_text(w->arena, &w->opts.address_http) &&
              copy_text(w->arena, &w->opts.address_web) && copy_text(w->arena, &w->opts.backup_dir);
    if (ok)
        w->pool = pool_new("web", o->threads ? o->threads : WEB_THREADS_DEFAULT, WEB_QUEUE_MAX);
    if (ok && w->pool)
        w->streams = web_stream_new(o->db);
    if (w->streams)
        w->tails = web_tail_new(o->db);
    if (w->tails)
        w->backup = web_backup_new(o->db);
    if (!w->backup) {
        web_free(w);
        return NULL;
    }
    return w;
}

void web_set_ready(struct web *w, bool ready)
{
    atomic_store(&w->ready, ready);
}

void web_stop(struct web *w)
{
    web_set_ready(w, false);
    web_stream_stop(w->streams);
    web_tail_stop(w->tails);
    web_backup_stop(w->backup);
}

void web_free(struct web *w)
{
    if (!w)
        return;
    pool_free(w->pool);
    web_backup_free(w->backup);
    web_tail_free(w->tails);
    web_stream_free(w->streams);
    arena_free(w->arena);
    free(w);
}

/* --- health and metrics ------------------------------------------------------------------------ */

static void healthy(void *ctx, struct net_request *req)
{
    struct buf late;
    buf_init(&late, 16384);
    if (alive_check(&late))
        net_reply_text(req, 200, "text/plain; charset=utf-8", BYTES_LIT("Telltale is healthy.\n"));
    else
        net_reply_text(req, 503, "text/plain; charset=utf-8", buf_bytes(&late));
    buf_done(&late);
}

static void ready(void *ctx, struct net_request *req)
{
    struct web *w = ctx;
    if (atomic_load(&w->ready))
        net_reply_text(req, 200, "text/plain; charset=utf-8", BYTES_LIT("Telltale is ready.\n"));
    else
        net_reply_text(req, 503, "text/plain; charset=utf-8",
                       BYTES_LIT("Telltale is starting or stopping.\n"));
}

/* The default org's credentials are the machine's owner's: they see every org's rows, others see their own. */
static void render_accounts(const struct web_call *c, struct buf *out)
{
    static const char *const signals[] = {"spans", "logs", "samples", "tokens"};
    static const char *const reasons[] = {
#define X(name, text) text,
        TSDB_REJECT_TABLE(X)
#undef X
    };
    struct tsdb_account *rows = ARENA_ARRAY(c->arena, struct tsdb_account, WEB_ACCOUNTS_MAX);
    size_t found = rows ? tsdb_accounts(c->web->opts.db, rows, WEB_ACCOUNTS_MAX) : 0, n = 0;
    uint32_t org = web_call_org(c);
    for (size_t i = 0; i < found && i < WEB_ACCOUNTS_MAX; i++)
        if (org == TSDB_ORG_DEFAULT || rows[i].org == org)
            rows[n++] = rows[i];
    buf_str(
        out,
        "# HELP telltale_rows_total Rows by what became of them: received = stored + duplicate + "
        "rejected + quarantined; of those stored erased, expired, superseded and sampled_out are "
        "gone.\n# TYPE telltale_rows_total counter\n");
    for (size_t i = 0; i < n; i++) {
        const struct tsdb_account *a = &rows[i];
        const struct {
            const char *name;
            uint64_t v;
        } states[] = {{"received", a->received},     {"stored", a->stored},
                      {"duplicate", a->duplicate},   {"quarantined", a->quarantined},
                      {"erased", a->erased},         {"expired", a->expired},
                      {"superseded", a->superseded}, {"sampled_out", a->sampled_out}};
        for (size_t k = 0; k < sizeof states / sizeof states[0]; k++)
            buf_printf(out, "telltale_rows_total{org=\"%u\",signal=\"%s\",state=\"%s\"} %llu\n",
                       a->org, signals[a->signal], states[k].name, (unsigned long long)states[k].v);
    }
    buf_str(out, "# HELP telltale_rows_rejected_total Rows that were refused, by reason.\n"
                 "# TYPE telltale_rows_rejected_total counter\n");
    for (size_t i = 0; i < n; i++)
        for (int r = 0; r < TSDB_REJECT_COUNT; r++)
            buf_printf(
                out, "telltale_rows_rejected_total{org=\"%u\",signal=\"%s\",reason=\"%s\"} %llu\n",
                rows[i].org, signals[rows[i].signal], reasons[r],
                (unsigned long long)rows[i].rejected[r]);
}

static void render_series(const struct web_call *c, struct buf *out)
{
    struct tsdb_registry_org *orgs =
        ARENA_ARRAY(c->arena, struct tsdb_registry_org, WEB_ACCOUNTS_MAX);
    size_t n = orgs ? tsdb_registry_orgs(tsdb_series(c->web->opts.db), orgs, WEB_ACCOUNTS_MAX) : 0;
    uint32_t org = web_call_org(c);
    static const char *const names[][3] = {
        {"telltale_series", "gauge", "Series in use, held against limits.series."},
        {"telltale_series_overflow", "gauge", "Overflow series, one a metric past a limit."},
        {"telltale_series_folded_points_total", "counter",
         "Points of series past a limit that went to their metric's overflow series."},
        {"telltale_series_refused_points_total", "counter",
         "Points, or series of a request, that were refused because a limit of series is "
         "reached."}};
    for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) {
        buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", names[k][0], names[k][2], names[k][0],
                   names[k][1]);
        for (size_t i = 0; i < n && i < WEB_ACCOUNTS_MAX; i++) {
            const uint64_t values[] = {orgs[i].series, orgs[i].overflow_series, orgs[i].folded,
                                       orgs[i].refused};
            if (org == TSDB_ORG_DEFAULT || orgs[i].org == org)
                buf_printf(out, "%s{org=\"%u\"} %llu\n", names[k][0], orgs[i].org,
                           (unsigned long long)values[k]);
        }
    }
}

static void render_status(struct web *w, struct buf *out)
{
    struct tsdb_status s;
    struct tsdb_ledger_status l;
    struct detectors_budgets_status b = {0};
    tsdb_status_get(w->opts.db, &s);
    tsdb_ledger_status_get(w->opts.db, &l);
    if (w->opts.budgets)
        detectors_budgets_status_get(w->opts.budgets, &b);
    const struct {
        const char *name, *type, *help;
        double v;
    } rows[] = {
        {"telltale_store_head_bytes", "gauge", "Memory of rows that are not sealed yet.",
         (double)s.head_bytes},
        {"telltale_store_head_series", "gauge", "Series in memory, of all orgs.",
         (double)s.head_series},
        {"telltale_store_waiting_bytes", "gauge", "Memory of requests that wait for their commit.",
         (double)s.waiting_bytes},
        {"telltale_store_query_bytes", "gauge", "Memory of queries.", (double)s.query_bytes},
        {"telltale_store_series_bytes", "gauge",
         "Memory of the registry of series, apart from the limit.", (double)s.series_bytes},
        {"telltale_store_memory_limit_bytes", "gauge",
         "What heads, waiting requests, decoded index blocks and queries may have together.",
         (double)s.memory_limit},
        {"telltale_store_journal_bytes", "gauge", "Bytes of live journal generations.",
         (double)s.journal_bytes},
        {"telltale_store_parts_bytes", "gauge", "Bytes of sealed parts.", (double)s.parts_bytes},
        {"telltale_store_parts", "gauge", "Sealed parts.", (double)s.parts_count},
        {"telltale_store_generations", "gauge", "Live journal generations.",
         (double)s.generations_live},
        {"telltale_store_full", "gauge", "1 while the disk is too full to take rows.", s.is_full},
        {"telltale_store_commits_total", "counter", "Journal transactions.", (double)s.commits},
        {"telltale_store_commit_seconds_total", "counter", "Time in them.",
         (double)s.commit_ns_total / 1e9},
        {"telltale_store_sync_seconds_total", "counter", "Of that, waiting for the disk.",
         (double)s.sync_ns_total / 1e9},
        {"telltale_store_last_commit_timestamp_seconds", "gauge", "Wall time of the newest commit.",
         (double)s.last_commit_ms / 1e3},
        {"telltale_ledger_values", "gauge",
         "Sums of the cost ledger in memory (value, dimension, quarter of an hour), not sealed "
         "yet.",
         (double)l.keys},
        {"telltale_ledger_bytes", "gauge", "Memory of them.", (double)l.bytes},
        {"telltale_ledger_file_bytes", "gauge", "Pages of data/ledger that are in use.",
         (double)l.file_bytes},
        {"telltale_ledger_book_seconds_total", "counter", "Time that booking took the committer.",
         (double)l.book_ns / 1e9},
        {"telltale_budget_windows", "gauge", "Values with a window of a budget.", (double)b.keys},
        {"telltale_budget_bytes", "gauge", "Memory of the windows.", (double)b.bytes},
        {"process_start_time_seconds", "gauge", "Wall time at which the program started.",
         (double)w->opts.start_ms / 1e3},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[JSON_OUT_PROM_FLOAT_MAX];
        size_t n = json_out_prom_float(rows[i].v, text);
        buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n%s %.*s\n", rows[i].name, rows[i].help,
                   rows[i].name, rows[i].type, rows[i].name, (int)n, text);
    }
}

static enum err metrics(struct web_call *c)
{
    c->content_type = "text/plain; version=0.0.4; charset=utf-8";
    stats_render(&c->out);
    render_status(c->web, &c->out);
    render_accounts(c, &c->out);
    render_series(c, &c->out);
    if (web_call_sees_detectors(c))
        detectors_metrics(c->web->opts.detectors, &c->out);
    if (c->web->opts.rules && web_call_sees_detectors(c))
        detectors_rules_metrics(c->web->opts.rules, &c->out);
    buf_printf(&c->out,
               "# HELP telltale_build_info The running program.\n# TYPE telltale_build_info gauge\n"
               "telltale_build_info{version=\"%s\"} 1\n",
               TELLTALE_VERSION);
    if (web_openmetrics_wanted(net_request_header(c->req, "accept")) && buf_ok(&c->out)) {
        struct buf classic = c->out;
        c->content_type = WEB_OPENMETRICS_TYPE;
        buf_init(&c->out, WEB_ANSWER_MAX);
        web_openmetrics(buf_bytes(&classic), &c->out);
        buf_done(&classic);
    }
    return ERR_OK;
}

static enum err plain_route(struct web *w, struct net *net, const char *pattern, net_handler h)
{
    return net_route(net, &(struct net_route){.doors = NET_DOOR_MASK(NET_WEB),
                                              .method = "GET",
                                              .pattern = pattern,
                                              .handler = h,
                                              .ctx = w,
                                              .body_max = WEB_BODY_MAX,
                                              .flags = NET_ROUTE_OPEN | NET_ROUTE_LOW});
}

enum err web_routes(struct web *w, struct net *net)
{
    static const struct web_endpoint endpoints[] = {
        {"GET", "/metrics", metrics, WEB_FORM_OURS, NET_ROUTE_LOW}};
    enum err (*const tables[])(struct web *, struct net *) = {
        web_assets_routes,      web_admin_routes,  web_erase_routes,
        web_oncall_routes,      web_slo_routes,    web_backtest_routes,
        web_traces_routes,      web_jaeger_routes, web_tempo_routes,
        web_spans_routes,       web_logs_routes,   web_stream_routes,
        web_cardinality_routes, web_backup_routes, web_quarantine_routes,
        web_kafka_routes,       web_prices_routes, web_sessions_routes,
        web_grounding_routes,   web_costs_routes,  web_budgets_routes,
        web_rules_routes,       web_alerts_routes, web_alertmanager_routes,
        web_acks_routes,        web_tail_routes,   web_tempo_metrics_routes,
        web_events_routes};
    enum err e = plain_route(w, net, "/-/healthy", healthy);
    if (e == ERR_OK)
        e = plain_route(w, net, "/-/ready", ready);
    if (e == ERR_OK)
        e = web_call_routes(w, net, endpoints, 1);
    for (size_t i = 0; e == ERR_OK && i < sizeof tables / sizeof tables[0]; i++)
        e = tables[i](w, net);
    return e;
}
