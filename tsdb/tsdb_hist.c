#include "tsdb/tsdb_hist.h"

#include <float.h>
#include <math.h>

#include "base/check.h"

#define SCHEMA_MIN (-4)
#define SCHEMA_MAX 8
#define OBSERVE_SCHEMA 3
#define ZERO_THRESHOLD 0x1p-128 /* the default of Prometheus' clients */

struct bucket {
    int32_t index;
    double count;
};

struct side {
    struct bucket *buckets;
    uint32_t count;
};

static bool is_custom(const struct tsdb_hist *h)
{
    return h->schema == TSDB_HIST_CUSTOM_SCHEMA;
}

/* --- check --------------------------------------------------------------------------------------- */

static enum err check_side(const char *what, const struct tsdb_hist_span *spans,
                           uint32_t span_count, const double *counts, uint32_t count, double *total,
                           struct err_msg *msg)
{
    uint64_t sum = 0;
    int64_t index = 0;
    for (uint32_t i = 0; i < span_count; i++) {
        if (i > 0 && spans[i].offset < 0)
            return err_set(msg, ERR_INVALID, "%s span %u has the negative gap %d", what, i,
                           spans[i].offset);
        sum += spans[i].length;
        index += spans[i].offset + (int64_t)spans[i].length;
        if (index > INT32_MAX || index < INT32_MIN)
            return err_set(msg, ERR_INVALID, "%s span %u reaches bucket %lld", what, i,
                           (long long)index);
    }
    if (sum != count)
        return err_set(msg, ERR_INVALID, "the %s spans hold %llu buckets and there are %u counts",
                       what, (unsigned long long)sum, count);
    if (count > TSDB_HIST_BUCKETS_MAX)
        return err_set(msg, ERR_INVALID, "%u %s buckets are more than %u", count, what,
                       TSDB_HIST_BUCKETS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        if (!(counts[i] >= 0) || isinf(counts[i]))
            return err_set(msg, ERR_INVALID, "%s bucket %u has the count %g", what, i, counts[i]);
        *total += counts[i];
    }
    return ERR_OK;
}

static enum err check_custom(const struct tsdb_hist *h, struct err_msg *msg)
{
    int64_t last = 0;
    if (h->neg_span_count || h->neg_count || h->zero_count != 0)
        return err_set(msg, ERR_INVALID,
                       "a histogram with custom bounds has negative or zero buckets");
    for (uint32_t i = 0; i < h->custom_count; i++)
        if (!isfinite(h->custom[i]) || (i > 0 && h->custom[i] <= h->custom[i - 1]))
            return err_set(msg, ERR_INVALID,
                           "custom bound %u is not finite or not above the one before", i);
    for (uint32_t i = 0; i < h->pos_span_count; i++) {
        last += h->pos_spans[i].offset;
        if (last < 0)
            return err_set(msg, ERR_INVALID, "a custom bucket below 0");
        last += h->pos_spans[i].length;
    }
    if (last > (int64_t)h->custom_count + 1)
        return err_set(msg, ERR_INVALID, "bucket %lld of a histogram with %u custom bounds",
                       (long long)last - 1, h->custom_count);
    return ERR_OK;
}

