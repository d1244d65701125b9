/* What objectives would have told people over the past: those that are loaded, or documents that somebody is about to load. */
#include "base/check.h"
#include "base/clock.h"
#include "detectors/detectors_backtest.h"
#include "web/web_json.h"

#define SINCE_DEFAULT_MS (30 * INT64_C(86400000))
#define DOCUMENTS_BYTES_MAX ((size_t)4 << 20)
#define ERRORS_BYTES_MAX ((size_t)64 << 10)

static enum err read_since(struct web_call *c, int64_t *out_ms)
{
    struct bytes text = web_call_value(c, "since");
    char s[32];
    *out_ms = SINCE_DEFAULT_MS;
    if (text.size == 0)
        return ERR_OK;
    bool ok = text.size < sizeof(s);
    if (ok) {
        memcpy(s, text.data, text.size);
        s[text.size] = 0;
        ok = clock_parse_duration_ms(s, out_ms) && *out_ms >= 60000 &&
             *out_ms <= (int64_t)DETECTORS_BACKTEST_DAYS_MAX * 86400000;
    }
    return ok ? ERR_OK
              : err_set(&c->msg, ERR_INVALID, "since: give a duration from 1m to %ud, such as 30d",
                        DETECTORS_BACKTEST_DAYS_MAX);
}

static enum err read_ask(struct web_call *c, struct detectors_backtest_ask *out)
{
    int64_t timeout_ms = c->web->opts.timeout_ms ? c->web->opts.timeout_ms : WEB_TIMEOUT_MS;
    int64_t end = detectors_backtest_end_ms(clock_wall_ms()), to = end, since;
    enum err e = web_call_i64(c, "to", end, 0, INT64_MAX / 2, &to);
    if (e == ERR_OK)
        e = read_since(c, &since);
    if (e != ERR_OK)
        return e;
    to = MIN(to, end);
    *out =
        (struct detectors_backtest_ask){.from_ms = to - since,
                                        .to_ms = to,
                                        .deadline_mono_ns = clock_mono_ns() + timeout_ms * 1000000};
    return ERR_OK;
}

enum err web_backtest_one(struct web_call *c, struct bytes id)
{
    struct detectors_backtest_ask ask;
    enum err e = read_ask(c, &ask);
    return e == ERR_OK ? detectors_backtest_loaded(c->web->opts.detectors, id, &ask, &c->j, &c->msg)
                       : e;
}

/* The body: documents, or nothing for the loaded objectives. */
static enum err backtest(struct web_call *c)
{
    struct detectors_backtest_ask ask;
    struct bytes body = net_request_body(c->req);
    enum err e = read_ask(c, &ask);
    if (e != ERR_OK)
        return e;
    if (body.size == 0)
        return web_call_sees_detectors(c)
                   ? detectors_backtest_loaded(c->web->opts.detectors, BYTES_NONE, &ask, &c->j,
                                               &c->msg)
                   : err_set(&c->msg, ERR_NOT_FOUND, "no objectives are loaded for this org");
    struct query_slo_set set;
    struct buf errors;
    buf_init(&errors, ERRORS_BYTES_MAX);
    e = query_slo_set_init(&set);
    if (e == ERR_OK) {
        e = query_slo_load_text(&set, "request", body, &errors);
        if (e != ERR_OK)
            e = buf_first_error(&errors, e, &c->msg, "the documents cannot be read");
        else if (set.count == 0)
            e = err_set(&c->msg, ERR_INVALID, "there is no document of kind SLO in the body");
        else
            e = detectors_backtest_set(c->web->opts.db, web_call_org(c), &set, &ask, &c->j,
                                       &c->msg);
        query_slo_set_done(&set);
    }
    buf_done(&errors);
    return e;
}

enum err web_backtest_routes(struct web *w, struct net *net)
{
    static const struct web_endpoint endpoints[] = {
        {"POST", "/api/telltale/v1/slos/backtest", backtest, WEB_FORM_OURS, 0},
    };
    return web_call_large_routes(w, net, endpoints, ARRAY_LEN(endpoints), DOCUMENTS_BYTES_MAX);
}
