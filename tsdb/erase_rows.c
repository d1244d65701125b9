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
    uint32_t n; /* of the block that takes its place */
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

enum err erase_parts_finish(struct erase_pass *pass, struct part *old, struct part *fresh,
                            struct err_msg *msg)
{
    fault_point("erase.before_seal");
    enum err e = part_rewrite_seal(fresh, old, msg);
    if (e == ERR_OK) {
        uint64_t before = part_bytes(old), after = part_bytes(fresh);
        pass->found.bytes = before > after ? before - after : 0;
        pass->found.parts = 1;
        e = pass->note(pass->ctx, old, &pass->found, msg);
    }
    fault_point("erase.before_exchange");
    if (e == ERR_OK)
        e = pin_exchange_part(pass->db, old, fresh, pass->flushed, msg);
    else
        part_release(fresh);
    fault_point("erase.after_exchange");
    return e;
}

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

/* Numbers that no block of the generation has, of rows or of texts. */
static void number_plans(struct day *d)
{
    for (size_t i = 0; i < d->plan_count; i++) {
        struct plan *p = &d->plans[i];
        const struct part_snapshot *both[] = {d->of_rows, d->of_text};
        uint32_t next = 0;
        for (size_t b = 0; b < ARRAY_LEN(both); b++) {
            size_t n = 0;
            const struct block_meta *m = both[b] ? part_snapshot_blocks(both[b], &n) : NULL;
            for (size_t k = 0; k < n; k++)
                if (m[k].key.org == p->rows->key.org &&
                    m[k].key.generation == p->rows->key.generation &&
                    m[k].key.kind == (b == 0 ? p->k->rows : p->k->text))
                    next = MAX(next, m[k].key.n + 1);
        }
        for (size_t k = 0; k < i; k++)
            if (d->plans[k].k == p->k &&
                d->plans[k].rows->key.generation == p->rows->key.generation)
                next = MAX(next, d->plans[k].n + 1);
        p->n = next;
    }
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
    m.key.n = p->n;
    m.summary = buf_bytes(&summary);
    if (e == ERR_OK)
        e = part_put(out, &m, buf_bytes(&block), d->msg);
    buf_done(&block);
    buf_done(&summary);
    return e;
}

/* --- texts --------------------------------------------------------------------------------------- */

/* The first step: plans are sorted by (kind, generation); each generation is sealed by itself, as it was before. */
static enum err add_texts(struct day *d)
{
    enum err e = ERR_OK;
    uint64_t open = 0;
    bool any = false;
    for (size_t i = 0; i < d->plan_count && e == ERR_OK; i++) {
        const struct plan *p = &d->plans[i];
        union view_table t;
        if (!p->text || !p->keep_count)
            continue;
        if (any && open != p->rows->key.generation)
            e = part_seal(d->text, open, d->msg);
        if (e == ERR_OK)
            e = load(d, p->rows, p->text, p->k, &t);
        if (e == ERR_OK)
            e = put_block(d, d->text, p, &t, true);
        open = p->rows->key.generation;
        any = true;
    }
    if (e == ERR_OK && any)
        e = part_seal(d->text, open, d->msg);
    if (e != ERR_OK && d->text) {
        part_abandon(d->text);
        return e;
    }
    fault_point("erase.after_texts");
    return any ? pin_replace(d->pass->db, NULL, &d->text, 1, d->pass->flushed) : e;
}

/* Nobody's: a text of the org whose rows are not there. */
static bool is_stale(const struct day *d, const struct part_snapshot *rows,
                     const struct block_meta *m)
{
    const struct view_row_kind *k = kind_of_text(m->key.kind);
    return k && m->key.org == d->pass->target->org && m->key.generation <= d->pass->flushed &&
           !find(rows, &m->key, k->rows);
}

