/* Whatever happens to a store, the sums of its cells are a recount of the rows: spans, logs and deltas, late ones, requests and spans that come
 * again, replay, flush, compaction, erasure and retention in an order that a seed chooses; after every step.
 *
 * test_recount [--seeds N] [--steps N] [--first SEED]: the same, longer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "tsdb/files.h"
#include "tsdb/helper_rows.h"
#include "tsdb/store.h"
#include "tsdb/tsdb_erase.h"

#define DAY_MS INT64_C(86400000)
#define MINUTE0 (29918880u - 10 * 1440) /* a midnight */
#define DAYS 40u /* of the model */
#define MINUTES (DAYS * 1440u)
#define SERIES 6u /* 0..3 of spans, by service; 4 of logs; 5 of deltas */
#define ROWS_DAYS 8
#define CELLS_DAYS 15
#define REQUESTS_MAX 64u
#define ROWS_MAX 24u

enum defect { NO_DEFECT, LATE_TWICE, RETRY_COUNTED };

static _Atomic int64_t wall_ms;
static int64_t wall_ns(void)
{
    return atomic_load(&wall_ms) * 1000000;
}

/* What can be made again from a few numbers. */
struct request {
    uint64_t first, key;
    uint32_t n;
    enum tsdb_signal signal;
    uint32_t minute[ROWS_MAX], series[ROWS_MAX], add[ROWS_MAX];
};

struct run {
    char dir[64];
    struct tsdb *db;
    uint64_t seed, next_id;
    enum defect defect;
    bool was_defective;
    int64_t model[SERIES][MINUTES], spans[SERIES][MINUTES];
    struct request
        requests[REQUESTS_MAX]; /* since the clock moved last: within the window of repeats */
    uint32_t request_count,
        sealed; /* requests before `sealed` are no longer in the live generation */
    unsigned step;
    char wrong[256];
};

static uint32_t rnd(struct run *r, uint32_t below)
{
    r->seed = r->seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((r->seed >> 33) % below);
}

static uint32_t now_minute(void)
{
    return (uint32_t)(atomic_load(&wall_ms) / 60000);
}

static enum err open_store(struct run *r)
{
    struct err_msg msg = {""};
    struct tsdb_options o = {.dir = r->dir,
                             .retention_ms = ROWS_DAYS * DAY_MS,
                             .retention_content_ms = 3 * DAY_MS,
                             .retention_cells_ms = CELLS_DAYS * DAY_MS,
                             .generation_max_age_ms = 100 * DAY_MS};
    return tsdb_open(&o, &r->db, &msg);
}

/* --- rows ---------------------------------------------------------------------------------------- */

static const char *const services[SERIES] = {"orders", "stock", "gateway",
                                             "search", "log",   "delta"};

static struct tsdb_ref ref_of(struct run *r, uint32_t series)
{
    struct arena *a = arena_new(0);
    struct tsdb_labels labels;
    struct tsdb_ref ref = {0};
    struct tsdb_label l[] = {{BYTES_LIT("__name__"), BYTES_LIT("recount_total")},
                             {BYTES_LIT("service"), bytes_str(services[series])},
                             {BYTES_LIT("pair"), bytes_str(series % 2 ? "odd" : "even")}};
    if (tsdb_labels_build(l, ARRAY_LEN(l), a, &labels, NULL) == ERR_OK)
        (void)!tsdb_registry_ref(tsdb_series(r->db), ROWS_ORG, TSDB_SERIES_CELLS, labels, &ref);
    arena_free(a);
    return ref;
}

static int64_t end_of(const struct request *q, uint32_t i)
{
    return (int64_t)q->minute[i] * 60000000000 + (int64_t)((q->first + i) * 7919 % 60000) * 1000000;
}

