#include "collector/ingest.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/stats.h"
#include "base/zip.h"
#include "collector/remote_write.h"
#include "collector/remote_write2.h"
#include "collector/tokens/tokens.h"

#define RETRY_AFTER_S 1 /* commits take milliseconds: what is short now is soon there again */
#define INLINE_COMPRESSED_MAX (COLLECTOR_INLINE_MAX / 8)

#define REQUESTS "telltale_ingest_requests_total"
#define REQUESTS_HELP "Ingest requests by result."
STATS_COUNTER(requests_stored, REQUESTS, "result=\"stored\"", REQUESTS_HELP)
STATS_COUNTER(requests_repeated, REQUESTS, "result=\"repeated\"", REQUESTS_HELP)
STATS_COUNTER(requests_partial, REQUESTS, "result=\"partial\"", REQUESTS_HELP)
STATS_COUNTER(requests_empty, REQUESTS, "result=\"empty\"", REQUESTS_HELP)
STATS_COUNTER(requests_invalid, REQUESTS, "result=\"invalid\"", REQUESTS_HELP)
STATS_COUNTER(requests_too_deep, REQUESTS, "result=\"too_deep\"", REQUESTS_HELP)
STATS_COUNTER(requests_too_large, REQUESTS, "result=\"too_large\"", REQUESTS_HELP)
STATS_COUNTER(requests_media, REQUESTS, "result=\"unsupported_media_type\"", REQUESTS_HELP)
STATS_COUNTER(requests_encoding, REQUESTS, "result=\"unsupported_encoding\"", REQUESTS_HELP)
STATS_COUNTER(requests_unavailable, REQUESTS, "result=\"unavailable\"", REQUESTS_HELP)
STATS_COUNTER(requests_failed, REQUESTS, "result=\"failed\"", REQUESTS_HELP)

struct job {
    struct ingest_route route; /* a copy: answers may be given after the collector's end */
    struct net_request *req;
    enum otlp_encoding encoding;
    enum zip_kind zip;
    uint8_t *body;
    size_t body_size;
    bool is_write2; /* remote write 2.0 */
    struct remote_write_written written;
};

/* --- answers -------------------------------------------------------------------------------------- */

static const char *media_type(const struct job *j)
{
    return j->encoding == OTLP_JSON ? "application/json" : "application/x-protobuf";
}

static struct stats_value *counter_of(enum err e)
{
    switch (e) {
    case ERR_INVALID:
    case ERR_CORRUPT: return &requests_invalid;
    case ERR_TOO_DEEP: return &requests_too_deep;
    case ERR_TOO_LARGE: return &requests_too_large;
    case ERR_UNSUPPORTED_MEDIA: return &requests_media;
    case ERR_UNSUPPORTED_ENCODING: return &requests_encoding;
    case ERR_LIMIT:
    case ERR_UNAVAILABLE:
    case ERR_FULL:
    case ERR_TIMEOUT:
    case ERR_NOMEM:
    case ERR_IO: return &requests_unavailable;
    default: return &requests_failed;
    }
}

static void job_free(struct job *j)
{
    free(j->body);
    free(j);
}

static void reply_text(struct net_request *take_req, int status, const char *text, unsigned retry_s)
{
    char seconds[16];
    snprintf(seconds, sizeof(seconds), "%u", retry_s);
    struct net_header retry = {"Retry-After", seconds};
    struct net_response r = {.status = status,
                             .content_type = "text/plain; charset=utf-8",
                             .headers = &retry,
                             .header_count = retry_s ? 1 : 0,
                             .body = bytes_str(text)};
    net_reply(take_req, &r);
}

/* google.rpc.Status in the request's encoding, or the gRPC status with details. */
static void reply_status(struct job *j, enum err e, const char *sentence, unsigned retry_s)
{
    struct buf body;
    char seconds[16];
    buf_init(&body, 0);
    snprintf(seconds, sizeof(seconds), "%u", retry_s);
    bool grpc = net_request_is_grpc(j->req);
    otlp_status(grpc ? OTLP_PROTOBUF : j->encoding, err_grpc_status(e), sentence, retry_s, &body);
    if (grpc) {
        struct net_grpc_response r = {.grpc_status = err_grpc_status(e),
                                      .message = sentence,
                                      .details = retry_s ? buf_bytes(&body) : BYTES_NONE};
        net_reply_grpc(j->req, &r);
    } else {
        struct net_header retry = {"Retry-After", seconds};
        struct net_response r = {.status = err_http_status(e),
                                 .content_type = media_type(j),
                                 .headers = &retry,
                                 .header_count = retry_s ? 1 : 0,
                                 .body = buf_bytes(&body)};
        net_reply(j->req, &r);
    }
    buf_done(&body);
}

