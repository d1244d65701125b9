/* One tool call is counted once, whoever tells of it: execute_tool, MCP client and MCP server, a log record.
 *
 * The row that counts: a log record that tells of the result, else the outermost span (by parents; one call id ties rows whose parents do not).
 * The others add to it what only they know: the worst outcome, and the time a person took to answer.
 *
 *     tool row ──► above it, or of its id: a row that counts?  ── yes ──► its outcome goes there      ── no ──► it counts;
 *                                                                                          those below it and of its id give way
 *
 * Owner: settle.  Thread: the committer.  Failure: w->ok.
 * Limits: SETTLE_ANCESTORS_MAX steps up, SETTLE_NESTED_MAX rows of the trace looked at; past them a call may be counted by two rows.
 * Invariants: 1. Of the rows known of one tool call exactly one is not LOST. 2. Its cells are those of tool_outcome and its time less wait_ms,
 *             whatever the order the rows came in.
 */
#ifndef COLLECTOR_STAGE_SETTLE_TOOL_H
#define COLLECTOR_STAGE_SETTLE_TOOL_H

#include "collector/stage/settle_state.h"

bool settle_tool_is_wait(const struct tsdb_spans *sp, uint32_t row);
/* n: the row's entry to be. */
void settle_tool_span(struct settle_work *w, uint32_t row, struct settle_index_entry *n);
/* r: the record, read. */
void settle_tool_log(struct settle_work *w, uint32_t row, const struct genai_row *r,
                     struct settle_index_entry *n);
/* The row is sent again: what it counted goes. */
void settle_tool_gone(struct settle_work *w, const struct settle_index_entry *e);
/* A task of another agent: counted when it is first seen, however often it is asked after. */
void settle_tool_task(struct settle_work *w, uint32_t row, struct settle_index_entry *n);

#endif
