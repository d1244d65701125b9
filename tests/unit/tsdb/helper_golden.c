#include "tsdb/helper_golden.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "detectors/acks.h"
#include "detectors/alert.h"
#include "detectors/outbox.h"
#include "detectors/rule_book.h"
#include "detectors/silences.h"
#include "tsdb/backup_note.h"
#include "tsdb/block_index.h"
#include "tsdb/columns.h"
#include "tsdb/head_flush.h"
#include "tsdb/record.h"
#include "tsdb/store_format.h"
#include "tsdb/zone.h"
#include "web/web_access_rows.h"

#define T0_MS INT64_C(1795168800000) /* 2026-11-20T10:00:00Z */
#define T0_NS (T0_MS * 1000000)
#define ROWS 6u
#define MINUTE ((uint32_t)(T0_MS / 60000))
#define STALE UINT64_C(0x7ff0000000000002)

/* --- what is stored ------------------------------------------------------------------------------ */

static double bits(uint64_t v)
{
    double d;
    memcpy(&d, &v, sizeof(d));
    return d;
}

static struct bytes tree(struct arena *a, uint32_t row, const char *key)
{
    struct buf b = {0};
    tsdb_attrs_put_str(&b, bytes_str(key), row % 2 ? BYTES_LIT("odd") : BYTES_LIT("even"));
    tsdb_attrs_put_i64(&b, BYTES_LIT("number"), (int64_t)row * 100 - 50);
    tsdb_attrs_put(&b, BYTES_LIT("share"),
                   (struct tsdb_value){TSDB_VALUE_DOUBLE, {.number = row * 0.25}});
    struct bytes out = arena_copy(a, buf_bytes(&b));
    buf_done(&b);
    return out;
}

static struct bytes event(struct arena *a, uint32_t row)
{
    struct buf b = {0};
    struct tsdb_event e = {.time_ns = (uint64_t)T0_NS + row,
                           .dropped = row,
                           .name = BYTES_LIT("token"),
                           .attrs = tree(a, row, "event")};
    tsdb_attrs_put_event(&b, &e);
    struct bytes out = arena_copy(a, buf_bytes(&b));
    buf_done(&b);
    return out;
}

static struct bytes link_of(struct arena *a, uint32_t row)
{
    struct buf b = {0};
    struct tsdb_link l = {.trace_id = {1, 2, 3}, .span_id = {4}, .flags = row, .attrs = BYTES_NONE};
    if (row == 3)
        tsdb_attrs_put_link(&b, &l);
    struct bytes out = arena_copy(a, buf_bytes(&b));
    buf_done(&b);
    return out;
}

/* Every column that the table has, each row different: a column that is added later is in the example at once. */
static void fill_columns(const struct tsdb_schema *schema, void *table, struct arena *a)
{
    for (uint32_t c = 0; c < schema->column_count; c++) {
        void *column = *(void **)((uint8_t *)table + schema->columns[c].offset);
        for (uint32_t r = 0; column && r < ROWS; r++)
            switch (schema->columns[c].type) {
            case TSDB_U8: ((uint8_t *)column)[r] = (uint8_t)((c + r) % 4); break;
            case TSDB_U32: ((uint32_t *)column)[r] = c * 100 + r; break;
            case TSDB_I64: ((int64_t *)column)[r] = (int64_t)c * 1000 - (int64_t)r * 7; break;
            case TSDB_F64: ((double *)column)[r] = c + r * 0.5; break;
            case TSDB_ID16:
                memset(((struct tsdb_id16 *)column)[r].b, (int)(0x10 + r / 3), 16);
                break;
            case TSDB_ID8: memset(((struct tsdb_id8 *)column)[r].b, (int)(0x20 + r), 8); break;
            case TSDB_STR:
                ((struct bytes *)column)[r] =
                    arena_printf(a, "%s %u", schema->columns[c].name, r % 3);
            }
    }
}

static struct tsdb_batch *batch_of(enum tsdb_signal signal)
{
    struct tsdb_batch *b = tsdb_batch_new(1, signal, 0);
    CHECK(b);
    b->received = ROWS;
    b->received_ns = T0_NS + 5;
    b->request_key = (struct hash128){7, 9};
    return b;
}

static struct tsdb_batch *spans(void)
{
    struct tsdb_batch *b = batch_of(TSDB_SPANS);
    for (uint32_t r = 0; r < ROWS; r++)
        CHECK(tsdb_batch_add_span(b) == r);
    for (unsigned c = TSDB_SPAN_row_class; c < TSDB_SPAN_COLUMN_COUNT; c++)
        CHECK(tsdb_batch_span_column(b, (enum tsdb_span_column)c));
    struct tsdb_spans *s = &b->spans;
    fill_columns(&tsdb_batch_span_schema, s, b->arena);
    for (uint32_t r = 0; r < ROWS; r++) {
        memset(s->parent_id[r].b, r % 3 ? (int)(0x20 + r / 3 * 3) : 0, 8);
        s->start_ns[r] = T0_NS + (int64_t)r * 1000000;
        s->end_ns[r] = s->start_ns[r] + 20000000 + r;
        s->resource_attrs[r] = tree(b->arena, 0, "host");
        s->attrs[r] = tree(b->arena, r, "attribute");
        s->events[r] = event(b->arena, r);
        s->links[r] = link_of(b->arena, r);
    }
    return b;
}

static struct tsdb_batch *logs(void)
{
    struct tsdb_batch *b = batch_of(TSDB_LOGS);
    for (uint32_t r = 0; r < ROWS; r++)
        CHECK(tsdb_batch_add_log(b) == r);
    for (unsigned c = TSDB_LOG_event; c < TSDB_LOG_COLUMN_COUNT; c++)
        CHECK(tsdb_batch_log_column(b, (enum tsdb_log_column)c));
    fill_columns(&tsdb_batch_log_schema, &b->logs, b->arena);
    for (uint32_t r = 0; r < ROWS; r++) {
        struct buf v = {0};
        b->logs.time_ns[r] = T0_NS + (int64_t)r * 2000000;
        b->logs.resource_attrs[r] = tree(b->arena, 0, "host");
        b->logs.attrs[r] = tree(b->arena, r, "attribute");
        tsdb_attrs_put_value(
            &v, (struct tsdb_value){TSDB_VALUE_STRING,
                                    {.bytes = r % 2 ? BYTES_LIT("hello") : BYTES_LIT("world")}});
        b->logs.body[r] = arena_copy(b->arena, buf_bytes(&v));
        buf_done(&v);
    }
    return b;
}

