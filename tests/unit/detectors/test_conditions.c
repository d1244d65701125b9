/* Conditions of the program itself: they fire once, are told again only when they get worse, survive a restart, and resolve by their rule alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/clock.h"
#include "detectors/detectors.h"
#include "detectors/detectors_conditions.h"
#include "detectors/helper_state.h"
#include "query/helper_slo.h"

#define T0_MS (INT64_C(29700000) * 60000 + 45000)
#define MINUTE_MS INT64_C(60000)

/* --- a program with one condition, and what that finds --------------------------------------------- */

static struct {
    struct helper_slo *cells;
    struct query_slo_source source;
    struct helper_state *state;
    struct detectors_store store;
    struct detectors_receiver receiver;
    struct detectors_condition condition;
    struct detectors *d;
    int64_t now_ms;
    const char *subjects[4];
    size_t count; /* findings */
    enum query_slo_severity severity;
    enum err error;
} t;

static int64_t wall(void)
{
    return t.now_ms * 1000000;
}

static enum err look(void *ctx, int64_t now_ms, struct arena *a, struct detectors_finding **out,
                     size_t *out_count)
{
    assert_ptr_equal(ctx, &t);
    assert_int_equal(now_ms, t.now_ms);
    struct detectors_finding *list = ARENA_ARRAY(a, struct detectors_finding, 5);
    for (size_t i = 0; i < t.count; i++)
        list[i] = (struct detectors_finding){.subject = bytes_str(t.subjects[i]),
                                             .severity = t.severity,
                                             .summary = BYTES_LIT("the summary"),
                                             .sentence = BYTES_LIT("what to do")};
    *out = list;
    *out_count = t.count;
    return t.error;
}

static void program_start(bool has_condition)
{
    struct buf errors = {0};
    struct detectors_options o = {.receivers = &t.receiver,
                                  .receiver_count = 1,
                                  .conditions = &t.condition,
                                  .condition_count = has_condition,
                                  .store = &t.store,
                                  .source = &t.source};
    if (detectors_new(&o, &t.d, &errors) != ERR_OK)
        fail_msg("%.*s", (int)errors.size, (const char *)errors.data);
    buf_done(&errors);
}

static void program_restart(void)
{
    detectors_free(t.d);
    program_start(true);
}

static int setup(void **state)
{
    (void)state;
    memset(&t, 0, sizeof(t));
    t.cells = helper_slo_new();
    t.source = helper_slo_source(t.cells);
    t.state = helper_state_new();
    t.store = helper_state_store(t.state);
    t.receiver = (struct detectors_receiver){
        .name = "hook", .url = "http://127.0.0.1:9/", .allow_private = true};
    t.condition = (struct detectors_condition){.name = "disk_hot", .look = look, .ctx = &t};
    t.severity = QUERY_SLO_TICKET;
    t.now_ms = T0_MS;
    clock_test_set_wall(wall);
    program_start(true);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    detectors_free(t.d);
    helper_slo_free(t.cells);
    helper_state_free(t.state);
    clock_test_set_wall(NULL);
    return 0;
}

static void rounds(unsigned minutes)
{
    for (unsigned i = 0; i < minutes; i++) {
        t.now_ms += MINUTE_MS;
        assert_int_equal(detectors_evaluate(t.d, t.now_ms), ERR_OK);
    }
}

static void finds(size_t count)
{
    t.count = count;
}

static size_t alerts(enum detectors_state state)
{
    struct arena *a = arena_new(0);
    struct detectors_alert *list;
    size_t n = 0, hits = 0;
    assert_int_equal(detectors_alerts(t.d, a, &list, &n), ERR_OK);
    for (size_t i = 0; i < n; i++)
        hits += list[i].state == state && bytes_has_prefix(list[i].slo_id, BYTES_LIT("condition:"));
    arena_free(a);
    return hits;
}

static size_t told(const char *event, const char *word)
{
    struct arena *a = arena_new(0);
    struct detectors_outbox_row *rows;
    size_t n = 0, hits = 0;
    assert_int_equal(detectors_outbox(t.d, a, &rows, &n), ERR_OK);
    for (size_t i = 0; i < n; i++)
        hits += (!event || bytes_equal_str(rows[i].event, event)) &&
                (!word || bytes_find(rows[i].body, bytes_str(word)) < rows[i].body.size);
    arena_free(a);
    return hits;
}

/* --- tests ------------------------------------------------------------------------------------------ */

static void what_is_found_fires_once_and_resolves_after_its_time(void **state)
{
    (void)state;
    t.condition.resolve_minutes = 5;
    rounds(2);
    assert_int_equal(told(NULL, NULL), 0);
    finds(1);
    rounds(10);
    assert_int_equal(alerts(DETECTORS_FIRING), 1);
    assert_int_equal(told(NULL, NULL), 1);
    assert_int_equal(told("firing", "\"alertname\":\"TelltaleCondition\""), 1);
    assert_int_equal(told("firing", "\"condition\":\"disk_hot\""), 1);
    assert_int_equal(told("firing", "what to do"), 1);
    finds(0);
    rounds(4);
    assert_int_equal(alerts(DETECTORS_FIRING), 1);
    finds(1); /* again, before its time was over: the same alert */
    rounds(1);
    finds(0);
    rounds(4);
    assert_int_equal(alerts(DETECTORS_FIRING), 1);
    assert_int_equal(told(NULL, NULL), 1);
    rounds(1);
    assert_int_equal(alerts(DETECTORS_FIRING), 0);
    assert_int_equal(told("resolved", "disk_hot"), 1);
    finds(1); /* a new one */
    rounds(3);
    assert_int_equal(told("firing", NULL), 2);
}

