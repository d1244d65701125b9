/* Tempo's metrics interface: TraceQL metrics over a range, and as one value. */
#include "base/check.h"
#include "base/clock.h"
#include "query/query_traceql_metrics.h"
#include "web/web_json.h"

#include <math.h>
#include <stdlib.h>

#define STEPS_MAX 11000 /* as of PromQL */
#define STEPS_DEFAULT 120
#define SINCE_DEFAULT_NS (INT64_C(3600) * 1000000000)
#define SECONDS INT64_C(1000000000)

struct question {
    struct query_traceql_metrics m;
    int64_t start_ns, end_ns, step_ns; /* step 0: one value for the whole range */
};

struct series { /* groups of the same fields; what one quantile makes of them */
    const struct query_spans_group *groups;
    size_t count;
    uint32_t quantile;
    double rank; /* for topk */
};

/* --- what is asked ------------------------------------------------------------------------------- */

/* Unix seconds, or nanoseconds where it is that large. */
static enum err time_of(struct web_call *c, const char *name, int64_t def, int64_t *out)
{
    struct bytes text = web_call_value(c, name);
    double v;
    int64_t whole;
    *out = def;
    if (!text.size)
        return ERR_OK;
    if (bytes_to_i64(text, &whole) && whole > INT64_C(1000000000000))
        *out = whole;
    else if (bytes_to_f64(text, &v) && v >= 0 && v < 9e9)
        *out = (int64_t)(v * 1e9);
    else
        return err_set(&c->msg, ERR_INVALID, "%s: give Unix seconds or nanoseconds", name);
    return ERR_OK;
}

static enum err step_of(struct web_call *c, int64_t range_ns, int64_t *out)
{
    struct bytes text = web_call_value(c, "step");
    double v;
    *out = MAX(range_ns / STEPS_DEFAULT / SECONDS * SECONDS, SECONDS);
    enum err e = ERR_OK;
    if (text.size && bytes_to_f64(text, &v))
        *out = v > 0 && v < 1e9 ? (int64_t)(v * 1e9) : 0;
    else if (text.size)
        e = web_traces_duration(c, "step", out);
    if (e == ERR_OK && *out < SECONDS)
        e = err_set(&c->msg, ERR_INVALID, "step: at least 1s");
    if (e == ERR_OK && range_ns / *out > STEPS_MAX)
        e = err_set(&c->msg, ERR_INVALID, "more than %d steps; give a longer step", STEPS_MAX);
    return e;
}

static enum err question_of(struct web_call *c, bool is_range, struct question *q)
{
    int64_t now_ns = clock_wall_ns(), since_ns = SINCE_DEFAULT_NS;
    struct bytes text = web_call_value(c, "q");
    enum err e = time_of(c, "end", now_ns, &q->end_ns);
    if (e == ERR_OK)
        e = web_traces_duration(c, "since", &since_ns);
    if (e == ERR_OK)
        e = time_of(c, "start", q->end_ns - since_ns, &q->start_ns);
    if (e == ERR_OK && q->end_ns <= q->start_ns)
        e = err_set(&c->msg, ERR_INVALID, "end is not after start");
    if (e == ERR_OK && is_range)
        e = step_of(c, q->end_ns - q->start_ns, &q->step_ns);
    if (e == ERR_OK && !text.size)
        e = err_set(&c->msg, ERR_INVALID, "q: give a metrics query, such as { } | rate()");
    if (e == ERR_OK)
        e = query_traceql_metrics_parse(text, c->arena, &q->m, &c->msg);
    if (e != ERR_OK)
        return e;
    q->m.ask.step_ns = q->step_ns;
    q->m.ask.which.start_min_ns = q->start_ns;
    q->m.ask.which.start_max_ns = q->end_ns - 1;
    return ERR_OK;
}

/* --- series -------------------------------------------------------------------------------------- */

