/* What is booked in the cost ledger, beside what is counted: of every trap of double counting, and by a whole store that is recounted. */
#include "helper_fixture.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fault_point.h"
#include "tsdb/files.h"
#include "tsdb/helper_rows.h"
#include "tsdb/tsdb_ledger.h"
#include "tsdb/tsdb_read.h"

#define T0_MS (FIXTURE_T0_NS / 1000000)
#define DAY_MS INT64_C(86400000)
#define YEARS (100 * INT64_C(365) * 86400000)

/* --- the traps -------------------------------------------------------------------------------------- */

static struct tsdb_book_sums booked(const struct fixture_run *r, bool corrections)
{
    struct tsdb_book_sums s = {0};
    uint8_t scratch[TSDB_LEDGER_SCRATCH];
    for (size_t i = 0; i < r->batch_count; i++) {
        const struct tsdb_batch *b = r->batches[i];
        struct tsdb_book k;
        for (uint32_t row = 0; row < b->spans.count; row++)
            if (!(b->span_dropped && b->span_dropped[row]) &&
                tsdb_ledger_of_span(b, row, scratch, &k))
                tsdb_ledger_add(&s, &k.sums);
        for (uint32_t n = 0; n < b->books.count && corrections; n++)
            tsdb_ledger_add(&s, &b->books.book[n].sums);
    }
    return s;
}

static int differences(const struct json_node *one, bool corrections, bool quiet)
{
    struct fixture_run r;
    int wrong = 0;
    fixture_run_begin(&r, one, NULL);
    for (const struct json_node *n = json_get(one, "batches")->child; n; n = n->next)
        fixture_run_batch(&r, fixture_batch(n));
    struct tsdb_book_sums s = booked(&r, corrections);
    const struct {
        const char *selector;
        int64_t sum;
    } pairs[] = {{"llm_requests_total", s.calls},
                 {"llm_tokens_total{type=\"input\"}", s.input_tokens},
                 {"llm_tokens_total{type=\"output\"}", s.output_tokens},
                 {"llm_cost_nanousd_total", s.nanousd},
                 {"llm_unpriced_requests_total", s.unpriced}};
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        int64_t counted = (int64_t)fixture_sum(&r, bytes_str(pairs[i].selector));
        wrong += counted != pairs[i].sum;
        if (counted != pairs[i].sum && !quiet)
            print_error(BYTES_FMT ": %s is %lld and the ledger has %lld\n",
                        BYTES_ARG(json_get_str(one, "case")), pairs[i].selector, (long long)counted,
                        (long long)pairs[i].sum);
    }
    fixture_run_end(&r);
    return wrong;
}

static void the_ledger_books_what_the_cells_count(void **state)
{
    static const char *const files[] = {"genai/traps.json", "semantics/rows.json"};
    (void)state;
    for (size_t f = 0; f < ARRAY_LEN(files); f++) {
        struct fixture_file file = fixture_open(files[f]);
        int wrong = 0;
        for (const struct json_node *n = file.cases; n; n = n->next)
            wrong += differences(n, true, false);
        fixture_close(&file);
        assert_int_equal(wrong, 0);
    }
}

static void without_corrections_the_ledger_and_the_cells_differ(void **state)
{
    (void)state;
    struct fixture_file file = fixture_open("genai/traps.json");
    int wrong = 0;
    for (const struct json_node *n = file.cases; n; n = n->next)
        wrong += differences(n, false, true);
    fixture_close(&file);
    assert_true(wrong > 20);
}

/* --- a store and its raw rows ------------------------------------------------------------------------ */

