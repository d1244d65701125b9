/* Where a webhook may go. */
#include "detectors/webhook.h"
#include "base/check.h"
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>

static bool is_plain_host(struct bytes h)
{
    for (size_t i = 0; i < h.size; i++) {
        uint8_t c = h.data[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '-' || c == '.' || c == '_'))
            return false;
    }
    return h.size > 0;
}

/* Hosts such as 2130706433, 0x7f.1 and 0177.0.0.1 are addresses in disguise: only dotted quads are taken. */
static bool is_disguised_number(struct bytes h)
{
    size_t dot = h.size;
    while (dot > 0 && h.data[dot - 1] != '.')
        dot--;
    struct bytes tail = bytes_slice(h, dot, h.size);
    bool numeric = tail.size > 0 && tail.data[0] >= '0' && tail.data[0] <= '9';
    char text[64];
    struct in_addr v4;
    if (!numeric || h.size >= sizeof(text))
        return numeric;
    memcpy(text, h.data, h.size);
    text[h.size] = 0;
    return inet_pton(AF_INET, text, &v4) != 1;
}

/* "http" or "smtp"; with an s it is the one over TLS. */
static enum err url_check(const char *url, const char *scheme, const unsigned ports[2],
                          struct webhook_url *out, struct err_msg *msg)
{
    struct bytes u = bytes_str(url);
    char plain[16], tls[16];
    snprintf(plain, sizeof(plain), "%s://", scheme);
    snprintf(tls, sizeof(tls), "%ss://", scheme);
    *out = (struct webhook_url){.is_tls = bytes_has_prefix(u, bytes_str(tls))};
    if (!out->is_tls && !bytes_has_prefix(u, bytes_str(plain)))
        return err_set(msg, ERR_INVALID, "the URL must begin with %s or %s", tls, plain);
    for (size_t i = 0; i < u.size; i++)
        if (u.data[i] <= ' ' || u.data[i] >= 127)
            return err_set(msg, ERR_INVALID, "the URL has a blank or a byte that is not ASCII");
    size_t from = out->is_tls ? 8 : 7, end = from;
    while (end < u.size && !memchr("/?#", u.data[end], 3))
        end++;
    struct bytes authority = bytes_slice(u, from, end), host = authority, port = BYTES_NONE;
    if (authority.size && memchr(authority.data, '@', authority.size))
        return err_set(msg, ERR_INVALID, "the URL must not hold a user or password: use headers");
    bool is_v6 = authority.size && authority.data[0] == '[';
    size_t close = bytes_find(authority, BYTES_LIT("]"));
    if (is_v6 && close == authority.size)
        return err_set(msg, ERR_INVALID, "the URL's [address] does not end");
    size_t colon = is_v6 ? close + 1 : bytes_find(authority, BYTES_LIT(":"));
    if (colon < authority.size) {
        if (authority.data[colon] != ':')
            return err_set(msg, ERR_INVALID, "the URL's host is malformed");
        port = bytes_slice(authority, colon + 1, authority.size);
    }
    host = is_v6 ? bytes_slice(authority, 1, close) : bytes_slice(authority, 0, colon);
    uint64_t number = ports[out->is_tls];
    if (colon < authority.size && (!bytes_to_u64(port, &number) || number == 0 || number > 65535))
        return err_set(msg, ERR_INVALID, "the URL's port must be 1 to 65535");
    struct in6_addr v6;
    char text[64] = "";
    if (host.size >= sizeof(out->host))
        return err_set(msg, ERR_INVALID, "the URL's host is too long");
    if (is_v6 && host.size < sizeof(text))
        memcpy(text, host.data, host.size);
    if (is_v6 ? inet_pton(AF_INET6, text, &v6) != 1
              : !is_plain_host(host) || is_disguised_number(host))
        return err_set(msg, ERR_INVALID, "the URL's host must be a name or a plain IP address");
    memcpy(out->host, host.data, host.size);
    snprintf(out->port, sizeof(out->port), "%u", (unsigned)number);
    return ERR_OK;
}

enum err webhook_url_check(const char *url, struct webhook_url *out, struct err_msg *msg)
{
    static const unsigned ports[] = {80, 443};
    return url_check(url, "http", ports, out, msg);
}

