/* Stage: what happens to a decoded batch before the store takes it: GenAI columns, prices, derived delta cells; and what is settled later.
 *
 * stage_apply decides from each row alone. The settler (run by the committer, in commit order) corrects what needs other rows: twins by
 * response id, a span sent again, usage on agent rows, a log and a span of one call.
 * Owner: the program.  Thread: stage_apply and stage_set_thresholds from any; the settler's functions on the committer only.
 * Failure: stage_apply: ERR_LIMIT when the batch's arena is full (refuse the request whole), ERR_NOMEM.  A series refused by the registry's
 *          limit loses its cell only, counted in telltale_stage_cells_dropped_total{reason}.
 * Limits: STAGE_THRESHOLDS_MAX; breakdown_values_max values per org, dimension and day, then otel_metric_overflow="true".
 * Invariants: 1. Cells of a batch's spans come in row order, corrections (TSDB_NO_ROW) after them. 2. Sums over the cells of a key that was
 *             settled equal those of the one row that is booked. 3. The settler is a function of the batches it has seen.
 */
#ifndef COLLECTOR_STAGE_STAGE_H
#define COLLECTOR_STAGE_STAGE_H

#include "collector/genai/genai.h"
#include "tsdb/tsdb.h"

#define STAGE_THRESHOLDS_MAX 32u
#define STAGE_REDACT_OUTPUT "llm_sensitive_output_total" /* {service, class}: found in answers */
#define STAGE_LEAF_WAIT_NS (60 * INT64_C(1000000000)) /* the leaf rule's silence */

struct redact;
struct stage;

struct stage_options {
    struct genai_options genai;
    uint32_t breakdown_values_max; /* 0 = 1,000 */
    const char *
        mutate; /* tests only: switches a rule off ("wrappers", "twins", "leaf", "repeats", "tools"); NULL = none */
};

enum err stage_new(const struct stage_options *o, struct stage **out,
                   struct err_msg *msg) MUST_CHECK;
void stage_free(struct stage *s); /* NULL is fine */
/* Order of start: stage_new; tsdb_open with stage_settler(s) (replay needs no series); stage_set_series(s, tsdb_series(db)); then apply. */
void stage_set_series(struct stage *s, struct tsdb_registry *series);
enum err stage_set_prices(struct stage *s, struct tsdb *db, struct bytes yaml, const char *name,
                          struct err_msg *msg) MUST_CHECK; /* as genai_set_prices; one at a time */
/* Rows are looked through for sensitive data, and masked, from now on. Before the first stage_apply; r outlives the stage. */
void stage_set_redact(struct stage *s, const struct redact *r);
/* Fills the canonical columns of the batch's spans and adds the derived cells of its spans and logs. */
enum err stage_apply(struct stage *s, struct tsdb_batch *b, struct err_msg *msg) MUST_CHECK;
struct tsdb_settler stage_settler(struct stage *s);
/* Adds the batch's refused rows to telltale_ingest_rejected_rows_total{reason}. */
void stage_count_rejected(const struct tsdb_batch *b);
/* Bytes that could not be read are kept as they came: what is sensitive in them becomes asterisks. Nothing without stage_set_redact. */
void stage_blank(struct stage *s, uint8_t *data, size_t size);

/* One latency threshold of a loaded SLO: from now on kept as an exact counter, llm_latency_events_total{family,le,result,reason}. */
struct stage_threshold {
    struct bytes
        family; /* llm_request_duration_seconds, llm_user_request_duration_seconds, llm_time_to_first_token_seconds,
                            llm_time_per_output_token_seconds */
    double le_seconds;
};
/* Replaces the whole set. ERR_INVALID for an unknown family or a bound that is not positive, ERR_LIMIT past STAGE_THRESHOLDS_MAX. */
enum err stage_set_thresholds(struct stage *s, const struct stage_threshold *t, size_t n,
                              struct err_msg *msg) MUST_CHECK;

#endif
