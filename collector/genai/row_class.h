/* What kind of row this is: call, request or step; by whose words; for which plane.
 * Owner: none (pure functions over tables).  Thread: any.  Failure: none.
 * Invariant: the answer depends on the row alone.
 */
#ifndef COLLECTOR_GENAI_ROW_CLASS_H
#define COLLECTOR_GENAI_ROW_CLASS_H

#include "collector/genai/found.h"
#include "collector/genai/genai.h"

/* What is known of an emitter from its scope or service name. */
struct row_class_scope {
    uint8_t dialect; /* enum genai_dialect or NONE */
    bool is_model_server; /* its spans are seen from inside the model server: never calls */
    bool is_gateway; /* its SERVER spans may be calls */
    bool agent_books; /* sends agent rows only: their usage books at once */
    bool is_cli; /* speaks bare names too */
    bool logs_book; /* its calls are log records: no span of it is one */
};
struct row_class_scope row_class_scope_of(struct bytes scope, struct bytes service);

uint8_t row_class_dialect(const struct found *f, const struct row_class_scope *scope);
/* Fills operation, plane, is_*, row_class and the agent flag; tokens and response id must be there already. */
void row_class_decide(const struct genai_options *o, const struct found *f,
                      const struct row_class_scope *scope, const struct tsdb_spans *s, uint32_t row,
                      struct genai_row *out);

#endif
