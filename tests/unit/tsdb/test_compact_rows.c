/* Spans and logs, merged over generations: what was answered before is answered afterwards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/stats.h"
#include "tsdb/store.h"
#include "tsdb/tsdb_read.h"
#include "tsdb/tsdb_verify.h"

#define NOW_MS INT64_C(1795168800000) /* 2026-11-20T10:00:00Z */
#define DAY_NS INT64_C(86400000000000)
#define SPANS_MAX 6000
#define LOGS_MAX 3000
#define TRACES 60
#define ORGS 2

struct model_span {
    uint32_t org, trace;
    int64_t start, end;
    bool is_error;
    bool is_root;
    uint32_t times; /* stored; more than once when a repeat came after its generation was sealed */
};
struct model_log {
    uint32_t org;
    int64_t time;
};

struct env {
    char dir[64];
    struct tsdb *db;
    uint64_t seed;
    int waiting;
    uint64_t stored; /* of the last request */
    struct model_span *spans;
    struct model_log *logs;
    uint32_t span_count, log_count;
};

static _Atomic int64_t now_ns; /* the store reads it on its threads */
static int64_t test_now(void)
{
    return now_ns;
}

static uint32_t rnd(struct env *e, uint32_t n)
{
    e->seed = e->seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(e->seed >> 33) % n;
}

static void done(void *ctx, enum err err, const struct tsdb_result *r)
{
    struct env *e = ctx;
    assert_int_equal(err, ERR_OK);
    e->stored = r->stored;
    __atomic_store_n(&e->waiting, 0, __ATOMIC_RELEASE);
}

static void append(struct env *e, struct tsdb_batch *b, uint32_t rows)
{
    b->received = rows;
    b->received_ns = clock_wall_ns();
    e->waiting = 1;
    assert_int_equal(tsdb_append(e->db, &b, done, e), ERR_OK);
    while (__atomic_load_n(&e->waiting, __ATOMIC_ACQUIRE))
        usleep(200);
}

static struct tsdb_ref cells_of(struct env *e, struct arena *a, uint32_t org)
{
    struct tsdb_label l[] = {{BYTES_LIT("__name__"), BYTES_LIT("spans_total")}};
    struct tsdb_labels labels;
    struct tsdb_ref ref;
    assert_int_equal(tsdb_labels_build(l, 1, a, &labels, NULL), ERR_OK);
    assert_int_equal(tsdb_registry_ref(tsdb_series(e->db), org, TSDB_SERIES_CELLS, labels, &ref),
                     ERR_OK);
    return ref;
}

/* Every value of span i follows from i and the model. */
static void put_span(struct env *e, struct tsdb_batch *b, uint32_t i)
{
    const struct model_span *s = &e->spans[i];
    struct buf attrs = {0};
    uint32_t row = tsdb_batch_add_span(b);
    assert_true(row != TSDB_NO_ROW);
    struct tsdb_spans *t = &b->spans;
    bytes_put_u64be(t->trace_id[row].b, s->trace * UINT64_C(0x9e3779b97f4a7c15));
    bytes_put_u64be(t->trace_id[row].b + 8, s->trace + 1);
    bytes_put_u64be(t->span_id[row].b, i + 1);
    if (!s->is_root)
        bytes_put_u64be(t->parent_id[row].b, i - i % 3 + 1);
    t->start_ns[row] = s->start;
    t->end_ns[row] = s->end;
    t->status[row] = s->is_error ? 2 : 0;
    t->service[row] = i % 2 ? BYTES_LIT("odd") : BYTES_LIT("even");
    t->name[row] = i % 3 ? BYTES_LIT("child") : BYTES_LIT("root");
    tsdb_attrs_put_str(&attrs, BYTES_LIT("says"), arena_printf(b->arena, "span %u", i));
    t->attrs[row] = arena_copy(b->arena, buf_bytes(&attrs));
    buf_done(&attrs);
    assert_true(tsdb_batch_span_column(b, TSDB_SPAN_input_tokens));
    t->input_tokens[row] = i % 4 ? (int64_t)i : -1;
    assert_true(
        tsdb_batch_add_cell(b, cells_of(e, b->arena, b->org), tsdb_batch_minute(s->end), 1, row));
}

