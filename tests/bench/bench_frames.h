/* What measurements over spans and logs share: request files, a store fed through the real decoder and stage, times.
 *
 * A file of requests is a run of {u32 body bytes, u32 items, u32 shard, u32 points, little-endian; body}.
 * Owner: caller.  Thread: one.  Failure: ends the program with a message.
 */
#ifndef BENCH_FRAMES_H
#define BENCH_FRAMES_H

#include "collector/otlp/otlp.h"
#include "collector/stage/stage.h"
#include "tsdb/tsdb.h"

#define BENCH_TIMES_MAX 100000u

struct bench_store {
    struct tsdb *db;
    struct stage *stage;
    char dir[512];
    bool is_ours; /* dir is removed at the end */
};
/* dir NULL: a new directory below parent. */
void bench_store_open(struct bench_store *s, const char *dir, const char *parent);
void bench_store_close(struct bench_store *s);
/* Closes and opens it: series have other numbers afterwards, and nothing of it is in this process's memory. */
void bench_store_reopen(struct bench_store *s);
/* Through the stage into the store; waits for the answer. */
void bench_store_append(struct bench_store *s, struct tsdb_batch *take_b);
/* One request as sent: decoded, through the stage, into the store. */
void bench_store_send(struct bench_store *s, struct bytes body, enum tsdb_signal signal);
/* Sealed and compacted. */
void bench_store_settle(struct bench_store *s);
/* Every request of a file: decoded, seen by `see` (may be NULL) as sent, then appended. At most max items (0 = all). Returns the items. */
uint64_t bench_store_feed(struct bench_store *s, const char *path, enum tsdb_signal signal,
                          uint64_t max, void (*see)(void *ctx, const struct tsdb_batch *b),
                          void *ctx);
uint64_t bench_store_disk_bytes(
    const struct bench_store *s); /* blocks that the file system holds */

struct bench_times {
    double ms[BENCH_TIMES_MAX];
    size_t n;
};
void bench_times_add(struct bench_times *t, double ms);
double bench_times_at(struct bench_times *t, double quantile); /* sorts */
double bench_now_ms(void);
double bench_cpu_ms(void); /* of this thread: what a busy machine does not change much */
void bench_fail(const char *fmt, ...) PRINTF_LIKE(1, 2) __attribute__((noreturn));

#endif
