/* The walkers against the protobuf-c reference, JSON against protobuf, every refusal and limit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "collector/otlp/helper_otlp.h"
#include "otlp.pb-c.h"
#include "rpc_status.pb-c.h"

#define SEEDS 400

static const enum tsdb_signal signals[] = {TSDB_SPANS, TSDB_LOGS, TSDB_SAMPLES};

/* --- the reference: protobuf-c's tree into the store's encodings, by the store's own writers ------- */

static void reference_attrs(Otlp__KeyValue **kv, size_t n, struct buf *out);

static void reference_value(const Otlp__AnyValue *v, struct tsdb_value *out, struct buf *scratch)
{
    *out = (struct tsdb_value){.type = TSDB_VALUE_EMPTY};
    buf_init(scratch, 0);
    if (!v)
        return;
    switch (v->value_case) {
    case OTLP__ANY_VALUE__VALUE_STRING_VALUE:
        *out = (struct tsdb_value){TSDB_VALUE_STRING, {.bytes = bytes_str(v->string_value)}};
        break;
    case OTLP__ANY_VALUE__VALUE_BOOL_VALUE:
        *out = (struct tsdb_value){TSDB_VALUE_BOOL, {.boolean = v->bool_value}};
        break;
    case OTLP__ANY_VALUE__VALUE_INT_VALUE:
        *out = (struct tsdb_value){TSDB_VALUE_INT, {.integer = v->int_value}};
        break;
    case OTLP__ANY_VALUE__VALUE_DOUBLE_VALUE:
        *out = (struct tsdb_value){TSDB_VALUE_DOUBLE, {.number = v->double_value}};
        break;
    case OTLP__ANY_VALUE__VALUE_BYTES_VALUE:
        *out = (struct tsdb_value){TSDB_VALUE_BYTES,
                                   {.bytes = bytes_of(v->bytes_value.data, v->bytes_value.len)}};
        break;
    case OTLP__ANY_VALUE__VALUE_ARRAY_VALUE:
        for (size_t i = 0; i < v->array_value->n_values; i++) {
            struct tsdb_value item;
            struct buf inner;
            reference_value(v->array_value->values[i], &item, &inner);
            tsdb_attrs_put_value(scratch, item);
            buf_done(&inner);
        }
        *out = (struct tsdb_value){TSDB_VALUE_ARRAY, {.bytes = buf_bytes(scratch)}};
        break;
    case OTLP__ANY_VALUE__VALUE_KVLIST_VALUE:
        reference_attrs(v->kvlist_value->values, v->kvlist_value->n_values, scratch);
        *out = (struct tsdb_value){TSDB_VALUE_KVLIST, {.bytes = buf_bytes(scratch)}};
        break;
    default: break;
    }
}

static void reference_attrs(Otlp__KeyValue **kv, size_t n, struct buf *out)
{
    for (size_t i = 0; i < n; i++) {
        struct tsdb_value v;
        struct buf scratch;
        reference_value(kv[i]->value, &v, &scratch);
        tsdb_attrs_put(out, bytes_str(kv[i]->key), v);
        buf_done(&scratch);
    }
}

static struct bytes keep(struct tsdb_batch *b, struct buf *scratch)
{
    struct bytes out = scratch->size ? arena_copy(b->arena, buf_bytes(scratch)) : BYTES_NONE;
    buf_done(scratch);
    return out;
}

static struct bytes reference_kept_attrs(struct tsdb_batch *b, Otlp__KeyValue **kv, size_t n)
{
    struct buf out;
    buf_init(&out, 0);
    reference_attrs(kv, n, &out);
    return keep(b, &out);
}

static struct bytes service_of(const Otlp__Resource *r)
{
    struct bytes found = BYTES_NONE;
    for (size_t i = 0; r && i < r->n_attributes; i++) {
        const Otlp__KeyValue *kv = r->attributes[i];
        if (strcmp(kv->key, "service.name") == 0 && kv->value &&
            kv->value->value_case == OTLP__ANY_VALUE__VALUE_STRING_VALUE)
            found = bytes_str(kv->value->string_value);
    }
    return found;
}

