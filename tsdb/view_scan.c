/* Spans and logs by filter, traces by id. */
#include <stdlib.h>

#include "base/check.h"
#include "tsdb/view_rows.h"

struct scan {
    struct tsdb_view *v;
    const struct view_row_kind *k;
    int64_t min, max; /* of the order column */
    int64_t duration_min, duration_max; /* 0, 0 = any */
    struct bytes service, name;
    bool newest_first;
    const struct tsdb_span_filter *spans;
    const struct tsdb_log_filter *logs;
    uint32_t limit; /* rows wanted */
    struct view_pool pool;
    struct found {
        int64_t at;
        uint32_t row; /* in the pool, which is the order of discovery too */
    } * found;
    uint32_t found_count, found_cap;
    bool has_bound;
    int64_t bound; /* rows at or beyond it cannot be among the first `limit` any more */
};

static bool found_before(const struct scan *s, const struct found *a, const struct found *b)
{
    if (a->at != b->at)
        return s->newest_first ? a->at > b->at : a->at < b->at;
    return a->row < b->row;
}

static int by_order(const void *x, const void *y, void *ctx)
{
    return found_before(ctx, x, y) ? -1 : found_before(ctx, y, x) ? 1 : 0;
}

static void keep_best(struct scan *s)
{
    qsort_r(s->found, s->found_count, sizeof(*s->found), by_order, s);
    if (s->found_count < s->limit)
        return;
    s->found_count = s->limit;
    s->has_bound = true;
    s->bound = s->found[s->limit - 1].at;
}

static bool is_beyond(const struct scan *s, int64_t at)
{
    return s->has_bound && (s->newest_first ? at <= s->bound : at >= s->bound);
}

static bool passes_cheap(const struct scan *s, const void *table, uint32_t row)
{
    int64_t at = view_table_order(s->k, table, row);
    if (at < s->min || at > s->max || is_beyond(s, at))
        return false;
    if (s->service.size && !bytes_equal(view_table_service(s->k, table, row), s->service))
        return false;
    if (!s->k->is_spans)
        return true;
    const struct tsdb_spans *t = table;
    int64_t duration = (int64_t)((uint64_t)t->end_ns[row] - (uint64_t)t->start_ns[row]);
    if ((s->duration_min && duration < s->duration_min) ||
        (s->duration_max && duration > s->duration_max))
        return false;
    return !s->name.size || bytes_equal(t->name[row], s->name);
}

static bool passes_keep(const struct scan *s, const void *table, uint32_t row)
{
    if (s->k->is_spans)
        return !s->spans->keep || s->spans->keep(s->spans->ctx, table, row);
    return !s->logs->keep || s->logs->keep(s->logs->ctx, table, row);
}

static enum err take_row(struct scan *s, const void *table, uint32_t row)
{
    if (s->found_count == s->found_cap) {
        uint32_t cap = s->found_cap ? s->found_cap * 2 : 256;
        struct found *fresh = realloc(s->found, cap * sizeof(*fresh));
        if (!fresh)
            return ERR_NOMEM;
        s->found = fresh;
        s->found_cap = cap;
    }
    s->found[s->found_count++] =
        (struct found){view_table_order(s->k, table, row), view_table_count(&s->pool.t)};
    enum err e = view_pool_add(&s->pool, table, row);
    if (e == ERR_OK && s->found_count / 2 >= s->limit && s->found_count > 512)
        keep_best(s);
    return e;
}

static enum err scan_heads(struct scan *s)
{
    enum err e = ERR_OK;
    for (size_t i = s->v->pin.head_count; i-- > 0 && e == ERR_OK;) {
        const struct view_head *vh = &s->v->heads[i];
        for (uint32_t k = 0; k < vh->limit && e == ERR_OK; k++) {
            const struct head_batch *hb =
                head_batch_at(vh->head, s->newest_first ? vh->limit - 1 - k : k);
            const struct tsdb_batch *b = hb->batch;
            if (!b || b->org != s->v->org)
                continue;
            const void *table = s->k->is_spans ? (const void *)&b->spans : (const void *)&b->logs;
            uint32_t count = s->k->is_spans ? b->spans.count : b->logs.count;
            if (count == 0 ||
                (s->k->is_spans && (hb->start_min > s->max || hb->start_max < s->min)))
                continue;
            if ((e = view_check(s->v)) != ERR_OK)
                break;
            view_pool_next_table(&s->pool);
            for (uint32_t row = 0; row < count && e == ERR_OK; row++)
                if ((!s->k->is_spans || head_span_kept(b, row)) && passes_cheap(s, table, row) &&
                    passes_keep(s, table, row))
                    e = take_row(s, table, row);
        }
    }
    return e;
}

