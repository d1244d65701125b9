#include "tsdb/compact.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/fault_point.h"
#include "base/log.h"
#include "base/stats.h"
#include "tsdb/compact_rows.h"
#include "tsdb/compact_series.h"
#include "tsdb/totals.h"

STATS_COUNTER(compactions, "telltale_store_compactions_total", "",
              "Parts whose generations were merged into one.");
STATS_COUNTER(compactions_failed, "telltale_store_compaction_failures_total", "",
              "Parts that could not be merged and stay as they are.");

STATS_COUNTER(superseded, "telltale_store_rows_superseded_total", "",
              "Rows that compaction found twice and kept once.");

STATS_COUNTER(repeated, "telltale_store_samples_repeated_total", "where=\"merge\"",
              "Samples found twice, bit by bit the same, and kept once.");
STATS_COUNTER(
    conflicting, "telltale_store_samples_conflicting_total", "where=\"merge\"",
    "Samples of one series and time with other values: the newest counts, a value before a "
    "stale marker.");

/* Kinds of blocks that have a merger, by class. Texts are merged with their rows. */
static uint32_t merged_kinds(enum part_class class)
{
    static const uint32_t kinds[PART_CLASS_COUNT] = {[PART_ROWS] = COMPACT_ROWS_KINDS,
                                                     [PART_SAMPLES] = COMPACT_SERIES_KINDS,
                                                     [PART_CELLS] = COMPACT_SERIES_KINDS};
    return kinds[class];
}

struct survey {
    unsigned generations; /* flushed, with blocks that can be merged */
    uint64_t newest, bytes, bytes_largest; /* of those blocks; of one generation */
};

static struct survey survey(const struct block_meta *m, size_t n, uint32_t kinds, uint64_t flushed)
{
    struct survey s = {0};
    uint64_t *generation = malloc((n + 1) * sizeof(*generation)),
             *bytes = calloc(n + 1, sizeof(*bytes));
    for (size_t i = 0; i < n && generation && bytes; i++) {
        unsigned k = 0;
        if (!(kinds >> m[i].key.kind & 1u) || m[i].key.generation > flushed)
            continue;
        while (k < s.generations && generation[k] != m[i].key.generation)
            k++;
        if (k == s.generations)
            generation[s.generations++] = m[i].key.generation;
        bytes[k] += m[i].size;
        s.bytes += m[i].size;
        s.bytes_largest = MAX(s.bytes_largest, bytes[k]);
        s.newest = MAX(s.newest, m[i].key.generation);
    }
    free(generation);
    free(bytes);
    return s;
}

/* Every merge writes the whole part: by itself it is done when the part has grown by half, so that all of a day's writes stay below three
 * times its size. */
static bool is_due(const struct survey *s, bool asked)
{
    return asked ? s->generations > 1
                 : s->generations > COMPACT_GENERATIONS_MAX ||
                       (s->generations > COMPACT_GENERATIONS &&
                        s->bytes - s->bytes_largest >= s->bytes_largest / 2);
}

static enum err merge_org(const struct compact_job *job, struct err_msg *msg)
{
    return compact_series(job, msg);
}

/* metas of one org: those that are merged go to their merger, the others as they are. */
static enum err rewrite_org(struct part *fresh, const struct part_snapshot *snapshot,
                            const struct block_meta *metas, size_t n, const struct survey *s,
                            uint64_t flushed, struct head_resolved *resolved, struct err_msg *msg)
{
    enum part_class class = part_class_of(fresh);
    struct compact_job job = {.out = fresh,
                              .snapshot = snapshot,
                              .class = class,
                              .org = metas[0].key.org,
                              .generation = s->newest,
                              .resolved = resolved};
    struct block_meta *merged = malloc(n * sizeof(*merged));
    enum err e = merged ? ERR_OK : ERR_NOMEM;
    for (size_t i = 0; i < n && e == ERR_OK; i++) {
        if (merged_kinds(class) >> metas[i].key.kind & 1u && metas[i].key.generation <= flushed)
            merged[job.meta_count++] = metas[i];
        else
            e = part_copy(fresh, snapshot, &metas[i], msg);
    }
    job.metas = merged;
    if (e == ERR_OK && job.meta_count)
        e = merge_org(&job, msg);
    free(merged);
    return e;
}

