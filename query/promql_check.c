#include "query/promql_functions.h"
#include "query/promql_parse.h"

#include "base/check.h"
#include <math.h>
#include <stdio.h>

static const char *const op_texts[] = {"+", "-", "*",  "/",  "%",  "^",  "atan2", "==", "!=",
                                       ">", "<", ">=", "<=", "</", ">/", "and",   "or", "unless"};
static const char *const aggregate_texts[] = {
    "sum",    "avg",  "count",   "min",          "max",      "group",  "stddev",
    "stdvar", "topk", "bottomk", "count_values", "quantile", "limitk", "limit_ratio"};

const char *promql_op_text(enum binary_op op)
{
    return op_texts[op];
}

const char *promql_aggregate_text(enum aggregate_op op)
{
    return aggregate_texts[op];
}

bool promql_aggregate_find(struct bytes name, enum aggregate_op *out)
{
    for (size_t i = 0; i < ARRAY_LEN(aggregate_texts); i++)
        if (bytes_equal_nocase(name, bytes_str(aggregate_texts[i]))) {
            *out = (enum aggregate_op)i;
            return true;
        }
    return false;
}

const char *promql_type_text(enum value_type t)
{
    static const char *const texts[] = {"none", "scalar", "instant vector", "range vector",
                                        "string"};
    return texts[t];
}

const struct node *promql_unparen(const struct node *n)
{
    while (n->kind == NODE_PAREN)
        n = n->inner.expr;
    return n;
}

static void expect_type(struct parser *p, const struct node *n, enum value_type wanted,
                        const char *context)
{
    if (n->type != wanted)
        parser_fail(p, n->pos_start, "expected type %s in %s, got %s", promql_type_text(wanted),
                    context, promql_type_text(n->type));
}

void promql_check_aggregate(struct parser *p, struct node *n)
{
    expect_type(p, n->aggregate.expr, TYPE_VECTOR, "aggregation expression");
    if (n->aggregate.op == AGG_COUNT_VALUES)
        expect_type(p, n->aggregate.param, TYPE_STRING, "aggregation parameter");
    else if (n->aggregate.param)
        expect_type(p, n->aggregate.param, TYPE_SCALAR, "aggregation parameter");
}

/* anchored and smoothed ranges mean something to a few functions only. */
static void check_extension(struct parser *p, const struct node *n)
{
    const struct promql_function *f = n->call.function;
    bool increase = f->id == FUNCTION_DELTA || f->id == FUNCTION_INCREASE || f->id == FUNCTION_RATE;
    bool counting = increase || f->id == FUNCTION_CHANGES || f->id == FUNCTION_RESETS;
    for (uint32_t i = 0; i < n->call.args.count; i++) {
        const struct node *arg = promql_unparen(n->call.args.items[i]);
        if (arg->kind != NODE_MATRIX)
            continue;
        if (arg->inner.expr->smoothed && !increase)
            parser_fail(
                p, n->pos_start,
                "smoothed modifier can only be used with: delta, increase, rate - not with %s",
                f->name);
        if (arg->inner.expr->anchored && !counting)
            parser_fail(p, n->pos_start,
                        "anchored modifier can only be used with: changes, delta, increase, rate, "
                        "resets - not with %s",
                        f->name);
    }
}

void promql_check_call(struct parser *p, struct node *n)
{
    const struct promql_function *f = n->call.function;
    unsigned count = n->call.args.count, most = (unsigned)f->arg_count;
    char context[80];
    if (f->variadic == 0 && count != most)
        parser_fail(p, n->pos_start, "expected %u argument(s) in call to \"%s\", got %u", most,
                    f->name, count);
    unsigned least = f->variadic > 0    ? most - (unsigned)f->variadic
                     : f->variadic == 0 ? most
                                        : most - 1;
    if (count < least)
        parser_fail(p, n->pos_start, "expected at least %u argument(s) in call to \"%s\", got %u",
                    least, f->name, count);
    if (f->variadic > 0 && count > most)
        parser_fail(p, n->pos_start, "expected at most %u argument(s) in call to \"%s\", got %u",
                    most, f->name, count);
    snprintf(context, sizeof context, "call to function \"%s\"", f->name);
    for (unsigned i = 0; i < count && p->err == ERR_OK; i++) {
        unsigned k = MIN(i, MIN(most, (unsigned)FUNCTION_ARGS_MAX) - 1);
        expect_type(p, n->call.args.items[i], f->args[k], context);
    }
    if (f->id == FUNCTION_INFO && count > 1 && p->err == ERR_OK) {
        const struct node *labels = n->call.args.items[1];
        if (labels->kind != NODE_SELECTOR)
            parser_fail(p, labels->pos_start, "expected label selectors only");
        else if (labels->selector.name.size && p->lexer.text.data[labels->pos_start] != '{')
            parser_fail(p, labels->pos_start,
                        "expected label selectors only, got vector selector instead");
    }
    if (p->err == ERR_OK)
        check_extension(p, n);
}

