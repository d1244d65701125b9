#include "tsdb/head_flush.h"

#include <stdlib.h>

#include "base/check.h"

enum err head_flush_put(struct head_flush *f, struct block_meta *meta, uint32_t org,
                        enum block_kind kind, enum part_class class, uint32_t n,
                        const struct buf *block, const struct buf *summary)
{
    if (!buf_ok(block) || !buf_ok(summary))
        return err_set(f->msg, ERR_NOMEM, "no memory to seal a block");
    meta->key = (struct block_key){org, (uint8_t)kind, f->h->generation, n};
    meta->day = f->day;
    meta->class = (uint8_t) class;
    meta->size = (uint32_t)block->size;
    meta->summary = buf_bytes(summary);
    return f->sink->put(f->sink->ctx, meta, buf_bytes(block));
}

/* What rows are ordered by, the lower half first. */
static uint64_t key_of(const struct head_row *r, unsigned half)
{
    return half ? (uint64_t)r->day << 32 | r->org : (uint64_t)r->t_ns ^ UINT64_C(1) << 63;
}

/* By day, org and time; rows of one time stay in the order they came in. A pass over the rows for each byte of these in which they differ:
 * comparisons take six times as long. */
static bool order_rows(struct head_row *rows, size_t n)
{
    struct head_row *from = rows, *to = n > 1 ? malloc(n * sizeof(*to)) : NULL, *spare = to;
    uint64_t differ[2] = {0};
    if (n > 1 && !to)
        return false;
    for (size_t i = 1; i < n; i++)
        for (unsigned k = 0; k < ARRAY_LEN(differ); k++)
            differ[k] |= key_of(&rows[i], k) ^ key_of(&rows[0], k);
    for (unsigned pass = 0; pass < 16; pass++) {
        size_t at[256] = {0}, sum = 0;
        unsigned k = pass / 8, shift = pass % 8 * 8;
        if (!(differ[k] >> shift & 255))
            continue;
        for (size_t i = 0; i < n; i++)
            at[key_of(&from[i], k) >> shift & 255]++;
        for (unsigned b = 0; b < 256; b++) {
            size_t count = at[b];
            at[b] = sum;
            sum += count;
        }
        for (size_t i = 0; i < n; i++)
            to[at[key_of(&from[i], k) >> shift & 255]++] = from[i];
        struct head_row *swap = from;
        from = to;
        to = swap;
    }
    if (from != rows)
        memcpy(rows, from, n * sizeof(*rows));
    free(spare);
    return true;
}

static void add_sizes(const struct tsdb_schema *schema, const void *table, struct head_row *r,
                      size_t count)
{
    for (uint32_t c = 0; c < schema->column_count; c++) {
        const struct bytes *col;
        memcpy(&col, (const uint8_t *)table + schema->columns[c].offset, sizeof(col));
        for (size_t i = 0; schema->columns[c].type == TSDB_STR && col && i < count; i++)
            r[i].size += col[r[i].row].size;
    }
}

static enum err collect_rows(struct head_flush *f)
{
    size_t spans = 0, logs = 0;
    for (uint32_t i = 0; i < f->h->batch_count; i++) {
        const struct tsdb_batch *b = head_batch_at(f->h, i)->batch;
        spans += b ? b->spans.count : 0;
        logs += b ? b->logs.count : 0;
    }
    f->spans = malloc((spans + 1) * sizeof(*f->spans));
    f->logs = malloc((logs + 1) * sizeof(*f->logs));
    if (!f->spans || !f->logs)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < f->h->batch_count; i++) {
        const struct tsdb_batch *b = head_batch_at(f->h, i)->batch;
        size_t first_span = f->span_count, first_log = f->log_count;
        if (!b)
            continue;
        for (uint32_t k = 0; k < b->spans.count; k++)
            if (head_span_kept(b, k))
                f->spans[f->span_count++] =
                    (struct head_row){head_day_of_ms(b->spans.end_ns[k] / 1000000),
                                      b->org,
                                      i,
                                      k,
                                      b->spans.end_ns[k],
                                      0};
        for (uint32_t k = 0; k < b->logs.count; k++)
            f->logs[f->log_count++] = (struct head_row){
                head_day_of_ms(b->logs.time_ns[k] / 1000000), b->org, i, k, b->logs.time_ns[k], 0};
        add_sizes(&tsdb_batch_span_schema, &b->spans, f->spans + first_span,
                  f->span_count - first_span);
        add_sizes(&tsdb_batch_log_schema, &b->logs, f->logs + first_log, f->log_count - first_log);
    }
    return order_rows(f->spans, f->span_count) && order_rows(f->logs, f->log_count) ? ERR_OK
                                                                                    : ERR_NOMEM;
}

static int by_labels(const void *x, const void *y, void *ctx)
{
    const struct head *h = ctx;
    const struct tsdb_series_info *a = head_series_at(h, *(const uint32_t *)x)->info,
                                  *b = head_series_at(h, *(const uint32_t *)y)->info;
    if (a->org != b->org)
        return a->org < b->org ? -1 : 1;
    int c = tsdb_labels_compare(a->labels, b->labels);
    return c ? c : (int)a->kind - (int)b->kind;
}

