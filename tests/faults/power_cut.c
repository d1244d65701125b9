/* The proof against power cuts: a story is recorded call by call, and the disk is put into states that a cut may leave behind; each must
 * open, hold what was acknowledged by then once, and of everything else all or nothing.
 *
 *   power_cut [--states N] [--jobs N] [--seed N] [--expect-loss] [--only POINT.VARIANT]     (TELLTALE_STATES in the environment is N, too)
 *
 * A cut is tried before every recorded call (every n-th, where N is small): with nothing that was not synced, with all of it, and with random subsets. States
 * that come out the same (as they do where little is pending) are looked at once. Every 32nd also takes a new request, is flushed, compacted, closed and looked at again. --expect-loss turns the verdict round for a seeded defect.
 */
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "tests/faults/disk_model.h"
#include "tests/faults/fault_ledger.h"
#include "tests/faults/slice.h"
#include "tsdb/dedup.h"
#include "tsdb/files.h"

#define LOG_BYTES (1ull << 30)
#define DEEP_EVERY 32u
#define STATE_SECONDS 300 /* a hang is told, a busy machine is not taken for one */
#define SHOWN_MAX 20u /* failed states whose reasons are printed */

struct options {
    uint64_t states, seed;
    unsigned jobs;
    bool expect_loss;
    long only_point, only_variant; /* -1 = all */
};

struct tally { /* shared between processes */
    _Atomic uint64_t states, distinct, failed, deep;
};

struct run {
    struct options o;
    struct io_log *log;
    uint64_t points;
    uint32_t requests;
    struct tally *tally;
    struct slice *slice; /* its steps are points */
    char dir[96];
};

/* --- the recording ------------------------------------------------------------------------------- */

static void mark(uint32_t what, uint32_t said)
{
    record_io_mark(what, said);
}

static bool record(struct run *r)
{
    char root[128], data[160];
    struct err_msg msg;
    snprintf(root, sizeof(root), "%s/story", r->dir);
    snprintf(data, sizeof(data), "%s/data", root);
    if (files_make_dir(root, &msg) != ERR_OK)
        return false;
    pid_t child = fork();
    if (child == 0) {
        struct ledger *l = ledger_new();
        enum err e = ERR_NOMEM;
        CHECK(l);
        l->watch = mark;
        record_io_begin(root, r->log);
        uint32_t n = ledger_story(l, data, &e);
        bool ok = e == ERR_OK;
        for (uint32_t i = 0; i < n; i++)
            ok &= atomic_load(&l->said[i]) == LEDGER_STORED;
        record_io_end();
        if (!ok)
            fprintf(stderr, "power_cut: the story itself failed: %s\n", err_text(e));
        _exit(ok && n < 100 ? (int)n : 200);
    }
    int status;
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status) ||
        WEXITSTATUS(status) >= 100)
        return false;
    r->requests = (uint32_t)WEXITSTATUS(status);
    files_remove_tree(root);
    size_t at = 0;
    const uint8_t *payload;
    for (const struct io_event *e; (e = io_log_next(r->log, &at, &payload));)
        r->points += e->kind != IO_MARK;
    return true;
}

/* --- one state ----------------------------------------------------------------------------------- */

struct point {
    uint64_t number;
    struct ledger *l; /* what was answered by then */
};

static bool look_deeper(struct ledger *l, struct tsdb **db, uint32_t requests, const char *dir,
                        const char *where)
{
    struct tsdb_options o = ledger_options(dir);
    struct err_msg msg = {""};
    enum err e = ledger_send(l, *db, requests);
    if (e == ERR_OK)
        ledger_wait(l);
    if (e != ERR_OK || atomic_load(&l->said[requests]) != LEDGER_STORED ||
        (e = tsdb_flush(*db, true, &msg)) != ERR_OK) {
        fprintf(stderr, "%s: does not go on: %s %s\n", where, err_text(e), msg.text);
        return false;
    }
    if (!ledger_check(l, *db, requests + 1, where))
        return false;
    tsdb_close(*db, false);
    *db = NULL;
    e = tsdb_open(&o, db, &msg);
    if (e != ERR_OK)
        fprintf(stderr, "%s: does not open a second time: %s\n", where, msg.text);
    return e == ERR_OK && ledger_check(l, *db, requests + 1, where);
}

