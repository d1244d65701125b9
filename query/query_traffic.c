#include "query/query_traffic.h"

#include "base/check.h"
#include "query/query_hist.h"

#include <math.h>
#include <stdlib.h>

#define MATCHERS_MAX 8
#define CLASSES_MAX 64 /* pairs of outcome and fault: 13 x 5 at the very most */
#define MINUTE_MS INT64_C(60000)

/* A list of equality matchers that grows and shrinks like a stack. */
struct where {
    struct tsdb_matcher m[MATCHERS_MAX];
    size_t n;
};

static void where_eq(struct where *w, const char *name, struct bytes value)
{
    CHECK(w->n < MATCHERS_MAX);
    w->m[w->n++] = (struct tsdb_matcher){
        .op = TSDB_MATCH_EQ, .name = bytes_str(name), .value = value.data ? value : BYTES_LIT("")};
}

/* Rows of the family that the question is about; user plane: the label `plane` is absent. */
static struct where where_family(const struct query_traffic_ask *q, const char *family,
                                 bool all_planes)
{
    struct where w = {.n = 0};
    where_eq(&w, "__name__", bytes_str(family));
    if (!all_planes)
        where_eq(&w, "plane", BYTES_NONE);
    if (q->service.size)
        where_eq(&w, "service", q->service);
    if (q->model.size)
        where_eq(&w, "model", q->model);
    return w;
}

/* The pairs (outcome, fault) that occur, each with what it means for the SLI. */
struct classes {
    struct {
        struct bytes outcome, fault;
        enum query_slo_class class;
    } at[CLASSES_MAX];
    size_t n;
};

static enum err classes_read(struct tsdb_view *v, const struct query_traffic_ask *q,
                             const char *family, bool level_call, struct arena *a,
                             struct classes *out)
{
    struct where w = where_family(q, family, false);
    struct bytes *outcomes, *faults;
    size_t outcome_count, fault_count;
    int64_t min_ms = q->from * MINUTE_MS, max_ms = q->to * MINUTE_MS - 1;
    out->n = 0;
    enum err e = tsdb_label_values(v, BYTES_LIT("outcome"), w.m, w.n, min_ms, max_ms, a, &outcomes,
                                   &outcome_count);
    for (size_t i = 0; e == ERR_OK && i < outcome_count; i++) {
        struct where o = w;
        where_eq(&o, "outcome", outcomes[i]);
        e = tsdb_label_values(v, BYTES_LIT("fault"), o.m, o.n, min_ms, max_ms, a, &faults,
                              &fault_count);
        /* the label is absent where nobody is at fault; values of both kinds may occur under one outcome */
        for (size_t k = 0; e == ERR_OK && k <= fault_count && out->n < CLASSES_MAX; k++) {
            struct bytes fault = k < fault_count ? faults[k] : BYTES_NONE;
            if (k < fault_count && !fault.size)
                continue;
            out->at[out->n].outcome = outcomes[i];
            out->at[out->n].fault = fault;
            out->at[out->n++].class = query_slo_classify(level_call, outcomes[i], fault);
        }
    }
    return e;
}

static struct where where_class(struct where w, const struct classes *c, size_t i)
{
    where_eq(&w, "outcome", c->at[i].outcome);
    where_eq(&w, "fault", c->at[i].fault);
    return w;
}

static int64_t *class_field(struct query_traffic_counts *c, enum query_slo_class class)
{
    return class == QUERY_SLO_GOOD ? &c->good : class == QUERY_SLO_BAD ? &c->bad : &c->excluded;
}

static enum err counts_read(struct tsdb_view *v, const struct query_traffic_ask *q,
                            const char *family, bool level_call, struct arena *a,
                            struct query_traffic_counts *out)
{
    struct classes c;
    struct where w = where_family(q, family, false);
    enum err e = classes_read(v, q, family, level_call, a, &c);
    *out = (struct query_traffic_counts){0};
    for (size_t i = 0; e == ERR_OK && i < c.n; i++) {
        struct where one = where_class(w, &c, i);
        int64_t sum = 0;
        e = tsdb_cells_sum(v, one.m, one.n, q->from, q->to, &sum);
        if (e == ERR_OK)
            *class_field(out, c.at[i].class) += sum;
    }
    return e;
}

static enum err sum_read(struct tsdb_view *v, const struct query_traffic_ask *q, const char *family,
                         const char *type, bool all_planes, int64_t *out)
{
    struct where w = where_family(q, family, all_planes);
    if (type)
        where_eq(&w, "type", bytes_str(type));
    *out = 0;
    return tsdb_cells_sum(v, w.m, w.n, q->from, q->to, out);
}

