/* Tail sampling: which traces of an org stay when a closed day is compacted.
 *
 * A trace stays whole when one of its spans failed, was slow or is degraded, when somebody marked it (tsdb_keep_trace), or when it is among the
 * first of its kind (service and name of its root) that day. Of the others those stay whose id hashes below the share that is to be kept; each
 * of their rows then stands for so many (weight). So all spans of a trace agree, on whatever day they end.
 *     compact_sample_new -> compact_sample_see every block that may hold spans of these traces -> compact_sample_weight for each span
 * Rows of generations up to `decided` have been through this before: they stay, and what was decided then holds for spans that come later.
 * Owner: compact.c.  Thread: the flush role.
 * Failure: ERR_NOMEM; past traces_max traces to keep nothing is sampled (is_full): better all than the wrong ones.
 */
#ifndef TSDB_COMPACT_SAMPLE_H
#define TSDB_COMPACT_SAMPLE_H

#include "tsdb/part.h"
#include "tsdb/tsdb.h"

struct compact_sample;

/* NULL: no memory. */
struct compact_sample *compact_sample_new(const struct tsdb_sampling *policy, size_t traces_max);
void compact_sample_free(struct compact_sample *s);
enum err compact_sample_keep(struct compact_sample *s, struct tsdb_id16 trace) MUST_CHECK;
/* A block of spans. is_own: of the day that is compacted; is_decided: its rows stay. */
enum err compact_sample_see(struct compact_sample *s, const struct part_snapshot *from,
                            const struct block_meta *m, bool is_own, bool is_decided,
                            struct err_msg *msg) MUST_CHECK;
/* What each span of the trace stands for, in thousandths; 0: it goes. */
int64_t compact_sample_weight(const struct compact_sample *s, struct tsdb_id16 trace);
bool compact_sample_is_full(const struct compact_sample *s);

#endif
