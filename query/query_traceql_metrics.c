#include "query/query_traceql_metrics.h"

#include "base/check.h"

#include <math.h>
#include <stdlib.h>

static const struct {
    const char *name;
    bool has_field, has_quantiles;
} functions[] = {
    [TRACEQL_RATE] = {"rate", false, false},
    [TRACEQL_COUNT_OVER_TIME] = {"count_over_time", false, false},
    [TRACEQL_MIN_OVER_TIME] = {"min_over_time", true, false},
    [TRACEQL_MAX_OVER_TIME] = {"max_over_time", true, false},
    [TRACEQL_AVG_OVER_TIME] = {"avg_over_time", true, false},
    [TRACEQL_SUM_OVER_TIME] = {"sum_over_time", true, false},
    [TRACEQL_QUANTILE_OVER_TIME] = {"quantile_over_time", true, true},
};

const char *query_traceql_function_name(enum query_traceql_function f)
{
    return functions[f].name;
}

/* --- cutting ------------------------------------------------------------------------------------- */

/* Behind the quoted text that begins here. */
static size_t quoted_end(struct bytes t, size_t from)
{
    for (size_t i = from + 1; i < t.size; i++) {
        if (t.data[i] == t.data[from])
            return i + 1;
        i += t.data[i] == '\\' && t.data[from] == '"';
    }
    return t.size;
}

/* The first of these characters outside of quotes, braces and parentheses; t.size when there is none. */
static size_t find_outside(struct bytes t, const char *wanted)
{
    unsigned depth = 0;
    for (size_t i = 0; i < t.size; i++) {
        uint8_t c = t.data[i];
        if (c == '"' || c == '`') {
            i = quoted_end(t, i) - 1;
            continue;
        }
        if (!depth && strchr(wanted, c)) {
            if (c != '|' || i + 1 == t.size || t.data[i + 1] != '|')
                return i;
            i++; /* "||" joins span sets */
            continue;
        }
        depth += c == '{' || c == '(';
        depth -= depth && (c == '}' || c == ')');
    }
    return t.size;
}

/* The part before the next '|'; rest begins behind it. */
static struct bytes take_stage(struct bytes *rest)
{
    size_t at = find_outside(*rest, "|");
    struct bytes stage = bytes_trim(bytes_slice(*rest, 0, at));
    *rest = bytes_slice(*rest, MIN(at + 1, rest->size), rest->size);
    return stage;
}

/* WORD ( ARGUMENTS ) at the front; false: it is no such thing. */
static bool take_call(struct bytes *t, struct bytes *word, struct bytes *arguments)
{
    size_t n = 0;
    *t = bytes_trim(*t);
    while (n < t->size && (t->data[n] == '_' || (t->data[n] >= 'a' && t->data[n] <= 'z')))
        n++;
    *word = bytes_slice(*t, 0, n);
    struct bytes rest = bytes_trim(bytes_slice(*t, n, t->size));
    if (!n || !rest.size || rest.data[0] != '(')
        return false;
    rest = bytes_slice(rest, 1, rest.size);
    size_t close = find_outside(rest, ")");
    if (close == rest.size)
        return false;
    *arguments = bytes_slice(rest, 0, close);
    *t = bytes_trim(bytes_slice(rest, close + 1, rest.size));
    return true;
}

/* The next of what commas separate; false at the end. */
static bool take_argument(struct bytes *list, struct bytes *out)
{
    if (!bytes_trim(*list).size)
        return false;
    size_t comma = find_outside(*list, ",");
    *out = bytes_trim(bytes_slice(*list, 0, comma));
    *list = bytes_slice(*list, MIN(comma + 1, list->size), list->size);
    return true;
}

/* --- reading ------------------------------------------------------------------------------------- */

static enum err unknown(struct err_msg *msg, struct bytes at)
{
    return err_set(msg, ERR_INVALID,
                   "\"%.*s\" is no metrics function; known are rate, count_over_time, "
                   "min_over_time, max_over_time, avg_over_time, sum_over_time and "
                   "quantile_over_time, with by (…), topk(n) and bottomk(n)",
                   (int)MIN(at.size, 60), at.size ? (const char *)at.data : "");
}

static enum err read_arguments(struct query_traceql_metrics *m, struct bytes arguments,
                               struct err_msg *msg)
{
    struct bytes one;
    const char *name = functions[m->function].name;
    if (functions[m->function].has_field && !take_argument(&arguments, &m->ask.of))
        return err_set(msg, ERR_INVALID, "%s wants a field, such as %s(duration)", name, name);
    while (functions[m->function].has_quantiles && take_argument(&arguments, &one)) {
        double q;
        if (m->ask.quantile_count == QUERY_SPANS_QUANTILES_MAX || !bytes_to_f64(one, &q) ||
            !(q >= 0 && q <= 1))
            return err_set(msg, ERR_INVALID, "%s: at most %u numbers from 0 to 1", name,
                           QUERY_SPANS_QUANTILES_MAX);
        m->ask.quantiles[m->ask.quantile_count++] = q;
    }
    if (functions[m->function].has_quantiles && !m->ask.quantile_count)
        return err_set(msg, ERR_INVALID, "%s wants quantiles, such as .9, .99", name);
    return bytes_trim(arguments).size
               ? err_set(msg, ERR_INVALID, "%s has more arguments than it takes", name)
               : ERR_OK;
}

