/* The syntax tree of PromQL: nodes in an arena, made by promql_parse.c, read by the printer and the evaluator.
 *
 * Owner: the arena.  Thread: one at a time until parsed, then any.  Failure: promql_parse gives ERR_INVALID with "line:column: parse error:
 * ...", ERR_LIMIT when the arena is full.
 * Limits: depth QUERY_DEPTH_MAX, text QUERY_TEXT_MAX.
 * Invariants: 1. Children are never NULL where their kind requires them. 2. Types have been checked. 3. pos_start <= pos_end <= text size.
 */
#ifndef QUERY_PROMQL_AST_H
#define QUERY_PROMQL_AST_H

#include "query/query.h"

enum node_kind {
    NODE_NUMBER,
    NODE_STRING,
    NODE_SELECTOR, /* instant vector selector */
    NODE_MATRIX, /* selector[range] */
    NODE_SUBQUERY,
    NODE_UNARY,
    NODE_BINARY,
    NODE_AGGREGATE,
    NODE_CALL,
    NODE_PAREN,
    NODE_DURATION /* duration expression, only inside ranges and offsets */
};

enum value_type { TYPE_NONE, TYPE_SCALAR, TYPE_VECTOR, TYPE_MATRIX, TYPE_STRING };

enum binary_op {
    OP_ADD,
    OP_SUB,
    OP_MUL,
    OP_DIV,
    OP_MOD,
    OP_POW,
    OP_ATAN2,
    OP_EQ,
    OP_NE,
    OP_GT,
    OP_LT,
    OP_GE,
    OP_LE,
    OP_TRIM_UPPER, /* </ */
    OP_TRIM_LOWER, /* >/ */
    OP_AND,
    OP_OR,
    OP_UNLESS
};
static inline bool op_is_set(enum binary_op op)
{
    return op >= OP_AND;
}
static inline bool op_is_comparison(enum binary_op op)
{
    return op >= OP_EQ && op <= OP_LE;
}
const char *promql_op_text(enum binary_op op);

enum aggregate_op {
    AGG_SUM,
    AGG_AVG,
    AGG_COUNT,
    AGG_MIN,
    AGG_MAX,
    AGG_GROUP,
    AGG_STDDEV,
    AGG_STDVAR,
    AGG_TOPK,
    AGG_BOTTOMK,
    AGG_COUNT_VALUES,
    AGG_QUANTILE,
    AGG_LIMITK,
    AGG_LIMIT_RATIO
};
const char *promql_aggregate_text(enum aggregate_op op);
static inline bool aggregate_has_param(enum aggregate_op op)
{
    return op >= AGG_TOPK;
}

enum at_kind { AT_NONE, AT_TIME, AT_START, AT_END };
enum match_card { CARD_ONE_TO_ONE, CARD_MANY_TO_ONE, CARD_ONE_TO_MANY };
enum duration_op {
    DUR_NUMBER,
    DUR_ADD,
    DUR_SUB,
    DUR_MUL,
    DUR_DIV,
    DUR_MOD,
    DUR_POW,
    DUR_NEG,
    DUR_STEP,
    DUR_RANGE,
    DUR_MIN,
    DUR_MAX,
    DUR_PAREN,
    DUR_POS
};

struct node;

struct node_list {
    struct node **items;
    uint32_t count;
};

struct name_list {
    struct bytes *items;
    uint32_t count;
};

struct node_matcher {
    enum tsdb_match_op op;
    struct bytes name, value;
};

struct node {
    enum node_kind kind;
    enum value_type type;
    uint32_t pos_start, pos_end;
    /* modifiers of selectors and subqueries */
    enum at_kind at;
    int64_t at_ms;
    int64_t offset_ms;
    struct node *offset_expr, *range_expr, *step_expr; /* duration expressions; NULL = constant */
    bool smoothed, anchored, has_offset, has_step;
    uint16_t explain; /* its number in the plan; 0: none (query_explain.h) */
    uint16_t height; /* of the operators below: bounds recursion */
    bool step_invariant; /* the same at every step */
    int64_t range_ms, step_ms; /* step_ms 0 = default */
    union {
        struct {
            double value;
            bool is_duration;
        } number;
        struct bytes string;
        struct {
            struct bytes name; /* the name before the braces; may be empty */
            struct node_matcher *matchers; /* all, __name__ included */
            uint32_t count;
        } selector;
        struct {
            struct node *expr;
        } inner; /* NODE_MATRIX, NODE_SUBQUERY, NODE_PAREN */
        struct {
            struct node *expr;
            bool negative;
        } unary;
        struct {
            enum binary_op op;
            bool returns_bool;
            bool has_matching; /* on or ignoring was written */
            bool on;
            enum match_card card;
            struct name_list labels, include;
            bool fill_left_set, fill_right_set;
            double fill_left, fill_right;
            struct node *lhs, *rhs;
        } binary;
        struct {
            enum aggregate_op op;
            bool without, has_grouping;
            struct name_list labels;
            struct node *expr, *param;
        } aggregate;
        struct {
            const struct promql_function *function;
            struct node_list args;
        } call;
        struct {
            enum duration_op op;
            double value; /* DUR_NUMBER: seconds */
            bool is_duration; /* written with a unit */
            struct node *lhs, *rhs;
        } duration;
    };
};

#define FUNCTION_ARGS_MAX 6

/* variadic: 0 = exactly arg_count; n > 0 = the last n are optional; -1 = the last may repeat, at least one; -2 may repeat or be missing. */
struct promql_function {
    const char *name;
    enum value_type result;
    int8_t arg_count, variadic;
    enum value_type args[FUNCTION_ARGS_MAX];
    int id; /* enum function_id in eval.h */
};
const struct promql_function *promql_function_find(struct bytes name);

enum err promql_parse(struct bytes text, struct arena *a, struct node **out,
                      struct err_msg *msg) MUST_CHECK;
/* "line:column" of a byte position. */
void promql_position(struct bytes text, uint32_t pos, unsigned *line, unsigned *column);
/* Duration expressions: grid-dependent ones (step(), range()) are evaluated with the query's step and range. */
bool promql_duration_needs_grid(const struct node *d);
bool promql_duration_eval(const struct node *d, double step_s, double range_s, double *out_s,
                          struct err_msg *why);
void promql_print(const struct node *n, struct buf *out); /* on one line */
void promql_print_pretty(const struct node *n, struct buf *out);
const char *promql_type_text(enum value_type t); /* "instant vector" */
const struct node *promql_unparen(const struct node *n);

#endif
