/* What becomes of metrics: names, labels, samples, histograms, cells, stale markers, exemplars, refusals. Golden cases in OTLP/JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/json_out.h"
#include "collector/otlp/helper_otlp.h"
#include "collector/otlp/metric_name.h"

/* The batch as text, one line a row: what a golden case is compared with. */
static void dump_labels(struct tsdb_labels l, struct buf *out)
{
    struct tsdb_labels_iter it = tsdb_labels_begin(l);
    struct tsdb_label label;
    buf_str(out, "{");
    for (bool first = true; tsdb_labels_next(&it, &label); first = false)
        buf_printf(out, "%s" BYTES_FMT "=" BYTES_FMT, first ? "" : ",", BYTES_ARG(label.name),
                   BYTES_ARG(label.value));
    buf_str(out, "}");
}

static void dump_value(double v, struct buf *out)
{
    char text[JSON_OUT_PROM_FLOAT_MAX];
    uint64_t bits;
    memcpy(&bits, &v, sizeof(bits));
    size_t n = json_out_prom_float(v, text);
    if (bits == UINT64_C(0x7ff0000000000002))
        buf_str(out, "stale");
    else
        buf_append(out, text, n);
}

static void dump_hist(const struct tsdb_hist *h, struct buf *out)
{
    buf_printf(out, "schema %d zero %g count %g sum %g pos", h->schema, h->zero_count, h->count,
               h->sum);
    for (uint32_t i = 0, k = 0; i < h->pos_span_count; i++) {
        buf_printf(out, " %d:", h->pos_spans[i].offset);
        for (uint32_t n = 0; n < h->pos_spans[i].length; n++)
            buf_printf(out, "%s%g", n ? "," : "", h->pos[k++]);
    }
    buf_printf(out, " neg");
    for (uint32_t i = 0, k = 0; i < h->neg_span_count; i++) {
        buf_printf(out, " %d:", h->neg_spans[i].offset);
        for (uint32_t n = 0; n < h->neg_spans[i].length; n++)
            buf_printf(out, "%s%g", n ? "," : "", h->neg[k++]);
    }
    for (uint32_t i = 0; i < h->custom_count; i++)
        buf_printf(out, "%s%g", i ? "," : " custom ", h->custom[i]);
}

static void dump(const struct tsdb_batch *b, const struct tsdb_registry *series, struct buf *out)
{
    for (uint32_t i = 0; i < b->samples.count; i++) {
        dump_labels(tsdb_registry_info(series, b->samples.series[i])->labels, out);
        buf_str(out, " ");
        dump_value(b->samples.value[i], out);
        buf_printf(out, " @%lld", (long long)(b->samples.t_ms[i] - HELPER_OTLP_NOW_NS / 1000000));
        if (b->samples.start_ms[i])
            buf_printf(out, " from %lld",
                       (long long)(b->samples.start_ms[i] - HELPER_OTLP_NOW_NS / 1000000));
        buf_str(out, "\n");
    }
    for (uint32_t i = 0; i < b->hists.count; i++) {
        dump_labels(tsdb_registry_info(series, b->hists.series[i])->labels, out);
        buf_str(out, " ");
        dump_hist(&b->hists.value[i], out);
        buf_printf(out, " @%lld\n", (long long)(b->hists.t_ms[i] - HELPER_OTLP_NOW_NS / 1000000));
    }
    for (uint32_t i = 0; i < b->cells.count; i++) {
        const struct tsdb_series_info *info = tsdb_registry_info(series, b->cells.series[i]);
        assert_int_equal(info->kind, TSDB_SERIES_CELLS);
        buf_str(out, "cell ");
        dump_labels(info->labels, out);
        buf_str(out, " += ");
        if (b->cells.hist && b->cells.hist[i])
            dump_hist(b->cells.hist[i], out);
        else
            buf_printf(out, "%lld", (long long)b->cells.add[i]);
        buf_printf(out, " minute %lld\n",
                   (long long)b->cells.minute[i] - (long long)(HELPER_OTLP_NOW_NS / 60000000000));
    }
    for (uint32_t i = 0; i < b->exemplars.count; i++) {
        buf_str(out, "exemplar ");
        dump_labels(tsdb_registry_info(series, b->exemplars.series[i])->labels, out);
        dump_labels(b->exemplars.labels[i], out);
        buf_printf(out, " %g\n", b->exemplars.value[i]);
    }
    for (uint32_t i = 0; i < b->metadata.count; i++)
        buf_printf(out, BYTES_FMT " is a " BYTES_FMT "\n", BYTES_ARG(b->metadata.row[i].family),
                   BYTES_ARG(b->metadata.row[i].type));
    if (tsdb_batch_rejected(b))
        buf_printf(out, "rejected %llu: %s\n", (unsigned long long)tsdb_batch_rejected(b),
                   b->reject_msg.text);
    assert_true(b->received >= tsdb_batch_rejected(b));
}

/* resource: its attributes; scope: fields of the ScopeMetrics before its metrics; metric: the fields of one Metric, with $T = a minute ago,
 * $S = an hour ago, in quotes. */