/* The last step, also when an earlier attempt did the others. rows: the part as it is now. */
static enum err drop_stale_texts(struct day *d, struct part *rows)
{
    struct part *fresh;
    size_t n, stale = 0;
    struct part_snapshot *now = part_snapshot_new(rows, UINT64_MAX),
                         *text = part_snapshot_new(d->text, UINT64_MAX);
    enum err e = now && text ? ERR_OK : ERR_NOMEM;
    const struct block_meta *m = e == ERR_OK ? part_snapshot_blocks(text, &n) : NULL;
    for (size_t i = 0; m && i < n; i++)
        stale += is_stale(d, now, &m[i]);
    if (e == ERR_OK && stale && (e = part_rewrite_begin(d->text, &fresh, d->msg)) == ERR_OK) {
        for (size_t i = 0; i < n && e == ERR_OK; i++)
            if (!is_stale(d, now, &m[i]))
                e = part_copy(fresh, text, &m[i], d->msg);
        d->pass->found = (struct tsdb_erased){0};
        if (e == ERR_OK)
            e = erase_parts_finish(d->pass, d->text, fresh, d->msg);
        else
            part_release(fresh);
    }
    part_snapshot_release(now);
    part_snapshot_release(text);
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

static bool is_index_of_plans(const struct day *d, const struct block_meta *m)
{
    for (size_t i = 0; i < d->plan_count && m->key.kind == BLOCK_TRACES; i++)
        if (d->plans[i].k->is_spans && d->plans[i].rows->key.org == m->key.org &&
            d->plans[i].rows->key.generation == m->key.generation)
            return true;
    return false;
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

/* Entries of blocks that stay as they are. */
static enum err keep_traces(struct day *d, uint64_t generation)
{
    size_t n;
    const struct block_meta *m = part_snapshot_blocks(d->of_rows, &n);
    enum err e = ERR_OK;
    for (size_t i = 0; i < n && e == ERR_OK; i++) {
        struct bytes block;
        struct block_trace *t = NULL;
        uint32_t count = 0;
        if (m[i].key.kind != BLOCK_TRACES || m[i].key.org != d->pass->target->org ||
            m[i].key.generation != generation)
            continue;
        arena_reset(d->a);
        e = part_fetch(d->of_rows, &m[i], d->a, &block, d->msg);
        if (e == ERR_OK)
            e = block_traces_read(block, d->a, &t, &count);
        for (uint32_t k = 0; k < count && e == ERR_OK; k++) {
            bool gone = false;
            for (size_t p = 0; p < d->plan_count && !gone; p++)
                gone = d->plans[p].k->is_spans && d->plans[p].rows->key.generation == generation &&
                       d->plans[p].rows->key.n == t[k].n;
            e = gone ? ERR_OK : add_trace(d, t[k]);
        }
    }
    return e;
}

static enum err put_traces(struct day *d, struct part *fresh, uint64_t generation)
{
    int64_t day_ms = (int64_t)part_day(d->rows) * 86400000;
    enum err e = ERR_OK;
    block_traces_sort(d->traces, d->trace_count);
    for (size_t from = 0, n = 0; from < d->trace_count && e == ERR_OK;
         from += BLOCK_TRACES_MAX, n++) {
        struct buf block = {0}, summary = {0};
        struct block_meta m = {.key = {d->pass->target->org, BLOCK_TRACES, generation, (uint32_t)n},
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

/* One block of a plan without the rows that go, and its traces. */
static enum err put_plan(struct day *d, struct part *fresh, const struct plan *p)
{
    union view_table t;
    enum err e = load(d, p->rows, NULL, p->k, &t);
    if (e == ERR_OK && p->keep_count)
        e = put_block(d, fresh, p, &t, false);
    size_t first = d->trace_count;
    for (uint32_t i = 0; p->k->is_spans && i < p->keep_count && e == ERR_OK; i++) {
        uint64_t prefix = bytes_u64be(t.spans.trace_id[p->keep[i]].b);
        if (d->trace_count > first && d->traces[d->trace_count - 1].prefix == prefix)
            d->traces[d->trace_count - 1].more++;
        else
            e = add_trace(d, (struct block_trace){prefix, p->n, i, 0});
    }
    return e;
}

static enum err rewrite_rows(struct day *d)
{
    struct part *fresh;
    size_t n;
    const struct block_meta *m = part_snapshot_blocks(d->of_rows, &n);
    enum err e = part_rewrite_begin(d->rows, &fresh, d->msg);
    if (e != ERR_OK)
        return e;
    for (size_t i = 0; i < n && e == ERR_OK; i++)
        if (!plan_of(d, &m[i]) && !is_index_of_plans(d, &m[i]))
            e = part_copy(fresh, d->of_rows, &m[i], d->msg);
    for (size_t from = 0, to; from < d->plan_count && e == ERR_OK; from = to) {
        uint64_t generation = d->plans[from].rows->key.generation;
        bool spans = d->plans[from].k->is_spans;
        d->trace_count = 0;
        for (to = from; to < d->plan_count && e == ERR_OK && d->plans[to].k->is_spans == spans &&
                        d->plans[to].rows->key.generation == generation;
             to++)
            e = put_plan(d, fresh, &d->plans[to]);
        if (e == ERR_OK && spans)
            e = keep_traces(d, generation);
        if (e == ERR_OK && spans)
            e = put_traces(d, fresh, generation);
    }
    if (e == ERR_OK)
        return erase_parts_finish(d->pass, d->rows, fresh, d->msg);
    part_release(fresh);
    return e;
}

/* --- a day --------------------------------------------------------------------------------------- */

static struct part *part_beside(const struct tsdb *db, const struct part *p, enum part_class class)
{
    for (size_t i = 0; i < db->part_count; i++)
        if (part_day(db->parts[i]) == part_day(p) && part_class_of(db->parts[i]) == class)
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
    number_plans(d);
    return e;
}

enum err erase_parts_rows(struct erase_pass *pass, struct part *p, struct err_msg *msg)
{
    struct day d = {.pass = pass, .rows = p, .msg = msg, .a = arena_new(0)};
    enum err e = d.a ? part_open(p, false, msg) : ERR_NOMEM;
    pass->found = (struct tsdb_erased){0};
    d.text = part_beside(pass->db, p, PART_TEXT);
    if (e == ERR_OK && d.text)
        e = part_open(d.text, false, msg);
    if (e == ERR_NOT_FOUND) { /* made and not yet written to */
        arena_free(d.a);
        return ERR_OK;
    }
    if (e == ERR_OK && (part_is_left_alone(p) || (d.text && part_is_left_alone(d.text))))
        e = err_set(msg, ERR_CORRUPT, "%s has damaged blocks", part_path(p));
    d.of_rows = e == ERR_OK ? part_snapshot_new(p, UINT64_MAX) : NULL;
    d.of_text = e == ERR_OK && d.text ? part_snapshot_new(d.text, UINT64_MAX) : NULL;
    if (e == ERR_OK && (!d.of_rows || (d.text && !d.of_text)))
        e = ERR_NOMEM;
    if (e == ERR_OK)
        e = examine_all(&d);
    if (e == ERR_OK && d.plan_count && d.text)
        e = add_texts(&d);
    if (e == ERR_OK && d.plan_count)
        e = rewrite_rows(&d);
    if (e == ERR_OK && d.text)
        e = drop_stale_texts(&d, part_beside(pass->db, p, PART_ROWS));
    part_snapshot_release(d.of_rows);
    part_snapshot_release(d.of_text);
    for (size_t i = 0; i < d.plan_count; i++)
        free(d.plans[i].keep);
    free(d.plans);
    free(d.traces);
    arena_free(d.a);
    return e;
}
