/* What the ready-made indicators count, exactly; slices; thresholds out of reach; objectives of others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/check.h"
#include "query/helper_slo.h"
#include "query/query_slo_import.h"
#include "query/query_slo_replay.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define BASE 29700000u /* a whole hour, and a whole day of UTC: 29700000 = 20625 x 1440 */

struct one {
    struct query_slo_set set;
    struct helper_slo *cells;
    struct query_slo_source src;
};

static const struct query_slo *load(struct one *o, const char *indicator, const char *method,
                                    const char *objective)
{
    char text[1024];
    struct buf errors;
    *o = (struct one){.cells = helper_slo_new()};
    o->src = helper_slo_source(o->cells);
    snprintf(text, sizeof(text),
             "apiVersion: openslo/v1\nkind: SLO\nmetadata: {name: one}\nspec:\n  service: shop\n"
             "  indicator: {spec: {llm: {indicator: %s}}}\n"
             "  timeWindow: [{duration: 28d, isRolling: true}]\n  budgetingMethod: %s\n"
             "  objectives: [{%s}]\n",
             indicator, method, objective);
    buf_init(&errors, 0);
    assert_int_equal(query_slo_set_init(&o->set), ERR_OK);
    if (query_slo_load_text(&o->set, "test", bytes_str(text), &errors) != ERR_OK)
        fail_msg("%.*s", (int)errors.size, errors.data);
    buf_done(&errors);
    return &o->set.slos[0];
}

static void drop(struct one *o)
{
    query_slo_set_done(&o->set);
    helper_slo_free(o->cells);
}

static void add(struct one *o, const char *family, const char *label, const char *value,
                uint32_t minute, int64_t n)
{
    struct helper_slo_label labels[] = {{"__name__", family},  {"service", "shop"},
                                        {"operation", "chat"}, {"model", "gpt-4o"},
                                        {label, value},        {NULL, NULL}};
    helper_slo_add(o->cells, labels, minute, n);
}

static void add_call(struct one *o, const char *outcome, const char *fault, int64_t n)
{
    struct helper_slo_label labels[] = {{"__name__", "llm_requests_total"},
                                        {"service", "shop"},
                                        {"operation", "chat"},
                                        {"outcome", outcome},
                                        {"fault", fault},
                                        {NULL, NULL}};
    helper_slo_add(o->cells, labels, BASE, n);
}

static struct query_slo_counts count(struct one *o, uint32_t from, uint32_t to)
{
    struct query_slo_counts sum = {0}, again = {0}, replayed = {0};
    struct query_slo_counts *minutes = calloc(to - from, sizeof(*minutes));
    struct query_slo_replay *r = NULL;
    const struct query_slo *s = &o->set.slos[0];
    assert_non_null(minutes);
    assert_int_equal(query_slo_source_sum(&o->src, s, from, to, &sum), ERR_OK);
    assert_int_equal(query_slo_source_minutes(&o->src, s, from, to, minutes), ERR_OK);
    for (uint32_t i = 0; i < to - from; i++) {
        again.good += minutes[i].good;
        again.bad += minutes[i].bad;
        again.excluded += minutes[i].excluded;
        again.missing += minutes[i].missing;
    }
    assert_memory_equal(&sum, &again, sizeof(sum));
    assert_int_equal(query_slo_replay_new(&o->src, s, from - 1500, to + 10, &r), ERR_OK);
    struct query_slo_source src = query_slo_replay_source(r);
    assert_int_equal(query_slo_source_sum(&src, s, from, to, &replayed), ERR_OK);
    assert_memory_equal(&sum, &replayed, sizeof(sum));
    query_slo_replay_free(r);
    free(minutes);
    return sum;
}

static void expect(struct one *o, int64_t good, int64_t bad, int64_t excluded)
{
    struct query_slo_counts c = count(o, BASE - 10, BASE + 10);
    assert_int_equal(c.good, good);
    assert_int_equal(c.bad, bad);
    assert_int_equal(c.excluded, excluded);
}

