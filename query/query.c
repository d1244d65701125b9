#include "query/query.h"

#include "query/eval.h"
#include "query/query_explain.h"
#include "query/promql_parse.h"

#include "base/stats.h"
#include <stdlib.h>

STATS_COUNTER(queries_bad, "telltale_query_refused_total", "reason=\"parse\"",
              "Queries that were refused or ended early.");
STATS_COUNTER(queries_limit, "telltale_query_refused_total", "reason=\"limit\"",
              "Queries that were refused or ended early.");
STATS_COUNTER(queries_timeout, "telltale_query_refused_total", "reason=\"timeout\"",
              "Queries that were refused or ended early.");
STATS_COUNTER(queries_cancelled, "telltale_query_refused_total", "reason=\"cancelled\"",
              "Queries that were refused or ended early.");
STATS_COUNTER(queries_failed, "telltale_query_refused_total", "reason=\"execution\"",
              "Queries that were refused or ended early.");

#define SCRATCH_BYTES_MAX (256u << 20)

const char *query_type_name(enum query_type t)
{
    static const char *const names[] = {"scalar", "vector", "matrix", "string"};
    return names[t];
}

const char *query_error_type(enum err e)
{
    switch (e) {
    case ERR_INVALID:
    case ERR_TOO_DEEP:
    case ERR_TOO_LARGE: return "bad_data";
    case ERR_EXECUTION:
    case ERR_LIMIT: return "execution";
    case ERR_TIMEOUT: return "timeout";
    case ERR_CANCELLED: return "canceled";
    case ERR_UNAVAILABLE: return "unavailable";
    case ERR_NOT_FOUND: return "not_found";
    default: return "internal";
    }
}

int query_error_status(enum err e)
{
    switch (e) {
    case ERR_INVALID:
    case ERR_TOO_DEEP:
    case ERR_TOO_LARGE: return 400;
    case ERR_EXECUTION:
    case ERR_LIMIT: return 422;
    case ERR_TIMEOUT:
    case ERR_UNAVAILABLE: return 503;
    case ERR_CANCELLED: return 499;
    case ERR_NOT_FOUND: return 404;
    default: return 500;
    }
}

static void count_failure(enum err e)
{
    switch (e) {
    case ERR_OK: break;
    case ERR_INVALID: stats_add(&queries_bad, 1); break;
    case ERR_LIMIT: stats_add(&queries_limit, 1); break;
    case ERR_TIMEOUT: stats_add(&queries_timeout, 1); break;
    case ERR_CANCELLED: stats_add(&queries_cancelled, 1); break;
    default: stats_add(&queries_failed, 1);
    }
}

/* --- rows to results --------------------------------------------------------------------------- */

static bool fill_row(struct eval *e, const struct row *r, struct grid g, struct query_row *out)
{
    size_t n = 0, k = 0;
    bool hists = false;
    for (size_t i = 0; i < g.count; i++) {
        n += r->has[i] != CELL_NONE;
        hists |= r->has[i] == CELL_HIST;
    }
    int64_t *t = ARENA_ARRAY(e->arena, int64_t, n);
    double *v = ARENA_ARRAY(e->arena, double, n);
    const struct query_hist **h = hists ? arena_alloc(e->arena, n * sizeof *h) : NULL;
    if (!t || !v || (hists && !h))
        return eval_nomem(e);
    for (size_t i = 0; i < g.count; i++) {
        if (r->has[i] == CELL_NONE)
            continue;
        t[k] = grid_time(g, i);
        v[k] = r->has[i] == CELL_FLOAT ? r->v[i] : 0;
        if (r->has[i] == CELL_HIST)
            h[k] = r->h[i];
        k++;
    }
    *out = (struct query_row){r->labels, n, t, v, h};
    return true;
}

static int compare_rows(const void *x, const void *y)
{
    return tsdb_labels_compare(((const struct query_row *)x)->labels,
                               ((const struct query_row *)y)->labels);
}

