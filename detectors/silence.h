/* One silence: what makes it valid and what it covers.
 *
 * Owner: caller.  Thread: any.  Failure: silence_check: ERR_INVALID with a sentence.
 */
#ifndef DETECTORS_SILENCE_H
#define DETECTORS_SILENCE_H

#include "detectors/detectors_silences.h"

enum err silence_check(const struct detectors_silence *s, int64_t now_ms,
                       struct err_msg *msg) MUST_CHECK;
bool silence_covers(const struct detectors_silence *s, const struct query_slo_pair *labels,
                    size_t n);
/* About an outage, safety or a leak, by its labels: no maintenance window covers it. */
bool silence_is_protected(const struct query_slo_pair *labels, size_t n);

#endif
