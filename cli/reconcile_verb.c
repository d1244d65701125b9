/* The verb `telltale reconcile FILE...`: a running server compares a provider's exports with what it counted. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/check.h"
#include "base/http_client.h"
#include "base/json_in.h"
#include "base/json_out.h"
#include "cli/verbs.h"

#define FILES_MAX 64u
#define BODY_MAX (48u << 20)

struct reconcile_args {
    const char *url, *key, *provider, *label, *from, *to, *columns, *centres;
    const char *files[FILES_MAX];
    size_t file_count;
    bool json;
};

static int usage(int rc)
{
    fprintf(
        rc ? stderr : stdout,
        "usage: telltale reconcile FILE… --provider openai|anthropic|generic [OPTION…]\n\n"
        "Compares usage and cost exports (CSV or JSON) with what was counted, per day and model,\n"
        "and says where the difference comes from. Exit 1 when it is above 0.5 %%.\n\n"
        "          --from DAY, --to DAY  these days only (2026-10-01)\n"
        "          --columns TEXT   names of the columns of a generic file: "
        "day=Date,model=Model,cost=USD\n"
        "          --label NAME     the provider of our calls, if it is not the invoice's\n"
        "          --centres FILE   which key, user or project belongs to which cost centre "
        "(docs/prices.md)\n"
        "          --json           the whole report as JSON\n"
        "          --url URL        the server's page address; http://127.0.0.1:4320 if not given\n"
        "          --key KEY        an admin key, where the server wants one (or TELLTALE_KEY)\n");
    return rc;
}

static bool read_args(int argc, char **argv, struct reconcile_args *a)
{
    struct {
        const char *name, **to;
    } texts[] = {{"--url", &a->url},     {"--key", &a->key},        {"--provider", &a->provider},
                 {"--from", &a->from},   {"--to", &a->to},          {"--columns", &a->columns},
                 {"--label", &a->label}, {"--centres", &a->centres}};
    for (int i = 0; i < argc; i++) {
        bool known = false;
        for (size_t k = 0; k < ARRAY_LEN(texts) && !known && i + 1 < argc; k++)
            if (strcmp(argv[i], texts[k].name) == 0) {
                *texts[k].to = argv[++i];
                known = true;
            }
        if (!known && strcmp(argv[i], "--json") == 0)
            known = a->json = true;
        if (!known && argv[i][0] != '-' && a->file_count < FILES_MAX) {
            a->files[a->file_count++] = argv[i];
            known = true;
        }
        if (!known)
            return false;
    }
    return a->file_count && a->provider;
}

static bool put_file(struct json_out *j, const char *path)
{
    FILE *f = fopen(path, "rb");
    struct buf text;
    uint8_t block[65536];
    size_t n;
    buf_init(&text, BODY_MAX);
    while (f && (n = fread(block, 1, sizeof block, f)) > 0)
        buf_append(&text, block, n);
    bool ok = f && !ferror(f) && buf_ok(&text);
    if (f)
        fclose(f);
    if (!ok)
        fprintf(stderr, "telltale reconcile: %s cannot be read\n", path);
    json_out_bytes(j, buf_bytes(&text));
    buf_done(&text);
    return ok;
}

static bool write_body(const struct reconcile_args *a, struct buf *out)
{
    const struct {
        const char *key, *value;
    } texts[] = {{"provider", a->provider},
                 {"label", a->label},
                 {"from", a->from},
                 {"to", a->to},
                 {"columns", a->columns}};
    struct json_out j = json_out_to(out);
    bool ok = true;
    json_out_object(&j);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (texts[i].value) {
            json_out_key(&j, texts[i].key);
            json_out_str(&j, texts[i].value);
        }
    json_out_key(&j, "documents");
    json_out_array(&j);
    for (size_t i = 0; i < a->file_count; i++)
        ok = put_file(&j, a->files[i]) && ok;
    json_out_array_end(&j);
    if (a->centres) {
        json_out_key(&j, "centres");
        ok = put_file(&j, a->centres) && ok;
    }
    json_out_object_end(&j);
    return ok && buf_ok(out);
}

static double usd(const struct json_node *n, const char *key)
{
    int64_t v = 0;
    json_get_i64(n, key, &v);
    return (double)v / 1e9;
}

/* 0 fine, 1 above the limit. */
static int print_report(const struct json_node *r)
{
    const struct json_node *items = json_get(r, "items"), *centres = json_get(r, "centres");
    const struct json_node *lines = json_get(r, "lines"), *alert = json_get(r, "alert");
    double ratio = 0;
    json_get_f64(r, "residue_ratio", &ratio);
    printf(BYTES_FMT ", " BYTES_FMT " to " BYTES_FMT "\n\n", BYTES_ARG(json_get_str(r, "provider")),
           BYTES_ARG(json_get_str(r, "from")), BYTES_ARG(json_get_str(r, "to")));
    printf("  billed      %14.6f USD\n  counted     %14.6f USD\n  difference  %14.6f USD  (%.3f %% "
           "of " BYTES_FMT ")\n\n",
           usd(r, "theirs_nanousd"), usd(r, "ours_nanousd"), usd(r, "difference_nanousd"),
           ratio * 100, BYTES_ARG(json_get_str(r, "residue_of")));
    for (const struct json_node *n = items ? items->child : NULL; n; n = n->next) {
        int64_t v = 0;
        if (bytes_to_i64(n->text, &v))
            printf("  %-12.*s%14.6f USD\n", (int)n->key.size, (const char *)n->key.data,
                   (double)v / 1e9);
    }
    printf("\n  %-10s  %-32s %14s %14s %14s\n", "day", "model", "billed", "counted", "difference");
    size_t shown = 0;
    for (const struct json_node *n = lines ? lines->child : NULL; n && shown < 20;
         n = n->next, shown++)
        printf("  %-10.*s  %-32.*s %14.6f %14.6f %14.6f\n", (int)json_get_str(n, "day").size,
               (const char *)json_get_str(n, "day").data, (int)json_get_str(n, "model").size,
               (const char *)json_get_str(n, "model").data,
               usd(json_get(n, "theirs"), "cost_nanousd"), usd(json_get(n, "ours"), "cost_nanousd"),
               usd(n, "difference_nanousd"));
    printf("\n  %-32s %14s %14s\n", "cost centre", "billed", "counted");
    for (const struct json_node *n = centres ? centres->child : NULL; n; n = n->next)
        printf("  %-32.*s %14.6f %14.6f\n", (int)json_get_str(n, "centre").size,
               (const char *)json_get_str(n, "centre").data, usd(n, "theirs_nanousd"),
               usd(n, "ours_nanousd"));
    return alert && alert->boolean ? 1 : 0;
}

