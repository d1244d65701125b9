/* Streams of scores against their own baseline: few false alarms, surges found, state that survives, whatever the scores look like. */
#include <ftw.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "detectors/detectors_watch.h"

static struct {
    char dir[64];
    struct tsdb *db;
    uint64_t seed;
} t;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    return remove(path);
}

static int setup(void **state)
{
    struct err_msg msg = {""};
    snprintf(t.dir, sizeof t.dir, "/tmp/telltale-watch-XXXXXX");
    assert_non_null(mkdtemp(t.dir));
    struct tsdb_options o = {.dir = t.dir};
    assert_int_equal(tsdb_open(&o, &t.db, &msg), ERR_OK);
    t.seed = 42;
    return 0;
}

static int teardown(void **state)
{
    tsdb_close(t.db, false);
    nftw(t.dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return 0;
}

static double uniform(void)
{
    t.seed = t.seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(t.seed >> 11) / 9007199254740992.0;
}

/* A response is unsupported with the rate; its score is high or low accordingly, with overlap. */
static double score(double rate)
{
    bool bad = uniform() < rate;
    double u = uniform();
    return bad ? 1 - 0.7 * u * u : 0.45 * u * u;
}

static struct watch_stream feed(struct detectors_watch *w, const char *service, double rate,
                                unsigned n, unsigned *alarms, unsigned *alarm_at)
{
    struct arena *a = arena_new(0);
    struct watch_stream *list, out = {0};
    size_t count;
    bool was = false, is_first = true;
    for (unsigned i = 0; i < n; i++) {
        struct watch_score s = {.org = 1,
                                .service = bytes_str(service),
                                .model = BYTES_LIT("m"),
                                .probability = score(rate),
                                .now_ms = 1000 + i};
        detectors_watch_score(w, &s);
        arena_reset(a);
        assert_int_equal(detectors_watch_streams(w, a, &list, &count), ERR_OK);
        for (size_t k = 0; k < count; k++)
            if (strcmp(list[k].service, service) == 0)
                out = list[k];
        if (out.is_surging && !was && !is_first) {
            ++*alarms;
            if (alarm_at && !*alarm_at)
                *alarm_at = i + 1;
        }
        was = out.is_surging;
        is_first = false;
    }
    arena_free(a);
    return out;
}

static void a_steady_stream_hardly_ever_alarms(void **state)
{
    unsigned alarms = 0;
    for (unsigned i = 0; i < 100; i++) {
        struct detectors_watch *w;
        assert_int_equal(detectors_watch_new(t.db, &w), ERR_OK);
        feed(w, "steady", 0.05 + 0.2 * uniform(), 3000, &alarms, NULL);
        detectors_watch_free(w);
    }
    print_message("%u alarms\n", alarms);
    /* 280,000 scores after the baselines, one alarm in 100,000 at most on average: seven or fewer nineteen times of twenty at 2.8 */
    assert_true(alarms <= 7);
}

static void a_rate_that_triples_is_found_within_some_hundred_responses(void **state)
{
    unsigned found = 0, late = 0;
    for (unsigned i = 0; i < 50; i++) {
        struct detectors_watch *w;
        unsigned early = 0, alarms = 0, at = 0;
        assert_int_equal(detectors_watch_new(t.db, &w), ERR_OK);
        feed(w, "x", 0.1, 1000, &early, NULL);
        feed(w, "x", 0.3, 1000, &alarms, &at);
        found += alarms > 0;
        late = at > late ? at : late;
        detectors_watch_free(w);
    }
    print_message("found %u of 50, the latest after %u responses\n", found, late);
    assert_true(found >= 48);
}

static void an_alarm_ends_when_the_rate_is_back(void **state)
{
    struct detectors_watch *w;
    unsigned alarms = 0;
    assert_int_equal(detectors_watch_new(t.db, &w), ERR_OK);
    feed(w, "x", 0.1, 500, &alarms, NULL);
    assert_int_equal(alarms, 0);
    assert_true(feed(w, "x", 0.6, 300, &alarms, NULL).is_surging);
    assert_false(feed(w, "x", 0.08, 1500, &alarms, NULL).is_surging);
    assert_int_equal(alarms, 1);
    detectors_watch_free(w);
}

static void scores_of_another_shape_are_drift(void **state)
{
    struct detectors_watch *w;
    struct arena *a = arena_new(0);
    struct watch_stream *list;
    size_t n;
    unsigned alarms = 0;
    assert_int_equal(detectors_watch_new(t.db, &w), ERR_OK);
    assert_false(feed(w, "x", 0.1, 600, &alarms, NULL).is_drifting);
    for (unsigned i = 0; i < 300; i++) { /* the same mean and no spread */
        struct watch_score s = {1, BYTES_LIT("x"), BYTES_LIT("m"), BYTES_NONE, 0.2, 1};
        detectors_watch_score(w, &s);
    }
    assert_int_equal(detectors_watch_streams(w, a, &list, &n), ERR_OK);
    assert_true(list[0].is_drifting && list[0].psi > 0.25);
    detectors_watch_free(w);
    arena_free(a);
}

static void a_restart_goes_on_where_it_was_saved(void **state)
{
    struct detectors_watch *w, *again;
    struct arena *a = arena_new(0);
    struct watch_stream *x, *y;
    size_t n = 0, m = 0;
    unsigned alarms = 0;
    assert_int_equal(detectors_watch_new(t.db, &w), ERR_OK);
    feed(w, "long", 0.1, 500, &alarms, NULL);
    feed(w, "long", 0.9, 100, &alarms, NULL);
    feed(w, "short", 0.1, 50, &alarms, NULL);
    assert_int_equal(detectors_watch_save(w), ERR_OK);
    assert_int_equal(detectors_watch_new(t.db, &again), ERR_OK);
    assert_int_equal(detectors_watch_load(again), ERR_OK);
    uint64_t seed = t.seed;
    feed(w, "short", 0.1, 400, &alarms, NULL);
    t.seed = seed;
    feed(again, "short", 0.1, 400, &alarms, NULL);
    assert_int_equal(detectors_watch_streams(w, a, &x, &n), ERR_OK);
    assert_int_equal(detectors_watch_streams(again, a, &y, &m), ERR_OK);
    assert_int_equal(n, 2);
    assert_int_equal(m, 2);
    for (size_t i = 0; i < 2; i++)
        for (size_t k = 0; k < 2; k++)
            if (strcmp(x[i].service, y[k].service) == 0) {
                assert_int_equal(x[i].scores, y[k].scores);
                assert_true(x[i].evidence == y[k].evidence && x[i].bound == y[k].bound);
                assert_int_equal(x[i].is_surging, y[k].is_surging);
            }
    detectors_watch_free(w);
    detectors_watch_free(again);
    arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(a_steady_stream_hardly_ever_alarms),
        T(a_rate_that_triples_is_found_within_some_hundred_responses),
        T(an_alarm_ends_when_the_rate_is_back),
        T(scores_of_another_shape_are_drift),
        T(a_restart_goes_on_where_it_was_saved),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
