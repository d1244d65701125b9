/* `telltale query`: an instant or range query over the Prometheus HTTP API of a running server, printed for people or as JSON. */
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

struct query_options {
    const char *url, *key, *time;
    int64_t range_ms, step_ms;
    bool json;
};

/* clang-format off */
static const struct config_option options[] = {
    {"url",   "--url",   CONFIG_STR,         "http://127.0.0.1:4320", offsetof(struct query_options, url),      "URL",  "The server's page address."},
    {"key",   "--key",   CONFIG_STR,         NULL,                    offsetof(struct query_options, key),      "KEY",  "A key, where the server wants one (or TELLTALE_KEY in the environment)."},
    {"time",  "--time",  CONFIG_STR,         NULL,                    offsetof(struct query_options, time),     "T",    "Evaluate at this time (RFC 3339 or Unix seconds) and not now."},
    {"range", "--range", CONFIG_DURATION_MS, "0",                     offsetof(struct query_options, range_ms), "D",    "A range query over the last D."},
    {"step",  "--step",  CONFIG_DURATION_MS, "0",                     offsetof(struct query_options, step_ms),  "D",    "Step of the range query; 60 steps if not given."},
    {"json",  "--json",  CONFIG_BOOL,        "false",                 offsetof(struct query_options, json),     NULL,   "Print the server's JSON."},
};
/* clang-format on */
static const struct config_table table = {options, ARRAY_LEN(options)};

static void url_escape(struct buf *out, const char *s)
{
    static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~";
    for (; *s; s++)
        if (strchr(safe, *s))
            buf_u8(out, (uint8_t)*s);
        else
            buf_printf(out, "%%%02X", (unsigned char)*s);
}

static double end_seconds(const struct query_options *o)
{
    int64_t ns;
    double s;
    if (o->time && clock_parse_rfc3339(o->time, &ns))
        return (double)ns / 1e9;
    if (o->time && bytes_to_f64(bytes_str(o->time), &s))
        return s;
    return (double)clock_wall_ms() / 1000;
}

static void body_make(struct buf *body, const struct query_options *o, const char *expr)
{
    double end = end_seconds(o);
    buf_str(body, "query=");
    url_escape(body, expr);
    if (o->range_ms) {
        int64_t step = o->step_ms ? o->step_ms : MAX(o->range_ms / 60, 1);
        buf_printf(body, "&start=%.3f&end=%.3f&step=%.3f", end - (double)o->range_ms / 1000, end,
                   (double)step / 1000);
    } else {
        buf_printf(body, "&time=%.3f", end);
    }
}

static void print_labels(const struct json_node *metric)
{
    const char *comma = "";
    struct bytes name = json_get_str(metric, "__name__");
    printf(BYTES_FMT "{", BYTES_ARG(name));
    for (const struct json_node *l = metric ? metric->child : NULL; l; l = l->next) {
        if (bytes_equal_str(l->key, "__name__"))
            continue;
        printf("%s" BYTES_FMT "=\"" BYTES_FMT "\"", comma, BYTES_ARG(l->key), BYTES_ARG(l->text));
        comma = ", ";
    }
    printf("}");
}

/* [time, "value"] */
static void print_point(const struct json_node *pair, bool with_time)
{
    if (!pair || !pair->child || !pair->child->next)
        return;
    double t;
    if (with_time && bytes_to_f64(pair->child->text, &t)) {
        char when[CLOCK_RFC3339_MAX];
        clock_rfc3339((int64_t)(t * 1000), when);
        printf("  %s", when);
    }
    const struct json_node *v = pair->child->next;
    if (v->type == JSON_OBJECT)
        printf("  histogram count " BYTES_FMT " sum " BYTES_FMT "\n",
               BYTES_ARG(json_get_str(v, "count")), BYTES_ARG(json_get_str(v, "sum")));
    else
        printf("  " BYTES_FMT "\n", BYTES_ARG(v->text));
}

static void print_series(const struct json_node *s)
{
    const struct json_node *many = json_get(s, "values"), *one = json_get(s, "value");
    many = many ? many : json_get(s, "histograms");
    one = one ? one : json_get(s, "histogram");
    print_labels(json_get(s, "metric"));
    if (one)
        print_point(one, false);
    else
        printf("\n");
    for (const struct json_node *p = many ? many->child : NULL; p; p = p->next)
        print_point(p, true);
}

static int print_answer(const struct json_node *root)
{
    const struct json_node *data = json_get(root, "data"), *result = json_get(data, "result");
    for (const struct json_node *w = json_get(root, "warnings") ? json_get(root, "warnings")->child
                                                                : NULL;
         w; w = w->next)
        fprintf(stderr, "warning: " BYTES_FMT "\n", BYTES_ARG(w->text));
    if (!bytes_equal_str(json_get_str(root, "status"), "success")) {
        fprintf(stderr, "telltale: " BYTES_FMT "\n", BYTES_ARG(json_get_str(root, "error")));
        return 1;
    }
    struct bytes type = json_get_str(data, "resultType");
    if (bytes_equal_str(type, "scalar") || bytes_equal_str(type, "string")) {
        print_point(result, false);
        return 0;
    }
    if (result && !result->child)
        fprintf(stderr, "no series\n");
    for (const struct json_node *s = result ? result->child : NULL; s; s = s->next)
        print_series(s);
    return 0;
}

static int ask(const struct query_options *o, const char *expr, struct arena *a)
{
    struct buf body;
    buf_init(&body, 0);
    body_make(&body, o, expr);
    const char *key = o->key ? o->key : getenv("TELLTALE_KEY");
    struct bytes auth = arena_printf(a, "Authorization: Bearer %s", key ? key : "");
    struct bytes url =
        arena_printf(a, "%s/api/v1/%s", o->url, o->range_ms ? "query_range" : "query");
    const char *headers[] = {"Content-Type: application/x-www-form-urlencoded",
                             key ? (const char *)auth.data : NULL, NULL};
    struct http_client_request req = {.method = "POST",
                                      .url = (const char *)url.data,
                                      .headers = headers,
                                      .body = buf_bytes(&body),
                                      .timeout_ms = 60000,
                                      .response_max = 256u << 20};
    int rc = 1;
    if (!auth.data || !url.data || !buf_ok(&body))
        fprintf(stderr, "telltale: out of memory\n");
    else
        rc = verb_ask(&req, o->json, print_answer, a);
    buf_done(&body);
    return rc;
}

static void usage(void)
{
    struct buf help;
    buf_init(&help, 0);
    config_help(&table, &help);
    printf("usage: telltale query [OPTION…] EXPRESSION\n\n" BYTES_FMT
           "\nexample: telltale query 'sum by (model) (rate(llm_requests_total[5m]))'\n",
           BYTES_ARG(buf_bytes(&help)));
    buf_done(&help);
}

int verbs_query(int argc, char **argv)
{
    if (argc == 0 || strcmp(argv[0], "--help") == 0) {
        usage();
        return argc == 0 ? 2 : 0;
    }
    struct query_options o = {0};
    struct arena *a = arena_new(0);
    struct buf errors;
    int rc = 2;
    buf_init(&errors, 0);
    if (a &&
        config_read(&table, &o, NULL, argc - 1, (const char *const *)argv, a, &errors) == ERR_OK)
        rc = ask(&o, argv[argc - 1], a);
    else
        fprintf(stderr, BYTES_FMT, BYTES_ARG(buf_bytes(&errors)));
    buf_done(&errors);
    arena_free(a);
    return rc;
}
