#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/hash.h"

static void errors_carry_their_statuses(void **state)
{
    struct err_msg m;
    assert_string_equal(err_name(ERR_TOO_LARGE), "TOO_LARGE");
    assert_int_equal(err_http_status(ERR_UNAVAILABLE), 503);
    assert_int_equal(err_grpc_status(ERR_UNAUTHENTICATED), 16);
    assert_int_equal(err_set(&m, ERR_INVALID, "%0500d", 1), ERR_INVALID);
    assert_int_equal(strlen(m.text), ERR_MSG_MAX - 1);
    assert_string_equal(m.text + ERR_MSG_MAX - 4, "...");
    assert_int_equal(err_set(NULL, ERR_IO, "nobody listens"), ERR_IO);
}

static void slices_compare_and_trim(void **state)
{
    assert_true(bytes_compare(BYTES_LIT("a"), BYTES_LIT("ab")) < 0);
    assert_true(bytes_compare(BYTES_LIT("b"), BYTES_LIT("ab")) > 0);
    assert_true(bytes_equal(BYTES_NONE, BYTES_LIT("")));
    assert_true(bytes_equal(bytes_trim(BYTES_LIT(" \tx y\r\n")), BYTES_LIT("x y")));
    assert_int_equal(bytes_find(BYTES_LIT("abcabd"), BYTES_LIT("abd")), 3);
    assert_int_equal(bytes_find(BYTES_LIT("abc"), BYTES_LIT("x")), 3);
    assert_true(bytes_has_suffix(BYTES_LIT("x_total"), BYTES_LIT("_total")));
    assert_false(bytes_has_prefix(BYTES_LIT("x"), BYTES_LIT("xy")));
    assert_true(bytes_equal_nocase(BYTES_LIT("GZip"), BYTES_LIT("gzIP")));
}

static void only_valid_utf8_is_utf8(void **state)
{
    static const char *const good[] = {"",
                                       "abc",
                                       "h\xc3\xa9llo w\xc3\xb6rld",
                                       "\xe2\x82\xac",
                                       "\xf0\x9f\x98\x80",
                                       "\xf4\x8f\xbf\xbf"};
    static const char *const bad[] = {
        "\x80",         "\xc0\xaf", "\xed\xa0\x80",        "\xe0\x80\x80", "\xf4\x90\x80\x80",
        "abcdefgh\xff", "\xe2\x82", "\xf8\x88\x80\x80\x80"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_true(bytes_is_utf8(bytes_str(good[i])));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(bytes_is_utf8(bytes_str(bad[i])));
}

static void numbers_are_whole_slices_or_nothing(void **state)
{
    int64_t i;
    uint64_t u;
    double d;
    assert_true(bytes_to_i64(BYTES_LIT("-9223372036854775808"), &i) && i == INT64_MIN);
    assert_false(bytes_to_i64(BYTES_LIT("9223372036854775808"), &i));
    assert_true(bytes_to_u64(BYTES_LIT("18446744073709551615"), &u) && u == UINT64_MAX);
    assert_false(bytes_to_u64(BYTES_LIT("18446744073709551616"), &u));
    assert_false(bytes_to_u64(BYTES_LIT(""), &u));
    assert_false(bytes_to_i64(BYTES_LIT("1 "), &i));
    assert_true(bytes_to_f64(BYTES_LIT("1.5e3"), &d) && d == 1500.0);
    assert_true(bytes_to_f64(BYTES_LIT("-Inf"), &d) && d < 0 && d - d != 0);
    assert_true(bytes_to_f64(BYTES_LIT("NaN"), &d) && d != d);
    assert_false(bytes_to_f64(BYTES_LIT("0x10"), &d));
    assert_false(bytes_to_f64(BYTES_LIT("1.5 "), &d));
    assert_false(bytes_to_f64(BYTES_LIT(" 1"), &d));
}

static void hex_goes_both_ways(void **state)
{
    uint8_t raw[4];
    char text[9];
    assert_true(bytes_from_hex(BYTES_LIT("00fFA17e"), raw, 4));
    bytes_to_hex(bytes_of(raw, 4), text);
    assert_string_equal(text, "00ffa17e");
    assert_false(bytes_from_hex(BYTES_LIT("00ffa1"), raw, 4));
    assert_false(bytes_from_hex(BYTES_LIT("00ffa1zz"), raw, 4));
}

static void what_a_buffer_writes_a_reader_reads(void **state)
{
    struct buf b;
    buf_init(&b, 0);
    uint64_t values[] = {0, 1, 127, 128, 300, UINT32_MAX, UINT64_MAX};
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        buf_varint(&b, values[i]);
        buf_zigzag(&b, (int64_t)values[i]);
        buf_zigzag(&b, -(int64_t)(values[i] / 2));
    }
    buf_u32(&b, 7);
    buf_f64(&b, -0.5);
    buf_lenbytes(&b, BYTES_LIT("text"));
    struct reader r = reader_of(buf_bytes(&b));
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        assert_true(reader_varint(&r) == values[i]);
        assert_true(reader_zigzag(&r) == (int64_t)values[i]);
        assert_true(reader_zigzag(&r) == -(int64_t)(values[i] / 2));
    }
    assert_int_equal(reader_u32(&r), 7);
    assert_true(reader_f64(&r) == -0.5);
    assert_true(bytes_equal(reader_lenbytes(&r), BYTES_LIT("text")));
    assert_false(r.failed);
    assert_int_equal(reader_u8(&r), 0);
    assert_true(r.failed);
    buf_done(&b);
}

