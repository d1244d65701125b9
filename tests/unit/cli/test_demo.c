/* The demo's fleet: the same seed gives the same bytes, the bytes are OTLP, and incidents are as large as they say. */
#include "cli/demo_gen.h"
#include "base/clock.h"
#include "base/hash.h"
#include "cli/demo.h"
#include "collector/otlp/otlp.h"
#include "helper_fixture.h"
#include "tsdb/tsdb_read.h"
#include "otlp.pb-c.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define T0 INT64_C(1795168800)

struct made {
    struct demo_gen_totals totals;
    struct hash128 traces, logs, metrics;
    size_t bytes;
};

static struct made make(uint64_t seed, double rate, const char *effect, bool incident,
                        int64_t seconds, int64_t step)
{
    struct demo_gen_options o = {.seed = seed, .rate = rate};
    struct made out;
    struct buf b;
    struct err_msg msg = {""};
    o.effects.live_ms = T0 * 1000;
    if (effect) {
        if (demo_effect_parse(effect, incident, &o.effects.list[0], &msg) != ERR_OK)
            fail_msg("%s", msg.text);
        o.effects.count = 1;
    }
    struct demo_gen *g = demo_gen_new(&o);
    assert_non_null(g);
    for (int64_t at = 0; at < seconds; at += step)
        assert_int_equal(demo_gen_requests(g, T0 + at, T0 + at + step), ERR_OK);
    buf_init(&b, 0);
    demo_gen_traces(g, &b);
    out.traces = hash128(buf_bytes(&b), 0);
    out.bytes = b.size;
    Otlp__ExportTraceServiceRequest *t =
        otlp__export_trace_service_request__unpack(NULL, b.size, b.data);
    assert_non_null(t);
    size_t spans = 0;
    for (size_t i = 0; i < t->n_resource_spans; i++)
        for (size_t k = 0; k < t->resource_spans[i]->n_scope_spans; k++) {
            Otlp__ScopeSpans *s = t->resource_spans[i]->scope_spans[k];
            spans += s->n_spans;
            for (size_t n = 0; n < s->n_spans; n++) {
                assert_int_equal(s->spans[n]->trace_id.len, 16);
                assert_int_equal(s->spans[n]->span_id.len, 8);
                assert_true(s->spans[n]->end_time_unix_nano >= s->spans[n]->start_time_unix_nano);
                assert_true(s->spans[n]->end_time_unix_nano <=
                            (uint64_t)(T0 + seconds) * 1000000000u);
                assert_true(s->spans[n]->n_attributes > 0);
            }
        }
    otlp__export_trace_service_request__free_unpacked(t, NULL);
    buf_clear(&b);
    demo_gen_logs(g, &b);
    out.logs = hash128(buf_bytes(&b), 0);
    Otlp__ExportLogsServiceRequest *l =
        otlp__export_logs_service_request__unpack(NULL, b.size, b.data);
    assert_non_null(l);
    otlp__export_logs_service_request__free_unpacked(l, NULL);
    buf_clear(&b);
    demo_gen_metrics(g, T0, T0 + seconds, &b);
    out.metrics = hash128(buf_bytes(&b), 0);
    Otlp__ExportMetricsServiceRequest *m =
        otlp__export_metrics_service_request__unpack(NULL, b.size, b.data);
    assert_non_null(m);
    assert_true(seconds < 10 || m->n_resource_metrics > 5);
    otlp__export_metrics_service_request__free_unpacked(m, NULL);
    out.totals = *demo_gen_totals_of(g);
    assert_int_equal(spans, out.totals.spans);
    buf_done(&b);
    demo_gen_free(g);
    return out;
}

static void the_same_seed_gives_the_same_bytes(void **state)
{
    struct made a = make(7, 20, NULL, true, 20, 20), b = make(7, 20, NULL, true, 20, 20);
    struct made other = make(8, 20, NULL, true, 20, 20);
    assert_true(a.bytes > 10000);
    assert_true(hash128_equal(a.traces, b.traces) && hash128_equal(a.logs, b.logs) &&
                hash128_equal(a.metrics, b.metrics));
    assert_false(hash128_equal(a.traces, other.traces));
}

static void the_steps_it_is_asked_in_change_nothing(void **state)
{
    struct made a = make(7, 20, NULL, true, 20, 20), b = make(7, 20, NULL, true, 20, 1);
    assert_true(hash128_equal(a.traces, b.traces) && hash128_equal(a.metrics, b.metrics));
}

/* The whole way: OTLP bytes, decoder, normaliser, settler. What the fleet says it did is what is counted, although gateways, model
 * servers, wrappers and agents report the same calls again. */
