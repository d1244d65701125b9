/* Integers as bits, the values of a series, the buckets of a histogram: what was written comes back, bit for bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/check.h"
#include "tsdb/block_ints.h"
#include "tsdb/block_runs.h"

static uint64_t state = 88172645463325252u;
static uint64_t rnd64(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}
static uint32_t rnd(uint32_t n)
{
    return (uint32_t)(rnd64() % n);
}

static double of_bits(uint64_t bits)
{
    double v;
    memcpy(&v, &bits, 8);
    return v;
}

#define STALE UINT64_C(0x7ff0000000000002)

static void integers_of_any_width_come_back(void **unused)
{
    enum { N = 4096 };
    static uint64_t in[N], out[N];
    for (int round = 0; round < 600; round++) {
        uint32_t n = rnd(4) ? 1 + rnd(300) : rnd(N) + 1;
        unsigned width = rnd(65), zeros = rnd(3) * 45;
        bool is_signed = rnd(2);
        for (uint32_t i = 0; i < n; i++) {
            uint64_t v = rnd(100) < zeros || width == 0 ? 0 : rnd64() >> (64 - width);
            in[i] = rnd(200) == 0 ? rnd64() : is_signed && rnd(2) ? 0 - v : v;
        }
        struct buf b = {0};
        block_ints_put(&b, in, n);
        assert_true(buf_ok(&b));
        struct reader r = reader_of(buf_bytes(&b));
        assert_true(block_ints_get(&r, out, n));
        assert_int_equal(reader_left(&r), 0);
        assert_memory_equal(in, out, n * sizeof(*in));
        buf_done(&b);
    }
}

enum shape {
    ONE_VALUE,
    COUNTER,
    COUNTER_WITH_RESETS,
    EVEN_COUNTER,
    RARE_COUNTER,
    GAUGE_OF_CENTS,
    SUM_OF_DECIMALS,
    SUM_OF_REALS,
    REALS,
    PAGES,
    WITH_STALE_MARKERS,
    SPECIALS,
    HUGE_INTEGERS,
    DENORMALS,
    RAW_BITS,
    SHAPES
};

static void fill(double *v, uint32_t n, enum shape shape)
{
    static const uint64_t specials[] = {STALE,
                                        UINT64_C(1) << 63,
                                        UINT64_C(0x7ff0000000000000),
                                        UINT64_C(0xfff0000000000000),
                                        UINT64_C(0x7ff8000000000001),
                                        1,
                                        0,
                                        UINT64_C(0x43e0000000000000),
                                        UINT64_C(0xc3e0000000000000),
                                        UINT64_C(0x7fefffffffffffff)};
    double total = rnd(1000);
    for (uint32_t i = 0; i < n; i++) {
        switch (shape) {
        case ONE_VALUE: v[i] = 0.1; break;
        case COUNTER_WITH_RESETS:
            if (rnd(50) == 0)
                total = 0; /* fall through */
        case COUNTER: v[i] = total += rnd(300); break;
        case EVEN_COUNTER: v[i] = total += 12; break;
        case RARE_COUNTER: v[i] = total += rnd(20) == 0; break;
        case GAUGE_OF_CENTS: v[i] = rnd(100000) / 100.0 - 300; break;
        case SUM_OF_DECIMALS: v[i] = total += rnd(100000) * 0.15e-6; break;
        case SUM_OF_REALS: v[i] = total += rnd(1000000) / 777777.0; break;
        case REALS: v[i] = 1.0 / (1 + rnd(100000)) - 0.5; break;
        case PAGES: v[i] = 4096.0 * rnd(100000); break;
        case WITH_STALE_MARKERS: v[i] = rnd(40) ? total += rnd(9) : of_bits(STALE); break;
        case SPECIALS: v[i] = of_bits(specials[rnd(ARRAY_LEN(specials))]); break;
        case HUGE_INTEGERS: v[i] = (double)(int64_t)rnd64(); break;
        case DENORMALS: v[i] = of_bits(rnd64() >> 12 | (uint64_t)rnd(2) << 63); break;
        default: v[i] = of_bits(rnd64());
        }
    }
}

