#include "tsdb/lmdb_env.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fault_point.h"
#include "base/log.h"
#include "base/stats.h"
#include "tsdb/files.h"

#define LOCK_FILE_BYTES 65536 /* a header and at most 1,023 readers of 64 bytes */
#define READERS_MAX 510 /* fit in */
#ifdef TELLTALE_FAULT_NO_SYNC
#define OPEN_FLAGS (MDB_NOTLS | MDB_NORDAHEAD | MDB_NOSYNC) /* seeded defect; tests must notice */
#else
#define OPEN_FLAGS (MDB_NOTLS | MDB_NORDAHEAD)
#endif
#define AHEAD_BYTES (1u << 20) /* that a scan asks for at once */
#define AHEAD_MIN 2048u /* bytes of a value; smaller ones lie in the page that names them */
#define REWRITE_WAIT_S 5 /* for a moment without transactions */
#define REOPEN_WAIT_NS \
    500000000 /* for the transactions that keep a dead or full environment as it is */

STATS_COUNTER(reopened, "telltale_store_environments_reopened_total", "",
              "Environments opened again after a commit that left them unusable.");

STATS_COUNTER(grown, "telltale_store_maps_grown_total", "",
              "Maps of environments that were full and have been doubled.");

struct lmdb_env {
    /* immutable after init */
    char *names[LMDB_ENV_DBS_MAX + 1]; /* NULL-terminated; none: the unnamed database */
    unsigned db_count;
    bool read_only; /* no lock file, nothing is made: the caller knows that nobody writes */
    /* guarded by lock */
    pthread_mutex_t lock;
    pthread_cond_t idle;
    char path[4096];
    MDB_env *env; /* NULL: closed, and opened at the next begin */
    MDB_dbi dbs[LMDB_ENV_DBS_MAX];
    unsigned active; /* transactions */
    uint64_t map_bytes;
    bool is_dead, may_idle, is_retired;
    bool is_full; /* the map: it grows before the next transaction */
    unsigned waiting; /* for a moment without transactions */
    uint64_t bytes; /* when it was closed */
    _Atomic uint64_t used; /* a tick of the last use */
    /* guarded by idle_lock */
    struct lmdb_env *before, *after; /* among the open ones that may idle */
    bool is_listed;
};

/* Open environments that may be closed. Lock order: an environment's lock, then idle_lock. */
static pthread_mutex_t idle_lock = PTHREAD_MUTEX_INITIALIZER;
static struct lmdb_env *idle_first;
static _Atomic uint64_t ticks;
static size_t idle_count;

struct lmdb_txn {
    struct lmdb_env *e;
    MDB_txn *txn;
};

static _Atomic uint64_t fault_at, fault_count;
static _Atomic int fault_kind;
static _Atomic uint64_t map_limit;
static _Atomic bool map_is_fixed;

void lmdb_env_map_is(uint64_t bytes, bool grows)
{
    atomic_store(&map_limit, bytes);
    atomic_store(&map_is_fixed, !grows);
}

void lmdb_env_fault_is(enum lmdb_env_fault kind)
{
    atomic_store(&fault_kind, (int)kind);
}

uint64_t lmdb_env_fail_at(uint64_t n)
{
    atomic_store(&fault_at, n);
    return atomic_exchange(&fault_count, 0);
}

static bool fault(bool is_commit)
{
    int kind = atomic_load_explicit(&fault_kind, memory_order_relaxed);
    if (!is_commit && (kind == LMDB_ENV_LIE || kind == LMDB_ENV_DEAD))
        return false;
    uint64_t at = atomic_load_explicit(&fault_at, memory_order_relaxed);
    uint64_t n = atomic_fetch_add_explicit(&fault_count, 1, memory_order_relaxed) + 1;
    if (at == 0 || n != at)
        return false;
    if (atomic_load(&fault_kind) == LMDB_ENV_CRASH)
        _exit(LMDB_ENV_CRASH_STATUS);
    return true;
}

static int fault_code(void)
{
    return atomic_load(&fault_kind) == LMDB_ENV_FULL ? ENOSPC : EIO;
}

