/* A leaf of JSON as a line that reads like prose: path, value, and the value said again the way people say it.
 *
 * Owner: the caller's arena.  Thread: any.  Failure: ERR_NOMEM.
 *     "hours Monday: 11:0-17:0 (11 am to 5 pm)" · "date: 2023-11-29 17:30:00 (29 November 2023 5:30 pm)" · "wifi: null"
 */
#ifndef DETECTORS_GROUND_LEAF_H
#define DETECTORS_GROUND_LEAF_H

#include "detectors/ground_context.h"
#include "detectors/ground_json.h"

/* Sets text, path_bytes and truth. part: value is one of several sentences of the leaf, which stand under the last key alone. */
enum err ground_leaf_line(const struct ground_json_leaf *leaf, struct bytes value, bool part,
                          struct arena *a, struct ground_line *line) MUST_CHECK;

#endif
