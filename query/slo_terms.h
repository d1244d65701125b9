/* What an objective reads from the store: a short list of matcher sets, each with the slot that its cells add to.
 *
 * Owner: the arena of the objective's set.  Thread: immutable after slo_terms_build.
 * Failure: slo_terms_build: ERR_NOMEM.  Limits: SLO_TERMS_MAX terms of SLO_MATCHERS_MAX matchers.
 * Invariant: the terms of an availability objective partition the cells of its family: every outcome x fault is in exactly one.
 */
#ifndef QUERY_SLO_TERMS_H
#define QUERY_SLO_TERMS_H

#include "query/query_slo_source.h"

#define SLO_TERMS_MAX 6u
#define SLO_MATCHERS_MAX (QUERY_SLO_FILTERS_MAX + 6u)
#define SLO_SLICE_MINUTES 5u
#define SLO_SAFETY_SLICE_MINUTES 60u /* blocks are rare: an hour has enough calls to expect some */
#define SLO_FEEDBACK_SLICE_MINUTES 1440u /* people label when they come to it */
#define SLO_SLICES_TARGET \
    0.99 /* of an objective that is judged by slices because no window's threshold could be reached by events */
#define SLO_NONE_EXPECTED 6.907755278982137 /* -ln 0.001: so many expected, none seen: p < 10^-3 */
#define SLO_MISSING_SHARE 0.10 /* of a slice's events: above it nothing is known of the slice */
#define SLO_UNPRICED_SHARE 0.02 /* above it a slice's cost is incomplete */

enum slo_slot {
    SLO_SLOT_GOOD,
    SLO_SLOT_BAD,
    SLO_SLOT_EXCLUDED,
    SLO_SLOT_MISSING,
    SLO_SLOT_PART, /* of a slice: nano-USD, tokens, blocks, labels */
    SLO_SLOT_WHOLE, /* requests, calls, flagged answers */
    SLO_SLOT_UNPRICED,
    SLO_SLOT_COUNT
};

struct slo_term {
    enum slo_slot slot;
    int sign;
    bool has_minus; /* RATIO: also subtracted from `minus` */
    enum slo_slot minus;
    const struct tsdb_matcher *m;
    size_t n;
};

struct slo_terms {
    struct slo_term terms[SLO_TERMS_MAX];
    uint32_t count;
    struct bytes reason_label; /* of the excluded terms; empty = none */
    const struct slo_terms
        *calls; /* AVAILABILITY_REQUEST: of the calls beneath, which know the model; else NULL */
    struct slo_term hist; /* LATENCY, TTFT, TPOT: the family's histogram; n = 0 elsewhere */
    bool with_samples; /* RATIO: the selectors may also name sample series */
};

enum err slo_terms_build(struct query_slo *s, struct arena *a) MUST_CHECK;

/* A set of literal values as a matcher predicate. */
struct slo_any {
    const struct bytes *values;
    size_t count;
};
bool slo_any_match(void *ctx, struct bytes value);

/* As the objective's terms have it: good, bad, or neither. */
enum query_slo_class slo_class_of(const struct query_slo *s, struct bytes outcome,
                                  struct bytes fault);
/* An outcome's row of the table in slo_terms.c. */
const char *slo_outcome_name(enum tsdb_outcome o);
const char *slo_fault_name(enum tsdb_fault f);

#endif
