/* The reader against a cluster of librdkafka's own making, in this process: each message once, through restarts, failed commits, poison and
 * logs that lose their beginning or are made anew. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/stats.h"
#include "collector/kafka/kafka.h"
#include "collector/kafka/kafka_loss.h"
#include "collector/kafka/kafka_message.h"
#include "collector/kafka/kafka_overlap.h"
#include "collector/redact/redact.h"
#include "otlp.pb-c.h"
#include "tsdb/files.h"
#include "tsdb/lmdb_env.h"
#include "tsdb/tsdb_attrs.h"
#include "tsdb/tsdb_read.h"
#include "tsdb/tsdb_state.h"

#define TOPIC "otlp_spans"
#define PARTITIONS 4
#define PATIENCE_MS 60000
#define YEARS (100 * INT64_C(365) * 86400000)

static struct {
    char dir[64];
    rd_kafka_t *producer;
    rd_kafka_mock_cluster_t *cluster;
    struct tsdb *db;
    struct kafka *kafka;
    uint64_t sent; /* ids below are there */
    uint64_t memory_limit; /* of the store; 0: the usual one */
    size_t name_size; /* of each span; 0: short */
    const char *const *headers; /* that are asked for */
    size_t header_count;
    bool stop_on_loss;
} t;

static void open_store(void)
{
    struct tsdb_options o = {.dir = t.dir,
                             .memory_limit_bytes = t.memory_limit,
                             .retention_ms = YEARS,
                             .retention_content_ms = YEARS,
                             .retention_cells_ms = YEARS};
    struct err_msg msg = {""};
    if (tsdb_open(&o, &t.db, &msg) != ERR_OK)
        fail_msg("open: %s", msg.text);
}

/* As kcat -F takes them. The cluster of this process forgets a member that has left only when its session is over. */
static const char *properties(void)
{
    static char path[96];
    snprintf(path, sizeof(path), "%s.properties", t.dir);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    fputs("session.timeout.ms=6000\n", f);
    (void)fclose(f);
    return path;
}

static void read_on(const char *group, const char *const *partitions, size_t n)
{
    struct kafka_options o = {.db = t.db,
                              .brokers = rd_kafka_mock_cluster_bootstraps(t.cluster),
                              .group = group,
                              .config_file = properties(),
                              .partitions = partitions,
                              .partition_count = n,
                              .headers = t.headers,
                              .header_count = t.header_count,
                              .stop_on_loss = t.stop_on_loss};
    struct err_msg msg = {""};
    if (kafka_new(&o, &t.kafka, &msg) != ERR_OK)
        fail_msg("kafka: %s", msg.text);
}

static void stop_reading(void)
{
    kafka_free(t.kafka);
    t.kafka = NULL;
}

static bool make_cluster(void)
{
    char why[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "client.id", "test", why, sizeof(why));
    t.producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof(why));
    t.cluster = t.producer ? rd_kafka_mock_cluster_new(t.producer, 1) : NULL;
    if (!t.cluster ||
        rd_kafka_brokers_add(t.producer, rd_kafka_mock_cluster_bootstraps(t.cluster)) < 1)
        return false;
    rd_kafka_mock_topic_create(t.cluster, TOPIC, PARTITIONS, 1);
    rd_kafka_mock_topic_create(t.cluster, "otlp_metrics", 1, 1);
    rd_kafka_mock_topic_create(t.cluster, "otlp_logs", 1, 1);
    rd_kafka_mock_topic_create(t.cluster, "llm.token.events", 1, 1);
    return true;
}

