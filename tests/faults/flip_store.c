#include "tests/faults/flip_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/check.h"
#include "base/hash.h"
#include "tests/faults/fault_ledger.h"
#include "tsdb/head_flush.h"
#include "tsdb/helper_rows.h"
#include "tsdb/tsdb_quarantine.h"

#define T0_MS (ROWS_T0_NS / 1000000)
#define DAY_MS INT64_C(86400000)
#define ROWS 60u
#define ROUNDS 5u

enum question {
    ASK_SPAN,
    ASK_SPAN_TEXT,
    ASK_LOG,
    ASK_LOG_TEXT,
    ASK_SAMPLE,
    ASK_VALUE,
    ASK_EXEMPLAR,
    ASK_METADATA,
    ASK_TRACE,
    ASK_SERVICE,
    ASK_MINUTES,
    ASK_CELLS,
    ASK_COUNT,
    ASK_FOUND
};
static const char *const question_names[] = {"spans",       "texts of spans",
                                             "logs",        "texts of logs",
                                             "samples",     "label values",
                                             "exemplars",   "metadata",
                                             "a trace",     "services",
                                             "span counts", "cells",
                                             "row counts",  "spans by their attributes"};

struct flip_answers *flip_answers_new(void)
{
    struct flip_answers *a =
        mmap(NULL, sizeof(*a), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return a == MAP_FAILED ? NULL : a;
}

/* --- building ------------------------------------------------------------------------------------ */

static struct tsdb_ref series(struct tsdb *db, struct tsdb_batch *b, enum tsdb_series_kind kind,
                              const char *name, const char *label, const char *value)
{
    struct tsdb_label l[] = {{BYTES_LIT("__name__"), bytes_str(name)},
                             {bytes_str(label), bytes_str(value)}};
    struct tsdb_labels set;
    struct tsdb_ref ref = {0};
    CHECK(tsdb_labels_build(l, 2, b->arena, &set, NULL) == ERR_OK);
    CHECK(tsdb_registry_ref(tsdb_series(db), b->org, kind, set, &ref) == ERR_OK);
    return ref;
}

static void add_samples(struct tsdb *db, struct tsdb_batch *b, unsigned round)
{
    static const char *const les[] = {"0.1", "1", "+Inf"};
    char text[32];
    struct tsdb_hist h;
    int64_t t0 = T0_MS + round * 300000 - (round == 1 ? DAY_MS : 0);
    for (unsigned i = 0; i < 12; i++) {
        int64_t t = t0 + i * 15000;
        for (unsigned s = 0; s < 10; s++) {
            snprintf(text, sizeof(text), "host-%u", s);
            CHECK(tsdb_batch_add_sample(b, series(db, b, TSDB_SERIES_SAMPLES, "load", "host", text),
                                        t, s * 1.37 + i * (s % 3) + round, 0));
        }
        for (unsigned k = 0; k < ARRAY_LEN(les); k++)
            CHECK(tsdb_batch_add_sample(
                b, series(db, b, TSDB_SERIES_SAMPLES, "took_bucket", "le", les[k]), t,
                (round * 12 + i) * (k + 1), 0));
        CHECK(tsdb_hist_of(0.01 * (i + 1), b->arena, &h) == ERR_OK);
        CHECK(tsdb_batch_add_hist(b, series(db, b, TSDB_SERIES_SAMPLES, "native", "of", "flips"), t,
                                  &h, 0));
        CHECK(tsdb_batch_add_hist_cell(b, series(db, b, TSDB_SERIES_CELLS, "lag", "of", "flips"),
                                       (uint32_t)(t / 60000), &h, TSDB_NO_ROW));
    }
    struct tsdb_ref of = series(db, b, TSDB_SERIES_SAMPLES, "load", "host", "host-1");
    struct tsdb_label l = {BYTES_LIT("trace_id"), BYTES_LIT("0123456789abcdef")};
    struct tsdb_labels set;
    CHECK(tsdb_labels_build(&l, 1, b->arena, &set, NULL) == ERR_OK);
    CHECK(tsdb_batch_add_exemplar(b, of, t0 + 15000, 1.5 + round, set));
    snprintf(text, sizeof(text), "help %u", round);
    CHECK(tsdb_batch_add_metadata(b, BYTES_LIT("load"), BYTES_LIT("gauge"), bytes_str(text),
                                  BYTES_LIT("")));
}

static void add_logs(struct tsdb_batch *b, unsigned round)
{
    for (unsigned i = 0; i < 25; i++) {
        uint32_t row = tsdb_batch_add_log(b);
        CHECK(row != TSDB_NO_ROW);
        b->logs.time_ns[row] = ROWS_T0_NS + (int64_t)(round * 25 + i) * 1000000000;
        b->logs.service[row] = BYTES_LIT("logs");
        b->logs.severity[row] = (uint8_t)(9 + i % 4 * 4);
        b->logs.event_name[row] = i % 2 ? BYTES_LIT("even") : BYTES_LIT("odd");
        b->logs.body[row] = arena_printf(b->arena, "line %u of round %u", i, round);
        CHECK(b->logs.body[row].data);
    }
}

bool flip_build(const char *dir)
{
    struct tsdb_options o = ledger_options(dir);
    struct tsdb *db;
    struct err_msg msg = {""};
    struct tsdb_result r;
    bool ok = true;
    ledger_clock(0);
    if (tsdb_open(&o, &db, &msg) != ERR_OK)
        return false;
    for (unsigned i = 0; i < ROUNDS && ok; i++) {
        struct tsdb_batch *b = rows_batch(tsdb_series(db), i * ROWS, ROWS, i + 1);
        CHECK(b);
        add_samples(db, b, i);
        add_logs(b, i);
        ok = rows_append(db, b, &r) == ERR_OK;
        if (ok &&
            i + 2 < ROUNDS) /* compacted; of a second generation; two commits in the journal */
            ok = tsdb_flush(db, i == 1, &msg) == ERR_OK;
    }
    tsdb_close(db, false);
    return ok;
}

/* --- asking -------------------------------------------------------------------------------------- */

static void item(struct flip_answers *out, enum question q, uint64_t hash)
{
    CHECK(out->item_count < FLIP_ITEMS_MAX);
    out->items[out->item_count++] = (struct flip_item){hash, (uint8_t)q};
}

static void sum(struct flip_answers *out, enum question q, uint64_t key, int64_t value)
{
    CHECK(out->sum_count < FLIP_SUMS_MAX);
    out->sums[out->sum_count++] = (struct flip_sum){key, value, (uint8_t)q};
}

static uint64_t mix(uint64_t h, struct bytes b)
{
    h = hash64(b, h + 0x9e3779b97f4a7c15u);
    return h;
}

static uint64_t mix_u64(uint64_t h, uint64_t v)
{
    return mix(h, bytes_of((const uint8_t *)&v, 8));
}

static size_t size_of(enum tsdb_column_type t)
{
    static const uint8_t sizes[] = {
#define SIZE(type) [TSDB_##type] = sizeof(TSDB_CTYPE_##type)
        SIZE(U8),  SIZE(U32), SIZE(I64), SIZE(F64),
        SIZE(ID8), SIZE(ID16)
#undef SIZE
    };
    return sizes[t];
}

/* All that the columns of mask say of a row; *out_any: not everything is empty. */
static uint64_t row_hash(const struct tsdb_schema *s, const void *table, uint32_t row,
                         uint64_t mask, bool *out_any)
{
    uint64_t h = 1;
    *out_any = false;
    for (uint32_t i = 0; i < s->column_count; i++) {
        const struct tsdb_column *c = &s->columns[i];
        const uint8_t *col;
        memcpy(&col, (const uint8_t *)table + c->offset, sizeof(col));
        if (!(mask >> i & 1) || !col)
            continue;
        if (c->type == TSDB_STR) {
            const struct bytes *b = (const struct bytes *)(const void *)col + row;
            if (b->size)
                h = mix(mix_u64(h, i), *b), *out_any = true;
        } else {
            struct bytes v = bytes_of(col + (size_t)row * size_of(c->type), size_of(c->type));
            int64_t number = 0;
            if (v.size <= 8)
                memcpy(&number, v.data, v.size);
            if (v.size > 8 || number != c->def) /* absent columns and defaults are the same */
                h = mix(mix_u64(h, i), v), *out_any = true;
        }
    }
    return h;
}

static void add_rows(struct flip_answers *out, const struct tsdb_schema *s, const void *table,
                     uint32_t count, uint64_t text, enum question q, enum question q_text)
{
    bool any;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t h = row_hash(s, table, i, ~text, &any);
        item(out, q, h);
        uint64_t t = row_hash(s, table, i, text, &any);
        if (any)
            item(out, q_text, mix_u64(h, t));
    }
}

