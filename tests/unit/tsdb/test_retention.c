/* What retention removes, when, and what it must never remove. The wall clock is the test's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "tsdb/files.h"
#include "tsdb/helper_rows.h"
#include "tsdb/lmdb_env.h"
#include "tsdb/store.h"

#define DAY_MS INT64_C(86400000)
#define HOUR_MS INT64_C(3600000)
#define T0_MS (ROWS_T0_NS / 1000000)

static _Atomic int64_t wall_ms;

static int64_t wall_ns(void)
{
    return atomic_load(&wall_ms) * 1000000;
}

struct place {
    char dir[64];
    struct tsdb *db;
};

static struct tsdb *store(const char *dir)
{
    struct tsdb_options o = {.dir = dir,
                             .retention_ms = 10 * DAY_MS,
                             .retention_content_ms = 3 * DAY_MS,
                             .retention_cells_ms = 20 * DAY_MS};
    struct tsdb *db = NULL;
    struct err_msg msg = {""};
    if (tsdb_open(&o, &db, &msg) != ERR_OK)
        print_message("open: %s\n", msg.text);
    return db;
}

static int place_make(void **state)
{
    struct place *p = calloc(1, sizeof(*p));
    *state = p;
    if (!p)
        return 1;
    atomic_store(&wall_ms, T0_MS);
    clock_test_set_wall(wall_ns);
    log_set_level(LOG_LEVEL_ERROR);
    snprintf(p->dir, sizeof(p->dir), "%s/telltale-retention-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(p->dir))
        return 1;
    p->db = store(p->dir);
    return p->db ? 0 : 1;
}

static int place_done(void **state)
{
    struct place *p = *state;
    tsdb_close(p->db, false);
    files_remove_tree(p->dir);
    free(p);
    clock_test_set_wall(NULL);
    return 0;
}

static void reopen(struct place *p)
{
    tsdb_close(p->db, false);
    p->db = store(p->dir);
    assert_non_null(p->db);
}

/* Time passes as it does for a server that runs: in steps of less than a day, with a pass of retention each. */
static void walk_to(struct place *p, int64_t to_ms)
{
    while (atomic_load(&wall_ms) < to_ms) {
        atomic_store(&wall_ms, MIN(atomic_load(&wall_ms) + 20 * HOUR_MS, to_ms));
        retention_now(p->db);
    }
}

static struct tsdb_ref series(struct tsdb *db, struct arena *a)
{
    struct tsdb_label l[] = {{BYTES_LIT("__name__"), BYTES_LIT("up")}};
    struct tsdb_labels labels;
    struct tsdb_ref ref;
    assert_int_equal(tsdb_labels_build(l, 1, a, &labels, NULL), ERR_OK);
    assert_int_equal(
        tsdb_registry_ref(tsdb_series(db), ROWS_ORG, TSDB_SERIES_SAMPLES, labels, &ref), ERR_OK);
    return ref;
}

/* Spans with text and cells (ids first..first+9, but none of the day before), and a sample, all of the day of T0; sealed. */
static void add(struct place *p, uint64_t first)
{
    struct err_msg msg = {""};
    assert_int_equal(
        rows_append(p->db, rows_batch(tsdb_series(p->db), first * 11 + 1, 10, 0), NULL), ERR_OK);
    struct tsdb_batch *b = tsdb_batch_new(ROWS_ORG, TSDB_SAMPLES, 1 << 20);
    assert_true(tsdb_batch_add_sample(b, series(p->db, b->arena), T0_MS, 1, 0));
    b->received = 1;
    assert_int_equal(rows_append(p->db, b, NULL), ERR_OK);
    assert_int_equal(tsdb_flush(p->db, false, &msg), ERR_OK);
}

/* Letters of the classes whose directory of T0's day is there. */
static const char *classes(struct place *p)
{
    static char found[8];
    char path[256];
    size_t n = 0;
    for (int c = 0; c < PART_CLASS_COUNT; c++) {
        snprintf(path, sizeof(path), "%s/parts/20261120/%s", p->dir,
                 part_class_name((enum part_class)c));
        if (access(path, F_OK) == 0)
            found[n++] = "trsc"[c];
    }
    found[n] = 0;
    return found;
}

static unsigned trash(struct place *p)
{
    struct arena *a = arena_new(0);
    char path[256], **names;
    size_t n;
    struct err_msg msg;
    snprintf(path, sizeof(path), "%s/.trash", p->dir);
    assert_int_equal(files_list(path, true, a, &names, &n, &msg), ERR_OK);
    arena_free(a);
    return (unsigned)n;
}

