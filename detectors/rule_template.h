/* Templates of labels and annotations: the part of Go's text/template that Prometheus' rules use, with Prometheus' functions.
 *
 *     {{ $labels.instance }} has been down for {{ humanizeDuration $value }}
 *     {{ with query "up == 0" }}{{ . | first | label "job" }}{{ else }}nobody{{ end }}
 *
 * Known: text, pipelines, variables (:= and =), if, else if, else, with, range (break, continue), define, template, block, end, trim markers,
 * comments; $labels, $value, $externalLabels, $externalURL, .Labels, .Value, .ExternalLabels, .ExternalURL; and, or, not, eq, ne, lt, le, gt, ge,
 * len, index, print, println, printf, urlquery, html; args, query, first, label, value, strvalue, sortByLabel, tmpl, humanize, humanize1024,
 * humanizeDuration, humanizePercentage, humanizeTimestamp, toTime, toDuration, title, toUpper, toLower, match, reReplaceAll, graphLink, tableLink,
 * parseDuration, stripPort, stripDomain, safeHtml, externalURL, pathPrefix, now.
 * Not known: methods with arguments, as of toTime's times (.Format "…"): a mistake at load.
 *
 * Owner: the arena of rule_template_parse; what expands lives in the arena given there.  Thread: immutable once parsed, then any.
 * Failure: rule_template_parse: ERR_INVALID with "line:column: what".  rule_template_expand: ERR_EXECUTION with a sentence; ERR_LIMIT.
 * Limits: RULE_TEMPLATE_*; a template that would go on is ended with an error.
 */
#ifndef DETECTORS_RULE_TEMPLATE_H
#define DETECTORS_RULE_TEMPLATE_H

#include "query/query.h"

#define RULE_TEMPLATE_TEXT_MAX (64u << 10) /* of a template */
#define RULE_TEMPLATE_OUTPUT_MAX (16u << 10) /* a label's value holds no more */
#define RULE_TEMPLATE_STEPS_MAX 100000u /* nodes that are run */
#define RULE_TEMPLATE_DEPTH_MAX 32u /* blocks and parentheses within each other */
#define RULE_TEMPLATE_VARIABLES_MAX 64u

struct rule_template;

/* Evaluates an instant query at a time; the result lives in the arena. */
typedef enum err (*rule_template_query)(void *ctx, struct bytes text, int64_t at_ms,
                                        struct arena *a, struct query_result *out,
                                        struct err_msg *msg);

struct rule_template_data {
    struct tsdb_labels labels, external_labels;
    double value;
    struct bytes value_text; /* of a histogram; empty: value is a number */
    const char *external_url; /* NULL = "" */
    int64_t at_ms;
    rule_template_query query; /* NULL: query() is an error */
    void *ctx;
};

enum err rule_template_parse(struct bytes text, struct arena *a, struct rule_template **out,
                             struct err_msg *msg) MUST_CHECK;
enum err rule_template_expand(const struct rule_template *t, const struct rule_template_data *d,
                              struct arena *a, struct bytes *out, struct err_msg *msg) MUST_CHECK;
bool rule_template_is_text(const struct rule_template *t); /* nothing to run */

#endif
