/* Golden files: an example of every stored format, in bytes and in words (tests/fixtures/format). `test_golden --write DIR CORPUS`, which is
 * `./dev golden`, makes them anew; the fuzz corpora have them as seeds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <dirent.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include "base/check.h"
#include "base/log.h"
#include "tsdb/files.h"
#include "tsdb/helper_golden.h"
#include "tsdb/helper_rows.h"
#include "tsdb/lmdb_env.h"
#include "tsdb/part_store.h"
#include "tsdb/tsdb_verify.h"
#include "tsdb/tsdb_versions.h"

#define FILE_MAX (4u << 20)
#define SPANS 240u
#define YEARS (100 * INT64_C(365) * 86400000)
#define MAP_BYTES LMDB_ENV_MAP(4ull << 30)

static struct arena *arena;

static const char *fixtures(void)
{
    const char *dir = getenv("TELLTALE_FIXTURES");
    return dir ? dir : "tests/fixtures";
}

static struct bytes read_file(const char *path)
{
    struct bytes b = BYTES_NONE;
    struct err_msg msg = {""};
    enum err e = files_read(path, FILE_MAX, arena, &b, &msg);
    if (e != ERR_OK)
        fail_msg("%s cannot be read (%s); `./dev golden` makes it", path, err_text(e));
    return b;
}

static struct bytes golden_file(const char *name, const char *suffix)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/format/%s.%s", fixtures(), name, suffix);
    return read_file(path);
}

static bool same_zstd(void)
{
    char here[32];
    snprintf(here, sizeof(here), "%u\n", ZSTD_versionNumber());
    return bytes_equal_str(golden_file("zstd", "txt"), here);
}

/* --- formats ------------------------------------------------------------------------------------- */

static void every_golden_file_says_what_is_written_down(void **state)
{
    for (size_t i = 0; i < golden_count; i++) {
        const struct golden *g = &golden_formats[i];
        struct buf text = {0};
        enum err e = g->dump(golden_file(g->name, "bin"), &text);
        if (e != ERR_OK || !bytes_equal(buf_bytes(&text), golden_file(g->name, "txt")))
            fail_msg("%s: %s, or not what %s.txt says", g->name, err_text(e), g->name);
        assert_true(text.size > 0);
        buf_done(&text);
    }
}

static void what_is_written_today_says_the_same_in_the_same_bytes(void **state)
{
    bool same_bytes = same_zstd();
    if (!same_bytes)
        print_message("another zstd: only what the bytes say is compared\n");
    for (size_t i = 0; i < golden_count; i++) {
        const struct golden *g = &golden_formats[i];
        struct buf bytes = {0}, text = {0};
        g->make(&bytes);
        assert_true(buf_ok(&bytes));
        assert_int_equal(g->dump(buf_bytes(&bytes), &text), ERR_OK);
        if (!bytes_equal(buf_bytes(&text), golden_file(g->name, "txt")))
            fail_msg("%s says something else than %s.txt", g->name, g->name);
        if (same_bytes && !bytes_equal(buf_bytes(&bytes), golden_file(g->name, "bin")))
            fail_msg("%s is written in other bytes: raise its number in tsdb/tsdb_versions.h, draw "
                     "the change in docs/format, run ./dev golden",
                     g->name);
        buf_done(&bytes);
        buf_done(&text);
    }
}

static void a_golden_file_with_a_changed_byte_is_noticed(void **state)
{
    log_set_level((enum log_level) - 1);
    for (size_t i = 0; i < golden_count; i++) {
        const struct golden *g = &golden_formats[i];
        struct bytes in = golden_file(g->name, "bin"), said = golden_file(g->name, "txt");
        size_t noticed = 0;
        for (size_t at = 0; at < in.size; at += in.size / 40 + 1) {
            struct buf text = {0};
            struct bytes changed = arena_copy(arena, in);
            ((uint8_t *)(uintptr_t)changed.data)[at] ^= 0x11;
            noticed += g->dump(changed, &text) != ERR_OK || !bytes_equal(buf_bytes(&text), said);
            buf_done(&text);
        }
        if (strncmp(g->name, "summary-", 8) != 0 && !noticed) /* filters may lie in one direction */
            fail_msg("%s: no changed byte is noticed", g->name);
    }
}