static int setup(void **state)
{
    (void)state;
    memset(&t, 0, sizeof(t));
    snprintf(t.dir, sizeof(t.dir), "%s/telltale-kafka-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(t.dir))
        return -1;
    if (!make_cluster())
        return -1;
    open_store();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    lmdb_env_fail_at(0);
    stop_reading();
    tsdb_close(t.db, false);
    rd_kafka_mock_cluster_destroy(t.cluster);
    rd_kafka_destroy(t.producer);
    files_remove_tree(t.dir);
    (void)unlink(properties());
    return 0;
}

/* --- what is sent -------------------------------------------------------------------------------- */

static void produce(int32_t partition, const void *value, size_t size)
{
    rd_kafka_resp_err_t e =
        rd_kafka_producev(t.producer, RD_KAFKA_V_TOPIC(TOPIC), RD_KAFKA_V_PARTITION(partition),
                          RD_KAFKA_V_VALUE((void *)(uintptr_t)value, size),
                          RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END);
    assert_int_equal(e, RD_KAFKA_RESP_ERR_NO_ERROR);
}

/* One span a message; its id says which it is. */
static void send_span(int32_t partition)
{
    static char name[16384];
    static uint8_t text[sizeof(name) + 256];
    uint8_t trace[16] = {1}, span[8];
    uint64_t id = ++t.sent;
    for (unsigned i = 0; i < 8; i++)
        trace[8 + i] = span[i] = (uint8_t)(id >> (8 * (7 - i)));
    Otlp__Span s = OTLP__SPAN__INIT, *spans[] = {&s};
    s.trace_id = (ProtobufCBinaryData){16, trace};
    s.span_id = (ProtobufCBinaryData){8, span};
    memset(name, 'a' + (int)(id % 26), sizeof(name));
    name[t.name_size ? t.name_size : 4] = 0;
    s.name = name;
    s.start_time_unix_nano = (uint64_t)clock_wall_ns();
    s.end_time_unix_nano = s.start_time_unix_nano + 1000;
    Otlp__ScopeSpans scope = OTLP__SCOPE_SPANS__INIT, *scopes[] = {&scope};
    scope.n_spans = 1;
    scope.spans = spans;
    Otlp__ResourceSpans resource = OTLP__RESOURCE_SPANS__INIT, *resources[] = {&resource};
    resource.n_scope_spans = 1;
    resource.scope_spans = scopes;
    Otlp__ExportTraceServiceRequest request = OTLP__EXPORT_TRACE_SERVICE_REQUEST__INIT;
    request.n_resource_spans = 1;
    request.resource_spans = resources;
    size_t n = protobuf_c_message_pack(&request.base, text);
    assert_true(n <= sizeof(text));
    produce(partition, text, n);
}

static void send_spans(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        send_span((int32_t)(i % PARTITIONS));
    assert_int_equal(rd_kafka_flush(t.producer, PATIENCE_MS), RD_KAFKA_RESP_ERR_NO_ERROR);
}

/* --- what is there ------------------------------------------------------------------------------- */

/* Counts into times what is in a store. */
static void add_times(struct tsdb *db, uint8_t *times)
{
    struct arena *a = arena_new(0);
    struct tsdb_view *v;
    struct tsdb_spans spans = {0};
    struct tsdb_span_filter all = {.start_max_ns = INT64_MAX};
    assert_int_equal(tsdb_view_open(db, TSDB_ORG_DEFAULT, NULL, &v), ERR_OK);
    assert_int_equal(tsdb_span_scan(v, &all, 1u << 20, a, &spans), ERR_OK);
    for (uint32_t i = 0; i < spans.count; i++) {
        uint64_t id = bytes_u64be(spans.span_id[i].b);
        assert_true(id >= 1 && id <= t.sent);
        times[id]++;
    }
    tsdb_view_close(v);
    arena_free(a);
}

/* Waits until as many spans are there as were sent, looks a little longer, and wants each once. */
static void each_is_there_once(void)
{
    uint64_t n = 0;
    for (int64_t end = clock_mono_ns() + PATIENCE_MS * INT64_C(1000000);
         n < t.sent && clock_mono_ns() < end; clock_sleep_ms(5))
        assert_int_equal(tsdb_count(t.db, TSDB_ORG_DEFAULT, TSDB_SPANS, &n), ERR_OK);
    clock_sleep_ms(50);
    uint8_t *times = calloc(t.sent + 1, 1);
    add_times(t.db, times);
    for (uint64_t id = 1; id <= t.sent; id++)
        assert_int_equal(times[id], 1);
    free(times);
}

static int64_t place(uint32_t partition)
{
    struct tsdb_position at;
    return tsdb_position_of(t.db, BYTES_LIT(TOPIC), partition, &at) == ERR_OK ? at.next : -1;
}

/* --- tests --------------------------------------------------------------------------------------- */

static void each_message_is_stored_once_through_restarts_and_groups(void **state)
{
    (void)state;
    read_on("a", NULL, 0);
    send_spans(200);
    each_is_there_once();
    stop_reading();
    send_spans(100);
    tsdb_close(t.db, true);
    open_store();
    read_on("a", NULL, 0);
    each_is_there_once();
    stop_reading();
    read_on("b", NULL, 0); /* a group that was never there: the store knows better */
    send_spans(40);
    each_is_there_once();
    for (uint32_t i = 0; i < PARTITIONS; i++)
        assert_int_equal(place(i), t.sent / PARTITIONS);
}

static uint64_t count_of(struct tsdb *db)
{
    uint64_t n = 0;
    assert_int_equal(tsdb_count(db, TSDB_ORG_DEFAULT, TSDB_SPANS, &n), ERR_OK);
    return n;
}

static int64_t counted;

static void add_counter(void *name, const struct stats_value *v)
{
    if (strcmp(v->name, name) == 0)
        counted += stats_get(v);
}

static int64_t counter(const char *name)
{
    counted = 0;
    stats_each(add_counter, (void *)(uintptr_t)name);
    return counted;
}

static void two_nodes_of_a_group_share_a_topic_and_hand_partitions_over(void **state)
{
    (void)state;
    read_on("a", NULL, 0);
    send_spans(40);
    each_is_there_once();
    struct tsdb *first_db = t.db;
    struct kafka *first = t.kafka;
    char first_dir[sizeof(t.dir)];
    memcpy(first_dir, t.dir, sizeof(t.dir));
    snprintf(t.dir, sizeof(t.dir), "%.40s-2", first_dir);
    open_store();
    read_on("a", NULL, 0);
    for (int64_t end = clock_mono_ns() + PATIENCE_MS * INT64_C(1000000);
         count_of(t.db) == 0 && clock_mono_ns() < end; clock_sleep_ms(20))
        send_spans(4); /* until the second has got its share */
    uint64_t before = count_of(first_db);
    kafka_free(first); /* and then the second has all */
    send_spans(40);
    assert_true(before > 0);
    static uint8_t times[1u << 16];
    uint64_t once = 0, twice = 0;
    assert_true(t.sent < sizeof(times));
    for (int64_t end = clock_mono_ns() + PATIENCE_MS * INT64_C(1000000);
         once + twice < t.sent && clock_mono_ns() < end; clock_sleep_ms(20)) {
        once = twice = 0;
        memset(times, 0, sizeof(times));
        add_times(first_db, times);
        add_times(t.db, times);
        for (uint64_t id = 1; id <= t.sent; id++) {
            once += times[id] == 1;
            twice += times[id] == 2;
        }
    }
    assert_int_equal(once + twice, t.sent);
    /* This cluster refuses offsets while members come; what it was not told is recorded. */
    assert_true(twice <= (uint64_t)counter("telltale_kafka_handover_repeats_total"));
    tsdb_close(first_db, false);
    files_remove_tree(first_dir);
}

static void fixed_partitions_are_read_and_no_others(void **state)
{
    (void)state;
    const char *const mine[] = {TOPIC ":0-1", TOPIC ":3"};
    read_on("a", mine, ARRAY_LEN(mine));
    send_spans(40);
    uint64_t n = 0;
    for (int64_t end = clock_mono_ns() + PATIENCE_MS * INT64_C(1000000);
         n < 30 && clock_mono_ns() < end; clock_sleep_ms(5))
        assert_int_equal(tsdb_count(t.db, TSDB_ORG_DEFAULT, TSDB_SPANS, &n), ERR_OK);
    clock_sleep_ms(200);
    assert_int_equal(tsdb_count(t.db, TSDB_ORG_DEFAULT, TSDB_SPANS, &n), ERR_OK);
    assert_int_equal(n, 30);
    assert_int_equal(place(2), -1);
    stop_reading();
    const char *const all[] = {TOPIC ":0-3"};
    read_on("a", all, 1);
    each_is_there_once();
}

static void commits_that_fail_are_read_again(void **state)
{
    (void)state;
    read_on("a", NULL, 0);
    send_spans(40);
    each_is_there_once();
    lmdb_env_fault_is(LMDB_ENV_FAIL);
    for (unsigned i = 0; i < 5; i++) {
        lmdb_env_fail_at(1 + i % 3);
        send_spans(80);
        clock_sleep_ms(20);
    }
    lmdb_env_fail_at(0);
    each_is_there_once();
}

static void a_store_without_room_is_waited_for(void **state)
{
    (void)state;
    tsdb_close(t.db, false);
    t.memory_limit = 2u << 20;
    t.name_size = 8000;
    open_store();
    int64_t before = counter("telltale_kafka_pauses_total");
    read_on("a", NULL, 0);
    for (unsigned i = 0; i < 10; i++)
        send_spans(120);
    each_is_there_once();
    assert_true(counter("telltale_kafka_pauses_total") > before);
    t.name_size = 0; /* and goes on, from all partitions */
    send_spans(40);
    each_is_there_once();
}

static void poison_is_kept_and_the_partition_moves_on(void **state)
{
    (void)state;
    static const char broken[] = "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", json[] = "{\"a\":";
    read_on("a", NULL, 0);
    send_spans(4);
    produce(0, broken, sizeof(broken) - 1);
    produce(0, json, sizeof(json) - 1);
    produce(0, NULL, 0); /* a tombstone: nothing to store, nothing wrong */
    send_spans(4);
    each_is_there_once();
    assert_int_equal(place(0), 5);
    struct arena *a = arena_new(0);
    struct tsdb_view *v;
    struct tsdb_logs logs = {0};
    struct tsdb_log_filter f = {.max_ns = INT64_MAX, .service = BYTES_LIT("telltale.kafka")};
    assert_int_equal(tsdb_view_open(t.db, TSDB_ORG_DEFAULT, NULL, &v), ERR_OK);
    assert_int_equal(tsdb_log_scan(v, &f, 100, a, &logs), ERR_OK);
    assert_int_equal(logs.count, 2);
    unsigned seen = 0;
    for (uint32_t i = 0; i < logs.count; i++) {
        struct tsdb_value offset, payload;
        assert_true(tsdb_attrs_find(logs.attrs[i], BYTES_LIT("messaging.kafka.offset"), &offset));
        assert_true(
            tsdb_attrs_find(logs.attrs[i], BYTES_LIT("telltale.quarantine.payload"), &payload));
        seen |= 1u << offset.integer;
        if (offset.integer == 1)
            assert_true(bytes_equal(payload.bytes, bytes_of(broken, sizeof(broken) - 1)));
    }
    assert_int_equal(seen, 6); /* 1 and 2 */
    tsdb_view_close(v);
    arena_free(a);
}

static void poison_is_kept_without_its_secrets(void **state)
{
    (void)state;
    static const char broken[] = "{\"a\":\"sk-proj-0aB1cD2eF3gH4iJ5kL6mN7oP8qR9sT0uV1wX2yZ3\",";
    struct kafka_message m = {.topic = "spans",
                              .org = TSDB_ORG_DEFAULT,
                              .signal = TSDB_SPANS,
                              .value = bytes_of(broken, sizeof(broken) - 1)};
    struct kafka_poison poison = {0};
    struct stage_options o = {0};
    struct stage *stage;
    struct redact *rules;
    struct tsdb_batch *b;
    struct tsdb_value payload;
    struct buf errors = {0};
    struct err_msg msg;
    bool is_poison = false;
    assert_int_equal(stage_new(&o, &stage, &msg), ERR_OK);
    assert_int_equal(redact_new(NULL, &rules, &errors), ERR_OK);
    stage_set_redact(stage, rules);
    assert_int_equal(kafka_message_batch(&m, t.db, stage, &poison, &b, &is_poison), ERR_OK);
    assert_true(is_poison);
    assert_true(
        tsdb_attrs_find(b->logs.attrs[0], BYTES_LIT("telltale.quarantine.payload"), &payload));
    assert_int_equal(payload.bytes.size, sizeof(broken) - 1);
    assert_int_equal(bytes_find(payload.bytes, BYTES_LIT("{\"a\":\"***")), 0);
    assert_int_equal(bytes_find(payload.bytes, BYTES_LIT("0aB1cD")), payload.bytes.size);
    tsdb_batch_free(b);
    stage_free(stage);
    redact_free(rules);
}

static void options_that_are_wrong_are_named(void **state)
{
    (void)state;
    static const char *const topics[] = {"spans", "a=traces", "=spans", "a=spans@0", "a=spans@x"};
    static const char *const partitions[] = {"otlp_spans", "otlp_spans:", "otlp_spans:3-1",
                                             "other:1", "otlp_spans:1-99999"};
    struct err_msg msg;
    struct kafka_options o = {.db = t.db, .brokers = "127.0.0.1:1"};
    assert_int_equal(kafka_check(&o, &msg), ERR_OK);
    for (size_t i = 0; i < ARRAY_LEN(topics); i++) {
        o = (struct kafka_options){.brokers = "h:1", .topics = &topics[i], .topic_count = 1};
        assert_int_equal(kafka_check(&o, &msg), ERR_INVALID);
        assert_non_null(strstr(msg.text, "kafka.topics"));
    }
    for (size_t i = 0; i < ARRAY_LEN(partitions); i++) {
        o = (struct kafka_options){
            .brokers = "h:1", .partitions = &partitions[i], .partition_count = 1};
        assert_int_equal(kafka_check(&o, &msg), ERR_INVALID);
        assert_non_null(strstr(msg.text, "kafka.partitions"));
    }
    char path[96];
    snprintf(path, sizeof(path), "%s/kafka.properties", t.dir);
    static const char *const lines[] = {"no.such.thing=1", "enable.auto.commit=true", "sasl"};
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        FILE *f = fopen(path, "we");
        assert_non_null(f);
        fprintf(f, "# a comment\n\n%s\n", lines[i]);
        (void)fclose(f);
        o = (struct kafka_options){.brokers = "h:1", .config_file = path};
        assert_int_equal(kafka_check(&o, &msg), ERR_INVALID);
        assert_non_null(strstr(msg.text, "kafka.properties:3"));
    }
}

