/* Budgets of money, tokens or calls: for each value of a dimension, or for all that match together, over rolling or calendar windows.
 *
 *   ledger (what was booked before) --follow--> windows <--follow-- each commit
 *   windows --check, rows--> a gateway that asks before a call, the page        windows --thresholds--> alerts (budget_alerts.c)
 *
 * Owner: the program; made before the detectors, which watch it.  Thread: any; one lock, held for some microseconds, also by the committer.
 * Failure: load: ERR_INVALID with one line per mistake (file, line, key).
 * Limits: DETECTORS_BUDGETS_MAX budgets of which DETECTORS_BUDGETS_PATTERNS_MAX have patterns, DETECTORS_BUDGETS_KEYS_MAX values with a window
 *         (past it a value is not watched, counted, and a question about it is answered as is_untracked).
 * Invariants: 1. After a restart a window holds what it held before. 2. A rolling window gives up what is older than it in steps of
 *             bucket_minutes: what it says is never too little, and too much by at most one step. 3. A calendar window is exact.
 */
#ifndef DETECTORS_DETECTORS_BUDGETS_H
#define DETECTORS_DETECTORS_BUDGETS_H

#include "tsdb/tsdb_ledger.h"

#define DETECTORS_BUDGETS_MAX 10000u
#define DETECTORS_BUDGETS_PATTERNS_MAX 256u
#define DETECTORS_BUDGETS_KEYS_MAX 1000000u
#define DETECTORS_BUDGETS_THRESHOLDS_MAX 8u
#define DETECTORS_BUDGETS_FORECAST \
    0u /* as a threshold in percent: at this pace all will be spent */

enum detectors_budget_unit {
    DETECTORS_BUDGET_USD,
    DETECTORS_BUDGET_TOKENS,
    DETECTORS_BUDGET_CALLS
};
const char *detectors_budget_unit_name(enum detectors_budget_unit u); /* "usd", "tokens", "calls" */

struct detectors_budgets;

/* Reads the file (docs/budgets.md); path NULL: none. */
enum err detectors_budgets_load(const char *path, struct detectors_budgets **out,
                                struct buf *errors) MUST_CHECK;
/* Fills the windows from the ledger and follows it from then on. */
enum err detectors_budgets_follow(struct detectors_budgets *b, struct tsdb *db,
                                  uint32_t org) MUST_CHECK;
/* Reads the file again. What it says holds from a single moment on, and the windows, those of budgets that are as before too, hold what the ledger
 * has booked: the same as after a restart, and nothing that is booked meanwhile is missed or counted twice. On an error all stays as it is.
 * Once at a time; after follow. */
enum err detectors_budgets_reload(struct detectors_budgets *b, const char *path, struct tsdb *db,
                                  struct buf *errors) MUST_CHECK;
void detectors_budgets_unfollow(struct detectors_budgets *b, struct tsdb *db);
void detectors_budgets_free(struct detectors_budgets *b); /* NULL is fine */
uint32_t detectors_budgets_org(const struct detectors_budgets *b); /* whose calls are counted */

#define DETECTORS_BUDGETS_NAME_MAX 64u
/* A window of one key as it is now. Amounts are nano-USD, tokens or calls. The key lives in the arena; the names are copies, for the file may
 * be read again at any moment. */
struct detectors_budget_row {
    char name[DETECTORS_BUDGETS_NAME_MAX + 1];
    char window[24]; /* "24h", "month", as written */
    enum tsdb_book_dim by;
    struct bytes key; /* empty: of all that match together */
    enum detectors_budget_unit unit;
    int64_t limit, spent;
    int64_t start_ms; /* of the window */
    int64_t reset_ms; /* calendar: its end; rolling: when something leaves it; 0 = nothing will */
    double forecast; /* at the pace of the window so far, at its end; rolling: spent */
    bool is_hard, fail_open, is_rolling, is_untracked;
};

/* What a gateway knows before a call; empty: not known, and budgets by it are not asked. */
struct detectors_budget_call {
    struct bytes value[TSDB_BOOK_DIM_COUNT];
    int64_t nanousd, tokens; /* what the call may cost */
};
#define DETECTORS_BUDGETS_ANSWER_MAX 16u
struct detectors_budget_answer {
    bool is_allowed; /* no hard budget would be passed */
    bool fail_open; /* of what binds; what to do when no answer comes */
    uint32_t matched; /* budgets that have a say */
    uint32_t count; /* of them in rows, the binding one first */
    struct detectors_budget_row rows[DETECTORS_BUDGETS_ANSWER_MAX];
    int64_t booked_ms; /* when the newest booking was committed; 0 = none since start */
    int64_t newest_ms; /* the newest call's end among them */
};
/* Allocates nothing; keys point into the call's. */
void detectors_budgets_check(struct detectors_budgets *b, const struct detectors_budget_call *call,
                             int64_t now_ms, struct detectors_budget_answer *out);
/* Windows of one budget (name NULL: of all), the fullest first, at most max of each budget; key: only this one. */
enum err detectors_budgets_rows(struct detectors_budgets *b, const char *name, struct bytes key,
                                size_t max, int64_t now_ms, struct arena *a,
                                struct detectors_budget_row **out, size_t *out_count) MUST_CHECK;

struct detectors_budgets_status {
    uint64_t budgets, keys, bytes, refused; /* refused: bookings of keys past the limit */
};
void detectors_budgets_status_get(struct detectors_budgets *b,
                                  struct detectors_budgets_status *out);

#endif