static enum err translate(int rc, const char *what, struct err_msg *msg)
{
    enum err e = rc == MDB_MAP_FULL || rc == ENOSPC ? ERR_FULL
                 : rc == MDB_NOTFOUND               ? ERR_NOT_FOUND
                 : rc == ENOMEM                     ? ERR_NOMEM
                 : rc == MDB_CORRUPTED || rc == MDB_INVALID || rc == MDB_PAGE_NOTFOUND ||
                         rc == MDB_VERSION_MISMATCH
                     ? ERR_CORRUPT
                     : ERR_IO;
    return err_set(msg, e, "%s: %s", what, mdb_strerror(rc));
}

/* --- environments -------------------------------------------------------------------------------- */

static void unlist(struct lmdb_env *e)
{
    pthread_mutex_lock(&idle_lock);
    if (e->is_listed) {
        *(e->before ? &e->before->after : &idle_first) = e->after;
        if (e->after)
            e->after->before = e->before;
        e->before = e->after = NULL;
        e->is_listed = false;
        idle_count--;
    }
    pthread_mutex_unlock(&idle_lock);
}

static void list(struct lmdb_env *e)
{
    pthread_mutex_lock(&idle_lock);
    if (!e->is_listed) {
        e->after = idle_first;
        if (idle_first)
            idle_first->before = e;
        idle_first = e;
        e->is_listed = true;
        idle_count++;
    }
    pthread_mutex_unlock(&idle_lock);
}

static uint64_t bytes_locked(const struct lmdb_env *e)
{
    MDB_envinfo info;
    MDB_stat stat;
    if (!e->env || mdb_env_info(e->env, &info) != 0 || mdb_env_stat(e->env, &stat) != 0)
        return e->bytes;
    return ((uint64_t)info.me_last_pgno + 1) * stat.ms_psize;
}

static void close_locked(struct lmdb_env *e)
{
    if (!e->env)
        return;
    CHECK(e->active == 0);
    e->bytes = bytes_locked(e);
    mdb_env_close(e->env);
    e->env = NULL;
    unlist(e);
}

/* LMDB writes to its lock file through a map: on a full disk a hole in it is a SIGBUS. So it has no holes. */
static int reserve_lock_file(const char *dir)
{
    char path[4096];
    if ((size_t)snprintf(path, sizeof(path), "%s/lock.mdb", dir) >= sizeof(path))
        return ENAMETOOLONG;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0)
        return errno;
    int rc = posix_fallocate(fd, 0, LOCK_FILE_BYTES);
    close(fd); /* before LMDB opens it: closing would drop this process' locks on it */
    return rc;
}

/* Under e->lock, without transactions. LMDB may lose the map that it had: then this fails, and the environment is to be closed. */
static int set_map(struct lmdb_env *e, uint64_t bytes)
{
    uint64_t map = e->map_bytes;
    while (map < bytes && map <= LMDB_ENV_MAP_MAX / 2)
        map *= 2;
    if (map == e->map_bytes || atomic_load(&map_is_fixed))
        return 0;
    int rc = mdb_env_set_mapsize(e->env, (size_t)map);
    if (rc == 0)
        e->map_bytes = map;
    return rc;
}

static enum err open_locked(struct lmdb_env *e, struct err_msg *msg)
{
    MDB_txn *txn = NULL;
    unsigned how = e->read_only ? MDB_RDONLY | MDB_NOLOCK : 0;
    int rc = e->read_only ? 0 : reserve_lock_file(e->path);
    if (rc == 0)
        rc = mdb_env_create(&e->env);
    if (rc == 0)
        rc = mdb_env_set_mapsize(e->env, (size_t)e->map_bytes);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(e->env, LMDB_ENV_DBS_MAX);
    if (rc == 0)
        rc = mdb_env_set_maxreaders(e->env, READERS_MAX);
    if (rc == 0)
        rc = fault(false) ? fault_code() : mdb_env_open(e->env, e->path, OPEN_FLAGS | how, 0640);
    if (rc == 0 && !e->read_only)
        rc = set_map(e, 2 * bytes_locked(e));
    if (rc == 0)
        rc = mdb_txn_begin(e->env, NULL, how & MDB_RDONLY, &txn);
    for (unsigned i = 0; rc == 0 && i < e->db_count; i++)
        rc = mdb_dbi_open(txn, e->names[i], e->names[i] && !how ? MDB_CREATE : 0, &e->dbs[i]);
    if (rc == 0) {
        rc = mdb_txn_commit(txn);
        txn = NULL;
    }
    if (rc == 0) {
        e->is_dead = e->is_full = false;
        if (e->may_idle)
            list(e);
        return ERR_OK;
    }
    enum err err = translate(rc, e->path, msg);
    if (txn)
        mdb_txn_abort(txn);
    if (e->env)
        mdb_env_close(e->env);
    e->env = NULL;
    return err == ERR_NOT_FOUND ? ERR_IO : err;
}