/* --- events -------------------------------------------------------------------------------------- */

static void add_outcomes(struct one *o)
{
    add_call(o, "ok", "", 1000);
    add_call(o, "blocked", "policy", 50);
    add_call(o, "provider_error", "provider", 7);
    add_call(o, "rate_limited", "platform", 5);
    add_call(o, "timeout", "provider", 3);
    add_call(o, "stream_cut", "provider", 2);
    add_call(o, "abandoned", "provider", 1);
    add_call(o, "empty", "provider", 11);
    add_call(o, "invalid", "provider", 13);
    add_call(o, "caller_error", "caller", 17);
    add_call(o, "caller_error", "platform", 19);
    add_call(o, "cancelled", "caller", 23);
    add_call(o, "quota_denied", "policy", 29);
    add_call(o, "of_tomorrow", "", 31);
}

static void failures_of_the_api_and_of_the_model_are_counted_apart(void **state)
{
    (void)state;
    struct one o;
    load(&o, "error-rate-api", "Occurrences", "target: 0.999");
    add_outcomes(&o);
    expect(&o, 1000 + 50 + 11 + 13, 7 + 5 + 3 + 2 + 1 + 19, 17 + 23 + 29 + 31);
    drop(&o);
    load(&o, "error-rate-model", "Occurrences", "target: 0.999");
    add_outcomes(&o);
    expect(&o, 1000 + 50, 11 + 13, 17 + 23 + 29 + 31);
    drop(&o);
    load(&o, "availability-call", "Occurrences", "target: 0.999");
    add_outcomes(&o);
    expect(&o, 1000 + 50, 7 + 5 + 3 + 2 + 1 + 19 + 11 + 13, 17 + 23 + 29 + 31);
    drop(&o);
}

static void cache_routes_and_checks_count_what_their_labels_say(void **state)
{
    (void)state;
    struct one o;
    load(&o, "cache-hit-rate, cache: semantic", "Occurrences", "target: 0.9");
    for (int k = 0; k < 2; k++)
        for (int r = 0; r < 3; r++) {
            static const char *const results[] = {"hit", "miss", "stale"};
            struct helper_slo_label labels[] = {{"__name__", "llm_cache_lookups_total"},
                                                {"service", "shop"},
                                                {"kind", k ? "prefix" : "semantic"},
                                                {"result", results[r]},
                                                {NULL, NULL}};
            helper_slo_add(o.cells, labels, BASE, 10 * (r + 1) + k);
        }
    expect(&o, 10, 20 + 30, 0);
    drop(&o);
    load(&o, "routing-success", "Occurrences", "target: 0.99");
    add(&o, "llm_route_decisions_total", "result", "match", BASE, 90);
    add(&o, "llm_route_decisions_total", "result", "mismatch", BASE, 4);
    add(&o, "llm_route_decisions_total", "result", "fallback", BASE, 6);
    expect(&o, 90, 10, 0);
    drop(&o);
    load(&o, "hallucination-rate", "Occurrences", "target: 0.95");
    add(&o, "llm_grounding_sampled_total", "result", "passed", BASE, 180);
    add(&o, "llm_grounding_sampled_total", "result", "flagged", BASE, 20);
    add(&o, "llm_grounding_flagged_total", "", "", BASE, 500); /* picked ones do not count */
    expect(&o, 180, 20, 0);
    drop(&o);
}

