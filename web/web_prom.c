#include "web/web_prom_call.h"

#include "base/clock.h"
#include "base/stats.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

STATS_COUNTER(queries, "telltale_prom_requests_total", "", "Requests to the Prometheus API.");
STATS_COUNTER(refused, "telltale_prom_requests_refused_total", "reason=\"queue\"",
              "Requests to the Prometheus API that found the query queue full.");

/* --- parameters -------------------------------------------------------------------------------- */

struct bytes prom_value(struct prom_call *c, const char *name)
{
    struct bytes v = BYTES_NONE;
    return net_request_value(c->req, name, 0, &v) ? v : BYTES_NONE;
}

static enum err bad_parameter(struct prom_call *c, const char *name, const char *why)
{
    return err_set(&c->msg, ERR_INVALID, "invalid parameter \"%s\": %s", name, why);
}

static bool parse_time(struct bytes text, int64_t *out_ms)
{
    double seconds;
    int64_t ns;
    char copy[64];
    if (bytes_to_f64(text, &seconds)) {
        if (!(fabs(seconds) < 9.2e15))
            return false;
        *out_ms = (int64_t)round(seconds * 1000);
        return true;
    }
    if (text.size == 0 || text.size >= sizeof copy)
        return false;
    memcpy(copy, text.data, text.size);
    copy[text.size] = 0;
    if (!clock_parse_rfc3339(copy, &ns))
        return false;
    *out_ms = ns / 1000000;
    return true;
}

enum err prom_time(struct prom_call *c, const char *name, int64_t def, int64_t *out_ms)
{
    struct bytes text = prom_value(c, name);
    char why[200];
    *out_ms = def;
    if (text.size == 0 || parse_time(text, out_ms))
        return ERR_OK;
    snprintf(why, sizeof why, "cannot parse \"%.*s\" to a valid timestamp",
             (int)MIN(text.size, 100u), (const char *)text.data);
    return bad_parameter(c, name, why);
}

enum err prom_duration(struct prom_call *c, const char *name, int64_t def, int64_t *out_ms)
{
    struct bytes text = prom_value(c, name);
    char copy[64], why[200];
    double seconds;
    *out_ms = def;
    if (text.size == 0)
        return ERR_OK;
    if (bytes_to_f64(text, &seconds)) {
        if (fabs(seconds) < 9.2e12) {
            *out_ms = (int64_t)round(seconds * 1000);
            return ERR_OK;
        }
    } else if (text.size < sizeof copy) {
        memcpy(copy, text.data, text.size);
        copy[text.size] = 0;
        if (clock_parse_duration_ms(copy, out_ms))
            return ERR_OK;
    }
    snprintf(why, sizeof why, "cannot parse \"%.*s\" to a valid duration",
             (int)MIN(text.size, 100u), (const char *)text.data);
    return bad_parameter(c, name, why);
}

bool prom_flag(struct prom_call *c, const char *name)
{
    static const char *const yes[] = {"1", "t", "T", "true", "True", "TRUE", "y", "yes"};
    struct bytes v = prom_value(c, name);
    for (size_t i = 0; i < ARRAY_LEN(yes); i++)
        if (bytes_equal_str(v, yes[i]))
            return true;
    return false;
}

enum err prom_limit(struct prom_call *c, size_t *out)
{
    struct bytes text = prom_value(c, "limit");
    uint64_t n = 0;
    *out = SIZE_MAX;
    if (text.size == 0)
        return ERR_OK;
    if (!bytes_to_u64(text, &n))
        return bad_parameter(c, "limit", "cannot parse it to a valid limit");
    if (n)
        *out = (size_t)n;
    return ERR_OK;
}

enum err prom_view(struct prom_call *c, struct tsdb_view **out)
{
    struct tsdb_read_limits limits = {.deadline_mono_ns = c->deadline_mono_ns,
                                      .cancel = net_request_cancelled(c->req),
                                      .samples_max = c->prom->opts.samples_max,
                                      .watch = c->prom->cache != NULL};
    enum err e = tsdb_view_open(c->prom->opts.db, net_request_access(c->req)->org, &limits, out);
    return e == ERR_OK ? e : err_set(&c->msg, e, "opening a view: %s", err_text(e));
}

/* --- the answer -------------------------------------------------------------------------------- */

