#include "detectors/slo_calendar.h"

#include <time.h>

#include "base/check.h"

enum err slo_calendar_load(const struct query_slo *s, struct arena *a, struct slo_calendar *out,
                           struct err_msg *msg)
{
    struct bytes name = arena_copy(a, s->calendar.zone);
    char zone[64];
    CHECK(s->calendar.months || s->calendar.days);
    if (!name.data)
        return ERR_NOMEM;
    if (name.size >= sizeof(zone))
        return err_set(msg, ERR_INVALID, "the name of the time zone is too long");
    memcpy(zone, name.data, name.size);
    zone[name.size] = 0;
    *out = (struct slo_calendar){.def = s->calendar};
    enum err e = budget_zone_load(zone, a, &out->zone, msg);
    out->zone.name = ""; /* it was ours; the definition has it */
    return e;
}

/* --- local time ---------------------------------------------------------------------------------- */

static int days_in(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && is_leap);
}

/* Seconds on the wall clock, as if it were Greenwich's, of the k-th period's start. A day that a month does not have is its last. */
static int64_t local_start(const struct slo_calendar *c, int64_t k)
{
    const struct query_slo_calendar *d = &c->def;
    struct tm t = {.tm_year = d->year - 1900, .tm_mon = d->month - 1, .tm_mday = d->day};
    if (d->months) {
        int64_t month = (int64_t)d->year * 12 + d->month - 1 + k * d->months;
        int year = (int)(month / 12), m = (int)(month % 12) + 1;
        t = (struct tm){
            .tm_year = year - 1900, .tm_mon = m - 1, .tm_mday = MIN(d->day, days_in(year, m))};
    }
    return (int64_t)timegm(&t) + (d->months ? 0 : k * (int64_t)d->days * 86400) + d->minute * 60;
}

/* A time of the wall clock as UTC. One that is skipped in spring is the moment of the change; of two in autumn it is the first. */
static int64_t to_utc(const struct slo_calendar *c, int64_t local_s)
{
    int64_t before = local_s - budget_zone_offset(&c->zone, local_s - 86400);
    int64_t after = local_s - budget_zone_offset(&c->zone, local_s + 86400);
    if (before + budget_zone_offset(&c->zone, before) == local_s)
        return before;
    return after + budget_zone_offset(&c->zone, after) == local_s ? after : MAX(before, after);
}

/* Where the local time lies, counted in periods from the first; at most one off at the edges. */
static int64_t guess(const struct slo_calendar *c, int64_t local_s)
{
    const struct query_slo_calendar *d = &c->def;
    time_t at = (time_t)local_s;
    struct tm t;
    if (!d->months)
        return (local_s - local_start(c, 0)) / ((int64_t)d->days * 86400);
    gmtime_r(&at, &t);
    int64_t months = ((int64_t)t.tm_year + 1900 - d->year) * 12 + t.tm_mon + 1 - d->month;
    return months / d->months;
}

uint32_t slo_calendar_start(const struct slo_calendar *c, uint32_t minute)
{
    int64_t unix_s = (int64_t)minute * 60;
    int64_t k = guess(c, unix_s + budget_zone_offset(&c->zone, unix_s)) + 1;
    while (k >= 0 && to_utc(c, local_start(c, k)) > unix_s)
        k--;
    return k < 0 ? 0 : (uint32_t)(to_utc(c, local_start(c, k)) / 60);
}
