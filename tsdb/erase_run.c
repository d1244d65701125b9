/* The flush role works the targets off, a part at a time, so that generations are sealed between. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fault_point.h"
#include "base/log.h"
#include "base/stats.h"
#include "tsdb/compact.h"
#include "tsdb/erase_parts.h"
#include "tsdb/erase_store.h"
#include "tsdb/ledger.h"
#include "tsdb/part_core.h"
#include "tsdb/totals.h"

#define RETRY_NS (10 * INT64_C(1000000000))
#define DIRTY "erase_state_dirty" /* free pages of state still hold what was to be erased */

STATS_COUNTER(jobs_done, "telltale_store_erase_jobs_total", "", "Erase jobs that are done.");
STATS_COUNTER(
    failures, "telltale_store_erase_failures_total", "",
    "Parts that could not be rewritten without what is to be erased; they are tried again.");
STATS_COUNTER(erased_spans, "telltale_store_erased_rows_total", "signal=\"spans\"",
              "Rows that erase jobs have removed.");
STATS_COUNTER(erased_logs, "telltale_store_erased_rows_total", "signal=\"logs\"",
              "Rows that erase jobs have removed.");
STATS_COUNTER(erased_samples, "telltale_store_erased_rows_total", "signal=\"samples\"",
              "Rows that erase jobs have removed.");

/* --- where a target stands ----------------------------------------------------------------------- */

static bool is_sealed(struct tsdb *db, const struct erase_target *t)
{
    pthread_mutex_lock(&db->lock);
    bool sealed = atomic_load(&db->live_generation) > t->generation;
    for (const struct generation *g = db->frozen; g; g = g->next)
        sealed &= g->id > t->generation;
    pthread_mutex_unlock(&db->lock);
    return sealed;
}

enum tsdb_erase_phase erase_phase(struct tsdb *db, const struct erase_target *t)
{
    return !is_sealed(db, t)            ? TSDB_ERASE_SEALING
           : !atomic_load(&t->is_clean) ? TSDB_ERASE_REWRITING
                                        : TSDB_ERASE_DRAINING;
}

static void say_why(struct tsdb *db, const struct erase_target *t, const char *why)
{
    pthread_mutex_lock(&db->erase_lock);
    snprintf(db->erase_why[t->number], sizeof(db->erase_why[0]), "%s", why);
    pthread_mutex_unlock(&db->erase_lock);
}

bool erase_holds_compaction(struct tsdb *db)
{
    bool holds = false;
    pthread_mutex_lock(&db->erase_lock);
    for (uint32_t i = 0; db->erase && i < db->erase->count; i++)
        holds |= !db->erase->targets[i]->may_merge;
    pthread_mutex_unlock(&db->erase_lock);
    return holds;
}

bool erase_is_active(struct tsdb *db)
{
    pthread_mutex_lock(&db->erase_lock);
    bool active = db->erase && db->erase->count;
    pthread_mutex_unlock(&db->erase_lock);
    return active;
}

/* The oldest target that is ready for work; retained. */
static struct erase_target *next_target(struct tsdb *db)
{
    struct erase_set *s;
    struct erase_target *found = NULL;
    int64_t now = clock_mono_ns();
    pthread_mutex_lock(&db->erase_lock);
    if ((s = db->erase))
        atomic_fetch_add(&s->refs, 1);
    pthread_mutex_unlock(&db->erase_lock);
    for (uint32_t i = 0; s && i < s->count && !found; i++)
        if (s->targets[i]->retry_ns <= now && is_sealed(db, s->targets[i]))
            found = s->targets[i];
    if (found)
        atomic_fetch_add(&found->refs, 1);
    erase_unpin(s);
    return found;
}

/* --- parts --------------------------------------------------------------------------------------- */

static uint64_t place_of(const struct part *p)
{
    return (uint64_t)part_day(p) * PART_CLASS_COUNT + part_class_of(p);
}

