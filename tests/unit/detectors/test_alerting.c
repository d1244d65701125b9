/* From events to alerts: when they fire, when they must not, and that no change is ever half-written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/check.h"
#include "base/clock.h"
#include "detectors/alert.h"
#include "detectors/detectors.h"
#include "detectors/helper_state.h"
#include "query/helper_slo.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BASE 29700000u
#define NOT_FIRED (-1)

/* --- a simulated service and its clock ----------------------------------------------------------- */

struct sim {
    struct helper_slo *cells;
    struct query_slo_source source;
    struct helper_state *state;
    struct detectors_store store;
    struct detectors *d;
    struct detectors_receiver receiver;
    char slo_path[64];
    int64_t now_ms;
    double bad_carry; /* so that 0.2 % of few requests is exact over time */
};

static void write_slo(struct sim *s, const char *target, const char *more)
{
    strcpy(s->slo_path, "/tmp/telltale-slo-XXXXXX");
    int fd = mkstemp(s->slo_path);
    assert_true(fd >= 0);
    dprintf(fd,
            "apiVersion: openslo/v1\nkind: SLO\nmetadata: {name: checkout, displayName: Checkout"
            " answers%s}\nspec:\n  service: checkout\n  indicator:\n    metadata: {name: x}\n"
            "    spec: {ratioMetric: {raw: {metricSource: {type: telltale, spec: {sli: "
            "availability-request}}}}}\n"
            "  timeWindow: [{duration: 30d, isRolling: true}]\n  budgetingMethod: Occurrences\n"
            "  objectives: [{target: %s}]\n",
            more, target);
    close(fd);
}

static void sim_open(struct sim *s, uint32_t mutate)
{
    const char *paths[] = {s->slo_path};
    struct buf errors;
    buf_init(&errors, 0);
    struct detectors_options o = {.slo_paths = paths,
                                  .slo_path_count = 1,
                                  .receivers = &s->receiver,
                                  .receiver_count = 1,
                                  .external_url = "http://telltale.test",
                                  .store = &s->store,
                                  .source = &s->source,
                                  .mutate = mutate};
    if (detectors_new(&o, &s->d, &errors) != ERR_OK)
        fail_msg("%.*s", (int)errors.size, errors.data);
    buf_done(&errors);
}

static void sim_begin_with(struct sim *s, const char *target, const char *more, uint32_t mutate)
{
    *s = (struct sim){.cells = helper_slo_new(), .state = helper_state_new()};
    s->source = helper_slo_source(s->cells);
    s->store = helper_state_store(s->state);
    s->receiver = (struct detectors_receiver){
        .name = "hook", .url = "http://127.0.0.1:9/", .allow_private = true};
    s->now_ms = (int64_t)BASE * 60000 + 45000;
    write_slo(s, target, more);
    sim_open(s, mutate);
}

static void sim_begin(struct sim *s, const char *target)
{
    sim_begin_with(s, target, "", 0);
}

static void sim_end(struct sim *s)
{
    detectors_free(s->d);
    helper_slo_free(s->cells);
    helper_state_free(s->state);
    unlink(s->slo_path);
}

static void traffic_at(struct sim *s, uint32_t minute, int64_t requests, double bad_share)
{
    s->bad_carry += (double)requests * bad_share;
    int64_t bad = (int64_t)floor(s->bad_carry + 1e-9);
    bad = MIN(bad, requests);
    s->bad_carry -= (double)bad;
    if (requests - bad)
        helper_slo_request(s->cells, "checkout", "gpt-4o", "eu-west", "ok", "", minute,
                           requests - bad);
    if (bad)
        helper_slo_request(s->cells, "checkout", "gpt-4o", "eu-west", "timeout", "provider", minute,
                           bad);
}

/* History without evaluations, up to the minute before now. */
static void history(struct sim *s, uint32_t minutes, int64_t per_minute, double bad_share)
{
    uint32_t now = (uint32_t)(s->now_ms / 60000);
    for (uint32_t m = now - minutes; m < now; m++)
        traffic_at(s, m, per_minute, bad_share);
}

