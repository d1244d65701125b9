/* A view that is forgotten: what it pins is superseded again and again, and neither files nor free pages grow by it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "tsdb/files.h"
#include "tsdb/helper_rows.h"
#include "tsdb/tsdb_state.h"

#define AGE_MS 1500
#define WAIT_MS 120000

static int64_t fixed_now(void)
{
    return ROWS_T0_NS + INT64_C(3600000000000);
}

static struct tsdb *open_store(char dir[64], int64_t view_max_age_ms)
{
    struct tsdb *db;
    struct err_msg msg = {""};
    snprintf(dir, 64, "%s/telltale-stale-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(dir));
    clock_test_set_wall(fixed_now);
    log_set_level(LOG_LEVEL_ERROR);
    struct tsdb_options o = {.dir = dir, .view_max_age_ms = view_max_age_ms};
    if (tsdb_open(&o, &db, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    return db;
}

static void seal(struct tsdb *db, uint64_t first, bool compact)
{
    struct err_msg msg;
    assert_int_equal(rows_append(db, rows_batch(tsdb_series(db), first, 50, 0), NULL), ERR_OK);
    assert_int_equal(tsdb_flush(db, compact, &msg), ERR_OK);
}

static size_t names_in(const char *dir, const char *sub)
{
    char path[160], **names;
    struct err_msg msg;
    size_t n;
    struct arena *a = arena_new(0);
    snprintf(path, sizeof(path), "%s/%s", dir, sub);
    assert_int_equal(files_list(path, true, a, &names, &n, &msg), ERR_OK);
    arena_free(a);
    return n;
}

static bool comes_to_nothing(const char *dir, const char *sub)
{
    for (int ms = 0; names_in(dir, sub) && ms < WAIT_MS; ms += 20)
        usleep(20000);
    return names_in(dir, sub) == 0;
}

static enum err scan(struct tsdb_view *v, uint32_t *out_count)
{
    struct arena *a = arena_new(0);
    struct tsdb_spans spans = {0};
    struct tsdb_span_filter all = {.start_max_ns = INT64_MAX};
    enum err e = tsdb_span_scan(v, &all, 100000, a, &spans);
    *out_count = spans.count;
    arena_free(a);
    return e;
}

static void a_view_reads_on_while_it_is_young(void **state)
{
    char dir[64];
    struct tsdb *db = open_store(dir, 600000);
    struct tsdb_view *v;
    uint32_t n;
    seal(db, 0, false);
    seal(db, 50, false);
    assert_int_equal(tsdb_view_open(db, ROWS_ORG, NULL, &v), ERR_OK);
    seal(db, 100, true);
    assert_true(names_in(dir, ".trash") > 0); /* what was merged is there for it */
    assert_int_equal(scan(v, &n), ERR_OK);
    assert_int_equal(n, 100);
    tsdb_view_close(v);
    assert_true(comes_to_nothing(dir, ".trash"));
    tsdb_close(db, false);
    files_remove_tree(dir);
}

static void a_forgotten_view_keeps_neither_parts_nor_journals_and_is_told_that_it_is_too_old(
    void **state)
{
    char dir[64];
    struct tsdb *db = open_store(dir, AGE_MS);
    struct tsdb_view *fresh_view, *touched, *untouched;
    uint32_t n;
    seal(db, 0, false);
    seal(db, 50, false);
    assert_int_equal(tsdb_view_open(db, ROWS_ORG, NULL, &touched), ERR_OK);
    assert_int_equal(tsdb_view_open(db, ROWS_ORG, NULL, &untouched), ERR_OK);
    assert_int_equal(scan(touched, &n), ERR_OK);
    seal(db, 100, true);
    assert_int_equal(names_in(dir, "journal"), 1); /* of the live generation */
    assert_true(comes_to_nothing(dir, ".trash")); /* although two views hold what was there */
    assert_int_equal(scan(touched, &n), ERR_TIMEOUT); /* 503 */
    assert_int_equal(scan(untouched, &n), ERR_TIMEOUT);
    assert_int_equal(err_http_status(ERR_TIMEOUT), 503);
    assert_int_equal(tsdb_view_open(db, ROWS_ORG, NULL, &fresh_view), ERR_OK);
    assert_int_equal(scan(fresh_view, &n), ERR_OK);
    assert_int_equal(n, 150);
    tsdb_view_close(fresh_view);
    tsdb_view_close(untouched);
    tsdb_view_close(touched);
    tsdb_close(db, false);
    files_remove_tree(dir);
}

static uint64_t file_bytes(const char *dir, const char *sub)
{
    char path[160];
    struct stat st;
    snprintf(path, sizeof(path), "%s/%s/data.mdb", dir, sub);
    assert_int_equal(stat(path, &st), 0);
    return (uint64_t)st.st_size;
}

static void put_state(struct tsdb *db, unsigned i)
{
    struct tsdb_state_write *w;
    uint8_t value[4096];
    memset(value, (int)i, sizeof(value));
    assert_int_equal(tsdb_state_begin(db, &w), ERR_OK);
    assert_int_equal(tsdb_state_put(w, "things", BYTES_LIT("one"), bytes_of(value, sizeof(value))),
                     ERR_OK);
    assert_int_equal(tsdb_state_commit(w), ERR_OK);
}

/* A reader's transaction that stays open would keep every page that is replaced meanwhile. */
static void free_pages_do_not_pile_up_under_a_forgotten_view(void **state)
{
    char dir[64];
    struct tsdb *db = open_store(dir, AGE_MS);
    struct tsdb_view *v;
    uint32_t n;
    seal(db, 0, false);
    assert_int_equal(tsdb_view_open(db, ROWS_ORG, NULL, &v), ERR_OK);
    assert_int_equal(scan(v, &n), ERR_OK);
    for (unsigned i = 0; i < 20; i++)
        put_state(db, i);
    uint64_t before = file_bytes(dir, "state");
    for (unsigned i = 0; i < 300; i++)
        put_state(db, i);
    assert_true(file_bytes(dir, "state") <= before + before / 2);
    /* nor parts: as many again, merged as often, take the room of what is in them */
    uint64_t first = 0, last = 0;
    for (unsigned i = 0; i < 12; i++) {
        seal(db, 1000, true); /* the same rows, absorbed as repeats or merged */
        struct tsdb_status s;
        tsdb_status_get(db, &s);
        first = i == 2 ? s.parts_bytes : first;
        last = s.parts_bytes;
    }
    assert_true(first > 0 && last <= first + first / 2);
    assert_true(comes_to_nothing(dir, ".trash"));
    tsdb_view_close(v);
    tsdb_close(db, false);
    files_remove_tree(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_view_reads_on_while_it_is_young),
        cmocka_unit_test(
            a_forgotten_view_keeps_neither_parts_nor_journals_and_is_told_that_it_is_too_old),
        cmocka_unit_test(free_pages_do_not_pile_up_under_a_forgotten_view),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
