/* A connection: finds out the protocol from the first bytes, feeds its parser, sends, times out, closes. */
#include "collector/net/net_conn.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "collector/net/net_request.h"
#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LINGER_MS = 2000, LINGER_BYTES_MAX = 4 << 20 };

static const char H2_PREFACE[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
#define H2_PREFACE_SIZE (sizeof(H2_PREFACE) - 1)

struct out {
    uv_write_t req;
    struct net_conn *conn;
    uint8_t *take;
    size_t size;
    uint8_t data[];
};

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf);
static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf);
static void on_written(uv_write_t *req, int status);
static void on_closed(uv_handle_t *handle);
static bool charge_pending(struct net_conn *conn);

/* --- birth and death -------------------------------------------------------------------------- */

static void conn_link(struct net_conn *conn, struct net_loop *loop, enum net_door door)
{
    conn->loop = loop;
    conn->door = door;
    conn->head_since_ms = conn->idle_since_ms = net_loop_now_ms(loop);
    buf_init(&conn->pending, 0);
    conn->next = loop->conns;
    if (conn->next)
        conn->next->prev = conn;
    loop->conns = conn;
    loop->conn_count++;
}

static void conn_learn_peer(struct net_conn *conn)
{
    struct sockaddr_storage ss = {0};
    int size = sizeof(ss);

    if (uv_tcp_getpeername(&conn->tcp, (struct sockaddr *)&ss, &size) != 0)
        return;
    if (ss.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&ss;
        conn->ipv6 = true;
        conn->port = ntohs(in6->sin6_port);
        memcpy(conn->addr, &in6->sin6_addr, 16);
        conn->is_loopback =
            IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr) ||
            (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr) && in6->sin6_addr.s6_addr[12] == 127);
    } else {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&ss;
        conn->port = ntohs(in->sin_port);
        memcpy(conn->addr, &in->sin_addr, 4);
        conn->is_loopback = conn->addr[0] == 127;
    }
}

static void forget_open(struct net_loop *loop, enum net_door door)
{
    atomic_fetch_sub(&loop->load, 1);
    atomic_fetch_sub(&loop->net->open[door], 1);
}

void net_conn_accept(struct net_loop *loop, int fd, struct net_listener *listener)
{
    struct net_conn *conn = NULL;

    if (!loop->quitting && !loop->close_seen)
        conn = calloc(1, sizeof(*conn));
    if (!conn || uv_tcp_init(&loop->uv, &conn->tcp) != 0) {
        free(conn);
        close(fd);
        forget_open(loop, listener->door);
        return;
    }
    conn_link(conn, loop, listener->door);
    net_stats_add(NET_COUNTED_OPEN, 1);
    conn->tcp.data = conn;
    conn->door_tls = net_has_tls(loop->net, listener->door);
    if (uv_tcp_open(&conn->tcp, fd) != 0) {
        close(fd);
        net_conn_close(conn);
        return;
    }
    conn_learn_peer(conn);
    uv_tcp_keepalive(&conn->tcp, 1, 60); /* a peer that vanished while a stream is open */
    conn->reading = uv_read_start((uv_stream_t *)&conn->tcp, on_alloc, on_read) == 0;
    net_conn_rearm(conn);
}

struct net_conn *net_conn_new_detached(struct net_loop *loop, enum net_door door, struct buf *sink)
{
    struct net_conn *conn = calloc(1, sizeof(*conn));
    if (!conn)
        return NULL;
    conn_link(conn, loop, door);
    conn->sink = sink;
    conn->is_loopback = conn->reading = true;
    return conn;
}

static void conn_free(struct net_conn *conn)
{
    net_h2_free(conn);
    net_tls_free(conn->tls);
    buf_done(&conn->pending);
    free(conn);
}

void net_conn_free_detached(struct net_conn *conn)
{
    net_conn_close(conn);
    conn_free(conn);
}

static void on_closed(uv_handle_t *handle)
{
    conn_free(handle->data);
}

void net_conn_close(struct net_conn *conn)
{
    struct net_loop *loop = conn->loop;

    if (conn->closed)
        return;
    conn->closed = true;
    net_loop_deadline_none(loop, conn);
    while (conn->requests)
        net_request_detach(conn->requests);
    conn->current = NULL;
    if (conn->prev)
        conn->prev->next = conn->next;
    else
        loop->conns = conn->next;
    if (conn->next)
        conn->next->prev = conn->prev;
    loop->conn_count--;
    buf_done(&conn->pending);
    (void)charge_pending(conn);
    if (loop->detached)
        return;
    net_stats_add(NET_COUNTED_OPEN, -1);
    forget_open(loop, conn->door);
    uv_close((uv_handle_t *)&conn->tcp, on_closed);
}

