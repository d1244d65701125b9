/* How many series an org and each of its metrics have, and how many they may have.
 *
 * Owner: the registry.  Thread: under the registry's lock.  Failure: ERR_LIMIT at a limit (counted as refused), ERR_NOMEM.
 * Limits: SERIES_LIMITS_ORGS orgs.
 * Invariants: 1. An org's series are the sum of its metrics'. 2. A refused metric that has no series has no entry: refusing costs no memory.
 */
#ifndef TSDB_SERIES_LIMITS_H
#define TSDB_SERIES_LIMITS_H

#include "tsdb/tsdb_registry.h"

#define SERIES_LIMITS_ORGS 4096u
#define SERIES_LIMITS_WINDOW_MIN 30u
#define SERIES_LIMITS_NONE UINT32_MAX

struct series_metric {
    uint64_t hash;
    uint32_t org; /* index */
    uint32_t series;
    uint32_t overflow[2]; /* numbers of the overflow series by kind; 0 = none */
    uint32_t window, born[2]; /* in the window and in the one before */
    uint64_t folded, refused;
    struct bytes name; /* malloc'ed; data NULL: the entry is free */
};

struct series_limits {
    uint32_t per_org, per_metric;
    struct tsdb_registry_org *orgs;
    uint32_t org_count;
    struct series_metric *metrics;
    uint32_t metric_count, metric_cap, metric_free;
    uint32_t *slots, slot_cap; /* hash -> index + 1 */
    bool was_refused; /* since the last look: room is wanted */
};

void series_limits_done(struct series_limits *l);
/* One more series. force: whatever the limits. */
enum err series_limits_enter(struct series_limits *l, uint32_t org, struct bytes name,
                             uint32_t minute, bool force, uint32_t *out_metric) MUST_CHECK;
void series_limits_leave(struct series_limits *l, uint32_t metric);
/* The metric's entry for its overflow series, made if absent; ERR_LIMIT past TSDB_OVERFLOW_MAX. */
enum err series_limits_overflow(struct series_limits *l, uint32_t org, struct bytes name,
                                enum tsdb_series_kind kind, struct series_metric **out) MUST_CHECK;
void series_limits_folded(struct series_limits *l,
                          struct series_metric *m); /* was refused, is folded */
uint32_t series_limits_recent(const struct series_metric *m, uint32_t minute);
/* Metrics without any series go. */
void series_limits_trim(struct series_limits *l);

#endif
