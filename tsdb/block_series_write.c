#include <math.h>

#include "base/check.h"
#include "base/zip.h"
#include "tsdb/block_series.h"

#define VERSION 1u
#define ZSTD_MIN 256u

void block_pack(struct bytes body, bool try_zstd, struct buf *out)
{
    struct buf packed = {0};
    bool pays = try_zstd && body.size >= ZSTD_MIN &&
                zip_deflate(ZIP_ZSTD, 1, body, &packed) == ERR_OK && buf_ok(&packed) &&
                packed.size + body.size / 16 < body.size;
    buf_u8(out, VERSION);
    buf_u8(out, pays);
    if (pays) {
        buf_varint(out, body.size);
        buf_bytes_append(out, buf_bytes(&packed));
    } else {
        buf_bytes_append(out, body);
    }
    buf_done(&packed);
}

void block_writer_init(struct block_writer *w)
{
    *w = (struct block_writer){.t_min = INT64_MAX, .t_max = INT64_MIN};
}

void block_writer_done(struct block_writer *w)
{
    buf_done(&w->times);
    buf_done(&w->chunks);
    buf_done(&w->scratch);
}

bool block_writer_is_full(const struct block_writer *w)
{
    return w->times.size + w->chunks.size >= BLOCK_SERIES_TARGET;
}

/* Times: regular (first, step) or differences of differences. */
static void put_times(struct buf *out, const struct head_point *p, uint32_t n)
{
    uint64_t step = n > 1 ? (uint64_t)p[1].t_ms - (uint64_t)p[0].t_ms : 0, last = step;
    bool regular = true;
    for (uint32_t i = 2; i < n && regular; i++)
        regular = (uint64_t)p[i].t_ms - (uint64_t)p[i - 1].t_ms == step;
    buf_u8(out, regular ? 0 : 1);
    buf_zigzag(out, p[0].t_ms);
    buf_zigzag(out, (int64_t)step);
    for (uint32_t i = 2; i < n && !regular; i++) {
        uint64_t d = (uint64_t)p[i].t_ms - (uint64_t)p[i - 1].t_ms;
        buf_zigzag(out, (int64_t)(d - last));
        last = d;
    }
}

/* The number of the time column, one per scrape or request group: added when it is new. */
static uint32_t times_of(struct block_writer *w, const struct head_point *p, uint32_t n)
{
    struct buf *b = &w->scratch;
    buf_clear(b);
    put_times(b, p, n);
    uint64_t hash = hash64(buf_bytes(b), n);
    uint32_t kept = MIN(w->times_count, (uint32_t)ARRAY_LEN(w->seen));
    for (uint32_t back = 1; back <= kept; back++) {
        uint32_t k = w->times_count - back;
        if (w->seen[k % ARRAY_LEN(w->seen)].hash == hash &&
            w->seen[k % ARRAY_LEN(w->seen)].count == n)
            return k;
    }
    w->seen[w->times_count % ARRAY_LEN(w->seen)] = (struct block_times){.count = n, .hash = hash};
    buf_varint(&w->times, n);
    buf_lenbytes(&w->times, buf_bytes(b));
    w->times.failed |= b->failed;
    return w->times_count++;
}

static void put_starts(struct buf *out, const struct head_point *p, uint32_t n)
{
    bool same = true;
    for (uint32_t i = 1; i < n && same; i++)
        same = p[i].start_ms == p[0].start_ms;
    if (same) {
        buf_u8(out, p[0].start_ms ? 1 : 0);
        if (p[0].start_ms)
            buf_zigzag(out, p[0].start_ms);
        return;
    }
    buf_u8(out, 2);
    uint64_t last = 0;
    for (uint32_t i = 0; i < n; i++) {
        buf_zigzag(out, (int64_t)((uint64_t)p[i].start_ms - last));
        last = (uint64_t)p[i].start_ms;
    }
}

static uint64_t bits_of(double v)
{
    uint64_t b;
    memcpy(&b, &v, 8);
    return b;
}

static const double powers[] = {1, 10, 100, 1000, 10000, 100000, 1000000};

/* v as an integer of units 10^-scale, if that gives back the very bits. */
static bool scaled(double v, int scale, int64_t *out)
{
    double x = v * powers[scale];
    if (!(fabs(x) < 0x1p53))
        return false;
    int64_t i = llround(x);
    *out = i;
    return bits_of((double)i / powers[scale]) == bits_of(v);
}

static int scale_of(const struct head_point *p, uint32_t n)
{
    int64_t unused;
    int scale = 0;
    for (uint32_t i = 0; i < n; i++)
        while (!scaled(p[i].value, scale, &unused))
            if (++scale == (int)ARRAY_LEN(powers))
                return -1;
    for (uint32_t i = 0; i < n; i++) /* what fitted a smaller scale must fit the last one too */
        if (!scaled(p[i].value, scale, &unused))
            return -1;
    return scale;
}

/* XOR with the value before: leading and trailing zero bytes are left out. */
static void put_xor(struct buf *out, const struct head_point *p, uint32_t n)
{
    uint64_t last = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t x = bits_of(p[i].value) ^ last;
        unsigned lead = x ? (unsigned)__builtin_clzll(x) / 8 : 8;
        unsigned trail = x ? (unsigned)__builtin_ctzll(x) / 8 : 0;
        buf_u8(out, (uint8_t)(lead << 4 | trail));
        uint64_t body = x >> (trail * 8);
        buf_append(out, &body, 8 - lead - trail);
        last = bits_of(p[i].value);
    }
}

