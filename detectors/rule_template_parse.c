/* From text to nodes. Go's rules: text/template/parse. */
#include "base/check.h"
#include "detectors/rule_template_core.h"

#include <stdarg.h>
#include <stdio.h>

enum word_kind {
    WORD_END, /* of the action */
    WORD_NAME,
    WORD_FIELD, /* .X */
    WORD_DOT,
    WORD_VARIABLE, /* $x */
    WORD_STRING,
    WORD_NUMBER,
    WORD_PIPE,
    WORD_LEFT,
    WORD_RIGHT,
    WORD_COMMA,
    WORD_DECLARE, /* := */
    WORD_ASSIGN, /* = */
    WORD_BAD
};

struct word {
    enum word_kind kind;
    struct bytes text;
    size_t pos;
    bool is_after_blank;
};

struct scope_variable {
    struct bytes name;
    uint32_t slot;
};

struct parse {
    struct bytes text;
    size_t at, action_end; /* within an action */
    bool trims_next; /* "-}}" was there */
    struct word word;
    struct arena *arena;
    struct err_msg *msg;
    enum err err;
    unsigned depth, range_depth;
    struct scope_variable scope[RULE_TEMPLATE_VARIABLES_MAX];
    uint32_t scope_count;
    struct template_named *named;
};

/* --- mistakes ------------------------------------------------------------------------------------ */

static void fail(struct parse *p, size_t pos, const char *fmt, ...) PRINTF_LIKE(3, 4);
static void fail(struct parse *p, size_t pos, const char *fmt, ...)
{
    char text[256];
    unsigned line = 1, column = 1;
    va_list args;
    if (p->err != ERR_OK)
        return;
    for (size_t i = 0; i < pos && i < p->text.size; i++) {
        column = p->text.data[i] == '\n' ? 1 : column + 1;
        line += p->text.data[i] == '\n';
    }
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    p->err = err_set(p->msg, ERR_INVALID, "%u:%u: %s", line, column, text);
}

static void *make(struct parse *p, size_t size)
{
    void *m = arena_alloc(p->arena, size);
    if (!m && p->err == ERR_OK)
        p->err = err_set(p->msg, ERR_LIMIT, "the template is too large");
    return m;
}

static bool enter(struct parse *p)
{
    if (++p->depth > RULE_TEMPLATE_DEPTH_MAX)
        fail(p, p->at, "more than %u levels of blocks and parentheses", RULE_TEMPLATE_DEPTH_MAX);
    return p->err == ERR_OK;
}

/* --- words --------------------------------------------------------------------------------------- */

