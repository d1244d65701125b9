/* The Kafka reader: messages of OTLP topics into the store, each once.
 *
 *   broker -> rd_kafka_consumer_poll -> kafka_message (decode, stage) -> tsdb_append with a claim -> (commit) -> where the reader has got to
 *                  ^                                                         |                        committer     |
 *                  '---- seek back: what comes before is not stored ---------'                                      '-> broker, once a second
 * Rows and place are one transaction of the store (tsdb_claim), and at every assignment the reader goes to the store's place: the broker's
 * copy of it serves tools that show lag, and members of the group that take a partition over.
 *
 * Owner: the program. Order of the end: kafka_free (waits for what is under way, leaves the group), then tsdb_close.
 * Thread: one of its own; kafka_new and kafka_free: one thread.
 * Failure: kafka_new: ERR_INVALID with a sentence that names the option. Brokers that cannot be reached are tried again for ever.
 * Limits: KAFKA_IN_FLIGHT_MAX messages and KAFKA_IN_FLIGHT_BYTES wait for a commit; messages above OTLP_BODY_MAX are poison.
 * Invariants: 1. A message is stored once on this node, whatever is delivered twice, late, or by a member that thinks it still has the
 *             partition. 2. A message that cannot be decoded becomes a log record of the service "telltale.kafka" in the same transaction as its
 *             place: the partition moves on. 3. What Kafka itself has lost is counted and logged, and so is a topic that was made anew.
 */
#ifndef COLLECTOR_KAFKA_KAFKA_H
#define COLLECTOR_KAFKA_KAFKA_H

#include "collector/otlp/otlp_translation.h"
#include "collector/stage/stage.h"
#include "tsdb/tsdb.h"

#define KAFKA_IN_FLIGHT_MAX 4096u
#define KAFKA_IN_FLIGHT_BYTES ((size_t)64 << 20)

struct kafka;

struct kafka_options {
    struct tsdb *db;
    struct stage *stage; /* NULL: nothing is derived */
    struct otlp_translation translation; /* of metrics */
    const char *brokers; /* HOST:PORT,… */
    const char *group; /* NULL = "telltale" */
    const char
        *config_file; /* librdkafka's properties, NAME=VALUE a line, which win; NULL = none */
    bool tls;
    const char *tls_ca; /* PEM; NULL: the system's. With it tls need not be said */
    /* All three or none. PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; the file's first line is the password. */
    const char *sasl_mechanism, *sasl_user, *sasl_password_file;
    /* TOPIC=SIGNAL or TOPIC=SIGNAL@ORG, SIGNAL spans, metrics, logs or tokens; none: otlp_spans, otlp_metrics, otlp_logs and
     * llm.token.events */
    const char *const *topics;
    size_t topic_count;
    /* TOPIC:N or TOPIC:N-M: these and no others are read, without a group's hand-overs; none: as the group says */
    const char *const *partitions;
    size_t partition_count;
    const char *const *headers; /* of messages: attributes kafka.header.NAME of their resources */
    size_t header_count;
    bool stop_on_loss; /* a partition of which Kafka has lost messages is not read on */
    bool from_end; /* where nothing is known of a partition: at its end and not its beginning */
};

/* Whether the options are all right; nothing is connected. */
enum err kafka_check(const struct kafka_options *o, struct err_msg *msg) MUST_CHECK;
/* Connects and reads from now on. */
enum err kafka_new(const struct kafka_options *o, struct kafka **out,
                   struct err_msg *msg) MUST_CHECK;
void kafka_free(struct kafka *k); /* NULL is fine */

#endif
