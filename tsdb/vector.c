#include "tsdb/vector.h"

#include <math.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/zip.h"
#include "tsdb/templates.h"

enum ints_kind {
    INTS_CONST,
    INTS_VARINT,
    INTS_PLANES,
    INTS_FUNCTION,
    INTS_SPARSE,
    INTS_GROUPED,
    INTS_SCALED
};
enum strings_kind { STRINGS_CONST, STRINGS_PLAIN, STRINGS_DICT, STRINGS_TEMPLATES };
enum doubles_kind { DOUBLES_BITS, DOUBLES_DECIMAL };

#define PLANES_DELTA 1u
#define EXCEPTIONS_MAX(m) ((m) / 128) /* more, and it is no function */
#define SPARSE_MIN(m) ((m) / 8)
#define GROUP_ROWS_MIN 256u
#define SCALED_MIN 64u /* values; fewer do not pay for the divisor */
#define DICT_LOOK 256u /* rows after which a dictionary must have found repeats */
#define DECIMAL_MAX 9u
#define PREFETCH_ROWS 8u

static enum err get_ints(struct vector_coder *c, struct reader *r, uint32_t m, const uint32_t *rows,
                         unsigned depth, int64_t **out);

void vector_coder_done(struct vector_coder *c)
{
    buf_done(&c->bytes);
    buf_done(&c->packed);
}

static uint32_t row_of(const uint32_t *rows, uint32_t i)
{
    return rows ? rows[i] : i;
}

static void *room(struct vector_coder *c, size_t size)
{
    return arena_alloc_raw(c->a, size ? size : 1, 16);
}

/* --- blobs --------------------------------------------------------------------------------------- */

void vector_put_blob(struct vector_coder *c, struct bytes b, struct buf *out)
{
    buf_clear(&c->packed);
    if (b.size >= c->zip->bytes_min &&
        zip_deflate(ZIP_ZSTD, c->zip->level, b, &c->packed) == ERR_OK &&
        c->packed.size + c->packed.size / 32 < b.size) {
        buf_varint(out, (uint64_t)b.size << 1 | 1);
        buf_lenbytes(out, buf_bytes(&c->packed));
    } else {
        buf_varint(out, (uint64_t)b.size << 1);
        buf_bytes_append(out, b);
    }
}

enum err vector_get_blob(struct vector_coder *c, struct reader *r, struct bytes *out)
{
    uint64_t head = reader_varint(r), raw = head >> 1;
    struct buf plain;
    if (r->failed || raw > VECTOR_BYTES_MAX)
        return ERR_CORRUPT;
    if (!(head & 1)) {
        *out = reader_bytes(r, (size_t)raw);
        return r->failed ? ERR_CORRUPT : ERR_OK;
    }
    struct bytes packed = reader_lenbytes(r);
    if (r->failed)
        return ERR_CORRUPT;
    buf_init(&plain, 0);
    /* room at once for what such frames usually hold; a size that lies allocates nothing */
    if (raw / 64 < packed.size + 1024)
        (void)buf_reserve(&plain, (size_t)raw + 1);
    enum err e = zip_inflate(ZIP_ZSTD, packed, (size_t)raw, &plain, NULL);
    if (e != ERR_OK || plain.size != raw) {
        buf_done(&plain);
        return e == ERR_NOMEM ? e : ERR_CORRUPT;
    }
    size_t size;
    void *data = buf_take(&plain, &size);
    if (!arena_adopt(c->a, data, size))
        return ERR_LIMIT;
    *out = bytes_of(data, size);
    return ERR_OK;
}

/* --- sources ------------------------------------------------------------------------------------- */

/* An open-addressed table of what was seen; slots hold the number + 1. */
struct seen {
    uint32_t *slots, mask, count;
};

static bool seen_init(struct seen *s, struct arena *a, uint32_t m)
{
    uint32_t cap = 16;
    while (cap < m + m / 2)
        cap *= 2;
    *s = (struct seen){ARENA_ARRAY(a, uint32_t, cap), cap - 1, 0};
    return s->slots != NULL;
}

/* Of values that hardly repeat nothing is a function. */
static bool too_many(uint32_t count, uint32_t of)
{
    return count + 2 >= VECTOR_CARD_MAX || (of > DICT_LOOK && count > of / 2);
}

bool vector_source_of_strings(struct arena *a, const struct bytes *v, uint32_t m,
                              const uint32_t *rows, uint32_t row_count, struct vector_source *out)
{
    struct seen seen;
    struct bytes *values = arena_alloc_raw(a, VECTOR_CARD_MAX * sizeof(*values), 16);
    uint32_t *ids = ARENA_ARRAY(a, uint32_t, row_count + 1), id = 0;
    if (!values || !ids || !seen_init(&seen, a, MIN(m, VECTOR_CARD_MAX)))
        return false;
    for (uint32_t i = 0; i < m; i++) {
        if (i == 0 || v[i].data != v[i - 1].data || v[i].size != v[i - 1].size) {
            uint32_t at = (uint32_t)hash64(v[i], 0) & seen.mask;
            while (seen.slots[at] && !bytes_equal(values[seen.slots[at] - 1], v[i]))
                at = (at + 1) & seen.mask;
            if (!seen.slots[at]) {
                if (too_many(seen.count, i))
                    return false;
                values[seen.count++] = v[i];
                seen.slots[at] = seen.count;
            }
            id = seen.slots[at];
        }
        ids[row_of(rows, i)] = id;
    }
    *out = (struct vector_source){ids, seen.count + 1};
    return true;
}

