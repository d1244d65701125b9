/* Runs of rows that match: heads, then the blocks whose zones do not rule them out. */
#include "tsdb/view_visit.h"

#include <stdlib.h>

#include "base/check.h"
#include "tsdb/view_erase.h"

#define BIT(n) (UINT64_C(1) << (n))

static bool has_durations(const struct view_search *s)
{
    return s->k->is_spans && (s->duration_min || s->duration_max);
}

static void *column_of(const struct view_run *run, uint32_t number)
{
    void *p;
    memcpy(&p, (const uint8_t *)run->t + run->k->schema->columns[number].offset, sizeof(p));
    return p;
}

/* Texts are put together for the rows that are still in question. */
static enum err want_rows(struct view_run *run)
{
    uint8_t *wanted = ARENA_ARRAY(run->scratch, uint8_t, run->block->meta->rows);
    for (uint32_t i = 0; wanted && i < run->count; i++)
        wanted[run->rows[i]] = 1;
    run->block->wanted = wanted;
    return wanted ? ERR_OK : ERR_LIMIT;
}

enum err view_run_load(struct view_run *run, uint64_t mask)
{
    enum err e = ERR_OK;
    mask &= ~run->loaded & columns_all(run->k->schema);
    if (!mask)
        return ERR_OK;
    if (run->block && (mask & run->k->text_mask) && run->count < run->block->meta->rows)
        e = want_rows(run);
    if (run->block && e == ERR_OK)
        e = view_block_load(run->v, run->block, mask, run->scratch);
    else if (run->block)
        return e;
    else if (!columns_fill(run->k->schema, run->scratch, run->t, mask))
        e = ERR_LIMIT;
    if (e == ERR_OK)
        run->loaded |= mask;
    return e;
}

/* --- conditions on rows -------------------------------------------------------------------------- */

static void keep_times(struct view_run *run, const int64_t *at, int64_t min, int64_t max)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < run->count; i++) {
        uint32_t row = run->rows[i];
        run->rows[n] = row;
        n += at[row] >= min && at[row] <= max;
    }
    run->count = n;
}

static void keep_durations(struct view_run *run, int64_t min, int64_t max)
{
    const struct tsdb_spans *t = &run->t->spans;
    uint32_t n = 0;
    if (!max)
        max = INT64_MAX;
    for (uint32_t i = 0; i < run->count; i++) {
        uint32_t row = run->rows[i];
        int64_t d = (int64_t)((uint64_t)t->end_ns[row] - (uint64_t)t->start_ns[row]);
        run->rows[n] = row;
        n += (!min || d >= min) && d <= max;
    }
    run->count = n;
}

static bool text_passes(struct bytes v, const struct tsdb_where *w)
{
    return w->op == TSDB_WHERE_BEGINS ? bytes_has_prefix(v, w->text) : bytes_equal(v, w->text);
}

/* Values of a dictionary share their bytes: each is compared once. */
static void keep_texts(struct view_run *run, const struct bytes *col, const struct tsdb_where *w)
{
    enum { SEEN = 64 };
    struct {
        const uint8_t *data;
        size_t size;
        bool passes;
    } seen[SEEN] = {0};
    uint32_t n = 0;
    for (uint32_t i = 0; i < run->count; i++) {
        uint32_t row = run->rows[i];
        struct bytes v = col[row];
        uint32_t at = (uint32_t)((uintptr_t)v.data * 0x9e3779b97f4a7c15u >> 58) % SEEN;
        if (seen[at].data != v.data || seen[at].size != v.size || !v.data) {
            seen[at].data = v.data;
            seen[at].size = v.size;
            seen[at].passes = text_passes(v, w);
        }
        run->rows[n] = row;
        n += seen[at].passes;
    }
    run->count = n;
}

static bool number_passes(int64_t v, const struct tsdb_where *w)
{
    return w->op == TSDB_WHERE_AT_LEAST ? v >= w->number : v == w->number;
}

static bool other_passes(const struct tsdb_column *c, const void *col, uint32_t row,
                         const struct tsdb_where *w)
{
    switch (c->type) {
    case TSDB_U8: return number_passes(((const uint8_t *)col)[row], w);
    case TSDB_U32: return number_passes(((const uint32_t *)col)[row], w);
    case TSDB_I64: return number_passes(((const int64_t *)col)[row], w);
    default: return false;
    }
}

