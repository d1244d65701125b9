/* Service level objectives: OpenSLO documents, what each indicator counts, windows over event minutes, burn rates and budgets.
 *
 * A window W at horizon minute h is the event minutes m with h - W < m <= h. Counts come from delta cells (never extrapolated), or for a
 * ratio of two selectors over samples from the raw increases of the counters, each booked in the minute of the later sample.
 * Owner: definitions live in the arena of their set; a tracker is the evaluator's.  Thread: definitions are immutable after loading, any
 * thread; a tracker belongs to one thread.
 * Failure: query_slo_load appends one line per mistake ("file:line: key: what is wrong; what would be valid") and returns ERR_INVALID.
 *          Reads give the view's errors (ERR_TIMEOUT, ERR_CANCELLED, ERR_LIMIT).
 * Limits: QUERY_SLO_MAX objectives a set, QUERY_SLO_RULES_MAX rules each; a tracker takes QUERY_SLO_TRACKER_BYTES_MAX bytes.
 * Invariants: 1. eligible = good + bad. 2. No eligible event is "no data": no ratio, no burn, no budget used.
 *             3. A tracker's sums equal a recount of the same minutes, whatever the order in which rows arrived.
 */
#ifndef QUERY_QUERY_SLO_H
#define QUERY_QUERY_SLO_H

#include "base/arena.h"
#include "base/buf.h"
#include "tsdb/tsdb_read.h"

#define QUERY_SLO_MAX 1000u
#define QUERY_SLO_RULES_MAX 8u
#define QUERY_SLO_FILTERS_MAX 12u
#define QUERY_SLO_WINDOWS_MAX \
    (2 * QUERY_SLO_RULES_MAX + 1) /* long and short of each rule, and the period */
#define QUERY_SLO_TRACKER_BYTES_MAX 12288u
#define QUERY_SLO_RECHECK_MINUTES 10 /* how far back horizons are evaluated again */
#define QUERY_SLO_DELAY_MS \
    30000 /* alerts look at the state of 30 s ago, so that rows in flight have arrived */

/* --- definitions ------------------------------------------------------------------------------- */

/*    code                  name in documents          what it counts */
#define QUERY_SLO_INDICATOR_TABLE(X)                                                              \
    X(AVAILABILITY_REQUEST, "availability-request",                                               \
      "user requests that ended with a usable answer")                                            \
    X(AVAILABILITY_CALL, "availability-call", "calls to a model that ended with a usable answer") \
    X(LATENCY, "latency-under",                                                                   \
      "requests (level: call - calls) answered in full within the threshold")                     \
    X(TTFT, "ttft-under", "calls whose first visible token came within the threshold")            \
    X(TPOT, "tpot-under", "calls whose mean time per output token is within the threshold")       \
    X(TRUNCATION, "truncation", "answered calls whose context was not cut")                       \
    X(COST, "cost-per-1k-requests",                                                               \
      "5-minute slices whose cost per 1,000 requests is within the limit")                        \
    X(RATIO, "ratio", "good (or bad) events by total events, two selectors")                      \
    X(ERROR_API, "error-rate-api", "calls that the provider's API did not fail")                  \
    X(ERROR_MODEL, "error-rate-model",                                                            \
      "calls that the API answered and whose answer could be used")                               \
    X(CACHE, "cache-hit-rate", "cache lookups that were a hit")                                   \
    X(ROUTE, "routing-success", "routing decisions that chose the intended model")                \
    X(HALLUCINATION, "hallucination-rate",                                                        \
      "checked answers of the uniform sample that the checker did not flag")                      \
    X(SAFETY, "safety-blocks",                                                                    \
      "hours whose safety blocks per 1,000 calls are few, but not none where some are expected")  \
    X(TOKENS, "tokens-per-request",                                                               \
      "5-minute slices whose tokens per request are within the limit")                            \
    X(FEEDBACK, "feedback-coverage",                                                              \
      "days whose labels are at least a share of the answers that the checker flagged")

enum query_slo_indicator {
#define X(code, name, what) QUERY_SLO_##code,
    QUERY_SLO_INDICATOR_TABLE(X)
#undef X
        QUERY_SLO_INDICATOR_COUNT
};
const char *query_slo_indicator_name(enum query_slo_indicator i);
/* The ready-made indicator of this name: any but RATIO. False: there is none. */
bool query_slo_indicator_find(struct bytes name, enum query_slo_indicator *out);
/* It is counted in time slices, whatever the document says: each slice is one event. */
bool query_slo_indicator_is_sliced(enum query_slo_indicator i);
const char *query_slo_indicator_what(enum query_slo_indicator i);

