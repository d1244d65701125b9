/* HTTP/2 through nghttp2: streams become requests, replies become HEADERS, DATA and trailers; floods end in GOAWAY.
 *
 * Stream:  headers --net_admit--> body --net_dispatch--> (handler) --net_h2_reply--> sending --on_stream_close--> gone
 */
#include "base/check.h"
#include "collector/net/net_request.h"
#include <nghttp2/nghttp2.h>
#include <stdlib.h>

struct net_h2_stream {
    struct net_h2 *h2;
    struct net_h2_stream *prev, *next;
    struct net_request *req; /* NULL when it has gone */
    int32_t id;
    size_t sent;
    struct buf out; /* streaming replies: waiting */
    int64_t progress_ms;
    bool replied, ended; /* reply begun; streaming reply complete */
};

/* So many at once, and so many a second after that. */
struct bucket {
    double tokens;
    int64_t at_ms;
};

struct net_h2 {
    nghttp2_session *session;
    struct net_conn *conn;
    struct net_h2_stream *streams;
    unsigned stream_count;
    struct bucket control, resets;
    int64_t headers_since_ms; /* a header block is incomplete since; 0 = none */
    bool goaway_sent, flooded, flushing;
};

/* --- floods ----------------------------------------------------------------------------------- */

static bool bucket_take(struct bucket *b, double n, double burst, double rate, int64_t now)
{
    b->tokens += (double)(now - b->at_ms) * rate / 1000;
    b->at_ms = now;
    if (b->tokens > burst)
        b->tokens = burst;
    b->tokens -= n;
    return b->tokens >= 0;
}

static void flooded(struct net_h2 *h2)
{
    if (h2->flooded)
        return;
    h2->flooded = true;
    net_stats_refused(NET_REFUSED_H2_FLOOD);
    nghttp2_session_terminate_session(h2->session, NGHTTP2_ENHANCE_YOUR_CALM);
}

static void count_control(struct net_h2 *h2, double n)
{
    if (!bucket_take(&h2->control, n, NET_H2_CONTROL_BURST, NET_H2_CONTROL_RATE,
                     net_loop_now_ms(h2->conn->loop)))
        flooded(h2);
}

static void count_reset(struct net_h2 *h2)
{
    if (!bucket_take(&h2->resets, 1, NET_H2_RESETS_BURST, NET_H2_RESETS_RATE,
                     net_loop_now_ms(h2->conn->loop)))
        flooded(h2);
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *user)
{
    struct net_h2 *h2 = user;
    bool empty_data =
        hd->type == NGHTTP2_DATA && hd->length == 0 && !(hd->flags & NGHTTP2_FLAG_END_STREAM);
    bool idle_update = hd->type == NGHTTP2_WINDOW_UPDATE && h2->stream_count == 0;

    if (empty_data || idle_update ||
        (hd->type != NGHTTP2_DATA && hd->type != NGHTTP2_HEADERS &&
         hd->type != NGHTTP2_WINDOW_UPDATE))
        count_control(h2, 1);
    return 0;
}

static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int error,
                            void *user)
{
    struct net_h2 *h2 = user;
    count_control(h2, 20);
    return 0;
}

/* --- requests --------------------------------------------------------------------------------- */

static struct net_h2_stream *stream_of(nghttp2_session *session, int32_t id)
{
    return nghttp2_session_get_stream_user_data(session, id);
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct net_h2 *h2 = user;
    struct net_h2_stream *s;

    h2->headers_since_ms = net_loop_now_ms(h2->conn->loop);
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    s = calloc(1, sizeof(*s));
    if (!s || !(s->req = net_request_new(h2->conn))) {
        free(s);
        net_stats_refused(NET_REFUSED_NO_MEMORY);
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* resets this stream only */
    }
    s->h2 = h2;
    s->id = frame->hd.stream_id;
    s->req->is_h2 = true;
    s->req->stream = s;
    buf_init(&s->out, 0);
    s->next = h2->streams;
    if (s->next)
        s->next->prev = s;
    h2->streams = s;
    h2->stream_count++;
    nghttp2_session_set_stream_user_data(session, s->id, s);
    return 0;
}