static enum err quantiles_of(struct tsdb_view *v, const struct where *w, uint32_t from, uint32_t to,
                             struct arena *a, double *n, double *p50, double *p95, double *p99)
{
    struct tsdb_hist h = {0};
    *n = 0;
    *p50 = *p95 = *p99 = NAN;
    enum err e = tsdb_cells_hist(v, w->m, w->n, from, to, a, &h);
    if (e != ERR_OK || h.count <= 0)
        return e == ERR_NOT_FOUND ? ERR_OK : e;
    const struct query_hist *q = query_hist_of(&h, a);
    if (!q)
        return ERR_LIMIT;
    *n = h.count;
    *p50 = query_hist_quantile(0.50, q, a, NULL);
    *p95 = query_hist_quantile(0.95, q, a, NULL);
    *p99 = query_hist_quantile(0.99, q, a, NULL);
    return ERR_OK;
}

static enum err check(const struct query_traffic_ask *q)
{
    return q->to > q->from && q->to - q->from <= QUERY_TRAFFIC_MINUTES_MAX && q->step > 0
               ? ERR_OK
               : ERR_INVALID;
}

enum err query_traffic_totals(struct tsdb_view *v, const struct query_traffic_ask *q,
                              struct arena *a, struct query_traffic *out)
{
    struct query_traffic t = {.from = q->from, .to = q->to, .step = q->step};
    const struct {
        const char *type;
        int64_t *to;
    } tokens[] = {{"input", &t.input_tokens},
                  {"output", &t.output_tokens},
                  {"cache_read", &t.cache_read_tokens},
                  {"reasoning", &t.reasoning_tokens}};
    int64_t cost_all = 0;
    enum err e = check(q);
    if (e == ERR_OK)
        e = counts_read(v, q, "llm_requests_total", true, a, &t.calls);
    if (e == ERR_OK)
        e = counts_read(v, q, "llm_user_requests_total", false, a, &t.requests);
    for (size_t i = 0; e == ERR_OK && i < ARRAY_LEN(tokens); i++)
        e = sum_read(v, q, "llm_tokens_total", tokens[i].type, false, tokens[i].to);
    if (e == ERR_OK)
        e = sum_read(v, q, "llm_cost_nanousd_total", NULL, false, &t.cost_nanousd);
    if (e == ERR_OK)
        e = sum_read(v, q, "llm_cost_nanousd_total", NULL, true, &cost_all);
    if (e == ERR_OK)
        e = sum_read(v, q, "llm_unpriced_requests_total", NULL, false, &t.unpriced);
    t.cost_other_planes_nanousd = cost_all - t.cost_nanousd;
    struct where latency = where_family(q, "llm_request_duration_seconds", false);
    struct where ttft = where_family(q, "llm_time_to_first_token_seconds", false);
    if (e == ERR_OK)
        e = quantiles_of(v, &latency, q->from, q->to, a, &t.latency.n, &t.latency.p50,
                         &t.latency.p95, &t.latency.p99);
    if (e == ERR_OK)
        e = quantiles_of(v, &ttft, q->from, q->to, a, &t.ttft.n, &t.ttft.p50, &t.ttft.p95,
                         &t.ttft.p99);
    if (e == ERR_OK)
        *out = t;
    return e;
}

/* --- points ------------------------------------------------------------------------------------ */

/* Minute sums of what w matches, folded into points (added). */
static enum err fold(struct tsdb_view *v, const struct where *w, const struct query_traffic *t,
                     int64_t *minutes, int64_t *points, size_t stride)
{
    uint32_t n = t->to - t->from;
    memset(minutes, 0, n * sizeof *minutes);
    enum err e = tsdb_cells_minutes(v, w->m, w->n, t->from, t->to, minutes);
    for (uint32_t i = 0; e == ERR_OK && i < n; i++)
        points[(i / t->step) * stride] += minutes[i];
    return e;
}

static enum err calls_at(struct tsdb_view *v, const struct query_traffic_ask *q,
                         const struct classes *c, int64_t *minutes, struct query_traffic *t)
{
    struct where w = where_family(q, "llm_requests_total", false);
    enum err e = ERR_OK;
    for (size_t i = 0; e == ERR_OK && i < c->n; i++) {
        struct where one = where_class(w, c, i);
        e = fold(v, &one, t, minutes, class_field(&t->calls_at[0], c->at[i].class),
                 sizeof t->calls_at[0] / sizeof(int64_t));
    }
    return e;
}