/* 20 of 200 flagged: 10 %. With a sensitivity of 0.8 and 4 % false positives the rate is 6 / 76. */
static void flags_are_corrected_and_page_on_200_checked(void **state)
{
    (void)state;
    struct one o;
    const struct query_slo *s =
        load(&o, "hallucination-rate, sensitivity: 0.8, falsePositives: 0.04", "Occurrences",
             "target: 0.99");
    struct query_slo_counts c = {.good = 180, .bad = 20};
    assert_true(fabs(query_slo_ratio_of(s, &c) - 0.06 / 0.76) < 1e-12);
    assert_true(fabs(query_slo_burn_of(s, &c) - 0.06 / 0.76 / 0.01) < 1e-9);
    const struct query_slo_rule *fast = &s->rules[0], *slow = &s->rules[1];
    assert_true(fast->factor > 13 && slow->factor > 5.5 && slow->factor < 6);
    assert_int_equal(query_slo_judge_for(s, fast, &c, &c), QUERY_SLO_QUIET); /* 7.9 < 13.4 */
    /* The lower bound of 10 % of 200 is 7.1 %; corrected 4.0 %: below 5.6 %. */
    assert_int_equal(query_slo_judge_for(s, slow, &c, &c), QUERY_SLO_QUIET);
    struct query_slo_counts many = {.good = 1800, .bad = 200};
    assert_int_equal(query_slo_judge_for(s, slow, &many, &many), QUERY_SLO_BURNS_PAGE);
    struct query_slo_counts few = {.good = 119, .bad = 80}, enough = {.good = 120, .bad = 80};
    assert_int_equal(query_slo_judge_for(s, slow, &few, &few), QUERY_SLO_BURNS_TICKET);
    assert_int_equal(query_slo_judge_for(s, slow, &enough, &enough), QUERY_SLO_BURNS_PAGE);
    struct query_slo_counts none = {0},
                            clean = {.good = 500, .bad = 10}; /* below false positives */
    assert_int_equal(query_slo_judge_for(s, slow, &none, &none), QUERY_SLO_NO_EVENTS);
    double low, high;
    query_slo_checked_interval(s, &c, &low, &high); /* of 10 %: 7.1 to 14.1 % */
    assert_true(fabs(low - (0.0705 - 0.04) / 0.76) < 0.002);
    assert_true(fabs(high - (0.1400 - 0.04) / 0.76) < 0.002);
    assert_true(query_slo_ratio_of(s, &clean) == 0 && query_slo_budget_left_of(s, &clean) == 1);
    drop(&o);
}

/* --- slices -------------------------------------------------------------------------------------- */

static void expect_slice(struct one *o, uint32_t minutes, int64_t good, int64_t bad)
{
    struct query_slo_counts c = count(o, BASE, BASE + minutes);
    assert_int_equal(c.good, good);
    assert_int_equal(c.bad, bad);
}

static void blocks_are_too_many_or_too_few(void **state)
{
    (void)state;
    struct one o;
    load(&o, "safety-blocks, maxPer1k: 20, expectedPer1k: 2", "Timeslices", "target: 0.95");
    add(&o, "llm_requests_total", "outcome", "ok", BASE + 3, 4000); /* 8 expected, none: dead */
    expect_slice(&o, 60, 0, 1);
    add(&o, "llm_safety_blocks_total", "category", "hate", BASE + 4, 1);
    expect_slice(&o, 60, 1, 0);
    add(&o, "llm_safety_blocks_total", "category", "self_harm", BASE + 59, 84); /* 85: 2.1 % */
    expect_slice(&o, 60, 1, 0); /* chance explains that */
    add(&o, "llm_safety_blocks_total", "category", "hate", BASE + 59, 30);
    expect_slice(&o, 60, 0, 1);
    add(&o, "llm_requests_total", "outcome", "ok", BASE + 63, 3000); /* 6 expected: none may be */
    expect_slice(&o, 120, 1, 1);
    expect_slice(&o, 119, 0, 1); /* the second hour is booked in its last minute */
    drop(&o);
}