/* What a call in a transaction says. */
static int told(struct lmdb_env *e, int rc)
{
    if (rc == MDB_MAP_FULL) {
        pthread_mutex_lock(&e->lock);
        e->is_full = true;
        pthread_mutex_unlock(&e->lock);
    }
    return rc;
}

/* A transaction has ended. */
static void leave(struct lmdb_env *e, bool is_dead)
{
    pthread_mutex_lock(&e->lock);
    CHECK(e->active > 0);
    e->is_dead |= is_dead;
    if (--e->active == 0 && (e->is_dead || e->waiting))
        pthread_cond_broadcast(&e->idle);
    pthread_mutex_unlock(&e->lock);
}

static void env_free(struct lmdb_env *e)
{
    for (unsigned i = 0; i < LMDB_ENV_DBS_MAX; i++)
        free(e->names[i]);
    pthread_mutex_destroy(&e->lock);
    pthread_cond_destroy(&e->idle);
    free(e);
}

static enum err env_new(const char *path, uint64_t map_bytes, const char *const *dbs,
                        bool read_only, struct lmdb_env **out, struct err_msg *msg)
{
    struct lmdb_env *e = calloc(1, sizeof(*e));
    pthread_condattr_t monotonic;
    if (!e)
        return ERR_NOMEM;
    pthread_mutex_init(&e->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&e->idle, &monotonic);
    pthread_condattr_destroy(&monotonic);
    uint64_t limit = atomic_load(&map_limit);
    e->map_bytes = limit ? MIN(map_bytes, limit) : map_bytes;
    e->read_only = read_only;
    enum err err = snprintf(e->path, sizeof(e->path), "%s", path) < (int)sizeof(e->path)
                       ? ERR_OK
                       : err_set(msg, ERR_INVALID, "the path %.64s... is too long", path);
    for (; dbs && dbs[e->db_count] && err == ERR_OK; e->db_count++) {
        CHECK(e->db_count < LMDB_ENV_DBS_MAX);
        if (!(e->names[e->db_count] = strdup(dbs[e->db_count])))
            err = ERR_NOMEM;
    }
    if (!dbs)
        e->db_count = 1;
    if (err == ERR_OK)
        err = open_locked(e, msg);
    if (err != ERR_OK) {
        env_free(e);
        return err;
    }
    *out = e;
    return ERR_OK;
}

enum err lmdb_env_open(const char *path, uint64_t map_bytes, const char *const *dbs,
                       struct lmdb_env **out, struct err_msg *msg)
{
    return env_new(path, map_bytes, dbs, false, out, msg);
}

enum err lmdb_env_open_read(const char *path, uint64_t map_bytes, const char *const *dbs,
                            struct lmdb_env **out, struct err_msg *msg)
{
    return env_new(path, map_bytes, dbs, true, out, msg);
}

void lmdb_env_close(struct lmdb_env *e)
{
    if (!e)
        return;
    pthread_mutex_lock(&e->lock);
    close_locked(e);
    pthread_mutex_unlock(&e->lock);
    env_free(e);
}

/* The one that nobody has used for longest, with its lock held; NULL: few enough are open, or all are in use. */
static struct lmdb_env *take_idle(void)
{
    struct lmdb_env *found = NULL;
    pthread_mutex_lock(&idle_lock);
    for (struct lmdb_env *e = idle_count > LMDB_ENV_OPEN_MAX ? idle_first : NULL; e; e = e->after) {
        if (found && atomic_load(&e->used) >= atomic_load(&found->used))
            continue;
        /* The order of locks is the other way round: only try. Whoever holds it uses it. */
        if (pthread_mutex_trylock(&e->lock) != 0)
            continue;
        if (e->active > 0) {
            pthread_mutex_unlock(&e->lock);
            continue;
        }
        if (found)
            pthread_mutex_unlock(&found->lock);
        found = e;
    }
    pthread_mutex_unlock(&idle_lock);
    return found;
}

