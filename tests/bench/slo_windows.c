/* Objectives with windows of 30 days over a store that holds the 30 days: what bringing them up to date costs.
 *
 *   slo_windows [--dir DIR] [--slos N] [--every MINUTES] [--steps N]       by hand: --slos 10000
 * Each objective has a service of its own, a series of good requests with a cell about every MINUTES minutes, and one of bad ones with fewer.
 * The days come through the store's own write path: two flushes a day (of few objectives: two in all), compacted; the newest hour stays in memory.
 * cold    a new store object over dropped pages: every ring and window is built
 * whole   every window of 30 days summed anew out of the store, by days, hours and minutes
 * step    a minute later, with the cells of that minute in the store: every window slides
 * late    cells of the last hours have come: their minutes are read again
 * Every window is compared with a count by the generator. Memory: trackers and feed, by their own account.
 */
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/hash.h"
#include "bench_frames.h"
#include "query/query_slo_feed.h"

#define T0 29918880u /* 2026-11-20T00:00Z, a midnight */
#define DAYS 30u
#define PERIOD (DAYS * 1440u)
#define MEMORY_MAX 12288u

struct load {
    uint32_t slos, every;
    struct query_slo_set *sets;
    uint32_t set_count;
    struct query_slo *slo;
    struct tsdb_ref (*refs)[2];
    uint32_t (*late)[2]; /* adds beside the generated ones, all within the window */
    struct query_slo_tracker **trackers;
    struct query_slo_feed *feed;
    uint64_t cells, seen_seq;
};

/* What series (slo, kind) adds in a minute; 0: no cell. */
static uint32_t add_of(const struct load *l, uint32_t slo, unsigned kind, uint32_t minute)
{
    uint64_t h = ((uint64_t)slo << 33 | (uint64_t)kind << 32 | minute) * 0x9e3779b97f4a7c15u;
    h ^= h >> 29;
    h *= 0xbf58476d1ce4e5b9u;
    h ^= h >> 32;
    uint32_t every = kind ? l->every * 10 : l->every;
    return (uint32_t)h % every ? 0 : 1 + (uint32_t)(h >> 40) % (kind ? 3 : 40);
}

static void load_slos(struct load *l)
{
    struct buf text = {0}, errors = {0};
    l->set_count = (l->slos + QUERY_SLO_MAX - 1) / QUERY_SLO_MAX;
    l->sets = calloc(l->set_count, sizeof(*l->sets));
    l->slo = calloc(l->slos, sizeof(*l->slo));
    for (uint32_t at = 0, k = 0; k < l->set_count; k++) {
        buf_clear(&text);
        for (uint32_t i = 0; i < QUERY_SLO_MAX && at + i < l->slos; i++)
            buf_printf(&text,
                       "apiVersion: openslo/v1\nkind: SLO\nmetadata: {name: slo-%u}\n"
                       "spec:\n  service: service-%u\n"
                       "  indicator: {spec: {llm: {indicator: availability-request}}}\n"
                       "  timeWindow: [{duration: 30d, isRolling: true}]\n"
                       "  budgetingMethod: Occurrences\n  objectives: [{target: 0.99}]\n---\n",
                       at + i, at + i);
        if (query_slo_set_init(&l->sets[k]) != ERR_OK ||
            query_slo_load_text(&l->sets[k], "bench", buf_bytes(&text), &errors) != ERR_OK)
            bench_fail("objectives: %.*s", (int)errors.size, errors.data);
        memcpy(l->slo + at, l->sets[k].slos, l->sets[k].count * sizeof(*l->slo));
        at += l->sets[k].count;
    }
    buf_done(&text);
    buf_done(&errors);
}

static void name_series(struct load *l, struct bench_store *s)
{
    for (uint32_t i = 0; i < l->slos; i++) {
        for (unsigned kind = 0; kind < 2; kind++) {
            struct arena *a = arena_new(0);
            struct tsdb_labels labels;
            struct tsdb_label list[] = {
                {BYTES_LIT("__name__"), BYTES_LIT("llm_user_requests_total")},
                {BYTES_LIT("job"), BYTES_LIT("telltale")},
                {BYTES_LIT("region"), BYTES_LIT("eu-west-1")},
                {BYTES_LIT("service"), arena_printf(a, "service-%u", i)},
                {BYTES_LIT("outcome"), bytes_str(kind ? "timeout" : "ok")}};
            if (tsdb_labels_build(list, ARRAY_LEN(list), a, &labels, NULL) != ERR_OK ||
                tsdb_registry_ref(tsdb_series(s->db), TSDB_ORG_DEFAULT, TSDB_SERIES_CELLS, labels,
                                  &l->refs[i][kind]) != ERR_OK)
                bench_fail("no series");
            arena_free(a);
        }
    }
}

