/* What a token costs: a small dated table of list prices and an override document in YAML.
 *
 * Unit: pico-USD per token (nano-USD per token x 1000), so that $0.01875 per million tokens is still an integer.
 * Owner: caller (price_table_free).  Thread: read by any after price_table_new.
 * Failure: ERR_INVALID with line and key for a bad document.  Limits: PRICE_TABLE_MAX rows.
 * Invariants: 1. Of several rows for a model the newest whose date is not after the event applies; before the first, the first.
 *             2. A missing cache rate is priced as plain input, never free.
 */
#ifndef COLLECTOR_GENAI_PRICE_TABLE_H
#define COLLECTOR_GENAI_PRICE_TABLE_H

#include "collector/genai/genai.h"

#define PRICE_TABLE_MAX 8192u

struct price_table;

enum err price_table_new(struct bytes yaml, struct price_table **out,
                         struct err_msg *msg) MUST_CHECK;
void price_table_free(struct price_table *t);
/* provider empty = any; a row of that provider beats a row for all. */
bool price_table_find(const struct price_table *t, struct bytes provider, struct bytes family,
                      int64_t at_ns, struct genai_price *out);

/* Fills cost[] and cost_total of a row that has tokens; is_batch halves. Unknown model: total stays -1. */
void price_table_apply(const struct price_table *t, struct genai_row *r, int64_t at_ns);

#endif
