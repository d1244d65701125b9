/* A part's environment is made anew beside it and takes its place; a part leaves its place. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/fault_point.h"
#include "base/log.h"
#include "base/stats.h"
#include "tsdb/part_core.h"

STATS_COUNTER(rewrites, "telltale_store_part_rewrites_total", "",
              "Parts whose environment was made anew (compaction, erase) and took its place.");

/* --- places ---------------------------------------------------------------------------------------- */

/* While a transaction holds it, an environment is neither closed behind our back nor opened again under a name that is changing. */
static enum err hold(struct part *p, struct lmdb_txn **out, struct err_msg *msg)
{
    *out = NULL;
    return p->env ? lmdb_env_begin(p->env, false, out, msg) : ERR_OK;
}

/* Where the directory of p lies from now on. */
static void set_place(struct part *p, const char *place, bool is_removed)
{
    pthread_mutex_lock(&p->lock);
    snprintf(p->place, sizeof(p->place), "%s", place);
    p->is_removed = is_removed;
    if (p->env)
        lmdb_env_moved(p->env, place);
    pthread_mutex_unlock(&p->lock);
}

enum err part_drop(struct part *p, const char *trash, struct err_msg *msg)
{
    struct lmdb_txn *held;
    CHECK(!p->is_removed && !p->txn);
    fault_point("retention.before_rename");
    pthread_mutex_lock(&p->lock); /* nobody opens it for the first time meanwhile */
    enum err e = hold(p, &held, msg);
    if (e == ERR_OK && p->exists && rename(p->path, trash) != 0)
        e = err_set(msg, ERR_IO, "cannot rename %s: %s", p->path, strerror(errno));
    if (e == ERR_OK) {
        snprintf(p->place, sizeof(p->place), "%s", trash);
        p->is_removed = true;
        if (p->env)
            lmdb_env_moved(p->env, trash);
    }
    pthread_mutex_unlock(&p->lock);
    lmdb_txn_abort(held);
    fault_point("retention.after_rename");
    /* It is gone from its place. Should a power cut bring it back, it is dropped again. */
    if (e == ERR_OK && files_sync_dir(p->dir, msg) == ERR_OK && rmdir(p->dir) != 0 &&
        errno != ENOTEMPTY && errno != EEXIST)
        log_warn("store", "%s cannot be removed: %s", p->dir, strerror(errno));
    return e;
}

void part_clean_day(const char *dir)
{
    struct arena *a = arena_new(0);
    char path[FILES_PATH_MAX], **names;
    struct err_msg msg;
    size_t n = 0;
    for (int c = 0; c < PART_CLASS_COUNT; c++) {
        snprintf(path, sizeof(path), "%s/%s", dir, part_class_name((enum part_class)c));
        files_finish_exchange(path);
    }
    if (a && files_list(dir, true, a, &names, &n, &msg) == ERR_OK) {
        for (size_t i = 0; i < n; i++) {
            snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
            if (strncmp(names[i], ".tmp-", 5) == 0)
                files_remove_tree(path);
        }
        (void)rmdir(dir); /* works when nothing is left in it */
    }
    arena_free(a);
}

/* --- rewriting ------------------------------------------------------------------------------------- */

enum err part_rewrite_begin(const struct part *old, struct part **out_fresh, struct err_msg *msg)
{
    struct part *p = part_new(old->dir, old->day, old->class, true);
    if (!p)
        return ERR_NOMEM;
    /* The number: an older one may still lie there, read by a view. */
    snprintf(p->place, sizeof(p->place), "%s/.tmp-%s-%llu", p->dir, part_class_name(p->class),
             (unsigned long long)p->id);
    p->is_removed = true;
    enum err e = part_make_env(p->place, msg);
    if (e == ERR_OK)
        e = part_open(p, false, msg);
    if (e != ERR_OK) {
        part_release(p);
        return e;
    }
    *out_fresh = p;
    return ERR_OK;
}

