/* Series numbers: (org, canonical labels) -> a dense u32 used by batches, journal and head of this process.
 *
 * Owner: the tsdb (or a test).  Thread: any; striped locks, lookups of known series take a read lock only.
 * Failure: ERR_LIMIT when the org is at its series limit (the caller rejects the point as TSDB_REJECT_CARDINALITY), ERR_NOMEM.
 * Invariants: 1. A ref never changes its meaning while the registry lives. 2. Equal (org, labels) give equal refs; labels are compared,
 *             not only hashed. 3. Refs are dense from 1.
 */
#ifndef TSDB_TSDB_REGISTRY_H
#define TSDB_TSDB_REGISTRY_H

#include "tsdb/tsdb_batch.h"

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
enum err tsdb_registry_ref(struct tsdb_registry *r, uint32_t org, enum tsdb_series_kind kind,
                           struct tsdb_labels labels, struct tsdb_ref *out) MUST_CHECK;
/* The info lives as long as the registry. */
const struct tsdb_series_info *tsdb_registry_info(const struct tsdb_registry *r,
                                                  struct tsdb_ref ref);
uint32_t tsdb_registry_count(const struct tsdb_registry *r);

#endif
