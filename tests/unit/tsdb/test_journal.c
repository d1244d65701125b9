/* The durable pieces below the store: journal of a generation, part, state tables. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "tsdb/files.h"
#include "tsdb/journal.h"
#include "tsdb/lmdb_env.h"
#include "tsdb/part_store.h"
#include "tsdb/tsdb_state.h"

static int make_dir(void **state)
{
    char *dir = strdup("/tmp/telltale-journal-XXXXXX");
    *state = dir;
    return dir && mkdtemp(dir) ? 0 : 1;
}

static int remove_dir(void **state)
{
    files_remove_tree(*state);
    free(*state);
    return 0;
}

static enum err count_commit(void *ctx, uint64_t seq, struct bytes commit, struct err_msg *msg)
{
    uint64_t *sum = ctx;
    (void)msg;
    assert_true(bytes_equal_str(commit, seq == 5 ? "five" : "nine"));
    *sum = *sum * 10 + seq;
    return ERR_OK;
}

static void count_damaged(void *ctx, uint64_t seq)
{
    assert_int_equal(seq, 5);
    *(uint64_t *)ctx += 1000;
}

static enum err scan(struct journal *j, uint64_t *sum, struct err_msg *msg)
{
    return journal_scan(j, &(struct journal_reader){sum, count_commit, count_damaged}, msg);
}

static void a_journal_gives_back_its_checkpoint_and_commits_in_order(void **state)
{
    struct arena *a = arena_new(0);
    struct journal *j;
    struct err_msg msg;
    struct bytes checkpoint;
    uint64_t sum = 0, *list;
    size_t n;
    char path[256];
    assert_int_equal(journal_create(*state, 3, BYTES_LIT("totals"), BYTES_NONE, &j, &msg), ERR_OK);
    assert_int_equal(journal_append(j, 9, BYTES_LIT("nine"), &msg), ERR_OK);
    assert_int_equal(journal_append(j, 5, BYTES_LIT("five"), &msg), ERR_OK);
    journal_close(j);
    snprintf(path, sizeof(path), "%s/journal/.tmp-4",
             (char *)*state); /* a birth that was cut short */
    assert_int_equal(files_make_dir(path, &msg), ERR_OK);
    assert_int_equal(journal_create(*state, 12, BYTES_LIT("x"), BYTES_NONE, &j, &msg), ERR_OK);
    journal_close(j);
    assert_int_equal(journal_list(*state, a, &list, &n, &msg), ERR_OK);
    assert_int_equal(n, 2);
    assert_int_equal(list[0], 3);
    assert_int_equal(list[1], 12);
    assert_int_equal(journal_open(*state, 3, &j, &msg), ERR_OK);
    assert_int_equal(journal_checkpoint(j, false, a, &checkpoint, &msg), ERR_OK);
    assert_true(bytes_equal_str(checkpoint, "totals"));
    assert_int_equal(scan(j, &sum, &msg), ERR_OK);
    assert_int_equal(sum, 59);
    journal_close(j);
    journal_remove(*state, 3);
    assert_int_equal(journal_list(*state, a, &list, &n, &msg), ERR_OK);
    assert_int_equal(n, 1);
    arena_free(a);
}

static void a_flipped_bit_in_a_commit_is_noticed(void **state)
{
    struct journal *j;
    struct err_msg msg;
    struct lmdb_env *env;
    struct lmdb_txn *t;
    struct bytes found;
    char path[256];
    uint8_t key[8], copy[64];
    uint64_t sum = 0;
    assert_int_equal(journal_create(*state, 1, BYTES_LIT("c"), BYTES_NONE, &j, &msg), ERR_OK);
    assert_int_equal(journal_append(j, 5, BYTES_LIT("five"), &msg), ERR_OK);
    journal_close(j);
    snprintf(path, sizeof(path), "%s/journal/1", (char *)*state);
    assert_int_equal(lmdb_env_open(path, LMDB_ENV_MAP(1u << 20), NULL, &env, &msg), ERR_OK);
    assert_int_equal(lmdb_env_begin(env, true, &t, &msg), ERR_OK);
    bytes_put_u64be(key, 5);
    assert_int_equal(lmdb_txn_get(t, 0, bytes_of(key, 8), &found), ERR_OK);
    memcpy(copy, found.data, found.size);
    copy[found.size - 1] ^= 4;
    assert_int_equal(lmdb_txn_put(t, 0, bytes_of(key, 8), bytes_of(copy, found.size), &msg),
                     ERR_OK);
    assert_int_equal(lmdb_txn_commit(t, &msg), ERR_OK);
    lmdb_env_close(env);
    assert_int_equal(journal_open(*state, 1, &j, &msg), ERR_OK);
    assert_int_equal(scan(j, &sum, &msg), ERR_OK);
    assert_int_equal(sum, 1000);
    journal_close(j);
}

