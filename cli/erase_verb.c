/* The verb `telltale erase`: asks a running server to erase, waits until it is done, prints the receipt. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/http_client.h"
#include "base/json_in.h"
#include "base/json_out.h"
#include "cli/verbs.h"

#define TRACES_MAX 1000u
#define KEYS_MAX 16u
#define POLL_MS 500

struct erase_args {
    const char *url, *key, *user, *attribute, *value;
    const char *traces[TRACES_MAX], *user_keys[KEYS_MAX];
    size_t trace_count, user_key_count;
    bool whole_traces, no_wait, list;
};

static int usage(int rc)
{
    fprintf(
        rc ? stderr : stdout,
        "usage: telltale erase --user ID [--user-key NAME]… [--whole-traces]\n"
        "       telltale erase --attribute NAME --value TEXT [--whole-traces]\n"
        "       telltale erase --trace ID [--trace ID]…\n"
        "       telltale erase --list\n\n"
        "          --url URL       the server's page address; http://127.0.0.1:4320 if not given\n"
        "          --key KEY       an admin key, where the server wants one (or TELLTALE_KEY)\n"
        "          --user-key NAME a further attribute that names users\n"
        "          --whole-traces  also the other rows of the traces that it occurs in\n"
        "          --no-wait       print the job's number and leave\n\n"
        "What was accepted so far goes, out of answers at once and out of the files before this\n"
        "returns. Backups keep what they have.\n");
    return rc;
}

static bool read_args(int argc, char **argv, struct erase_args *a)
{
    struct {
        const char *name, **to;
    } texts[] = {{"--url", &a->url},
                 {"--key", &a->key},
                 {"--user", &a->user},
                 {"--attribute", &a->attribute},
                 {"--value", &a->value}};
    struct {
        const char *name;
        bool *to;
    } flags[] = {
        {"--whole-traces", &a->whole_traces}, {"--no-wait", &a->no_wait}, {"--list", &a->list}};
    for (int i = 0; i < argc; i++) {
        bool known = false;
        for (size_t k = 0; k < ARRAY_LEN(flags); k++)
            if (strcmp(argv[i], flags[k].name) == 0)
                known = *flags[k].to = true;
        for (size_t k = 0; k < ARRAY_LEN(texts) && !known && i + 1 < argc; k++)
            if (strcmp(argv[i], texts[k].name) == 0) {
                *texts[k].to = argv[++i];
                known = true;
            }
        if (!known && i + 1 < argc && strcmp(argv[i], "--trace") == 0 &&
            a->trace_count < TRACES_MAX) {
            a->traces[a->trace_count++] = argv[++i];
            known = true;
        } else if (!known && i + 1 < argc && strcmp(argv[i], "--user-key") == 0 &&
                   a->user_key_count < KEYS_MAX) {
            a->user_keys[a->user_key_count++] = argv[++i];
            known = true;
        }
        if (!known) {
            fprintf(stderr, "telltale erase: %s is not understood\n", argv[i]);
            return false;
        }
    }
    int kinds = (a->user != NULL) + (a->attribute != NULL) + (a->trace_count > 0) + a->list;
    return kinds == 1 && (a->attribute != NULL) == (a->value != NULL);
}

static void put_list(struct json_out *j, const char *key, const char *const *items, size_t n)
{
    json_out_key(j, key);
    json_out_array(j);
    for (size_t i = 0; i < n; i++)
        json_out_str(j, items[i]);
    json_out_array_end(j);
}

static void write_body(const struct erase_args *a, struct buf *out)
{
    struct json_out j = json_out_to(out);
    json_out_object(&j);
    if (a->trace_count) {
        put_list(&j, "traces", a->traces, a->trace_count);
    } else {
        json_out_key(&j, a->user ? "user" : "attribute");
        json_out_str(&j, a->user ? a->user : a->attribute);
        if (a->value) {
            json_out_key(&j, "value");
            json_out_str(&j, a->value);
        }
        if (a->user_key_count)
            put_list(&j, "user_keys", a->user_keys, a->user_key_count);
        if (a->whole_traces) {
            json_out_key(&j, "whole_traces");
            json_out_bool(&j, true);
        }
    }
    json_out_object_end(&j);
}

/* The answer's tree, NULL after a message. */
static const struct json_node *ask(struct http_client *c, const struct erase_args *a,
                                   const char *method, const char *path, struct bytes body,
                                   struct arena *arena)
{
    const char *key = a->key ? a->key : getenv("TELLTALE_KEY");
    struct bytes auth = arena_printf(arena, "Authorization: Bearer %s", key ? key : "");
    struct bytes url = arena_printf(arena, "%s/api/telltale/v1/admin/erase%s", a->url, path);
    const char *headers[] = {"Content-Type: application/json", key ? (const char *)auth.data : NULL,
                             NULL};
    struct http_client_request req = {.method = method,
                                      .url = (const char *)url.data,
                                      .headers = headers,
                                      .body = body,
                                      .timeout_ms = 60000,
                                      .response_max = 16u << 20};
    struct http_client_response answer;
    struct err_msg msg = {""};
    struct json_node *root = NULL;
    if (!auth.data || !url.data) {
        fprintf(stderr, "telltale: out of memory\n");
        return NULL;
    }
    if (http_client_send(c, &req, &answer, &msg) != ERR_OK) {
        fprintf(stderr, "telltale: %s (is `telltale serve` running there?)\n", msg.text);
        return NULL;
    }
    struct bytes text = arena_copy(arena, buf_bytes(&answer.body));
    buf_done(&answer.body);
    if (json_in_tree(text, 16, arena, &root, &msg) != ERR_OK)
        root = NULL;
    if (!root || answer.status >= 300) {
        struct bytes error = json_get_str(root, "error");
        fprintf(stderr, "telltale: the server answered %d: " BYTES_FMT "\n", answer.status,
                BYTES_ARG(error));
        return NULL;
    }
    return root;
}

