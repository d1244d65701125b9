#include "tsdb/columns.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/zip.h"

#define ENC_CONST 0u
#define ENC_PLAIN 1u
#define ENC_DICT 2u
#define ENC_ZSTD 0x80u
#define END_MARK 0xffu
#define PAYLOAD_MAX (256u << 20)
#define DICT_LOOK 256u /* rows after which a dictionary must have found repeats */
#define PREFETCH_ROWS 8u

/* A frame costs some 5 us to set up: in a journal only the texts are worth it. */
const struct columns_zip columns_zip_journal = {.level = -3, .bytes_min = 4096};
const struct columns_zip columns_zip_block = {.level = 1, .bytes_min = 192};

/* count and cap lead both tables; columns_decode and friends handle them alike. */
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

static uint8_t *column_get(const void *table, const struct tsdb_column *c)
{
    uint8_t *p;
    memcpy(&p, (const uint8_t *)table + c->offset, sizeof(p));
    return p;
}

static void column_set(void *table, const struct tsdb_column *c, void *p)
{
    memcpy((uint8_t *)table + c->offset, &p, sizeof(p));
}

static uint32_t row_at(const uint32_t *rows, uint32_t i)
{
    return rows ? rows[i] : i;
}

static int64_t integer_at(const struct tsdb_column *c, const uint8_t *p, uint32_t row)
{
    if (c->type == TSDB_U8)
        return p[row];
    if (c->type == TSDB_U32)
        return ((const uint32_t *)(const void *)p)[row];
    return ((const int64_t *)(const void *)p)[row];
}

static bool is_integer(const struct tsdb_column *c)
{
    return c->type == TSDB_U8 || c->type == TSDB_U32 || c->type == TSDB_I64;
}

/* --- encode -------------------------------------------------------------------------------------- */

static bool same_value(const struct tsdb_column *c, const uint8_t *p, uint32_t x, uint32_t y)
{
    size_t size = columns_item_size(c->type);
    if (c->type == TSDB_STR)
        return bytes_equal(((const struct bytes *)(const void *)p)[x],
                           ((const struct bytes *)(const void *)p)[y]);
    return memcmp(p + x * size, p + y * size, size) == 0;
}

static bool is_constant(const struct tsdb_column *c, const uint8_t *p, const uint32_t *rows,
                        uint32_t n)
{
    for (uint32_t i = 1; i < n; i++)
        if (!same_value(c, p, row_at(rows, 0), row_at(rows, i)))
            return false;
    return true;
}

static bool is_default(const struct tsdb_column *c, const uint8_t *p, uint32_t row)
{
    static const uint8_t zero[16];
    if (c->type == TSDB_STR)
        return ((const struct bytes *)(const void *)p)[row].size == 0;
    if (is_integer(c))
        return integer_at(c, p, row) == c->def;
    size_t size = columns_item_size(c->type);
    return memcmp(p + row * size, zero, size) == 0;
}

static void put_integers(const struct tsdb_column *c, const uint8_t *p, const uint32_t *rows,
                         uint32_t n, struct buf *out)
{
    uint64_t previous = 0;
    if (!buf_reserve(out, (size_t)n * BUF_VARINT_MAX))
        return;
    uint8_t *to = out->data + out->size;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t v = (uint64_t)integer_at(c, p, row_at(rows, i)), d = v - previous;
        to = buf_write_zigzag(to, (int64_t)d);
        previous = v;
    }
    out->size = (size_t)(to - out->data);
}

static void put_one(const struct tsdb_column *c, const uint8_t *p, uint32_t row, int64_t *previous,
                    struct buf *out)
{
    if (is_integer(c)) {
        int64_t v = integer_at(c, p, row);
        buf_zigzag(out, (int64_t)((uint64_t)v - (uint64_t)*previous));
        *previous = v;
    } else if (c->type == TSDB_STR) {
        buf_lenbytes(out, ((const struct bytes *)(const void *)p)[row]);
    } else {
        size_t size = columns_item_size(c->type);
        buf_append(out, p + row * size, size);
    }
}

/* A sealed block takes its rows from all over the head: their strings are on the way to the cache when their turn comes. */
static inline void prefetch_string(const struct bytes *s, const uint32_t *rows, uint32_t n,
                                   uint32_t i)
{
    if (i + PREFETCH_ROWS < n)
        __builtin_prefetch(s[row_at(rows, i + PREFETCH_ROWS)].data);
}

/* Distinct strings in order of appearance; gives up (false) when more than half of the rows are distinct, and early when three quarters of
 * the first ones are: texts are not all hashed to find that out. */
