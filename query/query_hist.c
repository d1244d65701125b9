#include "query/query_hist.h"

#include "base/check.h"
#include "base/json_out.h"
#include <float.h>
#include <math.h>

/* --- building ---------------------------------------------------------------------------------- */

static const struct query_hist_bucket *buckets_of(const struct tsdb_hist_span *spans,
                                                  uint32_t span_count, const double *counts,
                                                  uint32_t count, struct arena *a)
{
    struct query_hist_bucket *out = ARENA_ARRAY(a, struct query_hist_bucket, count + 1u);
    int64_t index = 0;
    uint32_t n = 0;
    if (!out)
        return NULL;
    for (uint32_t s = 0; s < span_count; s++) {
        index += spans[s].offset;
        for (uint32_t k = 0; k < spans[s].length && n < count; k++, index++)
            out[n] = (struct query_hist_bucket){(int32_t)index, counts[n]}, n++;
    }
    CHECK(n == count);
    return out;
}

const struct query_hist *query_hist_of(const struct tsdb_hist *h, struct arena *a)
{
    struct query_hist *out = arena_alloc(a, sizeof *out);
    if (!out)
        return NULL;
    out->schema = h->schema;
    out->hint = h->hint;
    out->zero_threshold = h->zero_threshold;
    out->zero_count = h->zero_count;
    out->count = h->count;
    out->sum = h->sum;
    out->pos_count = h->pos_count;
    out->neg_count = h->neg_count;
    out->custom_count = h->custom_count;
    out->pos = buckets_of(h->pos_spans, h->pos_span_count, h->pos, h->pos_count, a);
    out->neg = buckets_of(h->neg_spans, h->neg_span_count, h->neg, h->neg_count, a);
    double *custom = ARENA_ARRAY(a, double, h->custom_count + 1u);
    if (!out->pos || !out->neg || !custom)
        return NULL;
    if (h->custom_count)
        memcpy(custom, h->custom, h->custom_count * sizeof *custom);
    out->custom = custom;
    return out;
}

static struct query_hist_bucket *copy_buckets(const struct query_hist_bucket *b, uint32_t n,
                                              struct arena *a)
{
    struct query_hist_bucket *out = ARENA_ARRAY(a, struct query_hist_bucket, n + 1u);
    if (out && n)
        memcpy(out, b, n * sizeof *b);
    return out;
}

static struct query_hist *copy(const struct query_hist *h, struct arena *a)
{
    struct query_hist *out = arena_alloc(a, sizeof *out);
    double *custom = ARENA_ARRAY(a, double, h->custom_count + 1u);
    if (!out || !custom)
        return NULL;
    *out = *h;
    out->pos = copy_buckets(h->pos, h->pos_count, a);
    out->neg = copy_buckets(h->neg, h->neg_count, a);
    if (h->custom_count)
        memcpy(custom, h->custom, h->custom_count * sizeof *custom);
    out->custom = custom;
    return out->pos && out->neg ? out : NULL;
}

/* The buckets of one side as spans and counts. */
static bool store_side(const struct query_hist_bucket *b, uint32_t n, struct arena *a,
                       const struct tsdb_hist_span **out_spans, uint32_t *out_span_count,
                       const double **out_counts)
{
    struct tsdb_hist_span *spans = ARENA_ARRAY(a, struct tsdb_hist_span, n + 1);
    double *counts = ARENA_ARRAY(a, double, n + 1);
    uint32_t k = 0;
    if (!spans || !counts)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        counts[i] = b[i].count;
        if (i && b[i].index == b[i - 1].index + 1)
            spans[k - 1].length++;
        else
            spans[k++] =
                (struct tsdb_hist_span){i ? b[i].index - b[i - 1].index - 1 : b[i].index, 1};
    }
    *out_spans = spans;
    *out_span_count = k;
    *out_counts = counts;
    return true;
}

bool query_hist_store(const struct query_hist *h, struct arena *a, struct tsdb_hist *out)
{
    double *custom = ARENA_ARRAY(a, double, h->custom_count + 1);
    *out = (struct tsdb_hist){.schema = h->schema,
                              .hint = h->hint,
                              .zero_threshold = h->zero_threshold,
                              .zero_count = h->zero_count,
                              .count = h->count,
                              .sum = h->sum,
                              .pos_count = h->pos_count,
                              .neg_count = h->neg_count,
                              .custom_count = h->custom_count,
                              .custom = custom};
    if (custom && h->custom_count)
        memcpy(custom, h->custom, h->custom_count * sizeof(*custom));
    return custom &&
           store_side(h->pos, h->pos_count, a, &out->pos_spans, &out->pos_span_count, &out->pos) &&
           store_side(h->neg, h->neg_count, a, &out->neg_spans, &out->neg_span_count, &out->neg);
}