struct candidate {
    const struct part_snapshot *part;
    const struct block_meta *meta;
    int64_t min, max;
};

static int newest_max(const void *x, const void *y)
{
    const struct candidate *a = x, *b = y;
    return (a->max < b->max) - (a->max > b->max);
}

static int oldest_min(const void *x, const void *y)
{
    const struct candidate *a = x, *b = y;
    return (a->min > b->min) - (a->min < b->min);
}

/* Blocks whose zone does not rule them out. */
static enum err candidates(struct scan *s, struct arena *a, struct candidate **out, size_t *out_n)
{
    struct candidate *c = NULL;
    size_t n = 0, cap = 0;
    for (size_t i = 0; i < s->v->pin.part_count; i++) {
        const struct part_snapshot *p = s->v->pin.parts[i];
        size_t count;
        /* spans lie in the part of their end's day, never before their start's */
        if (part_snapshot_class(p) != PART_ROWS ||
            part_snapshot_day(p) < head_day_of_ms(s->min / 1000000) ||
            (!s->k->is_spans && part_snapshot_day(p) > head_day_of_ms(s->max / 1000000)))
            continue;
        const struct block_meta *m = view_blocks(s->v, p, s->k->rows, VIEW_ANY_GENERATION, &count);
        for (size_t k = 0; k < count; k++) {
            struct block_zone z;
            enum err e = block_zone_read(m[k].summary, a, &z);
            if (e == ERR_LIMIT)
                return e;
            if (e == ERR_OK && (z.start_min > s->max || z.start_max < s->min ||
                                (s->duration_min && z.duration_max < s->duration_min) ||
                                (s->duration_max && z.duration_min > s->duration_max) ||
                                (s->service.size && !block_zone_has_service(&z, s->service))))
                continue;
            if (e != ERR_OK) {
                view_count_corrupt();
                z.start_min = INT64_MIN;
                z.start_max = INT64_MAX;
            }
            if (n == cap) {
                c = arena_grow(a, c, sizeof(*c), cap, cap ? cap * 2 : 64);
                if (!c)
                    return ERR_LIMIT;
                cap = cap ? cap * 2 : 64;
            }
            c[n++] = (struct candidate){p, &m[k], z.start_min, z.start_max};
        }
    }
    if (n)
        qsort(c, n, sizeof(*c), s->newest_first ? newest_max : oldest_min);
    *out = c;
    *out_n = n;
    return ERR_OK;
}

static enum err scan_block(struct scan *s, const struct candidate *c, struct arena *scratch)
{
    union view_table t;
    bool has_text = false;
    arena_reset(scratch);
    view_pool_next_table(&s->pool);
    enum err e = view_check(s->v);
    if (e == ERR_OK)
        e = view_rows_open(s->k, c->part, c->meta, scratch, &t);
    if (e != ERR_OK)
        return e == ERR_CORRUPT ? ERR_OK : e;
    for (uint32_t row = 0; row < view_table_count(&t) && e == ERR_OK; row++) {
        if (!passes_cheap(s, &t, row))
            continue;
        if (!has_text) {
            e = view_rows_text(s->v, s->k, c->part, c->meta, scratch, &t);
            has_text = true;
        }
        if (e == ERR_OK && passes_keep(s, &t, row))
            e = take_row(s, &t, row);
    }
    return e;
}

static enum err scan_run(struct scan *s, struct arena *a, union view_table *out)
{
    struct arena *list = arena_new(0), *scratch = arena_new(0);
    struct candidate *c = NULL;
    size_t n = 0;
    view_pool_init(&s->pool, s->k, a);
    enum err e = list && scratch ? ERR_OK : ERR_NOMEM;
    if (e == ERR_OK && s->limit > 0)
        e = scan_heads(s);
    if (e == ERR_OK && s->limit > 0)
        e = candidates(s, list, &c, &n);
    for (size_t i = 0; i < n && e == ERR_OK; i++) {
        if (s->found_count >= s->limit)
            keep_best(s);
        if (is_beyond(s, s->newest_first ? c[i].max : c[i].min))
            break;
        e = scan_block(s, &c[i], scratch);
    }
    if (e == ERR_OK) {
        if (s->found_count)
            keep_best(s);
        uint32_t *order = ARENA_ARRAY(a, uint32_t, s->found_count + 1);
        for (uint32_t i = 0; order && i < s->found_count; i++)
            order[i] = s->found[i].row;
        e = order ? view_pool_take(&s->pool, order, s->found_count, out) : ERR_LIMIT;
    }
    arena_free(list);
    arena_free(scratch);
    free(s->found);
    return e;
}

