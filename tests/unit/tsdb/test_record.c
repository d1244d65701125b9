/* Journal records: what was encoded comes back, encodes to the same bytes, and no bytes hurt the decoder. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/check.h"
#include "tsdb/columns.h"
#include "tsdb/record.h"

static uint64_t state = 42;
static uint32_t rnd(uint32_t n)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33) % n;
}

/* What a span adds to the series of latencies: its own times, and a number of no column. */
static void add_latencies(struct tsdb_batch *b, struct tsdb_ref ref, uint32_t row)
{
    const double seconds[] = {(double)(b->spans.end_ns[row] - b->spans.start_ns[row]) / 1e9,
                              (double)TSDB_SPAN_GET(&b->spans, ttft_ns, row, -1) / 1e9,
                              0.125 * rnd(9)};
    for (size_t i = 0; i < ARRAY_LEN(seconds); i++) {
        struct tsdb_hist *h = ARENA_ARRAY(b->arena, struct tsdb_hist, 1);
        assert_int_equal(tsdb_hist_of(seconds[i], b->arena, h), ERR_OK);
        assert_true(tsdb_batch_add_hist_cell(b, ref, rnd(2) ? 7 : rnd(100), h, row));
    }
}

static struct tsdb_batch *random_batch(struct tsdb_registry *r)
{
    struct tsdb_batch *b = tsdb_batch_new(1, (enum tsdb_signal)rnd(3), 0);
    struct tsdb_ref ref[8];
    for (uint32_t i = 0; i < 8; i++) {
        uint8_t name[] = {(uint8_t)('a' + i)};
        struct tsdb_label l = {BYTES_LIT("__name__"), bytes_of(name, 1)};
        struct tsdb_labels labels;
        assert_int_equal(tsdb_labels_build(&l, 1, b->arena, &labels, NULL), ERR_OK);
        assert_int_equal(tsdb_registry_ref(r, 1, i < 4 ? TSDB_SERIES_SAMPLES : TSDB_SERIES_CELLS,
                                           labels, &ref[i]),
                         ERR_OK);
    }
    for (uint32_t i = rnd(60); i-- > 0;) {
        uint32_t row = tsdb_batch_add_span(b);
        bytes_put_u64be(b->spans.trace_id[row].b, state);
        b->spans.start_ns[row] = (int64_t)state >> rnd(60);
        b->spans.end_ns[row] = (rnd(2) ? b->spans.start_ns[row] >> 1 : 0) + (int64_t)rnd(1000000);
        b->spans.name[row] = rnd(2) ? BYTES_LIT("chat") : BYTES_LIT("embed");
        b->spans.attrs[row] = bytes_slice(BYTES_LIT("many different bytes"), 0, rnd(20));
        if (rnd(10) == 0)
            assert_true(tsdb_batch_span_column(
                b, (enum tsdb_span_column)(TSDB_SPAN_row_class +
                                           rnd(TSDB_SPAN_COLUMN_COUNT - TSDB_SPAN_row_class))));
        if (b->spans.model)
            b->spans.model[row] = BYTES_LIT("m");
        assert_true(tsdb_batch_add_cell(b, ref[4 + rnd(4)], rnd(100), (int64_t)rnd(9) - 4, row));
        add_latencies(b, ref[4 + rnd(4)], row);
    }
    for (uint32_t i = rnd(40); i-- > 0;) {
        uint32_t row = tsdb_batch_add_log(b);
        b->logs.time_ns[row] = rnd(100000);
        b->logs.severity[row] = (uint8_t)rnd(24);
        b->logs.body[row] = BYTES_LIT("\1\2hi");
    }
    for (uint32_t i = rnd(100); i-- > 0;) {
        double v = rnd(2) ? rnd(1000) : 1.0 / (1 + rnd(1000));
        assert_true(tsdb_batch_add_sample(b, ref[rnd(4)], rnd(100000), v, rnd(2) ? 0 : rnd(9)));
    }
    for (uint32_t i = rnd(8); i-- > 0;) {
        struct tsdb_hist *h = ARENA_ARRAY(b->arena, struct tsdb_hist, 1);
        assert_int_equal(tsdb_hist_of(rnd(100) * 0.5, b->arena, h), ERR_OK);
        assert_true(tsdb_batch_add_hist(b, ref[rnd(4)], rnd(1000), h, 0));
        assert_true(tsdb_batch_add_hist_cell(b, ref[4 + rnd(4)], rnd(100), h, TSDB_NO_ROW));
        assert_true(tsdb_batch_add_metadata(b, BYTES_LIT("f"), BYTES_LIT("counter"),
                                            BYTES_LIT("help"), BYTES_LIT("s")));
        assert_true(
            tsdb_batch_add_exemplar(b, ref[0], 5, 1.5, tsdb_registry_info(r, ref[1])->labels));
    }
    b->received = 100;
    b->received_ns = 12345;
    b->request_key = (struct hash128){state, rnd(100)};
    b->rejected[rnd(TSDB_REJECT_COUNT)] = rnd(5);
    return b;
}

