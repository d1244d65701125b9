/* What a horizon says of an objective's rules: from its sliding sums to the input of the alerts' state machine. The evaluator asks this of the
 * state of now, a backtest of each minute that was.
 *
 * Owner: caller.  Thread: the tracker's.  Failure: slo_judge_sums: the source's.
 * Invariant: an answer depends on the tracker, the definition and the floor alone: not on the clock, nor on who asks.
 */
#ifndef DETECTORS_SLO_JUDGE_H
#define DETECTORS_SLO_JUDGE_H

#include "detectors/alert.h"
#include "detectors/slo_calendar.h"
#include "query/query_slo_source.h"

/* Beyond the burn-rate rules, each objective has two of its own. */
#define SLO_JUDGE_EXCLUDED QUERY_SLO_RULES_MAX
#define SLO_JUDGE_NO_DATA (QUERY_SLO_RULES_MAX + 1)
#define SLO_JUDGE_RULES (QUERY_SLO_RULES_MAX + 2)
#define SLO_JUDGE_EXCLUDED_SHARE 0.20
#define SLO_JUDGE_EXCLUDED_MIN 20 /* events in the window before the share means anything */

struct slo_judge_rule {
    struct query_slo_counts long_counts, short_counts;
    enum query_slo_verdict verdict;
};

/* Sums of the tracker's horizon. */
struct slo_judge {
    const struct query_slo *slo;
    const struct query_slo_tracker *tracker;
    struct slo_judge_rule rules[QUERY_SLO_RULES_MAX];
    struct query_slo_counts period; /* of a calendar window: since its start */
    uint32_t period_from, period_to; /* calendar: the minutes of it that are counted */
};

struct slo_judge_answer {
    struct alert_input in;
    bool opens; /* an alert of the rule begins, at start */
    uint32_t start;
};

const char *slo_judge_rule_name(const struct query_slo *s, uint32_t rule);
/* The first call has *io zeroed. A calendar window (calendar not NULL) is counted from the source once a minute; in the past, where no row comes any
 * more, minute by minute. On an error the rules are judged all the same, and the period is that of before. */
enum err slo_judge_sums(const struct query_slo *s, const struct query_slo_tracker *t,
                        const struct slo_calendar *calendar, const struct query_slo_source *src,
                        bool is_past, struct slo_judge *io) MUST_CHECK;
/* The rule 0 .. SLO_JUDGE_RULES - 1 at the tracker's horizon; is_active: an alert of it pends or fires; else one may begin, after floor.
 * False: such a rule is not judged. */
bool slo_judge_ask(const struct slo_judge *j, uint32_t rule, uint32_t floor, bool is_active,
                   int64_t now_ms, struct slo_judge_answer *out);
/* Windows, burns, budget of the alert. */
void slo_judge_numbers(const struct slo_judge *j, uint32_t rule, struct alert *a);

#endif
