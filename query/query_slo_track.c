/* Sliding sums of one objective.
 *
 *      h - R                                   h - 10        h
 *  ------|---------------- ring -----------------|--recheck--|   minutes
 *  windows longer than the ring read the minutes that leave them from the store; a change inside the ring is a difference that is added to
 *  every (window, horizon) that contains it; a change before the ring rebuilds all sums through hour and day totals.
 */
#include "query/slo_terms.h"
#include "base/check.h"
#include <stdlib.h>

#define HORIZONS (QUERY_SLO_RECHECK_MINUTES + 1)
#define RING_MINUTES_MAX 400u /* holds the 6 h windows whole */
#define STEP_MAX 60u /* a longer gap is a rebuild */

struct slim {
    uint32_t good, bad, excluded, missing; /* of one minute; saturated */
};
struct pair {
    int64_t good, bad;
};
struct window {
    uint32_t minutes;
    int64_t excluded, missing; /* at the newest horizon */
    struct pair at[HORIZONS]; /* at horizon h - i */
};

struct query_slo_tracker {
    const struct query_slo *slo;
    uint32_t h, ring_size, window_count;
    bool is_built;
    uint64_t revised_minutes, revised_events;
    struct window *windows; /* as many as the objective has different ones; behind the ring */
    struct slim ring[RING_MINUTES_MAX];
};
_Static_assert(sizeof(struct query_slo_tracker) + QUERY_SLO_WINDOWS_MAX * sizeof(struct window) <=
                   QUERY_SLO_TRACKER_BYTES_MAX,
               "a tracker keeps its promise");

static void add_window(struct query_slo_tracker *t, uint32_t minutes)
{
    for (uint32_t i = 0; i < t->window_count; i++)
        if (t->windows[i].minutes == minutes)
            return;
    CHECK(t->window_count < QUERY_SLO_WINDOWS_MAX);
    t->windows[t->window_count++].minutes = minutes;
}

struct query_slo_tracker *query_slo_tracker_new(const struct query_slo *s)
{
    struct query_slo_tracker *t =
        calloc(1, sizeof(*t) + (2 * s->rule_count + 1) * sizeof(struct window));
    if (!t)
        return NULL;
    t->windows = (struct window *)(t + 1);
    t->slo = s;
    t->ring_size = RING_MINUTES_MAX;
    for (uint32_t i = 0; i < s->rule_count; i++) {
        if (s->rules[i].refused)
            continue;
        add_window(t, s->rules[i].long_minutes);
        add_window(t, s->rules[i].short_minutes);
    }
    add_window(t, s->period_minutes);
    return t;
}

void query_slo_tracker_free(struct query_slo_tracker *t)
{
    free(t);
}

size_t query_slo_tracker_bytes(const struct query_slo_tracker *t)
{
    return sizeof(*t) + (2 * t->slo->rule_count + 1) * sizeof(struct window);
}

uint32_t query_slo_tracker_horizon(const struct query_slo_tracker *t)
{
    return t->h;
}

/* --- the ring ------------------------------------------------------------------------------------ */

static struct slim *ring_at(struct query_slo_tracker *t, uint32_t m)
{
    return &t->ring[m % t->ring_size];
}

static uint32_t ring_first(const struct query_slo_tracker *t)
{
    return t->h - t->ring_size + 1;
}

/* Differences of two selectors may be negative for a minute; they are kept as two's complement and read back signed. */
static uint32_t slim_of(int64_t v)
{
    if (v > INT32_MAX)
        v = INT32_MAX;
    if (v < INT32_MIN)
        v = INT32_MIN;
    return (uint32_t)(int32_t)v;
}
static int64_t wide_of(uint32_t v)
{
    return (int32_t)v;
}

static struct slim slim_counts(const struct query_slo_counts *c)
{
    return (struct slim){slim_of(c->good), slim_of(c->bad), slim_of(c->excluded),
                         slim_of(c->missing)};
}

static struct query_slo_counts wide_counts(const struct slim *s)
{
    return (struct query_slo_counts){wide_of(s->good), wide_of(s->bad), wide_of(s->excluded),
                                     wide_of(s->missing)};
}

static int64_t magnitude(int64_t v)
{
    return v < 0 ? -v : v;
}

/* --- differences --------------------------------------------------------------------------------- */

static void apply_difference(struct query_slo_tracker *t, uint32_t m,
                             const struct query_slo_counts *d)
{
    for (uint32_t w = 0; w < t->window_count; w++) {
        struct window *win = &t->windows[w];
        for (uint32_t b = 0; b < HORIZONS; b++) {
            uint32_t h = t->h - b;
            if (m > h || (uint64_t)m + win->minutes <= h)
                continue;
            win->at[b].good += d->good;
            win->at[b].bad += d->bad;
            if (b == 0) {
                win->excluded += d->excluded;
                win->missing += d->missing;
            }
        }
    }
}

