/* The proof by SIGKILL at named places (base/fault_point.h): a story is run again and again, each time in a process that kills itself when it
 * comes to a place for the n-th time; then, every second time, one that kills itself while it recovers; then all that was acknowledged is
 * looked for.
 *
 *   kill_points [--times N] [--place NAME] [--expect-loss]        (TELLTALE_KILL_TIMES in the environment is N, too)
 *
 * Each place is met N times at different moments of the story (fewer where the story does not come by so often, but at least once, or the
 * proof fails). --expect-loss turns the verdict round for the seeded defect.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "base/fault_point.h"
#include "base/log.h"
#include "tests/faults/fault_ledger.h"
#include "tests/faults/slice.h"
#include "tsdb/files.h"

#define CHILD_SECONDS 600 /* a hang is told, a busy machine is not taken for one */

static const char *const places[] = {
    "commit.begin",           "commit.before_write",     "txn.put",
    "txn.before_commit",      "txn.after_commit",        "commit.before_publish",
    "commit.before_answer",   "commit.after_answer",     "rotate.before_journal",
    "rotate.after_journal",   "journal.before_rename",   "journal.after_rename",
    "journal.before_remove",  "journal.before_unlink",   "journal.after_remove",
    "part.before_rename",     "part.after_rename",       "flush.before_seal",
    "flush.after_seal",       "flush.before_state",      "flush.after_state",
    "compact.before_seal",    "compact.before_exchange", "compact.after_exchange",
    "compact.between_seals",  "retention.before_rename", "retention.after_rename",
    "open.before_recover",    "open.after_recover",      "compact.before_mark",
    "retention.before_count",
};

struct shared { /* between processes */
    _Atomic uint64_t met[ARRAY_LEN(places)];
    uint64_t kill_at; /* 0 = never */
    char kill_place[32]; /* empty: any place */
    _Atomic uint64_t met_any;
};

static struct shared *shared;

static void come_by(const char *name)
{
    uint64_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(places); i++)
        if (strcmp(places[i], name) == 0) {
            n = atomic_fetch_add(&shared->met[i], 1) + 1;
            break;
        }
    if (!shared->kill_place[0])
        n = atomic_fetch_add(&shared->met_any, 1) + 1;
    else if (strcmp(shared->kill_place, name) != 0)
        return;
    if (shared->kill_at && n == shared->kill_at)
        kill(getpid(), SIGKILL);
}

static void aim(const char *place, uint64_t at)
{
    memset(shared, 0, sizeof(*shared));
    snprintf(shared->kill_place, sizeof(shared->kill_place), "%s", place);
    shared->kill_at = at;
}

enum ended { ENDED_WELL, ENDED_KILLED, ENDED_BADLY };

static enum ended wait_for(pid_t child)
{
    int status;
    if (child < 0 || waitpid(child, &status, 0) != child)
        return ENDED_BADLY;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        return ENDED_KILLED;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? ENDED_WELL : ENDED_BADLY;
}

static enum ended run_story(struct ledger *l, const char *dir)
{
    pid_t child = fork();
    if (child == 0) {
        enum err e;
        alarm(CHILD_SECONDS);
        fault_point_hook(come_by);
        (void)ledger_story(l, dir, &e);
        _exit(e == ERR_OK ? 0 : 1);
    }
    return wait_for(child);
}

static enum ended run_recovery(const char *dir)
{
    pid_t child = fork();
    if (child == 0) {
        struct tsdb_options o = ledger_options(dir);
        struct tsdb *db;
        struct err_msg msg;
        alarm(CHILD_SECONDS);
        fault_point_hook(come_by);
        if (tsdb_open(&o, &db, &msg) != ERR_OK)
            _exit(1);
        tsdb_close(db, true);
        _exit(0);
    }
    return wait_for(child);
}