static void a_reader_refuses_overlong_and_lying_lengths(void **state)
{
    static const uint8_t overlong[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02};
    static const uint8_t lying[] = {0xff, 0xff, 0x03, 'a'};
    struct reader r = reader_of(bytes_of(overlong, sizeof(overlong)));
    assert_true(reader_varint(&r) == 0 && r.failed);
    r = reader_of(bytes_of(lying, sizeof(lying)));
    assert_int_equal(reader_lenbytes(&r).size, 0);
    assert_true(r.failed);
}

static void a_full_buffer_stays_failed(void **state)
{
    struct buf b;
    buf_init(&b, 8);
    buf_u64(&b, 1);
    assert_true(buf_ok(&b));
    buf_u8(&b, 1);
    buf_str(&b, "");
    assert_false(buf_ok(&b));
    assert_int_equal(b.size, 8);
    buf_clear(&b);
    assert_true(buf_ok(&b));
    buf_done(&b);
}

static void an_arena_keeps_its_limit_and_its_bytes(void **state)
{
    struct arena *a = arena_new(100000);
    uint8_t *first = arena_alloc(a, 100), *grown = NULL;
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(first[i], 0);
    memset(first, 7, 100);
    assert_null(arena_alloc(a, 100001));
    size_t n = 0;
    while (arena_alloc(a, 512))
        n++;
    assert_true(n > 100 && arena_used(a) <= 100000);
    assert_int_equal(first[99], 7);
    arena_reset(a);
    for (size_t count = 0; count < 1000; count += 10) {
        grown = arena_grow(a, grown, 4, count, count + 10);
        assert_non_null(grown);
        assert_int_equal(grown[count * 4], 0);
        grown[count * 4] = (uint8_t)count;
    }
    for (size_t count = 0; count < 1000; count += 10)
        assert_int_equal(grown[count * 4], (uint8_t)count);
    assert_true(arena_adopt(a, malloc(1000), 1000));
    assert_false(arena_adopt(a, malloc(100000), 100000));
    assert_int_equal((uintptr_t)arena_alloc(a, 1) % 16, 0);
    assert_true(bytes_equal(arena_printf(a, "%d-%s", 5, "x"), BYTES_LIT("5-x")));
    arena_free(a);
    arena_free(NULL);
}

static void checksums_match_published_values(void **state)
{
    /* RFC 3720, B.4 */
    uint8_t zeros[32] = {0}, ones[32];
    memset(ones, 0xff, sizeof(ones));
    assert_int_equal(hash_crc32c(0, bytes_of(zeros, 32)), 0x8a9136aa);
    assert_int_equal(hash_crc32c(0, bytes_of(ones, 32)), 0x62a8ab43);
    assert_int_equal(hash_crc32c(0, BYTES_LIT("123456789")), 0xe3069283);
    assert_int_equal(hash_crc32c(hash_crc32c(0, BYTES_LIT("1234")), BYTES_LIT("56789")),
                     0xe3069283);
    assert_true(hash64(BYTES_LIT("a"), 0) != hash64(BYTES_LIT("a"), 1));
    assert_true(hash128_equal(hash128(BYTES_NONE, 0), hash128(BYTES_LIT(""), 0)));
}

static void times_are_read_and_written(void **state)
{
    char text[48];
    int64_t v;
    clock_rfc3339(1764004937123, text);
    assert_string_equal(text, "2025-11-24T17:22:17.123Z");
    assert_true(clock_parse_rfc3339("2025-11-24T18:22:17.123456789+01:00", &v));
    assert_true(v == 1764004937123456789);
    assert_true(clock_parse_rfc3339("1970-01-01T00:00:00Z", &v) && v == 0);
    assert_false(clock_parse_rfc3339("2025-02-29T00:00:00Z", &v));
    assert_false(clock_parse_rfc3339("2025-11-24 17:22:17", &v));
    assert_false(clock_parse_rfc3339("2025-11-24T17:22:17", &v));
    assert_false(clock_parse_rfc3339("9999-11-24T17:22:17Z", &v)); /* past what nanoseconds hold */
}

static void durations_are_those_of_prometheus(void **state)
{
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {{"0", 0},
                {"5m", 300000},
                {"1h30m", 5400000},
                {"250ms", 250},
                {"1y2w3d4h5m6s7ms",
                 31536000000 + 14 * 86400000ll + 3 * 86400000ll + 4 * 3600000 + 300000 + 6007}};
    static const char *const bad[] = {
        "", "5", "m", "1m1h", "1m1m", "1.5h", "-5m", "5min", "99999999999999y", "1h "};
    char text[48];
    int64_t ms;
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_true(clock_parse_duration_ms(good[i].text, &ms) && ms == good[i].ms);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(clock_parse_duration_ms(bad[i], &ms));
    clock_format_duration(5400000, text);
    assert_string_equal(text, "1h30m");
    clock_format_duration(30 * 86400000ll, text);
    assert_string_equal(text, "30d");
    clock_format_duration(0, text);
    assert_string_equal(text, "0s");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_carry_their_statuses),
        cmocka_unit_test(slices_compare_and_trim),
        cmocka_unit_test(only_valid_utf8_is_utf8),
        cmocka_unit_test(numbers_are_whole_slices_or_nothing),
        cmocka_unit_test(hex_goes_both_ways),
        cmocka_unit_test(what_a_buffer_writes_a_reader_reads),
        cmocka_unit_test(a_reader_refuses_overlong_and_lying_lengths),
        cmocka_unit_test(a_full_buffer_stays_failed),
        cmocka_unit_test(an_arena_keeps_its_limit_and_its_bytes),
        cmocka_unit_test(checksums_match_published_values),
        cmocka_unit_test(times_are_read_and_written),
        cmocka_unit_test(durations_are_those_of_prometheus),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
