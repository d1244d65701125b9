#include "gpu/vector_cache.h"

#include <stdlib.h>

struct way {
    struct hash128 key;
    bool is_used, was_asked_for;
};

struct set {
    struct way way[VECTOR_CACHE_WAYS];
    uint32_t hand;
};

struct vector_cache {
    struct set *sets;
    float *vectors; /* [sets][ways][width]; a page that was never written costs nothing */
    size_t count;
    uint32_t width;
};

struct vector_cache *vector_cache_new(size_t bytes, uint32_t width)
{
    struct vector_cache *c = calloc(1, sizeof(*c));
    size_t vectors = (size_t)VECTOR_CACHE_WAYS * width * sizeof(float);
    if (!c)
        return NULL;
    c->width = width;
    c->count = bytes / (sizeof(struct set) + vectors);
    if (c->count) {
        c->sets = calloc(c->count, sizeof(*c->sets));
        c->vectors = malloc(c->count * vectors);
    }
    if (c->count && (!c->sets || !c->vectors)) {
        vector_cache_free(c);
        return NULL;
    }
    return c;
}

void vector_cache_free(struct vector_cache *c)
{
    if (!c)
        return;
    free(c->sets);
    free(c->vectors);
    free(c);
}

static float *place(const struct vector_cache *c, size_t set, uint32_t way)
{
    return c->vectors + (set * VECTOR_CACHE_WAYS + way) * c->width;
}

const float *vector_cache_find(struct vector_cache *c, struct hash128 key)
{
    if (!c->count)
        return NULL;
    size_t at = key.lo % c->count;
    for (uint32_t i = 0; i < VECTOR_CACHE_WAYS; i++) {
        struct way *w = &c->sets[at].way[i];
        if (w->is_used && hash128_equal(w->key, key)) {
            w->was_asked_for = true;
            return place(c, at, i);
        }
    }
    return NULL;
}

void vector_cache_put(struct vector_cache *c, struct hash128 key, const float *vector)
{
    if (!c->count || vector_cache_find(c, key))
        return;
    size_t at = key.lo % c->count;
    struct set *s = &c->sets[at];
    while (s->way[s->hand].is_used && s->way[s->hand].was_asked_for) {
        s->way[s->hand].was_asked_for = false;
        s->hand = (s->hand + 1) % VECTOR_CACHE_WAYS;
    }
    s->way[s->hand] = (struct way){.key = key, .is_used = true};
    memcpy(place(c, at, s->hand), vector, c->width * sizeof(*vector));
    s->hand = (s->hand + 1) % VECTOR_CACHE_WAYS;
}
