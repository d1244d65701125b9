#include "query/query_source.h"

static enum err view_select(void *ctx, const struct tsdb_matcher *m, size_t n, int64_t min_ms,
                            int64_t max_ms, struct arena *a, struct tsdb_series **out,
                            size_t *out_count)
{
    return tsdb_select(ctx, m, n, min_ms, max_ms, a, out, out_count);
}

static enum err view_points(void *ctx, const struct tsdb_series *s, int64_t min_ms, int64_t max_ms,
                            struct arena *a, struct tsdb_points *out)
{
    return tsdb_points_read(ctx, s, min_ms, max_ms, a, out);
}

static enum err view_fork(void *ctx, void **out_fork)
{
    struct tsdb_view *f;
    enum err e = tsdb_view_fork(ctx, &f);
    if (e == ERR_OK)
        *out_fork = f;
    return e;
}

static void view_join(void *ctx, void *take_fork)
{
    tsdb_view_join(ctx, take_fork);
}

static uint64_t view_blocks_opened(void *ctx)
{
    return tsdb_view_blocks_opened(ctx);
}

static bool view_moment(void *ctx, struct tsdb_moment *out)
{
    return tsdb_view_moment(ctx, out);
}

static enum err view_changes(void *ctx, const struct tsdb_moment *then, unsigned made_of,
                             struct arena *a, struct tsdb_stretch **out, size_t *out_count)
{
    return tsdb_view_changes(ctx, then, made_of, a, out, out_count);
}

struct query_source query_source_of_view(struct tsdb_view *v)
{
    return (struct query_source){.ctx = v,
                                 .select = view_select,
                                 .points = view_points,
                                 .fork = view_fork,
                                 .join = view_join,
                                 .blocks = view_blocks_opened,
                                 .moment = view_moment,
                                 .changes = view_changes};
}
