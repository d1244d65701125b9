/* One alert: its state machine, its identity, and its bytes in the state store.
 *
 *              alert_open                 alert_step: held long enough
 *   (nothing) -----------> PENDING ------------------------------------> FIRING ---+
 *       ^   \                 |                                          ^  |      | alert_step: burns at page level now
 *       |    \                | alert_step: the condition ended          |  +------+ (a ticket becomes a page: "step-1")
 *       |     \               v                                          |  |
 *       |      \          dropped, nothing was sent                      |  | alert_step: below 90 % of the threshold for
 *       |       +--------------------------------------------------------+  v resolve_minutes
 *       |         alert_open, nothing to wait for                        RESOLVED -- alert_expired --> (nothing)
 *
 * Owner: the book of the detectors.  Thread: detect writes, under the book's lock.
 * Failure: alert_decode: ERR_CORRUPT.
 * Invariant: the fingerprint is a pure function of rule, labels and start minute.
 */
#ifndef DETECTORS_ALERT_H
#define DETECTORS_ALERT_H

#include "detectors/detectors.h"

#define ALERT_TEXT_MAX 512u
#define ALERT_TRACES_MAX 5u
#define ALERT_CAUSE_MAX 128u
#define ALERT_CAUSE_SHARE 0.8 /* of all bad events, by the provider (or model) and by the region */
#define ALERT_CAUSE_MINUTES 30u /* alerts of one cause begin within so long of each other */
#define ALERT_KEEP_RESOLVED_MS (24 * INT64_C(3600000))
#define ALERT_EASE \
    0.9 /* a firing alert stays until both windows are below this share of the threshold */

struct alert {
    char fingerprint[33];
    char slo_id[256], service[128], rule[64];
    enum query_slo_severity severity;
    enum detectors_state state; /* PENDING, FIRING, RESOLVED */
    uint32_t start_minute, opened_minute,
        last_true_minute; /* opened: the horizon at which it was seen */
    int64_t fired_ms, resolved_ms;
    uint32_t steps; /* raises of severity */
    double long_burn, short_burn, factor, budget_left, exhaustion_minutes;
    uint32_t long_minutes, short_minutes;
    int64_t bad, eligible; /* of the long window */
    char summary[ALERT_TEXT_MAX], sentence[ALERT_TEXT_MAX];
    char cause
        [ALERT_CAUSE_MAX]; /* "openai in eu-west": what nearly all bad events have in common; empty = nothing */
    char changed[ALERT_TEXT_MAX]; /* what changed before it began; empty = nothing known */
    char traces[ALERT_TRACES_MAX][33];
    uint32_t trace_count;
    uint32_t told[DETECTORS_RECEIVERS_MAX]; /* hashes of the receivers that were told it fires */
    uint32_t told_count;
    uint32_t repeats
        [DETECTORS_RECEIVERS_MAX]; /* sent so far, by receiver; not kept: computed from fired_ms */
};

enum alert_event {
    ALERT_NOTHING,
    ALERT_DROPPED, /* was pending only */
    ALERT_FIRED,
    ALERT_STEPPED,
    ALERT_RESOLVED,
    ALERT_RELEASED /* fires still, and what kept it from a receiver is over */
};

/* What one evaluation says about a rule. */
struct alert_input {
    uint32_t horizon; /* minute */
    int64_t now_ms;
    enum query_slo_verdict verdict;
    bool eased; /* below ALERT_EASE of the threshold: would let go */
    enum query_slo_no_data no_data;
    uint32_t after_minutes, resolve_minutes;
};

void alert_fingerprint(const char *slo_id, const char *rule, const struct query_slo_pair *labels,
                       uint32_t label_count, uint32_t start_minute, char out[33]);
/* A rule's condition holds since start_minute: PENDING, or FIRING when there is nothing to wait for. */
enum alert_event alert_open(struct alert *a, const struct alert_input *in, uint32_t start_minute);
enum alert_event alert_step(struct alert *a, const struct alert_input *in);
bool alert_expired(const struct alert *a, int64_t now_ms);

/* Remembers what the bad events have in common: a provider, or where none is known a model, in a region. */
void alert_blame(struct alert *a, const struct query_slo_blame *b);
/* Pages of two services that one outage makes. */
bool alert_shares_cause(const struct alert *x, const struct alert *y);

uint32_t alert_receiver_hash(const char *name);
bool alert_was_told(const struct alert *a, uint32_t receiver_hash);
void alert_tell(struct alert *a, uint32_t receiver_hash);

void alert_encode(const struct alert *a, struct buf *out);
enum err alert_decode(struct bytes b, struct alert *out) MUST_CHECK;

#endif
