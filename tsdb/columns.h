/* Rows of a table (spans, logs) as encoded columns: what journal records and row blocks share.
 *
 *     columns := varint rows, { column number u8, encoding u8, varint size, payload }*, 0xff
 * Columns that are absent or hold their default everywhere are left out. Encodings: 0 one value for all rows, 1 plain, 2 dictionary
 * (strings); |= 0x80: the payload is varint raw size + a zstd frame.
 *     integers: zigzag varint of the difference to the row before; ids and doubles: raw bytes; strings: varint length, bytes;
 *     dictionary: varint n, n strings, then a varint index a row.
 * Owner: caller.  Thread: any.
 * Failure: encode: the buffer's. decode: ERR_CORRUPT for anything else than these bytes, ERR_LIMIT past the arena or COLUMNS_ROWS_MAX.
 */
#ifndef TSDB_COLUMNS_H
#define TSDB_COLUMNS_H

#include "tsdb/tsdb_batch.h"

#define COLUMNS_ROWS_MAX (4u << 20)
#define COLUMNS_ALL UINT64_MAX

_Static_assert(TSDB_SPAN_COLUMN_COUNT <= 64 && TSDB_LOG_COLUMN_COUNT <= 64, "masks are 64 bits");

/* Which string columns go through zstd: those of at least bytes_min bytes. A journal lives for minutes and is written while senders wait;
 * a block is kept and read for as long as the retention says. */
struct columns_zip {
    int level;
    uint32_t bytes_min;
};
extern const struct columns_zip columns_zip_journal, columns_zip_block;

/* The n rows named by rows (NULL = 0..n-1), the columns of mask (bit = column number). */
void columns_encode(const struct tsdb_schema *schema, const void *table, const uint32_t *rows,
                    uint32_t n, uint64_t mask, const struct columns_zip *zip, struct buf *out);
/* Fills table (a zeroed struct tsdb_spans or tsdb_logs): count, cap and those columns of mask that were written; what the others hold is
 * stepped over unread. Bytes stay in the arena; strings may point into the reader's bytes, which must live as long. With merge, the columns
 * are added to a table of the same row count. */
enum err columns_decode(struct reader *r, const struct tsdb_schema *schema, uint64_t mask,
                        struct arena *a, void *table, bool merge) MUST_CHECK;
/* Gives every column of mask that is absent its default. */
bool columns_fill(const struct tsdb_schema *schema, struct arena *a, void *table,
                  uint64_t mask) MUST_CHECK;
/* Fills the columns of mask of table (zeroed) with row rows[i] of sources[i]; count and cap become n. Columns that no source has stay absent. */
bool columns_gather(const struct tsdb_schema *schema, const void *const *sources,
                    const uint32_t *rows, uint32_t n, uint64_t mask, struct arena *a,
                    void *table) MUST_CHECK;
/* Copies row `from` of src to row `to` of dst where dst has the column. */
void columns_copy_row(const struct tsdb_schema *schema, const void *src, uint32_t from, void *dst,
                      uint32_t to);
/* A table with all columns allocated for cap rows; count 0. */
bool columns_make(const struct tsdb_schema *schema, struct arena *a, void *table,
                  uint32_t cap) MUST_CHECK;
size_t columns_item_size(enum tsdb_column_type type);

#endif
