/* How far the store has got in the logs that it is fed from, by (topic, partition): the place moves in the transaction that holds the rows.
 *
 *     offsets_claim ... of every batch of a commit, in order --> commit written --> offsets_settle(true)
 *                                                          `-- failed ----------> offsets_settle(false): all as before
 * Owner: the store.  Thread: changed by the committer (and at start), read by any (a lock inside).
 * Failure: ERR_NOMEM, ERR_LIMIT past OFFSETS_MAX partitions.
 * Invariants: 1. A message is in the store if and only if its place is below offsets_find's. 2. Nothing is taken past a gap, unless the claim
 *             says that what lies between is gone (is_reset).
 */
#ifndef TSDB_OFFSETS_H
#define TSDB_OFFSETS_H

#include "base/buf.h"
#include "tsdb/tsdb_batch.h"

#define OFFSETS_MAX 65536u

struct offsets;

struct offsets *offsets_new(void); /* NULL: no memory */
void offsets_free(struct offsets *o); /* NULL is fine */

/* ERR_OK: moved, until offsets_settle. ERR_NOT_FOUND: it is stored, durably. ERR_CONFLICT: what comes before it is not, or it is in the commit
 * that is being made. */
enum err offsets_claim(struct offsets *o, const struct tsdb_claim *c) MUST_CHECK;
/* The claims since the last call are in a synced transaction, or are not. */
void offsets_settle(struct offsets *o, bool is_committed);
/* From the journal: it was taken. */
enum err offsets_replay(struct offsets *o, const struct tsdb_claim *c) MUST_CHECK;
/* Where to go on; false: nothing of the partition was ever taken. */
bool offsets_find(struct offsets *o, struct bytes topic, uint32_t partition,
                  struct tsdb_position *out);

void offsets_encode(struct offsets *o, struct buf *out);
/* Replaces everything. ERR_CORRUPT: nothing is changed. */
enum err offsets_decode(struct offsets *o, struct bytes text) MUST_CHECK;

#endif