static void expect_with(const struct otlp_translation *translation, const char *resource,
                        const char *scope, const char *metric, const char *wanted)
{
    char t[32], s[32];
    struct tsdb_registry *series = tsdb_registry_new(0);
    struct tsdb_batch *b;
    struct err_msg msg;
    struct buf json, out;
    size_t size;
    snprintf(t, sizeof(t), "\"%lld\"", (long long)(HELPER_OTLP_NOW_NS - INT64_C(60000000000)));
    snprintf(s, sizeof(s), "\"%lld\"", (long long)(HELPER_OTLP_NOW_NS - INT64_C(3600000000000)));
    buf_init(&json, 0);
    buf_init(&out, 0);
    buf_printf(&json, "{\"resourceMetrics\":[{\"resource\":{\"attributes\":[%s]},", resource);
    buf_printf(&json, "\"scopeMetrics\":[{%s\"metrics\":[{", scope);
    for (; *metric; metric++) {
        if (*metric == '$')
            buf_str(&json, *++metric == 'T' ? t : s);
        else
            buf_u8(&json, (uint8_t)*metric);
    }
    buf_str(&json, "}]}]}]}");
    uint8_t *body = buf_take(&json, &size);
    struct otlp_decode_options o = helper_otlp_options(TSDB_SAMPLES, OTLP_JSON, series);
    if (translation)
        o.translation = *translation;
    if (otlp_decode(&o, body, size, &b, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    dump(b, series, &out);
    buf_u8(&out, 0);
    assert_string_equal((char *)out.data, wanted);
    buf_done(&out);
    tsdb_batch_free(b);
    tsdb_registry_free(series);
}

static void expect(const char *resource, const char *metric, const char *wanted)
{
    expect_with(NULL, resource, "", metric, wanted);
}

#define STR(key, value) "{\"key\":\"" key "\",\"value\":{\"stringValue\":\"" value "\"}}"

static void names_and_units_are_translated_as_prometheus_does(void **state)
{
    static const struct {
        const char *name, *unit;
        enum metric_name_kind kind;
        const char *wanted;
    } cases[] = {
        {"gen_ai.client.token.usage", "{token}", METRIC_NAME_PLAIN, "gen_ai_client_token_usage"},
        {"gen_ai.client.operation.duration", "s", METRIC_NAME_PLAIN,
         "gen_ai_client_operation_duration_seconds"},
        {"http.requests", "1", METRIC_NAME_COUNTER, "http_requests_total"},
        {"total.requests", "", METRIC_NAME_COUNTER, "requests_total"},
        {"cpu.utilization", "1", METRIC_NAME_GAUGE, "cpu_utilization_ratio"},
        {"ratio.of.use", "1", METRIC_NAME_GAUGE, "of_use_ratio"},
        {"system.io", "By/s", METRIC_NAME_GAUGE, "system_io_bytes_per_second"},
        {"speed", "m/s", METRIC_NAME_GAUGE, "speed_meters_per_second"},
        {"latency.seconds", "s", METRIC_NAME_PLAIN, "latency_seconds"},
        {"9th.wave", "", METRIC_NAME_PLAIN, "_9th_wave"},
        {"a__b--c", "", METRIC_NAME_PLAIN, "a_b_c"},
        {"job:rate", "%", METRIC_NAME_GAUGE, "job:rate_percent"},
        {"cost", "USD", METRIC_NAME_COUNTER, "cost_USD_total"},
        {"x", "{thing}/s", METRIC_NAME_PLAIN, "x_per_second"},
        {"x", "weird-unit!", METRIC_NAME_PLAIN, "x_weird_unit"},
    };
    struct buf out;
    buf_init(&out, 0);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        buf_clear(&out);
        assert_true(metric_name_build(bytes_str(cases[i].name), bytes_str(cases[i].unit),
                                      cases[i].kind, OTLP_UNDERSCORE_WITH_SUFFIXES, &out));
        buf_u8(&out, 0);
        assert_string_equal((char *)out.data, cases[i].wanted);
    }
    assert_false(metric_name_build(BYTES_LIT("..."), BYTES_NONE, METRIC_NAME_PLAIN,
                                   OTLP_UNDERSCORE_WITH_SUFFIXES, &out));
    static const char *const labels[][2] = {{"http.method", "http_method"},
                                            {"9lives", "key_9lives"},
                                            {"_x", "key_x"},
                                            {"__x", "__x"},
                                            {"größe", "gr__e"},
                                            {"a..b", "a__b"},
                                            {"a:b", "a_b"}};
    for (size_t i = 0; i < ARRAY_LEN(labels); i++) {
        buf_clear(&out);
        metric_name_label(bytes_str(labels[i][0]), OTLP_UNDERSCORE_WITHOUT_SUFFIXES, &out);
        buf_u8(&out, 0);
        assert_string_equal((char *)out.data, labels[i][1]);
    }
    buf_done(&out);
}

/* What the translator of Prometheus makes of the same names. */
static void each_strategy_names_as_the_translator_does(void **state)
{
    static const struct {
        const char *name, *unit;
        enum metric_name_kind kind;
        const char *plain, *utf8; /* without suffixes; as it was sent, with suffixes */
    } cases[] = {
        {"metric@with#special$chars", "", METRIC_NAME_GAUGE, "metric_with_special_chars",
         "metric@with#special$chars"},
        {"metric@@##$$name", "s", METRIC_NAME_PLAIN, "metric_name", "metric@@##$$name_seconds"},
        {"123metric", "", METRIC_NAME_GAUGE, "_123metric", "123metric"},
        {"@1x", "", METRIC_NAME_GAUGE, "_1x", "@1x"},
        {"a__b", "1", METRIC_NAME_GAUGE, "a__b", "a__b_ratio"},
        {"requests_total", "", METRIC_NAME_COUNTER, "requests_total", "requests_total"},
        {"cpu_usage_ratio", "1", METRIC_NAME_GAUGE, "cpu_usage_ratio", "cpu_usage_ratio"},
        {"cpu_seconds_total", "s", METRIC_NAME_COUNTER, "cpu_seconds_total", "cpu_seconds_total"},
        {"requêsts", "1/s", METRIC_NAME_GAUGE, "requ_sts", "requêsts_per_second"},
        {"io.bytes.per_second", "By/s", METRIC_NAME_GAUGE, "io_bytes_per_second",
         "io.bytes_per_second"},
        {"respønse_time", "ms", METRIC_NAME_PLAIN, "resp_nse_time", "respønse_time_milliseconds"},
        {"x", "{thing}", METRIC_NAME_COUNTER, "x", "x_total"},
        {"_", "", METRIC_NAME_GAUGE, "_", "_"},
        {"@#$%", "", METRIC_NAME_COUNTER, NULL, "@#$%_total"},
        {"é_", "", METRIC_NAME_GAUGE, NULL, "é_"},
        {"", "s", METRIC_NAME_COUNTER, NULL, NULL},
    };
    struct buf out;
    buf_init(&out, 0);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct bytes name = bytes_str(cases[i].name), unit = bytes_str(cases[i].unit);
        const struct {
            enum otlp_strategy strategy;
            const char *wanted;
        } each[] = {{OTLP_UNDERSCORE_WITHOUT_SUFFIXES, cases[i].plain},
                    {OTLP_UTF8_WITH_SUFFIXES, cases[i].utf8},
                    {OTLP_NO_TRANSLATION, name.size ? cases[i].name : NULL}};
        for (size_t k = 0; k < ARRAY_LEN(each); k++) {
            buf_clear(&out);
            bool built = metric_name_build(name, unit, cases[i].kind, each[k].strategy, &out);
            assert_int_equal(built, each[k].wanted != NULL);
            buf_u8(&out, 0);
            if (built)
                assert_string_equal((char *)out.data, each[k].wanted);
        }
    }
    static const char *const units[][2] = {
        {"By/s", "bytes_per_second"},
        {"1", ""},
        {"1/s", "per_second"},
        {"{req}/min", "per_min"},
        {"{req}", ""},
        {"unit@with#special/chars", "unit_with_special_per_chars"}};
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        buf_clear(&out);
        metric_name_unit(bytes_str(units[i][0]), OTLP_UNDERSCORE_WITH_SUFFIXES, &out);
        buf_u8(&out, 0);
        assert_string_equal((char *)out.data, units[i][1]);
    }
    enum otlp_strategy s;
    assert_true(otlp_translation_strategy("NoTranslation", &s) && s == OTLP_NO_TRANSLATION);
    assert_false(otlp_translation_strategy("notranslation", &s));
    buf_done(&out);
}

