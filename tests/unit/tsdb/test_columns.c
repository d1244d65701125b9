/* Rows asked for out of encoded columns read as they do in the whole, for every column of both tables and whatever rows are asked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/check.h"
#include "tsdb/columns_core.h"

static uint64_t state = 5;
static uint32_t rnd(uint32_t below)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((state >> 33) % below);
}

/* How the values of a column are: what each encoding is tempted by. */
enum make { ALIKE, FEW, OF_THE_NAME, SPARSE, STEPS, MANY, LINES, MAKES };

static uint64_t number_of(enum make make, uint32_t row, uint32_t name)
{
    switch (make) {
    case ALIKE: return 7;
    case FEW: return rnd(5);
    case OF_THE_NAME: return rnd(300) ? name * 3 : rnd(200);
    case SPARSE: return rnd(4) ? 0 : rnd(200);
    case STEPS: return row * UINT64_C(1000003) + rnd(5);
    default: return (uint64_t)rnd(1u << 31) << rnd(32) ^ (0 - (uint64_t)rnd(2));
    }
}

static struct bytes text_of(struct arena *a, enum make make, uint32_t row, uint32_t name)
{
    if (make == LINES && rnd(10))
        return arena_printf(a, "GET /orders/%u took %u ms, id %08x%08x, \"%s %u\"", rnd(100000),
                            rnd(2000), rnd(1u << 31), rnd(1u << 31), rnd(2) ? "left" : "right",
                            row);
    if (make == SPARSE && rnd(4))
        return BYTES_NONE;
    return arena_printf(a, "text %llu", (unsigned long long)number_of(make, row, name));
}

/* Attributes, some of which repeat columns, nest, or come twice. */
static void put_attrs(struct buf *out, struct arena *a, const struct bytes *name, uint32_t row)
{
    static const char *const keys[] = {"a.first", "b.second", "c.third", "d", "e.last"};
    for (uint32_t k = rnd(6); k > 0; k--) {
        struct bytes key = bytes_str(keys[rnd(ARRAY_LEN(keys))]);
        switch (rnd(4)) {
        case 0: tsdb_attrs_put_i64(out, key, rnd(1000)); break;
        case 1: tsdb_attrs_put_str(out, key, name[row]); break;
        case 2: tsdb_attrs_put_str(out, key, text_of(a, LINES, row, 0)); break;
        default: tsdb_attrs_put_str(out, key, text_of(a, FEW, row, 0));
        }
    }
    if (rnd(40) == 0)
        buf_str(out, "\x81"); /* no tree */
}

static struct bytes tree_of(struct arena *a, enum trees_kind kind, const struct bytes *name,
                            uint32_t row)
{
    struct buf out = {0};
    if (kind == TREES_ATTRS)
        put_attrs(&out, a, name, row);
    for (uint32_t k = kind == TREES_EVENTS ? rnd(3) : 0; k > 0; k--) {
        struct buf attrs = {0};
        put_attrs(&attrs, a, name, row);
        struct tsdb_event e = {row * 1000, rnd(3) ? 0 : rnd(9), BYTES_LIT("exception"),
                               buf_bytes(&attrs)};
        tsdb_attrs_put_event(&out, &e);
        buf_done(&attrs);
    }
    struct bytes copy = arena_copy(a, buf_bytes(&out));
    buf_done(&out);
    return copy;
}

static void fill(const struct tsdb_schema *schema, uint32_t number, void *table, uint32_t n,
                 const struct bytes *name, const uint32_t *names, struct arena *a)
{
    const struct tsdb_column *c = &schema->columns[number];
    enum make make = (enum make)rnd(MAKES);
    enum trees_kind kind = columns_tree_of(schema, number);
    uint8_t *p = columns_get(table, c);
    size_t size = columns_item_size(c->type);
    for (uint32_t row = 0; row < n; row++) {
        uint64_t v = number_of(make, row, names[row]);
        if (c->type == TSDB_STR) {
            ((struct bytes *)(void *)p)[row] = kind == TREES_ATTRS || kind == TREES_EVENTS
                                                   ? tree_of(a, kind, name, row)
                                                   : text_of(a, make, row, names[row]);
        } else if (c->type == TSDB_F64) {
            ((double *)(void *)p)[row] = (double)(v % 100000) / (rnd(9) ? 100 : 7);
        } else if (c->type == TSDB_ID16) {
            memset(p + row * size, 0, size);
            bytes_put_u64be(p + row * size, v);
        } else {
            memcpy(p + row * size, &v, size);
        }
    }
}

