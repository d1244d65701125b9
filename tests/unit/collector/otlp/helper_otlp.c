#include "collector/otlp/helper_otlp.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/json_out.h"
#include "otlp.pb-c.h"

/* --- random messages ------------------------------------------------------------------------------ */

struct maker {
    uint64_t state;
    struct arena *a;
    unsigned values; /* nested values */
};

static uint64_t next(struct maker *m)
{
    uint64_t z = m->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static unsigned below(struct maker *m, unsigned n)
{
    return (unsigned)(next(m) % n);
}

static char *random_text(struct maker *m, const char *field)
{
    static const char *const words[] = {"",
                                        "service.name",
                                        "gen_ai.request.model",
                                        "host.name",
                                        "chat",
                                        "9lives",
                                        "_private",
                                        "__reserved",
                                        "a b\"c\\n",
                                        "größe",
                                        "日本語",
                                        "job",
                                        "le",
                                        "http.method",
                                        "service.namespace",
                                        "service.instance.id",
                                        "x.y",
                                        "x_y",
                                        "telltale",
                                        "tool"};
    static const char *const units[] = {"",  "s",    "By", "1",    "{token}", "ms",
                                        "%", "By/s", "m",  "m/s2", "USD",     "{x}/min"};
    static const char *const metrics[] = {"gen_ai.client.token.usage",
                                          "http.server.duration",
                                          "requests total",
                                          "9th.wave",
                                          "queue.size",
                                          "größe.ok",
                                          "rpc.seconds"};
    const char *text = words[below(m, ARRAY_LEN(words))];
    if (strcmp(field, "unit") == 0)
        text = units[below(m, ARRAY_LEN(units))];
    else if (strcmp(field, "name") == 0 && below(m, 2))
        text = metrics[below(m, ARRAY_LEN(metrics))];
    return (char *)arena_printf(m->a, "%s", text).data;
}

static ProtobufCBinaryData random_bytes(struct maker *m, const char *field)
{
    size_t size = below(m, 20);
    bool trace = strcmp(field, "trace_id") == 0;
    if (trace || strstr(field, "span_id"))
        size = below(m, 12) == 0 ? (below(m, 2) ? 0 : 3) : trace ? 16 : 8;
    uint8_t *data = arena_alloc_raw(m->a, size + 1, 1);
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)next(m);
    return (ProtobufCBinaryData){size, data};
}

static uint64_t random_time(struct maker *m)
{
    switch (below(m, 24)) {
    case 0: return 0;
    case 1: return next(m); /* anything */
    case 2: return (uint64_t)(HELPER_OTLP_NOW_NS + INT64_C(3600000000000)); /* too far ahead */
    default: return (uint64_t)HELPER_OTLP_NOW_NS - next(m) % UINT64_C(3600000000000);
    }
}

static double random_double(struct maker *m)
{
    static const double picks[] = {0, 1, -1, 0.5, 1e21, 1e-9, 123456789.125, 42};
    switch (below(m, 12)) {
    case 0: return NAN;
    case 1: return INFINITY;
    case 2: return -INFINITY;
    default: return picks[below(m, ARRAY_LEN(picks))];
    }
}

static ProtobufCMessage *make(struct maker *m, const ProtobufCMessageDescriptor *d);

static int32_t random_enum(struct maker *m, const ProtobufCFieldDescriptor *f)
{
    const ProtobufCEnumDescriptor *e = f->descriptor;
    return e->values[below(m, e->n_values)].value;
}

static void put_scalar(struct maker *m, const ProtobufCFieldDescriptor *f, void *at)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32: *(int32_t *)at = (int32_t)below(m, 40) - 20; break;
    case PROTOBUF_C_TYPE_ENUM: *(int32_t *)at = random_enum(m, f); break;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        *(uint32_t *)at = strcmp(f->name, "flags") == 0
                              ? below(m, 8) == 0
                              : (uint32_t)(next(m) >> (32 + below(m, 32)));
        break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64: *(int64_t *)at = (int64_t)(next(m) >> below(m, 64)); break;
    case PROTOBUF_C_TYPE_UINT64: *(uint64_t *)at = below(m, 50); break;
    case PROTOBUF_C_TYPE_FIXED64:
        *(uint64_t *)at = strstr(f->name, "time") ? random_time(m) : below(m, 50);
        break;
    case PROTOBUF_C_TYPE_DOUBLE: *(double *)at = random_double(m); break;
    case PROTOBUF_C_TYPE_BOOL: *(protobuf_c_boolean *)at = (protobuf_c_boolean)below(m, 2); break;
    case PROTOBUF_C_TYPE_STRING: *(char **)at = random_text(m, f->name); break;
    case PROTOBUF_C_TYPE_BYTES: *(ProtobufCBinaryData *)at = random_bytes(m, f->name); break;
    default: *(ProtobufCMessage **)at = make(m, f->descriptor); break;
    }
}

