#include "tsdb/tsdb_cardinality.h"

#include <stdlib.h>

#include "base/check.h"

#define NONE UINT32_MAX

/* A label pair of all series (growing NONE), or of those of one growing metric. */
struct pair {
    struct bytes enc, name, value;
    uint32_t growing; /* NONE, or which */
    bool is_old; /* some series older than recent has it */
    uint32_t series;
};

struct table {
    struct arena *a;
    struct pair *pairs;
    uint32_t count, cap, *slots, slot_cap;
};

struct reading {
    struct table all, grown;
    const struct tsdb_registry_metric *growing; /* TSDB_CARDINALITY_GROWING at most */
    size_t growing_n;
    uint32_t before[TSDB_LABELS_MAX],
        before_n; /* pairs of the last series: neighbours share most of theirs */
    bool failed;
};

static bool table_room(struct table *t)
{
    if (t->count == t->cap) {
        uint32_t cap = t->cap ? t->cap * 2 : 1024;
        if (!(t->pairs = arena_grow(t->a, t->pairs, sizeof(*t->pairs), t->cap, cap)))
            return false;
        t->cap = cap;
    }
    if ((t->count + 1) * 2 > t->slot_cap) {
        uint32_t cap = t->slot_cap ? t->slot_cap * 2 : 4096;
        if (!(t->slots = ARENA_ARRAY(t->a, uint32_t, cap)))
            return false;
        t->slot_cap = cap;
        for (uint32_t i = 0; i < t->count; i++) {
            uint32_t j = (uint32_t)hash64(t->pairs[i].enc, t->pairs[i].growing) & (cap - 1);
            while (t->slots[j])
                j = (j + 1) & (cap - 1);
            t->slots[j] = i + 1;
        }
    }
    return true;
}

/* The pair's number, made when it is new; NONE without memory. growing is part of the key, and fixed when a pair of all is made. */
static uint32_t table_pair(struct table *t, struct bytes enc, const struct tsdb_label *l,
                           uint32_t growing)
{
    if (!table_room(t))
        return NONE;
    uint32_t j = (uint32_t)hash64(enc, growing) & (t->slot_cap - 1);
    for (; t->slots[j]; j = (j + 1) & (t->slot_cap - 1)) {
        const struct pair *p = &t->pairs[t->slots[j] - 1];
        if (p->growing == growing && bytes_equal(p->enc, enc))
            return t->slots[j] - 1;
    }
    struct pair *p = &t->pairs[t->count];
    *p = (struct pair){.enc = arena_copy(t->a, enc), .growing = growing};
    if (!p->enc.data)
        return NONE;
    p->name = bytes_of(p->enc.data + (l->name.data - enc.data), l->name.size);
    p->value = bytes_of(p->enc.data + (l->value.data - enc.data), l->value.size);
    t->slots[j] = ++t->count;
    return t->count - 1;
}

static uint32_t growing_of(const struct reading *x, struct tsdb_labels l)
{
    struct bytes name = tsdb_labels_get(l, BYTES_LIT("__name__"));
    for (size_t i = 0; i < x->growing_n; i++)
        if (bytes_equal(x->growing[i].name, name))
            return (uint32_t)i;
    return NONE;
}

static bool read_series(void *ctx, const struct tsdb_series_info *info, bool is_recent)
{
    struct reading *x = ctx;
    struct tsdb_labels_iter it = tsdb_labels_begin(info->labels);
    struct tsdb_label l;
    uint32_t growing = x->growing_n ? growing_of(x, info->labels) : NONE, n = 0;
    for (const uint8_t *at = it.at; tsdb_labels_next(&it, &l) && n < TSDB_LABELS_MAX; at = it.at) {
        struct bytes enc = bytes_of(at, (size_t)(it.at - at));
        uint32_t pair = n < x->before_n && bytes_equal(x->all.pairs[x->before[n]].enc, enc)
                            ? x->before[n]
                            : table_pair(&x->all, enc, &l, NONE);
        uint32_t grown = growing == NONE ? NONE : table_pair(&x->grown, enc, &l, growing);
        if (pair == NONE || (growing != NONE && grown == NONE)) {
            x->failed = true;
            return false;
        }
        x->all.pairs[pair].series++;
        if (growing != NONE) {
            x->grown.pairs[grown].series++;
            x->grown.pairs[grown].is_old |= !is_recent;
        }
        x->before[n++] = pair;
    }
    x->before_n = n;
    return true;
}

/* --- the lists ------------------------------------------------------------------------------------- */

/* Larger numbers first, then by name, so that an answer does not depend on the order of hashes. */
static int order(uint64_t x, uint64_t y, struct bytes x_name, struct bytes y_name)
{
    return x != y ? (x < y ? 1 : -1) : bytes_compare(x_name, y_name);
}

static int by_series(const void *x, const void *y)
{
    const struct tsdb_registry_metric *a = x, *b = y;
    return order(a->series, b->series, a->name, b->name);
}

static int by_recent(const void *x, const void *y)
{
    const struct tsdb_registry_metric *a = x, *b = y;
    return order(a->recent, b->recent, a->name, b->name);
}

static int by_values(const void *x, const void *y)
{
    const struct tsdb_label_use *a = x, *b = y;
    return order(a->values, b->values, a->name, b->name);
}

static int by_value_bytes(const void *x, const void *y)
{
    const struct tsdb_label_use *a = x, *b = y;
    return order(a->value_bytes, b->value_bytes, a->name, b->name);
}

