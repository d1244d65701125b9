/* Memory for what cannot be undone any more: an allocation that fails is tried again for a while, instead of at once ending the process.
 *
 * For the steps between a durable commit and its answer. Everything that can still be refused takes its memory with malloc and fails.
 * Thread: any; the caller may wait for ALLOC_WAIT_MS.  Failure: none; without memory for that long the process ends (the journal replays).
 */
#ifndef BASE_ALLOC_WAIT_H
#define BASE_ALLOC_WAIT_H

#include <stdbool.h>
#include <stddef.h>

#define ALLOC_WAIT_MS 10000

void *alloc_wait_realloc(void *p, size_t size); /* p NULL: new memory */
void *alloc_wait_calloc(size_t count, size_t size);
/* For allocators of another kind: after the tries-th failure in a row (from 0). Returns when it is worth another try. */
void alloc_wait_pause(unsigned tries);

#endif
