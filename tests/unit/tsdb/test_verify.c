/* A directory that is whole is found whole; one that is not is told of, whatever its bytes are, and nothing dies of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/log.h"
#include "tsdb/files.h"
#include "tsdb/helper_rows.h"
#include "tsdb/lmdb_env.h"
#include "tsdb/tsdb_verify.h"

#define FLIPS 18u /* each is looked at by ten processes */

struct place {
    char dir[64], file[128];
};

struct told {
    unsigned count;
    char text[4096];
};

static void take(void *ctx, const char *where, const char *what)
{
    struct told *t = ctx;
    size_t n = strlen(t->text);
    t->count++;
    snprintf(t->text + n, sizeof(t->text) - n, "%s: %s\n", where, what);
}

static enum err look(const char *dir, struct told *t, struct tsdb_verify_report *r,
                     struct err_msg *msg)
{
    struct tsdb_verify_sink sink = {.ctx = t, .problem = take};
    *t = (struct told){0};
    *r = (struct tsdb_verify_report){0};
    return tsdb_verify_run(dir, &sink, r, msg);
}

static struct tsdb *open_store(const char *dir)
{
    struct err_msg msg = {""};
    struct tsdb *db;
    struct tsdb_options o = {.dir = dir,
                             .retention_ms = INT64_C(400) * 86400000,
                             .retention_content_ms = INT64_C(400) * 86400000};
    if (tsdb_open(&o, &db, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    return db;
}

/* Samples, exemplars, metadata's neighbours and logs beside the spans and cells of rows_batch. */
static void add_others(struct tsdb *db, struct tsdb_batch *b, unsigned serial)
{
    for (unsigned s = 0; s < 40; s++) {
        char host[16];
        struct tsdb_labels set;
        struct tsdb_ref ref;
        snprintf(host, sizeof(host), "host-%02u", s);
        struct tsdb_label l[] = {{BYTES_LIT("__name__"), BYTES_LIT("load")},
                                 {BYTES_LIT("host"), bytes_str(host)}};
        assert_int_equal(tsdb_labels_build(l, 2, b->arena, &set, NULL), ERR_OK);
        assert_int_equal(tsdb_registry_ref(tsdb_series(db), b->org, TSDB_SERIES_SAMPLES, set, &ref),
                         ERR_OK);
        for (unsigned i = 0; i < 20; i++)
            assert_true(tsdb_batch_add_sample(
                b, ref, ROWS_T0_NS / 1000000 + (serial * 20 + i) * 15000, s * 1.5 + i, 0));
        assert_true(tsdb_batch_add_exemplar(b, ref, ROWS_T0_NS / 1000000, 1, set));
    }
    for (unsigned i = 0; i < 50; i++) {
        uint32_t row = tsdb_batch_add_log(b);
        assert_int_not_equal(row, TSDB_NO_ROW);
        b->logs.time_ns[row] = ROWS_T0_NS + i * 1000000;
        b->logs.service[row] = BYTES_LIT("logs");
        b->logs.body[row] = BYTES_LIT("a line");
    }
}

/* Two sealed generations and one in the journal. */
static void make(struct place *p)
{
    struct err_msg msg = {""};
    struct tsdb_result r;
    snprintf(p->dir, sizeof(p->dir), "%s/telltale-verify-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(p->dir));
    log_set_level(LOG_LEVEL_ERROR);
    struct tsdb *db = open_store(p->dir);
    for (unsigned i = 0; i < 3; i++) {
        struct tsdb_batch *b = rows_batch(tsdb_series(db), i * 500, 500, 0);
        add_others(db, b, i);
        assert_int_equal(rows_append(db, b, &r), ERR_OK);
        if (i < 2)
            assert_int_equal(tsdb_flush(db, false, &msg), ERR_OK);
    }
    tsdb_close(db, false);
}

/* The largest environment of the day that has most rows, of a class. */
static const char *file_of(struct place *p, const char *env)
{
    snprintf(p->file, sizeof(p->file), "%s/%s/data.mdb", p->dir, env);
    return p->file;
}

static void flip(const char *file, uint64_t bit)
{
    uint8_t b;
    int fd = open(file, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &b, 1, (off_t)(bit / 8)), 1);
    b ^= (uint8_t)(1u << bit % 8);
    assert_int_equal(pwrite(fd, &b, 1, (off_t)(bit / 8)), 1);
    close(fd);
}

static uint64_t find_bytes(const char *file, const char *needle, size_t n)
{
    struct arena *a = arena_new(0);
    struct bytes text;
    struct err_msg msg;
    assert_int_equal(files_read(file, 64u << 20, a, &text, &msg), ERR_OK);
    size_t at = bytes_find(text, bytes_of(needle, n));
    assert_true(at < text.size);
    arena_free(a);
    return at;
}

struct first {
    uint8_t key[64], value[1u << 16];
    size_t key_size, size;
};

static bool take_first(void *ctx, struct bytes key, struct bytes value)
{
    struct first *f = ctx;
    assert_true(key.size <= sizeof(f->key) && value.size <= sizeof(f->value));
    memcpy(f->key, key.data, f->key_size = key.size);
    memcpy(f->value, value.data, f->size = value.size);
    return false;
}

static void damage_first_block(const struct place *p, const char *part)
{
    static const char *const names[] = {"blocks", "manifest", "sealed", NULL};
    static struct first f;
    char path[160];
    struct err_msg msg = {""};
    struct lmdb_env *env;
    struct lmdb_txn *t;
    snprintf(path, sizeof(path), "%s/%s", p->dir, part);
    assert_int_equal(lmdb_env_open(path, 1u << 30, names, &env, &msg), ERR_OK);
    assert_int_equal(lmdb_env_begin(env, true, &t, &msg), ERR_OK);
    assert_int_equal(lmdb_txn_scan(t, 0, BYTES_NONE, take_first, &f), ERR_OK);
    f.value[f.size / 2] ^= 16;
    assert_int_equal(
        lmdb_txn_put(t, 0, bytes_of(f.key, f.key_size), bytes_of(f.value, f.size), &msg), ERR_OK);
    assert_int_equal(lmdb_txn_commit(t, &msg), ERR_OK);
    lmdb_env_close(env);
}

static void a_whole_directory_is_found_whole(void **state)
{
    struct place p;
    struct told t;
    struct tsdb_verify_report r;
    struct err_msg msg = {""};
    make(&p);
    assert_int_equal(look(p.dir, &t, &r, &msg), ERR_OK);
    assert_string_equal(t.text, "");
    assert_int_equal(r.problems, 0);
    assert_true(r.blocks >= 10 && r.rows > 1000 && r.commits == 1 && r.bytes > 10000);
    assert_true(r.environments >= 9); /* two days of texts, rows, cells; samples; journal; state */
    files_remove_tree(p.dir);
}

static void a_damaged_commit_is_named(void **state)
{
    struct place p;
    struct told t;
    struct tsdb_verify_report r;
    struct err_msg msg = {""};
    make(&p);
    const char *file = file_of(&p, "journal/3");
    flip(file, (find_bytes(file, "TTR", 3) + 40) * 8);
    assert_int_equal(look(p.dir, &t, &r, &msg), ERR_OK);
    assert_int_equal(t.count, 1);
    assert_non_null(strstr(t.text, "journal/3: commit "));
    assert_non_null(strstr(t.text, "wrong checksum"));
    files_remove_tree(p.dir);
}

static void a_damaged_block_is_named_once(void **state)
{
    struct place p;
    struct told t;
    struct tsdb_verify_report r;
    struct err_msg msg = {""};
    make(&p);
    damage_first_block(&p, "parts/20261120/rows");
    assert_int_equal(look(p.dir, &t, &r, &msg), ERR_OK);
    assert_int_equal(t.count, 1);
    assert_non_null(strstr(t.text, "parts/20261120/rows: block (org "));
    assert_non_null(strstr(t.text, "its checksum is wrong"));
    files_remove_tree(p.dir);
}

static void a_truncated_file_is_a_finding_and_kills_nobody(void **state)
{
    struct place p;
    struct told t;
    struct tsdb_verify_report r;
    struct err_msg msg = {""};
    struct stat st;
    make(&p);
    const char *file = file_of(&p, "parts/20261120/text");
    assert_int_equal(stat(file, &st), 0);
    for (off_t size = st.st_size - 4096; size >= 0; size = size ? size / 2 : -1) {
        assert_int_equal(truncate(file, size), 0);
        assert_int_equal(look(p.dir, &t, &r, &msg), ERR_OK);
        if (size <= st.st_size / 2) {
            assert_true(t.count >= 1);
            assert_non_null(strstr(t.text, "parts/20261120/text: "));
        }
    }
    files_remove_tree(p.dir);
}

static void flipped_bits_are_looked_at_without_dying(void **state)
{
    static const char *const envs[] = {"state",
                                       "journal/3",
                                       "parts/20261120/rows",
                                       "parts/20261120/text",
                                       "parts/20261120/cells",
                                       "parts/20261120/samples"};
    struct place p;
    struct told t;
    struct tsdb_verify_report r;
    struct err_msg msg = {""};
    struct stat st;
    uint64_t random = 7;
    unsigned found = 0;
    make(&p);
    for (unsigned i = 0; i < FLIPS; i++) {
        const char *file = file_of(&p, envs[i % ARRAY_LEN(envs)]);
        assert_int_equal(stat(file, &st), 0);
        random = random * 6364136223846793005u + 1442695040888963407u;
        uint64_t bit = (random >> 16) % ((uint64_t)st.st_size * 8);
        flip(file, bit);
        assert_int_equal(look(p.dir, &t, &r, &msg), ERR_OK);
        assert_int_equal(r.problems > 0, t.count > 0);
        found += t.count > 0;
        flip(file, bit);
    }
    assert_true(found > 0); /* the others lie in free pages and unused room */
    assert_int_equal(look(p.dir, &t, &r, &msg), ERR_OK);
    assert_int_equal(t.count, 0); /* looking has changed nothing */
    files_remove_tree(p.dir);
}

static void a_directory_in_use_or_of_a_newer_program_is_refused(void **state)
{
    struct place p;
    struct told t;
    struct tsdb_verify_report r;
    struct err_msg msg = {""};
    char version[128];
    make(&p);
    struct tsdb *db = open_store(p.dir);
    assert_int_equal(look(p.dir, &t, &r, &msg), ERR_CONFLICT);
    assert_non_null(strstr(msg.text, "in use"));
    tsdb_close(db, false);
    snprintf(version, sizeof(version), "%s/VERSION", p.dir);
    assert_int_equal(files_write(version, BYTES_LIT("format=99 min_reader=99\n"), &msg), ERR_OK);
    assert_int_equal(look(p.dir, &t, &r, &msg), ERR_UNSUPPORTED_MEDIA);
    assert_non_null(strstr(msg.text, "newer telltale"));
    unlink(version);
    assert_int_equal(look(p.dir, &t, &r, &msg), ERR_NOT_FOUND);
    files_remove_tree(p.dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_directory_is_found_whole),
        cmocka_unit_test(a_damaged_commit_is_named),
        cmocka_unit_test(a_damaged_block_is_named_once),
        cmocka_unit_test(a_truncated_file_is_a_finding_and_kills_nobody),
        cmocka_unit_test(flipped_bits_are_looked_at_without_dying),
        cmocka_unit_test(a_directory_in_use_or_of_a_newer_program_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
