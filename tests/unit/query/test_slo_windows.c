/* Sliding sums against a recount from rows, minute by minute, by a table of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/check.h"
#include "base/clock.h"
#include "query/helper_slo.h"
#include "query/slo_terms.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define BASE 29700000u /* a minute of 2026 */

/* --- the obvious evaluator: rows, a table, loops ------------------------------------------------- */

struct row {
    uint32_t minute;
    const char *service, *outcome, *fault;
};

/* Written by hand from the law, not from the code: g(ood), b(ad), x (excluded). */
static char obvious_class(const char *outcome, const char *fault)
{
    static const char *const good[] = {"ok", "blocked"};
    static const char *const bad[] = {"provider_error", "rate_limited", "timeout",  "stream_cut",
                                      "empty",          "invalid",      "abandoned"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        if (strcmp(outcome, good[i]) == 0)
            return 'g';
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (strcmp(outcome, bad[i]) == 0)
            return 'b';
    if (strcmp(outcome, "caller_error") == 0 &&
        (strcmp(fault, "platform") == 0 || strcmp(fault, "provider") == 0))
        return 'b';
    return 'x';
}

static struct query_slo_counts recount(const struct row *rows, size_t n, uint32_t h, uint32_t w)
{
    struct query_slo_counts c = {0};
    for (size_t i = 0; i < n; i++) {
        if (strcmp(rows[i].service, "checkout") != 0)
            continue;
        if (!(rows[i].minute <= h && (uint64_t)rows[i].minute + w > h))
            continue;
        char class = obvious_class(rows[i].outcome, rows[i].fault);
        c.good += class == 'g';
        c.bad += class == 'b';
        c.excluded += class == 'x';
    }
    return c;
}

/* --- fixtures ------------------------------------------------------------------------------------ */

static const char document[] = "apiVersion: openslo/v1\n"
                               "kind: SLO\n"
                               "metadata: {name: checkout-availability}\n"
                               "spec:\n"
                               "  service: checkout\n"
                               "  indicator:\n"
                               "    metadata: {name: x}\n"
                               "    spec:\n"
                               "      ratioMetric:\n"
                               "        raw: {metricSource: {type: telltale, spec: {sli: %s}}}\n"
                               "  timeWindow: [{duration: %s, isRolling: true}]\n"
                               "  budgetingMethod: %s\n"
                               "  objectives: [{target: 0.99}]\n";

static void load(struct query_slo_set *set, const char *sli, const char *period, const char *method)
{
    char text[2048];
    struct buf errors;
    buf_init(&errors, 0);
    assert_int_equal(query_slo_set_init(set), ERR_OK);
    snprintf(text, sizeof(text), document, sli, period, method);
    if (query_slo_load_text(set, "test", bytes_str(text), &errors) != ERR_OK)
        fail_msg("%.*s", (int)errors.size, errors.data);
    buf_done(&errors);
}

static uint64_t rng_state;
static uint32_t rng(uint32_t below)
{
    rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((rng_state >> 33) % below);
}

static const char *const outcome_names[] = {
    "ok",      "ok",           "ok",           "provider_error", "rate_limited",
    "timeout", "empty",        "caller_error", "cancelled",      "abandoned",
    "blocked", "quota_denied", "invalid",      "stream_cut",     "novel"};
static const char *const fault_names[] = {"", "provider", "platform", "caller", "policy"};

static struct row random_row(uint32_t now)
{
    /* Mostly fresh, some late by minutes, a few by hours or days. */
    uint32_t kind = rng(100), late = kind < 80   ? 0
                                     : kind < 92 ? rng(15)
                                     : kind < 98 ? rng(500)
                                                 : rng(6000);
    return (struct row){.minute = now - late,
                        .service = rng(4) ? "checkout" : "search",
                        .outcome = outcome_names[rng(ARRAY_LEN(outcome_names))],
                        .fault = fault_names[rng(ARRAY_LEN(fault_names))]};
}

static void compare(const struct query_slo_tracker *t, const struct query_slo *s,
                    const struct row *rows, size_t n, uint32_t h)
{
    for (uint32_t i = 0; i <= 2 * s->rule_count; i++) {
        uint32_t w = i == 2 * s->rule_count ? s->period_minutes
                     : i % 2                ? s->rules[i / 2].short_minutes
                                            : s->rules[i / 2].long_minutes;
        if (i < 2 * s->rule_count && s->rules[i / 2].refused)
            continue;
        for (uint32_t back = 0; back <= QUERY_SLO_RECHECK_MINUTES; back += back ? 3 : 1) {
            struct query_slo_counts want = recount(rows, n, h - back, w), got;
            assert_true(query_slo_tracker_window(t, w, back, &got));
            if (got.good != want.good || got.bad != want.bad ||
                (back == 0 && got.excluded != want.excluded))
                fail_msg("window %u at h-%u: %lld/%lld/%lld, recount %lld/%lld/%lld", w, back,
                         (long long)got.good, (long long)got.bad, (long long)got.excluded,
                         (long long)want.good, (long long)want.bad, (long long)want.excluded);
        }
    }
}

/* One walk through time with random rows, steps and late rows; true sums at every step. skip_late is the seeded defect. */
static bool walk(uint64_t seed, bool skip_late)
{
    enum { ROWS = 4000 };
    static struct row rows[ROWS];
    struct query_slo_set set;
    struct helper_slo *store = helper_slo_new();
    struct query_slo_source src = helper_slo_source(store);
    load(&set, "availability-request", "7d", "Occurrences");
    const struct query_slo *s = &set.slos[0];
    struct query_slo_tracker *t = query_slo_tracker_new(s);
    size_t n = 0;
    uint64_t seq = 0;
    uint32_t h = BASE + (uint32_t)seed;
    bool same = true;
    rng_state = seed;
    while (n < ROWS && same) {
        for (uint32_t k = rng(60); k > 0 && n < ROWS; k--) {
            struct row r = random_row(h + rng(2));
            rows[n++] = r;
            helper_slo_request(store, r.service, "m", "eu", r.outcome, r.fault, r.minute, 1);
        }
        uint32_t from, to;
        assert_int_equal(src.changed(src.ctx, seq, &from, &to, &seq), ERR_OK);
        if (skip_late)
            from = MAX(from, h);
        assert_int_equal(query_slo_source_advance(t, &src, h, from, to), ERR_OK);
        if (!skip_late) {
            compare(t, s, rows, n, h);
        } else {
            struct query_slo_counts want = recount(rows, n, h, 360), got;
            assert_true(query_slo_tracker_window(t, 360, 0, &got));
            same = got.good == want.good && got.bad == want.bad;
        }
        h += rng(10) < 8 ? rng(3) : rng(200);
    }
    query_slo_tracker_free(t);
    query_slo_set_done(&set);
    helper_slo_free(store);
    return same;
}

/* --- tests --------------------------------------------------------------------------------------- */

static void sliding_sums_equal_a_recount_whatever_the_order_of_arrival(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++)
        assert_true(walk(seed, false));
}

