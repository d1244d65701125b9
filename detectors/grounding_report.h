/* The report: records of a range added up by stream, and what labels make of the sums.
 *
 * Owner: the caller's arena.  Thread: the view's.
 * Failure: the view's errors, ERR_NOMEM.
 * Limits: those of detectors_grounding.h.
 * Invariant: a response that has a label is not in the pool of those without.
 */
#ifndef DETECTORS_GROUNDING_REPORT_H
#define DETECTORS_GROUNDING_REPORT_H

#include "detectors/grounding_labels.h"

/* A log record as a verdict of ours; false: it is none. Texts point into the table. */
bool grounding_report_record(const struct tsdb_logs *l, uint32_t row, struct grounding_record *out);
enum err grounding_report_make(struct tsdb_view *v, const struct grounding_ask *ask,
                               const struct grounding_labelled *labels, uint32_t label_count,
                               struct arena *a, struct grounding_report *out) MUST_CHECK;

#endif
