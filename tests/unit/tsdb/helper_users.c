#include "tsdb/helper_users.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "tsdb/block_index.h"
#include "tsdb/columns.h"
#include "tsdb/files.h"
#include "tsdb/head_flush.h"
#include "tsdb/helper_rows.h"
#include "tsdb/journal.h"
#include "tsdb/part_store.h"
#include "tsdb/store_format.h"
#include "tsdb/tsdb_attrs.h"
#include "tsdb/tsdb_hist.h"

#define USERS 5u /* the last is the victim */
#define DAY_NS INT64_C(86400000000000)
#define RAW_BYTES 96u

/* --- canaries ------------------------------------------------------------------------------------ */

struct bytes users_canary(enum users_canary which)
{
    static uint8_t raw[2][RAW_BYTES];
    if (!raw[0][0]) /* bytes of which no entropy coder makes fewer */
        for (unsigned k = 0; k < 2; k++)
            for (uint64_t i = 0, x = 88172645463325252u + k; i < RAW_BYTES; i++) {
                x ^= x << 13, x ^= x >> 7, x ^= x << 17;
                raw[k][i] = (uint8_t)(x >> 32) | 1;
            }
    switch (which) {
    case USERS_ID: return BYTES_LIT(USERS_VICTIM);
    case USERS_PROMPT: return bytes_of(raw[0], RAW_BYTES);
    case USERS_NAME: return BYTES_LIT("canary.span.QzXvJ9");
    case USERS_EVENT: return BYTES_LIT("canary-event-Wq8LmZ");
    case USERS_BODY: return bytes_of(raw[1], RAW_BYTES);
    case USERS_LABEL: return BYTES_LIT("canary-label-Yt5RkP");
    case USERS_EXEMPLAR: return BYTES_LIT("canary-exemplar-Hn3");
    case USERS_CELL: return BYTES_LIT("canary-cell-Bv7GsD");
    default: CHECK(false); return BYTES_NONE;
    }
}

/* --- traffic ------------------------------------------------------------------------------------- */

static struct tsdb_ref series(struct tsdb *db, struct arena *a, uint32_t org,
                              enum tsdb_series_kind kind, const char *name, struct bytes user,
                              struct bytes more)
{
    struct tsdb_label l[] = {{BYTES_LIT("__name__"), bytes_str(name)},
                             {BYTES_LIT("user_id"), user},
                             {BYTES_LIT("note"), more}};
    struct tsdb_labels labels;
    struct tsdb_ref ref;
    CHECK(tsdb_labels_build(l, ARRAY_LEN(l), a, &labels, NULL) == ERR_OK);
    CHECK(tsdb_registry_ref(tsdb_series(db), org, kind, labels, &ref) == ERR_OK);
    return ref;
}

static struct bytes user_name(struct arena *a, unsigned user)
{
    return user == USERS - 1 ? users_canary(USERS_ID) : arena_printf(a, "user-%u", user);
}

static struct bytes attrs_of(struct arena *a, unsigned user, unsigned round, unsigned i)
{
    struct buf b = {0};
    bool victim = user == USERS - 1;
    struct bytes text = victim ? users_canary(USERS_PROMPT)
                               : arena_printf(a, "prompt of %u, %u.%u", user, round, i);
    tsdb_attrs_put_str(&b, user % 2 ? BYTES_LIT("enduser.id") : BYTES_LIT("user.id"),
                       user_name(a, user));
    tsdb_attrs_put(
        &b, BYTES_LIT("prompt"),
        (struct tsdb_value){victim ? TSDB_VALUE_BYTES : TSDB_VALUE_STRING, {.bytes = text}});
    tsdb_attrs_put_i64(&b, BYTES_LIT("i"), i);
    struct bytes out = arena_copy(a, buf_bytes(&b));
    buf_done(&b);
    return out;
}

