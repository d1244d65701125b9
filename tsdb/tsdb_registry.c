#include "tsdb/tsdb_registry.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/check.h"

#define STRIPES 16u
#define PAGE_INFOS 4096u /* infos never move: they live in pages */
#define PAGES_MAX 16384u /* 67 million series */
#define ORGS_MAX 4096u

struct slot {
    uint64_t hash; /* identity.lo; 0 with ref 0 = free */
    uint32_t ref;
};

struct stripe {
    pthread_rwlock_t lock;
    /* guarded by lock */
    struct slot *slots; /* open addressing, a power of two */
    uint32_t cap, used;
    struct arena *arena; /* label bytes */
};

struct org_count {
    uint32_t org, count;
};

struct tsdb_registry {
    /* immutable after init */
    uint32_t series_max_per_org;
    struct stripe stripes[STRIPES];
    /* guarded by grow */
    pthread_mutex_t grow;
    struct org_count *orgs;
    uint32_t org_count;
    /* atomic: a page is published before the count that covers it */
    _Atomic(struct tsdb_series_info *) pages[PAGES_MAX];
    _Atomic uint32_t count;
};

struct tsdb_registry *tsdb_registry_new(uint32_t series_max_per_org)
{
    struct tsdb_registry *r = calloc(1, sizeof(*r));
    if (!r)
        return NULL;
    r->series_max_per_org = series_max_per_org ? series_max_per_org : UINT32_MAX;
    pthread_mutex_init(&r->grow, NULL);
    for (size_t i = 0; i < STRIPES; i++)
        pthread_rwlock_init(&r->stripes[i].lock, NULL);
    return r;
}

void tsdb_registry_free(struct tsdb_registry *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < STRIPES; i++) {
        pthread_rwlock_destroy(&r->stripes[i].lock);
        free(r->stripes[i].slots);
        arena_free(r->stripes[i].arena);
    }
    for (size_t i = 0; i < PAGES_MAX; i++)
        free(atomic_load(&r->pages[i]));
    pthread_mutex_destroy(&r->grow);
    free(r->orgs);
    free(r);
}

const struct tsdb_series_info *tsdb_registry_info(const struct tsdb_registry *r,
                                                  struct tsdb_ref ref)
{
    CHECK(ref.v > 0);
    struct tsdb_series_info *page = atomic_load_explicit(
        &((struct tsdb_registry *)(uintptr_t)r)->pages[(ref.v - 1) / PAGE_INFOS],
        memory_order_acquire);
    CHECK(page);
    return &page[(ref.v - 1) % PAGE_INFOS];
}

uint32_t tsdb_registry_count(const struct tsdb_registry *r)
{
    return atomic_load_explicit(&((struct tsdb_registry *)(uintptr_t)r)->count,
                                memory_order_acquire);
}

/* The two kinds of one label set are two series: the kind is mixed into the slot's hash, the stored identity stays that of the labels. */
static uint64_t slot_hash(struct hash128 identity, enum tsdb_series_kind kind)
{
    return identity.lo ^ (kind == TSDB_SERIES_CELLS ? 0x9e3779b97f4a7c15u : 0);
}

static uint32_t find(const struct tsdb_registry *r, const struct stripe *s, uint64_t hash,
                     uint32_t org, enum tsdb_series_kind kind, struct tsdb_labels labels)
{
    for (uint32_t i = (uint32_t)(hash >> 8) & (s->cap - 1); s->cap && s->slots[i].ref;
         i = (i + 1) & (s->cap - 1)) {
        if (s->slots[i].hash != hash)
            continue;
        const struct tsdb_series_info *info =
            tsdb_registry_info(r, (struct tsdb_ref){s->slots[i].ref});
        if (info->org == org && info->kind == kind && tsdb_labels_equal(info->labels, labels))
            return s->slots[i].ref;
    }
    return 0;
}

static bool stripe_room(struct stripe *s)
{
    if (!s->arena && !(s->arena = arena_new(0)))
        return false;
    if ((s->used + 1) * 4 <= s->cap * 3)
        return true;
    uint32_t cap = s->cap ? s->cap * 2 : 256;
    struct slot *slots = calloc(cap, sizeof(*slots));
    if (!slots)
        return false;
    for (uint32_t i = 0; i < s->cap; i++) {
        if (!s->slots[i].ref)
            continue;
        uint32_t j = (uint32_t)(s->slots[i].hash >> 8) & (cap - 1);
        while (slots[j].ref)
            j = (j + 1) & (cap - 1);
        slots[j] = s->slots[i];
    }
    free(s->slots);
    s->slots = slots;
    s->cap = cap;
    return true;
}

