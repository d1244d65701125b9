#include "base/clock.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static _Atomic(int64_t (*)(void)) test_wall;
static int64_t wall_offset_ns;

__attribute__((constructor)) static void offset_init(void)
{
    const char *text =
        getenv("TELLTALE_CLOCK_OFFSET_MS"); /* for tests of clock jumps and of event time */
    if (text)
        wall_offset_ns = strtoll(text, NULL, 10) * 1000000;
}

static int64_t now(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int64_t clock_wall_ns(void)
{
    int64_t (*fn)(void) = atomic_load_explicit(&test_wall, memory_order_relaxed);
    return fn ? fn() : now(CLOCK_REALTIME) + wall_offset_ns;
}

int64_t clock_mono_ns(void)
{
    return now(CLOCK_MONOTONIC);
}

void clock_sleep_ms(int64_t ms)
{
    struct timespec ts = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&ts, NULL);
}

void clock_test_set_wall(int64_t (*now_ns)(void))
{
    atomic_store(&test_wall, now_ns);
}

void clock_rfc3339(int64_t wall_ms, char *out)
{
    int64_t s = wall_ms / 1000, ms = wall_ms % 1000;
    if (ms < 0) {
        ms += 1000;
        s--;
    }
    time_t t = (time_t)s;
    struct tm tm;
    if (!gmtime_r(&t, &tm) || tm.tm_year < -1900 || tm.tm_year > 8099) {
        snprintf(out, CLOCK_RFC3339_MAX,
                 "0001-01-01T00:00:00.000Z"); /* beyond what the format can say */
        return;
    }
    snprintf(out, CLOCK_RFC3339_MAX, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ",
             (unsigned)(tm.tm_year + 1900) % 10000u, (unsigned)(tm.tm_mon + 1) % 100u,
             (unsigned)tm.tm_mday % 100u, (unsigned)tm.tm_hour % 100u, (unsigned)tm.tm_min % 100u,
             (unsigned)tm.tm_sec % 100u, (unsigned)ms % 1000u);
}

/* Days since 1970-01-01 of a proleptic Gregorian date (the usual era arithmetic: years from March). */
static int64_t days_from_civil(int64_t y, unsigned m, unsigned d)
{
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    unsigned yoe = (unsigned)(y - era * 400);
    unsigned doy = (153 * (m > 2 ? m - 3 : m + 9) + 2) / 5 + d - 1;
    unsigned doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    return era * 146097 + (int64_t)doe - 719468;
}

static bool digits(const char **s, unsigned n, unsigned *out)
{
    unsigned v = 0;
    for (unsigned i = 0; i < n; i++, (*s)++) {
        if (**s < '0' || **s > '9')
            return false;
        v = v * 10 + (unsigned)(**s - '0');
    }
    *out = v;
    return true;
}

static bool skip(const char **s, char c)
{
    if (**s != c)
        return false;
    (*s)++;
    return true;
}

static unsigned days_in_month(unsigned y, unsigned m)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
    return m == 2 && leap ? 29 : days[m - 1];
}

static bool parse_zone(const char **s, int64_t *out_offset_s)
{
    unsigned h, m;
    *out_offset_s = 0;
    if (skip(s, 'Z') || skip(s, 'z'))
        return true;
    int sign = **s == '-' ? -1 : 1;
    if (!skip(s, '+') && !skip(s, '-'))
        return false;
    if (!digits(s, 2, &h) || !skip(s, ':') || !digits(s, 2, &m) || h > 23 || m > 59)
        return false;
    *out_offset_s = sign * (int64_t)(h * 3600 + m * 60);
    return true;
}

int clock_parse_rfc3339(const char *s, int64_t *out_ns)
{
    unsigned y, mo, d, h, mi, sec;
    if (!digits(&s, 4, &y) || !skip(&s, '-') || !digits(&s, 2, &mo) || !skip(&s, '-') ||
        !digits(&s, 2, &d) || (!skip(&s, 'T') && !skip(&s, 't')) || !digits(&s, 2, &h) ||
        !skip(&s, ':') || !digits(&s, 2, &mi) || !skip(&s, ':') || !digits(&s, 2, &sec))
        return 0;
    if (mo < 1 || mo > 12 || d < 1 || d > days_in_month(y, mo) || h > 23 || mi > 59 || sec > 60)
        return 0;
    int64_t ns = 0;
    if (skip(&s, '.')) {
        int64_t unit = 100000000;
        if (*s < '0' || *s > '9')
            return 0;
        for (; *s >= '0' && *s <= '9'; s++, unit /= 10)
            ns += (*s - '0') * unit;
    }
    int64_t offset_s, total_s;
    if (!parse_zone(&s, &offset_s) || *s)
        return 0;
    total_s = days_from_civil(y, mo, d) * 86400 + (int64_t)(h * 3600 + mi * 60 + sec) - offset_s;
    if (__builtin_mul_overflow(total_s, (int64_t)1000000000, &total_s) ||
        __builtin_add_overflow(total_s, ns, &total_s))
        return 0;
    *out_ns = total_s;
    return 1;
}

static const struct {
    const char *name;
    int64_t ms;
} units[] = {{"y", 31536000000}, {"w", 604800000}, {"d", 86400000}, {"h", 3600000},
             {"m", 60000},       {"s", 1000},      {"ms", 1}};
#define UNIT_COUNT (sizeof(units) / sizeof(units[0]))

int clock_parse_duration_ms(const char *s, int64_t *out_ms)
{
    int64_t total = 0;
    size_t unit_min = 0; /* units must come in falling order, each once */
    if (strcmp(s, "0") == 0) {
        *out_ms = 0;
        return 1;
    }
    if (!*s)
        return 0;
    while (*s) {
        int64_t v = 0;
        if (*s < '0' || *s > '9')
            return 0;
        for (; *s >= '0' && *s <= '9'; s++)
            if (__builtin_mul_overflow(v, (int64_t)10, &v) ||
                __builtin_add_overflow(v, (int64_t)(*s - '0'), &v))
                return 0;
        size_t n = strspn(s, "ywdhms"), u;
        if (n > 1 && !(n >= 2 && s[0] == 'm' && s[1] == 's'))
            return 0;
        n = n > 1 ? 2 : n;
        for (u = unit_min; u < UNIT_COUNT; u++)
            if (strlen(units[u].name) == n && strncmp(units[u].name, s, n) == 0)
                break;
        if (u == UNIT_COUNT || __builtin_mul_overflow(v, units[u].ms, &v) ||
            __builtin_add_overflow(total, v, &total))
            return 0;
        s += n;
        unit_min = u + 1;
    }
    *out_ms = total;
    return 1;
}

void clock_format_duration(int64_t ms, char out[48])
{
    size_t n = 0;
    if (ms == 0) {
        memcpy(out, "0s", 3);
        return;
    }
    uint64_t left = ms < 0 ? 0 - (uint64_t)ms : (uint64_t)ms;
    if (ms < 0)
        out[n++] = '-';
    for (size_t u = 0; u < UNIT_COUNT; u++) {
        /* as Prometheus: years, weeks and days only where they come out even */
        bool exact_only = u < 3;
        uint64_t unit = (uint64_t)units[u].ms;
        if (left < unit || (exact_only && left % unit))
            continue;
        n += (size_t)snprintf(out + n, 48 - n, "%llu%s", (unsigned long long)(left / unit),
                              units[u].name);
        left %= unit;
    }
}
