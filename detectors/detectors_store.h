/* Where detectors keep what must survive: the store's state tables, or a test's.
 *
 * Owner: caller; copied by detectors_new.  Thread: any; write transactions are serialised by the implementation.
 * Failure: the implementation's; after a failed commit nothing of it is there.
 */
#ifndef DETECTORS_DETECTORS_STORE_H
#define DETECTORS_DETECTORS_STORE_H

#include "tsdb/tsdb_state.h"

struct detectors_store {
    void *ctx;
    enum err (*begin)(void *ctx, void **out_txn);
    enum err (*put)(void *ctx, void *txn, const char *table, struct bytes key, struct bytes value);
    enum err (*del)(void *ctx, void *txn, const char *table, struct bytes key);
    enum err (*commit)(void *ctx, void *txn); /* frees txn whatever happens */
    void (*abort)(void *ctx, void *txn);
    enum err (*scan)(void *ctx, const char *table, struct bytes prefix, size_t max, struct arena *a,
                     struct tsdb_state_row **out, size_t *out_count);
};

struct detectors_store detectors_store_of(struct tsdb *db);

#endif
