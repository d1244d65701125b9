/* Samples that come late, twice, or with another value: into the head, into days that are sealed, into days that are merged. And delta cells
 * that come late or again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/stats.h"
#include "tsdb/files.h"
#include "tsdb/helper_rows.h"
#include "tsdb/tsdb_read.h"

#define ORG 3u
#define DAY_MS INT64_C(86400000)
#define T0_MS (ROWS_T0_NS / 1000000)
#define STALE_BITS UINT64_C(0x7ff0000000000002)

static int64_t fixed_now(void)
{
    return ROWS_T0_NS + INT64_C(3600000000000);
}

struct env {
    char dir[64];
    struct tsdb *db;
};

static void reopen(struct env *e)
{
    struct err_msg msg = {""};
    struct tsdb_options o = {.dir = e->dir};
    if (e->db)
        tsdb_close(e->db, false);
    if (tsdb_open(&o, &e->db, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
}

static void open_store(struct env *e)
{
    *e = (struct env){{0}, NULL};
    snprintf(e->dir, sizeof(e->dir), "%s/telltale-late-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(e->dir));
    clock_test_set_wall(fixed_now);
    log_set_level(LOG_LEVEL_ERROR);
    reopen(e);
}

static void close_store(struct env *e)
{
    tsdb_close(e->db, false);
    files_remove_tree(e->dir);
}

static struct tsdb_ref series(struct env *e, struct arena *a, enum tsdb_series_kind kind)
{
    struct tsdb_label l[] = {
        {BYTES_LIT("__name__"), kind == TSDB_SERIES_CELLS ? BYTES_LIT("c") : BYTES_LIT("m")}};
    struct tsdb_labels labels;
    struct tsdb_ref ref;
    assert_int_equal(tsdb_labels_build(l, 1, a, &labels, NULL), ERR_OK);
    assert_int_equal(tsdb_registry_ref(tsdb_series(e->db), ORG, kind, labels, &ref), ERR_OK);
    return ref;
}

static void put(struct env *e, int64_t t_ms, double value)
{
    struct tsdb_batch *b = tsdb_batch_new(ORG, TSDB_SAMPLES, 0);
    assert_true(tsdb_batch_add_sample(b, series(e, b->arena, TSDB_SERIES_SAMPLES), t_ms, value, 0));
    b->received = 1;
    b->received_ns = clock_wall_ns();
    assert_int_equal(rows_append(e->db, b, NULL), ERR_OK);
}

static void seal(struct env *e, bool merge)
{
    struct err_msg msg;
    assert_int_equal(tsdb_flush(e->db, merge, &msg), ERR_OK);
}

static double stale(void)
{
    double v;
    memcpy(&v, &(uint64_t){STALE_BITS}, sizeof(v));
    return v;
}

/* All of the series: "time offset=value", in the order of the answer. */
static void assert_points(struct env *e, const int64_t *t, const double *v, size_t n)
{
    struct tsdb_view *view;
    struct arena *a = arena_new(0);
    struct tsdb_series *s;
    struct tsdb_points p;
    struct tsdb_matcher m = {.name = BYTES_LIT("__name__"), .value = BYTES_LIT("m")};
    size_t count;
    assert_int_equal(tsdb_view_open(e->db, ORG, NULL, &view), ERR_OK);
    assert_int_equal(tsdb_select(view, &m, 1, 0, T0_MS * 2, a, &s, &count), ERR_OK);
    assert_int_equal(count, 1);
    assert_int_equal(tsdb_points_read(view, &s[0], 0, T0_MS * 2, a, &p), ERR_OK);
    assert_int_equal(p.count, n);
    for (size_t i = 0; i < n; i++) {
        assert_true(p.t_ms[i] == t[i]);
        assert_memory_equal(&p.value[i], &v[i], sizeof(double)); /* bits: -0 is not 0 */
    }
    tsdb_view_close(view);
    arena_free(a);
}

struct wanted {
    const char *name, *labels;
    int64_t sum;
};

static void add_value(void *ctx, const struct stats_value *v)
{
    struct wanted *w = ctx;
    if (strcmp(v->name, w->name) == 0 && strcmp(v->labels, w->labels) == 0)
        w->sum += stats_get(v);
}

static int64_t counter(const char *kind, const char *where)
{
    char name[80], labels[32];
    snprintf(name, sizeof(name), "telltale_store_samples_%s_total", kind);
    snprintf(labels, sizeof(labels), "where=\"%s\"", where);
    struct wanted w = {name, labels, 0};
    stats_each(add_value, &w);
    return w.sum;
}

static uint64_t superseded(struct env *e)
{
    struct tsdb_account rows[8];
    size_t n = tsdb_accounts(e->db, rows, 8);
    for (size_t i = 0; i < n; i++)
        if (rows[i].org == ORG && rows[i].signal == TSDB_SAMPLES)
            return rows[i].superseded;
    return 0;
}

