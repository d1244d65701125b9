/* Number and summary points, and what all points share. */
#include "collector/otlp/metric_points.h"

#include <math.h>

#include "base/check.h"
#include "base/json_out.h"

double metric_points_stale(void)
{
    return otlp_wire_f64(METRIC_POINTS_STALE);
}

/* A NaN of the sender must not look like our stale marker. */
static double plain(double v)
{
    return isnan(v) ? otlp_wire_f64(METRIC_POINTS_NAN) : v;
}

bool metric_points_time(struct metric_points *m, struct metric_points_head *h, uint64_t start_ns,
                        uint64_t time_ns)
{
    h->t_ms = decode_ns(time_ns) / 1000000;
    h->start_ms = decode_ns(start_ns) / 1000000;
    if (h->start_ms > h->t_ms)
        h->start_ms = 0; /* cannot be: unknown */
    return decode_time_is_fine(m->d, "data point", h->t_ms);
}

enum err metric_points_reject(struct metric_points *m, enum tsdb_reject why, const char *text)
{
    tsdb_batch_reject(m->d->batch, why, "metric \"%.*s\": %s", (int)MIN(m->sent_name.size, 100),
                      (const char *)m->sent_name.data, text);
    return ERR_INVALID;
}

static void note_time(struct metric_points *m, int64_t t_ms)
{
    m->first_ms = MIN(m->first_ms, t_ms);
    m->last_ms = MAX(m->last_ms, t_ms);
}

enum err metric_points_add(struct metric_points *m, struct tsdb_ref ref,
                           const struct metric_points_head *h, double v)
{
    note_time(m, h->t_ms);
    return tsdb_batch_add_sample(m->d->batch, ref, h->t_ms, v, h->start_ms) ? ERR_OK
                                                                            : decode_full();
}

enum err metric_points_exemplars(struct metric_points *m, struct bytes point, uint32_t number,
                                 const struct metric_points_head *h, const struct tsdb_ref *refs,
                                 const double *bounds, size_t bound_count)
{
    struct otlp_wire w = otlp_wire_of(point);
    struct otlp_wire_field f;
    while (otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD) {
        struct tsdb_labels labels;
        double value;
        uint64_t time_ns;
        if (f.number != number)
            continue;
        if (point_series_exemplar(m->series, f.bytes, &labels, &value, &time_ns) != ERR_OK)
            continue; /* an example that cannot be labelled is no example; its point stands */
        int64_t t_ms = time_ns ? decode_ns(time_ns) / 1000000 : h->t_ms;
        if (t_ms < m->d->o->floor_ms || t_ms > m->d->ceiling_ms)
            continue;
        size_t i = 0;
        while (i < bound_count && !(value <= bounds[i]))
            i++;
        if (!tsdb_batch_add_exemplar(m->d->batch, refs[i], t_ms, value, labels))
            return decode_full();
    }
    return ERR_OK;
}

/* --- numbers -------------------------------------------------------------------------------------- */

struct number {
    struct metric_points_head head;
    uint64_t start_ns, time_ns, bits;
    uint32_t value_field; /* 4 as_double, 6 as_int, 0 none */
};

static void read_number(struct bytes point, struct number *n)
{
    struct otlp_wire w = otlp_wire_of(point);
    struct otlp_wire_field f;
    *n = (struct number){.bits = 0};
    while (otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD) {
        switch (f.number) {
        case 2: n->start_ns = f.value; break;
        case 3: n->time_ns = f.value; break;
        case 4:
        case 6:
            n->value_field = f.number;
            n->bits = f.value;
            break;
        case 8: n->head.flags = f.value; break;
        default: break;
        }
    }
}

/* Units of which only whole ones exist: no unit, 1, {things}, bytes. */
static bool unit_is_countable(struct bytes unit)
{
    return unit.size == 0 || bytes_equal_str(unit, "1") || bytes_equal_str(unit, "By") ||
           bytes_find(unit, BYTES_LIT("{")) < unit.size;
}

static bool whole_delta(const struct metric_points *m, const struct number *n, int64_t *out)
{
    double v = otlp_wire_f64(n->bits);
    if (n->value_field == 6) {
        *out = (int64_t)n->bits;
        return true;
    }
    if (!unit_is_countable(m->unit) || !(fabs(v) < 9007199254740992.0) || v != floor(v))
        return false;
    *out = (int64_t)v;
    return true;
}

/* A delta is an add to the cell of its minute. Cells are integers; a sum of measured amounts (seconds, dollars) is kept as the amounts
 * themselves, one sample each, under the name without _total: sum_over_time adds them up. */
static enum err add_delta(struct metric_points *m, struct bytes point, const struct number *n)
{
    int64_t add;
    struct tsdb_ref ref;
    if (n->head.flags & METRIC_POINTS_NO_VALUE)
        return metric_points_reject(m, TSDB_REJECT_UNSUPPORTED, "a delta without a value");
    bool whole = whole_delta(m, n, &add);
    enum err e = point_series_ref(m->series, whole ? m->name : m->plain_name, "", NULL, BYTES_NONE,
                                  whole ? TSDB_SERIES_CELLS : TSDB_SERIES_SAMPLES, &ref);
    if (e != ERR_OK)
        return e;
    m->has_plain |= !whole;
    m->has_named |= whole;
    if (!whole) {
        e = metric_points_add(m, ref, &n->head, plain(otlp_wire_f64(n->bits)));
    } else {
        note_time(m, n->head.t_ms);
        if (!tsdb_batch_add_cell(m->d->batch, ref, tsdb_batch_minute(decode_ns(n->time_ns)), add,
                                 TSDB_NO_ROW))
            e = decode_full();
    }
    return e == ERR_OK ? metric_points_exemplars(m, point, 5, &n->head, &ref, NULL, 0) : e;
}

