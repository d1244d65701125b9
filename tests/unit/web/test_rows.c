/* Spans and log records as they are asked for one by one: lists in any order, groups against sums made the slow way, logs by every condition. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/json_in.h"
#include "query/query_spans.h"
#include "tsdb/helper_rows.h"
#include "web/helper_door.h"

#define SPANS 3000u
#define MINUTES 10u

static uint64_t random_of(uint64_t i) /* splitmix64 */
{
    i += UINT64_C(0x9e3779b97f4a7c15);
    i = (i ^ i >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    i = (i ^ i >> 27) * UINT64_C(0x94d049bb133111eb);
    return i ^ i >> 31;
}

/* What span i is. */
struct made {
    unsigned model, minute, tokens;
    bool has_tokens, failed;
    int64_t duration_ns, start_ns;
    int64_t cost_nanousd;
    unsigned weight;
};

static struct made made_of(uint32_t i)
{
    uint64_t r = random_of(i);
    struct made m = {.model = r % 5,
                     .minute = r / 5 % MINUTES,
                     .has_tokens = r / 50 % 4 != 0,
                     .tokens = (unsigned)(r / 200 % 1000),
                     .failed = r / 7 % 20 == 0,
                     .duration_ns = 1000 + (int64_t)(r >> 20) % 5000000000,
                     .cost_nanousd = (int64_t)(random_of(r) % 1000000),
                     .weight = i % 10 == 3 ? 10 : 1};
    m.start_ns = ROWS_T0_NS + m.minute * INT64_C(60000000000) + i * INT64_C(1000000);
    return m;
}

static struct tsdb_batch *spans_batch(void)
{
    static const char *const models[] = {"m0", "m1", "m2", "m3", "m4"};
    static struct buf attrs[SPANS];
    struct tsdb_batch *b = tsdb_batch_new(TSDB_ORG_DEFAULT, TSDB_SPANS, 64 << 20);
    assert_non_null(b);
    for (uint32_t i = 0; i < SPANS; i++) {
        struct made m = made_of(i);
        uint32_t row = tsdb_batch_add_span(b);
        assert_true(row != TSDB_NO_ROW && tsdb_batch_span_column(b, TSDB_SPAN_model) &&
                    tsdb_batch_span_column(b, TSDB_SPAN_cost_nanousd) &&
                    tsdb_batch_span_column(b, TSDB_SPAN_row_class) &&
                    tsdb_batch_span_column(b, TSDB_SPAN_weight));
        buf_clear(&attrs[i]);
        if (m.has_tokens)
            tsdb_attrs_put_i64(&attrs[i], BYTES_LIT("tokens"), m.tokens);
        tsdb_attrs_put_str(&attrs[i], BYTES_LIT("prompt"),
                           i == 77 ? BYTES_LIT("the needle is here") : BYTES_LIT("hay"));
        bytes_put_u64be(b->spans.trace_id[row].b, i / 3 + 1);
        bytes_put_u64be(b->spans.span_id[row].b, i + 1);
        b->spans.start_ns[row] = m.start_ns;
        b->spans.end_ns[row] = m.start_ns + m.duration_ns;
        b->spans.name[row] = BYTES_LIT("chat");
        b->spans.service[row] = i % 2 ? BYTES_LIT("odd") : BYTES_LIT("even");
        b->spans.status[row] = m.failed ? 2 : 0;
        b->spans.attrs[row] = buf_bytes(&attrs[i]);
        b->spans.model[row] = bytes_str(models[m.model]);
        b->spans.row_class[row] = TSDB_CLASS_CALL;
        b->spans.cost_nanousd[row] = m.cost_nanousd;
        b->spans.weight[row] = m.weight * TSDB_WEIGHT_ONE;
    }
    b->received = SPANS;
    b->received_ns = ROWS_T0_NS;
    return b;
}

static const char logs_sent[] =
    "{'resourceLogs':[{'resource':{'attributes':[{'key':'service.name','value':{'stringValue':'api'"
    "}}]},'scopeLogs':[{'scope':{'name':'lib'},'logRecords':["
    "{'timeUnixNano':'1795168800000000000','severityNumber':9,'severityText':'INFO','body':{'"
    "stringValue':'started well'},"
    "'attributes':[{'key':'port','value':{'intValue':'80'}}]},"
    "{'timeUnixNano':'1795168801000000000','severityNumber':17,'body':{'stringValue':'it "
    "broke'},'eventName':'crash',"
    "'traceId':'0a000000000000000000000000000001','spanId':'0000000000000003',"
    "'attributes':[{'key':'port','value':{'intValue':'81'}},{'key':'why','value':{'stringValue':'a "
    "broken needle'}}]}]}]},"
    "{'resource':{'attributes':[{'key':'service.name','value':{'stringValue':'web'}}]},'scopeLogs':"
    "[{'logRecords':["
    "{'timeUnixNano':'1795168802000000000','severityNumber':14,'body':{'kvlistValue':{'values':[{'"
    "key':'k','value':{'stringValue':'deep needle'}}]}}}]}]}]}";

static int start(void **state)
{
    static char text[sizeof logs_sent];
    struct door *d = door_open();
    memcpy(text, logs_sent, sizeof text);
    for (char *p = text; *p; p++)
        if (*p == '\'')
            *p = '"';
    assert_int_equal(rows_append(d->db, spans_batch(), NULL), ERR_OK);
    assert_int_equal(rows_append(d->db, door_decoded(bytes_str(text), TSDB_LOGS, OTLP_JSON), NULL),
                     ERR_OK);
    *state = d;
    return 0;
}

static int stop(void **state)
{
    door_close(*state);
    return 0;
}

static const struct json_node *tree(struct bytes text, struct arena *a)
{
    struct json_node *root = NULL;
    struct err_msg msg = {""};
    assert_int_equal(json_in_tree(arena_copy(a, text), 32, a, &root, &msg), ERR_OK);
    return root;
}

static double number(const struct json_node *n, const char *key)
{
    double v = -1;
    if (!json_get_f64(n, key, &v))
        fail_msg("no number %s", key);
    return v;
}

/* --- groups ------------------------------------------------------------------------------------- */

struct expected {
    double count, errors, with, sum, min, max;
    double sorted[SPANS * 10];
    uint32_t n;
};

static int by_size(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

/* model or minute UINT32_MAX: any. */
static void expect(struct expected *e, unsigned model, unsigned minute, bool of_tokens)
{
    *e = (struct expected){.min = 1e300};
    for (uint32_t i = 0; i < SPANS; i++) {
        struct made m = made_of(i);
        double v = of_tokens ? m.tokens : (double)m.duration_ns / 1e9;
        if ((model != UINT32_MAX && m.model != model) ||
            (minute != UINT32_MAX && (uint64_t)(m.start_ns - ROWS_T0_NS) / 60000000000 != minute))
            continue;
        e->count += m.weight;
        e->errors += m.failed ? m.weight : 0;
        if (of_tokens && !m.has_tokens)
            continue;
        e->with += m.weight;
        e->sum += v * m.weight;
        e->min = MIN(e->min, v);
        e->max = MAX(e->max, v);
        for (unsigned w = 0; w < m.weight; w++)
            e->sorted[e->n++] = v;
    }
    qsort(e->sorted, e->n, sizeof *e->sorted, by_size);
}

static void check_group(const struct json_node *g, const struct expected *e)
{
    assert_float_equal(number(g, "count"), e->count, 1e-6);
    assert_float_equal(number(g, "errors"), e->errors, 1e-6);
    assert_float_equal(number(g, "with"), e->with, 1e-6);
    assert_float_equal(number(g, "sum"), e->sum, e->sum * 1e-9);
    assert_float_equal(number(g, "avg"), e->sum / e->with, e->sum / e->with * 1e-9);
    assert_float_equal(number(g, "min"), e->min, 1e-12 + e->min * 1e-12);
    assert_float_equal(number(g, "max"), e->max, e->max * 1e-12);
    const struct json_node *q = json_get(g, "quantiles")->child;
    static const double at[] = {0.5, 0.99};
    for (size_t i = 0; i < 2; i++, q = q->next) {
        double got, want = e->sorted[(size_t)ceil(at[i] * e->n) - 1];
        assert_true(bytes_to_f64(q->text, &got));
        if (fabs(got - want) > want * QUERY_SPANS_ERROR)
            fail_msg("quantile %g: %g, should be %g", at[i], got, want);
    }
}

static void groups_are_the_sums_of_the_rows(void **state)
{
    struct door *d = *state;
    struct expected *e = malloc(sizeof *e);
    struct err_msg msg;
    for (int pass = 0; pass < 2; pass++) { /* from the head, then from blocks */
        for (int tokens = 0; tokens < 2; tokens++) {
            struct arena *a = arena_new(0);
            char path[160];
            snprintf(path, sizeof path,
                     "/api/telltale/v1/spans/groups?by=llm:model&of=%s&quantiles=0.5,0.99",
                     tokens ? "span.tokens" : "duration");
            const struct json_node *root = tree(door_ask(d, path, 200), a);
            unsigned seen = 0;
            for (const struct json_node *g = json_get(root, "groups")->child; g; g = g->next) {
                expect(e, json_get(g, "by")->child->text.data[1] - (unsigned)'0', UINT32_MAX,
                       tokens);
                check_group(g, e);
                seen++;
            }
            assert_int_equal(seen, 5);
            arena_free(a);
        }
        assert_int_equal(tsdb_flush(d->db, false, &msg), ERR_OK);
    }
    free(e);
}

static void groups_by_time_are_those_of_their_minutes(void **state)
{
    struct door *d = *state;
    struct expected *e = malloc(sizeof *e);
    struct arena *a = arena_new(0);
    const struct json_node *root = tree(
        door_ask(d, "/api/telltale/v1/spans/groups?step=1m&of=duration&quantiles=0.5,0.99", 200),
        a);
    unsigned minute = 0;
    for (const struct json_node *g = json_get(root, "groups")->child; g; g = g->next, minute++) {
        assert_float_equal(number(g, "start_ms"), ROWS_T0_NS / 1e6 + minute * 60000.0, 0.1);
        expect(e, UINT32_MAX, minute, false);
        check_group(g, e);
    }
    assert_int_equal(minute, MINUTES);
    arena_free(a);
    free(e);
}

static void a_query_and_a_range_narrow_the_groups(void **state)
{
    struct door *d = *state;
    struct arena *a = arena_new(0);
    double want = 0, failed = 0;
    for (uint32_t i = 0; i < SPANS; i++) {
        struct made m = made_of(i);
        if (m.model == 2 && m.duration_ns > 1000000000 &&
            m.start_ns < ROWS_T0_NS + INT64_C(300000000000)) {
            want += m.weight;
            failed += m.failed ? m.weight : 0;
        }
    }
    char path[128];
    snprintf(path, sizeof path, "/api/telltale/v1/spans/groups?to=%lld&",
             (long long)((ROWS_T0_NS + INT64_C(300000000000)) / 1000000 - 1));
    const struct json_node *root =
        tree(door_ask_with(d, path, "q", "{ llm:model = \"m2\" && duration > 1s }", 200), a);
    const struct json_node *g = json_get(root, "groups")->child;
    assert_float_equal(number(g, "count"), want, 1e-6);
    assert_float_equal(number(g, "errors"), failed, 1e-6);
    root = tree(door_ask(d, "/api/telltale/v1/spans/groups?contains=needle", 200), a);
    assert_float_equal(number(json_get(root, "groups")->child, "count"), 1, 1e-6);
    arena_free(a);
}

/* --- lists -------------------------------------------------------------------------------------- */

static void lists_come_in_the_order_that_was_asked_for(void **state)
{
    struct door *d = *state;
    struct arena *a = arena_new(0);
    static int64_t costs[SPANS];
    for (uint32_t i = 0; i < SPANS; i++)
        costs[i] = made_of(i).cost_nanousd;
    const struct json_node *root =
        tree(door_ask(d, "/api/telltale/v1/spans?order=llm:cost&limit=50", 200), a);
    const struct json_node *s = json_get(root, "spans")->child;
    for (int k = 0; k < 50; k++, s = s->next) {
        int64_t top = -1, got;
        uint32_t at = 0;
        for (uint32_t i = 0; i < SPANS; i++)
            if (costs[i] > top)
                top = costs[at = i];
        costs[at] = -2;
        assert_true(json_get_i64(json_get(s, "genai"), "cost_nanousd", &got));
        assert_int_equal(got, top);
    }
    assert_null(s);
    root = tree(door_ask(d, "/api/telltale/v1/spans?limit=3", 200), a);
    int64_t before = INT64_MAX, n = 0;
    for (s = json_get(root, "spans")->child; s; s = s->next, n++) {
        int64_t start;
        assert_true(bytes_to_i64(json_get_str(s, "start_ns"), &start));
        assert_true(start <= before);
        before = start;
    }
    assert_int_equal(n, 3);
    root = tree(door_ask_with(d, "/api/telltale/v1/spans?contains=needle&", "q",
                              "{ span.prompt =~ \".*needle.*\" && .tokens != nil || true }", 200),
                a);
    s = json_get(root, "spans")->child;
    assert_true(s && !s->next && bytes_equal_str(json_get_str(s, "span_id"), "000000000000004e"));
    assert_true(
        bytes_equal_str(json_get_str(json_get(s, "fields"), "prompt"), "the needle is here"));
    arena_free(a);
}

static void what_cannot_be_asked_is_refused_with_a_sentence(void **state)
{
    struct door *d = *state;
    static const char *const paths[] = {"/api/telltale/v1/spans?q=%7B%7D%7Ccount()%3E1",
                                        "/api/telltale/v1/spans?order=rootName",
                                        "/api/telltale/v1/spans?limit=0",
                                        "/api/telltale/v1/spans?q=%7B",
                                        "/api/telltale/v1/spans/groups?quantiles=2&of=duration",
                                        "/api/telltale/v1/spans/groups?quantiles=0.5",
                                        "/api/telltale/v1/spans/groups?step=1ms",
                                        "/api/telltale/v1/spans/groups?by=a&by=b&by=c&by=d&by=e",
                                        "/api/telltale/v1/spans/groups?from=5&to=4",
                                        "/api/telltale/v1/logs?severity=loud",
                                        "/api/telltale/v1/logs?trace_id=xy",
                                        "/api/telltale/v1/logs?attr=x"};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++)
        (void)door_ask(d, paths[i], 400);
}

/* --- logs --------------------------------------------------------------------------------------- */

static void logs_are_found_by_every_condition(void **state)
{
    struct door *d = *state;
    static const struct {
        const char *query, *times; /* the last digit of each record's second, newest first */
    } cases[] = {{"", "210"},
                 {"service=api", "10"},
                 {"severity=warn", "21"},
                 {"severity=error", "1"},
                 {"severity=14", "21"},
                 {"event=crash", "1"},
                 {"trace_id=0a000000000000000000000000000001", "1"},
                 {"trace_id=0a000000000000000000000000000001&span_id=0000000000000004", ""},
                 {"attr=port=80", "0"},
                 {"attr=port=81&attr=why=a%20broken%20needle", "1"},
                 {"contains=needle", "21"},
                 {"contains=started", "0"},
                 {"from=1795168801000&to=1795168801000", "1"},
                 {"limit=1", "2"}};
    struct err_msg msg;
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
            struct arena *a = arena_new(0);
            char path[200], found[16] = "";
            snprintf(path, sizeof path, "/api/telltale/v1/logs?%s", cases[i].query);
            const struct json_node *root = tree(door_ask(d, path, 200), a);
            size_t n = 0;
            for (const struct json_node *l = json_get(root, "logs")->child; l; l = l->next)
                found[n++] = (char)json_get_str(l, "time_ns").data[9];
            if (strcmp(found, cases[i].times) != 0)
                fail_msg("%s: found %s", cases[i].query, found);
            arena_free(a);
        }
        assert_int_equal(tsdb_flush(d->db, false, &msg), ERR_OK);
    }
    struct bytes text = door_ask(d, "/api/telltale/v1/logs?event=crash", 200);
    static const char *const pieces[] = {"\"body\":\"it broke\"", "\"level\":\"error\"",
                                         "\"trace_id\":\"0a000000000000000000000000000001\"",
                                         "[\"port\",\"81\"]", "\"service\":\"api\""};
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++)
        if (bytes_find(text, bytes_str(pieces[i])) == text.size)
            fail_msg("%s is missing: %.*s", pieces[i], (int)text.size, (const char *)text.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(groups_are_the_sums_of_the_rows, start, stop),
        cmocka_unit_test_setup_teardown(groups_by_time_are_those_of_their_minutes, start, stop),
        cmocka_unit_test_setup_teardown(a_query_and_a_range_narrow_the_groups, start, stop),
        cmocka_unit_test_setup_teardown(lists_come_in_the_order_that_was_asked_for, start, stop),
        cmocka_unit_test_setup_teardown(what_cannot_be_asked_is_refused_with_a_sentence, start,
                                        stop),
        cmocka_unit_test_setup_teardown(logs_are_found_by_every_condition, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
