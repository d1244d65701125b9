/* What a view answers equals a slow and obvious model, over heads, parts and both. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/hash.h"
#include "tsdb/index_cache.h"
#include "tsdb/tsdb_read.h"

#define NOW_MS INT64_C(1795168800000) /* 2026-11-20T10:00:00Z */
#define STALE UINT64_C(0x7ff0000000000002)
#define SERIES 12
#define CELL_SERIES 6
#define MODEL_MAX 20000
#define MINUTE_FIRST ((uint32_t)(NOW_MS / 60000) - 2880)
#define MINUTES 2881

struct model_sample {
    int series;
    int64_t t, start;
    double v;
};
struct model_span {
    uint64_t trace;
    int64_t start, end;
    int service, name;
    char text[24];
};
struct model {
    struct model_sample samples[MODEL_MAX];
    struct model_span spans[MODEL_MAX];
    int sample_count, span_count;
    int64_t cells[CELL_SERIES][MINUTES];
    double hist_counts[MINUTES];
};

struct env {
    char dir[64];
    struct tsdb *db;
    struct model *m;
    uint64_t seed;
    int waiting;
};

static int64_t fixed_now(void)
{
    return NOW_MS * 1000000 + 30000000000; /* in the middle of the open minute */
}

static uint32_t rnd(struct env *e, uint32_t n)
{
    e->seed = e->seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(e->seed >> 33) % n;
}

static struct tsdb_ref series_ref(struct env *e, struct arena *a, const char *name, int i,
                                  enum tsdb_series_kind kind)
{
    char text[16];
    struct tsdb_labels l;
    struct tsdb_ref ref;
    snprintf(text, sizeof(text), "%d", i);
    struct tsdb_label pairs[] = {{BYTES_LIT("__name__"), bytes_str(name)},
                                 {BYTES_LIT("i"), arena_copy(a, bytes_str(text))},
                                 {BYTES_LIT("odd"), i % 2 ? BYTES_LIT("yes") : BYTES_LIT("no")}};
    assert_int_equal(tsdb_labels_build(pairs, 3, a, &l, NULL), ERR_OK);
    assert_int_equal(tsdb_registry_ref(tsdb_series(e->db), 1, kind, l, &ref), ERR_OK);
    return ref;
}

static double random_value(struct env *e)
{
    double v;
    switch (rnd(e, 5)) {
    case 0: return rnd(e, 1000);
    case 1: return rnd(e, 100000) / 100.0;
    case 2: return -0.0;
    case 3: memcpy(&v, &(uint64_t){STALE}, 8); return v;
    default: return 1.0 / (1 + rnd(e, 1000));
    }
}

static void done(void *ctx, enum err err, const struct tsdb_result *r)
{
    assert_int_equal(err, ERR_OK);
    __atomic_store_n((int *)ctx, 0, __ATOMIC_RELEASE);
}

static void append(struct env *e, struct tsdb_batch *b)
{
    e->waiting = 1;
    assert_int_equal(tsdb_append(e->db, &b, done, &e->waiting), ERR_OK);
    while (__atomic_load_n(&e->waiting, __ATOMIC_ACQUIRE))
        usleep(200);
}

static void random_samples(struct env *e)
{
    struct tsdb_batch *b = tsdb_batch_new(1, TSDB_SAMPLES, 0);
    uint32_t n = 1 + rnd(e, 300);
    for (uint32_t i = 0; i < n && e->m->sample_count < MODEL_MAX; i++) {
        struct model_sample s = {(int)rnd(e, SERIES), NOW_MS - (int64_t)rnd(e, 700) * 240000, 0,
                                 random_value(e)};
        s.start = s.series % 3 ? 0 : s.t - 1000;
        assert_true(tsdb_batch_add_sample(
            b, series_ref(e, b->arena, "m", s.series, TSDB_SERIES_SAMPLES), s.t, s.v, s.start));
        e->m->samples[e->m->sample_count++] = s;
    }
    b->received = n;
    b->received_ns = clock_wall_ns();
    append(e, b);
}

static void random_spans(struct env *e)
{
    static const char *services[] = {"api", "worker", "gateway"}, *names[] = {"chat", "embed"};
    struct tsdb_batch *b = tsdb_batch_new(1, TSDB_SPANS, 0);
    uint32_t n = 1 + rnd(e, 120);
    for (uint32_t i = 0; i < n && e->m->span_count < MODEL_MAX; i++) {
        struct model_span *s = &e->m->spans[e->m->span_count];
        s->trace = 1 + rnd(e, 200);
        s->end = (NOW_MS - (int64_t)rnd(e, 2 * 86400) * 1000) * 1000000 + e->m->span_count;
        s->start = s->end - (1 + (int64_t)rnd(e, 5000)) * 1000000;
        s->service = (int)rnd(e, 3);
        s->name = (int)rnd(e, 2);
        snprintf(s->text, sizeof(s->text), "text %d", e->m->span_count);
        uint32_t row = tsdb_batch_add_span(b);
        bytes_put_u64be(b->spans.trace_id[row].b, s->trace * 0x9e3779b97f4a7c15u);
        bytes_put_u64be(b->spans.span_id[row].b, (uint64_t)e->m->span_count + 1);
        b->spans.start_ns[row] = s->start;
        b->spans.end_ns[row] = s->end;
        b->spans.service[row] = bytes_str(services[s->service]);
        b->spans.name[row] = bytes_str(names[s->name]);
        b->spans.status_message[row] = bytes_of(s->text, strlen(s->text));
        struct buf attrs = {0};
        char tag[16];
        snprintf(tag, sizeof(tag), "colour-%d", e->m->span_count % 7);
        tsdb_attrs_put_str(&attrs, BYTES_LIT("colour"), bytes_str(tag));
        tsdb_attrs_put_i64(&attrs, BYTES_LIT("size"), e->m->span_count % 5);
        b->spans.attrs[row] = arena_copy(b->arena, buf_bytes(&attrs));
        b->spans.status[row] = e->m->span_count % 5 == 0 ? 2 : 0;
        buf_done(&attrs);
        if (s->name == 0) {
            assert_true(tsdb_batch_span_column(b, TSDB_SPAN_input_tokens));
            b->spans.input_tokens[row] = e->m->span_count;
        }
        uint32_t minute = tsdb_batch_minute(s->end);
        int cell = (int)rnd(e, CELL_SERIES);
        int64_t add = rnd(e, 50);
        struct tsdb_hist *h = ARENA_ARRAY(b->arena, struct tsdb_hist, 1);
        assert_true(tsdb_batch_add_cell(b, series_ref(e, b->arena, "c", cell, TSDB_SERIES_CELLS),
                                        minute, add, row));
        assert_int_equal(tsdb_hist_of(0.001 * (1 + rnd(e, 5000)), b->arena, h), ERR_OK);
        assert_true(tsdb_batch_add_hist_cell(b, series_ref(e, b->arena, "h", 0, TSDB_SERIES_CELLS),
                                             minute, h, row));
        e->m->cells[cell][minute - MINUTE_FIRST] += add;
        e->m->hist_counts[minute - MINUTE_FIRST] += 1;
        e->m->span_count++;
    }
    b->received = b->spans.count;
    b->received_ns = clock_wall_ns();
    append(e, b);
}

