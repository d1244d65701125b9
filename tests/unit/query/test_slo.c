/* OpenSLO documents, and the arithmetic of burn rates and budgets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/check.h"
#include "cli/slo_check.h"
#include "query/query_slo.h"
#include "query/slo_document.h"
#include "query/slo_terms.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* --- documents ----------------------------------------------------------------------------------- */

static const struct query_slo *find(const struct query_slo_set *set, const char *id)
{
    for (uint32_t i = 0; i < set->count; i++)
        if (bytes_equal_str(set->slos[i].id, id))
            return &set->slos[i];
    return NULL;
}

static void the_examples_load(void **state)
{
    (void)state;
    struct query_slo_set set;
    struct buf errors;
    const char *paths[] = {"examples/slos"};
    buf_init(&errors, 0);
    assert_int_equal(query_slo_set_init(&set), ERR_OK);
    if (query_slo_load(&set, paths, 1, &errors) != ERR_OK)
        fail_msg("%.*s", (int)errors.size, errors.data);
    const struct query_slo *s = find(&set, "checkout-answers");
    assert_non_null(s);
    assert_int_equal(s->indicator, QUERY_SLO_AVAILABILITY_REQUEST);
    assert_int_equal(s->period_minutes, 28 * 1440);
    assert_int_equal(s->no_data, QUERY_SLO_NO_DATA_ALERT);
    assert_int_equal(s->filter_count, 1);
    s = find(&set, "checkout-first-token");
    assert_true(s && s->le_seconds == 1.5);
    assert_true(bytes_equal_str(s->family, "llm_time_to_first_token_seconds"));
    assert_true(bytes_equal_str(s->filters[0].value, "checkout")); /* the objective's own service */
    s = find(&set, "checkout-latency/bearable");
    assert_true(s && s->le_seconds == 30 && s->target == 0.99);
    assert_int_equal(s->filter_count, 3);
    s = find(&set, "checkout-cost");
    assert_true(s && s->cost_limit_nanousd == 4000000000 && s->slice_minutes == 5);
    s = find(&set, "gateway");
    assert_non_null(s);
    assert_int_equal(s->indicator, QUERY_SLO_RATIO);
    assert_int_equal(s->bad.count, 3);
    assert_int_equal(s->rule_count, 1);
    assert_string_equal(s->rules[0].name, "gateway-fast");
    assert_int_equal(s->rules[0].after_minutes, 2);
    assert_true(bytes_equal_str(s->targets[0], "oncall"));
    query_slo_set_done(&set);
    buf_done(&errors);
}

static void every_mistake_is_named_with_its_line(void **state)
{
    (void)state;
    char path[512];
    snprintf(path, sizeof(path), "%s/slo/mistakes.yaml", getenv("TELLTALE_FIXTURES"));
    const char *paths[] = {path};
    static const char *const wanted[] = {
        "mistakes.yaml:4: metadata.name: must be 1 to 63 lower-case letters",
        "mistakes.yaml:8: apiVersion: must be openslo/v1",
        "mistakes.yaml:15: kind: \"Dashboard\" is not known; valid are SLO, SLI",
        "indicator: \"ttft-below\" is not known; valid are availability-request",
        "spec.timeWindow.duration: \"28x\" is not a period; valid are 1h to 400d",
        "spec.objectives.target: \"99.5\" is not a target; valid is a ratio between 0 and 1",
        "spec: unknown key \"colour\"; valid are description, service",
        "threshold: \"-1s\" is not a threshold",
        "spec.timeWindow.isRolling: must be true",
        "spec.objectives.timeSliceTarget: must be the ratio from which a slice is good",
        "spec.budgetingMethod: must be Occurrences, Timeslices or RatioTimeslices",
        "spec.timeWindow.duration: \"2X\" is not a calendar period",
        "spec.timeWindow.calendar.startTime: \"2026-02-31\" is not a start",
        "condition.threshold: a burn rate of 14.4 can never be reached: at a target of 90 %",
        "no document of kind DataSource is named \"nowhere\"",
        "cache: is only for cache-hit-rate",
        "maxPer1k: \"many\" is not valid; give blocks per 1,000 calls",
        "ratioMetric.good: query: \"sum(rate(x[5m]))\" is not a counter's selector",
        "ratioMetric.total: query: \"b.*\": only alternatives of plain text",
        "spec.indicatorRef: no document of kind SLI is named \"nobody\"",
        "metadata.name: Service checkout is already defined at",
    };
    struct query_slo_set set;
    struct buf errors;
    buf_init(&errors, 0);
    assert_int_equal(query_slo_set_init(&set), ERR_OK);
    assert_int_equal(query_slo_load(&set, paths, 1, &errors), ERR_INVALID);
    assert_int_equal(set.count, 0);
    buf_u8(&errors, 0);
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
        if (!strstr((char *)errors.data, wanted[i]))
            fail_msg("not said: %s\nin:\n%s", wanted[i], (char *)errors.data);
    query_slo_set_done(&set);
    buf_done(&errors);
}