static void close_some(void) /* holds no lock of an environment */
{
    for (struct lmdb_env *e; (e = take_idle());) {
        close_locked(e);
        pthread_mutex_unlock(&e->lock);
    }
}

void lmdb_env_may_idle(struct lmdb_env *e)
{
    pthread_mutex_lock(&e->lock);
    e->may_idle = true;
    if (e->env)
        list(e);
    pthread_mutex_unlock(&e->lock);
    close_some();
}

static enum err use_locked(struct lmdb_env *e, bool *opened, struct err_msg *msg);

void lmdb_env_reserve(struct lmdb_env *e, uint64_t bytes)
{
    pthread_mutex_lock(&e->lock);
    if (e->active == 0 && e->env && set_map(e, bytes) != 0)
        close_locked(e);
    pthread_mutex_unlock(&e->lock);
}

bool lmdb_env_retire(struct lmdb_env *e)
{
    pthread_mutex_lock(&e->lock);
    e->is_retired = true;
    if (e->active == 0)
        close_locked(e);
    bool closed = !e->env;
    pthread_mutex_unlock(&e->lock);
    return closed;
}

/* --- rewriting ----------------------------------------------------------------------------------- */

/* LMDB's copy is not synced. */
static enum err sync_copy(const char *dir, struct err_msg *msg)
{
    char path[4096];
    if ((size_t)snprintf(path, sizeof(path), "%s/data.mdb", dir) >= sizeof(path))
        return ERR_INVALID;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    int rc = fd < 0 || fdatasync(fd) != 0 ? errno : 0;
    if (fd >= 0)
        close(fd);
    return rc == 0 ? files_sync_dir(dir, msg) : err_set(msg, ERR_IO, "%s: %s", path, strerror(rc));
}

/* Under e->lock, with no transaction in it. */
static enum err rewrite_locked(struct lmdb_env *e, const char *copy, struct err_msg *msg)
{
    bool done = false, opened = false;
    files_remove_tree(copy);
    enum err err = files_make_dir(copy, msg);
    if (err == ERR_OK && !e->env)
        err = use_locked(e, &opened, msg);
    if (err == ERR_OK) {
        int file = -1;
        if (mdb_env_get_fd(e->env, &file) == 0)
            (void)posix_fadvise(file, 0, 0, POSIX_FADV_WILLNEED); /* all of it is read now */
        int rc = fault(false) ? fault_code() : mdb_env_copy2(e->env, copy, MDB_CP_COMPACT);
        err = rc == 0 ? sync_copy(copy, msg) : translate(rc, copy, msg);
    }
    fault_point("rewrite.before_exchange");
    if (err == ERR_OK) {
        close_locked(e); /* the next begin opens what lies there then */
        err = files_exchange(copy, e->path, &done, msg);
    }
    fault_point("rewrite.after_exchange");
    if (done && err == ERR_OK)
        err = files_sync_parent(e->path, msg);
    if (err == ERR_OK || !done)
        files_remove_tree(copy);
    return err;
}

enum err lmdb_env_rewrite(struct lmdb_env *e, struct err_msg *msg)
{
    char copy[4096];
    struct timespec until;
    const char *slash = strrchr(e->path, '/');
    CHECK(slash && !e->read_only);
    if ((size_t)snprintf(copy, sizeof(copy), "%.*s/.tmp-%s", (int)(slash - e->path), e->path,
                         slash + 1) >= sizeof(copy))
        return ERR_INVALID;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += REWRITE_WAIT_S;
    pthread_mutex_lock(&e->lock);
    e->waiting++;
    bool late = false;
    while (e->active > 0 && !late)
        late = pthread_cond_timedwait(&e->idle, &e->lock, &until) == ETIMEDOUT;
    e->waiting--;
    enum err err = e->active > 0 ? err_set(msg, ERR_UNAVAILABLE, "%s is used all the time", e->path)
                                 : rewrite_locked(e, copy, msg);
    pthread_mutex_unlock(&e->lock);
    return err;
}

size_t lmdb_env_idle_open(void)
{
    pthread_mutex_lock(&idle_lock);
    size_t n = idle_count;
    pthread_mutex_unlock(&idle_lock);
    return n;
}

