/* Spans of the store in OTLP's own forms: TracesData as protobuf and as JSON.
 *
 * Owner: the caller's buffer.  Thread: any.  Failure: the buffer's (sticky); damaged attributes end where they are damaged.
 * Invariants: 1. Rows of one resource, and within it of one scope, stand together. 2. JSON has ids in hex, 64-bit numbers as strings, as OTLP says.
 */
#ifndef WEB_WEB_OTLP_H
#define WEB_WEB_OTLP_H

#include "base/json_out.h"
#include "tsdb/tsdb_batch.h"

/* The fields of TracesData (resource_spans = 1), which are those of tempopb.Trace as well. */
void web_otlp_protobuf(struct buf *out, const struct tsdb_spans *t, struct arena *a);
/* The array of ResourceSpans. */
void web_otlp_json(struct json_out *j, const struct tsdb_spans *t, struct arena *a);
/* One AnyValue as JSON: {"stringValue": …}. */
void web_otlp_json_value(struct json_out *j, struct tsdb_value v);

#endif
