/* What the files of the stage share of it.
 * Owner: the stage.  Thread: any.  Failure: NULL when out of memory.
 */
#ifndef COLLECTOR_STAGE_STAGE_CORE_H
#define COLLECTOR_STAGE_STAGE_CORE_H

#include "collector/stage/derive.h"
#include "collector/stage/stage.h"

const struct genai *stage_core_genai(const struct stage *s);
/* A context of one's own, with today's series; derive_free. */
struct derive *stage_core_derive(struct stage *s);

#endif
