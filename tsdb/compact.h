/* Compaction: a part's environment is made anew, with the blocks of its many generations merged into one; then it takes the old one's place.
 *
 * Blocks that are not merged are copied as bytes, and so is every block of a generation that is not flushed yet. Files really shrink, and
 * old bytes really go. Views read the old environment as long as they hold it.
 * Owner: the store.  Thread: the flush role.
 * Failure: the part stays as it was. Over damaged blocks it is left alone until the next start.
 */
#ifndef TSDB_COMPACT_H
#define TSDB_COMPACT_H

#include "tsdb/head_core.h"
#include "tsdb/store.h"

#define COMPACT_GENERATIONS \
    12u /* a part with more is compacted by itself, when that is worth its writes */
#define COMPACT_GENERATIONS_MAX 48u /* and with more than this in any case */

#define COMPACT_KEPT_TABLE "kept_traces" /* in state: what tsdb_keep_trace was told */

struct tsdb_state_write;

/* What goes on the way: points of the series that are chosen, by time. */
struct compact_drop {
    bool (*chooses)(void *ctx, struct tsdb_labels l);
    void *ctx;
    int64_t min_ms, max_ms;
    uint64_t dropped; /* counted here */
};

/* What one merger works on: the flushed blocks of one org. */
struct compact_job {
    struct part *out; /* where merged blocks go (part_put) */
    const struct part_snapshot *snapshot;
    enum part_class class;
    uint32_t org;
    const struct block_meta *metas; /* sorted by key */
    size_t meta_count;
    uint64_t
        generation; /* of the merged blocks: the newest of those merged; their n begins with 0 */
    struct compact_drop *drop; /* NULL: nothing goes */
    struct head_resolved *resolved; /* out; NULL: not asked for */
};

/* asked: every part with more than one generation. Else those that are due. */
enum err compact_run(struct tsdb *db, bool asked, struct err_msg *msg) MUST_CHECK;
/* Before a part is dropped: the mark that it is settled goes. Best effort; should the part stay, it is looked at once more. */
void compact_forget(struct tsdb *db, const struct part *p);
/* Something else has written the part anew: its blocks are not those of the last merge. */
void compact_forget_merge(struct tsdb *db, const struct part *p);
/* The trace is erased: that sampling was to keep it (tsdb_keep_trace) goes, too. */
enum err compact_unkeep(struct tsdb_state_write *w, uint32_t org,
                        struct tsdb_id16 trace_id) MUST_CHECK;

#endif