static enum err reread(struct query_slo_tracker *t, const struct query_slo_source *src,
                       uint32_t from, uint32_t to)
{
    struct query_slo_counts buf[64];
    for (uint32_t at = from; at < to;) {
        uint32_t end = MIN(to, at + (uint32_t)ARRAY_LEN(buf));
        enum err e = query_slo_source_minutes(src, t->slo, at, end, buf);
        if (e != ERR_OK) {
            t->is_built = false; /* half applied: the next call recounts */
            return e;
        }
        for (uint32_t m = at; m < end; m++) {
            struct slim fresh = slim_counts(&buf[m - at]);
            struct query_slo_counts now = wide_counts(&fresh), was = wide_counts(ring_at(t, m));
            struct query_slo_counts d = {now.good - was.good, now.bad - was.bad,
                                         now.excluded - was.excluded, now.missing - was.missing};
            if (!d.good && !d.bad && !d.excluded && !d.missing)
                continue;
            apply_difference(t, m, &d);
            *ring_at(t, m) = fresh;
            if (m + QUERY_SLO_RECHECK_MINUTES <= t->h) {
                t->revised_minutes++;
                t->revised_events += (uint64_t)(magnitude(d.good) + magnitude(d.bad) +
                                                magnitude(d.excluded) + magnitude(d.missing));
            }
        }
        at = end;
    }
    return ERR_OK;
}

/* --- rebuild ------------------------------------------------------------------------------------- */

static enum err window_total(struct query_slo_tracker *t, const struct query_slo_source *src,
                             uint32_t minutes, struct query_slo_counts *out)
{
    if (minutes > t->ring_size)
        return query_slo_source_sum(src, t->slo, t->h >= minutes ? t->h - minutes + 1 : 0, t->h + 1,
                                    out);
    *out = (struct query_slo_counts){0};
    for (uint32_t m = t->h - minutes + 1; m <= t->h; m++) {
        struct query_slo_counts c = wide_counts(ring_at(t, m));
        out->good += c.good;
        out->bad += c.bad;
        out->excluded += c.excluded;
        out->missing += c.missing;
    }
    return ERR_OK;
}

/* The minutes first .. first + n - 1, from the ring where it has them all. */
static enum err minutes_of(struct query_slo_tracker *t, const struct query_slo_source *src,
                           uint32_t first, uint32_t n, struct query_slo_counts *out)
{
    if (first >= ring_first(t) && first + n - 1 <= t->h) {
        for (uint32_t i = 0; i < n; i++)
            out[i] = wide_counts(ring_at(t, first + i));
        return ERR_OK;
    }
    return query_slo_source_minutes(src, t->slo, first, first + n, out);
}

static enum err rebuild_window(struct query_slo_tracker *t, const struct query_slo_source *src,
                               struct window *win)
{
    struct query_slo_counts total, leaving[QUERY_SLO_RECHECK_MINUTES];
    enum err e = window_total(t, src, win->minutes, &total);
    if (e != ERR_OK)
        return e;
    /* Going back one horizon, minute h - b leaves at the front and minute h - b - W comes back. */
    uint32_t first = t->h - win->minutes - (QUERY_SLO_RECHECK_MINUTES - 1);
    e = minutes_of(t, src, first, QUERY_SLO_RECHECK_MINUTES, leaving);
    if (e != ERR_OK)
        return e;
    win->at[0] = (struct pair){total.good, total.bad};
    win->excluded = total.excluded;
    win->missing = total.missing;
    for (uint32_t b = 0; b < QUERY_SLO_RECHECK_MINUTES; b++) {
        struct query_slo_counts front = wide_counts(ring_at(t, t->h - b));
        const struct query_slo_counts *back = &leaving[t->h - b - win->minutes - first];
        win->at[b + 1].good = win->at[b].good - front.good + back->good;
        win->at[b + 1].bad = win->at[b].bad - front.bad + back->bad;
    }
    return ERR_OK;
}

static enum err rebuild(struct query_slo_tracker *t, const struct query_slo_source *src, uint32_t h)
{
    t->h = h;
    t->is_built = false;
    struct query_slo_counts buf[RING_MINUTES_MAX];
    enum err e = query_slo_source_minutes(src, t->slo, ring_first(t), h + 1, buf);
    if (e != ERR_OK)
        return e;
    for (uint32_t m = ring_first(t); m <= h; m++)
        *ring_at(t, m) = slim_counts(&buf[m - ring_first(t)]);
    for (uint32_t w = 0; w < t->window_count; w++) {
        e = rebuild_window(t, src, &t->windows[w]);
        if (e != ERR_OK)
            return e;
    }
    t->is_built = true;
    return ERR_OK;
}

