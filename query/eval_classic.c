/* histogram_quantile, histogram_quantiles, histogram_fraction: over native histograms and over classic buckets (le). */
#include "query/eval.h"

#include "base/json_out.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct bucket {
    double upper, count;
};

struct classic { /* series that differ in le only */
    struct tsdb_labels labels; /* without le */
    bool drop_name;
    struct classic_series {
        double upper;
        const struct row *row;
    } * series;
    size_t count, cap;
};

struct quantile_args {
    int id;
    const struct node *call, *vector; /* vector: where annotations point */
    size_t quantiles;
    const double **q; /* quantiles x cells; for fraction: lower, upper */
    struct bytes label; /* histogram_quantiles */
};

static int compare_buckets(const void *x, const void *y)
{
    double a = ((const struct bucket *)x)->upper, b = ((const struct bucket *)y)->upper;
    return (a > b) - (a < b);
}

/* Equal bounds become one bucket. */
static size_t coalesce(struct bucket *b, size_t n)
{
    size_t k = 0;
    for (size_t i = 1; i < n; i++) {
        if (b[i].upper == b[k].upper)
            b[k].count += b[i].count;
        else
            b[++k] = b[i];
    }
    return n ? k + 1 : 0;
}

struct fixes {
    bool forced; /* a decrease beyond rounding */
    double min_upper, max_upper, max_diff;
};

static void ensure_monotonic(struct bucket *b, size_t n, struct fixes *fixes)
{
    double prev = b[0].count;
    for (size_t i = 1; i < n; i++) {
        double cur = b[i].count;
        if (cur == prev)
            continue;
        double scale = fabs(cur) + fabs(prev);
        if (fabs(cur - prev) / scale < 1e-12) { /* rounding, not disorder */
            b[i].count = prev;
            continue;
        }
        if (cur < prev) {
            if (!fixes->forced)
                fixes->min_upper = b[i].upper;
            fixes->forced = true;
            fixes->max_upper = b[i].upper;
            fixes->max_diff = fmax(fixes->max_diff, prev - cur);
            b[i].count = prev;
            continue;
        }
        prev = cur;
    }
}

static double classic_quantile(double q, struct bucket *b, size_t n, struct fixes *fixes)
{
    if (isnan(q))
        return NAN;
    if (q < 0)
        return -INFINITY;
    if (q > 1)
        return INFINITY;
    qsort(b, n, sizeof *b, compare_buckets);
    if (n == 0 || b[n - 1].upper != INFINITY)
        return NAN;
    n = coalesce(b, n);
    ensure_monotonic(b, n, fixes);
    if (n < 2)
        return NAN;
    double observations = b[n - 1].count;
    if (observations == 0)
        return NAN;
    double rank = q * observations;
    size_t at = 0;
    while (at < n - 1 && b[at].count < rank)
        at++;
    if (at == n - 1)
        return b[n - 2].upper;
    if (at == 0 && b[0].upper <= 0)
        return b[0].upper;
    double start = at ? b[at - 1].upper : 0, end = b[at].upper, count = b[at].count;
    if (at) {
        count -= b[at - 1].count;
        rank -= b[at - 1].count;
    }
    return start + (end - start) * (rank / count);
}

static double classic_fraction(double lower, double upper, struct bucket *b, size_t n,
                               struct fixes *fixes)
{
    qsort(b, n, sizeof *b, compare_buckets);
    if (n == 0 || b[n - 1].upper != INFINITY)
        return NAN;
    n = coalesce(b, n);
    if (isnan(lower) || isnan(upper))
        return NAN;
    ensure_monotonic(b, n, fixes);
    double total = b[n - 1].count, rank = 0, lower_rank = 0, upper_rank = 0;
    bool lower_set = false, upper_set = false;
    if (total == 0)
        return NAN;
    if (lower >= upper)
        return 0;
    for (size_t i = 0; i < n && !(lower_set && upper_set); i++) {
        double low = i ? b[i - 1].upper : -INFINITY, high = b[i].upper;
        if (i == 0 && high > 0)
            low = 0;
        double count = b[i].count - (i ? b[i - 1].count : 0);
#define RANK(v) (low == -INFINITY ? rank : rank + count * ((v)-low) / (high - low))
        if (!lower_set && low >= lower) {
            lower_rank = rank;
            lower_set = true;
        }
        if (!upper_set && low >= upper) {
            upper_rank = rank;
            upper_set = true;
        }
        if (!lower_set && low < lower && high > lower) {
            lower_rank =
                low == -INFINITY ? b[i].count : RANK(lower); /* an endless bucket is not divided */
            lower_set = true;
        }
        if (!upper_set && low < upper && high > upper) {
            upper_rank = RANK(upper);
            upper_set = true;
        }
#undef RANK
        rank = b[i].count;
    }
    if (!lower_set || lower_rank > total)
        lower_rank = total;
    if (!upper_set || upper_rank > total)
        upper_rank = total;
    return fmax(0, upper_rank - lower_rank) / total;
}

/* --- grouping ---------------------------------------------------------------------------------- */

