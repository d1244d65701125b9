/* One message: from its bytes to a batch.
 *
 * Owner: the batch is the caller's.  Thread: any.
 * Failure: ERR_NOMEM: try again later. Everything else about a message is no failure: it becomes a batch with one log record that says what
 *          is wrong, and has the message's first bytes.
 * Limits: KAFKA_POISON_KEPT bytes of a message that cannot be decoded are kept, and KAFKA_POISON_BUDGET of all such messages in a minute.
 */
#ifndef COLLECTOR_KAFKA_KAFKA_MESSAGE_H
#define COLLECTOR_KAFKA_KAFKA_MESSAGE_H

#include "collector/otlp/otlp_translation.h"
#include "collector/stage/stage.h"
#include "tsdb/tsdb.h"

#define KAFKA_POISON_KEPT ((size_t)64 << 10)
#define KAFKA_POISON_BUDGET ((size_t)16 << 20)
#define KAFKA_POISON_SERVICE "telltale.kafka"

struct kafka_message {
    const char *topic;
    uint32_t partition, org;
    int64_t offset;
    enum tsdb_signal signal;
    bool is_refused; /* the store has said that it is too large */
    struct otlp_translation translation; /* of metrics */
    struct bytes extra; /* attributes for every resource, as otlp_decode takes them */
    struct bytes value; /* protobuf, or JSON where it begins with a brace */
};

struct kafka_poison { /* what is left of the budget; of one reader */
    int64_t minute;
    size_t kept;
};

struct kafka_replayed {
    uint64_t stored, rejected;
};
/* A message that was poison once, read again; returns when it is durable. ERR_INVALID, ERR_TOO_LARGE: it still is. place names it: asked again
 * within the window of repeats it is not stored twice. */
enum err kafka_message_replay(struct tsdb *db, struct stage *stage,
                              const struct otlp_translation *translation, uint32_t org,
                              struct bytes signal, struct bytes place, struct bytes value,
                              struct kafka_replayed *out, struct err_msg *msg) MUST_CHECK;
const char *kafka_message_signal(enum tsdb_signal signal); /* as topics name it */

enum err kafka_message_batch(const struct kafka_message *m, struct tsdb *db, struct stage *stage,
                             struct kafka_poison *poison, struct tsdb_batch **out,
                             bool *out_is_poison) MUST_CHECK;
/* Messages of token events are small and many: a batch takes them one after the other. An error other than ERR_NOMEM: this message is none,
 * the batch is as before; kafka_message_batch makes poison of it. */
struct tsdb_batch *kafka_message_tokens_begin(const struct kafka_message *m); /* NULL: no memory */
enum err kafka_message_tokens_add(const struct kafka_message *m, struct tsdb *db,
                                  struct tsdb_batch *b) MUST_CHECK;
/* The last one is in it. */
enum err kafka_message_tokens_end(struct stage *stage, struct tsdb_batch *b) MUST_CHECK;

#endif