static void values_of_every_shape_come_back_bit_for_bit(void **unused)
{
    enum { N = BLOCK_VALUES_MAX };
    static double v[N], got[N];
    static struct block_values_work w;
    for (int shape = 0; shape < SHAPES; shape++) {
        for (int round = 0; round < 120; round++) {
            uint32_t n = round < 6 ? (uint32_t)round + 1 : round == 6 ? N : 1 + rnd(500);
            struct buf b = {0};
            fill(v, n, (enum shape)shape);
            block_values_put(&b, v, n, &w);
            struct reader r = reader_of(buf_bytes(&b));
            assert_true(buf_ok(&b) && block_values_get(&r, got, n, &w));
            assert_int_equal(reader_left(&r), 0);
            assert_memory_equal(v, got, n * sizeof(*v));
            buf_done(&b);
        }
    }
}

static size_t size_of(enum shape shape, uint32_t n)
{
    static double v[BLOCK_VALUES_MAX];
    static struct block_values_work w;
    struct buf b = {0};
    fill(v, n, shape);
    block_values_put(&b, v, n, &w);
    size_t size = b.size;
    buf_done(&b);
    return size;
}

static void common_shapes_take_few_bytes(void **unused)
{
    assert_true(size_of(ONE_VALUE, 480) <= 9);
    assert_true(size_of(EVEN_COUNTER, 480) <= 16);
    assert_true(size_of(RARE_COUNTER, 480) <= 40); /* 17 by its entropy */
    assert_true(size_of(COUNTER, 480) <= 480 * 9 / 8);
    assert_true(size_of(WITH_STALE_MARKERS, 480) <= 480 * 4 / 8 + 480 / 40 * 3 * 9);
    assert_true(size_of(SUM_OF_DECIMALS, 480) <= 480 * 25 / 8);
    assert_true(size_of(SUM_OF_REALS, 480) <= 480 * 50 / 8);
    assert_true(size_of(RAW_BITS, 480) <= 480 * 12);
}

/* Buckets of histograms: cumulative over le, with resets and stale markers; other series between them. */
enum { SERIES = 60, ROWS = 200 };
struct made {
    struct tsdb_labels labels;
    struct head_point p[ROWS];
    uint32_t n;
};

static void make_series(struct made *s, uint32_t i, struct arena *a)
{
    static const char *bounds[] = {"+Inf", "0.1", "10", "2.5", "bad"};
    char model[16], le[16];
    (void)snprintf(le, sizeof(le), "%s", bounds[i / 6 % 5]);
    (void)snprintf(model, sizeof(model), "m%u", i % 6);
    struct tsdb_label l[] = {{BYTES_LIT("__name__"), BYTES_LIT("x_bucket")},
                             {BYTES_LIT("le"), bytes_str(le)},
                             {BYTES_LIT("model"), bytes_str(model)},
                             {BYTES_LIT("path"), i < SERIES / 2 ? BYTES_LIT("a") : BYTES_LIT("b")}};
    assert_int_equal(tsdb_labels_build(l, 4, a, &s->labels, NULL), ERR_OK);
    uint32_t rank = i / 6 % 5 == 0 ? 5 : i / 6 % 5;
    s->n = i % 11 == 10 ? ROWS - 7 : ROWS;
    for (uint32_t k = 0; k < s->n; k++) {
        double count = (k % 90) * rank + (i % 6) + (i % 13 == 12 ? 0.5 : 0);
        s->p[k] = (struct head_point){.t_ms = 1795168800000 + k * 15000 + i % 3,
                                      .start_ms = i % 6 == 1 ? 1795168000000 : 0,
                                      .value = k == 77 ? of_bits(STALE) : count};
    }
}

struct sink {
    struct block_writer w;
    struct buf block[64], summary[64];
    uint32_t n;
};

static enum err keep(void *ctx)
{
    struct sink *s = ctx;
    assert_true(s->n < 64);
    block_writer_finish(&s->w, false, &s->block[s->n], &s->summary[s->n]);
    assert_true(buf_ok(&s->block[s->n]));
    s->n++;
    return ERR_OK;
}

