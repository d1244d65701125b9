#include "base/check.h"
#include "base/stats.h"
#include "tsdb/view_erase.h"

STATS_COUNTER(repeated, "telltale_store_samples_repeated_total", "where=\"read\"",
              "Samples found twice, bit by bit the same, and kept once.");
STATS_COUNTER(
    conflicting, "telltale_store_samples_conflicting_total", "where=\"read\"",
    "Samples of one series and time with other values: the newest counts, a value before a "
    "stale marker.");

struct points {
    struct head_point *p;
    uint32_t n, cap;
};

static bool append(struct points *out, struct arena *a, const struct head_point *p, uint32_t n,
                   int64_t min_ms, int64_t max_ms)
{
    if (out->n + n > out->cap) {
        uint32_t cap = MAX(out->n + n, out->cap * 2);
        struct head_point *fresh = arena_grow(a, out->p, sizeof(*p), out->cap, cap);
        if (!fresh)
            return false;
        out->p = fresh;
        out->cap = cap;
    }
    for (uint32_t i = 0; i < n; i++)
        if (p[i].t_ms >= min_ms && p[i].t_ms <= max_ms)
            out->p[out->n++] = p[i];
    return true;
}

/* Chunks of one series in the blocks of one kind of a (part, generation). */
static enum err read_blocks(struct tsdb_view *v, const struct view_source *src, uint32_t id,
                            enum block_kind kind, int64_t min_ms, int64_t max_ms, struct arena *a,
                            struct arena *scratch, struct points *out)
{
    size_t count;
    const struct block_meta *m = view_blocks(v, src->part, kind, src->generation, &count);
    for (size_t i = 0; i < count; i++) {
        struct block_series *b;
        uint32_t first, last, n;
        struct head_point *p;
        if (block_series_range(m[i].summary, &first, &last) != ERR_OK || id < first || id > last ||
            m[i].time_min > max_ms || m[i].time_max < min_ms)
            continue;
        enum err e = view_open_series(v, src->part, &m[i], &b);
        if (e != ERR_OK)
            return e;
        uint32_t c = b ? block_series_find(b, id) : 0;
        for (; b && c < b->chunk_count && b->chunks[c].id == id; c++) {
            /* histograms point into the arena of the answer */
            e = kind == BLOCK_HISTS ? block_series_hists(b, c, a, &p, &n)
                                    : block_series_samples(b, c, scratch, &p, &n);
            if (e == ERR_CORRUPT) {
                view_count_corrupt();
                break;
            }
            if (e != ERR_OK)
                return e;
            if (!append(out, a, p, n, min_ms, max_ms))
                return ERR_LIMIT;
        }
    }
    return ERR_OK;
}

/* Those from `from` on that are being erased go. */
static void leave_out(const struct tsdb_view *v, const struct view_series *s,
                      const struct view_source *src, struct points *p, uint32_t from)
{
    uint32_t n = from;
    for (uint32_t i = from; s->erase && i < p->n; i++)
        if (!view_erase_point(v, s->erase, view_source_generation(src), p->p[i].t_ms))
            p->p[n++] = p->p[i];
    p->n = s->erase ? n : p->n;
}

static enum err read_stored(struct tsdb_view *v, const struct view_series *s, int64_t min_ms,
                            int64_t max_ms, struct arena *a, struct points *out)
{
    struct arena *scratch = arena_new(0);
    enum err e = scratch ? ERR_OK : ERR_NOMEM;
    /* parts first: what is in a head is newer */
    for (uint32_t r = s->first_ref; r != VIEW_NONE && e == ERR_OK; r = v->refs[r].next) {
        const struct view_source *src = &v->sources[v->refs[r].source];
        if (src->head || !view_part_overlaps(src->part, min_ms, max_ms))
            continue;
        uint32_t before = out->n;
        arena_reset(scratch);
        e = read_blocks(v, src, v->refs[r].id, BLOCK_SAMPLES, min_ms, max_ms, a, scratch, out);
        if (e == ERR_OK)
            e = read_blocks(v, src, v->refs[r].id, BLOCK_HISTS, min_ms, max_ms, a, scratch, out);
        leave_out(v, s, src, out, before);
    }
    for (uint32_t r = s->first_ref; r != VIEW_NONE && e == ERR_OK; r = v->refs[r].next) {
        const struct view_source *src = &v->sources[v->refs[r].source];
        if (!src->head)
            continue;
        uint32_t before = out->n;
        head_read_lock(src->head->head);
        const struct head_series *hs = head_series_at(src->head->head, v->refs[r].id);
        if (!head_points(hs, src->head->limit, min_ms, max_ms, a, &out->p, &out->n, &out->cap))
            e = ERR_LIMIT;
        head_read_unlock(src->head->head);
        leave_out(v, s, src, out, before);
        for (uint32_t i = before; i < out->n && e == ERR_OK; i++) {
            struct tsdb_hist *copy;
            if (!out->p[i].hist)
                continue;
            copy = ARENA_ARRAY(a, struct tsdb_hist, 1);
            e = copy ? tsdb_hist_copy(out->p[i].hist, a, copy) : ERR_LIMIT;
            out->p[i].hist = copy;
        }
    }
    arena_free(scratch);
    return e;
}

static enum err to_columns(const struct head_point *p, uint32_t n, struct arena *a,
                           struct tsdb_points *out)
{
    bool any_hist = false, any_start = false;
    for (uint32_t i = 0; i < n; i++) {
        any_hist |= p[i].hist != NULL;
        any_start |= p[i].start_ms != 0;
    }
    int64_t *t = ARENA_ARRAY(a, int64_t, n + 1);
    double *value = ARENA_ARRAY(a, double, n + 1);
    const struct tsdb_hist **hist = any_hist ? ARENA_ARRAY(a, const struct tsdb_hist *, n) : NULL;
    int64_t *start = any_start ? ARENA_ARRAY(a, int64_t, n) : NULL;
    if (!t || !value || (any_hist && !hist) || (any_start && !start))
        return ERR_LIMIT;
    for (uint32_t i = 0; i < n; i++) {
        t[i] = p[i].t_ms;
        value[i] = p[i].value;
        if (hist)
            hist[i] = p[i].hist;
        if (start)
            start[i] = p[i].start_ms;
    }
    *out = (struct tsdb_points){n, t, value, hist, start};
    return ERR_OK;
}

enum err tsdb_points_read(struct tsdb_view *v, const struct tsdb_series *s, int64_t min_ms,
                          int64_t max_ms, struct arena *a, struct tsdb_points *out)
{
    struct points got = {0};
    CHECK(s->handle < v->series_count);
    view_trim(v);
    enum err e = view_load(v, min_ms, max_ms);
    if (e != ERR_OK)
        return e;
    if (s->kind == TSDB_SERIES_CELLS) {
        e = view_counter(v, (uint32_t)s->handle, min_ms, max_ms, a, &got.p, &got.n);
    } else {
        bool failed = false;
        struct head_resolved count = {0};
        e = read_stored(v, &v->series[s->handle], min_ms, max_ms, a, &got);
        if (e == ERR_OK)
            got.n = head_points_resolve(got.p, got.n, a, &failed, &count);
        stats_add(&repeated, (int64_t)count.repeated);
        stats_add(&conflicting, (int64_t)count.conflicting);
        if (failed)
            e = ERR_LIMIT;
    }
    if (e != ERR_OK)
        return e;
    v->samples_read += got.n;
    if (v->samples_read > v->limits.samples_max)
        return ERR_LIMIT;
    return to_columns(got.p, got.n, a, out);
}
