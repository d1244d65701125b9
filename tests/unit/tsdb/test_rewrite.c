/* A part's environment that is made anew: what shrinks, what goes, what readers still see, and every step that fails or is the last. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/log.h"
#include "tsdb/files.h"
#include "tsdb/helper_rows.h"
#include "tsdb/lmdb_env.h"
#include "tsdb/part_store.h"

#define DAY "20261120"

struct place {
    char dir[64], day[128], trash[128];
};

static void place_make(struct place *p)
{
    struct err_msg msg;
    snprintf(p->dir, sizeof(p->dir), "%s/telltale-rewrite-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(p->dir));
    snprintf(p->day, sizeof(p->day), "%s/parts/" DAY, p->dir);
    snprintf(p->trash, sizeof(p->trash), "%s/.trash", p->dir);
    assert_int_equal(files_make_dir(p->day, &msg), ERR_OK);
    assert_int_equal(files_make_dir(p->trash, &msg), ERR_OK);
    log_set_level(LOG_LEVEL_ERROR);
}

static struct block_meta meta_of(uint64_t generation, uint32_t n)
{
    return (struct block_meta){.key = {1, BLOCK_SPANS, generation, n},
                               .rows = 1,
                               .time_max = 7,
                               .summary = BYTES_LIT("zone")};
}

/* Generations 1..count of one block of `size` letters each. */
static struct part *part_with(const struct place *p, unsigned count, size_t size)
{
    struct err_msg msg = {""};
    struct part *part = part_new(p->day, 20777, PART_ROWS, false);
    char *text = malloc(size);
    assert_non_null(text);
    for (unsigned g = 1; g <= count; g++) {
        struct block_meta m = meta_of(g, 0);
        memset(text, (int)('a' + g % 26), size);
        assert_int_equal(part_put(part, &m, bytes_of(text, size), &msg), ERR_OK);
        assert_int_equal(part_seal(part, g, &msg), ERR_OK);
    }
    free(text);
    return part;
}