enum err metric_points_number(struct metric_points *m, struct bytes point)
{
    struct number n;
    struct tsdb_ref ref;
    read_number(point, &n);
    if (!metric_points_time(m, &n.head, n.start_ns, n.time_ns))
        return ERR_INVALID;
    bool no_value = n.head.flags & METRIC_POINTS_NO_VALUE;
    if (!no_value && n.value_field == 0)
        return metric_points_reject(m, TSDB_REJECT_MALFORMED, "a point without a value");
    if (m->is_sum && m->temporality == METRIC_POINTS_UNSPECIFIED)
        return metric_points_reject(m, TSDB_REJECT_UNSUPPORTED,
                                    "a sum must say whether it is cumulative or delta");
    bool delta = m->is_sum && m->temporality == METRIC_POINTS_DELTA;
    if (delta && !m->is_monotonic)
        return metric_points_reject(m, TSDB_REJECT_UNSUPPORTED,
                                    "deltas of a sum that may fall; send it as cumulative");
    point_series_attrs(m->series, point, 7, m->sent_name);
    if (delta)
        return add_delta(m, point, &n);
    m->series->may_fold = !m->is_sum;
    enum err e =
        point_series_ref(m->series, m->name, "", NULL, BYTES_NONE, TSDB_SERIES_SAMPLES, &ref);
    if (e != ERR_OK)
        return e;
    m->has_named = true;
    if (!m->is_sum)
        n.head.start_ms = 0; /* a gauge starts nowhere */
    double v = n.value_field == 6 ? (double)(int64_t)n.bits : plain(otlp_wire_f64(n.bits));
    e = metric_points_add(m, ref, &n.head, no_value ? metric_points_stale() : v);
    return e == ERR_OK ? metric_points_exemplars(m, point, 5, &n.head, &ref, NULL, 0) : e;
}

/* --- summaries ------------------------------------------------------------------------------------ */

#define QUANTILES_MAX 1000u

struct summary {
    struct metric_points_head head;
    uint64_t start_ns, time_ns, count;
    double sum;
    unsigned quantiles;
};

static void read_summary(struct bytes point, struct summary *s)
{
    struct otlp_wire w = otlp_wire_of(point);
    struct otlp_wire_field f;
    *s = (struct summary){.count = 0};
    while (otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD) {
        switch (f.number) {
        case 2: s->start_ns = f.value; break;
        case 3: s->time_ns = f.value; break;
        case 4: s->count = f.value; break;
        case 5: s->sum = otlp_wire_f64(f.value); break;
        case 6: s->quantiles++; break;
        case 8: s->head.flags = f.value; break;
        default: break;
        }
    }
}

static void read_quantile(struct bytes wire, double *out_quantile, double *out_value)
{
    struct otlp_wire w = otlp_wire_of(wire);
    struct otlp_wire_field f;
    *out_quantile = *out_value = 0;
    while (otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD) {
        if (f.number == 1)
            *out_quantile = otlp_wire_f64(f.value);
        else if (f.number == 2)
            *out_value = otlp_wire_f64(f.value);
    }
}

enum err metric_points_summary(struct metric_points *m, struct bytes point)
{
    struct summary s;
    struct tsdb_ref refs[QUANTILES_MAX + 2];
    double values[QUANTILES_MAX + 2];
    size_t n = 0;
    read_summary(point, &s);
    if (!metric_points_time(m, &s.head, s.start_ns, s.time_ns))
        return ERR_INVALID;
    if (s.quantiles > QUANTILES_MAX)
        return metric_points_reject(m, TSDB_REJECT_MALFORMED, "a summary of too many quantiles");
    point_series_attrs(m->series, point, 7, m->sent_name);
    enum err e = point_series_ref(m->series, m->name, "_sum", NULL, BYTES_NONE, TSDB_SERIES_SAMPLES,
                                  &refs[n]);
    values[n++] = plain(s.sum);
    if (e == ERR_OK)
        e = point_series_ref(m->series, m->name, "_count", NULL, BYTES_NONE, TSDB_SERIES_SAMPLES,
                             &refs[n]);
    values[n++] = (double)s.count;
    struct otlp_wire w = otlp_wire_of(point);
    struct otlp_wire_field f;
    while (e == ERR_OK && otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD) {
        char text[JSON_OUT_PROM_FLOAT_MAX];
        double quantile;
        if (f.number != 6)
            continue;
        read_quantile(f.bytes, &quantile, &values[n]);
        values[n] = plain(values[n]);
        size_t size = json_out_prom_float(quantile, text);
        e = point_series_ref(m->series, m->name, "", "quantile", bytes_of(text, size),
                             TSDB_SERIES_SAMPLES, &refs[n++]);
    }
    for (size_t i = 0; e == ERR_OK && i < n; i++)
        e = metric_points_add(m, refs[i], &s.head,
                              s.head.flags & METRIC_POINTS_NO_VALUE ? metric_points_stale()
                                                                    : values[i]);
    return e;
}
