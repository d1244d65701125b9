/* Detectors: evaluates objectives, keeps alert state, and delivers notifications.
 *
 * One `detect` thread evaluates; alert state, evaluation cursor and outgoing notifications change in one transaction of the state store.
 * One `notify` thread a receiver delivers from the outbox, at least once, with a stable idempotency key.
 * Owner: the program.  Thread: snapshot functions from any thread; what they return lives in the caller's arena.
 * Failure: detectors_new: ERR_INVALID with one line per mistake in `errors`; snapshots: ERR_NOT_FOUND, ERR_LIMIT, and a view's errors.
 * Limits: DETECTORS_RECEIVERS_MAX receivers, DETECTORS_ALERTS_MAX alerts, DETECTORS_OUTBOX_MAX waiting notifications a receiver.
 * Invariants: 1. A notification exists if and only if the state change that it reports is committed. 2. An alert's fingerprint is a pure
 *             function of rule, labels and start minute. 3. webhook-id = fingerprint + receiver + event, the same in every attempt.
 */
#ifndef DETECTORS_DETECTORS_H
#define DETECTORS_DETECTORS_H

#include "query/query_slo.h"

#define DETECTORS_RECEIVERS_MAX 32u
#define DETECTORS_ALERTS_MAX 10000u
#define DETECTORS_OUTBOX_MAX 10000u
#define DETECTORS_SECRETS_MAX 4u
#define DETECTORS_HEADERS_MAX 16u
#define DETECTORS_MAIL_TO_MAX 8u

struct detectors;

enum detectors_receiver_kind {
    DETECTORS_WEBHOOK, /* Alertmanager's webhook body, signed */
    DETECTORS_SLACK,
    DETECTORS_TEAMS,
    DETECTORS_PAGERDUTY,
    DETECTORS_ALERTMANAGER, /* its API; url is the base */
    DETECTORS_EMAIL
};
const char *detectors_receiver_kind_name(enum detectors_receiver_kind k); /* "webhook", ... */

/* Where notifications go. Strings are borrowed until detectors_free. */
struct detectors_receiver {
    enum detectors_receiver_kind kind;
    const char *name, *url;
    const char *routing_key; /* PagerDuty: 32 characters */
    const char *mail_from, *mail_to[DETECTORS_MAIL_TO_MAX], *mail_user, *mail_password;
    bool mail_plain; /* smtp: goes on without TLS where the server has none */
    const char *secrets
        [DETECTORS_SECRETS_MAX]; /* "whsec_<base64>" or plain text; the first is the current one, others are still signed with */
    const char *headers[DETECTORS_HEADERS_MAX]; /* "Name: value" */
    bool pages, tickets; /* severities it wants; both false = both */
    bool send_resolved_off;
    int64_t repeat_ms; /* a firing alert is sent again after this; 0 = 4 h */
    int64_t after_ms; /* told only of what fires so long and nobody has acknowledged */
    uint32_t per_minute; /* at most so many attempts; 0 = as many as there are */
    int64_t timeout_ms; /* of one attempt; 0 = 10 s */
    bool allow_private; /* loopback and private addresses; link-local never */
    bool heartbeat; /* receives only the watchdog's heartbeat, every heartbeat_ms */
    int64_t heartbeat_ms; /* 0 = 60 s */
    const char *ca_file; /* NULL = system */
};

/* Reads `receivers:` of a YAML file (docs/webhooks.md). Strings live in the arena. */
enum err detectors_receivers_load(const char *path, struct arena *a,
                                  struct detectors_receiver **out, size_t *out_count,
                                  struct buf *errors) MUST_CHECK;

struct yaml_node;
/* The same from a part of a larger file: `list` is the value of receivers:, `file` is used in messages. */
enum err detectors_receivers_read(const struct yaml_node *list, const char *file, struct arena *a,
                                  struct detectors_receiver **out, size_t *out_count,
                                  struct buf *errors) MUST_CHECK;