static void what_the_fleet_did_is_what_is_counted(void **state)
{
    struct demo_gen_options o = {.seed = 11, .rate = 40};
    struct fixture_run r;
    struct arena *a = arena_new(0);
    struct json_node *none;
    struct err_msg msg = {""};
    struct demo_gen *g = demo_gen_new(&o);
    assert_int_equal(json_in_tree(BYTES_LIT("{}"), 8, a, &none, &msg), ERR_OK);
    fixture_run_begin(&r, none, NULL);
    for (int64_t s = 0; s < 30; s++) {
        struct buf b;
        size_t size;
        struct tsdb_batch *batch;
        buf_init(&b, 0);
        assert_int_equal(demo_gen_requests(g, T0 + s, T0 + s + 1), ERR_OK);
        demo_gen_traces(g, &b);
        struct otlp_decode_options d = {.org = TSDB_ORG_DEFAULT,
                                        .signal = TSDB_SPANS,
                                        .encoding = OTLP_PROTOBUF,
                                        .now_ns = (T0 + s + 1) * 1000000000};
        uint8_t *body = buf_take(&b, &size);
        if (otlp_decode(&d, body, size, &batch, &msg) != ERR_OK)
            fail_msg("%s", msg.text);
        assert_int_equal(tsdb_batch_rejected(batch), 0);
        fixture_run_batch(&r, batch);
    }
    const struct demo_gen_totals *t = demo_gen_totals_of(g);
    static const char *const sums[] = {
        "llm_requests_total",
        "llm_requests_total{outcome=\"ok\"}",
        "llm_user_requests_total",
        "llm_user_requests_total{outcome=\"provider_error\"}",
        "llm_tokens_total{type=\"input\",estimated=\"\"}", /* what was said; of cancelled calls it is estimated */
        "llm_tokens_total{type=\"output\",estimated=\"\"}",
        "llm_unpriced_requests_total",
    };
    const uint64_t want[] = {t->calls,
                             t->calls - t->failed_calls,
                             t->requests,
                             t->failed_requests,
                             t->input_tokens,
                             t->output_tokens,
                             0};
    assert_true(t->requests > 1000 && t->failed_calls > 10);
    for (size_t i = 0; i < sizeof sums / sizeof *sums; i++)
        if (fixture_sum(&r, bytes_str(sums[i])) != (double)want[i])
            fail_msg("%s is %g, the fleet did %llu", sums[i], fixture_sum(&r, bytes_str(sums[i])),
                     (unsigned long long)want[i]);
    assert_true(fixture_sum(&r, BYTES_LIT("count llm_gateway_overhead_seconds")) > 50);
    assert_true(fixture_sum(&r, BYTES_LIT("llm_usage_unclaimed_tokens_total")) > 1000);
    assert_true(fixture_sum(&r, BYTES_LIT("llm_cost_nanousd_total")) > 1e9);
    demo_gen_free(g);
    fixture_run_end(&r);
    arena_free(a);
}

static void on_appended(void *ctx, enum err e, const struct tsdb_result *r)
{
    atomic_int *answers = ctx;
    atomic_fetch_add(answers, e == ERR_OK ? 1 : 1000000);
}

