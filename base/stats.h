/* Counters and gauges about ourselves, with fixed label sets, readable as a Prometheus text page.
 *
 * Define at file scope:   STATS_COUNTER(requests_bad, "telltale_http_bad_requests_total", "reason=\"header\"", "Requests refused by the parser.");
 * Use:                    stats_add(&requests_bad, 1);
 * Owner: process.  Thread: any (relaxed atomics).  Failure: none.
 * Label sets are written in the source: nothing that came from outside is ever a label here.
 */
#ifndef BASE_STATS_H
#define BASE_STATS_H

#include "base/buf.h"
#include <stdatomic.h>

enum stats_kind { STATS_KIND_COUNTER, STATS_KIND_GAUGE };

struct stats_value {
    const char *name, *labels, *help; /* labels: a="b",c="d" without braces, or "" */
    enum stats_kind kind;
    _Atomic int64_t value;
    struct stats_value *next;
};

void stats_register(struct stats_value *v); /* by the macros' constructors */

#define STATS_DEFINE(var, name_, labels_, help_, kind_)                      \
    static struct stats_value var = {name_, labels_, help_, kind_, 0, NULL}; \
    __attribute__((constructor)) static void stats_register_##var(void)      \
    {                                                                        \
        stats_register(&var);                                                \
    }
#define STATS_COUNTER(var, name, labels, help) \
    STATS_DEFINE(var, name, labels, help, STATS_KIND_COUNTER)
#define STATS_GAUGE(var, name, labels, help) STATS_DEFINE(var, name, labels, help, STATS_KIND_GAUGE)

static inline void stats_add(struct stats_value *v, int64_t n)
{
    atomic_fetch_add_explicit(&v->value, n, memory_order_relaxed);
}
static inline void stats_set(struct stats_value *v, int64_t n)
{
    atomic_store_explicit(&v->value, n, memory_order_relaxed);
}
static inline int64_t stats_get(const struct stats_value *v)
{
    return atomic_load_explicit(&((struct stats_value *)(uintptr_t)v)->value, memory_order_relaxed);
}
/* Calls fn for every value, sorted by (name, labels). */
void stats_each(void (*fn)(void *ctx, const struct stats_value *v), void *ctx);
/* The sum over the label sets of a name; 0 when there is none. */
int64_t stats_sum(const char *name);
/* Appends the Prometheus text page (HELP and TYPE once per family). */
void stats_render(struct buf *out);

#endif
