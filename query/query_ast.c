#include "query/query_ast.h"

#include "base/check.h"
#include "query/promql_ast.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void put_tree(struct json_out *j, const struct node *n);

static void put_text(struct json_out *j, const char *key, const char *value)
{
    json_out_key(j, key);
    json_out_str(j, value);
}

static void put_number(struct json_out *j, const char *key, int64_t value)
{
    json_out_key(j, key);
    json_out_i64(j, value);
}

static void put_flag(struct json_out *j, const char *key, bool value)
{
    json_out_key(j, key);
    json_out_bool(j, value);
}

static void put_part(struct json_out *j, const char *key, const struct node *n)
{
    json_out_key(j, key);
    if (n)
        put_tree(j, n);
    else
        json_out_null(j);
}

static void put_names(struct json_out *j, const char *key, const struct name_list *l)
{
    json_out_key(j, key);
    json_out_array(j);
    for (uint32_t i = 0; i < l->count; i++)
        json_out_bytes(j, l->items[i]);
    json_out_array_end(j);
}

/* Shortest digits that read back, without an exponent: Go's 'f' form. */
static void put_value(struct json_out *j, double v)
{
    char text[40], out[400];
    size_t n = 0;
    json_out_key(j, "val");
    if (isnan(v) || isinf(v)) {
        json_out_str(j, isnan(v) ? "NaN" : v > 0 ? "+Inf" : "-Inf");
        return;
    }
    int decimals = 0;
    do
        snprintf(text, sizeof(text), "%.*e", decimals, v);
    while (strtod(text, NULL) != v && decimals++ < 17);
    int exponent = atoi(strchr(text, 'e') + 1);
    if (exponent <= 15) {
        n = (size_t)snprintf(out, sizeof(out), "%.*f", MAX(decimals - exponent, 0), v);
    } else { /* digits, then zeros */
        for (const char *p = text; *p != 'e'; p++)
            if (*p != '.')
                out[n++] = *p;
        for (int i = decimals; i < exponent; i++)
            out[n++] = '0';
    }
    json_out_bytes(j, bytes_of(out, n));
}

static void put_matcher(struct json_out *j, const struct node_matcher *m)
{
    static const char *const ops[] = {"=", "!=", "=~", "!~"};
    json_out_object(j);
    json_out_key(j, "name");
    json_out_bytes(j, m->name);
    put_text(j, "type", ops[m->op]);
    json_out_key(j, "value");
    json_out_bytes(j, m->value);
    json_out_object_end(j);
}

/* The name before the braces comes last, as Prometheus' parser has it. */
static void put_matchers(struct json_out *j, const struct node *n)
{
    const struct node_matcher *name = NULL;
    json_out_key(j, "matchers");
    json_out_array(j);
    for (uint32_t i = 0; i < n->selector.count; i++) {
        const struct node_matcher *m = &n->selector.matchers[i];
        if (n->selector.name.size && m->value.data == n->selector.name.data)
            name = m;
        else
            put_matcher(j, m);
    }
    if (name)
        put_matcher(j, name);
    json_out_array_end(j);
}

static void put_start_or_end(struct json_out *j, const struct node *n)
{
    json_out_key(j, "startOrEnd");
    if (n->at == AT_START || n->at == AT_END)
        json_out_str(j, n->at == AT_START ? "start" : "end");
    else
        json_out_null(j);
}

static void put_timestamp(struct json_out *j, const struct node *n)
{
    json_out_key(j, "timestamp");
    if (n->at == AT_TIME)
        json_out_i64(j, n->at_ms);
    else
        json_out_null(j);
}

/* range: of a matrix selector; NULL for an instant one. */
static void put_selector(struct json_out *j, const struct node *n, const struct node *range)
{
    put_flag(j, "anchored", n->anchored);
    put_matchers(j, n);
    json_out_key(j, "name");
    json_out_bytes(j, n->selector.name);
    put_number(j, "offset", n->offset_ms);
    if (range)
        put_number(j, "range", range->range_ms);
    put_flag(j, "smoothed", n->smoothed);
    put_start_or_end(j, n);
    put_timestamp(j, n);
    put_text(j, "type", range ? "matrixSelector" : "vectorSelector");
}

static void put_subquery(struct json_out *j, const struct node *n)
{
    put_part(j, "expr", n->inner.expr);
    put_number(j, "offset", n->offset_ms);
    put_number(j, "range", n->range_ms);
    put_start_or_end(j, n);
    put_number(j, "step", n->step_ms);
    put_timestamp(j, n);
    put_text(j, "type", "subquery");
}

static void put_fill(struct json_out *j, const char *key, bool is_set, double v)
{
    json_out_key(j, key);
    if (is_set)
        json_out_f64(j, v);
    else
        json_out_null(j);
}

