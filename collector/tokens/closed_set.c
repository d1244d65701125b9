#include "collector/tokens/closed_set.h"

#include <stdlib.h>

#define SIZE_FIRST 256u

void closed_set_done(struct closed_set *s)
{
    free(s->slots);
    *s = (struct closed_set){0};
}

static uint32_t place(const struct closed_set *s, uint64_t id)
{
    uint32_t at = (uint32_t)id & (s->size - 1);
    while (s->slots[at] && s->slots[at] != id)
        at = (at + 1) & (s->size - 1);
    return at;
}

bool closed_set_has(const struct closed_set *s, uint64_t id)
{
    return s->size && s->slots[place(s, id)] == id;
}

static bool grow(struct closed_set *s)
{
    struct closed_set more = {.size = s->size ? s->size * 2 : SIZE_FIRST, .count = s->count};
    more.slots = calloc(more.size, sizeof *more.slots);
    if (!more.slots)
        return false;
    for (uint32_t i = 0; i < s->size; i++)
        if (s->slots[i])
            more.slots[place(&more, s->slots[i])] = s->slots[i];
    free(s->slots);
    *s = more;
    return true;
}

bool closed_set_add(struct closed_set *s, uint64_t id)
{
    if (s->count * 2 >= s->size && !grow(s))
        return false;
    uint32_t at = place(s, id);
    s->count += s->slots[at] == 0;
    s->slots[at] = id;
    return true;
}

/* What lies behind moves up, so that no look-up ends too early. */
void closed_set_remove(struct closed_set *s, uint64_t id)
{
    if (!closed_set_has(s, id))
        return;
    uint32_t mask = s->size - 1, hole = place(s, id);
    for (uint32_t at = (hole + 1) & mask; s->slots[at]; at = (at + 1) & mask) {
        uint32_t home = (uint32_t)s->slots[at] & mask;
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            s->slots[hole] = s->slots[at];
            hole = at;
        }
    }
    s->slots[hole] = 0;
    s->count--;
}