void net_conn_peer(const struct net_conn *conn, char *out, size_t size)
{
    char text[INET6_ADDRSTRLEN] = "?";

    inet_ntop(conn->ipv6 ? AF_INET6 : AF_INET, conn->addr, text, sizeof(text));
    snprintf(out, size, conn->ipv6 ? "[%s]:%u" : "%s:%u", text, conn->port);
}

/* --- reading ---------------------------------------------------------------------------------- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct net_conn *conn = handle->data;
    *buf = uv_buf_init((char *)conn->loop->read_buf, NET_READ_BUF);
}

static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf)
{
    struct net_conn *conn = stream->data;

    if (nread > 0) {
        net_stats_add(NET_COUNTED_BYTES_IN, nread);
        net_conn_raw(conn, (const uint8_t *)buf->base, (size_t)nread);
    } else if (nread == UV_EOF) {
        net_conn_eof(conn);
    } else if (nread < 0) {
        net_conn_close(conn);
    }
}

/* A client that is set up wrongly retries for ever: one line each ten seconds is enough for all of them. */
static bool may_log(void)
{
    static _Atomic int64_t last_ns;
    int64_t now = clock_mono_ns(), last = atomic_load(&last_ns);

    return (last == 0 || now - last > INT64_C(10000000000)) &&
           atomic_compare_exchange_strong(&last_ns, &last, now);
}

/* A ClientHello on a plain port: a client that speaks TLS understands only an alert (protocol_version). */
static void refuse_tls(struct net_conn *conn)
{
    static const uint8_t alert[] = {0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x46};
    char peer[64], door[128];

    net_stats_refused(NET_REFUSED_TLS_TO_PLAIN);
    if (may_log()) {
        net_conn_peer(conn, peer, sizeof(peer));
        net_door_name(conn->loop->net, conn->door, door, sizeof(door));
        log_warn("net",
                 "%s began a TLS handshake, but %s speaks plaintext: use http:// in the endpoint "
                 "(or insecure: true), or give Telltale a certificate",
                 peer, door);
    }
    net_conn_send(conn, bytes_of(alert, sizeof(alert)));
    net_conn_finish(conn);
}

static void refuse_plain(struct net_conn *conn)
{
    net_stats_refused(NET_REFUSED_PLAIN_TO_TLS);
    conn->door_tls = false;
    conn->proto = NET_PROTO_HTTP1;
    net_http1_bad(conn, 400, NET_REFUSED_COUNT,
                  "This port speaks TLS, but the request came in plaintext: use https:// in the "
                  "endpoint.");
}

void net_conn_raw(struct net_conn *conn, const uint8_t *data, size_t size)
{
    if (conn->closed || size == 0)
        return;
    if (conn->lingering || conn->close_after_write) {
        conn->discarded += size;
        if (conn->discarded > LINGER_BYTES_MAX)
            net_conn_close(conn);
        return;
    }
    if (!conn->sniffed_raw) {
        conn->sniffed_raw = true;
        if (conn->door_tls && data[0] != 0x16) {
            refuse_plain(conn);
            return;
        }
        if (!conn->door_tls && data[0] == 0x16) {
            refuse_tls(conn);
            return;
        }
        if (conn->door_tls && !(conn->tls = net_tls_new(conn->loop->net->tls))) {
            net_stats_refused(NET_REFUSED_NO_MEMORY);
            net_conn_close(conn);
            return;
        }
    }
    if (conn->tls)
        net_tls_feed(conn, data, size);
    else
        net_conn_plain(conn, data, size);
    net_conn_rearm(conn);
}

/* Kept bytes count against the budget of the bodies: 20,000 connections could keep a gigabyte. */
static bool charge_pending(struct net_conn *conn)
{
    struct net *net = conn->loop->net;
    size_t now = conn->pending.cap, before = conn->pending_charged, total;

    conn->pending_charged = now;
    net_stats_add(NET_COUNTED_BODY_BYTES, (int64_t)now - (int64_t)before);
    total = atomic_fetch_add(&net->body_bytes, now - before) + (now - before);
    return now <= before || total <= net->opts.body_bytes_max;
}

static bool keep(struct net_conn *conn, const uint8_t *data, size_t size)
{
    buf_append(&conn->pending, data, size);
    if (!buf_ok(&conn->pending)) {
        net_stats_refused(NET_REFUSED_NO_MEMORY);
        net_conn_close(conn);
        return false;
    }
    if (!charge_pending(conn)) {
        net_stats_refused(NET_REFUSED_MEMORY);
        net_conn_close(conn);
        return false;
    }
    if (conn->pending.size >= NET_PIPELINE_MAX)
        net_conn_pause(conn, NET_PAUSE_PIPELINE);
    return true;
}