enum query_slo_method {
    QUERY_SLO_OCCURRENCES,
    QUERY_SLO_TIMESLICES, /* a slice is one event, good when slice_target of its events are */
    QUERY_SLO_RATIO_TIMESLICES /* a slice weighs the same however many events: QUERY_SLO_SLICE_UNIT by its ratio */
};
#define QUERY_SLO_SLICE_UNIT INT64_C(1000000)
const char *query_slo_method_name(enum query_slo_method m); /* as in OpenSLO */

enum query_slo_severity { QUERY_SLO_PAGE, QUERY_SLO_TICKET };
enum query_slo_no_data { QUERY_SLO_NO_DATA_OK, QUERY_SLO_NO_DATA_ALERT, QUERY_SLO_NO_DATA_HOLD };
enum query_slo_quality {
    QUERY_SLO_EXACT,
    QUERY_SLO_WEIGHTED,
    QUERY_SLO_SAMPLED_UNKNOWN,
    QUERY_SLO_METRICS_ONLY,
    QUERY_SLO_INTERVAL /* part of the window is older than the threshold's counter: see counts_low, counts_high */
};
const char *query_slo_severity_name(enum query_slo_severity s); /* "page", "ticket" */
const char *query_slo_quality_name(enum query_slo_quality q);
const char *query_slo_no_data_name(enum query_slo_no_data p);

/* One multi-window burn-rate rule: fires when the bad ratio of both windows exceeds factor x (1 - target). */
struct query_slo_rule {
    const char *name; /* "2%-in-1h" */
    enum query_slo_severity severity;
    double
        consumed; /* share of the budget that the long window may spend; 0 for a rule of an AlertCondition */
    uint32_t long_minutes, short_minutes;
    double factor; /* consumed x period / long window, or as given */
    uint32_t after_minutes; /* the condition must hold this long before the alert fires */
    bool refused; /* factor too small to mean anything, or out of reach: never evaluated */
    bool is_out_of_reach; /* more than 100 % bad would be needed */
    const char *why_refused;
};

struct query_slo_filter {
    struct bytes name, value;
};

struct query_slo_selector { /* RATIO: an instant vector selector */
    struct bytes text; /* empty when absent */
    const struct tsdb_matcher *matchers;
    size_t count;
};

struct query_slo_pair { /* of metadata.labels, annotations */
    struct bytes name, value;
};

/* A calendar window: periods of so many months or days from a start, by the clocks of a time zone. */
struct query_slo_calendar {
    uint32_t months, days; /* one of them; both 0: the window rolls */
    int32_t year, month, day, minute; /* of the start, local time; minute of its day */
    struct bytes zone; /* "Europe/Berlin", NUL-terminated */
};

struct query_slo {
    struct bytes
        id; /* unique in the set: metadata.name, and "/" objective where there are several */
    struct bytes display_name, service, description;
    const char *file; /* "built-in" for the defaults */
    unsigned line;
    bool is_default;
    enum query_slo_indicator indicator;
    bool level_call; /* LATENCY: calls instead of requests */
    struct query_slo_filter filters[QUERY_SLO_FILTERS_MAX];
    uint32_t filter_count;
    struct query_slo_selector good, bad, total;
    struct bytes family; /* LATENCY, TTFT, TPOT: histogram family of the threshold */
    double le_seconds;
    int64_t cost_limit_nanousd; /* COST: per 1,000 requests */
    double
        limit; /* TOKENS: per request; SAFETY: blocks per 1,000 calls; FEEDBACK: labels per flagged answer */
    double expected; /* SAFETY: blocks per 1,000 calls below which none are suspect; 0 = none are */
    double sensitivity, false_positives; /* HALLUCINATION: of the checker; 1 and 0 = as flagged */
    struct bytes cache; /* CACHE: the kind; empty = all */
    enum query_slo_method method;
    uint32_t slice_minutes; /* 0 = Occurrences */
    double
        slice_target; /* the ratio from which a slice is good; 0 where its indicator has a law of its own */
    bool is_sliced_for_windows; /* no window's threshold could be reached by events */
    double target; /* 0 < target < 1 */
    uint32_t period_minutes; /* of a calendar window about: a month is 30 days here */
    struct query_slo_calendar calendar;
    enum query_slo_no_data no_data;
    struct query_slo_rule rules[QUERY_SLO_RULES_MAX];
    uint32_t rule_count;
    const struct query_slo_pair *labels, *annotations;
    uint32_t label_count, annotation_count;
    const struct bytes *targets; /* names of AlertNotificationTargets; none = every receiver */
    uint32_t target_count;
    const struct slo_terms *terms; /* private: what to read from the store */
    uint64_t
        fingerprint; /* of everything that changes what is counted: an edited objective starts a new budget version */
};