static uint32_t spans_in(struct tsdb_view *v)
{
    struct tsdb_span_filter all = {.start_max_ns = INT64_MAX};
    struct tsdb_spans spans;
    struct arena *a = arena_new(0);
    assert_int_equal(tsdb_span_scan(v, &all, 1000, a, &spans), ERR_OK);
    uint32_t n = spans.count;
    arena_free(a);
    return n;
}

static void each_class_goes_after_its_own_time(void **state)
{
    struct place *p = *state;
    char path[256];
    int64_t end = (T0_MS / DAY_MS + 1) * DAY_MS; /* the day's */
    add(p, 0);
    retention_now(p->db);
    assert_string_equal(classes(p), "trsc");
    walk_to(p, end + 3 * DAY_MS);
    assert_string_equal(classes(p), "trsc"); /* not one moment too early */
    walk_to(p, end + 3 * DAY_MS + 1);
    assert_string_equal(classes(p), "rsc");
    walk_to(p, end + 10 * DAY_MS);
    assert_string_equal(classes(p), "rsc");
    walk_to(p, end + 10 * DAY_MS + 1);
    assert_string_equal(classes(p), "c");
    walk_to(p, end + 20 * DAY_MS);
    assert_string_equal(classes(p), "c");
    walk_to(p, end + 20 * DAY_MS + 1);
    assert_string_equal(classes(p), "");
    snprintf(path, sizeof(path), "%s/parts/20261120", p->dir);
    assert_int_not_equal(access(path, F_OK), 0); /* nor does the day's directory stay */
    assert_int_equal(trash(p), 0);
    struct tsdb_status s;
    tsdb_status_get(p->db, &s);
    assert_int_equal(s.parts_count, 0);
}

static void the_floor_rises_and_never_falls(void **state)
{
    struct place *p = *state;
    assert_int_equal(tsdb_retention_floor_ms(p->db), T0_MS - 10 * DAY_MS);
    walk_to(p, T0_MS + 2 * DAY_MS);
    assert_int_equal(tsdb_retention_floor_ms(p->db), T0_MS - 8 * DAY_MS);
    atomic_store(&wall_ms, T0_MS + DAY_MS + HOUR_MS); /* set back by less than a day */
    retention_now(p->db);
    assert_int_equal(tsdb_retention_floor_ms(p->db), T0_MS - 8 * DAY_MS);
    reopen(p);
    assert_int_equal(tsdb_retention_floor_ms(p->db), T0_MS - 8 * DAY_MS);
}

static void a_clock_that_jumps_removes_nothing_and_raises_no_floor(void **state)
{
    struct place *p = *state;
    add(p, 0);
    retention_now(p->db);
    int64_t floor = tsdb_retention_floor_ms(p->db);
    for (int i = 0; i < 4; i++) {
        int64_t jump =
            (const int64_t[]){25 * HOUR_MS, 365 * DAY_MS, -365 * DAY_MS, 4000 * DAY_MS}[i];
        atomic_store(&wall_ms, T0_MS + jump);
        for (int pass = 0; pass < 3; pass++)
            retention_now(p->db);
        assert_string_equal(classes(p), "trsc");
        int64_t now = tsdb_retention_floor_ms(
            p->db); /* by the clock of before: what senders send is still accepted */
        assert_true(now >= floor && now < floor + HOUR_MS);
    }
    atomic_store(&wall_ms, T0_MS + HOUR_MS); /* corrected: it goes on as if nothing had been */
    retention_now(p->db);
    assert_true(tsdb_retention_floor_ms(p->db) < floor + 2 * HOUR_MS);
    walk_to(p, T0_MS + 4 * DAY_MS);
    assert_string_equal(classes(p), "rsc");
}

static void a_clock_that_jumped_while_the_program_was_off_removes_nothing_at_once(void **state)
{
    struct place *p = *state;
    add(p, 0);
    retention_now(p->db);
    int64_t floor = tsdb_retention_floor_ms(p->db);
    atomic_store(&wall_ms, T0_MS + 400 * DAY_MS);
    reopen(p);
    for (int pass = 0; pass < 3; pass++)
        retention_now(p->db);
    assert_string_equal(classes(p), "trsc");
    assert_true(tsdb_retention_floor_ms(p->db) < floor + HOUR_MS);
    atomic_store(&wall_ms, T0_MS + 2 * HOUR_MS);
    retention_now(p->db);
    walk_to(p, T0_MS + 12 * DAY_MS);
    assert_string_equal(classes(p), "c");
}