static const struct detectors_alert *find_alert(struct sim *s, struct arena *a, const char *rule,
                                                enum detectors_state state)
{
    struct detectors_alert *list;
    size_t n;
    assert_int_equal(detectors_alerts(s->d, a, &list, &n), ERR_OK);
    for (size_t i = 0; i < n; i++)
        if ((!rule || bytes_equal_str(list[i].rule, rule)) && list[i].state == state)
            return &list[i];
    return NULL;
}

static size_t count_alerts(struct sim *s, enum query_slo_severity severity,
                           enum detectors_state state)
{
    struct arena *a = arena_new(0);
    struct detectors_alert *list;
    size_t n, hits = 0;
    assert_int_equal(detectors_alerts(s->d, a, &list, &n), ERR_OK);
    for (size_t i = 0; i < n; i++)
        hits += list[i].severity == severity && list[i].state == state;
    arena_free(a);
    return hits;
}

static void step(struct sim *s, int64_t step_ms, int64_t per_minute, double bad_share)
{
    traffic_at(s, (uint32_t)(s->now_ms / 60000), per_minute * step_ms / 60000, bad_share);
    assert_int_equal(detectors_evaluate(s->d, s->now_ms), ERR_OK);
    s->now_ms += step_ms;
}

/* Seconds until an alert of the severity fires, or NOT_FIRED within limit_s. */
static int64_t run_until_fired(struct sim *s, enum query_slo_severity severity, int64_t step_ms,
                               int64_t per_minute, double bad_share, int64_t limit_s)
{
    int64_t begin = s->now_ms;
    while (s->now_ms - begin <= limit_s * 1000) {
        step(s, step_ms, per_minute, bad_share);
        if (count_alerts(s, severity, DETECTORS_FIRING))
            return (s->now_ms - step_ms - begin) / 1000;
    }
    return NOT_FIRED;
}

/* --- timing -------------------------------------------------------------------------------------- */

static void a_total_outage_pages_within_two_minutes(void **state)
{
    (void)state;
    struct sim s;
    sim_begin(&s, "0.999");
    history(&s, 3 * 1440, 120, 0.0002);
    s.now_ms += 15000; /* the outage begins with a minute */
    for (int i = 0; i < 30; i++)
        step(&s, 2000, 120, 0);
    assert_int_equal(count_alerts(&s, QUERY_SLO_PAGE, DETECTORS_FIRING), 0);
    int64_t seconds = run_until_fired(&s, QUERY_SLO_PAGE, 2000, 120, 1.0, 600);
    print_message("    total outage, 99.9 %%: page after %lld s\n", (long long)seconds);
    assert_true(seconds > 0 && seconds <= 120);
    struct arena *a = arena_new(0);
    const struct detectors_alert *x = find_alert(&s, a, "2%-in-1h", DETECTORS_FIRING);
    assert_non_null(x);
    assert_true(x->long_burn > 14.4 && x->short_burn > 14.4);
    assert_true(bytes_find(x->summary, BYTES_LIT("limit 14.4")) < x->summary.size);
    assert_true(bytes_has_prefix(x->sentence, BYTES_LIT("checkout: 1 SLO burning, since ")));
    struct detectors_headline head;
    assert_int_equal(detectors_headline_get(s.d, a, &head), ERR_OK);
    assert_int_equal(head.burning, 1);
    assert_true(bytes_equal(head.sentence, x->sentence));
    arena_free(a);
    sim_end(&s);
}

static void burning_twice_too_fast_raises_a_ticket_and_no_page(void **state)
{
    (void)state;
    struct sim s;
    sim_begin(&s, "0.999");
    history(&s, 4 * 1440, 600, 0.0005);
    assert_int_equal(detectors_evaluate(s.d, s.now_ms), ERR_OK);
    int64_t seconds = run_until_fired(&s, QUERY_SLO_TICKET, 60000, 600, 0.002, 3 * 86400);
    print_message("    2 x burn, 99.9 %%: ticket after %lld h\n", (long long)seconds / 3600);
    /* 3 d window: 0.5 x (1 - x) + 2 x = 1 at x = 1/3: after one day. */
    assert_true(seconds > 22 * 3600 && seconds < 26 * 3600);
    assert_int_equal(count_alerts(&s, QUERY_SLO_PAGE, DETECTORS_FIRING), 0);
    sim_end(&s);
}

