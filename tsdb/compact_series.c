#include "tsdb/compact_series.h"

#include <stdlib.h>

#include "base/check.h"
#include "tsdb/block_index.h"
#include "tsdb/block_runs.h"
#include "tsdb/hist_sum.h"

/* The blocks of one kind of one generation, the one in use opened. */
struct cursor {
    const struct block_meta *metas, *open;
    size_t count;
    struct arena *arena;
    struct block_series block;
};

struct source {
    uint64_t generation;
    struct cursor main, hists;
};

struct entry { /* one series in one generation */
    struct tsdb_labels labels;
    uint32_t source, id;
};

struct stream {
    struct compact *c;
    struct block_writer w;
    enum block_kind kind;
    uint32_t n;
    bool zstd;
};

struct compact {
    const struct compact_job *job;
    struct source *sources;
    uint32_t source_count;
    struct entry *entries;
    uint32_t entry_count;
    struct arena *arena, *scratch; /* of one org; of one series */
    struct stream main, hists;
    struct block_runs floats; /* before main */
    uint32_t index_n;
    struct head_resolved resolved;
    struct err_msg *msg;
};

static enum err put(struct compact *c, enum block_kind kind, uint32_t n, struct block_meta *m,
                    struct buf *block, struct buf *summary)
{
    m->key = (struct block_key){c->job->org, (uint8_t)kind, c->job->generation, n};
    m->summary = buf_bytes(summary);
    enum err e = buf_ok(block) && buf_ok(summary)
                     ? part_put(c->job->out, m, buf_bytes(block), c->msg)
                     : err_set(c->msg, ERR_NOMEM, "no memory to merge blocks");
    buf_done(block);
    buf_done(summary);
    return e;
}

static enum err stream_close(void *ctx)
{
    struct stream *s = ctx;
    struct buf block = {0}, summary = {0};
    struct block_meta m = {.rows = s->w.rows, .time_min = s->w.t_min, .time_max = s->w.t_max};
    if (block_writer_is_empty(&s->w))
        return ERR_OK;
    block_writer_finish(&s->w, s->zstd, &block, &summary);
    return put(s->c, s->kind, s->n++, &m, &block, &summary);
}

/* --- reading ------------------------------------------------------------------------------------- */

static enum err cursor_open(struct compact *c, struct cursor *k, const struct block_meta *m)
{
    struct bytes block;
    if (k->open == m)
        return ERR_OK;
    k->open = NULL;
    arena_reset(k->arena);
    enum err e = part_fetch(c->job->snapshot, m, k->arena, &block, c->msg);
    if (e == ERR_OK)
        e = block_series_open(block, k->arena, &k->block);
    if (e == ERR_OK)
        k->open = m;
    return e;
}

typedef enum err (*chunk_fn)(struct compact *c, struct block_series *b, uint32_t chunk, void *ctx);

static enum err each_chunk(struct compact *c, struct cursor *k, uint32_t id, chunk_fn fn, void *ctx)
{
    enum err e = ERR_OK;
    for (size_t i = 0; i < k->count && e == ERR_OK; i++) {
        uint32_t first, last;
        e = block_series_range(k->metas[i].summary, &first, &last);
        if (e != ERR_OK || id < first || id > last)
            continue;
        e = cursor_open(c, k, &k->metas[i]);
        for (uint32_t n = e == ERR_OK ? block_series_find(&k->block, id) : 0;
             e == ERR_OK && n < k->block.chunk_count && k->block.chunks[n].id == id; n++)
            e = fn(c, &k->block, n, ctx);
    }
    return e;
}

struct points {
    struct head_point *p;
    uint32_t n, cap;
};

static enum err append_points(struct points *all, struct arena *a, const struct head_point *p,
                              uint32_t n)
{
    if (all->n + n > all->cap) {
        uint32_t cap = MAX(all->n + n, all->cap * 2);
        all->p = arena_grow(a, all->p, sizeof(*p), all->cap, cap);
        all->cap = cap;
    }
    if (!all->p)
        return ERR_NOMEM;
    memcpy(all->p + all->n, p, n * sizeof(*p));
    all->n += n;
    return ERR_OK;
}

static enum err take_samples(struct compact *c, struct block_series *b, uint32_t chunk, void *ctx)
{
    struct head_point *p;
    uint32_t n;
    enum err e = block_series_samples(b, chunk, c->scratch, &p, &n);
    return e == ERR_OK ? append_points(ctx, c->scratch, p, n) : e;
}

