/* Histogram points: explicit bounds and exponential buckets. */
#include <math.h>
#include <stdio.h>

#include "base/check.h"
#include "base/json_out.h"
#include "collector/otlp/metric_points.h"

#define ZERO_THRESHOLD_DEFAULT 1e-128 /* as Prometheus takes it where the sender says none */
#define SCALE_MIN (-4)
#define SCALE_MAX 8
#define GAP_FILL_MAX 2 /* empty buckets cheaper to store than a new span */

struct hist {
    struct metric_points_head head;
    uint64_t start_ns, time_ns, count, zero_count;
    double sum, zero_threshold;
    bool has_sum;
    int64_t scale;
    struct bytes positive, negative;
    double *counts, *bounds;
    size_t count_n, bound_n;
};

/* A repeated number in field `number` of wire, packed or not: how many, and (out not NULL) the values. */
static size_t repeated(struct bytes wire, uint32_t number, bool is_double, bool is_varint,
                       double *out)
{
    struct otlp_wire w = otlp_wire_of(wire);
    struct otlp_wire_field f;
    size_t n = 0;
    while (otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD) {
        if (f.number != number)
            continue;
        if (f.type != OTLP_WIRE_LEN) {
            if (out)
                out[n] = is_double ? otlp_wire_f64(f.value) : (double)f.value;
            n++;
            continue;
        }
        struct otlp_wire in = otlp_wire_of(f.bytes);
        while (in.at != in.end) {
            uint64_t v = 0;
            if (is_varint) {
                if (!otlp_wire_varint(&in, &v))
                    break;
            } else {
                v = bytes_u64le(in.at);
                in.at += 8;
            }
            if (out)
                out[n] = is_double ? otlp_wire_f64(v) : (double)v;
            n++;
        }
    }
    return n;
}

/* Numbers into the point's scratch arena; false: too many. */
static bool numbers(struct metric_points *m, struct bytes wire, uint32_t number, bool is_double,
                    bool is_varint, double **out, size_t *out_n)
{
    *out = NULL;
    *out_n = repeated(wire, number, is_double, is_varint, NULL);
    if (*out_n > TSDB_HIST_BUCKETS_MAX)
        return false;
    *out = ARENA_ARRAY(m->series->scratch, double, *out_n + 1);
    if (!*out)
        return false;
    repeated(wire, number, is_double, is_varint, *out);
    return true;
}

static bool is_delta(const struct metric_points *m)
{
    return m->temporality == METRIC_POINTS_DELTA;
}

/* Time, temporality and attributes: what both kinds of histogram check first. */
static enum err open_point(struct metric_points *m, struct bytes point, struct hist *h,
                           uint32_t attrs_field)
{
    if (!metric_points_time(m, &h->head, h->start_ns, h->time_ns))
        return ERR_INVALID;
    if (m->temporality == METRIC_POINTS_UNSPECIFIED)
        return metric_points_reject(m, TSDB_REJECT_UNSUPPORTED,
                                    "a histogram must say whether it is cumulative or delta");
    if (is_delta(m) && h->head.flags & METRIC_POINTS_NO_VALUE)
        return metric_points_reject(m, TSDB_REJECT_UNSUPPORTED, "a delta without a value");
    point_series_attrs(m->series, point, attrs_field, m->sent_name);
    return ERR_OK;
}

/* A checked native histogram as a sample, or as an add to its minute's cell. */
static enum err keep_native(struct metric_points *m, struct bytes point, const struct hist *h,
                            const struct tsdb_hist *native, uint32_t exemplars_field)
{
    struct tsdb_ref ref;
    struct err_msg why;
    bool stale = h->head.flags & METRIC_POINTS_NO_VALUE;
    if (!stale && tsdb_hist_check(native, &why) != ERR_OK)
        return metric_points_reject(m, TSDB_REJECT_BAD_HISTOGRAM, why.text);
    enum err e = point_series_ref(m->series, m->name, "", NULL, BYTES_NONE,
                                  is_delta(m) ? TSDB_SERIES_CELLS : TSDB_SERIES_SAMPLES, &ref);
    if (e != ERR_OK)
        return e;
    if (stale)
        return metric_points_add(m, ref, &h->head, metric_points_stale());
    struct tsdb_hist *kept = arena_alloc(m->d->batch->arena, sizeof(*kept));
    if (!kept || tsdb_hist_copy(native, m->d->batch->arena, kept) != ERR_OK)
        return decode_full();
    m->first_ms = MIN(m->first_ms, h->head.t_ms);
    m->last_ms = MAX(m->last_ms, h->head.t_ms);
    bool added =
        is_delta(m)
            ? tsdb_batch_add_hist_cell(m->d->batch, ref, tsdb_batch_minute(decode_ns(h->time_ns)),
                                       kept, TSDB_NO_ROW)
            : tsdb_batch_add_hist(m->d->batch, ref, h->head.t_ms, kept, h->head.start_ms);
    return added ? metric_points_exemplars(m, point, exemplars_field, &h->head, &ref, NULL, 0)
                 : decode_full();
}