static void answer_error(struct job *take_j, enum err e, const char *sentence)
{
    int status = err_http_status(e);
    unsigned retry_s = status == 429 || status == 503 ? RETRY_AFTER_S : 0;
    stats_add(counter_of(e), 1);
    if (!sentence || !*sentence)
        sentence = err_text(e);
    if (take_j->route.kind == INGEST_REMOTE_WRITE)
        reply_text(take_j->req, status, sentence, retry_s);
    else
        reply_status(take_j, e, sentence, retry_s);
    job_free(take_j);
}

static void answer_otlp(struct job *take_j, uint64_t rejected, const char *message)
{
    struct buf body;
    buf_init(&body, 0);
    bool grpc = net_request_is_grpc(take_j->req);
    otlp_response(take_j->route.signal, grpc ? OTLP_PROTOBUF : take_j->encoding, rejected,
                  rejected ? message : NULL, &body);
    if (grpc) {
        struct net_grpc_response r = {.body = buf_bytes(&body)};
        net_reply_grpc(take_j->req, &r);
    } else {
        struct net_response r = {
            .status = 200, .content_type = media_type(take_j), .body = buf_bytes(&body)};
        net_reply(take_j->req, &r);
    }
    buf_done(&body);
    job_free(take_j);
}

/* The valid part is stored; the sender must hear 400 all the same, so that it neither repeats nor believes all was taken. */
static void answer_remote_write(struct job *take_j, uint64_t rejected, const char *message)
{
    char samples[24], hists[24], exemplars[24], text[ERR_MSG_MAX + 64];
    const struct remote_write_written *w = &take_j->written;
    snprintf(samples, sizeof(samples), "%llu", (unsigned long long)w->samples);
    snprintf(hists, sizeof(hists), "%llu", (unsigned long long)w->histograms);
    snprintf(exemplars, sizeof(exemplars), "%llu", (unsigned long long)w->exemplars);
    struct net_header headers[] = {{"X-Prometheus-Remote-Write-Samples-Written", samples},
                                   {"X-Prometheus-Remote-Write-Histograms-Written", hists},
                                   {"X-Prometheus-Remote-Write-Exemplars-Written", exemplars}};
    struct net_response r = {.status = 204, .headers = headers, .header_count = ARRAY_LEN(headers)};
    if (rejected) {
        int n = snprintf(text, sizeof(text), "%llu refused, the rest is stored: %s\n",
                         (unsigned long long)rejected, message);
        r.status = 400;
        r.content_type = "text/plain; charset=utf-8";
        r.body = bytes_of(text, (size_t)MIN(n, (int)sizeof(text) - 1));
    }
    net_reply(take_j->req, &r);
    job_free(take_j);
}

static void answer(struct job *take_j, uint64_t rejected, const char *message)
{
    if (take_j->route.kind == INGEST_REMOTE_WRITE)
        answer_remote_write(take_j, rejected, message);
    else
        answer_otlp(take_j, rejected, message);
}

static void on_stored(void *ctx, enum err e, const struct tsdb_result *r)
{
    struct job *j = ctx;
    if (e != ERR_OK) {
        answer_error(j, e, "the store could not take the data; try again");
        return;
    }
    stats_add(r->repeated_request ? &requests_repeated
              : r->rejected       ? &requests_partial
                                  : &requests_stored,
              1);
    answer(j, r->rejected, r->reject_msg.text);
}

/* --- the way in ----------------------------------------------------------------------------------- */

