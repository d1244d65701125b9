#include "tsdb/record.h"

#include <stdlib.h>

#include "base/check.h"
#include "tsdb/columns.h"
#include "tsdb/record_cells.h"
#include "tsdb/record_runs.h"
#include "tsdb/record_tokens.h"
#include "tsdb/tsdb_versions.h"

#define REFS_MAX (64u << 20)

/* Sections: tag u8, varint size, bytes. Unknown tags are skipped, so that a later version may add some. */
enum section {
    SECTION_DEFS = 1,
    SECTION_SPANS,
    SECTION_LOGS,
    SECTION_SAMPLES,
    SECTION_HISTS,
    SECTION_EXEMPLARS,
    SECTION_CELLS,
    SECTION_METADATA,
    SECTION_BOOKS,
    SECTION_TOKENS
};

/* --- definitions --------------------------------------------------------------------------------- */

void record_defs_done(struct record_defs *d)
{
    free(d->words);
    free(d->fresh);
    *d = (struct record_defs){0};
}

void record_defs_committed(struct record_defs *d)
{
    d->fresh_count = 0;
}

void record_defs_failed(struct record_defs *d)
{
    for (uint32_t i = 0; i < d->fresh_count; i++)
        d->words[d->fresh[i] / 64] &= ~(1ull << (d->fresh[i] % 64));
    d->fresh_count = 0;
}

/* true: not defined yet, and marked now (taken back by record_defs_failed). */
static bool defs_take(struct record_defs *d, uint32_t ref, bool *failed)
{
    uint32_t word = ref / 64;
    if (word >= d->word_count) {
        uint32_t more = word + 64 + d->word_count / 2;
        uint64_t *words = realloc(d->words, more * sizeof(*words));
        if (!words) {
            *failed = true;
            return false;
        }
        memset(words + d->word_count, 0, (more - d->word_count) * sizeof(*words));
        d->words = words;
        d->word_count = more;
    }
    if (d->words[word] >> (ref % 64) & 1)
        return false;
    if (d->fresh_count == d->fresh_cap) {
        uint32_t cap = d->fresh_cap ? d->fresh_cap * 2 : 256;
        uint32_t *fresh = realloc(d->fresh, cap * sizeof(*fresh));
        if (!fresh) {
            *failed = true;
            return false;
        }
        d->fresh = fresh;
        d->fresh_cap = cap;
    }
    d->words[word] |= 1ull << (ref % 64);
    d->fresh[d->fresh_count++] = ref;
    return true;
}

static void put_defs(const struct tsdb_registry *series, struct record_defs *d,
                     const struct tsdb_ref *refs, uint32_t n, struct buf *out)
{
    for (uint32_t i = 0; i < n; i++) {
        if (!defs_take(d, refs[i].v, &out->failed))
            continue;
        const struct tsdb_series_info *info = tsdb_registry_info(series, refs[i]);
        buf_varint(out, refs[i].v);
        buf_u8(out, (uint8_t)info->kind);
        buf_varint(out, info->org);
        buf_lenbytes(out, info->labels.enc);
    }
}

/* --- encode -------------------------------------------------------------------------------------- */

static void section_end(struct buf *out, enum section tag, struct buf *payload)
{
    if (payload->size) {
        buf_u8(out, (uint8_t)tag);
        buf_lenbytes(out, buf_bytes(payload));
    }
    out->failed = out->failed || payload->failed;
    buf_clear(payload);
}

_Static_assert(sizeof(struct tsdb_ref) == sizeof(uint32_t), "a column of refs is one of numbers");

static void put_refs(struct buf *out, const struct tsdb_ref *refs, uint32_t n)
{
    record_runs_put(out, NULL, n ? &refs[0].v : NULL, NULL, n);
}

static void put_times(struct buf *out, const int64_t *t, uint32_t n)
{
    record_runs_put(out, NULL, NULL, t, n);
}

/* Whole numbers below 2^52 as zigzag varint * 2; everything else as 1 and the bits. */
static void put_number(struct buf *out, double v)
{
    int64_t i = v > -0x1p52 && v < 0x1p52 ? (int64_t)v : 0;
    double back = (double)i;
    if (memcmp(&back, &v, 8) == 0) {
        buf_varint(out, (((uint64_t)i << 1) ^ (uint64_t)(i >> 63)) << 1);
    } else {
        buf_varint(out, 1);
        buf_f64(out, v);
    }
}