static size_t scalar_size(const ProtobufCFieldDescriptor *f)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_ENUM:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32: return 4;
    case PROTOBUF_C_TYPE_BOOL: return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_BYTES: return sizeof(ProtobufCBinaryData);
    default: return 8;
    }
}

static void *field_at(const ProtobufCMessage *m, size_t offset)
{
    return (char *)(uintptr_t)m + offset;
}

static void put_field(struct maker *m, ProtobufCMessage *msg, const ProtobufCFieldDescriptor *f)
{
    if (strstr(f->name, "strindex") || strcmp(f->name, "entity_refs") == 0)
        return;
    if (f->label == PROTOBUF_C_LABEL_REPEATED) {
        size_t n = below(m, 4), size = scalar_size(f);
        char *items = arena_alloc(m->a, n * size + 1);
        for (size_t i = 0; i < n; i++)
            put_scalar(m, f, items + i * size);
        *(size_t *)field_at(msg, f->quantifier_offset) = n;
        *(void **)field_at(msg, f->offset) = items;
        return;
    }
    if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
        uint32_t *which = field_at(msg, f->quantifier_offset);
        if (*which || below(m, 3))
            return;
        *which = f->id;
    } else if (f->type == PROTOBUF_C_TYPE_MESSAGE && below(m, 6) == 0) {
        return;
    }
    put_scalar(m, f, field_at(msg, f->offset));
}

static void fix_histogram(struct maker *m, Otlp__HistogramDataPoint *p)
{
    if (below(m, 8) == 0)
        return;
    p->n_bucket_counts = p->n_explicit_bounds + 1;
    p->bucket_counts = ARENA_ARRAY(m->a, uint64_t, p->n_bucket_counts);
    p->count = 0;
    for (size_t i = 0; i < p->n_bucket_counts; i++)
        p->count += p->bucket_counts[i] = below(m, 50);
    for (size_t i = 0; i < p->n_explicit_bounds; i++)
        p->explicit_bounds[i] = (i ? p->explicit_bounds[i - 1] : -1.5) * 1 + 2.25;
}

static void fix_exponential(struct maker *m, Otlp__ExponentialHistogramDataPoint *p)
{
    if (below(m, 8) == 0)
        return;
    p->count = p->zero_count;
    for (size_t i = 0; p->positive && i < p->positive->n_bucket_counts; i++)
        p->count += p->positive->bucket_counts[i];
    for (size_t i = 0; p->negative && i < p->negative->n_bucket_counts; i++)
        p->count += p->negative->bucket_counts[i];
    if (!(p->zero_threshold >= 0 && p->zero_threshold < 1))
        p->zero_threshold = 0;
}

static ProtobufCMessage *make(struct maker *m, const ProtobufCMessageDescriptor *d)
{
    ProtobufCMessage *msg = arena_alloc(m->a, d->sizeof_message);
    d->message_init(msg);
    bool is_value = d == &otlp__any_value__descriptor;
    m->values += is_value;
    if (is_value && m->values > 4) { /* deep enough */
        Otlp__AnyValue *v = (Otlp__AnyValue *)msg;
        v->value_case = OTLP__ANY_VALUE__VALUE_INT_VALUE;
        v->int_value = (int64_t)next(m);
    } else {
        unsigned from = below(m, d->n_fields); /* any of the choices of a oneof may come first */
        for (unsigned i = 0; i < d->n_fields; i++)
            put_field(m, msg, &d->fields[(from + i) % d->n_fields]);
    }
    m->values -= is_value;
    if (d == &otlp__histogram_data_point__descriptor)
        fix_histogram(m, (Otlp__HistogramDataPoint *)msg);
    if (d == &otlp__exponential_histogram_data_point__descriptor)
        fix_exponential(m, (Otlp__ExponentialHistogramDataPoint *)msg);
    return msg;
}

ProtobufCMessage *helper_otlp_random(enum tsdb_signal signal, uint64_t seed, struct arena *a)
{
    struct maker m = {.state = seed, .a = a};
    switch (signal) {
    case TSDB_SPANS: return make(&m, &otlp__export_trace_service_request__descriptor);
    case TSDB_LOGS: return make(&m, &otlp__export_logs_service_request__descriptor);
    default: return make(&m, &otlp__export_metrics_service_request__descriptor);
    }
}