static struct bytes events_of(struct arena *a, unsigned user)
{
    struct buf attrs = {0}, b = {0};
    tsdb_attrs_put_str(&attrs, BYTES_LIT("what"),
                       user == USERS - 1 ? users_canary(USERS_EVENT) : BYTES_LIT("plain"));
    struct tsdb_event e = {.time_ns = 5, .name = BYTES_LIT("ev"), .attrs = buf_bytes(&attrs)};
    tsdb_attrs_put_event(&b, &e);
    struct bytes out = arena_copy(a, buf_bytes(&b));
    buf_done(&attrs);
    buf_done(&b);
    return out;
}

static int64_t time_of(unsigned round, unsigned user, unsigned i)
{
    return USERS_T0_NS - (i % 3 == 0 ? DAY_NS : 0) +
           (int64_t)((round * 40 + i) * USERS + user) * 1000000000;
}

static void send(struct tsdb *db, struct tsdb_batch *b, uint64_t n)
{
    b->received = n;
    b->received_ns = USERS_T0_NS;
    CHECK(rows_append(db, b, NULL) == ERR_OK);
}

static void send_spans(struct tsdb *db, uint32_t org, unsigned round, unsigned users)
{
    struct tsdb_batch *b = tsdb_batch_new(org, TSDB_SPANS, 0);
    struct arena *a = b->arena;
    uint64_t n = 0;
    for (unsigned i = 0; i < 24; i++)
        for (unsigned user = 0; user < users; user++, n++) {
            uint32_t row = tsdb_batch_add_span(b);
            bytes_put_u64be(b->spans.trace_id[row].b, (round * 100 + i) * USERS + user + 1);
            bytes_put_u64be(b->spans.span_id[row].b, (round * 100 + i) * USERS + user + 1);
            b->spans.start_ns[row] = time_of(round, user, i);
            b->spans.end_ns[row] = time_of(round, user, i) + 5000000;
            b->spans.service[row] = BYTES_LIT("shop");
            b->spans.name[row] =
                user == USERS - 1 ? users_canary(USERS_NAME) : arena_printf(a, "op %u", user);
            b->spans.attrs[row] = attrs_of(a, user, round, i);
            b->spans.events[row] = events_of(a, user);
            CHECK(tsdb_batch_add_cell(
                b,
                series(db, a, org, TSDB_SERIES_CELLS, "calls_total", BYTES_NONE, BYTES_LIT("all")),
                tsdb_batch_minute(USERS_T0_NS), user < USERS - 1, row));
        }
    send(db, b, n);
}

static void send_logs(struct tsdb *db, uint32_t org, unsigned round, unsigned users)
{
    struct tsdb_batch *b = tsdb_batch_new(org, TSDB_LOGS, 0);
    struct arena *a = b->arena;
    uint64_t n = 0;
    for (unsigned i = 0; i < 12; i++)
        for (unsigned user = 0; user < users; user++, n++) {
            uint32_t row = tsdb_batch_add_log(b);
            struct buf body = {0};
            tsdb_attrs_put_value(
                &body,
                user == USERS - 1
                    ? (struct tsdb_value){TSDB_VALUE_BYTES, {.bytes = users_canary(USERS_BODY)}}
                    : (struct tsdb_value){TSDB_VALUE_STRING,
                                          {.bytes = arena_printf(a, "line %u", i)}});
            b->logs.time_ns[row] = time_of(round, user, i);
            b->logs.service[row] = BYTES_LIT("shop");
            b->logs.severity[row] = 9;
            b->logs.body[row] = arena_copy(a, buf_bytes(&body));
            b->logs.attrs[row] = attrs_of(a, user, round, i);
            buf_done(&body);
        }
    send(db, b, n);
}

