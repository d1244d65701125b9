#include "tsdb/tsdb_registry.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/slab.h"
#include "tsdb/series_limits.h"

#define STRIPES 16u
#define PAGE_ENTRIES 4096u /* entries never move: they live in pages */
#define PAGES_MAX 16384u /* 67 million series */
#define LABELS_STEP 16u /* label bytes are kept in sizes that are multiples of it, ... */
#define LABELS_CLASSES 64u /* ... freed ones by size; longer ones are malloc'ed */
#define NEVER 0u /* the stamp of a number that means nothing */

struct entry {
    struct tsdb_series_info info; /* first: an info is its entry */
    _Atomic uint32_t stamp; /* the minute it was last found in; NEVER */
    _Atomic uint32_t heads; /* that hold it */
    uint32_t metric;
    uint32_t born : 31, is_overflow : 1;
};

struct slot { /* hash: the upper half; the lower one chose the stripe */
    uint32_t hash, ref; /* ref 0 = free */
};

struct stripe {
    pthread_rwlock_t lock;
    /* guarded by lock */
    struct slot *slots; /* open addressing, a power of two */
    uint32_t cap, used;
};

struct refs {
    uint32_t *v, count, cap;
};

struct free_labels {
    struct free_labels *next;
};

struct tsdb_registry {
    uint32_t serial; /* among those of the process; immutable after init */
    struct stripe stripes[STRIPES];
    pthread_rwlock_t walk; /* before grow; held for writing while something is forgotten */
    /* guarded by grow */
    pthread_mutex_t grow;
    struct series_limits limits;
    struct slab slab; /* pages and label bytes */
    struct free_labels *labels[LABELS_CLASSES];
    struct refs idle, unused; /* forgotten in the last eviction; free to be given again */
    uint32_t idle_minute;
    /* atomic: a page is published before the count that covers it */
    _Atomic(struct entry *) pages[PAGES_MAX];
    _Atomic uint32_t count, live, evictions, minute;
    _Atomic uint64_t bytes; /* of tables and long labels, besides the slab's */
};

static _Atomic uint32_t serials;

struct tsdb_registry *tsdb_registry_new(uint32_t series_max_per_org)
{
    struct tsdb_registry *r = calloc(1, sizeof(*r));
    if (!r)
        return NULL;
    r->serial = atomic_fetch_add(&serials, 1) + 1;
    r->limits.per_org = series_max_per_org ? series_max_per_org : UINT32_MAX;
    r->limits.per_metric = UINT32_MAX;
    atomic_init(&r->minute, 1);
    pthread_mutex_init(&r->grow, NULL);
    pthread_rwlock_init(&r->walk, NULL);
    for (size_t i = 0; i < STRIPES; i++)
        pthread_rwlock_init(&r->stripes[i].lock, NULL);
    return r;
}

static struct entry *entry_at(const struct tsdb_registry *r, uint32_t ref)
{
    struct entry *page = atomic_load_explicit(
        &((struct tsdb_registry *)(uintptr_t)r)->pages[(ref - 1) / PAGE_ENTRIES],
        memory_order_acquire);
    CHECK(ref > 0 && page);
    return &page[(ref - 1) % PAGE_ENTRIES];
}

void tsdb_registry_free(struct tsdb_registry *r)
{
    if (!r)
        return;
    for (uint32_t ref = 1; ref <= atomic_load(&r->count); ref++) {
        struct bytes enc = entry_at(r, ref)->info.labels.enc;
        if (enc.size > LABELS_STEP * LABELS_CLASSES)
            free((void *)(uintptr_t)enc.data);
    }
    for (size_t i = 0; i < STRIPES; i++) {
        pthread_rwlock_destroy(&r->stripes[i].lock);
        free(r->stripes[i].slots);
    }
    series_limits_done(&r->limits);
    slab_done(&r->slab);
    free(r->idle.v), free(r->unused.v);
    pthread_rwlock_destroy(&r->walk);
    pthread_mutex_destroy(&r->grow);
    free(r);
}

