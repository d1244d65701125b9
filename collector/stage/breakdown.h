/* The cardinality limit of breakdown families: at most so many values per org, dimension and day.
 *
 * Owner: the stage.  Thread: any (one lock).
 * Failure: out of memory counts as "too many".
 * Limits: values_max values a set; BREAKDOWN_SETS sets, the least recently used one makes room (and would then admit values anew).
 */
#ifndef COLLECTOR_STAGE_BREAKDOWN_H
#define COLLECTOR_STAGE_BREAKDOWN_H

#include "base/bytes.h"

#define BREAKDOWN_SETS 512u

enum breakdown_dim {
    BREAKDOWN_TENANT,
    BREAKDOWN_PROMPT,
    BREAKDOWN_TEAM,
    BREAKDOWN_API_KEY,
    BREAKDOWN_TOOL, /* no breakdown family: the limit of tool names in llm_tool_calls_total */
    BREAKDOWN_MCP_SERVER,
    BREAKDOWN_REDACTED_SERVICE, /* services in telltale_redactions_total */
    BREAKDOWN_DIM_COUNT
};

struct breakdown;
struct breakdown *breakdown_new(uint32_t values_max); /* 0 = 1,000; NULL = no memory */
void breakdown_free(struct breakdown *b);
/* May this value have a series of its own on this day? The first values_max may. */
bool breakdown_admits(struct breakdown *b, uint32_t org, enum breakdown_dim dim, uint32_t day,
                      struct bytes value);
const char *breakdown_dim_text(enum breakdown_dim dim);

#endif