/* --- the obvious answers --------------------------------------------------------------------------- */

static bool is_stale(double v)
{
    return memcmp(&v, &(uint64_t){STALE}, 8) == 0;
}

static int by_time(const void *x, const void *y)
{
    const struct model_sample *a = x, *b = y;
    return (a->t > b->t) - (a->t < b->t);
}

static int model_points(const struct model *m, int series, int64_t min, int64_t max,
                        struct model_sample *out)
{
    int n = 0;
    for (int i = 0; i < m->sample_count; i++) {
        const struct model_sample *s = &m->samples[i];
        int at = 0;
        if (s->series != series || s->t < min || s->t > max)
            continue;
        while (at < n && out[at].t != s->t)
            at++;
        if (at == n)
            out[n++] = *s;
        else if (!is_stale(s->v) || is_stale(out[at].v))
            out[at] = *s;
    }
    qsort(out, (size_t)n, sizeof(*out), by_time);
    return n;
}

static struct tsdb_view *view_of(struct env *e)
{
    struct tsdb_view *v = NULL;
    assert_int_equal(tsdb_view_open(e->db, 1, NULL, &v), ERR_OK);
    return v;
}

static struct tsdb_matcher name_is(const char *name)
{
    return (struct tsdb_matcher){TSDB_MATCH_EQ, BYTES_LIT("__name__"), bytes_str(name), NULL, NULL};
}

static void check_points(struct env *e)
{
    static struct model_sample want[MODEL_MAX];
    struct arena *a = arena_new(0);
    struct tsdb_view *v = view_of(e);
    struct tsdb_matcher m = name_is("m");
    struct tsdb_series *s;
    size_t n, next = 0;
    int64_t min = NOW_MS - (int64_t)rnd(e, 3) * 86400000,
            max = NOW_MS - (int64_t)rnd(e, 600) * 60000;
    if (max < min)
        max = NOW_MS;
    assert_int_equal(tsdb_select(v, &m, 1, min, max, a, &s, &n), ERR_OK);
    for (size_t i = 0; i < n; i++) {
        struct tsdb_points p;
        int64_t id;
        assert_true(bytes_to_i64(tsdb_labels_get(s[i].labels, BYTES_LIT("i")), &id));
        assert_true(i == 0 || tsdb_labels_compare(s[i - 1].labels, s[i].labels) < 0);
        assert_int_equal(tsdb_points_read(v, &s[i], min, max, a, &p), ERR_OK);
        int count = model_points(e->m, (int)id, min, max, want);
        assert_int_equal(p.count, count);
        next += count > 0;
        for (int k = 0; k < count; k++) {
            assert_true(p.t_ms[k] == want[k].t);
            assert_memory_equal(&p.value[k], &want[k].v, 8);
            assert_true((p.start_ms ? p.start_ms[k] : 0) == want[k].start);
        }
    }
    size_t expected = 0;
    for (int i = 0; i < SERIES; i++)
        expected += model_points(e->m, i, min, max, want) > 0;
    assert_int_equal(next, expected);
    tsdb_view_close(v);
    arena_free(a);
}

static void check_cells(struct env *e)
{
    struct arena *a = arena_new(0);
    struct tsdb_view *v = view_of(e);
    struct tsdb_matcher m = name_is("c"), h = name_is("h");
    uint32_t from = MINUTE_FIRST + rnd(e, MINUTES),
             to = from + rnd(e, MINUTE_FIRST + MINUTES - from);
    int64_t sum = -1, want = 0, odd = 0, *minutes = ARENA_ARRAY(a, int64_t, MINUTES);
    double count = 0;
    for (uint32_t t = from; t < to; t++) {
        for (int i = 0; i < CELL_SERIES; i++) {
            want += e->m->cells[i][t - MINUTE_FIRST];
            odd += i % 2 ? e->m->cells[i][t - MINUTE_FIRST] : 0;
        }
        count += e->m->hist_counts[t - MINUTE_FIRST];
    }
    assert_int_equal(tsdb_cells_sum(v, &m, 1, from, to, &sum), ERR_OK);
    assert_true(from == to || sum == want);
    assert_int_equal(tsdb_cells_minutes(v, &m, 1, from, to, minutes), ERR_OK);
    for (uint32_t t = from; t < to; t++) {
        int64_t one = 0;
        for (int i = 0; i < CELL_SERIES; i++)
            one += e->m->cells[i][t - MINUTE_FIRST];
        assert_true(minutes[t - from] == one);
    }
    struct tsdb_hist hist;
    assert_int_equal(tsdb_cells_hist(v, &h, 1, from, to, a, &hist), ERR_OK);
    assert_true(hist.count == count && tsdb_hist_check(&hist, NULL) == ERR_OK);
    struct tsdb_cells_group *g;
    size_t groups;
    assert_int_equal(tsdb_cells_by(v, &m, 1, BYTES_LIT("odd"), from, to, a, &g, &groups), ERR_OK);
    for (size_t i = 0; i < groups; i++)
        assert_true(g[i].sum == (bytes_equal_str(g[i].value, "yes") ? odd : want - odd));
    tsdb_view_close(v);
    arena_free(a);
}

