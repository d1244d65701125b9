/* Receivers from a YAML file (docs/webhooks.md). */
#include "base/file_in.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/yaml_in.h"
#include "detectors/detectors.h"
#include "detectors/receiver.h"
#include <errno.h>
#include <stdio.h>

#define FILE_BYTES_MAX ((size_t)1 << 20)

struct reading {
    const char *path;
    struct buf *errors;
    struct arena *arena;
    bool failed;
};

static void mistake(struct reading *r, const struct yaml_node *at, const char *key, const char *why)
{
    buf_printf(r->errors, "%s:%u: %s: %s\n", r->path, at ? at->line : 1, key, why);
    r->failed = true;
}

static const char *text_of(struct reading *r, const struct yaml_node *n, const char *key)
{
    if (n->type == YAML_SCALAR)
        return (const char *)n->text.data;
    mistake(r, n, key, "must be a string");
    return NULL;
}

static bool bool_of(struct reading *r, const struct yaml_node *n, const char *key)
{
    if (n->type == YAML_SCALAR && bytes_equal_str(n->text, "true"))
        return true;
    if (n->type != YAML_SCALAR || !bytes_equal_str(n->text, "false"))
        mistake(r, n, key, "must be true or false");
    return false;
}

static int64_t duration_of(struct reading *r, const struct yaml_node *n, const char *key)
{
    int64_t ms = 0;
    if (n->type != YAML_SCALAR || !clock_parse_duration_ms((const char *)n->text.data, &ms) ||
        ms <= 0)
        mistake(r, n, key, "must be a duration such as 30s, 10m or 4h");
    return ms;
}

static void read_secrets(struct reading *r, const struct yaml_node *n,
                         struct detectors_receiver *out)
{
    size_t count = 0;
    const struct yaml_node *c = n->type == YAML_LIST ? n->child : n;
    for (; c; c = n->type == YAML_LIST ? c->next : NULL) {
        const char *s = text_of(r, c, "secrets");
        if (count == DETECTORS_SECRETS_MAX)
            mistake(r, c, "secrets", "at most 4");
        else if (s)
            out->secrets[count++] = s;
    }
}

/* "Name: value" from a map; what could end the line or belongs to us is refused. */
static void read_headers(struct reading *r, const struct yaml_node *n,
                         struct detectors_receiver *out)
{
    size_t count = 0;
    for (const struct yaml_node *c = n->type == YAML_MAP ? n->child : NULL; c; c = c->next) {
        bool clean = c->type == YAML_SCALAR && c->key.size > 0;
        for (size_t i = 0; clean && i < c->text.size; i++)
            clean = c->text.data[i] >= ' ' && c->text.data[i] != 127;
        for (size_t i = 0; clean && i < c->key.size; i++)
            clean = c->key.data[i] > ' ' && c->key.data[i] < 127 && c->key.data[i] != ':';
        bool ours = bytes_has_prefix(c->key, BYTES_LIT("webhook-")) ||
                    bytes_equal_nocase(c->key, BYTES_LIT("content-length")) ||
                    bytes_equal_nocase(c->key, BYTES_LIT("host"));
        if (!clean || ours || count == DETECTORS_HEADERS_MAX) {
            mistake(r, c, "headers",
                    ours ? "this header is set by the program"
                         : "names and values of printable characters, at most 16");
            continue;
        }
        struct bytes line =
            arena_printf(r->arena, BYTES_FMT ": " BYTES_FMT, BYTES_ARG(c->key), BYTES_ARG(c->text));
        if (!line.data) {
            mistake(r, c, "headers", "out of memory");
            return;
        }
        out->headers[count++] = (const char *)line.data;
    }
    if (n->type != YAML_MAP)
        mistake(r, n, "headers", "must be a map of names to values");
}

