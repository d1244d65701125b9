/* Spans and logs of one day: blocks with rows that go are written again without them, the index of traces with them. */
#include "tsdb/erase_parts.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/fault_point.h"
#include "tsdb/block_index.h"
#include "tsdb/block_rows.h"
#include "tsdb/part_core.h"
#include "tsdb/view_rows.h"

struct plan { /* a block with rows that go */
    const struct view_row_kind *k;
    const struct block_meta *rows, *text; /* text NULL: there is none any more */
    uint32_t *keep, keep_count;
};

struct day {
    struct erase_pass *pass;
    struct part *rows, *text; /* text NULL: none */
    struct part_snapshot *of_rows, *of_text;
    struct plan *plans;
    size_t plan_count, plan_cap;
    struct block_trace *traces; /* of the generation in hand */
    size_t trace_count, trace_cap;
    struct arena *a;
    struct err_msg *msg;
};

/* --- blocks -------------------------------------------------------------------------------------- */

static const struct view_row_kind *kind_of_rows(uint8_t kind)
{
    return kind == BLOCK_SPANS ? &view_rows_spans : kind == BLOCK_LOGS ? &view_rows_logs : NULL;
}

static const struct view_row_kind *kind_of_text(uint8_t kind)
{
    return kind == BLOCK_SPAN_TEXT  ? &view_rows_spans
           : kind == BLOCK_LOG_TEXT ? &view_rows_logs
                                    : NULL;
}

static const struct block_meta *find(const struct part_snapshot *s, const struct block_key *like,
                                     enum block_kind kind)
{
    size_t n;
    const struct block_meta *m = s ? part_snapshot_blocks(s, &n) : NULL;
    for (size_t i = 0; m && i < n; i++)
        if (m[i].key.org == like->org && m[i].key.kind == kind &&
            m[i].key.generation == like->generation && m[i].key.n == like->n)
            return &m[i];
    return NULL;
}

static enum err decode(const struct day *d, const struct part_snapshot *s,
                       const struct block_meta *m, const struct view_row_kind *k, bool merge,
                       union view_table *t)
{
    struct bytes block, body;
    enum err e = part_fetch(s, m, d->a, &block, d->msg);
    if (e == ERR_OK)
        e = block_unpack(block, d->a, &body);
    if (e != ERR_OK)
        return e;
    struct reader r = reader_of(body);
    e = columns_decode(&r, k->schema, COLUMNS_ALL, d->a, t, merge);
    if (e == ERR_OK && (reader_left(&r) || view_table_count(t) != m->rows))
        e = ERR_CORRUPT;
    return e == ERR_CORRUPT ? err_set(d->msg, e, "a block of %s is damaged", part_path(d->rows))
                            : e;
}

/* Rows with their texts, in the arena, which begins anew. What was not written is absent. */
static enum err load(const struct day *d, const struct block_meta *rows,
                     const struct block_meta *text, const struct view_row_kind *k,
                     union view_table *t)
{
    memset(t, 0, sizeof(*t));
    arena_reset(d->a);
    enum err e = decode(d, d->of_rows, rows, k, false, t);
    if (e == ERR_OK && text) {
        /* a text may name columns of the rows that hold nothing but defaults */
        uint64_t absent = 0;
        for (uint32_t c = 0; c < k->schema->column_count; c++) {
            const void *p;
            memcpy(&p, (const uint8_t *)t + k->schema->columns[c].offset, sizeof(p));
            absent |= p ? 0 : UINT64_C(1) << c;
        }
        union view_table full = *t;
        if (!columns_fill(k->schema, d->a, &full, absent & columns_peers(k->schema)))
            return ERR_NOMEM;
        e = decode(d, d->of_text, text, k, true, &full);
        if (e == ERR_OK)
            *t = full;
    }
    return e;
}

static enum err add_plan(struct day *d, const struct plan *p)
{
    if (d->plan_count == d->plan_cap) {
        size_t cap = d->plan_cap ? d->plan_cap * 2 : 16;
        struct plan *more = realloc(d->plans, cap * sizeof(*more));
        if (!more)
            return ERR_NOMEM;
        d->plans = more;
        d->plan_cap = cap;
    }
    d->plans[d->plan_count++] = *p;
    return ERR_OK;
}

