#include "tsdb/view_core.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/stats.h"
#include "tsdb/changes.h"
#include "tsdb/store.h"
#include "tsdb/view_erase.h"

STATS_COUNTER(corrupt_blocks, "telltale_tsdb_corrupt_blocks_total", "",
              "Blocks left out of an answer because their bytes are not what was written.")

enum err tsdb_view_open(struct tsdb *db, uint32_t org, const struct tsdb_read_limits *limits,
                        struct tsdb_view **out)
{
    struct tsdb_view *v = calloc(1, sizeof(*v));
    if (!v)
        return ERR_NOMEM;
    v->db = db;
    v->org = org;
    if (limits)
        v->limits = *limits;
    if (!v->limits.samples_max)
        v->limits.samples_max = 50000000;
    v->touched_min_ms = INT64_MAX;
    v->touched_max_ms = INT64_MIN;
    v->opened_mono_ns = clock_mono_ns();
    v->now_ms = clock_wall_ms();
    v->age_max_ns = store_view_age_ns(db);
    uint64_t since = UINT64_MAX;
    enum err e =
        v->limits.watch ? changes_watch(db->changes, org, &db->committed_seq, &since) : ERR_OK;
    /* first: what it does not name any more has gone from what is pinned then */
    v->erase = erase_pin(db, org, &v->erase_changes);
    if (e == ERR_OK)
        e = pin_take(db, &v->pin, NULL);
    if (e != ERR_OK) {
        erase_unpin(v->erase);
        free(v);
        return e;
    }
    v->is_watched = v->limits.watch && v->pin.visible_seq >= since;
    v->arena = arena_new_in(tsdb_query_budget(db), 0);
    v->cache = arena_new_in(tsdb_query_budget(db), 0);
    v->heads = calloc(v->pin.head_count + 1, sizeof(*v->heads));
    v->part_loaded = calloc(v->pin.part_count + 1, sizeof(*v->part_loaded));
    if (!v->arena || !v->cache || !v->heads || !v->part_loaded) {
        tsdb_view_close(v);
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < v->pin.head_count; i++) {
        const struct head *h = v->pin.heads[i];
        head_read_lock(h);
        v->heads[i] = (struct view_head){h, head_limit(h, v->pin.visible_seq)};
        head_read_unlock(h);
    }
    *out = v;
    return ERR_OK;
}

void tsdb_view_close(struct tsdb_view *v)
{
    if (!v)
        return;
    CHECK(!v->parent);
    for (uint32_t i = 0; i < v->source_count; i++)
        index_segment_release(v->sources[i].index);
    pin_release(v->db, &v->pin);
    erase_unpin(v->erase);
    arena_free(v->arena);
    arena_free(v->cache);
    free(v->heads), free(v->part_loaded), free(v->sources), free(v->refs);
    free(v->series), free(v->slots), free(v->open), free(v->work);
    free(v);
}

enum err tsdb_view_fork(struct tsdb_view *v, struct tsdb_view **out)
{
    struct tsdb_view *f = malloc(sizeof(*f));
    if (!f)
        return ERR_NOMEM;
    *f = *v;
    f->parent = v;
    f->samples_read = f->blocks_opened = 0;
    f->work = NULL;
    f->open = NULL;
    f->open_count = f->open_cap = 0;
    f->cache = arena_new_in(tsdb_query_budget(v->db), 0);
    if (!f->cache) {
        free(f);
        return ERR_NOMEM;
    }
    *out = f;
    return ERR_OK;
}

void tsdb_view_join(struct tsdb_view *v, struct tsdb_view *take_fork)
{
    CHECK(take_fork->parent == v);
    v->samples_read += take_fork->samples_read;
    v->blocks_opened += take_fork->blocks_opened;
    arena_free(take_fork->cache);
    free(take_fork->open), free(take_fork->work), free(take_fork);
}

uint64_t tsdb_view_blocks_opened(const struct tsdb_view *v)
{
    return v->blocks_opened;
}

enum err view_check(const struct tsdb_view *v)
{
    if (v->limits.cancel && atomic_load_explicit(v->limits.cancel, memory_order_relaxed))
        return ERR_CANCELLED;
    int64_t now = clock_mono_ns();
    if ((v->limits.deadline_mono_ns && now > v->limits.deadline_mono_ns) ||
        now - v->opened_mono_ns > v->age_max_ns)
        return ERR_TIMEOUT;
    return ERR_OK;
}

/* --- blocks -------------------------------------------------------------------------------------- */