/* Call n is told of by one to four rows: the provider's, the SDK's around it, the first of them again, and again with more content. */
static void put_row(struct buf *out, unsigned n, const char *id, const char *parent, int start,
                    int end, const char *more)
{
    long long day = n % 7 == 0 ? -DAY_MS : 0, at = day + (long long)n * 1700;
    buf_printf(out, "%s{\"trace\":\"call-trace-%u\",\"id\":\"%s%u\",",
               out->data[out->size - 1] == '[' ? "" : ",", n, id, n);
    if (*parent)
        buf_printf(out, "\"parent\":\"%s%u\",", parent, n);
    buf_printf(out,
               "\"name\":\"chat gpt-4o\",\"start\":%lld,\"end\":%lld,\"a\":{"
               "\"gen_ai.operation.name\":\"chat\",\"gen_ai.provider.name\":\"openai\","
               "\"gen_ai.request.model\":\"gpt-4o\",\"gen_ai.response.id\":\"resp-%u\","
               "\"gen_ai.usage.input_tokens\":%u,\"gen_ai.usage.output_tokens\":%u,"
               "\"user.id\":\"user-%u\"%s}}",
               at + start, at + end, n, 100 + n, 10 + n % 5, n % 17, more);
}

static struct tsdb_batch *calls(unsigned first, unsigned count, bool with_twins, bool only_twins)
{
    struct buf text = {0};
    struct json_node *root;
    struct err_msg msg = {""};
    struct arena *a = arena_new(0);
    buf_str(&text, "{\"service\":\"shop\",\"spans\":[");
    for (unsigned n = first; n < first + count; n++) {
        if (!only_twins)
            put_row(&text, n, "p", "s", 100, 900, "");
        if ((with_twins || only_twins) && n % 3 == 0)
            put_row(&text, n, "s", "", 90, 910, "");
        if (with_twins && n % 5 == 0)
            put_row(&text, n, "p", "s", 100, 900, "");
        if ((with_twins || only_twins) && n % 4 == 0)
            put_row(&text, n, "p", "s", 100, 900, ",\"app.note\":\"sent again\"");
    }
    buf_str(&text, "]}");
    assert_true(buf_ok(&text));
    assert_int_equal(json_in_tree(buf_bytes(&text), 16, a, &root, &msg), ERR_OK);
    struct tsdb_batch *b = fixture_batch(root);
    b->received_ns = clock_wall_ns(); /* the window of repeats goes by it */
    b->request_key = (struct hash128){first + 1, 1u + with_twins + 2u * only_twins};
    arena_free(a);
    buf_done(&text);
    return b;
}

struct life {
    struct stage *stage;
    struct tsdb *db;
};

static struct life begin(const char *dir)
{
    struct life l = {0};
    struct err_msg msg = {""};
    struct tsdb_options o = {.dir = dir,
                             .retention_ms = YEARS,
                             .retention_content_ms = YEARS,
                             .retention_cells_ms = YEARS};
    CHECK(stage_new(NULL, &l.stage, &msg) == ERR_OK);
    o.settler = stage_settler(l.stage);
    CHECK(tsdb_open(&o, &l.db, &msg) == ERR_OK);
    stage_set_series(l.stage, tsdb_series(l.db));
    return l;
}

static void end(struct life *l, bool flush)
{
    tsdb_close(l->db, flush);
    stage_free(l->stage);
}

static enum err send(struct life *l, struct tsdb_batch *b)
{
    struct tsdb_result r;
    struct err_msg msg;
    CHECK(stage_apply(l->stage, b, &msg) == ERR_OK);
    return rows_append(l->db, b, &r);
}

struct recount {
    struct arena *arena;
    struct bytes *seen;
    size_t count, cap;
    struct tsdb_book_sums sums;
    int64_t users[17];
};

/* One booking a response id, whatever number of rows tells of it. */
static bool recount_rows(void *ctx, const struct tsdb_spans *t, const uint32_t *rows, uint32_t n)
{
    struct recount *c = ctx;
    for (uint32_t i = 0; i < n; i++) {
        struct bytes id = t->response_id[rows[i]];
        unsigned call = (unsigned)strtoul(
            (const char *)arena_printf(c->arena, BYTES_FMT, BYTES_ARG(id)).data + 5, NULL, 10);
        if (call >= c->cap || c->seen[call].size)
            continue;
        c->seen[call] = BYTES_LIT("x");
        c->count++;
        c->sums.calls++;
        c->sums.input_tokens += t->input_tokens[rows[i]];
        c->sums.output_tokens += t->output_tokens[rows[i]];
        c->sums.nanousd += t->cost_nanousd[rows[i]];
        c->users[call % 17] += t->cost_nanousd[rows[i]];
    }
    return true;
}

