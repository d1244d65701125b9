/* Objectives over the real store: the same counts as a recount from rows, through commits, flushes and a restart; alerts that outlive it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/check.h"
#include "base/clock.h"
#include "detectors/detectors.h"
#include "query/query_slo_feed.h"
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* --- a store in a temporary directory ------------------------------------------------------------ */

struct store {
    char dir[64];
    struct tsdb *db;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    unsigned done;
    enum err last;
};

static void store_open(struct store *s)
{
    struct err_msg msg;
    struct tsdb_options o = {.dir = s->dir};
    if (tsdb_open(&o, &s->db, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
}

static void store_begin(struct store *s)
{
    *s = (struct store){.dir = "/tmp/telltale-slo-store-XXXXXX"};
    assert_non_null(mkdtemp(s->dir));
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->wake, NULL);
    store_open(s);
}

static void store_end(struct store *s)
{
    char command[128];
    if (s->db)
        tsdb_close(s->db, false);
    snprintf(command, sizeof(command), "rm -rf %s", s->dir);
    assert_int_equal(system(command), 0);
}

static void on_done(void *ctx, enum err e, const struct tsdb_result *r)
{
    struct store *s = ctx;
    pthread_mutex_lock(&s->lock);
    s->done++;
    s->last = e;
    pthread_cond_broadcast(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

static void store_append(struct store *s, struct tsdb_batch *b)
{
    unsigned before = s->done;
    assert_int_equal(tsdb_append(s->db, &b, on_done, s), ERR_OK);
    pthread_mutex_lock(&s->lock);
    while (s->done == before)
        pthread_cond_wait(&s->wake, &s->lock);
    assert_int_equal(s->last, ERR_OK);
    pthread_mutex_unlock(&s->lock);
}

static struct tsdb_ref series_of(struct store *s, enum tsdb_series_kind kind,
                                 const char *const *pairs)
{
    struct tsdb_label labels[16];
    size_t n = 0;
    struct tsdb_labels built;
    struct tsdb_ref ref;
    struct err_msg msg;
    struct arena *a = arena_new(0);
    for (; pairs[2 * n]; n++)
        labels[n] = (struct tsdb_label){bytes_str(pairs[2 * n]), bytes_str(pairs[2 * n + 1])};
    assert_int_equal(tsdb_labels_build(labels, n, a, &built, &msg), ERR_OK);
    assert_int_equal(tsdb_registry_ref(tsdb_series(s->db), TSDB_ORG_DEFAULT, kind, built, &ref),
                     ERR_OK);
    arena_free(a);
    return ref;
}

static void add_request(struct store *s, struct tsdb_batch *b, const char *service,
                        const char *outcome, uint32_t minute, int64_t n)
{
    const char *pairs[] = {"__name__", "llm_user_requests_total",
                           "job",      "telltale",
                           "service",  service,
                           "outcome",  outcome,
                           "region",   "eu",
                           NULL,       NULL};
    assert_true(
        tsdb_batch_add_cell(b, series_of(s, TSDB_SERIES_CELLS, pairs), minute, n, TSDB_NO_ROW));
}

static const char document[] = "apiVersion: openslo/v1\nkind: SLO\nmetadata: {name: checkout}\n"
                               "spec:\n  service: checkout\n"
                               "  indicator: {spec: {llm: {indicator: availability-request}}}\n"
                               "  timeWindow: [{duration: 7d, isRolling: true}]\n"
                               "  budgetingMethod: Occurrences\n  objectives: [{target: 0.99}]\n";

static void load(struct query_slo_set *set, const char *text)
{
    struct buf errors;
    buf_init(&errors, 0);
    assert_int_equal(query_slo_set_init(set), ERR_OK);
    if (query_slo_load_text(set, "test", bytes_str(text), &errors) != ERR_OK)
        fail_msg("%.*s", (int)errors.size, errors.data);
    buf_done(&errors);
}

/* --- the obvious evaluator ----------------------------------------------------------------------- */

struct row {
    uint32_t minute;
    bool ours, bad, excluded;
};

static struct query_slo_counts recount(const struct row *rows, size_t n, uint32_t h, uint32_t w)
{
    struct query_slo_counts c = {0};
    for (size_t i = 0; i < n; i++) {
        if (!rows[i].ours || rows[i].minute > h || (uint64_t)rows[i].minute + w <= h)
            continue;
        c.good += !rows[i].bad && !rows[i].excluded;
        c.bad += rows[i].bad;
        c.excluded += rows[i].excluded;
    }
    return c;
}

static uint64_t rng_state = 7;
static uint32_t rng(uint32_t below)
{
    rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((rng_state >> 33) % below);
}

static void compare(struct query_slo_tracker *t, const struct query_slo *s, struct tsdb_view *v,
                    const struct row *rows, size_t n, uint32_t h)
{
    for (uint32_t i = 0; i <= s->rule_count; i++) {
        if (i < s->rule_count && s->rules[i].refused)
            continue;
        uint32_t w = i == s->rule_count ? s->period_minutes : s->rules[i].long_minutes;
        struct query_slo_counts want = recount(rows, n, h, w), slid, summed;
        assert_true(query_slo_tracker_window(t, w, 0, &slid));
        assert_int_equal(query_slo_sum(v, s, h - w + 1, h + 1, &summed), ERR_OK);
        if (memcmp(&slid, &want, sizeof(want)) != 0 || memcmp(&summed, &want, sizeof(want)) != 0)
            fail_msg("window %u: slid %lld/%lld/%lld, summed %lld/%lld/%lld, recount "
                     "%lld/%lld/%lld",
                     w, (long long)slid.good, (long long)slid.bad, (long long)slid.excluded,
                     (long long)summed.good, (long long)summed.bad, (long long)summed.excluded,
                     (long long)want.good, (long long)want.bad, (long long)want.excluded);
    }
}

static void sums_over_the_store_equal_a_recount_through_flush_and_restart(void **state)
{
    (void)state;
    enum { ROWS = 3000, ROUNDS = 60 };
    static struct row rows[ROWS];
    struct store s;
    struct query_slo_set set;
    store_begin(&s);
    load(&set, document);
    const struct query_slo *slo = &set.slos[0];
    struct query_slo_tracker *t = query_slo_tracker_new(slo);
    struct query_slo_tracker *fed = query_slo_tracker_new(slo);
    struct query_slo_feed *feed = query_slo_feed_new(set.slos, set.count);
    uint32_t h = (uint32_t)(clock_wall_ms() / 60000) - 300;
    uint64_t seq = 0;
    size_t n = 0;
    int64_t advance_ns = 0;
    for (int round = 0; round < ROUNDS; round++) {
        struct tsdb_batch *b = tsdb_batch_new(TSDB_ORG_DEFAULT, TSDB_SPANS, 0);
        for (uint32_t k = 1 + rng(40); k > 0 && n < ROWS; k--) {
            uint32_t late = rng(10) < 8 ? 0 : rng(10) < 8 ? rng(300) : rng(9000);
            struct row r = {.minute = h - late, .ours = rng(4) > 0};
            uint32_t kind = rng(6);
            r.bad = kind == 0;
            r.excluded = kind == 1;
            rows[n++] = r;
            add_request(&s, b, r.ours ? "checkout" : "search",
                        r.bad        ? "timeout"
                        : r.excluded ? "cancelled"
                                     : "ok",
                        r.minute, 1);
        }
        store_append(&s, b);
        struct err_msg msg;
        if (round % 20 == 11)
            assert_int_equal(tsdb_flush(s.db, false, &msg), ERR_OK);
        if (round == 41) { /* sequence numbers go on, and what is in heads is replayed */
            tsdb_close(s.db, false);
            store_open(&s);
        }
        struct tsdb_view *v;
        uint32_t from, to;
        assert_int_equal(tsdb_view_open(s.db, TSDB_ORG_DEFAULT, NULL, &v), ERR_OK);
        assert_int_equal(tsdb_cells_changed(v, seq, &from, &to, &seq), ERR_OK);
        int64_t begin = clock_mono_ns();
        assert_int_equal(query_slo_tracker_advance(t, v, h, from, to), ERR_OK);
        advance_ns += clock_mono_ns() - begin;
        compare(t, slo, v, rows, n, h);
        struct query_slo_source src = query_slo_feed_source(feed, v);
        assert_int_equal(query_slo_source_advance(fed, &src, h, from, to), ERR_OK);
        compare(fed, slo, v, rows, n, h);
        struct query_slo_counts one, same;
        uint32_t width = 1 + rng(9000);
        assert_int_equal(query_slo_sum(v, slo, h - width, h + 1, &one), ERR_OK);
        assert_int_equal(query_slo_source_sum(&src, slo, h - width, h + 1, &same), ERR_OK);
        assert_memory_equal(&one, &same, sizeof(one));
        tsdb_view_close(v);
        h += rng(3);
    }
    print_message("    %d rounds, %lld us each (sanitized build)\n", ROUNDS,
                  (long long)advance_ns / ROUNDS / 1000);
    query_slo_tracker_free(t);
    query_slo_tracker_free(fed);
    query_slo_feed_free(feed);
    query_slo_set_done(&set);
    store_end(&s);
}

static void a_ratio_of_sample_counters_takes_raw_increases(void **state)
{
    (void)state;
    struct store s;
    struct query_slo_set set;
    store_begin(&s);
    load(&set, "apiVersion: openslo/v1\nkind: SLO\nmetadata: {name: gateway}\nspec:\n"
               "  service: gateway\n  indicator:\n    spec:\n      ratioMetric:\n        counter: "
               "true\n        bad: {metricSource: {spec: {query: 'gw_total{code=\"500\"}'}}}\n"
               "        total: {metricSource: {spec: {query: gw_total}}}\n"
               "  timeWindow: [{duration: 7d, isRolling: true}]\n"
               "  budgetingMethod: Occurrences\n  objectives: [{target: 0.99}]\n");
    const char *ok_pairs[] = {"__name__", "gw_total", "code", "200", NULL, NULL};
    const char *bad_pairs[] = {"__name__", "gw_total", "code", "500", NULL, NULL};
    struct tsdb_ref ok = series_of(&s, TSDB_SERIES_SAMPLES, ok_pairs),
                    bad = series_of(&s, TSDB_SERIES_SAMPLES, bad_pairs);
    uint32_t m = (uint32_t)(clock_wall_ms() / 60000) - 100;
    struct tsdb_batch *b = tsdb_batch_new(TSDB_ORG_DEFAULT, TSDB_SAMPLES, 0);
    /* 10 good and 1 bad a minute, one sample in its middle; the good counter restarts at minute 5. */
    for (uint32_t i = 0; i < 10; i++) {
        int64_t t = (int64_t)(m + i) * 60000 + 30000;
        assert_true(tsdb_batch_add_sample(b, ok, t, i < 5 ? 1000 + 10.0 * i : 10.0 * (i - 4), 0));
        assert_true(tsdb_batch_add_sample(b, bad, t, 7 + i, 0));
    }
    store_append(&s, b);
    struct tsdb_view *v;
    struct query_slo_counts c, minutes[10];
    assert_int_equal(tsdb_view_open(s.db, TSDB_ORG_DEFAULT, NULL, &v), ERR_OK);
    assert_int_equal(query_slo_sum(v, &set.slos[0], m, m + 10, &c), ERR_OK);
    assert_int_equal(c.bad, 9); /* the first sample is only a beginning */
    assert_int_equal(c.good, 90);
    assert_int_equal(query_slo_minutes(v, &set.slos[0], m, m + 10, minutes), ERR_OK);
    assert_int_equal(minutes[0].bad, 0);
    assert_int_equal(minutes[5].good, 10); /* from zero after the restart */
    /* Parts of a range add up to it: the sample before a range is found. */
    struct query_slo_counts left, right;
    assert_int_equal(query_slo_sum(v, &set.slos[0], m, m + 4, &left), ERR_OK);
    assert_int_equal(query_slo_sum(v, &set.slos[0], m + 4, m + 10, &right), ERR_OK);
    assert_int_equal(left.bad + right.bad, 9);
    assert_int_equal(left.good + right.good, 90);
    tsdb_view_close(v);
    query_slo_set_done(&set);
    store_end(&s);
}

static size_t firing(struct detectors *d, char fingerprint[33])
{
    struct arena *a = arena_new(0);
    struct detectors_alert *list;
    size_t n, hits = 0;
    assert_int_equal(detectors_alerts(d, a, &list, &n), ERR_OK);
    for (size_t i = 0; i < n; i++) {
        if (list[i].state != DETECTORS_FIRING || !bytes_equal_str(list[i].rule, "2%-in-1h"))
            continue;
        hits++;
        memcpy(fingerprint, list[i].fingerprint.data, 32);
        fingerprint[32] = 0;
    }
    arena_free(a);
    return hits;
}

static void alerts_and_their_notifications_outlive_the_process(void **state)
{
    (void)state;
    struct store s;
    store_begin(&s);
    char path[] = "/tmp/telltale-slo-XXXXXX", before[33], after[33];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_true(write(fd, document, sizeof(document) - 1) > 0);
    close(fd);
    const char *paths[] = {path};
    struct detectors_receiver hook = {.name = "hook", .url = "http://127.0.0.1:9/"};
    struct detectors_options o = {.db = s.db,
                                  .slo_paths = paths,
                                  .slo_path_count = 1,
                                  .receivers = &hook,
                                  .receiver_count = 1};
    struct detectors *d;
    struct buf errors;
    buf_init(&errors, 0);
    uint32_t now = (uint32_t)((clock_wall_ms() - QUERY_SLO_DELAY_MS) / 60000);
    struct tsdb_batch *b = tsdb_batch_new(TSDB_ORG_DEFAULT, TSDB_SPANS, 0);
    for (uint32_t m = now - 120; m < now; m++)
        add_request(&s, b, "checkout", m < now - 20 ? "ok" : "timeout", m, 20);
    store_append(&s, b);
    assert_int_equal(detectors_new(&o, &d, &errors), ERR_OK);
    int64_t begin = clock_mono_ns();
    assert_int_equal(detectors_evaluate(d, clock_wall_ms()), ERR_OK);
    int64_t first_ns = clock_mono_ns() - begin;
    begin = clock_mono_ns();
    assert_int_equal(detectors_evaluate(d, clock_wall_ms()), ERR_OK);
    print_message("    first evaluation %lld us, an idle one %lld us (sanitized build)\n",
                  (long long)first_ns / 1000, (long long)(clock_mono_ns() - begin) / 1000);
    assert_int_equal(firing(d, before), 1);
    detectors_free(d);
    tsdb_close(s.db, false);
    store_open(&s);
    o.db = s.db;
    assert_int_equal(detectors_new(&o, &d, &errors), ERR_OK);
    assert_int_equal(firing(d, after), 1); /* before any evaluation */
    assert_string_equal(before, after);
    struct arena *a = arena_new(0);
    struct detectors_outbox_row *rows;
    size_t n;
    assert_int_equal(detectors_outbox(d, a, &rows, &n), ERR_OK);
    assert_int_equal(n, 1);
    assert_memory_equal(rows[0].webhook_id.data, before, 32);
    assert_int_equal(detectors_evaluate(d, clock_wall_ms() + 2000), ERR_OK);
    assert_int_equal(detectors_outbox(d, a, &rows, &n), ERR_OK);
    assert_int_equal(n, 1);
    struct detectors_slo_row row;
    assert_int_equal(detectors_slo(d, BYTES_LIT("checkout"), a, &row), ERR_OK);
    assert_int_equal(row.period.bad, 400);
    assert_int_equal(row.period.good, 2000);
    arena_free(a);
    detectors_free(d);
    buf_done(&errors);
    unlink(path);
    store_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_over_the_store_equal_a_recount_through_flush_and_restart),
        cmocka_unit_test(a_ratio_of_sample_counters_takes_raw_increases),
        cmocka_unit_test(alerts_and_their_notifications_outlive_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