static void reply_error(struct prom_call *c, enum err e)
{
    struct json_out j;
    buf_clear(&c->out);
    j = json_out_to(&c->out);
    json_out_object(&j);
    json_out_key(&j, "status");
    json_out_str(&j, "error");
    json_out_key(&j, "errorType");
    json_out_str(&j, query_error_type(e));
    json_out_key(&j, "error");
    json_out_str(&j, c->msg.text[0] ? c->msg.text : err_text(e));
    json_out_object_end(&j);
}

static const char *content_type(const struct prom_call *c, int status)
{
    if (status == 200 && c->endpoint->form == PROM_TEXT)
        return "text/plain; version=0.0.4; charset=utf-8";
    if (status == 200 && c->endpoint->form == PROM_READS)
        return "application/x-protobuf";
    return "application/json";
}

static void send_reply(struct prom_call *c, int status)
{
    static const struct net_header headers[] = {{"X-Content-Type-Options", "nosniff"},
                                                {"Cache-Control", "no-store"},
                                                {"Content-Encoding", "snappy"}}; /* of reads */
    size_t size;
    void *body = buf_take(&c->out, &size);
    struct net_response r = {.status = status,
                             .content_type = status == 204 ? NULL : content_type(c, status),
                             .headers = headers,
                             .header_count = status == 200 && c->endpoint->form == PROM_READS
                                                 ? ARRAY_LEN(headers)
                                                 : ARRAY_LEN(headers) - 1,
                             .body = bytes_of(body, size),
                             .body_take = true};
    net_reply(c->req, &r);
}

static void run_call(void *ctx)
{
    struct prom_call *c = ctx;
    int64_t timeout = c->prom->opts.timeout_ms, wanted;
    enum err e = prom_duration(c, "timeout", timeout, &wanted);
    c->deadline_mono_ns = clock_mono_ns() + MIN(timeout, MAX(wanted, 1)) * 1000000;
    c->arena = arena_new_in(tsdb_query_budget(c->prom->opts.db), c->prom->opts.memory_max);
    buf_init(&c->out, WEB_PROM_ANSWER_MAX);
    if (!c->arena)
        e = err_set(&c->msg, ERR_NOMEM, "out of memory");
    if (e == ERR_OK && atomic_load(net_request_cancelled(c->req)))
        e = err_set(&c->msg, ERR_CANCELLED, "query was canceled");
    if (e == ERR_OK && c->endpoint->form != PROM_ANSWERS) {
        e = c->endpoint->run(c);
    } else if (e == ERR_OK) {
        c->j = json_out_to(&c->out);
        json_out_object(&c->j);
        json_out_key(&c->j, "status");
        json_out_str(&c->j, "success");
        json_out_key(&c->j, "data");
        e = c->endpoint->run(c);
        json_out_object_end(&c->j);
    }
    if (e == ERR_OK && !buf_ok(&c->out))
        e = err_set(&c->msg, ERR_LIMIT, "the answer is larger than %u bytes", WEB_PROM_ANSWER_MAX);
    if (e != ERR_OK)
        reply_error(c, e);
    arena_free(c->arena);
    send_reply(c, e != ERR_OK                        ? query_error_status(e)
                  : c->endpoint->form == PROM_WRITES ? 204
                                                     : 200);
    free(c);
}

static void handle(void *ctx, struct net_request *req)
{
    struct prom_route *route = ctx;
    struct prom_call *c = calloc(1, sizeof *c);
    stats_add(&queries, 1);
    if (!c) {
        net_reply_err(req, ERR_NOMEM, "out of memory", 1);
        return;
    }
    c->prom = route->prom;
    c->endpoint = route->endpoint;
    c->req = req;
    if (pool_submit(route->prom->pool, run_call, c) != ERR_OK) {
        stats_add(&refused, 1);
        free(c);
        net_reply_err(req, ERR_UNAVAILABLE, "too many queries are waiting; try again", 1);
    }
}

/* --- the object -------------------------------------------------------------------------------- */

static enum err build_info(struct prom_call *c)
{
    static const char *const rows[][2] = {{"version", "3.5.0"}, /* whose API this is */
                                          {"revision", "telltale-" TELLTALE_VERSION},
                                          {"branch", "telltale"},
                                          {"buildUser", ""},
                                          {"buildDate", ""},
                                          {"goVersion", ""}};
    json_out_object(&c->j);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        json_out_key(&c->j, rows[i][0]);
        json_out_str(&c->j, rows[i][1]);
    }
    json_out_object_end(&c->j);
    return ERR_OK;
}

