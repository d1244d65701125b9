#include "tsdb/dedup.h"

#include <stdlib.h>

#include "base/alloc_wait.h"
#include "base/check.h"
#include "base/stats.h"

/* Entries in order of arrival (a ring), found through an open-addressing table of ring positions. */
struct dedup {
    struct dedup_entry *ring;
    uint32_t cap, head, count;
    uint32_t *slots; /* ring position + 1 */
    uint32_t slot_cap;
};

struct dedup *dedup_new(void)
{
    return calloc(1, sizeof(struct dedup));
}

void dedup_free(struct dedup *d)
{
    if (!d)
        return;
    for (uint32_t i = 0; i < d->count; i++)
        free(d->ring[(d->head + i) & (d->cap - 1)].reject_text);
    free(d->ring);
    free(d->slots);
    free(d);
}

static uint32_t slot_of(const struct dedup *d, struct hash128 key)
{
    uint32_t i = (uint32_t)key.hi & (d->slot_cap - 1);
    while (d->slots[i] && !hash128_equal(d->ring[d->slots[i] - 1].key, key))
        i = (i + 1) & (d->slot_cap - 1);
    return i;
}

/* Removes a slot and moves back those that probed past it. */
static void slot_remove(struct dedup *d, uint32_t i)
{
    uint32_t mask = d->slot_cap - 1;
    for (uint32_t j = (i + 1) & mask; d->slots[j]; j = (j + 1) & mask) {
        uint32_t home = (uint32_t)d->ring[d->slots[j] - 1].key.hi & mask;
        if (((j - home) & mask) >= ((j - i) & mask)) {
            d->slots[i] = d->slots[j];
            i = j;
        }
    }
    d->slots[i] = 0;
}

static void drop_oldest(struct dedup *d)
{
    struct dedup_entry *e = &d->ring[d->head];
    slot_remove(d, slot_of(d, e->key));
    free(e->reject_text);
    d->head = (d->head + 1) & (d->cap - 1);
    d->count--;
}

static void expire(struct dedup *d, int64_t now_ns)
{
    int64_t oldest_ns = MAX(now_ns, INT64_MIN + DEDUP_WINDOW_NS) - DEDUP_WINDOW_NS;
    while (d->count && d->ring[d->head].time_ns < oldest_ns)
        drop_oldest(d);
}

static bool grow(struct dedup *d)
{
    uint32_t cap = d->cap ? d->cap * 2 : 256;
    struct dedup_entry *ring = malloc(cap * sizeof(*ring));
    uint32_t *slots = calloc(cap * 2, sizeof(*slots));
    if (!ring || !slots) {
        free(ring);
        free(slots);
        return false;
    }
    for (uint32_t i = 0; i < d->count; i++)
        ring[i] = d->ring[(d->head + i) & (d->cap - 1)];
    free(d->ring);
    free(d->slots);
    *d = (struct dedup){ring, cap, 0, d->count, slots, cap * 2};
    for (uint32_t i = 0; i < d->count; i++)
        d->slots[slot_of(d, ring[i].key)] = i + 1;
    return true;
}

const struct dedup_entry *dedup_find(struct dedup *d, struct hash128 key, int64_t now_ns)
{
    expire(d, now_ns);
    if (!d->count)
        return NULL;
    uint32_t at = d->slots[slot_of(d, key)];
    return at ? &d->ring[at - 1] : NULL;
}

void dedup_add(struct dedup *d, const struct dedup_entry *e)
{
    expire(d, e->time_ns);
    if (d->count && d->slots[slot_of(d, e->key)])
        return;
    if (d->count == DEDUP_ENTRIES_MAX)
        drop_oldest(d);
    for (unsigned tries = 0; d->count == d->cap && !grow(d); tries++)
        alloc_wait_pause(tries); /* its rows are stored: a repeat must be known */
    uint32_t at = (d->head + d->count) & (d->cap - 1);
    d->ring[at] = *e;
    d->ring[at].reject_text = e->reject_text ? strdup(e->reject_text) : NULL;
    d->slots[slot_of(d, e->key)] = at + 1;
    d->count++;
}

