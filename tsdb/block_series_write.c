#include <stdlib.h>

#include "base/check.h"
#include "base/zip.h"
#include "tsdb/block_ints.h"
#include "tsdb/block_series.h"

#define ZSTD_MIN 256u

void block_pack(struct bytes body, bool try_zstd, struct buf *out)
{
    struct buf packed = {0};
    bool pays = try_zstd && body.size >= ZSTD_MIN &&
                zip_deflate(ZIP_ZSTD, 1, body, &packed) == ERR_OK && buf_ok(&packed) &&
                packed.size + body.size / 16 < body.size;
    buf_u8(out, FORMAT_BLOCK);
    buf_u8(out, pays);
    if (pays) {
        buf_varint(out, body.size);
        buf_bytes_append(out, buf_bytes(&packed));
    } else {
        buf_bytes_append(out, body);
    }
    buf_done(&packed);
}

void block_writer_init(struct block_writer *w, uint32_t target)
{
    *w = (struct block_writer){.target = target, .t_min = INT64_MAX, .t_max = INT64_MIN};
}

void block_writer_done(struct block_writer *w)
{
    buf_done(&w->times);
    buf_done(&w->groups);
    buf_done(&w->chunks);
    buf_done(&w->scratch);
    free(w->entries);
    free(w->work);
}

bool block_writer_is_full(const struct block_writer *w)
{
    return w->times.size + w->groups.size + w->chunks.size + w->chunk_count * 3 >= w->target;
}

bool block_writer_is_empty(const struct block_writer *w)
{
    return w->chunk_count == 0 && !w->times.failed && !w->groups.failed && !w->chunks.failed;
}

static bool has_work(struct block_writer *w)
{
    if (!w->work)
        w->work = malloc(sizeof(*w->work));
    if (!w->work)
        w->chunks.failed = true;
    return w->work != NULL;
}

/* Times: regular (first, step) or differences of differences. */
static void put_times(struct buf *out, const int64_t *t, uint32_t n, uint64_t *bends)
{
    uint64_t step = n > 1 ? (uint64_t)t[1] - (uint64_t)t[0] : 0, last = step;
    bool regular = true;
    for (uint32_t i = 2; i < n; i++) {
        uint64_t d = (uint64_t)t[i] - (uint64_t)t[i - 1];
        bends[i - 2] = d - last;
        regular = regular && d == step;
        last = d;
    }
    buf_u8(out, regular ? 0 : 1);
    buf_zigzag(out, t[0]);
    buf_zigzag(out, (int64_t)step);
    if (!regular)
        block_ints_put(out, bends, n - 2);
}

/* The number of the time column, one per scrape or request group: added when it is new. */
static uint32_t times_of(struct block_writer *w, const int64_t *t, uint32_t n)
{
    uint64_t hash = hash64(bytes_of((const uint8_t *)t, n * sizeof(*t)), n);
    uint32_t kept = MIN(w->times_count, (uint32_t)ARRAY_LEN(w->seen));
    for (uint32_t back = 1; back <= kept; back++) {
        uint32_t k = w->times_count - back;
        if (w->seen[k % ARRAY_LEN(w->seen)].hash == hash &&
            w->seen[k % ARRAY_LEN(w->seen)].count == n)
            return k;
    }
    struct buf *b = &w->scratch;
    buf_clear(b);
    put_times(b, t, n, w->work->a);
    w->seen[w->times_count % ARRAY_LEN(w->seen)] = (struct block_times){.count = n, .hash = hash};
    buf_varint(&w->times, n);
    buf_lenbytes(&w->times, buf_bytes(b));
    w->times.failed |= b->failed;
    return w->times_count++;
}

static void put_starts(struct buf *out, const int64_t *start, uint32_t n)
{
    bool same = true;
    for (uint32_t i = 1; i < n && start && same; i++)
        same = start[i] == start[0];
    if (same) {
        int64_t one = start ? start[0] : 0;
        buf_u8(out, one ? 1 : 0);
        if (one)
            buf_zigzag(out, one);
        return;
    }
    buf_u8(out, 2);
    uint64_t last = 0;
    for (uint32_t i = 0; i < n; i++) {
        buf_zigzag(out, (int64_t)((uint64_t)start[i] - last));
        last = (uint64_t)start[i];
    }
}

static void add_entry(struct block_writer *w, struct block_entry e, uint32_t rows, int64_t t_min,
                      int64_t t_max)
{
    CHECK(rows > 0);
    if (w->chunk_count == w->entries_cap) {
        uint32_t cap = w->entries_cap ? w->entries_cap * 2 : 256;
        struct block_entry *more = realloc(w->entries, cap * sizeof(*more));
        if (!more) {
            w->chunks.failed = true;
            return;
        }
        w->entries = more;
        w->entries_cap = cap;
    }
    e.order = w->chunk_count;
    w->entries[w->chunk_count++] = e;
    w->rows += rows;
    w->t_min = MIN(w->t_min, t_min);
    w->t_max = MAX(w->t_max, t_max);
}

/* What was appended to the chunks since offset is one. */
static void end_chunk(struct block_writer *w, uint32_t id, size_t offset, uint32_t rows,
                      int64_t t_min, int64_t t_max)
{
    struct block_entry e = {
        .id = id, .offset = (uint32_t)offset, .size = (uint32_t)(w->chunks.size - offset)};
    add_entry(w, e, rows, t_min, t_max);
}

