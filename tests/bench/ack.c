/* How long an acknowledgement takes, beside what the disk takes: append -> done one request at a time and eight at a time, and raw
 * fdatasync of a file that is written at its end, by turns in the same seconds on the same file system.
 *
 *   ack [--dir DIR] [--rounds N]       one round: 20 appends, 20 x 8 appends, 20 syncs
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "tsdb/files.h"
#include "tsdb/helper_rows.h"

#define PER_ROUND 20u
#define TOGETHER 8u
#define ROWS 20u
#define ROUNDS_MAX 1000u

struct times {
    int64_t ns[ROUNDS_MAX * PER_ROUND * TOGETHER];
    size_t n;
};

struct flight {
    pthread_mutex_t lock;
    pthread_cond_t come;
    unsigned waiting, failed;
    int64_t begin_ns;
    struct times *times;
};

static void answered(void *ctx, enum err e, const struct tsdb_result *r)
{
    struct flight *f = ctx;
    int64_t now = clock_mono_ns();
    (void)r;
    pthread_mutex_lock(&f->lock);
    f->failed += e != ERR_OK;
    f->times->ns[f->times->n++] = now - f->begin_ns;
    if (--f->waiting == 0)
        pthread_cond_signal(&f->come);
    pthread_mutex_unlock(&f->lock);
}

/* false: a request was refused. */
static bool send(struct tsdb *db, unsigned count, uint64_t *next, struct times *times)
{
    struct flight f = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, count, 0, 0, times};
    struct tsdb_batch *b[TOGETHER];
    for (unsigned i = 0; i < count; i++, *next += ROWS)
        if (!(b[i] = rows_batch(tsdb_series(db), *next, ROWS, *next + 1)))
            return false;
    f.begin_ns = clock_mono_ns();
    for (unsigned i = 0; i < count; i++)
        if (tsdb_append(db, &b[i], answered, &f) != ERR_OK)
            return false;
    pthread_mutex_lock(&f.lock);
    while (f.waiting)
        pthread_cond_wait(&f.come, &f.lock);
    pthread_mutex_unlock(&f.lock);
    return f.failed == 0;
}

static bool sync_once(int fd, struct times *times)
{
    static const char block[8192];
    int64_t begin = clock_mono_ns();
    if (write(fd, block, sizeof(block)) != (ssize_t)sizeof(block) || fdatasync(fd) != 0)
        return false;
    times->ns[times->n++] = clock_mono_ns() - begin;
    return true;
}

static int by_time(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static void say(const char *what, struct times *t)
{
    qsort(t->ns, t->n, sizeof(t->ns[0]), by_time);
    printf("%-28s n %6zu  p50 %7.2f ms  p99 %7.2f ms  max %7.2f ms\n", what, t->n,
           (double)t->ns[t->n / 2] / 1e6, (double)t->ns[t->n * 99 / 100] / 1e6,
           (double)t->ns[t->n - 1] / 1e6);
}

int main(int argc, char **argv)
{
    static struct times one, many, raw;
    const char *parent = "/tmp";
    unsigned rounds = 2;
    char dir[512], path[600];
    struct err_msg msg = {""};
    uint64_t next = 0;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--dir") == 0)
            parent = argv[i + 1];
        else if (strcmp(argv[i], "--rounds") == 0)
            rounds = (unsigned)atoi(argv[i + 1]);
    }
    snprintf(dir, sizeof(dir), "%s/telltale-ack-XXXXXX", parent);
    if (rounds == 0 || rounds > ROUNDS_MAX || !mkdtemp(dir))
        return 2;
    log_set_level(LOG_LEVEL_WARN);
    struct tsdb_options o = {.dir = dir};
    struct tsdb *db = NULL;
    snprintf(path, sizeof(path), "%s/raw", dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || tsdb_open(&o, &db, &msg) != ERR_OK) {
        fprintf(stderr, "ack: %s\n", msg.text);
        return 2;
    }
    bool ok = true;
    for (unsigned r = 0; r < rounds; r++)
        for (unsigned i = 0; i < PER_ROUND && ok; i++)
            ok =
                send(db, 1, &next, &one) && sync_once(fd, &raw) && send(db, TOGETHER, &next, &many);
    struct tsdb_status s;
    tsdb_status_get(db, &s);
    tsdb_close(db, false);
    close(fd);
    files_remove_tree(dir);
    if (!ok) {
        fprintf(stderr, "ack: a request was refused\n");
        return 1;
    }
    say("fdatasync, 8 KiB appended", &raw);
    say("ack, one request of 20 spans", &one);
    say("ack, eight at once", &many);
    printf("commits %llu, of a commit %.0f %% is the journal's write and sync\n",
           (unsigned long long)s.commits,
           s.commit_ns_total ? 100.0 * (double)s.sync_ns_total / (double)s.commit_ns_total : 0);
    return one.n == rounds * PER_ROUND && many.n == rounds * PER_ROUND * TOGETHER ? 0 : 1;
}