struct query_slo_set {
    struct arena *arena;
    struct query_slo *slos;
    uint32_t count, cap;
    uint32_t files, documents;
};

enum err query_slo_set_init(struct query_slo_set *set) MUST_CHECK;
void query_slo_set_done(struct query_slo_set *set);
/* Documents of one text; `file` is used in messages and kept. References between documents of one load_* call are resolved at its end. */
enum err query_slo_load_text(struct query_slo_set *set, const char *file, struct bytes text,
                             struct buf *errors) MUST_CHECK;
/* A file, or every *.yaml and *.yml of a directory, sorted by name; `paths` are resolved together. */
enum err query_slo_load(struct query_slo_set *set, const char *const *paths, size_t count,
                        struct buf *errors) MUST_CHECK;
/* The same; the texts of all the files go into out_text, as one stream of documents. */
enum err query_slo_load_copy(struct query_slo_set *set, const char *const *paths, size_t count,
                             struct buf *out_text, struct buf *errors) MUST_CHECK;
/* What a newcomer sees before writing a document: one availability, one latency and one TTFT objective over all services. */
enum err query_slo_load_defaults(struct query_slo_set *set) MUST_CHECK;

/* The workbook's rules for a period, refused ones included. Returns how many were written (at most QUERY_SLO_RULES_MAX). */
uint32_t query_slo_rules_for(uint32_t period_minutes, double target,
                             struct query_slo_rule out[QUERY_SLO_RULES_MAX]);
/* Can bad events pass factor x (1 - target)? */
bool query_slo_is_reachable(double factor, double target);
/* How long a total outage lasts before the rule fires, in minutes of event time; negative: it can never fire. */
double query_slo_rule_outage_minutes(const struct query_slo_rule *r, double target);

/* What the objective means, for people: lines of text. more: also where each number comes from (NULL = not). */
struct query_slo_explain_more {
    double per_day; /* eligible events seen; 0 = not known */
};
void query_slo_explain(const struct query_slo *s, const struct query_slo_explain_more *more,
                       struct buf *out);

/* --- what is counted --------------------------------------------------------------------------- */

enum query_slo_class { QUERY_SLO_GOOD, QUERY_SLO_BAD, QUERY_SLO_EXCLUDED };
/* The mapping of outcome and fault; unknown names are excluded (and so become visible). level_call false = request level. */
enum query_slo_class query_slo_classify(bool level_call, struct bytes outcome, struct bytes fault);

struct query_slo_counts {
    int64_t good, bad, excluded,
        missing; /* missing: no measurement (TTFT); slices without price data (COST) */
};
static inline int64_t query_slo_eligible(const struct query_slo_counts *c)
{
    return c->good + c->bad;
}

/* Counts minute by minute, out[i] for minute from + i, and over the whole range from <= m < to. */
enum err query_slo_minutes(struct tsdb_view *v, const struct query_slo *s, uint32_t from,
                           uint32_t to, struct query_slo_counts *out) MUST_CHECK;
enum err query_slo_sum(struct tsdb_view *v, const struct query_slo *s, uint32_t from, uint32_t to,
                       struct query_slo_counts *out) MUST_CHECK;

struct query_slo_reason {
    struct bytes reason;
    int64_t count;
};

/* --- arithmetic -------------------------------------------------------------------------------- */

double query_slo_bad_ratio(const struct query_slo_counts *c); /* NaN without eligible events */
double query_slo_burn(const struct query_slo_counts *c,
                      double target); /* NaN without eligible events */
double query_slo_budget_left(
    const struct query_slo_counts *period,
    double target); /* 1 = untouched, < 0 = overspent; NaN without eligible events */
double query_slo_coverage(
    const struct query_slo_counts *c); /* measured / (measured + missing); NaN when neither */
/* The same for an objective: a checker's flags corrected by its sensitivity and false positives, all others as they are. */
double query_slo_ratio_of(const struct query_slo *s, const struct query_slo_counts *c);
double query_slo_burn_of(const struct query_slo *s, const struct query_slo_counts *c);
double query_slo_budget_left_of(const struct query_slo *s, const struct query_slo_counts *period);
/* HALLUCINATION: where the true rate lies, corrected like it: 90 % of such intervals hold it (Wilson). NaN without checked answers. */
void query_slo_checked_interval(const struct query_slo *s, const struct query_slo_counts *c,
                                double *out_low, double *out_high);