const struct query_hist *query_hist_copy(const struct query_hist *h, struct arena *a)
{
    return copy(h, a);
}

const struct query_hist *query_hist_with_hint(const struct query_hist *h, enum tsdb_hist_hint hint,
                                              struct arena *a)
{
    struct query_hist *out = arena_alloc(a, sizeof *out);
    if (out) {
        *out = *h; /* arrays are immutable: shared */
        out->hint = (uint8_t)hint;
    }
    return out;
}

static uint32_t drop_empty(const struct query_hist_bucket *b, uint32_t n,
                           struct query_hist_bucket *out)
{
    uint32_t k = 0;
    for (uint32_t i = 0; i < n; i++)
        if (b[i].count != 0)
            out[k++] = b[i];
    return k;
}

const struct query_hist *query_hist_compact(const struct query_hist *h, struct arena *a)
{
    struct query_hist *out = copy(h, a);
    if (!out)
        return NULL;
    out->pos_count = drop_empty(h->pos, h->pos_count, (struct query_hist_bucket *)out->pos);
    out->neg_count = drop_empty(h->neg, h->neg_count, (struct query_hist_bucket *)out->neg);
    return out;
}

/* --- bounds ------------------------------------------------------------------------------------ */

double query_hist_bound(const struct query_hist *h, int32_t index)
{
    if (query_hist_is_custom(h)) {
        if (index < 0)
            return -INFINITY;
        return (uint32_t)index < h->custom_count ? h->custom[index] : INFINITY;
    }
    if (h->schema <= 0) {
        int64_t e = (int64_t)index * ((int64_t)1 << -h->schema);
        if (e == 1024)
            return DBL_MAX;
        return e > 1024 ? INFINITY : e < -1100 ? 0 : ldexp(1, (int)e);
    }
    int32_t n = index >> h->schema, frac = index & ((1 << h->schema) - 1);
    if (n == 1024 && frac == 0)
        return DBL_MAX;
    return n >= 1024 ? INFINITY : ldexp(exp2((double)frac / (1 << h->schema)), n);
}

static double lower_bound(const struct query_hist *h, int32_t index)
{
    return query_hist_bound(h, index - 1);
}

static int32_t reduced_index(int32_t index, unsigned shift)
{
    return (int32_t)((((int64_t)index - 1) >> shift) + 1);
}

static uint32_t reduce_side(const struct query_hist_bucket *b, uint32_t n, unsigned shift,
                            struct query_hist_bucket *out)
{
    uint32_t k = 0;
    for (uint32_t i = 0; i < n; i++) {
        int32_t index = reduced_index(b[i].index, shift);
        if (k && out[k - 1].index == index)
            out[k - 1].count += b[i].count;
        else
            out[k++] = (struct query_hist_bucket){index, b[i].count};
    }
    return k;
}

const struct query_hist *query_hist_reduce(const struct query_hist *h, int8_t schema,
                                           struct arena *a)
{
    if (schema >= h->schema || query_hist_is_custom(h))
        return h;
    struct query_hist *out = copy(h, a);
    if (!out)
        return NULL;
    unsigned shift = (unsigned)(h->schema - schema);
    out->schema = schema;
    out->pos_count = reduce_side(h->pos, h->pos_count, shift, (struct query_hist_bucket *)out->pos);
    out->neg_count = reduce_side(h->neg, h->neg_count, shift, (struct query_hist_bucket *)out->neg);
    return out;
}

/* --- the zero bucket --------------------------------------------------------------------------- */

/* Adds what lies below *threshold on one side; widens *threshold to a populated bucket's far bound. Returns true when it was widened. */
static bool absorb_side(const struct query_hist *h, const struct query_hist_bucket *b, uint32_t n,
                        double *threshold, double *zero_count)
{
    for (uint32_t i = 0; i < n; i++) {
        double far = query_hist_bound(h, b[i].index);
        if (lower_bound(h, b[i].index) >= *threshold)
            break;
        *zero_count += b[i].count;
        if (far > *threshold) {
            if (b[i].count != 0) {
                *threshold = far;
                return true;
            }
            break;
        }
    }
    return false;
}

/* The zero bucket's count if its threshold were *threshold (or the next one that cuts no populated bucket). */
static double zero_count_at(const struct query_hist *h, double *threshold)
{
    if (*threshold <= h->zero_threshold)
        return h->zero_count;
    for (;;) {
        double zero_count = h->zero_count;
        absorb_side(h, h->pos, h->pos_count, threshold, &zero_count);
        if (!absorb_side(h, h->neg, h->neg_count, threshold, &zero_count))
            return zero_count;
    }
}

