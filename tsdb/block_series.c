#include "tsdb/block_series.h"

#include "base/check.h"
#include "base/zip.h"

#define VERSION 1u

enum err block_unpack(struct bytes block, struct arena *a, struct bytes *out_body)
{
    struct reader r = reader_of(block);
    uint8_t version = reader_u8(&r), packing = reader_u8(&r);
    if (r.failed || version != VERSION || packing > 1)
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
    enum err e =
        zip_inflate(ZIP_ZSTD, reader_bytes(&r, reader_left(&r)), (size_t)raw, &plain, NULL);
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

enum err block_series_open(struct bytes block, struct arena *a, struct block_series *out)
{
    struct bytes body;
    struct block_series b = {0};
    enum err e = block_unpack(block, a, &body);
    if (e != ERR_OK)
        return e;
    struct reader r = reader_of(body);
    uint64_t n = reader_varint(&r), id = 0;
    if (r.failed || n * 2 > reader_left(&r))
        return ERR_CORRUPT;
    b.times = ARENA_ARRAY(a, struct block_times, n + 1);
    if (!b.times)
        return ERR_LIMIT;
    for (; b.times_count < n; b.times_count++) {
        uint64_t count = reader_varint(&r);
        b.times[b.times_count] = (struct block_times){(uint32_t)count, reader_lenbytes(&r), 0};
        if (r.failed || count == 0 || count > BLOCK_CHUNK_ROWS)
            return ERR_CORRUPT;
    }
    n = reader_varint(&r);
    if (r.failed || n * 2 > reader_left(&r))
        return ERR_CORRUPT;
    b.chunks = ARENA_ARRAY(a, struct block_chunk, n + 1);
    if (!b.chunks)
        return ERR_LIMIT;
    for (; b.chunk_count < n; b.chunk_count++) {
        uint64_t step = reader_varint(&r);
        b.chunks[b.chunk_count].bytes = reader_lenbytes(&r);
        if (r.failed || step > UINT32_MAX || id + step > UINT32_MAX)
            return ERR_CORRUPT;
        id += step;
        b.chunks[b.chunk_count].id = (uint32_t)id;
    }
    if (reader_left(&r))
        return ERR_CORRUPT;
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

static bool get_times(const struct block_times *t, struct head_point *p)
{
    struct reader r = reader_of(t->bytes);
    uint8_t kind = reader_u8(&r);
    uint64_t at = (uint64_t)reader_zigzag(&r), step = (uint64_t)reader_zigzag(&r);
    for (uint32_t i = 0; i < t->count; i++) {
        if (i > 1 && kind == 1)
            step += (uint64_t)reader_zigzag(&r);
        at += i ? step : 0;
        p[i].t_ms = (int64_t)at;
        if (i && p[i].t_ms <= p[i - 1].t_ms)
            return false;
    }
    return !r.failed && kind <= 1 && reader_left(&r) == 0;
}

static bool get_starts(struct reader *r, struct head_point *p, uint32_t n)
{
    uint8_t kind = reader_u8(r);
    uint64_t at = kind == 1 ? (uint64_t)reader_zigzag(r) : 0;
    for (uint32_t i = 0; i < n; i++) {
        if (kind == 2)
            at += (uint64_t)reader_zigzag(r);
        p[i].start_ms = (int64_t)at;
    }
    return !r->failed && kind <= 2;
}

static bool get_xor(struct reader *r, struct head_point *p, uint32_t n)
{
    uint64_t last = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint8_t control = reader_u8(r);
        unsigned lead = control >> 4, trail = control & 15;
        if (r->failed || lead + trail > 8 || (lead == 8 && trail))
            return false;
        struct bytes raw = reader_bytes(r, 8 - lead - trail);
        uint64_t x = 0;
        if (r->failed)
            return false;
        if (raw.size) {
            memcpy(&x, raw.data, raw.size);
            x <<= trail * 8;
        }
        last ^= x;
        memcpy(&p[i].value, &last, 8);
    }
    return true;
}

static bool get_values(struct reader *r, struct head_point *p, uint32_t n)
{
    static const double powers[] = {1, 10, 100, 1000, 10000, 100000, 1000000};
    uint8_t kind = reader_u8(r);
    unsigned scale = kind >> 4;
    if (kind == 0) {
        double v = reader_f64(r);
        for (uint32_t i = 0; i < n; i++)
            p[i].value = v;
        return !r->failed;
    }
    if (kind == 1)
        return get_xor(r, p, n);
    kind &= 15;
    if ((kind != 2 && kind != 3) || scale >= ARRAY_LEN(powers))
        return false;
    uint64_t v = 0, d = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t step = (uint64_t)reader_zigzag(r);
        if (i && kind == 3)
            step += d;
        d = i ? step : 0;
        v += step;
        p[i].value = (double)(int64_t)v / powers[scale];
    }
    return !r->failed;
}