static enum err quantiles_at(struct tsdb_view *v, const struct query_traffic_ask *q,
                             const char *family, struct arena *a, struct query_traffic *t,
                             struct query_traffic_quantiles *out)
{
    struct where w = where_family(q, family, false);
    double *values = ARENA_ARRAY(a, double, 3 * t->count);
    enum err e = values ? ERR_OK : ERR_LIMIT;
    if (e != ERR_OK)
        return e;
    out->p50_at = values;
    out->p95_at = values + t->count;
    out->p99_at = values + 2 * t->count;
    for (size_t i = 0; e == ERR_OK && i < t->count; i++) {
        uint32_t from = t->from + (uint32_t)i * t->step;
        double n;
        out->p50_at[i] = out->p95_at[i] = out->p99_at[i] = NAN;
        const struct query_traffic_counts *c = &t->calls_at[i];
        if (c->good + c->bad + c->excluded > 0) /* no calls, no durations */
            e = quantiles_of(v, &w, from, MIN(from + t->step, t->to), a, &n, &out->p50_at[i],
                             &out->p95_at[i], &out->p99_at[i]);
    }
    return e;
}

static int by_calls(const void *x, const void *y)
{
    const struct tsdb_cells_group *a = x, *b = y;
    return a->sum < b->sum ? 1 : a->sum > b->sum ? -1 : bytes_compare(a->value, b->value);
}

static enum err model_read(struct tsdb_view *v, const struct query_traffic_ask *q,
                           const struct classes *c, struct arena *a, int64_t *minutes,
                           const struct query_traffic *t, struct query_traffic_model *m)
{
    struct query_traffic_ask one = *q;
    double n, skip;
    one.model = m->model;
    struct where w = where_family(&one, "llm_requests_total", false);
    enum err e = ERR_OK;
    if (!one.model.size) /* where_family leaves an empty model out: here it means "has none" */
        where_eq(&w, "model", BYTES_NONE);
    for (size_t i = 0; e == ERR_OK && i < c->n; i++) {
        struct where k = where_class(w, c, i);
        int64_t sum = 0;
        e = tsdb_cells_sum(v, k.m, k.n, q->from, q->to, &sum);
        *class_field(&m->calls, c->at[i].class) += sum;
        if (e == ERR_OK && sum)
            e = fold(v, &k, t, minutes, m->calls_at, 1);
        if (e == ERR_OK && sum && c->at[i].class == QUERY_SLO_BAD)
            e = fold(v, &k, t, minutes, m->bad_at, 1);
    }
    if (e != ERR_OK || !one.model.size)
        return e;
    struct where cost = where_family(&one, "llm_cost_nanousd_total", false);
    struct where latency = where_family(&one, "llm_request_duration_seconds", false);
    struct where ttft = where_family(&one, "llm_time_to_first_token_seconds", false);
    static const char *const types[] = {"input", "output"};
    e = sum_read(v, &one, "llm_tokens_total", "input", false, &m->input_tokens);
    if (e == ERR_OK)
        e = sum_read(v, &one, "llm_tokens_total", "output", false, &m->output_tokens);
    if (e == ERR_OK)
        e = sum_read(v, &one, "llm_cost_nanousd_total", NULL, false, &m->cost_nanousd);
    if (e == ERR_OK)
        e = fold(v, &cost, t, minutes, m->cost_at, 1);
    for (size_t i = 0; e == ERR_OK && i < ARRAY_LEN(types); i++) {
        struct where tokens = where_family(&one, "llm_tokens_total", false);
        where_eq(&tokens, "type", bytes_str(types[i]));
        e = fold(v, &tokens, t, minutes, m->tokens_at, 1);
    }
    if (e == ERR_OK)
        e = quantiles_of(v, &latency, q->from, q->to, a, &n, &m->p50, &m->p95, &m->p99);
    if (e == ERR_OK)
        e = quantiles_of(v, &ttft, q->from, q->to, a, &n, &m->ttft_p50, &m->ttft_p95, &skip);
    return e;
}

static bool model_init(struct arena *a, const struct query_traffic *t,
                       struct query_traffic_model *m)
{
    int64_t *points = ARENA_ARRAY(a, int64_t, 4 * t->count);
    m->p50 = m->p95 = m->p99 = m->ttft_p50 = m->ttft_p95 = NAN;
    m->calls_at = points;
    m->bad_at = points ? points + t->count : NULL;
    m->cost_at = points ? points + 2 * t->count : NULL;
    m->tokens_at = points ? points + 3 * t->count : NULL;
    return points != NULL;
}