static enum err check_access(const char *mechanism, const char *password, const char *ca,
                             struct err_msg *msg)
{
    struct kafka_options o = {.brokers = "h:1",
                              .tls_ca = ca,
                              .sasl_mechanism = mechanism,
                              .sasl_user = mechanism ? "somebody" : NULL,
                              .sasl_password_file = password};
    *msg = (struct err_msg){""};
    return kafka_check(&o, msg);
}

static void how_the_brokers_are_to_be_met_is_checked_and_the_password_never_told(void **state)
{
    (void)state;
    struct err_msg msg;
    char path[96], none[112];
    snprintf(path, sizeof(path), "%s/password", t.dir);
    snprintf(none, sizeof(none), "%s/no-such", t.dir);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    fputs("a secret\nmore\n", f);
    (void)fclose(f);
    assert_int_equal(check_access("SCRAM-SHA-512", path, NULL, &msg), ERR_OK);
    assert_int_equal(check_access("PLAIN", path, path, &msg), ERR_OK);
    assert_int_equal(check_access(NULL, NULL, path, &msg), ERR_OK);
    assert_int_equal(check_access("GSSAPI", path, NULL, &msg), ERR_INVALID);
    assert_non_null(strstr(msg.text, "kafka.sasl.mechanism: 'GSSAPI' is not valid"));
    assert_null(strstr(msg.text, "secret"));
    assert_int_equal(check_access("PLAIN", NULL, NULL, &msg), ERR_INVALID);
    assert_non_null(strstr(msg.text, "kafka.sasl: give mechanism, user and password_file"));
    assert_int_equal(check_access(NULL, path, NULL, &msg), ERR_INVALID);
    assert_int_equal(check_access("PLAIN", none, NULL, &msg), ERR_INVALID);
    assert_non_null(strstr(msg.text, "kafka.sasl.password_file: "));
    assert_int_equal(check_access("PLAIN", "/dev/null", NULL, &msg), ERR_INVALID);
    assert_non_null(strstr(msg.text, "is empty"));
    assert_int_equal(check_access(NULL, NULL, none, &msg), ERR_INVALID);
    assert_non_null(strstr(msg.text, "kafka.tls.ca: "));
}