static bool is_letter(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c >= 0x80;
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static size_t name_end(const struct parse *p, size_t i)
{
    while (i < p->text.size && (is_letter(p->text.data[i]) || is_digit(p->text.data[i])))
        i++;
    return i;
}

static size_t quoted_end(struct parse *p, size_t from)
{
    uint8_t quote = p->text.data[from];
    for (size_t i = from + 1; i < p->text.size; i++) {
        uint8_t c = p->text.data[i];
        if (c == quote)
            return i + 1;
        if (c == '\n' && quote != '`')
            break;
        i += c == '\\' && quote != '`';
    }
    fail(p, from, "a quoted text has no end");
    return p->text.size;
}

static size_t number_end(const struct parse *p, size_t i)
{
    if (p->text.data[i] == '+' || p->text.data[i] == '-')
        i++;
    for (; i < p->text.size; i++) {
        uint8_t c = p->text.data[i];
        bool is_sign = (c == '+' || c == '-') && (p->text.data[i - 1] | 32) == 'e';
        if (!is_digit(c) && !is_letter(c) && c != '.' && !is_sign)
            break;
    }
    return i;
}

static enum word_kind kind_at(struct parse *p, size_t i, size_t *out_end)
{
    uint8_t c = p->text.data[i], next = i + 1 < p->text.size ? p->text.data[i + 1] : 0;
    *out_end = i + 1;
    switch (c) {
    case '|': return WORD_PIPE;
    case '(': return WORD_LEFT;
    case ')': return WORD_RIGHT;
    case ',': return WORD_COMMA;
    case '=': return WORD_ASSIGN;
    case ':': *out_end = i + 2; return next == '=' ? WORD_DECLARE : WORD_BAD;
    case '$': *out_end = name_end(p, i + 1); return WORD_VARIABLE;
    case '"':
    case '`':
    case '\'': *out_end = quoted_end(p, i); return WORD_STRING;
    case '.':
        if (is_digit(next)) {
            *out_end = number_end(p, i);
            return WORD_NUMBER;
        }
        *out_end = name_end(p, i + 1);
        return *out_end > i + 1 ? WORD_FIELD : WORD_DOT;
    default: break;
    }
    if (is_digit(c) || ((c == '-' || c == '+') && (is_digit(next) || next == '.'))) {
        *out_end = number_end(p, i);
        return WORD_NUMBER;
    }
    *out_end = name_end(p, i);
    if (*out_end > i)
        return WORD_NAME;
    *out_end = i + 1;
    return WORD_BAD;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* At "}}" or " -}}"? Its size. */
static size_t closing_at(const struct parse *p, size_t i)
{
    struct bytes rest = bytes_slice(p->text, i, p->text.size);
    if (bytes_has_prefix(rest, BYTES_LIT("}}")))
        return 2;
    bool is_trim =
        i > 0 && is_blank(p->text.data[i - 1]) && bytes_has_prefix(rest, BYTES_LIT("-}}"));
    return is_trim ? 3 : 0;
}

static void next_word(struct parse *p)
{
    size_t from = p->at;
    while (p->at < p->text.size && is_blank(p->text.data[p->at]))
        p->at++;
    p->word = (struct word){.pos = p->at, .is_after_blank = p->at > from};
    if (p->err != ERR_OK)
        return;
    if (p->at >= p->text.size) {
        fail(p, p->text.size, "an action is not closed with }}");
        return;
    }
    if (closing_at(p, p->at))
        return; /* WORD_END; stays here */
    size_t end;
    p->word.kind = kind_at(p, p->at, &end);
    if (p->word.kind == WORD_BAD)
        fail(p, p->at, "'%c' is not expected here", p->text.data[p->at]);
    end = MIN(end, p->text.size);
    p->word.text = bytes_slice(p->text, p->at, end);
    p->at = end;
}

/* --- variables ----------------------------------------------------------------------------------- */

static uint32_t declare(struct parse *p, struct bytes name)
{
    if (p->scope_count == RULE_TEMPLATE_VARIABLES_MAX) {
        fail(p, p->word.pos, "more than %u variables", RULE_TEMPLATE_VARIABLES_MAX);
        return 0;
    }
    uint32_t slot = p->scope_count;
    p->scope[p->scope_count++] = (struct scope_variable){name, slot};
    return slot;
}

static uint32_t find_variable(struct parse *p, struct bytes name, size_t pos)
{
    for (uint32_t i = p->scope_count; i-- > 0;)
        if (bytes_equal(p->scope[i].name, name))
            return p->scope[i].slot;
    fail(p, pos, "undefined variable \"" BYTES_FMT "\"", BYTES_ARG(name));
    return 0;
}

/* --- terms --------------------------------------------------------------------------------------- */

static uint32_t hex_of(struct bytes s, size_t from, size_t n, bool *ok)
{
    uint32_t v = 0;
    for (size_t i = from; i < from + n; i++) {
        uint8_t c = i < s.size ? s.data[i] : 0, low = c | 32;
        *ok = *ok && (is_digit(c) || (low >= 'a' && low <= 'f'));
        v = v * 16 + (is_digit(c) ? (uint32_t)(c - '0') : (uint32_t)(low - 'a' + 10) & 15);
    }
    return v;
}

static size_t put_utf8(uint8_t *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = (uint8_t)c;
        return 1;
    }
    if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        c = 0xfffd;
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n; i-- > 1; c >>= 6)
        out[i] = (uint8_t)(0x80 | (c & 0x3f));
    out[0] = (uint8_t)(lead[n] | c);
    return n;
}