bool vector_source_of_dictionary(struct arena *a, const int64_t *places, uint32_t m,
                                 const uint32_t *rows, uint32_t row_count,
                                 struct vector_source *out)
{
    uint32_t *ids = ARENA_ARRAY(a, uint32_t, row_count + 1), seen = 0;
    if (!ids)
        return false;
    for (uint32_t i = 0; i < m; i++) {
        uint64_t id = (uint64_t)places[i] + 1;
        if (id > seen) {
            if (id != seen + UINT64_C(1) || too_many(seen, i))
                return false;
            seen++;
        }
        ids[row_of(rows, i)] = (uint32_t)id;
    }
    *out = (struct vector_source){ids, seen + 1};
    return true;
}

static uint32_t hash_int(int64_t v)
{
    return (uint32_t)(((uint64_t)v * UINT64_C(0x9e3779b97f4a7c15)) >> 32);
}

bool vector_source_of_ints(struct arena *a, const int64_t *v, uint32_t m, const uint32_t *rows,
                           uint32_t row_count, struct vector_source *out)
{
    struct seen seen;
    int64_t *values = arena_alloc_raw(a, VECTOR_CARD_MAX * sizeof(*values), 16);
    uint32_t *ids = ARENA_ARRAY(a, uint32_t, row_count + 1);
    if (!values || !ids || !seen_init(&seen, a, MIN(m, VECTOR_CARD_MAX)))
        return false;
    for (uint32_t i = 0; i < m; i++) {
        uint32_t at = hash_int(v[i]) & seen.mask;
        while (seen.slots[at] && values[seen.slots[at] - 1] != v[i])
            at = (at + 1) & seen.mask;
        if (!seen.slots[at]) {
            if (too_many(seen.count, i))
                return false;
            values[seen.count++] = v[i];
            seen.slots[at] = seen.count;
        }
        ids[row_of(rows, i)] = seen.slots[at];
    }
    *out = (struct vector_source){ids, seen.count + 1};
    return true;
}

void vector_offer(struct vector_coder *c, uint32_t number, struct vector_source s)
{
    if (c->try_count == VECTOR_TRY_MAX || s.card <= 2)
        return;
    c->tries[c->try_count].number = number;
    c->tries[c->try_count++].source = s;
}

/* --- integers: writing ---------------------------------------------------------------------------- */

static unsigned width_of(uint64_t span)
{
    unsigned w = 1;
    while (w < 8 && span >> (8 * w))
        w++;
    return w;
}

static unsigned bits_of(uint64_t v)
{
    return v ? 64 - (unsigned)__builtin_clzll(v) : 0;
}

static uint64_t zigzag(int64_t v)
{
    return ((uint64_t)v << 1) ^ (uint64_t)(v >> 63);
}

static int64_t difference(const int64_t *v, uint32_t i)
{
    return (int64_t)((uint64_t)v[i] - (uint64_t)v[i - 1]);
}

static void put_varints(struct vector_coder *c, const int64_t *v, uint32_t m, struct buf *out)
{
    struct buf *b = &c->bytes;
    int64_t previous = 0;
    buf_clear(b);
    if (buf_reserve(b, (size_t)m * BUF_VARINT_MAX)) {
        uint8_t *to = b->data;
        for (uint32_t i = 0; i < m; i++) {
            to = buf_write_zigzag(to, (int64_t)((uint64_t)v[i] - (uint64_t)previous));
            previous = v[i];
        }
        b->size = (size_t)(to - b->data);
    }
    buf_u8(out, INTS_VARINT);
    vector_put_blob(c, buf_bytes(b), out);
    out->failed |= b->failed;
}

/* Byte k of all values, then byte k + 1: bytes that rarely change lie together. */
static void put_planes(struct vector_coder *c, const int64_t *v, uint32_t m, struct buf *out)
{
    int64_t min = v[0], max = v[0], dmin = 0, dmax = 0;
    uint64_t direct = 0, delta = 0;
    for (uint32_t i = 0; i < m; i++) {
        min = MIN(min, v[i]);
        max = MAX(max, v[i]);
    }
    for (uint32_t i = 1; i < m; i++) {
        int64_t d = difference(v, i);
        dmin = MIN(dmin, d);
        dmax = MAX(dmax, d);
        direct += bits_of((uint64_t)v[i] - (uint64_t)min);
        delta += bits_of(zigzag(d));
    }
    bool is_delta = delta < direct;
    int64_t base = is_delta ? dmin : min;
    unsigned width = width_of((is_delta ? (uint64_t)dmax : (uint64_t)max) - (uint64_t)base);
    buf_u8(out, INTS_PLANES);
    buf_u8(out, (uint8_t)(width << 1 | is_delta));
    buf_zigzag(out, base);
    if (is_delta)
        buf_zigzag(out, v[0]);
    for (unsigned k = 0; k < width; k++) {
        struct buf *b = &c->bytes;
        buf_clear(b);
        if (!buf_reserve(b, m)) {
            out->failed = true;
            return;
        }
        if (is_delta) {
            b->data[0] = 0;
            for (uint32_t i = 1; i < m; i++)
                b->data[i] = (uint8_t)(((uint64_t)difference(v, i) - (uint64_t)base) >> (8 * k));
        } else {
            for (uint32_t i = 0; i < m; i++)
                b->data[i] = (uint8_t)(((uint64_t)v[i] - (uint64_t)base) >> (8 * k));
        }
        b->size = m;
        vector_put_blob(c, buf_bytes(b), out);
    }
}

