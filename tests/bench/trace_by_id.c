/* Traces by id out of a cold store: how long one lookup takes when nothing of the store is in memory.
 *
 *   trace_by_id --dir DIR --make SPANS  builds, seals and compacts a store of that many plain spans in DIR
 *   trace_by_id --dir DIR --read N --spans SPANS      opens it and looks N random ids up, each cold, then the same warm
 * Without arguments: both, tiny, in a directory of its own. Each lookup is checked: the spans of trace t are t * 8 .. t * 8 + 7.
 * Cold: before each lookup the maps of the store's files give their pages back and posix_fadvise(DONTNEED) drops them from the cache, so that
 * every byte of the lookup comes from the disk. What the store keeps in memory of its own (manifests) is there after the first lookup.
 */
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "bench_frames.h"
#include "tsdb/tsdb_read.h"

#define PER_TRACE 8u
#define PER_BATCH 4000u
#define T0_NS INT64_C(1795168800000000000)

static struct tsdb_id16 id_of(uint64_t trace)
{
    struct tsdb_id16 id;
    bytes_put_u64be(id.b, hash64(bytes_of(&trace, sizeof(trace)), 1));
    bytes_put_u64be(id.b + 8, hash64(bytes_of(&trace, sizeof(trace)), 2));
    return id;
}

static void add_span(struct tsdb_batch *b, uint64_t n)
{
    static const char *const services[] = {"gateway", "orders", "payments", "stock"};
    static const char *const names[] = {"GET /orders", "SELECT", "publish", "charge"};
    uint64_t h = hash64(bytes_of(&n, sizeof(n)), 3);
    struct buf attrs = {0};
    char text[32];
    uint32_t row = tsdb_batch_add_span(b);
    if (row == TSDB_NO_ROW)
        bench_fail("no memory");
    b->spans.trace_id[row] = id_of(n / PER_TRACE);
    bytes_put_u64be(b->spans.span_id[row].b, n + 1);
    if (n % PER_TRACE)
        bytes_put_u64be(b->spans.parent_id[row].b, n / PER_TRACE * PER_TRACE + 1);
    b->spans.start_ns[row] = T0_NS + (int64_t)n * 5000;
    b->spans.end_ns[row] = b->spans.start_ns[row] + (int64_t)(h % 50000000);
    b->spans.service[row] = bytes_str(services[h >> 32 & 3]);
    b->spans.name[row] = bytes_str(names[h >> 34 & 3]);
    b->spans.kind[row] = 2;
    tsdb_attrs_put_str(&attrs, BYTES_LIT("http.request.method"), BYTES_LIT("GET"));
    tsdb_attrs_put_i64(&attrs, BYTES_LIT("http.response.status_code"), h % 50 ? 200 : 500);
    snprintf(text, sizeof(text), "10.0.%u.%u", (unsigned)(h >> 40 & 255),
             (unsigned)(h >> 48 & 255));
    tsdb_attrs_put_str(&attrs, BYTES_LIT("client.address"), bytes_str(text));
    b->spans.attrs[row] = arena_copy(b->arena, buf_bytes(&attrs));
    buf_done(&attrs);
}

