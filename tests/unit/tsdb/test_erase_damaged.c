/* Erasing where something is damaged: what cannot be read cannot be searched, so it goes, the receipt says so, and the job ends. */
#include <setjmp.h>
#include <stdarg.h>
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
#include "tsdb/helper_users.h"
#include "tsdb/lmdb_env.h"
#include "tsdb/part_store.h"
#include "tsdb/tsdb_erase.h"
#include "tsdb/tsdb_quarantine.h"
#include "tsdb/tsdb_read.h"
#include "tsdb/tsdb_verify.h"

#define WAIT_NS INT64_C(120000000000)

static int64_t fixed_now(void)
{
    return USERS_T0_NS + INT64_C(3600000000000);
}

static struct tsdb *open_store(const char *dir)
{
    struct tsdb_options o = {.dir = dir, .retention_content_ms = INT64_C(86400000) * 30};
    struct tsdb *db;
    struct err_msg msg = {""};
    if (tsdb_open(&o, &db, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    return db;
}

/* Two generations, sealed. */
static void make(char dir[64], bool victim)
{
    struct err_msg msg;
    snprintf(dir, 64, "%s/telltale-damaged-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(dir));
    clock_test_set_wall(fixed_now);
    log_set_level(LOG_LEVEL_ERROR);
    struct tsdb *db = open_store(dir);
    for (unsigned round = 0; round < 2; round++) {
        users_append(db, USERS_ORG, round, victim);
        assert_int_equal(tsdb_flush(db, false, &msg), ERR_OK);
    }
    tsdb_close(db, false);
}

/* The directory of a class of the later day. */
static void place_of(const char *dir, enum part_class class, char out[256])
{
    char path[128], day[192], name[PART_NAME_MAX], **days;
    struct arena *a = arena_new(0);
    struct err_msg msg;
    size_t n;
    snprintf(path, sizeof(path), "%s/parts", dir);
    assert_int_equal(files_list(path, false, a, &days, &n, &msg), ERR_OK);
    const char *last = days[0];
    for (size_t i = 1; i < n; i++)
        last = strcmp(days[i], last) > 0 ? days[i] : last;
    snprintf(day, sizeof(day), "%s/%s", path, last);
    assert_int_equal(part_name(day, class, name), ERR_OK);
    snprintf(out, 256, "%s/%s", day, name);
    arena_free(a);
}

struct victim_block {
    uint8_t kind, key[32];
    struct buf value;
};

static bool take_kind(void *ctx, struct bytes key, struct bytes value)
{
    struct victim_block *b = ctx;
    if (key.size != 17 || key.data[4] != b->kind)
        return true;
    memcpy(b->key, key.data, key.size);
    buf_bytes_append(&b->value, value);
    return false;
}

/* One bit of the first block of the kind. */
static void damage_block(const char *dir, enum part_class class, enum block_kind kind)
{
    static const char *const names[] = {"blocks", "manifest", "sealed", NULL};
    struct victim_block b = {.kind = (uint8_t)kind};
    char path[256];
    struct err_msg msg = {""};
    struct lmdb_env *env;
    struct lmdb_txn *t;
    place_of(dir, class, path);
    assert_int_equal(lmdb_env_open(path, 1u << 30, names, &env, &msg), ERR_OK);
    assert_int_equal(lmdb_env_begin(env, true, &t, &msg), ERR_OK);
    assert_int_equal(lmdb_txn_scan(t, 0, BYTES_NONE, take_kind, &b), ERR_OK);
    assert_true(b.value.size > 8);
    b.value.data[b.value.size / 2] ^= 16;
    assert_int_equal(lmdb_txn_put(t, 0, bytes_of(b.key, 17), buf_bytes(&b.value), &msg), ERR_OK);
    assert_int_equal(lmdb_txn_commit(t, &msg), ERR_OK);
    lmdb_env_close(env);
    buf_done(&b.value);
}

/* Its first pages say nothing any more. */
static void damage_env(const char *dir, enum part_class class)
{
    static const uint8_t nothing[8192];
    char path[256], file[272];
    place_of(dir, class, path);
    snprintf(file, sizeof(file), "%s/data.mdb", path);
    FILE *f = fopen(file, "r+");
    assert_non_null(f);
    assert_int_equal(fwrite(nothing, 1, sizeof(nothing), f), sizeof(nothing));
    assert_int_equal(fclose(f), 0);
}

static struct tsdb_erase_job erase(struct tsdb *db)
{
    struct err_msg msg = {""};
    struct arena *a = arena_new(0);
    struct tsdb_erase_job *jobs, one;
    uint64_t id;
    size_t n;
    struct tsdb_erase_ask ask = {
        .org = USERS_ORG, .kind = TSDB_ERASE_USER, .value = BYTES_LIT(USERS_VICTIM)};
    if (tsdb_erase(db, &ask, &id, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    enum err e = tsdb_erase_wait(db, USERS_ORG, id, clock_mono_ns() + WAIT_NS);
    assert_int_equal(tsdb_erase_jobs(db, USERS_ORG, id, a, &jobs, &n), ERR_OK);
    assert_int_equal(n, 1);
    one = jobs[0];
    if (e != ERR_OK)
        fail_msg("the job has not ended: %s", one.why);
    arena_free(a);
    return one;
}

static void tell(void *ctx, const char *where, const char *what)
{
    fprintf(stderr, "%s: %s\n", where, what);
}

/* has_lost_texts: of some rows; a row without its texts names nobody and stays, its span name with it. */
static void assert_clean(const char *dir, bool has_lost_texts, const char *what)
{
    struct tsdb_verify_sink sink = {.problem = tell};
    struct tsdb_verify_report r = {0};
    struct err_msg msg = {""};
    struct users_found found = users_search(dir);
    if (has_lost_texts)
        found.raw[USERS_NAME] = found.decoded[USERS_NAME] = 0;
    if (users_found_sum(&found))
        fail_msg("%s: %llu canaries are left", what, (unsigned long long)users_found_sum(&found));
    assert_int_equal(tsdb_verify_run(dir, &sink, &r, &msg), ERR_OK);
    assert_int_equal(r.problems, 0);
}

static uint32_t rows_with_text(struct tsdb *db, uint32_t *out_rows)
{
    struct tsdb_view *v;
    struct arena *a = arena_new(0);
    struct tsdb_spans spans;
    struct tsdb_span_filter all = {.start_max_ns = INT64_MAX};
    uint32_t n = 0;
    assert_int_equal(tsdb_view_open(db, USERS_ORG, NULL, &v), ERR_OK);
    assert_int_equal(tsdb_span_scan(v, &all, 100000, a, &spans), ERR_OK);
    *out_rows = spans.count;
    for (uint32_t i = 0; i < spans.count; i++)
        n += spans.attrs && spans.attrs[i].size > 0;
    tsdb_view_close(v);
    arena_free(a);
    return n;
}

/* --- tests --------------------------------------------------------------------------------------- */

static void a_damaged_block_goes_with_the_user_and_the_receipt_says_so(void **state)
{
    static const struct {
        enum part_class class;
        enum block_kind kind;
        const char *name;
    } cases[] = {{PART_ROWS, BLOCK_SPANS, "spans"},
                 {PART_ROWS, BLOCK_LOGS, "logs"},
                 {PART_TEXT, BLOCK_SPAN_TEXT, "span texts"},
                 {PART_TEXT, BLOCK_LOG_TEXT, "log texts"},
                 {PART_SAMPLES, BLOCK_INDEX, "labels"},
                 {PART_SAMPLES, BLOCK_SAMPLES, "samples"},
                 {PART_SAMPLES, BLOCK_EXEMPLARS, "exemplars"},
                 {PART_CELLS, BLOCK_CELLS, "cells"}};
    char from[64], dir[80], command[256];
    make(from, true);
    snprintf(dir, sizeof(dir), "%s-copy", from);
    snprintf(command, sizeof(command), "cp -r --sparse=always %s %s", from, dir);
    struct users_found found = users_search(from);
    assert_true(users_found_sum(&found) > 50);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(system(command), 0);
        damage_block(dir, cases[i].class, cases[i].kind);
        struct tsdb *db = open_store(dir);
        struct tsdb_erase_job j = erase(db);
        assert_int_equal(j.phase, TSDB_ERASE_DONE);
        if (j.damaged < 1)
            fail_msg("%s: the receipt does not tell of them", cases[i].name);
        if (cases[i].kind == BLOCK_SPANS || cases[i].kind == BLOCK_LOGS)
            assert_true(j.damaged_rows > 0);
        assert_true(j.erased.spans > 0 && j.erased.logs > 0 && j.erased.samples > 0);
        tsdb_close(db, false);
        assert_clean(dir, cases[i].class == PART_TEXT, cases[i].name);
        /* on record after a restart too */
        struct tsdb_quarantined q[4];
        db = open_store(dir);
        assert_int_equal(tsdb_quarantine_list(db, USERS_ORG, false, q, 4), j.damaged);
        tsdb_close(db, false);
        files_remove_tree(dir);
    }
    files_remove_tree(from);
}

static void a_damaged_index_of_traces_is_made_again(void **state)
{
    char plain[64], dir[64];
    struct buf want = {0}, got = {0};
    make(plain, false);
    make(dir, true);
    damage_block(dir, PART_ROWS, BLOCK_TRACES);
    struct tsdb *db = open_store(dir);
    struct tsdb_erase_job j = erase(db);
    assert_int_equal(j.damaged, 0); /* it is made from the rows */
    users_dump(db, USERS_ORG, &got);
    tsdb_close(db, false);
    assert_clean(dir, false, "traces");
    db = open_store(plain);
    users_dump(db, USERS_ORG, &want);
    tsdb_close(db, false);
    assert_true(want.size > 1000 && bytes_equal(buf_bytes(&got), buf_bytes(&want)));
    buf_done(&got);
    buf_done(&want);
    files_remove_tree(dir);
    files_remove_tree(plain);
}

/* Rows and texts refer to each other: each must go without the other too. */
static void an_environment_that_cannot_be_followed_stops_no_erase(void **state)
{
    static const enum part_class classes[] = {PART_TEXT, PART_ROWS, PART_SAMPLES, PART_CELLS};
    for (size_t i = 0; i < ARRAY_LEN(classes); i++) {
        char dir[64];
        uint32_t rows, texts;
        make(dir, true);
        damage_env(dir, classes[i]);
        struct tsdb *db = open_store(dir);
        struct tsdb_erase_job j = erase(db);
        assert_true(j.damaged >= 1 && j.erased.parts > 0);
        texts = rows_with_text(db, &rows);
        assert_true(rows > 0 && texts > 0); /* of the other day at least */
        tsdb_close(db, false);
        assert_clean(dir, classes[i] == PART_TEXT, part_class_name(classes[i]));
        files_remove_tree(dir);
    }
}

/* Every block whose manifest row is damaged is invisible, and a rewrite must still leave it behind. */
static void bytes_that_no_manifest_row_names_go_too(void **state)
{
    static const char *const names[] = {"blocks", "manifest", "sealed", NULL};
    char dir[64], path[256];
    struct err_msg msg = {""};
    struct lmdb_env *env;
    struct lmdb_txn *t;
    make(dir, true);
    place_of(dir, PART_TEXT, path);
    for (int round = 0; round < 2; round++) { /* both generations of the texts */
        struct victim_block b = {.kind = round ? BLOCK_LOG_TEXT : BLOCK_SPAN_TEXT};
        assert_int_equal(lmdb_env_open(path, 1u << 30, names, &env, &msg), ERR_OK);
        assert_int_equal(lmdb_env_begin(env, true, &t, &msg), ERR_OK);
        assert_int_equal(lmdb_txn_scan(t, 1, BYTES_NONE, take_kind, &b), ERR_OK);
        b.value.data[b.value.size / 2] ^= 16;
        assert_int_equal(lmdb_txn_put(t, 1, bytes_of(b.key, 17), buf_bytes(&b.value), &msg),
                         ERR_OK);
        assert_int_equal(lmdb_txn_commit(t, &msg), ERR_OK);
        lmdb_env_close(env);
        buf_done(&b.value);
    }
    struct tsdb *db = open_store(dir);
    struct tsdb_erase_job j = erase(db);
    assert_int_equal(j.damaged, 2);
    tsdb_close(db, false);
    assert_clean(dir, true, "no row of the manifest");
    files_remove_tree(dir);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_damaged_block_goes_with_the_user_and_the_receipt_says_so),
        cmocka_unit_test(a_damaged_index_of_traces_is_made_again),
        cmocka_unit_test(an_environment_that_cannot_be_followed_stops_no_erase),
        cmocka_unit_test(bytes_that_no_manifest_row_names_go_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