static void random_spans(struct env *e, uint32_t n)
{
    uint32_t org = 1 + rnd(e, ORGS) * 2, count = 0;
    struct tsdb_batch *b = tsdb_batch_new(org, TSDB_SPANS, 0);
    for (; count < n && e->span_count < SPANS_MAX; count++) {
        int64_t late = rnd(e, 8) ? 0 : 1 + rnd(e, 2);
        int64_t start = now_ns - late * DAY_NS - (int64_t)rnd(e, 36000) * 1000000000;
        e->spans[e->span_count] =
            (struct model_span){.org = org,
                                .trace = 1 + rnd(e, TRACES),
                                .start = start,
                                .end = start + rnd(e, 5000) * INT64_C(1000000),
                                .is_error = e->span_count % 5 == 0,
                                .is_root = e->span_count % 3 == 0,
                                .times = 1};
        put_span(e, b, e->span_count++);
    }
    append(e, b, count);
    assert_int_equal(e->stored, count);
}

/* A sender that sends one span once more, maybe long after. */
static void repeat(struct env *e)
{
    uint32_t i = rnd(e, e->span_count);
    struct tsdb_batch *b = tsdb_batch_new(e->spans[i].org, TSDB_SPANS, 0);
    put_span(e, b, i);
    append(e, b, 1);
    e->spans[i].times += (uint32_t)e->stored;
}

static void put_log(struct env *e, struct tsdb_batch *b, uint32_t org, int64_t time)
{
    struct buf body = {0};
    uint32_t row = tsdb_batch_add_log(b), i = e->log_count++;
    assert_true(row != TSDB_NO_ROW);
    e->logs[i] = (struct model_log){org, time + i};
    b->logs.time_ns[row] = e->logs[i].time;
    b->logs.severity[row] = (uint8_t)(i % 24);
    b->logs.service[row] = BYTES_LIT("logger");
    tsdb_attrs_put_str(&body, BYTES_LIT("line"), arena_printf(b->arena, "log %u", i));
    b->logs.attrs[row] = arena_copy(b->arena, buf_bytes(&body));
    buf_done(&body);
}

static void random_logs(struct env *e, uint32_t n)
{
    uint32_t org = 1 + rnd(e, ORGS) * 2, count = 0;
    struct tsdb_batch *b = tsdb_batch_new(org, TSDB_LOGS, 0);
    for (; count < n && e->log_count < LOGS_MAX; count++)
        put_log(e, b, org, now_ns - (int64_t)rnd(e, 100000) * 1000000000);
    append(e, b, count);
}

/* Something to flush that is of no day but today. */
static void log_of_now(struct env *e)
{
    struct tsdb_batch *b = tsdb_batch_new(1, TSDB_LOGS, 0);
    put_log(e, b, 1, now_ns);
    append(e, b, 1);
}

/* --- questions ----------------------------------------------------------------------------------- */

static void check_traces(struct env *e, struct tsdb_view *v, uint32_t org)
{
    int64_t *weights = calloc(SPANS_MAX, sizeof(*weights));
    uint32_t traces = TRACES;
    for (uint32_t i = 0; i < e->span_count; i++)
        traces = MAX(traces, e->spans[i].trace);
    uint32_t step = traces > TRACES ? traces / TRACES : 1; /* of many, some */
    for (uint32_t trace = 1; trace <= traces; trace += step) {
        struct arena *a = arena_new(0);
        struct tsdb_spans t = {0};
        struct tsdb_id16 id;
        bytes_put_u64be(id.b, trace * UINT64_C(0x9e3779b97f4a7c15));
        bytes_put_u64be(id.b + 8, trace + 1);
        enum err err = tsdb_trace(v, id, a, &t);
        assert_true(err == ERR_OK || err == ERR_NOT_FOUND);
        for (uint32_t k = 0; k < t.count; k++) {
            uint32_t i = (uint32_t)bytes_u64be(t.span_id[k].b) - 1;
            struct tsdb_value says;
            char text[32];
            assert_true(i < e->span_count && e->spans[i].org == org && e->spans[i].trace == trace);
            weights[i] += TSDB_SPAN_GET(&t, weight, k, 1000);
            assert_true(t.start_ns[k] == e->spans[i].start && t.end_ns[k] == e->spans[i].end);
            assert_int_equal(t.status[k], e->spans[i].is_error ? 2 : 0);
            assert_true(bytes_equal_str(t.service[k], i % 2 ? "odd" : "even"));
            assert_true(TSDB_SPAN_GET(&t, input_tokens, k, -1) == (i % 4 ? (int64_t)i : -1));
            assert_true(tsdb_attrs_find(t.attrs[k], BYTES_LIT("says"), &says));
            snprintf(text, sizeof(text), "span %u", i);
            assert_true(bytes_equal_str(says.bytes, text));
        }
        arena_free(a);
    }
    for (uint32_t i = 0; i < e->span_count; i++)
        if ((e->spans[i].trace - 1) % step == 0)
            assert_int_equal(weights[i], e->spans[i].org == org ? e->spans[i].times * 1000 : 0);
    free(weights);
}

