/* One event, read, into the batch: what both encodings share.
 * Owner: tokens_decode, on its stack.  Thread: one.
 * Failure: ERR_TOO_LARGE when the batch's memory is full. What is wrong with one event is counted, not returned.
 */
#ifndef COLLECTOR_TOKENS_TOKEN_EVENT_H
#define COLLECTOR_TOKENS_TOKEN_EVENT_H

#include "collector/tokens/tokens.h"

#define TOKEN_EVENT_NO_STREAM UINT32_MAX

struct token_event_sink {
    struct tsdb_batch *b;
    const struct tokens_options *o;
    struct err_msg *msg;
    int64_t ceiling_ns, floor_ns;
};

/* An event as it was sent; kind and channel may be numbers that nobody knows. */
struct token_event {
    uint64_t time_ns, kind, channel, tokens, ordinal, logprob_count;
    float logprob_sum, logprob_min;
    bool has_tokens, has_logprob;
    struct bytes finish_reason, error_type;
};

/* The stream of this header in the batch: TOKEN_EVENT_NO_STREAM where it names nothing (its events are refused). */
enum err token_event_stream(struct token_event_sink *s, const struct tsdb_token_stream *header,
                            uint32_t *out) MUST_CHECK;
enum err token_event_add(struct token_event_sink *s, uint32_t stream,
                         const struct token_event *e) MUST_CHECK;

enum err token_json_decode(struct token_event_sink *s, struct bytes message) MUST_CHECK;
enum err token_wire_decode(struct token_event_sink *s, struct bytes message) MUST_CHECK;

#endif