static void a_higher_version_is_newer_and_a_lower_one_is_corrupt(void **state)
{
    log_set_level((enum log_level) - 1);
    for (size_t i = 0; i < golden_count; i++) {
        const struct golden *g = &golden_formats[i];
        struct bytes in = golden_file(g->name, "bin");
        struct buf text = {0};
        if (g->version_at < 0)
            continue;
        uint8_t *version = (uint8_t *)(uintptr_t)arena_copy(arena, in).data + g->version_at;
        struct bytes changed = bytes_of(version - g->version_at, in.size);
        (void)tsdb_versions_take_newer();
        (*version)++;
        assert_int_equal(g->dump(changed, &text), ERR_NEWER);
        const char *said = tsdb_versions_take_newer();
        if (strncmp(g->name, "record", 6) != 0) /* a record takes it for its own message */
            assert_true(said && strstr(said, "written by a newer version (") &&
                        strstr(said, "reads up to"));
        *version = (uint8_t)(*version - 2);
        assert_int_equal(g->dump(changed, &text), ERR_CORRUPT);
        assert_null(tsdb_versions_take_newer());
        buf_done(&text);
    }
    log_set_level(LOG_LEVEL_ERROR);
}

static struct bytes seed_of(const struct golden *g, struct bytes golden)
{
    struct buf b = {0};
    if (g->seed_byte >= 0)
        buf_u8(&b, (uint8_t)g->seed_byte);
    buf_bytes_append(&b, golden);
    struct bytes out = arena_copy(arena, buf_bytes(&b));
    buf_done(&b);
    return out;
}

static void the_fuzz_corpora_have_the_golden_files_and_no_older_ones(void **state)
{
    char path[512];
    size_t seeds = 0;
    for (size_t i = 0; i < golden_count; i++) {
        const struct golden *g = &golden_formats[i];
        if (!g->seed)
            continue;
        snprintf(path, sizeof(path), "%s/../fuzz/corpus/%s/golden-%s", fixtures(), g->seed,
                 g->name);
        if (!bytes_equal(read_file(path), seed_of(g, golden_file(g->name, "bin"))))
            fail_msg("%s is of another layout; `./dev golden` makes it anew", path);
        seeds++;
    }
    assert_true(seeds > 15);
}

/* --- a whole directory --------------------------------------------------------------------------- */

static struct tsdb *store(const char *dir)
{
    struct tsdb_options o = {.dir = dir,
                             .retention_ms = YEARS,
                             .retention_content_ms = YEARS,
                             .retention_cells_ms = YEARS};
    struct tsdb *db = NULL;
    struct err_msg msg = {""};
    if (tsdb_open(&o, &db, &msg) != ERR_OK)
        fail_msg("open %s: %s", dir, msg.text);
    return db;
}

