/* `telltale slo backtest`: which alerts objectives would have fired over the past, from a data directory or a running server. */
#include <math.h>
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
#include "cli/verb_store.h"
#include "cli/verbs.h"
#include "detectors/detectors_backtest.h"

#define DOCUMENTS_BYTES_MAX ((size_t)4 << 20)
#define ANSWER_BYTES_MAX ((size_t)64 << 20)
#define WRONG 2

struct backtest_options {
    const char *data, *url, *key;
    int64_t since_ms;
    bool json;
};

/* clang-format off */
static const struct config_option options[] = {
    {"url", "--url", CONFIG_STR,         "http://127.0.0.1:4320", offsetof(struct backtest_options, url), "URL", "The page address of the server whose data are asked."},
    {"data",     "--data",     CONFIG_STR,         NULL,                    offsetof(struct backtest_options, data),     "DIR", "A data directory that no server uses, in place of a server."},
    {"key",      "--key",      CONFIG_STR,         NULL,                    offsetof(struct backtest_options, key),      "KEY", "A key, where the server wants one (or TELLTALE_KEY in the environment)."},
    {"since",    "--since",    CONFIG_DURATION_MS, "30d",                   offsetof(struct backtest_options, since_ms), "D",   "Over the last D."},
    {"json",     "--json",     CONFIG_BOOL,        "false",                 offsetof(struct backtest_options, json),     NULL,  "Print the answer as JSON."},
};
/* clang-format on */
static const struct config_table table = {options, ARRAY_LEN(options)};

/* --- for people ---------------------------------------------------------------------------------- */

static double number(const struct json_node *n, const char *key)
{
    double v = (double)NAN;
    (void)json_get_f64(n, key, &v);
    return v;
}

static int64_t integer(const struct json_node *n, const char *key)
{
    int64_t v = 0;
    (void)json_get_i64(n, key, &v);
    return v;
}

static bool is_true(const struct json_node *n, const char *key)
{
    const struct json_node *v = json_get(n, key);
    return v && v->type == JSON_BOOL && v->boolean;
}

static void when_text(int64_t ms, char out[CLOCK_RFC3339_MAX])
{
    char full[CLOCK_RFC3339_MAX];
    clock_rfc3339(ms, full);
    snprintf(out, CLOCK_RFC3339_MAX, "%.10s %.5s", full, full + 11);
}

static void window_text(int64_t minutes, char out[48])
{
    if (minutes % 1440 == 0)
        snprintf(out, 48, "%lldd", (long long)minutes / 1440);
    else
        clock_format_duration(minutes * 60000, out);
}

static void count_text(int64_t pages, int64_t tickets, char out[128])
{
    snprintf(out, 128, "would have paged %lld time%s and written %lld ticket%s", (long long)pages,
             pages == 1 ? "" : "s", (long long)tickets, tickets == 1 ? "" : "s");
}

static void print_alert(const struct json_node *a, int64_t end_ms)
{
    char when[CLOCK_RFC3339_MAX], lasted[48], l[48], s[48];
    int64_t fired = integer(a, "fired_ms"), resolved = integer(a, "resolved_ms");
    int64_t minutes = ((resolved ? resolved : end_ms) - fired + 30000) / 60000;
    struct bytes rule = json_get_str(a, "rule"), phrase = json_get_str(a, "phrase");
    double left = number(a, "budget_left");
    when_text(fired, when);
    clock_format_duration(MAX(minutes, 1) * 60000, lasted);
    window_text(integer(a, "long_minutes"), l);
    window_text(integer(a, "short_minutes"), s);
    printf("  %s UTC  %-6.*s %-14.*s %s%-8s burn %.4g over %s, %.4g over %s", when,
           (int)json_get_str(a, "severity").size, (const char *)json_get_str(a, "severity").data,
           (int)MIN(rule.size, (size_t)60), (const char *)rule.data, resolved ? "for " : "since ",
           lasted, number(a, "long_burn"), l, number(a, "short_burn"), s);
    if (number(a, "factor") > 0)
        printf(" (limit %.4g, peak %.4g)", number(a, "factor"), number(a, "peak_burn"));
    if (!isnan(left))
        printf(", %.0f %% of the budget left", left * 100);
    if (phrase.size)
        printf("; " BYTES_FMT, BYTES_ARG(phrase));
    printf("%s\n", is_true(a, "told") ? "" : " [another alert had told]");
}

