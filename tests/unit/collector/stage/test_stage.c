/* What is counted, line by line; the traps of double counting; and that the harness goes red when a rule is off. */
#include "helper_fixture.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static int run_file(const char *path, const char *mutate, bool quiet)
{
    struct fixture_file f = fixture_open(path);
    int wrong = 0, cases = 0;
    for (const struct json_node *n = f.cases; n; n = n->next, cases++)
        wrong += fixture_run_case(n, mutate, quiet);
    if (!quiet)
        print_message("%s: %d cases\n", path, cases);
    fixture_close(&f);
    assert_true(cases > 0);
    return wrong;
}

static void every_line_that_the_row_decides_matches_to_the_unit(void **state)
{
    assert_int_equal(run_file("semantics/rows.json", NULL, false), 0);
}

static void nothing_is_counted_twice(void **state)
{
    assert_int_equal(run_file("genai/traps.json", NULL, false), 0);
}

static void the_traps_catch_each_rule_that_is_switched_off(void **state)
{
    static const char *const rules[] = {"wrappers", "twins", "repeats", "leaf"};
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (run_file("genai/traps.json", rules[i], true) == 0)
            fail_msg("without \"%s\" every trap still passes", rules[i]);
}

/* A second process that only replays what the first one settled must settle what follows alike. */
static void replayed_batches_settle_what_follows_as_if_never_stopped(void **state)
{
    struct fixture_file f = fixture_open("genai/traps.json");
    for (const struct json_node *one = f.cases; one; one = one->next) {
        const struct json_node *batches = json_get(one, "batches");
        for (size_t cut = 0; cut < 4; cut++) {
            struct fixture_run whole, after;
            size_t i = 0;
            fixture_run_begin(&whole, one, NULL);
            fixture_run_begin(&after, one, NULL);
            stage_set_series(after.stage, NULL);
            for (const struct json_node *n = batches->child; n; n = n->next, i++) {
                fixture_run_batch(&whole, fixture_batch(n));
                if (i < cut) {
                    after.settler.replay(after.settler.ctx, whole.batches[i], ++after.seq, 1);
                    continue;
                }
                /* the cells of the remaining batches must be equal, number by number */
                stage_set_series(after.stage, whole.series);
                tsdb_registry_free(after.series == whole.series ? NULL : after.series);
                after.series = whole.series;
                fixture_run_batch(&after, fixture_batch(n));
                const struct tsdb_cells *a = &whole.batches[i]->cells,
                                        *b = &after.batches[after.batch_count - 1]->cells;
                assert_int_equal(a->count, b->count);
                for (uint32_t k = 0; k < a->count; k++) {
                    assert_int_equal(a->series[k].v, b->series[k].v);
                    assert_int_equal(a->minute[k], b->minute[k]);
                    assert_int_equal(a->add[k], b->add[k]);
                }
            }
            if (after.series == whole.series)
                after.series = NULL;
            fixture_run_end(&after);
            fixture_run_end(&whole);
        }
    }
    fixture_close(&f);
}

static const struct json_node *case_named(const struct fixture_file *f, const char *head)
{
    for (const struct json_node *n = f->cases; n; n = n->next)
        if (bytes_has_prefix(json_get_str(n, "case"), bytes_str(head)))
            return n;
    fail_msg("no case \"%s\"", head);
    return NULL;
}

static void an_undone_commit_leaves_no_trace(void **state)
{
    struct fixture_file f = fixture_open("genai/traps.json");
    const struct json_node *one = case_named(&f, "LiteLLM between");
    const struct json_node *sdk = json_get(one, "batches")->child, *gateway = sdk->next;
    struct fixture_run r;
    fixture_run_begin(&r, one, NULL);
    fixture_run_batch(&r, fixture_batch(sdk));
    struct tsdb_batch *lost = fixture_batch(gateway);
    assert_int_equal(stage_apply(r.stage, lost, NULL), ERR_OK);
    assert_int_equal(r.settler.settle(r.settler.ctx, lost, 2, 1), ERR_OK);
    r.settler.undo(r.settler.ctx, 2);
    tsdb_batch_free(lost); /* its memory is gone: nothing may point there */
    r.seq = 2;
    fixture_run_batch(&r, fixture_batch(gateway));
    assert_true(fixture_sum(&r, BYTES_LIT("llm_requests_total")) == 1);
    assert_true(fixture_sum(&r, BYTES_LIT("count llm_gateway_overhead_seconds")) == 1);
    fixture_run_end(&r);
    fixture_close(&f);
}

