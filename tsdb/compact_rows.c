#include "tsdb/compact_rows.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"
#include "tsdb/block_rows.h"
#include "tsdb/head_flush.h"
#include "tsdb/record.h"
#include "tsdb/view_rows.h"

#define TEXT_TARGET (4u << 20)
#define TRACES_RUN (1u << 19) /* entries of the trace index that are sorted at once */
#define NOT_TAKEN 0
#define TAKEN 1 /* into the block that is being made */
#define REPEATED 2

/* A block whose rows are not all written yet. */
struct source {
    struct arena *a;
    union view_table t;
    uint64_t generation;
    size_t bytes;
    uint32_t left;
    bool has_text;
};

struct pending {
    int64_t t_ns; /* span end, log time */
    struct source *s;
    uint32_t row;
};

struct merge {
    struct compact_rows_job *job;
    const struct view_row_kind *k;
    const struct block_meta **blocks; /* by time_min */
    size_t block_count, next;
    struct pending *rows; /* in the order of time */
    size_t count, cap, held_bytes;
    struct arena *scratch; /* of one written block */
    struct block_trace *traces;
    size_t trace_count, trace_cap;
    uint32_t n, traces_n; /* blocks written */
    struct err_msg *msg;
};

/* --- sources ------------------------------------------------------------------------------------- */

static void source_free(struct merge *m, struct source *s)
{
    m->held_bytes -= s->bytes;
    arena_free(s->a);
    free(s);
}