/* Go's quoted strings; `raw` has no escapes. */
static struct bytes unquote(struct parse *p, struct word w)
{
    struct bytes s = bytes_slice(w.text, 1, w.text.size - 1);
    if (w.text.size < 2)
        return BYTES_NONE;
    if (w.text.data[0] == '`')
        return s;
    static const char names[] = "abfnrtv\\\"'", codes[] = "\a\b\f\n\r\t\v\\\"'";
    uint8_t *out = make(p, s.size + 4);
    size_t n = 0;
    bool ok = true;
    for (size_t i = 0; out && i < s.size && ok; i++) {
        if (s.data[i] != '\\') {
            out[n++] = s.data[i];
            continue;
        }
        uint8_t c = ++i < s.size ? s.data[i] : 0;
        const char *known = c ? strchr(names, c) : NULL;
        if (known) {
            out[n++] = (uint8_t)codes[known - names];
        } else if (c == 'x') {
            out[n++] = (uint8_t)hex_of(s, i + 1, 2, &ok);
            i += 2;
        } else if (c == 'u' || c == 'U') {
            size_t digits = c == 'u' ? 4 : 8;
            n += put_utf8(out + n, hex_of(s, i + 1, digits, &ok));
            i += digits;
        } else if (c >= '0' && c <= '7' && i + 2 < s.size) {
            out[n++] = (uint8_t)((c - '0') * 64 + (s.data[i + 1] - '0') * 8 + s.data[i + 2] - '0');
            i += 2;
        } else {
            ok = false;
        }
    }
    if (!ok)
        fail(p, w.pos, "an escape in a quoted text is not valid");
    return out ? bytes_of(out, n) : BYTES_NONE;
}

static void read_number(struct parse *p, struct word w, struct template_term *t)
{
    struct bytes digits = w.text;
    if (digits.size && digits.data[0] == '+')
        digits = bytes_slice(digits, 1, digits.size);
    t->kind = TERM_INT;
    if (bytes_to_i64(digits, &t->integer))
        return;
    bool ok = true;
    if (digits.size > 2 && digits.size <= 17 && digits.data[0] == '0' &&
        (digits.data[1] | 32) == 'x') {
        for (size_t i = 2; i < digits.size; i++)
            t->integer = t->integer * 16 + (int64_t)hex_of(digits, i, 1, &ok);
    } else {
        t->kind = TERM_FLOAT;
        ok = bytes_to_f64(digits, &t->number);
    }
    if (!ok)
        fail(p, w.pos, "\"" BYTES_FMT "\" is no number", BYTES_ARG(w.text));
}

/* Where a pipeline stands says whether it may declare variables. */
enum pipeline_place { IN_ACTION, IN_RANGE, IN_PARENTHESES };

static struct template_pipeline *read_pipeline(struct parse *p, enum pipeline_place place);

static void read_fields(struct parse *p, struct template_term *t)
{
    uint32_t n = 0, cap = 8;
    struct bytes *names = NULL;
    while (p->err == ERR_OK && p->word.kind == WORD_FIELD &&
           (n || !p->word.is_after_blank || t->kind == TERM_DOT)) {
        if (n && p->word.is_after_blank)
            break;
        if (!names)
            names = make(p, cap * sizeof(*names));
        if (!names || n == cap) {
            fail(p, p->word.pos, "more than %u fields of one value", cap);
            return;
        }
        names[n++] = bytes_slice(p->word.text, 1, p->word.text.size);
        next_word(p);
    }
    t->fields = (struct template_fields){names, n};
}

static void read_name(struct parse *p, struct word w, struct template_term *t)
{
    if (bytes_equal_str(w.text, "true") || bytes_equal_str(w.text, "false")) {
        t->kind = TERM_BOOL;
        t->integer = w.text.size == 4;
    } else if (bytes_equal_str(w.text, "nil")) {
        t->kind = TERM_NIL;
    } else {
        t->kind = TERM_FUNCTION;
        t->function = template_function_find(w.text);
        if (!t->function)
            fail(p, w.pos, "function \"" BYTES_FMT "\" not defined", BYTES_ARG(w.text));
    }
}

