/* Samples, histograms, cells and exemplars of one part: the generations that hold a series that goes are written again, each by itself. */
#include "tsdb/erase_parts.h"

#include <stdlib.h>

#include "base/check.h"
#include "tsdb/block_index.h"
#include "tsdb/compact_series.h"
#include "tsdb/part_core.h"

struct work {
    struct erase_pass *pass;
    struct part *part;
    struct part_snapshot *snapshot;
    const struct block_meta *metas;
    size_t count;
    uint8_t *written; /* by meta: written again, not copied */
    struct arena *a;
    struct err_msg *msg;
};

static bool chooses(void *ctx, struct tsdb_labels l)
{
    const struct erase_target *t = ctx;
    return erase_match_series(t, tsdb_labels_identity(t->org, l), l);
}

static enum err read_exemplars(struct work *w, const struct block_meta *m,
                               struct block_exemplar **out, uint32_t *out_count, uint32_t *out_kept)
{
    const struct erase_target *t = w->pass->target;
    struct bytes block;
    arena_reset(w->a);
    enum err e = part_fetch(w->snapshot, m, w->a, &block, w->msg);
    if (e == ERR_OK)
        e = block_exemplars_read(block, w->a, out, out_count);
    *out_kept = 0;
    for (uint32_t i = 0; e == ERR_OK && i < *out_count; i++) {
        struct block_exemplar x = (*out)[i];
        if (!erase_match_exemplar(t, x.series, x.labels, x.t_ms))
            (*out)[(*out_kept)++] = x;
    }
    return e;
}

static enum err index_has(struct work *w, const struct block_meta *m, bool *out)
{
    const struct erase_target *t = w->pass->target;
    struct bytes block;
    struct block_index_series *s = NULL;
    uint32_t first, n = 0;
    arena_reset(w->a);
    enum err e = part_fetch(w->snapshot, m, w->a, &block, w->msg);
    if (e == ERR_OK)
        e = block_index_read(block, t->org, w->a, &first, &s, &n);
    for (uint32_t i = 0; e == ERR_OK && i < n && !*out; i++)
        *out = erase_match_series(t, s[i].identity, s[i].labels);
    return e;
}

/* Which blocks are written again: of a generation with a series that goes all that belong together, of exemplars those that hold one. */
static enum err examine(struct work *w, bool *out_any)
{
    enum err e = ERR_OK;
    for (size_t i = 0; i < w->count && e == ERR_OK; i++) {
        const struct block_meta *m = &w->metas[i];
        bool has = false;
        if (w->written[i] || !erase_parts_concerns(w->pass, m))
            continue;
        if (m->key.kind == BLOCK_EXEMPLARS) {
            struct block_exemplar *x = NULL;
            uint32_t n = 0, kept;
            e = read_exemplars(w, m, &x, &n, &kept);
            w->written[i] = e == ERR_OK && kept < n;
        } else if (m->key.kind == BLOCK_INDEX && (e = index_has(w, m, &has)) == ERR_OK && has) {
            for (size_t k = 0; k < w->count; k++)
                if (w->metas[k].key.org == m->key.org &&
                    w->metas[k].key.generation == m->key.generation &&
                    (COMPACT_SERIES_KINDS >> w->metas[k].key.kind & 1u))
                    w->written[k] = 1;
        }
        *out_any |= w->written[i];
    }
    return e;
}

static enum err write_exemplars(struct work *w, struct part *fresh, const struct block_meta *m)
{
    struct block_exemplar *x = NULL;
    struct buf block = {0};
    uint32_t n = 0, kept;
    enum err e = read_exemplars(w, m, &x, &n, &kept);
    if (e != ERR_OK)
        return e;
    w->pass->found.exemplars += n - kept;
    if (kept) {
        struct block_meta fewer = *m;
        fewer.rows = m->rows ? kept : 0;
        fewer.time_min = INT64_MAX;
        fewer.time_max = INT64_MIN;
        for (uint32_t i = 0; i < kept; i++) {
            fewer.time_min = MIN(fewer.time_min, x[i].t_ms);
            fewer.time_max = MAX(fewer.time_max, x[i].t_ms);
        }
        block_exemplars_write(x, kept, &block);
        e = buf_ok(&block) ? part_put(fresh, &fewer, buf_bytes(&block), w->msg) : ERR_NOMEM;
    }
    buf_done(&block);
    return e;
}

static enum err write_generation(struct work *w, struct part *fresh, uint64_t generation)
{
    struct erase_pass *pass = w->pass;
    bool by_time = pass->target->kind == TSDB_ERASE_SERIES;
    struct compact_drop drop = {.chooses = chooses,
                                .ctx = (void *)(uintptr_t)pass->target,
                                .min_ms = by_time ? pass->target->min_ms : INT64_MIN,
                                .max_ms = by_time ? pass->target->max_ms : INT64_MAX};
    struct compact_job job = {.out = fresh,
                              .snapshot = w->snapshot,
                              .class = part_class_of(w->part),
                              .org = pass->target->org,
                              .generation = generation,
                              .drop = &drop};
    struct block_meta *metas = malloc((w->count + 1) * sizeof(*metas));
    if (!metas)
        return ERR_NOMEM;
    for (size_t i = 0; i < w->count; i++)
        if (w->written[i] && w->metas[i].key.kind != BLOCK_EXEMPLARS &&
            w->metas[i].key.generation == generation)
            metas[job.meta_count++] = w->metas[i];
    job.metas = metas;
    enum err e = compact_series(&job, w->msg);
    *(job.class == PART_CELLS ? &pass->found.cells : &pass->found.samples) += drop.dropped;
    free(metas);
    return e;
}

static enum err rewrite(struct work *w)
{
    struct part *fresh;
    enum err e = part_rewrite_begin(w->part, &fresh, w->msg);
    if (e != ERR_OK)
        return e;
    for (size_t i = 0; i < w->count && e == ERR_OK; i++) {
        const struct block_meta *m = &w->metas[i];
        if (!w->written[i])
            e = part_copy(fresh, w->snapshot, m, w->msg);
        else if (m->key.kind == BLOCK_EXEMPLARS)
            e = write_exemplars(w, fresh, m);
        else if (m->key.kind == BLOCK_INDEX &&
                 (i == 0 || !w->written[i - 1] || m[-1].key.kind != BLOCK_INDEX ||
                  m[-1].key.generation != m->key.generation || m[-1].key.org != m->key.org))
            e = write_generation(w, fresh, m->key.generation); /* once, at its first index block */
    }
    if (e == ERR_OK)
        return erase_parts_finish(w->pass, w->part, fresh, NULL, NULL, w->msg);
    part_release(fresh);
    return e;
}

enum err erase_parts_series(struct erase_pass *pass, struct part *p, struct err_msg *msg)
{
    struct work w = {.pass = pass, .part = p, .msg = msg, .a = arena_new(0)};
    bool any = false;
    enum err e = w.a ? erase_parts_open(pass, p, &w.snapshot, msg) : ERR_NOMEM;
    if (e == ERR_NOT_FOUND) {
        arena_free(w.a);
        return ERR_OK;
    }
    if (e == ERR_OK) {
        w.metas = part_snapshot_blocks(w.snapshot, &w.count);
        e = (w.written = calloc(w.count + 1, 1)) ? ERR_OK : ERR_NOMEM;
    }
    if (e == ERR_OK)
        e = examine(&w, &any);
    if (e == ERR_OK && (any || pass->sound || part_is_damaged(p)))
        e = rewrite(&w);
    part_snapshot_release(w.snapshot);
    free(w.written);
    arena_free(w.a);
    return e;
}