static void tokens_and_labels_are_held_against_their_limits(void **state)
{
    (void)state;
    struct one o;
    load(&o, "tokens-per-request, maxTokens: 100", "Timeslices", "target: 0.95");
    add(&o, "llm_user_requests_total", "outcome", "ok", BASE, 10);
    add(&o, "llm_tokens_total", "type", "input", BASE, 800);
    add(&o, "llm_tokens_total", "type", "output", BASE + 1, 200);
    add(&o, "llm_tokens_total", "type", "cache_read", BASE, 700); /* in input already */
    expect_slice(&o, 5, 1, 0);
    add(&o, "llm_tokens_total", "type", "output", BASE + 2, 1);
    expect_slice(&o, 5, 0, 1);
    drop(&o);
    load(&o, "feedback-coverage, minShare: 0.2", "Timeslices", "target: 0.8");
    add(&o, "llm_grounding_flagged_total", "", "", BASE + 9, 10);
    add(&o, "llm_feedback_total", "label", "supported", BASE + 1000, 1);
    expect_slice(&o, 1440, 0, 1);
    add(&o, "llm_feedback_total", "label", "hallucinated", BASE + 1001, 1);
    expect_slice(&o, 1440, 1, 0);
    expect_slice(&o, 1439, 0, 0);
    drop(&o);
}

static void a_slice_is_one_event_whatever_it_held(void **state)
{
    (void)state;
    struct one o;
    load(&o, "availability-request", "Timeslices",
         "target: 0.9, timeSliceTarget: 0.95, timeSliceWindow: 2m");
    helper_slo_request(o.cells, "shop", "", "", "ok", "", BASE, 95);
    helper_slo_request(o.cells, "shop", "", "", "timeout", "provider", BASE + 1, 5);
    expect_slice(&o, 2, 1, 0); /* exactly the target */
    helper_slo_request(o.cells, "shop", "", "", "timeout", "provider", BASE + 1, 1);
    expect_slice(&o, 2, 0, 1);
    helper_slo_request(o.cells, "shop", "", "", "cancelled", "caller", BASE + 4, 9);
    helper_slo_request(o.cells, "shop", "", "", "ok", "", BASE + 8, 1);
    expect_slice(&o, 10, 1, 1); /* slices without an eligible event are none */
    drop(&o);
    load(&o, "availability-request", "RatioTimeslices", "target: 0.9, timeSliceWindow: 2m");
    helper_slo_request(o.cells, "shop", "", "", "ok", "", BASE, 1);
    helper_slo_request(o.cells, "shop", "", "", "timeout", "provider", BASE, 3);
    helper_slo_request(o.cells, "shop", "", "", "ok", "", BASE + 2, 1000);
    expect_slice(&o, 4, QUERY_SLO_SLICE_UNIT + QUERY_SLO_SLICE_UNIT / 4,
                 QUERY_SLO_SLICE_UNIT * 3 / 4);
    drop(&o);
}

/* The law of low traffic is about slices: two and a half bad ones are no three, however many units they are. */
static void weighed_slices_are_judged_as_slices(void **state)
{
    (void)state;
    struct one o;
    const struct query_slo *s =
        load(&o, "availability-request", "RatioTimeslices", "target: 0.999");
    const int64_t u = QUERY_SLO_SLICE_UNIT;
    struct query_slo_counts few = {.good = 117 * u + u / 2 + 2, .bad = 2 * u + u / 2 - 2},
                            many = {.good = 100 * u, .bad = 20 * u};
    assert_int_equal(query_slo_judge_for(s, &s->rules[0], &few, &few), QUERY_SLO_QUIET);
    assert_int_equal(query_slo_judge_for(s, &s->rules[0], &many, &many), QUERY_SLO_BURNS_PAGE);
    drop(&o);
}

static void what_can_never_be_reached_is_judged_by_slices(void **state)
{
    (void)state;
    struct one o;
    const struct query_slo *s = load(&o, "availability-request", "Occurrences", "target: 0.6");
    assert_true(s->is_sliced_for_windows);
    assert_int_equal(s->method, QUERY_SLO_TIMESLICES);
    assert_int_equal(s->slice_minutes, 5);
    assert_true(s->slice_target == 0.6 && s->target == 0.99);
    bool usable = false;
    for (uint32_t i = 0; i < s->rule_count; i++)
        usable = usable || !s->rules[i].refused;
    assert_true(usable);
    drop(&o);
    s = load(&o, "availability-request", "Occurrences", "target: 0.8"); /* 10 % in 1 d is left */
    assert_false(s->is_sliced_for_windows);
    for (uint32_t i = 0; i < s->rule_count; i++)
        if (strcmp(s->rules[i].name, "2%-in-1h") == 0)
            assert_true(s->rules[i].refused && s->rules[i].is_out_of_reach);
    drop(&o);
}

