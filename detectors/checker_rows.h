/* What the checker writes: records of verdicts and cells, batch by batch, through the store's own way in.
 *
 * Owner: the checker.  Thread: the checker's.
 * Failure: a batch that the store does not take is counted by the caller and gone: verdicts are not worth stopping for.
 * Limits: CHECKER_BATCH_ROWS records a batch; it is of one org.
 * Invariant: no text of a call is written but ids, names and labels that its span has as columns.
 */
#ifndef DETECTORS_CHECKER_ROWS_H
#define DETECTORS_CHECKER_ROWS_H

#include "detectors/detectors_checker.h"

#define CHECKER_BATCH_ROWS 512u

/* A document of the verdict: which row it came from, and where among that row's. */
struct checker_origin {
    struct tsdb_id8 span_id;
    uint32_t index;
};
struct checker_result {
    const struct checker_said *call;
    const struct ground_verdict *verdict;
    const struct ground_text *text;
    const struct checker_origin *origins; /* one a document */
    double score; /* the verdict's probability, calibrated for this application */
    double inclusion, threshold;
    bool is_uniform; /* of the uniform sample: it would have been checked whatever it looked like */
    const char *version;
};

struct checker_rows {
    struct tsdb *db;
    struct tsdb_batch *batch; /* that fills; NULL: none */
    struct arena *scratch;
    uint32_t rows;
    int64_t begun_ns;
};

bool checker_rows_init(struct checker_rows *w, struct tsdb *db); /* false: no memory */
void checker_rows_done(struct checker_rows *w); /* what was not written is gone */
/* Adds one to a counter with the call's labels; more: another label, or NULL. */
enum err checker_rows_count(struct checker_rows *w, const struct checker_said *call,
                            const char *family, const struct tsdb_label *more) MUST_CHECK;
/* The record of a verdict, and its cells. */
enum err checker_rows_verdict(struct checker_rows *w, const struct checker_result *r) MUST_CHECK;
/* Writes what is there and waits until it is durable; *out_rows: records. */
enum err checker_rows_write(struct checker_rows *w, uint32_t *out_rows) MUST_CHECK;

/* The hash of an answer that a record keeps, so that offsets are not laid over another text. */
uint64_t checker_rows_text_hash(struct bytes text);

#endif