/* true when the protocol is known; false: more bytes are needed */
static bool sniff(struct net_conn *conn, const uint8_t *data, size_t size)
{
    size_t n = MIN(size, H2_PREFACE_SIZE);

    if (conn->proto != NET_PROTO_NONE)
        return true;
    if (conn->tls && net_tls_is_h2(conn->tls)) {
        conn->proto = NET_PROTO_H2;
    } else if (memcmp(data, H2_PREFACE, n) != 0) {
        conn->proto = NET_PROTO_HTTP1;
        net_http1_init(conn);
        return true;
    } else if (n < H2_PREFACE_SIZE) {
        return false;
    }
    conn->proto = NET_PROTO_H2;
    if (!net_h2_init(conn)) {
        net_stats_refused(NET_REFUSED_NO_MEMORY);
        net_conn_close(conn);
        return false;
    }
    return true;
}

/* An HTTP/2 connection may begin new bodies only while there is memory for them; begun ones go on, so that some end. */
static bool h2_must_wait(struct net_conn *conn)
{
    if (!net_admit_memory_short(conn->loop->net))
        return false;
    for (struct net_request *r = conn->requests; r; r = r->conn_next)
        if (r->body_expected && !r->body_complete)
            return false;
    return true;
}

static size_t consume(struct net_conn *conn, const uint8_t *data, size_t size)
{
    size_t used = 0;

    while (used < size && !conn->closed && !conn->close_after_write) {
        size_t n;
        if (!sniff(conn, data + used, size - used))
            break;
        if (conn->proto == NET_PROTO_H2) {
            if (h2_must_wait(conn)) {
                net_conn_pause(conn, NET_PAUSE_MEMORY);
                break;
            }
            net_h2_feed(conn, data + used, size - used);
            return size;
        }
        n = net_http1_feed(conn, data + used, size - used);
        if (n == 0)
            break;
        used += n;
    }
    return conn->closed || conn->close_after_write ? size : used;
}

void net_conn_plain(struct net_conn *conn, const uint8_t *data, size_t size)
{
    size_t used;

    if (conn->closed)
        return;
    if (conn->pending.size > 0) {
        if (keep(conn, data, size))
            net_conn_resume(conn);
        return;
    }
    used = consume(conn, data, size);
    if (used < size)
        (void)keep(conn, data + used, size - used);
}

void net_conn_resume(struct net_conn *conn)
{
    if (conn->closed || conn->processing)
        return;
    conn->processing = true;
    if (conn->pending.size > 0 && !(conn->pause & NET_PAUSE_MEMORY)) {
        struct buf taken =
            conn->pending; /* feeding may add to pending: never while reading from it */
        size_t used;
        buf_init(&conn->pending, 0);
        used = consume(conn, taken.data, taken.size);
        if (used < taken.size && !conn->closed)
            (void)keep(conn, taken.data + used, taken.size - used);
        buf_done(&taken);
        (void)charge_pending(conn); /* less than before */
    }
    conn->processing = false;
    if (conn->closed)
        return;
    if (conn->pending.size < NET_PIPELINE_MAX)
        net_conn_unpause(conn, NET_PAUSE_PIPELINE);
    if (conn->eof && !conn->closed && conn->pending.size == 0 && !conn->requests)
        net_conn_finish(conn);
    if (!conn->closed)
        net_conn_rearm(conn);
}

void net_conn_pause(struct net_conn *conn, enum net_pause why)
{
    if (why == NET_PAUSE_MEMORY && !(conn->pause & NET_PAUSE_MEMORY)) {
        net_stats_add(NET_COUNTED_PAUSED, 1);
        conn->loop->paused_memory = true;
    }
    conn->pause |= (uint8_t)why;
    if (conn->reading && !conn->loop->detached)
        uv_read_stop((uv_stream_t *)&conn->tcp);
    conn->reading = false;
}

void net_conn_unpause(struct net_conn *conn, enum net_pause why)
{
    bool was = conn->pause & (unsigned)why;

    conn->pause &= (uint8_t)~why;
    if (was && why == NET_PAUSE_MEMORY)
        net_conn_resume(conn);
    if (conn->pause || conn->reading || conn->closed || conn->eof)
        return;
    conn->reading =
        conn->loop->detached || uv_read_start((uv_stream_t *)&conn->tcp, on_alloc, on_read) == 0;
}

