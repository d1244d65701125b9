/* Functions of instant vectors and scalars. */
#include "query/eval.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

/* --- one number in, one out -------------------------------------------------------------------- */

static double sign_of(double x)
{
    return x < 0 ? -1 : x > 0 ? 1 : x;
}

static double to_degrees(double x)
{
    return x * 180 / M_PI;
}

static double to_radians(double x)
{
    return x * M_PI / 180;
}

typedef double (*number_function)(double);

static number_function number_function_of(int id)
{
    switch (id) {
    case FUNCTION_ABS: return fabs;
    case FUNCTION_ACOS: return acos;
    case FUNCTION_ACOSH: return acosh;
    case FUNCTION_ASIN: return asin;
    case FUNCTION_ASINH: return asinh;
    case FUNCTION_ATAN: return atan;
    case FUNCTION_ATANH: return atanh;
    case FUNCTION_CEIL: return ceil;
    case FUNCTION_COS: return cos;
    case FUNCTION_COSH: return cosh;
    case FUNCTION_DEG: return to_degrees;
    case FUNCTION_EXP: return exp;
    case FUNCTION_FLOOR: return floor;
    case FUNCTION_LN: return log;
    case FUNCTION_LOG10: return log10;
    case FUNCTION_LOG2: return log2;
    case FUNCTION_RAD: return to_radians;
    case FUNCTION_SGN: return sign_of;
    case FUNCTION_SIN: return sin;
    case FUNCTION_SINH: return sinh;
    case FUNCTION_SQRT: return sqrt;
    case FUNCTION_TAN: return tan;
    case FUNCTION_TANH: return tanh;
    default: return NULL;
    }
}

static double calendar(int id, double seconds)
{
    static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    struct tm tm;
    if (!(fabs(seconds) < 6e16))
        return NAN;
    time_t t = (time_t)seconds;
    if (!gmtime_r(&t, &tm))
        return NAN;
    int year = tm.tm_year + 1900;
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    switch (id) {
    case FUNCTION_MINUTE: return tm.tm_min;
    case FUNCTION_HOUR: return tm.tm_hour;
    case FUNCTION_DAY_OF_WEEK: return tm.tm_wday;
    case FUNCTION_DAY_OF_MONTH: return tm.tm_mday;
    case FUNCTION_DAY_OF_YEAR: return tm.tm_yday + 1;
    case FUNCTION_DAYS_IN_MONTH: return lengths[tm.tm_mon] + (leap && tm.tm_mon == 1);
    case FUNCTION_MONTH: return tm.tm_mon + 1;
    default: return year;
    }
}

static bool is_calendar(int id)
{
    return id == FUNCTION_MINUTE || id == FUNCTION_HOUR || id == FUNCTION_DAY_OF_WEEK ||
           id == FUNCTION_DAY_OF_MONTH || id == FUNCTION_DAY_OF_YEAR ||
           id == FUNCTION_DAYS_IN_MONTH || id == FUNCTION_MONTH || id == FUNCTION_YEAR;
}

static struct row *row_without_labels(struct eval *e, struct rows *out, size_t cells)
{
    return eval_tick(e, cells) ? rows_add(e, out, cells) : NULL;
}

static bool calendar_rows(struct eval *e, const struct node *n, struct grid g, struct rows *out)
{
    int id = n->call.function->id;
    if (n->call.args.count == 0) {
        struct row *r = row_without_labels(e, out, g.count);
        for (size_t i = 0; r && i < g.count; i++) {
            r->has[i] = CELL_FLOAT;
            r->v[i] = calendar(id, floor((double)grid_time(g, i) / 1000));
        }
        return r != NULL;
    }
    if (!eval_rows(e, n->call.args.items[0], g, out))
        return false;
    for (size_t k = 0; k < out->count; k++) {
        struct row *r = &out->items[k];
        r->drop_name = true;
        for (size_t i = 0; i < g.count; i++) {
            if (r->has[i] == CELL_HIST)
                r->has[i] = CELL_NONE;
            else if (r->has[i] == CELL_FLOAT)
                r->v[i] = calendar(id, r->v[i]);
        }
    }
    return true;
}

