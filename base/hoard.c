#include "base/hoard.h"

#include <pthread.h>
#include <stdint.h>
#include <sys/mman.h>

#include "base/check.h"
#include "base/stats.h"

#define SEARCH_MAX 16u /* slabs looked at for a run: those at the front were touched last */

struct slab {
    struct slab *next, *previous; /* of the list it is in: partly free, or empty */
    uint64_t free; /* bit u: unit u */
};
_Static_assert(sizeof(struct slab) <= HOARD_HEADER, "unit 0 gives its first bytes to the header");
_Static_assert(HOARD_UNITS == 64, "a bit of a word each");

STATS_GAUGE(mapped_bytes, "telltale_memory_hoard_bytes", "",
            "Memory of batches and other large arenas, kept blocks included.")

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards what follows */
static struct slab *partial, *empty; /* full ones are in neither */
static size_t mapped, empty_count, keep_bytes = (size_t)64 << 20;

static void list_add(struct slab **list, struct slab *s)
{
    s->previous = NULL;
    s->next = *list;
    if (*list)
        (*list)->previous = s;
    *list = s;
}

static void list_remove(struct slab **list, struct slab *s)
{
    if (s->previous)
        s->previous->next = s->next;
    else
        *list = s->next;
    if (s->next)
        s->next->previous = s->previous;
}

static struct slab **list_of(const struct slab *s)
{
    return s->free == UINT64_MAX ? &empty : s->free ? &partial : NULL;
}

/* The free units change, and with them the list. */
static void set_free(struct slab *s, uint64_t free)
{
    struct slab **from = list_of(s);
    bool was_empty = s->free == UINT64_MAX;
    s->free = free;
    struct slab **to = list_of(s);
    if (from == to)
        return;
    if (from)
        list_remove(from, s);
    if (to)
        list_add(to, s);
    empty_count += (free == UINT64_MAX) - (size_t)was_empty;
}

