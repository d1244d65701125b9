#include "cli/key.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/http_client.h"
#include "base/json_in.h"
#include "base/json_out.h"
#include "web/web_access.h"

#include <stdio.h>
#include <stdlib.h>

struct args {
    const char *verb, *data, *url, *role, *name, *id, *key, *ca_file;
};

static int usage(const char *why)
{
    if (why)
        fprintf(stderr, "telltale key: %s\n", why);
    fputs(
        "usage: telltale key create --role ingest|read|admin [--name TEXT]\n"
        "       telltale key list\n"
        "       telltale key revoke ID\n"
        "where to: --data DIR  a data directory that no server has open (default ./telltale-data)\n"
        "          --url URL   a running server; its admin key in --key KEY or TELLTALE_KEY\n"
        "          --ca FILE   PEM of the authority that signed the server's certificate\n",
        stderr);
    return 2;
}

static bool read_args(int argc, char **argv, struct args *a)
{
    const struct {
        const char *flag;
        const char **to;
    } flags[] = {{"--data", &a->data}, {"--url", &a->url}, {"--role", &a->role},
                 {"--name", &a->name}, {"--key", &a->key}, {"--ca", &a->ca_file}};
    for (int i = 0; i < argc; i++) {
        bool is_flag = false;
        for (size_t f = 0; f < ARRAY_LEN(flags); f++) {
            size_t n = strlen(flags[f].flag);
            if (strncmp(argv[i], flags[f].flag, n) != 0 || (argv[i][n] != '=' && argv[i][n] != 0))
                continue;
            if (argv[i][n] == 0 && i + 1 == argc)
                return false;
            *flags[f].to = argv[i][n] == '=' ? argv[i] + n + 1 : argv[++i];
            is_flag = true;
            break;
        }
        if (is_flag)
            continue;
        if (argv[i][0] == '-')
            return false;
        if (!a->verb)
            a->verb = argv[i];
        else if (!a->id)
            a->id = argv[i];
        else
            return false;
    }
    return a->verb != NULL;
}

static void print_row(const char *id, const char *role, const char *created, const char *revoked,
                      const char *name)
{
    printf("%-16s  %-6s  %-24s  %-24s  %s\n", id, role, created, revoked, name);
}

/* --- on the data directory --------------------------------------------------------------------- */

static int list_local(struct web_access *access)
{
    struct web_access_key *keys = calloc(WEB_ACCESS_KEYS_MAX, sizeof *keys);
    if (!keys)
        return 1;
    size_t n = web_access_list(access, keys, WEB_ACCESS_KEYS_MAX);
    print_row("id", "role", "created", "revoked", "name");
    for (size_t i = 0; i < n; i++) {
        char id[17], created[CLOCK_RFC3339_MAX], revoked[CLOCK_RFC3339_MAX] = "-";
        snprintf(id, sizeof id, "%016llx", (unsigned long long)keys[i].id);
        clock_rfc3339(keys[i].created_ms, created);
        if (keys[i].revoked_ms)
            clock_rfc3339(keys[i].revoked_ms, revoked);
        print_row(id, web_access_role_name(keys[i].role), created, revoked, keys[i].name);
    }
    free(keys);
    return 0;
}

static int run_local(const struct args *a, struct web_access *access)
{
    struct err_msg msg = {{0}};
    char text[WEB_ACCESS_KEY_TEXT_MAX];
    enum web_access_role role;
    uint8_t raw[8];
    uint64_t id;
    if (strcmp(a->verb, "list") == 0)
        return list_local(access);
    if (strcmp(a->verb, "create") == 0) {
        CHECK(web_access_role_parse(bytes_str(a->role), &role)); /* key_main looked at it */
        if (web_access_create(access, role, TSDB_ORG_DEFAULT, bytes_str(a->name ? a->name : ""),
                              text, &id, &msg) != ERR_OK) {
            fprintf(stderr, "telltale key: %s\n", msg.text);
            return 1;
        }
        printf("%s\n", text);
        fprintf(stderr, "This is shown once; only a hash is stored.\n");
        return 0;
    }
    CHECK(bytes_from_hex(bytes_str(a->id), raw, sizeof raw));
    enum err e = web_access_revoke(access, 0, bytes_u64be(raw));
    if (e != ERR_OK) {
        fprintf(stderr, "telltale key: %s\n",
                e == ERR_NOT_FOUND ? "there is no key of this id" : err_text(e));
        return 1;
    }
    printf("revoked %s\n", a->id);
    return 0;
}

static int on_directory(const struct args *a)
{
    struct tsdb_options o = {.dir = a->data ? a->data : "./telltale-data"};
    struct tsdb *db;
    struct web_access *access;
    struct err_msg msg = {{0}};
    enum err e = tsdb_open(&o, &db, &msg);
    if (e != ERR_OK) {
        fprintf(stderr, "telltale key: %s%s\n", msg.text[0] ? msg.text : err_text(e),
                e == ERR_CONFLICT ? "; ask the running server instead: --url http://127.0.0.1:4320"
                                  : "");
        return 1;
    }
    int status = 1;
    if (web_access_open(db, o.dir, &access, &msg) != ERR_OK) {
        fprintf(stderr, "telltale key: %s\n", msg.text);
    } else {
        status = run_local(a, access);
        web_access_close(access);
    }
    tsdb_close(db, false);
    return status;
}

