/* What the server alerts about itself: what Kafka lost, what may be stored twice, and invoices that differ; over a store, with a clock of the test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/stats.h"
#include "cli/serve_conditions.h"
#include "collector/genai/genai_invoice.h"
#include "collector/kafka/kafka_loss.h"
#include "collector/kafka/kafka_overlap.h"
#include "detectors/detectors.h"
#include "tsdb/files.h"

#define YEARS (100 * INT64_C(365) * 86400000)
#define T0_MS (INT64_C(29700000) * 60000 + 45000)
#define MINUTE_MS INT64_C(60000)

static struct {
    char dir[64];
    int64_t now_ms;
    struct tsdb *db;
    struct serve_conditions conditions;
    struct serve_grounding grounding; /* nothing is checked */
    struct serve_redact redact;
    struct stage *stage;
    struct detectors_receiver receiver;
    struct detectors *d;
} t;

static int64_t wall(void)
{
    return t.now_ms * 1000000;
}

static void server_start(void)
{
    struct tsdb_options o = {.dir = t.dir,
                             .retention_ms = YEARS,
                             .retention_content_ms = YEARS,
                             .retention_cells_ms = YEARS};
    struct serve_redact_options redact = {
        .is_enabled = true,
        .key = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"};
    struct stage_options stage = {0};
    struct err_msg msg = {""};
    struct buf errors = {0};
    if (stage_new(&stage, &t.stage, &msg) != ERR_OK)
        fail_msg("stage: %s", msg.text);
    if (tsdb_open(&o, &t.db, &msg) != ERR_OK)
        fail_msg("open: %s", msg.text);
    assert_int_equal(serve_redact_read(&t.redact, &redact, &errors), ERR_OK);
    assert_int_equal(
        serve_redact_start(&t.redact, &redact, t.dir, t.db, TSDB_ORG_DEFAULT, t.stage, &msg),
        ERR_OK);
    stage_set_series(t.stage, tsdb_series(t.db));
    serve_conditions_init(&t.conditions, t.db, TSDB_ORG_DEFAULT, &t.grounding, &t.redact);
    struct detectors_options d = {.db = t.db,
                                  .receivers = &t.receiver,
                                  .receiver_count = 1,
                                  .conditions = t.conditions.list,
                                  .condition_count = SERVE_CONDITIONS_COUNT};
    assert_int_equal(detectors_new(&d, &t.d, &errors), ERR_OK);
    buf_done(&errors);
}

static void server_stop(void)
{
    detectors_free(t.d);
    tsdb_close(t.db, false);
    stage_free(t.stage);
    serve_redact_done(&t.redact);
}

static int setup(void **state)
{
    (void)state;
    snprintf(t.dir, sizeof(t.dir), "%s/telltale-conditions-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    t.now_ms = T0_MS;
    t.receiver = (struct detectors_receiver){
        .name = "hook", .url = "http://127.0.0.1:9/", .allow_private = true};
    clock_test_set_wall(wall);
    if (!mkdtemp(t.dir))
        return -1;
    server_start();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    server_stop();
    clock_test_set_wall(NULL);
    files_remove_tree(t.dir);
    return 0;
}

static void rounds(unsigned minutes)
{
    for (unsigned i = 0; i < minutes; i++) {
        t.now_ms += MINUTE_MS;
        assert_int_equal(detectors_evaluate(t.d, t.now_ms), ERR_OK);
    }
}

static unsigned firing(const char *id, enum query_slo_severity severity)
{
    struct arena *a = arena_new(0);
    struct detectors_alert *list;
    size_t n = 0;
    unsigned hits = 0;
    assert_int_equal(detectors_alerts(t.d, a, &list, &n), ERR_OK);
    for (size_t i = 0; i < n; i++)
        hits += list[i].state == DETECTORS_FIRING && bytes_equal_str(list[i].slo_id, id) &&
                list[i].severity == severity;
    arena_free(a);
    return hits;
}

static unsigned told(const char *event, const char *word)
{
    struct arena *a = arena_new(0);
    struct detectors_outbox_row *rows;
    size_t n = 0;
    unsigned hits = 0;
    assert_int_equal(detectors_outbox(t.d, a, &rows, &n), ERR_OK);
    for (size_t i = 0; i < n; i++)
        hits += bytes_equal_str(rows[i].event, event) &&
                bytes_find(rows[i].body, bytes_str(word)) < rows[i].body.size;
    arena_free(a);
    return hits;
}

/* The reader's own is not part of this program. */
STATS_GAUGE(held, "telltale_kafka_held_partitions", "", "Partitions that are held.")

static void hold(int64_t partitions)
{
    stats_set(&held, partitions);
}

#define LOST "condition:kafka_lost"

static void what_kafka_lost_is_a_ticket_for_an_hour_through_a_restart(void **state)
{
    (void)state;
    rounds(2);
    assert_int_equal(firing(LOST, QUERY_SLO_TICKET), 0);
    kafka_loss_record(t.db, "orders", 3, 1000, 1234, false);
    kafka_loss_record(t.db, "orders", 4, 90, 10, true);
    rounds(3);
    assert_int_equal(firing(LOST, QUERY_SLO_TICKET), 1);
    assert_int_equal(told("firing", "234 removed before they were read "
                                    "(telltale_kafka_lost_messages_total), 1 times"),
                     1);
    assert_int_equal(told("firing", "docs/kafka.md"), 1);
    server_stop();
    server_start(); /* the counters are zero now, the loss is not */
    rounds(50);
    assert_int_equal(firing(LOST, QUERY_SLO_TICKET), 1);
    rounds(13);
    assert_int_equal(firing(LOST, QUERY_SLO_TICKET), 0);
    assert_int_equal(told("firing", LOST + 10), 1);
    assert_int_equal(told("resolved", LOST + 10), 1);
    kafka_loss_record(t.db, "orders", 3, 1000, 1234, false); /* the same again: known */
    rounds(2);
    assert_int_equal(firing(LOST, QUERY_SLO_TICKET), 0);
    kafka_loss_record(t.db, "orders", 3, 1234, 1240, false);
    rounds(2);
    assert_int_equal(firing(LOST, QUERY_SLO_TICKET), 1);
    assert_int_equal(told("firing", ": 6 removed"), 1);
}

static void losses_of_a_partition_less_than_an_hour_apart_are_added_up(void **state)
{
    (void)state;
    struct arena *a = arena_new(0);
    struct kafka_losses l;
    kafka_loss_record(t.db, "orders", 3, 100, 110, false);
    t.now_ms += 30 * MINUTE_MS;
    kafka_loss_record(t.db, "orders", 3, 200, 205, false);
    kafka_loss_record(t.db, "orders", 1, 7, 2, true);
    assert_int_equal(kafka_loss_since(t.db, T0_MS, a, &l), ERR_OK);
    assert_int_equal(l.messages, 15);
    assert_int_equal(l.resets, 1);
    assert_int_equal(l.partitions, 2);
    t.now_ms += 61 * MINUTE_MS;
    kafka_loss_record(t.db, "orders", 3, 300, 301, false);
    assert_int_equal(kafka_loss_since(t.db, t.now_ms - 1, a, &l), ERR_OK);
    assert_int_equal(l.messages, 1);
    assert_string_equal(l.place, "orders[3]");
    arena_free(a);
}

static void held_partitions_page_until_five_minutes_after_they_are_read_on(void **state)
{
    (void)state;
    kafka_loss_record(t.db, "orders", 3, 1000, 1234, false);
    rounds(1);
    assert_int_equal(firing(LOST, QUERY_SLO_TICKET), 1);
    hold(2);
    rounds(2);
    assert_int_equal(firing(LOST, QUERY_SLO_PAGE), 1);
    assert_int_equal(told("step-1", "2 partitions are held"), 1);
    rounds(120);
    hold(0); /* as a restart does, until the partitions are assigned again */
    server_stop();
    server_start();
    rounds(2);
    hold(2);
    rounds(10);
    assert_int_equal(firing(LOST, QUERY_SLO_PAGE), 1);
    hold(0);
    rounds(4);
    assert_int_equal(firing(LOST, QUERY_SLO_PAGE), 1);
    assert_int_equal(told("resolved", LOST + 10), 0);
    rounds(2);
    assert_int_equal(firing(LOST, QUERY_SLO_PAGE), 0);
    assert_int_equal(told("firing", LOST + 10) + told("step-1", LOST + 10), 2);
}

static void a_range_that_may_be_on_two_nodes_is_a_ticket_for_an_hour(void **state)
{
    (void)state;
    rounds(2);
    assert_true(kafka_overlap_record(t.db, "orders", 2, 10, 20, "crash", "0123456789abcdef"));
    rounds(2);
    assert_int_equal(firing("condition:kafka_overlap", QUERY_SLO_TICKET), 1);
    assert_int_equal(told("firing", "orders[2] from 10 to 19 (crash)"), 1);
    server_stop();
    server_start();
    rounds(30);
    assert_int_equal(firing("condition:kafka_overlap", QUERY_SLO_TICKET), 1);
    assert_false(kafka_overlap_record(t.db, "orders", 2, 10, 20, "crash", "0123456789abcdef"));
    rounds(30);
    assert_int_equal(firing("condition:kafka_overlap", QUERY_SLO_TICKET), 0);
    assert_int_equal(told("firing", "kafka_overlap"), 1);
    assert_int_equal(told("resolved", "kafka_overlap"), 1);
    assert_true(kafka_overlap_record(t.db, "orders", 2, 30, -1, "takeover", "0123456789abcdef"));
    rounds(1);
    assert_int_equal(firing("condition:kafka_overlap", QUERY_SLO_TICKET), 1);
}

static void reconcile(const char *provider, double ratio)
{
    struct err_msg msg = {""};
    t.now_ms++;
    if (genai_invoice_keep(t.db, TSDB_ORG_DEFAULT, t.now_ms, BYTES_LIT("{}"), provider, ratio,
                           &msg) != ERR_OK)
        fail_msg("%s", msg.text);
}

static void an_invoice_that_differs_is_a_ticket_until_a_newer_one_does_not(void **state)
{
    (void)state;
    reconcile("openai", 0.005); /* within */
    reconcile("anthropic", 0.0049);
    rounds(2);
    assert_int_equal(firing("condition:invoice_residue/openai", QUERY_SLO_TICKET), 0);
    reconcile("openai", 0.0123);
    rounds(2);
    assert_int_equal(firing("condition:invoice_residue/openai", QUERY_SLO_TICKET), 1);
    assert_int_equal(firing("condition:invoice_residue/anthropic", QUERY_SLO_TICKET), 0);
    assert_int_equal(
        told("firing", "The invoice of openai differs from what was counted by 1.23 %"), 1);
    server_stop();
    server_start();
    t.now_ms += 24 * 60 * MINUTE_MS; /* time alone does not mend it */
    rounds(2);
    assert_int_equal(firing("condition:invoice_residue/openai", QUERY_SLO_TICKET), 1);
    reconcile("openai", -1); /* nothing was billed: it says nothing */
    reconcile("anthropic", 0.3);
    rounds(1);
    assert_int_equal(firing("condition:invoice_residue/openai", QUERY_SLO_TICKET), 1);
    assert_int_equal(firing("condition:invoice_residue/anthropic", QUERY_SLO_TICKET), 1);
    reconcile("openai", 0.001);
    rounds(1);
    assert_int_equal(firing("condition:invoice_residue/openai", QUERY_SLO_TICKET), 0);
    assert_int_equal(firing("condition:invoice_residue/anthropic", QUERY_SLO_TICKET), 1);
    assert_int_equal(told("firing", "\"subject\":\"openai\""), 1);
    assert_int_equal(told("resolved", "\"subject\":\"openai\""), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* One row, as a decoder gives it, through the stage and into the store. */
static void answer_with(const char *key, const char *text)
{
    struct tsdb_batch *b = tsdb_batch_new(TSDB_ORG_DEFAULT, TSDB_SPANS, 0);
    struct buf attrs = {0};
    struct tsdb_result r;
    struct err_msg msg;
    uint32_t row = tsdb_batch_add_span(b);
    tsdb_attrs_put_str(&attrs, bytes_str(key), bytes_str(text));
    b->spans.trace_id[row].b[0] = b->spans.span_id[row].b[0] = 1;
    b->spans.start_ns[row] = b->spans.end_ns[row] = t.now_ms * 1000000;
    b->spans.service[row] = BYTES_LIT("hotel");
    b->spans.attrs[row] = arena_copy(b->arena, buf_bytes(&attrs));
    b->received = 1;
    assert_int_equal(stage_apply(t.stage, b, &msg), ERR_OK);
    assert_int_equal(tsdb_append_wait(t.db, b, &r), ERR_OK);
    buf_done(&attrs);
}

#define LEAK "condition:sensitive_output/card in answers of hotel"

static void what_a_model_lets_out_pages_for_an_hour_and_what_people_ask_does_not(void **state)
{
    (void)state;
    answer_with("gen_ai.prompt", "charge card 4012888888881881");
    answer_with("gen_ai.completion", "write to anna@example.com");
    rounds(1);
    assert_int_equal(told("firing", "sensitive_output"), 0);
    answer_with("gen_ai.completion", "your card is 4012888888881881");
    rounds(1);
    assert_int_equal(firing(LEAK, QUERY_SLO_PAGE), 1);
    assert_int_equal(told("firing", "1 times card since"), 1);
    assert_int_equal(told("firing", "4012888888881881"), 0);
    rounds(58);
    assert_int_equal(firing(LEAK, QUERY_SLO_PAGE), 1);
    rounds(4);
    assert_int_equal(firing(LEAK, QUERY_SLO_PAGE), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_kafka_lost_is_a_ticket_for_an_hour_through_a_restart),
        TEST(losses_of_a_partition_less_than_an_hour_apart_are_added_up),
        TEST(held_partitions_page_until_five_minutes_after_they_are_read_on),
        TEST(a_range_that_may_be_on_two_nodes_is_a_ticket_for_an_hour),
        TEST(an_invoice_that_differs_is_a_ticket_until_a_newer_one_does_not),
        TEST(what_a_model_lets_out_pages_for_an_hour_and_what_people_ask_does_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
