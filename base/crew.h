/* A loop whose turns several threads take: the caller, and threads of a pool that have nothing else to do.
 *
 *   crew_run(pool, fn, ctx, count): fn(ctx, worker, i) once for each i in [0, count); returns when all have returned
 *
 * Owner: caller.  Thread: any, a thread of the same pool too: nobody is waited for who has not begun.
 * Failure: none; without memory or idle threads the caller does all.
 * Limits: CREW_MAX workers. A helper goes when another job waits for its thread.
 * Invariants: 1. Worker 0 is the caller. 2. One worker takes one turn at a time; i come in ascending order to each.
 */
#ifndef BASE_CREW_H
#define BASE_CREW_H

#include "base/pool.h"

#define CREW_MAX 16u

typedef void (*crew_fn)(void *ctx, unsigned worker, size_t i);

void crew_run(struct pool *p, crew_fn fn, void *ctx, size_t count); /* p NULL: the caller alone */

#endif
