/* Alerts of conditions: one for each condition and subject, through the same book as those of objectives.
 *
 * Owner: none.  Thread: detect.  Failure: as book_commit: what was not committed is found again in the next round.
 * Invariant: an alert's id begins with CONDITION_ALERTS_PREFIX, as no objective's and no budget's does.
 */
#ifndef DETECTORS_CONDITION_ALERTS_H
#define DETECTORS_CONDITION_ALERTS_H

#include "detectors/detectors_conditions.h"
#include "detectors/evaluator.h"

#define CONDITION_ALERTS_PREFIX "condition:"
#define CONDITION_ALERTS_SERVICE "telltale" /* whom it is about: the program itself */

static inline bool condition_alerts_owns(const struct alert *a)
{
    return strncmp(a->slo_id, CONDITION_ALERTS_PREFIX, sizeof(CONDITION_ALERTS_PREFIX) - 1) == 0;
}
/* Opens, steps and resolves; the first error of a look, after all the others had their turn. */
enum err condition_alerts_run(struct detectors *d, struct transitions *changes, uint32_t horizon,
                              int64_t now_ms, struct arena *a) MUST_CHECK;

#endif
