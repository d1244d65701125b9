/* The store's life: open (lock, version, recovery), append, flush, status, close. */
#include "tsdb/changes.h"
#include "tsdb/tsdb.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fault_point.h"
#include "base/hoard.h"
#include "base/log.h"
#include "tsdb/erase_store.h"
#include "tsdb/files.h"
#include "tsdb/gone.h"
#include "tsdb/index_cache.h"
#include "tsdb/ledger.h"
#include "tsdb/lmdb_pages.h"
#include "tsdb/pin.h"
#include "tsdb/store.h"
#include "tsdb/totals.h"

#define STATE_MAP_BYTES LMDB_ENV_MAP(4ull << 30)
#define DAY_MS INT64_C(86400000)

/* --- open ---------------------------------------------------------------------------------------- */

static void options_default(struct tsdb_options *o)
{
    uint64_t total = 0;
    if (!o->memory_limit_bytes)
        o->memory_limit_bytes = 512ull << 20;
    if (!o->series_max_per_org)
        o->series_max_per_org = 1000000;
    if (!o->series_max_per_metric)
        o->series_max_per_metric = MAX(o->series_max_per_org / 2, 1u);
    if (!o->retention_ms)
        o->retention_ms = 30 * DAY_MS;
    if (!o->retention_content_ms)
        o->retention_content_ms = 7 * DAY_MS;
    if (!o->retention_cells_ms)
        o->retention_cells_ms = 400 * DAY_MS;
    if (!o->generation_max_bytes)
        o->generation_max_bytes = 256ull << 20;
    (void)files_free_bytes(o->dir, &total);
    if (total)
        o->generation_max_bytes = MIN(o->generation_max_bytes, MAX(total / 16, 1ull << 20));
}

static enum err take_lock(struct tsdb *db, struct err_msg *msg)
{
    char path[FILES_PATH_MAX];
    snprintf(path, sizeof(path), "%s/LOCK", db->dir);
    db->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (db->lock_fd < 0)
        return err_set(msg, ERR_IO, "cannot write to %s: %s", db->dir, strerror(errno));
    if (flock(db->lock_fd, LOCK_EX | LOCK_NB) != 0)
        return err_set(msg, ERR_CONFLICT,
                       "%s is in use by another telltale; stop it, or give this one a directory of "
                       "its own with --data",
                       db->dir);
    return ERR_OK;
}

/* VERSION is the first that a new directory gets. */
static bool has_data(const struct tsdb *db)
{
    char path[FILES_PATH_MAX];
    bool found = false;
    for (const char *const *sub = (const char *const[]){"state", "journal", "parts", NULL}; *sub;
         sub++) {
        snprintf(path, sizeof(path), "%s/%s", db->dir, *sub);
        found |= access(path, F_OK) == 0;
    }
    return found;
}

static enum err check_version(struct tsdb *db, struct arena *a, struct err_msg *msg)
{
    char path[FILES_PATH_MAX];
    struct bytes found;
    snprintf(path, sizeof(path), "%s/VERSION", db->dir);
    enum err e = files_read(path, 256, a, &found, msg);
    if (e == ERR_NOT_FOUND && has_data(db))
        return err_set(msg, ERR_CORRUPT,
                       "%s has data but no VERSION: it is no whole data directory (an unfinished "
                       "copy or backup?)",
                       db->dir);
    if (e == ERR_NOT_FOUND) {
        struct buf text = {0};
        store_version_write(&text);
        e = buf_ok(&text) ? files_write(path, buf_bytes(&text), msg) : ERR_NOMEM;
        buf_done(&text);
        return e;
    }
    if (e != ERR_OK)
        return e;
    e = store_version_check(found, db->dir, msg);
    if (e != ERR_OK)
        return e;
    snprintf(path, sizeof(path), "%s/BACKUP", db->dir);
    if (unlink(path) != 0 && errno != ENOENT) /* what a backup held will soon not be all of it */
        return err_set(msg, ERR_IO, "cannot remove %s: %s", path, strerror(errno));
    return ERR_OK;
}

