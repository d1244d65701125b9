/* /federate gives the newest sample of each series that matches, and what else a Prometheus client asks of a server is answered in its form. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "tsdb/helper_rows.h"
#include "tsdb/tsdb_registry.h"
#include "web/helper_door.h"

#define NOW_MS (ROWS_T0_NS / 1000000 + 3600000)

static void add(struct door *d, struct tsdb_batch *b, const struct tsdb_label *labels, size_t n,
                int64_t t_ms, double value)
{
    struct tsdb_label sorted[4];
    struct tsdb_labels l;
    struct tsdb_ref ref;
    struct err_msg msg = {""};
    memcpy(sorted, labels, n * sizeof *labels);
    assert_int_equal(tsdb_labels_build(sorted, n, b->arena, &l, &msg), ERR_OK);
    assert_int_equal(
        tsdb_registry_ref(tsdb_series(d->db), TSDB_ORG_DEFAULT, TSDB_SERIES_SAMPLES, l, &ref),
        ERR_OK);
    assert_true(tsdb_batch_add_sample(b, ref, t_ms, value, 0));
    b->received++;
}

static int start(void **state)
{
    struct door *d = door_open();
    struct tsdb_batch *b = tsdb_batch_new(TSDB_ORG_DEFAULT, TSDB_SAMPLES, 4 << 20);
    const struct tsdb_label up[] = {{BYTES_LIT("__name__"), BYTES_LIT("up")},
                                    {BYTES_LIT("job"), BYTES_LIT("a \"b\"\\\n")}},
                            gone[] = {{BYTES_LIT("__name__"), BYTES_LIT("up")},
                                      {BYTES_LIT("job"), BYTES_LIT("gone")}},
                            dotted[] = {{BYTES_LIT("__name__"), BYTES_LIT("gen.ai")},
                                        {BYTES_LIT("a.b"), BYTES_LIT("x")}},
                            plain[] = {{BYTES_LIT("__name__"), BYTES_LIT("plain")}};
    double stale;
    uint64_t bits = UINT64_C(0x7ff0000000000002);
    memcpy(&stale, &bits, sizeof stale);
    add(d, b, up, 2, NOW_MS - 20000, 1);
    add(d, b, up, 2, NOW_MS - 10000, 0.5);
    add(d, b, gone, 2, NOW_MS - 20000, 1);
    add(d, b, gone, 2, NOW_MS - 10000, stale);
    add(d, b, dotted, 2, NOW_MS - 1000, 3e21);
    add(d, b, plain, 1, NOW_MS - 300000, 7); /* as old as the lookback: out */
    b->received_ns = ROWS_T0_NS;
    assert_int_equal(rows_append(d->db, b, NULL), ERR_OK);
    *state = d;
    return 0;
}

