/* `telltale slo explain`: where every number of an objective comes from; of documents, or of what a running server has loaded. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/check.h"
#include "base/config.h"
#include "cli/verb_ask.h"
#include "cli/verbs.h"
#include "detectors/detectors.h"

#define WRONG 2

struct explain_options {
    const char *url, *key;
    uint64_t per_day;
};

/* clang-format off */
static const struct config_option options[] = {
    {"url", "--url", CONFIG_STR, "http://127.0.0.1:4320", offsetof(struct explain_options, url), "URL", "The page address of the server that has loaded the objective."},
    {"key",      "--key",      CONFIG_STR, NULL,                    offsetof(struct explain_options, key),      "KEY", "A key, where the server wants one (or TELLTALE_KEY in the environment)."},
    {"per_day",  "--per-day",  CONFIG_U64, "40",                    offsetof(struct explain_options, per_day),  "N",   "Of a file: what so many requests a day mean for its rules."},
};
/* clang-format on */
static const struct config_table table = {options, ARRAY_LEN(options)};

static int usage(FILE *to)
{
    struct buf help;
    buf_init(&help, 0);
    config_help(&table, &help);
    fprintf(to,
            "usage: telltale slo explain [OPTION…] ID|FILE|DIRECTORY\n\n"
            "Where every number of an objective comes from: series, good, bad and excluded, "
            "windows, factors,\nthresholds, what few requests a day mean, and which rules are "
            "refused and why. ID: of an objective\nthat a running server has loaded, with the "
            "traffic that it sees.\n\n" BYTES_FMT,
            BYTES_ARG(buf_bytes(&help)));
    buf_done(&help);
    return to == stdout ? 0 : WRONG;
}

static int print_answer(const struct json_node *root)
{
    struct bytes text = json_get_str(root, "text"), why = json_get_str(root, "error");
    if (!text.size) {
        fprintf(stderr, "telltale: " BYTES_FMT "\n", BYTES_ARG(why));
        return 1;
    }
    fwrite(text.data, 1, text.size, stdout);
    return 0;
}

static int of_server(const struct explain_options *o, const char *id, struct arena *a)
{
    const char *key = o->key ? o->key : getenv("TELLTALE_KEY");
    struct bytes auth = arena_printf(a, "Authorization: Bearer %s", key ? key : "");
    struct bytes url = arena_printf(a, "%s/api/telltale/v1/slos/%s/explain", o->url, id);
    const char *headers[] = {key ? (const char *)auth.data : NULL, NULL};
    struct http_client_request req = {.method = "GET",
                                      .url = (const char *)url.data,
                                      .headers = headers,
                                      .timeout_ms = 60000,
                                      .response_max = 1u << 20};
    if (auth.data && url.data)
        return verb_ask(&req, false, print_answer, a);
    fprintf(stderr, "telltale slo explain: out of memory\n");
    return 1;
}

static int of_file(const struct explain_options *o, const char *path)
{
    struct query_slo_set set;
    struct query_slo_explain_more more = {.per_day = (double)o->per_day};
    struct buf errors, text;
    int rc = WRONG;
    buf_init(&errors, (size_t)1 << 20);
    buf_init(&text, 0);
    enum err e = query_slo_set_init(&set);
    if (e == ERR_OK)
        e = query_slo_load(&set, &path, 1, &errors);
    if (e == ERR_OK)
        e = detectors_slo_check(&set, &errors);
    for (uint32_t i = 0; i < set.count && e == ERR_OK; i++) {
        buf_str(&text, i ? "\n" : "");
        query_slo_explain(&set.slos[i], &more, &text);
    }
    if (e == ERR_OK) {
        fwrite(text.data, 1, text.size, stdout);
        rc = 0;
    } else if (errors.size) {
        fwrite(errors.data, 1, errors.size, stderr);
    } else {
        fprintf(stderr, "telltale slo explain: %s\n", err_text(e));
    }
    query_slo_set_done(&set);
    buf_done(&errors);
    buf_done(&text);
    return rc;
}

int verbs_slo_explain(int argc, char **argv)
{
    struct explain_options o = {0};
    struct buf errors = {0};
    int rc = WRONG;
    if (argc > 0 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0))
        return usage(stdout);
    if (argc == 0 || argv[argc - 1][0] == '-')
        return usage(stderr);
    const char *what = argv[argc - 1];
    struct arena *a = arena_new(0);
    if (a &&
        config_read(&table, &o, NULL, argc - 1, (const char *const *)argv, a, &errors) == ERR_OK)
        rc = access(what, F_OK) == 0 ? of_file(&o, what) : of_server(&o, what, a);
    else
        fprintf(stderr, BYTES_FMT, BYTES_ARG(buf_bytes(&errors)));
    buf_done(&errors);
    arena_free(a);
    return rc;
}
