/* query, query_range, format_query, and how Prometheus writes results. */
#include "web/web_prom_call.h"

#include "base/clock.h"
#include "query/query_ast.h"
#include "query/query_explain.h"
#include "tsdb/tsdb_quarantine.h"
#include <inttypes.h>
#include <stdio.h>

void prom_float(struct json_out *j, double v)
{
    char text[JSON_OUT_PROM_FLOAT_MAX];
    json_out_bytes(j, bytes_of(text, json_out_prom_float(v, text)));
}

void prom_labels_object(struct json_out *j, struct tsdb_labels l)
{
    struct tsdb_labels_iter it = tsdb_labels_begin(l);
    struct tsdb_label label;
    json_out_object(j);
    while (tsdb_labels_next(&it, &label)) {
        json_out_key_bytes(j, label.name);
        json_out_bytes(j, label.value);
    }
    json_out_object_end(j);
}

enum err prom_with_external(struct prom_call *c, struct tsdb_labels l, struct arena *a,
                            struct tsdb_labels *out)
{
    struct tsdb_label list[2 * TSDB_LABELS_MAX], label;
    struct tsdb_labels_iter it = tsdb_labels_begin(l);
    size_t n = 0;
    *out = l;
    if (!c->prom->opts.external_labels.enc.size)
        return ERR_OK;
    while (tsdb_labels_next(&it, &label) && n < TSDB_LABELS_MAX)
        list[n++] = label;
    it = tsdb_labels_begin(c->prom->opts.external_labels);
    while (tsdb_labels_next(&it, &label))
        if (!tsdb_labels_get(l, label.name).size)
            list[n++] = label;
    return tsdb_labels_build(list, n, a, out, &c->msg);
}

/* Seconds with up to three decimals, as Prometheus writes them: 1435781430, 1435781430.781. */
static void put_time(struct json_out *j, int64_t ms)
{
    char text[40];
    int64_t whole = ms / 1000, part = ms % 1000;
    int n = part ? snprintf(text, sizeof text, "%s%" PRId64 ".%03" PRId64,
                            ms < 0 && whole == 0 ? "-" : "", whole, part < 0 ? -part : part)
                 : snprintf(text, sizeof text, "%" PRId64, whole);
    json_out_raw(j, bytes_of(text, (size_t)n));
}

static void put_hist(struct json_out *j, const struct query_hist *h, struct arena *a)
{
    struct query_hist_range *r;
    size_t n = query_hist_ranges(h, false, a, &r);
    json_out_object(j);
    json_out_key(j, "count");
    prom_float(j, h->count);
    json_out_key(j, "sum");
    prom_float(j, h->sum);
    if (n) {
        json_out_key(j, "buckets");
        json_out_array(j);
        for (size_t i = 0; i < n; i++) {
            json_out_array(j);
            json_out_i64(j, r[i].lower_inclusive && r[i].upper_inclusive ? 3
                            : r[i].lower_inclusive                       ? 1
                            : r[i].upper_inclusive                       ? 0
                                                                         : 2);
            prom_float(j, r[i].lower);
            prom_float(j, r[i].upper);
            prom_float(j, r[i].count);
            json_out_array_end(j);
        }
        json_out_array_end(j);
    }
    json_out_object_end(j);
}

static void put_point(struct json_out *j, const struct query_row *r, size_t i, struct arena *a)
{
    json_out_array(j);
    put_time(j, r->t_ms[i]);
    if (r->hist && r->hist[i])
        put_hist(j, r->hist[i], a);
    else
        prom_float(j, r->value[i]);
    json_out_array_end(j);
}

static void put_points(struct json_out *j, const char *key, const struct query_row *r, bool hists,
                       struct arena *a)
{
    bool open = false;
    for (size_t i = 0; i < r->count; i++) {
        if ((r->hist && r->hist[i]) != hists)
            continue;
        if (!open) {
            json_out_key(j, key);
            json_out_array(j);
            open = true;
        }
        put_point(j, r, i, a);
    }
    if (open)
        json_out_array_end(j);
}

static void put_row(struct json_out *j, const struct query_row *r, enum query_type type,
                    struct arena *a)
{
    json_out_object(j);
    json_out_key(j, "metric");
    prom_labels_object(j, r->labels);
    if (type == QUERY_VECTOR) {
        json_out_key(j, r->hist && r->hist[0] ? "histogram" : "value");
        put_point(j, r, 0, a);
    } else {
        put_points(j, "values", r, false, a);
        put_points(j, "histograms", r, true, a);
    }
    json_out_object_end(j);
}

static void put_notes(struct json_out *j, const char *key, const struct bytes *list, size_t count)
{
    if (!count)
        return;
    json_out_key(j, key);
    json_out_array(j);
    for (size_t i = 0; i < count; i++)
        json_out_bytes(j, list[i]);
    json_out_array_end(j);
}

#define DAMAGE_MAX 16u