/* Prometheus' own form of a tree; the members in the order in which its encoder writes them. */
static void expressions_are_shown_as_prometheus_shows_trees(void **state)
{
    static const struct {
        const char *query, *data;
    } cases[] = {
        {"1e22", "{\"type\":\"numberLiteral\",\"val\":\"10000000000000000000000\"}"},
        {"-0.5 + 2", NULL},
        {"up{job=\"a\"} offset 5m",
         "{\"anchored\":false,\"matchers\":[{\"name\":\"job\",\"type\":\"=\",\"value\":\"a\"},{"
         "\"name\":\"__name__\",\"type\":\"=\",\"value\":\"up\"}],\"name\":\"up\",\"offset\":"
         "300000,"
         "\"smoothed\":false,\"startOrEnd\":null,\"timestamp\":null,\"type\":\"vectorSelector\"}"},
        {"rate(up[5m] @ end())",
         "{\"args\":[{\"anchored\":false,\"matchers\":[{\"name\":\"__name__\",\"type\":\"=\","
         "\"value\":\"up\"}],\"name\":\"up\",\"offset\":0,\"range\":300000,\"smoothed\":false,"
         "\"startOrEnd\":\"end\",\"timestamp\":null,\"type\":\"matrixSelector\"}],\"func\":{"
         "\"argTypes\":[\"matrix\"],\"name\":\"rate\",\"returnType\":\"vector\",\"variadic\":0},"
         "\"type\":\"call\"}"},
        {"sum by (a, b) (x)",
         "{\"expr\":{\"anchored\":false,\"matchers\":[{\"name\":\"__name__\",\"type\":\"=\","
         "\"value\":\"x\"}],\"name\":\"x\",\"offset\":0,\"smoothed\":false,\"startOrEnd\":null,"
         "\"timestamp\":null,\"type\":\"vectorSelector\"},\"grouping\":[\"a\",\"b\"],\"op\":"
         "\"sum\","
         "\"param\":null,\"type\":\"aggregation\",\"without\":false}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct bytes got =
            door_ask_with(*state, "/api/v1/parse_query?", "query", cases[i].query, 200);
        struct bytes want = bytes_str("{\"status\":\"success\",\"data\":");
        assert_true(bytes_has_prefix(got, want));
        got = bytes_slice(got, want.size, got.size - 1);
        if (cases[i].data && !bytes_equal_str(got, cases[i].data))
            fail_msg("%s\n" BYTES_FMT "\n%s", cases[i].query, BYTES_ARG(got), cases[i].data);
    }
    struct bytes sets =
        door_ask_with(*state, "/api/v1/parse_query?", "query", "a and on (i) b > bool 1", 200);
    assert_true(
        bytes_find(sets, BYTES_LIT("\"matching\":{\"card\":\"many-to-many\",\"fillValues\":{"
                                   "\"lhs\":null,\"rhs\":null},\"include\":[],\"labels\":["
                                   "\"i\"],\"on\":true}")) < sets.size);
    assert_true(bytes_find(sets, BYTES_LIT("\"bool\":true")) < sets.size);
    assert_true(bytes_find(sets, BYTES_LIT("\"matching\":null")) < sets.size);
    /* what the parser takes may be deeper than JSON is written: an answer, no crash */
    char deep[600] = "x";
    size_t n = 1;
    for (int i = 0; i < 200; i++)
        n += (size_t)snprintf(deep + n, sizeof deep - n, "+x");
    struct bytes refused = door_ask_with(*state, "/api/v1/parse_query?", "query", deep, 400);
    if (bytes_find(refused, BYTES_LIT("nested too deeply")) == refused.size)
        fail_msg(BYTES_FMT, BYTES_ARG(refused));
    door_ask_with(*state, "/api/v1/parse_query?", "query", "up{", 400);
}

static int stop(void **state)
{
    door_close(*state);
    return 0;
}

static void federation_gives_the_newest_samples_as_text(void **state)
{
    struct door *d = *state;
    char want[512];
    snprintf(want, sizeof want,
             "# TYPE \"gen.ai\" untyped\n{\"gen.ai\",\"a.b\"=\"x\"} 3e+21 %lld\n"
             "# TYPE up untyped\nup{job=\"a \\\"b\\\"\\\\\\n\"} 0.5 %lld\n",
             (long long)(NOW_MS - 1000), (long long)(NOW_MS - 10000));
    struct bytes got =
        door_ask(d, "/federate?match[]=%7B__name__%3D~%22.%2B%22%7D&match[]=up", 200);
    if (!bytes_equal_str(got, want))
        fail_msg("%.*s", (int)got.size, (const char *)got.data);
    assert_int_equal(door_ask(d, "/federate?match[]=nothing", 200).size, 0);
    assert_int_equal(door_ask(d, "/federate", 200).size, 0);
    (void)door_ask(d, "/federate?match[]=%7B", 400);
}

static void a_server_that_scrapes_nothing_says_so(void **state)
{
    struct door *d = *state;
    static const struct {
        const char *path, *data;
    } cases[] = {
        {"/api/v1/targets",
         "{\"activeTargets\":[],\"droppedTargets\":[],\"droppedTargetCounts\":{}}"},
        {"/api/v1/targets/metadata", "[]"},
        {"/api/v1/alertmanagers", "{\"activeAlertmanagers\":[],\"droppedAlertmanagers\":[]}"},
        {"/api/v1/notifications", "[]"},
        {"/api/v1/status/self_metrics", "[]"},
        {"/api/v1/status/tsdb/blocks", "{\"blocks\":[]}"},
        {"/api/v1/status/flags", "{}"},
        {"/api/v1/status/config", "{\"yaml\":\"\"}"},
        {"/api/v1/status/walreplay", "{\"min\":0,\"max\":0,\"current\":0,\"state\":\"done\"}"},
        {"/api/v1/status/runtimeinfo", "{\"startTime\":\"2026-11-20T11:00:00.000Z\","
                                       "\"lastConfigTime\":\"2026-11-20T11:00:00.000Z\"}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char want[256];
        snprintf(want, sizeof want, "{\"status\":\"success\",\"data\":%s}", cases[i].data);
        struct bytes got = door_ask(d, cases[i].path, 200);
        if (!bytes_equal_str(got, want))
            fail_msg("%s: %.*s", cases[i].path, (int)got.size, (const char *)got.data);
    }
    struct bytes features = door_ask(d, "/api/v1/features", 200);
    assert_true(bytes_find(features, BYTES_LIT("\"remote_write_receiver\":true")) < features.size);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(federation_gives_the_newest_samples_as_text, start, stop),
        cmocka_unit_test_setup_teardown(a_server_that_scrapes_nothing_says_so, start, stop),
        cmocka_unit_test_setup_teardown(expressions_are_shown_as_prometheus_shows_trees, start,
                                        stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
