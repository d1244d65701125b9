/* The seam to LMDB against a model in memory: sequences of everything that can be done to an environment, and that can go wrong with it.
 *   TELLTALE_SEEDS=n runs n sequences (6 else). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/log.h"
#include "tsdb/files.h"
#include "tsdb/lmdb_env.h"

#define KEYS 48u
#define DBS 2u
#define STEPS 400u
#define VALUE_MAX 20000u
#define MAP_BYTES (UINT64_C(1) << 40) /* as asked; the tests' limit is what counts */
#define OTHERS LMDB_ENV_OPEN_MAX /* and the one that is looked at */

static const char *const names[] = {"one", "two", NULL};

/* 0: absent; else the version that tells size and bytes of the value. */
struct model {
    uint32_t version[DBS][KEYS];
};

struct run {
    char dir[96], path[160], moved[160];
    uint64_t random;
    struct lmdb_env *env;
    struct lmdb_txn *write, *read;
    struct model committed, open, seen; /* seen: when the reader began */
    uint32_t next_version;
    bool is_full;
    uint64_t full, died, moves, lies;
};

/* Of all sequences. */
static char others_dir[64];
static struct lmdb_env *others[OTHERS];

static uint32_t pick(struct run *r, uint32_t n)
{
    r->random ^= r->random << 13, r->random ^= r->random >> 7, r->random ^= r->random << 17;
    return (uint32_t)(r->random >> 32) % n;
}

static struct bytes key_of(uint32_t k, uint8_t out[64])
{
    memset(out, (int)('a' + k % 20), 64);
    bytes_put_u64be(out, k);
    return bytes_of(out, 8 + k % 50);
}

static struct bytes value_of(uint32_t version, uint8_t *out)
{
    size_t n = version % 7 == 0 ? version * 2654435761u % VALUE_MAX : version * 40503u % 300;
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)(version * 31 + i * 7);
    return bytes_of(out, n);
}

struct sweep {
    const uint32_t *version;
    uint32_t k; /* next */
    bool same;
};

static bool compare_row(void *ctx, struct bytes key, struct bytes value)
{
    static uint8_t want[VALUE_MAX];
    uint8_t text[64];
    struct sweep *s = ctx;
    while (s->k < KEYS && !s->version[s->k])
        s->k++;
    s->same = s->k < KEYS && bytes_equal(key, key_of(s->k, text)) &&
              bytes_equal(value, value_of(s->version[s->k], want));
    s->k++;
    return s->same;
}

static bool is_equal(struct lmdb_txn *t, const struct model *m)
{
    bool same = true;
    for (unsigned db = 0; db < DBS && same; db++) {
        struct sweep s = {m->version[db], 0, true};
        assert_int_equal(lmdb_txn_scan(t, db, BYTES_NONE, compare_row, &s), ERR_OK);
        while (s.k < KEYS && !s.version[s.k])
            s.k++;
        same = s.same && s.k >= KEYS;
    }
    return same;
}

