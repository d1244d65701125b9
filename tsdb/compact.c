#include "tsdb/compact.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fault_point.h"
#include "base/log.h"
#include "base/stats.h"
#include "tsdb/compact_rows.h"
#include "tsdb/compact_series.h"
#include "tsdb/quarantine.h"
#include "tsdb/totals.h"
#include "tsdb/tsdb_state.h"

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
STATS_COUNTER(kept, "telltale_store_blocks_kept_total", "",
              "Blocks of rows that a merge has copied as they were, with their texts.");
STATS_COUNTER(sampled_out, "telltale_store_rows_sampled_out_total", "",
              "Spans that tail sampling took away.");

/* Kinds of blocks that have a merger, by class. Texts are merged with their rows. */
static uint32_t merged_kinds(enum part_class class)
{
    static const uint32_t kinds[PART_CLASS_COUNT] = {[PART_ROWS] = COMPACT_ROWS_KINDS,
                                                     [PART_SAMPLES] = COMPACT_SERIES_KINDS,
                                                     [PART_CELLS] = COMPACT_SERIES_KINDS};
    return kinds[class];
}

#define DAY_MS INT64_C(86400000)
#define CLOSED_AFTER_MS INT64_C(3600000) /* a day counts as over: nearly all of it is there */
#define AGAIN_AFTER_MS DAY_MS /* what comes late for a day that was settled waits for so long */
/* A day of long ago that is being filled now is not merged over and over. */
#define QUIET_MS (CLOSED_AFTER_MS / 2)
#define SETTLED "settled"
#define MERGED "merged"
#define KEPT_MAX 1000000u

struct sight { /* which blocks are looked at before traces are sampled */
    uint64_t flushed;
    int64_t min_ms, max_ms;
    bool is_own, is_decided;
};

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

/* --- closed days: once, and again when something came late -------------------------------------------- */

static bool is_closed(const struct tsdb *db, const struct part *p)
{
    return retention_clock_ms(db) >= ((int64_t)part_day(p) + 1) * DAY_MS + CLOSED_AFTER_MS;
}

/* Marks. settled: when the part was last made anew after its day. merged: the generation of the blocks that the last merge of rows has written.
 * Should one be lost, the work is done once more. */
static void mark_name(const char *what, const struct part *p, char out[64])
{
    snprintf(out, 64, "%s/%u/%s", what, part_day(p), part_class_name(part_class_of(p)));
}

static void mark(struct tsdb *db, const char *what, const struct part *p, uint64_t value)
{
    char name[64];
    struct err_msg msg = {""};
    mark_name(what, p, name);
    fault_point("compact.before_mark");
    if (state_put_u64(db, name, value, &msg) != ERR_OK)
        log_warn("store", "%s is merged once more later: %s", part_path(p), msg.text);
}

static void mark_settled(struct tsdb *db, const struct part *p)
{
    mark(db, SETTLED, p, (uint64_t)retention_clock_ms(db));
}

static void forget(struct tsdb *db, const char *what, const struct part *p)
{
    char name[64];
    uint64_t value;
    mark_name(what, p, name);
    if (state_get_u64(db, name, &value) == ERR_NOT_FOUND)
        return;
    struct tsdb_state_write *w;
    enum err e = tsdb_state_begin(db, &w);
    if (e == ERR_OK) {
        e = tsdb_state_del(w, "store", bytes_str(name));
        if (e == ERR_OK)
            e = tsdb_state_commit(w);
        else
            tsdb_state_abort(w);
    }
    if (e != ERR_OK)
        log_warn("store", "the mark %s stays in the state: %s", name, err_text(e));
}

void compact_forget(struct tsdb *db, const struct part *p)
{
    forget(db, SETTLED, p);
    forget(db, MERGED, p);
}

void compact_forget_merge(struct tsdb *db, const struct part *p)
{
    forget(db, MERGED, p);
}