static void print_slo(const struct json_node *n)
{
    char period[48], begin[CLOCK_RFC3339_MAX], text[128];
    int64_t from = integer(n, "from_ms"), data_from = integer(n, "data_from_ms");
    const struct json_node *counts = json_get(n, "counts"), *alerts = json_get(n, "alerts");
    double exact = number(n, "exact_share");
    int64_t bad = integer(counts, "bad"), eligible = bad + integer(counts, "good");
    window_text(integer(n, "period_minutes"), period);
    printf(BYTES_FMT ": %.6g %% over %s; %lld of %lld bad, %lld excluded\n",
           BYTES_ARG(json_get_str(n, "id")), number(n, "target") * 100, period, (long long)bad,
           (long long)eligible, (long long)integer(counts, "excluded"));
    if (!data_from) {
        printf("  no event in this time: nothing could have fired\n");
    } else if (data_from - from > INT64_C(3600000)) {
        when_text(data_from, begin);
        printf("  note: the first event is of %s UTC\n", begin);
    }
    if (exact < 0.995)
        printf("  note: the threshold's own counter has %.0f %% of the calls: it counts from when "
               "the objective was first loaded\n",
               exact * 100);
    for (const struct json_node *a = alerts ? alerts->child : NULL; a; a = a->next)
        print_alert(a, integer(n, "to_ms"));
    if (is_true(n, "cut"))
        printf("  ... and more\n");
    count_text(integer(n, "pages"), integer(n, "tickets"), text);
    printf("  %s\n", text);
}

static int print_answer(const struct json_node *root)
{
    const struct json_node *list = json_get(root, "slos");
    int64_t pages = 0, tickets = 0, n = 0;
    double took = 0;
    char text[128], span[48] = "";
    if (!list) {
        struct bytes why = json_get_str(root, "error");
        fprintf(stderr, "telltale: " BYTES_FMT "\n", BYTES_ARG(why));
        return 1;
    }
    for (const struct json_node *s = list->child; s; s = s->next, n++) {
        print_slo(s);
        pages += integer(s, "pages");
        tickets += integer(s, "tickets");
        took += number(s, "took_ms");
        window_text((integer(s, "to_ms") - integer(s, "from_ms")) / 60000, span);
    }
    count_text(pages, tickets, text);
    printf("%lld objective%s: %s in %s (%.1f s)\n", (long long)n, n == 1 ? "" : "s", text, span,
           took / 1000);
    return 0;
}

/* --- a data directory ---------------------------------------------------------------------------- */

static enum err run_over(struct tsdb *db, int64_t since_ms, const struct query_slo_set *set,
                         struct buf *out, struct err_msg *msg)
{
    int64_t end = detectors_backtest_end_ms(clock_wall_ms());
    struct detectors_backtest_ask ask = {.from_ms = end - since_ms, .to_ms = end};
    struct json_out j = json_out_to(out);
    return detectors_backtest_set(db, TSDB_ORG_DEFAULT, set, &ask, &j, msg);
}

static int show(const struct buf *answer, bool as_json, struct arena *a)
{
    struct json_node *root;
    struct err_msg msg;
    if (as_json) {
        fwrite(answer->data, 1, answer->size, stdout);
        printf("\n");
        return 0;
    }
    if (json_in_tree(buf_bytes(answer), 64, a, &root, &msg) == ERR_OK)
        return print_answer(root);
    fprintf(stderr, "telltale slo backtest: %s\n", msg.text);
    return 1;
}

static int on_directory(const struct backtest_options *o, const struct query_slo_set *set,
                        struct arena *a)
{
    struct err_msg msg = {""};
    struct tsdb *db = NULL;
    struct buf answer;
    int rc = 1;
    buf_init(&answer, ANSWER_BYTES_MAX);
    enum err e = verb_store_open(o->data, &db, &msg);
    if (e == ERR_OK)
        e = run_over(db, o->since_ms, set, &answer, &msg);
    tsdb_close(db, false);
    if (e == ERR_OK && buf_ok(&answer))
        rc = show(&answer, o->json, a);
    else
        fprintf(stderr, "telltale slo backtest: %s\n",
                msg.text[0] ? msg.text : err_text(e == ERR_OK ? ERR_LIMIT : e));
    buf_done(&answer);
    return rc;
}

/* --- a running server ---------------------------------------------------------------------------- */