static bool put_row(struct run *r, struct tsdb_batch *b, const struct request *q, uint32_t i)
{
    uint32_t row = TSDB_NO_ROW;
    if (q->signal == TSDB_SPANS) {
        row = tsdb_batch_add_span(b);
        if (row == TSDB_NO_ROW)
            return false;
        bytes_put_u64be(b->spans.trace_id[row].b, (q->first + i) / 4 + 1);
        bytes_put_u64be(b->spans.span_id[row].b, q->first + i + 1);
        b->spans.end_ns[row] = end_of(q, i);
        b->spans.start_ns[row] = end_of(q, i) - 1000000 * (int64_t)(1 + (q->first + i) % 90);
        b->spans.service[row] = bytes_str(services[q->series[i]]);
        b->spans.name[row] = BYTES_LIT("op");
    } else if (q->signal == TSDB_LOGS) {
        uint32_t log = tsdb_batch_add_log(b);
        if (log == TSDB_NO_ROW)
            return false;
        b->logs.time_ns[log] = end_of(q, i);
        b->logs.service[log] = bytes_str(services[q->series[i]]);
    }
    return tsdb_batch_add_cell(b, ref_of(r, q->series[i]), q->minute[i], q->add[i], row);
}

static struct tsdb_batch *batch_of(struct run *r, const struct request *q, uint64_t key)
{
    struct tsdb_batch *b = tsdb_batch_new(ROWS_ORG, q->signal, 8u << 20);
    bool ok = b != NULL;
    for (uint32_t i = 0; i < q->n && ok; i++)
        ok = put_row(r, b, q, i);
    if (!ok) {
        tsdb_batch_free(b);
        return NULL;
    }
    b->received = q->n;
    b->received_ns = clock_wall_ns();
    b->request_key = key ? (struct hash128){key, ~key} : (struct hash128){0, 0};
    return b;
}

static void count_in(struct run *r, const struct request *q)
{
    for (uint32_t i = 0; i < q->n; i++) {
        r->model[q->series[i]][q->minute[i] - MINUTE0] += q->add[i];
        if (q->signal == TSDB_SPANS)
            r->spans[q->series[i]][q->minute[i] - MINUTE0]++;
    }
}

static bool fails(struct run *r, const char *what, enum err e)
{
    snprintf(r->wrong, sizeof(r->wrong), "step %u: %s: %s", r->step, what, err_name(e));
    return false;
}

/* --- steps --------------------------------------------------------------------------------------- */

static bool append_new(struct run *r)
{
    struct request q = {.first = r->next_id,
                        .key = r->next_id + 1,
                        .n = 1 + rnd(r, ROWS_MAX),
                        .signal = (enum tsdb_signal)rnd(r, TSDB_SIGNAL_COUNT)};
    struct tsdb_result res;
    bool late = false;
    for (uint32_t i = 0; i < q.n; i++) {
        uint32_t kind = rnd(r, 10);
        uint32_t ago = kind < 6   ? rnd(r, 3)
                       : kind < 8 ? rnd(r, 180)
                                  : rnd(r, (ROWS_DAYS - 1) * 1440);
        q.minute[i] = now_minute() - ago;
        q.series[i] = q.signal == TSDB_SPANS ? rnd(r, 4) : q.signal == TSDB_LOGS ? 4 : 5;
        q.add[i] = q.signal == TSDB_SPANS ? 1 : 1 + rnd(r, 9);
        late |= ago > 1440;
    }
    r->next_id += q.n;
    struct tsdb_batch *b = batch_of(r, &q, q.key);
    if (r->defect == LATE_TWICE && late && !r->was_defective && b) {
        r->was_defective = true;
        if (!put_row(r, b,
                     &(struct request){.n = 1,
                                       .signal = TSDB_SAMPLES,
                                       .minute = {q.minute[0]},
                                       .series = {q.series[0]},
                                       .add = {q.add[0]}},
                     0))
            return fails(r, "the defect", ERR_NOMEM);
    }
    enum err e = rows_append(r->db, b, &res);
    if (e != ERR_OK || res.stored != q.n || res.duplicate)
        return fails(r, "a new request", e);
    count_in(r, &q);
    if (r->request_count < REQUESTS_MAX)
        r->requests[r->request_count++] = q;
    return true;
}

/* The very request again: answered from memory, in this generation or a later one, before and after a replay. */
static bool append_again(struct run *r)
{
    struct tsdb_result res;
    if (r->request_count == 0)
        return true;
    const struct request *q = &r->requests[rnd(r, r->request_count)];
    bool defect = r->defect == RETRY_COUNTED && q->signal != TSDB_SPANS;
    r->was_defective |= defect;
    enum err e = rows_append(r->db, batch_of(r, q, defect ? r->next_id += ROWS_MAX : q->key), &res);
    if (e != ERR_OK || (!defect && !res.repeated_request))
        return fails(r, "a request that comes again", e);
    return true;
}