static struct tsdb_labels labels_of(struct arena *a, const char *name, const char *le)
{
    struct tsdb_label l[] = {{BYTES_LIT("__name__"), bytes_str(name)},
                             {BYTES_LIT("job"), BYTES_LIT("golden")},
                             {BYTES_LIT("le"), bytes_str(le)}};
    struct tsdb_labels out;
    CHECK(tsdb_labels_build(l, le[0] ? 3 : 2, a, &out, NULL) == ERR_OK);
    return out;
}

static struct tsdb_hist hist_of(struct arena *a, unsigned i)
{
    static const double custom[] = {0.5, 1, 2.5}, counts[] = {3, 0, 1.5, 4};
    static const struct tsdb_hist_span span = {0, 4};
    struct tsdb_hist h;
    CHECK(tsdb_hist_of(0.25 * (i + 1), a, &h) == ERR_OK);
    if (i % 2)
        h = (struct tsdb_hist){.schema = TSDB_HIST_CUSTOM_SCHEMA,
                               .hint = TSDB_HIST_GAUGE,
                               .count = 8.5,
                               .sum = 12.25 + i,
                               .pos_span_count = 1,
                               .pos_spans = &span,
                               .pos_count = 4,
                               .pos = counts,
                               .custom_count = 3,
                               .custom = custom};
    return h;
}

static struct tsdb_ref ref_of(struct tsdb_registry *r, struct arena *a, const char *name,
                              bool cells)
{
    struct tsdb_ref ref = {0};
    CHECK(tsdb_registry_ref(r, 1, cells ? TSDB_SERIES_CELLS : TSDB_SERIES_SAMPLES,
                            labels_of(a, name, ""), &ref) == ERR_OK);
    return ref;
}

static struct tsdb_batch *numbers(struct tsdb_registry *r)
{
    struct tsdb_batch *b = batch_of(TSDB_SAMPLES);
    struct tsdb_ref one = ref_of(r, b->arena, "requests_total", false),
                    two = ref_of(r, b->arena, "latency", false),
                    cell = ref_of(r, b->arena, "llm_calls_total", true);
    static const double values[] = {1, 2.5, -3, 1e100};
    for (unsigned i = 0; i < 4; i++) {
        struct tsdb_hist h = hist_of(b->arena, i);
        CHECK(tsdb_batch_add_sample(b, one, T0_MS + i * 15000, values[i], T0_MS - 1000) &&
              tsdb_batch_add_hist(b, two, T0_MS + i * 15000, &h, 0) &&
              tsdb_batch_add_cell(b, cell, MINUTE + i, (int64_t)i * 3 - 2, TSDB_NO_ROW));
    }
    struct tsdb_hist *h = ARENA_ARRAY(b->arena, struct tsdb_hist, 1); /* a cell only refers to it */
    *h = hist_of(b->arena, 0);
    CHECK(tsdb_batch_add_sample(b, one, T0_MS + 60000, bits(STALE), 0) &&
          tsdb_batch_add_hist_cell(b, cell, MINUTE + 9, h, TSDB_NO_ROW) &&
          tsdb_batch_add_exemplar(b, one, T0_MS, 0.5, labels_of(b->arena, "x", "")) &&
          tsdb_batch_add_metadata(b, BYTES_LIT("requests"), BYTES_LIT("counter"),
                                  BYTES_LIT("Requests."), BYTES_LIT("1")));
    return b;
}

/* --- words --------------------------------------------------------------------------------------- */

static void say_bytes(struct buf *t, struct bytes b)
{
    buf_str(t, "\"");
    for (size_t i = 0; i < b.size; i++)
        if (b.data[i] >= 0x20 && b.data[i] < 0x7f && b.data[i] != '"' && b.data[i] != '\\')
            buf_u8(t, b.data[i]);
        else
            buf_printf(t, "\\%02x", b.data[i]);
    buf_str(t, "\"");
}

static void say_f64(struct buf *t, double v)
{
    uint64_t u;
    memcpy(&u, &v, sizeof(u));
    buf_printf(t, "%.17g/%016" PRIx64, v, u);
}

static void say_hist(struct buf *t, const struct tsdb_hist *h)
{
    buf_printf(t, "hist schema %d hint %u zero %.17g %.17g count %.17g sum %.17g", h->schema,
               h->hint, h->zero_threshold, h->zero_count, h->count, h->sum);
    for (uint32_t i = 0; i < h->pos_span_count; i++)
        buf_printf(t, " span %d %u", h->pos_spans[i].offset, h->pos_spans[i].length);
    for (uint32_t i = 0; i < h->pos_count; i++)
        buf_printf(t, " %.17g", h->pos[i]);
    for (uint32_t i = 0; i < h->custom_count; i++)
        buf_printf(t, " le %.17g", h->custom[i]);
}

static void say_table(struct buf *t, const struct tsdb_schema *schema, const void *table,
                      uint32_t rows, uint64_t mask)
{
    for (uint32_t c = 0; c < schema->column_count; c++) {
        const void *column = *(void *const *)((const uint8_t *)table + schema->columns[c].offset);
        if (!column || !(mask >> c & 1))
            continue;
        buf_printf(t, "%s:", schema->columns[c].name);
        for (uint32_t r = 0; r < rows; r++) {
            buf_str(t, " ");
            switch (schema->columns[c].type) {
            case TSDB_U8: buf_printf(t, "%u", ((const uint8_t *)column)[r]); break;
            case TSDB_U32: buf_printf(t, "%u", ((const uint32_t *)column)[r]); break;
            case TSDB_I64: buf_printf(t, "%" PRId64, ((const int64_t *)column)[r]); break;
            case TSDB_F64: say_f64(t, ((const double *)column)[r]); break;
            case TSDB_ID16: say_bytes(t, bytes_of((const uint8_t *)column + r * 16, 16)); break;
            case TSDB_ID8: say_bytes(t, bytes_of((const uint8_t *)column + r * 8, 8)); break;
            case TSDB_STR: say_bytes(t, ((const struct bytes *)column)[r]);
            }
        }
        buf_str(t, "\n");
    }
}

static void say_series(struct buf *t, const struct tsdb_registry *r, struct tsdb_ref ref)
{
    say_bytes(t, tsdb_registry_info(r, ref)->labels.enc);
}

