#include <math.h>

#include "base/check.h"
#include "query/query_trace.h"
#include "query/traceql_ast.h"

static const struct query_traceql_value nil = {TRACEQL_NIL, {0}};

static struct query_traceql_value text_value(struct bytes text)
{
    return (struct query_traceql_value){.type = TRACEQL_STRING, .text = text};
}

static struct query_traceql_value int_value(enum query_traceql_type type, int64_t v)
{
    return (struct query_traceql_value){type, {.integer = v}};
}

static bool is_number(const struct query_traceql_value *v)
{
    return v->type == TRACEQL_INT || v->type == TRACEQL_FLOAT || v->type == TRACEQL_DURATION;
}

static double number_of(const struct query_traceql_value *v)
{
    return v->type == TRACEQL_FLOAT ? v->number : (double)v->integer;
}

/* --- fields ------------------------------------------------------------------------------------- */

struct visit {
    bool (*each)(void *ctx, const struct query_traceql_value *v);
    void *ctx;
    bool found, ended;
};

static void give(struct visit *to, struct query_traceql_value v)
{
    to->found = true;
    if (!to->ended)
        to->ended = !to->each(to->ctx, &v);
}

static void give_attribute(struct visit *to, struct tsdb_value v, bool in_array)
{
    struct tsdb_attrs_iter it;
    struct tsdb_value one;
    switch (v.type) {
    case TSDB_VALUE_STRING: give(to, text_value(v.bytes)); break;
    case TSDB_VALUE_BOOL:
        give(to, (struct query_traceql_value){TRACEQL_BOOL, {.boolean = v.boolean}});
        break;
    case TSDB_VALUE_INT: give(to, int_value(TRACEQL_INT, v.integer)); break;
    case TSDB_VALUE_DOUBLE:
        give(to, (struct query_traceql_value){TRACEQL_FLOAT, {.number = v.number}});
        break;
    case TSDB_VALUE_ARRAY: /* any of them */
        it = tsdb_attrs_begin(v.bytes);
        while (!in_array && !to->ended && tsdb_attrs_next_value(&it, &one))
            give_attribute(to, one, true);
        break;
    case TSDB_VALUE_EMPTY:
    case TSDB_VALUE_BYTES:
    case TSDB_VALUE_KVLIST: break; /* TraceQL has no values like these */
    }
}

static bool find_attribute(struct visit *to, struct bytes attrs, struct bytes name)
{
    struct tsdb_value v;
    if (!tsdb_attrs_find(attrs, name, &v))
        return false;
    give_attribute(to, v, false);
    return true;
}

static void find_in_events(struct visit *to, const struct traceql_field *f,
                           const struct traceql_row *r)
{
    struct tsdb_attrs_iter it = tsdb_attrs_begin(TSDB_SPAN_GET(r->t, events, r->row, BYTES_NONE));
    struct tsdb_event ev;
    while (!to->ended && tsdb_attrs_next_event(&it, &ev))
        if (f->intrinsic == TRACEQL_I_EVENT_NAME)
            give(to, text_value(ev.name));
        else if (f->intrinsic == TRACEQL_I_EVENT_SINCE_START)
            give(to, int_value(TRACEQL_DURATION,
                               (int64_t)(ev.time_ns - (uint64_t)r->t->start_ns[r->row])));
        else
            (void)find_attribute(to, ev.attrs, f->name); /* an event without it has no say */
}

/* An id as text. The text lives until the thread has asked for seven more: a comparison has two sides, and no value is kept longer. */
static struct query_traceql_value hex_value(const uint8_t *id, size_t size)
{
    static _Thread_local char space[8][33];
    static _Thread_local unsigned next;
    char *to = space[next++ % ARRAY_LEN(space)];
    bytes_to_hex(bytes_of(id, size), to);
    return text_value(bytes_of(to, 2 * size));
}

static void find_in_links(struct visit *to, const struct traceql_field *f,
                          const struct traceql_row *r)
{
    struct tsdb_attrs_iter it = tsdb_attrs_begin(TSDB_SPAN_GET(r->t, links, r->row, BYTES_NONE));
    struct tsdb_link link;
    while (!to->ended && tsdb_attrs_next_link(&it, &link))
        if (f->intrinsic == TRACEQL_I_LINK_TRACE)
            give(to, hex_value(link.trace_id, sizeof link.trace_id));
        else if (f->intrinsic == TRACEQL_I_LINK_SPAN)
            give(to, hex_value(link.span_id, sizeof link.span_id));
        else
            (void)find_attribute(to, link.attrs, f->name); /* nor has a link */
}

