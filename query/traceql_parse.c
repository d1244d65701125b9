#include "query/traceql_ast.h"

#include "base/check.h"

struct parse {
    struct traceql_lex l;
    struct query_traceql *q;
    unsigned depth;
    uint32_t fields_cap;
    enum err err; /* the first one */
};

static struct traceql_expr *expr(struct parse *p, int binds);
static struct traceql_spanset *spanset(struct parse *p, int binds);

/* --- what is at hand ---------------------------------------------------------------------------- */

static void fail(struct parse *p, const char *what)
{
    if (p->err != ERR_OK)
        return;
    p->err =
        p->l.token == TRACEQL_T_BAD ? ERR_INVALID : traceql_lex_error(&p->l, p->l.from, "%s", what);
    p->l.token = TRACEQL_T_BAD;
}

static bool at_sign(const struct parse *p, const char *sign)
{
    return p->l.token == TRACEQL_T_SIGN && bytes_equal_str(p->l.word, sign);
}

static bool at_word(const struct parse *p, const char *word)
{
    return p->l.token == TRACEQL_T_WORD && bytes_equal_str(p->l.word, word);
}

static bool take_sign(struct parse *p, const char *sign)
{
    if (!at_sign(p, sign))
        return false;
    traceql_lex_next(&p->l);
    return true;
}

static void expect(struct parse *p, const char *sign, const char *what)
{
    if (!take_sign(p, sign))
        fail(p, what);
}

/* One more node of a tree; NULL past the limits. */
static void *node(struct parse *p, size_t size)
{
    void *n = NULL;
    if (p->q->nodes++ == QUERY_TRACEQL_NODES_MAX)
        fail(p, "the query is too large");
    else if (!(n = arena_alloc(p->l.a, size)))
        p->err = ERR_NOMEM;
    return p->err == ERR_OK ? n : NULL;
}

static bool enter(struct parse *p)
{
    if (p->depth++ < QUERY_TRACEQL_DEPTH_MAX)
        return true;
    fail(p, "nested too deeply");
    return false;
}

/* --- field expressions -------------------------------------------------------------------------- */

struct sign {
    const char *text;
    enum traceql_op op;
    int binds; /* higher binds closer */
};
enum { BINDS_LOGIC = 1, BINDS_COMPARE, BINDS_SUM, BINDS_NOT, BINDS_PRODUCT, BINDS_POWER };

static const struct sign expr_signs[] = {
    {"&&", TRACEQL_OP_AND, BINDS_LOGIC},  {"||", TRACEQL_OP_OR, BINDS_LOGIC},
    {"=", TRACEQL_OP_EQ, BINDS_COMPARE},  {"!=", TRACEQL_OP_NE, BINDS_COMPARE},
    {"<", TRACEQL_OP_LT, BINDS_COMPARE},  {"<=", TRACEQL_OP_LE, BINDS_COMPARE},
    {">", TRACEQL_OP_GT, BINDS_COMPARE},  {">=", TRACEQL_OP_GE, BINDS_COMPARE},
    {"=~", TRACEQL_OP_RE, BINDS_COMPARE}, {"!~", TRACEQL_OP_NRE, BINDS_COMPARE},
    {"+", TRACEQL_OP_ADD, BINDS_SUM},     {"-", TRACEQL_OP_SUB, BINDS_SUM},
    {"*", TRACEQL_OP_MUL, BINDS_PRODUCT}, {"/", TRACEQL_OP_DIV, BINDS_PRODUCT},
    {"%", TRACEQL_OP_MOD, BINDS_PRODUCT}, {"^", TRACEQL_OP_POW, BINDS_POWER}};
static const struct sign spanset_signs[] = {
    {"&&", TRACEQL_OP_AND, BINDS_LOGIC},          {"||", TRACEQL_OP_OR, BINDS_LOGIC},
    {">", TRACEQL_OP_GT, BINDS_COMPARE},          {"<", TRACEQL_OP_LT, BINDS_COMPARE},
    {">>", TRACEQL_OP_DESCENDANT, BINDS_COMPARE}, {"<<", TRACEQL_OP_ANCESTOR, BINDS_COMPARE},
    {"~", TRACEQL_OP_SIBLING, BINDS_COMPARE}};

static const struct sign *sign_at(const struct parse *p, const struct sign *signs, size_t n)
{
    for (size_t i = 0; p->l.token == TRACEQL_T_SIGN && i < n; i++)
        if (bytes_equal_str(p->l.word, signs[i].text))
            return &signs[i];
    return NULL;
}