/* The part that samples and histograms share. */
static enum err open_points(const struct block_series *b, uint32_t chunk, struct arena *a,
                            struct reader *r, struct head_point **out, uint32_t *out_count)
{
    *r = reader_of(b->chunks[chunk].bytes);
    uint64_t k = reader_varint(r);
    if (r->failed || k >= b->times_count)
        return ERR_CORRUPT;
    uint32_t n = b->times[k].count;
    struct head_point *p = ARENA_ARRAY(a, struct head_point, n);
    if (!p)
        return ERR_LIMIT;
    if (!get_times(&b->times[k], p) || !get_starts(r, p, n))
        return ERR_CORRUPT;
    *out = p;
    *out_count = n;
    return ERR_OK;
}

enum err block_series_samples(const struct block_series *b, uint32_t chunk, struct arena *a,
                              struct head_point **out, uint32_t *out_count)
{
    struct reader r;
    struct head_point *p;
    uint32_t n;
    enum err e = open_points(b, chunk, a, &r, &p, &n);
    if (e != ERR_OK)
        return e;
    if (!get_values(&r, p, n) || reader_left(&r))
        return ERR_CORRUPT;
    *out = p;
    *out_count = n;
    return ERR_OK;
}

enum err block_series_hists(const struct block_series *b, uint32_t chunk, struct arena *a,
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
    struct reader r = reader_of(b->chunks[chunk].bytes);
    uint8_t type = reader_u8(&r);
    uint64_t n = reader_varint(&r), first = reader_varint(&r), width = reader_varint(&r);
    int64_t total = reader_zigzag(&r);
    if (r.failed || type > 1 || n == 0 || n > BLOCK_CHUNK_ROWS || first > UINT32_MAX ||
        width > UINT32_MAX - first || width < n - 1)
        return ERR_CORRUPT;
    *out = (struct block_cells){type == 1,   (uint32_t)first, (uint32_t)(first + width),
                                (uint32_t)n, total,           reader_bytes(&r, reader_left(&r))};
    return ERR_OK;
}

enum err block_cells_read(const struct block_cells *c, struct arena *a, struct head_cell **out)
{
    struct reader r = reader_of(c->rest);
    struct head_cell *cells = ARENA_ARRAY(a, struct head_cell, c->count);
    struct tsdb_hist *h = c->is_hist ? ARENA_ARRAY(a, struct tsdb_hist, c->count) : NULL;
    uint64_t minute = c->minute_first;
    if (!cells || (c->is_hist && !h))
        return ERR_LIMIT;
    for (uint32_t i = 0; i < c->count; i++) {
        uint64_t step = i ? reader_varint(&r) : 0;
        if (r.failed || step > UINT32_MAX || (i && step == 0) || minute + step > c->minute_last)
            return ERR_CORRUPT;
        minute += step;
        cells[i].minute = (uint32_t)minute;
    }
    for (uint32_t i = 0; i < c->count; i++) {
        if (c->is_hist) {
            enum err e = tsdb_hist_decode(&r, a, &h[i]);
            if (e != ERR_OK)
                return e;
            cells[i].hist = &h[i];
        } else {
            cells[i].add = reader_zigzag(&r);
        }
    }
    if (r.failed || reader_left(&r))
        return ERR_CORRUPT;
    *out = cells;
    return ERR_OK;
}
