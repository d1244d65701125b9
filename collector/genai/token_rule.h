/* Token arithmetic: the sender's numbers -> totals that hold their parts, and which rule did it.
 * Owner: none.  Thread: any.  Failure: none; negative numbers count as not sent.
 * Invariants: 1. input >= cache_read + cache_write. 2. output >= reasoning. 3. raw_input_tokens is what was sent.
 */
#ifndef COLLECTOR_GENAI_TOKEN_RULE_H
#define COLLECTOR_GENAI_TOKEN_RULE_H

#include "collector/genai/found.h"
#include "collector/genai/genai.h"

void token_rule_apply(const struct found *f, struct genai_row *r); /* needs r->dialect */
/* No usage although the model answered: from chunks, else from the size of what was said. Sets TSDB_ROW_ESTIMATED. */
void token_rule_estimate(const struct found *f, struct genai_row *r);

#endif