static bool has_float(const struct row *r, size_t cells)
{
    return memchr(r->has, CELL_FLOAT, cells) != NULL;
}

static bool add_bucket(struct eval *e, struct classic *c, double upper, const struct row *row)
{
    if (c->count == c->cap) {
        size_t cap = c->cap ? c->cap * 2 : 16;
        c->series = arena_grow(e->arena, c->series, sizeof *c->series, c->cap, cap);
        c->cap = cap;
        if (!c->series)
            return eval_nomem(e);
    }
    c->series[c->count++] = (struct classic_series){upper, row};
    return true;
}

static bool group_classics(struct eval *e, const struct quantile_args *q, const struct rows *in,
                           size_t cells, struct key_map *map, struct classic **out)
{
    struct bytes le[1] = {BYTES_LIT("le")};
    struct name_list le_list = {le, 1};
    struct classic *groups = ARENA_ARRAY(e->arena, struct classic, in->count + 1);
    if (!groups)
        return eval_nomem(e);
    for (size_t k = 0; k < in->count; k++) {
        const struct row *r = &in->items[k];
        if (!has_float(r, cells))
            continue;
        struct bytes text = tsdb_labels_get(r->labels, le[0]);
        double upper;
        if (!bytes_to_f64(text, &upper)) {
            struct bytes name = eval_for_metric(e, r->labels);
            eval_warn(e, q->vector,
                      "bucket label \"le\" is missing or has a malformed value of \"" BYTES_FMT
                      "\"" BYTES_FMT,
                      BYTES_ARG(text), BYTES_ARG(name));
            continue;
        }
        struct tsdb_labels labels = labels_without(e, r->labels, &le_list, false);
        bool is_new;
        size_t at = e->err == ERR_OK ? key_map_put(map, labels.enc, &is_new) : SIZE_MAX;
        if (at == SIZE_MAX)
            return false;
        if (is_new) {
            groups[at].labels = labels;
            groups[at].drop_name = r->drop_name;
        }
        if (!add_bucket(e, &groups[at], upper, r))
            return false;
    }
    *out = groups;
    return true;
}

/* --- output ------------------------------------------------------------------------------------ */

static void note_fixes(struct eval *e, const struct quantile_args *q, struct tsdb_labels labels,
                       const struct fixes *f, int64_t t)
{
    if (!f->forced)
        return;
    struct bytes name = eval_for_metric(e, labels);
    eval_info(e, q->vector,
              "input to %s needed to be fixed for monotonicity (see "
              "https://prometheus.io/docs/prometheus/latest/querying/functions/"
              "#histogram_quantile)" BYTES_FMT
              ", from buckets %g to %g, with a max diff of %.2g, over 1 samples from "
              "%lld to %lld",
              q->call->call.function->name, BYTES_ARG(name), f->min_upper, f->max_upper,
              f->max_diff, (long long)t, (long long)t);
}

static void note_nan(struct eval *e, const struct quantile_args *q, struct tsdb_labels labels,
                     double result)
{
    struct bytes name = eval_for_metric(e, labels);
    if (q->id == FUNCTION_HISTOGRAM_FRACTION)
        eval_info(e, q->vector,
                  "input to histogram_fraction has NaN observations, which are excluded from all "
                  "fractions" BYTES_FMT,
                  BYTES_ARG(name));
    else
        eval_info(e, q->vector,
                  "input to histogram_quantile has NaN observations, result is %s" BYTES_FMT,
                  isnan(result) ? "NaN" : "skewed higher", BYTES_ARG(name));
}

static struct row *result_row(struct eval *e, const struct quantile_args *q, size_t k,
                              struct tsdb_labels labels, struct rows *out, size_t cells)
{
    struct row *r = eval_tick(e, cells) ? rows_add(e, out, cells) : NULL;
    if (!r)
        return NULL;
    r->labels = labels;
    r->drop_name = true;
    if (q->id == FUNCTION_HISTOGRAM_QUANTILES) {
        char text[JSON_OUT_PROM_FLOAT_MAX];
        size_t n = json_out_prom_float(q->q[k][0], text);
        if (strspn(text, "-0123456789") >= n) /* 1 is written 1.0 in labels */
            n += (size_t)snprintf(text + n, sizeof text - n, ".0");
        r->labels = labels_set(e, labels, q->label, arena_copy(e->arena, bytes_of(text, n)));
    }
    return e->err == ERR_OK ? r : NULL;
}

static bool native_cells(struct eval *e, const struct quantile_args *q, size_t k,
                         const struct row *in, struct grid g, struct row *out)
{
    for (size_t i = 0; i < g.count; i++) {
        if (in->has[i] != CELL_HIST)
            continue;
        bool nan;
        arena_reset(e->scratch);
        out->has[i] = CELL_FLOAT;
        if (q->id == FUNCTION_HISTOGRAM_FRACTION)
            out->v[i] = query_hist_fraction(q->q[0][i], q->q[1][i], in->h[i], e->scratch, &nan);
        else
            out->v[i] = query_hist_quantile(q->q[k][i], in->h[i], e->scratch, &nan);
        if (nan)
            note_nan(e, q, in->labels, out->v[i]);
    }
    return eval_tick(e, 0);
}

