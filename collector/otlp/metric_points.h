/* Data points of one metric into samples, histograms and cells.
 *
 * Owner: decode_metrics, on its stack.  Thread: one.
 * Failure: a bad point is rejected in the batch and is no failure; ERR_TOO_LARGE and ERR_NOMEM end the request.
 * Invariant: a point is stored with all of its series or none.
 */
#ifndef COLLECTOR_OTLP_METRIC_POINTS_H
#define COLLECTOR_OTLP_METRIC_POINTS_H

#include "collector/otlp/point_series.h"

#define METRIC_POINTS_STALE UINT64_C(0x7ff0000000000002) /* Prometheus' stale marker */
#define METRIC_POINTS_NAN UINT64_C(0x7ff8000000000001)
#define METRIC_POINTS_NO_VALUE 1u /* DataPointFlags */

enum metric_points_temporality {
    METRIC_POINTS_UNSPECIFIED,
    METRIC_POINTS_DELTA,
    METRIC_POINTS_CUMULATIVE
};

struct metric_points {
    struct point_series *series;
    struct decode *d;
    struct bytes sent_name, unit, help;
    struct bytes name; /* translated; in the batch's arena */
    struct bytes plain_name; /* without _total: fractional deltas */
    unsigned temporality;
    bool is_sum, is_monotonic;
    bool has_plain; /* a point was stored under plain_name */
    bool has_named; /* ... under name */
    int64_t first_ms, last_ms; /* of the points stored; first > last: none yet */
};

/* What all kinds of points share. */
struct metric_points_head {
    int64_t start_ms, t_ms;
    uint64_t flags;
};

enum err metric_points_number(struct metric_points *m, struct bytes point) MUST_CHECK;
enum err metric_points_summary(struct metric_points *m, struct bytes point) MUST_CHECK;
enum err metric_points_histogram(struct metric_points *m, struct bytes point) MUST_CHECK;
enum err metric_points_exponential(struct metric_points *m, struct bytes point) MUST_CHECK;

/* For the files that implement the above. */
double metric_points_stale(void);
bool metric_points_time(struct metric_points *m, struct metric_points_head *h, uint64_t start_ns,
                        uint64_t time_ns);
enum err metric_points_reject(struct metric_points *m, enum tsdb_reject why,
                              const char *text) MUST_CHECK; /* ERR_INVALID */
/* Adds one sample and remembers its time. */
enum err metric_points_add(struct metric_points *m, struct tsdb_ref ref,
                           const struct metric_points_head *h, double v) MUST_CHECK;
/* Exemplars in field `number`: each to the first series whose bound is not below its value (bounds NULL: to refs[0]). */
enum err metric_points_exemplars(struct metric_points *m, struct bytes point, uint32_t number,
                                 const struct metric_points_head *h, const struct tsdb_ref *refs,
                                 const double *bounds, size_t bound_count) MUST_CHECK;

#endif