static void encode(const struct tsdb_batch *b, const struct tsdb_registry *r, struct buf *out)
{
    struct record_defs d = {0};
    assert_int_equal(record_encode(b, r, &d, out), ERR_OK);
    record_defs_done(&d);
}

static void what_decodes_encodes_to_the_same_bytes(void **unused)
{
    struct tsdb_registry *r = tsdb_registry_new(0);
    for (int round = 0; round < 60; round++) {
        struct tsdb_batch *b = random_batch(r), *back = NULL;
        struct record_refs refs = {0};
        struct buf one = {0}, two = {0};
        struct err_msg msg = {""};
        encode(b, r, &one);
        assert_int_equal(record_decode(buf_bytes(&one), r, &refs, 0, &back, &msg), ERR_OK);
        assert_int_equal(back->spans.count, b->spans.count);
        for (uint32_t i = 0; i < b->spans.count; i++) {
            struct hash128 x = record_span_hash(&b->spans, i),
                           y = record_span_hash(&back->spans, i);
            assert_true(hash128_equal(x, y));
            assert_true(TSDB_SPAN_GET(&b->spans, cost_nanousd, i, -1) ==
                        TSDB_SPAN_GET(&back->spans, cost_nanousd, i, -1));
        }
        assert_true(back->samples.count == b->samples.count && back->hists.count == b->hists.count);
        for (uint32_t i = 0; i < b->samples.count; i++)
            assert_true(back->samples.series[i].v == b->samples.series[i].v &&
                        back->samples.t_ms[i] == b->samples.t_ms[i] &&
                        back->samples.value[i] == b->samples.value[i] &&
                        back->samples.start_ms[i] == b->samples.start_ms[i]);
        assert_int_equal(back->cells.count, b->cells.count);
        for (uint32_t i = 0; i < b->cells.count; i++) {
            const struct tsdb_hist *x = b->cells.hist[i], *y = back->cells.hist[i];
            assert_true(back->cells.series[i].v == b->cells.series[i].v &&
                        back->cells.minute[i] == b->cells.minute[i] &&
                        back->cells.add[i] == b->cells.add[i] &&
                        back->cells.row[i] == b->cells.row[i]);
            assert_true(x && y ? tsdb_hist_equal_bits(x, y) : !x && !y);
        }
        assert_true(back->received == 100 && back->received_ns == 12345 &&
                    hash128_equal(back->request_key, b->request_key) &&
                    tsdb_batch_rejected(back) == tsdb_batch_rejected(b));
        encode(back, r, &two);
        assert_true(bytes_equal(buf_bytes(&one), buf_bytes(&two)));
        tsdb_batch_free(b), tsdb_batch_free(back);
        record_refs_done(&refs);
        buf_done(&one), buf_done(&two);
    }
    tsdb_registry_free(r);
}