static void a_tracker_that_ignores_late_rows_is_caught(void **state)
{
    (void)state;
    assert_false(walk(5, true));
}

static void a_tracker_keeps_its_memory_promise(void **state)
{
    (void)state;
    struct query_slo_set set;
    load(&set, "availability-request", "30d", "Occurrences");
    struct query_slo_tracker *t = query_slo_tracker_new(&set.slos[0]);
    assert_true(query_slo_tracker_bytes(t) <= QUERY_SLO_TRACKER_BYTES_MAX);
    query_slo_tracker_free(t);
    query_slo_set_done(&set);
}

static void terms_of_availability_partition_every_outcome_and_fault(void **state)
{
    (void)state;
    struct query_slo_set set;
    for (int call = 0; call < 2; call++) {
        load(&set, call ? "availability-call" : "availability-request", "28d", "Occurrences");
        const struct slo_terms *terms = set.slos[0].terms;
        for (size_t o = 0; o < ARRAY_LEN(outcome_names); o++) {
            for (size_t f = 0; f < ARRAY_LEN(fault_names); f++) {
                struct helper_slo *store = helper_slo_new();
                struct query_slo_source src = helper_slo_source(store);
                struct helper_slo_label labels[] = {
                    {"__name__", call ? "llm_requests_total" : "llm_user_requests_total"},
                    {"service", "checkout"},
                    {"outcome", outcome_names[o]},
                    {"fault", fault_names[f]},
                    {NULL, NULL}};
                helper_slo_add(store, labels, BASE, 1);
                int hits = 0;
                for (uint32_t k = 0; k < terms->count; k++) {
                    int64_t v = 0;
                    assert_int_equal(
                        src.sum(src.ctx, terms->terms[k].m, terms->terms[k].n, BASE, BASE + 1, &v),
                        ERR_OK);
                    hits += (int)v;
                }
                assert_int_equal(hits, 1);
                struct query_slo_counts c;
                assert_int_equal(query_slo_source_sum(&src, &set.slos[0], BASE, BASE + 1, &c),
                                 ERR_OK);
                char class = obvious_class(outcome_names[o], fault_names[f]);
                assert_int_equal(c.good, class == 'g');
                assert_int_equal(c.bad, class == 'b');
                assert_int_equal(c.excluded, class == 'x');
                helper_slo_free(store);
            }
        }
        query_slo_set_done(&set);
    }
}

