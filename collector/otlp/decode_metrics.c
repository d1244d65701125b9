#include "base/check.h"
#include "collector/otlp/decode.h"
#include "collector/otlp/metric_name.h"
#include "collector/otlp/metric_points.h"

#define TARGET_INFO_STEP_MS INT64_C(150000) /* half of the look-back of queries */
#define TARGET_INFO_MAX 300 /* samples a resource and request; wider steps beyond */

typedef enum err (*add_point)(struct metric_points *m, struct bytes point);

struct data_kind {
    uint32_t field; /* of Metric */
    add_point add;
    const char *type; /* of the metadata */
};
static const struct data_kind kinds[] = {
    {5, metric_points_number, "gauge"},        {7, metric_points_number, "counter"},
    {9, metric_points_histogram, "histogram"}, {10, metric_points_exponential, "histogram"},
    {11, metric_points_summary, "summary"},
};

/* Sum, Histogram, ExponentialHistogram: 2 temporality, 3 is_monotonic. Gauge and Summary have neither. */
static void read_traits(struct metric_points *m, struct bytes data)
{
    struct otlp_wire w = otlp_wire_of(data);
    struct otlp_wire_field f;
    m->temporality = METRIC_POINTS_UNSPECIFIED;
    m->is_monotonic = false;
    while (otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD) {
        if (f.number == 2 && f.type == OTLP_WIRE_VARINT && f.value <= METRIC_POINTS_CUMULATIVE)
            m->temporality = (unsigned)f.value;
        else if (f.number == 3 && f.type == OTLP_WIRE_VARINT)
            m->is_monotonic = f.value != 0;
    }
}

static enum err build_name(struct metric_points *m, enum metric_name_kind kind, struct bytes *out)
{
    struct buf *b = &m->d->attrs;
    buf_clear(b);
    *out = BYTES_NONE;
    return metric_name_build(m->sent_name, m->unit, kind, m->d->o->translation.strategy, b)
               ? decode_keep(m->d, b, out)
               : ERR_OK;
}

/* The name of amounts beside that of the counts: without _total; where names have no suffixes, with _delta. */
static enum err build_delta_name(struct metric_points *m)
{
    if (otlp_translation_has_suffixes(m->d->o->translation.strategy))
        return build_name(m, METRIC_NAME_PLAIN, &m->plain_name);
    buf_clear(&m->d->attrs);
    buf_bytes_append(&m->d->attrs, m->name);
    buf_str(&m->d->attrs, "_delta");
    return decode_keep(m->d, &m->d->attrs, &m->plain_name);
}

static enum err build_names(struct metric_points *m, const struct data_kind *kind)
{
    bool is_counter = m->is_sum && m->is_monotonic;
    enum err e = build_name(m,
                            is_counter         ? METRIC_NAME_COUNTER
                            : kind->field == 5 ? METRIC_NAME_GAUGE
                                               : METRIC_NAME_PLAIN,
                            &m->name);
    m->plain_name = m->name;
    if (e == ERR_OK && is_counter && m->temporality == METRIC_POINTS_DELTA && m->name.size)
        e = build_delta_name(m);
    return e;
}

/* Labels __type__ and __unit__, where they are wanted. */
static enum err build_labels(struct metric_points *m, const struct data_kind *kind)
{
    const char *type = m->is_sum && !m->is_monotonic ? "gauge" : kind->type;
    struct bytes unit = BYTES_NONE;
    enum err e = ERR_OK;
    if (m->d->o->translation.type_and_unit) {
        buf_clear(&m->d->attrs);
        metric_name_unit(m->unit, m->d->o->translation.strategy, &m->d->attrs);
        e = decode_keep(m->d, &m->d->attrs, &unit);
    }
    point_series_metric(m->series, bytes_str(type), unit);
    return e;
}

static enum err add_metadata(struct metric_points *m, const struct data_kind *kind)
{
    const char *type = m->is_sum && !m->is_monotonic ? "gauge" : kind->type;
    struct tsdb_batch *b = m->d->batch;
    bool added =
        (!m->has_named || tsdb_batch_add_metadata(b, m->name, bytes_str(type), m->help, m->unit)) &&
        (!m->has_plain ||
         tsdb_batch_add_metadata(b, m->plain_name, BYTES_LIT("gauge"), m->help, m->unit));
    return added ? ERR_OK : decode_full();
}

static enum err decode_data(struct metric_points *m, const struct data_kind *kind,
                            struct bytes data)
{
    struct otlp_wire w = otlp_wire_of(data);
    struct otlp_wire_field f;
    m->is_sum = kind->field == 7;
    read_traits(m, data);
    enum err e = build_names(m, kind);
    if (e == ERR_OK)
        e = build_labels(m, kind);
    bool is_number = kind->add == metric_points_number; /* says itself under which name */
    m->has_named = m->has_plain = false;
    while (e == ERR_OK && otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD) {
        if (f.number != 1)
            continue;
        e = m->name.size ? kind->add(m, f.bytes)
                         : metric_points_reject(m, TSDB_REJECT_BAD_LABELS,
                                                "the name is empty, too long, or has no letter");
        m->has_named |= e == ERR_OK && !is_number;
        if (e == ERR_INVALID)
            e = ERR_OK; /* this point was rejected */
    }
    return e == ERR_OK ? add_metadata(m, kind) : e;
}