static bool is_small(void *ctx, struct bytes value)
{
    ++*(int *)ctx;
    return value.size < 2;
}

static bool passes(const struct tsdb_matcher *m, struct tsdb_labels l)
{
    struct bytes v = tsdb_labels_get(l, m->name);
    int asked = 0;
    bool ok = m->match ? is_small(&asked, v) : bytes_equal(v, m->value);
    return ok == (m->op == TSDB_MATCH_EQ || m->op == TSDB_MATCH_RE);
}

static bool has_metric(const struct bytes *names, size_t n, struct tsdb_labels l)
{
    for (size_t i = 0; i < n; i++)
        if (bytes_equal(names[i], tsdb_labels_get(l, BYTES_LIT("__name__"))))
            return true;
    return false;
}

/* The names of metrics, which are not looked for series by series, are those of the series. */
static void check_metrics(struct tsdb_view *v, int64_t min, const struct tsdb_series *every,
                          size_t every_n, struct arena *a)
{
    struct bytes *metrics;
    size_t n, distinct = 0;
    assert_int_equal(
        tsdb_label_values(v, BYTES_LIT("__name__"), NULL, 0, min, NOW_MS, a, &metrics, &n), ERR_OK);
    for (size_t i = 0; i < every_n; i++) {
        assert_true(has_metric(metrics, n, every[i].labels));
        distinct +=
            i == 0 || !bytes_equal(tsdb_labels_get(every[i].labels, BYTES_LIT("__name__")),
                                   tsdb_labels_get(every[i - 1].labels, BYTES_LIT("__name__")));
    }
    assert_int_equal(n, distinct); /* sorted by labels, so by name */
}

/* Selectors of every kind against all series looked at one by one; several in one view, the newest part's range first. */
static void check_selectors(struct env *e)
{
    struct arena *a = arena_new(0);
    struct tsdb_view *v = view_of(e), *other = view_of(e);
    int asked = 0;
    const struct tsdb_matcher all[] = {
        {TSDB_MATCH_EQ, BYTES_LIT("__name__"), BYTES_LIT("m"), NULL, NULL},
        {TSDB_MATCH_NE, BYTES_LIT("odd"), BYTES_LIT("no"), NULL, NULL},
        {TSDB_MATCH_RE, BYTES_LIT("i"), BYTES_NONE, is_small, &asked},
        {TSDB_MATCH_NRE, BYTES_LIT("i"), BYTES_NONE, is_small, &asked},
        {TSDB_MATCH_EQ, BYTES_LIT("absent"), BYTES_NONE, NULL, NULL},
        {TSDB_MATCH_NE, BYTES_LIT("i"), BYTES_NONE, NULL, NULL},
        {TSDB_MATCH_EQ, BYTES_LIT("i"), BYTES_LIT("nothing"), NULL, NULL},
        {TSDB_MATCH_RE, BYTES_LIT("__name__"), BYTES_NONE, is_small, &asked}};
    for (int round = 0; round < 12; round++) {
        struct tsdb_matcher m[3];
        struct tsdb_series *got, *every;
        struct bytes *values, *names;
        size_t n = rnd(e, 4), got_n, every_n, value_n, name_n, at = 0;
        int64_t min = round < 3 ? NOW_MS : NOW_MS - (int64_t)rnd(e, 3) * 86400000;
        for (size_t i = 0; i < n; i++)
            m[i] = all[rnd(e, ARRAY_LEN(all))];
        asked = 0;
        assert_int_equal(tsdb_select(v, m, n, min, NOW_MS, a, &got, &got_n), ERR_OK);
        assert_true(asked <= 40 * 3);
        assert_int_equal(tsdb_select(other, NULL, 0, min, NOW_MS, a, &every, &every_n), ERR_OK);
        assert_int_equal(
            tsdb_label_values(v, BYTES_LIT("i"), m, n, min, NOW_MS, a, &values, &value_n), ERR_OK);
        assert_int_equal(tsdb_label_names(v, m, n, min, NOW_MS, a, &names, &name_n), ERR_OK);
        assert_int_equal(name_n, got_n ? 3 : 0);
        check_metrics(v, min, every, every_n, a);
        for (size_t i = 0; i < every_n; i++) {
            bool ok = true, listed = false;
            for (size_t k = 0; k < n; k++)
                ok &= passes(&m[k], every[i].labels);
            for (size_t k = 0; k < value_n; k++)
                listed |= bytes_equal(values[k], tsdb_labels_get(every[i].labels, BYTES_LIT("i")));
            assert_true(!ok || (at < got_n && listed &&
                                tsdb_labels_equal(got[at].labels, every[i].labels) &&
                                got[at].kind == every[i].kind));
            at += ok;
        }
        assert_int_equal(at, got_n);
        for (size_t i = 0; i < got_n; i++) { /* days that the selection did not look at */
            struct tsdb_points p, q;
            struct tsdb_series *same;
            size_t same_n;
            struct tsdb_matcher one[3] = {all[0], all[0], all[1]};
            one[0].value = tsdb_labels_get(got[i].labels, BYTES_LIT("__name__"));
            one[1].name = BYTES_LIT("i");
            one[1].value = tsdb_labels_get(got[i].labels, BYTES_LIT("i"));
            one[2].value = BYTES_LIT("neither");
            struct tsdb_view *fresh = view_of(e);
            assert_int_equal(tsdb_select(fresh, one, 3, 0, NOW_MS, a, &same, &same_n), ERR_OK);
            assert_int_equal(same_n, 1);
            assert_int_equal(tsdb_points_read(v, &got[i], NOW_MS - 3 * 86400000, NOW_MS, a, &p),
                             ERR_OK);
            assert_int_equal(
                tsdb_points_read(fresh, &same[0], NOW_MS - 3 * 86400000, NOW_MS, a, &q), ERR_OK);
            assert_int_equal(p.count, q.count);
            if (p.count)
                assert_memory_equal(p.t_ms, q.t_ms, p.count * sizeof(*p.t_ms));
            tsdb_view_close(fresh);
        }
    }
    tsdb_view_close(v);
    tsdb_view_close(other);
    arena_free(a);
}

