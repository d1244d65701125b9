/* What changed in the two hours before an alert began: told events of its service, and what its calls show, with the share of bad events before
 * and after each. The text goes with the alert: "14:02 UTC deploy: checkout 1.8.2 (bad: 0.3 % before, 6.1 % after)".
 *
 * Owner: none.  Thread: detect.
 * Failure: none: an alert without it is still an alert.
 * Limits: ALERT_CHANGES of them, those nearest to the beginning first.
 */
#ifndef DETECTORS_ALERT_CHANGES_H
#define DETECTORS_ALERT_CHANGES_H

#include "detectors/alert.h"
#include "query/query_slo_source.h"

#define ALERT_CHANGES 3u
#define ALERT_CHANGES_MINUTES 120u
#define ALERT_CHANGES_SLACK 5u /* clocks differ; and what is slow to hurt is seen late */
#define ALERT_CHANGES_COMPARE 30u /* minutes before and after, as far as there are any */

/* to: the minute after the newest that is looked at. */
void alert_changes_fill(struct tsdb_view *v, const struct query_slo_source *src,
                        const struct query_slo *s, uint32_t to, struct arena *arena,
                        struct alert *a);

#endif