static struct template_term *read_term(struct parse *p)
{
    struct template_term *t = make(p, sizeof(*t));
    struct word w = p->word;
    if (!t)
        return NULL;
    if (w.kind == WORD_FIELD) { /* of the dot: the field is read below */
        t->kind = TERM_DOT;
        read_fields(p, t);
        return t;
    }
    next_word(p);
    switch (w.kind) {
    case WORD_DOT: t->kind = TERM_DOT; return t;
    case WORD_VARIABLE:
        t->kind = TERM_VARIABLE;
        t->variable = find_variable(p, w.text, w.pos);
        break;
    case WORD_STRING:
        t->kind = TERM_STRING;
        t->string = unquote(p, w);
        if (w.text.size && w.text.data[0] == '\'')
            fail(p, w.pos, "characters are not known here; give a \"text\"");
        break;
    case WORD_NUMBER: read_number(p, w, t); break;
    case WORD_NAME: read_name(p, w, t); break;
    case WORD_LEFT:
        t->kind = TERM_PIPELINE;
        if (enter(p))
            t->pipeline = read_pipeline(p, IN_PARENTHESES);
        p->depth--;
        if (p->err == ERR_OK && p->word.kind != WORD_RIGHT)
            fail(p, p->word.pos, "a ( is not closed");
        next_word(p);
        break;
    default: fail(p, w.pos, "a value or a function is wanted here"); return t;
    }
    read_fields(p, t);
    return t;
}

/* --- pipelines ----------------------------------------------------------------------------------- */

static bool ends_command(const struct parse *p)
{
    return p->word.kind == WORD_END || p->word.kind == WORD_PIPE || p->word.kind == WORD_RIGHT;
}

static void check_command(struct parse *p, const struct template_command *c, bool is_first,
                          size_t pos)
{
    const struct template_term *t = c->terms;
    bool is_call = t->kind == TERM_FUNCTION;
    if (!is_call && (c->count > 1 || !is_first))
        fail(p, pos,
             is_first ? "what is no function is given arguments"
                      : "only functions may stand behind a |");
    if (!is_call)
        return;
    size_t args = c->count - 1 + !is_first;
    if (args < t->function->args_min ||
        (t->function->args_max != UINT8_MAX && args > t->function->args_max))
        fail(p, pos, "wrong number of args for %s: want %s%u got %zu", t->function->name,
             t->function->args_max != t->function->args_min ? "at least " : "",
             t->function->args_min, args);
}

static struct template_command *read_command(struct parse *p, bool is_first)
{
    struct template_command *c = make(p, sizeof(*c));
    size_t pos = p->word.pos;
    struct template_term **at = c ? &c->terms : NULL;
    while (c && p->err == ERR_OK && !ends_command(p)) {
        *at = read_term(p);
        if (!*at)
            return NULL;
        at = &(*at)->next;
        c->count++;
    }
    if (p->err == ERR_OK && c && !c->count)
        fail(p, pos, "missing value for a command");
    if (p->err == ERR_OK && c)
        check_command(p, c, is_first, pos);
    return c;
}

/* "$x :=", "$i, $x :=", "$x =" at the front of a pipeline; without any, nothing is consumed. */
static void read_declaration(struct parse *p, struct template_pipeline *out, bool is_range)
{
    struct parse before = *p;
    struct word names[2] = {p->word};
    uint32_t n = 1;
    next_word(p);
    if (is_range && p->word.kind == WORD_COMMA) {
        next_word(p);
        names[n++] = p->word;
        if (p->word.kind != WORD_VARIABLE)
            fail(p, p->word.pos, "range can only declare variables");
        next_word(p);
    }
    if (p->err == ERR_OK && p->word.kind != WORD_DECLARE && p->word.kind != WORD_ASSIGN) {
        if (n == 1) {
            *p = before;
            return;
        }
        fail(p, p->word.pos, "':=' is wanted behind the variables of range");
    }
    out->is_declaration = true;
    out->declared_count = n;
    bool is_new = p->word.kind == WORD_DECLARE;
    next_word(p);
    for (uint32_t i = 0; i < n && p->err == ERR_OK; i++)
        out->declared[i] =
            is_new ? declare(p, names[i].text) : find_variable(p, names[i].text, names[i].pos);
}