/* Mapped at its own size's multiple, so that a block's address leads to its header. */
static struct slab *slab_map(void)
{
    uint8_t *p =
        mmap(NULL, 2 * HOARD_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    size_t before = (HOARD_SIZE - (uintptr_t)p % HOARD_SIZE) % HOARD_SIZE;
    if (before)
        munmap(p, before);
    munmap(p + before + HOARD_SIZE, HOARD_SIZE - before);
    struct slab *s = (struct slab *)(void *)(p + before);
    madvise(s, HOARD_SIZE, MADV_HUGEPAGE); /* a wish: without it the pages are small */
    s->free = UINT64_MAX;
    return s;
}

static uint64_t run_mask(unsigned units)
{
    return units == HOARD_UNITS ? UINT64_MAX : (UINT64_C(1) << units) - 1;
}

/* The lowest run of free units, or HOARD_UNITS. */
static unsigned run_find(uint64_t free, unsigned units)
{
    uint64_t starts = free;
    for (unsigned have = 1; have < units;) { /* bit u stays if units u .. u + have - 1 are free */
        unsigned more = have < units - have ? have : units - have;
        starts &= starts >> more;
        have += more;
    }
    return starts ? (unsigned)__builtin_ctzll(starts) : HOARD_UNITS;
}

static void *take(struct slab *s, unsigned at, unsigned units, size_t *out_size)
{
    size_t skip = at == 0 ? HOARD_HEADER : 0;
    set_free(s, s->free & ~(run_mask(units) << at));
    *out_size = units * HOARD_UNIT - skip;
    return (uint8_t *)s + at * HOARD_UNIT + skip;
}

static void *take_any(unsigned units, size_t *out_size)
{
    unsigned looked = 0;
    for (struct slab *s = partial; s && looked < SEARCH_MAX; s = s->next, looked++) {
        unsigned at = run_find(s->free, units);
        if (at < HOARD_UNITS)
            return take(s, at, units, out_size);
    }
    return empty ? take(empty, 0, units, out_size) : NULL;
}

void *hoard_alloc(size_t size, size_t *out_size)
{
    if (size > HOARD_BLOCK_MAX)
        return NULL;
    unsigned units = (unsigned)((size + HOARD_HEADER + HOARD_UNIT - 1) / HOARD_UNIT);
    pthread_mutex_lock(&lock);
    void *block = take_any(units, out_size);
    pthread_mutex_unlock(&lock);
    struct slab *fresh = block ? NULL : slab_map();
    if (!fresh)
        return block;
    pthread_mutex_lock(&lock);
    list_add(&empty, fresh);
    empty_count++;
    mapped += HOARD_SIZE;
    stats_set(&mapped_bytes, (int64_t)mapped);
    block = take(fresh, 0, units, out_size);
    pthread_mutex_unlock(&lock);
    return block;
}

static struct slab *slab_of(const void *block)
{
    return (struct slab *)((uintptr_t)block & ~(uintptr_t)(HOARD_SIZE - 1));
}

static void give_back(struct slab *s, unsigned at, unsigned units)
{
    uint64_t mask = run_mask(units) << at;
    pthread_mutex_lock(&lock);
    CHECK(!(s->free & mask)); /* invariant 1 */
    set_free(s, s->free | mask);
    bool unmap = s->free == UINT64_MAX && empty_count * HOARD_SIZE > keep_bytes;
    if (unmap) {
        list_remove(&empty, s);
        empty_count--;
        mapped -= HOARD_SIZE;
        stats_set(&mapped_bytes, (int64_t)mapped);
    }
    pthread_mutex_unlock(&lock);
    if (unmap)
        munmap(s, HOARD_SIZE);
}

void hoard_free(void *block, size_t size)
{
    struct slab *s = slab_of(block);
    unsigned at = (unsigned)(((uintptr_t)block - (uintptr_t)s) / HOARD_UNIT);
    unsigned units = (unsigned)((size + HOARD_UNIT - 1) / HOARD_UNIT);
    CHECK(units >= 1 && at + units <= HOARD_UNITS);
    give_back(s, at, units);
}

size_t hoard_shrink(void *block, size_t size, size_t keep)
{
    struct slab *s = slab_of(block);
    unsigned at = (unsigned)(((uintptr_t)block - (uintptr_t)s) / HOARD_UNIT);
    size_t skip = at == 0 ? HOARD_HEADER : 0;
    unsigned units = (unsigned)((size + skip) / HOARD_UNIT);
    unsigned stay = (unsigned)((keep + skip + HOARD_UNIT - 1) / HOARD_UNIT);
    CHECK(keep <= size && at + units <= HOARD_UNITS);
    if (stay == 0)
        stay = 1;
    if (stay < units)
        give_back(s, at + stay, units - stay);
    return MIN(stay, units) * HOARD_UNIT - skip;
}

void hoard_keep(size_t bytes)
{
    pthread_mutex_lock(&lock);
    keep_bytes = bytes;
    pthread_mutex_unlock(&lock);
}

static struct slab *take_empty(size_t keep)
{
    pthread_mutex_lock(&lock);
    struct slab *s = empty_count * HOARD_SIZE > keep ? empty : NULL;
    if (s) {
        list_remove(&empty, s);
        empty_count--;
        mapped -= HOARD_SIZE;
        stats_set(&mapped_bytes, (int64_t)mapped);
    }
    pthread_mutex_unlock(&lock);
    return s;
}

void hoard_trim(size_t keep)
{
    for (struct slab *s; (s = take_empty(keep));)
        munmap(s, HOARD_SIZE);
}

size_t hoard_kept(void)
{
    pthread_mutex_lock(&lock);
    size_t n = empty_count * HOARD_SIZE;
    pthread_mutex_unlock(&lock);
    return n;
}

size_t hoard_mapped(void)
{
    pthread_mutex_lock(&lock);
    size_t n = mapped;
    pthread_mutex_unlock(&lock);
    return n;
}
