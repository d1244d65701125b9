/* The ledger: exact sums of what calls cost, by UTC day and quarter of an hour, for every value of each dimension.
 *
 * Fed by the committer with what each committed batch books: spans by their columns, and the batch's own bookings (tsdb_batch.h), among them
 * those that are taken back. Sums over a dimension are the same for all of them: what names no value is the empty value, "unattributed".
 * Owner: the store.  Thread: any.
 * Failure: tsdb_ledger_ask: ERR_LIMIT (too many values, arena full), ERR_CORRUPT (a damaged row), ERR_IO.
 * Limits: LEDGER_DAY_KEYS_MAX values a day, org and dimension are exact; past it a newcomer gets a row of its own only if it cost more than
 *         the day's values do on average, and the others are summed up as is_other; a row may then lack at most error_nanousd.
 *         Values longer than TSDB_LEDGER_VALUE_MAX bytes are cut. Quarters are kept for TSDB_LEDGER_SLOT_DAYS, days as long as cells.
 * Invariants: 1. What was acknowledged is in the next answer, once, also after a crash at any point. 2. Rows, is_other included, sum to the
 *             total, exactly, whatever limits were met.
 */
#ifndef TSDB_TSDB_LEDGER_H
#define TSDB_TSDB_LEDGER_H

#include "tsdb/tsdb.h"

#define TSDB_LEDGER_VALUE_MAX 255u
#define TSDB_LEDGER_SLOT_MIN 15u /* every time zone's day begins with a slot */
#define TSDB_LEDGER_SLOT_DAYS 35u /* a month, wherever it begins */
#define TSDB_LEDGER_DAYS_MAX 400u

const char *tsdb_ledger_dim_text(enum tsdb_book_dim d); /* "team", ... */
bool tsdb_ledger_dim_of(struct bytes text, enum tsdb_book_dim *out);
void tsdb_ledger_add(struct tsdb_book_sums *to, const struct tsdb_book_sums *more);

#define TSDB_LEDGER_SCRATCH 512u
/* What a span books, by its columns; false: nothing. Slices point into the batch or scratch. */
bool tsdb_ledger_of_span(const struct tsdb_batch *b, uint32_t row,
                         uint8_t scratch[TSDB_LEDGER_SCRATCH], struct tsdb_book *out);
/* "name@version", or the one that there is; cut at the end of scratch. */
struct bytes tsdb_ledger_prompt(struct bytes name, struct bytes version,
                                uint8_t scratch[TSDB_LEDGER_SCRATCH]);

struct tsdb_ledger_row {
    struct bytes value; /* empty: unattributed */
    bool is_other; /* values past the limit, together */
    struct tsdb_book_sums sums;
    int64_t *days; /* nano-USD by day of the answer, or NULL */
};
struct tsdb_ledger_question {
    uint32_t org;
    enum tsdb_book_dim dim;
    int64_t from_ms, to_ms; /* to is not in it */
    size_t top; /* rows by nano-USD, then calls; 0 = all */
    bool with_days;
};
struct tsdb_ledger_answer {
    int64_t from_ms, to_ms; /* as counted: slots, or whole days where the slots are gone */
    uint32_t first_day, day_count; /* since the epoch, UTC */
    size_t keys; /* values that there are, unattributed aside */
    struct tsdb_ledger_row *rows;
    size_t count;
    struct tsdb_book_sums total, unattributed, other,
        below; /* below: of values that are not among the top */
    int64_t *days; /* of the total */
    int64_t error_nanousd; /* no value lacks more; 0: exact */
};
enum err tsdb_ledger_ask(struct tsdb *db, const struct tsdb_ledger_question *q, struct arena *a,
                         struct tsdb_ledger_answer *out) MUST_CHECK;

/* Everything of one dimension from a time on, then everything that is committed from now on: nothing twice, nothing missed.
 * row: on the caller's thread, before the call returns. booked: on the committer's, after the commit; must be brief. They may come at the
 * same time. minute: where the sums begin; of days that have no slots any more (before slots_from_minute) it is the day's. */
struct tsdb_ledger_follower {
    void *ctx;
    void (*row)(void *ctx, enum tsdb_book_dim dim, struct bytes value, uint32_t minute,
                const struct tsdb_book_sums *sums);
    void (*booked)(void *ctx, const struct tsdb_book *books, size_t n);
};
/* One follower at a time; NULL: none from now on (and none of its calls is under way any more). Another one takes the place of the one
 * before at a single moment, so that each booking is told to exactly one of them; if that fails, the one before is there (again). */
enum err tsdb_ledger_follow(struct tsdb *db, uint32_t org, uint32_t dims /* bits */,
                            int64_t from_ms, const struct tsdb_ledger_follower *f) MUST_CHECK;

struct tsdb_ledger_status {
    uint64_t keys, bytes; /* in memory: not yet sealed */
    uint64_t file_bytes;
    uint64_t booked, book_ns; /* rows, and what they cost the committer */
    int64_t newest_ms; /* end of the newest row that booked; 0 = none since start */
};
void tsdb_ledger_status_get(struct tsdb *db, struct tsdb_ledger_status *out);

#endif