static long long number(const struct json_node *o, const char *key)
{
    int64_t v = 0;
    return json_get_i64(o, key, &v) ? v : 0;
}

static void print_job(const struct json_node *job)
{
    const struct json_node *erased = json_get(job, "erased");
    char when[CLOCK_RFC3339_MAX];
    clock_rfc3339(number(job, "asked_ms"), when);
    printf("job %lld (" BYTES_FMT ") asked %s: " BYTES_FMT, number(job, "id"),
           BYTES_ARG(json_get_str(job, "kind")), when, BYTES_ARG(json_get_str(job, "phase")));
    if (number(job, "done_ms")) {
        clock_rfc3339(number(job, "done_ms"), when);
        printf(" %s", when);
    }
    printf("; %lld spans, %lld logs, %lld samples, %lld exemplars, %lld cells; %lld parts "
           "rewritten, %lld bytes less\n",
           number(erased, "spans"), number(erased, "logs"), number(erased, "samples"),
           number(erased, "exemplars"), number(erased, "cells"), number(erased, "parts"),
           number(erased, "bytes"));
    if (number(job, "state_rows"))
        printf("  %lld rows of alerts, objectives or the like hold the value too and stay\n",
               number(job, "state_rows"));
    if (json_get_str(job, "waits_for").size)
        printf("  held up: " BYTES_FMT "\n", BYTES_ARG(json_get_str(job, "waits_for")));
}

static int follow(struct http_client *c, const struct erase_args *a, int64_t id)
{
    char path[32], told[192] = "";
    snprintf(path, sizeof(path), "/%lld", (long long)id);
    for (;;) {
        struct arena *arena = arena_new(0);
        const struct json_node *job = arena ? ask(c, a, "GET", path, BYTES_NONE, arena) : NULL;
        bool done = bytes_equal_str(json_get_str(job, "phase"), "done");
        struct bytes why = json_get_str(job, "waits_for");
        if (done)
            print_job(job);
        else if (why.size && why.size < sizeof(told) && !bytes_equal_str(why, told)) {
            memcpy(told, why.data, why.size);
            told[why.size] = 0;
            fprintf(stderr, "telltale: held up: %s\n", told);
        }
        bool failed = !job;
        arena_free(arena);
        if (done || failed)
            return failed;
        clock_sleep_ms(POLL_MS);
    }
}

static int run(struct http_client *c, const struct erase_args *a, struct arena *arena)
{
    struct buf body = {0};
    int64_t id = 0;
    if (a->list) {
        const struct json_node *root = ask(c, a, "GET", "", BYTES_NONE, arena);
        const struct json_node *jobs = json_get(root, "jobs");
        for (const struct json_node *job = jobs ? jobs->child : NULL; job; job = job->next)
            print_job(job);
        return root ? 0 : 1;
    }
    write_body(a, &body);
    const struct json_node *root =
        buf_ok(&body) ? ask(c, a, "POST", "", buf_bytes(&body), arena) : NULL;
    buf_done(&body);
    if (!root || !json_get_i64(root, "id", &id))
        return 1;
    if (a->no_wait) {
        printf("job %lld\n", (long long)id);
        return 0;
    }
    return follow(c, a, id);
}

int verbs_erase(int argc, char **argv)
{
    struct erase_args *a = calloc(1, sizeof(*a));
    struct http_client *c = http_client_new();
    struct arena *arena = arena_new(0);
    int rc = 1;
    if (!a || !c || !arena) {
        fprintf(stderr, "telltale: out of memory\n");
    } else {
        a->url = "http://127.0.0.1:4320";
        if (argc > 0 && strcmp(argv[0], "--help") == 0)
            rc = usage(0);
        else
            rc = read_args(argc, argv, a) ? run(c, a, arena) : usage(2);
    }
    http_client_free(c);
    arena_free(arena);
    free(a);
    return rc;
}
