/* Answers that are kept, and answers that several threads make, have the bits of answers computed alone: over a real store, while rows come in time
 * and late, are erased, sealed and merged, and while the clock moves. */
#include "query/query_cache.h"

#include "base/arena_budget.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/stats.h"
#include "tsdb/tsdb_erase.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
/* after the four headers it needs */
#include <cmocka.h>

#define T0_MS INT64_C(1795168800000) /* 2026-11-20T10:00:00Z */
#define ORG 1u
#define SERIES 40

static _Atomic int64_t now_ms = T0_MS;

static int64_t test_clock(void)
{
    return now_ms * 1000000;
}

struct env {
    char dir[64];
    struct tsdb *db;
    struct pool *pool;
    struct query_cache *cache;
    uint64_t seed;
    _Atomic int waiting;
    double counters[SERIES];
    size_t kinds[QUERY_CACHE_HIT + 1];
};

static uint32_t rnd(struct env *e, uint32_t n)
{
    e->seed = e->seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(e->seed >> 33) % n;
}

static void env_open(struct env *e, uint64_t seed)
{
    *e = (struct env){.seed = seed};
    strcpy(e->dir, "/tmp/telltale_cache_XXXXXX");
    assert_non_null(mkdtemp(e->dir));
    struct tsdb_options o = {
        .dir = e->dir, .memory_limit_bytes = 256u << 20, .view_max_age_ms = 600000};
    struct err_msg msg = {""};
    now_ms = T0_MS;
    clock_test_set_wall(test_clock);
    assert_int_equal(tsdb_open(&o, &e->db, &msg), ERR_OK);
    e->pool = pool_new("query", 3, 16);
    e->cache = query_cache_new(tsdb_query_budget(e->db), 32u << 20);
    assert_non_null(e->pool);
    assert_non_null(e->cache);
}

static void env_close(struct env *e)
{
    char command[128];
    pool_free(e->pool);
    query_cache_free(e->cache);
    tsdb_close(e->db, false);
    snprintf(command, sizeof command, "rm -rf %s", e->dir);
    assert_int_equal(system(command), 0);
    clock_test_set_wall(NULL);
}

/* --- rows -------------------------------------------------------------------------------------- */

static struct tsdb_ref series_ref(struct env *e, struct arena *a, const char *name, int i,
                                  enum tsdb_series_kind kind)
{
    char text[16];
    struct tsdb_labels l;
    struct tsdb_ref ref;
    snprintf(text, sizeof text, "%d", i);
    /* "A" sorts before the label that is grouped by: groups do not come in the order of their names */
    struct tsdb_label pairs[] = {
        {BYTES_LIT("A"), arena_copy(a, bytes_str(text))},
        {BYTES_LIT("__name__"), bytes_str(name)},
        {BYTES_LIT("job"), kind == TSDB_SERIES_CELLS ? BYTES_LIT("telltale") : BYTES_LIT("app")},
        {BYTES_LIT("zone"), i % 5 == 0  ? BYTES_LIT("c")
                            : i % 5 < 3 ? BYTES_LIT("b")
                                        : BYTES_LIT("a")}};
    assert_int_equal(tsdb_labels_build(pairs, 4, a, &l, NULL), ERR_OK);
    assert_int_equal(tsdb_registry_ref(tsdb_series(e->db), ORG, kind, l, &ref), ERR_OK);
    return ref;
}

static void done(void *ctx, enum err err, const struct tsdb_result *r)
{
    assert_int_equal(err, ERR_OK);
    atomic_store((_Atomic int *)ctx, 0);
}

static void append(struct env *e, struct tsdb_batch *b, uint32_t rows)
{
    b->received = rows;
    b->received_ns = clock_wall_ns();
    atomic_store(&e->waiting, 1);
    assert_int_equal(tsdb_append(e->db, &b, done, (void *)&e->waiting), ERR_OK);
    while (atomic_load(&e->waiting))
        usleep(100);
}

static void add_sample(struct env *e, struct tsdb_batch *b, int i, int64_t t)
{
    static const uint64_t stale = UINT64_C(0x7ff0000000000002);
    double v;
    e->counters[i] = rnd(e, 60) == 0 ? 0 : e->counters[i] + rnd(e, 1000) / 7.0;
    v = e->counters[i];
    if (rnd(e, 40) == 0)
        memcpy(&v, &stale, sizeof v);
    assert_true(tsdb_batch_add_sample(
        b, series_ref(e, b->arena, i % 4 ? "work_total" : "heat", i, TSDB_SERIES_SAMPLES), t, v,
        i % 3 ? 0 : T0_MS - 7200000));
}

