/* A disk without room: by a seam for the numbers, and by a file system of 64 MiB that is really filled (as root; else left out). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "tsdb/files.h"
#include "tsdb/helper_rows.h"

#define BATCH 500u
#define MIB (1u << 20)

static _Atomic uint64_t free_now;

/* Not the real one: the rows are of a day, and texts go after a week. */
static int64_t now_ns(void)
{
    return ROWS_T0_NS + INT64_C(3600000000000);
}

static uint64_t told_free(const char *path, uint64_t *out_total)
{
    (void)path;
    *out_total = 64u << 20;
    return atomic_load(&free_now);
}

static struct tsdb *store(const char *dir)
{
    struct tsdb_options o = {.dir = dir};
    struct tsdb *db = NULL;
    struct err_msg msg = {""};
    if (tsdb_open(&o, &db, &msg) != ERR_OK)
        print_message("open: %s\n", msg.text);
    return db;
}

static void expect_rows(struct tsdb *db, uint64_t n)
{
    struct rows_found f;
    assert_int_equal(rows_find(db, n, &f), ERR_OK);
    for (uint64_t i = 0; i < n; i++)
        if (f.times[i] != 1)
            fail_msg("row %llu is there %u times", (unsigned long long)i, f.times[i]);
    assert_int_equal(f.altered + f.strange, 0);
    assert_int_equal(f.rows, n);
    assert_int_equal(f.cells, n);
    rows_found_done(&f);
}

static enum err add(struct tsdb *db, uint64_t *next)
{
    enum err e = rows_append(db, rows_batch(tsdb_series(db), *next, BATCH, 0), NULL);
    *next += e == ERR_OK ? BATCH : 0;
    return e;
}

/* Refused rows are sent again, as a client would; how long until they are accepted. */
static int64_t resume_ms(struct tsdb *db, uint64_t *next)
{
    int64_t begin = clock_mono_ns();
    while (add(db, next) != ERR_OK && clock_mono_ns() - begin < INT64_C(10000000000))
        clock_sleep_ms(10);
    return (clock_mono_ns() - begin) / 1000000;
}

/* What the journal has room for may still be taken; then nothing more. */
static enum err add_until_refused(struct tsdb *db, uint64_t *next)
{
    enum err e = ERR_OK;
    for (int i = 0; i < 10000 && e == ERR_OK; i++)
        e = add(db, next);
    return e;
}

static void nothing_is_accepted_below_the_reserve(void **state)
{
    char dir[] = "/tmp/telltale-full-XXXXXX";
    struct err_msg msg;
    struct tsdb_status s;
    uint64_t next = 0;
    assert_non_null(mkdtemp(dir));
    atomic_store(&free_now, 32 * MIB);
    files_test_set_free(told_free);
    struct tsdb *db = store(dir);
    assert_int_equal(add(db, &next), ERR_OK);
    atomic_store(&free_now,
                 7 * MIB); /* an eighth is kept so that what was accepted can be sealed */
    clock_sleep_ms(250);
    assert_int_equal(add(db, &next), ERR_FULL);
    assert_int_equal(add(db, &next), ERR_FULL);
    tsdb_status_get(db, &s);
    assert_true(s.is_full);
    expect_rows(db, next);
    assert_int_equal(tsdb_flush(db, false, &msg), ERR_OK);
    expect_rows(db, next);
    atomic_store(&free_now, 9 * MIB);
    assert_true(resume_ms(db, &next) < 5000);
    tsdb_status_get(db, &s);
    assert_false(s.is_full);
    tsdb_close(db, false);
    db = store(dir);
    expect_rows(db, next);
    tsdb_close(db, false);
    files_test_set_free(NULL);
    files_remove_tree(dir);
}

/* Writes until there is no room but `leave`. */
static void fill(const char *dir, uint64_t leave)
{
    static uint8_t block[1u << 16];
    char path[128];
    uint64_t total;
    snprintf(path, sizeof(path), "%s/filler", dir);
    memset(block, 7, sizeof(block));
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    while (files_free_bytes(dir, &total) > leave &&
           write(fd, block, leave ? sizeof(block) : 4096) > 0)
        ;
    close(fd);
}

static void a_file_system_that_is_really_full_loses_nothing(void **state)
{
    char dir[] = "/tmp/telltale-tmpfs-XXXXXX", data[64], filler[64];
    struct err_msg msg = {""};
    uint64_t next = 0, total;
    assert_non_null(mkdtemp(dir));
    if (mount("none", dir, "tmpfs", 0, "size=64m") != 0) {
        print_message("left out: no file system can be mounted here (%s)\n", strerror(errno));
        rmdir(dir);
        skip();
    }
    snprintf(data, sizeof(data), "%s/data", dir);
    snprintf(filler, sizeof(filler), "%s/filler", dir);
    assert_int_equal(files_make_dir(data, &msg), ERR_OK);
    struct tsdb *db = store(data);
    fill(dir, 10 * MIB); /* ingest fills what is left above the reserve */
    enum err e;
    while ((e = add(db, &next)) == ERR_OK)
        ;
    assert_int_equal(e, ERR_FULL);
    uint64_t left = files_free_bytes(dir, &total);
    print_message("refused after %llu rows with %llu KiB left\n", (unsigned long long)next,
                  (unsigned long long)(left >> 10));
    assert_true(left > 4 * MIB);
    expect_rows(db, next);
    assert_int_equal(tsdb_flush(db, false, &msg), ERR_OK); /* the reserve is for this */
    expect_rows(db, next);
    assert_int_equal(unlink(filler), 0);
    int64_t took = resume_ms(db, &next);
    assert_true(took < 5000);

    fill(dir, 0); /* somebody else takes the reserve, too: rows in the head cannot be sealed */
    assert_int_equal(add_until_refused(db, &next), ERR_FULL);
    expect_rows(db, next);
    e = tsdb_flush(db, false, &msg);
    print_message("with no byte left, sealing says: %s %s\n", err_text(e), msg.text);
    assert_int_not_equal(e, ERR_OK);
    expect_rows(db, next);
    assert_int_equal(unlink(filler), 0);
    took = resume_ms(db, &next);
    print_message("accepted again after %lld ms\n", (long long)took);
    assert_true(took < 5000);
    for (int i = 0; i < 100 && tsdb_flush(db, false, &msg) != ERR_OK; i++)
        clock_sleep_ms(50);
    expect_rows(db, next);
    tsdb_close(db, false);

    fill(dir, 0); /* a start on a full disk must not harm anything either */
    db = store(data);
    if (db) {
        expect_rows(db, next);
        assert_int_not_equal(add_until_refused(db, &next), ERR_OK);
        tsdb_close(db, false);
    }
    assert_int_equal(unlink(filler), 0);
    db = store(data);
    assert_non_null(db);
    expect_rows(db, next);
    assert_true(resume_ms(db, &next) < 5000);
    tsdb_close(db, false);
    assert_int_equal(umount(dir), 0);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_accepted_below_the_reserve),
        cmocka_unit_test(a_file_system_that_is_really_full_loses_nothing),
    };
    log_set_level(LOG_LEVEL_ERROR);
    clock_test_set_wall(now_ns);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