/* v as a function of a source, when it is one but for a few exceptions: { number, n values, exceptions }. */
static bool put_function(struct vector_coder *c, const int64_t *v, uint32_t m, const uint32_t *rows,
                         unsigned which, struct buf *out)
{
    const struct vector_source *s = &c->tries[which].source;
    int64_t *value = ARENA_ARRAY(c->a, int64_t, s->card);
    uint32_t *first = ARENA_ARRAY(c->a, uint32_t, s->card); /* entry + 1 that gave the value */
    uint32_t exceptions = 0, known = 0;
    if (!value || !first)
        return false;
    for (uint32_t i = 0; i < m; i++) {
        uint32_t id = s->ids[row_of(rows, i)];
        if (!first[id]) {
            first[id] = i + 1;
            value[id] = v[i];
            known++;
        } else if (value[id] != v[i] && ++exceptions > EXCEPTIONS_MAX(m)) {
            return false;
        }
    }
    if (known > m / 4 + 1)
        return false;
    buf_u8(out, INTS_FUNCTION);
    buf_varint(out, c->tries[which].number);
    buf_varint(out, s->card);
    for (uint32_t id = 0; id < s->card; id++)
        buf_zigzag(out, value[id]);
    buf_varint(out, exceptions);
    for (uint32_t i = 0, last = 0; i < m && exceptions; i++) {
        uint32_t id = s->ids[row_of(rows, i)];
        if (value[id] == v[i])
            continue;
        buf_varint(out, i - last);
        buf_zigzag(out, v[i]);
        last = i;
    }
    return true;
}

/* What divides every difference from the first value; 1 where the values span too much. */
static uint64_t divisor_of(const int64_t *v, uint32_t m)
{
    uint64_t g = 0;
    for (uint32_t i = 1; i < m && g != 1; i++) {
        int64_t d = difference(v, i);
        if (v[i] > INT64_MAX / 4 || v[i] < INT64_MIN / 4)
            return 1;
        for (uint64_t x = d < 0 ? 0 - (uint64_t)d : (uint64_t)d, rest; x; x = rest) {
            rest = g % x;
            g = x;
        }
    }
    return v[0] > INT64_MAX / 4 || v[0] < INT64_MIN / 4 || g == 0 ? 1 : g;
}

/* Times in whole microseconds, amounts in whole cents: { divisor, first, quotients }. */
static bool put_scaled(struct vector_coder *c, const int64_t *v, uint32_t m, struct buf *out)
{
    uint64_t divisor = m < SCALED_MIN ? 1 : divisor_of(v, m);
    int64_t *q = divisor > 1 && divisor < INT64_MAX ? room(c, m * sizeof(*q)) : NULL;
    if (!q)
        return false;
    for (uint32_t i = 0; i < m; i++)
        q[i] = (v[i] - v[0]) / (int64_t)divisor;
    buf_u8(out, INTS_SCALED);
    buf_varint(out, divisor);
    buf_zigzag(out, v[0]);
    put_planes(c, q, m, out);
    return true;
}

static void put_alone(struct vector_coder *c, const int64_t *v, uint32_t m, struct buf *out)
{
    uint32_t i = 1;
    while (i < m && v[i] == v[0])
        i++;
    if (i >= m) {
        buf_u8(out, INTS_CONST);
        buf_zigzag(out, m ? v[0] : 0);
    } else if (c->zip->is_quick || m < 16) {
        put_varints(c, v, m, out);
    } else if (!put_scaled(c, v, m, out)) {
        put_planes(c, v, m, out);
    }
}

static bool put_as_function(struct vector_coder *c, const int64_t *v, uint32_t m,
                            const uint32_t *rows, struct buf *out)
{
    for (unsigned i = 0; i < c->try_count && m >= 16; i++)
        if (put_function(c, v, m, rows, i, out))
            return true;
    return false;
}

/* Which values are not `gap`, then those: { gap, presence, values }. */
static void put_grouped(struct vector_coder *c, const int64_t *v, uint32_t m, const uint32_t *rows,
                        struct buf *out);
