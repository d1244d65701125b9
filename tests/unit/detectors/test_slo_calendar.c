/* Calendar windows: where a period begins, through the changes of clocks; and what reading objectives again keeps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/check.h"
#include "base/clock.h"
#include "detectors/detectors_backtest.h"
#include "detectors/helper_state.h"
#include "detectors/slo_calendar.h"
#include "query/helper_slo.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define BASE 29700000u /* 2026-06-21 00:00 UTC */

/* --- calendars ----------------------------------------------------------------------------------- */

static uint32_t minute_of(const char *utc)
{
    int64_t ns;
    assert_true(clock_parse_rfc3339(utc, &ns));
    return (uint32_t)(ns / 60000000000);
}

static struct slo_calendar calendar(struct arena *a, struct query_slo_calendar def)
{
    struct query_slo s = {.calendar = def};
    struct slo_calendar c;
    struct err_msg msg;
    if (slo_calendar_load(&s, a, &c, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    return c;
}

static void expect_start(const struct slo_calendar *c, const char *at, const char *want)
{
    uint32_t got = slo_calendar_start(c, minute_of(at));
    if (got != minute_of(want)) {
        char text[CLOCK_RFC3339_MAX];
        clock_rfc3339((int64_t)got * 60000, text);
        fail_msg("%s: the period began at %s, not %s", at, text, want);
    }
}

static void a_month_begins_at_midnight_of_its_zone(void **state)
{
    (void)state;
    struct arena *a = arena_new(0);
    struct slo_calendar berlin =
        calendar(a, (struct query_slo_calendar){1, 0, 2026, 1, 1, 0, BYTES_LIT("Europe/Berlin")});
    expect_start(&berlin, "2026-01-01T00:00:00Z", "2025-12-31T23:00:00Z");
    expect_start(&berlin, "2026-03-31T21:59:00Z", "2026-02-28T23:00:00Z"); /* summer time by now */
    expect_start(&berlin, "2026-03-31T22:00:00Z", "2026-03-31T22:00:00Z");
    expect_start(&berlin, "2026-10-31T23:30:00Z", "2026-10-31T23:00:00Z");
    assert_int_equal(slo_calendar_start(&berlin, minute_of("2025-06-01T00:00:00Z")), 0);
    struct slo_calendar last =
        calendar(a, (struct query_slo_calendar){1, 0, 2026, 1, 31, 12 * 60, BYTES_LIT("UTC")});
    expect_start(&last, "2026-03-01T00:00:00Z", "2026-02-28T12:00:00Z");
    expect_start(&last, "2026-02-28T11:59:00Z", "2026-01-31T12:00:00Z");
    struct slo_calendar quarter =
        calendar(a, (struct query_slo_calendar){3, 0, 2024, 11, 1, 0, BYTES_LIT("UTC")});
    expect_start(&quarter, "2026-04-30T23:59:00Z", "2026-02-01T00:00:00Z");
    arena_free(a);
}

/* 02:30 does not exist in Berlin on 2026-03-29, and is there twice on 2026-10-25. */
static void days_have_the_hours_that_the_clocks_give_them(void **state)
{
    (void)state;
    struct arena *a = arena_new(0);
    struct slo_calendar c =
        calendar(a, (struct query_slo_calendar){0, 1, 2026, 1, 1, 150, BYTES_LIT("Europe/Berlin")});
    expect_start(&c, "2026-03-28T12:00:00Z", "2026-03-28T01:30:00Z");
    expect_start(&c, "2026-03-29T12:00:00Z", "2026-03-29T01:30:00Z");
    expect_start(&c, "2026-03-30T12:00:00Z", "2026-03-30T00:30:00Z");
    expect_start(&c, "2026-10-25T12:00:00Z", "2026-10-25T00:30:00Z");
    expect_start(&c, "2026-10-26T12:00:00Z", "2026-10-26T01:30:00Z");
    arena_free(a);
}

static void every_minute_is_in_the_period_that_its_start_says(void **state)
{
    (void)state;
    struct arena *a = arena_new(0);
    const struct query_slo_calendar defs[] = {
        {1, 0, 2026, 1, 31, 0, BYTES_LIT("America/New_York")},
        {0, 7, 2026, 1, 5, 0, BYTES_LIT("Asia/Kolkata")},
        {12, 0, 2020, 2, 29, 0, BYTES_LIT("Australia/Lord_Howe")}};
    for (size_t i = 0; i < ARRAY_LEN(defs); i++) {
        struct slo_calendar c = calendar(a, defs[i]);
        uint32_t before = 0, from = minute_of("2026-03-01T00:00:00Z");
        for (uint32_t m = from; m < from + 400 * 1440; m += 7) {
            uint32_t start = slo_calendar_start(&c, m);
            assert_true(start && start <= m && start >= before);
            assert_int_equal(slo_calendar_start(&c, start), start);
            before = start;
        }
    }
    struct query_slo s = {.calendar = {1, 0, 2026, 1, 1, 0, BYTES_LIT("Europe/Atlantis")}};
    struct slo_calendar c;
    struct err_msg msg;
    assert_int_equal(slo_calendar_load(&s, a, &c, &msg), ERR_NOT_FOUND);
    arena_free(a);
}

/* --- a server's objectives ----------------------------------------------------------------------- */

struct sim {
    struct helper_slo *cells;
    struct query_slo_source source;
    struct helper_state *state;
    struct detectors_store store;
    struct detectors *d;
    char path[64];
    const char *paths[1];
    struct buf errors;
};

#define OBJECTIVE(name, target, window, more)                                                      \
    "apiVersion: openslo/v1\nkind: SLO\nmetadata: {name: " name more "}\nspec:\n  service: shop\n" \
    "  indicator: {spec: {llm: {indicator: availability-request}}}\n"                              \
    "  timeWindow: [{duration: " window "}]\n  budgetingMethod: Occurrences\n  objectives: "       \
    "[{target: " target "}]\n---\n"
#define ROLLING "30d, isRolling: true"
#define MONTH "1M, isRolling: false, calendar: {startTime: 2026-01-01, timeZone: Europe/Berlin}"

static void put(struct sim *s, const char *text)
{
    FILE *f = fopen(s->path, "we");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void begin(struct sim *s, const char *text)
{
    *s = (struct sim){.cells = helper_slo_new(), .state = helper_state_new()};
    s->source = helper_slo_source(s->cells);
    s->store = helper_state_store(s->state);
    memcpy(s->path, "/tmp/telltale-slo-XXXXXX", sizeof("/tmp/telltale-slo-XXXXXX"));
    close(mkstemp(s->path));
    put(s, text);
    buf_init(&s->errors, 0);
    s->paths[0] = s->path;
    struct detectors_options o = {
        .slo_paths = s->paths, .slo_path_count = 1, .store = &s->store, .source = &s->source};
    if (detectors_new(&o, &s->d, &s->errors) != ERR_OK)
        fail_msg("%.*s", (int)s->errors.size, s->errors.data);
}

static void end(struct sim *s)
{
    detectors_free(s->d);
    helper_slo_free(s->cells);
    helper_state_free(s->state);
    unlink(s->path);
    buf_done(&s->errors);
}

static void evaluate(struct sim *s, uint32_t minute)
{
    assert_int_equal(
        detectors_evaluate(s->d, ((int64_t)minute + 1) * 60000 + QUERY_SLO_DELAY_MS - 1), ERR_OK);
}

static struct detectors_slo_row row(struct sim *s, struct arena *a, const char *id)
{
    struct detectors_slo_row r;
    assert_int_equal(detectors_slo(s->d, bytes_str(id), a, &r), ERR_OK);
    return r;
}

static void traffic(struct sim *s, uint32_t from, uint32_t to, int64_t good, int64_t bad)
{
    for (uint32_t m = from; m < to; m++) {
        if (good)
            helper_slo_request(s->cells, "shop", "", "", "ok", "", m, good);
        if (bad)
            helper_slo_request(s->cells, "shop", "", "", "timeout", "provider", m, bad);
    }
}

static void a_calendar_budget_begins_anew_and_a_backtest_says_the_same(void **state)
{
    (void)state;
    struct sim s;
    struct arena *a = arena_new(0);
    begin(&s, OBJECTIVE("shop", "0.9", MONTH, ""));
    uint32_t july = minute_of("2026-06-30T22:00:00Z");
    traffic(&s, july - 3000, july, 90, 10);
    traffic(&s, july, july + 100, 99, 1);
    evaluate(&s, july - 1);
    assert_int_equal(row(&s, a, "shop").period.bad, 30000);
    assert_true(fabs(row(&s, a, "shop").budget_left) < 1e-9);
    evaluate(&s, july + 49);
    assert_int_equal(row(&s, a, "shop").period.bad, 50);
    assert_true(fabs(row(&s, a, "shop").budget_left - 0.9) < 1e-9);
    struct detectors_series points;
    assert_int_equal(detectors_slo_series(s.d, BYTES_LIT("shop"), (int64_t)(july - 60) * 60000,
                                          (int64_t)(july + 60) * 60000, 60, a, &points),
                     ERR_OK);
    assert_true(fabs(points.budget_left[0]) < 1e-9 && fabs(points.budget_left[1] - 0.9) < 1e-9);
    struct detectors_backtest b;
    struct detectors_backtest_ask ask = {.from_ms = (int64_t)(july - 200) * 60000,
                                         .to_ms = (int64_t)(july + 50) * 60000};
    assert_int_equal(detectors_backtest_run(&s.source, row(&s, a, "shop").slo, &ask, a, &b),
                     ERR_OK);
    assert_true(fabs(b.budget_left - 0.9) < 1e-9);
    arena_free(a);
    end(&s);
}

static enum err reload(struct sim *s, const char *text, uint32_t want)
{
    uint32_t n = 0;
    put(s, text);
    buf_done(&s->errors);
    buf_init(&s->errors, 0);
    enum err e = detectors_reload(s->d, NULL, &n, &s->errors);
    if (e == ERR_OK)
        assert_int_equal(n, want);
    return e;
}

static struct detectors_alert *alert(struct sim *s, struct arena *a, const char *slo,
                                     enum detectors_state state)
{
    struct detectors_alert *list;
    size_t n;
    assert_int_equal(detectors_alerts(s->d, a, &list, &n), ERR_OK);
    for (size_t i = 0; i < n; i++)
        if (bytes_equal_str(list[i].slo_id, slo) && list[i].state == state)
            return &list[i];
    return NULL;
}

static struct detectors_alert *by_fingerprint(struct sim *s, struct arena *a, struct bytes print)
{
    struct detectors_alert *list;
    size_t n;
    assert_int_equal(detectors_alerts(s->d, a, &list, &n), ERR_OK);
    for (size_t i = 0; i < n; i++)
        if (bytes_equal(list[i].fingerprint, print))
            return &list[i];
    return NULL;
}

static void what_stays_keeps_its_alerts_and_its_budget(void **state)
{
    (void)state;
    struct sim s;
    struct arena *a = arena_new(0);
    begin(&s, OBJECTIVE("shop", "0.999", ROLLING, "") OBJECTIVE("gone", "0.999", ROLLING, ""));
    traffic(&s, BASE - 5000, BASE, 1000, 0);
    traffic(&s, BASE, BASE + 100, 500, 500);
    for (uint32_t m = BASE - 1; m < BASE + 11; m++)
        evaluate(&s, m);
    struct detectors_alert *firing = alert(&s, a, "shop", DETECTORS_FIRING);
    struct detectors_alert *pending = alert(&s, a, "shop", DETECTORS_PENDING);
    assert_non_null(firing);
    assert_non_null(pending);
    assert_non_null(alert(&s, a, "gone", DETECTORS_PENDING));
    struct detectors_slo_row before = row(&s, a, "shop");
    assert_int_equal(reload(&s, OBJECTIVE("shop", "0.999", ROLLING, ", labels: {team: x}"), 1),
                     ERR_OK);
    struct detectors_slo_row after = row(&s, a, "shop");
    assert_int_equal(after.budget_since_ms, before.budget_since_ms);
    assert_int_equal(after.state, DETECTORS_FIRING); /* at once, not when it is evaluated next */
    assert_int_equal(after.slo->label_count, 1);
    assert_int_equal(before.slo->label_count, 0); /* who asked before may still read */
    evaluate(&s, BASE + 11);
    struct detectors_alert *same = by_fingerprint(&s, a, firing->fingerprint);
    assert_true(same && same->state == DETECTORS_FIRING && same->fired_ms == firing->fired_ms);
    struct detectors_alert *waits = by_fingerprint(&s, a, pending->fingerprint);
    assert_true(waits && waits->active_since_ms == pending->active_since_ms);
    for (uint32_t m = BASE + 12; m < BASE + 17; m++)
        evaluate(&s, m);
    waits = by_fingerprint(&s, a, pending->fingerprint);
    assert_true(waits && waits->state == DETECTORS_FIRING); /* it did not begin to wait anew */
    assert_true(waits->fired_ms / 60000 <= pending->active_since_ms / 60000 + 7);
    assert_null(alert(&s, a, "gone", DETECTORS_FIRING));
    assert_null(alert(&s, a, "gone", DETECTORS_PENDING));
    struct detectors_slo_row none;
    assert_int_equal(detectors_slo(s.d, BYTES_LIT("gone"), a, &none), ERR_NOT_FOUND);
    usleep(2000); /* the wall clock moves on */
    assert_int_equal(reload(&s, OBJECTIVE("shop", "0.9", ROLLING, ""), 1), ERR_OK);
    assert_true(row(&s, a, "shop").budget_since_ms > before.budget_since_ms);
    evaluate(&s, BASE + 17);
    assert_true(row(&s, a, "shop").period.bad > 0);
    arena_free(a);
    end(&s);
}

static enum err refuse(void *ctx, const struct detectors_threshold *t, size_t n,
                       struct err_msg *msg)
{
    (void)t, (void)n;
    ++*(int *)ctx;
    return err_set(msg, ERR_LIMIT, "too many thresholds");
}

static void on_a_mistake_or_a_refusal_the_old_ones_stay(void **state)
{
    (void)state;
    struct sim s;
    struct arena *a = arena_new(0);
    begin(&s, OBJECTIVE("shop", "0.999", ROLLING, ""));
    traffic(&s, BASE - 100, BASE, 10, 0);
    evaluate(&s, BASE - 1);
    int64_t since = row(&s, a, "shop").budget_since_ms;
    assert_int_equal(reload(&s, OBJECTIVE("shop", "9", ROLLING, ""), 0), ERR_INVALID);
    assert_true(bytes_find(buf_bytes(&s.errors), BYTES_LIT("spec.objectives.target")) <
                s.errors.size);
    assert_int_equal(reload(&s,
                            OBJECTIVE("shop", "0.9",
                                      "1M, isRolling: false, calendar: {startTime: "
                                      "2026-01-01, timeZone: Europe/Atlantis}",
                                      ""),
                            0),
                     ERR_INVALID);
    int asked = 0;
    uint32_t n = 0;
    struct detectors_accept accept = {refuse, &asked};
    put(&s, OBJECTIVE("shop", "0.9", ROLLING, "") OBJECTIVE("more", "0.9", ROLLING, ""));
    assert_int_equal(detectors_reload(s.d, &accept, &n, &s.errors), ERR_LIMIT);
    assert_true(asked > 0);
    for (unsigned call = 1; call <= 4; call++) { /* begin, two puts, commit */
        helper_state_fail_at(s.state, call);
        assert_int_equal(detectors_reload(s.d, NULL, &n, &s.errors), ERR_IO);
        assert_true(row(&s, a, "shop").slo->target == 0.999);
        assert_int_equal(row(&s, a, "shop").budget_since_ms, since);
    }
    helper_state_fail_at(s.state, 0);
    assert_int_equal(detectors_reload(s.d, NULL, &n, &s.errors), ERR_OK);
    assert_int_equal(n, 2);
    arena_free(a);
    end(&s);
}

static void it_may_be_read_again_often_but_not_without_end(void **state)
{
    (void)state;
    struct sim s;
    begin(&s, OBJECTIVE("shop", "0.999", ROLLING, ""));
    enum err e = ERR_OK;
    unsigned times = 0;
    while (e == ERR_OK && times < 100) {
        e = reload(&s, OBJECTIVE("shop", "0.999", ROLLING, ""), 1);
        times++;
    }
    assert_int_equal(e, ERR_UNAVAILABLE);
    assert_int_equal(times, 33);
    end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_month_begins_at_midnight_of_its_zone),
        cmocka_unit_test(days_have_the_hours_that_the_clocks_give_them),
        cmocka_unit_test(every_minute_is_in_the_period_that_its_start_says),
        cmocka_unit_test(a_calendar_budget_begins_anew_and_a_backtest_says_the_same),
        cmocka_unit_test(what_stays_keeps_its_alerts_and_its_budget),
        cmocka_unit_test(on_a_mistake_or_a_refusal_the_old_ones_stay),
        cmocka_unit_test(it_may_be_read_again_often_but_not_without_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