static uint32_t outside_zero(const struct query_hist *h, const struct query_hist_bucket *b,
                             uint32_t n, double threshold, struct query_hist_bucket *out)
{
    uint32_t k = 0;
    for (uint32_t i = 0; i < n; i++)
        if (lower_bound(h, b[i].index) >= threshold)
            out[k++] = b[i];
    return k;
}

/* h with the zero bucket widened to `threshold`, which cuts no populated bucket. */
static const struct query_hist *widen_zero(const struct query_hist *h, double threshold,
                                           struct arena *a)
{
    if (threshold <= h->zero_threshold || query_hist_is_custom(h))
        return h;
    struct query_hist *out = copy(h, a);
    if (!out)
        return NULL;
    out->zero_count = zero_count_at(h, &threshold);
    out->zero_threshold = threshold;
    out->pos_count =
        outside_zero(h, h->pos, h->pos_count, threshold, (struct query_hist_bucket *)out->pos);
    out->neg_count =
        outside_zero(h, h->neg, h->neg_count, threshold, (struct query_hist_bucket *)out->neg);
    return out;
}

/* --- arithmetic -------------------------------------------------------------------------------- */

static uint32_t merge_side(const struct query_hist_bucket *x, uint32_t xn,
                           const struct query_hist_bucket *y, uint32_t yn, double sign,
                           struct query_hist_bucket *out)
{
    uint32_t i = 0, k = 0, n = 0;
    while (i < xn || k < yn) {
        if (k == yn || (i < xn && x[i].index < y[k].index)) {
            out[n++] = x[i++];
        } else if (i == xn || y[k].index < x[i].index) {
            out[n++] = (struct query_hist_bucket){y[k].index, sign * y[k].count};
            k++;
        } else {
            out[n++] = (struct query_hist_bucket){x[i].index, x[i].count + sign * y[k].count};
            i++;
            k++;
        }
    }
    return n;
}

static bool merge_hints(uint8_t x, uint8_t y, uint8_t *out)
{
    *out = x;
    if (x == y || x == TSDB_HIST_GAUGE || x == TSDB_HIST_UNKNOWN_RESET)
        *out = y == TSDB_HIST_GAUGE ? y : x;
    else if (y == TSDB_HIST_GAUGE || y == TSDB_HIST_UNKNOWN_RESET)
        *out = y;
    else {
        *out = TSDB_HIST_UNKNOWN_RESET;
        return true;
    }
    return false;
}

static bool same_bounds(const struct query_hist *x, const struct query_hist *y)
{
    if (x->custom_count != y->custom_count)
        return false;
    for (uint32_t i = 0; i < x->custom_count; i++)
        if (x->custom[i] != y->custom[i])
            return false;
    return true;
}

/* h over `bounds`, a subset of its own: each bucket goes to the first bound that is not below it. */
static const struct query_hist *rebucket(const struct query_hist *h, const double *bounds,
                                         uint32_t count, struct arena *a)
{
    struct query_hist *out = copy(h, a);
    if (!out)
        return NULL;
    struct query_hist_bucket *b = (struct query_hist_bucket *)out->pos;
    uint32_t n = 0, to = 0;
    for (uint32_t i = 0; i < h->pos_count; i++) {
        double upper = query_hist_bound(h, h->pos[i].index);
        while (to < count && bounds[to] < upper)
            to++;
        if (n && b[n - 1].index == (int32_t)to)
            b[n - 1].count += h->pos[i].count;
        else
            b[n++] = (struct query_hist_bucket){(int32_t)to, h->pos[i].count};
    }
    out->pos_count = n;
    out->custom = bounds;
    out->custom_count = count;
    return out;
}

static bool reconcile_bounds(const struct query_hist **x, const struct query_hist **y,
                             struct arena *a)
{
    double *bounds = ARENA_ARRAY(a, double, (*x)->custom_count + 1u);
    uint32_t n = 0;
    if (!bounds)
        return false;
    for (uint32_t i = 0, k = 0; i < (*x)->custom_count && k < (*y)->custom_count;) {
        double p = (*x)->custom[i], q = (*y)->custom[k];
        if (p == q)
            bounds[n++] = p;
        i += p <= q;
        k += q <= p;
    }
    *x = rebucket(*x, bounds, n, a);
    *y = rebucket(*y, bounds, n, a);
    return *x && *y;
}

