#include "base/check.h"
#include "tsdb/columns_core.h"

enum state { UNREAD, READING, READ };

struct reading {
    const struct tsdb_schema *schema;
    uint32_t n;
    const uint8_t *wanted;
    struct vector_coder c;
    struct {
        struct bytes payload;
        uint8_t encoding, state;
        bool is_here;
        void *p; /* as in the table */
        struct vector_source source;
        bool has_source;
        struct trees_column peer;
        bool has_peer;
    } col[64];
    uint32_t *parents; /* rows of the parents; NULL: not read yet */
    enum err error; /* of a column that another one asked for */
};

static enum err read_column(struct reading *d, uint32_t number);

static void *room(struct reading *d, size_t size)
{
    return arena_alloc_raw(d->c.a, size ? size : 1, 16);
}

/* The column's values, read when they are not yet; NULL: there are none, or they cannot be read. */
static void *column_of(struct reading *d, uint32_t number)
{
    if (number >= d->schema->column_count)
        return NULL;
    if (d->col[number].state == UNREAD && d->col[number].is_here) {
        enum err e = read_column(d, number);
        if (e != ERR_OK && d->error == ERR_OK)
            d->error = e;
    }
    return d->col[number].state == READ ? d->col[number].p : NULL;
}

static int64_t *widened(struct reading *d, const struct tsdb_column *c, const uint8_t *p)
{
    int64_t *v = room(d, d->n * sizeof(*v));
    for (uint32_t i = 0; v && i < d->n; i++)
        v[i] = columns_integer_at(c, p, i);
    return v;
}

static const struct vector_source *source_of(void *ctx, uint32_t number)
{
    struct reading *d = ctx;
    const uint8_t *p = column_of(d, number);
    if (!p || d->schema->columns[number].type != TSDB_STR)
        return NULL;
    if (!d->col[number].has_source)
        d->col[number].has_source =
            vector_source_of_strings(d->c.a, (const struct bytes *)(const void *)p, d->n, NULL,
                                     d->n, &d->col[number].source);
    return d->col[number].has_source ? &d->col[number].source : NULL;
}

static const struct trees_column *peer_of(void *ctx, uint32_t number)
{
    struct reading *d = ctx;
    const uint8_t *p = column_of(d, number);
    if (!p)
        return NULL;
    const struct tsdb_column *c = &d->schema->columns[number];
    struct trees_column *x = &d->col[number].peer;
    if (!d->col[number].has_peer) {
        *x = (struct trees_column){.number = number};
        if (c->type == TSDB_STR)
            x->strings = (const struct bytes *)(const void *)p;
        else if (c->type == TSDB_I64)
            x->ints = (const int64_t *)(const void *)p;
        else if (columns_is_integer(c))
            x->ints = widened(d, c, p);
        d->col[number].has_peer = x->strings || x->ints;
    }
    return d->col[number].has_peer ? x : NULL;
}

/* --- columns --------------------------------------------------------------------------------------- */

static enum err read_numbers(struct reading *d, const struct tsdb_column *c, struct reader *r,
                             void **out)
{
    int64_t *v;
    enum err e = vector_get_ints(&d->c, r, d->n, NULL, &v);
    if (e != ERR_OK || c->type == TSDB_I64) {
        *out = v;
        return e;
    }
    uint8_t *p = room(d, d->n * columns_item_size(c->type));
    if (!p)
        return ERR_LIMIT;
    int64_t max = c->type == TSDB_U8 ? UINT8_MAX : UINT32_MAX;
    for (uint32_t i = 0; i < d->n; i++) {
        if (v[i] < 0 || v[i] > max)
            return ERR_CORRUPT;
        if (c->type == TSDB_U8)
            p[i] = (uint8_t)v[i];
        else
            ((uint32_t *)(void *)p)[i] = (uint32_t)v[i];
    }
    *out = p;
    return ERR_OK;
}

static enum err read_ids(struct reading *d, size_t size, struct reader *r, void **out)
{
    struct bytes *v;
    enum err e = vector_get_strings(&d->c, r, d->n, NULL, &v);
    if (e != ERR_OK)
        return e;
    uint8_t *p = room(d, d->n * size);
    if (!p)
        return ERR_LIMIT;
    for (uint32_t i = 0; i < d->n; i++) {
        if (v[i].size != size)
            return ERR_CORRUPT;
        memcpy(p + i * size, v[i].data, size);
    }
    *out = p;
    return ERR_OK;
}

