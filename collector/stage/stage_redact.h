/* What was found in a row, counted: telltale_redactions_total{service,class,action} and, of what a model answered,
 * llm_sensitive_output_total{service,class}.
 *
 * Never a value, only how many of which kind. The counts of a span go where the span goes: one that is a repeat takes them with it.
 * Owner: one context of the stage.  Thread: one at a time.
 * Failure: false when the batch's arena is full. A series that is refused loses its cell only.
 * Limits: services of a day as breakdown values are, the others as one.
 */
#ifndef COLLECTOR_STAGE_STAGE_REDACT_H
#define COLLECTOR_STAGE_STAGE_REDACT_H

#include "collector/redact/redact.h"
#include "collector/stage/derive.h"

#define STAGE_REDACT_TOTAL "telltale_redactions_total"

bool stage_redact_span(struct derive *d, struct tsdb_batch *b, uint32_t row,
                       const struct redact_found *f) MUST_CHECK;
bool stage_redact_log(struct derive *d, struct tsdb_batch *b, uint32_t row,
                      const struct redact_found *f) MUST_CHECK;

#endif