struct detectors_budgets; /* detectors_budgets.h */
struct detectors_condition; /* detectors_conditions.h */
struct detectors_service; /* detectors_catalogue.h */
struct query_slo_source; /* query_slo_source.h */
struct detectors_store; /* detectors_store.h; tests put faults here */

struct detectors_options {
    struct tsdb *db;
    uint32_t org; /* 0 = TSDB_ORG_DEFAULT */
    const char *const *slo_paths; /* files or directories; none = the built-in defaults */
    size_t slo_path_count;
    const struct detectors_receiver *receivers;
    size_t receiver_count;
    struct detectors_budgets *budgets; /* watched beside the objectives; NULL = none */
    const struct detectors_condition *conditions; /* of the program itself; borrowed */
    size_t condition_count;
    const struct detectors_service *services; /* the catalogue; borrowed */
    size_t service_count;
    struct tsdb_labels
        external_labels; /* on every notification that lacks them, and for templates */
    const char *external_url; /* for links in notifications; NULL = http://127.0.0.1:4320 */
    int64_t interval_ms; /* 0 = 2 s */
    int64_t retry_base_ms, retry_max_ms; /* back-off of deliveries; 0 = 5 s, 10 min */
    uint32_t
        mutate; /* tests only: DETECTORS_MUTATE_* switches a promise off, so that a test can be seen to fail */
    const struct detectors_store *store; /* NULL = the state store of db */
    const struct query_slo_source *source; /* NULL = views of db */
};

#define DETECTORS_MUTATE_SPLIT_TXN 1u /* alert state is committed before its notifications */
#define DETECTORS_MUTATE_NEW_IDS 2u /* every attempt gets a fresh webhook-id */

/* Loads the documents and the durable state; nothing runs yet. */
enum err detectors_new(const struct detectors_options *o, struct detectors **out,
                       struct buf *errors) MUST_CHECK;
enum err detectors_start(struct detectors *d, struct err_msg *msg) MUST_CHECK;
void detectors_stop(struct detectors *d); /* joins the threads; nothing is lost */
void detectors_free(struct detectors *d); /* NULL is fine */
/* How old the watermark of each objective is (telltale_slo_watermark_age_seconds), as a text page. */
void detectors_metrics(struct detectors *d, struct buf *out);
/* One evaluation at this wall time, for tests and `slo check`; not while started. */
enum err detectors_evaluate(struct detectors *d, int64_t now_ms) MUST_CHECK;

/* Latency thresholds that the stage must count exactly: (family, bound in seconds), each once. Before the threads start. */
struct detectors_threshold {
    struct bytes family;
    double le_seconds;
};
size_t detectors_thresholds(const struct detectors *d, const struct detectors_threshold **out);

/* Reads the objectives again, while everything runs: all of them or none. What stays as it was (by what it counts) keeps its alerts, what pends, its
 * budget; alerts of what is gone are resolved. accept (may be NULL) hears of the thresholds before anything changes, and may refuse.
 * On an error those of before stay. */
struct detectors_accept {
    enum err (*run)(void *ctx, const struct detectors_threshold *t, size_t n, struct err_msg *msg);
    void *ctx;
};
enum err detectors_reload(struct detectors *d, const struct detectors_accept *accept,
                          uint32_t *out_objectives, struct buf *errors) MUST_CHECK;
/* What loading looks at beyond the documents themselves: time zones. One line per mistake. */
enum err detectors_slo_check(const struct query_slo_set *set, struct buf *errors) MUST_CHECK;

/* --- snapshots --------------------------------------------------------------------------------- */

enum detectors_state {
    DETECTORS_OK,
    DETECTORS_PENDING, /* the condition holds, not yet long enough */
    DETECTORS_FIRING,
    DETECTORS_RESOLVED, /* recently */
    DETECTORS_NO_DATA,
    DETECTORS_INSUFFICIENT, /* coverage below 90 %, or cost without prices: never green */
    DETECTORS_STARTING, /* not evaluated yet */
    DETECTORS_SPENT /* nothing burns now, but no budget is left: never green */
};
const char *detectors_state_name(enum detectors_state s); /* "ok", "pending", ... */

