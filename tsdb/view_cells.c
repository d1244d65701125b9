#include <stdlib.h>

#include "base/check.h"
#include "tsdb/view_erase.h"

static int64_t minute_ms(uint32_t minute)
{
    return (int64_t)minute * 60000;
}

/* --- walking ------------------------------------------------------------------------------------- */

static enum err visit_head(const struct view_head *vh, uint32_t id, uint32_t from, uint32_t to,
                           view_cell_fn fn, void *ctx)
{
    enum err e = ERR_OK;
    head_read_lock(vh->head);
    const struct head_more *s = head_series_at(vh->head, id)->more;
    for (uint32_t i = 0; i < s->cell_count && e == ERR_OK; i++) {
        const struct head_cell *c = &s->cells[i];
        if (c->ord >= vh->limit)
            break; /* in commit order, the merged ones first */
        if (c->minute >= from && c->minute < to)
            e = fn(ctx, c->minute, c->add, NULL);
    }
    for (uint32_t i = 0; i < s->hist_cell_count && e == ERR_OK; i++) {
        const struct head_cell *c = &s->hist_cells[i];
        if (c->ord >= vh->limit)
            break;
        if (c->minute >= from && c->minute < to)
            e = fn(ctx, c->minute, 0, c->hist);
    }
    head_read_unlock(vh->head);
    return e;
}

struct adapter {
    view_cell_fn fn;
    void *ctx;
    enum err e;
};

static void visit_cell(void *ctx, uint32_t series, uint32_t minute, int64_t add)
{
    struct adapter *a = ctx;
    if (a->e == ERR_OK)
        a->e = a->fn(a->ctx, minute, add, NULL);
}

static enum err visit_chunk(const struct block_series *b, uint32_t chunk, uint32_t from,
                            uint32_t to, bool whole, struct arena *a, view_cell_fn fn, void *ctx)
{
    struct block_cells c;
    struct head_cell *cells;
    enum err e = block_series_cells(b, chunk, &c);
    if (e != ERR_OK || c.minute_first >= to || c.minute_last < from)
        return e;
    if (whole && !c.is_hist && c.minute_first >= from && c.minute_last < to)
        return fn(ctx, c.minute_first, c.total, NULL);
    if (!c.is_hist) {
        struct adapter each = {fn, ctx, ERR_OK};
        e = block_cells_walk(&c, from, to, whole, visit_cell, &each, 0);
        return each.e != ERR_OK ? each.e : e;
    }
    e = block_cells_read(&c, a, &cells);
    for (uint32_t i = 0; e == ERR_OK && i < c.count; i++)
        if (cells[i].minute >= from && cells[i].minute < to)
            e = fn(ctx, cells[i].minute, 0, cells[i].hist);
    return e;
}

static enum err visit_part(struct tsdb_view *v, const struct view_source *src, uint32_t id,
                           uint32_t from, uint32_t to, bool whole, struct arena *a, view_cell_fn fn,
                           void *ctx)
{
    const struct view_spans *s = &src->cells;
    enum err e = ERR_OK;
    for (uint32_t i = view_span_next(s, id, 0); i < s->count && e == ERR_OK;
         i = view_span_next(s, id, i + 1)) {
        const struct block_meta *m = &s->blocks[i];
        struct block_series *b;
        if (m->time_min >= minute_ms(to) || m->time_max < minute_ms(from))
            continue;
        e = view_open_series(v, src->part, m, &b);
        if (e != ERR_OK || !b)
            continue;
        for (uint32_t c = block_series_find(b, id);
             e == ERR_OK && c < b->chunk_count && b->chunks[c].id == id; c++) {
            e = visit_chunk(b, c, from, to, whole, a, fn, ctx);
            if (e == ERR_CORRUPT) {
                view_count_corrupt();
                e = ERR_OK;
            }
        }
    }
    return e;
}

/* Cells of a series that is being erased, minute by minute. */
struct sieve {
    const struct tsdb_view *v;
    uint32_t bits;
    uint64_t generation;
    view_cell_fn fn;
    void *ctx;
};

static enum err sieve_cell(void *ctx, uint32_t minute, int64_t add, const struct tsdb_hist *hist)
{
    const struct sieve *s = ctx;
    return view_erase_point(s->v, s->bits, s->generation, minute_ms(minute))
               ? ERR_OK
               : s->fn(s->ctx, minute, add, hist);
}