static void set_pseudo(struct net_request *req, struct bytes name, struct bytes value)
{
    struct net_slot *t = &req->method_target;
    uint32_t at = (uint32_t)req->head.size;

    if (bytes_equal_str(name, ":method")) {
        t->name = at;
        t->name_size = (uint32_t)value.size;
    } else if (bytes_equal_str(name, ":path")) {
        t->value = at;
        t->value_size = (uint32_t)value.size;
    } else {
        if (bytes_equal_str(name, ":authority"))
            net_request_add_header(req, BYTES_LIT("host"), value);
        return;
    }
    buf_bytes_append(&req->head, value);
    buf_u8(&req->head, 0);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_size, const uint8_t *value, size_t value_size, uint8_t flags,
                     void *user)
{
    struct net_h2_stream *s = stream_of(session, frame->hd.stream_id);
    struct net_request *req = s ? s->req : NULL;

    if (!req || frame->headers.cat != NGHTTP2_HCAT_REQUEST || req->head_failed)
        return 0; /* trailers say nothing that we use */
    if (req->head.size + name_size + value_size > NET_HEAD_MAX) {
        req->head_failed = true;
        return 0;
    }
    if (name_size && name[0] == ':')
        set_pseudo(req, bytes_of(name, name_size), bytes_of(value, value_size));
    else
        net_request_add_header(req, bytes_of(name, name_size), bytes_of(value, value_size));
    return 0;
}

/* HTTP/2 clients may send every cookie in a header of its own; one string is what everybody expects (RFC 9113, 8.2.3). */
static void join_cookies(struct net_request *req)
{
    struct buf all;

    if (net_request_count_header(req, "cookie") < 2)
        return;
    buf_init(&all, NET_HEAD_MAX);
    for (uint32_t i = 0; i < req->slot_count; i++) {
        struct net_slot *s = &req->slots[i];
        if (s->name_size != 6 || memcmp(req->head.data + s->name, "cookie", 6) != 0)
            continue;
        if (all.size)
            buf_str(&all, "; ");
        buf_bytes_append(&all, net_request_slot_value(req, s));
        s->name_size = 0; /* no longer found by name */
    }
    if (buf_ok(&all))
        net_request_add_header(req, BYTES_LIT("cookie"), buf_bytes(&all));
    buf_done(&all);
}

static void headers_complete(struct net_h2 *h2, struct net_h2_stream *s, bool end_stream)
{
    struct net_request *req = s->req;
    struct bytes length;
    uint64_t v;

    req->body_expected = !end_stream;
    req->body_since_ms = net_loop_now_ms(h2->conn->loop);
    if (req->head_failed || !buf_ok(&req->head)) {
        req->slot_count = 0; /* offsets may lead nowhere */
        net_refuse_status(req, NET_REFUSED_HEAD_TOO_LARGE, 431, ERR_TOO_LARGE,
                          "The headers are larger than 32 KiB or too many.");
        return;
    }
    join_cookies(req);
    if (!net_request_charge_head(req)) {
        net_refuse(req, NET_REFUSED_MEMORY, ERR_UNAVAILABLE, "Too many requests are in flight.", 1);
        return;
    }
    length = net_request_header(req, "content-length");
    if (length.size && length.size < 19 && bytes_to_u64(length, &v))
        req->content_length = (int64_t)v;
    (void)net_admit(req); /* a refusal is on its way then, and the request marked */
}