/* Rows that are counted, cells, and what was sent are the same number. */
static void check_counts(struct env *e, struct tsdb_view *v, uint32_t org)
{
    struct arena *a = arena_new(0);
    struct tsdb_minutes_query q = {.start_max_ns = INT64_MAX};
    struct tsdb_matcher name = {
        .op = TSDB_MATCH_EQ, .name = BYTES_LIT("__name__"), .value = BYTES_LIT("spans_total")};
    struct tsdb_minute *m = NULL;
    uint32_t minute = tsdb_batch_minute(now_ns);
    uint64_t count = 0, errors = 0, want = 0, want_errors = 0;
    int64_t cells = 0, duration = 0, want_duration = 0;
    size_t n = 0;
    for (uint32_t i = 0; i < e->span_count; i++) {
        const struct model_span *s = &e->spans[i];
        uint32_t times = s->org == org ? s->times : 0;
        want += times;
        want_errors += s->is_error ? times : 0;
        want_duration += times * (s->end - s->start);
    }
    assert_int_equal(tsdb_span_minutes(v, &q, a, &m, &n), ERR_OK);
    for (size_t i = 0; i < n; i++) {
        count += m[i].count;
        errors += m[i].errors;
        duration += m[i].duration_sum_ns;
    }
    assert_int_equal(tsdb_cells_sum(v, &name, 1, minute - 5 * 1440, minute + 1440, &cells), ERR_OK);
    assert_int_equal(count, want);
    assert_int_equal(errors, want_errors);
    assert_true(duration == want_duration);
    assert_int_equal(cells, want);
    arena_free(a);
}

static void check_logs(struct env *e, struct tsdb_view *v, uint32_t org)
{
    struct arena *a = arena_new(0);
    struct tsdb_logs t = {0};
    struct tsdb_log_filter all = {.max_ns = INT64_MAX};
    uint32_t want = 0;
    assert_int_equal(tsdb_log_scan(v, &all, LOGS_MAX * 2, a, &t), ERR_OK);
    for (uint32_t k = 0; k < t.count; k++) {
        struct tsdb_value line;
        uint32_t i = 0;
        assert_true(tsdb_attrs_find(t.attrs[k], BYTES_LIT("line"), &line));
        const char *text = (const char *)arena_printf(a, BYTES_FMT, BYTES_ARG(line.bytes)).data;
        assert_int_equal(sscanf(text, "log %u", &i), 1);
        assert_true(i < e->log_count && e->logs[i].org == org && t.time_ns[k] == e->logs[i].time);
        assert_true(k == 0 || t.time_ns[k - 1] >= t.time_ns[k]);
    }
    for (uint32_t i = 0; i < e->log_count; i++)
        want += e->logs[i].org == org;
    assert_int_equal(t.count, want);
    arena_free(a);
}

static uint64_t rows_of(struct env *e, uint32_t org, enum tsdb_signal signal)
{
    uint64_t n;
    assert_int_equal(tsdb_count(e->db, org, signal, &n), ERR_OK);
    return n;
}

static void check(struct env *e)
{
    for (uint32_t org = 1; org < 1 + ORGS * 2; org += 2) {
        struct tsdb_view *v;
        assert_int_equal(tsdb_view_open(e->db, org, NULL, &v), ERR_OK);
        check_traces(e, v, org);
        check_counts(e, v, org);
        check_logs(e, v, org);
        tsdb_view_close(v);
    }
}

/* --- the store ----------------------------------------------------------------------------------- */

static void env_open(struct env *e, const struct tsdb_options *more)
{
    struct err_msg msg = {""};
    struct tsdb_options o = *more;
    o.dir = e->dir;
    enum err err = tsdb_open(&o, &e->db, &msg);
    if (err != ERR_OK)
        print_message("%s\n", msg.text);
    assert_int_equal(err, ERR_OK);
}