static enum err open_env(struct tsdb *db, const char *name, uint64_t map_bytes,
                         struct lmdb_env **out, struct err_msg *msg)
{
    char path[FILES_PATH_MAX], temporary[FILES_PATH_MAX], inside[FILES_PATH_MAX + 16];
    struct lmdb_env *env = NULL;
    snprintf(path, sizeof(path), "%s/%s", db->dir, name);
    snprintf(temporary, sizeof(temporary), "%s/.tmp-%s", db->dir, name);
    files_finish_exchange(path);
    if (access(path, F_OK) != 0) { /* born under another name, as every environment */
        files_remove_tree(temporary);
        enum err e = files_make_dir(temporary, msg);
        if (e == ERR_OK)
            e = lmdb_env_open(temporary, map_bytes, NULL, &env, msg);
        lmdb_env_close(env);
        /* LMDB has not synced its first pages: nothing was committed yet. */
        snprintf(inside, sizeof(inside), "%s/data.mdb", temporary);
        if (e == ERR_OK)
            e = files_sync_file(inside, msg);
        if (e == ERR_OK)
            e = files_sync_dir(temporary, msg);
        if (e == ERR_OK)
            e = files_rename(temporary, path, msg);
        if (e != ERR_OK)
            return e;
    }
    if (access(temporary, F_OK) == 0) /* a crash left it of a rewrite */
        files_remove_tree(temporary);
    enum err e = lmdb_pages_check(path, true, msg);
    return e == ERR_OK ? lmdb_env_open(path, map_bytes, NULL, out, msg) : e;
}

static enum err open_state(struct tsdb *db, struct err_msg *msg)
{
    struct lmdb_env *env = NULL;
    enum err e = open_env(db, "state", STATE_MAP_BYTES, &db->state, msg);
    if (e == ERR_OK)
        e = state_check(db, msg);
    if (e == ERR_OK)
        e = open_env(db, "ledger", LEDGER_MAP_BYTES, &env, msg);
    if (e == ERR_OK)
        e = ledger_open(&env, &db->ledger, msg);
    lmdb_env_close(env);
    return e;
}

