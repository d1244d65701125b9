/* Trace search: which traces hold a span that answers a question, one line about each, and what a waterfall needs of one.
 *
 * Owner: results live in the caller's arena.  Thread: the view's.
 * Failure: the view's errors; query_trace_tags: ERR_INVALID with the reason.
 * Limits: QUERY_TRACE_LIMIT_MAX traces an answer, QUERY_TRACE_TAGS_MAX tags, QUERY_TRACE_ROWS_MAX rows looked at after the filters.
 * Invariants: 1. Every trace of an answer holds at least one span to which all conditions apply at once. 2. Newest matching span first.
 */
#ifndef QUERY_QUERY_TRACE_H
#define QUERY_QUERY_TRACE_H

#include "tsdb/tsdb_read.h"

#define QUERY_TRACE_LIMIT_MAX 1500u
#define QUERY_TRACE_TAGS_MAX 16u
#define QUERY_TRACE_ROWS_MAX 20000u

struct query_trace_tag {
    struct bytes key, value; /* value: text as tsdb_attrs_text prints it */
};

struct query_trace_search {
    struct bytes service, operation; /* empty = any */
    struct query_trace_tag tags[QUERY_TRACE_TAGS_MAX];
    uint32_t tag_count;
    int64_t duration_min_ns, duration_max_ns; /* 0, 0 = any */
    int64_t start_min_ns, start_max_ns; /* 0, 0 = any */
    uint32_t limit; /* traces; 0 = 20 */
    bool errors_only; /* status error, or a GenAI outcome that is not ok */
    bool genai_only; /* rows that a GenAI dialect recognised */
};

/* {"key":"value",...} as Jaeger sends it. */
enum err query_trace_tags(struct bytes json, struct arena *a, struct query_trace_search *s,
                          struct err_msg *msg) MUST_CHECK;
/* Go durations as Jaeger's clients send them: "1.5s", "200ms", "10us", "1m30s". */
bool query_trace_duration(struct bytes text, int64_t *out_ns);
/* Ids of the traces found. Tag keys: span, resource and scope attributes, and `error`, `status`, `kind`, `model`, `provider`, `outcome`,
 * `endpoint`, `tenant`, `env`, `region`, `variant`, `span.kind`, `otel.status_code`. */
enum err query_trace_find(struct tsdb_view *v, const struct query_trace_search *s, struct arena *a,
                          struct tsdb_id16 **out, size_t *out_count) MUST_CHECK;

/* One line of a trace list. */
struct query_trace_summary {
    struct tsdb_id16 id;
    struct bytes service, name; /* of the root, or of the earliest span when the root is not here */
    bool has_root;
    int64_t start_ns, end_ns; /* over all spans */
    uint32_t spans, errors, calls;
    double weight; /* traces that it stands for: more than 1 where others were sampled out */
    struct bytes model; /* of the first call */
    struct bytes outcome_error; /* error_type or status message of the first failed span */
    int64_t input_tokens, output_tokens, cost_nanousd, ttft_ns; /* of the calls; -1 unknown */
};
void query_trace_summarise(const struct tsdb_spans *spans, struct query_trace_summary *out);

/* Depth of each row below its root (0 = root or orphan), its parent's row (TSDB_NO_ROW), order of display (parents before children, siblings by
 * start), and whether it lies on the critical path: the chain of spans that, walked back from the end, the trace waited for. */
struct query_trace_layout {
    uint32_t *order, *depth, *parent;
    bool *critical;
};
enum err query_trace_layout(const struct tsdb_spans *spans, struct arena *a,
                            struct query_trace_layout *out) MUST_CHECK;

/* Names of enum values as the field says them: "ok", "provider_error", ... */
const char *query_trace_outcome_name(uint8_t outcome);
const char *query_trace_fault_name(uint8_t fault);
const char *query_trace_kind_name(uint8_t kind); /* "internal", "server", ... */

#endif