static struct tsdb_ledger_answer ask(struct tsdb *db, enum tsdb_book_dim dim, struct arena *a)
{
    struct tsdb_ledger_answer got;
    struct tsdb_ledger_question q = {.org = TSDB_ORG_DEFAULT,
                                     .dim = dim,
                                     .from_ms = T0_MS - 3 * DAY_MS,
                                     .to_ms = T0_MS + 3 * DAY_MS,
                                     .with_days = true};
    enum err e = tsdb_ledger_ask(db, &q, a, &got);
    CHECK(e == ERR_OK);
    return got;
}

/* 0: the ledger has what the rows say, in every dimension. */
static int recount(struct tsdb *db, unsigned calls_max, uint64_t *out_calls)
{
    struct arena *a = arena_new(0);
    struct recount c = {
        .arena = a, .cap = calls_max, .seen = ARENA_ARRAY(a, struct bytes, calls_max)};
    struct tsdb_view *v;
    struct tsdb_visit q = {.start_min_ns = INT64_MIN,
                           .start_max_ns = INT64_MAX,
                           .columns =
                               1ull << TSDB_SPAN_response_id | 1ull << TSDB_SPAN_input_tokens |
                               1ull << TSDB_SPAN_output_tokens | 1ull << TSDB_SPAN_cost_nanousd,
                           .spans = recount_rows,
                           .ctx = &c};
    CHECK(tsdb_view_open(db, TSDB_ORG_DEFAULT, NULL, &v) == ERR_OK);
    CHECK(tsdb_spans_visit(v, &q) == ERR_OK);
    tsdb_view_close(v);
    int wrong = 0;
    for (int d = 0; d < TSDB_BOOK_DIM_COUNT; d++) {
        struct tsdb_ledger_answer got = ask(db, (enum tsdb_book_dim)d, a);
        struct tsdb_book_sums sum = {0};
        int64_t days = 0;
        for (size_t i = 0; i < got.count; i++)
            tsdb_ledger_add(&sum, &got.rows[i].sums);
        for (uint32_t i = 0; i < got.day_count; i++)
            days += got.days[i];
        bool right = memcmp(&got.total, &c.sums, sizeof(sum)) == 0 &&
                     memcmp(&got.total, &sum, sizeof(sum)) == 0 && days == c.sums.nanousd &&
                     got.error_nanousd == 0;
        for (size_t i = 0; i < got.count && d == TSDB_BOOK_USER; i++)
            right &= got.rows[i].value.size > 5 &&
                     got.rows[i].sums.nanousd ==
                         c.users[strtoul((const char *)arena_printf(a, BYTES_FMT,
                                                                    BYTES_ARG(got.rows[i].value))
                                                 .data +
                                             5,
                                         NULL, 10) %
                                 17];
        if (!right)
            print_error("by %s: %lld calls of %lld nano-USD in rows, %lld of %lld in the ledger\n",
                        tsdb_ledger_dim_text((enum tsdb_book_dim)d), (long long)c.sums.calls,
                        (long long)c.sums.nanousd, (long long)got.total.calls,
                        (long long)got.total.nanousd);
        wrong += !right;
    }
    *out_calls = c.count;
    arena_free(a);
    return wrong;
}

