/* Who is responsible: which value of which label holds most of the bad events, and more of them than of all events. */
#include "query/slo_terms.h"
#include "base/check.h"
#include <math.h>

#define STANDS_OUT 0.5 /* of the bad events */
#define OVER_SHARE 0.1 /* more than its share of all events */
#define GROUPS_MAX 2000u

struct group {
    struct bytes value;
    int64_t bad, eligible;
};

struct groups {
    struct group *list;
    size_t count;
    int64_t bad, eligible;
};

static enum err group_add(struct groups *g, struct arena *a, struct bytes value, enum slo_slot slot,
                          int64_t n)
{
    if (slot != SLO_SLOT_GOOD && slot != SLO_SLOT_BAD)
        return ERR_OK;
    size_t i = 0;
    while (i < g->count && !bytes_equal(g->list[i].value, value))
        i++;
    if (i == g->count) {
        if (g->count == GROUPS_MAX)
            return ERR_OK; /* the tail cannot stand out */
        g->list = arena_grow(a, g->list, sizeof(*g->list), g->count, g->count + 1);
        if (!g->list)
            return ERR_LIMIT;
        g->list[g->count++] = (struct group){.value = value};
    }
    g->list[i].eligible += n;
    g->eligible += n;
    if (slot == SLO_SLOT_BAD) {
        g->list[i].bad += n;
        g->bad += n;
    }
    return ERR_OK;
}

