/* All cells of a range in one pass over the blocks as they lie: no series is looked up, so a pass costs the same for one reader as for ten
 * thousand. */
#include "base/check.h"
#include "tsdb/view_erase.h"

#define WALK_TRIM_BYTES (8u << 20) /* of opened blocks; each is read once */

struct walk {
    struct tsdb_view *v;
    const struct tsdb_cells_walk *w;
    uint32_t from, to;
    struct arena *scratch;
};

/* Cells of a series that is being erased. */
struct sieve {
    const struct walk *k;
    uint32_t bits; /* of the targets */
    uint64_t generation;
};

static void sieve_cell(void *ctx, uint32_t series, uint32_t minute, int64_t add)
{
    const struct sieve *s = ctx;
    if (!view_erase_point(s->k->v, s->bits, s->generation, (int64_t)minute * 60000))
        s->k->w->cell(s->k->w->ctx, series, minute, add);
}

/* --- heads --------------------------------------------------------------------------------------- */

static void walk_head(const struct walk *k, const struct view_head *vh)
{
    const struct head *h = vh->head;
    head_read_lock(h);
    for (uint32_t i = 0; i < h->series_count; i++) {
        const struct head_series *s = head_series_at(h, i);
        const struct head_more *more = s->more;
        if (!more->cell_count || s->info->org != k->v->org || more->minute_min >= k->to ||
            more->minute_max < k->from || s->ord_first >= vh->limit)
            continue;
        uint32_t token = k->w->series(k->w->ctx, s->info->identity, NULL);
        if (token == TSDB_CELLS_ASK)
            token = k->w->series(k->w->ctx, s->info->identity, &s->info->labels);
        struct sieve sieve = {k, 0, h->generation};
        if (view_erase_any(k->v))
            sieve.bits = view_erase_series(k->v, s->info->identity, s->info->labels);
        for (uint32_t c = 0; token != TSDB_CELLS_SKIP && c < more->cell_count; c++) {
            const struct head_cell *cell = &more->cells[c];
            if (cell->ord >= vh->limit)
                break; /* in commit order, the merged ones first */
            if (cell->minute >= k->from && cell->minute < k->to)
                sieve_cell(&sieve, token, cell->minute, cell->add);
        }
    }
    head_read_unlock(h);
}

/* --- parts --------------------------------------------------------------------------------------- */

struct segment_tokens {
    uint32_t first_id, count;
    uint32_t *tokens,
        *erase; /* erase: bits of the targets that match; NULL: nothing is being erased */
};

/* What each series of an index block is for the caller. */
static enum err ask_tokens(const struct walk *k, const struct index_segment *s, struct arena *a,
                           struct segment_tokens *out)
{
    bool erases = view_erase_any(k->v);
    *out = (struct segment_tokens){s->first_id, s->count, ARENA_ARRAY(a, uint32_t, s->count + 1),
                                   erases ? ARENA_ARRAY(a, uint32_t, s->count + 1) : NULL};
    if (!out->tokens || (erases && !out->erase))
        return ERR_NOMEM;
    for (uint32_t i = 0; i < s->count; i++) {
        out->tokens[i] = k->w->series(k->w->ctx, s->identity[i], NULL);
        if (out->tokens[i] != TSDB_CELLS_ASK && !erases)
            continue;
        arena_reset(k->scratch);
        struct tsdb_labels l = index_segment_labels(s, i, k->scratch);
        if (!l.enc.data)
            return ERR_NOMEM;
        if (out->tokens[i] == TSDB_CELLS_ASK)
            out->tokens[i] = k->w->series(k->w->ctx, s->identity[i], &l);
        if (erases)
            out->erase[i] = view_erase_series(k->v, s->identity[i], l);
    }
    return ERR_OK;
}

static uint32_t token_of(const struct segment_tokens *list, size_t n, uint32_t id,
                         uint32_t *out_erase)
{
    for (size_t i = 0; i < n; i++)
        if (id - list[i].first_id < list[i].count) {
            *out_erase = list[i].erase ? list[i].erase[id - list[i].first_id] : 0;
            return list[i].tokens[id - list[i].first_id];
        }
    return TSDB_CELLS_SKIP;
}