static void give_text(struct visit *to, struct bytes text)
{
    if (text.size)
        give(to, text_value(text));
}

static void give_whole(struct visit *to, const struct traceql_field *f, const struct traceql_row *r)
{
    const struct tsdb_spans *t = r->t;
    if (!r->layout)
        return;
    uint32_t up = r->layout->parent[r->row];
    int64_t first = INT64_MAX, last = INT64_MIN;
    switch (f->intrinsic) {
    case TRACEQL_I_ROOT_NAME: give(to, text_value(t->name[r->root])); break;
    case TRACEQL_I_ROOT_SERVICE: give(to, text_value(t->service[r->root])); break;
    case TRACEQL_I_CHILD_COUNT: give(to, int_value(TRACEQL_INT, r->children[r->row])); break;
    case TRACEQL_I_NESTED_PARENT: /* of the places only "none" means something here */
        give(to, int_value(TRACEQL_INT, up == TSDB_NO_ROW ? -1 : (int64_t)up + 1));
        break;
    case TRACEQL_I_TRACE_DURATION:
        for (uint32_t i = 0; i < t->count; i++) {
            first = MIN(first, t->start_ns[i]);
            last = MAX(last, t->end_ns[i]);
        }
        give(to, int_value(TRACEQL_DURATION, last - first));
        break;
    default: CHECK_UNREACHABLE();
    }
}

static void give_intrinsic(struct visit *to, const struct traceql_field *f,
                           const struct traceql_row *r)
{
    const struct tsdb_spans *t = r->t;
    uint32_t row = r->row;
    switch (f->intrinsic) {
    case TRACEQL_I_DURATION:
        give(to, int_value(TRACEQL_DURATION, t->end_ns[row] - t->start_ns[row]));
        break;
    case TRACEQL_I_NAME: give(to, text_value(TSDB_SPAN_GET(t, name, row, BYTES_NONE))); break;
    case TRACEQL_I_STATUS:
        give(to, int_value(TRACEQL_STATUS, TSDB_SPAN_GET(t, status, row, 0)));
        break;
    case TRACEQL_I_STATUS_MESSAGE:
        give(to, text_value(TSDB_SPAN_GET(t, status_message, row, BYTES_NONE)));
        break;
    case TRACEQL_I_KIND: give(to, int_value(TRACEQL_KIND, TSDB_SPAN_GET(t, kind, row, 0))); break;
    case TRACEQL_I_TRACE_ID: give(to, hex_value(t->trace_id[row].b, 16)); break;
    case TRACEQL_I_SPAN_ID: give(to, hex_value(t->span_id[row].b, 8)); break;
    case TRACEQL_I_PARENT_ID:
        if (bytes_u64le(t->parent_id[row].b))
            give(to, hex_value(t->parent_id[row].b, 8));
        break;
    case TRACEQL_I_SCOPE_NAME: give_text(to, TSDB_SPAN_GET(t, scope_name, row, BYTES_NONE)); break;
    case TRACEQL_I_SCOPE_VERSION:
        give_text(to, TSDB_SPAN_GET(t, scope_version, row, BYTES_NONE));
        break;
    case TRACEQL_I_EVENT_NAME:
    case TRACEQL_I_EVENT_SINCE_START: find_in_events(to, f, r); break;
    case TRACEQL_I_LINK_TRACE:
    case TRACEQL_I_LINK_SPAN: find_in_links(to, f, r); break;
    case TRACEQL_I_COLUMN: {
        struct query_traceql_value v = traceql_column_value(&traceql_columns[f->column], t, row);
        if (v.type != TRACEQL_NIL)
            give(to, v);
        break;
    }
    default: give_whole(to, f, r); break;
    }
}

void traceql_field_each(const struct traceql_field *f, const struct traceql_row *r,
                        bool (*each)(void *ctx, const struct query_traceql_value *v), void *ctx)
{
    struct visit to = {each, ctx, false, false};
    struct traceql_row at = *r;
    if (f->parent) {
        at.row = r->layout ? r->layout->parent[r->row] : TSDB_NO_ROW;
        if (at.row == TSDB_NO_ROW)
            return;
    }
    struct bytes attrs = TSDB_SPAN_GET(at.t, attrs, at.row, BYTES_NONE),
                 resource = TSDB_SPAN_GET(at.t, resource_attrs, at.row, BYTES_NONE);
    switch (f->scope) {
    case TRACEQL_INTRINSIC: give_intrinsic(&to, f, &at); break;
    case TRACEQL_SPAN: (void)find_attribute(&to, attrs, f->name); break;
    case TRACEQL_RESOURCE: (void)find_attribute(&to, resource, f->name); break;
    case TRACEQL_ANY:
        if (!find_attribute(&to, attrs, f->name))
            (void)find_attribute(&to, resource, f->name);
        break;
    case TRACEQL_EVENT: find_in_events(&to, f, &at); break;
    case TRACEQL_LINK: find_in_links(&to, f, &at); break;
    case TRACEQL_INSTRUMENTATION: /* attributes of scopes are not kept apart */
    case TRACEQL_SCOPE_COUNT: break;
    }
}

