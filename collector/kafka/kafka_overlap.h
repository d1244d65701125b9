/* Which messages may be on two nodes of a group: what a crash or a hand-over without the broker leaves behind, recorded and shown.
 *
 * With each place the broker keeps a line of ours:
 *     telltale node=HEX generation=N from=N left=0|1 [open=HEX@N ...]
 * node: whose place it is; generation: of its journal, which had the rows then; from: where it began at this assignment; left: it has let go
 * of the partition with everything told; open: nodes that were taken over without having let go, and where the broker saw them last. Such a
 * node finds its own name there when it comes back, and knows which of its messages another has stored, too.
 *
 * Owner: the reader.  Thread: the reader's; kafka_overlap_since: any.
 * Failure: none; a record that cannot be written is logged.
 * Limits: KAFKA_OVERLAP_OPEN nodes of a partition, the newest; KAFKA_OVERLAP_MAX records, then only the log has them. The line comes from the broker: any bytes.
 */
#ifndef COLLECTOR_KAFKA_KAFKA_OVERLAP_H
#define COLLECTOR_KAFKA_KAFKA_OVERLAP_H

#include "base/buf.h"
#include "tsdb/tsdb.h"

#define KAFKA_OVERLAP_OPEN 4u
#define KAFKA_OVERLAP_MAX 10000u
#define KAFKA_OVERLAP_TABLE "kafka_overlaps" /* rows: one JSON object each */
#define KAFKA_NODE_SIZE 16u /* hexadecimal digits */

struct kafka_overlap_open {
    char node[KAFKA_NODE_SIZE + 1];
    int64_t at;
};
struct kafka_overlap_line {
    char node[KAFKA_NODE_SIZE + 1]; /* empty: not a line of ours */
    uint64_t generation;
    int64_t from;
    bool has_left;
    struct kafka_overlap_open open[KAFKA_OVERLAP_OPEN];
    unsigned open_count;
};

/* The name of this node: made at the first start, durable. */
enum err kafka_overlap_node(struct tsdb *db, char out[KAFKA_NODE_SIZE + 1]) MUST_CHECK;
void kafka_overlap_put(const struct kafka_overlap_line *l, struct buf *out);
/* Anything else than a line of ours: node is empty. */
void kafka_overlap_read(struct bytes text, struct kafka_overlap_line *out);
/* The newest stay. */
void kafka_overlap_add_open(struct kafka_overlap_line *l, const char *node, int64_t at);

/* The messages from..to - 1 may be on this node and on another; to -1: how far is not known here. kind: "crash" (this one came back), "takeover"
 * (another has not let go), "handover". false: it was recorded before. */
bool kafka_overlap_record(struct tsdb *db, const char *topic, uint32_t partition, int64_t from,
                          int64_t to, const char *kind, const char *other);

struct kafka_overlaps { /* of the ranges that were found after a moment */
    uint32_t ranges;
    int64_t newest_ms; /* of all that there are; 0: none */
    char newest[400]; /* in words: "topic[3] from 100 to 204 (crash)" */
};
enum err kafka_overlap_since(struct tsdb *db, int64_t after_ms, struct arena *a,
                             struct kafka_overlaps *out) MUST_CHECK;

#endif
