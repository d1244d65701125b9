#include "base/check.h"
#include "tsdb/head_core.h"

#define STALE_BITS UINT64_C(0x7ff0000000000002)

static bool push(struct arena *a, struct head_point **points, uint32_t *n, uint32_t *cap,
                 struct head_point p)
{
    if (*n == *cap) {
        uint32_t more = *cap ? *cap * 2 : 64;
        struct head_point *fresh =
            more > *cap ? arena_grow(a, *points, sizeof(**points), *cap, more) : NULL;
        if (!fresh)
            return false;
        *points = fresh;
        *cap = more;
    }
    (*points)[(*n)++] = p;
    return true;
}

bool head_points(const struct head_series *s, uint32_t limit, int64_t min_ms, int64_t max_ms,
                 struct arena *a, struct head_point **points, uint32_t *n, uint32_t *cap)
{
    const struct head_hist *hist = s->more->hists, *hists_end = hist + s->more->hist_count;
    struct head_samples_iter it = head_samples_begin(&s->samples);
    if (s->t_min > max_ms || s->t_max < min_ms)
        return true;
    bool has_sample = head_samples_next(&it);
    /* samples and histograms in commit order: within a commit they have different times or the histogram counts as the later one */
    while (has_sample || hist < hists_end) {
        bool take_hist = hist < hists_end && (!has_sample || hist->ord < it.last.ord);
        struct head_point p;
        if ((take_hist ? hist->ord : it.last.ord) >= limit)
            break;
        if (take_hist) {
            p = (struct head_point){hist->t_ms, hist->start_ms, 0, hist->hist};
            hist++;
        } else {
            p = (struct head_point){it.last.t_ms, it.last.start_ms, it.last.value, NULL};
            has_sample = head_samples_next(&it);
        }
        if (p.t_ms >= min_ms && p.t_ms <= max_ms && !push(a, points, n, cap, p))
            return false;
    }
    return true;
}

static bool is_stale(const struct head_point *p)
{
    uint64_t bits;
    memcpy(&bits, &p->value, 8);
    return !p->hist && bits == STALE_BITS;
}

/* Bottom-up merge sort: stable, and linear when runs are few. */
static void sort_by_time(struct head_point *p, struct head_point *other, uint32_t n)
{
    struct head_point *from = p, *to = other;
    for (uint32_t width = 1; width < n; width *= 2) {
        for (uint32_t lo = 0; lo < n; lo += 2 * width) {
            uint32_t mid = MIN(lo + width, n), hi = MIN(lo + 2 * width, n), i = lo, j = mid;
            for (uint32_t k = lo; k < hi; k++)
                to[k] =
                    i < mid && (j >= hi || from[i].t_ms <= from[j].t_ms) ? from[i++] : from[j++];
        }
        struct head_point *swap = from;
        from = to;
        to = swap;
        if (width > n / 2)
            break;
    }
    if (from != p)
        memcpy(p, from, n * sizeof(*p));
}

static bool is_same(const struct head_point *x, const struct head_point *y)
{
    if (x->hist && y->hist)
        return tsdb_hist_equal_bits(x->hist, y->hist);
    return !x->hist && !y->hist && memcmp(&x->value, &y->value, sizeof(x->value)) == 0;
}

uint32_t head_points_resolve(struct head_point *p, uint32_t n, struct arena *a, bool *failed,
                             struct head_resolved *count)
{
    bool sorted = true;
    for (uint32_t i = 1; i < n && sorted; i++)
        sorted = p[i - 1].t_ms <= p[i].t_ms;
    if (!sorted) {
        struct head_point *other = arena_alloc_raw(a, n * sizeof(*p), 16);
        if (!other) {
            *failed = true;
            return 0;
        }
        sort_by_time(p, other, n);
    }
    uint32_t out = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (out && p[out - 1].t_ms == p[i].t_ms) {
            *(is_same(&p[out - 1], &p[i]) ? &count->repeated : &count->conflicting) += 1;
            if (!is_stale(&p[i]) || is_stale(&p[out - 1]))
                p[out - 1] = p[i];
        } else {
            p[out++] = p[i];
        }
    }
    return out;
}