/* --- what Kafka itself loses ----------------------------------------------------------------------- */

/* Another cluster, empty, with topics of the same names. */
static void make_anew(void)
{
    rd_kafka_mock_cluster_destroy(t.cluster);
    rd_kafka_destroy(t.producer);
    assert_true(make_cluster());
}

static uint64_t count_now(void)
{
    uint64_t n = 0;
    assert_int_equal(tsdb_count(t.db, TSDB_ORG_DEFAULT, TSDB_SPANS, &n), ERR_OK);
    return n;
}

static void a_topic_made_anew_is_noticed_though_it_has_grown_past_what_was_read(void **state)
{
    (void)state;
    int64_t before = counter("telltale_kafka_resets_total");
    read_on("a", NULL, 0);
    send_spans(40);
    each_is_there_once();
    stop_reading();
    make_anew();
    send_spans(200);
    read_on("a", NULL, 0);
    each_is_there_once();
    assert_int_equal(counter("telltale_kafka_resets_total"), before + PARTITIONS);
    struct arena *a = arena_new(0);
    struct kafka_losses losses;
    assert_int_equal(kafka_loss_since(t.db, 0, a, &losses), ERR_OK);
    assert_int_equal(losses.resets, PARTITIONS); /* durable, too */
    assert_int_equal(losses.partitions, PARTITIONS);
    arena_free(a);
    stop_reading(); /* and when it is the same, it is not */
    send_spans(20);
    read_on("a", NULL, 0);
    each_is_there_once();
    assert_int_equal(counter("telltale_kafka_resets_total"), before + PARTITIONS);
}

