/* Where the period of a calendar window begins: at midnight of the first of a month in Berlin, say, whatever the clocks did in between.
 *
 * Owner: the arena given.  Thread: immutable after slo_calendar_load.
 * Failure: slo_calendar_load: ERR_INVALID, ERR_NOT_FOUND (no such time zone), ERR_CORRUPT, ERR_NOMEM, with a sentence.
 * Invariant: of any minute exactly one period holds it: slo_calendar_start(m) <= m, and the start of a start is itself.
 */
#ifndef DETECTORS_SLO_CALENDAR_H
#define DETECTORS_SLO_CALENDAR_H

#include "detectors/budget.h"
#include "query/query_slo.h"

struct slo_calendar {
    struct query_slo_calendar def;
    struct budget_zone zone;
};

/* The objective has a calendar window. */
enum err slo_calendar_load(const struct query_slo *s, struct arena *a, struct slo_calendar *out,
                           struct err_msg *msg) MUST_CHECK;
/* The first minute of the period that holds the minute; 0 before the first period. */
uint32_t slo_calendar_start(const struct slo_calendar *c, uint32_t minute);

#endif
