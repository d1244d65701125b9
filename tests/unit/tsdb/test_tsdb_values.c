#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/check.h"
#include "tsdb/tsdb_registry.h"

static struct tsdb_labels labels_of(struct arena *a, const char *const *pairs, size_t n)
{
    struct tsdb_label l[16];
    struct tsdb_labels out = {BYTES_NONE};
    for (size_t i = 0; i < n; i++)
        l[i] = (struct tsdb_label){bytes_str(pairs[2 * i]), bytes_str(pairs[2 * i + 1])};
    assert_int_equal(tsdb_labels_build(l, n, a, &out, NULL), ERR_OK);
    return out;
}

static void equal_label_sets_have_equal_bytes(void **state)
{
    struct arena *a = arena_new(0);
    const char *x[] = {"b", "2", "a", "1", "empty", "", "__name__", "up"},
               *y[] = {"__name__", "up", "a", "1", "b", "2", "a", "1"};
    struct tsdb_labels p = labels_of(a, x, 4), q = labels_of(a, y, 4);
    assert_true(tsdb_labels_equal(p, q));
    assert_int_equal(tsdb_labels_count(p), 3);
    assert_true(bytes_equal(tsdb_labels_get(p, BYTES_LIT("b")), BYTES_LIT("2")));
    assert_int_equal(tsdb_labels_get(p, BYTES_LIT("c")).size, 0);
    assert_int_equal(tsdb_labels_check(p.enc), ERR_OK);
    assert_int_equal(tsdb_labels_check(bytes_slice(p.enc, 0, p.enc.size - 1)), ERR_CORRUPT);
    struct tsdb_label twice[] = {{BYTES_LIT("a"), BYTES_LIT("1")},
                                 {BYTES_LIT("a"), BYTES_LIT("2")}};
    struct err_msg msg;
    assert_int_equal(tsdb_labels_build(twice, 2, a, &p, &msg), ERR_INVALID);
    assert_string_equal(msg.text, "label a is given twice with different values");
    const char *m[] = {"a", "1"}, *n[] = {"a", "1", "b", "0"};
    assert_true(tsdb_labels_compare(labels_of(a, m, 1), labels_of(a, n, 2)) < 0);
    arena_free(a);
}

static void attributes_read_back_and_stop_at_bad_bytes(void **state)
{
    struct buf b = {0}, inner = {0}, text = {0};
    tsdb_attrs_put_value(&inner, (struct tsdb_value){TSDB_VALUE_INT, {.integer = -7}});
    tsdb_attrs_put_value(&inner,
                         (struct tsdb_value){TSDB_VALUE_STRING, {.bytes = BYTES_LIT("x\"")}});
    tsdb_attrs_put_str(&b, BYTES_LIT("k"), BYTES_LIT("v"));
    tsdb_attrs_put(&b, BYTES_LIT("list"),
                   (struct tsdb_value){TSDB_VALUE_ARRAY, {.bytes = buf_bytes(&inner)}});
    tsdb_attrs_put(&b, BYTES_LIT("raw"),
                   (struct tsdb_value){TSDB_VALUE_BYTES, {.bytes = BYTES_LIT("ab")}});
    assert_int_equal(tsdb_attrs_check(buf_bytes(&b)), ERR_OK);
    struct tsdb_value v;
    assert_true(tsdb_attrs_find(buf_bytes(&b), BYTES_LIT("list"), &v));
    tsdb_attrs_text(&text, v);
    assert_true(bytes_equal(buf_bytes(&text), BYTES_LIT("[-7,\"x\\\"\"]")));
    for (size_t cut = 1; cut < b.size;
         cut++) { /* every truncation ends early, and says so unless it falls between two */
        struct tsdb_attrs_iter it = tsdb_attrs_begin(bytes_slice(buf_bytes(&b), 0, cut));
        struct bytes key;
        size_t n = 0;
        while (tsdb_attrs_next(&it, &key, &v))
            n++;
        assert_true(n < 3 && (it.corrupt || reader_left(&it.r) == 0));
    }
    struct buf deep = {0};
    for (int i = 0; i < 70; i++) {
        struct buf outer = {0};
        tsdb_attrs_put(&outer, BYTES_LIT("d"),
                       (struct tsdb_value){TSDB_VALUE_KVLIST, {.bytes = buf_bytes(&deep)}});
        buf_done(&deep);
        deep = outer;
    }
    assert_int_equal(tsdb_attrs_check(buf_bytes(&deep)), ERR_TOO_DEEP);
    struct buf ev = {0};
    struct tsdb_event e = {5, 1, BYTES_LIT("name"), buf_bytes(&b)}, back;
    tsdb_attrs_put_event(&ev, &e);
    tsdb_attrs_put_event(&ev, &e);
    struct tsdb_attrs_iter it = tsdb_attrs_begin(buf_bytes(&ev));
    size_t events = 0;
    while (tsdb_attrs_next_event(&it, &back)) {
        events++;
        assert_true(back.time_ns == 5 && bytes_equal(back.name, e.name) &&
                    bytes_equal(back.attrs, e.attrs));
    }
    assert_int_equal(events, 2);
    buf_done(&b), buf_done(&inner), buf_done(&text), buf_done(&deep), buf_done(&ev);
}