static void a_topic_made_anew_is_held_where_the_operator_wants_to_look_first(void **state)
{
    (void)state;
    int64_t before = counter("telltale_kafka_held_partitions");
    read_on("a", NULL, 0);
    send_spans(40);
    each_is_there_once();
    stop_reading();
    make_anew();
    send_spans(200);
    t.stop_on_loss = true;
    read_on("a", NULL, 0);
    for (int64_t end = clock_mono_ns() + PATIENCE_MS * INT64_C(1000000);
         counter("telltale_kafka_held_partitions") < before + PARTITIONS && clock_mono_ns() < end;
         clock_sleep_ms(5)) {
    }
    assert_int_equal(counter("telltale_kafka_held_partitions"), before + PARTITIONS);
    clock_sleep_ms(200);
    assert_int_equal(count_now(), 40);
    stop_reading();
    assert_int_equal(counter("telltale_kafka_held_partitions"), before);
    t.stop_on_loss = false;
    read_on("a", NULL, 0);
    each_is_there_once();
}

/* --- token events ------------------------------------------------------------------------------------ */

static void send_to(const char *topic, const void *value, size_t size)
{
    rd_kafka_resp_err_t e =
        rd_kafka_producev(t.producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(0),
                          RD_KAFKA_V_VALUE((void *)(uintptr_t)value, size),
                          RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END);
    assert_int_equal(e, RD_KAFKA_RESP_ERR_NO_ERROR);
}

static uint64_t tokens_stored(uint64_t *received)
{
    struct tsdb_account accounts[16];
    size_t n = tsdb_accounts(t.db, accounts, ARRAY_LEN(accounts));
    for (size_t i = 0; i < n && i < ARRAY_LEN(accounts); i++)
        if (accounts[i].signal == TSDB_TOKENS) {
            *received = accounts[i].received;
            return accounts[i].stored;
        }
    return *received = 0;
}

