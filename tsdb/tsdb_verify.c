#include "tsdb/tsdb_verify.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "tsdb/files.h"
#include "tsdb/part_store.h"
#include "tsdb/store_format.h"
#include "tsdb/verify_core.h"

#define LINE_MAX_BYTES 1024u
#define SECONDS_MIN 10u
#define BYTES_PER_SECOND_MIN 1000000

struct run {
    const char *dir;
    const struct tsdb_verify_sink *sink;
    struct tsdb_verify_report *report; /* in memory that the children share */
    uint64_t *flushed; /* likewise */
    struct err_msg *msg;
};

__attribute__((format(printf, 3, 0))) static void tell(const struct verify_env *v, char kind,
                                                       const char *fmt, va_list args)
{
    char line[LINE_MAX_BYTES];
    int n = vsnprintf(line + 1, sizeof(line) - 2, fmt, args);
    size_t size = 1 + (n < 0 ? 0 : MIN((size_t)n, sizeof(line) - 3));
    line[0] = kind;
    for (size_t i = 1; i < size; i++)
        line[i] = line[i] == '\n' ? ' ' : line[i];
    line[size++] = '\n';
    ssize_t written = write(v->pipe, line, size);
    (void)written; /* the parent is gone: then nobody listens, and the count stands in no report */
}

void verify_say(struct verify_env *v, const char *fmt, ...)
{
    va_list args;
    v->report->problems++;
    if (v->told++ >= TSDB_VERIFY_PROBLEMS_MAX)
        return;
    va_start(args, fmt);
    tell(v, 'p', fmt, args);
    va_end(args);
}

void verify_say_quarantined(struct verify_env *v, const char *fmt, ...)
{
    va_list args;
    v->report->quarantined++;
    va_start(args, fmt);
    tell(v, 'q', fmt, args);
    va_end(args);
}

/* --- a process for each environment -------------------------------------------------------------- */

typedef void (*env_fn)(struct verify_env *v);