static void check_operand_types(struct parser *p, const struct node *n)
{
    const struct node *l = n->binary.lhs, *r = n->binary.rhs;
    bool scalars = l->type == TYPE_SCALAR && r->type == TYPE_SCALAR;
    if ((l->type != TYPE_SCALAR && l->type != TYPE_VECTOR) ||
        (r->type != TYPE_SCALAR && r->type != TYPE_VECTOR)) {
        const struct node *bad = l->type != TYPE_SCALAR && l->type != TYPE_VECTOR ? l : r;
        parser_fail(p, bad->pos_start,
                    "binary expression must contain only scalar and instant vector types");
    } else if (op_is_set(n->binary.op) && (l->type == TYPE_SCALAR || r->type == TYPE_SCALAR)) {
        parser_fail(p, n->pos_start, "set operator \"%s\" not allowed in binary scalar expression",
                    promql_op_text(n->binary.op));
    } else if (op_is_comparison(n->binary.op) && scalars && !n->binary.returns_bool) {
        parser_fail(p, n->pos_start, "comparisons between scalars must use BOOL modifier");
    } else if (n->binary.has_matching && (l->type == TYPE_SCALAR || r->type == TYPE_SCALAR)) {
        parser_fail(p, n->pos_start, "vector matching only allowed between instant vectors");
    }
}

void promql_check_binary(struct parser *p, struct node *n, uint32_t op_pos)
{
    enum binary_op op = n->binary.op;
    if (p->err != ERR_OK)
        return;
    if (n->binary.returns_bool && !op_is_comparison(op))
        parser_fail(p, op_pos, "bool modifier can only be used on comparison operators");
    if (op_is_set(op) && n->binary.card != CARD_ONE_TO_ONE)
        parser_fail(p, op_pos, "no grouping allowed for \"%s\" operation", promql_op_text(op));
    if (op_is_set(op) && (n->binary.fill_left_set || n->binary.fill_right_set))
        parser_fail(p, op_pos, "filling in missing series not allowed for set operators");
    for (uint32_t i = 0; n->binary.on && i < n->binary.labels.count; i++)
        for (uint32_t k = 0; k < n->binary.include.count; k++)
            if (bytes_equal(n->binary.labels.items[i], n->binary.include.items[k]))
                parser_fail(p, n->pos_start,
                            "label \"%.*s\" must not occur in ON and GROUP clause at once",
                            BYTES_ARG(n->binary.labels.items[i]));
    check_operand_types(p, n);
    if (n->binary.lhs->type == TYPE_SCALAR && n->binary.rhs->type == TYPE_SCALAR)
        n->type = TYPE_SCALAR;
}

/* --- duration expressions ---------------------------------------------------------------------- */

bool promql_duration_needs_grid(const struct node *d)
{
    if (!d)
        return false;
    return d->duration.op == DUR_STEP || d->duration.op == DUR_RANGE ||
           promql_duration_needs_grid(d->duration.lhs) ||
           promql_duration_needs_grid(d->duration.rhs);
}

bool promql_duration_eval(const struct node *d, double step_s, double range_s, double *out_s,
                          struct err_msg *why)
{
    double l = 0, r = 0;
    if ((d->duration.lhs && !promql_duration_eval(d->duration.lhs, step_s, range_s, &l, why)) ||
        (d->duration.rhs && !promql_duration_eval(d->duration.rhs, step_s, range_s, &r, why)))
        return false;
    switch (d->duration.op) {
    case DUR_NUMBER: *out_s = d->duration.value; break;
    case DUR_STEP: *out_s = step_s; break;
    case DUR_RANGE: *out_s = range_s; break;
    case DUR_ADD: *out_s = l + r; break;
    case DUR_SUB: *out_s = l - r; break;
    case DUR_MUL: *out_s = l * r; break;
    case DUR_POW: *out_s = pow(l, r); break;
    case DUR_NEG: *out_s = -l; break;
    case DUR_MIN: *out_s = MIN(l, r); break;
    case DUR_MAX: *out_s = MAX(l, r); break;
    case DUR_PAREN:
    case DUR_POS: *out_s = l; break;
    case DUR_DIV:
    case DUR_MOD:
        if (r == 0) {
            (void)err_set(why, ERR_INVALID,
                          d->duration.op == DUR_DIV ? "division by zero" : "modulo by zero");
            return false;
        }
        *out_s = d->duration.op == DUR_DIV ? l / r : fmod(l, r);
        break;
    }
    if (!isfinite(*out_s)) {
        (void)err_set(why, ERR_INVALID, "duration out of range");
        return false;
    }
    return true;
}
