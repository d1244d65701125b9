/* What verify looks for in a part: manifest against blocks, blocks against each other, summaries against content. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/hash.h"
#include "tsdb/gone.h"
#include "tsdb/block_index.h"
#include "tsdb/columns.h"
#include "tsdb/files.h"
#include "tsdb/part_core.h"
#include "tsdb/store_format.h"
#include "tsdb/verify_core.h"
#include "tsdb/zone.h"

#define MAP_BYTES LMDB_ENV_MAP(64ull << 30)

struct row { /* of the manifest */
    struct block_meta meta;
    struct bytes tail; /* as it stands on disk, without the checksum */
};

struct place { /* of a span, as told by its row or by the trace index */
    uint32_t org;
    uint64_t generation, key;
    uint32_t n, row;
};

struct places {
    struct place *p;
    size_t count, cap;
};

struct look {
    struct verify_env *v;
    struct lmdb_txn *txn;
    struct lmdb_txn *rows_txn; /* texts: the rows beside them; NULL when they are gone */
    struct arena *arena, *scratch; /* of the part; of a block */
    struct row *rows;
    size_t row_count, row_cap;
    uint64_t *sealed;
    struct part_roll roll; /* as counted */
    bool has_roll;
    size_t sealed_count, sealed_cap;
    struct group { /* series of one (org, generation) */
        uint32_t org;
        uint64_t generation;
        uint32_t next_id;
        struct tsdb_labels last;
    } * groups;
    size_t group_count, group_cap;
    struct places spans, index;
    bool has_no_memory, is_index_damaged; /* of traces: it cannot be told what it lacks */
};

static void say(struct look *l, const struct block_key *k, const char *what)
{
    l->is_index_damaged |= k->kind == BLOCK_TRACES;
    verify_say(l->v, "block (org %u, kind %u, generation %llu, %u): %s", k->org, k->kind,
               (unsigned long long)k->generation, k->n, what);
}

static void *more(struct look *l, void *p, size_t item, size_t count, size_t *cap)
{
    if (count < *cap)
        return p;
    size_t wanted = *cap ? *cap * 2 : 64;
    void *fresh = realloc(p, item * wanted);
    l->has_no_memory |= !fresh;
    *cap = fresh ? wanted : *cap;
    return fresh;
}

/* --- manifest ------------------------------------------------------------------------------------ */

static bool look_manifest(void *ctx, struct bytes key, struct bytes value)
{
    struct look *l = ctx;
    struct row row = {.meta = {.day = l->v->day, .class = (uint8_t)l->v->class}};
    struct bytes text;
    part_roll_add(&l->roll, value);
    if (!manifest_row_open(key, value, &text) || !block_key_read(key, &row.meta.key) ||
        block_meta_read(text, l->arena, &row.meta) != ERR_OK) {
        verify_say(l->v, "a manifest row (key of %zu, value of %zu bytes) does not decode",
                   key.size, value.size);
        return true;
    }
    row.tail = arena_copy(l->arena, bytes_slice(text, 4, text.size));
    struct row *rows = more(l, l->rows, sizeof(row), l->row_count, &l->row_cap);
    if (!rows)
        return false;
    l->rows = rows;
    rows[l->row_count++] = row;
    return true;
}

static bool look_seal(void *ctx, struct bytes key, struct bytes value)
{
    struct look *l = ctx;
    struct part_roll roll;
    if (key.size == 8 && bytes_u64be(key.data) == 0) {
        if (!part_roll_read(value, &roll))
            verify_say(l->v, "the roll of its manifest does not decode");
        else if (roll.rows != l->roll.rows || roll.sum != l->roll.sum)
            verify_say(l->v, "its manifest has %llu rows, its roll says %llu%s",
                       (unsigned long long)l->roll.rows, (unsigned long long)roll.rows,
                       roll.rows == l->roll.rows ? ", and other ones" : "");
        l->has_roll = true;
        return true;
    }
    if (key.size != 8) {
        verify_say(l->v, "a seal has a key of %zu bytes", key.size);
        return true;
    }
    uint64_t *sealed = more(l, l->sealed, sizeof(*sealed), l->sealed_count, &l->sealed_cap);
    if (!sealed)
        return false;
    l->sealed = sealed;
    sealed[l->sealed_count++] = bytes_u64be(key.data);
    return true;
}

