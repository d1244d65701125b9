#include "tsdb/block_series.h"

#include "base/check.h"
#include "base/zip.h"
#include "tsdb/block_ints.h"

enum err block_unpack(struct bytes block, struct arena *a, struct bytes *out_body)
{
    struct reader r = reader_of(block);
    uint8_t version = reader_u8(&r), packing = reader_u8(&r);
    if (r.failed)
        return ERR_CORRUPT;
    enum err e = tsdb_versions_check("a block", version, FORMAT_BLOCK);
    if (e != ERR_OK)
        return e;
    if (packing > 1)
        return ERR_CORRUPT;
    if (packing == 0) {
        *out_body = reader_bytes(&r, reader_left(&r));
        return ERR_OK;
    }
    uint64_t raw = reader_varint(&r);
    struct buf plain;
    if (r.failed || raw > BLOCK_BODY_MAX)
        return ERR_CORRUPT;
    buf_init(&plain, 0);
    e = zip_inflate(ZIP_ZSTD, reader_bytes(&r, reader_left(&r)), (size_t)raw, &plain, NULL);
    if (e != ERR_OK || plain.size != raw) {
        buf_done(&plain);
        return e == ERR_NOMEM ? e : ERR_CORRUPT;
    }
    size_t size;
    void *data = buf_take(&plain, &size);
    if (!arena_adopt(a, data, size))
        return ERR_LIMIT;
    *out_body = bytes_of(data, size);
    return ERR_OK;
}

static enum err open_times(struct reader *r, struct arena *a, struct block_series *b)
{
    uint64_t n = reader_varint(r);
    if (r->failed || n * 2 > reader_left(r))
        return ERR_CORRUPT;
    b->times = ARENA_ARRAY(a, struct block_times, n + 1);
    if (!b->times)
        return ERR_LIMIT;
    for (; b->times_count < n; b->times_count++) {
        uint64_t count = reader_varint(r);
        b->times[b->times_count] =
            (struct block_times){.count = (uint32_t)count, .bytes = reader_lenbytes(r)};
        if (r->failed || count == 0 || count > BLOCK_CHUNK_ROWS)
            return ERR_CORRUPT;
    }
    return ERR_OK;
}

static enum err open_groups(struct reader *r, struct arena *a, struct block_series *b)
{
    uint64_t n = reader_varint(r);
    if (r->failed || n * 2 > reader_left(r))
        return ERR_CORRUPT;
    b->groups = ARENA_ARRAY(a, struct block_group, n + 1);
    if (!b->groups)
        return ERR_LIMIT;
    for (; b->group_count < n; b->group_count++)
        b->groups[b->group_count].bytes = reader_lenbytes(r);
    return r->failed ? ERR_CORRUPT : ERR_OK;
}

static enum err open_chunks(struct reader *r, struct arena *a, struct block_series *b)
{
    uint64_t n = reader_varint(r), id = 0;
    if (r->failed || n * 2 > reader_left(r))
        return ERR_CORRUPT;
    b->chunks = ARENA_ARRAY(a, struct block_chunk, n + 1);
    if (!b->chunks)
        return ERR_LIMIT;
    for (; b->chunk_count < n; b->chunk_count++) {
        struct block_chunk *c = &b->chunks[b->chunk_count];
        uint64_t step = reader_varint(r), group = reader_varint(r);
        if (r->failed || step > UINT32_MAX || id + step > UINT32_MAX || group > b->group_count)
            return ERR_CORRUPT;
        id += step;
        *c = (struct block_chunk){.id = (uint32_t)id, .group = (uint32_t)group};
        if (group)
            c->member = b->groups[group - 1].members++;
        else
            c->bytes = reader_lenbytes(r);
    }
    return r->failed || reader_left(r) ? ERR_CORRUPT : ERR_OK;
}

enum err block_series_open(struct bytes block, struct arena *a, struct block_series *out)
{
    struct bytes body;
    struct block_series b = {.arena = a};
    enum err e = block_unpack(block, a, &body);
    if (e != ERR_OK)
        return e;
    struct reader r = reader_of(body);
    e = tsdb_versions_check("a block of series", reader_u8(&r), FORMAT_SERIES);
    if (e == ERR_OK)
        e = open_times(&r, a, &b);
    if (e == ERR_OK)
        e = open_groups(&r, a, &b);
    if (e == ERR_OK)
        e = open_chunks(&r, a, &b);
    if (e != ERR_OK)
        return e;
    *out = b;
    return ERR_OK;
}

