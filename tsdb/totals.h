/* Totals by org and signal that are kept in state and not in the journal's checkpoints: what became of rows after they were stored.
 *
 *     table   key org u32 BE, signal u8 -> u64 LE
 * Owner: caller.  Thread: any (state's writes are serialised).  Failure: state's errors.
 */
#ifndef TSDB_TOTALS_H
#define TSDB_TOTALS_H

#include "tsdb/store.h"
#include "tsdb/tsdb_state.h"

#define TOTALS_ERASED "erased"
#define TOTALS_SUPERSEDED "superseded"

enum err totals_add(struct tsdb_state_write *w, const char *table, uint32_t org,
                    enum tsdb_signal signal, uint64_t more) MUST_CHECK;
/* What state says goes to the accounts. */
enum err totals_load(struct tsdb *db) MUST_CHECK;
/* Samples of the org that another one at the same time has replaced: to state and the accounts. A failure loses the count, and is logged. */
void totals_superseded(struct tsdb *db, uint32_t org, uint64_t samples);

#endif