static bool word_value(struct bytes word, struct query_traceql_value *out)
{
    static const struct {
        const char *word;
        enum query_traceql_type type;
        int64_t value;
    } words[] = {{"nil", TRACEQL_NIL, 0},          {"true", TRACEQL_BOOL, 1},
                 {"false", TRACEQL_BOOL, 0},       {"unset", TRACEQL_STATUS, 0},
                 {"ok", TRACEQL_STATUS, 1},        {"error", TRACEQL_STATUS, 2},
                 {"unspecified", TRACEQL_KIND, 0}, {"internal", TRACEQL_KIND, 1},
                 {"server", TRACEQL_KIND, 2},      {"client", TRACEQL_KIND, 3},
                 {"producer", TRACEQL_KIND, 4},    {"consumer", TRACEQL_KIND, 5}};
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (bytes_equal_str(word, words[i].word)) {
            *out = (struct query_traceql_value){.type = words[i].type, .integer = words[i].value};
            if (words[i].type == TRACEQL_BOOL)
                out->boolean = words[i].value != 0;
            return true;
        }
    return false;
}

static bool is_static(const struct parse *p)
{
    struct query_traceql_value v;
    return p->l.token == TRACEQL_T_STRING || p->l.token == TRACEQL_T_NUMBER ||
           (p->l.token == TRACEQL_T_WORD && word_value(p->l.word, &v));
}

/* The static at hand, and on. */
static struct query_traceql_value take_static(struct parse *p)
{
    struct query_traceql_value v = p->l.value;
    if (p->l.token == TRACEQL_T_WORD)
        (void)word_value(p->l.word, &v); /* is_static said so */
    traceql_lex_next(&p->l);
    return v;
}

static bool same_field(const struct traceql_field *a, const struct traceql_field *b)
{
    return a->scope == b->scope && a->intrinsic == b->intrinsic && a->parent == b->parent &&
           bytes_equal(a->name, b->name);
}

/* The query's list of fields, each once. */
static void note_field(struct parse *p, const struct traceql_field *f)
{
    struct query_traceql *q = p->q;
    for (uint32_t i = 0; i < q->field_count; i++)
        if (same_field(q->fields[i], f))
            return;
    if (q->field_count == p->fields_cap) {
        uint32_t cap = p->fields_cap ? 2 * p->fields_cap : 8;
        const struct traceql_field **more =
            arena_grow(p->l.a, q->fields, sizeof *q->fields, p->fields_cap, cap);
        if (!more) {
            p->err = ERR_NOMEM;
            return;
        }
        q->fields = more;
        p->fields_cap = cap;
    }
    q->fields[q->field_count++] = f;
}

static bool needs_whole(const struct traceql_field *f)
{
    return f->parent || f->intrinsic >= TRACEQL_I_ROOT_NAME;
}

static struct traceql_expr *field(struct parse *p)
{
    struct traceql_expr *e = node(p, sizeof *e);
    if (!e)
        return NULL;
    e->kind = TRACEQL_FIELD;
    e->field = p->l.field;
    e->whole = needs_whole(&e->field);
    note_field(p, &e->field);
    traceql_lex_next(&p->l);
    return e;
}

/* Of a number, in its own type. */
static bool negate(struct query_traceql_value *v)
{
    if (v->type == TRACEQL_FLOAT)
        v->number = -v->number;
    else if ((v->type == TRACEQL_INT || v->type == TRACEQL_DURATION) && v->integer != INT64_MIN)
        v->integer = -v->integer;
    else
        return false;
    return true;
}

static struct traceql_expr *unary(struct parse *p, enum traceql_op op, int binds)
{
    struct traceql_expr *e = node(p, sizeof *e);
    traceql_lex_next(&p->l);
    struct traceql_expr *of = e ? expr(p, binds) : NULL;
    if (!of)
        return NULL;
    if (op == TRACEQL_OP_SUB && of->kind == TRACEQL_STATIC && negate(&of->value))
        return of;
    *e = (struct traceql_expr){.kind = TRACEQL_UNARY, .op = op, .left = of, .whole = of->whole};
    return e;
}

static struct traceql_expr *primary(struct parse *p)
{
    if (take_sign(p, "(")) {
        struct traceql_expr *e = expr(p, BINDS_LOGIC);
        expect(p, ")", "a closing parenthesis is missing");
        return e;
    }
    if (at_sign(p, "!"))
        return unary(p, TRACEQL_OP_NOT, BINDS_PRODUCT);
    if (at_sign(p, "-"))
        return unary(p, TRACEQL_OP_SUB, BINDS_NOT);
    if (p->l.token == TRACEQL_T_FIELD)
        return field(p);
    if (is_static(p)) {
        struct traceql_expr *e = node(p, sizeof *e);
        if (e) {
            e->kind = TRACEQL_STATIC;
            e->value = take_static(p);
        }
        return e;
    }
    fail(p, p->l.token == TRACEQL_T_WORD
                ? "an unknown word: attributes begin with '.', 'span.' or 'resource.'"
                : "an attribute, an intrinsic or a value is missing");
    return NULL;
}

