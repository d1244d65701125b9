/* Usage on agent rows: unclaimed when a call lies below, booked after a minute of silence in the trace (the leaf rule).
 * Owner: settle.  Thread: the committer.  Failure: w->ok.
 * Limits: SETTLE_PENDING_MAX waiting rows, SETTLE_WAITING_MAX of one trace; beyond, usage is unclaimed at once and counted.
 * Invariant: a waiting row is resolved once; after its generation is gone it waits as a copy.
 */
#ifndef COLLECTOR_STAGE_SETTLE_AGENT_H
#define COLLECTOR_STAGE_SETTLE_AGENT_H

#include "collector/stage/settle_state.h"

/* Agent rows whose usage waits: not chains, and not those that booked at once. */
bool settle_agent_waits(const struct tsdb_spans *sp, uint32_t row);
void settle_agent_row(struct settle_work *w, uint32_t row);
/* A row of a trace: agent rows of it wait longer, and one that has this call below it waits no more. */
void settle_agent_touch(struct settle_work *w, uint32_t row, bool is_call);
/* Once a second of received time and org: whose silence lasted long enough books. */
void settle_agent_sweep(struct settle_work *w);
/* An agent row sent again: the waiting copy gives way. false: its usage was decided already. */
bool settle_agent_replaced(struct settle_work *w, const struct tsdb_batch *b, uint32_t row);
void settle_agent_drop(struct settle *s, uint64_t generation);

#endif