static uint64_t file_size(const struct place *p)
{
    char path[256];
    struct stat st;
    snprintf(path, sizeof(path), "%s/rows/data.mdb", p->day);
    return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static unsigned names_in(const char *dir)
{
    struct arena *a = arena_new(0);
    char **names;
    size_t n;
    struct err_msg msg;
    assert_int_equal(files_list(dir, true, a, &names, &n, &msg), ERR_OK);
    arena_free(a);
    return (unsigned)n;
}

/* Generation `kept` as it was, and generation 100 with the text "merged". */
static enum err rewrite(struct part *old, uint64_t kept, const char *trash, struct part **out,
                        struct err_msg *msg)
{
    struct part *fresh = NULL;
    struct part_snapshot *s = part_snapshot_new(old, UINT64_MAX);
    struct block_meta m = meta_of(100, 0);
    size_t n;
    const struct block_meta *metas = part_snapshot_blocks(s, &n);
    enum err e = part_rewrite_begin(old, &fresh, msg);
    for (size_t i = 0; i < n && e == ERR_OK; i++)
        if (metas[i].key.generation == kept)
            e = part_copy(fresh, s, &metas[i], msg);
    if (e == ERR_OK)
        e = part_put(fresh, &m, BYTES_LIT("merged"), msg);
    if (e == ERR_OK)
        e = part_rewrite_seal(fresh, old, msg);
    if (e == ERR_OK)
        e = part_exchange(old, fresh, trash, msg);
    part_snapshot_release(s);
    if (e != ERR_OK)
        part_release(fresh);
    else
        *out = fresh;
    return e;
}

/* 1: the part is the old one, whole; 2: the rewritten one; 0: neither. */
static int which(struct part *p, unsigned count)
{
    struct err_msg msg = {""};
    struct arena *a = arena_new(0);
    struct part_snapshot *s = part_snapshot_new(p, UINT64_MAX);
    struct bytes block;
    size_t n;
    bool sealed, good = true, merged = false;
    const struct block_meta *m = part_snapshot_blocks(s, &n);
    for (size_t i = 0; i < n; i++) {
        good = good && part_fetch(s, &m[i], a, &block, &msg) == ERR_OK;
        merged = merged || (good && bytes_equal_str(block, "merged"));
    }
    for (unsigned g = 1; g <= count; g++)
        good = good && part_is_sealed(p, g, &sealed, &msg) == ERR_OK && sealed;
    part_snapshot_release(s);
    arena_free(a);
    return !good ? 0 : n == count && !merged ? 1 : n == 2 && merged ? 2 : 0;
}

static void a_rewritten_part_is_small_and_older_snapshots_read_on(void **state)
{
    struct place p;
    struct err_msg msg = {""};
    struct part *fresh;
    char trash[192];
    struct bytes block;
    struct arena *a = arena_new(0);
    size_t n;
    place_make(&p);
    snprintf(trash, sizeof(trash), "%s/0", p.trash);
    struct part *old = part_with(&p, 20, 100000);
    uint64_t before = file_size(&p);
    struct part_snapshot *opened = part_snapshot_new(old, 20),
                         *unopened = part_snapshot_new(old, 20);
    part_snapshot_blocks(opened, &n);
    assert_int_equal(rewrite(old, 3, trash, &fresh, &msg), ERR_OK);
    assert_int_equal(which(fresh, 20), 2);
    assert_true(before > 2000000 && file_size(&p) < before / 8);
    assert_int_equal(names_in(p.trash), 1);
    part_release(old);
    for (int i = 0; i < 2; i++) {
        struct part_snapshot *s = i ? unopened : opened;
        const struct block_meta *m = part_snapshot_blocks(s, &n);
        assert_int_equal(n, 20);
        assert_int_equal(part_fetch(s, &m[19], a, &block, &msg), ERR_OK);
        assert_int_equal(block.data[0], 'a' + 20);
        part_snapshot_release(s);
    }
    assert_int_equal(names_in(p.trash), 0); /* with its last reader */
    struct block_meta m = meta_of(101, 0);
    assert_int_equal(part_put(fresh, &m, BYTES_LIT("later"), &msg), ERR_OK);
    assert_int_equal(part_seal(fresh, 101, &msg), ERR_OK);
    part_release(fresh);
    fresh = part_new(p.day, 20777, PART_ROWS, true);
    struct part_snapshot *s = part_snapshot_new(fresh, UINT64_MAX);
    part_snapshot_blocks(s, &n);
    assert_int_equal(n, 3);
    part_snapshot_release(s);
    part_release(fresh);
    arena_free(a);
    files_remove_tree(p.dir);
}

static void a_rewrite_that_is_given_up_leaves_no_trace(void **state)
{
    struct place p;
    struct err_msg msg = {""};
    struct part *fresh;
    place_make(&p);
    struct part *old = part_with(&p, 3, 1000);
    struct block_meta m = meta_of(100, 0);
    assert_int_equal(part_rewrite_begin(old, &fresh, &msg), ERR_OK);
    assert_int_equal(part_put(fresh, &m, BYTES_LIT("merged"), &msg), ERR_OK);
    assert_int_equal(names_in(p.day), 2);
    part_release(fresh);
    assert_int_equal(names_in(p.day), 1);
    assert_int_equal(which(old, 3), 1);
    part_release(old);
    files_remove_tree(p.dir);
}

enum fails {
    FILES_FAIL,
    FILES_DIE,
    LMDB_FAILS,
    LMDB_LIES,
    LMDB_DEAD,
    LMDB_FULL,
    LMDB_DIES,
    FAIL_KINDS
};

static void arm(enum fails kind, uint64_t n)
{
    static const enum lmdb_env_fault faults[] = {[LMDB_FAILS] = LMDB_ENV_FAIL,
                                                 [LMDB_LIES] = LMDB_ENV_LIE,
                                                 [LMDB_DEAD] = LMDB_ENV_DEAD,
                                                 [LMDB_FULL] = LMDB_ENV_FULL,
                                                 [LMDB_DIES] = LMDB_ENV_CRASH};
    if (kind <= FILES_DIE) {
        files_test_fail_at(n, kind == FILES_DIE);
    } else {
        lmdb_env_fault_is(faults[kind]);
        lmdb_env_fail_at(n);
    }
}

static uint64_t disarm(enum fails kind)
{
    uint64_t n = kind <= FILES_DIE ? files_test_fail_at(0, false) : lmdb_env_fail_at(0);
    lmdb_env_fault_is(LMDB_ENV_FAIL);
    return n;
}

/* One rewrite with the n-th operation failing; then a later flush, and the next process. Returns how many operations there were. */
static uint64_t one_fault(enum fails kind, uint64_t n, int out[2])
{
    struct place p;
    struct err_msg msg = {""};
    char trash[192];
    uint64_t operations = 0;
    int status = 0;
    place_make(&p);
    snprintf(trash, sizeof(trash), "%s/0", p.trash);
    part_release(part_with(&p, 4, 3000));
    pid_t child =
        fork(); /* all in a process of its own, also where none dies: alike for all kinds */
    assert_true(child >= 0);
    if (child == 0) {
        struct part *old = part_new(p.day, 20777, PART_ROWS, true), *fresh = NULL;
        bool sealed, ok = part_is_sealed(old, 1, &sealed, &msg) == ERR_OK;
        struct block_meta m = meta_of(5, 0);
        arm(kind, n);
        enum err e = rewrite(old, 3, trash, &fresh, &msg);
        bool more = disarm(kind) >= n;
        struct part *now = e == ERR_OK ? fresh : old;
        int is = which(now, 4);
        ok = ok && is == (e == ERR_OK ? 2 : 1);
        ok = ok && part_put(now, &m, BYTES_LIT("later"), &msg) == ERR_OK &&
             part_seal(now, 5, &msg) == ERR_OK; /* the part can be written */
        _exit(!ok ? 1 : more ? 10 + is : 20 + is);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    int code = WEXITSTATUS(status);
    bool died = code == LMDB_ENV_CRASH_STATUS || code == FILES_CRASH_STATUS;
    if (!died && code < 10)
        fail_msg("fault %d at %llu: the process saw a wrong part", (int)kind,
                 (unsigned long long)n);
    part_clean_day(p.day);
    files_remove_tree(p.trash);
    assert_int_equal(names_in(p.day), 1);
    struct part *after = part_new(p.day, 20777, PART_ROWS, true);
    struct part_snapshot *s = part_snapshot_new(after, 5);
    size_t blocks;
    const struct block_meta *m = part_snapshot_blocks(s, &blocks);
    size_t later = 0;
    for (size_t i = 0; i < blocks; i++)
        later += m[i].key.generation == 5;
    part_snapshot_release(s);
    assert_int_equal(later, !died);
    if (died) {
        int is = which(after, 4);
        if (is == 0)
            fail_msg("death %d at %llu: neither the old nor the new part", (int)kind,
                     (unsigned long long)n);
        out[is - 1]++;
    } else {
        out[code % 10 - 1]++;
    }
    part_release(after);
    files_remove_tree(p.dir);
    operations = died || code < 20;
    return operations;
}

static void walk(bool no_exchange)
{
    files_test_no_exchange(no_exchange);
    for (int kind = 0; kind < FAIL_KINDS; kind++) {
        int seen[2] = {0, 0}; /* old, new */
        uint64_t n = 1;
        while (one_fault((enum fails)kind, n, seen) && n < 200)
            n++;
        assert_true(n > 2 && n < 200);
        assert_true(seen[0] > 0 && seen[1] > 0);
    }
    files_test_no_exchange(false);
}

static void any_failing_or_last_step_leaves_the_old_part_or_the_new_one(void **state)
{
    walk(false);
}

static void so_does_every_step_where_names_cannot_be_exchanged(void **state)
{
    walk(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rewritten_part_is_small_and_older_snapshots_read_on),
        cmocka_unit_test(a_rewrite_that_is_given_up_leaves_no_trace),
        cmocka_unit_test(any_failing_or_last_step_leaves_the_old_part_or_the_new_one),
        cmocka_unit_test(so_does_every_step_where_names_cannot_be_exchanged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