/* All series of the last moment; some are silent for a while, some rows are late. */
static void scrape(struct env *e, int64_t t)
{
    struct tsdb_batch *b = tsdb_batch_new(ORG, TSDB_SAMPLES, 0);
    uint32_t n = 0;
    for (int i = 0; i < SERIES; i++)
        if ((t / 900000 + i) % 7)
            add_sample(e, b, i, t), n++;
    append(e, b, n);
}

static void late_sample(struct env *e)
{
    struct tsdb_batch *b = tsdb_batch_new(ORG, TSDB_SAMPLES, 0);
    add_sample(e, b, (int)rnd(e, SERIES), now_ms - (int64_t)rnd(e, rnd(e, 3) ? 600000 : 7200000));
    append(e, b, 1);
}

static void spans(struct env *e, int64_t late_ms)
{
    struct tsdb_batch *b = tsdb_batch_new(ORG, TSDB_SPANS, 0);
    uint32_t n = 1 + rnd(e, 4);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t row = tsdb_batch_add_span(b);
        int64_t end = (now_ms - late_ms) * 1000000;
        bytes_put_u64be(b->spans.span_id[row].b, e->seed + i + 1);
        bytes_put_u64be(b->spans.trace_id[row].b, e->seed + 7 * i + 1);
        b->spans.start_ns[row] = end - 1000000;
        b->spans.end_ns[row] = end;
        uint32_t minute = tsdb_batch_minute(end);
        int series = (int)rnd(e, rnd(e, 10) ? 6 : 20);
        struct tsdb_hist *h = ARENA_ARRAY(b->arena, struct tsdb_hist, 1);
        assert_true(tsdb_batch_add_cell(
            b, series_ref(e, b->arena, "llm_requests_total", series, TSDB_SERIES_CELLS), minute,
            1 + rnd(e, 9), row));
        assert_int_equal(tsdb_hist_of(0.001 * (1 + rnd(e, 5000)), b->arena, h), ERR_OK);
        assert_true(tsdb_batch_add_hist_cell(
            b, series_ref(e, b->arena, "llm_request_duration_seconds", 0, TSDB_SERIES_CELLS),
            minute, h, row));
    }
    append(e, b, n);
}

static void erase(struct env *e)
{
    char text[16];
    struct err_msg msg = {""};
    uint64_t id;
    snprintf(text, sizeof text, "%u", rnd(e, SERIES));
    struct tsdb_matcher m = {.op = TSDB_MATCH_EQ, .name = BYTES_LIT("A"), .value = bytes_str(text)};
    int64_t from = now_ms - (int64_t)rnd(e, 3600000);
    assert_int_equal(
        tsdb_erase_series(e->db, ORG, &m, 1, from, from + (int64_t)rnd(e, 1800000), &id, &msg),
        ERR_OK);
    if (rnd(e, 2)) /* else it is still being worked off while the next questions are asked */
        (void)!tsdb_erase_wait(e->db, ORG, 0, clock_mono_ns() + INT64_C(20000000000));
}

/* --- questions --------------------------------------------------------------------------------- */

static const char *const questions[] = {
    "work_total",
    "sum(rate(work_total[5m]))",
    "sum by (zone) (rate(work_total[5m]))",
    "sum(sum by (zone) (rate(work_total[5m])) * 1.1)",
    "avg(sum by (zone) (rate(work_total[3m])) / 3)",
    "stddev(sum without (A) (increase(work_total[4m])))",
    "sum by (zone) (rate(work_total[5m])) / sum by (zone) (rate(work_total[5m] offset 20m))",
    "topk(3, heat)",
    "limitk(2, sum by (zone) (heat))",
    "quantile by (zone) (0.3, heat)",
    "max_over_time(sum(rate(work_total[1m]))[10m:1m])",
    "sum(sum_over_time(avg by (zone) (heat)[5m:30s]))",
    "count by (job) ({job=~\"app|telltale\"})",
    "label_replace(sum by (zone) (heat), \"place\", \"$1\", \"zone\", \"(.*)\")",
    "absent(heat{zone=\"c\"})",
    "timestamp(heat) - time()",
    "(heat > 1000) or (work_total < 500)",
    "count_values(\"v\", clamp_max(round(heat / 500), 3))",
    "sum by (zone) (rate(llm_requests_total[5m]))",
    "llm_requests_total",
    "count(llm_requests_total)",
    "increase(llm_requests_total{zone=\"b\"}[2m])",
    "histogram_quantile(0.9, sum(rate(llm_request_duration_seconds[5m])))",
    "sum(rate(llm_request_duration_seconds[5m]))",
    "histogram_count(llm_request_duration_seconds)",
    "sum(rate({job=\"app\"}[10m])) + 0 * count(llm_requests_total)",
    "heat @ 1795168000",
    "hour() + minute(heat)",
    "predict_linear(heat[5m], 600)",
    "rate(work_total[5m]) and on (zone) (heat > 200)",
};