static struct template_pipeline *read_pipeline(struct parse *p, enum pipeline_place place)
{
    struct template_pipeline *out = make(p, sizeof(*out));
    if (!out)
        return NULL;
    out->pos = (uint32_t)p->word.pos;
    uint32_t visible = p->scope_count;
    if (p->word.kind == WORD_VARIABLE && place != IN_PARENTHESES)
        read_declaration(p, out, place == IN_RANGE);
    /* What is declared here is not seen by its own value. */
    uint32_t declared = p->scope_count;
    p->scope_count = visible;
    struct scope_variable kept[2] = {{BYTES_NONE, 0}, {BYTES_NONE, 0}};
    for (uint32_t i = visible; i < declared; i++)
        kept[i - visible] = p->scope[i];
    struct template_command **at = &out->commands;
    for (bool is_first = true; p->err == ERR_OK; is_first = false) {
        *at = read_command(p, is_first);
        if (!*at || p->word.kind != WORD_PIPE)
            break;
        at = &(*at)->next;
        next_word(p);
    }
    for (uint32_t i = visible; i < declared; i++)
        p->scope[p->scope_count++] = kept[i - visible];
    return out;
}

/* --- blocks -------------------------------------------------------------------------------------- */

enum list_end { END_TEXT, END_END, END_ELSE };

static struct template_node *read_list(struct parse *p, enum list_end *out_end);

/* Behind the word that ends an action. */
static void close_action(struct parse *p)
{
    if (p->err != ERR_OK)
        return;
    if (p->word.kind != WORD_END) {
        fail(p, p->word.pos, "\"" BYTES_FMT "\" is not expected here", BYTES_ARG(p->word.text));
        return;
    }
    size_t n = closing_at(p, p->at);
    p->trims_next = n == 3;
    p->at += n;
}

static void read_block(struct parse *p, struct template_node *node)
{
    uint32_t scope = p->scope_count;
    enum list_end end = END_END;
    if (!enter(p))
        return;
    node->pipeline = read_pipeline(p, node->kind == TEMPLATE_RANGE ? IN_RANGE : IN_ACTION);
    close_action(p);
    p->range_depth += node->kind == TEMPLATE_RANGE;
    node->body = read_list(p, &end);
    p->range_depth -= node->kind == TEMPLATE_RANGE;
    if (p->err == ERR_OK && end == END_ELSE) {
        bool chains = p->word.kind == WORD_NAME &&
                      bytes_equal_str(p->word.text, node->kind == TEMPLATE_WITH ? "with" : "if") &&
                      node->kind != TEMPLATE_RANGE;
        if (chains) { /* else if: a block of its own that shares the end */
            struct template_node *inner = make(p, sizeof(*inner));
            if (inner) {
                inner->kind = node->kind;
                node->otherwise = inner;
                next_word(p);
                read_block(p, inner);
                end = END_END;
            }
        } else {
            close_action(p);
            node->otherwise = read_list(p, &end);
            if (p->err == ERR_OK && end == END_ELSE)
                fail(p, p->at, "a second {{else}} of one block");
        }
    }
    if (p->err == ERR_OK && end == END_TEXT)
        fail(p, p->text.size, "a block is not closed with {{end}}");
    p->depth--;
    p->scope_count = scope;
}

/* The name behind define, template, block. */
static struct bytes read_template_name(struct parse *p)
{
    struct word w = p->word;
    if (w.kind != WORD_STRING || w.text.data[0] == '\'') {
        fail(p, w.pos, "the name of a template, in quotes, is wanted here");
        return BYTES_NONE;
    }
    struct bytes name = unquote(p, w);
    next_word(p);
    return name;
}