static bool id_is(ProtobufCBinaryData id, size_t size)
{
    static const uint8_t zero[16];
    return id.len == size && memcmp(id.data, zero, size) != 0;
}

static bool link_is_fine(const Otlp__Span__Link *l)
{
    return (l->trace_id.len == 16 || l->trace_id.len == 0) &&
           (l->span_id.len == 8 || l->span_id.len == 0);
}

static bool time_is_fine(int64_t ns)
{
    int64_t ms = ns / 1000000, now = HELPER_OTLP_NOW_NS / 1000000;
    return ms >= now - INT64_C(30) * 86400000 && ms <= now + 600000;
}

static int64_t signed_ns(uint64_t ns)
{
    return ns > (uint64_t)INT64_MAX ? INT64_MAX : (int64_t)ns;
}

/* NULL when row of b is the span, else what differs. */
static const char *span_differs(struct tsdb_batch *b, uint32_t row, const Otlp__ResourceSpans *rs,
                                const Otlp__ScopeSpans *ss, const Otlp__Span *s, int64_t end)
{
    const struct tsdb_spans *c = &b->spans;
    struct buf events, links;
    buf_init(&events, 0);
    buf_init(&links, 0);
    for (size_t i = 0; i < s->n_events; i++) {
        struct tsdb_event e = {s->events[i]->time_unix_nano, s->events[i]->dropped_attributes_count,
                               bytes_str(s->events[i]->name), BYTES_NONE};
        e.attrs = reference_kept_attrs(b, s->events[i]->attributes, s->events[i]->n_attributes);
        tsdb_attrs_put_event(&events, &e);
    }
    for (size_t i = 0; i < s->n_links; i++) {
        const Otlp__Span__Link *in = s->links[i];
        struct tsdb_link l = {.flags = in->flags,
                              .dropped = in->dropped_attributes_count,
                              .trace_state = bytes_str(in->trace_state)};
        if (in->trace_id.len)
            memcpy(l.trace_id, in->trace_id.data, 16);
        if (in->span_id.len)
            memcpy(l.span_id, in->span_id.data, 8);
        l.attrs = reference_kept_attrs(b, in->attributes, in->n_attributes);
        tsdb_attrs_put_link(&links, &l);
    }
    struct bytes want_events = keep(b, &events), want_links = keep(b, &links);
    uint64_t dropped =
        (uint64_t)s->dropped_attributes_count + s->dropped_events_count + s->dropped_links_count;
#define EXPECT(name, condition) \
    if (!(condition))           \
    return name
    EXPECT("trace_id", memcmp(c->trace_id[row].b, s->trace_id.data, 16) == 0);
    EXPECT("span_id", memcmp(c->span_id[row].b, s->span_id.data, 8) == 0);
    EXPECT("parent_id",
           !s->parent_span_id.len || memcmp(c->parent_id[row].b, s->parent_span_id.data, 8) == 0);
    EXPECT("start_ns", c->start_ns[row] == signed_ns(s->start_time_unix_nano));
    EXPECT("end_ns", c->end_ns[row] == end);
    EXPECT("kind", c->kind[row] == s->kind);
    EXPECT("status", c->status[row] == (s->status ? s->status->code : 0));
    EXPECT("flags", c->flags[row] == s->flags);
    EXPECT("dropped", c->dropped[row] == (dropped > UINT32_MAX ? UINT32_MAX : dropped));
    EXPECT("name", bytes_equal_str(c->name[row], s->name));
    EXPECT("service", bytes_equal(c->service[row], service_of(rs->resource)));
    EXPECT("scope_name", bytes_equal_str(c->scope_name[row], ss->scope ? ss->scope->name : ""));
    EXPECT("scope_version",
           bytes_equal_str(c->scope_version[row], ss->scope ? ss->scope->version : ""));
    EXPECT("status_message",
           bytes_equal_str(c->status_message[row], s->status ? s->status->message : ""));
    EXPECT("trace_state", bytes_equal_str(c->trace_state[row], s->trace_state));
    EXPECT("resource_attrs",
           bytes_equal(c->resource_attrs[row],
                       rs->resource ? reference_kept_attrs(b, rs->resource->attributes,
                                                           rs->resource->n_attributes)
                                    : BYTES_NONE));
    EXPECT("attrs",
           bytes_equal(c->attrs[row], reference_kept_attrs(b, s->attributes, s->n_attributes)));
    EXPECT("events", bytes_equal(c->events[row], want_events));
    EXPECT("links", bytes_equal(c->links[row], want_links));
    return NULL;
}