/* In a child: 0 = as promised. */
static int look(const struct run *r, const struct point *p, const char *dir, const char *where,
                bool deep)
{
    char data[160];
    struct tsdb *db = NULL;
    struct err_msg msg = {""};
    alarm(STATE_SECONDS);
    ledger_clock(atomic_load(&p->l->is_retention) ? 3 : 0);
    snprintf(data, sizeof(data), "%s/data", dir);
    struct tsdb_options o = ledger_options(data);
    if (tsdb_open(&o, &db, &msg) != ERR_OK) {
        fprintf(stderr, "%s: does not open: %s\n", where, msg.text);
        return 1;
    }
    bool ok = ledger_check(p->l, db, r->requests, where);
    if (ok && deep)
        ok = look_deeper(p->l, &db, r->requests, data, where);
    return ok ? 0 : 1;
}

static bool try_state(const struct run *r, struct disk_model *m, const struct point *p,
                      uint64_t variant, const struct disk_choice *c, const char *dir)
{
    char where[96];
    snprintf(where, sizeof(where), "state %llu.%llu", (unsigned long long)p->number,
             (unsigned long long)variant);
    disk_model_write(m, c, dir);
    bool deep = atomic_fetch_add(&r->tally->distinct, 1) % DEEP_EVERY == 0;
    atomic_fetch_add(&r->tally->deep, deep);
    bool silent = atomic_load(&r->tally->failed) >= SHOWN_MAX || r->o.expect_loss;
    pid_t child = fork();
    if (child == 0) {
        if (silent && !freopen("/dev/null", "w", stderr))
            _exit(2);
        _exit(look(r, p, dir, where, deep));
    }
    int status;
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    if (WIFSIGNALED(status) && !silent)
        fprintf(stderr, "%s: signal %d\n", where, WTERMSIG(status));
    if (!silent)
        fprintf(stderr, "%s: writes %u %%, names %u %%, pieces of %u\n", where, c->write_percent,
                c->name_percent, c->piece);
    atomic_fetch_add(&r->tally->failed, 1);
    return false;
}

static struct disk_choice choice_of(uint64_t seed, uint64_t point, uint64_t variant)
{
    static const uint32_t percents[] = {0, 10, 50, 90, 100};
    struct disk_choice c = {.seed = seed * 1000003 + point * 7919 + variant,
                            .piece = variant & 1 ? 512 : 4096};
    uint64_t h = c.seed * 0x9e3779b97f4a7c15u;
    c.write_percent = variant < 2 ? (uint32_t)variant * 100 : percents[(h >> 40) % 5];
    c.name_percent = variant < 2 ? (uint32_t)variant * 100 : percents[(h >> 50) % 5];
    return c;
}

/* --- all of them --------------------------------------------------------------------------------- */

static void note(struct ledger *l, const struct io_event *e)
{
    if (e->offset == LEDGER_RETENTION)
        atomic_store(&l->is_retention, true);
    else
        atomic_store(&l->said[e->offset], (uint8_t)e->inode);
}

/* The same bytes under the same promises: looked at before? */
static bool is_seen(struct dedup_rows *seen, struct disk_model *m, const struct disk_choice *c,
                    const struct ledger *l, struct hash128 *out)
{
    struct hash128 parts[2] = {disk_model_hash(m, c), hash128(bytes_of(l, sizeof(*l)), 0)};
    *out = hash128(bytes_of(parts, sizeof(parts)), 0);
    return dedup_rows_has(seen, *out);
}

