/* The ledger past its limits, without what was erased, and after its time; its rows as bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "tsdb/files.h"
#include "tsdb/helper_rows.h"
#include "tsdb/ledger.h"
#include "tsdb/store.h"
#include "tsdb/tsdb_backup.h"
#include "tsdb/tsdb_erase.h"

#define YEARS (100 * INT64_C(365) * 86400000)
#define MINUTE ((uint32_t)(ROWS_T0_NS / 60000000000))
#define T0_MS (ROWS_T0_NS / 1000000)
#define DAY_MS INT64_C(86400000)

static char dir[64];
static _Atomic int64_t now_ns; /* the store reads it on its threads */

static int64_t wall(void)
{
    return now_ns;
}

static struct tsdb *store(int64_t cells_ms)
{
    struct tsdb_options o = {.dir = dir,
                             .retention_ms = YEARS,
                             .retention_content_ms = YEARS,
                             .retention_cells_ms = cells_ms};
    struct tsdb *db = NULL;
    struct err_msg msg = {""};
    if (tsdb_open(&o, &db, &msg) != ERR_OK)
        fail_msg("open: %s", msg.text);
    return db;
}

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "%s/telltale-ledger-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    now_ns = ROWS_T0_NS + 3600 * INT64_C(1000000000);
    clock_test_set_wall(wall);
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    clock_test_set_wall(NULL);
    files_remove_tree(dir);
    return 0;
}

static bool book(struct tsdb_batch *b, uint32_t minute, const char *user, const char *team,
                 int64_t nanousd)
{
    struct tsdb_book k = {.minute = minute, .sums = {.calls = 1, .nanousd = nanousd}};
    k.value[TSDB_BOOK_USER] = bytes_str(user);
    k.value[TSDB_BOOK_TEAM] = bytes_str(team);
    return tsdb_batch_add_book(b, &k);
}

static struct tsdb_batch *batch(void)
{
    struct tsdb_batch *b = tsdb_batch_new(ROWS_ORG, TSDB_SPANS, 0);
    assert_non_null(b);
    b->received_ns = now_ns;
    return b;
}

static void append(struct tsdb *db, struct tsdb_batch *b)
{
    struct tsdb_result r;
    assert_int_equal(rows_append(db, b, &r), ERR_OK);
}

static struct tsdb_ledger_answer ask(struct tsdb *db, enum tsdb_book_dim dim, int64_t from,
                                     int64_t to, size_t top, struct arena *a)
{
    struct tsdb_ledger_answer got;
    struct tsdb_ledger_question q = {
        .org = ROWS_ORG, .dim = dim, .from_ms = from, .to_ms = to, .top = top, .with_days = true};
    assert_int_equal(tsdb_ledger_ask(db, &q, a, &got), ERR_OK);
    return got;
}

static int64_t cost_of(const struct tsdb_ledger_answer *got, const char *value)
{
    for (size_t i = 0; i < got->count; i++)
        if (!got->rows[i].is_other && bytes_equal_str(got->rows[i].value, value))
            return got->rows[i].sums.nanousd;
    return 0;
}

static void the_top_is_exact_and_the_rest_is_told(void **state)
{
    struct arena *a = arena_new(0);
    (void)state;
    struct tsdb *db = store(YEARS);
    for (int round = 0; round < 2; round++) { /* in memory, then sealed */
        struct tsdb_batch *b = batch();
        for (int i = 0; i < 100; i++)
            assert_true(book(b, MINUTE, (const char *)arena_printf(a, "u%d", i).data,
                             i % 2 ? "red" : "", i + 1));
        append(db, b);
        struct tsdb_ledger_answer got =
            ask(db, TSDB_BOOK_USER, T0_MS - DAY_MS, T0_MS + DAY_MS, 3, a);
        assert_int_equal(got.count, 3);
        assert_int_equal(got.keys, 100);
        assert_true(bytes_equal_str(got.rows[0].value, "u99"));
        assert_int_equal(got.rows[0].sums.nanousd, 100 * (round + 1));
        assert_int_equal(got.total.nanousd, 5050 * (round + 1));
        assert_int_equal(got.below.nanousd, (5050 - 297) * (round + 1));
        assert_int_equal(got.error_nanousd, 0);
        got = ask(db, TSDB_BOOK_TEAM, T0_MS - DAY_MS, T0_MS + DAY_MS, 0, a);
        assert_int_equal(got.unattributed.nanousd, 2500 * (round + 1));
        assert_int_equal(cost_of(&got, "red"), 2550 * (round + 1));
        struct err_msg msg;
        assert_int_equal(tsdb_flush(db, false, &msg), ERR_OK);
    }
    tsdb_close(db, false);
    arena_free(a);
}

