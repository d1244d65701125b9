#include "collector/otlp/otlp_schema.h"

#include "base/check.h"
#include "collector/otlp/otlp_wire.h"

enum field_kind {
    F_UNKNOWN, /* skipped, whatever it is */
    F_VARINT,
    F_FIXED64,
    F_FIXED32,
    F_BYTES, /* string or bytes */
    F_MSG,
    F_PACKED64, /* repeated 8-byte values, packed or not */
    F_PACKEDV /* repeated varints, packed or not */
};

struct message;
struct field {
    const char *name;
    const struct message *msg;
    uint8_t kind;
};
struct message {
    const char *name;
    const struct field *fields; /* by number */
    uint8_t count; /* numbers below it */
    uint8_t is_row, is_value, is_container;
};

#define V(n)                        \
    {                               \
        .name = n, .kind = F_VARINT \
    }
#define D(n)                         \
    {                                \
        .name = n, .kind = F_FIXED64 \
    }
#define W(n)                         \
    {                                \
        .name = n, .kind = F_FIXED32 \
    }
#define B(n)                       \
    {                              \
        .name = n, .kind = F_BYTES \
    }
#define P(n)                          \
    {                                 \
        .name = n, .kind = F_PACKED64 \
    }
#define Q(n)                         \
    {                                \
        .name = n, .kind = F_PACKEDV \
    }
#define M(n, m)                             \
    {                                       \
        .name = n, .kind = F_MSG, .msg = &m \
    }
