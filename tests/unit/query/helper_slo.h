/* Cells kept as plain lists, behind the same source interface as the store: what objectives are tested on.
 *
 * Owner: the test (helper_slo_free).  Thread: guarded by a lock, so that a running evaluator may read while a test adds.
 * Failure: CHECKs; it is a test's.
 */
#ifndef TESTS_HELPER_SLO_H
#define TESTS_HELPER_SLO_H

#include "query/query_slo_source.h"

struct helper_slo;

struct helper_slo_label {
    const char *name, *value;
};

struct helper_slo *helper_slo_new(void);
void helper_slo_free(struct helper_slo *h);
struct query_slo_source helper_slo_source(struct helper_slo *h);
/* Adds to the cell of (labels, minute); labels end with a NULL name; empty values are dropped. */
void helper_slo_add(struct helper_slo *h, const struct helper_slo_label *labels, uint32_t minute,
                    int64_t add);
/* One user request. */
void helper_slo_request(struct helper_slo *h, const char *service, const char *model,
                        const char *region, const char *outcome, const char *fault, uint32_t minute,
                        int64_t count);
uint64_t helper_slo_reads(const struct helper_slo *h); /* calls of sum, minutes and by */

#endif
