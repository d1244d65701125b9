/* Events that changed something: told by pipelines and people, found in the calls. */
#include "base/check.h"
#include "base/clock.h"
#include "detectors/detectors_events.h"
#include "query/query_changes.h"
#include "web/web_json.h"

#define MINUTE_MS INT64_C(60000)
#define RANGE_DEFAULT_MS (INT64_C(86400) * 1000)

static enum err event_put(struct web_call *c)
{
    struct detectors_event ev;
    enum err e =
        detectors_event_parse(net_request_body(c->req), clock_wall_ms(), c->arena, &ev, &c->msg);
    if (e == ERR_OK)
        e = detectors_event_put(c->web->opts.db, web_call_org(c), &ev);
    if (e != ERR_OK)
        return e;
    json_out_object(&c->j);
    web_json_str(&c->j, "kind", ev.kind);
    web_json_i64(&c->j, "at_ms", ev.at_ms);
    json_out_object_end(&c->j);
    return ERR_OK;
}

static void change_json(struct json_out *j, const struct query_change *x)
{
    json_out_object(j);
    web_json_i64(j, "at_ms", x->at_ms);
    web_json_str(j, "kind", x->kind);
    web_json_bool(j, "found", x->is_found);
    web_json_str(j, "service", x->service);
    web_json_str(j, "title", x->title);
    web_json_str(j, "version", x->version);
    web_json_str(j, "model", x->model);
    web_json_str(j, "before", x->before);
    web_json_str(j, "link", x->link);
    web_json_str(j, "by", x->by);
    json_out_key(j, "share");
    if (x->is_found)
        json_out_f64(j, x->share);
    else
        json_out_null(j);
    json_out_object_end(j);
}

static enum err events(struct web_call *c)
{
    int64_t from_ms, to_ms, now = clock_wall_ms();
    struct query_change *list;
    struct tsdb_view *v;
    size_t n;
    enum err e = web_call_i64(c, "to", now + MINUTE_MS, 0, INT64_MAX / 1000000, &to_ms);
    if (e == ERR_OK)
        e = web_call_i64(c, "from", MAX(0, to_ms - RANGE_DEFAULT_MS), 0, INT64_MAX / 1000000,
                         &from_ms);
    struct query_changes_ask q = {.service = web_call_value(c, "service")};
    if (e != ERR_OK)
        return e;
    if (from_ms >= to_ms || (to_ms - from_ms) / MINUTE_MS >= QUERY_CHANGES_MINUTES_MAX ||
        to_ms / MINUTE_MS >= UINT32_MAX)
        return err_set(&c->msg, ERR_INVALID,
                       "from must be earlier than to, by at most 31 days less a minute");
    q.from = (uint32_t)(from_ms / MINUTE_MS);
    q.to = (uint32_t)((to_ms + MINUTE_MS - 1) / MINUTE_MS);
    e = web_call_view(c, &v);
    if (e != ERR_OK)
        return e;
    e = query_changes(v, &q, c->arena, &list, &n);
    if (e == ERR_OK) {
        json_out_object(&c->j);
        json_out_key(&c->j, "events");
        json_out_array(&c->j);
        for (size_t i = 0; i < n; i++)
            change_json(&c->j, &list[i]);
        json_out_array_end(&c->j);
        web_quarantine_warnings(c, v);
        json_out_object_end(&c->j);
    }
    tsdb_view_close(v);
    return e;
}

enum err web_events_routes(struct web *w, struct net *net)
{
    static const struct web_endpoint endpoints[] = {
        {"GET", "/api/telltale/v1/events", events, WEB_FORM_OURS, 0},
        {"POST", "/api/telltale/v1/events", event_put, WEB_FORM_OURS, 0},
    };
    return web_call_routes(w, net, endpoints, ARRAY_LEN(endpoints));
}
