/* What a block of rows says of itself in its summary, so that searches pass it by and counts need not open it. Format: docs/format/block-rows.md.
 *
 * A zone has bounds, the services and span names that occur, counts by (service, name, minute of start), and a filter over the values of the
 * columns that people search by. The summary of a block of texts is a filter over its attributes.
 * Owner: caller; slices of a read zone point into the summary.  Thread: any.
 * Failure: zone_read: ERR_CORRUPT for any other bytes, ERR_LIMIT past the arena. Writers: the buffer's.
 * Limits: ZONE_*_BYTES keep a summary within PART_SUMMARY_MAX: what does not fit is left out and then not known.
 * Invariants: 1. What a zone rules out is not in the block. 2. Counts, where known, are exactly the sums of the rows' weights.
 */
#ifndef TSDB_ZONE_H
#define TSDB_ZONE_H

#include "base/arena.h"
#include "base/buf.h"
#include "tsdb/tsdb_batch.h"

#define ZONE_SERVICES_BYTES 1024u
#define ZONE_NAMES_BYTES 1536u
#define ZONE_GROUPS_BYTES 2560u
#define ZONE_FILTER_BYTES 2048u
#define ZONE_TEXT_FILTER_BYTES 4096u
#define ZONE_SEVERITY_ERROR 17u /* of a log: from here on it counts as an error */

struct zone_name {
    uint32_t service; /* index */
    struct bytes name; /* span name; of logs: the event name */
};
struct zone_group {
    uint32_t name, minute; /* index; of the start, since the epoch */
    uint64_t count, errors; /* sums of the rows' weights: thousandths (logs: 1000 each) */
    int64_t duration_sum_ns;
};
struct zone {
    int64_t start_min, start_max, duration_min, duration_max;
    int64_t root_duration_max; /* of spans without a parent; -1: there are none */
    uint8_t level_min, level_max; /* status of spans, severity of logs */
    bool services_known, names_known, groups_known;
    bool has_weights; /* not every row counts as one */
    uint32_t service_count, name_count, group_count;
    struct bytes *services;
    struct zone_name *names;
    struct zone_group *groups;
    struct bytes filter;
};

/* The summary of the first n rows; the columns that it is made of may be absent. */
void zone_write_spans(const struct tsdb_spans *t, uint32_t n, struct buf *out);
void zone_write_logs(const struct tsdb_logs *t, uint32_t n, struct buf *out);
/* The summary of a block of texts: a filter over the attributes of rows and resources (either may be NULL). */
void zone_write_attrs(const struct bytes *attrs, const struct bytes *resource_attrs, uint32_t n,
                      struct buf *out);

/* What a row of this weight adds to a sum of durations. */
int64_t zone_weighted(int64_t duration_ns, int64_t weight);
enum err zone_read(struct bytes summary, struct arena *a, struct zone *out) MUST_CHECK;
/* Empty service or name: any. */
bool zone_has(const struct zone *z, struct bytes service, struct bytes name);
/* Can a row have this value? filter: of a zone, or the summary of a block of texts. */
bool zone_may_have_column(struct bytes filter, uint32_t column, struct bytes value);
bool zone_may_have_attr(struct bytes filter, struct bytes key, struct bytes value);
/* Is the column in the filter of spans (logs)? */
bool zone_filters_span_column(uint32_t column);
bool zone_filters_log_column(uint32_t column);

#endif
