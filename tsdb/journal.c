#include "tsdb/journal.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/fault_point.h"
#include "base/hash.h"
#include "base/log.h"
#include "tsdb/files.h"
#include "tsdb/lmdb_env.h"

#define MAP_BYTES LMDB_ENV_MAP(4ull << 30)

struct journal {
    struct lmdb_env *env;
    char path[FILES_PATH_MAX];
};

static void path_of(const char *dir, uint64_t generation, const char *prefix,
                    char out[FILES_PATH_MAX])
{
    snprintf(out, FILES_PATH_MAX, "%s/journal/%s%llu", dir, prefix, (unsigned long long)generation);
}

static enum err open_at(const char *path, struct journal **out, struct err_msg *msg)
{
    struct journal *j = calloc(1, sizeof(*j));
    if (!j)
        return ERR_NOMEM;
    snprintf(j->path, sizeof(j->path), "%s", path);
    enum err e = lmdb_env_open(path, MAP_BYTES, NULL, &j->env, msg);
    if (e != ERR_OK) {
        free(j);
        return e;
    }
    *out = j;
    return ERR_OK;
}

static enum err put(struct journal *j, uint64_t key, struct bytes value, struct err_msg *msg)
{
    struct lmdb_txn *t;
    struct buf framed = {0};
    uint8_t k[8];
    bytes_put_u64be(k, key);
    buf_u32(&framed, hash_crc32c(hash_crc32c(0, bytes_of(k, 8)), value));
    buf_bytes_append(&framed, value);
    enum err e = buf_ok(&framed) ? lmdb_env_begin(j->env, true, &t, msg) : ERR_NOMEM;
    if (e == ERR_OK) {
        e = lmdb_txn_put(t, 0, bytes_of(k, 8), buf_bytes(&framed), msg);
        if (e == ERR_OK)
            e = lmdb_txn_commit(t, msg);
        else
            lmdb_txn_abort(t);
    }
    buf_done(&framed);
    return e;
}

enum err journal_create(const char *dir, uint64_t generation, struct bytes checkpoint,
                        struct journal **out, struct err_msg *msg)
{
    char temporary[FILES_PATH_MAX], path[FILES_PATH_MAX];
    struct journal *j = NULL;
    path_of(dir, generation, ".tmp-", temporary);
    path_of(dir, generation, "", path);
    files_remove_tree(temporary);
    enum err e = files_make_dir(temporary, msg);
    if (e == ERR_OK)
        e = open_at(temporary, &j, msg);
    if (e == ERR_OK)
        e = put(j, 0, checkpoint, msg);
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
        e = open_at(path, out, msg);
    if (e != ERR_OK) { /* the generation before it lives on: its checkpoint would soon be wrong */
        files_remove_tree(temporary);
        journal_remove(dir, generation);
    }
    return e;
}

enum err journal_open(const char *dir, uint64_t generation, struct journal **out,
                      struct err_msg *msg)
{
    char path[FILES_PATH_MAX];
    path_of(dir, generation, "", path);
    return open_at(path, out, msg);
}

void journal_close(struct journal *j)
{
    if (!j)
        return;
    lmdb_env_close(j->env);
    free(j);
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

static enum err get(struct journal *j, uint64_t key, struct arena *a, struct bytes *out,
                    struct err_msg *msg)
{
    struct lmdb_txn *t;
    uint8_t k[8];
    struct bytes value;
    bytes_put_u64be(k, key);
    enum err e = lmdb_env_begin(j->env, false, &t, msg);
    if (e != ERR_OK)
        return e;
    e = lmdb_txn_get(t, 0, bytes_of(k, 8), &value);
    if (e == ERR_OK && (value.size < 4 ||
                        bytes_u32le(value.data) != hash_crc32c(hash_crc32c(0, bytes_of(k, 8)),
                                                               bytes_slice(value, 4, value.size))))
        e = err_set(msg, ERR_CORRUPT, "%s: entry %llu has a wrong checksum", j->path,
                    (unsigned long long)key);
    if (e == ERR_OK) {
        *out = arena_copy(a, bytes_slice(value, 4, value.size));
        e = out->data ? ERR_OK : ERR_NOMEM;
    }
    lmdb_txn_abort(t);
    return e;
}

enum err journal_append(struct journal *j, uint64_t seq, struct bytes commit, struct err_msg *msg)
{
    CHECK(seq > 0);
    if (!j->env && lmdb_env_open(j->path, MAP_BYTES, NULL, &j->env, msg) != ERR_OK)
        return ERR_UNAVAILABLE; /* an earlier failure closed it: nothing of this commit is there */
    enum err e = put(j, seq, commit, msg);
    if (e != ERR_IO && e != ERR_FULL)
        return e;
    /* Meta page written or not? Only the disk knows. What is found there after opening again is the truth; a sync is never retried. */
    struct arena *a = arena_new(0);
    struct bytes found;
    lmdb_env_close(j->env);
    j->env = NULL;
    struct err_msg why;
    enum err again = lmdb_env_open(j->path, MAP_BYTES, NULL, &j->env, &why);
    if (again != ERR_OK) {
        log_error("journal", "%s cannot be opened again after a failed commit: %s", j->path,
                  why.text);
    } else if (a && get(j, seq, a, &found, &why) == ERR_OK && bytes_equal(found, commit)) {
        log_warn("journal", "a commit that reported \"%s\" is on disk after all",
                 msg ? msg->text : "");
        e = ERR_OK;
    }
    arena_free(a);
    return e;
}

enum err journal_checkpoint(struct journal *j, struct arena *a, struct bytes *out,
                            struct err_msg *msg)
{
    enum err e = get(j, 0, a, out, msg);
    return e == ERR_NOT_FOUND ? err_set(msg, ERR_CORRUPT, "%s has no checkpoint", j->path) : e;
}

struct scan {
    struct journal *j;
    enum err (*fn)(void *ctx, uint64_t seq, struct bytes commit, struct err_msg *msg);
    void *ctx;
    struct err_msg *msg;
    enum err error;
};

static bool scan_one(void *ctx, struct bytes key, struct bytes value)
{
    struct scan *s = ctx;
    if (key.size != 8 || value.size < 4 ||
        bytes_u32le(value.data) !=
            hash_crc32c(hash_crc32c(0, key), bytes_slice(value, 4, value.size))) {
        s->error = err_set(s->msg, ERR_CORRUPT, "%s: a commit has a wrong checksum", s->j->path);
        return false;
    }
    s->error = s->fn(s->ctx, bytes_u64be(key.data), bytes_slice(value, 4, value.size), s->msg);
    return s->error == ERR_OK;
}

enum err journal_scan(struct journal *j,
                      enum err (*fn)(void *ctx, uint64_t seq, struct bytes commit,
                                     struct err_msg *msg),
                      void *ctx, struct err_msg *msg)
{
    struct scan s = {j, fn, ctx, msg, ERR_OK};
    struct lmdb_txn *t;
    uint8_t from[8];
    bytes_put_u64be(from, 1);
    enum err e = lmdb_env_begin(j->env, false, &t, msg);
    if (e != ERR_OK)
        return e;
    e = lmdb_txn_scan(t, 0, bytes_of(from, 8), scan_one, &s);
    lmdb_txn_abort(t);
    return e == ERR_OK ? s.error : e;
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
