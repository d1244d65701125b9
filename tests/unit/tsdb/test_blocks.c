/* Blocks of series, indexes, traces: what was written comes back, and no bytes can hurt the readers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/check.h"
#include "base/clock.h"
#include "tsdb/block_index.h"
#include "tsdb/hist_sum.h"

static uint64_t state = 88172645463325252u;
static uint32_t rnd(uint32_t n)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33) % n;
}

enum shape { CONSTANT, COUNTER, EVEN, DECIMAL, NOISE, SPECIAL, SHAPES };

static void fill(struct head_point *p, uint32_t n, enum shape shape, bool regular)
{
    int64_t t = 1795168800000 - (int64_t)rnd(1000), count = rnd(1000);
    for (uint32_t i = 0; i < n; i++) {
        t += regular ? 15000 : 1 + (int64_t)rnd(100000);
        count += shape == EVEN ? 12 : (int64_t)rnd(300);
        p[i] = (struct head_point){.t_ms = t, .start_ms = shape == COUNTER ? 1795000000000 : 0};
        switch (shape) {
        case CONSTANT: p[i].value = 0.1; break;
        case COUNTER:
        case EVEN: p[i].value = (double)count; break;
        case DECIMAL: p[i].value = rnd(100000) / 100.0; break;
        case NOISE: p[i].value = 1.0 / (1 + rnd(100000)); break;
        default: {
            static const uint64_t bits[] = {0x7ff0000000000002, 0x8000000000000000,
                                            0x7ff0000000000000, 0xfff0000000000000, 1};
            memcpy(&p[i].value, &bits[rnd(5)], 8);
            p[i].start_ms = rnd(2) ? t - 5 : 0;
        }
        }
    }
}

static void samples_of_every_shape_come_back_bit_for_bit(void **unused)
{
    struct arena *a = arena_new(0);
    for (int round = 0; round < 40; round++) {
        enum { N = 30 };
        struct block_writer w;
        struct head_point *p[N];
        uint32_t n[N], first, last;
        struct buf block = {0}, summary = {0};
        block_writer_init(&w, BLOCK_SERIES_TARGET);
        for (uint32_t i = 0; i < N; i++) {
            n[i] = 1 + rnd(i % 4 ? 5 : 400);
            p[i] = ARENA_ARRAY(a, struct head_point, n[i]);
            if (i && i % 3 == 0 && n[i] == n[i - 1])
                memcpy(p[i], p[i - 1], n[i] * sizeof(**p));
            else
                fill(p[i], n[i], (enum shape)rnd(SHAPES), rnd(2));
            block_writer_samples(&w, i * 3, p[i], n[i]);
        }
        block_writer_finish(&w, round % 2, &block, &summary);
        assert_int_equal(block_series_range(buf_bytes(&summary), &first, &last), ERR_OK);
        assert_true(first == 0 && last == (N - 1) * 3);
        struct block_series b;
        assert_int_equal(block_series_open(buf_bytes(&block), a, &b), ERR_OK);
        for (uint32_t i = 0; i < N; i++) {
            struct head_point *got;
            uint32_t count, c = block_series_find(&b, i * 3);
            assert_int_equal(block_series_samples(&b, c, a, &got, &count), ERR_OK);
            assert_int_equal(count, n[i]);
            for (uint32_t k = 0; k < count; k++) {
                assert_true(got[k].t_ms == p[i][k].t_ms && got[k].start_ms == p[i][k].start_ms);
                assert_memory_equal(&got[k].value, &p[i][k].value, 8);
            }
            assert_int_equal(block_series_find(&b, i * 3 + 1), b.chunk_count);
        }
        block_writer_done(&w);
        buf_done(&block), buf_done(&summary);
        arena_reset(a);
    }
    arena_free(a);
}

/* One valid block of each kind. */
enum { KINDS = 7 };
static void make_block(int kind, struct buf *out, struct buf *summary, struct arena *a)
{
    struct block_writer w;
    struct head_point p[64];
    struct head_cell cells[20];
    struct tsdb_hist h[64];
    static const char *names[] = {"a", "ab", "abc", "b"};
    block_writer_init(&w, BLOCK_SERIES_TARGET);
    for (uint32_t i = 0; i < 6 && kind < 4; i++) {
        fill(p, 64, (enum shape)(i % SHAPES), i % 2);
        for (uint32_t k = 0; k < 64; k++) {
            assert_int_equal(tsdb_hist_of(k * 0.25, a, &h[k]), ERR_OK);
            p[k].hist = kind == 1 ? &h[k] : NULL;
        }
        for (uint32_t k = 0; k < 20; k++) {
            cells[k] = (struct head_cell){.minute = 29919480 + k * (i + 1), .add = (int64_t)k - 5};
            if (kind == 3)
                cells[k].hist = &h[k];
        }
        if (kind == 0)
            block_writer_samples(&w, i, p, 64);
        else if (kind == 1)
            block_writer_hists(&w, i, p, 64);
        else
            block_writer_cells(&w, i, cells, 20, kind == 3);
    }
    if (kind < 4) {
        block_writer_finish(&w, false, out, summary);
    } else if (kind == 4) {
        struct tsdb_labels l[4];
        for (int i = 0; i < 4; i++) {
            struct tsdb_label one = {BYTES_LIT("name"), bytes_str(names[i])};
            assert_int_equal(tsdb_labels_build(&one, 1, a, &l[i], NULL), ERR_OK);
        }
        assert_int_equal(block_index_write(l, 0, 4, out), 4);
    } else if (kind == 5) {
        struct block_trace t[50];
        for (uint32_t i = 0; i < 50; i++)
            t[i] = (struct block_trace){i * 1000, i / 10, i, i % 3};
        block_traces_write(t, 50, out, summary);
    } else {
        struct block_exemplar x[3] = {{.t_ms = 1, .value = 2}, {.t_ms = -3}, {.value = 5}};
        block_exemplars_write(x, 3, out);
    }
    block_writer_done(&w);
}

