/* Which metrics and labels an org's series in use come from, and what makes them more: a report over the registry.
 *
 * Owner: the caller's arena.  Thread: any; reads every series of the org, about 0.2 us each, and holds up nobody.
 * Failure: ERR_LIMIT past the arena.
 * Limits: top rows a list; the labels of the TSDB_CARDINALITY_GROWING metrics that grow most.
 */
#ifndef TSDB_TSDB_CARDINALITY_H
#define TSDB_TSDB_CARDINALITY_H

#include "tsdb/tsdb_registry.h"

#define TSDB_CARDINALITY_GROWING 16u

struct tsdb_label_use {
    struct bytes name;
    uint64_t values, value_bytes; /* distinct */
};
struct tsdb_pair_use {
    struct bytes name, value;
    uint64_t series;
};
/* A label of a growing metric: of its values, how many only young series have (born in the last 30 to 60 minutes). */
struct tsdb_label_growth {
    struct bytes metric, label;
    uint64_t series, recent_series, values, recent_values;
};

struct tsdb_cardinality {
    struct tsdb_registry_org org;
    uint64_t pairs, metric_count, label_count; /* of all, not only of the lists */
    struct tsdb_registry_metric *metrics; /* most series first */
    struct tsdb_label_use *labels, *labels_by_bytes; /* most values, most bytes first */
    struct tsdb_pair_use *top_pairs; /* most series first */
    struct tsdb_label_growth *growth; /* most recent values first */
    size_t metrics_n, labels_n, labels_by_bytes_n, top_pairs_n, growth_n;
};

enum err tsdb_cardinality_read(struct tsdb_registry *r, uint32_t org, size_t top, struct arena *a,
                               struct tsdb_cardinality *out) MUST_CHECK;

#endif