struct detectors_rule_row { /* a burn-rate rule of one objective */
    const struct query_slo_rule *rule;
    struct query_slo_counts long_counts, short_counts;
    double long_burn, short_burn; /* NaN = no data */
    enum detectors_state state;
    int64_t active_since_ms; /* 0 = not active */
};

struct detectors_slo_row {
    const struct query_slo *
        slo; /* outlives the question that it is an answer to, also when objectives are read again */
    const char *indicator; /* "availability-request" */
    const char *what; /* what it counts, a phrase */
    enum detectors_state state;
    enum query_slo_severity severity; /* of the firing rule */
    int64_t evaluated_ms; /* wall time of the last evaluation; 0 = never */
    int64_t horizon_ms; /* end of the newest minute that was looked at */
    struct query_slo_counts period, day; /* of the SLO's period; of the last 24 h */
    double sli; /* good / eligible over the period; NaN = no data */
    double budget_left; /* 1 = untouched, < 0 = overspent; NaN = no data */
    double burn_1h, burn_24h; /* NaN = no data */
    double exhaustion_minutes; /* at burn_1h; INFINITY = not burning, NaN = no data */
    double coverage; /* TTFT, TPOT; NaN elsewhere */
    enum query_slo_quality quality;
    struct bytes quality_text; /* "exact", "exact since 14:03, 98.1-98.9 % before" */
    struct bytes
        sentence; /* "checkout: 2 SLOs burning, ..." of this objective's service; empty when quiet */
    struct query_slo_reason *excluded;
    size_t excluded_count;
    struct detectors_rule_row *rules;
    size_t rule_count;
    uint64_t revised_minutes, revised_events; /* by rows that came late */
    int64_t budget_since_ms; /* when this version of the objective began */
};
enum err detectors_slos(struct detectors *d, struct arena *a, struct detectors_slo_row **out,
                        size_t *out_count) MUST_CHECK;
enum err detectors_slo(struct detectors *d, struct bytes id, struct arena *a,
                       struct detectors_slo_row *out) MUST_CHECK;

/* The first line of the on-call page, over all services; never empty ("All 3 SLOs are within budget."). */
struct detectors_headline {
    struct bytes sentence;
    uint32_t burning, pending, no_data, total;
    int64_t since_ms; /* the first firing alert's start; 0 = none */
};
enum err detectors_headline_get(struct detectors *d, struct arena *a,
                                struct detectors_headline *out) MUST_CHECK;

/* Budget and burn over time for pictures. One point every step_minutes (>= 1) at the end of its step; NaN = no data. */
struct detectors_series {
    size_t count;
    int64_t *t_ms; /* end of the step */
    double *budget_left; /* over the period that ends there */
    double *burn_long, *burn_short; /* of the objective's first rule that is not refused */
    double long_threshold; /* its factor */
    uint32_t long_minutes, short_minutes;
    int64_t *bad, *eligible; /* of the step */
};
/* From the last 24 whole hours. ERR_NOT_FOUND. */
#define DETECTORS_FORECAST_HOURS 24u
enum err detectors_slo_forecast(struct detectors *d, struct bytes id, double budget_left,
                                struct arena *a, struct query_slo_forecast *out) MUST_CHECK;
enum err detectors_slo_series(struct detectors *d, struct bytes id, int64_t from_ms, int64_t to_ms,
                              uint32_t step_minutes, struct arena *a,
                              struct detectors_series *out) MUST_CHECK;