static void evaluation_traffic_and_embeddings_are_not_counted(void **state)
{
    (void)state;
    struct query_slo_set set;
    struct helper_slo *store = helper_slo_new();
    struct query_slo_source src = helper_slo_source(store);
    struct helper_slo_label labels[] = {{"__name__", "llm_requests_total"},
                                        {"service", "checkout"},
                                        {"outcome", "ok"},
                                        {"plane", ""},
                                        {"operation", "chat"},
                                        {NULL, NULL}};
    load(&set, "availability-call", "28d", "Occurrences");
    helper_slo_add(store, labels, BASE, 1);
    labels[3].value = "evaluation";
    helper_slo_add(store, labels, BASE, 10);
    labels[3].value = "";
    labels[4].value = "embeddings";
    helper_slo_add(store, labels, BASE, 100);
    labels[4].value = "rerank";
    helper_slo_add(store, labels, BASE, 1000);
    struct query_slo_counts c;
    assert_int_equal(query_slo_source_sum(&src, &set.slos[0], BASE, BASE + 1, &c), ERR_OK);
    assert_int_equal(c.good, 1);
    query_slo_set_done(&set);
    helper_slo_free(store);
}

static void latency_counts_come_from_the_thresholds_own_counter(void **state)
{
    (void)state;
    struct query_slo_set set;
    struct helper_slo *store = helper_slo_new();
    struct query_slo_source src = helper_slo_source(store);
    struct helper_slo_label labels[] = {{"__name__", "llm_latency_events_total"},
                                        {"service", "checkout"},
                                        {"family", "llm_time_to_first_token_seconds"},
                                        {"le", "0.5"},
                                        {"result", "good"},
                                        {NULL, NULL}};
    static const char *const results[] = {"good", "bad", "excluded", "missing"};
    load(&set, "ttft-under, threshold: 500ms", "28d", "Occurrences");
    for (size_t i = 0; i < ARRAY_LEN(results); i++) {
        labels[4].value = results[i];
        helper_slo_add(store, labels, BASE, (int64_t)(i + 1) * 10);
    }
    labels[3].value = "2"; /* another objective's threshold */
    helper_slo_add(store, labels, BASE, 1000);
    struct query_slo_counts c;
    assert_int_equal(query_slo_source_sum(&src, &set.slos[0], BASE, BASE + 1, &c), ERR_OK);
    assert_int_equal(c.good, 10);
    assert_int_equal(c.bad, 20);
    assert_int_equal(c.excluded, 30);
    assert_int_equal(c.missing, 40);
    assert_float_equal(query_slo_coverage(&c), 30.0 / 70, 1e-12);
    query_slo_set_done(&set);
    helper_slo_free(store);
}

static enum err one_hist(void *ctx, const struct tsdb_matcher *m, size_t n, uint32_t from,
                         uint32_t to, struct arena *a, struct tsdb_hist *out)
{
    static const struct tsdb_hist_span spans[] = {{-1, 3}}; /* (1/4, 1/2], (1/2, 1], (1, 2] */
    static const double counts[] = {10, 20, 30};
    assert_true(n >= 2 && bytes_equal_str(m[0].value, "llm_time_to_first_token_seconds"));
    *out = (struct tsdb_hist){.schema = 0,
                              .count = 65,
                              .zero_count = 5,
                              .pos_span_count = 1,
                              .pos_spans = spans,
                              .pos_count = 3,
                              .pos = counts};
    return ERR_OK;
}

