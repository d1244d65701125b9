#include "tsdb/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/check.h"
#include "base/stats.h"

STATS_COUNTER(remove_failed, "telltale_store_remove_failures_total", "",
              "Files that should be gone and could not be removed.");

static _Atomic uint64_t fault_at, fault_count;
static _Atomic bool fault_crashes, exchange_off;

uint64_t files_test_fail_at(uint64_t n, bool crash)
{
    atomic_store(&fault_crashes, crash);
    atomic_store(&fault_at, n);
    return atomic_exchange(&fault_count, 0);
}

void files_test_no_exchange(bool on)
{
    atomic_store(&exchange_off, on);
}

/* true: the operation is to fail, with errno set. */
static bool fault(void)
{
    uint64_t n = atomic_fetch_add_explicit(&fault_count, 1, memory_order_relaxed) + 1;
    if (n != atomic_load_explicit(&fault_at, memory_order_relaxed))
        return false;
    if (atomic_load(&fault_crashes))
        _exit(FILES_CRASH_STATUS);
    errno = EIO;
    return true;
}

static enum err failed(const char *what, const char *path, struct err_msg *msg)
{
    int code = errno;
    return err_set(msg, code == ENOSPC || code == EDQUOT ? ERR_FULL : ERR_IO, "%s %s: %s", what,
                   path, strerror(code));
}

enum err files_sync_dir(const char *path, struct err_msg *msg)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return failed("cannot open", path, msg);
    int rc = fault() ? -1 : fsync(fd);
    enum err e = rc == 0 ? ERR_OK : failed("cannot sync", path, msg);
    close(fd);
    return e;
}

enum err files_sync_file(const char *path, struct err_msg *msg)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return failed("cannot open", path, msg);
    int rc = fault() ? -1 : fsync(fd);
    enum err e = rc == 0 ? ERR_OK : failed("cannot sync", path, msg);
    close(fd);
    return e;
}

enum err files_sync_parent(const char *path, struct err_msg *msg)
{
#ifdef TELLTALE_FAULT_NO_DIR_SYNC
    return ERR_OK; /* seeded defect: a new name may be lost. Tests must notice. */
#endif
    char parent[FILES_PATH_MAX];
    const char *slash = strrchr(path, '/');
    snprintf(parent, sizeof(parent), "%.*s", slash ? (int)MAX(slash - path, 1) : 1,
             slash ? path : ".");
    return files_sync_dir(parent, msg);
}

enum err files_make_dir(const char *path, struct err_msg *msg)
{
    char part[FILES_PATH_MAX];
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof(part))
        return err_set(msg, ERR_INVALID, "the path %.64s... is too long", path);
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != 0)
            continue;
        memcpy(part, path, i);
        part[i] = 0;
        if (access(part, F_OK) == 0)
            continue;
        if (!fault() &&
            mkdir(part, 0750) == 0) { /* what is put into it is as durable as its own name */
            enum err e = files_sync_parent(part, msg);
            if (e != ERR_OK)
                return e;
        } else if (errno != EEXIST) {
            return failed("cannot make the directory", part, msg);
        }
    }
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
        return err_set(msg, ERR_IO, "%s is no directory", path);
    return ERR_OK;
}

enum err files_rename(const char *from, const char *to, struct err_msg *msg)
{
    if (fault() || rename(from, to) != 0)
        return failed("cannot rename", from, msg);
    return files_sync_parent(to, msg);
}

static void new_name(const char *into, char out[FILES_PATH_MAX])
{
    const char *slash = strrchr(into, '/');
    CHECK(slash);
    snprintf(out, FILES_PATH_MAX, "%.*s/.new-%s", (int)(slash - into), into, slash + 1);
}

/* from -> .new-into; into -> from; .new-into -> into. Whatever of it is done when the machine stops, files_finish_exchange completes or
 * undoes: as long as .new-into is there and into is not, .new-into is what was to become into. */
static enum err exchange_by_names(const char *from, const char *into, bool *out_done,
                                  struct err_msg *msg)
{
    char fresh[FILES_PATH_MAX];
    new_name(into, fresh);
    enum err e = files_rename(from, fresh, msg);
    if (e != ERR_OK) {
        if (access(fresh, F_OK) == 0 && rename(fresh, from) != 0)
            stats_add(&remove_failed, 1);
        return e;
    }
    if (fault() || rename(into, from) != 0) {
        e = failed("cannot rename", into, msg);
        if (rename(fresh, from) != 0)
            stats_add(&remove_failed, 1);
        return e;
    }
    e = files_sync_parent(into, msg);
    if (!fault() && rename(fresh, into) == 0) {
        *out_done = true;
        return e;
    }
    e = failed("cannot rename", fresh, msg);
    if (rename(from, into) != 0 || rename(fresh, from) != 0)
        stats_add(&remove_failed, 1);
    return e;
}

enum err files_exchange(const char *from, const char *into, bool *out_done, struct err_msg *msg)
{
    *out_done = false;
    if (fault())
        return failed("cannot exchange", from, msg);
    if (!atomic_load(&exchange_off)) {
        if (renameat2(AT_FDCWD, from, AT_FDCWD, into, RENAME_EXCHANGE) == 0) {
            *out_done = true;
            return ERR_OK;
        }
        if (errno != EINVAL && errno != ENOSYS)
            return failed("cannot exchange", from, msg);
    }
    return exchange_by_names(from, into, out_done, msg);
}

