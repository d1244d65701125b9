/* Spans and logs by filter, the newest or oldest first. */
#include <stdlib.h>

#include "base/check.h"
#include "tsdb/view_visit.h"

struct scan {
    struct view_search search;
    bool newest_first;
    const struct tsdb_span_filter *spans;
    const struct tsdb_log_filter *logs;
    uint64_t keep_columns, columns;
    uint32_t limit; /* rows wanted */
    struct view_pool pool;
    struct found {
        int64_t at;
        uint32_t row; /* in the pool, which is the order of discovery too */
    } * found;
    uint32_t found_count, found_cap;
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

/* Once there are enough, what lies at or beyond the last of them can not be among the answer any more. */
static void keep_best(struct scan *s)
{
    if (s->found_count)
        qsort_r(s->found, s->found_count, sizeof(*s->found), by_order, s);
    if (s->found_count < s->limit)
        return;
    s->found_count = s->limit;
    int64_t bound = s->found[s->limit - 1].at;
    if (s->newest_first)
        s->search.min = bound == INT64_MAX ? bound : bound + 1;
    else
        s->search.max = bound == INT64_MIN ? bound : bound - 1;
}

static bool is_kept(const struct scan *s, const void *table, uint32_t row)
{
    if (s->spans)
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
        (struct found){view_table_order(s->search.k, table, row), view_table_count(&s->pool.t)};
    enum err e = view_pool_add(&s->pool, table, row);
    if (e == ERR_OK && s->found_count / 2 >= s->limit && s->found_count > 512)
        keep_best(s);
    return e;
}

static int newest_row(const void *x, const void *y, void *ctx)
{
    const int64_t *at = ctx;
    uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;
    if (at[a] != at[b])
        return at[a] > at[b] ? -1 : 1;
    return (a > b) - (a < b);
}

static int oldest_row(const void *x, const void *y, void *ctx)
{
    const int64_t *at = ctx;
    uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;
    if (at[a] != at[b])
        return at[a] < at[b] ? -1 : 1;
    return (a > b) - (a < b);
}

/* Rows of a run in the answer's order: of the best `limit` of them none follows that could be among the answer. */
static enum err scan_rows(void *ctx, struct view_run *run, bool *stop)
{
    struct scan *s = ctx;
    const int64_t *at;
    uint32_t kept = 0;
    uint64_t order =
        s->search.k->is_spans ? UINT64_C(1) << TSDB_SPAN_start_ns : UINT64_C(1) << TSDB_LOG_time_ns;
    enum err e = view_run_load(run, order);
    (void)stop;
    if (e != ERR_OK)
        return e;
    memcpy(&at, (const uint8_t *)run->t + s->search.k->order_column, sizeof(at));
    if (s->found_count >= s->limit)
        keep_best(s);
    qsort_r(run->rows, run->count, sizeof(*run->rows), s->newest_first ? newest_row : oldest_row,
            (void *)(uintptr_t)at);
    if (s->spans ? s->spans->keep != NULL : s->logs->keep != NULL)
        e = view_run_load(run, s->keep_columns);
    for (uint32_t i = 0; i < run->count && kept < s->limit && e == ERR_OK; i++) {
        uint32_t row = run->rows[i];
        if (at[row] < s->search.min || at[row] > s->search.max)
            break; /* so are all that follow */
        if (is_kept(s, run->t, row))
            run->rows[kept++] = row;
    }
    if (e == ERR_OK && kept)
        e = view_run_load(run, s->columns);
    view_pool_next_table(&s->pool);
    for (uint32_t i = 0; i < kept && e == ERR_OK; i++)
        e = take_row(s, run->t, run->rows[i]);
    if (e == ERR_OK && s->found_count >= s->limit)
        keep_best(s);
    return e;
}

static bool scan_wants(void *ctx, const struct tsdb_visit_bounds *b)
{
    struct scan *s = ctx;
    return b->start_max_ns >= s->search.min && b->start_min_ns <= s->search.max;
}

static enum err scan_run(struct scan *s, struct arena *a, union view_table *out)
{
    uint64_t order =
        s->search.k->is_spans ? UINT64_C(1) << TSDB_SPAN_start_ns : UINT64_C(1) << TSDB_LOG_time_ns;
    uint64_t all = columns_all(s->search.k->schema);
    s->keep_columns = s->keep_columns ? s->keep_columns : all;
    s->columns = (s->columns ? s->columns : all) | order;
    s->search.order = s->newest_first ? TSDB_VISIT_NEWEST : TSDB_VISIT_OLDEST;
    s->search.wants = scan_wants;
    s->search.run = scan_rows;
    s->search.ctx = s;
    view_pool_init(&s->pool, s->search.k, s->columns, a);
    enum err e = s->limit ? view_search_run(&s->search) : ERR_OK;
    if (e == ERR_OK) {
        if (s->limit)
            keep_best(s);
        uint32_t *rows = ARENA_ARRAY(a, uint32_t, s->found_count + 1);
        for (uint32_t i = 0; rows && i < s->found_count; i++)
            rows[i] = s->found[i].row;
        e = rows ? view_pool_take(&s->pool, rows, s->found_count, out) : ERR_LIMIT;
    }
    free(s->found);
    return e;
}

enum err tsdb_span_scan(struct tsdb_view *v, const struct tsdb_span_filter *f, uint32_t max,
                        struct arena *a, struct tsdb_spans *out)
{
    union view_table t;
    struct scan s = {.search = {.v = v,
                                .k = &view_rows_spans,
                                .min = f->start_min_ns,
                                .max = f->start_max_ns,
                                .duration_min = f->duration_min_ns,
                                .duration_max = f->duration_max_ns,
                                .service = f->service,
                                .name = f->name,
                                .more = f->more},
                     .newest_first = f->newest_first != 0,
                     .spans = f,
                     .keep_columns = f->keep_columns,
                     .columns = f->columns,
                     .limit = max};
    enum err e = scan_run(&s, a, &t);
    if (e == ERR_OK)
        *out = t.spans;
    return e;
}

enum err tsdb_log_scan(struct tsdb_view *v, const struct tsdb_log_filter *f, uint32_t max,
                       struct arena *a, struct tsdb_logs *out)
{
    union view_table t;
    struct scan s = {.search = {.v = v,
                                .k = &view_rows_logs,
                                .min = f->min_ns,
                                .max = f->max_ns,
                                .service = f->service,
                                .severity_min = f->severity_min,
                                .more = f->more},
                     .newest_first = true,
                     .logs = f,
                     .keep_columns = f->keep_columns,
                     .columns = f->columns,
                     .limit = max};
    enum err e = scan_run(&s, a, &t);
    if (e == ERR_OK)
        *out = t.logs;
    return e;
}