static enum err decode_tokens(const struct otlp_decode_options *o, uint8_t *take_body, size_t size,
                              struct tsdb_batch **out, struct err_msg *msg)
{
    struct bytes body = bytes_of(take_body, size);
    struct tokens_options t = {.encoding = o->encoding == OTLP_JSON ? TOKENS_JSON : TOKENS_PROTOBUF,
                               .now_ns = o->now_ns,
                               .floor_ms = o->floor_ms};
    struct tsdb_batch *b = tsdb_batch_new(o->org, o->signal, OTLP_ARENA_MAX);
    enum err e = b ? tokens_decode(b, body, &t, msg) : ERR_NOMEM;
    if (e == ERR_OK) {
        b->received_ns = o->now_ns;
        b->request_key =
            hash128(body, ((uint64_t)o->org << 8) | (uint64_t)o->signal << 1 | o->encoding);
        *out = b;
    } else {
        tsdb_batch_free(b);
    }
    free(take_body);
    return e;
}

static enum err decode(struct job *j, struct tsdb_batch **out, struct err_msg *msg)
{
    const struct ingest *in = j->route.ingest;
    struct otlp_decode_options o = {
        .org = net_request_access(j->req)->org,
        .signal = j->route.signal,
        .encoding = j->encoding,
        .series = tsdb_series(in->db),
        .now_ns = clock_wall_ns(),
        .floor_ms = tsdb_retention_floor_ms(in->db),
        .translation = in->translation,
    };
    uint8_t *body = j->body;
    j->body = NULL;
    if (j->route.kind == INGEST_TOKENS)
        return decode_tokens(&o, body, j->body_size, out, msg);
    if (j->is_write2) {
        enum err e = remote_write2_to_1(&body, &j->body_size, msg);
        if (e != ERR_OK)
            return e;
    }
    return j->route.kind == INGEST_REMOTE_WRITE
               ? remote_write_decode(&o, body, j->body_size, out, &j->written, msg)
               : otlp_decode(&o, body, j->body_size, out, msg);
}

/* Decoded bytes to the store. Takes the job. */
static void store(struct job *j)
{
    const struct ingest *in = j->route.ingest;
    struct tsdb_batch *b = NULL;
    struct err_msg msg = {""};
    enum err e = decode(j, &b, &msg);
    if (e == ERR_OK && b->received == 0 && b->metadata.count == 0) {
        tsdb_batch_free(b);
        stats_add(&requests_empty, 1);
        answer(j, 0, NULL);
        return;
    }
    if (e == ERR_OK && in->stage) {
        e = stage_apply(in->stage, b, &msg);
        if (e == ERR_LIMIT) /* it would be as large the next time */
            e = err_set(&msg, ERR_TOO_LARGE,
                        "the request needs more memory than one may use; send smaller batches");
    }
    if (e == ERR_OK) {
        stage_count_rejected(b);
        msg.text[0] = 0;
        tsdb_batch_trim(b);
        e = tsdb_append(in->db, &b, on_stored, j);
        if (e == ERR_OK)
            return;
        err_set(&msg, e,
                e == ERR_FULL ? "the disk is nearly full; nothing was stored"
                              : "more data waits than the store can take; try again");
    }
    tsdb_batch_free(b);
    answer_error(j, e, msg.text);
}

static enum err inflate(struct job *j, size_t max, struct err_msg *msg)
{
    struct buf plain;
    if (j->zip == ZIP_NONE)
        return ERR_OK;
    buf_init(&plain, 0);
    enum err e = zip_inflate(j->zip, bytes_of(j->body, j->body_size), max, &plain, msg);
    if (e == ERR_OK) {
        free(j->body);
        j->body = buf_take(&plain, &j->body_size);
        j->zip = ZIP_NONE;
    }
    buf_done(&plain);
    return e;
}

static void run_on_worker(void *ctx)
{
    struct job *j = ctx;
    struct tsdb *db = j->route.ingest->db; /* the job may be gone after store */
    struct err_msg msg = {""};
    enum err e = inflate(j, OTLP_BODY_MAX, &msg);
    if (e == ERR_TOO_LARGE)
        err_set(&msg, e, "the body is larger than 64 MiB after decompression");
    if (e != ERR_OK)
        answer_error(j, e, msg.text);
    else
        store(j);
    tsdb_expect_end(db);
}