uint8_t *helper_otlp_pack(const ProtobufCMessage *m, size_t *out_size)
{
    *out_size = protobuf_c_message_get_packed_size(m);
    uint8_t *body = malloc(*out_size + 1);
    CHECK(body);
    protobuf_c_message_pack(m, body);
    return body;
}

/* --- JSON ----------------------------------------------------------------------------------------- */

static void json_message(struct json_out *j, const ProtobufCMessage *m);

static void json_bytes(struct json_out *j, const char *field, const ProtobufCBinaryData *b)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char text[128];
    if (strstr(field, "_id")) {
        bytes_to_hex(bytes_of(b->data, b->len), text);
        json_out_str(j, text);
        return;
    }
    size_t n = 0;
    for (size_t i = 0; i < b->len; i += 3) {
        uint32_t v = 0;
        for (size_t k = 0; k < 3; k++)
            v = v << 8 | (i + k < b->len ? b->data[i + k] : 0);
        for (size_t k = 0; k < 4; k++)
            text[n++] = i + k > b->len ? '=' : digits[v >> (18 - 6 * k) & 63];
    }
    json_out_bytes(j, bytes_of(text, n));
}

static void json_scalar(struct json_out *j, const ProtobufCFieldDescriptor *f, const void *at)
{
    double d;
    switch (f->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_ENUM: json_out_i64(j, *(const int32_t *)at); break;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32: json_out_u64(j, *(const uint32_t *)at); break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        if (*(const int64_t *)at % 2) /* both forms are legal */
            json_out_i64(j, *(const int64_t *)at);
        else
            json_out_i64_str(j, *(const int64_t *)at);
        break;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        json_out_printf(j, "%llu", (unsigned long long)*(const uint64_t *)at);
        break;
    case PROTOBUF_C_TYPE_DOUBLE:
        d = *(const double *)at;
        if (isfinite(d))
            json_out_f64(j, d);
        else
            json_out_str(j, isnan(d) ? "NaN" : d > 0 ? "Infinity" : "-Infinity");
        break;
    case PROTOBUF_C_TYPE_BOOL: json_out_bool(j, *(const protobuf_c_boolean *)at); break;
    case PROTOBUF_C_TYPE_STRING: json_out_str(j, *(char *const *)at); break;
    case PROTOBUF_C_TYPE_BYTES: json_bytes(j, f->name, at); break;
    default: json_message(j, *(ProtobufCMessage *const *)at); break;
    }
}

static void json_key(struct json_out *j, const char *snake)
{
    char camel[64];
    size_t n = 0;
    for (; *snake; snake++) {
        bool upper = *snake == '_';
        snake += upper;
        camel[n++] = (char)(upper ? *snake - 'a' + 'A' : *snake);
    }
    camel[n] = 0;
    json_out_key(j, camel);
}

static void json_message(struct json_out *j, const ProtobufCMessage *m)
{
    json_out_object(j);
    json_out_key(j, "unknownField");
    json_out_raw(j, BYTES_LIT("{\"traceId\":[1,{\"name\":null}]}"));
    for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        const char *at = field_at(m, f->offset);
        if (f->label == PROTOBUF_C_LABEL_REPEATED) {
            size_t n = *(size_t *)field_at(m, f->quantifier_offset), size = scalar_size(f);
            json_key(j, f->name);
            json_out_array(j);
            for (size_t k = 0; k < n; k++)
                json_scalar(j, f, *(char *const *)at + k * size);
            json_out_array_end(j);
            continue;
        }
        if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF
                ? *(uint32_t *)field_at(m, f->quantifier_offset) != f->id
                : f->type == PROTOBUF_C_TYPE_MESSAGE && !*(void *const *)at)
            continue;
        json_key(j, f->name);
        json_scalar(j, f, at);
    }
    json_out_object_end(j);
}

void helper_otlp_json(const ProtobufCMessage *m, struct buf *out)
{
    struct json_out j = json_out_to(out);
    json_message(&j, m);
}

/* --- batches -------------------------------------------------------------------------------------- */

struct otlp_decode_options helper_otlp_options(enum tsdb_signal signal, enum otlp_encoding encoding,
                                               struct tsdb_registry *series)
{
    return (struct otlp_decode_options){
        .org = TSDB_ORG_DEFAULT,
        .signal = signal,
        .encoding = encoding,
        .series = series,
        .now_ns = HELPER_OTLP_NOW_NS,
        .floor_ms = HELPER_OTLP_NOW_NS / 1000000 - INT64_C(30) * 86400000,
    };
}

