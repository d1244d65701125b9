/* The inside of verify, shared by its files: what a process that reads one environment tells its parent.
 *
 * Owner: tsdb_verify.c.  Thread: one.  Failure: none; problems are written to the pipe, one line each.
 */
#ifndef TSDB_VERIFY_CORE_H
#define TSDB_VERIFY_CORE_H

#include "tsdb/lmdb_env.h"
#include "tsdb/tsdb_verify.h"

struct verify_env {
    const char *path; /* of the environment */
    uint32_t day; /* of a part */
    unsigned class; /* enum part_class, of a part */
    uint64_t *flushed; /* flushed_generation of the state, shared: its reader comes first */
    struct tsdb_verify_report *report; /* shared with the parent */
    int pipe;
    uint64_t told;
};

void verify_say(struct verify_env *v, const char *fmt, ...) PRINTF_LIKE(2, 3);
void verify_say_quarantined(struct verify_env *v, const char *fmt, ...) PRINTF_LIKE(2, 3);
void verify_part(struct verify_env *v); /* verify_part.c */
void verify_journal(struct verify_env *v); /* verify_journal.c */
void verify_state(struct verify_env *v); /* verify_journal.c */
void verify_ledger(struct verify_env *v); /* verify_journal.c */

#endif
