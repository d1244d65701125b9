#include "query/query_slo_replay.h"

#include <stdlib.h>

#include "base/check.h"
#include "query/slo_terms.h"

#define SAMPLES_CHUNK_MINUTES 1440u /* samples of so many minutes are held at once */

struct query_slo_replay {
    struct query_slo_source inner;
    const struct slo_terms *terms;
    uint32_t from, to;
    int64_t *before
        [SLO_TERMS_MAX]; /* before[k][i]: the events of term k in minutes from .. from + i - 1 */
};

static enum err read_samples(struct query_slo_replay *r, const struct slo_term *t, int64_t *out)
{
    enum err e = ERR_OK;
    for (uint32_t at = r->from; at < r->to && e == ERR_OK;) {
        uint32_t end = MIN(r->to, at + SAMPLES_CHUNK_MINUTES);
        e = r->inner.increases(r->inner.ctx, t->m, t->n, at, end, out + (at - r->from));
        at = end;
    }
    return e;
}

static enum err read_term(struct query_slo_replay *r, uint32_t k)
{
    const struct slo_term *t = &r->terms->terms[k];
    size_t n = r->to - r->from;
    int64_t *sums = calloc(n + 1, sizeof(*sums));
    r->before[k] = sums;
    if (!sums)
        return ERR_NOMEM;
    enum err e = r->inner.minutes(r->inner.ctx, t->m, t->n, r->from, r->to, sums + 1);
    if (e == ERR_OK && r->terms->with_samples && r->inner.increases)
        e = read_samples(r, t, sums + 1);
    for (size_t i = 1; i <= n; i++)
        sums[i] += sums[i - 1];
    return e;
}

enum err query_slo_replay_new(const struct query_slo_source *inner, const struct query_slo *s,
                              uint32_t from, uint32_t to, struct query_slo_replay **out)
{
    if (from >= to || to - from > QUERY_SLO_REPLAY_MINUTES_MAX)
        return ERR_INVALID;
    struct query_slo_replay *r = calloc(1, sizeof(*r));
    if (!r)
        return ERR_NOMEM;
    *r = (struct query_slo_replay){.inner = *inner, .terms = s->terms, .from = from, .to = to};
    enum err e = ERR_OK;
    for (uint32_t k = 0; k < s->terms->count && e == ERR_OK; k++)
        e = read_term(r, k);
    if (e != ERR_OK) {
        query_slo_replay_free(r);
        return e;
    }
    *out = r;
    return ERR_OK;
}

void query_slo_replay_free(struct query_slo_replay *r)
{
    if (!r)
        return;
    for (uint32_t k = 0; k < SLO_TERMS_MAX; k++)
        free(r->before[k]);
    free(r);
}

/* Terms are named by where their matchers lie. */
static const int64_t *sums_of(const struct query_slo_replay *r, const struct tsdb_matcher *m,
                              size_t n, uint32_t from, uint32_t to)
{
    if (from < r->from || to > r->to || from > to)
        return NULL;
    for (uint32_t k = 0; k < r->terms->count; k++)
        if (r->terms->terms[k].m == m && r->terms->terms[k].n == n)
            return r->before[k] + (from - r->from);
    return NULL;
}

static enum err replay_sum(void *ctx, const struct tsdb_matcher *m, size_t n, uint32_t from,
                           uint32_t to, int64_t *out)
{
    struct query_slo_replay *r = ctx;
    const int64_t *before = sums_of(r, m, n, from, to);
    if (!before)
        return r->inner.sum(r->inner.ctx, m, n, from, to, out);
    *out = before[to - from] - before[0];
    return ERR_OK;
}

static enum err replay_minutes(void *ctx, const struct tsdb_matcher *m, size_t n, uint32_t from,
                               uint32_t to, int64_t *out)
{
    struct query_slo_replay *r = ctx;
    const int64_t *before = sums_of(r, m, n, from, to);
    if (!before)
        return r->inner.minutes(r->inner.ctx, m, n, from, to, out);
    for (uint32_t i = 0; i < to - from; i++)
        out[i] += before[i + 1] - before[i];
    return ERR_OK;
}

static enum err replay_by(void *ctx, const struct tsdb_matcher *m, size_t n, struct bytes label,
                          uint32_t from, uint32_t to, struct arena *a,
                          struct tsdb_cells_group **out, size_t *out_count)
{
    const struct query_slo_replay *r = ctx;
    return r->inner.by(r->inner.ctx, m, n, label, from, to, a, out, out_count);
}

struct query_slo_source query_slo_replay_source(struct query_slo_replay *r)
{
    return (struct query_slo_source){
        .ctx = r, .sum = replay_sum, .minutes = replay_minutes, .by = replay_by};
}
