#include "detectors/alert_changes.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/check.h"
#include "base/clock.h"
#include "detectors/evaluator.h"
#include "query/query_changes.h"

struct text {
    char *at;
    size_t left;
};

static void say(struct text *t, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void say(struct text *t, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(t->at, t->left, fmt, args);
    va_end(args);
    size_t used = n < 0 ? 0 : MIN((size_t)n, t->left - 1);
    t->at += used;
    t->left -= used;
}

static int cut(struct bytes b)
{
    return (int)MIN(b.size, (size_t)100);
}

/* (bad: 0.3 % before, 6.1 % after) */
static void say_effect(struct text *t, const struct query_slo_source *src,
                       const struct query_slo *s, uint32_t minute, uint32_t to)
{
    struct query_slo_counts before = {0}, after = {0};
    uint32_t from = minute - MIN(minute, ALERT_CHANGES_COMPARE),
             end = MIN(minute + ALERT_CHANGES_COMPARE, to);
    if (from >= minute || minute >= end ||
        query_slo_source_sum(src, s, from, minute, &before) != ERR_OK ||
        query_slo_source_sum(src, s, minute, end, &after) != ERR_OK)
        return;
    int64_t n = query_slo_eligible(&before), m = query_slo_eligible(&after);
    if (n > 0 && m > 0)
        say(t, " (bad: %.3g %% before, %.3g %% after)", 100.0 * (double)before.bad / (double)n,
            100.0 * (double)after.bad / (double)m);
}

static void say_change(struct text *t, const struct query_change *c)
{
    char at[32];
    alert_text_time(c->at_ms, at);
    if (c->is_found)
        say(t, "%s new %.*s %.*s, %.3g %% of the calls since (before: %.*s)", at, cut(c->kind),
            c->kind.data, cut(c->title), c->title.data, c->share * 100, cut(c->before),
            c->before.size ? (const char *)c->before.data : "");
    else
        say(t, "%s %.*s: %.*s", at, cut(c->kind), c->kind.size ? (const char *)c->kind.data : "",
            cut(c->title), c->title.size ? (const char *)c->title.data : "");
}

void alert_changes_fill(struct tsdb_view *v, const struct query_slo_source *src,
                        const struct query_slo *s, uint32_t to, struct arena *arena,
                        struct alert *a)
{
    bool all = strcmp(a->service, "all") == 0;
    uint32_t start = a->start_minute;
    struct query_changes_ask q = {.service = all ? BYTES_NONE : bytes_str(a->service),
                                  .from = start - MIN(start, ALERT_CHANGES_MINUTES),
                                  .to = MIN(start + ALERT_CHANGES_SLACK, to)};
    struct query_change *list;
    size_t n;
    struct text t = {a->changed, sizeof(a->changed)};
    a->changed[0] = 0;
    if (q.from >= q.to || query_changes(v, &q, arena, &list, &n) != ERR_OK)
        return;
    for (size_t i = 0; i < MIN(n, (size_t)ALERT_CHANGES); i++) {
        say(&t, "%s", i ? "; " : "");
        say_change(&t, &list[i]);
        say_effect(&t, src, s, (uint32_t)(list[i].at_ms / 60000), to);
    }
}
