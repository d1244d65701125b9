/* What becomes of a stream of token events that has closed: cells of the derived series, and one log record with its timeline.
 *
 * Owner: settle.  Thread: the committer.
 * Failure: false when the batch's arena is full.
 * Invariant: cells and record are a function of the result and of the labels.
 */
#ifndef COLLECTOR_STAGE_SETTLE_TOKENS_H
#define COLLECTOR_STAGE_SETTLE_TOKENS_H

#include "collector/stage/derive.h"
#include "collector/tokens/tokens_open.h"

#define SETTLE_TOKENS_EVENT "telltale.stream" /* the event name of its records */

bool settle_tokens_book(struct derive *d, struct tsdb_batch *b,
                        const struct tokens_result *r) MUST_CHECK;

#endif
