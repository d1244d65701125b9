#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"
#include "tsdb/columns_core.h"

#define SCRATCH_ROW 96u

struct writer {
    const struct tsdb_schema *schema;
    const void *table;
    const uint32_t *rows;
    uint32_t n;
    uint64_t mask, needs;
    struct vector_coder c;
    struct arena *keep; /* what several columns share; c.a is cleared between them */
    struct buf payload;
    struct buf *out;
    struct trees_column peers[64];
    uint32_t peer_count;
    bool has_peers;
    uint32_t *parents; /* the row of each row's parent, when it is here */
};

static uint32_t row_at(const uint32_t *rows, uint32_t i)
{
    return rows ? rows[i] : i;
}

/* --- what is there --------------------------------------------------------------------------------- */

static bool same_value(const struct tsdb_column *c, const uint8_t *p, uint32_t x, uint32_t y)
{
    size_t size = columns_item_size(c->type);
    if (c->type == TSDB_STR)
        return bytes_equal(((const struct bytes *)(const void *)p)[x],
                           ((const struct bytes *)(const void *)p)[y]);
    return memcmp(p + x * size, p + y * size, size) == 0;
}

static bool is_default(const struct tsdb_column *c, const uint8_t *p, uint32_t row)
{
    static const uint8_t zero[16];
    if (c->type == TSDB_STR)
        return ((const struct bytes *)(const void *)p)[row].size == 0;
    if (columns_is_integer(c))
        return columns_integer_at(c, p, row) == c->def;
    size_t size = columns_item_size(c->type);
    return memcmp(p + row * size, zero, size) == 0;
}

/* The column has something to say: it is there and not its default everywhere. */
static const uint8_t *column_of(const struct writer *w, uint32_t number)
{
    const struct tsdb_column *c = &w->schema->columns[number];
    const uint8_t *p = columns_get(w->table, c);
    if (!p || w->n == 0 || !is_default(c, p, row_at(w->rows, 0)))
        return w->n ? p : NULL;
    for (uint32_t i = 1; i < w->n; i++)
        if (!same_value(c, p, row_at(w->rows, 0), row_at(w->rows, i)))
            return p;
    return NULL;
}

static const struct bytes *strings_of(const struct writer *w, const uint8_t *p, struct arena *a)
{
    const struct bytes *from = (const struct bytes *)(const void *)p;
    if (!w->rows)
        return from;
    struct bytes *v = arena_alloc_raw(a, w->n * sizeof(*v), 16);
    for (uint32_t i = 0; v && i < w->n; i++)
        v[i] = from[w->rows[i]];
    return v;
}

static const int64_t *integers_of(const struct writer *w, const struct tsdb_column *c,
                                  const uint8_t *p, struct arena *a)
{
    if (!w->rows && c->type == TSDB_I64)
        return (const int64_t *)(const void *)p;
    int64_t *v = arena_alloc_raw(a, w->n * sizeof(*v), 16);
    for (uint32_t i = 0; v && i < w->n; i++)
        v[i] = columns_integer_at(c, p, row_at(w->rows, i));
    return v;
}

/* --- columns --------------------------------------------------------------------------------------- */

/* Ends what is in payload. */
static void put_payload(struct writer *w, uint32_t number, enum columns_encoding e)
{
    buf_u8(w->out, (uint8_t)number);
    buf_u8(w->out, (uint8_t)e);
    buf_lenbytes(w->out, buf_bytes(&w->payload));
    w->out->failed |= w->payload.failed;
    buf_clear(&w->payload);
    arena_reset(w->c.a);
}

static void put_strings(struct writer *w, uint32_t number, const uint8_t *p)
{
    const struct bytes *v = strings_of(w, p, w->c.a);
    if (!v) {
        w->out->failed = true;
        return;
    }
    w->c.sources = w->keep;
    vector_put_strings(&w->c, v, w->n, NULL, &w->payload);
    w->c.sources = NULL;
    if (w->c.made.ids)
        vector_offer(&w->c, number, w->c.made);
    put_payload(w, number, COLUMNS_VECTOR);
}

static void put_ids(struct writer *w, uint32_t number, const uint8_t *p, size_t size)
{
    struct bytes *v = arena_alloc_raw(w->c.a, w->n * sizeof(*v), 16);
    for (uint32_t i = 0; v && i < w->n; i++)
        v[i] = bytes_of(p + row_at(w->rows, i) * size, size);
    if (v)
        vector_put_strings(&w->c, v, w->n, NULL, &w->payload);
    w->payload.failed |= !v;
    put_payload(w, number, COLUMNS_VECTOR);
}