static int by_key(const void *x, const void *y)
{
    uint8_t a[BLOCK_KEY_SIZE], b[BLOCK_KEY_SIZE];
    block_key_write(&((const struct row *)x)->meta.key, a);
    block_key_write(&((const struct row *)y)->meta.key, b);
    return memcmp(a, b, BLOCK_KEY_SIZE);
}

/* A block that no manifest row names is what a crash left, or its row is damaged: that has been said then. */
static bool look_orphan(void *ctx, struct bytes key, struct bytes value)
{
    struct look *l = ctx;
    struct row want;
    bool known = block_key_read(key, &want.meta.key) && l->row_count &&
                 bsearch(&want, l->rows, l->row_count, sizeof(want), by_key);
    l->v->report->orphans += !known;
    return true;
}

/* --- blocks of series ---------------------------------------------------------------------------- */

static struct group *group_of(struct look *l, const struct block_key *k, bool make)
{
    for (size_t i = l->group_count; i-- > 0;)
        if (l->groups[i].org == k->org && l->groups[i].generation == k->generation)
            return &l->groups[i];
    struct group *g = make ? more(l, l->groups, sizeof(*g), l->group_count, &l->group_cap) : NULL;
    if (!g)
        return NULL;
    l->groups = g;
    g[l->group_count] = (struct group){.org = k->org, .generation = k->generation};
    return &g[l->group_count++];
}

static const char *look_index(struct look *l, const struct block_meta *m, struct bytes block)
{
    struct group *g = group_of(l, &m->key, true);
    struct block_index_series *s;
    uint32_t first, n;
    if (!g || block_index_read(block, m->key.org, l->scratch, &first, &s, &n) != ERR_OK)
        return "the index does not decode";
    if (first != g->next_id)
        return "the numbers of its series do not follow those of the block before it";
    for (uint32_t i = 0; i < n; i++)
        if (tsdb_labels_compare(i ? s[i - 1].labels : g->last, s[i].labels) >= 0 &&
            (i || g->next_id))
            return "its series are not in the order of their labels";
    g->next_id += n;
    g->last.enc = n ? arena_copy(l->arena, s[n - 1].labels.enc) : g->last.enc;
    return NULL;
}

struct seen {
    uint64_t rows;
    int64_t min, max;
};

static void see(struct seen *s, int64_t first, int64_t last, uint32_t n)
{
    s->rows += n;
    s->min = MIN(s->min, first);
    s->max = MAX(s->max, last);
}

static const char *look_cells(struct look *l, const struct block_series *b, uint32_t i,
                              struct seen *seen)
{
    struct block_cells head;
    struct head_cell *c;
    uint64_t sum = 0;
    if (block_series_cells(b, i, &head) != ERR_OK ||
        block_cells_read(&head, l->scratch, &c) != ERR_OK)
        return "a chunk of cells does not decode";
    for (uint32_t k = 0; k < head.count && !head.is_hist; k++)
        sum += (uint64_t)c[k].add;
    if (!head.is_hist && sum != (uint64_t)head.total)
        return "the total of a chunk is not the sum of its minutes";
    if (c[0].minute != head.minute_first || c[head.count - 1].minute != head.minute_last)
        return "the first or last minute of a chunk is wrong";
    see(seen, (int64_t)c[0].minute * 60000, (int64_t)c[head.count - 1].minute * 60000, head.count);
    return NULL;
}

