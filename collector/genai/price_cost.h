/* Tokens, a price row, and what that makes in nano-USD.
 *
 * Counts are totals that hold their parts (token_rule.h). Each part is priced once: fresh text, fresh audio, fresh images, cached text,
 * cached audio, cached images, cache writes by how long they live, plain output, reasoning, audio and image output.
 * Cached tokens whose kind was not said are taken to be text. A call on a GPU that is paid by the hour costs its share of the time:
 *     duration x gpus x gpu_hour / concurrency,
 * concurrency being how many calls the machine serves at once on average; such a call has no other cost.
 * Owner: none.  Thread: any.  Failure: none.
 * Invariants: 1. cost_total = sum of cost[], each >= 0; or -1, all 0 and price_id 0: unknown. 2. Each cost type is rounded once, half up.
 */
#ifndef COLLECTOR_GENAI_PRICE_COST_H
#define COLLECTOR_GENAI_PRICE_COST_H

#include "collector/genai/price_table.h"
#include "collector/genai/genai.h"

/* Fills cost[], cost_total and price_id of a row that has tokens (or images). */
enum price_found price_cost_apply(const struct price_table *t, struct price_memo *memo,
                                  uint32_t org, struct genai_row *r);
/* The same for a row that is already known to fall under p. */
void price_cost_of(const struct price_row *p, bool half, struct genai_row *r);

#endif
