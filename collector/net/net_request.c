/* Requests: building them, their body memory, and what handlers ask of them. */
#include "collector/net/net_request.h"
#include "base/check.h"
#include "base/clock.h"
#include <stdlib.h>

struct net_pair {
    struct bytes name, value;
};

enum { PAIRS_MAX = 4096, BODY_FIRST = 16 * 1024 };

/* --- life ------------------------------------------------------------------------------------- */

struct net_request *net_request_new(struct net_conn *conn)
{
    struct net_loop *loop = conn->loop;
    struct net_request *req = calloc(1, sizeof(*req));

    if (!req)
        return NULL;
    req->net = loop->net;
    req->loop = loop;
    req->conn = conn;
    req->door = conn->door;
    req->is_tls = conn->tls != NULL;
    req->is_loopback = conn->is_loopback;
    req->content_length = -1;
    req->access.org = 1;
    buf_init(&req->head, 2 * NET_HEAD_MAX);
    buf_init(&req->body, 0);
    buf_init(&req->reply.headers, 64 * 1024);
    buf_init(&req->reply.trailers, 64 * 1024);
    net_conn_peer(conn, req->peer, sizeof(req->peer));
    req->loop_next = loop->requests;
    if (req->loop_next)
        req->loop_next->loop_prev = req;
    loop->requests = req;
    req->conn_next = conn->requests;
    if (req->conn_next)
        req->conn_next->conn_prev = req;
    conn->requests = req;
    atomic_fetch_add(&loop->net->requests, 1);
    return req;
}

static void unlink_from_conn(struct net_request *req)
{
    if (!req->conn)
        return;
    if (req->conn_prev)
        req->conn_prev->conn_next = req->conn_next;
    else
        req->conn->requests = req->conn_next;
    if (req->conn_next)
        req->conn_next->conn_prev = req->conn_prev;
    if (req->conn->current == req)
        req->conn->current = NULL;
    req->conn_prev = req->conn_next = NULL;
    req->conn = NULL;
    if (req->stream)
        net_h2_forget(req->stream);
    req->stream = NULL;
}

/* true: still within the budget; false: over it, and the caller gives back. */
static bool charge(struct net_request *req, size_t n)
{
    req->charged += n;
    net_stats_add(NET_COUNTED_BODY_BYTES, (int64_t)n);
    return atomic_fetch_add(&req->net->body_bytes, n) + n <= req->net->opts.body_bytes_max;
}

bool net_request_charge_head(struct net_request *req)
{
    size_t now = req->head.cap + req->slot_cap * sizeof(struct net_slot);
    size_t more = now - req->head_charged;

    req->head_charged = now;
    return more == 0 || charge(req, more);
}

static void uncharge(struct net_request *req)
{
    atomic_fetch_sub(&req->net->body_bytes, req->charged);
    net_stats_add(NET_COUNTED_BODY_BYTES, -(int64_t)req->charged);
    req->charged = 0;
}

void net_request_release_body(struct net_request *req)
{
    buf_done(&req->body);
    uncharge(req);
}

void net_request_free(struct net_request *req)
{
    struct net_loop *loop = req->loop;

    unlink_from_conn(req);
    if (req->loop_prev)
        req->loop_prev->loop_next = req->loop_next;
    else
        loop->requests = req->loop_next;
    if (req->loop_next)
        req->loop_next->loop_prev = req->loop_prev;
    uncharge(req);
    atomic_fetch_sub(&req->net->requests, 1);
    arena_free(req->arena);
    buf_done(&req->head);
    buf_done(&req->body);
    buf_done(&req->reply.headers);
    buf_done(&req->reply.trailers);
    if (!req->reply.is_static)
        free(req->reply.body);
    free(req->slots);
    free(req->path_text);
    free(req);
}

/* One that a handler holds lives on until its reply; the others nobody will come back for. */
void net_request_detach(struct net_request *req)
{
    bool held = (req->dispatched || req->refused) && !req->answered;

    unlink_from_conn(req);
    atomic_store(&req->cancelled, true);
    if (!held)
        net_request_free(req);
}

/* --- the head --------------------------------------------------------------------------------- */

