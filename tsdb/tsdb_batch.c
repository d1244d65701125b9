#include "tsdb/tsdb_batch.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/check.h"

#define ROWS_FIRST 64u

#define X(type, name, def, what) {#name, what, TSDB_##type, def, offsetof(struct tsdb_spans, name)},
static const struct tsdb_column span_columns[] = {TSDB_SPAN_COLUMNS(X)};
#undef X
#define X(type, name, def, what) {#name, what, TSDB_##type, def, offsetof(struct tsdb_logs, name)},
static const struct tsdb_column log_columns[] = {TSDB_LOG_COLUMNS(X)};
#undef X

const struct tsdb_schema tsdb_batch_span_schema = {"spans", span_columns, TSDB_SPAN_COLUMN_COUNT};
const struct tsdb_schema tsdb_batch_log_schema = {"logs", log_columns, TSDB_LOG_COLUMN_COUNT};

static const uint8_t column_sizes[] = {[TSDB_U8] = 1,
                                       [TSDB_U32] = 4,
                                       [TSDB_I64] = 8,
                                       [TSDB_F64] = 8,
                                       [TSDB_ID16] = 16,
                                       [TSDB_ID8] = 8,
                                       [TSDB_STR] = sizeof(struct bytes)};

struct tsdb_batch *tsdb_batch_new(uint32_t org, enum tsdb_signal signal, size_t bytes_max)
{
    struct arena *a = arena_new(bytes_max);
    struct tsdb_batch *b = a ? arena_alloc(a, sizeof(*b)) : NULL;
    if (!b) {
        arena_free(a);
        return NULL;
    }
    b->arena = a;
    b->org = org;
    b->signal = signal;
    return b;
}

void tsdb_batch_free(struct tsdb_batch *b)
{
    if (!b)
        return;
    tsdb_tokens_done(&b->tokens);
    arena_free(b->arena); /* b itself lives there */
}

uint64_t tsdb_batch_rejected(const struct tsdb_batch *b)
{
    uint64_t n = 0;
    for (size_t i = 0; i < TSDB_REJECT_COUNT; i++)
        n += b->rejected[i];
    return n;
}

void tsdb_batch_reject(struct tsdb_batch *b, enum tsdb_reject why, const char *fmt, ...)
{
    CHECK(why < TSDB_REJECT_COUNT);
    if (tsdb_batch_rejected(b) == 0) {
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(b->reject_msg.text, sizeof(b->reject_msg.text), fmt, ap);
        va_end(ap);
    }
    b->rejected[why]++;
}

static void fill_default(const struct tsdb_column *c, uint8_t *p, uint32_t from, uint32_t to)
{
    if (c->type == TSDB_I64 && c->def != 0)
        for (uint32_t i = from; i < to; i++)
            memcpy(p + (size_t)i * 8, &c->def, 8);
}

static void **column_at(void *table, const struct tsdb_column *c)
{
    return (void **)(void *)((uint8_t *)table + c->offset);
}

/* Grows every column that exists to `more` rows, so that invariant 1 (NULL or cap entries) holds all the time. */
static bool grow_columns(struct arena *a, const struct tsdb_schema *schema, void *table,
                         uint32_t more, uint32_t *cap)
{
    if (more <= *cap)
        return false;
    for (uint32_t i = 0; i < schema->column_count; i++) {
        const struct tsdb_column *c = &schema->columns[i];
        void **p = column_at(table, c);
        if (!*p)
            continue;
        void *fresh = arena_grow(a, *p, column_sizes[c->type], *cap, more);
        if (!fresh)
            return false;
        *p = fresh;
        fill_default(c, fresh, *cap, more);
    }
    *cap = more;
    return true;
}

static bool make_columns(struct arena *a, const struct tsdb_schema *schema, uint32_t first,
                         uint32_t last, void *table, uint32_t cap)
{
    for (uint32_t i = first; i <= last; i++) {
        const struct tsdb_column *c = &schema->columns[i];
        void **p = column_at(table, c);
        if (*p)
            continue;
        uint8_t *fresh = arena_alloc(a, (size_t)column_sizes[c->type] * cap);
        if (!fresh)
            return false;
        fill_default(c, fresh, 0, cap);
        *p = fresh;
    }
    return true;
}