static enum err take_hists(struct compact *c, struct block_series *b, uint32_t chunk, void *ctx)
{
    struct head_point *p;
    uint32_t n;
    enum err e = block_series_hists(b, chunk, c->scratch, &p, &n);
    return e == ERR_OK ? append_points(ctx, c->scratch, p, n) : e;
}

struct cells {
    struct head_cell *c[2]; /* integers, histograms */
    uint32_t n[2], cap[2];
};

static enum err take_cells(struct compact *c, struct block_series *b, uint32_t chunk, void *ctx)
{
    struct cells *all = ctx;
    struct block_cells head;
    struct head_cell *cells;
    enum err e = block_series_cells(b, chunk, &head);
    if (e == ERR_OK)
        e = block_cells_read(&head, c->scratch, &cells);
    if (e != ERR_OK)
        return e;
    int k = head.is_hist;
    for (uint32_t i = 0; i < head.count; i++) {
        if (all->n[k] == all->cap[k]) {
            uint32_t cap = all->cap[k] ? all->cap[k] * 2 : 1440;
            all->c[k] = arena_grow(c->scratch, all->c[k], sizeof(*cells), all->cap[k], cap);
            if (!all->c[k])
                return ERR_NOMEM;
            all->cap[k] = cap;
        }
        all->c[k][all->n[k]] = cells[i];
        all->c[k][all->n[k]].ord = all->n[k]; /* older generations first */
        all->n[k]++;
    }
    return ERR_OK;
}

/* --- merging ------------------------------------------------------------------------------------- */

static size_t hist_size(const struct tsdb_hist *h)
{
    return 64 + ((size_t)h->pos_count + h->neg_count + h->custom_count) * 9 +
           ((size_t)h->pos_span_count + h->neg_span_count) * 8;
}

/* Is the point (a cell: its minute) one of those that go? */
static bool goes(struct compact_drop *drop, int64_t t_ms)
{
    bool it_does = drop && t_ms >= drop->min_ms && t_ms <= drop->max_ms;
    if (it_does)
        drop->dropped++;
    return it_does;
}

/* drop NULL: every point stays. *out_any: something of the series is left. */
static enum err merge_points(struct compact *c, const struct entry *e, uint32_t n, uint32_t id,
                             struct compact_drop *drop, bool *out_any)
{
    struct points all = {0};
    bool failed = false;
    enum err err = ERR_OK;
    for (uint32_t i = 0; i < n && err == ERR_OK; i++) {
        struct source *s = &c->sources[e[i].source];
        err = each_chunk(c, &s->main, e[i].id, take_samples, &all);
        if (err == ERR_OK)
            err = each_chunk(c, &s->hists, e[i].id, take_hists, &all);
    }
    if (drop) {
        uint32_t kept = 0;
        for (uint32_t i = 0; i < all.n; i++)
            if (!goes(drop, all.p[i].t_ms))
                all.p[kept++] = all.p[i];
        all.n = kept;
    }
    *out_any = all.n > 0;
    if (err != ERR_OK || all.n == 0)
        return err;
    all.n = head_points_resolve(all.p, all.n, c->scratch, &failed, &c->resolved);
    struct head_point *run = ARENA_ARRAY(c->scratch, struct head_point, all.n + 1);
    if (failed || !run)
        return ERR_NOMEM;
    for (int is_hist = 0; is_hist < 2; is_hist++) {
        uint32_t count = 0, rows;
        for (uint32_t i = 0; i < all.n; i++)
            if ((all.p[i].hist != NULL) == (is_hist == 1))
                run[count++] = all.p[i];
        for (uint32_t at = 0; at < count && err == ERR_OK; at += rows) {
            size_t size = 0;
            for (rows = 0; at + rows < count && rows < BLOCK_CHUNK_ROWS; rows++) {
                size += is_hist ? hist_size(run[at + rows].hist) : 0;
                if (rows && size > BLOCK_PIECE_BYTES)
                    break;
            }
            if (!is_hist) {
                err = block_runs_add(&c->floats, e->labels, id, run + at, rows);
                continue;
            }
            block_writer_hists(&c->hists.w, id, run + at, rows);
            if (block_writer_is_full(&c->hists.w))
                err = stream_close(&c->hists);
        }
    }
    return err;
}

