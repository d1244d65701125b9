/* TraceQL, the part of it that searches: which traces hold spans that answer, and which spans those are.
 *
 * Understood: span sets `{ ... }` joined by && || > >> < << ~, pipelines of further span sets, count() avg() min() max() sum() against a number, and
 * select(); inside the braces fields, numbers, durations, strings, arithmetic, comparison, =~ !~, && || !. Fields: attributes (span., resource.,
 * event., link., instrumentation., parent., or none of these: span, then resource) and the intrinsics of query_traceql_intrinsics.
 * Beside Tempo's intrinsics `llm:` has what Telltale knows of a call: llm:model, llm:cost (USD), llm:ttft, llm:input_tokens, … (traceql_columns.c).
 * Refused by name: by(), coalesce(), metrics functions, nested set numbers but for nestedSetParent.
 * Owner: the caller's arena, and query_traceql_free for the regular expressions.  Thread: one at a time per search; a parsed query is immutable.
 * Failure: ERR_INVALID with line and column.
 * Limits: QUERY_TRACEQL_BYTES_MAX, QUERY_TRACEQL_DEPTH_MAX, QUERY_TRACEQL_NODES_MAX, QUERY_TRACEQL_TRACES_MAX traces looked at by a search.
 * Invariants: 1. A comparison with a field that a span lacks, or with another type, is false; `= nil` and `!= nil` ask for absence. 2. && and || bind alike,
 *             from the left, as Tempo reads them. 3. Spans of an answer are rows of the whole trace.
 * Source: Grafana Tempo's TraceQL.
 */
#ifndef QUERY_QUERY_TRACEQL_H
#define QUERY_QUERY_TRACEQL_H

#include "tsdb/tsdb_read.h"

#define QUERY_TRACEQL_BYTES_MAX (16u << 10)
#define QUERY_TRACEQL_DEPTH_MAX 64u
#define QUERY_TRACEQL_NODES_MAX 1024u
#define QUERY_TRACEQL_TRACES_MAX 5000u
#define QUERY_TRACEQL_ROWS_MAX 200000u /* rows looked at for tags and values */

enum query_traceql_type {
    TRACEQL_NIL,
    TRACEQL_BOOL,
    TRACEQL_INT,
    TRACEQL_FLOAT,
    TRACEQL_DURATION, /* ns, in `integer` */
    TRACEQL_STRING,
    TRACEQL_STATUS, /* 0 unset, 1 ok, 2 error */
    TRACEQL_KIND /* 0 unspecified, 1 internal, ... as OTLP */
};
struct query_traceql_value {
    enum query_traceql_type type;
    union {
        bool boolean;
        int64_t integer;
        double number;
        struct bytes text;
    };
};
const char *query_traceql_type_name(enum query_traceql_type t); /* "string", "int", "keyword" … */
/* Words of statuses and kinds. */
struct bytes query_traceql_keyword(const struct query_traceql_value *v);

enum query_traceql_scope {
    TRACEQL_ANY,
    TRACEQL_SPAN,
    TRACEQL_RESOURCE,
    TRACEQL_EVENT,
    TRACEQL_LINK,
    TRACEQL_INSTRUMENTATION,
    TRACEQL_INTRINSIC,
    TRACEQL_SCOPE_COUNT
};
const char *query_traceql_scope_name(enum query_traceql_scope s);
/* NULL-terminated: the names that can be asked for without a scope. */
extern const char *const query_traceql_intrinsics[];

struct query_traceql;
enum err query_traceql_parse(struct bytes text, struct arena *a, struct query_traceql **out,
                             struct err_msg *msg) MUST_CHECK;
void query_traceql_free(struct query_traceql *q); /* NULL is fine */

/* Fields that the query names (comparisons and select), for the answer's attributes. */
uint32_t query_traceql_fields(const struct query_traceql *q);
struct bytes query_traceql_field_name(const struct query_traceql *q, uint32_t i);
struct query_traceql_value query_traceql_field(const struct query_traceql *q, uint32_t i,
                                               const struct tsdb_spans *t, uint32_t row);

struct query_traceql_search {
    const struct query_traceql *q;
    int64_t start_min_ns, start_max_ns; /* of the span found; 0, 0 = any */
    int64_t duration_min_ns, duration_max_ns; /* of the whole trace; 0, 0 = any */
    uint32_t limit; /* traces; 0 = 20 */
    /* Newest first; the table and rows live during the call. false: enough. */
    bool (*hit)(void *ctx, const struct tsdb_spans *trace, const uint32_t *rows, uint32_t count);
    void *ctx;
    uint32_t out_traces; /* looked at */
    bool out_complete; /* all that could match was looked at, or the limit reached */
};
enum err query_traceql_run(struct tsdb_view *v, struct query_traceql_search *s) MUST_CHECK;

/* Names of attributes in the newest rows, by scope, sorted. */
struct query_traceql_tags {
    struct bytes *name[TRACEQL_SCOPE_COUNT];
    size_t count[TRACEQL_SCOPE_COUNT];
};
struct query_traceql_tags_ask {
    int64_t start_min_ns, start_max_ns; /* 0, 0 = any */
    uint32_t limit; /* names a scope, or values; 0 = 1,000 */
};
enum err query_traceql_tags(struct tsdb_view *v, const struct query_traceql_tags_ask *ask,
                            struct arena *a, struct query_traceql_tags *out) MUST_CHECK;
/* Distinct values of a field ("span.http.method", ".x", "status", "name"), of spans that `only` (NULL = all) lets pass, the most frequent first. */
enum err query_traceql_values(struct tsdb_view *v, struct bytes field,
                              const struct query_traceql *only,
                              const struct query_traceql_tags_ask *ask, struct arena *a,
                              struct query_traceql_value **out, size_t *out_count,
                              struct err_msg *msg) MUST_CHECK;

#endif