static void env_make(struct env *e, uint64_t seed, const struct tsdb_options *o)
{
    now_ns = NOW_MS * 1000000;
    clock_test_set_wall(test_now);
    *e = (struct env){.seed = seed,
                      .spans = calloc(SPANS_MAX, sizeof(*e->spans)),
                      .logs = calloc(LOGS_MAX, sizeof(*e->logs))};
    strcpy(e->dir, "/tmp/telltale_rows_XXXXXX");
    assert_non_null(mkdtemp(e->dir));
    env_open(e, o);
}

static void say_wrong(void *ctx, const char *where, const char *what)
{
    print_message("%s: %s\n", where, what);
}

static void env_done(struct env *e)
{
    char command[128];
    struct tsdb_verify_sink sink = {.problem = say_wrong};
    struct tsdb_verify_report report;
    struct err_msg msg;
    tsdb_close(e->db, true);
    assert_int_equal(tsdb_verify_run(e->dir, &sink, &report, &msg), ERR_OK);
    assert_int_equal(report.problems, 0);
    snprintf(command, sizeof(command), "rm -rf %s", e->dir);
    assert_int_equal(system(command), 0);
    free(e->spans);
    free(e->logs);
    clock_test_set_wall(NULL);
}

static void flush(struct env *e, bool compact)
{
    struct err_msg msg = {""};
    enum err err = tsdb_flush(e->db, compact, &msg);
    if (err != ERR_OK)
        print_message("%s\n", msg.text);
    assert_int_equal(err, ERR_OK);
}

/* --- tests --------------------------------------------------------------------------------------- */

static void every_question_is_answered_alike_before_and_after_and_repeats_are_absorbed(void **state)
{
    for (uint64_t seed = 1; seed <= 2; seed++) {
        struct env e;
        struct tsdb_options o = {.memory_limit_bytes = 64u << 20};
        env_make(&e, seed, &o);
        for (int round = 0; round < 6; round++) {
            for (uint32_t i = 1 + rnd(&e, 3); i-- > 0;) {
                random_spans(&e, 1 + rnd(&e, 150));
                random_logs(&e, 1 + rnd(&e, 60));
                for (uint32_t k = rnd(&e, 20); k-- > 0;)
                    repeat(&e);
            }
            flush(&e, round % 3 == 2);
            check(&e);
            if (round == 4) { /* what is read back from disk */
                tsdb_close(e.db, rnd(&e, 2));
                env_open(&e, &o);
                check(&e);
            }
        }
        flush(&e, true);
        check(&e);
        uint64_t rows = 0, repeats = 0;
        for (uint32_t i = 0; i < e.span_count; i++)
            repeats += e.spans[i].times - 1;
        assert_true(repeats > 0);
        for (uint32_t org = 1; org < 1 + ORGS * 2; org += 2)
            rows += rows_of(&e, org, TSDB_SPANS);
        assert_int_equal(rows, e.span_count); /* each once */
        env_done(&e);
    }
}

/* Where nothing fits into the memory that there is, rows are written before all that overlaps them is read. */
static void little_memory_gives_the_same_answers(void **state)
{
    struct env e;
    struct tsdb_options o = {.memory_limit_bytes = 4u << 20};
    env_make(&e, 9, &o);
    for (int round = 0; round < 12; round++) {
        random_spans(&e, 200);
        random_logs(&e, 100);
        flush(&e, false);
    }
    check(&e);
    flush(&e, true);
    check(&e);
    env_done(&e);
}

/* --- sampling ------------------------------------------------------------------------------------ */

#define KEEP_PERMILLE 250
#define WEIGHT (1000 * 1000 / KEEP_PERMILLE)
#define KIND_TRACES 3

/* Traces of a root and two children; every third one goes on the next day; from 40 on every 20th has an error, 7 and 8 are slow, 11 is marked. */
static void traces_of_days(struct env *e, uint32_t first, uint32_t n)
{
    struct tsdb_batch *b = tsdb_batch_new(1, TSDB_SPANS, 0);
    for (uint32_t trace = first; trace < first + n; trace++)
        for (int k = 0; k < 3; k++) {
            int64_t start = now_ns - DAY_NS - (int64_t)(trace % 1000) * 1000000000;
            start += k == 2 && trace % 3 == 0 ? DAY_NS : 0;
            e->spans[e->span_count] = (struct model_span){
                .org = 1,
                .trace = trace,
                .start = start,
                .end = start + (trace == 7 || trace == 8 ? 9000 : 5) * INT64_C(1000000),
                .is_error = k == 1 && trace >= 40 && trace % 20 == 0,
                .is_root = k == 0,
                .times = 1};
            put_span(e, b, e->span_count++);
        }
    append(e, b, n * 3);
}

