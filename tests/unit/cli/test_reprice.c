/* Re-pricing that was cut off: between its record and its batch, and between its batch and its last word. */
#include <ftw.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "cli/serve_reprice.h"
#include "tsdb/tsdb_attrs.h"
#include "tsdb/tsdb_read.h"
#include "tsdb/tsdb_state.h"

#define MINUTE_NS INT64_C(60000000000)

struct store {
    char dir[64];
    struct stage *stage;
    struct tsdb *db;
    int64_t now_ns;
};

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

static void prices(struct store *s, const char *yaml)
{
    struct err_msg msg = {""};
    if (stage_set_prices(s->stage, s->db, bytes_str(yaml), "test.yaml", &msg) != ERR_OK)
        fail_msg("%s", msg.text);
}

static void open_store(struct store *s)
{
    struct err_msg msg = {""};
    assert_int_equal(stage_new(NULL, &s->stage, &msg), ERR_OK);
    struct tsdb_options o = {.dir = s->dir, .settler = stage_settler(s->stage)};
    if (tsdb_open(&o, &s->db, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    stage_set_series(s->stage, tsdb_series(s->db));
}

static void close_store(struct store *s)
{
    tsdb_close(s->db, false);
    stage_free(s->stage);
}

static int start(void **state)
{
    struct store *s = calloc(1, sizeof *s);
    snprintf(s->dir, sizeof s->dir, "/tmp/telltale-reprice-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    open_store(s);
    s->now_ns = clock_wall_ns() / MINUTE_NS * MINUTE_NS - 10 * MINUTE_NS;
    *state = s;
    return 0;
}

static int stop(void **state)
{
    struct store *s = *state;
    close_store(s);
    nftw(s->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(s);
    return 0;
}

struct wait {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool done;
};

static void on_done(void *ctx, enum err e, const struct tsdb_result *r)
{
    struct wait *w = ctx;
    assert_int_equal(e, ERR_OK);
    pthread_mutex_lock(&w->lock);
    w->done = true;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->lock);
}

static void call(struct store *s, uint8_t id, int64_t input)
{
    struct wait w = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false};
    struct tsdb_batch *b = tsdb_batch_new(TSDB_ORG_DEFAULT, TSDB_SPANS, 1u << 20);
    struct buf attrs = {0};
    struct err_msg msg;
    uint32_t row = tsdb_batch_add_span(b);
    tsdb_attrs_put_str(&attrs, BYTES_LIT("gen_ai.operation.name"), BYTES_LIT("chat"));
    tsdb_attrs_put_str(&attrs, BYTES_LIT("gen_ai.request.model"), BYTES_LIT("m"));
    tsdb_attrs_put_str(&attrs, BYTES_LIT("gen_ai.response.finish_reasons"), BYTES_LIT("stop"));
    tsdb_attrs_put_i64(&attrs, BYTES_LIT("gen_ai.usage.input_tokens"), input);
    tsdb_attrs_put_i64(&attrs, BYTES_LIT("gen_ai.usage.output_tokens"), 0);
    b->spans.attrs[row] = arena_copy(b->arena, buf_bytes(&attrs));
    buf_done(&attrs);
    b->spans.trace_id[row].b[0] = id;
    b->spans.span_id[row].b[0] = id;
    b->spans.parent_id[row].b[0] = 255;
    b->spans.service[row] = BYTES_LIT("shop");
    b->spans.kind[row] = 3;
    b->spans.start_ns[row] = s->now_ns;
    b->spans.end_ns[row] = s->now_ns + 1000000;
    b->received = 1;
    b->received_ns = s->now_ns;
    assert_int_equal(stage_apply(s->stage, b, &msg), ERR_OK);
    assert_int_equal(tsdb_append(s->db, &b, on_done, &w), ERR_OK);
    pthread_mutex_lock(&w.lock);
    while (!w.done)
        pthread_cond_wait(&w.cond, &w.lock);
    pthread_mutex_unlock(&w.lock);
}

static int64_t cost(struct store *s)
{
    struct tsdb_view *v;
    static const struct tsdb_read_limits limits;
    struct tsdb_matcher m = {.op = TSDB_MATCH_EQ,
                             .name = BYTES_LIT("__name__"),
                             .value = BYTES_LIT("llm_cost_nanousd_total")};
    int64_t sum = 0;
    uint32_t at = tsdb_batch_minute(s->now_ns);
    assert_int_equal(tsdb_view_open(s->db, TSDB_ORG_DEFAULT, &limits, &v), ERR_OK);
    assert_int_equal(tsdb_cells_sum(v, &m, 1, at - 60, at + 60, &sum), ERR_OK);
    tsdb_view_close(v);
    return sum;
}

static struct buf reprice(struct store *s, const char *key)
{
    struct buf body = {0}, json = {0};
    struct err_msg msg = {""};
    buf_printf(&body, "{\"key\":\"%s\",\"from\":%lld,\"to\":%lld}", key,
               (long long)(s->now_ns / 1000000 - 600000),
               (long long)(s->now_ns / 1000000 + 600000));
    if (serve_reprice(s->stage, s->db, TSDB_ORG_DEFAULT, 7, buf_bytes(&body), &json, &msg) !=
        ERR_OK)
        fail_msg("%s", msg.text);
    buf_done(&body);
    return json;
}

/* The record of the only re-pricing, its state replaced: what a crash leaves. */
static void record_says_started(struct store *s)
{
    struct arena *a = arena_new(1u << 20);
    struct tsdb_state_row *rows;
    struct tsdb_state_write *w;
    size_t n;
    struct buf value = {0};
    struct bytes mark = BYTES_LIT("\"state\":\"done\"");
    assert_int_equal(tsdb_state_scan(s->db, "reprices", BYTES_NONE, 10, a, &rows, &n), ERR_OK);
    assert_int_equal(n, 1);
    size_t at = bytes_find(rows[0].value, mark);
    assert_true(at < rows[0].value.size);
    buf_bytes_append(&value, bytes_slice(rows[0].value, 0, at));
    buf_str(&value, "\"state\":\"started\"");
    buf_bytes_append(&value, bytes_slice(rows[0].value, at + mark.size, rows[0].value.size));
    assert_int_equal(tsdb_state_begin(s->db, &w), ERR_OK);
    assert_int_equal(tsdb_state_put(w, "reprices", rows[0].key, buf_bytes(&value)), ERR_OK);
    assert_int_equal(tsdb_state_commit(w), ERR_OK);
    buf_done(&value);
    arena_free(a);
}

static bool says(struct buf *json, const char *what)
{
    bool found = bytes_find(buf_bytes(json), bytes_str(what)) < json->size;
    buf_done(json);
    return found;
}

static void cut_off_after_its_batch_it_is_not_added_again(void **state)
{
    struct store *s = *state;
    prices(s, "prices:\n  - {model: m, input: 1, output: 1}\n");
    call(s, 1, 1000);
    call(s, 2, 500);
    assert_int_equal(cost(s), 1500000);
    prices(s, "prices:\n  - {model: m, input: 3, output: 1}\n");
    struct buf json = reprice(s, "k");
    assert_true(says(&json, "\"state\":\"done\""));
    assert_int_equal(cost(s), 4500000);
    record_says_started(s);
    close_store(s); /* and everything comes from the journal */
    open_store(s);
    prices(s,
           "prices:\n  - {model: m, input: 9, output: 1}\n"); /* prices have moved on meanwhile */
    json = reprice(s, "k");
    assert_true(says(&json, "\"state\":\"done\""));
    assert_int_equal(cost(s), 4500000);
    json = reprice(s, "k");
    assert_true(says(&json, "\"by\":\"0000000000000007\""));
    assert_int_equal(cost(s), 4500000);
}

static void cut_off_before_its_batch_it_is_done_when_asked_again(void **state)
{
    struct store *s = *state;
    struct err_msg msg = {""};
    prices(s, "prices:\n  - {model: m, input: 1, output: 1}\n");
    call(s, 1, 1000);
    /* a record of this key that says started, and no batch: written by another store with the same question */
    struct store other = *s;
    snprintf(other.dir, sizeof other.dir, "/tmp/telltale-reprice-XXXXXX");
    assert_non_null(mkdtemp(other.dir));
    open_store(&other);
    prices(&other, "prices:\n  - {model: m, input: 1, output: 1}\n");
    struct buf json = reprice(&other, "k");
    buf_done(&json);
    record_says_started(&other);
    struct arena *a = arena_new(1u << 20);
    struct tsdb_state_row *rows;
    struct tsdb_state_write *w;
    size_t n;
    assert_int_equal(tsdb_state_scan(other.db, "reprices", BYTES_NONE, 10, a, &rows, &n), ERR_OK);
    assert_int_equal(tsdb_state_begin(s->db, &w), ERR_OK);
    assert_int_equal(tsdb_state_put(w, "reprices", rows[0].key, rows[0].value), ERR_OK);
    assert_int_equal(tsdb_state_commit(w), ERR_OK);
    arena_free(a);
    close_store(&other);
    nftw(other.dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);

    prices(s, "prices:\n  - {model: m, input: 3, output: 1}\n");
    json = reprice(s, "k");
    assert_true(says(&json, "\"added_nanousd\":2000000"));
    assert_int_equal(cost(s), 3000000);
    json = reprice(s, "k");
    assert_true(says(&json, "\"added_nanousd\":2000000"));
    assert_int_equal(cost(s), 3000000);
    /* sealed and compacted, a further one still knows what was added */
    assert_int_equal(tsdb_flush(s->db, true, &msg), ERR_OK);
    json = reprice(s, "k2");
    assert_true(says(&json, "\"added_nanousd\":0"));
    assert_int_equal(cost(s), 3000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(cut_off_after_its_batch_it_is_not_added_again, start, stop),
        cmocka_unit_test_setup_teardown(cut_off_before_its_batch_it_is_done_when_asked_again, start,
                                        stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
