/* Labels that people give to answers, and what they and the verdicts say together: rates with their intervals, calibration, thresholds.
 *
 *   feedback --> label (durable, one an answer) --+
 *   gen_ai.evaluation.result records of a range --+--> report: per (service, model, prompt version)
 *
 * The rate that is told is never the share of flags: it is PPI++'s, or none.
 * Owner: the program.  Thread: any.
 * Failure: feedback: ERR_INVALID (what is missing), ERR_NOT_FOUND (no verdict of that response or conversation, and no trace named),
 *          ERR_LIMIT past GROUNDING_LABELS_MAX, and the store's.  report: a view's errors.
 * Limits: GROUNDING_LABELS_MAX labels; GROUNDING_ROWS_MAX streams of a report (what is past them is left out and told);
 *         GROUNDING_RECORDS_MAX verdicts of a report.
 * Invariants: 1. The same feedback twice is one label; another word on the same answer replaces it. 2. A label keeps the score that its
 *             answer had, so that it counts when its record is gone. 3. Scores of another version of the detector are not mixed with those of this one.
 */
#ifndef DETECTORS_DETECTORS_GROUNDING_H
#define DETECTORS_DETECTORS_GROUNDING_H

#include "detectors/detectors_watch.h"
#include "tsdb/tsdb_read.h"

#define GROUNDING_LABELS_MAX 50000u
#define GROUNDING_ROWS_MAX 500u
#define GROUNDING_RECORDS_MAX 2000000u
#define GROUNDING_LOOK_BACK_MS \
    (7 * INT64_C(86400000)) /* for the verdict that a response id names */
#define GROUNDING_LABELS_FRESH 100u /* fewer labels of the version that judges now: stale */
#define GROUNDING_PRECISION_ALPHA 0.01
#define GROUNDING_TRIAGE_ALPHA 0.05

enum grounding_label { GROUNDING_SUPPORTED, GROUNDING_HALLUCINATED, GROUNDING_OTHER };
const char *grounding_label_name(enum grounding_label l);
bool grounding_label_of(struct bytes name, enum grounding_label *out);

struct detectors_grounding;
enum err detectors_grounding_open(struct tsdb *db, struct detectors_grounding **out) MUST_CHECK;
void detectors_grounding_close(struct detectors_grounding *g); /* NULL is fine */

struct grounding_feedback {
    uint32_t org;
    bool has_trace, has_span;
    struct tsdb_id16 trace_id;
    struct tsdb_id8 span_id;
    struct bytes response_id,
        conversation_id; /* where no trace is named; a conversation: its newest verdict */
    enum grounding_label label;
    struct bytes annotator;
};
struct grounding_target { /* what was labelled */
    struct tsdb_id16 trace_id;
    struct tsdb_id8 span_id;
    bool is_judged; /* there is a verdict */
    double probability;
    bool is_new, is_changed; /* neither: it was said before */
};
enum err detectors_grounding_feedback(struct detectors_grounding *g,
                                      const struct grounding_feedback *f,
                                      struct grounding_target *out, struct err_msg *msg) MUST_CHECK;
/* Whose answers share a calibration. */
struct grounding_stream {
    uint32_t org;
    struct bytes service, model, version;
};
/* The probability for this stream's answers of what the shipped model gave as its probability; it itself while labels are few. */
double detectors_grounding_calibrate(struct detectors_grounding *g,
                                     const struct grounding_stream *s, double probability);
/* The label of an answer. */
bool detectors_grounding_label(struct detectors_grounding *g, uint32_t org,
                               struct tsdb_id16 trace_id, struct tsdb_id8 span_id,
                               enum grounding_label *out);

/* One verdict, read back. */
struct grounding_record {
    struct tsdb_id16 trace_id;
    struct tsdb_id8 span_id;
    int64_t time_ns;
    struct bytes service, model, prompt, version, response_id, conversation_id, explanation;
    struct bytes sentences, spans, documents, response_hash; /* as checker_rows.c writes them */
    double probability, score, logit, inclusion,
        threshold; /* of the model; calibrated at the time */
    bool is_flagged, is_cut;
};
/* The newest first, at most max. */
enum err detectors_grounding_records(struct tsdb_view *v, struct tsdb_id16 trace_id,
                                     struct arena *a, uint32_t max, struct grounding_record **out,
                                     size_t *out_count) MUST_CHECK;

struct grounding_row {
    struct bytes service, model, prompt,
        version; /* version: of the newest verdict; only its verdicts count */
    uint64_t judged, flagged; /* in the range */
    double mean_probability, flagged_share; /* weighted by 1 / inclusion */
    uint32_t labels, labels_bad,
        labels_other; /* of this version, and ever; other: of no use here */
    bool has_rate, has_rogan_gladen;
    double rate, low, high, lambda; /* PPI++ */
    double rg_rate, rg_low, rg_high;
    double threshold; /* of the detector */
    const char *calibration; /* "none", "platt", "isotonic" */
    double platt_a, platt_b;
    double precision_threshold, triage_threshold; /* NaN: too few labels */
    bool is_stale;
    /* of the stream, from the watch */
    double baseline_mean, recent_mean, evidence, psi; /* NaN: not known */
    bool is_surging, is_drifting;
    int64_t surge_ms;
};
struct grounding_service {
    struct bytes service;
    int64_t requests, checked, flagged, unverifiable, nothing,
        dropped; /* of the range, from cells */
};
struct grounding_report {
    struct grounding_row *rows; /* most judged first */
    size_t row_count;
    struct grounding_service *services;
    size_t service_count;
    bool is_complete;
};
struct grounding_ask {
    uint32_t org;
    int64_t from_ms, to_ms;
    struct bytes service; /* empty = all */
    struct detectors_watch *watch; /* NULL = none */
};
enum err detectors_grounding_report(struct detectors_grounding *g, struct tsdb_view *v,
                                    const struct grounding_ask *ask, struct arena *a,
                                    struct grounding_report *out) MUST_CHECK;

#endif
