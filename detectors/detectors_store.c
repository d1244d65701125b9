#include "detectors/detectors_store.h"

static enum err state_begin(void *ctx, void **out_txn)
{
    struct tsdb_state_write *w;
    enum err e = tsdb_state_begin(ctx, &w);
    if (e == ERR_OK)
        *out_txn = w;
    return e;
}

static enum err state_put(void *ctx, void *txn, const char *table, struct bytes key,
                          struct bytes value)
{
    (void)ctx;
    return tsdb_state_put(txn, table, key, value);
}

static enum err state_del(void *ctx, void *txn, const char *table, struct bytes key)
{
    (void)ctx;
    return tsdb_state_del(txn, table, key);
}

static enum err state_commit(void *ctx, void *txn)
{
    (void)ctx;
    return tsdb_state_commit(txn);
}

static void state_abort(void *ctx, void *txn)
{
    (void)ctx;
    tsdb_state_abort(txn);
}

static enum err state_scan(void *ctx, const char *table, struct bytes prefix, size_t max,
                           struct arena *a, struct tsdb_state_row **out, size_t *out_count)
{
    return tsdb_state_scan(ctx, table, prefix, max, a, out, out_count);
}

struct detectors_store detectors_store_of(struct tsdb *db)
{
    return (struct detectors_store){.ctx = db,
                                    .begin = state_begin,
                                    .put = state_put,
                                    .del = state_del,
                                    .commit = state_commit,
                                    .abort = state_abort,
                                    .scan = state_scan};
}
