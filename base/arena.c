#include "base/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/arena_budget.h"
#include "base/check.h"
#include "base/hoard.h"

/* Chunks double from 4 KiB to 512 KiB; an allocation larger than half a chunk gets one of its own. */
#define CHUNK_MIN (4u << 10)
#define CHUNK_MAX (512u << 10)

/* Large chunks come from the hoard, except where a sanitizer is to see each end of each chunk. */
#if defined(__SANITIZE_ADDRESS__)
#define CHUNK_SLAB_MIN SIZE_MAX
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CHUNK_SLAB_MIN SIZE_MAX
#endif
#endif
#ifndef CHUNK_SLAB_MIN
#define CHUNK_SLAB_MIN ((size_t)HOARD_UNIT)
#endif

struct chunk {
    struct chunk *next;
    uint8_t *base; /* this chunk's memory, or an adopted block */
    size_t size, used;
    size_t hoard; /* bytes of the hoard's block that this is, or 0 */
    bool is_adopted;
};
#define CHUNK_HEAD ((sizeof(struct chunk) + 15) & ~(size_t)15)

struct arena {
    size_t bytes_max, bytes_used, chunk_next;
    struct arena_budget *budget; /* NULL: none */
    struct chunk *chunks; /* the first is the one that fills */
};

static size_t round_up(size_t v, size_t align)
{
    return (v + align - 1) & ~(align - 1);
}

struct arena *arena_new(size_t bytes_max)
{
    return arena_new_in(NULL, bytes_max);
}

struct arena *arena_new_in(struct arena_budget *budget, size_t bytes_max)
{
    struct arena *a = calloc(1, sizeof(*a));
    if (!a)
        return NULL;
    a->budget = budget;
    a->bytes_max = bytes_max ? bytes_max : SIZE_MAX;
    a->chunk_next = CHUNK_MIN;
    return a;
}

static void set_used(struct arena *a, size_t bytes)
{
    if (a->budget) /* a difference below 0 wraps around, as it should */
        atomic_fetch_add_explicit(&a->budget->used, bytes - a->bytes_used, memory_order_relaxed);
    a->bytes_used = bytes;
}

/* Two threads may take the last bytes at once: then it is over by a chunk. */
static bool budget_has(struct arena_budget *b, size_t size)
{
    size_t used = b ? atomic_load_explicit(&b->used, memory_order_relaxed) : 0;
    return !b || (used <= b->max && size <= b->max - used);
}

void arena_expect(struct arena *a, size_t bytes)
{
    if (CHUNK_SLAB_MIN == SIZE_MAX)
        return; /* malloc's blocks cannot be trimmed */
    while (a->chunk_next < HOARD_BLOCK_MAX && a->chunk_next < bytes)
        a->chunk_next *= 2;
    a->chunk_next = MIN(a->chunk_next, HOARD_BLOCK_MAX);
}

void arena_trim(struct arena *a)
{
    struct chunk *c = a->chunks;
    a->chunk_next = CHUNK_MIN;
    if (!c || !c->hoard)
        return;
    c->hoard = hoard_shrink(c, c->hoard, CHUNK_HEAD + c->used);
    size_t size = MIN(c->size, c->hoard - CHUNK_HEAD);
    set_used(a, a->bytes_used - (c->size - size));
    c->size = size;
}

static void chunk_free(struct chunk *c)
{
    if (c->is_adopted)
        free(c->base);
    if (c->hoard)
        hoard_free(c, c->hoard);
    else
        free(c);
}

void arena_free(struct arena *a)
{
    if (!a)
        return;
    for (struct chunk *c = a->chunks, *next; c; c = next) {
        next = c->next;
        chunk_free(c);
    }
    set_used(a, 0);
    free(a);
}

void arena_reset(struct arena *a)
{
    struct chunk *keep = NULL;
    for (struct chunk *c = a->chunks, *next; c; c = next) {
        next = c->next;
        if (!next && !c->is_adopted)
            keep = c; /* the oldest, hence the last in the list */
        else
            chunk_free(c);
    }
    a->chunks = keep;
    set_used(a, keep ? keep->size : 0);
    a->chunk_next = CHUNK_MIN;
    if (keep) {
        keep->next = NULL;
        keep->used = 0;
    }
}

