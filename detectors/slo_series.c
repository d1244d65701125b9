/* Budget and burn over time, for pictures: sliding sums over minutes, one point a step. */
#include "base/check.h"
#include "base/clock.h"
#include "detectors/evaluator.h"
#include <math.h>

#define POINTS_MAX 11000u
#define MINUTES_MAX (92u * 1440u)
#define READ_LIMIT_NS (INT64_C(10) * 1000000000)

/* A sum that slides along two arrays of minutes: what enters at its front, what leaves at its back. */
struct slide {
    uint32_t window;
    struct query_slo_counts sum;
    const struct query_slo_counts
        *back; /* back[i]: the minute that leaves when front minute from + i enters */
    const struct slo_calendar *calendar; /* in place of back */
    uint32_t start; /* of its period */
};

struct series_job {
    const struct query_slo_source *src;
    const struct query_slo *slo;
    const struct slo_calendar *calendar; /* NULL: its window rolls */
    uint32_t from, to; /* minutes, from <= m < to */
    struct arena *arena;
    struct query_slo_counts *front;
};

static enum err slide_begin(const struct series_job *j, uint32_t window, struct slide *s)
{
    uint32_t n = j->to - j->from;
    struct query_slo_counts *back = ARENA_ARRAY(j->arena, struct query_slo_counts, n);
    if (!back)
        return ERR_LIMIT;
    s->window = window;
    s->back = back;
    enum err e = query_slo_source_sum(j->src, j->slo, j->from - window, j->from, &s->sum);
    return e == ERR_OK
               ? query_slo_source_minutes(j->src, j->slo, j->from - window, j->to - window, back)
               : e;
}

/* A calendar window: nothing leaves it but all at once, when a period begins. */
static enum err slide_calendar(const struct series_job *j, struct slide *s)
{
    s->calendar = j->calendar;
    s->start = slo_calendar_start(j->calendar, j->from);
    return s->start && s->start < j->from
               ? query_slo_source_sum(j->src, j->slo, s->start, j->from, &s->sum)
               : ERR_OK;
}

static void slide_period(struct slide *s, const struct query_slo_counts *enters, uint32_t minute)
{
    uint32_t start = slo_calendar_start(s->calendar, minute);
    if (start != s->start)
        s->sum = (struct query_slo_counts){0};
    s->start = start;
    s->sum.good += enters->good;
    s->sum.bad += enters->bad;
}

static void slide_step(struct slide *s, const struct query_slo_counts *enters, uint32_t i)
{
    s->sum.good += enters->good - s->back[i].good;
    s->sum.bad += enters->bad - s->back[i].bad;
}

static enum err run(struct series_job *j, uint32_t step, struct detectors_series *out)
{
    const struct query_slo *s = j->slo;
    const struct query_slo_rule *rule = NULL;
    for (uint32_t i = 0; i < s->rule_count && !rule; i++)
        if (!s->rules[i].refused)
            rule = &s->rules[i];
    uint32_t n = j->to - j->from;
    struct slide period = {0}, longer = {0}, shorter = {0};
    j->front = ARENA_ARRAY(j->arena, struct query_slo_counts, n);
    if (!j->front)
        return ERR_LIMIT;
    enum err e = query_slo_source_minutes(j->src, s, j->from, j->to, j->front);
    if (e == ERR_OK)
        e = j->calendar ? slide_calendar(j, &period) : slide_begin(j, s->period_minutes, &period);
    if (e == ERR_OK && rule)
        e = slide_begin(j, rule->long_minutes, &longer);
    if (e == ERR_OK && rule)
        e = slide_begin(j, rule->short_minutes, &shorter);
    if (e != ERR_OK)
        return e;
    if (rule) {
        out->long_minutes = rule->long_minutes;
        out->short_minutes = rule->short_minutes;
        out->long_threshold = rule->factor;
    }
    int64_t bad = 0, eligible = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (j->calendar)
            slide_period(&period, &j->front[i], j->from + i);
        else
            slide_step(&period, &j->front[i], i);
        if (rule) {
            slide_step(&longer, &j->front[i], i);
            slide_step(&shorter, &j->front[i], i);
        }
        bad += j->front[i].bad;
        eligible += query_slo_eligible(&j->front[i]);
        if ((i + 1) % step != 0 && i + 1 != n)
            continue;
        size_t k = out->count++;
        out->t_ms[k] = ((int64_t)j->from + i + 1) * 60000;
        out->budget_left[k] = query_slo_budget_left_of(s, &period.sum);
        out->burn_long[k] = rule ? query_slo_burn_of(s, &longer.sum) : (double)NAN;
        out->burn_short[k] = rule ? query_slo_burn_of(s, &shorter.sum) : (double)NAN;
        out->bad[k] = bad;
        out->eligible[k] = eligible;
        bad = eligible = 0;
    }
    return ERR_OK;
}