static bool put_sparse(struct vector_coder *c, const int64_t *v, uint32_t m, const uint32_t *rows,
                       struct buf *out)
{
    int64_t gap = v[0];
    uint32_t gaps = 0, n = 0;
    for (uint32_t i = 1; i < m; i++) /* the default is the lowest in every column that has one */
        gap = MIN(gap, v[i]);
    for (uint32_t i = 0; i < m; i++)
        gaps += v[i] == gap;
    if (c->zip->is_quick || m < 64 || gaps < SPARSE_MIN(m))
        return false;
    int64_t *present = room(c, m * sizeof(*present)), *values = room(c, m * sizeof(*values));
    uint32_t *at = room(c, m * sizeof(*at));
    if (!present || !values || !at)
        return false;
    for (uint32_t i = 0; i < m; i++) {
        present[i] = v[i] != gap;
        if (!present[i])
            continue;
        at[n] = row_of(rows, i);
        values[n++] = v[i];
    }
    buf_u8(out, INTS_SPARSE);
    buf_zigzag(out, gap);
    if (!put_as_function(c, present, m, rows, out))
        put_alone(c, present, m, out);
    if (!put_as_function(c, values, n, at, out))
        put_grouped(c, values, n, at, out);
    return true;
}

/* The entries in the order of a source's ids: places[i] is the entry that comes i-th. */
static uint32_t *grouped(struct vector_coder *c, const struct vector_source *s, uint32_t m,
                         const uint32_t *rows)
{
    uint32_t *at = ARENA_ARRAY(c->a, uint32_t, s->card + 1), *places = room(c, m * sizeof(*places));
    if (!at || !places)
        return NULL;
    for (uint32_t i = 0; i < m; i++)
        at[s->ids[row_of(rows, i)] + 1]++;
    for (uint32_t id = 0; id < s->card; id++)
        at[id + 1] += at[id];
    for (uint32_t i = 0; i < m; i++)
        places[at[s->ids[row_of(rows, i)]]++] = i;
    return places;
}

/* The rows of one kind of span resemble each other more than neighbours do: written in the order of a source when that is shorter. */
static void put_grouped(struct vector_coder *c, const int64_t *v, uint32_t m, const uint32_t *rows,
                        struct buf *out)
{
    size_t before = out->size;
    put_alone(c, v, m, out);
    if (c->zip->is_quick || m < GROUP_ROWS_MIN || !c->try_count || !buf_ok(out))
        return;
    size_t size = out->size - before;
    uint32_t *places = grouped(c, &c->tries[0].source, m, rows);
    int64_t *moved = room(c, m * sizeof(*moved));
    if (size < m / 16 || !places || !moved)
        return;
    for (uint32_t i = 0; i < m; i++)
        moved[i] = v[places[i]];
    struct buf other = {0};
    buf_u8(&other, INTS_GROUPED);
    buf_varint(&other, c->tries[0].number);
    put_alone(c, moved, m, &other);
    if (buf_ok(&other) && other.size < size) {
        out->size = before;
        buf_bytes_append(out, buf_bytes(&other));
    }
    buf_done(&other);
}

void vector_put_ints(struct vector_coder *c, const int64_t *v, uint32_t m, const uint32_t *rows,
                     struct buf *out)
{
    uint32_t i = 1;
    while (i < m && v[i] == v[0])
        i++;
    c->was_function = false;
    if (i >= m)
        put_alone(c, v, m, out);
    else if (put_as_function(c, v, m, rows, out))
        c->was_function = true;
    else if (!put_sparse(c, v, m, rows, out))
        put_grouped(c, v, m, rows, out);
}

/* --- integers: reading ---------------------------------------------------------------------------- */

static enum err get_varints(struct vector_coder *c, struct reader *r, uint32_t m, int64_t *v)
{
    struct bytes blob;
    uint64_t last = 0;
    enum err e = vector_get_blob(c, r, &blob);
    if (e != ERR_OK)
        return e;
    struct reader in = reader_of(blob);
    for (uint32_t i = 0; i < m; i++) {
        last += (uint64_t)reader_zigzag(&in);
        v[i] = (int64_t)last;
    }
    return in.failed || reader_left(&in) ? ERR_CORRUPT : ERR_OK;
}

/* Value i of `width` planes; width is a constant where it matters. */
static inline uint64_t plane_value(const uint8_t *const *plane, unsigned width, uint32_t i)
{
    uint64_t v = plane[0][i];
    for (unsigned k = 1; k < width; k++)
        v |= (uint64_t)plane[k][i] << (8 * k);
    return v;
}

static inline void join_planes(const uint8_t *const *plane, unsigned width, bool is_delta,
                               uint64_t base, uint64_t first, uint32_t m, int64_t *v)
{
    if (!is_delta) {
        for (uint32_t i = 0; i < m; i++)
            v[i] = (int64_t)(plane_value(plane, width, i) + base);
        return;
    }
    v[0] = (int64_t)first;
    for (uint32_t i = 1; i < m; i++)
        v[i] = (int64_t)(first += plane_value(plane, width, i) + base);
}