void net_request_add_header(struct net_request *req, struct bytes name, struct bytes value)
{
    struct net_slot *slot;

    if (req->slot_count == NET_HEADERS_MAX) {
        req->head_failed = true;
        return;
    }
    if (req->slot_count == req->slot_cap) {
        uint32_t cap = req->slot_cap ? req->slot_cap * 2 : 12;
        struct net_slot *grown = realloc(req->slots, cap * sizeof(*grown));
        if (!grown) {
            req->head_failed = true;
            return;
        }
        req->slots = grown;
        req->slot_cap = cap;
    }
    buf_u8(&req->head, 0); /* ends the value before */
    slot = &req->slots[req->slot_count++];
    slot->name = (uint32_t)req->head.size;
    slot->name_size = (uint32_t)name.size;
    buf_bytes_append(&req->head, name);
    slot->value = (uint32_t)req->head.size;
    slot->value_size = (uint32_t)value.size;
    if (value.data) {
        buf_u8(&req->head, 0);
        slot->value = (uint32_t)req->head.size;
        buf_bytes_append(&req->head, value);
    }
    if (!buf_ok(&req->head))
        req->head_failed = true;
}

struct bytes net_request_slot_value(const struct net_request *req, const struct net_slot *slot)
{
    return bytes_of(req->head.data + slot->value, slot->value_size);
}

static bool slot_is(const struct net_request *req, const struct net_slot *s, struct bytes name)
{
    return bytes_equal_nocase(bytes_of(req->head.data + s->name, s->name_size), name);
}

struct bytes net_request_header(const struct net_request *req, const char *name)
{
    struct bytes want = bytes_str(name);
    for (uint32_t i = 0; i < req->slot_count; i++)
        if (slot_is(req, &req->slots[i], want))
            return net_request_slot_value(req, &req->slots[i]);
    return BYTES_NONE;
}

unsigned net_request_count_header(const struct net_request *req, const char *name)
{
    struct bytes want = bytes_str(name);
    unsigned n = 0;
    for (uint32_t i = 0; i < req->slot_count; i++)
        n += slot_is(req, &req->slots[i], want);
    return n;
}

bool net_request_has_header(const struct net_request *req, const char *name)
{
    return net_request_count_header(req, name) > 0;
}

/* --- the body --------------------------------------------------------------------------------- */

static enum err body_reserve(struct net_request *req, size_t need)
{
    struct buf *b = &req->body;
    size_t cap = b->cap ? b->cap : BODY_FIRST;
    uint8_t *grown;

    if (need <= b->cap)
        return ERR_OK;
    /* What Content-Length promises is not believed beyond a first step: memory follows bytes that came. */
    if (!b->cap && req->content_length > 0 && req->content_length < 256 * 1024)
        cap = (size_t)req->content_length;
    while (cap < need)
        cap *= 2;
    if (req->content_length > 0 && (size_t)req->content_length >= need)
        cap = MIN(cap, (size_t)req->content_length);
    if (!charge(req, cap - b->cap))
        return ERR_UNAVAILABLE; /* the caller gives everything back */
    grown = realloc(b->data, cap);
    if (!grown)
        return ERR_NOMEM;
    b->data = grown;
    b->cap = cap;
    return ERR_OK;
}

enum err net_body_append(struct net_request *req, const uint8_t *data, size_t size)
{
    struct buf *b = &req->body;
    enum err e;

    if (size > req->body_max - b->size)
        return ERR_TOO_LARGE;
    e = body_reserve(req, b->size + size);
    if (e != ERR_OK) {
        buf_done(b); /* the request will be refused: give its memory back at once */
        uncharge(req);
        return e;
    }
    memcpy(b->data + b->size, data, size);
    b->size += size;
    return ERR_OK;
}

struct bytes net_request_body(const struct net_request *req)
{
    return buf_bytes(&req->body);
}

uint8_t *net_request_take_body(struct net_request *req, size_t *out_size)
{
    uint8_t *data = req->body.size ? req->body.data : NULL;

    *out_size = req->body.size;
    if (!data)
        return NULL;
    req->body.data = NULL;
    req->body.size = req->body.cap = 0;
    return data;
}