static void three_times_the_traffic_is_no_incident(void **state)
{
    (void)state;
    struct sim s;
    sim_begin(&s, "0.999");
    history(&s, 4 * 1440, 200, 0.0005);
    for (int i = 0; i < 240; i++)
        step(&s, 60000, 600, 0.0005);
    assert_int_equal(count_alerts(&s, QUERY_SLO_PAGE, DETECTORS_FIRING), 0);
    assert_int_equal(count_alerts(&s, QUERY_SLO_TICKET, DETECTORS_FIRING), 0);
    sim_end(&s);
}

static void few_failures_on_low_traffic_never_page(void **state)
{
    (void)state;
    struct sim s;
    sim_begin(&s, "0.99");
    uint32_t now = (uint32_t)(s.now_ms / 60000);
    for (uint32_t m = now - 50; m < now - 1; m++)
        traffic_at(&s, m, 1, 0);
    traffic_at(&s, now - 1, 2, 1.0); /* two bad of 51 */
    assert_int_equal(detectors_evaluate(s.d, s.now_ms), ERR_OK);
    assert_int_equal(count_alerts(&s, QUERY_SLO_PAGE, DETECTORS_FIRING), 0);
    traffic_at(&s, now - 1, 20, 1.0); /* 22 of 71: certain, but fewer than 100 events: a ticket */
    assert_int_equal(detectors_evaluate(s.d, s.now_ms + 2000), ERR_OK);
    assert_int_equal(count_alerts(&s, QUERY_SLO_PAGE, DETECTORS_FIRING), 0);
    struct arena *a = arena_new(0);
    const struct detectors_alert *x = find_alert(&s, a, "2%-in-1h", DETECTORS_FIRING);
    assert_non_null(x);
    assert_int_equal(x->severity, QUERY_SLO_TICKET);
    char before[33];
    memcpy(before, x->fingerprint.data, 32);
    traffic_at(&s, now, 200, 0.5); /* more events: the same alert becomes a page */
    assert_int_equal(detectors_evaluate(s.d, s.now_ms + 4000), ERR_OK);
    x = find_alert(&s, a, "2%-in-1h", DETECTORS_FIRING);
    assert_int_equal(x->severity, QUERY_SLO_PAGE);
    assert_memory_equal(before, x->fingerprint.data, 32);
    struct detectors_outbox_row *rows;
    size_t n, steps = 0;
    assert_int_equal(detectors_outbox(s.d, a, &rows, &n), ERR_OK);
    for (size_t i = 0; i < n; i++)
        steps +=
            bytes_equal_str(rows[i].event, "step-1") && bytes_equal_str(rows[i].rule, "2%-in-1h");
    assert_int_equal(steps, 1);
    arena_free(a);
    sim_end(&s);
}

static void a_replayed_backlog_pages_nobody_and_is_counted(void **state)
{
    (void)state;
    struct sim s;
    sim_begin(&s, "0.999");
    history(&s, 1440, 100, 0);
    for (int i = 0; i < 5; i++)
        step(&s, 2000, 120, 0);
    uint32_t now = (uint32_t)(s.now_ms / 60000);
    for (uint32_t m = now - 29; m < now - 12;
         m++) /* inside the 30 min window, but all of it past */
        traffic_at(&s, m, 300, 1.0);
    for (int i = 0; i < 5; i++)
        step(&s, 2000, 120, 0);
    assert_int_equal(count_alerts(&s, QUERY_SLO_PAGE, DETECTORS_FIRING), 0);
    struct arena *a = arena_new(0);
    struct detectors_slo_row row;
    assert_int_equal(detectors_slo(s.d, BYTES_LIT("checkout"), a, &row), ERR_OK);
    assert_int_equal(row.revised_minutes, 17);
    assert_int_equal(row.revised_events, 17 * 300);
    arena_free(a);
    sim_end(&s);
}

