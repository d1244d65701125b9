#include "query/promql_functions.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/json_out.h"
#include <inttypes.h>
#include <math.h>

#define LINE_MAX_CHARS 100u

static void print_quoted(struct buf *out, struct bytes s)
{
    buf_u8(out, '"');
    for (size_t i = 0; i < s.size; i++) {
        uint8_t c = s.data[i];
        if (c == '"' || c == '\\')
            buf_printf(out, "\\%c", c);
        else if (c == '\n')
            buf_str(out, "\\n");
        else if (c == '\t')
            buf_str(out, "\\t");
        else if (c == '\r')
            buf_str(out, "\\r");
        else if (c < 32 || c == 127)
            buf_printf(out, "\\x%02x", c);
        else
            buf_u8(out, c);
    }
    buf_u8(out, '"');
}

static bool is_plain_name(struct bytes s, bool colon)
{
    for (size_t i = 0; i < s.size; i++) {
        uint8_t c = s.data[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
                  (colon && c == ':') || (i > 0 && c >= '0' && c <= '9');
        if (!ok)
            return false;
    }
    return s.size > 0;
}

static void print_name(struct buf *out, struct bytes s)
{
    if (is_plain_name(s, false))
        buf_bytes_append(out, s);
    else
        print_quoted(out, s);
}

static void print_duration_ms(struct buf *out, int64_t ms)
{
    char text[48];
    clock_format_duration(ms < 0 ? -ms : ms, text);
    buf_printf(out, "%s%s", ms < 0 ? "-" : "", text);
}

static void print_float(struct buf *out, double v)
{
    char text[JSON_OUT_PROM_FLOAT_MAX];
    size_t n = json_out_prom_float(v, text);
    buf_append(out, text, n);
}

static void print_duration_expr(struct buf *out, const struct node *d)
{
    static const char *const ops[] = {[DUR_ADD] = "+", [DUR_SUB] = "-", [DUR_MUL] = "*",
                                      [DUR_DIV] = "/", [DUR_MOD] = "%", [DUR_POW] = "^"};
    switch (d->duration.op) {
    case DUR_NUMBER:
        if (d->duration.is_duration)
            print_duration_ms(out, llround(d->duration.value * 1000));
        else
            print_float(out, d->duration.value);
        return;
    case DUR_STEP: buf_str(out, "step()"); return;
    case DUR_RANGE: buf_str(out, "range()"); return;
    case DUR_NEG:
    case DUR_POS:
        buf_u8(out, d->duration.op == DUR_NEG ? '-' : '+');
        print_duration_expr(out, d->duration.lhs);
        return;
    case DUR_PAREN:
        buf_u8(out, '(');
        print_duration_expr(out, d->duration.lhs);
        buf_u8(out, ')');
        return;
    case DUR_MIN:
    case DUR_MAX:
        buf_str(out, d->duration.op == DUR_MIN ? "min_of(" : "max_of(");
        print_duration_expr(out, d->duration.lhs);
        buf_str(out, ", ");
        print_duration_expr(out, d->duration.rhs);
        buf_u8(out, ')');
        return;
    default:
        print_duration_expr(out, d->duration.lhs);
        buf_printf(out, " %s ", ops[d->duration.op]);
        print_duration_expr(out, d->duration.rhs);
    }
}

static void print_span(struct buf *out, int64_t ms, const struct node *expr)
{
    if (expr)
        print_duration_expr(out, expr);
    else
        print_duration_ms(out, ms);
}

static void print_modifiers(struct buf *out, const struct node *n)
{
    if (n->smoothed || n->anchored)
        buf_str(out, n->smoothed ? " smoothed" : " anchored");
    if (n->at == AT_START || n->at == AT_END)
        buf_str(out, n->at == AT_START ? " @ start()" : " @ end()");
    else if (n->at == AT_TIME)
        buf_printf(out, " @ %.3f", (double)n->at_ms / 1000);
    if (n->offset_expr || n->offset_ms) {
        buf_str(out, " offset ");
        print_span(out, n->offset_ms, n->offset_expr);
    }
}

static void print_selector(struct buf *out, const struct node *n)
{
    static const char *const ops[] = {"=", "!=", "=~", "!~"};
    struct bytes name = n->selector.name;
    bool plain = is_plain_name(name, true);
    if (plain)
        buf_bytes_append(out, name);
    uint32_t printed = 0;
    for (uint32_t i = 0; i < n->selector.count; i++) {
        const struct node_matcher *m = &n->selector.matchers[i];
        bool is_name = name.size && m->value.data == name.data && m->op == TSDB_MATCH_EQ &&
                       bytes_equal_str(m->name, "__name__");
        if (is_name && plain)
            continue;
        buf_str(out, printed++ ? "," : "{");
        if (is_name) {
            print_quoted(out, name);
            continue;
        }
        print_name(out, m->name);
        buf_str(out, ops[m->op]);
        print_quoted(out, m->value);
    }
    if (printed)
        buf_u8(out, '}');
    else if (!name.size)
        buf_str(out, "{}");
}

static void print_names(struct buf *out, const struct name_list *l)
{
    buf_u8(out, '(');
    for (uint32_t i = 0; i < l->count; i++) {
        buf_str(out, i ? ", " : "");
        print_name(out, l->items[i]);
    }
    buf_u8(out, ')');
}

static void print_aggregate_head(struct buf *out, const struct node *n)
{
    buf_str(out, promql_aggregate_text(n->aggregate.op));
    if (n->aggregate.without || n->aggregate.labels.count) {
        buf_str(out, n->aggregate.without ? " without " : " by ");
        print_names(out, &n->aggregate.labels);
        buf_u8(out, ' ');
    }
}

static void print_operator(struct buf *out, const struct node *n)
{
    buf_str(out, promql_op_text(n->binary.op));
    if (n->binary.returns_bool)
        buf_str(out, " bool");
    if (n->binary.on || n->binary.labels.count) {
        buf_str(out, n->binary.on ? " on " : " ignoring ");
        print_names(out, &n->binary.labels);
    }
    if (n->binary.card != CARD_ONE_TO_ONE) {
        buf_str(out, n->binary.card == CARD_MANY_TO_ONE ? " group_left " : " group_right ");
        print_names(out, &n->binary.include);
    }
    bool l = n->binary.fill_left_set, r = n->binary.fill_right_set;
    bool same = l && r && memcmp(&n->binary.fill_left, &n->binary.fill_right, sizeof(double)) == 0;
    if (l) {
        buf_str(out, same ? " fill (" : " fill_left (");
        print_float(out, n->binary.fill_left);
        buf_u8(out, ')');
    }
    if (r && !same) {
        buf_str(out, " fill_right (");
        print_float(out, n->binary.fill_right);
        buf_u8(out, ')');
    }
}

static void print_range(struct buf *out, const struct node *n)
{
    buf_u8(out, '[');
    print_span(out, n->range_ms, n->range_expr);
    if (n->kind == NODE_SUBQUERY) {
        buf_u8(out, ':');
        if (n->has_step)
            print_span(out, n->step_ms, n->step_expr);
    }
    buf_u8(out, ']');
}

static void print_number(struct buf *out, const struct node *n)
{
    if (n->number.is_duration)
        print_duration_ms(out, llround(n->number.value * 1000));
    else
        print_float(out, n->number.value);
}

void promql_print(const struct node *n, struct buf *out)
{
    switch (n->kind) {
    case NODE_NUMBER: print_number(out, n); break;
    case NODE_STRING: print_quoted(out, n->string); break;
    case NODE_SELECTOR:
        print_selector(out, n);
        print_modifiers(out, n);
        break;
    case NODE_MATRIX:
        print_selector(out, n->inner.expr);
        print_range(out, n);
        print_modifiers(out, n->inner.expr);
        break;
    case NODE_SUBQUERY:
        promql_print(n->inner.expr, out);
        print_range(out, n);
        print_modifiers(out, n);
        break;
    case NODE_UNARY:
        buf_u8(out, n->unary.negative ? '-' : '+');
        promql_print(n->unary.expr, out);
        break;
    case NODE_BINARY:
        promql_print(n->binary.lhs, out);
        buf_u8(out, ' ');
        print_operator(out, n);
        buf_u8(out, ' ');
        promql_print(n->binary.rhs, out);
        break;
    case NODE_AGGREGATE:
        print_aggregate_head(out, n);
        buf_u8(out, '(');
        if (n->aggregate.param) {
            promql_print(n->aggregate.param, out);
            buf_str(out, ", ");
        }
        promql_print(n->aggregate.expr, out);
        buf_u8(out, ')');
        break;
    case NODE_CALL:
        buf_printf(out, "%s(", n->call.function->name);
        for (uint32_t i = 0; i < n->call.args.count; i++) {
            buf_str(out, i ? ", " : "");
            promql_print(n->call.args.items[i], out);
        }
        buf_u8(out, ')');
        break;
    case NODE_PAREN:
        buf_u8(out, '(');
        promql_print(n->inner.expr, out);
        buf_u8(out, ')');
        break;
    case NODE_DURATION: print_duration_expr(out, n); break;
    }
}

/* --- laid out over lines ----------------------------------------------------------------------- */

static void indent(struct buf *out, unsigned level)
{
    for (unsigned i = 0; i < level; i++)
        buf_str(out, "  ");
}

static bool fits(const struct node *n, unsigned level)
{
    struct buf line;
    buf_init(&line, 1 << 20);
    promql_print(n, &line);
    bool yes = buf_ok(&line) && line.size <= LINE_MAX_CHARS - MIN(level * 2, LINE_MAX_CHARS);
    buf_done(&line);
    return yes;
}

static void pretty(const struct node *n, struct buf *out, unsigned level);

static void pretty_block(struct buf *out, const struct node *const *items, uint32_t count,
                         unsigned level)
{
    buf_str(out, "(\n");
    for (uint32_t i = 0; i < count; i++) {
        pretty(items[i], out, level + 1);
        buf_str(out, i + 1 < count ? ",\n" : "\n");
    }
    indent(out, level);
    buf_u8(out, ')');
}

static void pretty_split(const struct node *n, struct buf *out, unsigned level)
{
    switch (n->kind) {
    case NODE_BINARY:
        pretty(n->binary.lhs, out, level + 1);
        buf_u8(out, '\n');
        indent(out, level);
        print_operator(out, n);
        buf_u8(out, '\n');
        pretty(n->binary.rhs, out, level + 1);
        break;
    case NODE_AGGREGATE: {
        const struct node *items[2] = {n->aggregate.param, n->aggregate.expr};
        indent(out, level);
        print_aggregate_head(out, n);
        pretty_block(out, items + (n->aggregate.param ? 0 : 1), n->aggregate.param ? 2 : 1, level);
        break;
    }
    case NODE_CALL:
        indent(out, level);
        buf_str(out, n->call.function->name);
        pretty_block(out, (const struct node *const *)n->call.args.items, n->call.args.count,
                     level);
        break;
    case NODE_PAREN:
        indent(out, level);
        pretty_block(out, (const struct node *const *)&n->inner.expr, 1, level);
        break;
    case NODE_SUBQUERY:
        pretty(n->inner.expr, out, level);
        print_range(out, n);
        print_modifiers(out, n);
        break;
    case NODE_UNARY: {
        size_t at = out->size;
        pretty(n->unary.expr, out, level);
        struct buf rest;
        buf_init(&rest, 1 << 22);
        buf_append(&rest, out->data + at, out->size - at);
        out->size = at;
        indent(out, level);
        buf_u8(out, n->unary.negative ? '-' : '+');
        buf_bytes_append(out, bytes_trim(buf_bytes(&rest)));
        buf_done(&rest);
        break;
    }
    default: indent(out, level); promql_print(n, out);
    }
}

static void pretty(const struct node *n, struct buf *out, unsigned level)
{
    if (fits(n, level)) {
        indent(out, level);
        promql_print(n, out);
    } else {
        pretty_split(n, out, level);
    }
}

void promql_print_pretty(const struct node *n, struct buf *out)
{
    pretty(n, out, 0);
}
