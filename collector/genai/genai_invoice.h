/* Reconciliation: what a provider billed against what our cells say, per day and model, with the difference itemised.
 *
 * Their sums come from exports (invoice_read.h), ours from llm_cost_nanousd_total, llm_tokens_total, llm_requests_total and
 * llm_unpriced_requests_total of that provider, all planes, by UTC day. The difference theirs - ours of a day and model goes to items:
 *   only_theirs, only_ours   the other side has nothing of that day and model (calls that do not reach us; a model under another name)
 *   tokens                   they count other tokens than we do: their cost by the share of the tokens that differ
 *   unpriced                 of the rest, where we have calls without a price
 *   estimated                of the rest, up to what we estimated
 *   price                    what is left: same tokens, another price (tier, batch, negotiated, a price that changed)
 *   rounding                 less than a cent of a day and model
 * Owner: caller.  Thread: any.  Failure: ERR_INVALID (documents, columns, mapping: with line), ERR_LIMIT, a view's errors.
 * Limits: those of invoice_read; GENAI_INVOICE_DAYS_MAX days; the answer holds the GENAI_INVOICE_LINES_MAX largest differences.
 * Invariant: the items sum to theirs - ours.
 */
#ifndef COLLECTOR_GENAI_GENAI_INVOICE_H
#define COLLECTOR_GENAI_GENAI_INVOICE_H

#include "base/buf.h"
#include "tsdb/tsdb_read.h"

#define GENAI_INVOICE_DAYS_MAX 400u
#define GENAI_INVOICE_LINES_MAX 500u
#define GENAI_INVOICE_BODY_MAX (48u << 20)
#define GENAI_INVOICE_ALERT_RATIO 0.005

/* body: {"provider":"openai|anthropic|generic","label":PROVIDER of our cells (generic: all),"from":DAY,"to":DAY (its last),
 *        "documents":[TEXT...],"columns":"day=...","centres":YAML}; to_json: the report. out_ratio: |theirs - ours| / theirs, -1: nothing billed. */
enum err genai_invoice_reconcile(struct tsdb *db, uint32_t org, struct bytes body,
                                 struct buf *to_json, double *out_ratio, char out_provider[64],
                                 struct err_msg *msg) MUST_CHECK;

/* Keeps a report in the store's small state ("invoices"), adds a sample of llm_invoice_residue_ratio{provider} to the org. */
enum err genai_invoice_keep(struct tsdb *db, uint32_t org, int64_t now_ms, struct bytes report,
                            const char *provider, double ratio, struct err_msg *msg) MUST_CHECK;

/* Of each provider the newest report by which it billed anything, the residue alone: one small row each, read in every round of the detectors. */
struct genai_invoice_residue {
    struct bytes provider; /* in the arena */
    int64_t at_ms;
    double ratio;
};
#define GENAI_INVOICE_RESIDUES_MAX 1000u
enum err genai_invoice_residues(struct tsdb *db, uint32_t org, struct arena *a,
                                struct genai_invoice_residue **out, size_t *out_count) MUST_CHECK;

#endif
