/* From a data point's attributes to the series it belongs to.
 *
 *   point_series_resource -> (point_series_scope -> (point_series_metric -> (point_series_attrs -> point_series_ref...)...)...)...
 *
 * Owner: decode_metrics.  Thread: one.
 * Failure: a point that has no series is rejected in the batch (bad labels, cardinality): ERR_INVALID, go on with the next point.
 *          ERR_NOMEM ends the request. Past a limit of series, cells are added up in the metric's overflow series and gauges take its
 *          place, as in OpenTelemetry's SDKs; running totals of many series are not those of one: they are rejected.
 * Limits: POINT_SERIES_ATTRS_MAX attributes.
 * Invariants: 1. __name__, job, instance, le and quantile are ours: attributes of these names give way. 2. No series has job="telltale":
 *             that job is Telltale's own; it becomes exported_job. 3. Settings other than the default are part of every key of the memo.
 */
#ifndef COLLECTOR_OTLP_POINT_SERIES_H
#define COLLECTOR_OTLP_POINT_SERIES_H

#include "base/hash.h"
#include "collector/otlp/decode.h"

#define POINT_SERIES_ATTRS_MAX 112u /* leaves room under TSDB_LABELS_MAX for ours */
#define POINT_SERIES_LABELS_MAX (TSDB_LABELS_MAX - 2) /* before __name__, le */
#define POINT_SERIES_SCRATCH_MAX ((size_t)8 << 20)

struct point_series {
    struct decode *d;
    struct arena *scratch; /* of the current point */
    struct buf text;
    struct bytes job, instance; /* in the batch's arena; empty = none */
    struct hash128 base_key; /* of job, instance and the settings */
    struct hash128 resource_key; /* and of the resource attributes that every series gets */
    struct hash128 scope_key; /* and of the scope's labels */
    struct hash128 metric_key; /* and of __type__ and __unit__ */
    /* Labels of all series of the resource and the scope, in the batch's arena. */
    struct tsdb_label promoted[TSDB_LABELS_MAX], scope[TSDB_LABELS_MAX];
    unsigned promoted_count, scope_count;
    bool has_too_many; /* more of these than a series may have: its points are refused */
    struct bytes type, unit; /* of the metric; empty = no label */
    /* of the current point */
    struct bytes wire, metric;
    uint32_t number;
    struct hash128 key; /* of its attributes as they were sent */
    bool
        may_fold; /* past a limit its samples may go to the metric's overflow series: a gauge, of which the last value counts */
    bool is_bare; /* nothing is promoted: target_info */
    bool is_translated; /* labels are filled: only a series not seen before needs them */
    struct tsdb_label labels[TSDB_LABELS_MAX];
    unsigned count;
};

enum err point_series_init(struct point_series *p, struct decode *d) MUST_CHECK;
void point_series_done(struct point_series *p);
enum err point_series_resource(struct point_series *p, const struct decode_resource *r) MUST_CHECK;
/* scope_rows: a ScopeMetrics. */
enum err point_series_scope(struct point_series *p, struct bytes scope_rows) MUST_CHECK;
/* type as in metadata, unit in words: labels where the settings say so. Both stay the caller's. */
void point_series_metric(struct point_series *p, struct bytes type, struct bytes unit);
/* The point's attributes are the KeyValues in field `number` of the message. metric: for the sentence of a rejection. */
void point_series_attrs(struct point_series *p, struct bytes wire, uint32_t number,
                        struct bytes metric);
/* The same for target_info: the attributes are all it has. */
void point_series_bare_attrs(struct point_series *p, struct bytes wire, uint32_t number,
                             struct bytes metric);
/* The series of the current point: name + suffix, attributes, job, instance, and extra=value (extra NULL: none). */
enum err point_series_ref(struct point_series *p, struct bytes name, const char *suffix,
                          const char *extra, struct bytes value, enum tsdb_series_kind kind,
                          struct tsdb_ref *out) MUST_CHECK;
/* Labels of an exemplar (in the batch's arena): trace_id, span_id, and the filtered attributes when they are short enough. */
enum err point_series_exemplar(struct point_series *p, struct bytes wire, struct tsdb_labels *out,
                               double *out_value, uint64_t *out_time_ns) MUST_CHECK;

#endif