static double get_number(struct reader *r)
{
    uint64_t v = reader_varint(r);
    if (v & 1) {
        if (v != 1)
            r->failed = true;
        return reader_f64(r);
    }
    v >>= 1;
    return (double)((int64_t)(v >> 1) ^ -(int64_t)(v & 1));
}

static void put_samples(struct buf *out, const struct tsdb_samples *s)
{
    if (!s->count)
        return;
    buf_varint(out, s->count);
    put_refs(out, s->series, s->count);
    put_times(out, s->t_ms, s->count);
    for (uint32_t i = 0; i < s->count; i++)
        put_number(out, s->value[i]);
    put_times(out, s->start_ms, s->count);
}

static void put_hists(struct buf *out, const struct tsdb_hists *s)
{
    if (!s->count)
        return;
    buf_varint(out, s->count);
    put_refs(out, s->series, s->count);
    put_times(out, s->t_ms, s->count);
    for (uint32_t i = 0; i < s->count; i++)
        tsdb_hist_encode(&s->value[i], out);
    put_times(out, s->start_ms, s->count);
}

static void put_exemplars(struct buf *out, const struct tsdb_exemplars *s)
{
    if (!s->count)
        return;
    buf_varint(out, s->count);
    put_refs(out, s->series, s->count);
    put_times(out, s->t_ms, s->count);
    for (uint32_t i = 0; i < s->count; i++)
        put_number(out, s->value[i]);
    for (uint32_t i = 0; i < s->count; i++)
        buf_lenbytes(out, s->labels[i].enc);
}

static void put_metadata(struct buf *out, const struct tsdb_metadata *m)
{
    if (!m->count)
        return;
    buf_varint(out, m->count);
    for (uint32_t i = 0; i < m->count; i++) {
        buf_lenbytes(out, m->row[i].family);
        buf_lenbytes(out, m->row[i].type);
        buf_lenbytes(out, m->row[i].help);
        buf_lenbytes(out, m->row[i].unit);
    }
}

/* Values repeat from booking to booking: what is as before is left out (a bit each). */
static void put_books(struct buf *out, const struct tsdb_books *s)
{
    static const struct tsdb_book none;
    if (!s->count)
        return;
    buf_varint(out, s->count);
    for (uint32_t i = 0; i < s->count; i++) {
        const struct tsdb_book *k = &s->book[i], *last = i ? &s->book[i - 1] : &none;
        uint8_t fresh = 0;
        for (unsigned d = 0; d < TSDB_BOOK_DIM_COUNT; d++)
            fresh |= (uint8_t)(!bytes_equal(k->value[d], last->value[d]) << d);
        buf_u8(out, fresh);
        buf_varint(out, k->minute);
        for (unsigned d = 0; d < TSDB_BOOK_DIM_COUNT; d++)
            if (fresh >> d & 1)
                buf_lenbytes(out, k->value[d]);
        const int64_t sums[] = {k->sums.calls,   k->sums.input_tokens, k->sums.output_tokens,
                                k->sums.nanousd, k->sums.unpriced,     k->sums.estimated};
        for (size_t n = 0; n < ARRAY_LEN(sums); n++)
            buf_zigzag(out, sums[n]);
    }
}

static void put_head(struct buf *out, const struct tsdb_batch *b)
{
    buf_u32(out, tsdb_versions_magic("TTR", FORMAT_RECORD));
    buf_varint(out, b->org);
    buf_u8(out, (uint8_t)b->signal);
    buf_u64(out, b->request_key.lo);
    buf_u64(out, b->request_key.hi);
    buf_varint(out, b->received);
    buf_zigzag(out, b->received_ns);
    buf_u8(out, TSDB_REJECT_COUNT);
    for (size_t i = 0; i < TSDB_REJECT_COUNT; i++)
        buf_varint(out, b->rejected[i]);
    buf_lenbytes(out, bytes_str(b->reject_msg.text));
}

/* Rows of spans that stay, and for each old row its new number. */
static bool spans_kept(const struct tsdb_batch *b, uint32_t **out_rows, uint32_t **out_new_row,
                       uint32_t *out_n)
{
    uint32_t n = 0, count = b->spans.count;
    uint32_t *rows = malloc((count + 1) * sizeof(*rows)),
             *new_row = malloc((count + 1) * sizeof(*new_row));
    *out_rows = rows;
    *out_new_row = new_row;
    if (!rows || !new_row)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        new_row[i] = b->span_dropped[i] ? TSDB_NO_ROW : n;
        if (!b->span_dropped[i])
            rows[n++] = i;
    }
    *out_n = n;
    return true;
}

