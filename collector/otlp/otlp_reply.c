/* The bytes of replies: cold, small, built by the generated encoders and the JSON writer. */
#include <stdio.h>

#include "base/check.h"
#include "base/json_out.h"
#include "collector/otlp/otlp.h"
#include "otlp.pb-c.h"
#include "rpc_status.pb-c.h"

static const char RETRY_INFO_TYPE[] = "type.googleapis.com/google.rpc.RetryInfo";

/* Sentences quote what senders sent; a protobuf string must be UTF-8. */
static char *clean(const char *message, char out[ERR_MSG_MAX])
{
    snprintf(out, ERR_MSG_MAX, "%s", message);
    if (!bytes_is_utf8(bytes_str(out)))
        for (char *p = out; *p; p++)
            if ((unsigned char)*p >= 0x80)
                *p = '?';
    return out;
}

static void pack(const ProtobufCMessage *m, struct buf *out)
{
    size_t size = protobuf_c_message_get_packed_size(m);
    if (size && buf_reserve(out, size))
        out->size += protobuf_c_message_pack(m, out->data + out->size);
}

/* The partial success messages differ in the name of their first field only. */
static const char *const rejected_name[TSDB_SIGNAL_COUNT] = {
    [TSDB_SPANS] = "rejectedSpans",
    [TSDB_LOGS] = "rejectedLogRecords",
    [TSDB_SAMPLES] = "rejectedDataPoints",
    [TSDB_TOKENS] = "rejectedEvents",
};

void otlp_response(enum tsdb_signal signal, enum otlp_encoding encoding, uint64_t rejected,
                   const char *message, struct buf *out)
{
    bool partial = rejected || (message && *message);
    if (encoding == OTLP_JSON) {
        struct json_out j = json_out_to(out);
        json_out_object(&j);
        if (partial) {
            json_out_key(&j, "partialSuccess");
            json_out_object(&j);
            if (rejected) {
                json_out_key(&j, rejected_name[signal]);
                json_out_i64_str(&j, (int64_t)rejected);
            }
            if (message && *message) {
                json_out_key(&j, "errorMessage");
                json_out_str(&j, message);
            }
            json_out_object_end(&j);
        }
        json_out_object_end(&j);
        return;
    }
    if (!partial)
        return; /* the empty message */
    Otlp__ExportTracePartialSuccess p = OTLP__EXPORT_TRACE_PARTIAL_SUCCESS__INIT;
    Otlp__ExportTraceServiceResponse r = OTLP__EXPORT_TRACE_SERVICE_RESPONSE__INIT;
    p.rejected_spans = (int64_t)rejected; /* field 1 in all signals */
    char text[ERR_MSG_MAX];
    p.error_message = clean(message ? message : "", text);
    r.partial_success = &p;
    pack(&r.base, out);
}

static void status_json(int grpc_code, const char *message, unsigned retry_after_s, struct buf *out)
{
    struct json_out j = json_out_to(out);
    json_out_object(&j);
    json_out_key(&j, "code");
    json_out_i64(&j, grpc_code);
    json_out_key(&j, "message");
    json_out_str(&j, message);
    if (retry_after_s) {
        json_out_key(&j, "details");
        json_out_array(&j);
        json_out_object(&j);
        json_out_key(&j, "@type");
        json_out_str(&j, RETRY_INFO_TYPE);
        json_out_key(&j, "retryDelay");
        json_out_printf(&j, "%us", retry_after_s);
        json_out_object_end(&j);
        json_out_array_end(&j);
    }
    json_out_object_end(&j);
}

void otlp_status(enum otlp_encoding encoding, int grpc_code, const char *message,
                 unsigned retry_after_s, struct buf *out)
{
    if (encoding == OTLP_JSON) {
        status_json(grpc_code, message, retry_after_s, out);
        return;
    }
    uint8_t packed[64];
    Rpc__Duration delay = RPC__DURATION__INIT;
    Rpc__RetryInfo info = RPC__RETRY_INFO__INIT;
    Rpc__Any any = RPC__ANY__INIT, *details[] = {&any};
    Rpc__Status status = RPC__STATUS__INIT;
    status.code = grpc_code;
    char text[ERR_MSG_MAX];
    status.message = clean(message, text);
    if (retry_after_s) {
        delay.seconds = retry_after_s;
        info.retry_delay = &delay;
        CHECK(rpc__retry_info__get_packed_size(&info) <= sizeof(packed));
        any.type_url = (char *)RETRY_INFO_TYPE;
        any.value = (ProtobufCBinaryData){rpc__retry_info__pack(&info, packed), packed};
        status.details = details;
        status.n_details = 1;
    }
    pack(&status.base, out);
}