static void read_severities(struct reading *r, const struct yaml_node *n,
                            struct detectors_receiver *out)
{
    const struct yaml_node *c = n->type == YAML_LIST ? n->child : n;
    for (; c; c = n->type == YAML_LIST ? c->next : NULL) {
        if (c->type == YAML_SCALAR && bytes_equal_str(c->text, "page"))
            out->pages = true;
        else if (c->type == YAML_SCALAR && bytes_equal_str(c->text, "ticket"))
            out->tickets = true;
        else
            mistake(r, c, "severities", "must be page or ticket");
    }
}

static void read_kind(struct reading *r, const struct yaml_node *n, struct detectors_receiver *out)
{
    if (n->type != YAML_SCALAR || !receiver_kind_parse(n->text, &out->kind))
        mistake(r, n, "type", "must be webhook, slack, teams, pagerduty, alertmanager or email");
}

static void read_rate(struct reading *r, const struct yaml_node *n, struct detectors_receiver *out)
{
    uint64_t v = 0;
    if (n->type != YAML_SCALAR || !bytes_to_u64(n->text, &v) || v == 0 || v > 6000)
        mistake(r, n, "per_minute", "must be a number from 1 to 6000");
    out->per_minute = (uint32_t)v;
}

static void read_addresses(struct reading *r, const struct yaml_node *n,
                           struct detectors_receiver *out)
{
    size_t count = 0;
    const struct yaml_node *c = n->type == YAML_LIST ? n->child : n;
    for (; c; c = n->type == YAML_LIST ? c->next : NULL) {
        const char *s = text_of(r, c, "to");
        if (count == DETECTORS_MAIL_TO_MAX)
            mistake(r, c, "to", "at most 8 addresses");
        else if (s)
            out->mail_to[count++] = s;
    }
}

/* What cannot be seen key by key. Each mistake is put at the key that it names, if that is given. */
static void check_receiver(struct reading *r, const struct yaml_node *map,
                           struct detectors_receiver *out)
{
    struct buf found;
    buf_init(&found, 4096);
    if (!out->url && out->kind == DETECTORS_PAGERDUTY)
        out->url = RECEIVER_PAGERDUTY_URL;
    if (!out->repeat_ms && out->kind == DETECTORS_ALERTMANAGER)
        out->repeat_ms = RECEIVER_ALERTMANAGER_REPEAT_MS;
    receiver_check(out, "", &found);
    for (struct bytes left = buf_bytes(&found); left.size;) {
        size_t end = bytes_find(left, BYTES_LIT("\n"));
        struct bytes line = bytes_slice(left, 0, end);
        size_t colon = bytes_find(line, BYTES_LIT(": "));
        const struct yaml_node *at = map;
        for (const struct yaml_node *n = map->child; n; n = n->next)
            if (bytes_equal(n->key, bytes_slice(line, 0, colon)))
                at = n;
        buf_printf(r->errors, "%s:%u: " BYTES_FMT "\n", r->path, at->line, BYTES_ARG(line));
        r->failed = true;
        left = bytes_slice(left, MIN(end + 1, left.size), left.size);
    }
    buf_done(&found);
}