void lmdb_env_moved(struct lmdb_env *e, const char *path)
{
    pthread_mutex_lock(&e->lock);
    snprintf(e->path, sizeof(e->path), "%s", path);
    pthread_mutex_unlock(&e->lock);
}

static struct timespec soon(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_nsec += REOPEN_WAIT_NS;
    t.tv_sec += t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    return t;
}

/* Under e->lock, before a write transaction. Where readers are in it all the time, it stays full for now. */
static void grow(struct lmdb_env *e)
{
    struct timespec until = soon();
    bool late = false;
    e->waiting++;
    while (e->active > 0 && !late)
        late = pthread_cond_timedwait(&e->idle, &e->lock, &until) == ETIMEDOUT;
    e->waiting--;
    if (e->active > 0 || !e->is_full || !e->env || e->map_bytes > LMDB_ENV_MAP_MAX / 2 ||
        atomic_load(&map_is_fixed))
        return;
    e->is_full = false;
    if (set_map(e, e->map_bytes + 1) == 0) {
        stats_add(&grown, 1);
        log_warn("store", "the map of %s was full and has %llu MiB now", e->path,
                 (unsigned long long)(e->map_bytes >> 20));
    } else { /* what uses it next opens it again */
        log_error("store", "the map of %s is full and cannot grow", e->path);
        close_locked(e);
    }
}

/* Under e->lock. A dead one can be closed when the last transaction has left it. */
static enum err use_locked(struct lmdb_env *e, bool *opened, struct err_msg *msg)
{
    struct timespec until = soon();
    while (e->is_dead && e->active > 0)
        if (pthread_cond_timedwait(&e->idle, &e->lock, &until) == ETIMEDOUT)
            return err_set(msg, ERR_IO,
                           "%s: a commit failed, and readers keep it from being opened again",
                           e->path);
    if (e->is_dead) {
        log_warn("store", "%s is opened again after a failed commit", e->path);
        stats_add(&reopened, 1);
        close_locked(e);
    }
    if (e->env)
        return ERR_OK;
    *opened = true;
    return open_locked(e, msg);
}

enum err lmdb_env_begin(struct lmdb_env *e, bool write, struct lmdb_txn **out, struct err_msg *msg)
{
    struct lmdb_txn *t = calloc(1, sizeof(*t));
    bool opened = false;
    if (!t)
        return ERR_NOMEM;
    pthread_mutex_lock(&e->lock);
    if (e->is_full && write && !e->is_retired)
        grow(e);
    enum err err = e->is_retired
                       ? err_set(msg, ERR_TIMEOUT, "%s is gone: the view is too old", e->path)
                   : e->is_dead || !e->env ? use_locked(e, &opened, msg)
                                           : ERR_OK;
    e->active += err == ERR_OK;
    atomic_store_explicit(&e->used, atomic_fetch_add_explicit(&ticks, 1, memory_order_relaxed),
                          memory_order_relaxed);
    pthread_mutex_unlock(&e->lock); /* LMDB makes a writer wait for the one before it */
    if (opened)
        close_some();
    int rc = 0;
    if (err == ERR_OK) {
        rc = write && fault(false) ? fault_code()
                                   : mdb_txn_begin(e->env, NULL, write ? 0 : MDB_RDONLY, &t->txn);
        t->e = e;
        if (rc != 0)
            leave(e, rc == MDB_PANIC);
    }
    if (err != ERR_OK || rc != 0) {
        free(t);
        return err != ERR_OK ? err : translate(rc, "begin", msg);
    }
    *out = t;
    return ERR_OK;
}

/* Whether LMDB refuses to go on: a reader that begins and ends costs nothing. */
static bool refuses(MDB_env *env)
{
    MDB_txn *probe;
    int rc = mdb_txn_begin(env, NULL, MDB_RDONLY, &probe);
    if (rc == 0)
        mdb_txn_abort(probe);
    return rc == MDB_PANIC;
}

enum err lmdb_txn_commit(struct lmdb_txn *t, struct err_msg *msg)
{
    struct lmdb_env *e = t->e;
    int rc, kind = atomic_load(&fault_kind);
    bool is_dead = false;
    if (!fault(true)) {
        fault_point("txn.before_commit");
        rc = told(e, mdb_txn_commit(t->txn));
        fault_point("txn.after_commit");
        is_dead = rc != 0 && refuses(e->env);
    } else {
        rc = fault_code();
        is_dead = kind == LMDB_ENV_DEAD;
        if (kind != LMDB_ENV_LIE)
            mdb_txn_abort(t->txn);
        else
            (void)mdb_txn_commit(t->txn); /* whether it worked is what the caller has to find out */
    }
    free(t);
    leave(e, is_dead);
    return rc ? translate(rc, "commit", msg) : ERR_OK;
}