static bool ask_rows(struct tsdb_view *v, struct arena *a, struct flip_answers *out)
{
    struct tsdb_spans spans = {0};
    struct tsdb_logs logs = {0};
    struct tsdb_span_filter every = {.start_max_ns = INT64_MAX};
    struct tsdb_log_filter all = {.max_ns = INT64_MAX};
    if (tsdb_span_scan(v, &every, 1u << 20, a, &spans) != ERR_OK ||
        tsdb_log_scan(v, &all, 1u << 20, a, &logs) != ERR_OK)
        return false;
    add_rows(out, &tsdb_batch_span_schema, &spans, spans.count, HEAD_TEXT_MASK_SPANS, ASK_SPAN,
             ASK_SPAN_TEXT);
    add_rows(out, &tsdb_batch_log_schema, &logs, logs.count, HEAD_TEXT_MASK_LOGS, ASK_LOG,
             ASK_LOG_TEXT);
    /* by what zones and filters decide on */
    struct tsdb_where_attr attr = {BYTES_LIT("text"), BYTES_LIT("prompt 7 says 5384540fe1d35a53")};
    struct tsdb_row_filter with = {.attrs = &attr, .attr_count = 1};
    for (uint64_t id = 0; id < ROUNDS * ROWS; id += 13) {
        struct tsdb_span_filter f = {.start_max_ns = INT64_MAX, .more = &with};
        attr.value = arena_printf(a, "prompt %llu says %llx", (unsigned long long)id,
                                  (unsigned long long)(id * 0x9e3779b97f4a7c15u));
        struct tsdb_spans found = {0};
        if (tsdb_span_scan(v, &f, 10, a, &found) != ERR_OK)
            return false;
        for (uint32_t i = 0; i < found.count; i++)
            item(out, ASK_FOUND, mix(id, bytes_of(found.span_id[i].b, 8)));
    }
    return true;
}

