#include "tsdb/head_traces.h"

#include <stdlib.h>

#include "base/alloc_wait.h"
#include "base/hash.h"

static uint64_t hash_of(struct tsdb_id16 id)
{
    return hash64(bytes_of(id.b, sizeof(id.b)), 0);
}

/* Chains are split in place: every entry keeps its order. */
static size_t grow_table(struct head_traces *t, uint32_t which)
{
    uint32_t old = t->tables[which].cap, cap = old ? old * 2 : 64;
    uint32_t *slots = alloc_wait_calloc(cap, sizeof(*slots));
    for (uint32_t i = 0; i < old; i++) {
        uint32_t *low = &slots[i], *high = &slots[i + old];
        for (uint32_t at = t->tables[which].slots[i]; at;) {
            struct head_trace_entry *e = head_traces_entry(t, at);
            uint32_t next = e->next;
            uint32_t **tail = e->hash & old ? &high : &low;
            **tail = at;
            *tail = &e->next;
            e->next = 0;
            at = next;
        }
    }
    free(t->tables[which].slots);
    t->tables[which].slots = slots;
    t->tables[which].cap = cap;
    return (cap - old) * sizeof(*slots);
}

void head_traces_prefetch(const struct head_traces *t, struct tsdb_id16 id)
{
    uint64_t hash = hash_of(id);
    uint32_t which = (uint32_t)(hash >> 56);
    if (t->tables[which].cap)
        __builtin_prefetch(&t->tables[which].slots[(uint32_t)hash & (t->tables[which].cap - 1)], 1);
}

size_t head_traces_add(struct head_traces *t, struct tsdb_id16 id, uint32_t ord, uint32_t row)
{
    uint64_t hash = hash_of(id);
    uint32_t which = (uint32_t)(hash >> 56), page = t->count / HEAD_TRACES_PAGE;
    size_t bytes = 0;
    if (page == t->page_cap) {
        uint32_t cap = t->page_cap ? t->page_cap * 2 : 64;
        t->pages = alloc_wait_realloc(t->pages, cap * sizeof(*t->pages));
        bytes += (cap - t->page_cap) * sizeof(*t->pages);
        t->page_cap = cap;
    }
    if (t->count % HEAD_TRACES_PAGE == 0) {
        t->pages[page] =
            alloc_wait_realloc(NULL, HEAD_TRACES_PAGE * sizeof(struct head_trace_entry));
        bytes += HEAD_TRACES_PAGE * sizeof(struct head_trace_entry);
    }
    if (t->tables[which].count == t->tables[which].cap)
        bytes += grow_table(t, which);
    uint32_t *slot = &t->tables[which].slots[(uint32_t)hash & (t->tables[which].cap - 1)];
    t->count++;
    *head_traces_entry(t, t->count) = (struct head_trace_entry){(uint32_t)hash, ord, row, *slot};
    *slot = t->count;
    t->tables[which].count++;
    return bytes;
}

uint32_t head_traces_first(const struct head_traces *t, struct tsdb_id16 id)
{
    uint64_t hash = hash_of(id);
    uint32_t which = (uint32_t)(hash >> 56);
    return t->tables[which].cap
               ? t->tables[which].slots[(uint32_t)hash & (t->tables[which].cap - 1)]
               : 0;
}

void head_traces_done(struct head_traces *t)
{
    for (uint32_t i = 0; i < HEAD_TRACES_TABLES; i++)
        free(t->tables[i].slots);
    for (uint32_t i = 0; i * (uint64_t)HEAD_TRACES_PAGE < t->count; i++)
        free(t->pages[i]);
    free(t->pages);
}