/* Brings both to the same schema and zero threshold. */
static bool align(const struct query_hist **x, const struct query_hist **y, struct arena *a)
{
    double zx = (*x)->zero_threshold, zy = (*y)->zero_threshold;
    while (zx != zy) {
        if (zx > zy) {
            zy = zx;
            (void)zero_count_at(*y, &zy);
        } else {
            zx = zy;
            (void)zero_count_at(*x, &zx);
        }
    }
    *x = widen_zero(*x, zx, a);
    *y = *x ? widen_zero(*y, zx, a) : NULL;
    if (!*x || !*y)
        return false;
    int8_t schema = MIN((*x)->schema, (*y)->schema);
    *x = query_hist_reduce(*x, schema, a);
    *y = query_hist_reduce(*y, schema, a);
    return *x && *y;
}

const struct query_hist *query_hist_add(const struct query_hist *x, const struct query_hist *y,
                                        double sign, struct arena *a, unsigned *out_flags)
{
    unsigned flags = 0;
    struct query_hist *out = NULL;
    if (query_hist_is_custom(x) != query_hist_is_custom(y)) {
        flags = QUERY_HIST_INCOMPATIBLE;
        goto done;
    }
    if (query_hist_is_custom(x)) {
        if (!same_bounds(x, y)) {
            flags |= QUERY_HIST_BOUNDS_RECONCILED;
            if (!reconcile_bounds(&x, &y, a))
                goto done;
        }
    } else if (!align(&x, &y, a)) {
        goto done;
    }
    struct query_hist *r = arena_alloc(a, sizeof *r);
    struct query_hist_bucket *pos =
        ARENA_ARRAY(a, struct query_hist_bucket, (size_t)x->pos_count + y->pos_count + 1);
    struct query_hist_bucket *neg =
        ARENA_ARRAY(a, struct query_hist_bucket, (size_t)x->neg_count + y->neg_count + 1);
    if (!r || !pos || !neg)
        goto done;
    *r = *x;
    r->zero_count += sign * y->zero_count;
    r->count += sign * y->count;
    r->sum += sign * y->sum;
    r->pos_count = merge_side(x->pos, x->pos_count, y->pos, y->pos_count, sign, pos);
    r->neg_count = merge_side(x->neg, x->neg_count, y->neg, y->neg_count, sign, neg);
    r->pos = pos;
    r->neg = neg;
    if (merge_hints(x->hint, y->hint, &r->hint))
        flags |= QUERY_HIST_HINTS_COLLIDE;
    out = r;
done:
    if (out_flags)
        *out_flags = flags;
    return out;
}

static const struct query_hist *scaled(const struct query_hist *h, double factor, bool divide,
                                       struct arena *a)
{
    struct query_hist *out = copy(h, a);
    if (!out)
        return NULL;
#define SCALE(v) ((v) = divide ? (v) / factor : (v)*factor)
    SCALE(out->zero_count);
    SCALE(out->count);
    SCALE(out->sum);
    for (uint32_t i = 0; i < out->pos_count; i++)
        SCALE(((struct query_hist_bucket *)out->pos)[i].count);
    for (uint32_t i = 0; i < out->neg_count; i++)
        SCALE(((struct query_hist_bucket *)out->neg)[i].count);
#undef SCALE
    if (factor < 0)
        out->hint = TSDB_HIST_GAUGE;
    if (divide && factor == 0) /* buckets would all be NaN or infinite: Prometheus drops them */
        out->pos_count = out->neg_count = 0;
    return out;
}

const struct query_hist *query_hist_scale(const struct query_hist *h, double factor,
                                          struct arena *a)
{
    return scaled(h, factor, false, a);
}

const struct query_hist *query_hist_divide(const struct query_hist *h, double by, struct arena *a)
{
    return scaled(h, by, true, a);
}

/* --- comparison -------------------------------------------------------------------------------- */

/* Is some bucket of prev larger than the same bucket of h? */
static bool side_shrank(const struct query_hist_bucket *b, uint32_t n,
                        const struct query_hist_bucket *prev, uint32_t prev_n)
{
    uint32_t k = 0;
    for (uint32_t i = 0; i < prev_n; i++) {
        if (prev[i].count == 0)
            continue;
        while (k < n && b[k].index < prev[i].index)
            k++;
        double now = k < n && b[k].index == prev[i].index ? b[k].count : 0;
        if (now < prev[i].count)
            return true;
    }
    return false;
}