static bool ask_traces(struct tsdb_view *v, struct arena *a, struct flip_answers *out)
{
    for (uint64_t id = 0; id < ROUNDS * ROWS; id += 10) {
        struct tsdb_id16 trace;
        struct tsdb_spans spans = {0};
        bool any;
        bytes_put_u64be(trace.b, id / 10 + 1);
        bytes_put_u64be(trace.b + 8, ~(id / 10));
        enum err e = tsdb_trace(v, trace, a, &spans);
        if (e != ERR_OK && e != ERR_NOT_FOUND)
            return false;
        for (uint32_t i = 0; e == ERR_OK && i < spans.count; i++)
            item(out, ASK_TRACE,
                 row_hash(&tsdb_batch_span_schema, &spans, i, ~(uint64_t)HEAD_TEXT_MASK_SPANS,
                          &any));
    }
    return true;
}

static bool ask_samples(struct tsdb_view *v, struct arena *a, struct flip_answers *out)
{
    static const char *const names[] = {"load", "took_bucket", "native"};
    for (size_t k = 0; k < ARRAY_LEN(names); k++) {
        struct tsdb_matcher m = {TSDB_MATCH_EQ, BYTES_LIT("__name__"), bytes_str(names[k]), NULL,
                                 NULL};
        struct tsdb_series *s;
        size_t n;
        if (tsdb_select(v, &m, 1, T0_MS - 4 * DAY_MS, T0_MS + 4 * DAY_MS, a, &s, &n) != ERR_OK)
            return false;
        for (size_t i = 0; i < n; i++) {
            struct tsdb_points p;
            if (tsdb_points_read(v, &s[i], T0_MS - 4 * DAY_MS, T0_MS + 4 * DAY_MS, a, &p) != ERR_OK)
                return false;
            for (size_t t = 0; t < p.count; t++) {
                uint64_t h = mix_u64(mix(2, s[i].labels.enc), (uint64_t)p.t_ms[t]);
                struct buf text = {0};
                if (p.hist && p.hist[t])
                    tsdb_hist_encode(p.hist[t], &text);
                else
                    buf_bytes_append(&text, bytes_of((const uint8_t *)&p.value[t], 8));
                item(out, ASK_SAMPLE, mix(h, buf_bytes(&text)));
                buf_done(&text);
            }
        }
    }
    return true;
}

