/* Token events decoded, assembled and journaled: events a CPU second of all threads, memory of open streams, bytes of a stored timeline.
 *
 *   tokens [--events N] [--open N] [--dir DIR]         by hand: --events 10000000 --open 100000
 * Protobuf messages of 256 events through tokens_decode, stage_apply and tsdb_append. Each stream has 200 events about 20 ms apart (the longest
 * 60 ms), one token each, a start and an end; `open` streams run side by side, 16 events of 16 streams a message.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/check.h"
#include "base/clock.h"
#include "collector/stage/stage.h"
#include "collector/tokens/tokens.h"
#include "collector/tokens/tokens_open.h"
#include "tsdb/tsdb_read.h"

#define PER_STREAM 200u
#define RUN 16u /* events of a stream in a message, and streams of a message */
#define T0_NS INT64_C(1795168800000000000)
#define WAITING_MAX 64

static uint64_t seed = 1;
static uint32_t rnd(uint32_t below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((seed >> 33) * below >> 31);
}

static _Atomic int waiting;
static void done(void *ctx, enum err e, const struct tsdb_result *r)
{
    CHECK(e == ERR_OK);
    atomic_fetch_sub(&waiting, 1);
}

static double cpu(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

struct lane {
    uint64_t stream;
    int64_t at_ns;
    uint32_t sent;
};

static void put_field(struct buf *out, unsigned number, struct bytes b)
{
    buf_varint(out, number << 3 | 2);
    buf_lenbytes(out, b);
}

static void put_event(struct buf *out, struct lane *l)
{
    uint8_t e[32] = {1 << 3 | 1};
    size_t n = 9;
    uint32_t i = l->sent++;
    if (i == 0)
        l->at_ns = T0_NS + rnd(1000000000);
    bytes_put_u64le(e + 1, (uint64_t)l->at_ns);
    if (i == 0 || i == PER_STREAM - 1) {
        e[n++] = 2 << 3;
        e[n++] = i ? 2 : 1;
    }
    if (i == PER_STREAM - 1) {
        memcpy(e + n, "\x4a\x04stop", 6);
        n += 6;
    }
    put_field(out, 12, bytes_of(e, n));
    l->at_ns += 5000000 + (int64_t)(rnd(8) ? rnd(30000000) : rnd(55000000));
}

static void put_message(struct buf *out, struct lane *lanes, uint64_t first, uint64_t count,
                        uint64_t *next)
{
    struct buf one = {0};
    buf_clear(out);
    put_field(out, 6, BYTES_LIT("gateway"));
    put_field(out, 8, BYTES_LIT("gpt-4o"));
    for (uint64_t k = 0; k < count; k++) {
        struct lane *l = &lanes[first + k];
        uint8_t ids[24] = {1};
        if (l->sent == PER_STREAM)
            *l = (struct lane){.stream = (*next)++};
        buf_clear(&one);
        bytes_put_u64le(ids + 8, l->stream + 1);
        bytes_put_u64le(ids + 16, l->stream + 1);
        put_field(&one, 2, bytes_of(ids, 16));
        put_field(&one, 3, bytes_of(ids + 16, 8));
        for (uint32_t i = 0; i < RUN && l->sent < PER_STREAM; i++)
            put_event(&one, l);
        put_field(out, 1, buf_bytes(&one));
    }
    buf_done(&one);
}

static uint64_t run(struct tsdb *db, struct stage *stage, struct lane *lanes, uint64_t open,
                    uint64_t events, uint64_t *streams, double *making)
{
    struct buf message = {0};
    struct tokens_options o = {.encoding = TOKENS_PROTOBUF, .now_ns = T0_NS + 60000000000};
    struct err_msg msg;
    uint64_t sent = 0, at = 0;
    int64_t received = clock_wall_ns();
    while (sent < events) {
        struct tsdb_batch *b = tsdb_batch_new(TSDB_ORG_DEFAULT, TSDB_TOKENS, 512u << 20);
        CHECK(b);
        for (int m = 0; m < 32; m++) { /* messages of a batch, as Kafka gives them */
            double begin = cpu();
            uint64_t count = MIN(RUN, open - at);
            put_message(&message, lanes, at, count, streams);
            at = (at + count) % open;
            *making += cpu() - begin;
            CHECK(tokens_decode(b, buf_bytes(&message), &o, &msg) == ERR_OK);
        }
        CHECK(tsdb_batch_rejected(b) == 0);
        sent += b->received;
        b->received_ns =
            received + (int64_t)(sent * 5000); /* so that ended streams are told of on the way */
        CHECK(stage_apply(stage, b, &msg) == ERR_OK);
        while (atomic_load(&waiting) >= WAITING_MAX)
            clock_sleep_ms(1);
        atomic_fetch_add(&waiting, 1);
        enum err e;
        while ((e = tsdb_append(db, &b, done, NULL)) == ERR_UNAVAILABLE)
            clock_sleep_ms(1);
        CHECK(e == ERR_OK);
    }
    while (atomic_load(&waiting))
        clock_sleep_ms(1);
    buf_done(&message);
    return sent;
}

static bool add_timeline(void *ctx, const struct tsdb_logs *l, uint32_t row)
{
    uint64_t *sum = ctx;
    struct tsdb_value v;
    if (tsdb_attrs_find(l->attrs[row], BYTES_LIT("timeline"), &v)) {
        sum[0] += v.bytes.size;
        if (tsdb_attrs_find(l->attrs[row], BYTES_LIT("tokens_output"), &v))
            sum[1] += (uint64_t)v.integer;
    }
    return false;
}

int main(int argc, char **argv)
{
    uint64_t events = 20000, open = 100, streams;
    char dir[256] = "/tmp/telltale-bench-XXXXXX";
    struct err_msg msg;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--events") == 0)
            events = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--open") == 0)
            open = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--dir") == 0)
            snprintf(dir, sizeof dir, "%s/telltale-bench-XXXXXX", argv[i + 1]);
    }
    CHECK(open && mkdtemp(dir));
    struct stage *stage;
    struct tsdb *db;
    CHECK(stage_new(NULL, &stage, &msg) == ERR_OK);
    struct tsdb_settler settler = stage_settler(stage);
    struct tsdb_options o = {.dir = dir, .settler = settler, .memory_limit_bytes = 4ull << 30};
    CHECK(tsdb_open(&o, &db, &msg) == ERR_OK);
    stage_set_series(stage, tsdb_series(db));
    struct lane *lanes = calloc(open, sizeof *lanes);
    CHECK(lanes);
    for (streams = 0; streams < open; streams++)
        lanes[streams].stream = streams;
    double making = 0, begin = cpu();
    uint64_t sent = run(db, stage, lanes, open, events, &streams, &making);
    double took = cpu() - begin - making;
    uint64_t sum[2] = {0, 0};
    struct tsdb_view *v;
    struct arena *a = arena_new(0);
    struct tsdb_logs out = {0};
    struct tsdb_log_filter all = {.max_ns = INT64_MAX, .keep = add_timeline, .ctx = sum};
    CHECK(tsdb_view_open(db, TSDB_ORG_DEFAULT, NULL, &v) == ERR_OK);
    CHECK(tsdb_log_scan(v, &all, 1, a, &out) == ERR_OK);
    tsdb_view_close(v);
    printf("tokens: %llu events, %llu streams open, %llu begun: %.3f s CPU, %.2f million events a "
           "CPU second; %llu tokens told of, %.2f bytes of timeline each\n",
           (unsigned long long)sent, (unsigned long long)open, (unsigned long long)streams, took,
           (double)sent / took / 1e6, (unsigned long long)sum[1],
           sum[1] ? (double)sum[0] / (double)sum[1] : 0.0);
    arena_free(a);
    free(lanes);
    tsdb_close(db, false);
    stage_free(stage);
    return 0;
}
