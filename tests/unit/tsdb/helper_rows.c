#include "tsdb/helper_rows.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"

#define DAY_NS INT64_C(86400000000000)
#define SCAN_MAX (4u << 20)

static struct bytes text_of(struct arena *a, uint64_t id)
{
    return arena_printf(a, "prompt %llu says %llx", (unsigned long long)id,
                        (unsigned long long)(id * 0x9e3779b97f4a7c15u));
}

static unsigned late_days = 1;

void rows_late_days(unsigned days)
{
    late_days = days;
}

bool rows_is_late(uint64_t id)
{
    return id % 11 == 0;
}

static int64_t start_of(uint64_t id)
{
    int64_t days_ago = rows_is_late(id) ? 1 + (int64_t)(id / 11 % late_days) : 0;
    return ROWS_T0_NS + (int64_t)(id % 3600) * 1000000000 - days_ago * DAY_NS;
}

static void put_be(uint8_t *out, uint64_t v)
{
    bytes_put_u64be(out, v);
}

static bool fill(struct tsdb_batch *b, uint32_t row, uint64_t id)
{
    struct tsdb_spans *s = &b->spans;
    struct buf attrs = {0};
    put_be(s->trace_id[row].b, id / 10 + 1);
    put_be(s->trace_id[row].b + 8, ~(id / 10));
    put_be(s->span_id[row].b, id + 1);
    s->start_ns[row] = start_of(id);
    s->end_ns[row] = start_of(id) + 1000000 + (int64_t)(id % 977) * 1000;
    s->kind[row] = 3;
    s->name[row] = arena_printf(b->arena, "op %llu", (unsigned long long)(id % 7));
    s->service[row] = BYTES_LIT("rows");
    tsdb_attrs_put_str(&attrs, BYTES_LIT("text"), text_of(b->arena, id));
    s->attrs[row] = arena_copy(b->arena, buf_bytes(&attrs));
    bool ok = buf_ok(&attrs) && s->attrs[row].data && s->name[row].data;
    buf_done(&attrs);
    return ok;
}

static struct tsdb_ref cell_series(struct tsdb_registry *series, struct arena *a)
{
    struct tsdb_label l[] = {{BYTES_LIT("__name__"), BYTES_LIT("rows_total")},
                             {BYTES_LIT("job"), BYTES_LIT("telltale")}};
    struct tsdb_labels labels;
    struct tsdb_ref ref = {0};
    if (tsdb_labels_build(l, ARRAY_LEN(l), a, &labels, NULL) != ERR_OK ||
        tsdb_registry_ref(series, ROWS_ORG, TSDB_SERIES_CELLS, labels, &ref) != ERR_OK)
        return (struct tsdb_ref){0};
    return ref;
}

struct tsdb_batch *rows_batch(struct tsdb_registry *series, uint64_t first, uint32_t n,
                              uint64_t key)
{
    struct tsdb_batch *b = tsdb_batch_new(ROWS_ORG, TSDB_SPANS, 64u << 20);
    if (!b)
        return NULL;
    struct tsdb_ref ref = cell_series(series, b->arena);
    bool ok = ref.v != 0;
    for (uint32_t i = 0; i < n && ok; i++) {
        uint32_t row = tsdb_batch_add_span(b);
        ok = row != TSDB_NO_ROW && fill(b, row, first + i) &&
             tsdb_batch_add_cell(b, ref, tsdb_batch_minute(b->spans.end_ns[row]), 1, row);
    }
    if (!ok) {
        tsdb_batch_free(b);
        return NULL;
    }
    b->received = n;
    b->received_ns = clock_wall_ns();
    b->request_key =
        key ? (struct hash128){key, key * 0x2545f4914f6cdd1du + 1} : (struct hash128){0, 0};
    return b;
}

