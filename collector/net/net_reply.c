/* Replies and streams: built on any thread, posted to the loop that owns the connection, sent or thrown away there. */
#include "base/check.h"
#include "base/json_out.h"
#include "base/log.h"
#include "collector/net/net_request.h"
#include <stdlib.h>

static void run_reply(struct net_loop *loop, struct net_msg *msg);

/* Names in lower case (HTTP/2 wants it). A value with a line end would be a second header: left out, and logged. */
void net_reply_header(struct buf *headers, const char *name, const char *value)
{
    if (strpbrk(name, "\r\n: ") || strpbrk(value, "\r\n")) {
        log_error("net", "response header %s left out: it holds a line end", name);
        return;
    }
    for (const char *p = name; *p; p++)
        buf_u8(headers, (uint8_t)(*p >= 'A' && *p <= 'Z' ? *p + 32 : *p));
    buf_u8(headers, 0);
    buf_str(headers, value);
    buf_u8(headers, 0);
}

void net_reply_post(struct net_request *req)
{
    req->msg.run = run_reply;
    net_loop_post(req->loop, &req->msg);
}

/* Only the loop knows whether the client is still there. */
static void run_reply(struct net_loop *loop, struct net_msg *msg)
{
    struct net_request *req = (struct net_request *)msg;
    struct net_conn *conn = req->conn;

    if (!conn || conn->closed) {
        net_stats_add(NET_COUNTED_GONE, 1);
        net_request_free(req);
        return;
    }
    if (conn->proto == NET_PROTO_H2)
        net_h2_reply(conn, req);
    else
        net_http1_reply(conn, req);
    if (!conn->closed)
        net_conn_rearm(conn);
    if (atomic_load(&loop->net->draining))
        net_conn_drain(conn);
}

/* A reply that cannot be built for want of memory still is a reply. */
static void no_memory(struct net_request *req)
{
    buf_done(&req->reply.headers);
    buf_done(&req->reply.trailers);
    buf_init(&req->reply.headers, 0);
    buf_init(&req->reply.trailers, 0);
    if (!req->reply.is_static)
        free(req->reply.body);
    req->reply.body = NULL;
    req->reply.body_size = 0;
    req->reply.status = 503;
    req->reply.is_grpc = false;
    net_stats_refused(NET_REFUSED_NO_MEMORY);
}

static bool copy_body(struct net_request *req, struct bytes body)
{
    if (body.size == 0)
        return true;
    req->reply.body = malloc(body.size);
    if (!req->reply.body)
        return false;
    memcpy(req->reply.body, body.data, body.size);
    req->reply.body_size = body.size;
    return true;
}

static bool fill(struct net_request *req, const struct net_response *r)
{
    struct net_reply_data *reply = &req->reply;

    CHECK(r->status >= 200 && r->status <= 599);
    reply->status = r->status;
    if (r->content_type)
        net_reply_header(&reply->headers, "content-type", r->content_type);
    for (unsigned i = 0; i < r->header_count; i++)
        net_reply_header(&reply->headers, r->headers[i].name, r->headers[i].value);
    if (r->body_take || r->body_static) {
        reply->is_static = r->body_static;
        reply->body = (uint8_t *)(uintptr_t)r->body.data;
        reply->body_size = r->body.size;
    } else if (!copy_body(req, r->body)) {
        return false;
    }
    return buf_ok(&reply->headers);
}

void net_reply(struct net_request *take_req, const struct net_response *response)
{
    if (!fill(take_req, response))
        no_memory(take_req);
    net_reply_post(take_req);
}

void net_reply_text(struct net_request *take_req, int status, const char *content_type,
                    struct bytes body)
{
    net_reply(take_req,
              &(struct net_response){.status = status, .content_type = content_type, .body = body});
}

/* --- gRPC ------------------------------------------------------------------------------------- */

static void grpc_trailers(struct buf *out, const struct net_grpc_response *r)
{
    struct buf text;
    char code[16];

    snprintf(code, sizeof(code), "%d", r->grpc_status);
    net_reply_header(out, "grpc-status", code);
    buf_init(&text, 64 * 1024);
    if (r->message && r->message[0]) {
        net_grpc_percent_encode(&text, bytes_str(r->message));
        buf_u8(&text, 0);
        if (buf_ok(&text))
            net_reply_header(out, "grpc-message", (const char *)text.data);
    }
    buf_clear(&text);
    if (r->details.size > 0) {
        net_grpc_base64(&text, r->details);
        buf_u8(&text, 0);
        if (buf_ok(&text))
            net_reply_header(out, "grpc-status-details-bin", (const char *)text.data);
    }
    buf_done(&text);
}