/* The definition, sample by sample. */
static void check_counter(struct env *e)
{
    struct arena *a = arena_new(0);
    struct tsdb_view *v = view_of(e);
    struct tsdb_matcher m = name_is("c");
    struct tsdb_series *s;
    size_t n;
    assert_int_equal(tsdb_select(v, &m, 1, NOW_MS - 3 * 86400000, NOW_MS + 60000, a, &s, &n),
                     ERR_OK);
    for (size_t i = 0; i < n; i++) {
        struct tsdb_points p;
        int64_t id, sum = 0;
        size_t k = 0;
        assert_true(bytes_to_i64(tsdb_labels_get(s[i].labels, BYTES_LIT("i")), &id));
        assert_int_equal(tsdb_points_read(v, &s[i], NOW_MS - 3 * 86400000, NOW_MS + 60000, a, &p),
                         ERR_OK);
        for (uint32_t day = MINUTE_FIRST / 1440; day <= (MINUTE_FIRST + MINUTES) / 1440; day++) {
            bool any = false;
            for (uint32_t t = day * 1440; t < day * 1440 + 1440; t++)
                if (t >= MINUTE_FIRST && t < MINUTE_FIRST + MINUTES)
                    any |= e->m->cells[id][t - MINUTE_FIRST] != 0;
            if (!any)
                continue;
            assert_true(k < p.count && p.t_ms[k] == day * INT64_C(86400000) && p.value[k] == 0);
            k++;
            sum = 0;
            for (uint32_t t = day * 1440; t < day * 1440 + 1440; t++) {
                int64_t add = t >= MINUTE_FIRST && t < MINUTE_FIRST + MINUTES
                                  ? e->m->cells[id][t - MINUTE_FIRST]
                                  : 0;
                for (int q = 1; q <= 4; q++) {
                    int64_t at = t * INT64_C(60000) + q * 15000 - 1;
                    if (t * INT64_C(60000) + 59999 > NOW_MS + 30000)
                        continue;
                    assert_true(k < p.count && p.t_ms[k] == at);
                    assert_true(p.value[k] == (double)(sum + add * q / 4));
                    assert_true(p.start_ms[k] == day * INT64_C(86400000));
                    k++;
                }
                if (t == NOW_MS / 60000 && add) { /* the open minute */
                    assert_true(k < p.count && p.t_ms[k] == NOW_MS + 30000 &&
                                p.value[k] == (double)(sum + add));
                    k++;
                }
                sum += add;
            }
        }
        assert_int_equal(k, p.count);
    }
    m = name_is("h");
    assert_int_equal(tsdb_select(v, &m, 1, NOW_MS - 86400000, NOW_MS, a, &s, &n), ERR_OK);
    for (size_t i = 0; i < n; i++) {
        struct tsdb_points p;
        int64_t midnight = NOW_MS / 86400000 * 86400000;
        double count = 0;
        size_t k = 1;
        assert_int_equal(tsdb_points_read(v, &s[i], midnight, NOW_MS, a, &p), ERR_OK);
        for (uint32_t t = (uint32_t)(midnight / 60000); t < NOW_MS / 60000 && p.count;
             t++, k += 4) {
            count += e->m->hist_counts[t - MINUTE_FIRST];
            assert_true(p.hist[k + 3]->count == count && p.hist[k]->count <= p.hist[k + 1]->count);
            assert_int_equal(tsdb_hist_check(p.hist[k + 1], NULL), ERR_OK);
        }
        assert_true(p.count == 0 || k == p.count);
    }
    tsdb_view_close(v);
    arena_free(a);
}

static void check_traces(struct env *e)
{
    struct arena *a = arena_new(0);
    struct tsdb_view *v = view_of(e);
    for (int round = 0; round < 20; round++) {
        struct tsdb_id16 id = {{0}};
        struct tsdb_spans got;
        uint64_t trace = 1 + rnd(e, 210);
        uint32_t want = 0;
        bytes_put_u64be(id.b, trace * 0x9e3779b97f4a7c15u);
        for (int i = 0; i < e->m->span_count; i++)
            want += e->m->spans[i].trace == trace;
        enum err err = tsdb_trace(v, id, a, &got);
        assert_int_equal(err, want ? ERR_OK : ERR_NOT_FOUND);
        for (uint32_t i = 0; want && i < got.count; i++) {
            uint64_t which = bytes_u64be(got.span_id[i].b) - 1;
            const struct model_span *s = &e->m->spans[which];
            assert_true(s->trace == trace && s->start == got.start_ns[i] &&
                        s->end == got.end_ns[i]);
            assert_true(bytes_equal_str(got.status_message[i], s->text));
            assert_true(TSDB_SPAN_GET(&got, input_tokens, i, -1) ==
                        (s->name == 0 ? (int64_t)which : -1));
            assert_true(i == 0 || got.start_ns[i - 1] <= got.start_ns[i]);
        }
        assert_true(!want || got.count == want);
    }
    tsdb_view_close(v);
    arena_free(a);
}

static bool keep_every_third(void *ctx, const struct tsdb_spans *s, uint32_t row)
{
    return bytes_u64be(s->span_id[row].b) % 3 == 0 && s->status_message[row].size > 5;
}

static int newest(const void *x, const void *y)
{
    int64_t a = *(const int64_t *)x, b = *(const int64_t *)y;
    return (a < b) - (a > b);
}

