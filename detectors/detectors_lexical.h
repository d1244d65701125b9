/* A judge without a model: how many of a sentence's words stand in its documents at all. Weak, fast, the same everywhere.
 *
 * For trying the path out and for tests of it (`grounding.model: lexical`); its probabilities are calibrated on nothing, and what it flags needs
 * the labels of people more than what a model flags.
 * Owner: none.  Thread: any.
 * Failure: ERR_LIMIT when the arena is full.
 * Limits: GROUND_SENTENCES_MAX sentences, LEXICAL_WORDS_MAX different words of the documents: later ones are not known.
 * Invariants: as ground_check: sentences ascending within the response, probabilities in [0, 1], no documents: unverifiable.
 */
#ifndef DETECTORS_DETECTORS_LEXICAL_H
#define DETECTORS_DETECTORS_LEXICAL_H

#include "detectors/detectors_ground.h"

#define LEXICAL_WORDS_MAX 65536u
#define LEXICAL_VERSION "lexical-1"
#define LEXICAL_THRESHOLD 0.5

enum err detectors_lexical_check(const struct ground_text *t, struct arena *a,
                                 struct ground_verdict *out) MUST_CHECK;

#endif