/* The rows of the parents and, where out is asked for, their ids. */
static enum err read_parents(struct reading *d, struct reader *r, struct tsdb_id8 *out)
{
    int64_t *v;
    struct bytes raw;
    size_t at = 0;
    const struct tsdb_id8 *id = out ? column_of(d, TSDB_SPAN_span_id) : NULL;
    uint32_t *parents = room(d, d->n * sizeof(*parents));
    if (!parents)
        return ERR_LIMIT;
    if (out && !id)
        return ERR_CORRUPT;
    enum err e = vector_get_ints(&d->c, r, d->n, NULL, &v);
    if (e == ERR_OK)
        e = vector_get_blob(&d->c, r, &raw);
    for (uint32_t i = 0; i < d->n && e == ERR_OK; i++) {
        uint64_t z = (uint64_t)v[i] - COLUMNS_PARENT_ROW;
        parents[i] = COLUMNS_NO_ROW;
        if (v[i] == COLUMNS_PARENT_NONE) {
            if (out)
                memset(out[i].b, 0, 8);
        } else if (v[i] == COLUMNS_PARENT_RAW) {
            if (raw.size - at < 8)
                return ERR_CORRUPT;
            if (out)
                memcpy(out[i].b, raw.data + at, 8);
            at += 8;
        } else {
            int64_t distance = (int64_t)(z >> 1) ^ -(int64_t)(z & 1), row = (int64_t)i - distance;
            if (v[i] < 0 || distance > (int64_t)i || row >= (int64_t)d->n)
                return ERR_CORRUPT;
            parents[i] = (uint32_t)row;
            if (out)
                out[i] = id[row];
        }
    }
    if (e == ERR_OK && (at != raw.size || reader_left(r)))
        return ERR_CORRUPT;
    d->parents = parents;
    return e;
}

static enum err read_times(struct reading *d, struct reader *r)
{
    static const struct vector_source one = {NULL, 1};
    const struct vector_source *name = &one;
    uint64_t number = reader_varint(r), card = reader_varint(r);
    struct bytes modes = reader_bytes(r, (size_t)card);
    int64_t *a = NULL, *b = NULL;
    enum err e = ERR_OK;
    if (r->failed || number > 64)
        return ERR_CORRUPT;
    if (number > 0)
        name = source_of(d, (uint32_t)number - 1);
    if (!name || name->card != card)
        return ERR_CORRUPT;
    if (!d->parents) {
        if (!d->col[TSDB_SPAN_parent_id].is_here ||
            d->col[TSDB_SPAN_parent_id].encoding != COLUMNS_PARENTS)
            return ERR_CORRUPT;
        struct reader in = reader_of(d->col[TSDB_SPAN_parent_id].payload);
        e = read_parents(d, &in, NULL);
    }
    if (e == ERR_OK)
        e = vector_get_ints(&d->c, r, d->n, NULL, &a);
    if (e == ERR_OK)
        e = vector_get_ints(&d->c, r, d->n, NULL, &b);
    struct columns_times t = {a, b, room(d, d->n * sizeof(int64_t))};
    if (e != ERR_OK || !t.sibling)
        return e != ERR_OK ? e : ERR_LIMIT;
    for (uint32_t i = 0; i < d->n; i++) {
        uint32_t p = d->parents[i];
        uint8_t mode = modes.data[name->ids ? name->ids[i] : 0];
        a[i] = (int64_t)((uint64_t)a[i] + (uint64_t)columns_start_base(&t, i, p, mode));
        b[i] = (int64_t)((uint64_t)b[i] + (uint64_t)columns_end_base(&t, i, p, mode));
        columns_times_seen(&t, i, p);
    }
    d->col[TSDB_SPAN_start_ns].p = a;
    d->col[TSDB_SPAN_start_ns].state = READ;
    d->col[TSDB_SPAN_end_ns].p = b;
    d->col[TSDB_SPAN_end_ns].state = READ;
    return ERR_OK;
}

static enum err read_vector(struct reading *d, const struct tsdb_column *c, struct reader *r,
                            void **out)
{
    struct bytes *strings;
    double *doubles;
    enum err e;
    switch (c->type) {
    case TSDB_U8:
    case TSDB_U32:
    case TSDB_I64: return read_numbers(d, c, r, out);
    case TSDB_F64:
        e = vector_get_doubles(&d->c, r, d->n, NULL, &doubles);
        *out = doubles;
        return e;
    case TSDB_ID16:
    case TSDB_ID8: return read_ids(d, columns_item_size(c->type), r, out);
    case TSDB_STR: break;
    }
    e = vector_get_strings(&d->c, r, d->n, NULL, &strings);
    *out = strings;
    return e;
}

