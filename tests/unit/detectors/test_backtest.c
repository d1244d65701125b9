/* A walk through the past says what the evaluator said when it was the present. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/json_in.h"
#include "detectors/detectors_backtest.h"
#include "detectors/helper_state.h"
#include "query/helper_slo.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BASE 29700000u
#define TOLD_MAX 400

static const char objective[] =
    "apiVersion: openslo/v1\nkind: SLO\nmetadata: {name: checkout, annotations: "
    "{telltale.dev/no-data: alert}}\nspec:\n  service: checkout\n"
    "  indicator: {spec: {llm: {indicator: availability-request}}}\n"
    "  timeWindow: [{duration: %s, isRolling: true}]\n  budgetingMethod: Occurrences\n"
    "  objectives: [{target: %s}]\n";

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static int64_t below(uint64_t *state, int64_t n)
{
    return (int64_t)(next_random(state) % (uint64_t)n);
}

/* Quiet traffic with outages, slow burns, silence, and stretches where much is excluded. */
static void fill(struct helper_slo *cells, uint64_t seed, uint32_t from, uint32_t to)
{
    uint64_t random = seed * 0x9E3779B97F4A7C15ull + 1;
    int64_t per_minute = 20 + below(&random, 300);
    for (uint32_t m = from; m < to;) {
        uint32_t end = MIN(to, m + 10 + (uint32_t)below(&random, 240));
        int64_t kind = below(&random, 8);
        double bad = kind == 0   ? 1
                     : kind == 1 ? 0.05
                     : kind == 2 ? 0.015
                     : kind == 3 ? 0.2
                                 : 0.0003;
        int64_t n = kind == 4 ? 0 : kind == 5 ? 1 : per_minute;
        double carry = 0;
        for (; m < end; m++) {
            carry += (double)n * bad;
            int64_t wrong = (int64_t)carry;
            carry -= (double)wrong;
            if (n - wrong)
                helper_slo_request(cells, "checkout", "gpt-4o", "eu-west", "ok", "", m, n - wrong);
            if (wrong)
                helper_slo_request(cells, "checkout", "gpt-4o", "eu-west", "timeout", "provider", m,
                                   wrong);
            if (kind == 6 && n)
                helper_slo_request(cells, "checkout", "gpt-4o", "eu-west", "cancelled", "caller", m,
                                   n);
        }
    }
}

/* --- the evaluator, live ------------------------------------------------------------------------- */

struct told { /* an alert that fired, by its fingerprint */
    char fingerprint[33], rule[64];
    enum query_slo_severity severity;
    int64_t start_ms, fired_ms, resolved_ms;
};

struct live {
    struct helper_slo *cells;
    struct query_slo_source source;
    struct helper_state *state;
    struct detectors_store store;
    struct detectors_receiver receiver;
    struct detectors *d;
    char path[64];
    struct told told[TOLD_MAX];
    size_t count;
};

static void live_begin(struct live *l, const char *period, const char *target)
{
    struct buf errors;
    const char *paths[] = {l->path};
    *l = (struct live){.cells = helper_slo_new(), .state = helper_state_new()};
    l->source = helper_slo_source(l->cells);
    l->store = helper_state_store(l->state);
    l->receiver = (struct detectors_receiver){.name = "hook",
                                              .url = "http://127.0.0.1:9/",
                                              .allow_private = true,
                                              .repeat_ms = INT64_C(400) * 86400000};
    memcpy(l->path, "/tmp/telltale-slo-XXXXXX", sizeof("/tmp/telltale-slo-XXXXXX"));
    int fd = mkstemp(l->path);
    assert_true(fd >= 0);
    dprintf(fd, objective, period, target);
    close(fd);
    buf_init(&errors, 0);
    struct detectors_options o = {.slo_paths = paths,
                                  .slo_path_count = 1,
                                  .receivers = &l->receiver,
                                  .receiver_count = 1,
                                  .store = &l->store,
                                  .source = &l->source};
    if (detectors_new(&o, &l->d, &errors) != ERR_OK)
        fail_msg("%.*s", (int)errors.size, errors.data);
    buf_done(&errors);
}

