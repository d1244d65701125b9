#include "web/web_call.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/stats.h"
#include "query/query.h"

#include <stdlib.h>

STATS_COUNTER(shed, "telltale_web_shed_total", "",
              "Questions refused because too many were waiting for a thread.");
STATS_COUNTER(failed, "telltale_web_errors_total", "", "Questions answered with an error.");

struct target { /* what a route points at */
    struct web *web;
    const struct web_endpoint *endpoint;
};

static const struct net_header safe_headers[] = {WEB_CALL_SAFE_HEADERS,
                                                 {"Cache-Control", "no-store"}};

/* Jaeger's clients read errors[].msg. */
static void reply_jaeger_error(struct web_call *c, enum err e)
{
    struct buf b;
    buf_init(&b, 4096);
    struct json_out j = json_out_to(&b);
    json_out_object(&j);
    json_out_key(&j, "data");
    json_out_null(&j);
    json_out_key(&j, "total");
    json_out_i64(&j, 0);
    json_out_key(&j, "errors");
    json_out_array(&j);
    json_out_object(&j);
    json_out_key(&j, "code");
    json_out_i64(&j, err_http_status(e));
    json_out_key(&j, "msg");
    json_out_str(&j, c->msg.text[0] ? c->msg.text : err_text(e));
    json_out_object_end(&j);
    json_out_array_end(&j);
    json_out_object_end(&j);
    net_reply(c->req, &(struct net_response){.status = err_http_status(e),
                                             .content_type = "application/json",
                                             .headers = safe_headers,
                                             .header_count = ARRAY_LEN(safe_headers),
                                             .body = buf_bytes(&b)});
    buf_done(&b);
}

static void reply_prom_error(struct web_call *c, enum err e)
{
    struct buf b;
    buf_init(&b, 4096);
    struct json_out j = json_out_to(&b);
    json_out_object(&j);
    json_out_key(&j, "status");
    json_out_str(&j, "error");
    json_out_key(&j, "errorType");
    json_out_str(&j, query_error_type(e));
    json_out_key(&j, "error");
    json_out_str(&j, c->msg.text[0] ? c->msg.text : err_text(e));
    json_out_object_end(&j);
    net_reply(c->req, &(struct net_response){.status = query_error_status(e),
                                             .content_type = "application/json",
                                             .headers = safe_headers,
                                             .header_count = ARRAY_LEN(safe_headers),
                                             .body = buf_bytes(&b)});
    buf_done(&b);
}

/* Alertmanager's clients read a string. */
static void reply_alertmanager_error(struct web_call *c, enum err e)
{
    struct buf b;
    buf_init(&b, 4096);
    struct json_out j = json_out_to(&b);
    json_out_str(&j, c->msg.text[0] ? c->msg.text : err_text(e));
    net_reply(c->req, &(struct net_response){.status = err_http_status(e),
                                             .content_type = "application/json",
                                             .headers = safe_headers,
                                             .header_count = ARRAY_LEN(safe_headers),
                                             .body = buf_bytes(&b)});
    buf_done(&b);
}

static void reply(struct web_call *c, enum err e)
{
    struct net_header headers[ARRAY_LEN(safe_headers) + 1];
    unsigned n = ARRAY_LEN(safe_headers);
    if (e == ERR_OK && !buf_ok(&c->out))
        e = err_set(&c->msg, ERR_LIMIT, "the answer is larger than %d MiB", WEB_ANSWER_MAX >> 20);
    if (e != ERR_OK) {
        stats_add(&failed, 1);
        if (c->endpoint->form == WEB_FORM_JAEGER)
            reply_jaeger_error(c, e);
        else if (c->endpoint->form == WEB_FORM_PROM)
            reply_prom_error(c, e);
        else if (c->endpoint->form == WEB_FORM_ALERTMANAGER)
            reply_alertmanager_error(c, e);
        else
            net_reply_err(c->req, e, c->msg.text[0] ? c->msg.text : err_text(e),
                          e == ERR_LIMIT || e == ERR_UNAVAILABLE ? 1 : 0);
        return;
    }
    memcpy(headers, safe_headers, sizeof safe_headers);
    if (c->set_cookie[0])
        headers[n++] = (struct net_header){"Set-Cookie", c->set_cookie};
    struct net_response r = {.status = c->status ? c->status : 200,
                             .content_type = c->status == 204 ? NULL : c->content_type,
                             .headers = headers,
                             .header_count = n,
                             .body_take = true};
    size_t size;
    uint8_t *data = buf_take(&c->out, &size);
    r.body = bytes_of(data, size);
    net_reply(c->req, &r);
}