static void late_samples_find_their_place_in_closed_and_merged_days(void **state)
{
    struct env e;
    const int64_t day = T0_MS - DAY_MS;
    const int64_t t[] = {day, day + 1000, day + 2000, day + 3000, T0_MS};
    const double v[] = {1, 2, 3, 4, -0.0};
    open_store(&e);
    put(&e, t[1], v[1]);
    seal(&e, false); /* the day before is sealed */
    put(&e, t[3], v[3]);
    put(&e, t[4], v[4]);
    seal(&e, true); /* and merged */
    put(&e, t[2], v[2]); /* between */
    put(&e, t[0], v[0]); /* before all */
    assert_points(&e, t, v, 5);
    reopen(&e); /* from the journal */
    assert_points(&e, t, v, 5);
    seal(&e, false);
    assert_points(&e, t, v, 5);
    seal(&e, true);
    assert_points(&e, t, v, 5);
    reopen(&e);
    assert_points(&e, t, v, 5);
    assert_int_equal(superseded(&e), 0);
    close_store(&e);
}

/* where: how far what is there has come when another sample of the same time follows. */
static void conflict(bool sealed, bool merged)
{
    struct env e;
    const int64_t day = T0_MS - DAY_MS;
    const int64_t t[] = {day, day + 1000, day + 2000, day + 3000, day + 4000};
    open_store(&e);
    const double first[] = {1, 2, 3, stale(), 0.0};
    for (int i = 0; i < 5; i++)
        put(&e, t[i], first[i]);
    if (sealed)
        seal(&e, merged);
    put(&e, t[0], 1); /* the same bits: absorbed */
    put(&e, t[1], 20); /* another value: the newest */
    put(&e, t[2], stale()); /* a value stays before a stale marker that comes later */
    put(&e, t[3], 4); /* and takes the place of one that came before */
    put(&e, t[4], -0.0); /* bits are compared */
    const double want[] = {1, 20, 3, 4, -0.0};
    int64_t repeated = counter("repeated", "read"), conflicting = counter("conflicting", "read");
    assert_points(&e, t, want, 5);
    assert_int_equal(counter("repeated", "read") - repeated, 1);
    assert_int_equal(counter("conflicting", "read") - conflicting, 4);
    const char *place = sealed ? "merge" : "seal";
    repeated = counter("repeated", place);
    conflicting = counter("conflicting", place);
    seal(&e, false);
    assert_points(&e, t, want, 5);
    seal(&e, true);
    assert_points(&e, t, want, 5);
    assert_int_equal(counter("repeated", place) - repeated, 1);
    assert_int_equal(counter("conflicting", place) - conflicting, 4);
    assert_int_equal(superseded(&e), 5);
    reopen(&e);
    assert_points(&e, t, want, 5);
    assert_int_equal(superseded(&e), 5); /* kept */
    uint64_t n;
    assert_int_equal(tsdb_count(e.db, ORG, TSDB_SAMPLES, &n), ERR_OK);
    assert_int_equal(n, 5);
    close_store(&e);
}

static void of_two_samples_in_the_head_the_newest_counts_and_a_value_beats_a_stale_marker(
    void **state)
{
    conflict(false, false);
}

static void so_it_is_against_a_sealed_day(void **state)
{
    conflict(true, false);
}

static void so_it_is_against_a_merged_day(void **state)
{
    conflict(true, true);
}

static void repeats_that_follow_each_other_are_counted_as_they_come(void **state)
{
    struct env e;
    open_store(&e);
    int64_t repeated = counter("repeated", "append"),
            conflicting = counter("conflicting", "append");
    put(&e, T0_MS, 5);
    put(&e, T0_MS, 5);
    put(&e, T0_MS, 6);
    assert_int_equal(counter("repeated", "append") - repeated, 1);
    assert_int_equal(counter("conflicting", "append") - conflicting, 1);
    const double want = 6;
    assert_points(&e, &(int64_t){T0_MS}, &want, 1);
    close_store(&e);
}

/* --- delta ------------------------------------------------------------------------------------------ */

static uint32_t minute_of(int64_t days_ago, uint32_t minute)
{
    return (uint32_t)(T0_MS / 60000) - (uint32_t)(days_ago * 1440) - 600 + minute;
}

