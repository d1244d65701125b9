#include "query/promql_functions.h"
#include "query/promql_parse.h"

#include "base/check.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

/* Binding strength; higher binds tighter. */
enum { PREC_OR = 1, PREC_AND, PREC_COMPARE, PREC_ADD, PREC_MUL, PREC_POW };

static struct node *parse_expr(struct parser *p, int min_prec);
static struct node *parse_duration_expr(struct parser *p, int min_prec);

/* --- errors and tokens ------------------------------------------------------------------------- */

void parser_fail(struct parser *p, uint32_t pos, const char *fmt, ...)
{
    if (p->err != ERR_OK)
        return;
    char what[ERR_MSG_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    unsigned line, column;
    promql_position(p->lexer.text, pos, &line, &column);
    p->err = err_set(p->msg, ERR_INVALID, "%u:%u: parse error: %s", line, column, what);
}

static void out_of_memory(struct parser *p)
{
    if (p->err == ERR_OK)
        p->err = err_set(p->msg, ERR_LIMIT, "query is too large");
}

static void advance(struct parser *p)
{
    p->last_end = p->token.pos + (uint32_t)p->token.text.size;
    p->token = lexer_next(&p->lexer);
    if (p->token.kind == TOKEN_ERROR)
        parser_fail(p, p->token.pos, "%s", p->lexer.error);
}

static bool is_word(const struct parser *p, const char *word)
{
    return p->token.kind == TOKEN_IDENTIFIER && bytes_equal_nocase(p->token.text, bytes_str(word));
}

static void unexpected(struct parser *p, const char *context, const char *expected)
{
    char what[96];
    struct token t = p->token;
    const char *kind = t.kind == TOKEN_IDENTIFIER ? "identifier "
                       : t.kind == TOKEN_METRIC   ? "metric identifier "
                       : t.kind == TOKEN_NUMBER   ? "number "
                       : t.kind == TOKEN_DURATION ? "duration "
                       : t.kind == TOKEN_STRING   ? "string "
                                                  : NULL;
    if (t.kind == TOKEN_EOF)
        snprintf(what, sizeof what, "end of input");
    else if (t.kind >= TOKEN_ADD && t.kind <= TOKEN_TRIM_LOWER)
        snprintf(what, sizeof what, "<op:%.*s>", (int)t.text.size, (const char *)t.text.data);
    else
        snprintf(what, sizeof what, "%s\"%.*s\"", kind ? kind : "", (int)MIN(t.text.size, 40u),
                 (const char *)t.text.data);
    parser_fail(p, t.pos, "unexpected %s%s%s%s%s", what, context ? " in " : "",
                context ? context : "", expected ? ", expected " : "", expected ? expected : "");
}

static bool expect(struct parser *p, enum token_kind kind, const char *context, const char *text)
{
    if (p->err != ERR_OK)
        return false;
    if (p->token.kind != kind) {
        unexpected(p, context, text);
        return false;
    }
    advance(p);
    return true;
}

static struct node *new_node(struct parser *p, enum node_kind kind, enum value_type type,
                             uint32_t start)
{
    struct node *n = arena_alloc(p->arena, sizeof *n);
    if (!n) {
        out_of_memory(p);
        return NULL;
    }
    n->kind = kind;
    n->type = type;
    n->pos_start = start;
    n->pos_end = p->last_end;
    return n;
}

static bool enter(struct parser *p)
{
    if (++p->depth <= QUERY_DEPTH_MAX)
        return true;
    if (p->err == ERR_OK) {
        parser_fail(p, p->token.pos, "expression is nested more than %u levels deep",
                    QUERY_DEPTH_MAX);
        if (p->err == ERR_INVALID)
            p->err = ERR_TOO_DEEP;
    }
    return false;
}

static struct bytes unquoted(struct parser *p, struct token t)
{
    struct bytes out = BYTES_NONE;
    const char *why;
    if (!lexer_unquote(t.text, p->arena, &out, &why))
        parser_fail(p, t.pos, "%s", why);
    return out;
}

/* --- label lists ------------------------------------------------------------------------------- */

static bool name_list_add(struct parser *p, struct name_list *l, struct bytes name)
{
    l->items = arena_grow(p->arena, l->items, sizeof *l->items, l->count, l->count + 1);
    if (!l->items) {
        out_of_memory(p);
        return false;
    }
    l->items[l->count++] = name;
    return true;
}

static void parse_labels(struct parser *p, struct name_list *out, const char *context)
{
    if (!expect(p, TOKEN_LEFT_PAREN, context, "\"(\""))
        return;
    while (p->err == ERR_OK && p->token.kind != TOKEN_RIGHT_PAREN) {
        struct bytes name;
        if (p->token.kind == TOKEN_STRING) {
            name = unquoted(p, p->token);
            if (p->err == ERR_OK && (name.size == 0 || !bytes_is_utf8(name)))
                parser_fail(p, p->token.pos, "invalid label name for grouping: \"%.*s\"",
                            BYTES_ARG(name));
        } else if (p->token.kind == TOKEN_IDENTIFIER ||
                   (p->token.kind == TOKEN_NUMBER && p->token.text.data[0] > '9')) {
            name = p->token.text;
        } else {
            unexpected(p, context, "label");
            return;
        }
        advance(p);
        if (!name_list_add(p, out, name))
            return;
        if (p->token.kind == TOKEN_COMMA)
            advance(p);
        else if (p->token.kind != TOKEN_RIGHT_PAREN)
            unexpected(p, context, "\",\" or \")\"");
    }
    expect(p, TOKEN_RIGHT_PAREN, context, "\",\" or \")\"");
}

/* --- selectors --------------------------------------------------------------------------------- */

static void add_matcher(struct parser *p, struct node *n, enum tsdb_match_op op, struct bytes name,
                        struct bytes value)
{
    uint32_t count = n->selector.count;
    n->selector.matchers =
        arena_grow(p->arena, n->selector.matchers, sizeof *n->selector.matchers, count, count + 1);
    if (!n->selector.matchers) {
        n->selector.count = 0;
        out_of_memory(p);
        return;
    }
    n->selector.matchers[n->selector.count++] = (struct node_matcher){op, name, value};
}

static void set_metric_name(struct parser *p, struct node *n, struct bytes name, uint32_t pos)
{
    if (n->selector.name.size)
        parser_fail(p, pos, "metric name must not be set twice: \"%.*s\" or \"%.*s\"",
                    BYTES_ARG(n->selector.name), BYTES_ARG(name));
    n->selector.name = name;
    add_matcher(p, n, TSDB_MATCH_EQ, BYTES_LIT("__name__"), name);
}

static void parse_matcher(struct parser *p, struct node *n)
{
    static const char context[] = "label matching";
    struct token name_token = p->token;
    struct bytes name = name_token.text;
    bool is_quoted = name_token.kind == TOKEN_STRING;
    if (is_quoted)
        name = unquoted(p, name_token);
    else if (name_token.kind != TOKEN_IDENTIFIER)
        unexpected(p, context, "identifier or \"}\"");
    if (p->err != ERR_OK)
        return;
    advance(p);
    if (is_quoted && (p->token.kind == TOKEN_COMMA || p->token.kind == TOKEN_RIGHT_BRACE)) {
        if (name.size == 0 || !bytes_is_utf8(name))
            parser_fail(p, name_token.pos, "invalid metric name \"%.*s\"", BYTES_ARG(name));
        set_metric_name(p, n, name, name_token.pos);
        return;
    }
    if (is_quoted && (name.size == 0 || !bytes_is_utf8(name)))
        parser_fail(p, name_token.pos, "invalid label name \"%.*s\"", BYTES_ARG(name));
    enum tsdb_match_op op;
    switch (p->token.kind) {
    case TOKEN_EQL: op = TSDB_MATCH_EQ; break;
    case TOKEN_NEQ: op = TSDB_MATCH_NE; break;
    case TOKEN_EQL_REGEX: op = TSDB_MATCH_RE; break;
    case TOKEN_NEQ_REGEX: op = TSDB_MATCH_NRE; break;
    default: unexpected(p, context, "label matching operator"); return;
    }
    advance(p);
    struct token value_token = p->token;
    if (value_token.kind != TOKEN_STRING) {
        unexpected(p, context, "string");
        return;
    }
    struct bytes value = unquoted(p, value_token);
    if (p->err == ERR_OK && (op == TSDB_MATCH_RE || op == TSDB_MATCH_NRE)) {
        struct err_msg why;
        if (!regex_re2_check(value, &why))
            parser_fail(p, value_token.pos, "%s", why.text);
    }
    advance(p);
    if (p->err == ERR_OK)
        add_matcher(p, n, op, name, value);
}

/* Does the matcher accept the empty value (an absent label)? */
static bool matches_empty(const struct node_matcher *m)
{
    switch (m->op) {
    case TSDB_MATCH_EQ: return m->value.size == 0;
    case TSDB_MATCH_NE: return m->value.size != 0;
    default: return regex_re2_matches_once(m->value, BYTES_LIT("")) == (m->op == TSDB_MATCH_RE);
    }
}

static void check_selector(struct parser *p, struct node *n)
{
    bool selective = false;
    for (uint32_t i = 0; i < n->selector.count && p->err == ERR_OK; i++) {
        const struct node_matcher *m = &n->selector.matchers[i];
        selective |= !matches_empty(m);
        if (i > 0 && n->selector.name.size && m->op == TSDB_MATCH_EQ &&
            bytes_equal_str(m->name, "__name__") &&
            n->selector.matchers[0].value.data != m->value.data)
            parser_fail(p, n->pos_start, "metric name must not be set twice: \"%.*s\" or \"%.*s\"",
                        BYTES_ARG(n->selector.name), BYTES_ARG(m->value));
    }
    if (!selective && p->err == ERR_OK && !p->allow_empty_selector)
        parser_fail(p, n->pos_start, "vector selector must contain at least one non-empty matcher");
}

/* At an identifier (the name) or at "{". */
static struct node *parse_selector(struct parser *p)
{
    struct node *n = new_node(p, NODE_SELECTOR, TYPE_VECTOR, p->token.pos);
    if (!n)
        return NULL;
    if (p->token.kind != TOKEN_LEFT_BRACE) {
        set_metric_name(p, n, p->token.text, p->token.pos);
        advance(p);
    }
    if (p->token.kind == TOKEN_LEFT_BRACE && p->err == ERR_OK) {
        advance(p);
        while (p->err == ERR_OK && p->token.kind != TOKEN_RIGHT_BRACE) {
            parse_matcher(p, n);
            if (p->err != ERR_OK)
                return NULL;
            if (p->token.kind == TOKEN_COMMA)
                advance(p);
            else if (p->token.kind != TOKEN_RIGHT_BRACE)
                unexpected(p, "label matching", "\",\" or \"}\"");
        }
        expect(p, TOKEN_RIGHT_BRACE, "label matching", "\"}\"");
    }
    n->pos_end = p->last_end;
    if (p->err == ERR_OK)
        check_selector(p, n);
    return p->err == ERR_OK ? n : NULL;
}

/* --- duration expressions ---------------------------------------------------------------------- */

static struct node *duration_node(struct parser *p, enum duration_op op, struct node *lhs,
                                  struct node *rhs, uint32_t start)
{
    struct node *n = new_node(p, NODE_DURATION, TYPE_SCALAR, start);
    if (n) {
        n->duration.op = op;
        n->duration.lhs = lhs;
        n->duration.rhs = rhs;
    }
    return n;
}

static struct node *parse_duration_number(struct parser *p)
{
    struct token t = p->token;
    double value = 0;
    int64_t ms;
    if (t.kind == TOKEN_DURATION) {
        if (!lexer_duration_ms(t.text, &ms))
            parser_fail(p, t.pos, "not a valid duration string: \"%.*s\"", BYTES_ARG(t.text));
        else
            value = (double)ms / 1000;
    } else if (!lexer_number(t.text, &value)) {
        parser_fail(p, t.pos, "error parsing number: \"%.*s\"", BYTES_ARG(t.text));
    }
    if (p->err != ERR_OK)
        return NULL;
    advance(p);
    struct node *n = duration_node(p, DUR_NUMBER, NULL, NULL, t.pos);
    if (n) {
        n->duration.value = value;
        n->duration.is_duration = t.kind == TOKEN_DURATION;
    }
    return n;
}

static struct node *parse_duration_call(struct parser *p)
{
    uint32_t start = p->token.pos;
    enum duration_op op = is_word(p, "step")     ? DUR_STEP
                          : is_word(p, "range")  ? DUR_RANGE
                          : is_word(p, "min_of") ? DUR_MIN
                                                 : DUR_MAX;
    struct node *lhs = NULL, *rhs = NULL;
    advance(p);
    expect(p, TOKEN_LEFT_PAREN, "duration expression", "\"(\"");
    if (op == DUR_MIN || op == DUR_MAX) {
        lhs = parse_duration_expr(p, PREC_ADD);
        expect(p, TOKEN_COMMA, "duration expression", "\",\"");
        rhs = parse_duration_expr(p, PREC_ADD);
    }
    expect(p, TOKEN_RIGHT_PAREN, "duration expression", "\")\"");
    return p->err == ERR_OK ? duration_node(p, op, lhs, rhs, start) : NULL;
}

static struct node *parse_duration_operand(struct parser *p)
{
    uint32_t start = p->token.pos;
    if (p->err != ERR_OK || !enter(p))
        return NULL;
    struct node *n = NULL;
    if (p->token.kind == TOKEN_NUMBER || p->token.kind == TOKEN_DURATION) {
        n = parse_duration_number(p);
    } else if (p->token.kind == TOKEN_SUB || p->token.kind == TOKEN_ADD) {
        enum duration_op op = p->token.kind == TOKEN_SUB ? DUR_NEG : DUR_POS;
        advance(p);
        struct node *inner = parse_duration_expr(p, PREC_POW);
        n = inner ? duration_node(p, op, inner, NULL, start) : NULL;
    } else if (p->token.kind == TOKEN_LEFT_PAREN) {
        advance(p);
        struct node *inner = parse_duration_expr(p, PREC_ADD);
        expect(p, TOKEN_RIGHT_PAREN, "duration expression", "\")\"");
        n = inner && p->err == ERR_OK ? duration_node(p, DUR_PAREN, inner, NULL, start) : NULL;
    } else if (is_word(p, "step") || is_word(p, "range") || is_word(p, "min_of") ||
               is_word(p, "max_of")) {
        n = parse_duration_call(p);
    } else {
        unexpected(p, "subquery or range selector", "number, duration, step(), or range()");
    }
    p->depth--;
    return n;
}

static int duration_operator(enum token_kind kind, enum duration_op *op)
{
    switch (kind) {
    case TOKEN_ADD: *op = DUR_ADD; return PREC_ADD;
    case TOKEN_SUB: *op = DUR_SUB; return PREC_ADD;
    case TOKEN_MUL: *op = DUR_MUL; return PREC_MUL;
    case TOKEN_DIV: *op = DUR_DIV; return PREC_MUL;
    case TOKEN_MOD: *op = DUR_MOD; return PREC_MUL;
    case TOKEN_POW: *op = DUR_POW; return PREC_POW;
    default: return 0;
    }
}

static struct node *parse_duration_expr(struct parser *p, int min_prec)
{
    uint32_t start = p->token.pos;
    struct node *lhs = parse_duration_operand(p);
    enum duration_op op = DUR_ADD;
    int prec;
    while (lhs && p->err == ERR_OK && (prec = duration_operator(p->token.kind, &op)) >= min_prec) {
        advance(p);
        struct node *rhs = parse_duration_expr(p, op == DUR_POW ? prec : prec + 1);
        lhs = rhs ? duration_node(p, op, lhs, rhs, start) : NULL;
    }
    return p->err == ERR_OK ? lhs : NULL;
}

/* Folds a constant into *out_ms and returns NULL; otherwise (step() and the like) returns the tree. */
static struct node *fold_duration(struct parser *p, struct node *d, int64_t *out_ms, bool positive)
{
    if (!d)
        return NULL;
    double seconds;
    if (promql_duration_needs_grid(d))
        return d;
    struct err_msg why;
    if (!promql_duration_eval(d, 0, 0, &seconds, &why)) {
        parser_fail(p, d->pos_start, "%s", why.text);
        return NULL;
    }
    if (positive && seconds <= 0)
        parser_fail(p, d->pos_start, "duration must be greater than 0");
    else if (!(fabs(seconds) <= 9.2e15 / 1e3 / 1e3))
        parser_fail(p, d->pos_start, "duration out of range");
    else
        *out_ms = llround(seconds * 1000);
    return NULL;
}

/* --- postfix modifiers ------------------------------------------------------------------------- */

static bool has_modifiers(const struct node *n)
{
    return n->kind == NODE_SELECTOR || n->kind == NODE_SUBQUERY;
}

/* The node that carries offset and @ (the selector inside of a matrix). */
static struct node *modified_node(struct parser *p, struct node *n, const char *what)
{
    struct node *target = n->kind == NODE_MATRIX ? n->inner.expr : n;
    if (!has_modifiers(target)) {
        parser_fail(p, n->pos_start,
                    "%s modifier must be preceded by an instant vector selector or range vector "
                    "selector or a subquery",
                    what);
        return NULL;
    }
    return target;
}

static void parse_offset(struct parser *p, struct node *n)
{
    advance(p);
    uint32_t start = p->token.pos;
    bool negative = p->token.kind == TOKEN_SUB;
    if (negative || p->token.kind == TOKEN_ADD)
        advance(p);
    struct node *d = NULL;
    if (p->token.kind == TOKEN_SUB || p->token.kind == TOKEN_ADD)
        unexpected(p, "offset", "number, duration, step(), or range()");
    else if (p->err == ERR_OK && p->token.kind != TOKEN_NUMBER && p->token.kind != TOKEN_DURATION &&
             p->token.kind != TOKEN_LEFT_PAREN && p->token.kind != TOKEN_IDENTIFIER)
        unexpected(p, "offset", "number, duration, step(), or range()");
    else
        d = parse_duration_operand(p);
    if (d && negative)
        d = duration_node(p, DUR_NEG, d, NULL, start);
    struct node *target = p->err == ERR_OK ? modified_node(p, n, "offset") : NULL;
    if (!target || !d)
        return;
    if (target->has_offset)
        parser_fail(p, n->pos_start, "offset may not be set multiple times");
    target->has_offset = true;
    target->offset_expr = fold_duration(p, d, &target->offset_ms, false);
    target->pos_end = n->pos_end = p->last_end;
}

static void parse_at(struct parser *p, struct node *n)
{
    advance(p);
    struct node *target = modified_node(p, n, "@");
    if (!target || p->err != ERR_OK)
        return;
    if (target->at != AT_NONE)
        parser_fail(p, n->pos_start, "@ <timestamp> may not be set multiple times");
    if (is_word(p, "start") || is_word(p, "end")) {
        target->at = is_word(p, "start") ? AT_START : AT_END;
        advance(p);
        expect(p, TOKEN_LEFT_PAREN, "@", "\"(\"");
        expect(p, TOKEN_RIGHT_PAREN, "@", "\")\"");
    } else {
        double sign = p->token.kind == TOKEN_SUB ? -1 : 1;
        if (p->token.kind == TOKEN_SUB || p->token.kind == TOKEN_ADD)
            advance(p);
        uint32_t pos = p->token.pos;
        if (p->token.kind != TOKEN_NUMBER && p->token.kind != TOKEN_DURATION) {
            unexpected(p, "@", "timestamp");
            return;
        }
        struct node *d = parse_duration_number(p);
        double t = d ? d->duration.value * sign * 1000 : 0;
        if (d && !(fabs(t) < 9.2e18))
            parser_fail(p, pos, "timestamp out of bounds for @ modifier: %f", t / 1000);
        if (p->err != ERR_OK)
            return;
        target->at = AT_TIME;
        target->at_ms = llround(t);
    }
    target->pos_end = n->pos_end = p->last_end;
}

/* At "[": a range or a subquery. */
static struct node *parse_bracket(struct parser *p, struct node *inner)
{
    advance(p);
    struct node *range = parse_duration_expr(p, PREC_ADD), *step = NULL;
    bool subquery = p->err == ERR_OK && p->token.kind == TOKEN_COLON;
    int64_t range_ms = 0, step_ms = 0;
    if (subquery) {
        advance(p);
        if (p->token.kind != TOKEN_RIGHT_BRACKET)
            step = parse_duration_expr(p, PREC_ADD);
    }
    struct node *range_expr = fold_duration(p, range, &range_ms, true);
    struct node *step_expr = fold_duration(p, step, &step_ms, true);
    expect(p, TOKEN_RIGHT_BRACKET, "subquery or range", "\"]\"");
    if (p->err != ERR_OK)
        return NULL;
    if (!subquery) {
        if (inner->kind != NODE_SELECTOR)
            parser_fail(p, inner->pos_start, "ranges only allowed for vector selectors");
        else if (inner->has_offset)
            parser_fail(p, inner->pos_start, "no offset modifiers allowed before range");
        else if (inner->at != AT_NONE)
            parser_fail(p, inner->pos_start, "no @ modifiers allowed before range");
    } else if (inner->type != TYPE_VECTOR) {
        parser_fail(p, inner->pos_start, "subquery is only allowed on instant vector, got %s",
                    promql_type_text(inner->type));
    }
    struct node *n =
        new_node(p, subquery ? NODE_SUBQUERY : NODE_MATRIX, TYPE_MATRIX, inner->pos_start);
    if (!n || p->err != ERR_OK)
        return NULL;
    n->inner.expr = inner;
    n->range_ms = range_ms;
    n->range_expr = range_expr;
    n->step_ms = step_ms;
    n->step_expr = step_expr;
    n->has_step = step != NULL;
    return n;
}

static void parse_extension(struct parser *p, struct node *n)
{
    bool smoothed = is_word(p, "smoothed");
    struct node *target = n->kind == NODE_MATRIX ? n->inner.expr : n;
    const char *name = smoothed ? "smoothed" : "anchored";
    if (target->kind != NODE_SELECTOR)
        parser_fail(p, n->pos_start,
                    "%s modifier must be preceded by an instant vector selector or range vector "
                    "selector",
                    name);
    else if (!smoothed && n->kind != NODE_MATRIX)
        parser_fail(p, n->pos_start,
                    "anchored modifier can only be used with range vector selector");
    else if (target->smoothed || target->anchored)
        parser_fail(p, n->pos_start, "%s modifier may not be combined or repeated", name);
    advance(p);
    target->smoothed = smoothed;
    target->anchored = !smoothed;
    target->pos_end = n->pos_end = p->last_end;
}

static struct node *parse_postfix(struct parser *p, struct node *n)
{
    while (n && p->err == ERR_OK) {
        if (p->token.kind == TOKEN_LEFT_BRACKET)
            n = parse_bracket(p, n);
        else if (p->token.kind == TOKEN_AT)
            parse_at(p, n);
        else if (is_word(p, "offset"))
            parse_offset(p, n);
        else if (is_word(p, "smoothed") || is_word(p, "anchored"))
            parse_extension(p, n);
        else
            return n;
    }
    return NULL;
}

/* --- calls and aggregations -------------------------------------------------------------------- */

static bool parse_args(struct parser *p, struct node_list *out, const char *context)
{
    expect(p, TOKEN_LEFT_PAREN, context, "\"(\"");
    while (p->err == ERR_OK && p->token.kind != TOKEN_RIGHT_PAREN) {
        struct node *arg = parse_expr(p, PREC_OR);
        if (!arg)
            return false;
        out->items =
            arena_grow(p->arena, out->items, sizeof *out->items, out->count, out->count + 1);
        if (!out->items) {
            out_of_memory(p);
            return false;
        }
        out->items[out->count++] = arg;
        if (p->token.kind == TOKEN_COMMA) {
            advance(p);
            if (p->token.kind == TOKEN_RIGHT_PAREN)
                parser_fail(p, p->token.pos, "trailing commas not allowed in function call args");
        } else if (p->token.kind != TOKEN_RIGHT_PAREN) {
            unexpected(p, context, "\",\" or \")\"");
        }
    }
    return expect(p, TOKEN_RIGHT_PAREN, context, "\")\"");
}

static void parse_grouping(struct parser *p, struct node *n)
{
    n->aggregate.without = is_word(p, "without");
    n->aggregate.has_grouping = true;
    advance(p);
    parse_labels(p, &n->aggregate.labels, "grouping opts");
}

static struct node *parse_aggregate(struct parser *p, enum aggregate_op op, struct token name)
{
    struct node *n = new_node(p, NODE_AGGREGATE, TYPE_VECTOR, name.pos);
    struct node_list args = {0};
    if (!n)
        return NULL;
    n->aggregate.op = op;
    if (is_word(p, "by") || is_word(p, "without"))
        parse_grouping(p, n);
    if (!parse_args(p, &args, "aggregation"))
        return NULL;
    if (!n->aggregate.has_grouping && (is_word(p, "by") || is_word(p, "without")))
        parse_grouping(p, n);
    uint32_t wanted = aggregate_has_param(op) ? 2 : 1;
    n->pos_end = p->last_end;
    if (args.count == 0)
        parser_fail(p, n->pos_start, "no arguments for aggregate expression provided");
    else if (args.count != wanted)
        parser_fail(
            p, n->pos_start,
            "wrong number of arguments for aggregate expression provided, expected %u, got %u",
            wanted, args.count);
    if (p->err != ERR_OK)
        return NULL;
    n->aggregate.expr = args.items[wanted - 1];
    n->aggregate.param = wanted == 2 ? args.items[0] : NULL;
    promql_check_aggregate(p, n);
    return n;
}

static struct node *parse_call(struct parser *p, struct token name)
{
    struct node *n = new_node(p, NODE_CALL, TYPE_VECTOR, name.pos);
    if (!n)
        return NULL;
    n->call.function = promql_function_find(name.text);
    if (!n->call.function) {
        parser_fail(p, name.pos, "unknown function with name \"%.*s\"", BYTES_ARG(name.text));
        return NULL;
    }
    n->type = n->call.function->result;
    bool outer = p->allow_empty_selector;
    if (n->call.function->id == FUNCTION_INFO)
        p->allow_empty_selector = true; /* {data=~".*"} chooses labels, not series */
    bool ok = parse_args(p, &n->call.args, "function call");
    p->allow_empty_selector = outer;
    if (!ok)
        return NULL;
    n->pos_end = p->last_end;
    promql_check_call(p, n);
    return n;
}

/* --- operands and operators -------------------------------------------------------------------- */

static struct node *parse_number(struct parser *p)
{
    struct token t = p->token;
    struct node *d = parse_duration_number(p);
    struct node *n = d ? new_node(p, NODE_NUMBER, TYPE_SCALAR, t.pos) : NULL;
    if (n) {
        n->number.value = d->duration.value;
        n->number.is_duration = d->duration.is_duration;
    }
    return n;
}

static struct node *parse_identifier(struct parser *p)
{
    struct token name = p->token;
    struct lexer saved = p->lexer;
    uint32_t saved_end = p->last_end;
    enum aggregate_op op;
    bool aggregate = name.kind == TOKEN_IDENTIFIER && promql_aggregate_find(name.text, &op);
    advance(p);
    if (p->err != ERR_OK && p->token.kind == TOKEN_ERROR)
        return NULL;
    if (aggregate &&
        (p->token.kind == TOKEN_LEFT_PAREN || is_word(p, "by") || is_word(p, "without")))
        return parse_aggregate(p, op, name);
    if (p->token.kind == TOKEN_LEFT_PAREN && name.kind == TOKEN_IDENTIFIER)
        return parse_call(p, name);
    if (bytes_equal_nocase(name.text, BYTES_LIT("bool"))) {
        p->token = name;
        unexpected(p, NULL, NULL);
        return NULL;
    }
    p->lexer = saved;
    p->token = name;
    p->last_end = saved_end;
    return parse_selector(p);
}

static struct node *parse_paren(struct parser *p)
{
    uint32_t start = p->token.pos;
    advance(p);
    struct node *inner = parse_expr(p, PREC_OR);
    if (!inner || !expect(p, TOKEN_RIGHT_PAREN, NULL, "\")\""))
        return NULL;
    struct node *n = new_node(p, NODE_PAREN, inner->type, start);
    if (n)
        n->inner.expr = inner;
    return n;
}

static struct node *parse_unary(struct parser *p)
{
    uint32_t start = p->token.pos;
    bool negative = p->token.kind == TOKEN_SUB;
    advance(p);
    struct node *inner = parse_expr(p, PREC_POW);
    if (!inner)
        return NULL;
    if (inner->kind == NODE_NUMBER) {
        if (negative)
            inner->number.value = -inner->number.value;
        inner->pos_start = start;
        return inner;
    }
    if (inner->type != TYPE_SCALAR && inner->type != TYPE_VECTOR)
        parser_fail(
            p, start,
            "unary expression only allowed on expressions of type scalar or instant vector, "
            "got \"%s\"",
            promql_type_text(inner->type));
    struct node *n = new_node(p, NODE_UNARY, inner->type, start);
    if (!n)
        return NULL;
    n->unary.expr = inner;
    n->unary.negative = negative;
    return n;
}

static struct node *parse_operand(struct parser *p)
{
    if (p->err != ERR_OK || !enter(p))
        return NULL;
    struct node *n = NULL;
    bool postfix = true;
    switch (p->token.kind) {
    case TOKEN_NUMBER:
    case TOKEN_DURATION: n = parse_number(p); break;
    case TOKEN_STRING:
        n = new_node(p, NODE_STRING, TYPE_STRING, p->token.pos);
        if (n)
            n->string = unquoted(p, p->token);
        advance(p);
        if (n)
            n->pos_end = p->last_end;
        break;
    case TOKEN_LEFT_PAREN: n = parse_paren(p); break;
    case TOKEN_LEFT_BRACE: n = parse_selector(p); break;
    case TOKEN_IDENTIFIER:
    case TOKEN_METRIC: n = parse_identifier(p); break;
    case TOKEN_ADD:
    case TOKEN_SUB:
        n = parse_unary(p);
        postfix = false; /* the operand took them */
        break;
    case TOKEN_EOF:
        if (p->token.pos == p->first_pos)
            parser_fail(p, 0, "no expression found in input");
        else
            unexpected(p, NULL, NULL);
        break;
    default: unexpected(p, NULL, NULL); break;
    }
    if (n && postfix)
        n = parse_postfix(p, n);
    p->depth--;
    return p->err == ERR_OK ? n : NULL;
}

static int operator_of(const struct parser *p, enum binary_op *op)
{
    switch (p->token.kind) {
    case TOKEN_ADD: *op = OP_ADD; return PREC_ADD;
    case TOKEN_SUB: *op = OP_SUB; return PREC_ADD;
    case TOKEN_MUL: *op = OP_MUL; return PREC_MUL;
    case TOKEN_DIV: *op = OP_DIV; return PREC_MUL;
    case TOKEN_MOD: *op = OP_MOD; return PREC_MUL;
    case TOKEN_POW: *op = OP_POW; return PREC_POW;
    case TOKEN_EQLC: *op = OP_EQ; return PREC_COMPARE;
    case TOKEN_NEQ: *op = OP_NE; return PREC_COMPARE;
    case TOKEN_GTR: *op = OP_GT; return PREC_COMPARE;
    case TOKEN_LSS: *op = OP_LT; return PREC_COMPARE;
    case TOKEN_GTE: *op = OP_GE; return PREC_COMPARE;
    case TOKEN_LTE: *op = OP_LE; return PREC_COMPARE;
    case TOKEN_TRIM_UPPER: *op = OP_TRIM_UPPER; return PREC_COMPARE;
    case TOKEN_TRIM_LOWER: *op = OP_TRIM_LOWER; return PREC_COMPARE;
    default: break;
    }
    if (is_word(p, "or"))
        return *op = OP_OR, PREC_OR;
    if (is_word(p, "and"))
        return *op = OP_AND, PREC_AND;
    if (is_word(p, "unless"))
        return *op = OP_UNLESS, PREC_AND;
    if (is_word(p, "atan2"))
        return *op = OP_ATAN2, PREC_MUL;
    return 0;
}

static void parse_fill(struct parser *p, struct node *n)
{
    bool left = is_word(p, "fill") || is_word(p, "fill_left");
    bool right = is_word(p, "fill") || is_word(p, "fill_right");
    advance(p);
    expect(p, TOKEN_LEFT_PAREN, "fill modifier", "\"(\"");
    double sign = p->token.kind == TOKEN_SUB ? -1 : 1;
    if (p->token.kind == TOKEN_SUB || p->token.kind == TOKEN_ADD)
        advance(p);
    if (p->token.kind != TOKEN_NUMBER && p->token.kind != TOKEN_DURATION) {
        unexpected(p, "fill modifier", "number");
        return;
    }
    struct node *value = parse_duration_number(p);
    expect(p, TOKEN_RIGHT_PAREN, "fill modifier", "\")\"");
    if (!value || p->err != ERR_OK)
        return;
    if (left) {
        n->binary.fill_left_set = true;
        n->binary.fill_left = value->duration.value * sign;
    }
    if (right) {
        n->binary.fill_right_set = true;
        n->binary.fill_right = value->duration.value * sign;
    }
}

/* Is the word followed by "("? Metrics may be called `on` or `fill`. */
static bool word_call(const struct parser *p, const char *word)
{
    if (!is_word(p, word))
        return false;
    struct lexer ahead = p->lexer;
    return lexer_next(&ahead).kind == TOKEN_LEFT_PAREN;
}

static void parse_matching(struct parser *p, struct node *n)
{
    if (is_word(p, "bool")) {
        n->binary.returns_bool = true;
        advance(p);
    }
    if (word_call(p, "on") || word_call(p, "ignoring")) {
        n->binary.has_matching = true;
        n->binary.on = is_word(p, "on");
        advance(p);
        parse_labels(p, &n->binary.labels, "grouping opts");
        if (p->err == ERR_OK && (is_word(p, "group_left") || is_word(p, "group_right"))) {
            n->binary.card = is_word(p, "group_left") ? CARD_MANY_TO_ONE : CARD_ONE_TO_MANY;
            advance(p);
            if (p->token.kind == TOKEN_LEFT_PAREN)
                parse_labels(p, &n->binary.include, "grouping opts");
        }
    }
    while (p->err == ERR_OK &&
           (word_call(p, "fill") || word_call(p, "fill_left") || word_call(p, "fill_right"))) {
        n->binary.has_matching = true;
        parse_fill(p, n);
    }
}

static struct node *parse_expr(struct parser *p, int min_prec)
{
    uint32_t start = p->token.pos;
    if (!enter(p))
        return NULL;
    struct node *lhs = parse_operand(p);
    enum binary_op op;
    int prec;
    while (lhs && p->err == ERR_OK && (prec = operator_of(p, &op)) >= min_prec && prec > 0) {
        struct node *n = new_node(p, NODE_BINARY, TYPE_VECTOR, start);
        if (!n)
            return NULL;
        if (++p->chain > QUERY_TEXT_MAX / 8 || lhs->height + 1u > QUERY_DEPTH_MAX * 4) {
            parser_fail(p, p->token.pos, "expression has too many operators");
            return NULL;
        }
        uint32_t op_pos = p->token.pos;
        n->binary.op = op;
        advance(p);
        parse_matching(p, n);
        struct node *rhs = parse_expr(p, op == OP_POW ? prec : prec + 1);
        if (!rhs)
            return NULL;
        n->binary.lhs = lhs;
        n->binary.rhs = rhs;
        n->height = (uint16_t)(MAX(lhs->height, rhs->height) + 1);
        n->pos_end = p->last_end;
        promql_check_binary(p, n, op_pos);
        lhs = n;
    }
    p->depth--;
    return p->err == ERR_OK ? lhs : NULL;
}

enum err promql_parse_with(struct bytes text, struct arena *a, bool allow_empty_selector,
                           struct node **out, struct err_msg *msg)
{
    struct parser p = {.arena = a, .msg = msg, .allow_empty_selector = allow_empty_selector};
    if (text.size > QUERY_TEXT_MAX)
        return err_set(msg, ERR_INVALID, "1:1: parse error: query is longer than %u bytes",
                       QUERY_TEXT_MAX);
    if (!bytes_is_utf8(text))
        return err_set(msg, ERR_INVALID, "1:1: parse error: query is not valid UTF-8");
    p.lexer.text = text;
    advance(&p);
    p.first_pos = p.token.pos;
    struct node *n = parse_expr(&p, PREC_OR);
    if (n && p.err == ERR_OK && p.token.kind != TOKEN_EOF)
        unexpected(&p, NULL, NULL);
    if (p.err != ERR_OK)
        return p.err == ERR_TOO_DEEP ? ERR_INVALID : p.err;
    *out = n;
    return ERR_OK;
}

enum err promql_parse(struct bytes text, struct arena *a, struct node **out, struct err_msg *msg)
{
    return promql_parse_with(text, a, false, out, msg);
}

void promql_position(struct bytes text, uint32_t pos, unsigned *line, unsigned *column)
{
    *line = *column = 1;
    for (uint32_t i = 0; i < pos && i < text.size; i++) {
        ++*column;
        if (text.data[i] == '\n') {
            ++*line;
            *column = 1;
        }
    }
}
