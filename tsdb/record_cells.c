#include "tsdb/record_cells.h"

#include "tsdb/tsdb_hist.h"

/* The head of a cell: what it adds, and what is as it was told. */
enum kind { KIND_AGAIN, KIND_INTEGER, KIND_OBSERVED, KIND_DURATION, KIND_TTFT, KIND_HISTOGRAM };
#define KIND_MASK 7u
#define IS_NEXT_SERIES 8u
#define IS_SAME_MINUTE 16u
#define ROW_SHIFT 5u
enum row { ROW_SAME, ROW_NEXT, ROW_NONE, ROW_GIVEN };

#define NS_PER_S 1e9
#define MEMORY_BITS 9u

/* What both sides know when a cell comes. */
struct memory {
    int64_t number, minute;
    uint32_t row;
    struct {
        uint32_t next; /* the number that followed */
        int64_t add;
    } slots[1u << MEMORY_BITS]; /* by number; what shares a slot is told a little longer */
};

static uint32_t slot_of(int64_t number)
{
    return (uint32_t)number * 0x9e3779b1u >> (32 - MEMORY_BITS);
}

static void remember(struct memory *x, int64_t number, int64_t minute)
{
    x->slots[slot_of(x->number)].next = (uint32_t)number;
    x->number = number;
    x->minute = minute;
}

/* A latency in seconds as the stage computes it from the times of a span; -1: there is none. */
static double seconds_of(const struct tsdb_spans *s, uint32_t row, enum kind kind)
{
    if (row >= s->count)
        return -1;
    if (kind == KIND_TTFT)
        return s->ttft_ns && s->ttft_ns[row] >= 0 ? (double)s->ttft_ns[row] / NS_PER_S : -1;
    if (!s->start_ns || !s->end_ns || s->end_ns[row] < s->start_ns[row])
        return -1;
    return (double)((uint64_t)s->end_ns[row] - (uint64_t)s->start_ns[row]) / NS_PER_S;
}

/* --- writing -------------------------------------------------------------------------------------- */

static bool is_seconds(double sum, const struct tsdb_spans *s, uint32_t row, enum kind kind)
{
    double x = seconds_of(s, row, kind);
    return x >= 0 && memcmp(&x, &sum, sizeof(x)) == 0;
}

static enum kind kind_of(const struct tsdb_batch *b, uint32_t i, const struct memory *x)
{
    const struct tsdb_cells *c = &b->cells;
    const struct tsdb_hist *h = c->hist[i];
    if (!h)
        return x->slots[slot_of(c->series[i].v)].add == c->add[i] ? KIND_AGAIN : KIND_INTEGER;
    if (!tsdb_hist_is_one(h))
        return KIND_HISTOGRAM;
    if (is_seconds(h->sum, &b->spans, c->row[i], KIND_DURATION))
        return KIND_DURATION;
    return is_seconds(h->sum, &b->spans, c->row[i], KIND_TTFT) ? KIND_TTFT : KIND_OBSERVED;
}

static enum row row_of(const struct memory *x, uint32_t row)
{
    if (row == TSDB_NO_ROW)
        return ROW_NONE;
    return row == x->row ? ROW_SAME : row == x->row + 1 ? ROW_NEXT : ROW_GIVEN;
}

static void put_cell(const struct tsdb_batch *b, uint32_t i, uint32_t row, struct memory *x,
                     struct buf *out)
{
    const struct tsdb_cells *c = &b->cells;
    int64_t number = c->series[i].v, minute = c->minute[i];
    enum kind kind = kind_of(b, i, x);
    enum row where = row_of(x, row);
    bool is_next = x->slots[slot_of(x->number)].next == (uint32_t)number;
    buf_u8(out,
           (uint8_t)(kind | (is_next ? IS_NEXT_SERIES : 0) |
                     (minute == x->minute ? IS_SAME_MINUTE : 0) | (unsigned)where << ROW_SHIFT));
    if (!is_next)
        buf_zigzag(out, number - x->number);
    if (minute != x->minute)
        buf_zigzag(out, minute - x->minute);
    if (where == ROW_GIVEN)
        buf_varint(out, row);
    if (kind == KIND_INTEGER)
        buf_zigzag(out, c->add[i]);
    else if (kind == KIND_OBSERVED)
        buf_f64(out, c->hist[i]->sum);
    else if (kind == KIND_HISTOGRAM)
        tsdb_hist_encode(c->hist[i], out);
    remember(x, number, minute);
    x->row = row == TSDB_NO_ROW ? x->row : row;
    if (!c->hist[i])
        x->slots[slot_of(number)].add = c->add[i];
}