/* has_work: there is something to merge or to sample. */
static bool is_settling(struct tsdb *db, const struct part *p, bool has_work)
{
    char name[64];
    uint64_t when = 0;
    if (!has_work || !is_closed(db, p) || clock_wall_ms() - part_sealed_ms(p) < QUIET_MS)
        return false;
    mark_name(SETTLED, p, name);
    return state_get_u64(db, name, &when) != ERR_OK ||
           retention_clock_ms(db) - (int64_t)when >= AGAIN_AFTER_MS;
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
        e = compact_series(&job, msg);
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
    struct part_snapshot *from, *text_from;
    bool is_closed; /* an hour ago or more its day has ended */
    uint64_t superseded, sampled_out;
    uint32_t blocks_kept;
};

/* --- sampling */

static bool is_sampling(const struct tsdb *db)
{
    uint32_t keep = db->options.sampling.keep_permille;
    return keep > 0 && keep < 1000;
}

/* Spans of one org in one part. is_decided: only those that stay; not: only the others. */
static enum err see_part(struct compact_sample *s, const struct part_snapshot *p, uint32_t org,
                         const struct sight *sight, struct err_msg *msg)
{
    enum err e = ERR_OK;
    size_t n;
    const struct block_meta *m = part_snapshot_blocks(p, &n);
    uint64_t decided = gone_of(p, org).decided;
    for (size_t i = 0; i < n && e == ERR_OK; i++)
        if (m[i].key.org == org && m[i].key.kind == BLOCK_SPANS &&
            m[i].key.generation <= sight->flushed && m[i].time_max >= sight->min_ms &&
            m[i].time_min <= sight->max_ms &&
            (m[i].key.generation <= decided) == sight->is_decided) {
            e = compact_sample_see(s, p, &m[i], sight->is_own, sight->is_decided, msg);
            if (e == ERR_CORRUPT && !sight->is_own)
                e = ERR_OK; /* said when that day is looked at itself */
        }
    return e;
}

/* The day itself, and what lies near it on the days beside it. What was decided comes first. */
static enum err see_days(struct tsdb *db, const struct pair *p, uint32_t org, uint64_t flushed,
                         struct compact_sample *s, struct err_msg *msg)
{
    int64_t start_ms = (int64_t)part_day(p->rows) * DAY_MS;
    enum err e = ERR_OK;
    for (int round = 0; round < 2 && e == ERR_OK; round++)
        for (size_t i = 0; i < db->part_count && e == ERR_OK; i++) {
            struct part *other = db->parts[i];
            int64_t days = (int64_t)part_day(other) - (int64_t)part_day(p->rows);
            struct sight sight = {flushed, start_ms - CLOSED_AFTER_MS,
                                  start_ms + DAY_MS + CLOSED_AFTER_MS, days == 0, round == 0};
            if (part_class_of(other) != PART_ROWS || days < -1 || days > 1)
                continue;
            struct part_snapshot *beside = days ? part_snapshot_new(other, UINT64_MAX) : NULL;
            e = !days    ? see_part(s, p->from, org, &sight, msg)
                : beside ? see_part(s, beside, org, &sight, msg)
                         : ERR_NOMEM;
            part_snapshot_release(beside);
        }
    return e;
}

static enum err keep_marked(struct tsdb *db, uint32_t org, struct compact_sample *s)
{
    struct arena *a = arena_new(0);
    struct tsdb_state_row *rows = NULL;
    uint8_t prefix[8];
    size_t n = 0;
    bytes_put_u64be(prefix, org);
    enum err e = a ? tsdb_state_scan(db, COMPACT_KEPT_TABLE, bytes_of(prefix, sizeof(prefix)),
                                     KEPT_MAX, a, &rows, &n)
                   : ERR_NOMEM;
    for (size_t i = 0; i < n && e == ERR_OK; i++) {
        struct tsdb_id16 id;
        if (rows[i].key.size != sizeof(prefix) + sizeof(id.b))
            continue;
        memcpy(id.b, rows[i].key.data + sizeof(prefix), sizeof(id.b));
        e = compact_sample_keep(s, id);
    }
    arena_free(a);
    return e;
}

/* org u64 BE, trace id */
static struct bytes kept_key(uint32_t org, struct tsdb_id16 trace_id, uint8_t out[24])
{
    bytes_put_u64be(out, org);
    memcpy(out + 8, trace_id.b, sizeof(trace_id.b));
    return bytes_of(out, 24);
}

