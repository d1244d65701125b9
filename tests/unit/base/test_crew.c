/* Loops that several threads take, pools that lend only what is idle, and the fewest digits of a number. */
#include "base/crew.h"

#include "base/float_text.h"
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* after the four headers it needs */
#include <cmocka.h>

#define TURNS 2000u

struct loop {
    _Atomic unsigned times[TURNS];
    _Atomic unsigned by_helpers;
    _Atomic int busy[CREW_MAX]; /* a worker takes one turn at a time */
    _Atomic unsigned clashes;
    useconds_t pause;
};

static void take(void *ctx, unsigned worker, size_t i)
{
    struct loop *l = ctx;
    if (atomic_fetch_add(&l->busy[worker], 1) != 0)
        atomic_fetch_add(&l->clashes, 1);
    atomic_fetch_add(&l->times[i], 1);
    atomic_fetch_add(&l->by_helpers, worker != 0);
    if (l->pause)
        usleep(l->pause);
    atomic_fetch_sub(&l->busy[worker], 1);
}

static void check_once(struct loop *l, size_t count)
{
    for (size_t i = 0; i < TURNS; i++)
        assert_int_equal(atomic_load(&l->times[i]), i < count);
    assert_int_equal(atomic_load(&l->clashes), 0);
}

static void test_every_turn_is_taken_once(void **state)
{
    struct pool *p = pool_new("crew", 4, 8);
    static const size_t counts[] = {0, 1, 2, 31, TURNS};
    for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
        struct loop *l = calloc(1, sizeof *l);
        crew_run(p, take, l, counts[k]);
        check_once(l, counts[k]);
        free(l);
    }
    struct loop *alone = calloc(1, sizeof *alone);
    crew_run(NULL, take, alone, TURNS);
    check_once(alone, TURNS);
    assert_int_equal(atomic_load(&alone->by_helpers), 0);
    free(alone);
    pool_free(p);
}

static void test_idle_threads_help(void **state)
{
    struct pool *p = pool_new("crew", 3, 8);
    struct loop *l = calloc(1, sizeof *l);
    usleep(50000); /* until they wait */
    l->pause = 1000;
    crew_run(p, take, l, 300);
    check_once(l, 300);
    assert_true(atomic_load(&l->by_helpers) > 50);
    pool_free(p);
    free(l);
}

struct nest {
    struct pool *pool;
    struct loop *loops;
    _Atomic unsigned next;
};

static void run_nested(void *ctx)
{
    struct nest *n = ctx;
    crew_run(n->pool, take, &n->loops[atomic_fetch_add(&n->next, 1)], 200);
}

/* Every thread of the pool runs a loop of its own, and waits for nobody who waits for it. */
static void test_jobs_of_the_pool_may_ask_it_for_help(void **state)
{
    enum { JOBS = 40 };
    struct nest n = {.pool = pool_new("crew", 2, JOBS), .loops = calloc(JOBS, sizeof *n.loops)};
    for (int i = 0; i < JOBS; i++)
        assert_int_equal(pool_submit(n.pool, run_nested, &n), ERR_OK);
    pool_free(n.pool); /* runs what is queued */
    for (int i = 0; i < JOBS; i++)
        check_once(&n.loops[i], 200);
    free(n.loops);
}

static void hold(void *ctx)
{
    while (!atomic_load((atomic_bool *)ctx))
        usleep(200);
}

static void test_a_busy_pool_is_not_asked(void **state)
{
    struct pool *p = pool_new("crew", 1, 8);
    atomic_bool go = false;
    struct loop *l = calloc(1, sizeof *l);
    usleep(20000);
    assert_false(pool_is_wanted(p));
    assert_int_equal(pool_submit(p, hold, &go), ERR_OK);
    usleep(20000);
    assert_int_equal(pool_try_submit(p, hold, &go), ERR_UNAVAILABLE);
    assert_int_equal(pool_submit(p, hold, &go), ERR_OK);
    assert_true(pool_is_wanted(p));
    crew_run(p, take, l, 100);
    check_once(l, 100);
    assert_int_equal(atomic_load(&l->by_helpers), 0);
    atomic_store(&go, true);
    pool_free(p);
    free(l);
}

static void test_fewest_digits_read_back(void **state)
{
    static const struct {
        double v;
        const char *text;
    } cases[] = {{0.1, "1e-01"},
                 {1.0 / 3, "3.333333333333333e-01"},
                 {-123456789, "-1.23456789e+08"},
                 {5e-324, "5e-324"},
                 {1.7976931348623157e308, "1.7976931348623157e+308"},
                 {9007199254740993.0, "9.007199254740992e+15"}};
    char text[FLOAT_TEXT_MAX];
    uint64_t x = 88172645463325252u;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(float_text_shortest(cases[i].v, text), strlen(cases[i].text));
        assert_string_equal(text, cases[i].text);
    }
    for (int i = 0; i < 200000; i++) {
        double v;
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        memcpy(&v, &x, sizeof v);
        if (!isfinite(v))
            continue;
        size_t n = float_text_shortest(v, text);
        double back = strtod(text, NULL);
        assert_true(n < FLOAT_TEXT_MAX && memcmp(&back, &v, sizeof v) == 0);
        char shorter[40]; /* with a digit less it does not */
        int digits = (int)strcspn(text + (text[0] == '-'), "e") - 1;
        if (digits < 2)
            continue;
        snprintf(shorter, sizeof shorter, "%.*e", digits - 2, v);
        assert_true(strtod(shorter, NULL) != v);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_turn_is_taken_once),
        cmocka_unit_test(test_idle_threads_help),
        cmocka_unit_test(test_jobs_of_the_pool_may_ask_it_for_help),
        cmocka_unit_test(test_a_busy_pool_is_not_asked),
        cmocka_unit_test(test_fewest_digits_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
