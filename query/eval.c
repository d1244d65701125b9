#include "query/eval.h"

#include "base/clock.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

bool eval_fail(struct eval *e, enum err code, const char *fmt, ...)
{
    if (e->err != ERR_OK)
        return false;
    e->err = code;
    if (e->msg) {
        va_list args;
        va_start(args, fmt);
        vsnprintf(e->msg->text, sizeof e->msg->text, fmt, args);
        va_end(args);
    }
    return false;
}

bool eval_nomem(struct eval *e)
{
    return eval_fail(e, ERR_LIMIT, "query processing would use too much memory");
}

bool eval_tick(struct eval *e, uint64_t samples)
{
    if (e->err != ERR_OK)
        return false;
    e->samples += samples;
    if (e->samples > e->limits.samples_max)
        return eval_fail(e, ERR_LIMIT,
                         "query processing would load too many samples into memory in query "
                         "execution");
    if (e->limits.cancel && atomic_load_explicit(e->limits.cancel, memory_order_relaxed))
        return eval_fail(e, ERR_CANCELLED, "query was canceled in expression evaluation");
    if (e->limits.deadline_mono_ns && clock_mono_ns() > e->limits.deadline_mono_ns)
        return eval_fail(e, ERR_TIMEOUT, "query timed out in expression evaluation");
    return true;
}

static void keep_note(struct eval *e, struct note **list, size_t *count, struct bytes text)
{
    for (const struct note *k = *list; k; k = k->next)
        if (bytes_equal(k->text, text))
            return;
    struct note *k = arena_alloc(e->arena, sizeof *k);
    if (!k || *count >= 100)
        return; /* a note is worth less than the answer */
    k->text = arena_copy(e->arena, text);
    k->next = *list;
    *list = k;
    ++*count;
}

PRINTF_LIKE(6, 0)
static void add_note(struct eval *e, struct note **list, size_t *count, const struct node *at,
                     const char *prefix, const char *fmt, va_list args)
{
    char text[512];
    unsigned line, column;
    int n = snprintf(text, sizeof text, "%s", prefix);
    vsnprintf(text + n, sizeof text - (size_t)n, fmt, args);
    promql_position(e->text, at->pos_start, &line, &column);
    keep_note(e, list, count, arena_printf(e->scratch, "%s (%u:%u)", text, line, column));
}

void eval_take_notes(struct eval *e, struct eval *from)
{
    for (const struct note *k = from->warnings; k; k = k->next)
        keep_note(e, &e->warnings, &e->warning_count, k->text);
    for (const struct note *k = from->infos; k; k = k->next)
        keep_note(e, &e->infos, &e->info_count, k->text);
    from->warnings = from->infos = NULL;
    from->warning_count = from->info_count = 0;
}

void eval_warn(struct eval *e, const struct node *at, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    add_note(e, &e->warnings, &e->warning_count, at, "PromQL warning: ", fmt, args);
    va_end(args);
}

void eval_info(struct eval *e, const struct node *at, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    add_note(e, &e->infos, &e->info_count, at, "PromQL info: ", fmt, args);
    va_end(args);
}

struct bytes eval_for_metric(struct eval *e, struct tsdb_labels l)
{
    struct bytes name = tsdb_labels_get(l, BYTES_LIT("__name__"));
    return name.size
               ? arena_printf(e->scratch, " for metric name \"" BYTES_FMT "\"", BYTES_ARG(name))
               : BYTES_NONE;
}

void eval_mixed_warning(struct eval *e, const struct node *at, struct tsdb_labels l)
{
    struct bytes name = eval_for_metric(e, l);
    eval_warn(e, at, "encountered a mix of histograms and floats" BYTES_FMT, BYTES_ARG(name));
}

const struct regex_re2 *eval_regex(struct eval *e, struct bytes pattern)
{
    for (const struct regex_entry *r = e->regexes; r; r = r->next)
        if (bytes_equal(r->pattern, pattern))
            return r->re;
    struct regex_entry *r = arena_alloc(e->arena, sizeof *r);
    if (!r) {
        eval_nomem(e);
        return NULL;
    }
    struct err_msg why;
    r->re = regex_re2_new(pattern, &why);
    if (!r->re) {
        eval_fail(e, ERR_EXECUTION, "%s", why.text);
        return NULL;
    }
    r->pattern = pattern;
    r->next = e->regexes;
    e->regexes = r;
    return r->re;
}

bool eval_string(struct eval *e, const struct node *n, struct bytes *out)
{
    n = promql_unparen(n);
    if (n->kind != NODE_STRING)
        return eval_fail(e, ERR_INVALID, "expected a string literal");
    *out = n->string;
    return true;
}

