#include "tsdb/view_rows.h"

#include "base/check.h"

#include "tsdb/head_flush.h"

const struct view_row_kind view_rows_spans = {&tsdb_batch_span_schema,
                                              (2ull << TSDB_SPAN_links) - 1,
                                              HEAD_TEXT_MASK_SPANS,
                                              BLOCK_SPANS,
                                              BLOCK_SPAN_TEXT,
                                              offsetof(struct tsdb_spans, start_ns),
                                              offsetof(struct tsdb_spans, service),
                                              true};
const struct view_row_kind view_rows_logs = {&tsdb_batch_log_schema,
                                             COLUMNS_ALL,
                                             HEAD_TEXT_MASK_LOGS,
                                             BLOCK_LOGS,
                                             BLOCK_LOG_TEXT,
                                             offsetof(struct tsdb_logs, time_ns),
                                             offsetof(struct tsdb_logs, service),
                                             false};

struct view_block view_block_of(const struct view_row_kind *k, const struct part_snapshot *p,
                                const struct block_meta *m)
{
    return (struct view_block){.k = k, .part = p, .meta = m};
}

const struct block_meta *view_block_text(const struct tsdb_view *v, const struct view_block *b,
                                         const struct part_snapshot **out_part)
{
    for (size_t i = 0; i < v->pin.part_count; i++) {
        const struct part_snapshot *p = v->pin.parts[i];
        size_t count;
        if (part_snapshot_day(p) != part_snapshot_day(b->part) ||
            part_snapshot_class(p) != PART_TEXT)
            continue;
        const struct block_meta *t = view_blocks(v, p, b->k->text, b->meta->key.generation, &count);
        for (size_t lo = 0, hi = count; lo < hi;) { /* sorted by n */
            size_t mid = lo + (hi - lo) / 2;
            if (t[mid].key.n == b->meta->key.n) {
                *out_part = p;
                return &t[mid];
            }
            if (t[mid].key.n < b->meta->key.n)
                lo = mid + 1;
            else
                hi = mid;
        }
        return NULL;
    }
    return NULL;
}

static enum err fetch_body(const struct view_block *b, const struct part_snapshot *p,
                           const struct block_meta *m, struct arena *a, struct bytes *plain,
                           struct columns_body **out)
{
    struct bytes block;
    enum err e = view_fetch(p, m, a, &block);
    if (e != ERR_OK)
        return e;
    e = block_unpack(block, a, plain);
    if (e == ERR_OK) {
        struct reader r = reader_of(*plain);
        e = columns_open(&r, b->k->schema, a, out);
        if (e == ERR_OK && reader_left(&r))
            e = ERR_CORRUPT;
    }
    if (e == ERR_CORRUPT)
        view_count_corrupt();
    return e;
}

static enum err load_rows(struct view_block *b, uint64_t mask, struct arena *a)
{
    struct bytes plain;
    bool is_first = !b->body;
    enum err e = is_first ? fetch_body(b, b->part, b->meta, a, &plain, &b->body) : ERR_OK;
    if (e != ERR_OK)
        return e;
    e = columns_load(b->body, mask, b->wanted, &b->t, !is_first);
    if (e == ERR_OK && view_table_count(&b->t) != b->meta->rows)
        e = ERR_CORRUPT;
    if (e == ERR_CORRUPT)
        view_count_corrupt();
    return e;
}

/* Rows stand without their text when that is gone or damaged (counted). */
static enum err load_text(const struct tsdb_view *v, struct view_block *b, uint64_t mask,
                          struct arena *a)
{
    const struct part_snapshot *p;
    enum err e = ERR_OK;
    if (!b->has_text) {
        const struct block_meta *m = view_block_text(v, b, &p);
        struct bytes plain = BYTES_NONE;
        b->has_text = true;
        e = m ? fetch_body(b, p, m, a, &plain, &b->text) : ERR_OK;
        if (e != ERR_OK)
            b->text = NULL;
        b->text_needs = columns_needs(plain);
    }
    if (e != ERR_OK || !b->text)
        return e == ERR_CORRUPT ? ERR_OK : e;
    /* what it refers to in the rows comes first */
    uint64_t needs = b->text_needs & ~b->k->text_mask & ~b->loaded;
    if (needs) {
        e = load_rows(b, needs, a);
        if (e == ERR_OK && !columns_fill(b->k->schema, a, &b->t, needs))
            e = ERR_LIMIT;
        if (e != ERR_OK)
            return e;
        b->loaded |= needs;
    }
    union view_table with_text = b->t;
    e = columns_load(b->text, mask, b->wanted, &with_text, true);
    if (e == ERR_CORRUPT) {
        view_count_corrupt();
        return ERR_OK;
    }
    if (e == ERR_OK)
        b->t = with_text;
    return e;
}

enum err view_block_load(const struct tsdb_view *v, struct view_block *b, uint64_t mask,
                         struct arena *a)
{
    uint64_t rows = mask & ~b->k->text_mask & ~b->loaded;
    uint64_t text = mask & b->k->text_mask & ~b->loaded;
    enum err e = rows || !b->body ? load_rows(b, rows, a) : ERR_OK;
    if (e == ERR_OK && text)
        e = load_text(v, b, text, a);
    if (e == ERR_OK && !columns_fill(b->k->schema, a, &b->t, rows | text))
        e = ERR_LIMIT;
    b->loaded |= rows | text;
    return e;
}

/* --- pools --------------------------------------------------------------------------------------- */

void view_pool_init(struct view_pool *p, const struct view_row_kind *k, uint64_t mask,
                    struct arena *a)
{
    memset(p, 0, sizeof(*p));
    p->k = k;
    p->mask = mask;
    p->a = a;
}

void view_pool_next_table(struct view_pool *p)
{
    memset(p->last, 0, sizeof(p->last));
}

/* A table for cap rows with the columns of the answer. */
static bool pool_make(const struct view_pool *p, union view_table *t, uint32_t cap)
{
    memset(t, 0, sizeof(*t));
    t->spans.cap = cap;
    return columns_fill(p->k->schema, p->a, t, p->mask);
}

static bool pool_room(struct view_pool *p)
{
    union view_table more;
    uint32_t count = view_table_count(&p->t), cap = p->t.spans.cap;
    if (count < cap)
        return true;
    if (!pool_make(p, &more, cap ? cap * 2 : 32))
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
        if (!col)
            continue;
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
    if (!pool_make(p, &t, n ? n : 1))
        return ERR_LIMIT;
    for (uint32_t i = 0; i < n; i++)
        columns_copy_row(p->k->schema, &p->t, order[i], &t, i);
    t.spans.count = n;
    *out = t;
    return ERR_OK;
}