/* Counts one more series of the org, within its limit. Called under grow. */
static enum err org_admit(struct tsdb_registry *r, uint32_t org, uint32_t **out_count)
{
    uint32_t i = 0;
    while (i < r->org_count && r->orgs[i].org != org)
        i++;
    if (i == r->org_count) {
        if (i == ORGS_MAX)
            return ERR_LIMIT;
        struct org_count *orgs = realloc(r->orgs, (i + 1) * sizeof(*orgs));
        if (!orgs)
            return ERR_NOMEM;
        r->orgs = orgs;
        r->orgs[r->org_count++] = (struct org_count){org, 0};
    }
    if (r->orgs[i].count >= r->series_max_per_org)
        return ERR_LIMIT;
    *out_count = &r->orgs[i].count;
    return ERR_OK;
}

/* Gives the series its number. Called under the stripe's write lock. */
static enum err publish(struct tsdb_registry *r, struct arena *labels,
                        const struct tsdb_series_info *info, uint32_t *out_ref)
{
    uint32_t *org_count;
    pthread_mutex_lock(&r->grow);
    uint32_t n = atomic_load_explicit(&r->count, memory_order_relaxed);
    enum err e = n / PAGE_INFOS < PAGES_MAX ? org_admit(r, info->org, &org_count) : ERR_LIMIT;
    if (e == ERR_OK) {
        struct tsdb_series_info *page =
            atomic_load_explicit(&r->pages[n / PAGE_INFOS], memory_order_relaxed);
        if (!page) {
            page = calloc(PAGE_INFOS, sizeof(*page));
            e = page ? ERR_OK : ERR_NOMEM;
        }
        /* copied only once it is admitted: series that are refused must cost no memory */
        struct bytes copy = e == ERR_OK ? arena_copy(labels, info->labels.enc) : BYTES_NONE;
        if (e == ERR_OK && !copy.data)
            e = ERR_NOMEM;
        if (page)
            atomic_store_explicit(&r->pages[n / PAGE_INFOS], page, memory_order_release);
        if (e == ERR_OK) {
            page[n % PAGE_INFOS] = *info;
            page[n % PAGE_INFOS].labels.enc = copy;
            atomic_store_explicit(&r->count, n + 1, memory_order_release);
            (*org_count)++;
            *out_ref = n + 1;
        }
    }
    pthread_mutex_unlock(&r->grow);
    return e;
}

static enum err insert(struct tsdb_registry *r, struct stripe *s, uint64_t hash,
                       struct tsdb_series_info *info, uint32_t *out_ref)
{
    uint32_t ref = find(r, s, hash, info->org, info->kind,
                        info->labels); /* another thread may have been faster */
    if (ref) {
        *out_ref = ref;
        return ERR_OK;
    }
    if (!stripe_room(s))
        return ERR_NOMEM;
    enum err e = publish(r, s->arena, info, &ref);
    if (e != ERR_OK)
        return e;
    uint32_t i = (uint32_t)(hash >> 8) & (s->cap - 1);
    while (s->slots[i].ref)
        i = (i + 1) & (s->cap - 1);
    s->slots[i] = (struct slot){hash, ref};
    s->used++;
    *out_ref = ref;
    return ERR_OK;
}

enum err tsdb_registry_ref(struct tsdb_registry *r, uint32_t org, enum tsdb_series_kind kind,
                           struct tsdb_labels labels, struct tsdb_ref *out)
{
    struct hash128 identity = tsdb_labels_identity(org, labels);
    uint64_t hash = slot_hash(identity, kind);
    struct stripe *s = &r->stripes[hash % STRIPES];
    pthread_rwlock_rdlock(&s->lock);
    uint32_t ref = find(r, s, hash, org, kind, labels);
    pthread_rwlock_unlock(&s->lock);
    enum err e = ERR_OK;
    if (!ref) {
        struct tsdb_series_info info = {org, kind, labels, identity};
        pthread_rwlock_wrlock(&s->lock);
        e = insert(r, s, hash, &info, &ref);
        pthread_rwlock_unlock(&s->lock);
    }
    if (e == ERR_OK)
        out->v = ref;
    return e;
}