#define SHOP_RESOURCE          \
    STR("service.name", "api") \
    "," STR("k8s.pod", "p1") "," STR("k8s/pod", "p2") "," STR("host", "h")
#define HITS                                                                                      \
    "\"name\":\"http.hits\",\"unit\":\"By/s\",\"sum\":{\"aggregationTemporality\":2,"             \
    "\"isMonotonic\":true,\"dataPoints\":[{\"timeUnixNano\":$T,\"asInt\":3,\"attributes\":[" STR( \
        "http.code", "200") "," STR("host", "mine") "]}]}"

static void names_stay_as_sent_where_they_are_not_escaped(void **state)
{
    struct otlp_translation t = {.strategy = OTLP_NO_TRANSLATION};
    expect_with(&t, STR("service.name", "api") "," STR("host.name", "h1"), "", HITS,
                "{__name__=http.hits,host=mine,http.code=200,job=api} 3 @-60000\n"
                "{__name__=target_info,host.name=h1,job=api} 1 @-60000\n"
                "http.hits is a counter\ntarget_info is a gauge\n");
    t.strategy = OTLP_UTF8_WITH_SUFFIXES;
    expect_with(&t, "", "", HITS,
                "{__name__=http.hits_bytes_per_second_total,host=mine,http.code=200} 3 @-60000\n"
                "http.hits_bytes_per_second_total is a counter\n");
}

