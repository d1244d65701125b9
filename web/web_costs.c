/* What calls cost, by any dimension of the ledger. */
#include "base/check.h"
#include "base/clock.h"
#include "tsdb/tsdb_ledger.h"
#include "web/web_json.h"

#define DAY_MS INT64_C(86400000)
#define TOP_MAX 10000

static void sums_json(struct json_out *j, const struct tsdb_book_sums *s)
{
    web_json_i64(j, "cost_nanousd", s->nanousd);
    web_json_i64(j, "calls", s->calls);
    web_json_i64(j, "input_tokens", s->input_tokens);
    web_json_i64(j, "output_tokens", s->output_tokens);
    web_json_i64(j, "unpriced_calls", s->unpriced);
    web_json_i64(j, "estimated_calls", s->estimated);
}

static void sums_object(struct json_out *j, const char *key, const struct tsdb_book_sums *s)
{
    json_out_key(j, key);
    json_out_object(j);
    sums_json(j, s);
    json_out_object_end(j);
}

static void days_json(struct json_out *j, const char *key, const int64_t *days, uint32_t n)
{
    if (!days)
        return;
    json_out_key(j, key);
    json_out_array(j);
    for (uint32_t i = 0; i < n; i++)
        json_out_i64(j, days[i]);
    json_out_array_end(j);
}

static void answer_json(struct json_out *j, const struct tsdb_ledger_question *q,
                        const struct tsdb_ledger_answer *a)
{
    json_out_object(j);
    web_json_text(j, "by", tsdb_ledger_dim_text(q->dim));
    web_json_i64(j, "from_ms", a->from_ms);
    web_json_i64(j, "to_ms", a->to_ms);
    web_json_i64(j, "values", (int64_t)a->keys);
    sums_object(j, "total", &a->total);
    days_json(j, "total_days_nanousd", a->days, a->day_count);
    web_json_i64(j, "first_day_ms", (int64_t)a->first_day * DAY_MS);
    sums_object(j, "unattributed", &a->unattributed);
    sums_object(j, "other", &a->other);
    sums_object(j, "below_top", &a->below);
    web_json_bool(j, "exact", a->error_nanousd == 0);
    web_json_i64(j, "error_nanousd", a->error_nanousd);
    json_out_key(j, "rows");
    json_out_array(j);
    for (size_t i = 0; i < a->count; i++) {
        const struct tsdb_ledger_row *r = &a->rows[i];
        json_out_object(j);
        web_json_str(j, "value", r->value);
        if (!r->value.size) /* the two rows that are no value's */
            web_json_text(j, "is", r->is_other ? "other" : "unattributed");
        sums_json(j, &r->sums);
        days_json(j, "days_nanousd", r->days, a->day_count);
        json_out_object_end(j);
    }
    json_out_array_end(j);
    json_out_object_end(j);
}

static enum err costs(struct web_call *c)
{
    int64_t now = clock_wall_ms(), top, days;
    struct bytes by = web_call_value(c, "by");
    struct tsdb_ledger_question q = {.org = web_call_org(c), .dim = TSDB_BOOK_TEAM};
    struct tsdb_ledger_answer a;
    if (by.size && !tsdb_ledger_dim_of(by, &q.dim))
        return err_set(&c->msg, ERR_INVALID,
                       "by must be tenant, team, service, api_key, user, model, prompt or "
                       "endpoint");
    enum err e = web_call_i64(c, "to", now, 0, INT64_MAX / 4, &q.to_ms);
    if (e == ERR_OK)
        e = web_call_i64(c, "from", MAX(q.to_ms - 30 * DAY_MS, 0), 0, q.to_ms, &q.from_ms);
    if (e == ERR_OK)
        e = web_call_i64(c, "top", 20, 1, TOP_MAX, &top);
    if (e == ERR_OK)
        e = web_call_i64(c, "days", 0, 0, 1, &days);
    if (e != ERR_OK)
        return e;
    q.top = (size_t)top;
    q.with_days = days != 0;
    e = tsdb_ledger_ask(c->web->opts.db, &q, c->arena, &a);
    if (e == ERR_INVALID)
        return err_set(&c->msg, e, "from must lie before to");
    if (e != ERR_OK)
        return err_set(&c->msg, e, "the ledger cannot answer: %s; a shorter range may help",
                       err_text(e));
    answer_json(&c->j, &q, &a);
    return ERR_OK;
}

enum err web_costs_routes(struct web *w, struct net *net)
{
    static const struct web_endpoint endpoints[] = {
        {"GET", "/api/telltale/v1/costs", costs, WEB_FORM_OURS, 0},
    };
    return web_call_routes(w, net, endpoints, ARRAY_LEN(endpoints));
}
