/* All spans of one trace. */
#include <stdlib.h>

#include "base/check.h"
#include "tsdb/view_erase.h"

struct place {
    uint32_t ord, row;
};

/* Where a head that the view sees holds spans of the trace, newest first. */
static enum err head_places(struct tsdb_view *v, const struct view_head *vh, struct tsdb_id16 id,
                            struct arena *a, struct place **out, uint32_t *out_count)
{
    struct place *p = NULL;
    uint32_t n = 0, cap = 0;
    enum err e = ERR_OK;
    const struct head_traces *t = &vh->head->traces;
    head_read_lock(vh->head);
    for (uint32_t at = head_traces_first(t, id); at && e == ERR_OK;) {
        const struct head_trace_entry *entry = head_traces_entry(t, at);
        at = entry->next;
        const struct tsdb_batch *b =
            entry->ord < vh->limit ? head_batch_at(vh->head, entry->ord)->batch : NULL;
        if (!b || b->org != v->org || memcmp(b->spans.trace_id[entry->row].b, id.b, 16) != 0)
            continue;
        if (n == cap) {
            p = arena_grow(a, p, sizeof(*p), cap, cap ? cap * 2 : 64);
            cap = cap ? cap * 2 : 64;
            e = p ? ERR_OK : ERR_NOMEM;
        }
        if (e == ERR_OK)
            p[n++] = (struct place){entry->ord, entry->row};
    }
    head_read_unlock(vh->head);
    *out = p;
    *out_count = n;
    return e;
}

static bool is_erased(const struct tsdb_view *v, const struct tsdb_spans *t, uint32_t row,
                      uint64_t generation)
{
    union view_table table = {.spans = *t};
    return view_erase_any(v) && view_erase_row(v, &view_rows_spans, &table, row, generation);
}

static enum err trace_heads(struct tsdb_view *v, struct tsdb_id16 id, struct arena *scratch,
                            struct view_pool *pool)
{
    enum err e = view_check(v);
    for (size_t i = 0; i < v->pin.head_count && e == ERR_OK; i++) {
        struct place *p;
        uint32_t n, last = UINT32_MAX;
        e = head_places(v, &v->heads[i], id, scratch, &p, &n);
        for (; n-- > 0 && e == ERR_OK; last = p[n].ord) {
            if (p[n].ord != last)
                view_pool_next_table(pool);
            const struct tsdb_spans *t = &head_batch_at(v->heads[i].head, p[n].ord)->batch->spans;
            if (!is_erased(v, t, p[n].row, v->heads[i].head->generation))
                e = view_pool_add(pool, t, p[n].row);
        }
    }
    return e;
}

static bool is_of(const struct tsdb_spans *t, const struct block_trace *e, struct tsdb_id16 id)
{
    return e->row < t->count && memcmp(t->trace_id[e->row].b, id.b, 16) == 0;
}

/* The rows that the index names in one block of spans. */
static enum err trace_block(struct tsdb_view *v, const struct part_snapshot *p, uint64_t generation,
                            const struct block_trace *t, uint32_t n, struct tsdb_id16 id,
                            struct arena *scratch, struct view_pool *pool)
{
    size_t count;
    const struct block_meta *m = view_blocks(v, p, BLOCK_SPANS, generation, &count);
    for (size_t i = 0; i < count; i++) {
        uint8_t *wanted = NULL; /* once a row is of the trace */
        if (m[i].key.n != t[0].n)
            continue;
        struct view_block b = view_block_of(&view_rows_spans, p, &m[i]);
        enum err e = view_check(v);
        if (e == ERR_OK) /* another trace of the same key is found out by one column */
            e = view_block_load(v, &b, UINT64_C(1) << TSDB_SPAN_trace_id, scratch);
        for (uint32_t k = 0; k < n && e == ERR_OK; k++) {
            if (!is_of(&b.t.spans, &t[k], id))
                continue;
            if (!wanted && !(wanted = ARENA_ARRAY(scratch, uint8_t, b.t.spans.count)))
                e = ERR_LIMIT;
            else
                wanted[t[k].row] = 1;
        }
        b.wanted = wanted;
        if (e == ERR_OK && wanted)
            e = view_block_load(v, &b, columns_all(&tsdb_batch_span_schema), scratch);
        view_pool_next_table(pool);
        for (uint32_t k = 0; k < n && e == ERR_OK && wanted; k++)
            if (is_of(&b.t.spans, &t[k], id) && !is_erased(v, &b.t.spans, t[k].row, generation))
                e = view_pool_add(pool, &b.t, t[k].row);
        return e == ERR_CORRUPT ? ERR_OK : e;
    }
    return ERR_OK;
}

static enum err trace_part(struct tsdb_view *v, const struct part_snapshot *p, struct tsdb_id16 id,
                           struct arena *scratch, struct view_pool *pool)
{
    size_t count;
    const struct block_meta *m = view_blocks(v, p, BLOCK_TRACES, VIEW_ANY_GENERATION, &count);
    uint64_t key = block_trace_key(id);
    enum err e = ERR_OK;
    for (size_t i = 0; i < count && e == ERR_OK; i++) {
        struct bytes block;
        struct block_trace *t;
        uint32_t n;
        if (!block_traces_may_have(m[i].summary, key))
            continue;
        arena_reset(scratch);
        e = view_fetch(p, &m[i], scratch, &block);
        if (e == ERR_OK) {
            e = block_traces_find(block, key, scratch, &t, &n);
            if (e == ERR_CORRUPT)
                view_count_corrupt();
        }
        if (e == ERR_CORRUPT) {
            e = ERR_OK;
            continue;
        }
        for (uint32_t from = 0, to; e == ERR_OK && from < n; from = to) {
            for (to = from; to < n && t[to].n == t[from].n;)
                to++;
            e = trace_block(v, p, m[i].key.generation, t + from, to - from, id, scratch, pool);
        }
    }
    return e;
}

static int by_start(const void *x, const void *y, void *ctx)
{
    const struct tsdb_spans *s = ctx;
    uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;
    if (s->start_ns[a] != s->start_ns[b])
        return s->start_ns[a] < s->start_ns[b] ? -1 : 1;
    return (a > b) - (a < b);
}

enum err tsdb_trace(struct tsdb_view *v, struct tsdb_id16 trace_id, struct arena *a,
                    struct tsdb_spans *out)
{
    struct view_pool pool;
    struct arena *scratch = arena_new(0);
    view_pool_init(&pool, &view_rows_spans, COLUMNS_ALL, a);
    enum err e = scratch ? ERR_OK : ERR_NOMEM;
    view_touch(v, INT64_MIN, INT64_MAX);
    for (size_t i = 0; i < v->pin.part_count && e == ERR_OK; i++)
        if (part_snapshot_class(v->pin.parts[i]) == PART_ROWS)
            e = trace_part(v, v->pin.parts[i], trace_id, scratch, &pool);
    if (e == ERR_OK)
        e = trace_heads(v, trace_id, scratch, &pool);
    arena_free(scratch);
    if (e != ERR_OK)
        return e;
    uint32_t n = view_table_count(&pool.t);
    if (n == 0)
        return ERR_NOT_FOUND;
    uint32_t *order = ARENA_ARRAY(a, uint32_t, n);
    union view_table t;
    if (!order)
        return ERR_LIMIT;
    for (uint32_t i = 0; i < n; i++)
        order[i] = i;
    qsort_r(order, n, sizeof(*order), by_start, &pool.t.spans);
    e = view_pool_take(&pool, order, n, &t);
    if (e == ERR_OK)
        *out = t.spans;
    return e;
}