void files_finish_exchange(const char *into)
{
    char fresh[FILES_PATH_MAX];
    struct err_msg msg;
    new_name(into, fresh);
    if (access(fresh, F_OK) != 0)
        return;
    if (access(into, F_OK) == 0)
        files_remove_tree(fresh); /* what it was to replace is whole */
    else if (files_rename(fresh, into, &msg) != ERR_OK)
        stats_add(&remove_failed, 1);
}

void files_remove_tree(const char *path)
{
    char child[FILES_PATH_MAX];
    DIR *d = opendir(path);
    if (!d) {
        if (errno != ENOENT && (errno != ENOTDIR || unlink(path) != 0))
            stats_add(&remove_failed, 1);
        return;
    }
    for (struct dirent *e; (e = readdir(d));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if ((size_t)snprintf(child, sizeof(child), "%s/%s", path, e->d_name) >= sizeof(child))
            continue;
        if (unlink(child) != 0)
            files_remove_tree(child);
    }
    closedir(d);
    if (rmdir(path) != 0)
        stats_add(&remove_failed, 1);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

enum err files_list(const char *path, bool with_dots, struct arena *a, char ***out_names,
                    size_t *out_count, struct err_msg *msg)
{
    char **names = NULL;
    size_t count = 0;
    DIR *d = opendir(path);
    if (!d && errno != ENOENT)
        return failed("cannot list", path, msg);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
            (e->d_name[0] == '.' && !with_dots))
            continue;
        names = arena_grow(a, names, sizeof(*names), count, count + 1);
        char *copy = names ? (char *)(uintptr_t)arena_printf(a, "%s", e->d_name).data : NULL;
        if (!copy) {
            closedir(d);
            return ERR_NOMEM;
        }
        names[count++] = copy;
    }
    if (d)
        closedir(d);
    if (count)
        qsort(names, count, sizeof(*names), by_name);
    *out_names = names;
    *out_count = count;
    return ERR_OK;
}

enum err files_write(const char *path, struct bytes text, struct err_msg *msg)
{
    char temporary[FILES_PATH_MAX];
    snprintf(temporary, sizeof(temporary), "%s.tmp", path);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (fd < 0)
        return failed("cannot write", temporary, msg);
    ssize_t n = write(fd, text.data, text.size);
    enum err e =
        n == (ssize_t)text.size && fsync(fd) == 0 ? ERR_OK : failed("cannot write", temporary, msg);
    close(fd);
    return e == ERR_OK ? files_rename(temporary, path, msg) : e;
}

enum err files_read(const char *path, size_t max, struct arena *a, struct bytes *out,
                    struct err_msg *msg)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? ERR_NOT_FOUND : failed("cannot read", path, msg);
    uint8_t *text = arena_alloc(a, max + 1);
    ssize_t n = text ? read(fd, text, max + 1) : -1;
    enum err e = n >= 0 && (size_t)n <= max ? ERR_OK : failed("cannot read", path, msg);
    close(fd);
    if (e == ERR_OK)
        *out = bytes_of(text, (size_t)n);
    return e;
}

static bool copy_bytes(int from, int to)
{
    for (;;) {
        ssize_t n = copy_file_range(from, NULL, to, NULL, 16u << 20, 0);
        if (n == 0)
            return true;
        if (n > 0 || errno == EINTR)
            continue;
        if (errno != EXDEV && errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP)
            return false;
        break; /* these file systems want it done by hand, from where it stands */
    }
    static _Thread_local uint8_t chunk[1u << 16];
    for (;;) {
        ssize_t n = read(from, chunk, sizeof(chunk));
        if (n == 0)
            return true;
        if (n < 0 && errno != EINTR)
            return false;
        for (ssize_t done = 0; done < n;) {
            ssize_t w = write(to, chunk + done, (size_t)(n - done));
            if (w < 0 && errno != EINTR)
                return false;
            done += MAX(w, 0);
        }
    }
}

enum err files_copy(const char *from, const char *to, struct err_msg *msg)
{
    enum err e = ERR_OK;
    int in = open(from, O_RDONLY | O_CLOEXEC);
    if (in < 0)
        return failed("cannot read", from, msg);
    int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    if (out < 0 || fault() || !copy_bytes(in, out) || fsync(out) != 0)
        e = failed("cannot write", to, msg);
    if (out >= 0)
        close(out);
    close(in);
    return e;
}

static uint64_t (*_Atomic test_free)(const char *path, uint64_t *out_total);

void files_test_set_free(uint64_t (*fn)(const char *path, uint64_t *out_total))
{
    atomic_store(&test_free, fn);
}

uint64_t files_free_bytes(const char *path, uint64_t *out_total)
{
    uint64_t (*fn)(const char *, uint64_t *) = atomic_load(&test_free);
    if (fn)
        return fn(path, out_total);
    struct statvfs st;
    *out_total = 0;
    if (statvfs(path, &st) != 0)
        return 0;
    *out_total = (uint64_t)st.f_blocks * st.f_frsize;
    return (uint64_t)st.f_bavail * st.f_frsize;
}