/* Only where both sides are vectors. */
static void put_matching(struct json_out *j, const struct node *n)
{
    static const char *const cards[] = {[CARD_ONE_TO_ONE] = "one-to-one",
                                        [CARD_MANY_TO_ONE] = "many-to-one",
                                        [CARD_ONE_TO_MANY] = "one-to-many"};
    json_out_key(j, "matching");
    if (n->binary.lhs->type != TYPE_VECTOR || n->binary.rhs->type != TYPE_VECTOR) {
        json_out_null(j);
        return;
    }
    json_out_object(j);
    put_text(j, "card", op_is_set(n->binary.op) ? "many-to-many" : cards[n->binary.card]);
    json_out_key(j, "fillValues");
    json_out_object(j);
    put_fill(j, "lhs", n->binary.fill_left_set, n->binary.fill_left);
    put_fill(j, "rhs", n->binary.fill_right_set, n->binary.fill_right);
    json_out_object_end(j);
    put_names(j, "include", &n->binary.include);
    put_names(j, "labels", &n->binary.labels);
    put_flag(j, "on", n->binary.on);
    json_out_object_end(j);
}

static const char *type_name(enum value_type t)
{
    static const char *const names[] = {[TYPE_NONE] = "none",
                                        [TYPE_SCALAR] = "scalar",
                                        [TYPE_VECTOR] = "vector",
                                        [TYPE_MATRIX] = "matrix",
                                        [TYPE_STRING] = "string"};
    return names[t];
}

static void put_call(struct json_out *j, const struct node *n)
{
    const struct promql_function *f = n->call.function;
    json_out_key(j, "args");
    json_out_array(j);
    for (uint32_t i = 0; i < n->call.args.count; i++)
        put_tree(j, n->call.args.items[i]);
    json_out_array_end(j);
    json_out_key(j, "func");
    json_out_object(j);
    json_out_key(j, "argTypes");
    json_out_array(j);
    for (int i = 0; i < f->arg_count; i++)
        json_out_str(j, type_name(f->args[i]));
    json_out_array_end(j);
    put_text(j, "name", f->name);
    put_text(j, "returnType", type_name(f->result));
    put_number(j, "variadic", f->variadic == -2 ? -1 : f->variadic);
    json_out_object_end(j);
    put_text(j, "type", "call");
}

static void put_tree(struct json_out *j, const struct node *n)
{
    json_out_object(j);
    switch (n->kind) {
    case NODE_NUMBER:
        put_text(j, "type", "numberLiteral");
        put_value(j, n->number.value);
        break;
    case NODE_STRING:
        put_text(j, "type", "stringLiteral");
        json_out_key(j, "val");
        json_out_bytes(j, n->string);
        break;
    case NODE_SELECTOR: put_selector(j, n, NULL); break;
    case NODE_MATRIX: put_selector(j, n->inner.expr, n); break;
    case NODE_SUBQUERY: put_subquery(j, n); break;
    case NODE_UNARY:
        put_part(j, "expr", n->unary.expr);
        put_text(j, "op", n->unary.negative ? "-" : "+");
        put_text(j, "type", "unaryExpr");
        break;
    case NODE_BINARY:
        put_flag(j, "bool", n->binary.returns_bool);
        put_part(j, "lhs", n->binary.lhs);
        put_matching(j, n);
        put_text(j, "op", promql_op_text(n->binary.op));
        put_part(j, "rhs", n->binary.rhs);
        put_text(j, "type", "binaryExpr");
        break;
    case NODE_AGGREGATE:
        put_part(j, "expr", n->aggregate.expr);
        put_names(j, "grouping", &n->aggregate.labels);
        put_text(j, "op", promql_aggregate_text(n->aggregate.op));
        put_part(j, "param", n->aggregate.param);
        put_text(j, "type", "aggregation");
        put_flag(j, "without", n->aggregate.without);
        break;
    case NODE_CALL: put_call(j, n); break;
    case NODE_PAREN:
        put_part(j, "expr", n->inner.expr);
        put_text(j, "type", "parenExpr");
        break;
    case NODE_DURATION: break; /* within ranges only, which have it as a number */
    }
    json_out_object_end(j);
}

/* How deep the JSON of a tree is: the writer has a limit of its own, below what the parser takes. */
static unsigned depth_of(const struct node *n)
{
    unsigned d = 0, other = 0; /* MAX would walk the tree twice */
    switch (n->kind) {
    case NODE_MATRIX:
    case NODE_SELECTOR: return 3;
    case NODE_SUBQUERY:
    case NODE_PAREN: return 1 + depth_of(n->inner.expr);
    case NODE_UNARY: return 1 + depth_of(n->unary.expr);
    case NODE_BINARY: /* at least matching, fillValues */
        d = depth_of(n->binary.lhs);
        other = depth_of(n->binary.rhs);
        return 1 + MAX(MAX(d, other), 2u);
    case NODE_AGGREGATE:
        d = depth_of(n->aggregate.expr);
        other = n->aggregate.param ? depth_of(n->aggregate.param) : 0;
        return 1 + MAX(d, other);
    case NODE_CALL:
        for (uint32_t i = 0; i < n->call.args.count; i++) {
            other = depth_of(n->call.args.items[i]);
            d = MAX(d, other);
        }
        return 2 + MAX(d, 1u);
    default: return 1;
    }
}

enum err query_ast_json(struct bytes text, struct arena *a, struct json_out *j, struct err_msg *msg)
{
    struct node *n;
    enum err e = promql_parse(text, a, &n, msg);
    if (e == ERR_OK && j->depth + depth_of(n) > JSON_OUT_DEPTH_MAX)
        e = err_set(msg, ERR_INVALID, "the expression is nested too deeply to be shown as a tree");
    if (e == ERR_OK)
        put_tree(j, n);
    return e;
}
