#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "tsdb/files.h"
#include "tsdb/helper_rows.h"
#include "tsdb/lmdb_env.h"
#include "tsdb/tsdb_state.h"

#define WALK_MAX 4000

/* Each of the first operations, then some of them: the walk over all takes an hour (faults.io_errors walks, too). TELLTALE_WALK=1: each. */
static uint64_t walk_next(uint64_t n)
{
    return n + 1 + (getenv("TELLTALE_WALK") ? 0 : n / 24);
}

/* Memory where there is some: hundreds of stores are made here, and each syncs many times. */
static char *make_dir(char out[64], const char *name)
{
    snprintf(out, 64, "%s/telltale-%s-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp",
             name);
    return mkdtemp(out);
}

struct place {
    char dir[64];
    struct tsdb *db;
};

static struct tsdb *store(const char *dir)
{
    const int64_t age =
        INT64_C(36500) * 86400000; /* the rows are of a fixed day: none is ever too old */
    struct tsdb_options o = {
        .dir = dir, .retention_ms = age, .retention_content_ms = age, .retention_cells_ms = age};
    struct tsdb *db = NULL;
    struct err_msg msg = {""};
    if (tsdb_open(&o, &db, &msg) != ERR_OK)
        print_message("open: %s\n", msg.text);
    return db;
}

static struct place place_new(void)
{
    struct place p;
    assert_non_null(make_dir(p.dir, "store"));
    p.db = store(p.dir);
    assert_non_null(p.db);
    return p;
}

static void place_reopen(struct place *p)
{
    tsdb_close(p->db, false);
    p->db = store(p->dir);
    assert_non_null(p->db);
}

static void place_done(struct place *p)
{
    tsdb_close(p->db, false);
    files_remove_tree(p->dir);
}

static struct tsdb_account account(struct tsdb *db)
{
    struct tsdb_account rows[8];
    size_t n = tsdb_accounts(db, rows, 8);
    for (size_t i = 0; i < n; i++)
        if (rows[i].org == ROWS_ORG && rows[i].signal == TSDB_SPANS)
            return rows[i];
    return (struct tsdb_account){0};
}

/* Ids 0..n-1 are there once, unchanged, with their cells, and nothing else is. */
static void expect_rows(struct tsdb *db, uint64_t n)
{
    struct rows_found f;
    assert_int_equal(rows_find(db, n, &f), ERR_OK);
    for (uint64_t i = 0; i < n; i++)
        if (f.times[i] != 1)
            fail_msg("row %llu is there %u times", (unsigned long long)i, f.times[i]);
    assert_int_equal(f.altered, 0);
    assert_int_equal(f.rows, n);
    assert_int_equal(f.counted, n);
    assert_int_equal(f.cells, n);
    rows_found_done(&f);
}

static void add(struct tsdb *db, uint64_t first, uint32_t n, uint64_t key)
{
    struct tsdb_result r;
    assert_int_equal(rows_append(db, rows_batch(tsdb_series(db), first, n, key), &r), ERR_OK);
    assert_int_equal(r.stored, n);
}

static void acknowledged_rows_are_visible_and_survive_a_restart(void **state)
{
    struct place p = place_new();
    add(p.db, 0, 50, 1);
    expect_rows(p.db, 50);
    place_reopen(&p);
    expect_rows(p.db, 50);
    add(p.db, 50, 7, 2);
    place_reopen(&p);
    expect_rows(p.db, 57);
    assert_int_equal(account(p.db).stored, 57);
    assert_int_equal(account(p.db).received, 57);
    place_done(&p);
}

static void a_flush_moves_rows_into_parts_and_changes_no_answer(void **state)
{
    struct place p = place_new();
    struct err_msg msg = {""};
    struct tsdb_status s;
    struct tsdb_view *before;
    uint64_t next = 0;
    for (int round = 0; round < 4; round++, next += 30) {
        add(p.db, next, 30, 0);
        assert_int_equal(tsdb_view_open(p.db, ROWS_ORG, NULL, &before), ERR_OK);
        assert_int_equal(tsdb_flush(p.db, false, &msg), ERR_OK);
        expect_rows(p.db, next + 30);
        struct tsdb_span_filter all = {.start_max_ns = INT64_MAX};
        struct tsdb_spans spans;
        struct arena *a = arena_new(0);
        assert_int_equal(tsdb_span_scan(before, &all, 1000, a, &spans), ERR_OK);
        assert_int_equal(spans.count, next + 30); /* an older view reads on */
        tsdb_view_close(before);
        arena_free(a);
    }
    tsdb_status_get(p.db, &s);
    assert_int_equal(s.generations_live, 1);
    assert_true(s.parts_count >= 4); /* two days, rows and cells at least */
    assert_int_equal(tsdb_flush(p.db, false, &msg), ERR_OK); /* with nothing to do */
    place_reopen(&p);
    expect_rows(p.db, next);
    assert_int_equal(account(p.db).stored, next);
    place_done(&p);
}