/* All that a reader should know of the answer, first that it is not whole. */
static void put_warnings(struct prom_call *c, const struct tsdb_view *v,
                         const struct query_result *r, bool is_cut)
{
    struct tsdb_damage damage[DAMAGE_MAX];
    size_t n = MIN(tsdb_view_damage(v, damage, DAMAGE_MAX), DAMAGE_MAX), count = 0;
    struct bytes *list = ARENA_ARRAY(c->arena, struct bytes, n + 1 + r->warning_count);
    for (size_t i = 0; list && i < n; i++) {
        char text[TSDB_DAMAGE_TEXT_MAX];
        tsdb_damage_text(&damage[i], text);
        list[count++] = arena_copy(c->arena, bytes_str(text));
    }
    if (list && is_cut && !r->warning_count)
        list[count++] = BYTES_LIT("results truncated due to limit");
    for (size_t i = 0; list && i < r->warning_count; i++)
        list[count++] = r->warnings[i];
    put_notes(&c->j, "warnings", list, count);
}

static void put_result(struct prom_call *c, const struct tsdb_view *v, const struct query_result *r,
                       size_t limit)
{
    struct json_out *j = &c->j;
    json_out_object(j);
    json_out_key(j, "resultType");
    json_out_str(j, query_type_name(r->type));
    json_out_key(j, "result");
    if (r->type == QUERY_SCALAR) {
        put_point(j, &r->rows[0], 0, c->arena);
    } else if (r->type == QUERY_STRING) {
        json_out_array(j);
        put_time(j, r->at_ms);
        json_out_bytes(j, r->string);
        json_out_array_end(j);
    } else {
        json_out_array(j);
        for (size_t i = 0; i < r->count && i < limit && buf_ok(&c->out); i++)
            put_row(j, &r->rows[i], r->type, c->arena);
        json_out_array_end(j);
    }
    json_out_object_end(j);
    put_warnings(c, v, r, r->type != QUERY_SCALAR && r->type != QUERY_STRING && r->count > limit);
    put_notes(j, "infos", r->infos, r->info_count);
}

/* The engine's bad_data is about the text: the parameter "query". */
static enum err name_parameter(struct prom_call *c, enum err e)
{
    struct err_msg inner = c->msg;
    return e == ERR_INVALID ? err_set(&c->msg, e, "invalid parameter \"query\": %s", inner.text)
                            : e;
}

static enum err limits_of(struct prom_call *c, struct query_limits *out)
{
    *out = (struct query_limits){.deadline_mono_ns = c->deadline_mono_ns,
                                 .cancel = net_request_cancelled(c->req),
                                 .samples_max = c->prom->opts.samples_max,
                                 .pool = c->prom->pool,
                                 .budget = tsdb_query_budget(c->prom->opts.db)};
    return prom_duration(c, "lookback_delta", 0, &out->lookback_ms);
}

static void put_seconds(struct json_out *j, const char *key, int64_t ns)
{
    json_out_key(j, key);
    json_out_f64(j, (double)ns / 1e9);
}

/* The node at *at and, nested, those below it; *at ends behind them. */
static void put_node(struct json_out *j, const struct query_explain *x, uint32_t *at)
{
    const struct query_explain_node *n = &x->nodes[(*at)++];
    json_out_object(j);
    json_out_key(j, "node");
    json_out_str(j, n->kind);
    json_out_key(j, "expr");
    json_out_bytes(j, n->expr);
    if (n->matchers) {
        json_out_key(j, "matchers");
        json_out_array(j);
        for (uint32_t i = 0; i < n->matcher_count; i++)
            json_out_bytes(j, n->matchers[i]);
        json_out_array_end(j);
        json_out_key(j, "series");
        json_out_u64(j, n->series);
        json_out_key(j, "samples");
        json_out_u64(j, n->samples);
        json_out_key(j, "blocks");
        json_out_u64(j, n->blocks);
        if (n->min_ms <= n->max_ms) {
            json_out_key(j, "from");
            put_time(j, n->min_ms);
            json_out_key(j, "to");
            put_time(j, n->max_ms);
        }
    }
    json_out_key(j, "rows");
    json_out_u64(j, n->rows);
    json_out_key(j, "runs");
    json_out_u64(j, n->runs);
    put_seconds(j, "seconds", n->self_ns);
    if (*at < x->count && x->nodes[*at].depth > n->depth) {
        json_out_key(j, "children");
        json_out_array(j);
        while (*at < x->count && x->nodes[*at].depth > n->depth)
            put_node(j, x, at);
        json_out_array_end(j);
    }
    json_out_object_end(j);
}