static const char *look_series(struct look *l, const struct block_meta *m, struct bytes block)
{
    const struct group *g = group_of(l, &m->key, false);
    struct block_series b;
    struct seen seen = {0, INT64_MAX, INT64_MIN};
    uint32_t first, last;
    if (block_series_open(block, l->scratch, &b) != ERR_OK || b.chunk_count == 0)
        return "it does not decode";
    if (block_series_range(m->summary, &first, &last) != ERR_OK || first != b.chunks[0].id ||
        last != b.chunks[b.chunk_count - 1].id)
        return "the range of series in its summary is not what it holds";
    if (!g || last >= g->next_id)
        return "it holds a series that the index does not have";
    for (uint32_t i = 0; i < b.chunk_count; i++) {
        struct head_point *p;
        uint32_t n;
        if (m->key.kind == BLOCK_CELLS) {
            const char *wrong = look_cells(l, &b, i, &seen);
            if (wrong)
                return wrong;
            continue;
        }
        enum err e = m->key.kind == BLOCK_SAMPLES ? block_series_samples(&b, i, l->scratch, &p, &n)
                                                  : block_series_hists(&b, i, l->scratch, &p, &n);
        if (e != ERR_OK)
            return "a chunk does not decode";
        see(&seen, p[0].t_ms, p[n - 1].t_ms, n);
    }
    l->v->report->rows += seen.rows;
    return seen.rows != m->rows ? "its manifest row counts other rows"
           : seen.min != m->time_min || seen.max != m->time_max ? "its manifest row has other times"
                                                                : NULL;
}

/* --- blocks of rows ------------------------------------------------------------------------------ */

static const char *look_zone(struct look *l, const struct block_meta *m, const struct tsdb_spans *s,
                             const struct tsdb_logs *logs, uint32_t n)
{
    struct zone z;
    int64_t min = INT64_MAX, max = INT64_MIN, shortest = INT64_MAX, longest = INT64_MIN;
    if (zone_read(m->summary, l->scratch, &z) != ERR_OK)
        return "its zone map does not decode";
    for (uint32_t i = 0; i < n; i++) {
        int64_t start = s ? s->start_ns[i] : logs->time_ns[i];
        int64_t length = s ? (int64_t)((uint64_t)s->end_ns[i] - (uint64_t)start) : 0;
        uint8_t level = s ? s->status[i] : logs->severity[i];
        min = MIN(min, start), max = MAX(max, start);
        shortest = MIN(shortest, length), longest = MAX(longest, length);
        if (!zone_has(&z, s ? s->service[i] : logs->service[i],
                      s ? s->name[i] : logs->event_name[i]))
            return "its zone map lacks a service or name that it holds";
        if (level < z.level_min || level > z.level_max)
            return "its zone map denies a status or severity that it holds";
    }
    uint64_t counted = 0, weights = 0;
    for (uint32_t i = 0; i < z.group_count; i++)
        counted += z.groups[i].count;
    for (uint32_t i = 0; i < n; i++)
        weights += s ? (uint64_t)TSDB_SPAN_GET(s, weight, i, TSDB_WEIGHT_ONE) : TSDB_WEIGHT_ONE;
    if (z.groups_known && counted != weights)
        return "the counts of its zone map are not its rows";
    return z.start_min != min || z.start_max != max || z.duration_min != shortest ||
                   z.duration_max != longest
               ? "its zone map has other times or durations"
               : NULL;
}

static const char *look_times(const struct block_meta *m, const int64_t *t_ns, uint32_t n)
{
    int64_t min = INT64_MAX, max = INT64_MIN;
    for (uint32_t i = 0; i < n; i++) {
        min = MIN(min, t_ns[i] / 1000000);
        max = MAX(max, t_ns[i] / 1000000);
    }
    return n && (min != m->time_min || max != m->time_max) ? "its manifest row has other times"
                                                           : NULL;
}

static bool add_place(struct look *l, struct places *all, struct place p)
{
    struct place *list = more(l, all->p, sizeof(p), all->count, &all->cap);
    if (!list)
        return false;
    all->p = list;
    list[all->count++] = p;
    return true;
}

union table {
    struct tsdb_spans spans;
    struct tsdb_logs logs;
};

static bool decode(struct look *l, const struct tsdb_schema *schema, struct bytes block, bool merge,
                   union table *t)
{
    struct bytes body;
    if (block_unpack(block, l->scratch, &body) != ERR_OK)
        return false;
    struct reader r = reader_of(body);
    return columns_decode(&r, schema, COLUMNS_ALL, l->scratch, t, merge) == ERR_OK &&
           reader_left(&r) == 0 && columns_fill(schema, l->scratch, t, COLUMNS_ALL);
}