static void write_all(struct sink *s, struct made *made, uint32_t target)
{
    struct block_runs runs;
    block_writer_init(&s->w, target);
    assert_int_equal(block_runs_init(&runs, &s->w, keep, s), ERR_OK);
    for (uint32_t i = 0; i < SERIES; i++)
        assert_int_equal(block_runs_add(&runs, made[i].labels, i * 2, made[i].p, made[i].n),
                         ERR_OK);
    assert_int_equal(block_runs_flush(&runs), ERR_OK);
    assert_int_equal(keep(s), ERR_OK);
    block_runs_done(&runs);
    block_writer_done(&s->w);
}

static void read_all(struct sink *s, const struct made *made, struct arena *a, uint32_t *groups)
{
    uint32_t found = 0, first, last;
    *groups = 0;
    for (uint32_t k = 0; k < s->n; k++) {
        struct block_series b;
        assert_int_equal(block_series_range(buf_bytes(&s->summary[k]), &first, &last), ERR_OK);
        assert_int_equal(block_series_open(buf_bytes(&s->block[k]), a, &b), ERR_OK);
        *groups += b.group_count;
        for (uint32_t i = 0; i < SERIES; i++) {
            struct head_point *p;
            uint32_t n, c = block_series_find(&b, i * 2);
            if (c == b.chunk_count)
                continue;
            assert_true(first <= i * 2 && i * 2 <= last);
            assert_int_equal(block_series_samples(&b, c, a, &p, &n), ERR_OK);
            assert_int_equal(n, made[i].n);
            for (uint32_t r = 0; r < n; r++) {
                assert_true(p[r].t_ms == made[i].p[r].t_ms && !p[r].hist);
                assert_true(p[r].start_ms == made[i].p[r].start_ms);
                assert_memory_equal(&p[r].value, &made[i].p[r].value, 8);
            }
            found++;
        }
    }
    assert_int_equal(found, SERIES);
}

static void buckets_of_a_histogram_become_a_group_and_come_back(void **unused)
{
    static struct made made[SERIES];
    struct arena *a = arena_new(0);
    for (uint32_t i = 0; i < SERIES; i++)
        make_series(&made[i], i, a);
    for (uint32_t target = 200; target <= 200000; target *= 30) {
        struct sink s = {0};
        uint32_t groups;
        write_all(&s, made, target);
        read_all(&s, made, a, &groups);
        assert_true(groups >= 6); /* 6 models on 2 paths; halves and other lengths stand alone */
        assert_true(target > 1000 || s.n > 2);
        for (uint32_t k = 0; k < s.n; k++)
            buf_done(&s.block[k]), buf_done(&s.summary[k]);
    }
    arena_free(a);
}

static void a_group_with_damaged_bytes_is_corrupt_or_other_values_but_never_more(void **unused)
{
    static struct made made[SERIES];
    struct arena *a = arena_new(0);
    struct sink s = {0};
    for (uint32_t i = 0; i < SERIES; i++)
        make_series(&made[i], i, a);
    write_all(&s, made, 1u << 20);
    assert_int_equal(s.n, 1);
    for (size_t at = 0; at < s.block[0].size; at++) {
        struct arena *scratch = arena_new(16u << 20);
        struct block_series b;
        uint8_t was = s.block[0].data[at];
        s.block[0].data[at] = (uint8_t)(was ^ (1u << rnd(8)));
        if (block_series_open(buf_bytes(&s.block[0]), scratch, &b) == ERR_OK) {
            for (uint32_t c = 0; c < b.chunk_count; c++) {
                struct head_point *p;
                uint32_t n;
                if (block_series_samples(&b, c, scratch, &p, &n) == ERR_OK)
                    assert_true(n <= BLOCK_CHUNK_ROWS);
            }
        }
        s.block[0].data[at] = was;
        arena_free(scratch);
    }
    buf_done(&s.block[0]), buf_done(&s.summary[0]);
    arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_of_any_width_come_back),
        cmocka_unit_test(values_of_every_shape_come_back_bit_for_bit),
        cmocka_unit_test(common_shapes_take_few_bytes),
        cmocka_unit_test(buckets_of_a_histogram_become_a_group_and_come_back),
        cmocka_unit_test(a_group_with_damaged_bytes_is_corrupt_or_other_values_but_never_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
