/* Watches the watchers: every objective and every group of rules has a watermark, the moment that it was last evaluated. One that is older than three
 * of its intervals (and a minute) pages by a path of its own: this thread sends to the receivers itself, past the outbox and the state store,
 * which may be what is broken.
 *
 *   watermark late twice in a row --> told, and again every WATCHDOG_REPEAT_MS --> all evaluated again: told once that it is over
 *
 * Owner: the detectors.  Thread: its own; start and stop from one.
 * Failure: watchdog_start: ERR_NOMEM. A receiver that does not take it is tried again after WATCHDOG_RETRY_MS.
 * Invariant: webhook-id = "watchdog-" + receiver + the moment it began + how often it was said.
 */
#ifndef DETECTORS_WATCHDOG_H
#define DETECTORS_WATCHDOG_H

#include "detectors/evaluator.h"

#define WATCHDOG_GRACE_MS INT64_C(60000)
#define WATCHDOG_REPEAT_MS (15 * INT64_C(60000))
#define WATCHDOG_RETRY_MS INT64_C(30000)

struct watchdog;

struct watchdog *watchdog_new(struct detectors *d); /* NULL: out of memory */
void watchdog_free(struct watchdog *w); /* stopped; NULL is fine */
enum err watchdog_start(struct watchdog *w, struct err_msg *msg) MUST_CHECK;
void watchdog_stop(struct watchdog *w);

/* How many watermarks are late at this moment; the first one's name. */
struct watchdog_late {
    uint32_t count;
    int64_t age_ms; /* of the first */
    char name[300];
};
void watchdog_look(struct detectors *d, int64_t since_ms, int64_t now_ms,
                   struct watchdog_late *out);

#endif