enum err part_copy(struct part *fresh, const struct part_snapshot *from, const struct block_meta *m,
                   struct err_msg *msg)
{
    struct arena *a = arena_new(0);
    struct bytes block;
    enum err e = a ? part_fetch(from, m, a, &block, msg) : ERR_NOMEM;
    if (e == ERR_OK)
        e = part_put(fresh, m, block, msg);
    arena_free(a);
    return e;
}

struct seals {
    struct lmdb_txn *txn;
    struct err_msg *msg;
    enum err error;
};

static bool copy_seal(void *ctx, struct bytes key, struct bytes value)
{
    struct seals *s = ctx;
    s->error = lmdb_txn_put(s->txn, PART_DB_SEALED, key, value, s->msg);
    return s->error == ERR_OK;
}

enum err part_rewrite_seal(struct part *fresh, struct part *old, struct err_msg *msg)
{
    struct lmdb_txn *reading = NULL;
    enum err e = part_txn_flush(fresh, msg);
    if (e == ERR_OK)
        e = part_open(old, false, msg);
    if (e == ERR_OK)
        e = lmdb_env_begin(old->env, false, &reading, msg);
    if (e == ERR_OK)
        e = lmdb_env_begin(fresh->env, true, &fresh->txn, msg);
    if (e == ERR_OK)
        e = part_put_manifest(fresh, msg);
    if (e == ERR_OK) {
        struct seals s = {fresh->txn, msg, ERR_OK};
        e = lmdb_txn_scan(reading, PART_DB_SEALED, BYTES_NONE, copy_seal, &s);
        e = e == ERR_OK ? s.error : e;
    }
    lmdb_txn_abort(reading);
    if (e == ERR_OK)
        e = part_txn_flush(fresh, msg);
    if (e != ERR_OK) {
        part_abandon(fresh);
        return e;
    }
    return part_publish(fresh);
}

/* What nobody needs any more goes once the other is known to be in its place. */
static void discard(struct part *old, const char *place, const char *trash)
{
    struct lmdb_txn *held;
    struct err_msg msg;
    if (hold(old, &held, &msg) != ERR_OK || rename(place, trash) != 0)
        trash = place; /* it goes from here, or at the next start */
    set_place(old, trash, true);
    lmdb_txn_abort(held);
}

enum err part_exchange(struct part *old, struct part *fresh, const char *trash, struct err_msg *msg)
{
    struct lmdb_txn *hold_old = NULL, *hold_fresh = NULL;
    char temporary[FILES_PATH_MAX];
    bool done = false;
    CHECK(!old->txn && !fresh->txn && fresh->is_removed && !old->is_removed);
    snprintf(temporary, sizeof(temporary), "%s", fresh->place);
    enum err e = hold(old, &hold_old, msg);
    if (e == ERR_OK)
        e = hold(fresh, &hold_fresh, msg);
    fault_point("compact.before_exchange");
    if (e == ERR_OK)
        e = files_exchange(temporary, old->path, &done, msg);
    if (done) {
        set_place(old, temporary, false);
        set_place(fresh, fresh->path, false);
        fresh->is_unsynced = true;
    }
    lmdb_txn_abort(hold_old);
    lmdb_txn_abort(hold_fresh);
    fault_point("compact.after_exchange");
    if (!done)
        return e;
    stats_add(&rewrites, 1);
    if (e == ERR_OK)
        e = files_sync_dir(fresh->dir, msg);
    if (e == ERR_OK) {
        fresh->is_unsynced = false;
        discard(old, temporary, trash);
    } else {
        log_warn("store", "%s lies where it was until the next start: %s", temporary, msg->text);
    }
    return ERR_OK;
}

void part_leave_alone(struct part *p)
{
    atomic_store(&p->is_left_alone, true);
}

bool part_is_left_alone(const struct part *p)
{
    return atomic_load(&((struct part *)(uintptr_t)p)->is_left_alone);
}