static bool ask_lists(struct tsdb_view *v, struct arena *a, struct flip_answers *out)
{
    struct bytes *names;
    struct tsdb_exemplar *ex;
    struct tsdb_metadata_row *md;
    size_t n;
    static const char *const labels[] = {"__name__", "host", "le"};
    for (size_t k = 0; k < ARRAY_LEN(labels); k++) {
        if (tsdb_label_values(v, bytes_str(labels[k]), NULL, 0, T0_MS - 4 * DAY_MS,
                              T0_MS + 4 * DAY_MS, a, &names, &n) != ERR_OK)
            return false;
        for (size_t i = 0; i < n; i++)
            item(out, ASK_VALUE, mix(k, names[i]));
    }
    if (tsdb_exemplars_read(v, NULL, 0, T0_MS - 4 * DAY_MS, T0_MS + 4 * DAY_MS, a, &ex, &n) !=
        ERR_OK)
        return false;
    for (size_t i = 0; i < n; i++)
        item(out, ASK_EXEMPLAR,
             mix_u64(mix_u64(mix(mix(3, ex[i].series.enc), ex[i].labels.enc), (uint64_t)ex[i].t_ms),
                     (uint64_t)(ex[i].value * 1000)));
    if (tsdb_metadata_read(v, a, &md, &n) != ERR_OK)
        return false;
    for (size_t i = 0; i < n;
         i++) /* the newest help wins: only the family is sure to be the same */
        item(out, ASK_METADATA, mix(mix(4, md[i].family), md[i].type));
    if (tsdb_services(v, a, &names, &n) != ERR_OK)
        return false;
    for (size_t i = 0; i < n; i++)
        item(out, ASK_SERVICE, mix(5, names[i]));
    if (tsdb_span_names(v, BYTES_LIT("rows"), a, &names, &n) != ERR_OK)
        return false;
    for (size_t i = 0; i < n; i++)
        item(out, ASK_SERVICE, mix(6, names[i]));
    return true;
}

static bool ask_sums(struct tsdb *db, struct tsdb_view *v, struct arena *a,
                     struct flip_answers *out)
{
    struct tsdb_matcher m = {TSDB_MATCH_EQ, BYTES_LIT("__name__"), BYTES_LIT("rows_total"), NULL,
                             NULL};
    struct tsdb_matcher lag = {TSDB_MATCH_EQ, BYTES_LIT("__name__"), BYTES_LIT("lag"), NULL, NULL};
    struct tsdb_minutes_query q = {.start_max_ns = INT64_MAX, .by_minute = true};
    struct tsdb_minute *minutes;
    struct tsdb_hist h;
    size_t n;
    uint32_t now = tsdb_batch_minute(ROWS_T0_NS);
    for (uint32_t from = now - 3 * 1440; from < now + 120; from += 60) {
        int64_t value = 0;
        if (tsdb_cells_sum(v, &m, 1, from, from + 60, &value) != ERR_OK)
            return false;
        sum(out, ASK_CELLS, from, value);
    }
    if (tsdb_cells_hist(v, &lag, 1, now - 3 * 1440, now + 120, a, &h) == ERR_OK)
        sum(out, ASK_CELLS, 1, (int64_t)h.count);
    if (tsdb_span_minutes(v, &q, a, &minutes, &n) != ERR_OK)
        return false;
    for (size_t i = 0; i < n; i++)
        sum(out, ASK_MINUTES,
            mix_u64(mix(mix(7, minutes[i].service), minutes[i].name), minutes[i].minute),
            (int64_t)minutes[i].count);
    for (int s = 0; s < TSDB_SIGNAL_COUNT; s++) {
        uint64_t count = 0;
        if (tsdb_count(db, ROWS_ORG, (enum tsdb_signal)s, &count) != ERR_OK)
            return false;
        sum(out, ASK_COUNT, (uint64_t)s, (int64_t)count);
    }
    return true;
}