/* --- explicit bounds ------------------------------------------------------------------------------ */

static void read_explicit(struct bytes point, struct hist *h)
{
    struct otlp_wire w = otlp_wire_of(point);
    struct otlp_wire_field f;
    *h = (struct hist){.count = 0};
    while (otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD) {
        switch (f.number) {
        case 2: h->start_ns = f.value; break;
        case 3: h->time_ns = f.value; break;
        case 4: h->count = f.value; break;
        case 5:
            h->sum = otlp_wire_f64(f.value);
            h->has_sum = true;
            break;
        case 10: h->head.flags = f.value; break;
        default: break;
        }
    }
}

static const char *explicit_fault(const struct hist *h)
{
    double total = 0;
    if (h->count_n ? h->count_n != h->bound_n + 1 : h->bound_n != 0)
        return "there must be one more bucket count than bounds";
    for (size_t i = 0; i < h->bound_n; i++)
        if (isnan(h->bounds[i]) || (i && !(h->bounds[i] > h->bounds[i - 1])))
            return "bounds must rise";
    for (size_t i = 0; i < h->count_n; i++)
        total += h->counts[i];
    if (h->count_n && total != (double)h->count)
        return "the count is not the sum of the bucket counts";
    return NULL;
}

/* Bounds as Go's shortest 'f' form prints them, without an exponent however small or large. */
static size_t bound_text(double v, char *out)
{
    size_t n = json_out_prom_float(v, out);
    if (!memchr(out, 'e', n))
        return n;
    char digits[32];
    int exponent = 0, len = 0;
    bool minus = v < 0;
    for (size_t i = minus; i < n && out[i] != 'e'; i++)
        if (out[i] != '.')
            digits[len++] = out[i];
    for (size_t i = 0; i < n; i++)
        if (out[i] == 'e') {
            int sign = out[i + 1] == '-' ? -1 : 1;
            for (size_t j = i + 2; j < n; j++)
                exponent = exponent * 10 + (out[j] - '0');
            exponent *= sign;
            break;
        }
    char *p = out;
    if (minus)
        *p++ = '-';
    if (exponent < 0) {
        *p++ = '0';
        *p++ = '.';
        for (int i = -1; i > exponent; i--)
            *p++ = '0';
        memcpy(p, digits, (size_t)len);
        return (size_t)(p + len - out);
    }
    for (int i = 0; i <= exponent; i++)
        *p++ = i < len ? digits[i] : '0';
    return (size_t)(p - out);
}

