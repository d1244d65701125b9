/* Recording and alerting rules in Prometheus' form: evaluates their groups, writes what they record, and delivers their alerts (docs/rules.md).
 *
 * One `rules` thread evaluates groups when they are due, the rules of a group one after the other. Samples go through tsdb_append as any sender's;
 * alert state, the group's cursor and outgoing notifications change in one transaction of the state store, and go out through the outbox, receivers
 * and webhooks of the detectors.
 *
 *   detectors_new -> detectors_rules_new -> detectors_start -> detectors_rules_start ... detectors_rules_stop -> detectors_stop
 *   -> detectors_rules_free -> detectors_free
 *
 * Owner: the program.  Thread: new, start, stop, free: one thread; reload, status and metrics: any.
 * Failure: new and reload: ERR_INVALID with a line for each mistake in `errors`; after a failed reload the rules of before stay.
 * Limits: rule_file.h, rule_eval.h; DETECTORS_RULES_CATCH_UP_* of what was missed while the program was down.
 * Invariants: 1. A notification exists if and only if the state change that it reports is committed. 2. The fingerprint of an alert is a pure
 *             function of its rule, its labels and the evaluation at which it became active; webhook-id = fingerprint + receiver + event.
 */
#ifndef DETECTORS_DETECTORS_RULES_H
#define DETECTORS_DETECTORS_RULES_H

#include "detectors/detectors.h"

#define DETECTORS_RULES_CATCH_UP_MS (60 * INT64_C(60000)) /* recording rules only */
#define DETECTORS_RULES_CATCH_UP_MAX 60 /* evaluations of a group */
#define DETECTORS_RULES_OUTAGE_MS \
    (60 * INT64_C(60000)) /* after a longer stop what was pending begins anew */
#define DETECTORS_RULES_GRACE_MS \
    INT64_C(60000) /* after a start: so long alerts wait for their series to come back */

struct detectors_rules;

struct detectors_rules_options {
    struct tsdb *db; /* where rules read and write */
    uint32_t org; /* 0 = TSDB_ORG_DEFAULT */
    struct detectors *detectors; /* whose outbox, receivers and state store are used */
    const char *const *paths; /* files, directories, patterns; borrowed */
    size_t path_count;
    int64_t interval_ms; /* of groups that do not say; 0 = 1 min */
    int64_t query_timeout_ms; /* of one rule; 0 = 30 s */
};

enum err detectors_rules_new(const struct detectors_rules_options *o, struct detectors_rules **out,
                             struct buf *errors) MUST_CHECK;
enum err detectors_rules_start(struct detectors_rules *r, struct err_msg *msg) MUST_CHECK;
void detectors_rules_stop(struct detectors_rules *r); /* NULL is fine */
void detectors_rules_free(struct detectors_rules *r); /* NULL is fine */
/* Reads the files again. Rules with the same file, group, name and labels keep their alerts. */
enum err detectors_rules_reload(struct detectors_rules *r, struct buf *errors) MUST_CHECK;
/* Evaluates whatever is due at this wall time, for tests; not while started. */
enum err detectors_rules_evaluate(struct detectors_rules *r, int64_t now_ms) MUST_CHECK;

/* Only reads: `check` and check-config. out counts may be NULL. */
enum err detectors_rules_check(const char *const *paths, size_t count, uint32_t *out_groups,
                               uint32_t *out_rules, struct buf *errors) MUST_CHECK;

struct detectors_rules_status {
    uint32_t groups, rules, alerts_pending, alerts_firing;
};
void detectors_rules_status_get(struct detectors_rules *r, struct detectors_rules_status *out);
/* Appends prometheus_rule_* as a text page, a series for each group. */
void detectors_rules_metrics(struct detectors_rules *r, struct buf *out);

#endif