bool rows_check(const struct tsdb_spans *s, uint32_t row, uint64_t *out_id)
{
    char name[32];
    struct tsdb_value v;
    struct arena *a = arena_new(0);
    uint64_t id = bytes_u64be(s->span_id[row].b) - 1;
    *out_id = id;
    snprintf(name, sizeof(name), "op %llu", (unsigned long long)(id % 7));
    bool same = a && bytes_u64be(s->trace_id[row].b) == id / 10 + 1 &&
                bytes_u64be(s->trace_id[row].b + 8) == ~(id / 10) &&
                s->start_ns[row] == start_of(id) &&
                s->end_ns[row] == start_of(id) + 1000000 + (int64_t)(id % 977) * 1000 &&
                s->kind[row] == 3 && bytes_equal_str(s->name[row], name) &&
                bytes_equal_str(s->service[row], "rows") &&
                tsdb_attrs_find(s->attrs[row], BYTES_LIT("text"), &v) &&
                v.type == TSDB_VALUE_STRING && bytes_equal(v.bytes, text_of(a, id));
    arena_free(a);
    return same;
}

enum err rows_find(struct tsdb *db, uint64_t max, struct rows_found *out)
{
    struct tsdb_view *v = NULL;
    struct arena *a = arena_new(0);
    struct tsdb_spans spans = {0};
    struct tsdb_span_filter all = {.start_max_ns = INT64_MAX};
    struct tsdb_matcher name = {
        .op = TSDB_MATCH_EQ, .name = BYTES_LIT("__name__"), .value = BYTES_LIT("rows_total")};
    uint32_t noon = tsdb_batch_minute(ROWS_T0_NS);
    struct rows_found f = {.times = calloc(max + 1, 1)};
    enum err e = a && f.times ? tsdb_view_open(db, ROWS_ORG, NULL, &v) : ERR_NOMEM;
    if (e == ERR_OK) {
        e = tsdb_span_scan(v, &all, SCAN_MAX, a, &spans);
        if (e == ERR_OK)
            e = tsdb_cells_sum(v, &name, 1, noon - 3 * 1440, noon + 3 * 1440, &f.cells);
    }
    if (e == ERR_OK)
        e = tsdb_count(db, ROWS_ORG, TSDB_SPANS, &f.counted);
    for (uint32_t i = 0; i < (e == ERR_OK ? spans.count : 0); i++) {
        uint64_t id;
        f.altered += !rows_check(&spans, i, &id);
        if (id >= max)
            f.strange++;
        else if (f.times[id] < 255)
            f.times[id]++;
        f.rows++;
    }
    if (v)
        tsdb_view_close(v);
    arena_free(a);
    *out = f;
    if (e != ERR_OK)
        rows_found_done(out);
    return e;
}

void rows_found_done(struct rows_found *f)
{
    free(f->times);
    *f = (struct rows_found){0};
}

struct wait {
    pthread_mutex_t lock;
    pthread_cond_t come;
    bool is_done;
    enum err error;
    struct tsdb_result result;
};

static void answered(void *ctx, enum err e, const struct tsdb_result *r)
{
    struct wait *w = ctx;
    pthread_mutex_lock(&w->lock);
    w->is_done = true;
    w->error = e;
    w->result = *r;
    pthread_cond_signal(&w->come);
    pthread_mutex_unlock(&w->lock);
}

enum err rows_append(struct tsdb *db, struct tsdb_batch *b, struct tsdb_result *out)
{
    struct wait w = {.lock = PTHREAD_MUTEX_INITIALIZER, .come = PTHREAD_COND_INITIALIZER};
    enum err e = b ? tsdb_append(db, &b, answered, &w) : ERR_NOMEM;
    if (e != ERR_OK) {
        tsdb_batch_free(b);
        return e;
    }
    pthread_mutex_lock(&w.lock);
    while (!w.is_done)
        pthread_cond_wait(&w.come, &w.lock);
    pthread_mutex_unlock(&w.lock);
    if (out)
        *out = w.result;
    return w.error;
}
