/* The tree of a TraceQL query.
 *
 * Owner: the query's arena; regular expressions hang in a list that query_traceql_free walks.  Thread: immutable once parsed.
 */
#ifndef QUERY_TRACEQL_AST_H
#define QUERY_TRACEQL_AST_H

#include "query/query_traceql.h"
#include "query/regex_re2.h"

enum traceql_intrinsic {
    TRACEQL_NOT_INTRINSIC,
    TRACEQL_I_DURATION,
    TRACEQL_I_NAME,
    TRACEQL_I_STATUS,
    TRACEQL_I_STATUS_MESSAGE,
    TRACEQL_I_KIND,
    TRACEQL_I_TRACE_ID,
    TRACEQL_I_SPAN_ID,
    TRACEQL_I_PARENT_ID,
    TRACEQL_I_SCOPE_NAME,
    TRACEQL_I_SCOPE_VERSION,
    TRACEQL_I_EVENT_NAME,
    TRACEQL_I_EVENT_SINCE_START,
    TRACEQL_I_LINK_TRACE,
    TRACEQL_I_LINK_SPAN,
    TRACEQL_I_COLUMN, /* llm:…, a column of the store */
    /* what only the whole trace can tell */
    TRACEQL_I_ROOT_NAME,
    TRACEQL_I_ROOT_SERVICE,
    TRACEQL_I_TRACE_DURATION,
    TRACEQL_I_CHILD_COUNT,
    TRACEQL_I_NESTED_PARENT
};

struct traceql_field {
    enum query_traceql_scope scope;
    enum traceql_intrinsic intrinsic;
    bool parent; /* of the span's parent */
    uint8_t column; /* of COLUMN: place in traceql_columns */
    struct bytes name;
};

/* The canonical columns that Telltale writes beside what a span was sent with, as fields. */
struct traceql_column {
    const char *name;
    uint32_t column; /* enum tsdb_span_column */
    enum {
        TRACEQL_AS_TEXT,
        TRACEQL_AS_INT, /* negative: not known */
        TRACEQL_AS_DURATION, /* the same, ns */
        TRACEQL_AS_USD, /* the same, nano-USD in the column */
        TRACEQL_AS_OUTCOME,
        TRACEQL_AS_FAULT,
        TRACEQL_AS_CLASS
    } as;
};
extern const struct traceql_column traceql_columns[];
extern const size_t traceql_columns_count;
struct query_traceql_value traceql_column_value(const struct traceql_column *c,
                                                const struct tsdb_spans *t, uint32_t row);
/* Columns of the store that a field's value is made from, as bits. */
uint64_t traceql_field_columns(const struct traceql_field *f);

enum traceql_op {
    TRACEQL_OP_AND,
    TRACEQL_OP_OR,
    TRACEQL_OP_EQ,
    TRACEQL_OP_NE,
    TRACEQL_OP_LT,
    TRACEQL_OP_LE,
    TRACEQL_OP_GT,
    TRACEQL_OP_GE,
    TRACEQL_OP_RE,
    TRACEQL_OP_NRE,
    TRACEQL_OP_ADD,
    TRACEQL_OP_SUB,
    TRACEQL_OP_MUL,
    TRACEQL_OP_DIV,
    TRACEQL_OP_MOD,
    TRACEQL_OP_POW,
    TRACEQL_OP_NOT,
    TRACEQL_OP_DESCENDANT,
    TRACEQL_OP_ANCESTOR,
    TRACEQL_OP_SIBLING
};

struct traceql_expr {
    enum { TRACEQL_STATIC, TRACEQL_FIELD, TRACEQL_UNARY, TRACEQL_BINARY } kind;
    enum traceql_op op;
    bool whole; /* something below needs the whole trace */
    struct traceql_expr *left, *right; /* UNARY: left */
    struct query_traceql_value value;
    struct traceql_field field;
    struct regex_re2 *regex; /* of RE and NRE */
};

struct traceql_spanset {
    struct traceql_expr *filter; /* a leaf; NULL: all spans. Where left is set: an operation */
    enum traceql_op op;
    struct traceql_spanset *left, *right;
};

enum traceql_aggregate { TRACEQL_COUNT, TRACEQL_AVG, TRACEQL_MIN, TRACEQL_MAX, TRACEQL_SUM };
struct traceql_stage {
    struct traceql_spanset *spanset; /* or, where NULL, an aggregate against a number */
    enum traceql_aggregate aggregate;
    struct traceql_expr *of; /* NULL: count */
    enum traceql_op op;
    struct query_traceql_value value;
    struct traceql_stage *next;
};

struct traceql_regex {
    struct regex_re2 *regex;
    struct traceql_regex *next;
};

struct query_traceql {
    struct traceql_stage *stages; /* the first is a span set */
    const struct traceql_field **fields;
    uint32_t field_count, nodes;
    struct traceql_regex *regexes;
};

/* A field by its text: "span.http.method", ".x", "duration". */
enum err traceql_field_parse(struct bytes text, struct traceql_field *out,
                             struct err_msg *msg) MUST_CHECK;

/* The conditions of e that must all hold, as far as the store has filters for them: *f and *more let pass whatever may answer. where has room for
 * TRACEQL_WHERE_MAX. */
#define TRACEQL_WHERE_MAX 8u
void traceql_push_down(const struct traceql_expr *e, struct tsdb_span_filter *f,
                       struct tsdb_row_filter *more, struct tsdb_where *where);

/* What a row is looked at with. layout NULL: the row alone is known. */
struct query_trace_layout;
struct traceql_row {
    const struct tsdb_spans *t;
    uint32_t row;
    const struct query_trace_layout *layout;
    const uint32_t *children; /* of each row, with layout */
    uint32_t root; /* with layout */
};
/* Calls each(ctx, value) for every value that the field has there (events, arrays: several); false from it ends. */
void traceql_field_each(const struct traceql_field *f, const struct traceql_row *r,
                        bool (*each)(void *ctx, const struct query_traceql_value *v), void *ctx);
struct query_traceql_value traceql_field_value(const struct traceql_field *f,
                                               const struct traceql_row *r); /* the first one */
bool traceql_expr_is_true(const struct traceql_expr *e, const struct traceql_row *r);
struct query_traceql_value traceql_expr_value(const struct traceql_expr *e,
                                              const struct traceql_row *r);
bool traceql_compare(enum traceql_op op, const struct query_traceql_value *a,
                     const struct query_traceql_value *b);
/* Could a row that looks like this be one of the filter's, for all that the row alone can tell? NULL: yes. */
bool traceql_expr_may(const struct traceql_expr *e, const struct traceql_row *r);

/* traceql_lex.c */
enum traceql_token {
    TRACEQL_T_END,
    TRACEQL_T_BAD, /* the lexer has set its message */
    TRACEQL_T_STRING,
    TRACEQL_T_NUMBER, /* value INT, FLOAT or DURATION */
    TRACEQL_T_FIELD, /* an attribute or an intrinsic */
    TRACEQL_T_WORD, /* true, ok, count, select, … */
    TRACEQL_T_SIGN /* text is the sign */
};
struct traceql_lex {
    struct bytes text;
    size_t at;
    struct arena *a;
    struct err_msg *msg;
    /* the token that was read */
    enum traceql_token token;
    size_t from;
    struct bytes word; /* WORD, SIGN, FIELD: as written */
    struct query_traceql_value value;
    struct traceql_field field;
};
void traceql_lex_next(struct traceql_lex *l);
enum err traceql_lex_error(const struct traceql_lex *l, size_t at, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

#endif
