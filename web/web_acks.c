/* Acknowledgements: by the API, and by a signed link that asks before it does, since programs that look at mail follow links. */
#include "base/check.h"
#include "base/clock.h"
#include "base/json_in.h"
#include "detectors/detectors_acks.h"
#include "web/web_json.h"

static enum err ack(struct web_call *c)
{
    struct json_node *root = NULL;
    struct err_msg why = {""};
    if (!web_call_sees_detectors(c))
        return err_set(&c->msg, ERR_NOT_FOUND, "there are no alerts here");
    enum err e = json_in_tree(net_request_body(c->req), 16, c->arena, &root, &why);
    if (e != ERR_OK)
        return err_set(&c->msg, e, "the body is not what it should be: %s", why.text);
    e = detectors_ack_put(c->web->opts.detectors, net_request_param(c->req, 0),
                          json_get_str(root, "by"), &c->msg);
    if (e != ERR_OK)
        return e;
    json_out_object(&c->j);
    web_json_text(&c->j, "status", "acknowledged");
    json_out_object_end(&c->j);
    return ERR_OK;
}

/* Who has the link may do what it says and nothing else; ERR_FORBIDDEN else. The link is checked before anything is looked up. */
static enum err check_link(struct web_call *c, struct bytes *out_receiver)
{
    struct bytes until = web_call_value(c, "until"), receiver = web_call_value(c, "receiver");
    int64_t until_s = 0;
    if (!c->web->opts.detectors || !bytes_to_i64(until, &until_s) ||
        !detectors_ack_is_signed(c->web->opts.detectors, net_request_param(c->req, 0), receiver,
                                 until_s, web_call_value(c, "signature"), clock_wall_ms()))
        return err_set(&c->msg, ERR_FORBIDDEN, "this link is not valid, or not any more");
    *out_receiver = receiver;
    return ERR_OK;
}

static void page(struct web_call *c, const char *title, const char *form)
{
    c->content_type = "text/html; charset=utf-8";
    buf_printf(&c->out,
               "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" "
               "content=\"width=device-width\"><title>Telltale</title><h1>%s</h1>%s</html>\n",
               title, form);
}

static enum err link_ask(struct web_call *c)
{
    struct bytes receiver;
    struct detectors_ack known;
    enum err e = check_link(c, &receiver);
    if (e != ERR_OK)
        return e;
    if (detectors_ack_get(c->web->opts.detectors, net_request_param(c->req, 0), &known))
        page(c, "This alert is acknowledged.", "");
    else /* to the same address, with its signature */
        page(c, "Acknowledge this alert?",
             "<p>It will not be repeated, and nobody further is told.</p>"
             "<form method=\"post\"><button>Acknowledge</button></form>");
    return ERR_OK;
}

static enum err link_do(struct web_call *c)
{
    struct bytes receiver;
    enum err e = check_link(c, &receiver);
    if (e != ERR_OK)
        return e;
    struct bytes by = arena_printf(c->arena, "link of " BYTES_FMT, BYTES_ARG(receiver));
    if (!by.data)
        return ERR_NOMEM;
    e = detectors_ack_put(c->web->opts.detectors, net_request_param(c->req, 0), by, &c->msg);
    if (e == ERR_OK)
        page(c, "Acknowledged.", "");
    return e;
}

static enum err pagerduty(struct web_call *c)
{
    bool taken = false;
    if (!c->web->opts.detectors)
        return err_set(&c->msg, ERR_NOT_FOUND, "there are no alerts here");
    enum err e = detectors_ack_pagerduty(c->web->opts.detectors, net_request_param(c->req, 0),
                                         net_request_header(c->req, "x-pagerduty-signature"),
                                         net_request_body(c->req), &taken, &c->msg);
    if (e != ERR_OK)
        return e;
    json_out_object(&c->j);
    web_json_bool(&c->j, "taken", taken);
    json_out_object_end(&c->j);
    return ERR_OK;
}

void web_ack_of(struct web_call *c, const struct detectors_alert *a)
{
    struct detectors_ack x;
    json_out_key(&c->j, "acknowledged");
    if (!detectors_ack_get(c->web->opts.detectors, a->fingerprint, &x)) {
        json_out_null(&c->j);
        return;
    }
    json_out_object(&c->j);
    web_json_text(&c->j, "by", x.by);
    web_json_i64(&c->j, "at_ms", x.at_ms);
    json_out_object_end(&c->j);
}

enum err web_acks_routes(struct web *w, struct net *net)
{
    static const struct web_endpoint endpoints[] = {
        {"POST", "/api/telltale/v1/alerts/{}/acknowledge", ack, WEB_FORM_OURS, 0},
        {"GET", "/ack/{}", link_ask, WEB_FORM_OURS, NET_ROUTE_OPEN},
        {"POST", "/ack/{}", link_do, WEB_FORM_OURS, NET_ROUTE_OPEN},
        {"POST", "/pagerduty/{}", pagerduty, WEB_FORM_OURS, NET_ROUTE_OPEN},
    };
    return web_call_routes(w, net, endpoints, ARRAY_LEN(endpoints));
}
