/* Rows that tell from their own bytes whether they are right: every column of a span follows from its id.
 * Owner: caller.  Thread: any.  Failure: rows_batch gives NULL without memory.
 */
#ifndef HELPER_ROWS_H
#define HELPER_ROWS_H

#include "tsdb/tsdb.h"
#include "tsdb/tsdb_read.h"

#define ROWS_T0_NS INT64_C(1795168800000000000) /* 2026-11-20T10:00:00Z */
#define ROWS_ORG TSDB_ORG_DEFAULT

/* Spans first..first+n-1 with one cell each on the series rows_total; every 11th span lies a day earlier. Key: of the request, 0 = none. */
struct tsdb_batch *rows_batch(struct tsdb_registry *series, uint64_t first, uint32_t n,
                              uint64_t key);
/* Every 11th span lies 1 .. days days earlier (1 unless said); of the process. */
void rows_late_days(unsigned days);
bool rows_is_late(uint64_t id);
/* true: the row is, bit by bit, the span of its id. */
bool rows_check(const struct tsdb_spans *spans, uint32_t row, uint64_t *out_id);

/* What a store holds of the ids 0..max-1. */
struct rows_found {
    uint8_t *times; /* how often each id is there */
    uint64_t rows, altered, strange; /* strange: ids >= max */
    int64_t cells; /* sum of rows_total */
    uint64_t counted; /* by tsdb_count */
};
enum err rows_find(struct tsdb *db, uint64_t max, struct rows_found *out);
void rows_found_done(struct rows_found *f);

/* Appends and waits for the answer; the batch is freed when it is not taken. */
enum err rows_append(struct tsdb *db, struct tsdb_batch *take_b, struct tsdb_result *out);

#endif