enum err tsdb_span_scan(struct tsdb_view *v, const struct tsdb_span_filter *f, uint32_t max,
                        struct arena *a, struct tsdb_spans *out)
{
    union view_table t;
    struct scan s = {.v = v,
                     .k = &view_rows_spans,
                     .min = f->start_min_ns,
                     .max = f->start_max_ns,
                     .duration_min = f->duration_min_ns,
                     .duration_max = f->duration_max_ns,
                     .service = f->service,
                     .name = f->name,
                     .newest_first = f->newest_first != 0,
                     .spans = f,
                     .limit = max};
    enum err e = scan_run(&s, a, &t);
    if (e == ERR_OK)
        *out = t.spans;
    return e;
}

/* Newest first. */
enum err tsdb_log_scan(struct tsdb_view *v, const struct tsdb_log_filter *f, uint32_t max,
                       struct arena *a, struct tsdb_logs *out)
{
    union view_table t;
    struct scan s = {.v = v,
                     .k = &view_rows_logs,
                     .min = f->min_ns,
                     .max = f->max_ns,
                     .service = f->service,
                     .newest_first = true,
                     .logs = f,
                     .limit = max};
    enum err e = scan_run(&s, a, &t);
    if (e == ERR_OK)
        *out = t.logs;
    return e;
}

/* --- one trace ----------------------------------------------------------------------------------- */

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
            e = view_pool_add(pool, &head_batch_at(v->heads[i].head, p[n].ord)->batch->spans,
                              p[n].row);
        }
    }
    return e;
}

/* The rows that the index names in one block of spans. */
static enum err trace_block(struct tsdb_view *v, const struct part_snapshot *p, uint64_t generation,
                            const struct block_trace *t, uint32_t n, struct tsdb_id16 id,
                            struct arena *scratch, struct view_pool *pool)
{
    size_t count;
    const struct block_meta *m = view_blocks(v, p, BLOCK_SPANS, generation, &count);
    for (size_t i = 0; i < count; i++) {
        union view_table table;
        bool has_text = false;
        if (m[i].key.n != t[0].n)
            continue;
        enum err e = view_check(v);
        if (e == ERR_OK)
            e = view_rows_open(&view_rows_spans, p, &m[i], scratch, &table);
        view_pool_next_table(pool);
        for (uint32_t k = 0; k < n && e == ERR_OK; k++) {
            if (t[k].row >= table.spans.count ||
                memcmp(table.spans.trace_id[t[k].row].b, id.b, 16) != 0)
                continue;
            if (!has_text)
                e = view_rows_text(v, &view_rows_spans, p, &m[i], scratch, &table);
            has_text = true;
            if (e == ERR_OK)
                e = view_pool_add(pool, &table, t[k].row);
        }
        return e == ERR_CORRUPT ? ERR_OK : e;
    }
    return ERR_OK;
}

static enum err trace_part(struct tsdb_view *v, const struct part_snapshot *p, struct tsdb_id16 id,
                           struct arena *scratch, struct view_pool *pool)
{
    size_t count;
    const struct block_meta *m = view_blocks(v, p, BLOCK_TRACES, VIEW_ANY_GENERATION, &count);
    uint64_t prefix = bytes_u64be(id.b);
    enum err e = ERR_OK;
    for (size_t i = 0; i < count && e == ERR_OK; i++) {
        struct bytes block;
        struct block_trace *t;
        uint32_t n;
        if (!block_traces_may_have(m[i].summary, prefix))
            continue;
        arena_reset(scratch);
        e = view_fetch(p, &m[i], scratch, &block);
        if (e == ERR_OK) {
            e = block_traces_find(block, prefix, scratch, &t, &n);
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
    view_pool_init(&pool, &view_rows_spans, a);
    enum err e = scratch ? ERR_OK : ERR_NOMEM;
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
