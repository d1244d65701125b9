/* Tokens that coding CLIs also report as metrics: a cross-check of what their records book. They book only for a service that has reported for
 * a day and in that day told of no call: it sends metrics and nothing else. What is known of services begins anew with the process.
 *
 * llm_reported_tokens_total{service,type} is what the metrics say; llm_reported_tokens_drift{service} is that less what was booked: a sum that may
 * fall, near zero where both tell of the same calls. Only deltas are taken: a running total that several processes share is no number.
 * Owner: settle.  Thread: the committer.  Failure: w->ok.
 * Limits: SETTLE_REPORTED_SERVICES services that report, SETTLE_REPORTED_MEMO series remembered; past them the oldest give way.
 * Invariant: tokens of a metric are booked only where no record has booked for SETTLE_REPORTED_SILENCE_NS.
 */
#ifndef COLLECTOR_STAGE_SETTLE_REPORTED_H
#define COLLECTOR_STAGE_SETTLE_REPORTED_H

#include "collector/stage/settle_state.h"

#define SETTLE_REPORTED_SERVICES 256u
#define SETTLE_REPORTED_MEMO 4096u
#define SETTLE_REPORTED_SILENCE_NS (INT64_C(86400) * 1000000000)
#define SETTLE_REPORTED_PENDING_NS \
    (INT64_C(600) * 1000000000) /* records may come so long before the first report of them */

struct settle_reported *settle_reported_new(void); /* NULL = no memory */
void settle_reported_free(struct settle_reported *x);
/* Points of a metrics request. */
void settle_reported_points(struct settle_work *w);
/* A record books: what its service reported is less than that no more. */
void settle_reported_call(struct settle_work *w, const struct genai_row *r);

#endif