static void resource_attributes_are_promoted_and_give_way(void **state)
{
    static const char *const names[] = {"k8s.pod", "host", "k8s/pod"};
    struct otlp_translation t = {.promote = names, .promote_count = 3};
    /* two keys of one name: the first stands; the point's own host stands; target_info promotes nothing */
    expect_with(&t, SHOP_RESOURCE, "", HITS,
                "{__name__=http_hits_bytes_per_second_total,host=mine,http_code=200,job=api,"
                "k8s_pod=p1} 3 @-60000\n"
                "{__name__=target_info,host=h,job=api,k8s_pod=p1;p2} 1 @-60000\n"
                "http_hits_bytes_per_second_total is a counter\ntarget_info is a gauge\n");
    static const char *const ignored[] = {"host", "service.name"};
    t = (struct otlp_translation){
        .promote = ignored, .promote_count = 2, .promote_all = true, .keep_identifying = true};
    expect_with(&t, SHOP_RESOURCE, "", HITS,
                "{__name__=http_hits_bytes_per_second_total,host=mine,http_code=200,job=api,"
                "k8s_pod=p1} 3 @-60000\n"
                "{__name__=target_info,host=h,job=api,k8s_pod=p1;p2,service_name=api} 1 @-60000\n"
                "http_hits_bytes_per_second_total is a counter\ntarget_info is a gauge\n");
    /* identity alone makes no target_info, kept or not */
    expect_with(&t, STR("service.name", "api"), "", HITS,
                "{__name__=http_hits_bytes_per_second_total,host=mine,http_code=200,job=api} 3 "
                "@-60000\nhttp_hits_bytes_per_second_total is a counter\n");
}

#define SCOPE                                                                   \
    "\"schemaUrl\":\"http://"                                                   \
    "s\",\"scope\":{\"name\":\"lib\",\"version\":\"1.2\",\"attributes\":[" STR( \
        "short.name", "l") "," STR("name", "x") "]},"

static void scopes_types_and_units_become_labels(void **state)
{
    struct otlp_translation t = {.promote_scope = true, .type_and_unit = true};
    expect_with(&t, "", SCOPE, HITS,
                "{__name__=http_hits_bytes_per_second_total,__type__=counter,"
                "__unit__=bytes_per_second,host=mine,http_code=200,otel_scope_name=lib,"
                "otel_scope_schema_url=http://s,otel_scope_short_name=l,otel_scope_version=1.2} 3 "
                "@-60000\nhttp_hits_bytes_per_second_total is a counter\n");
    /* a scope without a name is none */
    t.type_and_unit = false;
    expect_with(&t, "", "\"scope\":{\"version\":\"1\"},",
                "\"name\":\"x\",\"gauge\":{\"dataPoints\":[{\"timeUnixNano\":$T,\"asInt\":1}]}",
                "{__name__=x} 1 @-60000\nx is a gauge\n");
}

/* What is remembered of a series under one setting must not be taken for one of another. */
static void settings_do_not_share_what_is_remembered(void **state)
{
    static const char *const names[] = {"host"};
    const struct otlp_translation settings[] = {
        {.strategy = OTLP_UNDERSCORE_WITHOUT_SUFFIXES},
        {.strategy = OTLP_NO_TRANSLATION},
        {.promote = names, .promote_count = 1},
        {.promote_scope = true},
        {.type_and_unit = true},
    };
    struct tsdb_registry *series = tsdb_registry_new(0);
    static const char body[] = "{\"resourceMetrics\":[{\"resource\":{\"attributes\":[" STR(
        "host", "h") "]},"
                     "\"scopeMetrics\":[{\"scope\":{\"name\":\"lib\"},\"metrics\":[{\"name\":\"x\","
                     "\"gauge\":"
                     "{\"dataPoints\":[{\"timeUnixNano\":\"%lld\",\"asInt\":1,\"attributes\":[" STR(
                         "a.b", "c") "]}]}}]}]}]}";
    struct tsdb_ref seen[ARRAY_LEN(settings)];
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
        struct otlp_decode_options o = helper_otlp_options(TSDB_SAMPLES, OTLP_JSON, series);
        struct tsdb_batch *b;
        struct err_msg msg;
        struct buf json;
        size_t size;
        o.translation = settings[i];
        buf_init(&json, 0);
        buf_printf(&json, body, (long long)HELPER_OTLP_NOW_NS);
        uint8_t *text = buf_take(&json, &size);
        if (otlp_decode(&o, text, size, &b, &msg) != ERR_OK)
            fail_msg("%s", msg.text);
        assert_int_equal(b->samples.count, 1);
        seen[i] = b->samples.series[0];
        tsdb_batch_free(b);
    }
    for (size_t i = 0; i < ARRAY_LEN(settings); i++)
        for (size_t k = 0; k < i; k++) /* the first escapes a label and has no suffix to show */
            assert_int_not_equal(seen[i].v, seen[k].v);
    tsdb_registry_free(series);
}

static void more_labels_than_a_series_may_have_are_refused(void **state)
{
    struct otlp_translation t = {.promote_all = true};
    struct buf resource;
    buf_init(&resource, 0);
    for (int i = 0; i < 200; i++)
        buf_printf(&resource, "%s{\"key\":\"k%d\",\"value\":{\"stringValue\":\"v\"}}", i ? "," : "",
                   i);
    buf_u8(&resource, 0);
    expect_with(&t, (char *)resource.data, "",
                "\"name\":\"x\",\"gauge\":{\"dataPoints\":[{\"timeUnixNano\":$T,\"asInt\":1}]}",
                "rejected 1: metric \"x\": a point has too many attributes, with those of its "
                "resource\n");
    buf_done(&resource);
}

