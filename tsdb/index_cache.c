#include "tsdb/index_cache.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/stats.h"

#define BUCKETS 4096u

STATS_GAUGE(cache_bytes, "telltale_tsdb_index_cache_bytes", "",
            "Memory of the decoded index blocks that are kept.");
STATS_COUNTER(cache_hits, "telltale_tsdb_index_cache_hits_total", "",
              "Index blocks that a query found decoded.");
STATS_COUNTER(cache_misses, "telltale_tsdb_index_cache_misses_total", "",
              "Index blocks that a query had to decode.");
STATS_COUNTER(cache_evicted, "telltale_tsdb_index_cache_evicted_total", "",
              "Decoded index blocks dropped to make room.");

STATS_COUNTER(pick_hits, "telltale_tsdb_index_picks_total", "result=\"hit\"",
              "Selections of series from an index block, by whether the answer was known.")
STATS_COUNTER(pick_misses, "telltale_tsdb_index_picks_total", "result=\"miss\"",
              "Selections of series from an index block, by whether the answer was known.")

static pthread_mutex_t picks_lock = PTHREAD_MUTEX_INITIALIZER;

struct entry {
    struct index_segment s; /* first: a segment is its entry */
    _Atomic uint32_t refs;
    struct arena *arena;
    size_t bytes;
    uint64_t part;
    struct block_key key;
    /* guarded by picks_lock */
    struct pick {
        struct hash128 key;
        uint16_t *at; /* NULL: free */
        uint32_t count;
    } picks[INDEX_PICKS];
    uint32_t pick_next;
    /* guarded by cache.lock */
    struct entry *next; /* in the bucket */
    struct entry *newer, *older;
};

static struct {
    pthread_mutex_t lock;
    /* guarded by lock */
    struct entry *buckets[BUCKETS];
    struct entry *newest, *oldest;
    size_t bytes, limit;
} cache = {.lock = PTHREAD_MUTEX_INITIALIZER, .limit = INDEX_CACHE_BYTES};

/* --- decoding ------------------------------------------------------------------------------------ */

struct draft {
    struct index_pair *pairs; /* in order of discovery */
    struct bytes *names;
    uint32_t count, cap;
    uint32_t *slots, slot_cap; /* hash of enc -> index + 1 */
    struct arena *a;
};

static bool draft_room(struct draft *d)
{
    if (d->count == d->cap) {
        uint32_t cap = d->cap ? d->cap * 2 : 1024;
        d->pairs = arena_grow(d->a, d->pairs, sizeof(*d->pairs), d->cap, cap);
        d->names = arena_grow(d->a, d->names, sizeof(*d->names), d->cap, cap);
        d->cap = cap;
    }
    if ((d->count + 1) * 2 > d->slot_cap) {
        uint32_t cap = d->slot_cap ? d->slot_cap * 2 : 4096;
        d->slots = ARENA_ARRAY(d->a, uint32_t, cap);
        d->slot_cap = d->slots ? cap : 0;
        for (uint32_t i = 0; d->slots && d->pairs && i < d->count; i++) {
            uint32_t j = (uint32_t)hash64(d->pairs[i].enc, 0) & (cap - 1);
            while (d->slots[j])
                j = (j + 1) & (cap - 1);
            d->slots[j] = i + 1;
        }
    }
    return d->pairs && d->names && d->slots;
}

/* The number of a pair, made when it is new; UINT32_MAX without memory. */
static uint32_t draft_pair(struct draft *d, struct bytes enc, const struct tsdb_label *l)
{
    if (!draft_room(d))
        return UINT32_MAX;
    uint32_t j = (uint32_t)hash64(enc, 0) & (d->slot_cap - 1);
    while (d->slots[j] && !bytes_equal(d->pairs[d->slots[j] - 1].enc, enc))
        j = (j + 1) & (d->slot_cap - 1);
    if (!d->slots[j]) {
        d->pairs[d->count] = (struct index_pair){enc, l->value};
        d->names[d->count++] = l->name;
        d->slots[j] = d->count;
    }
    return d->slots[j] - 1;
}

/* Fills start[n + 1] and *out: the draft numbers of the pairs of each series. */
static enum err draft_rows(struct draft *d, const struct block_index_series *s, uint32_t n,
                           uint32_t *start, uint32_t **out)
{
    uint32_t *rows = NULL, count = 0, cap = 0, before = 0, before_end = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct tsdb_labels_iter it = tsdb_labels_begin(s[i].labels);
        struct tsdb_label l;
        start[i] = count;
        for (const uint8_t *at = it.at; tsdb_labels_next(&it, &l); at = it.at) {
            struct bytes enc = bytes_of(at, (size_t)(it.at - at));
            if (count == cap) {
                uint32_t more = cap ? cap * 2 : 65536;
                if (!(rows = arena_grow(d->a, rows, sizeof(*rows), cap, more)))
                    return ERR_NOMEM;
                cap = more;
            }
            /* neighbours share most of their pairs, at the same place */
            if (before < before_end && bytes_equal(d->pairs[rows[before]].enc, enc))
                rows[count] = rows[before];
            else
                rows[count] = draft_pair(d, enc, &l);
            if (rows[count++] == UINT32_MAX)
                return ERR_NOMEM;
            before++;
        }
        before = start[i];
        before_end = count;
    }
    start[n] = count;
    *out = rows;
    return ERR_OK;
}