static bool finish_rows(struct eval *e, struct rows *rows, struct grid g, bool sorted,
                        struct query_result *out)
{
    if (!rows_settle(e, rows, g.count, true))
        return false;
    struct query_row *list = ARENA_ARRAY(e->arena, struct query_row, rows->count + 1);
    if (!list)
        return eval_nomem(e);
    for (size_t k = 0; k < rows->count; k++)
        if (!fill_row(e, &rows->items[k], g, &list[k]))
            return false;
    if (sorted && rows->count)
        qsort(list, rows->count, sizeof *list, compare_rows);
    out->rows = list;
    out->count = rows->count;
    return true;
}

static bool scalar_result(struct eval *e, const struct node *n, struct grid g, bool range,
                          struct query_result *out)
{
    struct row r;
    struct query_row *row = arena_alloc(e->arena, sizeof *row);
    if (!row || !row_init(e, &r, g.count))
        return eval_nomem(e);
    memset(r.has, CELL_FLOAT, g.count);
    out->type = range ? QUERY_MATRIX : QUERY_SCALAR;
    out->rows = row;
    out->count = 1;
    return eval_scalar(e, n, g, r.v) && fill_row(e, &r, g, row);
}

static bool evaluate(struct eval *e, const struct node *n, struct grid g, bool range,
                     struct query_result *out)
{
    struct rows rows = {0};
    switch (n->type) {
    case TYPE_STRING: out->type = QUERY_STRING; return eval_string(e, n, &out->string);
    case TYPE_SCALAR: return scalar_result(e, n, g, range, out);
    case TYPE_MATRIX: {
        struct query_row *list = NULL;
        out->type = QUERY_MATRIX;
        if (!range_matrix(e, n, g.start, &list, &out->count))
            return false;
        if (out->count)
            qsort(list, out->count, sizeof *list, compare_rows);
        out->rows = list;
        return true;
    }
    default:
        out->type = range ? QUERY_MATRIX : QUERY_VECTOR;
        return eval_rows(e, n, g, &rows) && finish_rows(e, &rows, g, range, out);
    }
}

static int compare_bytes(const void *x, const void *y)
{
    return bytes_compare(*(const struct bytes *)x, *(const struct bytes *)y);
}

static const struct bytes *notes_list(struct eval *e, const struct note *n, size_t count,
                                      size_t *out_count)
{
    struct bytes *list = ARENA_ARRAY(e->arena, struct bytes, count + 1);
    *out_count = 0;
    if (!list)
        return NULL;
    for (; n; n = n->next)
        list[(*out_count)++] = n->text;
    if (*out_count)
        qsort(list, *out_count, sizeof *list, compare_bytes);
    return list;
}

static enum err run(struct query_source *src, const struct query_limits *limits, struct bytes text,
                    struct grid g, int64_t end_ms, bool range, struct arena *a,
                    struct query_result *out, struct err_msg *msg)
{
    struct node *n;
    struct err_msg local;
    enum err err = promql_parse(text, a, &n, msg ? msg : &local);
    if (err != ERR_OK)
        return err;
    if (range && n->type != TYPE_SCALAR && n->type != TYPE_VECTOR)
        return err_set(msg, ERR_INVALID,
                       "invalid expression type \"%s\" for range query, must be Scalar or instant "
                       "Vector",
                       promql_type_text(n->type));
    struct eval e = {.arena = a,
                     .src = src,
                     .text = text,
                     .start = g.start,
                     .end = end_ms,
                     .step = range ? g.step : 0,
                     .msg = msg ? msg : &local};
    if (limits)
        e.limits = *limits;
    if (!e.limits.samples_max)
        e.limits.samples_max = 50000000;
    if (!e.limits.series_max)
        e.limits.series_max = 1000000;
    if (!e.limits.lookback_ms)
        e.limits.lookback_ms = QUERY_LOOKBACK_MS;
    if (!e.limits.subquery_step_ms)
        e.limits.subquery_step_ms = QUERY_SUBQUERY_STEP_MS;
    e.scratch = arena_new(SCRATCH_BYTES_MAX);
    if (!e.scratch)
        return err_set(msg, ERR_NOMEM, "out of memory");
    struct query_result r = {.at_ms = end_ms};
    if (e.limits.explain)
        explain_begin(e.limits.explain, n);
    if (evaluate(&e, n, g, range, &r) && e.err == ERR_OK) {
        r.warnings = notes_list(&e, e.warnings, e.warning_count, &r.warning_count);
        r.infos = notes_list(&e, e.infos, e.info_count, &r.info_count);
        r.samples = e.samples_read;
        r.made_of = e.made_of;
        *out = r;
    }
    for (struct regex_entry *x = e.regexes; x; x = x->next)
        regex_re2_free(x->re);
    arena_free(e.scratch);
    return e.err;
}

