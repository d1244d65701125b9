#include "tsdb/part_core.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/fault_point.h"
#include "base/log.h"
#include "base/stats.h"
#include "tsdb/lmdb_pages.h"

#define MAP_BYTES LMDB_ENV_MAP(64ull << 30)
#define TXN_BYTES (1u << 20)
#define KEY_SIZE BLOCK_KEY_SIZE

static const char *const db_names[] = {"blocks", "manifest", "sealed", NULL};

STATS_COUNTER(block_corrupt, "telltale_store_corrupt_blocks_total", "",
              "Blocks whose checksum or manifest row was wrong.");
STATS_COUNTER(orphans_removed, "telltale_store_orphan_blocks_total", "",
              "Blocks of unfinished flushes, removed when their part was opened.");

const char *part_class_name(enum part_class c)
{
    static const char *const names[] = {"text", "rows", "samples", "cells"};
    CHECK(c < PART_CLASS_COUNT);
    return names[c];
}

enum err part_name(const char *dir, enum part_class class, char out[PART_NAME_MAX])
{
    char path[FILES_PATH_MAX];
    snprintf(out, PART_NAME_MAX, "%s", part_class_name(class));
    if (class != PART_TEXT)
        return ERR_OK;
    snprintf(path, sizeof(path), "%s/%s", dir, part_class_name(PART_ROWS));
    DIR *d = opendir(path);
    if (!d)
        return errno == ENOENT ? ERR_OK : ERR_IO;
    for (struct dirent *e; (e = readdir(d));)
        if (strncmp(e->d_name, PART_TEXT_PREFIX, strlen(PART_TEXT_PREFIX)) == 0 &&
            strlen(e->d_name) < PART_NAME_MAX)
            memcpy(out, e->d_name, strlen(e->d_name) + 1);
    closedir(d);
    return ERR_OK;
}

struct part *part_new(const char *dir, uint32_t day, enum part_class class, bool exists)
{
    char name[PART_NAME_MAX];
    static _Atomic uint64_t ids;
    struct part *p = part_name(dir, class, name) == ERR_OK ? calloc(1, sizeof(*p)) : NULL;
    if (!p)
        return NULL;
    p->id = atomic_fetch_add(&ids, 1) + 1;
    snprintf(p->dir, sizeof(p->dir), "%s", dir);
    snprintf(p->path, sizeof(p->path), "%s/%s", p->dir, name);
    snprintf(p->place, sizeof(p->place), "%s", p->path);
    p->day = day;
    p->class = class;
    p->exists = exists;
    p->is_unsynced = exists; /* the process that made it may have died before its sync */
    atomic_init(&p->refs, 1);
    pthread_mutex_init(&p->lock, NULL);
    return p;
}

void part_retain(struct part *p)
{
    atomic_fetch_add(&p->refs, 1);
}