static void a_histogram_bounds_what_the_counter_has_not_seen(void **state)
{
    (void)state;
    static const struct {
        const char *sli;
        double low, high;
    } cases[] = {{"ttft-under, threshold: 500ms", 15, 15}, /* a bucket's own bound */
                 {"ttft-under, threshold: 700ms", 15, 35},
                 {"ttft-under, threshold: 100ms", 5, 5},
                 {"ttft-under, threshold: 10s", 65, 65}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct query_slo_set set;
        struct query_slo_source src = {.hist = one_hist};
        struct query_slo_bounds b;
        load(&set, cases[i].sli, "28d", "Occurrences");
        assert_int_equal(query_slo_source_bounds(&src, &set.slos[0], BASE, BASE + 1, set.arena, &b),
                         ERR_OK);
        assert_true(b.count == 65 && b.low == cases[i].low && b.high == cases[i].high);
        query_slo_set_done(&set);
    }
}

static void add_cost(struct helper_slo *store, uint32_t minute, int64_t nanousd, int64_t requests,
                     int64_t unpriced)
{
    struct helper_slo_label cost[] = {
        {"__name__", "llm_cost_nanousd_total"}, {"service", "checkout"}, {NULL, NULL}};
    struct helper_slo_label n[] = {
        {"__name__", "llm_user_requests_total"}, {"service", "checkout"}, {NULL, NULL}};
    struct helper_slo_label u[] = {
        {"__name__", "llm_unpriced_requests_total"}, {"service", "checkout"}, {NULL, NULL}};
    helper_slo_add(store, cost, minute, nanousd);
    helper_slo_add(store, n, minute, requests);
    if (unpriced)
        helper_slo_add(store, u, minute, unpriced);
}

static void cost_is_judged_in_five_minute_slices(void **state)
{
    (void)state;
    struct query_slo_set set;
    struct helper_slo *store = helper_slo_new();
    struct query_slo_source src = helper_slo_source(store);
    load(&set, "cost-per-1k-requests, limitUsd: 2.00", "7d", "Timeslices");
    const uint32_t m = BASE - BASE % 5;
    add_cost(store, m, 2000000, 1, 0); /* exactly 2 $ per 1,000: good */
    add_cost(store, m + 5, 1500000, 1, 0); /* two minutes, one slice: 2.5 $ together */
    add_cost(store, m + 9, 3500000, 1, 0);
    add_cost(store, m + 10, 100, 100, 3); /* 3 % without a price: incomplete */
    add_cost(store, m + 15, 9000000, 1, 1); /* above the limit whatever is missing: bad */
    struct query_slo_counts c;
    assert_int_equal(query_slo_source_sum(&src, &set.slos[0], m, m + 25, &c), ERR_OK);
    assert_int_equal(c.good, 1);
    assert_int_equal(c.bad, 2);
    assert_int_equal(c.missing, 1);
    /* A late row in a slice's first minute changes the slice that the tracker booked in its last. */
    struct query_slo_tracker *t = query_slo_tracker_new(&set.slos[0]);
    assert_int_equal(query_slo_source_advance(t, &src, m + 30, 1, 0), ERR_OK);
    add_cost(store, m, 9000000, 1, 0);
    assert_int_equal(query_slo_source_advance(t, &src, m + 31, m, m), ERR_OK);
    assert_true(query_slo_tracker_window(t, set.slos[0].period_minutes, 0, &c));
    assert_int_equal(c.good, 0);
    assert_int_equal(c.bad, 3);
    query_slo_tracker_free(t);
    query_slo_set_done(&set);
    helper_slo_free(store);
}

static void late_rows_are_counted_as_revisions(void **state)
{
    (void)state;
    struct query_slo_set set;
    struct helper_slo *store = helper_slo_new();
    struct query_slo_source src = helper_slo_source(store);
    load(&set, "availability-request", "7d", "Occurrences");
    struct query_slo_tracker *t = query_slo_tracker_new(&set.slos[0]);
    uint64_t minutes_n, events;
    assert_int_equal(query_slo_source_advance(t, &src, BASE, 1, 0), ERR_OK);
    helper_slo_request(store, "checkout", "m", "", "ok", "", BASE - 2, 5); /* not late */
    helper_slo_request(store, "checkout", "m", "", "timeout", "", BASE - 60, 7);
    helper_slo_request(store, "checkout", "m", "", "ok", "", BASE - 61, 2);
    assert_int_equal(query_slo_source_advance(t, &src, BASE, BASE - 61, BASE), ERR_OK);
    query_slo_tracker_revised(t, &minutes_n, &events);
    assert_int_equal(minutes_n, 2);
    assert_int_equal(events, 9);
    assert_int_equal(query_slo_tracker_fresh_bad(t, 0), 0);
    helper_slo_request(store, "checkout", "m", "", "timeout", "", BASE - 5000,
                       3); /* a week's window only */
    assert_int_equal(query_slo_source_advance(t, &src, BASE, BASE - 5000, BASE - 5000), ERR_OK);
    query_slo_tracker_revised(t, &minutes_n, &events);
    assert_int_equal(events, 12);
    query_slo_tracker_free(t);
    query_slo_set_done(&set);
    helper_slo_free(store);
}