static struct part *next_part(const struct tsdb *db, const struct erase_target *t)
{
    for (size_t i = 0; i < db->part_count; i++) /* sorted so */
        if (place_of(db->parts[i]) >= t->next && part_class_of(db->parts[i]) != PART_TEXT)
            return db->parts[i];
    return NULL;
}

struct noting {
    struct tsdb *db;
    const struct erase_target *t;
};

/* Before the exchange: were it after, a crash between would lose the count; what is noted and did not happen is noted again. */
static enum err note(void *ctx, const struct part *p, const struct tsdb_erased *found,
                     struct err_msg *msg)
{
    struct noting *n = ctx;
    struct tsdb_state_write *w;
    struct buf row = {0};
    struct erase_key k = erase_key_of(n->t->id);
    for (int i = 3; i >= 0; i--)
        k.bytes[k.size++] = (uint8_t)(part_day(p) >> (8 * i));
    k.bytes[k.size++] = (uint8_t)part_class_of(p);
    erased_write(found, &row);
    enum err e = buf_ok(&row) ? tsdb_state_begin(n->db, &w) : ERR_NOMEM;
    if (e == ERR_OK) {
        e = tsdb_state_put(w, ERASE_TABLE_PARTS, bytes_of(k.bytes, k.size), buf_bytes(&row));
        if (e == ERR_OK)
            e = tsdb_state_commit(w);
        else
            tsdb_state_abort(w);
    }
    buf_done(&row);
    return e == ERR_OK ? e : err_set(msg, e, "what is erased cannot be noted: %s", err_text(e));
}

enum err erase_parts_open(struct erase_pass *pass, struct part *p, struct part_snapshot **out,
                          struct err_msg *msg)
{
    size_t n;
    enum err e = part_open(p, false, msg);
    if (e != ERR_OK)
        return e;
    if (pass->sound)
        return part_snapshot_sound(p, false, out, &n, msg);
    if (part_is_left_alone(p))
        return err_set(msg, ERR_CORRUPT, "%s has damaged blocks", part_path(p));
    if (!(*out = part_snapshot_new(p, UINT64_MAX)))
        return ERR_NOMEM;
    return part_snapshot_blocks(*out, &n) ? ERR_OK : ERR_NOMEM;
}

enum err erase_parts_finish(struct erase_pass *pass, struct part *old, struct part *fresh,
                            struct part *text, struct part *fresh_text, struct err_msg *msg)
{
    fault_point("erase.before_seal");
    enum err e = fresh_text ? part_rewrite_seal(fresh_text, text, msg) : ERR_OK;
    fault_point("erase.between_seals");
    if (e == ERR_OK)
        e = part_rewrite_seal(fresh, old, msg);
    if (e == ERR_OK && (e = quarantine_save(pass->db->quarantine, pass->db)) != ERR_OK)
        err_set(msg, e, "what is damaged cannot be recorded: %s", err_text(e));
    if (e == ERR_OK) {
        uint64_t before = part_bytes(old) + (fresh_text ? part_bytes(text) : 0),
                 after = part_bytes(fresh) + (fresh_text ? part_bytes(fresh_text) : 0);
        pass->found.bytes = before > after ? before - after : 0;
        pass->found.parts = fresh_text ? 2 : 1;
        e = pass->note(pass->ctx, old, &pass->found, msg);
    }
    fault_point("erase.before_exchange");
    if (e == ERR_OK) {
        e = pin_exchange_pair(pass->db, old, fresh, text, fresh_text, pass->flushed, msg);
    } else {
        part_release(fresh);
        part_release(fresh_text);
    }
    fault_point("erase.after_exchange");
    return e;
}

static enum err rewrite(struct erase_pass *pass, struct part *p, struct err_msg *msg)
{
    pass->found = (struct tsdb_erased){0};
    return part_class_of(p) == PART_ROWS ? erase_parts_rows(pass, p, msg)
                                         : erase_parts_series(pass, p, msg);
}

