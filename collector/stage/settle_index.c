#include "collector/stage/settle_index.h"

#include <stdlib.h>

enum key { KEY_SPAN, KEY_TRACE, KEY_ID };

static uint64_t entry_hash(const struct settle_index_entry *e, enum key k)
{
    return k == KEY_SPAN ? e->span_hash : k == KEY_TRACE ? e->trace_hash : e->id_hash;
}

struct settle_index *settle_index_new(uint64_t generation, uint32_t rows_max)
{
    struct settle_index *x = calloc(1, sizeof *x);
    if (x) {
        x->generation = generation;
        x->rows_max = rows_max;
    }
    return x;
}

void settle_index_free(struct settle_index *x)
{
    if (!x)
        return;
    free(x->entries);
    free(x->by_span.slots);
    free(x->by_trace.slots);
    free(x->by_id.slots);
    free(x);
}

static uint64_t slot_of(uint64_t hash, uint32_t index)
{
    return (hash & ~UINT64_C(0xffffffff)) | (index + 1);
}

static uint32_t slot_index(uint64_t slot)
{
    return (uint32_t)slot - 1;
}

static bool slot_may_be(uint64_t slot, uint64_t hash)
{
    return ((slot ^ hash) >> 32) == 0;
}

static bool map_grow(struct settle_index *x, struct settle_index_map *m, enum key k)
{
    uint32_t size = m->size ? m->size * 2 : 1024;
    uint64_t *slots = calloc(size, sizeof *slots);
    if (!slots)
        return false;
    for (uint32_t i = 0; i < m->size; i++) {
        if (!m->slots[i])
            continue;
        uint32_t at = (uint32_t)entry_hash(&x->entries[slot_index(m->slots[i])], k) & (size - 1);
        while (slots[at])
            at = (at + 1) & (size - 1);
        slots[at] = m->slots[i];
    }
    free(m->slots);
    m->slots = slots;
    m->size = size;
    return true;
}

static bool map_room(struct settle_index *x, struct settle_index_map *m, enum key k)
{
    return (m->used + 1) * 2 <= m->size || map_grow(x, m, k);
}

/* false: too many of one hash already. */
static bool map_put(struct settle_index *x, struct settle_index_map *m, enum key k, uint64_t hash,
                    uint32_t index)
{
    uint32_t at = (uint32_t)hash & (m->size - 1), same = 0;
    while (m->slots[at]) {
        same += slot_may_be(m->slots[at], hash) &&
                entry_hash(&x->entries[slot_index(m->slots[at])], k) == hash;
        if (same >= SETTLE_INDEX_SAME)
            return false;
        at = (at + 1) & (m->size - 1);
    }
    m->slots[at] = slot_of(hash, index);
    m->used++;
    return true;
}

void settle_index_replace(struct settle_index *x, bool id, uint32_t old, uint32_t taker)
{
    struct settle_index_map *m = id ? &x->by_id : &x->by_span;
    uint64_t hash = entry_hash(&x->entries[old], id ? KEY_ID : KEY_SPAN);
    uint32_t at = (uint32_t)hash & (m->size - 1);
    while (m->slots[at] && slot_index(m->slots[at]) != old)
        at = (at + 1) & (m->size - 1);
    if (m->slots[at])
        m->slots[at] = slot_of(hash, taker);
}

static uint64_t *map_trace(const struct settle_index *x, uint64_t hash)
{
    const struct settle_index_map *m = &x->by_trace;
    if (!m->size)
        return NULL;
    uint32_t at = (uint32_t)hash & (m->size - 1);
    while (m->slots[at] && (!slot_may_be(m->slots[at], hash) ||
                            x->entries[slot_index(m->slots[at])].trace_hash != hash))
        at = (at + 1) & (m->size - 1);
    return &m->slots[at];
}

struct settle_index_entry *settle_index_add(struct settle_index *x,
                                            const struct settle_index_entry *e)
{
    if (x->count >= x->rows_max)
        return NULL;
    if (x->count == x->cap) {
        uint32_t cap = x->cap ? x->cap * 2 : 256;
        struct settle_index_entry *grown = realloc(x->entries, cap * sizeof *grown);
        if (!grown)
            return NULL;
        x->entries = grown;
        x->cap = cap;
    }
    if (!map_room(x, &x->by_span, KEY_SPAN) || !map_room(x, &x->by_trace, KEY_TRACE) ||
        !map_room(x, &x->by_id, KEY_ID))
        return NULL;
    uint32_t index = x->count++;
    x->entries[index] = *e;
    x->entries[index].next_in_trace = SETTLE_INDEX_NONE;
    bool kept = true;
    if (e->replaced_span)
        settle_index_replace(x, false, e->replaced_span - 1, index);
    else
        kept = map_put(x, &x->by_span, KEY_SPAN, e->span_hash, index);
    if (e->id_hash && e->replaced_id)
        settle_index_replace(x, true, e->replaced_id - 1, index);
    else if (e->id_hash)
        kept = map_put(x, &x->by_id, KEY_ID, e->id_hash, index) && kept;
    uint64_t *head = map_trace(x, e->trace_hash);
    if (*head)
        x->entries[index].next_in_trace = slot_index(*head);
    else
        x->by_trace.used++;
    *head = slot_of(e->trace_hash, index);
    return kept ? &x->entries[index] : NULL;
}

static struct settle_index_entry *map_walk(struct settle_index *x, struct settle_index_map *m,
                                           enum key k, uint64_t hash, uint32_t *it)
{
    while (m->size && *it < m->size) {
        uint32_t at = ((uint32_t)hash + (*it)++) & (m->size - 1);
        if (!m->slots[at])
            return NULL;
        if (!slot_may_be(m->slots[at], hash))
            continue;
        struct settle_index_entry *e = &x->entries[slot_index(m->slots[at])];
        if (entry_hash(e, k) == hash && !(e->flags & SETTLE_INDEX_DEAD))
            return e;
    }
    return NULL;
}

static void map_prefetch(const struct settle_index_map *m, uint64_t hash)
{
    if (m->size)
        __builtin_prefetch(&m->slots[(uint32_t)hash & (m->size - 1)]);
}

void settle_index_prefetch(const struct settle_index *x, uint64_t span_hash, uint64_t trace_hash)
{
    map_prefetch(&x->by_span, span_hash);
    map_prefetch(&x->by_trace, trace_hash);
}

struct settle_index_entry *settle_index_span(struct settle_index *x, uint64_t hash, uint32_t *it)
{
    return map_walk(x, &x->by_span, KEY_SPAN, hash, it);
}

struct settle_index_entry *settle_index_id(struct settle_index *x, uint64_t hash, uint32_t *it)
{
    return map_walk(x, &x->by_id, KEY_ID, hash, it);
}

uint32_t settle_index_trace(const struct settle_index *x, uint64_t hash)
{
    uint64_t *head = map_trace(x, hash);
    return head && *head ? slot_index(*head) : SETTLE_INDEX_NONE;
}