static struct block_meta meta_of(uint64_t generation, uint32_t n)
{
    return (struct block_meta){.key = {1, BLOCK_SPANS, generation, n},
                               .day = 20000,
                               .class = PART_ROWS,
                               .rows = n + 1,
                               .time_min = -5,
                               .time_max = 7,
                               .summary = BYTES_LIT("zone")};
}

static void a_part_shows_sealed_blocks_only(void **state)
{
    struct err_msg msg;
    struct arena *a = arena_new(0);
    struct part *p = part_new(*state, 20000, PART_ROWS, false);
    struct block_meta m = meta_of(1, 0), m2 = meta_of(2, 0);
    struct bytes block;
    bool sealed;
    size_t n;
    assert_int_equal(part_put(p, &m, BYTES_LIT("first"), &msg), ERR_OK);
    assert_int_equal(part_seal(p, 1, &msg), ERR_OK);
    struct part_snapshot *old = part_snapshot_new(p, 1);
    assert_int_equal(part_put(p, &m2, BYTES_LIT("second"), &msg), ERR_OK);
    part_abandon(p);
    struct part_snapshot *s = part_snapshot_new(p, 2);
    part_snapshot_blocks(s, &n);
    assert_int_equal(n, 1);
    part_snapshot_release(s);
    assert_int_equal(part_put(p, &m2, BYTES_LIT("second"), &msg), ERR_OK);
    assert_int_equal(part_seal(p, 2, &msg), ERR_OK);
    part_release(p);
    const struct block_meta *found = part_snapshot_blocks(old, &n);
    assert_int_equal(n, 1); /* a snapshot keeps its part and does not change */
    assert_int_equal(part_fetch(old, &found[0], a, &block, &msg), ERR_OK);
    assert_true(bytes_equal_str(block, "first"));
    assert_true(bytes_equal_str(found[0].summary, "zone"));
    part_snapshot_release(old);
    p = part_new(*state, 20000, PART_ROWS, true);
    assert_int_equal(part_is_sealed(p, 2, &sealed, &msg), ERR_OK);
    assert_true(sealed);
    assert_int_equal(part_is_sealed(p, 3, &sealed, &msg), ERR_OK);
    assert_false(sealed);
    s = part_snapshot_new(p, 9);
    found = part_snapshot_blocks(s, &n);
    assert_int_equal(n, 2);
    struct block_meta wrong = found[1];
    wrong.rows++; /* the checksum covers the manifest row */
    assert_int_equal(part_fetch(s, &wrong, a, &block, &msg), ERR_CORRUPT);
    part_snapshot_release(s);
    part_release(p);
    arena_free(a);
}

static void state_tables_are_ordered_and_transactions_whole(void **state)
{
    struct tsdb_options o = {.dir = *state};
    struct tsdb *db;
    struct err_msg msg;
    struct tsdb_state_write *w;
    struct tsdb_state_row *rows;
    struct arena *a = arena_new(0);
    struct bytes value;
    size_t n;
    assert_int_equal(tsdb_open(&o, &db, &msg), ERR_OK);
    assert_int_equal(tsdb_state_begin(db, &w), ERR_OK);
    assert_int_equal(tsdb_state_put(w, "alerts", BYTES_LIT("b/2"), BYTES_LIT("two")), ERR_OK);
    assert_int_equal(tsdb_state_put(w, "alerts", BYTES_LIT("b/1"), BYTES_LIT("one")), ERR_OK);
    assert_int_equal(tsdb_state_put(w, "alerts", BYTES_LIT("c"), BYTES_NONE), ERR_OK);
    assert_int_equal(tsdb_state_put(w, "alert", BYTES_LIT("b/3"), BYTES_LIT("other")), ERR_OK);
    assert_int_equal(tsdb_state_read(w, "alerts", BYTES_LIT("b/1"), &value), ERR_OK);
    assert_true(bytes_equal_str(value, "one"));
    assert_int_equal(tsdb_state_commit(w), ERR_OK);
    assert_int_equal(tsdb_state_begin(db, &w), ERR_OK);
    assert_int_equal(tsdb_state_del(w, "alerts", BYTES_LIT("b/1")), ERR_OK);
    assert_int_equal(tsdb_state_del(w, "alerts", BYTES_LIT("none")), ERR_OK);
    tsdb_state_abort(w);
    tsdb_close(db, false);
    assert_int_equal(tsdb_open(&o, &db, &msg), ERR_OK);
    assert_int_equal(tsdb_state_scan(db, "alerts", BYTES_LIT("b/"), 10, a, &rows, &n), ERR_OK);
    assert_int_equal(n, 2);
    assert_true(bytes_equal_str(rows[0].key, "b/1"));
    assert_true(bytes_equal_str(rows[1].value, "two"));
    assert_int_equal(tsdb_state_scan(db, "alerts", BYTES_NONE, 10, a, &rows, &n), ERR_OK);
    assert_int_equal(n, 3);
    assert_int_equal(tsdb_state_get(db, "alert", BYTES_LIT("b/2"), a, &value), ERR_NOT_FOUND);
    tsdb_close(db, false);
    arena_free(a);
}

