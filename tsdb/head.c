#include "tsdb/changes.h"
#include "tsdb/head_core.h"

#include <stdlib.h>

#include "base/alloc_wait.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/stats.h"

#define MERGE_MIN 64u
#define SAMPLES_AHEAD 16u /* samples and cells whose series is fetched ahead */
#define TRACES_AHEAD 8u /* spans whose place in the trace table is fetched ahead */

const struct head_more head_more_none = {.minute_min = UINT32_MAX};

_Static_assert(HEAD_SERIES_PAGE * sizeof(struct head_series) <= SLAB_ALLOC_MAX,
               "one page, one piece");

struct head *head_new(uint64_t generation, struct tsdb_registry *series)
{
    struct head *h = calloc(1, sizeof(*h));
    if (!h)
        return NULL;
    h->generation = generation;
    h->registry = series;
    atomic_store_explicit(&h->refs, 1, memory_order_relaxed);
    pthread_rwlockattr_t attr; /* a stream of readers must not hold up the committer */
    pthread_rwlockattr_init(&attr);
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&h->lock, &attr);
    pthread_rwlockattr_destroy(&attr);
    atomic_init(&h->bytes, sizeof(*h) / 8); /* the page table is touched bit by bit */
    return h;
}

void head_note_changes(struct head *h, struct changes *c)
{
    h->changes = c;
}

void head_retain(struct head *h)
{
    atomic_fetch_add_explicit(&h->refs, 1, memory_order_relaxed);
}

static void more_free(struct head_series *s)
{
    struct head_more *m = (struct head_more *)(uintptr_t)s->more;
    if (m == &head_more_none)
        return;
    free(m->hists), free(m->cells), free(m->hist_cells);
    free(m);
}