enum err tsdb_hist_check(const struct tsdb_hist *h, struct err_msg *msg)
{
    double total = h->zero_count;
    if (!is_custom(h) && (h->schema < SCHEMA_MIN || h->schema > SCHEMA_MAX))
        return err_set(msg, ERR_INVALID, "schema %d is not one of %d to %d", h->schema, SCHEMA_MIN,
                       SCHEMA_MAX);
    if (h->hint > TSDB_HIST_GAUGE)
        return err_set(msg, ERR_INVALID, "unknown counter reset hint %u", h->hint);
    if (!(h->zero_count >= 0) || !(h->count >= 0) || isinf(h->count) || !(h->zero_threshold >= 0))
        return err_set(msg, ERR_INVALID,
                       "count %g, zero count %g or zero threshold %g is not possible", h->count,
                       h->zero_count, h->zero_threshold);
    if (h->custom_count > TSDB_HIST_BUCKETS_MAX || (h->custom_count && !is_custom(h)))
        return err_set(msg, ERR_INVALID, "%u custom bounds", h->custom_count);
    enum err e =
        check_side("positive", h->pos_spans, h->pos_span_count, h->pos, h->pos_count, &total, msg);
    if (e == ERR_OK)
        e = check_side("negative", h->neg_spans, h->neg_span_count, h->neg, h->neg_count, &total,
                       msg);
    if (e == ERR_OK && is_custom(h))
        e = check_custom(h, msg);
    /* NaN observations are counted and lie in no bucket; more in the buckets than counted is impossible. */
    if (e == ERR_OK && total > h->count * (1 + 1e-9) + 1e-9)
        e = err_set(msg, ERR_INVALID, "the buckets hold %g observations of a count of %g", total,
                    h->count);
    return e;
}

/* --- bytes --------------------------------------------------------------------------------------- */

/* Counts are nearly always whole: varint(2v); otherwise varint(1) and the double. */
static void put_count(struct buf *out, double v)
{
    if (v >= 0 && v < 0x1p53 && v == floor(v) && !(v == 0 && signbit(v))) {
        buf_varint(out, (uint64_t)v << 1);
    } else {
        buf_varint(out, 1);
        buf_f64(out, v);
    }
}

static double get_count(struct reader *r)
{
    uint64_t v = reader_varint(r);
    if (v == 1)
        return reader_f64(r);
    if (v & 1)
        r->failed = true;
    return (double)(v >> 1);
}

static void put_side(struct buf *out, const struct tsdb_hist_span *spans, uint32_t span_count,
                     const double *counts, uint32_t count)
{
    buf_varint(out, span_count);
    for (uint32_t i = 0; i < span_count; i++) {
        buf_zigzag(out, spans[i].offset);
        buf_varint(out, spans[i].length);
    }
    for (uint32_t i = 0; i < count; i++)
        put_count(out, counts[i]);
}

void tsdb_hist_encode(const struct tsdb_hist *h, struct buf *out)
{
    buf_u8(out, (uint8_t)h->schema);
    buf_u8(out, h->hint);
    buf_f64(out, h->zero_threshold);
    put_count(out, h->zero_count);
    put_count(out, h->count);
    buf_f64(out, h->sum);
    put_side(out, h->pos_spans, h->pos_span_count, h->pos, h->pos_count);
    put_side(out, h->neg_spans, h->neg_span_count, h->neg, h->neg_count);
    buf_varint(out, h->custom_count);
    for (uint32_t i = 0; i < h->custom_count; i++)
        buf_f64(out, h->custom[i]);
}

static enum err get_side(struct reader *r, struct arena *a, const struct tsdb_hist_span **out_spans,
                         uint32_t *out_span_count, const double **out_counts, uint32_t *out_count)
{
    uint64_t n = reader_varint(r), total = 0;
    if (r->failed || n > TSDB_HIST_BUCKETS_MAX || n * 2 > reader_left(r))
        return ERR_CORRUPT;
    struct tsdb_hist_span *spans = ARENA_ARRAY(a, struct tsdb_hist_span, n);
    if (!spans)
        return ERR_LIMIT;
    for (uint64_t i = 0; i < n; i++) {
        int64_t offset = reader_zigzag(r);
        uint64_t length = reader_varint(r);
        if (offset != (int32_t)offset || length > TSDB_HIST_BUCKETS_MAX)
            return ERR_CORRUPT;
        spans[i] = (struct tsdb_hist_span){(int32_t)offset, (uint32_t)length};
        total += length;
    }
    if (r->failed || total > TSDB_HIST_BUCKETS_MAX || total > reader_left(r))
        return ERR_CORRUPT;
    double *counts = ARENA_ARRAY(a, double, total);
    if (!counts)
        return ERR_LIMIT;
    for (uint64_t i = 0; i < total; i++)
        counts[i] = get_count(r);
    *out_spans = spans;
    *out_span_count = (uint32_t)n;
    *out_counts = counts;
    *out_count = (uint32_t)total;
    return r->failed ? ERR_CORRUPT : ERR_OK;
}