enum err webhook_mail_url_check(const char *url, struct webhook_url *out, struct err_msg *msg)
{
    static const unsigned ports[] = {25, 465};
    enum err e = url_check(url, "smtp", ports, out, msg);
    const char *path = e == ERR_OK ? strpbrk(url + 7, "/?#") : NULL;
    if (path && path[0] == '/' && out->is_tls)
        path = strpbrk(url + 8, "/?#");
    return path && path[1] ? err_set(msg, ERR_INVALID, "the URL of a mail server has no path") : e;
}

struct range {
    uint8_t prefix[16];
    uint8_t bits;
    bool never; /* not even with allow_private */
};

static const struct range v4_ranges[] = {
    {{0}, 8, true},           {{10}, 8, false},        {{100, 64}, 10, false},
    {{127}, 8, false},        {{169, 254}, 16, true},  {{172, 16}, 12, false},
    {{192, 0, 0}, 24, false}, {{192, 168}, 16, false}, {{198, 18}, 15, false},
    {{224}, 4, true},         {{240}, 4, true},
};
static const struct range v6_ranges[] = {
    {{0}, 128, true},         {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, 128, false},
    {{0xfc}, 7, false},       {{0xfe, 0x80}, 10, true},
    {{0xfe, 0xc0}, 10, true}, {{0xff}, 8, true},
};

static bool in_range(const uint8_t *a, const struct range *r)
{
    unsigned whole = r->bits / 8u, rest = r->bits % 8u;
    if (memcmp(a, r->prefix, whole) != 0)
        return false;
    return rest == 0 || ((a[whole] ^ r->prefix[whole]) >> (8 - rest)) == 0;
}

static bool passes(const uint8_t *a, const struct range *ranges, size_t n, bool allow_private)
{
    for (size_t i = 0; i < n; i++)
        if (in_range(a, &ranges[i]) && (ranges[i].never || !allow_private))
            return false;
    return true;
}

/* IPv4 inside IPv6 (mapped, NAT64, 6to4) is judged as the IPv4 address that it reaches. */
static bool embedded_v4(const uint8_t *a, const uint8_t **out)
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    static const uint8_t nat64[12] = {0, 0x64, 0xff, 0x9b};
    if (memcmp(a, mapped, 12) == 0 || memcmp(a, nat64, 12) == 0)
        *out = a + 12;
    else if (a[0] == 0x20 && a[1] == 0x02)
        *out = a + 2;
    else
        return false;
    return true;
}

bool webhook_address_allowed(struct bytes address, bool allow_private)
{
    const uint8_t *v4 = address.data;
    if (address.size == 4 || (address.size == 16 && embedded_v4(address.data, &v4)))
        return passes(v4, v4_ranges, ARRAY_LEN(v4_ranges), allow_private);
    return address.size == 16 &&
           passes(address.data, v6_ranges, ARRAY_LEN(v6_ranges), allow_private);
}

enum err webhook_connect_check(const struct webhook_url *url, bool allow_private,
                               struct err_msg *msg)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    int rc = getaddrinfo(url->host, url->port, &hints, &list);
    if (rc != 0)
        return err_set(msg, ERR_UNAVAILABLE, "%s cannot be resolved: %s", url->host,
                       gai_strerror(rc));
    enum err e = ERR_OK;
    for (struct addrinfo *i = list; i && e == ERR_OK; i = i->ai_next) {
        struct bytes address;
        if (i->ai_family == AF_INET)
            address = bytes_of(&((struct sockaddr_in *)(void *)i->ai_addr)->sin_addr, 4);
        else if (i->ai_family == AF_INET6)
            address = bytes_of(&((struct sockaddr_in6 *)(void *)i->ai_addr)->sin6_addr, 16);
        else
            continue;
        if (!webhook_address_allowed(address, allow_private))
            e = err_set(msg, ERR_FORBIDDEN,
                        "%s resolves to an address that webhooks may not reach%s", url->host,
                        allow_private ? "" : " (allow_private: true permits private networks)");
    }
    freeaddrinfo(list);
    return e;
}