static int by_pair(const void *x, const void *y, void *ctx)
{
    const struct draft *d = ctx;
    uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;
    int c = bytes_compare(d->names[a], d->names[b]);
    return c ? c : bytes_compare(d->pairs[a].value, d->pairs[b].value);
}

/* The dictionary in order; rank: draft number -> number. */
static enum err keep_pairs(struct draft *d, struct entry *e, uint32_t *rank)
{
    uint32_t n = d->count, names = 0;
    uint32_t *order = ARENA_ARRAY(d->a, uint32_t, n + 1);
    struct index_pair *pairs = ARENA_ARRAY(e->arena, struct index_pair, n + 1);
    if (!order || !pairs)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < n; i++)
        order[i] = i;
    qsort_r(order, n, sizeof(*order), by_pair, d);
    for (uint32_t i = 0; i < n; i++) {
        const struct index_pair *from = &d->pairs[order[i]];
        rank[order[i]] = i;
        names += i == 0 || !bytes_equal(d->names[order[i]], d->names[order[i - 1]]);
        pairs[i].enc = arena_copy(e->arena, from->enc);
        if (!pairs[i].enc.data)
            return ERR_NOMEM;
        pairs[i].value =
            bytes_of(pairs[i].enc.data + (from->value.data - from->enc.data), from->value.size);
    }
    struct bytes *name = ARENA_ARRAY(e->arena, struct bytes, names + 1);
    uint32_t *first = ARENA_ARRAY(e->arena, uint32_t, names + 1), k = 0;
    if (!name || !first)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < n; i++) {
        struct bytes from = d->names[order[i]];
        if (i > 0 && bytes_equal(from, d->names[order[i - 1]]))
            continue;
        name[k] =
            bytes_of(pairs[i].enc.data + (from.data - d->pairs[order[i]].enc.data), from.size);
        first[k++] = i;
    }
    first[k] = n;
    e->s.names = name;
    e->s.name_pairs = first;
    e->s.pairs = pairs;
    e->s.name_count = names;
    e->s.pair_count = n;
    return ERR_OK;
}

static enum err keep_rows(struct entry *e, const struct block_index_series *s,
                          const uint32_t *start, const uint32_t *rows, const uint32_t *rank)
{
    uint32_t n = e->s.count, total = start[n], slots = 16;
    while (slots < n * 2)
        slots *= 2;
    uint32_t *row_start = ARENA_ARRAY(e->arena, uint32_t, n + 1);
    uint32_t *row_pairs = ARENA_ARRAY(e->arena, uint32_t, total + 1);
    uint32_t *post_start = ARENA_ARRAY(e->arena, uint32_t, e->s.pair_count + 2);
    uint16_t *post = ARENA_ARRAY(e->arena, uint16_t, total + 1);
    struct hash128 *identity = ARENA_ARRAY(e->arena, struct hash128, n + 1);
    uint16_t *slot = ARENA_ARRAY(e->arena, uint16_t, slots);
    if (!row_start || !row_pairs || !post_start || !post || !identity || !slot)
        return ERR_NOMEM;
    memcpy(row_start, start, (n + 1) * sizeof(*start));
    for (uint32_t i = 0; i < total; i++) {
        row_pairs[i] = rank[rows[i]];
        post_start[row_pairs[i] + 2]++; /* shifted by one, so that filling leaves the starts */
    }
    for (uint32_t i = 2; i < e->s.pair_count + 2; i++)
        post_start[i] += post_start[i - 1];
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t k = row_start[i]; k < row_start[i + 1]; k++)
            post[post_start[row_pairs[k] + 1]++] = (uint16_t)i;
        identity[i] = s[i].identity;
        uint32_t j = (uint32_t)identity[i].lo & (slots - 1);
        while (slot[j])
            j = (j + 1) & (slots - 1);
        slot[j] = (uint16_t)(i + 1);
    }
    e->s.row_start = row_start;
    e->s.row_pairs = row_pairs;
    e->s.post_start = post_start;
    e->s.post = post;
    e->s.identity = identity;
    e->s.slots = slot;
    e->s.slot_mask = slots - 1;
    return ERR_OK;
}

