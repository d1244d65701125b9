/* OTLP attributes and values into the store's attribute encoding (tsdb_attrs.h).
 *
 * Owner: caller's buffer.  Thread: any.
 * Failure: the buffer's (sticky).  Precondition: the bytes passed otlp_schema_check (nesting is bounded by it).
 */
#ifndef COLLECTOR_OTLP_ATTR_ENCODE_H
#define COLLECTOR_OTLP_ATTR_ENCODE_H

#include "tsdb/tsdb_attrs.h"

void attr_encode_key_value(struct bytes wire, struct buf *out); /* one KeyValue */
void attr_encode_value(struct bytes wire, struct buf *out); /* one AnyValue */
/* A KeyValue's key and its value, without encoding them. */
void attr_encode_split(struct bytes wire, struct bytes *out_key, struct bytes *out_value);
/* The AnyValue if it is a string; else false. */
bool attr_encode_is_string(struct bytes wire, struct bytes *out);

#endif
