/* How fast a start takes in what a process left in the journal: samples a second of CPU time.
 *
 *   replay [--samples N] [--series N] [--dir DIR]       by hand: build/release/bench_replay --samples 10000000
 *
 * Requests of 5,000 samples, one a series, 15 s apart, a third each counters, gauges of cents and constants; nothing is sealed when the store
 * is closed. Afterwards every sample must be there.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "tsdb/files.h"
#include "tsdb/tsdb.h"
#include "tsdb/tsdb_read.h"

#define T0_MS INT64_C(1795168800000) /* 2026-11-20T10:00:00Z */
#define STEP_MS 15000
#define REQUEST 5000u
#define ORG TSDB_ORG_DEFAULT

static int64_t wall_ms = T0_MS;

static int64_t wall_ns(void)
{
    return wall_ms * 1000000;
}

static double cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static struct tsdb *open_store(const char *dir)
{
    struct tsdb_options o = {.dir = dir,
                             .memory_limit_bytes = 4ull << 30,
                             .generation_max_bytes = 1ull << 30,
                             .generation_max_age_ms = INT64_C(365) * 86400000};
    struct err_msg msg = {""};
    struct tsdb *db;
    if (tsdb_open(&o, &db, &msg) != ERR_OK) {
        fprintf(stderr, "open: %s\n", msg.text);
        exit(1);
    }
    return db;
}

static struct tsdb_ref ref_of(struct tsdb *db, struct arena *a, uint32_t i)
{
    struct tsdb_label l[] = {{BYTES_LIT("__name__"), BYTES_LIT("replayed")},
                             {BYTES_LIT("number"), arena_printf(a, "%u", i)}};
    struct tsdb_labels labels;
    struct tsdb_ref ref;
    CHECK(tsdb_labels_build(l, 2, a, &labels, NULL) == ERR_OK);
    CHECK(tsdb_registry_ref(tsdb_series(db), ORG, TSDB_SERIES_SAMPLES, labels, &ref) == ERR_OK);
    return ref;
}

static double value_of(uint32_t series, uint32_t step)
{
    return series % 3 == 0   ? (double)step * (1 + series % 50)
           : series % 3 == 1 ? (double)(series * 2654435761u + step * 40503u) / 100
                             : series;
}

static void fill(struct tsdb *db, uint32_t series, uint64_t samples)
{
    struct arena *a = arena_new(0);
    struct tsdb_ref *refs = calloc(series, sizeof(*refs));
    struct tsdb_result result;
    CHECK(a && refs);
    for (uint32_t i = 0; i < series; i++)
        refs[i] = ref_of(db, a, i);
    for (uint64_t at = 0; at < samples;) {
        struct tsdb_batch *b = tsdb_batch_new(ORG, TSDB_SAMPLES, 64u << 20);
        CHECK(b);
        for (uint32_t k = 0; k < REQUEST && at < samples; k++, at++) {
            uint32_t step = (uint32_t)(at / series), i = (uint32_t)(at % series);
            wall_ms = T0_MS + (int64_t)step * STEP_MS;
            CHECK(tsdb_batch_add_sample(b, refs[i], wall_ms, value_of(i, step), 0));
        }
        b->received = b->samples.count;
        b->received_ns = clock_wall_ns();
        uint64_t sent = b->received; /* the store has the batch from here on */
        CHECK(tsdb_append_wait(db, b, &result) == ERR_OK && result.stored == sent);
    }
    free(refs);
    arena_free(a);
}

int main(int argc, char **argv)
{
    uint64_t samples = 100000, found = 0;
    uint32_t series = 20000;
    const char *parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    char dir[256];
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--samples") == 0)
            samples = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--series") == 0)
            series = (uint32_t)strtoul(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--dir") == 0)
            parent = argv[i + 1];
    }
    snprintf(dir, sizeof(dir), "%s/telltale-replay-XXXXXX", parent);
    if (!mkdtemp(dir) || series == 0)
        return 2;
    log_set_level(LOG_LEVEL_ERROR);
    clock_test_set_wall(wall_ns);
    struct tsdb *db = open_store(dir);
    fill(db, series, samples);
    struct tsdb_status status;
    tsdb_status_get(db, &status);
    tsdb_close(db, false);
    double cpu = cpu_s();
    int64_t begin = clock_mono_ns();
    db = open_store(dir);
    double took = (double)(clock_mono_ns() - begin) / 1e9;
    cpu = cpu_s() - cpu;
    CHECK(tsdb_count(db, ORG, TSDB_SAMPLES, &found) == ERR_OK);
    printf("%llu samples of %u series, %.1f MiB of journal: open took %.3f s, CPU %.3f s, %.1f M "
           "samples a second of CPU\n",
           (unsigned long long)samples, series, (double)status.journal_bytes / (1 << 20), took, cpu,
           (double)samples / cpu / 1e6);
    tsdb_close(db, false);
    files_remove_tree(dir);
    if (found != samples)
        fprintf(stderr, "%llu samples are there\n", (unsigned long long)found);
    return found == samples ? 0 : 1;
}