void tsdb_registry_limit_metrics(struct tsdb_registry *r, uint32_t series_max_per_metric)
{
    r->limits.per_metric = series_max_per_metric ? series_max_per_metric : UINT32_MAX;
}

const struct tsdb_series_info *tsdb_registry_info(const struct tsdb_registry *r,
                                                  struct tsdb_ref ref)
{
    return &entry_at(r, ref.v)->info;
}

#define READ_ATOMIC(r, field) \
    atomic_load_explicit(&((struct tsdb_registry *)(uintptr_t)(r))->field, memory_order_acquire)

uint32_t tsdb_registry_count(const struct tsdb_registry *r)
{
    return READ_ATOMIC(r, count);
}

uint32_t tsdb_registry_live(const struct tsdb_registry *r)
{
    return READ_ATOMIC(r, live);
}

uint32_t tsdb_registry_evictions(const struct tsdb_registry *r)
{
    return READ_ATOMIC(r, evictions);
}

uint64_t tsdb_registry_moment(const struct tsdb_registry *r)
{
    return (uint64_t)r->serial << 32 | READ_ATOMIC(r, minute);
}

uint64_t tsdb_registry_bytes(const struct tsdb_registry *r)
{
    return sizeof(*r) / 8 + slab_bytes(&r->slab) + READ_ATOMIC(r, bytes);
}

/* --- use ------------------------------------------------------------------------------------------- */

/* The race with evict is decided here: whoever changes the stamp first has it. */
static bool touch(const struct tsdb_registry *r, struct entry *e)
{
    uint32_t now = READ_ATOMIC(r, minute);
    uint32_t stamp = atomic_load_explicit(&e->stamp, memory_order_acquire);
    while (stamp != NEVER && stamp < now)
        if (atomic_compare_exchange_weak(&e->stamp, &stamp, now))
            return true;
    return stamp != NEVER;
}

bool tsdb_registry_touch(const struct tsdb_registry *r, struct tsdb_ref ref)
{
    return ref.v > 0 && ref.v <= tsdb_registry_count(r) && touch(r, entry_at(r, ref.v));
}

void tsdb_registry_hold(struct tsdb_registry *r, struct tsdb_ref ref)
{
    atomic_fetch_add_explicit(&entry_at(r, ref.v)->heads, 1, memory_order_relaxed);
}

void tsdb_registry_unhold(const struct tsdb_series_info *held)
{
    struct entry *e = (struct entry *)(uintptr_t)held;
    uint32_t before = atomic_fetch_sub_explicit(&e->heads, 1, memory_order_release);
    CHECK(before > 0);
}

void tsdb_registry_tick(struct tsdb_registry *r, uint32_t minute)
{
    if (minute > READ_ATOMIC(r, minute))
        atomic_store_explicit(&r->minute, minute, memory_order_release);
}

/* --- finding --------------------------------------------------------------------------------------- */

/* The two kinds of one label set are two series: the kind is mixed into the slot's hash, the stored identity stays that of the labels. */
static uint64_t slot_hash(struct hash128 identity, enum tsdb_series_kind kind)
{
    return identity.lo ^ (kind == TSDB_SERIES_CELLS ? 0x9e3779b97f4a7c15u : 0);
}

static uint32_t find(const struct tsdb_registry *r, const struct stripe *s, uint64_t hash,
                     const struct tsdb_series_info *like)
{
    uint32_t upper = (uint32_t)(hash >> 32);
    for (uint32_t i = upper & (s->cap - 1); s->cap && s->slots[i].ref; i = (i + 1) & (s->cap - 1)) {
        if (s->slots[i].hash != upper)
            continue;
        struct entry *e = entry_at(r, s->slots[i].ref);
        if (e->info.org == like->org && e->info.kind == like->kind &&
            tsdb_labels_equal(e->info.labels, like->labels) && touch(r, e))
            return s->slots[i].ref;
    }
    return 0;
}

