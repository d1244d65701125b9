/* A fixed set of named threads that run jobs from one bounded queue (the query pool, decode workers).
 *
 * Owner: caller.  Thread: pool_submit from any thread.
 * Failure: pool_submit gives ERR_UNAVAILABLE when the queue is full (the caller sheds load).
 * Limits: queue_max jobs waiting.  Invariant: every accepted job runs exactly once, before pool_free returns.
 */
#ifndef BASE_POOL_H
#define BASE_POOL_H

#include "base/err.h"

struct pool;
typedef void (*pool_job)(void *ctx);

struct pool *pool_new(const char *name, unsigned threads,
                      unsigned queue_max); /* NULL when out of memory */
enum err pool_submit(struct pool *p, pool_job job, void *ctx) MUST_CHECK;
/* The same, but only where a thread has nothing to do: for help that one can do without. */
enum err pool_try_submit(struct pool *p, pool_job job, void *ctx) MUST_CHECK;
/* Is a job waiting for a thread? */
bool pool_is_wanted(struct pool *p);
unsigned pool_threads(const struct pool *p);
void pool_free(struct pool *p); /* runs what is queued, then joins */

#endif
