#include "collector/otlp/otlp_memo.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/check.h"
#include "base/clock.h"

#define SLOT_BITS 16u

struct entry { /* by series number */
    struct hash128 key;
    uint32_t identity; /* a part of it: tells another registry's series of the same number */
    uint32_t next; /* the series that followed this one last time; 0 = none */
};

struct memo {
    struct entry *entries; /* [0, cap); entry 0 is what came first */
    uint32_t cap, last;
    uint32_t slots[1u << SLOT_BITS]; /* by key: a number, 0 = none */
};

/* On the heap and not in thread-local storage proper: that would be taken from every thread's stack. */
static _Thread_local struct memo *memo;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t ends_with_thread;
static uint64_t seed;

static void memo_free(void *m)
{
    free(((struct memo *)m)->entries);
    free(m);
}

static void set_up(void)
{
    CHECK(pthread_key_create(&ends_with_thread, memo_free) == 0);
    if (getrandom(&seed, sizeof(seed), 0) != (ssize_t)sizeof(seed))
        seed = (uint64_t)clock_wall_ns() * UINT64_C(0x9e3779b97f4a7c15);
}

uint64_t otlp_memo_seed(void)
{
    pthread_once(&once, set_up);
    return seed;
}

static inline bool is_it(const struct tsdb_registry *r, uint32_t ref, uint32_t org,
                         enum tsdb_series_kind kind, struct hash128 key)
{
    const struct entry *e = &memo->entries[ref];
    if (!ref || !hash128_equal(e->key, key) || ref > tsdb_registry_count(r))
        return false;
    const struct tsdb_series_info *info = tsdb_registry_info(r, (struct tsdb_ref){ref});
    return info->org == org && info->kind == kind && (uint32_t)info->identity.lo == e->identity;
}

static uint32_t *slot(struct hash128 key)
{
    return &memo->slots[key.hi >> (64 - SLOT_BITS)];
}

bool otlp_memo_find(const struct tsdb_registry *r, uint32_t org, enum tsdb_series_kind kind,
                    struct hash128 key, struct tsdb_ref *out)
{
    if (!memo || !memo->entries)
        return false;
    uint32_t *guess = &memo->entries[memo->last].next, ref = *guess;
    if (!is_it(r, ref, org, kind, key)) {
        ref = *slot(key);
        if (!is_it(r, ref, org, kind, key))
            return false;
        *guess = ref;
    }
    memo->last = ref;
    out->v = ref;
    return true;
}

static bool memo_grow(uint32_t ref)
{
    if (!memo) {
        pthread_once(&once, set_up);
        struct memo *fresh = calloc(1, sizeof(*fresh));
        if (!fresh || pthread_setspecific(ends_with_thread, fresh) != 0) {
            free(fresh);
            return false;
        }
        memo = fresh;
    }
    if (ref < memo->cap)
        return true;
    uint32_t cap = MIN(MAX(2 * ref, 1024), OTLP_MEMO_SERIES);
    struct entry *entries =
        ref < OTLP_MEMO_SERIES ? realloc(memo->entries, cap * sizeof(*entries)) : NULL;
    if (!entries)
        return false;
    memset(entries + memo->cap, 0, (cap - memo->cap) * sizeof(*entries));
    memo->entries = entries;
    memo->cap = cap;
    return true;
}

void otlp_memo_put(const struct tsdb_registry *r, struct hash128 key, struct tsdb_ref ref)
{
    if (!memo_grow(ref.v))
        return;
    memo->entries[memo->last].next = ref.v;
    memo->last = ref.v;
    *slot(key) = ref.v;
    struct entry *e = &memo->entries[ref.v];
    e->key = key;
    e->identity = (uint32_t)tsdb_registry_info(r, ref)->identity.lo;
}