static enum err rewrite(struct tsdb *db, struct part *p, const struct part_snapshot *snapshot,
                        const struct survey *s, uint64_t flushed, struct err_msg *msg)
{
    struct part *fresh;
    size_t n;
    const struct block_meta *m = part_snapshot_blocks(snapshot, &n);
    struct replaced {
        uint32_t org;
        struct head_resolved count;
    } *replaced = calloc(n + 1, sizeof(*replaced));
    size_t orgs = 0;
    enum err e = replaced ? part_rewrite_begin(p, &fresh, msg) : ERR_NOMEM;
    if (e != ERR_OK) {
        free(replaced);
        return e;
    }
    for (size_t from = 0, to; from < n && e == ERR_OK; from = to, orgs++) {
        for (to = from; to < n && m[to].key.org == m[from].key.org;)
            to++;
        replaced[orgs].org = m[from].key.org;
        e = rewrite_org(fresh, snapshot, m + from, to - from, s, flushed, &replaced[orgs].count,
                        msg);
    }
    fault_point("compact.before_seal");
    if (e == ERR_OK)
        e = part_rewrite_seal(fresh, p, msg);
    if (e == ERR_OK)
        e = pin_exchange_part(db, p, fresh, flushed, msg);
    else
        part_release(fresh);
    for (size_t i = 0; e == ERR_OK && i < orgs; i++) {
        const struct head_resolved *r = &replaced[i].count;
        stats_add(&repeated, (int64_t)r->repeated);
        stats_add(&conflicting, (int64_t)r->conflicting);
        totals_superseded(db, replaced[i].org, r->repeated + r->conflicting);
    }
    free(replaced);
    return e;
}

/* --- rows and their texts -------------------------------------------------------------------------- */

struct pair {
    struct part *rows, *text, *fresh_rows, *fresh_text; /* texts: NULL when there are none */
    const struct part_snapshot *from, *text_from;
};

/* Blocks that are not merged, as they are. */
static enum err copy_others(struct part *fresh, const struct part_snapshot *from, uint32_t kinds,
                            uint64_t flushed, struct err_msg *msg)
{
    enum err e = ERR_OK;
    size_t n = 0;
    const struct block_meta *m = from ? part_snapshot_blocks(from, &n) : NULL;
    for (size_t i = 0; i < n && e == ERR_OK; i++)
        if (!(kinds >> m[i].key.kind & 1u) || m[i].key.generation > flushed)
            e = part_copy(fresh, from, &m[i], msg);
    return e;
}

static enum err merge_rows(struct tsdb *db, struct pair *p, const struct survey *s,
                           uint64_t flushed, struct err_msg *msg)
{
    struct compact_rows_job job = {.rows = p->fresh_rows,
                                   .text = p->fresh_text,
                                   .from = p->from,
                                   .text_from = p->text_from,
                                   .generation = s->newest,
                                   .memory_bytes = db->options.memory_limit_bytes / 8};
    size_t n, texts = 0;
    const struct block_meta *m = part_snapshot_blocks(p->from, &n);
    job.texts = p->text_from ? part_snapshot_blocks(p->text_from, &texts) : NULL;
    job.text_count = texts;
    struct block_meta *merged = malloc((n + 1) * sizeof(*merged));
    enum err e =
        merged ? copy_others(p->fresh_rows, p->from, COMPACT_ROWS_KINDS, flushed, msg) : ERR_NOMEM;
    if (e == ERR_OK)
        e = copy_others(p->fresh_text, p->text_from, COMPACT_TEXT_KINDS, flushed, msg);
    job.metas = merged;
    for (size_t from = 0, to; from < n && e == ERR_OK; from = to) {
        job.org = m[from].key.org;
        job.meta_count = 0;
        for (to = from; to < n && m[to].key.org == job.org; to++)
            if (COMPACT_ROWS_KINDS >> m[to].key.kind & 1u && m[to].key.generation <= flushed)
                merged[job.meta_count++] = m[to];
        e = compact_rows(&job, msg);
    }
    free(merged);
    if (e == ERR_OK)
        stats_add(&superseded, (int64_t)job.superseded);
    return e;
}

static enum err rewrite_pair(struct tsdb *db, struct pair *p, const struct survey *s,
                             uint64_t flushed, struct err_msg *msg)
{
    enum err e = part_rewrite_begin_pair(p->rows, p->text, &p->fresh_rows, &p->fresh_text, msg);
    if (e != ERR_OK)
        return e;
    e = merge_rows(db, p, s, flushed, msg);
    fault_point("compact.before_seal");
    if (e == ERR_OK && p->fresh_text)
        e = part_rewrite_seal(p->fresh_text, p->text, msg);
    fault_point("compact.between_seals");
    if (e == ERR_OK)
        e = part_rewrite_seal(p->fresh_rows, p->rows, msg);
    if (e == ERR_OK)
        return pin_exchange_pair(db, p->rows, p->fresh_rows, p->text, p->fresh_text, flushed, msg);
    part_release(p->fresh_rows);
    part_release(p->fresh_text);
    return e;
}