/* The pattern of =~ is compiled once. */
static void compile(struct parse *p, struct traceql_expr *e, size_t at)
{
    struct err_msg why = {""};
    struct traceql_regex *keep = node(p, sizeof *keep);
    if (!keep)
        return;
    if (e->right->kind != TRACEQL_STATIC || e->right->value.type != TRACEQL_STRING) {
        p->l.from = at;
        fail(p, "=~ and !~ take a pattern in quotes");
        return;
    }
    e->regex = regex_re2_new(e->right->value.text, &why);
    if (!e->regex) {
        p->l.from = at;
        fail(p, why.text[0] ? why.text : "a pattern that cannot be compiled");
        return;
    }
    *keep = (struct traceql_regex){e->regex, p->q->regexes};
    p->q->regexes = keep;
}

/* 1 < .x is read as .x > 1: what looks at comparisons finds the field on the left. */
static void turn(struct traceql_expr *e)
{
    static const enum traceql_op turned[] = {
        [TRACEQL_OP_EQ] = TRACEQL_OP_EQ, [TRACEQL_OP_NE] = TRACEQL_OP_NE,
        [TRACEQL_OP_LT] = TRACEQL_OP_GT, [TRACEQL_OP_LE] = TRACEQL_OP_GE,
        [TRACEQL_OP_GT] = TRACEQL_OP_LT, [TRACEQL_OP_GE] = TRACEQL_OP_LE};
    struct traceql_expr *left = e->left;
    if (left->kind != TRACEQL_STATIC || e->op < TRACEQL_OP_EQ || e->op > TRACEQL_OP_GE)
        return;
    e->left = e->right;
    e->right = left;
    e->op = turned[e->op];
}

static struct traceql_expr *expr(struct parse *p, int binds)
{
    struct traceql_expr *left = enter(p) ? primary(p) : NULL;
    const struct sign *s;
    while (p->err == ERR_OK && left && (s = sign_at(p, expr_signs, ARRAY_LEN(expr_signs))) &&
           s->binds >= binds) {
        size_t at = p->l.from;
        traceql_lex_next(&p->l);
        /* from the left, but for powers */
        struct traceql_expr *right = expr(p, s->binds == BINDS_POWER ? s->binds : s->binds + 1);
        struct traceql_expr *e = right ? node(p, sizeof *e) : NULL;
        if (!e)
            break;
        *e = (struct traceql_expr){.kind = TRACEQL_BINARY,
                                   .op = s->op,
                                   .left = left,
                                   .right = right,
                                   .whole = left->whole || right->whole};
        if (s->op == TRACEQL_OP_RE || s->op == TRACEQL_OP_NRE)
            compile(p, e, at);
        turn(e);
        left = e;
    }
    p->depth--;
    if (p->err == ERR_OK && p->l.token == TRACEQL_T_BAD)
        fail(p, "");
    return p->err == ERR_OK ? left : NULL;
}

/* --- span sets and pipelines -------------------------------------------------------------------- */

static struct traceql_spanset *spanset_primary(struct parse *p)
{
    if (take_sign(p, "(")) {
        struct traceql_spanset *s = spanset(p, BINDS_LOGIC);
        expect(p, ")", "a closing parenthesis is missing");
        return s;
    }
    struct traceql_spanset *s = node(p, sizeof *s);
    expect(p, "{", "a span set begins with {");
    if (p->err != ERR_OK)
        return NULL;
    if (take_sign(p, "}"))
        return s;
    s->filter = expr(p, BINDS_LOGIC);
    expect(p, "}", "} or an operator is missing");
    return p->err == ERR_OK ? s : NULL;
}

static struct traceql_spanset *spanset(struct parse *p, int binds)
{
    struct traceql_spanset *left = enter(p) ? spanset_primary(p) : NULL;
    const struct sign *s;
    while (p->err == ERR_OK && left && (s = sign_at(p, spanset_signs, ARRAY_LEN(spanset_signs))) &&
           s->binds >= binds) {
        traceql_lex_next(&p->l);
        struct traceql_spanset *right = spanset(p, s->binds + 1);
        struct traceql_spanset *n = right ? node(p, sizeof *n) : NULL;
        if (!n)
            break;
        *n = (struct traceql_spanset){.op = s->op, .left = left, .right = right};
        left = n;
    }
    p->depth--;
    if (p->err == ERR_OK && p->l.token == TRACEQL_T_SIGN && p->l.word.size > 1 &&
        (p->l.word.data[0] == '!' || p->l.word.data[0] == '&'))
        fail(p, "of the operators between span sets &&, ||, >, >>, <, << and ~ are supported");
    return p->err == ERR_OK ? left : NULL;
}