/* A cell whose span is dropped goes with it; rows are renumbered to the spans that stay. */
static uint32_t row_after(const struct tsdb_cells *c, uint32_t i, const uint32_t *new_row)
{
    return c->row[i] == TSDB_NO_ROW || !new_row ? c->row[i] : new_row[c->row[i]];
}

static bool is_kept(const struct tsdb_cells *c, uint32_t i, const uint32_t *new_row)
{
    return c->row[i] == TSDB_NO_ROW || row_after(c, i, new_row) != TSDB_NO_ROW;
}

void record_cells_put(const struct tsdb_batch *b, const uint32_t *new_row, struct buf *out)
{
    const struct tsdb_cells *c = &b->cells;
    struct memory x = {0};
    uint32_t kept = 0;
    for (uint32_t i = 0; i < c->count; i++)
        kept += is_kept(c, i, new_row);
    if (!kept)
        return;
    buf_varint(out, kept);
    for (uint32_t i = 0; i < c->count; i++)
        if (is_kept(c, i, new_row))
            put_cell(b, i, row_after(c, i, new_row), &x, out);
}

/* --- reading -------------------------------------------------------------------------------------- */

static enum err get_hist(struct reader *r, struct tsdb_batch *b, enum kind kind, uint32_t row,
                         const struct tsdb_hist **out)
{
    struct tsdb_hist *h = arena_alloc(b->arena, sizeof(*h));
    if (!h)
        return ERR_LIMIT;
    *out = h;
    if (kind == KIND_HISTOGRAM)
        return tsdb_hist_decode(r, b->arena, h);
    double sum = kind == KIND_OBSERVED ? reader_f64(r) : seconds_of(&b->spans, row, kind);
    if (r->failed || (kind != KIND_OBSERVED && sum < 0))
        return ERR_CORRUPT;
    return tsdb_hist_of(sum, b->arena, h);
}

static bool get_row(struct reader *r, const struct tsdb_batch *b, unsigned where, struct memory *x,
                    uint32_t *out)
{
    *out = TSDB_NO_ROW;
    if (where == ROW_NONE)
        return true;
    uint64_t row = where == ROW_GIVEN ? reader_varint(r) : (uint64_t)x->row + (where == ROW_NEXT);
    if (r->failed || row >= b->spans.count)
        return false;
    *out = x->row = (uint32_t)row;
    return true;
}

static enum err get_cell(struct reader *r, const struct record_refs *m, struct tsdb_batch *b,
                         struct memory *x)
{
    uint8_t head = reader_u8(r);
    enum kind kind = (enum kind)(head & KIND_MASK);
    uint64_t number = head & IS_NEXT_SERIES ? x->slots[slot_of(x->number)].next
                                            : (uint64_t)x->number + (uint64_t)reader_zigzag(r);
    uint64_t minute =
        (uint64_t)x->minute + (head & IS_SAME_MINUTE ? 0 : (uint64_t)reader_zigzag(r));
    struct tsdb_ref ref;
    uint32_t row;
    const struct tsdb_hist *hist = NULL;
    enum err e = ERR_OK;
    if (r->failed || head >> (ROW_SHIFT + 2) || kind > KIND_HISTOGRAM || minute > UINT32_MAX ||
        !record_refs_known(m, (int64_t)number, &ref) || !get_row(r, b, head >> ROW_SHIFT, x, &row))
        return ERR_CORRUPT;
    int64_t add = kind == KIND_AGAIN     ? x->slots[slot_of((int64_t)number)].add
                  : kind == KIND_INTEGER ? reader_zigzag(r)
                                         : 0;
    if (kind >= KIND_OBSERVED)
        e = get_hist(r, b, kind, row, &hist);
    if (e != ERR_OK || r->failed)
        return e == ERR_LIMIT ? e : ERR_CORRUPT;
    remember(x, (int64_t)number, (int64_t)minute);
    if (!hist)
        x->slots[slot_of((int64_t)number)].add = add;
    bool ok = hist ? tsdb_batch_add_hist_cell(b, ref, (uint32_t)minute, hist, row)
                   : tsdb_batch_add_cell(b, ref, (uint32_t)minute, add, row);
    return ok ? ERR_OK : ERR_LIMIT;
}

enum err record_cells_get(struct reader *r, const struct record_refs *m, struct tsdb_batch *b)
{
    struct memory x = {0};
    uint64_t n = reader_varint(r);
    enum err e = r->failed || n > reader_left(r) ? ERR_CORRUPT : ERR_OK;
    for (uint64_t i = 0; i < n && e == ERR_OK; i++)
        e = get_cell(r, m, b, &x);
    return e;
}
