#include "tsdb/view_rows.h"

#include "base/check.h"

const struct view_row_kind view_rows_spans = {&tsdb_batch_span_schema,
                                              (2ull << TSDB_SPAN_links) - 1,
                                              BLOCK_SPANS,
                                              BLOCK_SPAN_TEXT,
                                              offsetof(struct tsdb_spans, start_ns),
                                              offsetof(struct tsdb_spans, service),
                                              true};
const struct view_row_kind view_rows_logs = {&tsdb_batch_log_schema,
                                             COLUMNS_ALL,
                                             BLOCK_LOGS,
                                             BLOCK_LOG_TEXT,
                                             offsetof(struct tsdb_logs, time_ns),
                                             offsetof(struct tsdb_logs, service),
                                             false};

enum err view_rows_open(const struct view_row_kind *k, const struct part_snapshot *p,
                        const struct block_meta *m, struct arena *a, union view_table *out)
{
    struct bytes block, body;
    enum err e = view_fetch(p, m, a, &block);
    if (e != ERR_OK)
        return e;
    memset(out, 0, sizeof(*out));
    e = block_unpack(block, a, &body);
    struct reader r = reader_of(body);
    if (e == ERR_OK)
        e = columns_decode(&r, k->schema, COLUMNS_ALL, a, out, false);
    if (e == ERR_OK && (reader_left(&r) || view_table_count(out) != m->rows))
        e = ERR_CORRUPT;
    if (e == ERR_OK && !columns_fill(k->schema, a, out, k->always))
        e = ERR_LIMIT;
    if (e == ERR_CORRUPT)
        view_count_corrupt();
    return e;
}

static const struct part_snapshot *text_part(const struct tsdb_view *v, uint32_t day)
{
    for (size_t i = 0; i < v->pin.part_count; i++)
        if (part_snapshot_day(v->pin.parts[i]) == day &&
            part_snapshot_class(v->pin.parts[i]) == PART_TEXT)
            return v->pin.parts[i];
    return NULL;
}

enum err view_rows_text(const struct tsdb_view *v, const struct view_row_kind *k,
                        const struct part_snapshot *p, const struct block_meta *m, struct arena *a,
                        union view_table *table)
{
    const struct part_snapshot *text = text_part(v, part_snapshot_day(p));
    size_t count = 0;
    const struct block_meta *t =
        text ? view_blocks(v, text, k->text, m->key.generation, &count) : NULL;
    for (size_t i = 0; i < count; i++) {
        struct bytes block, body;
        union view_table only_text;
        if (t[i].key.n != m->key.n)
            continue;
        enum err e = view_fetch(text, &t[i], a, &block);
        if (e == ERR_CORRUPT)
            return ERR_OK; /* counted; the rows stand without their text */
        if (e == ERR_OK)
            e = block_unpack(block, a, &body);
        if (e == ERR_OK) {
            struct reader r = reader_of(body);
            only_text = *table;
            e = columns_decode(&r, k->schema, COLUMNS_ALL, a, &only_text, true);
        }
        if (e == ERR_CORRUPT) {
            view_count_corrupt();
            return ERR_OK;
        }
        if (e == ERR_OK)
            *table = only_text;
        return e;
    }
    return ERR_OK;
}

/* --- pools --------------------------------------------------------------------------------------- */

void view_pool_init(struct view_pool *p, const struct view_row_kind *k, struct arena *a)
{
    memset(p, 0, sizeof(*p));
    p->k = k;
    p->a = a;
}

void view_pool_next_table(struct view_pool *p)
{
    memset(p->last, 0, sizeof(p->last));
}

static bool pool_room(struct view_pool *p)
{
    union view_table more;
    uint32_t count = view_table_count(&p->t), cap = p->t.spans.cap;
    if (count < cap)
        return true;
    memset(&more, 0, sizeof(more));
    if (!columns_make(p->k->schema, p->a, &more, cap ? cap * 2 : 32))
        return false;
    for (uint32_t i = 0; i < count; i++)
        columns_copy_row(p->k->schema, &p->t, i, &more, i);
    more.spans.count = count;
    p->t = more;
    return true;
}

enum err view_pool_add(struct view_pool *p, const void *table, uint32_t row)
{
    if (!pool_room(p))
        return ERR_LIMIT;
    uint32_t to = p->t.spans.count;
    columns_copy_row(p->k->schema, table, row, &p->t, to);
    for (uint32_t i = 0; i < p->k->schema->column_count; i++) {
        const struct tsdb_column *c = &p->k->schema->columns[i];
        struct bytes *col;
        if (c->type != TSDB_STR)
            continue;
        memcpy(&col, (const uint8_t *)&p->t + c->offset, sizeof(col));
        if (col[to].size == 0) {
            col[to] = BYTES_NONE;
            continue;
        }
        if (p->last[i].from.data != col[to].data || p->last[i].from.size != col[to].size) {
            p->last[i].from = col[to];
            p->last[i].to = arena_copy(p->a, col[to]);
            if (!p->last[i].to.data)
                return ERR_LIMIT;
        }
        col[to] = p->last[i].to;
    }
    p->t.spans.count++;
    return ERR_OK;
}

enum err view_pool_take(struct view_pool *p, const uint32_t *order, uint32_t n,
                        union view_table *out)
{
    union view_table t;
    memset(&t, 0, sizeof(t));
    if (!columns_make(p->k->schema, p->a, &t, n ? n : 1))
        return ERR_LIMIT;
    for (uint32_t i = 0; i < n; i++)
        columns_copy_row(p->k->schema, &p->t, order[i], &t, i);
    t.spans.count = n;
    *out = t;
    return ERR_OK;
}
