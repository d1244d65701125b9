#include <stdlib.h>

#include "base/check.h"
#include "tsdb/block_rows.h"
#include "tsdb/head_flush.h"

#define TEXT_TARGET (4u << 20)

/* What differs between spans and logs. */
struct kind {
    const struct tsdb_schema *schema;
    uint64_t text_mask;
    enum block_kind rows, text;
    bool is_spans;
    uint32_t rows_max; /* of a block */
};
static const struct kind kinds[] = {{&tsdb_batch_span_schema, HEAD_TEXT_MASK_SPANS, BLOCK_SPANS,
                                     BLOCK_SPAN_TEXT, true, HEAD_FLUSH_SPANS_MAX},
                                    {&tsdb_batch_log_schema, HEAD_TEXT_MASK_LOGS, BLOCK_LOGS,
                                     BLOCK_LOG_TEXT, false, HEAD_FLUSH_LOGS_MAX}};

static const void *table_of(const struct head_flush *f, const struct kind *k,
                            const struct head_row *r)
{
    const struct tsdb_batch *b = head_batch_at(f->h, r->ord)->batch;
    return k->is_spans ? (const void *)&b->spans : (const void *)&b->logs;
}

/* The rows of the next block: both classes cut at the same places. */
static size_t cut(const struct kind *k, const struct head_row *r, size_t from, size_t to)
{
    size_t text = 0, i = from;
    for (; i < to && i - from < k->rows_max; i++) {
        if (i > from && text + r[i].size > TEXT_TARGET)
            break;
        text += r[i].size;
    }
    return i;
}

/* The rows of a block come from many batches. */
static enum err put_rows(struct head_flush *f, const struct kind *k, const struct head_row *r,
                         uint32_t n, uint32_t block_n, enum part_class class)
{
    struct buf block = {0}, summary = {0};
    struct block_meta meta = {.rows = n, .time_min = INT64_MAX, .time_max = INT64_MIN};
    const void **tables = ARENA_ARRAY(f->scratch, const void *, n);
    uint32_t *rows = ARENA_ARRAY(f->scratch, uint32_t, n);
    if (!tables || !rows)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < n; i++) {
        meta.time_min = MIN(meta.time_min, r[i].t_ns / 1000000);
        meta.time_max = MAX(meta.time_max, r[i].t_ns / 1000000);
        tables[i] = table_of(f, k, &r[i]);
        rows[i] = r[i].row;
    }
    struct block_rows_source source = {k->schema, k->text_mask, tables, rows, n};
    enum err e = block_rows_write(&source, class == PART_TEXT, &columns_zip_block, f->scratch,
                                  &block, &summary);
    if (e == ERR_OK)
        e = head_flush_put(f, &meta, r[0].org, class == PART_TEXT ? k->text : k->rows, class,
                           block_n, &block, &summary);
    buf_done(&block);
    buf_done(&summary);
    return e;
}

static enum err put_traces(struct head_flush *f, uint32_t org, struct block_trace *t, size_t n)
{
    enum err e = ERR_OK;
    block_traces_sort(t, n);
    for (size_t from = 0, block_n = 0; from < n && e == ERR_OK;
         from += BLOCK_TRACES_MAX, block_n++) {
        struct buf block = {0}, summary = {0};
        uint32_t count = (uint32_t)MIN(n - from, (size_t)BLOCK_TRACES_MAX);
        struct block_meta meta = {.rows = 0,
                                  .time_min = (int64_t)f->day * 86400000,
                                  .time_max = (int64_t)f->day * 86400000 + 86399999};
        block_traces_write(t + from, count, &block, &summary);
        e = head_flush_put(f, &meta, org, BLOCK_TRACES, PART_ROWS, (uint32_t)block_n, &block,
                           &summary);
        buf_done(&block);
        buf_done(&summary);
    }
    return e;
}

/* The rows of a block as they are written: spans of one trace together. In the scratch arena, which begins anew. */
static struct head_row *arranged(struct head_flush *f, const struct kind *k,
                                 const struct head_row *r, uint32_t n)
{
    arena_reset(f->scratch);
    struct head_row *out = ARENA_ARRAY(f->scratch, struct head_row, n);
    uint32_t *order = ARENA_ARRAY(f->scratch, uint32_t, n);
    struct tsdb_id16 *id = ARENA_ARRAY(f->scratch, struct tsdb_id16, n);
    int64_t *start = ARENA_ARRAY(f->scratch, int64_t, n);
    if (!out || !order || !id || !start)
        return NULL;
    for (uint32_t i = 0; i < n; i++) {
        order[i] = i;
        if (!k->is_spans)
            continue;
        const struct tsdb_spans *s = table_of(f, k, &r[i]);
        id[i] = s->trace_id[r[i].row];
        start[i] = s->start_ns[r[i].row];
    }
    if (k->is_spans && !columns_order_spans(id, start, order, n))
        return NULL;
    for (uint32_t i = 0; i < n; i++)
        out[i] = r[order[i]];
    return out;
}

static enum err flush_org(struct head_flush *f, const struct kind *k, const struct head_row *r,
                          size_t n, enum part_class class)
{
    struct block_trace *traces = NULL;
    enum err e = ERR_OK;
    if (k->is_spans && class == PART_ROWS && !(traces = malloc(n * sizeof(*traces))))
        return ERR_NOMEM;
    uint32_t block_n = 0;
    size_t trace_count = 0;
    for (size_t from = 0, to; from < n && e == ERR_OK; from = to, block_n++) {
        to = cut(k, r, from, n);
        const struct head_row *rows = arranged(f, k, r + from, (uint32_t)(to - from));
        if (!rows) {
            e = ERR_NOMEM;
            break;
        }
        for (uint32_t i = 0; traces && i < to - from; i++) { /* one entry for the rows of a trace */
            const struct tsdb_spans *s = table_of(f, k, &rows[i]);
            uint64_t key = block_trace_key(s->trace_id[rows[i].row]);
            if (i > 0 && traces[trace_count - 1].key == key)
                traces[trace_count - 1].more++;
            else
                traces[trace_count++] = (struct block_trace){key, block_n, i, 0};
        }
        e = put_rows(f, k, rows, (uint32_t)(to - from), block_n, class);
    }
    if (traces && e == ERR_OK)
        e = put_traces(f, r[0].org, traces, trace_count);
    free(traces);
    return e;
}

enum err head_flush_rows(struct head_flush *f, enum part_class class)
{
    enum err e = ERR_OK;
    for (size_t which = 0; which < ARRAY_LEN(kinds); which++) {
        const struct head_row *r = kinds[which].is_spans ? f->spans : f->logs;
        size_t n = kinds[which].is_spans ? f->span_count : f->log_count, from = 0;
        while (from < n && e == ERR_OK) {
            size_t to = from;
            while (to < n && r[to].day == r[from].day && r[to].org == r[from].org)
                to++;
            if (r[from].day == f->day)
                e = flush_org(f, &kinds[which], r + from, to - from, class);
            from = to;
        }
    }
    return e;
}