/* The texts of the same day; NULL when there are none. */
static struct part *text_beside(const struct tsdb *db, const struct part *rows)
{
    for (size_t i = 0; i < db->part_count; i++)
        if (part_day(db->parts[i]) == part_day(rows) && part_class_of(db->parts[i]) == PART_TEXT)
            return db->parts[i];
    return NULL;
}

static void survey_add(struct survey *s, const struct survey *more)
{
    s->bytes += more->bytes;
    s->bytes_largest += more->bytes_largest;
}

static enum err compact_pair(struct tsdb *db, struct part *rows, uint64_t flushed, bool asked,
                             struct err_msg *msg)
{
    struct pair p = {.rows = rows, .text = text_beside(db, rows)};
    size_t n, texts = 0;
    if (p.text && part_is_left_alone(p.text))
        return ERR_OK;
    p.from = part_snapshot_new(rows, UINT64_MAX);
    p.text_from = p.text ? part_snapshot_new(p.text, UINT64_MAX) : NULL;
    enum err e = p.from && (p.text_from || !p.text) ? ERR_OK : ERR_NOMEM;
    if (e == ERR_OK) {
        const struct block_meta *m = part_snapshot_blocks(p.from, &n),
                                *t = p.text ? part_snapshot_blocks(p.text_from, &texts) : NULL;
        struct survey s = survey(m, n, COMPACT_ROWS_KINDS, flushed),
                      of_text = survey(t, texts, COMPACT_TEXT_KINDS, flushed);
        survey_add(&s, &of_text);
        if (!texts) { /* gone with its retention, or damaged: it stays what it is */
            part_snapshot_release(p.text_from);
            p.text_from = NULL;
            p.text = NULL;
        }
        if (p.text)
            part_retain(p.text); /* its place in the list goes to the one that replaces it */
        if (is_due(&s, asked)) {
            e = rewrite_pair(db, &p, &s, flushed, msg);
            stats_add(&compactions, e == ERR_OK);
        }
        part_release(p.text);
    }
    part_snapshot_release(p.from);
    part_snapshot_release(p.text_from);
    return e;
}

/* --- parts --------------------------------------------------------------------------------------- */

static enum err compact_part(struct tsdb *db, struct part *p, uint64_t flushed, bool asked,
                             struct err_msg *msg)
{
    if (part_class_of(p) == PART_ROWS)
        return compact_pair(db, p, flushed, asked, msg);

    uint32_t kinds = merged_kinds(part_class_of(p));
    struct part_snapshot *snapshot = kinds ? part_snapshot_new(p, UINT64_MAX) : NULL;
    size_t n;
    if (!kinds)
        return ERR_OK;
    if (!snapshot)
        return ERR_NOMEM;
    const struct block_meta *m = part_snapshot_blocks(snapshot, &n);
    struct survey s = survey(m, n, kinds, flushed);
    enum err e = ERR_OK;
    if (is_due(&s, asked)) {
        e = rewrite(db, p, snapshot, &s, flushed, msg);
        stats_add(&compactions, e == ERR_OK);
    }
    part_snapshot_release(snapshot);
    return e;
}

/* Once more without what is damaged, where that can be told. */
static enum err compact_damaged(struct tsdb *db, struct part *p, uint64_t flushed, bool asked,
                                struct err_msg *msg)
{
    struct part *text = part_class_of(p) == PART_ROWS ? text_beside(db, p) : NULL;
    size_t left = 0, texts_left = 0;
    enum err e = part_withdraw(p, &left, msg);
    if (e == ERR_OK && text)
        e = part_withdraw(text, &texts_left, msg);
    if (e != ERR_OK)
        return e;
    return left + texts_left ? compact_part(db, p, flushed, asked, msg) : ERR_CORRUPT;
}

enum err compact_run(struct tsdb *db, bool asked, struct err_msg *msg)
{
    enum err first = ERR_OK;
    pthread_mutex_lock(&db->lock);
    uint64_t flushed = db->flushed_generation;
    pthread_mutex_unlock(&db->lock);
    for (size_t i = 0; i < db->part_count; i++) { /* only this thread changes the list */
        struct part *p = db->parts[i];
        struct err_msg why = {""};
        if (part_is_left_alone(p))
            continue;
        part_retain(p); /* its place in the list goes to the one that replaces it */
        enum err e = compact_part(db, p, flushed, asked, &why);
        if (e == ERR_CORRUPT)
            e = compact_damaged(db, p, flushed, asked, &why);
        if (e == ERR_CORRUPT || e == ERR_NEWER)
            part_leave_alone(p);
        if (e != ERR_OK) {
            stats_add(&compactions_failed, 1);
            log_error("store", "the blocks of %s stay as they are: %s: %s", part_path(p),
                      err_text(e), why.text);
        }
        part_release(p);
        if (e != ERR_OK && first == ERR_OK) {
            first = e;
            *msg = why;
        }
    }
    return first;
}