/* Texts name columns of the rows beside them. Where those are gone, only the checksum speaks for them. */
static const char *look_text(struct look *l, const struct block_meta *m, struct bytes block)
{
    bool is_spans = m->key.kind == BLOCK_SPAN_TEXT;
    const struct tsdb_schema *schema = is_spans ? &tsdb_batch_span_schema : &tsdb_batch_log_schema;
    struct block_key beside = m->key;
    uint8_t key[BLOCK_KEY_SIZE];
    struct bytes rows;
    union table t;
    memset(&t, 0, sizeof(t));
    beside.kind = is_spans ? BLOCK_SPANS : BLOCK_LOGS;
    block_key_write(&beside, key);
    if (!l->rows_txn ||
        lmdb_txn_get(l->rows_txn, PART_DB_BLOCKS, bytes_of(key, sizeof(key)), &rows) != ERR_OK ||
        !decode(l, schema, rows, false, &t))
        return NULL; /* said of the rows */
    if (!decode(l, schema, block, true, &t))
        return "its columns do not decode";
    return t.spans.count != m->rows ? "its manifest row counts other rows" : NULL;
}

static const char *look_rows(struct look *l, const struct block_meta *m, struct bytes block)
{
    union table t;
    bool is_spans = m->key.kind == BLOCK_SPANS;
    const struct tsdb_schema *schema = is_spans ? &tsdb_batch_span_schema : &tsdb_batch_log_schema;
    memset(&t, 0, sizeof(t));
    if (!decode(l, schema, block, false, &t))
        return "its columns do not decode";
    uint32_t n = is_spans ? t.spans.count : t.logs.count;
    if (n != m->rows)
        return "its manifest row counts other rows";
    l->v->report->rows += n;
    for (uint32_t i = 0; i < n && is_spans; i++)
        if (!add_place(l, &l->spans,
                       (struct place){m->key.org, m->key.generation,
                                      block_trace_key(t.spans.trace_id[i]), m->key.n, i}))
            return "no memory to look at it";
    const char *wrong = look_times(m, is_spans ? t.spans.end_ns : t.logs.time_ns, n);
    return wrong ? wrong : look_zone(l, m, is_spans ? &t.spans : NULL, &t.logs, n);
}

static const char *look_traces(struct look *l, const struct block_meta *m, struct bytes block)
{
    struct block_trace *t;
    uint32_t n;
    if (block_traces_read(block, l->scratch, &t, &n) != ERR_OK)
        return "the trace index does not decode";
    for (uint32_t i = 0; i < n; i++) {
        if (i && t[i].key < t[i - 1].key)
            return "the trace index is not sorted";
        if (!block_traces_may_have(m->summary, t[i].key))
            return "its filter denies a trace that it holds";
        for (uint32_t k = 0; k <= t[i].more; k++)
            if (!add_place(
                    l, &l->index,
                    (struct place){m->key.org, m->key.generation, t[i].key, t[i].n, t[i].row + k}))
                return "no memory to look at it";
    }
    return NULL;
}

static int by_place(const void *x, const void *y)
{
    const struct place *a = x, *b = y;
    if (a->org != b->org)
        return a->org < b->org ? -1 : 1;
    if (a->generation != b->generation)
        return a->generation < b->generation ? -1 : 1;
    if (a->n != b->n)
        return a->n < b->n ? -1 : 1;
    if (a->row != b->row)
        return a->row < b->row ? -1 : 1;
    return (a->key > b->key) - (a->key < b->key);
}