static int by_item(const void *x, const void *y)
{
    const struct flip_item *a = x, *b = y;
    return a->question != b->question ? a->question - b->question
                                      : (a->hash > b->hash) - (a->hash < b->hash);
}

static int by_sum(const void *x, const void *y)
{
    const struct flip_sum *a = x, *b = y;
    return a->question != b->question ? a->question - b->question
                                      : (a->key > b->key) - (a->key < b->key);
}

bool flip_ask(struct tsdb *db, struct flip_answers *out)
{
    struct tsdb_view *v = NULL;
    struct arena *a = arena_new(0);
    struct tsdb_damage damage[8];
    out->item_count = out->sum_count = 0;
    bool ok = a && tsdb_view_open(db, ROWS_ORG, NULL, &v) == ERR_OK;
    ok = ok && ask_rows(v, a, out) && ask_traces(v, a, out) && ask_samples(v, a, out) &&
         ask_lists(v, a, out) && ask_sums(db, v, a, out);
    if (!ok)
        fprintf(stderr, "a question fails\n");
    out->is_warned = ok && tsdb_view_damage(v, damage, ARRAY_LEN(damage)) > 0;
    tsdb_view_close(v);
    arena_free(a);
    qsort(out->items, out->item_count, sizeof(*out->items), by_item);
    qsort(out->sums, out->sum_count, sizeof(*out->sums), by_sum);
    return ok;
}

/* --- comparing ----------------------------------------------------------------------------------- */

struct difference {
    unsigned missing, strange;
    const char *first; /* what it is of */
};

static void missing(struct difference *d, uint8_t question)
{
    d->first = d->first ? d->first : question_names[question];
    d->missing++;
}

static void strange(struct difference *d, uint8_t question)
{
    if (d->strange++ == 0)
        d->first = question_names[question];
}

static void compare_items(const struct flip_answers *have, const struct flip_answers *right,
                          struct difference *d)
{
    uint32_t h = 0, r = 0;
    while (h < have->item_count || r < right->item_count) {
        int c = h == have->item_count    ? 1
                : r == right->item_count ? -1
                                         : by_item(&have->items[h], &right->items[r]);
        if (c > 0)
            missing(d, right->items[r++].question);
        else if (c < 0)
            strange(d, have->items[h++].question);
        else
            h++, r++;
    }
}

static void compare_sums(const struct flip_answers *have, const struct flip_answers *right,
                         struct difference *d)
{
    uint32_t h = 0, r = 0;
    while (h < have->sum_count || r < right->sum_count) {
        int c = h == have->sum_count    ? 1
                : r == right->sum_count ? -1
                                        : by_sum(&have->sums[h], &right->sums[r]);
        if (c > 0) {
            missing(d, right->sums[r++].question);
        } else if (c < 0) {
            strange(d, have->sums[h++].question);
        } else {
            if (have->sums[h].value > right->sums[r].value)
                strange(d, have->sums[h].question);
            else if (have->sums[h].value < right->sums[r].value)
                missing(d, have->sums[h].question);
            h++, r++;
        }
    }
}

bool flip_compare(struct tsdb *db, const struct flip_answers *have,
                  const struct flip_answers *right, const char *where, bool *io_told)
{
    struct difference d = {0};
    compare_items(have, right, &d);
    compare_sums(have, right, &d);
    size_t records = tsdb_quarantine_list(db, ROWS_ORG, true, NULL, 0);
    if (d.strange)
        fprintf(stderr, "%s: %u wrong values (%s)\n", where, d.strange, d.first);
    else if (d.missing && (!records || !have->is_warned))
        fprintf(stderr, "%s: %u values are missing (%s), %zu records, the view %s\n", where,
                d.missing, d.first, records, have->is_warned ? "warns" : "says nothing");
    else
        *io_told |= d.missing > 0;
    return !d.strange && (!d.missing || (records && have->is_warned));
}