static void a_view_reads_on_what_is_dropped(void **state)
{
    struct place *p = *state;
    struct tsdb_view *opened, *unopened;
    add(p, 0);
    reopen(p); /* so that no part is open yet */
    assert_int_equal(tsdb_view_open(p->db, ROWS_ORG, NULL, &unopened), ERR_OK);
    assert_int_equal(tsdb_view_open(p->db, ROWS_ORG, NULL, &opened), ERR_OK);
    walk_to(p, T0_MS + 30 * DAY_MS);
    assert_string_equal(classes(p), "");
    assert_true(trash(p) >= 4);
    assert_int_equal(spans_in(opened), 10);
    add(p, 1); /* a late row makes the day anew, beside the one in the trash */
    assert_int_equal(spans_in(unopened), 10);
    tsdb_view_close(unopened);
    assert_int_equal(spans_in(opened), 10);
    tsdb_view_close(opened);
    retention_now(p->db);
    assert_int_equal(trash(p), 0); /* soon after the last reader */
    assert_string_equal(classes(p), "");
}

static void a_part_that_cannot_be_moved_stays_and_is_tried_again(void **state)
{
    struct place *p = *state;
    char path[256];
    struct err_msg msg;
    struct tsdb_view *v;
    add(p, 0);
    snprintf(path, sizeof(path), "%s/.trash", p->dir);
    files_remove_tree(path);
    assert_int_equal(files_write(path, BYTES_LIT("no directory"), &msg), ERR_OK);
    walk_to(p, T0_MS + 30 * DAY_MS);
    assert_string_equal(classes(p), "trsc");
    assert_int_equal(tsdb_view_open(p->db, ROWS_ORG, NULL, &v), ERR_OK);
    assert_int_equal(spans_in(v), 10); /* it is in the set still */
    tsdb_view_close(v);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(files_make_dir(path, &msg), ERR_OK);
    retention_now(p->db);
    assert_string_equal(classes(p), "");
}

static void the_trash_is_emptied_at_the_start(void **state)
{
    struct place *p = *state;
    char path[256];
    struct err_msg msg;
    add(p, 0);
    snprintf(path, sizeof(path), "%s/.trash/20000-rows-0", p->dir);
    assert_int_equal(files_make_dir(path, &msg), ERR_OK);
    snprintf(path, sizeof(path), "%s/.trash/20000-rows-0/data.mdb", p->dir);
    assert_int_equal(files_write(path, BYTES_LIT("left by a crash"), &msg), ERR_OK);
    assert_int_equal(trash(p), 1);
    reopen(p);
    assert_int_equal(trash(p), 0);
    assert_string_equal(classes(p), "trsc");
}

/* 200 days: all can be read, and never more than the limit of them is open. */
static void many_days_are_read_with_few_of_them_open(void **state)
{
    struct place *p = *state;
    struct tsdb_options o = {.dir = p->dir, .retention_ms = 400 * DAY_MS};
    struct err_msg msg = {""};
    struct tsdb_matcher name = {
        .op = TSDB_MATCH_EQ, .name = BYTES_LIT("__name__"), .value = BYTES_LIT("up")};
    tsdb_close(p->db, false);
    assert_int_equal(tsdb_open(&o, &p->db, &msg), ERR_OK);
    struct tsdb_batch *b = tsdb_batch_new(ROWS_ORG, TSDB_SAMPLES, 1 << 20);
    for (int day = 0; day < 200; day++)
        assert_true(
            tsdb_batch_add_sample(b, series(p->db, b->arena), T0_MS - day * DAY_MS, day, 0));
    b->received = 200;
    assert_int_equal(rows_append(p->db, b, NULL), ERR_OK);
    assert_int_equal(tsdb_flush(p->db, false, &msg), ERR_OK);
    assert_true(lmdb_env_idle_open() <= LMDB_ENV_OPEN_MAX);
    tsdb_close(p->db, false);
    assert_int_equal(lmdb_env_idle_open(), 0);
    assert_int_equal(tsdb_open(&o, &p->db, &msg), ERR_OK);
    assert_int_equal(lmdb_env_idle_open(), 0); /* none is opened before somebody looks */
    for (int pass = 0; pass < 2; pass++) {
        struct tsdb_view *v;
        struct tsdb_series *s;
        struct arena *a = arena_new(0);
        size_t n;
        assert_int_equal(tsdb_view_open(p->db, ROWS_ORG, NULL, &v), ERR_OK);
        assert_int_equal(tsdb_select(v, &name, 1, T0_MS - 250 * DAY_MS, T0_MS, a, &s, &n), ERR_OK);
        assert_int_equal(n, 1);
        struct tsdb_points points;
        assert_int_equal(tsdb_points_read(v, &s[0], T0_MS - 250 * DAY_MS, T0_MS, a, &points),
                         ERR_OK);
        assert_int_equal(points.count, 200);
        uint64_t count;
        assert_int_equal(tsdb_count(p->db, ROWS_ORG, TSDB_SAMPLES, &count), ERR_OK);
        assert_int_equal(count, 200);
        assert_true(lmdb_env_idle_open() <= LMDB_ENV_OPEN_MAX);
        assert_true(lmdb_env_idle_open() > 0);
        tsdb_view_close(v);
        arena_free(a);
    }
}

