/* Receivers: their kinds, what each kind needs, and the notification that tries one.
 *
 * Owner: the detectors.  Thread: any.
 * Failure: receiver_check writes a line for each mistake.
 */
#ifndef DETECTORS_RECEIVER_H
#define DETECTORS_RECEIVER_H

#include "detectors/evaluator.h"

#define RECEIVER_PAGERDUTY_URL "https://events.pagerduty.com/v2/enqueue"
#define RECEIVER_ALERTMANAGER_REPEAT_MS \
    INT64_C(60000) /* it forgets after 5 minutes (resolve_timeout) what nobody tells it again */

bool receiver_kind_parse(struct bytes name, enum detectors_receiver_kind *out);
/* All but the name. One sentence a mistake, each with `prefix` before it. */
void receiver_check(const struct detectors_receiver *r, const char *prefix, struct buf *errors);

#endif
