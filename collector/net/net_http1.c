/* HTTP/1: a strict scanner finds the end of the head and refuses what two parsers could read differently; http_parser splits
 * the head; lengths and chunks are ours.
 *
 *   HEAD --net_admit--> BODY --net_dispatch--> WAIT --net_http1_reply--> HEAD (keep-alive) or finish
 *    |                   |                      \--net_http1_stream_begin--> STREAM --net_http1_stream_end--> HEAD or finish
 *    |                   \--net_refuse--> REFUSED --net_http1_reply--> finish
 *    \--net_http1_bad--> finish
 */
#include "base/check.h"
#include "collector/net/net_request.h"
#include <stdlib.h>

/* Where the line scanner is. */
enum line {
    LINE_SKIP, /* an empty line before a request is allowed */
    LINE_SKIP_LF,
    LINE_METHOD,
    LINE_TARGET_FIRST,
    LINE_TARGET,
    LINE_VERSION,
    LINE_REQUEST_LF,
    LINE_BEGIN,
    LINE_NAME,
    LINE_VALUE,
    LINE_VALUE_LF,
    LINE_END_LF,
    LINE_DONE,
};

enum chunk {
    CHUNK_SIZE_FIRST,
    CHUNK_SIZE,
    CHUNK_SIZE_LF,
    CHUNK_DATA,
    CHUNK_DATA_CR,
    CHUNK_DATA_LF,
    CHUNK_TRAILER,
};

enum { TRAILER_MAX = 8192, REFUSED_INPUT_MAX = 4 << 20, SMALL_BODY = 16 * 1024 };

void net_http1_init(struct net_conn *conn)
{
    struct net_http1 *h = &conn->h1;
    memset(h, 0, sizeof(*h));
    http_parser_init(&h->parser, HTTP_REQUEST);
    h->parser.data = conn;
}

/* --- the head --------------------------------------------------------------------------------- */

