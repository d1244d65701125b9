#include "tsdb/block_cells.h"

#include "base/check.h"

/* Of the minutes within an hour: up to this many are written one by one, more as 60 bits. */
#define LISTED_MAX 7u
#define BITS_BYTES 8u

/* --- writing ------------------------------------------------------------------------------------- */

static uint32_t hour_end(const struct head_cell *c, uint32_t n, uint32_t from)
{
    uint32_t to = from;
    while (to < n && c[to].minute / 60 == c[from].minute / 60)
        to++;
    return to;
}

static void put_hour(const struct head_cell *c, uint32_t n, struct buf *out)
{
    uint64_t bits = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (n <= LISTED_MAX)
            buf_u8(out, (uint8_t)(c[i].minute % 60));
        bits |= (uint64_t)1 << c[i].minute % 60;
    }
    if (n > LISTED_MAX)
        buf_u64(out, bits);
    for (uint32_t i = 0; i < n; i++)
        buf_zigzag(out, c[i].add);
}

static void put_hours(const struct head_cell *c, uint32_t n, struct buf *out)
{
    struct buf bodies = {0};
    uint32_t hours = 0, last = c[0].minute / 60;
    for (uint32_t i = 0; i < n; i = hour_end(c, n, i))
        hours++;
    buf_varint(out, hours);
    for (uint32_t i = 0, to; i < n; i = to) {
        size_t before = bodies.size;
        uint64_t sum = 0;
        to = hour_end(c, n, i);
        for (uint32_t k = i; k < to; k++)
            sum += (uint64_t)c[k].add;
        put_hour(c + i, to - i, &bodies);
        buf_varint(out, c[i].minute / 60 - last);
        buf_varint(out, to - i);
        buf_zigzag(out, (int64_t)sum);
        buf_varint(out, bodies.size - before);
        last = c[i].minute / 60;
    }
    buf_bytes_append(out, buf_bytes(&bodies));
    out->failed |= bodies.failed;
    buf_done(&bodies);
}

void block_cells_write(const struct head_cell *c, uint32_t n, bool is_hist, struct buf *out)
{
    uint64_t total = 0;
    CHECK(n > 0);
    for (uint32_t i = 0; i < n && !is_hist; i++)
        total += (uint64_t)c[i].add;
    buf_u8(out, is_hist);
    buf_varint(out, n);
    buf_varint(out, c[0].minute);
    buf_varint(out, c[n - 1].minute - c[0].minute);
    buf_zigzag(out, (int64_t)total);
    if (!is_hist && n > BLOCK_CELLS_PLAIN_MAX) {
        put_hours(c, n, out);
        return;
    }
    for (uint32_t i = 1; i < n; i++)
        buf_varint(out, c[i].minute - c[i - 1].minute);
    for (uint32_t i = 0; i < n; i++)
        if (is_hist)
            tsdb_hist_encode(c[i].hist, out);
        else
            buf_zigzag(out, c[i].add);
}

/* --- reading ------------------------------------------------------------------------------------- */

enum err block_cells_open(struct bytes chunk, uint32_t rows_max, struct block_cells *out)
{
    struct reader r = reader_of(chunk);
    uint8_t type = reader_u8(&r);
    uint64_t n = reader_varint(&r), first = reader_varint(&r), width = reader_varint(&r);
    int64_t total = reader_zigzag(&r);
    if (r.failed || type > 1 || n == 0 || n > rows_max || first > UINT32_MAX ||
        width > UINT32_MAX - first || width < n - 1)
        return ERR_CORRUPT;
    *out = (struct block_cells){type == 1,   (uint32_t)first, (uint32_t)(first + width),
                                (uint32_t)n, total,           reader_bytes(&r, reader_left(&r))};
    return ERR_OK;
}

static bool has_hours(const struct block_cells *c)
{
    return !c->is_hist && c->count > BLOCK_CELLS_PLAIN_MAX;
}

/* The directory of hours and the bodies behind it, walked together. */
struct hours {
    const struct block_cells *c;
    struct reader directory, bodies;
    uint32_t left, cells_left;
    /* the current one */
    uint32_t hour, n;
    int64_t sum;
    struct bytes body;
};

static enum err hours_begin(const struct block_cells *c, struct hours *h)
{
    struct reader r = reader_of(c->rest);
    uint64_t hours = reader_varint(&r);
    if (r.failed || hours == 0 || hours > c->count)
        return ERR_CORRUPT;
    *h = (struct hours){.c = c,
                        .directory = r,
                        .left = (uint32_t)hours,
                        .cells_left = c->count,
                        .hour = c->minute_first / 60};
    for (uint64_t i = 0; i < hours; i++) { /* the bodies begin behind the directory */
        (void)reader_varint(&r), (void)reader_varint(&r), (void)reader_varint(&r);
        (void)reader_varint(&r);
    }
    h->bodies = r;
    return r.failed ? ERR_CORRUPT : ERR_OK;
}

