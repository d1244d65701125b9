/* The proof against memory that runs out: the n-th allocation of a story fails, alone or with all that come in the next 30 ms, in our code or
 * in a library, for n = 1, 2, 3 ... until a run has no such call. No crash; what was acknowledged is there; the next request succeeds.
 *
 *   alloc_errors [--step PERCENT] [--from N] [--to N] [--expect-loss]
 *                             (TELLTALE_STEP in the environment is PERCENT, too; 0 = every n; --from and --to: to look at a few again)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "tests/faults/alloc_fail.h"
#include "tests/faults/fault_child.h"
#include "tests/faults/slice.h"
#include "tsdb/files.h"

#define WHILE_MS 30

struct walk {
    const char *dir;
    struct ledger *l;
    uint64_t at;
    int64_t while_ms;
    _Atomic uint64_t *calls; /* shared */
};

static int story(void *ctx)
{
    struct walk *w = ctx;
    enum err e;
    alloc_fail(w->at, w->while_ms);
    uint32_t n = ledger_story(w->l, w->dir, &e);
    atomic_store(w->calls, alloc_calls());
    alloc_fail(0, 0);
    return n < LEDGER_STORY_MAX ? 0 : 1;
}

int main(int argc, char **argv)
{
    const char *from_env = getenv("TELLTALE_STEP");
    uint64_t percent = from_env ? strtoull(from_env, NULL, 10) : 15;
    uint64_t from = 1, to = UINT64_MAX;
    bool expect_loss = false;
    unsigned runs = 0, failed = 0;
    struct walk w = {.l = ledger_new()};
    struct ledger *shared = ledger_new();
    char base[64], dir[80], where[96];
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--step") == 0 && i + 1 < argc)
            percent = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--from") == 0 && i + 1 < argc)
            from = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--to") == 0 && i + 1 < argc)
            to = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--expect-loss") == 0)
            expect_loss = true;
    }
    snprintf(base, sizeof(base), "%s/telltale-alloc-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!w.l || !shared || !mkdtemp(base))
        return 2;
    log_set_level((enum log_level) - 1);
    snprintf(dir, sizeof(dir), "%s/data", base);
    w.dir = dir;
    w.calls = (_Atomic uint64_t *)(void *)shared;
    struct slice *slice = slice_new("failing allocations", "allocation", from, 1);
    bool has_ended[2] = {false}, goes_on = true;
    for (w.at = slice_from(slice); goes_on && w.at <= to && !(has_ended[0] && has_ended[1]);
         w.at = fault_child_step(w.at, percent)) {
        for (unsigned i = 0; i < 2 && (goes_on = slice_goes_on(slice, 0, w.at)); i++) {
            if (has_ended[i])
                continue;
            w.while_ms = i * WHILE_MS;
            snprintf(where, sizeof(where), "allocation %llu, for %lld ms", (unsigned long long)w.at,
                     (long long)w.while_ms);
            files_remove_tree(dir);
            memset(w.l, 0, sizeof(*w.l));
            atomic_store(w.calls, UINT64_MAX); /* of a run that ended early */
            bool ok = fault_child_run(story, &w, where) && fault_child_look(w.l, dir, where);
            runs++;
            failed += !ok;
            has_ended[i] = atomic_load(w.calls) < w.at;
        }
    }
    if (goes_on)
        slice_ended(slice, 0);
    printf("failing allocations: %u runs: %u failed\n", runs, failed);
    slice_done(slice);
    files_remove_tree(base);
    return expect_loss ? failed == 0 : failed != 0;
}
