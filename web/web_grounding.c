/* Grounding: what people say of answers, what the checker says of a trace, and the rate that both make. */
#include "base/check.h"
#include "base/clock.h"
#include "web/web_json.h"

#define DAY_MS INT64_C(86400000)

static enum err none(struct web_call *c)
{
    return err_set(&c->msg, ERR_NOT_FOUND, "answers are not checked here");
}

static enum err feedback(struct web_call *c)
{
    const struct web_grounding *g = &c->web->opts.grounding;
    return g->feedback
               ? g->feedback(g->ctx, web_call_org(c), net_request_body(c->req), &c->out, &c->msg)
               : none(c);
}

static enum err report(struct web_call *c)
{
    const struct web_grounding *g = &c->web->opts.grounding;
    struct web_grounding_ask ask = {.org = web_call_org(c),
                                    .service = web_call_value(c, "service")};
    int64_t now = clock_wall_ms();
    if (!g->report)
        return none(c);
    enum err e = web_call_i64(c, "to", now + 60000, 0, INT64_MAX / 1000000, &ask.to_ms);
    if (e == ERR_OK)
        e = web_call_i64(c, "from", MAX(0, MIN(ask.to_ms, now) - DAY_MS), 0, INT64_MAX / 1000000,
                         &ask.from_ms);
    if (e == ERR_OK && ask.from_ms > ask.to_ms)
        e = err_set(&c->msg, ERR_INVALID, "from is later than to");
    return e == ERR_OK ? g->report(g->ctx, &ask, &c->out, &c->msg) : e;
}

static enum err trace(struct web_call *c)
{
    const struct web_grounding *g = &c->web->opts.grounding;
    struct tsdb_id16 id;
    if (!g->trace)
        return none(c);
    enum err e = web_traces_id(c, net_request_param(c->req, 0), &id);
    return e == ERR_OK ? g->trace(g->ctx, web_call_org(c), id, &c->out, &c->msg) : e;
}

enum err web_grounding_routes(struct web *w, struct net *net)
{
    static const struct web_endpoint endpoints[] = {
        {"POST", "/api/telltale/v1/feedback", feedback, WEB_FORM_OURS, 0},
        {"GET", "/api/telltale/v1/grounding", report, WEB_FORM_OURS, 0},
        {"GET", "/api/telltale/v1/grounding/traces/{}", trace, WEB_FORM_OURS, 0},
    };
    return web_call_routes(w, net, endpoints, ARRAY_LEN(endpoints));
}