static int by_minute(const void *x, const void *y)
{
    const struct head_cell *a = x, *b = y;
    if (a->minute != b->minute)
        return a->minute < b->minute ? -1 : 1;
    return (a->ord > b->ord) - (a->ord < b->ord);
}

/* Cells of the same minute become one, in place. */
static enum err sum_cells(struct compact *c, struct head_cell *cell, uint32_t *n, bool is_hist)
{
    uint32_t out = 0;
    qsort(cell, *n, sizeof(*cell), by_minute);
    for (uint32_t i = 0, to; i < *n; i = to) {
        struct head_cell one = cell[i];
        struct hist_sum sum;
        hist_sum_init(&sum, c->scratch);
        one.add = is_hist ? one.add : 0;
        for (to = i; to < *n && cell[to].minute == one.minute; to++) {
            if (!is_hist)
                one.add = (int64_t)((uint64_t)one.add + (uint64_t)cell[to].add);
            else if (hist_sum_add(&sum, cell[to].hist) == ERR_LIMIT)
                return ERR_NOMEM; /* bounds that disagree cannot be summed: what came first stays */
        }
        if (is_hist && to - i > 1) {
            struct tsdb_hist *h = ARENA_ARRAY(c->scratch, struct tsdb_hist, 1);
            if (!h || hist_sum_get(&sum, h) != ERR_OK)
                return ERR_NOMEM;
            one.hist = h;
        }
        cell[out++] = one;
    }
    *n = out;
    return ERR_OK;
}

static enum err merge_cells(struct compact *c, const struct entry *e, uint32_t n, uint32_t id,
                            struct compact_drop *drop, bool *out_any)
{
    struct cells all = {{NULL, NULL}, {0, 0}, {0, 0}};
    enum err err = ERR_OK;
    for (uint32_t i = 0; i < n && err == ERR_OK; i++)
        err = each_chunk(c, &c->sources[e[i].source].main, e[i].id, take_cells, &all);
    for (int k = 0; k < 2 && err == ERR_OK; k++) {
        if (drop) {
            uint32_t kept = 0;
            for (uint32_t i = 0; i < all.n[k]; i++)
                if (!goes(drop, (int64_t)all.c[k][i].minute * 60000))
                    all.c[k][kept++] = all.c[k][i];
            all.n[k] = kept;
        }
        if (all.n[k] == 0)
            continue;
        *out_any = true;
        err = sum_cells(c, all.c[k], &all.n[k], k == 1);
        for (uint32_t at = 0, rows; at < all.n[k] && err == ERR_OK; at += rows) {
            size_t size = 0;
            for (rows = 0; at + rows < all.n[k] && rows < BLOCK_CHUNK_ROWS; rows++) {
                size += k ? hist_size(all.c[k][at + rows].hist) : 0;
                if (rows && size > BLOCK_PIECE_BYTES)
                    break;
            }
            block_writer_cells(&c->main.w, id, all.c[k] + at, rows, k == 1);
            if (block_writer_is_full(&c->main.w))
                err = stream_close(&c->main);
        }
    }
    return err;
}

static int by_labels(const void *x, const void *y)
{
    const struct entry *a = x, *b = y;
    int c = tsdb_labels_compare(a->labels, b->labels);
    return c ? c : (a->source > b->source) - (a->source < b->source);
}

static enum err merge_series(struct compact *c)
{
    struct tsdb_labels *labels = ARENA_ARRAY(c->arena, struct tsdb_labels, c->entry_count + 1);
    uint32_t id = 0;
    enum err e = labels ? ERR_OK : ERR_NOMEM;
    if (c->entry_count)
        qsort(c->entries, c->entry_count, sizeof(*c->entries), by_labels);
    for (uint32_t i = 0, to; i < c->entry_count && e == ERR_OK; i = to) {
        const struct entry *x = &c->entries[i];
        for (to = i; to < c->entry_count && tsdb_labels_equal(c->entries[to].labels, x->labels);)
            to++;
        arena_reset(c->scratch);
        labels[id] = x->labels;
        struct compact_drop *drop = c->job->drop;
        bool any = false;
        if (drop && !drop->chooses(drop->ctx, x->labels))
            drop = NULL;
        e = c->job->class == PART_CELLS ? merge_cells(c, x, to - i, id, drop, &any)
                                        : merge_points(c, x, to - i, id, drop, &any);
        id += any || !drop; /* a series of which nothing is left leaves its number to the next */
    }
    if (e == ERR_OK)
        e = block_runs_flush(&c->floats);
    if (e == ERR_OK)
        e = stream_close(&c->main);
    if (e == ERR_OK)
        e = stream_close(&c->hists);
    for (uint32_t from = 0, took; from < id && e == ERR_OK; from += took) {
        struct buf block = {0}, summary = {0};
        int64_t day = (int64_t)part_day(c->job->out) * 86400000;
        struct block_meta m = {.time_min = day, .time_max = day + 86399999};
        took = block_index_write(labels, from, id, &block);
        e = put(c, BLOCK_INDEX, c->index_n++, &m, &block, &summary);
    }
    return e;
}