static enum err get_planes(struct vector_coder *c, struct reader *r, uint32_t m, int64_t *v)
{
    uint8_t head = reader_u8(r);
    uint64_t base = (uint64_t)reader_zigzag(r);
    bool is_delta = head & PLANES_DELTA;
    uint64_t first = is_delta ? (uint64_t)reader_zigzag(r) : 0;
    unsigned width = head >> 1;
    const uint8_t *planes[8];
    if (r->failed || width == 0 || width > 8 || m == 0)
        return ERR_CORRUPT;
    for (unsigned k = 0; k < width; k++) {
        struct bytes plane;
        enum err e = vector_get_blob(c, r, &plane);
        if (e != ERR_OK)
            return e;
        if (plane.size != m)
            return ERR_CORRUPT;
        planes[k] = plane.data;
    }
    switch (width) {
    case 1: join_planes(planes, 1, is_delta, base, first, m, v); break;
    case 2: join_planes(planes, 2, is_delta, base, first, m, v); break;
    case 3: join_planes(planes, 3, is_delta, base, first, m, v); break;
    case 4: join_planes(planes, 4, is_delta, base, first, m, v); break;
    case 5: join_planes(planes, 5, is_delta, base, first, m, v); break;
    case 6: join_planes(planes, 6, is_delta, base, first, m, v); break;
    default: join_planes(planes, width, is_delta, base, first, m, v); break;
    }
    return ERR_OK;
}

static enum err get_function(struct vector_coder *c, struct reader *r, uint32_t m,
                             const uint32_t *rows, int64_t *v)
{
    uint64_t number = reader_varint(r), card = reader_varint(r);
    const struct vector_source *s =
        !r->failed && number <= UINT32_MAX ? c->source(c->source_ctx, (uint32_t)number) : NULL;
    if (!s || card != s->card)
        return ERR_CORRUPT;
    int64_t *value = room(c, card * sizeof(*value));
    if (!value)
        return ERR_LIMIT;
    for (uint64_t id = 0; id < card; id++)
        value[id] = reader_zigzag(r);
    for (uint32_t i = 0; i < m; i++)
        v[i] = value[s->ids[row_of(rows, i)]];
    uint64_t exceptions = reader_varint(r), at = 0;
    for (; exceptions > 0 && !r->failed; exceptions--) {
        at += reader_varint(r);
        int64_t one = reader_zigzag(r);
        if (r->failed || at >= m)
            return ERR_CORRUPT;
        v[at] = one;
    }
    return r->failed ? ERR_CORRUPT : ERR_OK;
}

static enum err get_sparse(struct vector_coder *c, struct reader *r, uint32_t m,
                           const uint32_t *rows, unsigned depth, int64_t *v)
{
    int64_t gap = reader_zigzag(r), *present, *values;
    uint32_t n = 0;
    enum err e = get_ints(c, r, m, rows, depth + 1, &present);
    uint32_t *places = room(c, (m + 1) * sizeof(*places)), *at = places;
    if (e != ERR_OK || !places)
        return e != ERR_OK ? e : ERR_LIMIT;
    for (uint32_t i = 0; i < m; i++) { /* no branch: which are there is anyone's guess */
        places[n] = i;
        n += present[i] != 0;
        v[i] = gap;
    }
    if (rows && !(at = room(c, n * sizeof(*at))))
        return ERR_LIMIT;
    for (uint32_t i = 0; rows && i < n; i++)
        at[i] = rows[places[i]];
    e = get_ints(c, r, n, at, depth + 1, &values);
    for (uint32_t i = 0; i < n && e == ERR_OK; i++)
        v[places[i]] = values[i];
    return e;
}

static enum err get_grouped(struct vector_coder *c, struct reader *r, uint32_t m,
                            const uint32_t *rows, unsigned depth, int64_t *v)
{
    uint64_t number = reader_varint(r);
    const struct vector_source *s =
        !r->failed && number <= UINT32_MAX ? c->source(c->source_ctx, (uint32_t)number) : NULL;
    int64_t *moved;
    if (!s)
        return ERR_CORRUPT;
    enum err e = get_ints(c, r, m, rows, depth + 1, &moved);
    uint32_t *places = e == ERR_OK ? grouped(c, s, m, rows) : NULL;
    if (e != ERR_OK || !places)
        return e != ERR_OK ? e : ERR_LIMIT;
    for (uint32_t i = 0; i < m; i++)
        v[places[i]] = moved[i];
    return ERR_OK;
}

static enum err get_scaled(struct vector_coder *c, struct reader *r, uint32_t m,
                           const uint32_t *rows, unsigned depth, int64_t *v)
{
    uint64_t divisor = reader_varint(r), first = (uint64_t)reader_zigzag(r);
    int64_t *q;
    enum err e = r->failed ? ERR_CORRUPT : get_ints(c, r, m, rows, depth + 1, &q);
    for (uint32_t i = 0; i < m && e == ERR_OK; i++)
        v[i] = (int64_t)(first + (uint64_t)q[i] * divisor);
    return e;
}

