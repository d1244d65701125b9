/* Which worker threads are alive: each says so again and again, and whoever asks is told of those that have not.
 *
 *   alive_begin -> alive_beat ... -> alive_end        alive_check (from any thread): names of what is late
 *
 * A thread that ended without alive_end is late like one that is stuck.
 * Owner: the process; places are static.  Thread: begin, beat and end by the worker; check by any. Beats are one atomic store.
 * Failure: none; past ALIVE_MAX places begin gives -1, which beat and end ignore.
 */
#ifndef BASE_ALIVE_H
#define BASE_ALIVE_H

#include "base/buf.h"

#define ALIVE_MAX 64
#define ALIVE_NAME_MAX 80

/* limit_ms: how long it may be silent. */
int alive_begin(const char *name, int64_t limit_ms);
void alive_beat(int place);
void alive_end(int place);
/* Appends a line for each that is late; true = none is. */
bool alive_check(struct buf *out);
void alive_test_limit_ms(int64_t limit_ms); /* tests only: of all; 0 = their own */

#endif
