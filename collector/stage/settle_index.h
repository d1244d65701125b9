/* The GenAI rows of one journal generation, found by span, by response id, and trace by trace.
 *
 * Owner: settle.  Thread: one.  Failure: settle_index_add: NULL when full or out of memory.
 * Limits: rows_max rows; SETTLE_INDEX_SAME entries of one hash, so that ids that a sender repeats without end cost a constant.
 * Invariants: 1. An entry's batch is alive. 2. Entries keep the order they were added in; seq never falls along it.
 */
#ifndef COLLECTOR_STAGE_SETTLE_INDEX_H
#define COLLECTOR_STAGE_SETTLE_INDEX_H

#include "tsdb/tsdb_batch.h"

#define SETTLE_INDEX_NONE UINT32_MAX
#define SETTLE_INDEX_SAME 64u

enum settle_index_flag {
    SETTLE_INDEX_LOST = 1, /* another row books its call */
    SETTLE_INDEX_LOG = 2, /* row counts in batch->logs */
    SETTLE_INDEX_DEAD = 4, /* its commit failed */
    SETTLE_INDEX_TOOL = 8, /* tells of a tool call: LOST when another row counts it */
    SETTLE_INDEX_WAIT = 16, /* time in which a tool call waited for a person */
    SETTLE_INDEX_FIRST_TOKEN = 32 /* a log record that tells when its first token came */
};

struct settle_index_entry {
    const struct tsdb_batch *b;
    uint64_t seq, span_hash, trace_hash, id_hash; /* id_hash 0: no response id */
    uint32_t row, next_in_trace; /* towards older rows of the trace */
    uint32_t replaced_span,
        replaced_id; /* entry + 1 whose place in the maps this one took, 0 = none */
    uint16_t flags;
    uint8_t tool_outcome; /* of a tool call: as it is counted, after what other rows said of it */
    uint32_t wait_ms; /* of a tool call: what of its time was waiting for a person */
};

struct settle_index_map {
    uint64_t *
        slots; /* entry + 1, and above it the upper half of its hash: entries of other hashes are not looked at */
    uint32_t size, used;
};

struct settle_index {
    uint64_t generation;
    struct settle_index_entry *entries;
    uint32_t count, cap, rows_max;
    struct settle_index_map by_span, by_trace, by_id;
};

struct settle_index *settle_index_new(uint64_t generation, uint32_t rows_max);
void settle_index_free(struct settle_index *x);
struct settle_index_entry *settle_index_add(struct settle_index *x,
                                            const struct settle_index_entry *e);
/* The entry takes the place of an older one of this index under the same span (id: response id), which is then found no more. */
void settle_index_replace(struct settle_index *x, bool id, uint32_t old, uint32_t taker);
/* Fetches what the look-ups of a row to come will touch first. */
void settle_index_prefetch(const struct settle_index *x, uint64_t span_hash, uint64_t trace_hash);
/* Walks entries of one hash: start with *it = 0; NULL at the end. */
struct settle_index_entry *settle_index_span(struct settle_index *x, uint64_t hash, uint32_t *it);
struct settle_index_entry *settle_index_id(struct settle_index *x, uint64_t hash, uint32_t *it);
/* Newest row of a trace; go on with next_in_trace. */
uint32_t settle_index_trace(const struct settle_index *x, uint64_t hash);

#endif