static bool number_rows(struct eval *e, const struct node *n, struct grid g, struct rows *out)
{
    number_function f = number_function_of(n->call.function->id);
    if (!eval_rows(e, n->call.args.items[0], g, out))
        return false;
    for (size_t k = 0; k < out->count; k++) {
        struct row *r = &out->items[k];
        r->drop_name = true;
        for (size_t i = 0; i < g.count; i++) {
            if (r->has[i] == CELL_HIST)
                r->has[i] = CELL_NONE;
            else if (r->has[i] == CELL_FLOAT)
                r->v[i] = f(r->v[i]);
        }
    }
    return true;
}

/* --- clamp, round ------------------------------------------------------------------------------ */

static double round_to(double v, double to)
{
    double inverse = 1 / to; /* rounding by the inverse keeps what decimals can hold */
    return floor(v * inverse + 0.5) / inverse;
}

static double bounded(int id, double v, double p1, double p2)
{
    switch (id) {
    case FUNCTION_CLAMP_MIN: return isnan(v) || isnan(p1) ? NAN : fmax(p1, v);
    case FUNCTION_CLAMP_MAX: return isnan(v) || isnan(p1) ? NAN : fmin(p1, v);
    case FUNCTION_CLAMP: return isnan(v) || isnan(p1) || isnan(p2) ? NAN : fmax(p1, fmin(p2, v));
    default: return round_to(v, p1);
    }
}

static bool bounded_rows(struct eval *e, const struct node *n, struct grid g, struct rows *out)
{
    int id = n->call.function->id;
    const struct node_list *args = &n->call.args;
    double *p = arena_alloc(e->arena, 2 * g.count * sizeof *p);
    if (!p)
        return eval_nomem(e);
    for (size_t i = 0; i < g.count; i++)
        p[i] = 1;
    if ((args->count > 1 && !eval_scalar(e, args->items[1], g, p)) ||
        (args->count > 2 && !eval_scalar(e, args->items[2], g, p + g.count)) ||
        !eval_rows(e, args->items[0], g, out))
        return false;
    for (size_t k = 0; k < out->count; k++) {
        struct row *r = &out->items[k];
        r->drop_name = true;
        for (size_t i = 0; i < g.count; i++) {
            bool empty = id == FUNCTION_CLAMP && p[g.count + i] < p[i];
            if (r->has[i] == CELL_HIST || empty)
                r->has[i] = CELL_NONE;
            else if (r->has[i] == CELL_FLOAT)
                r->v[i] = bounded(id, r->v[i], p[i], p[g.count + i]);
        }
    }
    return true;
}

/* --- histogram_count and the like -------------------------------------------------------------- */

static bool hist_number_rows(struct eval *e, const struct node *n, struct grid g, struct rows *out)
{
    int id = n->call.function->id;
    if (!eval_rows(e, n->call.args.items[0], g, out))
        return false;
    for (size_t k = 0; k < out->count; k++) {
        struct row *r = &out->items[k];
        r->drop_name = true;
        for (size_t i = 0; i < g.count; i++) {
            const struct query_hist *h = r->has[i] == CELL_HIST ? r->h[i] : NULL;
            r->has[i] = h ? CELL_FLOAT : CELL_NONE;
            if (!h)
                continue;
            arena_reset(e->scratch);
            switch (id) {
            case FUNCTION_HISTOGRAM_COUNT: r->v[i] = h->count; break;
            case FUNCTION_HISTOGRAM_SUM: r->v[i] = h->sum; break;
            case FUNCTION_HISTOGRAM_AVG: r->v[i] = h->sum / h->count; break;
            case FUNCTION_HISTOGRAM_STDVAR: r->v[i] = query_hist_variance(h, e->scratch); break;
            default: r->v[i] = sqrt(query_hist_variance(h, e->scratch));
            }
        }
    }
    return true;
}

