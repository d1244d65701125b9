/* Counts from a view of the store. */
#include "query/query_slo_source.h"
#include "base/check.h"
#include <math.h>

/* Two samples further apart than this are not joined: what happened between them is unknown. */
#define SAMPLE_GAP_MS (30 * INT64_C(60000))
#define SAMPLES_ARENA_BYTES (64u << 20)

static enum err view_sum(void *ctx, const struct tsdb_matcher *m, size_t n, uint32_t from,
                         uint32_t to, int64_t *out)
{
    return tsdb_cells_sum(ctx, m, n, from, to, out);
}

static enum err view_minutes(void *ctx, const struct tsdb_matcher *m, size_t n, uint32_t from,
                             uint32_t to, int64_t *out)
{
    return tsdb_cells_minutes(ctx, m, n, from, to, out);
}

static enum err view_by(void *ctx, const struct tsdb_matcher *m, size_t n, struct bytes label,
                        uint32_t from, uint32_t to, struct arena *a, struct tsdb_cells_group **out,
                        size_t *out_count)
{
    return tsdb_cells_by(ctx, m, n, label, from, to, a, out, out_count);
}

static enum err view_hist(void *ctx, const struct tsdb_matcher *m, size_t n, uint32_t from,
                          uint32_t to, struct arena *a, struct tsdb_hist *out)
{
    return tsdb_cells_hist(ctx, m, n, from, to, a, out);
}

static enum err view_changed(void *ctx, uint64_t since_seq, uint32_t *out_from, uint32_t *out_to,
                             uint64_t *out_seq)
{
    return tsdb_cells_changed(ctx, since_seq, out_from, out_to, out_seq);
}

/* Whole events only: floor(v) of both ends, so that the parts of a range add up to the range. A smaller value is a reset to zero. A first
 * sample counts from zero only where the series is known to have begun after the sample before it. */
static void add_increases(const struct tsdb_points *p, uint32_t from, uint32_t to, int64_t *out)
{
    int64_t t_before = 0;
    double v_before = (double)NAN;
    for (size_t i = 0; i < p->count; i++) {
        double v = p->value[i];
        if (isnan(v) || v < 0 || v > 9e15) /* stale markers, and what is no event counter */
            continue;
        bool begins = p->start_ms && p->start_ms[i] > t_before && p->start_ms[i] != 0;
        double base = v_before;
        if (begins && p->t_ms[i] - p->start_ms[i] <= SAMPLE_GAP_MS)
            base = 0;
        else if (isnan(v_before) || p->t_ms[i] - t_before > SAMPLE_GAP_MS)
            base = v;
        else if (v < v_before)
            base = 0;
        int64_t m = p->t_ms[i] / 60000;
        if (m >= from && m < to)
            out[m - from] += (int64_t)floor(v) - (int64_t)floor(base);
        v_before = v;
        t_before = p->t_ms[i];
    }
}

static enum err view_increases(void *ctx, const struct tsdb_matcher *m, size_t n, uint32_t from,
                               uint32_t to, int64_t *out)
{
    struct arena *a = arena_new(SAMPLES_ARENA_BYTES);
    if (!a)
        return ERR_NOMEM;
    int64_t min_ms = (int64_t)from * 60000 - SAMPLE_GAP_MS, max_ms = (int64_t)to * 60000 - 1;
    struct tsdb_series *series;
    size_t count = 0;
    enum err e = tsdb_select(ctx, m, n, min_ms, max_ms, a, &series, &count);
    for (size_t i = 0; e == ERR_OK && i < count; i++) {
        if (series[i].kind != TSDB_SERIES_SAMPLES)
            continue;
        struct arena *points = arena_new(SAMPLES_ARENA_BYTES);
        struct tsdb_points p;
        e = points ? tsdb_points_read(ctx, &series[i], min_ms, max_ms, points, &p) : ERR_NOMEM;
        if (e == ERR_OK)
            add_increases(&p, from, to, out);
        arena_free(points);
    }
    arena_free(a);
    return e;
}

struct query_slo_source query_slo_source_view(struct tsdb_view *v)
{
    return (struct query_slo_source){.ctx = v,
                                     .changed = view_changed,
                                     .sum = view_sum,
                                     .minutes = view_minutes,
                                     .by = view_by,
                                     .hist = view_hist,
                                     .increases = view_increases};
}

/* --- the public functions over a view ------------------------------------------------------------ */

enum err query_slo_minutes(struct tsdb_view *v, const struct query_slo *s, uint32_t from,
                           uint32_t to, struct query_slo_counts *out)
{
    struct query_slo_source src = query_slo_source_view(v);
    return query_slo_source_minutes(&src, s, from, to, out);
}

enum err query_slo_sum(struct tsdb_view *v, const struct query_slo *s, uint32_t from, uint32_t to,
                       struct query_slo_counts *out)
{
    struct query_slo_source src = query_slo_source_view(v);
    return query_slo_source_sum(&src, s, from, to, out);
}

enum err query_slo_tracker_advance(struct query_slo_tracker *t, struct tsdb_view *v, uint32_t h,
                                   uint32_t changed_from, uint32_t changed_to)
{
    struct query_slo_source src = query_slo_source_view(v);
    return query_slo_source_advance(t, &src, h, changed_from, changed_to);
}

enum err query_slo_blame(struct tsdb_view *v, const struct query_slo *s, uint32_t from, uint32_t to,
                         struct arena *a, struct query_slo_blame *out)
{
    struct query_slo_source src = query_slo_source_view(v);
    return query_slo_source_blame(&src, s, from, to, a, out);
}