static void rows_five_minutes_late_still_page_and_start_where_they_belong(void **state)
{
    (void)state;
    struct sim s;
    sim_begin(&s, "0.999");
    history(&s, 1440, 100, 0);
    assert_int_equal(detectors_evaluate(s.d, s.now_ms), ERR_OK);
    uint32_t now = (uint32_t)(s.now_ms / 60000);
    traffic_at(&s, now - 5, 400, 1.0);
    assert_int_equal(detectors_evaluate(s.d, s.now_ms + 2000), ERR_OK);
    struct arena *a = arena_new(0);
    const struct detectors_alert *x = find_alert(&s, a, "2%-in-1h", DETECTORS_FIRING);
    assert_non_null(x);
    assert_int_equal(x->active_since_ms / 60000, now - 5);
    arena_free(a);
    sim_end(&s);
}

static void an_alert_resolves_once_and_does_not_flap(void **state)
{
    (void)state;
    struct sim s;
    sim_begin(&s, "0.999");
    history(&s, 1440, 100, 0);
    for (int i = 0; i < 5; i++)
        step(&s, 60000, 100, 1.0);
    for (int i = 0; i < 20; i++) /* around the threshold of the short window */
        step(&s, 60000, 1000, i % 2 ? 0.020 : 0.012);
    for (int i = 0; i < 600; i++)
        step(&s, 60000, 1000, 0);
    struct arena *a = arena_new(0);
    struct detectors_outbox_row *rows;
    size_t n, fired = 0, resolved = 0;
    assert_int_equal(detectors_outbox(s.d, a, &rows, &n), ERR_OK);
    for (size_t i = 0; i < n; i++) {
        if (!bytes_equal_str(rows[i].rule, "2%-in-1h"))
            continue;
        fired += bytes_equal_str(rows[i].event, "firing");
        resolved += bytes_equal_str(rows[i].event, "resolved");
    }
    assert_int_equal(fired, 1);
    assert_int_equal(resolved, 1);
    const struct detectors_alert *x = find_alert(&s, a, "2%-in-1h", DETECTORS_RESOLVED);
    assert_non_null(x);
    assert_true(bytes_find(x->summary, BYTES_LIT("resolved after")) < x->summary.size);
    arena_free(a);
    sim_end(&s);
}

static void silence_follows_the_no_data_policy(void **state)
{
    (void)state;
    static const struct {
        const char *more;
        enum detectors_state wanted;
        bool pages_for_silence;
    } cases[] = {
        {"", DETECTORS_RESOLVED, false},
        {", annotations: {telltale.dev/no-data: hold}", DETECTORS_FIRING, false},
        {", annotations: {telltale.dev/no-data: alert}", DETECTORS_FIRING, true},
    };
    for (size_t c = 0; c < ARRAY_LEN(cases); c++) {
        struct sim s;
        struct arena *a = arena_new(0);
        sim_begin_with(&s, "0.999", cases[c].more, 0);
        history(&s, 1440, 100, 0);
        for (int i = 0; i < 5; i++)
            step(&s, 60000, 100, 1.0);
        assert_non_null(find_alert(&s, a, "2%-in-1h", DETECTORS_FIRING));
        for (int i = 0; i < 70; i++)
            step(&s, 60000, 0, 0);
        assert_non_null(find_alert(&s, a, "2%-in-1h", cases[c].wanted));
        assert_int_equal(find_alert(&s, a, "no-data", DETECTORS_FIRING) != NULL,
                         cases[c].pages_for_silence);
        struct detectors_slo_row row;
        assert_int_equal(detectors_slo(s.d, BYTES_LIT("checkout"), a, &row), ERR_OK);
        assert_true(isnan(row.burn_1h)); /* neither 0 nor 100 % */
        arena_free(a);
        sim_end(&s);
    }
}

