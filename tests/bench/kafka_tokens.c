/* Writes token events to a Kafka topic, as fast as it goes: for `./dev long kafka_tokens`.
 *
 *   kafka_tokens --brokers HOST:PORT [--events N] [--per N] [--open N] [--partitions N]
 * Each stream has 200 events 20 ms apart that end about now; `open` streams take turns, `per` events a message, a stream in one partition.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <librdkafka/rdkafka.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/clock.h"

#define TOPIC "llm.token.events"
#define PER_STREAM 200u
#define GAP_NS INT64_C(20000000)

static uint64_t events = 1000000, per = 1, open_streams = 1000, partitions = 6;
static const char *brokers;

static void put_field(struct buf *out, unsigned number, struct bytes b)
{
    buf_varint(out, number << 3 | 2);
    buf_lenbytes(out, b);
}

static void put_event(struct buf *out, uint32_t i, int64_t first_ns)
{
    uint8_t e[32] = {1 << 3 | 1};
    size_t n = 9;
    bytes_put_u64le(e + 1, (uint64_t)(first_ns + i * GAP_NS));
    if (i == 0 || i == PER_STREAM - 1) {
        e[n++] = 2 << 3;
        e[n++] = i ? 2 : 1;
    }
    if (i == PER_STREAM - 1) { /* why it ended */
        memcpy(e + n, "\x4a\x04stop", 6);
        n += 6;
    }
    put_field(out, 12, bytes_of(e, n));
}

static void put_message(struct buf *out, uint64_t stream, uint32_t first, uint32_t count,
                        int64_t begun_ns)
{
    uint8_t ids[24] = {1};
    buf_clear(out);
    bytes_put_u64le(ids + 8, stream + 1);
    bytes_put_u64le(ids + 16, stream + 1);
    put_field(out, 2, bytes_of(ids, 16));
    put_field(out, 3, bytes_of(ids + 16, 8));
    put_field(out, 6, BYTES_LIT("gateway"));
    put_field(out, 8, BYTES_LIT("gpt-4o"));
    for (uint32_t i = 0; i < count; i++)
        put_event(out, first + i, begun_ns);
}

static void set(rd_kafka_conf_t *c, const char *name, const char *value)
{
    char why[256];
    if (rd_kafka_conf_set(c, name, value, why, sizeof(why)) != RD_KAFKA_CONF_OK) {
        fprintf(stderr, "%s\n", why);
        exit(2);
    }
}

static rd_kafka_t *producer_new(void)
{
    char why[256];
    rd_kafka_conf_t *c = rd_kafka_conf_new();
    set(c, "bootstrap.servers", brokers);
    set(c, "compression.codec", "lz4");
    set(c, "linger.ms", "20");
    set(c, "batch.num.messages", "10000");
    set(c, "queue.buffering.max.messages", "500000");
    set(c, "enable.idempotence", "true");
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, c, why, sizeof(why));
    if (!rk) {
        fprintf(stderr, "%s\n", why);
        exit(2);
    }
    return rk;
}

static void send_one(rd_kafka_t *rk, rd_kafka_topic_t *topic, uint64_t stream, const struct buf *m)
{
    while (rd_kafka_produce(topic, (int32_t)(stream % partitions), RD_KAFKA_MSG_F_COPY, m->data,
                            m->size, NULL, 0, NULL) != 0) {
        CHECK(rd_kafka_last_error() == RD_KAFKA_RESP_ERR__QUEUE_FULL);
        rd_kafka_poll(rk, 10);
    }
}

static void read_options(int argc, char **argv)
{
    for (int i = 1; i + 1 < argc; i += 2) {
        uint64_t n = strtoull(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--brokers") == 0)
            brokers = argv[i + 1];
        else if (strcmp(argv[i], "--events") == 0)
            events = n;
        else if (strcmp(argv[i], "--per") == 0)
            per = n;
        else if (strcmp(argv[i], "--open") == 0)
            open_streams = n;
        else if (strcmp(argv[i], "--partitions") == 0)
            partitions = n;
    }
    if (!brokers || !per || PER_STREAM % per || !open_streams || !partitions) {
        fprintf(stderr,
                "kafka_tokens --brokers HOST:PORT [--events N] [--per N, a part of %u] "
                "[--open N] [--partitions N]\n",
                PER_STREAM);
        exit(2);
    }
}

int main(int argc, char **argv)
{
    struct buf message = {0};
    uint64_t sent = 0, first_stream = 0;
    read_options(argc, argv);
    rd_kafka_t *rk = producer_new();
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, TOPIC, NULL);
    CHECK(topic);
    int64_t begin = clock_mono_ns();
    for (; sent < events; first_stream += open_streams) {
        int64_t begun_ns = clock_wall_ns() - PER_STREAM * GAP_NS;
        for (uint32_t at = 0; at < PER_STREAM; at += (uint32_t)per)
            for (uint64_t k = 0; k < open_streams; k++, sent += per) {
                put_message(&message, first_stream + k, at, (uint32_t)per, begun_ns);
                send_one(rk, topic, first_stream + k, &message);
            }
        rd_kafka_poll(rk, 0);
    }
    CHECK(rd_kafka_flush(rk, 60000) == RD_KAFKA_RESP_ERR_NO_ERROR);
    printf("%llu events of %llu streams in %.2f s\n", (unsigned long long)sent,
           (unsigned long long)(sent / PER_STREAM), (double)(clock_mono_ns() - begin) / 1e9);
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(rk);
    buf_done(&message);
    return 0;
}
