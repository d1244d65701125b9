/* Token streams of a trace: what the records `telltale.stream` say of its spans (docs/token-events.md).
 *
 * Owner: results live in the caller's arena.  Thread: the view's.
 * Failure: the view's errors; ERR_LIMIT when the arena is full. What a record does not say, or says in another type, is unknown: anybody may
 *          send log records.
 * Limits: QUERY_STREAMS_MAX streams of a trace, further ones are left out; records up to QUERY_STREAM_SKEW_NS outside of the trace's time.
 * Invariants: 1. At most one stream a span: of several the one that ended last. 2. The sum of the bins is that of the timeline's tokens.
 */
#ifndef QUERY_QUERY_STREAM_H
#define QUERY_QUERY_STREAM_H

#include "tsdb/tsdb_read.h"

#define QUERY_STREAM_BINS_MAX 120u /* finer is not to be seen on a waterfall's bar */
#define QUERY_STREAM_STALLS_MAX 16u
#define QUERY_STREAMS_MAX 10000u
#define QUERY_STREAM_SKEW_NS \
    (3600 * INT64_C(1000000000)) /* the gateway's clock is not the span's */

struct query_stream_stall {
    int64_t after_ns, length_ns; /* after: since the stream's start */
};

struct query_stream {
    struct tsdb_id8 span_id;
    struct bytes result, reason, source; /* "complete", "stop", "token_events" */
    int64_t start_ns, end_ns;
    int64_t ttft_ns; /* -1: the start or the first visible token is not known */
    int64_t output, reasoning, tool; /* tokens */
    double tokens_per_second, mean_logprob; /* NaN: unknown */
    int64_t stall_count; /* of which those with a place: */
    uint32_t stalls_placed;
    struct query_stream_stall stalls[QUERY_STREAM_STALLS_MAX];
    int64_t
        bin_ns; /* bin i holds the tokens of [start + i * bin_ns, start + (i + 1) * bin_ns); the last one also what came at the end */
    uint32_t bin_count;
    uint64_t bins[QUERY_STREAM_BINS_MAX];
};

struct query_streams {
    struct query_stream *streams; /* by span id */
    uint32_t count;
};

/* start_ns, end_ns: of the trace. */
enum err query_streams_read(struct tsdb_view *v, struct tsdb_id16 trace_id, int64_t start_ns,
                            int64_t end_ns, struct arena *a, struct query_streams *out) MUST_CHECK;
const struct query_stream *query_streams_of(const struct query_streams *s,
                                            struct tsdb_id8 span_id); /* NULL: none */
/* What the attributes of one record say. false: they are no stream's. Slices point into attrs. */
bool query_stream_decode(struct bytes attrs, struct query_stream *out);

#endif