static void gauges_and_cumulative_sums_become_samples(void **state)
{
    expect(STR("service.name", "api") "," STR("service.namespace",
                                              "shop") "," STR("service.instance.id", "i-1"),
           "\"name\":\"queue.size\",\"gauge\":{\"dataPoints\":[{\"timeUnixNano\":$T,"
           "\"startTimeUnixNano\":$S,\"asInt\":\"-7\",\"attributes\":[" STR(
               "q.name", "in") "]},"
                               "{\"timeUnixNano\":$T,\"flags\":1,\"attributes\":[" STR(
                                   "q.name", "out") "]}]}",
           "{__name__=queue_size,instance=i-1,job=shop/api,q_name=in} -7 @-60000\n"
           "{__name__=queue_size,instance=i-1,job=shop/api,q_name=out} stale @-60000\n"
           "queue_size is a gauge\n");
    expect("",
           "\"name\":\"hits\",\"sum\":{\"aggregationTemporality\":2,\"isMonotonic\":true,"
           "\"dataPoints\":[{\"timeUnixNano\":$T,\"startTimeUnixNano\":$S,\"asDouble\":2.5}]}",
           "{__name__=hits_total} 2.5 @-60000 from -3600000\nhits_total is a counter\n");
    expect("",
           "\"name\":\"open\",\"sum\":{\"aggregationTemporality\":2,"
           "\"dataPoints\":[{\"timeUnixNano\":$T,\"asInt\":4}]}",
           "{__name__=open} 4 @-60000\nopen is a gauge\n");
}

static void resources_give_target_info_and_our_own_job_is_kept_apart(void **state)
{
    expect(STR("service.name", "telltale") "," STR("host.name", "h1"),
           "\"name\":\"up\",\"gauge\":{\"dataPoints\":[{\"timeUnixNano\":$T,\"asInt\":1,"
           "\"attributes\":[" STR("job", "other") "," STR(
               "__name__", "evil") "]},"
                                   "{\"timeUnixNano\":$S,\"asInt\":1}]}",
           "{__name__=up,exported_job=telltale} 1 @-60000\n"
           "{__name__=up,exported_job=telltale} 1 @-3600000\n"
#define INFO(t) "{__name__=target_info,exported_job=telltale,host_name=h1} 1 @" #t "\n"
           INFO(-3600000) INFO(-3450000) INFO(-3300000) INFO(-3150000) INFO(-3000000) INFO(-2850000)
               INFO(-2700000) INFO(-2550000) INFO(-2400000) INFO(-2250000) INFO(-2100000)
                   INFO(-1950000) INFO(-1800000) INFO(-1650000) INFO(-1500000) INFO(-1350000)
                       INFO(-1200000) INFO(-1050000) INFO(-900000) INFO(-750000) INFO(-600000)
                           INFO(-450000) INFO(-300000) INFO(-150000)
                               INFO(-60000) "up is a gauge\ntarget_info is a gauge\n");
    /* an attribute alone may carry the job too */
    expect("",
           "\"name\":\"up\",\"gauge\":{\"dataPoints\":[{\"timeUnixNano\":$T,\"asInt\":1,"
           "\"attributes\":[" STR("job", "telltale") "]}]}",
           "{__name__=up,exported_job=telltale} 1 @-60000\nup is a gauge\n");
}

static void keys_that_collide_are_joined_in_key_order(void **state)
{
    expect("",
           "\"name\":\"up\",\"gauge\":{\"dataPoints\":[{\"timeUnixNano\":$T,\"asInt\":1,"
           "\"attributes\":[" STR("a_b", "2") "," STR(
               "a.b", "1") ","
                           "{\"key\":\"n\",\"value\":{\"intValue\":\"5\"}},"
                           "{\"key\":\"t\",\"value\":{\"boolValue\":true}}]}]}",
           "{__name__=up,a_b=1;2,n=5,t=true} 1 @-60000\nup is a gauge\n");
}

#define HIST(extra, counts, bounds, count)                                             \
    "\"name\":\"lat\",\"unit\":\"s\",\"histogram\":{\"aggregationTemporality\":" extra \
    ",\"dataPoints\":[{\"timeUnixNano\":$T,\"startTimeUnixNano\":$S,\"count\":" count  \
    ",\"sum\":1.5,\"bucketCounts\":[" counts "],\"explicitBounds\":[" bounds "],"