static bool same_bits(double x, double y)
{
    return memcmp(&x, &y, sizeof x) == 0;
}

static bool same_list(const struct bytes *x, size_t xn, const struct bytes *y, size_t yn)
{
    bool same = xn == yn;
    for (size_t i = 0; i < xn && same; i++)
        same = bytes_equal(x[i], y[i]);
    return same;
}

static bool same_hist(const struct query_hist *x, const struct query_hist *y, struct arena *a)
{
    if (!x || !y)
        return x == y;
    return same_bits(x->count, y->count) && same_bits(x->sum, y->sum) &&
           bytes_equal(query_hist_text(x, a), query_hist_text(y, a));
}

/* NULL, or what differs. */
static const char *differ(const struct query_result *x, const struct query_result *y,
                          struct arena *a)
{
    if (x->type != y->type || x->count != y->count)
        return "the number of rows";
    if (!same_list(x->warnings, x->warning_count, y->warnings, y->warning_count) ||
        !same_list(x->infos, x->info_count, y->infos, y->info_count))
        return "the notes";
    for (size_t k = 0; k < x->count; k++) {
        const struct query_row *p = &x->rows[k], *q = &y->rows[k];
        if (!bytes_equal(p->labels.enc, q->labels.enc))
            return "the labels";
        if (p->count != q->count)
            return "the number of points";
        for (size_t i = 0; i < p->count; i++)
            if (p->t_ms[i] != q->t_ms[i] || !same_bits(p->value[i], q->value[i]) ||
                !same_hist(p->hist ? p->hist[i] : NULL, q->hist ? q->hist[i] : NULL, a))
                return "a point";
    }
    return NULL;
}

static void ask(struct env *e, const char *text, int64_t start, int64_t end, int64_t step)
{
    struct tsdb_read_limits watch = {.watch = true};
    struct arena *a = arena_new(0);
    struct tsdb_view *v;
    struct query_result alone, together, kept;
    struct query_cache_use use;
    struct err_msg msg = {""};
    assert_int_equal(tsdb_view_open(e->db, ORG, &watch, &v), ERR_OK);
    struct query_source src = query_source_of_view(v);
    struct query_limits limits = {.pool = e->pool, .budget = tsdb_query_budget(e->db)};
    struct bytes t = bytes_str(text);
    assert_int_equal(query_range(&src, NULL, t, start, end, step, a, &alone, &msg), ERR_OK);
    assert_int_equal(query_range(&src, &limits, t, start, end, step, a, &together, &msg), ERR_OK);
    assert_int_equal(
        query_cache_range(e->cache, ORG, &src, &limits, t, start, end, step, a, &kept, &use, &msg),
        ERR_OK);
    e->kinds[use.kind]++;
    const char *threads = differ(&alone, &together, a), *cache = differ(&alone, &kept, a);
    if (threads)
        fail_msg("%s: several threads change %s", text, threads);
    if (cache)
        fail_msg("%s: what is kept changes %s (%s, %zu of %zu steps kept)", text, cache,
                 query_cache_kind_name(use.kind), use.steps_kept,
                 use.steps_kept + use.steps_computed);
    tsdb_view_close(v);
    arena_free(a);
}

