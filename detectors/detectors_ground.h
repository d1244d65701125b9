/* Is a response supported by its context? Sentence by sentence, with the evidence; by a model that runs inside the process.
 *
 * Owner: ground_open / ground_close; immutable in between but for the encoder, which the built-in model opens at the first check that needs it.
 * Thread: ground_check one call at a time per struct ground; ground_builtin any.
 * Failure: ERR_INVALID, ERR_NOT_FOUND with a sentence (a file that is none of ours, no model at all); ERR_TIMEOUT past the deadline; ERR_NOMEM and
 *          ERR_LIMIT when the arena is full. A text without context gives GROUND_UNVERIFIABLE, never "supported".
 * Limits: what is longer than the limits below is judged as far as they go, and verdict.cut says so.
 * Invariants: 1. begin <= end <= response.size for sentences and spans, ascending, not overlapping. 2. Probabilities are in [0, 1].
 *             3. Any bytes are text: broken UTF-8 is no error. 4. The same model, texts and precision give the same verdict.
 */
#ifndef DETECTORS_DETECTORS_GROUND_H
#define DETECTORS_DETECTORS_GROUND_H

#include "base/arena.h"
#include "gpu/gpu_model.h"

#define GROUND_RESPONSE_BYTES_MAX (64u << 10) /* 16,000 tokens; some 100 passes of the encoder */
#define GROUND_CONTEXT_BYTES_MAX (8u << 20) /* of all documents together */
#define GROUND_QUESTION_BYTES_MAX (16u << 10)
#define GROUND_DOCUMENTS_MAX 4096u
#define GROUND_SENTENCES_MAX 1024u /* of a response */
#define GROUND_EVIDENCE_MAX 3u /* of a sentence */

enum ground_status {
    GROUND_JUDGED,
    GROUND_UNVERIFIABLE, /* no context */
    GROUND_NOTHING_TO_JUDGE /* empty, a refusal, only greetings */
};
enum ground_kind {
    GROUND_CLAIM,
    GROUND_META, /* "Sure! Here is…" */
    GROUND_REFUSAL
};

struct ground_text {
    const struct bytes *documents; /* plain text, or JSON (read as one line per leaf) */
    uint32_t documents_count;
    struct bytes question; /* may be empty */
    struct bytes response;
};
struct ground_evidence {
    uint32_t document;
    uint32_t begin, end; /* bytes of that document */
    float similarity;
};
struct ground_sentence {
    uint32_t begin, end; /* bytes of the response */
    enum ground_kind kind;
    float probability; /* that it is not supported */
    struct ground_evidence evidence[GROUND_EVIDENCE_MAX]; /* the nearest first */
    uint32_t evidence_count;
};
struct ground_span { /* an unsupported run */
    uint32_t begin, end; /* bytes of the response */
    float probability;
};
struct ground_verdict {
    enum ground_status status;
    bool cut, flagged; /* flagged: probability >= ground_threshold, and judged */
    float probability; /* calibrated, of the response */
    float logit; /* before calibration: what an application's own calibration is fitted on */
    struct ground_sentence *sentences;
    uint32_t sentences_count;
    struct ground_span *spans;
    uint32_t spans_count;
    uint32_t tokens; /* of the encoder, spent */
};

struct ground;
struct ground_options {
    const char *model; /* NULL: the one linked into the program */
    unsigned threads; /* 0: one per processor */
    enum gpu_precision precision;
};

enum err ground_open(const struct ground_options *o, struct ground **out,
                     struct err_msg *msg) MUST_CHECK;
void ground_close(struct ground *g); /* NULL is fine */
/* What judged: a short hash of the model file and the version of the features, stored with each verdict. */
const char *ground_version(const struct ground *g);
double ground_threshold(const struct ground *g);

/* The arena holds everything that out points to. deadline_ns: of clock_mono_ns, 0 = none. */
enum err ground_check(struct ground *g, const struct ground_text *t, uint64_t deadline_ns,
                      struct arena *a, struct ground_verdict *out, struct err_msg *msg) MUST_CHECK;

/* The model file linked into the program; empty when it was built without one. */
struct bytes ground_builtin(void);

#endif