static enum err read_by(struct query_traceql_metrics *m, struct bytes fields, struct err_msg *msg)
{
    struct bytes one;
    while (take_argument(&fields, &one)) {
        if (m->ask.by_count == QUERY_SPANS_BY_MAX)
            return err_set(msg, ERR_INVALID, "by: at most %u fields", QUERY_SPANS_BY_MAX);
        m->ask.by[m->ask.by_count++] = one;
    }
    return m->ask.by_count ? ERR_OK : err_set(msg, ERR_INVALID, "by wants fields");
}

/* FUNCTION(…) [by (…)] [with (…)] */
static enum err read_function(struct query_traceql_metrics *m, struct bytes stage,
                              struct err_msg *msg)
{
    struct bytes word, arguments, whole = stage;
    size_t i = 0;
    if (!take_call(&stage, &word, &arguments))
        return unknown(msg, whole);
    while (i < ARRAY_LEN(functions) && !bytes_equal_str(word, functions[i].name))
        i++;
    if (i == ARRAY_LEN(functions))
        return unknown(msg, whole);
    m->function = (enum query_traceql_function)i;
    enum err e = read_arguments(m, arguments, msg);
    while (e == ERR_OK && stage.size) {
        whole = stage;
        if (!take_call(&stage, &word, &arguments) ||
            (!bytes_equal_str(word, "by") && !bytes_equal_str(word, "with")))
            e = unknown(msg, whole);
        else if (word.size == 2)
            e = read_by(m, arguments, msg);
    }
    return e;
}

/* topk(n), bottomk(n), with (…) */
static enum err read_rest(struct query_traceql_metrics *m, struct bytes stage, struct err_msg *msg)
{
    struct bytes word, arguments, whole = stage;
    while (stage.size) {
        uint64_t n;
        if (!take_call(&stage, &word, &arguments))
            return unknown(msg, whole);
        if (bytes_equal_str(word, "with"))
            continue;
        m->is_bottom = bytes_equal_str(word, "bottomk");
        if ((!m->is_bottom && !bytes_equal_str(word, "topk")) || m->top)
            return unknown(msg, whole);
        if (!bytes_to_u64(bytes_trim(arguments), &n) || n == 0 || n > QUERY_SPANS_GROUPS_MAX)
            return err_set(msg, ERR_INVALID, "topk and bottomk want a number from 1 to %u",
                           QUERY_SPANS_GROUPS_MAX);
        m->top = (uint32_t)n;
    }
    return ERR_OK;
}

enum err query_traceql_metrics_parse(struct bytes text, struct arena *a,
                                     struct query_traceql_metrics *out, struct err_msg *msg)
{
    struct bytes rest = text, set = take_stage(&rest);
    *out = (struct query_traceql_metrics){.q = NULL};
    if (!bytes_trim(rest).size)
        return err_set(msg, ERR_INVALID,
                       "a metrics query is a span set and a function, such as { } | rate()");
    enum err e = query_traceql_parse(set, a, &out->q, msg);
    if (e == ERR_OK)
        e = query_spans_check(out->q, msg);
    if (e == ERR_OK)
        e = read_function(out, take_stage(&rest), msg);
    while (e == ERR_OK && bytes_trim(rest).size)
        e = read_rest(out, take_stage(&rest), msg);
    out->ask.which.q = out->q;
    if (e != ERR_OK)
        query_traceql_metrics_free(out);
    return e;
}

void query_traceql_metrics_free(struct query_traceql_metrics *m)
{
    query_traceql_free(m->q);
    m->q = NULL;
    m->ask.which.q = NULL;
}

double query_traceql_metrics_value(const struct query_traceql_metrics *m,
                                   const struct query_spans_group *g, double seconds,
                                   uint32_t quantile)
{
    if (m->function == TRACEQL_RATE)
        return g->count / seconds;
    if (m->function == TRACEQL_COUNT_OVER_TIME)
        return g->count;
    if (!(g->with > 0))
        return NAN;
    switch (m->function) {
    case TRACEQL_MIN_OVER_TIME: return g->min;
    case TRACEQL_MAX_OVER_TIME: return g->max;
    case TRACEQL_AVG_OVER_TIME: return g->sum / g->with;
    case TRACEQL_SUM_OVER_TIME: return g->sum;
    default: return g->quantile[quantile];
    }
}
