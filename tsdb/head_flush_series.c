#include <stdlib.h>

#include "base/check.h"
#include "tsdb/block_runs.h"
#include "tsdb/head_flush.h"

/* One org's blocks of one kind, being filled. */
struct stream {
    struct block_writer w;
    enum block_kind kind;
    enum part_class class;
    uint32_t org, n;
    bool zstd;
    struct head_flush *f;
};

static enum err stream_close(void *ctx)
{
    struct stream *s = ctx;
    if (block_writer_is_empty(&s->w))
        return ERR_OK;
    struct buf block = {0}, summary = {0};
    struct block_meta meta = {.rows = s->w.rows, .time_min = s->w.t_min, .time_max = s->w.t_max};
    block_writer_finish(&s->w, s->zstd, &block, &summary);
    enum err e = head_flush_put(s->f, &meta, s->org, s->kind, s->class, s->n++, &block, &summary);
    buf_done(&block);
    buf_done(&summary);
    return e;
}

static size_t hist_size(const struct tsdb_hist *h)
{
    return 64 + ((size_t)h->pos_count + h->neg_count + h->custom_count) * 9 +
           ((size_t)h->pos_span_count + h->neg_span_count) * 8;
}

/* How many histograms make the next chunk: a few huge ones must not become a huge block. */
static uint32_t hists_in_chunk(const struct head_point *p, const struct head_cell *c, uint32_t n)
{
    size_t size = 0;
    uint32_t i = 0;
    for (; i < n && i < BLOCK_CHUNK_ROWS; i++) {
        size += hist_size(p ? p[i].hist : c[i].hist);
        if (i > 0 && size > BLOCK_PIECE_BYTES)
            break;
    }
    return i;
}

/* Where what is found twice is counted. */
static struct head_resolved *sealed_of(struct head_flush *f, uint32_t org)
{
    for (uint32_t i = 0; i < f->h->org_count; i++)
        if (f->h->orgs[i].org == org)
            return &f->h->orgs[i].sealed;
    return &f->nobodys;
}

/* The day's samples (floats and histograms apart) of one series, as chunks. */
static enum err put_points(struct head_flush *f, const struct head_series *s, uint32_t id,
                           struct block_runs *floats, struct stream *hists)
{
    int64_t from = (int64_t)f->day * 86400000, to = from + 86399999;
    struct head_point *p = NULL;
    uint32_t n = 0, cap = 0;
    bool failed = false;
    if (!head_points(s, UINT32_MAX, f->day ? from : INT64_MIN,
                     f->day == UINT32_MAX ? INT64_MAX : to, f->scratch, &p, &n, &cap))
        return ERR_NOMEM;
    n = head_points_resolve(p, n, f->scratch, &failed, sealed_of(f, s->info->org));
    if (failed)
        return ERR_NOMEM;
    struct head_point *run = ARENA_ARRAY(f->scratch, struct head_point, n + 1);
    if (!run)
        return ERR_NOMEM;
    for (int is_hist = 0; is_hist < 2; is_hist++) {
        uint32_t count = 0;
        for (uint32_t i = 0; i < n; i++)
            if ((p[i].hist != NULL) == (is_hist == 1))
                run[count++] = p[i];
        for (uint32_t at = 0; at < count;) {
            uint32_t rows = is_hist ? hists_in_chunk(run + at, NULL, count - at)
                                    : MIN(count - at, BLOCK_CHUNK_ROWS);
            enum err e = ERR_OK;
            if (is_hist)
                block_writer_hists(&hists->w, id, run + at, rows);
            else
                e = block_runs_add(floats, s->info->labels, id, run + at, rows);
            at += rows;
            if (is_hist && block_writer_is_full(&hists->w))
                e = stream_close(hists);
            if (e != ERR_OK)
                return e;
        }
    }
    return ERR_OK;
}

static int by_minute_ord(const void *x, const void *y)
{
    const struct head_cell *a = x, *b = y;
    if (a->minute != b->minute)
        return a->minute < b->minute ? -1 : 1;
    return (a->ord > b->ord) - (a->ord < b->ord);
}