/* The peer sends no more. A request that is being answered still gets its answer (a half-closed socket is legal), but its
 * handler is told that most likely nobody waits. */
void net_conn_eof(struct net_conn *conn)
{
    conn->eof = true;
    if (conn->reading && !conn->loop->detached)
        uv_read_stop((uv_stream_t *)&conn->tcp);
    conn->reading = false;
    if (conn->closed)
        return;
    if (conn->proto == NET_PROTO_HTTP1 && conn->current && !conn->lingering &&
        conn->h1.state == NET_HTTP1_WAIT) {
        atomic_store(&conn->current->cancelled, true);
        return;
    }
    if (conn->close_after_write && conn->out_bytes > 0)
        return; /* the last answer is on its way */
    if (conn->proto == NET_PROTO_HTTP1 && conn->h1.state == NET_HTTP1_REFUSED && conn->current)
        return;
    net_conn_close(conn);
}

/* --- sending ---------------------------------------------------------------------------------- */

enum out_mode { OUT_COPY, OUT_TAKE, OUT_STATIC };

static void shut_down(struct net_conn *conn)
{
    uv_os_fd_t fd;

    if (conn->shutdown_sent || conn->closed)
        return;
    conn->shutdown_sent = true;
    if (conn->eof || conn->loop->detached || uv_fileno((uv_handle_t *)&conn->tcp, &fd) != 0) {
        net_conn_close(conn);
        return;
    }
    shutdown(fd, SHUT_WR);
    conn->lingering =
        true; /* closing with unread input would reset the connection and lose the answer */
    if (!conn->reading)
        conn->reading = uv_read_start((uv_stream_t *)&conn->tcp, on_alloc, on_read) == 0;
    net_loop_deadline(conn->loop, conn, net_loop_now_ms(conn->loop) + LINGER_MS);
}

static void on_written(uv_write_t *req, int status)
{
    struct out *out = req->data;
    struct net_conn *conn = out->conn;

    conn->out_bytes -= out->size;
    conn->write_since_ms = net_loop_now_ms(conn->loop);
    free(out->take);
    free(out);
    if (conn->closed)
        return;
    if (status < 0) {
        net_conn_close(conn);
        return;
    }
    if (conn->proto == NET_PROTO_H2 && conn->out_bytes < NET_OUT_HIGH)
        net_h2_flush(conn);
    else if (conn->proto == NET_PROTO_HTTP1 && conn->pending.size > 0 && !conn->close_after_write)
        net_conn_resume(conn);
    if (conn->closed)
        return;
    if (conn->out_bytes == 0 && conn->close_after_write)
        shut_down(conn);
    if (!conn->closed)
        net_conn_rearm(conn);
}

static void send_sink(struct net_conn *conn, const uint8_t *data, size_t size, enum out_mode mode)
{
    if (conn->sink && conn->sink->size + size < (1u << 20))
        buf_append(conn->sink, data, size);
    if (mode == OUT_TAKE)
        free((void *)data);
}

static void send_raw(struct net_conn *conn, const uint8_t *data, size_t size, enum out_mode mode)
{
    struct out *out;
    uv_buf_t buf;
    size_t done = 0;

    if (conn->loop->detached || conn->closed || conn->shutdown_sent || size == 0) {
        send_sink(conn, data, size, mode);
        return;
    }
    net_stats_add(NET_COUNTED_BYTES_OUT, (int64_t)size);
    if (conn->out_bytes == 0) {
        uv_buf_t first = uv_buf_init((char *)data, (unsigned)MIN(size, 1u << 30));
        int n = uv_try_write((uv_stream_t *)&conn->tcp, &first, 1);
        done = n > 0 ? (size_t)n : 0;
    }
    if (done == size) {
        if (mode == OUT_TAKE)
            free((void *)data);
        return;
    }
    out = malloc(sizeof(*out) + (mode == OUT_COPY ? size - done : 0));
    if (!out) {
        if (mode == OUT_TAKE)
            free((void *)data);
        net_stats_refused(NET_REFUSED_NO_MEMORY);
        net_conn_close(conn);
        return;
    }
    out->req.data = out;
    out->conn = conn;
    out->take = mode == OUT_TAKE ? (uint8_t *)data : NULL;
    out->size = size - done;
    if (mode == OUT_COPY)
        memcpy(out->data, data + done, size - done);
    buf = uv_buf_init(mode == OUT_COPY ? (char *)out->data : (char *)data + done,
                      (unsigned)(size - done));
    if (conn->out_bytes == 0)
        conn->write_since_ms = net_loop_now_ms(conn->loop);
    conn->out_bytes += out->size;
    if (uv_write(&out->req, (uv_stream_t *)&conn->tcp, &buf, 1, on_written) != 0) {
        conn->out_bytes -= out->size;
        free(out->take);
        free(out);
        net_conn_close(conn);
    }
}

