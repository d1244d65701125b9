#include "base/file_in.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"

#define PIECE ((size_t)1 << 20)

static enum err read_all(int fd, const char *path, size_t bytes_max, struct buf *out,
                         struct err_msg *msg)
{
    for (;;) {
        /* one byte more than is allowed tells a file that is too large */
        size_t room = MIN(PIECE, bytes_max + 1 - out->size);
        if (!buf_reserve(out, room))
            return err_set(msg, ERR_NOMEM, "%s: out of memory", path);
        ssize_t n = read(fd, out->data + out->size, room);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set(msg, errno == EISDIR ? ERR_INVALID : ERR_IO, "%s cannot be read (%s)",
                           path, strerror(errno));
        out->size += (size_t)n;
        if (n == 0)
            return ERR_OK;
        if (out->size > bytes_max)
            return err_set(msg, ERR_TOO_LARGE, "%s is larger than %zu bytes", path, bytes_max);
    }
}

enum err file_in_read(const char *path, size_t bytes_max, struct buf *out, struct err_msg *msg)
{
    bool standard = strcmp(path, "-") == 0;
    int fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    buf_init(out, 0);
    if (fd < 0)
        return err_set(msg, ERR_NOT_FOUND, "%s cannot be read (%s)", path, strerror(errno));
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size <= bytes_max)
        (void)buf_reserve(out, (size_t)st.st_size + 1); /* in one piece; else it grows */
    buf_clear(out);
    enum err e = read_all(fd, path, bytes_max, out, msg);
    if (!standard)
        (void)close(fd); /* only read from */
    if (e != ERR_OK) {
        buf_done(out);
        buf_init(out, 0);
    }
    return e;
}