/* The message with its 5-byte prefix, uncompressed. */
static bool grpc_body(struct net_request *req, struct bytes message)
{
    struct net_reply_data *reply = &req->reply;
    size_t n = message.size;

    if (n > UINT32_MAX || !(reply->body = malloc(n + 5)))
        return false;
    reply->body[0] = 0;
    reply->body[1] = (uint8_t)(n >> 24);
    reply->body[2] = (uint8_t)(n >> 16);
    reply->body[3] = (uint8_t)(n >> 8);
    reply->body[4] = (uint8_t)n;
    if (n)
        memcpy(reply->body + 5, message.data, n);
    reply->body_size = n + 5;
    return true;
}

void net_reply_grpc(struct net_request *take_req, const struct net_grpc_response *response)
{
    struct net_reply_data *reply = &take_req->reply;

    CHECK(take_req->is_grpc);
    reply->is_grpc = true;
    reply->status = 200;
    net_reply_header(&reply->headers, "content-type", "application/grpc");
    net_reply_header(&reply->headers, "grpc-accept-encoding", "identity,gzip,zstd,snappy");
    grpc_trailers(&reply->trailers, response);
    if ((response->grpc_status == 0 && !grpc_body(take_req, response->body)) ||
        !buf_ok(&reply->headers) || !buf_ok(&reply->trailers)) {
        no_memory(take_req);
    }
    net_reply_post(take_req);
}

/* --- refusals --------------------------------------------------------------------------------- */

/* Prometheus' names for kinds of error: its clients know them. */
static const char *web_error_type(enum err e)
{
    switch (e) {
    case ERR_INVALID:
    case ERR_TOO_DEEP:
    case ERR_TOO_LARGE:
    case ERR_UNSUPPORTED_MEDIA:
    case ERR_UNSUPPORTED_ENCODING: return "bad_data";
    case ERR_NOT_FOUND:
    case ERR_METHOD: return "not_found";
    case ERR_UNAUTHENTICATED: return "unauthenticated";
    case ERR_FORBIDDEN: return "forbidden";
    case ERR_EXECUTION: return "execution";
    case ERR_CANCELLED: return "canceled";
    case ERR_TIMEOUT: return "timeout";
    case ERR_LIMIT:
    case ERR_UNAVAILABLE:
    case ERR_FULL:
    case ERR_NOMEM:
    case ERR_IO: return "unavailable";
    default: return "internal";
    }
}

static void web_body(struct buf *out, enum err e, const char *sentence)
{
    struct json_out j = json_out_to(out);
    json_out_object(&j);
    json_out_key(&j, "status");
    json_out_str(&j, "error");
    json_out_key(&j, "errorType");
    json_out_str(&j, web_error_type(e));
    json_out_key(&j, "error");
    json_out_str(&j, sentence);
    json_out_object_end(&j);
}

static void rpc_body(struct buf *out, enum err e, const char *sentence)
{
    struct json_out j = json_out_to(out);
    json_out_object(&j);
    json_out_key(&j, "code");
    json_out_i64(&j, err_grpc_status(e));
    json_out_key(&j, "message");
    json_out_str(&j, sentence);
    json_out_object_end(&j);
}

static void reply_err_grpc(struct net_request *req, enum err e, const char *sentence,
                           unsigned retry_after_s)
{
    struct buf details;
    struct net_grpc_response r = {.grpc_status = err_grpc_status(e), .message = sentence};

    buf_init(&details, 0);
    net_grpc_status_message(&details, r.grpc_status, sentence, retry_after_s);
    if (buf_ok(&details))
        r.details = buf_bytes(&details);
    net_reply_grpc(req, &r);
    buf_done(&details);
}

void net_reply_err(struct net_request *take_req, enum err e, const char *sentence,
                   unsigned retry_after_s)
{
    bool proto = strcmp(take_req->content_type, "application/x-protobuf") == 0;
    struct net_header retry = {"retry-after", NULL};
    struct net_response r = {.status = err_http_status(e), .content_type = "application/json"};
    struct buf body;
    char seconds[16];

    CHECK(e != ERR_OK);
    if (take_req->is_grpc) {
        reply_err_grpc(take_req, e, sentence, retry_after_s);
        return;
    }
    if (take_req->refused_status)
        r.status = take_req->refused_status;
    buf_init(&body, 0);
    if (take_req->door == NET_WEB) {
        web_body(&body, e, sentence);
    } else if (proto) {
        r.content_type = "application/x-protobuf";
        net_grpc_status_message(&body, err_grpc_status(e), sentence, 0);
    } else {
        rpc_body(&body, e, sentence);
    }
    if (retry_after_s) {
        snprintf(seconds, sizeof(seconds), "%u", retry_after_s);
        retry.value = seconds;
        r.headers = &retry;
        r.header_count = 1;
    }
    if (buf_ok(&body))
        r.body = buf_bytes(&body);
    net_reply(take_req, &r);
    buf_done(&body);
}

/* --- streams ---------------------------------------------------------------------------------- */

