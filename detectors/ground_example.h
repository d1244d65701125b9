/* Judged samples as what the token classifier is trained on: parts with a label a token.
 *
 * Owner: the caller's arena.  Thread: any.  Failure: ERR_NOMEM.
 * Labels: 1 where a token overlaps a marked span, 0 elsewhere in the part, -1 outside it. A response that is known to be unsupported but not where
 * (grain sentence or response) has no token labels: only the part as a whole is labelled, and only where it is all of the response.
 */
#ifndef DETECTORS_GROUND_EXAMPLE_H
#define DETECTORS_GROUND_EXAMPLE_H

#include "detectors/ground_data.h"
#include "detectors/ground_part.h"

struct ground_example {
    struct ground_part part;
    int8_t *labels; /* [part.count] */
    int8_t whole; /* -1 not known, 0, 1 */
    float weight;
};

enum err ground_example_make(const struct ground_sample *s, const struct gpu_vocab *v,
                             const struct ground_idf *idf, float weight, struct arena *a,
                             struct ground_example **out, uint32_t *count) MUST_CHECK;
/* Whether [begin, end) of the response overlaps a span. */
bool ground_example_marked(const struct ground_sample *s, uint32_t begin, uint32_t end);

#endif
