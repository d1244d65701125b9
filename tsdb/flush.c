/* Flush: a frozen generation becomes sealed blocks, part by part; then its journal goes.
 *
 *   blocks of (day, class) -> part_put ... -> part_seal -> next part ... -> ledger -> flushed_generation in state -> swap of the set -> unlink journal
 * A crash anywhere is harmless: replay gives the head again, parts that have the seal are skipped, blocks of a generation above
 * flushed_generation are invisible.
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fault_point.h"
#include "base/log.h"
#include "base/stats.h"
#include "tsdb/compact.h"
#include "tsdb/erase_store.h"
#include "tsdb/files.h"
#include "tsdb/head_core.h"
#include "tsdb/ledger.h"
#include "tsdb/store.h"
#include "tsdb/totals.h"

#define RETRY_MS_MIN 50 /* doubled at each failure in a row */
#define RETRY_MS_MAX 5000
#define HOUSEKEEPING_NS (60 * INT64_C(1000000000))
#define SETTLING_NS \
    (10 * HOUSEKEEPING_NS) /* so often days are looked at that are over, when nothing is flushed */

STATS_COUNTER(flushes, "telltale_store_flushes_total", "", "Generations sealed into parts.");
STATS_COUNTER(flushes_failed, "telltale_store_flush_failures_total", "",
              "Attempts to seal a generation that failed and are repeated.");

STATS_COUNTER(repeated, "telltale_store_samples_repeated_total", "where=\"seal\"",
              "Samples found twice, bit by bit the same, and kept once.");
STATS_COUNTER(
    conflicting, "telltale_store_samples_conflicting_total", "where=\"seal\"",
    "Samples of one series and time with other values: the newest counts, a value before a "
    "stale marker.");

struct flush {
    struct tsdb *db;
    struct generation *g;
    struct part *open; /* being written */
    struct part **touched;
    size_t touched_count, touched_cap;
    enum err looked; /* the first error of want_part */
    struct err_msg *msg;
};

static enum err touch(struct flush *f, struct part *p)
{
    if (f->touched_count == f->touched_cap) {
        size_t cap = f->touched_cap ? 2 * f->touched_cap : 16;
        struct part **touched = realloc(f->touched, cap * sizeof(struct part *));
        if (!touched)
            return ERR_NOMEM;
        f->touched = touched;
        f->touched_cap = cap;
    }
    f->touched[f->touched_count++] = p;
    return ERR_OK;
}

static enum err seal_open(struct flush *f)
{
    struct part *p = f->open;
    f->open = NULL;
    fault_point("flush.before_seal");
    enum err e = p ? part_seal(p, f->g->id, f->msg) : ERR_OK;
    fault_point("flush.after_seal");
    return e;
}

static enum err put_block(void *ctx, const struct block_meta *m, struct bytes block)
{
    struct flush *f = ctx;
    if (!f->open || part_day(f->open) != m->day ||
        part_class_of(f->open) != (enum part_class)m->class) {
        enum err e = seal_open(f);
        if (e != ERR_OK)
            return e;
        struct part *p = pin_part(f->db, m->day, (enum part_class)m->class, false);
        e = p ? touch(f, p) : ERR_NOMEM;
        if (e != ERR_OK)
            return e;
        f->open = p;
    }
    return part_put(f->open, m, block, f->msg);
}

/* What cannot be asked now is asked again at the next attempt: a block that is written twice would be counted twice. */
static bool want_part(void *ctx, uint32_t day, enum part_class class)
{
    struct flush *f = ctx;
    bool sealed = false;
    struct part *p = pin_part(f->db, day, class, false);
    enum err e = p ? part_is_sealed(p, f->g->id, &sealed, f->msg) : ERR_NOMEM;
    if (e == ERR_OK && sealed)
        e = touch(f, p); /* its blocks become visible with the others */
    if (f->looked == ERR_OK)
        f->looked = e;
    return e == ERR_OK && !sealed;
}

/* Everything of it may have happened before: in a process that was killed, or in an attempt that failed half-way. */
static enum err flush_parts(struct flush *f)
{
    struct tsdb *db = f->db;
    struct generation *g = f->g;
    struct block_sink sink = {f, put_block};
    enum err e = head_flush(g->head, want_part, f, &sink, f->msg);
    if (e == ERR_OK)
        e = f->looked;
    if (e == ERR_OK)
        e = seal_open(f);
    if (e != ERR_OK) {
        for (size_t i = 0; i < f->touched_count; i++)
            part_abandon(f->touched[i]);
        return e;
    }
    char path[FILES_PATH_MAX];
    snprintf(path, sizeof(path), "%s/parts", db->dir);
    e = files_sync_dir(path, f->msg);
    if (e == ERR_OK) /* before the state: until then the journal can tell it again */
        e = ledger_seal(db->ledger, g->id, f->msg);
    fault_point("flush.before_state");
    if (e == ERR_OK)
        e = state_put_u64(db, "flushed_generation", g->id, f->msg);
    fault_point("flush.after_state");
    if (e == ERR_OK)
        e = pin_replace(db, g->head, f->touched, f->touched_count, g->id);
    return e;
}

static enum err flush_generation(struct tsdb *db, struct generation *g, struct err_msg *msg)
{
    struct flush f = {.db = db, .g = g, .msg = msg};
    enum err e = flush_parts(&f);
    free(f.touched);
    return e;
}