void lmdb_txn_abort(struct lmdb_txn *t)
{
    if (!t)
        return;
    struct lmdb_env *e = t->e;
    mdb_txn_abort(t->txn);
    free(t);
    leave(e, false);
}

static MDB_val val(struct bytes b)
{
    return (MDB_val){b.size, (void *)(uintptr_t)b.data};
}

enum err lmdb_txn_put(struct lmdb_txn *t, unsigned db, struct bytes key, struct bytes value,
                      struct err_msg *msg)
{
    MDB_val k = val(key), v = val(value);
    CHECK(db < t->e->db_count && key.size > 0 && key.size <= LMDB_ENV_KEY_MAX);
    fault_point("txn.put");
    int rc = fault(false) ? fault_code() : told(t->e, mdb_put(t->txn, t->e->dbs[db], &k, &v, 0));
    return rc ? translate(rc, "put", msg) : ERR_OK;
}

/* The disk is asked for what is about to be read, and for no more: left to itself the kernel reads as far around a page as the device is
 * tuned for, which is 8 MiB on some, for each of the few pages of a lookup. */
static void will_need(const void *from, size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), over = (uintptr_t)from % page;
    (void)madvise((void *)((uintptr_t)from - over), size + over, MADV_WILLNEED); /* advice */
}

enum err lmdb_txn_get(struct lmdb_txn *t, unsigned db, struct bytes key, struct bytes *out)
{
    MDB_val k = val(key), v;
    CHECK(db < t->e->db_count);
    int rc = mdb_get(t->txn, t->e->dbs[db], &k, &v);
    if (rc)
        return translate(rc, "get", NULL);
    if (v.mv_size >= AHEAD_MIN)
        will_need(v.mv_data, v.mv_size);
    *out = bytes_of(v.mv_data, v.mv_size);
    return ERR_OK;
}

enum err lmdb_txn_del(struct lmdb_txn *t, unsigned db, struct bytes key)
{
    MDB_val k = val(key);
    CHECK(db < t->e->db_count);
    int rc = fault(false) ? fault_code() : told(t->e, mdb_del(t->txn, t->e->dbs[db], &k, NULL));
    return rc && rc != MDB_NOTFOUND ? translate(rc, "delete", NULL) : ERR_OK;
}

/* Values that were written together lie together. asked: where the last request began. */
static void scan_ahead(uintptr_t *asked, struct bytes value)
{
    uintptr_t at = (uintptr_t)value.data;
    if (value.size < AHEAD_MIN || (at >= *asked && at + value.size <= *asked + AHEAD_BYTES))
        return;
    will_need(value.data, MAX(value.size, AHEAD_BYTES));
    *asked = at;
}

enum err lmdb_txn_scan(struct lmdb_txn *t, unsigned db, struct bytes from,
                       bool (*fn)(void *ctx, struct bytes key, struct bytes value), void *ctx)
{
    MDB_cursor *cursor;
    MDB_val k = val(from), v;
    uintptr_t asked = 0;
    CHECK(db < t->e->db_count);
    int rc = mdb_cursor_open(t->txn, t->e->dbs[db], &cursor);
    if (rc)
        return translate(rc, "cursor", NULL);
    rc = mdb_cursor_get(cursor, &k, &v, from.size ? MDB_SET_RANGE : MDB_FIRST);
    for (; rc == 0; rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
        struct bytes value = bytes_of(v.mv_data, v.mv_size);
        scan_ahead(&asked, value);
        if (!fn(ctx, bytes_of(k.mv_data, k.mv_size), value))
            break;
    }
    mdb_cursor_close(cursor);
    return rc == 0 || rc == MDB_NOTFOUND ? ERR_OK : translate(rc, "scan", NULL);
}

uint64_t lmdb_env_bytes(struct lmdb_env *e)
{
    pthread_mutex_lock(&e->lock);
    uint64_t n = bytes_locked(e);
    pthread_mutex_unlock(&e->lock);
    return n;
}