enum err record_encode(const struct tsdb_batch *b, const struct tsdb_registry *series,
                       struct record_defs *d, struct buf *out)
{
    struct buf payload = {0};
    uint32_t *rows = NULL, *new_row = NULL, spans = b->spans.count;
    if (b->span_dropped && !spans_kept(b, &rows, &new_row, &spans))
        payload.failed = true;
    put_head(out, b);
    put_defs(series, d, b->samples.series, b->samples.count, &payload);
    put_defs(series, d, b->hists.series, b->hists.count, &payload);
    put_defs(series, d, b->exemplars.series, b->exemplars.count, &payload);
    put_defs(series, d, b->cells.series, b->cells.count, &payload);
    section_end(out, SECTION_DEFS, &payload);
    if (spans && !out->failed)
        columns_encode(&tsdb_batch_span_schema, &b->spans, rows, spans, COLUMNS_ALL,
                       &columns_zip_journal, &payload);
    section_end(out, SECTION_SPANS, &payload);
    if (b->logs.count)
        columns_encode(&tsdb_batch_log_schema, &b->logs, NULL, b->logs.count, COLUMNS_ALL,
                       &columns_zip_journal, &payload);
    section_end(out, SECTION_LOGS, &payload);
    put_samples(&payload, &b->samples);
    section_end(out, SECTION_SAMPLES, &payload);
    put_hists(&payload, &b->hists);
    section_end(out, SECTION_HISTS, &payload);
    put_exemplars(&payload, &b->exemplars);
    section_end(out, SECTION_EXEMPLARS, &payload);
    if (!out->failed)
        record_cells_put(b, new_row, &payload);
    section_end(out, SECTION_CELLS, &payload);
    put_metadata(&payload, &b->metadata);
    section_end(out, SECTION_METADATA, &payload);
    put_books(&payload, &b->books);
    section_end(out, SECTION_BOOKS, &payload);
    record_tokens_put(&b->tokens, &payload);
    section_end(out, SECTION_TOKENS, &payload);
    free(rows);
    free(new_row);
    buf_done(&payload);
    return out->failed ? ERR_NOMEM : out->size > RECORD_BYTES_MAX ? ERR_TOO_LARGE : ERR_OK;
}

/* --- decode -------------------------------------------------------------------------------------- */

void record_refs_done(struct record_refs *m)
{
    free(m->map);
    *m = (struct record_refs){0};
}

static enum err refs_set(struct record_refs *m, uint64_t written, struct tsdb_ref ref)
{
    if (written == 0 || written > REFS_MAX)
        return ERR_CORRUPT;
    if (written >= m->count) {
        uint32_t more = (uint32_t)written + 1024 + m->count / 2;
        struct tsdb_ref *map = realloc(m->map, more * sizeof(*map));
        if (!map)
            return ERR_NOMEM;
        memset(map + m->count, 0, (more - m->count) * sizeof(*map));
        m->map = map;
        m->count = more;
    }
    m->map[written] = ref;
    return ERR_OK;
}

static enum err get_defs(struct reader *r, struct tsdb_registry *series, struct record_refs *m)
{
    while (reader_left(r)) {
        uint64_t written = reader_varint(r);
        uint8_t kind = reader_u8(r);
        uint64_t org = reader_varint(r);
        struct tsdb_labels labels = {reader_lenbytes(r)};
        struct tsdb_ref ref;
        if (r->failed || kind > TSDB_SERIES_CELLS || org > UINT32_MAX ||
            tsdb_labels_check(labels.enc) != ERR_OK)
            return ERR_CORRUPT;
        enum err e =
            tsdb_registry_restore(series, (uint32_t)org, (enum tsdb_series_kind)kind, labels, &ref);
        if (e == ERR_OK)
            e = refs_set(m, written, ref);
        if (e != ERR_OK)
            return e;
    }
    return r->failed ? ERR_CORRUPT : ERR_OK;
}

bool record_refs_known(const struct record_refs *m, int64_t written, struct tsdb_ref *out)
{
    if (written <= 0 || written >= m->count || m->map[written].v == 0)
        return false;
    *out = m->map[written];
    return true;
}

static enum err get_refs(struct reader *r, const struct record_refs *m, struct tsdb_ref *out,
                         uint64_t n)
{
    struct record_runs x = {.r = r};
    for (uint64_t i = 0, written; i < n; i++)
        if (!record_runs_next(&x, n - i, &written) ||
            !record_refs_known(m, (int64_t)written, &out[i]))
            return ERR_CORRUPT;
    return ERR_OK;
}

