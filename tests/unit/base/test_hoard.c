/* Blocks of slabs: none overlaps another, ends are given back, empty slabs are kept only up to the limit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/arena.h"
#include "base/check.h"
#include "base/hoard.h"

#define BLOCKS 200u

struct block {
    uint8_t *p;
    size_t size;
};

static uint32_t next_random(uint32_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 17;
    *x ^= *x << 5;
    return *x;
}

static void fill(const struct block *b, uint8_t v)
{
    memset(b->p, v, b->size);
}

static void assert_filled(const struct block *b, uint8_t v)
{
    for (size_t i = 0; i < b->size; i += 509)
        assert_int_equal(b->p[i], v);
    assert_int_equal(b->p[b->size - 1], v);
}

static void blocks_never_overlap(void **state)
{
    static struct block blocks[BLOCKS];
    uint32_t random = 12345;
    for (unsigned round = 0; round < 5000; round++) {
        uint32_t i = next_random(&random) % BLOCKS;
        struct block *b = &blocks[i];
        if (!b->p) {
            size_t want =
                next_random(&random) % (next_random(&random) % 8 ? 200000 : HOARD_BLOCK_MAX) + 1;
            b->p = hoard_alloc(want, &b->size);
            assert_non_null(b->p);
            assert_true(b->size >= want && b->size < want + 2 * HOARD_UNIT);
            assert_int_equal((uintptr_t)b->p % 64, 0);
            fill(b, (uint8_t)i);
            continue;
        }
        assert_filled(b, (uint8_t)i);
        if (next_random(&random) % 2) {
            size_t keep = next_random(&random) % b->size;
            size_t now = hoard_shrink(b->p, b->size, keep);
            assert_true(now >= keep && now <= b->size && now < keep + 2 * HOARD_UNIT);
            b->size = now;
        } else {
            hoard_free(b->p, b->size);
            b->p = NULL;
        }
    }
    for (unsigned i = 0; i < BLOCKS; i++)
        if (blocks[i].p) {
            assert_filled(&blocks[i], (uint8_t)i);
            hoard_free(blocks[i].p, blocks[i].size);
        }
}

static void memory_given_back_is_kept_to_a_limit_and_used_again(void **state)
{
    struct block blocks[64];
    hoard_keep(4 * HOARD_SIZE);
    for (unsigned i = 0; i < ARRAY_LEN(blocks); i++) {
        blocks[i].p = hoard_alloc(HOARD_BLOCK_MAX - HOARD_HEADER, &blocks[i].size);
        assert_non_null(blocks[i].p);
    }
    assert_true(hoard_mapped() >= 32 * HOARD_SIZE);
    for (unsigned i = 0; i < ARRAY_LEN(blocks); i++)
        hoard_free(blocks[i].p, blocks[i].size);
    size_t kept = hoard_mapped();
    assert_true(kept <= 4 * HOARD_SIZE);
    for (unsigned i = 0; i < 4; i++)
        assert_non_null(blocks[i].p = hoard_alloc(HOARD_UNIT, &blocks[i].size));
    assert_int_equal(hoard_mapped(), kept);
    for (unsigned i = 0; i < 4; i++)
        hoard_free(blocks[i].p, blocks[i].size);
    assert_null(hoard_alloc(HOARD_BLOCK_MAX + 1, &blocks[0].size));
}

static void what_is_kept_goes_back_when_asked_for(void **state)
{
    struct block a[8], b;
    hoard_keep(16 * HOARD_SIZE);
    for (unsigned i = 0; i < ARRAY_LEN(a); i++)
        assert_non_null(a[i].p = hoard_alloc(HOARD_BLOCK_MAX - HOARD_HEADER, &a[i].size));
    assert_non_null(b.p = hoard_alloc(HOARD_UNIT, &b.size));
    memset(b.p, 7, b.size);
    for (unsigned i = 0; i < ARRAY_LEN(a); i++)
        hoard_free(a[i].p, a[i].size);
    size_t kept = hoard_kept(), mapped = hoard_mapped();
    assert_true(kept >= 3 * HOARD_SIZE); /* of the four, one may hold the block that lives on */
    hoard_trim(kept); /* that much may stay */
    assert_int_equal(hoard_kept(), kept);
    hoard_trim(HOARD_SIZE + 1);
    assert_int_equal(hoard_kept(), HOARD_SIZE);
    hoard_trim(0);
    assert_int_equal(hoard_kept(), 0);
    assert_int_equal(hoard_mapped(), mapped - kept);
    assert_filled(&b, 7); /* what is in use is not touched */
    hoard_free(b.p, b.size);
}

static void an_arena_that_expected_too_much_gives_it_back(void **state)
{
    struct arena *a = arena_new(8u << 20);
    arena_expect(a, 1u << 20);
    uint8_t *p = arena_alloc(a, 1000);
    memset(p, 3, 1000);
    arena_trim(a);
    assert_true(arena_used(a) < 2 * HOARD_UNIT);
    uint8_t *q = arena_alloc(a, 40000);
    memset(q, 4, 40000);
    assert_int_equal(p[999], 3);
    arena_trim(a);
    assert_non_null(arena_alloc(a, 10));
    arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_never_overlap),
        cmocka_unit_test(memory_given_back_is_kept_to_a_limit_and_used_again),
        cmocka_unit_test(what_is_kept_goes_back_when_asked_for),
        cmocka_unit_test(an_arena_that_expected_too_much_gives_it_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