enum err compact_unkeep(struct tsdb_state_write *w, uint32_t org, struct tsdb_id16 trace_id)
{
    uint8_t key[24];
    enum err e = tsdb_state_del(w, COMPACT_KEPT_TABLE, kept_key(org, trace_id, key));
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

enum err tsdb_keep_trace(struct tsdb *db, uint32_t org, struct tsdb_id16 trace_id)
{
    struct tsdb_state_write *w;
    uint8_t key[24];
    enum err e = tsdb_state_begin(db, &w);
    if (e != ERR_OK)
        return e;
    e = tsdb_state_put(w, COMPACT_KEPT_TABLE, kept_key(org, trace_id, key), BYTES_LIT("1"));
    if (e == ERR_OK)
        return tsdb_state_commit(w);
    tsdb_state_abort(w);
    return e;
}

/* *out NULL: everything stays. */
static enum err sample_new(struct tsdb *db, const struct pair *p, uint32_t org, uint64_t flushed,
                           struct compact_sample **out, struct err_msg *msg)
{
    *out = NULL;
    if (!is_sampling(db))
        return ERR_OK;
    struct compact_sample *s =
        compact_sample_new(&db->options.sampling, db->options.memory_limit_bytes / 8 / 32);
    enum err e = s ? keep_marked(db, org, s) : ERR_NOMEM;
    if (e == ERR_OK)
        e = see_days(db, p, org, flushed, s, msg);
    if (e == ERR_OK && compact_sample_is_full(s))
        log_warn("store", "%s: too many traces are to be kept for the memory limit: all are",
                 part_path(p->rows));
    if (e == ERR_OK && !compact_sample_is_full(s))
        *out = s;
    else
        compact_sample_free(s);
    return e;
}

/* Spans that sampling has not seen. */
static bool has_undecided(const struct tsdb *db, const struct part_snapshot *p, uint64_t flushed)
{
    size_t n;
    const struct block_meta *m = part_snapshot_blocks(p, &n);
    for (size_t i = 0; i < n && is_sampling(db); i++)
        if (m[i].key.kind == BLOCK_SPANS && m[i].key.generation <= flushed &&
            m[i].key.generation > gone_of(p, m[i].key.org).decided)
            return true;
    return false;
}

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
    char name[64];
    const struct block_meta *m = part_snapshot_blocks(p->from, &n);
    mark_name(MERGED, p->rows, name);
    if (state_get_u64(db, name, &job.merged) != ERR_OK)
        job.merged = 0;
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
        job.gone = gone_of(p->from, job.org);
        job.meta_count = 0;
        struct gone_rows before = job.gone;
        for (to = from; to < n && m[to].key.org == job.org; to++)
            if (COMPACT_ROWS_KINDS >> m[to].key.kind & 1u && m[to].key.generation <= flushed)
                merged[job.meta_count++] = m[to];
        struct compact_sample *sample = NULL;
        e = job.meta_count && p->is_closed ? sample_new(db, p, job.org, flushed, &sample, msg)
                                           : ERR_OK;
        job.sample = sample;
        if (e == ERR_OK && job.meta_count)
            e = compact_rows(&job, msg);
        compact_sample_free(sample);
        p->superseded += job.gone.superseded - before.superseded;
        p->sampled_out += job.gone.sampled_out - before.sampled_out;
    }
    free(merged);
    p->blocks_kept = job.blocks_kept;
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
        e = pin_exchange_pair(db, p->rows, p->fresh_rows, p->text, p->fresh_text, flushed, msg);
    else
        part_release(p->fresh_rows), part_release(p->fresh_text);
    if (e == ERR_OK) /* a mark that is not of what lies there costs bytes, and no row */
        mark(db, MERGED, p->rows, s->newest);
    stats_add(&kept, e == ERR_OK ? (int64_t)p->blocks_kept : 0);
    stats_add(&superseded, e == ERR_OK ? (int64_t)p->superseded : 0);
    stats_add(&sampled_out, e == ERR_OK ? (int64_t)p->sampled_out : 0);
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