static void too_much_excluded_traffic_raises_a_ticket(void **state)
{
    (void)state;
    struct sim s;
    sim_begin(&s, "0.999");
    uint32_t now = (uint32_t)(s.now_ms / 60000);
    history(&s, 120, 100, 0);
    assert_int_equal(detectors_evaluate(s.d, s.now_ms), ERR_OK);
    helper_slo_request(s.cells, "checkout", "gpt-4o", "eu-west", "quota_denied", "policy", now,
                       1600);
    assert_int_equal(detectors_evaluate(s.d, s.now_ms + 2000), ERR_OK);
    struct arena *a = arena_new(0);
    const struct detectors_alert *x = find_alert(&s, a, "excluded-share", DETECTORS_FIRING);
    assert_non_null(x);
    assert_int_equal(x->severity, QUERY_SLO_TICKET);
    struct detectors_slo_row row;
    assert_int_equal(detectors_slo(s.d, BYTES_LIT("checkout"), a, &row), ERR_OK);
    assert_int_equal(row.excluded_count, 1);
    assert_true(bytes_equal_str(row.excluded[0].reason, "quota_denied"));
    assert_int_equal(row.excluded[0].count, 1600);
    arena_free(a);
    sim_end(&s);
}

/* --- one transaction ----------------------------------------------------------------------------- */

/* Invariant 1 of detectors.h, as the next process would see it: an objective that burns has its one notification, and none stands alone. */
static bool store_is_whole(struct sim *s)
{
    struct arena *a = arena_new(0);
    struct tsdb_state_row *alerts, *out;
    size_t alert_count, out_count;
    bool whole = true;
    CHECK(s->store.scan(s->store.ctx, "slo_alerts", BYTES_NONE, 1000, a, &alerts, &alert_count) ==
          ERR_OK);
    CHECK(s->store.scan(s->store.ctx, "slo_outbox", BYTES_NONE, 1000, a, &out, &out_count) ==
          ERR_OK);
    size_t firing = 0, told = 0;
    for (size_t i = 0; i < alert_count; i++) {
        struct alert x;
        CHECK(alert_decode(alerts[i].value, &x) == ERR_OK);
        firing += x.state == DETECTORS_FIRING;
        for (size_t k = 0; k < out_count; k++)
            told += bytes_find(out[k].value, bytes_str(x.fingerprint)) < out[k].value.size;
    }
    whole = (firing > 0) == (out_count > 0) && told == out_count;
    arena_free(a);
    return whole;
}

/* Fails write call 1, 2, 3, ... of the round in which alerts fire, until none fails. Returns whether the store was whole every time. */
static bool fail_each_write(uint32_t mutate, unsigned *out_tries)
{
    bool whole = true;
    *out_tries = 0;
    for (unsigned k = 1;; k++) {
        struct sim s;
        sim_begin_with(&s, "0.999", "", mutate);
        history(&s, 1440, 100, 0);
        assert_int_equal(detectors_evaluate(s.d, s.now_ms), ERR_OK);
        traffic_at(&s, (uint32_t)(s.now_ms / 60000), 400, 1.0);
        helper_state_fail_at(s.state, k);
        enum err e = detectors_evaluate(s.d, s.now_ms + 2000);
        bool failed = helper_state_has_failed(s.state);
        assert_int_equal(e == ERR_OK, !failed);
        whole = whole && store_is_whole(&s);
        /* The process dies here; the next one takes over from the store and must end where no failure would have. */
        detectors_free(s.d);
        helper_state_fail_at(s.state, 0);
        sim_open(&s, mutate);
        assert_int_equal(detectors_evaluate(s.d, s.now_ms + 4000), ERR_OK);
        whole = whole && store_is_whole(&s) && count_alerts(&s, QUERY_SLO_PAGE, DETECTORS_FIRING);
        if (!(mutate & DETECTORS_MUTATE_SPLIT_TXN))
            assert_int_equal(helper_state_count(s.state, "slo_outbox"), 1);
        sim_end(&s);
        *out_tries = k;
        if (!failed)
            return whole;
        assert_true(k < 100);
    }
}