/* The rows of a block that stay; no plan when all do. */
static enum err examine(struct day *d, const struct block_meta *m, const struct view_row_kind *k)
{
    union view_table t;
    struct plan p = {.k = k, .rows = m, .text = find(d->of_text, &m->key, k->text)};
    enum err e = load(d, m, p.text, k, &t);
    if (e != ERR_OK)
        return e;
    uint32_t count = view_table_count(&t);
    if (!(p.keep = malloc((count + 1) * sizeof(*p.keep))))
        return ERR_NOMEM;
    for (uint32_t i = 0; i < count; i++)
        if (k->is_spans ? !erase_match_span(d->pass->target, &t.spans, i)
                        : !erase_match_log(d->pass->target, &t.logs, i))
            p.keep[p.keep_count++] = i;
    e = p.keep_count < count ? add_plan(d, &p) : ERR_OK;
    if (e != ERR_OK || p.keep_count == count) {
        free(p.keep);
        return e;
    }
    *(k->is_spans ? &d->pass->found.spans : &d->pass->found.logs) += count - p.keep_count;
    return ERR_OK;
}

/* The rows that stay, as a block of rows or of texts. */
static enum err put_block(struct day *d, struct part *out, const struct plan *p,
                          const union view_table *t, bool text)
{
    uint32_t n = p->keep_count;
    const void **sources = ARENA_ARRAY(d->a, const void *, n);
    struct buf block = {0}, summary = {0};
    struct block_meta m = {.rows = n, .time_min = INT64_MAX, .time_max = INT64_MIN};
    for (uint32_t i = 0; sources && i < n; i++) {
        int64_t ms =
            (p->k->is_spans ? t->spans.end_ns[p->keep[i]] : t->logs.time_ns[p->keep[i]]) / 1000000;
        sources[i] = t;
        m.time_min = MIN(m.time_min, ms);
        m.time_max = MAX(m.time_max, ms);
    }
    struct block_rows_source source = {p->k->schema, p->k->text_mask, sources, p->keep, n};
    enum err e = sources
                     ? block_rows_write(&source, text, &columns_zip_block, d->a, &block, &summary)
                     : ERR_NOMEM;
    m.key = p->rows->key;
    m.key.kind = (uint8_t)(text ? p->k->text : p->k->rows);
    m.summary = buf_bytes(&summary);
    if (e == ERR_OK)
        e = part_put(out, &m, buf_bytes(&block), d->msg);
    buf_done(&block);
    buf_done(&summary);
    return e;
}

/* --- texts --------------------------------------------------------------------------------------- */

/* Nobody's: a text of the org whose rows are not there, such as those of a damaged block. Whose it was cannot be told. */
static bool is_nobodys(const struct day *d, const struct block_meta *m)
{
    const struct view_row_kind *k = kind_of_text(m->key.kind);
    return k && m->key.generation <= d->pass->flushed &&
           (d->pass->sound || erase_parts_concerns(d->pass, m)) &&
           !find(d->of_rows, &m->key, k->rows);
}

static bool has_nobodys(const struct day *d)
{
    bool has = false;
    size_t n = 0;
    const struct block_meta *m = d->of_text ? part_snapshot_blocks(d->of_text, &n) : NULL;
    for (size_t i = 0; i < n && !has; i++)
        has = is_nobodys(d, &m[i]);
    return has;
}

static enum err put_texts(struct day *d, struct part *fresh)
{
    enum err e = ERR_OK;
    size_t n;
    const struct block_meta *m = part_snapshot_blocks(d->of_text, &n);
    for (size_t i = 0; i < n && e == ERR_OK; i++) {
        const struct plan *p = NULL;
        union view_table t;
        for (size_t k = 0; k < d->plan_count && !p; k++)
            p = d->plans[k].text == &m[i] ? &d->plans[k] : NULL;
        if (!p && !is_nobodys(d, &m[i]))
            e = part_copy(fresh, d->of_text, &m[i], d->msg);
        if (p && p->keep_count && (e = load(d, p->rows, p->text, p->k, &t)) == ERR_OK)
            e = put_block(d, fresh, p, &t, true);
    }
    return e;
}