/* What a rewrite reads; sound: without what is damaged, which is on record from then on. */
static enum err snapshot_of(struct tsdb *db, struct part *p, bool sound, struct part_snapshot **out,
                            size_t *out_left, struct err_msg *msg)
{
    *out_left = 0;
    if (!sound)
        return (*out = part_snapshot_new(p, UINT64_MAX)) ? ERR_OK : ERR_NOMEM;
    enum err e = part_snapshot_sound(p, true, out, out_left, msg);
    if (e == ERR_OK && *out_left && (e = quarantine_save(db->quarantine, db)) != ERR_OK) {
        part_snapshot_release(*out);
        *out = NULL;
        err_set(msg, e, "what is damaged cannot be recorded: %s", err_text(e));
    }
    return e;
}

static enum err compact_pair(struct tsdb *db, struct part *rows, uint64_t flushed, bool asked,
                             bool sound, struct err_msg *msg)
{
    struct pair p = {.rows = rows, .text = text_beside(db, rows), .is_closed = is_closed(db, rows)};
    size_t n, texts = 0, left, texts_left = 0;
    if (p.text && part_is_left_alone(p.text))
        return ERR_OK;
    enum err e = snapshot_of(db, rows, sound, &p.from, &left, msg);
    if (e == ERR_OK && p.text)
        e = snapshot_of(db, p.text, sound, &p.text_from, &texts_left, msg);
    if (e == ERR_OK) {
        const struct block_meta *m = part_snapshot_blocks(p.from, &n),
                                *t = p.text ? part_snapshot_blocks(p.text_from, &texts) : NULL;
        struct survey s = survey(m, n, COMPACT_ROWS_KINDS, flushed),
                      of_text = survey(t, texts, COMPACT_TEXT_KINDS, flushed);
        survey_add(&s, &of_text);
        if (!texts && !texts_left) { /* gone with its retention, or empty: it stays what it is */
            part_snapshot_release(p.text_from);
            p.text_from = NULL;
            p.text = NULL;
        }
        if (p.text)
            part_retain(p.text); /* its place in the list goes to the one that replaces it */
        bool undecided = p.is_closed && has_undecided(db, p.from, flushed);
        if (sound || is_due(&s, asked) || (asked && undecided) ||
            is_settling(db, rows, s.generations > 1 || undecided)) {
            e = rewrite_pair(db, &p, &s, flushed, msg);
            stats_add(&compactions, e == ERR_OK);
            if (e == ERR_OK && p.is_closed)
                mark_settled(db, rows);
        }
        part_release(p.text);
    }
    part_snapshot_release(p.from);
    part_snapshot_release(p.text_from);
    return e;
}

/* --- parts --------------------------------------------------------------------------------------- */

static enum err compact_part(struct tsdb *db, struct part *p, uint64_t flushed, bool asked,
                             bool sound, struct err_msg *msg)
{
    if (part_class_of(p) == PART_ROWS)
        return compact_pair(db, p, flushed, asked, sound, msg);

    uint32_t kinds = merged_kinds(part_class_of(p));
    struct part_snapshot *snapshot;
    size_t n, left;
    if (!kinds)
        return ERR_OK;
    enum err e = snapshot_of(db, p, sound, &snapshot, &left, msg);
    if (e != ERR_OK)
        return e;
    const struct block_meta *m = part_snapshot_blocks(snapshot, &n);
    struct survey s = survey(m, n, kinds, flushed);
    if (sound || is_due(&s, asked) || is_settling(db, p, s.generations > 1)) {
        e = rewrite(db, p, snapshot, &s, flushed, msg);
        stats_add(&compactions, e == ERR_OK);
        if (e == ERR_OK && is_closed(db, p))
            mark_settled(db, p);
    }
    part_snapshot_release(snapshot);
    return e;
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
        enum err e = compact_part(db, p, flushed, asked, false, &why);
        if (e == ERR_CORRUPT) /* once more without what is damaged, where that can be told */
            e = compact_part(db, p, flushed, asked, true, &why);
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