static int by_pair_series(const void *x, const void *y)
{
    const struct pair *a = x, *b = y;
    return order(a->series, b->series, a->enc, b->enc);
}

static int by_growing_name(const void *x, const void *y)
{
    const struct pair *a = x, *b = y;
    if (a->growing != b->growing)
        return a->growing < b->growing ? -1 : 1;
    return bytes_compare(a->name, b->name);
}

static int by_recent_values(const void *x, const void *y)
{
    const struct tsdb_label_growth *a = x, *b = y;
    int c = order(a->recent_values, b->recent_values, a->metric, b->metric);
    return c ? c : bytes_compare(a->label, b->label);
}

#define SORT(list, n, by) \
    if (n)                \
    qsort(list, n, sizeof(*(list)), by)

/* Runs of equal (growing, name) in sorted pairs become one row each. */
static enum err list_labels(struct reading *x, struct arena *a, size_t top,
                            struct tsdb_cardinality *out)
{
    struct table *t = &x->all;
    SORT(t->pairs, t->count, by_growing_name);
    struct tsdb_label_use *l = ARENA_ARRAY(a, struct tsdb_label_use, t->count + 1), *b;
    size_t n = 0;
    for (uint32_t i = 0; l && i < t->count; i++) {
        if (n == 0 || !bytes_equal(l[n - 1].name, t->pairs[i].name))
            l[n++] = (struct tsdb_label_use){.name = t->pairs[i].name};
        l[n - 1].values++;
        l[n - 1].value_bytes += t->pairs[i].value.size;
    }
    if (!l || !(b = ARENA_ARRAY(a, struct tsdb_label_use, n + 1)))
        return ERR_LIMIT;
    memcpy(b, l, n * sizeof(*b));
    SORT(l, n, by_values);
    SORT(b, n, by_value_bytes);
    out->label_count = n;
    out->labels = l;
    out->labels_by_bytes = b;
    out->labels_n = out->labels_by_bytes_n = MIN(n, top);
    return ERR_OK;
}

static enum err list_pairs(struct reading *x, struct arena *a, size_t top,
                           struct tsdb_cardinality *out)
{
    struct table *t = &x->all;
    out->pairs = t->count;
    out->top_pairs_n = MIN(t->count, top);
    out->top_pairs = ARENA_ARRAY(a, struct tsdb_pair_use, out->top_pairs_n + 1);
    if (!out->top_pairs)
        return ERR_LIMIT;
    SORT(t->pairs, t->count, by_pair_series);
    for (size_t i = 0; i < out->top_pairs_n; i++)
        out->top_pairs[i] =
            (struct tsdb_pair_use){t->pairs[i].name, t->pairs[i].value, t->pairs[i].series};
    return ERR_OK;
}

static enum err list_growth(struct reading *x, struct arena *a, size_t top,
                            struct tsdb_cardinality *out)
{
    struct table *t = &x->grown;
    struct tsdb_label_growth *g = ARENA_ARRAY(a, struct tsdb_label_growth, t->count + 1);
    size_t n = 0;
    if (!g)
        return ERR_LIMIT;
    SORT(t->pairs, t->count, by_growing_name);
    for (uint32_t i = 0, before = NONE; i < t->count; i++) {
        const struct pair *p = &t->pairs[i];
        if (bytes_equal_str(p->name, "__name__"))
            continue;
        if (before == NONE || by_growing_name(&t->pairs[before], p) != 0) {
            const struct tsdb_registry_metric *m = &x->growing[p->growing];
            g[n++] = (struct tsdb_label_growth){.metric = m->name,
                                                .label = p->name,
                                                .series = m->series,
                                                .recent_series = m->recent};
        }
        before = i;
        g[n - 1].values++;
        g[n - 1].recent_values += !p->is_old;
    }
    SORT(g, n, by_recent_values);
    out->growth = g;
    out->growth_n = MIN(n, top);
    return ERR_OK;
}

enum err tsdb_cardinality_read(struct tsdb_registry *r, uint32_t org, size_t top, struct arena *a,
                               struct tsdb_cardinality *out)
{
    struct tsdb_registry_metric *m, *growing;
    size_t n, all, orgs = tsdb_registry_orgs(r, NULL, 0) + 16;
    struct tsdb_registry_org *list = ARENA_ARRAY(a, struct tsdb_registry_org, orgs);
    *out = (struct tsdb_cardinality){.org = {.org = org}};
    enum err e = list ? tsdb_registry_metrics(r, org, a, &m, &n) : ERR_LIMIT;
    if (e != ERR_OK)
        return e;
    all = tsdb_registry_orgs(r, list, orgs);
    for (size_t i = 0; i < MIN(all, orgs); i++)
        if (list[i].org == org)
            out->org = list[i];
    if (!(growing = ARENA_ARRAY(a, struct tsdb_registry_metric, n + 1)))
        return ERR_LIMIT;
    memcpy(growing, m, n * sizeof(*m));
    SORT(growing, n, by_recent);
    SORT(m, n, by_series);
    out->metrics = m;
    out->metric_count = n;
    out->metrics_n = MIN(n, top);
    struct reading x = {.all.a = a, .grown.a = a, .growing = growing};
    while (x.growing_n < MIN(n, TSDB_CARDINALITY_GROWING) && growing[x.growing_n].recent)
        x.growing_n++;
    tsdb_registry_walk(r, org, read_series, &x);
    e = x.failed ? ERR_LIMIT : list_labels(&x, a, top, out);
    if (e == ERR_OK)
        e = list_pairs(&x, a, top, out);
    return e == ERR_OK ? list_growth(&x, a, top, out) : e;
}
