/* Counting: what the terms of an objective add up to, minute by minute or over a range. */
#include "query/slo_terms.h"
#include "base/check.h"
#include <math.h>
#include <stdlib.h>

#define CHUNK_MINUTES 1440u

static int64_t *slot_of(struct query_slo_counts *c, enum slo_slot slot)
{
    switch (slot) {
    case SLO_SLOT_GOOD: return &c->good;
    case SLO_SLOT_BAD: return &c->bad;
    case SLO_SLOT_EXCLUDED: return &c->excluded;
    default: return &c->missing;
    }
}

static enum err term_minutes(const struct query_slo_source *src, const struct query_slo *s,
                             const struct slo_term *t, uint32_t from, uint32_t to, int64_t *out)
{
    memset(out, 0, (to - from) * sizeof(*out));
    enum err e = src->minutes(src->ctx, t->m, t->n, from, to, out);
    if (e == ERR_OK && s->terms->with_samples && src->increases)
        e = src->increases(src->ctx, t->m, t->n, from, to, out);
    return e;
}

/* One slice of cost: bad above the limit whatever is unpriced in it; else incomplete when too much is. */
static void judge_slice(const struct query_slo *s, int64_t cost, int64_t requests, int64_t unpriced,
                        struct query_slo_counts *out)
{
    if (requests <= 0)
        return;
    if ((double)cost * 1000.0 > (double)s->cost_limit_nanousd * (double)requests)
        out->bad++;
    else if ((double)unpriced > SLO_UNPRICED_SHARE * (double)requests)
        out->missing++;
    else
        out->good++;
}

/* A slice is booked in its last minute. */
static enum err slices_chunk(const struct query_slo_source *src, const struct query_slo *s,
                             uint32_t from, uint32_t to, struct query_slo_counts *out,
                             int64_t *scratch)
{
    const uint32_t w = s->slice_minutes;
    uint32_t begin = from < w ? 0 : from - (w - 1);
    size_t n = to - begin;
    CHECK(s->terms->count == 3);
    for (uint32_t k = 0; k < 3; k++) {
        CHECK(s->terms->terms[k].slot == (enum slo_slot)(SLO_SLOT_COST + (int)k));
        enum err e = term_minutes(src, s, &s->terms->terms[k], begin, to, scratch + k * n);
        if (e != ERR_OK)
            return e;
    }
    for (uint32_t m = from; m < to; m++) {
        if ((m + 1) % w != 0 || m + 1 < w)
            continue;
        int64_t sum[3] = {0, 0, 0};
        for (uint32_t i = m + 1 - w; i <= m; i++)
            for (size_t k = 0; k < 3; k++)
                sum[k] += scratch[k * n + (i - begin)];
        judge_slice(s, sum[0], sum[1], sum[2], &out[m - from]);
    }
    return ERR_OK;
}

static enum err events_chunk(const struct query_slo_source *src, const struct query_slo *s,
                             uint32_t from, uint32_t to, struct query_slo_counts *out,
                             int64_t *scratch)
{
    for (uint32_t k = 0; k < s->terms->count; k++) {
        const struct slo_term *t = &s->terms->terms[k];
        enum err e = term_minutes(src, s, t, from, to, scratch);
        if (e != ERR_OK)
            return e;
        for (uint32_t i = 0; i < to - from; i++) {
            *slot_of(&out[i], t->slot) += t->sign * scratch[i];
            if (t->has_minus)
                *slot_of(&out[i], t->minus) -= t->sign * scratch[i];
        }
    }
    return ERR_OK;
}

enum err query_slo_source_minutes(const struct query_slo_source *src, const struct query_slo *s,
                                  uint32_t from, uint32_t to, struct query_slo_counts *out)
{
    memset(out, 0, (to > from ? to - from : 0) * sizeof(*out));
    int64_t *scratch = NULL;
    enum err e = ERR_OK;
    for (uint32_t at = from; at < to && e == ERR_OK;) {
        uint32_t end = MIN(to, at + CHUNK_MINUTES);
        if (!scratch) {
            scratch = malloc(3 * ((size_t)(end - at) + s->slice_minutes) * sizeof(*scratch));
            if (!scratch)
                return ERR_NOMEM;
        }
        e = (s->indicator == QUERY_SLO_COST ? slices_chunk : events_chunk)(
            src, s, at, end, out + (at - from), scratch);
        at = end;
    }
    free(scratch);
    return e;
}

static void counts_add(struct query_slo_counts *c, const struct query_slo_counts *d)
{
    c->good += d->good;
    c->bad += d->bad;
    c->excluded += d->excluded;
    c->missing += d->missing;
}

