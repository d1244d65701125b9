/* The cells of very many objectives out of few passes over the store: a source for trackers, in front of a view's.
 *
 * A pass walks the cells of a range once and adds each to the terms that want its series; the answers for the terms that follow are kept, so
 * that trackers that ask one after the other for the same minutes share it. Which terms want a series is found once and remembered by the
 * series' identity: a table from one label pair that a term demands to the terms, so that a new series is held against few of them.
 * Owner: caller; the objectives outlive it.  Thread: one.
 * Failure: as the view's; ERR_NOMEM. A term that it does not know is asked of the view.
 * Limits: QUERY_SLO_FEED_BYTES_PER_SLO of answers for each objective (at least 1 MiB); QUERY_SLO_FEED_SERIES_MAX series are remembered,
 *         then it starts anew.
 * Invariant: what it answers is what the view answers.
 */
#ifndef QUERY_QUERY_SLO_FEED_H
#define QUERY_QUERY_SLO_FEED_H

#include "query/query_slo_source.h"

#define QUERY_SLO_FEED_BYTES_PER_SLO 3072u
#define QUERY_SLO_FEED_SERIES_MAX 1000000u

struct query_slo_feed;

/* NULL without memory. */
struct query_slo_feed *query_slo_feed_new(const struct query_slo *slos, uint32_t count);
void query_slo_feed_free(struct query_slo_feed *f);
/* The source over v, until the next call: answers of the view before are forgotten, the series are not. */
struct query_slo_source query_slo_feed_source(struct query_slo_feed *f, struct tsdb_view *v);
size_t query_slo_feed_bytes(const struct query_slo_feed *f);
uint64_t query_slo_feed_passes(const struct query_slo_feed *f);

#endif