void view_touch(struct tsdb_view *v, int64_t min_ms, int64_t max_ms)
{
    v->touched_min_ms = MIN(v->touched_min_ms, min_ms);
    v->touched_max_ms = MAX(v->touched_max_ms, max_ms);
}

void view_count_corrupt(void)
{
    stats_add(&corrupt_blocks, 1);
}

static int compare_key(const struct block_meta *m, uint32_t org, uint8_t kind, uint64_t generation)
{
    if (m->key.org != org)
        return m->key.org < org ? -1 : 1;
    if (m->key.kind != kind)
        return m->key.kind < kind ? -1 : 1;
    return (m->key.generation > generation) - (m->key.generation < generation);
}

const struct block_meta *view_blocks(const struct tsdb_view *v, const struct part_snapshot *p,
                                     enum block_kind kind, uint64_t generation, size_t *out_count)
{
    size_t count, lo = 0, hi;
    const struct block_meta *m = part_snapshot_blocks(p, &count);
    bool any = generation == VIEW_ANY_GENERATION;
    for (hi = count; lo < hi;) {
        size_t mid = lo + (hi - lo) / 2;
        if (compare_key(&m[mid], v->org, (uint8_t)kind, any ? 0 : generation) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    size_t end = lo;
    while (end < count && m[end].key.org == v->org && m[end].key.kind == kind &&
           (any || m[end].key.generation == generation))
        end++;
    *out_count = end - lo;
    return m ? m + lo : NULL;
}

static enum err find_spans(struct tsdb_view *v, const struct part_snapshot *p, enum block_kind kind,
                           uint64_t generation, struct view_spans *out)
{
    size_t count;
    struct view_spans s = {.blocks = view_blocks(v, p, kind, generation, &count),
                           .is_ascending = true};
    struct view_span *ids = ARENA_ARRAY(v->arena, struct view_span, count + 1);
    if (!ids)
        return ERR_NOMEM;
    for (; s.count < count; s.count++) {
        struct view_span *to = &ids[s.count];
        if (block_series_range(s.blocks[s.count].summary, &to->first, &to->last) != ERR_OK)
            *to = (struct view_span){1, 0};
        s.is_ascending &=
            to->first <= to->last && (s.count == 0 || to->first >= ids[s.count - 1].last);
    }
    s.ids = ids;
    *out = s;
    return ERR_OK;
}

uint32_t view_span_next(const struct view_spans *s, uint32_t id, uint32_t from)
{
    uint32_t i = from, hi = s->count;
    if (!s->is_ascending) {
        while (i < s->count && (id < s->ids[i].first || id > s->ids[i].last))
            i++;
        return i;
    }
    while (from == 0 && i < hi) { /* the first that ends at the id or behind it */
        uint32_t mid = i + (hi - i) / 2;
        if (s->ids[mid].last < id)
            i = mid + 1;
        else
            hi = mid;
    }
    return i < s->count && s->ids[i].first <= id ? i : s->count;
}

enum err view_fetch(const struct part_snapshot *p, const struct block_meta *m, struct arena *a,
                    struct bytes *out)
{
    struct err_msg msg;
    enum err e = part_fetch(p, m, a, out, &msg);
    if (e == ERR_CORRUPT)
        view_count_corrupt();
    return e;
}

static uint32_t open_slot(const struct tsdb_view *v, const struct block_meta *m)
{
    uint32_t i = (uint32_t)(((uintptr_t)m >> 4) * 0x9e3779b1u) & (v->open_cap - 1);
    while (v->open[i].meta && v->open[i].meta != m)
        i = (i + 1) & (v->open_cap - 1);
    return i;
}

static bool open_room(struct tsdb_view *v)
{
    if ((v->open_count + 1) * 2 <= v->open_cap)
        return true;
    uint32_t old_cap = v->open_cap;
    struct view_open_block *old = v->open;
    struct view_open_block *fresh = calloc(old_cap ? old_cap * 2 : 64, sizeof(*fresh));
    if (!fresh)
        return false;
    v->open = fresh;
    v->open_cap = old_cap ? old_cap * 2 : 64;
    for (uint32_t i = 0; i < old_cap; i++)
        if (old[i].meta)
            v->open[open_slot(v, old[i].meta)] = old[i];
    free(old);
    return true;
}

enum err view_open_series(struct tsdb_view *v, const struct part_snapshot *p,
                          const struct block_meta *m, struct block_series **out)
{
    if (!open_room(v))
        return ERR_NOMEM;
    struct view_open_block *b = &v->open[open_slot(v, m)];
    if (!b->meta) {
        struct bytes bytes;
        struct view_open_block fresh = {.meta = m};
        enum err e = view_check(v);
        if (e == ERR_OK)
            e = view_fetch(p, m, v->cache, &bytes);
        if (e == ERR_OK) {
            e = block_series_open(bytes, v->cache, &fresh.series);
            if (e == ERR_CORRUPT)
                view_count_corrupt();
        }
        if (e == ERR_OK && !v->work && !(v->work = malloc(sizeof(*v->work))))
            e = ERR_NOMEM;
        fresh.series.work = v->work;
        if (e != ERR_OK && e != ERR_CORRUPT)
            return e;
        fresh.is_corrupt = e == ERR_CORRUPT;
        *b = fresh;
        v->open_count++;
        v->blocks_opened++;
    }
    *out = b->is_corrupt ? NULL : &b->series;
    return ERR_OK;
}

void view_trim(struct tsdb_view *v)
{
    if (arena_used(v->cache) >= VIEW_CACHE_BYTES)
        view_drop(v);
}

void view_drop(struct tsdb_view *v)
{
    arena_reset(v->cache);
    memset(v->open, 0, v->open_cap * sizeof(*v->open));
    v->open_count = 0;
}

bool view_part_overlaps(const struct part_snapshot *p, int64_t min_ms, int64_t max_ms)
{
    uint32_t day = part_snapshot_day(p);
    return day >= head_day_of_ms(min_ms) && day <= head_day_of_ms(max_ms);
}

/* --- the table of series ------------------------------------------------------------------------- */

static bool make_room(void *array, size_t item, uint32_t count, uint32_t *cap)
{
    void *p;
    if (count < *cap)
        return true;
    memcpy(&p, array, sizeof(p));
    uint32_t more = *cap ? *cap * 2 : 64;
    p = realloc(p, item * more);
    if (!p)
        return false;
    memcpy(array, &p, sizeof(p));
    *cap = more;
    return true;
}

static uint32_t series_slot(const struct tsdb_view *v, struct hash128 id,
                            enum tsdb_series_kind kind)
{
    uint32_t i = (uint32_t)(id.lo + (uint64_t)kind) & (v->slot_cap - 1);
    while (v->slots[i]) {
        const struct view_series *s = &v->series[v->slots[i] - 1];
        if (s->kind == kind && hash128_equal(s->identity, id))
            break;
        i = (i + 1) & (v->slot_cap - 1);
    }
    return i;
}

static bool grow_slots(struct tsdb_view *v)
{
    if ((v->series_count + 1) * 2 <= v->slot_cap)
        return true;
    uint32_t cap = v->slot_cap ? v->slot_cap * 2 : 256;
    uint32_t *fresh = calloc(cap, sizeof(*fresh));
    if (!fresh)
        return false;
    free(v->slots);
    v->slots = fresh;
    v->slot_cap = cap;
    for (uint32_t i = 0; i < v->series_count; i++)
        v->slots[series_slot(v, v->series[i].identity, v->series[i].kind)] = i + 1;
    return true;
}

static enum err add_ref(struct tsdb_view *v, uint32_t source, uint32_t position, uint32_t series)
{
    struct view_source *src = &v->sources[source];
    struct view_series *s = &v->series[series];
    if (!make_room(&v->refs, sizeof(*v->refs), v->ref_count, &v->ref_cap))
        return ERR_NOMEM;
    v->refs[v->ref_count] = (struct view_ref){
        source, src->head ? position : src->index->first_id + position, VIEW_NONE};
    if (s->first_ref == VIEW_NONE)
        s->first_ref = v->ref_count;
    else
        v->refs[s->last_ref].next = v->ref_count;
    s->last_ref = v->ref_count++;
    src->series[position] = series + 1;
    return ERR_OK;
}

static enum tsdb_series_kind part_kind(const struct part_snapshot *p)
{
    return part_snapshot_class(p) == PART_CELLS ? TSDB_SERIES_CELLS : TSDB_SERIES_SAMPLES;
}

enum err view_add(struct tsdb_view *v, uint32_t source, uint32_t position)
{
    const struct view_source *src = &v->sources[source];
    if (src->series[position])
        return ERR_OK;
    if (!grow_slots(v) ||
        !make_room(&v->series, sizeof(*v->series), v->series_count, &v->series_cap))
        return ERR_NOMEM;
    const struct tsdb_series_info *info =
        src->head ? head_series_at(src->head->head, position)->info : NULL;
    struct hash128 identity = info ? info->identity : src->index->identity[position];
    enum tsdb_series_kind kind = info ? info->kind : part_kind(src->part);
    uint32_t slot = series_slot(v, identity, kind);
    if (!v->slots[slot]) {
        struct tsdb_labels l =
            info ? info->labels : index_segment_labels(src->index, position, v->arena);
        if (!l.enc.data && !info)
            return ERR_NOMEM;
        v->series[v->series_count++] = (struct view_series){
            l,         identity,  kind,
            VIEW_NONE, VIEW_NONE, view_erase_any(v) ? view_erase_series(v, identity, l) : 0};
        v->slots[slot] = v->series_count;
    }
    return add_ref(v, source, position, v->slots[slot] - 1);
}

static enum err add_source(struct tsdb_view *v, struct view_source s)
{
    if (!make_room(&v->sources, sizeof(*v->sources), v->source_count, &v->source_cap) ||
        !(s.series = ARENA_ARRAY(v->arena, uint32_t, s.count + 1))) {
        index_segment_release(s.index);
        return ERR_NOMEM;
    }
    v->sources[v->source_count++] = s;
    return ERR_OK;
}

static enum err load_head(struct tsdb_view *v, const struct view_head *vh)
{
    head_read_lock(vh->head);
    uint32_t count = vh->head->series_count;
    head_read_unlock(vh->head);
    return add_source(v, (struct view_source){.head = vh, .count = count});
}

/* The series that the view knows already also lie in a source that came later. */
static enum err add_known(struct tsdb_view *v, uint32_t source)
{
    const struct view_source *src = &v->sources[source];
    enum tsdb_series_kind kind = part_kind(src->part);
    enum err e = ERR_OK;
    for (uint32_t i = 0; i < v->series_count && e == ERR_OK; i++) {
        if (v->series[i].kind != kind)
            continue;
        uint32_t position = index_segment_find(src->index, v->series[i].identity);
        if (position != UINT32_MAX)
            e = add_ref(v, source, position, i);
    }
    return e;
}

static enum err all_spans(struct tsdb_view *v, struct view_source *s)
{
    if (part_kind(s->part) == TSDB_SERIES_CELLS)
        return find_spans(v, s->part, BLOCK_CELLS, s->generation, &s->cells);
    enum err e = find_spans(v, s->part, BLOCK_SAMPLES, s->generation, &s->samples);
    return e == ERR_OK ? find_spans(v, s->part, BLOCK_HISTS, s->generation, &s->hists) : e;
}

static enum err load_part(struct tsdb_view *v, const struct part_snapshot *p)
{
    size_t count;
    const struct block_meta *m = view_blocks(v, p, BLOCK_INDEX, VIEW_ANY_GENERATION, &count);
    enum err e = ERR_OK;
    for (size_t i = 0; i < count && e == ERR_OK; i++) {
        const struct index_segment *s;
        e = view_check(v);
        if (e == ERR_OK && (e = index_cache_get(p, &m[i], &s)) == ERR_CORRUPT) {
            view_count_corrupt();
            e = ERR_OK;
            continue;
        }
        if (e != ERR_OK)
            break;
        struct view_source src = {
            .part = p, .index = s, .generation = m[i].key.generation, .count = s->count};
        if ((e = all_spans(v, &src)) == ERR_OK)
            e = add_source(v, src);
        else
            index_segment_release(s);
        if (e == ERR_OK)
            e = add_known(v, v->source_count - 1);
    }
    return e;
}

enum err view_load(struct tsdb_view *v, int64_t min_ms, int64_t max_ms)
{
    enum err e = view_check(v);
    if (v->parent) /* which has loaded all that a fork may ask for */
        return e;
    view_touch(v, min_ms, max_ms);
    for (size_t i = 0; i < v->pin.part_count && e == ERR_OK; i++) {
        const struct part_snapshot *p = v->pin.parts[i];
        enum part_class class = part_snapshot_class(p);
        if (v->part_loaded[i] || (class != PART_SAMPLES && class != PART_CELLS) ||
            !view_part_overlaps(p, min_ms, max_ms))
            continue;
        v->part_loaded[i] = true;
        e = load_part(v, p);
    }
    for (size_t i = 0; i < v->pin.head_count && e == ERR_OK && !v->heads_loaded; i++)
        e = load_head(v, &v->heads[i]);
    if (e == ERR_OK)
        v->heads_loaded = true;
    return e;
}