enum err tsdb_hist_decode(struct reader *r, struct arena *a, struct tsdb_hist *out)
{
    struct tsdb_hist h = {.schema = (int8_t)reader_u8(r)};
    h.hint = reader_u8(r);
    h.zero_threshold = reader_f64(r);
    h.zero_count = get_count(r);
    h.count = get_count(r);
    h.sum = reader_f64(r);
    enum err e = get_side(r, a, &h.pos_spans, &h.pos_span_count, &h.pos, &h.pos_count);
    if (e == ERR_OK)
        e = get_side(r, a, &h.neg_spans, &h.neg_span_count, &h.neg, &h.neg_count);
    if (e != ERR_OK)
        return e;
    uint64_t n = reader_varint(r);
    if (r->failed || n > TSDB_HIST_BUCKETS_MAX || n * 8 > reader_left(r))
        return ERR_CORRUPT;
    double *custom = ARENA_ARRAY(a, double, n);
    if (!custom)
        return ERR_LIMIT;
    for (uint64_t i = 0; i < n; i++)
        custom[i] = reader_f64(r);
    h.custom = custom;
    h.custom_count = (uint32_t)n;
    if (r->failed || (n && !is_custom(&h)) || h.hint > TSDB_HIST_GAUGE ||
        (!is_custom(&h) && (h.schema < SCHEMA_MIN || h.schema > SCHEMA_MAX)))
        return ERR_CORRUPT;
    *out = h;
    return ERR_OK;
}

static bool same_bits(double a, double b)
{
    return memcmp(&a, &b, sizeof(a)) == 0;
}

static bool equal_arrays(const void *a, const void *b, size_t size)
{
    return size == 0 || memcmp(a, b, size) == 0;
}

bool tsdb_hist_equal_bits(const struct tsdb_hist *a, const struct tsdb_hist *b)
{
    return a->schema == b->schema && a->hint == b->hint &&
           same_bits(a->zero_threshold, b->zero_threshold) &&
           same_bits(a->zero_count, b->zero_count) && same_bits(a->count, b->count) &&
           same_bits(a->sum, b->sum) && a->pos_span_count == b->pos_span_count &&
           a->neg_span_count == b->neg_span_count && a->pos_count == b->pos_count &&
           a->neg_count == b->neg_count && a->custom_count == b->custom_count &&
           equal_arrays(a->pos_spans, b->pos_spans, a->pos_span_count * sizeof(*a->pos_spans)) &&
           equal_arrays(a->neg_spans, b->neg_spans, a->neg_span_count * sizeof(*a->neg_spans)) &&
           equal_arrays(a->pos, b->pos, a->pos_count * sizeof(double)) &&
           equal_arrays(a->neg, b->neg, a->neg_count * sizeof(double)) &&
           equal_arrays(a->custom, b->custom, a->custom_count * sizeof(double));
}

static bool copy_array(struct arena *a, const void *from, size_t size, void *out_pointer)
{
    void *p = arena_alloc_raw(a, size ? size : 1, 8);
    if (p && size)
        memcpy(p, from, size);
    memcpy(out_pointer, &p, sizeof(p));
    return p != NULL;
}

enum err tsdb_hist_copy(const struct tsdb_hist *h, struct arena *a, struct tsdb_hist *out)
{
    struct tsdb_hist c = *h;
    if (!copy_array(a, h->pos_spans, h->pos_span_count * sizeof(*h->pos_spans), &c.pos_spans) ||
        !copy_array(a, h->neg_spans, h->neg_span_count * sizeof(*h->neg_spans), &c.neg_spans) ||
        !copy_array(a, h->pos, h->pos_count * sizeof(double), &c.pos) ||
        !copy_array(a, h->neg, h->neg_count * sizeof(double), &c.neg) ||
        !copy_array(a, h->custom, h->custom_count * sizeof(double), &c.custom))
        return ERR_LIMIT;
    *out = c;
    return ERR_OK;
}