static enum err order_series(struct head_flush *f)
{
    const struct head *h = f->h;
    f->order = malloc((h->series_count + 1) * sizeof(*f->order));
    if (!f->order)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < h->series_count; i++)
        f->order[i] = i;
    qsort_r(f->order, h->series_count, sizeof(*f->order), by_labels, (void *)(uintptr_t)h);
    return ERR_OK;
}

/* --- which days ---------------------------------------------------------------------------------- */

struct days {
    uint32_t *day;
    size_t count, cap;
    bool failed;
};

static void add_day(struct days *d, uint32_t day)
{
    for (size_t i = d->count; i-- > 0;)
        if (d->day[i] == day)
            return;
    if (d->count == d->cap) {
        size_t cap = d->cap ? d->cap * 2 : 16;
        uint32_t *fresh = realloc(d->day, cap * sizeof(*fresh));
        if (!fresh) {
            d->failed = true;
            return;
        }
        d->day = fresh;
        d->cap = cap;
    }
    d->day[d->count++] = day;
}

static int by_number(const void *x, const void *y)
{
    uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;
    return (a > b) - (a < b);
}

static void collect_series_days(const struct head_series *s, struct days *d)
{
    const struct head_more *m = s->more;
    bool is_one_day = s->t_min <= s->t_max && head_day_of_ms(s->t_min) == head_day_of_ms(s->t_max);
    if (is_one_day)
        add_day(d, head_day_of_ms(s->t_min));
    struct head_samples_iter it = head_samples_begin(&s->samples);
    for (uint32_t last = UINT32_MAX; !is_one_day && head_samples_next(&it);)
        if (head_day_of_ms(it.last.t_ms) != last)
            add_day(d, last = head_day_of_ms(it.last.t_ms));
    for (uint32_t i = 0; i < m->hist_count && !is_one_day; i++)
        add_day(d, head_day_of_ms(m->hists[i].t_ms));
    for (uint32_t i = 0; i < m->cell_count; i++)
        add_day(d, m->cells[i].minute / 1440);
    for (uint32_t i = 0; i < m->hist_cell_count; i++)
        add_day(d, m->hist_cells[i].minute / 1440);
}

static enum err collect_days(const struct head_flush *f, struct days *d)
{
    const struct head *h = f->h;
    for (size_t i = 0; i < f->span_count; i++)
        if (i == 0 || f->spans[i].day != f->spans[i - 1].day)
            add_day(d, f->spans[i].day);
    for (size_t i = 0; i < f->log_count; i++)
        if (i == 0 || f->logs[i].day != f->logs[i - 1].day)
            add_day(d, f->logs[i].day);
    for (uint32_t k = 0; k < h->series_count; k++)
        collect_series_days(head_series_at(h, k), d);
    for (uint32_t i = 0; i < h->batch_count; i++) {
        const struct tsdb_batch *b = head_batch_at(h, i)->batch;
        for (uint32_t k = 0; b && k < b->exemplars.count; k++)
            add_day(d, head_day_of_ms(b->exemplars.t_ms[k]));
        if (b && b->metadata.count)
            add_day(d, head_day_of_ms(b->received_ns / 1000000));
    }
    if (d->count)
        qsort(d->day, d->count, sizeof(*d->day), by_number);
    return d->failed ? ERR_NOMEM : ERR_OK;
}

enum err head_flush(struct head *h, bool (*want)(void *ctx, uint32_t day, enum part_class class),
                    void *want_ctx, const struct block_sink *sink, struct err_msg *msg)
{
    struct head_flush f = {.h = h, .sink = sink, .msg = msg, .scratch = arena_new(0)};
    struct days days = {0};
    for (uint32_t i = 0; i < h->org_count; i++)
        h->orgs[i].sealed =
            (struct head_resolved){0}; /* an attempt before this one may have failed */
    /* No lock: a head that is flushed is frozen, nobody writes to it. With it, the sink's locks and LMDB's would come after the head's. */
    enum err e = f.scratch ? collect_rows(&f) : ERR_NOMEM;
    if (e == ERR_OK)
        e = order_series(&f);
    if (e == ERR_OK)
        e = collect_days(&f, &days);
    for (size_t i = 0; i < days.count && e == ERR_OK; i++) {
        f.day = days.day[i];
        for (int c = 0; c < PART_CLASS_COUNT && e == ERR_OK; c++) {
            if (want && !want(want_ctx, f.day, (enum part_class)c))
                continue;
            e = c == PART_TEXT || c == PART_ROWS ? head_flush_rows(&f, (enum part_class)c)
                                                 : head_flush_series(&f, (enum part_class)c);
        }
    }
    if (e == ERR_NOMEM)
        (void)err_set(msg, e, "no memory to seal generation %llu",
                      (unsigned long long)h->generation);
    arena_free(f.scratch);
    free(f.spans), free(f.logs), free(f.order), free(days.day);
    return e;
}