/* --- parameters ------------------------------------------------------------------------------- */

static int hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* application/x-www-form-urlencoded; a '%' that begins no escape stands for itself. */
static bool decode_form(struct arena *a, struct bytes in, struct bytes *out)
{
    uint8_t *text = arena_alloc_raw(a, in.size + 1, 1);
    size_t n = 0;

    if (!text)
        return false;
    for (size_t i = 0; i < in.size; i++) {
        uint8_t c = in.data[i];
        if (c == '+') {
            c = ' ';
        } else if (c == '%' && i + 2 < in.size && hex_value(in.data[i + 1]) >= 0 &&
                   hex_value(in.data[i + 2]) >= 0) {
            c = (uint8_t)(hex_value(in.data[i + 1]) * 16 + hex_value(in.data[i + 2]));
            i += 2;
        }
        text[n++] = c;
    }
    text[n] = 0;
    *out = bytes_of(text, n);
    return true;
}

static void parse_pairs(struct net_request *req, struct bytes text)
{
    struct arena *a = net_request_arena(req);

    while (a && text.size > 0 && req->pair_count < PAIRS_MAX) {
        size_t end = bytes_find(text, BYTES_LIT("&"));
        struct bytes pair = bytes_slice(text, 0, end);
        size_t eq = bytes_find(pair, BYTES_LIT("="));
        struct net_pair p = {BYTES_NONE, BYTES_LIT("")}, *grown;
        text = bytes_slice(text, MIN(end + 1, text.size), text.size);
        if (pair.size == 0)
            continue;
        if (!decode_form(a, bytes_slice(pair, 0, eq), &p.name))
            return;
        if (eq < pair.size && !decode_form(a, bytes_slice(pair, eq + 1, pair.size), &p.value))
            return;
        if ((req->pair_count & (req->pair_count - 1)) == 0) {
            grown = arena_grow(a, req->pairs, sizeof(*grown), req->pair_count,
                               req->pair_count ? (size_t)req->pair_count * 2 : 1);
            if (!grown)
                return;
            req->pairs = grown;
        }
        req->pairs[req->pair_count++] = p;
    }
}

bool net_request_value(struct net_request *req, const char *name, unsigned n, struct bytes *out)
{
    struct bytes want = bytes_str(name);

    if (!req->pairs_parsed) {
        req->pairs_parsed = true;
        parse_pairs(req, req->query);
        if (strcmp(req->content_type, "application/x-www-form-urlencoded") == 0)
            parse_pairs(req, buf_bytes(&req->body));
    }
    for (uint32_t i = 0; i < req->pair_count; i++)
        if (bytes_equal(req->pairs[i].name, want) && n-- == 0) {
            *out = req->pairs[i].value;
            return true;
        }
    return false;
}

struct arena *net_request_arena(struct net_request *req)
{
    if (!req->arena)
        req->arena = arena_new(NET_ARENA_MAX);
    return req->arena;
}

/* --- plain accessors -------------------------------------------------------------------------- */

struct bytes net_request_method(const struct net_request *req)
{
    return req->method;
}

struct bytes net_request_path(const struct net_request *req)
{
    return req->path;
}

struct bytes net_request_param(const struct net_request *req, unsigned index)
{
    return index < NET_PARAMS_MAX ? req->params[index] : BYTES_NONE;
}

struct bytes net_request_content_type(const struct net_request *req)
{
    return bytes_str(req->content_type);
}

struct bytes net_request_content_encoding(const struct net_request *req)
{
    return bytes_str(req->content_encoding);
}

enum net_door net_request_door(const struct net_request *req)
{
    return req->door;
}

bool net_request_is_grpc(const struct net_request *req)
{
    return req->is_grpc;
}

bool net_request_is_tls(const struct net_request *req)
{
    return req->is_tls;
}

bool net_request_is_loopback(const struct net_request *req)
{
    return req->is_loopback;
}

const char *net_request_peer(const struct net_request *req)
{
    return req->peer;
}

const struct net_access *net_request_access(const struct net_request *req)
{
    return &req->access;
}

const atomic_bool *net_request_cancelled(const struct net_request *req)
{
    return &req->cancelled;
}
