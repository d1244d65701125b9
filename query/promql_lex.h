/* Tokens of PromQL.
 *
 * Owner: the caller's struct lexer; token text points into the source.  Thread: one at a time.
 * Failure: a token of kind TOKEN_ERROR with a static sentence in lexer.error.
 * Invariant: every call advances or returns TOKEN_EOF or TOKEN_ERROR for good.
 */
#ifndef QUERY_PROMQL_LEX_H
#define QUERY_PROMQL_LEX_H

#include "base/arena.h"
#include "base/bytes.h"

enum token_kind {
    TOKEN_EOF,
    TOKEN_ERROR,
    TOKEN_IDENTIFIER, /* without ':' */
    TOKEN_METRIC, /* with ':' */
    TOKEN_NUMBER,
    TOKEN_DURATION,
    TOKEN_STRING,
    TOKEN_LEFT_PAREN,
    TOKEN_RIGHT_PAREN,
    TOKEN_LEFT_BRACE,
    TOKEN_RIGHT_BRACE,
    TOKEN_LEFT_BRACKET,
    TOKEN_RIGHT_BRACKET,
    TOKEN_COMMA,
    TOKEN_COLON,
    TOKEN_AT,
    TOKEN_ADD,
    TOKEN_SUB,
    TOKEN_MUL,
    TOKEN_DIV,
    TOKEN_MOD,
    TOKEN_POW,
    TOKEN_EQLC, /* == */
    TOKEN_NEQ,
    TOKEN_GTR,
    TOKEN_LSS,
    TOKEN_GTE,
    TOKEN_LTE,
    TOKEN_TRIM_UPPER,
    TOKEN_TRIM_LOWER,
    TOKEN_EQL, /* = */
    TOKEN_EQL_REGEX,
    TOKEN_NEQ_REGEX
};

struct token {
    enum token_kind kind;
    struct bytes text;
    uint32_t pos;
};

struct lexer {
    struct bytes text;
    uint32_t at;
    unsigned parens, brackets;
    bool in_braces;
    char error[96];
};

struct token lexer_next(struct lexer *l);
/* "1h30m", "250ms"; false if malformed or out of range. */
bool lexer_duration_ms(struct bytes text, int64_t *out);
bool lexer_number(struct bytes text, double *out); /* decimal, hex, octal, Inf, NaN */
/* The content of a quoted string (any of the three quotes). false with a sentence. */
bool lexer_unquote(struct bytes text, struct arena *a, struct bytes *out, const char **out_why);

#endif