static void slots_put(struct slot *slots, uint32_t cap, struct slot slot)
{
    uint32_t i = slot.hash & (cap - 1);
    while (slots[i].ref)
        i = (i + 1) & (cap - 1);
    slots[i] = slot;
}

/* A table without the numbers that mean nothing any more, with room for one more. Called under the stripe's write lock. */
static bool stripe_rebuild(struct tsdb_registry *r, struct stripe *s)
{
    uint32_t used = 0, cap = 256;
    for (uint32_t i = 0; i < s->cap; i++)
        used += s->slots[i].ref && atomic_load(&entry_at(r, s->slots[i].ref)->stamp) != NEVER;
    while ((used + 1) * 4 > cap * 3)
        cap *= 2;
    struct slot *slots = calloc(cap, sizeof(*slots));
    if (!slots)
        return false;
    for (uint32_t i = 0; i < s->cap; i++)
        if (s->slots[i].ref && atomic_load(&entry_at(r, s->slots[i].ref)->stamp) != NEVER)
            slots_put(slots, cap, s->slots[i]);
    atomic_fetch_add(&r->bytes, cap * sizeof(*slots));
    atomic_fetch_sub(&r->bytes, s->cap * sizeof(*slots));
    free(s->slots);
    s->slots = slots;
    s->cap = cap;
    s->used = used;
    return true;
}

/* --- memory of labels and numbers; under grow -------------------------------------------------------- */

static uint32_t labels_class(size_t size)
{
    return size ? (uint32_t)((size - 1) / LABELS_STEP) : 0;
}

static struct bytes labels_keep(struct tsdb_registry *r, struct bytes enc)
{
    uint32_t class = labels_class(enc.size);
    uint8_t *p;
    if (class >= LABELS_CLASSES) {
        p = malloc(enc.size);
        atomic_fetch_add(&r->bytes, p ? enc.size : 0);
    } else if (r->labels[class]) {
        p = (uint8_t *)r->labels[class];
        r->labels[class] = r->labels[class]->next;
    } else {
        p = slab_alloc(&r->slab, (size_t)(class + 1) * LABELS_STEP);
    }
    if (p && enc.size)
        memcpy(p, enc.data, enc.size);
    return bytes_of(p, enc.size);
}

static void labels_drop(struct tsdb_registry *r, struct bytes enc)
{
    uint32_t class = labels_class(enc.size);
    struct free_labels *p = (struct free_labels *)(uintptr_t)enc.data;
    if (class >= LABELS_CLASSES) {
        atomic_fetch_sub(&r->bytes, enc.size);
        free(p);
        return;
    }
    p->next = r->labels[class];
    r->labels[class] = p;
}

static bool refs_add(struct refs *l, uint32_t ref)
{
    if (l->count == l->cap) {
        uint32_t cap = l->cap ? l->cap * 2 : 256;
        uint32_t *more = realloc(l->v, cap * sizeof(*more));
        if (!more)
            return false;
        l->v = more;
        l->cap = cap;
    }
    l->v[l->count++] = ref;
    return true;
}

/* A number that means nothing: one that was forgotten, or the next. 0: none left or no memory. */
static uint32_t number_take(struct tsdb_registry *r)
{
    uint32_t n = atomic_load_explicit(&r->count, memory_order_relaxed);
    if (r->unused.count)
        return r->unused.v[--r->unused.count];
    if (n / PAGE_ENTRIES >= PAGES_MAX)
        return 0;
    if (!atomic_load_explicit(&r->pages[n / PAGE_ENTRIES], memory_order_relaxed)) {
        struct entry *page = slab_alloc(&r->slab, PAGE_ENTRIES * sizeof(*page));
        if (!page)
            return 0;
        atomic_store_explicit(&r->pages[n / PAGE_ENTRIES], page, memory_order_release);
    }
    atomic_store_explicit(&r->count, n + 1, memory_order_release);
    return n + 1;
}

_Static_assert(PAGE_ENTRIES * sizeof(struct entry) <= SLAB_ALLOC_MAX, "a page is one piece");

