/* Range queries answered from what the same query answered before: only the steps that are not kept, or that rows stored or erased since may have
 * changed, are computed again.
 *
 *   query_cache_range(cache, org, source, limits, text, start, end, step, arena) -> the bits that query_range gives
 *
 * Kept are the values of one expression (as it is printed), org, lookback, step width and phase of the steps, for a range of about one length.
 * The source says which stretches of time have changed since (query_source.h), the expression which times a step looks at (query_reach.h).
 * What does not say so (@, start(), info(), duration expressions, native histograms in the answer, warnings) is computed each time.
 * Owner: caller.  Thread: any; entries never change.
 * Failure: as query_range. What is kept costs no limit of the query, so a query past a limit may succeed where part of it is kept.
 * Limits: bytes_max together, counted in the budget; an eighth of it for one answer; least recently used goes, and goes first when queries need
 *         the memory.
 * Invariant: rows, steps, bits, order, warnings and infos are those of query_range over the same source.
 */
#ifndef QUERY_QUERY_CACHE_H
#define QUERY_QUERY_CACHE_H

#include "query/query.h"

struct query_cache;

/* budget: of memory that queries share, NULL = none. NULL: no memory. */
struct query_cache *query_cache_new(struct arena_budget *budget, size_t bytes_max);
void query_cache_free(struct query_cache *c); /* NULL is fine */
size_t query_cache_bytes(const struct query_cache *c);

/* What became of one query. */
struct query_cache_use {
    enum query_cache_kind {
        QUERY_CACHE_OFF, /* no cache was asked */
        QUERY_CACHE_BYPASS, /* why says what makes the answer unfit */
        QUERY_CACHE_MISS,
        QUERY_CACHE_PARTIAL,
        QUERY_CACHE_HIT
    } kind;
    const char *why;
    size_t steps_kept, steps_computed;
};
const char *query_cache_kind_name(enum query_cache_kind k); /* "off", "bypass", ... */

/* c NULL: as query_range. */
enum err query_cache_range(struct query_cache *c, uint32_t org, struct query_source *src,
                           const struct query_limits *limits, struct bytes text, int64_t start_ms,
                           int64_t end_ms, int64_t step_ms, struct arena *a,
                           struct query_result *out, struct query_cache_use *out_use,
                           struct err_msg *msg) MUST_CHECK;

#endif
