/* Damaged blocks leave a part: their bytes go into the quarantine, and a rewrite meets them no more. */
#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "tsdb/block_series.h"
#include "tsdb/part_core.h"

struct withdraw {
    struct part *p;
    const struct block_meta *m;
    size_t n, count;
    bool *leaves;
    struct err_msg *msg;
};

static enum err find_damaged(struct withdraw *w, const struct part_snapshot *s)
{
    struct arena *a = arena_new(0);
    enum err e = a ? ERR_OK : ERR_NOMEM;
    for (size_t i = 0; i < w->n && e == ERR_OK; i++) {
        struct bytes block;
        struct err_msg why;
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

/* Ids are given block by block: without the labels of some, what is stored under them says nothing. */
static void find_nameless(struct withdraw *w, size_t index)
{
    const struct block_meta *of = &w->m[index];
    uint64_t from = 0;
    for (size_t i = index; i-- > 0;)
        if (w->m[i].key.org == of->key.org && w->m[i].key.kind == BLOCK_INDEX &&
            w->m[i].key.generation == of->key.generation)
            from += w->m[i].rows;
    for (size_t i = 0; i < w->n; i++) {
        uint32_t first, last;
        if (w->m[i].key.org != of->key.org || w->m[i].key.generation != of->key.generation ||
            !is_of_series(w->m[i].key.kind) || w->leaves[i] ||
            (block_series_range(w->m[i].summary, &first, &last) == ERR_OK &&
             (last < from || first >= from + of->rows)))
            continue;
        quarantine_add_block(w->p->quarantine, w->p->day, w->p->class, &w->m[i],
                             "the labels of its series are damaged");
        w->leaves[i] = true;
        w->count++;
    }
}

static enum err take_out(struct withdraw *w)
{
    struct part *p = w->p;
    enum err e = lmdb_env_begin(p->env, true, &p->txn, w->msg);
    if (e != ERR_OK)
        return e;
    for (size_t i = 0; i < w->n && e == ERR_OK; i++) {
        uint8_t key[BLOCK_KEY_SIZE];
        struct bytes block;
        if (!w->leaves[i])
            continue;
        block_key_write(&w->m[i].key, key);
        if (lmdb_txn_get(p->txn, PART_DB_BLOCKS, bytes_of(key, sizeof(key)), &block) == ERR_OK)
            quarantine_keep(p->quarantine, p->day, p->class, &w->m[i], block);
        e = lmdb_txn_del(p->txn, PART_DB_BLOCKS, bytes_of(key, sizeof(key)));
        if (e == ERR_OK)
            e = lmdb_txn_del(p->txn, PART_DB_MANIFEST, bytes_of(key, sizeof(key)));
    }
    if (e == ERR_OK)
        e = part_put_roll(p, w->msg);
    if (e == ERR_OK)
        return part_txn_flush(p, w->msg);
    part_abandon(p);
    return e;
}

static bool is_same(const struct block_key *x, const struct block_key *y)
{
    return x->org == y->org && x->kind == y->kind && x->generation == y->generation && x->n == y->n;
}

static void forget(const struct withdraw *w)
{
    struct part *p = w->p;
    size_t kept = 0;
    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < p->meta_count; i++) {
        bool leaves = false;
        for (size_t k = 0; k < w->n && !leaves; k++)
            leaves = w->leaves[k] && is_same(&w->m[k].key, &p->metas[i].key);
        if (!leaves)
            p->metas[kept++] = p->metas[i];
    }
    p->meta_count = kept;
    pthread_mutex_unlock(&p->lock);
}

enum err part_withdraw(struct part *p, size_t *out_count, struct err_msg *msg)
{
    struct part_snapshot *s = part_snapshot_new(p, UINT64_MAX);
    struct withdraw w = {.p = p, .msg = msg};
    *out_count = 0;
    if (!s)
        return ERR_NOMEM;
    CHECK(!p->txn);
    w.m = part_snapshot_blocks(s, &w.n);
    w.leaves = calloc(w.n + 1, sizeof(*w.leaves));
    enum err e = w.leaves ? find_damaged(&w, s) : ERR_NOMEM;
    for (size_t i = 0; i < w.n && e == ERR_OK; i++)
        if (w.leaves[i] && w.m[i].key.kind == BLOCK_INDEX)
            find_nameless(&w, i);
    if (e == ERR_OK && w.count)
        e = take_out(&w);
    if (e == ERR_OK && w.count) {
        forget(&w);
        log_warn("store", "%zu damaged blocks of %s have left it", w.count, p->path);
        *out_count = w.count;
    }
    free(w.leaves);
    part_snapshot_release(s);
    return e;
}
