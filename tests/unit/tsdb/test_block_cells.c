/* Cells of a series and day: what is written is read, and any window is the sum of few of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/check.h"
#include "tsdb/block_cells.h"
#include <stdlib.h>

#define DAY 29918880u

static uint64_t seed = 3;
static uint32_t rnd(uint32_t below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((seed >> 33) % below);
}

static uint32_t make(struct head_cell *c, uint32_t one_in)
{
    uint32_t n = 0;
    for (uint32_t m = 0; m < 1440; m++)
        if (rnd(one_in) == 0)
            c[n++] = (struct head_cell){.minute = DAY + m, .add = (int64_t)rnd(90) - 20};
    if (n == 0)
        c[n++] = (struct head_cell){.minute = DAY + 77, .add = INT64_MAX};
    return n;
}

struct summed {
    int64_t sum;
    uint32_t calls, from, to;
    bool outside;
};

static void add(void *ctx, uint32_t series, uint32_t minute, int64_t add)
{
    struct summed *s = ctx;
    assert_int_equal(series, 9);
    s->sum = (int64_t)((uint64_t)s->sum + (uint64_t)add);
    s->calls++;
    s->outside |= minute < s->from || minute >= s->to;
}

static void any_window_is_the_sum_of_its_cells_in_at_most_23_hours_and_118_minutes(void **unused)
{
    static struct head_cell cells[1440];
    struct arena *a = arena_new(0);
    uint32_t most = 0;
    for (int round = 0; round < 300; round++) {
        struct buf chunk = {0};
        struct block_cells c;
        struct head_cell *back;
        uint32_t n = make(cells, round % 4 == 0 ? 1 : 1 + rnd(40));
        block_cells_write(cells, n, false, &chunk);
        arena_reset(a);
        assert_int_equal(block_cells_open(buf_bytes(&chunk), 4096, &c), ERR_OK);
        assert_int_equal(block_cells_read(&c, a, &back), ERR_OK);
        assert_int_equal(c.count, n);
        for (uint32_t i = 0; i < n; i++)
            assert_true(back[i].minute == cells[i].minute && back[i].add == cells[i].add);
        for (int window = 0; window < 40; window++) {
            uint32_t from = DAY - 60 + rnd(1560), to = from + rnd(1500);
            int64_t want = 0;
            for (uint32_t i = 0; i < n; i++)
                if (cells[i].minute >= from && cells[i].minute < to)
                    want = (int64_t)((uint64_t)want + (uint64_t)cells[i].add);
            for (int sums = 0; sums < 2; sums++) {
                struct summed s = {.from = from, .to = to};
                assert_int_equal(block_cells_walk(&c, from, to, sums, add, &s, 9), ERR_OK);
                assert_true(s.sum == want && !s.outside);
                if (sums && !(from <= c.minute_first && c.minute_last < to))
                    most = MAX(most, s.calls);
            }
        }
        buf_done(&chunk);
    }
    assert_true(most > 23 && most <= 23 + BLOCK_CELLS_PLAIN_MAX);
    arena_free(a);
}

static void a_wrong_sum_of_an_hour_is_not_believed(void **unused)
{
    static struct head_cell cells[1440];
    struct arena *a = arena_new(0);
    struct buf chunk = {0};
    struct block_cells c;
    struct head_cell *back;
    uint32_t n = make(cells, 1), refused = 0;
    block_cells_write(cells, n, false, &chunk);
    for (size_t at = 8; at < 150; at++) { /* head and directory */
        uint8_t was = chunk.data[at];
        chunk.data[at] ^= 2;
        arena_reset(a);
        enum err e = block_cells_open(buf_bytes(&chunk), 4096, &c);
        if (e == ERR_OK)
            e = block_cells_read(&c, a, &back);
        refused += e == ERR_CORRUPT;
        chunk.data[at] = was;
    }
    assert_true(refused >= 140); /* of 142: the last minute alone is only proved by who knows it */
    buf_done(&chunk);
    arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_window_is_the_sum_of_its_cells_in_at_most_23_hours_and_118_minutes),
        cmocka_unit_test(a_wrong_sum_of_an_hour_is_not_believed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
