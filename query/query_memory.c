#include "query/query_memory.h"

#include "base/check.h"

#include <stdlib.h>

struct memory_row {
    struct tsdb_labels labels;
    size_t count, cap;
    int64_t *t_ms;
    double *value;
    const struct tsdb_hist **hist; /* NULL: floats only; NULL entries are floats */
};

struct query_memory {
    struct arena *arena; /* of labels */
    struct memory_row *rows;
    uint32_t *slots; /* of row + 1, open addressing; 0 = free */
    size_t count, cap, slot_count, samples;
};

struct query_memory *query_memory_new(void)
{
    struct query_memory *m = calloc(1, sizeof(*m));
    if (m)
        m->arena = arena_new(0);
    if (m && !m->arena) {
        free(m);
        return NULL;
    }
    return m;
}

void query_memory_free(struct query_memory *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->count; i++) {
        free(m->rows[i].t_ms);
        free(m->rows[i].value);
        free(m->rows[i].hist);
    }
    free(m->rows);
    free(m->slots);
    arena_free(m->arena);
    free(m);
}

static uint32_t *slot_of(struct query_memory *m, struct tsdb_labels labels)
{
    size_t at = hash64(labels.enc, 0) & (m->slot_count - 1);
    while (m->slots[at] && !tsdb_labels_equal(m->rows[m->slots[at] - 1].labels, labels))
        at = (at + 1) & (m->slot_count - 1);
    return &m->slots[at];
}

static bool grow_rows(struct query_memory *m)
{
    if (m->count < m->cap)
        return true;
    size_t cap = m->cap ? m->cap * 2 : 64;
    struct memory_row *rows = realloc(m->rows, cap * sizeof(*rows));
    if (!rows)
        return false;
    m->rows = rows;
    m->cap = cap;
    uint32_t *slots = calloc(cap * 2, sizeof(*slots));
    if (!slots)
        return false;
    free(m->slots);
    m->slots = slots;
    m->slot_count = cap * 2;
    for (size_t i = 0; i < m->count; i++)
        *slot_of(m, m->rows[i].labels) = (uint32_t)i + 1;
    return true;
}

static struct memory_row *row_of(struct query_memory *m, struct tsdb_labels labels)
{
    uint32_t *slot = m->slot_count ? slot_of(m, labels) : NULL;
    if (slot && *slot)
        return &m->rows[*slot - 1];
    if (!grow_rows(m))
        return NULL;
    struct bytes enc = arena_copy(m->arena, labels.enc);
    if (labels.enc.size && !enc.data)
        return NULL;
    m->rows[m->count] = (struct memory_row){.labels = {enc}};
    *slot_of(m, labels) = (uint32_t)m->count + 1; /* found free: the row is not counted yet */
    return &m->rows[m->count++];
}

static bool grow_samples(struct memory_row *r)
{
    if (r->count < r->cap)
        return true;
    size_t cap = r->cap ? r->cap * 2 : 16;
    int64_t *t = realloc(r->t_ms, cap * sizeof(*t));
    if (t)
        r->t_ms = t;
    double *v = t ? realloc(r->value, cap * sizeof(*v)) : NULL;
    if (v)
        r->value = v;
    if (v && r->hist) {
        const struct tsdb_hist **h = realloc(r->hist, cap * sizeof(*h));
        if (!h)
            return false;
        r->hist = h;
    }
    r->cap = v ? cap : r->cap;
    return v != NULL;
}

static bool has_hists(struct memory_row *r)
{
    if (!r->hist)
        r->hist = calloc(r->cap, sizeof(*r->hist));
    return r->hist != NULL;
}