/* --- environments that are closed and opened behind their users ---------------------------------- */

#define MANY (LMDB_ENV_OPEN_MAX + 16)

struct crowd {
    struct lmdb_env *envs[MANY];
    _Atomic unsigned wrong, seed;
};

static void *crowd_main(void *arg)
{
    struct crowd *c = arg;
    uint64_t r = atomic_fetch_add(&c->seed, 1) + 1;
    for (unsigned i = 0; i < 1000; i++) {
        r = r * 6364136223846793005u + 1442695040888963407u;
        uint8_t n = (uint8_t)((r >> 33) % MANY);
        struct lmdb_txn *t;
        struct bytes value;
        bool writes = i % 50 == 0;
        if (lmdb_env_begin(c->envs[n], writes, &t, NULL) != ERR_OK) {
            atomic_fetch_add(&c->wrong, 1);
            continue;
        }
        bool same = lmdb_txn_get(t, 0, BYTES_LIT("k"), &value) == ERR_OK && value.size == 1 &&
                    value.data[0] == n;
        if (writes)
            same = lmdb_txn_put(t, 0, BYTES_LIT("k"), bytes_of(&n, 1), NULL) == ERR_OK && same;
        if (!writes)
            lmdb_txn_abort(t);
        else if (lmdb_txn_commit(t, NULL) != ERR_OK)
            same = false;
        atomic_fetch_add(&c->wrong, !same);
    }
    return NULL;
}

static void more_environments_than_may_be_open_serve_many_threads(void **state)
{
    static struct crowd c;
    struct err_msg msg = {""};
    pthread_t threads[4];
    char path[300];
    for (unsigned i = 0; i < MANY; i++) {
        struct lmdb_txn *t;
        uint8_t n = (uint8_t)i;
        snprintf(path, sizeof(path), "%s/env%u", (char *)*state, i);
        assert_int_equal(files_make_dir(path, &msg), ERR_OK);
        assert_int_equal(lmdb_env_open(path, 1 << 20, NULL, &c.envs[i], &msg), ERR_OK);
        assert_int_equal(lmdb_env_begin(c.envs[i], true, &t, &msg), ERR_OK);
        assert_int_equal(lmdb_txn_put(t, 0, BYTES_LIT("k"), bytes_of(&n, 1), &msg), ERR_OK);
        assert_int_equal(lmdb_txn_commit(t, &msg), ERR_OK);
        lmdb_env_may_idle(c.envs[i]);
    }
    assert_int_equal(lmdb_env_idle_open(), LMDB_ENV_OPEN_MAX);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, crowd_main, &c), 0);
    for (unsigned i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&c.wrong), 0);
    assert_true(lmdb_env_idle_open() <= LMDB_ENV_OPEN_MAX);
    for (unsigned i = 0; i < MANY; i++)
        lmdb_env_close(c.envs[i]);
    assert_int_equal(lmdb_env_idle_open(), 0);
}

#define T(test) cmocka_unit_test_setup_teardown(test, make_dir, remove_dir)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_journal_gives_back_its_checkpoint_and_commits_in_order),
        T(a_flipped_bit_in_a_commit_is_noticed),
        T(a_part_shows_sealed_blocks_only),
        T(state_tables_are_ordered_and_transactions_whole),
        T(more_environments_than_may_be_open_serve_many_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
