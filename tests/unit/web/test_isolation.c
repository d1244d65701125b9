/* Two orgs on one server, each with a key of its own, the real store beneath: neither key finds anything of the other, whatever it asks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/clock.h"

#include "base/http_client.h"
#include "collector/collector.h"
#include "web/web.h"
#include "web/web_prom.h"

enum { ORG_RED = 7, ORG_BLUE = 8 };

struct org {
    uint32_t id;
    const char *word, *other; /* every text that the org sends holds its word */
    char header[WEB_ACCESS_KEY_TEXT_MAX + 16];
    uint64_t key_id;
};

struct server {
    char dir[64];
    struct tsdb *db;
    struct stage *stage;
    struct web_access *access;
    struct collector *collector;
    struct web *web;
    struct web_prom *prom;
    struct net *net;
    struct http_client *client;
    struct arena *arena;
    unsigned web_port, otlp_port;
    struct org red, blue;
};

static int ask(struct server *s, const struct org *as, const char *method, unsigned port,
               const char *path, const char *body, struct bytes *out)
{
    char url[512];
    const char *headers[] = {as->header, body ? "Content-Type: application/json" : NULL, NULL};
    struct http_client_response r;
    struct err_msg msg;
    snprintf(url, sizeof url, "http://127.0.0.1:%u%s", port, path);
    struct http_client_request req = {.method = method,
                                      .url = url,
                                      .headers = headers,
                                      .body = body ? bytes_str(body) : BYTES_NONE,
                                      .response_max = 8 << 20};
    assert_int_equal(http_client_send(s->client, &req, &r, &msg), ERR_OK);
    *out = arena_copy(s->arena, buf_bytes(&r.body));
    buf_done(&r.body);
    return r.status;
}

static void make_org(struct server *s, struct org *o, uint32_t id, const char *word,
                     const char *other)
{
    char text[WEB_ACCESS_KEY_TEXT_MAX];
    struct err_msg msg;
    *o = (struct org){.id = id, .word = word, .other = other};
    assert_int_equal(
        web_access_create(s->access, WEB_ACCESS_ADMIN, id, bytes_str(word), text, &o->key_id, &msg),
        ERR_OK);
    snprintf(o->header, sizeof o->header, "api-key: %s", text);
}

/* A call to a model, a log line and a counter with an exemplar, all named by the org's word. The trace id is the same in both orgs. */
static void send(struct server *s, const struct org *o)
{
    char body[4096];
    struct bytes answer;
    long long now = clock_wall_ns(), then = now - 1000000000;
    const char *w = o->word;
    const char *resource = "{\"attributes\":[{\"key\":\"service.name\",\"value\":{\"stringValue\":";
    snprintf(body, sizeof body,
             "{\"resourceSpans\":[{\"resource\":%s\"%s\"}}]},\"scopeSpans\":[{\"spans\":[{"
             "\"traceId\":\"0102030405060708090a0b0c0d0e0f10\",\"spanId\":\"0102030405060708\","
             "\"name\":\"chat %s\",\"kind\":3,\"startTimeUnixNano\":\"%lld\",\"endTimeUnixNano\":"
             "\"%lld\",\"attributes\":[{\"key\":\"gen_ai.operation.name\",\"value\":{"
             "\"stringValue\":\"chat\"}},{\"key\":\"gen_ai.system\",\"value\":{\"stringValue\":"
             "\"openai\"}},{\"key\":\"gen_ai.request.model\",\"value\":{\"stringValue\":\"%s\"}},"
             "{\"key\":\"gen_ai.usage.input_tokens\",\"value\":{\"intValue\":\"5\"}}]}]}]}]}",
             resource, w, w, then, now, w);
    assert_int_equal(ask(s, o, "POST", s->otlp_port, "/v1/traces", body, &answer), 200);
    snprintf(body, sizeof body,
             "{\"resourceLogs\":[{\"resource\":%s\"%s\"}}]},\"scopeLogs\":[{\"logRecords\":[{"
             "\"timeUnixNano\":\"%lld\",\"body\":{\"stringValue\":\"%s\"}}]}]}]}",
             resource, w, now, w);
    assert_int_equal(ask(s, o, "POST", s->otlp_port, "/v1/logs", body, &answer), 200);
    snprintf(body, sizeof body,
             "{\"resourceMetrics\":[{\"resource\":%s\"%s\"}}]},\"scopeMetrics\":[{\"metrics\":[{"
             "\"name\":\"things.%s\",\"description\":\"%s\",\"sum\":{\"aggregationTemporality\":2,"
             "\"isMonotonic\":true,\"dataPoints\":[{\"startTimeUnixNano\":\"%lld\","
             "\"timeUnixNano\":\"%lld\",\"asInt\":\"3\",\"attributes\":[{\"key\":\"%s\",\"value\":"
             "{\"stringValue\":\"%s\"}}],\"exemplars\":[{\"timeUnixNano\":\"%lld\",\"asInt\":\"1\","
             "\"filteredAttributes\":[{\"key\":\"who\",\"value\":{\"stringValue\":\"%s\"}}]}]}]}}]"
             "}]}]}",
             resource, w, w, w, then, now, w, w, now, w);
    assert_int_equal(ask(s, o, "POST", s->otlp_port, "/v1/metrics", body, &answer), 200);
}