static int on_server(const struct backtest_options *o, struct bytes documents, struct arena *a)
{
    const char *key = o->key ? o->key : getenv("TELLTALE_KEY");
    struct bytes auth = arena_printf(a, "Authorization: Bearer %s", key ? key : "");
    struct bytes url = arena_printf(a, "%s/api/telltale/v1/slos/backtest?since=%lldms", o->url,
                                    (long long)o->since_ms);
    const char *headers[] = {"Content-Type: application/yaml", key ? (const char *)auth.data : NULL,
                             NULL};
    struct http_client_request req = {.method = "POST",
                                      .url = (const char *)url.data,
                                      .headers = headers,
                                      .body = documents,
                                      .timeout_ms = 120000,
                                      .response_max = ANSWER_BYTES_MAX};
    if (!auth.data || !url.data) {
        fprintf(stderr, "telltale slo backtest: out of memory\n");
        return 1;
    }
    return verb_ask(&req, o->json, print_answer, a);
}

/* --- the words ----------------------------------------------------------------------------------- */

static int usage(FILE *to)
{
    struct buf help;
    buf_init(&help, 0);
    config_help(&table, &help);
    fprintf(to,
            "usage: telltale slo backtest [OPTION…] [FILE|DIRECTORY]…\n\n"
            "Which alerts the rules of objectives would have fired on what is stored, and how "
            "often somebody\nwould have been paged. Without a file: those that the server has "
            "loaded; with --data: the\nbuilt-in ones.\n\n" BYTES_FMT,
            BYTES_ARG(buf_bytes(&help)));
    buf_done(&help);
    return to == stdout ? 0 : WRONG;
}

/* Mistakes are found here, where their file has a name; a server gets what was read. */
static int run(const struct backtest_options *o, const char *const *paths, size_t count,
               struct arena *a)
{
    struct query_slo_set set;
    struct buf text, errors;
    int rc = WRONG;
    buf_init(&text, DOCUMENTS_BYTES_MAX);
    buf_init(&errors, (size_t)1 << 20);
    enum err e = query_slo_set_init(&set);
    if (e == ERR_OK)
        e = count ? query_slo_load_copy(&set, paths, count, &text, &errors)
                  : query_slo_load_defaults(&set);
    if (e == ERR_OK && !buf_ok(&text))
        e = ERR_TOO_LARGE;
    if (e == ERR_OK)
        rc = o->data ? on_directory(o, &set, a) : on_server(o, buf_bytes(&text), a);
    else if (errors.size)
        fwrite(errors.data, 1, errors.size, stderr);
    else
        fprintf(stderr, "telltale slo backtest: %s\n", err_text(e));
    query_slo_set_done(&set);
    buf_done(&text);
    buf_done(&errors);
    return rc;
}

/* Options may stand anywhere among the files. */
static size_t split(int argc, char **argv, const char **flags, const char **paths,
                    size_t *out_paths)
{
    size_t n = 0, p = 0;
    for (int i = 0; i < argc; i++) {
        bool is_flag = strncmp(argv[i], "--", 2) == 0;
        (is_flag ? flags : paths)[is_flag ? n++ : p++] = argv[i];
        if (is_flag && !strchr(argv[i], '=') && strcmp(argv[i], "--json") != 0 && i + 1 < argc)
            flags[n++] = argv[++i];
    }
    *out_paths = p;
    return n;
}

int verbs_slo_backtest(int argc, char **argv)
{
    struct backtest_options o = {0};
    struct buf errors = {0};
    int rc = WRONG;
    if (argc > 0 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0))
        return usage(stdout);
    struct arena *a = arena_new(0);
    const char **flags = a ? ARENA_ARRAY(a, const char *, argc + 1) : NULL;
    const char **paths = a ? ARENA_ARRAY(a, const char *, argc + 1) : NULL;
    size_t count = 0;
    if (!flags || !paths) {
        fprintf(stderr, "telltale slo backtest: out of memory\n");
    } else {
        size_t n = split(argc, argv, flags, paths, &count);
        if (config_read(&table, &o, NULL, (int)n, flags, a, &errors) == ERR_OK)
            rc = run(&o, paths, count, a);
        else
            fprintf(stderr, BYTES_FMT, BYTES_ARG(buf_bytes(&errors)));
    }
    buf_done(&errors);
    arena_free(a);
    return rc;
}
