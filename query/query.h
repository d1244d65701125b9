/* PromQL of Prometheus 3 over a source of series: parse, print, evaluate at an instant or over a range.
 *
 *   query_source_of_view(view) -> query_instant / query_range(source, limits, text, ..., arena) -> rows in the arena
 *
 * Owner: results, selectors and messages live in the caller's arena.  Thread: any; one query at a time per source.
 * Failure: ERR_INVALID: the text does not parse ("1:5: parse error: ...") or a parameter is wrong.  ERR_EXECUTION: legal but fails on this
 *          data (many-to-many matching, duplicate label sets).  ERR_LIMIT: samples_max, series_max or the arena.  ERR_TIMEOUT,
 *          ERR_CANCELLED; ERR_CORRUPT and ERR_IO come from the source.  query_error_type gives Prometheus' name for each.
 * Limits: struct query_limits; nesting QUERY_DEPTH_MAX; text QUERY_TEXT_MAX bytes; QUERY_STEPS_MAX steps for one subquery or range.
 * Invariants: 1. A row has at most one value per step. 2. Rows of a result have distinct labels. 3. Ranges are left-open: (t - range, t].
 *             4. The same text over the same source gives the same bits.
 */
#ifndef QUERY_QUERY_H
#define QUERY_QUERY_H

#include "base/pool.h"
#include "query/query_hist.h"
#include "query/query_source.h"

#define QUERY_DEPTH_MAX 100u /* of the syntax tree: bounds the stack */
#define QUERY_TEXT_MAX (64u * 1024u)
#define QUERY_STEPS_MAX 1000000u /* of one evaluation grid; the HTTP API allows 11,000 */
#define QUERY_LOOKBACK_MS 300000
#define QUERY_SUBQUERY_STEP_MS 60000 /* [5m:] without a resolution */

struct query_explain; /* query_explain.h */

struct query_limits {
    int64_t deadline_mono_ns; /* 0 = none */
    const atomic_bool *cancel; /* NULL = none */
    uint64_t samples_max; /* samples read or held at once; 0 = 50 million */
    uint64_t series_max; /* series of one selector; 0 = 1 million */
    int64_t lookback_ms; /* 0 = QUERY_LOOKBACK_MS */
    int64_t subquery_step_ms; /* 0 = QUERY_SUBQUERY_STEP_MS */
    struct query_explain *explain; /* NULL = nobody wants to know */
    struct pool *pool; /* idle threads of it help; NULL = none */
    struct arena_budget *budget; /* of what they need; NULL = none */
    bool
        drop_names_at_once; /* false: the metric's name is dropped at the end of the query (label_replace may still use it) */
};

enum query_type { QUERY_SCALAR, QUERY_VECTOR, QUERY_MATRIX, QUERY_STRING };
const char *query_type_name(enum query_type t); /* "scalar", "vector", ... as the HTTP API says */

/* One series of a result: count points, oldest first. hist is NULL or has an entry a point (NULL entries are floats). */
struct query_row {
    struct tsdb_labels labels;
    size_t count;
    const int64_t *t_ms;
    const double *value;
    const struct query_hist *const *hist;
};

struct query_result {
    enum query_type type;
    size_t count; /* rows; a scalar has one row without labels */
    const struct query_row *rows;
    struct bytes string; /* QUERY_STRING */
    int64_t at_ms;
    const struct bytes *warnings, *infos; /* sorted, distinct */
    size_t warning_count, info_count;
    uint64_t samples; /* read from the source */
    unsigned made_of; /* enum tsdb_made_of: what was read */
};

/* Matrix selectors at the top level are allowed in instant queries only. */
enum err query_instant(struct query_source *src, const struct query_limits *limits,
                       struct bytes text, int64_t at_ms, struct arena *a, struct query_result *out,
                       struct err_msg *msg) MUST_CHECK;
/* Steps start_ms, start_ms + step_ms, ... <= end_ms. Rows come sorted by labels. */
enum err query_range(struct query_source *src, const struct query_limits *limits, struct bytes text,
                     int64_t start_ms, int64_t end_ms, int64_t step_ms, struct arena *a,
                     struct query_result *out, struct err_msg *msg) MUST_CHECK;

/* The text laid out as Prometheus' format_query does. */
enum err query_format(struct bytes text, struct arena *a, struct bytes *out,
                      struct err_msg *msg) MUST_CHECK;
/* The same on one line, as Prometheus names an expression. */
enum err query_print(struct bytes text, struct arena *a, struct bytes *out,
                     struct err_msg *msg) MUST_CHECK;
/* Parses and type-checks only. out_type (may be NULL) = type of the expression. */
enum err query_check(struct bytes text, struct arena *a, enum query_type *out_type,
                     struct err_msg *msg) MUST_CHECK;

/* An instant vector selector without modifiers, e.g. a match[] parameter or an SLO's total. The matchers (regexes compiled) live as long as
 * the query_selector: free it with query_selector_free. At least one matcher must not match the empty string. */
struct query_selector;
enum err query_selector_parse(struct bytes text, struct query_selector **out,
                              struct err_msg *msg) MUST_CHECK;
const struct tsdb_matcher *query_selector_matchers(const struct query_selector *s,
                                                   size_t *out_count);
void query_selector_free(struct query_selector *s); /* NULL is fine */

/* Every selector of an expression (for query_exemplars), each as query_selector_parse would give it. */
enum err query_selectors_of(struct bytes text, struct arena *a, struct query_selector ***out,
                            size_t *out_count, struct err_msg *msg) MUST_CHECK;

/* "bad_data", "execution", "timeout", "canceled", "internal", "unavailable", "not_found": Prometheus' errorType. */
const char *query_error_type(enum err e);
int query_error_status(enum err e); /* the HTTP status that Prometheus gives it */

#endif
