/* What one row alone cannot decide: twins by response id, a span sent again, a log and a span of one call, usage on agent rows.
 *
 * Remembers the GenAI rows of the live generations by span, trace and response id; the rows themselves stay in their batches. A row that
 * turns out not to book loses its cells: they are taken back by cells of the opposite sign in the same minutes, added to the batch in hand.
 *
 *     span row ──► repeat of a span?  ── older/poorer ──► its cells go          ── newer/richer ──► the old one's cells go
 *        │no
 *        ├─ call with response id ──► twin?  inner interval books, else the later start; outer − inner ──► llm_gateway_overhead_seconds
 *        ├─ call directly below a call of the same usage ──► the outer one is a wrapper: the inner books
 *        ├─ call ──► agent rows waiting above it ──► their usage is unclaimed
 *        ├─ tool ──► counted once, whoever tells of it (settle_tool.h)
 *        └─ agent with usage ──► call below known? unclaimed : waits 60 s of silence ──► booked (agent_reported)
 *
 * Owner: the stage.  Thread: the committer, in commit order.
 * Failure: ERR_LIMIT when the batch's arena is full. Past a limit a row is not remembered: it books as it stands, counted.
 * Limits: SETTLE_ROWS_MAX rows a generation, SETTLE_PENDING_MAX waiting agent rows and SETTLE_WAITING_MAX of one trace,
 *         SETTLE_TRACE_MAX rows of a trace looked at for
 *         calls below an agent and SETTLE_NESTED_MAX for a call's own, SETTLE_ANCESTORS_MAX steps up it.
 * Invariants: 1. Of the rows of one key at most one books. 2. Replaying the batches of a generation leads to the state that settling them
 *             led to. 3. Nothing points into a generation that was dropped.
 */
#ifndef COLLECTOR_STAGE_SETTLE_H
#define COLLECTOR_STAGE_SETTLE_H

#include "collector/stage/derive.h"
#include "collector/tokens/tokens_open.h"

#define SETTLE_ROWS_MAX (1u << 20)
#define SETTLE_PENDING_MAX (1u << 16)
#define SETTLE_WAITING_MAX 256u
#define SETTLE_TRACE_MAX 4096u
#define SETTLE_NESTED_MAX 256u
#define SETTLE_ANCESTORS_MAX 64u

struct settle_options {
    const struct genai *genai;
    struct breakdown *breakdown;
    bool without_twins, without_repeats, without_leaf, without_tools; /* tests only */
    struct tokens_open_options streams;
};

struct settle;
struct settle *settle_new(const struct settle_options *o); /* NULL = no memory */
void settle_free(struct settle *s);
struct derive *settle_derive(struct settle *s); /* its series and thresholds are set by the stage */
/* mut is b, or NULL when the batch is replayed: learn only. */
enum err settle_batch(struct settle *s, const struct tsdb_batch *b, struct tsdb_batch *mut,
                      uint64_t seq, uint64_t generation) MUST_CHECK;
void settle_undo(struct settle *s, uint64_t seq);
void settle_drop(struct settle *s, uint64_t generation);
struct tokens_open *settle_streams(struct settle *s);

#endif
