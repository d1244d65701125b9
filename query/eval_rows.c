#include "query/eval.h"

#include <stdlib.h>

bool row_init(struct eval *e, struct row *r, size_t cells)
{
    *r = (struct row){0};
    r->has = arena_alloc(e->arena, cells);
    r->v = arena_alloc_raw(e->arena, cells * sizeof *r->v, 8);
    return (r->has && r->v) || eval_nomem(e);
}

bool row_need_hist(struct eval *e, struct row *r, size_t cells)
{
    if (!r->h)
        r->h = arena_alloc(e->arena, cells * sizeof *r->h);
    return r->h || eval_nomem(e);
}

void row_clear(struct row *r, size_t cells)
{
    memset(r->has, CELL_NONE, cells);
}

bool row_copy(struct eval *e, struct row *out, const struct row *r, size_t cells)
{
    if (!row_init(e, out, cells))
        return false;
    out->labels = r->labels;
    out->drop_name = r->drop_name;
    memcpy(out->has, r->has, cells);
    memcpy(out->v, r->v, cells * sizeof *r->v);
    if (r->h && memchr(r->has, CELL_HIST, cells)) {
        if (!row_need_hist(e, out, cells))
            return false;
        memcpy(out->h, r->h, cells * sizeof *r->h);
    }
    return true;
}

static struct row *rows_slot(struct eval *e, struct rows *rs)
{
    if (rs->count == rs->cap) {
        size_t cap = rs->cap ? rs->cap * 2 : 16;
        struct row *items = arena_grow(e->arena, rs->items, sizeof *items, rs->cap, cap);
        if (!items) {
            eval_nomem(e);
            return NULL;
        }
        rs->items = items;
        rs->cap = cap;
    }
    return &rs->items[rs->count++];
}

struct row *rows_add(struct eval *e, struct rows *rs, size_t cells)
{
    struct row *r = rows_slot(e, rs);
    if (!r || !row_init(e, r, cells)) {
        if (r)
            rs->count--;
        return NULL;
    }
    return r;
}

bool rows_keep(void *ctx, const struct row *r)
{
    struct keep *k = ctx;
    struct row *slot = rows_slot(k->e, k->out);
    if (!slot)
        return false;
    if (!eval_tick(k->e, k->cells) || !row_copy(k->e, slot, r, k->cells)) {
        k->out->count--;
        return false;
    }
    return true;
}

struct place {
    struct tsdb_labels labels;
    size_t at;
};

static int by_labels(const void *x, const void *y)
{
    const struct place *a = x, *b = y;
    int c = tsdb_labels_compare(a->labels, b->labels);
    return c ? c : (a->at > b->at) - (a->at < b->at);
}

bool rows_sort(struct eval *e, struct rows *rs)
{
    size_t sorted = 1;
    while (sorted < rs->count &&
           tsdb_labels_compare(rs->items[sorted - 1].labels, rs->items[sorted].labels) <= 0)
        sorted++;
    if (sorted >= rs->count)
        return true;
    struct place *order = ARENA_ARRAY(e->arena, struct place, rs->count);
    struct row *items = ARENA_ARRAY(e->arena, struct row, rs->cap);
    if (!order || !items)
        return eval_nomem(e);
    for (size_t i = 0; i < rs->count; i++)
        order[i] = (struct place){rs->items[i].labels, i};
    qsort(order, rs->count, sizeof *order, by_labels);
    for (size_t i = 0; i < rs->count; i++)
        items[i] = rs->items[order[i].at];
    rs->items = items;
    return true;
}

static bool merge(struct eval *e, struct row *to, const struct row *from, size_t cells)
{
    for (size_t i = 0; i < cells; i++) {
        if (from->has[i] == CELL_NONE)
            continue;
        if (to->has[i] != CELL_NONE)
            return eval_fail(e, ERR_EXECUTION,
                             "vector cannot contain metrics with the same labelset");
        to->has[i] = from->has[i];
        to->v[i] = from->v[i];
        if (from->has[i] == CELL_HIST) {
            if (!row_need_hist(e, to, cells))
                return false;
            to->h[i] = from->h[i];
        }
    }
    to->drop_name |= from->drop_name;
    return true;
}

bool rows_settle(struct eval *e, struct rows *rs, size_t cells, bool names)
{
    struct key_map map = {.e = e};
    size_t n = 0;
    for (size_t i = 0; i < rs->count; i++) {
        struct row r = rs->items[i];
        if (!memchr(r.has, CELL_FLOAT, cells) && !memchr(r.has, CELL_HIST, cells))
            continue;
        if (names && r.drop_name) {
            r.labels = labels_without(e, r.labels, NULL, true);
            r.drop_name = false;
        }
        bool is_new;
        size_t at = key_map_put(&map, r.labels.enc, &is_new);
        if (at == SIZE_MAX || e->err != ERR_OK)
            return false;
        if (is_new) {
            rs->items[n++] = r;
        } else if (!merge(e, &rs->items[at], &r, cells)) {
            return false;
        }
    }
    rs->count = n;
    return true;
}
