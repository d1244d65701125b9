#include "tsdb/lmdb_env.h"

#include <errno.h>
#include <lmdb.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"

struct lmdb_env {
    MDB_env *env;
    MDB_dbi dbs[LMDB_ENV_DBS_MAX];
    unsigned db_count;
};

struct lmdb_txn {
    struct lmdb_env *e;
    MDB_txn *txn;
};

static _Atomic uint64_t fault_at, fault_count;
static _Atomic int fault_kind;

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
    if (!is_commit && atomic_load_explicit(&fault_kind, memory_order_relaxed) == LMDB_ENV_LIE)
        return false;
    uint64_t at = atomic_load_explicit(&fault_at, memory_order_relaxed);
    uint64_t n = atomic_fetch_add_explicit(&fault_count, 1, memory_order_relaxed) + 1;
    if (at == 0 || n != at)
        return false;
    if (atomic_load(&fault_kind) == LMDB_ENV_CRASH)
        _exit(LMDB_ENV_CRASH_STATUS);
    return true;
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

enum err lmdb_env_open(const char *path, uint64_t map_bytes, const char *const *dbs,
                       struct lmdb_env **out, struct err_msg *msg)
{
    struct lmdb_env *e = calloc(1, sizeof(*e));
    MDB_txn *txn = NULL;
    int rc = e ? mdb_env_create(&e->env) : ENOMEM;
    if (rc == 0)
        rc = mdb_env_set_mapsize(e->env, (size_t)map_bytes);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(e->env, LMDB_ENV_DBS_MAX);
    if (rc == 0)
        rc = mdb_env_set_maxreaders(e->env, 510);
    if (rc == 0)
        rc = fault(false) ? EIO : mdb_env_open(e->env, path, MDB_NOTLS, 0640);
    if (rc == 0)
        rc = mdb_txn_begin(e->env, NULL, 0, &txn);
    for (; rc == 0 && dbs && dbs[e->db_count]; e->db_count++) {
        CHECK(e->db_count < LMDB_ENV_DBS_MAX);
        rc = mdb_dbi_open(txn, dbs[e->db_count], MDB_CREATE, &e->dbs[e->db_count]);
    }
    if (rc == 0 && !dbs) {
        rc = mdb_dbi_open(txn, NULL, 0, &e->dbs[0]);
        e->db_count = 1;
    }
    if (rc == 0) {
        rc = mdb_txn_commit(txn);
        txn = NULL;
    }
    if (rc != 0) {
        enum err err = translate(rc, path, msg);
        if (txn)
            mdb_txn_abort(txn);
        lmdb_env_close(e);
        return err == ERR_NOT_FOUND ? ERR_IO : err;
    }
    *out = e;
    return ERR_OK;
}

void lmdb_env_close(struct lmdb_env *e)
{
    if (!e)
        return;
    if (e->env)
        mdb_env_close(e->env);
    free(e);
}

enum err lmdb_env_begin(struct lmdb_env *e, bool write, struct lmdb_txn **out, struct err_msg *msg)
{
    struct lmdb_txn *t = calloc(1, sizeof(*t));
    if (!t)
        return ERR_NOMEM;
    int rc =
        write && fault(false) ? EIO : mdb_txn_begin(e->env, NULL, write ? 0 : MDB_RDONLY, &t->txn);
    if (rc != 0) {
        free(t);
        return translate(rc, "begin", msg);
    }
    t->e = e;
    *out = t;
    return ERR_OK;
}

enum err lmdb_txn_commit(struct lmdb_txn *t, struct err_msg *msg)
{
    int rc = EIO;
    if (!fault(true))
        rc = mdb_txn_commit(t->txn);
    else if (atomic_load(&fault_kind) != LMDB_ENV_LIE)
        mdb_txn_abort(t->txn);
    else
        (void)mdb_txn_commit(t->txn); /* whether it worked is what the caller has to find out */
    free(t);
    return rc ? translate(rc, "commit", msg) : ERR_OK;
}

void lmdb_txn_abort(struct lmdb_txn *t)
{
    if (!t)
        return;
    mdb_txn_abort(t->txn);
    free(t);
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
    int rc = fault(false) ? EIO : mdb_put(t->txn, t->e->dbs[db], &k, &v, 0);
    return rc ? translate(rc, "put", msg) : ERR_OK;
}

enum err lmdb_txn_get(struct lmdb_txn *t, unsigned db, struct bytes key, struct bytes *out)
{
    MDB_val k = val(key), v;
    CHECK(db < t->e->db_count);
    int rc = mdb_get(t->txn, t->e->dbs[db], &k, &v);
    if (rc)
        return translate(rc, "get", NULL);
    *out = bytes_of(v.mv_data, v.mv_size);
    return ERR_OK;
}

enum err lmdb_txn_del(struct lmdb_txn *t, unsigned db, struct bytes key)
{
    MDB_val k = val(key);
    CHECK(db < t->e->db_count);
    int rc = fault(false) ? EIO : mdb_del(t->txn, t->e->dbs[db], &k, NULL);
    return rc && rc != MDB_NOTFOUND ? translate(rc, "delete", NULL) : ERR_OK;
}

enum err lmdb_txn_scan(struct lmdb_txn *t, unsigned db, struct bytes from,
                       bool (*fn)(void *ctx, struct bytes key, struct bytes value), void *ctx)
{
    MDB_cursor *cursor;
    MDB_val k = val(from), v;
    CHECK(db < t->e->db_count);
    int rc = mdb_cursor_open(t->txn, t->e->dbs[db], &cursor);
    if (rc)
        return translate(rc, "cursor", NULL);
    rc = mdb_cursor_get(cursor, &k, &v, from.size ? MDB_SET_RANGE : MDB_FIRST);
    while (rc == 0 && fn(ctx, bytes_of(k.mv_data, k.mv_size), bytes_of(v.mv_data, v.mv_size)))
        rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
    mdb_cursor_close(cursor);
    return rc == 0 || rc == MDB_NOTFOUND ? ERR_OK : translate(rc, "scan", NULL);
}

uint64_t lmdb_env_bytes(struct lmdb_env *e)
{
    MDB_envinfo info;
    MDB_stat stat;
    if (mdb_env_info(e->env, &info) != 0 || mdb_env_stat(e->env, &stat) != 0)
        return 0;
    return ((uint64_t)info.me_last_pgno + 1) * stat.ms_psize;
}
