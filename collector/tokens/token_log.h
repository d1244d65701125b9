/* The events of one open stream, packed in the order they came; and what they mean once they are put in order.
 *
 * A packed stream is a sequence of notes that only grows, so that undoing is cutting. It begins with its header; texts that come later follow.
 * Owner: caller.  Thread: one.
 * Failure: put: the buffer's sticky failure. read: ERR_CORRUPT for bytes that are no notes (a checkpoint), ERR_NOMEM.
 * Limits: TOKEN_LOG_EVENTS_MAX events of a stream; TOKEN_LOG_STALLS_MAX stalls are kept with their place, all are counted.
 * Invariants: 1. The result is a function of the set of events: neither order nor exact repeats change it. 2. The numbers of intervals and of
 *             tokens after the first chunk are equal.
 */
#ifndef COLLECTOR_TOKENS_TOKEN_LOG_H
#define COLLECTOR_TOKENS_TOKEN_LOG_H

#include "base/buf.h"
#include "collector/tokens/tokens_open.h"
#include "tsdb/tsdb_batch.h"

/* What the next note is told from. */
struct token_log_state {
    int64_t last_ns;
    uint32_t last_ordinal, count; /* events */
    uint8_t texts; /* bit i: text i is known */
};

void token_log_put_header(struct buf *out, struct token_log_state *s,
                          const struct tsdb_token_stream *h);
/* Texts that are not known yet. */
void token_log_put_texts(struct buf *out, struct token_log_state *s,
                         const struct tsdb_token_stream *h);
void token_log_put_event(struct buf *out, struct token_log_state *s,
                         const struct tsdb_token_event *e);
/* Memory that readings of many streams share. */
struct token_log_reading;
struct token_log_reading *token_log_reading_new(void); /* NULL = no memory */
void token_log_reading_free(struct token_log_reading *r);
/* Fills *out but `why` where the stream has no end of its own. Slices point into notes and into r, until the next reading. */
enum err token_log_read(struct token_log_reading *r, struct bytes notes,
                        struct tokens_result *out) MUST_CHECK;
/* Only whether the notes can be read, and the state behind them. */
enum err token_log_check(struct bytes notes, struct token_log_state *out,
                         struct tsdb_token_stream *header) MUST_CHECK;

#endif