static void check_scan(struct env *e)
{
    static int64_t want[MODEL_MAX];
    static const char *services[] = {"api", "worker", "gateway"};
    struct arena *a = arena_new(0);
    struct tsdb_view *v = view_of(e);
    for (int round = 0; round < 6; round++) {
        int service = (int)rnd(e, 4);
        struct tsdb_span_filter f = {
            .start_min_ns = (NOW_MS - (int64_t)rnd(e, 172800) * 1000) * 1000000,
            .start_max_ns = INT64_MAX,
            .duration_min_ns = rnd(e, 2) ? 0 : 1000000000,
            .service = service < 3 ? bytes_str(services[service]) : BYTES_NONE,
            .newest_first = rnd(e, 2),
            .keep = rnd(e, 2) ? keep_every_third : NULL};
        uint32_t max = 1 + rnd(e, 200), n = 0;
        for (int i = 0; i < e->m->span_count; i++) {
            const struct model_span *s = &e->m->spans[i];
            if (s->start >= f.start_min_ns && s->end - s->start >= f.duration_min_ns &&
                (service == 3 || s->service == service) && (!f.keep || (i + 1) % 3 == 0))
                want[n++] = s->start;
        }
        qsort(want, n, sizeof(*want), newest);
        struct tsdb_spans got;
        assert_int_equal(tsdb_span_scan(v, &f, max, a, &got), ERR_OK);
        assert_int_equal(got.count, MIN(n, max));
        for (uint32_t i = 0; i < got.count; i++)
            assert_true(got.start_ns[i] == want[f.newest_first ? i : n - 1 - i]);
    }
    struct bytes *list;
    size_t n;
    assert_int_equal(tsdb_services(v, a, &list, &n), ERR_OK);
    assert_int_equal(n, 3);
    assert_true(bytes_equal_str(list[0], "api"));
    assert_int_equal(tsdb_span_names(v, BYTES_LIT("api"), a, &list, &n), ERR_OK);
    assert_int_equal(n, 2);
    tsdb_view_close(v);
    arena_free(a);
}

/* What a visit finds against what the model says; a span's number is its id. */
struct seen {
    const struct model *m;
    uint64_t count, number_sum, tokens;
    int64_t durations;
    bool failed;
};

static bool see(void *ctx, const struct tsdb_spans *t, const uint32_t *rows, uint32_t count)
{
    struct seen *s = ctx;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t number = bytes_u64be(t->span_id[rows[i]].b) - 1;
        const struct model_span *m = &s->m->spans[number];
        s->failed |= i > 0 && rows[i - 1] >= rows[i];
        s->failed |= t->start_ns[rows[i]] != m->start || t->end_ns[rows[i]] != m->end;
        s->failed |= t->input_tokens[rows[i]] != (m->name == 0 ? (int64_t)number : -1);
        s->count++;
        s->number_sum += number;
        s->durations += t->end_ns[rows[i]] - t->start_ns[rows[i]];
    }
    return true;
}

static void check_visit(struct env *e)
{
    static struct model_minute {
        uint64_t count, errors;
        int64_t duration;
    } minutes[MINUTES + 1][3][2];
    static const char *services[] = {"api", "worker", "gateway"}, *names[] = {"chat", "embed"};
    struct tsdb_view *v = view_of(e);
    for (int round = 0; round < 4; round++) {
        char tag[16];
        int colour = (int)rnd(e, 8), size = (int)rnd(e, 5), service = (int)rnd(e, 4);
        bool by_attr = rnd(e, 2), by_text = rnd(e, 2), by_size = rnd(e, 2), by_name = rnd(e, 2);
        bool by_status = rnd(e, 2);
        int64_t min = rnd(e, 2) ? 0 : (NOW_MS - (int64_t)rnd(e, 172800) * 1000) * 1000000;
        snprintf(tag, sizeof(tag), "colour-%d", colour);
        struct tsdb_where_attr attrs[] = {{BYTES_LIT("colour"), bytes_str(tag)},
                                          {BYTES_LIT("size"), bytes_of("01234" + size, 1)}};
        struct tsdb_where where[] = {{TSDB_SPAN_status, TSDB_WHERE_IS, BYTES_NONE, 2},
                                     {TSDB_SPAN_name, TSDB_WHERE_BEGINS, BYTES_LIT("ch"), 0}};
        struct tsdb_row_filter more = {.where = by_status ? where : where + 1,
                                       .where_count = (by_status ? 1u : 0u) + (by_name ? 1u : 0u),
                                       .attrs = by_attr ? attrs : attrs + 1,
                                       .attr_count = (by_attr ? 1u : 0u) + (by_size ? 1u : 0u),
                                       .contains = by_text ? BYTES_LIT("our-3") : BYTES_NONE};
        struct seen got = {.m = e->m}, want = {0};
        struct tsdb_visit q = {
            .start_min_ns = min,
            .start_max_ns = INT64_MAX,
            .service = service < 3 ? bytes_str(services[service]) : BYTES_NONE,
            .more = &more,
            .columns = UINT64_C(1) << TSDB_SPAN_span_id | UINT64_C(1) << TSDB_SPAN_start_ns |
                       UINT64_C(1) << TSDB_SPAN_end_ns | UINT64_C(1) << TSDB_SPAN_input_tokens,
            .order = rnd(e, 3),
            .spans = see,
            .ctx = &got};
        for (int i = 0; i < e->m->span_count; i++) {
            const struct model_span *s = &e->m->spans[i];
            if (s->start < min || (service < 3 && s->service != service) ||
                (by_status && i % 5 != 0) || (by_name && s->name != 0) ||
                (by_attr && i % 7 != colour) || (by_size && i % 5 != size) ||
                (by_text && i % 7 != 3))
                continue;
            want.count++;
            want.number_sum += (uint64_t)i;
            want.durations += s->end - s->start;
        }
        assert_int_equal(tsdb_spans_visit(v, &q), ERR_OK);
        assert_false(got.failed);
        assert_int_equal(got.count, want.count);
        assert_int_equal(got.number_sum, want.number_sum);
        assert_int_equal(got.durations, want.durations);
    }
    struct arena *a = arena_new(0);
    for (int round = 0; round < 2; round++) {
        struct tsdb_minutes_query q = {
            .start_min_ns = rnd(e, 2) ? 0 : (NOW_MS - (int64_t)rnd(e, 172800) * 1000) * 1000000,
            .start_max_ns = INT64_MAX,
            .name = round % 2 ? bytes_str(names[0]) : BYTES_NONE,
            .by_minute = true};
        struct tsdb_minute *m;
        size_t n;
        uint64_t left = 0;
        assert_int_equal(tsdb_span_minutes(v, &q, a, &m, &n), ERR_OK);
        memset(minutes, 0, sizeof(minutes));
        for (int i = 0; i < e->m->span_count; i++) {
            const struct model_span *s = &e->m->spans[i];
            if (s->start < q.start_min_ns || (round % 2 && s->name != 0))
                continue;
            struct model_minute *w =
                &minutes[s->start / 60000000000 - MINUTE_FIRST + 1][s->service][s->name];
            w->count++;
            w->errors += i % 5 == 0;
            w->duration += s->end - s->start;
        }
        for (size_t i = 0; i < n; i++) {
            int service = 0, name = 0;
            while (!bytes_equal_str(m[i].service, services[service]))
                service++;
            while (!bytes_equal_str(m[i].name, names[name]))
                name++;
            struct model_minute *w = &minutes[m[i].minute - MINUTE_FIRST + 1][service][name];
            assert_true(w->count == m[i].count && w->errors == m[i].errors &&
                        w->duration == m[i].duration_sum_ns && m[i].count > 0);
            memset(w, 0, sizeof(*w));
        }
        for (uint32_t i = 0; i < MINUTES + 1; i++)
            for (int k = 0; k < 6; k++)
                left += minutes[i][k / 2][k % 2].count;
        assert_int_equal(left, 0);
    }
    arena_free(a);
    tsdb_view_close(v);
}

