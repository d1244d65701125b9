#include "query/promql_lex.h"

#include "base/check.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static bool is_alpha(int c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_digit(int c)
{
    return c >= '0' && c <= '9';
}

static bool is_alnum(int c)
{
    return is_alpha(c) || is_digit(c);
}

static bool is_hex(int c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static int peek(const struct lexer *l, uint32_t ahead)
{
    return l->at + ahead < l->text.size ? l->text.data[l->at + ahead] : -1;
}

static struct token token_of(struct lexer *l, enum token_kind kind, uint32_t start, uint32_t end)
{
    l->at = end;
    return (struct token){kind, bytes_slice(l->text, start, end), start};
}

static struct token token_error(struct lexer *l, const char *what, uint32_t at)
{
    snprintf(l->error, sizeof l->error, "%s", what);
    return (struct token){TOKEN_ERROR, bytes_slice(l->text, at, at), at};
}

static void skip_blanks(struct lexer *l)
{
    for (;;) {
        int c = peek(l, 0);
        if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
            l->at++;
        } else if (c == '#') {
            while (peek(l, 0) != -1 && peek(l, 0) != '\n')
                l->at++;
        } else {
            return;
        }
    }
}

static struct token lex_string(struct lexer *l)
{
    uint32_t start = l->at;
    int quote = peek(l, 0);
    for (uint32_t i = start + 1; i < l->text.size; i++) {
        int c = l->text.data[i];
        if (c == '\\' && quote != '`') {
            i++;
            continue;
        }
        if (c == '\n' && quote != '`')
            return token_error(l, "unterminated quoted string", start);
        if (c == quote)
            return token_of(l, TOKEN_STRING, start, i + 1);
    }
    return token_error(l, quote == '`' ? "unterminated raw string" : "unterminated quoted string",
                       start);
}

/* The end of a run of duration parts ("1h30m") from `i`, or 0. */
static uint32_t scan_duration(const struct lexer *l, uint32_t i)
{
    static const char *const units[] = {"ms", "s", "m", "h", "d", "w", "y"};
    uint32_t good = 0;
    for (;;) {
        uint32_t d = i;
        while (d < l->text.size && is_digit(l->text.data[d]))
            d++;
        if (d == i)
            return good;
        size_t u = 0;
        for (; u < ARRAY_LEN(units); u++)
            if (bytes_has_prefix(bytes_slice(l->text, d, l->text.size), bytes_str(units[u])))
                break;
        if (u == ARRAY_LEN(units))
            return 0;
        i = good = d + (uint32_t)strlen(units[u]);
    }
}

static struct token lex_number(struct lexer *l)
{
    uint32_t start = l->at, i = start, duration = scan_duration(l, start);
    if (duration && (duration == l->text.size || !is_alnum(l->text.data[duration])))
        return token_of(l, TOKEN_DURATION, start, duration);
    const uint8_t *d = l->text.data;
    size_t n = l->text.size;
    if (d[i] == '0' && i + 1 < n && (d[i + 1] == 'x' || d[i + 1] == 'X')) {
        i += 2;
        while (i < n && (is_hex(d[i]) || d[i] == '_'))
            i++;
    } else {
        while (i < n && (is_digit(d[i]) || (d[i] == '_' && i + 1 < n && is_digit(d[i + 1]))))
            i++;
        if (i < n && d[i] == '.')
            i++;
        while (i < n && is_digit(d[i]))
            i++;
        if (i < n && (d[i] == 'e' || d[i] == 'E')) {
            uint32_t e = i + 1;
            if (e < n && (d[e] == '+' || d[e] == '-'))
                e++;
            if (e < n && is_digit(d[e])) {
                i = e;
                while (i < n && is_digit(d[i]))
                    i++;
            }
        }
    }
    if (i < n && (is_alnum(d[i]))) {
        while (i < n && is_alnum(d[i]))
            i++;
        char what[96];
        snprintf(what, sizeof what, "bad number or duration syntax: \"%.*s\"",
                 (int)MIN(i - start, 40u), (const char *)d + start);
        return token_error(l, what, start);
    }
    return token_of(l, TOKEN_NUMBER, start, i);
}

static struct token lex_word(struct lexer *l)
{
    uint32_t start = l->at, i = start;
    bool colon = false;
    while (i < l->text.size && (is_alnum(l->text.data[i]) ||
                                (l->text.data[i] == ':' && !l->in_braces && !l->brackets))) {
        colon |= l->text.data[i] == ':';
        i++;
    }
    struct token t = token_of(l, colon ? TOKEN_METRIC : TOKEN_IDENTIFIER, start, i);
    if (!l->in_braces && (bytes_equal_nocase(t.text, BYTES_LIT("inf")) ||
                          bytes_equal_nocase(t.text, BYTES_LIT("nan"))))
        t.kind = TOKEN_NUMBER;
    return t;
}

