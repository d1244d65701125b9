#include "tsdb/block_index.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"

/* --- series -------------------------------------------------------------------------------------- */

uint32_t block_index_write(const struct tsdb_labels *labels, uint32_t from, uint32_t n,
                           struct buf *out)
{
    struct buf rows = {0}, body = {0};
    struct bytes last = BYTES_NONE;
    uint32_t i = from;
    for (; i < n && i - from < BLOCK_INDEX_SERIES_MAX && rows.size < BLOCK_INDEX_TARGET; i++) {
        struct bytes enc = labels[i].enc;
        size_t shared = 0, max = MIN(last.size, enc.size);
        while (shared < max && last.data[shared] == enc.data[shared])
            shared++;
        buf_varint(&rows, shared);
        buf_lenbytes(&rows, bytes_slice(enc, shared, enc.size));
        last = enc;
    }
    buf_varint(&body, from);
    buf_varint(&body, i - from);
    buf_bytes_append(&body, buf_bytes(&rows));
    block_pack(buf_bytes(&body), true, out);
    out->failed |= rows.failed || body.failed;
    buf_done(&rows);
    buf_done(&body);
    return i - from;
}

enum err block_index_read(struct bytes block, uint32_t org, struct arena *a, uint32_t *out_first_id,
                          struct block_index_series **out, uint32_t *out_count)
{
    struct bytes body, last = BYTES_NONE;
    enum err e = block_unpack(block, a, &body);
    if (e != ERR_OK)
        return e;
    struct reader r = reader_of(body);
    uint64_t first = reader_varint(&r), n = reader_varint(&r);
    if (r.failed || first > UINT32_MAX || n > BLOCK_INDEX_SERIES_MAX || n * 2 > reader_left(&r))
        return ERR_CORRUPT;
    struct block_index_series *s = ARENA_ARRAY(a, struct block_index_series, n + 1);
    if (!s)
        return ERR_LIMIT;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t shared = reader_varint(&r);
        struct bytes rest = reader_lenbytes(&r);
        if (r.failed || shared > last.size)
            return ERR_CORRUPT;
        uint8_t *p = arena_alloc_raw(a, shared + rest.size + 1, 1);
        if (!p)
            return ERR_LIMIT;
        if (shared)
            memcpy(p, last.data, shared);
        if (rest.size)
            memcpy(p + shared, rest.data, rest.size);
        last = bytes_of(p, shared + rest.size);
        if (tsdb_labels_check(last) != ERR_OK)
            return ERR_CORRUPT;
        s[i].labels.enc = last;
        s[i].identity = tsdb_labels_identity(org, s[i].labels);
    }
    if (reader_left(&r))
        return ERR_CORRUPT;
    *out_first_id = (uint32_t)first;
    *out = s;
    *out_count = (uint32_t)n;
    return ERR_OK;
}

/* --- traces -------------------------------------------------------------------------------------- */

#define BLOOM_PROBES 3u

uint64_t block_trace_key(struct tsdb_id16 id)
{
    return hash64(bytes_of(id.b, sizeof(id.b)), 0);
}

static uint32_t bloom_bit(uint64_t key, uint32_t probe)
{
    uint64_t h = key * 0x9e3779b97f4a7c15u;
    h ^= h >> 29;
    return (uint32_t)((h >> (probe * 15)) % (BLOCK_BLOOM_BYTES * 8));
}

static int by_key(const void *x, const void *y)
{
    const struct block_trace *a = x, *b = y;
    if (a->key != b->key)
        return a->key < b->key ? -1 : 1;
    if (a->n != b->n)
        return a->n < b->n ? -1 : 1;
    return (a->row > b->row) - (a->row < b->row);
}

void block_traces_sort(struct block_trace *t, size_t n)
{
    if (n)
        qsort(t, n, sizeof(*t), by_key);
}