static const struct prom_endpoint endpoints[] = {
    {"/api/v1/query", true, prom_query, PROM_ANSWERS},
    {"/api/v1/query_range", true, prom_query_range, PROM_ANSWERS},
    {"/api/v1/query_exemplars", true, prom_query_exemplars, PROM_ANSWERS},
    {"/api/v1/format_query", true, prom_format_query, PROM_ANSWERS},
    {"/api/v1/parse_query", true, prom_parse_query, PROM_ANSWERS},
    {"/api/v1/read", false, prom_read, PROM_READS},
    {"/api/v1/features", false, prom_features, PROM_ANSWERS},
    {"/api/v1/notifications", false, prom_nothing, PROM_ANSWERS},
    {"/api/v1/series", true, prom_series, PROM_ANSWERS},
    {"/api/v1/labels", true, prom_labels, PROM_ANSWERS},
    {"/api/v1/label/{}/values", false, prom_label_values, PROM_ANSWERS},
    {"/api/v1/metadata", false, prom_metadata, PROM_ANSWERS},
    {"/api/v1/targets", false, prom_targets, PROM_ANSWERS},
    {"/api/v1/targets/metadata", false, prom_targets_metadata, PROM_ANSWERS},
    {"/api/v1/alertmanagers", false, prom_alertmanagers, PROM_ANSWERS},
    {"/api/v1/status/buildinfo", false, build_info, PROM_ANSWERS},
    {"/api/v1/status/runtimeinfo", false, prom_status_runtime, PROM_ANSWERS},
    {"/api/v1/status/config", false, prom_status_config, PROM_ANSWERS},
    {"/api/v1/status/flags", false, prom_status_empty, PROM_ANSWERS},
    {"/api/v1/status/walreplay", false, prom_status_walreplay, PROM_ANSWERS},
    {"/api/v1/status/self_metrics", false, prom_nothing, PROM_ANSWERS},
    {"/api/v1/status/tsdb/blocks", false, prom_status_blocks, PROM_ANSWERS},
    {"/api/v1/status/tsdb", false, prom_status_tsdb, PROM_ANSWERS},
    {"/federate", false, prom_federate, PROM_TEXT},
    {"/api/v1/admin/tsdb/delete_series", true, prom_delete_series, PROM_WRITES},
    {"/api/v1/admin/tsdb/clean_tombstones", true, prom_clean_tombstones, PROM_WRITES},
};
static_assert(ARRAY_LEN(endpoints) <= PROM_ENDPOINTS_MAX, "a route for each");

struct web_prom *web_prom_new(const struct web_prom_opts *o)
{
    struct web_prom *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->opts = *o;
    p->start_ms = clock_wall_ms();
    if (!p->opts.timeout_ms)
        p->opts.timeout_ms = 120000;
    if (!p->opts.memory_max)
        p->opts.memory_max = 512u << 20;
    p->pool = pool_new("query", o->threads ? o->threads : 2, o->waiting_max ? o->waiting_max : 64);
    if (p->opts.cache_bytes)
        p->cache = query_cache_new(tsdb_query_budget(o->db), p->opts.cache_bytes);
    if (!p->pool || (p->opts.cache_bytes && !p->cache)) {
        web_prom_free(p);
        return NULL;
    }
    return p;
}

enum err web_prom_routes(struct web_prom *p, struct net *net)
{
    for (size_t i = 0; i < ARRAY_LEN(endpoints); i++) {
        p->routes[i] = (struct prom_route){p, &endpoints[i]};
        struct net_route r = {.doors = NET_DOOR_MASK(NET_WEB),
                              .method = endpoints[i].form == PROM_WRITES  ? "PUT"
                                        : endpoints[i].form == PROM_READS ? "POST"
                                                                          : "GET",
                              .pattern = endpoints[i].pattern,
                              .handler = handle,
                              .ctx = &p->routes[i],
                              .body_max = 4 << 20};
        enum err e = net_route(net, &r);
        if (e == ERR_OK && endpoints[i].post) {
            r.method = "POST";
            e = net_route(net, &r);
        }
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

void web_prom_free(struct web_prom *p)
{
    if (!p)
        return;
    if (p->pool)
        pool_free(p->pool);
    query_cache_free(p->cache);
    free(p);
}