#define MESSAGE(var, name_, ...)                            \
    static const struct field var##_fields[] = __VA_ARGS__; \
    static const struct message var = {                     \
        .name = name_, .fields = var##_fields, .count = ARRAY_LEN(var##_fields)}
#define ROW(var, name_, ...)                                \
    static const struct field var##_fields[] = __VA_ARGS__; \
    static const struct message var = {                     \
        .name = name_, .fields = var##_fields, .count = ARRAY_LEN(var##_fields), .is_row = 1}

/* clang-format off */
static const struct message any_value;
static const struct field array_value_fields[] = {[1] = M("values", any_value)};
static const struct message array_value = {.name = "ArrayValue", .fields = array_value_fields, .count = 2, .is_container = 1};
static const struct field key_value_fields[] = {[1] = B("key"), M("value", any_value)};
static const struct message key_value = {.name = "KeyValue", .fields = key_value_fields, .count = 3};
static const struct field kvlist_fields[] = {[1] = M("values", key_value)};
static const struct message kvlist = {.name = "KeyValueList", .fields = kvlist_fields, .count = 2, .is_container = 1};
static const struct field any_value_fields[] = {
    [1] = B("string_value"), V("bool_value"), V("int_value"), D("double_value"), M("array_value", array_value),
    M("kvlist_value", kvlist), B("bytes_value")};
static const struct message any_value = {.name = "AnyValue", .fields = any_value_fields, .count = 8, .is_value = 1};

MESSAGE(resource, "Resource", {[1] = M("attributes", key_value), V("dropped_attributes_count")});
MESSAGE(scope, "InstrumentationScope", {[1] = B("name"), B("version"), M("attributes", key_value),
    V("dropped_attributes_count")});

MESSAGE(event, "Span.Event", {[1] = D("time_unix_nano"), B("name"), M("attributes", key_value), V("dropped_attributes_count")});
MESSAGE(link, "Span.Link", {[1] = B("trace_id"), B("span_id"), B("trace_state"), M("attributes", key_value),
    V("dropped_attributes_count"), W("flags")});
MESSAGE(status, "Status", {[2] = B("message"), V("code")});
ROW(span, "Span", {[1] = B("trace_id"), B("span_id"), B("trace_state"), B("parent_span_id"), B("name"), V("kind"),
    D("start_time_unix_nano"), D("end_time_unix_nano"), M("attributes", key_value), V("dropped_attributes_count"),
    M("events", event), V("dropped_events_count"), M("links", link), V("dropped_links_count"), M("status", status), W("flags")});
MESSAGE(scope_spans, "ScopeSpans", {[1] = M("scope", scope), M("spans", span), B("schema_url")});
MESSAGE(resource_spans, "ResourceSpans", {[1] = M("resource", resource), M("scope_spans", scope_spans), B("schema_url")});
MESSAGE(traces, "ExportTraceServiceRequest", {[1] = M("resource_spans", resource_spans)});

ROW(log_record, "LogRecord", {[1] = D("time_unix_nano"), V("severity_number"), B("severity_text"), [5] = M("body", any_value),
    M("attributes", key_value), V("dropped_attributes_count"), W("flags"), B("trace_id"), B("span_id"),
    D("observed_time_unix_nano"), B("event_name")});
MESSAGE(scope_logs, "ScopeLogs", {[1] = M("scope", scope), M("log_records", log_record), B("schema_url")});
MESSAGE(resource_logs, "ResourceLogs", {[1] = M("resource", resource), M("scope_logs", scope_logs), B("schema_url")});
MESSAGE(logs, "ExportLogsServiceRequest", {[1] = M("resource_logs", resource_logs)});

MESSAGE(exemplar, "Exemplar", {[2] = D("time_unix_nano"), D("as_double"), B("span_id"), B("trace_id"), D("as_int"),
    M("filtered_attributes", key_value)});
ROW(number_point, "NumberDataPoint", {[2] = D("start_time_unix_nano"), D("time_unix_nano"), D("as_double"), M("exemplars", exemplar),
    D("as_int"), M("attributes", key_value), V("flags")});
ROW(hist_point, "HistogramDataPoint", {[2] = D("start_time_unix_nano"), D("time_unix_nano"), D("count"), D("sum"), P("bucket_counts"),
    P("explicit_bounds"), M("exemplars", exemplar), M("attributes", key_value), V("flags"), D("min"), D("max")});
MESSAGE(buckets, "Buckets", {[1] = V("offset"), Q("bucket_counts")});
ROW(exp_point, "ExponentialHistogramDataPoint", {[1] = M("attributes", key_value), D("start_time_unix_nano"), D("time_unix_nano"),
    D("count"), D("sum"), V("scale"), D("zero_count"), M("positive", buckets), M("negative", buckets), V("flags"),
    M("exemplars", exemplar), D("min"), D("max"), D("zero_threshold")});
MESSAGE(quantile, "ValueAtQuantile", {[1] = D("quantile"), D("value")});
ROW(summary_point, "SummaryDataPoint", {[2] = D("start_time_unix_nano"), D("time_unix_nano"), D("count"), D("sum"),
    M("quantile_values", quantile), M("attributes", key_value), V("flags")});
MESSAGE(gauge, "Gauge", {[1] = M("data_points", number_point)});
MESSAGE(sum, "Sum", {[1] = M("data_points", number_point), V("aggregation_temporality"), V("is_monotonic")});
MESSAGE(histogram, "Histogram", {[1] = M("data_points", hist_point), V("aggregation_temporality")});
MESSAGE(exp_histogram, "ExponentialHistogram", {[1] = M("data_points", exp_point), V("aggregation_temporality")});
MESSAGE(summary, "Summary", {[1] = M("data_points", summary_point)});
MESSAGE(metric, "Metric", {[1] = B("name"), B("description"), B("unit"), [5] = M("gauge", gauge), [7] = M("sum", sum),
    [9] = M("histogram", histogram), M("exponential_histogram", exp_histogram), M("summary", summary), M("metadata", key_value)});
MESSAGE(scope_metrics, "ScopeMetrics", {[1] = M("scope", scope), M("metrics", metric), B("schema_url")});
MESSAGE(resource_metrics, "ResourceMetrics", {[1] = M("resource", resource), M("scope_metrics", scope_metrics), B("schema_url")});
MESSAGE(metrics, "ExportMetricsServiceRequest", {[1] = M("resource_metrics", resource_metrics)});

MESSAGE(rw_label, "Label", {[1] = B("name"), B("value")});
ROW(rw_sample, "Sample", {[1] = D("value"), V("timestamp"), V("start_timestamp")});
MESSAGE(rw_exemplar, "Exemplar", {[1] = M("labels", rw_label), D("value"), V("timestamp")});
MESSAGE(rw_span, "BucketSpan", {[1] = V("offset"), V("length")});
ROW(rw_histogram, "Histogram", {[1] = V("count_int"), D("count_float"), D("sum"), V("schema"), D("zero_threshold"), V("zero_count_int"),
    D("zero_count_float"), M("negative_spans", rw_span), Q("negative_deltas"), P("negative_counts"), M("positive_spans", rw_span),
    Q("positive_deltas"), P("positive_counts"), V("reset_hint"), V("timestamp"), P("custom_values"), V("start_timestamp")});
MESSAGE(rw_metadata, "MetricMetadata", {[1] = V("type"), B("metric_family_name"), [4] = B("help"), B("unit")});
MESSAGE(rw_series, "TimeSeries", {[1] = M("labels", rw_label), M("samples", rw_sample), M("exemplars", rw_exemplar),
    M("histograms", rw_histogram)});
MESSAGE(remote_write, "WriteRequest", {[1] = M("timeseries", rw_series), [3] = M("metadata", rw_metadata)});
/* clang-format on */

static const struct message *const roots[] = {
    [OTLP_SCHEMA_TRACES] = &traces,
    [OTLP_SCHEMA_LOGS] = &logs,
    [OTLP_SCHEMA_METRICS] = &metrics,
    [OTLP_SCHEMA_REMOTE_WRITE] = &remote_write,
    [OTLP_SCHEMA_REMOTE_WRITE_SERIES] = &rw_series,
    [OTLP_SCHEMA_REMOTE_WRITE_METADATA] = &rw_metadata,
};

struct frame {
    const struct message *msg;
    const uint8_t *end;
};

static const struct field *field_of(const struct message *m, uint32_t number)
{
    static const struct field unknown;
    return number < m->count ? &m->fields[number] : &unknown;
}

static bool packed_is_varints(struct bytes b)
{
    struct otlp_wire w = otlp_wire_of(b);
    uint64_t v;
    while (w.at != w.end)
        if (!otlp_wire_varint(&w, &v))
            return false;
    return true;
}

static bool type_fits(enum field_kind kind, const struct otlp_wire_field *f)
{
    switch (kind) {
    case F_UNKNOWN: return true;
    case F_VARINT: return f->type == OTLP_WIRE_VARINT;
    case F_FIXED64: return f->type == OTLP_WIRE_FIXED64;
    case F_FIXED32: return f->type == OTLP_WIRE_FIXED32;
    case F_BYTES:
    case F_MSG: return f->type == OTLP_WIRE_LEN;
    case F_PACKED64:
        return f->type == OTLP_WIRE_FIXED64 ||
               (f->type == OTLP_WIRE_LEN && f->bytes.size % sizeof(uint64_t) == 0);
    case F_PACKEDV:
        return f->type == OTLP_WIRE_VARINT ||
               (f->type == OTLP_WIRE_LEN && packed_is_varints(f->bytes));
    }
    CHECK_UNREACHABLE();
}

static enum err bad_field(const struct message *m, const uint8_t *at, const uint8_t *start,
                          const struct otlp_wire *w, struct err_msg *msg)
{
    struct otlp_wire again = {at, w->end};
    uint64_t tag;
    size_t offset = (size_t)(at - start);
    if (!otlp_wire_varint(&again, &tag) || tag > UINT32_MAX)
        return err_set(msg, ERR_INVALID, "%s: broken field tag at byte %zu", m->name, offset);
    const struct field *f = field_of(m, (uint32_t)(tag >> 3));
    unsigned type = (unsigned)(tag & 7);
    if (type == 3 || type == 4)
        return err_set(msg, ERR_INVALID, "%s: group in field %u at byte %zu; groups do not exist",
                       m->name, (unsigned)(tag >> 3), offset);
    if (tag < 8 || type > 5)
        return err_set(msg, ERR_INVALID, "%s: tag %u at byte %zu is no field", m->name,
                       (unsigned)tag, offset);
    return err_set(msg, ERR_INVALID,
                   "%s.%s (field %u) at byte %zu: truncated, or a varint over 64 bits", m->name,
                   f->name ? f->name : "?", (unsigned)(tag >> 3), offset);
}

enum err otlp_schema_check(enum otlp_schema_id root, struct bytes body, uint64_t *out_rows,
                           struct err_msg *msg)
{
    struct frame path[OTLP_SCHEMA_PATH_MAX];
    unsigned depth = 1, values = 0;
    uint64_t rows = 0;
    struct otlp_wire w = otlp_wire_of(body);
    path[0] = (struct frame){roots[root], w.end};
    for (;;) {
        struct frame *top = &path[depth - 1];
        w.end = top->end;
        const uint8_t *at = w.at;
        struct otlp_wire_field f;
        enum otlp_wire_step step = otlp_wire_next(&w, &f);
        if (step == OTLP_WIRE_END) {
            values -= top->msg->is_value;
            if (--depth == 0)
                break;
            continue;
        }
        if (step == OTLP_WIRE_BAD)
            return bad_field(top->msg, at, body.data, &w, msg);
        const struct field *field = field_of(top->msg, f.number);
        if (!type_fits(field->kind, &f))
            return err_set(msg, ERR_INVALID, "%s.%s (field %u) at byte %zu: wire type %u is wrong",
                           top->msg->name, field->name, f.number, (size_t)(at - body.data), f.type);
        if (field->kind != F_MSG)
            continue;
        if (field->msg == &key_value && values < OTLP_DEPTH_MAX) {
            struct bytes key;
            struct otlp_wire_field value;
            if (otlp_wire_plain_attr(f.bytes, &key, &value))
                continue; /* most attributes are: no need to go in */
        }
        values += field->msg->is_value;
        /* The deepest value may be a number or a text; an array, even an empty one, is a level more. */
        if (values + field->msg->is_container > OTLP_DEPTH_MAX)
            return err_set(msg, ERR_TOO_DEEP, "values nested deeper than %u at byte %zu",
                           OTLP_DEPTH_MAX, (size_t)(at - body.data));
        rows += field->msg->is_row;
        CHECK(depth < OTLP_SCHEMA_PATH_MAX);
        path[depth++] = (struct frame){field->msg, w.at};
        w.at = f.bytes.data; /* go in; the frame's end is where we were */
    }
    *out_rows = rows;
    return ERR_OK;
}