static const struct block_meta *text_of(const struct merge *m, const struct block_meta *rows)
{
    const struct block_meta *t = m->job->texts;
    for (size_t lo = 0, hi = m->job->text_count; lo < hi;) {
        size_t mid = lo + (hi - lo) / 2;
        const struct block_key *a = &t[mid].key, *b = &rows->key;
        if (a->org == b->org && a->kind == m->k->text && a->generation == b->generation &&
            a->n == b->n)
            return &t[mid];
        bool before = a->org != b->org                 ? a->org < b->org
                      : a->kind != m->k->text          ? a->kind < m->k->text
                      : a->generation != b->generation ? a->generation < b->generation
                                                       : a->n < b->n;
        if (before)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

static enum err decode(struct merge *m, struct source *s, const struct part_snapshot *p,
                       const struct block_meta *b, bool is_text)
{
    struct bytes block, body;
    enum err e = part_fetch(p, b, s->a, &block, m->msg);
    if (e == ERR_OK)
        e = block_unpack(block, s->a, &body);
    if (e != ERR_OK)
        return e;
    struct reader r = reader_of(body);
    e = columns_decode(&r, m->k->schema, is_text ? m->k->text_mask : ~m->k->text_mask, s->a, &s->t,
                       is_text);
    if (e == ERR_OK && (reader_left(&r) || view_table_count(&s->t) != b->rows))
        e = ERR_CORRUPT;
    return e == ERR_CORRUPT
               ? err_set(m->msg, e, "block (org %u, kind %u, generation %llu, %u) does not decode",
                         b->key.org, b->key.kind, (unsigned long long)b->key.generation, b->key.n)
               : e;
}

/* Also where a row of a repeated time comes from decides, so that the order is the same each time. */
static int by_time(const void *x, const void *y)
{
    const struct pending *a = x, *b = y;
    if (a->t_ns != b->t_ns)
        return a->t_ns < b->t_ns ? -1 : 1;
    if (a->s->generation != b->s->generation)
        return a->s->generation < b->s->generation ? -1 : 1;
    return (a->row > b->row) - (a->row < b->row);
}

static int64_t *weights_of(struct merge *m, struct source *s)
{
    uint64_t column = UINT64_C(1) << TSDB_SPAN_weight;
    return columns_fill(m->k->schema, s->a, &s->t, column) ? s->t.spans.weight : NULL;
}

/* The rows of a source that stay. */
static enum err choose(struct merge *m, struct source *s, struct pending *out, size_t *out_n)
{
    const struct compact_sample *sample =
        m->k->is_spans && s->generation > m->job->gone.decided ? m->job->sample : NULL;
    const int64_t *t = m->k->is_spans ? s->t.spans.end_ns : s->t.logs.time_ns;
    int64_t *weights = sample ? weights_of(m, s) : NULL;
    size_t n = 0;
    if (sample && !weights)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < view_table_count(&s->t); i++) {
        int64_t w = sample ? compact_sample_weight(sample, s->t.spans.trace_id[i]) : 0;
        if (sample && w == 0) {
            m->job->gone.sampled_out++;
            continue;
        }
        if (sample)
            weights[i] = weights[i] * w / TSDB_WEIGHT_ONE;
        out[n++] = (struct pending){t ? t[i] : 0, s, i};
    }
    *out_n = n;
    return ERR_OK;
}

/* The rows of a source, by time, among those that wait. */
static enum err add_rows(struct merge *m, struct source *s)
{
    size_t n = view_table_count(&s->t), all = m->count + n;
    struct pending *fresh = malloc((n + 1) * sizeof(*fresh));
    if (all > m->cap) {
        struct pending *more = realloc(m->rows, all * 2 * sizeof(*more));
        m->rows = more ? more : m->rows;
        m->cap = more ? all * 2 : m->cap;
    }
    if (!fresh || all > m->cap) {
        free(fresh);
        return ERR_NOMEM;
    }
    enum err e = choose(m, s, fresh, &n);
    if (e != ERR_OK)
        n = 0;
    all = m->count + n;
    if (n)
        qsort(fresh, n, sizeof(*fresh), by_time);
    for (size_t to = all, a = m->count, b = n; b > 0;) /* from the end, in place */
        m->rows[--to] =
            a > 0 && by_time(&m->rows[a - 1], &fresh[b - 1]) > 0 ? m->rows[--a] : fresh[--b];
    m->count = all;
    s->left = (uint32_t)n;
    free(fresh);
    return e;
}

static enum err load(struct merge *m, const struct block_meta *b)
{
    struct source *s = calloc(1, sizeof(*s));
    const struct block_meta *text = text_of(m, b);
    if (!s || !(s->a = arena_new(0))) {
        free(s);
        return ERR_NOMEM;
    }
    s->generation = b->key.generation;
    s->has_text = text != NULL;
    enum err e = b->rows > COLUMNS_ROWS_MAX ? err_set(m->msg, ERR_CORRUPT, "a block of %llu rows",
                                                      (unsigned long long)b->rows)
                                            : decode(m, s, m->job->from, b, false);
    if (e == ERR_OK && text)
        e = decode(m, s, m->job->text_from, text, true);
    if (e == ERR_OK && m->k->is_spans && /* what tells whether spans are the same */
        !columns_fill(m->k->schema, s->a, &s->t, m->k->always))
        e = ERR_NOMEM;
    s->bytes = arena_used(s->a);
    m->held_bytes += s->bytes;
    if (e == ERR_OK)
        e = add_rows(m, s);
    if (e != ERR_OK || s->left == 0)
        source_free(m, s);
    return e;
}

/* --- what goes into a block ------------------------------------------------------------------------ */

static size_t strings_size(const struct merge *m, const struct pending *p)
{
    size_t size = 0;
    for (uint32_t i = 0; i < m->k->schema->column_count; i++) {
        const struct bytes *s;
        if (m->k->schema->columns[i].type != TSDB_STR)
            continue;
        memcpy(&s, (const uint8_t *)&p->s->t + m->k->schema->columns[i].offset, sizeof(s));
        size += s ? s[p->row].size : 0;
    }
    return size;
}

/* The rows that may go into the next block, by trace and by identity. */
struct window {
    size_t n;
    uint8_t *fate; /* NOT_TAKEN, TAKEN, REPEATED */
    uint32_t *next; /* of the same trace, index + 1 */
    uint32_t *last; /* of a first row: the newest of its trace */
    uint32_t *traces, *spans, mask; /* hash tables: index + 1 */
};

static bool window_init(struct window *w, size_t n, struct arena *a)
{
    uint32_t cap = 64;
    while (cap < n * 2)
        cap *= 2;
    *w = (struct window){.n = n,
                         .fate = ARENA_ARRAY(a, uint8_t, n + 1),
                         .next = ARENA_ARRAY(a, uint32_t, n + 1),
                         .last = ARENA_ARRAY(a, uint32_t, n + 1),
                         .traces = ARENA_ARRAY(a, uint32_t, cap),
                         .spans = ARENA_ARRAY(a, uint32_t, cap),
                         .mask = cap - 1};
    return w->fate && w->next && w->last && w->traces && w->spans;
}

static const struct tsdb_id16 *trace_of(const struct pending *p)
{
    return &p->s->t.spans.trace_id[p->row];
}

static bool is_same_span(const struct pending *a, const struct pending *b)
{
    const struct tsdb_spans *x = &a->s->t.spans, *y = &b->s->t.spans;
    return a->t_ns == b->t_ns && x->start_ns[a->row] == y->start_ns[b->row] &&
           memcmp(x->span_id[a->row].b, y->span_id[b->row].b, 8) == 0 &&
           memcmp(trace_of(a), trace_of(b), 16) == 0 && a->s->has_text && b->s->has_text &&
           hash128_equal(record_span_hash(x, a->row), record_span_hash(y, b->row));
}

/* Is it there already? Then the one that stays stands for both: cells have counted both. */
static enum err find_repeat(struct merge *m, struct window *w, uint32_t i)
{
    const struct pending *p = &m->rows[i];
    const struct tsdb_spans *t = &p->s->t.spans;
    uint32_t at = (uint32_t)hash64(bytes_of(t->span_id[p->row].b, 8), (uint64_t)p->t_ns) & w->mask;
    for (; w->spans[at]; at = (at + 1) & w->mask) {
        const struct pending *first = &m->rows[w->spans[at] - 1];
        if (!is_same_span(first, p))
            continue;
        int64_t *weight = weights_of(m, first->s);
        if (!weight)
            return ERR_NOMEM;
        weight[first->row] += TSDB_SPAN_GET(t, weight, p->row, TSDB_WEIGHT_ONE);
        w->fate[i] = REPEATED;
        m->job->gone.superseded++;
        return ERR_OK;
    }
    w->spans[at] = i + 1;
    return ERR_OK;
}

static void link_trace(struct merge *m, struct window *w, uint32_t i)
{
    const struct tsdb_id16 *id = trace_of(&m->rows[i]);
    uint32_t at = (uint32_t)hash64(bytes_of(id->b, 16), 0) & w->mask;
    while (w->traces[at] && memcmp(trace_of(&m->rows[w->traces[at] - 1]), id, 16) != 0)
        at = (at + 1) & w->mask;
    if (!w->traces[at]) {
        w->traces[at] = i + 1;
        w->last[i] = i;
        return;
    }
    uint32_t first = w->traces[at] - 1;
    w->next[w->last[first]] = i + 1;
    w->last[first] = i;
}

/* Of a block; so much again is looked at for the other spans of its traces. */
static uint32_t rows_max(const struct merge *m)
{
    return m->k->is_spans ? HEAD_FLUSH_SPANS_MAX : HEAD_FLUSH_LOGS_MAX;
}

/* Rows in the order of time, each with the others of its trace, until the block is full. */
static uint32_t take(struct merge *m, struct window *w)
{
    uint32_t taken = 0;
    size_t text = 0;
    for (uint32_t i = 0; i < w->n && taken < rows_max(m); i++) {
        uint32_t rows = 0;
        if (w->fate[i] != NOT_TAKEN)
            continue;
        for (uint32_t k = i + 1; k; k = w->next[k - 1])
            rows++;
        if (taken > rows_max(m) / 2 && taken + rows > rows_max(m))
            break;
        for (uint32_t k = i + 1; k && taken < rows_max(m); k = w->next[k - 1]) {
            size_t size = strings_size(m, &m->rows[k - 1]);
            if (taken && text + size > TEXT_TARGET)
                return taken;
            text += size;
            w->fate[k - 1] = TAKEN;
            taken++;
        }
    }
    return taken;
}

/* --- writing ------------------------------------------------------------------------------------- */

static enum err put_block(struct merge *m, enum part_class class, const void *const *sources,
                          const uint32_t *rows, struct block_meta meta)
{
    struct buf block = {0}, summary = {0};
    bool is_text = class == PART_TEXT;
    struct block_rows_source source = {m->k->schema, m->k->text_mask, sources, rows,
                                       (uint32_t)meta.rows};
    enum err e =
        block_rows_write(&source, is_text, &columns_zip_settled, m->scratch, &block, &summary);
    meta.key = (struct block_key){m->job->org, (uint8_t)(is_text ? m->k->text : m->k->rows),
                                  m->job->generation, m->n};
    meta.summary = buf_bytes(&summary);
    if (e == ERR_OK)
        e = part_put(is_text ? m->job->text : m->job->rows, &meta, buf_bytes(&block), m->msg);
    buf_done(&block);
    buf_done(&summary);
    return e;
}

/* What has gathered of the trace index. One run of blocks covers all keys; a day of very many traces has more than one. */
static enum err put_traces(struct merge *m)
{
    int64_t day_ms = (int64_t)part_day(m->job->rows) * 86400000;
    enum err e = ERR_OK;
    block_traces_sort(m->traces, m->trace_count);
    for (size_t from = 0; from < m->trace_count && e == ERR_OK; from += BLOCK_TRACES_MAX) {
        struct buf block = {0}, summary = {0};
        struct block_meta meta = {
            .key = {m->job->org, BLOCK_TRACES, m->job->generation, m->traces_n++},
            .time_min = day_ms,
            .time_max = day_ms + 86399999};
        block_traces_write(m->traces + from,
                           (uint32_t)MIN(m->trace_count - from, (size_t)BLOCK_TRACES_MAX), &block,
                           &summary);
        meta.summary = buf_bytes(&summary);
        e = buf_ok(&block) && buf_ok(&summary)
                ? part_put(m->job->rows, &meta, buf_bytes(&block), m->msg)
                : ERR_NOMEM;
        buf_done(&block);
        buf_done(&summary);
    }
    m->trace_count = 0;
    return e;
}

/* The rows of the block that is made now. */
static enum err index_traces(struct merge *m, const struct tsdb_id16 *ids, uint32_t n)
{
    if (m->trace_count + n > m->trace_cap) {
        size_t cap = MAX(m->trace_cap * 2, m->trace_count + n);
        struct block_trace *more = realloc(m->traces, cap * sizeof(*more));
        if (!more)
            return ERR_NOMEM;
        m->traces = more;
        m->trace_cap = cap;
    }
    for (uint32_t i = 0; i < n; i++) {
        uint64_t key = block_trace_key(ids[i]);
        if (i > 0 && m->traces[m->trace_count - 1].key == key)
            m->traces[m->trace_count - 1].more++;
        else
            m->traces[m->trace_count++] = (struct block_trace){key, m->n, i, 0};
    }
    return m->trace_count >= TRACES_RUN ? put_traces(m) : ERR_OK;
}

static enum err add_traces(struct merge *m, const struct pending *const *rows, uint32_t n)
{
    struct tsdb_id16 *ids = ARENA_ARRAY(m->scratch, struct tsdb_id16, n);
    if (!ids)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < n; i++)
        ids[i] = *trace_of(rows[i]);
    return index_traces(m, ids, n);
}

