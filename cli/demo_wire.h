/* Writes OTLP messages as protobuf bytes, field by field, straight into buffers: no trees, so that a month of history is made in seconds.
 *
 * Owner: caller.  Thread: one at a time.  Failure: the buffers' (sticky).
 * Invariant: what it writes decodes with the schema of collector/otlp/proto (a test does so).
 */
#ifndef CLI_DEMO_WIRE_H
#define CLI_DEMO_WIRE_H

#include "base/buf.h"

/* Fields of any message. */
void demo_wire_varint(struct buf *b, uint32_t field, uint64_t v);
void demo_wire_fixed64(struct buf *b, uint32_t field, uint64_t v);
void demo_wire_double(struct buf *b, uint32_t field, double v);
void demo_wire_bytes(struct buf *b, uint32_t field, struct bytes v);
void demo_wire_str(struct buf *b, uint32_t field, const char *v);

/* Attributes: KeyValue in the given field of the message around it. Empty text is left out. */
void demo_wire_attr(struct buf *b, uint32_t field, const char *key, const char *value);
void demo_wire_attr_bytes(struct buf *b, uint32_t field, const char *key, struct bytes value);
void demo_wire_attr_int(struct buf *b, uint32_t field, const char *key, int64_t v);
void demo_wire_attr_double(struct buf *b, uint32_t field, const char *key, double v);
void demo_wire_attr_bool(struct buf *b, uint32_t field, const char *key, bool v);
void demo_wire_attr_list(struct buf *b, uint32_t field, const char *key,
                         const char *one); /* one text */

/* A span (message Span): head, then attributes in DEMO_WIRE_SPAN_ATTRS and events, then the end puts it into a ScopeSpans' list. */
struct demo_wire_ids {
    uint8_t trace[16], span[8], parent[8]; /* parent all zero: a root */
};
enum demo_wire_kind { DEMO_WIRE_INTERNAL = 1, DEMO_WIRE_SERVER, DEMO_WIRE_CLIENT };
void demo_wire_span_begin(struct buf *span, const struct demo_wire_ids *ids, const char *name,
                          enum demo_wire_kind kind, int64_t start_ns, int64_t end_ns);
void demo_wire_span_end(struct buf *span, bool failed, const char *message, struct buf *out_spans);

/* Field numbers of the messages that the demo writes. */
enum demo_wire_field {
    DEMO_WIRE_SPAN_ATTRS = 9,
    DEMO_WIRE_EVENT_ATTRS = 3,
    DEMO_WIRE_LOG_ATTRS = 6,
    DEMO_WIRE_RESOURCE_ATTRS = 1,
    DEMO_WIRE_POINT_ATTRS = 7, /* of NumberDataPoint */
    DEMO_WIRE_HISTOGRAM_ATTRS = 9
};

#endif