static struct chunk *chunk_new(struct arena *a, size_t size)
{
    if (size > a->bytes_max - a->bytes_used || !budget_has(a->budget, size))
        return NULL;
    struct chunk *c = NULL;
    size_t block = 0;
    if (size + CHUNK_HEAD >= CHUNK_SLAB_MIN) /* whole units, as long as the limit allows it */
        c = hoard_alloc(size + CHUNK_HEAD, &block);
    if (c && block - CHUNK_HEAD <= a->bytes_max - a->bytes_used)
        size = block - CHUNK_HEAD;
    if (!c && !(c = malloc(CHUNK_HEAD + size)))
        return NULL;
    *c = (struct chunk){.base = (uint8_t *)c + CHUNK_HEAD, .size = size, .hoard = block};
    set_used(a, a->bytes_used + size);
    return c;
}

static void *alloc_in_new_chunk(struct arena *a, size_t size, size_t align)
{
    size_t need = size + align;
    bool own = need > a->chunk_next / 2; /* CHUNK_MIN / 2 leaves room for the heads */
    size_t want = own ? need : a->chunk_next - CHUNK_HEAD - HOARD_HEADER;
    if (!own && want > a->bytes_max - a->bytes_used) /* near the limit: just what is asked */
        want = need;
    struct chunk *c = chunk_new(a, want);
    if (!c)
        return NULL;
    if (own && a->chunks && a->chunks->size - a->chunks->used >= CHUNK_MIN / 4) {
        c->next = a->chunks->next; /* keep filling the chunk that still has room */
        a->chunks->next = c;
    } else {
        c->next = a->chunks;
        a->chunks = c;
    }
    if (!own && a->chunk_next < CHUNK_MAX)
        a->chunk_next *= 2;
    size_t at = round_up((uintptr_t)c->base, align) - (uintptr_t)c->base;
    c->used = at + size;
    return c->base + at;
}

void *arena_alloc_raw(struct arena *a, size_t size, size_t align)
{
    CHECK(align && (align & (align - 1)) == 0);
    if (size > SIZE_MAX / 4)
        return NULL;
    struct chunk *c = a->chunks;
    if (c && !c->is_adopted) {
        size_t at = round_up((uintptr_t)c->base + c->used, align) - (uintptr_t)c->base;
        if (at <= c->size && size <= c->size - at) {
            c->used = at + size;
            return c->base + at;
        }
    }
    return alloc_in_new_chunk(a, size, align);
}

void *arena_alloc(struct arena *a, size_t size)
{
    void *p = arena_alloc_raw(a, size, 16);
    return p ? memset(p, 0, size) : NULL;
}

void *arena_grow(struct arena *a, void *p, size_t item_size, size_t old_count, size_t new_count)
{
    if (new_count > SIZE_MAX / 4 / (item_size ? item_size : 1))
        return NULL;
    size_t old_size = item_size * old_count, new_size = item_size * new_count;
    if (new_size <= old_size)
        return p;
    struct chunk *c = a->chunks;
    if (p && c && !c->is_adopted && (uint8_t *)p >= c->base &&
        (uint8_t *)p + old_size == c->base + c->used && new_size - old_size <= c->size - c->used) {
        memset((uint8_t *)p + old_size, 0, new_size - old_size);
        c->used += new_size - old_size;
        return p;
    }
    uint8_t *fresh = arena_alloc_raw(a, new_size, 16);
    if (!fresh)
        return NULL;
    if (old_size)
        memcpy(fresh, p, old_size);
    memset(fresh + old_size, 0, new_size - old_size);
    return fresh;
}

bool arena_adopt(struct arena *a, void *malloced, size_t size)
{
    struct chunk *c = size <= a->bytes_max - a->bytes_used && budget_has(a->budget, size)
                          ? calloc(1, sizeof(*c))
                          : NULL;
    if (!c) {
        free(malloced);
        return false;
    }
    *c = (struct chunk){.base = malloced, .size = size, .used = size, .is_adopted = true};
    set_used(a, a->bytes_used + size);
    if (a->chunks) {
        c->next = a->chunks->next;
        a->chunks->next = c;
    } else {
        a->chunks = c;
    }
    return true;
}

struct bytes arena_copy(struct arena *a, struct bytes b)
{
    if (b.size == 0)
        return (struct bytes){(const uint8_t *)"", 0};
    uint8_t *p = arena_alloc_raw(a, b.size, 1);
    return p ? (struct bytes){memcpy(p, b.data, b.size), b.size} : BYTES_NONE;
}

struct bytes arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *p = n < 0 ? NULL : arena_alloc_raw(a, (size_t)n + 1, 1);
    if (p)
        vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return p ? (struct bytes){(const uint8_t *)p, (size_t)n} : BYTES_NONE;
}

size_t arena_used(const struct arena *a)
{
    return a->bytes_used;
}