/* Of each span what its row weighs, 0 where it is gone. */
static int64_t *weights_now(struct env *e)
{
    int64_t *w = calloc(SPANS_MAX, sizeof(*w));
    struct arena *a = arena_new(0);
    struct tsdb_view *v;
    struct tsdb_spans t = {0};
    struct tsdb_span_filter all = {.start_max_ns = INT64_MAX};
    assert_int_equal(tsdb_view_open(e->db, 1, NULL, &v), ERR_OK);
    assert_int_equal(tsdb_span_scan(v, &all, SPANS_MAX, a, &t), ERR_OK);
    for (uint32_t k = 0; k < t.count; k++)
        w[bytes_u64be(t.span_id[k].b) - 1] += TSDB_SPAN_GET(&t, weight, k, 1000);
    tsdb_view_close(v);
    arena_free(a);
    return w;
}

static int64_t cells_now(struct env *e)
{
    struct tsdb_matcher name = {
        .op = TSDB_MATCH_EQ, .name = BYTES_LIT("__name__"), .value = BYTES_LIT("spans_total")};
    uint32_t minute = tsdb_batch_minute(NOW_MS * 1000000);
    struct tsdb_view *v;
    int64_t sum = 0;
    assert_int_equal(tsdb_view_open(e->db, 1, NULL, &v), ERR_OK);
    assert_int_equal(tsdb_cells_sum(v, &name, 1, minute - 5 * 1440, minute + 1440, &sum), ERR_OK);
    tsdb_view_close(v);
    return sum;
}

/* stored = live + expired + superseded + sampled_out, and so is received. */
static struct tsdb_account account_now(struct env *e, enum tsdb_signal signal)
{
    struct tsdb_account rows[16], found = {0};
    size_t n = tsdb_accounts(e->db, rows, ARRAY_LEN(rows));
    for (size_t i = 0; i < n; i++)
        if (rows[i].org == 1 && rows[i].signal == signal)
            found = rows[i];
    assert_int_equal(found.received, found.stored + found.duplicate + found.quarantined);
    assert_int_equal(found.stored,
                     rows_of(e, 1, signal) + found.expired + found.superseded + found.sampled_out);
    return found;
}

static bool is_in_closed_day(const struct model_span *s)
{
    return s->end / DAY_NS < now_ns / DAY_NS;
}

/* Every row weighs what it must or may; how many traces stay for their kind. */
static uint32_t check_sampled(struct env *e, const int64_t *w)
{
    uint32_t by_kind = 0;
    for (uint32_t i = 0; i < e->span_count; i++) {
        const struct model_span *s = &e->spans[i], *root = &e->spans[i / 3 * 3];
        bool has_error = false;
        for (uint32_t k = i / 3 * 3; k < i / 3 * 3 + 3; k++)
            has_error |= e->spans[k].is_error;
        if (!is_in_closed_day(s)) {
            assert_int_equal(w[i], 1000);
            continue;
        }
        if (is_in_closed_day(root)) /* whole, or not at all */
            assert_int_equal(w[i], w[i / 3 * 3]);
        if (has_error || s->trace == 7 || s->trace == 8 || s->trace == 11)
            assert_int_equal(w[i], 1000);
        else
            by_kind += s->is_root && w[i] == 1000;
        assert_true(w[i] == 0 || w[i] == 1000 || w[i] == WEIGHT);
    }
    return by_kind;
}

