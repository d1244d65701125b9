/* Sums and means of many native histograms, each bucket with Kahan's compensation. */
#include "query/query_hist.h"

#include "base/check.h"
#include <math.h>

static void kahan(double x, double *sum, double *carry)
{
    double t = *sum + x;
    if (isinf(t))
        *carry = 0;
    else
        *carry += fabs(*sum) >= fabs(x) ? (*sum - t) + x : (x - t) + *sum;
    *sum = t;
}

/* The two lists of buckets added; carry runs along x (NULL: zero) and comes back along the result. */
static uint32_t merge(const struct query_hist_bucket *x, uint32_t xn,
                      const struct query_hist_bucket *carry, const struct query_hist_bucket *y,
                      uint32_t yn, struct query_hist_bucket *out,
                      struct query_hist_bucket *out_carry)
{
    uint32_t i = 0, k = 0, n = 0;
    while (i < xn || k < yn) {
        bool from_x = k == yn || (i < xn && x[i].index <= y[k].index);
        bool from_y = i == xn || (k < yn && y[k].index <= x[i].index);
        int32_t index = from_x ? x[i].index : y[k].index;
        double sum = from_x ? x[i].count : 0, rest = from_x && carry ? carry[i].count : 0;
        if (from_y)
            kahan(y[k].count, &sum, &rest);
        out[n] = (struct query_hist_bucket){index, sum};
        out_carry[n++] = (struct query_hist_bucket){index, rest};
        i += from_x;
        k += from_y;
    }
    return n;
}

static bool same_layout(const struct query_hist *x, const struct query_hist *y)
{
    if (x->schema != y->schema || x->zero_threshold != y->zero_threshold ||
        x->custom_count != y->custom_count)
        return false;
    for (uint32_t i = 0; i < x->custom_count; i++)
        if (x->custom[i] != y->custom[i])
            return false;
    return true;
}

static const struct query_hist *folded(const struct query_hist_sum *s, struct arena *a)
{
    if (!s->carry)
        return s->total;
    struct query_hist carry = *s->carry;
    carry.hint = s->total->hint;
    if (!isfinite(s->total->sum))
        carry.sum = 0;
    return query_hist_add(s->total, &carry, 1, a, NULL);
}

static bool add(struct query_hist_sum *s, const struct query_hist *h, struct arena *a,
                unsigned *out_flags)
{
    struct query_hist zero = *h;
    const struct query_hist *x;
    if (!same_layout(s->total, h)) {
        x = folded(s, a);
        x = x ? query_hist_add(x, h, 1, a, out_flags) : NULL;
        s->carry = NULL;
        s->total = x ? x : s->total;
        return x != NULL;
    }
    x = s->total;
    zero.count = zero.sum = zero.zero_count = 0;
    zero.pos_count = zero.neg_count = 0;
    const struct query_hist *hints =
        query_hist_add(x, &zero, 1, a, out_flags); /* merges the hints */
    size_t pos_n = (size_t)x->pos_count + h->pos_count + 1,
           neg_n = (size_t)x->neg_count + h->neg_count + 1;
    struct query_hist_bucket *pos = ARENA_ARRAY(a, struct query_hist_bucket, pos_n);
    struct query_hist_bucket *pos_c = ARENA_ARRAY(a, struct query_hist_bucket, pos_n);
    struct query_hist_bucket *neg = ARENA_ARRAY(a, struct query_hist_bucket, neg_n);
    struct query_hist_bucket *neg_c = ARENA_ARRAY(a, struct query_hist_bucket, neg_n);
    struct query_hist *total = arena_alloc(a, sizeof *total),
                      *carry = arena_alloc(a, sizeof *carry);
    if (!hints || !pos || !pos_c || !neg || !neg_c || !total || !carry)
        return false;
    *total = *hints;
    *carry = s->carry ? *s->carry : (struct query_hist){.schema = x->schema};
    kahan(h->count, &total->count, &carry->count);
    kahan(h->sum, &total->sum, &carry->sum);
    kahan(h->zero_count, &total->zero_count, &carry->zero_count);
    total->pos_count = merge(x->pos, x->pos_count, s->carry ? s->carry->pos : NULL, h->pos,
                             h->pos_count, pos, pos_c);
    total->neg_count = merge(x->neg, x->neg_count, s->carry ? s->carry->neg : NULL, h->neg,
                             h->neg_count, neg, neg_c);
    total->pos = pos;
    total->neg = neg;
    carry->zero_threshold = total->zero_threshold;
    carry->custom = total->custom;
    carry->custom_count = total->custom_count;
    carry->pos = pos_c;
    carry->neg = neg_c;
    carry->pos_count = total->pos_count;
    carry->neg_count = total->neg_count;
    s->total = total;
    s->carry = carry;
    return true;
}

static bool overflowed(const struct query_hist *h)
{
    bool yes = isinf(h->count) || isinf(h->sum) || isinf(h->zero_count);
    for (uint32_t i = 0; i < h->pos_count && !yes; i++)
        yes = isinf(h->pos[i].count);
    for (uint32_t i = 0; i < h->neg_count && !yes; i++)
        yes = isinf(h->neg[i].count);
    return yes;
}

static bool scale(struct query_hist_sum *s, double factor, bool divide, struct arena *a)
{
    uint8_t hint = s->total->hint;
    s->total =
        divide ? query_hist_divide(s->total, factor, a) : query_hist_scale(s->total, factor, a);
    if (s->carry)
        s->carry =
            divide ? query_hist_divide(s->carry, factor, a) : query_hist_scale(s->carry, factor, a);
    if (s->total)
        s->total = query_hist_with_hint(s->total, hint, a);
    return s->total != NULL;
}

bool query_hist_sum_add(struct query_hist_sum *s, const struct query_hist *h, bool averaging,
                        struct arena *a, unsigned *out_flags)
{
    *out_flags = 0;
    s->n++;
    if (!s->total) {
        s->total = h;
        return true;
    }
    struct query_hist_sum before = *s;
    if (!s->is_mean) {
        if (!add(s, h, a, out_flags))
            return false;
        if (!averaging || !overflowed(s->total))
            return true;
        *s = before; /* the sum does not fit: a running mean does */
        s->is_mean = true;
        if (!scale(s, s->n - 1, true, a))
            return false;
    }
    const struct query_hist *part = query_hist_divide(h, s->n, a);
    return part && scale(s, (s->n - 1) / s->n, false, a) && add(s, part, a, out_flags);
}

const struct query_hist *query_hist_sum_result(const struct query_hist_sum *s, bool averaging,
                                               struct arena *a)
{
    const struct query_hist *h = s->total ? folded(s, a) : NULL;
    if (h && averaging && !s->is_mean)
        h = query_hist_divide(h, s->n, a);
    return h ? query_hist_compact(h, a) : NULL;
}
