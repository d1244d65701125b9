/* OTLP: an export request's bytes become a columnar batch; a result becomes the reply's bytes.
 *
 *   body (protobuf) ---- otlp_schema: structure and depth, once, without allocating ---- walkers ---> struct tsdb_batch
 *   body (JSON) -- otlp_json: rewritten as protobuf ------^
 *
 * Owner: otlp_decode takes the body; the batch's arena owns it from then on (slices point into it).
 * Thread: any; a decode keeps nothing between calls but the registry's series.
 * Failure: the request is refused whole: ERR_INVALID (message, field and byte offset are named), ERR_TOO_DEEP, ERR_TOO_LARGE (more
 *          memory than arena_max), ERR_NOMEM. Single bad rows are not failures: they are counted in the batch's rejected.
 * Limits: otlp_limits below.  Format: docs/format/otlp.md.
 * Invariants: 1. batch->received = rows that became columns + tsdb_batch_rejected. 2. The same message as JSON and as protobuf gives equal
 *             batches but for request_key.
 */
#ifndef COLLECTOR_OTLP_OTLP_H
#define COLLECTOR_OTLP_OTLP_H

#include "collector/otlp/otlp_translation.h"
#include "tsdb/tsdb_batch.h"
#include "tsdb/tsdb_registry.h"

#define OTLP_BODY_MAX ((size_t)64 << 20) /* after decompression: the protocol's recommendation */
#define OTLP_DEPTH_MAX 64u /* nested values; deeper is an attack, and readers recurse too */
#define OTLP_ARENA_MAX \
    ((size_t)512 << 20) /* a batch: 64 MiB of two-byte rows would need 100 times their size */
#define OTLP_FUTURE_MAX_MS INT64_C(600000) /* rows further ahead are refused */
#define OTLP_EXEMPLAR_RUNES_MAX 128u /* label text of an exemplar, as OpenMetrics has it */

enum otlp_encoding { OTLP_PROTOBUF, OTLP_JSON };

struct otlp_decode_options {
    uint32_t org;
    enum tsdb_signal signal;
    enum otlp_encoding encoding;
    struct tsdb_registry *series; /* metrics only */
    int64_t now_ns; /* wall clock: received_ns, and what "too far ahead" is measured from */
    int64_t floor_ms; /* rows before it are too old (tsdb_retention_floor_ms) */
    size_t arena_max; /* 0 = OTLP_ARENA_MAX */
    struct otlp_translation translation; /* of metrics */
    struct bytes resource_extra; /* attributes (fields 1 of a Resource) added to every resource */
};

/* take_body is malloc'ed (NULL when empty) and taken in every case. */
enum err otlp_decode(const struct otlp_decode_options *o, uint8_t *take_body, size_t body_size,
                     struct tsdb_batch **out, struct err_msg *msg) MUST_CHECK;

/* Export{Trace,Logs,Metrics}ServiceResponse. rejected 0 and no message: everything was stored. Appends. */
void otlp_response(enum tsdb_signal signal, enum otlp_encoding encoding, uint64_t rejected,
                   const char *message, struct buf *out);
/* google.rpc.Status; retry_after_s > 0 adds a RetryInfo. Appends. */
void otlp_status(enum otlp_encoding encoding, int grpc_code, const char *message,
                 unsigned retry_after_s, struct buf *out);

#endif