static void dropped_spans_and_their_cells_are_not_written(void **unused)
{
    struct tsdb_registry *r = tsdb_registry_new(0);
    struct tsdb_batch *b = random_batch(r), *back = NULL;
    while (b->spans.count < 4) {
        tsdb_batch_free(b);
        b = random_batch(r);
    }
    struct record_refs refs = {0};
    struct buf out = {0};
    uint32_t cells = 0;
    b->span_dropped = arena_alloc(b->arena, b->spans.count);
    b->span_dropped[1] = b->span_dropped[3] = 1;
    for (uint32_t i = 0; i < b->cells.count; i++)
        cells += b->cells.row[i] != 1 && b->cells.row[i] != 3;
    encode(b, r, &out);
    assert_int_equal(record_decode(buf_bytes(&out), r, &refs, 0, &back, NULL), ERR_OK);
    assert_int_equal(back->spans.count, b->spans.count - 2);
    assert_int_equal(back->cells.count, cells);
    assert_true(back->spans.start_ns[1] == b->spans.start_ns[2]);
    tsdb_batch_free(b), tsdb_batch_free(back);
    record_refs_done(&refs);
    buf_done(&out);
    tsdb_registry_free(r);
}

/* 700 long texts: all distinct, or the last 400 the same (found distinct by the look at the first rows), packed or not. */
static void rows_gathered_from_several_tables_come_back_from_columns(void **unused)
{
    enum { ROWS = 700 };
    struct arena *a = arena_new(0);
    const void *sources[ROWS];
    uint32_t rows[ROWS];
    struct tsdb_batch *from[2] = {tsdb_batch_new(1, TSDB_SPANS, 0),
                                  tsdb_batch_new(1, TSDB_SPANS, 0)};
    for (uint32_t i = 0; i < ROWS; i++) {
        struct tsdb_batch *b = from[i % 2];
        rows[i] = tsdb_batch_add_span(b);
        sources[i] = &b->spans;
        b->spans.end_ns[rows[i]] = (int64_t)i * 1000 - 5000;
        b->spans.attrs[rows[i]] =
            arena_printf(a, "the text of row %u, which is long enough to be packed", i);
        b->spans.name[rows[i]] = arena_printf(a, "name %u", i < 300 ? i : 300);
    }
    assert_true(tsdb_batch_span_column(from[1], TSDB_SPAN_input_tokens));
    from[1]->spans.input_tokens[7] = 12;
    const struct columns_zip *zips[] = {&columns_zip_journal, &columns_zip_block};
    for (size_t z = 0; z < ARRAY_LEN(zips); z++) {
        struct buf out = {0};
        struct tsdb_spans t = {0}, back = {0};
        assert_true(
            columns_gather(&tsdb_batch_span_schema, sources, rows, ROWS, COLUMNS_ALL, a, &t));
        assert_true(t.count == ROWS && t.model == NULL);
        columns_encode(&tsdb_batch_span_schema, &t, NULL, ROWS, COLUMNS_ALL, zips[z], &out);
        assert_true(buf_ok(&out) && out.size < 30000); /* plain it would be 50,000 */
        struct reader r = reader_of(buf_bytes(&out));
        assert_int_equal(columns_decode(&r, &tsdb_batch_span_schema, COLUMNS_ALL, a, &back, false),
                         ERR_OK);
        assert_int_equal(back.count, ROWS);
        for (uint32_t i = 0; i < ROWS; i++) {
            const struct tsdb_spans *s = sources[i];
            assert_true(bytes_equal(back.attrs[i], s->attrs[rows[i]]));
            assert_true(bytes_equal(back.name[i], s->name[rows[i]]));
            assert_true(back.end_ns[i] == s->end_ns[rows[i]]);
            assert_true(back.input_tokens[i] == TSDB_SPAN_GET(s, input_tokens, rows[i], -1));
        }
        buf_done(&out);
    }
    tsdb_batch_free(from[0]), tsdb_batch_free(from[1]);
    arena_free(a);
}

