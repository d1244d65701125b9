/* Compaction: the series blocks of a part's generations become the blocks of one.
 *
 * What was replaced stays on disk until the last snapshot that may read it is gone. Rows, text, exemplars and metadata keep their blocks.
 * Owner: the store.  Thread: the flush role.
 * Failure: the part stays as it was. After a commit of unknown outcome, or over damaged blocks, it is left alone until the next start.
 */
#ifndef TSDB_COMPACT_H
#define TSDB_COMPACT_H

#include "tsdb/store.h"

#define COMPACT_GENERATIONS 12u /* a part with more is compacted by itself */
#define COMPACT_SMALL_BYTES (2u << 20)

/* Parts with more than `generations` generations of series; with no more than COMPACT_GENERATIONS only where a generation has less than
 * COMPACT_SMALL_BYTES on average: the environment's file does not shrink (what is removed is used by later flushes), so that merging
 * a few large ones would cost more disk than it spares time. */
enum err compact_run(struct tsdb *db, unsigned generations, struct err_msg *msg) MUST_CHECK;
/* Removes replaced blocks that nobody can see any more. */
void compact_sweep(struct tsdb *db);

#endif
