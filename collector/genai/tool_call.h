/* Tool calls, handoffs, agent tasks and lanes: what one row says of them.
 *
 * Owner: none (pure functions over what was found).  Thread: any.  Failure: none: what is not said is not guessed.
 * Invariants: 1. A handoff is no tool call. 2. A row with a tool_outcome has a tool name or stands below one that has.
 */
#ifndef COLLECTOR_GENAI_TOOL_CALL_H
#define COLLECTOR_GENAI_TOOL_CALL_H

#include "collector/genai/found.h"
#include "collector/genai/genai.h"

/* Needs operation, is_tool, error_type; fills tool name, id and outcome, handoff, waiting, task, lane. */
void tool_call_span(const struct found *f, const struct tsdb_spans *s, uint32_t row,
                    struct genai_row *r);
void tool_call_log(const struct found *f, struct genai_row *r); /* a tool's result or refusal */
bool tool_call_is_refused(const struct found *f); /* somebody said no to it */
/* Whose call it is: of the conversation's own line, of an agent below it, or of a helper beside it. */
uint8_t tool_call_lane(const struct found *f, const struct genai_row *r);

#endif