static void sampling_keeps_what_matters_whole_and_weighs_the_rest(void **state)
{
    struct env e;
    struct tsdb_options o = {.sampling = {KEEP_PERMILLE, 5000, KIND_TRACES}};
    struct tsdb_id16 marked;
    int64_t sum = 0;
    env_make(&e, 3, &o);
    bytes_put_u64be(marked.b, 11 * UINT64_C(0x9e3779b97f4a7c15));
    bytes_put_u64be(marked.b + 8, 11 + 1);
    assert_int_equal(tsdb_keep_trace(e.db, 1, marked), ERR_OK);
    traces_of_days(&e, 1, 600);
    flush(&e, false);
    traces_of_days(&e, 601, 600);
    random_logs(&e, 50);
    flush(&e, true);
    int64_t *w = weights_now(&e);
    uint32_t by_kind = check_sampled(&e, w);
    assert_in_range(by_kind, KIND_TRACES, 2 * KIND_TRACES); /* two services; some have errors too */
    for (uint32_t i = 0; i < e.span_count; i++)
        sum += w[i];
    assert_in_range(sum / 1000, e.span_count - e.span_count / 8, e.span_count + e.span_count / 8);
    assert_int_equal(cells_now(&e), e.span_count);
    struct tsdb_account a = account_now(&e, TSDB_SPANS);
    assert_in_range(a.sampled_out, 1200, 2700);
    (void)account_now(&e, TSDB_LOGS);
    /* once is enough, also for another process */
    tsdb_close(e.db, true);
    env_open(&e, &o);
    flush(&e, true);
    int64_t *again = weights_now(&e);
    assert_memory_equal(w, again, SPANS_MAX * sizeof(*w));
    assert_int_equal(account_now(&e, TSDB_SPANS).sampled_out, a.sampled_out);
    free(w);
    free(again);
    /* What comes later agrees with it: one more span of each trace, of the closed day. */
    uint32_t from = e.span_count;
    struct tsdb_batch *b = tsdb_batch_new(1, TSDB_SPANS, 0);
    for (uint32_t trace = 50; trace < 450; trace++) {
        e.spans[e.span_count] = e.spans[(trace - 1) * 3];
        e.spans[e.span_count].is_root = false;
        put_span(&e, b, e.span_count++);
    }
    append(&e, b, e.span_count - from);
    flush(&e, true);
    w = weights_now(&e);
    for (uint32_t i = from; i < e.span_count; i++)
        assert_int_equal(w[i], w[(e.spans[i].trace - 1) * 3]);
    (void)account_now(&e, TSDB_SPANS);
    assert_int_equal(cells_now(&e), e.span_count);
    free(w);
    env_done(&e);
}

/* It runs behind the flush that asked for it. */
static void wait_for_sampling(struct env *e, uint64_t at_least)
{
    struct tsdb_account rows[16];
    for (int i = 0; i < 60000; i++) {
        size_t n = tsdb_accounts(e->db, rows, ARRAY_LEN(rows));
        for (size_t k = 0; k < n; k++)
            if (rows[k].org == 1 && rows[k].sampled_out >= at_least)
                return;
        usleep(1000);
    }
    fail_msg("nothing was sampled");
}

/* The test clock, in steps that no watch on the clock takes for a jump. */
static void pass_hours(struct env *e, int hours)
{
    for (; hours > 0; hours -= 20) {
        now_ns += (int64_t)MIN(hours, 20) * 3600 * 1000000000;
        retention_now(e->db);
    }
}

static void a_day_is_settled_an_hour_after_its_end_once_and_again_for_what_comes_late(void **state)
{
    struct env e;
    struct tsdb_options o = {.sampling = {KEEP_PERMILLE, 0, 0},
                             .retention_ms = 3 * DAY_NS / 1000000};
    env_make(&e, 4, &o);
    now_ns += DAY_NS; /* so that its spans are of the day of the clock */
    traces_of_days(&e, 1, 300);
    now_ns -= DAY_NS;
    flush(&e, false);
    pass_hours(&e, 14);
    now_ns += INT64_C(3540) * 1000000000; /* 00:59 */
    log_of_now(&e);
    flush(&e, false);
    log_of_now(&e);
    flush(&e, false); /* the pass behind the flush before is over */
    assert_int_equal(account_now(&e, TSDB_SPANS).sampled_out, 0);
    now_ns += INT64_C(120) * 1000000000;
    log_of_now(&e);
    flush(&e, false);
    wait_for_sampling(&e, 1);
    int64_t *w = weights_now(&e);
    uint64_t sampled = account_now(&e, TSDB_SPANS).sampled_out;
    /* a late span of a trace that is gone: it waits for the next time */
    uint32_t lost = 0;
    while (w[lost] != 0 || e.spans[lost].end / DAY_NS != now_ns / DAY_NS - 1)
        lost++;
    struct tsdb_batch *b = tsdb_batch_new(1, TSDB_SPANS, 0);
    e.spans[e.span_count] = e.spans[lost];
    put_span(&e, b, e.span_count++);
    append(&e, b, 1);
    flush(&e, false);
    log_of_now(&e);
    flush(&e, false);
    assert_int_equal(account_now(&e, TSDB_SPANS).sampled_out, sampled);
    pass_hours(&e, 23);
    now_ns += INT64_C(7200) * 1000000000;
    log_of_now(&e);
    flush(&e, false);
    wait_for_sampling(&e, sampled + 1);
    free(w);
    flush(&e, true);
    /* days that are dropped take their numbers along into the state */
    struct tsdb_account before = account_now(&e, TSDB_SPANS);
    pass_hours(&e, 5 * 24);
    struct tsdb_account after = account_now(&e, TSDB_SPANS);
    assert_true(after.expired > 0);
    assert_true(after.sampled_out >= before.sampled_out && after.stored == before.stored);
    (void)account_now(&e, TSDB_LOGS);
    tsdb_close(e.db, true);
    env_open(&e, &o);
    assert_int_equal(account_now(&e, TSDB_SPANS).expired, after.expired);
    env_done(&e);
}

