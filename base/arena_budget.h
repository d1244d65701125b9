/* One limit for many arenas: what they have together is counted here, and past max none of them gets more.
 *
 * Owner: whoever made it; it outlives its arenas (arena_new_in).  Thread: any.  Failure: none.
 * Limits: max; threads that take the last bytes at the same time may pass it by a chunk each.
 */
#ifndef BASE_ARENA_BUDGET_H
#define BASE_ARENA_BUDGET_H

#include <stdatomic.h>
#include <stddef.h>

struct arena_budget {
    size_t max;
    _Atomic size_t used;
};

#endif
