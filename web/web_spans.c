/* Questions over spans: lists in any order, and counts, sums, means and quantiles by any fields and by time. */
#include "base/check.h"
#include "base/clock.h"
#include "query/query_spans.h"
#include "web/web_json.h"

#include <math.h>

#define GROUPS_LIMIT 100

/* What both endpoints take: q, contains, from, to (ms). The query is to be freed. */
static enum err which_of(struct web_call *c, struct query_spans_which *w,
                         struct query_traceql **out_q)
{
    int64_t from_ms, to_ms;
    struct bytes q = web_call_value(c, "q");
    *out_q = NULL;
    w->contains = web_call_value(c, "contains");
    enum err e = web_call_i64(c, "from", 0, 0, INT64_MAX / 1000000, &from_ms);
    if (e == ERR_OK)
        e = web_call_i64(c, "to", clock_wall_ms(), from_ms, INT64_MAX / 1000000, &to_ms);
    if (e == ERR_OK && q.size)
        e = query_traceql_parse(q, c->arena, out_q, &c->msg);
    if (e == ERR_OK)
        e = query_spans_check(*out_q, &c->msg);
    if (e == ERR_OK) {
        w->q = *out_q;
        w->start_min_ns = from_ms * 1000000;
        w->start_max_ns = to_ms * 1000000;
    }
    return e;
}

static void value_json(struct json_out *j, const struct query_traceql_value *v)
{
    switch (v->type) {
    case TRACEQL_NIL: json_out_null(j); break;
    case TRACEQL_BOOL: json_out_bool(j, v->boolean); break;
    case TRACEQL_INT: json_out_i64(j, v->integer); break;
    case TRACEQL_FLOAT: json_out_f64(j, v->number); break;
    case TRACEQL_DURATION: json_out_f64(j, (double)v->integer / 1e9); break;
    case TRACEQL_STRING: json_out_bytes(j, v->text); break;
    case TRACEQL_STATUS:
    case TRACEQL_KIND: json_out_bytes(j, query_traceql_keyword(v)); break;
    }
}

static void span_json(struct json_out *j, const struct tsdb_spans *t, uint32_t row,
                      const struct query_traceql *q)
{
    json_out_object(j);
    web_json_hex(j, "trace_id", t->trace_id[row].b, sizeof t->trace_id[row].b);
    web_json_hex(j, "span_id", t->span_id[row].b, sizeof t->span_id[row].b);
    web_json_hex(j, "parent_id", t->parent_id[row].b, sizeof t->parent_id[row].b);
    web_json_str(j, "service", TSDB_SPAN_GET(t, service, row, BYTES_NONE));
    web_json_str(j, "name", TSDB_SPAN_GET(t, name, row, BYTES_NONE));
    web_json_text(j, "kind", query_trace_kind_name(TSDB_SPAN_GET(t, kind, row, 0)));
    web_json_i64(j, "status", TSDB_SPAN_GET(t, status, row, 0));
    json_out_key(j, "start_ns");
    json_out_i64_str(j, t->start_ns[row]);
    web_json_i64(j, "duration_ns", t->end_ns[row] - t->start_ns[row]);
    web_json_f64(j, "weight",
                 (double)TSDB_SPAN_GET(t, weight, row, TSDB_WEIGHT_ONE) / TSDB_WEIGHT_ONE);
    web_traces_genai(j, t, row);
    json_out_key(j, "fields"); /* those that the query names */
    json_out_object(j);
    for (uint32_t i = 0; q && i < query_traceql_fields(q); i++) {
        struct query_traceql_value v = query_traceql_field(q, i, t, row);
        json_out_key_bytes(j, query_traceql_field_name(q, i));
        value_json(j, &v);
    }
    json_out_object_end(j);
    json_out_object_end(j);
}

static enum err list(struct web_call *c)
{
    struct query_spans_list_ask ask = {.order = web_call_value(c, "order")};
    struct query_traceql *q;
    struct tsdb_view *v;
    struct tsdb_spans rows;
    uint32_t *order;
    int64_t limit;
    enum err e = which_of(c, &ask.which, &q);
    if (e == ERR_OK)
        e = web_call_i64(c, "limit", 20, 1, QUERY_SPANS_ROWS_MAX, &limit);
    if (e == ERR_OK)
        e = web_call_view(c, &v);
    if (e != ERR_OK) {
        query_traceql_free(q);
        return e;
    }
    ask.limit = (uint32_t)limit;
    struct arena *scratch = arena_new(WEB_TRACE_BYTES_MAX);
    e = scratch ? query_spans_list(v, &ask, scratch, &rows, &order, &c->msg) : ERR_NOMEM;
    if (e == ERR_OK) {
        json_out_object(&c->j);
        json_out_key(&c->j, "spans");
        json_out_array(&c->j);
        for (uint32_t i = 0; i < rows.count; i++)
            span_json(&c->j, &rows, order[i], q);
        json_out_array_end(&c->j);
        web_quarantine_warnings(c, v);
        json_out_object_end(&c->j);
    }
    arena_free(scratch);
    tsdb_view_close(v);
    query_traceql_free(q);
    return e;
}