struct dictionary {
    uint32_t *slots, mask; /* index + 1 of a distinct value */
    uint32_t *first; /* row of each distinct value */
    uint32_t *index; /* of each row */
    uint32_t count;
};

static bool dictionary_build(struct dictionary *d, const struct bytes *s, const uint32_t *rows,
                             uint32_t n)
{
    uint32_t cap = 16;
    while (cap < n)
        cap *= 2;
    d->slots = calloc(cap, sizeof(*d->slots));
    d->first = malloc((n / 2 + 2) * sizeof(*d->first));
    d->index = malloc(n * sizeof(*d->index));
    d->mask = cap - 1;
    for (uint32_t i = 0; d->slots && d->first && d->index && i < n; i++) {
        uint32_t row = row_at(rows, i);
        prefetch_string(s, rows, n, i);
        if (i > 0 && s[row].data == s[row_at(rows, i - 1)].data &&
            s[row].size == s[row_at(rows, i - 1)].size) {
            d->index[i] = d->index[i - 1]; /* neighbours often share the very slice */
            continue;
        }
        if (i >= DICT_LOOK && i < 2 * DICT_LOOK && d->count > i / 4 * 3)
            return false;
        uint32_t at = (uint32_t)hash64(s[row], 0) & d->mask;
        while (d->slots[at] && !bytes_equal(s[d->first[d->slots[at] - 1]], s[row]))
            at = (at + 1) & d->mask;
        if (!d->slots[at]) {
            if (d->count > n / 2)
                return false;
            d->first[d->count++] = row;
            d->slots[at] = d->count;
        }
        d->index[i] = d->slots[at] - 1;
    }
    return d->slots && d->first && d->index && d->count <= n / 2;
}

static uint8_t put_strings(const uint8_t *p, const uint32_t *rows, uint32_t n, struct buf *out)
{
    const struct bytes *s = (const struct bytes *)(const void *)p;
    struct dictionary d = {0};
    uint8_t encoding = ENC_PLAIN;
    if (n > 3 && dictionary_build(&d, s, rows, n)) {
        encoding = ENC_DICT;
        buf_varint(out, d.count);
        for (uint32_t i = 0; i < d.count; i++)
            buf_lenbytes(out, s[d.first[i]]);
        if (buf_reserve(out, (size_t)n * BUF_VARINT_MAX)) {
            uint8_t *to = out->data + out->size;
            for (uint32_t i = 0; i < n; i++)
                to = buf_write_varint(to, d.index[i]);
            out->size = (size_t)(to - out->data);
        }
    } else {
        size_t size = 0;
        for (uint32_t i = 0; i < n; i++)
            size += s[row_at(rows, i)].size + BUF_VARINT_MAX;
        if (buf_reserve(out, size))
            for (uint32_t i = 0; i < n; i++) {
                prefetch_string(s, rows, n, i);
                buf_lenbytes(out, s[row_at(rows, i)]);
            }
    }
    free(d.slots);
    free(d.first);
    free(d.index);
    return encoding;
}

/* What one call shares among its columns: a column's bytes, plain and packed. */
struct scratch {
    const struct columns_zip *zip;
    struct buf payload, packed;
};

static uint8_t put_payload(const struct tsdb_column *c, const uint8_t *p, const uint32_t *rows,
                           uint32_t n, bool constant, struct buf *out)
{
    int64_t previous = 0;
    if (constant) {
        put_one(c, p, row_at(rows, 0), &previous, out);
        return ENC_CONST;
    }
    if (c->type == TSDB_STR)
        return put_strings(p, rows, n, out);
    if (is_integer(c)) {
        put_integers(c, p, rows, n, out);
        return ENC_PLAIN;
    }
    for (uint32_t i = 0; i < n; i++)
        put_one(c, p, row_at(rows, i), &previous, out);
    return ENC_PLAIN;
}