static void check_spans(struct tsdb_batch *b, const Otlp__ExportTraceServiceRequest *m)
{
    uint32_t row = 0, sent = 0;
    for (size_t i = 0; i < m->n_resource_spans; i++)
        for (size_t j = 0; j < m->resource_spans[i]->n_scope_spans; j++) {
            const Otlp__ScopeSpans *ss = m->resource_spans[i]->scope_spans[j];
            for (size_t k = 0; k < ss->n_spans; k++) {
                const Otlp__Span *s = ss->spans[k];
                int64_t end = signed_ns(s->end_time_unix_nano);
                if (!end)
                    end = s->start_time_unix_nano ? signed_ns(s->start_time_unix_nano)
                                                  : HELPER_OTLP_NOW_NS;
                bool fine = id_is(s->trace_id, 16) && id_is(s->span_id, 8) &&
                            (s->parent_span_id.len == 8 || s->parent_span_id.len == 0) &&
                            time_is_fine(end);
                for (size_t n = 0; n < s->n_links; n++)
                    fine &= link_is_fine(s->links[n]);
                sent++;
                if (!fine)
                    continue;
                assert_true(row < b->spans.count);
                const char *d = span_differs(b, row++, m->resource_spans[i], ss, s, end);
                if (d)
                    fail_msg("span %u: column %s", row - 1, d);
            }
        }
    assert_int_equal(row, b->spans.count);
    assert_int_equal(b->received, sent);
    assert_int_equal(tsdb_batch_rejected(b), sent - row);
}

static void check_log(struct tsdb_batch *b, uint32_t row, const Otlp__ResourceLogs *rl,
                      const Otlp__LogRecord *l, int64_t time)
{
    static const uint8_t zero[16];
    const struct tsdb_logs *c = &b->logs;
    struct buf body, inner;
    struct tsdb_value v;
    assert_int_equal(c->time_ns[row], time);
    assert_int_equal(c->observed_ns[row], signed_ns(l->observed_time_unix_nano));
    assert_memory_equal(c->trace_id[row].b, l->trace_id.len == 16 ? l->trace_id.data : zero, 16);
    assert_memory_equal(c->span_id[row].b, l->span_id.len == 8 ? l->span_id.data : zero, 8);
    assert_int_equal(c->severity[row], l->severity_number);
    assert_int_equal(c->flags[row], l->flags);
    assert_int_equal(c->dropped[row], l->dropped_attributes_count);
    assert_true(bytes_equal_str(c->severity_text[row], l->severity_text));
    assert_true(bytes_equal_str(c->event_name[row], l->event_name));
    assert_true(bytes_equal(c->service[row], service_of(rl->resource)));
    assert_true(
        bytes_equal(c->attrs[row], reference_kept_attrs(b, l->attributes, l->n_attributes)));
    buf_init(&body, 0);
    reference_value(l->body, &v, &inner);
    if (l->body)
        tsdb_attrs_put_value(&body, v);
    buf_done(&inner);
    assert_true(bytes_equal(c->body[row], keep(b, &body)));
}