static void a_repeated_request_gets_the_original_answer(void **state)
{
    struct place p = place_new();
    struct err_msg msg;
    struct tsdb_result r, again;
    struct tsdb_batch *b = rows_batch(tsdb_series(p.db), 0, 20, 77);
    tsdb_batch_reject(b, TSDB_REJECT_TOO_OLD, "one row is too old");
    b->received = 21;
    assert_int_equal(rows_append(p.db, b, &r), ERR_OK);
    assert_false(r.repeated_request);
    for (int i = 0; i < 3; i++) { /* from memory, from the journal, from a checkpoint */
        assert_int_equal(rows_append(p.db, rows_batch(tsdb_series(p.db), 0, 20, 77), &again),
                         ERR_OK);
        assert_true(again.repeated_request);
        assert_int_equal(again.seq, r.seq);
        assert_int_equal(again.stored, 20);
        assert_int_equal(again.rejected, 1);
        assert_string_equal(again.reject_msg.text, "one row is too old");
        if (i == 1)
            assert_int_equal(tsdb_flush(p.db, false, &msg), ERR_OK);
        place_reopen(&p);
    }
    expect_rows(p.db, 20);
    struct tsdb_account a = account(p.db);
    assert_int_equal(a.stored, 20);
    assert_int_equal(a.duplicate, 60);
    assert_int_equal(a.rejected[TSDB_REJECT_TOO_OLD], 1);
    assert_int_equal(a.received, 81);
    place_done(&p);
}

static void spans_batched_anew_are_kept_once(void **state)
{
    struct place p = place_new();
    struct tsdb_result r;
    add(p.db, 0, 20, 1);
    assert_int_equal(rows_append(p.db, rows_batch(tsdb_series(p.db), 10, 20, 2), &r), ERR_OK);
    assert_int_equal(r.stored, 10);
    assert_int_equal(r.duplicate, 10);
    expect_rows(p.db, 30);
    place_reopen(&p); /* the hashes come back from the journal */
    assert_int_equal(rows_append(p.db, rows_batch(tsdb_series(p.db), 25, 10, 3), &r), ERR_OK);
    assert_int_equal(r.duplicate, 5);
    expect_rows(p.db, 35);
    assert_int_equal(account(p.db).duplicate, 15);
    place_done(&p);
}

static void a_directory_belongs_to_one_process_and_to_no_older_program(void **state)
{
    struct place p = place_new();
    struct tsdb_options o = {.dir = p.dir};
    struct tsdb *other = NULL;
    struct err_msg msg;
    char path[128];
    assert_int_equal(tsdb_open(&o, &other, &msg), ERR_CONFLICT);
    tsdb_close(p.db, false);
    snprintf(path, sizeof(path), "%s/VERSION", p.dir);
    assert_int_equal(files_write(path, BYTES_LIT("format=9 min_reader=9\n"), &msg), ERR_OK);
    assert_int_equal(tsdb_open(&o, &other, &msg), ERR_UNSUPPORTED_MEDIA);
    assert_int_equal(files_write(path, BYTES_LIT("format=9 min_reader=1\n"), &msg), ERR_OK);
    p.db = store(p.dir);
    assert_non_null(p.db);
    place_done(&p);
}

