#include "base/slab.h"

#include <sys/mman.h>

#include "base/check.h"

struct slab_piece {
    struct slab_piece *next;
    size_t size;
};

_Static_assert(sizeof(struct slab_piece) % 16 == 0, "what follows the header is 16-aligned");

void *slab_alloc_slow(struct slab *s, size_t size)
{
    size_t last = s->pieces ? s->pieces->size : 0;
    size_t want = MIN(MAX(last * 2, (size_t)SLAB_PIECE_MIN), (size_t)SLAB_PIECE_MAX);
    CHECK(size % 16 == 0 && size <= SLAB_ALLOC_MAX);
    while (want < size + sizeof(struct slab_piece))
        want *= 2;
    struct slab_piece *piece =
        mmap(NULL, want, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (piece == MAP_FAILED)
        return NULL;
    *piece = (struct slab_piece){s->pieces, want};
    s->pieces = piece;
    s->at = (uint8_t *)(piece + 1) + size;
    s->end = (uint8_t *)piece + want;
    atomic_fetch_add_explicit(&s->bytes, want, memory_order_relaxed);
    return piece + 1;
}

void slab_done(struct slab *s)
{
    for (struct slab_piece *p = s->pieces, *next; p; p = next) {
        next = p->next;
        munmap(p, p->size);
    }
    s->pieces = NULL;
    s->at = s->end = NULL;
    atomic_store_explicit(&s->bytes, 0, memory_order_relaxed);
}