static enum err decode_metric(struct metric_points *m, struct bytes wire)
{
    struct otlp_wire w = otlp_wire_of(wire);
    struct otlp_wire_field f;
    m->sent_name = m->help = m->unit = BYTES_NONE;
    while (otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD) {
        if (f.number == 1)
            m->sent_name = f.bytes;
        else if (f.number == 2)
            m->help = f.bytes;
        else if (f.number == 3)
            m->unit = f.bytes;
    }
    enum err e = ERR_OK;
    w = otlp_wire_of(wire);
    while (e == ERR_OK && otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD)
        for (size_t i = 0; e == ERR_OK && i < ARRAY_LEN(kinds); i++)
            if (f.number == kinds[i].field)
                e = decode_data(m, &kinds[i], f.bytes);
    return e;
}

/* --- target_info ---------------------------------------------------------------------------------- */

static bool is_identity(struct bytes key)
{
    return bytes_equal_str(key, "service.name") || bytes_equal_str(key, "service.namespace") ||
           bytes_equal_str(key, "service.instance.id");
}

/* The Resource message without the attributes that became job and instance (unless they are to stay); empty when there are no others. */
static struct bytes other_attrs(struct decode *d, const struct decode_resource *r)
{
    bool has_others = false;
    struct otlp_wire w = otlp_wire_of(r->wire);
    struct otlp_wire_field f, kv;
    buf_clear(&d->events);
    while (otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD) {
        struct bytes key = BYTES_NONE;
        if (f.number != 1)
            continue;
        struct otlp_wire in = otlp_wire_of(f.bytes);
        while (otlp_wire_next(&in, &kv) == OTLP_WIRE_FIELD)
            if (kv.number == 1)
                key = kv.bytes;
        bool is_other = !is_identity(key);
        has_others |= is_other;
        if (!is_other && !d->o->translation.keep_identifying)
            continue;
        buf_u8(&d->events, 1 << 3 | OTLP_WIRE_LEN);
        buf_lenbytes(&d->events, f.bytes);
    }
    return has_others ? buf_bytes(&d->events) : BYTES_NONE;
}

/* One gauge of value 1 that carries the resource's other attributes, as often as queries look back for it. */
static enum err add_target_info(struct metric_points *m, const struct decode_resource *r)
{
    struct tsdb_ref ref;
    struct bytes name = BYTES_LIT("target_info");
    if (m->first_ms > m->last_ms || (!m->series->job.size && !m->series->instance.size))
        return ERR_OK;
    struct bytes others = other_attrs(m->d, r);
    if (!buf_ok(&m->d->events))
        return ERR_NOMEM;
    if (!others.size)
        return ERR_OK;
    /* No data point of the sender: what goes wrong here is not counted as one. */
    uint64_t rejected[TSDB_REJECT_COUNT];
    struct err_msg reject_msg = m->d->batch->reject_msg;
    memcpy(rejected, m->d->batch->rejected, sizeof(rejected));
    point_series_bare_attrs(m->series, others, 1, name);
    enum err e = point_series_ref(m->series, name, "", NULL, BYTES_NONE, TSDB_SERIES_SAMPLES, &ref);
    if (e == ERR_INVALID) {
        memcpy(m->d->batch->rejected, rejected, sizeof(rejected));
        m->d->batch->reject_msg = reject_msg;
        return ERR_OK;
    }
    int64_t step = MAX(TARGET_INFO_STEP_MS, (m->last_ms - m->first_ms) / TARGET_INFO_MAX);
    struct metric_points_head h = {.t_ms = m->first_ms};
    int64_t last = m->last_ms;
    for (; e == ERR_OK && h.t_ms < last; h.t_ms += step)
        e = metric_points_add(m, ref, &h, 1);
    h.t_ms = last;
    if (e == ERR_OK)
        e = metric_points_add(m, ref, &h, 1);
    if (e == ERR_OK && !tsdb_batch_add_metadata(m->d->batch, name, BYTES_LIT("gauge"),
                                                BYTES_LIT("Target metadata"), BYTES_NONE))
        e = decode_full();
    return e;
}

/* --- the request ---------------------------------------------------------------------------------- */

static enum err decode_resource_metrics(struct metric_points *m, struct bytes wire)
{
    struct decode_resource r;
    struct otlp_wire scopes = otlp_wire_of(wire);
    struct otlp_wire_field sf, mf;
    m->first_ms = INT64_MAX;
    m->last_ms = INT64_MIN;
    enum err e = decode_resource(m->d, wire, &r);
    if (e == ERR_OK)
        e = point_series_resource(m->series, &r);
    while (e == ERR_OK && otlp_wire_next(&scopes, &sf) == OTLP_WIRE_FIELD) {
        if (sf.number != 2)
            continue;
        struct otlp_wire metrics = otlp_wire_of(sf.bytes);
        e = point_series_scope(m->series, sf.bytes);
        while (e == ERR_OK && otlp_wire_next(&metrics, &mf) == OTLP_WIRE_FIELD)
            if (mf.number == 2)
                e = decode_metric(m, mf.bytes);
    }
    return e == ERR_OK ? add_target_info(m, &r) : e;
}

enum err decode_metrics(struct decode *d, struct bytes body)
{
    struct point_series series;
    enum err e = point_series_init(&series, d);
    if (e != ERR_OK)
        return e;
    struct metric_points m = {.series = &series, .d = d};
    struct otlp_wire w = otlp_wire_of(body);
    struct otlp_wire_field f;
    while (e == ERR_OK && otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD)
        if (f.number == 1)
            e = decode_resource_metrics(&m, f.bytes);
    point_series_done(&series);
    return e;
}