static bool take_first(void *ctx, const struct query_traceql_value *v)
{
    *(struct query_traceql_value *)ctx = *v;
    return false;
}

struct query_traceql_value traceql_field_value(const struct traceql_field *f,
                                               const struct traceql_row *r)
{
    struct query_traceql_value v = nil;
    traceql_field_each(f, r, take_first, &v);
    return v;
}

/* --- expressions -------------------------------------------------------------------------------- */

static bool ordered(enum traceql_op op, int c)
{
    switch (op) {
    case TRACEQL_OP_EQ: return c == 0;
    case TRACEQL_OP_NE: return c != 0;
    case TRACEQL_OP_LT: return c < 0;
    case TRACEQL_OP_LE: return c <= 0;
    case TRACEQL_OP_GT: return c > 0;
    case TRACEQL_OP_GE: return c >= 0;
    default: return false;
    }
}

bool traceql_compare(enum traceql_op op, const struct query_traceql_value *a,
                     const struct query_traceql_value *b)
{
    if (b->type == TRACEQL_NIL) /* `= nil`, `!= nil` */
        return op == TRACEQL_OP_EQ ? a->type == TRACEQL_NIL
                                   : op == TRACEQL_OP_NE && a->type != TRACEQL_NIL;
    if (a->type == TRACEQL_NIL)
        return false;
    if (is_number(a) && is_number(b)) {
        if (a->type != TRACEQL_FLOAT && b->type != TRACEQL_FLOAT)
            return ordered(op, (a->integer > b->integer) - (a->integer < b->integer));
        double x = number_of(a), y = number_of(b);
        if (isnan(x) || isnan(y))
            return op == TRACEQL_OP_NE;
        return ordered(op, (x > y) - (x < y));
    }
    if (a->type != b->type)
        return false;
    if (a->type == TRACEQL_STRING)
        return ordered(op, bytes_compare(a->text, b->text));
    bool same = a->type == TRACEQL_BOOL ? a->boolean == b->boolean : a->integer == b->integer;
    return op == TRACEQL_OP_EQ ? same : op == TRACEQL_OP_NE && !same;
}

static struct query_traceql_value arithmetic(enum traceql_op op, struct query_traceql_value a,
                                             struct query_traceql_value b)
{
    if (!is_number(&a) || !is_number(&b))
        return nil;
    double x = number_of(&a), y = number_of(&b), r = 0;
    switch (op) {
    case TRACEQL_OP_ADD: r = x + y; break;
    case TRACEQL_OP_SUB: r = x - y; break;
    case TRACEQL_OP_MUL: r = x * y; break;
    case TRACEQL_OP_DIV: r = x / y; break;
    case TRACEQL_OP_MOD: r = fmod(x, y); break;
    case TRACEQL_OP_POW: r = pow(x, y); break;
    default: CHECK_UNREACHABLE();
    }
    return (struct query_traceql_value){TRACEQL_FLOAT, {.number = r}};
}

struct against {
    const struct traceql_expr *e;
    const struct query_traceql_value *left; /* NULL: the values that come are the left ones */
    bool any, seen;
};

static bool compare_one(void *ctx, const struct query_traceql_value *v)
{
    struct against *x = ctx;
    const struct query_traceql_value *left = x->left ? x->left : v;
    x->seen = true;
    if (x->e->regex)
        x->any = left->type == TRACEQL_STRING &&
                 regex_re2_matches(x->e->regex, left->text) == (x->e->op == TRACEQL_OP_RE);
    else
        x->any = x->left ? traceql_compare(x->e->op, x->left, v)
                         : traceql_compare(x->e->op, v, &x->e->right->value);
    return !x->any;
}

/* A field against a static: any of its values will do. */
static bool compare_field(const struct traceql_expr *e, const struct traceql_row *r)
{
    struct against x = {.e = e};
    traceql_field_each(&e->left->field, r, compare_one, &x);
    if (!x.seen && !e->regex)
        return traceql_compare(e->op, &nil, &e->right->value);
    return x.any;
}

