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
static enum err groups_by(const struct query_slo_source *src, const struct query_slo *s,
                          const char *label, const struct tsdb_matcher *only, uint32_t from,
                          uint32_t to, struct arena *a, struct groups *out)
{
    *out = (struct groups){0};
    for (uint32_t k = 0; k < s->terms->count; k++) {
        const struct slo_term *t = &s->terms->terms[k];
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
    default: return "bad events";
    }
}

/* "gpt-4o in eu-west accounts for 91 % of bad requests": the label that stands out most, narrowed by the place where that is true too. */
static enum err phrase(const struct query_slo_source *src, const struct query_slo *s,
                       const char *label, struct bytes value, double of_bad, uint32_t from,
                       uint32_t to, struct arena *a, struct query_slo_blame *out)
{
    bool is_place = strcmp(label, "region") == 0;
    struct bytes where = BYTES_NONE;
    if (!is_place) {
        struct tsdb_matcher only = {.op = TSDB_MATCH_EQ, .name = bytes_str(label), .value = value};
        struct groups inside, all;
        enum err e = groups_by(src, s, "region", &only, from, to, a, &inside);
        if (e == ERR_OK)
            e = groups_by(src, s, "region", NULL, from, to, a, &all);
        if (e != ERR_OK)
            return e;
        const struct group *top = worst(&inside);
        if (top && all.count > 1 && stands_out(&inside, top) &&
            share(top->bad, all.bad) >= STANDS_OUT) {
            where = top->value;
            of_bad = share(top->bad, all.bad);
        }
    }
    struct bytes text =
        where.size ? arena_printf(a, BYTES_FMT " in " BYTES_FMT " accounts for %.0f %% of %s",
                                  BYTES_ARG(value), BYTES_ARG(where), of_bad * 100, noun_of(s))
                   : arena_printf(a, BYTES_FMT " accounts for %.0f %% of %s", BYTES_ARG(value),
                                  of_bad * 100, noun_of(s));
    if (!text.data)
        return ERR_LIMIT;
    out->phrase = text;
    return ERR_OK;
}

enum err query_slo_source_blame(const struct query_slo_source *src, const struct query_slo *s,
                                uint32_t from, uint32_t to, struct arena *a,
                                struct query_slo_blame *out)
{
    *out = (struct query_slo_blame){0};
    if (s->indicator == QUERY_SLO_COST)
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
    const char *best_label = NULL;
    struct bytes best_value = BYTES_NONE;
    double best_lift = 0, best_share = 0;
    for (size_t d = 0; d < ARRAY_LEN(dims); d++) {
        struct groups g;
        enum err e = groups_by(src, s, dims[d].label, NULL, from, to, a, &g);
        if (e != ERR_OK)
            return e;
        out->bad = g.bad;
        const struct group *top = worst(&g);
        if (!top)
            continue;
        *dims[d].value = top->value;
        *dims[d].share = share(top->bad, g.bad);
        double lift = *dims[d].share - share(top->eligible, g.eligible);
        if (stands_out(&g, top) && lift > best_lift + 0.01) {
            best_lift = lift;
            best_label = dims[d].label;
            best_value = top->value;
            best_share = *dims[d].share;
        }
    }
    if (!best_label)
        return ERR_OK;
    return phrase(src, s, best_label, best_value, best_share, from, to, a, out);
}
