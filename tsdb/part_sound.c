/* What of a part is sound, for a rewrite of it that leaves the rest behind. */
#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "tsdb/block_index.h"
#include "tsdb/block_series.h"
#include "tsdb/part_core.h"

struct sifting {
    struct part *p;
    const struct block_meta *m;
    size_t n, count;
    bool *leaves;
};

static enum err find_damaged(struct sifting *w, const struct part_snapshot *s)
{
    struct arena *a = arena_new(0);
    enum err e = a ? ERR_OK : ERR_NOMEM;
    for (size_t i = 0; i < w->n && e == ERR_OK; i++) {
        struct bytes block;
        struct err_msg why = {""};
        arena_reset(a);
        e = part_fetch(s, &w->m[i], a, &block, &why); /* records it */
        w->leaves[i] = e == ERR_CORRUPT;
        w->count += w->leaves[i];
        e = w->leaves[i] ? ERR_OK : e;
    }
    arena_free(a);
    return e;
}

static bool is_of_series(uint8_t kind)
{
    return kind == BLOCK_SAMPLES || kind == BLOCK_HISTS || kind == BLOCK_CELLS;
}

/* How many of the series first..last have labels in a block of the index. */
static enum err count_named(const struct part_snapshot *s, const struct block_meta *index,
                            uint32_t first, uint32_t last, struct arena *a, uint64_t *io_named)
{
    struct bytes block;
    struct block_index_series *series;
    uint32_t from, n = 0;
    struct err_msg why = {""};
    arena_reset(a);
    enum err e = part_fetch(s, index, a, &block, &why);
    if (e == ERR_OK)
        e = block_index_read(block, index->key.org, a, &from, &series, &n);
    if (e == ERR_OK && n && from <= last && (uint64_t)from + n > first)
        *io_named += MIN((uint64_t)from + n, (uint64_t)last + 1) - MAX(from, first);
    return e;
}

/* Where a block of the index is damaged: what is stored under the numbers of its series says nothing. */
static enum err find_nameless(struct sifting *w, const struct part_snapshot *s, size_t index)
{
    const struct block_key *of = &w->m[index].key;
    struct arena *a = arena_new(0);
    enum err e = a ? ERR_OK : ERR_NOMEM;
    for (size_t i = 0; i < w->n && e == ERR_OK; i++) {
        uint32_t first, last;
        uint64_t named = 0;
        if (w->m[i].key.org != of->org || w->m[i].key.generation != of->generation ||
            !is_of_series(w->m[i].key.kind) || w->leaves[i])
            continue;
        bool is_known = block_series_range(w->m[i].summary, &first, &last) == ERR_OK;
        for (size_t k = 0; k < w->n && is_known && e == ERR_OK; k++)
            if (w->m[k].key.org == of->org && w->m[k].key.generation == of->generation &&
                w->m[k].key.kind == BLOCK_INDEX && !w->leaves[k])
                e = count_named(s, &w->m[k], first, last, a, &named);
        if (e != ERR_OK || (is_known && named == (uint64_t)last - first + 1))
            continue;
        quarantine_add_block(w->p->quarantine, w->p->day, w->p->class, &w->m[i],
                             "the labels of its series are damaged");
        w->leaves[i] = true;
        w->count++;
    }
    arena_free(a);
    return e;
}

/* Their bytes as they are, in the quarantine. Best effort. */
static void keep_left(const struct sifting *w)
{
    struct err_msg msg = {""};
    struct lmdb_txn *t;
    if (lmdb_env_begin(w->p->env, false, &t, &msg) != ERR_OK) {
        log_warn("store", "damaged blocks of %s are not kept: %s", w->p->path, msg.text);
        return;
    }
    for (size_t i = 0; i < w->n; i++) {
        uint8_t key[BLOCK_KEY_SIZE];
        struct bytes block;
        block_key_write(&w->m[i].key, key);
        if (w->leaves[i] &&
            lmdb_txn_get(t, PART_DB_BLOCKS, bytes_of(key, sizeof(key)), &block) == ERR_OK)
            quarantine_keep(w->p->quarantine, w->p->day, w->p->class, &w->m[i], block);
    }
    lmdb_txn_abort(t);
}

enum err part_snapshot_sound(struct part *p, bool is_kept, struct part_snapshot **out,
                             size_t *out_left, struct err_msg *msg)
{
    enum err e = part_open(p, false, msg);
    if (e != ERR_OK && e != ERR_NOT_FOUND)
        return e; /* not empty: not known */
    bool is_there = e == ERR_OK;
    struct part_snapshot *s = part_snapshot_new(p, UINT64_MAX);
    struct sifting w = {.p = p};
    if (!s)
        return ERR_NOMEM;
    w.m = part_snapshot_blocks(s, &w.n);
    w.leaves = calloc(w.n + 1, sizeof(*w.leaves));
    e = w.leaves && (w.m || !is_there) ? find_damaged(&w, s) : ERR_NOMEM;
    for (size_t i = 0; i < w.n && e == ERR_OK; i++)
        if (w.leaves[i] && w.m[i].key.kind == BLOCK_INDEX)
            e = find_nameless(&w, s, i);
    if (e == ERR_OK && w.count) {
        if (is_kept)
            keep_left(&w);
        log_warn("store", "%zu damaged blocks of %s are left out when it is rewritten", w.count,
                 p->path);
        /* nobody else has it yet */
        s->meta_count = 0;
        for (size_t i = 0; i < w.n; i++)
            if (!w.leaves[i])
                s->metas[s->meta_count++] = s->metas[i];
    }
    free(w.leaves);
    if (e == ERR_OK) {
        *out = s;
        *out_left = w.count;
    } else {
        part_snapshot_release(s);
    }
    return e;
}
