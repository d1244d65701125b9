#include "tsdb/tsdb_restore.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/check.h"
#include "base/fault_point.h"
#include "tsdb/backup_note.h"
#include "tsdb/partial_dir.h"
#include "tsdb/store_format.h"

#define DEPTH_MAX 4u /* parts/<day>/<class>/data.mdb */

struct restore {
    bool (*progress)(void *ctx, uint64_t bytes);
    void *ctx;
    uint64_t bytes;
    struct arena *arena;
    struct err_msg *msg;
};

static enum err read_info(const char *backup, struct arena *a, struct tsdb_restore_info *out,
                          struct err_msg *msg)
{
    char path[FILES_PATH_MAX];
    struct bytes text;
    snprintf(path, sizeof(path), "%s/BACKUP", backup);
    enum err e = files_read(path, 4096, a, &text, msg);
    if (e == ERR_NOT_FOUND)
        return err_set(msg, e, "%s is no backup, or one that was never finished: it has no BACKUP",
                       backup);
    if (e != ERR_OK)
        return e;
    e = backup_note_read(text, out);
    if (e == ERR_NEWER)
        return err_set(msg, ERR_UNSUPPORTED_MEDIA,
                       "%s was written by a newer telltale (its backup format; this one reads %u)",
                       backup, FORMAT_BACKUP);
    return e == ERR_OK ? e : err_set(msg, e, "%s is not understood", path);
}

enum err tsdb_restore_info(const char *backup, struct tsdb_restore_info *out, struct err_msg *msg)
{
    struct arena *a = arena_new(0);
    struct tsdb_restore_info info = {0};
    enum err e = a ? read_info(backup, a, &info, msg) : ERR_NOMEM;
    arena_free(a);
    if (e == ERR_OK)
        *out = info;
    return e;
}

static bool is_left_out(const char *name)
{
    return strcmp(name, "BACKUP") == 0 || strcmp(name, "VERSION") == 0 ||
           strcmp(name, "LOCK") == 0 || strcmp(name, "lock.mdb") == 0;
}

static enum err copy_tree(struct restore *r, const char *from, const char *to, unsigned depth)
{
    char **names;
    size_t n;
    enum err e = files_list(from, false, r->arena, &names, &n, r->msg);
    if (e == ERR_OK)
        e = files_make_dir(to, r->msg);
    for (size_t i = 0; i < n && e == ERR_OK; i++) {
        struct bytes a = arena_printf(r->arena, "%s/%s", from, names[i]),
                     b = arena_printf(r->arena, "%s/%s", to, names[i]);
        struct stat st;
        if (!a.data || !b.data)
            return ERR_NOMEM;
        const char *source = (const char *)a.data, *target = (const char *)b.data;
        if (is_left_out(names[i]) || lstat(source, &st) != 0)
            continue;
        if (S_ISDIR(st.st_mode)) {
            e = depth < DEPTH_MAX
                    ? copy_tree(r, source, target, depth + 1)
                    : err_set(r->msg, ERR_CORRUPT, "%s lies too deep for a backup", source);
        } else if (S_ISREG(st.st_mode)) {
            fault_point("restore.before_file");
            e = files_copy(source, target, r->msg);
            r->bytes += (uint64_t)st.st_size;
            if (e == ERR_OK && r->progress && !r->progress(r->ctx, r->bytes))
                e = err_set(r->msg, ERR_CANCELLED, "stopped");
        }
    }
    return e == ERR_OK ? files_sync_dir(to, r->msg) : e;
}

static enum err check_version(const char *backup, struct arena *a, struct bytes *out,
                              struct err_msg *msg)
{
    char path[FILES_PATH_MAX];
    snprintf(path, sizeof(path), "%s/VERSION", backup);
    enum err e = files_read(path, 256, a, out, msg);
    if (e == ERR_NOT_FOUND)
        return err_set(msg, e, "%s is no backup: it has no VERSION", backup);
    return e == ERR_OK ? store_version_check(*out, backup, msg) : e;
}

enum err tsdb_restore_run(const char *backup, const char *dir,
                          bool (*progress)(void *ctx, uint64_t bytes), void *ctx,
                          uint64_t *out_bytes, struct err_msg *msg)
{
    struct tsdb_restore_info info;
    struct restore r = {.progress = progress, .ctx = ctx, .arena = arena_new(0), .msg = msg};
    struct bytes version = BYTES_NONE;
    char path[FILES_PATH_MAX + 16];
    struct partial_dir *to = calloc(1, sizeof(*to));
    enum err e = r.arena && to ? tsdb_restore_info(backup, &info, msg) : ERR_NOMEM;
    if (e == ERR_OK)
        e = check_version(backup, r.arena, &version, msg);
    if (e == ERR_OK && (e = partial_dir_begin(to, dir, msg)) == ERR_OK) {
        e = copy_tree(&r, backup, to->path, 1);
        snprintf(path, sizeof(path), "%s/VERSION", to->path);
        if (e == ERR_OK) /* last: without it nothing takes the directory for data */
            e = files_write(path, version, msg);
        if (e == ERR_OK)
            e = partial_dir_finish(to, msg);
        else
            partial_dir_abandon(to);
    }
    arena_free(r.arena);
    free(to);
    if (e == ERR_OK)
        *out_bytes = r.bytes;
    return e;
}