static void explicit_histograms_become_classic_series_or_custom_cells(void **state)
{
    expect("",
           HIST("2", "1,2,3", "0.1,25000000000000000000000",
                "\"6\"") "\"exemplars\":[{\"timeUnixNano\":$T,\"asDouble\":0.5,\"traceId\":"
                         "\"0102030405060708090a0b0c0d0e0f10\",\"filteredAttributes\":[" STR(
                             "k", "v") "]}]}]}",
           "{__name__=lat_seconds_bucket,le=0.1} 1 @-60000 from -3600000\n"
           "{__name__=lat_seconds_bucket,le=25000000000000000000000} 3 @-60000 from -3600000\n"
           "{__name__=lat_seconds_bucket,le=+Inf} 6 @-60000 from -3600000\n"
           "{__name__=lat_seconds_count} 6 @-60000 from -3600000\n"
           "{__name__=lat_seconds_sum} 1.5 @-60000 from -3600000\n"
           "exemplar {__name__=lat_seconds_bucket,le=25000000000000000000000}"
           "{k=v,trace_id=0102030405060708090a0b0c0d0e0f10} 0.5\n"
           "lat_seconds is a histogram\n");
    expect("", HIST("2", "1,2", "0.0000001", "3") "\"flags\":1}]}",
           "{__name__=lat_seconds_bucket,le=0.0000001} stale @-60000 from -3600000\n"
           "{__name__=lat_seconds_bucket,le=+Inf} stale @-60000 from -3600000\n"
           "{__name__=lat_seconds_count} stale @-60000 from -3600000\n"
           "{__name__=lat_seconds_sum} stale @-60000 from -3600000\n"
           "lat_seconds is a histogram\n");
    expect("", HIST("1", "1,2,3", "0.1,1", "6") "\"flags\":0}]}",
           "cell {__name__=lat_seconds} += schema -53 zero 0 count 6 sum 1.5 pos 0:1,2,3 neg "
           "custom 0.1,1 minute -1\nlat_seconds is a histogram\n");
    struct otlp_translation nhcb = {.custom_buckets = true};
    expect_with(&nhcb, "", "", HIST("2", "1,2,3", "0.1,1", "6") "\"flags\":0}]}",
                "{__name__=lat_seconds} schema -53 zero 0 count 6 sum 1.5 pos 0:1,2,3 neg custom "
                "0.1,1 @-60000\nlat_seconds is a histogram\n");
    expect("", HIST("2", "1,2", "0.1,1", "3") "\"flags\":0}]}",
           "rejected 1: metric \"lat\": there must be one more bucket count than bounds\n");
    expect("", HIST("2", "1,2,3", "1,0.1", "6") "\"flags\":0}]}",
           "rejected 1: metric \"lat\": bounds must rise\n");
    expect("", HIST("2", "1,2,3", "1,2", "7") "\"flags\":0}]}",
           "rejected 1: metric \"lat\": the count is not the sum of the bucket counts\n");
    expect("", HIST("0", "1", "", "1") "\"flags\":0}]}",
           "rejected 1: metric \"lat\": a histogram must say whether it is cumulative or delta\n");
}

#define EXPO(temporality, fields)                                                        \
    "\"name\":\"lat\",\"exponentialHistogram\":{\"aggregationTemporality\":" temporality \
    ",\"dataPoints\":[{\"timeUnixNano\":$T,\"sum\":9," fields "}]}"

static void exponential_histograms_become_native_ones(void **state)
{
    /* their bucket i starts at base^i, ours ends there: 3 becomes 4; two empty buckets are filled, three begin a new span */
    expect("",
           EXPO("2", "\"scale\":2,\"count\":\"8\",\"zeroCount\":1,\"positive\":{\"offset\":3,"
                     "\"bucketCounts\":[1,0,0,2,0,0,0,3]},\"negative\":{\"offset\":-5,"
                     "\"bucketCounts\":[\"1\"]}"),
           "{__name__=lat} schema 2 zero 1 count 8 sum 9 pos 4:1,0,0,2 3:3 neg -4:1 @-60000\n"
           "lat is a histogram\n");
    /* scale 9 is merged by two: 3,4 5,6 -> 1: {3}, 2: {4,5}, 3: {6} */
    expect("",
           EXPO("2", "\"scale\":9,\"count\":10,\"positive\":{\"offset\":3,"
                     "\"bucketCounts\":[1,2,3,4]}"),
           "{__name__=lat} schema 8 zero 0 count 10 sum 9 pos 2:1,5,4 neg @-60000\n"
           "lat is a histogram\n");
    expect("",
           EXPO("1", "\"scale\":0,\"count\":1,\"positive\":{\"offset\":0,"
                     "\"bucketCounts\":[1]}"),
           "cell {__name__=lat} += schema 0 zero 0 count 1 sum 9 pos 1:1 neg minute -1\n"
           "lat is a histogram\n");
    expect("", EXPO("2", "\"scale\":-5,\"count\":0"),
           "rejected 1: metric \"lat\": scales below -4 are not supported\n");
    expect("", EXPO("2", "\"scale\":0,\"count\":5"),
           "rejected 1: metric \"lat\": the count is not the sum of the bucket counts\n");
    expect("", EXPO("2", "\"scale\":0,\"flags\":1"),
           "{__name__=lat} stale @-60000\nlat is a histogram\n");
}

