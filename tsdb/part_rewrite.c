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
    char path[FILES_PATH_MAX], text[PART_NAME_MAX], **names;
    struct err_msg msg;
    size_t n = 0;
    for (int c = 0; c < PART_CLASS_COUNT; c++) {
        if (part_name(dir, (enum part_class)c, text) != ERR_OK)
            continue;
        snprintf(path, sizeof(path), "%s/%s", dir, text);
        files_finish_exchange(path);
    }
    /* texts that the rows do not name; that they do not must be durable before those go */
    bool is_named = part_name(dir, PART_TEXT, text) == ERR_OK;
    if (a && files_list(dir, true, a, &names, &n, &msg) == ERR_OK) {
        for (size_t i = 0; i < n; i++) {
            snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
            bool is_other_text =
                is_named && strcmp(names[i], text) != 0 &&
                (strcmp(names[i], part_class_name(PART_TEXT)) == 0 ||
                 strncmp(names[i], PART_TEXT_PREFIX, strlen(PART_TEXT_PREFIX)) == 0);
            if (strncmp(names[i], ".tmp-", 5) == 0 ||
                (is_other_text && files_sync_dir(dir, &msg) == ERR_OK))
                files_remove_tree(path);
        }
        (void)rmdir(dir); /* works when nothing is left in it */
    }
    arena_free(a);
}

bool part_evict(struct part *p)
{
    pthread_mutex_lock(&p->lock);
    bool gone = p->is_removed && (!p->env || lmdb_env_retire(p->env));
    if (gone && !p->is_gone)
        files_remove_tree(p->place);
    p->is_gone |= gone;
    pthread_mutex_unlock(&p->lock);
    return gone;
}

/* --- rewriting ------------------------------------------------------------------------------------- */

/* text_name: what the rows say of their texts; "text" or empty: nothing. */
static enum err begin_at(const struct part *old, const char *place, const char *text_name,
                         struct part **out_fresh, struct err_msg *msg)
{
    char mark[FILES_PATH_MAX + PART_NAME_MAX];
    struct part *p = part_new(old->dir, old->day, old->class, true);
    if (!p)
        return ERR_NOMEM;
    p->quarantine = old->quarantine;
    snprintf(p->path, sizeof(p->path), "%s", old->path);
    if (place)
        snprintf(p->place, sizeof(p->place), "%s", place);
    else /* The number: an older one may still lie there, read by a view. */
        snprintf(p->place, sizeof(p->place), "%s/.tmp-%s-%llu", p->dir, part_class_name(p->class),
                 (unsigned long long)p->id);
    p->is_removed = true;
    snprintf(mark, sizeof(mark), "%s/%s", p->place, text_name);
    enum err e = part_make_env(p->place, msg);
    if (e == ERR_OK && strncmp(text_name, PART_TEXT_PREFIX, strlen(PART_TEXT_PREFIX)) == 0)
        e = files_make_dir(mark, msg);
    if (e == ERR_OK)
        e = part_open(p, false, msg);
    if (e != ERR_OK) {
        part_release(p);
        return e;
    }
    if (old->env) /* it cannot grow on the way: what was put would have to be put again */
        lmdb_env_reserve(p->env, 2 * lmdb_env_bytes(old->env));
    *out_fresh = p;
    return ERR_OK;
}

enum err part_rewrite_begin(const struct part *old, struct part **out_fresh, struct err_msg *msg)
{
    char text[PART_NAME_MAX] = "";
    enum err e = old->class == PART_ROWS ? part_name(old->dir, PART_TEXT, text) : ERR_OK;
    if (e != ERR_OK)
        return err_set(msg, e, "cannot list %s", old->path);
    return begin_at(old, NULL, text, out_fresh, msg);
}

enum err part_rewrite_begin_pair(const struct part *rows, const struct part *text,
                                 struct part **out_rows, struct part **out_text,
                                 struct err_msg *msg)
{
    char place[FILES_PATH_MAX], name[PART_NAME_MAX];
    unsigned long long number = 0;
    CHECK(rows->class == PART_ROWS);
    *out_text = NULL;
    if (!text)
        return part_rewrite_begin(rows, out_rows, msg);
    const char *last = strrchr(text->path, '/') + 1;
    if (strncmp(last, PART_TEXT_PREFIX, strlen(PART_TEXT_PREFIX)) == 0)
        number = strtoull(last + strlen(PART_TEXT_PREFIX), NULL, 10);
    do { /* one that was superseded may lie where it was */
        snprintf(name, sizeof(name), "%s%llu", PART_TEXT_PREFIX, ++number);
        snprintf(place, sizeof(place), "%s/%s", text->dir, name);
    } while (access(place, F_OK) == 0);
    enum err e = begin_at(text, place, "", out_text, msg);
    if (e == ERR_OK)
        snprintf((*out_text)->path, sizeof((*out_text)->path), "%s", place);
    if (e == ERR_OK)
        e = begin_at(rows, NULL, name, out_rows, msg);
    if (e != ERR_OK) {
        part_release(*out_text);
        *out_text = NULL;
    }
    return e;
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
    uint64_t generation_max;
    struct err_msg *msg;
    enum err error;
};