/* Reads all of it; any answer but a crash or an unbounded allocation is fine. */
static enum err read_block(int kind, struct bytes block, struct arena *a)
{
    struct block_series b;
    struct block_index_series *s;
    struct block_trace *t;
    struct block_exemplar *x;
    uint32_t n, first;
    if (kind == 4)
        return block_index_read(block, 1, a, &first, &s, &n);
    if (kind == 5)
        return block_traces_find(block, 7000, a, &t, &n);
    if (kind == 6)
        return block_exemplars_read(block, a, &x, &n);
    enum err e = block_series_open(block, a, &b);
    for (uint32_t i = 0; e == ERR_OK && i < b.chunk_count; i++) {
        struct head_point *p;
        struct block_cells c;
        struct head_cell *cells;
        if (kind == 0)
            e = block_series_samples(&b, i, a, &p, &n);
        else if (kind == 1)
            e = block_series_hists(&b, i, a, &p, &n);
        else if ((e = block_series_cells(&b, i, &c)) == ERR_OK)
            e = block_cells_read(&c, a, &cells);
    }
    return e;
}

static void readers_survive_any_bytes(void **unused)
{
    struct arena *a = arena_new(16u << 20), *keep = arena_new(0);
    for (int kind = 0; kind < KINDS; kind++) {
        struct buf block = {0}, summary = {0};
        make_block(kind, &block, &summary, keep);
        assert_int_equal(read_block(kind, buf_bytes(&block), a), ERR_OK);
        uint32_t refused = 0;
        for (int round = 0; round < 1500; round++) {
            size_t size = round % 3 ? block.size : rnd((uint32_t)block.size);
            uint8_t *copy =
                malloc(size + 1); /* its own block, so that the sanitizer sees its end */
            memcpy(copy, block.data, size);
            for (uint32_t i = rnd(4); size && i-- > 0;)
                copy[rnd((uint32_t)size)] = (uint8_t)rnd(256);
            arena_reset(a);
            enum err e = read_block(kind, bytes_of(copy, size), a);
            assert_true(e == ERR_OK || e == ERR_CORRUPT || e == ERR_LIMIT || e == ERR_NEWER);
            refused += e != ERR_OK;
            free(copy);
        }
        assert_true(refused > 400); /* every truncation at least */
        buf_done(&block), buf_done(&summary);
    }
    arena_free(a), arena_free(keep);
}

static void traces_are_found_and_others_filtered(void **unused)
{
    enum { N = 5000 };
    struct block_trace *t = calloc(N, sizeof(*t)), *found;
    struct buf block = {0}, summary = {0};
    struct arena *a = arena_new(0);
    uint32_t n, wrong = 0;
    for (uint32_t i = 0; i < N; i++)
        t[i] = (struct block_trace){(uint64_t)i << 40, i / 100, i % 100, i % 4};
    block_traces_write(t, N, &block, &summary);
    for (uint32_t i = 0; i < N; i += 77) {
        assert_true(block_traces_may_have(buf_bytes(&summary), t[i].key));
        assert_int_equal(block_traces_find(buf_bytes(&block), t[i].key, a, &found, &n), ERR_OK);
        assert_int_equal(n, 1 + t[i].more);
        for (uint32_t k = 0; k < n; k++)
            assert_true(found[k].n == t[i].n && found[k].row == t[i].row + k);
    }
    for (uint32_t i = 0; i + 1 < N; i++)
        wrong += block_traces_may_have(buf_bytes(&summary), t[i].key + 1 + rnd(1u << 30));
    print_message("trace filter: %.1f %% false\n", 100.0 * wrong / N);
    assert_true(wrong < N / 4);
    free(t);
    buf_done(&block), buf_done(&summary);
    arena_free(a);
}

