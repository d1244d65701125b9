/* Arenas: many small allocations that die together (a batch, a request, a query).
 *
 * Owner: whoever called arena_new.  Thread: one at a time.
 * Failure: arena_alloc returns NULL past the byte limit or when the system has no memory; callers return ERR_NOMEM/ERR_LIMIT.
 * Limits: bytes_max, counted over whole chunks.
 * Invariants: 1. Memory is zeroed and 16-aligned (arena_alloc). 2. Nothing moves. 3. arena_used <= bytes_max.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/bytes.h"
#include "base/err.h"

struct arena;
struct arena_budget; /* arena_budget.h */

struct arena *arena_new_in(struct arena_budget *budget, size_t bytes_max); /* budget NULL: none */
struct arena *arena_new(size_t bytes_max); /* NULL when out of memory; bytes_max 0 = no limit */
void arena_free(struct arena *a); /* NULL is fine */
/* About so many bytes will be asked for: the next chunk is made as large, up to 1 MiB. */
void arena_expect(struct arena *a, size_t bytes);
/* Little more will be asked for: gives back what the chunk that fills has left, and starts small again. */
void arena_trim(struct arena *a);
void arena_reset(struct arena *a); /* keeps the first chunk */
void *arena_alloc(struct arena *a, size_t size); /* zeroed */
void *arena_alloc_raw(struct arena *a, size_t size, size_t align); /* not zeroed */
/* Grows the array at p of old_count items to new_count; in place if it is the last allocation. Old bytes are kept. */
void *arena_grow(struct arena *a, void *p, size_t item_size, size_t old_count, size_t new_count);
/* Gives the arena a malloc'ed block to free when it dies (a request body that slices point into). false = out of memory, the block is freed. */
bool arena_adopt(struct arena *a, void *malloced, size_t size) MUST_CHECK;
struct bytes arena_copy(struct arena *a, struct bytes b); /* data NULL on failure if b.size > 0 */
struct bytes arena_printf(struct arena *a, const char *fmt, ...)
    PRINTF_LIKE(2, 3); /* NUL-terminated beyond size */
size_t arena_used(const struct arena *a);

#define ARENA_ARRAY(a, type, count) ((type *)arena_alloc((a), sizeof(type) * (size_t)(count)))

#endif
