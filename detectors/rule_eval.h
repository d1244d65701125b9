/* One group of rules at one moment: what is recorded, which alerts are pending, fire and end. Prometheus' semantics (rules/group.go, alerting.go).
 *
 *              in the result                  for is over                       not in the result
 *   (nothing) ---------------> PENDING ---------------------------> FIRING ----------------------------> INACTIVE --> (nothing)
 *                                 |                                   ^  |      keep_firing_for is over    15 minutes
 *                                 | not in the result                 +--+
 *                                 v                              keep_firing_for
 *                              (nothing)
 *
 * Where series come from and go to is struct rule_io: the store, or memory in rule tests.
 * Owner: the caller; struct rule_out owns an arena until rule_group_apply takes it or rule_outs_free gives it back.
 * Thread: one evaluation of a group at a time; rule_group_eval does not change the group, rule_group_apply does.
 * Failure: a rule that fails has rule_out.err and a sentence, keeps its alerts, and the rules behind it are evaluated.
 * Limits: RULE_EVAL_ALERTS_MAX alerts of a rule; the group's own limit; those of the engine.
 * Invariants: 1. A rule has at most one alert with given labels. 2. An alert that is pending or fires has rows ALERTS and ALERTS_FOR_STATE at each
 *             evaluation; a series that was written before and is not any more gets a stale marker once.
 */
#ifndef DETECTORS_RULE_EVAL_H
#define DETECTORS_RULE_EVAL_H

#include "detectors/detectors.h"
#include "base/arena_budget.h"
#include "detectors/rule_file.h"

#define RULE_EVAL_ALERTS_MAX 10000u
#define RULE_EVAL_RESOLVED_MS (15 * INT64_C(60000)) /* an alert that is over is shown so long */
#define RULE_EVAL_ARENA_MAX ((size_t)256 << 20) /* of one rule's result */

enum rule_alert_state { RULE_INACTIVE, RULE_PENDING, RULE_FIRING };
enum rule_health { RULE_UNKNOWN, RULE_GOOD, RULE_BAD };

struct rule_alert {
    struct tsdb_labels labels; /* with alertname */
    struct tsdb_labels annotations;
    enum rule_alert_state state, before; /* before: of the evaluation before */
    double value;
    int64_t active_ms, fired_ms, resolved_ms, keep_since_ms; /* 0 = not (yet) */
    bool is_restored; /* by the start of the program; not seen since */
    bool is_changed; /* since it was made durable */
    bool is_gone; /* leaves with this evaluation */
    char fingerprint[33]; /* of rule, labels and active_ms */
    uint32_t told[DETECTORS_RECEIVERS_MAX]; /* hashes of the receivers that know that it fires */
    uint32_t told_count;
    uint32_t repeats[DETECTORS_RECEIVERS_MAX]; /* by receiver; computed from fired_ms */
};

struct rule_row { /* a sample to write */
    struct tsdb_labels labels;
    int64_t t_ms;
    double value;
    const struct query_hist *hist; /* NULL: value */
};

struct rule_state {
    const struct rule_def *def;
    struct arena *arena; /* of all that follows */
    struct rule_alert *alerts;
    size_t alert_count;
    struct tsdb_labels *series; /* of a recording rule: written by the last evaluation */
    size_t series_count;
    enum rule_health health;
    char last_error[256];
    int64_t evaluated_ms, evaluation_ns;
};

struct rule_group {
    const struct rule_group_def *def;
    struct rule_state *rules;
    int64_t last_ms, next_ms; /* evaluations, as their time; 0 = none */
    int64_t evaluated_ms, evaluation_ns;
    uint64_t iterations, missed, evaluations, failures, last_samples;
    int64_t evaluation_ns_total;
    int64_t saved_ms; /* last_ms as it is durable */
};

struct rule_io {
    void *ctx;
    rule_template_query query;
    /* Makes rows durable and visible to the next query. */
    enum err (*write)(void *ctx, const struct rule_row *rows, size_t n, struct err_msg *msg);
    struct arena_budget *budget; /* NULL = none */
    struct tsdb_labels external_labels;
    const char *external_url;
    int64_t grace_until_ms; /* a restored alert that is not seen stays as it is until then */
};

struct rule_out { /* of one rule */
    bool is_done; /* evaluated at all */
    bool keeps_alerts; /* in spite of err: what it says of alerts holds */
    enum err err;
    struct err_msg msg;
    struct arena *arena; /* NULL: failed, the state stays */
    struct rule_alert *alerts;
    size_t alert_count;
    struct tsdb_labels *series;
    size_t series_count;
    struct rule_row *rows;
    size_t row_count;
    int64_t evaluated_ms, evaluation_ns;
};

/* outs: one for each rule. records_only: alerting rules are left out (an evaluation that is caught up). */
void rule_group_eval(const struct rule_group *g, const struct rule_io *io, int64_t at_ms,
                     bool records_only, struct rule_out *outs);
/* Takes the arenas: what was evaluated is what holds now. */
void rule_group_apply(struct rule_group *g, int64_t at_ms, struct rule_out *outs);
void rule_outs_free(struct rule_out *outs, size_t n);
void rule_state_done(struct rule_state *s);

/* Stale markers for all that a rule wrote last: it is not there any more. In the arena. */
enum err rule_state_stale_rows(const struct rule_state *s, int64_t at_ms, struct arena *a,
                               struct rule_row **out, size_t *out_count) MUST_CHECK;
void rule_alert_fingerprint(const struct rule_def *d, struct rule_alert *a);
const char *rule_alert_state_name(enum rule_alert_state s); /* "inactive", "pending", "firing" */
const char *rule_health_name(enum rule_health h); /* "unknown", "ok", "err" */
/* The state of an alerting rule: that of its worst alert. */
enum rule_alert_state rule_state_worst(const struct rule_state *s);

#endif
