/* Budgets: the question before a call, answered on the loop, and lists for people. */
#include "base/check.h"
#include "base/clock.h"
#include "base/stats.h"
#include "detectors/detectors_budgets.h"
#include "web/web_json.h"

#include <math.h>
#include <stdio.h>

#define KEYS_MAX 1000
#define ANSWER_BYTES 16384u

STATS_COUNTER(checks_allowed, "telltale_budget_checks_total", "allowed=\"true\"",
              "Questions before a call, by what was answered.");
STATS_COUNTER(checks_denied, "telltale_budget_checks_total", "allowed=\"false\"",
              "Questions before a call, by what was answered.");

/* Amounts in nano-USD, tokens or calls, as the name of each says. */
static void amount(struct json_out *j, const char *what, enum detectors_budget_unit unit,
                   int64_t value)
{
    static const char *const units[] = {"nanousd", "tokens", "calls"};
    char key[48];
    snprintf(key, sizeof key, "%s_%s", what, units[unit]);
    web_json_i64(j, key, value);
}

static void row_members(struct json_out *j, const struct detectors_budget_row *r)
{
    web_json_text(j, "budget", r->name);
    web_json_text(j, "by", tsdb_ledger_dim_text(r->by));
    web_json_str(j, "key", r->key);
    web_json_text(j, "unit", detectors_budget_unit_name(r->unit));
    amount(j, "limit", r->unit, r->limit);
    amount(j, "spent", r->unit, r->spent);
    amount(j, "remaining", r->unit, r->spent < r->limit ? r->limit - r->spent : 0);
    web_json_f64(j, "spent_share", (double)r->spent / (double)r->limit);
    amount(j, "forecast", r->unit, llround(MIN(r->forecast, 9e18)));
    web_json_text(j, "window", r->window);
    web_json_text(j, "window_kind", r->is_rolling ? "rolling" : "calendar");
    web_json_i64(j, "window_start_ms", r->start_ms);
    json_out_key(j, "reset_ms");
    if (r->reset_ms)
        json_out_i64(j, r->reset_ms);
    else
        json_out_null(j);
    web_json_bool(j, "hard", r->is_hard);
    web_json_bool(j, "fail_open", r->fail_open);
    web_json_bool(j, "untracked", r->is_untracked);
}

static void answer_json(struct json_out *j, const struct detectors_budget_answer *a, int64_t now_ms)
{
    json_out_object(j);
    web_json_bool(j, "allowed", a->is_allowed);
    web_json_i64(j, "matched", a->matched);
    if (a->count) {
        row_members(j, &a->rows[0]);
    } else {
        json_out_key(j, "budget");
        json_out_null(j);
        web_json_bool(j, "fail_open", a->fail_open);
    }
    json_out_key(
        j, "staleness_ms"); /* of the newest call that is counted; null: none since the start */
    if (a->booked_ms)
        json_out_i64(j, MAX(now_ms - a->booked_ms, 0));
    else
        json_out_null(j);
    json_out_key(j, "newest_event_age_ms");
    if (a->newest_ms)
        json_out_i64(j, MAX(now_ms - a->newest_ms, 0));
    else
        json_out_null(j);
    json_out_key(j, "budgets");
    json_out_array(j);
    for (uint32_t i = 0; i < a->count; i++) {
        json_out_object(j);
        row_members(j, &a->rows[i]);
        json_out_object_end(j);
    }
    json_out_array_end(j);
    json_out_object_end(j);
}

static bool read_call(struct net_request *req, struct detectors_budget_call *out)
{
    struct bytes v;
    *out = (struct detectors_budget_call){0};
    for (int d = 0; d < TSDB_BOOK_DIM_COUNT; d++)
        if (net_request_value(req, tsdb_ledger_dim_text((enum tsdb_book_dim)d), 0, &v))
            out->value[d] = v;
    if (net_request_value(req, "estimate_usd", 0, &v)) {
        double usd;
        if (!bytes_to_f64(v, &usd) || !(usd >= 0) || usd > 9e9)
            return false;
        out->nanousd = llround(usd * 1e9);
    }
    if (net_request_value(req, "estimate_tokens", 0, &v) &&
        (!bytes_to_i64(v, &out->tokens) || out->tokens < 0 || out->tokens > INT64_MAX / 4))
        return false;
    return true;
}

