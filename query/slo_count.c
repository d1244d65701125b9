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

/* --- slices -------------------------------------------------------------------------------------- */

static bool is_too_many(double part, double whole, double most)
{
    return part > most * whole && query_slo_lower_bound((int64_t)part, (int64_t)whole) > most;
}

/* Safety blocks: more than chance explains, or none where some had to be. */
static bool is_bad_share(const struct query_slo *s, int64_t part, int64_t whole)
{
    double n = (double)whole, blocks = part > whole ? n : (double)part;
    return is_too_many(blocks, n, s->limit / 1000) ||
           (part <= 0 && s->expected / 1000 * n >= SLO_NONE_EXPECTED);
}

/* One slice of an indicator with a law of its own. Cost: bad above the limit whatever is unpriced in it; else incomplete when too much is. */
static void judge_own(const struct query_slo *s, const int64_t *sum, struct query_slo_counts *out)
{
    int64_t part = sum[SLO_SLOT_PART], whole = sum[SLO_SLOT_WHOLE];
    bool is_bad = false;
    if (whole <= 0)
        return;
    switch (s->indicator) {
    case QUERY_SLO_COST:
        is_bad = (double)part * 1000.0 > (double)s->cost_limit_nanousd * (double)whole;
        if (!is_bad && (double)sum[SLO_SLOT_UNPRICED] > SLO_UNPRICED_SHARE * (double)whole) {
            out->missing++;
            return;
        }
        break;
    case QUERY_SLO_TOKENS: is_bad = (double)part > s->limit * (double)whole; break;
    case QUERY_SLO_SAFETY: is_bad = is_bad_share(s, part, whole); break;
    default: is_bad = (double)part < s->limit * (double)whole;
    }
    out->bad += is_bad;
    out->good += !is_bad;
}

/* One slice of events. Too few of them measured: nothing is known of it. */
static void judge_events(const struct query_slo *s, const int64_t *sum,
                         struct query_slo_counts *out)
{
    int64_t good = MAX(sum[SLO_SLOT_GOOD], 0), n = good + MAX(sum[SLO_SLOT_BAD], 0);
    int64_t unit = s->method == QUERY_SLO_RATIO_TIMESLICES ? QUERY_SLO_SLICE_UNIT : 1;
    if (n + sum[SLO_SLOT_MISSING] <= 0)
        return;
    if ((double)sum[SLO_SLOT_MISSING] > SLO_MISSING_SHARE * (double)(n + sum[SLO_SLOT_MISSING])) {
        out->missing += unit;
        return;
    }
    double ratio = (double)good / (double)n;
    int64_t part = unit == 1 ? ratio >= s->slice_target - 1e-12 : llround(ratio * (double)unit);
    out->good += part;
    out->bad += unit - part;
}

/* A slice is booked in its last minute; where none ends nothing is read. scratch has room for SLO_SLOT_COUNT + 1 rows of n minutes. */
static enum err slices_chunk(const struct query_slo_source *src, const struct query_slo *s,
                             uint32_t from, uint32_t to, struct query_slo_counts *out,
                             int64_t *scratch)
{
    const uint32_t w = s->slice_minutes, begin = from / w * w, end = to / w * w;
    const size_t n = end - begin;
    int64_t *slots = scratch + n;
    if (end <= from)
        return ERR_OK;
    memset(slots, 0, SLO_SLOT_COUNT * n * sizeof(*slots));
    for (uint32_t k = 0; k < s->terms->count; k++) {
        const struct slo_term *t = &s->terms->terms[k];
        enum err e = term_minutes(src, s, t, begin, end, scratch);
        if (e != ERR_OK)
            return e;
        for (size_t i = 0; i < n; i++) {
            slots[t->slot * n + i] += t->sign * scratch[i];
            if (t->has_minus)
                slots[t->minus * n + i] -= t->sign * scratch[i];
        }
    }
    for (uint32_t first = begin; first < end; first += w) {
        int64_t sum[SLO_SLOT_COUNT] = {0};
        for (size_t k = 0; k < SLO_SLOT_COUNT; k++)
            for (uint32_t i = 0; i < w; i++)
                sum[k] += slots[k * n + (first - begin) + i];
        struct query_slo_counts *at = &out[first + w - 1 - from];
        if (query_slo_indicator_is_sliced(s->indicator))
            judge_own(s, sum, at);
        else
            judge_events(s, sum, at);
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
            size_t minutes = (size_t)(end - at) + s->slice_minutes;
            scratch =
                malloc((s->slice_minutes ? SLO_SLOT_COUNT + 1 : 1) * minutes * sizeof(*scratch));
            if (!scratch)
                return ERR_NOMEM;
        }
        e = (s->slice_minutes ? slices_chunk : events_chunk)(src, s, at, end, out + (at - from),
                                                             scratch);
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
    if (s->slice_minutes || (s->terms->with_samples && src->increases))
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