enum err query_instant(struct query_source *src, const struct query_limits *limits,
                       struct bytes text, int64_t at_ms, struct arena *a, struct query_result *out,
                       struct err_msg *msg)
{
    struct grid g = {at_ms, 1, 1};
    enum err e = run(src, limits, text, g, at_ms, false, a, out, msg);
    count_failure(e);
    return e;
}

enum err query_range(struct query_source *src, const struct query_limits *limits, struct bytes text,
                     int64_t start_ms, int64_t end_ms, int64_t step_ms, struct arena *a,
                     struct query_result *out, struct err_msg *msg)
{
    if (step_ms <= 0)
        return err_set(msg, ERR_INVALID,
                       "zero or negative query resolution step widths are not accepted");
    if (end_ms < start_ms)
        return err_set(msg, ERR_INVALID, "end timestamp must not be before start time");
    int64_t span;
    if (__builtin_sub_overflow(end_ms, start_ms, &span) || span / step_ms >= QUERY_STEPS_MAX)
        return err_set(msg, ERR_INVALID, "range has more than %u steps", QUERY_STEPS_MAX);
    struct grid g = {start_ms, step_ms, (size_t)(span / step_ms) + 1};
    enum err e = run(src, limits, text, g, end_ms, true, a, out, msg);
    count_failure(e);
    return e;
}

/* --- texts and selectors ----------------------------------------------------------------------- */

static enum err print_with(void (*print)(const struct node *, struct buf *), struct bytes text,
                           struct arena *a, struct bytes *out, struct err_msg *msg)
{
    struct node *n;
    struct buf b;
    enum err e = promql_parse(text, a, &n, msg);
    if (e != ERR_OK)
        return e;
    buf_init(&b, 4 << 20);
    print(n, &b);
    struct bytes copy = buf_ok(&b) ? arena_copy(a, buf_bytes(&b)) : BYTES_NONE;
    buf_done(&b);
    if (!copy.data)
        return err_set(msg, ERR_LIMIT, "query is too large");
    *out = copy;
    return ERR_OK;
}

enum err query_format(struct bytes text, struct arena *a, struct bytes *out, struct err_msg *msg)
{
    return print_with(promql_print_pretty, text, a, out, msg);
}

enum err query_print(struct bytes text, struct arena *a, struct bytes *out, struct err_msg *msg)
{
    return print_with(promql_print, text, a, out, msg);
}

enum err query_check(struct bytes text, struct arena *a, enum query_type *out_type,
                     struct err_msg *msg)
{
    static const enum query_type types[] = {[TYPE_SCALAR] = QUERY_SCALAR,
                                            [TYPE_VECTOR] = QUERY_VECTOR,
                                            [TYPE_MATRIX] = QUERY_MATRIX,
                                            [TYPE_STRING] = QUERY_STRING};
    struct node *n;
    enum err e = promql_parse(text, a, &n, msg);
    if (e == ERR_OK && out_type)
        *out_type = types[n->type];
    return e;
}

struct query_selector {
    struct arena *arena;
    struct tsdb_matcher *matchers;
    size_t count;
};

static bool match_regex(void *ctx, struct bytes value)
{
    return regex_re2_matches(ctx, value);
}