static struct tsdb_batch *batch_new(void)
{
    struct tsdb_batch *b = tsdb_batch_new(TSDB_ORG_DEFAULT, TSDB_SAMPLES, 0);
    if (!b)
        bench_fail("no memory");
    b->received_ns = clock_wall_ns();
    return b;
}

static void put(struct load *l, struct tsdb_batch *b, uint32_t slo, unsigned kind, uint32_t minute,
                uint32_t add)
{
    if (!tsdb_batch_add_cell(b, l->refs[slo][kind], minute, add, TSDB_NO_ROW))
        bench_fail("no memory");
    b->received++;
    l->cells++;
}

static void put_minutes(struct load *l, struct bench_store *s, uint32_t from, uint32_t to)
{
    struct tsdb_batch *b = batch_new();
    for (uint32_t m = from; m < to; m++) {
        for (uint32_t i = 0; i < l->slos; i++)
            for (unsigned kind = 0; kind < 2; kind++)
                if (add_of(l, i, kind, m))
                    put(l, b, i, kind, m, add_of(l, i, kind, m));
        if (b->received > 50000) {
            bench_store_append(s, b);
            b = batch_new();
        }
    }
    bench_store_append(s, b);
}

static void flush(struct bench_store *s)
{
    struct err_msg msg;
    if (tsdb_flush(s->db, false, &msg) != ERR_OK)
        bench_fail("flush: %s", msg.text);
}

/* The newest day begins at T0; horizon: 20:00 of it. */
static void make(struct load *l, struct bench_store *s, uint32_t horizon)
{
    double begin = bench_now_ms();
    uint32_t each = l->slos < 1000 ? 15 * 1440 : 720; /* minutes to a flush */
    for (uint32_t m = T0 - DAYS * 1440; m < T0; m += each) {
        put_minutes(l, s, m, m + each);
        flush(s);
    }
    put_minutes(l, s, T0, horizon - 60);
    bench_store_settle(s);
    put_minutes(l, s, horizon - 60, horizon + 1);
    printf("%u objectives, %llu cells in %u days: made in %.1f s, %.2f bytes a cell on disk\n",
           l->slos, (unsigned long long)l->cells, DAYS + 1, (bench_now_ms() - begin) / 1e3,
           (double)bench_store_disk_bytes(s) / (double)l->cells);
}

static int drop_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)ftw;
    int fd = type == FTW_F ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        close(fd);
    }
    return 0;
}

static void advance(struct load *l, struct bench_store *s, uint32_t horizon,
                    struct bench_times *wall, struct bench_times *cpu)
{
    struct tsdb_view *v;
    uint32_t from, to;
    double begin = bench_now_ms(), begin_cpu = bench_cpu_ms();
    if (tsdb_view_open(s->db, TSDB_ORG_DEFAULT, NULL, &v) != ERR_OK ||
        tsdb_cells_changed(v, l->seen_seq, &from, &to, &l->seen_seq) != ERR_OK)
        bench_fail("no view");
    struct query_slo_source src = query_slo_feed_source(l->feed, v);
    for (uint32_t i = 0; i < l->slos; i++)
        if (query_slo_source_advance(l->trackers[i], &src, horizon, from, to) != ERR_OK)
            bench_fail("objective %u does not advance", i);
    tsdb_view_close(v);
    bench_times_add(wall, bench_now_ms() - begin);
    bench_times_add(cpu, bench_cpu_ms() - begin_cpu);
}

static void check(struct load *l, uint32_t horizon)
{
    for (uint32_t i = 0; i < l->slos; i++) {
        struct query_slo_counts got;
        int64_t want[2] = {l->late[i][0], l->late[i][1]};
        for (unsigned kind = 0; kind < 2; kind++)
            for (uint32_t m = horizon - PERIOD + 1; m <= horizon; m++)
                want[kind] += add_of(l, i, kind, m);
        if (!query_slo_tracker_window(l->trackers[i], PERIOD, 0, &got) || got.good != want[0] ||
            got.bad != want[1])
            bench_fail("objective %u: %lld good and %lld bad, the generator says %lld and %lld", i,
                       (long long)got.good, (long long)got.bad, (long long)want[0],
                       (long long)want[1]);
    }
}

/* Every window by hierarchical sums, without what trackers remember. */
static void sum_all(struct load *l, struct bench_store *s, uint32_t horizon,
                    struct bench_times *wall, struct bench_times *cpu)
{
    struct tsdb_view *v;
    double begin = bench_now_ms(), begin_cpu = bench_cpu_ms();
    if (tsdb_view_open(s->db, TSDB_ORG_DEFAULT, NULL, &v) != ERR_OK)
        bench_fail("no view");
    struct query_slo_source src = query_slo_feed_source(l->feed, v);
    for (uint32_t i = 0; i < l->slos; i++) {
        struct query_slo_counts c, kept;
        if (query_slo_source_sum(&src, &l->slo[i], horizon - PERIOD + 1, horizon + 1, &c) !=
                ERR_OK ||
            !query_slo_tracker_window(l->trackers[i], PERIOD, 0, &kept) || c.good != kept.good ||
            c.bad != kept.bad)
            bench_fail("objective %u: the sum of the store is another", i);
    }
    tsdb_view_close(v);
    bench_times_add(wall, bench_now_ms() - begin);
    bench_times_add(cpu, bench_cpu_ms() - begin_cpu);
}

