/* Small durable state in ordered tables: SLO documents, alert state, outbox, cursors, keys, sessions. One LMDB environment (data/state).
 *
 * Owner: the tsdb.  Thread: any; write transactions are serialised.
 * Failure: ERR_NOT_FOUND, ERR_FULL, ERR_IO. After a failed commit nothing of it is there.
 * Limits: table names 32 bytes, keys 400 bytes, values 1 MiB.
 * Invariant: a write transaction is all or nothing and durable when commit returns ERR_OK.
 */
#ifndef TSDB_TSDB_STATE_H
#define TSDB_TSDB_STATE_H

#include "tsdb/tsdb.h"

struct tsdb_state_write;

enum err tsdb_state_begin(struct tsdb *db, struct tsdb_state_write **out) MUST_CHECK;
enum err tsdb_state_put(struct tsdb_state_write *w, const char *table, struct bytes key,
                        struct bytes value) MUST_CHECK;
enum err tsdb_state_del(struct tsdb_state_write *w, const char *table,
                        struct bytes key) MUST_CHECK; /* absent is OK */
/* Reads inside the transaction see its own writes; the value is valid until the next call on w. */
enum err tsdb_state_read(struct tsdb_state_write *w, const char *table, struct bytes key,
                         struct bytes *out) MUST_CHECK;
enum err tsdb_state_commit(struct tsdb_state_write *w) MUST_CHECK; /* frees w whatever happens */
void tsdb_state_abort(struct tsdb_state_write *w);

/* Copies into the arena. */
enum err tsdb_state_get(struct tsdb *db, const char *table, struct bytes key, struct arena *a,
                        struct bytes *out) MUST_CHECK;
struct tsdb_state_row {
    struct bytes key, value;
};
/* Rows whose key starts with prefix, in key order, at most max, copied into the arena. */
enum err tsdb_state_scan(struct tsdb *db, const char *table, struct bytes prefix, size_t max,
                         struct arena *a, struct tsdb_state_row **out,
                         size_t *out_count) MUST_CHECK;

#endif