static struct token lex_bracket(struct lexer *l, int c)
{
    uint32_t at = l->at;
    switch (c) {
    case '(': l->parens++; return token_of(l, TOKEN_LEFT_PAREN, at, at + 1);
    case ')':
        if (l->parens == 0)
            return token_error(l, "unexpected right parenthesis ')'", at);
        l->parens--;
        return token_of(l, TOKEN_RIGHT_PAREN, at, at + 1);
    case '{':
        if (l->in_braces)
            return token_error(l, "unexpected character inside braces: '{'", at);
        l->in_braces = true;
        return token_of(l, TOKEN_LEFT_BRACE, at, at + 1);
    case '}':
        if (!l->in_braces)
            return token_error(l, "unexpected right brace '}'", at);
        l->in_braces = false;
        return token_of(l, TOKEN_RIGHT_BRACE, at, at + 1);
    case '[':
        if (l->brackets)
            return token_error(l, "unexpected left bracket '['", at);
        l->brackets = 1;
        return token_of(l, TOKEN_LEFT_BRACKET, at, at + 1);
    default:
        if (!l->brackets)
            return token_error(l, "unexpected right bracket ']'", at);
        l->brackets = 0;
        return token_of(l, TOKEN_RIGHT_BRACKET, at, at + 1);
    }
}

static enum token_kind lex_operator(const struct lexer *l, uint32_t *size)
{
    int c = peek(l, 0), d = peek(l, 1);
    *size = 1;
    switch (c) {
    case ',': return TOKEN_COMMA;
    case ':': return TOKEN_COLON;
    case '@': return TOKEN_AT;
    case '+': return TOKEN_ADD;
    case '-': return TOKEN_SUB;
    case '*': return TOKEN_MUL;
    case '/': return TOKEN_DIV;
    case '%': return TOKEN_MOD;
    case '^': return TOKEN_POW;
    default: break;
    }
    *size = 2;
    if (c == '=' && d == '=')
        return TOKEN_EQLC;
    if (c == '=' && d == '~')
        return TOKEN_EQL_REGEX;
    if (c == '!' && d == '=')
        return TOKEN_NEQ;
    if (c == '!' && d == '~')
        return TOKEN_NEQ_REGEX;
    if (c == '<' && d == '=')
        return TOKEN_LTE;
    if (c == '>' && d == '=')
        return TOKEN_GTE;
    if (c == '<' && d == '/')
        return TOKEN_TRIM_UPPER;
    if (c == '>' && d == '/')
        return TOKEN_TRIM_LOWER;
    *size = 1;
    return c == '=' ? TOKEN_EQL : c == '<' ? TOKEN_LSS : c == '>' ? TOKEN_GTR : TOKEN_ERROR;
}

struct token lexer_next(struct lexer *l)
{
    skip_blanks(l);
    int c = peek(l, 0);
    if (c == -1) {
        if (l->in_braces)
            return token_error(l, "unexpected end of input inside braces", l->at);
        if (l->parens)
            return token_error(l, "unclosed left parenthesis", l->at);
        if (l->brackets)
            return token_error(l, "unclosed left bracket", l->at);
        return token_of(l, TOKEN_EOF, l->at, l->at);
    }
    if (strchr("(){}[]", c))
        return lex_bracket(l, c);
    if (c == '"' || c == '\'' || c == '`')
        return lex_string(l);
    if (is_digit(c) || (c == '.' && is_digit(peek(l, 1))))
        return lex_number(l);
    if (is_alpha(c) || (c == ':' && !l->in_braces && !l->brackets && is_alnum(peek(l, 1))))
        return lex_word(l);
    uint32_t size;
    enum token_kind kind = lex_operator(l, &size);
    if (kind != TOKEN_ERROR)
        return token_of(l, kind, l->at, l->at + size);
    char what[96];
    snprintf(what, sizeof what, "unexpected character%s: '%c'",
             l->in_braces ? " inside braces" : "", c >= 32 && c < 127 ? c : '?');
    return token_error(l, what, l->at);
}

