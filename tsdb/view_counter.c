/* The synthetic counter of a cell series: the running sum since 00:00 UTC, with a zero at midnight. A finished minute has four samples, the last
 * one exact at its end - 1 ms, the three before it interpolated and rounded down; the open minute has one, at its newest commit. */
#include <math.h>

#include "base/check.h"
#include "tsdb/view_core.h"

#define DAY_MINUTES 1440u
#define QUARTER_MS 15000

struct day {
    int64_t add[DAY_MINUTES];
    struct hist_sum *hist[DAY_MINUTES];
    uint32_t first; /* minute of the epoch */
    bool any, any_hist;
    struct arena *a;
};

static enum err add_to_day(void *ctx, uint32_t minute, int64_t add, const struct tsdb_hist *hist)
{
    struct day *d = ctx;
    uint32_t i = minute - d->first;
    d->any = true;
    if (!hist) {
        d->add[i] = (int64_t)((uint64_t)d->add[i] + (uint64_t)add);
        return ERR_OK;
    }
    d->any_hist = true;
    if (!d->hist[i]) {
        d->hist[i] = ARENA_ARRAY(d->a, struct hist_sum, 1);
        if (!d->hist[i])
            return ERR_LIMIT;
        hist_sum_init(d->hist[i], d->a);
    }
    enum err e = hist_sum_add(d->hist[i], hist);
    return e == ERR_INVALID ? ERR_OK : e; /* bounds that disagree cannot be summed */
}

struct emitter {
    struct head_point *p;
    uint32_t n, cap;
    int64_t min_ms, max_ms, start_ms;
    struct arena *a;
};

static bool emit(struct emitter *e, int64_t t_ms, double value, const struct tsdb_hist *hist)
{
    if (t_ms < e->min_ms || t_ms > e->max_ms)
        return true;
    if (e->n == e->cap) {
        uint32_t cap = e->cap ? e->cap * 2 : 256;
        struct head_point *fresh = arena_grow(e->a, e->p, sizeof(*fresh), e->cap, cap);
        if (!fresh)
            return false;
        e->p = fresh;
        e->cap = cap;
    }
    e->p[e->n++] = (struct head_point){t_ms, e->start_ms, value, hist};
    return true;
}

/* The wall time of the newest commit that the view sees. */
static int64_t newest_commit_ms(const struct tsdb_view *v)
{
    int64_t newest = 0;
    for (size_t i = 0; i < v->pin.head_count; i++)
        if (v->heads[i].limit)
            newest =
                MAX(newest, head_batch_at(v->heads[i].head, v->heads[i].limit - 1)->received_ns);
    return newest / 1000000;
}

/* What the samples of one minute are: its quarter k (1..4) at *t_ms; false when it is not there (yet). */
static bool quarter_time(const struct tsdb_view *v, uint32_t minute, int k, bool touched,
                         int64_t *t_ms)
{
    int64_t begin = (int64_t)minute * 60000, end = begin + 59999;
    if (end <= v->now_ms) {
        *t_ms = begin + (int64_t)k * QUARTER_MS - 1;
        return true;
    }
    if (k != 4 || begin > v->now_ms || !touched)
        return false;
    int64_t commit = MIN(newest_commit_ms(v), v->now_ms);
    *t_ms = MAX(commit, begin);
    return true;
}

static int64_t floor_share(int64_t add, int k)
{
    int64_t whole = add / 4 * k, rest = add % 4 * k;
    int64_t q = rest / 4;
    return whole + q - (rest % 4 < 0);
}

static enum err count_day(const struct tsdb_view *v, const struct day *d, struct emitter *out)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < DAY_MINUTES; i++) {
        for (int k = 1; k <= 4; k++) {
            int64_t t;
            if (quarter_time(v, d->first + i, k, d->add[i] != 0, &t) &&
                !emit(out, t, (double)(int64_t)(sum + (uint64_t)floor_share(d->add[i], k)), NULL))
                return ERR_LIMIT;
        }
        sum += (uint64_t)d->add[i];
    }
    return ERR_OK;
}

/* h * k/4, bucket by bucket rounded down; count is what the buckets hold, so that the histogram stays whole. */
static enum err share_of(const struct tsdb_hist *h, int k, struct arena *a, struct tsdb_hist *out)
{
    struct tsdb_hist c;
    enum err e = tsdb_hist_copy(h, a, &c);
    if (e != ERR_OK)
        return e;
    double *pos = (double *)(uintptr_t)c.pos, *neg = (double *)(uintptr_t)c.neg;
    c.zero_count = floor(h->zero_count * k / 4);
    c.count = c.zero_count;
    for (uint32_t i = 0; i < c.pos_count; i++)
        c.count += pos[i] = floor(pos[i] * k / 4);
    for (uint32_t i = 0; i < c.neg_count; i++)
        c.count += neg[i] = floor(neg[i] * k / 4);
    c.sum = h->sum * k / 4;
    *out = c;
    return ERR_OK;
}

