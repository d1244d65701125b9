#include "tsdb/columns.h"

#include <stdlib.h>

#include "base/hash.h"
#include "tsdb/columns_core.h"

const struct columns_zip columns_zip_journal = {.level = 1, .bytes_min = 4096, .is_quick = true};
const struct columns_zip columns_zip_block = {.level = 1, .bytes_min = 64};
const struct columns_zip columns_zip_settled = {.level = 6, .bytes_min = 64};

/* count and cap lead both tables; they are handled alike. */
struct table_head {
    uint32_t count, cap;
};
_Static_assert(offsetof(struct tsdb_spans, count) == 0 && offsetof(struct tsdb_logs, count) == 0,
               "tables begin with count");
_Static_assert(offsetof(struct tsdb_spans, cap) == 4 && offsetof(struct tsdb_logs, cap) == 4,
               "then cap");

size_t columns_item_size(enum tsdb_column_type type)
{
    static const uint8_t sizes[] = {[TSDB_U8] = 1,
                                    [TSDB_U32] = 4,
                                    [TSDB_I64] = 8,
                                    [TSDB_F64] = 8,
                                    [TSDB_ID16] = 16,
                                    [TSDB_ID8] = 8,
                                    [TSDB_STR] = sizeof(struct bytes)};
    return sizes[type];
}

enum trees_kind columns_tree_of(const struct tsdb_schema *schema, uint32_t number)
{
    if (schema == &tsdb_batch_span_schema) {
        if (number == TSDB_SPAN_events)
            return TREES_EVENTS;
        return number == TSDB_SPAN_attrs || number == TSDB_SPAN_resource_attrs ? TREES_ATTRS
                                                                               : TREES_NONE;
    }
    if (number == TSDB_LOG_body)
        return TREES_VALUE;
    return number == TSDB_LOG_attrs || number == TSDB_LOG_resource_attrs ? TREES_ATTRS : TREES_NONE;
}

static bool fill_default(const struct tsdb_column *c, uint8_t *p, uint32_t n)
{
    if (c->type == TSDB_I64 && c->def != 0)
        for (uint32_t i = 0; i < n; i++)
            memcpy(p + (size_t)i * 8, &c->def, 8);
    return true;
}

bool columns_fill(const struct tsdb_schema *schema, struct arena *a, void *table, uint64_t mask)
{
    uint32_t cap = ((struct table_head *)table)->cap;
    for (uint32_t i = 0; i < schema->column_count; i++) {
        const struct tsdb_column *c = &schema->columns[i];
        if (!(mask >> i & 1) || columns_get(table, c))
            continue;
        uint8_t *p = arena_alloc(a, columns_item_size(c->type) * (cap ? cap : 1));
        if (!p || !fill_default(c, p, cap))
            return false;
        columns_set(table, c, p);
    }
    return true;
}

bool columns_make(const struct tsdb_schema *schema, struct arena *a, void *table, uint32_t cap)
{
    ((struct table_head *)table)->cap = cap;
    return columns_fill(schema, a, table, COLUMNS_ALL);
}

/* The tables that rows come from, each once, and for each row which it is. */
struct origins {
    const void **tables;
    uint32_t *of, count;
};

static bool origins_find(struct origins *o, const void *const *sources, uint32_t n, struct arena *a)
{
    uint32_t mask = 63, *slots; /* origin + 1 */
    while (mask < n / 4)
        mask = mask * 2 + 1;
    slots = ARENA_ARRAY(a, uint32_t, (size_t)mask * 4 + 4);
    *o = (struct origins){ARENA_ARRAY(a, const void *, n), ARENA_ARRAY(a, uint32_t, n), 0};
    if (!slots || !o->tables || !o->of)
        return false;
    mask = mask * 4 + 3;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = (uint32_t)((uintptr_t)sources[i] * UINT64_C(0x9e3779b97f4a7c15) >> 32) & mask;
        while (slots[at] && o->tables[slots[at] - 1] != sources[i])
            at = (at + 1) & mask;
        if (!slots[at]) {
            o->tables[o->count++] = sources[i];
            slots[at] = o->count;
        }
        o->of[i] = slots[at] - 1;
    }
    return true;
}

/* One loop for each size: the rows come from all over the memory, a call for each would double their price. */
#define GATHER(bytes_)                                                                     \
    for (uint32_t i = 0; i < n; i++) {                                                     \
        if (i + 8 < n && from[o->of[i + 8]])                                               \
            __builtin_prefetch(from[o->of[i + 8]] + (size_t)rows[i + 8] * (bytes_));       \
        if (from[o->of[i]])                                                                \
            memcpy(to + (size_t)i * (bytes_), from[o->of[i]] + (size_t)rows[i] * (bytes_), \
                   (bytes_));                                                              \
        else                                                                               \
            memcpy(to + (size_t)i * (bytes_), def, (bytes_));                              \
    }

