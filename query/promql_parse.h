/* The parser's state, shared by promql_parse.c (grammar) and promql_check.c (types).
 *
 * Owner: promql_parse's stack.  Thread: one at a time.  Failure: the first mistake sets .err and .msg; everything after does nothing.
 */
#ifndef QUERY_PROMQL_PARSE_H
#define QUERY_PROMQL_PARSE_H

#include "query/promql_ast.h"
#include "query/promql_lex.h"
#include "query/regex_re2.h"

struct parser {
    struct lexer lexer;
    struct token token;
    uint32_t last_end, first_pos;
    unsigned depth, chain;
    struct arena *arena;
    enum err err;
    struct err_msg *msg;
    bool allow_empty_selector; /* inside info(): {data=~".*"} */
};

void parser_fail(struct parser *p, uint32_t pos, const char *fmt, ...) PRINTF_LIKE(3, 4);

bool promql_aggregate_find(struct bytes name, enum aggregate_op *out);
void promql_check_aggregate(struct parser *p, struct node *n);
void promql_check_call(struct parser *p, struct node *n);
void promql_check_binary(struct parser *p, struct node *n, uint32_t op_pos);

enum err promql_parse_with(struct bytes text, struct arena *a, bool allow_empty_selector,
                           struct node **out, struct err_msg *msg) MUST_CHECK;

#endif