/* --- sums ---------------------------------------------------------------------------------------- */

/* Spans and counts -> (index, count) at a coarser schema: bucket i of schema s lies in bucket ((i - 1) >> d) + 1 of schema s - d. */
static bool expand(struct arena *a, const struct tsdb_hist_span *spans, uint32_t span_count,
                   const double *counts, uint32_t count, int coarser_by, struct side *out)
{
    struct bucket *b = ARENA_ARRAY(a, struct bucket, count + 1);
    uint32_t n = 0, k = 0;
    int64_t index = 0;
    if (!b)
        return false;
    for (uint32_t i = 0; i < span_count; i++) {
        index += spans[i].offset;
        for (uint32_t j = 0; j < spans[i].length && k < count; j++, index++, k++) {
            int32_t at = coarser_by ? (int32_t)(((index - 1) >> coarser_by) + 1) : (int32_t)index;
            if (n > 0 && b[n - 1].index == at)
                b[n - 1].count += counts[k];
            else
                b[n++] = (struct bucket){at, counts[k]};
        }
    }
    *out = (struct side){b, n};
    return true;
}

static double bound_of(int schema, int32_t index)
{
    return exp2((double)index * exp2(-schema));
}

/* The smallest threshold >= wanted that does not cut a populated bucket, and what lies below it beside the zero bucket. */
static double widened_threshold(int schema, const struct side *pos, const struct side *neg,
                                double wanted)
{
    const struct side *sides[] = {pos, neg};
    for (bool again = true; again;) {
        again = false;
        for (size_t s = 0; s < 2; s++)
            for (uint32_t i = 0; i < sides[s]->count; i++) {
                const struct bucket *b = &sides[s]->buckets[i];
                double lower = bound_of(schema, b->index - 1), upper = bound_of(schema, b->index);
                if (lower < wanted && upper > wanted && b->count != 0) {
                    wanted = upper;
                    again = true;
                }
            }
    }
    return wanted;
}

static double absorb(int schema, struct side *s, double threshold)
{
    double sum = 0;
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        if (bound_of(schema, s->buckets[i].index - 1) < threshold)
            sum += s->buckets[i].count;
        else
            s->buckets[n++] = s->buckets[i];
    }
    s->count = n;
    return sum;
}

static bool merge(struct arena *a, const struct side *x, const struct side *y, int sign,
                  struct side *out)
{
    struct bucket *b = ARENA_ARRAY(a, struct bucket, x->count + y->count + 1);
    uint32_t n = 0, i = 0, j = 0;
    if (!b)
        return false;
    while (i < x->count || j < y->count) {
        bool take_x = i < x->count && (j == y->count || x->buckets[i].index <= y->buckets[j].index);
        bool take_y = j < y->count && (i == x->count || y->buckets[j].index <= x->buckets[i].index);
        struct bucket next = {take_x ? x->buckets[i].index : y->buckets[j].index, 0};
        next.count += take_x ? x->buckets[i].count : 0;
        next.count += take_y ? sign * y->buckets[j].count : 0;
        i += take_x;
        j += take_y;
        if (next.count != 0)
            b[n++] = next;
    }
    *out = (struct side){b, n};
    return true;
}

static bool compress(struct arena *a, const struct side *s, const struct tsdb_hist_span **out_spans,
                     uint32_t *out_span_count, const double **out_counts, uint32_t *out_count)
{
    struct tsdb_hist_span *spans = ARENA_ARRAY(a, struct tsdb_hist_span, s->count + 1);
    double *counts = ARENA_ARRAY(a, double, s->count + 1);
    uint32_t n = 0;
    int32_t next = 0; /* index after the last span */
    if (!spans || !counts)
        return false;
    for (uint32_t i = 0; i < s->count; i++) {
        int32_t index = s->buckets[i].index;
        if (n == 0 || index != next)
            spans[n++] = (struct tsdb_hist_span){index - next, 0};
        spans[n - 1].length++;
        counts[i] = s->buckets[i].count;
        next = index + 1;
    }
    *out_spans = spans;
    *out_span_count = n;
    *out_counts = counts;
    *out_count = s->count;
    return true;
}

