#include "query/traceql_ast.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/check.h"

/* clang-format off */
static const struct {
    const char *word;
    enum traceql_intrinsic what;
} intrinsics[] = {
    {"duration", TRACEQL_I_DURATION},           {"span:duration", TRACEQL_I_DURATION},
    {"name", TRACEQL_I_NAME},                   {"span:name", TRACEQL_I_NAME},
    {"status", TRACEQL_I_STATUS},               {"span:status", TRACEQL_I_STATUS},
    {"statusMessage", TRACEQL_I_STATUS_MESSAGE},{"span:statusMessage", TRACEQL_I_STATUS_MESSAGE},
    {"kind", TRACEQL_I_KIND},                   {"span:kind", TRACEQL_I_KIND},
    {"span:id", TRACEQL_I_SPAN_ID},             {"span:parentID", TRACEQL_I_PARENT_ID},
    {"rootName", TRACEQL_I_ROOT_NAME},          {"trace:rootName", TRACEQL_I_ROOT_NAME},
    {"rootServiceName", TRACEQL_I_ROOT_SERVICE},{"trace:rootService", TRACEQL_I_ROOT_SERVICE},
    {"traceDuration", TRACEQL_I_TRACE_DURATION},{"trace:duration", TRACEQL_I_TRACE_DURATION},
    {"trace:id", TRACEQL_I_TRACE_ID},           {"span:childCount", TRACEQL_I_CHILD_COUNT},
    {"childCount", TRACEQL_I_CHILD_COUNT},      {"nestedSetParent", TRACEQL_I_NESTED_PARENT},
    {"event:name", TRACEQL_I_EVENT_NAME},       {"event:timeSinceStart", TRACEQL_I_EVENT_SINCE_START},
    {"link:traceID", TRACEQL_I_LINK_TRACE},     {"link:spanID", TRACEQL_I_LINK_SPAN},
    {"instrumentation:name", TRACEQL_I_SCOPE_NAME}, {"instrumentation:version", TRACEQL_I_SCOPE_VERSION},
};
/* clang-format on */
const char *const query_traceql_intrinsics[] = {"duration",
                                                "kind",
                                                "name",
                                                "rootName",
                                                "rootServiceName",
                                                "status",
                                                "statusMessage",
                                                "traceDuration",
                                                "childCount",
                                                "event:name",
                                                "event:timeSinceStart",
                                                "instrumentation:name",
                                                "instrumentation:version",
                                                "link:spanID",
                                                "link:traceID",
                                                "span:id",
                                                "span:parentID",
                                                "trace:id",
                                                NULL};

static const struct {
    const char *prefix;
    enum query_traceql_scope scope;
} scopes[] = {{".", TRACEQL_ANY},
              {"span.", TRACEQL_SPAN},
              {"resource.", TRACEQL_RESOURCE},
              {"event.", TRACEQL_EVENT},
              {"link.", TRACEQL_LINK},
              {"instrumentation.", TRACEQL_INSTRUMENTATION}};

enum err traceql_lex_error(const struct traceql_lex *l, size_t at, const char *fmt, ...)
{
    char what[160];
    size_t line = 1, column = 1;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    for (size_t i = 0; i < at && i < l->text.size; i++) {
        column++;
        if (l->text.data[i] == '\n')
            line++, column = 1;
    }
    return err_set(l->msg, ERR_INVALID, "parse error at line %zu, col %zu: %s", line, column, what);
}