static void make_dir(char dir[64])
{
    snprintf(dir, 64, "%s/telltale-ledger-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(dir));
}

static void twins_repeats_and_late_rows_book_once_through_seals_and_restarts(void **state)
{
    char dir[64];
    uint64_t found;
    struct err_msg msg;
    (void)state;
    make_dir(dir);
    struct life l = begin(dir);
    for (unsigned i = 0; i < 12; i++) {
        assert_int_equal(send(&l, calls(i * 20, 20, i % 2 == 0, false)), ERR_OK);
        if (i % 2) /* the others of a call come in a request of their own */
            assert_int_equal(send(&l, calls(i * 20, 20, false, true)), ERR_OK);
        assert_int_equal(recount(l.db, 240, &found), 0);
        if (i % 3 == 1)
            assert_int_equal(tsdb_flush(l.db, i == 7, &msg), ERR_OK);
        if (i % 3 == 2) {
            end(&l, i == 8);
            l = begin(dir);
        }
        assert_int_equal(recount(l.db, 240, &found), 0);
    }
    assert_int_equal(found, 240);
    end(&l, false);
    files_remove_tree(dir);
}

/* --- killed at every step --------------------------------------------------------------------------- */

static _Atomic uint64_t *met;
static uint64_t kill_at;
static const char *kill_place; /* NULL: any */

static void come_by(const char *name)
{
    static const char *const places[] = {"commit.", "txn.",    "flush.",
                                         "ledger.", "rotate.", "journal."};
    for (size_t i = 0; i < ARRAY_LEN(places); i++)
        if (strncmp(name, places[i], strlen(places[i])) == 0 &&
            (!kill_place || strcmp(kill_place, name) == 0)) {
            if (atomic_fetch_add(met, 1) + 1 == kill_at)
                kill(getpid(), SIGKILL);
            return;
        }
}

#define KILLED_CALLS 90u

static int life_of_a_child(const char *dir)
{
    struct err_msg msg;
    pid_t child = fork();
    if (child == 0) {
        alarm(60);
        fault_point_hook(come_by);
        struct life l = begin(dir);
        for (unsigned i = 0; i < KILLED_CALLS / 15; i++) {
            if (send(&l, calls(i * 15, 15, true, false)) != ERR_OK)
                _exit(1);
            if (i % 2 && tsdb_flush(l.db, false, &msg) != ERR_OK)
                _exit(1);
        }
        end(&l, true);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL ? 1
           : WIFEXITED(status) && WEXITSTATUS(status) == 0    ? 0
                                                              : -1;
}

/* A life that ends at a place, one that ends while it recovers, and what they left. */
static int cycle(const char *place, uint64_t at, uint64_t again_at)
{
    char dir[64];
    uint64_t found;
    make_dir(dir);
    atomic_store(met, 0);
    kill_place = place;
    kill_at = at;
    assert_true(life_of_a_child(dir) >= 0);
    atomic_store(met, 0);
    kill_place = NULL;
    kill_at = again_at;
    assert_true(life_of_a_child(dir) >= 0);
    struct life l = begin(dir);
    int wrong = recount(l.db, KILLED_CALLS, &found);
    for (unsigned i = 0; i < KILLED_CALLS / 15; i++)
        assert_int_equal(send(&l, calls(i * 15, 15, true, false)), ERR_OK);
    wrong += recount(l.db, KILLED_CALLS, &found);
    assert_int_equal(found, KILLED_CALLS);
    end(&l, false);
    files_remove_tree(dir);
    return wrong;
}

static void a_kill_between_any_two_steps_books_nothing_twice_and_loses_nothing(void **state)
{
    char dir[64];
    uint64_t steps;
    int wrong = 0;
    (void)state;
    met = mmap(NULL, sizeof(*met), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(met != MAP_FAILED);
    make_dir(dir);
    kill_at = 0;
    assert_int_equal(life_of_a_child(dir), 0);
    steps = atomic_load(met);
    files_remove_tree(dir);
    assert_true(steps > 100);
    for (uint64_t n = 1; n <= 3;
         n++) { /* where the store and the ledger disagree about what is sealed */
        wrong += cycle("ledger.before_commit", n, 1);
        wrong += cycle("ledger.after_commit", n, n * 7);
    }
    const char *lives = getenv("TELLTALE_LEDGER_LIVES"); /* the long form kills at every step */
    uint64_t stride = MAX(steps / (lives ? strtoull(lives, NULL, 10) : 4), UINT64_C(1));
    for (uint64_t at = 1; at <= steps; at += stride)
        wrong += cycle(NULL, at, 1 + at % 23);
    munmap((void *)(uintptr_t)met, sizeof(*met));
    assert_int_equal(wrong, 0);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_ledger_books_what_the_cells_count),
        cmocka_unit_test(without_corrections_the_ledger_and_the_cells_differ),
        cmocka_unit_test(twins_repeats_and_late_rows_book_once_through_seals_and_restarts),
        cmocka_unit_test(a_kill_between_any_two_steps_books_nothing_twice_and_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