static void a_failure_at_any_write_leaves_alert_and_notification_together(void **state)
{
    (void)state;
    unsigned tries;
    assert_true(fail_each_write(0, &tries));
    print_message("    %u write calls failed one by one\n", tries - 1);
    assert_true(tries > 4);
}

static void alerts_committed_apart_from_their_notifications_are_caught(void **state)
{
    (void)state;
    unsigned tries;
    assert_false(fail_each_write(DETECTORS_MUTATE_SPLIT_TXN, &tries));
}

static void a_restart_neither_repeats_nor_forgets_an_alert(void **state)
{
    (void)state;
    struct sim s;
    sim_begin(&s, "0.999");
    history(&s, 1440, 100, 0);
    for (int i = 0; i < 3; i++)
        step(&s, 60000, 100, 1.0);
    size_t sent = helper_state_count(s.state, "slo_outbox");
    struct arena *a = arena_new(0);
    const struct detectors_alert *before = find_alert(&s, a, "2%-in-1h", DETECTORS_FIRING);
    assert_non_null(before);
    detectors_free(s.d);
    sim_open(&s, 0);
    step(&s, 2000, 100, 1.0);
    const struct detectors_alert *after = find_alert(&s, a, "2%-in-1h", DETECTORS_FIRING);
    assert_non_null(after);
    assert_true(bytes_equal(before->fingerprint, after->fingerprint));
    assert_int_equal(helper_state_count(s.state, "slo_outbox"), sent);
    arena_free(a);
    sim_end(&s);
}

/* One outage trips the page rules and the tickets; a person is told once, and of what remains when the first is over. */
static void one_burning_objective_is_told_once_and_the_rest_when_that_is_over(void **state)
{
    (void)state;
    struct sim s;
    sim_begin(&s, "0.999");
    history(&s, 1440, 100, 0);
    for (int i = 0; i < 10; i++)
        step(&s, 60000, 100, 1.0);
    assert_true(count_alerts(&s, QUERY_SLO_PAGE, DETECTORS_FIRING) >= 2);
    assert_true(count_alerts(&s, QUERY_SLO_TICKET, DETECTORS_FIRING) >= 1);
    assert_int_equal(helper_state_count(s.state, "slo_outbox"), 1);
    for (int i = 0; i < 200; i++) /* the pages resolve; a ticket's windows are longer */
        step(&s, 60000, 100, 0);
    assert_int_equal(count_alerts(&s, QUERY_SLO_PAGE, DETECTORS_FIRING), 0);
    assert_int_equal(count_alerts(&s, QUERY_SLO_TICKET, DETECTORS_FIRING), 1);
    struct arena *a = arena_new(0);
    struct detectors_outbox_row *rows;
    size_t n, fired = 0, resolved = 0, tickets = 0;
    assert_int_equal(detectors_outbox(s.d, a, &rows, &n), ERR_OK);
    for (size_t i = 0; i < n; i++) {
        fired += bytes_equal_str(rows[i].event, "firing");
        resolved += bytes_equal_str(rows[i].event, "resolved");
        tickets +=
            bytes_equal_str(rows[i].event, "firing") && bytes_equal_str(rows[i].rule, "10%-in-3d");
    }
    assert_int_equal(fired, resolved + 1); /* whatever was told was taken back, but the ticket */
    assert_int_equal(tickets, 1);
    arena_free(a);
    sim_end(&s);
}

static void fingerprints_depend_on_rule_labels_and_start_only(void **state)
{
    (void)state;
    struct query_slo_pair ab[] = {{BYTES_LIT("a"), BYTES_LIT("1")},
                                  {BYTES_LIT("b"), BYTES_LIT("2")}};
    struct query_slo_pair ba[] = {{BYTES_LIT("b"), BYTES_LIT("2")},
                                  {BYTES_LIT("a"), BYTES_LIT("1")}};
    char x[33], y[33];
    alert_fingerprint("s", "r", ab, 2, BASE, x);
    alert_fingerprint("s", "r", ba, 2, BASE, y);
    assert_string_equal(x, y);
    alert_fingerprint("s", "r", ab, 2, BASE + 1, y);
    assert_string_not_equal(x, y);
    alert_fingerprint("sr", "", ab, 2, BASE, y);
    assert_string_not_equal(x, y);
    alert_fingerprint("s", "r", ab, 1, BASE, y);
    assert_string_not_equal(x, y);
}