static void body_complete(struct net_h2_stream *s)
{
    struct net_request *req = s->req;
    struct err_msg msg;

    if (!req || req->refused || req->dispatched)
        return;
    req->body_complete = true;
    if (req->is_grpc) {
        enum err e = net_grpc_end(req, &msg);
        if (e != ERR_OK) {
            net_refuse(req, NET_REFUSED_GRPC_FRAMING, e, msg.text, 0);
            return;
        }
    }
    net_dispatch(req);
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct net_h2 *h2 = user;
    bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    struct net_h2_stream *s;

    if (frame->hd.type == NGHTTP2_RST_STREAM) {
        count_reset(h2);
        return 0;
    }
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS)
        h2->headers_since_ms = 0;
    s = stream_of(session, frame->hd.stream_id);
    if (!s || !s->req)
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        headers_complete(h2, s, end);
    if (end)
        body_complete(s);
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                   size_t size, void *user)
{
    struct net_h2_stream *s = stream_of(session, id);
    struct net_request *req = s ? s->req : NULL;
    struct err_msg msg = {""};
    enum err e;

    if (!req || req->refused || req->dispatched || !req->route)
        return 0;
    if (req->is_grpc)
        e = net_grpc_append(req, data, size, &msg);
    else
        e = net_body_append(req, data, size);
    if (e == ERR_OK)
        return 0;
    if (e == ERR_TOO_LARGE && !req->is_grpc)
        snprintf(msg.text, sizeof(msg.text), "The body is larger than %zu bytes.", req->body_max);
    if (e == ERR_NOMEM || e == ERR_UNAVAILABLE)
        net_refuse(req, NET_REFUSED_MEMORY, ERR_UNAVAILABLE,
                   "Too many request bodies are in flight: try again.", 1);
    else
        net_refuse(req, e == ERR_TOO_LARGE ? NET_REFUSED_BODY_TOO_LARGE : NET_REFUSED_GRPC_FRAMING,
                   e, msg.text, 0);
    return 0;
}

void net_h2_forget(struct net_h2_stream *stream)
{
    stream->req = NULL;
}

static void stream_free(struct net_h2_stream *s)
{
    if (s->prev)
        s->prev->next = s->next;
    else
        s->h2->streams = s->next;
    if (s->next)
        s->next->prev = s->prev;
    s->h2->stream_count--;
    buf_done(&s->out);
    free(s);
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t error, void *user)
{
    struct net_h2 *h2 = user;
    struct net_h2_stream *s = stream_of(session, id);

    if (!s)
        return 0;
    if (s->req)
        net_request_detach(s->req);
    stream_free(s);
    if (h2->stream_count == 0)
        h2->conn->idle_since_ms = net_loop_now_ms(h2->conn->loop);
    return 0;
}

/* A refused upload may still be coming when its answer is complete: say that no more is wanted. */
static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct net_h2 *h2 = user;
    bool ours_done = (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
                     (frame->hd.flags & NGHTTP2_FLAG_END_STREAM);

    if (ours_done && nghttp2_session_get_stream_remote_close(session, frame->hd.stream_id) == 0)
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                  NGHTTP2_NO_ERROR);
    /* resets that the client provoked (MadeYouReset) count as its own */
    if (frame->hd.type == NGHTTP2_RST_STREAM && frame->rst_stream.error_code != NGHTTP2_NO_ERROR &&
        frame->rst_stream.error_code != NGHTTP2_CANCEL)
        count_reset(h2);
    return 0;
}

/* --- the session ------------------------------------------------------------------------------ */

static bool make_session(struct net_h2 *h2)
{
    nghttp2_session_callbacks *cb = NULL;
    nghttp2_option *option = NULL;
    bool ok = nghttp2_session_callbacks_new(&cb) == 0 && nghttp2_option_new(&option) == 0;

    if (ok) {
        nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
        nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
        nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
        nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
        nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, on_invalid_frame);
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
        nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
        nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
        nghttp2_option_set_max_settings(option, 32);
        nghttp2_option_set_max_outbound_ack(option, 1000);
        nghttp2_option_set_max_deflate_dynamic_table_size(option, NET_H2_HEADER_TABLE);
        ok = nghttp2_session_server_new2(&h2->session, cb, h2, option) == 0;
    }
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(cb);
    return ok;
}

bool net_h2_init(struct net_conn *conn)
{
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, NET_STREAMS_MAX},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, NET_H2_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, NET_HEAD_MAX},
    };
    struct net_h2 *h2 = calloc(1, sizeof(*h2));

    if (!h2)
        return false;
    h2->conn = conn;
    h2->control = (struct bucket){NET_H2_CONTROL_BURST, net_loop_now_ms(conn->loop)};
    h2->resets = (struct bucket){NET_H2_RESETS_BURST, net_loop_now_ms(conn->loop)};
    conn->h2 = h2;
    conn->head_since_ms = 0;
    conn->idle_since_ms = net_loop_now_ms(conn->loop);
    if (!make_session(h2))
        return false;
    return nghttp2_submit_settings(h2->session, NGHTTP2_FLAG_NONE, settings, ARRAY_LEN(settings)) ==
               0 &&
           nghttp2_session_set_local_window_size(h2->session, NGHTTP2_FLAG_NONE, 0,
                                                 NET_H2_CONN_WINDOW) == 0;
}

