/* `telltale costs`: what calls cost by one dimension, from a running server, as a table or as JSON. */
#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/http_client.h"
#include "base/json_in.h"
#include "cli/verb_ask.h"
#include "cli/verbs.h"

struct costs_options {
    const char *url, *key, *by;
    int64_t range_ms;
    uint64_t top;
    bool json;
};

/* clang-format off */
static const struct config_option options[] = {
    {"url",   "--url",   CONFIG_STR,         "http://127.0.0.1:4320", offsetof(struct costs_options, url),      "URL",  "The server's page address."},
    {"key",   "--key",   CONFIG_STR,         NULL,                    offsetof(struct costs_options, key),      "KEY",  "A key, where the server wants one (or TELLTALE_KEY in the environment)."},
    {"by",    "--by",    CONFIG_STR,         "team",                  offsetof(struct costs_options, by),       "DIM",  "tenant, team, service, api_key, user, model, prompt or endpoint."},
    {"range", "--range", CONFIG_DURATION_MS, "30d",                   offsetof(struct costs_options, range_ms), "D",    "Of the last D."},
    {"top",   "--top",   CONFIG_U64,         "20",                    offsetof(struct costs_options, top),      "N",    "So many of the dearest."},
    {"json",  "--json",  CONFIG_BOOL,        "false",                 offsetof(struct costs_options, json),     NULL,   "Print the server's JSON."},
};
/* clang-format on */
static const struct config_table table = {options, ARRAY_LEN(options)};

static void print_row(struct bytes name, const struct json_node *n)
{
    int64_t cost = 0, calls = 0, in = 0, out = 0, unpriced = 0;
    (void)json_get_i64(n, "cost_nanousd", &cost);
    (void)json_get_i64(n, "calls", &calls);
    (void)json_get_i64(n, "input_tokens", &in);
    (void)json_get_i64(n, "output_tokens", &out);
    (void)json_get_i64(n, "unpriced_calls", &unpriced);
    printf("%-40.*s %14.4f %12lld %14lld %14lld", (int)MIN(name.size, (size_t)200),
           (const char *)name.data, (double)cost / 1e9, (long long)calls, (long long)in,
           (long long)out);
    if (unpriced)
        printf("   %lld unpriced", (long long)unpriced);
    printf("\n");
}

static int print_answer(const struct json_node *root)
{
    int64_t error = 0;
    const struct json_node *rows = json_get(root, "rows");
    if (!rows) {
        struct bytes why = json_get_str(root, "error");
        fprintf(stderr, "telltale: " BYTES_FMT "\n", BYTES_ARG(why));
        return 1;
    }
    struct bytes by = json_get_str(root, "by");
    printf("%-40.*s %14s %12s %14s %14s\n", (int)MIN(by.size, (size_t)40), (const char *)by.data,
           "USD", "calls", "input tokens", "output tokens");
    for (const struct json_node *n = rows->child; n; n = n->next) {
        struct bytes is = json_get_str(n, "is"), value = json_get_str(n, "value");
        print_row(is.size ? is : value, n);
    }
    print_row(BYTES_LIT("below these"), json_get(root, "below_top"));
    print_row(BYTES_LIT("total"), json_get(root, "total"));
    (void)json_get_i64(root, "error_nanousd", &error);
    if (error)
        printf("a value may lack at most $%.4f: there were more than the ledger keeps apart\n",
               (double)error / 1e9);
    return 0;
}

static int ask(const struct costs_options *o, struct arena *a)
{
    int64_t now = clock_wall_ms();
    const char *key = o->key ? o->key : getenv("TELLTALE_KEY");
    struct bytes auth = arena_printf(a, "Authorization: Bearer %s", key ? key : "");
    struct bytes url =
        arena_printf(a, "%s/api/telltale/v1/costs?by=%s&from=%lld&to=%lld&top=%llu", o->url, o->by,
                     (long long)(now - o->range_ms), (long long)now, (unsigned long long)o->top);
    const char *headers[] = {key ? (const char *)auth.data : NULL, NULL};
    struct http_client_request req = {.method = "GET",
                                      .url = (const char *)url.data,
                                      .headers = headers,
                                      .timeout_ms = 60000,
                                      .response_max = 64u << 20};
    if (!auth.data || !url.data) {
        fprintf(stderr, "telltale: out of memory\n");
        return 1;
    }
    return verb_ask(&req, o->json, print_answer, a);
}

int verbs_costs(int argc, char **argv)
{
    struct costs_options o = {0};
    struct buf text = {0};
    int rc = 2;
    if (argc > 0 && strcmp(argv[0], "--help") == 0) {
        config_help(&table, &text);
        printf("usage: telltale costs [OPTION…]\n\n" BYTES_FMT
               "\nexample: telltale costs --by user --range 7d --top 10\n",
               BYTES_ARG(buf_bytes(&text)));
        buf_done(&text);
        return 0;
    }
    struct arena *a = arena_new(0);
    if (a && config_read(&table, &o, NULL, argc, (const char *const *)argv, a, &text) == ERR_OK)
        rc = ask(&o, a);
    else
        fprintf(stderr, BYTES_FMT, BYTES_ARG(buf_bytes(&text)));
    buf_done(&text);
    arena_free(a);
    return rc;
}
