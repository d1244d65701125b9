/* Rows of a table (spans, logs) as encoded columns: what journal records and row blocks share. Format: docs/format/columns.md.
 *
 * A body holds some of the columns; those that are absent have their default in every row. Attribute trees are taken apart (trees.h), and what
 * is equal to another column is not written twice: so the body of a block of texts can need columns of the block of rows beside it.
 * Owner: caller.  Thread: any.
 * Failure: encode: the buffer's. decode: ERR_CORRUPT for anything else than these bytes, ERR_LIMIT past the arena or COLUMNS_ROWS_MAX.
 */
#ifndef TSDB_COLUMNS_H
#define TSDB_COLUMNS_H

#include "tsdb/tsdb_batch.h"
#include "tsdb/vector.h"

#define COLUMNS_ROWS_MAX (4u << 20)
#define COLUMNS_ALL UINT64_MAX

_Static_assert(TSDB_SPAN_COLUMN_COUNT <= 64 && TSDB_LOG_COLUMN_COUNT <= 64, "masks are 64 bits");

extern const struct columns_zip columns_zip_journal, columns_zip_block, columns_zip_settled;

/* The n rows named by rows (NULL = 0..n-1), the columns of mask (bit = column number). Columns of table outside of the mask may be referred to:
 * whoever decodes needs them. */
void columns_encode(const struct tsdb_schema *schema, const void *table, const uint32_t *rows,
                    uint32_t n, uint64_t mask, const struct columns_zip *zip, struct buf *out);
/* Fills table (a zeroed struct tsdb_spans or tsdb_logs): count, cap and those columns of mask that were written; what the others hold is
 * stepped over unread. Bytes stay in the arena; strings may point into the reader's bytes, which must live as long. With merge, the columns
 * are added to a table of the same row count, which must have those of columns_needs. */
enum err columns_decode(struct reader *r, const struct tsdb_schema *schema, uint64_t mask,
                        struct arena *a, void *table, bool merge) MUST_CHECK;
/* The same column by column: what several of them need is read once. The body lives as long as the arena. */
struct columns_body;
enum err columns_open(struct reader *r, const struct tsdb_schema *schema, struct arena *a,
                      struct columns_body **out) MUST_CHECK;
/* wanted: NULL, or for each row a byte that says whether it is wanted: strings of the others may read as empty. From one call to the next it may
 * only narrow. */
enum err columns_load(struct columns_body *b, uint64_t mask, const uint8_t *wanted, void *table,
                      bool merge) MUST_CHECK;
/* The columns of the other body of the same rows that this one refers to; 0 when it is none. */
uint64_t columns_needs(struct bytes body);
/* Every column of the schema. */
static inline uint64_t columns_all(const struct tsdb_schema *schema)
{
    return UINT64_MAX >> (64 - schema->column_count);
}
/* The columns that attribute trees are compared with when they are encoded: with these in the table a text body takes the least room. */
uint64_t columns_peers(const struct tsdb_schema *schema);
/* The order in which spans take the least room: spans of one trace together, traces and spans by time. rows: n numbers of rows, in the order of
 * time; rearranged. False: no memory, rows are as they were. */
bool columns_order_spans(const struct tsdb_id16 *trace_id, const int64_t *start_ns, uint32_t *rows,
                         uint32_t n) MUST_CHECK;
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
