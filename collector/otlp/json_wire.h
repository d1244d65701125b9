/* OTLP/JSON rewritten as OTLP/protobuf, so that one decoder reads both.
 *
 * Rules: names in lowerCamelCase; unknown fields ignored; trace and span ids in hex of any case, other bytes in base64; 64-bit integers as
 * numbers or strings; enums as numbers (names are accepted too); null = absent; "NaN", "Infinity", "-Infinity".
 * Owner: caller's buffer.  Thread: any.
 * Failure: ERR_INVALID names message and field, or the byte where it is no JSON; ERR_TOO_DEEP; ERR_TOO_LARGE past the buffer's limit.
 * Limits: JSON_WIRE_DEPTH_MAX open brackets: a value takes four of them a level.
 */
#ifndef COLLECTOR_OTLP_JSON_WIRE_H
#define COLLECTOR_OTLP_JSON_WIRE_H

#include "base/buf.h"
#include "collector/otlp/otlp_schema.h"

#define JSON_WIRE_DEPTH_MAX (4 * OTLP_DEPTH_MAX + 24)

enum err json_wire(enum otlp_schema_id root, struct bytes json, struct buf *out,
                   struct err_msg *msg) MUST_CHECK;

#endif