/* --- rows ---------------------------------------------------------------------------------------- */

static const struct plan *plan_of(const struct day *d, const struct block_meta *m)
{
    for (size_t i = 0; i < d->plan_count; i++)
        if (d->plans[i].rows == m)
            return &d->plans[i];
    return NULL;
}

/* The index of traces of a generation is made again when one of its blocks is, or when a part of it may be missing. */
static bool is_reindexed(const struct day *d, const struct block_key *k)
{
    bool is = d->pass->sound;
    for (size_t i = 0; i < d->plan_count && !is; i++)
        is = d->plans[i].k->is_spans && d->plans[i].rows->key.org == k->org &&
             d->plans[i].rows->key.generation == k->generation;
    return is;
}

static enum err add_trace(struct day *d, struct block_trace t)
{
    if (d->trace_count == d->trace_cap) {
        size_t cap = d->trace_cap ? d->trace_cap * 2 : 1024;
        struct block_trace *more = realloc(d->traces, cap * sizeof(*more));
        if (!more)
            return ERR_NOMEM;
        d->traces = more;
        d->trace_cap = cap;
    }
    d->traces[d->trace_count++] = t;
    return ERR_OK;
}

static enum err put_traces(struct day *d, struct part *fresh, uint32_t org, uint64_t generation)
{
    int64_t day_ms = (int64_t)part_day(d->rows) * 86400000;
    enum err e = ERR_OK;
    block_traces_sort(d->traces, d->trace_count);
    for (size_t from = 0, n = 0; from < d->trace_count && e == ERR_OK;
         from += BLOCK_TRACES_MAX, n++) {
        struct buf block = {0}, summary = {0};
        struct block_meta m = {.key = {org, BLOCK_TRACES, generation, (uint32_t)n},
                               .time_min = day_ms,
                               .time_max = day_ms + 86399999};
        block_traces_write(d->traces + from,
                           (uint32_t)MIN(d->trace_count - from, (size_t)BLOCK_TRACES_MAX), &block,
                           &summary);
        m.summary = buf_bytes(&summary);
        e = buf_ok(&block) && buf_ok(&summary) ? part_put(fresh, &m, buf_bytes(&block), d->msg)
                                               : ERR_NOMEM;
        buf_done(&block);
        buf_done(&summary);
    }
    return e;
}

/* Runs of rows of one trace. keep NULL: all rows stay. */
static enum err add_traces(struct day *d, const struct tsdb_spans *t, const uint32_t *keep,
                           uint32_t count, uint32_t n)
{
    enum err e = ERR_OK;
    size_t first = d->trace_count;
    for (uint32_t i = 0; i < count && e == ERR_OK; i++) {
        uint64_t key = block_trace_key(t->trace_id[keep ? keep[i] : i]);
        if (d->trace_count > first && d->traces[d->trace_count - 1].key == key)
            d->traces[d->trace_count - 1].more++;
        else
            e = add_trace(d, (struct block_trace){key, n, i, 0});
    }
    return e;
}

/* One block of rows, as it is or without the rows that go; is_indexed: with its traces. */
static enum err put_rows(struct day *d, struct part *fresh, const struct block_meta *m,
                         bool is_indexed)
{
    const struct plan *p = plan_of(d, m);
    union view_table t;
    enum err e = ERR_OK;
    if (p || is_indexed)
        e = load(d, m, NULL, kind_of_rows(m->key.kind), &t);
    if (e == ERR_OK && !p)
        e = part_copy(fresh, d->of_rows, m, d->msg);
    if (e == ERR_OK && p && p->keep_count)
        e = put_block(d, fresh, p, &t, false);
    if (e == ERR_OK && is_indexed)
        e = add_traces(d, &t.spans, p ? p->keep : NULL, p ? p->keep_count : t.spans.count,
                       m->key.n);
    return e;
}

/* Sorted: the spans of a generation follow one another. */
static bool ends_generation(const struct block_meta *m, size_t n)
{
    return n == 1 || m[1].key.kind != BLOCK_SPANS || m[1].key.org != m->key.org ||
           m[1].key.generation != m->key.generation;
}