/* Finds the row of each row's parent. */
static bool find_parents(struct writer *w, const struct tsdb_id8 *id, const struct tsdb_id8 *parent)
{
    uint32_t mask = 15, at;
    while (mask < w->n + w->n / 2)
        mask = mask * 2 + 1;
    uint32_t *slots = ARENA_ARRAY(w->c.a, uint32_t, (size_t)mask + 1);
    w->parents = arena_alloc_raw(w->keep, (w->n + 1) * sizeof(*w->parents), 16);
    if (!slots || !w->parents)
        return false;
#define SLOT_OF(x) ((uint32_t)(bytes_u64le(x) * UINT64_C(0x9e3779b97f4a7c15) >> 32) & mask)
    for (uint32_t i = 0; i < w->n; i++) {
        const uint8_t *x = id[row_at(w->rows, i)].b;
        for (at = SLOT_OF(x); slots[at]; at = (at + 1) & mask)
            if (memcmp(id[row_at(w->rows, slots[at] - 1)].b, x, 8) == 0)
                break;
        if (!slots[at])
            slots[at] = i + 1;
    }
    for (uint32_t i = 0; i < w->n; i++) {
        const uint8_t *x = parent[row_at(w->rows, i)].b;
        for (at = SLOT_OF(x); slots[at]; at = (at + 1) & mask)
            if (memcmp(id[row_at(w->rows, slots[at] - 1)].b, x, 8) == 0)
                break;
        w->parents[i] = slots[at] - 1; /* no slot: COLUMNS_NO_ROW */
    }
#undef SLOT_OF
    return true;
}

static void put_parents(struct writer *w, const struct tsdb_id8 *id, const struct tsdb_id8 *parent)
{
    static const uint8_t none[8];
    struct buf raw = {0};
    int64_t *v = arena_alloc_raw(w->c.a, w->n * sizeof(*v), 16);
    if (!v || !find_parents(w, id, parent)) {
        w->out->failed = true;
        return;
    }
    for (uint32_t i = 0; i < w->n; i++) {
        const uint8_t *x = parent[row_at(w->rows, i)].b;
        int64_t distance = (int64_t)i - (int64_t)w->parents[i];
        if (memcmp(x, none, 8) == 0) {
            v[i] = COLUMNS_PARENT_NONE;
            w->parents[i] = COLUMNS_NO_ROW;
        } else if (w->parents[i] == COLUMNS_NO_ROW) {
            v[i] = COLUMNS_PARENT_RAW;
            buf_append(&raw, x, 8);
        } else {
            v[i] = COLUMNS_PARENT_ROW + (distance < 0 ? -2 * distance - 1 : 2 * distance);
        }
    }
    vector_put_ints(&w->c, v, w->n, NULL, &w->payload);
    vector_put_blob(&w->c, buf_bytes(&raw), &w->payload);
    w->payload.failed |= raw.failed;
    buf_done(&raw);
    put_payload(w, TSDB_SPAN_parent_id, COLUMNS_PARENTS);
}

static uint64_t bits_of(int64_t v)
{
    uint64_t z = ((uint64_t)v << 1) ^ (uint64_t)(v >> 63);
    return z ? 64 - (uint64_t)__builtin_clzll(z) : 0;
}

static int64_t minus(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a - (uint64_t)b);
}