static void get_times(struct reader *r, int64_t *out, uint64_t n)
{
    struct record_runs x = {.r = r};
    for (uint64_t i = 0, t; i < n && record_runs_next(&x, n - i, &t); i++)
        out[i] = (int64_t)t;
}

/* The count of a section; every item takes at least min bytes, so a lying count is refused before it is allocated. */
static bool get_count(struct reader *r, size_t min, uint64_t *out)
{
    *out = reader_varint(r);
    return !r->failed && *out <= reader_left(r) / min;
}

static enum err get_samples(struct reader *r, const struct record_refs *m, struct arena *a,
                            struct tsdb_samples *s)
{
    uint64_t n;
    if (!get_count(r, 1, &n)) /* the columns but the values may be a few bytes in all */
        return ERR_CORRUPT;
    *s = (struct tsdb_samples){(uint32_t)n,
                               (uint32_t)n,
                               ARENA_ARRAY(a, struct tsdb_ref, n),
                               ARENA_ARRAY(a, int64_t, n),
                               ARENA_ARRAY(a, double, n),
                               ARENA_ARRAY(a, int64_t, n)};
    if (!s->series || !s->t_ms || !s->value || !s->start_ms)
        return ERR_LIMIT;
    enum err e = get_refs(r, m, s->series, n);
    get_times(r, s->t_ms, n);
    for (uint64_t i = 0; i < n && e == ERR_OK; i++)
        s->value[i] = get_number(r);
    get_times(r, s->start_ms, n);
    return r->failed ? ERR_CORRUPT : e;
}

static enum err get_hists(struct reader *r, const struct record_refs *m, struct arena *a,
                          struct tsdb_hists *s)
{
    uint64_t n;
    if (!get_count(r, 4, &n))
        return ERR_CORRUPT;
    *s = (struct tsdb_hists){(uint32_t)n,
                             (uint32_t)n,
                             ARENA_ARRAY(a, struct tsdb_ref, n),
                             ARENA_ARRAY(a, int64_t, n),
                             ARENA_ARRAY(a, struct tsdb_hist, n),
                             ARENA_ARRAY(a, int64_t, n)};
    if (!s->series || !s->t_ms || !s->value || !s->start_ms)
        return ERR_LIMIT;
    enum err e = get_refs(r, m, s->series, n);
    get_times(r, s->t_ms, n);
    for (uint64_t i = 0; i < n && e == ERR_OK; i++)
        e = tsdb_hist_decode(r, a, &s->value[i]);
    get_times(r, s->start_ms, n);
    return e == ERR_OK && r->failed ? ERR_CORRUPT : e;
}

static enum err get_exemplars(struct reader *r, const struct record_refs *m, struct arena *a,
                              struct tsdb_exemplars *s)
{
    uint64_t n;
    if (!get_count(r, 2, &n))
        return ERR_CORRUPT;
    *s = (struct tsdb_exemplars){(uint32_t)n,
                                 (uint32_t)n,
                                 ARENA_ARRAY(a, struct tsdb_ref, n),
                                 ARENA_ARRAY(a, int64_t, n),
                                 ARENA_ARRAY(a, double, n),
                                 ARENA_ARRAY(a, struct tsdb_labels, n)};
    if (!s->series || !s->t_ms || !s->value || !s->labels)
        return ERR_LIMIT;
    enum err e = get_refs(r, m, s->series, n);
    get_times(r, s->t_ms, n);
    for (uint64_t i = 0; i < n && e == ERR_OK; i++)
        s->value[i] = get_number(r);
    for (uint64_t i = 0; i < n && e == ERR_OK; i++) {
        s->labels[i].enc = reader_lenbytes(r);
        if (r->failed || tsdb_labels_check(s->labels[i].enc) != ERR_OK)
            e = ERR_CORRUPT;
    }
    return e;
}

static enum err get_metadata(struct reader *r, struct tsdb_batch *b)
{
    uint64_t n;
    if (!get_count(r, 4, &n))
        return ERR_CORRUPT;
    for (uint64_t i = 0; i < n; i++) {
        struct bytes family = reader_lenbytes(r), type = reader_lenbytes(r),
                     help = reader_lenbytes(r), unit = reader_lenbytes(r);
        if (r->failed)
            return ERR_CORRUPT;
        if (!tsdb_batch_add_metadata(b, family, type, help, unit))
            return ERR_LIMIT;
    }
    return ERR_OK;
}

