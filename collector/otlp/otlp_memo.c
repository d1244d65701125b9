#include "collector/otlp/otlp_memo.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/arena.h"
#include "base/check.h"
#include "base/clock.h"

#define SLOT_BITS 16u
#define TEXT_MAX ((1u << 30) - 1)
#define TEXT_AHEAD 256u

struct entry { /* by series number */
    struct hash128 key;
    const uint8_t *text; /* as it was sent, in texts; not kept: its labels in the registry */
    uint32_t text_size : 30, is_kept : 1, kind : 1;
    uint32_t identity; /* a part of it: tells another registry's series of the same number */
    uint32_t next; /* the series that followed this one last time; 0 = none */
    uint32_t turn; /* when the registry was asked */
    uint32_t org;
};

_Static_assert(TSDB_SERIES_SAMPLES == 0 && TSDB_SERIES_CELLS == 1, "a bit");

struct memo {
    struct entry *entries; /* [0, cap); entry 0 is what came first */
    uint32_t cap, last;
    uint64_t moment; /* of the registry asked last */
    uint32_t turn; /* counts those */
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

static bool ask(const struct tsdb_registry *r, uint32_t ref)
{
    struct entry *e = &memo->entries[ref];
    if (!tsdb_registry_touch(r, (struct tsdb_ref){ref}))
        return false;
    const struct tsdb_series_info *info = tsdb_registry_info(r, (struct tsdb_ref){ref});
    if ((uint32_t)info->identity.lo != e->identity || info->org != e->org || info->kind != e->kind)
        return false;
    if (!e->is_kept) { /* forgotten meanwhile and born again: they lie elsewhere */
        e->text = info->labels.enc.data;
        e->text_size = info->labels.enc.size & TEXT_MAX;
    }
    e->turn = memo->turn;
    return true;
}

/* Invariant 1. */
static inline bool still_means(const struct tsdb_registry *r, uint32_t ref, uint32_t org,
                               enum tsdb_series_kind kind)
{
    uint64_t moment = tsdb_registry_moment(r);
    if (moment != memo->moment) {
        memo->moment = moment;
        memo->turn++;
    }
    const struct entry *e = &memo->entries[ref];
    return (e->turn == memo->turn || ask(r, ref)) && e->org == org && e->kind == kind;
}

/* What comes after the one that comes next is fetched meanwhile: lines of 64 bytes, of the text's beginning. */
static inline void fetch_ahead(uint32_t next)
{
    const struct entry *e = &memo->entries[next];
    for (uint32_t i = 0; i < TEXT_AHEAD && i < e->text_size; i += 64)
        __builtin_prefetch(e->text + i);
    __builtin_prefetch(&memo->entries[e->next]);
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
    const struct tsdb_series_info *info = tsdb_registry_info(r, ref);
    e->key = key;
    e->identity = (uint32_t)info->identity.lo;
    e->org = info->org;
    e->kind = info->kind == TSDB_SERIES_CELLS;
    e->text = info->labels.enc.data;
    e->text_size = info->labels.enc.size & TEXT_MAX;
    e->is_kept = false;
    e->turn = memo->turn - 1; /* asked at the next use */
}

void otlp_memo_keep(struct tsdb_ref ref, struct bytes text)
{
    if (!memo || ref.v >= memo->cap || memo->entries[ref.v].is_kept || !text.size ||
        text.size > TEXT_MAX)
        return;
    if (!memo->texts && !(memo->texts = arena_new(OTLP_MEMO_BYTES)))
        return;
    struct entry *e = &memo->entries[ref.v];
    struct bytes copy = arena_copy(memo->texts, text);
    if (!copy.data)
        return; /* that was the last of them */
    e->text = copy.data;
    e->text_size = text.size & TEXT_MAX;
    e->is_kept = true;
}

bool otlp_memo_next(const struct tsdb_registry *r, uint32_t org, enum tsdb_series_kind kind,
                    struct bytes message, struct tsdb_ref *out, size_t *out_size)
{
    if (!memo || !memo->entries)
        return false;
    uint32_t ref = memo->entries[memo->last].next;
    const struct entry *e = &memo->entries[ref];
    if (!e->is_kept || e->text_size > message.size)
        return false;
    fetch_ahead(e->next);
    if (memcmp(e->text, message.data, e->text_size) != 0 || !still_means(r, ref, org, kind))
        return false;
    memo->last = ref;
    out->v = ref;
    *out_size = e->text_size;
    return true;
}

bool otlp_memo_guess(const struct tsdb_registry *r, uint32_t org, enum tsdb_series_kind kind,
                     struct tsdb_ref *out, struct bytes *out_labels)
{
    uint32_t ref = memo && memo->entries ? memo->entries[memo->last].next : 0;
    if (!ref || memo->entries[ref].is_kept || !still_means(r, ref, org, kind))
        return false;
    fetch_ahead(memo->entries[ref].next);
    out->v = ref;
    *out_labels = bytes_of(memo->entries[ref].text, memo->entries[ref].text_size);
    return true;
}

void otlp_memo_follow(struct tsdb_ref ref)
{
    CHECK(memo && ref.v < memo->cap);
    memo->last = ref.v;
}