static void columns_outside_the_mask_are_neither_read_nor_there(void **unused)
{
    enum { ROWS = 300 };
    const struct tsdb_schema *schema = &tsdb_batch_span_schema;
    const uint64_t names = 1ull << TSDB_SPAN_name | 1ull << TSDB_SPAN_end_ns;
    struct arena *a = arena_new(0);
    struct tsdb_batch *b = tsdb_batch_new(1, TSDB_SPANS, 0);
    for (uint32_t i = 0; i < ROWS; i++) {
        uint32_t row = tsdb_batch_add_span(b);
        b->spans.end_ns[row] = (int64_t)rnd(1000);
        b->spans.name[row] = arena_printf(a, "name %u", i % 7);
        b->spans.attrs[row] = arena_printf(a, "the text of row %u, to be packed", i);
    }
    struct buf out = {0}, without = {0};
    columns_encode(schema, &b->spans, NULL, ROWS, COLUMNS_ALL, &columns_zip_block, &out);
    columns_encode(schema, &b->spans, NULL, ROWS, ~(1ull << TSDB_SPAN_attrs), &columns_zip_block,
                   &without);
    memset(out.data + out.size - 20, 0xee, 19); /* the texts are the last column that is there */
    for (int masked = 0; masked < 2; masked++) {
        struct tsdb_spans t = {0};
        struct reader r = reader_of(buf_bytes(&out));
        enum err e = columns_decode(&r, schema, masked ? names : COLUMNS_ALL, a, &t, false);
        assert_int_equal(e, masked ? ERR_OK : ERR_CORRUPT);
        if (!masked)
            continue;
        assert_true(t.count == ROWS && !t.attrs && !t.trace_id && !t.start_ns);
        for (uint32_t i = 0; i < ROWS; i++) {
            assert_true(bytes_equal(t.name[i], b->spans.name[i]));
            assert_true(t.end_ns[i] == b->spans.end_ns[i]);
        }
    }
    assert_true(without.size < out.size);
    buf_done(&out), buf_done(&without);
    tsdb_batch_free(b);
    arena_free(a);
}

/* --- attribute trees taken apart -------------------------------------------------------------------- */

static struct tsdb_value random_value(struct arena *a, unsigned depth)
{
    static const struct bytes words[] = {BYTES_LIT(""), BYTES_LIT("stop"), BYTES_LIT("gpt-4o"),
                                         BYTES_LIT("a longer text that is not in a column")};
    struct tsdb_value v = {.type = (enum tsdb_value_type)rnd(depth < 3 ? 8 : 6)};
    struct buf nested = {0};
    switch (v.type) {
    case TSDB_VALUE_EMPTY: break;
    case TSDB_VALUE_BOOL: v.boolean = rnd(2); break;
    case TSDB_VALUE_INT: v.integer = rnd(2) ? (int64_t)rnd(3) : (int64_t)state >> rnd(64); break;
    case TSDB_VALUE_DOUBLE:
        v.number = rnd(3) ? rnd(100) / 10.0 : 1.0 / (1 + rnd(1000));
        if (rnd(20) == 0)
            v.number = rnd(2) ? -0.0 : (double)INFINITY;
        break;
    case TSDB_VALUE_STRING:
        v.bytes = rnd(2) ? words[rnd(4)] : arena_printf(a, "%u", rnd(500));
        break;
    case TSDB_VALUE_BYTES: v.bytes = bytes_slice(words[3], 0, rnd(30)); break;
    case TSDB_VALUE_ARRAY:
        for (uint32_t i = rnd(4); i-- > 0;)
            tsdb_attrs_put_value(&nested, random_value(a, depth + 1));
        v.bytes = arena_copy(a, buf_bytes(&nested));
        break;
    case TSDB_VALUE_KVLIST:
        for (uint32_t i = rnd(4); i-- > 0;)
            tsdb_attrs_put(&nested, words[rnd(4)], random_value(a, depth + 1));
        v.bytes = arena_copy(a, buf_bytes(&nested));
    }
    buf_done(&nested);
    return v;
}

static void put_random_attrs(struct buf *out, struct arena *a)
{
    static const char *const keys[] = {"gen_ai.request.model", "a", "b", "http.status", "", "z"};
    uint32_t shape = rnd(4); /* rows resemble each other; keys repeat in a row */
    for (uint32_t i = 0; i < shape * 2; i++)
        tsdb_attrs_put(out, bytes_str(keys[rnd(10) ? (i + shape) % 6 : rnd(6)]),
                       random_value(a, 0));
}