/* Start and end: for each name of span that of the ways to tell them that takes the fewest bits. */
static void put_times(struct writer *w, const int64_t *start, const int64_t *end)
{
    static const struct vector_source one = {NULL, 1};
    const struct vector_source *name = w->c.try_count ? &w->c.tries[0].source : &one;
    uint64_t(*bits)[COLUMNS_MODES] = arena_alloc(w->c.a, name->card * sizeof(*bits));
    int64_t *a = arena_alloc_raw(w->c.a, w->n * sizeof(*a), 16);
    int64_t *b = arena_alloc_raw(w->c.a, w->n * sizeof(*b), 16);
    uint8_t *mode = arena_alloc(w->c.a, name->card);
    struct columns_times t = {(int64_t *)(uintptr_t)start, (int64_t *)(uintptr_t)end,
                              arena_alloc_raw(w->c.a, w->n * sizeof(int64_t), 16)};
    if (!bits || !a || !b || !mode || !t.sibling) {
        w->out->failed = true;
        return;
    }
    for (uint32_t i = 0; i < w->n; i++) {
        uint32_t id = name->ids ? name->ids[i] : 0, p = w->parents[i];
        for (uint8_t k = 0; k < 2; k++) {
            bits[id][k] += bits_of(minus(start[i], columns_start_base(&t, i, p, k)));
            bits[id][2 + k] +=
                bits_of(minus(end[i], columns_end_base(&t, i, p, k ? COLUMNS_FROM_END : 0)));
        }
        columns_times_seen(&t, i, p);
    }
    buf_varint(&w->payload, w->c.try_count ? w->c.tries[0].number + 1 : 0);
    buf_varint(&w->payload, name->card);
    for (uint32_t id = 0; id < name->card; id++) {
        mode[id] = (uint8_t)((bits[id][1] < bits[id][0] ? COLUMNS_FROM_SIBLING : 0) |
                             (bits[id][3] < bits[id][2] ? COLUMNS_FROM_END : 0));
        buf_u8(&w->payload, mode[id]);
    }
    for (uint32_t i = 0; i < w->n; i++) {
        uint32_t id = name->ids ? name->ids[i] : 0, p = w->parents[i];
        a[i] = minus(start[i], columns_start_base(&t, i, p, mode[id]));
        b[i] = minus(end[i], columns_end_base(&t, i, p, mode[id]));
        columns_times_seen(&t, i, p);
    }
    vector_put_ints(&w->c, a, w->n, NULL, &w->payload);
    vector_put_ints(&w->c, b, w->n, NULL, &w->payload);
    put_payload(w, TSDB_SPAN_start_ns, COLUMNS_TIMES);
    put_payload(w, TSDB_SPAN_end_ns, COLUMNS_WITH_START);
}

static void put_number(struct writer *w, uint32_t number, const uint8_t *p)
{
    const struct tsdb_column *c = &w->schema->columns[number];
    if (c->type == TSDB_F64) {
        double *v = arena_alloc_raw(w->c.a, w->n * sizeof(*v), 16);
        for (uint32_t i = 0; v && i < w->n; i++)
            v[i] = ((const double *)(const void *)p)[row_at(w->rows, i)];
        w->out->failed |= !v;
        if (v)
            vector_put_doubles(&w->c, v, w->n, NULL, &w->payload);
    } else {
        const int64_t *v = integers_of(w, c, p, w->c.a);
        w->out->failed |= !v;
        if (v)
            vector_put_ints(&w->c, v, w->n, NULL, &w->payload);
    }
    put_payload(w, number, COLUMNS_VECTOR);
}

/* --- trees ----------------------------------------------------------------------------------------- */

static void find_peers(struct writer *w)
{
    uint64_t peers = columns_peers(w->schema);
    for (uint32_t i = 0; i < w->schema->column_count; i++) {
        const struct tsdb_column *c = &w->schema->columns[i];
        struct trees_column *x = &w->peers[w->peer_count];
        const uint8_t *p = NULL;
        if (peers >> i & 1)
            p = column_of(w, i);
        if (!p)
            continue;
        *x = (struct trees_column){.number = i};
        if (c->type == TSDB_STR)
            x->strings = strings_of(w, p, w->keep);
        else
            x->ints = integers_of(w, c, p, w->keep);
        w->peer_count += x->strings || x->ints;
    }
    w->has_peers = true;
}

/* Resources repeat: whole rows as a dictionary are shorter then than their fields. */
static bool repeats(struct writer *w, const struct bytes *v, struct vector_source *out)
{
    uint32_t filled = 0;
    for (uint32_t i = 0; i < w->n; i++)
        filled += v[i].size != 0;
    return vector_source_of_strings(w->c.a, v, w->n, NULL, w->n, out) &&
           (uint64_t)out->card * 8 <= filled;
}

static void put_tree(struct writer *w, uint32_t number, const uint8_t *p)
{
    const struct bytes *v = strings_of(w, p, w->keep);
    uint64_t used = 0;
    if (!v) {
        w->out->failed = true;
        return;
    }
    struct vector_source s;
    if (repeats(w, v, &s)) {
        vector_put_repeated(&w->c, v, w->n, &s, &w->payload);
        put_payload(w, number, COLUMNS_VECTOR);
        return;
    }
    arena_reset(w->c.a);
    if (!w->has_peers)
        find_peers(w);
    trees_put(&w->c, columns_tree_of(w->schema, number), v, w->n, w->peers, w->peer_count, &used,
              &w->payload);
    w->needs |= used & ~w->mask;
    put_payload(w, number, COLUMNS_TREE);
}