static uint8_t hint_of_sum(const struct tsdb_hist *a, const struct tsdb_hist *b, int sign)
{
    if (a->hint == TSDB_HIST_GAUGE || b->hint == TSDB_HIST_GAUGE || sign < 0)
        return TSDB_HIST_GAUGE;
    return a->hint == b->hint ? a->hint : TSDB_HIST_UNKNOWN_RESET;
}

enum err tsdb_hist_add(const struct tsdb_hist *a, const struct tsdb_hist *b, int sign,
                       struct arena *arena, struct tsdb_hist *out)
{
    struct side ap, an, bp, bn, pos, neg;
    struct tsdb_hist sum = {.schema = a->schema < b->schema ? a->schema : b->schema};
    if (is_custom(a) != is_custom(b) ||
        (is_custom(a) && (a->custom_count != b->custom_count ||
                          !equal_arrays(a->custom, b->custom, a->custom_count * sizeof(double)))))
        return ERR_INVALID;
    int a_by = is_custom(a) ? 0 : a->schema - sum.schema,
        b_by = is_custom(b) ? 0 : b->schema - sum.schema;
    if (!expand(arena, a->pos_spans, a->pos_span_count, a->pos, a->pos_count, a_by, &ap) ||
        !expand(arena, a->neg_spans, a->neg_span_count, a->neg, a->neg_count, a_by, &an) ||
        !expand(arena, b->pos_spans, b->pos_span_count, b->pos, b->pos_count, b_by, &bp) ||
        !expand(arena, b->neg_spans, b->neg_span_count, b->neg, b->neg_count, b_by, &bn))
        return ERR_LIMIT;
    double a_zero = a->zero_count, b_zero = b->zero_count,
           threshold = MAX(a->zero_threshold, b->zero_threshold), last;
    if (!is_custom(a) && a->zero_threshold != b->zero_threshold) {
        do {
            last = threshold;
            threshold = widened_threshold(sum.schema, &ap, &an, threshold);
            threshold = widened_threshold(sum.schema, &bp, &bn, threshold);
        } while (threshold != last);
        a_zero += absorb(sum.schema, &ap, threshold) + absorb(sum.schema, &an, threshold);
        b_zero += absorb(sum.schema, &bp, threshold) + absorb(sum.schema, &bn, threshold);
    }
    sum.zero_threshold = threshold;
    sum.zero_count = a_zero + sign * b_zero;
    sum.count = a->count + sign * b->count;
    sum.sum = a->sum + sign * b->sum;
    sum.hint = hint_of_sum(a, b, sign);
    sum.custom = a->custom;
    sum.custom_count = a->custom_count;
    if (!merge(arena, &ap, &bp, sign, &pos) || !merge(arena, &an, &bn, sign, &neg) ||
        !compress(arena, &pos, &sum.pos_spans, &sum.pos_span_count, &sum.pos, &sum.pos_count) ||
        !compress(arena, &neg, &sum.neg_spans, &sum.neg_span_count, &sum.neg, &sum.neg_count))
        return ERR_LIMIT;
    if (sum.custom_count &&
        !copy_array(arena, a->custom, a->custom_count * sizeof(double), &sum.custom))
        return ERR_LIMIT;
    *out = sum;
    return ERR_OK;
}

static int32_t index_of(double magnitude)
{
    int32_t i = (int32_t)ceil(log2(magnitude) * 8);
    /* the logarithm may err by an ulp beside a bound: the bounds themselves decide */
    while (bound_of(OBSERVE_SCHEMA, i) < magnitude)
        i++;
    while (bound_of(OBSERVE_SCHEMA, i - 1) >= magnitude)
        i--;
    return i;
}