enum err block_series_range(struct bytes summary, uint32_t *out_first, uint32_t *out_last)
{
    struct reader r = reader_of(summary);
    uint64_t first = reader_varint(&r), last = reader_varint(&r);
    if (r.failed || first > last || last > UINT32_MAX)
        return ERR_CORRUPT;
    *out_first = (uint32_t)first;
    *out_last = (uint32_t)last;
    return ERR_OK;
}

uint32_t block_series_find(const struct block_series *b, uint32_t id)
{
    uint32_t lo = 0, hi = b->chunk_count;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (b->chunks[mid].id < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < b->chunk_count && b->chunks[lo].id == id ? lo : b->chunk_count;
}

static enum err decode_times(struct block_series *b, struct block_times *t)
{
    struct reader r = reader_of(t->bytes);
    uint32_t n = t->count;
    uint8_t kind = reader_u8(&r);
    uint64_t at = (uint64_t)reader_zigzag(&r), step = (uint64_t)reader_zigzag(&r);
    uint64_t *bends = b->work->a;
    if (r.failed || kind > 1)
        return ERR_CORRUPT;
    if (kind == 0)
        memset(bends, 0, n * sizeof(*bends));
    else if (n < 3 || !block_ints_get(&r, bends + 2, n - 2))
        return ERR_CORRUPT;
    if (reader_left(&r))
        return ERR_CORRUPT;
    int64_t *out = ARENA_ARRAY(b->arena, int64_t, n);
    if (!out)
        return ERR_LIMIT;
    for (uint32_t i = 0; i < n; i++) {
        step += i > 1 ? bends[i] : 0;
        at += i ? step : 0;
        out[i] = (int64_t)at;
        if (i && out[i] <= out[i - 1])
            return ERR_CORRUPT;
    }
    t->decoded = out;
    return ERR_OK;
}

/* The number of a time column is read; it is decoded when that was not done. */
static enum err get_times(struct block_series *b, struct reader *r, uint32_t *out_times)
{
    uint64_t k = reader_varint(r);
    if (r->failed || k >= b->times_count)
        return ERR_CORRUPT;
    if (!b->work)
        b->work = arena_alloc_raw(b->arena, sizeof(*b->work), 16);
    if (!b->work)
        return ERR_LIMIT;
    *out_times = (uint32_t)k;
    return b->times[k].decoded ? ERR_OK : decode_times(b, &b->times[k]);
}

static bool get_starts(struct reader *r, int64_t *out, size_t stride, uint32_t n)
{
    uint8_t kind = reader_u8(r);
    uint64_t at = kind == 1 ? (uint64_t)reader_zigzag(r) : 0;
    for (uint32_t i = 0; i < n; i++) {
        if (kind == 2)
            at += (uint64_t)reader_zigzag(r);
        out[i * stride] = (int64_t)at;
    }
    return !r->failed && kind <= 2;
}

/* The part that samples and histograms share. */
static enum err open_points(struct block_series *b, uint32_t chunk, struct arena *a,
                            struct reader *r, struct head_point **out, uint32_t *out_count)
{
    uint32_t k;
    *r = reader_of(b->chunks[chunk].bytes);
    enum err e = get_times(b, r, &k);
    if (e != ERR_OK)
        return e;
    uint32_t n = b->times[k].count;
    struct head_point *p = ARENA_ARRAY(a, struct head_point, n);
    if (!p)
        return ERR_LIMIT;
    for (uint32_t i = 0; i < n; i++)
        p[i].t_ms = b->times[k].decoded[i];
    if (!get_starts(r, &p->start_ms, sizeof(*p) / sizeof(int64_t), n))
        return ERR_CORRUPT;
    *out = p;
    *out_count = n;
    return ERR_OK;
}

/* All buckets of the group at once: queries ask for them together. */
static enum err decode_group(struct block_series *b, struct block_group *g)
{
    struct reader r = reader_of(g->bytes);
    uint32_t m = g->members, k;
    uint64_t written = reader_varint(&r);
    struct bytes rank = reader_bytes(&r, m);
    bool seen[BLOCK_GROUP_MAX] = {false};
    if (r.failed || m == 0 || m > BLOCK_GROUP_MAX || written != m)
        return ERR_CORRUPT;
    for (uint32_t i = 0; i < m; i++) {
        if (rank.data[i] >= m || seen[rank.data[i]])
            return ERR_CORRUPT;
        seen[rank.data[i]] = true;
    }
    enum err e = get_times(b, &r, &k);
    if (e != ERR_OK)
        return e;
    uint32_t n = b->times[k].count;
    int64_t *start = ARENA_ARRAY(b->arena, int64_t, n);
    double *values = arena_alloc_raw(b->arena, (size_t)m * n * sizeof(*values), 16);
    if (!start || !values)
        return ERR_LIMIT;
    if (!get_starts(&r, start, 1, n) || !block_group_get(&r, values, rank.data, m, n, b->work) ||
        reader_left(&r))
        return ERR_CORRUPT;
    for (uint32_t i = 0; i < n && !g->has_starts; i++)
        g->has_starts = start[i] != 0;
    g->times = k;
    g->start_ms = start;
    g->values = values;
    return ERR_OK;
}

static enum err group_samples(struct block_series *b, const struct block_chunk *c, struct arena *a,
                              struct head_point **out, uint32_t *out_count)
{
    struct block_group *g = &b->groups[c->group - 1];
    enum err e = g->values ? ERR_OK : decode_group(b, g);
    if (e != ERR_OK)
        return e;
    const struct block_times *t = &b->times[g->times];
    const double *values = g->values + (size_t)c->member * t->count;
    struct head_point *p = arena_alloc_raw(a, t->count * sizeof(*p), 16);
    if (!p)
        return ERR_LIMIT;
    for (uint32_t i = 0; i < t->count; i++)
        p[i] = (struct head_point){t->decoded[i], g->start_ms[i], values[i], NULL};
    *out = p;
    *out_count = t->count;
    return ERR_OK;
}

enum err block_series_samples(struct block_series *b, uint32_t chunk, struct arena *a,
                              struct head_point **out, uint32_t *out_count)
{
    struct reader r;
    struct head_point *p;
    uint32_t n;
    if (b->chunks[chunk].group)
        return group_samples(b, &b->chunks[chunk], a, out, out_count);
    enum err e = open_points(b, chunk, a, &r, &p, &n);
    if (e != ERR_OK)
        return e;
    double *v = (double *)b->work->d;
    if (!block_values_get(&r, v, n, b->work) || reader_left(&r))
        return ERR_CORRUPT;
    for (uint32_t i = 0; i < n; i++)
        p[i].value = v[i];
    *out = p;
    *out_count = n;
    return ERR_OK;
}

enum err block_series_columns(struct block_series *b, uint32_t chunk, struct arena *a,
                              struct block_columns *out)
{
    const struct block_chunk *c = &b->chunks[chunk];
    struct block_group *g = c->group ? &b->groups[c->group - 1] : NULL;
    struct reader r = reader_of(c->bytes);
    uint32_t k;
    enum err e = !g ? get_times(b, &r, &k) : g->values ? ERR_OK : decode_group(b, g);
    if (e != ERR_OK)
        return e;
    const struct block_times *t = &b->times[g ? g->times : k];
    uint32_t n = t->count;
    *out = (struct block_columns){.t_ms = t->decoded, .count = n};
    if (g) {
        out->start_ms = g->has_starts ? g->start_ms : NULL;
        out->value = g->values + (size_t)c->member * n;
        return ERR_OK;
    }
    double *v = arena_alloc_raw(a, n * sizeof(*v), 16);
    bool has_starts = reader_left(&r) && *r.at != 0;
    int64_t *start = has_starts ? arena_alloc_raw(a, n * sizeof(*start), 16) : NULL;
    if (!v || (has_starts && !start))
        return ERR_LIMIT;
    if (has_starts ? !get_starts(&r, start, 1, n) : reader_u8(&r) != 0)
        return ERR_CORRUPT;
    if (!block_values_get(&r, v, n, b->work) || reader_left(&r))
        return ERR_CORRUPT;
    out->start_ms = start;
    out->value = v;
    return ERR_OK;
}

enum err block_series_hists(struct block_series *b, uint32_t chunk, struct arena *a,
                            struct head_point **out, uint32_t *out_count)
{
    struct reader r;
    struct head_point *p;
    uint32_t n;
    enum err e = open_points(b, chunk, a, &r, &p, &n);
    if (e != ERR_OK)
        return e;
    struct tsdb_hist *h = ARENA_ARRAY(a, struct tsdb_hist, n);
    if (!h)
        return ERR_LIMIT;
    for (uint32_t i = 0; i < n; i++) {
        e = tsdb_hist_decode(&r, a, &h[i]);
        if (e != ERR_OK)
            return e;
        p[i].hist = &h[i];
    }
    if (reader_left(&r))
        return ERR_CORRUPT;
    *out = p;
    *out_count = n;
    return ERR_OK;
}

enum err block_series_cells(const struct block_series *b, uint32_t chunk, struct block_cells *out)
{
    return block_cells_open(b->chunks[chunk].bytes, BLOCK_CHUNK_ROWS, out);
}