/* Entries of a block that was found damaged: that has been said, once. */
static bool is_unread(const struct look *l, const struct place *p)
{
    const struct place first = {p->org, p->generation, 0, p->n, 0};
    const struct row want = {.meta.key = {p->org, BLOCK_SPANS, p->generation, p->n}};
    size_t lo = 0, hi = l->spans.count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (by_place(&l->spans.p[mid], &first) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    bool is_read = lo < l->spans.count && l->spans.p[lo].org == p->org &&
                   l->spans.p[lo].generation == p->generation && l->spans.p[lo].n == p->n;
    return !is_read && l->row_count &&
           bsearch(&want, l->rows, l->row_count, sizeof(want), by_key) != NULL;
}

/* Every span has its entry, every entry its span. */
static void compare_places(struct look *l)
{
    struct places *a = &l->spans, *b = &l->index;
    if (a->count)
        qsort(a->p, a->count, sizeof(*a->p), by_place);
    if (b->count)
        qsort(b->p, b->count, sizeof(*b->p), by_place);
    for (size_t i = 0, k = 0; i < a->count || k < b->count;) {
        int c = i == a->count ? 1 : k == b->count ? -1 : by_place(&a->p[i], &b->p[k]);
        const struct place *p = c <= 0 ? &a->p[i] : &b->p[k];
        if ((c < 0 && !l->is_index_damaged) || (c > 0 && !is_unread(l, p)))
            verify_say(l->v,
                       "block (org %u, kind %u, generation %llu, %u): row %u, key of its trace "
                       "%016llx: %s",
                       p->org, BLOCK_SPANS, (unsigned long long)p->generation, p->n, p->row,
                       (unsigned long long)p->key,
                       c < 0 ? "the trace index does not have this span"
                             : "the trace index names a span that is not there");
        i += c <= 0;
        k += c >= 0;
    }
}

/* --- all of it ----------------------------------------------------------------------------------- */

static const char *look_content(struct look *l, const struct block_meta *m, struct bytes block)
{
    struct block_exemplar *x;
    struct tsdb_metadata_row *rows;
    struct gone_rows gone;
    uint32_t n;
    switch (m->key.kind) {
    case BLOCK_INDEX: return look_index(l, m, block);
    case BLOCK_SAMPLES:
    case BLOCK_HISTS:
    case BLOCK_CELLS: return look_series(l, m, block);
    case BLOCK_SPANS:
    case BLOCK_LOGS: return look_rows(l, m, block);
    case BLOCK_SPAN_TEXT:
    case BLOCK_LOG_TEXT: return look_text(l, m, block);
    case BLOCK_TRACES: return look_traces(l, m, block);
    case BLOCK_EXEMPLARS:
        return block_exemplars_read(block, l->scratch, &x, &n) == ERR_OK ? NULL
                                                                         : "it does not decode";
    case BLOCK_METADATA:
        return block_metadata_read(block, l->scratch, &rows, &n) == ERR_OK ? NULL
                                                                           : "it does not decode";
    case BLOCK_GONE: return gone_read(block, &gone) ? NULL : "it does not decode";
    default: return "its kind is not known: it may be of a newer telltale";
    }
}

static void look_block(struct look *l, const struct row *row)
{
    const struct block_meta *m = &row->meta;
    uint8_t key[BLOCK_KEY_SIZE];
    struct bytes value, k = bytes_of(key, sizeof(key));
    bool is_sealed = false;
    block_key_write(&m->key, key);
    l->v->report->blocks++;
    for (size_t i = 0; i < l->sealed_count && !is_sealed; i++)
        is_sealed = l->sealed[i] == m->key.generation;
    if (!is_sealed)
        say(l, &m->key, "its generation has no seal in this part");
    enum err e = lmdb_txn_get(l->txn, PART_DB_BLOCKS, k, &value);
    if (e != ERR_OK) {
        say(l, &m->key,
            e == ERR_NOT_FOUND ? "the manifest names it and it is not there" : "it cannot be read");
        return;
    }
    l->v->report->bytes += value.size;
    if (value.size != m->size ||
        hash_crc32c(hash_crc32c(hash_crc32c(0, k), row->tail), value) != m->crc) {
        say(l, &m->key, "its checksum is wrong");
        return;
    }
    arena_reset(l->scratch);
    (void)tsdb_versions_take_newer();
    const char *wrong = look_content(l, m, value), *newer = tsdb_versions_take_newer();
    if (wrong)
        say(l, &m->key, newer ? newer : wrong);
}

static const char *const db_names[] = {"blocks", "manifest", "sealed", NULL};

/* The environment of the rows beside the one of texts; NULL when it is gone (it has a retention of its own) or cannot be read (said there). */
static struct lmdb_env *open_rows_beside(const struct verify_env *v)
{
    char path[FILES_PATH_MAX];
    struct lmdb_env *env = NULL;
    struct err_msg why = {""};
    snprintf(path, sizeof(path), "%.*s/rows", (int)(strrchr(v->path, '/') - v->path), v->path);
    if (access(path, F_OK) != 0 ||
        lmdb_env_open_read(path, MAP_BYTES, db_names, &env, &why) != ERR_OK)
        return NULL;
    return env;
}

/* Texts stand beside the rows of the sibling environment: same numbers, same count. */
static void compare_texts(struct look *text)
{
    struct look rows = {.v = text->v, .arena = text->arena};
    if (lmdb_txn_scan(text->rows_txn, PART_DB_MANIFEST, BYTES_NONE, look_manifest, &rows) != ERR_OK)
        verify_say(text->v, "the manifest of the rows cannot be read");
    for (size_t i = 0; i < text->row_count; i++) {
        struct row want = text->rows[i];
        if (want.meta.key.generation > *text->v->flushed)
            continue;
        want.meta.key.kind = want.meta.key.kind == BLOCK_SPAN_TEXT ? BLOCK_SPANS : BLOCK_LOGS;
        const struct row *found =
            rows.row_count ? bsearch(&want, rows.rows, rows.row_count, sizeof(want), by_key) : NULL;
        if (!found || found->meta.rows != want.meta.rows)
            say(text, &text->rows[i].meta.key,
                found ? "its row block has another number of rows" : "it has no row block");
    }
    free(rows.rows);
}

void verify_part(struct verify_env *v)
{
    struct look l = {.v = v, .arena = arena_new(0), .scratch = arena_new(0)};
    struct lmdb_env *env = NULL, *rows = v->class == PART_TEXT ? open_rows_beside(v) : NULL;
    struct err_msg why = {""};
    enum err e = l.arena && l.scratch ? lmdb_env_open_read(v->path, MAP_BYTES, db_names, &env, &why)
                                      : ERR_NOMEM;
    if (rows && lmdb_env_begin(rows, false, &l.rows_txn, &why) != ERR_OK)
        l.rows_txn = NULL;
    if (e == ERR_OK && (e = lmdb_env_begin(env, false, &l.txn, &why)) == ERR_OK) {
        e = lmdb_txn_scan(l.txn, PART_DB_MANIFEST, BYTES_NONE, look_manifest, &l);
        if (e == ERR_OK)
            e = lmdb_txn_scan(l.txn, PART_DB_SEALED, BYTES_NONE, look_seal, &l);
        if (e == ERR_OK && !l.has_roll && l.roll.rows)
            verify_say(v, "its manifest has no roll");
        if (l.row_count)
            qsort(l.rows, l.row_count, sizeof(*l.rows), by_key);
        if (e == ERR_OK)
            e = lmdb_txn_scan(l.txn, PART_DB_BLOCKS, BYTES_NONE, look_orphan, &l);
        for (size_t i = 0; i < l.row_count && !l.has_no_memory; i++)
            look_block(&l, &l.rows[i]);
        lmdb_txn_abort(l.txn);
    }
    if (l.has_no_memory)
        e = ERR_NOMEM;
    if (e == ERR_OK)
        compare_places(&l);
    if (e == ERR_OK && l.rows_txn)
        compare_texts(&l);
    if (e != ERR_OK)
        verify_say(v, "cannot be read: %s %s", err_text(e), why.text);
    lmdb_txn_abort(l.rows_txn);
    lmdb_env_close(rows);
    lmdb_env_close(env);
    free(l.rows), free(l.sealed), free(l.groups), free(l.spans.p), free(l.index.p);
    arena_free(l.arena);
    arena_free(l.scratch);
}
