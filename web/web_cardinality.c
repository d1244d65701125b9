/* Which metrics and labels an org's series come from, what grows, and what was folded or refused past a limit. */
#include "tsdb/tsdb_cardinality.h"
#include "base/check.h"
#include "web/web_json.h"

static void put_org(struct json_out *j, const struct tsdb_cardinality *k)
{
    web_json_i64(j, "series", k->org.series);
    web_json_i64(j, "overflow_series", k->org.overflow_series);
    web_json_i64(j, "folded_points", (int64_t)k->org.folded);
    web_json_i64(j, "refused_points", (int64_t)k->org.refused);
    web_json_i64(j, "metric_names", (int64_t)k->metric_count);
    web_json_i64(j, "label_names", (int64_t)k->label_count);
    web_json_i64(j, "label_pairs", (int64_t)k->pairs);
}

static void put_metrics(struct json_out *j, const struct tsdb_cardinality *k)
{
    json_out_key(j, "metrics");
    json_out_array(j);
    for (size_t i = 0; i < k->metrics_n; i++) {
        const struct tsdb_registry_metric *m = &k->metrics[i];
        json_out_object(j);
        web_json_str(j, "metric", m->name);
        web_json_i64(j, "series", m->series);
        web_json_i64(j, "recent_series", m->recent);
        web_json_i64(j, "folded_points", (int64_t)m->folded);
        web_json_i64(j, "refused_points", (int64_t)m->refused);
        json_out_object_end(j);
    }
    json_out_array_end(j);
}

static void put_labels(struct json_out *j, const struct tsdb_cardinality *k)
{
    json_out_key(j, "labels");
    json_out_array(j);
    for (size_t i = 0; i < k->labels_n; i++) {
        json_out_object(j);
        web_json_str(j, "label", k->labels[i].name);
        web_json_i64(j, "values", (int64_t)k->labels[i].values);
        web_json_i64(j, "value_bytes", (int64_t)k->labels[i].value_bytes);
        json_out_object_end(j);
    }
    json_out_array_end(j);
}

static void put_growth(struct json_out *j, const struct tsdb_cardinality *k)
{
    json_out_key(j, "growing");
    json_out_array(j);
    for (size_t i = 0; i < k->growth_n; i++) {
        const struct tsdb_label_growth *g = &k->growth[i];
        json_out_object(j);
        web_json_str(j, "metric", g->metric);
        web_json_str(j, "label", g->label);
        web_json_i64(j, "recent_values", (int64_t)g->recent_values);
        web_json_i64(j, "values", (int64_t)g->values);
        web_json_i64(j, "recent_series", (int64_t)g->recent_series);
        web_json_i64(j, "series", (int64_t)g->series);
        json_out_object_end(j);
    }
    json_out_array_end(j);
}

static enum err cardinality(struct web_call *c)
{
    struct tsdb_cardinality k;
    int64_t top;
    enum err e = web_call_i64(c, "limit", 20, 1, 10000, &top);
    if (e == ERR_OK) {
        e = tsdb_cardinality_read(tsdb_series(c->web->opts.db), web_call_org(c), (size_t)top,
                                  c->arena, &k);
        if (e != ERR_OK)
            (void)err_set(&c->msg, e, "the series cannot be counted: %s", err_text(e));
    }
    if (e != ERR_OK)
        return e;
    json_out_object(&c->j);
    put_org(&c->j, &k);
    put_metrics(&c->j, &k);
    put_labels(&c->j, &k);
    put_growth(&c->j, &k);
    json_out_object_end(&c->j);
    return ERR_OK;
}

enum err web_cardinality_routes(struct web *w, struct net *net)
{
    static const struct web_endpoint endpoints[] = {
        {"GET", "/api/telltale/v1/cardinality", cardinality, WEB_FORM_OURS, 0},
    };
    return web_call_routes(w, net, endpoints, ARRAY_LEN(endpoints));
}