/* A message an event, with poison among them: batches are closed before it, and nothing is counted twice. */
static void token_events_are_gathered_and_each_is_taken_once(void **state)
{
    (void)state;
    enum { EVENTS = 3000, POISON = 7 };
    uint64_t received, commits, stored = 0;
    struct tsdb_status status;
    tsdb_status_get(t.db, &status);
    commits = status.commits;
    for (int i = 0; i < EVENTS; i++) {
        char text[256];
        int n = snprintf(text, sizeof(text),
                         "{\"request_id\":\"r%d\",\"time_unix_nano\":\"%lld\",\"kind\":\"chunk\","
                         "\"tokens\":1}",
                         i % 50, (long long)clock_wall_ns());
        send_to("llm.token.events", text, (size_t)n);
        if (i % (EVENTS / POISON) == 0 && i)
            send_to("llm.token.events", "{\"tokens\":", 10);
    }
    assert_int_equal(rd_kafka_flush(t.producer, PATIENCE_MS), RD_KAFKA_RESP_ERR_NO_ERROR);
    read_on("a", NULL, 0);
    for (int64_t end = clock_mono_ns() + PATIENCE_MS * INT64_C(1000000);
         stored < EVENTS && clock_mono_ns() < end; clock_sleep_ms(5))
        stored = tokens_stored(&received);
    clock_sleep_ms(100);
    assert_int_equal(tokens_stored(&received), EVENTS);
    assert_int_equal(received, EVENTS);
    uint64_t logs = 0;
    assert_int_equal(tsdb_count(t.db, TSDB_ORG_DEFAULT, TSDB_LOGS, &logs), ERR_OK);
    assert_int_equal(logs, POISON);
    tsdb_status_get(t.db, &status);
    assert_true(status.commits - commits < EVENTS / 4);
    struct tsdb_position at;
    assert_int_equal(tsdb_position_of(t.db, BYTES_LIT("llm.token.events"), 0, &at), ERR_OK);
    assert_int_equal(at.next, EVENTS + POISON);
    stop_reading();
    read_on("b", NULL, 0); /* from the store's place: nothing comes twice */
    clock_sleep_ms(300);
    assert_int_equal(tokens_stored(&received), EVENTS);
    assert_int_equal(received, EVENTS);
}

/* --- headers --------------------------------------------------------------------------------------- */

static void headers_that_are_asked_for_become_attributes_of_the_resource(void **state)
{
    (void)state;
    static const char span[] =
        "{\"resourceSpans\":[{\"resource\":{\"attributes\":[{\"key\":\"a\",\"value\":{"
        "\"stringValue\":\"b\"}}]},\"scopeSpans\":[{\"spans\":[{\"traceId\":"
        "\"0102030405060708090a0b0c0d0e0f10\",\"spanId\":\"0102030405060708\",\"name\":\"x\","
        "\"startTimeUnixNano\":\"%lld\",\"endTimeUnixNano\":\"%lld\"}]}]}]}";
    char text[sizeof(span) + 64];
    long long now = clock_wall_ns();
    snprintf(text, sizeof(text), span, now, now + 1000);
    static const char *const wanted[] = {"team", "raw", "absent"};
    t.headers = wanted;
    t.header_count = ARRAY_LEN(wanted);
    rd_kafka_resp_err_t e = rd_kafka_producev(
        t.producer, RD_KAFKA_V_TOPIC(TOPIC), RD_KAFKA_V_PARTITION(0),
        RD_KAFKA_V_VALUE(text, strlen(text)), RD_KAFKA_V_HEADER("team", "search", 6),
        RD_KAFKA_V_HEADER("raw", "\xff\x00\x01", 3), RD_KAFKA_V_HEADER("other", "no", 2),
        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END);
    assert_int_equal(e, RD_KAFKA_RESP_ERR_NO_ERROR);
    assert_int_equal(rd_kafka_flush(t.producer, PATIENCE_MS), RD_KAFKA_RESP_ERR_NO_ERROR);
    read_on("a", NULL, 0);
    struct arena *a = arena_new(0);
    struct tsdb_view *v = NULL;
    struct tsdb_spans spans = {0};
    struct tsdb_span_filter all = {.start_max_ns = INT64_MAX};
    struct tsdb_value value;
    for (int64_t end = clock_mono_ns() + PATIENCE_MS * INT64_C(1000000);
         spans.count < 1 && clock_mono_ns() < end; clock_sleep_ms(5)) {
        if (v)
            tsdb_view_close(v);
        assert_int_equal(tsdb_view_open(t.db, TSDB_ORG_DEFAULT, NULL, &v), ERR_OK);
        assert_int_equal(tsdb_span_scan(v, &all, 10, a, &spans), ERR_OK);
    }
    assert_int_equal(spans.count, 1);
    struct bytes attrs = spans.resource_attrs[0];
    assert_true(tsdb_attrs_find(attrs, BYTES_LIT("a"), &value));
    assert_true(tsdb_attrs_find(attrs, BYTES_LIT("kafka.header.team"), &value));
    assert_int_equal(value.type, TSDB_VALUE_STRING);
    assert_true(bytes_equal(value.bytes, BYTES_LIT("search")));
    assert_true(tsdb_attrs_find(attrs, BYTES_LIT("kafka.header.raw"), &value));
    assert_int_equal(value.type, TSDB_VALUE_BYTES);
    assert_int_equal(value.bytes.size, 3);
    assert_false(tsdb_attrs_find(attrs, BYTES_LIT("kafka.header.other"), &value));
    assert_false(tsdb_attrs_find(attrs, BYTES_LIT("kafka.header.absent"), &value));
    tsdb_view_close(v);
    arena_free(a);
}

/* --- two nodes ------------------------------------------------------------------------------------- */