static enum err put_all_rows(struct day *d, struct part *fresh)
{
    size_t n;
    const struct block_meta *m = part_snapshot_blocks(d->of_rows, &n);
    enum err e = ERR_OK;
    d->trace_count = 0;
    for (size_t i = 0; i < n && e == ERR_OK; i++) {
        bool is_again = is_reindexed(d, &m[i].key), is_spans = m[i].key.kind == BLOCK_SPANS;
        if (kind_of_rows(m[i].key.kind))
            e = put_rows(d, fresh, &m[i], is_spans && is_again);
        else if (m[i].key.kind != BLOCK_TRACES || !is_again)
            e = part_copy(fresh, d->of_rows, &m[i], d->msg);
        if (e == ERR_OK && is_spans && is_again && ends_generation(&m[i], n - i)) {
            e = put_traces(d, fresh, m[i].key.org, m[i].key.generation);
            d->trace_count = 0;
        }
    }
    return e;
}

static enum err rewrite(struct day *d)
{
    struct part *fresh = NULL, *fresh_text = NULL;
    enum err e = part_rewrite_begin_pair(d->rows, d->text, &fresh, &fresh_text, d->msg);
    if (e != ERR_OK)
        return e;
    if (fresh_text)
        e = put_texts(d, fresh_text);
    fault_point("erase.after_texts");
    if (e == ERR_OK)
        e = put_all_rows(d, fresh);
    if (e == ERR_OK)
        return erase_parts_finish(d->pass, d->rows, fresh, d->text, fresh_text, d->msg);
    part_release(fresh);
    part_release(fresh_text);
    return e;
}

/* --- a day --------------------------------------------------------------------------------------- */

static struct part *text_beside(const struct tsdb *db, const struct part *p)
{
    for (size_t i = 0; i < db->part_count; i++)
        if (part_day(db->parts[i]) == part_day(p) && part_class_of(db->parts[i]) == PART_TEXT)
            return db->parts[i];
    return NULL;
}

static enum err examine_all(struct day *d)
{
    size_t n;
    const struct block_meta *m = part_snapshot_blocks(d->of_rows, &n);
    enum err e = ERR_OK;
    for (size_t i = 0; i < n && e == ERR_OK; i++) {
        const struct view_row_kind *k = kind_of_rows(m[i].key.kind);
        if (k && erase_parts_concerns(d->pass, &m[i]))
            e = examine(d, &m[i], k);
    }
    return e;
}

/* Texts whose rows lie in quarantine have none; d->of_rows stays NULL where there is nothing at all. */
static enum err open_rows(struct day *d)
{
    enum err e = erase_parts_open(d->pass, d->rows, &d->of_rows, d->msg);
    if (e == ERR_NOT_FOUND && !d->text)
        return ERR_OK;
    if (e == ERR_NOT_FOUND && (e = part_open(d->rows, true, d->msg)) == ERR_OK)
        e = erase_parts_open(d->pass, d->rows, &d->of_rows, d->msg);
    return e;
}

enum err erase_parts_rows(struct erase_pass *pass, struct part *p, struct err_msg *msg)
{
    struct day d = {.pass = pass, .rows = p, .msg = msg, .a = arena_new(0)};
    enum err e = d.a ? ERR_OK : ERR_NOMEM;
    if (e == ERR_OK && (d.text = text_beside(pass->db, p))) {
        part_retain(d.text);
        e = erase_parts_open(pass, d.text, &d.of_text, msg);
    }
    if (e == ERR_NOT_FOUND) { /* made and not yet written to, or they lie in quarantine */
        part_release(d.text);
        d.text = NULL;
        e = ERR_OK;
    }
    if (e == ERR_OK)
        e = open_rows(&d);
    if (e == ERR_OK && d.of_rows)
        e = examine_all(&d);
    if (e == ERR_OK && d.of_rows &&
        (d.plan_count || has_nobodys(&d) || pass->sound || part_is_damaged(p) ||
         (d.text && part_is_damaged(d.text))))
        e = rewrite(&d);
    part_snapshot_release(d.of_rows);
    part_snapshot_release(d.of_text);
    part_release(d.text);
    for (size_t i = 0; i < d.plan_count; i++)
        free(d.plans[i].keep);
    free(d.plans);
    free(d.traces);
    arena_free(d.a);
    return e;
}