static void a_day_of_long_ago_is_merged_when_it_is_filled_and_not_before(void **state)
{
    struct env e;
    struct tsdb_options o = {.sampling = {KEEP_PERMILLE, 0, 0}};
    env_make(&e, 4, &o);
    traces_of_days(&e, 1, 300);
    for (int i = 0; i < 4; i++) { /* each flush looks at the days, behind the one before */
        flush(&e, false);
        now_ns += INT64_C(600) * 1000000000;
        log_of_now(&e);
        assert_int_equal(account_now(&e, TSDB_SPANS).sampled_out, 0);
        if (i < 2)
            traces_of_days(&e, 1, 10);
    }
    now_ns += INT64_C(1800) * 1000000000;
    flush(&e, false);
    wait_for_sampling(&e, 1);
    env_done(&e);
}

static void span_at(struct env *e, int64_t start, bool again)
{
    struct tsdb_batch *b = tsdb_batch_new(1, TSDB_SPANS, 0);
    e->spans[e->span_count] = e->spans[0];
    e->spans[e->span_count].start = start;
    e->spans[e->span_count].end = start + 1000000;
    put_span(e, b, again ? 0 : e->span_count++);
    append(e, b, 1);
    e->spans[0].times += again;
}

static int64_t kept(void)
{
    return stats_sum("telltale_store_blocks_kept_total");
}

/* A merged block is copied, texts and all, when what comes later lies elsewhere, and made anew when it lies among its rows. */
static void a_merged_block_stays_as_it_is_unless_something_falls_into_it(void **state)
{
    struct env e;
    struct tsdb_options o = {.dir = NULL};
    env_make(&e, 9, &o);
    traces_of_days(&e, 1, 900);
    flush(&e, false);
    traces_of_days(&e, 901, 900); /* of the closed day 4,800 spans: most of a block */
    flush(&e, true);
    int64_t before = kept();
    span_at(&e, now_ns - DAY_NS - INT64_C(20000) * 1000000000, false);
    flush(&e, true);
    assert_int_equal(kept() - before, 1);
    tsdb_close(e.db, true);
    env_open(&e, &o); /* another process knows it, too */
    span_at(&e, now_ns - DAY_NS - INT64_C(21000) * 1000000000, false);
    flush(&e, true);
    assert_int_equal(kept() - before, 2);
    check(&e);
    span_at(&e, now_ns - DAY_NS - INT64_C(500) * 1000000000, false); /* in the middle */
    flush(&e, true);
    assert_int_equal(kept() - before, 2);
    span_at(&e, 0, true); /* a repeat of one that is in it */
    flush(&e, true);
    assert_int_equal(kept() - before, 2);
    assert_int_equal(account_now(&e, TSDB_SPANS).superseded, 1);
    check(&e);
    int64_t *w = weights_now(&e);
    for (uint32_t k = 0; k < e.span_count; k++)
        assert_int_equal(w[k], e.spans[k].times * 1000);
    free(w);
    env_done(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            every_question_is_answered_alike_before_and_after_and_repeats_are_absorbed),
        cmocka_unit_test(little_memory_gives_the_same_answers),
        cmocka_unit_test(sampling_keeps_what_matters_whole_and_weighs_the_rest),
        cmocka_unit_test(a_day_is_settled_an_hour_after_its_end_once_and_again_for_what_comes_late),
        cmocka_unit_test(a_merged_block_stays_as_it_is_unless_something_falls_into_it),
        cmocka_unit_test(a_day_of_long_ago_is_merged_when_it_is_filled_and_not_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