static void bad(struct traceql_lex *l, size_t at, const char *what)
{
    if (l->token != TRACEQL_T_BAD)
        (void)traceql_lex_error(l, at, "%s", what); /* it is the token that says so */
    l->token = TRACEQL_T_BAD;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* Of an attribute's name outside of quotes. */
static bool is_name(uint8_t c)
{
    return !is_blank(c) && !memchr("{}()=~!<>&|^,", c, 13);
}

/* The text between quotes, escapes undone; *at stands behind the closing quote. */
static bool quoted(struct traceql_lex *l, size_t *at, uint8_t *out, size_t *out_size)
{
    uint8_t quote = l->text.data[(*at)++];
    while (*at < l->text.size) {
        uint8_t c = l->text.data[(*at)++];
        if (c == quote)
            return true;
        if (c == '\\' && quote == '"') {
            if (*at == l->text.size)
                break;
            c = l->text.data[(*at)++];
            if (c == 'n')
                c = '\n';
            else if (c == 't')
                c = '\t';
            else if (c == 'r')
                c = '\r';
            else if (c != '"' && c != '\\' && c != '\'') {
                bad(l, *at - 2, "an escape that is none: \\n, \\t, \\r, \\\\ and \\\" are");
                return false;
            }
        }
        out[(*out_size)++] = c;
    }
    bad(l, l->from, "a quote without an end");
    return false;
}

static void read_string(struct traceql_lex *l)
{
    uint8_t *copy = arena_alloc_raw(l->a, l->text.size - l->at, 1);
    size_t size = 0;
    if (!copy)
        bad(l, l->at, "no memory");
    else if (quoted(l, &l->at, copy, &size)) {
        l->token = TRACEQL_T_STRING;
        l->value =
            (struct query_traceql_value){.type = TRACEQL_STRING, .text = bytes_of(copy, size)};
    }
}

/* 12, 1.5, 1h30m, 10ms. */
static void read_number(struct traceql_lex *l)
{
    static const struct {
        const char *unit;
        double ns;
    } units[] = {{"ns", 1},   {"us", 1e3},   {"µs", 1e3},    {"ms", 1e6},     {"s", 1e9},
                 {"m", 60e9}, {"h", 3600e9}, {"d", 86400e9}, {"w", 604800e9}, {"y", 31536e12}};
    double total = 0, n = 0;
    bool units_seen = false, ok = true;
    size_t i = l->at;
    while (ok && i < l->text.size && (is_digit(l->text.data[i]) || l->text.data[i] == '.')) {
        size_t from = i, unit = ARRAY_LEN(units);
        while (i < l->text.size && (is_digit(l->text.data[i]) || l->text.data[i] == '.'))
            i++;
        ok = bytes_to_f64(bytes_slice(l->text, from, i), &n);
        struct bytes rest = bytes_slice(l->text, i, l->text.size);
        for (size_t u = 0; u < ARRAY_LEN(units); u++)
            if (bytes_has_prefix(rest, bytes_str(units[u].unit)) &&
                (unit == ARRAY_LEN(units) || strlen(units[u].unit) > strlen(units[unit].unit)))
                unit = u;
        if (unit == ARRAY_LEN(units))
            break;
        units_seen = true;
        total += n * units[unit].ns;
        i += strlen(units[unit].unit);
        n = 0;
    }
    struct bytes text = bytes_slice(l->text, l->at, i);
    int64_t whole;
    l->token = TRACEQL_T_NUMBER;
    if (!ok || (i < l->text.size && is_letter(l->text.data[i])) ||
        (units_seen && (n != 0 || total >= 9.2e18)))
        bad(l, l->from, "neither a number nor a duration such as 1h30m, 1.5s, 10ms");
    else if (units_seen)
        l->value = (struct query_traceql_value){TRACEQL_DURATION, {.integer = (int64_t)total}};
    else if (bytes_to_i64(text, &whole))
        l->value = (struct query_traceql_value){TRACEQL_INT, {.integer = whole}};
    else
        l->value = (struct query_traceql_value){TRACEQL_FLOAT, {.number = n}};
    l->at = i;
}

/* An attribute's name from l->at on, quoted parts included. */
static bool read_name(struct traceql_lex *l, struct bytes *out)
{
    uint8_t *copy = arena_alloc_raw(l->a, l->text.size - l->at + 1, 1);
    size_t size = 0;
    if (!copy) {
        bad(l, l->at, "no memory");
        return false;
    }
    while (l->at < l->text.size && is_name(l->text.data[l->at])) {
        if (l->text.data[l->at] == '"') {
            if (!quoted(l, &l->at, copy, &size))
                return false;
        } else {
            copy[size++] = l->text.data[l->at++];
        }
    }
    *out = bytes_of(copy, size);
    if (size == 0)
        bad(l, l->at, "the name of an attribute is missing");
    return size != 0;
}

static bool try_scope(struct traceql_lex *l)
{
    struct bytes rest = bytes_slice(l->text, l->at, l->text.size);
    for (size_t i = 0; i < ARRAY_LEN(scopes); i++)
        if (bytes_has_prefix(rest, bytes_str(scopes[i].prefix))) {
            l->at += strlen(scopes[i].prefix);
            l->field.scope = scopes[i].scope;
            return true;
        }
    return false;
}

static void read_field(struct traceql_lex *l)
{
    if (read_name(l, &l->field.name)) {
        l->token = TRACEQL_T_FIELD;
        l->word = bytes_slice(l->text, l->from, l->at);
    }
}

static void read_word(struct traceql_lex *l)
{
    static const char parent[] = "parent.";
    l->field = (struct traceql_field){0};
    if (bytes_has_prefix(bytes_slice(l->text, l->at, l->text.size), bytes_str(parent))) {
        l->at += sizeof parent - 1;
        l->field.parent = true;
        if (!try_scope(l))
            l->field.scope = TRACEQL_ANY;
        read_field(l);
        return;
    }
    if (try_scope(l)) {
        read_field(l);
        return;
    }
    while (l->at < l->text.size && (is_letter(l->text.data[l->at]) ||
                                    is_digit(l->text.data[l->at]) || l->text.data[l->at] == ':'))
        l->at++;
    l->word = bytes_slice(l->text, l->from, l->at);
    l->token = TRACEQL_T_WORD;
    for (size_t i = 0; i < ARRAY_LEN(intrinsics); i++)
        if (bytes_equal_str(l->word, intrinsics[i].word)) {
            l->token = TRACEQL_T_FIELD;
            l->field = (struct traceql_field){
                .scope = TRACEQL_INTRINSIC, .intrinsic = intrinsics[i].what, .name = l->word};
        }
    for (size_t i = 0; i < traceql_columns_count; i++)
        if (bytes_equal_str(l->word, traceql_columns[i].name)) {
            l->token = TRACEQL_T_FIELD;
            l->field = (struct traceql_field){.scope = TRACEQL_INTRINSIC,
                                              .intrinsic = TRACEQL_I_COLUMN,
                                              .column = (uint8_t)i,
                                              .name = l->word};
        }
}

static void read_sign(struct traceql_lex *l)
{
    static const char *const signs[] = {"!>>", "!<<", "&>>", "&<<", "&&", "||", "!=", "=~", "!~",
                                        ">=",  "<=",  ">>",  "<<",  "!>", "!<", "&>", "&<", "&~",
                                        "{",   "}",   "(",   ")",   "=",  "<",  ">",  "+",  "-",
                                        "*",   "/",   "%",   "^",   "!",  "|",  "~",  ","};
    for (size_t i = 0; i < ARRAY_LEN(signs); i++)
        if (bytes_has_prefix(bytes_slice(l->text, l->at, l->text.size), bytes_str(signs[i]))) {
            l->at += strlen(signs[i]);
            l->word = bytes_str(signs[i]);
            l->token = TRACEQL_T_SIGN;
            return;
        }
    bad(l, l->at, "a character that means nothing here");
}

void traceql_lex_next(struct traceql_lex *l)
{
    if (l->token == TRACEQL_T_BAD)
        return;
    while (l->at < l->text.size && is_blank(l->text.data[l->at]))
        l->at++;
    l->from = l->at;
    l->word = BYTES_NONE;
    if (l->at == l->text.size) {
        l->token = TRACEQL_T_END;
        return;
    }
    uint8_t c = l->text.data[l->at];
    if (c == '"' || c == '`')
        read_string(l);
    else if (is_digit(c) ||
             (c == '.' && l->at + 1 < l->text.size && is_digit(l->text.data[l->at + 1])))
        read_number(l);
    else if (c == '.' || is_letter(c))
        read_word(l);
    else
        read_sign(l);
}

enum err traceql_field_parse(struct bytes text, struct traceql_field *out, struct err_msg *msg)
{
    struct arena *a = arena_new(64 << 10);
    struct traceql_lex l = {.text = text, .a = a, .msg = msg};
    if (!a)
        return ERR_NOMEM;
    if (text.size > QUERY_TRACEQL_BYTES_MAX)
        (void)traceql_lex_error(&l, 0, "longer than %u bytes", QUERY_TRACEQL_BYTES_MAX);
    else
        traceql_lex_next(&l);
    enum err e = ERR_OK;
    if (l.token == TRACEQL_T_WORD) { /* without a scope, as the older interface names tags */
        l.field = (struct traceql_field){.scope = TRACEQL_ANY, .name = text};
    } else if (l.token != TRACEQL_T_FIELD || l.at != text.size) {
        e = l.token == TRACEQL_T_BAD
                ? ERR_INVALID
                : err_set(msg, ERR_INVALID, "not the name of an attribute: '" BYTES_FMT "'",
                          BYTES_ARG(text));
    } else if (!l.field
                    .intrinsic) { /* the name, out of the caller's bytes where it has no quotes */
        size_t from = text.size - MIN(text.size, l.field.name.size);
        if (!bytes_equal(bytes_slice(text, from, text.size), l.field.name))
            e = err_set(msg, ERR_INVALID, "give the name without quotes");
        l.field.name = bytes_slice(text, from, text.size);
    }
    if (e == ERR_OK)
        *out = l.field;
    arena_free(a);
    return e;
}
