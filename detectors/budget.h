/* One budget as it is written, and the calendars it may go by. Private to the budgets.
 *
 * Owner: struct detectors_budgets (its arena).  Thread: immutable once loaded, but for the window's cached bounds (the budgets' lock).
 * Failure: budget_file_read: one line per mistake; budget_zone_read: ERR_CORRUPT for bytes that are no time zone (RFC 9636), ERR_NOT_FOUND.
 * Limits: a time zone has at most BUDGET_ZONE_CHANGES_MAX changes; after its last one the offset stays.
 */
#ifndef DETECTORS_BUDGET_H
#define DETECTORS_BUDGET_H

#include "base/buf.h"
#include "base/hash.h"
#include "detectors/detectors_budgets.h"

#define BUDGET_ZONE_CHANGES_MAX 4096u
#define BUDGET_BUCKETS_MAX 96u /* of a rolling window */

enum budget_calendar { BUDGET_ROLLING, BUDGET_DAY, BUDGET_WEEK, BUDGET_MONTH };

struct budget_zone {
    const char *name;
    uint32_t count;
    int64_t *at; /* seconds since the epoch */
    int32_t *offset; /* from then on, seconds east of Greenwich */
    int32_t first; /* before */
};
/* The zone's bytes, as under /usr/share/zoneinfo. */
enum err budget_zone_read(struct bytes file, struct arena *a, struct budget_zone *out) MUST_CHECK;
/* name NULL or "UTC": always there. */
enum err budget_zone_load(const char *name, struct arena *a, struct budget_zone *out,
                          struct err_msg *msg) MUST_CHECK;
int32_t budget_zone_offset(const struct budget_zone *z, int64_t unix_s);

struct budget {
    const char *name, *window;
    enum tsdb_book_dim by;
    struct bytes value; /* without its '*' */
    bool any_before, any_after, is_pattern; /* a '*' at the front, at the end, at either */
    bool is_together; /* one amount for all values that match */
    enum detectors_budget_unit unit;
    int64_t limit;
    enum budget_calendar calendar;
    int64_t window_ms; /* rolling */
    uint32_t bucket_minutes; /* rolling: the step in which it moves */
    struct budget_zone zone;
    uint8_t
        thresholds[DETECTORS_BUDGETS_THRESHOLDS_MAX]; /* percent, or DETECTORS_BUDGETS_FORECAST */
    uint32_t threshold_count;
    bool is_hard, fail_open;
    uint32_t next_exact; /* index + 1 of another budget for the same value */
    int64_t cached_from_ms, cached_to_ms; /* calendar: the window that was asked for last */
};
bool budget_matches(const struct budget *b, struct bytes value);
/* The calendar window that holds the moment, [from, to). */
void budget_window(struct budget *b, int64_t ms, int64_t *out_from, int64_t *out_to);
/* Of a booking. */
int64_t budget_amount(const struct budget *b, const struct tsdb_book_sums *s);

/* `budgets:` of a YAML document (docs/budgets.md). */
enum err budget_file_read(struct bytes text, const char *path, struct arena *a, struct budget **out,
                          size_t *out_count, struct buf *errors) MUST_CHECK;

/* Keys whose windows may have passed a threshold: for the alerts. */
struct budget_hot {
    uint8_t thresholds[DETECTORS_BUDGETS_THRESHOLDS_MAX];
    uint32_t threshold_count;
    char key[TSDB_LEDGER_VALUE_MAX + 1];
    struct detectors_budget_row row; /* its key: the one above */
};
#define BUDGET_HOT_MAX 10000u
/* Copies what is hot now; what has cooled off is forgotten. malloc'ed. */
enum err budget_hot_take(struct detectors_budgets *b, int64_t now_ms, struct budget_hot **out,
                         size_t *out_count) MUST_CHECK;

#endif