static void ask_some(struct env *e)
{
    for (int i = 0; i < 8; i++) {
        static const int64_t steps[] = {15000, 30000, 60000};
        const char *text = questions[rnd(e, ARRAY_LEN(questions))];
        int64_t step = steps[rnd(e, 3)], end = now_ms + (rnd(e, 6) ? 0 : 60000);
        end -= end % step;
        if (rnd(e, 12) == 0)
            end += 7000; /* another phase */
        if (rnd(e, 8) == 0)
            end -= (int64_t)rnd(e, 1800000) / step * step;
        ask(e, text, end - 90 * step - (rnd(e, 5) ? 0 : 20 * step), end, step);
    }
}

static void change(struct env *e, int i)
{
    struct err_msg msg = {""};
    now_ms += (int64_t)rnd(e, 20000);
    if (rnd(e, 30) == 0)
        now_ms -= 90000; /* a clock that is set back */
    if (rnd(e, 4))
        scrape(e, now_ms);
    if (rnd(e, 3) == 0)
        spans(e, rnd(e, 4) ? 0 : (int64_t)rnd(e, 1200000));
    if (rnd(e, 6) == 0)
        late_sample(e);
    if (i % 37 == 36)
        erase(e);
    if (i % 29 == 28)
        assert_int_equal(tsdb_flush(e->db, i % 2 == 0, &msg), ERR_OK);
}

static void test_what_is_kept_has_the_bits_of_what_is_computed(void **state)
{
    for (uint64_t seed = 1; seed <= 2; seed++) {
        struct env e;
        env_open(&e, seed);
        for (; now_ms < T0_MS + 3600000; now_ms += 30000) {
            scrape(&e, now_ms);
            if (now_ms % 120000 == 0)
                spans(&e, 0);
        }
        for (int i = 0; i < 110; i++) {
            change(&e, i);
            ask_some(&e);
        }
        print_message("hits %zu, partial %zu, misses %zu, bypasses %zu\n", e.kinds[QUERY_CACHE_HIT],
                      e.kinds[QUERY_CACHE_PARTIAL], e.kinds[QUERY_CACHE_MISS],
                      e.kinds[QUERY_CACHE_BYPASS]);
        assert_true(e.kinds[QUERY_CACHE_PARTIAL] > 50);
        assert_true(e.kinds[QUERY_CACHE_HIT] + e.kinds[QUERY_CACHE_PARTIAL] > 100);
        env_close(&e);
    }
}

static enum query_cache_kind kind_of(struct env *e, const char *text, int64_t start, int64_t end)
{
    size_t before[ARRAY_LEN(e->kinds)];
    memcpy(before, e->kinds, sizeof before);
    ask(e, text, start, end, 15000);
    for (size_t k = 0; k < ARRAY_LEN(e->kinds); k++)
        if (e->kinds[k] != before[k])
            return (enum query_cache_kind)k;
    fail();
    return QUERY_CACHE_OFF;
}

static void test_only_what_has_changed_is_computed(void **state)
{
    struct env e;
    const char *text = "sum by (zone) (rate(work_total[5m]))";
    int64_t start = T0_MS, end = T0_MS + 3600000;
    env_open(&e, 3);
    for (; now_ms < end; now_ms += 30000)
        scrape(&e, now_ms);
    assert_int_equal(kind_of(&e, text, start, end), QUERY_CACHE_MISS);
    assert_int_equal(kind_of(&e, text, start, end), QUERY_CACHE_HIT);
    assert_int_equal(kind_of(&e, " sum  by(zone)(rate( work_total[300s] )) ", start, end),
                     QUERY_CACHE_HIT); /* the same as it is printed */
    assert_int_equal(kind_of(&e, text, start, end + 15000), QUERY_CACHE_PARTIAL);
    assert_int_equal(kind_of(&e, text, start + 1000, end), QUERY_CACHE_MISS); /* another phase */
    scrape(&e, end - 600000); /* late: steps from there on, five minutes more than it is long */
    assert_int_equal(kind_of(&e, text, start, end), QUERY_CACHE_PARTIAL);
    assert_int_equal(kind_of(&e, text, start, end), QUERY_CACHE_HIT);
    static const char *const unfit[] = {"heat @ end()",       "sum(heat) + 1 * start()",
                                        "heat offset step()", "info(heat)",
                                        "vector(1)",          "sum(llm_request_duration_seconds)"};
    spans(&e, 0);
    for (size_t i = 0; i + 1 < ARRAY_LEN(unfit); i++)
        assert_int_equal(kind_of(&e, unfit[i], start, end), QUERY_CACHE_BYPASS);
    for (int i = 0; i < 2; i++) /* histograms are not kept */
        assert_int_equal(kind_of(&e, unfit[ARRAY_LEN(unfit) - 1], start, end), QUERY_CACHE_MISS);
    erase(&e);
    assert_int_equal(kind_of(&e, text, start, end), QUERY_CACHE_MISS);
    env_close(&e);
}