struct detectors_alert {
    struct bytes fingerprint; /* 32 hex digits */
    struct bytes slo_id, service, rule; /* rule: "2%-in-1h", "excluded", "no-data" */
    enum query_slo_severity severity;
    enum detectors_state state; /* PENDING, FIRING or RESOLVED */
    int64_t active_since_ms, fired_ms, resolved_ms; /* 0 = not (yet) */
    double long_burn, short_burn, factor, budget_left,
        exhaustion_minutes; /* as of the last evaluation (resolved: at the end) */
    uint32_t long_minutes, short_minutes;
    struct bytes
        summary; /* one line: which window fired, burn rate, budget left, when it will be gone */
    struct bytes sentence; /* who is responsible */
    struct bytes changed; /* what changed before it began; empty: nothing known */
    struct bytes *traces; /* example trace ids */
    size_t trace_count;
    struct query_slo_pair *labels, *annotations; /* as sent */
    size_t label_count, annotation_count;
    bool is_rule; /* of a rule of detectors_rules.h: slo_id is "rule:ALERT", rule its group */
    double value; /* of the expression; of an objective long_burn */
    int64_t keep_firing_since_ms; /* 0 = not kept */
};
/* Pending and firing first, then resolved within 24 h, newest first. */
enum err detectors_alerts(struct detectors *d, struct arena *a, struct detectors_alert **out,
                          size_t *out_count) MUST_CHECK;

/* Rules as Prometheus' /api/v1/rules shows them: one group per objective, one alerting rule per burn-rate rule; then the groups of rules. */
struct detectors_prom_rule {
    bool is_record; /* else it alerts */
    struct bytes name, query; /* query: a readable expression */
    double duration_s, keep_firing_s;
    const char *state; /* "inactive" | "pending" | "firing" */
    const char *health; /* "ok" | "err" | "unknown" */
    struct bytes last_error;
    int64_t last_evaluation_ms;
    double evaluation_s;
    struct query_slo_pair *labels, *annotations;
    size_t label_count, annotation_count;
    struct detectors_alert *alerts;
    size_t alert_count;
};
struct detectors_prom_group {
    struct bytes name, file;
    double interval_s;
    uint32_t limit; /* 0 = none */
    int64_t last_evaluation_ms;
    double evaluation_s;
    struct detectors_prom_rule *rules;
    size_t rule_count;
};
enum err detectors_rules(struct detectors *d, struct arena *a, struct detectors_prom_group **out,
                         size_t *out_count) MUST_CHECK;

enum detectors_delivery { DETECTORS_WAITING, DETECTORS_DELIVERED, DETECTORS_DEAD };
const char *detectors_delivery_name(enum detectors_delivery s); /* "waiting", "delivered", "dead" */
struct detectors_outbox_row {
    uint64_t id;
    struct bytes receiver, webhook_id,
        event; /* event: "firing", "repeat-2", "resolved", "heartbeat" */
    struct bytes slo_id, rule, fingerprint;
    enum detectors_delivery state;
    uint32_t attempts;
    int64_t created_ms, next_attempt_ms, last_attempt_ms, delivered_ms;
    int last_status; /* HTTP, 0 = no answer */
    struct bytes last_error;
    struct bytes body; /* the JSON as sent */
};
/* Newest first: everything waiting or dead, and the last delivered ones. */
enum err detectors_outbox(struct detectors *d, struct arena *a, struct detectors_outbox_row **out,
                          size_t *out_count) MUST_CHECK;
/* A test notification, which goes the way of every other: the outbox, the receiver's thread, the receiver. Of PagerDuty and Alertmanager also its
 * end. ERR_NOT_FOUND: there is no receiver of this name. out_id: its webhook_id in the outbox. */
#define DETECTORS_WEBHOOK_ID_MAX 192u
enum err detectors_receiver_test(struct detectors *d, struct bytes name,
                                 char out_id[DETECTORS_WEBHOOK_ID_MAX]) MUST_CHECK;
/* Those that were given, in their order; they live as long as the detectors. Holds secrets. */
size_t detectors_receivers(const struct detectors *d, const struct detectors_receiver **out);
/* The host of a receiver's URL, without what may be secret in it. */
void detectors_receiver_host(const struct detectors_receiver *r, char out[256]);
/* Tries a dead or waiting notification again now. */
enum err detectors_outbox_retry(struct detectors *d, uint64_t id) MUST_CHECK;

#endif