void dedup_encode(struct dedup *d, int64_t now_ns, struct buf *out)
{
    expire(d, now_ns);
    buf_varint(out, d->count);
    for (uint32_t i = 0; i < d->count; i++) {
        const struct dedup_entry *e = &d->ring[(d->head + i) & (d->cap - 1)];
        buf_u64(out, e->key.lo);
        buf_u64(out, e->key.hi);
        buf_zigzag(out, e->time_ns);
        buf_varint(out, e->seq);
        buf_varint(out, e->stored);
        buf_varint(out, e->duplicate);
        buf_varint(out, e->rejected);
        buf_lenbytes(out, bytes_str(e->reject_text));
    }
}

bool dedup_decode(struct dedup *d, struct reader *r)
{
    uint64_t n = reader_varint(r);
    for (uint64_t i = 0; i < n && !r->failed; i++) {
        struct dedup_entry e = {.key.lo = reader_u64(r)};
        char text[512] = "";
        e.key.hi = reader_u64(r);
        e.time_ns = reader_zigzag(r);
        e.seq = reader_varint(r);
        e.stored = reader_varint(r);
        e.duplicate = reader_varint(r);
        e.rejected = reader_varint(r);
        struct bytes why = reader_lenbytes(r);
        if (r->failed || why.size >= sizeof(text))
            return false;
        if (why.size)
            memcpy(text, why.data, why.size);
        e.reject_text = why.size ? text : NULL;
        dedup_add(d, &e);
    }
    return !r->failed;
}

/* --- rows ---------------------------------------------------------------------------------------- */

#define SLOT_TAG(h) ((h).hi & ~UINT64_C(0xffffffff))

static uint32_t row_slot(const struct dedup_rows *s, struct hash128 h)
{
    uint32_t i = (uint32_t)h.lo & (s->slot_cap - 1);
    uint64_t slot;
    while ((slot = s->slots[i]) &&
           (((slot ^ h.hi) >> 32) != 0 || !hash128_equal(s->log[(uint32_t)slot - 1], h)))
        i = (i + 1) & (s->slot_cap - 1);
    return i;
}

void dedup_rows_prefetch(const struct dedup_rows *s, struct hash128 h)
{
    if (s->count)
        __builtin_prefetch(&s->slots[(uint32_t)h.lo & (s->slot_cap - 1)]);
}

bool dedup_rows_has(const struct dedup_rows *s, struct hash128 h)
{
    return s->count && s->slots[row_slot(s, h)];
}

/* All of them differ: no need to look at what is there. */
static void rows_place_all(struct dedup_rows *s)
{
    for (uint32_t k = 0; k < s->count; k++) {
        uint32_t i = (uint32_t)s->log[k].lo & (s->slot_cap - 1);
        if (k + 8 < s->count)
            __builtin_prefetch(&s->slots[(uint32_t)s->log[k + 8].lo & (s->slot_cap - 1)], 1);
        while (s->slots[i])
            i = (i + 1) & (s->slot_cap - 1);
        s->slots[i] = SLOT_TAG(s->log[k]) | (k + 1);
    }
}

static bool rows_grow(struct dedup_rows *s)
{
    uint32_t cap = s->cap ? s->cap * 2 : 1024;
    struct hash128 *log = realloc(s->log, cap * sizeof(*log));
    uint64_t *slots = log ? calloc(cap * 2, sizeof(*slots)) : NULL;
    if (log)
        s->log = log;
    if (!slots)
        return false;
    free(s->slots);
    s->slots = slots;
    s->cap = cap;
    s->slot_cap = cap * 2;
    rows_place_all(s);
    return true;
}

bool dedup_rows_add(struct dedup_rows *s, struct hash128 h, bool *out_is_new)
{
    if (s->count == s->cap && !rows_grow(s))
        return false;
    uint32_t at = row_slot(s, h);
    *out_is_new = !s->slots[at];
    if (!*out_is_new)
        return true;
    s->log[s->count] = h;
    s->slots[at] = SLOT_TAG(h) | ++s->count;
    return true;
}

void dedup_rows_undo(struct dedup_rows *s, uint32_t count)
{
    if (count >= s->count)
        return;
    s->count = count;
    memset(s->slots, 0, s->slot_cap * sizeof(*s->slots));
    rows_place_all(s);
}

void dedup_rows_done(struct dedup_rows *s)
{
    free(s->log);
    free(s->slots);
    *s = (struct dedup_rows){0};
}