/* The taken rows, in the order in which they are written. */
static const struct pending **arranged(struct merge *m, const struct window *w, uint32_t n)
{
    const struct pending **in = ARENA_ARRAY(m->scratch, const struct pending *, n),
                         **out = ARENA_ARRAY(m->scratch, const struct pending *, n);
    uint32_t *order = ARENA_ARRAY(m->scratch, uint32_t, n);
    struct tsdb_id16 *id = ARENA_ARRAY(m->scratch, struct tsdb_id16, n);
    int64_t *start = ARENA_ARRAY(m->scratch, int64_t, n);
    if (!in || !out || !order || !id || !start)
        return NULL;
    for (uint32_t i = 0, k = 0; i < w->n; i++)
        if (w->fate[i] == TAKEN)
            in[k++] = &m->rows[i];
    if (!m->k->is_spans)
        return in;
    for (uint32_t i = 0; i < n; i++) {
        order[i] = i;
        id[i] = *trace_of(in[i]);
        start[i] = in[i]->s->t.spans.start_ns[in[i]->row];
    }
    if (!columns_order_spans(id, start, order, n))
        return NULL;
    for (uint32_t i = 0; i < n; i++)
        out[i] = in[order[i]];
    return out;
}

static enum err write_rows(struct merge *m, const struct window *w, uint32_t n)
{
    const struct pending **p = arranged(m, w, n);
    const void **sources = ARENA_ARRAY(m->scratch, const void *, n);
    uint32_t *rows = ARENA_ARRAY(m->scratch, uint32_t, n);
    struct block_meta meta = {.rows = n, .time_min = INT64_MAX, .time_max = INT64_MIN};
    bool has_text = false;
    if (!p || !sources || !rows)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < n; i++) {
        sources[i] = &p[i]->s->t;
        rows[i] = p[i]->row;
        has_text |= p[i]->s->has_text;
        meta.time_min = MIN(meta.time_min, p[i]->t_ns / 1000000);
        meta.time_max = MAX(meta.time_max, p[i]->t_ns / 1000000);
    }
    enum err e = m->k->is_spans ? add_traces(m, p, n) : ERR_OK;
    if (e == ERR_OK)
        e = put_block(m, PART_ROWS, sources, rows, meta);
    if (e == ERR_OK && has_text && m->job->text)
        e = put_block(m, PART_TEXT, sources, rows, meta);
    m->n++;
    return e;
}

