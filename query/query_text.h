/* Texts of PromQL's world outside of expressions: regular expressions as templates use them, and series as rule tests write them.
 *
 *     http_requests_total{job="api"}  0+10x5 _ stale 7
 *     latency                         {{schema:1 count:3 sum:2 buckets:[1 2]}}+{{count:1 buckets:[1]}}x5
 *
 * Owner: results live in the caller's arena.  Thread: any.
 * Failure: ERR_INVALID with what is wrong and where; ERR_LIMIT when the arena is full or past a limit.
 * Limits: QUERY_TEXT_VALUES_MAX values of a series; QUERY_TEXT_REPLACED_MAX bytes of a replaced text; REGEX_RE2_BYTES_MAX of a pattern.
 */
#ifndef QUERY_QUERY_TEXT_H
#define QUERY_QUERY_TEXT_H

#include "query/query_hist.h"
#include "tsdb/tsdb_labels.h"

#define QUERY_TEXT_VALUES_MAX 100000u
#define QUERY_TEXT_REPLACED_MAX (1u << 20)

/* Does the pattern match anywhere in the text? (Matchers of selectors are anchored; this is not.) */
enum err query_text_match(struct bytes pattern, struct bytes text, bool *out,
                          struct err_msg *msg) MUST_CHECK;
/* Every match becomes `with`, where $1 and ${name} are groups. */
enum err query_text_replace(struct bytes pattern, struct bytes text, struct bytes with,
                            struct arena *a, struct bytes *out, struct err_msg *msg) MUST_CHECK;

/* name{label="value", ...}, the name or the braces left out. */
enum err query_text_labels(struct bytes text, struct arena *a, struct tsdb_labels *out,
                           struct err_msg *msg) MUST_CHECK;

struct query_text_value {
    bool is_omitted; /* "_" */
    double value; /* "stale": the stale marker's bits */
    const struct query_hist *hist; /* NULL: value */
};
/* One histogram at the front of the text, which then begins behind it. */
enum err query_text_hist(struct bytes *text, struct arena *a, const struct query_hist **out,
                         struct err_msg *msg) MUST_CHECK;
/* "1 2 _ 0+10x3 stale {{count:1 buckets:[1]}}": of rule tests. */
enum err query_text_values(struct bytes text, struct arena *a, struct query_text_value **out,
                           size_t *out_count, struct err_msg *msg) MUST_CHECK;

#endif
