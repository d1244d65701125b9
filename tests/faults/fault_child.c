#include "tests/faults/fault_child.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"

#define CHILD_SECONDS 600 /* a hang is told, a busy machine is not taken for one */

bool fault_child_run(int (*fn)(void *ctx), void *ctx, const char *where)
{
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        alarm(CHILD_SECONDS);
        _exit(fn(ctx));
    }
    if (child < 0 || waitpid(child, &status, 0) != child)
        return false;
    if (WIFSIGNALED(status))
        fprintf(stderr, "%s: signal %d\n", where, WTERMSIG(status));
    else if (WEXITSTATUS(status) != 0)
        fprintf(stderr, "%s: status %d\n", where, WEXITSTATUS(status));
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

struct look {
    struct ledger *l;
    const char *dir, *where;
};

static int look(void *ctx)
{
    struct look *k = ctx;
    struct tsdb_options o = ledger_options(k->dir);
    struct err_msg msg = {""};
    struct tsdb *db;
    atomic_store(&k->l->waiting, 0);
    ledger_clock(atomic_load(&k->l->is_retention) ? 3 : 0);
    enum err e = tsdb_open(&o, &db, &msg);
    if (e != ERR_OK) {
        fprintf(stderr, "%s: does not open: %s\n", k->where, msg.text);
        return 1;
    }
    bool ok = ledger_check(k->l, db, LEDGER_STORY_MAX, k->where);
    if (ok && (e = ledger_send(k->l, db, LEDGER_STORY_MAX)) == ERR_OK)
        ledger_wait(k->l);
    if (ok && e == ERR_OK)
        e = tsdb_flush(db, true, &msg);
    if (e != ERR_OK)
        fprintf(stderr, "%s: does not go on: %s %s\n", k->where, err_text(e), msg.text);
    ok = ok && e == ERR_OK && ledger_check(k->l, db, LEDGER_STORY_MAX + 1, k->where);
    tsdb_close(db, false);
    return ok ? 0 : 1;
}

bool fault_child_look(struct ledger *l, const char *dir, const char *where)
{
    return fault_child_run(look, &(struct look){l, dir, where}, where);
}

uint64_t fault_child_step(uint64_t n, uint64_t percent)
{
    return n + MAX(n * percent / 100, 1);
}