static void summaries_become_quantiles_sum_and_count(void **state)
{
    expect("",
           "\"name\":\"s\",\"summary\":{\"dataPoints\":[{\"timeUnixNano\":$T,\"count\":\"3\","
           "\"sum\":4.5,\"quantileValues\":[{\"quantile\":0.5,\"value\":1},{\"quantile\":1,"
           "\"value\":\"NaN\"}],\"attributes\":[" STR("quantile", "mine") "]}]}",
           "{__name__=s_sum,quantile=mine} 4.5 @-60000\n"
           "{__name__=s_count,quantile=mine} 3 @-60000\n"
           "{__name__=s,quantile=0.5} 1 @-60000\n"
           "{__name__=s,quantile=1} NaN @-60000\n"
           "s is a summary\n");
}

#define DELTA(unit, monotonic, value)                                                \
    "\"name\":\"used\",\"unit\":\"" unit "\",\"sum\":{\"aggregationTemporality\":1," \
    "\"isMonotonic\":" monotonic ",\"dataPoints\":[{\"timeUnixNano\":$T," value "}]}"

static void delta_sums_become_cells_by_minute(void **state)
{
    expect("", DELTA("{token}", "true", "\"asInt\":\"12\""),
           "cell {__name__=used_total} += 12 minute -1\nused_total is a counter\n");
    expect("", DELTA("{token}", "true", "\"asDouble\":12"),
           "cell {__name__=used_total} += 12 minute -1\nused_total is a counter\n");
    /* measured amounts stay what they are, under a name that does not promise a counter */
    expect("", DELTA("USD", "true", "\"asDouble\":0.003"),
           "{__name__=used_USD} 0.003 @-60000\nused_USD is a gauge\n");
    expect("", DELTA("", "false", "\"asInt\":1"),
           "rejected 1: metric \"used\": deltas of a sum that may fall; send it as cumulative\n");
}

static void bad_points_are_refused_one_by_one(void **state)
{
    expect("",
           "\"name\":\"up\",\"gauge\":{\"dataPoints\":[{\"timeUnixNano\":\"5\",\"asInt\":1},"
           "{\"timeUnixNano\":\"1864000000000000000\",\"asInt\":1},{\"timeUnixNano\":$T},"
           "{\"timeUnixNano\":$T,\"asInt\":9}]}",
           "{__name__=up} 9 @-60000\nup is a gauge\nrejected 3: data point at "
           "1970-01-01T00:00:00.000Z is older than the retention keeps "
           "(2025-10-25T16:00:00.000Z)\n");
    expect("",
           "\"name\":\"\\u00e4\",\"gauge\":{\"dataPoints\":[{\"timeUnixNano\":$T,"
           "\"asInt\":1}]}",
           "rejected 1: metric \"ä\": the name is empty, too long, or has no letter\n");
}

/* Five points of five series of one metric, where two series may be. */
static struct tsdb_batch *five_of_two(struct tsdb_registry *series, const char *kind)
{
    struct tsdb_batch *b;
    struct err_msg msg;
    struct buf json;
    size_t size;
    buf_init(&json, 0);
    buf_printf(&json,
               "{\"resourceMetrics\":[{\"scopeMetrics\":[{\"metrics\":[{\"name\":\"m\",%s"
               "\"dataPoints\":[",
               kind);
    for (int i = 0; i < 5; i++)
        buf_printf(&json,
                   "%s{\"timeUnixNano\":\"%lld\",\"asInt\":1,\"attributes\":[{\"key\":\"k\","
                   "\"value\":{\"intValue\":%d}}]}",
                   i ? "," : "", (long long)HELPER_OTLP_NOW_NS, i);
    buf_str(&json, "]}}]}]}]}");
    uint8_t *body = buf_take(&json, &size);
    assert_int_equal(helper_otlp_decode(TSDB_SAMPLES, OTLP_JSON, series, body, size, &b, &msg),
                     ERR_OK);
    assert_int_equal(b->received, 5);
    return b;
}

static bool is_overflow(struct tsdb_registry *series, struct tsdb_ref ref)
{
    return bytes_equal_str(
        tsdb_labels_get(tsdb_registry_info(series, ref)->labels, BYTES_LIT("otel_metric_overflow")),
        "true");
}

static void past_the_limit_of_series_running_totals_are_refused_point_by_point(void **state)
{
    struct tsdb_registry *series = tsdb_registry_new(2);
    struct tsdb_batch *b =
        five_of_two(series, "\"sum\":{\"aggregationTemporality\":2,\"isMonotonic\":true,");
    assert_int_equal(b->samples.count, 2);
    assert_int_equal(b->rejected[TSDB_REJECT_CARDINALITY], 3);
    tsdb_batch_free(b);
    tsdb_registry_free(series);
}

static void past_the_limit_of_series_deltas_are_added_up_in_the_overflow_series(void **state)
{
    struct tsdb_registry *series = tsdb_registry_new(2);
    struct tsdb_batch *b =
        five_of_two(series, "\"sum\":{\"aggregationTemporality\":1,\"isMonotonic\":true,");
    int64_t folded = 0;
    assert_int_equal(b->cells.count, 5);
    assert_int_equal(tsdb_batch_rejected(b), 0);
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(is_overflow(series, b->cells.series[i]), i >= 2);
        folded += i >= 2 ? b->cells.add[i] : 0;
    }
    assert_int_equal(folded, 3);
    assert_int_equal(tsdb_registry_live(series), 3);
    tsdb_batch_free(b);
    tsdb_registry_free(series);
}

