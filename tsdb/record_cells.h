/* The cells of a record: what its spans add to derived series. Format: docs/format/record.md.
 *
 * The rows of one service book on the same series, one after the other, and mostly the same: so a cell is told from the one before it and
 * from the last of its series. A latency is read from the times of its span.
 * Owner: caller.  Thread: as record.h.
 * Failure: put: out->failed. get: ERR_CORRUPT for anything else than these bytes, ERR_LIMIT past the batch's arena.
 * Invariant: get(put(cells)) are the cells, bit for bit, without those of spans that are dropped.
 */
#ifndef TSDB_RECORD_CELLS_H
#define TSDB_RECORD_CELLS_H

#include "base/buf.h"
#include "tsdb/record.h"

/* new_row: for each span its number in the record or TSDB_NO_ROW; NULL: all stay. Nothing is written where no cell is left. */
void record_cells_put(const struct tsdb_batch *b, const uint32_t *new_row, struct buf *out);
/* The spans of the batch have been read. */
enum err record_cells_get(struct reader *r, const struct record_refs *m,
                          struct tsdb_batch *b) MUST_CHECK;

#endif
