/* Columns of attribute trees (tsdb_attrs.h), taken apart: the values of one key lie together. Format: docs/format/columns.md.
 *
 * A row is a walk: a list of (field, value), where a field is a key with a type. Rows of the same list of fields share a shape. A field whose
 * values are those of a column of the table (gen_ai.response.id and response_id) names the column instead. Nested values stay whole.
 * Owner: caller.  Thread: one coder at a time.
 * Failure: as vector.h.
 * Limits: TREES_FIELDS_MAX fields, TREES_NODES_MAX steps of different shapes, TREES_WIDTH_MAX fields of a row: rows beyond them, and bytes
 *         that are no tree or not in the form that tsdb_attrs writes, are kept as they are. TREES_BYTES_MAX of one column put together.
 * Invariant: the rows come back bit for bit.
 */
#ifndef TSDB_TREES_H
#define TSDB_TREES_H

#include "tsdb/vector.h"

#define TREES_FIELDS_MAX 1024u
#define TREES_NODES_MAX 16384u
#define TREES_WIDTH_MAX 256u
#define TREES_BYTES_MAX (1u << 30)

enum trees_kind { TREES_NONE, TREES_ATTRS, TREES_EVENTS, TREES_VALUE };

/* A column of the table that fields may be equal to. */
struct trees_column {
    uint32_t number;
    const struct bytes *strings; /* one of the two */
    const int64_t *ints;
};

/* used: the bits of the columns that were named. */
void trees_put(struct vector_coder *c, enum trees_kind kind, const struct bytes *v, uint32_t n,
               const struct trees_column *columns, uint32_t column_count, uint64_t *used,
               struct buf *out);
/* Gives the column of that number; NULL: it is not there. */
typedef const struct trees_column *(*trees_column_fn)(void *ctx, uint32_t number);
/* Rows that are not wanted (struct vector_coder) stay empty. */
enum err trees_get(struct vector_coder *c, enum trees_kind kind, struct reader *r, uint32_t n,
                   trees_column_fn column, void *ctx, struct bytes **out) MUST_CHECK;

#endif