enum err view_cells_visit(struct tsdb_view *v, uint32_t series, uint32_t from, uint32_t to,
                          bool whole, struct arena *a, view_cell_fn fn, void *ctx)
{
    enum err e = view_check(v);
    if (from >= to)
        return e;
    for (uint32_t r = v->series[series].first_ref; r != VIEW_NONE && e == ERR_OK;
         r = v->refs[r].next) {
        const struct view_source *src = &v->sources[v->refs[r].source];
        struct sieve s = {v, v->series[series].erase, view_source_generation(src), fn, ctx};
        view_cell_fn to_fn = s.bits ? sieve_cell : fn;
        void *to_ctx = s.bits ? (void *)&s : ctx;
        if (src->head)
            e = visit_head(src->head, v->refs[r].id, from, to, to_fn, to_ctx);
        else if (view_part_overlaps(src->part, minute_ms(from), minute_ms(to) - 1))
            e = visit_part(v, src, v->refs[r].id, from, to, whole && !s.bits, a, to_fn, to_ctx);
    }
    return e;
}

/* --- sums ---------------------------------------------------------------------------------------- */

/* Calls fn for the cells of every matching series; each_series (may be NULL) before each. */
static enum err visit_all(struct tsdb_view *v, const struct tsdb_matcher *m, size_t n,
                          uint32_t from, uint32_t to, bool whole, view_cell_fn fn, void *ctx,
                          void (*each_series)(void *ctx, const struct view_series *s))
{
    uint32_t *found, count;
    if (from >= to)
        return ERR_OK;
    struct arena *list = arena_new(0), *scratch = arena_new(0);
    enum err e = list && scratch ? ERR_OK : ERR_NOMEM;
    view_trim(v);
    if (e == ERR_OK)
        e = view_match(v, m, n, minute_ms(from), minute_ms(to) - 1, list, &found, &count);
    for (uint32_t i = 0; e == ERR_OK && i < count; i++) {
        if (v->series[found[i]].kind != TSDB_SERIES_CELLS)
            continue;
        if (each_series)
            each_series(ctx, &v->series[found[i]]);
        arena_reset(scratch);
        view_trim(v);
        e = view_cells_visit(v, found[i], from, to, whole, scratch, fn, ctx);
    }
    arena_free(list);
    arena_free(scratch);
    return e;
}

static enum err add_to_sum(void *ctx, uint32_t minute, int64_t add, const struct tsdb_hist *hist)
{
    uint64_t *sum = ctx;
    *sum += hist ? 0 : (uint64_t)add;
    return ERR_OK;
}

enum err tsdb_cells_sum(struct tsdb_view *v, const struct tsdb_matcher *m, size_t n, uint32_t from,
                        uint32_t to, int64_t *out)
{
    uint64_t sum = 0;
    enum err e = visit_all(v, m, n, from, to, true, add_to_sum, &sum, NULL);
    if (e == ERR_OK)
        *out = (int64_t)sum;
    return e;
}

struct minutes {
    uint32_t from;
    int64_t *out;
};

static enum err add_to_minute(void *ctx, uint32_t minute, int64_t add, const struct tsdb_hist *hist)
{
    struct minutes *w = ctx;
    int64_t *at = &w->out[minute - w->from];
    if (!hist)
        *at = (int64_t)((uint64_t)*at + (uint64_t)add);
    return ERR_OK;
}

enum err tsdb_cells_minutes(struct tsdb_view *v, const struct tsdb_matcher *m, size_t n,
                            uint32_t from, uint32_t to, int64_t *out)
{
    struct minutes w = {from, out};
    return visit_all(v, m, n, from, to, false, add_to_minute, &w, NULL);
}

static enum err add_to_hist(void *ctx, uint32_t minute, int64_t add, const struct tsdb_hist *hist)
{
    return hist ? hist_sum_add(ctx, hist) : ERR_OK;
}

enum err tsdb_cells_hist(struct tsdb_view *v, const struct tsdb_matcher *m, size_t n, uint32_t from,
                         uint32_t to, struct arena *a, struct tsdb_hist *out)
{
    struct hist_sum sum;
    hist_sum_init(&sum, a);
    enum err e = visit_all(v, m, n, from, to, false, add_to_hist, &sum, NULL);
    return e == ERR_OK ? hist_sum_get(&sum, out) : e;
}

