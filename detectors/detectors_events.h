/* Events that people and pipelines tell of: a deploy, a flag, a change of configuration. Each is one log record (QUERY_CHANGES_EVENT), so that
 * search, retention and erase hold for it as for any other; query_changes reads them.
 *
 *     {"kind":"deploy","title":"checkout 1.8.2","service":"checkout","version":"1.8.2","link":"https://…","by":"ci","at_ms":…}
 *
 * Owner: caller.  Thread: any that may block.
 * Failure: parse: ERR_INVALID with a sentence. put: the store's; durable when it returns ERR_OK.
 * Limits: DETECTORS_EVENT_*; at_ms at most ten minutes ahead and 31 days back.
 */
#ifndef DETECTORS_DETECTORS_EVENTS_H
#define DETECTORS_DETECTORS_EVENTS_H

#include "tsdb/tsdb.h"

#define DETECTORS_EVENT_KIND_MAX 32u
#define DETECTORS_EVENT_TITLE_MAX 300u
#define DETECTORS_EVENT_TEXT_MAX 200u /* the others; of a link 1,000 */

struct detectors_event {
    struct bytes kind, title, service, model, version, link, by;
    int64_t at_ms;
};
/* Slices of the arena. at_ms absent: now. */
enum err detectors_event_parse(struct bytes json, int64_t now_ms, struct arena *a,
                               struct detectors_event *out, struct err_msg *msg) MUST_CHECK;
enum err detectors_event_put(struct tsdb *db, uint32_t org,
                             const struct detectors_event *e) MUST_CHECK;

#endif