/* A table with every column; the parents of spans are mostly rows of it. */
static void make_table(const struct tsdb_schema *schema, void *table, uint32_t n, struct arena *a)
{
    bool is_spans = schema == &tsdb_batch_span_schema;
    uint32_t name = is_spans ? (uint32_t)TSDB_SPAN_name : (uint32_t)TSDB_LOG_event_name;
    uint32_t *names = ARENA_ARRAY(a, uint32_t, n + 1);
    CHECK(columns_make(schema, a, table, n ? n : 1));
    ((struct tsdb_spans *)table)->count = n;
    struct bytes *strings = (struct bytes *)(void *)columns_get(table, &schema->columns[name]);
    for (uint32_t row = 0; row < n; row++)
        strings[row] = arena_printf(a, "name %u", names[row] = rnd(9));
    for (uint32_t i = 0; i < schema->column_count; i++)
        if (i != name)
            fill(schema, i, table, n, strings, names, a);
    struct tsdb_spans *s = table;
    for (uint32_t row = 0; is_spans && row < n; row++) {
        bytes_put_u64be(s->span_id[row].b, row * UINT64_C(0x9e3779b97f4a7c15) + 1);
        memset(s->parent_id[row].b, 0, 8);
        if (rnd(5))
            s->parent_id[row] = s->span_id[rnd(10) ? row / 2 : rnd(n)];
        else if (rnd(2))
            bytes_put_u64be(s->parent_id[row].b, rnd(1u << 31));
    }
}

static void check_rows(const struct tsdb_schema *schema, const void *whole, const void *some,
                       const uint8_t *wanted, uint32_t n)
{
    for (uint32_t i = 0; i < schema->column_count; i++) {
        const struct tsdb_column *c = &schema->columns[i];
        const uint8_t *x = columns_get(whole, c), *y = columns_get(some, c);
        size_t size = columns_item_size(c->type);
        assert_true(!x == !y);
        for (uint32_t row = 0; x && row < n; row++) {
            if (!wanted[row])
                continue;
            if (c->type == TSDB_STR)
                assert_true(bytes_equal(((const struct bytes *)(const void *)x)[row],
                                        ((const struct bytes *)(const void *)y)[row]));
            else
                assert_memory_equal(x + row * size, y + row * size, size);
        }
    }
}

static void check_same(const struct tsdb_schema *schema, const void *made, const void *read,
                       uint32_t n, struct arena *a)
{
    uint8_t *all = ARENA_ARRAY(a, uint8_t, n + 1);
    memset(all, 1, n + 1);
    check_rows(schema, made, read, all, n);
}

/* Asked for at once, or column by column of fewer and fewer rows. */
static void read_some(struct bytes body, const struct tsdb_schema *schema, uint8_t *wanted,
                      uint32_t n, bool at_once, void *table, struct arena *a)
{
    struct reader r = reader_of(body);
    struct columns_body *b;
    assert_int_equal(columns_open(&r, schema, a, &b), ERR_OK);
    assert_int_equal(reader_left(&r), 0);
    if (at_once) {
        assert_int_equal(columns_load(b, COLUMNS_ALL, wanted, table, false), ERR_OK);
        return;
    }
    uint32_t from = rnd(schema->column_count);
    for (uint32_t k = 0; k < schema->column_count; k++) {
        uint64_t bit = UINT64_C(1) << (from + k) % schema->column_count;
        assert_int_equal(columns_load(b, bit, wanted, table, k > 0), ERR_OK);
        for (uint32_t row = 0; row < n; row++)
            wanted[row] &= rnd(50) != 0;
    }
}