static enum err walk_chunk(const struct walk *k, const struct block_series *b, uint32_t chunk,
                           uint32_t token, struct sieve *sieve)
{
    struct block_cells c;
    enum err e = block_series_cells(b, chunk, &c);
    if (e != ERR_OK || c.is_hist || c.minute_first >= k->to || c.minute_last < k->from)
        return e;
    if (sieve->bits)
        return block_cells_walk(&c, k->from, k->to, false, sieve_cell, sieve, token);
    if (k->w->sums && c.minute_first >= k->from && c.minute_last < k->to) {
        k->w->cell(k->w->ctx, token, c.minute_first, c.total);
        return ERR_OK;
    }
    return block_cells_walk(&c, k->from, k->to, k->w->sums, k->w->cell, k->w->ctx, token);
}

static enum err walk_block(const struct walk *k, const struct part_snapshot *p,
                           const struct block_meta *m, const struct segment_tokens *list, size_t n)
{
    struct block_series *b;
    if (arena_used(k->v->cache) >= WALK_TRIM_BYTES)
        view_drop(k->v);
    enum err e = view_open_series(k->v, p, m, &b);
    for (uint32_t i = 0; e == ERR_OK && b && i < b->chunk_count; i++) {
        struct sieve sieve = {k, 0, m->key.generation};
        uint32_t token = token_of(list, n, b->chunks[i].id, &sieve.bits);
        if (token == TSDB_CELLS_SKIP)
            continue;
        e = walk_chunk(k, b, i, token, &sieve);
        if (e == ERR_CORRUPT) {
            view_count_corrupt();
            e = ERR_OK;
        }
    }
    return e;
}

/* The index blocks m[0..n) of one generation and its cells. */
static enum err walk_generation(const struct walk *k, const struct part_snapshot *p,
                                const struct block_meta *m, size_t n)
{
    size_t count, segments = 0;
    const struct block_meta *cells = view_blocks(k->v, p, BLOCK_CELLS, m[0].key.generation, &count);
    const int64_t min_ms = (int64_t)k->from * 60000, max_ms = (int64_t)k->to * 60000;
    bool any = false;
    for (size_t i = 0; i < count && !any; i++)
        any = cells[i].time_min < max_ms && cells[i].time_max >= min_ms;
    if (!any)
        return ERR_OK;
    struct arena *a = arena_new_in(tsdb_query_budget(k->v->db), 0);
    struct segment_tokens *list = a ? ARENA_ARRAY(a, struct segment_tokens, n) : NULL;
    enum err e = list ? ERR_OK : ERR_NOMEM;
    for (size_t i = 0; i < n && e == ERR_OK; i++) {
        const struct index_segment *s;
        e = view_check(k->v);
        if (e == ERR_OK && (e = index_cache_get(p, &m[i], &s)) == ERR_CORRUPT) {
            view_count_corrupt();
            e = ERR_OK;
            continue;
        }
        if (e != ERR_OK)
            break;
        e = ask_tokens(k, s, a, &list[segments]);
        segments += e == ERR_OK;
        index_segment_release(s);
    }
    for (size_t i = 0; i < count && e == ERR_OK; i++)
        if (cells[i].time_min < max_ms && cells[i].time_max >= min_ms)
            e = walk_block(k, p, &cells[i], list, segments);
    arena_free(a);
    return e;
}

static enum err walk_part(const struct walk *k, const struct part_snapshot *p)
{
    size_t count;
    const struct block_meta *m = view_blocks(k->v, p, BLOCK_INDEX, VIEW_ANY_GENERATION, &count);
    enum err e = ERR_OK;
    for (size_t i = 0, n; i < count && e == ERR_OK; i += n) {
        for (n = 1; i + n < count && m[i + n].key.generation == m[i].key.generation;)
            n++;
        e = walk_generation(k, p, m + i, n);
    }
    return e;
}

enum err tsdb_cells_walk(struct tsdb_view *v, uint32_t from, uint32_t to,
                         const struct tsdb_cells_walk *w)
{
    struct walk k = {v, w, from, to, NULL};
    enum err e = view_check(v);
    view_touch(v, (int64_t)from * 60000, (int64_t)to * 60000);
    if (e != ERR_OK || from >= to)
        return e;
    if (!(k.scratch = arena_new(0)))
        return ERR_NOMEM;
    for (size_t i = 0; i < v->pin.part_count && e == ERR_OK; i++) {
        const struct part_snapshot *p = v->pin.parts[i];
        if (part_snapshot_class(p) == PART_CELLS &&
            view_part_overlaps(p, (int64_t)from * 60000, (int64_t)to * 60000 - 1))
            e = walk_part(&k, p);
    }
    for (size_t i = 0; i < v->pin.head_count && e == ERR_OK; i++)
        walk_head(&k, &v->heads[i]);
    arena_free(k.scratch);
    return e;
}