static enum err get_ints(struct vector_coder *c, struct reader *r, uint32_t m, const uint32_t *rows,
                         unsigned depth, int64_t **out)
{
    uint8_t kind = reader_u8(r);
    int64_t *v = room(c, (size_t)m * sizeof(*v)), one;
    enum err e = ERR_CORRUPT;
    if (!v)
        return ERR_LIMIT;
    if (r->failed || depth > 4)
        return ERR_CORRUPT;
    switch (kind) {
    case INTS_CONST:
        one = reader_zigzag(r);
        for (uint32_t i = 0; i < m; i++)
            v[i] = one;
        e = r->failed ? ERR_CORRUPT : ERR_OK;
        break;
    case INTS_VARINT: e = get_varints(c, r, m, v); break;
    case INTS_PLANES: e = get_planes(c, r, m, v); break;
    case INTS_FUNCTION: e = get_function(c, r, m, rows, v); break;
    case INTS_SPARSE: e = get_sparse(c, r, m, rows, depth, v); break;
    case INTS_GROUPED: e = get_grouped(c, r, m, rows, depth, v); break;
    case INTS_SCALED: e = get_scaled(c, r, m, rows, depth, v); break;
    }
    *out = v;
    return e;
}

enum err vector_get_ints(struct vector_coder *c, struct reader *r, uint32_t m, const uint32_t *rows,
                         int64_t **out)
{
    return get_ints(c, r, m, rows, 0, out);
}

/* --- doubles -------------------------------------------------------------------------------------- */

static const double powers[DECIMAL_MAX + 1] = {1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9};

static bool same_bits(double a, double b)
{
    return memcmp(&a, &b, sizeof(a)) == 0;
}

/* v as a whole number of 10^-digits. */
static bool decimal_of(double v, unsigned digits, int64_t *out)
{
    double scaled = v * powers[digits];
    if (!(scaled > -0x1p52 && scaled < 0x1p52))
        return false;
    *out = (int64_t)llround(scaled);
    return same_bits((double)*out / powers[digits], v);
}

void vector_put_doubles(struct vector_coder *c, const double *v, uint32_t m, const uint32_t *rows,
                        struct buf *out)
{
    int64_t *whole = room(c, m * sizeof(*whole));
    unsigned digits = 0;
    bool is_decimal = whole != NULL;
    if (!whole) {
        out->failed = true;
        return;
    }
    for (uint32_t i = 0; i < m && is_decimal; i++)
        while (is_decimal && !decimal_of(v[i], digits, &whole[i]))
            is_decimal = ++digits <= DECIMAL_MAX;
    for (uint32_t i = 0; i < m && is_decimal; i++)
        is_decimal = decimal_of(v[i], digits, &whole[i]);
    buf_u8(out, is_decimal ? DOUBLES_DECIMAL : DOUBLES_BITS);
    if (is_decimal)
        buf_u8(out, (uint8_t)digits);
    else
        memcpy(whole, v, m * sizeof(*v));
    vector_put_ints(c, whole, m, rows, out);
}

enum err vector_get_doubles(struct vector_coder *c, struct reader *r, uint32_t m,
                            const uint32_t *rows, double **out)
{
    uint8_t kind = reader_u8(r), digits = kind == DOUBLES_DECIMAL ? reader_u8(r) : 0;
    int64_t *whole;
    if (r->failed || kind > DOUBLES_DECIMAL || digits > DECIMAL_MAX)
        return ERR_CORRUPT;
    enum err e = vector_get_ints(c, r, m, rows, &whole);
    double *v = e == ERR_OK ? room(c, (size_t)m * sizeof(*v)) : NULL;
    if (e != ERR_OK || !v)
        return e != ERR_OK ? e : ERR_LIMIT;
    for (uint32_t i = 0; i < m; i++)
        if (kind == DOUBLES_DECIMAL)
            v[i] = (double)whole[i] / powers[digits];
        else
            memcpy(&v[i], &whole[i], sizeof(*v));
    *out = v;
    return ERR_OK;
}

/* --- strings -------------------------------------------------------------------------------------- */

/* Distinct strings in order of appearance; gives up (false) when more than half are distinct, and early when three quarters of the first
 * ones are: texts are not all hashed to find that out. */
struct dictionary {
    struct bytes *values;
    int64_t *index; /* of each string */
    uint32_t count;
    bool is_source; /* vector_source_of_strings would number them alike */
};

static bool dictionary_build(struct dictionary *d, struct vector_coder *c, const struct bytes *v,
                             uint32_t m)
{
    struct seen seen;
    d->count = 0;
    d->is_source = true;
    d->values = room(c, (m / 2 + 2) * sizeof(*d->values));
    d->index = room(c, m * sizeof(*d->index));
    if (!d->values || !d->index || !seen_init(&seen, c->a, m))
        return false;
    for (uint32_t i = 0; i < m; i++) {
        if (i + PREFETCH_ROWS < m)
            __builtin_prefetch(v[i + PREFETCH_ROWS].data);
        if (i > 0 && v[i].data == v[i - 1].data && v[i].size == v[i - 1].size) {
            d->index[i] = d->index[i - 1]; /* neighbours often share the very slice */
            continue;
        }
        if (i >= DICT_LOOK && i < 2 * DICT_LOOK && d->count > i / 4 * 3)
            return false;
        uint32_t at = (uint32_t)hash64(v[i], 0) & seen.mask;
        while (seen.slots[at] && !bytes_equal(d->values[seen.slots[at] - 1], v[i]))
            at = (at + 1) & seen.mask;
        if (!seen.slots[at]) {
            if (d->count > m / 2)
                return false;
            d->is_source &= !too_many(d->count, i);
            d->values[d->count++] = v[i];
            seen.slots[at] = d->count;
        }
        d->index[i] = seen.slots[at] - 1;
    }
    return d->count <= m / 2;
}