/* Spans of a request of this generation in another request, beside new ones. */
static bool append_rebatched(struct run *r)
{
    struct tsdb_result res;
    if (r->request_count == r->sealed)
        return true;
    const struct request *q = &r->requests[r->sealed + rnd(r, r->request_count - r->sealed)];
    if (q->signal != TSDB_SPANS)
        return true;
    r->next_id += ROWS_MAX;
    enum err e = rows_append(r->db, batch_of(r, q, r->next_id), &res);
    if (e != ERR_OK || res.stored != 0 || res.duplicate != q->n)
        return fails(r, "spans that come again", e);
    return true;
}

static bool flush(struct run *r, bool compact)
{
    struct err_msg msg = {""};
    enum err e = tsdb_flush(r->db, compact, &msg);
    r->sealed = r->request_count;
    return e == ERR_OK || fails(r, msg.text, e);
}

static bool replay(struct run *r)
{
    tsdb_close(r->db, false);
    r->db = NULL;
    enum err e = open_store(r);
    r->sealed = r->request_count; /* what was replayed is on its way into parts */
    return e == ERR_OK || fails(r, "open", e);
}

/* The clock moves, and days past their age go: of the cells those that ended before CELLS_DAYS. */
static bool retain(struct run *r)
{
    if (now_minute() + 1440 >= MINUTE0 + MINUTES)
        return true;
    if (!flush(r, false))
        return false;
    atomic_store(&wall_ms, atomic_load(&wall_ms) + DAY_MS * 5 / 6);
    retention_now(r->db);
    r->request_count = r->sealed = 0;
    for (uint32_t day = 0; day < DAYS; day++) {
        int64_t end_ms = (int64_t)(MINUTE0 + (day + 1) * 1440) * 60000;
        for (uint32_t s = 0; s < SERIES && end_ms < atomic_load(&wall_ms) - CELLS_DAYS * DAY_MS;
             s++)
            memset(&r->model[s][day * 1440], 0, 1440 * sizeof(int64_t));
    }
    return true;
}

/* Cells of logs or deltas in some days: out of every sum at once, while parts are rewritten behind it. */
static bool erase(struct run *r)
{
    uint32_t s = 4 + rnd(r, 2), from = MINUTE0 + rnd(r, DAYS) * 1440 + rnd(r, 1440);
    uint32_t to = MIN(from + rnd(r, 3 * 1440), MINUTE0 + MINUTES);
    struct tsdb_matcher m = {
        .op = TSDB_MATCH_EQ, .name = BYTES_LIT("service"), .value = bytes_str(services[s])};
    struct err_msg msg = {""};
    uint64_t id;
    enum err e = tsdb_erase_series(r->db, ROWS_ORG, &m, 1, (int64_t)from * 60000,
                                   (int64_t)to * 60000 - 1, &id, &msg);
    if (e != ERR_OK)
        return fails(r, msg.text, e);
    if (id)
        memset(&r->model[s][from - MINUTE0], 0, (to - from) * sizeof(int64_t));
    r->sealed = r->request_count; /* it seals what is in memory */
    return true;
}

/* --- recounts ------------------------------------------------------------------------------------ */

static int64_t model_sum(const struct run *r, uint32_t series, uint32_t from, uint32_t to)
{
    int64_t sum = 0;
    for (uint32_t m = from; m < to; m++)
        sum += r->model[series][m - MINUTE0];
    return sum;
}

static bool differs(struct run *r, const char *what, uint32_t from, uint32_t to, int64_t got,
                    int64_t want)
{
    snprintf(r->wrong, sizeof(r->wrong), "step %u: %s of minutes %u..%u: %lld, the rows say %lld",
             r->step, what, from - MINUTE0, to - MINUTE0, (long long)got, (long long)want);
    return false;
}

