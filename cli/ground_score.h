/* `telltale ground score`: a file of sources and responses in, a line of JSON a response out.
 *
 * {"source_id", "response": index, "status", "probability", "flagged", "spans": [{"start", "end", "probability"}],
 *  "sentences": [{"start", "end", "kind", "probability", "evidence": [{"document", "start", "end", "text", "similarity"}]}]}
 * start and end are Unicode code points of the response, in evidence of the document. probability is null where nothing could be judged.
 * Thread: the process' first.  Failure: a bad line is named on stderr and the rest goes on; the exit status is 1 then.
 */
#ifndef CLI_GROUND_SCORE_H
#define CLI_GROUND_SCORE_H

#include "detectors/detectors_ground.h"

int ground_score_file(struct ground *g, const char *path);
const char *ground_score_status(enum ground_status s); /* "judged" */

#endif