static void a_running_sum_equals_adding_one_by_one(void **unused)
{
    struct arena *a = arena_new(0);
    for (int round = 0; round < 20; round++) {
        struct tsdb_hist slow = {0}, one, got, next;
        struct hist_sum sum;
        hist_sum_init(&sum, a);
        for (int i = 0; i < 50; i++) {
            double v = rnd(2) ? rnd(1000) * 0.25 : (round % 3 ? 0.5 : -3.0);
            assert_int_equal(tsdb_hist_of(v, a, &one), ERR_OK);
            if (round % 5 == 4 && i % 7 == 3)
                one = slow; /* a sum of many into the sum */
            if (i == 0) {
                assert_int_equal(tsdb_hist_copy(&one, a, &slow), ERR_OK);
            } else {
                assert_int_equal(tsdb_hist_add(&slow, &one, 1, a, &next), ERR_OK);
                slow = next;
            }
            assert_int_equal(hist_sum_add(&sum, &one), ERR_OK);
        }
        assert_int_equal(hist_sum_get(&sum, &got), ERR_OK);
        assert_true(tsdb_hist_equal_bits(&got, &slow));
        arena_reset(a);
    }
    arena_free(a);
}

static void bytes_and_time_per_sample(void **unused)
{
    static const char *names[] = {"constant", "counter", "even", "decimal", "noise", "special"};
    struct head_point p[240];
    struct arena *a = arena_new(0);
    for (int shape = 0; shape < SHAPES; shape++) {
        struct block_writer w;
        struct buf block = {0}, summary = {0};
        struct block_series b;
        struct head_point *got;
        uint32_t n, rows = 0;
        block_writer_init(&w, BLOCK_SERIES_TARGET);
        fill(p, 240, (enum shape)shape, true);
        int64_t t0 = clock_mono_ns();
        for (uint32_t i = 0; i < 50; i++, rows += 240)
            block_writer_samples(&w, i, p, 240);
        block_writer_finish(&w, false, &block, &summary);
        int64_t t1 = clock_mono_ns();
        assert_int_equal(block_series_open(buf_bytes(&block), a, &b), ERR_OK);
        for (uint32_t i = 0; i < b.chunk_count; i++)
            assert_int_equal(block_series_samples(&b, i, a, &got, &n), ERR_OK);
        int64_t t2 = clock_mono_ns();
        print_message("%-8s %.2f B, write %.0f ns, read %.0f ns a sample\n", names[shape],
                      (double)block.size / rows, (double)(t1 - t0) / rows,
                      (double)(t2 - t1) / rows);
        block_writer_done(&w);
        buf_done(&block), buf_done(&summary);
        arena_reset(a);
    }
    arena_free(a);
}

/* What a series costs in an index: a scrape job of 16,000 series, and one where a label is a random id (16 bytes that cannot be saved). */
static void an_index_costs_few_bytes_a_series(void **unused)
{
    enum { SERIES = 16000 };
    for (int has_id = 0; has_id < 2; has_id++) {
        struct arena *a = arena_new(0);
        struct tsdb_labels *labels = ARENA_ARRAY(a, struct tsdb_labels, SERIES);
        struct block_index_series *back;
        struct buf block = {0};
        uint64_t random = 1;
        uint32_t first, n;
        for (unsigned i = 0; i < SERIES; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            struct tsdb_label l[] = {
                {BYTES_LIT("__name__"), arena_printf(a, "http_requests_%u_total", i / 400)},
                {BYTES_LIT("instance"), arena_printf(a, "10.3.%u.%u:8080", i % 400 / 20, i % 20)},
                {BYTES_LIT("job"), BYTES_LIT("gateway")},
                {BYTES_LIT("zone"),
                 has_id ? arena_printf(a, "%016llx%016llx", (unsigned long long)random,
                                       (unsigned long long)(random * 77777777777777777u))
                        : BYTES_LIT("eu-1")}};
            assert_int_equal(tsdb_labels_build(l, 4, a, &labels[i], NULL), ERR_OK);
        }
        assert_int_equal(block_index_write(labels, 0, SERIES, &block), SERIES);
        assert_in_range(block.size, 1, SERIES * (has_id ? 40 : 4));
        assert_int_equal(block_index_read(buf_bytes(&block), 1, a, &first, &back, &n), ERR_OK);
        assert_int_equal(n, SERIES);
        for (unsigned i = 0; i < SERIES; i++)
            assert_true(tsdb_labels_equal(back[i].labels, labels[i]));
        buf_done(&block);
        arena_free(a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_index_costs_few_bytes_a_series),
        cmocka_unit_test(samples_of_every_shape_come_back_bit_for_bit),
        cmocka_unit_test(readers_survive_any_bytes),
        cmocka_unit_test(traces_are_found_and_others_filtered),
        cmocka_unit_test(a_running_sum_equals_adding_one_by_one),
        cmocka_unit_test(bytes_and_time_per_sample),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
