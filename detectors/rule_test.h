/* A test file of rules as it is written. Private to rule tests.
 *
 * Owner: the arena given.  Thread: immutable once read.
 * Failure: ERR_INVALID with a line for each mistake: file, line, what would be valid.
 */
#ifndef DETECTORS_RULE_TEST_H
#define DETECTORS_RULE_TEST_H

#include "base/yaml_in.h"
#include "detectors/rule_file.h"
#include "query/query_hist.h"

struct rule_test_alert { /* alert_rule_test */
    int64_t at_ms;
    struct bytes name;
    struct rule_test_expected {
        struct tsdb_labels labels, annotations;
    } * expected;
    uint32_t count;
};

struct rule_test_sample {
    struct tsdb_labels labels;
    double value;
    const struct query_hist *hist; /* NULL: value */
};

struct rule_test_expr { /* promql_expr_test */
    int64_t at_ms;
    struct bytes expr;
    struct rule_test_sample *expected;
    uint32_t count;
};

struct rule_test_case {
    struct bytes name, external_url;
    int64_t interval_ms; /* between the values of series */
    const struct yaml_node *series; /* input_series */
    struct tsdb_labels external_labels;
    struct rule_test_alert *alerts;
    struct rule_test_expr *exprs;
    uint32_t alert_count, expr_count;
    unsigned line;
};

struct rule_test_file {
    const char *const *rule_files;
    size_t rule_file_count;
    struct bytes *order; /* group_eval_order */
    uint32_t order_count;
    int64_t interval_ms;
    bool is_fuzzy;
    struct rule_test_case *cases;
    uint32_t case_count;
};

enum err rule_test_read(const char *path, struct arena *a, struct rule_test_file *out,
                        struct buf *errors) MUST_CHECK;

#endif