static void send_samples(struct tsdb *db, uint32_t org, unsigned round, unsigned users)
{
    struct tsdb_batch *b = tsdb_batch_new(org, TSDB_SAMPLES, 0);
    struct arena *a = b->arena;
    uint64_t n = 0;
    for (unsigned i = 0; i < 30; i++)
        for (unsigned user = 0; user < users; user++, n++) {
            bool victim = user == USERS - 1;
            int64_t t = time_of(round, user, i) / 1000000;
            struct tsdb_ref ref =
                series(db, a, org, TSDB_SERIES_SAMPLES, "spent", user_name(a, user),
                       victim ? users_canary(USERS_LABEL) : BYTES_LIT("plain"));
            CHECK(tsdb_batch_add_sample(b, ref, t, user * 100 + round + i / 7.0, 0));
            struct tsdb_ref cell =
                series(db, a, org, TSDB_SERIES_CELLS, "clicks_total", user_name(a, user),
                       victim ? users_canary(USERS_CELL) : BYTES_LIT("plain"));
            CHECK(tsdb_batch_add_cell(b, cell, (uint32_t)(t / 60000), 1, TSDB_NO_ROW));
            if (i % 5)
                continue;
            struct tsdb_label l[] = {
                {BYTES_LIT("user_id"), user_name(a, user)},
                {BYTES_LIT("why"), victim ? users_canary(USERS_EXEMPLAR) : BYTES_LIT("plain")}};
            struct tsdb_labels labels;
            struct tsdb_ref shared =
                series(db, a, org, TSDB_SERIES_SAMPLES, "latency", BYTES_NONE, BYTES_LIT("all"));
            CHECK(tsdb_labels_build(l, ARRAY_LEN(l), a, &labels, NULL) == ERR_OK);
            CHECK(tsdb_batch_add_exemplar(b, shared, t, i, labels));
            if (!victim)
                CHECK(tsdb_batch_add_sample(b, shared, t, i, 0));
        }
    send(db, b, n);
}

void users_append(struct tsdb *db, uint32_t org, unsigned round, bool victim)
{
    unsigned users = victim ? USERS : USERS - 1;
    send_spans(db, org, round, users);
    send_logs(db, org, round, users);
    send_samples(db, org, round, users);
}

/* --- answers ------------------------------------------------------------------------------------- */

struct lines {
    struct arena *a;
    struct bytes *line;
    size_t count, cap;
};