enum err helper_otlp_decode(enum tsdb_signal signal, enum otlp_encoding encoding,
                            struct tsdb_registry *series, uint8_t *take_body, size_t size,
                            struct tsdb_batch **out, struct err_msg *msg)
{
    struct otlp_decode_options o = helper_otlp_options(signal, encoding, series);
    return otlp_decode(&o, take_body, size, out, msg);
}

static size_t column_size(enum tsdb_column_type t)
{
    static const size_t sizes[] = {[TSDB_U8] = 1,  [TSDB_U32] = 4,   [TSDB_I64] = 8,
                                   [TSDB_F64] = 8, [TSDB_ID16] = 16, [TSDB_ID8] = 8};
    return sizes[t];
}

static const char *table_difference(const struct tsdb_schema *s, const void *x, const void *y,
                                    uint32_t rows)
{
    for (uint32_t c = 0; c < s->column_count; c++) {
        const struct tsdb_column *col = &s->columns[c];
        const char *px = *(char *const *)((const char *)x + col->offset);
        const char *py = *(char *const *)((const char *)y + col->offset);
        if (!px != !py)
            return col->name;
        if (!px)
            continue;
        if (col->type != TSDB_STR) {
            if (rows && memcmp(px, py, column_size(col->type) * rows) != 0)
                return col->name;
            continue;
        }
        for (uint32_t r = 0; r < rows; r++)
            if (!bytes_equal(((const struct bytes *)(const void *)px)[r],
                             ((const struct bytes *)(const void *)py)[r]))
                return col->name;
    }
    return NULL;
}

#define SAME(p, q, field, n) \
    ((n) == 0 || memcmp((p)->field, (q)->field, sizeof(*(p)->field) * (n)) == 0)

static const char *metrics_difference(const struct tsdb_batch *x, const struct tsdb_batch *y)
{
    if (x->samples.count != y->samples.count || x->hists.count != y->hists.count ||
        x->cells.count != y->cells.count || x->exemplars.count != y->exemplars.count ||
        x->metadata.count != y->metadata.count)
        return "row counts";
    uint32_t n = x->samples.count;
    if (!SAME(&x->samples, &y->samples, series, n) || !SAME(&x->samples, &y->samples, t_ms, n) ||
        !SAME(&x->samples, &y->samples, value, n) || !SAME(&x->samples, &y->samples, start_ms, n))
        return "samples";
    n = x->hists.count;
    if (!SAME(&x->hists, &y->hists, series, n) || !SAME(&x->hists, &y->hists, t_ms, n) ||
        !SAME(&x->hists, &y->hists, start_ms, n))
        return "hists";
    for (uint32_t i = 0; i < n; i++)
        if (!tsdb_hist_equal_bits(&x->hists.value[i], &y->hists.value[i]))
            return "histogram values";
    n = x->cells.count;
    if (!SAME(&x->cells, &y->cells, series, n) || !SAME(&x->cells, &y->cells, minute, n))
        return "cells";
    for (uint32_t i = 0; i < n; i++) {
        const struct tsdb_hist *p = x->cells.hist ? x->cells.hist[i] : NULL,
                               *q = y->cells.hist ? y->cells.hist[i] : NULL;
        if (!p != !q || (p && !tsdb_hist_equal_bits(p, q)) ||
            (!p && x->cells.add[i] != y->cells.add[i]))
            return "cell adds";
    }
    for (uint32_t i = 0; i < x->exemplars.count; i++)
        if (x->exemplars.series[i].v != y->exemplars.series[i].v ||
            x->exemplars.t_ms[i] != y->exemplars.t_ms[i] ||
            memcmp(&x->exemplars.value[i], &y->exemplars.value[i], 8) != 0 ||
            !tsdb_labels_equal(x->exemplars.labels[i], y->exemplars.labels[i]))
            return "exemplars";
    return NULL;
}

const char *helper_otlp_difference(const struct tsdb_batch *x, const struct tsdb_batch *y)
{
    if (x->received != y->received)
        return "received";
    if (memcmp(x->rejected, y->rejected, sizeof(x->rejected)) != 0)
        return "rejected";
    if (strcmp(x->reject_msg.text, y->reject_msg.text) != 0)
        return "reject_msg";
    if (x->spans.count != y->spans.count || x->logs.count != y->logs.count)
        return "row counts";
    const char *d = table_difference(&tsdb_batch_span_schema, &x->spans, &y->spans, x->spans.count);
    if (!d)
        d = table_difference(&tsdb_batch_log_schema, &x->logs, &y->logs, x->logs.count);
    return d ? d : metrics_difference(x, y);
}