static void observations_fall_into_their_bucket(void **state)
{
    struct arena *a = arena_new(0);
    struct tsdb_hist h;
    double values[] = {1, 1.0000001, 0.5, 0.25, 3.7, 1e-9, 1e9, 0x1p-100};
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        assert_int_equal(tsdb_hist_of(values[i], a, &h), ERR_OK);
        assert_int_equal(tsdb_hist_check(&h, NULL), ERR_OK);
        double upper = __builtin_exp2(h.pos_spans[0].offset / 8.0),
               lower = __builtin_exp2((h.pos_spans[0].offset - 1) / 8.0);
        assert_true(lower < values[i] && values[i] <= upper);
    }
    assert_int_equal(tsdb_hist_of(0, a, &h), ERR_OK);
    assert_true(h.zero_count == 1 && h.pos_count == 0);
    arena_free(a);
}

static void histograms_add_up_and_subtract_to_nothing(void **state)
{
    struct arena *a = arena_new(0);
    struct tsdb_hist sum = {.schema = 3, .zero_threshold = 0x1p-128}, one, next;
    for (int i = 1; i <= 200; i++) {
        assert_int_equal(tsdb_hist_of(i * 0.37 - 3, a, &one), ERR_OK);
        assert_int_equal(tsdb_hist_add(&sum, &one, 1, a, &next), ERR_OK);
        sum = next;
    }
    assert_int_equal(tsdb_hist_check(&sum, NULL), ERR_OK);
    assert_true(sum.count == 200);
    double in_buckets = sum.zero_count;
    for (uint32_t i = 0; i < sum.pos_count; i++)
        in_buckets += sum.pos[i];
    for (uint32_t i = 0; i < sum.neg_count; i++)
        in_buckets += sum.neg[i];
    assert_true(in_buckets == 200);
    struct buf b = {0};
    tsdb_hist_encode(&sum, &b);
    struct reader r = reader_of(buf_bytes(&b));
    assert_int_equal(tsdb_hist_decode(&r, a, &next), ERR_OK);
    assert_true(tsdb_hist_equal_bits(&sum, &next) && reader_left(&r) == 0);
    for (size_t cut = 0; cut < b.size; cut++) {
        r = reader_of(bytes_slice(buf_bytes(&b), 0, cut));
        assert_int_equal(tsdb_hist_decode(&r, a, &next), ERR_CORRUPT);
    }
    assert_int_equal(tsdb_hist_add(&sum, &sum, -1, a, &next), ERR_OK);
    assert_true(next.count == 0 && next.pos_count == 0 && next.neg_count == 0);
    /* a coarser partner makes the sum coarser: (1, 2] of schema 0 holds indices 1..8 of schema 3 */
    static const struct tsdb_hist_span span[] = {{1, 1}};
    static const double two[] = {2};
    struct tsdb_hist coarse = {.schema = 0,
                               .zero_threshold = 0x1p-128,
                               .count = 2,
                               .pos_span_count = 1,
                               .pos_spans = span,
                               .pos_count = 1,
                               .pos = two};
    assert_int_equal(tsdb_hist_of(1.5, a, &one), ERR_OK);
    assert_int_equal(tsdb_hist_add(&coarse, &one, 1, a, &next), ERR_OK);
    assert_true(next.schema == 0 && next.pos_count == 1 && next.pos[0] == 3);
    /* a wider zero bucket swallows what lies in it */
    struct tsdb_hist wide = {.schema = 0, .zero_threshold = 4, .count = 1, .zero_count = 1};
    assert_int_equal(tsdb_hist_add(&coarse, &wide, 1, a, &next), ERR_OK);
    assert_true(next.zero_threshold == 4 && next.zero_count == 3 && next.pos_count == 0);
    struct tsdb_hist bad = coarse;
    bad.count = 1;
    assert_int_equal(tsdb_hist_check(&bad, NULL), ERR_INVALID);
    buf_done(&b);
    arena_free(a);
}