static void make(const char *dir, uint64_t spans)
{
    static struct bench_store s;
    bench_store_open(&s, dir, NULL);
    for (uint64_t n = 0; n < spans;) {
        struct tsdb_batch *b = tsdb_batch_new(TSDB_ORG_DEFAULT, TSDB_SPANS, 0);
        if (!b)
            bench_fail("no memory");
        for (uint32_t i = 0; i < PER_BATCH && n < spans; i++)
            add_span(b, n++);
        b->received = b->spans.count;
        b->received_ns = clock_wall_ns();
        bench_store_append(&s, b);
    }
    bench_store_settle(&s);
    printf("made %llu spans, %.1f bytes a span on disk\n", (unsigned long long)spans,
           (double)bench_store_disk_bytes(&s) / (double)spans);
    bench_store_close(&s);
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

/* A page that a map has touched stays in the cache. */
static void unmap_pages(const char *dir)
{
    FILE *f = fopen("/proc/self/maps", "r");
    char line[1024];
    unsigned long from, to;
    while (f && fgets(line, sizeof(line), f))
        if (strstr(line, dir) && sscanf(line, "%lx-%lx", &from, &to) == 2)
            (void)madvise((void *)from, to - from, MADV_DONTNEED); /* NOLINT: an address */
    if (f)
        fclose(f);
}

static void drop_pages(const char *dir)
{
    unmap_pages(dir);
    if (nftw(dir, drop_file, 16, FTW_PHYS) != 0)
        bench_fail("no directory %s", dir);
}

static void look_up(struct bench_store *s, uint64_t trace, struct bench_times *wall,
                    struct bench_times *cpu)
{
    struct tsdb_view *v;
    struct tsdb_spans t;
    struct arena *a = arena_new(0);
    double begin = bench_now_ms(), begin_cpu = bench_cpu_ms();
    if (tsdb_view_open(s->db, TSDB_ORG_DEFAULT, NULL, &v) != ERR_OK)
        bench_fail("no view");
    enum err e = tsdb_trace(v, id_of(trace), a, &t);
    bench_times_add(wall, bench_now_ms() - begin);
    bench_times_add(cpu, bench_cpu_ms() - begin_cpu);
    if (e != ERR_OK || t.count != PER_TRACE)
        bench_fail("trace %llu: %s", (unsigned long long)trace, err_name(e));
    for (uint32_t i = 0; i < t.count; i++)
        if (bytes_u64be(t.span_id[i].b) != trace * PER_TRACE + i + 1 || !t.attrs[i].size)
            bench_fail("trace %llu: another span", (unsigned long long)trace);
    tsdb_view_close(v);
    arena_free(a);
}

enum how { COLD, WARMING, WARM };

static void read_some(struct bench_store *s, const char *dir, uint64_t spans, unsigned n,
                      enum how how)
{
    static struct bench_times wall, cpu;
    uint64_t seed = 11;
    struct rusage before, after;
    long faults = 0;
    wall.n = cpu.n = 0;
    for (unsigned i = 0; i < n; i++) {
        if (how == COLD)
            drop_pages(dir);
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        (void)getrusage(RUSAGE_SELF, &before);
        look_up(s, (seed >> 20) % (spans / PER_TRACE), &wall, &cpu);
        (void)getrusage(RUSAGE_SELF, &after);
        faults += after.ru_majflt - before.ru_majflt;
        if (how == COLD && i == 0) {
            printf("first (opens the part): %.2f ms, cpu %.2f ms\n", wall.ms[0], cpu.ms[0]);
            wall.n = cpu.n = 0;
            faults = 0;
        }
    }
    if (how == WARMING)
        return;
    printf("%s: %u ids of %llu spans: p50 %.2f ms  p99 %.2f ms  cpu p50 %.2f ms  p99 %.2f ms  "
           "reads of the disk %.1f\n",
           how == COLD ? "cold" : "warm", n, (unsigned long long)spans, bench_times_at(&wall, 0.5),
           bench_times_at(&wall, 0.99), bench_times_at(&cpu, 0.5), bench_times_at(&cpu, 0.99),
           (double)faults / n);
}

static void read_all(const char *dir, uint64_t spans, unsigned n)
{
    static struct bench_store s;
    drop_pages(dir);
    bench_store_open(&s, dir, NULL);
    for (enum how how = COLD; how <= WARM; how++)
        read_some(&s, dir, spans, n, how);
    bench_store_close(&s);
}

int main(int argc, char **argv)
{
    char own[] = "/tmp/telltale-bench-XXXXXX", command[64];
    const char *dir = NULL;
    uint64_t to_make = 0, spans = 0;
    unsigned reads = 0;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--dir") == 0)
            dir = argv[i + 1];
        else if (strcmp(argv[i], "--make") == 0)
            to_make = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--read") == 0)
            reads = (unsigned)atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--spans") == 0)
            spans = strtoull(argv[i + 1], NULL, 10);
    }
    if (!dir) {
        if (!(dir = mkdtemp(own)))
            bench_fail("no directory");
        make(dir, 16000);
        read_all(dir, 16000, 20);
        snprintf(command, sizeof(command), "rm -rf %s", own);
        return system(command) != 0;
    }
    if (to_make)
        make(dir, to_make);
    if (reads && spans >= PER_TRACE)
        read_all(dir, spans, reads);
    return 0;
}
