/* The registry: limits with their overflow series, and series that are forgotten and whose numbers come again. */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "tsdb/tsdb_cardinality.h"

static struct tsdb_labels labels_of(struct arena *a, const char *metric, unsigned i)
{
    char text[32];
    struct tsdb_labels out = {BYTES_NONE};
    snprintf(text, sizeof(text), "value-%u", i);
    struct tsdb_label l[] = {{BYTES_LIT("__name__"), bytes_str(metric)},
                             {BYTES_LIT("x"), bytes_str(text)}};
    assert_int_equal(tsdb_labels_build(l, 2, a, &out, NULL), ERR_OK);
    return out;
}

static enum err ref_in(struct tsdb_registry *r, uint32_t org, const char *metric, unsigned i,
                       struct tsdb_ref *out)
{
    struct arena *a = arena_new(0);
    enum err e = tsdb_registry_ref(r, org, TSDB_SERIES_SAMPLES, labels_of(a, metric, i), out);
    arena_free(a);
    return e;
}

static enum err fold_in(struct tsdb_registry *r, uint32_t org, const char *metric, unsigned i,
                        struct tsdb_ref *out)
{
    struct arena *a = arena_new(0);
    struct tsdb_labels l = labels_of(a, metric, i);
    enum err e = tsdb_registry_ref(r, org, TSDB_SERIES_CELLS, l, out);
    if (e == ERR_LIMIT)
        e = tsdb_registry_overflow(r, org, TSDB_SERIES_CELLS, l, out);
    arena_free(a);
    return e;
}

static void a_metric_past_its_limit_folds_into_one_series_and_others_are_not_affected(void **state)
{
    struct tsdb_registry *r = tsdb_registry_new(1000);
    struct tsdb_ref ref, first = {0};
    tsdb_registry_limit_metrics(r, 100);
    for (unsigned i = 0; i < 5000; i++) {
        assert_int_equal(fold_in(r, 1, "exploding_total", i, &ref), ERR_OK);
        if (i == 100)
            first = ref;
        if (i >= 100)
            assert_int_equal(ref.v, first.v);
    }
    struct tsdb_labels l = tsdb_registry_info(r, first)->labels;
    assert_true(bytes_equal_str(tsdb_labels_get(l, BYTES_LIT("otel_metric_overflow")), "true"));
    assert_true(bytes_equal_str(tsdb_labels_get(l, BYTES_LIT("__name__")), "exploding_total"));
    assert_int_equal(tsdb_labels_count(l), 2);
    assert_int_equal(ref_in(r, 1, "quiet", 1, &ref), ERR_OK);
    assert_int_equal(ref_in(r, 2, "exploding_total", 1, &ref), ERR_OK);
    struct tsdb_registry_org org[2];
    assert_int_equal(tsdb_registry_orgs(r, org, 2), 2);
    assert_int_equal(org[0].series, 101);
    assert_int_equal(org[0].overflow_series, 1);
    assert_int_equal(org[0].folded, 4900);
    assert_int_equal(org[0].refused, 0);
    assert_int_equal(org[1].folded, 0);
    struct arena *a = arena_new(0);
    struct tsdb_registry_metric *m;
    size_t n;
    assert_int_equal(tsdb_registry_metrics(r, 1, a, &m, &n), ERR_OK);
    assert_int_equal(n, 2);
    assert_int_equal(m[0].series, 100);
    assert_int_equal(m[0].folded, 4900);
    assert_int_equal(m[0].recent, 100);
    arena_free(a);
    tsdb_registry_free(r);
}