void block_writer_floats(struct block_writer *w, uint32_t id, const int64_t *t_ms,
                         const int64_t *start_ms, const double *value, uint32_t n)
{
    size_t from = w->chunks.size;
    CHECK(n > 0 && n <= BLOCK_CHUNK_ROWS);
    if (!has_work(w))
        return;
    buf_varint(&w->chunks, times_of(w, t_ms, n));
    put_starts(&w->chunks, start_ms, n);
    block_values_put(&w->chunks, value, n, w->work);
    end_chunk(w, id, from, n, t_ms[0], t_ms[n - 1]);
}

void block_writer_group(struct block_writer *w, const uint32_t *ids, const double *const *values,
                        uint32_t members, const int64_t *t_ms, const int64_t *start_ms, uint32_t n)
{
    struct buf one = {0};
    CHECK(members > 0 && members <= BLOCK_GROUP_MAX && n > 0 && n <= BLOCK_CHUNK_ROWS);
    if (!has_work(w))
        return;
    buf_varint(&one, members);
    for (uint32_t m = 0; m < members; m++) {
        uint32_t rank = 0;
        for (uint32_t i = 0; i < members; i++)
            rank += ids[i] < ids[m];
        buf_u8(&one, (uint8_t)rank);
    }
    buf_varint(&one, times_of(w, t_ms, n));
    put_starts(&one, start_ms, n);
    block_group_put(&one, values, members, n, w->work);
    buf_lenbytes(&w->groups, buf_bytes(&one));
    w->groups.failed |= one.failed;
    w->group_count++;
    for (uint32_t m = 0; m < members; m++)
        add_entry(w, (struct block_entry){.id = ids[m], .group = w->group_count}, n, t_ms[0],
                  t_ms[n - 1]);
    buf_done(&one);
}

/* Points as columns. */
static bool gather(struct block_writer *w, const struct head_point *p, uint32_t n, int64_t **out_t,
                   int64_t **out_start)
{
    if (!has_work(w))
        return false;
    *out_t = (int64_t *)w->work->b;
    *out_start = (int64_t *)w->work->c;
    for (uint32_t i = 0; i < n; i++) {
        (*out_t)[i] = p[i].t_ms;
        (*out_start)[i] = p[i].start_ms;
        w->work->d[i] = p[i].value;
    }
    return true;
}

void block_writer_samples(struct block_writer *w, uint32_t id, const struct head_point *p,
                          uint32_t n)
{
    int64_t *t, *start;
    size_t from = w->chunks.size;
    if (!gather(w, p, n, &t, &start))
        return;
    buf_varint(&w->chunks, times_of(w, t, n));
    put_starts(&w->chunks, start, n);
    block_values_put(&w->chunks, w->work->d, n, w->work);
    end_chunk(w, id, from, n, p[0].t_ms, p[n - 1].t_ms);
}

void block_writer_hists(struct block_writer *w, uint32_t id, const struct head_point *p, uint32_t n)
{
    int64_t *t, *start;
    size_t from = w->chunks.size;
    if (!gather(w, p, n, &t, &start))
        return;
    buf_varint(&w->chunks, times_of(w, t, n));
    put_starts(&w->chunks, start, n);
    for (uint32_t i = 0; i < n; i++)
        tsdb_hist_encode(p[i].hist, &w->chunks);
    end_chunk(w, id, from, n, p[0].t_ms, p[n - 1].t_ms);
}

void block_writer_cells(struct block_writer *w, uint32_t id, const struct head_cell *c, uint32_t n,
                        bool is_hist)
{
    struct buf *chunk = &w->chunks;
    size_t from = chunk->size;
    block_cells_write(c, n, is_hist, chunk);
    end_chunk(w, id, from, n, (int64_t)c[0].minute * 60000, (int64_t)c[n - 1].minute * 60000);
}

static int by_id(const void *x, const void *y)
{
    const struct block_entry *a = x, *b = y;
    if (a->id != b->id)
        return a->id < b->id ? -1 : 1;
    return (a->order > b->order) - (a->order < b->order);
}

static void put_entries(struct block_writer *w, struct buf *out)
{
    uint32_t last = 0;
    buf_varint(out, w->chunk_count);
    for (uint32_t i = 0; i < w->chunk_count; i++) {
        const struct block_entry *e = &w->entries[i];
        buf_varint(out, e->id - last);
        buf_varint(out, e->group);
        if (!e->group)
            buf_lenbytes(out, bytes_of(w->chunks.data + e->offset, e->size));
        last = e->id;
    }
}

void block_writer_finish(struct block_writer *w, bool try_zstd, struct buf *out,
                         struct buf *summary)
{
    struct buf body = {0};
    bool failed = w->times.failed || w->groups.failed || w->chunks.failed;
    if (!failed) {
        if (w->chunk_count)
            qsort(w->entries, w->chunk_count, sizeof(*w->entries), by_id);
        buf_u8(&body, FORMAT_SERIES);
        buf_varint(&body, w->times_count);
        buf_bytes_append(&body, buf_bytes(&w->times));
        buf_varint(&body, w->group_count);
        buf_bytes_append(&body, buf_bytes(&w->groups));
        put_entries(w, &body);
        block_pack(buf_bytes(&body), try_zstd, out);
        buf_varint(summary, w->chunk_count ? w->entries[0].id : 0);
        buf_varint(summary, w->chunk_count ? w->entries[w->chunk_count - 1].id : 0);
    }
    out->failed |= failed || body.failed;
    buf_done(&body);
    buf_clear(&w->times);
    buf_clear(&w->groups);
    buf_clear(&w->chunks);
    w->times_count = w->group_count = w->chunk_count = 0;
    w->rows = 0;
    w->t_min = INT64_MAX;
    w->t_max = INT64_MIN;
}