static void say_batch(struct buf *t, const struct tsdb_batch *b, const struct tsdb_registry *r)
{
    buf_printf(
        t, "org %u signal %d key %" PRIu64 " %" PRIu64 " received %" PRIu64 " at %" PRId64 "\n",
        b->org, (int)b->signal, b->request_key.lo, b->request_key.hi, b->received, b->received_ns);
    say_table(t, &tsdb_batch_span_schema, &b->spans, b->spans.count, COLUMNS_ALL);
    say_table(t, &tsdb_batch_log_schema, &b->logs, b->logs.count, COLUMNS_ALL);
    for (uint32_t i = 0; i < b->samples.count; i++) {
        say_series(t, r, b->samples.series[i]);
        buf_printf(t, " %" PRId64 " from %" PRId64 " ", b->samples.t_ms[i], b->samples.start_ms[i]);
        say_f64(t, b->samples.value[i]);
        buf_str(t, "\n");
    }
    for (uint32_t i = 0; i < b->hists.count; i++) {
        say_series(t, r, b->hists.series[i]);
        buf_printf(t, " %" PRId64 " ", b->hists.t_ms[i]);
        say_hist(t, &b->hists.value[i]);
        buf_str(t, "\n");
    }
    for (uint32_t i = 0; i < b->exemplars.count; i++) {
        buf_printf(t, "exemplar %" PRId64 " %.17g ", b->exemplars.t_ms[i], b->exemplars.value[i]);
        say_bytes(t, b->exemplars.labels[i].enc);
        buf_str(t, "\n");
    }
    for (uint32_t i = 0; i < b->cells.count; i++) {
        say_series(t, r, b->cells.series[i]);
        buf_printf(t, " minute %u ", b->cells.minute[i]);
        if (b->cells.hist && b->cells.hist[i])
            say_hist(t, b->cells.hist[i]);
        else
            buf_printf(t, "add %" PRId64, b->cells.add[i]);
        buf_str(t, "\n");
    }
    for (uint32_t i = 0; i < b->metadata.count; i++) {
        say_bytes(t, b->metadata.row[i].family);
        say_bytes(t, b->metadata.row[i].type);
        say_bytes(t, b->metadata.row[i].help);
        say_bytes(t, b->metadata.row[i].unit);
        buf_str(t, "\n");
    }
}

/* --- records ------------------------------------------------------------------------------------- */

static void put_record(struct tsdb_batch *take_b, struct tsdb_registry *r, struct buf *out)
{
    struct record_defs defs = {0};
    CHECK(record_encode(take_b, r, &defs, out) == ERR_OK);
    record_defs_done(&defs);
    tsdb_batch_free(take_b);
    tsdb_registry_free(r);
}

static void make_record_spans(struct buf *out)
{
    put_record(spans(), tsdb_registry_new(100), out);
}

static void make_record_logs(struct buf *out)
{
    put_record(logs(), tsdb_registry_new(100), out);
}

static void make_record_numbers(struct buf *out)
{
    struct tsdb_registry *r = tsdb_registry_new(100);
    put_record(numbers(r), r, out);
}

static enum err dump_record(struct bytes in, struct buf *text)
{
    struct tsdb_registry *r = tsdb_registry_new(100);
    struct record_refs refs = {0};
    struct tsdb_batch *b;
    struct err_msg msg;
    enum err e = record_decode(in, r, &refs, 0, &b, &msg);
    if (e == ERR_OK) {
        say_batch(text, b, r);
        tsdb_batch_free(b);
    }
    record_refs_done(&refs);
    tsdb_registry_free(r);
    return e;
}

/* --- rows ---------------------------------------------------------------------------------------- */

static void put_columns(const struct tsdb_schema *schema, const void *table, uint64_t mask,
                        struct buf *out)
{
    struct buf body = {0};
    columns_encode(schema, table, NULL, ROWS, mask, &columns_zip_block, &body);
    block_pack(buf_bytes(&body), false, out);
    buf_done(&body);
}

static enum err dump_columns(struct bytes in, const struct tsdb_schema *schema, uint64_t mask,
                             void *table, bool merge, struct buf *text)
{
    struct arena *a = arena_new(0);
    struct bytes body;
    enum err e = block_unpack(in, a, &body);
    if (e == ERR_OK) {
        struct reader r = reader_of(body);
        e = columns_decode(&r, schema, mask, a, table, merge);
        if (e == ERR_OK && reader_left(&r))
            e = ERR_CORRUPT;
    }
    if (e == ERR_OK)
        say_table(text, schema, table, ROWS, mask);
    arena_free(a);
    return e;
}

#define ROWS_OF(kind, table_type, schema, text_mask)                         \
    static void make_##kind##_rows(struct buf *out)                          \
    {                                                                        \
        struct tsdb_batch *b = kind();                                       \
        put_columns(&schema, &b->kind, ~(text_mask), out);                   \
        tsdb_batch_free(b);                                                  \
    }                                                                        \
    static void make_##kind##_text(struct buf *out)                          \
    {                                                                        \
        struct tsdb_batch *b = kind();                                       \
        put_columns(&schema, &b->kind, text_mask, out);                      \
        tsdb_batch_free(b);                                                  \
    }                                                                        \
    static enum err dump_##kind##_rows(struct bytes in, struct buf *text)    \
    {                                                                        \
        table_type t = {0};                                                  \
        return dump_columns(in, &schema, ~(text_mask), &t, false, text);     \
    }                                                                        \
    /* The rows beside the texts, which refer to them, are the example's. */ \
    static enum err dump_##kind##_text(struct bytes in, struct buf *text)    \
    {                                                                        \
        struct tsdb_batch *b = kind();                                       \
        table_type t = b->kind;                                              \
        enum err e = dump_columns(in, &schema, text_mask, &t, true, text);   \
        tsdb_batch_free(b);                                                  \
        return e;                                                            \
    }                                                                        \
    static void make_##kind##_zone(struct buf *out)                          \
    {                                                                        \
        struct tsdb_batch *b = kind();                                       \
        zone_write_##kind(&b->kind, ROWS, out);                              \
        tsdb_batch_free(b);                                                  \
    }

ROWS_OF(spans, struct tsdb_spans, tsdb_batch_span_schema, HEAD_TEXT_MASK_SPANS)
ROWS_OF(logs, struct tsdb_logs, tsdb_batch_log_schema, HEAD_TEXT_MASK_LOGS)