static enum err get_books(struct reader *r, struct tsdb_batch *b)
{
    uint64_t n;
    struct tsdb_book k = {0};
    if (!get_count(r, 8, &n))
        return ERR_CORRUPT;
    for (uint64_t i = 0; i < n; i++) {
        uint8_t fresh = reader_u8(r);
        uint64_t minute = reader_varint(r);
        for (unsigned d = 0; d < TSDB_BOOK_DIM_COUNT; d++)
            if (fresh >> d & 1)
                k.value[d] = reader_lenbytes(r);
        int64_t *const sums[] = {&k.sums.calls,   &k.sums.input_tokens, &k.sums.output_tokens,
                                 &k.sums.nanousd, &k.sums.unpriced,     &k.sums.estimated};
        for (size_t s = 0; s < ARRAY_LEN(sums); s++)
            *sums[s] = reader_zigzag(r);
        if (r->failed || minute > UINT32_MAX)
            return ERR_CORRUPT;
        k.minute = (uint32_t)minute;
        if (!tsdb_batch_add_book(b, &k))
            return ERR_LIMIT;
    }
    return ERR_OK;
}

static enum err get_section(uint8_t tag, struct bytes payload, struct tsdb_registry *series,
                            struct record_refs *m, struct tsdb_batch *b)
{
    struct reader r = reader_of(payload);
    enum err e;
    switch (tag) {
    case SECTION_DEFS: e = get_defs(&r, series, m); break;
    case SECTION_SPANS:
        e = columns_decode(&r, &tsdb_batch_span_schema, COLUMNS_ALL, b->arena, &b->spans, false);
        /* what tsdb_batch_add_span promises to be there is there */
        if (e == ERR_OK && !columns_fill(&tsdb_batch_span_schema, b->arena, &b->spans,
                                         (2ull << TSDB_SPAN_links) - 1))
            e = ERR_LIMIT;
        break;
    case SECTION_LOGS:
        e = columns_decode(&r, &tsdb_batch_log_schema, COLUMNS_ALL, b->arena, &b->logs, false);
        if (e == ERR_OK &&
            !columns_fill(&tsdb_batch_log_schema, b->arena, &b->logs, (2ull << TSDB_LOG_attrs) - 1))
            e = ERR_LIMIT;
        break;
    case SECTION_SAMPLES: e = get_samples(&r, m, b->arena, &b->samples); break;
    case SECTION_HISTS: e = get_hists(&r, m, b->arena, &b->hists); break;
    case SECTION_EXEMPLARS: e = get_exemplars(&r, m, b->arena, &b->exemplars); break;
    case SECTION_CELLS: e = record_cells_get(&r, m, b); break;
    case SECTION_METADATA: e = get_metadata(&r, b); break;
    case SECTION_BOOKS: e = get_books(&r, b); break;
    case SECTION_TOKENS: e = record_tokens_get(&r, b->org, &b->tokens); break;
    default: return ERR_OK;
    }
    return e == ERR_OK && reader_left(&r) ? ERR_CORRUPT : e;
}

static enum err get_head(struct reader *r, struct tsdb_batch *b)
{
    enum err e = tsdb_versions_check_magic("TTR", reader_u32(r), FORMAT_RECORD);
    if (e != ERR_OK)
        return e;
    uint64_t org = reader_varint(r);
    uint8_t signal = reader_u8(r);
    b->org = (uint32_t)org;
    b->signal = (enum tsdb_signal)signal;
    b->request_key.lo = reader_u64(r);
    b->request_key.hi = reader_u64(r);
    b->received = reader_varint(r);
    b->received_ns = reader_zigzag(r);
    uint8_t reasons = reader_u8(r);
    for (uint8_t i = 0; i < reasons && !r->failed; i++) {
        uint64_t n = reader_varint(r);
        if (i < TSDB_REJECT_COUNT)
            b->rejected[i] = n;
    }
    struct bytes text = reader_lenbytes(r);
    if (r->failed || org > UINT32_MAX || signal >= TSDB_SIGNAL_COUNT || text.size >= ERR_MSG_MAX)
        return ERR_CORRUPT;
    if (text.size)
        memcpy(b->reject_msg.text, text.data, text.size);
    return ERR_OK;
}

