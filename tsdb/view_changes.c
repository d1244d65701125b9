#include <stdlib.h>

#include "base/check.h"
#include "tsdb/changes.h"
#include "tsdb/store.h"
#include "tsdb/view_core.h"

#define MINUTE_MS 60000

bool tsdb_view_moment(const struct tsdb_view *v, struct tsdb_moment *out)
{
    *out = (struct tsdb_moment){.seq = v->pin.visible_seq,
                                .erased = v->erase_changes,
                                .rewritten = v->pin.rewritten,
                                .dropped = v->pin.dropped,
                                .now_ms = v->now_ms};
    return v->is_watched && !quarantine_concerns(v->db->quarantine, v->org);
}

static int by_start(const void *x, const void *y)
{
    const struct tsdb_stretch *a = x, *b = y;
    return (a->from_ms > b->from_ms) - (a->from_ms < b->from_ms);
}

static size_t join(struct tsdb_stretch *list, size_t n)
{
    size_t out = 0;
    if (n)
        qsort(list, n, sizeof(*list), by_start);
    for (size_t i = 0; i < n; i++) {
        if (out && list[i].from_ms <= list[out - 1].to_ms)
            list[out - 1].to_ms = MAX(list[out - 1].to_ms, list[i].to_ms);
        else
            list[out++] = list[i];
    }
    return out;
}

enum err tsdb_view_changes(const struct tsdb_view *v, const struct tsdb_moment *then,
                           unsigned made_of, struct arena *a, struct tsdb_stretch **out,
                           size_t *out_count)
{
    static const struct tsdb_stretch all = {INT64_MIN, INT64_MAX};
    bool cells = made_of & (TSDB_MADE_OF_CELLS | TSDB_MADE_OF_HIST_CELLS);
    struct tsdb_stretch *noted = NULL, *list;
    size_t n = 0, count;
    CHECK(v->is_watched);
    enum err e = changes_get(v->db->changes, v->org, then->seq, cells, a, &noted, &count);
    list = e == ERR_OK ? ARENA_ARRAY(a, struct tsdb_stretch, count + 3) : NULL;
    if (e == ERR_OK && !list)
        e = ERR_LIMIT;
    if (e != ERR_OK)
        return e;
    for (; n < count; n++)
        list[n] = noted[n];
    if (then->erased != v->erase_changes ||
        ((made_of & TSDB_MADE_OF_HIST_CELLS) && then->rewritten != v->pin.rewritten))
        list[n++] = all;
    if (then->dropped != v->pin.dropped)
        list[n++] = (struct tsdb_stretch){INT64_MIN, v->pin.dropped_below_ms};
    if (cells) { /* the open minute of a derived counter, and what comes after, depend on the clock */
        int64_t now = MIN(then->now_ms, v->now_ms);
        list[n++] = (struct tsdb_stretch){now - now % MINUTE_MS, INT64_MAX};
    }
    *out_count = join(list, n);
    *out = list;
    return ERR_OK;
}
