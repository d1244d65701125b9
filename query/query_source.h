/* Where the engine gets series from: a narrow seam between PromQL and a store (a view of tsdb/, memory in tests, another engine later).
 *
 * Owner: the implementor; it must outlive the query.  Thread: one query at a time; forks on threads of their own.
 * Failure: the functions return the store's errors (ERR_LIMIT, ERR_TIMEOUT, ERR_CANCELLED, ERR_CORRUPT, ERR_IO); the query ends with them.
 * Invariants: as tsdb/tsdb_read.h: series sorted by labels and distinct, points sorted by time and distinct.
 */
#ifndef QUERY_QUERY_SOURCE_H
#define QUERY_QUERY_SOURCE_H

#include "tsdb/tsdb_read.h"

struct query_source {
    void *ctx;
    enum err (*select)(void *ctx, const struct tsdb_matcher *m, size_t n, int64_t min_ms,
                       int64_t max_ms, struct arena *a, struct tsdb_series **out,
                       size_t *out_count);
    enum err (*points)(void *ctx, const struct tsdb_series *s, int64_t min_ms, int64_t max_ms,
                       struct arena *a, struct tsdb_points *out);
    /* A ctx for `points` alone, for another thread, while nothing is selected; or NULL: there is one reader at a time. */
    enum err (*fork)(void *ctx, void **out_fork);
    void (*join)(void *ctx, void *take_fork); /* when its thread has done */
    uint64_t (*blocks)(void *ctx); /* opened so far; or NULL */
    /* As tsdb_view_moment and tsdb_view_changes; or NULL: nobody can tell what has changed. */
    bool (*moment)(void *ctx, struct tsdb_moment *out);
    enum err (*changes)(void *ctx, const struct tsdb_moment *then, unsigned made_of,
                        struct arena *a, struct tsdb_stretch **out, size_t *out_count);
};

struct query_source query_source_of_view(struct tsdb_view *v);

#endif