static void the_defaults_watch_every_service(void **state)
{
    (void)state;
    struct query_slo_set set;
    assert_int_equal(query_slo_set_init(&set), ERR_OK);
    assert_int_equal(query_slo_load_defaults(&set), ERR_OK);
    assert_int_equal(set.count, 4);
    bool seen[QUERY_SLO_INDICATOR_COUNT] = {false};
    for (uint32_t i = 0; i < set.count; i++) {
        assert_int_equal(set.slos[i].filter_count, 0);
        assert_true(set.slos[i].is_default);
        seen[set.slos[i].indicator] = true;
    }
    assert_true(seen[QUERY_SLO_AVAILABILITY_REQUEST] && seen[QUERY_SLO_LATENCY] &&
                seen[QUERY_SLO_TTFT]);
    query_slo_set_done(&set);
}

static void an_edited_objective_has_another_fingerprint(void **state)
{
    (void)state;
    static const char text[] =
        "apiVersion: openslo/v1\nkind: SLO\nmetadata: {name: %s}\nspec:\n"
        "  service: s\n  description: %s\n  indicator: {spec: {llm: {indicator: ttft-under, "
        "threshold: %s}}}\n  timeWindow: [{duration: 7d, isRolling: true}]\n"
        "  budgetingMethod: Occurrences\n  objectives: [{target: 0.9}]\n";
    static const char *const cases[][3] = {{"a", "x", "1s"}, {"b", "y", "1s"}, {"c", "x", "2s"}};
    struct query_slo_set set;
    struct buf errors;
    buf_init(&errors, 0);
    assert_int_equal(query_slo_set_init(&set), ERR_OK);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char one[1024];
        snprintf(one, sizeof(one), text, cases[i][0], cases[i][1], cases[i][2]);
        assert_int_equal(query_slo_load_text(&set, "t", bytes_str(one), &errors), ERR_OK);
    }
    assert_true(set.slos[0].fingerprint == set.slos[1].fingerprint); /* words do not matter */
    assert_true(set.slos[0].fingerprint != set.slos[2].fingerprint);
    query_slo_set_done(&set);
    buf_done(&errors);
}

