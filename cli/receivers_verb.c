/* `telltale receivers`: lists the receivers of a running server, and `receivers test NAME` sends one a test notification and waits for what
 * becomes of it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/http_client.h"
#include "base/json_in.h"
#include "cli/verbs.h"

#define POLL_MS 200

struct receivers_options {
    const char *url, *key;
    int64_t wait_ms;
};

/* clang-format off */
static const struct config_option options[] = {
    {"url",  "--url",  CONFIG_STR,         "http://127.0.0.1:4320", offsetof(struct receivers_options, url),     "URL", "The server's page address."},
    {"key",  "--key",  CONFIG_STR,         NULL,                    offsetof(struct receivers_options, key),     "KEY", "A key, where the server wants one (or TELLTALE_KEY in the environment)."},
    {"wait", "--wait", CONFIG_DURATION_MS, "15s",                   offsetof(struct receivers_options, wait_ms), "D",   "How long to wait for the delivery."},
};
/* clang-format on */
static const struct config_table table = {options, ARRAY_LEN(options)};

static int usage(FILE *to)
{
    struct buf text = {0};
    config_help(&table, &text);
    fprintf(to,
            "usage: telltale receivers [list] [OPTION…]      where alerts of a running server go\n"
            "       telltale receivers test NAME [OPTION…]   send a test notification the way that "
            "every\n"
            "                                                other takes; exit 0 once it is "
            "delivered\n\n" BYTES_FMT,
            BYTES_ARG(buf_bytes(&text)));
    buf_done(&text);
    return to == stdout ? 0 : 2;
}

/* NULL (and a sentence on stderr) unless the answer is 2xx and JSON. */
static const struct json_node *ask(const struct receivers_options *o, const char *method,
                                   const char *path, struct arena *a)
{
    const char *key = o->key ? o->key : getenv("TELLTALE_KEY");
    struct bytes auth = arena_printf(a, "Authorization: Bearer %s", key ? key : ""),
                 url = arena_printf(a, "%s/api/telltale/v1/%s", o->url, path);
    const char *headers[] = {key ? (const char *)auth.data : NULL, NULL};
    struct http_client_request req = {.method = method,
                                      .url = (const char *)url.data,
                                      .headers = headers,
                                      .timeout_ms = 30000,
                                      .response_max = 64u << 20};
    struct http_client *c = http_client_new();
    struct http_client_response res;
    struct json_node *root = NULL;
    struct err_msg msg = {""};
    bool ok = false;
    if (!c || !auth.data || !url.data) {
        fprintf(stderr, "telltale: out of memory\n");
    } else if (http_client_send(c, &req, &res, &msg) != ERR_OK) {
        fprintf(stderr, "telltale: %s (is `telltale serve` running there?)\n", msg.text);
    } else {
        struct bytes body = arena_copy(a, buf_bytes(&res.body));
        enum err e = json_in_tree(body, 64, a, &root, &msg);
        struct bytes why = e == ERR_OK ? json_get_str(root, "error") : BYTES_NONE;
        ok = e == ERR_OK && res.status / 100 == 2;
        if (!ok && why.size)
            fprintf(stderr, "telltale: " BYTES_FMT "\n", BYTES_ARG(why));
        else if (!ok)
            fprintf(stderr, "telltale: %s answered %d\n", req.url, res.status);
        buf_done(&res.body);
    }
    http_client_free(c);
    return ok ? root : NULL;
}

static int list(const struct receivers_options *o, struct arena *a)
{
    const struct json_node *root = ask(o, "GET", "receivers", a);
    if (!root)
        return 1;
    printf("%-24s %-14s %-32s %8s %6s\n", "receiver", "type", "host", "waiting", "dead");
    const struct json_node *rows = json_get(root, "receivers");
    for (const struct json_node *n = rows ? rows->child : NULL; n; n = n->next) {
        int64_t waiting = 0, dead = 0;
        struct bytes name = json_get_str(n, "name"), type = json_get_str(n, "type"),
                     host = json_get_str(n, "host");
        (void)json_get_i64(n, "waiting", &waiting);
        (void)json_get_i64(n, "dead", &dead);
        printf("%-24.*s %-14.*s %-32.*s %8lld %6lld\n", BYTES_ARG(name), BYTES_ARG(type),
               BYTES_ARG(host), (long long)waiting, (long long)dead);
    }
    return 0;
}

/* -1: not decided yet. */
static int outcome(const struct json_node *root, struct bytes id)
{
    const struct json_node *rows = json_get(root, "outbox");
    for (const struct json_node *n = rows ? rows->child : NULL; n; n = n->next) {
        struct bytes state = json_get_str(n, "state"), why = json_get_str(n, "last_error");
        int64_t status = 0;
        if (!bytes_equal(json_get_str(n, "webhook_id"), id))
            continue;
        (void)json_get_i64(n, "last_status", &status);
        if (bytes_equal_str(state, "delivered")) {
            printf("delivered: the receiver answered %lld\n", (long long)status);
            return 0;
        }
        if (bytes_equal_str(state, "dead") || why.size) {
            fprintf(stderr, "telltale: not delivered: " BYTES_FMT "%s\n", BYTES_ARG(why),
                    bytes_equal_str(state, "dead") ? "" : " (it will be tried again)");
            return 1;
        }
        return -1;
    }
    return -1;
}

static int test(const struct receivers_options *o, const char *name, struct arena *a)
{
    struct bytes path = arena_printf(a, "receivers/%s/test", name);
    const struct json_node *root = path.data ? ask(o, "POST", (const char *)path.data, a) : NULL;
    if (!root)
        return 1;
    struct bytes id = json_get_str(root, "webhook_id");
    for (int64_t end = clock_mono_ns() / 1000000 + o->wait_ms;;) {
        struct arena *one = arena_new(0);
        root = one ? ask(o, "GET", "outbox", one) : NULL;
        int rc = root ? outcome(root, id) : 1;
        arena_free(one);
        if (rc >= 0)
            return rc;
        if (clock_mono_ns() / 1000000 > end)
            break;
        clock_sleep_ms(POLL_MS);
    }
    fprintf(stderr, "telltale: it still waits in the outbox (" BYTES_FMT ")\n", BYTES_ARG(id));
    return 1;
}

/* Of the page's address: only what a receiver's name is made of goes into it. */
static bool is_name(const char *s)
{
    return s[0] && strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-_") == strlen(s);
}

int verbs_receivers(int argc, char **argv)
{
    struct receivers_options o = {0};
    struct buf text = {0};
    const char *name = NULL;
    int rc = 2;
    if (argc > 0 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0))
        return usage(stdout);
    if (argc > 0 && strcmp(argv[0], "test") == 0) {
        if (argc < 2 || !is_name(argv[1]))
            return usage(stderr);
        name = argv[1];
        argc -= 2;
        argv += 2;
    } else if (argc > 0 && strcmp(argv[0], "list") == 0) {
        argc--;
        argv++;
    }
    struct arena *a = arena_new(0);
    if (a && config_read(&table, &o, NULL, argc, (const char *const *)argv, a, &text) == ERR_OK)
        rc = name ? test(&o, name, a) : list(&o, a);
    else
        fprintf(stderr, BYTES_FMT, BYTES_ARG(buf_bytes(&text)));
    buf_done(&text);
    arena_free(a);
    return rc;
}