static enum err decode(struct entry *e, struct bytes block, uint32_t org, struct arena *a)
{
    struct draft d = {.a = a};
    struct block_index_series *s;
    uint32_t *start, *rows = NULL, *rank = NULL;
    _Static_assert(BLOCK_INDEX_SERIES_MAX < UINT16_MAX, "positions are 16 bits");
    enum err err = block_index_read(block, org, a, &e->s.first_id, &s, &e->s.count);
    if (err != ERR_OK)
        return err;
    start = ARENA_ARRAY(a, uint32_t, e->s.count + 1);
    err = start ? draft_rows(&d, s, e->s.count, start, &rows) : ERR_NOMEM;
    if (err == ERR_OK && !(rank = ARENA_ARRAY(a, uint32_t, d.count + 1)))
        err = ERR_NOMEM;
    if (err == ERR_OK)
        err = keep_pairs(&d, e, rank);
    return err == ERR_OK ? keep_rows(e, s, start, rows, rank) : err;
}

static void entry_free(struct entry *e)
{
    if (!e)
        return;
    arena_free(e->arena);
    for (uint32_t i = 0; i < INDEX_PICKS; i++)
        free(e->picks[i].at);
    free(e);
}

static enum err load(const struct part_snapshot *p, const struct block_meta *m, struct entry **out)
{
    struct err_msg msg;
    struct bytes block;
    struct arena *a = arena_new(0);
    struct entry *e = calloc(1, sizeof(*e));
    enum err err = a && e && (e->arena = arena_new(0)) ? ERR_OK : ERR_NOMEM;
    if (err == ERR_OK)
        err = part_fetch(p, m, a, &block, &msg);
    if (err == ERR_OK)
        err = decode(e, block, m->key.org, a);
    arena_free(a);
    if (err != ERR_OK) {
        entry_free(e);
        return err == ERR_LIMIT ? ERR_NOMEM : err;
    }
    atomic_init(&e->refs, 1);
    e->bytes = arena_used(e->arena) + sizeof(*e) +
               INDEX_PICKS * sizeof(uint16_t) * MIN(e->s.count, INDEX_PICK_SERIES);
    e->part = part_snapshot_id(p);
    e->key = m->key;
    *out = e;
    return ERR_OK;
}

/* --- the cache ----------------------------------------------------------------------------------- */

static struct entry **bucket_of(uint64_t part, const struct block_key *k)
{
    uint64_t h = (part * 0x9e3779b97f4a7c15u) ^ (k->generation * 0xc2b2ae3d27d4eb4fu) ^
                 ((uint64_t)k->n * 0x165667b19e3779f9u) ^ ((uint64_t)k->org << 40);
    return &cache.buckets[(h ^ h >> 31) % BUCKETS];
}

/* The following are under the lock. */

static void unlink_entry(struct entry *e)
{
    *(e->newer ? &e->newer->older : &cache.newest) = e->older;
    *(e->older ? &e->older->newer : &cache.oldest) = e->newer;
}

static void link_newest(struct entry *e)
{
    e->newer = NULL;
    e->older = cache.newest;
    *(cache.newest ? &cache.newest->newer : &cache.oldest) = e;
    cache.newest = e;
}

static struct entry *find(uint64_t part, const struct block_key *k)
{
    struct entry *e = *bucket_of(part, k);
    while (e && (e->part != part || e->key.org != k->org || e->key.generation != k->generation ||
                 e->key.n != k->n || e->key.kind != k->kind))
        e = e->next;
    if (e) {
        unlink_entry(e);
        link_newest(e);
        atomic_fetch_add(&e->refs, 1);
    }
    return e;
}

/* Returns what was dropped, as a list by next, for freeing outside of the lock. */
static struct entry *trim(void)
{
    struct entry *dropped = NULL;
    while (cache.bytes > cache.limit && cache.oldest) {
        struct entry *e = cache.oldest, **at = bucket_of(e->part, &e->key);
        while (*at != e)
            at = &(*at)->next;
        *at = e->next;
        unlink_entry(e);
        cache.bytes -= e->bytes;
        e->next = dropped;
        dropped = e;
    }
    stats_set(&cache_bytes, (int64_t)cache.bytes);
    return dropped;
}

static void release_list(struct entry *e)
{
    while (e) {
        struct entry *next = e->next;
        stats_add(&cache_evicted, 1);
        index_segment_release(&e->s);
        e = next;
    }
}

void index_segment_release(const struct index_segment *s)
{
    struct entry *e = (struct entry *)(uintptr_t)s;
    if (e && atomic_fetch_sub(&e->refs, 1) == 1)
        entry_free(e);
}