static void what_is_refused_is_counted_and_costs_no_memory(void **state)
{
    struct tsdb_registry *r = tsdb_registry_new(50);
    struct tsdb_ref ref;
    char name[32];
    for (unsigned i = 0; i < 50; i++)
        assert_int_equal(ref_in(r, 7, "m", i, &ref), ERR_OK);
    uint64_t bytes = tsdb_registry_bytes(r);
    for (unsigned i = 50; i < 20000; i++) {
        snprintf(name, sizeof(name), "name_%u", i); /* a new name each time */
        assert_int_equal(ref_in(r, 7, name, i, &ref), ERR_LIMIT);
    }
    assert_int_equal(tsdb_registry_bytes(r), bytes);
    assert_int_equal(ref_in(r, 8, "m", 0, &ref), ERR_OK);
    struct tsdb_registry_org org[2];
    tsdb_registry_orgs(r, org, 2);
    assert_int_equal(org[0].refused, 19950);
    assert_int_equal(org[0].series, 50);
    for (unsigned i = 0; i < TSDB_OVERFLOW_MAX;
         i++) { /* names without end do not get around it either */
        snprintf(name, sizeof(name), "other_%u", i);
        assert_int_equal(fold_in(r, 7, name, i, &ref), ERR_OK);
    }
    assert_int_equal(fold_in(r, 7, "one_more", 0, &ref), ERR_LIMIT);
    tsdb_registry_free(r);
}

static void replay_brings_back_what_was_acknowledged_whatever_the_limit_is_now(void **state)
{
    struct tsdb_registry *r = tsdb_registry_new(2);
    struct arena *a = arena_new(0);
    struct tsdb_ref ref;
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(
            tsdb_registry_restore(r, 1, TSDB_SERIES_SAMPLES, labels_of(a, "m", i), &ref), ERR_OK);
    assert_int_equal(ref_in(r, 1, "m", 10, &ref), ERR_LIMIT);
    assert_int_equal(ref_in(r, 1, "m", 9, &ref), ERR_OK);
    arena_free(a);
    tsdb_registry_free(r);
}

static void an_idle_series_is_forgotten_and_a_held_or_used_one_is_not(void **state)
{
    struct tsdb_registry *r = tsdb_registry_new(0);
    struct tsdb_ref idle, held, used, again;
    assert_int_equal(ref_in(r, 1, "idle", 1, &idle), ERR_OK);
    assert_int_equal(ref_in(r, 1, "held", 1, &held), ERR_OK);
    assert_int_equal(ref_in(r, 1, "used", 1, &used), ERR_OK);
    tsdb_registry_hold(r, held);
    tsdb_registry_tick(r, TSDB_REGISTRY_IDLE_MIN);
    assert_int_equal(tsdb_registry_evict(r), 0);
    assert_true(tsdb_registry_touch(r, used));
    tsdb_registry_tick(r, TSDB_REGISTRY_IDLE_MIN + 2);
    uint32_t evictions = tsdb_registry_evictions(r);
    assert_int_equal(tsdb_registry_evict(r), 1);
    assert_int_not_equal(tsdb_registry_evictions(r), evictions);
    assert_false(tsdb_registry_touch(r, idle));
    assert_true(tsdb_registry_touch(r, used));
    assert_int_equal(tsdb_registry_live(r), 2);
    /* its number is not given to another one at once */
    assert_int_equal(ref_in(r, 1, "new", 1, &again), ERR_OK);
    assert_int_not_equal(again.v, idle.v);
    tsdb_registry_tick(r, TSDB_REGISTRY_IDLE_MIN + 2 + TSDB_REGISTRY_SAFE_MIN);
    (void)tsdb_registry_evict(r);
    assert_int_equal(ref_in(r, 1, "newer", 1, &again), ERR_OK);
    assert_int_equal(again.v, idle.v);
    assert_int_equal(ref_in(r, 1, "idle", 1, &again), ERR_OK); /* it may come back */
    assert_int_not_equal(again.v, idle.v);
    tsdb_registry_unhold(tsdb_registry_info(r, held));
    tsdb_registry_free(r);
}

