/* What values cost: CPU time to encode and to decode a sample, and its bytes, by the shape of the series.
 *
 *   values [--rounds N]       one round: 64 chunks of 480 samples of each shape; group: 16 buckets of a histogram
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "base/hash.h"
#include "tsdb/block_values.h"

enum { ROWS = 480, CHUNKS = 64, BUCKETS = 16 };
enum shape { COUNTER, RARE, CENTS, COST, REALS, GROUP, SHAPES };
static const char *names[] = {"counter",         "rare counter", "gauge of cents",
                              "sum of decimals", "sum of reals", "group"};
static double values[CHUNKS][ROWS], got[CHUNKS * ROWS];
static struct block_values_work work;
static uint64_t seed = 88172645463325252u;

static uint32_t rnd(uint32_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % n;
}

static double cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void fill(enum shape shape)
{
    for (uint32_t c = 0; c < CHUNKS; c++) {
        double total = rnd(1000);
        for (uint32_t i = 0; i < ROWS; i++) {
            double below = shape == GROUP && c % BUCKETS ? values[c - 1][i] : 0;
            switch (shape) {
            case COUNTER: total += rnd(300); break;
            case RARE: total += rnd(20) == 0; break;
            case CENTS: total = rnd(100000) / 100.0; break;
            case COST: total += rnd(100000) * 0.15e-6; break;
            case REALS: total += rnd(1000000) / 777777.0; break;
            default: total += rnd(4) == 0;
            }
            values[c][i] = shape == GROUP ? below + total : total;
        }
    }
}

static void encode(enum shape shape, struct buf *out)
{
    const double *column[BUCKETS];
    for (uint32_t c = 0; c < CHUNKS; c++) {
        column[c % BUCKETS] = values[c];
        if (shape != GROUP)
            block_values_put(out, values[c], ROWS, &work);
        else if (c % BUCKETS == BUCKETS - 1)
            block_group_put(out, column, BUCKETS, ROWS, &work);
    }
}

static bool decode(enum shape shape, struct bytes in)
{
    uint8_t rank[BUCKETS];
    struct reader r = reader_of(in);
    bool ok = true;
    for (uint8_t i = 0; i < BUCKETS; i++)
        rank[i] = i;
    for (uint32_t c = 0; c < CHUNKS && ok; c += shape == GROUP ? BUCKETS : 1)
        ok = shape == GROUP
                 ? block_group_get(&r, got + (size_t)c * ROWS, rank, BUCKETS, ROWS, &work)
                 : block_values_get(&r, got + (size_t)c * ROWS, ROWS, &work);
    return ok && reader_left(&r) == 0;
}

int main(int argc, char **argv)
{
    int rounds = argc == 3 && strcmp(argv[1], "--rounds") == 0 ? atoi(argv[2]) : 200;
    printf("%d rounds of %d chunks of %d samples\n", rounds, CHUNKS, ROWS);
    for (int shape = 0; shape < SHAPES; shape++) {
        struct buf b = {0};
        fill((enum shape)shape);
        double start = cpu_ns();
        for (int i = 0; i < rounds; i++) {
            buf_clear(&b);
            encode((enum shape)shape, &b);
        }
        double encoded = cpu_ns();
        bool ok = buf_ok(&b);
        for (int i = 0; i < rounds && ok; i++)
            ok = decode((enum shape)shape, buf_bytes(&b));
        double n = (double)rounds * CHUNKS * ROWS, decoded = cpu_ns();
        ok = ok && memcmp(got, values, sizeof(got)) == 0;
        printf("%-16s %6.3f B, encode %5.1f ns, decode %5.1f ns a sample, checksum %016llx%s\n",
               names[shape], (double)b.size / (CHUNKS * ROWS), (encoded - start) / n,
               (decoded - encoded) / n, (unsigned long long)hash64(buf_bytes(&b), 0),
               ok ? "" : " WRONG");
        buf_done(&b);
        if (!ok)
            return 1;
    }
    return 0;
}