static void check_logs(struct tsdb_batch *b, const Otlp__ExportLogsServiceRequest *m)
{
    uint32_t row = 0, sent = 0;
    for (size_t i = 0; i < m->n_resource_logs; i++)
        for (size_t j = 0; j < m->resource_logs[i]->n_scope_logs; j++) {
            const Otlp__ScopeLogs *sl = m->resource_logs[i]->scope_logs[j];
            for (size_t k = 0; k < sl->n_log_records; k++) {
                const Otlp__LogRecord *l = sl->log_records[k];
                int64_t time = l->time_unix_nano            ? signed_ns(l->time_unix_nano)
                               : l->observed_time_unix_nano ? signed_ns(l->observed_time_unix_nano)
                                                            : HELPER_OTLP_NOW_NS;
                sent++;
                if (time_is_fine(time))
                    check_log(b, row++, m->resource_logs[i], l, time);
            }
        }
    assert_int_equal(row, b->logs.count);
    assert_int_equal(b->received, sent);
}

static void random_messages_decode_as_the_reference_does(void **state)
{
    uint64_t rows[TSDB_SIGNAL_COUNT] = {0}, refused = 0;
    struct tsdb_registry *series = tsdb_registry_new(0);
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        for (size_t i = 0; i < ARRAY_LEN(signals); i++) {
            struct arena *a = arena_new(0);
            ProtobufCMessage *m = helper_otlp_random(signals[i], seed, a);
            struct tsdb_batch *b;
            struct err_msg msg;
            size_t size;
            uint8_t *body = helper_otlp_pack(m, &size);
            if (helper_otlp_decode(signals[i], OTLP_PROTOBUF, series, body, size, &b, &msg) !=
                ERR_OK)
                fail_msg("seed %u: %s", (unsigned)seed, msg.text);
            if (signals[i] == TSDB_SPANS)
                check_spans(b, (Otlp__ExportTraceServiceRequest *)m);
            else if (signals[i] == TSDB_LOGS)
                check_logs(b, (Otlp__ExportLogsServiceRequest *)m);
            rows[signals[i]] += b->spans.count + b->logs.count + b->samples.count + b->hists.count;
            refused += tsdb_batch_rejected(b);
            tsdb_batch_free(b);
            arena_free(a);
        }
    for (size_t i = 0; i < ARRAY_LEN(signals); i++)
        assert_true(rows[signals[i]] > SEEDS); /* the generator must not go dull */
    assert_true(refused > SEEDS);
    tsdb_registry_free(series);
}

static void json_and_protobuf_of_a_message_give_equal_batches(void **state)
{
    struct tsdb_registry *series = tsdb_registry_new(0);
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        for (size_t i = 0; i < ARRAY_LEN(signals); i++) {
            struct arena *a = arena_new(0);
            ProtobufCMessage *m = helper_otlp_random(signals[i], seed, a);
            struct tsdb_batch *x, *y;
            struct err_msg msg;
            struct buf json;
            size_t size;
            buf_init(&json, 0);
            helper_otlp_json(m, &json);
            uint8_t *body = helper_otlp_pack(m, &size);
            assert_int_equal(
                helper_otlp_decode(signals[i], OTLP_PROTOBUF, series, body, size, &x, &msg),
                ERR_OK);
            body = buf_take(&json, &size);
            if (helper_otlp_decode(signals[i], OTLP_JSON, series, body, size, &y, &msg) != ERR_OK)
                fail_msg("seed %u: %s", (unsigned)seed, msg.text);
            const char *d = helper_otlp_difference(x, y);
            if (d)
                fail_msg("seed %u signal %d: %s", (unsigned)seed, (int)signals[i], d);
            tsdb_batch_free(x);
            tsdb_batch_free(y);
            arena_free(a);
        }
    tsdb_registry_free(series);
}

/* --- hostile bodies ------------------------------------------------------------------------------- */