/* A short window without the end of a slice says nothing. */
static void windows_shorter_than_a_slice_are_left_out(void **state)
{
    (void)state;
    struct one o;
    const struct query_slo *s =
        load(&o, "safety-blocks, maxPer1k: 20", "Timeslices", "target: 0.95");
    uint32_t left = 0;
    for (uint32_t i = 0; i < s->rule_count; i++) {
        assert_true(s->rules[i].refused || s->rules[i].short_minutes >= 60);
        left += !s->rules[i].refused;
    }
    assert_int_equal(left, 2); /* 1d/2h: the page and the ticket */
    assert_non_null(strstr(s->rules[0].why_refused, "shorter than a slice"));
    drop(&o);
}

/* --- the table of outcomes ----------------------------------------------------------------------- */

/* "cell FAMILY COUNT LABEL=VALUE..." */
static void add_cell(struct one *o, char *line)
{
    struct helper_slo_label labels[10] = {{"service", "shop"}};
    char *save = NULL, *family = strtok_r(line, " ", &save), *count = strtok_r(NULL, " ", &save);
    size_t n = 1;
    assert_non_null(count);
    labels[n++] = (struct helper_slo_label){"__name__", family};
    for (char *pair; (pair = strtok_r(NULL, " ", &save)) != NULL;) {
        char *equals = strchr(pair, '=');
        assert_true(equals && n < ARRAY_LEN(labels) - 1);
        *equals = 0;
        labels[n++] = (struct helper_slo_label){pair, equals + 1};
    }
    helper_slo_add(o->cells, labels, BASE + 2, strtoll(count, NULL, 10));
}

static void begin_case(struct one *o, char *line)
{
    char *method = strstr(line, " | ");
    assert_non_null(method);
    *method = 0;
    bool sliced = strcmp(method + 3, "Timeslices") == 0;
    load(o, line, method + 3, sliced ? "target: 0.95" : "target: 0.99");
}

static void check_case(struct one *o, const char *name, const char *line)
{
    long long want[4];
    struct query_slo_counts c = count(o, BASE, BASE + 1440);
    assert_int_equal(sscanf(line, "%lld %lld %lld %lld", &want[0], &want[1], &want[2], &want[3]),
                     4);
    if (c.good != want[0] || c.bad != want[1] || c.excluded != want[2] || c.missing != want[3])
        fail_msg("%s: good %lld, bad %lld, excluded %lld, missing %lld", name, (long long)c.good,
                 (long long)c.bad, (long long)c.excluded, (long long)c.missing);
    drop(o);
}

static void each_line_of_the_outcome_table_counts_as_its_case_says(void **state)
{
    (void)state;
    char path[512], line[512], name[512] = "";
    struct one o;
    unsigned cases = 0;
    snprintf(path, sizeof(path), "%s/slo/outcomes.txt", getenv("TELLTALE_FIXTURES"));
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    while (fgets(line, sizeof(line), f)) {
        line[strcspn(line, "\n")] = 0;
        if (strncmp(line, "case ", 5) == 0)
            snprintf(name, sizeof(name), "%s", line + 5);
        else if (strncmp(line, "of ", 3) == 0)
            begin_case(&o, line + 3);
        else if (strncmp(line, "cell ", 5) == 0)
            add_cell(&o, line + 5);
        else if (strncmp(line, "want ", 5) == 0)
            check_case(&o, name, line + 5), cases++;
        else
            assert_true(line[0] == 0 || line[0] == '#');
    }
    fclose(f);
    assert_int_equal(cases, 21);
}

