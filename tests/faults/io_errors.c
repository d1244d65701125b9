/* The proof against a disk that fails: the n-th write, sync or change of a name fails, once or from then on, in a story or while a store
 * recovers, for n = 1, 2, 3 ... until a run has no such call. What was acknowledged must be there after a restart, also if the power went
 * with it: the disk then holds what was synced, and nothing else.
 *
 *   io_errors [--step PERCENT] [--expect-loss]        (TELLTALE_STEP in the environment is PERCENT, too; 0 = every n)
 */
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "tests/faults/disk_model.h"
#include "tests/faults/fault_child.h"
#include "tests/faults/slice.h"
#include "tsdb/files.h"

#define LOG_BYTES (512ull << 20)
#define JOBS 5u /* most of their time is waiting between attempts */

static const struct kind {
    enum io_class class;
    int error; /* 0: a short write */
    const char *name;
} kinds[] = {
    {IO_CLASS_WRITE, EIO, "write: EIO"},     {IO_CLASS_WRITE, ENOSPC, "write: ENOSPC"},
    {IO_CLASS_WRITE, 0, "write: short"},     {IO_CLASS_SYNC, EIO, "sync: EIO"},
    {IO_CLASS_NAME, ENOSPC, "name: ENOSPC"},
};

struct tally { /* shared */
    _Atomic unsigned runs, failed;
    _Atomic uint64_t calls[JOBS];
};

struct walk {
    char root[96], data[128], cut[128], cut_data[160];
    struct io_log *log;
    struct ledger *l;
    struct io_fault fault;
    bool in_recovery;
    _Atomic uint64_t *calls; /* shared */
    struct tally *tally;
};

static int story(void *ctx)
{
    struct walk *w = ctx;
    enum err e;
    record_io_begin(w->root, w->log);
    if (!w->in_recovery)
        record_io_fail(&w->fault);
    (void)ledger_story(w->l, w->data, &e);
    atomic_store(w->calls, record_io_calls());
    return 0; /* errors are what it is for; what they did is looked at later */
}

static int recovery(void *ctx)
{
    struct walk *w = ctx;
    struct tsdb_options o = ledger_options(w->data);
    struct tsdb *db;
    struct err_msg msg;
    record_io_begin(w->root, w->log);
    record_io_fail(&w->fault);
    atomic_store(&w->l->waiting, 0);
    if (tsdb_open(&o, &db, &msg) == ERR_OK) {
        if (ledger_send(w->l, db, LEDGER_STORY_MAX - 1) == ERR_OK)
            ledger_wait(w->l);
        tsdb_close(db, true);
    }
    atomic_store(w->calls, record_io_calls());
    return 0;
}

/* One n. Returns whether the call was come to. */
static bool try_one(struct walk *w, const char *name)
{
    char where[128];
    struct err_msg msg;
    snprintf(where, sizeof(where), "%s%s, %s %llu", w->in_recovery ? "recovery, " : "", name,
             w->fault.forever ? "from" : "at", (unsigned long long)w->fault.at);
    files_remove_tree(w->root);
    CHECK(files_make_dir(w->root, &msg) == ERR_OK);
    memset(w->l, 0, sizeof(*w->l));
    atomic_store(&w->log->used, 0);
    bool ok = fault_child_run(story, w, where);
    if (w->in_recovery)
        ok = ok && fault_child_run(recovery, w, where);
    disk_model_cut(w->log, w->cut);
    struct ledger *copy = ledger_new();
    CHECK(copy);
    memcpy(copy, w->l, sizeof(*copy));
    ok = ok && fault_child_look(copy, w->cut_data, where) && fault_child_look(w->l, w->data, where);
    ledger_free(copy);
    atomic_fetch_add(&w->tally->runs, 1);
    atomic_fetch_add(&w->tally->failed, !ok);
    return atomic_load(w->calls) >= w->fault.at;
}

static int work(struct tally *tally, struct slice *slice, const char *base, unsigned job,
                uint64_t percent)
{
    bool has_ended[ARRAY_LEN(kinds) * 4] = {false}, any = true;
    struct walk w = {.log = io_log_new(LOG_BYTES), .l = ledger_new(), .tally = tally};
    if (!w.log || !w.l)
        return 2;
    w.calls = &tally->calls[job];
    snprintf(w.root, sizeof(w.root), "%s/%u-story", base, job);
    snprintf(w.data, sizeof(w.data), "%s/data", w.root);
    snprintf(w.cut, sizeof(w.cut), "%s/%u-cut", base, job);
    snprintf(w.cut_data, sizeof(w.cut_data), "%s/data", w.cut);
    for (uint64_t n = slice_from(slice); any; n = fault_child_step(n, percent)) {
        any = false;
        for (unsigned i = 0; i < ARRAY_LEN(kinds) * 4; i++) {
            const struct kind *k = &kinds[i / 4];
            if (i % JOBS != job || has_ended[i])
                continue;
            if (!slice_goes_on(slice, job, n))
                return 0;
            w.in_recovery = i & 2;
            w.fault = (struct io_fault){k->class, n, i & 1, k->error};
            has_ended[i] = !try_one(&w, k->name);
            any |= !has_ended[i];
        }
    }
    slice_ended(slice, job);
    return 0;
}

int main(int argc, char **argv)
{
    const char *from_env = getenv("TELLTALE_STEP");
    uint64_t percent = from_env ? strtoull(from_env, NULL, 10) : 60;
    bool expect_loss = false, died = false;
    struct tally *t =
        mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    char base[64];
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--step") == 0 && i + 1 < argc)
            percent = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--expect-loss") == 0)
            expect_loss = true;
    }
    snprintf(base, sizeof(base), "%s/telltale-io-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (t == MAP_FAILED || !mkdtemp(base))
        return 2;
    log_set_level((enum log_level) - 1); /* nothing: what fails here is meant to */
    (void)mallopt(M_MMAP_THRESHOLD, 256 << 10); /* see power_cut.c */
    struct slice *slice = slice_new("failing calls", "call", 1, JOBS);
    for (unsigned job = 0; job < JOBS; job++) {
        pid_t child = fork();
        if (child == 0)
            _exit(work(t, slice, base, job, percent));
        died |= child < 0;
    }
    for (int status; wait(&status) > 0;)
        died |= !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    unsigned failed = atomic_load(&t->failed);
    printf("failing calls: %u runs: %u failed\n", atomic_load(&t->runs), failed);
    slice_done(slice);
    files_remove_tree(base);
    if (died)
        return 2;
    return expect_loss ? failed == 0 : failed != 0;
}