/* --- birth ----------------------------------------------------------------------------------------- */

struct birth {
    struct tsdb_series_info info;
    uint64_t hash;
    bool is_forced, is_overflow;
};

static struct bytes metric_name(struct tsdb_labels l)
{
    return tsdb_labels_get(l, BYTES_LIT("__name__"));
}

/* Under grow. The series that are refused must cost no memory: labels are copied only once it is admitted. */
static enum err publish(struct tsdb_registry *r, const struct birth *b, uint32_t *out_ref)
{
    uint32_t metric = 0, minute = READ_ATOMIC(r, minute);
    enum err err = ERR_OK;
    if (!b->is_overflow)
        err = series_limits_enter(&r->limits, b->info.org, metric_name(b->info.labels), minute,
                                  b->is_forced, &metric);
    if (err != ERR_OK)
        return err;
    uint32_t ref = number_take(r);
    struct bytes labels = ref ? labels_keep(r, b->info.labels.enc) : BYTES_NONE;
    if (!ref || !labels.data) {
        if (!b->is_overflow)
            series_limits_leave(&r->limits, metric);
        if (ref)
            (void)refs_add(&r->unused, ref); /* else lost: a number, no memory */
        return ref || READ_ATOMIC(r, count) / PAGE_ENTRIES < PAGES_MAX ? ERR_NOMEM : ERR_LIMIT;
    }
    struct entry *e = entry_at(r, ref);
    e->info = b->info;
    e->info.labels.enc = labels;
    e->metric = metric;
    e->born = minute & INT32_MAX;
    e->is_overflow = b->is_overflow;
    atomic_store_explicit(&e->heads, 0, memory_order_relaxed);
    atomic_store_explicit(&e->stamp, minute, memory_order_release);
    atomic_fetch_add(&r->live, 1);
    *out_ref = ref;
    return ERR_OK;
}

static enum err insert(struct tsdb_registry *r, struct stripe *s, const struct birth *b,
                       uint32_t *out_ref)
{
    uint32_t ref = find(r, s, b->hash, &b->info); /* another thread may have been faster */
    enum err e = ERR_OK;
    if (!ref) {
        if ((s->used + 1) * 4 > s->cap * 3 && !stripe_rebuild(r, s))
            return ERR_NOMEM;
        pthread_mutex_lock(&r->grow);
        e = publish(r, b, &ref);
        pthread_mutex_unlock(&r->grow);
        if (e != ERR_OK)
            return e;
        slots_put(s->slots, s->cap, (struct slot){(uint32_t)(b->hash >> 32), ref});
        s->used++;
    }
    *out_ref = ref;
    return ERR_OK;
}

static enum err ref_of(struct tsdb_registry *r, struct birth *b, struct tsdb_ref *out)
{
    b->info.identity = tsdb_labels_identity(b->info.org, b->info.labels);
    b->hash = slot_hash(b->info.identity, b->info.kind);
    struct stripe *s = &r->stripes[b->hash % STRIPES];
    pthread_rwlock_rdlock(&s->lock);
    uint32_t ref = find(r, s, b->hash, &b->info);
    pthread_rwlock_unlock(&s->lock);
    enum err e = ERR_OK;
    if (!ref) {
        pthread_rwlock_wrlock(&s->lock);
        e = insert(r, s, b, &ref);
        pthread_rwlock_unlock(&s->lock);
    }
    if (e == ERR_OK)
        out->v = ref;
    return e;
}

enum err tsdb_registry_ref(struct tsdb_registry *r, uint32_t org, enum tsdb_series_kind kind,
                           struct tsdb_labels labels, struct tsdb_ref *out)
{
    struct birth b = {.info = {.org = org, .kind = kind, .labels = labels}};
    return ref_of(r, &b, out);
}

enum err tsdb_registry_restore(struct tsdb_registry *r, uint32_t org, enum tsdb_series_kind kind,
                               struct tsdb_labels labels, struct tsdb_ref *out)
{
    struct birth b = {.info = {.org = org, .kind = kind, .labels = labels}, .is_forced = true};
    return ref_of(r, &b, out);
}