void block_traces_write(const struct block_trace *t, uint32_t n, struct buf *out,
                        struct buf *summary)
{
    struct buf body = {0};
    uint8_t bloom[BLOCK_BLOOM_BYTES] = {0}, be[8];
    CHECK(n > 0 && n <= BLOCK_TRACES_MAX);
    buf_varint(&body, n);
    for (uint32_t i = 0; i < n; i++) {
        bytes_put_u64be(be, t[i].key);
        buf_append(&body, be, 8);
        for (uint32_t p = 0; p < BLOOM_PROBES; p++) {
            uint32_t bit = bloom_bit(t[i].key, p);
            bloom[bit / 8] |= (uint8_t)(1u << bit % 8);
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        buf_varint(&body, t[i].n);
        buf_varint(&body, t[i].row);
        buf_varint(&body, t[i].more);
    }
    block_pack(buf_bytes(&body), false, out);
    out->failed |= body.failed;
    buf_done(&body);
    buf_u64(summary, t[0].key);
    buf_u64(summary, t[n - 1].key);
    buf_append(summary, bloom, sizeof(bloom));
}

bool block_traces_may_have(struct bytes summary, uint64_t key)
{
    struct reader r = reader_of(summary);
    uint64_t first = reader_u64(&r), last = reader_u64(&r);
    struct bytes bloom = reader_bytes(&r, BLOCK_BLOOM_BYTES);
    if (r.failed)
        return true; /* no filter: look */
    if (key < first || key > last)
        return false;
    for (uint32_t p = 0; p < BLOOM_PROBES; p++) {
        uint32_t bit = bloom_bit(key, p);
        if (!(bloom.data[bit / 8] & 1u << bit % 8))
            return false;
    }
    return true;
}

struct trace_reader {
    struct bytes keys;
    struct reader rest;
    uint64_t n;
};

static enum err open_traces(struct bytes block, struct arena *a, struct trace_reader *out)
{
    struct bytes body;
    enum err e = block_unpack(block, a, &body);
    if (e != ERR_OK)
        return e;
    struct reader r = reader_of(body);
    uint64_t n = reader_varint(&r);
    if (r.failed || n == 0 || n > BLOCK_TRACES_MAX || n * 11 > reader_left(&r))
        return ERR_CORRUPT;
    *out = (struct trace_reader){.keys = reader_bytes(&r, n * 8), .n = n};
    out->rest = r;
    return ERR_OK;
}

static bool next_trace(struct trace_reader *r, uint64_t i, struct block_trace *out)
{
    uint64_t n = reader_varint(&r->rest), row = reader_varint(&r->rest),
             more = reader_varint(&r->rest);
    *out = (struct block_trace){bytes_u64be(r->keys.data + i * 8), (uint32_t)n, (uint32_t)row,
                                (uint32_t)more};
    return !r->rest.failed && n <= UINT32_MAX && row <= UINT32_MAX && more < BLOCK_TRACE_ROWS_MAX;
}

enum err block_traces_find(struct bytes block, uint64_t key, struct arena *a,
                           struct block_trace **out, uint32_t *out_count)
{
    struct trace_reader r;
    struct block_trace *t = NULL, one;
    uint32_t found = 0, cap = 0;
    enum err e = open_traces(block, a, &r);
    if (e != ERR_OK)
        return e;
    for (uint64_t i = 0; i < r.n; i++) {
        if (!next_trace(&r, i, &one))
            return ERR_CORRUPT;
        if (one.key != key)
            continue;
        if (found + one.more + 1 > BLOCK_TRACE_FOUND_MAX)
            return ERR_LIMIT;
        if (found + one.more + 1 > cap) {
            uint32_t wider = MAX(found + one.more + 1, cap * 2);
            t = arena_grow(a, t, sizeof(*t), cap, wider);
            if (!t)
                return ERR_LIMIT;
            cap = wider;
        }
        for (uint32_t k = 0; k <= one.more; k++)
            t[found++] = (struct block_trace){one.key, one.n, one.row + k, 0};
    }
    if (reader_left(&r.rest))
        return ERR_CORRUPT;
    *out = t;
    *out_count = found;
    return ERR_OK;
}

enum err block_traces_read(struct bytes block, struct arena *a, struct block_trace **out,
                           uint32_t *out_count)
{
    struct trace_reader r;
    enum err e = open_traces(block, a, &r);
    if (e != ERR_OK)
        return e;
    struct block_trace *t = ARENA_ARRAY(a, struct block_trace, r.n);
    if (!t)
        return ERR_LIMIT;
    for (uint64_t i = 0; i < r.n; i++)
        if (!next_trace(&r, i, &t[i]))
            return ERR_CORRUPT;
    if (reader_left(&r.rest))
        return ERR_CORRUPT;
    *out = t;
    *out_count = (uint32_t)r.n;
    return ERR_OK;
}

/* --- exemplars and metadata ---------------------------------------------------------------------- */

void block_exemplars_write(const struct block_exemplar *e, uint32_t n, struct buf *out)
{
    struct buf body = {0};
    buf_varint(&body, n);
    for (uint32_t i = 0; i < n; i++) {
        buf_lenbytes(&body, e[i].series.enc);
        buf_zigzag(&body, e[i].t_ms);
        buf_f64(&body, e[i].value);
        buf_lenbytes(&body, e[i].labels.enc);
    }
    block_pack(buf_bytes(&body), true, out);
    out->failed |= body.failed;
    buf_done(&body);
}

enum err block_exemplars_read(struct bytes block, struct arena *a, struct block_exemplar **out,
                              uint32_t *out_count)
{
    struct bytes body;
    enum err e = block_unpack(block, a, &body);
    if (e != ERR_OK)
        return e;
    struct reader r = reader_of(body);
    uint64_t n = reader_varint(&r);
    if (r.failed || n * 11 > reader_left(&r))
        return ERR_CORRUPT;
    struct block_exemplar *x = ARENA_ARRAY(a, struct block_exemplar, n + 1);
    if (!x)
        return ERR_LIMIT;
    for (uint64_t i = 0; i < n; i++) {
        x[i].series.enc = reader_lenbytes(&r);
        x[i].t_ms = reader_zigzag(&r);
        x[i].value = reader_f64(&r);
        x[i].labels.enc = reader_lenbytes(&r);
        if (r.failed || tsdb_labels_check(x[i].series.enc) != ERR_OK ||
            tsdb_labels_check(x[i].labels.enc) != ERR_OK)
            return ERR_CORRUPT;
    }
    if (reader_left(&r))
        return ERR_CORRUPT;
    *out = x;
    *out_count = (uint32_t)n;
    return ERR_OK;
}

void block_metadata_write(const struct tsdb_metadata_row *m, uint32_t n, struct buf *out)
{
    struct buf body = {0};
    buf_varint(&body, n);
    for (uint32_t i = 0; i < n; i++) {
        buf_lenbytes(&body, m[i].family);
        buf_lenbytes(&body, m[i].type);
        buf_lenbytes(&body, m[i].help);
        buf_lenbytes(&body, m[i].unit);
    }
    block_pack(buf_bytes(&body), true, out);
    out->failed |= body.failed;
    buf_done(&body);
}

enum err block_metadata_read(struct bytes block, struct arena *a, struct tsdb_metadata_row **out,
                             uint32_t *out_count)
{
    struct bytes body;
    enum err e = block_unpack(block, a, &body);
    if (e != ERR_OK)
        return e;
    struct reader r = reader_of(body);
    uint64_t n = reader_varint(&r);
    if (r.failed || n > reader_left(&r))
        return ERR_CORRUPT;
    struct tsdb_metadata_row *m = ARENA_ARRAY(a, struct tsdb_metadata_row, n + 1);
    if (!m)
        return ERR_LIMIT;
    for (uint64_t i = 0; i < n; i++) {
        m[i].family = reader_lenbytes(&r);
        m[i].type = reader_lenbytes(&r);
        m[i].help = reader_lenbytes(&r);
        m[i].unit = reader_lenbytes(&r);
    }
    if (r.failed || reader_left(&r))
        return ERR_CORRUPT;
    *out = m;
    *out_count = (uint32_t)n;
    return ERR_OK;
}
