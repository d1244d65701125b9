/* Which alerts an objective's rules would have fired over the past, from what is stored: minute by minute through the same sums, judgement and
 * state machine as the evaluator's.
 *
 * A minute is judged when it is complete; the evaluator, which looks every two seconds, may be up to a minute earlier. Rows that came late are
 * judged as if they had been there. No alert is active when the range begins.
 * Owner: results live in the caller's arena.  Thread: any.
 * Failure: ERR_INVALID (no such range), ERR_TIMEOUT (the deadline), ERR_NOT_FOUND (no such objective), ERR_NOMEM, ERR_LIMIT, and the source's.
 * Limits: DETECTORS_BACKTEST_DAYS_MAX days; DETECTORS_BACKTEST_ALERTS_MAX alerts are listed, all are counted.
 * Invariant: pages and tickets are what one receiver that wants everything is told of: while it knows of an alert, others about the same objective that
 *            are no worse are not sent.
 */
#ifndef DETECTORS_DETECTORS_BACKTEST_H
#define DETECTORS_DETECTORS_BACKTEST_H

#include "base/json_out.h"
#include "detectors/detectors.h"
#include "query/query_slo_source.h"

#define DETECTORS_BACKTEST_DAYS_MAX 400u
#define DETECTORS_BACKTEST_ALERTS_MAX 1000u

struct detectors_backtest_ask {
    int64_t from_ms,
        to_ms; /* whole minutes of it; to: at most the end of the last complete minute */
    int64_t deadline_mono_ns; /* 0 = none */
};

struct detectors_backtest_alert {
    struct bytes rule;
    enum query_slo_severity severity; /* the worst that it reached */
    bool is_told; /* false: another alert spoke for it all the time */
    int64_t start_ms, fired_ms, resolved_ms; /* resolved 0: it fires at the end of the range */
    double long_burn, short_burn, budget_left; /* when it fired */
    double peak_burn; /* the highest of the long window */
    double factor;
    uint32_t long_minutes, short_minutes;
    int64_t bad, eligible; /* of the long window, when it fired */
    struct bytes phrase; /* who was responsible; empty where nobody stands out */
};

struct detectors_backtest {
    int64_t from_ms, to_ms, data_from_ms; /* data: the first minute with an event; 0 = none */
    struct query_slo_counts counts; /* of the range */
    double budget_left; /* of the period at the end of the range; NaN = no data */
    double
        exact_share; /* of the calls of the range that the threshold's counter has; NaN: has none */
    struct detectors_backtest_alert *alerts; /* that fired, in the order in which they did */
    size_t alert_count;
    bool is_cut; /* there were more */
    uint32_t pages, tickets;
    int64_t took_ns;
};

/* The last complete minute's end, as the evaluator sees it at now. */
int64_t detectors_backtest_end_ms(int64_t now_ms);
enum err detectors_backtest_run(const struct query_slo_source *src, const struct query_slo *s,
                                const struct detectors_backtest_ask *ask, struct arena *a,
                                struct detectors_backtest *out) MUST_CHECK;
/* Every objective of a set over a view of the store that is opened for each: {"slos":[...]}. */
enum err detectors_backtest_set(struct tsdb *db, uint32_t org, const struct query_slo_set *set,
                                const struct detectors_backtest_ask *ask, struct json_out *j,
                                struct err_msg *msg) MUST_CHECK;
/* The same of what is loaded: one, by its id, as an object; or all of them (id empty) as {"slos":[...]}. */
enum err detectors_backtest_loaded(struct detectors *d, struct bytes id,
                                   const struct detectors_backtest_ask *ask, struct json_out *j,
                                   struct err_msg *msg) MUST_CHECK;

#endif