static int start(void **state)
{
    struct server *s = calloc(1, sizeof *s);
    const char *addresses[NET_DOOR_COUNT] = {NULL, "127.0.0.1:0", "127.0.0.1:0"};
    struct stage_options options = {0};
    struct err_msg msg = {{0}};
    snprintf(s->dir, sizeof s->dir, "/tmp/telltale-orgs-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    assert_int_equal(stage_new(&options, &s->stage, &msg), ERR_OK);
    struct tsdb_options t = {.dir = s->dir, .settler = stage_settler(s->stage)};
    assert_int_equal(tsdb_open(&t, &s->db, &msg), ERR_OK);
    stage_set_series(s->stage, tsdb_series(s->db));
    assert_int_equal(web_access_open(s->db, s->dir, &s->access, &msg), ERR_OK);
    assert_int_equal(web_access_check_listen(s->access, addresses, &msg), ERR_OK);
    s->net = net_new(&(struct net_opts){
        .loops = 1, .authorise = web_access_authorise, .authorise_ctx = s->access});
    assert_int_equal(net_listen(s->net, NET_WEB, "127.0.0.1:0", &s->web_port, &msg), ERR_OK);
    assert_int_equal(net_listen(s->net, NET_OTLP_HTTP, "127.0.0.1:0", &s->otlp_port, &msg), ERR_OK);
    struct collector_options c = {.db = s->db, .stage = s->stage};
    assert_int_equal(collector_new(&c, &s->collector, &msg), ERR_OK);
    assert_int_equal(collector_routes(s->collector, s->net), ERR_OK);
    s->web = web_new(&(struct web_opts){.db = s->db, .access = s->access});
    assert_int_equal(web_routes(s->web, s->net), ERR_OK);
    s->prom = web_prom_new(&(struct web_prom_opts){.db = s->db});
    assert_int_equal(web_prom_routes(s->prom, s->net), ERR_OK);
    assert_int_equal(net_start(s->net, &msg), ERR_OK);
    s->client = http_client_new();
    s->arena = arena_new(0);
    make_org(s, &s->red, ORG_RED, "scarlet", "cobalt");
    make_org(s, &s->blue, ORG_BLUE, "cobalt", "scarlet");
    send(s, &s->red);
    send(s, &s->blue);
    *state = s;
    return 0;
}

static int stop(void **state)
{
    struct server *s = *state;
    http_client_free(s->client);
    web_stop(s->web);
    (void)net_stop(s->net, 3000);
    collector_free(s->collector);
    web_free(s->web);
    web_prom_free(s->prom);
    web_access_close(s->access);
    tsdb_close(s->db, false);
    net_free(s->net);
    stage_free(s->stage);
    arena_free(s->arena);
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", s->dir);
    assert_int_equal(system(command), 0);
    free(s);
    return 0;
}

/* {own}: answers that show what the asker sent; the others are asked for what they must not hold. */
static const struct {
    const char *path;
    bool own;
} questions[] = {
    {"/api/v1/query?query={__name__=~%22.%2B%22}", true},
    {"/api/v1/query?query=llm_requests_total", true},
    {"/api/v1/query?query=sum%20by%20(service,model)(llm_tokens_total)", true},
    {"/api/v1/query?query=things_scarlet_total%20or%20things_cobalt_total", true},
    {"/api/v1/series?match[]={__name__=~%22.%2B%22}", true},
    {"/api/v1/labels", true},
    {"/api/v1/label/service/values", true},
    {"/api/v1/label/__name__/values", true},
    {"/api/v1/metadata", true},
    {"/api/v1/query_exemplars?query={__name__=~%22.%2B%22}", true},
    {"/api/v1/rules", false},
    {"/api/v1/alerts", false},
    {"/jaeger/api/services", true},
    {"/jaeger/api/services/scarlet/operations", false},
    {"/jaeger/api/services/cobalt/operations", false},
    {"/jaeger/api/operations?service=scarlet", false},
    {"/jaeger/api/traces?service=scarlet", false},
    {"/jaeger/api/traces?service=cobalt", false},
    {"/jaeger/api/traces?traceID=102030405060708090a0b0c0d0e0f10", true},
    {"/jaeger/api/traces/0102030405060708090a0b0c0d0e0f10", true},
    {"/jaeger/api/dependencies", false},
    {"/tempo/api/search?q=%7B%7D", true},
    {"/tempo/api/traces/0102030405060708090a0b0c0d0e0f10", true},
    {"/tempo/api/v2/traces/0102030405060708090a0b0c0d0e0f10", true},
    {"/tempo/api/search/tags", false},
    {"/tempo/api/v2/search/tags", false},
    {"/tempo/api/search/tag/service.name/values", true},
    {"/tempo/api/v2/search/tag/name/values", true},
    {"/api/telltale/v1/oncall", true},
    {"/api/telltale/v1/traces", true},
    {"/api/telltale/v1/traces/0102030405060708090a0b0c0d0e0f10", true},
    {"/api/telltale/v1/freshness", true},
    {"/api/telltale/v1/accounts", false},
    {"/api/telltale/v1/keys", true},
    {"/api/telltale/v1/slos", false},
    {"/api/telltale/v1/alerts", false},
    {"/api/telltale/v1/outbox", false},
};

static bool holds(struct bytes text, const char *word)
{
    return bytes_find(text, bytes_str(word)) < text.size;
}

static void ask_everything(struct server *s, const struct org *o)
{
    for (size_t i = 0; i < ARRAY_LEN(questions); i++) {
        struct bytes text;
        int status = ask(s, o, "GET", s->web_port, questions[i].path, NULL, &text);
        bool foreign = holds(text, o->other), own = holds(text, o->word);
        if (status != 200 || foreign || (questions[i].own && !own))
            fail_msg("%s asks %s: %d%s%s: " BYTES_FMT, o->word, questions[i].path, status,
                     foreign ? ", shows the other org" : "",
                     own ? "" : ", shows nothing of its own",
                     BYTES_ARG(bytes_slice(text, 0, MIN(text.size, (size_t)2000))));
    }
    for (int signal = 0; signal <= TSDB_SAMPLES; signal++) {
        static const char *const names[] = {"spans", "logs", "samples"};
        char path[64];
        struct bytes text;
        snprintf(path, sizeof path, "/api/telltale/v1/count?signal=%s", names[signal]);
        assert_int_equal(ask(s, o, "GET", s->web_port, path, NULL, &text), 200);
        assert_true(bytes_equal_str(text, "{\"count\":1}"));
    }
}

static void no_answer_shows_another_org(void **state)
{
    struct server *s = *state;
    struct bytes text;
    ask_everything(s, &s->red);
    ask_everything(s, &s->blue);
    /* and the same once rows lie in parts */
    assert_int_equal(
        ask(s, &s->red, "POST", s->web_port, "/api/telltale/v1/admin/flush", "", &text), 200);
    ask_everything(s, &s->red);
    ask_everything(s, &s->blue);
}

/* After those that look at what it takes away. */
static void series_go_from_the_asking_org_only_and_jobs_are_told_to_it_only(void **state)
{
    static const char *const wrong[] = {"", "?match[]=%7B", "?match[]=up&match[]=%7B",
                                        "?match[]=up&start=x", "?match[]=up&start=5&end=4"};
    struct server *s = *state;
    struct bytes text;
    char path[160];
    const char *const series = "/api/v1/series?match[]={__name__=~%22.%2B%22}";
    assert_int_equal(ask(s, &s->blue, "GET", s->web_port, series, NULL, &text), 200);
    assert_true(holds(text, s->blue.word));
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        snprintf(path, sizeof path, "/api/v1/admin/tsdb/delete_series%s", wrong[i]);
        assert_int_equal(ask(s, &s->red, "POST", s->web_port, path, "", &text), 400);
    }
    assert_int_equal(ask(s, &s->red, "GET", s->web_port,
                         "/api/v1/admin/tsdb/delete_series?match[]=up", NULL, &text),
                     405);
    assert_int_equal(ask(s, &s->red, "POST", s->web_port,
                         "/api/v1/admin/tsdb/delete_series?match[]={__name__=~%22.%2B%22}", "",
                         &text),
                     204);
    assert_int_equal(text.size, 0);
    for (int pass = 0; pass < 2; pass++) { /* at once, and when the bytes are gone */
        assert_int_equal(ask(s, &s->red, "GET", s->web_port, series, NULL, &text), 200);
        assert_true(holds(text, "\"data\":[]"));
        assert_int_equal(ask(s, &s->blue, "GET", s->web_port, series, NULL, &text), 200);
        assert_true(holds(text, s->blue.word));
        assert_int_equal(
            ask(s, &s->red, "PUT", s->web_port, "/api/v1/admin/tsdb/clean_tombstones", "", &text),
            204);
    }
    const char *const jobs = "/api/telltale/v1/admin/erase";
    assert_int_equal(ask(s, &s->red, "GET", s->web_port, jobs, NULL, &text), 200);
    assert_true(holds(text, "\"kind\":\"series\"") && holds(text, "\"phase\":\"done\""));
    assert_int_equal(ask(s, &s->blue, "GET", s->web_port, jobs, NULL, &text), 200);
    assert_true(holds(text, "\"jobs\":[]"));
    assert_int_equal(
        ask(s, &s->blue, "GET", s->web_port, "/api/telltale/v1/admin/erase/1", NULL, &text), 404);
}