/* --- groups -------------------------------------------------------------------------------------- */

struct groups {
    struct arena *a;
    struct bytes label;
    struct tsdb_cells_group *list;
    uint32_t count, cap, current;
    bool failed;
};

static void choose_group(void *ctx, const struct view_series *s)
{
    struct groups *g = ctx;
    struct bytes value = tsdb_labels_get(s->labels, g->label);
    for (g->current = 0; g->current < g->count; g->current++)
        if (bytes_equal(g->list[g->current].value, value))
            return;
    if (g->count == g->cap) {
        uint32_t cap = g->cap ? g->cap * 2 : 32;
        struct tsdb_cells_group *fresh = arena_grow(g->a, g->list, sizeof(*fresh), g->cap, cap);
        if (!fresh) {
            g->failed = true;
            return;
        }
        g->list = fresh;
        g->cap = cap;
    }
    g->list[g->count].value = arena_copy(g->a, value);
    g->failed |= !g->list[g->count].value.data;
    g->count++;
}

static enum err add_to_group(void *ctx, uint32_t minute, int64_t add, const struct tsdb_hist *hist)
{
    struct groups *g = ctx;
    if (g->failed)
        return ERR_LIMIT;
    int64_t *sum = &g->list[g->current].sum;
    if (!hist)
        *sum = (int64_t)((uint64_t)*sum + (uint64_t)add);
    return ERR_OK;
}

static int by_value(const void *x, const void *y)
{
    return bytes_compare(((const struct tsdb_cells_group *)x)->value,
                         ((const struct tsdb_cells_group *)y)->value);
}

enum err tsdb_cells_by(struct tsdb_view *v, const struct tsdb_matcher *m, size_t n,
                       struct bytes label, uint32_t from, uint32_t to, struct arena *a,
                       struct tsdb_cells_group **out, size_t *out_count)
{
    struct groups g = {.a = a, .label = label};
    enum err e = visit_all(v, m, n, from, to, true, add_to_group, &g, choose_group);
    if (e == ERR_OK && g.failed)
        e = ERR_LIMIT;
    if (e != ERR_OK)
        return e;
    if (g.count)
        qsort(g.list, g.count, sizeof(*g.list), by_value);
    *out = g.list;
    *out_count = g.count;
    return ERR_OK;
}

/* Commits between since_seq and the oldest head have been sealed meanwhile: which minutes they touched is no longer known. */
uint64_t tsdb_view_seq(const struct tsdb_view *v)
{
    return v->pin.visible_seq;
}

bool tsdb_view_holds(const struct tsdb_view *v, uint64_t since_seq)
{
    uint64_t oldest = UINT64_MAX;
    for (size_t i = 0; i < v->pin.head_count; i++)
        if (v->heads[i].limit)
            oldest = MIN(oldest, head_batch_at(v->heads[i].head, 0)->seq);
    return v->pin.visible_seq <= since_seq || oldest <= since_seq + 1;
}

enum err tsdb_cells_changed(struct tsdb_view *v, uint64_t since_seq, uint32_t *out_from,
                            uint32_t *out_to, uint64_t *out_seq)
{
    uint32_t from = UINT32_MAX, to = 0;
    uint64_t oldest = UINT64_MAX;
    for (size_t i = 0; i < v->pin.head_count; i++) {
        const struct head *h = v->heads[i].head;
        for (uint32_t k = 0; k < v->heads[i].limit; k++) {
            const struct head_batch *b = head_batch_at(h, k);
            oldest = MIN(oldest, b->seq);
            if (b->seq <= since_seq || !b->has_cells || b->org != v->org)
                continue;
            from = MIN(from, b->minute_min);
            to = MAX(to, b->minute_max);
        }
    }
    if (since_seq && v->pin.visible_seq > since_seq && oldest > since_seq + 1) {
        from = 0;
        to = UINT32_MAX / 2; /* leaves room for callers that add to it */
    }
    *out_from = from;
    *out_to = to;
    *out_seq = v->pin.visible_seq;
    return ERR_OK;
}