/* --- through a running server ------------------------------------------------------------------ */

static int print_answer(const struct args *a, struct bytes body, struct arena *arena)
{
    struct json_node *root;
    if (json_in_tree(body, 16, arena, &root, NULL) != ERR_OK) {
        fprintf(stderr,
                "telltale key: the server's answer is not JSON; is this address Telltale's?\n");
        return 1;
    }
    if (strcmp(a->verb, "create") == 0) {
        printf(BYTES_FMT "\n", BYTES_ARG(json_get_str(root, "key")));
        fprintf(stderr, "This is shown once; only a hash is stored.\n");
        return 0;
    }
    if (strcmp(a->verb, "revoke") == 0) {
        printf("revoked %s\n", a->id);
        return 0;
    }
    const struct json_node *keys = json_get(root, "keys");
    print_row("id", "role", "created", "revoked", "name");
    for (const struct json_node *k = keys ? keys->child : NULL; k; k = k->next) {
        char id[17], role[8], name[WEB_ACCESS_NAME_MAX + 1], created[CLOCK_RFC3339_MAX] = "-",
                                                             revoked[CLOCK_RFC3339_MAX] = "-";
        int64_t ms;
        snprintf(id, sizeof id, BYTES_FMT, BYTES_ARG(json_get_str(k, "id")));
        snprintf(role, sizeof role, BYTES_FMT, BYTES_ARG(json_get_str(k, "role")));
        snprintf(name, sizeof name, BYTES_FMT, BYTES_ARG(json_get_str(k, "name")));
        if (json_get_i64(k, "created_ms", &ms))
            clock_rfc3339(ms, created);
        if (json_get_i64(k, "revoked_ms", &ms))
            clock_rfc3339(ms, revoked);
        print_row(id, role, created, revoked, name);
    }
    return 0;
}

static int on_server(const struct args *a)
{
    char url[2048], auth[WEB_ACCESS_KEY_TEXT_MAX + 32];
    const char *key = a->key ? a->key : getenv("TELLTALE_KEY");
    const char *headers[] = {"Content-Type: application/json", auth, NULL};
    struct buf body;
    bool revoke = strcmp(a->verb, "revoke") == 0, create = strcmp(a->verb, "create") == 0;
    int status = 1;
    struct err_msg msg = {{0}};
    struct http_client_response r = {0};
    struct arena *arena = arena_new(16 << 20);
    struct http_client *client = http_client_new();
    size_t base = strlen(a->url);
    buf_init(&body, 4096);
    while (base && a->url[base - 1] == '/')
        base--;
    snprintf(url, sizeof url, "%.*s/api/telltale/v1/keys%s%s", (int)base, a->url, revoke ? "/" : "",
             revoke ? a->id : "");
    snprintf(auth, sizeof auth, "Authorization: Bearer %s", key ? key : "");
    if (!key)
        headers[1] = NULL;
    if (create) {
        struct json_out j = json_out_to(&body);
        json_out_object(&j);
        json_out_key(&j, "role");
        json_out_str(&j, a->role);
        json_out_key(&j, "name");
        json_out_str(&j, a->name ? a->name : "");
        json_out_object_end(&j);
    }
    struct http_client_request req = {.method = create   ? "POST"
                                                : revoke ? "DELETE"
                                                         : "GET",
                                      .url = url,
                                      .headers = headers,
                                      .body = buf_bytes(&body),
                                      .response_max = 1 << 20,
                                      .ca_file = a->ca_file};
    buf_init(&r.body, 1 << 20);
    enum err e = client && arena ? http_client_send(client, &req, &r, &msg) : ERR_NOMEM;
    if (e != ERR_OK)
        fprintf(stderr, "telltale key: %s: %s\n", url, msg.text[0] ? msg.text : err_text(e));
    else if (r.status != 200)
        fprintf(stderr, "telltale key: %s: HTTP %d: " BYTES_FMT "\n", url, r.status,
                BYTES_ARG(buf_bytes(&r.body)));
    else
        status = print_answer(a, buf_bytes(&r.body), arena);
    buf_done(&r.body);
    buf_done(&body);
    http_client_free(client);
    arena_free(arena);
    return status;
}

int key_main(int argc, char **argv)
{
    struct args a = {0};
    enum web_access_role role;
    uint8_t raw[8];
    if (!read_args(argc, argv, &a))
        return usage(NULL);
    bool create = strcmp(a.verb, "create") == 0, revoke = strcmp(a.verb, "revoke") == 0;
    if (!create && !revoke && strcmp(a.verb, "list") != 0)
        return usage("give create, list or revoke");
    if (create && (!a.role || !web_access_role_parse(bytes_str(a.role), &role)))
        return usage("create: give --role ingest, read or admin");
    if (revoke && (!a.id || !bytes_from_hex(bytes_str(a.id), raw, sizeof raw)))
        return usage("revoke: give the 16 hex digits of the key's id (telltale key list)");
    if (!revoke && a.id)
        return usage("there is a word too many");
    if (a.url && a.data)
        return usage("give --data or --url, not both");
    return a.url ? on_server(&a) : on_directory(&a);
}
