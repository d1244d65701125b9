/* What a native histogram says about its observations: quantiles, fractions, variance, and trimming. */
#include "query/query_hist.h"

#include "base/check.h"
#include <math.h>

static double bucket_total(const struct query_hist *h)
{
    double n = query_hist_is_custom(h) ? 0 : h->zero_count;
    for (uint32_t i = 0; i < h->pos_count; i++)
        n += h->pos[i].count;
    for (uint32_t i = 0; i < h->neg_count; i++)
        n += h->neg[i].count;
    return n;
}

/* Where inside of a bucket a share of its observations lies: linear in zero and custom buckets, else exponential. */
static double interpolate(const struct query_hist *h, const struct query_hist_range *b,
                          double share)
{
    if (query_hist_is_custom(h) || (b->lower <= 0 && b->upper >= 0))
        return b->lower + (b->upper - b->lower) * share;
    double low = log2(fabs(b->lower)), high = log2(fabs(b->upper));
    if (b->lower > 0)
        return exp2(low + (high - low) * share);
    return -exp2(high + (low - high) * (1 - share));
}

/* A zero bucket of a histogram that has observations on one side only lies on that side. */
static void clip_zero_bucket(const struct query_hist *h, struct query_hist_range *b)
{
    if (query_hist_is_custom(h) || !(b->lower <= 0 && b->upper >= 0))
        return;
    if (h->neg_count == 0 && h->pos_count > 0)
        b->lower = 0;
    else if (h->pos_count == 0 && h->neg_count > 0)
        b->upper = 0;
}

double query_hist_quantile(double q, const struct query_hist *h, struct arena *scratch,
                           bool *out_nan)
{
    struct query_hist_range *r, b = {0};
    bool nan_sum = isnan(h->sum);
    if (out_nan)
        *out_nan = false;
    if (isnan(q) || h->count == 0)
        return NAN;
    if (q < 0)
        return -INFINITY;
    if (q > 1)
        return INFINITY;
    size_t n = query_hist_ranges(h, false, scratch, &r);
    bool forward = nan_sum || q < 0.5;
    double rank = (forward ? q : 1 - q) * h->count, count = 0;
    for (size_t i = 0; i < n; i++) {
        b = r[forward ? i : n - 1 - i];
        count += b.count;
        if (count >= rank)
            break;
    }
    if (out_nan)
        *out_nan = nan_sum && bucket_total(h) < h->count;
    if (n == 0 || (nan_sum && count < rank))
        return NAN;
    if (query_hist_is_custom(h)) {
        if (b.lower == -INFINITY) {
            if (b.upper <= 0)
                return b.upper;
            b.lower = 0;
        } else if (b.upper == INFINITY) {
            return b.lower;
        }
        if (b.upper == INFINITY) /* a single bucket without bounds */
            return b.lower;
    } else {
        clip_zero_bucket(h, &b);
    }
    if (count < rank) /* rounding */
        rank = count;
    rank = forward ? rank - (count - b.count) : count - rank;
    return interpolate(h, &b, rank / b.count);
}

static double rank_at(const struct query_hist *h, const struct query_hist_range *b, double rank,
                      double v)
{
    if (query_hist_is_custom(h) || (b->lower <= 0 && b->upper >= 0)) {
        if (b->lower == -INFINITY)
            return rank;
        return rank + b->count * ((v - b->lower) / (b->upper - b->lower));
    }
    double low = log2(fabs(b->lower)), high = log2(fabs(b->upper)), at = log2(fabs(v));
    double share = v > 0 ? (at - low) / (high - low) : 1 - (at - high) / (low - high);
    return rank + b->count * share;
}

double query_hist_fraction(double lower, double upper, const struct query_hist *h,
                           struct arena *scratch, bool *out_nan)
{
    struct query_hist_range *r;
    if (out_nan)
        *out_nan = isnan(h->sum) && bucket_total(h) < h->count;
    if (h->count == 0 || isnan(lower) || isnan(upper))
        return NAN;
    if (lower >= upper)
        return 0;
    double rank = 0, lower_rank = 0, upper_rank = 0;
    bool lower_set = false, upper_set = false;
    size_t n = query_hist_ranges(h, false, scratch, &r);
    for (size_t i = 0; i < n && !(lower_set && upper_set); i++) {
        struct query_hist_range b = r[i];
        clip_zero_bucket(h, &b);
        if (query_hist_is_custom(h) && b.lower == -INFINITY && b.upper > 0)
            b.lower = 0;
        if (!lower_set && b.lower >= lower) {
            lower_rank = rank;
            lower_set = true;
        }
        if (!upper_set && b.lower >= upper) {
            upper_rank = rank;
            upper_set = true;
        }
        if (!lower_set && b.lower < lower && b.upper > lower) {
            lower_rank = b.lower == -INFINITY ? rank + b.count : rank_at(h, &b, rank, lower);
            lower_set = true;
        }
        if (!upper_set && b.lower < upper && b.upper > upper) {
            upper_rank = rank_at(h, &b, rank, upper);
            upper_set = true;
        }
        rank += b.count;
    }
    double total = isnan(h->sum) ? bucket_total(h) : h->count;
    if (!lower_set || lower_rank > total)
        lower_rank = total;
    if (!upper_set || upper_rank > total)
        upper_rank = total;
    return fmax(0, upper_rank - lower_rank) / h->count;
}

