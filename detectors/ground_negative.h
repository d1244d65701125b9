/* Clean responses made wrong in one place, the way models are wrong: another number, another name, a yes for a no.
 *
 * Owner: the caller's arena.  Thread: any.  Failure: ERR_NOMEM.
 * Invariants: 1. The same sample and seed give the same response. 2. What was put in has a span, and is not what stood there.
 */
#ifndef DETECTORS_GROUND_NEGATIVE_H
#define DETECTORS_GROUND_NEGATIVE_H

#include "detectors/ground_data.h"

/* *made false: the sample has nothing that could be swapped. */
enum err ground_negative_make(const struct ground_sample *clean, uint64_t seed, struct arena *a,
                              struct ground_sample *out, bool *made) MUST_CHECK;
uint64_t ground_negative_random(uint64_t *state); /* splitmix64 */

#endif
