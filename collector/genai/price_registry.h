/* The durable registry of price rows: every row that ever made a cost can be named, long after it has left the document.
 *
 * Tables of the store's small state: "price_rows": id (4 bytes, big-endian) -> {"content": ..., "source": ..., "first_ms": ...}, append only;
 * "price_tables": "active" -> what is in force now and its rows; "at" + time (8 bytes, big-endian) -> each table that ever was.
 * Owner: none.  Thread: one at a time (the writer of the state).  Failure: that of the state; nothing is registered then.
 * Limits: PRICE_REGISTRY_ROWS_MAX rows; a table that would go past them is refused.
 * Invariants: 1. An id never changes its content. 2. A table is shared only after all its rows are in the registry.
 */
#ifndef COLLECTOR_GENAI_PRICE_REGISTRY_H
#define COLLECTOR_GENAI_PRICE_REGISTRY_H

#include "collector/genai/price_table.h"
#include "tsdb/tsdb_state.h"

#define PRICE_REGISTRY_ROWS_MAX 65536u

/* Registers the rows of t, numbering anew those whose id stands for something else there, and makes t the active table. */
enum err price_registry_put(struct tsdb *db, struct price_table *t, const char *name,
                            struct err_msg *msg) MUST_CHECK;
/* The rates of an id, without where they hold; ERR_NOT_FOUND, ERR_CORRUPT. */
enum err price_registry_get(struct tsdb *db, uint32_t id, struct price_row *out) MUST_CHECK;

#endif