void net_h2_free(struct net_conn *conn)
{
    struct net_h2 *h2 = conn->h2;

    if (!h2)
        return;
    while (h2->streams) {
        if (h2->streams->req)
            net_request_detach(h2->streams->req);
        stream_free(h2->streams);
    }
    nghttp2_session_del(h2->session);
    free(h2);
    conn->h2 = NULL;
}

/* What nghttp2 wants sent, gathered into few writes, as long as the socket keeps up. */
void net_h2_flush(struct net_conn *conn)
{
    struct net_h2 *h2 = conn->h2;

    if (!h2 || h2->flushing)
        return;
    h2->flushing = true;
    while (!conn->closed && !conn->close_after_write && conn->out_bytes < NET_OUT_HIGH) {
        struct buf batch;
        const uint8_t *data;
        ssize_t n = 0;
        size_t size;
        buf_init(&batch, 0);
        while (batch.size < 64 * 1024 && (n = nghttp2_session_mem_send(h2->session, &data)) > 0)
            buf_append(&batch, data, (size_t)n);
        if (!buf_ok(&batch) || n < 0) {
            buf_done(&batch);
            net_conn_close(conn);
            break;
        }
        if (batch.size == 0)
            break;
        data = buf_take(&batch, &size);
        net_conn_send_take(conn, (uint8_t *)(uintptr_t)data, size);
    }
    h2->flushing = false;
    if (!conn->closed && !nghttp2_session_want_read(h2->session) &&
        !nghttp2_session_want_write(h2->session))
        net_conn_finish(conn);
}

void net_h2_feed(struct net_conn *conn, const uint8_t *data, size_t size)
{
    struct net_h2 *h2 = conn->h2;
    ssize_t n = nghttp2_session_mem_recv(h2->session, data, size);

    if (n < 0) {
        net_stats_refused(n == NGHTTP2_ERR_FLOODED ? NET_REFUSED_H2_FLOOD
                                                   : NET_REFUSED_H2_PROTOCOL);
        nghttp2_session_terminate_session(h2->session, n == NGHTTP2_ERR_FLOODED
                                                           ? NGHTTP2_ENHANCE_YOUR_CALM
                                                           : NGHTTP2_PROTOCOL_ERROR);
        net_h2_flush(conn);
        if (!conn->closed)
            net_conn_finish(conn);
        return;
    }
    net_h2_flush(conn);
}

/* --- replies ---------------------------------------------------------------------------------- */

enum { NV_MAX = 64 };

static nghttp2_nv nv_of(const char *name, const char *value)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name),
                        strlen(value), NGHTTP2_NV_FLAG_NONE};
}

static size_t nv_list(const struct buf *headers, nghttp2_nv *nv, size_t n)
{
    for (size_t at = 0; at < headers->size && n < NV_MAX;) {
        const char *name = (const char *)headers->data + at;
        const char *value = name + strlen(name) + 1;
        at += strlen(name) + strlen(value) + 2;
        if (strcmp(name, "connection") != 0 && strcmp(name, "transfer-encoding") != 0)
            nv[n++] = nv_of(name, value);
    }
    return n;
}

static ssize_t read_body(nghttp2_session *session, int32_t id, uint8_t *buf, size_t length,
                         uint32_t *flags, nghttp2_data_source *source, void *user)
{
    struct net_h2 *h2 = user;
    struct net_h2_stream *s = source->ptr;
    struct net_reply_data *r = &s->req->reply;
    size_t n = MIN(length, r->body_size - s->sent);

    memcpy(buf, r->body + s->sent, n);
    s->sent += n;
    s->progress_ms = net_loop_now_ms(h2->conn->loop);
    if (s->sent == r->body_size) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (r->is_grpc) {
            nghttp2_nv nv[NV_MAX];
            size_t count = nv_list(&r->trailers, nv, 0);
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
            if (nghttp2_submit_trailer(session, id, nv, count) != 0)
                return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
        }
    }
    return (ssize_t)n;
}