static bool is_token(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_text(uint8_t c)
{
    return c == '\t' || (c >= 0x20 && c != 0x7f);
}

/* method SP target SP version CR: single spaces, nothing else between. */
static const char *scan_request_line(uint8_t *line, uint8_t c)
{
    if (c == '\n')
        return "The request line ended in LF without CR.";
    if (c == '\r' && *line == LINE_VERSION)
        *line = LINE_REQUEST_LF;
    else if (c < 0x20 || c == 0x7f)
        return "The request line holds a control character, or lacks the version.";
    else if (c == ' ' && (*line == LINE_TARGET_FIRST || *line == LINE_VERSION))
        return "The request line holds a space too many.";
    else if (c == ' ' || *line == LINE_TARGET_FIRST)
        *line += 1;
    return NULL;
}

/* One byte; NULL or the sentence that says what is wrong. */
static const char *scan_byte(uint8_t *line, uint8_t c)
{
    switch ((enum line) * line) {
    case LINE_SKIP:
        if (c == '\r')
            *line = LINE_SKIP_LF;
        else if (is_token(c))
            *line = LINE_METHOD;
        else
            return c == '\n' ? "A line ended in LF without CR." : "This is not an HTTP request.";
        return NULL;
    case LINE_SKIP_LF: *line = LINE_SKIP; return c == '\n' ? NULL : "CR without LF.";
    case LINE_METHOD:
    case LINE_TARGET_FIRST:
    case LINE_TARGET:
    case LINE_VERSION: return scan_request_line(line, c);
    case LINE_VALUE_LF:
    case LINE_REQUEST_LF: *line = LINE_BEGIN; return c == '\n' ? NULL : "CR without LF.";
    case LINE_BEGIN:
        if (c == '\r')
            *line = LINE_END_LF;
        else if (c == ' ' || c == '\t')
            return "A header is folded over two lines.";
        else if (is_token(c))
            *line = LINE_NAME;
        else
            return "A header line does not begin with a name.";
        return NULL;
    case LINE_NAME:
        if (c == ':')
            *line = LINE_VALUE;
        else if (!is_token(c))
            return "A header name holds a character that is not allowed (a space before the "
                   "colon?).";
        return NULL;
    case LINE_VALUE:
        if (c == '\r')
            *line = LINE_VALUE_LF;
        else if (c == '\n')
            return "A header line ended in LF without CR.";
        else if (!is_text(c))
            return "A header value holds a control character.";
        return NULL;
    case LINE_END_LF: *line = LINE_DONE; return c == '\n' ? NULL : "CR without LF.";
    case LINE_DONE: break;
    }
    CHECK_UNREACHABLE();
}

/* http_parser gives pieces: the request collects names and values one after the other in `head`. */
static int on_url(http_parser *p, const char *at, size_t size)
{
    struct net_conn *conn = p->data;
    struct net_request *req = conn->current;
    if (req->method_target.value == 0) {
        buf_str(&req->head, http_method_str((enum http_method)p->method));
        req->method_target.name_size = (uint32_t)req->head.size;
        buf_u8(&req->head, 0);
        req->method_target.value = (uint32_t)req->head.size;
    }
    buf_append(&req->head, at, size);
    req->method_target.value_size += (uint32_t)size;
    return 0;
}

static int on_field(http_parser *p, const char *at, size_t size)
{
    struct net_conn *conn = p->data;
    struct net_request *req = conn->current;
    struct net_slot *slot;
    if (conn->h1.in_value || req->slot_count == 0) {
        net_request_add_header(req, BYTES_NONE, BYTES_NONE);
        conn->h1.in_value = false;
    }
    if (req->head_failed)
        return 1;
    slot = &req->slots[req->slot_count - 1];
    for (size_t i = 0; i < size; i++)
        buf_u8(&req->head, (uint8_t)(at[i] >= 'A' && at[i] <= 'Z' ? at[i] + 32 : at[i]));
    slot->name_size += (uint32_t)size;
    return 0;
}

static int on_value(http_parser *p, const char *at, size_t size)
{
    struct net_conn *conn = p->data;
    struct net_request *req = conn->current;
    struct net_slot *slot = &req->slots[req->slot_count - 1];
    if (!conn->h1.in_value) {
        conn->h1.in_value = true;
        buf_u8(&req->head, 0);
        slot->value = (uint32_t)req->head.size;
    }
    buf_append(&req->head, at, size);
    slot->value_size += (uint32_t)size;
    return 0;
}

/* Returning 2 ends http_parser's part right after the head: bodies are framed here. */
static int on_head_complete(http_parser *p)
{
    struct net_conn *conn = p->data;
    conn->h1.head_complete = true;
    conn->h1.http10 = p->http_major == 1 && p->http_minor == 0;
    conn->current->keep_alive = http_should_keep_alive(p);
    return 2;
}

static const http_parser_settings settings = {
    .on_url = on_url,
    .on_header_field = on_field,
    .on_header_value = on_value,
    .on_headers_complete = on_head_complete,
};

/* Errors with no request to answer through: a plain sentence, then the connection ends. */
void net_http1_bad(struct net_conn *conn, int status, enum net_refused why, const char *sentence)
{
    struct buf out;

    if (why != NET_REFUSED_COUNT)
        net_stats_refused(why);
    if (conn->current) {
        struct net_request *req = conn->current;
        conn->current = NULL;
        net_request_free(req);
    }
    buf_init(&out, 0);
    buf_printf(&out,
               "HTTP/1.1 %d %s\r\ndate: %s\r\ncontent-type: text/plain; charset=utf-8\r\n"
               "content-length: %zu\r\nconnection: close\r\n\r\n%s\n",
               status, net_http1_reason(status), net_loop_date(conn->loop), strlen(sentence) + 1,
               sentence);
    if (buf_ok(&out))
        net_conn_send(conn, buf_bytes(&out));
    buf_done(&out);
    net_conn_finish(conn);
}

/* Whether the head says one thing only about where the body ends. NULL: it does. */
static const char *check_framing(struct net_conn *conn, struct net_request *req)
{
    struct net_http1 *h = &conn->h1;
    unsigned lengths = net_request_count_header(req, "content-length");
    unsigned encodings = net_request_count_header(req, "transfer-encoding");
    struct bytes length = net_request_header(req, "content-length");
    uint64_t v = 0;

    if (lengths > 1)
        return "Content-Length is given twice.";
    if (encodings > 1)
        return "Transfer-Encoding is given twice.";
    if (lengths && encodings)
        return "Both Content-Length and Transfer-Encoding are given.";
    if (encodings) {
        if (h->http10)
            return "Transfer-Encoding in an HTTP/1.0 request.";
        if (!bytes_equal_nocase(net_request_header(req, "transfer-encoding"), BYTES_LIT("chunked")))
            return "Transfer-Encoding is something else than chunked.";
        h->chunked = true;
    }
    if (lengths) {
        for (size_t i = 0; i < length.size; i++)
            if (length.data[i] < '0' || length.data[i] > '9')
                return "Content-Length is not a number.";
        if (length.size > 18 || !bytes_to_u64(length, &v))
            return "Content-Length is not a number.";
        req->content_length = (int64_t)v;
        h->body_left = v;
    }
    if (!h->http10 && net_request_count_header(req, "host") != 1)
        return "An HTTP/1.1 request needs exactly one Host header.";
    return NULL;
}

static bool has_expect_continue(struct net_request *req)
{
    return bytes_equal_nocase(net_request_header(req, "expect"), BYTES_LIT("100-continue"));
}

/* Values with surrounding blanks cut off; each followed by NUL for those who want strings. */
static void finish_slots(struct net_request *req)
{
    for (uint32_t i = 0; i < req->slot_count; i++) {
        struct net_slot *s = &req->slots[i];
        struct bytes trimmed = bytes_trim(net_request_slot_value(req, s));
        if (trimmed.size != s->value_size && trimmed.data)
            s->value = (uint32_t)(trimmed.data - req->head.data);
        s->value_size = (uint32_t)trimmed.size;
    }
}

static void head_complete(struct net_conn *conn)
{
    struct net_http1 *h = &conn->h1;
    struct net_request *req = conn->current;
    const char *wrong;

    conn->head_since_ms = 0;
    if (!buf_ok(&req->head)) { /* offsets into it would lead nowhere */
        net_http1_bad(conn, 503, NET_REFUSED_NO_MEMORY, "Out of memory.");
        return;
    }
    finish_slots(req);
    wrong = check_framing(conn, req);
    if (wrong) {
        net_http1_bad(conn, 400, NET_REFUSED_SMUGGLING, wrong);
        return;
    }
    req->body_expected = h->chunked || h->body_left > 0;
    req->body_since_ms = net_loop_now_ms(conn->loop);
    h->chunk = CHUNK_SIZE_FIRST;
    if (!net_admit(req)) {
        h->state = req->body_expected ? NET_HTTP1_REFUSED : NET_HTTP1_WAIT;
        return;
    }
    if (!req->body_expected) {
        h->state = NET_HTTP1_WAIT;
        net_dispatch(req);
        return;
    }
    h->state = NET_HTTP1_BODY;
    if (has_expect_continue(req) && !h->http10)
        net_conn_send_static(conn, BYTES_LIT("HTTP/1.1 100 Continue\r\n\r\n"));
}

static bool head_begin(struct net_conn *conn)
{
    net_http1_init(conn);
    conn->head_since_ms = net_loop_now_ms(conn->loop);
    conn->current = net_request_new(conn);
    if (conn->current)
        return true;
    net_http1_bad(conn, 503, NET_REFUSED_NO_MEMORY, "Out of memory.");
    return false;
}

static void parse_failed(struct net_conn *conn)
{
    enum http_errno e = HTTP_PARSER_ERRNO(&conn->h1.parser);
    if (conn->current->head_failed)
        net_http1_bad(conn, 431, NET_REFUSED_HEAD_TOO_LARGE, "Too many headers.");
    else if (e == HPE_UNEXPECTED_CONTENT_LENGTH || e == HPE_INVALID_TRANSFER_ENCODING ||
             e == HPE_INVALID_CONTENT_LENGTH)
        net_http1_bad(conn, 400, NET_REFUSED_SMUGGLING,
                      "Content-Length and Transfer-Encoding contradict each other.");
    else if (e == HPE_INVALID_METHOD)
        net_http1_bad(conn, 400, NET_REFUSED_SYNTAX, "The request's method is unknown.");
    else if (e == HPE_INVALID_VERSION)
        net_http1_bad(conn, 505, NET_REFUSED_SYNTAX, "Only HTTP/1.0, HTTP/1.1 and HTTP/2 here.");
    else
        net_http1_bad(conn, 400, NET_REFUSED_SYNTAX, "The request cannot be parsed.");
}

static bool parse_head(struct net_conn *conn, const uint8_t *data, size_t size)
{
    http_parser *p = &conn->h1.parser;
    size_t n = http_parser_execute(p, &settings, (const char *)data, size);
    bool done = conn->h1.line == LINE_DONE;

    return n == size && HTTP_PARSER_ERRNO(p) == HPE_OK && conn->h1.head_complete == done;
}

/* The scanner goes first, and what it lets pass is parsed before its own complaint counts: so the answer does not depend on
 * how the bytes were cut. */
static size_t feed_head(struct net_conn *conn, const uint8_t *data, size_t size)
{
    struct net_http1 *h = &conn->h1;
    size_t n = 0, skipped = 0, max;
    const char *wrong = NULL;

    if (!conn->current && !head_begin(conn))
        return size;
    max = MIN(size, (size_t)NET_HEAD_MAX - h->head_bytes);
    while (n < max && h->line != LINE_DONE) {
        uint8_t before = h->line;
        wrong = scan_byte(&h->line, data[n]);
        if (wrong) {
            h->line = before; /* so that it is not taken for complete */
            break;
        }
        n++;
        if (before <= LINE_SKIP_LF && h->line <= LINE_SKIP_LF)
            skipped++;
    }
    h->head_bytes += (uint32_t)n;
    if (n > skipped && !parse_head(conn, data + skipped, n - skipped)) {
        parse_failed(conn);
        return size;
    }
    if (wrong) {
        net_http1_bad(conn, 400, NET_REFUSED_SMUGGLING, wrong);
        return size;
    }
    if (!net_request_charge_head(conn->current)) {
        net_http1_bad(conn, 503, NET_REFUSED_MEMORY, "Too many requests are in flight.");
        return size;
    }
    if (h->head_complete) {
        head_complete(conn);
    } else if (h->head_bytes == NET_HEAD_MAX) {
        net_http1_bad(conn, 431, NET_REFUSED_HEAD_TOO_LARGE,
                      "The request line and headers are larger than 32 KiB.");
        return size;
    }
    return n;
}

/* --- the body --------------------------------------------------------------------------------- */

static void body_complete(struct net_conn *conn)
{
    conn->current->body_complete = true;
    conn->h1.state = NET_HTTP1_WAIT;
    net_dispatch(conn->current);
}

static void body_refused(struct net_conn *conn, enum err e)
{
    struct net_request *req = conn->current;
    char text[128];

    conn->h1.state = NET_HTTP1_REFUSED;
    if (e == ERR_TOO_LARGE) {
        snprintf(text, sizeof(text), "The body is larger than %zu bytes.", req->body_max);
        net_refuse(req, NET_REFUSED_BODY_TOO_LARGE, e, text, 0);
    } else {
        net_refuse(req, NET_REFUSED_MEMORY, ERR_UNAVAILABLE,
                   "Too many request bodies are in flight: try again.", 1);
    }
}

static bool body_data(struct net_conn *conn, const uint8_t *data, size_t size)
{
    enum err e = net_body_append(conn->current, data, size);
    if (e != ERR_OK)
        body_refused(conn, e);
    return e == ERR_OK;
}

static size_t feed_length(struct net_conn *conn, const uint8_t *data, size_t size)
{
    size_t n = (size_t)MIN((uint64_t)size, conn->h1.body_left);

    if (!body_data(conn, data, n))
        return n;
    conn->h1.body_left -= n;
    if (conn->h1.body_left == 0)
        body_complete(conn);
    return n;
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One byte of a size line or of the line end after a chunk's data. Chunk extensions are refused: nobody sends them but those
 * who look for two parsers that disagree. */
static const char *chunk_byte(struct net_conn *conn, uint8_t c)
{
    struct net_http1 *h = &conn->h1;
    int digit;

    switch ((enum chunk)h->chunk) {
    case CHUNK_SIZE_FIRST:
    case CHUNK_SIZE:
        digit = hex_digit(c);
        if (digit >= 0) {
            if (h->body_left >> 56)
                return "A chunk size is absurd.";
            h->body_left = h->body_left * 16 + (unsigned)digit;
            h->chunk = CHUNK_SIZE;
            return NULL;
        }
        if (h->chunk == CHUNK_SIZE_FIRST || c != '\r')
            return "A chunk size is not a hexadecimal number and CRLF.";
        h->chunk = CHUNK_SIZE_LF;
        return NULL;
    case CHUNK_SIZE_LF:
        h->chunk = h->body_left ? CHUNK_DATA : CHUNK_TRAILER;
        h->line = LINE_BEGIN;
        return c == '\n' ? NULL : "A chunk size is not followed by CRLF.";
    case CHUNK_DATA_CR:
        h->chunk = CHUNK_DATA_LF;
        return c == '\r' ? NULL : "A chunk is longer than its size.";
    case CHUNK_DATA_LF:
        h->chunk = CHUNK_SIZE_FIRST;
        return c == '\n' ? NULL : "A chunk is longer than its size.";
    case CHUNK_TRAILER: /* trailers are checked and thrown away */
        if (++h->trailer_bytes > TRAILER_MAX)
            return "The trailers are too large.";
        return scan_byte(&h->line, c);
    case CHUNK_DATA: break;
    }
    CHECK_UNREACHABLE();
}

static size_t feed_chunked(struct net_conn *conn, const uint8_t *data, size_t size)
{
    struct net_http1 *h = &conn->h1;
    size_t used = 0;

    while (used < size) {
        const char *wrong;
        if (h->chunk == CHUNK_DATA) {
            size_t n = (size_t)MIN((uint64_t)(size - used), h->body_left);
            if (!body_data(conn, data + used, n))
                return used + n;
            used += n;
            h->body_left -= n;
            if (h->body_left == 0)
                h->chunk = CHUNK_DATA_CR;
            continue;
        }
        wrong = chunk_byte(conn, data[used++]);
        if (wrong) {
            net_http1_bad(conn, 400, NET_REFUSED_SMUGGLING, wrong);
            return size;
        }
        if (h->chunk == CHUNK_DATA &&
            h->body_left > conn->current->body_max - conn->current->body.size) {
            body_refused(conn, ERR_TOO_LARGE);
            return used;
        }
        if (h->chunk == CHUNK_TRAILER && h->line == LINE_DONE) {
            body_complete(conn);
            return used;
        }
    }
    return used;
}

static size_t feed_refused(struct net_conn *conn, size_t size)
{
    conn->discarded += size;
    if (conn->discarded > REFUSED_INPUT_MAX)
        net_conn_close(conn);
    return size;
}

size_t net_http1_feed(struct net_conn *conn, const uint8_t *data, size_t size)
{
    switch ((enum net_http1_state)conn->h1.state) {
    case NET_HTTP1_HEAD:
        /* who does not read the answers gets no further ones: they would pile up here */
        if (!conn->current && conn->out_bytes > NET_OUT_HIGH)
            return 0;
        return feed_head(conn, data, size);
    case NET_HTTP1_BODY:
        if (conn->current->body.size == 0 && !(conn->current->route->flags & NET_ROUTE_LOW) &&
            net_admit_memory_short(conn->loop->net)) {
            net_conn_pause(conn, NET_PAUSE_MEMORY);
            conn->current->body_since_ms = net_loop_now_ms(conn->loop);
            return 0;
        }
        return conn->h1.chunked ? feed_chunked(conn, data, size) : feed_length(conn, data, size);
    case NET_HTTP1_WAIT:
    case NET_HTTP1_STREAM: return 0; /* kept: the next request of a pipeline */
    case NET_HTTP1_REFUSED: return feed_refused(conn, size);
    }
    CHECK_UNREACHABLE();
}

/* --- replies ---------------------------------------------------------------------------------- */

const char *net_http1_reason(int status)
{
    static const struct {
        int status;
        const char *reason;
    } reasons[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {206, "Partial Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {303, "See Other"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {417, "Expectation Failed"},
        {421, "Misdirected Request"},
        {422, "Unprocessable Content"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {499, "Client Closed Request"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "Status";
}

static bool stays_open(const struct net_conn *conn, const struct net_request *req)
{
    return req->keep_alive && conn->h1.state != NET_HTTP1_REFUSED &&
           !atomic_load(&conn->loop->net->draining);
}

static void write_head(struct net_conn *conn, struct net_request *req, struct buf *out)
{
    const struct net_reply_data *r = &req->reply;

    buf_printf(out, "HTTP/1.1 %d %s\r\ndate: %s\r\n", r->status, net_http1_reason(r->status),
               net_loop_date(conn->loop));
    for (size_t at = 0; at < r->headers.size;) {
        const char *name = (const char *)r->headers.data + at;
        const char *value = name + strlen(name) + 1;
        at += strlen(name) + strlen(value) + 2;
        buf_printf(out, "%s: ", name);
        buf_str(out, value);
        buf_str(out, "\r\n");
    }
    if (!stays_open(conn, req))
        buf_str(out, "connection: close\r\n");
    else if (conn->h1.http10)
        buf_str(out, "connection: keep-alive\r\n");
}

/* The answer has been handed to the socket: the next request, or the end. */
static void answered(struct net_conn *conn, struct net_request *req)
{
    bool open = stays_open(conn, req);

    conn->current = NULL;
    net_request_free(req);
    if (conn->closed)
        return;
    if (!open) {
        net_conn_finish(conn);
        return;
    }
    conn->h1.state = NET_HTTP1_HEAD;
    conn->idle_since_ms = net_loop_now_ms(conn->loop);
    net_conn_resume(conn);
}

void net_http1_reply(struct net_conn *conn, struct net_request *req)
{
    struct net_reply_data *r = &req->reply;
    bool bodyless = r->status < 200 || r->status == 204 || r->status == 304;
    bool send_body = r->body_size > 0 && !bodyless && !req->is_head;
    struct buf out;

    CHECK(conn->current == req);
    buf_init(&out, 0);
    write_head(conn, req, &out);
    if (!bodyless)
        buf_printf(&out, "content-length: %zu\r\n", r->body_size);
    buf_str(&out, "\r\n");
    if (send_body && r->body_size <= SMALL_BODY) {
        buf_append(&out, r->body, r->body_size);
        send_body = false;
    }
    if (!buf_ok(&out)) {
        buf_done(&out);
        net_stats_refused(NET_REFUSED_NO_MEMORY);
        net_conn_close(conn);
        net_request_free(req);
        return;
    }
    net_conn_send(conn, buf_bytes(&out));
    buf_done(&out);
    if (send_body && r->is_static) {
        net_conn_send_static(conn, bytes_of(r->body, r->body_size));
    } else if (send_body) {
        net_conn_send_take(conn, r->body, r->body_size);
        r->body = NULL;
    }
    answered(conn, req);
}

void net_http1_stream_begin(struct net_conn *conn, struct net_request *req)
{
    struct buf out;

    conn->h1.state = conn->h1.state == NET_HTTP1_REFUSED ? NET_HTTP1_REFUSED : NET_HTTP1_STREAM;
    if (conn->h1.http10)
        req->keep_alive = false; /* the end of the connection is the end of the body */
    buf_init(&out, 0);
    write_head(conn, req, &out);
    buf_str(&out, conn->h1.http10 ? "\r\n" : "transfer-encoding: chunked\r\n\r\n");
    if (buf_ok(&out))
        net_conn_send(conn, buf_bytes(&out));
    buf_done(&out);
}

void net_http1_stream_chunk(struct net_conn *conn, struct net_request *req, struct bytes chunk)
{
    struct buf out;

    if (req->is_head || chunk.size == 0)
        return;
    if (conn->out_bytes + chunk.size > NET_STREAM_QUEUE) {
        net_stats_refused(NET_REFUSED_SLOW_READER);
        net_conn_close(conn);
        return;
    }
    buf_init(&out, 0);
    if (!conn->h1.http10)
        buf_printf(&out, "%zx\r\n", chunk.size);
    buf_bytes_append(&out, chunk);
    if (!conn->h1.http10)
        buf_str(&out, "\r\n");
    if (buf_ok(&out))
        net_conn_send(conn, buf_bytes(&out));
    else
        net_conn_close(conn);
    buf_done(&out);
}

void net_http1_stream_end(struct net_conn *conn, struct net_request *req)
{
    if (!conn->h1.http10 && !req->is_head)
        net_conn_send_static(conn, BYTES_LIT("0\r\n\r\n"));
    answered(conn, req);
}

/* --- time ------------------------------------------------------------------------------------- */

void net_http1_timeout(struct net_conn *conn, int64_t now)
{
    const struct net_opts *o = &conn->loop->net->opts;

    if (conn->proto == NET_PROTO_NONE) {
        if (now - conn->head_since_ms < o->header_timeout_ms)
            return;
        if (conn->pending.size > 0)
            net_stats_refused(NET_REFUSED_HEADER_TIMEOUT);
        net_conn_close(conn);
    } else if (conn->h1.state == NET_HTTP1_BODY && conn->current) {
        if (net_admit_too_slow(conn->current, now)) {
            conn->h1.state = NET_HTTP1_REFUSED;
            net_refuse_status(conn->current, NET_REFUSED_BODY_TIMEOUT, 408, ERR_TIMEOUT,
                              "The body came too slowly.");
        }
    } else if (conn->h1.state == NET_HTTP1_HEAD && conn->head_since_ms) {
        if (now - conn->head_since_ms >= o->header_timeout_ms)
            net_http1_bad(conn, 408, NET_REFUSED_HEADER_TIMEOUT, "The headers came too slowly.");
    } else if (conn->h1.state == NET_HTTP1_HEAD) {
        if (now - conn->idle_since_ms >= o->idle_timeout_ms)
            net_conn_finish(conn);
    }
}
