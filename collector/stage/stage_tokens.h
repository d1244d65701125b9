/* Dialects of token events: what spans and log records tell of a stream chunk by chunk becomes token events of their batch, so that the one
 * assembly (collector/tokens/tokens_open.h) sees them as it sees those of POST /v1/tokens.
 *
 * Spans: a model call that streams, with an event for each chunk (the table in stage_tokens.c); the span itself is start and end. Log records:
 * event name gen_ai.token or llm.token.event, attributes named as the fields of proto/tokens.proto.
 * Owner: caller.  Thread: stage_apply's.
 * Failure: false: past the memory of the batch's token events. What a row does not say readably is no event of it, and counted
 *          (telltale_token_dialect_refused_total{reason}); the row itself is kept as any.
 * Limits: as of token events; STAGE_TOKENS_PER_EVENT_MAX tokens an event.
 * Invariants: 1. They are no rows: the accounts of the batch do not change. 2. A span of which the sender dropped something gives none: were
 *             chunks missing (SDKs keep 128 events), stalls and counts would be made up.
 */
#ifndef COLLECTOR_STAGE_STAGE_TOKENS_H
#define COLLECTOR_STAGE_STAGE_TOKENS_H

#include "collector/genai/genai.h"

#define STAGE_TOKENS_PER_EVENT_MAX (1 << 20) /* as of POST /v1/tokens */

bool stage_tokens_span(struct tsdb_batch *b, uint32_t row, const struct genai_row *r) MUST_CHECK;
bool stage_tokens_log(struct tsdb_batch *b, uint32_t row) MUST_CHECK;

#endif