static void generations_that_were_never_flushed_do_not_pile_up(void **state)
{
    struct place p = place_new();
    tsdb_close(p.db, false);
    uint64_t rows = 0;
    for (int i = 0; i < 15; i++, rows += 5) {
        pid_t child = fork();
        if (child == 0) { /* answers one request and dies before anything is flushed */
            struct tsdb *db = store(p.dir);
            bool ok =
                db && rows_append(db, rows_batch(tsdb_series(db), rows, 5, 0), NULL) == ERR_OK;
            _exit(ok ? 0 : 1);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
    }
    p.db = store(p.dir);
    assert_non_null(p.db);
    expect_rows(p.db, rows);
    place_done(&p);
}

/* --- faults -------------------------------------------------------------------------------------- */

#define STORY_REQUESTS 4
#define STORY_ROWS 12u

/* What was acknowledged is there once, what was refused is not, and the accounts agree. n: of the fault, 0 = in the same process. */
static void rows_check_said(struct tsdb *db, const volatile uint8_t said[STORY_REQUESTS],
                            uint64_t n)
{
    struct rows_found f;
    assert_int_equal(rows_find(db, STORY_REQUESTS * STORY_ROWS, &f), ERR_OK);
    for (uint64_t i = 0; i < STORY_REQUESTS * STORY_ROWS; i++) {
        uint8_t s = said[i / STORY_ROWS];
        if (f.times[i] > 1 || (s == 1 && f.times[i] != 1) || (s == 2 && f.times[i] != 0))
            fail_msg("fault %llu: row %llu, %s, is there %u times", (unsigned long long)n,
                     (unsigned long long)i,
                     s == 1   ? "acknowledged"
                     : s == 2 ? "refused"
                              : "not answered",
                     f.times[i]);
    }
    assert_int_equal(f.altered, 0);
    assert_int_equal(f.counted, f.rows);
    assert_int_equal(f.cells, f.rows);
    if (account(db).stored != f.rows)
        fail_msg("fault %llu: %llu rows are there, the account says %llu", (unsigned long long)n,
                 (unsigned long long)f.rows, (unsigned long long)account(db).stored);
    rows_found_done(&f);
}

/* Requests and flushes; said[i] becomes 1 when request i was acknowledged, 2 when it was refused. */
static void story(const char *dir, volatile uint8_t said[STORY_REQUESTS])
{
    struct err_msg msg;
    struct tsdb *db = store(dir);
    if (!db)
        return;
    for (unsigned i = 0; i < STORY_REQUESTS; i++) {
        struct tsdb_batch *b = rows_batch(tsdb_series(db), i * STORY_ROWS, STORY_ROWS, i + 1);
        said[i] = rows_append(db, b, NULL) == ERR_OK ? 1 : 2;
        if (i > 0 && i < 3 && tsdb_flush(db, i == 2, &msg) != ERR_OK)
            continue; /* it is repeated by the flush thread, or at the next start */
    }
    if (tsdb_flush(db, true, &msg) == ERR_OK || tsdb_flush(db, false, &msg) == ERR_OK)
        rows_check_said(db, said, 0); /* the process that met the fault has it right, too */
    tsdb_close(db, false);
}

static void story_check(const char *dir, const volatile uint8_t said[STORY_REQUESTS], uint64_t n)
{
    struct err_msg msg;
    struct tsdb *db = store(dir);
    assert_non_null(db);
    for (int sealed = 0; sealed < 3; sealed++) { /* in heads, in blocks, in merged blocks */
        rows_check_said(db, said, n);
        assert_int_equal(tsdb_flush(db, sealed == 1, &msg), ERR_OK);
    }
    tsdb_close(db, false);
}

static void walk_faults(enum lmdb_env_fault kind)
{
    uint64_t n = 1, operations = 0;
    log_set_level(LOG_LEVEL_ERROR);
    for (; n < WALK_MAX; n = walk_next(n)) {
        char dir[64];
        uint8_t said[STORY_REQUESTS] = {0};
        assert_non_null(make_dir(dir, "fault"));
        lmdb_env_fault_is(kind);
        lmdb_env_fail_at(n);
        story(dir, said);
        operations = lmdb_env_fail_at(0);
        story_check(dir, said, n);
        lmdb_env_fail_at(0);
        files_remove_tree(dir);
        if (operations < n)
            break;
    }
    assert_true(n > 10 && n < WALK_MAX);
}

static void any_one_failing_operation_loses_nothing_acknowledged(void **state)
{
    walk_faults(LMDB_ENV_FAIL);
}

static void a_commit_that_only_seems_to_fail_is_found_again(void **state)
{
    walk_faults(LMDB_ENV_LIE);
}

static void an_environment_that_a_commit_killed_is_opened_again(void **state)
{
    walk_faults(LMDB_ENV_DEAD);
}

static void a_disk_without_room_loses_nothing_acknowledged(void **state)
{
    walk_faults(LMDB_ENV_FULL);
}

static void a_process_that_dies_at_any_operation_loses_nothing_acknowledged(void **state)
{
    uint64_t n = 1;
    int status = 1;
    for (; n < WALK_MAX && status != 0; n = walk_next(n)) {
        char dir[64];
        assert_non_null(make_dir(dir, "crash"));
        char ledger[] = "/tmp/telltale-ledger-XXXXXX";
        int fd = mkstemp(ledger);
        assert_true(fd >= 0 && ftruncate(fd, STORY_REQUESTS) == 0);
        volatile uint8_t *said =
            mmap(NULL, STORY_REQUESTS, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        assert_true(said != MAP_FAILED);
        pid_t child = fork();
        if (child == 0) {
            lmdb_env_fault_is(LMDB_ENV_CRASH);
            lmdb_env_fail_at(n);
            story(dir, said);
            _exit(0);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == LMDB_ENV_CRASH_STATUS);
        story_check(dir, said, n);
        munmap((void *)(uintptr_t)said, STORY_REQUESTS);
        close(fd);
        unlink(ledger);
        files_remove_tree(dir);
    }
    assert_true(n > 20 && n < WALK_MAX);
}

/* The state of the detectors must not die with one commit: today's page may be the one that could not be written. */
static void state_tables_go_on_after_a_commit_that_killed_their_environment(void **state)
{
    struct place p = place_new();
    struct arena *a = arena_new(0);
    struct bytes value;
    for (uint8_t i = 0; i < 5; i++) {
        struct tsdb_state_write *w;
        lmdb_env_fault_is(LMDB_ENV_DEAD);
        assert_int_equal(tsdb_state_begin(p.db, &w), ERR_OK);
        assert_int_equal(tsdb_state_put(w, "test", bytes_of(&i, 1), BYTES_LIT("v")), ERR_OK);
        lmdb_env_fail_at(i % 2 ? 1 : 0);
        enum err e = tsdb_state_commit(w);
        lmdb_env_fail_at(0);
        lmdb_env_fault_is(LMDB_ENV_FAIL);
        assert_int_equal(e, i % 2 ? ERR_IO : ERR_OK);
        assert_int_equal(tsdb_state_get(p.db, "test", bytes_of(&i, 1), a, &value),
                         i % 2 ? ERR_NOT_FOUND : ERR_OK);
    }
    arena_free(a);
    place_done(&p);
}

static void opening_an_empty_directory_is_quick(void **state)
{
    char dir[] = "/tmp/telltale-open-XXXXXX";
    assert_non_null(mkdtemp(dir));
    int64_t begin = clock_mono_ns();
    struct tsdb *db = store(dir);
    int64_t took_us = (clock_mono_ns() - begin) / 1000;
    assert_non_null(db);
    print_message("open of an empty directory: %lld us\n", (long long)took_us);
    assert_true(took_us <
                2000000); /* 50 ms is the aim; a busy machine under a sanitizer is slower */
    tsdb_close(db, false);
    files_remove_tree(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(acknowledged_rows_are_visible_and_survive_a_restart),
        cmocka_unit_test(a_flush_moves_rows_into_parts_and_changes_no_answer),
        cmocka_unit_test(a_repeated_request_gets_the_original_answer),
        cmocka_unit_test(spans_batched_anew_are_kept_once),
        cmocka_unit_test(a_directory_belongs_to_one_process_and_to_no_older_program),
        cmocka_unit_test(generations_that_were_never_flushed_do_not_pile_up),
        cmocka_unit_test(any_one_failing_operation_loses_nothing_acknowledged),
        cmocka_unit_test(a_commit_that_only_seems_to_fail_is_found_again),
        cmocka_unit_test(an_environment_that_a_commit_killed_is_opened_again),
        cmocka_unit_test(a_disk_without_room_loses_nothing_acknowledged),
        cmocka_unit_test(a_process_that_dies_at_any_operation_loses_nothing_acknowledged),
        cmocka_unit_test(state_tables_go_on_after_a_commit_that_killed_their_environment),
        cmocka_unit_test(opening_an_empty_directory_is_quick),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