static void check_table(const struct tsdb_schema *schema, uint32_t n, uint32_t round)
{
    static const struct columns_zip *const zips[] = {&columns_zip_journal, &columns_zip_block,
                                                     &columns_zip_settled};
    static const uint32_t one_in[] = {1, 2, 20, 500};
    union {
        struct tsdb_spans spans;
        struct tsdb_logs logs;
    } made = {0}, whole = {0}, some = {0};
    struct arena *a = arena_new(0);
    struct buf body = {0};
    uint8_t *wanted = ARENA_ARRAY(a, uint8_t, n + 1);
    make_table(schema, &made, n, a);
    columns_encode(schema, &made, NULL, n, COLUMNS_ALL, zips[round % 3], &body);
    assert_true(buf_ok(&body));
    struct reader r = reader_of(buf_bytes(&body));
    assert_int_equal(columns_decode(&r, schema, COLUMNS_ALL, a, &whole, false), ERR_OK);
    assert_true(columns_fill(schema, a, &whole, COLUMNS_ALL));
    check_same(schema, &made, &whole, n, a);
    for (uint32_t k = 0; k < ARRAY_LEN(one_in) * 2; k++) {
        for (uint32_t row = 0; row < n; row++)
            wanted[row] = rnd(one_in[k / 2]) == 0;
        memset(&some, 0, sizeof(some));
        read_some(buf_bytes(&body), schema, wanted, n, k % 2, &some, a);
        assert_true(columns_fill(schema, a, &some, COLUMNS_ALL));
        check_rows(schema, &whole, &some, wanted, n);
    }
    buf_done(&body);
    arena_free(a);
}

static void rows_asked_for_read_as_in_the_whole(void **unused)
{
    static const uint32_t counts[] = {0, 1, 2, 17, 33, 300, 1201};
    (void)unused;
    for (uint32_t round = 0; round < 42; round++) {
        check_table(&tsdb_batch_span_schema, counts[round % ARRAY_LEN(counts)], round);
        check_table(&tsdb_batch_log_schema, counts[round % ARRAY_LEN(counts)], round);
    }
}

/* The strings that are not asked for are what is saved. */
static void texts_of_other_rows_are_not_put_together(void **unused)
{
    enum { ROWS = 400 };
    struct tsdb_spans made = {0}, some = {0};
    struct arena *a = arena_new(0);
    struct buf body = {0};
    uint8_t *wanted = ARENA_ARRAY(a, uint8_t, ROWS);
    (void)unused;
    CHECK(columns_make(&tsdb_batch_span_schema, a, &made, ROWS));
    made.count = ROWS;
    for (uint32_t row = 0; row < ROWS; row++) {
        struct buf attrs = {0};
        made.status_message[row] = arena_printf(a, "took %u of %u ms", rnd(100000), rnd(100000));
        tsdb_attrs_put_i64(&attrs, BYTES_LIT("n"), row);
        made.attrs[row] = arena_copy(a, buf_bytes(&attrs));
        buf_done(&attrs);
    }
    columns_encode(&tsdb_batch_span_schema, &made, NULL, ROWS, COLUMNS_ALL, &columns_zip_block,
                   &body);
    wanted[77] = 1;
    read_some(buf_bytes(&body), &tsdb_batch_span_schema, wanted, ROWS, true, &some, a);
    for (uint32_t row = 0; row < ROWS; row++) {
        assert_int_equal(some.attrs[row].size != 0, row == 77);
        assert_int_equal(some.status_message[row].size != 0, row == 77);
    }
    assert_true(bytes_equal(some.attrs[77], made.attrs[77]));
    assert_true(bytes_equal(some.status_message[77], made.status_message[77]));
    buf_done(&body);
    arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_asked_for_read_as_in_the_whole),
        cmocka_unit_test(texts_of_other_rows_are_not_put_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
