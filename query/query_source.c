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

struct query_source query_source_of_view(struct tsdb_view *v)
{
    return (struct query_source){v, view_select, view_points};
}
