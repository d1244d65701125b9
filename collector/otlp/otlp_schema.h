/* The shape of every message we decode, as tables; and the check that runs over a body before anything is decoded.
 *
 * Owner: none (static tables).  Thread: any.
 * Failure: ERR_INVALID names message, field and byte offset: truncated, varint over 64 bits, field number 0, group, wrong wire type.
 *          ERR_TOO_DEEP: values nested deeper than OTLP_DEPTH_MAX.
 * Limits: no recursion and no allocation: the path of open messages is an array of OTLP_SCHEMA_PATH_MAX frames.
 * Invariant: bytes that pass can be walked by the tables' field numbers without any further error.
 */
#ifndef COLLECTOR_OTLP_OTLP_SCHEMA_H
#define COLLECTOR_OTLP_OTLP_SCHEMA_H

#include "base/bytes.h"
#include "base/err.h"
#include "collector/otlp/otlp.h"

/* Each level of a value is at most AnyValue, KeyValueList, KeyValue; above them lie at most eight messages. */
#define OTLP_SCHEMA_PATH_MAX (3 * OTLP_DEPTH_MAX + 16)

enum otlp_schema_id {
    OTLP_SCHEMA_TRACES,
    OTLP_SCHEMA_LOGS,
    OTLP_SCHEMA_METRICS,
    OTLP_SCHEMA_REMOTE_WRITE,
    OTLP_SCHEMA_REMOTE_WRITE_SERIES, /* one TimeSeries, or what follows its first fields */
    OTLP_SCHEMA_REMOTE_WRITE_METADATA
};

/* out_rows: spans, log records, data points, or samples + histograms. */
enum err otlp_schema_check(enum otlp_schema_id root, struct bytes body, uint64_t *out_rows,
                           struct err_msg *msg) MUST_CHECK;

#endif