static bool make_points(struct arena *a, size_t n, struct detectors_series *out)
{
    *out = (struct detectors_series){.t_ms = ARENA_ARRAY(a, int64_t, n),
                                     .budget_left = ARENA_ARRAY(a, double, n),
                                     .burn_long = ARENA_ARRAY(a, double, n),
                                     .burn_short = ARENA_ARRAY(a, double, n),
                                     .bad = ARENA_ARRAY(a, int64_t, n),
                                     .eligible = ARENA_ARRAY(a, int64_t, n)};
    return out->t_ms && out->budget_left && out->burn_long && out->burn_short && out->bad &&
           out->eligible;
}

/* What is found outlives the question: LOADED_GRACE_MS. */
static const struct query_slo *find(struct detectors *d, struct bytes id,
                                    const struct slo_calendar **out_calendar)
{
    const struct query_slo *slo = NULL;
    *out_calendar = NULL;
    pthread_mutex_lock(&d->lock);
    for (uint32_t i = 0; i < d->now.set.count && !slo; i++)
        if (bytes_equal(d->now.set.slos[i].id, id)) {
            slo = &d->now.set.slos[i];
            *out_calendar = d->now.objectives[i].calendar;
        }
    pthread_mutex_unlock(&d->lock);
    return slo;
}

/* The source of the detectors, or a view that the caller closes. */
static enum err source_open(struct detectors *d, struct query_slo_source *made,
                            const struct query_slo_source **out, struct tsdb_view **out_view)
{
    struct tsdb_read_limits limits = {.deadline_mono_ns = clock_mono_ns() + READ_LIMIT_NS};
    *out = d->o.source;
    *out_view = NULL;
    enum err e = *out ? ERR_OK : tsdb_view_open(d->o.db, d->o.org, &limits, out_view);
    if (e == ERR_OK && !*out) {
        *made = query_slo_source_view(*out_view);
        *out = made;
    }
    return e;
}

enum err detectors_slo_forecast(struct detectors *d, struct bytes id, double budget_left,
                                struct arena *a, struct query_slo_forecast *out)
{
    const struct slo_calendar *calendar;
    const struct query_slo *slo = find(d, id, &calendar);
    const struct query_slo_source *src;
    struct query_slo_source made;
    struct tsdb_view *view;
    struct query_slo_counts hours[DETECTORS_FORECAST_HOURS] = {0};
    uint32_t n = DETECTORS_FORECAST_HOURS * 60, to = (uint32_t)(clock_wall_ms() / 60000);
    struct query_slo_counts *minutes = ARENA_ARRAY(a, struct query_slo_counts, n);
    if (!slo)
        return ERR_NOT_FOUND;
    if (!minutes)
        return ERR_LIMIT;
    enum err e = source_open(d, &made, &src, &view);
    if (e == ERR_OK)
        e = query_slo_source_minutes(src, slo, to - n, to, minutes);
    if (view)
        tsdb_view_close(view);
    for (uint32_t i = 0; e == ERR_OK && i < n; i++) {
        hours[i / 60].good += minutes[i].good;
        hours[i / 60].bad += minutes[i].bad;
    }
    if (e == ERR_OK)
        *out = query_slo_forecast_of(slo, hours, DETECTORS_FORECAST_HOURS, budget_left);
    return e;
}

enum err detectors_slo_series(struct detectors *d, struct bytes id, int64_t from_ms, int64_t to_ms,
                              uint32_t step_minutes, struct arena *a, struct detectors_series *out)
{
    const struct slo_calendar *calendar;
    const struct query_slo *slo = find(d, id, &calendar);
    if (!slo)
        return ERR_NOT_FOUND;
    if (step_minutes == 0 || to_ms <= from_ms || from_ms < 0 ||
        (to_ms - from_ms) / 60000 > MINUTES_MAX)
        return ERR_INVALID;
    struct series_job j = {.slo = slo,
                           .calendar = calendar,
                           .from = (uint32_t)(from_ms / 60000),
                           .to = (uint32_t)((to_ms + 59999) / 60000),
                           .arena = a};
    uint32_t n = j.to - j.from;
    if (j.from <= slo->period_minutes || n / step_minutes >= POINTS_MAX)
        return ERR_INVALID;
    struct detectors_series made;
    if (!make_points(a, n / step_minutes + 1, &made))
        return ERR_LIMIT;
    struct tsdb_view *view;
    struct query_slo_source view_source;
    enum err e = source_open(d, &view_source, &j.src, &view);
    if (e == ERR_OK)
        e = run(&j, step_minutes, &made);
    if (view)
        tsdb_view_close(view);
    if (e == ERR_OK)
        *out = made;
    return e;
}