/* Directories parts/<YYYYMMDD>/<class> become parts that are opened when somebody looks. */
static enum err list_parts(struct tsdb *db, struct arena *a, struct err_msg *msg)
{
    char path[FILES_PATH_MAX];
    char **days;
    size_t n;
    snprintf(path, sizeof(path), "%s/parts", db->dir);
    enum err e = files_list(path, false, a, &days, &n, msg);
    for (size_t i = 0; i < n && e == ERR_OK; i++) {
        struct tm tm = {0};
        if (strlen(days[i]) != 8 ||
            sscanf(days[i], "%4d%2d%2d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday) != 3)
            continue;
        tm.tm_year -= 1900;
        tm.tm_mon--;
        uint32_t day = (uint32_t)(timegm(&tm) / 86400);
        snprintf(path, sizeof(path), "%s/parts/%s", db->dir, days[i]);
        part_clean_day(path);
        for (int c = 0; c < PART_CLASS_COUNT && e == ERR_OK; c++) {
            char day_dir[FILES_PATH_MAX - PART_NAME_MAX], name[PART_NAME_MAX];
            snprintf(day_dir, sizeof(day_dir), "%s/parts/%s", db->dir, days[i]);
            e = part_name(day_dir, (enum part_class)c, name);
            snprintf(path, sizeof(path), "%s/%s", day_dir, name);
            if (e != ERR_OK || access(path, F_OK) != 0)
                continue;
            struct part *p = pin_part(db, day, (enum part_class)c, true);
            e = p ? pin_replace(db, NULL, &p, 1, db->flushed_generation) : ERR_NOMEM;
        }
    }
    return e;
}

static enum err recover(struct tsdb *db, struct arena *a, struct err_msg *msg)
{
    uint64_t *generations, newest = MAX(db->flushed_generation, ledger_sealed(db->ledger)),
                           floor_ms = 0;
    size_t n;
    enum err e = journal_list(db->dir, a, &generations, &n, msg);
    if (e == ERR_OK && state_get_u64(db, "retention_floor_ms", &floor_ms) == ERR_OK)
        atomic_store(&db->retention_floor_ms, (int64_t)floor_ms);
    struct generation *empty = NULL;
    for (size_t i = 0; i < n && e == ERR_OK; i++) {
        struct generation *g;
        if (generations[i] <= db->flushed_generation) {
            journal_remove(db->dir, generations[i]); /* flushed; only the unlinking was missed */
            continue;
        }
        newest = MAX(newest, generations[i]);
        e = committer_replay(db, generations[i], &g, msg);
        if (e != ERR_OK)
            break;
        if (g->commits == 0) {
            g->next = empty; /* removed once the new generation holds its checkpoint */
            empty = g;
            continue;
        }
        e = pin_add_head(db, g->head, g->journal);
        if (e == ERR_OK)
            committer_freeze(db, g);
        else
            committer_free_generation(g);
        /* A process that is killed before it has flushed leaves one more each time: they must not pile up. */
        if (e == ERR_OK && db->frozen_count >= STORE_GENERATIONS_MAX)
            e = flush_oldest(db, msg);
    }
    atomic_store(&db->committed_seq, db->next_seq ? db->next_seq - 1 : 0);
    if (e == ERR_OK)
        e = committer_new_generation(db, newest + 1, msg);
    while (empty) {
        struct generation *next = empty->next;
        if (e == ERR_OK)
            committer_end_journal(db, empty);
        committer_free_generation(empty);
        empty = next;
    }
    return e;
}

static enum err start_threads(struct tsdb *db, struct err_msg *msg)
{
    if (pthread_create(&db->committer, NULL, committer_main, db) != 0)
        return err_set(msg, ERR_NOMEM, "cannot start the committer thread");
    pthread_setname_np(db->committer, "committer");
    if (pthread_create(&db->flusher, NULL, flush_main, db) != 0) {
        pthread_mutex_lock(&db->lock);
        db->stopping = true;
        pthread_cond_signal(&db->wake_committer);
        pthread_mutex_unlock(&db->lock);
        pthread_join(db->committer, NULL);
        return err_set(msg, ERR_NOMEM, "cannot start the flush thread");
    }
    pthread_setname_np(db->flusher, "flush");
    db->has_threads = true;
    return ERR_OK;
}

static struct tsdb *store_new(const struct tsdb_options *o)
{
    pthread_condattr_t monotonic;
    struct tsdb *db = calloc(1, sizeof(*db));
    if (!db)
        return NULL;
    db->options = *o;
    db->lock_fd = -1;
    db->next_seq = 1;
    db->queue_tail = &db->queue_head;
    snprintf(db->dir, sizeof(db->dir), "%s", o->dir);
    pthread_mutex_init(&db->lock, NULL);
    pthread_mutex_init(&db->set_lock, NULL);
    pthread_mutex_init(&db->erase_lock, NULL);
    pthread_mutex_init(&db->erase_ask_lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&db->wake_committer, &monotonic);
    pthread_cond_init(&db->wake_flusher, &monotonic);
    pthread_cond_init(&db->flushed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return db;
}

static void store_free(struct tsdb *db)
{
    struct generation *g;
    while ((g = db->older)) {
        db->older = g->older;
        if (db->options.settler.drop_generation)
            db->options.settler.drop_generation(db->options.settler.ctx, g->id);
        committer_free_generation(g);
    }
    if (db->live && db->options.settler.drop_generation)
        db->options.settler.drop_generation(db->options.settler.ctx, db->live->id);
    committer_free_generation(db->live);
    record_defs_done(&db->defs);
    free(db->hashes);
    retired_clear(db);
    erase_close(db);
    pin_clear(db);
    dedup_free(db->requests);
    account_free(db->accounts);
    offsets_free(db->offsets);
    tsdb_registry_free(db->series);
    quarantine_free(db->quarantine);
    ledger_close(db->ledger);
    changes_free(db->changes);
    lmdb_env_close(db->state);
    if (db->lock_fd >= 0)
        close(db->lock_fd);
    pthread_cond_destroy(&db->wake_committer);
    pthread_cond_destroy(&db->wake_flusher);
    pthread_cond_destroy(&db->flushed);
    pthread_mutex_destroy(&db->lock);
    pthread_mutex_destroy(&db->set_lock);
    pthread_mutex_destroy(&db->erase_lock);
    pthread_mutex_destroy(&db->erase_ask_lock);
    free(db);
}

static enum err open_all(struct tsdb *db, struct arena *a, struct err_msg *msg)
{
    char path[FILES_PATH_MAX];
    enum err e = files_make_dir(db->dir, msg);
    if (e == ERR_OK)
        e = take_lock(db, msg);
    if (e == ERR_OK)
        e = check_version(db, a, msg);
    options_default(&db->options);
    for (const char *const *sub = (const char *const[]){"journal", "parts", NULL};
         *sub && e == ERR_OK; sub++) {
        snprintf(path, sizeof(path), "%s/%s", db->dir, *sub);
        e = files_make_dir(path, msg);
    }
    if (e == ERR_OK) {
        snprintf(path, sizeof(path), "%s/.trash", db->dir);
        if (access(path, F_OK) == 0)
            files_remove_tree(path); /* what retention had no time to unlink */
        e = files_make_dir(path, msg); /* now: on a full disk retention must find it */
    }
    if (e == ERR_OK)
        e = open_state(db, msg);
    /* Names that were there may be of a process that died, or met an error, before it had synced them. */
    if (e == ERR_OK)
        e = files_sync_parent(db->dir, msg);
    if (e == ERR_OK)
        e = files_sync_dir(db->dir, msg);
    if (e == ERR_OK) {
        e = state_get_u64(db, "flushed_generation", &db->flushed_generation);
        e = e == ERR_NOT_FOUND ? ERR_OK : e;
    }
    db->series = tsdb_registry_new(db->options.series_max_per_org);
    if (db->series) {
        tsdb_registry_limit_metrics(db->series, db->options.series_max_per_metric);
        tsdb_registry_tick(db->series, store_minute());
    }
    db->queries.max = db->options.memory_limit_bytes / 2;
    index_cache_limit(MIN(db->options.memory_limit_bytes / 8, (uint64_t)INDEX_CACHE_BYTES));
    db->accounts = account_new();
    db->offsets = offsets_new();
    db->requests = dedup_new();
    db->changes = changes_new();
    db->quarantine = quarantine_new(db->dir);
    if (e == ERR_OK && (!db->series || !db->accounts || !db->offsets || !db->requests ||
                        !db->quarantine || !db->changes))
        e = ERR_NOMEM;
    if (e == ERR_OK)
        e = quarantine_load(db->quarantine, db);
    if (e == ERR_OK)
        e = erase_open(db, msg);
    if (e == ERR_OK)
        e = list_parts(db, a, msg);
    fault_point("open.before_recover");
    if (e == ERR_OK)
        e = recover(db, a, msg);
    fault_point("open.after_recover");
    if (e == ERR_OK)
        e = totals_load(db);
    if (e == ERR_OK) {
        gone_start(db);
        retention_start(db);
    }
    return e == ERR_OK ? start_threads(db, msg) : e;
}

enum err tsdb_open(const struct tsdb_options *o, struct tsdb **out, struct err_msg *msg)
{
    if (strlen(o->dir) >= sizeof(((struct tsdb *)0)->dir))
        return err_set(msg, ERR_INVALID, "the path of the data directory is too long");
    struct tsdb *db = store_new(o);
    struct arena *a = arena_new(0);
    if (msg)
        msg->text[0] = 0;
    enum err e = db && a ? open_all(db, a, msg) : ERR_NOMEM;
    arena_free(a);
    if (e != ERR_OK) {
        if (msg && !msg->text[0])
            err_set(msg, e, "%s: %s", o->dir, err_text(e));
        if (db)
            store_free(db);
        return e;
    }
    *out = db;
    return ERR_OK;
}

void tsdb_close(struct tsdb *db, bool flush)
{
    struct err_msg msg;
    if (!db)
        return;
    if (flush && tsdb_flush(db, false, &msg) != ERR_OK)
        log_warn("store", "not sealed at the end (the journal keeps it): %s", msg.text);
    pthread_mutex_lock(&db->lock);
    db->stopping = true;
    pthread_cond_signal(&db->wake_committer);
    pthread_mutex_unlock(&db->lock);
    pthread_join(db->committer, NULL);
    pthread_mutex_lock(&db->lock);
    db->flusher_stopping = true;
    pthread_cond_signal(&db->wake_flusher);
    pthread_mutex_unlock(&db->lock);
    pthread_join(db->flusher, NULL);
    store_free(db);
}

struct tsdb_registry *tsdb_series(struct tsdb *db)
{
    return db->series;
}

struct arena_budget *tsdb_query_budget(struct tsdb *db)
{
    return &db->queries;
}

/* --- append -------------------------------------------------------------------------------------- */

static uint64_t heads_bytes(struct tsdb *db)
{
    uint64_t n = 0;
    pthread_mutex_lock(&db->set_lock);
    for (size_t i = 0; i < db->set.head_count; i++)
        n += head_bytes(db->set.heads[i]);
    pthread_mutex_unlock(&db->set_lock);
    return n;
}

/* Memory kept for reuse may fill what the limit leaves, and goes back to the system when rows need it. */
static void make_room(uint64_t used, uint64_t limit)
{
    uint64_t left = used < limit ? limit - used : 0;
    if (hoard_kept() > left)
        hoard_trim(left);
}

enum err tsdb_append(struct tsdb *db, struct tsdb_batch **take_batch, tsdb_append_done done,
                     void *ctx)
{
    struct tsdb_batch *b = *take_batch;
    struct store_item *item = calloc(1, sizeof(*item));
    enum err e = ERR_OK;
    if (!item)
        return ERR_NOMEM;
    *item = (struct store_item){
        b, done, ctx, clock_mono_ns(), arena_used(b->arena) + tsdb_tokens_bytes(&b->tokens), NULL};
    uint64_t limit = db->options.memory_limit_bytes, bytes = item->bytes; /* it may soon be gone */
    uint64_t used = heads_bytes(db) + ledger_bytes(db->ledger) + index_cache_bytes() +
                    atomic_load(&db->queries.used);
    pthread_mutex_lock(&db->lock);
    used += db->queue_bytes;
    if (atomic_load(&db->is_full))
        e = ERR_FULL;
    else if (db->stopping || db->frozen_count >= STORE_GENERATIONS_MAX + 2 ||
             (used > limit / 2 &&
              used + item->bytes > limit)) /* one large request may always come in */
        e = ERR_UNAVAILABLE;
    if (e == ERR_OK) {
        *db->queue_tail = item;
        db->queue_tail = &item->next;
        db->queue_bytes += item->bytes;
        *take_batch = NULL;
        pthread_cond_signal(&db->wake_committer);
    }
    pthread_mutex_unlock(&db->lock);
    make_room(used + bytes, limit);
    if (e == ERR_FULL)
        retention_check_disk(db); /* notices when there is room again */
    if (e != ERR_OK)
        free(item);
    return e;
}

void tsdb_expect_begin(struct tsdb *db)
{
    pthread_mutex_lock(&db->lock);
    db->expected++;
    pthread_mutex_unlock(&db->lock);
}

void tsdb_expect_end(struct tsdb *db)
{
    pthread_mutex_lock(&db->lock);
    CHECK(db->expected > 0);
    if (--db->expected == 0)
        pthread_cond_signal(&db->wake_committer);
    pthread_mutex_unlock(&db->lock);
}

enum err tsdb_flush(struct tsdb *db, bool compact, struct err_msg *msg)
{
    enum err e = ERR_OK;
    pthread_mutex_lock(&db->lock);
    uint64_t failures = db->flush_failures;
    db->rotate_wanted = true;
    pthread_cond_signal(&db->wake_committer);
    while (db->rotate_wanted && !db->stopping && db->flush_failures == failures)
        pthread_cond_wait(&db->flushed, &db->lock);
    while (db->frozen && db->flush_failures == failures)
        pthread_cond_wait(&db->flushed, &db->lock);
    if (db->flush_failures != failures)
        e = err_set(msg, ERR_IO, "%s", db->flush_error.text);
    if (e == ERR_OK && compact && !db->flusher_stopping) {
        db->compact_wanted = true;
        pthread_cond_signal(&db->wake_flusher);
        while (db->compact_wanted && !db->flusher_stopping)
            pthread_cond_wait(&db->flushed, &db->lock);
        if (!db->compact_wanted && db->compact_result != ERR_OK)
            e = err_set(msg, db->compact_result, "%s", db->compact_error.text);
    }
    pthread_mutex_unlock(&db->lock);
    return e;
}

/* --- status -------------------------------------------------------------------------------------- */

int64_t tsdb_retention_floor_ms(const struct tsdb *db)
{
    int64_t durable = atomic_load(&((struct tsdb *)(uintptr_t)db)->retention_floor_ms),
            age = retention_clock_ms(db) - db->options.retention_ms;
    return MAX(durable, age);
}

uint64_t tsdb_committed_seq(const struct tsdb *db)
{
    return atomic_load(&((struct tsdb *)(uintptr_t)db)->committed_seq);
}

enum err tsdb_position_of(struct tsdb *db, struct bytes topic, uint32_t partition,
                          struct tsdb_position *out)
{
    return offsets_find(db->offsets, topic, partition, out) ? ERR_OK : ERR_NOT_FOUND;
}

size_t tsdb_accounts(struct tsdb *db, struct tsdb_account *out, size_t max)
{
    size_t n = account_copy(db->accounts, out, max);
    for (size_t i = 0; i < MIN(n, max); i++) { /* what was stored and then found damaged */
        uint64_t rows = quarantine_rows(db->quarantine, out[i].org, (int)out[i].signal);
        rows = MIN(rows, out[i].stored);
        out[i].stored -= rows;
        out[i].quarantined += rows;
    }
    gone_accounts(db, out, MIN(n, max));
    return n;
}

/* The parts are asked outside of set_lock: a part's own lock is held while it is opened, and nobody else is to wait for that. */
static void parts_status(struct tsdb *db, struct tsdb_status *out)
{
    pthread_mutex_lock(&db->set_lock);
    size_t n = db->part_count;
    struct part **parts = malloc((n + 1) * sizeof(struct part *));
    for (size_t i = 0; parts && i < n; i++)
        part_retain(parts[i] = db->parts[i]);
    pthread_mutex_unlock(&db->set_lock);
    out->parts_count = n;
    for (size_t i = 0; parts && i < n; i++) {
        out->parts_bytes += part_bytes(parts[i]);
        part_release(parts[i]);
    }
    free(parts);
}

void tsdb_status_get(struct tsdb *db, struct tsdb_status *out)
{
    *out = (struct tsdb_status){.generation = atomic_load(&db->live_generation),
                                .head_series = tsdb_registry_live(db->series),
                                .head_bytes = heads_bytes(db)};
    pthread_mutex_lock(&db->lock);
    out->generations_live = db->frozen_count + 1;
    out->waiting_bytes = db->queue_bytes;
    pthread_mutex_unlock(&db->lock);
    parts_status(db, out);
    out->memory_limit = db->options.memory_limit_bytes;
    out->index_cache_bytes = index_cache_bytes();
    out->query_bytes = atomic_load(&db->queries.used);
    out->series_bytes = tsdb_registry_bytes(db->series);
    out->journal_bytes = atomic_load(&db->journal_bytes);
    out->last_commit_ms = atomic_load(&db->last_commit_ms);
    out->is_full = atomic_load(&db->is_full);
    out->commits = atomic_load(&db->commits);
    out->commit_ns_total = atomic_load(&db->commit_ns);
    out->sync_ns_total = atomic_load(&db->sync_ns);
}

enum err tsdb_count(struct tsdb *db, uint32_t org, enum tsdb_signal signal, uint64_t *out)
{
    struct pin pin;
    struct err_msg msg;
    uint64_t n = 0;
    enum err e = pin_take(db, &pin, &msg);
    if (e != ERR_OK)
        return e;
    for (size_t i = 0; i < pin.head_count; i++)
        n += head_rows(pin.heads[i], org, signal);
    for (size_t i = 0; i < pin.part_count; i++) {
        size_t count;
        const struct block_meta *m = part_snapshot_blocks(pin.parts[i], &count);
        for (size_t k = 0; k < count; k++) {
            uint8_t kind = m[k].key.kind;
            bool counts =
                signal == TSDB_SPANS ? kind == BLOCK_SPANS
                : signal == TSDB_LOGS
                    ? kind == BLOCK_LOGS
                    : signal == TSDB_SAMPLES && (kind == BLOCK_SAMPLES || kind == BLOCK_HISTS);
            n += counts && m[k].key.org == org ? m[k].rows : 0;
        }
    }
    pin_release(db, &pin);
    *out = n;
    return ERR_OK;
}