/* The overflow series is found by its labels like any other; its metric remembers that it is there, so that it is counted once. */
static enum err overflow_born(struct tsdb_registry *r, const struct birth *b, struct tsdb_ref ref,
                              struct bytes name)
{
    struct series_metric *m;
    pthread_mutex_lock(&r->grow);
    enum err e = series_limits_overflow(&r->limits, b->info.org, name, b->info.kind, &m);
    if (e == ERR_OK) {
        struct entry *entry = entry_at(r, ref.v);
        if (entry->is_overflow && m->overflow[b->info.kind] != ref.v) {
            entry->metric = (uint32_t)(m - r->limits.metrics);
            r->limits.orgs[m->org].overflow_series += m->overflow[b->info.kind] == 0;
            m->overflow[b->info.kind] = ref.v;
        }
        series_limits_folded(&r->limits, m);
    }
    pthread_mutex_unlock(&r->grow);
    return e;
}

enum err tsdb_registry_overflow(struct tsdb_registry *r, uint32_t org, enum tsdb_series_kind kind,
                                struct tsdb_labels labels, struct tsdb_ref *out)
{
    uint8_t memory[2 * TSDB_LABEL_NAME_MAX];
    struct tsdb_label l[3] = {{BYTES_LIT("__name__"), metric_name(labels)}};
    size_t n = 1;
    struct series_metric *m;
    if (bytes_equal_str(tsdb_labels_get(labels, BYTES_LIT("job")), "telltale"))
        l[n++] = (struct tsdb_label){BYTES_LIT("job"), BYTES_LIT("telltale")};
    l[n++] = (struct tsdb_label){BYTES_LIT("otel_metric_overflow"), BYTES_LIT("true")};
    if (l[0].value.size > TSDB_LABEL_NAME_MAX)
        return ERR_LIMIT;
    pthread_mutex_lock(&r->grow);
    enum err e = series_limits_overflow(&r->limits, org, l[0].value, kind, &m);
    pthread_mutex_unlock(&r->grow);
    if (e != ERR_OK)
        return e;
    struct birth b = {.info = {.org = org, .kind = kind}, .is_overflow = true};
    b.info.labels.enc = tsdb_labels_write(l, n, memory);
    e = ref_of(r, &b, out);
    return e == ERR_OK ? overflow_born(r, &b, *out, l[0].value) : e;
}

/* --- forgetting ------------------------------------------------------------------------------------ */

/* Numbers forgotten an eviction ago: nobody can still be looking at their labels. */
static void reuse_idle(struct tsdb_registry *r, uint32_t minute)
{
    if (minute < r->idle_minute + TSDB_REGISTRY_SAFE_MIN)
        return;
    while (r->idle.count && refs_add(&r->unused, r->idle.v[r->idle.count - 1])) {
        struct entry *e = entry_at(r, r->idle.v[--r->idle.count]);
        labels_drop(r, e->info.labels.enc);
        e->info.labels.enc = BYTES_NONE;
    }
}

static bool forget(struct tsdb_registry *r, uint32_t ref, uint32_t before)
{
    struct entry *e = entry_at(r, ref);
    uint32_t stamp = atomic_load(&e->stamp);
    if (stamp == NEVER || stamp >= before || atomic_load_explicit(&e->heads, memory_order_acquire))
        return false;
    if (!refs_add(&r->idle, ref))
        return false;
    if (!atomic_compare_exchange_strong(&e->stamp, &stamp, NEVER)) {
        r->idle.count--;
        return false;
    }
    if (e->is_overflow) {
        struct series_metric *m =
            e->metric < r->limits.metric_count ? &r->limits.metrics[e->metric] : NULL;
        if (m && m->overflow[e->info.kind] == ref) {
            m->overflow[e->info.kind] = 0;
            r->limits.orgs[m->org].overflow_series--;
        }
    } else {
        series_limits_leave(&r->limits, e->metric);
    }
    return true;
}