static void metrics_count_the_rows_of_the_asking_org_only(void **state)
{
    struct server *s = *state;
    struct bytes text;
    assert_int_equal(ask(s, &s->red, "GET", s->web_port, "/metrics", NULL, &text), 200);
    assert_true(
        holds(text, "telltale_rows_total{org=\"7\",signal=\"spans\",state=\"stored\"} 1\n"));
    assert_false(holds(text, "org=\"8\""));
}

static void an_admin_key_neither_revokes_nor_makes_keys_of_another_org(void **state)
{
    struct server *s = *state;
    struct bytes text;
    char path[96];
    snprintf(path, sizeof path, "/api/telltale/v1/keys/%016llx",
             (unsigned long long)s->blue.key_id);
    assert_int_equal(ask(s, &s->red, "DELETE", s->web_port, path, NULL, &text), 404);
    assert_int_equal(ask(s, &s->red, "POST", s->web_port, "/api/telltale/v1/keys",
                         "{\"role\":\"read\",\"name\":\"scarlet 2\",\"org\":8}", &text),
                     200);
    assert_int_equal(ask(s, &s->blue, "GET", s->web_port, "/api/telltale/v1/keys", NULL, &text),
                     200);
    assert_true(holds(text, "\"cobalt\"") && !holds(text, "scarlet"));
    assert_int_equal(ask(s, &s->blue, "DELETE", s->web_port, path, NULL, &text), 200);
}