/* --- all of them ------------------------------------------------------------------------------------ */

static bool in_mask(const struct writer *w, uint32_t number)
{
    return w->mask >> number & 1;
}

static void put_string_columns(struct writer *w)
{
    /* the name first: much is a function of it */
    uint32_t first = w->schema == &tsdb_batch_span_schema ? (uint32_t)TSDB_SPAN_name
                                                          : (uint32_t)TSDB_LOG_event_name;
    for (uint32_t k = 0; k <= w->schema->column_count; k++) {
        uint32_t i = k ? k - 1 : first;
        const uint8_t *p;
        if ((k && i == first) || !in_mask(w, i) || w->schema->columns[i].type != TSDB_STR ||
            columns_tree_of(w->schema, i) != TREES_NONE || !(p = column_of(w, i)))
            continue;
        put_strings(w, i, p);
    }
}

/* Gives the bits of the columns that have been written. */
static uint64_t put_span_columns(struct writer *w)
{
    const struct tsdb_spans *s = w->table;
    uint64_t done = 0;
    if (in_mask(w, TSDB_SPAN_span_id) && in_mask(w, TSDB_SPAN_parent_id) &&
        column_of(w, TSDB_SPAN_span_id) && column_of(w, TSDB_SPAN_parent_id)) {
        put_parents(w, s->span_id, s->parent_id);
        done |= 1ull << TSDB_SPAN_parent_id;
    }
    if (!done || w->c.zip->is_quick || !w->parents || !in_mask(w, TSDB_SPAN_start_ns) ||
        !in_mask(w, TSDB_SPAN_end_ns))
        return done;
    const struct tsdb_column *c = w->schema->columns;
    const uint8_t *start = column_of(w, TSDB_SPAN_start_ns), *end = column_of(w, TSDB_SPAN_end_ns);
    const int64_t *a = start ? integers_of(w, &c[TSDB_SPAN_start_ns], start, w->keep) : NULL;
    const int64_t *b = end ? integers_of(w, &c[TSDB_SPAN_end_ns], end, w->keep) : NULL;
    if (!a || !b)
        return done;
    put_times(w, a, b);
    return done | 1ull << TSDB_SPAN_start_ns | 1ull << TSDB_SPAN_end_ns;
}

static void put_all(struct writer *w)
{
    uint64_t done = 0;
    put_string_columns(w);
    if (w->schema == &tsdb_batch_span_schema)
        done = put_span_columns(w);
    for (uint32_t i = 0; i < w->schema->column_count && buf_ok(w->out); i++) {
        const struct tsdb_column *c = &w->schema->columns[i];
        const uint8_t *p;
        if (c->type == TSDB_STR || (done >> i & 1) || !in_mask(w, i) || !(p = column_of(w, i)))
            continue;
        if (c->type == TSDB_ID16 || c->type == TSDB_ID8)
            put_ids(w, i, p, columns_item_size(c->type));
        else
            put_number(w, i, p);
    }
    for (uint32_t i = 0; i < w->schema->column_count && buf_ok(w->out); i++) {
        const uint8_t *p;
        if (w->schema->columns[i].type == TSDB_STR && in_mask(w, i) &&
            columns_tree_of(w->schema, i) != TREES_NONE && (p = column_of(w, i)))
            put_tree(w, i, p);
    }
}

void columns_encode(const struct tsdb_schema *schema, const void *table, const uint32_t *rows,
                    uint32_t n, uint64_t mask, const struct columns_zip *zip, struct buf *out)
{
    struct writer w = {.schema = schema,
                       .table = table,
                       .rows = rows,
                       .n = n,
                       .mask = mask,
                       .c = {.a = arena_new(0), .zip = zip, .row_count = n},
                       .keep = arena_new(0),
                       .out = out};
    if (w.c.a) /* its first piece is what stays when it is cleared: room for the vectors of a column */
        (void)arena_alloc_raw(w.c.a, (size_t)n * SCRATCH_ROW, 16);
    buf_varint(out, n);
    size_t at = out->size;
    buf_u64(out, 0); /* what is needed is known at the end */
    if (!w.c.a || !w.keep)
        out->failed = true;
    else if (n > 0)
        put_all(&w);
    buf_u8(out, COLUMNS_END);
    for (unsigned k = 0; buf_ok(out) && k < 8; k++)
        out->data[at + k] = (uint8_t)(w.needs >> (8 * k));
    buf_done(&w.payload);
    vector_coder_done(&w.c);
    arena_free(w.c.a);
    arena_free(w.keep);
}
