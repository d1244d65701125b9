/* From complete headers to the handler: path, door, host, route, access, size: in this order, before any body byte is read. */
#include "base/check.h"
#include "base/clock.h"
#include "collector/net/net_request.h"
#include <stdio.h>
#include <stdlib.h>

static const char OUT_OF_MEMORY[] = "Out of memory.";

bool net_admit_memory_short(const struct net *net)
{
    size_t max = net->opts.body_bytes_max;
    return atomic_load(&((struct net *)net)->body_bytes) > max - max / 4;
}

void net_refuse(struct net_request *req, enum net_refused why, enum err e, const char *sentence,
                unsigned retry_after_s)
{
    net_stats_refused(why);
    req->refused = true;
    net_reply_err(req, e, sentence, retry_after_s);
}

void net_refuse_status(struct net_request *req, enum net_refused why, int http_status, enum err e,
                       const char *sentence)
{
    req->refused_status = http_status;
    net_refuse(req, why, e, sentence, 0);
}

/* Windows, not the average: who sends much at first could else hold its memory for hours. */
bool net_admit_too_slow(struct net_request *req, int64_t now_ms)
{
    const struct net_opts *o = &req->net->opts;
    int64_t since = now_ms - req->body_since_ms;

    if (req->conn->pause & NET_PAUSE_MEMORY) { /* it is we who do not read */
        req->body_since_ms = now_ms;
        return false;
    }
    if (since < o->body_timeout_ms)
        return false;
    if ((req->body.size - req->body_seen) * 1000 < o->body_rate_min * (size_t)since)
        return true;
    req->body_since_ms = now_ms;
    req->body_seen = req->body.size;
    return false;
}

/* --- the target ------------------------------------------------------------------------------- */

static int hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Percent-decodes; false for broken escapes, NUL and control characters. out has room for in.size + 1. */
static bool decode_path(struct bytes in, char *out, size_t *out_size)
{
    size_t n = 0;

    for (size_t i = 0; i < in.size; i++) {
        int c = in.data[i];
        if (c == '%') {
            if (i + 2 >= in.size || hex_value(in.data[i + 1]) < 0 || hex_value(in.data[i + 2]) < 0)
                return false;
            c = hex_value(in.data[i + 1]) * 16 + hex_value(in.data[i + 2]);
            i += 2;
        }
        if (c < 0x20 || c == 0x7f)
            return false;
        out[n++] = (char)c;
    }
    out[n] = 0;
    *out_size = n;
    return true;
}

static bool has_dot_segment(struct bytes path)
{
    for (size_t i = 0; i + 1 < path.size; i++) {
        size_t at = i + 1, end;
        if (path.data[i] != '/')
            continue;
        for (end = at; end < path.size && path.data[end] != '/'; end++)
            ;
        if ((end - at == 1 && path.data[at] == '.') ||
            (end - at == 2 && path.data[at] == '.' && path.data[at + 1] == '.'))
            return true;
    }
    return false;
}

static const char *split_target(struct net_request *req, struct bytes *out_raw_path)
{
    struct bytes target;
    size_t q, n = 0;

    req->method = bytes_of(req->head.data + req->method_target.name, req->method_target.name_size);
    target = req->target =
        bytes_of(req->head.data + req->method_target.value, req->method_target.value_size);
    if (target.size == 0 || target.data[0] != '/')
        return "The request target must be a path that begins with '/'.";
    if (target.size > NET_URL_MAX)
        return "The request target is longer than 16 KiB: send long queries by POST.";
    q = bytes_find(target, BYTES_LIT("?"));
    *out_raw_path = bytes_slice(target, 0, q);
    if (q < target.size)
        req->query = bytes_slice(target, q + 1, target.size);
    /* room for the path and every parameter, each with its NUL */
    req->path_text = malloc(2 * (out_raw_path->size + 1) + NET_PARAMS_MAX);
    if (!req->path_text)
        return OUT_OF_MEMORY;
    if (!decode_path(*out_raw_path, req->path_text, &n))
        return "The path holds a broken percent-escape or a control character.";
    req->path = bytes_of(req->path_text, n);
    if (has_dot_segment(req->path))
        return "The path holds '.' or '..' segments.";
    return NULL;
}

static void copy_params(struct net_request *req, const struct net_route_match *m, size_t raw_size)
{
    char *at = req->path_text + raw_size + 1;

    for (unsigned i = 0; i < NET_PARAMS_MAX; i++) {
        size_t n = 0;
        if (!m->params[i].data || !decode_path(m->params[i], at, &n))
            continue;
        req->params[i] = bytes_of(at, n);
        at += n + 1;
    }
}

/* --- content headers -------------------------------------------------------------------------- */