/* Rows that are written or repeated leave; a source goes with its last. */
static void leave(struct merge *m, const struct window *w)
{
    size_t to = 0;
    for (size_t i = 0; i < m->count; i++) {
        struct source *s = m->rows[i].s;
        if (i >= w->n || w->fate[i] == NOT_TAKEN)
            m->rows[to++] = m->rows[i];
        else if (--s->left == 0)
            source_free(m, s);
    }
    m->count = to;
}

/* The next block, of the oldest of the first n rows. */
static enum err write_block(struct merge *m, size_t n)
{
    struct window w;
    arena_reset(m->scratch);
    if (!window_init(&w, n, m->scratch))
        return ERR_NOMEM;
    enum err e = ERR_OK;
    for (uint32_t i = 0; m->k->is_spans && i < n && e == ERR_OK; i++) {
        e = find_repeat(m, &w, i);
        if (w.fate[i] == NOT_TAKEN)
            link_trace(m, &w, i);
    }
    uint32_t taken = e == ERR_OK ? take(m, &w) : 0;
    if (taken)
        e = write_rows(m, &w, taken);
    if (e == ERR_OK)
        leave(m, &w);
    return e;
}

/* --- blocks that stay as they are ------------------------------------------------------------------ */

/* The rows of a block that a merge has written, by their trace, into the index of the new part. */
static enum err add_traces_of(struct merge *m, struct bytes block)
{
    struct tsdb_spans t = {0};
    struct bytes body;
    enum err e = block_unpack(block, m->scratch, &body);
    if (e != ERR_OK)
        return e;
    struct reader r = reader_of(body);
    e = columns_decode(&r, m->k->schema, UINT64_C(1) << TSDB_SPAN_trace_id, m->scratch, &t, false);
    if (e == ERR_OK && !columns_fill(m->k->schema, m->scratch, &t, 1ull << TSDB_SPAN_trace_id))
        e = ERR_NOMEM;
    return e == ERR_OK ? index_traces(m, t.trace_id, t.count) : e;
}