/* size: 8 or 16. */
static void keep_ids(struct view_run *run, const uint8_t *col, size_t size, const uint8_t *id)
{
    uint64_t low, high = 0, x, y;
    uint32_t n = 0;
    memcpy(&low, id, 8);
    memcpy(&high, id + size - 8, 8);
    for (uint32_t i = 0; i < run->count; i++) {
        uint32_t row = run->rows[i];
        memcpy(&x, col + row * size, 8);
        memcpy(&y, col + row * size + size - 8, 8);
        run->rows[n] = row;
        n += x == low && y == high;
    }
    run->count = n;
}

static enum err keep_where(struct view_run *run, const struct tsdb_where *w)
{
    CHECK(w->column < run->k->schema->column_count);
    const struct tsdb_column *c = &run->k->schema->columns[w->column];
    enum err e = view_run_load(run, BIT(w->column));
    if (e != ERR_OK)
        return e;
    const void *col = column_of(run, w->column);
    if (c->type == TSDB_STR) {
        keep_texts(run, col, w);
        return ERR_OK;
    }
    if (c->type == TSDB_ID16 || c->type == TSDB_ID8) {
        size_t size = columns_item_size(c->type);
        if (w->text.size == size)
            keep_ids(run, col, size, w->text.data);
        else
            run->count = 0;
        return ERR_OK;
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < run->count; i++) {
        uint32_t row = run->rows[i];
        run->rows[n] = row;
        n += other_passes(c, col, row, w);
    }
    run->count = n;
    return ERR_OK;
}

static bool attr_is(const struct bytes *attrs, uint32_t row, const struct tsdb_where_attr *w)
{
    struct tsdb_value v;
    return tsdb_attrs_find(attrs[row], w->key, &v) && tsdb_attrs_value_is(v, w->value);
}

static enum err keep_attr(struct view_run *run, const struct tsdb_where_attr *w)
{
    uint32_t attrs = run->k->is_spans ? TSDB_SPAN_attrs : TSDB_LOG_attrs, n = 0;
    uint32_t resource = run->k->is_spans ? TSDB_SPAN_resource_attrs : TSDB_LOG_resource_attrs;
    enum err e = view_run_load(run, BIT(attrs) | BIT(resource));
    if (e != ERR_OK)
        return e;
    const struct bytes *own = column_of(run, attrs), *of_resource = column_of(run, resource);
    for (uint32_t i = 0; i < run->count; i++) {
        uint32_t row = run->rows[i];
        run->rows[n] = row;
        n += attr_is(own, row, w) || attr_is(of_resource, row, w);
    }
    run->count = n;
    return ERR_OK;
}

static enum err keep_containing(struct view_run *run, struct bytes needle)
{
    uint32_t attrs = run->k->is_spans ? TSDB_SPAN_attrs : TSDB_LOG_attrs, n = 0;
    enum err e = view_run_load(run, BIT(attrs) | (run->k->is_spans ? 0 : BIT(TSDB_LOG_body)));
    if (e != ERR_OK)
        return e;
    const struct bytes *own = column_of(run, attrs);
    const struct bytes *body = run->k->is_spans ? NULL : column_of(run, TSDB_LOG_body);
    for (uint32_t i = 0; i < run->count; i++) {
        uint32_t row = run->rows[i];
        run->rows[n] = row;
        n += (body && tsdb_attrs_value_contains(body[row], needle)) ||
             tsdb_attrs_contain(own[row], needle);
    }
    run->count = n;
    return ERR_OK;
}

/* Those that are being erased are not there. */
static enum err leave_out(struct view_run *run)
{
    uint32_t n = 0;
    enum err e = view_run_load(run, run->k->is_spans ? ERASE_SPAN_COLUMNS : ERASE_LOG_COLUMNS);
    for (uint32_t i = 0; i < run->count && e == ERR_OK; i++)
        if (!view_erase_row(run->v, run->k, run->t, run->rows[i], run->generation))
            run->rows[n++] = run->rows[i];
    run->count = n;
    return e;
}

