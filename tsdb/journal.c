#include "tsdb/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/fault_point.h"
#include "base/hash.h"
#include "base/log.h"
#include "tsdb/files.h"
#include "tsdb/lmdb_env.h"
#include "tsdb/lmdb_pages.h"

#define MAP_BYTES LMDB_ENV_MAP(4ull << 30)

/* A commit writes the leaf that it changes, the list of free pages and one long run for its value; the pages before it become free and are
 * used again. The page cache counts a page of a long run as dirty together with dozens of its neighbours (large folios), and LMDB
 * takes a fresh leaf from just behind the run. So a journal begins with a stock of free pages which came to the cache one by one. */
#define STOCK_PAGES 12u /* fewer than a busy commit's value needs: it would take them all at once */
#define STOCK_MARGIN 64u /* what LMDB keeps at the beginning of a run */
#define PAGE 4096u

struct salvaged {
    uint64_t key;
    bool is_brief;
    struct bytes value;
};

struct journal {
    /* immutable after init */
    char dir[FILES_PATH_MAX - 64], path[FILES_PATH_MAX]; /* of the data, of the journal */
    uint64_t generation;
    _Atomic uint32_t refs;
    _Atomic bool is_finished; /* the files go with the last reference */
    pthread_mutex_t lock; /* the writer changes env under it; others look under it */
    struct lmdb_env *env; /* NULL: closed by a failure, or never opened */
    /* of one whose pages cannot be followed */
    struct err_msg why;
    struct arena *arena;
    struct salvaged *salvaged; /* sorted */
    size_t salvaged_count, salvaged_cap;
    bool is_damaged, has_no_memory;
};

static bool value_is_whole(struct bytes key, struct bytes value)
{
    return value.size >= 4 &&
           bytes_u32le(value.data) ==
               hash_crc32c(hash_crc32c(0, key), bytes_slice(value, 4, value.size));
}

static void path_of(const char *dir, uint64_t generation, const char *prefix,
                    char out[FILES_PATH_MAX])
{
    snprintf(out, FILES_PATH_MAX, "%s/journal/%s%llu", dir, prefix, (unsigned long long)generation);
}

static enum err salvage(struct journal *j, struct err_msg *msg);

static struct journal *journal_new(const char *dir, uint64_t generation, const char *path)
{
    struct journal *j = calloc(1, sizeof(*j));
    if (!j)
        return NULL;
    snprintf(j->dir, sizeof(j->dir), "%s", dir);
    snprintf(j->path, sizeof(j->path), "%s", path);
    j->generation = generation;
    atomic_init(&j->refs, 1);
    pthread_mutex_init(&j->lock, NULL);
    return j;
}

static enum err open_at(const char *dir, uint64_t generation, const char *path,
                        struct journal **out, struct err_msg *msg)
{
    struct journal *j = journal_new(dir, generation, path);
    if (!j)
        return ERR_NOMEM;
    enum err e = lmdb_env_open(path, MAP_BYTES, NULL, &j->env, msg);
    if (e != ERR_OK) {
        journal_close(j);
        return e;
    }
    *out = j;
    return ERR_OK;
}