/* Minutes until nothing is left at this burn rate; INFINITY when it does not burn, 0 when it is gone, NaN without data. */
/* When the budget will be gone if it goes on as in the hours given, the newest last; 80 % of the time between low and high, as far as hours differ by
 * chance alone. What leaves a rolling window meanwhile is not counted in. INFINITY: not at this rate; NAN: hours without an eligible event. */
struct query_slo_forecast {
    double low_minutes, minutes, high_minutes;
};
struct query_slo_forecast query_slo_forecast_of(const struct query_slo *s,
                                                const struct query_slo_counts *hours, size_t n,
                                                double budget_left);
double query_slo_exhaustion_minutes(double budget_left, double burn, uint32_t period_minutes);
/* Lower 95 % bound (Wilson's score interval, one-sided, z = 1.645) of a ratio of bad events. */
double query_slo_lower_bound(int64_t bad, int64_t eligible);

enum query_slo_verdict {
    QUERY_SLO_QUIET,
    QUERY_SLO_NO_EVENTS,
    QUERY_SLO_BURNS_TICKET,
    QUERY_SLO_BURNS_PAGE
};
/* The rule on the counts of its two windows, low-traffic law included: of events. */
enum query_slo_verdict query_slo_judge(const struct query_slo_rule *r, double target,
                                       const struct query_slo_counts *long_counts,
                                       const struct query_slo_counts *short_counts);

/* The same for an objective: by what its indicator counts. A checker's rate pages from QUERY_SLO_CHECKED_MIN checked answers on. */
#define QUERY_SLO_CHECKED_MIN 200
enum query_slo_verdict query_slo_judge_for(const struct query_slo *s,
                                           const struct query_slo_rule *r,
                                           const struct query_slo_counts *long_counts,
                                           const struct query_slo_counts *short_counts);

/* --- sliding sums ------------------------------------------------------------------------------ */

struct query_slo_tracker;

struct query_slo_window {
    uint32_t minutes;
    struct query_slo_counts counts;
};

struct query_slo_tracker *query_slo_tracker_new(
    const struct query_slo *s); /* NULL when out of memory */
void query_slo_tracker_free(struct query_slo_tracker *t);
size_t query_slo_tracker_bytes(const struct query_slo_tracker *t);
/* Brings the sums to horizon minute h, rereading the minutes changed_from..changed_to (from > to: none). The first call, a clock that went
 * back and changes older than the ring rebuild through hierarchical sums. */
enum err query_slo_tracker_advance(struct query_slo_tracker *t, struct tsdb_view *v, uint32_t h,
                                   uint32_t changed_from, uint32_t changed_to) MUST_CHECK;
uint32_t query_slo_tracker_horizon(const struct query_slo_tracker *t);
/* Counts of a window at horizon h - back (back <= QUERY_SLO_RECHECK_MINUTES); `minutes` is a rule's window or the period. */
bool query_slo_tracker_window(const struct query_slo_tracker *t, uint32_t minutes, uint32_t back,
                              struct query_slo_counts *out);
/* Bad events in the newest QUERY_SLO_RECHECK_MINUTES minutes at horizon h - back. */
int64_t query_slo_tracker_fresh_bad(const struct query_slo_tracker *t, uint32_t back);
/* Minutes older than the recheck range whose counts changed since the first build, and by how many events. */
void query_slo_tracker_revised(const struct query_slo_tracker *t, uint64_t *out_minutes,
                               uint64_t *out_events);

/* --- who is responsible ------------------------------------------------------------------------ */

struct query_slo_blame {
    struct bytes model, provider, endpoint, service,
        region; /* the value with the largest share of bad events, or empty */
    double model_share, provider_share, endpoint_share, service_share,
        region_share; /* of all bad events */
    struct bytes
        phrase; /* "gpt-4o in eu-west accounts for 91 % of bad requests"; empty when nothing stands out */
    int64_t bad;
};
enum err query_slo_blame(struct tsdb_view *v, const struct query_slo *s, uint32_t from, uint32_t to,
                         struct arena *a, struct query_slo_blame *out) MUST_CHECK;

/* Example traces whose rows are bad for this objective, newest first, ids as 32 hex digits. */
enum err query_slo_examples(struct tsdb_view *v, const struct query_slo *s, int64_t min_ms,
                            int64_t max_ms, uint32_t max, struct arena *a, struct bytes **out,
                            size_t *out_count) MUST_CHECK;

#endif