static void past_the_limit_of_series_a_gauge_keeps_the_last_value_in_the_overflow_series(
    void **state)
{
    struct tsdb_registry *series = tsdb_registry_new(2);
    struct tsdb_batch *b = five_of_two(series, "\"gauge\":{");
    assert_int_equal(b->samples.count, 5);
    assert_int_equal(tsdb_batch_rejected(b), 0);
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(is_overflow(series, b->samples.series[i]), i >= 2);
    tsdb_batch_free(b);
    tsdb_registry_free(series);
}

/* The gauges named, one point each, decoded into the registry; checks that each sample's series has the right name. */
static void decode_gauges(struct tsdb_registry *series, const char *const *names, unsigned n)
{
    struct tsdb_batch *b;
    struct err_msg msg;
    struct buf json;
    size_t size;
    buf_init(&json, 0);
    buf_str(&json, "{\"resourceMetrics\":[{\"scopeMetrics\":[{\"metrics\":[");
    for (unsigned i = 0; i < n; i++)
        buf_printf(&json,
                   "%s{\"name\":\"%s\",\"gauge\":{\"dataPoints\":[{\"timeUnixNano\":\"%lld\","
                   "\"asInt\":1}]}}",
                   i ? "," : "", names[i], (long long)HELPER_OTLP_NOW_NS);
    buf_str(&json, "]}]}]}");
    uint8_t *body = buf_take(&json, &size);
    assert_int_equal(helper_otlp_decode(TSDB_SAMPLES, OTLP_JSON, series, body, size, &b, &msg),
                     ERR_OK);
    assert_int_equal(b->samples.count, n);
    for (unsigned i = 0; i < n; i++)
        assert_true(bytes_equal_str(
            tsdb_labels_get(tsdb_registry_info(series, b->samples.series[i])->labels,
                            BYTES_LIT("__name__")),
            names[i]));
    tsdb_batch_free(b);
}

static void take_number(struct tsdb_registry *series, int i)
{
    struct arena *a = arena_new(0);
    struct bytes value = arena_printf(a, "%d", i);
    struct tsdb_label label = {BYTES_LIT("taken"), value};
    struct tsdb_labels labels;
    struct tsdb_ref ref;
    assert_int_equal(tsdb_labels_build(&label, 1, a, &labels, NULL), ERR_OK);
    assert_int_equal(tsdb_registry_ref(series, TSDB_ORG_DEFAULT, TSDB_SERIES_SAMPLES, labels, &ref),
                     ERR_OK);
    arena_free(a);
}

/* The thread remembers series by what was sent: neither another order nor another registry may mislead it. */
static void a_remembered_series_is_never_mistaken(void **state)
{
    static const char *const abc[] = {"a", "b", "c"}, *const cab[] = {"c", "a", "b", "a", "c"},
                             *const bxc[] = {"b", "x", "c"};
    for (int round = 0; round < 3; round++) {
        struct tsdb_registry *series = tsdb_registry_new(0);
        for (int i = 0; i < 4 * round; i++) /* numbers that others took */
            take_number(series, i);
        decode_gauges(series, round == 1 ? bxc : abc, 3);
        decode_gauges(series, cab, 5);
        decode_gauges(series, bxc, 3);
        decode_gauges(series, abc, 3);
        assert_int_equal(tsdb_registry_count(series), 4 + 4 * round);
        tsdb_registry_free(series);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_units_are_translated_as_prometheus_does),
        cmocka_unit_test(each_strategy_names_as_the_translator_does),
        cmocka_unit_test(names_stay_as_sent_where_they_are_not_escaped),
        cmocka_unit_test(resource_attributes_are_promoted_and_give_way),
        cmocka_unit_test(scopes_types_and_units_become_labels),
        cmocka_unit_test(settings_do_not_share_what_is_remembered),
        cmocka_unit_test(more_labels_than_a_series_may_have_are_refused),
        cmocka_unit_test(gauges_and_cumulative_sums_become_samples),
        cmocka_unit_test(resources_give_target_info_and_our_own_job_is_kept_apart),
        cmocka_unit_test(keys_that_collide_are_joined_in_key_order),
        cmocka_unit_test(explicit_histograms_become_classic_series_or_custom_cells),
        cmocka_unit_test(exponential_histograms_become_native_ones),
        cmocka_unit_test(summaries_become_quantiles_sum_and_count),
        cmocka_unit_test(delta_sums_become_cells_by_minute),
        cmocka_unit_test(bad_points_are_refused_one_by_one),
        cmocka_unit_test(past_the_limit_of_series_running_totals_are_refused_point_by_point),
        cmocka_unit_test(past_the_limit_of_series_deltas_are_added_up_in_the_overflow_series),
        cmocka_unit_test(
            past_the_limit_of_series_a_gauge_keeps_the_last_value_in_the_overflow_series),
        cmocka_unit_test(a_remembered_series_is_never_mistaken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
