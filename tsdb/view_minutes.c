/* Spans counted by service, name and minute: from the summaries of blocks where those know it, else from three columns. */
#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"
#include "tsdb/view_visit.h"

#define NS_PER_MINUTE INT64_C(60000000000)

struct counts {
    struct view_search search;
    const struct tsdb_minutes_query *q;
    struct arena *a;
    struct tsdb_minute *list;
    uint32_t count, cap;
    uint32_t *slots, slot_cap; /* index + 1 */
};

static uint32_t slot_of(const struct counts *c, struct bytes service, struct bytes name,
                        uint32_t minute)
{
    uint64_t h = hash64(name, hash64(service, minute));
    uint32_t i = (uint32_t)(h ^ h >> 32) & (c->slot_cap - 1);
    while (c->slots[i]) {
        const struct tsdb_minute *m = &c->list[c->slots[i] - 1];
        if (m->minute == minute && bytes_equal(m->name, name) && bytes_equal(m->service, service))
            break;
        i = (i + 1) & (c->slot_cap - 1);
    }
    return i;
}

static enum err make_room(struct counts *c)
{
    if (c->count < c->cap)
        return ERR_OK;
    uint32_t cap = c->cap ? c->cap * 2 : 128;
    struct tsdb_minute *list = arena_grow(c->a, c->list, sizeof(*list), c->cap, cap);
    uint32_t *slots = calloc(cap * 2, sizeof(*slots));
    if (!list || !slots) {
        free(slots);
        return ERR_LIMIT;
    }
    free(c->slots);
    c->list = list;
    c->cap = cap;
    c->slots = slots;
    c->slot_cap = cap * 2;
    for (uint32_t i = 0; i < c->count; i++)
        c->slots[slot_of(c, list[i].service, list[i].name, list[i].minute)] = i + 1;
    return ERR_OK;
}

static enum err add(struct counts *c, struct bytes service, struct bytes name, uint32_t minute,
                    uint64_t count, uint64_t errors, int64_t duration)
{
    enum err e = make_room(c);
    if (e != ERR_OK)
        return e;
    if (!c->q->by_minute)
        minute = 0;
    uint32_t slot = slot_of(c, service, name, minute);
    if (!c->slots[slot]) {
        struct tsdb_minute m = {arena_copy(c->a, service), arena_copy(c->a, name), minute, 0, 0, 0};
        if ((service.size && !m.service.data) || (name.size && !m.name.data))
            return ERR_LIMIT;
        c->list[c->count++] = m;
        c->slots[slot] = c->count;
    }
    struct tsdb_minute *m = &c->list[c->slots[slot] - 1];
    m->count += count;
    m->errors += errors;
    m->duration_sum_ns = (int64_t)((uint64_t)m->duration_sum_ns + (uint64_t)duration);
    return ERR_OK;
}

/* Whole minutes of the block within the range: its counts are what its rows would give. */
static bool from_zone(void *ctx, const struct zone *z, enum err *e)
{
    struct counts *c = ctx;
    const struct tsdb_minutes_query *q = c->q;
    if (!z->groups_known)
        return false;
    if (z->start_min < q->start_min_ns || z->start_max > q->start_max_ns)
        return false;
    for (uint32_t i = 0; i < z->group_count && *e == ERR_OK; i++) {
        const struct zone_group *g = &z->groups[i];
        struct bytes name = z->names[g->name].name,
                     service = z->services[z->names[g->name].service];
        if ((q->service.size && !bytes_equal(q->service, service)) ||
            (q->name.size && !bytes_equal(q->name, name)))
            continue;
        *e = add(c, service, name, g->minute, g->count, g->errors, g->duration_sum_ns);
    }
    return true;
}

static enum err from_rows(void *ctx, struct view_run *run, bool *stop)
{
    struct counts *c = ctx;
    const struct tsdb_spans *t = &run->t->spans;
    enum err e =
        view_run_load(run, UINT64_C(1) << TSDB_SPAN_service | UINT64_C(1) << TSDB_SPAN_name |
                               UINT64_C(1) << TSDB_SPAN_start_ns | UINT64_C(1) << TSDB_SPAN_end_ns |
                               UINT64_C(1) << TSDB_SPAN_status | UINT64_C(1) << TSDB_SPAN_weight);
    (void)stop;
    for (uint32_t i = 0; i < run->count && e == ERR_OK; i++) {
        uint32_t row = run->rows[i];
        int64_t start = t->start_ns[row];
        uint32_t minute = start < 0 ? 0 : (uint32_t)MIN(start / NS_PER_MINUTE, (int64_t)UINT32_MAX);
        int64_t w = TSDB_SPAN_GET(t, weight, row, TSDB_WEIGHT_ONE);
        e = add(c, t->service[row], t->name[row], minute, (uint64_t)w,
                t->status[row] == 2 ? (uint64_t)w : 0,
                zone_weighted((int64_t)((uint64_t)t->end_ns[row] - (uint64_t)start), w));
    }
    return e;
}

enum err tsdb_span_minutes(struct tsdb_view *v, struct tsdb_minutes_query *q, struct arena *a,
                           struct tsdb_minute **out, size_t *out_count)
{
    struct counts c = {.search = {.v = v,
                                  .k = &view_rows_spans,
                                  .min = q->start_min_ns,
                                  .max = q->start_max_ns,
                                  .service = q->service,
                                  .name = q->name,
                                  .zone = from_zone,
                                  .run = from_rows},
                       .q = q,
                       .a = a};
    c.search.ctx = &c;
    enum err e = view_search_run(&c.search);
    q->rows_read = c.search.rows_read;
    free(c.slots);
    for (uint32_t i = 0; i < c.count; i++) { /* from thousandths */
        c.list[i].count = (c.list[i].count + TSDB_WEIGHT_ONE / 2) / TSDB_WEIGHT_ONE;
        c.list[i].errors = (c.list[i].errors + TSDB_WEIGHT_ONE / 2) / TSDB_WEIGHT_ONE;
    }
    if (e == ERR_OK) {
        *out = c.list;
        *out_count = c.count;
    }
    return e;
}
