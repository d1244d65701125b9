/* Token events of a batch: what streams of model answers told, event by event, on the way to their assembly.
 *
 * They are journaled with the batch and not kept beyond it: what stays is what assembly makes of them (derived series, one log record per
 * stream). So they live in memory of their own, which goes when the batch has been applied.
 * Owner: the batch.  Thread: that of the batch.
 * Failure: add: TSDB_NO_ROW / false when the memory limit is reached; what was added before stays.
 * Limits: TSDB_TOKENS_BYTES_MAX a batch; texts of a header TSDB_TOKENS_TEXT_MAX bytes (longer ones are cut).
 * Invariants: 1. Every event names a stream of the batch. 2. Streams of one batch have different ids. 3. A stream's id is a function of
 *             the org and its names: of trace and span where both are there, else of the request id, else of the response id.
 */
#ifndef TSDB_TSDB_TOKENS_H
#define TSDB_TSDB_TOKENS_H

#include "base/arena.h"
#include "base/hash.h"

#define TSDB_TOKENS_BYTES_MAX ((size_t)512 << 20)
#define TSDB_TOKENS_TEXT_MAX 256u

enum tsdb_token_kind { TSDB_TOKEN_CHUNK, TSDB_TOKEN_START, TSDB_TOKEN_END, TSDB_TOKEN_ERROR };
enum tsdb_token_channel {
    TSDB_TOKEN_OUTPUT,
    TSDB_TOKEN_REASONING,
    TSDB_TOKEN_TOOL,
    TSDB_TOKEN_CHANNELS
};
/* Who told: of one stream the first one is believed, or a token that two observers saw would count twice. */
enum tsdb_token_source { TSDB_TOKEN_EVENTS, TSDB_TOKEN_SPAN, TSDB_TOKEN_LOG };

/* X(name): the texts of a header. */
#define TSDB_TOKEN_TEXTS(X) \
    X(request_id) X(response_id) X(service) X(provider) X(model) X(endpoint) X(env) X(region)

enum tsdb_token_text {
#define X(name) TSDB_TOKEN_TEXT_##name,
    TSDB_TOKEN_TEXTS(X)
#undef X
        TSDB_TOKEN_TEXT_COUNT
};

struct tsdb_token_stream {
    struct hash128 id; /* set by tsdb_tokens_stream */
    uint8_t trace_id[16], span_id[8];
    uint8_t source; /* enum tsdb_token_source */
    struct bytes text[TSDB_TOKEN_TEXT_COUNT];
};

struct tsdb_token_event {
    uint32_t stream;
    int64_t time_ns;
    uint8_t kind, channel;
    uint32_t tokens, ordinal; /* ordinal 0: not given, else its place in the stream, from 1 */
    uint32_t logprob_count; /* tokens that the two sum up; 0: not given */
    float logprob_sum, logprob_min;
    struct bytes reason; /* finish reason of an end, error type of an error */
};

struct tsdb_token_logprob {
    uint32_t row, count;
    float sum, min;
};
struct tsdb_token_reason {
    uint32_t row;
    struct bytes text;
};

struct tsdb_tokens {
    struct arena *arena; /* NULL: there are none */
    uint32_t stream_count, stream_cap;
    struct tsdb_token_stream *streams;
    uint32_t *slots; /* stream + 1 by id, twice stream_cap places */
    uint32_t count, cap;
    uint32_t *stream;
    int64_t *time_ns;
    uint8_t *kind; /* kind | channel << 2 */
    uint32_t *tokens, *ordinal;
    uint32_t logprob_count, logprob_cap, reason_count,
        reason_cap; /* what few events have, by rising row */
    struct tsdb_token_logprob *logprobs;
    struct tsdb_token_reason *reasons;
};

static inline enum tsdb_token_kind tsdb_tokens_kind(uint8_t packed)
{
    return (enum tsdb_token_kind)(packed & 3);
}
static inline enum tsdb_token_channel tsdb_tokens_channel(uint8_t packed)
{
    return (enum tsdb_token_channel)(packed >> 2);
}

/* The stream of this header, added if it is new; its texts are copied, and kept where the batch did not know them yet. A header that
 * names nothing (no id) is not for this function. */
uint32_t tsdb_tokens_stream(struct tsdb_tokens *t, uint32_t org,
                            const struct tsdb_token_stream *header);
bool tsdb_tokens_is_named(const struct tsdb_token_stream *header);
bool tsdb_tokens_add(struct tsdb_tokens *t, const struct tsdb_token_event *e) MUST_CHECK;
/* Room for so many events in all. */
bool tsdb_tokens_expect(struct tsdb_tokens *t, uint32_t count) MUST_CHECK;
/* As it was with so many streams, events, logprobs and reasons. */
struct tsdb_tokens_mark {
    uint32_t streams, events, logprobs, reasons;
};
struct tsdb_tokens_mark tsdb_tokens_mark(const struct tsdb_tokens *t);
void tsdb_tokens_rewind(struct tsdb_tokens *t, struct tsdb_tokens_mark to);
void tsdb_tokens_done(struct tsdb_tokens *t);
size_t tsdb_tokens_bytes(const struct tsdb_tokens *t);

#endif
