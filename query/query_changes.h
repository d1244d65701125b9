/* What changed: events that people and pipelines told of, and what the calls themselves show: a version of the service, a model or a prompt
 * version that it had not used in the day before.
 *
 *   log records "telltale.event" ──────────────────────────────┐
 *   sums by value: the range ─┐                                 ├─▶ changes, newest first
 *                             ├─▶ new values ─▶ first minute ───┘
 *   the day before ───────────┘
 *
 * Owner: results live in the arena.  Thread: any.
 * Failure: the view's errors.
 * Limits: QUERY_CHANGES_MAX changes, the newest; QUERY_CHANGES_SERVICES services are looked at when none is named, those with the most calls.
 * Invariant: a service that made no calls in the day before has no found changes: there is nothing to compare with.
 */
#ifndef QUERY_QUERY_CHANGES_H
#define QUERY_QUERY_CHANGES_H

#include "tsdb/tsdb_read.h"

#define QUERY_CHANGES_EVENT "telltale.event"
#define QUERY_CHANGES_MAX 200u
#define QUERY_CHANGES_SERVICES 20u
#define QUERY_CHANGES_MINUTES_MAX (31u * 1440u)
#define QUERY_CHANGES_BEFORE_MINUTES 1440u /* a value that was not there for so long is new */
#define QUERY_CHANGES_LEAST_CALLS 5 /* fewer are chance, */
#define QUERY_CHANGES_LEAST_SHARE 0.02 /* and so are fewer of all that came since */

struct query_changes_ask {
    struct bytes service; /* empty: all. Told events that name no service belong to each */
    uint32_t from, to; /* minutes */
};
struct query_change {
    int64_t at_ms;
    struct bytes kind; /* as told ("deploy", "flag", ...); found: "version", "model", "prompt" */
    struct bytes service, title, version, model, link, by; /* empty: not said */
    struct bytes before; /* found: the value that the service used most */
    double share; /* found: of the service's calls since it appeared */
    bool is_found;
};
enum err query_changes(struct tsdb_view *v, const struct query_changes_ask *q, struct arena *a,
                       struct query_change **out, size_t *out_count) MUST_CHECK;

#endif