static struct tsdb *open_store(const char *dir, struct stage **out_stage)
{
    struct tsdb *db;
    struct err_msg msg = {""};
    assert_int_equal(stage_new(NULL, out_stage, &msg), ERR_OK);
    struct tsdb_options o = {.dir = dir, .settler = stage_settler(*out_stage)};
    if (tsdb_open(&o, &db, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    stage_set_series(*out_stage, tsdb_series(db));
    return db;
}

static void store_seconds(struct tsdb *db, struct stage *stage, struct demo_gen *g, int64_t from,
                          int64_t to)
{
    atomic_int answers = 0;
    struct err_msg msg = {""};
    for (int64_t s = from; s < to; s++) {
        struct buf b;
        size_t size;
        struct tsdb_batch *batch;
        buf_init(&b, 0);
        assert_int_equal(demo_gen_requests(g, s, s + 1), ERR_OK);
        demo_gen_traces(g, &b);
        struct otlp_decode_options d = {.org = TSDB_ORG_DEFAULT,
                                        .signal = TSDB_SPANS,
                                        .encoding = OTLP_PROTOBUF,
                                        .now_ns = (s + 1) * 1000000000};
        uint8_t *body = buf_take(&b, &size);
        if (otlp_decode(&d, body, size, &batch, &msg) != ERR_OK)
            fail_msg("%s", msg.text);
        assert_int_equal(stage_apply(stage, batch, &msg), ERR_OK);
        assert_int_equal(tsdb_append(db, &batch, on_appended, &answers), ERR_OK);
    }
    for (int i = 0; i < 1000 && atomic_load(&answers) < to - from; i++)
        clock_sleep_ms(10);
    assert_int_equal(atomic_load(&answers), to - from);
}

static int64_t stored_sum(struct tsdb *db, const char *family, const char *label, const char *value,
                          int64_t at_s)
{
    struct tsdb_view *v;
    struct tsdb_matcher m[3] = {
        {.op = TSDB_MATCH_EQ, .name = BYTES_LIT("__name__"), .value = bytes_str(family)},
        {.op = TSDB_MATCH_EQ, .name = BYTES_LIT("estimated"), .value = BYTES_LIT("")},
        {.op = TSDB_MATCH_EQ, .name = bytes_str(label), .value = bytes_str(value)}};
    int64_t sum = 0;
    assert_int_equal(tsdb_view_open(db, TSDB_ORG_DEFAULT, NULL, &v), ERR_OK);
    assert_int_equal(tsdb_cells_sum(v, m, label ? 3 : 2, (uint32_t)(at_s / 60 - 60),
                                    (uint32_t)(at_s / 60 + 60), &sum),
                     ERR_OK);
    tsdb_view_close(v);
    return sum;
}

static void assert_stored(struct tsdb *db, const struct demo_gen_totals *t, int64_t at_s)
{
    assert_int_equal(stored_sum(db, "llm_requests_total", NULL, NULL, at_s), t->calls);
    assert_int_equal(stored_sum(db, "llm_requests_total", "outcome", "ok", at_s),
                     t->calls - t->failed_calls);
    assert_int_equal(stored_sum(db, "llm_user_requests_total", NULL, NULL, at_s), t->requests);
    assert_int_equal(stored_sum(db, "llm_tokens_total", "type", "input", at_s), t->input_tokens);
    assert_int_equal(stored_sum(db, "llm_tokens_total", "type", "output", at_s), t->output_tokens);
}

/* The same through the store: read back at once, after a restart that replays the journal, across it, and from sealed parts. */
static void the_store_keeps_the_fleets_sums_across_restart_and_flush(void **state)
{
    char dir[] = "/tmp/telltale-demo-XXXXXX", command[64];
    struct demo_gen_options o = {.seed = 5, .rate = 30};
    struct demo_gen *g = demo_gen_new(&o);
    struct stage *stage;
    struct err_msg msg = {""};
    int64_t t = clock_wall_ms() / 1000 - 100;
    assert_non_null(mkdtemp(dir));
    struct tsdb *db = open_store(dir, &stage);
    store_seconds(db, stage, g, t, t + 12);
    assert_stored(db, demo_gen_totals_of(g), t);
    tsdb_close(db, false);
    stage_free(stage);

    db = open_store(dir, &stage);
    assert_stored(db, demo_gen_totals_of(g), t);
    store_seconds(db, stage, g, t + 12, t + 20);
    assert_stored(db, demo_gen_totals_of(g), t);
    if (tsdb_flush(db, false, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    assert_stored(db, demo_gen_totals_of(g), t);
    tsdb_close(db, true);
    stage_free(stage);

    db = open_store(dir, &stage);
    assert_stored(db, demo_gen_totals_of(g), t);
    tsdb_close(db, false);
    stage_free(stage);
    demo_gen_free(g);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    assert_int_equal(system(command), 0);
}

static double share(uint64_t part, uint64_t whole)
{
    return (double)part / (double)(whole ? whole : 1);
}

/* Five standard deviations of a binomial share. */
static void assert_share(uint64_t part, uint64_t whole, double want)
{
    double got = share(part, whole), sigma = sqrt(want * (1 - want) / (double)whole);
    if (fabs(got - want) > 5 * sigma)
        fail_msg("%g is not %g +- %g", got, want, 5 * sigma);
}

static void incidents_are_as_large_as_they_say(void **state)
{
    const int64_t s = 60;
    struct made calm = make(3, 100, NULL, true, s, s);
    const struct demo_gen_totals *c = &calm.totals, *t;
    assert_share(c->failed_requests, c->requests, 0.005);
    assert_int_equal(c->unsupported + c->leaks + c->misrouted + c->batch_calls, 0);

    struct made m = make(3, 100, "errors,onset=0s,severity=0.02", true, s, s);
    assert_share(m.totals.failed_requests, m.totals.requests, 0.02);

    m = make(3, 100, "cost-spike,onset=0s,severity=0.3", true, s, s);
    t = &m.totals;
    assert_int_equal(t->requests, c->requests);
    assert_true(fabs(share(t->input_tokens, c->input_tokens) - 1.3) < 0.005);
    assert_true(fabs(share(t->output_tokens, c->output_tokens) - 1.3) < 0.005);
    assert_true(fabs(t->request_ms / c->request_ms - 1) < 1e-9); /* cost alone */

    m = make(3, 100, "latency,onset=0s,severity=0.4", true, s, s);
    assert_true(m.totals.request_ms / c->request_ms > 1.33 &&
                m.totals.request_ms / c->request_ms < 1.4);
    assert_int_equal(m.totals.output_tokens, c->output_tokens);

    m = make(3, 100, "truncation,onset=0s,severity=0.2", true, s, s);
    assert_true(share(m.totals.truncated, m.totals.requests) > 0.18);
    m = make(3, 100, "leak,onset=0s", true, s, s);
    assert_share(m.totals.leaks, m.totals.requests - m.totals.failed_requests, 0.05);
    m = make(3, 100, "hallucination,onset=0s,severity=1", true, s, s);
    assert_share(m.totals.unsupported, m.totals.requests,
                 0.34 * 0.995); /* all of the two retrieving services */
    m = make(3, 100, "routing,onset=0s", true, s, s);
    assert_true(m.totals.misrouted > m.totals.calls / 10);
    m = make(3, 100, "backlog,onset=-10m,severity=2", true, s, s);
    assert_true(m.totals.request_ms > c->request_ms * 1.2);
}

static void confounders_change_what_they_say_and_no_more(void **state)
{
    const int64_t s = 60;
    struct made calm = make(3, 60, NULL, true, s, s);
    struct made m = make(3, 60, "traffic,onset=0s", false, s, s);
    assert_true(fabs(share(m.totals.requests, calm.totals.requests) - 3) < 0.2);
    assert_share(m.totals.failed_requests, m.totals.requests, 0.005);
    m = make(3, 60, "deploy,onset=0s", false, s, s);
    assert_int_equal(m.totals.requests, calm.totals.requests);
    assert_int_equal(m.totals.output_tokens, calm.totals.output_tokens);
    assert_false(hash128_equal(m.traces, calm.traces));
    m = make(3, 60, "nightly-batch,onset=0s,severity=1", false, s, s);
    assert_int_equal(m.totals.requests, calm.totals.requests);
    assert_true(fabs(share(m.totals.batch_calls, calm.totals.requests) - 1) < 0.15);
    m = make(3, 60, "model-mix,onset=0s", false, s, s);
    assert_int_equal(m.totals.misrouted, 0);
}

static void an_incident_begins_at_its_onset_and_ends(void **state)
{
    struct demo_effects e = {.count = 1, .live_ms = T0 * 1000};
    struct err_msg msg;
    assert_int_equal(
        demo_effect_parse("latency,onset=1m,for=2m,severity=0.7", true, &e.list[0], &msg), ERR_OK);
    int64_t elapsed = -1;
    assert_true(demo_effect_at(&e, DEMO_EFFECT_LATENCY, T0 * 1000 + 59999, &elapsed) == 0);
    assert_true(demo_effect_at(&e, DEMO_EFFECT_LATENCY, T0 * 1000 + 61000, &elapsed) == 0.7);
    assert_int_equal(elapsed, 1000);
    assert_true(demo_effect_at(&e, DEMO_EFFECT_LATENCY, T0 * 1000 + 180000, &elapsed) == 0);
    assert_true(demo_effect_at(&e, DEMO_EFFECT_ERRORS, T0 * 1000 + 61000, &elapsed) == 0);
}

static void bad_arguments_are_named(void **state)
{
    struct demo_effect e;
    struct err_msg msg;
    assert_int_equal(demo_effect_parse("slowness", true, &e, &msg), ERR_INVALID);
    assert_true(bytes_find(bytes_str(msg.text), BYTES_LIT("cost-spike")) < strlen(msg.text));
    assert_int_equal(demo_effect_parse("traffic", true, &e, &msg), ERR_INVALID);
    assert_int_equal(demo_effect_parse("errors,severity=much", true, &e, &msg), ERR_INVALID);
    assert_int_equal(demo_effect_parse("errors,begin=3m", true, &e, &msg), ERR_INVALID);
    char a[] = "--rate", b[] = "fast", c[] = "--wat";
    char *bad[] = {a, b}, *unknown[] = {c};
    assert_int_equal(demo_main(2, bad), 2);
    assert_int_equal(demo_main(1, unknown), 2);
    assert_int_equal(demo_main(1, (char *[]){a}), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_seed_gives_the_same_bytes),
        cmocka_unit_test(the_steps_it_is_asked_in_change_nothing),
        cmocka_unit_test(what_the_fleet_did_is_what_is_counted),
        cmocka_unit_test(the_store_keeps_the_fleets_sums_across_restart_and_flush),
        cmocka_unit_test(incidents_are_as_large_as_they_say),
        cmocka_unit_test(confounders_change_what_they_say_and_no_more),
        cmocka_unit_test(an_incident_begins_at_its_onset_and_ends),
        cmocka_unit_test(bad_arguments_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