static void make_text_filter(struct buf *out)
{
    struct tsdb_batch *b = spans();
    zone_write_attrs(b->spans.attrs, b->spans.resource_attrs, ROWS, out);
    tsdb_batch_free(b);
}

static enum err dump_text_filter(struct bytes in, struct buf *text)
{
    buf_printf(text, "%zu bytes; odd %d, another %d\n", in.size,
               zone_may_have_attr(in, BYTES_LIT("attribute"), BYTES_LIT("odd")),
               zone_may_have_attr(in, BYTES_LIT("attribute"), BYTES_LIT("neither")));
    return ERR_OK;
}

static enum err dump_zone(struct bytes in, struct buf *text)
{
    struct arena *a = arena_new(0);
    struct zone z;
    enum err e = zone_read(in, a, &z);
    if (e == ERR_OK) {
        buf_printf(text,
                   "start %" PRId64 "..%" PRId64 " duration %" PRId64 "..%" PRId64 " root %" PRId64
                   " level %u..%u weights %d filter %zu\n",
                   z.start_min, z.start_max, z.duration_min, z.duration_max, z.root_duration_max,
                   z.level_min, z.level_max, z.has_weights, z.filter.size);
        for (uint32_t i = 0; i < z.group_count; i++) {
            const struct zone_name *n = &z.names[z.groups[i].name];
            say_bytes(text, z.services[n->service]);
            say_bytes(text, n->name);
            buf_printf(text, " minute %u count %" PRIu64 " errors %" PRIu64 " sum %" PRId64 "\n",
                       z.groups[i].minute, z.groups[i].count, z.groups[i].errors,
                       z.groups[i].duration_sum_ns);
        }
    }
    arena_free(a);
    return e;
}

/* --- series -------------------------------------------------------------------------------------- */

static void finish_writer(struct block_writer *w, struct buf *out)
{
    struct buf summary = {0};
    block_writer_finish(w, false, out, &summary);
    buf_done(&summary);
    block_writer_done(w);
}

static void make_samples(struct buf *out)
{
    struct block_writer w;
    int64_t t[40];
    double v[4][40];
    const double *columns[3] = {v[0], v[1], v[2]};
    static const uint32_t ids[3] = {3, 4, 5};
    block_writer_init(&w, BLOCK_SAMPLES_TARGET);
    for (unsigned i = 0; i < 40; i++) {
        t[i] = T0_MS + i * 15000 + (i == 7);
        v[0][i] = i * 2;
        v[1][i] = i * 3;
        v[2][i] = i * 3 + i % 2;
        v[3][i] = i == 20 ? bits(STALE) : 0.1 * i;
    }
    block_writer_floats(&w, 1, t, NULL, v[3], 40);
    block_writer_floats(&w, 2, t, t, v[0], 40);
    block_writer_group(&w, ids, columns, 3, t, NULL, 40);
    finish_writer(&w, out);
}

static void make_hists(struct buf *out)
{
    struct block_writer w;
    struct arena *a = arena_new(0);
    struct tsdb_hist h[8];
    struct head_point p[8] = {0};
    block_writer_init(&w, BLOCK_SERIES_TARGET);
    for (unsigned i = 0; i < 8; i++) {
        h[i] = hist_of(a, i);
        p[i] = (struct head_point){.t_ms = T0_MS + i * 15000, .hist = &h[i]};
    }
    block_writer_hists(&w, 6, p, 8);
    finish_writer(&w, out);
    arena_free(a);
}

static void make_cells(struct buf *out)
{
    struct block_writer w;
    struct arena *a = arena_new(0);
    struct head_cell c[200];
    struct tsdb_hist h = hist_of(a, 0);
    block_writer_init(&w, BLOCK_SERIES_TARGET);
    for (unsigned i = 0; i < 200; i++)
        c[i] = (struct head_cell){.minute = MINUTE + i * 2, .add = (int64_t)i % 9 - 2};
    block_writer_cells(&w, 1, c, 20, false);
    block_writer_cells(&w, 2, c, 200, false);
    for (unsigned i = 0; i < 3; i++)
        c[i].hist = &h;
    block_writer_cells(&w, 3, c, 3, true);
    finish_writer(&w, out);
    arena_free(a);
}

static enum err say_points(struct block_series *b, uint32_t i, struct arena *a, bool hists,
                           struct buf *text)
{
    struct head_point *p;
    uint32_t n;
    enum err e =
        hists ? block_series_hists(b, i, a, &p, &n) : block_series_samples(b, i, a, &p, &n);
    for (uint32_t k = 0; e == ERR_OK && k < n; k++) {
        buf_printf(text, " %" PRId64 " from %" PRId64 " ", p[k].t_ms, p[k].start_ms);
        if (hists)
            say_hist(text, p[k].hist);
        else
            say_f64(text, p[k].value);
        buf_str(text, "\n");
    }
    return e;
}

static enum err say_cells(struct block_series *b, uint32_t i, struct arena *a, struct buf *text)
{
    struct block_cells c;
    struct head_cell *cells;
    enum err e = block_series_cells(b, i, &c);
    if (e == ERR_OK)
        e = block_cells_read(&c, a, &cells);
    for (uint32_t k = 0; e == ERR_OK && k < c.count; k++) {
        buf_printf(text, " %u ", cells[k].minute);
        if (c.is_hist)
            say_hist(text, cells[k].hist);
        else
            buf_printf(text, "%" PRId64, cells[k].add);
        buf_str(text, "\n");
    }
    return e;
}

enum series_kind { SERIES_SAMPLES, SERIES_HISTS, SERIES_CELLS };

static enum err dump_series(struct bytes in, enum series_kind kind, struct buf *text)
{
    struct arena *a = arena_new(0);
    struct block_series b;
    enum err e = block_series_open(in, a, &b);
    for (uint32_t i = 0; e == ERR_OK && i < b.chunk_count; i++) {
        buf_printf(text, "series %u group %u\n", b.chunks[i].id, b.chunks[i].group);
        e = kind == SERIES_CELLS ? say_cells(&b, i, a, text)
                                 : say_points(&b, i, a, kind == SERIES_HISTS, text);
    }
    arena_free(a);
    return e;
}

static enum err dump_samples(struct bytes in, struct buf *text)
{
    return dump_series(in, SERIES_SAMPLES, text);
}