static void add(struct lines *l, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void add(struct lines *l, const char *fmt, ...)
{
    char text[2048];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (l->count == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 1024;
        CHECK(l->line = realloc(l->line, l->cap * sizeof(*l->line)));
    }
    l->line[l->count] = arena_copy(l->a, bytes_str(text));
    CHECK(l->line[l->count++].data);
}

static unsigned long long digest(struct bytes b)
{
    return hash64(b, 1);
}

static void dump_spans(struct lines *l, const char *what, const struct tsdb_spans *s)
{
    for (uint32_t i = 0; i < s->count; i++)
        add(l, "%s %llx %llx %lld %lld " BYTES_FMT " " BYTES_FMT " %llx %llx", what,
            (unsigned long long)bytes_u64be(s->trace_id[i].b),
            (unsigned long long)bytes_u64be(s->span_id[i].b), (long long)s->start_ns[i],
            (long long)s->end_ns[i], BYTES_ARG(s->service[i]), BYTES_ARG(s->name[i]),
            digest(s->attrs[i]), digest(s->events[i]));
}

static void dump_rows(struct lines *l, struct tsdb_view *v)
{
    struct tsdb_spans spans;
    struct tsdb_logs logs;
    struct tsdb_span_filter all = {.start_max_ns = INT64_MAX};
    struct tsdb_log_filter all_logs = {.max_ns = INT64_MAX};
    struct tsdb_minutes_query q = {.start_max_ns = INT64_MAX, .by_minute = true};
    struct tsdb_minute *m;
    struct tsdb_freshness *f;
    struct bytes *names;
    size_t n;
    CHECK(tsdb_span_scan(v, &all, 100000, l->a, &spans) == ERR_OK);
    dump_spans(l, "span", &spans);
    CHECK(tsdb_log_scan(v, &all_logs, 100000, l->a, &logs) == ERR_OK);
    for (uint32_t i = 0; i < logs.count; i++)
        add(l, "log %lld %llx %llx", (long long)logs.time_ns[i], digest(logs.body[i]),
            digest(logs.attrs[i]));
    CHECK(tsdb_span_minutes(v, &q, l->a, &m, &n) == ERR_OK);
    for (size_t i = 0; i < n; i++)
        add(l, "minute " BYTES_FMT " %u %llu %lld", BYTES_ARG(m[i].name), m[i].minute,
            (unsigned long long)m[i].count, (long long)m[i].duration_sum_ns);
    CHECK(tsdb_services(v, l->a, &names, &n) == ERR_OK);
    for (size_t i = 0; i < n; i++)
        add(l, "service " BYTES_FMT, BYTES_ARG(names[i]));
    CHECK(tsdb_span_names(v, BYTES_LIT("shop"), l->a, &names, &n) == ERR_OK);
    for (size_t i = 0; i < n; i++)
        add(l, "name " BYTES_FMT, BYTES_ARG(names[i]));
    CHECK(tsdb_freshness_read(v, l->a, &f, &n) == ERR_OK);
    for (size_t i = 0; i < n; i++)
        add(l, "fresh " BYTES_FMT " %lld", BYTES_ARG(f[i].service), (long long)f[i].newest_end_ns);
    for (uint64_t id = 1; id <= USERS_ROUNDS * 100 * USERS; id += 3) {
        struct tsdb_id16 trace = {{0}};
        bytes_put_u64be(trace.b, id);
        enum err e = tsdb_trace(v, trace, l->a, &spans);
        CHECK(e == ERR_OK || e == ERR_NOT_FOUND);
        if (e == ERR_OK)
            dump_spans(l, "trace", &spans);
    }
}

static void dump_series(struct lines *l, struct tsdb_view *v)
{
    int64_t min = (USERS_T0_NS - 2 * DAY_NS) / 1000000, max = (USERS_T0_NS + DAY_NS) / 1000000;
    struct tsdb_series *s;
    struct tsdb_exemplar *x;
    struct bytes *names, *values;
    size_t n, k;
    CHECK(tsdb_select(v, NULL, 0, min, max, l->a, &s, &n) == ERR_OK);
    for (size_t i = 0; i < n; i++) {
        struct tsdb_points p;
        add(l, "series %d %llx", (int)s[i].kind, digest(s[i].labels.enc));
        CHECK(tsdb_points_read(v, &s[i], min, max, l->a, &p) == ERR_OK);
        for (size_t j = 0; j < p.count; j++)
            add(l, "point %llx %lld %a", digest(s[i].labels.enc), (long long)p.t_ms[j], p.value[j]);
    }
    CHECK(tsdb_label_names(v, NULL, 0, min, max, l->a, &names, &n) == ERR_OK);
    for (size_t i = 0; i < n; i++) {
        CHECK(tsdb_label_values(v, names[i], NULL, 0, min, max, l->a, &values, &k) == ERR_OK);
        for (size_t j = 0; j < k; j++)
            add(l, "label " BYTES_FMT "=" BYTES_FMT, BYTES_ARG(names[i]), BYTES_ARG(values[j]));
    }
    CHECK(tsdb_exemplars_read(v, NULL, 0, min, max, l->a, &x, &n) == ERR_OK);
    for (size_t i = 0; i < n; i++)
        add(l, "exemplar %llx %llx %lld %a", digest(x[i].series.enc), digest(x[i].labels.enc),
            (long long)x[i].t_ms, x[i].value);
    struct tsdb_matcher m = {.name = BYTES_LIT("__name__"), .value = BYTES_LIT("clicks_total")};
    int64_t sum = 0;
    uint32_t noon = tsdb_batch_minute(USERS_T0_NS);
    CHECK(tsdb_cells_sum(v, &m, 1, noon - 2880, noon + 1440, &sum) == ERR_OK);
    add(l, "clicks %lld", (long long)sum);
    m.value = BYTES_LIT("calls_total");
    CHECK(tsdb_cells_sum(v, &m, 1, noon - 2880, noon + 1440, &sum) == ERR_OK);
    add(l, "calls %lld", (long long)sum);
}

static int by_bytes(const void *x, const void *y)
{
    return bytes_compare(*(const struct bytes *)x, *(const struct bytes *)y);
}

void users_dump(struct tsdb *db, uint32_t org, struct buf *out)
{
    struct lines l = {.a = arena_new(0)};
    struct tsdb_view *v;
    CHECK(l.a && tsdb_view_open(db, org, NULL, &v) == ERR_OK);
    dump_rows(&l, v);
    dump_series(&l, v);
    tsdb_view_close(v);
    qsort(l.line, l.count, sizeof(*l.line), by_bytes);
    for (size_t i = 0; i < l.count; i++) {
        buf_bytes_append(out, l.line[i]);
        buf_u8(out, '\n');
    }
    CHECK(buf_ok(out));
    free(l.line);
    arena_free(l.a);
}

/* --- searching ----------------------------------------------------------------------------------- */

static void look(struct bytes hay, uint64_t *counts)
{
    for (int c = 0; c < USERS_CANARIES; c++) {
        struct bytes needle = users_canary((enum users_canary)c);
        const uint8_t *at = hay.data, *end = hay.data + hay.size;
        while (hay.size && at < end &&
               (at = memmem(at, (size_t)(end - at), needle.data, needle.size))) {
            counts[c]++;
            at++;
        }
    }
}

static void look_at_table(const struct tsdb_schema *schema, const void *table, uint32_t rows,
                          struct users_found *f)
{
    for (uint32_t c = 0; c < schema->column_count; c++) {
        const struct bytes *col;
        memcpy(&col, (const uint8_t *)table + schema->columns[c].offset, sizeof(col));
        for (uint32_t i = 0; schema->columns[c].type == TSDB_STR && col && i < rows; i++)
            look(col[i], f->decoded);
    }
}

static const struct block_meta *beside(const struct part_snapshot *s, const struct block_key *k,
                                       uint8_t kind)
{
    size_t n = 0;
    const struct block_meta *m = s ? part_snapshot_blocks(s, &n) : NULL;
    for (size_t i = 0; i < n; i++)
        if (m[i].key.org == k->org && m[i].key.generation == k->generation && m[i].key.n == k->n &&
            m[i].key.kind == kind)
            return &m[i];
    return NULL;
}

/* Texts refer to the rows beside them; texts that nobody names are decoded as far as that goes. */
static void look_at_rows(const struct part_snapshot *rows, const struct block_meta *m,
                         const struct part_snapshot *text, bool spans, struct arena *a,
                         struct users_found *f)
{
    union {
        struct tsdb_spans spans;
        struct tsdb_logs logs;
    } t;
    const struct tsdb_schema *schema = spans ? &tsdb_batch_span_schema : &tsdb_batch_log_schema;
    const struct block_meta *tm = beside(text, &m->key, spans ? BLOCK_SPAN_TEXT : BLOCK_LOG_TEXT);
    struct bytes block, body;
    struct err_msg msg;
    memset(&t, 0, sizeof(t));
    CHECK(part_fetch(rows, m, a, &block, &msg) == ERR_OK &&
          block_unpack(block, a, &body) == ERR_OK);
    struct reader r = reader_of(body);
    CHECK(columns_decode(&r, schema, COLUMNS_ALL, a, &t, false) == ERR_OK);
    if (tm) {
        CHECK(columns_fill(schema, a, &t, columns_peers(schema)));
        CHECK(part_fetch(text, tm, a, &block, &msg) == ERR_OK &&
              block_unpack(block, a, &body) == ERR_OK);
        r = reader_of(body);
        CHECK(columns_decode(&r, schema, COLUMNS_ALL, a, &t, true) == ERR_OK);
    }
    look_at_table(schema, &t, (uint32_t)m->rows, f);
}

static void look_at_part(const char *day_dir, enum part_class class, struct users_found *f)
{
    struct part *p = part_new(day_dir, 0, class, true), *t = NULL;
    struct part_snapshot *s = part_snapshot_new(p, UINT64_MAX), *text = NULL;
    struct arena *a = arena_new(0);
    struct err_msg msg;
    char path[1024], name[PART_NAME_MAX];
    size_t n;
    CHECK(part_name(day_dir, PART_TEXT, name) == ERR_OK);
    CHECK((size_t)snprintf(path, sizeof(path), "%s/%s", day_dir, name) < sizeof(path));
    if (class == PART_ROWS && access(path, F_OK) == 0) {
        t = part_new(day_dir, 0, PART_TEXT, true);
        text = part_snapshot_new(t, UINT64_MAX);
    }
    const struct block_meta *m = part_snapshot_blocks(s, &n);
    for (size_t i = 0; i < n; i++, f->blocks++) {
        struct bytes block, body;
        arena_reset(a);
        look(m[i].summary, f->decoded);
        CHECK(part_fetch(s, &m[i], a, &block, &msg) == ERR_OK);
        if (block_unpack(block, a, &body) == ERR_OK)
            look(body, f->decoded);
        if (m[i].key.kind == BLOCK_INDEX) {
            struct block_index_series *x;
            uint32_t first, count;
            CHECK(block_index_read(block, m[i].key.org, a, &first, &x, &count) == ERR_OK);
            for (uint32_t k = 0; k < count; k++)
                look(x[k].labels.enc, f->decoded);
        }
        if (m[i].key.kind == BLOCK_SPANS || m[i].key.kind == BLOCK_LOGS)
            look_at_rows(s, &m[i], text, m[i].key.kind == BLOCK_SPANS, a, f);
    }
    part_snapshot_release(s);
    part_snapshot_release(text);
    part_release(p);
    part_release(t);
    arena_free(a);
}

static void look_raw(const char *path, struct users_found *f)
{
    struct stat st;
    struct dirent *d;
    if (stat(path, &st) != 0)
        return;
    if (S_ISREG(st.st_mode)) {
        FILE *in = fopen(path, "rb");
        uint8_t *data = malloc((size_t)st.st_size + 1);
        CHECK(in && data);
        size_t n = fread(data, 1, (size_t)st.st_size, in);
        look(bytes_of(data, n), f->raw);
        f->files++;
        free(data);
        fclose(in);
        return;
    }
    DIR *dir = opendir(path);
    while (dir && (d = readdir(dir))) {
        char sub[1024];
        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
            continue;
        CHECK((size_t)snprintf(sub, sizeof(sub), "%s/%s", path, d->d_name) < sizeof(sub));
        look_raw(sub, f);
    }
    if (dir)
        closedir(dir);
}

struct users_found users_search(const char *dir)
{
    struct users_found f = {0};
    struct arena *a = arena_new(0);
    struct err_msg msg;
    char path[FILES_PATH_MAX], **days;
    size_t n = 0;
    look_raw(dir, &f);
    snprintf(path, sizeof(path), "%s/parts", dir);
    if (files_list(path, false, a, &days, &n, &msg) != ERR_OK)
        n = 0;
    for (size_t i = 0; i < n; i++)
        for (int c = 0; c < PART_CLASS_COUNT; c++) {
            char day[512], name[PART_NAME_MAX];
            CHECK((size_t)snprintf(day, sizeof(day), "%s/parts/%s", dir, days[i]) < sizeof(day));
            CHECK(part_name(day, (enum part_class)c, name) == ERR_OK);
            snprintf(path, sizeof(path), "%s/%s", day, name);
            if (access(path, F_OK) == 0)
                look_at_part(day, (enum part_class)c, &f);
        }
    arena_free(a);
    return f;
}

uint64_t users_found_sum(const struct users_found *f)
{
    uint64_t n = 0;
    for (int c = 0; c < USERS_CANARIES; c++)
        n += f->raw[c] + f->decoded[c];
    return n;
}
