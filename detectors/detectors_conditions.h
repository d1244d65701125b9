/* Conditions of the program itself that alert: something that is no objective and no budget, and that a person has to know of.
 *
 *   look --findings--> condition_alerts.c --open, step, resolve--> book, outbox (as for objectives)
 *
 * A table of them is given at the start (detectors_options.conditions). Each is looked at in every round; what it finds holds now, what it does
 * not find any more does not.
 * Owner: the program; the table outlives the detectors.  Thread: detect calls look.
 * Failure: a look that fails changes none of its condition's alerts; the round counts as failed and is repeated.
 * Limits: DETECTORS_CONDITIONS_MAX conditions, DETECTORS_FINDINGS_MAX findings each; what is past it is left out.
 * Invariants: 1. At most one alert of a condition and subject is not over. 2. It is over when the condition has not held for resolve_minutes; after
 *             a restart that time begins anew, since nobody looked in between.
 */
#ifndef DETECTORS_DETECTORS_CONDITIONS_H
#define DETECTORS_DETECTORS_CONDITIONS_H

#include "base/arena.h"
#include "query/query_slo.h"

#define DETECTORS_CONDITIONS_MAX 16u
#define DETECTORS_FINDINGS_MAX 256u

struct detectors_finding {
    struct bytes
        subject; /* what it is about, where a condition may hold for several; its first 120 bytes count */
    enum query_slo_severity
        severity; /* a ticket that becomes a page is told again; a page stays one */
    struct bytes summary, sentence; /* one line; and what it means and what to do */
};

struct detectors_condition {
    const char *name; /* "kafka_lost" */
    uint32_t after_minutes; /* it must have held for so long; 0 = at once */
    uint32_t resolve_minutes; /* it must not have held for so long; 0 = at once */
    /* What holds at this moment; in the arena, which lives as long as the round. */
    enum err (*look)(void *ctx, int64_t now_ms, struct arena *a, struct detectors_finding **out,
                     size_t *out_count);
    void *ctx;
};

#endif