/* --- scalars ----------------------------------------------------------------------------------- */

static bool scalar_binary(struct eval *e, const struct node *n, struct grid g, double *out)
{
    double *r = arena_alloc_raw(e->arena, g.count * sizeof *r, 8);
    if (!r)
        return eval_nomem(e);
    if (!eval_scalar(e, n->binary.lhs, g, out) || !eval_scalar(e, n->binary.rhs, g, r))
        return false;
    for (size_t i = 0; i < g.count; i++)
        out[i] = binary_scalar(n->binary.op, out[i], r[i]);
    return true;
}

bool eval_scalar(struct eval *e, const struct node *n, struct grid g, double *out)
{
    switch (n->kind) {
    case NODE_NUMBER:
        for (size_t i = 0; i < g.count; i++)
            out[i] = n->number.value;
        return true;
    case NODE_PAREN: return eval_scalar(e, n->inner.expr, g, out);
    case NODE_UNARY:
        if (!eval_scalar(e, n->unary.expr, g, out))
            return false;
        for (size_t i = 0; i < g.count && n->unary.negative; i++)
            out[i] = -out[i];
        return true;
    case NODE_BINARY: return scalar_binary(e, n, g, out);
    case NODE_CALL: return call_scalar(e, n, g, out);
    default: CHECK_UNREACHABLE();
    }
}

/* --- vectors ----------------------------------------------------------------------------------- */

static bool is_range_call(const struct node *n)
{
    return n->kind == NODE_CALL && range_function_of(n->call.function->id) != NULL;
}

bool eval_each(struct eval *e, const struct node *n, struct grid g, row_fn fn, void *ctx)
{
    const struct node *inner = promql_unparen(n);
    if (inner->kind == NODE_SELECTOR || is_range_call(inner)) {
        struct explain_place above = explain_enter(e, inner);
        bool ok = inner->kind == NODE_SELECTOR ? select_each(e, inner, g, SELECT_VALUE, fn, ctx)
                                               : range_each(e, inner, g, fn, ctx);
        explain_leave(e, above, 0);
        return ok;
    }
    struct rows rows = {0};
    if (!eval_rows(e, inner, g, &rows) || !rows_sort(e, &rows))
        return false;
    for (size_t i = 0; i < rows.count; i++)
        if (!fn(ctx, &rows.items[i]))
            return false;
    return true;
}

static bool negate(struct eval *e, const struct node *n, struct grid g, struct rows *out)
{
    if (!eval_rows(e, n->unary.expr, g, out))
        return false;
    for (size_t k = 0; k < out->count && n->unary.negative; k++) {
        struct row *r = &out->items[k];
        r->drop_name = true;
        for (size_t i = 0; i < g.count; i++) {
            if (r->has[i] == CELL_HIST)
                r->h[i] = query_hist_scale(r->h[i], -1, e->arena);
            if (r->has[i] == CELL_HIST && !r->h[i])
                return eval_nomem(e);
            r->v[i] = r->has[i] == CELL_FLOAT ? -r->v[i] : 0;
        }
    }
    return true;
}

bool eval_rows(struct eval *e, const struct node *n, struct grid g, struct rows *out)
{
    struct keep keep = {e, out, g.count};
    bool ok;
    if (++e->depth > QUERY_DEPTH_MAX * 8)
        return eval_fail(e, ERR_EXECUTION, "expression is nested too deeply");
    bool is_paren = n->kind == NODE_PAREN;
    struct explain_place above = is_paren ? (struct explain_place){0} : explain_enter(e, n);
    switch (n->kind) {
    case NODE_PAREN: ok = eval_rows(e, n->inner.expr, g, out); break;
    case NODE_SELECTOR: ok = select_each(e, n, g, SELECT_VALUE, rows_keep, &keep); break;
    case NODE_UNARY: ok = negate(e, n, g, out); break;
    case NODE_BINARY: ok = binary_rows(e, n, g, out); break;
    case NODE_AGGREGATE: ok = aggregate_rows(e, n, g, out); break;
    case NODE_CALL:
        ok = is_range_call(n) ? range_each(e, n, g, rows_keep, &keep) : call_rows(e, n, g, out);
        break;
    default: CHECK_UNREACHABLE();
    }
    if (!is_paren)
        explain_leave(e, above,
                      !ok || n->kind == NODE_SELECTOR || is_range_call(n) ? 0 : out->count);
    e->depth--;
    return ok && e->err == ERR_OK &&
           (!e->limits.drop_names_at_once || rows_settle(e, out, g.count, true));
}
