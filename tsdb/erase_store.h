/* Erasing inside of the store: the targets at work, their rows in state, their way through the parts.
 *
 *   tsdb_erase.c   a wish becomes a durable target, jobs and receipts are told     erase_run.c   the flush role works the targets off
 *
 * Owner: struct tsdb.  Thread: erase_pin and erase_unpin any; the others as said.  Failure: as tsdb_erase.h.
 */
#ifndef TSDB_ERASE_STORE_H
#define TSDB_ERASE_STORE_H

#include "tsdb/erase_match.h"
#include "tsdb/part_store.h"
#include "tsdb/tsdb_state.h"

#define ERASE_RECEIPT_VERSION 2u
#define ERASE_TABLE "erase" /* id u64 BE -> target */
#define ERASE_TABLE_IDS "erase_ids" /* id u64 BE, chunk u32 BE -> ids of 16 bytes */
#define ERASE_TABLE_PARTS "erase_parts" /* id u64 BE, day u32 BE, class u8 -> counts */
#define ERASE_TABLE_DONE "erase_done" /* id u64 BE -> receipt */

/* At open, before heads are replayed: targets go on. */
enum err erase_open(struct tsdb *db, struct err_msg *msg) MUST_CHECK;
void erase_close(struct tsdb *db);

/* The targets of the org, NULL when there are none: taken before heads and parts are pinned, so that what it no longer names has gone. */
struct erase_set *erase_pin(struct tsdb *db, uint32_t org,
                            uint64_t *out_changes); /* how often the set has changed; or NULL */
void erase_unpin(struct erase_set *s);

/* Flush thread: one part's worth of work. true: there is more to do at once. */
bool erase_step(struct tsdb *db);
/* Flush thread: merging would take rows of a target out of its generations. */
bool erase_holds_compaction(struct tsdb *db);
bool erase_is_active(struct tsdb *db);

/* A new published set, with `joins` (consumed on ERR_OK) or without `leaves`. */
enum err erase_publish(struct tsdb *db, struct erase_target *joins,
                       const struct erase_target *leaves) MUST_CHECK;
void erased_write(const struct tsdb_erased *c, struct buf *out);
bool erased_read(struct reader *r, struct tsdb_erased *out);
void erased_add(struct tsdb_erased *sum, const struct tsdb_erased *c);
struct erase_key { /* id, then what follows */
    uint8_t bytes[16];
    size_t size;
};
struct erase_key erase_key_of(uint64_t id);
/* Counts of the parts that are done. */
enum err erase_sum_parts(struct tsdb *db, uint64_t id, struct arena *a,
                         struct tsdb_erased *out) MUST_CHECK;
/* Where it stands. */
enum tsdb_erase_phase erase_phase(struct tsdb *db, const struct erase_target *t);

#endif