enum err tsdb_hist_of(double value, struct arena *a, struct tsdb_hist *out)
{
    static const double one[] = {1};
    struct tsdb_hist h = {
        .schema = OBSERVE_SCHEMA, .zero_threshold = ZERO_THRESHOLD, .count = 1, .sum = value};
    if (fabs(value) <= ZERO_THRESHOLD) {
        h.zero_count = 1;
    } else if (!isnan(value)) {
        struct tsdb_hist_span *span = arena_alloc(a, sizeof(*span));
        if (!span)
            return ERR_LIMIT;
        double magnitude = isinf(value) ? DBL_MAX : fabs(value);
        *span = (struct tsdb_hist_span){isinf(value) ? 1024 * 8 + 1 : index_of(magnitude), 1};
        *(value > 0 ? &h.pos_spans : &h.neg_spans) = span;
        *(value > 0 ? &h.pos : &h.neg) = one;
        *(value > 0 ? &h.pos_span_count : &h.neg_span_count) = 1;
        *(value > 0 ? &h.pos_count : &h.neg_count) = 1;
    }
    *out = h;
    return ERR_OK;
}

#define BUILDER_ZERO 256 /* place of bucket 0 */

void tsdb_hist_builder_init(struct tsdb_hist_builder *h)
{
    *h = (struct tsdb_hist_builder){.low = TSDB_HIST_BUILDER_BUCKETS};
}

void tsdb_hist_builder_add(struct tsdb_hist_builder *h, double value, uint64_t times)
{
    h->sum += value * (double)times;
    h->count += times;
    if (!(value > 0x1p-32)) {
        h->zero += times;
        return;
    }
    uint32_t at = (uint32_t)(index_of(MIN(value, 0x1p32)) + BUILDER_ZERO);
    h->counts[at] += times;
    h->low = MIN(h->low, at);
    h->high = MAX(h->high, at);
}

enum err tsdb_hist_builder_finish(const struct tsdb_hist_builder *h, struct arena *a,
                                  struct tsdb_hist *out)
{
    struct tsdb_hist v = {.schema = OBSERVE_SCHEMA,
                          .zero_threshold = ZERO_THRESHOLD,
                          .zero_count = (double)h->zero,
                          .count = (double)h->count,
                          .sum = h->sum};
    uint32_t n = 0, spans = 0;
    for (uint32_t i = h->low; i <= h->high && h->low < TSDB_HIST_BUILDER_BUCKETS; i++) {
        n += h->counts[i] != 0;
        spans += h->counts[i] && (i == h->low || !h->counts[i - 1]);
    }
    struct tsdb_hist_span *span = ARENA_ARRAY(a, struct tsdb_hist_span, spans + 1);
    double *pos = ARENA_ARRAY(a, double, n + 1);
    if (!span || !pos)
        return ERR_LIMIT;
    uint32_t k = 0, s = 0, end = BUILDER_ZERO;
    for (uint32_t i = h->low; k < n; i++) {
        if (!h->counts[i])
            continue;
        if (i == h->low || !h->counts[i - 1])
            span[s++] = (struct tsdb_hist_span){(int32_t)i - (int32_t)end, 0};
        span[s - 1].length++;
        end = i + 1;
        pos[k++] = (double)h->counts[i];
    }
    v.pos_spans = span;
    v.pos_span_count = spans;
    v.pos = pos;
    v.pos_count = n;
    *out = v;
    return ERR_OK;
}

bool tsdb_hist_is_one(const struct tsdb_hist *h)
{
    if (h->schema != OBSERVE_SCHEMA || h->hint || h->zero_threshold != ZERO_THRESHOLD ||
        h->count != 1 || h->zero_count != 0 || h->custom_count || h->neg_span_count ||
        h->neg_count || h->pos_span_count != 1 || h->pos_count != 1 ||
        h->pos_spans[0].length != 1 || h->pos[0] != 1 || !isfinite(h->sum) ||
        h->sum <= ZERO_THRESHOLD)
        return false;
    int32_t at = h->pos_spans[0].offset;
    return bound_of(OBSERVE_SCHEMA, at) >= h->sum && bound_of(OBSERVE_SCHEMA, at - 1) < h->sum;
}
