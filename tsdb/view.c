#include "tsdb/view_core.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/stats.h"

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
    v->opened_mono_ns = clock_mono_ns();
    v->now_ms = clock_wall_ms();
    enum err e = pin_take(db, &v->pin, NULL);
    if (e != ERR_OK) {
        free(v);
        return e;
    }
    v->arena = arena_new(0);
    v->cache = arena_new(0);
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
    pin_release(v->db, &v->pin);
    arena_free(v->arena);
    arena_free(v->cache);
    free(v->heads), free(v->part_loaded), free(v->sources), free(v->refs);
    free(v->series), free(v->slots), free(v->open);
    free(v);
}

enum err view_check(const struct tsdb_view *v)
{
    if (v->limits.cancel && atomic_load_explicit(v->limits.cancel, memory_order_relaxed))
        return ERR_CANCELLED;
    int64_t now = clock_mono_ns();
    if ((v->limits.deadline_mono_ns && now > v->limits.deadline_mono_ns) ||
        now - v->opened_mono_ns > VIEW_AGE_NS)
        return ERR_TIMEOUT;
    return ERR_OK;
}

/* --- blocks -------------------------------------------------------------------------------------- */

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
                          const struct block_meta *m, const struct block_series **out)
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
        if (e != ERR_OK && e != ERR_CORRUPT)
            return e;
        fresh.is_corrupt = e == ERR_CORRUPT;
        *b = fresh;
        v->open_count++;
    }
    *out = b->is_corrupt ? NULL : &b->series;
    return ERR_OK;
}

void view_trim(struct tsdb_view *v)
{
    if (arena_used(v->cache) < VIEW_CACHE_BYTES)
        return;
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

static enum err add_ref(struct tsdb_view *v, uint32_t source, uint32_t id,
                        struct tsdb_labels labels, struct hash128 identity,
                        enum tsdb_series_kind kind)
{
    if (!grow_slots(v) || !make_room(&v->refs, sizeof(*v->refs), v->ref_count, &v->ref_cap) ||
        !make_room(&v->series, sizeof(*v->series), v->series_count, &v->series_cap))
        return ERR_NOMEM;
    uint32_t slot = series_slot(v, identity, kind);
    if (!v->slots[slot]) {
        v->series[v->series_count++] =
            (struct view_series){labels, identity, kind, VIEW_NONE, VIEW_NONE};
        v->slots[slot] = v->series_count;
    }
    struct view_series *s = &v->series[v->slots[slot] - 1];
    v->refs[v->ref_count] = (struct view_ref){source, id, VIEW_NONE};
    if (s->first_ref == VIEW_NONE)
        s->first_ref = v->ref_count;
    else
        v->refs[s->last_ref].next = v->ref_count;
    s->last_ref = v->ref_count++;
    return ERR_OK;
}

static enum err add_source(struct tsdb_view *v, struct view_source s, uint32_t *out)
{
    if (!make_room(&v->sources, sizeof(*v->sources), v->source_count, &v->source_cap))
        return ERR_NOMEM;
    v->sources[v->source_count] = s;
    *out = v->source_count++;
    return ERR_OK;
}

static enum err load_head(struct tsdb_view *v, const struct view_head *vh)
{
    uint32_t source;
    enum err e = add_source(v, (struct view_source){.head = vh}, &source);
    if (e != ERR_OK)
        return e;
    head_read_lock(vh->head);
    for (uint32_t i = 0; i < vh->head->series_count && e == ERR_OK; i++) {
        const struct head_series *s = &vh->head->series[i];
        if (s->info->org == v->org && s->ord_first < vh->limit)
            e = add_ref(v, source, i, s->info->labels, s->info->identity, s->info->kind);
    }
    head_read_unlock(vh->head);
    return e;
}

static enum err load_part(struct tsdb_view *v, const struct part_snapshot *p)
{
    size_t count;
    const struct block_meta *m = view_blocks(v, p, BLOCK_INDEX, VIEW_ANY_GENERATION, &count);
    enum tsdb_series_kind kind =
        part_snapshot_class(p) == PART_CELLS ? TSDB_SERIES_CELLS : TSDB_SERIES_SAMPLES;
    uint32_t source = VIEW_NONE;
    enum err e = ERR_OK;
    for (size_t i = 0; i < count && e == ERR_OK; i++) {
        struct bytes block;
        struct block_index_series *s = NULL;
        uint32_t first = 0, n = 0;
        e = view_check(v);
        if (e == ERR_OK && (i == 0 || m[i].key.generation != m[i - 1].key.generation))
            e = add_source(v, (struct view_source){.part = p, .generation = m[i].key.generation},
                           &source);
        if (e != ERR_OK)
            return e;
        e = view_fetch(p, &m[i], v->arena, &block);
        if (e == ERR_OK &&
            (e = block_index_read(block, v->org, v->arena, &first, &s, &n)) == ERR_CORRUPT)
            view_count_corrupt();
        if (e == ERR_CORRUPT) {
            e = ERR_OK;
            continue;
        }
        for (uint32_t k = 0; k < n && e == ERR_OK; k++)
            e = add_ref(v, source, first + k, s[k].labels, s[k].identity, kind);
    }
    return e;
}

enum err view_load(struct tsdb_view *v, int64_t min_ms, int64_t max_ms)
{
    enum err e = view_check(v);
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