static void ranges_are_counted_in_quarters_of_an_hour_and_in_days(void **state)
{
    struct arena *a = arena_new(0);
    struct err_msg msg;
    (void)state;
    struct tsdb *db = store(YEARS);
    struct tsdb_batch *b = batch();
    for (uint32_t q = 0; q < 4 * 24 * 3; q++) /* three days up to now, one each */
        assert_true(book(b, MINUTE - 15 * q, "u", "", 1));
    append(db, b);
    for (int round = 0; round < 2; round++) {
        struct tsdb_ledger_answer got =
            ask(db, TSDB_BOOK_USER, T0_MS - 3600000, T0_MS + 900000, 0, a);
        assert_int_equal(got.total.nanousd, 5);
        got = ask(db, TSDB_BOOK_USER, T0_MS - 2 * DAY_MS, T0_MS, 0, a);
        assert_int_equal(got.total.nanousd, 4 * 24 * 2);
        got = ask(db, TSDB_BOOK_USER, T0_MS - 4 * DAY_MS, T0_MS + DAY_MS, 0, a);
        assert_int_equal(got.total.nanousd, 4 * 24 * 3);
        assert_int_equal(tsdb_flush(db, false, &msg), ERR_OK);
    }
    tsdb_close(db, false);
    arena_free(a);
}

static void past_the_limit_of_a_day_the_dear_ones_stay_and_the_error_is_told(void **state)
{
    struct arena *a = arena_new(0);
    struct err_msg msg;
    (void)state;
    struct tsdb *db = store(YEARS);
    db->ledger->day_keys_max = 100;
    int64_t dear = 0, all = 0;
    for (int round = 0; round < 10; round++) {
        struct tsdb_batch *b = batch();
        for (int i = 0; i < 60; i++) {
            bool is_dear = i == 7;
            int64_t cost = is_dear ? 1000 : 1 + i % 3;
            const char *name =
                is_dear ? "whale" : (const char *)arena_printf(a, "u%d-%d", round, i).data;
            assert_true(book(b, MINUTE, name, "", cost));
            dear += is_dear ? cost : 0;
            all += cost;
        }
        append(db, b);
        assert_int_equal(tsdb_flush(db, false, &msg), ERR_OK);
    }
    struct tsdb_ledger_answer got = ask(db, TSDB_BOOK_USER, T0_MS - DAY_MS, T0_MS + DAY_MS, 0, a);
    assert_int_equal(cost_of(&got, "whale"), dear);
    assert_int_equal(got.total.nanousd, all);
    assert_true(got.keys <= 200);
    assert_true(got.other.nanousd > 0);
    assert_in_range(got.error_nanousd, 1, 3 * 10); /* the dearest refused of each generation */
    tsdb_close(db, false);
    arena_free(a);
}

static void a_full_table_keeps_its_total_and_states_its_error(void **state)
{
    struct ledger_table t = {.entries_max = 2048};
    struct tsdb_book_sums sums = {0};
    int64_t whale = 0, all = 0;
    (void)state;
    for (int i = 0; i < 30000; i++) {
        char name[32];
        bool is_whale = i % 50 == 0;
        snprintf(name, sizeof(name), is_whale ? "whale" : "u%d", i);
        struct tsdb_book k = {.minute = MINUTE, .sums = {.calls = 1, .nanousd = 1 + i % 9}};
        k.value[TSDB_BOOK_USER] = bytes_str(name);
        assert_true(ledger_table_add(&t, 1, &k));
        whale += is_whale ? k.sums.nanousd : 0;
        all += k.sums.nanousd;
    }
    int64_t found = 0;
    for (uint32_t i = 0; i < t.count; i++) {
        if (t.dims[i] != TSDB_BOOK_USER)
            continue;
        tsdb_ledger_add(&sums, &t.entries[i].sums);
        if (bytes_equal_str(ledger_table_text(&t, &t.entries[i]), "whale"))
            found = t.entries[i].sums.nanousd;
    }
    assert_true(t.count <= 2048);
    assert_int_equal(sums.nanousd, all);
    assert_int_equal(sums.calls, 30000);
    assert_true(found <= whale && whale - found <= t.error_nanousd);
    assert_true(t.error_nanousd > 0);
    ledger_table_done(&t);
}

