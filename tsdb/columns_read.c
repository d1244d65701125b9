#include "base/check.h"
#include "tsdb/columns_core.h"

enum state { UNREAD, READING, READ };

struct columns_body {
    const struct tsdb_schema *schema;
    uint32_t n;
    struct vector_coder c;
    struct {
        struct bytes payload;
        uint8_t encoding, state;
        bool is_here;
        void *p; /* as in the table */
        const int64_t *dictionary; /* places of strings in one; NULL: they are none */
        struct vector_source source;
        bool has_source;
        struct trees_column peer;
        bool has_peer;
    } col[64];
    uint32_t *parents; /* rows of the parents; NULL: not read yet */
    enum err error; /* of a column that another one asked for */
};

static enum err read_column(struct columns_body *d, uint32_t number);

static void *room(struct columns_body *d, size_t size)
{
    return arena_alloc_raw(d->c.a, size ? size : 1, 16);
}

/* The column's values, read when they are not yet; NULL: there are none, or they cannot be read. */
static void *column_of(struct columns_body *d, uint32_t number)
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

static int64_t *widened(struct columns_body *d, const struct tsdb_column *c, const uint8_t *p)
{
    int64_t *v = room(d, d->n * sizeof(*v));
    for (uint32_t i = 0; v && i < d->n; i++)
        v[i] = columns_integer_at(c, p, i);
    return v;
}

/* Only what is written as a dictionary is a source. */
static const struct vector_source *source_of(void *ctx, uint32_t number)
{
    struct columns_body *d = ctx;
    if (!column_of(d, number) || !d->col[number].dictionary)
        return NULL;
    if (!d->col[number].has_source)
        d->col[number].has_source = vector_source_of_dictionary(
            d->c.a, d->col[number].dictionary, d->n, NULL, d->n, &d->col[number].source);
    return d->col[number].has_source ? &d->col[number].source : NULL;
}

static const struct trees_column *peer_of(void *ctx, uint32_t number)
{
    struct columns_body *d = ctx;
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

static enum err read_numbers(struct columns_body *d, const struct tsdb_column *c, struct reader *r,
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

/* The rows of the parents and, where out is asked for, their ids. */
static enum err read_parents(struct columns_body *d, struct reader *r, struct tsdb_id8 *out)
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
        if (v[i] >= COLUMNS_PARENT_ROW) {
            uint64_t z = (uint64_t)v[i] - COLUMNS_PARENT_ROW;
            uint64_t row = i - ((z >> 1) ^ (0 - (z & 1)));
            if (row >= d->n)
                return ERR_CORRUPT;
            parents[i] = (uint32_t)row;
            if (out)
                out[i] = id[row];
            continue;
        }
        parents[i] = COLUMNS_NO_ROW;
        if (v[i] == COLUMNS_PARENT_RAW) {
            if (raw.size - at < 8)
                return ERR_CORRUPT;
            if (out)
                memcpy(out[i].b, raw.data + at, 8);
            at += 8;
        } else if (v[i] != COLUMNS_PARENT_NONE) {
            return ERR_CORRUPT;
        } else if (out) {
            memset(out[i].b, 0, 8);
        }
    }
    if (e == ERR_OK && (at != raw.size || reader_left(r)))
        return ERR_CORRUPT;
    d->parents = parents;
    return e;
}

static enum err read_times(struct columns_body *d, struct reader *r)
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

static enum err read_vector(struct columns_body *d, uint32_t number, struct reader *r, void **out)
{
    const struct tsdb_column *c = &d->schema->columns[number];
    struct bytes *strings;
    const uint8_t *ids = NULL;
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
    case TSDB_ID8:
        e = vector_get_ids(&d->c, r, d->n, columns_item_size(c->type), &ids);
        *out = (void *)(uintptr_t)
            ids; /* tables have no column of const: nobody writes into this one */
        return e;
    case TSDB_STR: break;
    }
    e = vector_get_strings(&d->c, r, d->n, NULL, &strings);
    d->col[number].dictionary = d->c.dictionary;
    *out = strings;
    return e;
}

static enum err read_payload(struct columns_body *d, uint32_t number, void **out)
{
    struct reader r = reader_of(d->col[number].payload);
    bool is_span = d->schema == &tsdb_batch_span_schema;
    enum trees_kind kind = columns_tree_of(d->schema, number);
    enum err e = ERR_CORRUPT;
    struct bytes *rows;
    switch (d->col[number].encoding) {
    case COLUMNS_VECTOR: e = read_vector(d, number, &r, out); break;
    case COLUMNS_TREE:
        if (kind != TREES_NONE) {
            e = trees_get(&d->c, kind, &r, d->n, peer_of, d, &rows);
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

static enum err read_column(struct columns_body *d, uint32_t number)
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
static enum err read_directory(struct columns_body *d, struct reader *r)
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

enum err columns_open(struct reader *r, const struct tsdb_schema *schema, struct arena *a,
                      struct columns_body **out)
{
    uint64_t n = reader_varint(r);
    (void)reader_u64(r); /* what is needed shows itself */
    if (r->failed || n > COLUMNS_ROWS_MAX)
        return ERR_CORRUPT;
    struct columns_body *d = ARENA_ARRAY(a, struct columns_body, 1);
    if (!d)
        return ERR_LIMIT;
    d->schema = schema;
    d->n = (uint32_t)n;
    d->c = (struct vector_coder){.a = a, .row_count = (uint32_t)n};
    *out = d;
    return read_directory(d, r);
}

enum err columns_load(struct columns_body *d, uint64_t mask, const uint8_t *wanted, void *table,
                      bool merge)
{
    struct tsdb_spans *head = table; /* count and cap lead both tables */
    const struct tsdb_schema *schema = d->schema;
    enum err e = ERR_OK;
    if (merge && d->n != head->count)
        return ERR_CORRUPT;
    d->c.wanted = wanted;
    d->error = ERR_OK;
    for (uint32_t i = 0; merge && i < schema->column_count; i++)
        if (!d->col[i].is_here && (d->col[i].p = columns_get(table, &schema->columns[i])))
            d->col[i].state = READ;
    for (uint32_t i = 0; i < schema->column_count && e == ERR_OK; i++) {
        if (!d->col[i].is_here || !(mask >> i & 1))
            continue;
        if (!column_of(d, i))
            e = d->error != ERR_OK ? d->error : ERR_CORRUPT;
        else
            columns_set(table, &schema->columns[i], d->col[i].p);
    }
    if (e == ERR_OK)
        head->count = head->cap = d->n;
    return e;
}

enum err columns_decode(struct reader *r, const struct tsdb_schema *schema, uint64_t mask,
                        struct arena *a, void *table, bool merge)
{
    struct columns_body *d;
    enum err e = columns_open(r, schema, a, &d);
    return e == ERR_OK ? columns_load(d, mask, NULL, table, merge) : e;
}

uint64_t columns_needs(struct bytes body)
{
    struct reader r = reader_of(body);
    (void)reader_varint(&r);
    uint64_t needs = reader_u64(&r);
    return r.failed ? 0 : needs;
}