static void run(void *ctx)
{
    struct web_call *c = ctx;
    enum err e = ERR_CANCELLED;
    buf_init(&c->out, WEB_ANSWER_MAX);
    c->j = json_out_to(&c->out);
    c->arena = net_request_arena(c->req);
    if (!c->arena)
        e = err_set(&c->msg, ERR_NOMEM, "out of memory");
    else if (!atomic_load(net_request_cancelled(c->req)))
        e = c->endpoint->run(c);
    reply(c, e);
    buf_done(&c->out);
    free(c);
}

static void handle(void *ctx, struct net_request *req)
{
    const struct target *t = ctx;
    struct web_call *c = calloc(1, sizeof *c);
    if (c) {
        c->web = t->web;
        c->req = req;
        c->endpoint = t->endpoint;
        c->content_type = "application/json";
        if (pool_submit(t->web->pool, run, c) == ERR_OK)
            return;
        free(c);
    }
    stats_add(&shed, 1);
    net_reply_err(req, ERR_UNAVAILABLE, "too many questions at once; ask again in a second", 1);
}

enum err web_call_routes(struct web *w, struct net *net, const struct web_endpoint *endpoints,
                         size_t count)
{
    return web_call_large_routes(w, net, endpoints, count, WEB_BODY_MAX);
}

enum err web_call_large_routes(struct web *w, struct net *net, const struct web_endpoint *endpoints,
                               size_t count, size_t body_max)
{
    struct target *targets = ARENA_ARRAY(w->arena, struct target, count);
    if (!targets)
        return ERR_NOMEM;
    for (size_t i = 0; i < count; i++) {
        targets[i] = (struct target){w, &endpoints[i]};
        enum err e = net_route(net, &(struct net_route){.doors = NET_DOOR_MASK(NET_WEB),
                                                        .method = endpoints[i].method,
                                                        .pattern = endpoints[i].pattern,
                                                        .handler = handle,
                                                        .ctx = &targets[i],
                                                        .body_max = body_max,
                                                        .flags = endpoints[i].flags});
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

uint32_t web_call_org(const struct web_call *c)
{
    const struct net_access *access = net_request_access(c->req);
    return access && access->org ? access->org : TSDB_ORG_DEFAULT;
}

bool web_call_sees_detectors(const struct web_call *c)
{
    uint32_t org = c->web->opts.detectors_org;
    return c->web->opts.detectors && web_call_org(c) == (org ? org : TSDB_ORG_DEFAULT);
}

enum err web_call_view(struct web_call *c, struct tsdb_view **out)
{
    int64_t timeout_ms = c->web->opts.timeout_ms ? c->web->opts.timeout_ms : WEB_TIMEOUT_MS;
    struct tsdb_read_limits limits = {
        .deadline_mono_ns = clock_mono_ns() + timeout_ms * 1000000,
        .cancel = net_request_cancelled(c->req),
    };
    enum err e = tsdb_view_open(c->web->opts.db, web_call_org(c), &limits, out);
    return e == ERR_OK ? e : err_set(&c->msg, e, "the store gives no view: %s", err_text(e));
}

struct bytes web_call_value(struct web_call *c, const char *name)
{
    struct bytes v;
    return net_request_value(c->req, name, 0, &v) ? v : BYTES_NONE;
}

enum err web_call_i64(struct web_call *c, const char *name, int64_t def, int64_t min, int64_t max,
                      int64_t *out)
{
    struct bytes v = web_call_value(c, name);
    int64_t n = def;
    if (v.size && (!bytes_to_i64(v, &n) || n < min || n > max))
        return err_set(&c->msg, ERR_INVALID, "%s: give a whole number from %lld to %lld", name,
                       (long long)min, (long long)max);
    *out = n;
    return ERR_OK;
}
