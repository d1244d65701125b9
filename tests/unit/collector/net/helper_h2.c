#include "base/check.h"
#include "base/clock.h"
#include "collector/net/helper_h2.h"
#include "collector/net/helper_net.h"
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static struct helper_h2_reply *reply_of(struct helper_h2 *c, int32_t id)
{
    for (unsigned i = 0; i < c->reply_count; i++)
        if (c->replies[i]->stream_id == id)
            return c->replies[i];
    return NULL;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_size, const uint8_t *value, size_t value_size, uint8_t flags,
                     void *user)
{
    struct helper_h2 *c = user;
    struct helper_h2_reply *r = reply_of(c, frame->hd.stream_id);
    struct buf *to;

    if (!r)
        return 0;
    if (bytes_equal_str(bytes_of(name, name_size), ":status"))
        r->status = atoi((const char *)value);
    to = frame->headers.cat == NGHTTP2_HCAT_RESPONSE ? &r->headers : &r->trailers;
    buf_append(to, name, name_size);
    buf_str(to, ": ");
    buf_append(to, value, value_size);
    buf_str(to, "\n");
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                   size_t size, void *user)
{
    struct helper_h2_reply *r = reply_of(user, id);
    if (r)
        buf_append(&r->body, data, size);
    return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t error, void *user)
{
    struct helper_h2_reply *r = reply_of(user, id);
    if (r) {
        r->closed = true;
        r->error = error;
    }
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct helper_h2 *c = user;
    if (frame->hd.type == NGHTTP2_GOAWAY)
        c->goaway = frame->goaway.error_code + 1;
    return 0;
}

static ssize_t on_read(nghttp2_session *session, int32_t id, uint8_t *buf, size_t length,
                       uint32_t *flags, nghttp2_data_source *source, void *user)
{
    struct helper_h2_reply *u = source->ptr;
    size_t n = MIN(length, u->left.size);

    if (n == 0 && u->no_end)
        return NGHTTP2_ERR_DEFERRED;
    if (n)
        memcpy(buf, u->left.data, n);
    u->left = bytes_slice(u->left, n, u->left.size);
    if (u->left.size == 0 && !u->no_end)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

struct helper_h2 *helper_h2_open_fd(int fd, SSL *take_ssl)
{
    struct helper_h2 *c = calloc(1, sizeof(*c));
    nghttp2_session_callbacks *cb;
    int rc;

    CHECK(c && fd >= 0);
    c->fd = fd;
    c->ssl = take_ssl;
    nghttp2_session_callbacks_new(&cb);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_close);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    rc = nghttp2_session_client_new(&c->session, cb, c);
    CHECK(rc == 0);
    nghttp2_session_callbacks_del(cb);
    nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, NULL, 0);
    return c;
}

struct helper_h2 *helper_h2_open(unsigned port)
{
    return helper_h2_open_fd(helper_net_connect(port), NULL);
}

void helper_h2_close(struct helper_h2 *c)
{
    nghttp2_session_del(c->session);
    SSL_free(c->ssl);
    close(c->fd);
    for (unsigned i = 0; i < c->reply_count; i++) {
        buf_done(&c->replies[i]->headers);
        buf_done(&c->replies[i]->trailers);
        buf_done(&c->replies[i]->body);
        free(c->replies[i]);
    }
    free(c);
}

static nghttp2_nv nv(const char *name, const char *value)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name),
                        strlen(value), NGHTTP2_NV_FLAG_NONE};
}

struct helper_h2_reply *helper_h2_send(struct helper_h2 *c, const struct helper_h2_request *r)
{
    struct helper_h2_reply *reply = calloc(1, sizeof(*reply));
    nghttp2_nv list[200];
    nghttp2_data_provider provider = {.read_callback = on_read};
    bool body = r->body.size > 0 || r->no_end;
    size_t n = 0;

    CHECK(reply && c->reply_count < ARRAY_LEN(c->replies));
    list[n++] = nv(":method", r->method ? r->method : "POST");
    list[n++] = nv(":scheme", c->ssl ? "https" : "http");
    list[n++] = nv(":path", r->path);
    list[n++] = nv(":authority", r->authority ? r->authority : "localhost");
    if (r->content_type)
        list[n++] = nv("content-type", r->content_type);
    for (const char *const *h = r->headers; h && *h; h += 2)
        list[n++] = nv(h[0], h[1]);
    if (body) {
        reply->left = r->body;
        reply->no_end = r->no_end;
        provider.source.ptr = reply;
    }
    buf_init(&reply->headers, 0);
    buf_init(&reply->trailers, 0);
    buf_init(&reply->body, 0);
    reply->stream_id =
        nghttp2_submit_request(c->session, NULL, list, n, body ? &provider : NULL, NULL);
    CHECK(reply->stream_id > 0);
    c->replies[c->reply_count++] = reply;
    return reply;
}

void helper_h2_flush(struct helper_h2 *c)
{
    const uint8_t *data;
    ssize_t n;

    while ((n = nghttp2_session_mem_send(c->session, &data)) > 0) {
        if (c->ssl)
            SSL_write(c->ssl, data, (int)n);
        else
            helper_net_send_bytes(c->fd, bytes_of(data, (size_t)n));
    }
}

static void terminate(struct buf *b)
{
    buf_u8(b, 0);
    b->size--;
}

bool helper_h2_run(struct helper_h2 *c, struct helper_h2_reply *reply, int ms)
{
    int64_t until = clock_mono_ns() + (int64_t)ms * 1000000;

    while (!c->eof && !(reply && reply->closed)) {
        struct pollfd p = {c->fd, POLLIN, 0};
        uint8_t buf[16384];
        ssize_t n;
        int64_t left = (until - clock_mono_ns()) / 1000000;
        helper_h2_flush(c);
        if (left <= 0)
            break;
        if (!(c->ssl && SSL_pending(c->ssl)) && poll(&p, 1, (int)left) <= 0)
            break;
        n = c->ssl ? SSL_read(c->ssl, buf, sizeof(buf)) : recv(c->fd, buf, sizeof(buf), 0);
        if (n <= 0 || nghttp2_session_mem_recv(c->session, buf, (size_t)n) < 0)
            c->eof = true;
    }
    helper_h2_flush(c);
    if (reply) {
        terminate(&reply->headers);
        terminate(&reply->trailers);
        terminate(&reply->body);
    }
    return reply ? reply->closed : c->eof;
}

void helper_h2_grpc_frame(struct buf *out, bool compressed, struct bytes message)
{
    buf_u8(out, compressed);
    for (int shift = 24; shift >= 0; shift -= 8)
        buf_u8(out, (uint8_t)(message.size >> shift));
    buf_bytes_append(out, message);
}
