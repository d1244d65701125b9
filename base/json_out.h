/* Writes JSON into a struct buf; commas and escapes are its business. Invalid UTF-8 becomes U+FFFD.
 *
 * Owner: caller.  Thread: one at a time.  Failure: the buffer's (sticky).
 * Limits: nesting JSON_OUT_DEPTH_MAX (checked: our bug if exceeded; bound recursive data before).
 */
#ifndef BASE_JSON_OUT_H
#define BASE_JSON_OUT_H

#include "base/buf.h"

#define JSON_OUT_DEPTH_MAX 128

struct json_out {
    struct buf *buf;
    unsigned depth;
    bool need_comma;
};

struct json_out json_out_to(struct buf *buf);
void json_out_object(struct json_out *j); /* { */
void json_out_object_end(struct json_out *j); /* } */
void json_out_array(struct json_out *j);
void json_out_array_end(struct json_out *j);
void json_out_key(struct json_out *j, const char *key);
void json_out_key_bytes(struct json_out *j, struct bytes key);
void json_out_str(struct json_out *j, const char *s); /* NULL writes null */
void json_out_bytes(struct json_out *j, struct bytes s);
void json_out_i64(struct json_out *j, int64_t v);
void json_out_u64(struct json_out *j, uint64_t v);
void json_out_i64_str(struct json_out *j, int64_t v); /* "123": OTLP's 64-bit integers */
void json_out_f64(struct json_out *j,
                  double v); /* shortest that reads back; NaN and infinities write null */
void json_out_bool(struct json_out *j, bool v);
void json_out_null(struct json_out *j);
void json_out_raw(struct json_out *j, struct bytes json); /* a value already in JSON */
void json_out_printf(struct json_out *j, const char *fmt, ...)
    PRINTF_LIKE(2, 3); /* a string value */

/* Prometheus' float text: shortest 'f' form, 'e' when |v| < 1e-6 or >= 1e21 (v != 0), NaN, +Inf, -Inf. Returns the length. */
#define JSON_OUT_PROM_FLOAT_MAX 352
size_t json_out_prom_float(double v, char *out);

#endif