/* The running sum plus k/4 of the minute. */
static enum err step(struct hist_sum *running, const struct tsdb_hist *minute, int k,
                     struct arena *a, const struct tsdb_hist **out)
{
    struct tsdb_hist base, share, *sum = ARENA_ARRAY(a, struct tsdb_hist, 1);
    enum err e = sum ? ERR_OK : ERR_LIMIT;
    if (e == ERR_OK && k == 4) {
        e = hist_sum_add(running, minute);
        if (e == ERR_OK || e == ERR_INVALID)
            e = hist_sum_get(running, sum);
    } else if (e == ERR_OK) {
        e = hist_sum_get(running, &base);
        if (e == ERR_OK)
            e = share_of(minute, k, a, &share);
        if (e == ERR_OK && tsdb_hist_add(&base, &share, 1, a, sum) != ERR_OK)
            *sum = base;
    }
    if (e != ERR_OK)
        return e;
    sum->hint = TSDB_HIST_UNKNOWN_RESET;
    *out = sum;
    return ERR_OK;
}

static enum err hist_day(const struct tsdb_view *v, struct day *d, const struct tsdb_hist *zero,
                         struct emitter *out)
{
    struct hist_sum running;
    const struct tsdb_hist *now = zero;
    hist_sum_init(&running, d->a);
    for (uint32_t i = 0; i < DAY_MINUTES; i++) {
        struct tsdb_hist minute;
        enum err e = d->hist[i] ? hist_sum_get(d->hist[i], &minute) : ERR_OK;
        for (int k = 1; k <= 4 && e == ERR_OK; k++) {
            int64_t t = 0;
            bool there = quarter_time(v, d->first + i, k, d->hist[i] != NULL, &t);
            bool wanted = there && t >= out->min_ms && t <= out->max_ms;
            if (d->hist[i] && (wanted || k == 4))
                e = step(&running, &minute, k, out->a, &now);
            if (e == ERR_OK && there && !emit(out, t, 0, now))
                e = ERR_LIMIT;
        }
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

static enum err one_day(struct tsdb_view *v, uint32_t series, uint32_t day, struct day *d,
                        struct emitter *out)
{
    memset(d->add, 0, sizeof(d->add));
    memset(d->hist, 0, sizeof(d->hist));
    d->any = d->any_hist = false;
    d->first = day * DAY_MINUTES;
    enum err e =
        view_cells_visit(v, series, d->first, d->first + DAY_MINUTES, false, d->a, add_to_day, d);
    if (e != ERR_OK || !d->any)
        return e;
    out->start_ms = (int64_t)day * 86400000;
    if (!d->any_hist)
        return emit(out, out->start_ms, 0, NULL) ? count_day(v, d, out) : ERR_LIMIT;
    /* the zero of the same schema as the first minute, so that nothing has to be brought to a common one later */
    struct tsdb_hist *zero = ARENA_ARRAY(out->a, struct tsdb_hist, 1), first;
    for (uint32_t i = 0; i < DAY_MINUTES; i++)
        if (d->hist[i] && zero && hist_sum_get(d->hist[i], &first) == ERR_OK) {
            *zero = (struct tsdb_hist){.schema = first.schema,
                                       .zero_threshold = first.zero_threshold,
                                       .custom = first.custom,
                                       .custom_count = first.custom_count};
            break;
        }
    if (!zero || !emit(out, out->start_ms, 0, zero))
        return ERR_LIMIT;
    return hist_day(v, d, zero, out);
}

enum err view_counter(struct tsdb_view *v, uint32_t series, int64_t min_ms, int64_t max_ms,
                      struct arena *a, struct head_point **out, uint32_t *out_count)
{
    struct emitter em = {.min_ms = min_ms, .max_ms = MIN(max_ms, v->now_ms), .a = a};
    enum err e = ERR_OK;
    if (min_ms <= em.max_ms && em.max_ms >= 0) {
        struct day *d = ARENA_ARRAY(a, struct day, 1);
        uint32_t last = head_day_of_ms(em.max_ms);
        if (!d)
            return ERR_LIMIT;
        d->a = a;
        for (uint32_t day = head_day_of_ms(min_ms); day <= last && e == ERR_OK; day++) {
            bool there = false; /* most days of a long range hold nothing of a young store */
            for (uint32_t r = v->series[series].first_ref; r != VIEW_NONE && !there;
                 r = v->refs[r].next) {
                const struct view_source *src = &v->sources[v->refs[r].source];
                there = src->head || part_snapshot_day(src->part) == day;
            }
            if (there)
                e = one_day(v, series, day, d, &em);
        }
    }
    *out = em.p;
    *out_count = em.n;
    return e;
}