static void print_times(const char *what, struct bench_times *wall, struct bench_times *cpu)
{
    printf("%-6s %3zu times: cpu p50 %8.2f ms, most %8.2f ms; wall p50 %8.2f ms\n", what, cpu->n,
           bench_times_at(cpu, 0.5), bench_times_at(cpu, 1), bench_times_at(wall, 0.5));
    wall->n = cpu->n = 0;
}

static void measure(struct load *l, struct bench_store *s, uint32_t horizon, uint32_t steps)
{
    static struct bench_times wall, cpu;
    uint64_t seed = 5;
    advance(l, s, horizon, &wall, &cpu);
    print_times("cold", &wall, &cpu);
    check(l, horizon);
    for (uint32_t i = 0; i < 5; i++)
        sum_all(l, s, horizon, &wall, &cpu);
    print_times("whole", &wall, &cpu);
    name_series(l, s);
    for (uint32_t i = 0; i < steps; i++) {
        put_minutes(l, s, horizon + 1, horizon + 2);
        advance(l, s, ++horizon, &wall, &cpu);
    }
    print_times("step", &wall, &cpu);
    check(l, horizon);
    for (uint32_t i = 0; i < steps; i++) {
        struct tsdb_batch *b = batch_new();
        for (uint32_t k = 0; k < l->slos / 10 + 1; k++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            uint32_t slo = (uint32_t)(seed >> 33) % l->slos, kind = seed >> 20 & 1;
            put(l, b, slo, kind, horizon - 1 - (uint32_t)(seed >> 40) % 120, 1);
            l->late[slo][kind]++;
        }
        bench_store_append(s, b);
        advance(l, s, horizon, &wall, &cpu);
    }
    print_times("late", &wall, &cpu);
    check(l, horizon);
    sum_all(l, s, horizon, &wall, &cpu);
    size_t bytes = query_slo_feed_bytes(l->feed);
    for (uint32_t i = 0; i < l->slos; i++)
        bytes += query_slo_tracker_bytes(l->trackers[i]);
    printf("memory %zu bytes an objective (%zu of them the tracker's), %llu passes over cells\n",
           bytes / l->slos, query_slo_tracker_bytes(l->trackers[0]),
           (unsigned long long)query_slo_feed_passes(l->feed));
    if (l->slos >= 1000 && bytes / l->slos > MEMORY_MAX)
        bench_fail("more than %u bytes an objective", MEMORY_MAX);
}

int main(int argc, char **argv)
{
    static struct bench_store s;
    struct load l = {.slos = 30, .every = 10};
    const char *parent = "/tmp";
    uint32_t steps = 5, horizon = T0 + 1200;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--dir") == 0)
            parent = argv[i + 1];
        else if (strcmp(argv[i], "--slos") == 0)
            l.slos = (uint32_t)atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--every") == 0)
            l.every = (uint32_t)atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--steps") == 0)
            steps = (uint32_t)atoi(argv[i + 1]);
    }
    if (l.slos == 0 || l.every == 0)
        bench_fail("--slos and --every are at least 1");
    bench_store_open(&s, NULL, parent);
    load_slos(&l);
    l.refs = calloc(l.slos, sizeof(*l.refs));
    name_series(&l, &s);
    l.late = calloc(l.slos, sizeof(*l.late));
    l.trackers = calloc(l.slos, sizeof(struct query_slo_tracker *));
    make(&l, &s, horizon);
    l.feed = query_slo_feed_new(l.slo, l.slos);
    for (uint32_t i = 0; i < l.slos; i++)
        l.trackers[i] = query_slo_tracker_new(&l.slo[i]);
    bench_store_reopen(&s);
    if (nftw(s.dir, drop_file, 16, FTW_PHYS) != 0)
        bench_fail("no directory");
    measure(&l, &s, horizon, steps);
    for (uint32_t i = 0; i < l.slos; i++)
        query_slo_tracker_free(l.trackers[i]);
    query_slo_feed_free(l.feed);
    for (uint32_t k = 0; k < l.set_count; k++)
        query_slo_set_done(&l.sets[k]);
    free(l.sets), free(l.slo), free(l.refs), free(l.late), free((void *)l.trackers);
    bench_store_close(&s);
    return 0;
}