static void times_at_the_ends_of_the_world_are_answered(void **state)
{
    struct server *s = *state;
    static const struct {
        const char *path;
        int status;
    } cases[] = {
        {"/api/telltale/v1/oncall?to=257697000000000", 400},
        {"/api/telltale/v1/oncall?to=9223372036854", 200},
        {"/api/v1/query_range?query=up&start=-9e15&end=9e15&step=9e12", 400},
        {"/api/v1/query_range?query=up&start=9e15&end=9.1e15&step=9e12", 200},
        {"/api/v1/query?query=rate(up%5B290y%5D)&time=-9.19e15", 200},
        {"/jaeger/api/traces?service=a&start=9223372036854775&end=9223372036854775", 200},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct bytes text;
        int status = ask(s, &s->red, "GET", s->web_port, cases[i].path, NULL, &text);
        if (status != cases[i].status)
            fail_msg("%s: %d", cases[i].path, status);
    }
}

/* Two thousand of them once made the cost of a service negative. */
static void a_count_of_tokens_beyond_reason_is_no_count(void **state)
{
    struct server *s = *state;
    char body[2048];
    struct bytes text;
    long long now = clock_wall_ns();
    snprintf(body, sizeof body,
             "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"traceId\":"
             "\"0102030405060708090a0b0c0d0e0f11\",\"spanId\":\"0102030405060708\",\"name\":"
             "\"chat\",\"kind\":3,\"startTimeUnixNano\":\"%lld\",\"endTimeUnixNano\":\"%lld\","
             "\"attributes\":[{\"key\":\"gen_ai.operation.name\",\"value\":{\"stringValue\":"
             "\"chat\"}},{\"key\":\"gen_ai.request.model\",\"value\":{\"stringValue\":\"gpt-4\"}},"
             "{\"key\":\"gen_ai.usage.input_tokens\",\"value\":{\"intValue\":\"1073741824\"}},"
             "{\"key\":\"langfuse.observation.usage_details\",\"value\":{\"stringValue\":"
             "\"{\\\"input\\\":9223372036854775807}\"}},"
             "{\"key\":\"gen_ai.usage.output_tokens\",\"value\":{\"intValue\":\"7\"}}]}]}]}]}",
             now - 1000000, now);
    assert_int_equal(ask(s, &s->red, "POST", s->otlp_port, "/v1/traces", body, &text), 200);
    assert_int_equal(ask(s, &s->red, "GET", s->web_port,
                         "/api/v1/query?query=llm_tokens_total%7Bmodel=%22gpt-4%22,type=%22input%22"
                         ",estimated=%22%22%7D",
                         NULL, &text),
                     200);
    assert_true(holds(text, "\"result\":[]"));
    assert_int_equal(
        ask(s, &s->red, "GET", s->web_port,
            "/api/v1/query?query=llm_tokens_total%7Bmodel=%22gpt-4%22,type=%22output%22"
            "%7D",
            NULL, &text),
        200);
    assert_true(holds(text, ",\"7\"]"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_answer_shows_another_org),
        cmocka_unit_test(metrics_count_the_rows_of_the_asking_org_only),
        cmocka_unit_test(times_at_the_ends_of_the_world_are_answered),
        cmocka_unit_test(a_count_of_tokens_beyond_reason_is_no_count),
        cmocka_unit_test(series_go_from_the_asking_org_only_and_jobs_are_told_to_it_only),
        cmocka_unit_test(an_admin_key_neither_revokes_nor_makes_keys_of_another_org),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
