/* Makes the fleet's telemetry for a stretch of time: requests that END in it, as OTLP request bodies.
 *
 * Every second has its own random numbers, drawn from the seed and the second alone; so the same seed and the same seconds give the same
 * bytes, in whatever steps they are asked for.
 * Owner: demo_gen_new / demo_gen_free.  Thread: one at a time.
 * Failure: ERR_NOMEM when a buffer cannot grow.
 * Limits: what one call makes is held in memory: ask for steps of seconds, or of minutes at low rates.
 */
#ifndef CLI_DEMO_GEN_H
#define CLI_DEMO_GEN_H

#include "base/buf.h"
#include "cli/demo_effect.h"

struct demo_gen_options {
    uint64_t seed;
    double rate; /* requests per second, the mean of a day */
    bool diurnal; /* busier by day than by night (UTC) */
    struct demo_effects effects;
};

/* What was made, for the progress line and for tests. */
struct demo_gen_totals {
    uint64_t requests, failed_requests, calls, failed_calls, spans, logs, points, input_tokens,
        output_tokens, truncated, unsupported, leaks, misrouted, batch_calls;
    double request_ms; /* sum of the durations of requests that did not fail */
};

struct demo_gen;
struct demo_gen *demo_gen_new(const struct demo_gen_options *o); /* NULL = no memory */
void demo_gen_free(struct demo_gen *g);
/* Requests of the whole seconds [from_s, to_s) since the Unix epoch. */
enum err demo_gen_requests(struct demo_gen *g, int64_t from_s, int64_t to_s) MUST_CHECK;
/* Export{Trace,Logs}ServiceRequest of what was made since the last call; empty when there is nothing. Appends. */
void demo_gen_traces(struct demo_gen *g, struct buf *out);
void demo_gen_logs(struct demo_gen *g, struct buf *out);
/* ExportMetricsServiceRequest: the state of all services' own metrics at a moment. start_s: when their counters began. */
void demo_gen_metrics(struct demo_gen *g, int64_t start_s, int64_t now_s, struct buf *out);
const struct demo_gen_totals *demo_gen_totals_of(const struct demo_gen *g);

#endif