static void leave_alone(struct tsdb *db, const struct part *p)
{
    for (size_t i = 0; i < db->part_count; i++)
        if (part_day(db->parts[i]) == part_day(p) &&
            (db->parts[i] == p ||
             (part_class_of(p) == PART_ROWS && part_class_of(db->parts[i]) == PART_TEXT)))
            part_leave_alone(db->parts[i]);
}

static void visit(struct tsdb *db, struct erase_target *t, struct part *p)
{
    struct err_msg msg = {""};
    struct noting n = {db, t};
    pthread_mutex_lock(&db->lock);
    uint64_t flushed = db->flushed_generation;
    pthread_mutex_unlock(&db->lock);
    struct erase_pass pass = {.db = db, .target = t, .flushed = flushed, .note = note, .ctx = &n};
#ifdef TELLTALE_FAULT_ERASE_NO_REWRITE
    t->next = place_of(p) + 1; /* seeded defect; tests must notice */
    return;
#endif
    part_retain(p); /* its place goes to the one that replaces it */
    enum err e = rewrite(&pass, p, &msg);
    if (e == ERR_CORRUPT) { /* what is damaged cannot be searched: it goes */
        pass.sound = true;
        msg = (struct err_msg){""};
        e = rewrite(&pass, p, &msg);
    }
    t->next = place_of(p) + 1;
    if (e == ERR_OK && pass.found.parts)
        compact_forget_merge(db, p);
    if (e != ERR_OK) {
        stats_add(&failures, 1);
        log_error("store", "erase %llu: %s stays as it is for now: %s: %s",
                  (unsigned long long)t->id, part_path(p), err_text(e), msg.text);
        say_why(db, t, msg.text[0] ? msg.text : err_text(e));
        t->failed++;
        if (e == ERR_CORRUPT)
            leave_alone(db,
                        p); /* so it is not merged either, and may be merged with others' rows */
        else
            t->unmerged++;
    }
    part_release(p);
}

/* --- the end ------------------------------------------------------------------------------------- */

/* Whether a directory holds a name that begins so. */
static bool has_name(const char *dir, const char *prefix, struct arena *a)
{
    char **names;
    struct err_msg msg;
    size_t n = 0;
    bool found = false;
    if (access(dir, F_OK) != 0)
        return false;
    if (files_list(dir, true, a, &names, &n, &msg) != ERR_OK)
        return true;
    for (size_t i = 0; i < n && !found; i++)
        found = strncmp(names[i], prefix, strlen(prefix)) == 0;
    return found;
}

/* Texts that were replaced and have not gone. */
static bool has_other_text(const struct tsdb *db, const char *dir, struct arena *a)
{
    char path[FILES_PATH_MAX + PART_NAME_MAX], **names;
    struct err_msg msg;
    size_t n = 0;
    if (files_list(dir, true, a, &names, &n, &msg) != ERR_OK)
        return true;
    for (size_t i = 0; i < n; i++) {
        bool is_known = strncmp(names[i], part_class_name(PART_TEXT), 4) != 0;
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        for (size_t k = 0; k < db->part_count && !is_known; k++)
            is_known = strcmp(part_path(db->parts[k]), path) == 0;
        if (!is_known)
            return true;
    }
    return false;
}

