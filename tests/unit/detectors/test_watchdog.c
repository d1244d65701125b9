/* Who watches the watchers: an evaluation that hangs is told past the outbox, and the thread that hangs is named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/alive.h"
#include "base/check.h"
#include "base/clock.h"
#include "detectors/detectors.h"
#include "detectors/helper_receiver.h"
#include "detectors/helper_state.h"
#include "detectors/watchdog.h"
#include "query/helper_slo.h"
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define WAIT_MS 8000

/* A source that stops answering while it is told to; and a wall clock that can be put forward. */
static atomic_bool is_frozen;
static _Atomic int64_t ahead_ms;
static struct query_slo_source real;

static int64_t wall_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec + atomic_load(&ahead_ms) * 1000000;
}

static enum err changed(void *ctx, uint64_t since, uint32_t *from, uint32_t *to, uint64_t *seq)
{
    while (atomic_load(&is_frozen))
        clock_sleep_ms(5);
    *from = UINT32_MAX;
    *to = 0;
    *seq = since;
    (void)ctx;
    return ERR_OK;
}

struct rig {
    struct helper_slo *cells;
    struct query_slo_source source;
    struct helper_state *state;
    struct detectors_store store;
    struct detectors_receiver receivers[2];
    struct detectors *d;
};

static void rig_begin(struct rig *r, struct helper_receiver *hook)
{
    struct buf errors;
    struct err_msg msg;
    atomic_store(&is_frozen, false);
    atomic_store(&ahead_ms, 0);
    *r = (struct rig){.cells = helper_slo_new(), .state = helper_state_new()};
    real = helper_slo_source(r->cells);
    r->source = real;
    r->source.changed = changed;
    r->store = helper_state_store(r->state);
    r->receivers[0] = (struct detectors_receiver){
        .name = "pager", .url = helper_receiver_url(hook), .pages = true, .allow_private = true};
    r->receivers[1] = (struct detectors_receiver){
        .name = "chat", .url = helper_receiver_url(hook), .tickets = true, .allow_private = true};
    buf_init(&errors, 0);
    struct detectors_options o = {.receivers = r->receivers,
                                  .receiver_count = 2,
                                  .interval_ms = 20,
                                  .store = &r->store,
                                  .source = &r->source};
    assert_int_equal(detectors_new(&o, &r->d, &errors), ERR_OK);
    assert_int_equal(detectors_start(r->d, &msg), ERR_OK);
    buf_done(&errors);
}

static void rig_end(struct rig *r)
{
    atomic_store(&is_frozen, false);
    detectors_stop(r->d);
    detectors_free(r->d);
    helper_slo_free(r->cells);
    helper_state_free(r->state);
}

static void a_round_that_hangs_is_told_past_the_outbox_and_so_is_its_end(void **state)
{
    (void)state;
    static const int ok[] = {200};
    struct rig r;
    struct helper_receiver *hook = helper_receiver_new(ok, 1, -1);
    struct helper_receiver_request q;
    rig_begin(&r, hook);
    clock_sleep_ms(200);
    assert_int_equal(helper_receiver_count(hook), 0); /* all is well: it says nothing */
    atomic_store(&is_frozen, true);
    clock_sleep_ms(200);
    atomic_store(&ahead_ms, 70000); /* more than three intervals and a minute */
    assert_true(helper_receiver_wait(hook, 1, WAIT_MS));
    clock_sleep_ms(200);
    assert_int_equal(helper_receiver_count(hook), 1); /* once, and the receiver of tickets not */
    helper_receiver_get(hook, 0, &q);
    assert_non_null(strstr(q.body, "TelltaleWatchdog"));
    assert_non_null(strstr(q.body, "is not evaluated since"));
    assert_int_equal(strncmp(q.id, "watchdog-pager-", 15), 0);
    struct arena *a = arena_new(0);
    struct detectors_outbox_row *rows;
    size_t n;
    assert_int_equal(detectors_outbox(r.d, a, &rows, &n), ERR_OK);
    assert_int_equal(n, 0);
    struct buf page;
    buf_init(&page, 0);
    detectors_metrics(r.d, &page);
    buf_u8(&page, 0);
    assert_non_null(strstr((char *)page.data, "telltale_slo_watermark_age_seconds{slo=\""));
    buf_done(&page);
    atomic_store(&is_frozen, false);
    assert_true(helper_receiver_wait(hook, 2, WAIT_MS));
    helper_receiver_get(hook, 1, &q);
    assert_non_null(strstr(q.body, "\"status\":\"resolved\""));
    arena_free(a);
    rig_end(&r);
    helper_receiver_free(hook);
}

static bool is_late(const char *name)
{
    struct buf b;
    buf_init(&b, 0);
    (void)alive_check(&b);
    buf_u8(&b, 0);
    bool late = strstr((char *)b.data, name) != NULL;
    buf_done(&b);
    return late;
}

static void a_thread_that_hangs_is_named_and_no_other(void **state)
{
    (void)state;
    static const int ok[] = {200};
    struct rig r;
    struct helper_receiver *hook = helper_receiver_new(ok, 1, -1);
    rig_begin(&r, hook);
    alive_test_limit_ms(3000);
    clock_sleep_ms(200);
    assert_false(is_late("thread"));
    atomic_store(&is_frozen, true);
    bool named = false;
    for (int i = 0; i < WAIT_MS / 20 && !named; i++) {
        clock_sleep_ms(20);
        named = is_late("thread detect ");
    }
    assert_true(named);
    assert_false(is_late("notify"));
    assert_false(is_late("watchdog"));
    atomic_store(&is_frozen, false);
    clock_sleep_ms(500);
    assert_false(is_late("thread"));
    alive_test_limit_ms(0);
    rig_end(&r);
    helper_receiver_free(hook);
}

static void a_thread_that_is_gone_without_a_word_is_late(void **state)
{
    (void)state;
    int place = alive_begin("gone", 1);
    clock_sleep_ms(20);
    assert_true(is_late("thread gone "));
    alive_beat(place);
    alive_end(place);
    assert_false(is_late("gone"));
    int all[ALIVE_MAX + 1];
    for (int i = 0; i <= ALIVE_MAX; i++)
        all[i] = alive_begin("x", 60000);
    assert_int_equal(all[ALIVE_MAX], -1); /* one too many is not watched */
    for (int i = 0; i <= ALIVE_MAX; i++)
        alive_end(all[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_round_that_hangs_is_told_past_the_outbox_and_so_is_its_end),
        cmocka_unit_test(a_thread_that_hangs_is_named_and_no_other),
        cmocka_unit_test(a_thread_that_is_gone_without_a_word_is_late),
    };
    clock_test_set_wall(wall_ns);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