uint32_t tsdb_batch_add_span(struct tsdb_batch *b)
{
    struct tsdb_spans *s = &b->spans;
    if (s->count == s->cap && !grow_columns(b->arena, &tsdb_batch_span_schema, s,
                                            s->cap ? s->cap * 2 : ROWS_FIRST, &s->cap))
        return TSDB_NO_ROW;
    if (!s->trace_id &&
        !make_columns(b->arena, &tsdb_batch_span_schema, 0, TSDB_SPAN_links, s, s->cap))
        return TSDB_NO_ROW;
    return s->count++;
}

bool tsdb_batch_expect_spans(struct tsdb_batch *b, uint32_t count)
{
    struct tsdb_spans *s = &b->spans;
    return count <= s->cap || grow_columns(b->arena, &tsdb_batch_span_schema, s, count, &s->cap);
}

void tsdb_batch_trim(struct tsdb_batch *b)
{
    arena_trim(b->arena);
}

uint32_t tsdb_batch_add_log(struct tsdb_batch *b)
{
    struct tsdb_logs *l = &b->logs;
    if (l->count == l->cap && !grow_columns(b->arena, &tsdb_batch_log_schema, l,
                                            l->cap ? l->cap * 2 : ROWS_FIRST, &l->cap))
        return TSDB_NO_ROW;
    if (!l->time_ns &&
        !make_columns(b->arena, &tsdb_batch_log_schema, 0, TSDB_LOG_attrs, l, l->cap))
        return TSDB_NO_ROW;
    return l->count++;
}

bool tsdb_batch_log_column(struct tsdb_batch *b, enum tsdb_log_column column)
{
    return make_columns(b->arena, &tsdb_batch_log_schema, column, column, &b->logs,
                        b->logs.cap ? b->logs.cap : 1);
}

bool tsdb_batch_span_column(struct tsdb_batch *b, enum tsdb_span_column column)
{
    return make_columns(b->arena, &tsdb_batch_span_schema, column, column, &b->spans,
                        b->spans.cap ? b->spans.cap : 1);
}

/* The small tables share one shape: parallel arrays that grow together. */
#define GROW(b, t, field) \
    ((t)->field = arena_grow((b)->arena, (t)->field, sizeof(*(t)->field), (t)->count, cap))

static bool grow_samples(struct tsdb_batch *b, uint32_t cap)
{
    struct tsdb_samples *s = &b->samples;
    if (cap <= s->cap || !GROW(b, s, series) || !GROW(b, s, t_ms) || !GROW(b, s, value) ||
        !GROW(b, s, start_ms))
        return false;
    s->cap = cap;
    return true;
}

bool tsdb_batch_expect_samples(struct tsdb_batch *b, uint32_t count)
{
    return count <= b->samples.cap || grow_samples(b, count);
}

bool tsdb_batch_add_sample(struct tsdb_batch *b, struct tsdb_ref series, int64_t t_ms, double value,
                           int64_t start_ms)
{
    struct tsdb_samples *s = &b->samples;
    if (s->count == s->cap && !grow_samples(b, s->cap ? s->cap * 2 : ROWS_FIRST))
        return false;
    s->series[s->count] = series;
    s->t_ms[s->count] = t_ms;
    s->value[s->count] = value;
    s->start_ms[s->count++] = start_ms;
    return true;
}

bool tsdb_batch_add_hist(struct tsdb_batch *b, struct tsdb_ref series, int64_t t_ms,
                         const struct tsdb_hist *h, int64_t start_ms)
{
    struct tsdb_hists *s = &b->hists;
    if (s->count == s->cap) {
        uint32_t cap = s->cap ? s->cap * 2 : ROWS_FIRST / 4;
        if (cap <= s->cap || !GROW(b, s, series) || !GROW(b, s, t_ms) || !GROW(b, s, value) ||
            !GROW(b, s, start_ms))
            return false;
        s->cap = cap;
    }
    s->series[s->count] = series;
    s->t_ms[s->count] = t_ms;
    s->value[s->count] = *h;
    s->start_ms[s->count++] = start_ms;
    return true;
}

