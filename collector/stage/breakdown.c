#include "collector/stage/breakdown.h"

#include "base/hash.h"

#include <pthread.h>
#include <stdlib.h>

struct value_set {
    uint32_t org, day, dim, count;
    uint64_t used; /* clock of the last look */
    uint64_t *slots; /* hashes, 0 = free */
};

struct breakdown {
    pthread_mutex_t lock;
    uint32_t values_max, slot_count;
    uint64_t clock;
    struct value_set sets[BREAKDOWN_SETS];
};

struct breakdown *breakdown_new(uint32_t values_max)
{
    struct breakdown *b = calloc(1, sizeof *b);
    if (!b)
        return NULL;
    b->values_max = values_max ? values_max : 1000;
    b->slot_count = 16;
    while (b->slot_count < b->values_max * 2)
        b->slot_count *= 2;
    pthread_mutex_init(&b->lock, NULL);
    return b;
}

void breakdown_free(struct breakdown *b)
{
    if (!b)
        return;
    for (size_t i = 0; i < BREAKDOWN_SETS; i++)
        free(b->sets[i].slots);
    pthread_mutex_destroy(&b->lock);
    free(b);
}

static struct value_set *set_of(struct breakdown *b, uint32_t org, uint32_t dim, uint32_t day)
{
    struct value_set *oldest = &b->sets[0];
    for (size_t i = 0; i < BREAKDOWN_SETS; i++) {
        struct value_set *s = &b->sets[i];
        if (s->slots && s->org == org && s->dim == dim && s->day == day)
            return s;
        if (s->used < oldest->used)
            oldest = s;
    }
    uint64_t *slots = oldest->slots ? oldest->slots : malloc(b->slot_count * sizeof *oldest->slots);
    if (!slots)
        return NULL;
    memset(slots, 0, b->slot_count * sizeof *slots);
    *oldest = (struct value_set){.org = org, .day = day, .dim = dim, .slots = slots};
    return oldest;
}

bool breakdown_admits(struct breakdown *b, uint32_t org, enum breakdown_dim dim, uint32_t day,
                      struct bytes value)
{
    uint64_t h = hash64(value, 17);
    bool admitted = false;
    h += h == 0;
    pthread_mutex_lock(&b->lock);
    struct value_set *s = set_of(b, org, dim, day);
    if (s) {
        s->used = ++b->clock;
        uint32_t at = (uint32_t)h & (b->slot_count - 1);
        while (s->slots[at] && s->slots[at] != h)
            at = (at + 1) & (b->slot_count - 1);
        admitted = s->slots[at] == h;
        if (!admitted && s->count < b->values_max) {
            s->slots[at] = h;
            s->count++;
            admitted = true;
        }
    }
    pthread_mutex_unlock(&b->lock);
    return admitted;
}

const char *breakdown_dim_text(enum breakdown_dim dim)
{
    static const char *const texts[] = {"tenant", "prompt",     "team",   "api_key",
                                        "tool",   "mcp_server", "service"};
    return texts[dim];
}