bool lexer_duration_ms(struct bytes text, int64_t *out)
{
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"y", 31536000000}, {"w", 604800000}, {"d", 86400000}, {"h", 3600000},
                 {"m", 60000},       {"s", 1000},      {"ms", 1}};
    size_t i = 0, next_unit = 0;
    int64_t total = 0;
    while (i < text.size) {
        int64_t n = 0;
        size_t digits = i;
        while (i < text.size && is_digit(text.data[i])) {
            n = n * 10 + (text.data[i++] - '0');
            if (n > INT64_MAX / 100)
                return false;
        }
        size_t unit_at = i;
        while (i < text.size && !is_digit(text.data[i]))
            i++;
        if (digits == unit_at)
            return false;
        struct bytes unit = bytes_slice(text, unit_at, i);
        while (next_unit < ARRAY_LEN(units) && !bytes_equal_str(unit, units[next_unit].unit))
            next_unit++;
        if (next_unit == ARRAY_LEN(units))
            return false; /* unknown, repeated or out of order */
        int64_t part;
        if (__builtin_mul_overflow(n, units[next_unit].ms, &part) ||
            __builtin_add_overflow(total, part, &total) || total > INT64_MAX / 1000000)
            return false;
        next_unit++;
    }
    *out = total;
    return text.size > 0;
}

bool lexer_number(struct bytes text, double *out)
{
    char copy[400];
    size_t n = 0;
    if (text.size == 0 || text.size >= sizeof copy)
        return false;
    for (size_t i = 0; i < text.size; i++)
        if (text.data[i] != '_')
            copy[n++] = (char)text.data[i];
    copy[n] = 0;
    bool hex = n > 2 && copy[0] == '0' && (copy[1] == 'x' || copy[1] == 'X');
    if (!hex && n > 1 && copy[0] == '0' && strspn(copy, "01234567") == n) {
        *out = (double)strtoull(copy, NULL, 8); /* as Go's ParseInt with base 0 */
        return true;
    }
    char *end;
    *out = strtod(copy, &end);
    return *end == 0;
}

static size_t put_utf8(uint8_t *p, uint32_t c)
{
    if (c < 0x80) {
        p[0] = (uint8_t)c;
        return 1;
    }
    if (c < 0x800) {
        p[0] = (uint8_t)(0xc0 | c >> 6);
        p[1] = (uint8_t)(0x80 | (c & 63));
        return 2;
    }
    if (c < 0x10000) {
        p[0] = (uint8_t)(0xe0 | c >> 12);
        p[1] = (uint8_t)(0x80 | (c >> 6 & 63));
        p[2] = (uint8_t)(0x80 | (c & 63));
        return 3;
    }
    p[0] = (uint8_t)(0xf0 | c >> 18);
    p[1] = (uint8_t)(0x80 | (c >> 12 & 63));
    p[2] = (uint8_t)(0x80 | (c >> 6 & 63));
    p[3] = (uint8_t)(0x80 | (c & 63));
    return 4;
}

/* An escape at s[i] (after the backslash) appended to out; 0 on failure, else how many bytes it took. */
static size_t unescape(struct bytes s, size_t i, uint8_t *out, size_t *size)
{
    static const char names[] = "abfnrtv\\'\"", values[] = "\a\b\f\n\r\t\v\\'\"";
    int c = s.data[i];
    const char *name = c ? strchr(names, c) : NULL;
    if (name) {
        out[(*size)++] = (uint8_t)values[name - names];
        return 1;
    }
    unsigned digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0, base = 16;
    size_t from = i + 1;
    if (c >= '0' && c <= '7') {
        digits = 3;
        base = 8;
        from = i;
    }
    if (digits == 0 || from + digits > s.size)
        return 0;
    uint32_t v = 0;
    for (size_t k = from; k < from + digits; k++) {
        int d = s.data[k];
        if (!is_hex(d) || (base == 8 && d > '7'))
            return 0;
        v = v * base + (uint32_t)(is_digit(d) ? d - '0' : (d | 32) - 'a' + 10);
    }
    if (digits <= 3) {
        if (v > 255)
            return 0;
        out[(*size)++] = (uint8_t)v;
    } else {
        if (v > 0x10ffff || (v >= 0xd800 && v < 0xe000))
            return 0;
        *size += put_utf8(out + *size, v);
    }
    return from + digits - i;
}

bool lexer_unquote(struct bytes text, struct arena *a, struct bytes *out, const char **out_why)
{
    *out_why = "invalid syntax";
    if (text.size < 2)
        return false;
    struct bytes inner = bytes_slice(text, 1, text.size - 1);
    if (text.data[0] == '`' || !memchr(inner.data, '\\', inner.size)) {
        *out = inner;
        return true;
    }
    uint8_t *p = arena_alloc_raw(a, inner.size, 1);
    if (!p) {
        *out_why = "text too large";
        return false;
    }
    size_t size = 0;
    for (size_t i = 0; i < inner.size;) {
        if (inner.data[i] != '\\') {
            p[size++] = inner.data[i++];
            continue;
        }
        size_t took = i + 1 < inner.size ? unescape(inner, i + 1, p, &size) : 0;
        if (!took)
            return false;
        i += 1 + took;
    }
    *out = bytes_of(p, size);
    return true;
}
