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
    const struct view_spans *s = kind == BLOCK_HISTS ? &src->hists : &src->samples;
    for (uint32_t i = view_span_next(s, id, 0); i < s->count; i = view_span_next(s, id, i + 1)) {
        struct block_series *b;
        uint32_t n;
        struct head_point *p;
        if (s->blocks[i].time_min > max_ms || s->blocks[i].time_max < min_ms)
            continue;
        enum err e = view_open_series(v, src->part, &s->blocks[i], &b);
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

/* --- the usual series: floats that lie one behind the other in time ------------------------------ */

#define PIECES_MAX 64u /* a series of more is read the general way */

struct pieces {
    struct block_columns of[PIECES_MAX];
    uint32_t count, rows;
    bool fits, has_starts;
};

static uint32_t first_after(const int64_t *t, uint32_t n, int64_t ms) /* with t > ms */
{
    uint32_t lo = 0;
    while (lo < n) {
        uint32_t mid = lo + (n - lo) / 2;
        if (t[mid] <= ms)
            lo = mid + 1;
        else
            n = mid;
    }
    return lo;
}

/* What of c lies in [min, max] follows, if it is newer than all before. */
static void add_piece(struct pieces *p, struct block_columns c, int64_t min_ms, int64_t max_ms)
{
    uint32_t from = min_ms == INT64_MIN ? 0 : first_after(c.t_ms, c.count, min_ms - 1);
    uint32_t to = first_after(c.t_ms, c.count, max_ms);
    if (from >= to)
        return;
    const struct block_columns *last = p->count ? &p->of[p->count - 1] : NULL;
    p->fits &= p->count < PIECES_MAX && (!last || last->t_ms[last->count - 1] < c.t_ms[from]);
    if (!p->fits)
        return;
    p->of[p->count++] = (struct block_columns){c.t_ms + from, c.start_ms ? c.start_ms + from : NULL,
                                               c.value + from, to - from};
    p->rows += to - from;
    p->has_starts |= c.start_ms != NULL;
}

static enum err pieces_of_part(struct tsdb_view *v, const struct view_source *src, uint32_t id,
                               int64_t min_ms, int64_t max_ms, struct arena *a, struct pieces *p)
{
    const struct view_spans *s = &src->samples;
    p->fits &= view_span_next(&src->hists, id, 0) == src->hists.count;
    for (uint32_t i = view_span_next(s, id, 0); i < s->count && p->fits;
         i = view_span_next(s, id, i + 1)) {
        struct block_series *b;
        if (s->blocks[i].time_min > max_ms || s->blocks[i].time_max < min_ms)
            continue;
        enum err e = view_open_series(v, src->part, &s->blocks[i], &b);
        if (e != ERR_OK)
            return e;
        uint32_t c = b ? block_series_find(b, id) : 0;
        for (; b && c < b->chunk_count && b->chunks[c].id == id && p->fits; c++) {
            struct block_columns got;
            e = block_series_columns(b, c, a, &got);
            if (e == ERR_CORRUPT)
                p->fits = false; /* the general way counts it and goes on */
            else if (e != ERR_OK)
                return e;
            else
                add_piece(p, got, min_ms, max_ms);
        }
    }
    return ERR_OK;
}

static enum err pieces_of_head(const struct view_head *vh, uint32_t id, int64_t min_ms,
                               int64_t max_ms, struct arena *a, struct pieces *p)
{
    struct head_samples_iter it;
    enum err e = ERR_OK;
    head_read_lock(vh->head);
    const struct head_series *hs = head_series_at(vh->head, id);
    uint32_t n = 0, cap = hs->t_min > max_ms || hs->t_max < min_ms ? 0 : hs->samples.count;
    p->fits &= hs->more->hist_count == 0;
    int64_t *t = p->fits ? arena_alloc_raw(a, (cap + 1) * sizeof(*t), 16) : NULL;
    int64_t *start = t ? arena_alloc_raw(a, (cap + 1) * sizeof(*start), 16) : NULL;
    double *value = start ? arena_alloc_raw(a, (cap + 1) * sizeof(*value), 16) : NULL;
    bool has_starts = false;
    if (p->fits && !value)
        e = ERR_LIMIT;
    for (it = head_samples_begin(&hs->samples);
         value && cap && p->fits && head_samples_next(&it) && it.last.ord < vh->limit; n++) {
        p->fits = n == 0 || it.last.t_ms > t[n - 1];
        t[n] = it.last.t_ms;
        start[n] = it.last.start_ms;
        value[n] = it.last.value;
        has_starts |= start[n] != 0;
    }
    head_read_unlock(vh->head);
    if (value && p->fits)
        add_piece(p, (struct block_columns){t, has_starts ? start : NULL, value, n}, min_ms,
                  max_ms);
    return e;
}

static enum err join_pieces(const struct pieces *p, struct arena *a, struct tsdb_points *out)
{
    const struct block_columns *only = &p->of[0];
    *out = (struct tsdb_points){.count = p->rows};
    if (p->count <= 1) {
        if (p->count)
            *out = (struct tsdb_points){only->count, only->t_ms, only->value, NULL, only->start_ms};
        return ERR_OK;
    }
    int64_t *t = arena_alloc_raw(a, p->rows * sizeof(*t), 16);
    double *value = arena_alloc_raw(a, p->rows * sizeof(*value), 16);
    int64_t *start = p->has_starts ? ARENA_ARRAY(a, int64_t, p->rows) : NULL;
    if (!t || !value || (p->has_starts && !start))
        return ERR_LIMIT;
    for (uint32_t i = 0, at = 0; i < p->count; at += p->of[i++].count) {
        const struct block_columns *c = &p->of[i];
        memcpy(t + at, c->t_ms, c->count * sizeof(*t));
        memcpy(value + at, c->value, c->count * sizeof(*value));
        if (c->start_ms)
            memcpy(start + at, c->start_ms, c->count * sizeof(*start));
    }
    *out = (struct tsdb_points){p->rows, t, value, NULL, start};
    return ERR_OK;
}

/* *out_done false: the series is not of that kind. */
static enum err read_pieces(struct tsdb_view *v, const struct view_series *s, int64_t min_ms,
                            int64_t max_ms, struct arena *a, struct tsdb_points *out,
                            bool *out_done)
{
    struct pieces p = {.fits = s->erase == 0};
    enum err e = ERR_OK;
    for (int heads = 0; heads < 2; heads++) /* parts first: what is in a head is newer */
        for (uint32_t r = s->first_ref; r != VIEW_NONE && e == ERR_OK && p.fits;
             r = v->refs[r].next) {
            const struct view_source *src = &v->sources[v->refs[r].source];
            if (heads && src->head)
                e = pieces_of_head(src->head, v->refs[r].id, min_ms, max_ms, a, &p);
            else if (!heads && !src->head && view_part_overlaps(src->part, min_ms, max_ms))
                e = pieces_of_part(v, src, v->refs[r].id, min_ms, max_ms, a, &p);
        }
    *out_done = p.fits;
    return e == ERR_OK && p.fits ? join_pieces(&p, a, out) : e;
}

static enum err count_read(struct tsdb_view *v, uint64_t points)
{
    v->samples_read += points;
    return v->samples_read > v->limits.samples_max ? ERR_LIMIT : ERR_OK;
}

enum err tsdb_points_read(struct tsdb_view *v, const struct tsdb_series *s, int64_t min_ms,
                          int64_t max_ms, struct arena *a, struct tsdb_points *out)
{
    struct points got = {0};
    bool done = false;
    CHECK(s->handle < v->series_count);
    view_trim(v);
    enum err e = view_load(v, min_ms, max_ms);
    if (e == ERR_OK && s->kind != TSDB_SERIES_CELLS)
        e = read_pieces(v, &v->series[s->handle], min_ms, max_ms, a, out, &done);
    if (e != ERR_OK || done)
        return e == ERR_OK ? count_read(v, out->count) : e;
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
    e = count_read(v, got.n);
    return e == ERR_OK ? to_columns(got.p, got.n, a, out) : e;
}