static bool check_sum(struct run *r, struct tsdb_view *v, const char *what, uint32_t from,
                      uint32_t to)
{
    uint32_t s = rnd(r, SERIES + 1); /* SERIES: all of the pair "odd" */
    struct tsdb_matcher m[] = {
        {.op = TSDB_MATCH_EQ, .name = BYTES_LIT("__name__"), .value = BYTES_LIT("recount_total")},
        {.op = TSDB_MATCH_EQ,
         .name = s < SERIES ? BYTES_LIT("service") : BYTES_LIT("pair"),
         .value = s < SERIES ? bytes_str(services[s]) : BYTES_LIT("odd")}};
    int64_t want = 0, got = 0;
    for (uint32_t i = 0; i < SERIES; i++)
        want += (s < SERIES ? i == s : i % 2 == 1) ? model_sum(r, i, from, to) : 0;
    enum err e = tsdb_cells_sum(v, m, 2, from, to, &got);
    if (e != ERR_OK)
        return fails(r, what, e);
    return got == want || differs(r, what, from, to, got, want);
}

static bool check_minutes(struct run *r, struct tsdb_view *v, uint32_t from, uint32_t to)
{
    static int64_t out[MINUTES];
    struct tsdb_matcher m = {
        .op = TSDB_MATCH_EQ, .name = BYTES_LIT("__name__"), .value = BYTES_LIT("recount_total")};
    memset(out, 0, (to - from) * sizeof(*out));
    enum err e = tsdb_cells_minutes(v, &m, 1, from, to, out);
    if (e != ERR_OK)
        return fails(r, "minutes", e);
    for (uint32_t i = 0; i < to - from; i++) {
        int64_t want = 0;
        for (uint32_t s = 0; s < SERIES; s++)
            want += r->model[s][from + i - MINUTE0];
        if (out[i] != want)
            return differs(r, "a minute", from + i, from + i + 1, out[i], want);
    }
    return true;
}

struct walked {
    uint32_t series[SERIES];
    int64_t sum[SERIES];
};

static uint32_t walk_series(void *ctx, struct hash128 identity, const struct tsdb_labels *l)
{
    (void)ctx, (void)identity;
    if (!l)
        return TSDB_CELLS_ASK;
    for (uint32_t s = 0; s < SERIES; s++)
        if (bytes_equal_str(tsdb_labels_get(*l, BYTES_LIT("service")), services[s]))
            return s;
    return TSDB_CELLS_SKIP;
}

static void walk_cell(void *ctx, uint32_t series, uint32_t minute, int64_t add)
{
    (void)minute;
    ((struct walked *)ctx)->sum[series] += add;
}

static bool check_walk(struct run *r, struct tsdb_view *v, uint32_t from, uint32_t to)
{
    struct walked w = {{0}, {0}};
    struct tsdb_cells_walk walk = {
        .ctx = &w, .series = walk_series, .cell = walk_cell, .sums = rnd(r, 2) == 0};
    enum err e = tsdb_cells_walk(v, from, to, &walk);
    if (e != ERR_OK)
        return fails(r, "walk", e);
    for (uint32_t s = 0; s < SERIES; s++)
        if (w.sum[s] != model_sum(r, s, from, to))
            return differs(r, "a walk", from, to, w.sum[s], model_sum(r, s, from, to));
    return true;
}

static int64_t found[SERIES][MINUTES];

static bool see_spans(void *ctx, const struct tsdb_spans *t, const uint32_t *rows, uint32_t n)
{
    (void)ctx;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t s = 0; s < SERIES; s++)
            if (bytes_equal_str(t->service[rows[i]], services[s]))
                found[s][tsdb_batch_minute(t->end_ns[rows[i]]) - MINUTE0]++;
    return true;
}

/* The rows themselves, as the store gives them: those of days that no retention has reached. */
static bool check_rows(struct run *r, struct tsdb_view *v)
{
    struct tsdb_visit q = {.start_max_ns = INT64_MAX,
                           .columns = 1ull << TSDB_SPAN_service | 1ull << TSDB_SPAN_end_ns,
                           .spans = see_spans};
    uint32_t floor = (uint32_t)((atomic_load(&wall_ms) / DAY_MS - ROWS_DAYS) * 1440);
    memset(found, 0, sizeof(found));
    enum err e = tsdb_spans_visit(v, &q);
    if (e != ERR_OK)
        return fails(r, "spans", e);
    for (uint32_t s = 0; s < 4; s++)
        for (uint32_t m = MAX(floor, MINUTE0); m < MINUTE0 + MINUTES; m++)
            if (found[s][m - MINUTE0] != r->spans[s][m - MINUTE0] ||
                found[s][m - MINUTE0] != r->model[s][m - MINUTE0])
                return differs(r, "stored spans", m, m + 1, found[s][m - MINUTE0],
                               r->model[s][m - MINUTE0]);
    return true;
}