static enum err dump_hists(struct bytes in, struct buf *text)
{
    return dump_series(in, SERIES_HISTS, text);
}

static enum err dump_cells(struct bytes in, struct buf *text)
{
    return dump_series(in, SERIES_CELLS, text);
}

/* --- index, traces, exemplars, metadata ---------------------------------------------------------- */

static void make_index(struct buf *out)
{
    static const char *const les[] = {"", "+Inf", "0.1", "0.5", "1"};
    struct arena *a = arena_new(0);
    struct tsdb_labels l[5];
    for (unsigned i = 0; i < 5; i++)
        l[i] = labels_of(a, i ? "latency_bucket" : "a", les[i]);
    CHECK(block_index_write(l, 0, 5, out) == 5);
    arena_free(a);
}

static enum err dump_index(struct bytes in, struct buf *text)
{
    struct arena *a = arena_new(0);
    struct block_index_series *s;
    uint32_t first, n;
    enum err e = block_index_read(in, 1, a, &first, &s, &n);
    for (uint32_t i = 0; e == ERR_OK && i < n; i++) {
        buf_printf(text, "%u %016" PRIx64 "%016" PRIx64 " ", first + i, s[i].identity.hi,
                   s[i].identity.lo);
        say_bytes(text, s[i].labels.enc);
        buf_str(text, "\n");
    }
    arena_free(a);
    return e;
}

static void put_traces(struct buf *block, struct buf *summary)
{
    struct block_trace t[20];
    for (uint32_t i = 0; i < 20; i++)
        t[i] =
            (struct block_trace){UINT64_C(0x1000000000000000) + i / 2 * 7919, i / 5, i * 4, i % 3};
    block_traces_write(t, 20, block, summary);
}

static void make_traces(struct buf *out)
{
    struct buf summary = {0};
    put_traces(out, &summary);
    buf_done(&summary);
}

static void make_traces_summary(struct buf *out)
{
    struct buf block = {0};
    put_traces(&block, out);
    buf_done(&block);
}

static enum err dump_traces(struct bytes in, struct buf *text)
{
    struct arena *a = arena_new(0);
    struct block_trace *t;
    uint32_t n;
    enum err e = block_traces_read(in, a, &t, &n);
    for (uint32_t i = 0; e == ERR_OK && i < n; i++)
        buf_printf(text, "%016" PRIx64 " block %u row %u and %u more\n", t[i].key, t[i].n, t[i].row,
                   t[i].more);
    arena_free(a);
    return e;
}

static enum err dump_traces_summary(struct bytes in, struct buf *text)
{
    for (uint64_t i = 0; i < 12; i++)
        buf_printf(text, "%" PRIu64 ": %d\n", i,
                   block_traces_may_have(in, UINT64_C(0x1000000000000000) + i * 7919 / 2));
    return ERR_OK;
}

static void make_exemplars(struct buf *out)
{
    struct arena *a = arena_new(0);
    struct block_exemplar x[2] = {{labels_of(a, "a", ""), labels_of(a, "b", ""), T0_MS, 0.25},
                                  {labels_of(a, "a", "1"), labels_of(a, "c", ""), T0_MS + 1, 7}};
    block_exemplars_write(x, 2, out);
    arena_free(a);
}

static enum err dump_exemplars(struct bytes in, struct buf *text)
{
    struct arena *a = arena_new(0);
    struct block_exemplar *x;
    uint32_t n;
    enum err e = block_exemplars_read(in, a, &x, &n);
    for (uint32_t i = 0; e == ERR_OK && i < n; i++) {
        say_bytes(text, x[i].series.enc);
        buf_printf(text, " %" PRId64 " %.17g ", x[i].t_ms, x[i].value);
        say_bytes(text, x[i].labels.enc);
        buf_str(text, "\n");
    }
    arena_free(a);
    return e;
}

static void make_metadata(struct buf *out)
{
    struct tsdb_metadata_row m[2] = {
        {BYTES_LIT("latency"), BYTES_LIT("histogram"), BYTES_LIT("How long."), BYTES_LIT("s")},
        {BYTES_LIT("requests"), BYTES_LIT("counter"), BYTES_LIT("How many."), BYTES_NONE}};
    block_metadata_write(m, 2, out);
}

static enum err dump_metadata(struct bytes in, struct buf *text)
{
    struct arena *a = arena_new(0);
    struct tsdb_metadata_row *m;
    uint32_t n;
    enum err e = block_metadata_read(in, a, &m, &n);
    for (uint32_t i = 0; e == ERR_OK && i < n; i++) {
        say_bytes(text, m[i].family);
        say_bytes(text, m[i].type);
        say_bytes(text, m[i].help);
        say_bytes(text, m[i].unit);
        buf_str(text, "\n");
    }
    arena_free(a);
    return e;
}

/* --- the store's own ----------------------------------------------------------------------------- */

static void make_checkpoint(struct buf *out)
{
    struct account *accounts = account_new();
    struct dedup *requests = dedup_new();
    struct offsets *offsets = offsets_new();
    const struct tsdb_claim claim = {.topic = BYTES_LIT("otlp_spans"),
                                     .partition = 3,
                                     .epoch = 5,
                                     .from = 10,
                                     .next = 11,
                                     .mark = 0x1234};
    const uint64_t rejected[TSDB_REJECT_COUNT] = {0, 5, 0, 1};
    struct dedup_entry e = {
        .key = {1, 2}, .time_ns = T0_NS, .seq = 41, .stored = 10, .rejected = 5};
    char why[] = "too old";
    e.reject_text = why;
    account_add(accounts, 1, TSDB_SPANS, 100, 3, rejected);
    account_add(accounts, 2, TSDB_SAMPLES, 7, 0, rejected);
    dedup_add(requests, &e);
    if (offsets_replay(offsets, &claim) == ERR_OK)
        checkpoint_write(out, 42, accounts, requests, offsets, BYTES_LIT("settler"), T0_NS);
    offsets_free(offsets);
    dedup_free(requests);
    account_free(accounts);
}

