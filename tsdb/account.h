/* The counts of promise 4: received = stored + duplicate + rejected + quarantined, per org and signal.
 * Owner: the store.  Thread: written by the committer, read by any (a lock inside).
 * Limits: ACCOUNT_ROWS_MAX (org, signal) pairs; further orgs share the last row.
 */
#ifndef TSDB_ACCOUNT_H
#define TSDB_ACCOUNT_H

#include "base/buf.h"
#include "tsdb/tsdb.h"

#define ACCOUNT_ROWS_MAX 12288u

struct account;
struct account *account_new(void);
void account_free(struct account *a);
/* Adds one request: its rows of `signal`. */
void account_add(struct account *a, uint32_t org, enum tsdb_signal signal, uint64_t stored,
                 uint64_t duplicate, const uint64_t rejected[TSDB_REJECT_COUNT]);
/* What became of stored rows since the directory was made: kept in state (totals.h), not in checkpoints. */
void account_erased(struct account *a, uint32_t org, enum tsdb_signal signal, uint64_t total);
void account_superseded(struct account *a, uint32_t org, enum tsdb_signal signal, uint64_t total);
void account_encode(struct account *a, struct buf *out);
bool account_decode(struct account *a, struct reader *r); /* replaces everything */
size_t account_copy(struct account *a, struct tsdb_account *out, size_t max);

#endif