/* More series than one thread is left alone with, floats and native histograms. */
static void crowd(struct env *e)
{
    for (int k = 0; k < 20; k++, now_ms += 30000) {
        struct tsdb_batch *b = tsdb_batch_new(ORG, TSDB_SAMPLES, 0);
        uint32_t n = 0;
        for (int i = 0; i < 400; i++, n++) {
            bool is_hist = i % 3 == 0;
            struct tsdb_ref ref = series_ref(e, b->arena, is_hist ? "crowd_sizes" : "crowd_total",
                                             i, TSDB_SERIES_SAMPLES);
            struct tsdb_hist *h = ARENA_ARRAY(b->arena, struct tsdb_hist, 1);
            assert_int_equal(tsdb_hist_of(0.001 * (k * 10 + i + 1), b->arena, h), ERR_OK);
            assert_true(is_hist
                            ? tsdb_batch_add_hist(b, ref, now_ms + i, h, 0)
                            : tsdb_batch_add_sample(b, ref, now_ms + i, rnd(e, 90000) / 7.0, 0));
        }
        append(e, b, n);
    }
}

static void test_several_threads_give_the_bits_of_one(void **state)
{
    static const char *const texts[] = {"sum(rate(crowd_total[3m]))",
                                        "crowd_total",
                                        "avg by (zone) (crowd_total)",
                                        "stddev(delta(crowd_total[2m]))",
                                        "sum(rate(crowd_sizes[3m]))",
                                        "crowd_sizes",
                                        "histogram_quantile(0.5, crowd_sizes)",
                                        "rate(crowd_sizes[2m])",
                                        "topk(5, crowd_total)",
                                        "quantile_over_time(0.4, crowd_total[4m])",
                                        "rate(crowd_sizes[2m]) - rate(crowd_sizes[3m])"};
    struct env e;
    struct err_msg msg = {""};
    int64_t before = stats_sum("telltale_query_series_helped_total");
    env_open(&e, 5);
    crowd(&e);
    for (int round = 0; round < 6; round++) {
        for (size_t i = 0; i < ARRAY_LEN(texts); i++)
            ask(&e, texts[i], T0_MS + 60000, now_ms, 15000);
        if (round == 2)
            assert_int_equal(tsdb_flush(e.db, false, &msg), ERR_OK);
    }
    assert_true(stats_sum("telltale_query_series_helped_total") >
                before + 1000); /* threads that are idle were asked */
    env_close(&e);
}

static void test_memory_is_bounded_and_given_back(void **state)
{
    struct env e;
    env_open(&e, 4);
    struct arena_budget *budget = tsdb_query_budget(e.db);
    query_cache_free(e.cache);
    e.cache = query_cache_new(budget, 256u << 10);
    for (; now_ms < T0_MS + 1800000; now_ms += 30000)
        scrape(&e, now_ms);
    for (int i = 0; i < 60; i++) {
        char text[64];
        snprintf(text, sizeof text, "sum by (zone) (work_total > %d)", i);
        ask(&e, text, T0_MS, now_ms, 15000);
        assert_true(query_cache_bytes(e.cache) <= 256u << 10);
    }
    size_t full = query_cache_bytes(e.cache);
    assert_true(full > 128u << 10);
    assert_int_equal(atomic_load(&budget->used), full);
    atomic_fetch_add(&budget->used, budget->max / 4 * 3); /* queries need it */
    ask(&e, "sum(work_total)", T0_MS, now_ms, 15000);
    assert_int_equal(query_cache_bytes(e.cache), 0);
    atomic_fetch_sub(&budget->used, budget->max / 4 * 3);
    env_close(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_kept_has_the_bits_of_what_is_computed),
        cmocka_unit_test(test_only_what_has_changed_is_computed),
        cmocka_unit_test(test_several_threads_give_the_bits_of_one),
        cmocka_unit_test(test_memory_is_bounded_and_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