static enum err dump_checkpoint(struct bytes in, struct buf *text)
{
    struct account *accounts = account_new();
    struct dedup *requests = dedup_new();
    struct offsets *offsets = offsets_new();
    struct tsdb_position at;
    struct tsdb_account rows[4];
    uint64_t next = 0;
    struct bytes settler;
    enum err e = checkpoint_read(in, &next, accounts, requests, offsets, &settler);
    size_t n = e == ERR_OK ? account_copy(accounts, rows, ARRAY_LEN(rows)) : 0;
    for (size_t i = 0; i < MIN(n, ARRAY_LEN(rows)); i++)
        buf_printf(text,
                   "org %u signal %d received %" PRIu64 " stored %" PRIu64 " duplicate %" PRIu64
                   " too old %" PRIu64 "\n",
                   rows[i].org, (int)rows[i].signal, rows[i].received, rows[i].stored,
                   rows[i].duplicate, rows[i].rejected[TSDB_REJECT_TOO_OLD]);
    const struct dedup_entry *d =
        e == ERR_OK ? dedup_find(requests, (struct hash128){1, 2}, T0_NS) : NULL;
    if (d)
        buf_printf(text,
                   "next %" PRIu64 "; request seq %" PRIu64 " stored %" PRIu64 " rejected %" PRIu64
                   " %s\n",
                   next, d->seq, d->stored, d->rejected, d->reject_text);
    if (e == ERR_OK && offsets_find(offsets, BYTES_LIT("otlp_spans"), 3, &at))
        buf_printf(text, "otlp_spans 3: next %" PRIi64 " epoch %d mark %" PRIx64 "\n", at.next,
                   (int)at.epoch, at.mark);
    offsets_free(offsets);
    dedup_free(requests);
    account_free(accounts);
    return e;
}

static void make_commit(struct buf *out)
{
    struct commit_entry e = {.seq = 7,
                             .org = 3,
                             .signal = TSDB_LOGS,
                             .stored = 11,
                             .duplicate = 1,
                             .record = BYTES_LIT("a record")};
    e.rejected[2] = 9;
    commit_begin(out, 3);
    commit_put(out, &e);
    commit_put(out, &(struct commit_entry){.is_repeat = true, .seq = 8, .org = 1});
    e.seq = 9;
    e.claim = (struct tsdb_claim){.topic = BYTES_LIT("otlp_logs"),
                                  .partition = 1,
                                  .epoch = -1,
                                  .from = 100,
                                  .next = 102,
                                  .mark = UINT64_MAX};
    e.derived_logs = 2;
    commit_put(out, &e);
}

