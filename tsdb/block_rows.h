/* A block of rows (spans or logs) or of the texts beside them, made of rows that lie anywhere. Format: docs/format/block-rows.md.
 *
 * Owner: caller.  Thread: any.
 * Failure: ERR_NOMEM; then nothing of block and summary is of use.
 * Invariant: rows and texts of the same sources in the same order are blocks of one number.
 */
#ifndef TSDB_BLOCK_ROWS_H
#define TSDB_BLOCK_ROWS_H

#include "tsdb/columns.h"

struct block_rows_source {
    const struct tsdb_schema *schema; /* of spans or of logs */
    uint64_t text_mask; /* columns of the block of texts */
    const void *const *tables; /* of each row: where it lies ... */
    const uint32_t *rows; /* ... and its number there */
    uint32_t n;
};

/* is_text: the block of texts. block and summary begin empty and are the caller's to free, also after a failure. */
enum err block_rows_write(const struct block_rows_source *s, bool is_text,
                          const struct columns_zip *zip, struct arena *scratch, struct buf *block,
                          struct buf *summary) MUST_CHECK;

#endif