static void env_open(struct env *e, uint64_t seed)
{
    *e = (struct env){.seed = seed, .m = calloc(1, sizeof(struct model))};
    strcpy(e->dir, "/tmp/telltale_view_XXXXXX");
    assert_non_null(mkdtemp(e->dir));
    struct tsdb_options o = {
        .dir = e->dir, .memory_limit_bytes = 256u << 20, .view_max_age_ms = 600000};
    struct err_msg msg = {""};
    enum err err = tsdb_open(&o, &e->db, &msg);
    if (err != ERR_OK)
        print_message("%s\n", msg.text);
    assert_int_equal(err, ERR_OK);
}

static void env_close(struct env *e)
{
    char command[128];
    tsdb_close(e->db, false);
    snprintf(command, sizeof(command), "rm -rf %s", e->dir);
    assert_int_equal(system(command), 0);
    free(e->m);
}

/* What a view showed before a flush and a compaction it shows after them, whether or not it had looked at the parts. */
static void flush_under_views(struct env *e, bool compact)
{
    struct err_msg msg;
    struct tsdb_matcher m = name_is("c"), samples = name_is("m");
    struct tsdb_view *looked = view_of(e), *fresh = view_of(e);
    struct arena *a = arena_new(0);
    int64_t sum = 0, after = 0;
    struct tsdb_series *s;
    size_t n, points = 0;
    uint32_t last = MINUTE_FIRST + MINUTES;
    assert_int_equal(tsdb_cells_sum(looked, &m, 1, MINUTE_FIRST, last, &sum), ERR_OK);
    assert_int_equal(tsdb_select(looked, &samples, 1, 0, NOW_MS, a, &s, &n), ERR_OK);
    for (size_t i = 0; i < n; i++) {
        struct tsdb_points p;
        assert_int_equal(tsdb_points_read(looked, &s[i], 0, NOW_MS, a, &p), ERR_OK);
        points += p.count;
    }
    assert_int_equal(tsdb_flush(e->db, false, &msg), ERR_OK);
    random_samples(e);
    random_spans(e);
    assert_int_equal(tsdb_flush(e->db, compact, &msg), ERR_OK);
    struct tsdb_view *views[] = {looked, fresh};
    for (int k = 0; k < 2; k++) {
        size_t again = 0;
        assert_int_equal(tsdb_cells_sum(views[k], &m, 1, MINUTE_FIRST, last, &after), ERR_OK);
        assert_true(after == sum);
        assert_int_equal(tsdb_select(views[k], &samples, 1, 0, NOW_MS, a, &s, &n), ERR_OK);
        for (size_t i = 0; i < n; i++) {
            struct tsdb_points p;
            assert_int_equal(tsdb_points_read(views[k], &s[i], 0, NOW_MS, a, &p), ERR_OK);
            again += p.count;
        }
        assert_int_equal(again, points);
        tsdb_view_close(views[k]);
    }
    arena_free(a);
}

static void answers_equal_the_model_in_head_in_parts_and_across(void **state)
{
    clock_test_set_wall(fixed_now);
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct env e;
        env_open(&e, seed);
        for (int round = 0; round < 5; round++) {
            for (uint32_t i = 1 + rnd(&e, 4); i-- > 0;) {
                random_samples(&e);
                random_spans(&e);
            }
            if (round)
                flush_under_views(&e, round % 2 == 0);
            size_t limit = round < 3 ? INDEX_CACHE_BYTES : 3000;
            index_cache_limit(limit); /* room for none, in the end */
            check_points(&e);
            check_selectors(&e);
            assert_true(index_cache_bytes() <= limit && (round != 1 || index_cache_bytes() > 0));
            check_cells(&e);
            check_counter(&e);
            check_traces(&e);
            check_scan(&e);
            check_visit(&e);
        }
        env_close(&e);
    }
    clock_test_set_wall(NULL);
}