/* ERR_NOT_FOUND after the last. */
static enum err hours_next(struct hours *h, bool is_first)
{
    if (h->left == 0)
        return h->cells_left || reader_left(&h->bodies) ? ERR_CORRUPT : ERR_NOT_FOUND;
    h->left--;
    uint64_t step = reader_varint(&h->directory), n = reader_varint(&h->directory);
    h->sum = reader_zigzag(&h->directory);
    uint64_t size = reader_varint(&h->directory);
    if (h->directory.failed || (step == 0) != is_first || n == 0 || n > 60 || n > h->cells_left ||
        step > h->c->minute_last / 60 - h->hour || size > reader_left(&h->bodies))
        return ERR_CORRUPT;
    h->hour += (uint32_t)step;
    h->n = (uint32_t)n;
    h->cells_left -= (uint32_t)n;
    h->body = reader_bytes(&h->bodies, (size_t)size);
    return ERR_OK;
}

static enum err read_hour(const struct hours *h, struct head_cell out[60])
{
    struct reader r = reader_of(h->body);
    uint32_t n = 0;
    if (h->n > LISTED_MAX) {
        uint64_t bits = reader_u64(&r);
        if (bits >> 60)
            return ERR_CORRUPT;
        for (uint32_t i = 0; i < 60 && n < h->n; i++)
            if (bits >> i & 1)
                out[n++].minute = h->hour * 60 + i;
        if (n < h->n || (uint32_t)__builtin_popcountll(bits) != h->n)
            return ERR_CORRUPT;
    }
    for (; n < h->n; n++) {
        uint8_t minute = reader_u8(&r);
        if (minute >= 60 || (n && h->hour * 60 + minute <= out[n - 1].minute))
            return ERR_CORRUPT;
        out[n].minute = h->hour * 60 + minute;
    }
    for (n = 0; n < h->n; n++)
        out[n].add = reader_zigzag(&r);
    if (r.failed || reader_left(&r) || out[0].minute < h->c->minute_first ||
        out[h->n - 1].minute > h->c->minute_last)
        return ERR_CORRUPT;
    return ERR_OK;
}

static enum err read_hours(const struct block_cells *c, struct head_cell *out)
{
    struct hours h;
    uint32_t n = 0;
    uint64_t total = 0;
    enum err e = hours_begin(c, &h);
    if (e != ERR_OK)
        return e;
    while ((e = hours_next(&h, n == 0)) == ERR_OK) {
        struct head_cell hour[60] = {{0}};
        uint64_t sum = 0;
        e = read_hour(&h, hour);
        if (e != ERR_OK)
            return e;
        for (uint32_t i = 0; i < h.n; i++)
            sum += (uint64_t)hour[i].add;
        if (sum != (uint64_t)h.sum)
            return ERR_CORRUPT;
        total += sum;
        memcpy(out + n, hour, h.n * sizeof(*hour));
        n += h.n;
    }
    return e == ERR_NOT_FOUND && total == (uint64_t)c->total ? ERR_OK : ERR_CORRUPT;
}

enum err block_cells_read(const struct block_cells *c, struct arena *a, struct head_cell **out)
{
    struct reader r = reader_of(c->rest);
    struct head_cell *cells = ARENA_ARRAY(a, struct head_cell, c->count);
    struct tsdb_hist *h = c->is_hist ? ARENA_ARRAY(a, struct tsdb_hist, c->count) : NULL;
    uint64_t minute = c->minute_first;
    if (!cells || (c->is_hist && !h))
        return ERR_LIMIT;
    *out = cells;
    if (has_hours(c))
        return read_hours(c, cells);
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
    return r.failed || reader_left(&r) ? ERR_CORRUPT : ERR_OK;
}

static enum err walk_hours(const struct block_cells *c, uint32_t from, uint32_t to, bool sums,
                           block_cells_fn fn, void *ctx, uint32_t series)
{
    struct hours h;
    enum err e = hours_begin(c, &h);
    for (bool is_first = true; e == ERR_OK && (e = hours_next(&h, is_first)) == ERR_OK;
         is_first = false) {
        uint32_t first = h.hour * 60, last = MIN(first + 59, c->minute_last);
        struct head_cell cells[60];
        if (first >= to)
            return ERR_OK;
        if (last < from)
            continue;
        first = MAX(first, c->minute_first);
        if (sums && first >= from && last < to) {
            fn(ctx, series, first, h.sum);
            continue;
        }
        e = read_hour(&h, cells);
        for (uint32_t i = 0; e == ERR_OK && i < h.n; i++)
            if (cells[i].minute >= from && cells[i].minute < to)
                fn(ctx, series, cells[i].minute, cells[i].add);
    }
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

enum err block_cells_walk(const struct block_cells *c, uint32_t from, uint32_t to, bool sums,
                          block_cells_fn fn, void *ctx, uint32_t series)
{
    CHECK(!c->is_hist);
    if (has_hours(c))
        return walk_hours(c, from, to, sums, fn, ctx, series);
    uint32_t minutes[BLOCK_CELLS_PLAIN_MAX];
    struct reader r = reader_of(c->rest);
    uint64_t minute = c->minute_first;
    for (uint32_t i = 0; i < c->count; i++) {
        uint64_t step = i ? reader_varint(&r) : 0;
        if (r.failed || step > UINT32_MAX || (i && step == 0) || minute + step > c->minute_last)
            return ERR_CORRUPT;
        minute += step;
        minutes[i] = (uint32_t)minute;
    }
    for (uint32_t i = 0; i < c->count && minutes[i] < to; i++) {
        int64_t add = reader_zigzag(&r);
        if (r.failed)
            return ERR_CORRUPT;
        if (minutes[i] >= from)
            fn(ctx, series, minutes[i], add);
    }
    return ERR_OK;
}