/* What is left when the named models are taken from the whole. */
static enum err rest_read(struct tsdb_view *v, const struct query_traffic_ask *q, int64_t *minutes,
                          struct query_traffic *t, struct query_traffic_model *rest)
{
    struct where cost = where_family(q, "llm_cost_nanousd_total", false);
    static const char *const types[] = {"input", "output"};
    enum err e = fold(v, &cost, t, minutes, rest->cost_at, 1);
    for (size_t i = 0; e == ERR_OK && i < ARRAY_LEN(types); i++) {
        struct where tokens = where_family(q, "llm_tokens_total", false);
        where_eq(&tokens, "type", bytes_str(types[i]));
        e = fold(v, &tokens, t, minutes, rest->tokens_at, 1);
    }
    rest->is_rest = true;
    rest->model = BYTES_LIT("other");
    rest->calls = t->calls;
    rest->input_tokens = t->input_tokens;
    rest->output_tokens = t->output_tokens;
    rest->cost_nanousd = t->cost_nanousd;
    for (size_t i = 0; i < t->count; i++) {
        rest->calls_at[i] = t->calls_at[i].good + t->calls_at[i].bad + t->calls_at[i].excluded;
        rest->bad_at[i] = t->calls_at[i].bad;
    }
    for (size_t k = 0; k < t->model_count; k++) {
        const struct query_traffic_model *m = &t->models[k];
        rest->calls.good -= m->calls.good;
        rest->calls.bad -= m->calls.bad;
        rest->calls.excluded -= m->calls.excluded;
        rest->input_tokens -= m->input_tokens;
        rest->output_tokens -= m->output_tokens;
        rest->cost_nanousd -= m->cost_nanousd;
        for (size_t i = 0; i < t->count; i++) {
            rest->calls_at[i] -= m->calls_at[i];
            rest->bad_at[i] -= m->bad_at[i];
            rest->cost_at[i] -= m->cost_at[i];
            rest->tokens_at[i] -= m->tokens_at[i];
        }
    }
    return e;
}

static enum err models_read(struct tsdb_view *v, const struct query_traffic_ask *q,
                            const struct classes *c, struct arena *a, int64_t *minutes,
                            struct query_traffic *t)
{
    struct where w = where_family(q, "llm_requests_total", false);
    struct tsdb_cells_group *groups = NULL;
    size_t count = 0;
    enum err e = tsdb_cells_by(v, w.m, w.n, BYTES_LIT("model"), q->from, q->to, a, &groups, &count);
    if (e != ERR_OK || count == 0)
        return e;
    qsort(groups, count, sizeof *groups, by_calls);
    size_t named = count <= QUERY_TRAFFIC_MODELS_MAX + 1 ? count : QUERY_TRAFFIC_MODELS_MAX;
    t->models = ARENA_ARRAY(a, struct query_traffic_model, named + 1);
    if (!t->models)
        return ERR_LIMIT;
    for (size_t i = 0; e == ERR_OK && i < named; i++) {
        t->models[i].model = groups[i].value;
        e = model_init(a, t, &t->models[i]) ? model_read(v, q, c, a, minutes, t, &t->models[i])
                                            : ERR_LIMIT;
    }
    t->model_count = named;
    if (e == ERR_OK && named < count) {
        struct query_traffic_model *rest = &t->models[named];
        e = model_init(a, t, rest) ? rest_read(v, q, minutes, t, rest) : ERR_LIMIT;
        t->model_count++;
    }
    return e;
}

enum err query_traffic_read(struct tsdb_view *v, const struct query_traffic_ask *q, struct arena *a,
                            struct query_traffic *out)
{
    struct query_traffic t;
    struct classes c;
    enum err e = query_traffic_totals(v, q, a, &t);
    if (e != ERR_OK)
        return e;
    t.count = (q->to - q->from + q->step - 1) / q->step;
    if (t.count > QUERY_TRAFFIC_POINTS_MAX)
        return ERR_INVALID;
    int64_t *minutes = ARENA_ARRAY(a, int64_t, q->to - q->from);
    t.calls_at = ARENA_ARRAY(a, struct query_traffic_counts, t.count);
    if (!minutes || !t.calls_at)
        return ERR_LIMIT;
    e = classes_read(v, q, "llm_requests_total", true, a, &c);
    if (e == ERR_OK)
        e = calls_at(v, q, &c, minutes, &t);
    if (e == ERR_OK)
        e = quantiles_at(v, q, "llm_request_duration_seconds", a, &t, &t.latency);
    if (e == ERR_OK)
        e = quantiles_at(v, q, "llm_time_to_first_token_seconds", a, &t, &t.ttft);
    if (e == ERR_OK)
        e = models_read(v, q, &c, a, minutes, &t);
    if (e == ERR_OK)
        *out = t;
    return e;
}

/* --- who is responsible ------------------------------------------------------------------------ */