static ssize_t read_stream(nghttp2_session *session, int32_t id, uint8_t *buf, size_t length,
                           uint32_t *flags, nghttp2_data_source *source, void *user)
{
    struct net_h2 *h2 = user;
    struct net_h2_stream *s = source->ptr;
    size_t n = MIN(length, s->out.size - s->sent);

    s->progress_ms = net_loop_now_ms(h2->conn->loop);
    if (n == 0 && !s->ended)
        return NGHTTP2_ERR_DEFERRED;
    if (n)
        memcpy(buf, s->out.data + s->sent, n);
    s->sent += n;
    if (s->sent == s->out.size) {
        buf_clear(&s->out);
        s->sent = 0;
        if (s->ended)
            *flags |= NGHTTP2_DATA_FLAG_EOF;
    }
    return (ssize_t)n;
}

static int submit(struct net_conn *conn, struct net_h2_stream *s,
                  nghttp2_data_source_read_callback read, bool with_length)
{
    struct net_reply_data *r = &s->req->reply;
    nghttp2_data_provider provider = {.source.ptr = s, .read_callback = read};
    nghttp2_nv nv[NV_MAX];
    char status[16], length[32];
    size_t n = 0;

    snprintf(status, sizeof(status), "%d", r->status);
    snprintf(length, sizeof(length), "%zu", r->body_size);
    nv[n++] = nv_of(":status", status);
    nv[n++] = nv_of("date", net_loop_date(conn->loop));
    if (with_length)
        nv[n++] = nv_of("content-length", length);
    n = nv_list(&r->headers, nv, n);
    if (r->is_grpc && r->body_size == 0)
        n = nv_list(&r->trailers, nv, n); /* trailers-only */
    return nghttp2_submit_response(conn->h2->session, s->id, nv, n, read ? &provider : NULL);
}

static struct net_h2_stream *stream_for_reply(struct net_conn *conn, struct net_request *req)
{
    struct net_h2_stream *s = req->stream;

    if (!s) {
        net_stats_add(NET_COUNTED_GONE, 1);
        net_request_free(req);
        return NULL;
    }
    net_request_release_body(req);
    s->replied = true;
    s->progress_ms = net_loop_now_ms(conn->loop);
    return s;
}

void net_h2_reply(struct net_conn *conn, struct net_request *req)
{
    struct net_h2_stream *s = stream_for_reply(conn, req);
    struct net_reply_data *r = &req->reply;
    bool bodyless, body;

    if (!s)
        return;
    bodyless = r->status == 204 || r->status == 304;
    body = r->body_size > 0 && !bodyless && !req->is_head;
    req->answered = true; /* from here the stream owns the request */
    if (submit(conn, s, body ? read_body : NULL, !r->is_grpc && !bodyless) != 0)
        nghttp2_submit_rst_stream(conn->h2->session, NGHTTP2_FLAG_NONE, s->id,
                                  NGHTTP2_INTERNAL_ERROR);
    net_h2_flush(conn);
}

void net_h2_stream_begin(struct net_conn *conn, struct net_request *req)
{
    struct net_h2_stream *s = req->stream;

    if (!s) {
        atomic_store(&req->cancelled, true);
        return;
    }
    net_request_release_body(req);
    s->replied = true;
    s->progress_ms = net_loop_now_ms(conn->loop);
    s->ended = req->is_head;
    submit(conn, s, req->is_head ? NULL : read_stream, false);
    net_h2_flush(conn);
}

void net_h2_stream_chunk(struct net_conn *conn, struct net_request *req, struct bytes chunk)
{
    struct net_h2_stream *s = req->stream;

    if (!s || req->is_head)
        return;
    if (s->out.size - s->sent + chunk.size > NET_STREAM_QUEUE) {
        net_stats_refused(NET_REFUSED_SLOW_READER);
        atomic_store(&req->cancelled, true);
        nghttp2_submit_rst_stream(conn->h2->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_CANCEL);
        net_h2_flush(conn);
        return;
    }
    buf_bytes_append(&s->out, chunk);
    if (!buf_ok(&s->out)) {
        net_conn_close(conn);
        return;
    }
    nghttp2_session_resume_data(conn->h2->session, s->id);
    net_h2_flush(conn);
}

