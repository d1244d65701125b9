/* How long an acknowledgement takes, beside what the disk takes, by turns in the same seconds on the same file system:
 * append -> done one request at a time and eight at a time beside raw fdatasync of a file that is written at its end; and requests that
 * come evenly at half the rate that the store takes at most, beside a bare LMDB transaction of as many bytes.
 *
 *   ack [--dir DIR] [--rounds N]       one round: 20 appends, 20 x 8 appends, 20 syncs; 20 paced requests, 20 bare transactions
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "tsdb/files.h"
#include "tsdb/lmdb_env.h"
#include "tsdb/helper_rows.h"

#define PER_ROUND 20u
#define TOGETHER 8u
#define ROWS 20u
#define PACED_ROWS \
    350u /* of a request that comes by the clock: what an SDK's exporter or a collector sends */
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

/* --- at half the maximum rate -------------------------------------------------------------------- */

/* A request whose answer nobody waits for before the next one is sent. */
struct paced {
    struct flight *flight;
    int64_t begin_ns;
};

static void paced_answered(void *ctx, enum err e, const struct tsdb_result *r)
{
    struct paced *p = ctx;
    struct flight *f = p->flight;
    int64_t took = clock_mono_ns() - p->begin_ns;
    (void)r;
    pthread_mutex_lock(&f->lock);
    f->failed += e != ERR_OK;
    if (f->times)
        f->times->ns[f->times->n++] = took;
    f->waiting--;
    pthread_cond_signal(&f->come);
    pthread_mutex_unlock(&f->lock);
}

static void wait_until_fewer(struct flight *f, unsigned than)
{
    pthread_mutex_lock(&f->lock);
    while (f->waiting >= than)
        pthread_cond_wait(&f->come, &f->lock);
    pthread_mutex_unlock(&f->lock);
}

static void sleep_until(int64_t mono_ns)
{
    struct timespec ts = {mono_ns / 1000000000, mono_ns % 1000000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) != 0)
        ;
}

/* PER_ROUND requests, made beforehand: every interval_ns, or two at a time as fast as they are answered (0). Gives the time it took. */
static bool send_paced(struct tsdb *db, int64_t interval_ns, uint64_t *next, struct times *times,
                       int64_t *out_ns)
{
    struct flight f = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, 0, times};
    struct tsdb_batch *b[PER_ROUND];
    struct paced p[PER_ROUND];
    bool ok = true;
    for (unsigned i = 0; i < PER_ROUND; i++, *next += PACED_ROWS)
        if (!(b[i] = rows_batch(tsdb_series(db), *next, PACED_ROWS, *next + 1)))
            return false;
    int64_t begin = clock_mono_ns();
    for (unsigned i = 0; i < PER_ROUND && ok; i++) {
        if (interval_ns)
            sleep_until(begin + i * interval_ns);
        else
            wait_until_fewer(&f, 2);
        p[i] = (struct paced){&f, clock_mono_ns()};
        pthread_mutex_lock(&f.lock);
        f.waiting++;
        pthread_mutex_unlock(&f.lock);
        ok = tsdb_append(db, &b[i], paced_answered, &p[i]) == ERR_OK;
    }
    if (ok)
        wait_until_fewer(&f, 1);
    *out_ns = clock_mono_ns() - begin;
    return ok && f.failed == 0;
}

static bool commit_bare(struct lmdb_env *env, struct bytes value, uint64_t *key,
                        int64_t interval_ns, struct times *times)
{
    int64_t due = clock_mono_ns();
    struct err_msg msg;
    for (unsigned i = 0; i < PER_ROUND; i++, due += interval_ns) {
        struct lmdb_txn *t;
        uint8_t k[8];
        sleep_until(due);
        bytes_put_u64be(k, ++*key);
        int64_t begin = clock_mono_ns();
        if (lmdb_env_begin(env, true, &t, &msg) != ERR_OK ||
            lmdb_txn_put(t, 0, bytes_of(k, 8), value, &msg) != ERR_OK ||
            lmdb_txn_commit(t, &msg) != ERR_OK)
            return false;
        times->ns[times->n++] = clock_mono_ns() - begin;
    }
    return true;
}

struct pace {
    struct times acks, bare;
    double rate; /* requests/s at most */
    size_t bytes; /* of a request in the journal */
};

static bool pace(struct tsdb *db, const char *dir, unsigned rounds, uint64_t *next, struct pace *p)
{
    char path[600];
    struct err_msg msg = {""};
    struct tsdb_status before, after;
    struct lmdb_env *env = NULL;
    int64_t took, all = 0;
    uint64_t key = 0;
    snprintf(path, sizeof(path), "%s/bare", dir);
    bool ok = files_make_dir(path, &msg) == ERR_OK &&
              lmdb_env_open(path, LMDB_ENV_MAP(4ull << 30), NULL, &env, &msg) == ERR_OK;
    tsdb_status_get(db, &before);
    for (unsigned r = 0; r < 5 && ok; r++, all += took)
        ok = send_paced(db, 0, next, NULL, &took);
    tsdb_status_get(db, &after);
    p->rate = all ? 5.0 * PER_ROUND * 1e9 / (double)all : 0;
    p->bytes = after.journal_bytes > before.journal_bytes
                   ? (after.journal_bytes - before.journal_bytes) / (5 * PER_ROUND)
                   : 64u << 10; /* a generation ended meanwhile */
    uint8_t *value = calloc(1, p->bytes);
    int64_t interval = p->rate > 0 ? (int64_t)(2e9 / p->rate) : 0;
    ok = ok && value && interval;
    for (unsigned r = 0; r < rounds && ok; r++)
        ok = send_paced(db, interval, next, &p->acks, &took) &&
             commit_bare(env, bytes_of(value, p->bytes), &key, interval, &p->bare);
    lmdb_env_close(env);
    free(value);
    return ok;
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

static void say_pace(struct pace *p)
{
    char what[64];
    snprintf(what, sizeof(what), "bare LMDB, %zu bytes", p->bytes);
    say(what, &p->bare);
    snprintf(what, sizeof(what), "ack, %u spans, %.0f/s", PACED_ROWS, p->rate / 2);
    say(what, &p->acks);
    printf("at half the rate: p50 %.1f x, p99 %.1f x the bare transaction\n",
           (double)p->acks.ns[p->acks.n / 2] / (double)p->bare.ns[p->bare.n / 2],
           (double)p->acks.ns[p->acks.n * 99 / 100] / (double)p->bare.ns[p->bare.n * 99 / 100]);
}

int main(int argc, char **argv)
{
    static struct times one, many, raw;
    static struct pace paced;
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
    ok = ok && pace(db, dir, rounds, &next, &paced);
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
    say_pace(&paced);
    return one.n == rounds * PER_ROUND && many.n == rounds * PER_ROUND * TOGETHER &&
                   paced.acks.n == rounds * PER_ROUND
               ? 0
               : 1;
}