/* What stands between {{define "x"}} (or {{block "x" …}}) and its end: it sees nothing of what is around it but $, which is its own. */
static void read_named(struct parse *p, struct bytes name, size_t pos)
{
    struct scope_variable around[RULE_TEMPLATE_VARIABLES_MAX];
    uint32_t count = p->scope_count;
    unsigned ranges = p->range_depth;
    enum list_end end = END_TEXT;
    for (const struct template_named *t = p->named; t && p->err == ERR_OK; t = t->next)
        if (bytes_equal(t->name, name))
            fail(p, pos, "template \"" BYTES_FMT "\" is defined twice", BYTES_ARG(name));
    struct template_named *t = make(p, sizeof(*t));
    if (!t || p->err != ERR_OK || !enter(p))
        return;
    memcpy(around, p->scope, sizeof(around));
    p->scope_count = 1;
    p->range_depth = 0;
    t->name = name;
    t->next = p->named;
    p->named = t;
    t->first = read_list(p, &end);
    if (p->err == ERR_OK && end != END_END)
        fail(p, pos, "template \"" BYTES_FMT "\" is not closed with {{end}}", BYTES_ARG(name));
    memcpy(p->scope, around, sizeof(around));
    p->scope_count = count;
    p->range_depth = ranges;
    p->depth--;
}

static void read_define(struct parse *p, size_t pos)
{
    if (p->depth)
        fail(p, pos, "{{define}} may not stand within a block");
    next_word(p);
    struct bytes name = read_template_name(p);
    close_action(p);
    if (p->err == ERR_OK)
        read_named(p, name, pos);
}

/* {{template "x" pipeline}}, {{block "x" pipeline}}…{{end}}. */
static void read_call(struct parse *p, struct template_node *node, size_t pos, bool is_block)
{
    node->kind = TEMPLATE_CALL;
    next_word(p);
    node->text = read_template_name(p);
    if (p->err == ERR_OK && (p->word.kind != WORD_END || is_block))
        node->pipeline = read_pipeline(p, IN_ACTION);
    close_action(p);
    if (is_block && p->err == ERR_OK)
        read_named(p, node->text, pos);
}

/* An action behind "{{". NULL with *out_end: it ends the list; NULL without: there is nothing to run. */
static struct template_node *read_action(struct parse *p, enum list_end *out_end)
{
    static const struct {
        const char *word;
        enum template_node_kind kind;
    } blocks[] = {{"if", TEMPLATE_IF}, {"with", TEMPLATE_WITH}, {"range", TEMPLATE_RANGE}};
    next_word(p);
    struct template_node *node = make(p, sizeof(*node));
    if (!node || p->err != ERR_OK)
        return NULL;
    struct word w = p->word;
    bool is_name = w.kind == WORD_NAME;
    for (size_t i = 0; is_name && i < ARRAY_LEN(blocks); i++)
        if (bytes_equal_str(w.text, blocks[i].word)) {
            node->kind = blocks[i].kind;
            next_word(p);
            read_block(p, node);
            return node;
        }
    if (is_name && (bytes_equal_str(w.text, "end") || bytes_equal_str(w.text, "else"))) {
        *out_end = w.text.size == 3 ? END_END : END_ELSE;
        next_word(p);
        if (*out_end == END_END)
            close_action(p);
        return NULL;
    }
    if (is_name && (bytes_equal_str(w.text, "break") || bytes_equal_str(w.text, "continue"))) {
        node->kind = w.text.size == 5 ? TEMPLATE_BREAK : TEMPLATE_CONTINUE;
        if (!p->range_depth)
            fail(p, w.pos, "{{" BYTES_FMT "}} outside {{range}}", BYTES_ARG(w.text));
        next_word(p);
        close_action(p);
        return node;
    }
    if (is_name && bytes_equal_str(w.text, "define")) {
        read_define(p, w.pos);
        return NULL;
    }
    if (is_name && (bytes_equal_str(w.text, "template") || bytes_equal_str(w.text, "block"))) {
        read_call(p, node, w.pos, w.text.size == 5);
        return node;
    }
    node->kind = TEMPLATE_ACTION;
    node->pipeline = read_pipeline(p, IN_ACTION);
    close_action(p);
    return node;
}