/* --- groups ------------------------------------------------------------------------------------- */

/* quantiles=0.5,0.99 */
static enum err quantiles_of(struct web_call *c, struct query_spans_groups_ask *ask)
{
    struct bytes text = web_call_value(c, "quantiles");
    while (text.size) {
        size_t comma = bytes_find(text, BYTES_LIT(","));
        double q;
        if (ask->quantile_count == QUERY_SPANS_QUANTILES_MAX ||
            !bytes_to_f64(bytes_slice(text, 0, comma), &q) || !(q >= 0 && q <= 1))
            return err_set(&c->msg, ERR_INVALID,
                           "quantiles: at most %u numbers from 0 to 1 with commas between",
                           QUERY_SPANS_QUANTILES_MAX);
        ask->quantiles[ask->quantile_count++] = q;
        text = bytes_slice(text, MIN(comma + 1, text.size), text.size);
    }
    return ERR_OK;
}

static enum err groups_ask_of(struct web_call *c, struct query_spans_groups_ask *ask)
{
    struct bytes by;
    ask->of = web_call_value(c, "of");
    for (unsigned i = 0; net_request_value(c->req, "by", i, &by); i++) {
        if (ask->by_count == QUERY_SPANS_BY_MAX)
            return err_set(&c->msg, ERR_INVALID, "by: at most %u fields", QUERY_SPANS_BY_MAX);
        ask->by[ask->by_count++] = by;
    }
    enum err e = quantiles_of(c, ask);
    if (e == ERR_OK && web_call_value(c, "step").size) {
        e = web_traces_duration(c, "step", &ask->step_ns);
        if (e == ERR_OK && ask->step_ns < 1000000000)
            e = err_set(&c->msg, ERR_INVALID, "step: at least 1s");
    }
    if (e == ERR_OK && ask->quantile_count && !ask->of.size)
        e = err_set(&c->msg, ERR_INVALID, "quantiles of what? give of=, such as of=duration");
    return e;
}

static void group_json(struct json_out *j, const struct query_spans_groups_ask *ask,
                       const struct query_spans_group *g)
{
    json_out_object(j);
    json_out_key(j, "by");
    json_out_array(j);
    for (uint32_t i = 0; i < ask->by_count; i++)
        value_json(j, &g->by[i]);
    json_out_array_end(j);
    if (ask->step_ns)
        web_json_i64(j, "start_ms", g->start_ns / 1000000);
    web_json_f64(j, "count", g->count);
    web_json_f64(j, "errors", g->errors);
    if (ask->of.size) {
        web_json_f64(j, "with", g->with);
        web_json_f64(j, "sum", g->with > 0 ? g->sum : NAN);
        web_json_f64(j, "avg", g->with > 0 ? g->sum / g->with : NAN);
        web_json_f64(j, "min", g->with > 0 ? g->min : NAN);
        web_json_f64(j, "max", g->with > 0 ? g->max : NAN);
        json_out_key(j, "quantiles");
        json_out_array(j);
        for (uint32_t i = 0; i < ask->quantile_count; i++)
            json_out_f64(j, g->with > 0 ? g->quantile[i] : NAN);
        json_out_array_end(j);
    }
    json_out_object_end(j);
}

static enum err groups(struct web_call *c)
{
    struct query_spans_groups_ask ask = {.by_count = 0};
    struct query_traceql *q;
    struct query_spans_group *all;
    struct tsdb_view *v;
    size_t n;
    int64_t limit;
    enum err e = which_of(c, &ask.which, &q);
    if (e == ERR_OK)
        e = groups_ask_of(c, &ask);
    if (e == ERR_OK)
        e = web_call_i64(c, "limit", GROUPS_LIMIT, 1, QUERY_SPANS_GROUPS_MAX, &limit);
    if (e == ERR_OK)
        e = web_call_view(c, &v);
    if (e != ERR_OK) {
        query_traceql_free(q);
        return e;
    }
    struct arena *scratch = arena_new(WEB_TRACE_BYTES_MAX);
    e = scratch ? query_spans_groups(v, &ask, scratch, &all, &n, &c->msg) : ERR_NOMEM;
    if (e == ERR_OK) {
        json_out_object(&c->j);
        json_out_key(&c->j, "groups");
        json_out_array(&c->j);
        for (size_t i = 0; i < n && i < (size_t)limit; i++)
            group_json(&c->j, &ask, &all[i]);
        json_out_array_end(&c->j);
        web_json_i64(&c->j, "total", (int64_t)n);
        web_quarantine_warnings(c, v);
        json_out_object_end(&c->j);
    }
    arena_free(scratch);
    tsdb_view_close(v);
    query_traceql_free(q);
    return e;
}

enum err web_spans_routes(struct web *w, struct net *net)
{
    static const struct web_endpoint endpoints[] = {
        {"GET", "/api/telltale/v1/spans", list, WEB_FORM_OURS, 0},
        {"GET", "/api/telltale/v1/spans/groups", groups, WEB_FORM_OURS, 0},
    };
    return web_call_routes(w, net, endpoints, ARRAY_LEN(endpoints));
}
