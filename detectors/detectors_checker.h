/* The checker: takes texts of sampled calls from memory, judges them, and writes what it found as rows of the store.
 *
 *   wants, offer --copies--> queue --checker thread--> texts, joined by trace --judge--> gen_ai.evaluation.result records, llm_grounding_* cells
 *   (any thread, never waits)      (SCHED_IDLE, bounded share of a processor)            through tsdb_append: journaled as all rows are
 *
 * Texts come with whatever secrets they have: they live in this queue only and are never written; records hold offsets and numbers.
 * Owner: the program.  Thread: wants, offer, status: any. One `checker` thread judges; the judge is opened, used and closed on it.
 * Failure: new: ERR_NOMEM. A judge that cannot be opened is said once in the log and in status; offers are then dropped and counted.
 * Limits: memory_bytes over everything that waits or is kept for a join: past it an offer is dropped, counted, and the rest of its trace
 *         is not judged either, lest half the documents be taken for all. CHECKER_ITEM_BYTES_MAX a row.
 * Invariants: 1. A call is judged at most once (CHECKER_SEEN of the last ones are remembered). 2. What has no documents is unverifiable, never ok.
 *             3. A verdict carries the probability with which its trace was chosen: it is a function of the trace id and of the policy.
 */
#ifndef DETECTORS_DETECTORS_CHECKER_H
#define DETECTORS_DETECTORS_CHECKER_H

#include "detectors/detectors_ground.h"
#include "tsdb/tsdb.h"

#define CHECKER_ITEM_BYTES_MAX (1u << 20)
#define CHECKER_SEEN 16384u
#define CHECKER_SERVICES_MAX 256u /* of the policy */
#define CHECKER_EVENT "gen_ai.evaluation.result"
#define CHECKER_NAME "telltale.grounding" /* gen_ai.evaluation.name of its records */

/* X(NAME, "label"): the labels of the derived series, in the item's order; what follows them is no label. */
#define CHECKER_LABELS(X)     \
    X(SERVICE, "service")     \
    X(ENV, "env")             \
    X(REGION, "region")       \
    X(PROVIDER, "provider")   \
    X(MODEL, "model")         \
    X(OPERATION, "operation") \
    X(ENDPOINT, "endpoint")   \
    X(VARIANT, "variant")     \
    X(PLANE, "plane")
enum checker_text {
#define X(name, label) CHECKER_##name,
    CHECKER_LABELS(X)
#undef X
        CHECKER_LABEL_COUNT,
    CHECKER_PROMPT_NAME = CHECKER_LABEL_COUNT,
    CHECKER_PROMPT_VERSION,
    CHECKER_RESPONSE_ID,
    CHECKER_CONVERSATION,
    CHECKER_TEXT_COUNT
};

enum checker_kind { CHECKER_CALL, CHECKER_SOURCE, CHECKER_RECORD };
struct checker_said { /* what is offered */
    enum checker_kind kind;
    bool is_anomalous;
    uint32_t org;
    struct tsdb_id16 trace_id;
    struct tsdb_id8 span_id;
    int64_t end_ns;
    struct bytes text[CHECKER_TEXT_COUNT]; /* of a call */
    struct bytes attrs, events, event_name, body; /* as in the store */
};

/* What a span says, out of its dialect: the program connects the collector's reader. */
struct checker_parts {
    const struct bytes *documents;
    uint32_t document_count;
    struct bytes question, response;
    bool cut;
};
typedef enum err (*checker_read)(const struct checker_said *const *rows, size_t count,
                                 struct arena *a, struct checker_parts *out);

/* Who judges: ground_check behind functions, so that a test can own it. */
struct checker_judge {
    void *ctx;
    enum err (*open)(void *ctx, struct err_msg *msg); /* on the checker's thread */
    void (*close)(void *ctx);
    enum err (*check)(void *ctx, const struct ground_text *t, struct arena *a,
                      struct ground_verdict *out, struct err_msg *msg);
    const char *(*version)(void *ctx);
    double (*threshold)(void *ctx);
};

struct checker_share { /* of traces, in [0, 1] */
    struct bytes service;
    double share;
};

struct detectors_watch; /* detectors_watch.h */
struct detectors_grounding; /* detectors_grounding.h */
struct detectors_checker_options {
    struct tsdb *db;
    struct checker_judge judge;
    checker_read read;
    double sample; /* of a service that is not named */
    double targeted; /* of anomalous calls, where it is more */
    const struct checker_share *services; /* copied with their names */
    size_t service_count;
    uint64_t memory_bytes; /* 0 = 64 MiB */
    int64_t wait_ms; /* a call waits so long for its siblings; 0 = 2 s, below 0: not at all */
    int64_t keep_ms; /* documents are kept so long for a call; 0 = 60 s */
    uint32_t cpu_percent; /* of one processor, for its own thread; 0 = 100 */
    struct detectors_watch *watch; /* hears each verdict; NULL = none */
    struct detectors_grounding *labels; /* calibrate scores; NULL: they are the model's */
};

struct detectors_checker;
enum err detectors_checker_new(const struct detectors_checker_options *o,
                               struct detectors_checker **out) MUST_CHECK;
enum err detectors_checker_start(struct detectors_checker *c, struct err_msg *msg) MUST_CHECK;
void detectors_checker_stop(struct detectors_checker *c); /* what waits is dropped, counted */
void detectors_checker_free(struct detectors_checker *c); /* NULL is fine */

/* Might anything of this trace be wanted? A hash; of a service's own share nothing is known yet. */
bool detectors_checker_wants(struct detectors_checker *c, uint32_t org, struct tsdb_id16 trace);
void detectors_checker_offer(struct detectors_checker *c, const struct checker_said *said);
/* The share of traces that is chosen for such a call. */
double detectors_checker_inclusion(const struct detectors_checker *c, struct bytes service,
                                   bool is_anomalous);

struct detectors_checker_status {
    uint64_t offered, dropped, judged, flagged, unverifiable, nothing, failed, records_written;
    uint64_t bytes; /* that wait or are kept */
    int64_t busy_ns; /* of its processor time */
    bool is_open; /* the judge is */
    char version[64], error[ERR_MSG_MAX];
    double threshold;
};
void detectors_checker_status_get(struct detectors_checker *c,
                                  struct detectors_checker_status *out);
/* For tests and the end: returns when everything that was offered so far has been judged and written. */
void detectors_checker_drain(struct detectors_checker *c);

#endif
