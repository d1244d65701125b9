/* Where the counts of objectives come from: a view of the store, or rows of a test. The functions of query_slo.h over any source.
 *
 * Owner: caller.  Thread: as the source's.
 * Failure: the source's errors are passed on.
 * Invariant: sum(from, to) equals the sum of minutes(from, to), and of by(from, to) over its groups.
 */
#ifndef QUERY_QUERY_SLO_SOURCE_H
#define QUERY_QUERY_SLO_SOURCE_H

#include "query/query_slo.h"

/* Semantics of the tsdb_cells_* functions of tsdb_read.h. */
struct query_slo_source {
    void *ctx;
    enum err (*sum)(void *ctx, const struct tsdb_matcher *m, size_t n, uint32_t from, uint32_t to,
                    int64_t *out);
    enum err (*minutes)(void *ctx, const struct tsdb_matcher *m, size_t n, uint32_t from,
                        uint32_t to, int64_t *out);
    enum err (*by)(void *ctx, const struct tsdb_matcher *m, size_t n, struct bytes label,
                   uint32_t from, uint32_t to, struct arena *a, struct tsdb_cells_group **out,
                   size_t *out_count);
    enum err (*changed)(void *ctx, uint64_t since_seq, uint32_t *out_from, uint32_t *out_to,
                        uint64_t *out_seq);
    /* Histogram cells summed; NULL = there are none. */
    enum err (*hist)(void *ctx, const struct tsdb_matcher *m, size_t n, uint32_t from, uint32_t to,
                     struct arena *a, struct tsdb_hist *out);
    /* Increases of sample counters, minute by minute, added to out; NULL = there are no samples. */
    enum err (*increases)(void *ctx, const struct tsdb_matcher *m, size_t n, uint32_t from,
                          uint32_t to, int64_t *out);
};

struct query_slo_source query_slo_source_view(struct tsdb_view *v);

enum err query_slo_source_minutes(const struct query_slo_source *src, const struct query_slo *s,
                                  uint32_t from, uint32_t to,
                                  struct query_slo_counts *out) MUST_CHECK;
enum err query_slo_source_sum(const struct query_slo_source *src, const struct query_slo *s,
                              uint32_t from, uint32_t to, struct query_slo_counts *out) MUST_CHECK;
enum err query_slo_source_advance(struct query_slo_tracker *t, const struct query_slo_source *src,
                                  uint32_t h, uint32_t changed_from,
                                  uint32_t changed_to) MUST_CHECK;
enum err query_slo_source_blame(const struct query_slo_source *src, const struct query_slo *s,
                                uint32_t from, uint32_t to, struct arena *a,
                                struct query_slo_blame *out) MUST_CHECK;
enum err query_slo_source_excluded(const struct query_slo_source *src, const struct query_slo *s,
                                   uint32_t from, uint32_t to, struct arena *a,
                                   struct query_slo_reason **out, size_t *out_count) MUST_CHECK;
/* A threshold is counted exactly from when it was first loaded; the family's histogram has all calls, but knows the bound only to a bucket:
 * between low and high of `count` measured calls are within the threshold. count 0 where the objective has no threshold. */
struct query_slo_bounds {
    double count, low, high;
};
enum err query_slo_source_bounds(const struct query_slo_source *src, const struct query_slo *s,
                                 uint32_t from, uint32_t to, struct arena *a,
                                 struct query_slo_bounds *out) MUST_CHECK;

#endif
