/* The spans and logs of one org in a day: the rows and texts of many generations become one, in the order of time, spans of a trace together.
 *
 * Blocks are read in the order of their times and held until their last row is written; a block is written from the rows that nothing still
 * unread can come before. So memory follows from how many blocks overlap in time, not from the day. Where those are more than the budget
 * holds, rows are written before all that belongs among them is read: blocks then overlap, and nothing else is lost by it than that a trace may
 * lie in two of them and that a repeat may stay.
 * A span that is there twice, bit by bit as it was sent, is kept once, and stands for both (weight).
 * Owner: compact.c.  Thread: the flush role.  Failure: ERR_CORRUPT, ERR_NOMEM, the parts' errors; what was put is abandoned by the caller.
 */
#ifndef TSDB_COMPACT_ROWS_H
#define TSDB_COMPACT_ROWS_H

#include "tsdb/compact_sample.h"
#include "tsdb/gone.h"
#include "tsdb/part_store.h"

#define COMPACT_ROWS_KINDS \
    (1u << BLOCK_SPANS | 1u << BLOCK_LOGS | 1u << BLOCK_TRACES | 1u << BLOCK_GONE)
#define COMPACT_TEXT_KINDS (1u << BLOCK_SPAN_TEXT | 1u << BLOCK_LOG_TEXT)

struct compact_rows_job {
    struct part *rows, *text; /* where merged blocks go; text NULL: there are no texts */
    const struct part_snapshot *from, *text_from; /* text_from NULL likewise */
    uint32_t org;
    const struct block_meta
        *metas; /* of the org, flushed, kinds COMPACT_ROWS_KINDS; sorted by key */
    size_t meta_count;
    const struct block_meta *texts; /* of all orgs; sorted by key */
    size_t text_count;
    uint64_t generation; /* of the merged blocks */
    uint64_t merged; /* a generation whose blocks a merge has written; 0: none is known */
    size_t memory_bytes; /* of blocks that are held */
    const struct compact_sample *sample; /* NULL: all traces stay */
    struct gone_rows gone; /* in: of the part as it is; out: as it becomes */
    uint32_t blocks_kept; /* out: copied as they were, rows and texts */
};

enum err compact_rows(struct compact_rows_job *job, struct err_msg *msg) MUST_CHECK;

#endif
