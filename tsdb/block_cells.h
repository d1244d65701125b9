/* The integer cells of one series and day as bytes: minutes, and beside many of them the sum of each hour. Drawn in
 * docs/format/block-series.md (chunk, cells).
 *
 * Owner: caller.  Thread: any.
 * Failure: readers: ERR_CORRUPT for any bytes that are no cells, ERR_LIMIT past the arena.
 * Limits: BLOCK_CELLS_PLAIN_MAX cells without sums of hours.
 * Invariant: a sum over any minutes of a day takes at most 23 hours and BLOCK_CELLS_PLAIN_MAX minutes of it, or its total alone.
 */
#ifndef TSDB_BLOCK_CELLS_H
#define TSDB_BLOCK_CELLS_H

#include "tsdb/head_core.h"

#include "base/buf.h"

#define BLOCK_CELLS_PLAIN_MAX 118u /* 59 minutes at each end of a window */

struct block_cells {
    bool is_hist;
    uint32_t minute_first, minute_last, count;
    int64_t total; /* of all integer cells of the chunk: a window that covers it needs no more */
    struct bytes rest;
};

/* Sorted by minute, distinct, n > 0. */
void block_cells_write(const struct head_cell *c, uint32_t n, bool is_hist, struct buf *out);
/* The head of a chunk; what follows is checked when it is read. */
enum err block_cells_open(struct bytes chunk, uint32_t rows_max,
                          struct block_cells *out) MUST_CHECK;
/* All of them, with the sums proved. */
enum err block_cells_read(const struct block_cells *c, struct arena *a,
                          struct head_cell **out) MUST_CHECK;
/* Integer cells with from <= minute < to. sums: an hour that lies wholly within comes as one, at its first minute. */
typedef void (*block_cells_fn)(void *ctx, uint32_t series, uint32_t minute, int64_t add);
enum err block_cells_walk(const struct block_cells *c, uint32_t from, uint32_t to, bool sums,
                          block_cells_fn fn, void *ctx, uint32_t series) MUST_CHECK;

#endif