static struct bytes random_tree(struct arena *a, bool events)
{
    struct buf out = {0};
    for (uint32_t k = events ? rnd(3) : 1; k-- > 0;) {
        struct buf attrs = {0};
        put_random_attrs(&attrs, a);
        struct tsdb_event e = {state, rnd(3) ? 0 : rnd(9),
                               rnd(2) ? BYTES_LIT("exception") : BYTES_LIT(""), buf_bytes(&attrs)};
        if (events)
            tsdb_attrs_put_event(&out, &e);
        else
            buf_bytes_append(&out, buf_bytes(&attrs));
        buf_done(&attrs);
    }
    if (rnd(30) == 0) /* no tree, or not as it would be written */
        buf_str(&out, rnd(2) ? "\x81" : "\x81\x00k\x01\x01v");
    struct bytes copy = arena_copy(a, buf_bytes(&out));
    buf_done(&out);
    return copy;
}

static const struct columns_zip *const all_zips[] = {&columns_zip_journal, &columns_zip_block,
                                                     &columns_zip_settled};

/* Rows in one body and texts in another, as in blocks; half of the rounds ask for a few rows only. */
static void check_two_bodies(const struct tsdb_spans *s, uint32_t n, uint32_t round)
{
    const struct tsdb_schema *schema = &tsdb_batch_span_schema;
    const uint64_t text = 1ull << TSDB_SPAN_attrs | 1ull << TSDB_SPAN_resource_attrs |
                          1ull << TSDB_SPAN_events | 1ull << TSDB_SPAN_status_message;
    struct arena *a = arena_new(0);
    struct buf rows = {0}, texts = {0}, again = {0};
    struct tsdb_spans back = {0};
    uint8_t *wanted = ARENA_ARRAY(a, uint8_t, n + 1);
    columns_encode(schema, s, NULL, n, ~text, all_zips[round % ARRAY_LEN(all_zips)], &rows);
    columns_encode(schema, s, NULL, n, text, all_zips[round % ARRAY_LEN(all_zips)], &texts);
    columns_encode(schema, s, NULL, n, text, all_zips[round % ARRAY_LEN(all_zips)], &again);
    assert_true(buf_ok(&rows) && buf_ok(&texts));
    assert_true(bytes_equal(buf_bytes(&texts), buf_bytes(&again)));
    assert_true(!(columns_needs(buf_bytes(&texts)) & text));
    for (uint32_t i = 0; i < n; i++)
        wanted[i] = round % 2 || rnd(5) == 0;
    struct reader r = reader_of(buf_bytes(&rows)), t = reader_of(buf_bytes(&texts));
    uint64_t mask = COLUMNS_ALL;
    assert_int_equal(columns_decode(&r, schema, mask, a, &back, false), ERR_OK);
    struct columns_body *body;
    assert_int_equal(columns_open(&t, schema, a, &body), ERR_OK);
    assert_int_equal(columns_load(body, mask, wanted, &back, true), ERR_OK);
    assert_true(reader_left(&r) == 0 && reader_left(&t) == 0);
    assert_true(columns_fill(schema, a, &back, COLUMNS_ALL));
    for (uint32_t i = 0; i < n; i++) {
        assert_true(back.start_ns[i] == s->start_ns[i] && back.end_ns[i] == s->end_ns[i]);
        assert_memory_equal(back.trace_id[i].b, s->trace_id[i].b, 16);
        assert_memory_equal(back.span_id[i].b, s->span_id[i].b, 8);
        assert_memory_equal(back.parent_id[i].b, s->parent_id[i].b, 8);
        assert_true(bytes_equal(back.name[i], s->name[i]));
        assert_true(back.input_tokens[i] == s->input_tokens[i]);
        if (!wanted[i])
            continue;
        assert_true(bytes_equal(back.attrs[i], s->attrs[i]));
        assert_true(bytes_equal(back.events[i], s->events[i]));
        assert_true(bytes_equal(back.resource_attrs[i], s->resource_attrs[i]));
    }
    buf_done(&rows), buf_done(&texts), buf_done(&again);
    arena_free(a);
}

