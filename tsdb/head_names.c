#include "tsdb/head_names.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"

static uint32_t name_hash(uint32_t org, struct bytes name)
{
    return (uint32_t)hash64(name, org);
}

static uint32_t slot_of(const struct head_names *t, uint32_t hash, uint32_t org, struct bytes name)
{
    uint32_t i = hash & (t->slot_cap - 1);
    for (; t->slots[i]; i = (i + 1) & (t->slot_cap - 1)) {
        const struct head_name *n = &t->names[t->slots[i] - 1];
        if (n->hash == hash && n->org == org && bytes_equal(n->name, name))
            break;
    }
    return i;
}

static bool room(struct head_names *t, uint32_t position)
{
    if (t->count == t->cap) {
        uint32_t cap = t->cap ? t->cap * 2 : 64;
        struct head_name *names = realloc(t->names, cap * sizeof(*names));
        if (!names)
            return false;
        t->names = names;
        t->cap = cap;
    }
    if ((t->count + 1) * 2 > t->slot_cap) {
        uint32_t cap = t->slot_cap ? t->slot_cap * 2 : 128;
        uint32_t *slots = calloc(cap, sizeof(*slots));
        if (!slots)
            return false;
        free(t->slots);
        t->slots = slots;
        t->slot_cap = cap;
        for (uint32_t i = 0; i < t->count; i++)
            t->slots[slot_of(t, t->names[i].hash, t->names[i].org, t->names[i].name)] = i + 1;
    }
    if (position >= t->next_cap) {
        uint32_t cap = position + position / 2 + 256;
        uint32_t *next = realloc(t->next, cap * sizeof(*next));
        if (!next)
            return false;
        t->next = next;
        t->next_cap = cap;
    }
    return true;
}

bool head_names_add(struct head_names *t, uint32_t org, struct bytes name, uint32_t position)
{
    if (!room(t, position))
        return false;
    uint32_t hash = name_hash(org, name), slot = slot_of(t, hash, org, name);
    t->next[position] = HEAD_NAMES_END;
    if (t->slots[slot]) {
        struct head_name *n = &t->names[t->slots[slot] - 1];
        CHECK(n->last < position);
        t->next[n->last] = position;
        n->last = position;
        return true;
    }
    t->names[t->count] = (struct head_name){org, hash, position, position, name};
    t->slots[slot] = ++t->count;
    return true;
}

const struct head_name *head_names_find(const struct head_names *t, uint32_t org, struct bytes name)
{
    if (!t->slot_cap)
        return NULL;
    uint32_t i = t->slots[slot_of(t, name_hash(org, name), org, name)];
    return i ? &t->names[i - 1] : NULL;
}

size_t head_names_bytes(const struct head_names *t)
{
    return t->cap * sizeof(*t->names) + (size_t)(t->slot_cap + t->next_cap) * sizeof(uint32_t);
}

void head_names_done(struct head_names *t)
{
    free(t->names), free(t->slots), free(t->next);
    *t = (struct head_names){0};
}