/* --- objectives of others ------------------------------------------------------------------------ */

static void import_file(const char *name, struct buf *out, struct buf *errors, enum err want)
{
    char path[512];
    static char text[65536];
    snprintf(path, sizeof(path), "%s/../fuzz/corpus/fuzz_slo_import/%s",
             getenv("TELLTALE_FIXTURES"), name);
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof(text), f);
    fclose(f);
    buf_init(out, 0);
    buf_init(errors, 0);
    assert_int_equal(query_slo_import(name, bytes_of(text, n), out, errors), want);
}

static void sloth_and_pyrra_become_documents_that_load(void **state)
{
    (void)state;
    static const struct {
        const char *name, *id, *bad, *total;
        enum err want;
        uint32_t count, minutes;
        double target;
    } files[] = {
        {"sloth", "myservice-requests-availability",
         "http_request_duration_seconds_count{job=\"myservice\",code=~\"500|503|429\"}",
         "http_request_duration_seconds_count{job=\"myservice\"}", ERR_OK, 1, 43200, 0.999},
        {"sloth_kubernetes", "myservice-requests-availability", "errors_total{job=\"myservice\"}",
         "requests_total{job=\"myservice\"}", ERR_INVALID, 1, 43200, 0.999},
        {"pyrra", "caddy-http", "http_requests_total{job=\"caddy\",code=~\"500|502\"}",
         "http_requests_total{job=\"caddy\"}", ERR_OK, 2, 20160, 0.99}};
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        struct buf out, errors;
        struct query_slo_set set;
        import_file(files[i].name, &out, &errors, files[i].want);
        assert_int_equal(query_slo_set_init(&set), ERR_OK);
        if (query_slo_load_text(&set, "imported", buf_bytes(&out), &errors) != ERR_OK)
            fail_msg("%.*s\n%.*s", (int)errors.size, errors.data, (int)out.size, out.data);
        assert_int_equal(set.count, files[i].count);
        const struct query_slo *s = &set.slos[0];
        assert_true(bytes_equal_str(s->id, files[i].id));
        assert_true(bytes_equal_str(s->bad.text, files[i].bad));
        assert_true(bytes_equal_str(s->total.text, files[i].total));
        assert_int_equal(s->period_minutes, files[i].minutes);
        assert_true(fabs(s->target - files[i].target) < 1e-12);
        if (set.count == 2)
            assert_true(bytes_equal_str(set.slos[1].good.text,
                                        "http_duration_seconds_bucket{job=\"caddy\",le=\"0.1\"}"));
        query_slo_set_done(&set);
        buf_done(&out);
        buf_done(&errors);
    }
    struct buf out, errors;
    import_file("sloth_kubernetes", &out, &errors, ERR_INVALID);
    buf_u8(&errors, 0);
    assert_non_null(strstr((char *)errors.data, "sloth_kubernetes:16: sli: only events with"));
    buf_done(&out);
    buf_done(&errors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failures_of_the_api_and_of_the_model_are_counted_apart),
        cmocka_unit_test(cache_routes_and_checks_count_what_their_labels_say),
        cmocka_unit_test(flags_are_corrected_and_page_on_200_checked),
        cmocka_unit_test(blocks_are_too_many_or_too_few),
        cmocka_unit_test(tokens_and_labels_are_held_against_their_limits),
        cmocka_unit_test(a_slice_is_one_event_whatever_it_held),
        cmocka_unit_test(weighed_slices_are_judged_as_slices),
        cmocka_unit_test(what_can_never_be_reached_is_judged_by_slices),
        cmocka_unit_test(each_line_of_the_outcome_table_counts_as_its_case_says),
        cmocka_unit_test(windows_shorter_than_a_slice_are_left_out),
        cmocka_unit_test(sloth_and_pyrra_become_documents_that_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