static void a_clock_that_jumps_neither_crashes_nor_silences(void **state)
{
    (void)state;
    struct sim s;
    sim_begin(&s, "0.999");
    history(&s, 1440, 100, 0);
    for (int i = 0; i < 3; i++)
        step(&s, 60000, 100, 1.0);
    for (int i = 0; i < 100; i++) /* resolved */
        step(&s, 60000, 2000, 0);
    assert_int_equal(count_alerts(&s, QUERY_SLO_PAGE, DETECTORS_FIRING), 0);
    assert_int_equal(detectors_evaluate(s.d, 3600000), ERR_INVALID); /* 1970 */
    assert_int_equal(detectors_evaluate(s.d, s.now_ms + 300 * 86400000ll), ERR_OK);
    s.now_ms -= 80 * 60000; /* and back to before the resolution */
    for (int i = 0; i < 30; i++)
        step(&s, 60000, 2000, 1.0);
    assert_true(count_alerts(&s, QUERY_SLO_PAGE, DETECTORS_FIRING) > 0);
    sim_end(&s);
}

static void a_spent_budget_is_never_shown_as_fine(void **state)
{
    (void)state;
    struct sim s;
    sim_begin(&s, "0.999");
    history(&s, 600, 100, 0.1); /* long over, and overspent */
    for (int i = 0; i < 4 * 1440 / 60; i++) {
        s.now_ms += 59 * 60000;
        step(&s, 60000, 10, 0);
    }
    struct arena *a = arena_new(0);
    struct detectors_slo_row row;
    struct detectors_headline head;
    assert_int_equal(detectors_slo(s.d, BYTES_LIT("checkout"), a, &row), ERR_OK);
    assert_int_equal(row.state, DETECTORS_SPENT);
    assert_string_equal(detectors_state_name(row.state), "spent");
    assert_int_equal(detectors_headline_get(s.d, a, &head), ERR_OK);
    assert_true(bytes_equal_str(head.sentence,
                                "Nothing burns now; 1 of 1 SLOs has spent its error budget."));
    arena_free(a);
    sim_end(&s);
}

static void the_series_agrees_with_the_table(void **state)
{
    (void)state;
    struct sim s;
    sim_begin(&s, "0.999");
    history(&s, 2000, 100, 0.0008);
    assert_int_equal(detectors_evaluate(s.d, s.now_ms), ERR_OK);
    struct arena *a = arena_new(0);
    struct detectors_slo_row row;
    struct detectors_series series;
    assert_int_equal(detectors_slo(s.d, BYTES_LIT("checkout"), a, &row), ERR_OK);
    assert_int_equal(detectors_slo_series(s.d, BYTES_LIT("checkout"), row.horizon_ms - 3600000,
                                          row.horizon_ms, 5, a, &series),
                     ERR_OK);
    assert_int_equal(series.count, 12);
    assert_int_equal(series.t_ms[11], row.horizon_ms);
    assert_float_equal(series.budget_left[11], row.budget_left, 1e-12);
    assert_float_equal(series.burn_long[11], row.rules[0].long_burn, 1e-12);
    assert_int_equal(detectors_slo_series(s.d, BYTES_LIT("nobody"), 0, 1, 1, a, &series),
                     ERR_NOT_FOUND);
    struct detectors_prom_group *groups;
    size_t n;
    assert_int_equal(detectors_rules(s.d, a, &groups, &n), ERR_OK);
    assert_int_equal(n, 1);
    assert_int_equal(groups[0].rule_count, 5);
    assert_string_equal(groups[0].rules[0].state, "inactive");
    arena_free(a);
    sim_end(&s);
}

