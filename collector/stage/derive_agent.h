/* Cells of what agents do beside calling models: tools, contexts made smaller, connections, tasks. Booked and taken back by the settler, where
 * a row's twins are known; the labels are service, env, region, variant, plane and those named here.
 *
 * Owner: one struct derive.  Thread: its own.  Failure: false when the batch's arena is full.
 * Limits: tool and server names share the breakdowns' limit a day, then otel_metric_overflow="true".
 * Invariant: booking and taking back the same row with the same outcome and duration leaves nothing.
 */
#ifndef COLLECTOR_STAGE_DERIVE_AGENT_H
#define COLLECTOR_STAGE_DERIVE_AGENT_H

#include "collector/stage/derive.h"

/* duration_ns < 0: not known. sign: 1 books, -1 takes back. */
bool derive_agent_tool(struct derive *d, struct tsdb_batch *b, const struct genai_row *r,
                       uint8_t outcome, int64_t duration_ns, int sign) MUST_CHECK;
bool derive_agent_compaction(struct derive *d, struct tsdb_batch *b,
                             const struct genai_row *r) MUST_CHECK;
bool derive_agent_connection(struct derive *d, struct tsdb_batch *b,
                             const struct genai_row *r) MUST_CHECK;
/* Tokens of a metric (type says which), and what they differ by from those booked; type NULL: of a call that is booked, below zero. */
bool derive_agent_reported(struct derive *d, struct tsdb_batch *b, const struct genai_row *r,
                           const char *type, int64_t tokens) MUST_CHECK;
bool derive_agent_task(struct derive *d, struct tsdb_batch *b,
                       const struct genai_row *r) MUST_CHECK;

#endif
