/* The owner's price document (docs/prices.md): YAML text -> offers of a price table.
 * Owner: caller.  Thread: any.  Failure: ERR_INVALID with name, line, key and what would be valid; the table is then to be thrown away.
 * Limits: those of yaml_in and of the table.
 */
#ifndef COLLECTOR_GENAI_PRICE_YAML_H
#define COLLECTOR_GENAI_PRICE_YAML_H

#include "collector/genai/price_table.h"

/* name: of the file, for messages. layer: of rows without a scope. source of rows that say none: "own price" or "list price". */
enum err price_yaml_load(struct price_table *t, struct bytes yaml, const char *name,
                         enum price_layer layer, struct err_msg *msg) MUST_CHECK;

#endif