/* Cumulative buckets under classic names: _bucket{le}, _sum, _count. */
static enum err keep_classic(struct metric_points *m, struct bytes point, const struct hist *h)
{
    bool stale = h->head.flags & METRIC_POINTS_NO_VALUE;
    bool ends_in_inf = h->bound_n && isinf(h->bounds[h->bound_n - 1]);
    size_t n = h->bound_n - ends_in_inf;
    struct tsdb_ref *refs = ARENA_ARRAY(m->series->scratch, struct tsdb_ref, n + 3);
    struct point_series *s = m->series;
    char text[JSON_OUT_PROM_FLOAT_MAX + 64];
    enum err e = refs ? ERR_OK : ERR_NOMEM;
    for (size_t i = 0; e == ERR_OK && i < n; i++) {
        size_t size = bound_text(h->bounds[i], text);
        e = point_series_ref(s, m->name, "_bucket", "le", bytes_of(text, size), TSDB_SERIES_SAMPLES,
                             &refs[i]);
    }
    if (e == ERR_OK)
        e = point_series_ref(s, m->name, "_bucket", "le", BYTES_LIT("+Inf"), TSDB_SERIES_SAMPLES,
                             &refs[n]);
    if (e == ERR_OK)
        e = point_series_ref(s, m->name, "_count", NULL, BYTES_NONE, TSDB_SERIES_SAMPLES,
                             &refs[n + 1]);
    if (e == ERR_OK && h->has_sum)
        e = point_series_ref(s, m->name, "_sum", NULL, BYTES_NONE, TSDB_SERIES_SAMPLES,
                             &refs[n + 2]);
    double running = 0;
    for (size_t i = 0; e == ERR_OK && i < n; i++) {
        running += h->counts[i];
        e = metric_points_add(m, refs[i], &h->head, stale ? metric_points_stale() : running);
    }
    for (size_t i = n; e == ERR_OK && i < n + 2; i++)
        e = metric_points_add(m, refs[i], &h->head,
                              stale ? metric_points_stale() : (double)h->count);
    if (e == ERR_OK && h->has_sum)
        e = metric_points_add(m, refs[n + 2], &h->head, stale ? metric_points_stale() : h->sum);
    return e == ERR_OK ? metric_points_exemplars(m, point, 8, &h->head, refs, h->bounds, n) : e;
}

/* A histogram with explicit bounds as a native one with custom bounds: bounds, buckets and sum in one. Deltas always (one cell, which adds up
 * exactly), running totals where the settings say so. */
static enum err keep_custom(struct metric_points *m, struct bytes point, const struct hist *h)
{
    size_t bounds = h->bound_n;
    if (bounds && isinf(h->bounds[bounds - 1]))
        bounds--;
    double all[1] = {(double)h->count};
    double *counts = h->count_n ? h->counts : all;
    size_t n = h->count_n ? h->count_n : 1;
    if (n == bounds + 2) { /* +Inf was named: what lies above it belongs to it */
        counts[n - 2] += counts[n - 1];
        n--;
    }
    struct tsdb_hist_span span = {0, (uint32_t)n};
    struct tsdb_hist native = {
        .schema = TSDB_HIST_CUSTOM_SCHEMA,
        .count = (double)h->count,
        .sum = h->sum,
        .pos_span_count = 1,
        .pos_count = (uint32_t)n,
        .custom_count = (uint32_t)bounds,
        .pos_spans = &span,
        .pos = counts,
        .custom = h->bounds,
    };
    return keep_native(m, point, h, &native, 8);
}

enum err metric_points_histogram(struct metric_points *m, struct bytes point)
{
    struct hist h;
    read_explicit(point, &h);
    enum err e = open_point(m, point, &h, 9);
    if (e != ERR_OK)
        return e;
    if (!numbers(m, point, 6, false, false, &h.counts, &h.count_n) ||
        !numbers(m, point, 7, true, false, &h.bounds, &h.bound_n))
        return metric_points_reject(m, TSDB_REJECT_BAD_HISTOGRAM, "too many buckets");
    const char *fault = h.head.flags & METRIC_POINTS_NO_VALUE ? NULL : explicit_fault(&h);
    if (fault)
        return metric_points_reject(m, TSDB_REJECT_BAD_HISTOGRAM, fault);
    if (h.head.flags & METRIC_POINTS_NO_VALUE && h.count_n != h.bound_n + 1)
        h.bound_n = 0;
    return is_delta(m) || m->d->o->translation.custom_buckets ? keep_custom(m, point, &h)
                                                              : keep_classic(m, point, &h);
}

/* --- exponential ---------------------------------------------------------------------------------- */

static void read_exponential(struct bytes point, struct hist *h)
{
    struct otlp_wire w = otlp_wire_of(point);
    struct otlp_wire_field f;
    *h = (struct hist){.count = 0};
    while (otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD) {
        switch (f.number) {
        case 2: h->start_ns = f.value; break;
        case 3: h->time_ns = f.value; break;
        case 4: h->count = f.value; break;
        case 5: h->sum = otlp_wire_f64(f.value); break;
        case 6: h->scale = otlp_wire_zigzag(f.value); break;
        case 7: h->zero_count = f.value; break;
        case 8: h->positive = f.bytes; break;
        case 9: h->negative = f.bytes; break;
        case 10: h->head.flags = f.value; break;
        case 14: h->zero_threshold = otlp_wire_f64(f.value); break;
        default: break;
        }
    }
}