static void evaluating_an_idle_objective_is_cheap(void **state)
{
    (void)state;
    struct sim s;
    sim_begin(&s, "0.999");
    history(&s, 1440, 100, 0);
    assert_int_equal(detectors_evaluate(s.d, s.now_ms), ERR_OK);
    uint64_t first = helper_slo_reads(s.cells);
    assert_int_equal(detectors_evaluate(s.d, s.now_ms + 2000), ERR_OK);
    assert_int_equal(helper_slo_reads(s.cells), first); /* nothing changed: nothing is read */
    traffic_at(&s, (uint32_t)(s.now_ms / 60000), 10, 0);
    assert_int_equal(detectors_evaluate(s.d, s.now_ms + 4000), ERR_OK);
    print_message("    first build %llu reads, a change %llu reads\n", (unsigned long long)first,
                  (unsigned long long)(helper_slo_reads(s.cells) - first));
    assert_true(helper_slo_reads(s.cells) - first <= 6);
    sim_end(&s);
}

static void an_alert_survives_its_bytes_and_garbage_does_not(void **state)
{
    (void)state;
    struct alert x = {.state = DETECTORS_FIRING, .severity = QUERY_SLO_TICKET, .fired_ms = 5}, y;
    strcpy(x.fingerprint, "0123456789abcdef0123456789abcdef");
    strcpy(x.summary, "s");
    x.trace_count = 1;
    strcpy(x.traces[0], "abc");
    x.budget_left = -0.5;
    strcpy(x.cause, "openai in eu");
    strcpy(x.changed, "14:02 UTC deploy: chat 1.8.2");
    struct buf b;
    buf_init(&b, 0);
    alert_encode(&x, &b);
    assert_int_equal(alert_decode(buf_bytes(&b), &y), ERR_OK);
    assert_string_equal(y.fingerprint, x.fingerprint);
    assert_string_equal(y.traces[0], "abc");
    assert_true(y.budget_left == -0.5);
    assert_string_equal(y.cause, x.cause);
    assert_string_equal(y.changed, x.changed);
    /* as rows were before there were changes, and before there were causes */
    size_t without_changes = b.size - 1 - strlen(x.changed),
           without_cause = without_changes - 1 - strlen(x.cause);
    for (size_t n = 0; n < b.size; n++)
        assert_int_equal(alert_decode(bytes_of(b.data, n), &y),
                         n == without_changes || n == without_cause ? ERR_OK : ERR_CORRUPT);
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_total_outage_pages_within_two_minutes),
        cmocka_unit_test(burning_twice_too_fast_raises_a_ticket_and_no_page),
        cmocka_unit_test(three_times_the_traffic_is_no_incident),
        cmocka_unit_test(few_failures_on_low_traffic_never_page),
        cmocka_unit_test(a_replayed_backlog_pages_nobody_and_is_counted),
        cmocka_unit_test(rows_five_minutes_late_still_page_and_start_where_they_belong),
        cmocka_unit_test(an_alert_resolves_once_and_does_not_flap),
        cmocka_unit_test(silence_follows_the_no_data_policy),
        cmocka_unit_test(too_much_excluded_traffic_raises_a_ticket),
        cmocka_unit_test(a_failure_at_any_write_leaves_alert_and_notification_together),
        cmocka_unit_test(alerts_committed_apart_from_their_notifications_are_caught),
        cmocka_unit_test(a_restart_neither_repeats_nor_forgets_an_alert),
        cmocka_unit_test(one_burning_objective_is_told_once_and_the_rest_when_that_is_over),
        cmocka_unit_test(fingerprints_depend_on_rule_labels_and_start_only),
        cmocka_unit_test(a_clock_that_jumps_neither_crashes_nor_silences),
        cmocka_unit_test(a_spent_budget_is_never_shown_as_fine),
        cmocka_unit_test(the_series_agrees_with_the_table),
        cmocka_unit_test(evaluating_an_idle_objective_is_cheap),
        cmocka_unit_test(an_alert_survives_its_bytes_and_garbage_does_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