static void live_end(struct live *l)
{
    detectors_free(l->d);
    helper_slo_free(l->cells);
    helper_state_free(l->state);
    unlink(l->path);
}

static void look(struct live *l)
{
    struct arena *a = arena_new(0);
    struct detectors_alert *list;
    size_t n;
    assert_int_equal(detectors_alerts(l->d, a, &list, &n), ERR_OK);
    for (size_t i = 0; i < n; i++) {
        size_t k = 0;
        if (list[i].state == DETECTORS_PENDING)
            continue;
        while (k < l->count && !bytes_equal_str(list[i].fingerprint, l->told[k].fingerprint))
            k++;
        assert_true(k < TOLD_MAX);
        l->count += k == l->count;
        struct told *t = &l->told[k];
        snprintf(t->fingerprint, sizeof(t->fingerprint), BYTES_FMT, BYTES_ARG(list[i].fingerprint));
        snprintf(t->rule, sizeof(t->rule), BYTES_FMT, BYTES_ARG(list[i].rule));
        t->severity = list[i].severity;
        t->start_ms = list[i].active_since_ms;
        t->fired_ms = list[i].fired_ms;
        t->resolved_ms = list[i].resolved_ms;
    }
    arena_free(a);
}

static int by_firing(const void *x, const void *y)
{
    const struct told *a = x, *b = y;
    if (a->fired_ms != b->fired_ms)
        return a->fired_ms < b->fired_ms ? -1 : 1;
    return strcmp(a->rule, b->rule);
}

/* Every minute at the last moment before the next: the minute is whole. */
static void live_run(struct live *l, uint32_t from, uint32_t to)
{
    for (uint32_t m = from; m < to; m++) {
        int64_t now_ms = ((int64_t)m + 1) * 60000 + QUERY_SLO_DELAY_MS - 1;
        assert_int_equal(detectors_evaluate(l->d, now_ms), ERR_OK);
        look(l);
    }
    qsort(l->told, l->count, sizeof(l->told[0]), by_firing);
}

static void count_notes(struct live *l, uint32_t *out_first, uint32_t *out_steps)
{
    struct arena *a = arena_new(0);
    struct detectors_outbox_row *rows;
    size_t n;
    *out_first = *out_steps = 0;
    assert_int_equal(detectors_outbox(l->d, a, &rows, &n), ERR_OK);
    for (size_t i = 0; i < n; i++) {
        *out_first += bytes_equal_str(rows[i].event, "firing");
        *out_steps += bytes_has_prefix(rows[i].event, BYTES_LIT("step-"));
    }
    arena_free(a);
}

/* --- the walk ------------------------------------------------------------------------------------ */

static void walk(const struct query_slo_source *src, const char *period, const char *target,
                 uint32_t from, uint32_t to, struct arena *a, struct told *out, size_t *out_count,
                 struct detectors_backtest *out_result)
{
    struct query_slo_set set;
    struct buf errors;
    char text[1024];
    snprintf(text, sizeof(text), objective, period, target);
    buf_init(&errors, 0);
    assert_int_equal(query_slo_set_init(&set), ERR_OK);
    assert_int_equal(query_slo_load_text(&set, "test", bytes_str(text), &errors), ERR_OK);
    struct detectors_backtest_ask ask = {.from_ms = (int64_t)from * 60000,
                                         .to_ms = (int64_t)to * 60000};
    assert_int_equal(detectors_backtest_run(src, &set.slos[0], &ask, a, out_result), ERR_OK);
    *out_count = out_result->alert_count;
    for (size_t i = 0; i < out_result->alert_count; i++) {
        const struct detectors_backtest_alert *x = &out_result->alerts[i];
        assert_true(i < TOLD_MAX);
        out[i] = (struct told){.severity = x->severity,
                               .start_ms = x->start_ms,
                               .fired_ms = x->fired_ms,
                               .resolved_ms = x->resolved_ms};
        snprintf(out[i].rule, sizeof(out[i].rule), BYTES_FMT, BYTES_ARG(x->rule));
    }
    qsort(out, *out_count, sizeof(*out), by_firing);
    buf_done(&errors);
    query_slo_set_done(&set);
}