static int64_t bucket_offset(struct bytes wire)
{
    struct otlp_wire w = otlp_wire_of(wire);
    struct otlp_wire_field f;
    int64_t offset = 0;
    while (otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD)
        if (f.number == 1)
            offset = otlp_wire_zigzag(f.value);
    return (int32_t)offset;
}

struct out_side {
    struct tsdb_hist_span *spans;
    double *counts;
    uint32_t span_count, count;
    int64_t next; /* index after the last bucket written */
};

static void out_bucket(struct out_side *o, int64_t index, double count)
{
    int64_t gap = index - o->next;
    if (o->span_count == 0 || gap > GAP_FILL_MAX) {
        o->spans[o->span_count++] =
            (struct tsdb_hist_span){(int32_t)(o->span_count == 0 ? index : gap), 0};
    } else {
        for (; gap > 0; gap--) {
            o->counts[o->count++] = 0;
            o->spans[o->span_count - 1].length++;
        }
    }
    o->counts[o->count++] = count;
    o->spans[o->span_count - 1].length++;
    o->next = index + 1;
}

/* Buckets of one side: merged by 2^down, shifted by one (their bucket i begins at base^i, ours ends there), without empty ones. */
static bool convert_side(struct metric_points *m, struct bytes wire, unsigned down,
                         struct out_side *o)
{
    double *in;
    size_t n;
    *o = (struct out_side){.next = 0};
    if (!numbers(m, wire, 2, false, true, &in, &n))
        return false;
    o->spans = ARENA_ARRAY(m->series->scratch, struct tsdb_hist_span, n + 1);
    o->counts = ARENA_ARRAY(m->series->scratch, double, (1 + GAP_FILL_MAX) * n + 1);
    if (!o->spans || !o->counts)
        return false;
    int64_t offset = bucket_offset(wire);
    if (offset + (int64_t)n >= INT32_MAX)
        return false;
    for (size_t i = 0; i < n;) {
        int64_t index = (offset + (int64_t)i) >> down;
        double sum = 0;
        for (; i < n && (offset + (int64_t)i) >> down == index; i++)
            sum += in[i];
        if (sum != 0)
            out_bucket(o, index + 1, sum);
    }
    return true;
}

enum err metric_points_exponential(struct metric_points *m, struct bytes point)
{
    struct hist h;
    struct out_side pos, neg;
    read_exponential(point, &h);
    enum err e = open_point(m, point, &h, 1);
    if (e != ERR_OK)
        return e;
    if (h.scale < SCALE_MIN)
        return metric_points_reject(m, TSDB_REJECT_BAD_HISTOGRAM,
                                    "scales below -4 are not supported");
    unsigned down = h.scale > SCALE_MAX ? (unsigned)MIN(h.scale - SCALE_MAX, 31) : 0;
    if (!convert_side(m, h.positive, down, &pos) || !convert_side(m, h.negative, down, &neg))
        return metric_points_reject(m, TSDB_REJECT_BAD_HISTOGRAM, "too many buckets");
    double total = (double)h.zero_count;
    for (uint32_t i = 0; i < pos.count; i++)
        total += pos.counts[i];
    for (uint32_t i = 0; i < neg.count; i++)
        total += neg.counts[i];
    if (!(h.head.flags & METRIC_POINTS_NO_VALUE) && total != (double)h.count)
        return metric_points_reject(m, TSDB_REJECT_BAD_HISTOGRAM,
                                    "the count is not the sum of the bucket counts");
    struct tsdb_hist native = {
        .schema = (int8_t)MIN(h.scale, SCALE_MAX),
        .zero_threshold = h.zero_threshold > 0 ? h.zero_threshold : ZERO_THRESHOLD_DEFAULT,
        .zero_count = (double)h.zero_count,
        .count = (double)h.count,
        .sum = h.sum,
        .pos_span_count = pos.span_count,
        .neg_span_count = neg.span_count,
        .pos_count = pos.count,
        .neg_count = neg.count,
        .pos_spans = pos.spans,
        .neg_spans = neg.spans,
        .pos = pos.counts,
        .neg = neg.counts,
    };
    return keep_native(m, point, &h, &native, 11);
}
