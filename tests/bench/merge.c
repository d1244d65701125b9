/* What it costs to merge a part once more when little has come: CPU time, with the blocks of the last merge copied as they are and with all
 * of them made anew.
 *
 *   merge [--spans N] [--dir DIR]       by hand: build/release/bench_merge --spans 400000
 *
 * Spans with a prompt of some 200 bytes in six generations are merged; then one span of an earlier hour comes, and they are merged again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/stats.h"
#include "tsdb/compact.h"
#include "tsdb/files.h"

#define T0_NS INT64_C(1795168800000000000) /* 2026-11-20T10:00:00Z */
#define GENERATIONS 6u
#define REQUEST 1000u
#define ORG TSDB_ORG_DEFAULT

static uint64_t seed = 88172645463325252u;

static int64_t wall_ns(void)
{
    return T0_NS + INT64_C(3600000000000);
}

static uint32_t rnd(uint32_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % n;
}

static double cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static struct bytes prompt(struct arena *a)
{
    static const char *const words[] = {"the",  "invoice", "of",   "my",   "order", "is",
                                        "late", "please",  "tell", "when", "it",    "comes"};
    struct buf text = {0};
    for (int i = 0; i < 30; i++)
        buf_printf(&text, "%s %x ", words[rnd(ARRAY_LEN(words))], i % 6 ? 0 : rnd(1u << 30));
    struct bytes out = arena_copy(a, buf_bytes(&text));
    buf_done(&text);
    return out;
}

static void append(struct tsdb *db, uint64_t first, uint32_t n, int64_t start_ns)
{
    struct tsdb_batch *b = tsdb_batch_new(ORG, TSDB_SPANS, 64u << 20);
    struct tsdb_result result;
    CHECK(b);
    for (uint32_t i = 0; i < n; i++) {
        struct buf attrs = {0};
        uint32_t row = tsdb_batch_add_span(b);
        CHECK(row != TSDB_NO_ROW);
        bytes_put_u64be(b->spans.trace_id[row].b, (first + i) / 5 * 0x9e3779b97f4a7c15u + 1);
        bytes_put_u64be(b->spans.span_id[row].b, first + i + 1);
        b->spans.start_ns[row] = start_ns + i * INT64_C(1000000);
        b->spans.end_ns[row] = b->spans.start_ns[row] + rnd(1000000);
        b->spans.service[row] = BYTES_LIT("chat");
        b->spans.name[row] = i % 5 ? BYTES_LIT("step") : BYTES_LIT("request");
        tsdb_attrs_put_str(&attrs, BYTES_LIT("gen_ai.prompt"), prompt(b->arena));
        b->spans.attrs[row] = arena_copy(b->arena, buf_bytes(&attrs));
        buf_done(&attrs);
    }
    b->received = n;
    b->received_ns = clock_wall_ns();
    CHECK(tsdb_append_wait(db, b, &result) == ERR_OK && result.stored == n);
}

static void merge(struct tsdb *db, const char *what)
{
    struct err_msg msg = {""};
    int64_t kept = stats_sum("telltale_store_blocks_kept_total");
    double cpu = cpu_s();
    CHECK(tsdb_flush(db, true, &msg) == ERR_OK);
    cpu = cpu_s() - cpu;
    uint64_t bytes = 0;
    for (size_t i = 0; i < db->part_count; i++)
        bytes += part_bytes(db->parts[i]);
    printf("%-28s CPU %7.3f s, %3lld blocks copied, parts have %.1f MiB\n", what, cpu,
           (long long)(stats_sum("telltale_store_blocks_kept_total") - kept),
           (double)bytes / (1 << 20));
}

static void forget(struct tsdb *db)
{
    for (size_t i = 0; i < db->part_count; i++)
        compact_forget_merge(db, db->parts[i]);
}

int main(int argc, char **argv)
{
    uint64_t spans = 12000, at = 0;
    const char *parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    char dir[256];
    struct tsdb *db;
    struct err_msg msg = {""};
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--spans") == 0)
            spans = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--dir") == 0)
            parent = argv[i + 1];
    }
    snprintf(dir, sizeof(dir), "%s/telltale-merge-XXXXXX", parent);
    if (!mkdtemp(dir))
        return 2;
    log_set_level(LOG_LEVEL_ERROR);
    clock_test_set_wall(wall_ns);
    struct tsdb_options o = {.dir = dir, .memory_limit_bytes = 2ull << 30};
    CHECK(tsdb_open(&o, &db, &msg) == ERR_OK);
    for (unsigned g = 0; g < GENERATIONS; g++) {
        for (uint64_t k = 0; k < spans / GENERATIONS; k += REQUEST, at += REQUEST)
            append(db, at, REQUEST, T0_NS + (int64_t)at * 1000000);
        if (g + 1 < GENERATIONS)
            CHECK(tsdb_flush(db, false, &msg) == ERR_OK);
    }
    printf("%llu spans\n", (unsigned long long)at);
    merge(db, "the first merge");
    append(db, at++, 1, T0_NS - INT64_C(7200000000000));
    merge(db, "again, blocks copied");
    forget(db);
    append(db, at++, 1, T0_NS - INT64_C(7300000000000));
    merge(db, "again, all made anew");
    tsdb_close(db, false);
    files_remove_tree(dir);
    return 0;
}