bool tsdb_batch_add_exemplar(struct tsdb_batch *b, struct tsdb_ref series, int64_t t_ms,
                             double value, struct tsdb_labels labels)
{
    struct tsdb_exemplars *s = &b->exemplars;
    if (s->count == s->cap) {
        uint32_t cap = s->cap ? s->cap * 2 : ROWS_FIRST / 4;
        if (cap <= s->cap || !GROW(b, s, series) || !GROW(b, s, t_ms) || !GROW(b, s, value) ||
            !GROW(b, s, labels))
            return false;
        s->cap = cap;
    }
    s->series[s->count] = series;
    s->t_ms[s->count] = t_ms;
    s->value[s->count] = value;
    s->labels[s->count++] = labels;
    return true;
}

static bool grow_cells(struct tsdb_batch *b, uint32_t cap)
{
    struct tsdb_cells *s = &b->cells;
    if (cap <= s->cap || !GROW(b, s, series) || !GROW(b, s, minute) || !GROW(b, s, add) ||
        !GROW(b, s, hist) || !GROW(b, s, row))
        return false;
    s->cap = cap;
    return true;
}

bool tsdb_batch_expect_cells(struct tsdb_batch *b, uint32_t count)
{
    return count <= b->cells.cap || grow_cells(b, count);
}

static bool add_cell(struct tsdb_batch *b, struct tsdb_ref series, uint32_t minute, int64_t add,
                     const struct tsdb_hist *hist, uint32_t row)
{
    struct tsdb_cells *s = &b->cells;
    CHECK(row == TSDB_NO_ROW || row < b->spans.count || row < b->logs.count);
    if (s->count == s->cap && !grow_cells(b, s->cap ? s->cap * 2 : ROWS_FIRST))
        return false;
    s->series[s->count] = series;
    s->minute[s->count] = minute;
    s->add[s->count] = add;
    s->hist[s->count] = hist;
    s->row[s->count++] = row;
    return true;
}

bool tsdb_batch_add_cell(struct tsdb_batch *b, struct tsdb_ref series, uint32_t minute, int64_t add,
                         uint32_t row)
{
    return add_cell(b, series, minute, add, NULL, row);
}

bool tsdb_batch_add_hist_cell(struct tsdb_batch *b, struct tsdb_ref series, uint32_t minute,
                              const struct tsdb_hist *add, uint32_t row)
{
    return add_cell(b, series, minute, 0, add, row);
}

bool tsdb_batch_add_metadata(struct tsdb_batch *b, struct bytes family, struct bytes type,
                             struct bytes help, struct bytes unit)
{
    struct tsdb_metadata *s = &b->metadata;
    if (s->count == s->cap) {
        uint32_t cap = s->cap ? s->cap * 2 : ROWS_FIRST / 4;
        if (cap <= s->cap || !GROW(b, s, row))
            return false;
        s->cap = cap;
    }
    struct bytes texts[] = {family, type, help, unit};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (!(texts[i] = arena_copy(b->arena, texts[i])).data)
            return false;
    s->row[s->count++] = (struct tsdb_metadata_row){texts[0], texts[1], texts[2], texts[3]};
    return true;
}

bool tsdb_batch_add_book(struct tsdb_batch *b, const struct tsdb_book *book)
{
    struct tsdb_books *s = &b->books;
    if (s->count == s->cap) {
        uint32_t cap = s->cap ? s->cap * 2 : ROWS_FIRST / 4;
        if (cap <= s->cap || !GROW(b, s, book))
            return false;
        s->cap = cap;
    }
    struct tsdb_book own = *book;
    for (size_t i = 0; i < TSDB_BOOK_DIM_COUNT; i++) {
        own.value[i] = arena_copy(b->arena, book->value[i]);
        if (!own.value[i].data && own.value[i].size)
            return false;
    }
    s->book[s->count++] = own;
    return true;
}