static enum err decode_bytes(enum tsdb_signal signal, enum otlp_encoding encoding, struct bytes in,
                             struct err_msg *msg)
{
    struct tsdb_registry *series = tsdb_registry_new(0);
    struct tsdb_batch *b = NULL;
    uint8_t *body = malloc(in.size + 1);
    assert_non_null(body);
    if (in.size)
        memcpy(body, in.data, in.size);
    enum err e = helper_otlp_decode(signal, encoding, series, body, in.size, &b, msg);
    if (e == ERR_OK)
        tsdb_batch_free(b);
    tsdb_registry_free(series);
    return e;
}

static void a_message_cut_or_bent_anywhere_never_crashes(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(signals); i++) {
        struct arena *a = arena_new(0);
        size_t size = 0, refused = 0;
        uint8_t *body = NULL;
        for (uint64_t seed = 1; size < 700; seed++) {
            free(body);
            body = helper_otlp_pack(helper_otlp_random(signals[i], seed, a), &size);
        }
        size_t end = size < 3000 ? size : 3000;
        for (size_t n = 0; n < end; n++) {
            struct err_msg msg = {""};
            enum err e = decode_bytes(signals[i], OTLP_PROTOBUF, bytes_of(body, n), &msg);
            assert_true(e == ERR_OK || e == ERR_INVALID);
            refused += e != ERR_OK;
            body[n] ^= (uint8_t)(1u << (n % 8));
            e = decode_bytes(signals[i], OTLP_PROTOBUF, bytes_of(body, size), &msg);
            assert_true(e == ERR_OK || e == ERR_INVALID);
            body[n] ^= (uint8_t)(1u << (n % 8));
        }
        assert_true(refused > end / 2);
        free(body);
        arena_free(a);
    }
}