static bool look(struct ledger *l, const char *dir, const char *where)
{
    pid_t child = fork();
    if (child == 0) {
        struct tsdb_options o = ledger_options(dir);
        struct tsdb *db;
        struct err_msg msg;
        alarm(CHILD_SECONDS);
        atomic_store(&l->waiting, 0);
        if (tsdb_open(&o, &db, &msg) != ERR_OK) {
            fprintf(stderr, "%s: does not open: %s\n", where, msg.text);
            _exit(1);
        }
        bool ok = ledger_check(l, db, LEDGER_STORY_MAX, where);
        ok = ok && ledger_send(l, db, LEDGER_STORY_MAX) == ERR_OK;
        if (ok)
            ledger_wait(l);
        ok = ok && tsdb_flush(db, true, &msg) == ERR_OK &&
             ledger_check(l, db, LEDGER_STORY_MAX + 1, where);
        tsdb_close(db, false);
        _exit(ok ? 0 : 1);
    }
    return wait_for(child) == ENDED_WELL;
}

/* One life, perhaps a second one, and the comparison. */
static bool cycle(const char *base, const char *place, uint64_t at, uint64_t again_at)
{
    char dir[160], where[96];
    struct ledger *l = ledger_new();
    CHECK(l);
    snprintf(dir, sizeof(dir), "%s/data", base);
    snprintf(where, sizeof(where), "%s %llu/%llu", place, (unsigned long long)at,
             (unsigned long long)again_at);
    aim(place, at);
    enum ended how = run_story(l, dir);
    bool ok = how != ENDED_BADLY;
    ledger_clock(atomic_load(&l->is_retention) ? 3 : 0);
    if (ok && again_at) {
        aim("", again_at);
        ok = run_recovery(dir) != ENDED_BADLY;
    }
    if (!ok)
        fprintf(stderr, "%s: a life ended badly\n", where);
    ok = ok && look(l, dir, where);
    files_remove_tree(dir);
    ledger_free(l);
    return ok;
}

int main(int argc, char **argv)
{
    const char *from_env = getenv("TELLTALE_KILL_TIMES");
    uint64_t times = from_env ? strtoull(from_env, NULL, 10) : 4, hits[ARRAY_LEN(places)];
    bool expect_loss = false, goes_on = true;
    const char *only = NULL;
    char base[96];
    unsigned cycles = 0, failed = 0, unmet = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--times") == 0 && i + 1 < argc)
            times = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--place") == 0 && i + 1 < argc)
            only = argv[++i];
        else if (strcmp(argv[i], "--expect-loss") == 0)
            expect_loss = true;
    }
    snprintf(base, sizeof(base), "%s/telltale-points-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || !mkdtemp(base))
        return 2;
    log_set_level(LOG_LEVEL_ERROR);
    if (!cycle(base, "-", 0, 0)) { /* how often the story comes by each place */
        fprintf(stderr, "kill_points: the story fails by itself\n");
        return 2;
    }
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        hits[i] = atomic_load(&shared->met[i]);
        if (hits[i] == 0)
            fprintf(stderr, "kill_points: %s is never met\n", places[i]);
        unmet += hits[i] == 0;
    }
    struct slice *slice = slice_new("kill points", "kill of each place", 0, 1);
    for (uint64_t n = slice_from(slice); n < times && (goes_on = slice_goes_on(slice, 0, n)); n++)
        for (size_t i = 0; i < ARRAY_LEN(places); i++) {
            if (!hits[i] || (only && strcmp(only, places[i]) != 0))
                continue;
            /* First, last, and between; more times than hits: the same moments with other second lives. */
            uint64_t at = times > 1 ? 1 + n * (hits[i] - 1) / (times - 1) : 1;
            failed += !cycle(base, places[i], at, n % 2 ? 1 + (n * 7 + i * 3) % 41 : 0);
            cycles++;
        }
    if (goes_on)
        slice_ended(slice, 0);
    printf("kill points: %zu places, %u kills: %u failed\n", only ? 1 : ARRAY_LEN(places), cycles,
           failed);
    slice_done(slice);
    files_remove_tree(base);
    if (unmet)
        return 2;
    return expect_loss ? failed == 0 : failed != 0;
}
