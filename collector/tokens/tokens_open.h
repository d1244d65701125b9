/* Streams that are open: their events are gathered until they end, and then told of once.
 *
 *              add (first event)            end or error came, then TOKENS_LINGER_NS of quiet
 *     unknown ──────────────────▶ open ──────────────────────────────────────────────────────▶ closed (its id is remembered)
 *                                  │ ├── TOKENS_SILENCE_NS without an event: timeout ──────────▶
 *                                  │ └── too many streams or bytes: the oldest of the org ─────▶
 *
 * Owner: the settler.  Thread: the committer, in commit order.
 * Failure: ERR_NOMEM, ERR_LIMIT from the receiver: then undo.
 * Limits: streams_max, bytes_max; TOKENS_CLOSED_MAX ids of closed streams are remembered, at least half of them.
 * Invariants: 1. The state is a function of the batches since the state it was restored from; time is received_ns of the batches.
 *             2. A stream is told of once: events that come later are counted, not booked. 3. After undo(seq) all is as before batch seq, but
 *             for slot numbers, which mean nothing.
 */
#ifndef COLLECTOR_TOKENS_TOKENS_OPEN_H
#define COLLECTOR_TOKENS_TOKENS_OPEN_H

#include "tsdb/tsdb_batch.h"

#define TOKENS_LINGER_NS (5 * INT64_C(1000000000)) /* events that were overtaken by the end */
#define TOKENS_SILENCE_NS (120 * INT64_C(1000000000))
#define TOKENS_STREAMS_MAX (1u << 18)
#define TOKENS_OPEN_BYTES_MAX ((size_t)256 << 20)
#define TOKENS_CLOSED_MAX (1u << 20)
#define TOKENS_EVENTS_MAX (1u << 18) /* of a stream; one more closes it */
#define TOKENS_STALLS_MAX 16u
#define TOKENS_CLOSE_MAX 4096u /* at once: a record of each must fit into the batch */

/* X(NAME, text): how a stream ended. */
#define TOKENS_RESULT_TABLE(X) \
    X(COMPLETE, "complete")    \
    X(CUT, "cut")              \
    X(ERROR, "error")          \
    X(TIMEOUT, "timeout")      \
    X(EVICTED, "evicted")
enum tokens_result_kind {
#define X(name, text) TOKENS_RESULT_##name,
    TOKENS_RESULT_TABLE(X)
#undef X
        TOKENS_RESULT_COUNT
};
const char *tokens_open_result_text(enum tokens_result_kind k);

struct tokens_stall {
    int64_t after_ns, length_ns; /* after: since the start */
};
struct tokens_interval {
    int64_t ns;
    uint32_t tokens; /* that many tokens share it */
};

struct tokens_result {
    uint32_t org;
    struct tsdb_token_stream header;
    enum tokens_result_kind kind;
    bool has_start;
    int64_t start_ns, end_ns; /* of the start event, else the first; of the last event */
    int64_t first_ns, visible_ns; /* first chunk with tokens, first of them to be seen; 0: none */
    int64_t last_chunk_ns;
    uint64_t tokens[TSDB_TOKEN_CHANNELS];
    uint64_t first_tokens; /* of the first chunk */
    uint32_t events, repeats, chunks;
    uint32_t stall_count, interval_count;
    struct tokens_stall stalls[TOKENS_STALLS_MAX];
    const struct tokens_interval *intervals;
    double logprob_sum;
    float logprob_min;
    uint64_t logprob_count;
    struct bytes reason, timeline;
};

struct tokens_open_options {
    uint32_t streams_max; /* 0 = TOKENS_STREAMS_MAX */
    size_t bytes_max; /* 0 = TOKENS_OPEN_BYTES_MAX */
    bool forgets_closed, forgets_checkpoint; /* tests only: what must be noticed */
};

struct tokens_open;
struct tokens_open *tokens_open_new(const struct tokens_open_options *o); /* NULL = no memory */
void tokens_open_free(struct tokens_open *t);
/* false: the batch has no room for what was made of the stream. */
typedef bool (*tokens_open_fn)(void *ctx, const struct tokens_result *r);
/* fn NULL: a replay: who closed is told already. */
enum err tokens_open_batch(struct tokens_open *t, const struct tsdb_batch *b, uint64_t seq,
                           tokens_open_fn fn, void *ctx) MUST_CHECK;
void tokens_open_undo(struct tokens_open *t, uint64_t seq);
/* What was settled so far is never undone. */
void tokens_open_committed(struct tokens_open *t);
/* An org with streams that a batch received now would close. */
bool tokens_open_due(const struct tokens_open *t, int64_t now_ns, uint32_t *out_org);
uint32_t tokens_open_count(const struct tokens_open *t);
size_t tokens_open_bytes(const struct tokens_open *t);

/* Everything that it remembers. Format: docs/format/journal.md. */
void tokens_open_checkpoint(const struct tokens_open *t, struct buf *out);
/* Replaces everything. On an error there is nothing. */
enum err tokens_open_restore(struct tokens_open *t, struct bytes state) MUST_CHECK;

#endif