static int ask(const struct reconcile_args *a, struct bytes body)
{
    struct http_client *c = http_client_new();
    struct arena *arena = arena_new(64u << 20);
    struct buf url = {0}, auth = {0};
    struct http_client_response answer = {0};
    struct err_msg msg = {""};
    struct json_node *tree = NULL;
    const char *key = a->key ? a->key : getenv("TELLTALE_KEY");
    buf_printf(&url, "%s/api/telltale/v1/reconcile%c", a->url ? a->url : "http://127.0.0.1:4320",
               0);
    buf_printf(&auth, "Authorization: Bearer %s%c", key ? key : "", 0);
    const char *headers[] = {"Content-Type: application/json", key ? (const char *)auth.data : NULL,
                             NULL};
    struct http_client_request req = {.method = "POST",
                                      .url = (const char *)url.data,
                                      .headers = headers,
                                      .body = body,
                                      .timeout_ms = 120000,
                                      .response_max = 32u << 20};
    int rc = 2;
    enum err e = c && arena ? http_client_send(c, &req, &answer, &msg) : ERR_NOMEM;
    if (e == ERR_OK && json_in_tree(buf_bytes(&answer.body), 16, arena, &tree, &msg) != ERR_OK)
        e = ERR_INVALID;
    if (e != ERR_OK)
        fprintf(stderr, "telltale reconcile: %s\n", msg.text[0] ? msg.text : err_text(e));
    else if (answer.status != 200)
        fprintf(stderr, "telltale reconcile: " BYTES_FMT "\n", BYTES_ARG(buf_bytes(&answer.body)));
    else if (a->json) {
        const struct json_node *alert = json_get(json_get(tree, "report"), "alert");
        fwrite(answer.body.data, 1, answer.body.size, stdout);
        putchar('\n');
        rc = alert && alert->boolean;
    } else
        rc = print_report(json_get(tree, "report"));
    buf_done(&answer.body);
    buf_done(&url);
    buf_done(&auth);
    arena_free(arena);
    http_client_free(c);
    return rc;
}

int verbs_reconcile(int argc, char **argv)
{
    struct reconcile_args a = {0};
    struct buf body;
    if (argc > 0 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0))
        return usage(0);
    if (!read_args(argc, argv, &a))
        return usage(2);
    buf_init(&body, BODY_MAX);
    int rc = write_body(&a, &body) ? ask(&a, buf_bytes(&body)) : 2;
    buf_done(&body);
    return rc;
}
