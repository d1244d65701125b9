/* What the settler remembers, and the steps that its rules share: rows read back from columns, cells taken back, entries changed.
 * Private to settle*.c.
 * Owner: settle.  Thread: the committer.  Failure: struct settle_work.ok turns false when the batch's arena is full.
 * Invariant: what a settle changed in older entries is in `changes` until the commit is long done.
 */
#ifndef COLLECTOR_STAGE_SETTLE_STATE_H
#define COLLECTOR_STAGE_SETTLE_STATE_H

#include "collector/stage/settle.h"
#include "collector/stage/settle_index.h"
#include "collector/tokens/tokens_open.h"

struct settle_reported;

#define SETTLE_GENERATIONS_MAX 8u
#define SETTLE_PENDING_SLOTS 4096u
#define SETTLE_CHANGES_KEPT 65536u
#define SETTLE_RESOLVED_KEPT \
    1024u /* commits that a resolved agent row is kept for, should one fail */

/* An agent row whose usage waits for a call below it. */
struct settle_pending {
    struct tsdb_id16 trace_id;
    const struct tsdb_batch *b;
    struct tsdb_batch *own; /* a copy of the row once its generation is gone */
    uint64_t trace_hash, generation, seq, resolved_seq;
    int64_t deadline_ns;
    uint32_t row, next; /* pool index + 1 */
    bool is_used;
};

/* Of a GenAI row, computed ahead of the look-ups, so that what these touch first is in the cache when they come. */
struct settle_hashes {
    uint64_t span, trace;
};

/* An entry before a settle touched it. */
struct settle_change {
    uint64_t seq, generation;
    uint32_t index;
    struct settle_index_entry old;
};

struct settle {
    struct settle_options o;
    struct derive *derive;
    struct tokens_open *streams; /* of token events */
    struct arena *scratch; /* reads of rows whose batch is no longer ours to write to */
    struct settle_index *generations[SETTLE_GENERATIONS_MAX]; /* oldest first */
    uint32_t generation_count;
    struct settle_pending *pool;
    uint32_t pool_cap, pool_free; /* free list through next */
    uint32_t slots[SETTLE_PENDING_SLOTS]; /* trace hash -> pool index + 1 */
    uint32_t pending_count;
    struct settle_change *changes;
    uint32_t change_count;
    int64_t now_ns;
    int64_t swept_second[64]; /* by org */
    uint32_t cells_given; /* of the batch in hand, before corrections */
    struct settle_reported *reported;
    struct settle_hashes *hashes; /* of the batch in hand, by row */
    uint32_t hash_cap;
};

/* The batch in hand. */
struct settle_work {
    struct settle *s;
    struct settle_index *index;
    const struct tsdb_batch *b;
    struct tsdb_batch *mut;
    uint64_t seq;
    bool ok;
};

#define SETTLE_STR(sp, column, row) TSDB_SPAN_GET(sp, column, row, BYTES_NONE)

static inline uint8_t settle_state_class(const struct tsdb_spans *sp, uint32_t row)
{
    return TSDB_SPAN_GET(sp, row_class, row, 0);
}

static inline bool settle_state_same16(struct tsdb_id16 a, struct tsdb_id16 b)
{
    return memcmp(a.b, b.b, 16) == 0;
}

static inline bool settle_state_same8(struct tsdb_id8 a, struct tsdb_id8 b)
{
    return memcmp(a.b, b.b, 8) == 0;
}

static inline uint64_t settle_state_hash_trace(uint32_t org, const struct tsdb_id16 *trace)
{
    return hash64(bytes_of(trace->b, 16), org) | 1;
}

static inline uint64_t settle_state_hash_in_trace(uint64_t trace_hash, const struct tsdb_id8 *span)
{
    return hash64(bytes_of(span->b, 8), trace_hash) | 1;
}

static inline uint64_t settle_state_hash_span(uint32_t org, const struct tsdb_id16 *trace,
                                              const struct tsdb_id8 *span)
{
    return settle_state_hash_in_trace(settle_state_hash_trace(org, trace), span);
}

static inline uint64_t settle_state_hash_response(uint32_t org, struct bytes id)
{
    return id.size ? hash64(id, (uint64_t)org << 32 | 1) | 1 : 0;
}

static inline uint64_t settle_state_hash_tool(uint32_t org, struct bytes id)
{
    return id.size ? hash64(id, (uint64_t)org << 32 | 2) | 1 : 0;
}

void settle_state_not_kept(int64_t rows); /* could not be remembered: they book as they stand */
/* Enough of a row for its labels and its minute. */
void settle_state_row(const struct tsdb_batch *b, uint32_t row, struct genai_row *r);
/* What of a row's cells goes. */
enum settle_take {
    SETTLE_TAKE_ALL,
    SETTLE_TAKE_CALL, /* what it counts as a user's request stays */
    SETTLE_TAKE_LOGGED /* a log record counts the call: its first token, which records seldom tell, stays too */
};
/* The cells of a span row go, by cells of the opposite sign: a batch's own cells stay as they came, so that its commit can be undone. */
void settle_state_take_back(struct settle_work *w, const struct tsdb_batch *b, uint32_t row,
                            enum settle_take take);
/* What a row without cells of its own, a log's or an agent's, books in the ledger. */
void settle_state_book(struct settle_work *w, const struct genai_row *r);
/* Keeps the entry as it is now, in case the commit fails. */
void settle_state_remember(struct settle_work *w, struct settle_index *x,
                           const struct settle_index_entry *e);
void settle_state_mark_lost(struct settle_work *w, struct settle_index *x,
                            struct settle_index_entry *e);
struct settle_index *settle_state_index(struct settle *s, uint64_t generation);
struct settle_index_entry *settle_state_find_span(struct settle *s, uint32_t org,
                                                  struct tsdb_id16 trace, struct tsdb_id8 span,
                                                  struct settle_index **out_index);

#endif
