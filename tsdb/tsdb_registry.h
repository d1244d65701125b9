/* Series numbers: (org, canonical labels) -> a dense u32 used by batches, journal and head of this process.
 *
 * How many series an org may have, and how many of them one metric, is decided here, where a series is born: past a limit a new series is
 * refused, or its points go to the one overflow series of its metric (otel_metric_overflow="true") when they can be added up there.
 * A series that nobody has used for TSDB_REGISTRY_IDLE_MIN minutes and that no head holds is forgotten: its number is given again.
 *
 * Owner: the tsdb (or a test).  Thread: any; striped locks, lookups of known series take a read lock only. evict: the committer.
 * Failure: ERR_LIMIT when the org or the metric is at its limit (the caller rejects the point as TSDB_REJECT_CARDINALITY), ERR_NOMEM.
 * Limits: given at new; TSDB_OVERFLOW_MAX overflow series an org, so that names without end cannot get around the limits.
 * Invariants: 1. A number keeps its meaning while it is in use: held by a head, or found (ref, touch) within TSDB_REGISTRY_SAFE_MIN.
 *             2. Equal (org, labels) give equal refs; labels are compared, not only hashed. 3. Refs are dense from 1.
 *             4. What is counted of an org and its metrics is what the registry holds of them, overflow series apart.
 */
#ifndef TSDB_TSDB_REGISTRY_H
#define TSDB_TSDB_REGISTRY_H

#include "tsdb/tsdb_batch.h"

#define TSDB_REGISTRY_IDLE_MIN 120u
#define TSDB_REGISTRY_FULL_IDLE_MIN 20u /* when an org is at a limit */
#define TSDB_REGISTRY_SAFE_MIN 10u /* no batch may wait longer between decoding and the head */
#define TSDB_OVERFLOW_MAX 1000u

struct tsdb_registry;

enum tsdb_series_kind { TSDB_SERIES_SAMPLES, TSDB_SERIES_CELLS };

struct tsdb_series_info {
    uint32_t org;
    enum tsdb_series_kind kind;
    struct tsdb_labels labels;
    struct hash128 identity;
};

struct tsdb_registry *tsdb_registry_new(
    uint32_t series_max_per_org); /* 0 = no limit; NULL when out of memory */
void tsdb_registry_free(struct tsdb_registry *r);
void tsdb_registry_limit_metrics(struct tsdb_registry *r,
                                 uint32_t series_max_per_metric); /* before use; 0 = no limit */
enum err tsdb_registry_ref(struct tsdb_registry *r, uint32_t org, enum tsdb_series_kind kind,
                           struct tsdb_labels labels, struct tsdb_ref *out) MUST_CHECK;
/* The same without limits: for what was acknowledged before (replay). */
enum err tsdb_registry_restore(struct tsdb_registry *r, uint32_t org, enum tsdb_series_kind kind,
                               struct tsdb_labels labels, struct tsdb_ref *out) MUST_CHECK;
/* After ERR_LIMIT: the overflow series of the metric of these labels, and the point is counted as folded and no longer as refused. */
enum err tsdb_registry_overflow(struct tsdb_registry *r, uint32_t org, enum tsdb_series_kind kind,
                                struct tsdb_labels labels, struct tsdb_ref *out) MUST_CHECK;
/* The info lives as long as the number is in use (invariant 1). */
const struct tsdb_series_info *tsdb_registry_info(const struct tsdb_registry *r,
                                                  struct tsdb_ref ref);
uint32_t tsdb_registry_count(const struct tsdb_registry *r); /* the highest number given so far */
uint32_t tsdb_registry_live(const struct tsdb_registry *r); /* series there are */

/* For who remembers a number across batches: marks it as used; false when it is in use no more. The number may have been given to another
 * series since it was remembered: whoever does not compare identities forgets everything when tsdb_registry_evictions has moved. */
bool tsdb_registry_touch(const struct tsdb_registry *r, struct tsdb_ref ref);
uint32_t tsdb_registry_evictions(const struct tsdb_registry *r);
/* The minute of its clock; no two registries of a process ever give the same one. A number that was marked as used while it was this keeps
 * its meaning as long as it is this. */
uint64_t tsdb_registry_moment(const struct tsdb_registry *r);

/* A head holds the series from its first row to the head's end. */
void tsdb_registry_hold(struct tsdb_registry *r, struct tsdb_ref ref);
void tsdb_registry_unhold(const struct tsdb_series_info *held);

/* The clock of idleness, in minutes; it never goes back. */
void tsdb_registry_tick(struct tsdb_registry *r, uint32_t minute);
/* Forgets what is idle: how many series. No batch may be in the making whose numbers were found longer than TSDB_REGISTRY_SAFE_MIN ago. */
uint32_t tsdb_registry_evict(struct tsdb_registry *r);

/* --- what there is, for reports ---------------------------------------------------------------------- */

struct tsdb_registry_org {
    uint32_t org, series, overflow_series;
    uint64_t folded, refused; /* points that came for series past a limit */
};
struct tsdb_registry_metric {
    uint32_t org, series;
    uint32_t recent; /* born in the last 30 to 60 minutes */
    uint64_t folded, refused;
    struct bytes name; /* in the arena */
};
size_t tsdb_registry_orgs(struct tsdb_registry *r, struct tsdb_registry_org *out, size_t max);
/* All metrics of an org. */
enum err tsdb_registry_metrics(struct tsdb_registry *r, uint32_t org, struct arena *a,
                               struct tsdb_registry_metric **out, size_t *out_count) MUST_CHECK;
/* Every series of the org, in order of their numbers; is_recent: born in the last 30 to 60 minutes. Nothing is forgotten meanwhile.
 * Ends early when fn returns false. */
void tsdb_registry_walk(struct tsdb_registry *r, uint32_t org,
                        bool (*fn)(void *ctx, const struct tsdb_series_info *info, bool is_recent),
                        void *ctx);
uint64_t tsdb_registry_bytes(const struct tsdb_registry *r); /* memory */

#endif
