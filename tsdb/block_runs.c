#include "tsdb/block_runs.h"

#include <stdlib.h>

#include "base/check.h"

enum err block_runs_init(struct block_runs *r, struct block_writer *w, enum err (*close)(void *ctx),
                         void *ctx)
{
    *r = (struct block_runs){.w = w, .close = close, .ctx = ctx};
    r->arena = arena_new(0);
    r->runs = malloc(BLOCK_RUNS_SERIES * sizeof(*r->runs));
    return r->arena && r->runs ? ERR_OK : ERR_NOMEM;
}

void block_runs_done(struct block_runs *r)
{
    arena_free(r->arena);
    free(r->runs);
}

/* Which histogram a bucket belongs to: all labels but le, and the times of the run. 0: no bucket. */
static uint64_t key_of(struct tsdb_labels labels, const int64_t *t, uint32_t n, double *out_bound)
{
    struct bytes le = tsdb_labels_get(labels, BYTES_LIT("le"));
    char text[64], *end;
    if (le.size == 0 || le.size >= sizeof(text))
        return 0;
    memcpy(text, le.data, le.size);
    text[le.size] = 0;
    *out_bound = strtod(text, &end);
    if (*end)
        return 0;
    uint64_t key = hash64(bytes_of(t, n * sizeof(*t)), n);
    struct tsdb_label l;
    for (struct tsdb_labels_iter it = tsdb_labels_begin(labels); tsdb_labels_next(&it, &l);)
        if (!bytes_equal(l.name, BYTES_LIT("le")))
            key = hash64(l.value, hash64(l.name, key));
    return key | 1;
}

enum err block_runs_add(struct block_runs *r, struct tsdb_labels labels, uint32_t id,
                        const struct head_point *p, uint32_t n)
{
    CHECK(n > 0 && n <= BLOCK_CHUNK_ROWS);
    if (r->count == BLOCK_RUNS_SERIES || r->rows + n > BLOCK_RUNS_ROWS) {
        enum err e = block_runs_flush(r);
        if (e != ERR_OK)
            return e;
    }
    int64_t *t = arena_alloc_raw(r->arena, n * sizeof(*t), 16), *start = NULL;
    double *value = arena_alloc_raw(r->arena, n * sizeof(*value), 16);
    bool has_start = false;
    if (!t || !value)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < n; i++) {
        t[i] = p[i].t_ms;
        value[i] = p[i].value;
        has_start |= p[i].start_ms != 0;
    }
    if (has_start) {
        start = arena_alloc_raw(r->arena, n * sizeof(*start), 16);
        if (!start)
            return ERR_NOMEM;
        for (uint32_t i = 0; i < n; i++)
            start[i] = p[i].start_ms;
    }
    struct block_run *run = &r->runs[r->count++];
    *run = (struct block_run){.id = id, .n = n, .t_ms = t, .start_ms = start, .value = value};
    run->key = key_of(labels, t, n, &run->bound);
    r->rows += n;
    return ERR_OK;
}

static int by_key(const void *x, const void *y)
{
    const struct block_run *a = *(struct block_run *const *)x, *b = *(struct block_run *const *)y;
    if (a->key != b->key)
        return a->key < b->key ? -1 : 1;
    if (a->bound < b->bound || a->bound > b->bound)
        return a->bound < b->bound ? -1 : 1;
    return (a->id > b->id) - (a->id < b->id);
}

/* May b stand beside a in a group? */
static bool is_alike(const struct block_run *a, const struct block_run *b)
{
    const double *two[2] = {a->value, b->value};
    return a->n == b->n && a->id != b->id && !a->start_ms == !b->start_ms &&
           memcmp(a->t_ms, b->t_ms, a->n * sizeof(*a->t_ms)) == 0 &&
           (!a->start_ms || memcmp(a->start_ms, b->start_ms, a->n * sizeof(*a->start_ms)) == 0) &&
           block_group_fits(two, 2, a->n);
}

static void put_group(struct block_runs *r, struct block_run *const *b, uint32_t members)
{
    uint32_t ids[BLOCK_GROUP_MAX];
    const double *values[BLOCK_GROUP_MAX];
    for (uint32_t i = 0; i < members; i++) {
        ids[i] = b[i]->id;
        values[i] = b[i]->value;
        b[i]->is_done = true;
    }
    block_writer_group(r->w, ids, values, members, b[0]->t_ms, b[0]->start_ms, b[0]->n);
}

static enum err close_full(struct block_runs *r)
{
    return block_writer_is_full(r->w) ? r->close(r->ctx) : ERR_OK;
}

/* The group that begins with the i-th bucket of order: its size, 0 when it has no like. */
static uint32_t group_size(struct block_run *const *order, uint32_t i, uint32_t n)
{
    uint32_t m = 1;
    while (i + m < n && m < BLOCK_GROUP_MAX && order[i + m]->key == order[i]->key &&
           is_alike(order[i], order[i + m]))
        m++;
    return m > 1 ? m : 0;
}

enum err block_runs_flush(struct block_runs *r)
{
    struct block_run *order[BLOCK_RUNS_SERIES];
    uint32_t place[BLOCK_RUNS_SERIES], sizes[BLOCK_RUNS_SERIES], n = 0;
    enum err e = ERR_OK;
    for (uint32_t i = 0; i < r->count; i++)
        if (r->runs[i].key)
            order[n++] = &r->runs[i];
    qsort(order, n, sizeof(*order), by_key);
    memset(sizes, 0, sizeof(sizes));
    for (uint32_t i = 0, m; i < n; i += m ? m : 1) {
        m = group_size(order, i, n);
        for (uint32_t k = 0; k < m; k++) {
            place[order[i + k] - r->runs] = i;
            sizes[order[i + k] - r->runs] = m;
        }
    }
    /* in the order of the ids, a group where its first member stands: so the ids of a block stay close together */
    for (uint32_t i = 0; i < r->count && e == ERR_OK; i++) {
        struct block_run *run = &r->runs[i];
        if (run->is_done)
            continue;
        if (sizes[i])
            put_group(r, order + place[i], sizes[i]);
        else
            block_writer_floats(r->w, run->id, run->t_ms, run->start_ms, run->value, run->n);
        e = close_full(r);
    }
    r->count = 0;
    r->rows = 0;
    arena_reset(r->arena);
    return e;
}