/* --- one org of a part --------------------------------------------------------------------------- */

static void cursor_init(struct compact *c, struct cursor *k, enum block_kind kind,
                        uint64_t generation)
{
    for (size_t i = 0; i < c->job->meta_count; i++) {
        const struct block_key *key = &c->job->metas[i].key;
        if (key->kind != kind || key->generation != generation)
            continue;
        if (!k->count)
            k->metas = &c->job->metas[i];
        k->count++;
    }
}

static enum err add_source(struct compact *c, uint64_t generation)
{
    struct source *more = realloc(c->sources, (c->source_count + 1) * sizeof(*more));
    if (!more)
        return ERR_NOMEM;
    c->sources = more;
    struct source *s = &more[c->source_count++];
    *s = (struct source){.generation = generation};
    s->main.arena = arena_new(0);
    s->hists.arena = arena_new(0);
    if (!s->main.arena || !s->hists.arena)
        return ERR_NOMEM;
    cursor_init(c, &s->main, c->job->class == PART_CELLS ? BLOCK_CELLS : BLOCK_SAMPLES, generation);
    if (c->job->class == PART_SAMPLES)
        cursor_init(c, &s->hists, BLOCK_HISTS, generation);
    return ERR_OK;
}

static enum err read_index(struct compact *c, const struct block_meta *m)
{
    struct bytes block;
    struct block_index_series *s;
    uint32_t first, n;
    enum err e = ERR_OK;
    if (!c->source_count || c->sources[c->source_count - 1].generation != m->key.generation)
        e = add_source(c, m->key.generation);
    if (e == ERR_OK)
        e = part_fetch(c->job->snapshot, m, c->arena, &block, c->msg);
    if (e == ERR_OK)
        e = block_index_read(block, c->job->org, c->arena, &first, &s, &n);
    if (e != ERR_OK)
        return e;
    struct entry *more = realloc(c->entries, ((size_t)c->entry_count + n + 1) * sizeof(*more));
    if (!more)
        return ERR_NOMEM;
    c->entries = more;
    for (uint32_t i = 0; i < n; i++)
        more[c->entry_count++] = (struct entry){s[i].labels, c->source_count - 1, first + i};
    return ERR_OK;
}

enum err compact_series(const struct compact_job *job, struct err_msg *msg)
{
    struct compact c = {.job = job, .msg = msg, .arena = arena_new(0), .scratch = arena_new(0)};
    enum err e = c.arena && c.scratch ? ERR_OK : ERR_NOMEM;
    bool cells = job->class == PART_CELLS;
    c.main = (struct stream){.c = &c, .kind = cells ? BLOCK_CELLS : BLOCK_SAMPLES, .zstd = cells};
    c.hists = (struct stream){.c = &c, .kind = BLOCK_HISTS, .zstd = true};
    for (size_t i = 0; i < job->meta_count && e == ERR_OK; i++)
        if (job->metas[i].key.kind == BLOCK_INDEX)
            e = read_index(&c, &job->metas[i]);
    block_writer_init(&c.main.w, cells ? BLOCK_SERIES_TARGET : BLOCK_SAMPLES_TARGET);
    block_writer_init(&c.hists.w, BLOCK_SERIES_TARGET);
    if (e == ERR_OK)
        e = block_runs_init(&c.floats, &c.main.w, stream_close, &c.main);
    if (e == ERR_OK)
        e = merge_series(&c);
    if (job->resolved)
        *job->resolved = c.resolved;
    block_runs_done(&c.floats);
    block_writer_done(&c.main.w);
    block_writer_done(&c.hists.w);
    for (uint32_t i = 0; i < c.source_count; i++) {
        arena_free(c.sources[i].main.arena);
        arena_free(c.sources[i].hists.arena);
    }
    arena_free(c.arena);
    arena_free(c.scratch);
    free(c.sources);
    free(c.entries);
    return e;
}