static void read_lines(const struct run *r, const char *where, int fd)
{
    char text[LINE_MAX_BYTES + 1];
    size_t n = 0;
    for (;;) {
        ssize_t got = read(fd, text + n, LINE_MAX_BYTES - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return;
        n += (size_t)got;
        for (char *end; (end = memchr(text, '\n', n));) {
            *end = 0;
            if (text[0] == 'p')
                r->sink->problem(r->sink->ctx, where, text + 1);
            else if (r->sink->quarantined)
                r->sink->quarantined(r->sink->ctx, text + 1);
            size_t used = (size_t)(end - text) + 1;
            memmove(text, text + used, n -= used);
        }
    }
}

static void child(struct verify_env *v, env_fn fn)
{
    static const int deadly[] = {SIGSEGV, SIGBUS, SIGFPE, SIGABRT, SIGILL, SIGALRM};
    for (size_t i = 0; i < ARRAY_LEN(deadly); i++)
        (void)signal(deadly[i], SIG_DFL); /* the parent tells of it, no handler of ours */
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (null >= 0)
        dup2(null, 2); /* what a library says as it gives up */
    char file[FILES_PATH_MAX + 16];
    struct stat st;
    snprintf(file, sizeof(file), "%s/data.mdb", v->path);
    if (stat(file, &st) == 0) /* pages that lead in circles would be followed for ever */
        alarm(SECONDS_MIN + (unsigned)(st.st_size / BYTES_PER_SECOND_MIN));
    fn(v);
    _exit(0);
}

static enum err in_child(struct run *r, struct verify_env *v, const char *where, env_fn fn)
{
    int fds[2], status = 0;
    if (r->sink->progress)
        r->sink->progress(r->sink->ctx, where);
    if (pipe(fds) != 0)
        return err_set(r->msg, ERR_IO, "cannot make a pipe: %s", strerror(errno));
    v->report = r->report;
    v->pipe = fds[1];
    v->flushed = r->flushed;
    pid_t pid = fork();
    if (pid < 0) {
        close(fds[0]);
        close(fds[1]);
        return err_set(r->msg, ERR_IO, "cannot start a process: %s", strerror(errno));
    }
    if (pid == 0) {
        close(fds[0]);
        child(v, fn);
    }
    close(fds[1]);
    read_lines(r, where, fds[0]);
    close(fds[0]);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    r->report->environments++;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return ERR_OK;
    char text[160];
    int sig = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    snprintf(text, sizeof(text),
             "its pages cannot be followed: data.mdb is truncated or mangled (%s %d while reading)",
             sig ? "signal" : "exit", sig ? sig : WEXITSTATUS(status));
    r->report->problems++;
    r->sink->problem(r->sink->ctx, where, text);
    return ERR_OK;
}

/* --- the directory ------------------------------------------------------------------------------- */

static enum err check_version(struct run *r, struct arena *a)
{
    char path[FILES_PATH_MAX];
    struct bytes text;
    snprintf(path, sizeof(path), "%s/VERSION", r->dir);
    enum err e = files_read(path, 256, a, &text, r->msg);
    if (e == ERR_NOT_FOUND)
        return err_set(r->msg, e, "%s is no data directory: it has no VERSION", r->dir);
    if (e != ERR_OK)
        return e;
    e = store_version_check(text, r->dir, r->msg);
    if (e != ERR_CORRUPT)
        return e;
    r->report->problems++;
    r->sink->problem(r->sink->ctx, "VERSION", "is not understood");
    return ERR_OK;
}

static enum err check_journals(struct run *r, struct arena *a)
{
    char path[FILES_PATH_MAX], where[64];
    char **names;
    size_t n;
    uint64_t generation;
    snprintf(path, sizeof(path), "%s/journal", r->dir);
    enum err e = files_list(path, false, a, &names, &n, r->msg);
    for (size_t i = 0; i < n && e == ERR_OK; i++) {
        if (!bytes_to_u64(bytes_str(names[i]), &generation))
            continue;
        snprintf(path, sizeof(path), "%s/journal/%s", r->dir, names[i]);
        snprintf(where, sizeof(where), "journal/%.20s", names[i]);
        struct verify_env v = {.path = path};
        e = in_child(r, &v, where, verify_journal);
    }
    return e;
}

static enum err check_parts(struct run *r, struct arena *a)
{
    char path[FILES_PATH_MAX], where[64];
    char **days;
    size_t n;
    snprintf(path, sizeof(path), "%s/parts", r->dir);
    enum err e = files_list(path, false, a, &days, &n, r->msg);
    for (size_t i = 0; i < n && e == ERR_OK; i++) {
        struct tm tm = {0};
        if (strlen(days[i]) != 8 ||
            sscanf(days[i], "%4d%2d%2d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday) != 3)
            continue;
        tm.tm_year -= 1900;
        tm.tm_mon--;
        for (unsigned c = 0; c < PART_CLASS_COUNT && e == ERR_OK; c++) {
            char day_dir[FILES_PATH_MAX - PART_NAME_MAX], name[PART_NAME_MAX];
            snprintf(day_dir, sizeof(day_dir), "%s/parts/%s", r->dir, days[i]);
            e = part_name(day_dir, (enum part_class)c, name);
            snprintf(path, sizeof(path), "%s/%s", day_dir, name);
            snprintf(where, sizeof(where), "parts/%.8s/%s", days[i], name);
            struct verify_env v = {
                .path = path, .day = (uint32_t)(timegm(&tm) / 86400), .class = c};
            if (e == ERR_OK && access(path, F_OK) == 0)
                e = in_child(r, &v, where, verify_part);
        }
    }
    return e;
}

/* Shared: two processes may look at once, no server may start meanwhile. */
static enum err lock_dir(const struct run *r, int *out_fd)
{
    char path[FILES_PATH_MAX];
    snprintf(path, sizeof(path), "%s/LOCK", r->dir);
    *out_fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*out_fd < 0)
        return errno == ENOENT
                   ? ERR_OK
                   : err_set(r->msg, ERR_IO, "cannot open %s: %s", path, strerror(errno));
    if (flock(*out_fd, LOCK_SH | LOCK_NB) == 0)
        return ERR_OK;
    close(*out_fd);
    *out_fd = -1;
    return err_set(r->msg, ERR_CONFLICT, "%s is in use by a running telltale; stop it first",
                   r->dir);
}

enum err tsdb_verify_run(const char *dir, const struct tsdb_verify_sink *sink,
                         struct tsdb_verify_report *out, struct err_msg *msg)
{
    struct shared {
        struct tsdb_verify_report report;
        uint64_t flushed;
    } *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct arena *a = arena_new(0);
    char path[FILES_PATH_MAX];
    int lock = -1;
    if (shared == MAP_FAILED || !a) {
        arena_free(a);
        return err_set(msg, ERR_NOMEM, "no memory to verify %s", dir);
    }
    struct run r = {dir, sink, &shared->report, &shared->flushed, msg};
    enum err e = lock_dir(&r, &lock);
    if (e == ERR_OK)
        e = check_version(&r, a);
    snprintf(path, sizeof(path), "%s/state", dir);
    if (e == ERR_OK && access(path, F_OK) == 0) {
        struct verify_env v = {.path = path};
        e = in_child(&r, &v, "state", verify_state);
    }
    snprintf(path, sizeof(path), "%s/ledger", dir);
    if (e == ERR_OK && access(path, F_OK) == 0) {
        struct verify_env v = {.path = path};
        e = in_child(&r, &v, "ledger", verify_ledger);
    }
    if (e == ERR_OK)
        e = check_journals(&r, a);
    if (e == ERR_OK)
        e = check_parts(&r, a);
    if (lock >= 0)
        close(lock);
    arena_free(a);
    if (e == ERR_OK)
        *out = shared->report;
    munmap(shared, sizeof(*shared));
    return e;
}
