/* What the decoders of the three signals share: options, batch, scratch memory, resources and scopes.
 *
 * Owner: otlp_decode, on its stack.  Thread: one.
 * Failure: ERR_TOO_LARGE when the batch's arena is full.  Precondition: the body passed otlp_schema_check.
 */
#ifndef COLLECTOR_OTLP_DECODE_H
#define COLLECTOR_OTLP_DECODE_H

#include "collector/otlp/otlp.h"
#include "collector/otlp/otlp_wire.h"

#define DECODE_TEXTS 128u

struct decode {
    const struct otlp_decode_options *o;
    struct tsdb_batch *batch;
    int64_t now_ms, ceiling_ms; /* rows later than the ceiling are too far ahead */
    struct buf attrs, events, links; /* scratch: encoded here, then copied to the arena */
    struct bytes texts[DECODE_TEXTS]; /* short texts of the batch's arena, by a hash of theirs */
};

struct decode_resource {
    struct bytes wire; /* the Resource message */
    struct bytes attrs; /* encoded, in the arena, shared by all rows of the resource */
    struct bytes service, name_space, instance;
};

struct decode_scope {
    struct bytes wire; /* the InstrumentationScope message */
    struct bytes name, version;
};

/* Finds field 1 of a Resource{Spans,Logs,Metrics} and encodes its attributes. */
enum err decode_resource(struct decode *d, struct bytes resource_rows,
                         struct decode_resource *out) MUST_CHECK;
enum err decode_scope(struct decode *d, struct bytes scope_rows,
                      struct decode_scope *out) MUST_CHECK;
/* Calls fn for each scope of each resource of the request. */
enum err decode_each_scope(struct decode *d, struct bytes body,
                           enum err (*fn)(struct decode *d, const struct decode_resource *r,
                                          const struct decode_scope *s,
                                          struct bytes scope_rows)) MUST_CHECK;
/* The scratch buffer's content, moved to the arena; the buffer is cleared. */
enum err decode_keep(struct decode *d, struct buf *scratch, struct bytes *out) MUST_CHECK;
/* A text of the body as one of the batch, which outlives the body; names that repeat are kept once. */
enum err decode_text(struct decode *d, struct bytes wire, struct bytes *out) MUST_CHECK;
enum err decode_full(void); /* ERR_TOO_LARGE */
/* Is a row of this time acceptable? Rejects it in the batch if not. */
bool decode_time_is_fine(struct decode *d, const char *what, int64_t t_ms);
static inline int64_t decode_ns(uint64_t wire_ns)
{
    return wire_ns > (uint64_t)INT64_MAX ? INT64_MAX : (int64_t)wire_ns;
}

enum err decode_spans(struct decode *d, struct bytes body) MUST_CHECK;
enum err decode_logs(struct decode *d, struct bytes body) MUST_CHECK;
enum err decode_metrics(struct decode *d, struct bytes body) MUST_CHECK;

#endif
