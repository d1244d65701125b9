#include "tests/faults/record_io.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define FDS_MAX 4096
#define LOG_FULL_STATUS 97

struct opened {
    uint64_t inode; /* 0: not below the root */
    bool is_dir, is_sync;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char root[1024];
static struct io_log *log_to;
static struct opened fds[FDS_MAX]; /* guarded by lock */
static struct io_fault fault;
static _Atomic uint64_t fault_calls;

#define REAL(name)                 \
    static __typeof__(name) *real; \
    if (!real)                     \
    real = (__typeof__(name) *)(uintptr_t)dlsym(RTLD_NEXT, #name)

/* --- the log ------------------------------------------------------------------------------------- */

struct io_log *io_log_new(size_t cap)
{
    struct io_log *l = mmap(NULL, sizeof(*l) + cap, PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (l == MAP_FAILED)
        return NULL;
    l->cap = cap;
    return l;
}

static size_t room_of(size_t payload)
{
    return (sizeof(struct io_event) + payload + 7) & ~(size_t)7;
}

const struct io_event *io_log_next(const struct io_log *l, size_t *at, const uint8_t **payload)
{
    if (*at >= atomic_load(&((struct io_log *)(uintptr_t)l)->used))
        return NULL;
    const struct io_event *e = (const struct io_event *)(const void *)(l->bytes + *at);
    *payload = l->bytes + *at + sizeof(*e);
    *at += room_of(e->size);
    return e;
}

/* Under lock. */
static void put(struct io_event e, const void *payload)
{
    if (!log_to)
        return;
    size_t at = atomic_load(&log_to->used), need = room_of(e.size);
    if (need > log_to->cap - at)
        _exit(LOG_FULL_STATUS);
    memcpy(log_to->bytes + at, &e, sizeof(e));
    if (e.size)
        memcpy(log_to->bytes + at + sizeof(e), payload, e.size);
    atomic_store(&log_to->used, at + need);
}

void record_io_begin(const char *path, struct io_log *l)
{
    struct stat st;
    pthread_mutex_lock(&lock);
    snprintf(root, sizeof(root), "%s", path);
    log_to = l;
    if (l && stat(path, &st) == 0)
        l->root = st.st_ino;
    pthread_mutex_unlock(&lock);
}

void record_io_end(void)
{
    pthread_mutex_lock(&lock);
    root[0] = 0;
    log_to = NULL;
    memset(fds, 0, sizeof(fds));
    pthread_mutex_unlock(&lock);
}

void record_io_mark(uint32_t kind, uint64_t value)
{
    pthread_mutex_lock(&lock);
    put((struct io_event){.kind = IO_MARK, .offset = kind, .inode = value}, NULL);
    pthread_mutex_unlock(&lock);
}

/* --- failing ------------------------------------------------------------------------------------- */

void record_io_fail(const struct io_fault *f)
{
    pthread_mutex_lock(&lock);
    fault = *f;
    atomic_store(&fault_calls, 0);
    pthread_mutex_unlock(&lock);
}

uint64_t record_io_calls(void)
{
    return atomic_load(&fault_calls);
}

/* Under lock. */
static bool fails(enum io_class class)
{
    if (class != fault.class)
        return false;
    uint64_t n = atomic_fetch_add(&fault_calls, 1) + 1;
    return fault.at && (fault.forever ? n >= fault.at : n == fault.at);
}

/* --- names --------------------------------------------------------------------------------------- */

/* Or the root itself: its names are synced through it. */
static bool is_below(const char *path)
{
    size_t n = strlen(root);
    return n > 0 && strncmp(path, root, n) == 0 && (path[n] == '/' || path[n] == 0);
}

/* The directory that holds path, and the name in it. */
static bool split(const char *path, uint64_t *parent, char name[IO_NAME_MAX + 1])
{
    char dir[1200];
    struct stat st;
    const char *slash = strrchr(path, '/');
    if (!slash || (size_t)(slash - path) >= sizeof(dir) || strlen(slash + 1) > IO_NAME_MAX)
        return false;
    memcpy(dir, path, (size_t)(slash - path));
    dir[slash - path] = 0;
    strcpy(name, slash + 1);
    if (stat(dir, &st) != 0)
        return false;
    *parent = st.st_ino;
    return true;
}

static uint64_t inode_of(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0 ? st.st_ino : 0;
}

static void put_name(enum io_kind kind, const char *path)
{
    struct io_event e = {.kind = (uint8_t)kind, .inode = inode_of(path)};
    if (log_to && split(path, &e.parent, e.name))
        put(e, NULL);
}

/* 0: go on; else errno of the injected failure. */
static int name_fails(void)
{
    return fails(IO_CLASS_NAME) ? (fault.error ? fault.error : EIO) : 0;
}

static int open_recorded(const char *path, int flags, mode_t mode)
{
    REAL(open);
    pthread_mutex_lock(&lock);
    if (!is_below(path)) {
        int fd = real(path, flags, mode);
        if (fd >= 0 && fd < FDS_MAX)
            fds[fd].inode = 0;
        pthread_mutex_unlock(&lock);
        return fd;
    }
    bool is_new = (flags & O_CREAT) && inode_of(path) == 0;
    int code = is_new ? name_fails() : 0;
    int fd = code ? -1 : real(path, flags, mode);
    struct stat st;
    if (fd >= 0 && fd < FDS_MAX && fstat(fd, &st) == 0) {
        fds[fd] = (struct opened){st.st_ino, S_ISDIR(st.st_mode), flags & (O_DSYNC | O_SYNC)};
        if (is_new)
            put_name(IO_CREATE, path);
        else if (flags & O_TRUNC)
            put((struct io_event){.kind = IO_SIZE, .inode = st.st_ino}, NULL);
    }
    pthread_mutex_unlock(&lock);
    if (code)
        errno = code;
    return fd;
}

static mode_t mode_of(int flags, va_list args)
{
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
}

#define OPEN_LIKE(symbol)                         \
    int symbol(const char *path, int flags, ...); \
    int symbol(const char *path, int flags, ...)  \
    {                                             \
        va_list args;                             \
        va_start(args, flags);                    \
        mode_t mode = mode_of(flags, args);       \
        va_end(args);                             \
        return open_recorded(path, flags, mode);  \
    }
OPEN_LIKE(open)
OPEN_LIKE(open64)

int close(int fd)
{
    REAL(close);
    if (fd >= 0 && fd < FDS_MAX) {
        pthread_mutex_lock(&lock);
        fds[fd].inode = 0;
        pthread_mutex_unlock(&lock);
    }
    return real(fd);
}

int mkdir(const char *path, mode_t mode)
{
    REAL(mkdir);
    if (!is_below(path))
        return real(path, mode);
    pthread_mutex_lock(&lock);
    int code = inode_of(path) ? 0 : name_fails();
    int rc = code ? -1 : real(path, mode), saved = code ? code : errno;
    if (rc == 0)
        put_name(IO_MKDIR, path);
    pthread_mutex_unlock(&lock);
    errno = saved;
    return rc;
}

/* After the call the old name is gone: what it was is asked before. */
static int rename_recorded(const char *from, const char *to, unsigned flags)
{
    static int (*real)(int, const char *, int, const char *, unsigned);
    if (!real)
        real = (int (*)(int, const char *, int, const char *, unsigned))(uintptr_t)dlsym(
            RTLD_NEXT, "renameat2");
    struct io_event e = {.kind = flags & RENAME_EXCHANGE ? IO_EXCHANGE : IO_RENAME};
    pthread_mutex_lock(&lock);
    bool is_ours = is_below(from) && is_below(to);
    int code = is_ours ? name_fails() : 0;
    bool known = is_ours && split(from, &e.parent, e.name) && split(to, &e.parent2, e.name2);
    int rc = code ? -1 : real(AT_FDCWD, from, AT_FDCWD, to, flags), saved = code ? code : errno;
    if (rc == 0 && known)
        put(e, NULL);
    pthread_mutex_unlock(&lock);
    errno = saved;
    return rc;
}

int rename(const char *from, const char *to)
{
    return rename_recorded(from, to, 0);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    return rename_recorded(from, to, 0); /* absolute paths only: see Limits */
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    return rename_recorded(from, to, flags);
}

static int remove_recorded(const char *path, enum io_kind kind)
{
    static int (*real[2])(const char *);
    if (!real[0]) {
        real[1] = (int (*)(const char *))(uintptr_t)dlsym(RTLD_NEXT, "rmdir");
        real[0] = (int (*)(const char *))(uintptr_t)dlsym(RTLD_NEXT, "unlink");
    }
    struct io_event e = {.kind = (uint8_t)kind};
    pthread_mutex_lock(&lock);
    bool is_ours = is_below(path);
    int code = is_ours ? name_fails() : 0;
    bool known = is_ours && split(path, &e.parent, e.name);
    int rc = code ? -1 : real[kind == IO_RMDIR](path), saved = code ? code : errno;
    if (rc == 0 && known)
        put(e, NULL);
    pthread_mutex_unlock(&lock);
    errno = saved;
    return rc;
}

int unlink(const char *path)
{
    return remove_recorded(path, IO_UNLINK);
}

int rmdir(const char *path)
{
    return remove_recorded(path, IO_RMDIR);
}

/* --- bytes --------------------------------------------------------------------------------------- */

static ssize_t real_pwrite(int fd, const void *data, size_t size, off_t at)
{
    REAL(pwrite);
    return real(fd, data, size, at);
}

static ssize_t real_write(int fd, const void *data, size_t size)
{
    REAL(write);
    return real(fd, data, size);
}

static bool is_recorded(int fd)
{
    return fd >= 0 && fd < FDS_MAX && fds[fd].inode != 0;
}

/* at < 0: at the descriptor's own position. */
static ssize_t write_recorded(int fd, const void *data, size_t size, off_t at)
{
    pthread_mutex_lock(&lock);
    if (!is_recorded(fd)) {
        pthread_mutex_unlock(&lock);
        return at < 0 ? real_write(fd, data, size) : real_pwrite(fd, data, size, at);
    }
    bool failing = fails(IO_CLASS_WRITE);
    ssize_t n = -1;
    int saved = fault.error;
    if (!failing || !fault.error) {
        size_t some = failing ? size / 2 : size;
        n = at < 0 ? real_write(fd, data, some) : real_pwrite(fd, data, some, at);
        saved = errno;
    }
    if (n > 0) {
        off_t begin = at < 0 ? lseek(fd, 0, SEEK_CUR) - n : at;
        struct io_event e = {.kind = IO_WRITE,
                             .inode = fds[fd].inode,
                             .offset = (uint64_t)begin,
                             .size = (uint32_t)n};
        put(e, data);
        if (fds[fd].is_sync)
            put((struct io_event){.kind = IO_SYNC_WRITE, .inode = e.inode}, NULL);
    }
    pthread_mutex_unlock(&lock);
    errno = saved;
    return n;
}

ssize_t write(int fd, const void *data, size_t size)
{
    return write_recorded(fd, data, size, -1);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at)
{
    return write_recorded(fd, data, size, at);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off_t at)
{
    return write_recorded(fd, data, size, at);
}

/* One write call, however many pieces: gathered here, since the whole may fail or be cut short. */
static ssize_t writev_recorded(int fd, const struct iovec *parts, int count, off_t at)
{
    size_t size = 0, used = 0;
    for (int i = 0; i < count; i++)
        size += parts[i].iov_len;
    uint8_t *all = malloc(size + 1);
    if (!all) {
        errno = ENOMEM;
        return -1;
    }
    for (int i = 0; i < count; i++) {
        memcpy(all + used, parts[i].iov_base, parts[i].iov_len);
        used += parts[i].iov_len;
    }
    ssize_t n = write_recorded(fd, all, size, at);
    int saved = errno;
    free(all);
    errno = saved;
    return n;
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    return writev_recorded(fd, parts, count, -1);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at)
{
    return writev_recorded(fd, parts, count, at);
}

static int resize_recorded(int fd, off_t size, int (*call)(int, off_t))
{
    pthread_mutex_lock(&lock);
    int rc, saved = 0;
    if (is_recorded(fd) && fails(IO_CLASS_WRITE)) {
        rc = -1;
        saved = fault.error ? fault.error : EIO;
    } else {
        rc = call(fd, size);
        saved = errno;
        if (rc == 0 && is_recorded(fd))
            put((struct io_event){.kind = IO_SIZE,
                                  .inode = fds[fd].inode,
                                  .offset = (uint64_t)size},
                NULL);
    }
    pthread_mutex_unlock(&lock);
    errno = saved;
    return rc;
}

static int real_ftruncate(int fd, off_t size)
{
    REAL(ftruncate);
    return real(fd, size);
}

int ftruncate(int fd, off_t size)
{
    return resize_recorded(fd, size, real_ftruncate);
}

int ftruncate64(int fd, off_t size)
{
    return resize_recorded(fd, size, real_ftruncate);
}

/* Grows a file at most; reports by its return value. */
int posix_fallocate(int fd, off_t at, off_t size)
{
    REAL(posix_fallocate);
    struct stat st;
    pthread_mutex_lock(&lock);
    int rc = is_recorded(fd) && fails(IO_CLASS_WRITE) ? (fault.error ? fault.error : ENOSPC)
                                                      : real(fd, at, size);
    if (rc == 0 && is_recorded(fd) && fstat(fd, &st) == 0)
        put((struct io_event){.kind = IO_SIZE,
                              .inode = fds[fd].inode,
                              .offset = (uint64_t)st.st_size},
            NULL);
    pthread_mutex_unlock(&lock);
    return rc;
}

static int sync_recorded(int fd, int (*call)(int))
{
    pthread_mutex_lock(&lock);
    bool ours = is_recorded(fd);
    int code = ours && fails(IO_CLASS_SYNC) ? (fault.error ? fault.error : EIO) : 0;
    int rc = code ? -1 : call(fd), saved = code ? code : errno;
    if (rc == 0 && ours)
        put((struct io_event){.kind = fds[fd].is_dir ? IO_SYNC_DIR : IO_SYNC,
                              .inode = fds[fd].inode},
            NULL);
    pthread_mutex_unlock(&lock);
    errno = saved;
    return rc;
}

static int real_fsync(int fd)
{
    REAL(fsync);
    return real(fd);
}

static int real_fdatasync(int fd)
{
    REAL(fdatasync);
    return real(fd);
}

int fsync(int fd)
{
    return sync_recorded(fd, real_fsync);
}

int fdatasync(int fd)
{
    return sync_recorded(fd, real_fdatasync);
}

#ifdef TELLTALE_PRELOAD
/* As a preloaded library: TELLTALE_IO_FAULT="ROOT CLASS AT FOREVER ERRNO", numbers as in struct io_fault. */
__attribute__((constructor)) static void record_io_preload(void)
{
    const char *text = getenv("TELLTALE_IO_FAULT");
    char path[900];
    unsigned class, forever;
    unsigned long at;
    int error;
    if (!text || sscanf(text, "%899s %u %lu %u %d", path, &class, &at, &forever, &error) != 5 ||
        class >= IO_CLASS_COUNT)
        return;
    struct io_fault f = {(enum io_class) class, at, forever != 0, error};
    record_io_begin(path, NULL);
    record_io_fail(&f);
}
#endif