/* Bad and eligible events by one label, `only` added to every term's matchers when it has a name. */
static enum err groups_by(const struct query_slo_source *src, const struct slo_terms *terms,
                          const char *label, const struct tsdb_matcher *only, uint32_t from,
                          uint32_t to, struct arena *a, struct groups *out)
{
    *out = (struct groups){0};
    for (uint32_t k = 0; k < terms->count; k++) {
        const struct slo_term *t = &terms->terms[k];
        if (t->slot != SLO_SLOT_GOOD && t->slot != SLO_SLOT_BAD)
            continue;
        struct tsdb_matcher m[SLO_MATCHERS_MAX + 1];
        size_t n = 0;
        CHECK(t->n <= SLO_MATCHERS_MAX);
        for (size_t i = 0; i < t->n; i++)
            m[n++] = t->m[i];
        if (only)
            m[n++] = *only;
        struct tsdb_cells_group *g;
        size_t count;
        enum err e = src->by(src->ctx, m, n, bytes_str(label), from, to, a, &g, &count);
        for (size_t i = 0; e == ERR_OK && i < count; i++) {
            e = group_add(out, a, g[i].value, t->slot, t->sign * g[i].sum);
            if (e == ERR_OK && t->has_minus)
                e = group_add(out, a, g[i].value, t->minus, -t->sign * g[i].sum);
        }
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

static const struct group *worst(const struct groups *g)
{
    const struct group *top = NULL;
    for (size_t i = 0; i < g->count; i++)
        if (g->list[i].value.size && g->list[i].bad > 0 && (!top || g->list[i].bad > top->bad))
            top = &g->list[i];
    return top;
}

static double share(int64_t part, int64_t all)
{
    return all > 0 ? (double)part / (double)all : 0;
}

/* Most of the bad events, and more than its share of the traffic. */
static bool stands_out(const struct groups *g, const struct group *top)
{
    double of_bad = share(top->bad, g->bad);
    return of_bad >= STANDS_OUT && of_bad - share(top->eligible, g->eligible) >= OVER_SHARE;
}

static const char *noun_of(const struct query_slo *s)
{
    switch (s->indicator) {
    case QUERY_SLO_AVAILABILITY_REQUEST: return "bad requests";
    case QUERY_SLO_LATENCY: return s->level_call ? "slow calls" : "slow requests";
    case QUERY_SLO_TTFT: return "calls with a late first token";
    case QUERY_SLO_TPOT: return "calls with slow tokens";
    case QUERY_SLO_TRUNCATION: return "cut calls";
    case QUERY_SLO_AVAILABILITY_CALL: return "bad calls";
    case QUERY_SLO_ERROR_API: return "failed calls";
    case QUERY_SLO_ERROR_MODEL: return "calls with a useless answer";
    case QUERY_SLO_CACHE: return "cache misses";
    case QUERY_SLO_ROUTE: return "wrong routes";
    case QUERY_SLO_HALLUCINATION: return "flagged answers";
    default: return "bad events";
    }
}

/* What stands out, of whose events. */
struct culprit {
    const struct slo_terms *terms;
    const char *label, *noun;
    struct bytes value;
    double lift, share;
};

/* "gpt-4o in eu-west accounts for 91 % of bad requests": the value that stands out, narrowed by the place where that is true too. */
static enum err phrase(const struct query_slo_source *src, const struct culprit *c, uint32_t from,
                       uint32_t to, struct arena *a, struct query_slo_blame *out)
{
    struct bytes where = BYTES_NONE, text;
    double of_bad = c->share;
    if (strcmp(c->label, "region") != 0) {
        struct tsdb_matcher only = {
            .op = TSDB_MATCH_EQ, .name = bytes_str(c->label), .value = c->value};
        struct groups inside, all;
        enum err e = groups_by(src, c->terms, "region", &only, from, to, a, &inside);
        if (e == ERR_OK)
            e = groups_by(src, c->terms, "region", NULL, from, to, a, &all);
        if (e != ERR_OK)
            return e;
        const struct group *top = worst(&inside);
        if (top && all.count > 1 && stands_out(&inside, top) &&
            share(top->bad, all.bad) >= STANDS_OUT) {
            where = top->value;
            of_bad = share(top->bad, all.bad);
        }
    }
    text = where.size ? arena_printf(a, BYTES_FMT " in " BYTES_FMT " accounts for %.0f %% of %s",
                                     BYTES_ARG(c->value), BYTES_ARG(where), of_bad * 100, c->noun)
                      : arena_printf(a, BYTES_FMT " accounts for %.0f %% of %s",
                                     BYTES_ARG(c->value), of_bad * 100, c->noun);
    if (!text.data)
        return ERR_LIMIT;
    out->phrase = text;
    return ERR_OK;
}

/* One label: fills its part of out, and takes the place of *best when it stands out more. */
static enum err look_at(const struct query_slo_source *src, const struct slo_terms *terms,
                        const char *noun, const char *label, uint32_t from, uint32_t to,
                        struct arena *a, struct bytes *out_value, double *out_share,
                        struct culprit *best, int64_t *out_bad)
{
    struct groups g;
    enum err e = groups_by(src, terms, label, NULL, from, to, a, &g);
    if (e != ERR_OK)
        return e;
    if (out_bad)
        *out_bad = g.bad;
    const struct group *top = worst(&g);
    if (!top)
        return ERR_OK;
    *out_value = top->value;
    *out_share = share(top->bad, g.bad);
    double lift = *out_share - share(top->eligible, g.eligible);
    if (stands_out(&g, top) && lift > best->lift + 0.01)
        *best = (struct culprit){terms, label, noun, top->value, lift, *out_share};
    return ERR_OK;
}

enum err query_slo_source_blame(const struct query_slo_source *src, const struct query_slo *s,
                                uint32_t from, uint32_t to, struct arena *a,
                                struct query_slo_blame *out)
{
    *out = (struct query_slo_blame){0};
    if (query_slo_indicator_is_sliced(s->indicator))
        return ERR_OK; /* its events are slices, not rows */
    const struct {
        const char *label;
        struct bytes *value;
        double *share;
    } dims[] = {{"model", &out->model, &out->model_share},
                {"provider", &out->provider, &out->provider_share},
                {"endpoint", &out->endpoint, &out->endpoint_share},
                {"service", &out->service, &out->service_share},
                {"region", &out->region, &out->region_share}};
    struct culprit best = {0};
    for (size_t d = 0; d < ARRAY_LEN(dims); d++) {
        enum err e = look_at(src, s->terms, noun_of(s), dims[d].label, from, to, a, dims[d].value,
                             dims[d].share, &best, &out->bad);
        /* A request's row rarely names a model; the calls beneath it do. */
        if (e == ERR_OK && d < 2 && dims[d].value->size == 0 && s->terms->calls)
            e = look_at(src, s->terms->calls, "bad calls", dims[d].label, from, to, a,
                        dims[d].value, dims[d].share, &best, NULL);
        if (e != ERR_OK)
            return e;
    }
    return best.label ? phrase(src, &best, from, to, a, out) : ERR_OK;
}