static void copy_lower(struct bytes in, char *out, size_t size)
{
    size_t n = MIN(in.size, size - 1);
    for (size_t i = 0; i < n; i++)
        out[i] = (char)(in.data[i] >= 'A' && in.data[i] <= 'Z' ? in.data[i] + 32 : in.data[i]);
    out[n] = 0;
}

static void read_content_headers(struct net_request *req)
{
    struct bytes type = net_request_header(req, "content-type");
    struct bytes encoding = net_request_header(req, "content-encoding");

    type = bytes_trim(bytes_slice(type, 0, bytes_find(type, BYTES_LIT(";"))));
    copy_lower(type, req->content_type, sizeof(req->content_type));
    if (!bytes_equal_nocase(encoding, BYTES_LIT("identity")))
        copy_lower(encoding, req->content_encoding, sizeof(req->content_encoding));
    req->is_grpc = req->is_h2 && (strcmp(req->content_type, "application/grpc") == 0 ||
                                  strncmp(req->content_type, "application/grpc+", 17) == 0);
}

/* --- the host --------------------------------------------------------------------------------- */

static bool is_ip_address(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;
    return uv_inet_pton(AF_INET, host, &v4) == 0 || uv_inet_pton(AF_INET6, host, &v6) == 0;
}

static bool is_localhost(const char *host)
{
    size_t n = strlen(host);
    if (n && host[n - 1] == '.')
        n--;
    return (n == 9 && strncmp(host, "localhost", 9) == 0) ||
           (n > 10 && strncmp(host + n - 10, ".localhost", 10) == 0);
}

/* A page that rebinds its own DNS name to our address always sends that name: so addresses and localhost are safe, other
 * names must be configured. */
static bool host_is_ours(const struct net_request *req)
{
    struct bytes h = net_request_header(req, "host");
    char host[256];
    size_t end;

    if (h.size == 0 || h.size >= sizeof(host))
        return h.size == 0 && !req->is_h2; /* HTTP/1.0 has no Host, and no browser speaks it */
    if (h.data[0] == '[') {
        end = bytes_find(h, BYTES_LIT("]"));
        h = bytes_slice(h, 1, end);
    } else {
        h = bytes_slice(h, 0, bytes_find(h, BYTES_LIT(":")));
    }
    copy_lower(h, host, sizeof(host));
    if (is_localhost(host) || is_ip_address(host))
        return true;
    for (char **name = req->net->host_names; name && *name; name++)
        if (strcmp(*name, "*") == 0 || strcasecmp(*name, host) == 0)
            return true;
    return false;
}

/* --- the right door --------------------------------------------------------------------------- */

static bool is_otlp_path(struct bytes path)
{
    return bytes_equal_str(path, "/v1/traces") || bytes_equal_str(path, "/v1/metrics") ||
           bytes_equal_str(path, "/v1/logs");
}

static bool refuse_door(struct net_request *req, int status, enum err e, const char *sentence)
{
    net_refuse_status(req, NET_REFUSED_WRONG_DOOR, status, e, sentence);
    return false;
}

static bool check_door(struct net_request *req)
{
    char name[128], text[512];

    if (req->is_grpc && req->door != NET_OTLP_GRPC) {
        net_door_name(req->net, NET_OTLP_GRPC, name, sizeof(name));
        snprintf(text, sizeof(text), "This is the %s; OTLP over gRPC goes to %s.",
                 req->door == NET_WEB ? "web port" : "OTLP/HTTP port", name);
        return refuse_door(req, 0, ERR_UNIMPLEMENTED, text);
    }
    if (!req->is_grpc && strncmp(req->content_type, "application/grpc", 16) == 0) {
        return refuse_door(req, 415, ERR_UNSUPPORTED_MEDIA,
                           "gRPC needs HTTP/2; this request came by HTTP/1 or is gRPC-Web, which "
                           "is not spoken here.");
    }
    if (!req->is_grpc && req->door == NET_OTLP_GRPC) {
        net_door_name(req->net, NET_OTLP_HTTP, name, sizeof(name));
        snprintf(text, sizeof(text),
                 "This is the OTLP gRPC port; OTLP over HTTP goes to %s, path /v1/traces, "
                 "/v1/metrics or /v1/logs (or set OTEL_EXPORTER_OTLP_PROTOCOL=grpc).",
                 name);
        return refuse_door(req, 415, ERR_UNSUPPORTED_MEDIA, text);
    }
    return true;
}