static bool copy_seal(void *ctx, struct bytes key, struct bytes value)
{
    struct seals *s = ctx;
    if (key.size != 8 || bytes_u64be(key.data) == 0 || bytes_u64be(key.data) > s->generation_max)
        return true; /* 0: its own roll stands there */
    s->error = lmdb_txn_put(s->txn, PART_DB_SEALED, key, value, s->msg);
    return s->error == ERR_OK;
}

static enum err seal_as(struct part *fresh, struct part *old, uint64_t generation_max,
                        struct err_msg *msg)
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
        struct seals s = {fresh->txn, generation_max, msg, ERR_OK};
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

enum err part_rewrite_seal(struct part *fresh, struct part *old, struct err_msg *msg)
{
    return seal_as(fresh, old, UINT64_MAX, msg);
}

enum err part_copy_seal(struct part *fresh, const struct part_snapshot *from,
                        uint64_t generation_max, struct err_msg *msg)
{
#ifdef TELLTALE_FAULT_COPY_ALL_SEALS
    generation_max = UINT64_MAX; /* seeded defect: replay skips what was not copied */
#endif
    return seal_as(fresh, from->part, generation_max, msg);
}

/* What nobody needs any more goes once the other is known to be in its place. */
static void discard(struct part *old, const char *trash)
{
    struct lmdb_txn *held;
    struct err_msg msg;
    char place[FILES_PATH_MAX];
    snprintf(place, sizeof(place), "%s", old->place);
    if (hold(old, &held, &msg) != ERR_OK || rename(place, trash) != 0)
        trash = place; /* it goes from here, or at the next start */
    set_place(old, trash, true);
    lmdb_txn_abort(held);
}

static enum err exchange(struct part *old, struct part *fresh, bool *out_done, struct err_msg *msg)
{
    struct lmdb_txn *hold_old = NULL, *hold_fresh = NULL;
    char temporary[FILES_PATH_MAX];
    CHECK(!old->txn && !fresh->txn && fresh->is_removed && !old->is_removed);
    snprintf(temporary, sizeof(temporary), "%s", fresh->place);
    enum err e = hold(old, &hold_old, msg);
    if (e == ERR_OK)
        e = hold(fresh, &hold_fresh, msg);
    fault_point("compact.before_exchange");
    if (e == ERR_OK)
        e = files_exchange(temporary, old->path, out_done, msg);
    if (*out_done) {
        set_place(old, temporary, false);
        set_place(fresh, fresh->path, false);
        fresh->is_unsynced = true;
    }
    lmdb_txn_abort(hold_old);
    lmdb_txn_abort(hold_fresh);
    fault_point("compact.after_exchange");
    return e;
}

enum err part_exchange(struct part *old, struct part *fresh, const char *trash, struct err_msg *msg)
{
    return part_exchange_pair(old, fresh, trash, NULL, NULL, NULL, msg);
}

enum err part_exchange_pair(struct part *rows, struct part *fresh_rows, const char *trash_rows,
                            struct part *text, struct part *fresh_text, const char *trash_text,
                            struct err_msg *msg)
{
    bool done = false;
    enum err e = fresh_text ? files_sync_dir(fresh_text->dir, msg) : ERR_OK;
#ifdef TELLTALE_FAULT_TEXTS_FIRST
    if (text)
        discard(text,
                trash_text); /* seeded defect: the rows that name them are still in their place */
#endif
    if (e == ERR_OK)
        e = exchange(rows, fresh_rows, &done, msg);
    if (!done)
        return e;
    if (fresh_text)
        set_place(fresh_text, fresh_text->path, false);
    stats_add(&rewrites, 1);
    if (e == ERR_OK)
        e = files_sync_dir(fresh_rows->dir, msg);
    if (e == ERR_OK) {
        fresh_rows->is_unsynced = false;
        discard(rows, trash_rows);
        if (fresh_text) {
            fresh_text->is_unsynced = false;
#ifndef TELLTALE_FAULT_TEXTS_FIRST
            discard(text, trash_text);
#endif
        }
    } else {
        log_warn("store", "%s lies where it was until the next start: %s", rows->place, msg->text);
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