static bool compare_any(const struct traceql_expr *e, const struct traceql_row *r)
{
    if (e->left->kind == TRACEQL_FIELD && e->right->kind == TRACEQL_STATIC)
        return compare_field(e, r);
    struct query_traceql_value a = traceql_expr_value(e->left, r);
    if (e->regex) {
        struct against x = {.e = e};
        (void)compare_one(&x, &a); /* its answer is in x */
        return x.any;
    }
    if (e->right->kind == TRACEQL_FIELD) {
        struct against x = {.e = e, .left = &a};
        traceql_field_each(&e->right->field, r, compare_one, &x);
        if (x.seen)
            return x.any;
    }
    struct query_traceql_value b = traceql_expr_value(e->right, r);
    return traceql_compare(e->op, &a, &b);
}

bool traceql_expr_is_true(const struct traceql_expr *e, const struct traceql_row *r)
{
    if (e->kind == TRACEQL_BINARY && e->op == TRACEQL_OP_AND)
        return traceql_expr_is_true(e->left, r) && traceql_expr_is_true(e->right, r);
    if (e->kind == TRACEQL_BINARY && e->op == TRACEQL_OP_OR)
        return traceql_expr_is_true(e->left, r) || traceql_expr_is_true(e->right, r);
    if (e->kind == TRACEQL_UNARY && e->op == TRACEQL_OP_NOT)
        return !traceql_expr_is_true(e->left, r);
    if (e->kind == TRACEQL_BINARY && e->op <= TRACEQL_OP_NRE)
        return compare_any(e, r);
    struct query_traceql_value v = traceql_expr_value(e, r);
    return v.type == TRACEQL_BOOL && v.boolean;
}

struct query_traceql_value traceql_expr_value(const struct traceql_expr *e,
                                              const struct traceql_row *r)
{
    if (e->kind == TRACEQL_STATIC)
        return e->value;
    if (e->kind == TRACEQL_FIELD)
        return traceql_field_value(&e->field, r);
    if (e->kind == TRACEQL_UNARY && e->op == TRACEQL_OP_SUB)
        return arithmetic(TRACEQL_OP_SUB, int_value(TRACEQL_INT, 0),
                          traceql_expr_value(e->left, r));
    if (e->kind == TRACEQL_BINARY && e->op >= TRACEQL_OP_ADD && e->op <= TRACEQL_OP_POW)
        return arithmetic(e->op, traceql_expr_value(e->left, r), traceql_expr_value(e->right, r));
    return (struct query_traceql_value){TRACEQL_BOOL, {.boolean = traceql_expr_is_true(e, r)}};
}

bool traceql_expr_may(const struct traceql_expr *e, const struct traceql_row *r)
{
    if (!e)
        return true;
    if (e->kind == TRACEQL_BINARY && e->op == TRACEQL_OP_AND)
        return traceql_expr_may(e->left, r) && traceql_expr_may(e->right, r);
    if (e->kind == TRACEQL_BINARY && e->op == TRACEQL_OP_OR)
        return traceql_expr_may(e->left, r) || traceql_expr_may(e->right, r);
    return e->whole || traceql_expr_is_true(e, r);
}

/* --- words -------------------------------------------------------------------------------------- */

const char *query_traceql_type_name(enum query_traceql_type t)
{
    static const char *const names[] = {
        [TRACEQL_NIL] = "nil",        [TRACEQL_BOOL] = "bool",         [TRACEQL_INT] = "int",
        [TRACEQL_FLOAT] = "float",    [TRACEQL_DURATION] = "duration", [TRACEQL_STRING] = "string",
        [TRACEQL_STATUS] = "keyword", [TRACEQL_KIND] = "keyword"};
    return names[t];
}

struct bytes query_traceql_keyword(const struct query_traceql_value *v)
{
    static const char *const statuses[] = {"unset", "ok", "error"};
    if (v->type == TRACEQL_KIND)
        return bytes_str(query_trace_kind_name((uint8_t)MIN(v->integer, 255)));
    return bytes_str(statuses[v->integer >= 0 && v->integer < 3 ? v->integer : 0]);
}

const char *query_traceql_scope_name(enum query_traceql_scope s)
{
    static const char *const names[TRACEQL_SCOPE_COUNT] = {
        [TRACEQL_ANY] = "none",           [TRACEQL_SPAN] = "span",
        [TRACEQL_RESOURCE] = "resource",  [TRACEQL_EVENT] = "event",
        [TRACEQL_LINK] = "link",          [TRACEQL_INSTRUMENTATION] = "instrumentation",
        [TRACEQL_INTRINSIC] = "intrinsic"};
    return names[s];
}