static bool file_has(const char *name, const char *needle)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/ledger/%s", dir, name);
    struct arena *a = arena_new(0);
    struct bytes text;
    struct err_msg msg;
    assert_int_equal(files_read(path, 64u << 20, a, &text, &msg), ERR_OK);
    bool found = bytes_find(text, bytes_str(needle)) < text.size;
    arena_free(a);
    return found;
}

static void an_erased_user_is_unattributed_and_its_bytes_are_gone(void **state)
{
    struct arena *a = arena_new(0);
    struct err_msg msg = {""};
    uint64_t id;
    (void)state;
    struct tsdb *db = store(YEARS);
    struct tsdb_batch *b = batch();
    assert_true(book(b, MINUTE, "canary-of-mine", "red", 70) &&
                book(b, MINUTE, "other", "red", 30));
    append(db, b);
    assert_int_equal(tsdb_flush(db, false, &msg), ERR_OK);
    assert_true(file_has("data.mdb", "canary-of-mine"));
    struct tsdb_erase_ask wish = {
        .org = ROWS_ORG, .kind = TSDB_ERASE_USER, .value = BYTES_LIT("canary-of-mine")};
    assert_int_equal(tsdb_erase(db, &wish, &id, &msg), ERR_OK);
    struct tsdb_ledger_answer got = ask(db, TSDB_BOOK_USER, T0_MS - DAY_MS, T0_MS + DAY_MS, 0, a);
    assert_int_equal(cost_of(&got, "canary-of-mine"), 0); /* at once */
    assert_int_equal(tsdb_erase_wait(db, ROWS_ORG, id, clock_mono_ns() + 10000000000), ERR_OK);
    assert_false(file_has("data.mdb", "canary-of-mine"));
    got = ask(db, TSDB_BOOK_USER, T0_MS - DAY_MS, T0_MS + DAY_MS, 0, a);
    assert_int_equal(got.unattributed.nanousd, 70);
    assert_int_equal(cost_of(&got, "other"), 30);
    got = ask(db, TSDB_BOOK_TEAM, T0_MS - DAY_MS, T0_MS + DAY_MS, 0, a);
    assert_int_equal(cost_of(&got, "red"), 100);
    tsdb_close(db, false);
    arena_free(a);
}

static void days_go_with_the_cells_and_quarters_before(void **state)
{
    struct arena *a = arena_new(0);
    struct err_msg msg;
    (void)state;
    struct tsdb *db = store(YEARS);
    struct tsdb_batch *b = batch();
    assert_true(book(b, MINUTE, "old", "", 5));
    append(db, b);
    assert_int_equal(tsdb_flush(db, false, &msg), ERR_OK);
    assert_false(ledger_expire(db->ledger, T0_MS - 100 * DAY_MS, T0_MS + 40 * DAY_MS));
    now_ns += 40 * DAY_MS * 1000000;
    struct tsdb_ledger_answer got = ask(db, TSDB_BOOK_USER, T0_MS, T0_MS + 60000, 0, a);
    assert_int_equal(got.total.nanousd, 5); /* of the whole day: its quarters are gone */
    assert_int_equal(got.to_ms - got.from_ms, DAY_MS);
    assert_false(ledger_expire(db->ledger, T0_MS + 2 * DAY_MS, T0_MS + 40 * DAY_MS));
    got = ask(db, TSDB_BOOK_USER, T0_MS, T0_MS + 60000, 0, a);
    assert_int_equal(got.total.nanousd, 0);
    tsdb_close(db, false);
    arena_free(a);
}