static void trees_parents_and_times_come_back_bit_for_bit(void **unused)
{
    static const uint32_t counts[] = {0, 1, 2, 17, 33, 300, 2003};
    for (uint32_t round = 0; round < 6 * ARRAY_LEN(counts); round++) {
        struct tsdb_batch *b = tsdb_batch_new(1, TSDB_SPANS, 0);
        struct tsdb_spans *s = &b->spans;
        uint32_t n = counts[round / 6];
        for (uint32_t i = 0; i < n; i++) {
            uint32_t row = tsdb_batch_add_span(b), parent = rnd(3) ? rnd(n) : row;
            bytes_put_u64be(s->trace_id[row].b, rnd(1 + n / 8));
            bytes_put_u64be(s->span_id[row].b, rnd(20) ? row + 1 : 7);
            bytes_put_u64be(s->parent_id[row].b, rnd(9) ? parent + 1 : rnd(2) ? 0 : state);
            s->start_ns[row] = rnd(9) ? 1795168800000000000 + (int64_t)rnd(100000) : (int64_t)state;
            s->end_ns[row] = rnd(9) ? s->start_ns[row] + (int64_t)rnd(9999) : INT64_MIN;
            s->name[row] = rnd(4) ? BYTES_LIT("chat") : arena_printf(b->arena, "n%u", rnd(40));
            s->attrs[row] = random_tree(b->arena, false);
            s->events[row] = rnd(3) ? BYTES_NONE : random_tree(b->arena, true);
            s->resource_attrs[row] =
                i % 3 && i ? s->resource_attrs[row - 1] : random_tree(b->arena, false);
            if (i == 0)
                assert_true(tsdb_batch_span_column(b, TSDB_SPAN_input_tokens) &&
                            tsdb_batch_span_column(b, TSDB_SPAN_ttft_ns) &&
                            tsdb_batch_span_column(b, TSDB_SPAN_response_id));
            s->input_tokens[row] = (int64_t)rnd(5000);
            s->ttft_ns[row] = (int64_t)rnd(5000) * 1000;
            s->response_id[row] = arena_printf(b->arena, "chatcmpl-%u", rnd(UINT32_MAX));
            struct buf more = {0}; /* what repeats columns */
            buf_bytes_append(&more, s->attrs[row]);
            tsdb_attrs_put_i64(&more, BYTES_LIT("tokens"), s->input_tokens[row]);
            tsdb_attrs_put_str(&more, BYTES_LIT("id"), s->response_id[row]);
            tsdb_attrs_put(
                &more, BYTES_LIT("ttft"),
                (struct tsdb_value){TSDB_VALUE_DOUBLE, {.number = (double)s->ttft_ns[row] / 1e9}});
            if (rnd(30))
                s->attrs[row] = arena_copy(b->arena, buf_bytes(&more));
            buf_done(&more);
        }
        if (n)
            check_two_bodies(s, n, round);
        tsdb_batch_free(b);
    }
}

static void damaged_bodies_of_blocks_are_refused_or_read(void **unused)
{
    const struct tsdb_schema *schema = &tsdb_batch_span_schema;
    struct tsdb_batch *b = tsdb_batch_new(1, TSDB_SPANS, 0);
    uint32_t refused = 0;
    for (uint32_t i = 0; i < 200; i++) {
        uint32_t row = tsdb_batch_add_span(b);
        bytes_put_u64be(b->spans.span_id[row].b, row + 1);
        bytes_put_u64be(b->spans.parent_id[row].b, rnd(row + 1));
        b->spans.start_ns[row] = (int64_t)rnd(100000);
        b->spans.end_ns[row] = (int64_t)rnd(100000);
        b->spans.name[row] = rnd(2) ? BYTES_LIT("chat") : BYTES_LIT("tool");
        b->spans.kind[row] = (uint8_t)b->spans.name[row].size;
        b->spans.attrs[row] = random_tree(b->arena, false);
        b->spans.events[row] = random_tree(b->arena, true);
    }
    struct buf good = {0};
    columns_encode(schema, &b->spans, NULL, b->spans.count, COLUMNS_ALL, &columns_zip_block, &good);
    for (uint32_t k = 0; k < 3000; k++) {
        size_t size = k % 4 ? good.size : rnd((uint32_t)good.size);
        uint8_t *copy = malloc(size + 1);
        struct arena *a = arena_new(16u << 20);
        struct tsdb_spans t = {0};
        memcpy(copy, good.data, size);
        for (uint32_t i = rnd(4); size && i-- > 0;)
            copy[rnd((uint32_t)size)] = (uint8_t)rnd(256);
        struct reader r = reader_of(bytes_of(copy, size));
        enum err e = columns_decode(&r, schema, COLUMNS_ALL, a, &t, false);
        assert_true(e == ERR_OK || e == ERR_CORRUPT || e == ERR_LIMIT || e == ERR_NEWER);
        refused += e != ERR_OK;
        arena_free(a);
        free(copy);
    }
    assert_true(refused > 700); /* every truncation at least, but those that cut nothing */
    buf_done(&good);
    tsdb_batch_free(b);
}