/* --- absent ------------------------------------------------------------------------------------ */

struct presence {
    size_t cells;
    uint8_t *seen;
};

static bool mark_seen(void *ctx, const struct row *r)
{
    struct presence *p = ctx;
    for (size_t i = 0; i < p->cells; i++)
        p->seen[i] |= r->has[i];
    return true;
}

/* The labels that the selector fixes by "=": what an absent series would have had. */
static struct tsdb_labels absent_labels(struct eval *e, const struct node *n)
{
    struct tsdb_labels out = {BYTES_NONE};
    n = promql_unparen(n);
    if (n->kind == NODE_MATRIX)
        n = n->inner.expr;
    if (n->kind != NODE_SELECTOR)
        return out;
    for (uint32_t i = 0; i < n->selector.count; i++) {
        const struct node_matcher *m = &n->selector.matchers[i];
        bool repeated = false;
        for (uint32_t k = 0; k < n->selector.count; k++)
            repeated |= k != i && bytes_equal(n->selector.matchers[k].name, m->name);
        if (m->op == TSDB_MATCH_EQ && !repeated && !bytes_equal_str(m->name, "__name__"))
            out = labels_set(e, out, m->name, m->value);
    }
    return out;
}

static bool absent_rows(struct eval *e, const struct node *n, struct grid g, struct rows *out)
{
    const struct node *arg = n->call.args.items[0];
    struct presence p = {g.count, arena_alloc(e->arena, g.count)};
    if (!p.seen)
        return eval_nomem(e);
    bool ok = n->call.function->id == FUNCTION_ABSENT_OVER_TIME
                  ? range_each(e, n, g, mark_seen, &p)
                  : eval_each(e, arg, g, mark_seen, &p);
    struct row *r = ok ? row_without_labels(e, out, g.count) : NULL;
    if (!r)
        return false;
    r->labels = absent_labels(e, arg);
    for (size_t i = 0; i < g.count; i++) {
        r->has[i] = p.seen[i] ? CELL_NONE : CELL_FLOAT;
        r->v[i] = 1;
    }
    return e->err == ERR_OK;
}

/* --- the rest ---------------------------------------------------------------------------------- */

static bool vector_rows(struct eval *e, const struct node *n, struct grid g, struct rows *out)
{
    struct row *r = row_without_labels(e, out, g.count);
    if (!r)
        return false;
    memset(r->has, CELL_FLOAT, g.count);
    return eval_scalar(e, n->call.args.items[0], g, r->v);
}

static bool timestamp_rows(struct eval *e, const struct node *n, struct grid g, struct rows *out)
{
    const struct node *arg = promql_unparen(n->call.args.items[0]);
    bool start = n->call.function->id == FUNCTION_START_TIMESTAMP;
    struct keep keep = {e, out, g.count};
    if (arg->kind == NODE_SELECTOR)
        return select_each(e, arg, g, start ? SELECT_START : SELECT_TIMESTAMP, rows_keep, &keep);
    if (!eval_rows(e, arg, g, out))
        return false;
    for (size_t k = 0; k < out->count; k++) {
        struct row *r = &out->items[k];
        r->drop_name = true;
        for (size_t i = 0; i < g.count; i++) {
            if (r->has[i] != CELL_NONE)
                r->has[i] = start ? CELL_NONE : CELL_FLOAT;
            r->v[i] = (double)grid_time(g, i) / 1000;
        }
    }
    return true;
}