/* inside: all rows lie within min and max. */
static enum err sieve(const struct view_search *s, struct view_run *run, bool inside)
{
    const struct tsdb_row_filter *f = s->more;
    struct tsdb_where service = {.column = s->k->is_spans ? (uint32_t)TSDB_SPAN_service
                                                          : (uint32_t)TSDB_LOG_service,
                                 .text = s->service};
    struct tsdb_where name = {.column = TSDB_SPAN_name, .text = s->name};
    struct tsdb_where severity = {
        .column = TSDB_LOG_severity, .op = TSDB_WHERE_AT_LEAST, .number = s->severity_min};
    uint32_t order = s->k->is_spans ? (uint32_t)TSDB_SPAN_start_ns : (uint32_t)TSDB_LOG_time_ns;
    enum err e = ERR_OK;
    if (!inside && (e = view_run_load(run, BIT(order))) == ERR_OK)
        keep_times(run, column_of(run, order), s->min, s->max);
    if (e == ERR_OK && run->count && s->service.size)
        e = keep_where(run, &service);
    if (e == ERR_OK && run->count && s->k->is_spans && s->name.size)
        e = keep_where(run, &name);
    if (e == ERR_OK && run->count && !s->k->is_spans && s->severity_min)
        e = keep_where(run, &severity);
    for (uint32_t i = 0; f && e == ERR_OK && run->count && i < f->where_count; i++)
        e = keep_where(run, &f->where[i]);
    if (e == ERR_OK && run->count && has_durations(s)) {
        e = view_run_load(run, BIT(TSDB_SPAN_start_ns) | BIT(TSDB_SPAN_end_ns));
        if (e == ERR_OK)
            keep_durations(run, s->duration_min, s->duration_max);
    }
    for (uint32_t i = 0; f && e == ERR_OK && run->count && i < f->attr_count; i++)
        e = keep_attr(run, &f->attrs[i]);
    if (f && e == ERR_OK && run->count && f->contains.size)
        e = keep_containing(run, f->contains);
    if (e == ERR_OK && run->count && view_erase_any(run->v))
        e = leave_out(run);
    return e;
}

/* --- heads --------------------------------------------------------------------------------------- */

static enum err visit_batch(struct view_search *s, const struct tsdb_batch *b, uint64_t generation,
                            struct arena *scratch, bool *stop)
{
    union view_table t;
    uint32_t count = s->k->is_spans ? b->spans.count : b->logs.count;
    arena_reset(scratch);
    if (s->k->is_spans)
        t.spans = b->spans;
    else
        t.logs = b->logs;
    t.spans.cap = count;
    struct view_run run = {.v = s->v,
                           .k = s->k,
                           .t = &t,
                           .rows = ARENA_ARRAY(scratch, uint32_t, count),
                           .scratch = scratch,
                           .generation = generation};
    if (!run.rows)
        return ERR_LIMIT;
    for (uint32_t row = 0; row < count; row++)
        if (!s->k->is_spans || head_span_kept(b, row))
            run.rows[run.count++] = row;
    s->rows_read += count;
    enum err e = sieve(s, &run, false);
    return e == ERR_OK && run.count ? s->run(s->ctx, &run, stop) : e;
}