static enum err dump_commit(struct bytes in, struct buf *text)
{
    struct commit_reader r;
    struct commit_entry c;
    enum err e = commit_open(in, 7, &r);
    while (e == ERR_OK && (e = commit_next(&r, &c)) == ERR_OK) {
        buf_printf(text,
                   "seq %" PRIu64 " repeat %d org %u signal %d stored %" PRIu64
                   " duplicate %" PRIu64 " rejected %" PRIu64 " ",
                   c.seq, c.is_repeat, c.org, (int)c.signal, c.stored, c.duplicate, c.rejected[2]);
        say_bytes(text, c.record);
        if (c.claim.topic.size) {
            say_bytes(text, c.claim.topic);
            buf_printf(text, "%u epoch %d from %" PRIi64 " next %" PRIi64 " mark %" PRIx64,
                       c.claim.partition, (int)c.claim.epoch, c.claim.from, c.claim.next,
                       c.claim.mark);
        }
        if (c.derived_logs)
            buf_printf(text, " derived logs %" PRIu64, c.derived_logs);
        buf_str(text, "\n");
    }
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

static void make_manifest(struct buf *out)
{
    uint8_t key[BLOCK_KEY_SIZE];
    struct block_meta m = {.key = {1, BLOCK_SPANS, 12, 3},
                           .rows = 8192,
                           .time_min = T0_MS,
                           .time_max = T0_MS + 60000,
                           .size = 4096,
                           .crc = 0xdeadbeef,
                           .summary = BYTES_LIT("zone")};
    block_key_write(&m.key, key);
    buf_append(out, key, sizeof(key));
    buf_u32(out, m.crc);
    block_meta_write(&m, out);
}

static enum err dump_manifest(struct bytes in, struct buf *text)
{
    struct arena *a = arena_new(0);
    struct block_meta m = {0};
    enum err e = ERR_CORRUPT;
    if (block_key_read(bytes_slice(in, 0, MIN(in.size, BLOCK_KEY_SIZE)), &m.key))
        e = block_meta_read(bytes_slice(in, BLOCK_KEY_SIZE, in.size), a, &m);
    if (e == ERR_OK)
        buf_printf(text,
                   "org %u kind %u generation %" PRIu64 " n %u rows %" PRIu64 " %" PRId64
                   "..%" PRId64 " size %u crc %x summary %zu\n",
                   m.key.org, m.key.kind, m.key.generation, m.key.n, m.rows, m.time_min, m.time_max,
                   m.size, m.crc, m.summary.size);
    arena_free(a);
    return e;
}

static void make_version(struct buf *out)
{
    store_version_write(out);
}

static enum err dump_version(struct bytes in, struct buf *text)
{
    struct err_msg msg;
    uint64_t format, reader;
    enum err e = store_version_check(in, "here", &msg);
    if (e == ERR_OK && store_version_read(in, &format, &reader))
        buf_printf(text, "%" PRIu64 " %" PRIu64 "\n", format, reader);
    return e;
}

static void make_alert(struct buf *out)
{
    struct alert a = {.severity = 1,
                      .state = 1,
                      .start_minute = MINUTE,
                      .opened_minute = MINUTE + 1,
                      .last_true_minute = MINUTE + 2,
                      .fired_ms = T0_MS,
                      .long_burn = 14.5,
                      .short_burn = 20,
                      .factor = 14.4,
                      .budget_left = 0.25,
                      .long_minutes = 60,
                      .short_minutes = 5,
                      .bad = 12,
                      .eligible = 345,
                      .trace_count = 1};
    snprintf(a.fingerprint, sizeof(a.fingerprint), "%s", "0123456789abcdef0123456789abcdef");
    snprintf(a.slo_id, sizeof(a.slo_id), "%s", "chat-success");
    snprintf(a.service, sizeof(a.service), "%s", "chat");
    snprintf(a.rule, sizeof(a.rule), "%s", "fast");
    snprintf(a.summary, sizeof(a.summary), "%s", "It burns.");
    snprintf(a.traces[0], sizeof(a.traces[0]), "%s", "00112233445566778899aabbccddeeff");
    snprintf(a.cause, sizeof(a.cause), "%s", "openai in eu-west");
    snprintf(a.changed, sizeof(a.changed), "%s", "14:02 UTC deploy: chat 1.8.2");
    alert_encode(&a, out);
}

static enum err dump_alert(struct bytes in, struct buf *text)
{
    static struct alert a;
    enum err e = alert_decode(in, &a);
    if (e == ERR_OK)
        buf_printf(text,
                   "%s %s %s %s %d %d %u %u %u %" PRId64 " %g %g %g %g %u %u %" PRId64 " %" PRId64
                   " %s %s (%s) (%s)\n",
                   a.fingerprint, a.slo_id, a.service, a.rule, (int)a.severity, (int)a.state,
                   a.start_minute, a.opened_minute, a.last_true_minute, a.fired_ms, a.long_burn,
                   a.short_burn, a.factor, a.budget_left, a.long_minutes, a.short_minutes, a.bad,
                   a.eligible, a.summary, a.traces[0], a.cause, a.changed);
    return e;
}

static void make_silence(struct buf *out)
{
    struct detectors_silence s = {
        .is_window = true,
        .starts_ms = T0_MS,
        .ends_ms = T0_MS + 7200000,
        .updated_ms = T0_MS - 5000,
        .author = BYTES_LIT("jane"),
        .comment = BYTES_LIT("the upgrade of the gateway"),
        .matchers = {{DETECTORS_MATCH_EQ, BYTES_LIT("slo"), BYTES_LIT("chat-success")},
                     {DETECTORS_MATCH_NRE, BYTES_LIT("severity"), BYTES_LIT("page|critical")}},
        .matcher_count = 2};
    snprintf(s.id, sizeof(s.id), "%s", "0b5a2a1e-6a0e-4b52-9d7c-0f1e2d3c4b5a");
    silence_encode(&s, out);
}

static enum err dump_silence(struct bytes in, struct buf *text)
{
    struct detectors_silence s;
    enum err e = silence_decode(in, &s);
    if (e != ERR_OK)
        return e;
    buf_printf(text,
               "%s %d %" PRId64 " %" PRId64 " %" PRId64 " \"" BYTES_FMT "\" \"" BYTES_FMT "\"\n",
               s.id, s.is_window, s.starts_ms, s.ends_ms, s.updated_ms, BYTES_ARG(s.author),
               BYTES_ARG(s.comment));
    for (uint32_t i = 0; i < s.matcher_count; i++)
        buf_printf(text, BYTES_FMT " %d " BYTES_FMT "\n", BYTES_ARG(s.matchers[i].name),
                   (int)s.matchers[i].op, BYTES_ARG(s.matchers[i].value));
    return e;
}

static void make_ack(struct buf *out)
{
    struct detectors_ack a = {
        .fingerprint = "0123456789abcdef0123456789abcdef", .by = "jane", .at_ms = T0_MS};
    ack_encode(&a, out);
}

static enum err dump_ack(struct bytes in, struct buf *text)
{
    struct detectors_ack a;
    enum err e = ack_decode(in, &a);
    if (e == ERR_OK)
        buf_printf(text, "%s %s %" PRId64 "\n", a.fingerprint, a.by, a.at_ms);
    return e;
}

static void make_notification(struct buf *out)
{
    uint8_t body[] = "{\"status\":\"firing\"}";
    struct outbox_entry e = {.receiver = "pager",
                             .webhook_id = "0123456789abcdef-pager-firing",
                             .event = "firing",
                             .fingerprint = "0123456789abcdef0123456789abcdef",
                             .slo_id = "chat-success",
                             .rule = "fast",
                             .state = DETECTORS_WAITING,
                             .attempts = 3,
                             .created_ms = T0_MS,
                             .next_attempt_ms = T0_MS + 8000,
                             .last_attempt_ms = T0_MS + 4000,
                             .last_status = 503,
                             .last_error = "Service Unavailable",
                             .body = body,
                             .body_size = sizeof(body) - 1};
    outbox_entry_encode(&e, out);
}

static enum err dump_notification(struct bytes in, struct buf *text)
{
    struct outbox_entry e;
    enum err err = outbox_entry_decode(7, in, &e);
    if (err != ERR_OK)
        return err;
    buf_printf(text,
               "%s %s %s %s %s %s %d %u %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64
               " %d \"%s\" %.*s\n",
               e.receiver, e.webhook_id, e.event, e.fingerprint, e.slo_id, e.rule, (int)e.state,
               e.attempts, e.created_ms, e.next_attempt_ms, e.last_attempt_ms, e.delivered_ms,
               e.last_status, e.last_error, (int)e.body_size, (const char *)e.body);
    free(e.body);
    return err;
}

static struct tsdb_labels one_label(struct arena *a, const char *name, const char *value)
{
    struct tsdb_label l = {bytes_str(name), bytes_str(value)};
    struct tsdb_labels out;
    CHECK(tsdb_labels_build(&l, 1, a, &out, NULL) == ERR_OK);
    return out;
}

static void make_rule_alert(struct buf *out)
{
    struct arena *a = arena_new(0);
    struct rule_record x = {.identity = UINT64_C(0x1122334455667788),
                            .name = BYTES_LIT("TooManyErrors"),
                            .group = BYTES_LIT("gateway"),
                            .alert = {.labels = one_label(a, "alertname", "TooManyErrors"),
                                      .annotations = one_label(a, "summary", "Errors at 3 %"),
                                      .state = RULE_FIRING,
                                      .value = 0.03,
                                      .active_ms = T0_MS - 60000,
                                      .fired_ms = T0_MS,
                                      .told = {UINT32_C(0xdeadbeef)},
                                      .told_count = 1}};
    rule_record_encode(&x, out);
    arena_free(a);
}

static enum err dump_rule_alert(struct bytes in, struct buf *text)
{
    struct rule_record x;
    enum err e = rule_record_decode(in, &x);
    if (e != ERR_OK)
        return e;
    const struct rule_alert *a = &x.alert;
    struct bytes name = tsdb_labels_get(a->labels, BYTES_LIT("alertname")),
                 summary = tsdb_labels_get(a->annotations, BYTES_LIT("summary"));
    buf_printf(text,
               "%" PRIx64 " " BYTES_FMT " " BYTES_FMT " " BYTES_FMT " \"" BYTES_FMT
               "\" %d %g %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64,
               x.identity, BYTES_ARG(x.name), BYTES_ARG(x.group), BYTES_ARG(name),
               BYTES_ARG(summary), (int)a->state, a->value, a->active_ms, a->fired_ms,
               a->resolved_ms, a->keep_since_ms);
    for (uint32_t i = 0; i < a->told_count; i++)
        buf_printf(text, " told %x", a->told[i]);
    buf_str(text, "\n");
    return e;
}

static void make_rule_group(struct buf *out)
{
    rule_cursor_encode(T0_MS, out);
}

static enum err dump_rule_group(struct bytes in, struct buf *text)
{
    int64_t last_ms;
    enum err e = rule_cursor_decode(in, &last_ms);
    if (e == ERR_OK)
        buf_printf(text, "%" PRId64 "\n", last_ms);
    return e;
}

static const uint8_t row_id[8] = {0, 0, 0, 0, 0, 0, 0, 9};

static void say_hash(const uint8_t *hash, struct buf *text)
{
    for (size_t i = 0; i < WEB_ACCESS_HASH_BYTES; i++)
        buf_printf(text, "%02x", hash[i]);
    buf_str(text, "\n");
}

static void make_key(struct buf *out)
{
    struct web_access_key_row k = {
        .pub = {.role = WEB_ACCESS_READ, .org = 3, .name = "grafana", .created_ms = T0_MS}};
    for (size_t i = 0; i < WEB_ACCESS_HASH_BYTES; i++)
        k.hash[i] = (uint8_t)(i * 7 + 1);
    web_access_key_encode(&k, out);
}

static enum err dump_key(struct bytes in, struct buf *text)
{
    struct web_access_key_row k;
    enum err e = web_access_key_decode(bytes_of(row_id, 8), in, &k);
    if (e != ERR_OK)
        return e;
    buf_printf(text, "%" PRIu64 " %s org %u %s %" PRId64 " %" PRId64 " ", k.pub.id,
               web_access_role_name(k.pub.role), k.pub.org, k.pub.name, k.pub.created_ms,
               k.pub.revoked_ms);
    say_hash(k.hash, text);
    return e;
}

static void make_session(struct buf *out)
{
    struct web_access_session_row s = {.key_id = 9, .expires_ms = T0_MS};
    for (size_t i = 0; i < WEB_ACCESS_HASH_BYTES; i++)
        s.hash[i] = (uint8_t)(i * 5 + 2);
    web_access_session_encode(&s, out);
}

static enum err dump_session(struct bytes in, struct buf *text)
{
    struct web_access_session_row s;
    enum err e = web_access_session_decode(bytes_of(row_id, 8), in, &s);
    if (e != ERR_OK)
        return e;
    buf_printf(text, "%" PRIu64 " of key %" PRIu64 " until %" PRId64 " ", s.id, s.key_id,
               s.expires_ms);
    say_hash(s.hash, text);
    return e;
}

static void make_backup(struct buf *out)
{
    struct tsdb_restore_info info = {T0_MS, 11, 22, 33, 44, 55, 66, 0};
    backup_note_write(&info, out);
}

static enum err dump_backup(struct bytes in, struct buf *text)
{
    struct tsdb_restore_info i;
    enum err e = backup_note_read(in, &i);
    if (e == ERR_OK)
        buf_printf(text,
                   "%" PRId64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64
                   " %" PRIu64 " %" PRIu64 "\n",
                   i.made_ms, i.seq, i.state_rows, i.commits, i.parts, i.blocks, i.rows, i.damaged);
    return e;
}

const struct golden golden_formats[] = {
    {"record-spans", "fuzz_record", -1, 3, make_record_spans, dump_record},
    {"record-logs", "fuzz_record", -1, 3, make_record_logs, dump_record},
    {"record-numbers", "fuzz_record", -1, 3, make_record_numbers, dump_record},
    {"block-samples", "fuzz_blocks", 0, 0, make_samples, dump_samples},
    {"block-histograms", "fuzz_blocks", 1, 0, make_hists, dump_hists},
    {"block-cells", "fuzz_blocks", 2, 0, make_cells, dump_cells},
    {"block-index", "fuzz_blocks", 3, 0, make_index, dump_index},
    {"block-traces", "fuzz_blocks", 4, 0, make_traces, dump_traces},
    {"summary-traces", "fuzz_blocks", 5, -1, make_traces_summary, dump_traces_summary},
    {"summary-spans", "fuzz_blocks", 5, -1, make_spans_zone, dump_zone},
    {"summary-logs", "fuzz_blocks", 5, -1, make_logs_zone, dump_zone},
    {"summary-texts", NULL, -1, -1, make_text_filter, dump_text_filter},
    {"block-exemplars", "fuzz_blocks", 6, 0, make_exemplars, dump_exemplars},
    {"block-metadata", "fuzz_blocks", 7, 0, make_metadata, dump_metadata},
    {"block-spans", "fuzz_blocks", 8, 0, make_spans_rows, dump_spans_rows},
    {"block-span-texts", "fuzz_blocks", 8, 0, make_spans_text, dump_spans_text},
    {"block-logs", "fuzz_blocks", 8, 0, make_logs_rows, dump_logs_rows},
    {"block-log-texts", "fuzz_blocks", 8, 0, make_logs_text, dump_logs_text},
    {"version", "fuzz_store_format", 0, -1, make_version, dump_version},
    {"checkpoint", "fuzz_store_format", 1, 0, make_checkpoint, dump_checkpoint},
    {"commit", "fuzz_store_format", 2, 3, make_commit, dump_commit},
    {"manifest", "fuzz_store_format", 3, -1, make_manifest, dump_manifest},
    {"state-alert", "fuzz_state_rows", 0, 0, make_alert, dump_alert},
    {"state-notification", "fuzz_state_rows", 1, 0, make_notification, dump_notification},
    {"state-key", "fuzz_state_rows", 2, 0, make_key, dump_key},
    {"state-session", "fuzz_state_rows", 3, 0, make_session, dump_session},
    {"state-silence", "fuzz_state_rows", 4, 0, make_silence, dump_silence},
    {"state-ack", "fuzz_state_rows", 5, 0, make_ack, dump_ack},
    {"state-rule-alert", "fuzz_state_rows", 6, 0, make_rule_alert, dump_rule_alert},
    {"state-rule-group", "fuzz_state_rows", 7, 0, make_rule_group, dump_rule_group},
    {"backup", "fuzz_store_format", 4, -1, make_backup, dump_backup},
};
const size_t golden_count = ARRAY_LEN(golden_formats);
