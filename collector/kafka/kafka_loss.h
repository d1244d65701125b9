/* What Kafka itself has lost, recorded where it is found: durable, so that whoever is told of it is told after a restart, too.
 *
 * One row for each partition of which something was ever lost.
 * Owner: the reader.  Thread: record: the reader's; since: any.
 * Failure: record: none, what cannot be written is logged; since: the store's errors, a row that cannot be read is left out.
 * Limits: as many rows as there are partitions that are read.
 */
#ifndef COLLECTOR_KAFKA_KAFKA_LOSS_H
#define COLLECTOR_KAFKA_KAFKA_LOSS_H

#include "base/arena.h"
#include "tsdb/tsdb.h"

#define KAFKA_LOSS_TABLE "kafka_losses" /* rows: one JSON object each */
#define KAFKA_LOSS_APART_MS INT64_C(3600000) /* losses less apart than this are added up */

/* is_reset false: the messages from..to - 1 were removed before they were read. true: what was read ended at from, and the partition ends, or
 * differs, at to. The same one found again (a partition that is held, after a restart) changes nothing. */
void kafka_loss_record(struct tsdb *db, const char *topic, uint32_t partition, int64_t from,
                       int64_t to, bool is_reset);

struct kafka_losses { /* of the partitions with a loss that was found after a moment */
    uint32_t partitions;
    uint64_t messages,
        resets; /* of those losses and what was less than KAFKA_LOSS_APART_MS before */
    int64_t newest_ms;
    char place[288]; /* where the newest is: "topic[3]" */
};
enum err kafka_loss_since(struct tsdb *db, int64_t after_ms, struct arena *a,
                          struct kafka_losses *out) MUST_CHECK;

#endif