static void refusals_name_message_field_and_byte(void **state)
{
    static const struct {
        struct bytes body;
        const char *sentence;
    } cases[] = {
        {BYTES_LIT("\x0a\x05\x12"),
         "ExportTraceServiceRequest.resource_spans (field 1) at byte 0: truncated, or a varint "
         "over 64 bits"},
        {BYTES_LIT("\x08\x01"),
         "ExportTraceServiceRequest.resource_spans (field 1) at byte 0: wire type 0 is wrong"},
        {BYTES_LIT("\x0a\x02\x0b\x0c"),
         "ResourceSpans: group in field 1 at byte 2; groups do not exist"},
        {BYTES_LIT("\x0a\x02\x02\x00"), "ResourceSpans: tag 2 at byte 2 is no field"},
        {BYTES_LIT("\x0a\x0c\x98\x06\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"),
         "ResourceSpans.? (field 99) at byte 2: truncated, or a varint over 64 bits"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err_msg msg = {""};
        assert_int_equal(decode_bytes(TSDB_SPANS, OTLP_PROTOBUF, cases[i].body, &msg), ERR_INVALID);
        assert_string_equal(msg.text, cases[i].sentence);
    }
    struct err_msg msg;
    struct bytes unknown = BYTES_LIT("\x9a\x06\x02hi\x0a\x00");
    assert_int_equal(decode_bytes(TSDB_SPANS, OTLP_PROTOBUF, unknown, &msg), ERR_OK);
    assert_int_equal(decode_bytes(TSDB_SPANS, OTLP_PROTOBUF, BYTES_NONE, &msg), ERR_OK);
}

/* depth values: arrays around an int, as a span attribute. */
static Otlp__AnyValue *nested(struct arena *a, unsigned depth, bool kvlist)
{
    Otlp__AnyValue *v = ARENA_ARRAY(a, Otlp__AnyValue, 1);
    otlp__any_value__init(v);
    if (depth == 1) {
        v->value_case = OTLP__ANY_VALUE__VALUE_INT_VALUE;
        return v;
    }
    Otlp__AnyValue **one = ARENA_ARRAY(a, Otlp__AnyValue *, 1);
    *one = nested(a, depth - 1, kvlist);
    if (!kvlist) {
        v->value_case = OTLP__ANY_VALUE__VALUE_ARRAY_VALUE;
        v->array_value = ARENA_ARRAY(a, Otlp__ArrayValue, 1);
        otlp__array_value__init(v->array_value);
        v->array_value->values = one;
        v->array_value->n_values = 1;
        return v;
    }
    Otlp__KeyValue *kv = ARENA_ARRAY(a, Otlp__KeyValue, 1),
                   **kvs = ARENA_ARRAY(a, Otlp__KeyValue *, 1);
    otlp__key_value__init(kv);
    kv->key = (char *)"k";
    kv->value = *one;
    *kvs = kv;
    v->value_case = OTLP__ANY_VALUE__VALUE_KVLIST_VALUE;
    v->kvlist_value = ARENA_ARRAY(a, Otlp__KeyValueList, 1);
    otlp__key_value_list__init(v->kvlist_value);
    v->kvlist_value->values = kvs;
    v->kvlist_value->n_values = 1;
    return v;
}

static enum err decode_nested(unsigned depth, bool kvlist, enum otlp_encoding encoding)
{
    struct arena *a = arena_new(0);
    Otlp__LogRecord l = OTLP__LOG_RECORD__INIT, *ls[] = {&l};
    Otlp__ScopeLogs sl = OTLP__SCOPE_LOGS__INIT, *sls[] = {&sl};
    Otlp__ResourceLogs rl = OTLP__RESOURCE_LOGS__INIT, *rls[] = {&rl};
    Otlp__ExportLogsServiceRequest m = OTLP__EXPORT_LOGS_SERVICE_REQUEST__INIT;
    Otlp__KeyValue kv = OTLP__KEY_VALUE__INIT, *kvs[] = {&kv};
    kv.key = (char *)"k";
    kv.value = nested(a, depth, kvlist);
    l.attributes = kvs;
    l.n_attributes = 1;
    sl.log_records = ls;
    rl.scope_logs = sls;
    m.resource_logs = rls;
    sl.n_log_records = rl.n_scope_logs = m.n_resource_logs = 1;
    struct err_msg msg;
    enum err e;
    if (encoding == OTLP_PROTOBUF) {
        size_t size;
        uint8_t *body = helper_otlp_pack(&m.base, &size);
        e = decode_bytes(TSDB_LOGS, encoding, bytes_of(body, size), &msg);
        free(body);
    } else {
        struct buf json;
        buf_init(&json, 0);
        buf_str(&json, "{\"resourceLogs\":[{\"scopeLogs\":[{\"logRecords\":[{\"body\":");
        for (unsigned i = 1; i < depth; i++)
            buf_str(&json, kvlist ? "{\"kvlistValue\":{\"values\":[{\"key\":\"k\",\"value\":"
                                  : "{\"arrayValue\":{\"values\":[");
        buf_str(&json, "{\"intValue\":1}");
        for (unsigned i = 1; i < depth; i++)
            buf_str(&json, kvlist ? "}]}}" : "]}}");
        buf_str(&json, "}]}]}]}");
        e = decode_bytes(TSDB_LOGS, encoding, buf_bytes(&json), &msg);
        buf_done(&json);
    }
    arena_free(a);
    return e;
}

/* The innermost array is empty. */
static enum err decode_empty_arrays(unsigned depth)
{
    struct buf json;
    struct err_msg msg;
    buf_init(&json, 0);
    buf_str(&json, "{\"resourceLogs\":[{\"scopeLogs\":[{\"logRecords\":[{\"body\":");
    for (unsigned i = 1; i < depth; i++)
        buf_str(&json, "{\"arrayValue\":{\"values\":[");
    buf_str(&json, "{\"arrayValue\":{}}");
    for (unsigned i = 1; i < depth; i++)
        buf_str(&json, "]}}");
    buf_str(&json, "}]}]}]}");
    enum err e = decode_bytes(TSDB_LOGS, OTLP_JSON, buf_bytes(&json), &msg);
    buf_done(&json);
    return e;
}

static void values_nest_64_deep_and_no_deeper(void **state)
{
    for (int encoding = OTLP_PROTOBUF; encoding <= OTLP_JSON; encoding++)
        for (int kvlist = 0; kvlist < 2; kvlist++) {
            assert_int_equal(decode_nested(64, kvlist, (enum otlp_encoding)encoding), ERR_OK);
            assert_int_equal(decode_nested(65, kvlist, (enum otlp_encoding)encoding), ERR_TOO_DEEP);
        }
    assert_int_equal(decode_nested(2000, true, OTLP_JSON), ERR_TOO_DEEP);
    assert_int_equal(decode_empty_arrays(63), ERR_OK);
    assert_int_equal(decode_empty_arrays(64), ERR_TOO_DEEP); /* what the store could not read */
    /* unknown fields and objects may hide anything: they are skipped or refused, never followed */
    struct buf deep;
    struct err_msg msg;
    buf_init(&deep, 0);
    buf_str(&deep, "{\"zzz\":");
    for (int i = 0; i < 1000000; i++)
        buf_u8(&deep, '[');
    assert_int_equal(decode_bytes(TSDB_LOGS, OTLP_JSON, buf_bytes(&deep), &msg), ERR_TOO_DEEP);
    buf_clear(&deep);
    for (int i = 0; i < 100000; i++)
        buf_u8(&deep, 0x9b); /* nested groups */
    assert_int_equal(decode_bytes(TSDB_LOGS, OTLP_PROTOBUF, buf_bytes(&deep), &msg), ERR_INVALID);
    buf_done(&deep);
}

static void a_body_of_nothing_but_tiny_rows_is_refused_within_the_arena(void **state)
{
    struct buf body;
    buf_init(&body, 0);
    struct tsdb_batch *b;
    struct err_msg msg;
    size_t rows = 200000, size;
    buf_u8(&body, 0x0a); /* ResourceLogs */
    buf_varint(&body, 2 * rows + 5);
    buf_u8(&body, 0x12); /* ScopeLogs, its length padded to four bytes */
    for (unsigned i = 0; i < 4; i++)
        buf_u8(&body, (uint8_t)((2 * rows) >> (7 * i) & 0x7f) | (i < 3 ? 0x80 : 0));
    for (size_t i = 0; i < rows; i++)
        buf_append(&body, "\x12\x00", 2);
    struct otlp_decode_options o = {
        .org = 1, .signal = TSDB_LOGS, .now_ns = HELPER_OTLP_NOW_NS, .arena_max = (size_t)8 << 20};
    uint8_t *taken = buf_take(&body, &size);
    assert_int_equal(otlp_decode(&o, taken, size, &b, &msg), ERR_TOO_LARGE);
    assert_string_equal(msg.text,
                        "the request needs more memory than one may use; send smaller batches");
}

static void every_field_of_json_refuses_the_wrong_type(void **state)
{
    static const char *const wrong[] = {
        "[]",
        "1",
        "",
        "null",
        "{\"resourceSpans\":{}}",
        "{\"resourceSpans\":[1]}",
        "{\"resourceSpans\":[null]}",
        "{\"resourceSpans\":[[]]}",
        "{\"resourceSpans\":\"x\"}",
        "{\"resourceSpans\":[{\"resource\":[]}]}",
        "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"traceId\":\"xyz\"}]}]}]}",
        "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"traceId\":5}]}]}]}",
        "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"name\":5}]}]}]}",
        "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"name\":[\"a\"]}]}]}]}",
        "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"kind\":1.5}]}]}]}",
        "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"kind\":\"SPAN_KIND_X\"}]}]}]}",
        "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"flags\":-1}]}]}]}",
        "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"flags\":4294967296}]}]}]}",
        "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"startTimeUnixNano\":true}]}]}]}",
        "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"startTimeUnixNano\":\"-4\"}]}]}]}",
        "{\"resourceSpans\":[]} x",
        "{\"resourceSpans\":[",
    };
    static const char *const right[] = {
        "{}",
        "{\"resourceSpans\":null}",
        "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"kind\":\"SPAN_KIND_CLIENT\"}]}]}]}",
        "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"kind\":3.0,\"endTimeUnixNano\":"
        "\"18446744073709551615\"}]}]}]}",
        "{\"resource_spans\":7}", /* not lowerCamelCase: unknown */
    };
    struct err_msg msg;
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        enum err e = decode_bytes(TSDB_SPANS, OTLP_JSON, bytes_str(wrong[i]), &msg);
        if (e != ERR_INVALID || !msg.text[0])
            fail_msg("accepted, or without a sentence: %s", wrong[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(right); i++)
        if (decode_bytes(TSDB_SPANS, OTLP_JSON, bytes_str(right[i]), &msg) != ERR_OK)
            fail_msg("%s: %s", right[i], msg.text);
    assert_int_equal(decode_bytes(TSDB_SPANS, OTLP_JSON, bytes_str(wrong[14]), &msg), ERR_INVALID);
    assert_string_equal(msg.text, "Span.kind: expected an integer in range");
}

/* --- replies -------------------------------------------------------------------------------------- */

static void replies_carry_what_the_protocol_says(void **state)
{
    struct buf out;
    buf_init(&out, 0);
    otlp_response(TSDB_SPANS, OTLP_PROTOBUF, 0, NULL, &out);
    assert_int_equal(out.size, 0);
    otlp_response(TSDB_SPANS, OTLP_JSON, 0, NULL, &out);
    assert_true(bytes_equal_str(buf_bytes(&out), "{}"));
    buf_clear(&out);
    otlp_response(TSDB_LOGS, OTLP_JSON, 3, "three", &out);
    assert_true(bytes_equal_str(
        buf_bytes(&out),
        "{\"partialSuccess\":{\"rejectedLogRecords\":\"3\",\"errorMessage\":\"three\"}}"));
    buf_clear(&out);
    otlp_response(TSDB_SAMPLES, OTLP_PROTOBUF, 5, "bad \xff", &out);
    Otlp__ExportMetricsServiceResponse *r =
        otlp__export_metrics_service_response__unpack(NULL, out.size, out.data);
    assert_non_null(r);
    assert_int_equal(r->partial_success->rejected_data_points, 5);
    assert_string_equal(r->partial_success->error_message, "bad ?");
    otlp__export_metrics_service_response__free_unpacked(r, NULL);
    buf_clear(&out);
    otlp_status(OTLP_PROTOBUF, 14, "later", 2, &out);
    Rpc__Status *s = rpc__status__unpack(NULL, out.size, out.data);
    assert_non_null(s);
    assert_int_equal(s->code, 14);
    assert_string_equal(s->message, "later");
    assert_int_equal(s->n_details, 1);
    Rpc__RetryInfo *info =
        rpc__retry_info__unpack(NULL, s->details[0]->value.len, s->details[0]->value.data);
    assert_int_equal(info->retry_delay->seconds, 2);
    rpc__retry_info__free_unpacked(info, NULL);
    rpc__status__free_unpacked(s, NULL);
    buf_clear(&out);
    otlp_status(OTLP_JSON, 3, "no \"good\"", 0, &out);
    assert_true(bytes_equal_str(buf_bytes(&out), "{\"code\":3,\"message\":\"no \\\"good\\\"\"}"));
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_messages_decode_as_the_reference_does),
        cmocka_unit_test(json_and_protobuf_of_a_message_give_equal_batches),
        cmocka_unit_test(a_message_cut_or_bent_anywhere_never_crashes),
        cmocka_unit_test(refusals_name_message_field_and_byte),
        cmocka_unit_test(values_nest_64_deep_and_no_deeper),
        cmocka_unit_test(a_body_of_nothing_but_tiny_rows_is_refused_within_the_arena),
        cmocka_unit_test(every_field_of_json_refuses_the_wrong_type),
        cmocka_unit_test(replies_carry_what_the_protocol_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