bool call_rows(struct eval *e, const struct node *n, struct grid g, struct rows *out)
{
    int id = n->call.function->id;
    if (number_function_of(id))
        return number_rows(e, n, g, out);
    if (is_calendar(id))
        return calendar_rows(e, n, g, out);
    switch (id) {
    case FUNCTION_CLAMP:
    case FUNCTION_CLAMP_MAX:
    case FUNCTION_CLAMP_MIN:
    case FUNCTION_ROUND: return bounded_rows(e, n, g, out);
    case FUNCTION_HISTOGRAM_AVG:
    case FUNCTION_HISTOGRAM_COUNT:
    case FUNCTION_HISTOGRAM_STDDEV:
    case FUNCTION_HISTOGRAM_STDVAR:
    case FUNCTION_HISTOGRAM_SUM: return hist_number_rows(e, n, g, out);
    case FUNCTION_HISTOGRAM_FRACTION:
    case FUNCTION_HISTOGRAM_QUANTILE:
    case FUNCTION_HISTOGRAM_QUANTILES: return histogram_rows(e, n, g, out);
    case FUNCTION_ABSENT:
    case FUNCTION_ABSENT_OVER_TIME: return absent_rows(e, n, g, out);
    case FUNCTION_VECTOR: return vector_rows(e, n, g, out);
    case FUNCTION_TIMESTAMP:
    case FUNCTION_START_TIMESTAMP: return timestamp_rows(e, n, g, out);
    case FUNCTION_LABEL_JOIN:
    case FUNCTION_LABEL_REPLACE: return label_rows(e, n, g, out);
    case FUNCTION_SORT:
    case FUNCTION_SORT_DESC:
    case FUNCTION_SORT_BY_LABEL:
    case FUNCTION_SORT_BY_LABEL_DESC: return sort_rows(e, n, g, out);
    case FUNCTION_INFO: return info_rows(e, n, g, out);
    default: CHECK_UNREACHABLE();
    }
}

/* --- scalars ----------------------------------------------------------------------------------- */

struct single {
    size_t cells;
    uint8_t *seen;
    double *v;
};

static bool take_single(void *ctx, const struct row *r)
{
    struct single *s = ctx;
    for (size_t i = 0; i < s->cells; i++)
        if (r->has[i] == CELL_FLOAT) {
            s->v[i] = s->seen[i] ? NAN : r->v[i];
            s->seen[i] = 1;
        }
    return true;
}

static bool pair_scalar(struct eval *e, const struct node *n, struct grid g, double *out)
{
    double *r = arena_alloc_raw(e->arena, g.count * sizeof *r, 8);
    if (!r)
        return eval_nomem(e);
    if (!eval_scalar(e, n->call.args.items[0], g, out) ||
        !eval_scalar(e, n->call.args.items[1], g, r))
        return false;
    for (size_t i = 0; i < g.count; i++) {
        bool min = n->call.function->id == FUNCTION_MIN_OF;
        out[i] = isnan(out[i]) || isnan(r[i]) ? NAN : min ? fmin(out[i], r[i]) : fmax(out[i], r[i]);
    }
    return true;
}

bool call_scalar(struct eval *e, const struct node *n, struct grid g, double *out)
{
    int id = n->call.function->id;
    if (id == FUNCTION_MIN_OF || id == FUNCTION_MAX_OF)
        return pair_scalar(e, n, g, out);
    if (id == FUNCTION_SCALAR) {
        struct single s = {g.count, arena_alloc(e->arena, g.count), out};
        if (!s.seen)
            return eval_nomem(e);
        for (size_t i = 0; i < g.count; i++)
            out[i] = NAN;
        return eval_each(e, n->call.args.items[0], g, take_single, &s);
    }
    for (size_t i = 0; i < g.count; i++) {
        switch (id) {
        case FUNCTION_PI: out[i] = M_PI; break;
        case FUNCTION_TIME: out[i] = (double)grid_time(g, i) / 1000; break;
        case FUNCTION_START: out[i] = (double)e->start / 1000; break;
        case FUNCTION_END: out[i] = (double)e->end / 1000; break;
        case FUNCTION_STEP: out[i] = (double)e->step / 1000; break;
        case FUNCTION_RANGE: out[i] = (double)(e->end - e->start) / 1000; break;
        default: CHECK_UNREACHABLE();
        }
    }
    return true;
}
