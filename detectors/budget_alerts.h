/* Alerts of budgets: one for each budget, value, threshold and window, through the same book as those of objectives.
 *
 * Owner: none.  Thread: detect.  Failure: as book_commit: what was not committed is found again in the next round.
 * Invariant: an alert's id begins with BUDGET_ALERTS_PREFIX, as no objective's does.
 */
#ifndef DETECTORS_BUDGET_ALERTS_H
#define DETECTORS_BUDGET_ALERTS_H

#include "detectors/evaluator.h"

#define BUDGET_ALERTS_PREFIX "budget:"

static inline bool budget_alerts_owns(const struct alert *a)
{
    return strncmp(a->slo_id, BUDGET_ALERTS_PREFIX, sizeof(BUDGET_ALERTS_PREFIX) - 1) == 0;
}
/* Opens, steps and resolves. */
enum err budget_alerts_run(struct detectors *d, struct transitions *changes, uint32_t horizon,
                           int64_t now_ms) MUST_CHECK;

#endif