/* Rows arrived for minutes before the ring: recount, and say by how much the longest window moved. */
static enum err rebuild_late(struct query_slo_tracker *t, const struct query_slo_source *src)
{
    struct window *longest = &t->windows[0];
    for (uint32_t w = 1; w < t->window_count; w++)
        if (t->windows[w].minutes > longest->minutes)
            longest = &t->windows[w];
    struct pair was = longest->at[0];
    int64_t excluded = longest->excluded, missing = longest->missing;
    enum err e = rebuild(t, src, t->h);
    if (e != ERR_OK)
        return e;
    uint64_t moved =
        (uint64_t)(magnitude(longest->at[0].good - was.good) +
                   magnitude(longest->at[0].bad - was.bad) +
                   magnitude(longest->excluded - excluded) + magnitude(longest->missing - missing));
    t->revised_events += moved;
    t->revised_minutes += moved ? 1 : 0; /* at least one; the ring does not reach there */
    return ERR_OK;
}

/* --- the step ------------------------------------------------------------------------------------ */

static enum err step(struct query_slo_tracker *t, const struct query_slo_source *src, uint32_t h)
{
    uint32_t n = h - t->h;
    struct query_slo_counts entering[STEP_MAX], leaving[STEP_MAX];
    CHECK(n > 0 && n <= STEP_MAX);
    t->is_built = false; /* until all windows have moved */
    enum err e = query_slo_source_minutes(src, t->slo, t->h + 1, h + 1, entering);
    for (uint32_t i = 0; i < n; i++) { /* as the ring will keep them */
        struct slim s = slim_counts(&entering[i]);
        entering[i] = wide_counts(&s);
    }
    for (uint32_t w = 0; e == ERR_OK && w < t->window_count; w++) {
        struct window *win = &t->windows[w];
        /* Of a window shorter than the step, some minutes that leave have only just entered. */
        uint32_t first = t->h + 1 - win->minutes;
        uint32_t old = MIN(n, win->minutes);
        e = minutes_of(t, src, first, old, leaving);
        for (uint32_t i = old; i < n; i++)
            leaving[i] = entering[i - old];
        for (uint32_t i = 0; e == ERR_OK && i < n; i++) {
            memmove(&win->at[1], &win->at[0], QUERY_SLO_RECHECK_MINUTES * sizeof(win->at[0]));
            win->at[0].good += entering[i].good - leaving[i].good;
            win->at[0].bad += entering[i].bad - leaving[i].bad;
            win->excluded += entering[i].excluded - leaving[i].excluded;
            win->missing += entering[i].missing - leaving[i].missing;
        }
    }
    if (e != ERR_OK)
        return e;
    for (uint32_t i = 0; i < n; i++)
        *ring_at(t, t->h + 1 + i) = slim_counts(&entering[i]);
    t->h = h;
    t->is_built = true;
    return ERR_OK;
}

enum err query_slo_source_advance(struct query_slo_tracker *t, const struct query_slo_source *src,
                                  uint32_t h, uint32_t changed_from, uint32_t changed_to)
{
    if (h <= t->ring_size + t->slo->period_minutes + HORIZONS)
        return ERR_INVALID; /* a clock near 1970: no window fits before it */
    if (!t->is_built || h < t->h || h - t->h > STEP_MAX)
        return rebuild(t, src, h);
    if (changed_from <= changed_to && t->slo->slice_minutes) {
        uint32_t w = t->slo->slice_minutes; /* a slice is booked in its last minute */
        changed_to += w - 1;
    }
    if (changed_from <= changed_to && changed_from <= t->h) {
        /* Minutes that only the longest windows' far ends know count as before the ring. */
        enum err e = changed_from < ring_first(t)
                         ? rebuild_late(t, src)
                         : reread(t, src, changed_from, MIN(changed_to, t->h) + 1);
        if (e != ERR_OK)
            return e;
    }
    return h > t->h ? step(t, src, h) : ERR_OK;
}

/* --- answers ------------------------------------------------------------------------------------- */

static int64_t not_negative(int64_t v)
{
    return v < 0 ? 0 : v;
}

bool query_slo_tracker_window(const struct query_slo_tracker *t, uint32_t minutes, uint32_t back,
                              struct query_slo_counts *out)
{
    if (!t->is_built || back >= HORIZONS)
        return false;
    for (uint32_t w = 0; w < t->window_count; w++) {
        const struct window *win = &t->windows[w];
        if (win->minutes != minutes)
            continue;
        *out = (struct query_slo_counts){.good = not_negative(win->at[back].good),
                                         .bad = not_negative(win->at[back].bad),
                                         .excluded = back == 0 ? win->excluded : 0,
                                         .missing = back == 0 ? win->missing : 0};
        return true;
    }
    return false;
}

int64_t query_slo_tracker_fresh_bad(const struct query_slo_tracker *t, uint32_t back)
{
    int64_t sum = 0;
    for (uint32_t i = 0; t->is_built && i < QUERY_SLO_RECHECK_MINUTES; i++)
        sum += wide_of(t->ring[(t->h - back - i) % t->ring_size].bad);
    return sum;
}

void query_slo_tracker_revised(const struct query_slo_tracker *t, uint64_t *out_minutes,
                               uint64_t *out_events)
{
    *out_minutes = t->revised_minutes;
    *out_events = t->revised_events;
}
