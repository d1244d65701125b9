/* Series in memory, as a source of the engine: for rule tests and for whoever evaluates without a store.
 *
 * Owner: caller.  Thread: one at a time.
 * Failure: query_memory_add: ERR_NOMEM, ERR_LIMIT past QUERY_MEMORY_SAMPLES_MAX.
 * Invariants: those of query_source.h: series distinct and sorted when selected, samples sorted by time; a second sample of the same time
 *             takes the first one's place.
 */
#ifndef QUERY_QUERY_MEMORY_H
#define QUERY_QUERY_MEMORY_H

#include "query/query_hist.h"
#include "query/query_source.h"

#define QUERY_MEMORY_SAMPLES_MAX 20000000u

struct query_memory;

struct query_memory *query_memory_new(void); /* NULL when out of memory */
void query_memory_free(struct query_memory *m); /* NULL is fine */
enum err query_memory_add(struct query_memory *m, struct tsdb_labels labels, int64_t t_ms,
                          double value) MUST_CHECK;
enum err query_memory_add_hist(struct query_memory *m, struct tsdb_labels labels, int64_t t_ms,
                               const struct query_hist *h) MUST_CHECK; /* a copy is kept */
struct query_source query_memory_source(struct query_memory *m);

#endif
