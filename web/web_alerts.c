/* Receivers: which there are, and trying one. */
#include "base/check.h"
#include "web/web_json.h"

static void receiver_json(struct json_out *j, const struct detectors_receiver *r,
                          const struct detectors_outbox_row *rows, size_t n)
{
    char host[256];
    size_t by_state[DETECTORS_DEAD + 1] = {0};
    for (size_t i = 0; i < n; i++)
        by_state[rows[i].state] += bytes_equal_str(rows[i].receiver, r->name);
    detectors_receiver_host(r, host);
    json_out_object(j);
    web_json_text(j, "name", r->name);
    web_json_text(j, "type", detectors_receiver_kind_name(r->kind));
    web_json_text(j, "host", host);
    web_json_bool(j, "pages", r->pages || !r->tickets);
    web_json_bool(j, "tickets", r->tickets || !r->pages);
    web_json_bool(j, "send_resolved", !r->send_resolved_off);
    web_json_bool(j, "heartbeat", r->heartbeat);
    web_json_i64(j, "waiting", (int64_t)by_state[DETECTORS_WAITING]);
    web_json_i64(j, "dead", (int64_t)by_state[DETECTORS_DEAD]);
    json_out_object_end(j);
}

static enum err receivers(struct web_call *c)
{
    const struct detectors_receiver *list = NULL;
    struct detectors_outbox_row *rows = NULL;
    size_t n = 0, row_count = 0;
    enum err e = ERR_OK;
    if (web_call_sees_detectors(c)) {
        n = detectors_receivers(c->web->opts.detectors, &list);
        e = detectors_outbox(c->web->opts.detectors, c->arena, &rows, &row_count);
    }
    if (e != ERR_OK)
        return err_set(&c->msg, e, "the outbox cannot be read: %s", err_text(e));
    json_out_object(&c->j);
    json_out_key(&c->j, "receivers");
    json_out_array(&c->j);
    for (size_t i = 0; i < n; i++)
        receiver_json(&c->j, &list[i], rows, row_count);
    json_out_array_end(&c->j);
    json_out_object_end(&c->j);
    return ERR_OK;
}

static enum err receiver_test(struct web_call *c)
{
    char id[DETECTORS_WEBHOOK_ID_MAX];
    enum err e =
        web_call_sees_detectors(c)
            ? detectors_receiver_test(c->web->opts.detectors, net_request_param(c->req, 0), id)
            : ERR_NOT_FOUND;
    if (e != ERR_OK)
        return err_set(&c->msg, e, "%s",
                       e == ERR_NOT_FOUND ? "there is no receiver of this name" : err_text(e));
    c->status = 202;
    json_out_object(&c->j);
    web_json_text(&c->j, "status", "in the outbox");
    web_json_text(&c->j, "webhook_id", id);
    json_out_object_end(&c->j);
    return ERR_OK;
}

enum err web_alerts_routes(struct web *w, struct net *net)
{
    static const struct web_endpoint endpoints[] = {
        {"GET", "/api/telltale/v1/receivers", receivers, WEB_FORM_OURS, 0},
        {"POST", "/api/telltale/v1/receivers/{}/test", receiver_test, WEB_FORM_OURS, 0},
    };
    return web_call_routes(w, net, endpoints, ARRAY_LEN(endpoints));
}