static void temporary(char out[64])
{
    snprintf(out, 64, "%s/telltale-golden-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(out));
}

struct archive {
    struct buf *out;
    const char *env;
    unsigned db;
};

/* archive := { lenbytes path of the environment, u8 database, lenbytes key, lenbytes value }*; path VERSION: value is the file; key
 * "directory": an empty one */
static bool archive_row(void *ctx, struct bytes key, struct bytes value)
{
    const struct archive *a = ctx;
    buf_lenbytes(a->out, bytes_str(a->env));
    buf_u8(a->out, (uint8_t)a->db);
    buf_lenbytes(a->out, key);
    buf_lenbytes(a->out, value);
    return true;
}

static const char *const part_dbs[] = {"blocks", "manifest", "sealed", NULL};

static void archive_env(const char *dir, const char *env, struct buf *out)
{
    char path[512];
    struct err_msg msg = {""};
    struct lmdb_env *e;
    struct lmdb_txn *t;
    bool is_part = strncmp(env, "parts/", 6) == 0;
    snprintf(path, sizeof(path), "%s/%s", dir, env);
    assert_int_equal(lmdb_env_open_read(path, MAP_BYTES, is_part ? part_dbs : NULL, &e, &msg),
                     ERR_OK);
    assert_int_equal(lmdb_env_begin(e, false, &t, &msg), ERR_OK);
    for (unsigned db = 0; db < (is_part ? 3u : 1u); db++) {
        struct archive a = {out, env, db};
        assert_int_equal(lmdb_txn_scan(t, db, BYTES_NONE, archive_row, &a), ERR_OK);
    }
    lmdb_txn_abort(t);
    lmdb_env_close(e);
}

/* Every directory below that has a data.mdb. */
static void archive_tree(const char *dir, const char *below, struct buf *out)
{
    char path[512], **names;
    size_t n;
    struct err_msg msg;
    snprintf(path, sizeof(path), "%s/%s", dir, below);
    assert_int_equal(files_list(path, false, arena, &names, &n, &msg), ERR_OK);
    if (n == 0) { /* says by its name which texts the rows above it have */
        struct archive a = {out, below, 0};
        (void)archive_row(&a, BYTES_LIT("directory"), BYTES_NONE);
    }
    for (size_t i = 0; i < n; i++) {
        char child[300];
        snprintf(child, sizeof(child), "%s/%s", below, names[i]);
        if (strcmp(names[i], "data.mdb") == 0)
            archive_env(dir, below, out);
        else if (strcmp(names[i], "lock.mdb") != 0)
            archive_tree(dir, child, out);
    }
}

static void make_directory(struct buf *out)
{
    char dir[64], path[128];
    struct err_msg msg = {""};
    temporary(dir);
    struct tsdb *db = store(dir);
    for (uint64_t id = 0; id < SPANS; id += 60) {
        assert_int_equal(rows_append(db, rows_batch(tsdb_series(db), id, 60, id + 1), NULL),
                         ERR_OK);
        if (id < SPANS / 2) /* the rest stays in the journal */
            assert_int_equal(tsdb_flush(db, false, &msg), ERR_OK);
    }
    tsdb_close(db, false);
    snprintf(path, sizeof(path), "%s/VERSION", dir);
    struct archive version = {out, "VERSION", 0};
    (void)archive_row(&version, BYTES_LIT("file"), read_file(path));
    for (const char *const *top = (const char *const[]){"state", "journal", "parts", NULL}; *top;
         top++)
        archive_tree(dir, *top, out);
    files_remove_tree(dir);
}

struct unpack {
    struct lmdb_env *env;
    struct lmdb_txn *txn;
    char name[64];
};

static void unpack_end(struct unpack *u)
{
    struct err_msg msg;
    if (u->txn)
        assert_int_equal(lmdb_txn_commit(u->txn, &msg), ERR_OK);
    lmdb_env_close(u->env);
    *u = (struct unpack){0};
}

static void unpack_begin(struct unpack *u, const char *dir, const char *name)
{
    char path[256];
    struct err_msg msg = {""};
    bool is_part = strncmp(name, "parts/", 6) == 0;
    unpack_end(u);
    snprintf(u->name, sizeof(u->name), "%s", name);
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    assert_int_equal(files_make_dir(path, &msg), ERR_OK);
    assert_int_equal(lmdb_env_open(path, MAP_BYTES, is_part ? part_dbs : NULL, &u->env, &msg),
                     ERR_OK);
    assert_int_equal(lmdb_env_begin(u->env, true, &u->txn, &msg), ERR_OK);
}

static void unpack(struct bytes archive, const char *dir)
{
    struct reader r = reader_of(archive);
    struct unpack u = {0};
    struct err_msg msg;
    char name[64], path[256];
    while (reader_left(&r)) {
        struct bytes env = reader_lenbytes(&r);
        uint8_t db = reader_u8(&r);
        struct bytes key = reader_lenbytes(&r), value = reader_lenbytes(&r);
        assert_false(r.failed || env.size >= sizeof(name));
        snprintf(name, sizeof(name), BYTES_FMT, BYTES_ARG(env));
        if (strcmp(name, "VERSION") == 0) {
            snprintf(path, sizeof(path), "%s/VERSION", dir);
            assert_int_equal(files_write(path, value, &msg), ERR_OK);
            continue;
        }
        if (bytes_equal_str(key, "directory")) {
            snprintf(path, sizeof(path), "%s/%s", dir, name);
            assert_int_equal(files_make_dir(path, &msg), ERR_OK);
            continue;
        }
        if (strcmp(name, u.name) != 0)
            unpack_begin(&u, dir, name);
        assert_int_equal(lmdb_txn_put(u.txn, db, key, value, &msg), ERR_OK);
    }
    unpack_end(&u);
}

static void expect_spans(struct tsdb *db)
{
    struct rows_found f;
    assert_int_equal(rows_find(db, SPANS, &f), ERR_OK);
    for (uint64_t i = 0; i < SPANS; i++)
        assert_int_equal(f.times[i], 1);
    assert_int_equal(f.altered + f.strange, 0);
    assert_int_equal(f.cells, SPANS);
    assert_int_equal(f.counted, SPANS);
    rows_found_done(&f);
}

static void problem(void *ctx, const char *where, const char *what)
{
    (void)ctx;
    print_message("%s: %s\n", where, what);
}

/* One for each format that a directory ever had: `./dev golden` writes today's and leaves the others. */
static void every_older_directory_is_opened_whole(void **state)
{
    char path[300], **names;
    size_t n, opened = 0;
    struct err_msg msg = {""};
    snprintf(path, sizeof(path), "%s/format", fixtures());
    assert_int_equal(files_list(path, false, arena, &names, &n, &msg), ERR_OK);
    for (size_t i = 0; i < n; i++) {
        char dir[64];
        struct tsdb_verify_sink sink = {.problem = problem};
        struct tsdb_verify_report report;
        if (strncmp(names[i], "directory-", 10) != 0)
            continue;
        temporary(dir);
        snprintf(path, sizeof(path), "%s/format/%s", fixtures(), names[i]);
        unpack(read_file(path), dir);
        assert_int_equal(tsdb_verify_run(dir, &sink, &report, &msg), ERR_OK);
        assert_int_equal(report.problems, 0);
        assert_true(report.commits > 0 && report.blocks > 0);
        struct tsdb *db = store(dir);
        expect_spans(db);
        assert_int_equal(tsdb_flush(db, true, &msg), ERR_OK);
        expect_spans(db);
        tsdb_close(db, false);
        files_remove_tree(dir);
        opened++;
    }
    assert_true(opened > 0);
}

static enum err try_version(struct bytes text, bool with_data, struct err_msg *msg)
{
    char dir[64], path[128];
    struct tsdb_options o = {.dir = dir};
    struct tsdb *db;
    temporary(dir);
    snprintf(path, sizeof(path), "%s/VERSION", dir);
    if (text.data)
        assert_int_equal(files_write(path, text, msg), ERR_OK);
    snprintf(path, sizeof(path), "%s/state", dir);
    if (with_data)
        assert_int_equal(files_make_dir(path, msg), ERR_OK);
    msg->text[0] = 0;
    enum err e = tsdb_open(&o, &db, msg);
    if (e == ERR_OK)
        tsdb_close(db, false);
    files_remove_tree(dir);
    return e;
}

static void a_directory_says_which_program_may_open_it(void **state)
{
    struct err_msg msg = {""};
    char text[64];
    assert_int_equal(try_version(BYTES_NONE, false, &msg), ERR_OK); /* a new one */
    snprintf(text, sizeof(text), "format=%u min_reader=%u\n", FORMAT_STORE, FORMAT_STORE_READER);
    assert_int_equal(try_version(bytes_str(text), false, &msg), ERR_OK);
    snprintf(text, sizeof(text), "format=%u min_reader=%u\n", FORMAT_STORE + 1, FORMAT_STORE);
    assert_int_equal(try_version(bytes_str(text), false, &msg), ERR_OK); /* newer, and readable */
    snprintf(text, sizeof(text), "format=%u min_reader=%u\n", FORMAT_STORE + 2, FORMAT_STORE + 1);
    assert_int_equal(try_version(bytes_str(text), false, &msg), ERR_UNSUPPORTED_MEDIA);
    assert_non_null(strstr(msg.text, "newer telltale"));
    assert_int_equal(try_version(BYTES_LIT("format=1 min_reader=1\n"), false, &msg),
                     ERR_UNSUPPORTED_MEDIA);
    assert_non_null(strstr(msg.text, "before the first release"));
    static const char *const garbage[] = {"",
                                          "\n",
                                          "format=\n",
                                          "format=2\n",
                                          "hello",
                                          "format=2 min_reader=2",
                                          "format=1 min_reader=2\n",
                                          "format=0 min_reader=0\n",
                                          "format=99999999999999999999 min_reader=1\n"};
    for (size_t i = 0; i < ARRAY_LEN(garbage); i++) {
        assert_int_equal(try_version(bytes_str(garbage[i]), false, &msg), ERR_CORRUPT);
        assert_non_null(strstr(msg.text, "VERSION is not understood"));
    }
    assert_int_equal(try_version(BYTES_NONE, true, &msg), ERR_CORRUPT); /* data, and no VERSION */
    assert_non_null(strstr(msg.text, "no VERSION"));
}

/* --- making them anew ---------------------------------------------------------------------------- */

static int put_file(const char *dir, const char *name, struct bytes b)
{
    char path[512];
    struct err_msg msg = {""};
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    if (files_write(path, b, &msg) == ERR_OK)
        return 0;
    fprintf(stderr, "%s\n", msg.text);
    return 1;
}

static int write_all(const char *dir, const char *corpus)
{
    char name[128], folder[400];
    int rc = 0;
    struct buf directory = {0};
    for (size_t i = 0; i < golden_count; i++) {
        const struct golden *g = &golden_formats[i];
        struct buf bytes = {0}, text = {0};
        g->make(&bytes);
        if (g->dump(buf_bytes(&bytes), &text) != ERR_OK) {
            fprintf(stderr, "%s does not decode\n", g->name);
            rc = 1;
        }
        snprintf(name, sizeof(name), "%s.bin", g->name);
        rc |= put_file(dir, name, buf_bytes(&bytes));
        snprintf(name, sizeof(name), "%s.txt", g->name);
        rc |= put_file(dir, name, buf_bytes(&text));
        snprintf(name, sizeof(name), "golden-%s", g->name);
        snprintf(folder, sizeof(folder), "%s/%s", corpus, g->seed ? g->seed : "");
        if (g->seed)
            rc |= put_file(folder, name, seed_of(g, buf_bytes(&bytes)));
        buf_done(&bytes);
        buf_done(&text);
    }
    snprintf(name, sizeof(name), "%u\n", ZSTD_versionNumber());
    rc |= put_file(dir, "zstd.txt", bytes_str(name));
    make_directory(&directory);
    snprintf(name, sizeof(name), "directory-%u.bin", FORMAT_STORE);
    rc |= put_file(dir, name, buf_bytes(&directory));
    buf_done(&directory);
    return rc;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_golden_file_says_what_is_written_down),
        cmocka_unit_test(what_is_written_today_says_the_same_in_the_same_bytes),
        cmocka_unit_test(a_golden_file_with_a_changed_byte_is_noticed),
        cmocka_unit_test(a_higher_version_is_newer_and_a_lower_one_is_corrupt),
        cmocka_unit_test(the_fuzz_corpora_have_the_golden_files_and_no_older_ones),
        cmocka_unit_test(every_older_directory_is_opened_whole),
        cmocka_unit_test(a_directory_says_which_program_may_open_it),
    };
    log_set_level(LOG_LEVEL_ERROR);
    arena = arena_new(0);
    int rc = argc == 4 && strcmp(argv[1], "--write") == 0
                 ? write_all(argv[2], argv[3])
                 : cmocka_run_group_tests(tests, NULL, NULL);
    arena_free(arena);
    return rc;
}