static void the_line_at_the_broker_is_read_as_it_was_written(void **state)
{
    (void)state;
    struct kafka_overlap_line l = {.node = "0123456789abcdef", .generation = 7, .from = -1}, back;
    struct buf text = {0};
    for (unsigned i = 0; i < 6; i++) {
        char node[] = "000000000000000x";
        node[15] = (char)('0' + i);
        kafka_overlap_add_open(&l, node, 100 + i);
    }
    kafka_overlap_add_open(&l, "0000000000000004", 900);
    kafka_overlap_put(&l, &text);
    kafka_overlap_read(buf_bytes(&text), &back);
    assert_memory_equal(back.node, l.node, sizeof(l.node));
    assert_int_equal(back.generation, 7);
    assert_int_equal(back.from, -1);
    assert_false(back.has_left);
    assert_int_equal(back.open_count, KAFKA_OVERLAP_OPEN);
    assert_string_equal(back.open[0].node, "0000000000000002");
    assert_string_equal(back.open[3].node, "0000000000000004");
    assert_int_equal(back.open[3].at, 900);
    static const char *const foreign[] = {
        "",
        "telltale",
        "other node=0123456789abcdef",
        "telltale node=0123456789abcde",
        "telltale node=0123456789ABCDEF",
        "telltale node=0123456789abcdef from=x",
        "telltale node=0123456789abcdef from=99999999999999999999",
        "telltale node=0123456789abcdef open=0123456789abcdef"};
    for (size_t i = 0; i < ARRAY_LEN(foreign); i++) {
        kafka_overlap_read(bytes_str(foreign[i]), &back);
        assert_int_equal(back.node[0], 0);
    }
    kafka_overlap_read(BYTES_LIT("telltale node=0123456789abcdef left=1 later=thing"), &back);
    assert_true(back.node[0] && back.has_left);
    buf_done(&text);
}

/* Another client of the group. */
static rd_kafka_t *somebody(const char *group)
{
    char why[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "bootstrap.servers", rd_kafka_mock_cluster_bootstraps(t.cluster), why,
                      sizeof(why));
    rd_kafka_conf_set(conf, "group.id", group, why, sizeof(why));
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof(why));
    assert_non_null(rk);
    return rk;
}

/* As another member would leave it behind. */
static void tell_broker(const char *group, int32_t partition, int64_t offset, const char *line)
{
    rd_kafka_t *rk = somebody(group);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_t *tp = rd_kafka_topic_partition_list_add(list, TOPIC, partition);
    tp->offset = offset;
    tp->metadata = strdup(line);
    tp->metadata_size = strlen(line);
    assert_int_equal(rd_kafka_commit(rk, list, 0), RD_KAFKA_RESP_ERR_NO_ERROR);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(rk);
}

static bool is_recorded(const char *what)
{
    struct arena *a = arena_new(0);
    struct tsdb_state_row *rows;
    size_t n;
    bool found = false;
    assert_int_equal(tsdb_state_scan(t.db, KAFKA_OVERLAP_TABLE, BYTES_NONE, 100, a, &rows, &n),
                     ERR_OK);
    for (size_t i = 0; i < n; i++) {
        char text[512];
        snprintf(text, sizeof(text), "%.*s", (int)rows[i].value.size,
                 (const char *)rows[i].value.data);
        found = found || strstr(text, what);
    }
    arena_free(a);
    return found;
}

static void what_a_crash_left_on_two_nodes_is_recorded_by_both(void **state)
{
    (void)state;
    char node[KAFKA_NODE_SIZE + 1], line[256];
    read_on("a", NULL, 0);
    send_spans(80);
    each_is_there_once();
    stop_reading();
    assert_int_equal(kafka_overlap_node(t.db, node), ERR_OK);
    /* This node had told the broker 12 when it seemed dead; the other went on from there to 15, and has died, too. */
    snprintf(line, sizeof(line),
             "telltale node=00000000000000aa generation=1 from=12 left=0 open=%s@12", node);
    tell_broker("b", 0, 15, line);
    /* Of partition 1 the other had let go. */
    tell_broker("b", 1, 20, "telltale node=00000000000000aa generation=1 from=0 left=1");
    read_on("b", NULL, 0);
    send_spans(40);
    each_is_there_once();
    assert_true(is_recorded("\"partition\":0,\"from\":12,\"to\":20,\"kind\":\"crash\",\"other\":"
                            "\"00000000000000aa\""));
    assert_true(is_recorded("\"partition\":0,\"from\":15,\"to\":null,\"kind\":\"takeover\""));
    assert_false(is_recorded("\"partition\":1"));
}

/* What the group says of a partition; line: of 256 bytes. */
static int64_t told_to(const char *group, int32_t partition, char *line)
{
    rd_kafka_t *rk = somebody(group);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_t *tp = rd_kafka_topic_partition_list_add(list, TOPIC, partition);
    assert_int_equal(rd_kafka_committed(rk, list, PATIENCE_MS), RD_KAFKA_RESP_ERR_NO_ERROR);
    int64_t offset = tp->offset;
    snprintf(line, 256, "%.*s", (int)tp->metadata_size, tp->metadata ? (char *)tp->metadata : "");
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(rk);
    return offset;
}

