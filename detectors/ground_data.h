/* Texts that people have judged, read from files: what the checker learns from, is measured on, and scores.
 *
 * One line of JSON each, told apart by their keys:
 *   {"source_id", "source", "responses": [{"response", "labels"?: [{"start", "end"}]}]}       RAGTruth's form; without labels: to be scored
 *   {"context", "response", "question"?, "spans"?, "label"?, "granularity"?, "set"?, "group"?, "split"…}      one response a line
 *   {"claim", "claim_tokens", "non_supported_spans", "evidence"}, {"claim", "label", "evidence"}               WiCE
 * or one list of {"doc", "summary", "original_summary", "label"}: SummEdits. Offsets in files are code points, in memory bytes.
 * Owner: the caller's arena.  Thread: any.
 * Failure: a bad line is reported to `bad` and left out; ERR_IO, ERR_TOO_LARGE for the file; ERR_NOMEM; what the callback returns ends the reading.
 * Limits: file GROUND_DATA_FILE_MAX, nesting 64.
 * Invariants: 1. spans ascending, begin < end <= response.size. 2. label -1 has no spans.
 */
#ifndef DETECTORS_GROUND_DATA_H
#define DETECTORS_GROUND_DATA_H

#include "base/arena.h"
#include "base/json_in.h"

#define GROUND_DATA_FILE_MAX (1ull << 30)
#define GROUND_DATA_SPANS_MAX 1024u

enum ground_task { GROUND_TASK_QA, GROUND_TASK_SUMMARY, GROUND_TASK_DATA, GROUND_TASK_COUNT };
enum ground_grain { GROUND_GRAIN_SPAN, GROUND_GRAIN_SENTENCE, GROUND_GRAIN_RESPONSE };
struct ground_mark {
    uint32_t begin, end; /* bytes of the response */
};
struct ground_sample {
    struct bytes set; /* "ragtruth", "wice", … */
    struct bytes id; /* of the source, as JSON: 13603 or "a" */
    uint32_t index; /* of the response in its source */
    uint64_t group,
        context_key; /* samples that share either never stand on both sides of a split */
    enum ground_task task; /* by shape: a question, JSON, neither */
    struct bytes *documents;
    uint32_t documents_count;
    struct bytes question, response;
    struct ground_mark *spans;
    uint32_t spans_count;
    int8_t label; /* 1 unsupported, 0 supported, -1 not known */
    enum ground_grain grain;
    bool doubtful; /* the set itself says that the response is no good example */
};
struct ground_data_sink {
    enum err (*sample)(void *ctx, const struct ground_sample *s);
    void (*bad)(void *ctx, const char *file, uint64_t line, const char *why);
    void *ctx;
};

enum err ground_data_read(struct bytes text, const char *name, struct arena *a,
                          const struct ground_data_sink *sink, struct err_msg *msg) MUST_CHECK;
enum err ground_data_read_file(const char *path, struct arena *a,
                               const struct ground_data_sink *sink, struct err_msg *msg) MUST_CHECK;
/* The byte place of a code point; text.size when there are fewer. Broken UTF-8: each stray byte counts as one. */
size_t ground_data_byte_of(struct bytes text, uint64_t code_point);

#endif