/* On the loop: memory of a fixed size, one short lock, no thread to wait for. */
static void check(void *ctx, struct net_request *req)
{
    struct web *w = ctx;
    const struct net_access *access = net_request_access(req);
    struct detectors_budget_call call;
    struct detectors_budget_answer a = {.is_allowed = true, .fail_open = true};
    static const struct net_header headers[] = {WEB_CALL_SAFE_HEADERS,
                                                {"Cache-Control", "no-store"}};
    int64_t now_ms = clock_wall_ms();
    uint32_t org = access && access->org ? access->org : TSDB_ORG_DEFAULT;
    if (!read_call(req, &call)) {
        net_reply_err(req, ERR_INVALID,
                      "estimate_usd must be an amount such as 0.05, and estimate_tokens a number",
                      0);
        return;
    }
    if (w->opts.budgets && detectors_budgets_org(w->opts.budgets) == org)
        detectors_budgets_check(w->opts.budgets, &call, now_ms, &a);
    stats_add(a.is_allowed ? &checks_allowed : &checks_denied, 1);
    struct buf out;
    buf_init(&out, ANSWER_BYTES * 4);
    (void)buf_reserve(&out, ANSWER_BYTES / 8);
    struct json_out j = json_out_to(&out);
    answer_json(&j, &a, now_ms);
    if (!buf_ok(&out)) {
        buf_done(&out);
        net_reply_err(req, ERR_NOMEM, "out of memory", 1);
        return;
    }
    size_t size;
    uint8_t *data = buf_take(&out, &size);
    net_reply(req, &(struct net_response){.status = 200,
                                          .content_type = "application/json",
                                          .headers = headers,
                                          .header_count = ARRAY_LEN(headers),
                                          .body = bytes_of(data, size),
                                          .body_take = true});
}

static enum err list(struct web_call *c, const char *name)
{
    struct detectors_budgets *b = c->web->opts.budgets;
    struct detectors_budget_row *rows = NULL;
    size_t n = 0;
    int64_t top;
    enum err e = web_call_i64(c, "top", 20, 1, KEYS_MAX, &top);
    if (e != ERR_OK)
        return e;
    bool sees = b && detectors_budgets_org(b) == web_call_org(c);
    e = sees   ? detectors_budgets_rows(b, name, web_call_value(c, "key"), (size_t)top,
                                        clock_wall_ms(), c->arena, &rows, &n)
        : name ? ERR_NOT_FOUND
               : ERR_OK;
    if (e == ERR_NOT_FOUND)
        return err_set(&c->msg, e, "there is no budget of that name");
    if (e != ERR_OK)
        return err_set(&c->msg, e, "the budgets cannot be listed: %s", err_text(e));
    json_out_object(&c->j);
    json_out_key(&c->j, "budgets");
    json_out_array(&c->j);
    for (size_t i = 0; i < n; i++) {
        json_out_object(&c->j);
        row_members(&c->j, &rows[i]);
        json_out_object_end(&c->j);
    }
    json_out_array_end(&c->j);
    json_out_object_end(&c->j);
    return ERR_OK;
}

static enum err all(struct web_call *c)
{
    return list(c, NULL);
}

static enum err one(struct web_call *c)
{
    struct bytes name = arena_printf(c->arena, BYTES_FMT, BYTES_ARG(net_request_param(c->req, 0)));
    return name.data ? list(c, (const char *)name.data) : ERR_NOMEM;
}

static enum err reload(struct web_call *c)
{
    const struct web_reload *r = &c->web->opts.budgets_reload;
    if (!r->run)
        return err_set(&c->msg, ERR_NOT_FOUND, "there are no budgets here");
    if (web_call_org(c) != TSDB_ORG_DEFAULT)
        return err_set(&c->msg, ERR_FORBIDDEN,
                       "the file is of the machine: its owner has it read again");
    return r->run(r->ctx, &c->out, &c->msg);
}

enum err web_budgets_routes(struct web *w, struct net *net)
{
    static const struct web_endpoint endpoints[] = {
        {"GET", "/api/telltale/v1/budgets/spend", all, WEB_FORM_OURS, 0},
        {"GET", "/api/telltale/v1/budgets/spend/{}", one, WEB_FORM_OURS, 0},
        {"POST", "/api/telltale/v1/admin/budgets/reload", reload, WEB_FORM_OURS, 0},
    };
    enum err e = net_route(net, &(struct net_route){.doors = NET_DOOR_MASK(NET_WEB),
                                                    .method = "GET",
                                                    .pattern = "/api/telltale/v1/budgets/check",
                                                    .handler = check,
                                                    .ctx = w,
                                                    .body_max = WEB_BODY_MAX,
                                                    .flags = NET_ROUTE_LOW});
    return e == ERR_OK ? web_call_routes(w, net, endpoints, ARRAY_LEN(endpoints)) : e;
}
