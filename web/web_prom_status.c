/* status/tsdb: what an org's series in use come from, in Prometheus' form. Of headStats there are the numbers that mean something here. */
#include "web/web_prom_call.h"

#include "base/clock.h"
#include "tsdb/tsdb_cardinality.h"

#define TOP_DEFAULT 10u
#define TOP_MAX 10000u

static void put_row(struct json_out *j, struct bytes name, uint64_t value)
{
    json_out_object(j);
    json_out_key(j, "name");
    json_out_bytes(j, name);
    json_out_key(j, "value");
    json_out_u64(j, value);
    json_out_object_end(j);
}

static void put_labels(struct json_out *j, const char *key, const struct tsdb_label_use *l,
                       size_t n, bool bytes)
{
    json_out_key(j, key);
    json_out_array(j);
    for (size_t i = 0; i < n; i++)
        put_row(j, l[i].name, bytes ? l[i].value_bytes : l[i].values);
    json_out_array_end(j);
}

static void put_head(struct json_out *j, const struct tsdb_cardinality *c)
{
    json_out_key(j, "headStats");
    json_out_object(j);
    json_out_key(j, "numSeries");
    json_out_u64(j, (uint64_t)c->org.series + c->org.overflow_series);
    json_out_key(j, "numLabelPairs");
    json_out_u64(j, c->pairs);
    json_out_object_end(j);
}

enum err prom_status_tsdb(struct prom_call *c)
{
    struct tsdb_cardinality k;
    struct json_out *j = &c->j;
    size_t top;
    enum err e = prom_limit(c, &top);
    if (e != ERR_OK)
        return e;
    top = top == SIZE_MAX ? TOP_DEFAULT : MIN(top, (size_t)TOP_MAX);
    e = tsdb_cardinality_read(tsdb_series(c->prom->opts.db), net_request_access(c->req)->org, top,
                              c->arena, &k);
    if (e != ERR_OK)
        return err_set(&c->msg, e, "counting labels: %s", err_text(e));
    json_out_object(j);
    put_head(j, &k);
    json_out_key(j, "seriesCountByMetricName");
    json_out_array(j);
    for (size_t i = 0; i < k.metrics_n; i++)
        put_row(j, k.metrics[i].name, k.metrics[i].series);
    json_out_array_end(j);
    put_labels(j, "labelValueCountByLabelName", k.labels, k.labels_n, false);
    put_labels(j, "memoryInBytesByLabelName", k.labels_by_bytes, k.labels_by_bytes_n, true);
    json_out_key(j, "seriesCountByLabelValuePair");
    json_out_array(j);
    for (size_t i = 0; i < k.top_pairs_n; i++) {
        const struct tsdb_pair_use *p = &k.top_pairs[i];
        put_row(j,
                arena_printf(c->arena, BYTES_FMT "=" BYTES_FMT, BYTES_ARG(p->name),
                             BYTES_ARG(p->value)),
                p->series);
    }
    json_out_array_end(j);
    json_out_object_end(j);
    return ERR_OK;
}

/* --- what is asked of a server that scrapes ----------------------------------------------------- */

static void put_text(struct json_out *j, const char *key, const char *value)
{
    json_out_key(j, key);
    json_out_str(j, value);
}

static void put_number(struct json_out *j, const char *key, int64_t value)
{
    json_out_key(j, key);
    json_out_i64(j, value);
}

static void put_none(struct json_out *j, const char *key)
{
    json_out_key(j, key);
    json_out_array(j);
    json_out_array_end(j);
}

/* Of Prometheus' members those that mean something here. */
enum err prom_status_runtime(struct prom_call *c)
{
    char started[32];
    clock_rfc3339(c->prom->start_ms, started);
    json_out_object(&c->j);
    put_text(&c->j, "startTime", started);
    put_text(&c->j, "lastConfigTime", started);
    json_out_object_end(&c->j);
    return ERR_OK;
}

enum err prom_status_empty(struct prom_call *c)
{
    json_out_object(&c->j);
    json_out_object_end(&c->j);
    return ERR_OK;
}

/* There are parts and generations here, no blocks of Prometheus'. */
enum err prom_status_blocks(struct prom_call *c)
{
    json_out_object(&c->j);
    put_none(&c->j, "blocks");
    json_out_object_end(&c->j);
    return ERR_OK;
}

enum err prom_nothing(struct prom_call *c)
{
    json_out_array(&c->j);
    json_out_array_end(&c->j);
    return ERR_OK;
}

static void put_features(struct json_out *j, const char *category, const char *const *names,
                         size_t n)
{
    json_out_key(j, category);
    json_out_object(j);
    for (size_t i = 0; i < n; i++) {
        json_out_key(j, names[i]);
        json_out_bool(j, true);
    }
    json_out_object_end(j);
}

/* What is there, under Prometheus' names; what is not is left out. */
enum err prom_features(struct prom_call *c)
{
    static const char *const api[] = {"admin",
                                      "exclude_alerts",
                                      "label_values_match",
                                      "lifecycle",
                                      "otlp_write_receiver",
                                      "query_warnings",
                                      "remote_write_receiver",
                                      "time_range_labels",
                                      "time_range_series"};
    static const char *const promql[] = {"anchored",
                                         "at_modifier",
                                         "bool",
                                         "by",
                                         "delayed_name_removal",
                                         "duration_expr",
                                         "experimental_functions",
                                         "fill",
                                         "group_left",
                                         "group_right",
                                         "ignoring",
                                         "negative_offset",
                                         "offset",
                                         "on",
                                         "per_query_lookback_delta",
                                         "smoothed",
                                         "subqueries",
                                         "without"};
    static const char *const rules[] = {"keep_firing_for", "query_offset"};
    json_out_object(&c->j);
    put_features(&c->j, "api", api, ARRAY_LEN(api));
    put_features(&c->j, "promql", promql, ARRAY_LEN(promql));
    put_features(&c->j, "rules", rules, ARRAY_LEN(rules));
    json_out_object_end(&c->j);
    return ERR_OK;
}

enum err prom_status_config(struct prom_call *c)
{
    json_out_object(&c->j);
    put_text(&c->j, "yaml", "");
    json_out_object_end(&c->j);
    return ERR_OK;
}

/* Whoever is answered is past it. */
enum err prom_status_walreplay(struct prom_call *c)
{
    json_out_object(&c->j);
    put_number(&c->j, "min", 0);
    put_number(&c->j, "max", 0);
    put_number(&c->j, "current", 0);
    put_text(&c->j, "state", "done");
    json_out_object_end(&c->j);
    return ERR_OK;
}

enum err prom_targets(struct prom_call *c)
{
    json_out_object(&c->j);
    put_none(&c->j, "activeTargets");
    put_none(&c->j, "droppedTargets");
    json_out_key(&c->j, "droppedTargetCounts");
    json_out_object(&c->j);
    json_out_object_end(&c->j);
    json_out_object_end(&c->j);
    return ERR_OK;
}

enum err prom_targets_metadata(struct prom_call *c)
{
    json_out_array(&c->j);
    json_out_array_end(&c->j);
    return ERR_OK;
}

enum err prom_alertmanagers(struct prom_call *c)
{
    json_out_object(&c->j);
    put_none(&c->j, "activeAlertmanagers");
    put_none(&c->j, "droppedAlertmanagers");
    json_out_object_end(&c->j);
    return ERR_OK;
}