static void batch_columns_appear_on_first_use_and_grow(void **state)
{
    struct tsdb_batch *b = tsdb_batch_new(1, TSDB_SPANS, 0);
    for (uint32_t i = 0; i < 1000; i++) {
        assert_int_equal(tsdb_batch_add_span(b), i);
        b->spans.start_ns[i] = i;
        if (i == 500)
            assert_true(tsdb_batch_span_column(b, TSDB_SPAN_input_tokens));
        if (i >= 500)
            b->spans.input_tokens[i] = i;
    }
    assert_null(b->spans.model);
    assert_true(b->spans.start_ns[999] == 999 && b->spans.input_tokens[3] == -1 &&
                b->spans.input_tokens[999] == 999);
    assert_true(TSDB_SPAN_GET(&b->spans, output_tokens, 3, -1) == -1);
    for (uint32_t i = 0; i < 500; i++) {
        assert_true(tsdb_batch_add_sample(b, (struct tsdb_ref){i + 1}, i, i * 0.5, 0));
        assert_true(tsdb_batch_add_cell(b, (struct tsdb_ref){1}, i, 1, i));
    }
    assert_true(b->samples.value[499] == 249.5 && b->cells.row[499] == 499);
    tsdb_batch_reject(b, TSDB_REJECT_TOO_OLD, "span %d is old", 1);
    tsdb_batch_reject(b, TSDB_REJECT_TOO_OLD, "span %d is old", 2);
    assert_int_equal(tsdb_batch_rejected(b), 2);
    assert_string_equal(b->reject_msg.text, "span 1 is old");
    assert_string_equal(tsdb_batch_span_schema.columns[TSDB_SPAN_end_ns].name, "end_ns");
    tsdb_batch_free(b);
    b = tsdb_batch_new(1, TSDB_SPANS, 100000);
    uint32_t n = 0;
    while (tsdb_batch_add_span(b) != TSDB_NO_ROW)
        n++;
    assert_true(n > 0 && n < 1000);
    tsdb_batch_free(b);
}

static void a_series_has_one_number_and_refusals_cost_nothing(void **state)
{
    struct arena *a = arena_new(0);
    struct tsdb_registry *r = tsdb_registry_new(1000);
    struct tsdb_ref first = {0}, again, cells;
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 1000; i++) {
            char text[16];
            snprintf(text, sizeof(text), "%d", i);
            const char *pairs[] = {"__name__", "m", "i", text};
            struct tsdb_ref ref;
            assert_int_equal(
                tsdb_registry_ref(r, 1, TSDB_SERIES_SAMPLES, labels_of(a, pairs, 2), &ref), ERR_OK);
            assert_int_equal(ref.v, i + 1);
        }
    const char *one[] = {"x", "y"};
    assert_int_equal(tsdb_registry_ref(r, 1, TSDB_SERIES_SAMPLES, labels_of(a, one, 1), &first),
                     ERR_LIMIT);
    assert_int_equal(tsdb_registry_ref(r, 2, TSDB_SERIES_SAMPLES, labels_of(a, one, 1), &first),
                     ERR_OK);
    assert_int_equal(tsdb_registry_ref(r, 2, TSDB_SERIES_SAMPLES, labels_of(a, one, 1), &again),
                     ERR_OK);
    assert_int_equal(tsdb_registry_ref(r, 2, TSDB_SERIES_CELLS, labels_of(a, one, 1), &cells),
                     ERR_OK);
    assert_true(first.v == again.v && first.v != cells.v);
    assert_int_equal(tsdb_registry_info(r, cells)->kind, TSDB_SERIES_CELLS);
    assert_true(bytes_equal(tsdb_labels_get(tsdb_registry_info(r, first)->labels, BYTES_LIT("x")),
                            BYTES_LIT("y")));
    assert_int_equal(tsdb_registry_count(r), 1002);
    tsdb_registry_free(r);
    arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_label_sets_have_equal_bytes),
        cmocka_unit_test(attributes_read_back_and_stop_at_bad_bytes),
        cmocka_unit_test(observations_fall_into_their_bucket),
        cmocka_unit_test(histograms_add_up_and_subtract_to_nothing),
        cmocka_unit_test(batch_columns_appear_on_first_use_and_grow),
        cmocka_unit_test(a_series_has_one_number_and_refusals_cost_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