static void reopen_with_size(struct place *p, uint64_t bytes)
{
    struct tsdb_options o = {.dir = p->dir,
                             .retention_ms = 10 * DAY_MS,
                             .retention_content_ms = 10 * DAY_MS,
                             .retention_cells_ms = 20 * DAY_MS,
                             .retention_bytes = bytes};
    struct err_msg msg = {""};
    tsdb_close(p->db, false);
    p->db = NULL;
    assert_int_equal(tsdb_open(&o, &p->db, &msg), ERR_OK);
    retention_now(p->db);
}

static uint64_t parts_on_disk(struct place *p)
{
    uint64_t n = 0;
    for (size_t i = 0; i < p->db->part_count; i++)
        n += part_disk_bytes(p->db->parts[i]);
    return n + atomic_load(&p->db->journal_bytes);
}

static void past_its_size_the_oldest_days_go_texts_first_and_the_newest_never(void **state)
{
    struct place *p = *state;
    struct err_msg msg = {""};
    struct tsdb_status s;
    char path[256];
    /* Spans, texts and cells of two days, samples of five. */
    assert_int_equal(rows_append(p->db, rows_batch(tsdb_series(p->db), 0, 40, 0), NULL), ERR_OK);
    struct tsdb_batch *b = tsdb_batch_new(ROWS_ORG, TSDB_SAMPLES, 1 << 20);
    for (int day = 0; day < 5; day++)
        assert_true(
            tsdb_batch_add_sample(b, series(p->db, b->arena), T0_MS - day * DAY_MS, day, 0));
    b->received = 5;
    assert_int_equal(rows_append(p->db, b, NULL), ERR_OK);
    assert_int_equal(tsdb_flush(p->db, false, &msg), ERR_OK);
    reopen_with_size(p, 0);
    tsdb_status_get(p->db, &s);
    assert_int_equal(s.parts_count, 11); /* without a limit nothing goes */
    reopen_with_size(p, parts_on_disk(p));
    tsdb_status_get(p->db, &s);
    assert_int_equal(s.parts_count, 11);
    reopen_with_size(p, parts_on_disk(p) - 1);
    tsdb_status_get(p->db, &s);
    assert_int_equal(s.parts_count, 10);
    snprintf(path, sizeof(path), "%s/parts/20261119/text", p->dir);
    assert_int_not_equal(access(path, F_OK), 0); /* though samples of older days are there */
    reopen_with_size(p, parts_on_disk(p) - 1);
    snprintf(path, sizeof(path), "%s/parts/20261116", p->dir);
    assert_int_not_equal(access(path, F_OK), 0);
    reopen_with_size(p, 1);
    tsdb_status_get(p->db, &s);
    assert_int_equal(s.parts_count, 4);
    assert_string_equal(classes(p), "trsc");
    assert_int_equal(trash(p), 0);
}

static void the_mark_that_a_part_is_settled_goes_with_it(void **state)
{
    struct place *p = *state;
    struct err_msg msg = {""};
    uint64_t when;
    add(p, 1);
    assert_int_equal(state_put_u64(p->db, "settled/20777/rows", 5, &msg), ERR_OK);
    assert_int_equal(state_put_u64(p->db, "settled/20778/rows", 5, &msg), ERR_OK);
    walk_to(p, T0_MS + 12 * DAY_MS); /* rows are kept for ten, cells for twenty */
    assert_string_equal(classes(p), "c");
    assert_int_equal(state_get_u64(p->db, "settled/20777/rows", &when), ERR_NOT_FOUND);
    assert_int_equal(state_get_u64(p->db, "settled/20778/rows", &when), ERR_OK); /* another's */
}

#define T(test) cmocka_unit_test_setup_teardown(test, place_make, place_done)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(each_class_goes_after_its_own_time),
        T(the_floor_rises_and_never_falls),
        T(a_clock_that_jumps_removes_nothing_and_raises_no_floor),
        T(a_clock_that_jumped_while_the_program_was_off_removes_nothing_at_once),
        T(a_view_reads_on_what_is_dropped),
        T(a_part_that_cannot_be_moved_stays_and_is_tried_again),
        T(the_trash_is_emptied_at_the_start),
        T(past_its_size_the_oldest_days_go_texts_first_and_the_newest_never),
        T(the_mark_that_a_part_is_settled_goes_with_it),
        T(many_days_are_read_with_few_of_them_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