static enum err selector_of(const struct node *n, struct query_selector **out, struct err_msg *msg)
{
    struct arena *a = arena_new(0);
    struct query_selector *s = a ? arena_alloc(a, sizeof *s) : NULL;
    enum err e = ERR_NOMEM;
    if (!s)
        goto fail;
    s->arena = a;
    s->matchers = ARENA_ARRAY(a, struct tsdb_matcher, n->selector.count + 1u);
    if (!s->matchers)
        goto fail;
    for (uint32_t i = 0; i < n->selector.count; i++) {
        const struct node_matcher *m = &n->selector.matchers[i];
        struct tsdb_matcher *to = &s->matchers[i];
        *to = (struct tsdb_matcher){
            .op = m->op, .name = arena_copy(a, m->name), .value = arena_copy(a, m->value)};
        s->count = i + 1u;
        if (m->op == TSDB_MATCH_RE || m->op == TSDB_MATCH_NRE) {
            to->match = match_regex;
            to->ctx = regex_re2_new(m->value, msg);
            if (!to->ctx) {
                e = ERR_INVALID;
                goto fail;
            }
        }
    }
    *out = s;
    return ERR_OK;
fail:
    if (s && s->matchers)
        query_selector_free(s);
    else
        arena_free(a);
    return e;
}

enum err query_selector_parse(struct bytes text, struct query_selector **out, struct err_msg *msg)
{
    struct arena *a = arena_new(16 << 20);
    struct node *n;
    if (!a)
        return err_set(msg, ERR_NOMEM, "out of memory");
    enum err e = promql_parse(text, a, &n, msg);
    if (e == ERR_OK &&
        (n->kind != NODE_SELECTOR || n->at != AT_NONE || n->has_offset || n->smoothed))
        e = err_set(msg, ERR_INVALID,
                    "1:1: parse error: expected an instant vector selector without modifiers");
    if (e == ERR_OK)
        e = selector_of(n, out, msg);
    arena_free(a);
    return e;
}

const struct tsdb_matcher *query_selector_matchers(const struct query_selector *s,
                                                   size_t *out_count)
{
    *out_count = s->count;
    return s->matchers;
}

void query_selector_free(struct query_selector *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->count; i++)
        regex_re2_free(s->matchers[i].ctx);
    arena_free(s->arena);
}

struct collector {
    struct arena *a;
    struct query_selector **list;
    size_t count;
    struct err_msg *msg;
};

static enum err collect(struct collector *c, const struct node *n)
{
    enum err e = ERR_OK;
    switch (n->kind) {
    case NODE_SELECTOR:
        c->list = arena_grow(c->a, c->list, sizeof *c->list, c->count, c->count + 1);
        if (!c->list)
            return err_set(c->msg, ERR_LIMIT, "query is too large");
        e = selector_of(n, &c->list[c->count], c->msg);
        c->count += e == ERR_OK;
        return e;
    case NODE_MATRIX:
    case NODE_SUBQUERY:
    case NODE_PAREN: return collect(c, n->inner.expr);
    case NODE_UNARY: return collect(c, n->unary.expr);
    case NODE_BINARY:
        e = collect(c, n->binary.lhs);
        return e == ERR_OK ? collect(c, n->binary.rhs) : e;
    case NODE_AGGREGATE:
        if (n->aggregate.param)
            e = collect(c, n->aggregate.param);
        return e == ERR_OK ? collect(c, n->aggregate.expr) : e;
    case NODE_CALL:
        for (uint32_t i = 0; i < n->call.args.count && e == ERR_OK; i++)
            e = collect(c, n->call.args.items[i]);
        return e;
    default: return ERR_OK;
    }
}

enum err query_selectors_of(struct bytes text, struct arena *a, struct query_selector ***out,
                            size_t *out_count, struct err_msg *msg)
{
    struct node *n;
    struct collector c = {.a = a, .msg = msg};
    enum err e = promql_parse(text, a, &n, msg);
    if (e == ERR_OK)
        e = collect(&c, n);
    if (e != ERR_OK) {
        for (size_t i = 0; i < c.count; i++)
            query_selector_free(c.list[i]);
        return e;
    }
    *out = c.list;
    *out_count = c.count;
    return ERR_OK;
}