bool query_hist_is_reset(const struct query_hist *h, const struct query_hist *prev,
                         struct arena *scratch)
{
    if (h->hint == TSDB_HIST_RESET)
        return true;
    if (h->hint == TSDB_HIST_NO_RESET)
        return false;
    if (h->count < prev->count || query_hist_is_custom(h) != query_hist_is_custom(prev))
        return true;
    if (query_hist_is_custom(h)) {
        if (!same_bounds(h, prev) && !reconcile_bounds(&h, &prev, scratch))
            return false;
        return side_shrank(h->pos, h->pos_count, prev->pos, prev->pos_count);
    }
    if (h->schema > prev->schema || h->zero_threshold < prev->zero_threshold)
        return true;
    double threshold = h->zero_threshold;
    double zero_before = zero_count_at(prev, &threshold);
    if (threshold != h->zero_threshold || h->zero_count < zero_before)
        return true;
    prev = widen_zero(prev, threshold, scratch);
    prev = prev ? query_hist_reduce(prev, h->schema, scratch) : NULL;
    if (!prev)
        return false;
    return side_shrank(h->pos, h->pos_count, prev->pos, prev->pos_count) ||
           side_shrank(h->neg, h->neg_count, prev->neg, prev->neg_count);
}

static bool same_double(double x, double y)
{
    return x == y || (isnan(x) && isnan(y));
}

static bool same_side(const struct query_hist_bucket *x, uint32_t xn,
                      const struct query_hist_bucket *y, uint32_t yn)
{
    uint32_t i = 0, k = 0;
    for (;;) {
        while (i < xn && x[i].count == 0)
            i++;
        while (k < yn && y[k].count == 0)
            k++;
        if (i == xn || k == yn)
            return i == xn && k == yn;
        if (x[i].index != y[k].index || !same_double(x[i].count, y[k].count))
            return false;
        i++;
        k++;
    }
}

bool query_hist_equal(const struct query_hist *x, const struct query_hist *y)
{
    return x->schema == y->schema && same_double(x->count, y->count) &&
           same_double(x->sum, y->sum) && x->zero_threshold == y->zero_threshold &&
           same_double(x->zero_count, y->zero_count) && same_bounds(x, y) &&
           same_side(x->pos, x->pos_count, y->pos, y->pos_count) &&
           same_side(x->neg, x->neg_count, y->neg, y->neg_count);
}

/* --- buckets with bounds ----------------------------------------------------------------------- */

size_t query_hist_ranges(const struct query_hist *h, bool keep_empty, struct arena *a,
                         struct query_hist_range **out)
{
    size_t n = 0;
    struct query_hist_range *r =
        ARENA_ARRAY(a, struct query_hist_range, (size_t)h->neg_count + h->pos_count + 1);
    *out = r;
    if (!r)
        return 0;
    double zero = h->zero_threshold;
    bool custom = query_hist_is_custom(h);
    for (uint32_t i = h->neg_count; i-- > 0;) {
        const struct query_hist_bucket *b = &h->neg[i];
        double upper = -lower_bound(h, b->index);
        if (b->count != 0 || keep_empty)
            r[n++] = (struct query_hist_range){-query_hist_bound(h, b->index),
                                               upper > -zero && upper < 0 ? -zero : upper, b->count,
                                               true, false};
    }
    if (h->zero_count != 0 && !custom)
        r[n++] = (struct query_hist_range){-zero, zero, h->zero_count, true, true};
    for (uint32_t i = 0; i < h->pos_count; i++) {
        const struct query_hist_bucket *b = &h->pos[i];
        double lower = lower_bound(h, b->index);
        if (b->count != 0 || keep_empty)
            r[n++] = (struct query_hist_range){!custom && lower < zero && lower > 0 ? zero : lower,
                                               query_hist_bound(h, b->index), b->count,
                                               custom && b->index == 0, true};
    }
    return n;
}

static void put_float(struct buf *b, double v)
{
    char text[JSON_OUT_PROM_FLOAT_MAX];
    buf_append(b, text, json_out_prom_float(v, text));
}

struct bytes query_hist_text(const struct query_hist *h, struct arena *a)
{
    struct buf b;
    struct query_hist_range *r;
    size_t n = query_hist_ranges(h, false, a, &r);
    buf_init(&b, 1 << 20);
    buf_str(&b, "{count:");
    put_float(&b, h->count);
    buf_str(&b, ", sum:");
    put_float(&b, h->sum);
    for (size_t i = 0; i < n; i++) {
        buf_str(&b, r[i].lower_inclusive ? ", [" : ", (");
        put_float(&b, r[i].lower);
        buf_u8(&b, ',');
        put_float(&b, r[i].upper);
        buf_str(&b, r[i].upper_inclusive ? "]:" : "):");
        put_float(&b, r[i].count);
    }
    buf_u8(&b, '}');
    struct bytes out = arena_copy(a, buf_bytes(&b));
    buf_done(&b);
    return out;
}