/* The oldest frozen generation, which stays in its queue until it is flushed; NULL when it is time for other work. */
static struct generation *wait_for_work(struct tsdb *db, unsigned failures, bool busy)
{
    struct timespec ts;
    bool active = erase_is_active(db), held = active && erase_holds_compaction(db);
    pthread_mutex_lock(&db->lock);
    if (!busy && (!db->frozen || failures) && !db->flusher_stopping && !db->retention_wanted &&
        (!db->compact_wanted || held)) {
        int64_t ms = failures ? MIN(RETRY_MS_MIN << MIN(failures - 1, 10u), RETRY_MS_MAX) : 1000;
        if (db->retired || active)
            ms = MIN(ms, 200);
        clock_gettime(CLOCK_MONOTONIC, &ts);
        ts.tv_nsec += ms % 1000 * 1000000;
        ts.tv_sec += ms / 1000 + ts.tv_nsec / 1000000000;
        ts.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&db->wake_flusher, &db->lock, &ts);
    }
    struct generation *g = db->frozen;
    pthread_mutex_unlock(&db->lock);
    return g;
}

static void finish(struct tsdb *db, struct generation *g)
{
    for (uint32_t i = 0; i < g->head->org_count; i++) {
        const struct head_resolved *r = &g->head->orgs[i].sealed;
        stats_add(&repeated, (int64_t)r->repeated);
        stats_add(&conflicting, (int64_t)r->conflicting);
        totals_superseded(db, g->head->orgs[i].org, r->repeated + r->conflicting);
    }
    committer_end_journal(db, g);
    stats_add(&flushes, 1);
    pthread_mutex_lock(&db->lock);
    CHECK(db->frozen == g);
    db->frozen = g->next;
    db->frozen_count--;
    g->next = db->forgotten;
    db->forgotten = g;
    db->flushed_generation = g->id;
    db->flush_error.text[0] = 0;
    pthread_cond_broadcast(&db->flushed);
    pthread_cond_signal(&db->wake_committer);
    pthread_mutex_unlock(&db->lock);
}

enum err flush_oldest(struct tsdb *db, struct err_msg *msg)
{
    struct generation *g = db->frozen;
    enum err e = flush_generation(db, g, msg);
    if (e == ERR_OK)
        finish(db, g);
    return e;
}

static void compact_when_asked(struct tsdb *db, bool is_time)
{
    struct err_msg msg = {""};
    pthread_mutex_lock(&db->lock);
    bool wanted = db->compact_wanted, stopping = db->flusher_stopping;
    pthread_mutex_unlock(&db->lock);
    if (stopping || (!wanted && !is_time) || erase_holds_compaction(db))
        return; /* who asked waits until it may be done */
    enum err e = compact_run(db, wanted, &msg);
    if (!wanted)
        return;
    malloc_trim(0);
    pthread_mutex_lock(&db->lock);
    db->compact_result = e;
    db->compact_error = msg;
    db->compact_wanted = false;
    pthread_cond_broadcast(&db->flushed);
    pthread_mutex_unlock(&db->lock);
}

void *flush_main(void *arg)
{
    struct tsdb *db = arg;
    unsigned failures = 0; /* in a row */
    bool erasing = false;
    int64_t housekeeping_ns = clock_mono_ns() + HOUSEKEEPING_NS / 60;
    int64_t settling_ns = clock_mono_ns() + HOUSEKEEPING_NS;
    for (;;) {
        struct err_msg msg = {""};
        struct generation *g = wait_for_work(db, failures, erasing);
        bool flushed_one = false;
        if (g) {
            enum err e = flush_generation(db, g, &msg);
            if (e == ERR_OK) {
                finish(db, g);
                flushed_one = true;
                failures = 0;
            } else {
                failures++;
                stats_add(&flushes_failed, 1);
                log_error("store", "generation %llu cannot be sealed yet: %s: %s",
                          (unsigned long long)g->id, err_text(e), msg.text);
                pthread_mutex_lock(&db->lock);
                db->flush_failures++;
                db->flush_error = msg;
                pthread_cond_broadcast(&db->flushed);
                pthread_mutex_unlock(&db->lock);
            }
        }
        bool is_time = clock_mono_ns() >= settling_ns;
        compact_when_asked(db, flushed_one || is_time);
        if (flushed_one || is_time) {
            settling_ns = clock_mono_ns() + SETTLING_NS;
            malloc_trim(0); /* sealing and merging leave the heap full of holes */
        }
        erasing = erase_step(db);
        quarantine_save(db->quarantine, db);
        retention_check_disk(db); /* also when nobody appends */
        pthread_mutex_lock(&db->lock);
        bool asked = db->retention_wanted;
        pthread_mutex_unlock(&db->lock);
        if (asked || clock_mono_ns() >= housekeeping_ns) {
            retention_run(db);
            housekeeping_ns = clock_mono_ns() + HOUSEKEEPING_NS;
        }
        retired_run(db); /* what nobody reads goes with what replaced it */
        pthread_mutex_lock(&db->lock);
        if (asked) {
            db->retention_wanted = false;
            pthread_cond_broadcast(&db->flushed);
        }
        bool done = db->flusher_stopping && (!db->frozen || failures);
        pthread_mutex_unlock(&db->lock);
        if (done) {
            quarantine_save(db->quarantine, db);
            return NULL;
        }
    }
}