static enum err touch_pages(const char *path, struct err_msg *msg)
{
    static const uint8_t zero[PAGE];
    char file[FILES_PATH_MAX + 16];
    snprintf(file, sizeof(file), "%s/data.mdb", path);
    int fd = open(file, O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0;
    for (uint32_t i = 0; ok && i < STOCK_PAGES + 2; i++) /* and leaves */
        ok = pwrite(fd, zero, PAGE, (off_t)(2 + i) * PAGE) == PAGE;
    int why = errno;
    if (fd >= 0)
        close(fd);
    return ok ? ERR_OK
              : err_set(msg, why == ENOSPC ? ERR_FULL : ERR_IO, "%s: %s", file, strerror(why));
}

static struct bytes stock_key(uint8_t key[8])
{
    bytes_put_u64be(key, UINT64_MAX);
    return bytes_of(key, 8);
}

/* Fills pages with a value that the next transaction deletes. */
static enum err stock_fill(struct journal *j, struct err_msg *msg)
{
    static const uint8_t filler[STOCK_PAGES * PAGE - STOCK_MARGIN];
    struct lmdb_txn *t;
    uint8_t key[8];
    enum err e = touch_pages(j->path, msg);
    if (e == ERR_OK)
        e = lmdb_env_begin(j->env, true, &t, msg);
    if (e != ERR_OK)
        return e;
    e = lmdb_txn_put(t, 0, stock_key(key), bytes_of(filler, sizeof(filler)), msg);
    if (e == ERR_OK)
        return lmdb_txn_commit(t, msg);
    lmdb_txn_abort(t);
    return e;
}

static enum err stock_empty(struct lmdb_txn *t, struct err_msg *msg)
{
    uint8_t key[8];
    enum err e = lmdb_txn_del(t, 0, stock_key(key));
    return e == ERR_OK ? e : err_set(msg, e, "the stock of pages: %s", err_text(e));
}

/* What it was opened with lies under one zero byte, before all others. */
static const uint8_t brief_key[1] = {0};

static enum err put_framed(struct lmdb_txn *t, struct bytes key, struct bytes value,
                           struct err_msg *msg)
{
    struct buf framed = {0};
    buf_u32(&framed, hash_crc32c(hash_crc32c(0, key), value));
    buf_bytes_append(&framed, value);
    enum err e = buf_ok(&framed) ? lmdb_txn_put(t, 0, key, buf_bytes(&framed), msg) : ERR_NOMEM;
    buf_done(&framed);
    return e;
}

static enum err put(struct journal *j, uint64_t key, struct bytes value, struct bytes brief,
                    struct err_msg *msg)
{
    struct lmdb_txn *t;
    uint8_t k[8];
    bytes_put_u64be(k, key);
    enum err e = lmdb_env_begin(j->env, true, &t, msg);
    if (e == ERR_OK) {
        e = put_framed(t, bytes_of(k, 8), value, msg);
        if (e == ERR_OK && brief.size)
            e = put_framed(t, bytes_of(brief_key, 1), brief, msg);
        if (e == ERR_OK && key == 0) /* the first of a journal */
            e = stock_empty(t, msg);
        if (e == ERR_OK)
            e = lmdb_txn_commit(t, msg);
        else
            lmdb_txn_abort(t);
    }
    return e;
}

enum err journal_create(const char *dir, uint64_t generation, struct bytes checkpoint,
                        struct bytes brief, struct journal **out, struct err_msg *msg)
{
    char temporary[FILES_PATH_MAX], path[FILES_PATH_MAX];
    struct journal *j = NULL;
    path_of(dir, generation, ".tmp-", temporary);
    path_of(dir, generation, "", path);
    files_remove_tree(temporary);
    enum err e = files_make_dir(temporary, msg);
    if (e == ERR_OK)
        e = open_at(dir, generation, temporary, &j, msg);
    if (e == ERR_OK)
        e = stock_fill(j, msg);
    if (e == ERR_OK)
        e = put(j, 0, checkpoint, brief, msg);
    journal_close(j);
    if (e == ERR_OK)
        e = files_sync_dir(temporary, msg);
    if (e == ERR_OK && access(path, F_OK) == 0)
        journal_remove(dir, generation); /* what an attempt that failed could not remove */
    fault_point("journal.before_rename");
    if (e == ERR_OK)
        e = files_rename(temporary, path, msg);
    fault_point("journal.after_rename");
    if (e == ERR_OK)
        e = open_at(dir, generation, path, out, msg);
    if (e != ERR_OK) { /* the generation before it lives on: its checkpoint would soon be wrong */
        files_remove_tree(temporary);
        journal_remove(dir, generation);
    }
    return e;
}

static void salvage_one(void *ctx, struct bytes key, struct bytes value)
{
    struct journal *j = ctx;
    bool is_brief = bytes_equal(key, bytes_of(brief_key, 1));
    if ((!is_brief && key.size != 8) || !value_is_whole(key, value))
        return;
    uint64_t n = is_brief ? 0 : bytes_u64be(key.data);
    for (size_t i = j->salvaged_count; i-- > 0;) /* pages of older states repeat it */
        if (j->salvaged[i].key == n && j->salvaged[i].is_brief == is_brief)
            return;
    if (j->salvaged_count == j->salvaged_cap) {
        size_t cap = j->salvaged_cap ? j->salvaged_cap * 2 : 64;
        struct salvaged *p = realloc(j->salvaged, cap * sizeof(*p));
        j->has_no_memory |= !p;
        if (!p)
            return;
        j->salvaged = p;
        j->salvaged_cap = cap;
    }
    struct bytes copy = arena_copy(j->arena, bytes_slice(value, 4, value.size));
    j->has_no_memory |= !copy.data;
    j->salvaged[j->salvaged_count++] = (struct salvaged){n, is_brief, copy};
}

static int by_key(const void *x, const void *y)
{
    const struct salvaged *a = x, *b = y;
    return a->key != b->key ? (a->key > b->key) - (a->key < b->key)
                            : (int)b->is_brief - (int)a->is_brief;
}

static enum err salvage(struct journal *j, struct err_msg *msg)
{
    struct err_msg why = {""};
    j->arena = arena_new(0);
    enum err e = j->arena ? lmdb_pages_salvage(j->path, salvage_one, j, &why) : ERR_NOMEM;
    if (e == ERR_NOT_FOUND || e == ERR_CORRUPT)
        e = ERR_OK; /* nothing is left */
    if (e == ERR_OK && j->has_no_memory)
        e = ERR_NOMEM;
    if (j->salvaged_count)
        qsort(j->salvaged, j->salvaged_count, sizeof(*j->salvaged), by_key);
    return e == ERR_OK ? e : err_set(msg, e, "%s", why.text);
}

enum err journal_open(const char *dir, uint64_t generation, struct journal **out,
                      struct err_msg *msg)
{
    char path[FILES_PATH_MAX];
    struct err_msg why = {""};
    path_of(dir, generation, "", path);
    enum err e = lmdb_pages_check(path, false, &why);
    if (e == ERR_OK)
        return open_at(dir, generation, path, out, msg);
    if (e != ERR_CORRUPT && e != ERR_NOT_FOUND)
        return err_set(msg, e, "%s", why.text);
    struct journal *j = journal_new(dir, generation, path);
    if (!j)
        return ERR_NOMEM;
    j->is_damaged = true;
    j->why = why;
    e = salvage(j, msg);
    if (e != ERR_OK) {
        journal_close(j);
        return e;
    }
    *out = j;
    return ERR_OK;
}

const char *journal_damage(const struct journal *j)
{
    const char *at = strstr(j->why.text, "/data.mdb");
    return !j->is_damaged ? NULL : at ? at + 1 : j->why.text;
}

void journal_path(const char *dir, uint64_t generation, char *out, size_t size)
{
    snprintf(out, size, "%s/journal/%llu", dir, (unsigned long long)generation);
}

void journal_retain(struct journal *j)
{
    atomic_fetch_add(&j->refs, 1);
}

void journal_close(struct journal *j)
{
    if (!j || atomic_fetch_sub(&j->refs, 1) != 1)
        return;
    lmdb_env_close(j->env);
    if (atomic_load(&j->is_finished))
        journal_remove(j->dir, j->generation);
    pthread_mutex_destroy(&j->lock);
    arena_free(j->arena);
    free(j->salvaged);
    free(j);
}

void journal_finish(struct journal *j)
{
    if (!j)
        return;
    atomic_store(&j->is_finished, true);
    journal_close(j);
}

uint64_t journal_generation(const struct journal *j)
{
    return j->generation;
}

void journal_remove(const char *dir, uint64_t generation)
{
    char path[FILES_PATH_MAX], leaving[FILES_PATH_MAX];
    path_of(dir, generation, "", path);
    path_of(dir, generation, ".old-", leaving);
    struct err_msg msg;
    files_remove_tree(leaving);
    /* Under its own name a half-removed one would be read as a journal at the next start: its new name is durable first. Where that
     * cannot be had, the next start removes it. */
    fault_point("journal.before_remove");
    if (files_rename(path, leaving, &msg) == ERR_OK) {
        fault_point("journal.before_unlink");
        files_remove_tree(leaving);
    }
    fault_point("journal.after_remove");
}

static enum err get(struct journal *j, struct bytes key, struct arena *a, struct bytes *out,
                    struct err_msg *msg)
{
    struct lmdb_txn *t;
    struct bytes value;
    enum err e = lmdb_env_begin(j->env, false, &t, msg);
    if (e != ERR_OK)
        return e;
    e = lmdb_txn_get(t, 0, key, &value);
    if (e == ERR_OK && !value_is_whole(key, value))
        e = err_set(msg, ERR_CORRUPT, "%s: an entry has a wrong checksum", j->path);
    if (e == ERR_OK) {
        *out = arena_copy(a, bytes_slice(value, 4, value.size));
        e = out->data ? ERR_OK : ERR_NOMEM;
    }
    lmdb_txn_abort(t);
    return e;
}

static enum err reopen(struct journal *j, struct err_msg *msg)
{
    pthread_mutex_lock(&j->lock);
    enum err e = lmdb_env_open(j->path, MAP_BYTES, NULL, &j->env, msg);
    pthread_mutex_unlock(&j->lock);
    return e;
}

enum err journal_append(struct journal *j, uint64_t seq, struct bytes commit, struct err_msg *msg)
{
    CHECK(seq > 0);
    if (!j->env && reopen(j, msg) != ERR_OK)
        return ERR_UNAVAILABLE; /* an earlier failure closed it: nothing of this commit is there */
    enum err e = put(j, seq, commit, BYTES_NONE, msg);
    if (e != ERR_IO && e != ERR_FULL)
        return e;
    /* Meta page written or not? Only the disk knows. What is found there after opening again is the truth; a sync is never retried. */
    struct arena *a = arena_new(0);
    struct bytes found;
    uint8_t key[8];
    bytes_put_u64be(key, seq);
    struct err_msg why;
    pthread_mutex_lock(&j->lock); /* not while somebody reads it */
    lmdb_env_close(j->env);
    j->env = NULL;
    enum err again = lmdb_env_open(j->path, MAP_BYTES, NULL, &j->env, &why);
    pthread_mutex_unlock(&j->lock);
    if (again != ERR_OK) {
        log_error("journal", "%s cannot be opened again after a failed commit: %s", j->path,
                  why.text);
    } else if (a && get(j, bytes_of(key, 8), a, &found, &why) == ERR_OK &&
               bytes_equal(found, commit)) {
        log_warn("journal", "a commit that reported \"%s\" is on disk after all",
                 msg ? msg->text : "");
        e = ERR_OK;
    }
    arena_free(a);
    return e;
}

enum err journal_checkpoint(struct journal *j, bool brief, struct arena *a, struct bytes *out,
                            struct err_msg *msg)
{
    static const uint8_t zero[8] = {0};
    enum err e = ERR_NOT_FOUND;
    for (size_t i = 0; i < j->salvaged_count && e != ERR_OK; i++)
        if (j->salvaged[i].key == 0 && j->salvaged[i].is_brief == brief) {
            *out = j->salvaged[i].value;
            e = ERR_OK;
        }
    if (!j->is_damaged)
        e = get(j, brief ? bytes_of(brief_key, 1) : bytes_of(zero, 8), a, out, msg);
    return e == ERR_NOT_FOUND ? err_set(msg, ERR_CORRUPT, "%s has no checkpoint", j->path) : e;
}

struct scan {
    const struct journal_reader *r;
    struct err_msg *msg;
    enum err error;
};

static bool scan_one(void *ctx, struct bytes key, struct bytes value)
{
    struct scan *s = ctx;
    if (key.size != 8 || !value_is_whole(key, value))
        s->r->damaged(s->r->ctx, key.size == 8 ? bytes_u64be(key.data) : 0);
    else
        s->error = s->r->commit(s->r->ctx, bytes_u64be(key.data), bytes_slice(value, 4, value.size),
                                s->msg);
    return s->error == ERR_OK;
}

enum err journal_scan(struct journal *j, const struct journal_reader *r, struct err_msg *msg)
{
    struct scan s = {r, msg, ERR_OK};
    struct lmdb_txn *t;
    uint8_t from[8];
    for (size_t i = 0; i < j->salvaged_count && s.error == ERR_OK; i++)
        if (j->salvaged[i].key)
            s.error = r->commit(r->ctx, j->salvaged[i].key, j->salvaged[i].value, msg);
    if (j->is_damaged)
        return s.error;
    bytes_put_u64be(from, 1);
    enum err e = lmdb_env_begin(j->env, false, &t, msg);
    if (e != ERR_OK)
        return e;
    e = lmdb_txn_scan(t, 0, bytes_of(from, 8), scan_one, &s);
    lmdb_txn_abort(t);
    return e == ERR_OK ? s.error : e;
}

struct read {
    struct arena *a;
    struct journal_entry *entries;
    size_t count, bytes, max_bytes;
    uint64_t last;
    enum err error;
};

static bool read_one(void *ctx, struct bytes key, struct bytes value)
{
    struct read *r = ctx;
    if (key.size != 8 || bytes_u64be(key.data) > r->last)
        return false;
    struct bytes copy = arena_copy(r->a, value);
    r->entries = arena_grow(r->a, r->entries, sizeof(*r->entries), r->count, r->count + 1);
    if (!r->entries || !copy.data) {
        r->error = ERR_NOMEM;
        return false;
    }
    bool good =
        value.size >= 4 && bytes_u32le(value.data) ==
                               hash_crc32c(hash_crc32c(0, key), bytes_slice(value, 4, value.size));
    r->entries[r->count++] = (struct journal_entry){bytes_u64be(key.data), copy, !good};
    r->bytes += value.size;
    return r->bytes < r->max_bytes;
}

enum err journal_read(struct journal *j, uint64_t from, uint64_t last, size_t max_bytes,
                      struct arena *a, struct journal_entry **out, size_t *out_count,
                      struct err_msg *msg)
{
    struct read r = {.a = a, .last = last, .max_bytes = max_bytes};
    struct lmdb_txn *t;
    uint8_t k[8];
    bytes_put_u64be(k, from);
    pthread_mutex_lock(&j->lock);
    enum err e = j->env ? lmdb_env_begin(j->env, false, &t, msg)
                        : err_set(msg, ERR_IO, "%s is closed after a failed commit", j->path);
    if (e == ERR_OK) {
        e = lmdb_txn_scan(t, 0, bytes_of(k, 8), read_one, &r);
        lmdb_txn_abort(t);
    }
    pthread_mutex_unlock(&j->lock);
    e = e == ERR_OK ? r.error : e;
    if (e == ERR_OK) {
        *out = r.entries;
        *out_count = r.count;
    }
    return e;
}

uint64_t journal_bytes(struct journal *j)
{
    return j->env ? lmdb_env_bytes(j->env) : 0;
}

enum err journal_list(const char *dir, struct arena *a, uint64_t **out, size_t *out_count,
                      struct err_msg *msg)
{
    char path[FILES_PATH_MAX], child[FILES_PATH_MAX + 300];
    char **names;
    size_t n, kept = 0;
    snprintf(path, sizeof(path), "%s/journal", dir);
    enum err e = files_list(path, true, a, &names, &n, msg);
    uint64_t *list = e == ERR_OK ? ARENA_ARRAY(a, uint64_t, n + 1) : NULL;
    if (!list)
        return e == ERR_OK ? ERR_NOMEM : e;
    for (size_t i = 0; i < n; i++) {
        uint64_t v;
        if (bytes_to_u64(bytes_str(names[i]), &v)) {
            size_t at = kept++;
            for (; at > 0 && list[at - 1] > v; at--)
                list[at] = list[at - 1];
            list[at] = v;
        } else if (names[i][0] == '.') {
            snprintf(child, sizeof(child), "%s/%s", path, names[i]);
            files_remove_tree(child);
        }
    }
    *out = list;
    *out_count = kept;
    return ERR_OK;
}