/* Replaced parts are there as long as somebody reads them; generations of the journal as long as they cannot be unlinked. */
static bool is_drained(struct tsdb *db, const struct erase_target *t)
{
    char path[FILES_PATH_MAX], **days;
    struct err_msg msg;
    struct arena *a = arena_new(0);
    size_t n = 0;
    snprintf(path, sizeof(path), "%s/.trash", db->dir);
    bool clean = a && !has_name(path, "", a);
    snprintf(path, sizeof(path), "%s/parts", db->dir);
    clean = clean && files_list(path, false, a, &days, &n, &msg) == ERR_OK;
    for (size_t i = 0; i < n && clean; i++) {
        snprintf(path, sizeof(path), "%s/parts/%s", db->dir, days[i]);
        clean = !has_name(path, ".tmp-", a) && !has_other_text(db, path, a);
    }
    snprintf(path, sizeof(path), "%s/journal", db->dir);
    clean = clean && files_list(path, true, a, &days, &n, &msg) == ERR_OK;
    for (size_t i = 0; i < n && clean; i++)
        clean = strncmp(days[i], ".old-", 5) != 0 &&
                (days[i][0] == '.' || strtoull(days[i], NULL, 10) > t->generation);
    arena_free(a);
    return clean;
}

static enum err forget(struct tsdb *db, struct tsdb_state_write *w, uint64_t id, struct arena *a)
{
    static const char *const tables[] = {ERASE_TABLE, ERASE_TABLE_IDS, ERASE_TABLE_PARTS};
    struct erase_key k = erase_key_of(id);
    enum err e = ERR_OK;
    for (size_t i = 0; i < ARRAY_LEN(tables) && e == ERR_OK; i++) {
        struct tsdb_state_row *rows;
        size_t n;
        e = tsdb_state_scan(db, tables[i], bytes_of(k.bytes, k.size), SIZE_MAX, a, &rows, &n);
        for (size_t r = 0; e == ERR_OK && r < n; r++)
            e = tsdb_state_del(w, tables[i], rows[r].key);
    }
    return e;
}

/* The receipt takes the place of the target. It names no value. */
static enum err write_receipt(struct tsdb *db, const struct erase_target *t, struct arena *a,
                              struct tsdb_erased *sum)
{
    struct tsdb_state_write *w;
    struct buf row = {0};
    struct erase_key k = erase_key_of(t->id);
    enum err e = erase_sum_parts(db, t->id, a, sum);
    if (e != ERR_OK)
        return e;
    uint64_t damaged, damaged_rows;
    quarantine_count(db->quarantine, t->org, &damaged, &damaged_rows);
    buf_u8(&row, ERASE_RECEIPT_VERSION);
    buf_u8(&row, (uint8_t)t->kind);
    buf_varint(&row, t->org);
    buf_zigzag(&row, t->asked_ms);
    buf_zigzag(&row, clock_wall_ms());
    buf_zigzag(&row, t->min_ms);
    buf_zigzag(&row, t->max_ms);
    buf_varint(&row, t->id_count);
    buf_varint(&row, t->state_rows);
    erased_write(sum, &row);
    buf_varint(&row, damaged);
    buf_varint(&row, damaged_rows);
    e = buf_ok(&row) ? tsdb_state_begin(db, &w) : ERR_NOMEM;
    if (e == ERR_OK) {
        uint8_t one[8] = {1};
        e = forget(db, w, t->id, a);
        for (uint32_t i = 0; e == ERR_OK && t->kind != TSDB_ERASE_SERIES && i < t->id_count; i++)
            e = compact_unkeep(w, t->org, t->ids[i]);
        if (e == ERR_OK)
            e = tsdb_state_put(w, ERASE_TABLE_DONE, bytes_of(k.bytes, k.size), buf_bytes(&row));
        if (e == ERR_OK)
            e = totals_add(w, TOTALS_ERASED, t->org, TSDB_SPANS, sum->spans);
        if (e == ERR_OK)
            e = totals_add(w, TOTALS_ERASED, t->org, TSDB_LOGS, sum->logs);
        if (e == ERR_OK)
            e = totals_add(w, TOTALS_ERASED, t->org, TSDB_SAMPLES, sum->samples);
        if (e == ERR_OK)
            e = tsdb_state_put(w, "store", BYTES_LIT(DIRTY), bytes_of(one, 8));
        fault_point("erase.before_receipt");
        if (e == ERR_OK)
            e = tsdb_state_commit(w);
        else
            tsdb_state_abort(w);
        fault_point("erase.after_receipt");
    }
    buf_done(&row);
    return e;
}