static size_t compare(uint64_t seed, const char *period, const char *target, uint32_t minutes)
{
    struct live l;
    struct told *walked = calloc(TOLD_MAX, sizeof(*walked));
    struct detectors_backtest b;
    struct arena *a = arena_new(0);
    size_t n;
    uint32_t first, steps, from = BASE, to = BASE + minutes;
    assert_non_null(walked);
    live_begin(&l, period, target);
    fill(l.cells, seed, from - 2000, to);
    live_run(&l, from, to);
    count_notes(&l, &first, &steps);
    walk(&l.source, period, target, from, to, a, walked, &n, &b);
    assert_int_equal(n, l.count);
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(walked[i].rule, l.told[i].rule);
        assert_int_equal(walked[i].severity, l.told[i].severity);
        assert_int_equal(walked[i].start_ms, l.told[i].start_ms);
        assert_int_equal(walked[i].fired_ms, l.told[i].fired_ms);
        assert_int_equal(walked[i].resolved_ms, l.told[i].resolved_ms);
    }
    assert_int_equal(b.pages + b.tickets, first + steps);
    free(walked);
    arena_free(a);
    live_end(&l);
    return n;
}

static void alerts_and_notifications_equal_those_of_the_evaluator(void **state)
{
    (void)state;
    size_t n = 0;
    for (uint64_t seed = 1; seed <= 6; seed++)
        n += compare(seed, seed % 2 ? "30d" : "7d", seed % 3 ? "0.99" : "0.999", 1500);
    print_message("    %zu alerts\n", n);
    assert_true(n >= 20);
}

static void another_target_would_have_fired_otherwise(void **state)
{
    (void)state;
    struct helper_slo *cells = helper_slo_new();
    struct query_slo_source src = helper_slo_source(cells);
    struct told *x = calloc(2 * TOLD_MAX, sizeof(*x));
    struct detectors_backtest strict, loose;
    struct arena *a = arena_new(0);
    size_t n, m;
    assert_non_null(x);
    fill(cells, 3, BASE - 2000, BASE + 3000);
    walk(&src, "30d", "0.999", BASE, BASE + 3000, a, x, &n, &strict);
    walk(&src, "30d", "0.9", BASE, BASE + 3000, a, x + TOLD_MAX, &m, &loose);
    assert_true(n > m);
    assert_true(strict.pages + strict.tickets > loose.pages + loose.tickets);
    assert_true(strict.counts.bad == loose.counts.bad && strict.counts.bad > 0);
    free(x);
    arena_free(a);
    helper_slo_free(cells);
}

static void an_outage_is_told_rule_after_rule_and_says_who_was_responsible(void **state)
{
    (void)state;
    struct helper_slo *cells = helper_slo_new();
    struct query_slo_source src = helper_slo_source(cells);
    struct told x[TOLD_MAX];
    struct detectors_backtest b;
    struct arena *a = arena_new(0);
    size_t n;
    for (uint32_t m = BASE; m < BASE + 6000; m++) {
        bool is_out = m >= BASE + 3000 && m < BASE + 3040;
        helper_slo_request(cells, "checkout", "gpt-4o", "us", "ok", "", m, 100);
        helper_slo_request(cells, "checkout", "claude", "eu", is_out ? "provider_error" : "ok",
                           is_out ? "provider" : "", m, 100);
    }
    walk(&src, "30d", "0.999", BASE, BASE + 6000, a, x, &n, &b);
    assert_int_equal(b.pages, 2); /* of 1 h; when that is over, of 6 h, which still burns */
    assert_int_equal(b.data_from_ms, (int64_t)BASE * 60000);
    assert_true(isnan(b.exact_share));
    assert_true(n >= 2); /* more rules fire than people are told */
    const struct detectors_backtest_alert *first = &b.alerts[0];
    assert_true(first->is_told && first->severity == QUERY_SLO_PAGE);
    assert_true(bytes_equal_str(first->rule, "2%-in-1h"));
    assert_true(first->start_ms >= (int64_t)(BASE + 3000) * 60000 &&
                first->start_ms <= (int64_t)(BASE + 3002) * 60000);
    assert_true(first->resolved_ms > (int64_t)(BASE + 3040) * 60000);
    assert_true(first->peak_burn > 300 && first->long_burn > 14.4);
    assert_true(bytes_find(first->phrase, BYTES_LIT("claude")) < first->phrase.size);
    arena_free(a);
    helper_slo_free(cells);
}