static bool check(struct run *r)
{
    struct tsdb_view *v;
    enum err e = tsdb_view_open(r->db, ROWS_ORG, NULL, &v);
    if (e != ERR_OK)
        return fails(r, "view", e);
    uint32_t last = MIN(now_minute() + 1, MINUTE0 + MINUTES), span = last - MINUTE0;
    uint32_t hour = MINUTE0 + rnd(r, span / 60) * 60, day = MINUTE0 + rnd(r, span / 1440) * 1440;
    uint32_t from = MINUTE0 + rnd(r, span), to = from + rnd(r, last - from) + 1;
    bool ok = check_sum(r, v, "an hour", hour, hour + 60) &&
              check_sum(r, v, "a day", day, day + 1440) && check_sum(r, v, "a range", from, to) &&
              check_sum(r, v, "all", MINUTE0, last) && check_walk(r, v, from, to) &&
              check_walk(r, v, MINUTE0, last) &&
              check_minutes(r, v, MAX(last - 200, MINUTE0), last);
    if (ok && r->step % 10 == 0)
        ok = check_minutes(r, v, MINUTE0, last) && check_rows(r, v);
    tsdb_view_close(v);
    return ok;
}

/* --- the schedule -------------------------------------------------------------------------------- */

static bool take_step(struct run *r)
{
    uint32_t kind = rnd(r, 100);
    if (kind < 58)
        return append_new(r);
    if (kind < 70)
        return append_again(r);
    if (kind < 78)
        return append_rebatched(r);
    if (kind < 86)
        return replay(r);
    if (kind < 91)
        return flush(r, false);
    if (kind < 93)
        return erase(r);
    return kind < 96 ? flush(r, true) : retain(r);
}

/* True: every recount came out. */
static bool run(uint64_t seed, unsigned steps, enum defect defect, char wrong[320])
{
    struct run *r = calloc(1, sizeof(*r));
    assert_non_null(r);
    r->seed = seed;
    r->defect = defect;
    atomic_store(&wall_ms, (int64_t)(MINUTE0 + 9 * 1440 + 700) * 60000);
    clock_test_set_wall(wall_ns);
    log_set_level(LOG_LEVEL_ERROR);
    snprintf(r->dir, sizeof(r->dir), "%s/telltale-recount-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(r->dir));
    bool ok = open_store(r) == ERR_OK;
    for (r->step = 1; ok && r->step <= steps; r->step++)
        ok = take_step(r) && check(r);
    if (r->db)
        tsdb_close(r->db, false);
    files_remove_tree(r->dir);
    clock_test_set_wall(NULL);
    snprintf(wrong, 320, "seed %llu: %s", (unsigned long long)seed, r->wrong);
    assert_true(defect == NO_DEFECT || r->was_defective);
    free(r);
    return ok;
}

static unsigned seeds = 2, steps = 100, first_seed = 1;

static void after_every_step_the_sums_of_the_cells_are_a_recount_of_the_rows(void **unused)
{
    char wrong[320];
    for (unsigned seed = first_seed; seed < first_seed + seeds; seed++)
        if (!run(seed, steps, NO_DEFECT, wrong))
            fail_msg("%s", wrong);
}

static void a_late_row_that_is_counted_twice_is_seen(void **unused)
{
    char wrong[320];
    assert_false(run(1, 60, LATE_TWICE, wrong));
}

static void a_request_that_is_counted_again_is_seen(void **unused)
{
    char wrong[320];
    assert_false(run(2, 60, RETRY_COUNTED, wrong));
}

int main(int argc, char **argv)
{
    for (int i = 1; i + 1 < argc; i += 2) {
        unsigned *to = strcmp(argv[i], "--seeds") == 0   ? &seeds
                       : strcmp(argv[i], "--first") == 0 ? &first_seed
                                                         : &steps;
        *to = (unsigned)atoi(argv[i + 1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(after_every_step_the_sums_of_the_cells_are_a_recount_of_the_rows),
        cmocka_unit_test(a_late_row_that_is_counted_twice_is_seen),
        cmocka_unit_test(a_request_that_is_counted_again_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