static void spans_of_a_trace_are_arranged_together_and_by_start(void **unused)
{
    enum { ROWS = 1000 };
    static struct tsdb_id16 id[ROWS];
    static int64_t start[ROWS];
    uint32_t rows[ROWS], seen[ROWS] = {0};
    for (uint32_t i = 0; i < ROWS; i++) {
        bytes_put_u64be(id[i].b, rnd(100));
        start[i] = (int64_t)rnd(5000);
        rows[i] = ROWS - 1 - i;
    }
    assert_true(columns_order_spans(id, start, rows, ROWS));
    uint32_t traces = 1;
    for (uint32_t i = 0; i < ROWS; i++) {
        seen[rows[i]]++;
        if (i == 0)
            continue;
        bool same = memcmp(id[rows[i]].b, id[rows[i - 1]].b, 16) == 0;
        traces += !same;
        assert_true(!same || start[rows[i - 1]] <= start[rows[i]]);
    }
    for (uint32_t i = 0; i < ROWS; i++)
        assert_int_equal(seen[i], 1);
    assert_true(traces <= 100);
}

static void the_decoder_survives_any_bytes(void **unused)
{
    struct tsdb_registry *r = tsdb_registry_new(100000);
    uint32_t refused = 0;
    for (int round = 0; round < 20; round++) {
        struct tsdb_batch *b = random_batch(r);
        struct buf good = {0};
        encode(b, r, &good);
        for (int k = 0; k < 100; k++) {
            size_t size = k % 3 ? good.size : rnd((uint32_t)good.size);
            uint8_t *copy = malloc(size + 1);
            struct record_refs refs = {0};
            struct tsdb_batch *back = NULL;
            memcpy(copy, good.data, size);
            for (uint32_t i = rnd(4); size && i-- > 0;)
                copy[rnd((uint32_t)size)] = (uint8_t)rnd(256);
            enum err e = record_decode(bytes_of(copy, size), r, &refs, 16u << 20, &back, NULL);
            assert_true(e == ERR_OK || e == ERR_CORRUPT || e == ERR_LIMIT || e == ERR_NEWER);
            refused += e != ERR_OK;
            if (e == ERR_OK)
                tsdb_batch_free(back);
            record_refs_done(&refs);
            free(copy);
        }
        tsdb_batch_free(b);
        buf_done(&good);
    }
    assert_true(refused > 600);
    tsdb_registry_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_decodes_encodes_to_the_same_bytes),
        cmocka_unit_test(dropped_spans_and_their_cells_are_not_written),
        cmocka_unit_test(rows_gathered_from_several_tables_come_back_from_columns),
        cmocka_unit_test(columns_outside_the_mask_are_neither_read_nor_there),
        cmocka_unit_test(trees_parents_and_times_come_back_bit_for_bit),
        cmocka_unit_test(damaged_bodies_of_blocks_are_refused_or_read),
        cmocka_unit_test(spans_of_a_trace_are_arranged_together_and_by_start),
        cmocka_unit_test(the_decoder_survives_any_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
