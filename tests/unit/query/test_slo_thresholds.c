/* The counter of a latency threshold through stage and store: exact from when it was loaded, whatever happens to the store and to the set of
 * thresholds; for the time before, bounds from the histogram, which has all calls.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "collector/stage/stage.h"
#include "query/query_slo_source.h"
#include "tsdb/files.h"
#include "tsdb/helper_rows.h"
#include <stdio.h>
#include <stdlib.h>

#define CALLS 200u

struct place {
    char dir[64];
    struct stage *stage;
    struct tsdb *db;
    struct query_slo_set set;
    uint32_t t0; /* a minute */
    uint64_t next_id;
};

static void open_store(struct place *p)
{
    struct err_msg msg = {""};
    assert_int_equal(stage_new(NULL, &p->stage, &msg), ERR_OK);
    struct tsdb_options o = {.dir = p->dir, .settler = stage_settler(p->stage)};
    if (tsdb_open(&o, &p->db, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    stage_set_series(p->stage, tsdb_series(p->db));
}

static void close_store(struct place *p)
{
    tsdb_close(p->db, false);
    stage_free(p->stage);
}

static void want_threshold(struct place *p, double seconds)
{
    struct stage_threshold t = {BYTES_LIT("llm_request_duration_seconds"), seconds};
    assert_int_equal(stage_set_thresholds(p->stage, &t, seconds > 0, NULL), ERR_OK);
}

/* A call to a model each, 20 ms longer than the one before, ending in one minute. */
static void send_calls(struct place *p, uint32_t minute)
{
    struct tsdb_batch *b = tsdb_batch_new(TSDB_ORG_DEFAULT, TSDB_SPANS, 0);
    struct err_msg msg = {""};
    for (uint32_t i = 0; i < CALLS; i++) {
        uint32_t row = tsdb_batch_add_span(b);
        struct buf attrs = {0}, resource = {0};
        bytes_put_u64be(b->spans.trace_id[row].b, ++p->next_id);
        bytes_put_u64be(b->spans.span_id[row].b, p->next_id);
        b->spans.end_ns[row] = (int64_t)minute * 60000000000 + 1000000 * (int64_t)i;
        b->spans.start_ns[row] = b->spans.end_ns[row] - 20000000 * (int64_t)(i + 1);
        b->spans.kind[row] = 3;
        b->spans.name[row] = BYTES_LIT("chat gpt-4o");
        b->spans.service[row] = BYTES_LIT("checkout");
        tsdb_attrs_put_str(&resource, BYTES_LIT("service.name"), BYTES_LIT("checkout"));
        tsdb_attrs_put_str(&attrs, BYTES_LIT("gen_ai.operation.name"), BYTES_LIT("chat"));
        tsdb_attrs_put_str(&attrs, BYTES_LIT("gen_ai.provider.name"), BYTES_LIT("openai"));
        tsdb_attrs_put_str(&attrs, BYTES_LIT("gen_ai.request.model"), BYTES_LIT("gpt-4o"));
        tsdb_attrs_put_i64(&attrs, BYTES_LIT("gen_ai.usage.input_tokens"), 100);
        tsdb_attrs_put_i64(&attrs, BYTES_LIT("gen_ai.usage.output_tokens"), 50);
        b->spans.attrs[row] = arena_copy(b->arena, buf_bytes(&attrs));
        b->spans.resource_attrs[row] = arena_copy(b->arena, buf_bytes(&resource));
        buf_done(&attrs), buf_done(&resource);
    }
    b->received = CALLS;
    b->received_ns = clock_wall_ns();
    assert_int_equal(stage_apply(p->stage, b, &msg), ERR_OK);
    assert_int_equal(rows_append(p->db, b, NULL), ERR_OK);
}

static void load(struct place *p, const char *threshold)
{
    struct buf errors = {0}, text = {0};
    buf_printf(&text,
               "apiVersion: openslo/v1\nkind: SLO\nmetadata: {name: fast}\nspec:\n"
               "  service: checkout\n"
               "  indicator: {spec: {llm: {sli: latency-under, level: call, threshold: %s}}}\n"
               "  timeWindow: [{duration: 7d, isRolling: true}]\n"
               "  budgetingMethod: Occurrences\n  objectives: [{target: 0.9}]\n",
               threshold);
    assert_int_equal(query_slo_set_init(&p->set), ERR_OK);
    if (query_slo_load_text(&p->set, "test", buf_bytes(&text), &errors) != ERR_OK)
        fail_msg("%.*s", (int)errors.size, errors.data);
    buf_done(&errors), buf_done(&text);
}

/* What the objective of a threshold counts in a minute, and what the histogram says of it. */
static void check(struct place *p, const char *threshold, uint32_t minute, int64_t good,
                  int64_t bad, bool has_bounds)
{
    struct query_slo_counts c;
    struct query_slo_bounds b;
    struct tsdb_view *v;
    load(p, threshold);
    assert_int_equal(tsdb_view_open(p->db, TSDB_ORG_DEFAULT, NULL, &v), ERR_OK);
    struct query_slo_source src = query_slo_source_view(v);
    assert_int_equal(query_slo_source_sum(&src, &p->set.slos[0], minute, minute + 1, &c), ERR_OK);
    if (c.good != good || c.bad != bad)
        fail_msg("threshold %s: %lld good, %lld bad, not %lld and %lld", threshold,
                 (long long)c.good, (long long)c.bad, (long long)good, (long long)bad);
    if (has_bounds) {
        double within = (double)CALLS * p->set.slos[0].le_seconds / (0.02 * CALLS);
        assert_int_equal(
            query_slo_source_bounds(&src, &p->set.slos[0], minute, minute + 1, p->set.arena, &b),
            ERR_OK);
        assert_true(b.count == CALLS && b.low <= within && within <= b.high && b.low < b.high);
    }
    tsdb_view_close(v);
    query_slo_set_done(&p->set);
}

/* Minute 0: before any threshold. 1: 1.1 s. 2: 2.2 s instead. */
static void check_all(struct place *p)
{
    check(p, "1100ms", p->t0, 0, 0, true);
    check(p, "1100ms", p->t0 + 1, 55, 145, true);
    check(p, "1100ms", p->t0 + 2, 0, 0, true);
    check(p, "2200ms", p->t0, 0, 0, true);
    check(p, "2200ms", p->t0 + 1, 0, 0, true);
    check(p, "2200ms", p->t0 + 2, 110, 90, true);
}

static void a_threshold_is_counted_exactly_from_when_it_was_loaded(void **state)
{
    struct place p = {.dir = "/tmp/telltale-thresholds-XXXXXX",
                      .t0 = (uint32_t)(clock_wall_ms() / 60000) - 60};
    struct err_msg msg;
    log_set_level(LOG_LEVEL_ERROR);
    assert_non_null(mkdtemp(p.dir));
    open_store(&p);
    send_calls(&p, p.t0);
    want_threshold(&p, 1.1);
    send_calls(&p, p.t0 + 1);
    want_threshold(&p, 2.2);
    send_calls(&p, p.t0 + 2);
    check_all(&p);
    close_store(&p); /* replayed by a process that has another threshold, or none yet */
    open_store(&p);
    check_all(&p);
    want_threshold(&p, 2.2);
    check_all(&p);
    assert_int_equal(tsdb_flush(p.db, false, &msg), ERR_OK);
    check_all(&p);
    send_calls(&p, p.t0 + 2); /* late rows for a minute that is sealed */
    check(&p, "2200ms", p.t0 + 2, 220, 180, false);
    check(&p, "1100ms", p.t0 + 2, 0, 0, false);
    assert_int_equal(tsdb_flush(p.db, true, &msg), ERR_OK);
    check(&p, "2200ms", p.t0 + 2, 220, 180, false);
    check(&p, "1100ms", p.t0 + 1, 55, 145, true);
    close_store(&p);
    files_remove_tree(p.dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_threshold_is_counted_exactly_from_when_it_was_loaded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