static void work(const struct run *r, unsigned job)
{
    bool goes_on = true;
    struct dedup_rows seen = {0};
    struct hash128 h;
    bool is_new;
    char dir[128];
    struct point p = {.l = ledger_new()};
    struct ledger *copy = ledger_new();
    struct disk_model *m = disk_model_new(r->log->root);
    size_t at = 0;
    const uint8_t *payload;
    uint64_t points = MAX(r->points, 1), variants = MAX(r->o.states / points, 2);
    uint64_t stride = MAX(points * 2 / MAX(r->o.states, 1), 1); /* a short run skips points */
    CHECK(p.l && copy);
    snprintf(dir, sizeof(dir), "%s/job%u", r->dir, job);
    for (const struct io_event *e; goes_on && (e = io_log_next(r->log, &at, &payload));) {
        if (e->kind == IO_MARK) {
            note(p.l, e);
            continue;
        }
        uint64_t here = disk_model_pending(m) ? variants : 1; /* nothing to choose: one state */
        if (((p.number + r->o.seed) % stride != 0 || p.number < slice_from(r->slice)) &&
            r->o.only_point < 0)
            here = 0;
        for (uint64_t v = 0; v < here && (goes_on = slice_goes_on(r->slice, job, p.number)); v++) {
            if (r->o.only_point >= 0 &&
                ((uint64_t)r->o.only_point != p.number || (uint64_t)r->o.only_variant != v))
                continue;
            struct disk_choice c = choice_of(r->o.seed, p.number, v);
            bool again = is_seen(&seen, m, &c, p.l, &h);
            if (h.lo % r->o.jobs != job)
                continue; /* another process' */
            atomic_fetch_add(&r->tally->states, 1);
            if (again)
                continue;
            CHECK(dedup_rows_add(&seen, h, &is_new));
            memcpy(copy, p.l, sizeof(*copy)); /* the state's own requests are noted there */
            try_state(r, m, &(struct point){p.number, copy}, v, &c, dir);
        }
        disk_model_play(m, e, payload);
        p.number++;
    }
    if (goes_on)
        slice_ended(r->slice, job);
    files_remove_tree(dir);
    disk_model_free(m);
    dedup_rows_done(&seen);
    ledger_free(p.l);
    ledger_free(copy);
}

static struct options options_read(int argc, char **argv)
{
    struct options o = {.states = 800, .seed = 1, .jobs = 2, .only_point = -1, .only_variant = -1};
    const char *from_env = getenv("TELLTALE_STATES");
    if (from_env)
        o.states = strtoull(from_env, NULL, 10);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--states") == 0 && i + 1 < argc)
            o.states = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
            o.seed = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--jobs") == 0 && i + 1 < argc)
            o.jobs = (unsigned)strtoul(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc)
            sscanf(argv[++i], "%ld.%ld", &o.only_point, &o.only_variant);
        else if (strcmp(argv[i], "--expect-loss") == 0)
            o.expect_loss = true;
    }
    if (o.only_point >= 0 || o.jobs == 0)
        o.jobs = 1;
    return o;
}

int main(int argc, char **argv)
{
    struct run r = {.o = options_read(argc, argv), .log = io_log_new(LOG_BYTES)};
    r.tally =
        mmap(NULL, sizeof(*r.tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    snprintf(r.dir, sizeof(r.dir), "%s/telltale-cut-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!r.log || r.tally == MAP_FAILED || !mkdtemp(r.dir))
        return 2;
    log_set_level(LOG_LEVEL_ERROR);
    /* LMDB takes 2 MiB of zeros at each open; from the heap they would have to be written. */
    (void)mallopt(M_MMAP_THRESHOLD, 256 << 10);
    if (!record(&r))
        return 2;
    r.slice = slice_new("power cuts", "call", 0, r.o.jobs);
    int64_t begin = clock_mono_ns();
    bool died = false;
    for (unsigned job = 0; job < r.o.jobs; job++) {
        pid_t child = fork();
        if (child == 0) {
            work(&r, job);
            _exit(0);
        }
        died |= child < 0;
    }
    for (int status; wait(&status) > 0;)
        died |= !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    double seconds = (double)(clock_mono_ns() - begin) / 1e9;
    uint64_t states = atomic_load(&r.tally->states), failed = atomic_load(&r.tally->failed),
             distinct = atomic_load(&r.tally->distinct);
    printf(
        "power cuts: %llu calls, %u requests, %llu states, %llu of them distinct (%llu looked at "
        "twice), %.0f a second: %llu failed\n",
        (unsigned long long)r.points, r.requests, (unsigned long long)states,
        (unsigned long long)distinct, (unsigned long long)atomic_load(&r.tally->deep),
        (double)states / seconds, (unsigned long long)failed);
    slice_done(r.slice);
    files_remove_tree(r.dir);
    if (died || states == 0)
        return 2;
    return r.o.expect_loss ? failed == 0 : failed != 0;
}