struct shares {
    struct query_traffic_share *at;
    size_t n, cap;
};

/* Adds the groups to the shares of this dimension, which begin at `first`. */
static bool shares_add(struct shares *s, size_t first, const char *dim, struct arena *a,
                       const struct tsdb_cells_group *groups, size_t count, bool bad)
{
    for (size_t i = 0; i < count; i++) {
        size_t k = first;
        while (k < s->n && !bytes_equal(s->at[k].value, groups[i].value))
            k++;
        if (k == s->n) {
            if (s->n == s->cap) {
                size_t cap = s->cap ? 2 * s->cap : 64;
                s->at = arena_grow(a, s->at, sizeof *s->at, s->cap, cap);
                if (!s->at)
                    return false;
                s->cap = cap;
            }
            s->at[s->n++] = (struct query_traffic_share){.dim = dim, .value = groups[i].value};
        }
        if (bad)
            s->at[k].bad += groups[i].sum;
        s->at[k].all += groups[i].sum;
    }
    return true;
}

static int by_difference(const void *x, const void *y)
{
    const struct query_traffic_share *a = x, *b = y;
    double da = a->bad_share - a->all_share, db = b->bad_share - b->all_share;
    return da < db ? 1 : da > db ? -1 : a->bad < b->bad ? 1 : a->bad > b->bad ? -1 : 0;
}

enum err query_traffic_responsible(struct tsdb_view *v, const struct query_traffic_ask *q,
                                   size_t max, struct arena *a, struct query_traffic_share **out,
                                   size_t *out_count)
{
    static const char *const dims[] = {"model",   "provider", "endpoint",
                                       "service", "region",   "variant"};
    struct shares s = {0};
    struct classes c;
    struct where w = where_family(q, "llm_requests_total", false);
    enum err e = check(q);
    if (e == ERR_OK)
        e = classes_read(v, q, "llm_requests_total", true, a, &c);
    for (size_t d = 0; e == ERR_OK && d < ARRAY_LEN(dims); d++) {
        size_t first = s.n;
        int64_t bad = 0, all = 0;
        for (size_t i = 0; e == ERR_OK && i < c.n; i++) {
            struct where one = where_class(w, &c, i);
            struct tsdb_cells_group *groups;
            size_t count;
            if (c.at[i].class == QUERY_SLO_EXCLUDED)
                continue;
            e = tsdb_cells_by(v, one.m, one.n, bytes_str(dims[d]), q->from, q->to, a, &groups,
                              &count);
            if (e == ERR_OK &&
                !shares_add(&s, first, dims[d], a, groups, count, c.at[i].class == QUERY_SLO_BAD))
                e = ERR_LIMIT;
        }
        for (size_t k = first; k < s.n; k++) {
            bad += s.at[k].bad;
            all += s.at[k].all;
        }
        for (size_t k = first; k < s.n; k++) {
            s.at[k].bad_share = bad ? (double)s.at[k].bad / (double)bad : 0;
            s.at[k].all_share = all ? (double)s.at[k].all / (double)all : 0;
        }
    }
    if (e != ERR_OK)
        return e;
    size_t n = 0; /* what has no share in the trouble, or all of everything, explains nothing */
    for (size_t i = 0; i < s.n; i++)
        if (s.at[i].bad > 0 && s.at[i].value.size && s.at[i].bad_share > s.at[i].all_share)
            s.at[n++] = s.at[i];
    if (n)
        qsort(s.at, n, sizeof *s.at, by_difference);
    *out = s.at;
    *out_count = MIN(n, max);
    return ERR_OK;
}

enum err query_traffic_any(struct tsdb_view *v, struct arena *a, bool *out)
{
    struct tsdb_matcher m = {.op = TSDB_MATCH_EQ,
                             .name = BYTES_LIT("__name__"),
                             .value = BYTES_LIT("llm_requests_total")};
    struct bytes *values;
    size_t count = 0;
    enum err e =
        tsdb_label_values(v, BYTES_LIT("__name__"), &m, 1, 0, INT64_MAX / 2, a, &values, &count);
    if (e == ERR_OK)
        *out = count > 0;
    return e;
}

enum err query_traffic_values(struct tsdb_view *v, const char *label,
                              const struct query_traffic_ask *q, struct arena *a,
                              struct bytes **out, size_t *out_count)
{
    struct query_traffic_ask all = *q;
    all.service = all.model = BYTES_NONE;
    struct where w = where_family(&all, "llm_requests_total", false);
    return tsdb_label_values(v, bytes_str(label), w.m, w.n, q->from * MINUTE_MS,
                             q->to * MINUTE_MS - 1, a, out, out_count);
}
