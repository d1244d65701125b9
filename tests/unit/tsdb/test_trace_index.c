/* Traces are found by their whole id: tracers that fill one half with zeros, or with the second of the day, cost no more than others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/log.h"
#include "tsdb/block_index.h"
#include "tsdb/files.h"
#include "tsdb/helper_rows.h"

#define TRACES 2000u
#define SPANS_A_TRACE 3u

enum shape { PADDED_LEFT, PADDED_RIGHT, SECONDS_THEN_ZEROS, SHAPES };

static struct tsdb_id16 id_of(enum shape shape, uint64_t i)
{
    struct tsdb_id16 id = {{0}};
    uint64_t r = (i + 1) * UINT64_C(0x9e3779b97f4a7c15);
    bytes_put_u64be(id.b + (shape == PADDED_RIGHT ? 0 : 8), r);
    if (shape == SECONDS_THEN_ZEROS)
        bytes_put_u64be(id.b, UINT64_C(0x6a000000) << 32);
    return id;
}

static int by_number(const void *x, const void *y)
{
    uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;
    return (a > b) - (a < b);
}

static void keys_of_ids_that_share_a_half_differ(void **state)
{
    uint64_t *keys = calloc(TRACES, sizeof(*keys));
    for (int shape = 0; shape < SHAPES; shape++) {
        for (uint64_t i = 0; i < TRACES; i++)
            keys[i] = block_trace_key(id_of((enum shape)shape, i));
        qsort(keys, TRACES, sizeof(*keys), by_number);
        for (uint64_t i = 1; i < TRACES; i++)
            assert_true(keys[i] != keys[i - 1]);
    }
    free(keys);
}

static struct tsdb_batch *batch_of(enum shape shape)
{
    struct tsdb_batch *b = tsdb_batch_new(ROWS_ORG, TSDB_SPANS, 64u << 20);
    assert_non_null(b);
    for (uint64_t i = 0; i < (uint64_t)TRACES * SPANS_A_TRACE; i++) {
        uint32_t row = tsdb_batch_add_span(b);
        assert_true(row != TSDB_NO_ROW);
        b->spans.trace_id[row] = id_of(shape, i % TRACES);
        bytes_put_u64be(b->spans.span_id[row].b, i + 1);
        b->spans.start_ns[row] = ROWS_T0_NS + (int64_t)i;
        b->spans.end_ns[row] = ROWS_T0_NS + (int64_t)i + 1000;
        b->spans.name[row] = BYTES_LIT("n");
        b->spans.service[row] = BYTES_LIT("s");
    }
    b->received = (uint64_t)TRACES * SPANS_A_TRACE;
    b->received_ns = ROWS_T0_NS;
    return b;
}

static void look_for(struct tsdb *db, enum shape shape)
{
    struct tsdb_view *v;
    struct arena *a = arena_new(64u << 20);
    struct tsdb_spans spans;
    assert_int_equal(tsdb_view_open(db, ROWS_ORG, NULL, &v), ERR_OK);
    for (uint64_t i = 0; i < TRACES; i += 131) {
        arena_reset(a);
        assert_int_equal(tsdb_trace(v, id_of(shape, i), a, &spans), ERR_OK);
        assert_int_equal(spans.count, SPANS_A_TRACE);
        for (uint32_t k = 0; k < spans.count; k++)
            assert_memory_equal(spans.trace_id[k].b, id_of(shape, i).b, 16);
    }
    assert_int_equal(tsdb_trace(v, id_of(shape, TRACES + 1), a, &spans), ERR_NOT_FOUND);
    tsdb_view_close(v);
    arena_free(a);
}

static void traces_are_found_whatever_half_of_their_id_is_filled(void **state)
{
    for (int shape = 0; shape < SHAPES; shape++) {
        char dir[] = "/tmp/telltale-traces-XXXXXX";
        struct tsdb *db;
        struct err_msg msg = {""};
        log_set_level(LOG_LEVEL_ERROR);
        assert_non_null(mkdtemp(dir));
        assert_int_equal(tsdb_open(&(struct tsdb_options){.dir = dir}, &db, &msg), ERR_OK);
        assert_int_equal(rows_append(db, batch_of((enum shape)shape), NULL), ERR_OK);
        look_for(db, (enum shape)shape); /* of the head */
        assert_int_equal(tsdb_flush(db, false, &msg), ERR_OK);
        look_for(db, (enum shape)shape);
        assert_int_equal(tsdb_flush(db, true, &msg), ERR_OK); /* compacted */
        look_for(db, (enum shape)shape);
        tsdb_close(db, false);
        files_remove_tree(dir);
    }
}

/* As agents make them: more rows than a block of spans holds. */
static void an_index_of_very_long_traces_is_read_and_found(void **state)
{
    enum { N = 20 };
    struct block_trace t[N], *found;
    struct buf block = {0}, summary = {0};
    struct arena *a = arena_new(0);
    uint32_t n;
    for (uint32_t i = 0; i < N; i++)
        t[i] = (struct block_trace){i / 10, i, 0, BLOCK_TRACE_ROWS_MAX - 1};
    block_traces_write(t, N, &block, &summary);
    assert_int_equal(block_traces_read(buf_bytes(&block), a, &found, &n), ERR_OK);
    assert_int_equal(n, N);
    assert_int_equal(found[N - 1].more, BLOCK_TRACE_ROWS_MAX - 1);
    assert_int_equal(block_traces_find(buf_bytes(&block), 1, a, &found, &n), ERR_OK);
    assert_int_equal(n, N / 2 * BLOCK_TRACE_ROWS_MAX);
    buf_done(&block);
    buf_done(&summary);
    arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_of_ids_that_share_a_half_differ),
        cmocka_unit_test(traces_are_found_whatever_half_of_their_id_is_filled),
        cmocka_unit_test(an_index_of_very_long_traces_is_read_and_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
