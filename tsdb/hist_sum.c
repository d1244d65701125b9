#include "tsdb/hist_sum.h"

#include "base/check.h"

void hist_sum_init(struct hist_sum *s, struct arena *a)
{
    *s = (struct hist_sum){.arena = a};
}

/* The lowest and one past the highest positive bucket. */
static bool range_of(const struct tsdb_hist *h, int64_t *lo, int64_t *hi)
{
    int64_t at = 0;
    *lo = INT64_MAX;
    *hi = INT64_MIN;
    for (uint32_t i = 0; i < h->pos_span_count; i++) {
        at += h->pos_spans[i].offset;
        if (h->pos_spans[i].length) {
            *lo = MIN(*lo, at);
            *hi = MAX(*hi, at + (int64_t)h->pos_spans[i].length);
        }
        at += h->pos_spans[i].length;
    }
    return *lo < *hi;
}

/* Makes the window cover [lo, hi). */
static bool cover(struct hist_sum *s, int64_t lo, int64_t hi, bool *out_fits)
{
    int64_t old_lo = s->width ? s->base : lo, old_hi = s->width ? s->base + (int64_t)s->width : hi;
    int64_t new_lo = MIN(old_lo, lo), new_hi = MAX(old_hi, hi);
    *out_fits = new_hi - new_lo <= HIST_SUM_WIDTH && new_lo > INT32_MIN && new_hi < INT32_MAX;
    if (!*out_fits || (s->width && new_lo == old_lo && new_hi == old_hi))
        return true;
    if (s->width) { /* with room at both ends, so that a stream of values does not grow it one by one */
        new_lo -= new_lo < old_lo ? 16 : 0;
        new_hi += new_hi > old_hi ? 16 : 0;
    }
    double *fresh = ARENA_ARRAY(s->arena, double, new_hi - new_lo);
    if (!fresh)
        return false;
    if (s->width)
        memcpy(fresh + (old_lo - new_lo), s->buckets, s->width * sizeof(double));
    s->buckets = fresh;
    s->base = (int32_t)new_lo;
    s->width = (uint32_t)(new_hi - new_lo);
    return true;
}

static enum err add_general(struct hist_sum *s, const struct tsdb_hist *h)
{
    if (!s->has_general) {
        enum err e = tsdb_hist_copy(h, s->arena, &s->general);
        s->has_general = e == ERR_OK;
        return e;
    }
    struct tsdb_hist sum;
    enum err e = tsdb_hist_add(&s->general, h, 1, s->arena, &sum);
    if (e == ERR_OK)
        s->general = sum;
    return e;
}

enum err hist_sum_add(struct hist_sum *s, const struct tsdb_hist *h)
{
    int64_t lo, hi, at = 0;
    bool fits = true;
    if (h->schema == TSDB_HIST_CUSTOM_SCHEMA || h->neg_count || h->hint == TSDB_HIST_GAUGE ||
        (s->has_dense && (h->schema != s->schema || h->zero_threshold != s->zero_threshold)))
        return add_general(s, h);
    bool any = range_of(h, &lo, &hi);
    if (any && !cover(s, lo, hi, &fits))
        return ERR_LIMIT;
    if (!fits)
        return add_general(s, h);
    if (!s->has_dense) {
        s->has_dense = true;
        s->schema = h->schema;
        s->hint = h->hint;
        s->zero_threshold = h->zero_threshold;
    }
    if (s->hint != h->hint)
        s->hint = TSDB_HIST_UNKNOWN_RESET;
    s->zero_count += h->zero_count;
    s->count += h->count;
    s->sum += h->sum;
    for (uint32_t i = 0, k = 0; i < h->pos_span_count; i++) {
        at += h->pos_spans[i].offset;
        for (uint32_t j = 0; j < h->pos_spans[i].length && k < h->pos_count; j++, k++, at++)
            s->buckets[at - s->base] += h->pos[k];
    }
    return ERR_OK;
}

enum err hist_sum_get(const struct hist_sum *s, struct tsdb_hist *out)
{
    if (!s->has_dense && s->has_general) {
        *out = s->general;
        return ERR_OK;
    }
    struct tsdb_hist h = {.schema = s->has_dense ? s->schema : 3,
                          .hint = s->hint,
                          .zero_threshold = s->has_dense ? s->zero_threshold : 0x1p-128,
                          .zero_count = s->zero_count,
                          .count = s->count,
                          .sum = s->sum};
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->width; i++)
        n += s->buckets[i] != 0;
    struct tsdb_hist_span *spans = ARENA_ARRAY(s->arena, struct tsdb_hist_span, n + 1);
    double *counts = ARENA_ARRAY(s->arena, double, n + 1);
    if (!spans || !counts)
        return ERR_LIMIT;
    int64_t next = 0;
    n = 0;
    for (uint32_t i = 0; i < s->width; i++) {
        int64_t index = s->base + (int64_t)i;
        if (s->buckets[i] == 0)
            continue;
        if (h.pos_span_count == 0 || index != next)
            spans[h.pos_span_count++] = (struct tsdb_hist_span){(int32_t)(index - next), 0};
        spans[h.pos_span_count - 1].length++;
        counts[n++] = s->buckets[i];
        next = index + 1;
    }
    h.pos_spans = spans;
    h.pos = counts;
    h.pos_count = n;
    if (!s->has_general) {
        *out = h;
        return ERR_OK;
    }
    return tsdb_hist_add(&h, &s->general, 1, s->arena, out);
}
