/* Incidents and confounders of the demo: what they change, from when, how much.
 *
 * Owner: caller.  Thread: one.
 * Failure: demo_effect_parse: ERR_INVALID with a sentence that names what would be valid.
 * Invariant: demo_effect_at is a function of the effects and of time: the same run twice is the same.
 */
#ifndef CLI_DEMO_EFFECT_H
#define CLI_DEMO_EFFECT_H

#include "base/err.h"

#include <stdint.h>

#define DEMO_EFFECTS_MAX 16u

/* X(NAME, "text", default severity, is it an incident?, what it does) */
#define DEMO_EFFECT_TABLE(X)                                                                       \
    X(COST_SPIKE, "cost-spike", 0.3, true, "tokens and cost of each call x (1 + severity)")        \
    X(LATENCY, "latency", 0.4, true, "time to first token and per token x (1 + severity)")         \
    X(ERRORS, "errors", 0.02, true,                                                                \
      "severity is the share of requests that fail (0.005 otherwise)")                             \
    X(HALLUCINATION, "hallucination", 0.3, true,                                                   \
      "share of answers that their documents don't support")                                       \
    X(TRUNCATION, "truncation", 0.15, true, "share of answers cut at the token limit")             \
    X(LEAK, "leak", 0.05, true,                                                                    \
      "share of answers that contain (fake) secrets and e-mail addresses")                         \
    X(ROUTING, "routing", 0.3, true, "share of calls that a smaller model answers than was asked") \
    X(BACKLOG, "backlog", 0.5, true,                                                               \
      "queue in front of the model servers grows severity s a minute")                             \
    X(TRAFFIC, "traffic", 3, false, "requests x severity")                                         \
    X(MODEL_MIX, "model-mix", 0.5, false,                                                          \
      "share of traffic that moves to cheaper models, as asked")                                   \
    X(DEPLOY, "deploy", 1, false, "a clean deploy: a new service.version and nothing else")        \
    X(NIGHTLY_BATCH, "nightly-batch", 4, false,                                                    \
      "batch calls beside the users: severity x their rate")                                       \
    X(HEAVY_TENANT, "heavy-tenant", 0.6, false, "share of the traffic that one tenant makes")
enum demo_effect_kind {
#define X(name, text, severity, incident, what) DEMO_EFFECT_##name,
    DEMO_EFFECT_TABLE(X)
#undef X
        DEMO_EFFECT_COUNT
};

struct demo_effect {
    enum demo_effect_kind kind;
    double severity;
    int64_t onset_ms,
        duration_ms; /* onset relative to the start of live time, may be negative; duration 0 = stays */
};

/* "latency", "latency,onset=5m,severity=0.4,for=30m"; incident tells which half of the table is meant. */
enum err demo_effect_parse(const char *text, bool incident, struct demo_effect *out,
                           struct err_msg *msg) MUST_CHECK;
const char *demo_effect_text(enum demo_effect_kind kind);
const char *demo_effect_help(enum demo_effect_kind kind);
bool demo_effect_is_incident(enum demo_effect_kind kind);

/* Severity of each kind at a moment, 0 = not on; elapsed_ms since its onset. */
struct demo_effects {
    struct demo_effect list[DEMO_EFFECTS_MAX];
    unsigned count;
    int64_t live_ms; /* wall time that onsets are relative to */
};
double demo_effect_at(const struct demo_effects *e, enum demo_effect_kind kind, int64_t now_ms,
                      int64_t *out_elapsed_ms);

#endif
