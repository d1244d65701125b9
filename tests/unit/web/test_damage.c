/* Answers from a store of which something is damaged say so, wherever what is left out would have been; others do not. */
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
#include "base/log.h"
#include "tsdb/files.h"
#include "tsdb/helper_rows.h"
#include "tsdb/store.h"
#include "web/web.h"

#define DAY_MS INT64_C(86400000)

struct server {
    char dir[64];
    struct tsdb *db;
    struct detectors *detectors;
    struct web *web;
    struct net *net;
    struct http_client *client;
    unsigned port;
    struct buf answer;
};

static int64_t now_ns(void)
{
    return ROWS_T0_NS + INT64_C(3600000000000);
}

static struct bytes ask(struct server *s, const char *path, int status)
{
    char url[256];
    struct http_client_response r;
    struct err_msg msg;
    snprintf(url, sizeof url, "http://127.0.0.1:%u%s", s->port, path);
    struct http_client_request req = {.method = "GET", .url = url, .response_max = 8 << 20};
    assert_int_equal(http_client_send(s->client, &req, &r, &msg), ERR_OK);
    buf_done(&s->answer);
    s->answer = r.body;
    if (r.status != status)
        fail_msg("%s: %d: %.*s", path, r.status, (int)r.body.size, (const char *)r.body.data);
    return buf_bytes(&s->answer);
}

static bool says_damaged(struct server *s, const char *path, int status)
{
    struct bytes text = ask(s, path, status);
    return bytes_find(text, BYTES_LIT("damaged")) < text.size;
}

static int start(void **state)
{
    struct server *s = calloc(1, sizeof *s);
    struct err_msg msg = {{0}};
    struct buf errors = {0};
    clock_test_set_wall(now_ns);
    log_set_level(LOG_LEVEL_ERROR);
    snprintf(s->dir, sizeof s->dir, "/tmp/telltale-damage-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    struct tsdb_options t = {.dir = s->dir, .retention_content_ms = DAY_MS * 400};
    assert_int_equal(tsdb_open(&t, &s->db, &msg), ERR_OK);
    struct tsdb_batch *b = rows_batch(tsdb_series(s->db), 0, 200, 0);
    assert_int_equal(rows_append(s->db, b, NULL), ERR_OK);
    assert_int_equal(tsdb_flush(s->db, false, &msg), ERR_OK);
    struct detectors_options d = {.db = s->db};
    assert_int_equal(detectors_new(&d, &s->detectors, &errors), ERR_OK);
    assert_int_equal(detectors_evaluate(s->detectors, now_ns() / 1000000), ERR_OK);
    s->net = net_new(&(struct net_opts){.loops = 1});
    assert_int_equal(net_listen(s->net, NET_WEB, "127.0.0.1:0", &s->port, &msg), ERR_OK);
    s->web = web_new(&(struct web_opts){.db = s->db, .detectors = s->detectors});
    assert_int_equal(web_routes(s->web, s->net), ERR_OK);
    assert_int_equal(net_start(s->net, &msg), ERR_OK);
    s->client = http_client_new();
    buf_done(&errors);
    *state = s;
    return 0;
}

static int stop(void **state)
{
    struct server *s = *state;
    http_client_free(s->client);
    web_stop(s->web);
    (void)net_stop(s->net, 3000);
    web_free(s->web);
    detectors_free(s->detectors);
    tsdb_close(s->db, false);
    net_free(s->net);
    buf_done(&s->answer);
    files_remove_tree(s->dir);
    free(s);
    return 0;
}

/* A block of a day of the default org is found damaged. */
static void damage(struct server *s, int64_t days_ago, enum part_class class, enum block_kind kind)
{
    static uint32_t n;
    struct block_meta m = {.key = {TSDB_ORG_DEFAULT, (uint8_t)kind, 1000, n++}, .rows = 5};
    quarantine_add_block(s->db->quarantine, (uint32_t)(now_ns() / 1000000 / DAY_MS - days_ago),
                         class, &m, "its checksum is wrong");
}

static const char *const forms[] = {
    "/api/telltale/v1/traces/", "/jaeger/api/traces/",
    "/jaeger/api/traces?service=", "/api/telltale/v1/traces?service="};

static void trace_path(size_t i, char out[128])
{
    /* of the spans 20..29 of helper_rows, none of which is late but one */
    snprintf(out, 128, "%s%s", forms[i], i < 2 ? "0000000000000003fffffffffffffffd" : "rows");
}

static void traces_tell_of_damaged_rows_of_the_days_they_were_looked_for_in(void **state)
{
    struct server *s = *state;
    char path[128];
    const char *missing = "/api/telltale/v1/traces/ffffffffffffffffffffffffffffffff",
               *other = "/jaeger/api/traces/ffffffffffffffffffffffffffffffff";
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        trace_path(i, path);
        assert_false(says_damaged(s, path, 200));
    }
    assert_false(says_damaged(s, missing, 404) || says_damaged(s, other, 404));
    damage(s, 0, PART_ROWS, BLOCK_SPANS);
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        trace_path(i, path);
        if (!says_damaged(s, path, 200))
            fail_msg("%s does not tell: %.*s", path, (int)s->answer.size,
                     (const char *)s->answer.data);
    }
    assert_true(says_damaged(s, missing, 404) && says_damaged(s, other, 404));
    assert_true(says_damaged(s, "/jaeger/api/services", 200));
}

static void objectives_tell_of_damaged_cells_of_their_period(void **state)
{
    struct server *s = *state;
    char one[128];
    const char *all = "/api/telltale/v1/slos", *budget = "/api/telltale/v1/budgets?slo=";
    struct bytes text = ask(s, all, 200);
    size_t at = bytes_find(text, BYTES_LIT("\"id\":\"")) + 6;
    size_t end = at + bytes_find(bytes_slice(text, at, text.size), BYTES_LIT("\""));
    assert_true(end < text.size);
    snprintf(one, sizeof one, "%s%.*s", budget, (int)(end - at), (const char *)text.data + at);
    damage(s, 0, PART_ROWS, BLOCK_SPANS);
    damage(s, 0, PART_SAMPLES, BLOCK_SAMPLES); /* these count in calls, not in samples */
    damage(s, 300, PART_CELLS, BLOCK_CELLS); /* before the period */
    assert_false(says_damaged(s, all, 200) || says_damaged(s, one, 200));
    damage(s, 3, PART_CELLS, BLOCK_CELLS);
    text = ask(s, all, 200);
    size_t told = 0, slos = 0;
    for (size_t i = 0; i < text.size; i++) {
        struct bytes rest = bytes_slice(text, i, text.size);
        told +=
            bytes_has_prefix(rest, BYTES_LIT("\"warnings\":[\"1 block of 2026-11-17 is damaged"));
        slos += bytes_has_prefix(rest, BYTES_LIT("\"budget_since_ms\""));
    }
    if (slos < 2 || told != slos)
        fail_msg("%zu of %zu tell: %.*s", told, slos, (int)text.size, (const char *)text.data);
    assert_true(says_damaged(s, one, 200));
    snprintf(one, sizeof one, "/api/telltale/v1/slos/%.*s", (int)(end - at),
             (const char *)text.data + at);
    assert_true(says_damaged(s, one, 200));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            traces_tell_of_damaged_rows_of_the_days_they_were_looked_for_in, start, stop),
        cmocka_unit_test_setup_teardown(objectives_tell_of_damaged_cells_of_their_period, start,
                                        stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
