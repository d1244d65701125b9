/* The ingest path with the real store in a directory of its own: acknowledged is accounted, repeated is absorbed, all kinds at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <ftw.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/http_client.h"
#include "collector/collector.h"
#include "collector/otlp/helper_otlp.h"
#include "otlp.pb-c.h"

struct server {
    char dir[64];
    struct stage *stage;
    struct tsdb *db;
    struct net *net;
    struct collector *collector;
    unsigned http;
};

static void open_store(struct server *s)
{
    struct err_msg msg;
    struct stage_options so = {.mutate = NULL};
    assert_int_equal(stage_new(&so, &s->stage, &msg), ERR_OK);
    struct tsdb_options o = {.dir = s->dir, .settler = stage_settler(s->stage)};
    if (tsdb_open(&o, &s->db, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    stage_set_series(s->stage, tsdb_series(s->db));
}

static int start(void **state)
{
    struct server *s = calloc(1, sizeof(*s));
    struct err_msg msg;
    struct net_opts no = {.loops = 2};
    assert_non_null(s);
    snprintf(s->dir, sizeof(s->dir), "/tmp/telltale-ingest-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    open_store(s);
    s->net = net_new(&no);
    struct collector_options co = {.db = s->db, .stage = s->stage};
    assert_int_equal(collector_new(&co, &s->collector, &msg), ERR_OK);
    assert_int_equal(collector_routes(s->collector, s->net), ERR_OK);
    assert_int_equal(net_listen(s->net, NET_OTLP_HTTP, "127.0.0.1:0", &s->http, &msg), ERR_OK);
    assert_int_equal(net_start(s->net, &msg), ERR_OK);
    *state = s;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    return remove(path);
}

static int stop(void **state)
{
    struct server *s = *state;
    struct tsdb_account before[32], after[32];
    assert_int_equal(net_stop(s->net, 5000), 0);
    collector_free(s->collector);
    size_t n = tsdb_accounts(s->db, before, ARRAY_LEN(before));
    tsdb_close(s->db, false);
    net_free(s->net);
    stage_free(s->stage);
    /* what was acknowledged is there when the directory is opened again */
    open_store(s);
    assert_int_equal(tsdb_accounts(s->db, after, ARRAY_LEN(after)), n);
    for (size_t i = 0; i < n; i++)
        assert_memory_equal(&before[i], &after[i], sizeof(before[i]));
    tsdb_close(s->db, false);
    stage_free(s->stage);
    assert_int_equal(nftw(s->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
    free(s);
    return 0;
}

static int post(struct http_client *client, unsigned port, const char *path, const char *type,
                struct bytes body, struct buf *out)
{
    char url[128], line[128];
    snprintf(url, sizeof(url), "http://127.0.0.1:%u%s", port, path);
    snprintf(line, sizeof(line), "Content-Type: %s", type);
    const char *headers[] = {line, NULL};
    struct http_client_request q = {
        .method = "POST", .url = url, .headers = headers, .body = body, .timeout_ms = 20000};
    struct http_client_response r;
    struct err_msg msg = {""};
    if (http_client_send(client, &q, &r, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    if (out)
        *out = r.body;
    else
        buf_done(&r.body);
    return r.status;
}

static struct tsdb_account account_of(struct server *s, enum tsdb_signal signal)
{
    struct tsdb_account rows[32];
    size_t n = tsdb_accounts(s->db, rows, ARRAY_LEN(rows));
    for (size_t i = 0; i < MIN(n, ARRAY_LEN(rows)); i++)
        if (rows[i].org == TSDB_ORG_DEFAULT && rows[i].signal == signal)
            return rows[i];
    return (struct tsdb_account){.org = TSDB_ORG_DEFAULT, .signal = signal};
}

static void check_sum(const struct tsdb_account *a)
{
    uint64_t rejected = 0;
    for (size_t i = 0; i < TSDB_REJECT_COUNT; i++)
        rejected += a->rejected[i];
    assert_int_equal(a->received, a->stored + a->duplicate + a->quarantined + rejected);
}

/* n spans of ids from `first` on, one of them malformed if asked. */
static void spans_json(unsigned first, unsigned n, bool with_bad, struct buf *out)
{
    long long now = (long long)clock_wall_ns();
    buf_init(out, 0);
    buf_str(out, "{\"resourceSpans\":[{\"resource\":{\"attributes\":[{\"key\":\"service.name\","
                 "\"value\":{\"stringValue\":\"api\"}}]},\"scopeSpans\":[{\"spans\":[");
    for (unsigned i = 0; i < n; i++)
        buf_printf(out,
                   "%s{\"traceId\":\"%032x\",\"spanId\":\"%016x\",\"name\":\"chat\","
                   "\"startTimeUnixNano\":\"%lld\",\"endTimeUnixNano\":\"%lld\",\"attributes\":["
                   "{\"key\":\"gen_ai.operation.name\",\"value\":{\"stringValue\":\"chat\"}},"
                   "{\"key\":\"gen_ai.request.model\",\"value\":{\"stringValue\":\"gpt-4o\"}},"
                   "{\"key\":\"gen_ai.usage.input_tokens\",\"value\":{\"intValue\":%u}}]}",
                   i ? "," : "", first + i, with_bad && i == 0 ? 0 : first + i, now - 5000000, now,
                   i);
    buf_str(out, "]}]}]}");
}

static void acknowledged_rows_are_accounted_and_repeats_absorbed(void **state)
{
    struct server *s = *state;
    struct http_client *client = http_client_new();
    struct buf body, first, again;
    spans_json(1, 10, true, &body);
    assert_int_equal(
        post(client, s->http, "/v1/traces", "application/json", buf_bytes(&body), &first), 200);
    struct tsdb_account a = account_of(s, TSDB_SPANS);
    assert_int_equal(a.received, 10);
    assert_int_equal(a.stored, 9);
    assert_int_equal(a.rejected[TSDB_REJECT_MALFORMED], 1);
    assert_int_equal(
        post(client, s->http, "/v1/traces", "application/json", buf_bytes(&body), &again), 200);
    assert_true(bytes_equal(buf_bytes(&first), buf_bytes(&again))); /* the original result */
    a = account_of(s, TSDB_SPANS);
    assert_int_equal(a.stored, 9);
    check_sum(&a);
    uint64_t live;
    assert_int_equal(tsdb_count(s->db, TSDB_ORG_DEFAULT, TSDB_SPANS, &live), ERR_OK);
    assert_int_equal(live, 9);
    buf_done(&first);
    buf_done(&again);
    buf_done(&body);
    http_client_free(client);
}

struct sender {
    struct server *server;
    unsigned id;
    pthread_t thread;
    uint64_t acknowledged[TSDB_SIGNAL_COUNT]; /* rows of requests answered 200 */
};

static void *send_mix(void *ctx)
{
    static const char *const paths[] = {"/v1/traces", "/v1/logs", "/v1/metrics"};
    struct sender *x = ctx;
    struct http_client *client = http_client_new();
    for (unsigned i = 0; i < 30; i++) {
        struct arena *a = arena_new(0);
        enum tsdb_signal signal = (enum tsdb_signal)(i % 3);
        uint64_t seed = x->id * 1000 + i;
        ProtobufCMessage *m = helper_otlp_random(signal, seed, a);
        size_t size;
        uint8_t *packed = helper_otlp_pack(m, &size);
        post(client, x->server->http, paths[signal], "application/x-protobuf",
             bytes_of(packed, size), NULL);
        free(packed);
        struct buf body;
        spans_json(x->id * 100000 + i * 100, 50, false, &body);
        if (post(client, x->server->http, "/v1/traces", "application/json", buf_bytes(&body),
                 NULL) == 200)
            x->acknowledged[TSDB_SPANS] += 50;
        buf_done(&body);
        arena_free(a);
    }
    http_client_free(client);
    return NULL;
}

static void senders_at_once_leave_sums_that_agree(void **state)
{
    struct server *s = *state;
    struct sender senders[4];
    uint64_t acknowledged = 0, live;
    for (unsigned i = 0; i < ARRAY_LEN(senders); i++) {
        senders[i] = (struct sender){.server = s, .id = i + 1};
        assert_int_equal(pthread_create(&senders[i].thread, NULL, send_mix, &senders[i]), 0);
    }
    for (unsigned i = 0; i < ARRAY_LEN(senders); i++) {
        pthread_join(senders[i].thread, NULL);
        acknowledged += senders[i].acknowledged[TSDB_SPANS];
    }
    assert_int_equal(acknowledged, 4 * 30 * 50);
    for (int signal = 0; signal < TSDB_SIGNAL_COUNT; signal++) {
        struct tsdb_account a = account_of(s, (enum tsdb_signal)signal);
        check_sum(&a);
        assert_true(a.received > 0 || signal == TSDB_TOKENS); /* nobody sends them here */
    }
    assert_int_equal(tsdb_count(s->db, TSDB_ORG_DEFAULT, TSDB_SPANS, &live), ERR_OK);
    assert_true(live >= acknowledged);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(acknowledged_rows_are_accounted_and_repeats_absorbed, start,
                                        stop),
        cmocka_unit_test_setup_teardown(senders_at_once_leave_sums_that_agree, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
