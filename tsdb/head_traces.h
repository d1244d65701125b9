/* Where the spans of each trace lie in a head: a hash from trace id to (batch, row).
 *
 * 256 tables by the top bits of the hash, so that growing one takes microseconds under the head's lock; entries stand in pages that never
 * move. About 24 B per span.
 * Owner: struct head.  Thread: as the head's indexes: add under its write lock, walk under its read lock.
 * Failure: none: memory is waited for, as in head_apply.
 */
#ifndef TSDB_HEAD_TRACES_H
#define TSDB_HEAD_TRACES_H

#include <stddef.h>

#include "tsdb/tsdb_batch.h"

#define HEAD_TRACES_TABLES 256u
#define HEAD_TRACES_PAGE 4096u

struct head_trace_entry {
    uint32_t hash, ord, row;
    uint32_t next; /* number of an earlier entry of the chain; entries are numbered from 1 */
};

struct head_traces {
    struct {
        uint32_t *slots; /* number of the newest entry of the chain */
        uint32_t cap, count;
    } tables[HEAD_TRACES_TABLES];
    struct head_trace_entry **pages;
    uint32_t page_cap, count;
};

/* Fetches what the add of this trace id touches first. */
void head_traces_prefetch(const struct head_traces *t, struct tsdb_id16 id);
/* Returns how many bytes of memory it took. */
size_t head_traces_add(struct head_traces *t, struct tsdb_id16 id, uint32_t ord, uint32_t row);
/* The chain that holds the entries of id, newest first, others among them: number of the first entry, 0 = none. */
uint32_t head_traces_first(const struct head_traces *t, struct tsdb_id16 id);
static inline struct head_trace_entry *head_traces_entry(const struct head_traces *t,
                                                         uint32_t number)
{
    return &t->pages[(number - 1) / HEAD_TRACES_PAGE][(number - 1) % HEAD_TRACES_PAGE];
}
void head_traces_done(struct head_traces *t);

#endif
