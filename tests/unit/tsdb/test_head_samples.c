/* Samples of a head's series: what comes out is bit by bit what went in, and in few bytes. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "tsdb/head_samples.h"

#define SAMPLES 5000u

static uint64_t state_of_random = 1;

static uint64_t random_bits(void)
{
    state_of_random ^= state_of_random << 13;
    state_of_random ^= state_of_random >> 7;
    state_of_random ^= state_of_random << 17;
    return state_of_random;
}

static double double_of(uint64_t bits)
{
    double v;
    memcpy(&v, &bits, 8);
    return v;
}

static uint64_t bits_of(double v)
{
    uint64_t bits;
    memcpy(&bits, &v, 8);
    return bits;
}

static double any_value(double last)
{
    static const double edges[] = {
        0.0,   -0.0, 1e300,      -1e-300,          9007199254740992.0, -9007199254740991.0,
        0.001, 0.1,  1e15 + 0.5, 4503599627370.496};
    switch (random_bits() % 8) {
    case 0: return last;
    case 1: return last + (double)(random_bits() % 1000);
    case 2: return floor(last) - (double)(random_bits() % 7);
    case 3: return (double)(int64_t)(random_bits() % 2000000 - 1000000) / 1000.0;
    case 4: return double_of(random_bits()); /* NaNs and infinities among them */
    case 5: return edges[random_bits() % ARRAY_LEN(edges)];
    case 6: return double_of(UINT64_C(0x7ff0000000000002)); /* a stale marker */
    default: return last * 1.0001;
    }
}

static int64_t any_time(int64_t last)
{
    switch (random_bits() % 8) {
    case 0: return (int64_t)random_bits(); /* no decoder lets it in; here it must not matter */
    case 1: return last - 15000;
    case 2: return last;
    default: return (int64_t)((uint64_t)last + 15000 + random_bits() % 5);
    }
}

static void any_samples_come_back_bit_by_bit(void **state)
{
    for (unsigned round = 0; round < 40; round++) {
        struct slab slab = {0};
        struct head_samples s = {0};
        struct head_sample *x = calloc(SAMPLES, sizeof(*x)), last = {1735725600000, 0, 1, 0};
        unsigned n = 1 + (unsigned)(random_bits() % SAMPLES);
        assert_non_null(x);
        for (unsigned i = 0; i < n; i++) {
            last.t_ms = any_time(last.t_ms);
            last.value = any_value(last.value);
            if (random_bits() % 50 == 0)
                last.start_ms = (int64_t)random_bits();
            last.ord += (uint32_t)(random_bits() % 9 ? random_bits() % 10 : random_bits() % 100000);
            x[i] = last;
            assert_true(head_samples_add(&s, &slab, &x[i]));
        }
        struct head_samples_iter it = head_samples_begin(&s);
        for (unsigned i = 0; i < n; i++) {
            assert_true(head_samples_next(&it));
            assert_true(it.last.t_ms == x[i].t_ms && it.last.start_ms == x[i].start_ms &&
                        it.last.ord == x[i].ord && bits_of(it.last.value) == bits_of(x[i].value));
        }
        assert_false(head_samples_next(&it));
        free(x);
        slab_done(&slab);
    }
}

static void nothing_was_added_and_nothing_comes(void **state)
{
    struct head_samples s = {0};
    struct head_samples_iter it = head_samples_begin(&s);
    assert_false(head_samples_next(&it));
}

/* 10,000 series of a scrape job: what a sample costs is what decides how many fit. */
static void a_scraped_counter_costs_four_bytes_a_sample(void **state)
{
    struct slab slab = {0};
    struct head_samples *s = calloc(10000, sizeof(*s));
    assert_non_null(s);
    for (uint32_t scrape = 0; scrape < 240; scrape++)
        for (uint32_t i = 0; i < 10000; i++) {
            struct head_sample x = {1735725600000 + scrape * 15000 + i, 0,
                                    (double)(scrape * 100 + random_bits() % 50), scrape * 4};
            assert_true(head_samples_add(&s[i], &slab, &x));
        }
    assert_in_range(slab_bytes(&slab), 1, 240 * 10000 * 4);
    free(s);
    slab_done(&slab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_samples_come_back_bit_by_bit),
        cmocka_unit_test(nothing_was_added_and_nothing_comes),
        cmocka_unit_test(a_scraped_counter_costs_four_bytes_a_sample),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