void head_release(struct head *h)
{
    if (!h || atomic_fetch_sub_explicit(&h->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (uint32_t i = 0; i < h->batch_count; i++)
        tsdb_batch_free(head_batch_at(h, i)->batch);
    for (uint32_t i = 0; i < HEAD_PAGES_MAX && h->pages[i]; i++)
        free(h->pages[i]);
    for (uint32_t i = 0; i < h->series_count; i++) {
        tsdb_registry_unhold(head_series_at(h, i)->info);
        more_free(head_series_at(h, i));
    }
    free(h->slots), free(h->series), free(h->services), free(h->orgs);
    slab_done(&h->slab);
    head_names_done(&h->names);
    head_traces_done(&h->traces);
    pthread_rwlock_destroy(&h->lock);
    free(h);
}

void head_read_lock(const struct head *h)
{
    pthread_rwlock_rdlock((pthread_rwlock_t *)(uintptr_t)&h->lock);
}

void head_read_unlock(const struct head *h)
{
    pthread_rwlock_unlock((pthread_rwlock_t *)(uintptr_t)&h->lock);
}

uint64_t head_bytes(const struct head *h)
{
    return atomic_load_explicit(&h->bytes, memory_order_relaxed) + slab_bytes(&h->slab);
}

uint64_t head_row_bytes(const struct head *h)
{
    return atomic_load_explicit(&h->row_bytes, memory_order_relaxed);
}

uint64_t head_rows(const struct head *h, uint32_t org, enum tsdb_signal signal)
{
    uint64_t n = 0;
    head_read_lock(h);
    for (uint32_t i = 0; i < h->org_count; i++)
        if (h->orgs[i].org == org)
            n = h->orgs[i].rows[signal];
    head_read_unlock(h);
    return n;
}

uint32_t head_limit(const struct head *h, uint64_t visible_seq)
{
    uint32_t lo = 0, hi = h->batch_count;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (head_batch_at(h, mid)->seq <= visible_seq)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* --- writing ------------------------------------------------------------------------------------- */

static void bytes_add(struct head *h, size_t n)
{
    atomic_fetch_add_explicit(&h->bytes, n, memory_order_relaxed);
}

enum err head_prepare(struct head *h, const struct tsdb_batch *b)
{
    uint32_t need = tsdb_registry_count(h->registry) + 1;
    enum err e = ERR_OK;
    (void)b;
    pthread_rwlock_wrlock(&h->lock);
    if (h->batch_count / HEAD_PAGE + 1 >= HEAD_PAGES_MAX)
        e = ERR_NOMEM;
    if (e == ERR_OK && need > h->slot_count) {
        uint32_t cap = MAX(need + need / 2, 1024u);
        uint32_t *slots = realloc(h->slots, cap * sizeof(*slots));
        if (slots) {
            memset(slots + h->slot_count, 0, (cap - h->slot_count) * sizeof(*slots));
            bytes_add(h, (cap - h->slot_count) * sizeof(*slots));
            h->slots = slots;
            h->slot_count = cap;
        } else {
            e = ERR_NOMEM;
        }
    }
    pthread_rwlock_unlock(&h->lock);
    return e;
}

/* The commit is durable: there is no way back, so memory is waited for. */
static void grow(struct head *h, void *array, size_t item, uint32_t old_cap, uint32_t cap)
{
    void *p;
    memcpy(&p, array, sizeof(p));
    p = alloc_wait_realloc(p, item * cap);
    memcpy(array, &p, sizeof(p));
    bytes_add(h, item * (cap - old_cap));
}

static struct head_series *series_new(struct head *h)
{
    uint32_t page = h->series_count / HEAD_SERIES_PAGE;
    if (page == h->series_pages) {
        size_t size = (HEAD_SERIES_PAGE * sizeof(struct head_series) + 15) & ~(size_t)15;
        if (page % 64 == 0)
            grow(h, &h->series, sizeof(*h->series), page, page + 64);
        for (unsigned tries = 0; !(h->series[page] = slab_alloc(&h->slab, size)); tries++)
            alloc_wait_pause(tries);
        h->series_pages++;
    }
    return head_series_at(h, h->series_count++);
}

static struct head_series *series_of(struct head *h, struct tsdb_ref ref)
{
    if (ref.v >= h->slot_count) { /* prepared before the registry grew */
        uint32_t cap = ref.v + ref.v / 2 + 1024, old = h->slot_count;
        grow(h, &h->slots, sizeof(*h->slots), old, cap);
        memset(h->slots + old, 0, (cap - old) * sizeof(*h->slots));
        h->slot_count = cap;
    }
    if (h->slots[ref.v])
        return head_series_at(h, h->slots[ref.v] - 1);
    struct head_series *s = series_new(h);
    *s = (struct head_series){.info = tsdb_registry_info(h->registry, ref),
                              .more = &head_more_none,
                              .t_min = INT64_MAX,
                              .t_max = INT64_MIN,
                              .ord_first = h->batch_count};
    size_t before = head_names_bytes(&h->names);
    struct bytes name = tsdb_labels_get(s->info->labels, BYTES_LIT("__name__"));
    for (unsigned tries = 0; !head_names_add(&h->names, s->info->org, name, h->series_count - 1);
         tries++)
        alloc_wait_pause(tries);
    bytes_add(h, head_names_bytes(&h->names) - before);
    tsdb_registry_hold(h->registry, ref);
    h->slots[ref.v] = h->series_count;
    return s;
}

static struct head_more *more_of(struct head *h, struct head_series *s)
{
    struct head_more *m = (struct head_more *)(uintptr_t)s->more;
    if (m != &head_more_none)
        return m;
    m = alloc_wait_realloc(NULL, sizeof(*m));
    *m = head_more_none;
    bytes_add(h, sizeof(*m));
    s->more = m;
    return m;
}

STATS_COUNTER(repeated, "telltale_store_samples_repeated_total", "where=\"append\"",
              "Samples found twice, bit by bit the same, and kept once.");
STATS_COUNTER(
    conflicting, "telltale_store_samples_conflicting_total", "where=\"append\"",
    "Samples of one series and time with other values: the newest counts, a value before a "
    "stale marker.");

static void note_time(struct head_series *s, int64_t t_ms)
{
    s->t_min = MIN(s->t_min, t_ms);
    s->t_max = MAX(s->t_max, t_ms);
}

static void add_sample(struct head *h, struct head_series *s, int64_t t_ms, double value,
                       int64_t start_ms)
{
    struct head_sample x = {t_ms, start_ms, value, h->batch_count};
    if (s->samples.count &&
        s->samples.t_ms == t_ms) { /* seen here when it comes right after the other */
        uint64_t bits;
        memcpy(&bits, &value, sizeof(bits));
        stats_add(bits == s->samples.value ? &repeated : &conflicting, 1);
    }
    for (unsigned tries = 0; !head_samples_add(&s->samples, &h->slab, &x); tries++)
        alloc_wait_pause(tries);
    note_time(s, t_ms);
}

static void add_hist(struct head *h, struct head_series *s, int64_t t_ms, int64_t start_ms,
                     const struct tsdb_hist *hist)
{
    struct head_more *m = more_of(h, s);
    if (m->hist_count == m->hist_cap) {
        uint32_t cap = m->hist_cap ? m->hist_cap * 2 : 8;
        grow(h, &m->hists, sizeof(*m->hists), m->hist_cap, cap);
        m->hist_cap = cap;
    }
    m->hists[m->hist_count++] = (struct head_hist){t_ms, start_ms, hist, h->batch_count};
    note_time(s, t_ms);
}

static int by_minute(const void *x, const void *y)
{
    const struct head_cell *a = x, *b = y;
    return (a->minute > b->minute) - (a->minute < b->minute);
}

/* Adds up the integer cells of commits that no live view can tell apart. */
static void merge_cells(const struct head *h, struct head_more *s)
{
    int64_t old = clock_mono_ns() - HEAD_MERGE_AGE_NS;
    uint32_t n = s->cell_merged, out = 0;
    while (n < s->cell_count && head_batch_at(h, s->cells[n].ord)->mono_ns < old &&
           s->cells[n].ord < h->batch_count)
        n++;
    if (n == s->cell_merged)
        return;
    qsort(s->cells, n, sizeof(*s->cells), by_minute);
    for (uint32_t i = 0; i < n; i++) {
        if (out && s->cells[out - 1].minute == s->cells[i].minute) {
            s->cells[out - 1].add =
                (int64_t)((uint64_t)s->cells[out - 1].add + (uint64_t)s->cells[i].add);
        } else {
            s->cells[out] = s->cells[i];
            s->cells[out++].ord = 0; /* seen by every view that still lives */
        }
    }
    memmove(s->cells + out, s->cells + n, (s->cell_count - n) * sizeof(*s->cells));
    s->cell_count -= n - out;
    s->cell_merged = out;
}

static void add_cell(struct head *h, struct head_series *series, uint32_t minute, int64_t add,
                     const struct tsdb_hist *hist)
{
    struct head_more *s = more_of(h, series);
    struct head_cell c = {.minute = minute, .ord = h->batch_count};
    s->minute_min = MIN(s->minute_min, minute);
    s->minute_max = MAX(s->minute_max, minute);
    if (hist) {
        c.hist = hist;
        if (s->hist_cell_count == s->hist_cell_cap) {
            uint32_t cap = s->hist_cell_cap ? s->hist_cell_cap * 2 : 8;
            grow(h, &s->hist_cells, sizeof(c), s->hist_cell_cap, cap);
            s->hist_cell_cap = cap;
        }
        s->hist_cells[s->hist_cell_count++] = c;
        return;
    }
    c.add = add;
    if (s->cell_count > s->cell_merged) { /* the same commit, the same minute: the usual case */
        struct head_cell *last = &s->cells[s->cell_count - 1];
        if (last->minute == minute && last->ord == c.ord) {
            last->add = (int64_t)((uint64_t)last->add + (uint64_t)add);
            return;
        }
    }
    if (s->cell_count == s->cell_cap) {
        if (s->cell_cap >= MERGE_MIN)
            merge_cells(h, s);
        if (s->cell_count >=
            s->cell_cap / 4 * 3) { /* little gained: the next merge must not come at once */
            uint32_t cap = s->cell_cap ? s->cell_cap * 2 : 8;
            grow(h, &s->cells, sizeof(c), s->cell_cap, cap);
            s->cell_cap = cap;
        }
    }
    s->cells[s->cell_count++] = c;
}

static struct head_org *org_of(struct head *h, uint32_t org)
{
    for (uint32_t i = 0; i < h->org_count; i++)
        if (h->orgs[i].org == org)
            return &h->orgs[i];
    grow(h, &h->orgs, sizeof(*h->orgs), h->org_count, h->org_count + 1);
    h->orgs[h->org_count] = (struct head_org){.org = org};
    return &h->orgs[h->org_count++];
}

static struct head_service *service_of(struct head *h, uint32_t org, struct bytes service)
{
    for (uint32_t i = h->service_count; i-- > 0;)
        if (h->services[i].org == org && bytes_equal(h->services[i].service, service))
            return &h->services[i];
    if (h->service_count == h->service_cap) {
        uint32_t cap = h->service_cap ? h->service_cap * 2 : 16;
        grow(h, &h->services, sizeof(*h->services), h->service_cap, cap);
        h->service_cap = cap;
    }
    h->services[h->service_count] = (struct head_service){.org = org, .service = service};
    return &h->services[h->service_count++];
}

static void index_spans(struct head *h, const struct tsdb_batch *b, struct head_batch *hb)
{
    const struct tsdb_spans *s = &b->spans;
    struct head_service *last = NULL;
    struct head_org *org = org_of(h, b->org);
    size_t bytes = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        if (i + TRACES_AHEAD < s->count)
            head_traces_prefetch(&h->traces, s->trace_id[i + TRACES_AHEAD]);
        if (!head_span_kept(b, i))
            continue;
        bytes += head_traces_add(&h->traces, s->trace_id[i], h->batch_count, i);
        struct bytes name = s->service ? s->service[i] : BYTES_NONE;
        hb->start_min = MIN(hb->start_min, s->start_ns[i]);
        hb->start_max = MAX(hb->start_max, s->start_ns[i]);
        hb->end_min = MIN(hb->end_min, s->end_ns[i]);
        hb->end_max = MAX(hb->end_max, s->end_ns[i]);
        if (!last || !bytes_equal(last->service, name))
            last = service_of(h, b->org, name);
        last->newest_end_ns = MAX(last->newest_end_ns, s->end_ns[i]);
        last->received_ns = MAX(last->received_ns, b->received_ns);
        last->spans++;
        last->genai_spans += TSDB_SPAN_GET(s, row_class, i, 0) != 0;
        org->rows[TSDB_SPANS]++;
    }
    bytes_add(h, bytes);
}

/* The i-th of n series, or NULL if it has no place yet. */
static const struct head_series *series_ahead(const struct head *h, const struct tsdb_ref *refs,
                                              uint32_t n, uint32_t i)
{
    uint32_t ref = i < n ? refs[i].v : 0;
    return ref < h->slot_count && h->slots[ref] ? head_series_at(h, h->slots[ref] - 1) : NULL;
}

/* As prefetch_sample, one step more: series, its cells' place, the last cell. */
__attribute__((always_inline)) static inline void prefetch_cell(const struct head *h,
                                                                const struct tsdb_cells *c,
                                                                uint32_t i)
{
    const struct head_series *far = series_ahead(h, c->series, c->count, i + SAMPLES_AHEAD);
    const struct head_series *near =
        series_ahead(h, c->series, c->count, i + SAMPLES_AHEAD * 2 / 3);
    const struct head_series *next = series_ahead(h, c->series, c->count, i + SAMPLES_AHEAD / 3);
    if (far)
        __builtin_prefetch(&far->more);
    if (near)
        __builtin_prefetch(near->more, 1);
    if (next && c->hist[i + SAMPLES_AHEAD / 3] && next->more->hist_cells)
        __builtin_prefetch(&next->more->hist_cells[next->more->hist_cell_count], 1);
    else if (next && next->more->cell_count)
        __builtin_prefetch(&next->more->cells[next->more->cell_count - 1], 1);
}

/* The first cell that the head has of the series on the minute's day? */
static bool is_first_of_day(const struct head_more *m, uint32_t minute)
{
    return m->minute_min > m->minute_max || minute / 1440 < m->minute_min / 1440 ||
           minute / 1440 > m->minute_max / 1440;
}

static void index_cells(struct head *h, const struct tsdb_batch *b, struct head_batch *hb,
                        struct changes_org *watched)
{
    const struct tsdb_cells *c = &b->cells;
    for (uint32_t i = 0; i < c->count; i++) {
        prefetch_cell(h, c, i);
        if (c->row[i] != TSDB_NO_ROW && c->row[i] < b->spans.count && !head_span_kept(b, c->row[i]))
            continue;
        struct head_series *s = series_of(h, c->series[i]);
        if (watched && is_first_of_day(s->more, c->minute[i]))
            changes_cell_of_day(watched, s->info->identity, c->minute[i], hb->seq);
        if (watched)
            changes_cell(watched, c->minute[i], hb->seq);
        add_cell(h, s, c->minute[i], c->add[i], c->hist[i]);
        hb->minute_min = MIN(hb->minute_min, c->minute[i]);
        hb->minute_max = MAX(hb->minute_max, c->minute[i]);
        hb->has_cells = true;
    }
}

static bool has_hist_cells(const struct tsdb_cells *c)
{
    for (uint32_t i = 0; i < c->count; i++)
        if (c->hist[i])
            return true;
    return false;
}

/* Each sample goes to memory of its own series: what is touched first is fetched ahead, in two steps, since the first leads to the second.
 * Inline at any rate: as a function without effects, gcc would leave it out. */
__attribute__((always_inline)) static inline void prefetch_sample(const struct head *h,
                                                                  const struct tsdb_samples *s,
                                                                  uint32_t i)
{
    const struct head_series *far = series_ahead(h, s->series, s->count, i + SAMPLES_AHEAD);
    const struct head_series *near = series_ahead(h, s->series, s->count, i + SAMPLES_AHEAD / 2);
    if (far) {
        __builtin_prefetch(far, 1);
        __builtin_prefetch((const uint8_t *)far + 64, 1);
    }
    if (near && near->samples.last) {
        __builtin_prefetch(near->samples.last);
        __builtin_prefetch(near->samples.last->data + near->samples.used, 1);
    }
}

static void apply_samples(struct head *h, const struct tsdb_samples *s)
{
    for (uint32_t i = 0; i < s->count; i++) {
        prefetch_sample(h, s, i);
        add_sample(h, series_of(h, s->series[i]), s->t_ms[i], s->value[i], s->start_ms[i]);
    }
}

static void note_samples(struct changes_org *o, const int64_t *t_ms, uint32_t n, uint64_t seq)
{
    int64_t from = 0, to = 0; /* of the minute that has been noted */
    for (uint32_t i = 0; i < n; i++) {
        if (t_ms[i] >= from && t_ms[i] < to)
            continue;
        changes_sample(o, t_ms[i], seq);
        from = t_ms[i] - t_ms[i] % 60000;
        to = t_ms[i] < 0 ? from : from + 60000;
    }
}

static void apply_one(struct head *h, struct tsdb_batch *b, uint64_t seq)
{
    uint32_t ord = h->batch_count;
    struct head_batch **page = &h->pages[ord / HEAD_PAGE];
    if (!*page) {
        *page = alloc_wait_calloc(HEAD_PAGE, sizeof(**page));
        bytes_add(h, HEAD_PAGE * sizeof(**page));
    }
    struct head_batch *hb = &(*page)[ord % HEAD_PAGE];
    *hb = (struct head_batch){.seq = seq,
                              .mono_ns = clock_mono_ns(),
                              .received_ns = b->received_ns,
                              .start_min = INT64_MAX,
                              .start_max = INT64_MIN,
                              .end_min = INT64_MAX,
                              .end_max = INT64_MIN,
                              .minute_min = UINT32_MAX,
                              .org = b->org};
    const struct tsdb_samples *s = &b->samples;
    const struct tsdb_hists *hs = &b->hists;
    struct changes_org *watched = h->changes ? changes_of(h->changes, b->org) : NULL;
    if (watched) {
        note_samples(watched, s->t_ms, s->count, seq);
        note_samples(watched, hs->t_ms, hs->count, seq);
    }
    apply_samples(h, s);
    for (uint32_t i = 0; i < hs->count; i++)
        add_hist(h, series_of(h, hs->series[i]), hs->t_ms[i], hs->start_ms[i], &hs->value[i]);
    for (uint32_t i = 0; i < b->exemplars.count; i++)
        (void)series_of(h, b->exemplars.series[i]); /* holds its number */
    index_cells(h, b, hb, watched);
    if (watched)
        changes_end(watched);
    if (b->spans.count)
        index_spans(h, b, hb);
    tsdb_tokens_done(&b->tokens); /* assembled, and in the journal until their streams end */
    struct head_org *org = org_of(h, b->org);
    org->rows[TSDB_SAMPLES] += s->count + hs->count;
    org->rows[TSDB_LOGS] += b->logs.count;
    if (b->spans.count || b->logs.count || hs->count || b->exemplars.count || b->metadata.count ||
        has_hist_cells(&b->cells)) {
        hb->batch = b;
        bytes_add(h, arena_used(b->arena));
        atomic_fetch_add_explicit(&h->row_bytes, arena_used(b->arena), memory_order_relaxed);
    } else {
        tsdb_batch_free(b); /* all of it is in the series now */
    }
    h->batch_count++;
}

void head_apply(struct head *h, struct tsdb_batch **take_batches, const uint64_t *seqs, size_t n)
{
    pthread_rwlock_wrlock(&h->lock);
    for (size_t i = 0; i < n; i++) {
        CHECK(h->batch_count / HEAD_PAGE < HEAD_PAGES_MAX);
        apply_one(h, take_batches[i], seqs[i]);
        take_batches[i] = NULL;
    }
    pthread_rwlock_unlock(&h->lock);
}
