/* Tables of rows (spans, logs) out of heads and blocks, alike for both kinds.
 *
 * Owner: the arenas given.  Thread: the view's.
 * Failure: ERR_CORRUPT has been counted (go on without the block); ERR_LIMIT past the arena.
 */
#ifndef TSDB_VIEW_ROWS_H
#define TSDB_VIEW_ROWS_H

#include "tsdb/columns.h"
#include "tsdb/view_core.h"

struct view_row_kind {
    const struct tsdb_schema *schema;
    uint64_t always; /* columns that are never NULL in an answer that has all columns */
    uint64_t text_mask; /* columns of the block of texts */
    enum block_kind rows, text;
    size_t order_column; /* offset of the column that answers are ordered by: start_ns, time_ns */
    size_t service_column;
    bool is_spans;
};
extern const struct view_row_kind view_rows_spans, view_rows_logs;

union view_table {
    struct tsdb_spans spans;
    struct tsdb_logs logs;
};
static inline uint32_t view_table_count(const union view_table *t)
{
    return t->spans.count; /* leads both structs */
}
static inline int64_t view_table_order(const struct view_row_kind *k, const void *table,
                                       uint32_t row)
{
    const int64_t *col;
    memcpy(&col, (const uint8_t *)table + k->order_column, sizeof(col));
    return col[row];
}
static inline struct bytes view_table_service(const struct view_row_kind *k, const void *table,
                                              uint32_t row)
{
    const struct bytes *col;
    memcpy(&col, (const uint8_t *)table + k->service_column, sizeof(col));
    return col ? col[row] : BYTES_NONE;
}

/* A block being read: its columns are decoded when they are asked for, each once. */
struct view_block {
    const struct view_row_kind *k;
    const struct part_snapshot *part;
    const struct block_meta *meta;
    struct columns_body *body, *text; /* NULL: not fetched */
    uint64_t text_needs; /* columns of the rows that the text refers to */
    bool has_text; /* looked for; the text of a block may be gone, then its columns stay empty */
    uint64_t loaded; /* columns */
    const uint8_t *
        wanted; /* NULL, or for each row whether its strings are: those of others may read as empty (columns_load) */
    union view_table t;
};
struct view_block view_block_of(const struct view_row_kind *k, const struct part_snapshot *p,
                                const struct block_meta *m);
/* The columns of mask are there when it returns ERR_OK, those that were not written as defaults. ERR_CORRUPT: rows are gone (counted). */
enum err view_block_load(const struct tsdb_view *v, struct view_block *b, uint64_t mask,
                         struct arena *a) MUST_CHECK;
/* The block of texts beside it; NULL: there is none. */
const struct block_meta *view_block_text(const struct tsdb_view *v, const struct view_block *b,
                                         const struct part_snapshot **out_part);

/* A growing table of copied rows. */
struct view_pool {
    const struct view_row_kind *k;
    struct arena *a;
    uint64_t mask; /* columns of the answer */
    union view_table t;
    struct {
        struct bytes from, to;
    } last[64]; /* by column: neighbours often share the very string */
};
void view_pool_init(struct view_pool *p, const struct view_row_kind *k, uint64_t mask,
                    struct arena *a);
/* The table that the next rows come from is another one: its strings may lie where older ones were. */
void view_pool_next_table(struct view_pool *p);
enum err view_pool_add(struct view_pool *p, const void *table, uint32_t row) MUST_CHECK;
/* The rows named by order, as the answer. */
enum err view_pool_take(struct view_pool *p, const uint32_t *order, uint32_t n,
                        union view_table *out) MUST_CHECK;

#endif
