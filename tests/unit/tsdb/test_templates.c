/* Lines that are made alike come back as they were, whatever bytes they hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/check.h"
#include "tsdb/columns.h"
#include "tsdb/templates.h"

#define LINES_MAX 400u

static uint64_t seed = 9;
static uint32_t rnd(uint32_t below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((seed >> 33) % below);
}

static const struct vector_source *no_source(void *ctx, uint32_t number)
{
    (void)ctx, (void)number;
    return NULL;
}

/* One of a few makes of line, with what each kind of variable is tempted by. */
static struct bytes make_line(struct arena *a, uint32_t kind)
{
    struct buf b = {0};
    switch (kind) {
    case 0:
        buf_printf(&b, "2026-11-20T%02u:00:%02u.%03uZ order %u of %u: \"%s %u\" done", rnd(24),
                   rnd(60), rnd(1000), rnd(1u << 31), rnd(3), rnd(2) ? "GET /a" : "PUT /b/c",
                   rnd(1000));
        break;
    case 1:
        buf_printf(&b, "{\"id\":\"%08x-%04x-4%03x-8%03x-%012x\",\"n\":%u,\"k%u\":\"x\\\"%u\"}",
                   rnd(1u << 31), rnd(65536), rnd(4096), rnd(4096), rnd(1u << 31), rnd(9), rnd(2),
                   rnd(5000));
        break;
    case 2:
        buf_printf(&b, "key=%016llx part %04u/%0*u A%02u %s", (unsigned long long)seed, rnd(10000),
                   (int)rnd(5), rnd(1000), rnd(60), rnd(2) ? "" : "12345678901234567890");
        break;
    case 3: buf_printf(&b, "caf\xc3\xa9 %u \"open %u", rnd(100), rnd(100)); break;
    default:
        for (uint32_t n = rnd(60); n > 0; n--)
            buf_u8(&b, (uint8_t)rnd(rnd(2) ? 256 : 8));
    }
    if (rnd(12) == 0 && b.size) /* a byte of anything anywhere */
        b.data[rnd((uint32_t)b.size)] = (uint8_t)rnd(256);
    struct bytes line = arena_copy(a, buf_bytes(&b));
    buf_done(&b);
    return line;
}

static void put(const struct bytes *v, uint32_t m, struct buf *out)
{
    struct vector_coder c = {.a = arena_new(0), .zip = &columns_zip_block, .row_count = m};
    vector_put_strings(&c, v, m, NULL, out);
    assert_true(buf_ok(out));
    vector_coder_done(&c);
    arena_free(c.a);
}

static enum err get(struct bytes in, uint32_t m, struct arena *a, struct bytes **out)
{
    struct vector_coder c = {.a = a, .row_count = m, .source = no_source};
    struct reader r = reader_of(in);
    enum err e = vector_get_strings(&c, &r, m, NULL, out);
    vector_coder_done(&c);
    return e == ERR_OK && reader_left(&r) ? ERR_CORRUPT : e;
}

static void lines_of_any_bytes_come_back_as_they_were(void **unused)
{
    static struct bytes v[LINES_MAX];
    struct bytes *back;
    uint32_t by_template = 0;
    for (int round = 0; round < 120; round++) {
        struct arena *a = arena_new(0);
        struct buf out = {0}, again = {0};
        uint32_t m = TEMPLATES_LINES_MIN + rnd(LINES_MAX - TEMPLATES_LINES_MIN), kinds = 1 + rnd(5);
        for (uint32_t i = 0; i < m; i++)
            v[i] = make_line(a, round % 5 == 3 ? 4 : round % 5 == 4 ? rnd(5) : rnd(kinds));
        put(v, m, &out);
        put(v, m, &again);
        assert_true(bytes_equal(buf_bytes(&out), buf_bytes(&again)));
        by_template += out.data[0] == 3;
        assert_int_equal(get(buf_bytes(&out), m, a, &back), ERR_OK);
        for (uint32_t i = 0; i < m; i++)
            assert_true(bytes_equal(v[i], back[i]));
        buf_done(&out), buf_done(&again);
        arena_free(a);
    }
    assert_in_range(by_template, 60, 119); /* and where the lines are not alike, not */
}

static void lines_of_one_make_take_what_differs_in_them(void **unused)
{
    static struct bytes v[LINES_MAX];
    struct arena *a = arena_new(0);
    struct buf out = {0};
    for (uint32_t i = 0; i < LINES_MAX; i++)
        v[i] = arena_printf(a, "user %u of tenant acme has been seen at door %u, badge %016llx",
                            rnd(256), rnd(16), (unsigned long long)(seed * 0x9e3779b97f4a7c15u));
    put(v, LINES_MAX, &out);
    assert_in_range(out.size, LINES_MAX * 9, LINES_MAX * 11); /* 1 + 0.5 + 8 and the template */
    buf_done(&out);
    arena_free(a);
}

static void readers_survive_any_bytes(void **unused)
{
    static struct bytes v[LINES_MAX];
    struct arena *a = arena_new(0), *scratch = arena_new(64u << 20);
    struct buf out = {0};
    struct bytes *back;
    uint32_t refused = 0;
    for (uint32_t i = 0; i < LINES_MAX; i++)
        v[i] = make_line(a, rnd(4));
    put(v, LINES_MAX, &out);
    assert_int_equal(out.data[0], 3);
    for (int round = 0; round < 1500; round++) {
        size_t size = round % 3 ? out.size : rnd((uint32_t)out.size);
        uint8_t *copy = malloc(size + 1);
        memcpy(copy, out.data, size);
        for (uint32_t i = 1 + rnd(4); size && i-- > 0;)
            copy[rnd(round % 2 ? (uint32_t)size : MIN((uint32_t)size, 64u))] = (uint8_t)rnd(256);
        arena_reset(scratch);
        enum err e = get(bytes_of(copy, size), LINES_MAX, scratch, &back);
        assert_true(e == ERR_OK || e == ERR_CORRUPT || e == ERR_LIMIT);
        refused += e != ERR_OK;
        free(copy);
    }
    assert_true(refused > 500);
    buf_done(&out);
    arena_free(a);
    arena_free(scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_of_any_bytes_come_back_as_they_were),
        cmocka_unit_test(lines_of_one_make_take_what_differs_in_them),
        cmocka_unit_test(readers_survive_any_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