static void what_must_hold_for_a_time_waits_for_it_and_what_ends_before_is_told_nobody(void **state)
{
    (void)state;
    t.condition.after_minutes = 3;
    finds(1);
    rounds(3);
    assert_int_equal(alerts(DETECTORS_PENDING), 1);
    finds(0);
    rounds(1);
    assert_int_equal(alerts(DETECTORS_PENDING) + alerts(DETECTORS_FIRING), 0);
    finds(1);
    rounds(3);
    assert_int_equal(told(NULL, NULL), 0);
    rounds(1);
    assert_int_equal(told("firing", NULL), 1);
}

static void a_ticket_that_becomes_a_page_is_told_again_and_stays_one(void **state)
{
    (void)state;
    finds(1);
    rounds(2);
    t.severity = QUERY_SLO_PAGE;
    rounds(3);
    assert_int_equal(told("step-1", "\"severity\":\"page\""), 1);
    t.severity = QUERY_SLO_TICKET;
    rounds(3);
    assert_int_equal(told(NULL, NULL), 2);
}

static void each_subject_has_an_alert_of_its_own(void **state)
{
    (void)state;
    t.subjects[0] = "openai";
    t.subjects[1] = "anthropic";
    t.subjects[2] = "openai"; /* found twice: one alert */
    finds(3);
    rounds(2);
    assert_int_equal(alerts(DETECTORS_FIRING), 2);
    assert_int_equal(told("firing", "\"subject\":\"anthropic\""), 1);
    finds(1);
    rounds(1);
    assert_int_equal(alerts(DETECTORS_FIRING), 1);
    assert_int_equal(told("resolved", "\"subject\":\"anthropic\""), 1);
    assert_int_equal(told("resolved", NULL), 1);
}

static void a_restart_repeats_nothing_and_gives_what_fires_its_whole_time(void **state)
{
    (void)state;
    t.condition.resolve_minutes = 5;
    finds(1);
    rounds(30);
    program_restart();
    rounds(2);
    assert_int_equal(told(NULL, NULL), 1);
    assert_int_equal(alerts(DETECTORS_FIRING), 1);
    program_restart();
    finds(0); /* it was found half an hour ago; nobody looked since */
    rounds(5);
    assert_int_equal(alerts(DETECTORS_FIRING), 1);
    rounds(1);
    assert_int_equal(alerts(DETECTORS_FIRING), 0);
    assert_int_equal(told("resolved", NULL), 1);
    program_restart();
    rounds(2);
    assert_int_equal(told(NULL, NULL), 2);
}

static void a_look_that_fails_changes_no_alert_and_fails_the_round(void **state)
{
    (void)state;
    finds(1);
    rounds(1);
    finds(0);
    t.error = ERR_IO;
    for (int i = 0; i < 3; i++) {
        t.now_ms += MINUTE_MS;
        assert_int_equal(detectors_evaluate(t.d, t.now_ms), ERR_IO);
    }
    assert_int_equal(alerts(DETECTORS_FIRING), 1);
    t.error = ERR_OK;
    rounds(1);
    assert_int_equal(alerts(DETECTORS_RESOLVED), 1);
}

static void an_alert_of_a_condition_that_is_gone_resolves(void **state)
{
    (void)state;
    finds(1);
    rounds(1);
    detectors_free(t.d);
    program_start(false);
    rounds(1);
    assert_int_equal(alerts(DETECTORS_FIRING), 0);
    assert_int_equal(told("resolved", NULL), 1);
}

/* Whichever write fails: nothing happened, and the next round tells it once. */
static void a_failed_write_is_made_up_for_in_the_next_round(void **state)
{
    (void)state;
    t.subjects[0] = "a";
    finds(1);
    unsigned n = 1;
    for (;; n++) {
        t.now_ms += MINUTE_MS;
        helper_state_fail_at(t.state, n);
        enum err e = detectors_evaluate(t.d, t.now_ms);
        bool has_failed = helper_state_has_failed(t.state);
        helper_state_fail_at(t.state, 0);
        if (!has_failed) {
            assert_int_equal(e, ERR_OK);
            break;
        }
        assert_int_not_equal(e, ERR_OK);
        assert_int_equal(alerts(DETECTORS_FIRING), 0);
        assert_int_equal(told(NULL, NULL), 0);
    }
    assert_true(n > 3);
    assert_int_equal(alerts(DETECTORS_FIRING), 1);
    assert_int_equal(told("firing", NULL), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_found_fires_once_and_resolves_after_its_time),
        TEST(what_must_hold_for_a_time_waits_for_it_and_what_ends_before_is_told_nobody),
        TEST(a_ticket_that_becomes_a_page_is_told_again_and_stays_one),
        TEST(each_subject_has_an_alert_of_its_own),
        TEST(a_restart_repeats_nothing_and_gives_what_fires_its_whole_time),
        TEST(a_look_that_fails_changes_no_alert_and_fails_the_round),
        TEST(an_alert_of_a_condition_that_is_gone_resolves),
        TEST(a_failed_write_is_made_up_for_in_the_next_round),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
