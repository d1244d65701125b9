/* Records of token streams, as they are read for a trace: whatever they hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include <math.h>

#include "base/check.h"
#include "query/query_stream.h"
#include "tsdb/tsdb_timeline.h"

#define MS INT64_C(1000000)

static void put_times(struct buf *out, int64_t start_ns, int64_t end_ns)
{
    tsdb_attrs_put_str(out, BYTES_LIT("result"), BYTES_LIT("complete"));
    tsdb_attrs_put_i64(out, BYTES_LIT("start_ns"), start_ns);
    tsdb_attrs_put_i64(out, BYTES_LIT("end_ns"), end_ns);
}

static void put_timeline(struct buf *out, const struct tsdb_timeline_chunk *chunks, size_t n)
{
    struct buf bytes = {0};
    struct tsdb_timeline_writer w = tsdb_timeline_begin(&bytes);
    for (size_t i = 0; i < n; i++)
        tsdb_timeline_put(&w, &chunks[i]);
    tsdb_attrs_put(out, BYTES_LIT("timeline"),
                   (struct tsdb_value){TSDB_VALUE_BYTES, {.bytes = buf_bytes(&bytes)}});
    buf_done(&bytes);
}

/* Also where the length of the stream is no multiple of anything, and for chunks at its very ends. */
static void bins_hold_every_token_once(void **ctx)
{
    static const int64_t lengths[] = {0,         1,         99999,         100000,       12 * MS,
                                      1201 * MS, 7919 * MS, 86400000 * MS, INT64_MAX / 2};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        struct buf attrs = {0};
        struct query_stream s;
        const struct tsdb_timeline_chunk chunks[] = {
            {0, 1, 0}, {lengths[i] / 3, 5, 1}, {lengths[i] / 2, 7, 0}, {lengths[i], 1000, 2}};
        put_times(&attrs, 1000 * MS, 1000 * MS + lengths[i]);
        put_timeline(&attrs, chunks, ARRAY_LEN(chunks));
        assert_true(query_stream_decode(buf_bytes(&attrs), &s));
        uint64_t sum = 0;
        for (uint32_t b = 0; b < s.bin_count; b++)
            sum += s.bins[b];
        assert_int_equal(sum, 1013);
        assert_in_range(s.bin_count, 1, QUERY_STREAM_BINS_MAX);
        assert_true((double)s.bin_ns * s.bin_count >= (double)lengths[i]);
        assert_true(s.bins[0] >= 1);
        assert_true(s.bins[s.bin_count - 1] >= 1000);
        buf_done(&attrs);
    }
}

static void what_is_not_said_is_unknown(void **ctx)
{
    struct buf attrs = {0};
    struct query_stream s;
    put_times(&attrs, 5, 9);
    tsdb_attrs_put_str(&attrs, BYTES_LIT("ttft_ns"), BYTES_LIT("3"));
    tsdb_attrs_put_i64(&attrs, BYTES_LIT("timeline"), 3);
    tsdb_attrs_put_i64(&attrs, BYTES_LIT("tokens_output"), -7);
    assert_true(query_stream_decode(buf_bytes(&attrs), &s));
    assert_int_equal(s.ttft_ns, -1);
    assert_int_equal(s.output, 0);
    assert_int_equal(s.bin_count, 0);
    assert_int_equal(s.stall_count, 0);
    assert_true(isnan(s.tokens_per_second) && isnan(s.mean_logprob));
    buf_done(&attrs);
}

static void a_record_without_its_times_is_no_stream(void **ctx)
{
    static const int64_t times[][2] = {{-1, 5}, {9, 5}, {INT64_MIN, INT64_MAX}};
    struct query_stream s;
    assert_false(query_stream_decode(BYTES_NONE, &s));
    for (size_t i = 0; i < ARRAY_LEN(times); i++) {
        struct buf attrs = {0};
        put_times(&attrs, times[i][0], times[i][1]);
        assert_false(query_stream_decode(buf_bytes(&attrs), &s));
        buf_done(&attrs);
    }
}

#define T(name) cmocka_unit_test(name)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(bins_hold_every_token_once),
        T(what_is_not_said_is_unknown),
        T(a_record_without_its_times_is_no_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