static void an_agent_row_waits_beyond_the_end_of_its_generation(void **state)
{
    struct fixture_file f = fixture_open("genai/traps.json");
    const struct json_node *one = case_named(&f, "Agent row alone: after");
    const struct json_node *agent = json_get(one, "batches")->child;
    struct fixture_run r;
    struct err_msg msg;
    fixture_run_begin(&r, one, NULL);
    struct tsdb_batch *b = fixture_batch(agent);
    assert_int_equal(stage_apply(r.stage, b, &msg), ERR_OK);
    assert_int_equal(r.settler.settle(r.settler.ctx, b, 1, 1), ERR_OK);
    r.settler.drop_generation(r.settler.ctx, 1);
    tsdb_batch_free(b);
    r.seq = 1;
    for (const struct json_node *n = agent->next; n; n = n->next)
        fixture_run_batch(&r, fixture_batch(n));
    assert_true(fixture_sum(&r, BYTES_LIT("llm_tokens_total{type=\"input\"}")) == 40);
    fixture_run_end(&r);
    fixture_close(&f);
}

static void a_histogram_cell_taken_back_leaves_zero(void **state)
{
    struct fixture_file f = fixture_open("genai/traps.json");
    const struct json_node *one = case_named(&f, "The same span sent twice, the second");
    struct fixture_run r;
    fixture_run_begin(&r, one, NULL);
    for (const struct json_node *n = json_get(one, "batches")->child; n; n = n->next)
        fixture_run_batch(&r, fixture_batch(n));
    const struct tsdb_cells *c = &r.batches[1]->cells;
    struct tsdb_hist sum = {0}, back;
    bool any = false, negative = false;
    for (uint32_t i = 0; i < c->count; i++) {
        if (!c->hist || !c->hist[i])
            continue;
        struct buf enc;
        buf_init(&enc, 0);
        tsdb_hist_encode(c->hist[i], &enc);
        struct reader rd = reader_of(buf_bytes(&enc));
        assert_int_equal(tsdb_hist_decode(&rd, r.batches[1]->arena, &back), ERR_OK);
        assert_true(tsdb_hist_equal_bits(&back, c->hist[i]));
        buf_done(&enc);
        negative = negative || back.count < 0;
        struct tsdb_hist next = back;
        if (any)
            assert_int_equal(tsdb_hist_add(&sum, &back, 1, r.batches[1]->arena, &next), ERR_OK);
        sum = next;
        any = true;
    }
    assert_true(any && negative);
    assert_true(sum.count == 0 && fabs(sum.sum) < 1e-12);
    fixture_run_end(&r);
    fixture_close(&f);
}

struct worker {
    struct stage *stage;
    const struct json_node *batch;
    struct tsdb_batch *last;
    int failed;
};

static void *apply_often(void *arg)
{
    struct worker *w = arg;
    for (int i = 0; i < 50; i++) {
        tsdb_batch_free(w->last);
        w->last = fixture_batch(w->batch);
        w->failed += stage_apply(w->stage, w->last, NULL) != ERR_OK;
    }
    return NULL;
}

static void many_threads_get_the_cells_that_one_gets(void **state)
{
    struct fixture_file f = fixture_open("semantics/rows.json");
    struct worker workers[4];
    pthread_t threads[4];
    struct fixture_run r;
    fixture_run_begin(&r, f.cases, NULL);
    for (size_t i = 0; i < 4; i++)
        workers[i] = (struct worker){r.stage, json_get(f.cases, "batches")->child, NULL, 0};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, apply_often, &workers[i]), 0);
    /* Objectives are loaded meanwhile; theirs is a family that this row has no cell in. */
    struct stage_threshold t = {BYTES_LIT("llm_user_request_duration_seconds"), 1};
    for (int i = 0; i < 20; i++) {
        t.le_seconds = 1 + i;
        assert_int_equal(stage_set_thresholds(r.stage, &t, 1, NULL), ERR_OK);
    }
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (size_t i = 0; i < 4; i++) {
        const struct tsdb_cells *a = &workers[0].last->cells, *b = &workers[i].last->cells;
        assert_int_equal(workers[i].failed, 0);
        assert_true(a->count > 5);
        assert_int_equal(a->count, b->count);
        for (uint32_t k = 0; k < a->count; k++)
            assert_true(a->series[k].v == b->series[k].v && a->add[k] == b->add[k]);
    }
    for (size_t i = 0; i < 4; i++)
        tsdb_batch_free(workers[i].last);
    fixture_run_end(&r);
    fixture_close(&f);
}