static void selectors_take_what_a_counter_needs(void **state)
{
    (void)state;
    struct arena *a = arena_new(0);
    struct query_slo_selector s;
    struct err_msg msg;
    assert_int_equal(slo_selector_parse(BYTES_LIT("http_requests_total"), a, &s, &msg), ERR_OK);
    assert_int_equal(s.count, 1);
    assert_int_equal(
        slo_selector_parse(BYTES_LIT("x:y{a=\"1\\\"\", b!='2' ,c=~\"500|503\",d!~\"\"}"), a, &s,
                           &msg),
        ERR_OK);
    assert_int_equal(s.count, 5);
    assert_true(bytes_equal_str(s.matchers[1].value, "1\""));
    assert_true(s.matchers[3].match(s.matchers[3].ctx, BYTES_LIT("503")));
    assert_false(s.matchers[3].match(s.matchers[3].ctx, BYTES_LIT("504")));
    assert_true(s.matchers[4].match(s.matchers[4].ctx, BYTES_LIT("")));
    static const char *const bad[] = {"",        "{a=\"b\"}",  "x{",      "x{a}",         "x{a=b}",
                                      "x[5m]",   "x{a=\"b}",   "rate(x)", "x{a=~\"b+\"}", "x{,}",
                                      "x{} + 1", "x{a==\"b\"}"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (slo_selector_parse(bytes_str(bad[i]), a, &s, &msg) != ERR_INVALID)
            fail_msg("%s was taken", bad[i]);
    arena_free(a);
}

/* --- arithmetic ---------------------------------------------------------------------------------- */

static void factors_follow_the_period(void **state)
{
    (void)state;
    static const struct {
        uint32_t days;
        double factor[5];
        bool refused[5];
    } cases[] = {
        {30, {14.4, 6, 15, 3, 1}, {false, false, false, false, false}},
        {28, {13.44, 5.6, 14, 2.8, 0.9333}, {false, false, false, false, true}},
        {7, {3.36, 1.4, 3.5, 0.7, 0.2333}, {false, false, false, true, true}},
        {1, {0.48, 0.2, 0.5, 0.1, 0.0333}, {true, true, true, true, true}},
    };
    for (size_t c = 0; c < ARRAY_LEN(cases); c++) {
        struct query_slo_rule r[QUERY_SLO_RULES_MAX];
        assert_int_equal(query_slo_rules_for(cases[c].days * 1440, 0.999, r), 5);
        for (size_t i = 0; i < 5; i++) {
            assert_float_equal(r[i].factor, cases[c].factor[i], 1e-3);
            assert_int_equal(r[i].refused, cases[c].refused[i]);
            assert_int_equal(r[i].short_minutes * 12, r[i].long_minutes);
        }
    }
}

static void a_rule_that_can_never_fire_is_refused(void **state)
{
    (void)state;
    struct query_slo_rule r[QUERY_SLO_RULES_MAX];
    query_slo_rules_for(30 * 1440, 0.9, r);
    assert_true(r[0].refused); /* 14.4 x 10 % is more than everything */
    assert_true(query_slo_rule_outage_minutes(&r[0], 0.9) < 0);
    assert_false(r[1].refused);
    assert_float_equal(query_slo_rule_outage_minutes(&r[1], 0.9), 216, 1e-9);
}

static void budgets_and_burn_rates(void **state)
{
    (void)state;
    struct query_slo_counts none = {.excluded = 50, .missing = 3}, c = {.good = 9985, .bad = 15};
    assert_true(isnan(query_slo_burn(&none, 0.99)));
    assert_true(isnan(query_slo_budget_left(&none, 0.99)));
    assert_float_equal(query_slo_burn(&c, 0.999), 1.5, 1e-12);
    assert_float_equal(query_slo_budget_left(&c, 0.999), -0.5, 1e-9);
    assert_float_equal(query_slo_exhaustion_minutes(0.5, 2, 43200), 10800, 1e-9);
    assert_true(isinf(query_slo_exhaustion_minutes(0.5, 0, 43200)));
    assert_true(query_slo_exhaustion_minutes(-0.1, 2, 43200) == 0);
    assert_true(isnan(query_slo_exhaustion_minutes((double)NAN, 2, 43200)));
}

static void the_lower_bound_is_wilsons(void **state)
{
    (void)state;
    /* By hand from the formula with z = 1.6448536: 10 of 100 and 3 of 60. */
    assert_float_equal(query_slo_lower_bound(10, 100), 0.060719, 1e-6);
    assert_float_equal(query_slo_lower_bound(3, 60), 0.020157, 1e-6);
    assert_true(query_slo_lower_bound(0, 100) == 0);
    assert_true(isnan(query_slo_lower_bound(0, 0)));
    for (int64_t n = 1; n < 200; n++) /* always below the ratio, nearer with more events */
        assert_true(query_slo_lower_bound(n, 4 * n) < 0.25 &&
                    query_slo_lower_bound(n, 4 * n) <= query_slo_lower_bound(n + 1, 4 * n + 4));
}

static double uniform(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(*seed >> 11) / 9007199254740992.0;
}

/* Events of an hour whose rate itself differs from hour to hour. */
static int64_t bad_of_an_hour(uint64_t *seed, double rate)
{
    double spread = uniform(seed) + uniform(seed) + uniform(seed) - 1.5, p = 1;
    double limit = exp(-rate * exp(0.6 * spread));
    int64_t n = -1;
    for (; p > limit; n++)
        p *= uniform(seed);
    return n;
}

/* Days that go on as they were: the budget is gone between low and high about as often as is said, and not by luck of a wide interval. */
static void four_of_five_budgets_are_gone_when_the_forecast_says(void **state)
{
    (void)state;
    const struct query_slo s = {.target = 0.99, .period_minutes = 43200};
    const int64_t an_hour = 1000;
    uint64_t seed = 7;
    unsigned inside = 0, early = 0, trials = 2000;
    double widths = 0;
    for (unsigned trial = 0; trial < trials; trial++) {
        struct query_slo_counts hours[24];
        double left = 144, actual = 0; /* bad events; of 7,200 in all */
        for (size_t i = 0; i < 24; i++) {
            hours[i] = (struct query_slo_counts){.bad = bad_of_an_hour(&seed, 5)};
            hours[i].good = an_hour - hours[i].bad;
        }
        struct query_slo_forecast f = query_slo_forecast_of(&s, hours, 24, left / 7200);
        assert_true(f.low_minutes <= f.minutes && f.minutes <= f.high_minutes);
        for (double gone = 0; gone < left; actual++)
            gone += (double)bad_of_an_hour(&seed, 5);
        inside += actual * 60 >= f.low_minutes && actual * 60 - 60 <= f.high_minutes;
        early += actual * 60 < f.low_minutes;
        widths += (f.high_minutes - f.low_minutes) / f.minutes;
    }
    print_message("    inside %.1f %%, earlier %.1f %%, width %.2f of the forecast\n",
                  100.0 * inside / trials, 100.0 * early / trials, widths / trials);
    assert_true(inside > 0.74 * trials && inside < 0.9 * trials);
    assert_true(early < 0.16 * trials);
    assert_true(widths / trials < 0.6);
}

static void a_forecast_is_never_where_nothing_burns_and_unknown_without_events(void **state)
{
    (void)state;
    const struct query_slo s = {.target = 0.99, .period_minutes = 43200};
    struct query_slo_counts hours[24] = {0};
    assert_true(isnan(query_slo_forecast_of(&s, hours, 24, 0.5).minutes));
    hours[3].good = hours[9].good = 100;
    assert_true(isnan(query_slo_forecast_of(&s, hours, 24, (double)NAN).minutes));
    assert_true(isinf(query_slo_forecast_of(&s, hours, 24, 0.5).minutes));
    assert_true(isinf(query_slo_forecast_of(&s, hours, 24, 0.5).low_minutes));
    assert_true(query_slo_forecast_of(&s, hours, 24, -0.1).high_minutes == 0);
    for (size_t i = 0; i < 24; i++) /* burning evenly at 1: half of 30 days */
        hours[i] = (struct query_slo_counts){.good = 99, .bad = 1};
    assert_true(fabs(query_slo_forecast_of(&s, hours, 24, 0.5).minutes - 21600) < 60);
    hours[23] = (struct query_slo_counts){.bad = 2400}; /* one bad hour says little of the next */
    assert_true(isinf(query_slo_forecast_of(&s, hours, 24, 0.5).high_minutes));
}

static void judging_needs_both_windows_and_enough_events(void **state)
{
    (void)state;
    struct query_slo_rule r[QUERY_SLO_RULES_MAX];
    query_slo_rules_for(30 * 1440, 0.999, r);
    struct query_slo_counts burning = {.good = 900, .bad = 100}, calm = {.good = 1000}, none = {0},
                            few = {.good = 10, .bad = 2}, some = {.good = 40, .bad = 40};
    assert_int_equal(query_slo_judge(&r[0], 0.999, &burning, &burning), QUERY_SLO_BURNS_PAGE);
    assert_int_equal(query_slo_judge(&r[0], 0.999, &burning, &calm), QUERY_SLO_QUIET);
    assert_int_equal(query_slo_judge(&r[0], 0.999, &calm, &burning), QUERY_SLO_QUIET);
    assert_int_equal(query_slo_judge(&r[0], 0.999, &burning, &none), QUERY_SLO_NO_EVENTS);
    assert_int_equal(query_slo_judge(&r[0], 0.999, &few, &few), QUERY_SLO_QUIET);
    assert_int_equal(query_slo_judge(&r[0], 0.999, &some, &some), QUERY_SLO_BURNS_TICKET);
    assert_int_equal(query_slo_judge(&r[4], 0.999, &few, &few), QUERY_SLO_BURNS_TICKET);
}

/* --- slo check ----------------------------------------------------------------------------------- */

/* What the verb prints on stdout and stderr, and its status. */
static int check_file(const char *text, char out[16384])
{
    char path[] = "/tmp/telltale-check-XXXXXX", captured[] = "/tmp/telltale-out-XXXXXX";
    int fd = mkstemp(path), to = mkstemp(captured), saved[2] = {dup(1), dup(2)};
    assert_true(fd >= 0 && to >= 0 && saved[0] >= 0 && saved[1] >= 0);
    assert_true(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    fflush(stdout);
    dup2(to, 1);
    dup2(to, 2);
    char *argv[] = {path, NULL};
    int status = slo_check_main(1, argv);
    fflush(stdout);
    dup2(saved[0], 1);
    dup2(saved[1], 2);
    ssize_t n = pread(to, out, 16383, 0);
    assert_true(n >= 0);
    out[n] = 0;
    close(fd);
    close(to);
    close(saved[0]);
    close(saved[1]);
    unlink(path);
    unlink(captured);
    return status;
}

static void slo_check_says_what_an_objective_means(void **state)
{
    (void)state;
    static const char text[] = "apiVersion: openslo/v1\nkind: SLO\nmetadata: {name: a}\nspec:\n"
                               "  service: s\n  indicator: {spec: {llm: {indicator: "
                               "availability-request, model: gpt-4o}}}\n"
                               "  timeWindow: [{duration: 30d, isRolling: true}]\n"
                               "  budgetingMethod: Occurrences\n  objectives: [{target: 0.999}]\n";
    static const char *const wanted[] = {
        "at 40 requests a day one failure spends 83 % of a 99.9 % budget",
        "a total outage spends it in 43.2 min",
        "2%-in-1h       page     1h/5m            14.4           1.44 %  1.4 min",
        "of:     service=s, model=gpt-4o",
        "a request's own span rarely names its model",
        "1 objective in 1 document: no mistakes."};
    static char out[16384];
    assert_int_equal(check_file(text, out), 0);
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
        if (!strstr(out, wanted[i]))
            fail_msg("not said: %s\nin:\n%s", wanted[i], out);
    assert_int_equal(check_file("apiVersion: v1\n", out), 2);
    assert_non_null(strstr(out, ":1: apiVersion: must be openslo/v1"));
    assert_int_equal(check_file("a: [", out), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_examples_load),
        cmocka_unit_test(every_mistake_is_named_with_its_line),
        cmocka_unit_test(the_defaults_watch_every_service),
        cmocka_unit_test(an_edited_objective_has_another_fingerprint),
        cmocka_unit_test(selectors_take_what_a_counter_needs),
        cmocka_unit_test(factors_follow_the_period),
        cmocka_unit_test(a_rule_that_can_never_fire_is_refused),
        cmocka_unit_test(budgets_and_burn_rates),
        cmocka_unit_test(the_lower_bound_is_wilsons),
        cmocka_unit_test(slo_check_says_what_an_objective_means),
        cmocka_unit_test(four_of_five_budgets_are_gone_when_the_forecast_says),
        cmocka_unit_test(a_forecast_is_never_where_nothing_burns_and_unknown_without_events),
        cmocka_unit_test(judging_needs_both_windows_and_enough_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