static void the_culprit_is_named_with_its_place(void **state)
{
    (void)state;
    struct query_slo_set set;
    struct helper_slo *store = helper_slo_new();
    struct query_slo_source src = helper_slo_source(store);
    struct arena *a = arena_new(0);
    load(&set, "availability-request", "28d", "Occurrences");
    static const char *const models[] = {"gpt-4o", "claude-sonnet", "llama-3"};
    static const char *const regions[] = {"eu-west", "us-east"};
    for (size_t m = 0; m < 3; m++)
        for (size_t r = 0; r < 2; r++)
            helper_slo_request(store, "checkout", models[m], regions[r], "ok", "", BASE, 500);
    helper_slo_request(store, "checkout", "gpt-4o", "eu-west", "timeout", "provider", BASE, 91);
    helper_slo_request(store, "checkout", "llama-3", "us-east", "timeout", "provider", BASE, 9);
    struct query_slo_blame b;
    assert_int_equal(query_slo_source_blame(&src, &set.slos[0], BASE - 10, BASE + 1, a, &b),
                     ERR_OK);
    assert_true(bytes_equal_str(b.phrase, "gpt-4o in eu-west accounts for 91 % of bad requests"));
    assert_int_equal(b.bad, 100);
    /* When everything fails alike, nobody is named. */
    struct helper_slo *even = helper_slo_new();
    struct query_slo_source even_src = helper_slo_source(even);
    for (size_t m = 0; m < 3; m++)
        for (size_t r = 0; r < 2; r++)
            helper_slo_request(even, "checkout", models[m], regions[r], "timeout", "", BASE, 10);
    assert_int_equal(query_slo_source_blame(&even_src, &set.slos[0], BASE - 10, BASE + 1, a, &b),
                     ERR_OK);
    assert_int_equal(b.phrase.size, 0);
    arena_free(a);
    query_slo_set_done(&set);
    helper_slo_free(even);
    helper_slo_free(store);
}

static void excluded_events_are_listed_by_reason(void **state)
{
    (void)state;
    struct query_slo_set set;
    struct helper_slo *store = helper_slo_new();
    struct query_slo_source src = helper_slo_source(store);
    struct arena *a = arena_new(0);
    load(&set, "availability-request", "28d", "Occurrences");
    helper_slo_request(store, "checkout", "m", "", "caller_error", "caller", BASE, 3);
    helper_slo_request(store, "checkout", "m", "", "caller_error", "platform", BASE, 50);
    helper_slo_request(store, "checkout", "m", "", "quota_denied", "policy", BASE, 8);
    struct query_slo_reason *list;
    size_t n;
    assert_int_equal(query_slo_source_excluded(&src, &set.slos[0], BASE, BASE + 1, a, &list, &n),
                     ERR_OK);
    assert_int_equal(n, 2);
    assert_true(bytes_equal_str(list[0].reason, "quota_denied"));
    assert_int_equal(list[0].count, 8);
    assert_true(bytes_equal_str(list[1].reason, "caller_error"));
    assert_int_equal(list[1].count, 3);
    arena_free(a);
    query_slo_set_done(&set);
    helper_slo_free(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sliding_sums_equal_a_recount_whatever_the_order_of_arrival),
        cmocka_unit_test(a_tracker_that_ignores_late_rows_is_caught),
        cmocka_unit_test(a_tracker_keeps_its_memory_promise),
        cmocka_unit_test(terms_of_availability_partition_every_outcome_and_fault),
        cmocka_unit_test(evaluation_traffic_and_embeddings_are_not_counted),
        cmocka_unit_test(latency_counts_come_from_the_thresholds_own_counter),
        cmocka_unit_test(a_histogram_bounds_what_the_counter_has_not_seen),
        cmocka_unit_test(cost_is_judged_in_five_minute_slices),
        cmocka_unit_test(late_rows_are_counted_as_revisions),
        cmocka_unit_test(the_culprit_is_named_with_its_place),
        cmocka_unit_test(excluded_events_are_listed_by_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
