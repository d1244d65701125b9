/* Rows that tell of one call: twins by response id, a call around the same call, the same span sent again.
 * Owner: settle.  Thread: the committer.  Failure: w->ok.  Limits: SETTLE_NESTED_MAX rows of a trace are looked at for children.
 * Invariant: of two rows that are found to be one call, exactly one books afterwards.
 */
#ifndef COLLECTOR_STAGE_SETTLE_TWIN_H
#define COLLECTOR_STAGE_SETTLE_TWIN_H

#include "collector/stage/settle_state.h"

enum settle_twin_repeat_kind { SETTLE_TWIN_NEW, SETTLE_TWIN_REPLACES, SETTLE_TWIN_LOSES };

/* The same span sent again: the one that ended later, else the one that says more, else the newer one stays. n: the row's entry to be. */
enum settle_twin_repeat_kind settle_twin_repeat(struct settle_work *w, uint32_t row,
                                                struct settle_index_entry *n, bool *out_agent_done);
/* true: this row books. n is the row's entry to be. */
bool settle_twin_row(struct settle_work *w, uint32_t row, struct settle_index_entry *n);
/* true: this row books. The child usually came first. */
bool settle_twin_nested(struct settle_work *w, uint32_t row);
/* The booked row of this response id, if there is one that this row may be a twin of; trace NULL: any. */
struct settle_index_entry *settle_twin_find(struct settle *s, const struct tsdb_batch *b,
                                            struct bytes id, struct bytes provider,
                                            const struct tsdb_id16 *trace,
                                            struct settle_index **out_index);

#endif