static struct bytes trim_front(struct bytes b)
{
    while (b.size && is_blank(b.data[0]))
        b = bytes_slice(b, 1, b.size);
    return b;
}

/* {{- at i: the blanks before it go too. */
static bool trims_before(const struct parse *p, size_t i)
{
    return i + 3 < p->text.size && p->text.data[i + 2] == '-' && is_blank(p->text.data[i + 3]);
}

static struct template_node *read_text(struct parse *p)
{
    struct bytes rest = bytes_slice(p->text, p->at, p->text.size);
    size_t n = bytes_find(rest, BYTES_LIT("{{"));
    struct bytes t = bytes_slice(rest, 0, n);
    if (p->trims_next)
        t = trim_front(t);
    p->trims_next = false;
    if (n < rest.size && trims_before(p, p->at + n))
        while (t.size && is_blank(t.data[t.size - 1]))
            t.size--;
    p->at += n;
    struct template_node *node = t.size ? make(p, sizeof(*node)) : NULL;
    if (node)
        *node = (struct template_node){.kind = TEMPLATE_TEXT, .text = t};
    return node;
}

/* Behind "{{": a comment, which must close at once. */
static bool skip_comment(struct parse *p)
{
    size_t i = p->at;
    if (!bytes_has_prefix(bytes_slice(p->text, i, p->text.size), BYTES_LIT("/*")))
        return false;
    struct bytes rest = bytes_slice(p->text, i, p->text.size);
    size_t n = bytes_find(rest, BYTES_LIT("*/"));
    if (n == rest.size) {
        fail(p, i, "a comment has no end");
        return true;
    }
    p->at = i + n + 2;
    while (p->at < p->text.size && p->text.data[p->at] == ' ')
        p->at++;
    size_t closing = closing_at(p, p->at);
    if (!closing)
        fail(p, p->at, "a comment ends before the action does");
    p->trims_next = closing == 3;
    p->at += closing;
    return true;
}

static struct template_node *read_list(struct parse *p, enum list_end *out_end)
{
    struct template_node *first = NULL, **at = &first;
    *out_end = END_TEXT;
    while (p->err == ERR_OK && *out_end == END_TEXT) {
        struct template_node *node = read_text(p);
        if (node) {
            *at = node;
            at = &node->next;
        }
        if (p->at >= p->text.size)
            break;
        p->at += trims_before(p, p->at) ? 4 : 2;
        if (skip_comment(p))
            continue;
        node = read_action(p, out_end);
        if (node) {
            *at = node;
            at = &node->next;
        }
    }
    return first;
}

enum err rule_template_parse(struct bytes text, struct arena *a, struct rule_template **out,
                             struct err_msg *msg)
{
    struct parse p = {.arena = a, .msg = msg};
    static const char *const known[TEMPLATE_SLOT_FREE] = {"$", "$labels", "$externalLabels",
                                                          "$externalURL", "$value"};
    struct rule_template *t = arena_alloc(a, sizeof(*t));
    enum list_end end;
    if (text.size > RULE_TEMPLATE_TEXT_MAX)
        return err_set(msg, ERR_INVALID, "1:1: a template of more than %u bytes",
                       RULE_TEMPLATE_TEXT_MAX);
    p.text = arena_copy(a, text);
    if (!t || (text.size && !p.text.data))
        return err_set(msg, ERR_LIMIT, "the template is too large");
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        declare(&p, bytes_str(known[i]));
    t->text = p.text;
    t->first = read_list(&p, &end);
    if (p.err == ERR_OK && end != END_TEXT)
        fail(&p, p.at, "unexpected {{%s}}", end == END_END ? "end" : "else");
    t->named = p.named;
    if (p.err == ERR_OK)
        *out = t;
    return p.err;
}

bool rule_template_is_text(const struct rule_template *t)
{
    return !t->first || (t->first->kind == TEMPLATE_TEXT && !t->first->next);
}