static enum err read_payload(struct reading *d, uint32_t number, void **out)
{
    const struct tsdb_column *c = &d->schema->columns[number];
    struct reader r = reader_of(d->col[number].payload);
    bool is_span = d->schema == &tsdb_batch_span_schema;
    enum trees_kind kind = columns_tree_of(d->schema, number);
    enum err e = ERR_CORRUPT;
    struct bytes *rows;
    switch (d->col[number].encoding) {
    case COLUMNS_VECTOR: e = read_vector(d, c, &r, out); break;
    case COLUMNS_TREE:
        if (kind != TREES_NONE) {
            e = trees_get(&d->c, kind, &r, d->n, d->wanted, peer_of, d, &rows);
            *out = rows;
        }
        break;
    case COLUMNS_PARENTS:
        if (is_span && number == TSDB_SPAN_parent_id) {
            *out = room(d, d->n * sizeof(struct tsdb_id8));
            e = *out ? read_parents(d, &r, *out) : ERR_LIMIT;
        }
        break;
    case COLUMNS_TIMES:
        if (is_span && number == TSDB_SPAN_start_ns) {
            e = read_times(d, &r);
            *out = d->col[number].p;
        }
        break;
    case COLUMNS_WITH_START:
        if (is_span && number == TSDB_SPAN_end_ns &&
            d->col[TSDB_SPAN_start_ns].encoding == COLUMNS_TIMES &&
            column_of(d, TSDB_SPAN_start_ns)) {
            *out = d->col[number].p;
            e = *out ? ERR_OK : ERR_CORRUPT;
        }
        break;
    }
    return e == ERR_OK && reader_left(&r) ? ERR_CORRUPT : e;
}

static enum err read_column(struct reading *d, uint32_t number)
{
    void *p = NULL;
    /* A tree may have asked for it: what it is a function of is a column nevertheless, not a field of the tree. */
    const struct vector_source *(*source)(void *, uint32_t) = d->c.source;
    void *source_ctx = d->c.source_ctx;
    d->col[number].state =
        READING; /* a column that asks for itself, by whatever way, finds nothing */
    d->c.source = source_of;
    d->c.source_ctx = d;
    enum err e = read_payload(d, number, &p);
    d->c.source = source;
    d->c.source_ctx = source_ctx;
    if (e == ERR_CORRUPT && d->error != ERR_OK)
        e = d->error;
    if (e != ERR_OK)
        return e;
    d->col[number].p = p;
    d->col[number].state = READ;
    return ERR_OK;
}

/* --- bodies ---------------------------------------------------------------------------------------- */

/* Where each column lies. */
static enum err read_directory(struct reading *d, struct reader *r)
{
    for (;;) {
        uint8_t number = reader_u8(r);
        if (r->failed)
            return ERR_CORRUPT;
        if (number == COLUMNS_END)
            return ERR_OK;
        uint8_t encoding = reader_u8(r);
        struct bytes payload = reader_lenbytes(r);
        if (r->failed || d->n == 0)
            return ERR_CORRUPT;
        if (number >= d->schema->column_count)
            continue; /* a column of a newer version */
        if (d->col[number].is_here)
            return ERR_CORRUPT;
        d->col[number].payload = payload;
        d->col[number].encoding = encoding;
        d->col[number].is_here = true;
    }
}

enum err columns_decode_rows(struct reader *r, const struct tsdb_schema *schema, uint64_t mask,
                             const uint8_t *wanted, struct arena *a, void *table, bool merge)
{
    struct tsdb_spans *head = table; /* count and cap lead both tables */
    uint64_t n = reader_varint(r);
    (void)reader_u64(r); /* what is needed shows itself */
    if (r->failed || n > COLUMNS_ROWS_MAX || (merge && n != head->count))
        return ERR_CORRUPT;
    struct reading d = {.schema = schema,
                        .n = (uint32_t)n,
                        .wanted = wanted,
                        .c = {.a = a, .row_count = (uint32_t)n}};
    enum err e = read_directory(&d, r);
    for (uint32_t i = 0; merge && i < schema->column_count; i++)
        if (!d.col[i].is_here && (d.col[i].p = columns_get(table, &schema->columns[i])))
            d.col[i].state = READ;
    for (uint32_t i = 0; i < schema->column_count && e == ERR_OK; i++) {
        if (!d.col[i].is_here || !(mask >> i & 1))
            continue;
        if (!column_of(&d, i))
            e = d.error != ERR_OK ? d.error : ERR_CORRUPT;
        else
            columns_set(table, &schema->columns[i], d.col[i].p);
    }
    vector_coder_done(&d.c);
    if (e == ERR_OK)
        head->count = head->cap = (uint32_t)n;
    return e;
}

enum err columns_decode(struct reader *r, const struct tsdb_schema *schema, uint64_t mask,
                        struct arena *a, void *table, bool merge)
{
    return columns_decode_rows(r, schema, mask, NULL, a, table, merge);
}

uint64_t columns_needs(struct bytes body)
{
    struct reader r = reader_of(body);
    (void)reader_varint(&r);
    uint64_t needs = reader_u64(&r);
    return r.failed ? 0 : needs;
}