double query_hist_variance(const struct query_hist *h, struct arena *scratch)
{
    struct query_hist_range *r;
    size_t n = query_hist_ranges(h, false, scratch, &r);
    double mean = h->sum / h->count, sum = 0, carry = 0;
    for (size_t i = 0; i < n; i++) {
        double at;
        if (query_hist_is_custom(h))
            at = (r[i].upper + r[i].lower) / 2;
        else if (r[i].lower <= 0 && r[i].upper >= 0)
            at = 0;
        else
            at = r[i].upper < 0 ? -sqrt(r[i].upper * r[i].lower) : sqrt(r[i].upper * r[i].lower);
        double x = r[i].count * (at - mean) * (at - mean), t = sum + x;
        if (isfinite(t))
            carry += fabs(sum) >= fabs(x) ? (sum - t) + x : (x - t) + sum;
        sum = t;
    }
    return (sum + carry) / h->count;
}

/* --- trimming ---------------------------------------------------------------------------------- */

struct trim {
    const struct query_hist *h;
    double bound;
    bool upper; /* keep what is at most bound; else what is above */
    double count, sum;
    bool removed;
};

static double middle(const struct trim *t, bool linear, double lower, double upper)
{
    if (lower == -INFINITY)
        return upper;
    if (upper == INFINITY)
        return lower;
    if (linear)
        return (lower + upper) / 2;
    return upper < 0 || (upper == 0 && lower < 0) ? -sqrt(lower * upper) : sqrt(lower * upper);
}

/* What stays of a bucket; its observations are taken to lie in the middle of the part that stays. */
static double trim_bucket(struct trim *t, struct query_hist_range b, bool linear)
{
    bool custom = query_hist_is_custom(t->h);
    double kept = b.count, cut = t->bound;
    if (b.count == 0)
        return 0;
    if (custom && b.lower == -INFINITY && b.upper > 0 && b.upper < INFINITY &&
        (cut >= 0 || t->upper || cut == -INFINITY))
        b.lower = 0;
    if (t->upper ? cut >= b.upper : cut <= b.lower) {
        ; /* all of it */
    } else if (t->upper ? cut <= b.lower : cut >= b.upper) {
        kept = 0;
    } else if (b.lower == -INFINITY) {
        kept = t->upper && b.upper < INFINITY ? kept : 0;
    } else if (b.upper == INFINITY) {
        kept = t->upper ? 0 : kept;
    } else {
        double below = rank_at(t->h, &b, 0, cut);
        kept = t->upper ? below : b.count - below;
    }
    t->removed |= kept != b.count || (b.upper == INFINITY && !t->upper && cut > b.lower);
    if (kept != 0) {
        double lower = !t->upper && cut > b.lower ? cut : b.lower;
        double upper = t->upper && cut < b.upper ? cut : b.upper;
        t->sum += kept * middle(t, linear, lower, upper);
        t->count += kept;
    }
    return kept;
}

const struct query_hist *query_hist_trim(const struct query_hist *h, double bound, bool upper,
                                         struct arena *a)
{
    struct query_hist *out = arena_alloc(a, sizeof *out);
    struct query_hist_bucket *pos = ARENA_ARRAY(a, struct query_hist_bucket, h->pos_count + 1u);
    struct query_hist_bucket *neg = ARENA_ARRAY(a, struct query_hist_bucket, h->neg_count + 1u);
    struct trim t = {.h = h, .bound = bound, .upper = upper};
    bool custom = query_hist_is_custom(h);
    if (!out || !pos || !neg)
        return NULL;
    *out = *h;
    for (uint32_t i = h->neg_count; i-- > 0;) {
        struct query_hist_range b = {.lower = -query_hist_bound(h, h->neg[i].index),
                                     .upper = -query_hist_bound(h, h->neg[i].index - 1),
                                     .count = h->neg[i].count};
        neg[i] = (struct query_hist_bucket){h->neg[i].index, trim_bucket(&t, b, false)};
    }
    if (!custom) {
        struct query_hist_range zero = {
            .lower = -h->zero_threshold, .upper = h->zero_threshold, .count = h->zero_count};
        clip_zero_bucket(h, &zero);
        out->zero_count = trim_bucket(&t, zero, true);
    }
    for (uint32_t i = 0; i < h->pos_count; i++) {
        struct query_hist_range b = {.lower = query_hist_bound(h, h->pos[i].index - 1),
                                     .upper = query_hist_bound(h, h->pos[i].index),
                                     .count = h->pos[i].count};
        pos[i] = (struct query_hist_bucket){h->pos[i].index, trim_bucket(&t, b, custom)};
    }
    out->pos = pos;
    out->neg = neg;
    if (t.removed) {
        out->count = t.count;
        out->sum = t.sum;
    }
    return query_hist_compact(out, a);
}