/* What the query did, as a further key of the envelope. */
static enum err put_explain(struct prom_call *c, struct query_explain *x,
                            const struct query_cache_use *use, const struct query_result *r,
                            int64_t ns)
{
    struct json_out *j = &c->j;
    enum err e = query_explain_plan(prom_value(c, "query"), x, &c->msg); /* nothing was evaluated */
    uint32_t at = 0;
    if (e != ERR_OK)
        return e;
    json_out_key(j, "explain");
    json_out_object(j);
    json_out_key(j, "cache");
    json_out_object(j);
    json_out_key(j, "result");
    json_out_str(j, query_cache_kind_name(use->kind));
    if (use->why) {
        json_out_key(j, "why");
        json_out_str(j, use->why);
    }
    json_out_key(j, "steps_cached");
    json_out_u64(j, use->steps_kept);
    json_out_key(j, "steps_computed");
    json_out_u64(j, use->steps_computed);
    json_out_object_end(j);
    put_seconds(j, "seconds", ns);
    json_out_key(j, "samples");
    json_out_u64(j, r->samples);
    if (x->count) {
        json_out_key(j, "plan");
        put_node(j, x, &at);
    }
    json_out_key(j, "cut");
    json_out_bool(j, x->is_cut);
    json_out_object_end(j);
    return ERR_OK;
}

static enum err evaluate(struct prom_call *c, bool range, int64_t start, int64_t end, int64_t step)
{
    struct query_limits limits;
    struct query_result r;
    struct tsdb_view *v;
    struct bytes text = prom_value(c, "query");
    size_t limit;
    enum err e = limits_of(c, &limits);
    if (e == ERR_OK)
        e = prom_limit(c, &limit);
    if (e == ERR_OK)
        e = prom_view(c, &v);
    if (e != ERR_OK)
        return e;
    struct query_source src = query_source_of_view(v);
    struct query_cache *cache = prom_flag(c, "nocache") ? NULL : c->prom->cache;
    struct query_explain explain = {.arena = c->arena};
    struct query_cache_use use = {.kind = QUERY_CACHE_OFF};
    int64_t began_ns = clock_mono_ns();
    if (prom_flag(c, "explain"))
        limits.explain = &explain;
    uint32_t org = net_request_access(c->req)->org;
    e = range ? query_cache_range(cache, org, &src, &limits, text, start, end, step, c->arena, &r,
                                  &use, &c->msg)
              : query_instant(&src, &limits, text, start, c->arena, &r, &c->msg);
    if (e == ERR_OK)
        put_result(c, v, &r, limit);
    if (e == ERR_OK && limits.explain)
        e = put_explain(c, &explain, &use, &r, clock_mono_ns() - began_ns);
    tsdb_view_close(v);
    return name_parameter(c, e);
}

enum err prom_query(struct prom_call *c)
{
    int64_t at;
    enum err e = prom_time(c, "time", clock_wall_ms(), &at);
    return e == ERR_OK ? evaluate(c, false, at, at, 1) : e;
}

static enum err required(struct prom_call *c, const char *name)
{
    if (prom_value(c, name).size)
        return ERR_OK;
    return err_set(&c->msg, ERR_INVALID,
                   "invalid parameter \"%s\": cannot parse \"\" to a valid %s", name,
                   name[0] == 's' && name[2] == 'e' ? "duration" : "timestamp");
}

enum err prom_query_range(struct prom_call *c)
{
    int64_t start = 0, end = 0, step = 0;
    enum err e = required(c, "start");
    e = e == ERR_OK ? prom_time(c, "start", 0, &start) : e;
    e = e == ERR_OK ? required(c, "end") : e;
    e = e == ERR_OK ? prom_time(c, "end", 0, &end) : e;
    if (e == ERR_OK && end < start)
        e = err_set(&c->msg, ERR_INVALID,
                    "invalid parameter \"end\": end timestamp must not be before start time");
    e = e == ERR_OK ? required(c, "step") : e;
    e = e == ERR_OK ? prom_duration(c, "step", 0, &step) : e;
    if (e == ERR_OK && step <= 0)
        e = err_set(&c->msg, ERR_INVALID,
                    "invalid parameter \"step\": zero or negative query resolution step widths are "
                    "not accepted. Try a positive integer");
    int64_t stretch = 0; /* the ends of time are further apart than a number reaches */
    if (e == ERR_OK &&
        (__builtin_sub_overflow(end, start, &stretch) || stretch / step > WEB_PROM_POINTS_MAX))
        e = err_set(&c->msg, ERR_INVALID,
                    "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing "
                    "the query resolution (?step=XX)");
    return e == ERR_OK ? evaluate(c, true, start, end, step) : e;
}

enum err prom_parse_query(struct prom_call *c)
{
    enum err e = query_ast_json(prom_value(c, "query"), c->arena, &c->j, &c->msg);
    return name_parameter(c, e);
}

enum err prom_format_query(struct prom_call *c)
{
    struct bytes text;
    enum err e = query_format(prom_value(c, "query"), c->arena, &text, &c->msg);
    if (e == ERR_OK)
        json_out_bytes(&c->j, text);
    return name_parameter(c, e);
}