static void read_receiver(struct reading *r, const struct yaml_node *map,
                          struct detectors_receiver *out)
{
    for (const struct yaml_node *n = map->child; n; n = n->next) {
        if (bytes_equal_str(n->key, "name"))
            out->name = text_of(r, n, "name");
        else if (bytes_equal_str(n->key, "type"))
            read_kind(r, n, out);
        else if (bytes_equal_str(n->key, "routing_key"))
            out->routing_key = text_of(r, n, "routing_key");
        else if (bytes_equal_str(n->key, "from"))
            out->mail_from = text_of(r, n, "from");
        else if (bytes_equal_str(n->key, "to"))
            read_addresses(r, n, out);
        else if (bytes_equal_str(n->key, "username"))
            out->mail_user = text_of(r, n, "username");
        else if (bytes_equal_str(n->key, "password"))
            out->mail_password = text_of(r, n, "password");
        else if (bytes_equal_str(n->key, "require_tls"))
            out->mail_plain = !bool_of(r, n, "require_tls");
        else if (bytes_equal_str(n->key, "url"))
            out->url = text_of(r, n, "url");
        else if (bytes_equal_str(n->key, "secrets") || bytes_equal_str(n->key, "secret"))
            read_secrets(r, n, out);
        else if (bytes_equal_str(n->key, "headers"))
            read_headers(r, n, out);
        else if (bytes_equal_str(n->key, "severities"))
            read_severities(r, n, out);
        else if (bytes_equal_str(n->key, "send_resolved"))
            out->send_resolved_off = !bool_of(r, n, "send_resolved");
        else if (bytes_equal_str(n->key, "repeat_interval"))
            out->repeat_ms = duration_of(r, n, "repeat_interval");
        else if (bytes_equal_str(n->key, "after"))
            out->after_ms = duration_of(r, n, "after");
        else if (bytes_equal_str(n->key, "per_minute"))
            read_rate(r, n, out);
        else if (bytes_equal_str(n->key, "timeout"))
            out->timeout_ms = duration_of(r, n, "timeout");
        else if (bytes_equal_str(n->key, "allow_private"))
            out->allow_private = bool_of(r, n, "allow_private");
        else if (bytes_equal_str(n->key, "heartbeat"))
            out->heartbeat = bool_of(r, n, "heartbeat");
        else if (bytes_equal_str(n->key, "heartbeat_interval"))
            out->heartbeat_ms = duration_of(r, n, "heartbeat_interval");
        else if (bytes_equal_str(n->key, "ca_file"))
            out->ca_file = text_of(r, n, "ca_file");
        else
            mistake(r, n, "receivers",
                    "unknown key; valid are name, type, url, secrets, headers, severities, "
                    "send_resolved, repeat_interval, timeout, allow_private, heartbeat, "
                    "heartbeat_interval, ca_file, after, per_minute, routing_key, from, to, "
                    "username, password, "
                    "require_tls");
    }
    if (!out->name)
        mistake(r, map, "name", "is missing");
    check_receiver(r, map, out);
}

enum err detectors_receivers_read(const struct yaml_node *list, const char *file, struct arena *a,
                                  struct detectors_receiver **out, size_t *out_count,
                                  struct buf *errors)
{
    struct reading r = {.path = file, .errors = errors, .arena = a};
    if (!list || list->type != YAML_LIST) {
        mistake(&r, list, "receivers", "must be a list of receivers");
        return ERR_INVALID;
    }
    size_t n = 0;
    struct detectors_receiver *all =
        ARENA_ARRAY(a, struct detectors_receiver, DETECTORS_RECEIVERS_MAX);
    if (!all)
        return ERR_NOMEM;
    for (const struct yaml_node *c = list->child; c; c = c->next) {
        if (c->type != YAML_MAP || n == DETECTORS_RECEIVERS_MAX)
            mistake(&r, c, "receivers", "must be maps, at most 32");
        else
            read_receiver(&r, c, &all[n++]);
    }
    if (r.failed)
        return ERR_INVALID;
    *out = all;
    *out_count = n;
    return ERR_OK;
}

enum err detectors_receivers_load(const char *path, struct arena *a,
                                  struct detectors_receiver **out, size_t *out_count,
                                  struct buf *errors)
{
    struct err_msg msg;
    struct yaml_node *doc = NULL;
    struct buf text;
    if (file_in_read(path, FILE_BYTES_MAX, &text, &msg) != ERR_OK) {
        buf_printf(errors, "%s\n", msg.text);
        return ERR_INVALID;
    }
    enum err e = yaml_in_parse(buf_bytes(&text), a, &doc, &msg);
    buf_done(&text);
    if (e != ERR_OK) {
        buf_printf(errors, "%s: %s\n", path, msg.text);
        return ERR_INVALID;
    }
    return detectors_receivers_read(yaml_get(doc, "receivers"), path, a, out, out_count, errors);
}
