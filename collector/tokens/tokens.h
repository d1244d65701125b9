/* Token events from their bytes into a batch: protobuf (proto/tokens.proto) or JSON. docs/token-events.md says what they mean.
 *
 * Owner: caller: nothing of the bytes is kept, texts are copied.  Thread: any, one per batch.
 * Failure: the message is refused whole and the batch is as before: ERR_INVALID (broken bytes, a field of another type), ERR_TOO_DEEP
 *          (streams within streams within streams), ERR_TOO_LARGE (the batch's memory, or that of the JSON tree), ERR_NOMEM. Single bad events
 *          are no failure: they are counted in the batch's rejected.
 * Limits: TOKENS_PER_EVENT_MAX tokens an event; times as everywhere (retention, ten minutes ahead).
 * Invariants: 1. What received grows by = events added + what rejected grows by. 2. The same message as JSON and as protobuf adds the same.
 */
#ifndef COLLECTOR_TOKENS_TOKENS_H
#define COLLECTOR_TOKENS_TOKENS_H

#include "tsdb/tsdb_batch.h"

#define TOKENS_PER_EVENT_MAX (1u << 20)
#define TOKENS_FUTURE_MAX_MS INT64_C(600000)

enum tokens_encoding { TOKENS_PROTOBUF, TOKENS_JSON };

struct tokens_options {
    enum tokens_encoding encoding;
    int64_t now_ns; /* wall clock: what "too far ahead" is measured from */
    int64_t floor_ms; /* events before it are too old (tsdb_retention_floor_ms) */
    size_t tree_max; /* bytes that a JSON tree may take; 0 = 512 MiB */
};

/* Appends the message's events to b->tokens and adds them to b->received. b->signal is the caller's matter. */
enum err tokens_decode(struct tsdb_batch *b, struct bytes message, const struct tokens_options *o,
                       struct err_msg *msg) MUST_CHECK;
/* '{' first is JSON, anything else protobuf: for logs (Kafka) that carry no content type. */
enum tokens_encoding tokens_encoding_of(struct bytes message);

#endif
