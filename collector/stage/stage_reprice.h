/* Re-pricing: what stored calls would cost by the prices of now, and the cells that bring the sums there. Rows keep their event-time cost.
 *
 * Of the spans in a range those that book are told apart as the settler does it: the same span again, twins by response id, a call directly
 * below a call. For each the difference by cost type is new - old, old being split by the very row that its price_id names. The cells go to
 * llm_cost_nanousd_total in the calls' own minutes, and once more, by direction, to llm_cost_repriced_nanousd_total{type,was,direction}, so
 * that event-time sums stay readable and a second re-pricing adds only what the first has not.
 * Not touched: calls told by logs of coding CLIs, agent-reported usage, breakdowns and the count of unpriced requests, which say what was known
 * at event time.
 * Owner: caller.  Thread: any; one at a time (the caller's lock), or two add the same difference.
 * Failure: ERR_LIMIT past STAGE_REPRICE_CALLS_MAX calls; a view's errors.
 * Limits: STAGE_REPRICE_CALLS_MAX calls of the range (10 minutes more on both sides, where a twin may lie).
 * Invariant: with the same prices and rows a second run gives a batch without cells.
 */
#ifndef COLLECTOR_STAGE_STAGE_REPRICE_H
#define COLLECTOR_STAGE_STAGE_REPRICE_H

#include "collector/stage/stage.h"
#include "tsdb/tsdb_read.h"

#define STAGE_REPRICE_CALLS_MAX 500000u

struct stage_reprice_ask {
    uint32_t org;
    uint32_t from, to; /* minutes of the calls' ends, to exclusive */
    struct bytes service, model; /* empty = any; model: canonical family */
    bool only_unpriced;
};
struct stage_reprice_sums {
    uint64_t calls; /* that book and are asked for */
    uint64_t changed, unpriced_before, unpriced_still,
        not_split; /* not_split: the old price cannot be told any more */
    uint64_t twins; /* not booked: another row tells of the same call */
    int64_t old_nanousd, new_nanousd; /* of the calls, at event time and by the prices of now */
    int64_t added_nanousd; /* by the batch: less than new - old where it was re-priced before */
    uint64_t cells;
};
/* out_batch NULL: only the sums. Else a batch of cells, to be appended (or freed) by the caller. */
enum err stage_reprice(struct stage *s, struct tsdb *db, const struct stage_reprice_ask *ask,
                       struct stage_reprice_sums *out, struct tsdb_batch **out_batch,
                       struct err_msg *msg) MUST_CHECK;

#endif