static void put_delta(struct env *e, uint32_t minute, int64_t add, double observed, uint64_t key)
{
    struct tsdb_batch *b = tsdb_batch_new(ORG, TSDB_SAMPLES, 0);
    struct tsdb_ref ref = series(e, b->arena, TSDB_SERIES_CELLS);
    if (add)
        assert_true(tsdb_batch_add_cell(b, ref, minute, add, TSDB_NO_ROW));
    if (observed > 0) {
        double bounds[] = {1, 10}, counts[] = {observed < 1, observed >= 1, 0};
        struct tsdb_hist h = {.schema = TSDB_HIST_CUSTOM_SCHEMA,
                              .count = 1,
                              .sum = observed,
                              .custom = bounds,
                              .custom_count = 2,
                              .pos = counts,
                              .pos_count = 3,
                              .pos_spans = &(struct tsdb_hist_span){0, 3},
                              .pos_span_count = 1};
        struct tsdb_hist *kept = ARENA_ARRAY(b->arena, struct tsdb_hist, 1);
        assert_int_equal(tsdb_hist_copy(&h, b->arena, kept), ERR_OK);
        assert_true(tsdb_batch_add_hist_cell(b, ref, minute, kept, TSDB_NO_ROW));
    }
    b->received = 1;
    b->received_ns = clock_wall_ns();
    b->request_key = key ? (struct hash128){key, key} : (struct hash128){0, 0};
    assert_int_equal(rows_append(e->db, b, NULL), ERR_OK);
}

static void assert_cells(struct env *e, int64_t sum, double count, double total)
{
    struct tsdb_view *v;
    struct arena *a = arena_new(0);
    struct tsdb_matcher m = {.name = BYTES_LIT("__name__"), .value = BYTES_LIT("c")};
    struct tsdb_hist h = {0};
    int64_t got = 0;
    assert_int_equal(tsdb_view_open(e->db, ORG, NULL, &v), ERR_OK);
    assert_int_equal(tsdb_cells_sum(v, &m, 1, minute_of(3, 0), minute_of(0, 0) + 1440, &got),
                     ERR_OK);
    assert_true(got == sum);
    enum err err = tsdb_cells_hist(v, &m, 1, minute_of(3, 0), minute_of(0, 0) + 1440, a, &h);
    assert_true(err == ERR_OK || (err == ERR_NOT_FOUND && count == 0));
    assert_true(h.count == count && h.sum == total);
    tsdb_view_close(v);
    arena_free(a);
}

static void deltas_add_up_wherever_and_whenever_they_come(void **state)
{
    struct env e;
    open_store(&e);
    put_delta(&e, minute_of(1, 5), 3, 0, 11);
    put_delta(&e, minute_of(0, 5), 4, 0, 12);
    seal(&e, false);
    put_delta(&e, minute_of(1, 5), 10, 0, 13); /* late, the same minute of a sealed day */
    put_delta(&e, minute_of(1, 5), 10, 0, 13); /* the same request again: absorbed */
    assert_cells(&e, 17, 0, 0);
    reopen(&e); /* replayed from the journal: once */
    assert_cells(&e, 17, 0, 0);
    put_delta(&e, minute_of(1, 5), 10, 0, 13); /* and again after it */
    assert_cells(&e, 17, 0, 0);
    seal(&e, true);
    put_delta(&e, minute_of(1, 5), 100, 0, 14); /* into a merged day */
    put_delta(&e, minute_of(2, 5), 1000, 0, 15); /* into a day that is new and older */
    assert_cells(&e, 1117, 0, 0);
    seal(&e, false);
    assert_cells(&e, 1117, 0, 0);
    seal(&e, true);
    reopen(&e);
    assert_cells(&e, 1117, 0, 0);
    close_store(&e);
}

static void delta_histograms_add_up_alike(void **state)
{
    struct env e;
    open_store(&e);
    put_delta(&e, minute_of(1, 5), 0, 0.5, 21);
    seal(&e, false);
    put_delta(&e, minute_of(1, 5), 0, 4, 22);
    put_delta(&e, minute_of(1, 5), 0, 4, 22); /* a repeat */
    assert_cells(&e, 0, 2, 4.5);
    reopen(&e);
    assert_cells(&e, 0, 2, 4.5);
    seal(&e, true);
    put_delta(&e, minute_of(1, 5), 0, 0.25, 23); /* into a merged day */
    assert_cells(&e, 0, 3, 4.75);
    seal(&e, true);
    reopen(&e);
    assert_cells(&e, 0, 3, 4.75);
    close_store(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(late_samples_find_their_place_in_closed_and_merged_days),
        cmocka_unit_test(
            of_two_samples_in_the_head_the_newest_counts_and_a_value_beats_a_stale_marker),
        cmocka_unit_test(so_it_is_against_a_sealed_day),
        cmocka_unit_test(so_it_is_against_a_merged_day),
        cmocka_unit_test(repeats_that_follow_each_other_are_counted_as_they_come),
        cmocka_unit_test(deltas_add_up_wherever_and_whenever_they_come),
        cmocka_unit_test(delta_histograms_add_up_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