size_t net_h2_stream_waiting(const struct net_request *req)
{
    return req->stream ? req->stream->out.size - req->stream->sent : 0;
}

void net_h2_stream_end(struct net_conn *conn, struct net_request *req)
{
    struct net_h2_stream *s = req->stream;

    if (!s) {
        net_request_free(req);
        return;
    }
    req->answered = true;
    s->ended = true;
    nghttp2_session_resume_data(conn->h2->session, s->id);
    net_h2_flush(conn);
}

void net_h2_cancel_streaming(struct net_conn *conn)
{
    for (struct net_h2_stream *s = conn->h2->streams; s; s = s->next)
        if (s->req && s->req->streaming) {
            atomic_store(&s->req->cancelled, true);
            nghttp2_submit_rst_stream(conn->h2->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_CANCEL);
        }
    net_h2_flush(conn);
}

void net_h2_shutdown(struct net_conn *conn)
{
    struct net_h2 *h2 = conn->h2;

    if (conn->closed || h2->goaway_sent)
        return;
    h2->goaway_sent = true;
    nghttp2_submit_goaway(h2->session, NGHTTP2_FLAG_NONE,
                          nghttp2_session_get_last_proc_stream_id(h2->session), NGHTTP2_NO_ERROR,
                          NULL, 0);
    net_h2_flush(conn);
}

bool net_h2_is_idle(const struct net_conn *conn)
{
    return conn->h2->stream_count == 0 && !nghttp2_session_want_write(conn->h2->session);
}

/* --- time ------------------------------------------------------------------------------------- */

static bool awaits_body(const struct net_request *req)
{
    return req && req->body_expected && !req->body_complete && !req->refused;
}

static bool is_stalled_send(const struct net_h2_stream *s)
{
    return s->replied && s->req && !(s->req->streaming && s->out.size == s->sent);
}

int64_t net_h2_deadline(const struct net_conn *conn)
{
    const struct net_opts *o = &conn->loop->net->opts;
    const struct net_h2 *h2 = conn->h2;
    int64_t now = net_loop_now_ms(conn->loop);

    if (h2->headers_since_ms)
        return h2->headers_since_ms + o->header_timeout_ms;
    if (h2->stream_count == 0)
        return conn->idle_since_ms + o->idle_timeout_ms;
    for (const struct net_h2_stream *s = h2->streams; s; s = s->next)
        if (awaits_body(s->req) || is_stalled_send(s))
            return now + MIN(MIN(o->body_timeout_ms, o->write_timeout_ms), 1000);
    return 0;
}

static void check_stream(struct net_conn *conn, struct net_h2_stream *s, int64_t now)
{
    const struct net_opts *o = &conn->loop->net->opts;
    struct net_request *req = s->req;

    if (awaits_body(req) && net_admit_too_slow(req, now)) {
        net_refuse_status(req, NET_REFUSED_BODY_TIMEOUT, 408, ERR_TIMEOUT,
                          "The body came too slowly.");
    } else if (is_stalled_send(s) && now - s->progress_ms >= o->write_timeout_ms) {
        net_stats_refused(NET_REFUSED_WRITE_TIMEOUT);
        nghttp2_submit_rst_stream(conn->h2->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_CANCEL);
    }
}

void net_h2_timeout(struct net_conn *conn, int64_t now)
{
    const struct net_opts *o = &conn->loop->net->opts;
    struct net_h2 *h2 = conn->h2;

    if (h2->headers_since_ms && now - h2->headers_since_ms >= o->header_timeout_ms) {
        net_stats_refused(NET_REFUSED_HEADER_TIMEOUT);
        nghttp2_session_terminate_session(h2->session, NGHTTP2_ENHANCE_YOUR_CALM);
    } else if (h2->stream_count == 0 && now - conn->idle_since_ms >= o->idle_timeout_ms) {
        nghttp2_session_terminate_session(h2->session, NGHTTP2_NO_ERROR);
    }
    for (struct net_h2_stream *s = h2->streams, *next; s; s = next) {
        next = s->next;
        check_stream(conn, s, now);
    }
    net_h2_flush(conn);
}