/* count() > 2, avg(duration) >= 1s */
static bool aggregate(struct parse *p, struct traceql_stage *s)
{
    static const struct {
        const char *word;
        enum traceql_aggregate what;
    } words[] = {{"count", TRACEQL_COUNT},
                 {"avg", TRACEQL_AVG},
                 {"min", TRACEQL_MIN},
                 {"max", TRACEQL_MAX},
                 {"sum", TRACEQL_SUM}};
    size_t i = 0;
    while (i < ARRAY_LEN(words) && !at_word(p, words[i].word))
        i++;
    if (i == ARRAY_LEN(words))
        return false;
    s->aggregate = words[i].what;
    traceql_lex_next(&p->l);
    expect(p, "(", "a parenthesis is missing");
    if (s->aggregate != TRACEQL_COUNT)
        s->of = expr(p, BINDS_LOGIC);
    expect(p, ")", "a closing parenthesis is missing");
    const struct sign *c = sign_at(p, expr_signs, ARRAY_LEN(expr_signs));
    if (!c || c->binds != BINDS_COMPARE || c->op == TRACEQL_OP_RE || c->op == TRACEQL_OP_NRE) {
        fail(p, "compare it: =, !=, <, <=, > or >=");
        return true;
    }
    s->op = c->op;
    traceql_lex_next(&p->l);
    if (p->l.token != TRACEQL_T_NUMBER)
        fail(p, "a number or a duration is missing");
    else
        s->value = take_static(p);
    return true;
}

static void select_fields(struct parse *p)
{
    traceql_lex_next(&p->l);
    expect(p, "(", "a parenthesis is missing");
    do {
        if (p->err == ERR_OK && p->l.token != TRACEQL_T_FIELD)
            fail(p, "the name of an attribute is missing");
        if (p->err == ERR_OK)
            (void)field(p); /* it is noted; the node itself is not needed */
    } while (p->err == ERR_OK && take_sign(p, ","));
    expect(p, ")", "a closing parenthesis is missing");
}

/* with (most_recent=true): hints, which change nothing here. */
static void hints(struct parse *p)
{
    traceql_lex_next(&p->l);
    expect(p, "(", "a parenthesis is missing");
    do {
        if (p->l.token != TRACEQL_T_WORD)
            fail(p, "the name of a hint is missing");
        traceql_lex_next(&p->l);
        expect(p, "=", "= is missing");
        if (p->err == ERR_OK && !is_static(p))
            fail(p, "a value is missing");
        if (p->err == ERR_OK)
            (void)take_static(p);
    } while (p->err == ERR_OK && take_sign(p, ","));
    expect(p, ")", "a closing parenthesis is missing");
}

static void stage(struct parse *p, struct traceql_stage ***tail)
{
    if (at_word(p, "select")) {
        select_fields(p);
        return;
    }
    struct traceql_stage *s = node(p, sizeof *s);
    if (!s)
        return;
    if (at_sign(p, "{") || at_sign(p, "("))
        s->spanset = spanset(p, BINDS_LOGIC);
    else if (!aggregate(p, s))
        fail(p,
             "after | span sets, count(), avg(), min(), max(), sum() and select() are supported");
    **tail = s;
    *tail = &s->next;
}

enum err query_traceql_parse(struct bytes text, struct arena *a, struct query_traceql **out,
                             struct err_msg *msg)
{
    struct parse p = {.l = {.text = text, .a = a, .msg = msg}};
    if (text.size > QUERY_TRACEQL_BYTES_MAX)
        return err_set(msg, ERR_INVALID, "a query has at most %u bytes", QUERY_TRACEQL_BYTES_MAX);
    p.q = arena_alloc(a, sizeof *p.q);
    struct traceql_stage *first = p.q ? arena_alloc(a, sizeof *first) : NULL;
    if (!first)
        return ERR_NOMEM;
    p.q->stages = first;
    struct traceql_stage **tail = &first->next;
    traceql_lex_next(&p.l);
    first->spanset = spanset(&p, BINDS_LOGIC);
    while (p.err == ERR_OK && take_sign(&p, "|"))
        stage(&p, &tail);
    if (p.err == ERR_OK && at_word(&p, "with"))
        hints(&p);
    if (p.err == ERR_OK && p.l.token != TRACEQL_T_END)
        fail(&p, "the query should end here");
    if (p.err != ERR_OK) {
        query_traceql_free(p.q);
        return p.err;
    }
    *out = p.q;
    return ERR_OK;
}

void query_traceql_free(struct query_traceql *q)
{
    for (struct traceql_regex *r = q ? q->regexes : NULL; r; r = r->next)
        regex_re2_free(r->regex);
    if (q)
        q->regexes = NULL;
}