static void put_column(const struct tsdb_column *c, uint8_t number, const uint8_t *p,
                       const uint32_t *rows, uint32_t n, struct scratch *x, struct buf *out)
{
    struct buf *payload = &x->payload, *packed = &x->packed;
    bool constant = is_constant(c, p, rows, n);
    if (constant && is_default(c, p, row_at(rows, 0)))
        return;
    buf_clear(payload);
    buf_clear(packed);
    uint8_t encoding = put_payload(c, p, rows, n, constant, payload);
    buf_u8(out, number);
    if (c->type == TSDB_STR && payload->size >= x->zip->bytes_min &&
        zip_deflate(ZIP_ZSTD, x->zip->level, buf_bytes(payload), packed) == ERR_OK &&
        packed->size + packed->size / 16 < payload->size) {
        uint8_t raw[BUF_VARINT_MAX];
        size_t raw_size = (size_t)(buf_write_varint(raw, payload->size) - raw);
        buf_u8(out, encoding | ENC_ZSTD);
        buf_varint(out, raw_size + packed->size);
        buf_append(out, raw, raw_size);
        buf_bytes_append(out, buf_bytes(packed));
    } else {
        buf_u8(out, encoding);
        buf_lenbytes(out, buf_bytes(payload));
    }
    out->failed = out->failed || payload->failed;
}

void columns_encode(const struct tsdb_schema *schema, const void *table, const uint32_t *rows,
                    uint32_t n, uint64_t mask, const struct columns_zip *zip, struct buf *out)
{
    struct scratch x = {.zip = zip};
    buf_varint(out, n);
    for (uint32_t i = 0; i < schema->column_count && n > 0; i++) {
        const uint8_t *p = column_get(table, &schema->columns[i]);
        if (p && (mask >> i & 1))
            put_column(&schema->columns[i], (uint8_t)i, p, rows, n, &x, out);
    }
    buf_u8(out, END_MARK);
    buf_done(&x.payload);
    buf_done(&x.packed);
}

/* --- decode -------------------------------------------------------------------------------------- */

static bool fill_default(const struct tsdb_column *c, uint8_t *p, uint32_t n)
{
    if (c->type == TSDB_I64 && c->def != 0)
        for (uint32_t i = 0; i < n; i++)
            memcpy(p + (size_t)i * 8, &c->def, 8);
    return true;
}

static bool get_one(const struct tsdb_column *c, struct reader *r, int64_t *previous, uint8_t *p,
                    uint32_t row)
{
    if (is_integer(c)) {
        int64_t v = (int64_t)((uint64_t)*previous + (uint64_t)reader_zigzag(r));
        *previous = v;
        if (c->type == TSDB_U8) {
            p[row] = (uint8_t)v;
            return !r->failed && v >= 0 && v <= UINT8_MAX;
        }
        if (c->type == TSDB_U32) {
            ((uint32_t *)(void *)p)[row] = (uint32_t)v;
            return !r->failed && v >= 0 && v <= UINT32_MAX;
        }
        ((int64_t *)(void *)p)[row] = v;
    } else if (c->type == TSDB_STR) {
        ((struct bytes *)(void *)p)[row] = reader_lenbytes(r);
    } else {
        size_t size = columns_item_size(c->type);
        struct bytes raw = reader_bytes(r, size);
        if (!r->failed)
            memcpy(p + row * size, raw.data, size);
    }
    return !r->failed;
}

static enum err get_dictionary(struct reader *r, struct arena *a, struct bytes *out, uint32_t n)
{
    uint64_t count = reader_varint(r);
    if (r->failed || count > n || count > reader_left(r))
        return ERR_CORRUPT;
    struct bytes *values = ARENA_ARRAY(a, struct bytes, count + 1);
    if (!values)
        return ERR_LIMIT;
    for (uint64_t i = 0; i < count; i++)
        values[i] = reader_lenbytes(r);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t index = reader_varint(r);
        if (r->failed || index >= count)
            return ERR_CORRUPT;
        out[i] = values[index];
    }
    return ERR_OK;
}

static enum err inflate_payload(struct bytes *payload, struct arena *a)
{
    struct reader r = reader_of(*payload);
    uint64_t raw = reader_varint(&r);
    struct buf plain;
    if (r.failed || raw > PAYLOAD_MAX)
        return ERR_CORRUPT;
    buf_init(&plain, 0);
    enum err e =
        zip_inflate(ZIP_ZSTD, reader_bytes(&r, reader_left(&r)), (size_t)raw, &plain, NULL);
    if (e != ERR_OK || plain.size != raw) {
        buf_done(&plain);
        return e == ERR_NOMEM ? e : ERR_CORRUPT;
    }
    size_t size;
    void *data = buf_take(&plain, &size);
    if (!arena_adopt(a, data, size))
        return ERR_LIMIT;
    *payload = bytes_of(data, size);
    return ERR_OK;
}