static enum err add(struct query_memory *m, struct tsdb_labels labels, int64_t t_ms, double value,
                    const struct tsdb_hist *hist)
{
    if (m->samples == QUERY_MEMORY_SAMPLES_MAX)
        return ERR_LIMIT;
    struct memory_row *r = row_of(m, labels);
    if (!r || !grow_samples(r) || (hist && !has_hists(r)))
        return ERR_NOMEM;
    size_t at = r->count;
    while (at && r->t_ms[at - 1] >= t_ms)
        at--;
    bool is_there = at < r->count && r->t_ms[at] == t_ms;
    if (!is_there) {
        memmove(r->t_ms + at + 1, r->t_ms + at, (r->count - at) * sizeof(*r->t_ms));
        memmove(r->value + at + 1, r->value + at, (r->count - at) * sizeof(*r->value));
        if (r->hist)
            memmove(r->hist + at + 1, r->hist + at, (r->count - at) * sizeof(*r->hist));
        r->count++;
        m->samples++;
    }
    r->t_ms[at] = t_ms;
    r->value[at] = value;
    if (r->hist)
        r->hist[at] = hist;
    return ERR_OK;
}

enum err query_memory_add(struct query_memory *m, struct tsdb_labels labels, int64_t t_ms,
                          double value)
{
    return add(m, labels, t_ms, value, NULL);
}

enum err query_memory_add_hist(struct query_memory *m, struct tsdb_labels labels, int64_t t_ms,
                               const struct query_hist *h)
{
    struct tsdb_hist *kept = arena_alloc(m->arena, sizeof(*kept));
    if (!kept || !query_hist_store(h, m->arena, kept))
        return ERR_NOMEM;
    return add(m, labels, t_ms, 0, kept);
}

static bool matches(const struct tsdb_matcher *m, struct tsdb_labels l)
{
    struct bytes v = tsdb_labels_get(l, m->name);
    switch (m->op) {
    case TSDB_MATCH_EQ: return bytes_equal(v, m->value);
    case TSDB_MATCH_NE: return !bytes_equal(v, m->value);
    default: return m->match(m->ctx, v) == (m->op == TSDB_MATCH_RE);
    }
}

static int by_labels(const void *x, const void *y)
{
    return tsdb_labels_compare(((const struct tsdb_series *)x)->labels,
                               ((const struct tsdb_series *)y)->labels);
}

static enum err memory_select(void *ctx, const struct tsdb_matcher *m, size_t n, int64_t min_ms,
                              int64_t max_ms, struct arena *a, struct tsdb_series **out,
                              size_t *out_count)
{
    struct query_memory *s = ctx;
    struct tsdb_series *list = ARENA_ARRAY(a, struct tsdb_series, s->count + 1);
    size_t k = 0;
    if (!list)
        return ERR_LIMIT;
    for (size_t i = 0; i < s->count; i++) {
        bool ok = true;
        for (size_t j = 0; j < n && ok; j++)
            ok = matches(&m[j], s->rows[i].labels);
        if (ok)
            list[k++] = (struct tsdb_series){.labels = s->rows[i].labels, .handle = i};
    }
    qsort(list, k, sizeof(*list), by_labels);
    *out = list;
    *out_count = k;
    return ERR_OK;
}

static size_t first_at(const struct memory_row *r, int64_t t_ms)
{
    size_t lo = 0, hi = r->count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (r->t_ms[mid] < t_ms)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static enum err memory_points(void *ctx, const struct tsdb_series *s, int64_t min_ms,
                              int64_t max_ms, struct arena *a, struct tsdb_points *out)
{
    struct query_memory *m = ctx;
    const struct memory_row *r = &m->rows[s->handle];
    size_t lo = first_at(r, min_ms), hi = max_ms == INT64_MAX ? r->count : first_at(r, max_ms + 1);
    *out = (struct tsdb_points){.count = hi > lo ? hi - lo : 0,
                                .t_ms = r->t_ms + lo,
                                .value = r->value + lo,
                                .hist = r->hist ? r->hist + lo : NULL};
    return ERR_OK;
}

struct query_source query_memory_source(struct query_memory *m)
{
    return (struct query_source){.ctx = m, .select = memory_select, .points = memory_points};
}