/* The day's cells of one kind, merged by minute. */
static enum err day_cells(struct head_flush *f, const struct head_cell *cells, uint32_t count,
                          bool is_hist, struct head_cell **out, uint32_t *out_count)
{
    struct head_cell *c = ARENA_ARRAY(f->scratch, struct head_cell, count + 1);
    struct tsdb_hist *h = is_hist ? ARENA_ARRAY(f->scratch, struct tsdb_hist, 1441) : NULL;
    uint32_t n = 0, merged = 0;
    if (!c || (is_hist && !h))
        return ERR_NOMEM;
    for (uint32_t i = 0; i < count; i++)
        if (cells[i].minute / 1440 == f->day)
            c[n++] = cells[i];
    qsort(c, n, sizeof(*c), by_minute_ord);
    for (uint32_t i = 0, to; i < n; i = to) {
        struct hist_sum sum;
        uint64_t add = 0;
        hist_sum_init(&sum, f->scratch);
        for (to = i; to < n && c[to].minute == c[i].minute; to++) {
            if (!is_hist)
                add += (uint64_t)c[to].add;
            else if (hist_sum_add(&sum, c[to].hist) == ERR_LIMIT)
                return ERR_NOMEM; /* bounds that disagree cannot be summed: what came first stays */
        }
        struct head_cell one = {.minute = c[i].minute};
        if (is_hist) {
            if (hist_sum_get(&sum, &h[merged]) != ERR_OK)
                return ERR_NOMEM;
            one.hist = &h[merged];
        } else {
            one.add = (int64_t)add;
        }
        c[merged++] = one;
    }
    *out = c;
    *out_count = merged;
    return ERR_OK;
}

