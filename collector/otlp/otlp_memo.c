#include "collector/otlp/otlp_memo.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/arena.h"
#include "base/check.h"
#include "base/clock.h"

#define SLOT_BITS 16u

struct entry { /* by series number */
    struct hash128 key;
    uint32_t identity; /* a part of it: tells another registry's series of the same number */
    uint32_t next; /* the series that followed this one last time; 0 = none */
    const uint8_t *text; /* as it was sent, in texts; NULL = not kept */
    uint32_t text_size;
};

struct memo {
    struct entry *entries; /* [0, cap); entry 0 is what came first */
    uint32_t cap, last;
    struct arena *texts; /* one behind the other, as the series follow each other */
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
    arena_free(((struct memo *)m)->texts);
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

/* Invariant 1. */
static inline bool still_means(const struct tsdb_registry *r, uint32_t ref, uint32_t org,
                               enum tsdb_series_kind kind)
{
    if (!tsdb_registry_touch(r, (struct tsdb_ref){ref}))
        return false;
    const struct tsdb_series_info *info = tsdb_registry_info(r, (struct tsdb_ref){ref});
    return info->org == org && info->kind == kind &&
           (uint32_t)info->identity.lo == memo->entries[ref].identity;
}

static inline bool is_it(const struct tsdb_registry *r, uint32_t ref, uint32_t org,
                         enum tsdb_series_kind kind, struct hash128 key)
{
    return hash128_equal(memo->entries[ref].key, key) && still_means(r, ref, org, kind);
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
    uint32_t cap = MIN(MAX(ref + ref / 4, 1024), OTLP_MEMO_SERIES);
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
    e->text = NULL;
}

void otlp_memo_keep(struct tsdb_ref ref, struct bytes text)
{
    if (!memo || ref.v >= memo->cap || memo->entries[ref.v].text || !text.size)
        return;
    if (!memo->texts && !(memo->texts = arena_new(OTLP_MEMO_BYTES)))
        return;
    struct entry *e = &memo->entries[ref.v];
    e->text = arena_copy(memo->texts, text).data;
    e->text_size = (uint32_t)text.size;
}

bool otlp_memo_next(const struct tsdb_registry *r, uint32_t org, enum tsdb_series_kind kind,
                    struct bytes message, struct tsdb_ref *out, size_t *out_size)
{
    if (!memo || !memo->entries)
        return false;
    uint32_t ref = memo->entries[memo->last].next;
    const struct entry *e = &memo->entries[ref];
    if (!e->text || e->text_size > message.size ||
        memcmp(e->text, message.data, e->text_size) != 0 || !still_means(r, ref, org, kind))
        return false;
    memo->last = ref;
    out->v = ref;
    *out_size = e->text_size;
    return true;
}

bool otlp_memo_guess(const struct tsdb_registry *r, uint32_t org, enum tsdb_series_kind kind,
                     struct tsdb_ref *out)
{
    uint32_t ref = memo && memo->entries ? memo->entries[memo->last].next : 0;
    if (!ref || memo->entries[ref].text || !still_means(r, ref, org, kind))
        return false;
    out->v = ref;
    return true;
}

void otlp_memo_follow(struct tsdb_ref ref)
{
    CHECK(memo && ref.v < memo->cap);
    memo->last = ref.v;
}