static void open_env(struct run *r)
{
    struct err_msg msg = {""};
    if (lmdb_env_open(r->path, MAP_BYTES, names, &r->env, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
}

/* What a begin that failed may say: nothing has changed, another time. */
static bool begin(struct run *r, bool write, struct lmdb_txn **out)
{
    struct err_msg msg = {""};
    for (int i = 0; i < 3; i++) {
        enum err e = lmdb_env_begin(r->env, write, out, &msg);
        if (e == ERR_OK)
            return true;
        assert_true(e == ERR_IO || e == ERR_FULL);
    }
    *out = NULL;
    return false;
}

static void stop_reading(struct run *r)
{
    if (r->read)
        assert_true(is_equal(r->read, &r->seen));
    lmdb_txn_abort(r->read);
    r->read = NULL;
}

static void start_reading(struct run *r)
{
    stop_reading(r);
    r->seen = r->committed;
    if (begin(r, false, &r->read))
        assert_true(is_equal(r->read, &r->seen));
}

static void give_up(struct run *r)
{
    lmdb_txn_abort(r->write);
    r->write = NULL;
}

static void put(struct run *r)
{
    static uint8_t value[VALUE_MAX];
    uint8_t key[64];
    unsigned db = pick(r, DBS);
    uint32_t k = pick(r, KEYS), version = ++r->next_version;
    struct err_msg msg = {""};
    bool del = pick(r, 3) == 0;
    enum err e = del ? lmdb_txn_del(r->write, db, key_of(k, key))
                     : lmdb_txn_put(r->write, db, key_of(k, key), value_of(version, value), &msg);
    if (e == ERR_OK) {
        r->open.version[db][k] = del ? 0 : version;
        return;
    }
    assert_true(e == ERR_FULL || e == ERR_IO);
    r->full += e == ERR_FULL;
    r->is_full = e == ERR_FULL;
    give_up(r);
}

static void commit(struct run *r)
{
    struct err_msg msg = {""};
    struct lmdb_txn *t = r->write;
    r->write = NULL;
    enum err e = lmdb_txn_commit(t, &msg);
    (void)lmdb_env_fail_at(0);
    if (e == ERR_OK) {
        r->committed = r->open;
        return;
    }
    assert_true(e == ERR_FULL || e == ERR_IO);
    r->is_full = e == ERR_FULL;
    stop_reading(r);
    /* whether it is there is what the next reader finds: all of it or nothing */
    assert_true(begin(r, false, &t));
    if (is_equal(t, &r->open)) {
        r->committed = r->open;
        r->lies++;
    } else {
        assert_true(is_equal(t, &r->committed));
        r->died++;
    }
    lmdb_txn_abort(t);
}

static void open_others(void)
{
    struct err_msg msg = {""};
    snprintf(others_dir, sizeof(others_dir), "/tmp/telltale-lmdb-XXXXXX");
    assert_non_null(mkdtemp(others_dir));
    for (size_t i = 0; i < OTHERS; i++) {
        char path[128];
        snprintf(path, sizeof(path), "%s/%zu", others_dir, i);
        assert_int_equal(files_make_dir(path, &msg), ERR_OK);
        assert_int_equal(lmdb_env_open(path, 1u << 20, NULL, &others[i], &msg), ERR_OK);
        lmdb_env_may_idle(others[i]);
    }
}

static void close_others(void)
{
    for (size_t i = 0; i < OTHERS; i++)
        lmdb_env_close(others[i]);
    files_remove_tree(others_dir);
}

/* More environments than may be open are used: this one is closed behind our back. */
static void use_others(struct run *r)
{
    struct err_msg msg = {""};
    lmdb_env_may_idle(r->env);
    for (size_t i = 0; i < OTHERS; i++) {
        struct lmdb_txn *t;
        assert_int_equal(lmdb_env_begin(others[i], false, &t, &msg), ERR_OK);
        lmdb_txn_abort(t);
    }
    assert_true(lmdb_env_idle_open() <= LMDB_ENV_OPEN_MAX);
}

/* While a reader holds it, as a part does that changes its place. */
static void move(struct run *r)
{
    char other[160];
    struct lmdb_txn *held;
    if (!begin(r, false, &held))
        return;
    assert_int_equal(rename(r->path, r->moved), 0);
    lmdb_env_moved(r->env, r->moved);
    lmdb_txn_abort(held);
    memcpy(other, r->path, sizeof(other));
    memcpy(r->path, r->moved, sizeof(other));
    memcpy(r->moved, other, sizeof(other));
    r->moves++;
}

static void step_between(struct run *r, uint32_t what)
{
    struct err_msg msg = {""};
    static const enum lmdb_env_fault faults[] = {LMDB_ENV_FAIL, LMDB_ENV_LIE, LMDB_ENV_DEAD,
                                                 LMDB_ENV_FULL};
    if (what < 55) {
        if (r->is_full)
            stop_reading(r); /* so that it may grow at once */
        r->is_full = false;
        r->open = r->committed;
        (void)begin(r, true, &r->write);
    } else if (what < 65) {
        start_reading(r);
    } else if (what < 70) {
        stop_reading(r);
    } else if (what < 74) {
        stop_reading(r);
        lmdb_env_close(r->env);
        (void)lmdb_env_fail_at(0);
        open_env(r);
    } else if (what < 78) {
        stop_reading(r);
        enum err e = lmdb_env_rewrite(r->env, &msg);
        assert_true(e == ERR_OK || e == ERR_IO || e == ERR_FULL);
    } else if (what < 80) {
        (void)lmdb_env_fail_at(0);
        use_others(r);
    } else if (what < 84) {
        move(r);
    } else {
        lmdb_env_fault_is(faults[pick(r, ARRAY_LEN(faults))]);
        (void)lmdb_env_fail_at(1 + pick(r, 8));
    }
}

static void step(struct run *r)
{
    uint32_t what = pick(r, 100);
    if (!r->write)
        step_between(r, what);
    else if (what < 75)
        put(r);
    else if (what < 92)
        commit(r);
    else if (what < 97)
        give_up(r);
    else if (r->read)
        assert_true(is_equal(r->read, &r->seen));
}

static void sequence(uint64_t seed, struct run *sum)
{
    static struct run r;
    struct err_msg msg = {""};
    r = (struct run){.random = seed * UINT64_C(0x9E3779B97F4A7C15) + 1};
    snprintf(r.dir, sizeof(r.dir), "%s/telltale-lmdb-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(r.dir));
    snprintf(r.path, sizeof(r.path), "%s/env", r.dir);
    snprintf(r.moved, sizeof(r.moved), "%s/env-moved", r.dir);
    assert_int_equal(files_make_dir(r.path, &msg), ERR_OK);
    lmdb_env_map_is(64u << 10, true);
    open_env(&r);
    for (uint32_t i = 0; i < STEPS; i++)
        step(&r);
    give_up(&r);
    stop_reading(&r);
    (void)lmdb_env_fail_at(0);
    start_reading(&r);
    assert_non_null(r.read);
    stop_reading(&r);
    lmdb_env_close(r.env);
    open_env(&r);
    start_reading(&r);
    stop_reading(&r);
    lmdb_env_close(r.env);
    lmdb_env_map_is(0, true);
    lmdb_env_fault_is(LMDB_ENV_FAIL);
    files_remove_tree(r.dir);
    sum->full += r.full;
    sum->died += r.died;
    sum->moves += r.moves;
    sum->lies += r.lies;
}

static void an_environment_holds_what_was_committed_whatever_happens_to_it(void **state)
{
    static struct run sum;
    const char *seeds = getenv("TELLTALE_SEEDS");
    uint64_t n = seeds ? strtoull(seeds, NULL, 10) : 6;
    open_others();
    for (uint64_t seed = 1; seed <= n; seed++)
        sequence(seed, &sum);
    close_others();
    print_message("full %llu times, %llu commits failed, %llu were there after all, moved %llu\n",
                  (unsigned long long)sum.full, (unsigned long long)sum.died,
                  (unsigned long long)sum.lies, (unsigned long long)sum.moves);
    assert_true(sum.full > n && sum.died > n / 2 && sum.lies > n / 10 && sum.moves > n / 2);
}

/* The comparison notices one row more, one less, and one that is older. */
static void the_model_notices_what_differs(void **state)
{
    static struct run r;
    uint8_t key[64], value[VALUE_MAX];
    struct err_msg msg = {""};
    struct model m = {0};
    r = (struct run){.random = 7};
    snprintf(r.path, sizeof(r.path), "/tmp/telltale-lmdb-XXXXXX");
    assert_non_null(mkdtemp(r.path));
    open_env(&r);
    assert_true(begin(&r, true, &r.write));
    m.version[1][3] = 14;
    assert_int_equal(lmdb_txn_put(r.write, 1, key_of(3, key), value_of(14, value), &msg), ERR_OK);
    assert_true(is_equal(r.write, &m));
    m.version[1][3] = 13;
    assert_false(is_equal(r.write, &m));
    m.version[1][3] = 0;
    assert_false(is_equal(r.write, &m));
    m.version[1][3] = 14;
    m.version[0][47] = 2;
    assert_false(is_equal(r.write, &m));
    give_up(&r);
    lmdb_env_close(r.env);
    files_remove_tree(r.path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_model_notices_what_differs),
        cmocka_unit_test(an_environment_holds_what_was_committed_whatever_happens_to_it),
    };
    log_set_level(LOG_LEVEL_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
