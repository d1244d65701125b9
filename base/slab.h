/* Slabs: bump memory taken from the system in whole pieces and given back to it when the slab dies.
 *
 * For what is large and dies together (a head, a table of series): malloc would keep the freed pages between blocks that live on.
 * Owner: caller (slab_done).  Thread: one at a time; slab_bytes from any.
 * Failure: slab_alloc returns NULL when the system has no memory.
 * Limits: SLAB_ALLOC_MAX bytes at once.
 * Invariants: 1. Memory is zeroed and 16-aligned. 2. Nothing moves, nothing is freed before slab_done.
 */
#ifndef BASE_SLAB_H
#define BASE_SLAB_H

#include <stdatomic.h>

#include "base/bytes.h"

#define SLAB_PIECE_MIN (64u << 10)
#define SLAB_PIECE_MAX (1u << 20)
#define SLAB_ALLOC_MAX (SLAB_PIECE_MAX / 2)

struct slab {
    struct slab_piece *pieces;
    uint8_t *at, *end;
    _Atomic size_t bytes; /* taken from the system */
};

void *slab_alloc_slow(struct slab *s, size_t size);
/* size: a multiple of 16. */
static inline void *slab_alloc(struct slab *s, size_t size)
{
    if ((size_t)(s->end - s->at) < size)
        return slab_alloc_slow(s, size);
    uint8_t *p = s->at;
    s->at += size;
    return p;
}
static inline size_t slab_bytes(const struct slab *s)
{
    return atomic_load_explicit(&((struct slab *)(uintptr_t)s)->bytes, memory_order_relaxed);
}
void slab_done(struct slab *s);

#endif
