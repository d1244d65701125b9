/* Every decoder of blocks: the first byte chooses which. */
#include "base/arena.h"
#include "base/check.h"
#include "base/hash.h"
#include "tsdb/block_index.h"
#include "tsdb/columns_core.h"
#include "tsdb/zone.h"

/* What the rows asked for read as is what they read as in the whole; whole: read from the same body. */
static void some_rows(struct bytes body, const struct tsdb_schema *schema, const void *whole,
                      struct arena *a)
{
    union {
        struct tsdb_spans spans;
        struct tsdb_logs logs;
    } some = {0};
    uint32_t n = ((const struct tsdb_spans *)whole)->count;
    uint8_t *wanted = n < 100000 ? ARENA_ARRAY(a, uint8_t, n + 1) : NULL;
    struct reader r = reader_of(body);
    struct columns_body *b;
    if (!wanted || columns_open(&r, schema, a, &b) != ERR_OK)
        return; /* no memory */
    for (uint32_t i = 0; i < n; i++)
        wanted[i] = hash64(bytes_of(&i, sizeof(i)), body.size) % 3 == 0;
    enum err e = columns_load(b, COLUMNS_ALL, wanted, &some, false);
    if (e == ERR_LIMIT)
        return;
    CHECK(e == ERR_OK);
    for (uint32_t c = 0; c < schema->column_count; c++) {
        const struct tsdb_column *column = &schema->columns[c];
        const uint8_t *x = columns_get(whole, column), *y = columns_get(&some, column);
        size_t size = columns_item_size(column->type);
        CHECK(!x == !y);
        for (uint32_t i = 0; x && i < n; i++)
            CHECK(!wanted[i] || (column->type == TSDB_STR
                                     ? bytes_equal(((const struct bytes *)(const void *)x)[i],
                                                   ((const struct bytes *)(const void *)y)[i])
                                     : memcmp(x + i * size, y + i * size, size) == 0));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void add_up(void *ctx, uint32_t which, uint32_t minute, int64_t add)
{
    (void)which, (void)minute;
    *(uint64_t *)ctx += (uint64_t)add;
}

/* All of them or a sum of some: where both are given, the sum of all is the total. */
static void read_cells(const struct block_cells *c, struct arena *a)
{
    struct head_cell *cells;
    uint64_t sum = 0;
    enum err e = block_cells_read(c, a, &cells);
    if (c->is_hist)
        return;
    if (block_cells_walk(c, c->minute_first, c->minute_last, false, add_up, &sum, 0) == ERR_OK)
        sum = 0;
    if (block_cells_walk(c, c->minute_first, UINT32_MAX, true, add_up, &sum, 0) == ERR_OK &&
        e == ERR_OK && c->count > BLOCK_CELLS_PLAIN_MAX)
        CHECK(sum == (uint64_t)c->total);
}

static void series(uint8_t kind, struct bytes in, struct arena *a)
{
    struct block_series b;
    uint32_t n;
    if (block_series_open(in, a, &b) != ERR_OK)
        return;
    for (uint32_t i = 0; i < b.chunk_count && i < 64; i++) {
        struct head_point *p;
        struct block_cells c;
        if (kind == 0)
            (void)!block_series_samples(&b, i, a, &p, &n);
        else if (kind == 1)
            (void)!block_series_hists(&b, i, a, &p, &n);
        else if (block_series_cells(&b, i, &c) == ERR_OK)
            read_cells(&c, a);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *a = arena_new(16u << 20);
    if (!size || !a) {
        arena_free(a);
        return 0;
    }
    struct bytes in = bytes_of(data + 1, size - 1), body;
    struct block_index_series *s;
    struct block_trace *t;
    struct zone z;
    struct block_exemplar *x;
    struct tsdb_metadata_row *m;
    struct tsdb_spans spans = {0};
    struct tsdb_logs logs = {0};
    struct reader r;
    uint32_t n, first;
    switch (data[0] % 9) {
    case 0:
    case 1:
    case 2: series(data[0] % 9, in, a); break;
    case 3: (void)!block_index_read(in, 1, a, &first, &s, &n); break;
    case 4: (void)!block_traces_find(in, 7000, a, &t, &n); break;
    case 5:
        if (zone_read(in, a, &z) == ERR_OK)
            (void)zone_may_have_column(z.filter, TSDB_SPAN_tenant, BYTES_LIT("acme"));
        (void)block_traces_may_have(in, 1);
        break;
    case 6: (void)!block_exemplars_read(in, a, &x, &n); break;
    case 7: (void)!block_metadata_read(in, a, &m, &n); break;
    default:
        if (block_unpack(in, a, &body) != ERR_OK)
            break;
        r = reader_of(body);
        if (columns_decode(&r, &tsdb_batch_span_schema, COLUMNS_ALL, a, &spans, false) == ERR_OK) {
            some_rows(body, &tsdb_batch_span_schema, &spans, a);
            if (reader_left(&r))
                (void)!columns_decode(&r, &tsdb_batch_log_schema, COLUMNS_ALL, a, &logs, false);
        }
        r = reader_of(body);
        memset(&logs, 0, sizeof(logs));
        if (columns_decode(&r, &tsdb_batch_log_schema, COLUMNS_ALL, a, &logs, false) == ERR_OK)
            some_rows(body, &tsdb_batch_log_schema, &logs, a);
    }
    arena_free(a);
    return 0;
}