/* The lengths, then all bytes. rows NULL and alone: the list is no vector of the table. */
static void put_list(struct vector_coder *c, const struct bytes *v, uint32_t m,
                     const uint32_t *rows, bool alone, struct buf *out)
{
    int64_t *sizes = room(c, m * sizeof(*sizes));
    size_t total = 0;
    if (!sizes) {
        out->failed = true;
        return;
    }
    for (uint32_t i = 0; i < m; i++)
        total += (size_t)(sizes[i] = (int64_t)v[i].size);
    if (alone)
        put_alone(c, sizes, m, out);
    else
        vector_put_ints(c, sizes, m, rows, out);
    struct buf *b = &c->bytes;
    buf_clear(b);
    if (buf_reserve(b, total))
        for (uint32_t i = 0; i < m; i++) {
            if (i + PREFETCH_ROWS < m)
                __builtin_prefetch(v[i + PREFETCH_ROWS].data);
            buf_bytes_append(b, v[i]);
        }
    out->failed |= b->failed;
    vector_put_blob(c, buf_bytes(b), out);
}

/* The dictionary as a source for the vectors to come: its strings are numbered already. */
static void note_source(struct vector_coder *c, const struct dictionary *d, uint32_t m,
                        const uint32_t *rows)
{
    if (!d->is_source || d->count < 2)
        return;
    uint32_t *ids = rows ? ARENA_ARRAY(c->sources, uint32_t, c->row_count + 1)
                         : arena_alloc_raw(c->sources, (m + 1) * sizeof(*ids), 16);
    for (uint32_t i = 0; ids && i < m; i++)
        ids[row_of(rows, i)] = (uint32_t)d->index[i] + 1;
    c->made = (struct vector_source){ids, ids ? d->count + 1 : 0};
}

static void put_dictionary(struct vector_coder *c, const struct dictionary *d, uint32_t m,
                           const uint32_t *rows, struct buf *out)
{
    buf_u8(out, STRINGS_DICT);
    buf_varint(out, d->count);
    put_list(c, d->values, d->count, NULL, true, out);
    vector_put_ints(c, d->index, m, rows, out);
}

void vector_put_repeated(struct vector_coder *c, const struct bytes *v, uint32_t m,
                         const struct vector_source *s, struct buf *out)
{
    struct dictionary d = {room(c, s->card * sizeof(*d.values)), room(c, m * sizeof(*d.index)), 0,
                           false};
    if (!d.values || !d.index) {
        out->failed = true;
        return;
    }
    for (uint32_t i = 0; i < m; i++) {
        d.index[i] = s->ids[i] - 1;
        if (d.index[i] == d.count)
            d.values[d.count++] = v[i];
    }
    put_dictionary(c, &d, m, NULL, out);
}

void vector_put_strings(struct vector_coder *c, const struct bytes *v, uint32_t m,
                        const uint32_t *rows, struct buf *out)
{
    struct dictionary d;
    uint32_t i = 1;
    while (i < m && bytes_equal(v[i], v[0]))
        i++;
    c->was_function = false;
    c->made.ids = NULL;
    if (i >= m) {
        buf_u8(out, STRINGS_CONST);
        buf_lenbytes(out, m ? v[0] : BYTES_NONE);
    } else if (m > 3 && dictionary_build(&d, c, v, m)) {
        put_dictionary(c, &d, m, rows, out);
        if (!c->was_function && c->sources && c->try_count < VECTOR_TRY_MAX)
            note_source(c, &d, m, rows);
    } else {
        size_t before = out->size;
        buf_u8(out, STRINGS_TEMPLATES);
        struct arena *sources = c->sources;
        c->sources = NULL; /* the strings within are not the column */
        bool done = !c->zip->is_quick && templates_put(c, v, m, rows, out);
        c->sources = sources;
        c->made.ids = NULL;
        c->was_function = false;
        if (done)
            return;
        out->size = before;
        buf_u8(out, STRINGS_PLAIN);
        put_list(c, v, m, rows, false, out);
        c->was_function = false;
    }
}

static enum err get_list(struct vector_coder *c, struct reader *r, uint32_t m, const uint32_t *rows,
                         struct bytes *v)
{
    int64_t *sizes;
    struct bytes blob;
    size_t at = 0;
    enum err e = get_ints(c, r, m, rows, 0, &sizes);
    if (e == ERR_OK)
        e = vector_get_blob(c, r, &blob);
    for (uint32_t i = 0; i < m && e == ERR_OK; i++) {
        if (sizes[i] < 0 || (uint64_t)sizes[i] > blob.size - at)
            return ERR_CORRUPT;
        v[i] = bytes_slice(blob, at, at + (size_t)sizes[i]);
        at += (size_t)sizes[i];
    }
    return e == ERR_OK && at != blob.size ? ERR_CORRUPT : e;
}

