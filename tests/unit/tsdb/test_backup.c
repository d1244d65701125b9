/* Backups of a store that goes on taking rows: what is in them, what a death, a full disk or a failing disk leaves, and the way back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <pthread.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fault_point.h"
#include "base/log.h"
#include "tsdb/files.h"
#include "tsdb/helper_rows.h"
#include "tsdb/lmdb_env.h"
#include "tsdb/tsdb_backup.h"
#include "tsdb/tsdb_restore.h"
#include "tsdb/tsdb_state.h"
#include "tsdb/tsdb_verify.h"

#define BATCH 100u
#define SENDERS 2u
#define SPAN_OF_SENDER 30000u /* ids of sender s: from s times this */
#define DIED 77

struct place {
    char dir[64], data[96], backup[96], partial[96], restored[96];
};

static void place_make(struct place *p)
{
    snprintf(p->dir, sizeof(p->dir), "%s/telltale-backup-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(p->dir));
    snprintf(p->data, sizeof(p->data), "%s/data", p->dir);
    snprintf(p->backup, sizeof(p->backup), "%s/copy", p->dir);
    snprintf(p->partial, sizeof(p->partial), "%s/.partial-copy", p->dir);
    snprintf(p->restored, sizeof(p->restored), "%s/back", p->dir);
}

/* The rows have a fixed date: nothing is to go for its age. */
#define YEARS (100 * INT64_C(365) * 86400000)
static struct tsdb_options options_of(const char *dir)
{
    return (struct tsdb_options){.dir = dir,
                                 .retention_ms = YEARS,
                                 .retention_content_ms = YEARS,
                                 .retention_cells_ms = YEARS};
}

static struct tsdb *store(const char *dir)
{
    struct tsdb_options o = options_of(dir);
    struct tsdb *db = NULL;
    struct err_msg msg = {""};
    if (tsdb_open(&o, &db, &msg) != ERR_OK)
        fail_msg("open %s: %s", dir, msg.text);
    return db;
}

static bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static void add(struct tsdb *db, uint64_t first, uint32_t n)
{
    assert_int_equal(rows_append(db, rows_batch(tsdb_series(db), first, n, 0), NULL), ERR_OK);
}

static unsigned damaged_said;

static void say_damaged(void *ctx, const char *where, const char *what)
{
    (void)ctx;
    (void)where;
    (void)what;
    damaged_said++;
}

static const struct tsdb_backup_sink quiet = {NULL, NULL, say_damaged};

static void backup_ok(struct tsdb *db, const struct place *p)
{
    struct tsdb_backup_report r;
    struct err_msg msg = {""};
    if (tsdb_backup_run(db, p->backup, &quiet, &r, &msg) != ERR_OK)
        fail_msg("backup: %s", msg.text);
    assert_int_equal(r.damaged, 0);
    assert_false(exists(p->partial));
}

static void problem(void *ctx, const char *where, const char *what)
{
    (void)ctx;
    print_message("%s: %s\n", where, what);
}

static int verify(const char *dir)
{
    struct tsdb_verify_sink sink = {.problem = problem};
    struct tsdb_verify_report report;
    struct err_msg msg = {""};
    enum err e = tsdb_verify_run(dir, &sink, &report, &msg);
    return e == ERR_OK && report.problems == 0 ? 0 : 1;
}

/* This program once more: verify forks, and here threads are about. */
static void verify_ok(const char *dir)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        execl("/proc/self/exe", "test_backup", "--verify", dir, (char *)NULL);
        _exit(3);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void restore_ok(const struct place *p)
{
    struct err_msg msg = {""};
    uint64_t bytes;
    if (tsdb_restore_run(p->backup, p->restored, NULL, NULL, &bytes, &msg) != ERR_OK)
        fail_msg("restore: %s", msg.text);
    assert_true(bytes > 0);
}

/* What the restored store says of each id; must holds for those that it has to have, may for those that it could. */
static void check_restored(const struct place *p, uint64_t max, bool (*must)(void *, uint64_t),
                           bool (*may)(void *, uint64_t), void *ctx)
{
    struct rows_found f;
    uint64_t n = 0;
    for (int pass = 0; pass < 2; pass++) { /* as it comes up, and with everything sealed */
        struct tsdb *db = store(p->restored);
        struct err_msg msg = {""};
        if (pass == 1)
            assert_int_equal(tsdb_flush(db, true, &msg), ERR_OK);
        assert_int_equal(rows_find(db, max, &f), ERR_OK);
        assert_int_equal(f.altered + f.strange, 0);
        for (uint64_t i = 0; i < max; i++) {
            if (must(ctx, i) ? f.times[i] != 1 : f.times[i] > may(ctx, i))
                fail_msg("pass %d: row %llu is there %u times", pass, (unsigned long long)i,
                         f.times[i]);
        }
        assert_int_equal(f.cells, f.rows);
        if (f.counted != f.rows)
            fail_msg("pass %d: %llu rows are found and %llu counted", pass,
                     (unsigned long long)f.rows, (unsigned long long)f.counted);
        assert_true(pass == 0 || n == f.rows);
        n = f.rows;
        rows_found_done(&f);
        tsdb_close(db, pass == 0);
    }
}

static void next_round(const struct place *p)
{
    files_remove_tree(p->backup);
    files_remove_tree(p->restored);
}

/* --- while rows come in -------------------------------------------------------------------------- */

struct sender {
    struct tsdb *db;
    unsigned number;
    _Atomic uint64_t begun, acked; /* rows */
    uint64_t acked_before, begun_after;
};

static struct senders {
    struct sender of[SENDERS];
    _Atomic bool stop;
    _Atomic uint64_t allowed; /* rows each may have begun: so that a slow machine is not drowned */
} senders;

static void *send_rows(void *arg)
{
    struct sender *s = arg;
    while (!atomic_load(&senders.stop)) {
        uint64_t at = atomic_load(&s->begun);
        if (at >= atomic_load(&senders.allowed)) {
            clock_sleep_ms(1);
            continue;
        }
        struct tsdb_batch *b =
            rows_batch(tsdb_series(s->db), s->number * SPAN_OF_SENDER + at, BATCH, 0);
        atomic_store(&s->begun, at + BATCH);
        if (rows_append(s->db, b, NULL) != ERR_OK)
            abort();
        atomic_store(&s->acked, at + BATCH);
    }
    return NULL;
}

static void *seal_rows(void *arg)
{
    struct tsdb *db = arg;
    for (bool compact = false; !atomic_load(&senders.stop); compact = !compact) {
        struct err_msg msg = {""};
        if (tsdb_flush(db, compact, &msg) != ERR_OK)
            abort();
    }
    return NULL;
}

static bool was_acked(void *ctx, uint64_t id)
{
    const struct senders *s = ctx;
    return id % SPAN_OF_SENDER < s->of[id / SPAN_OF_SENDER].acked_before;
}

static bool was_begun(void *ctx, uint64_t id)
{
    const struct senders *s = ctx;
    return id % SPAN_OF_SENDER < s->of[id / SPAN_OF_SENDER].begun_after;
}

static void a_backup_under_load_has_every_acknowledged_row_once(void **state)
{
    struct place p;
    pthread_t threads[SENDERS + 1];
    place_make(&p);
    struct tsdb *db = store(p.data);
    senders = (struct senders){.allowed = 0};
    for (unsigned i = 0; i < SENDERS; i++) {
        senders.of[i].db = db;
        senders.of[i].number = i;
        assert_int_equal(pthread_create(&threads[i], NULL, send_rows, &senders.of[i]), 0);
    }
    assert_int_equal(pthread_create(&threads[SENDERS], NULL, seal_rows, db), 0);
    for (unsigned round = 1; round <= 2; round++) {
        uint64_t half = (uint64_t)round * 2000;
        atomic_store(&senders.allowed, half);
        while (atomic_load(&senders.of[0].acked) < half - 1000)
            clock_sleep_ms(1);
        for (unsigned i = 0; i < SENDERS; i++)
            senders.of[i].acked_before = atomic_load(&senders.of[i].acked);
        backup_ok(db, &p);
        for (unsigned i = 0; i < SENDERS; i++)
            senders.of[i].begun_after = atomic_load(&senders.of[i].begun);
        verify_ok(p.backup);
        restore_ok(&p);
        check_restored(&p, (uint64_t)SENDERS * SPAN_OF_SENDER, was_acked, was_begun, &senders);
        verify_ok(p.restored);
        next_round(&p);
    }
    atomic_store(&senders.stop, true);
    for (unsigned i = 0; i <= SENDERS; i++)
        pthread_join(threads[i], NULL);
    tsdb_close(db, false);
    files_remove_tree(p.dir);
}

/* --- at each step, everything else happens ------------------------------------------------------- */

static struct steps {
    struct tsdb *db;
    const char *_Atomic name; /* where */
    _Atomic unsigned countdown; /* at the n-th time */
    _Atomic uint64_t acked, next;
    _Atomic bool compact;
    _Atomic pthread_t thread; /* of the backup: flush meets fault points, too */
    enum err second;
    const char *second_target;
} steps;

static void meddle(const char *name)
{
    struct err_msg msg = {""};
    if (!steps.name || strcmp(name, steps.name) != 0 ||
        !pthread_equal(steps.thread, pthread_self()))
        return;
    if (--steps.countdown > 0)
        return;
    steps.name = NULL;
    for (int i = 0; i < 2; i++, steps.next += BATCH) {
        add(steps.db, steps.next, BATCH);
        if (tsdb_flush(steps.db, steps.compact, &msg) != ERR_OK)
            abort();
    }
    if (steps.second_target) {
        struct tsdb_backup_report r;
        steps.second = tsdb_backup_run(steps.db, steps.second_target, &quiet, &r, &msg);
    }
}

static bool step_acked(void *ctx, uint64_t id)
{
    (void)ctx;
    return id < steps.acked;
}

static bool step_sent(void *ctx, uint64_t id)
{
    (void)ctx;
    return id < steps.next;
}

static void rows_sealed_and_compacted_at_any_step_are_not_lost_or_doubled(void **state)
{
    static const char *const names[] = {"backup.before_state", "backup.before_journal",
                                        "backup.before_part", "backup.before_version"};
    struct place p;
    place_make(&p);
    struct tsdb *db = store(p.data);
    struct err_msg msg = {""};
    steps.name = NULL; /* one by one: the store's threads come by */
    steps.db = db;
    steps.thread = pthread_self();
    steps.acked = steps.next = 0;
    steps.second_target = NULL;
    fault_point_hook(meddle);
    for (size_t i = 0; i < ARRAY_LEN(names) * 2; i++) {
        add(db, steps.next, BATCH);
        steps.next += BATCH;
        if (i % 3 == 1)
            assert_int_equal(tsdb_flush(db, i % 2, &msg), ERR_OK);
        add(db, steps.next, BATCH);
        steps.next += BATCH;
        steps.acked = steps.next;
        steps.compact = i / 4 % 2;
        steps.countdown = i / 4 + 1;
        steps.name = names[i % 4];
        backup_ok(db, &p);
        steps.name = NULL;
        restore_ok(&p);
        check_restored(&p, steps.next + 1000, step_acked, step_sent, NULL);
        next_round(&p);
    }
    fault_point_hook(NULL);
    tsdb_close(db, false);
    files_remove_tree(p.dir);
}

struct neighbour {
    struct tsdb *db;
    pthread_t thread;
};

static void *append_and_seal(void *arg)
{
    struct neighbour *n = arg;
    for (unsigned i = 0; i < 20; i++) {
        struct err_msg msg = {""};
        if (rows_append(n->db, rows_batch(tsdb_series(n->db), i * BATCH, BATCH, 0), NULL) !=
                ERR_OK ||
            tsdb_flush(n->db, false, &msg) != ERR_OK)
            abort();
    }
    return NULL;
}

/* A restored store is looked at while the other goes on. */
static void stores_of_one_process_have_nothing_to_do_with_each_other(void **state)
{
    struct place p;
    struct neighbour n[2];
    place_make(&p);
    for (unsigned i = 0; i < 2; i++) {
        n[i].db = store(i ? p.restored : p.data);
        assert_int_equal(pthread_create(&n[i].thread, NULL, append_and_seal, &n[i]), 0);
    }
    for (unsigned i = 0; i < 2; i++)
        pthread_join(n[i].thread, NULL);
    for (unsigned i = 0; i < 2; i++) {
        struct rows_found f;
        assert_int_equal(rows_find(n[i].db, 20 * BATCH, &f), ERR_OK);
        assert_int_equal(f.rows, 20 * BATCH);
        assert_int_equal(f.counted, f.rows);
        assert_int_equal(f.cells, f.rows);
        rows_found_done(&f);
        tsdb_close(n[i].db, true);
        verify_ok(i ? p.restored : p.data);
    }
    files_remove_tree(p.dir);
    (void)state;
}

static void a_second_backup_at_the_same_time_is_refused(void **state)
{
    struct place p;
    char other[128];
    place_make(&p);
    struct tsdb *db = store(p.data);
    snprintf(other, sizeof(other), "%s/other", p.dir);
    add(db, 0, BATCH);
    steps = (struct steps){.db = db,
                           .name = "backup.before_journal",
                           .countdown = 1,
                           .next = BATCH,
                           .thread = pthread_self(),
                           .second_target = other,
                           .second = ERR_OK};
    fault_point_hook(meddle);
    backup_ok(db, &p);
    fault_point_hook(NULL);
    assert_int_equal(steps.second, ERR_CONFLICT);
    assert_false(exists(other));
    struct tsdb_backup_report r;
    struct err_msg msg;
    assert_int_equal(tsdb_backup_run(db, other, &quiet, &r, &msg), ERR_OK);
    tsdb_close(db, false);
    files_remove_tree(p.dir);
}

static void the_state_is_in_the_backup(void **state)
{
    struct place p;
    struct tsdb_state_write *w;
    struct bytes value;
    struct arena *a = arena_new(0);
    place_make(&p);
    struct tsdb *db = store(p.data);
    assert_int_equal(tsdb_state_begin(db, &w), ERR_OK);
    assert_int_equal(tsdb_state_put(w, "t", BYTES_LIT("k"), BYTES_LIT("before")), ERR_OK);
    assert_int_equal(tsdb_state_commit(w), ERR_OK);
    backup_ok(db, &p);
    assert_int_equal(tsdb_state_begin(db, &w), ERR_OK);
    assert_int_equal(tsdb_state_put(w, "t", BYTES_LIT("k"), BYTES_LIT("after")), ERR_OK);
    assert_int_equal(tsdb_state_commit(w), ERR_OK);
    tsdb_close(db, false);
    restore_ok(&p);
    db = store(p.restored);
    assert_int_equal(tsdb_state_get(db, "t", BYTES_LIT("k"), a, &value), ERR_OK);
    assert_true(bytes_equal(value, BYTES_LIT("before")));
    tsdb_close(db, false);
    arena_free(a);
    files_remove_tree(p.dir);
}

/* --- names --------------------------------------------------------------------------------------- */

static enum err try_backup(struct tsdb *db, const char *target)
{
    struct tsdb_backup_report r;
    struct err_msg msg = {""};
    enum err e = tsdb_backup_run(db, target, &quiet, &r, &msg);
    assert_true(e == ERR_OK || msg.text[0]);
    return e;
}

static void a_target_that_is_in_use_or_unfit_is_refused(void **state)
{
    struct place p;
    struct err_msg msg;
    char path[160];
    place_make(&p);
    struct tsdb *db = store(p.data);
    snprintf(path, sizeof(path), "%s/inside", p.data);
    assert_int_equal(try_backup(db, path), ERR_INVALID);
    assert_false(exists(path));
    assert_int_equal(try_backup(db, p.data), ERR_CONFLICT);
    snprintf(path, sizeof(path), "%s/.hidden", p.dir);
    assert_int_equal(try_backup(db, path), ERR_INVALID);
    assert_int_equal(try_backup(db, ""), ERR_INVALID);
    assert_int_equal(try_backup(db, "/"), ERR_INVALID);
    snprintf(path, sizeof(path), "%s/not/there", p.dir);
    assert_int_equal(try_backup(db, path), ERR_NOT_FOUND);
    snprintf(path, sizeof(path), "%s/file", p.dir);
    assert_int_equal(files_write(path, BYTES_LIT("x"), &msg), ERR_OK);
    assert_int_equal(try_backup(db, path), ERR_CONFLICT);
    assert_int_equal(files_make_dir(p.backup, &msg), ERR_OK); /* empty: fine, also with a slash */
    snprintf(path, sizeof(path), "%s/", p.backup);
    assert_int_equal(try_backup(db, path), ERR_OK);
    assert_int_equal(try_backup(db, p.backup), ERR_CONFLICT);
    tsdb_close(db, false);
    files_remove_tree(p.dir);
}

static enum err try_restore(const char *from, const char *to)
{
    struct err_msg msg = {""};
    uint64_t bytes;
    enum err e = tsdb_restore_run(from, to, NULL, NULL, &bytes, &msg);
    assert_true(e == ERR_OK || msg.text[0]);
    return e;
}

static void only_a_whole_backup_is_restored_and_only_into_nothing(void **state)
{
    struct place p;
    struct err_msg msg;
    char path[160];
    place_make(&p);
    struct tsdb *db = store(p.data);
    add(db, 0, BATCH);
    backup_ok(db, &p);
    assert_int_equal(try_restore(p.dir, p.restored), ERR_NOT_FOUND);
    assert_int_equal(try_restore(p.data, p.restored), ERR_NOT_FOUND); /* it is no backup */
    assert_int_equal(try_restore(p.backup, p.data), ERR_CONFLICT);
    assert_int_equal(files_make_dir(p.restored, &msg), ERR_OK);
    assert_int_equal(try_restore(p.backup, p.restored), ERR_OK);
    assert_int_equal(try_restore(p.backup, p.restored), ERR_CONFLICT);
    snprintf(path, sizeof(path), "%s/BACKUP", p.restored);
    assert_false(exists(path));
    snprintf(path, sizeof(path), "%s/VERSION", p.backup);
    assert_int_equal(files_write(path, BYTES_LIT("format=99 min_reader=98\n"), &msg), ERR_OK);
    files_remove_tree(p.restored);
    assert_int_equal(try_restore(p.backup, p.restored), ERR_UNSUPPORTED_MEDIA);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(try_restore(p.backup, p.restored), ERR_NOT_FOUND);
    snprintf(path, sizeof(path), "%s/BACKUP", p.backup);
    assert_int_equal(files_write(path, BYTES_LIT("backup=2 more\n"), &msg), ERR_OK);
    assert_int_equal(try_restore(p.backup, p.restored), ERR_UNSUPPORTED_MEDIA);
    assert_int_equal(files_write(path, BYTES_LIT("\0\0\0"), &msg), ERR_OK);
    assert_int_equal(try_restore(p.backup, p.restored), ERR_CORRUPT);
    assert_false(exists(p.restored));
    tsdb_close(db, false);
    files_remove_tree(p.dir);
}

/* --- what goes wrong ----------------------------------------------------------------------------- */

static struct {
    const char *_Atomic name;
    _Atomic unsigned countdown;
} death;

static void die_at(const char *name)
{
    if (strcmp(name, death.name) == 0 && pthread_equal(steps.thread, pthread_self()) &&
        --death.countdown == 0)
        _exit(DIED);
}

/* In a child: opens the store and dies when the backup is at that point for the n-th time; 0: it was not. */
static int backup_in_child(const struct place *p, const char *name, unsigned n)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct tsdb_options o = options_of(p->data);
        struct tsdb *db;
        struct tsdb_backup_report r;
        struct err_msg msg;
        if (tsdb_open(&o, &db, &msg) != ERR_OK)
            _exit(1);
        death.name = name;
        death.countdown = n;
        steps.thread = pthread_self();
        fault_point_hook(die_at);
        enum err e = tsdb_backup_run(db, p->backup, &quiet, &r, &msg);
        if (e != ERR_OK)
            fprintf(stderr, "%s %u: %s: %s\n", name, n, err_text(e), msg.text);
        _exit(e == ERR_OK ? 0 : 2);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static const char *in(const struct place *p, const char *name)
{
    static char path[160];
    snprintf(path, sizeof(path), "%s/%s", p->partial, name);
    return path;
}

/* true: it had the target's name, and was whole. */
static bool look_at_what_is_left(const struct place *p)
{
    struct tsdb_options o = options_of(p->partial);
    struct tsdb *db;
    struct err_msg msg;
    if (exists(p->backup)) {
        restore_ok(p);
        check_restored(p, steps.next, step_acked, step_sent, NULL);
        next_round(p);
        return true;
    }
    bool has_rows = exists(in(p, "state"));
    assert_true(exists(p->partial));
    if (exists(in(p, "VERSION"))) { /* only its name is missing */
        assert_true(exists(in(p, "BACKUP")));
        return false;
    }
    assert_int_not_equal(try_restore(p->partial, p->restored), ERR_OK);
    if (has_rows) /* nobody can start on it by mistake */
        assert_int_equal(tsdb_open(&o, &db, &msg), ERR_CORRUPT);
    return false;
}

static void what_a_death_leaves_is_not_taken_for_a_backup(void **state)
{
    static const char *const names[] = {
        "backup.before_state", "backup.before_journal", "backup.before_part",
        "part.before_rename",  "part.after_rename",     "txn.before_commit",
        "txn.after_commit",    "backup.before_version", "partial.before_rename"};
    struct place p;
    struct err_msg msg = {""};
    place_make(&p);
    struct tsdb *db = store(p.data);
    for (steps.next = 0; steps.next < 600; steps.next += BATCH) {
        add(db, steps.next, BATCH);
        if (steps.next == 200)
            assert_int_equal(tsdb_flush(db, false, &msg), ERR_OK);
    }
    steps.acked = steps.next;
    tsdb_close(db, false);
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        for (unsigned n = 1; n < 5; n += 3) {
            int status = backup_in_child(&p, names[i], n);
            assert_int_equal(status, n == 1 ? DIED : status);
            if (status == DIED)
                assert_false(look_at_what_is_left(&p));
            next_round(&p);
            if (status != DIED)
                break;
        }
    assert_int_equal(backup_in_child(&p, "partial.after_rename", 1), DIED);
    assert_true(look_at_what_is_left(&p));
    assert_int_equal(backup_in_child(&p, "never", 1), 0);
    assert_false(exists(p.partial)); /* this attempt removed what was left, and went through */
    restore_ok(&p);
    check_restored(&p, steps.next, step_acked, step_sent, NULL);
    files_remove_tree(p.dir);
}

static void expect_failed_cleanly(struct tsdb *db, const struct place *p, uint64_t rows)
{
    struct rows_found f;
    assert_false(exists(p->backup));
    assert_false(exists(p->partial));
    assert_int_equal(rows_find(db, rows, &f), ERR_OK);
    assert_int_equal(f.rows, rows);
    rows_found_done(&f);
}

static void every_failing_call_leaves_nothing_and_the_store_as_it_was(void **state)
{
    struct place p;
    struct err_msg msg = {""};
    struct tsdb_backup_report r;
    struct rows_found f;
    place_make(&p);
    struct tsdb *db = store(p.data);
    add(db, 0, BATCH);
    assert_int_equal(tsdb_flush(db, false, &msg), ERR_OK);
    add(db, BATCH, BATCH);
    assert_int_equal(rows_find(db, 2 * BATCH, &f), ERR_OK); /* parts are open: only writing fails */
    rows_found_done(&f);
    for (int kind = 0; kind < 3; kind++) {
        unsigned failures = 0;
        for (uint64_t n = 1;; n += kind == 1 ? 19 : 5) {
            lmdb_env_fault_is(kind == 1 ? LMDB_ENV_FULL : LMDB_ENV_FAIL);
            (void)(kind < 2 ? lmdb_env_fail_at(n) : files_test_fail_at(n, false));
            enum err e = tsdb_backup_run(db, p.backup, &quiet, &r, &msg);
            (void)lmdb_env_fail_at(0);
            (void)files_test_fail_at(0, false);
            if (e == ERR_OK)
                break;
            failures++;
            assert_true(e == ERR_IO || e == ERR_FULL);
            expect_failed_cleanly(db, &p, 2 * BATCH);
            assert_true(n < 1000);
        }
        assert_true(failures > 3);
        print_message("kind %d: %u failures\n", kind, failures);
        steps.acked = steps.next = 2 * BATCH;
        restore_ok(&p);
        check_restored(&p, steps.next, step_acked, step_sent, NULL);
        next_round(&p);
    }
    tsdb_close(db, false);
    files_remove_tree(p.dir);
}

static _Atomic uint64_t free_now;

static uint64_t told_free(const char *path, uint64_t *out_total)
{
    (void)path;
    *out_total = 64u << 20;
    return atomic_load(&free_now);
}

static void a_backup_for_which_there_is_no_room_is_not_begun(void **state)
{
    struct place p;
    struct err_msg msg = {""};
    struct tsdb_backup_report r;
    place_make(&p);
    atomic_store(&free_now, 32u << 20);
    files_test_set_free(told_free);
    struct tsdb *db = store(p.data);
    add(db, 0, BATCH);
    assert_int_equal(tsdb_flush(db, false, &msg), ERR_OK);
    atomic_store(&free_now, 8u << 20); /* the reserve, and not a byte more */
    assert_int_equal(tsdb_backup_run(db, p.backup, &quiet, &r, &msg), ERR_FULL);
    assert_non_null(strstr(msg.text, "MiB left"));
    assert_false(exists(p.partial));
    atomic_store(&free_now, 32u << 20);
    assert_int_equal(tsdb_backup_run(db, p.backup, &quiet, &r, &msg), ERR_OK);
    tsdb_close(db, false);
    files_test_set_free(NULL);
    files_remove_tree(p.dir);
}

/* At the first look there seems to be room; then it is gone. */
static uint64_t lie(const char *path, uint64_t *out_total)
{
    *out_total = 64u << 20;
    return strstr(path, ".partial-") ? 32u << 20 : 0;
}

static bool stop_it(void *ctx, const struct tsdb_backup_report *so_far)
{
    (void)ctx;
    (void)so_far;
    return false;
}

static void a_backup_can_be_stopped(void **state)
{
    struct place p;
    struct err_msg msg = {""};
    struct tsdb_backup_report r;
    struct tsdb_backup_sink sink = {NULL, stop_it, NULL};
    place_make(&p);
    struct tsdb *db = store(p.data);
    for (uint64_t i = 0; i < 120; i++) /* some MiB */
        add(db, i * 2000, 2000);
    assert_int_equal(tsdb_backup_run(db, p.backup, &sink, &r, &msg), ERR_CANCELLED);
    expect_failed_cleanly(db, &p, 240000);
    tsdb_close(db, false);
    files_remove_tree(p.dir);
}

static void a_disk_that_fills_up_ends_the_backup_and_is_as_it_was(void **state)
{
    struct place p;
    struct err_msg msg = {""};
    struct tsdb_backup_report r;
    char mounted[80], target[128], partial[128];
    uint64_t total;
    place_make(&p);
    snprintf(mounted, sizeof(mounted), "%s/small", p.dir);
    snprintf(target, sizeof(target), "%s/copy", mounted);
    snprintf(partial, sizeof(partial), "%s/.partial-copy", mounted);
    assert_int_equal(files_make_dir(mounted, &msg), ERR_OK);
    if (mount("none", mounted, "tmpfs", 0, "size=1m") != 0) {
        files_remove_tree(p.dir);
        print_message("left out: no permission to mount a small file system\n");
        skip();
    }
    struct tsdb *db = store(p.data);
    for (uint64_t i = 0; i < 40; i++) {
        add(db, i * 2000, 2000);
        if (i == 20)
            assert_int_equal(tsdb_flush(db, false, &msg), ERR_OK);
    }
    uint64_t before = files_free_bytes(mounted, &total);
    files_test_set_free(lie);
    enum err e = tsdb_backup_run(db, target, &quiet, &r, &msg);
    files_test_set_free(NULL);
    print_message("%s: %s\n", err_text(e), msg.text);
    assert_int_equal(e, ERR_FULL);
    assert_false(exists(target));
    assert_false(exists(partial));
    assert_int_equal(files_free_bytes(mounted, &total), before);
    e = tsdb_backup_run(db, target, &quiet, &r, &msg);
    assert_int_equal(e, ERR_FULL);
    struct rows_found f;
    assert_int_equal(rows_find(db, 80000, &f), ERR_OK);
    assert_int_equal(f.rows, 80000);
    rows_found_done(&f);
    tsdb_close(db, false);
    assert_int_equal(umount(mounted), 0);
    files_remove_tree(p.dir);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--verify") == 0)
        return verify(argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_sealed_and_compacted_at_any_step_are_not_lost_or_doubled),
        cmocka_unit_test(a_backup_under_load_has_every_acknowledged_row_once),
        cmocka_unit_test(stores_of_one_process_have_nothing_to_do_with_each_other),
        cmocka_unit_test(a_second_backup_at_the_same_time_is_refused),
        cmocka_unit_test(the_state_is_in_the_backup),
        cmocka_unit_test(a_target_that_is_in_use_or_unfit_is_refused),
        cmocka_unit_test(only_a_whole_backup_is_restored_and_only_into_nothing),
        cmocka_unit_test(what_a_death_leaves_is_not_taken_for_a_backup),
        cmocka_unit_test(every_failing_call_leaves_nothing_and_the_store_as_it_was),
        cmocka_unit_test(a_backup_for_which_there_is_no_room_is_not_begun),
        cmocka_unit_test(a_backup_can_be_stopped),
        cmocka_unit_test(a_disk_that_fills_up_ends_the_backup_and_is_as_it_was),
    };
    log_set_level(LOG_LEVEL_ERROR);
    if (argc == 2)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