static bool same_value(const struct query_traceql_value *x, const struct query_traceql_value *y)
{
    if (x->type != y->type)
        return false;
    switch (x->type) {
    case TRACEQL_NIL: return true;
    case TRACEQL_BOOL: return x->boolean == y->boolean;
    case TRACEQL_FLOAT: return memcmp(&x->number, &y->number, sizeof x->number) == 0;
    case TRACEQL_STRING: return bytes_equal(x->text, y->text);
    default: return x->integer == y->integer;
    }
}

static bool same_fields(const struct question *q, const struct query_spans_group *x,
                        const struct query_spans_group *y)
{
    for (uint32_t i = 0; i < q->m.ask.by_count; i++)
        if (!same_value(&x->by[i], &y->by[i]))
            return false;
    return true;
}

static double seconds_of(const struct question *q)
{
    return (double)(q->step_ns ? q->step_ns : q->end_ns - q->start_ns) / 1e9;
}

static double value_of(const struct question *q, const struct series *s, size_t i)
{
    return query_traceql_metrics_value(&q->m, &s->groups[i], seconds_of(q), s->quantile);
}

static int by_rank(const void *x, const void *y)
{
    double a = ((const struct series *)x)->rank, b = ((const struct series *)y)->rank;
    return (a < b) - (a > b);
}

/* By the sum of their values, the largest first; of bottomk the smallest. */
static void keep_top(const struct question *q, struct series *list, size_t *n)
{
    if (!q->m.top || *n <= q->m.top)
        return;
    for (size_t i = 0; i < *n; i++) {
        list[i].rank = 0;
        for (size_t k = 0; k < list[i].count; k++) {
            double v = value_of(q, &list[i], k);
            list[i].rank += isnan(v) ? 0 : v;
        }
        if (q->m.is_bottom)
            list[i].rank = -list[i].rank;
    }
    qsort(list, *n, sizeof *list, by_rank);
    *n = q->m.top;
}

static struct series *series_of(const struct question *q, const struct query_spans_group *groups,
                                size_t count, struct arena *a, size_t *out_n)
{
    uint32_t quantiles = MAX(q->m.ask.quantile_count, 1u);
    struct series *list = ARENA_ARRAY(a, struct series, count * quantiles + 1);
    *out_n = 0;
    for (size_t i = 0; list && i < count;) {
        size_t from = i;
        while (i < count && same_fields(q, &groups[from], &groups[i]))
            i++;
        for (uint32_t k = 0; k < quantiles; k++)
            list[(*out_n)++] =
                (struct series){.groups = groups + from, .count = i - from, .quantile = k};
    }
    if (list)
        keep_top(q, list, out_n);
    return list;
}

/* --- the answer ---------------------------------------------------------------------------------- */

/* As OTLP's AnyValue. */
static void label_json(struct json_out *j, struct bytes key, const struct query_traceql_value *v)
{
    json_out_object(j);
    web_json_str(j, "key", key);
    json_out_key(j, "value");
    json_out_object(j);
    switch (v->type) {
    case TRACEQL_NIL: web_json_text(j, "stringValue", "nil"); break;
    case TRACEQL_BOOL: web_json_bool(j, "boolValue", v->boolean); break;
    case TRACEQL_INT:
        json_out_key(j, "intValue");
        json_out_i64_str(j, v->integer);
        break;
    case TRACEQL_DURATION: web_json_f64(j, "doubleValue", (double)v->integer / 1e9); break;
    case TRACEQL_FLOAT: web_json_f64(j, "doubleValue", v->number); break;
    case TRACEQL_STRING: web_json_str(j, "stringValue", v->text); break;
    default: web_json_str(j, "stringValue", query_traceql_keyword(v));
    }
    json_out_object_end(j);
    json_out_object_end(j);
}