static void churn_does_not_grow_the_registry(void **state)
{
    struct tsdb_registry *r = tsdb_registry_new(40000);
    struct tsdb_ref ref;
    uint64_t bytes = 0;
    for (uint32_t minute = 1; minute < 1500; minute += 5) {
        tsdb_registry_tick(r, minute);
        for (unsigned i = 0; i < 1000; i++)
            assert_int_equal(ref_in(r, 1, "churning", minute * 1000 + i, &ref), ERR_OK);
        if (minute % 10 == 1)
            (void)tsdb_registry_evict(r);
        if (minute == 501)
            bytes = tsdb_registry_bytes(r);
    }
    assert_true(tsdb_registry_bytes(r) < bytes + bytes / 10);
    assert_in_range(tsdb_registry_live(r), 20000, 30000);
    assert_in_range(tsdb_registry_count(r), 20000, 40000);
    tsdb_registry_free(r);
}

static void a_full_org_forgets_sooner(void **state)
{
    struct tsdb_registry *r = tsdb_registry_new(10);
    struct tsdb_ref ref;
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(ref_in(r, 1, "m", i, &ref), ERR_OK);
    tsdb_registry_tick(r, TSDB_REGISTRY_FULL_IDLE_MIN + 5);
    assert_int_equal(tsdb_registry_evict(r), 0);
    assert_int_equal(ref_in(r, 1, "m", 10, &ref), ERR_LIMIT);
    assert_int_equal(tsdb_registry_evict(r), 10);
    assert_int_equal(ref_in(r, 1, "m", 10, &ref), ERR_OK);
    tsdb_registry_free(r);
}

/* --- reports --------------------------------------------------------------------------------------- */

static void add_pod(struct tsdb_registry *r, const char *metric, const char *job, unsigned pod)
{
    struct arena *a = arena_new(0);
    struct tsdb_labels labels;
    struct tsdb_ref ref;
    struct tsdb_label l[] = {{BYTES_LIT("__name__"), bytes_str(metric)},
                             {BYTES_LIT("job"), bytes_str(job)},
                             {BYTES_LIT("pod"), arena_printf(a, "pod-%u", pod)}};
    assert_int_equal(tsdb_labels_build(l, 3, a, &labels, NULL), ERR_OK);
    assert_int_equal(tsdb_registry_ref(r, 1, TSDB_SERIES_SAMPLES, labels, &ref), ERR_OK);
    arena_free(a);
}

static void the_report_names_the_label_that_grows(void **state)
{
    struct tsdb_registry *r = tsdb_registry_new(0);
    struct arena *a = arena_new(0);
    struct tsdb_cardinality k;
    for (unsigned i = 0; i < 300; i++)
        add_pod(r, "steady", i % 3 ? "web" : "worker", i % 100);
    tsdb_registry_tick(r, 200);
    for (unsigned i = 0; i < 50; i++)
        add_pod(r, "leaking", "web", 1000 + i);
    add_pod(r, "steady", "cron", 1);
    assert_int_equal(tsdb_cardinality_read(r, 1, 3, a, &k), ERR_OK);
    assert_int_equal(k.org.series, 251);
    assert_int_equal(k.metric_count, 2);
    assert_int_equal(k.label_count, 3);
    assert_int_equal(k.pairs, 2 + 3 + 150);
    assert_true(bytes_equal_str(k.metrics[0].name, "steady") && k.metrics[0].series == 201);
    assert_true(bytes_equal_str(k.labels[0].name, "pod") && k.labels[0].values == 150);
    assert_true(bytes_equal_str(k.top_pairs[0].value, "steady") && k.top_pairs[0].series == 201);
    assert_int_equal(k.top_pairs_n, 3);
    assert_true(bytes_equal_str(k.growth[0].metric, "leaking") &&
                bytes_equal_str(k.growth[0].label, "pod"));
    assert_int_equal(k.growth[0].recent_values, 50);
    assert_int_equal(k.growth[0].recent_series, 50);
    for (size_t i = 0; i < k.growth_n; i++) /* of steady only a job is new, no pod */
        if (bytes_equal_str(k.growth[i].metric, "steady"))
            assert_int_equal(k.growth[i].recent_values,
                             bytes_equal_str(k.growth[i].label, "job") ? 1 : 0);
    assert_int_equal(tsdb_cardinality_read(r, 2, 3, a, &k), ERR_OK);
    assert_int_equal(k.pairs, 0);
    arena_free(a);
    tsdb_registry_free(r);
}