/* Slices and samples have no hour and day totals: their minutes are added, a day at a time. */
static enum err sum_by_minutes(const struct query_slo_source *src, const struct query_slo *s,
                               uint32_t from, uint32_t to, struct query_slo_counts *out)
{
    struct query_slo_counts *day = malloc(CHUNK_MINUTES * sizeof(*day));
    if (!day)
        return ERR_NOMEM;
    struct query_slo_counts sum = {0};
    enum err e = ERR_OK;
    for (uint32_t at = from; at < to && e == ERR_OK;) {
        uint32_t end = MIN(to, at + CHUNK_MINUTES);
        e = query_slo_source_minutes(src, s, at, end, day);
        for (uint32_t i = 0; e == ERR_OK && i < end - at; i++)
            counts_add(&sum, &day[i]);
        at = end;
    }
    free(day);
    if (e == ERR_OK)
        *out = sum;
    return e;
}

enum err query_slo_source_sum(const struct query_slo_source *src, const struct query_slo *s,
                              uint32_t from, uint32_t to, struct query_slo_counts *out)
{
    if (s->indicator == QUERY_SLO_COST || (s->terms->with_samples && src->increases))
        return sum_by_minutes(src, s, from, to, out);
    struct query_slo_counts sum = {0};
    for (uint32_t k = 0; k < s->terms->count; k++) {
        const struct slo_term *t = &s->terms->terms[k];
        int64_t n = 0;
        enum err e = src->sum(src->ctx, t->m, t->n, from, to, &n);
        if (e != ERR_OK)
            return e;
        *slot_of(&sum, t->slot) += t->sign * n;
        if (t->has_minus)
            *slot_of(&sum, t->minus) -= t->sign * n;
    }
    *out = sum;
    return ERR_OK;
}

static int reason_order(const void *a, const void *b)
{
    const struct query_slo_reason *x = a, *y = b;
    if (x->count != y->count)
        return x->count < y->count ? 1 : -1;
    return bytes_compare(x->reason, y->reason);
}

enum err query_slo_source_excluded(const struct query_slo_source *src, const struct query_slo *s,
                                   uint32_t from, uint32_t to, struct arena *a,
                                   struct query_slo_reason **out, size_t *out_count)
{
    struct query_slo_reason *list = NULL;
    size_t n = 0;
    for (uint32_t k = 0; k < s->terms->count && s->terms->reason_label.size; k++) {
        const struct slo_term *t = &s->terms->terms[k];
        if (t->slot != SLO_SLOT_EXCLUDED)
            continue;
        struct tsdb_cells_group *g;
        size_t count;
        enum err e = src->by(src->ctx, t->m, t->n, s->terms->reason_label, from, to, a, &g, &count);
        if (e != ERR_OK)
            return e;
        list = arena_grow(a, list, sizeof(*list), n, n + count);
        if (!list && n + count)
            return ERR_LIMIT;
        for (size_t i = 0; i < count; i++)
            if (g[i].sum)
                list[n++] = (struct query_slo_reason){g[i].value, g[i].sum};
    }
    if (n)
        qsort(list, n, sizeof(*list), reason_order);
    *out = list;
    *out_count = n;
    return ERR_OK;
}

/* --- bounds from a histogram --------------------------------------------------------------------- */

/* Buckets of one side: adds to low what lies wholly at or below le, to high what may. */
static void add_buckets(const struct tsdb_hist *h, double le, struct query_slo_bounds *out)
{
    const double base = exp2(exp2(-h->schema)), slack = 1 + 1e-9;
    int32_t index = 0;
    uint32_t at = 0;
    for (uint32_t i = 0; i < h->pos_span_count; i++) {
        index += h->pos_spans[i].offset;
        for (uint32_t k = 0; k < h->pos_spans[i].length && at < h->pos_count; k++, index++) {
            double upper = pow(base, index), lower = upper / base;
            out->low += upper <= le * slack ? h->pos[at] : 0;
            out->high += lower * slack < le ? h->pos[at] : 0;
            at++;
        }
    }
}

enum err query_slo_source_bounds(const struct query_slo_source *src, const struct query_slo *s,
                                 uint32_t from, uint32_t to, struct arena *a,
                                 struct query_slo_bounds *out)
{
    struct tsdb_hist h = {0};
    *out = (struct query_slo_bounds){0};
    if (!src->hist || s->terms->hist.n == 0)
        return ERR_OK;
    enum err e = src->hist(src->ctx, s->terms->hist.m, s->terms->hist.n, from, to, a, &h);
    if (e != ERR_OK || h.schema == TSDB_HIST_CUSTOM_SCHEMA)
        return e;
    out->count = h.count;
    out->low = out->high = h.zero_count;
    add_buckets(&h, s->le_seconds, out);
    return ERR_OK;
}