static void a_view_does_not_see_what_comes_after_it(void **state)
{
    struct env e;
    struct arena *a = arena_new(0);
    struct tsdb_matcher c = name_is("c");
    struct err_msg msg;
    int64_t before, again, after;
    clock_test_set_wall(fixed_now);
    env_open(&e, 7);
    random_spans(&e);
    struct tsdb_view *v = view_of(&e);
    uint32_t to = MINUTE_FIRST + MINUTES;
    assert_int_equal(tsdb_cells_sum(v, &c, 1, MINUTE_FIRST, to, &before), ERR_OK);
    random_spans(&e);
    random_spans(&e);
    assert_int_equal(tsdb_flush(e.db, false, &msg), ERR_OK);
    assert_int_equal(tsdb_cells_sum(v, &c, 1, MINUTE_FIRST, to, &again), ERR_OK);
    struct tsdb_view *w = view_of(&e);
    assert_int_equal(tsdb_cells_sum(w, &c, 1, MINUTE_FIRST, to, &after), ERR_OK);
    assert_true(before == again && after > before);
    atomic_bool cancel = true;
    struct tsdb_read_limits limits = {.cancel = &cancel};
    struct tsdb_view *x;
    assert_int_equal(tsdb_view_open(e.db, 1, &limits, &x), ERR_OK);
    assert_int_equal(tsdb_cells_sum(x, &c, 1, MINUTE_FIRST, to, &after), ERR_CANCELLED);
    tsdb_view_close(v), tsdb_view_close(w), tsdb_view_close(x);
    env_close(&e);
    arena_free(a);
    clock_test_set_wall(NULL);
}

/* A row larger than any block aims to be, and one whose text does not compress: both must get through a flush. */
static void a_huge_row_is_sealed_and_read_back(void **state)
{
    struct env e;
    struct err_msg msg = {""};
    struct arena *a = arena_new(0);
    enum { HUGE = 9 << 20 };
    clock_test_set_wall(fixed_now);
    env_open(&e, 11);
    struct tsdb_batch *b = tsdb_batch_new(1, TSDB_SPANS, 0);
    uint8_t *noise = arena_alloc(b->arena, HUGE);
    for (size_t i = 0; i < HUGE; i++)
        noise[i] = (uint8_t)rnd(&e, 256);
    uint64_t want = hash64(bytes_of(noise, HUGE), 0);
    for (int i = 0; i < 3; i++) {
        uint32_t row = tsdb_batch_add_span(b);
        b->spans.trace_id[row].b[0] = 7;
        b->spans.span_id[row].b[0] = (uint8_t)(i + 1);
        b->spans.start_ns[row] = b->spans.end_ns[row] = NOW_MS * 1000000 + i;
        if (i == 1)
            b->spans.attrs[row] = b->spans.name[row] = bytes_of(noise, HUGE);
    }
    b->received = 3;
    b->received_ns = clock_wall_ns();
    append(&e, b);
    assert_int_equal(tsdb_flush(e.db, false, &msg), ERR_OK);
    struct tsdb_view *v = view_of(&e);
    struct tsdb_spans got;
    assert_int_equal(tsdb_trace(v, (struct tsdb_id16){{7}}, a, &got), ERR_OK);
    assert_int_equal(got.count, 3);
    assert_true(hash64(got.attrs[1], 0) == want && hash64(got.name[1], 0) == want);
    assert_int_equal(got.attrs[0].size, 0);
    tsdb_view_close(v);
    env_close(&e);
    arena_free(a);
    clock_test_set_wall(NULL);
}

static uint32_t rows_of(struct tsdb_view *v, struct arena *a, const char *what, const char *service)
{
    struct tsdb_log_filter f = {.max_ns = INT64_MAX, .service = bytes_str(service)};
    struct tsdb_logs logs;
    struct tsdb_exemplar *x;
    struct tsdb_metadata_row *m;
    size_t n = 0;
    if (strcmp(what, "logs") == 0) {
        assert_int_equal(tsdb_log_scan(v, &f, 1000, a, &logs), ERR_OK);
        for (uint32_t i = 0; i < logs.count; i++) {
            assert_true(bytes_equal_str(logs.body[i], "\1\4body") && logs.severity[i] == 9);
            assert_true(i == 0 || logs.time_ns[i - 1] > logs.time_ns[i]);
        }
        return logs.count;
    }
    if (strcmp(what, "exemplars") == 0) {
        struct tsdb_matcher name = name_is("m");
        assert_int_equal(tsdb_exemplars_read(v, &name, 1, NOW_MS - 1000, NOW_MS, a, &x, &n),
                         ERR_OK);
        for (size_t i = 0; i < n; i++)
            assert_true(x[i].value == 2.5 && x[i].t_ms == NOW_MS - 5);
        return (uint32_t)n;
    }
    assert_int_equal(tsdb_metadata_read(v, a, &m, &n), ERR_OK);
    assert_true(n == 0 || bytes_equal_str(m[0].help, "how many"));
    return (uint32_t)n;
}

static uint32_t logs_of(struct tsdb_view *v, struct arena *a, uint8_t severity_min,
                        const struct tsdb_row_filter *more)
{
    struct tsdb_log_filter f = {.max_ns = INT64_MAX, .severity_min = severity_min, .more = more};
    struct tsdb_logs logs;
    f.columns = UINT64_C(1) << TSDB_LOG_severity;
    assert_int_equal(tsdb_log_scan(v, &f, 1000, a, &logs), ERR_OK);
    assert_true(logs.body == NULL && (logs.count == 0 || logs.severity[0] == 9));
    return logs.count;
}

static void check_log_filters(struct tsdb_view *v, struct arena *a, uint32_t times)
{
    struct tsdb_id16 id = {{3}}, none = {{200}};
    struct tsdb_where trace = {TSDB_LOG_trace_id, TSDB_WHERE_IS, bytes_of(id.b, 16), 0};
    struct tsdb_where_attr code = {BYTES_LIT("code"), BYTES_LIT("7")};
    struct tsdb_row_filter more = {.where = &trace, .where_count = 1};
    assert_int_equal(logs_of(v, a, 9, NULL), 10 * times);
    assert_int_equal(logs_of(v, a, 10, NULL), 0);
    assert_int_equal(logs_of(v, a, 0, &more), times);
    trace.text = bytes_of(none.b, 16);
    assert_int_equal(logs_of(v, a, 0, &more), 0);
    more = (struct tsdb_row_filter){.attrs = &code, .attr_count = 1};
    assert_int_equal(logs_of(v, a, 0, &more), times);
    code.value = BYTES_LIT("77");
    assert_int_equal(logs_of(v, a, 0, &more), 0);
    more = (struct tsdb_row_filter){.contains = BYTES_LIT("is full")};
    assert_int_equal(logs_of(v, a, 0, &more), times);
    more.contains = BYTES_LIT("bod");
    assert_int_equal(logs_of(v, a, 0, &more), 10 * times);
}