/* --- many threads ---------------------------------------------------------------------------------- */

#define THREAD_SERIES 300u

struct user {
    struct tsdb_registry *r;
    unsigned seed;
    _Atomic bool *stop;
    _Atomic unsigned *wrong, *window;
    _Atomic unsigned rounds;
};

/* Remembers numbers as a decoder's memo does, and checks that a number that can be touched means what it meant. */
static void *use(void *arg)
{
    struct user *u = arg;
    struct tsdb_ref known[THREAD_SERIES] = {{0}};
    uint64_t identity[THREAD_SERIES] = {0};
    struct arena *a = arena_new(0);
    while (!atomic_load(u->stop)) {
        u->seed = u->seed * 1664525u + 1013904223u;
        unsigned window = atomic_load(u->window);
        atomic_fetch_add(&u->rounds, 1);
        /* twenty at a time: the others fall idle meanwhile */
        unsigned i = (window * 20 + (u->seed >> 16) % 20) % THREAD_SERIES;
        struct tsdb_labels l = labels_of(a, "m", i);
        uint64_t is = tsdb_labels_identity(1, l).lo;
        if (known[i].v && tsdb_registry_touch(u->r, known[i])) {
            const struct tsdb_series_info *info = tsdb_registry_info(u->r, known[i]);
            if (info->identity.lo == identity[i] && !tsdb_labels_equal(info->labels, l))
                atomic_fetch_add(u->wrong, 1);
        }
        if (tsdb_registry_ref(u->r, 1, TSDB_SERIES_SAMPLES, l, &known[i]) != ERR_OK)
            continue;
        identity[i] = is;
        const struct tsdb_series_info *info = tsdb_registry_info(u->r, known[i]);
        if (info->identity.lo != is || !tsdb_labels_equal(info->labels, l))
            atomic_fetch_add(u->wrong, 1);
        arena_reset(a);
    }
    arena_free(a);
    return NULL;
}

static void numbers_keep_their_meaning_while_others_are_forgotten(void **state)
{
    struct tsdb_registry *r = tsdb_registry_new(0);
    _Atomic bool stop = false;
    _Atomic unsigned wrong = 0, window = 0;
    pthread_t thread[3];
    struct user user[3];
    for (unsigned i = 0; i < 3; i++) {
        user[i] = (struct user){r, i + 1, &stop, &wrong, &window, 0};
        assert_int_equal(pthread_create(&thread[i], NULL, use, &user[i]), 0);
    }
    uint32_t forgotten = 0;
    for (uint32_t minute = 1; minute < 1500; minute += 5) {
        unsigned at[3];
        for (unsigned i = 0; i < 3; i++)
            at[i] = atomic_load(&user[i].rounds);
        for (unsigned i = 0; i < 3; i++) /* what was found is used for minutes, not for hours */
            while (atomic_load(&user[i].rounds) < at[i] + 20)
                sched_yield();
        atomic_store(&window, minute / 20);
        tsdb_registry_tick(r, minute);
        forgotten += tsdb_registry_evict(r);
    }
    atomic_store(&stop, true);
    for (unsigned i = 0; i < 3; i++)
        pthread_join(thread[i], NULL);
    assert_int_equal(wrong, 0);
    assert_true(forgotten > 100);
    tsdb_registry_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_metric_past_its_limit_folds_into_one_series_and_others_are_not_affected),
        cmocka_unit_test(what_is_refused_is_counted_and_costs_no_memory),
        cmocka_unit_test(replay_brings_back_what_was_acknowledged_whatever_the_limit_is_now),
        cmocka_unit_test(an_idle_series_is_forgotten_and_a_held_or_used_one_is_not),
        cmocka_unit_test(churn_does_not_grow_the_registry),
        cmocka_unit_test(a_full_org_forgets_sooner),
        cmocka_unit_test(the_report_names_the_label_that_grows),
        cmocka_unit_test(numbers_keep_their_meaning_while_others_are_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