static void put_values(struct buf *out, const struct head_point *p, uint32_t n)
{
    bool same = true;
    for (uint32_t i = 1; i < n && same; i++)
        same = bits_of(p[i].value) == bits_of(p[0].value);
    if (same) {
        buf_u8(out, 0);
        buf_f64(out, p[0].value);
        return;
    }
    int scale = scale_of(p, n);
    if (scale < 0) {
        buf_u8(out, 1);
        put_xor(out, p, n);
        return;
    }
    /* steps of a counter, or steps of steps where it runs evenly */
    uint64_t first_order = 0, second_order = 0;
    int64_t v = 0, d = 0;
    for (uint32_t i = 0; i < n; i++) {
        int64_t x = 0;
        (void)scaled(p[i].value, scale, &x);
        int64_t step = i ? x - v : 0, bend = step - d;
        first_order += (uint64_t)(step < 0 ? -step : step) >> 6 ? 2 : 1;
        second_order += (uint64_t)(bend < 0 ? -bend : bend) >> 6 ? 2 : 1;
        v = x;
        d = step;
    }
    bool second = second_order < first_order;
    buf_u8(out, (uint8_t)((second ? 3 : 2) | scale << 4));
    v = d = 0;
    for (uint32_t i = 0; i < n; i++) {
        int64_t x = 0;
        (void)scaled(p[i].value, scale, &x);
        buf_zigzag(out, second && i ? x - v - d : x - v);
        d = i ? x - v : 0;
        v = x;
    }
}

static void put_chunk(struct block_writer *w, uint32_t id, const struct buf *chunk, uint32_t rows,
                      int64_t t_min, int64_t t_max)
{
    CHECK(rows > 0 && (w->chunk_count == 0 || id >= w->id_last));
    buf_varint(&w->chunks, w->chunk_count ? id - w->id_last : id);
    buf_lenbytes(&w->chunks, buf_bytes(chunk));
    w->chunks.failed |= chunk->failed;
    if (w->chunk_count++ == 0)
        w->id_first = id;
    w->id_last = id;
    w->rows += rows;
    w->t_min = MIN(w->t_min, t_min);
    w->t_max = MAX(w->t_max, t_max);
}

void block_writer_samples(struct block_writer *w, uint32_t id, const struct head_point *p,
                          uint32_t n)
{
    struct buf chunk = {0};
    buf_varint(&chunk, times_of(w, p, n));
    put_starts(&chunk, p, n);
    put_values(&chunk, p, n);
    put_chunk(w, id, &chunk, n, p[0].t_ms, p[n - 1].t_ms);
    buf_done(&chunk);
}

void block_writer_hists(struct block_writer *w, uint32_t id, const struct head_point *p, uint32_t n)
{
    struct buf chunk = {0};
    buf_varint(&chunk, times_of(w, p, n));
    put_starts(&chunk, p, n);
    for (uint32_t i = 0; i < n; i++)
        tsdb_hist_encode(p[i].hist, &chunk);
    put_chunk(w, id, &chunk, n, p[0].t_ms, p[n - 1].t_ms);
    buf_done(&chunk);
}

void block_writer_cells(struct block_writer *w, uint32_t id, const struct head_cell *c, uint32_t n,
                        bool is_hist)
{
    struct buf chunk = {0};
    uint64_t total = 0;
    for (uint32_t i = 0; i < n && !is_hist; i++)
        total += (uint64_t)c[i].add;
    buf_u8(&chunk, is_hist);
    buf_varint(&chunk, n);
    buf_varint(&chunk, c[0].minute);
    buf_varint(&chunk, c[n - 1].minute - c[0].minute);
    buf_zigzag(&chunk, (int64_t)total);
    for (uint32_t i = 1; i < n; i++)
        buf_varint(&chunk, c[i].minute - c[i - 1].minute);
    for (uint32_t i = 0; i < n; i++)
        if (is_hist)
            tsdb_hist_encode(c[i].hist, &chunk);
        else
            buf_zigzag(&chunk, c[i].add);
    put_chunk(w, id, &chunk, n, (int64_t)c[0].minute * 60000, (int64_t)c[n - 1].minute * 60000);
    buf_done(&chunk);
}

void block_writer_finish(struct block_writer *w, bool try_zstd, struct buf *out,
                         struct buf *summary)
{
    struct buf body = {0};
    buf_varint(&body, w->times_count);
    buf_bytes_append(&body, buf_bytes(&w->times));
    buf_varint(&body, w->chunk_count);
    buf_bytes_append(&body, buf_bytes(&w->chunks));
    body.failed |= w->times.failed || w->chunks.failed;
    block_pack(buf_bytes(&body), try_zstd, out);
    out->failed |= body.failed;
    buf_varint(summary, w->id_first);
    buf_varint(summary, w->id_last);
    buf_done(&body);
    buf_clear(&w->times);
    buf_clear(&w->chunks);
    w->times_count = w->chunk_count = w->id_first = w->id_last = 0;
    w->rows = 0;
    w->t_min = INT64_MAX;
    w->t_max = INT64_MIN;
}