static enum err keep_one(struct merge *m, struct part *to, const struct part_snapshot *from,
                         const struct block_meta *b, bool has_traces)
{
    struct block_meta meta = *b;
    struct bytes block;
    meta.key.generation = m->job->generation;
    meta.key.n = m->n;
    enum err e = part_fetch(from, b, m->scratch, &block, m->msg);
    if (e == ERR_OK && has_traces)
        e = add_traces_of(m, block);
    return e == ERR_OK ? part_put(to, &meta, block, m->msg) : e;
}

static enum err keep_block(struct merge *m, const struct block_meta *b)
{
    const struct block_meta *text = text_of(m, b);
    arena_reset(m->scratch);
    enum err e = keep_one(m, m->job->rows, m->job->from, b, m->k->is_spans);
    if (e == ERR_OK && text && m->job->text)
        e = keep_one(m, m->job->text, m->job->text_from, text, false);
    m->n++;
    m->job->blocks_kept++;
    return e;
}

/* Another merge has written b, so it is compressed as hard as this one would; nothing is taken out of it, and no row of another generation
 * lies in its time: making it anew would give the same rows in the same order. */
static bool stays(const struct merge *m, const struct block_meta *b)
{
    int64_t first_ns = b->time_min * 1000000, end_ns = (b->time_max + 1) * 1000000;
    size_t lo = 0, hi = m->count;
    if (b->key.generation != m->job->merged || b->rows < rows_max(m) / 2 ||
        (m->k->is_spans && m->job->sample && b->key.generation > m->job->gone.decided))
        return false;
    while (lo < hi) { /* the first row that waits from its time on */
        size_t mid = lo + (hi - lo) / 2;
        if (m->rows[mid].t_ns < first_ns)
            lo = mid + 1;
        else
            hi = mid;
    }
    for (; lo < m->count && m->rows[lo].t_ns < end_ns; lo++)
        if (m->rows[lo].s->generation != b->key.generation)
            return false;
    for (size_t i = m->next + 1; i < m->block_count && m->blocks[i]->time_min <= b->time_max; i++)
        if (m->blocks[i]->key.generation != b->key.generation)
            return false;
    return true;
}