static void start(struct job *j)
{
    struct tsdb *db = j->route.ingest->db;
    struct err_msg msg = {""};
    bool is_small =
        j->body_size <= (j->zip == ZIP_NONE ? COLLECTOR_INLINE_MAX : INLINE_COMPRESSED_MAX);
    tsdb_expect_begin(db);
    /* A small compressed body may hide a large one: here it may grow to 1 MiB, what is more goes to a worker. */
    enum err e = is_small ? inflate(j, COLLECTOR_INLINE_MAX, &msg) : ERR_TOO_LARGE;
    if (e == ERR_TOO_LARGE) {
        if (pool_submit(j->route.ingest->pool, run_on_worker, j) == ERR_OK)
            return; /* ends the expectation */
        answer_error(j, ERR_UNAVAILABLE, "all decoders are busy; try again");
    } else if (e != ERR_OK) {
        answer_error(j, e, msg.text);
    } else {
        store(j);
    }
    tsdb_expect_end(db);
}

/* --- headers -------------------------------------------------------------------------------------- */

/* The answer of the door's other implementations, word for word: people search for it. */
static const char OTLP_MEDIA[] =
    "415 unsupported media type, supported: [application/json, application/x-protobuf]";

static enum err otlp_headers(struct job *j, const char **out_sentence)
{
    struct bytes type = net_request_content_type(j->req);
    if (bytes_equal_str(type, "application/json"))
        j->encoding = OTLP_JSON;
    else if (!net_request_is_grpc(j->req) && !bytes_equal_str(type, "application/x-protobuf")) {
        *out_sentence = OTLP_MEDIA;
        return ERR_UNSUPPORTED_MEDIA;
    }
    j->zip = zip_kind_of(net_request_content_encoding(j->req));
    if (j->zip != ZIP_UNKNOWN)
        return ERR_OK;
    *out_sentence = "unsupported compression; supported: gzip, zstd, deflate, snappy, identity";
    return ERR_UNSUPPORTED_ENCODING;
}

/* What "application/x-protobuf;proto=X" says; empty when it does not. */
static struct bytes message_of(struct bytes type)
{
    size_t at = bytes_find(type, BYTES_LIT("proto="));
    if (at == type.size)
        return BYTES_NONE;
    struct bytes value = bytes_slice(type, at + 6, type.size);
    value = bytes_trim(bytes_slice(value, 0, bytes_find(value, BYTES_LIT(";"))));
    if (value.size >= 2 && value.data[0] == '"' && value.data[value.size - 1] == '"')
        value = bytes_slice(value, 1, value.size - 1);
    return value;
}

static enum err remote_write_headers(struct job *j, const char **out_sentence)
{
    struct bytes type = net_request_header(j->req, "content-type");
    struct bytes encoding = net_request_content_encoding(j->req);
    if (!bytes_equal_str(net_request_content_type(j->req), "application/x-protobuf")) {
        *out_sentence = "remote write sends application/x-protobuf";
        return ERR_UNSUPPORTED_MEDIA;
    }
    struct bytes proto = message_of(type);
    j->is_write2 = bytes_equal_str(proto, "io.prometheus.write.v2.Request");
    if (!j->is_write2 && proto.size && !bytes_equal_str(proto, "prometheus.WriteRequest")) {
        *out_sentence = "remote write messages are prometheus.WriteRequest (1.0) and "
                        "io.prometheus.write.v2.Request (2.0)";
        return ERR_UNSUPPORTED_MEDIA;
    }
    if (!bytes_equal_str(encoding, "snappy")) {
        *out_sentence = "remote write bodies are compressed with snappy (block format)";
        return ERR_UNSUPPORTED_MEDIA;
    }
    j->zip = ZIP_SNAPPY;
    return ERR_OK;
}

void ingest_handle(void *ctx, struct net_request *take_req)
{
    const struct ingest_route *route = ctx;
    struct job *j = calloc(1, sizeof(*j));
    if (!j) {
        stats_add(&requests_unavailable, 1);
        net_reply_err(take_req, ERR_NOMEM, "out of memory", RETRY_AFTER_S);
        return;
    }
    j->route = *route;
    j->req = take_req;
    const char *sentence = NULL;
    enum err e = route->kind == INGEST_REMOTE_WRITE ? remote_write_headers(j, &sentence)
                                                    : otlp_headers(j, &sentence);
    if (e == ERR_UNSUPPORTED_MEDIA && sentence == OTLP_MEDIA) {
        stats_add(&requests_media, 1);
        reply_text(take_req, 415, sentence, 0);
        job_free(j);
        return;
    }
    if (e != ERR_OK) {
        answer_error(j, e, sentence);
        return;
    }
    j->body = net_request_take_body(take_req, &j->body_size);
    start(j);
}