static enum err get_dictionary(struct vector_coder *c, struct reader *r, uint32_t m,
                               const uint32_t *rows, struct bytes *v, const int64_t **out_places)
{
    uint64_t count = reader_varint(r);
    int64_t *index;
    if (r->failed || count > m)
        return ERR_CORRUPT;
    struct bytes *values = room(c, (size_t)count * sizeof(*values));
    if (!values)
        return ERR_LIMIT;
    enum err e = get_list(c, r, (uint32_t)count, NULL, values);
    if (e == ERR_OK)
        e = get_ints(c, r, m, rows, 0, &index);
    for (uint32_t i = 0; i < m && e == ERR_OK; i++) {
        if (index[i] < 0 || (uint64_t)index[i] >= count)
            return ERR_CORRUPT;
        v[i] = values[index[i]];
    }
    *out_places = e == ERR_OK ? index : NULL;
    return e;
}

enum err vector_get_strings(struct vector_coder *c, struct reader *r, uint32_t m,
                            const uint32_t *rows, struct bytes **out)
{
    uint8_t kind = reader_u8(r);
    struct bytes *v = room(c, (size_t)m * sizeof(*v)), one;
    const int64_t *places = NULL;
    enum err e = ERR_CORRUPT;
    if (!v)
        return ERR_LIMIT;
    *out = v;
    if (r->failed)
        return ERR_CORRUPT;
    switch (kind) {
    case STRINGS_CONST:
        one = reader_lenbytes(r);
        for (uint32_t i = 0; i < m; i++)
            v[i] = one;
        e = r->failed ? ERR_CORRUPT : ERR_OK;
        break;
    case STRINGS_PLAIN: e = get_list(c, r, m, rows, v); break;
    case STRINGS_DICT: e = get_dictionary(c, r, m, rows, v, &places); break;
    case STRINGS_TEMPLATES: e = templates_get(c, r, m, rows, v); break;
    }
    c->dictionary = places; /* of these, not of those within them */
    return e;
}

/* A list of strings of one size, as its bytes; *out NULL: it may be another list, and the reader has not moved. */
static enum err get_even_list(struct vector_coder *c, struct reader *r, uint32_t m, size_t size,
                              const uint8_t **out)
{
    struct reader at = *r;
    struct bytes blob;
    *out = NULL;
    if (reader_u8(&at) != INTS_CONST || reader_zigzag(&at) != (int64_t)size || at.failed)
        return ERR_OK;
    *r = at;
    enum err e = vector_get_blob(c, r, &blob);
    if (e == ERR_OK && blob.size != (uint64_t)m * size)
        e = ERR_CORRUPT;
    *out = e == ERR_OK ? blob.data : NULL;
    return e;
}

/* As get_strings: anything but lists of even sizes, which is what ids are. */
static enum err get_odd_ids(struct vector_coder *c, struct reader *r, uint32_t m, size_t size,
                            const uint8_t **out)
{
    struct bytes *v;
    enum err e = vector_get_strings(c, r, m, NULL, &v);
    uint8_t *p = e == ERR_OK ? room(c, m * size) : NULL;
    if (!p)
        return e == ERR_OK ? ERR_LIMIT : e;
    for (uint32_t i = 0; i < m; i++) {
        if (v[i].size != size)
            return ERR_CORRUPT;
        memcpy(p + i * size, v[i].data, size);
    }
    *out = p;
    return ERR_OK;
}

/* The dictionary's values at the places. */
static enum err spread_ids(struct vector_coder *c, struct reader *r, uint32_t m, size_t size,
                           const uint8_t *values, uint64_t count, const uint8_t **out)
{
    int64_t *index;
    enum err e = get_ints(c, r, m, NULL, 0, &index);
    uint8_t *p = e == ERR_OK ? room(c, m * size) : NULL;
    if (!p)
        return e == ERR_OK ? ERR_LIMIT : e;
    for (uint32_t i = 0; i < m; i++) {
        if ((uint64_t)index[i] >= count)
            return ERR_CORRUPT;
        memcpy(p + i * size, values + (size_t)index[i] * size, size);
    }
    *out = p;
    return ERR_OK;
}

enum err vector_get_ids(struct vector_coder *c, struct reader *r, uint32_t m, size_t size,
                        const uint8_t **out)
{
    struct reader at = *r;
    const uint8_t *values = NULL;
    uint8_t kind = reader_u8(&at);
    uint64_t count = kind == STRINGS_DICT ? reader_varint(&at) : m;
    if (at.failed || count > m)
        return ERR_CORRUPT;
    if (kind == STRINGS_PLAIN || kind == STRINGS_DICT) {
        enum err e = get_even_list(c, &at, (uint32_t)count, size, &values);
        if (e != ERR_OK)
            return e;
    }
    if (!values)
        return get_odd_ids(c, r, m, size, out);
    *r = at;
    if (kind == STRINGS_DICT)
        return spread_ids(c, r, m, size, values, count, out);
    *out = values;
    return ERR_OK;
}