static void logs_histograms_exemplars_and_metadata_survive_flush_and_restart(void **state)
{
    struct env e;
    struct err_msg msg = {""};
    struct arena *a = arena_new(0);
    clock_test_set_wall(fixed_now);
    env_open(&e, 5);
    for (int stage = 0; stage < 3;
         stage++) { /* in the head; sealed; after a restart, with more in the head */
        if (stage != 1) {
            struct tsdb_batch *b = tsdb_batch_new(1, TSDB_LOGS, 0);
            struct tsdb_ref ref = series_ref(&e, b->arena, "m", 1, TSDB_SERIES_SAMPLES);
            for (int i = 0; i < 10; i++) {
                uint32_t row = tsdb_batch_add_log(b);
                b->logs.time_ns[row] = NOW_MS * 1000000 - i * INT64_C(3600000000000) - stage;
                b->logs.service[row] = i % 2 ? BYTES_LIT("api") : BYTES_LIT("web");
                b->logs.body[row] =
                    BYTES_LIT("\1\4body"); /* as an attribute value: a string of four */
                b->logs.severity[row] = 9;
                b->logs.trace_id[row].b[0] = (uint8_t)(i + 1);
                struct buf attrs = {0};
                tsdb_attrs_put_str(&attrs, BYTES_LIT("code"), bytes_of("0123456789" + i, 1));
                tsdb_attrs_put_str(&attrs, BYTES_LIT("note"),
                                   i == 4 ? BYTES_LIT("disk is full") : BYTES_LIT("all is well"));
                b->logs.attrs[row] = arena_copy(b->arena, buf_bytes(&attrs));
                buf_done(&attrs);
                struct tsdb_hist *h = ARENA_ARRAY(b->arena, struct tsdb_hist, 1);
                assert_int_equal(tsdb_hist_of(i + 1, b->arena, h), ERR_OK);
                assert_true(tsdb_batch_add_hist(b, ref, NOW_MS - i * 1000, h, 0));
            }
            assert_true(tsdb_batch_add_exemplar(
                b, ref, NOW_MS - 5, 2.5, tsdb_registry_info(tsdb_series(e.db), ref)->labels));
            assert_true(tsdb_batch_add_metadata(b, BYTES_LIT("m"), BYTES_LIT("counter"),
                                                BYTES_LIT("how many"), BYTES_LIT("")));
            b->received = 10;
            b->received_ns = clock_wall_ns();
            append(&e, b);
        }
        struct tsdb_view *v = view_of(&e);
        struct tsdb_matcher m = name_is("m");
        struct tsdb_series *s;
        struct tsdb_points p;
        size_t n;
        uint32_t times = stage == 2 ? 2 : 1;
        assert_int_equal(rows_of(v, a, "logs", "api"), 5 * times);
        assert_int_equal(rows_of(v, a, "logs", ""), 10 * times);
        check_log_filters(v, a, times);
        assert_int_equal(rows_of(v, a, "exemplars", ""), times);
        assert_int_equal(rows_of(v, a, "metadata", ""), 1);
        assert_int_equal(tsdb_select(v, &m, 1, NOW_MS - 100000, NOW_MS, a, &s, &n), ERR_OK);
        assert_int_equal(n, 1);
        assert_int_equal(tsdb_points_read(v, &s[0], NOW_MS - 100000, NOW_MS, a, &p), ERR_OK);
        assert_true(p.count == 10 && p.hist && p.hist[9]->sum == 1 && p.hist[0]->sum == 10);
        tsdb_view_close(v);
        if (stage == 0)
            assert_int_equal(tsdb_flush(e.db, false, &msg), ERR_OK);
        if (stage == 1) {
            struct tsdb_options o = {.dir = e.dir, .memory_limit_bytes = 256u << 20};
            tsdb_close(e.db, false);
            assert_int_equal(tsdb_open(&o, &e.db, &msg), ERR_OK);
        }
    }
    env_close(&e);
    arena_free(a);
    clock_test_set_wall(NULL);
}

static void spans_stay_when_their_text_is_gone(void **state)
{
    struct env e;
    struct err_msg msg = {""};
    struct arena *a = arena_new(0);
    char command[256];
    clock_test_set_wall(fixed_now);
    env_open(&e, 9);
    random_spans(&e);
    assert_int_equal(tsdb_flush(e.db, false, &msg), ERR_OK);
    tsdb_close(e.db, false);
    snprintf(command, sizeof(command), "rm -rf %s/parts/*/text", e.dir);
    assert_int_equal(system(command), 0);
    struct tsdb_options o = {.dir = e.dir, .memory_limit_bytes = 256u << 20};
    assert_int_equal(tsdb_open(&o, &e.db, &msg), ERR_OK);
    struct tsdb_view *v = view_of(&e);
    struct tsdb_span_filter f = {.start_max_ns = INT64_MAX, .newest_first = 1};
    struct tsdb_spans got;
    assert_int_equal(tsdb_span_scan(v, &f, 1000, a, &got), ERR_OK);
    assert_int_equal(got.count, e.m->span_count);
    for (uint32_t i = 0; i < got.count; i++)
        assert_true(got.status_message[i].size == 0 && got.name[i].size > 0);
    tsdb_view_close(v);
    env_close(&e);
    arena_free(a);
    clock_test_set_wall(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_equal_the_model_in_head_in_parts_and_across),
        cmocka_unit_test(a_view_does_not_see_what_comes_after_it),
        cmocka_unit_test(a_huge_row_is_sealed_and_read_back),
        cmocka_unit_test(logs_histograms_exemplars_and_metadata_survive_flush_and_restart),
        cmocka_unit_test(spans_stay_when_their_text_is_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