static void labels_json(struct json_out *j, const struct question *q, const struct series *s)
{
    json_out_key(j, "labels");
    json_out_array(j);
    for (uint32_t i = 0; i < q->m.ask.by_count; i++)
        label_json(j, q->m.ask.by[i], &s->groups[0].by[i]);
    if (q->m.ask.quantile_count) {
        struct query_traceql_value p = {.type = TRACEQL_FLOAT,
                                        .number = q->m.ask.quantiles[s->quantile]};
        label_json(j, BYTES_LIT("p"), &p);
    } else if (!q->m.ask.by_count) {
        struct query_traceql_value name = {
            .type = TRACEQL_STRING, .text = bytes_str(query_traceql_function_name(q->m.function))};
        label_json(j, BYTES_LIT("__name__"), &name);
    }
    json_out_array_end(j);
}

static void sample_json(struct json_out *j, int64_t t_ns, double v)
{
    json_out_object(j);
    json_out_key(j, "timestampMs");
    json_out_i64_str(j, t_ns / 1000000);
    web_json_f64(j, "value", v);
    json_out_object_end(j);
}

/* Of counts every step, 0 where there was nothing; of other functions those that have a value. */
static void samples_json(struct json_out *j, const struct question *q, const struct series *s)
{
    bool counts = q->m.function == TRACEQL_RATE || q->m.function == TRACEQL_COUNT_OVER_TIME;
    int64_t t = q->start_ns - q->start_ns % q->step_ns;
    size_t i = 0;
    json_out_key(j, "samples");
    json_out_array(j);
    for (; t < q->end_ns; t += q->step_ns) {
        while (i < s->count && s->groups[i].start_ns < t)
            i++;
        bool is_there = i < s->count && s->groups[i].start_ns == t;
        double v = is_there ? value_of(q, s, i) : counts ? 0 : NAN;
        if (!isnan(v))
            sample_json(j, t, v);
    }
    json_out_array_end(j);
}

static enum err answer(struct web_call *c, bool is_range)
{
    struct question q = {.step_ns = 0};
    struct query_spans_group *groups = NULL;
    struct tsdb_view *v;
    size_t count = 0, n = 0;
    enum err e = question_of(c, is_range, &q);
    if (e != ERR_OK)
        return e;
    e = web_call_view(c, &v);
    if (e != ERR_OK) {
        query_traceql_metrics_free(&q.m);
        return e;
    }
    struct arena *scratch = arena_new(WEB_TRACE_BYTES_MAX);
    e = scratch ? query_spans_groups(v, &q.m.ask, scratch, &groups, &count, &c->msg) : ERR_NOMEM;
    struct series *list = e == ERR_OK ? series_of(&q, groups, count, scratch, &n) : NULL;
    if (e == ERR_OK && !list)
        e = ERR_LIMIT;
    if (e == ERR_OK) {
        struct json_out *j = &c->j;
        json_out_object(j);
        json_out_key(j, "series");
        json_out_array(j);
        for (size_t i = 0; i < n && buf_ok(&c->out); i++) {
            json_out_object(j);
            labels_json(j, &q, &list[i]);
            if (is_range)
                samples_json(j, &q, &list[i]);
            else
                web_json_f64(j, "value", value_of(&q, &list[i], 0));
            json_out_object_end(j);
        }
        json_out_array_end(j);
        json_out_key(j, "metrics");
        json_out_object(j);
        json_out_object_end(j);
        web_quarantine_warnings(c, v);
        json_out_object_end(j);
    }
    arena_free(scratch);
    tsdb_view_close(v);
    query_traceql_metrics_free(&q.m);
    return e;
}

static enum err query_range(struct web_call *c)
{
    return answer(c, true);
}

static enum err query_instant(struct web_call *c)
{
    return answer(c, false);
}

enum err web_tempo_metrics_routes(struct web *w, struct net *net)
{
    static const struct web_endpoint endpoints[] = {
        {"GET", "/tempo/api/metrics/query_range", query_range, WEB_FORM_OURS, 0},
        {"GET", "/tempo/api/metrics/query", query_instant, WEB_FORM_OURS, 0},
    };
    return web_call_routes(w, net, endpoints, ARRAY_LEN(endpoints));
}