static bool classic_cells(struct eval *e, const struct quantile_args *q, size_t k,
                          const struct classic *c, const struct row *native, struct grid g,
                          struct row *out)
{
    struct bucket *b = ARENA_ARRAY(e->arena, struct bucket, c->count + 1);
    if (!b)
        return eval_nomem(e);
    for (size_t i = 0; i < g.count; i++) {
        size_t n = 0;
        struct fixes fixes = {0};
        for (size_t s = 0; s < c->count; s++)
            if (c->series[s].row->has[i] == CELL_FLOAT)
                b[n++] = (struct bucket){c->series[s].upper, c->series[s].row->v[i]};
        if (n == 0)
            continue;
        if (native && native->has[i] == CELL_HIST) {
            arena_reset(e->scratch);
            struct bytes name = eval_for_metric(e, c->labels);
            eval_warn(e, q->vector,
                      "vector contains a mix of classic and native histograms" BYTES_FMT,
                      BYTES_ARG(name));
            out->has[i] = CELL_NONE; /* which of the two is right cannot be known */
            continue;
        }
        out->v[i] = q->id == FUNCTION_HISTOGRAM_FRACTION
                        ? classic_fraction(q->q[0][i], q->q[1][i], b, n, &fixes)
                        : classic_quantile(q->q[k][i], b, n, &fixes);
        out->has[i] = CELL_FLOAT;
        note_fixes(e, q, c->labels, &fixes, grid_time(g, i));
    }
    return eval_tick(e, 0);
}

static bool one_quantile(struct eval *e, const struct quantile_args *q, size_t k,
                         const struct rows *in, struct grid g, struct rows *out)
{
    struct key_map map = {.e = e};
    struct classic *groups = NULL;
    if (!group_classics(e, q, in, g.count, &map, &groups))
        return false;
    const struct row **natives = arena_alloc(e->arena, (map.count + 1) * sizeof *natives);
    size_t *native_out = ARENA_ARRAY(e->arena, size_t, map.count + 1);
    if (!natives || !native_out)
        return eval_nomem(e);
    for (size_t s = 0; s < in->count; s++) {
        const struct row *r = &in->items[s];
        if (!memchr(r->has, CELL_HIST, g.count))
            continue;
        struct row *o = result_row(e, q, k, r->labels, out, g.count);
        if (!o || !native_cells(e, q, k, r, g, o))
            return false;
        size_t at = key_map_find(&map, r->labels.enc);
        if (at != SIZE_MAX) {
            natives[at] = r;
            native_out[at] = out->count - 1;
        }
    }
    for (size_t c = 0; c < map.count; c++) {
        struct row *o = natives[c] ? &out->items[native_out[c]]
                                   : result_row(e, q, k, groups[c].labels, out, g.count);
        if (!o || !classic_cells(e, q, k, &groups[c], natives[c], g, o))
            return false;
    }
    return true;
}

static bool read_args(struct eval *e, const struct node *n, struct grid g, struct quantile_args *q)
{
    const struct node_list *args = &n->call.args;
    bool fraction = q->id == FUNCTION_HISTOGRAM_FRACTION,
         many = q->id == FUNCTION_HISTOGRAM_QUANTILES;
    uint32_t first = many ? 2 : 0, count = many ? args->count - 2 : fraction ? 2 : 1;
    q->vector = args->items[many ? 0 : fraction ? 2 : 1];
    q->quantiles = fraction ? 1 : count;
    q->q = arena_alloc(e->arena, count * sizeof *q->q);
    if (!q->q)
        return eval_nomem(e);
    for (uint32_t i = 0; i < count; i++) {
        double *values = arena_alloc_raw(e->arena, g.count * sizeof *values, 8);
        if (!values)
            return eval_nomem(e);
        if (!eval_scalar(e, args->items[first + i], g, values))
            return false;
        q->q[i] = values;
        for (size_t s = 0; s < g.count && !fraction; s++)
            if (isnan(values[s]) || values[s] < 0 || values[s] > 1) {
                char text[JSON_OUT_PROM_FLOAT_MAX];
                json_out_prom_float(values[s], text);
                eval_warn(e, args->items[first + i],
                          "quantile value should be between 0 and 1, got %.*s",
                          (int)json_out_prom_float(values[s], text), text);
                break;
            }
    }
    return !many || eval_string(e, args->items[1], &q->label);
}

bool histogram_rows(struct eval *e, const struct node *n, struct grid g, struct rows *out)
{
    struct quantile_args q = {.id = n->call.function->id, .call = n};
    struct rows in = {0};
    if (!read_args(e, n, g, &q) || !eval_rows(e, q.vector, g, &in))
        return false;
    for (size_t k = 0; k < q.quantiles; k++)
        if (!one_quantile(e, &q, k, &in, g, out))
            return false;
    return true;
}
