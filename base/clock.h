/* Time through a seam that a test can own.
 *
 * Thread: any.  Failure: none.
 * clock_wall_ns may jump; durations use clock_mono_ns. A test (or TELLTALE_CLOCK_OFFSET_MS in test builds) may shift the wall clock.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

int64_t clock_wall_ns(void);
int64_t clock_mono_ns(void);
void clock_sleep_ms(int64_t ms);
void clock_test_set_wall(
    int64_t (*now_ns)(void)); /* tests only; NULL restores the system's clock */

static inline int64_t clock_wall_ms(void)
{
    return clock_wall_ns() / 1000000;
}

/* RFC 3339 in UTC with milliseconds: "2026-11-24T17:22:17.123Z"; out holds CLOCK_RFC3339_MAX bytes. */
#define CLOCK_RFC3339_MAX 32
void clock_rfc3339(int64_t wall_ms, char *out);
/* Parses RFC 3339 with any offset and fraction; false if malformed. */
int clock_parse_rfc3339(const char *s, int64_t *out_ns);
/* Prometheus durations: "1h30m", "5m", "250ms", "1y", "0"; false if malformed or out of range. */
int clock_parse_duration_ms(const char *s, int64_t *out_ms);
void clock_format_duration(int64_t ms, char out[48]); /* "1h30m", Prometheus style */

#endif