static void a_backup_has_the_ledger_of_its_moment(void **state)
{
    struct arena *a = arena_new(0);
    struct err_msg msg = {""};
    struct tsdb_backup_sink sink = {0};
    struct tsdb_backup_report report;
    char target[96], whole[64];
    (void)state;
    struct tsdb *db = store(YEARS);
    for (int i = 0; i < 3; i++) { /* one sealed, two in journals */
        struct tsdb_batch *b = batch();
        assert_true(book(b, MINUTE, "u", "red", 1 << i));
        append(db, b);
        if (i == 0)
            assert_int_equal(tsdb_flush(db, false, &msg), ERR_OK);
    }
    snprintf(target, sizeof(target), "%s-copy", dir);
    if (tsdb_backup_run(db, target, &sink, &report, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    struct tsdb_batch *later = batch();
    assert_true(book(later, MINUTE, "u", "red", 64));
    append(db, later);
    tsdb_close(db, true);
    snprintf(whole, sizeof(whole), "%s", dir);
    snprintf(dir, sizeof(dir), "%.50s-copy", whole);
    db = store(YEARS);
    struct tsdb_ledger_answer got = ask(db, TSDB_BOOK_TEAM, T0_MS - DAY_MS, T0_MS + DAY_MS, 0, a);
    assert_int_equal(got.total.nanousd, 7);
    tsdb_close(db, false);
    files_remove_tree(dir);
    snprintf(dir, sizeof(dir), "%s", whole);
    arena_free(a);
}

struct followed {
    int64_t rows, booked;
};
static void on_row(void *ctx, enum tsdb_book_dim dim, struct bytes value, uint32_t minute,
                   const struct tsdb_book_sums *sums)
{
    (void)dim, (void)value, (void)minute;
    ((struct followed *)ctx)->rows += sums->nanousd;
}
static void on_booked(void *ctx, const struct tsdb_book *books, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((struct followed *)ctx)->booked += books[i].sums.nanousd;
}

static void a_follower_gets_everything_once(void **state)
{
    struct followed got = {0};
    struct tsdb_ledger_follower f = {&got, on_row, on_booked};
    struct err_msg msg;
    (void)state;
    struct tsdb *db = store(YEARS);
    for (int i = 0; i < 4; i++) {
        struct tsdb_batch *b = batch();
        assert_true(book(b, MINUTE - 1440 * (uint32_t)i, "u", "red", 1 << i));
        append(db, b);
        if (i == 1)
            assert_int_equal(tsdb_flush(db, false, &msg), ERR_OK);
        if (i == 2)
            assert_int_equal(
                tsdb_ledger_follow(db, ROWS_ORG, 1u << TSDB_BOOK_TEAM, T0_MS - 10 * DAY_MS, &f),
                ERR_OK);
    }
    assert_int_equal(got.rows, 1 + 2 + 4);
    assert_int_equal(got.booked, 8);
    assert_int_equal(tsdb_ledger_follow(db, ROWS_ORG, 0, 0, NULL), ERR_OK);
    tsdb_close(db, false);
}

static void rows_that_are_not_rows_do_not_read(void **state)
{
    struct ledger_key k = {1, LEDGER_DAY, 20000, TSDB_BOOK_TEAM, {1, 2}}, back;
    struct ledger_stored v = {{1, 2, -3, INT64_MIN, 5, INT64_MAX}, BYTES_LIT("team red")}, got;
    uint8_t key[LEDGER_KEY_SIZE];
    struct buf row = {0};
    (void)state;
    ledger_key_write(&k, key);
    ledger_value_write(bytes_of(key, sizeof(key)), &v, &row);
    assert_true(ledger_key_read(bytes_of(key, sizeof(key)), &back));
    assert_true(back.org == 1 && back.kind == LEDGER_DAY && back.period == 20000 &&
                back.dim == TSDB_BOOK_TEAM && hash128_equal(back.value, k.value));
    assert_true(ledger_value_read(bytes_of(key, sizeof(key)), buf_bytes(&row), &got));
    assert_memory_equal(&v.sums, &got.sums, sizeof(v.sums));
    assert_true(bytes_equal(v.text, got.text));
    for (size_t cut = 0; cut < row.size; cut++)
        assert_false(ledger_value_read(bytes_of(key, sizeof(key)), bytes_of(row.data, cut), &got));
    for (size_t bit = 0; bit < row.size * 8; bit++) {
        row.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_false(ledger_value_read(bytes_of(key, sizeof(key)), buf_bytes(&row), &got));
        row.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    buf_done(&row);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_dir, remove_dir)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_top_is_exact_and_the_rest_is_told),
        TEST(ranges_are_counted_in_quarters_of_an_hour_and_in_days),
        TEST(past_the_limit_of_a_day_the_dear_ones_stay_and_the_error_is_told),
        TEST(a_full_table_keeps_its_total_and_states_its_error),
        TEST(an_erased_user_is_unattributed_and_its_bytes_are_gone),
        TEST(days_go_with_the_cells_and_quarters_before),
        TEST(a_backup_has_the_ledger_of_its_moment),
        TEST(a_follower_gets_everything_once),
        TEST(rows_that_are_not_rows_do_not_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