/* Requests of Kafka's protocol. */
#define OFFSET_COMMIT 8
#define OFFSET_FETCH 9

/* Until rd_kafka_mock_clear_request_errors. */
static void refuse(int16_t request)
{
    static rd_kafka_resp_err_t loading[20000];
    for (size_t i = 0; i < ARRAY_LEN(loading); i++)
        loading[i] = RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS;
    rd_kafka_mock_push_request_errors_array(t.cluster, request, ARRAY_LEN(loading), loading);
}

/* A node that is started and stopped again while the group does not answer where others are: it must not tell the group its own old place. */
static void a_group_that_does_not_answer_is_told_nothing(void **state)
{
    (void)state;
    static const char others[] = "telltale node=00000000000000aa generation=1 from=0 left=1";
    char line[256];
    read_on("a", NULL, 0);
    send_spans(80);
    each_is_there_once();
    stop_reading();
    tell_broker("b", 0, 25, others);
    refuse(OFFSET_FETCH);
    read_on("b", NULL, 0);
    clock_sleep_ms(6000); /* it has joined, and asks */
    stop_reading();
    rd_kafka_mock_clear_request_errors(t.cluster, OFFSET_FETCH);
    assert_int_equal(told_to("b", 0, line), 25);
    assert_string_equal(line, others);
    assert_true(told_to("b", 1, line) < 0); /* where nobody was, too */
}

/* What is taken while the broker does not hear of it would be on two nodes if this one died. */
static void without_an_answer_of_the_broker_no_more_than_a_second_is_taken(void **state)
{
    (void)state;
    uint64_t sent, stored;
    read_on("a", NULL, 0);
    send_spans(80);
    each_is_there_once();
    refuse(OFFSET_COMMIT);
    for (int i = 0; i < 60; i++) { /* some of these are taken, and the broker cannot be told */
        send_spans(4);
        clock_sleep_ms(50);
    }
    sent = t.sent;
    stored = count_of(t.db);
    clock_sleep_ms(500);
    assert_true(count_of(t.db) == stored); /* it stands still */
    assert_true(stored >= 80 && stored < sent);
    rd_kafka_mock_clear_request_errors(t.cluster, OFFSET_COMMIT);
    each_is_there_once();
}

/* The client keeps a pause when a partition goes, so it must be lifted: what comes back paused is never read. */
static void partitions_that_went_while_paused_are_read_when_they_come_back(void **state)
{
    (void)state;
    read_on("a", NULL, 0);
    send_spans(80);
    each_is_there_once();
    refuse(OFFSET_COMMIT);
    for (int i = 0; i < 50; i++) { /* until it holds: all its partitions are paused */
        send_spans(4);
        clock_sleep_ms(50);
    }
    struct tsdb *first_db = t.db;
    struct kafka *first = t.kafka;
    char first_dir[sizeof(t.dir)];
    memcpy(first_dir, t.dir, sizeof(t.dir));
    snprintf(t.dir, sizeof(t.dir), "%.40s-2", first_dir);
    open_store();
    read_on("a", NULL, 0); /* takes its share, and cannot claim it */
    clock_sleep_ms(15000); /* the shares are out */
    stop_reading();
    tsdb_close(t.db, false);
    files_remove_tree(t.dir);
    memcpy(t.dir, first_dir, sizeof(t.dir));
    t.db = first_db;
    t.kafka = first;
    rd_kafka_mock_clear_request_errors(t.cluster, OFFSET_COMMIT);
    send_spans(40);
    each_is_there_once();
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(each_message_is_stored_once_through_restarts_and_groups),
        CASE(two_nodes_of_a_group_share_a_topic_and_hand_partitions_over),
        CASE(fixed_partitions_are_read_and_no_others),
        CASE(commits_that_fail_are_read_again),
        CASE(a_store_without_room_is_waited_for),
        CASE(poison_is_kept_and_the_partition_moves_on),
        CASE(poison_is_kept_without_its_secrets),
        CASE(options_that_are_wrong_are_named),
        CASE(how_the_brokers_are_to_be_met_is_checked_and_the_password_never_told),
        CASE(a_topic_made_anew_is_noticed_though_it_has_grown_past_what_was_read),
        CASE(a_topic_made_anew_is_held_where_the_operator_wants_to_look_first),
        CASE(token_events_are_gathered_and_each_is_taken_once),
        CASE(headers_that_are_asked_for_become_attributes_of_the_resource),
        CASE(the_line_at_the_broker_is_read_as_it_was_written),
        CASE(what_a_crash_left_on_two_nodes_is_recorded_by_both),
        CASE(a_group_that_does_not_answer_is_told_nothing),
        CASE(without_an_answer_of_the_broker_no_more_than_a_second_is_taken),
        CASE(partitions_that_went_while_paused_are_read_when_they_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