enum err record_decode(struct bytes record, struct tsdb_registry *series, struct record_refs *m,
                       size_t arena_max, struct tsdb_batch **out, struct err_msg *msg)
{
    struct tsdb_batch *b = tsdb_batch_new(0, TSDB_SPANS, arena_max);
    if (!b)
        return ERR_NOMEM;
    struct bytes own = arena_copy(b->arena, record); /* slices of the batch point into it */
    struct reader r = reader_of(own);
    enum err e = own.data ? get_head(&r, b) : ERR_LIMIT;
    while (e == ERR_OK && reader_left(&r)) {
        size_t at = (size_t)(r.at - own.data);
        uint8_t tag = reader_u8(&r);
        struct bytes payload = reader_lenbytes(&r);
        e = r.failed ? ERR_CORRUPT : get_section(tag, payload, series, m, b);
        if (e != ERR_OK)
            err_set(msg, e, "section %u at byte %zu of a journal record of %zu bytes: %s", tag, at,
                    record.size, err_text(e));
    }
    if (e != ERR_OK) {
        const char *newer = e == ERR_NEWER ? tsdb_versions_take_newer() : NULL;
        if (newer)
            err_set(msg, e, "%s", newer);
        else if (own.data && r.at == own.data)
            err_set(msg, e, "this is no journal record");
        tsdb_batch_free(b);
        return e;
    }
    *out = b;
    return ERR_OK;
}

/* --- identity of a span as it was sent ------------------------------------------------------------ */

/* What neighbours share, with the hash of it. */
struct surroundings {
    struct bytes service, scope_name, scope_version, resource_attrs;
    struct hash128 hash;
    bool is_set;
};

static bool same_slice(struct bytes a, struct bytes b)
{
    return a.data == b.data && a.size == b.size;
}

static struct hash128 hash_surroundings(const struct tsdb_spans *s, uint32_t row,
                                        struct surroundings *m)
{
    if (m->is_set && same_slice(m->service, s->service[row]) &&
        same_slice(m->scope_name, s->scope_name[row]) &&
        same_slice(m->scope_version, s->scope_version[row]) &&
        same_slice(m->resource_attrs, s->resource_attrs[row]))
        return m->hash;
    m->service = s->service[row];
    m->scope_name = s->scope_name[row];
    m->scope_version = s->scope_version[row];
    m->resource_attrs = s->resource_attrs[row];
    m->is_set = true;
    const struct bytes texts[] = {m->service, m->scope_name, m->scope_version, m->resource_attrs};
    struct hash128 h = {0, 0};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) /* chained through the seed: borders matter */
        h = hash128(texts[i], h.lo ^ (h.hi << 1));
    return m->hash = h;
}

/* The sizes of all texts are in the fixed part, so that empty ones need no call and borders matter. */
static struct hash128 hash_row(const struct tsdb_spans *s, uint32_t row, struct surroundings *m)
{
    const struct bytes texts[] = {s->name[row],  s->status_message[row], s->trace_state[row],
                                  s->attrs[row], s->events[row],         s->links[row]};
    struct hash128 around = hash_surroundings(s, row, m);
    uint8_t fixed[16 + 8 + 8 + 8 + 8 + 1 + 1 + 4 + 4 + 16 + 8 * ARRAY_LEN(texts)];
    size_t n = 0;
#define PUT(p, size) (memcpy(fixed + n, (p), (size)), n += (size))
    PUT(s->trace_id[row].b, 16);
    PUT(s->span_id[row].b, 8);
    PUT(s->parent_id[row].b, 8);
    PUT(&s->start_ns[row], 8);
    PUT(&s->end_ns[row], 8);
    PUT(&s->kind[row], 1);
    PUT(&s->status[row], 1);
    PUT(&s->flags[row], 4);
    PUT(&s->dropped[row], 4);
    PUT(&around.lo, 8);
    PUT(&around.hi, 8);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        PUT(&texts[i].size, 8);
#undef PUT
    CHECK(n == sizeof(fixed));
    struct hash128 h = hash128(bytes_of(fixed, n), 0);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (texts[i].size)
            h = hash128(texts[i], h.lo ^ (h.hi << 1));
    return h;
}

struct hash128 record_span_hash(const struct tsdb_spans *s, uint32_t row)
{
    struct surroundings m = {.is_set = false};
    return hash_row(s, row, &m);
}

void record_span_hashes(const struct tsdb_spans *s, struct hash128 *out)
{
    struct surroundings m = {.is_set = false};
    for (uint32_t i = 0; i < s->count; i++)
        out[i] = hash_row(s, i, &m);
}
