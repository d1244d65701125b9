#include "tsdb/partial_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/fault_point.h"

static bool is_free(const char *path)
{
    DIR *d = opendir(path);
    bool empty = true;
    if (!d)
        return errno == ENOENT;
    for (const struct dirent *e; (e = readdir(d));)
        empty &= strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
    closedir(d);
    return empty;
}

/* Splits the target and names the three paths, the parent without links in it. */
static enum err set_paths(struct partial_dir *p, const char *target, struct err_msg *msg)
{
    char copy[FILES_PATH_MAX], parent[FILES_PATH_MAX];
    size_t n = strlen(target);
    while (n > 1 && target[n - 1] == '/')
        n--;
    if (n == 0 || n >= FILES_PATH_MAX - 300)
        return err_set(msg, ERR_INVALID, "give the name of a directory");
    snprintf(copy, sizeof(copy), "%.*s", (int)n, target);
    char *slash = strrchr(copy, '/');
    const char *name = slash ? slash + 1 : copy;
    if (name[0] == 0 || name[0] == '.' || strlen(name) > 200)
        return err_set(msg, ERR_INVALID, "%s: the last name of the path cannot be used", target);
    snprintf(parent, sizeof(parent), "%.*s", slash ? (int)MAX(slash - copy, 1) : 1,
             slash ? copy : ".");
    if (!realpath(parent, p->parent))
        return err_set(msg, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: %s", parent,
                       strerror(errno));
    const char *between = strcmp(p->parent, "/") == 0 ? "" : "/";
    if ((size_t)snprintf(p->target, sizeof(p->target), "%s%s%s", p->parent, between, name) >=
            sizeof(p->target) ||
        (size_t)snprintf(p->path, sizeof(p->path), "%s%s.partial-%s", p->parent, between, name) >=
            sizeof(p->path))
        return err_set(msg, ERR_INVALID, "the path %.64s... is too long", target);
    return ERR_OK;
}

static enum err lock(struct partial_dir *p, struct err_msg *msg)
{
    char path[FILES_PATH_MAX + 8];
    snprintf(path, sizeof(path), "%s/LOCK", p->path);
    p->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (p->lock_fd < 0)
        return err_set(msg, errno == ENOSPC || errno == EDQUOT ? ERR_FULL : ERR_IO,
                       "cannot write to %s: %s", p->path, strerror(errno));
    if (flock(p->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return ERR_OK;
    close(p->lock_fd);
    p->lock_fd = -1;
    return err_set(msg, ERR_CONFLICT, "another process is making %s", p->target);
}

enum err partial_dir_begin(struct partial_dir *p, const char *target, struct err_msg *msg)
{
    *p = (struct partial_dir){.lock_fd = -1};
    enum err e = set_paths(p, target, msg);
    if (e != ERR_OK)
        return e;
    if (!is_free(p->target))
        return err_set(msg, ERR_CONFLICT, "%s is there already and not empty", p->target);
    if (access(p->path, F_OK) == 0) { /* of a process that died, or is at it */
        e = lock(p, msg);
        if (e != ERR_OK)
            return e;
        files_remove_tree(p->path);
        close(p->lock_fd);
    }
    e = files_make_dir(p->path, msg);
    if (e == ERR_OK)
        e = lock(p, msg);
    if (e != ERR_OK && e != ERR_CONFLICT)
        files_remove_tree(p->path);
    return e;
}

static void done(struct partial_dir *p)
{
    if (p->lock_fd >= 0)
        close(p->lock_fd);
    p->lock_fd = -1;
}

enum err partial_dir_finish(struct partial_dir *p, struct err_msg *msg)
{
    char path[FILES_PATH_MAX + 8];
    snprintf(path, sizeof(path), "%s/LOCK", p->path);
    (void)unlink(path); /* an open file that has no name any more keeps others out no less */
    enum err e = files_sync_dir(p->path, msg);
    fault_point("partial.before_rename");
    if (e == ERR_OK && rename(p->path, p->target) != 0)
        e = err_set(msg, errno == ENOTEMPTY || errno == EEXIST ? ERR_CONFLICT : ERR_IO,
                    "cannot rename %s: %s", p->path, strerror(errno));
    if (e != ERR_OK) {
        partial_dir_abandon(p);
        return e;
    }
    fault_point("partial.after_rename");
    e = files_sync_dir(p->parent, msg);
    if (e != ERR_OK) /* its name may be lost with the power: better not there at all */
        files_remove_tree(p->target);
    done(p);
    return e;
}

void partial_dir_abandon(struct partial_dir *p)
{
    files_remove_tree(p->path);
    done(p);
}