enum err index_cache_get(const struct part_snapshot *p, const struct block_meta *m,
                         const struct index_segment **out)
{
    uint64_t part = part_snapshot_id(p);
    pthread_mutex_lock(&cache.lock);
    struct entry *e = find(part, &m->key), *fresh = NULL, *dropped = NULL;
    pthread_mutex_unlock(&cache.lock);
    stats_add(e ? &cache_hits : &cache_misses, 1);
    if (!e) {
        enum err err = load(p, m, &fresh);
        if (err != ERR_OK)
            return err;
        pthread_mutex_lock(&cache.lock);
        e = find(part, &m->key); /* another query may have been faster */
        if (!e) {
            struct entry **at = bucket_of(part, &m->key);
            e = fresh;
            fresh = NULL;
            atomic_fetch_add(&e->refs, 1);
            e->next = *at;
            *at = e;
            link_newest(e);
            cache.bytes += e->bytes;
            dropped = trim();
        }
        pthread_mutex_unlock(&cache.lock);
        entry_free(fresh);
        release_list(dropped);
    }
    *out = &e->s;
    return ERR_OK;
}

void index_cache_limit(size_t bytes)
{
    pthread_mutex_lock(&cache.lock);
    cache.limit = bytes;
    struct entry *dropped = trim();
    pthread_mutex_unlock(&cache.lock);
    release_list(dropped);
}

size_t index_cache_bytes(void)
{
    pthread_mutex_lock(&cache.lock);
    size_t n = cache.bytes;
    pthread_mutex_unlock(&cache.lock);
    return n;
}

/* --- what was picked ----------------------------------------------------------------------------- */

bool index_segment_recall(const struct index_segment *s, struct hash128 key, uint32_t *at,
                          uint32_t *out_count)
{
    struct entry *e = (struct entry *)(uintptr_t)s;
    bool found = false;
    pthread_mutex_lock(&picks_lock);
    for (uint32_t i = 0; i < INDEX_PICKS && !found; i++) {
        const struct pick *p = &e->picks[i];
        if (!p->at || !hash128_equal(p->key, key))
            continue;
        for (uint32_t k = 0; k < p->count; k++)
            at[k] = p->at[k];
        *out_count = p->count;
        found = true;
    }
    pthread_mutex_unlock(&picks_lock);
    stats_add(found ? &pick_hits : &pick_misses, 1);
    return found;
}

void index_segment_remember(const struct index_segment *s, struct hash128 key, const uint32_t *at,
                            uint32_t count)
{
    struct entry *e = (struct entry *)(uintptr_t)s;
    uint16_t *copy = count <= INDEX_PICK_SERIES ? malloc((count + 1) * sizeof(*copy)) : NULL;
    if (!copy)
        return;
    for (uint32_t i = 0; i < count; i++)
        copy[i] = (uint16_t)at[i];
    pthread_mutex_lock(&picks_lock);
    struct pick *p = &e->picks[e->pick_next++ % INDEX_PICKS];
    uint16_t *old = p->at;
    *p = (struct pick){key, copy, count};
    pthread_mutex_unlock(&picks_lock);
    free(old);
}

/* --- looking ------------------------------------------------------------------------------------- */

void index_segment_name(const struct index_segment *s, struct bytes name, uint32_t *lo,
                        uint32_t *hi)
{
    *lo = *hi = 0;
    for (uint32_t i = 0; i < s->name_count; i++)
        if (bytes_equal(s->names[i], name)) {
            *lo = s->name_pairs[i];
            *hi = s->name_pairs[i + 1];
            return;
        }
}

uint32_t index_segment_value(const struct index_segment *s, uint32_t lo, uint32_t hi,
                             struct bytes value)
{
    uint32_t end = hi;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        int c = bytes_compare(s->pairs[mid].value, value);
        if (c == 0)
            return mid;
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return end;
}

uint32_t index_segment_find(const struct index_segment *s, struct hash128 identity)
{
    uint32_t j = (uint32_t)identity.lo & s->slot_mask;
    for (; s->slots[j]; j = (j + 1) & s->slot_mask)
        if (hash128_equal(s->identity[s->slots[j] - 1], identity))
            return s->slots[j] - 1u;
    return UINT32_MAX;
}

struct tsdb_labels index_segment_labels(const struct index_segment *s, uint32_t position,
                                        struct arena *a)
{
    size_t size = 0;
    for (uint32_t i = s->row_start[position]; i < s->row_start[position + 1]; i++)
        size += s->pairs[s->row_pairs[i]].enc.size;
    uint8_t *p = arena_alloc_raw(a, size + 1, 1), *at = p;
    if (!p)
        return (struct tsdb_labels){BYTES_NONE};
    for (uint32_t i = s->row_start[position]; i < s->row_start[position + 1]; i++) {
        struct bytes enc = s->pairs[s->row_pairs[i]].enc;
        memcpy(at, enc.data, enc.size);
        at += enc.size;
    }
    return (struct tsdb_labels){bytes_of(p, size)};
}
