/* The memory limit: a head is sealed at a third of it, senders wait instead of the process growing, queries fail past their half. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arena_budget.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/hoard.h"
#include "tsdb/files.h"
#include "tsdb/tsdb_read.h"

#define LIMIT (32u << 20)
#define SERIES 2000u

static char dir[64];
static struct tsdb_ref refs[SERIES];

static struct tsdb *open_store(void)
{
    struct tsdb_options o = {.dir = dir, .memory_limit_bytes = LIMIT};
    struct tsdb *db;
    struct err_msg msg;
    assert_int_equal(tsdb_open(&o, &db, &msg), ERR_OK);
    struct arena *a = arena_new(0);
    for (unsigned i = 0; i < SERIES; i++) {
        struct tsdb_labels labels;
        struct tsdb_label l[] = {{BYTES_LIT("__name__"), BYTES_LIT("m")},
                                 {BYTES_LIT("i"), arena_printf(a, "%u", i)}};
        assert_int_equal(tsdb_labels_build(l, 2, a, &labels, NULL), ERR_OK);
        assert_int_equal(
            tsdb_registry_ref(tsdb_series(db), 1, TSDB_SERIES_SAMPLES, labels, &refs[i]), ERR_OK);
    }
    arena_free(a);
    return db;
}

static int set_up(void **state)
{
    snprintf(dir, sizeof(dir), "/tmp/telltale-memory-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int tear_down(void **state)
{
    files_remove_tree(dir);
    return 0;
}

/* Values that do not compress: 11 bytes a sample in the head. */
static enum err append(struct tsdb *db, int64_t t_ms, unsigned rows)
{
    struct tsdb_batch *b = tsdb_batch_new(1, TSDB_SAMPLES, 0);
    assert_non_null(b);
    for (unsigned i = 0; i < rows; i++)
        assert_true(tsdb_batch_add_sample(b, refs[i % SERIES], t_ms + i / SERIES,
                                          (double)(t_ms * 7919 % 1000003) / 7.0 + i * 0.37, 0));
    b->received = rows;
    b->received_ns = clock_wall_ns();
    enum err e = tsdb_append(db, &b, NULL, NULL);
    if (e != ERR_OK)
        tsdb_batch_free(b);
    return e;
}

static void a_head_is_sealed_at_a_third_of_the_limit_and_nothing_passes_it(void **state)
{
    struct tsdb *db = open_store();
    struct tsdb_status s;
    uint64_t rows = 0, seen = 0, stored;
    int64_t now = clock_wall_ms() - 3600000;
    for (unsigned i = 0; i < 450; i++) {
        for (unsigned tries = 0; append(db, now + i * 1000, 10000) != ERR_OK; tries++) {
            assert_true(tries < 10000);
            clock_sleep_ms(1); /* as a sender does that is told to wait */
        }
        rows += 10000;
        tsdb_status_get(db, &s);
        seen = MAX(seen, s.head_bytes + s.waiting_bytes + s.index_cache_bytes + s.query_bytes);
    }
    struct err_msg msg;
    assert_true(seen <= LIMIT + (2u << 20));
    assert_int_equal(tsdb_flush(db, false, &msg), ERR_OK); /* after all that waited is committed */
    tsdb_status_get(db, &s);
    assert_true(s.generation > 3); /* sealed on the way, twice, not only now */
    assert_int_equal(tsdb_count(db, 1, TSDB_SAMPLES, &stored), ERR_OK);
    assert_int_equal(stored, rows);
    tsdb_close(db, true);
}

static void senders_wait_while_a_query_holds_the_memory(void **state)
{
    struct tsdb *db = open_store();
    struct arena *a = arena_new_in(tsdb_query_budget(db), 0), *another;
    size_t held = 0;
    while (arena_alloc(a, 1u << 20))
        held += 1u << 20;
    assert_in_range(held, LIMIT / 2 - (2u << 20), LIMIT / 2); /* queries may have half of it */
    another = arena_new_in(tsdb_query_budget(db), 0);
    assert_null(arena_alloc(another, 1u << 20));
    /* a query that wants a view finds no room, and says so */
    struct tsdb_view *v;
    if (tsdb_view_open(db, 1, NULL, &v) == ERR_OK) {
        struct tsdb_series *series;
        size_t n;
        assert_int_equal(append(db, clock_wall_ms() - 60000, SERIES), ERR_OK);
        enum err e = tsdb_select(v, NULL, 0, INT64_MIN, INT64_MAX, another, &series, &n);
        assert_true(e == ERR_OK || e == ERR_NOMEM || e == ERR_LIMIT);
        tsdb_view_close(v);
    }
    /* with the rest filled by what waits, the next one is told to come again */
    enum err e = ERR_OK;
    for (unsigned i = 0; i < 200 && e == ERR_OK; i++)
        e = append(db, clock_wall_ms() - 50000 + i * 100, 100000);
    assert_int_equal(e, ERR_UNAVAILABLE);
    arena_free(another);
    arena_free(a);
    assert_int_equal(atomic_load(&tsdb_query_budget(db)->used), 0);
    for (unsigned tries = 0; append(db, clock_wall_ms() - 1000, 10) != ERR_OK; tries++) {
        assert_true(tries < 10000);
        clock_sleep_ms(1);
    }
    tsdb_close(db, false);
}

static void memory_kept_for_reuse_makes_room_for_rows(void **state)
{
    struct tsdb *db = open_store();
    void *blocks[24];
    size_t sizes[ARRAY_LEN(blocks)];
    hoard_keep(LIMIT);
    for (size_t i = 0; i < ARRAY_LEN(blocks); i++)
        assert_non_null(blocks[i] = hoard_alloc(HOARD_BLOCK_MAX - HOARD_HEADER, &sizes[i]));
    for (size_t i = 0; i < ARRAY_LEN(blocks); i++)
        hoard_free(blocks[i], sizes[i]);
    size_t kept = hoard_kept();
    assert_true(kept >= 11 * HOARD_SIZE);
    assert_int_equal(append(db, clock_wall_ms() - 60000, 10), ERR_OK);
    assert_true(hoard_kept() + HOARD_SIZE >= kept); /* there is room for both */
    atomic_fetch_add(&tsdb_query_budget(db)->used, LIMIT / 2);
    assert_int_equal(append(db, clock_wall_ms() - 50000, 10), ERR_OK);
    assert_true(hoard_kept() <= LIMIT / 2);
    atomic_fetch_sub(&tsdb_query_budget(db)->used, LIMIT / 2);
    tsdb_close(db, true);
}

static void one_request_larger_than_the_limit_is_taken_when_nothing_else_is_there(void **state)
{
    struct tsdb *db = open_store();
    assert_int_equal(append(db, clock_wall_ms() - 60000, 1500000), ERR_OK); /* 42 MB */
    tsdb_close(db, true);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(a_head_is_sealed_at_a_third_of_the_limit_and_nothing_passes_it),
        CASE(senders_wait_while_a_query_holds_the_memory),
        CASE(memory_kept_for_reuse_makes_room_for_rows),
        CASE(one_request_larger_than_the_limit_is_taken_when_nothing_else_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