static bool gather_one(const struct tsdb_column *c, const struct origins *o, const uint32_t *rows,
                       uint32_t n, const uint8_t **from, struct arena *a, void *table)
{
    uint8_t def[16] = {0}, *to;
    bool any = false;
    for (uint32_t i = 0; i < o->count; i++)
        any |= (from[i] = columns_get(o->tables[i], c)) != NULL;
    if (!any)
        return true;
    to = arena_alloc_raw(a, columns_item_size(c->type) * n, 16);
    if (!to)
        return false;
    if (c->type == TSDB_I64)
        memcpy(def, &c->def, 8);
    switch (columns_item_size(c->type)) {
    case 1: GATHER(1) break;
    case 4: GATHER(4) break;
    case 8: GATHER(8) break;
    default: GATHER(16)
    }
    columns_set(table, c, to);
    return true;
}
#undef GATHER

_Static_assert(sizeof(struct bytes) == 16, "items are of 1, 4, 8 or 16 bytes");

bool columns_gather(const struct tsdb_schema *schema, const void *const *sources,
                    const uint32_t *rows, uint32_t n, uint64_t mask, struct arena *a, void *table)
{
    struct origins o;
    const uint8_t **from = ARENA_ARRAY(a, const uint8_t *, n);
    if (!from || !origins_find(&o, sources, n, a))
        return false;
    for (uint32_t i = 0; i < schema->column_count; i++)
        if ((mask >> i & 1) && !gather_one(&schema->columns[i], &o, rows, n, from, a, table))
            return false;
    ((struct table_head *)table)->count = ((struct table_head *)table)->cap = n;
    return true;
}

uint64_t columns_peers(const struct tsdb_schema *schema)
{
    uint64_t mask = 0;
    for (uint32_t i = 0; i < schema->column_count; i++)
        if ((schema->columns[i].type == TSDB_STR && columns_tree_of(schema, i) == TREES_NONE) ||
            (schema->columns[i].type == TSDB_I64 && schema->columns[i].def != 0))
            mask |= 1ull << i;
    return mask;
}

void columns_copy_row(const struct tsdb_schema *schema, const void *src, uint32_t from, void *dst,
                      uint32_t to)
{
    for (uint32_t i = 0; i < schema->column_count; i++) {
        const struct tsdb_column *c = &schema->columns[i];
        const uint8_t *p = columns_get(src, c);
        uint8_t *q = columns_get(dst, c);
        size_t size = columns_item_size(c->type);
        if (p && q)
            memcpy(q + to * size, p + from * size, size);
    }
}

/* --- order ---------------------------------------------------------------------------------------- */

/* Which trace each row belongs to, counted in order of appearance; the number of traces, 0 = no memory. */
static uint32_t number_traces(const struct tsdb_id16 *id, const uint32_t *rows, uint32_t n,
                              uint32_t *trace)
{
    uint32_t mask = 15, count = 0;
    while (mask < n + n / 2)
        mask = mask * 2 + 1;
    uint32_t *slots = calloc((size_t)mask + 1, sizeof(*slots)); /* place in rows + 1 */
    if (!slots)
        return 0;
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *x = id[rows[i]].b;
        uint32_t at = (uint32_t)hash64(bytes_of(x, 16), 0) & mask;
        while (slots[at] && memcmp(id[rows[slots[at] - 1]].b, x, 16) != 0)
            at = (at + 1) & mask;
        if (!slots[at]) {
            slots[at] = i + 1;
            trace[i] = count++;
        } else {
            trace[i] = trace[slots[at] - 1];
        }
    }
    free(slots);
    return count;
}

bool columns_order_spans(const struct tsdb_id16 *trace_id, const int64_t *start_ns, uint32_t *rows,
                         uint32_t n)
{
    uint32_t *trace = malloc((n + 1) * sizeof(*trace)), *at = NULL, *to = NULL;
    uint32_t traces = trace ? number_traces(trace_id, rows, n, trace) : 0;
    if (traces) {
        at = calloc((size_t)traces + 1, sizeof(*at));
        to = malloc((n + 1) * sizeof(*to));
    }
    bool ok = at && to;
    for (uint32_t i = 0; ok && i < n; i++)
        at[trace[i] + 1]++;
    for (uint32_t t = 0; ok && t < traces; t++)
        at[t + 1] += at[t];
    for (uint32_t i = 0; ok && i < n; i++)
        to[at[trace[i]]++] = i; /* afterwards at[t] is where trace t ends */
    for (uint32_t t = 0, from = 0; ok && t < traces; from = at[t++])
        for (uint32_t i = from + 1; i < at[t]; i++) { /* few rows, nearly in order */
            uint32_t x = to[i], k = i;
            if (at[t] - from > 512)
                break; /* a giant trace stays in the order of its ends */
            for (; k > from && start_ns[rows[to[k - 1]]] > start_ns[rows[x]]; k--)
                to[k] = to[k - 1];
            to[k] = x;
        }
    for (uint32_t i = 0; ok && i < n; i++)
        to[i] = rows[to[i]];
    if (ok)
        memcpy(rows, to, n * sizeof(*rows));
    free(trace), free(at), free(to);
    return ok || n == 0;
}