static enum err put_cells(struct head_flush *f, const struct head_series *s, uint32_t id,
                          struct stream *st)
{
    const struct head_more *m = s->more;
    for (int is_hist = 0; is_hist < 2; is_hist++) {
        struct head_cell *c;
        uint32_t n;
        enum err e = day_cells(f, is_hist ? m->hist_cells : m->cells,
                               is_hist ? m->hist_cell_count : m->cell_count, is_hist, &c, &n);
        for (uint32_t at = 0, rows; e == ERR_OK && at < n; at += rows) {
            rows = is_hist ? hists_in_chunk(NULL, c + at, n - at) : n;
            block_writer_cells(&st->w, id, c + at, rows, is_hist);
            if (block_writer_is_full(&st->w))
                e = stream_close(st);
        }
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

static bool has_cells_on(const struct head_cell *c, uint32_t n, uint32_t day)
{
    for (uint32_t i = 0; i < n; i++)
        if (c[i].minute / 1440 == day)
            return true;
    return false;
}

static bool is_on_day(const struct head_series *s, uint32_t day, enum part_class class)
{
    const struct head_more *m = s->more;
    if (class == PART_CELLS)
        return m->minute_min <= m->minute_max && m->minute_min / 1440 <= day &&
               m->minute_max / 1440 >= day &&
               (has_cells_on(m->cells, m->cell_count, day) ||
                has_cells_on(m->hist_cells, m->hist_cell_count, day));
    if (s->t_min > s->t_max || head_day_of_ms(s->t_min) > day || head_day_of_ms(s->t_max) < day)
        return false;
    if (head_day_of_ms(s->t_min) == head_day_of_ms(s->t_max))
        return true;
    for (struct head_samples_iter it = head_samples_begin(&s->samples); head_samples_next(&it);)
        if (head_day_of_ms(it.last.t_ms) == day)
            return true;
    for (uint32_t i = 0; i < m->hist_count; i++)
        if (head_day_of_ms(m->hists[i].t_ms) == day)
            return true;
    return false;
}

static enum err put_index(struct head_flush *f, uint32_t org, enum part_class class,
                          const struct tsdb_labels *labels, uint32_t n)
{
    enum err e = ERR_OK;
    for (uint32_t from = 0, block_n = 0, took; from < n && e == ERR_OK; from += took, block_n++) {
        struct buf block = {0}, summary = {0};
        struct block_meta meta = {.rows = 0,
                                  .time_min = (int64_t)f->day * 86400000,
                                  .time_max = (int64_t)f->day * 86400000 + 86399999};
        took = block_index_write(labels, from, n, &block);
        e = head_flush_put(f, &meta, org, BLOCK_INDEX, class, block_n, &block, &summary);
        buf_done(&block);
    }
    return e;
}

static enum err flush_org_series(struct head_flush *f, enum part_class class, uint32_t org,
                                 const uint32_t *order, uint32_t n)
{
    struct stream main_stream = {.kind = class == PART_CELLS ? BLOCK_CELLS : BLOCK_SAMPLES,
                                 .class = class,
                                 .org = org,
                                 .zstd = class == PART_CELLS,
                                 .f = f};
    struct stream hists = {.kind = BLOCK_HISTS, .class = class, .org = org, .zstd = true, .f = f};
    struct block_runs floats = {0};
    struct tsdb_labels *labels = malloc((n + 1) * sizeof(*labels));
    uint32_t id = 0;
    enum err e = labels ? ERR_OK : ERR_NOMEM;
    block_writer_init(&main_stream.w,
                      class == PART_CELLS ? BLOCK_SERIES_TARGET : BLOCK_SAMPLES_TARGET);
    block_writer_init(&hists.w, BLOCK_SERIES_TARGET);
    if (e == ERR_OK)
        e = block_runs_init(&floats, &main_stream.w, stream_close, &main_stream);
    for (uint32_t i = 0; i < n && e == ERR_OK; i++) {
        const struct head_series *s = head_series_at(f->h, order[i]);
        if (!is_on_day(s, f->day, class))
            continue;
        arena_reset(f->scratch);
        e = class == PART_CELLS ? put_cells(f, s, id, &main_stream)
                                : put_points(f, s, id, &floats, &hists);
        labels[id++] = s->info->labels;
    }
    if (e == ERR_OK)
        e = block_runs_flush(&floats);
    if (e == ERR_OK)
        e = stream_close(&main_stream);
    if (e == ERR_OK)
        e = stream_close(&hists);
    if (e == ERR_OK)
        e = put_index(f, org, class, labels, id);
    block_runs_done(&floats);
    block_writer_done(&main_stream.w);
    block_writer_done(&hists.w);
    free(labels);
    return e;
}

/* Exemplars and metadata of one org: kept beside the samples. */
static enum err flush_extras(struct head_flush *f, uint32_t org)
{
    struct block_exemplar *x = NULL;
    struct tsdb_metadata_row *m = NULL;
    uint32_t xn = 0, xcap = 0, mn = 0, mcap = 0;
    enum err e = ERR_OK;
    arena_reset(f->scratch);
    for (uint32_t i = 0; i < f->h->batch_count; i++) {
        const struct tsdb_batch *b = head_batch_at(f->h, i)->batch;
        if (!b || b->org != org)
            continue;
        for (uint32_t k = 0; k < b->exemplars.count; k++) {
            if (head_day_of_ms(b->exemplars.t_ms[k]) != f->day)
                continue;
            if (xn == xcap &&
                !(x = arena_grow(f->scratch, x, sizeof(*x), xcap, xcap ? xcap * 2 : 64)))
                return ERR_NOMEM;
            xcap = xn == xcap ? (xcap ? xcap * 2 : 64) : xcap;
            x[xn++] = (struct block_exemplar){
                tsdb_registry_info(f->h->registry, b->exemplars.series[k])->labels,
                b->exemplars.labels[k], b->exemplars.t_ms[k], b->exemplars.value[k]};
        }
        if (b->metadata.count == 0 || head_day_of_ms(b->received_ns / 1000000) != f->day)
            continue;
        uint32_t want = mn + b->metadata.count;
        if (want > mcap && !(m = arena_grow(f->scratch, m, sizeof(*m), mcap, want * 2)))
            return ERR_NOMEM;
        mcap = want > mcap ? want * 2 : mcap;
        memcpy(m + mn, b->metadata.row, b->metadata.count * sizeof(*m));
        mn = want;
    }
    struct block_meta meta = {.rows = 0,
                              .time_min = (int64_t)f->day * 86400000,
                              .time_max = (int64_t)f->day * 86400000 + 86399999};
    struct buf block = {0}, summary = {0};
    for (uint32_t from = 0, to, n = 0; from < xn && e == ERR_OK; from = to, n++) {
        size_t size = 0;
        for (to = from; to < xn && to - from < 4096 && size < BLOCK_PIECE_BYTES; to++)
            size += x[to].series.enc.size + x[to].labels.enc.size;
        buf_clear(&block);
        block_exemplars_write(x + from, to - from, &block);
        e = head_flush_put(f, &meta, org, BLOCK_EXEMPLARS, PART_SAMPLES, n, &block, &summary);
    }
    for (uint32_t from = 0, to, n = 0; from < mn && e == ERR_OK; from = to, n++) {
        size_t size = 0;
        for (to = from; to < mn && to - from < 4096 && size < BLOCK_PIECE_BYTES; to++)
            size += m[to].family.size + m[to].type.size + m[to].help.size + m[to].unit.size;
        buf_clear(&block);
        block_metadata_write(m + from, to - from, &block);
        e = head_flush_put(f, &meta, org, BLOCK_METADATA, PART_SAMPLES, n, &block, &summary);
    }
    buf_done(&block);
    return e;
}

enum err head_flush_series(struct head_flush *f, enum part_class class)
{
    const struct head *h = f->h;
    enum err e = ERR_OK;
    for (uint32_t from = 0, to; from < h->series_count && e == ERR_OK; from = to) {
        uint32_t org = head_series_at(h, f->order[from])->info->org;
        for (to = from; to < h->series_count && head_series_at(h, f->order[to])->info->org == org;)
            to++;
        e = flush_org_series(f, class, org, f->order + from, to - from);
    }
    for (uint32_t i = 0; i < h->org_count && class == PART_SAMPLES && e == ERR_OK; i++)
        e = flush_extras(f, h->orgs[i].org);
    return e;
}