uint32_t tsdb_registry_evict(struct tsdb_registry *r)
{
    uint32_t n = 0, count = tsdb_registry_count(r), minute = READ_ATOMIC(r, minute);
    if (pthread_rwlock_trywrlock(&r->walk) != 0)
        return 0; /* somebody reads all of it: next time */
    pthread_mutex_lock(&r->grow);
    uint32_t age = r->limits.was_refused ? TSDB_REGISTRY_FULL_IDLE_MIN : TSDB_REGISTRY_IDLE_MIN;
    r->limits.was_refused = false;
    reuse_idle(r, minute);
    for (uint32_t ref = 1; ref <= count && minute > age && r->idle.count == n; ref++)
        n += forget(r, ref, minute - age);
    r->idle_minute = n ? minute : r->idle_minute;
    if (n)
        series_limits_trim(&r->limits);
    pthread_mutex_unlock(&r->grow);
    for (uint32_t i = 0; i < STRIPES && n; i++) {
        pthread_rwlock_wrlock(&r->stripes[i].lock);
        (void)stripe_rebuild(
            r,
            &r->stripes[i]); /* without memory the old table stands: what is dead is never found */
        pthread_rwlock_unlock(&r->stripes[i].lock);
    }
    atomic_fetch_sub(&r->live, n);
    if (n)
        atomic_fetch_add(&r->evictions, 1);
    pthread_rwlock_unlock(&r->walk);
    return n;
}

/* --- reports --------------------------------------------------------------------------------------- */

size_t tsdb_registry_orgs(struct tsdb_registry *r, struct tsdb_registry_org *out, size_t max)
{
    pthread_mutex_lock(&r->grow);
    size_t n = r->limits.org_count;
    if (MIN(n, max))
        memcpy(out, r->limits.orgs, MIN(n, max) * sizeof(*out));
    pthread_mutex_unlock(&r->grow);
    return n;
}

enum err tsdb_registry_metrics(struct tsdb_registry *r, uint32_t org, struct arena *a,
                               struct tsdb_registry_metric **out, size_t *out_count)
{
    uint32_t minute = READ_ATOMIC(r, minute);
    size_t n = 0;
    enum err e = ERR_OK;
    pthread_mutex_lock(&r->grow);
    struct tsdb_registry_metric *list =
        ARENA_ARRAY(a, struct tsdb_registry_metric, r->limits.metric_count + 1);
    for (uint32_t i = 0; list && i < r->limits.metric_count && e == ERR_OK; i++) {
        const struct series_metric *m = &r->limits.metrics[i];
        if (!m->name.data || r->limits.orgs[m->org].org != org)
            continue;
        list[n] = (struct tsdb_registry_metric){.org = org,
                                                .series = m->series,
                                                .recent = series_limits_recent(m, minute),
                                                .folded = m->folded,
                                                .refused = m->refused,
                                                .name = arena_copy(a, m->name)};
        e = list[n++].name.data || m->name.size == 0 ? ERR_OK : ERR_LIMIT;
    }
    pthread_mutex_unlock(&r->grow);
    *out = list;
    *out_count = n;
    return list ? e : ERR_LIMIT;
}

void tsdb_registry_walk(struct tsdb_registry *r, uint32_t org,
                        bool (*fn)(void *ctx, const struct tsdb_series_info *info, bool is_recent),
                        void *ctx)
{
    uint32_t window = READ_ATOMIC(r, minute) / SERIES_LIMITS_WINDOW_MIN;
    pthread_rwlock_rdlock(&r->walk);
    for (uint32_t ref = 1, n = tsdb_registry_count(r); ref <= n; ref++) {
        struct entry *e = entry_at(r, ref);
        if (atomic_load_explicit(&e->stamp, memory_order_acquire) != NEVER && e->info.org == org &&
            !fn(ctx, &e->info, e->born / SERIES_LIMITS_WINDOW_MIN + 1 >= window))
            break;
    }
    pthread_rwlock_unlock(&r->walk);
}
