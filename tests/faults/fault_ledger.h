/* What the fault harnesses share: requests whose content follows from their number, a ledger of what was answered, the comparison of a store
 * with it, and a story that takes a store through everything that it does with its disk.
 *
 * A request is 12 spans (some of them one or two days late) with a cell each, one sample on a series of all and one on a series of its own.
 * Owner: caller.  Thread: ledger_send from one thread; answers come on the committer's.
 * Failure: ledger_check says on stderr what is wrong.
 * Invariants: 1. What was answered "stored" is there once, bit by bit. 2. Of every other request all is there or nothing, unless it came
 *             before retention took its day.
 */
#ifndef FAULTS_FAULT_LEDGER_H
#define FAULTS_FAULT_LEDGER_H

#include <stdatomic.h>

#include "tsdb/tsdb.h"

#define LEDGER_REQUESTS_MAX 1024u
#define LEDGER_ROWS 12u
#define LEDGER_STORY_MAX 32u /* requests of a story at most */

enum ledger_said { LEDGER_UNSENT, LEDGER_SENT, LEDGER_STORED, LEDGER_REFUSED };
#define LEDGER_RETENTION 1000u /* a mark: from now on late days may be gone */

struct ledger { /* may lie in memory that processes share */
    _Atomic uint8_t said[LEDGER_REQUESTS_MAX];
    _Atomic bool is_retention;
    _Atomic uint32_t waiting; /* sent and not answered */
    /* Told of each change, if set: (request, enum ledger_said), and (LEDGER_RETENTION, 0). */
    void (*watch)(uint32_t what, uint32_t said);
};

/* NULL: no memory. */
struct ledger *ledger_new(void);
void ledger_free(struct ledger *l);
/* Options of all harnesses, with a wall clock that stands at the story's time. */
struct tsdb_options ledger_options(const char *dir);
void ledger_clock(int hours_later);
/* ERR_OK: it was taken and will be answered. */
enum err ledger_send(struct ledger *l, struct tsdb *db, uint32_t number);
void ledger_wait(struct ledger *l); /* until nothing is waiting */
/* All that the first `count` requests may have left. where: for the message. */
bool ledger_check(struct ledger *l, struct tsdb *db, uint32_t count, const char *where);

/* Open, commits, flush into new days, late days, compaction, a restart, more, retention, close. Returns how many requests it has;
 * goes on after errors, as a program does. *out_error: the first one that was met. */
uint32_t ledger_story(struct ledger *l, const char *dir, enum err *out_error);

#endif