static bool refuse_unknown(struct net_request *req)
{
    char name[128], text[640];
    bool is_get = bytes_equal_str(req->method, "GET");

    if (req->is_grpc) {
        snprintf(text, sizeof(text), "unknown gRPC method " BYTES_FMT, BYTES_ARG(req->path));
        net_refuse(req, NET_REFUSED_NO_ROUTE, ERR_UNIMPLEMENTED, text, 0);
        return false;
    }
    if (req->door == NET_OTLP_HTTP && is_get) {
        net_door_name(req->net, NET_WEB, name, sizeof(name));
        snprintf(text, sizeof(text),
                 "Nothing to see at this path: this is the OTLP/HTTP port, which takes POST "
                 "/v1/traces, /v1/metrics and /v1/logs. The web page and the query API are on %s.",
                 name);
    } else if (req->door == NET_OTLP_HTTP) {
        snprintf(text, sizeof(text),
                 "No such path: OTLP over HTTP takes POST /v1/traces, /v1/metrics and /v1/logs. "
                 "Set OTEL_EXPORTER_OTLP_ENDPOINT to the address without a path (the SDK appends "
                 "it), or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT to the whole URL.");
    } else if (req->door == NET_WEB && is_otlp_path(req->path)) {
        net_door_name(req->net, NET_OTLP_HTTP, name, sizeof(name));
        snprintf(text, sizeof(text), "This is the web port; OTLP over HTTP goes to %s.", name);
    } else {
        snprintf(text, sizeof(text), "No such path: %.*s", (int)MIN(req->path.size, 200),
                 (const char *)req->path.data);
    }
    net_refuse(req, NET_REFUSED_NO_ROUTE, ERR_NOT_FOUND, text, 0);
    return false;
}

static bool find_route(struct net_request *req, struct bytes raw_path)
{
    struct net_route_match m;
    char text[256];

    switch (net_route_find(req->net, req->door, req->method, raw_path, &m)) {
    case NET_ROUTE_NONE: return refuse_unknown(req);
    case NET_ROUTE_WRONG_METHOD:
        snprintf(text, sizeof(text), "405 method not allowed, supported: [%s]", m.allow);
        net_reply_header(&req->reply.headers, "allow", m.allow);
        net_refuse(req, NET_REFUSED_METHOD, ERR_METHOD, text, 0);
        return false;
    case NET_ROUTE_FOUND: break;
    }
    req->route = &m.entry->route;
    req->body_max = req->route->body_max;
    copy_params(req, &m, raw_path.size);
    return true;
}

/* --- access and size -------------------------------------------------------------------------- */

static bool check_access(struct net_request *req)
{
    const struct net_opts *o = &req->net->opts;
    struct net_refusal refusal = {.code = ERR_FORBIDDEN};

    if (!o->authorise || (req->route->flags & NET_ROUTE_OPEN))
        return true;
    if (o->authorise(o->authorise_ctx, req, &req->access, &refusal))
        return true;
    if (refusal.www_authenticate)
        net_reply_header(&req->reply.headers, "www-authenticate", refusal.www_authenticate);
    net_refuse(req, NET_REFUSED_ACCESS, refusal.code,
               refusal.msg.text[0] ? refusal.msg.text : err_text(refusal.code),
               refusal.retry_after_s);
    return false;
}

static bool check_size(struct net_request *req)
{
    char text[160];

    if (req->content_length >= 0 && (uint64_t)req->content_length > req->body_max) {
        snprintf(text, sizeof(text), "The body is %lld bytes, larger than the limit of %zu bytes.",
                 (long long)req->content_length, req->body_max);
        net_refuse(req, NET_REFUSED_BODY_TOO_LARGE, ERR_TOO_LARGE, text, 0);
        return false;
    }
    if (req->body_expected && !(req->route->flags & NET_ROUTE_LOW) &&
        atomic_load(&req->net->body_bytes) >= req->net->opts.body_bytes_max) {
        net_refuse(req, NET_REFUSED_MEMORY, ERR_UNAVAILABLE,
                   "Too many request bodies are in flight: try again.", 1);
        return false;
    }
    return true;
}

bool net_admit(struct net_request *req)
{
    struct bytes raw_path = BYTES_NONE;
    const char *wrong = split_target(req, &raw_path);

    net_stats_add(NET_COUNTED_REQUESTS, 1);
    req->body_max = NET_BODY_MAX_DEFAULT;
    req->is_head = bytes_equal_str(req->method, "HEAD");
    read_content_headers(req);
    if (wrong) {
        if (wrong == OUT_OF_MEMORY)
            net_refuse(req, NET_REFUSED_NO_MEMORY, ERR_NOMEM, wrong, 1);
        else
            net_refuse(req, NET_REFUSED_SYNTAX, ERR_INVALID, wrong, 0);
        return false;
    }
    if (req->door == NET_WEB && !host_is_ours(req)) {
        net_refuse_status(req, NET_REFUSED_HOST, 421, ERR_FORBIDDEN,
                          "The Host header names another machine. If this name is right, add it "
                          "to the allowed host names in the configuration.");
        return false;
    }
    return check_door(req) && find_route(req, raw_path) && check_access(req) && check_size(req);
}

void net_dispatch(struct net_request *req)
{
    req->dispatched = true;
    req->route->handler(req->route->ctx, req);
}