/* --- one kind of rows ------------------------------------------------------------------------------ */

/* Rows before anything that is not read yet. */
static size_t complete(const struct merge *m)
{
    size_t lo = 0, hi = m->count;
    if (m->next == m->block_count)
        return m->count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (m->rows[mid].t_ns / 1000000 < m->blocks[m->next]->time_min)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static int by_time_min(const void *x, const void *y)
{
    const struct block_meta *a = *(const struct block_meta *const *)x,
                            *b = *(const struct block_meta *const *)y;
    if (a->time_min != b->time_min)
        return a->time_min < b->time_min ? -1 : 1;
    return a < b ? -1 : a > b;
}

static enum err merge_kind(struct merge *m)
{
    enum err e = ERR_OK;
    if (m->block_count)
        qsort(m->blocks, m->block_count, sizeof(*m->blocks), by_time_min);
    while (e == ERR_OK && (m->next < m->block_count || m->count)) {
        size_t n = complete(m);
        bool is_full = m->count && m->held_bytes >= m->job->memory_bytes;
        if (m->next < m->block_count && stays(m, m->blocks[m->next]))
            e = keep_block(m, m->blocks[m->next++]);
        else if (m->next < m->block_count && n < 2 * rows_max(m) && !is_full)
            e = load(m, m->blocks[m->next++]);
        else
            e = write_block(m, is_full && n < 2 * rows_max(m) ? m->count : n);
    }
    return e == ERR_OK ? put_traces(m) : e;
}

static enum err merge_one(struct compact_rows_job *job, const struct view_row_kind *k,
                          struct err_msg *msg)
{
    struct merge m = {.job = job,
                      .k = k,
                      .msg = msg,
                      .blocks = malloc((job->meta_count + 1) * sizeof(*m.blocks)),
                      .scratch = arena_new(0)};
    enum err e = m.blocks && m.scratch ? ERR_OK : ERR_NOMEM;
    for (size_t i = 0; i < job->meta_count && e == ERR_OK; i++)
        if (job->metas[i].key.kind == k->rows)
            m.blocks[m.block_count++] = &job->metas[i];
    if (e == ERR_OK)
        e = merge_kind(&m);
    for (size_t i = 0; i < m.count; i++)
        if (--m.rows[i].s->left == 0)
            source_free(&m, m.rows[i].s);
    free(m.rows);
    free(m.blocks);
    free(m.traces);
    arena_free(m.scratch);
    return e;
}

/* What has been taken away, beside what is left. Its summary says it all: it is read with the manifest. */
static enum err put_gone(struct compact_rows_job *job, struct err_msg *msg)
{
    int64_t day_ms = (int64_t)part_day(job->rows) * 86400000;
    struct buf text = {0};
    struct block_meta m = {.key = {job->org, BLOCK_GONE, job->generation, 0},
                           .time_min = day_ms,
                           .time_max = day_ms + 86399999};
    gone_write(&job->gone, &text);
    m.summary = buf_bytes(&text);
    enum err e = buf_ok(&text) ? part_put(job->rows, &m, buf_bytes(&text), msg) : ERR_NOMEM;
    buf_done(&text);
    return e;
}

enum err compact_rows(struct compact_rows_job *job, struct err_msg *msg)
{
    enum err e = merge_one(job, &view_rows_spans, msg);
    if (e == ERR_OK)
        e = merge_one(job, &view_rows_logs, msg);
    /* once rows have been decided, all that is merged with them counts as decided */
    if (job->sample || job->gone.decided)
        job->gone.decided = job->generation;
    return e == ERR_OK && (job->gone.decided || job->gone.superseded) ? put_gone(job, msg) : e;
}
