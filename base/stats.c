#include "base/stats.h"

#include <pthread.h>
#include <stdlib.h>

static struct stats_value *all; /* filled by constructors, before any thread */
static size_t count;

void stats_register(struct stats_value *v)
{
    v->next = all;
    all = v;
    count++;
}

static int by_name(const void *a, const void *b)
{
    const struct stats_value *x = *(const struct stats_value *const *)a,
                             *y = *(const struct stats_value *const *)b;
    int c = strcmp(x->name, y->name);
    return c ? c : strcmp(x->labels, y->labels);
}

void stats_each(void (*fn)(void *ctx, const struct stats_value *v), void *ctx)
{
    const struct stats_value **sorted = malloc((count ? count : 1) * sizeof(*sorted));
    if (!sorted)
        return; /* a page without figures is better than none */
    size_t n = 0;
    for (const struct stats_value *v = all; v; v = v->next)
        sorted[n++] = v;
    qsort(sorted, n, sizeof(*sorted), by_name);
    for (size_t i = 0; i < n; i++)
        fn(ctx, sorted[i]);
    free(sorted);
}

int64_t stats_sum(const char *name)
{
    int64_t sum = 0;
    for (const struct stats_value *v = all; v; v = v->next)
        if (strcmp(v->name, name) == 0)
            sum += stats_get(v);
    return sum;
}

struct render {
    struct buf *out;
    const char *family;
};

static void render_one(void *ctx, const struct stats_value *v)
{
    struct render *r = ctx;
    if (!r->family || strcmp(r->family, v->name) != 0) {
        buf_printf(r->out, "# HELP %s %s\n# TYPE %s %s\n", v->name, v->help, v->name,
                   v->kind == STATS_KIND_COUNTER ? "counter" : "gauge");
        r->family = v->name;
    }
    if (*v->labels)
        buf_printf(r->out, "%s{%s} %lld\n", v->name, v->labels, (long long)stats_get(v));
    else
        buf_printf(r->out, "%s %lld\n", v->name, (long long)stats_get(v));
}

void stats_render(struct buf *out)
{
    struct render r = {out, NULL};
    stats_each(render_one, &r);
}
