/* Maps of LMDB that are full: what does not fit is refused and can be sent again, nothing that was acknowledged is lost, and it goes on by
 * itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "tsdb/files.h"
#include "tsdb/helper_rows.h"
#include "tsdb/lmdb_env.h"
#include "tsdb/store.h"
#include "tsdb/tsdb_state.h"

#define BATCH 1000u
#define MIB (UINT64_C(1) << 20)
#define DAY_MS INT64_C(86400000)

static _Atomic int64_t hours_later;

static int64_t now_ns(void)
{
    return ROWS_T0_NS + (1 + hours_later) * INT64_C(3600000000000);
}

static struct tsdb *store(const char *dir)
{
    struct tsdb_options o = {.dir = dir,
                             .retention_ms = 4 * DAY_MS,
                             .retention_content_ms = 4 * DAY_MS,
                             .retention_cells_ms = 4 * DAY_MS};
    struct tsdb *db = NULL;
    struct err_msg msg = {""};
    if (tsdb_open(&o, &db, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    return db;
}

static void make_dir(char out[64])
{
    snprintf(out, 64, "%s/telltale-map-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(out));
    hours_later = 0;
    clock_test_set_wall(now_ns);
}

static void expect_rows(struct tsdb *db, uint64_t n, const char *when)
{
    struct rows_found f;
    assert_int_equal(rows_find(db, n, &f), ERR_OK);
    for (uint64_t i = 0; i < n; i++)
        if (f.times[i] != 1)
            fail_msg("%s: row %llu is there %u times", when, (unsigned long long)i, f.times[i]);
    assert_int_equal(f.altered + f.strange, 0);
    assert_int_equal(f.rows, n);
    assert_int_equal(f.cells, n);
    rows_found_done(&f);
}

/* As a client would: what is refused is sent again. Returns how often it was refused. */
static unsigned send(struct tsdb *db, uint64_t *next)
{
    for (unsigned refused = 0; refused < 20; refused++) {
        enum err e = rows_append(db, rows_batch(tsdb_series(db), *next, BATCH, 0), NULL);
        if (e == ERR_OK) {
            *next += BATCH;
            return refused;
        }
        assert_true(e == ERR_FULL || e == ERR_UNAVAILABLE);
    }
    fail_msg("rows are refused for ever");
    return 0;
}

static unsigned seal(struct tsdb *db, bool compact)
{
    struct err_msg msg = {""};
    for (unsigned failed = 0; failed < 20; failed++)
        if (tsdb_flush(db, compact, &msg) == ERR_OK)
            return failed;
    fail_msg("it cannot be sealed: %s", msg.text);
    return 0;
}

static void full_maps_refuse_grow_and_lose_nothing(void **state)
{
    char dir[64];
    uint64_t next = 0;
    unsigned refused = 0, failed = 0;
    make_dir(dir);
    lmdb_env_map_is(MIB / 8, true);
    struct tsdb *db = store(dir);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 16; i++)
            refused += send(db, &next);
        expect_rows(db, next, "in memory");
        failed += seal(db, round == 1);
        expect_rows(db, next, "sealed");
        if (round == 0) { /* the maps are small again, for more than that */
            tsdb_close(db, false);
            db = store(dir);
            expect_rows(db, next, "opened again");
        }
    }
    print_message("refused %u times, not sealed %u times\n", refused, failed);
    assert_true(refused > 1); /* the journals were full */
    assert_true(failed > 0); /* and the parts */
    tsdb_close(db, false);
    lmdb_env_map_is(0, true);
    db = store(dir);
    expect_rows(db, next, "in the end");
    tsdb_close(db, false);
    files_remove_tree(dir);
}

static bool put_state(struct tsdb *db, unsigned i, size_t size)
{
    static const uint8_t filler[4000];
    struct tsdb_state_write *w;
    uint8_t key[8];
    bytes_put_u64be(key, i);
    enum err e = tsdb_state_begin(db, &w);
    if (e != ERR_OK)
        return false;
    e = tsdb_state_put(w, "filler", bytes_of(key, 8), bytes_of(filler, size));
    if (e == ERR_OK)
        return tsdb_state_commit(w) == ERR_OK;
    tsdb_state_abort(w);
    assert_int_equal(e, ERR_FULL);
    return false;
}

static size_t days(const char *dir)
{
    char path[96], **names;
    struct arena *a = arena_new(0);
    struct err_msg msg;
    size_t n;
    snprintf(path, sizeof(path), "%s/parts", dir);
    assert_int_equal(files_list(path, false, a, &names, &n, &msg), ERR_OK);
    arena_free(a);
    return n;
}

/* Rows of the later day, each once, and no others. */
static void expect_young_rows(struct tsdb *db, uint64_t n)
{
    struct rows_found f;
    assert_int_equal(rows_find(db, n, &f), ERR_OK);
    for (uint64_t i = 0; i < n; i++)
        if (f.times[i] != !rows_is_late(i))
            fail_msg("row %llu is there %u times", (unsigned long long)i, f.times[i]);
    assert_int_equal(f.altered + f.strange, 0);
    rows_found_done(&f);
}

static void a_state_that_is_full_stops_no_retention_and_no_reading(void **state)
{
    char dir[64];
    struct err_msg msg = {""};
    uint64_t next = 0;
    unsigned i = 0;
    make_dir(dir);
    lmdb_env_map_is(MIB / 2, false);
    struct tsdb *db = store(dir);
    assert_int_equal(send(db, &next), 0);
    assert_int_equal(seal(db, false), 0);
    for (size_t size = 4000; size; size /= 8)
        while (put_state(db, i, size))
            i++;
    assert_true(i > 20 && i < 2000);
    assert_int_equal(send(db, &next), 0); /* the journal has room */
    enum err e = tsdb_flush(db, false, &msg);
    if (e != ERR_OK)
        print_message("not sealed: %s: %s\n", err_text(e), msg.text);
    expect_rows(db, next, "sealed, or not known to be");
    assert_int_equal(days(dir), 2);
    for (unsigned step = 0; step < 20 && days(dir) == 2; step++) {
        hours_later += 5; /* more than a day is a clock that is wrong */
        retention_now(db);
    }
    assert_int_equal(days(dir), 1);
    assert_false(put_state(db, i, 4000));
    assert_true(hours_later > 72 && hours_later < 100);
    lmdb_env_map_is(MIB / 2, true);
    (void)seal(db, false);
    assert_true(put_state(db, i, 4000));
    expect_young_rows(db, next);
    tsdb_close(db, false);
    db = store(dir);
    expect_young_rows(db, next);
    tsdb_close(db, false);
    lmdb_env_map_is(0, true);
    files_remove_tree(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_maps_refuse_grow_and_lose_nothing),
        cmocka_unit_test(a_state_that_is_full_stops_no_retention_and_no_reading),
    };
    log_set_level(LOG_LEVEL_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