/* A sender that never changes its ids: one call books, and the time it takes stays in proportion. */
static void an_id_repeated_without_end_books_once(void **state)
{
    struct fixture_file f = fixture_open("genai/traps.json");
    const struct json_node *one = case_named(&f, "LiteLLM between");
    struct fixture_run r;
    fixture_run_begin(&r, one, NULL);
    for (int round = 0; round < 3; round++) {
        struct tsdb_batch *b = fixture_batch(json_get(one, "batches")->child);
        struct tsdb_spans *s = &b->spans;
        for (uint32_t i = 1; i < 5000; i++) {
            assert_int_equal(tsdb_batch_add_span(b), i);
            s->trace_id[i] = s->trace_id[0];
            s->span_id[i] = s->span_id[0];
            s->span_id[i].b[7] = (uint8_t)i;
            s->span_id[i].b[6] = (uint8_t)(i >> 8);
            s->parent_id[i] = s->parent_id[0];
            s->kind[i] = 3;
            s->name[i] = s->name[0];
            s->service[i] = s->service[0];
            s->attrs[i] = s->attrs[0];
            s->start_ns[i] = s->start_ns[0] + i + round * 10000;
            s->end_ns[i] = s->end_ns[0] + i + round * 10000;
        }
        fixture_run_batch(&r, b);
    }
    assert_true(fixture_sum(&r, BYTES_LIT("llm_requests_total")) == 1);
    assert_true(fixture_sum(&r, BYTES_LIT("llm_tokens_total{type=\"input\"}")) == 1000);
    fixture_run_end(&r);
    fixture_close(&f);
}

static void thresholds_are_checked_and_replace_each_other(void **state)
{
    struct stage *s;
    struct err_msg msg;
    struct stage_threshold t[] = {{BYTES_LIT("llm_request_duration_seconds"), 2},
                                  {BYTES_LIT("llm_nonsense"), 1}};
    assert_int_equal(stage_new(NULL, &s, &msg), ERR_OK);
    assert_int_equal(stage_set_thresholds(s, t, 1, &msg), ERR_OK);
    assert_int_equal(stage_set_thresholds(s, t, 2, &msg), ERR_INVALID);
    t[0].le_seconds = -1;
    assert_int_equal(stage_set_thresholds(s, t, 1, &msg), ERR_INVALID);
    struct stage_threshold many[STAGE_THRESHOLDS_MAX + 1];
    for (size_t i = 0; i <= STAGE_THRESHOLDS_MAX; i++)
        many[i] =
            (struct stage_threshold){BYTES_LIT("llm_request_duration_seconds"), 1.0 + (double)i};
    assert_int_equal(stage_set_thresholds(s, many, STAGE_THRESHOLDS_MAX + 1, &msg), ERR_LIMIT);
    stage_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_line_that_the_row_decides_matches_to_the_unit),
        cmocka_unit_test(nothing_is_counted_twice),
        cmocka_unit_test(the_traps_catch_each_rule_that_is_switched_off),
        cmocka_unit_test(replayed_batches_settle_what_follows_as_if_never_stopped),
        cmocka_unit_test(an_undone_commit_leaves_no_trace),
        cmocka_unit_test(an_agent_row_waits_beyond_the_end_of_its_generation),
        cmocka_unit_test(a_histogram_cell_taken_back_leaves_zero),
        cmocka_unit_test(many_threads_get_the_cells_that_one_gets),
        cmocka_unit_test(an_id_repeated_without_end_books_once),
        cmocka_unit_test(thresholds_are_checked_and_replace_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