void net_conn_send(struct net_conn *conn, struct bytes data)
{
    if (conn->tls)
        net_tls_send(conn, data);
    else
        send_raw(conn, data.data, data.size, OUT_COPY);
}

void net_conn_send_take(struct net_conn *conn, uint8_t *data, size_t size)
{
    if (!conn->tls) {
        send_raw(conn, data, size, OUT_TAKE);
        return;
    }
    net_tls_send(conn, bytes_of(data, size));
    free(data);
}

void net_conn_send_static(struct net_conn *conn, struct bytes data)
{
    if (conn->tls)
        net_tls_send(conn, data);
    else
        send_raw(conn, data.data, data.size, OUT_STATIC);
}

void net_conn_send_raw(struct net_conn *conn, uint8_t *take_data, size_t size)
{
    send_raw(conn, take_data, size, OUT_TAKE);
}

void net_conn_finish(struct net_conn *conn)
{
    if (conn->closed || conn->close_after_write)
        return;
    if (conn->tls)
        net_tls_shutdown(conn);
    conn->close_after_write = true;
    if (!conn->processing) {
        buf_done(&conn->pending);
        (void)charge_pending(conn);
    }
    if (conn->out_bytes == 0)
        shut_down(conn);
}

/* --- time ------------------------------------------------------------------------------------- */

void net_conn_rearm(struct net_conn *conn)
{
    const struct net_opts *o = &conn->loop->net->opts;
    int64_t now = net_loop_now_ms(conn->loop), at = 0;

    if (conn->closed || conn->lingering)
        return;
    if (conn->proto == NET_PROTO_NONE) {
        at = conn->head_since_ms + o->header_timeout_ms;
    } else if (conn->proto == NET_PROTO_H2) {
        at = net_h2_deadline(conn);
    } else if (conn->h1.state == NET_HTTP1_HEAD) {
        at = conn->head_since_ms ? conn->head_since_ms + o->header_timeout_ms
                                 : conn->idle_since_ms + o->idle_timeout_ms;
    } else if (conn->h1.state == NET_HTTP1_BODY && conn->current) {
        at = conn->current->body_since_ms + o->body_timeout_ms;
        if (at <= now)
            at = now + 1000;
    }
    if (conn->out_bytes > 0) {
        int64_t write_at = conn->write_since_ms + o->write_timeout_ms;
        at = at ? MIN(at, write_at) : write_at;
    }
    if (at)
        net_loop_deadline(conn->loop, conn, at);
    else
        net_loop_deadline_none(conn->loop, conn);
}

static bool write_is_stuck(struct net_conn *conn, int64_t now)
{
    size_t queued;

    if (conn->out_bytes == 0 || conn->loop->detached)
        return false;
    queued = uv_stream_get_write_queue_size((uv_stream_t *)&conn->tcp);
    if (queued != conn->out_seen) {
        conn->out_seen = queued;
        conn->write_since_ms = now;
    }
    return now - conn->write_since_ms >= conn->loop->net->opts.write_timeout_ms;
}

void net_conn_timeout(struct net_conn *conn, int64_t now)
{
    if (conn->closed)
        return;
    if (conn->lingering) {
        net_conn_close(conn);
        return;
    }
    if (write_is_stuck(conn, now)) {
        net_stats_refused(NET_REFUSED_WRITE_TIMEOUT);
        net_conn_close(conn);
        return;
    }
    if (conn->close_after_write) {
        /* only the write clock matters */
    } else if (conn->tls && !net_tls_is_ready(conn->tls)) {
        net_stats_refused(NET_REFUSED_HEADER_TIMEOUT);
        net_conn_close(conn);
    } else if (conn->proto == NET_PROTO_H2) {
        net_h2_timeout(conn, now);
    } else {
        net_http1_timeout(conn, now);
    }
    if (!conn->closed)
        net_conn_rearm(conn);
}

void net_conn_drain(struct net_conn *conn)
{
    if (conn->closed || conn->close_after_write)
        return;
    if (conn->proto == NET_PROTO_H2) {
        net_h2_cancel_streaming(conn);
        net_h2_shutdown(conn);
    } else if (conn->current && conn->current->streaming) {
        net_conn_close(conn); /* an open-ended stream would hold up the drain for ever */
    }
    if (conn->closed)
        return;
    if (!conn->requests && (conn->proto != NET_PROTO_H2 || net_h2_is_idle(conn)))
        net_conn_finish(conn);
}