static enum err get_column(const struct tsdb_column *c, uint8_t encoding, struct bytes payload,
                           struct arena *a, uint32_t n, uint8_t **out)
{
    if (encoding & ENC_ZSTD) {
        enum err e = inflate_payload(&payload, a);
        if (e != ERR_OK)
            return e;
        encoding &= (uint8_t)~ENC_ZSTD;
    }
    struct reader r = reader_of(payload);
    size_t size = columns_item_size(c->type);
    uint8_t *p = arena_alloc(a, size * n);
    int64_t previous = 0;
    enum err e = ERR_OK;
    if (!p)
        return ERR_LIMIT;
    if (encoding == ENC_CONST) {
        if (!get_one(c, &r, &previous, p, 0))
            return ERR_CORRUPT;
        for (uint32_t i = 1; i < n; i++)
            memcpy(p + i * size, p, size);
    } else if (encoding == ENC_PLAIN) {
        for (uint32_t i = 0; i < n; i++)
            if (!get_one(c, &r, &previous, p, i))
                return ERR_CORRUPT;
    } else if (encoding == ENC_DICT && c->type == TSDB_STR) {
        e = get_dictionary(&r, a, (struct bytes *)(void *)p, n);
    } else {
        return ERR_CORRUPT;
    }
    if (e == ERR_OK && reader_left(&r))
        return ERR_CORRUPT;
    *out = p;
    return e;
}

enum err columns_decode(struct reader *r, const struct tsdb_schema *schema, uint64_t mask,
                        struct arena *a, void *table, bool merge)
{
    struct table_head *head = table;
    uint64_t n = reader_varint(r);
    if (r->failed || n > COLUMNS_ROWS_MAX || (merge && n != head->count))
        return ERR_CORRUPT;
    for (;;) {
        uint8_t number = reader_u8(r), *p;
        if (r->failed)
            return ERR_CORRUPT;
        if (number == END_MARK)
            break;
        uint8_t encoding = reader_u8(r);
        struct bytes payload = reader_lenbytes(r);
        if (r->failed || n == 0)
            return ERR_CORRUPT;
        if (number >= schema->column_count || !(mask >> number & 1))
            continue; /* a column of a newer version, or one that nobody asked for */
        enum err e = get_column(&schema->columns[number], encoding, payload, a, (uint32_t)n, &p);
        if (e != ERR_OK)
            return e;
        column_set(table, &schema->columns[number], p);
    }
    head->count = head->cap = (uint32_t)n;
    return ERR_OK;
}

bool columns_fill(const struct tsdb_schema *schema, struct arena *a, void *table, uint64_t mask)
{
    uint32_t cap = ((struct table_head *)table)->cap;
    for (uint32_t i = 0; i < schema->column_count; i++) {
        const struct tsdb_column *c = &schema->columns[i];
        if (!(mask >> i & 1) || column_get(table, c))
            continue;
        uint8_t *p = arena_alloc(a, columns_item_size(c->type) * (cap ? cap : 1));
        if (!p || !fill_default(c, p, cap))
            return false;
        column_set(table, c, p);
    }
    return true;
}

bool columns_make(const struct tsdb_schema *schema, struct arena *a, void *table, uint32_t cap)
{
    ((struct table_head *)table)->cap = cap;
    return columns_fill(schema, a, table, COLUMNS_ALL);
}

static bool gather_one(const struct tsdb_column *c, const void *const *sources,
                       const uint32_t *rows, uint32_t n, struct arena *a, void *table)
{
    size_t size = columns_item_size(c->type);
    uint8_t *to = NULL;
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *from = column_get(sources[i], c);
        if (!from)
            continue;
        if (!to) {
            to = arena_alloc(a, size * n);
            if (!to || !fill_default(c, to, n))
                return false;
            column_set(table, c, to);
        }
        memcpy(to + i * size, from + rows[i] * size, size);
    }
    return true;
}

bool columns_gather(const struct tsdb_schema *schema, const void *const *sources,
                    const uint32_t *rows, uint32_t n, uint64_t mask, struct arena *a, void *table)
{
    for (uint32_t i = 0; i < schema->column_count; i++)
        if ((mask >> i & 1) && !gather_one(&schema->columns[i], sources, rows, n, a, table))
            return false;
    ((struct table_head *)table)->count = ((struct table_head *)table)->cap = n;
    return true;
}

void columns_copy_row(const struct tsdb_schema *schema, const void *src, uint32_t from, void *dst,
                      uint32_t to)
{
    for (uint32_t i = 0; i < schema->column_count; i++) {
        const struct tsdb_column *c = &schema->columns[i];
        const uint8_t *p = column_get(src, c);
        uint8_t *q = column_get(dst, c);
        size_t size = columns_item_size(c->type);
        if (p && q)
            memcpy(q + to * size, p + from * size, size);
    }
}