/* The first batch that was committed after seq. */
static uint32_t first_since(const struct view_head *vh, uint64_t seq)
{
    uint32_t low = 0, high = vh->limit;
    while (seq && low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (head_batch_at(vh->head, middle)->seq <= seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static enum err visit_heads(struct view_search *s, struct arena *scratch, bool *stop)
{
    enum err e = ERR_OK;
    bool newest = s->order == TSDB_VISIT_NEWEST;
    for (size_t i = s->v->pin.head_count; i-- > 0 && e == ERR_OK;) {
        const struct view_head *vh = &s->v->heads[i];
        uint32_t first = first_since(vh, s->since_seq);
        for (uint32_t k = first; k < vh->limit && e == ERR_OK && !*stop; k++) {
            const struct head_batch *hb =
                head_batch_at(vh->head, newest ? vh->limit - 1 - (k - first) : k);
            const struct tsdb_batch *b = hb->batch;
            if (!b || b->org != s->v->org || !(s->k->is_spans ? b->spans.count : b->logs.count) ||
                (s->k->is_spans && (hb->start_min > s->max || hb->start_max < s->min)))
                continue;
            e = view_check(s->v);
            if (e == ERR_OK)
                e = visit_batch(s, b, vh->head->generation, scratch, stop);
        }
    }
    return e;
}

/* --- blocks -------------------------------------------------------------------------------------- */

struct candidate {
    const struct part_snapshot *part;
    const struct block_meta *meta;
    struct tsdb_visit_bounds b;
};

static int newest_max(const void *x, const void *y)
{
    const struct candidate *a = x, *b = y;
    return (a->b.start_max_ns < b->b.start_max_ns) - (a->b.start_max_ns > b->b.start_max_ns);
}

static int oldest_min(const void *x, const void *y)
{
    const struct candidate *a = x, *b = y;
    return (a->b.start_min_ns > b->b.start_min_ns) - (a->b.start_min_ns < b->b.start_min_ns);
}

static int longest_root(const void *x, const void *y)
{
    const struct candidate *a = x, *b = y;
    return (a->b.root_duration_max_ns < b->b.root_duration_max_ns) -
           (a->b.root_duration_max_ns > b->b.root_duration_max_ns);
}

static bool where_may_match(const struct view_search *s, const struct zone *z,
                            const struct tsdb_where *w)
{
    uint32_t level = s->k->is_spans ? (uint32_t)TSDB_SPAN_status : (uint32_t)TSDB_LOG_severity;
    uint32_t name = s->k->is_spans ? (uint32_t)TSDB_SPAN_name : (uint32_t)TSDB_LOG_event_name;
    if (w->column == level)
        return w->number <= z->level_max &&
               (w->op == TSDB_WHERE_AT_LEAST || w->number >= z->level_min);
    if (w->column == name && z->names_known && w->op == TSDB_WHERE_BEGINS) {
        for (uint32_t i = 0; i < z->name_count; i++)
            if ((!s->service.size || bytes_equal(z->services[z->names[i].service], s->service)) &&
                bytes_has_prefix(z->names[i].name, w->text))
                return true;
        return false;
    }
    if (w->op == TSDB_WHERE_IS &&
        (s->k->is_spans ? zone_filters_span_column(w->column) : zone_filters_log_column(w->column)))
        return zone_may_have_column(z->filter, w->column, w->text);
    return true;
}

static bool block_may_match(const struct view_search *s, const struct zone *z)
{
    const struct tsdb_row_filter *f = s->more;
    if (z->start_min > s->max || z->start_max < s->min ||
        (has_durations(s) && s->duration_min && z->duration_max < s->duration_min) ||
        (has_durations(s) && s->duration_max && z->duration_min > s->duration_max) ||
        (s->severity_min && z->level_max < s->severity_min) || !zone_has(z, s->service, s->name))
        return false;
    for (uint32_t i = 0; f && i < f->where_count; i++)
        if (!where_may_match(s, z, &f->where[i]))
            return false;
    return true;
}

static bool text_may_match(const struct view_search *s, const struct view_block *b)
{
    const struct tsdb_row_filter *f = s->more;
    const struct part_snapshot *p;
    if (!f || !f->attr_count)
        return true;
    const struct block_meta *m = view_block_text(s->v, b, &p);
    for (uint32_t i = 0; m && i < f->attr_count; i++)
        if (!zone_may_have_attr(m->summary, f->attrs[i].key, f->attrs[i].value))
            return false;
    return m != NULL;
}

struct list {
    struct candidate *c;
    size_t n, cap;
    struct arena *a, *scratch; /* scratch: zones */
};

static enum err add_block(struct view_search *s, struct list *l, const struct part_snapshot *p,
                          const struct block_meta *m)
{
    struct zone z;
    struct view_block b = view_block_of(s->k, p, m);
    struct tsdb_visit_bounds bounds = {INT64_MIN, INT64_MAX, INT64_MAX, INT64_MAX};
    arena_reset(l->scratch);
    enum err e = zone_read(m->summary, l->scratch, &z);
    if (e == ERR_LIMIT)
        return e;
    if (e == ERR_CORRUPT) {
        view_count_corrupt();
    } else {
        e = ERR_OK;
        if (!block_may_match(s, &z) || !text_may_match(s, &b) ||
            (s->zone && !view_erase_rows_active(s->v) && s->zone(s->ctx, &z, &e)))
            return e;
        bounds = (struct tsdb_visit_bounds){z.start_min, z.start_max, z.duration_max,
                                            z.root_duration_max};
    }
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 64;
        if (!(l->c = arena_grow(l->a, l->c, sizeof(*l->c), l->cap, cap)))
            return ERR_LIMIT;
        l->cap = cap;
    }
    l->c[l->n++] = (struct candidate){p, m, bounds};
    return ERR_OK;
}

static enum err candidates(struct view_search *s, struct list *l)
{
    enum err e = ERR_OK;
    view_touch(s->v, s->min / 1000000, s->k->is_spans ? INT64_MAX : s->max / 1000000);
    for (size_t i = 0; i < s->v->pin.part_count && e == ERR_OK; i++) {
        const struct part_snapshot *p = s->v->pin.parts[i];
        size_t count;
        /* spans lie in the part of their end's day, never before their start's */
        if (part_snapshot_class(p) != PART_ROWS ||
            part_snapshot_day(p) < head_day_of_ms(s->min / 1000000) ||
            (!s->k->is_spans && part_snapshot_day(p) > head_day_of_ms(s->max / 1000000)))
            continue;
        const struct block_meta *m = view_blocks(s->v, p, s->k->rows, VIEW_ANY_GENERATION, &count);
        for (size_t k = 0; k < count && e == ERR_OK; k++)
            e = add_block(s, l, p, &m[k]);
    }
    if (l->n)
        qsort(l->c, l->n, sizeof(*l->c),
              s->order == TSDB_VISIT_NEWEST         ? newest_max
              : s->order == TSDB_VISIT_LONGEST_ROOT ? longest_root
                                                    : oldest_min);
    return e;
}

static enum err visit_block(struct view_search *s, const struct candidate *c, struct arena *scratch,
                            bool *stop)
{
    struct view_block b = view_block_of(s->k, c->part, c->meta);
    arena_reset(scratch);
    struct view_run run = {.v = s->v,
                           .k = s->k,
                           .block = &b,
                           .t = &b.t,
                           .rows = ARENA_ARRAY(scratch, uint32_t, c->meta->rows),
                           .count = (uint32_t)c->meta->rows,
                           .scratch = scratch,
                           .generation = c->meta->key.generation};
    enum err e = view_check(s->v);
    if (e == ERR_OK && (c->meta->rows > COLUMNS_ROWS_MAX || !run.rows))
        e = ERR_LIMIT;
    for (uint32_t i = 0; e == ERR_OK && i < run.count; i++)
        run.rows[i] = i;
    s->rows_read += c->meta->rows;
    if (e == ERR_OK)
        e = view_block_load(s->v, &b, 0, scratch); /* is it whole? */
    if (e == ERR_OK)
        e = sieve(s, &run, c->b.start_min_ns >= s->min && c->b.start_max_ns <= s->max);
    if (e == ERR_OK && run.count)
        e = s->run(s->ctx, &run, stop);
    return e == ERR_CORRUPT ? ERR_OK : e;
}

enum err view_search_run(struct view_search *s)
{
    struct arena *scratch = arena_new(0);
    struct list l = {.a = arena_new(0), .scratch = scratch};
    bool stop = false;
    enum err e = l.a && scratch ? visit_heads(s, scratch, &stop) : ERR_NOMEM;
    if (e == ERR_OK && !stop && !s->since_seq)
        e = candidates(s, &l);
    for (size_t i = 0; i < l.n && e == ERR_OK && !stop; i++) {
        if (s->wants && !s->wants(s->ctx, &l.c[i].b))
            continue;
        e = visit_block(s, &l.c[i], scratch, &stop);
    }
    arena_free(l.a);
    arena_free(scratch);
    return e;
}

/* --- visits -------------------------------------------------------------------------------------- */

struct visit {
    struct view_search search;
    struct tsdb_visit *q;
};

/* The callbacks may have narrowed the bounds. */
static void take_bounds(struct visit *w)
{
    w->search.min = w->q->start_min_ns;
    w->search.max = w->q->start_max_ns;
    w->search.duration_min = w->q->duration_min_ns;
    w->search.duration_max = w->q->duration_max_ns;
}

static enum err visit_run(void *ctx, struct view_run *run, bool *stop)
{
    struct visit *w = ctx;
    struct tsdb_visit *q = w->q;
    enum err e = view_run_load(run, q->columns);
    if (e != ERR_OK)
        return e;
    if (run->k->is_spans)
        *stop = !q->spans(q->ctx, &run->t->spans, run->rows, run->count);
    else
        *stop = !q->logs(q->ctx, &run->t->logs, run->rows, run->count);
    take_bounds(w);
    return ERR_OK;
}

static bool visit_wants(void *ctx, const struct tsdb_visit_bounds *b)
{
    const struct tsdb_visit *q = ((struct visit *)ctx)->q;
    return q->wants(q->ctx, b);
}

static enum err visit(struct tsdb_view *v, struct tsdb_visit *q, const struct view_row_kind *k)
{
    struct visit w = {.search = {.k = k,
                                 .v = v,
                                 .service = q->service,
                                 .name = q->name,
                                 .severity_min = q->severity_min,
                                 .more = q->more,
                                 .since_seq = q->since_seq,
                                 .order = q->order,
                                 .wants = q->wants ? visit_wants : NULL,
                                 .run = visit_run},
                      .q = q};
    w.search.ctx = &w;
    take_bounds(&w);
    enum err e = view_search_run(&w.search);
    q->rows_read = w.search.rows_read;
    return e;
}

enum err tsdb_spans_visit(struct tsdb_view *v, struct tsdb_visit *q)
{
    return visit(v, q, &view_rows_spans);
}

enum err tsdb_logs_visit(struct tsdb_view *v, struct tsdb_visit *q)
{
    return visit(v, q, &view_rows_logs);
}
