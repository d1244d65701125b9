/* Rows that were stored and are not there any more: absorbed or sampled out by compaction, or expired with their day.
 *
 *     stored = live (tsdb_count) + expired + erased + superseded + sampled_out        per org, of spans and logs
 * What compaction takes away is written beside the rows that are left, in the part (BLOCK_GONE), so that both are true at once; when the part goes,
 * its numbers and its rows move into the state: first as "pending", then, once the part is away, into the totals. A start finishes or forgets
 * what is pending by whether the part is still there.
 * Owner: the store.  Thread: the flush role, start-up; gone_accounts from any.
 * Failure: what is dropped without gone_drop_begin is missing in the numbers.
 */
#ifndef TSDB_GONE_H
#define TSDB_GONE_H

#include "base/buf.h"
#include "tsdb/tsdb.h"

struct gone_rows { /* of the spans of one org in one part */
    uint64_t decided; /* generations up to it have been sampled; 0: none */
    uint64_t superseded, sampled_out;
};
void gone_write(const struct gone_rows *g, struct buf *out);
bool gone_read(struct bytes block, struct gone_rows *out);

struct part;
struct part_snapshot;
/* What is said in a part of an org; zero when nothing. */
struct gone_rows gone_of(const struct part_snapshot *p, uint32_t org);

enum err gone_drop_begin(struct tsdb *db, struct part *p, struct err_msg *msg) MUST_CHECK;
void gone_drop_end(struct tsdb *db, bool is_dropped); /* best effort: the next start does it too */
void gone_start(struct tsdb *db);
/* Fills in expired, superseded and sampled_out. */
void gone_accounts(struct tsdb *db, struct tsdb_account *rows, size_t n);

#endif
