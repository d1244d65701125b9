#include "bench_frames.h"

#include <ftw.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "tsdb/files.h"

void bench_fail(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

double bench_now_ms(void)
{
    return (double)clock_mono_ns() / 1e6;
}

double bench_cpu_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void open_in_dir(struct bench_store *s)
{
    struct err_msg msg = {""};
    struct stage_options so = {0};
    if (stage_new(&so, &s->stage, &msg) != ERR_OK)
        bench_fail("stage: %s", msg.text);
    struct tsdb_options o = {.dir = s->dir,
                             .memory_limit_bytes = (uint64_t)1 << 30,
                             .retention_ms = INT64_C(3155760000000),
                             .retention_content_ms = INT64_C(3155760000000),
                             .settler = stage_settler(s->stage)};
    if (tsdb_open(&o, &s->db, &msg) != ERR_OK)
        bench_fail("store: %s", msg.text);
    stage_set_series(s->stage, tsdb_series(s->db));
}

void bench_store_open(struct bench_store *s, const char *dir, const char *parent)
{
    memset(s, 0, sizeof(*s));
    log_set_level(LOG_LEVEL_WARN);
    s->is_ours = !dir;
    snprintf(s->dir, sizeof(s->dir), "%s%s", dir ? dir : parent,
             dir ? "" : "/telltale-bench-XXXXXX");
    if (s->is_ours ? !mkdtemp(s->dir) : mkdir(s->dir, 0700) != 0 && access(s->dir, W_OK) != 0)
        bench_fail("no directory %s", s->dir);
    open_in_dir(s);
}

void bench_store_close(struct bench_store *s)
{
    tsdb_close(s->db, false);
    stage_free(s->stage);
    if (s->is_ours)
        files_remove_tree(s->dir);
}

void bench_store_reopen(struct bench_store *s)
{
    tsdb_close(s->db, false);
    stage_free(s->stage);
    open_in_dir(s);
}

struct answer {
    pthread_mutex_t lock;
    pthread_cond_t come;
    bool is_there;
    enum err e;
};

static void answered(void *ctx, enum err e, const struct tsdb_result *r)
{
    struct answer *a = ctx;
    (void)r;
    pthread_mutex_lock(&a->lock);
    a->e = e;
    a->is_there = true;
    pthread_cond_signal(&a->come);
    pthread_mutex_unlock(&a->lock);
}

void bench_store_append(struct bench_store *s, struct tsdb_batch *take_b)
{
    struct answer a = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, ERR_OK};
    struct err_msg msg = {""};
    if (stage_apply(s->stage, take_b, &msg) != ERR_OK)
        bench_fail("stage: %s", msg.text);
    while (tsdb_append(s->db, &take_b, answered, &a) != ERR_OK)
        usleep(20000); /* the store pushes back while it seals */
    pthread_mutex_lock(&a.lock);
    while (!a.is_there)
        pthread_cond_wait(&a.come, &a.lock);
    pthread_mutex_unlock(&a.lock);
    if (a.e != ERR_OK)
        bench_fail("append: %s", err_name(a.e));
}

static struct tsdb_batch *decode(struct bench_store *s, uint8_t *body, size_t size,
                                 enum tsdb_signal signal)
{
    struct tsdb_batch *b;
    struct err_msg msg = {""};
    struct otlp_decode_options o = {.org = TSDB_ORG_DEFAULT,
                                    .signal = signal,
                                    .series = tsdb_series(s->db),
                                    .now_ns = clock_wall_ns()};
    if (otlp_decode(&o, body, size, &b, &msg) != ERR_OK)
        bench_fail("decode: %s", msg.text);
    return b;
}

void bench_store_send(struct bench_store *s, struct bytes body, enum tsdb_signal signal)
{
    uint8_t *copy = malloc(body.size + 1); /* the batch keeps it */
    if (!copy)
        bench_fail("no memory");
    memcpy(copy, body.data, body.size);
    bench_store_append(s, decode(s, copy, body.size, signal));
}

void bench_store_settle(struct bench_store *s)
{
    struct err_msg msg = {""};
    if (tsdb_flush(s->db, true, &msg) != ERR_OK)
        bench_fail("flush: %s", msg.text);
}

uint64_t bench_store_feed(struct bench_store *s, const char *path, enum tsdb_signal signal,
                          uint64_t max, void (*see)(void *ctx, const struct tsdb_batch *b),
                          void *ctx)
{
    FILE *f = fopen(path, "rb");
    uint8_t head[16];
    uint64_t items = 0;
    if (!f)
        bench_fail("no file %s", path);
    while ((!max || items < max) && fread(head, sizeof(head), 1, f) == 1) {
        struct reader r = reader_of(bytes_of(head, sizeof(head)));
        uint32_t size = reader_u32(&r), count = reader_u32(&r);
        uint8_t *body = malloc(size ? size : 1);
        if (!body || fread(body, 1, size, f) != size)
            bench_fail("%s ends in the middle of a request", path);
        struct tsdb_batch *b = decode(s, body, size, signal);
        if (see)
            see(ctx, b);
        bench_store_append(s, b);
        items += count;
    }
    fclose(f);
    return items;
}

static uint64_t disk_bytes;

static int add_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)path, (void)ftw;
    if (type == FTW_F)
        disk_bytes += (uint64_t)st->st_blocks * 512;
    return 0;
}

uint64_t bench_store_disk_bytes(const struct bench_store *s)
{
    char parts[600];
    snprintf(parts, sizeof(parts), "%s/parts", s->dir);
    disk_bytes = 0;
    if (nftw(parts, add_file, 16, FTW_PHYS) != 0)
        bench_fail("no directory %s", parts);
    return disk_bytes;
}

void bench_times_add(struct bench_times *t, double ms)
{
    if (t->n < BENCH_TIMES_MAX)
        t->ms[t->n++] = ms;
}

static int by_value(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

double bench_times_at(struct bench_times *t, double quantile)
{
    if (t->n == 0)
        return 0;
    qsort(t->ms, t->n, sizeof(t->ms[0]), by_value);
    size_t at = (size_t)(quantile * (double)t->n);
    return t->ms[at < t->n ? at : t->n - 1];
}