static void ranges_that_are_none_are_refused_and_a_deadline_ends_it(void **state)
{
    (void)state;
    struct helper_slo *cells = helper_slo_new();
    struct query_slo_source src = helper_slo_source(cells);
    struct query_slo_set set;
    struct detectors_backtest b;
    struct arena *a = arena_new(0);
    const int64_t base = (int64_t)BASE * 60000, day = 86400000;
    const struct detectors_backtest_ask bad[] = {{.from_ms = base, .to_ms = base},
                                                 {.from_ms = base, .to_ms = base - day},
                                                 {.from_ms = -day, .to_ms = day},
                                                 {.from_ms = base - 401 * day, .to_ms = base}};
    assert_int_equal(query_slo_set_init(&set), ERR_OK);
    assert_int_equal(query_slo_load_defaults(&set), ERR_OK);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(detectors_backtest_run(&src, &set.slos[0], &bad[i], a, &b), ERR_INVALID);
    struct detectors_backtest_ask ask = {
        .from_ms = base - day, .to_ms = base, .deadline_mono_ns = 1};
    assert_int_equal(detectors_backtest_run(&src, &set.slos[0], &ask, a, &b), ERR_TIMEOUT);
    ask.deadline_mono_ns = 0;
    assert_int_equal(detectors_backtest_run(&src, &set.slos[0], &ask, a, &b), ERR_OK);
    assert_int_equal(b.data_from_ms, 0);
    assert_int_equal(b.pages + b.tickets, 0);
    assert_true(isnan(b.budget_left));
    query_slo_set_done(&set);
    arena_free(a);
    helper_slo_free(cells);
}

static void the_answer_of_what_is_loaded_is_json(void **state)
{
    (void)state;
    struct live l;
    struct buf out = {0};
    struct err_msg msg;
    struct arena *a = arena_new(0);
    struct json_node *root;
    int64_t pages = 0;
    live_begin(&l, "30d", "0.999");
    for (uint32_t m = BASE; m < BASE + 600; m++)
        helper_slo_request(l.cells, "checkout", "gpt-4o", "eu", m > BASE + 500 ? "timeout" : "ok",
                           m > BASE + 500 ? "provider" : "", m, 100);
    struct detectors_backtest_ask ask = {.from_ms = (int64_t)BASE * 60000,
                                         .to_ms = (int64_t)(BASE + 600) * 60000};
    struct json_out j = json_out_to(&out);
    assert_int_equal(detectors_backtest_loaded(l.d, BYTES_LIT("checkout"), &ask, &j, &msg), ERR_OK);
    assert_int_equal(json_in_tree(buf_bytes(&out), 16, a, &root, &msg), ERR_OK);
    assert_true(json_get_i64(root, "pages", &pages) && pages == 1);
    const struct json_node *alerts = json_get(root, "alerts");
    assert_non_null(alerts->child);
    assert_true(bytes_equal_str(json_get_str(alerts->child, "severity"), "page"));
    int64_t resolved = -1;
    assert_true(json_get_i64(alerts->child, "resolved_ms", &resolved) && resolved == 0);
    struct json_out other = json_out_to(&out);
    assert_int_equal(detectors_backtest_loaded(l.d, BYTES_LIT("nope"), &ask, &other, &msg),
                     ERR_NOT_FOUND);
    buf_done(&out);
    arena_free(a);
    live_end(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alerts_and_notifications_equal_those_of_the_evaluator),
        cmocka_unit_test(another_target_would_have_fired_otherwise),
        cmocka_unit_test(an_outage_is_told_rule_after_rule_and_says_who_was_responsible),
        cmocka_unit_test(ranges_that_are_none_are_refused_and_a_deadline_ends_it),
        cmocka_unit_test(the_answer_of_what_is_loaded_is_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
