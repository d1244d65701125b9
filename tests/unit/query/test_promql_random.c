/* Random questions over random series: the engine against a slow and obvious evaluator, which takes one step at a time and looks at every point; and
 * hostile questions, which must end soon, in little memory, with one of the errors that the header names. */
#include "base/check.h"
#include "base/clock.h"
#include "query/query.h"
#include "query/query_memory.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* after the four headers it needs */
#include <cmocka.h>

static uint64_t seed;

static unsigned rnd(unsigned n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(seed >> 33) % n;
}

/* --- the data ---------------------------------------------------------------------------------- */

#define SERIES 24
#define POINTS 160
#define END_MS 3000000
#define LOOKBACK_MS 300000
#define STALE UINT64_C(0x7ff0000000000002)

struct element { /* labels that are absent are empty */
    const char *name, *a, *b;
    bool drop; /* the name goes at the end */
    double v;
};

struct series {
    struct element labels;
    int count;
    int64_t t[POINTS];
    double v[POINTS];
};
static struct series data[SERIES];

static double stale(void)
{
    uint64_t bits = STALE;
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static bool is_stale(double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits == STALE;
}

static struct query_memory *make_data(void)
{
    static const char *const as[] = {"x", "y", "z"}, *const bs[] = {"", "1", "2", "3"};
    struct query_memory *m = query_memory_new();
    struct arena *arena = arena_new(0);
    for (int i = 0; i < SERIES; i++) {
        struct series *s = &data[i];
        struct tsdb_labels l;
        *s = (struct series){
            .labels = {i < SERIES / 2 ? "m" : "n_total", as[i % 3], bs[i / 3 % 4], false, 0}};
        struct tsdb_label pairs[] = {{BYTES_LIT("__name__"), bytes_str(s->labels.name)},
                                     {BYTES_LIT("a"), bytes_str(s->labels.a)},
                                     {BYTES_LIT("b"), bytes_str(s->labels.b)}};
        assert_int_equal(tsdb_labels_build(pairs, 3, arena, &l, NULL), ERR_OK);
        int64_t t = rnd(200000);
        double v = rnd(500);
        for (; s->count < POINTS && t < END_MS; t += 1 + rnd(rnd(12) ? 30000 : 400000)) {
            v = i < SERIES / 2 ? rnd(1000) : rnd(20) ? v + rnd(50) : rnd(10);
            s->t[s->count] = t;
            s->v[s->count] = rnd(25) ? v : stale();
            assert_int_equal(query_memory_add(m, l, t, s->v[s->count]), ERR_OK);
            s->count++;
        }
    }
    arena_free(arena);
    return m;
}

/* --- expressions ------------------------------------------------------------------------------- */

enum kind { SELECTOR, RANGE, SUBQUERY, AGGREGATE, BINARY, SCALAR_BINARY, CALL };
enum { RATE, INCREASE, DELTA, SUM_OVER, AVG_OVER, MIN_OVER, MAX_OVER, COUNT_OVER, LAST_OVER };
static const char *const over_names[] = {"rate",          "increase",        "delta",
                                         "sum_over_time", "avg_over_time",   "min_over_time",
                                         "max_over_time", "count_over_time", "last_over_time"};
static const char *const aggregates[] = {"sum", "avg", "min", "max", "count"};
static const char *const operators[] = {"+", "-", "*", ">", "<=", "!=", "and", "or", "unless"};
static const char *const calls[] = {"abs", "ceil", "floor", "-", "sgn"};

struct expr {
    enum kind kind;
    int what; /* the function, operation or operator */
    const char *name, *op, *value; /* of a selector: a op "value" */
    int64_t offset_ms, range_ms, step_ms;
    bool without, by_a, by_b, returns_bool;
    double number;
    struct expr *l, *r;
};
static struct expr pool[64];
static int used;

static struct expr *make(int depth)
{
    struct expr *e = &pool[used++];
    *e = (struct expr){0};
    unsigned pick = depth <= 0 || used > 40 ? rnd(2) : rnd(7);
    static const enum kind kinds[] = {SELECTOR, RANGE,         SUBQUERY, AGGREGATE,
                                      BINARY,   SCALAR_BINARY, CALL};
    e->kind = kinds[pick];
    e->range_ms = 60000 * (1 + (int64_t)rnd(10));
    e->step_ms = 15000 * (1 + (int64_t)rnd(6));
    e->without = rnd(2);
    e->by_a = rnd(2);
    e->by_b = rnd(2);
    switch (e->kind) {
    case SELECTOR:
    case RANGE:
        e->name = rnd(2) ? "m" : "n_total";
        e->op = rnd(3) == 0 ? "=" : rnd(2) ? "!=" : NULL;
        e->value = rnd(3) ? "x" : "y";
        e->offset_ms = rnd(4) ? 0 : 60000 * ((int64_t)rnd(9) - 4);
        e->what = (int)rnd(ARRAY_LEN(over_names));
        break;
    case SUBQUERY:
        e->what = (int)rnd(ARRAY_LEN(over_names));
        e->l = make(depth - 2);
        break;
    case AGGREGATE:
        e->what = (int)rnd(ARRAY_LEN(aggregates));
        e->l = make(depth - 1);
        break;
    case BINARY:
        e->what = (int)rnd(ARRAY_LEN(operators));
        e->returns_bool = e->what >= 3 && e->what <= 5 && rnd(2);
        e->l = make(depth - 1);
        e->r = make(depth - 1);
        break;
    case SCALAR_BINARY:
        e->what = (int)rnd(6);
        e->returns_bool = e->what >= 3 && rnd(2);
        e->number = rnd(400);
        e->l = make(depth - 1);
        break;
    case CALL:
        e->what = (int)rnd(ARRAY_LEN(calls));
        e->l = make(depth - 1);
        break;
    }
    return e;
}

static void put_selector(struct buf *b, const struct expr *e, bool range)
{
    buf_str(b, e->name);
    if (e->op)
        buf_printf(b, "{a%s\"%s\"}", e->op, e->value);
    if (range)
        buf_printf(b, "[%lldms]", (long long)e->range_ms);
    if (e->offset_ms)
        buf_printf(b, " offset %s%lldms", e->offset_ms < 0 ? "-" : "",
                   llabs((long long)e->offset_ms));
}

static void put(struct buf *b, const struct expr *e)
{
    switch (e->kind) {
    case SELECTOR: put_selector(b, e, false); break;
    case RANGE:
        buf_printf(b, "%s(", over_names[e->what]);
        put_selector(b, e, true);
        buf_str(b, ")");
        break;
    case SUBQUERY:
        buf_printf(b, "%s((", over_names[e->what]);
        put(b, e->l);
        buf_printf(b, ")[%lldms:%lldms])", (long long)e->range_ms, (long long)e->step_ms);
        break;
    case AGGREGATE:
        buf_printf(b, "%s %s (%s%s%s) (", aggregates[e->what], e->without ? "without" : "by",
                   e->by_a ? "a" : "", e->by_a && e->by_b ? ", " : "", e->by_b ? "b" : "");
        put(b, e->l);
        buf_str(b, ")");
        break;
    case BINARY:
    case SCALAR_BINARY:
        buf_str(b, "(");
        put(b, e->l);
        buf_printf(b, ") %s %s", operators[e->what], e->returns_bool ? "bool " : "");
        if (e->kind == BINARY) {
            buf_str(b, "(");
            put(b, e->r);
            buf_str(b, ")");
        } else {
            buf_printf(b, "%g", e->number);
        }
        break;
    case CALL:
        buf_printf(b, "%s(", calls[e->what]);
        put(b, e->l);
        buf_str(b, ")");
        break;
    }
}

/* --- slow and obvious -------------------------------------------------------------------------- */

#define VECTOR_MAX (SERIES * 8)

struct vector {
    struct element e[VECTOR_MAX];
    int n;
    bool fails; /* two elements where there may be one */
};
static bool forgets_resets; /* the negative control */

static void slow(const struct expr *e, int64_t t, struct vector *out);

static bool same_labels(const struct element *x, const struct element *y, bool with_name)
{
    return strcmp(x->a, y->a) == 0 && strcmp(x->b, y->b) == 0 &&
           (!with_name || strcmp(x->name, y->name) == 0);
}

static void add(struct vector *v, struct element e)
{
    if (v->n < VECTOR_MAX)
        v->e[v->n++] = e;
    else
        v->fails = true;
}

static bool selects(const struct expr *e, const struct series *s)
{
    bool equal = e->op && strcmp(s->labels.a, e->value) == 0;
    return strcmp(s->labels.name, e->name) == 0 && (!e->op || equal == (e->op[0] == '='));
}

static void slow_selector(const struct expr *e, int64_t t, struct vector *out)
{
    int64_t ref = t - e->offset_ms;
    for (int i = 0; i < SERIES; i++) {
        int last = -1;
        for (int k = 0; k < data[i].count; k++)
            if (data[i].t[k] <= ref && data[i].t[k] > ref - LOOKBACK_MS)
                last = k;
        if (!selects(e, &data[i]) || last < 0 || is_stale(data[i].v[last]))
            continue;
        struct element x = data[i].labels;
        x.v = data[i].v[last];
        add(out, x);
    }
}

static bool slow_rate(int what, const int64_t *t, const double *v, int n, int64_t from, int64_t to,
                      double *out)
{
    if (n < 2)
        return false;
    double increase = v[n - 1] - v[0];
    for (int i = 1; i < n && what != DELTA && !forgets_resets; i++)
        if (v[i] < v[i - 1])
            increase += v[i - 1];
    double to_start = (double)(t[0] - from) / 1000, to_end = (double)(to - t[n - 1]) / 1000;
    double sampled = (double)(t[n - 1] - t[0]) / 1000, average = sampled / (n - 1);
    if (to_start >= average * 1.1)
        to_start = average / 2;
    if (what != DELTA && increase > 0 && v[0] >= 0)
        to_start = fmin(to_start, sampled * (v[0] / increase));
    if (to_end >= average * 1.1)
        to_end = average / 2;
    *out = increase * ((sampled + to_start + to_end) / sampled);
    if (what == RATE)
        *out /= (double)(to - from) / 1000;
    return true;
}

static bool slow_over(int what, const int64_t *t, const double *v, int n, int64_t from, int64_t to,
                      double *out)
{
    double sum = 0, least = INFINITY, most = -INFINITY;
    if (n == 0)
        return false;
    if (what <= DELTA)
        return slow_rate(what, t, v, n, from, to, out);
    for (int i = 0; i < n; i++) {
        sum += v[i];
        least = fmin(least, v[i]);
        most = fmax(most, v[i]);
    }
    const double answers[] = {[SUM_OVER] = sum,  [AVG_OVER] = sum / n, [MIN_OVER] = least,
                              [MAX_OVER] = most, [COUNT_OVER] = n,     [LAST_OVER] = v[n - 1]};
    *out = answers[what];
    return true;
}

static void slow_range(const struct expr *e, int64_t t, struct vector *out)
{
    int64_t ref = t - e->offset_ms;
    for (int i = 0; i < SERIES; i++) {
        int64_t at[POINTS];
        double v[POINTS];
        int n = 0;
        if (!selects(e, &data[i]))
            continue;
        for (int k = 0; k < data[i].count; k++)
            if (data[i].t[k] > ref - e->range_ms && data[i].t[k] <= ref &&
                !is_stale(data[i].v[k])) {
                at[n] = data[i].t[k];
                v[n++] = data[i].v[k];
            }
        struct element x = data[i].labels;
        x.drop = e->what != LAST_OVER;
        if (slow_over(e->what, at, v, n, ref - e->range_ms, ref, &x.v))
            add(out, x);
    }
}

static void slow_subquery(const struct expr *e, int64_t t, struct vector *out)
{
    enum { STEPS_MAX = 64 };
    struct vector *steps = calloc(STEPS_MAX, sizeof *steps);
    int64_t at[STEPS_MAX];
    int count = 0;
    for (int64_t k = -1000000; k <= END_MS * 2; k += 1) {
        k = k % e->step_ms ? k + (e->step_ms - (k % e->step_ms + e->step_ms) % e->step_ms) : k;
        if (k > t - e->range_ms && k <= t && count < STEPS_MAX) {
            at[count] = k;
            slow(e->l, k, &steps[count]);
            out->fails |= steps[count++].fails;
        }
    }
    for (int s = 0; s < count; s++)
        for (int i = 0; i < steps[s].n; i++) { /* a series, where it comes first */
            struct element x = steps[s].e[i];
            int64_t times[STEPS_MAX];
            double v[STEPS_MAX];
            int n = 0;
            bool seen = false;
            for (int p = 0; p < s; p++)
                for (int k = 0; k < steps[p].n; k++)
                    seen |= same_labels(&steps[p].e[k], &x, true);
            for (int p = s; p < count && !seen; p++)
                for (int k = 0; k < steps[p].n; k++)
                    if (same_labels(&steps[p].e[k], &x, true)) {
                        out->fails |= n && times[n - 1] == at[p];
                        times[n] = at[p];
                        v[n++] = steps[p].e[k].v;
                        if (n == STEPS_MAX)
                            n--;
                    }
            x.drop |= e->what != LAST_OVER;
            if (!seen && slow_over(e->what, times, v, n, t - e->range_ms, t, &x.v))
                add(out, x);
        }
    free(steps);
}

static void slow_aggregate(const struct expr *e, int64_t t, struct vector *out)
{
    struct vector in = {.n = 0};
    bool keeps_a = e->by_a != e->without, keeps_b = e->by_b != e->without;
    slow(e->l, t, &in);
    out->fails |= in.fails;
    for (int i = 0; i < in.n; i++) {
        struct element g = {
            .name = "", .a = keeps_a ? in.e[i].a : "", .b = keeps_b ? in.e[i].b : ""};
        double sum = 0, least = INFINITY, most = -INFINITY;
        int n = 0;
        bool first = true;
        for (int k = 0; k < in.n; k++) {
            struct element h = {
                .name = "", .a = keeps_a ? in.e[k].a : "", .b = keeps_b ? in.e[k].b : ""};
            if (!same_labels(&g, &h, true))
                continue;
            first &= k >= i;
            n++;
            sum += in.e[k].v;
            least = fmin(least, in.e[k].v);
            most = fmax(most, in.e[k].v);
        }
        const double answers[] = {sum, sum / n, least, most, n};
        g.v = answers[e->what];
        if (first)
            add(out, g);
    }
}

/* false: the element is filtered out. */
static bool apply(const struct expr *e, double l, double r, double *out)
{
    static const int arithmetic = 3;
    bool holds = e->what == 3 ? l > r : e->what == 4 ? l <= r : l != r;
    *out = e->what == 0      ? l + r
           : e->what == 1    ? l - r
           : e->what == 2    ? l * r
           : e->returns_bool ? holds
                             : l;
    return e->what < arithmetic || e->returns_bool || holds;
}

static void slow_binary(const struct expr *e, int64_t t, struct vector *out)
{
    struct vector l = {.n = 0}, r = {.n = 0};
    bool taken[VECTOR_MAX] = {false};
    slow(e->l, t, &l);
    slow(e->r, t, &r);
    out->fails |= l.fails || r.fails;
    for (int k = 0; k < r.n && e->what < 6; k++)
        for (int p = 0; p < k; p++)
            out->fails |= same_labels(&r.e[k], &r.e[p], false);
    for (int i = 0; i < l.n; i++) {
        int match = -1;
        for (int k = 0; k < r.n; k++)
            if (same_labels(&l.e[i], &r.e[k], false))
                match = k;
        struct element x = l.e[i];
        if (e->what >= 6) {
            if (e->what == 7 || (match >= 0) == (e->what == 6))
                add(out, x);
            continue;
        }
        if (match < 0)
            continue;
        out->fails |= taken[match];
        taken[match] = true;
        x.drop |= e->what < 3 || e->returns_bool;
        if (apply(e, l.e[i].v, r.e[match].v, &x.v))
            add(out, x);
    }
    for (int k = 0; k < r.n && e->what == 7; k++) {
        bool there = false;
        for (int i = 0; i < l.n; i++)
            there |= same_labels(&l.e[i], &r.e[k], false);
        if (!there)
            add(out, r.e[k]);
    }
}

static void slow(const struct expr *e, int64_t t, struct vector *out)
{
    struct vector in = {.n = 0};
    switch (e->kind) {
    case SELECTOR: slow_selector(e, t, out); return;
    case RANGE: slow_range(e, t, out); return;
    case SUBQUERY: slow_subquery(e, t, out); return;
    case AGGREGATE: slow_aggregate(e, t, out); return;
    case BINARY: slow_binary(e, t, out); return;
    default: break;
    }
    slow(e->l, t, &in);
    out->fails |= in.fails;
    for (int i = 0; i < in.n; i++) {
        struct element x = in.e[i];
        const double v = x.v;
        const double answers[] = {fabs(v), ceil(v), floor(v), -v, v > 0 ? 1 : v < 0 ? -1 : v};
        bool stays = e->kind == CALL || apply(e, v, e->number, &x.v);
        if (e->kind == CALL)
            x.v = answers[e->what];
        x.drop |= e->kind == CALL || e->what < 3 || e->returns_bool;
        if (stays)
            add(out, x);
    }
}

/* --- comparing --------------------------------------------------------------------------------- */

static bool is_near(double x, double y)
{
    return (isnan(x) && isnan(y)) || x == y || fabs(x - y) <= 1e-9 * fmax(fabs(x), fabs(y)) + 1e-9;
}

static const char *label(const struct query_row *r, const char *name, char text[32])
{
    struct bytes v = tsdb_labels_get(r->labels, bytes_str(name));
    snprintf(text, 32, BYTES_FMT, BYTES_ARG(v));
    return text;
}

/* Everything the slow one gives at t is in the result, and nothing else. */
static bool agrees(const struct query_result *r, const struct vector *v, int64_t t)
{
    int found = 0;
    for (size_t k = 0; k < r->count; k++)
        for (size_t i = 0; i < r->rows[k].count; i++) {
            char name[32], a[32], b[32];
            if (r->rows[k].t_ms[i] != t)
                continue;
            struct element x = {.name = label(&r->rows[k], "__name__", name),
                                .a = label(&r->rows[k], "a", a),
                                .b = label(&r->rows[k], "b", b)};
            bool ok = false;
            for (int m = 0; m < v->n; m++) {
                struct element y = v->e[m];
                y.name = y.drop ? "" : y.name;
                ok |= same_labels(&x, &y, true) && is_near(y.v, r->rows[k].value[i]);
            }
            if (!ok)
                return false;
            found++;
        }
    return found == v->n;
}

static bool has_twins(struct vector *v)
{
    bool twins = v->fails;
    for (int i = 0; i < v->n; i++)
        for (int k = 0; k < i; k++) {
            struct element x = v->e[i], y = v->e[k];
            x.name = x.drop ? "" : x.name;
            y.name = y.drop ? "" : y.name;
            twins |= same_labels(&x, &y, true);
        }
    return twins;
}

/* The same series with its name and without, at different steps: while names are dropped at the end, these are one row. */
static bool is_two_faced(const struct vector *at, int steps)
{
    for (int s = 0; s < steps; s++)
        for (int i = 0; i < at[s].n; i++)
            for (int p = 0; p < s; p++)
                for (int k = 0; k < at[p].n; k++)
                    if (same_labels(&at[s].e[i], &at[p].e[k], true) &&
                        at[s].e[i].drop != at[p].e[k].drop)
                        return true;
    return false;
}

struct tally {
    unsigned compared, empty, ambiguous, wrong;
};

static void compare_one(struct query_source *src, struct tally *n, bool reports)
{
    enum { STEPS = 12 };
    struct arena *a = arena_new(64 << 20);
    struct vector *at = calloc(STEPS, sizeof *at);
    struct query_result r;
    struct err_msg msg = {""};
    struct buf text;
    int64_t start = 600000 + rnd(1000000), step = 1 + rnd(120000);
    size_t elements = 0;
    bool twins = false;
    used = 0;
    const struct expr *e = make(4);
    buf_init(&text, 0);
    put(&text, e);
    for (int i = 0; i < STEPS; i++) {
        slow(e, start + i * step, &at[i]);
        twins |= has_twins(&at[i]);
        elements += (size_t)at[i].n;
    }
    enum err err = query_range(src, NULL, buf_bytes(&text), start, start + (STEPS - 1) * step, step,
                               a, &r, &msg);
    bool wrong = err != ERR_OK;
    for (int i = 0; i < STEPS && !wrong; i++)
        wrong = !agrees(&r, &at[i], start + i * step);
    if (twins ||
        is_two_faced(
            at,
            STEPS)) { /* an error, or not where the twins are of no consequence: promqltest has these */
        n->ambiguous++;
    } else {
        n->compared++;
        n->empty += elements == 0;
        n->wrong += wrong;
        if (wrong && reports)
            print_message("start %lld step %lld: " BYTES_FMT ": %s\n", (long long)start,
                          (long long)step, BYTES_ARG(buf_bytes(&text)),
                          err == ERR_OK ? "other values" : msg.text);
    }
    buf_done(&text);
    free(at);
    arena_free(a);
}

static struct tally compare_many(unsigned count, bool reports)
{
    struct tally n = {0};
    for (unsigned i = 0; i < count; i += 25) {
        struct query_memory *m = make_data();
        struct query_source src = query_memory_source(m);
        for (unsigned k = 0; k < 25; k++)
            compare_one(&src, &n, reports);
        query_memory_free(m);
    }
    return n;
}

static void test_random_questions_have_the_obvious_answers(void **state)
{
    seed = 11;
    struct tally n = compare_many(1000, true);
    print_message("%u compared (%u empty), %u ambiguous, %u wrong\n", n.compared, n.empty,
                  n.ambiguous, n.wrong);
    assert_true(n.compared > 700 && n.empty < n.compared / 4);
    assert_int_equal(n.wrong, 0);
}

/* An evaluator that overlooks resets must be told apart. */
static void test_the_comparison_can_fail(void **state)
{
    seed = 12;
    forgets_resets = true;
    struct tally n = compare_many(200, false);
    forgets_resets = false;
    assert_true(n.wrong > 5);
}

/* --- hostile questions ------------------------------------------------------------------------- */

#define HOSTILE 10000
#define MEMORY_MAX (32u << 20)
#define DEADLINE_NS INT64_C(100000000)
#define SLACK_NS INT64_C(8000000000) /* of a machine that has much else to do, under ASan */

static void put_soup(struct buf *b)
{
    static const char *const tokens[] = {"sum",
                                         "(",
                                         ")",
                                         "{",
                                         "}",
                                         "[",
                                         "]",
                                         "5m",
                                         ":",
                                         "by",
                                         ",",
                                         "m",
                                         "+",
                                         "-",
                                         "*",
                                         "/",
                                         "^",
                                         "offset",
                                         "@",
                                         "\"",
                                         "'",
                                         "`",
                                         "a=~\"(a|b)*c\"",
                                         "1e308",
                                         "NaN",
                                         "Inf",
                                         "0x",
                                         "ignoring",
                                         "group_left",
                                         "topk",
                                         "bool",
                                         "and",
                                         "unless",
                                         "#",
                                         "\n",
                                         "\xff",
                                         "\\u12",
                                         "start()",
                                         "rate",
                                         "{__name__=~\".+\"}",
                                         "9223372036854775807",
                                         "1y",
                                         "[9999y:1ms]"};
    for (unsigned n = 1 + rnd(60); n > 0; n--)
        buf_printf(b, "%s ", tokens[rnd(ARRAY_LEN(tokens))]);
}

static void put_deep(struct buf *b)
{
    static const char *const opens[] = {"(",        "-", "abs(", "sum(", "1+(", "max_over_time((",
                                        "m[1m:1s]["};
    unsigned n = 1 + rnd(rnd(4) ? 90 : 3000), k = rnd(ARRAY_LEN(opens));
    for (unsigned i = 0; i < n; i++)
        buf_str(b, opens[rnd(20) ? k : rnd(ARRAY_LEN(opens))]);
    buf_str(b, "m");
    for (unsigned i = 0; i < n; i++)
        buf_str(b, k == 5 ? ")[1h:1s])" : ")");
}

static void put_costly(struct buf *b)
{
    static const char *const forms[] = {
        "max_over_time(max_over_time(max_over_time(m[1h:1s])[1h:1s])[1h:1s])",
        "sum({__name__=~\".*.*.*.*.*.*x\"})",
        "{a=~\"((((a*)*)*)*)*b\"}",
        "{a=~\"(x+x+)+y\"} or {a=~\"(.*)(.*)(.*)(.*)[^z]\"}",
        "count_over_time({__name__=~\".+\"}[100y])",
        "rate(m[100y:1ms])",
        "label_replace(m, \"c\", \"$1$1$1$1$1$1$1$1$1$1\", \"a\", \"(.*)\")",
        "label_join(m, \"c\", \"-\", \"a\", \"a\", \"a\", \"a\")",
        "topk(1e300, m)",
        "bottomk(-1, m)",
        "limitk(9e18, m)",
        "quantile(NaN, m)",
        "limit_ratio(Inf, m)",
        "m ^ m ^ m ^ m ^ m ^ m ^ m",
        "1 / 0 * m % 0",
        "histogram_quantile(2, m)",
        "sort(sort_desc(sort(m)))",
        "absent(absent(absent(m)))",
        "predict_linear(m[1h], 1e308)",
        "m offset 100y",
        "m offset -100y",
        "m @ 1e12",
        "m @ -1e12",
        "count_values(\"v\", m) by (a)",
        "m * on (a) group_left () n_total",
        "info(m)",
        "m[1h:0s]",
        "holt_winters(m[1h], 2, 3)",
        "double_exponential_smoothing(m[1h], 0.5, 0.5)",
        "sum by (a, a, a, a) (m)",
        "vector(time()) * scalar(m)",
        "timestamp(timestamp(m))"};
    unsigned n = 1 + rnd(6);
    for (unsigned i = 0; i < n; i++) {
        if (i)
            buf_str(b, rnd(2) ? " or " : " + ");
        buf_printf(b, "(%s)", forms[rnd(ARRAY_LEN(forms))]);
    }
}

static void put_damaged(struct buf *b)
{
    size_t from = b->size;
    used = 0;
    put(b, make(5));
    for (unsigned n = 1 + rnd(4); n > 0 && b->size > from; n--)
        b->data[from + rnd((unsigned)(b->size - from))] = (uint8_t)rnd(256);
}

static void test_hostile_questions_end_soon_in_little_memory(void **state)
{
    struct query_memory *m;
    struct query_source src;
    unsigned answered = 0, refused = 0, limited = 0;
    int64_t slowest = 0;
    seed = 13;
    m = make_data();
    src = query_memory_source(m);
    for (unsigned i = 0; i < HOSTILE; i++) {
        struct arena *a = arena_new(MEMORY_MAX);
        struct buf text;
        struct query_result r;
        struct err_msg msg = {""};
        int64_t begun = clock_mono_ns();
        struct query_limits limits = {.samples_max = 300000,
                                      .deadline_mono_ns = begun + DEADLINE_NS};
        buf_init(&text, 0);
        switch (rnd(4)) {
        case 0: put_soup(&text); break;
        case 1: put_deep(&text); break;
        case 2: put_costly(&text); break;
        default: put_damaged(&text); break;
        }
        enum err e = rnd(2) ? query_instant(&src, &limits, buf_bytes(&text), (int64_t)rnd(END_MS),
                                            a, &r, &msg)
                            : query_range(&src, &limits, buf_bytes(&text), 0, END_MS,
                                          1 + rnd(60000), a, &r, &msg);
        int64_t took = clock_mono_ns() - begun;
        slowest = MAX(slowest, took);
        if (took > DEADLINE_NS + SLACK_NS)
            fail_msg("%.1f s: " BYTES_FMT, (double)took / 1e9, BYTES_ARG(buf_bytes(&text)));
        assert_true(arena_used(a) <= MEMORY_MAX + (2u << 20));
        if (e != ERR_OK && e != ERR_INVALID && e != ERR_EXECUTION && e != ERR_LIMIT &&
            e != ERR_TIMEOUT)
            fail_msg("%s: " BYTES_FMT, err_text(e), BYTES_ARG(buf_bytes(&text)));
        if (e == ERR_INVALID && !msg.text[0])
            fail_msg("no word about " BYTES_FMT, BYTES_ARG(buf_bytes(&text)));
        answered += e == ERR_OK;
        refused += e == ERR_INVALID || e == ERR_EXECUTION;
        limited += e == ERR_LIMIT || e == ERR_TIMEOUT;
        buf_done(&text);
        arena_free(a);
    }
    query_memory_free(m);
    print_message("%u answered, %u refused, %u past a limit; the slowest took %.0f ms\n", answered,
                  refused, limited, (double)slowest / 1e6);
    assert_true(answered > HOSTILE / 20 && refused > HOSTILE / 10 && limited > HOSTILE / 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_questions_have_the_obvious_answers),
        cmocka_unit_test(test_the_comparison_can_fail),
        cmocka_unit_test(test_hostile_questions_end_soon_in_little_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