struct net_stream {
    struct net_msg begin, end;
    struct net_request *req; /* the loop's */
    struct net_loop *loop;
    _Atomic size_t queued; /* bytes posted, not yet run */
    _Atomic size_t unsent; /* of the connection, when the last chunk was run */
    atomic_bool open;
};

struct chunk_msg {
    struct net_msg msg;
    struct net_stream *stream;
    size_t size;
    uint8_t data[];
};

static struct net_conn *stream_conn(struct net_stream *s)
{
    struct net_conn *conn = s->req->conn;
    if (conn && !conn->closed)
        return conn;
    atomic_store(&s->open, false);
    return NULL;
}

static void stream_send(struct net_stream *s, struct bytes chunk)
{
    struct net_conn *conn = stream_conn(s);

    if (conn && conn->proto == NET_PROTO_H2)
        net_h2_stream_chunk(conn, s->req, chunk);
    else if (conn)
        net_http1_stream_chunk(conn, s->req, chunk);
}

static void note_unsent(struct net_stream *s)
{
    struct net_conn *conn = stream_conn(s);
    if (conn)
        atomic_store(&s->unsent,
                     conn->proto == NET_PROTO_H2 ? net_h2_stream_waiting(s->req) : conn->out_bytes);
}

static void run_stream_begin(struct net_loop *loop, struct net_msg *msg)
{
    struct net_stream *s = (struct net_stream *)((char *)msg - offsetof(struct net_stream, begin));
    struct net_conn *conn = stream_conn(s);

    if (!conn)
        return;
    s->req->streaming = true;
    if (conn->proto == NET_PROTO_H2)
        net_h2_stream_begin(conn, s->req);
    else
        net_http1_stream_begin(conn, s->req);
    if (s->req->reply.body_size > 0)
        stream_send(s, bytes_of(s->req->reply.body, s->req->reply.body_size));
    (void)stream_conn(s);
    if (atomic_load(&loop->net->draining) && !conn->closed)
        net_conn_drain(conn);
}

static void run_stream_chunk(struct net_loop *loop, struct net_msg *msg)
{
    struct chunk_msg *m = (struct chunk_msg *)msg;
    struct net_stream *s = m->stream;

    stream_send(s, bytes_of(m->data, m->size));
    atomic_fetch_sub(&s->queued, m->size);
    note_unsent(s);
    free(m);
}

static void run_stream_end(struct net_loop *loop, struct net_msg *msg)
{
    struct net_stream *s = (struct net_stream *)((char *)msg - offsetof(struct net_stream, end));
    struct net_conn *conn = stream_conn(s);

    s->req->streaming = false;
    if (!conn)
        net_request_free(s->req);
    else if (conn->proto == NET_PROTO_H2)
        net_h2_stream_end(conn, s->req);
    else
        net_http1_stream_end(conn, s->req);
    free(s);
}

struct net_stream *net_stream_begin(struct net_request *take_req, const struct net_response *head)
{
    struct net_stream *s = calloc(1, sizeof(*s));

    if (!s || !fill(take_req, head)) {
        free(s);
        no_memory(take_req);
        net_reply_post(take_req);
        return NULL;
    }
    s->begin.run = run_stream_begin;
    s->end.run = run_stream_end;
    s->req = take_req;
    s->loop = take_req->loop;
    atomic_init(&s->open, true);
    net_loop_post(s->loop, &s->begin);
    return s;
}

enum err net_stream_send(struct net_stream *s, struct bytes chunk)
{
    struct chunk_msg *m;

    if (!atomic_load(&s->open) || atomic_load(&s->req->cancelled))
        return ERR_CANCELLED;
    if (chunk.size == 0)
        return ERR_OK;
    if (atomic_fetch_add(&s->queued, chunk.size) + chunk.size > NET_STREAM_QUEUE) {
        atomic_fetch_sub(&s->queued, chunk.size);
        if (atomic_exchange(&s->open, false))
            net_stats_refused(NET_REFUSED_SLOW_READER);
        return ERR_LIMIT;
    }
    m = malloc(sizeof(*m) + chunk.size);
    if (!m) {
        atomic_fetch_sub(&s->queued, chunk.size);
        return ERR_NOMEM;
    }
    m->msg.run = run_stream_chunk;
    m->stream = s;
    m->size = chunk.size;
    memcpy(m->data, chunk.data, chunk.size);
    net_loop_post(s->loop, &m->msg);
    return ERR_OK;
}

bool net_stream_is_open(const struct net_stream *s)
{
    return atomic_load(&((struct net_stream *)s)->open) && !atomic_load(&s->req->cancelled);
}

size_t net_stream_waiting(const struct net_stream *s)
{
    return atomic_load(&s->queued) + atomic_load(&s->unsent);
}

void net_stream_end(struct net_stream *take_s)
{
    net_loop_post(take_s->loop, &take_s->end);
}