/* The file of state is written again without its free pages: they held the target. */
static void clean_state(struct tsdb *db)
{
    struct err_msg msg = {""};
    uint64_t dirty = 0;
    if (clock_mono_ns() < db->erase_state_retry_ns || state_get_u64(db, DIRTY, &dirty) != ERR_OK ||
        !dirty)
        return;
    enum err e = lmdb_env_rewrite(db->state, &msg);
    fault_point("erase.after_state");
    if (e == ERR_OK)
        e = state_put_u64(db, DIRTY, 0, &msg);
    if (e != ERR_OK) {
        log_error("store", "state is not rewritten yet: %s", msg.text);
        db->erase_state_retry_ns = clock_mono_ns() + RETRY_NS;
    }
}

static void finish(struct tsdb *db, struct erase_target *t)
{
    struct arena *a = arena_new(0);
    struct tsdb_erased sum;
    enum err e = a ? write_receipt(db, t, a, &sum) : ERR_NOMEM;
    if (e == ERR_OK) {
        clean_state(db);
        if (totals_load(db) != ERR_OK)
            log_warn("store", "the accounts tell of erase %llu from the next start on",
                     (unsigned long long)t->id);
        stats_add(&jobs_done, 1);
        stats_add(&erased_spans, (int64_t)sum.spans);
        stats_add(&erased_logs, (int64_t)sum.logs);
        stats_add(&erased_samples, (int64_t)sum.samples);
        log_info("store", "erase %llu is done: %llu spans, %llu logs, %llu samples in %llu parts",
                 (unsigned long long)t->id, (unsigned long long)sum.spans,
                 (unsigned long long)sum.logs, (unsigned long long)sum.samples,
                 (unsigned long long)sum.parts);
        say_why(db, t, "");
        e = erase_publish(db, NULL, t);
    }
    if (e != ERR_OK) {
        say_why(db, t, err_text(e));
        t->retry_ns = clock_mono_ns() + RETRY_NS;
    }
    arena_free(a);
}

bool erase_step(struct tsdb *db)
{
    struct erase_target *t = next_target(db);
    bool more = false;
    if (!t) {
        clean_state(db); /* a crash may have come between */
        return false;
    }
    struct part *p = atomic_load(&t->is_clean) ? NULL : next_part(db, t);
    if (p) {
        visit(db, t, p);
        more = true;
    } else if (t->failed) {
        t->may_merge = t->unmerged == 0;
        t->failed = t->unmerged = 0;
        t->next = 0;
        t->retry_ns = clock_mono_ns() + RETRY_NS;
    } else {
        if (!atomic_load(&t->is_clean))
            say_why(db, t, "");
        t->may_merge = true;
        atomic_store(&t->is_clean, true);
        fault_point("erase.before_drained");
        struct err_msg why = {""};
        /* What lies in quarantine cannot be searched: all that is kept there goes. */
        enum err e = quarantine_purge(db->quarantine, &why);
        if (e != ERR_OK) {
            say_why(db, t, why.text[0] ? why.text : err_text(e));
            t->retry_ns = clock_mono_ns() + RETRY_NS;
        } else if ((e = ledger_erase(db->ledger, t, &why)) != ERR_OK) {
            say_why(db, t, why.text[0] ? why.text : err_text(e));
            t->retry_ns = clock_mono_ns() + RETRY_NS / 100;
        } else if (is_drained(db, t)) {
            finish(db, t);
            more = true;
        } else {
            t->retry_ns = clock_mono_ns() + INT64_C(100000000);
        }
    }
    erase_target_release(t);
    pthread_mutex_lock(&db->lock);
    pthread_cond_broadcast(&db->flushed);
    pthread_mutex_unlock(&db->lock);
    return more;
}