void part_release(struct part *p)
{
    if (!p || atomic_fetch_sub(&p->refs, 1) != 1)
        return;
    part_abandon(p);
    lmdb_env_close(p->env);
    if (p->is_removed && !p->is_gone)
        files_remove_tree(p->place);
    arena_free(p->arena);
    free(p->metas);
    free(p->pending);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

uint32_t part_refs(const struct part *p)
{
    return atomic_load(&((struct part *)(uintptr_t)p)->refs);
}

uint32_t part_day(const struct part *p)
{
    return p->day;
}

void part_report_to(struct part *p, struct quarantine *q)
{
    p->quarantine = q;
}

enum part_class part_class_of(const struct part *p)
{
    return p->class;
}

const char *part_path(const struct part *p)
{
    return p->path;
}

/* --- keys and manifest rows ---------------------------------------------------------------------- */

static int by_key(const void *a, const void *b)
{
    uint8_t x[KEY_SIZE], y[KEY_SIZE];
    block_key_write(&((const struct block_meta *)a)->key, x);
    block_key_write(&((const struct block_meta *)b)->key, y);
    return memcmp(x, y, KEY_SIZE);
}

static bool metas_append(struct block_meta **metas, size_t *count, size_t *cap,
                         const struct block_meta *m)
{
    if (*count == *cap) {
        size_t more = *cap ? *cap * 2 : 32;
        struct block_meta *p = realloc(*metas, more * sizeof(*p));
        if (!p)
            return false;
        *metas = p;
        *cap = more;
    }
    (*metas)[(*count)++] = *m;
    return true;
}

/* --- opening ------------------------------------------------------------------------------------- */

struct load {
    struct part *p;
    struct lmdb_txn *txn; /* NULL: only read */
    size_t blocks, orphans, damaged;
    struct part_roll roll;
    enum err error;
};

/* Under p->lock. */
static void report(struct part *p, const struct block_key *key, const char *what)
{
    struct block_meta m = {.key = *key};
    p->is_damaged = true;
    stats_add(&block_corrupt, 1);
    quarantine_add_block(p->quarantine, p->day, p->class, &m, what);
}

/* A rewrite takes along what the manifest names, and nothing else. */
static void keep_block(struct load *l, struct bytes key, const struct block_key *k)
{
    struct block_meta m = {.key = *k};
    struct bytes block;
    if (l->txn && lmdb_txn_get(l->txn, PART_DB_BLOCKS, key, &block) == ERR_OK)
        quarantine_keep(l->p->quarantine, l->p->day, l->p->class, &m, block);
}

static bool load_meta(void *ctx, struct bytes key, struct bytes value)
{
    struct load *l = ctx;
    struct block_meta m = {.day = l->p->day, .class = (uint8_t)l->p->class};
    struct bytes row;
    bool is_whole = manifest_row_open(key, value, &row) && block_key_read(key, &m.key);
    l->error = is_whole ? block_meta_read(row, l->p->arena, &m) : ERR_CORRUPT;
    if (l->error == ERR_CORRUPT) {
        struct block_key k = {0};
        (void)block_key_read(key, &k);
        l->error = ERR_OK;
        l->damaged++;
        report(l->p, &k, "its manifest row is damaged");
        keep_block(l, key, &k);
        return true;
    }
    part_roll_add(&l->roll, value);
    if (l->error == ERR_OK && !metas_append(&l->p->metas, &l->p->meta_count, &l->p->meta_cap, &m))
        l->error = ERR_NOMEM;
    return l->error == ERR_OK;
}

/* What the manifest should hold, against what it holds. */
static void check_roll(struct load *l)
{
    static const uint8_t key[8] = {0};
    struct bytes value;
    struct part_roll want = {0};
    enum err e = lmdb_txn_get(l->txn, PART_DB_SEALED, bytes_of(key, 8), &value);
    if (e == ERR_NOT_FOUND && l->roll.rows == 0 && l->damaged == 0)
        return; /* nothing has been sealed yet */
    const char *what = NULL;
    char text[96];
    if (e != ERR_OK || !part_roll_read(value, &want)) {
        what = "the roll of its manifest is damaged: whether rows are missing is not known";
    } else if (want.rows != l->roll.rows + l->damaged ||
               (l->damaged == 0 && want.sum != l->roll.sum)) {
        snprintf(text, sizeof(text), "%llu rows of its manifest are not those that were written",
                 (unsigned long long)(want.rows > l->roll.rows ? want.rows - l->roll.rows : 1));
        what = text;
    }
    if (what)
        report(l->p, &(struct block_key){0}, what);
    l->damaged += what != NULL;
}

static bool find_orphan(void *ctx, struct bytes key, struct bytes value)
{
    struct load *l = ctx;
    struct block_meta m;
    l->blocks++;
    if (block_key_read(key, &m.key) && l->p->meta_count &&
        bsearch(&m, l->p->metas, l->p->meta_count, sizeof(m), by_key))
        return true;
    uint8_t copy[KEY_SIZE];
    struct bytes k = bytes_of(copy, MIN(key.size, sizeof(copy)));
    memcpy(copy, key.data, k.size);
    l->orphans++;
    l->error = lmdb_txn_del(l->txn, PART_DB_BLOCKS, k);
    return false; /* the cursor is stale after a delete: start again */
}

/* Blocks that no manifest row names are what a crash left of a flush. */
static enum err remove_orphans(struct part *p, struct err_msg *msg)
{
    struct load l = {.p = p};
    size_t before;
    enum err e = lmdb_env_begin(p->env, true, &l.txn, msg);
    if (e != ERR_OK)
        return e;
    do {
        before = l.orphans;
        e = lmdb_txn_scan(l.txn, PART_DB_BLOCKS, BYTES_NONE, find_orphan, &l);
    } while (e == ERR_OK && l.error == ERR_OK && l.orphans != before);
    if (e == ERR_OK)
        e = l.error;
    if (e != ERR_OK || l.orphans == 0) {
        lmdb_txn_abort(l.txn);
        return e;
    }
    stats_add(&orphans_removed, (int64_t)l.orphans);
    return lmdb_txn_commit(l.txn, msg);
}

enum err part_make_env(const char *place, struct err_msg *msg)
{
    struct lmdb_env *env = NULL;
    files_remove_tree(place);
    enum err e = files_make_dir(place, msg);
    if (e == ERR_OK)
        e = lmdb_env_open(place, MAP_BYTES, db_names, &env, msg);
    lmdb_env_close(env);
    return e == ERR_OK ? files_sync_dir(place, msg) : e;
}

/* A new environment is made under a temporary name: LMDB crashes on a half-born one. */
static enum err create(struct part *p, struct err_msg *msg)
{
    char temporary[FILES_PATH_MAX + 16];
    snprintf(temporary, sizeof(temporary), "%s/.tmp-%s", p->dir, part_class_name(p->class));
    if (access(p->path, F_OK) == 0) { /* an earlier attempt got as far as the sync of its name */
        p->exists = true;
        p->is_unsynced = true;
        return ERR_OK;
    }
    enum err e = part_make_env(temporary, msg);
    fault_point("part.before_rename");
    if (e == ERR_OK)
        e = files_rename(temporary, p->path, msg);
    fault_point("part.after_rename");
    if (e == ERR_OK)
        p->exists = true;
    return e;
}

/* LMDB is given only what it can follow; the rest leaves its place, and the part is empty. */
static enum err check_pages(struct part *p, bool make, struct err_msg *msg)
{
    struct err_msg why = {""};
    char name[32];
    time_t t = (time_t)p->day * 86400;
    struct tm tm;
    enum err e = lmdb_pages_check(p->place, false, &why);
    if (e == ERR_NOT_FOUND)
        e = ERR_CORRUPT;
    if (e != ERR_CORRUPT)
        return e == ERR_OK ? e : err_set(msg, e, "%s", why.text);
    gmtime_r(&t, &tm);
    (void)strftime(name, sizeof(name), "%Y%m%d-", &tm);
    strncat(name, part_class_name(p->class), sizeof(name) - strlen(name) - 1);
    e = quarantine_take(p->quarantine, p->place, name, msg);
    const char *at = strstr(why.text, "/data.mdb");
    report(p, &(struct block_key){.generation = (uint64_t)clock_wall_ms()}, at ? at + 1 : why.text);
    if (e != ERR_OK)
        return e;
    p->exists = false;
    return make ? create(p, msg) : ERR_NOT_FOUND;
}

/* Under p->lock. */
static enum err open_locked(struct part *p, bool make, struct err_msg *msg)
{
    struct load l = {.p = p};
    enum err e = ERR_OK;
    if (p->is_gone)
        return err_set(msg, ERR_TIMEOUT, "%s is gone: the view is too old", p->path);
    if (p->env)
        return ERR_OK;
    if (!p->exists)
        e = make ? create(p, msg) : ERR_NOT_FOUND;
    if (e == ERR_OK)
        e = check_pages(p, make, msg);
    if (e == ERR_OK)
        e = lmdb_env_open(p->place, MAP_BYTES, db_names, &p->env, msg);
    if (e != ERR_OK)
        return e;
    p->arena = arena_new(0);
    e = p->arena ? lmdb_env_begin(p->env, false, &l.txn, msg) : ERR_NOMEM;
    if (e == ERR_OK) {
        e = lmdb_txn_scan(l.txn, PART_DB_MANIFEST, BYTES_NONE, load_meta, &l);
        if (e == ERR_OK && l.error == ERR_OK)
            check_roll(&l);
        lmdb_txn_abort(l.txn);
    }
    if (e == ERR_OK)
        e = l.error;
    if (e == ERR_OK)
        e = l.damaged ? ERR_OK : remove_orphans(p, msg); /* what looks so may have lost its row */
    if (e != ERR_OK) {
        lmdb_env_close(p->env);
        arena_free(p->arena);
        p->env = NULL;
        p->arena = NULL;
        p->meta_count = 0;
    } else {
        lmdb_env_may_idle(p->env); /* its manifest stays in memory */
    }
    return e;
}

enum err part_open(struct part *p, bool make, struct err_msg *msg)
{
    pthread_mutex_lock(&p->lock);
    enum err e = open_locked(p, make, msg);
    pthread_mutex_unlock(&p->lock);
    return e;
}

bool part_is_damaged(const struct part *shared)
{
    struct part *p = (struct part *)(uintptr_t)shared;
    pthread_mutex_lock(&p->lock);
    bool is_damaged = p->is_damaged;
    pthread_mutex_unlock(&p->lock);
    return is_damaged;
}

uint64_t part_bytes(struct part *p)
{
    pthread_mutex_lock(&p->lock);
    uint64_t n = p->env ? lmdb_env_bytes(p->env) : 0;
    pthread_mutex_unlock(&p->lock);
    return n;
}

uint64_t part_disk_bytes(const struct part *p)
{
    char path[FILES_PATH_MAX + 16];
    struct stat st;
    snprintf(path, sizeof(path), "%s/data.mdb", p->path);
    return stat(path, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

uint64_t part_snapshot_disk_bytes(const struct part_snapshot *s)
{
    return part_disk_bytes(s->part);
}

/* --- writing ------------------------------------------------------------------------------------- */

enum err part_txn_flush(struct part *p, struct err_msg *msg)
{
    struct lmdb_txn *t = p->txn;
    p->txn = NULL;
    p->txn_bytes = 0;
    return t ? lmdb_txn_commit(t, msg) : ERR_OK;
}

enum err part_put(struct part *p, const struct block_meta *m, struct bytes block,
                  struct err_msg *msg)
{
    uint8_t key[KEY_SIZE];
    struct block_meta copy = *m;
    CHECK(block.size <= PART_BLOCK_MAX && m->summary.size <= PART_SUMMARY_MAX);
    /* Opening takes p->lock and then, in LMDB, the writer's mutex; a transaction that is under way holds the latter. */
    enum err e = p->txn ? ERR_OK : part_open(p, true, msg);
    if (e == ERR_OK && !p->pending_arena && !(p->pending_arena = arena_new(0)))
        e = ERR_NOMEM;
    if (e == ERR_OK && !p->txn)
        e = lmdb_env_begin(p->env, true, &p->txn, msg);
    if (e != ERR_OK)
        return e;
    copy.size = (uint32_t)block.size;
    copy.day = p->day;
    copy.class = (uint8_t)p->class;
    copy.crc = block_meta_crc(&copy, block);
    copy.summary = arena_copy(p->pending_arena, m->summary);
    if (!copy.summary.data || !metas_append(&p->pending, &p->pending_count, &p->pending_cap, &copy))
        return ERR_NOMEM;
    block_key_write(&m->key, key);
    e = lmdb_txn_put(p->txn, PART_DB_BLOCKS, bytes_of(key, sizeof(key)), block, msg);
    p->txn_bytes += block.size;
    if (e == ERR_OK && p->txn_bytes >= TXN_BYTES)
        e = part_txn_flush(p, msg);
    return e;
}

void part_abandon(struct part *p)
{
    lmdb_txn_abort(p->txn);
    p->txn = NULL;
    p->txn_bytes = 0;
    p->pending_count = 0;
    arena_free(p->pending_arena);
    p->pending_arena = NULL;
}

static bool add_to_roll(void *ctx, struct bytes key, struct bytes value)
{
    (void)key;
    part_roll_add(ctx, value);
    return true;
}

/* In the transaction that changes the manifest: how many rows it has from now on, and which. */
static enum err put_roll(struct part *p, struct err_msg *msg)
{
    static const uint8_t key[8] = {0};
    struct part_roll roll = {0};
    uint8_t text[PART_ROLL_SIZE];
    enum err e = lmdb_txn_scan(p->txn, PART_DB_MANIFEST, BYTES_NONE, add_to_roll, &roll);
    part_roll_write(&roll, text);
    return e == ERR_OK ? lmdb_txn_put(p->txn, PART_DB_SEALED, bytes_of(key, 8),
                                      bytes_of(text, sizeof(text)), msg)
                       : e;
}

enum err part_put_manifest(struct part *p, struct err_msg *msg)
{
    enum err e = ERR_OK;
    for (size_t i = 0; i < p->pending_count && e == ERR_OK; i++) {
        uint8_t key[KEY_SIZE];
        struct buf row = {0};
        block_key_write(&p->pending[i].key, key);
        manifest_row_write(bytes_of(key, sizeof(key)), &p->pending[i], &row);
        e = buf_ok(&row) ? lmdb_txn_put(p->txn, PART_DB_MANIFEST, bytes_of(key, sizeof(key)),
                                        buf_bytes(&row), msg)
                         : ERR_NOMEM;
        buf_done(&row);
    }
    return e == ERR_OK ? put_roll(p, msg) : e;
}

enum err part_publish(struct part *p)
{
    enum err e = ERR_OK;
    pthread_mutex_lock(&p->lock);
    size_t before = p->meta_count;
    for (size_t i = 0; i < p->pending_count && e == ERR_OK; i++) {
        struct block_meta m = p->pending[i];
        m.summary = arena_copy(p->arena, m.summary);
        if (!m.summary.data || !metas_append(&p->metas, &p->meta_count, &p->meta_cap, &m))
            e = ERR_NOMEM;
    }
    if (e != ERR_OK)
        p->meta_count = before; /* all of a generation or nothing: load_sealed asks for one row */
    if (p->meta_count)
        qsort(p->metas, p->meta_count, sizeof(*p->metas), by_key);
    pthread_mutex_unlock(&p->lock);
    part_abandon(p);
    return e;
}

/* Its name, when an earlier sync of it has failed. */
static enum err sync_name(struct part *p, struct err_msg *msg)
{
    enum err e = p->is_unsynced ? files_sync_dir(p->dir, msg) : ERR_OK;
    if (e == ERR_OK)
        p->is_unsynced = false;
    return e;
}

enum err part_seal(struct part *p, uint64_t generation, struct err_msg *msg)
{
    uint8_t key[8], seal[4];
    bytes_put_u64be(key, generation);
    bytes_put_u32le(seal, hash_crc32c(0, bytes_of(key, sizeof(key))));
    enum err e = part_txn_flush(p, msg);
    if (e == ERR_OK)
        e = part_open(p, true, msg);
    if (e == ERR_OK)
        e = sync_name(p, msg);
    if (e == ERR_OK)
        e = lmdb_env_begin(p->env, true, &p->txn, msg);
    if (e == ERR_OK)
        e = part_put_manifest(p, msg);
    if (e == ERR_OK)
        e = lmdb_txn_put(p->txn, PART_DB_SEALED, bytes_of(key, sizeof(key)), bytes_of(seal, 4),
                         msg);
    if (e == ERR_OK)
        e = part_txn_flush(p, msg);
    if (e != ERR_OK) {
        part_abandon(p);
        return e;
    }
    p->sealed_ms = clock_wall_ms();
    return part_publish(p);
}

int64_t part_sealed_ms(const struct part *p)
{
    return p->sealed_ms;
}

struct load_sealed {
    struct load load;
    uint64_t generation;
};

static bool load_of_generation(void *ctx, struct bytes key, struct bytes value)
{
    struct load_sealed *l = ctx;
    struct block_key k;
    return !block_key_read(key, &k) || k.generation != l->generation ||
           load_meta(&l->load, key, value);
}

/* A seal that was reported as failed may be on disk: then its rows are not known here yet. */
static enum err load_sealed(struct part *p, struct lmdb_txn *t, uint64_t generation)
{
    struct load_sealed l = {{.p = p}, generation};
    bool is_known = false;
    pthread_mutex_lock(&p->lock);
    size_t before = p->meta_count;
    for (size_t i = 0; i < p->meta_count && !is_known; i++)
        is_known = p->metas[i].key.generation == generation;
    enum err e =
        is_known ? ERR_OK : lmdb_txn_scan(t, PART_DB_MANIFEST, BYTES_NONE, load_of_generation, &l);
    if (e != ERR_OK || l.load.error != ERR_OK)
        p->meta_count = before;
    if (!is_known && p->meta_count)
        qsort(p->metas, p->meta_count, sizeof(*p->metas), by_key);
    pthread_mutex_unlock(&p->lock);
    return e == ERR_OK ? l.load.error : e;
}

enum err part_is_sealed(struct part *p, uint64_t generation, bool *out, struct err_msg *msg)
{
    struct lmdb_txn *t;
    uint8_t key[8];
    struct bytes value;
    bytes_put_u64be(key, generation);
    *out = false;
    enum err e = part_open(p, false, msg);
    if (e == ERR_NOT_FOUND)
        return ERR_OK;
    if (e == ERR_OK)
        e = lmdb_env_begin(p->env, false, &t, msg);
    if (e != ERR_OK)
        return e;
    *out = lmdb_txn_get(t, PART_DB_SEALED, bytes_of(key, sizeof(key)), &value) == ERR_OK &&
           value.size == 4 && bytes_u32le(value.data) == hash_crc32c(0, bytes_of(key, sizeof(key)));
    if (*out)
        e = load_sealed(p, t, generation);
    lmdb_txn_abort(t);
    return e;
}

/* --- reading ------------------------------------------------------------------------------------- */

struct part_snapshot *part_snapshot_new(struct part *p, uint64_t generation_max)
{
    struct part_snapshot *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    part_retain(p);
    s->part = p;
    s->generation_max = generation_max;
    atomic_init(&s->refs, 1);
    pthread_mutex_init(&s->lock, NULL);
    return s;
}

void part_snapshot_retain(const struct part_snapshot *s)
{
    atomic_fetch_add(&((struct part_snapshot *)(uintptr_t)s)->refs, 1);
}

void part_snapshot_release(const struct part_snapshot *shared)
{
    struct part_snapshot *s = (struct part_snapshot *)(uintptr_t)shared;
    if (!s || atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    part_release(s->part);
    pthread_mutex_destroy(&s->lock);
    free(s->metas);
    free(s);
}

uint32_t part_snapshot_day(const struct part_snapshot *s)
{
    return s->part->day;
}

enum part_class part_snapshot_class(const struct part_snapshot *s)
{
    return s->part->class;
}

uint64_t part_snapshot_id(const struct part_snapshot *s)
{
    return s->part->id;
}

static void snapshot_load(struct part_snapshot *s)
{
    struct part *p = s->part;
    struct err_msg msg = {""};
    pthread_mutex_lock(&p->lock);
    enum err e = open_locked(p, false, &msg);
    if (e == ERR_OK) {
        s->metas = malloc((p->meta_count + 1) * sizeof(*s->metas));
        for (size_t i = 0; s->metas && i < p->meta_count; i++)
            if (p->metas[i].key.generation <= s->generation_max)
                s->metas[s->meta_count++] = p->metas[i];
    } else if (e != ERR_NOT_FOUND && e != ERR_TIMEOUT && !p->failed) {
        p->failed = true; /* said once */
        stats_add(&block_corrupt, 1);
        log_error("store", "the part %s cannot be read and is left out: %s", p->path, msg.text);
    }
    pthread_mutex_unlock(&p->lock);
    s->is_loaded = true;
}

const struct block_meta *part_snapshot_blocks(const struct part_snapshot *shared, size_t *out_count)
{
    struct part_snapshot *s = (struct part_snapshot *)(uintptr_t)shared;
    pthread_mutex_lock(&s->lock);
    if (!s->is_loaded)
        snapshot_load(s);
    pthread_mutex_unlock(&s->lock);
    *out_count = s->meta_count;
    return s->metas;
}

bool part_snapshot_is_readable(const struct part_snapshot *s)
{
    pthread_mutex_lock(&s->part->lock);
    bool is_readable = (s->part->env && s->metas) || !s->part->exists;
    pthread_mutex_unlock(&s->part->lock);
    return is_readable;
}

enum err part_fetch(const struct part_snapshot *s, const struct block_meta *m, struct arena *a,
                    struct bytes *out, struct err_msg *msg)
{
    struct lmdb_txn *t;
    struct bytes value;
    uint8_t key[KEY_SIZE];
    block_key_write(&m->key, key);
    enum err e = lmdb_env_begin(s->part->env, false, &t, msg);
    if (e != ERR_OK)
        return e;
    e = lmdb_txn_get(t, PART_DB_BLOCKS, bytes_of(key, sizeof(key)), &value);
    if (e == ERR_OK) {
        *out = arena_copy(a, value);
        e = out->data ? ERR_OK : ERR_LIMIT;
    }
    lmdb_txn_abort(t);
#ifndef TELLTALE_FAULT_NO_CRC /* seeded defect; tests must notice */
    if (e == ERR_OK && (out->size != m->size || block_meta_crc(m, *out) != m->crc))
        e = ERR_CORRUPT;
#endif
    if (e == ERR_NOT_FOUND || e == ERR_CORRUPT) {
        stats_add(&block_corrupt, 1);
        quarantine_add_block(s->part->quarantine, s->part->day, s->part->class, m,
                             e == ERR_CORRUPT ? "its checksum is wrong" : "it is missing");
        return err_set(msg, ERR_CORRUPT, "block (org %u, kind %u, generation %llu, %u) of %s is %s",
                       m->key.org, m->key.kind, (unsigned long long)m->key.generation, m->key.n,
                       s->part->path, e == ERR_CORRUPT ? "damaged" : "missing");
    }
    return e;
}
