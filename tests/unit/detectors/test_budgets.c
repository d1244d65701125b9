/* Budgets: what is read, what a window holds through time, restarts and late calls, what a gateway hears, and who is alerted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <pthread.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "detectors/budget.h"
#include "detectors/detectors.h"
#include "tsdb/files.h"
#include "tsdb/helper_rows.h"

#define YEARS (100 * INT64_C(365) * 86400000)
#define T0_MS (ROWS_T0_NS / 1000000) /* Friday 2026-11-20T10:00:00Z */
#define HOUR_MS INT64_C(3600000)
#define DAY_MS (24 * HOUR_MS)
#define USD INT64_C(1000000000)

static char dir[64];
static int64_t now_ms;

static int64_t wall(void)
{
    return now_ms * 1000000;
}

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "%s/telltale-budgets-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    now_ms = T0_MS;
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

static struct tsdb *store(void)
{
    char path[96];
    snprintf(path, sizeof(path), "%s/data", dir);
    struct tsdb_options o = {.dir = path,
                             .retention_ms = YEARS,
                             .retention_content_ms = YEARS,
                             .retention_cells_ms = YEARS};
    struct tsdb *db = NULL;
    struct err_msg msg = {""};
    if (tsdb_open(&o, &db, &msg) != ERR_OK)
        fail_msg("open: %s", msg.text);
    return db;
}

static struct detectors_budgets *budgets(const char *yaml)
{
    char path[96];
    struct buf errors = {0};
    struct detectors_budgets *b = NULL;
    snprintf(path, sizeof(path), "%s/budgets.yaml", dir);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fputs(yaml, f);
    fclose(f);
    if (detectors_budgets_load(path, &b, &errors) != ERR_OK)
        fail_msg("%.*s", (int)errors.size, (const char *)errors.data);
    buf_done(&errors);
    return b;
}

static void spend(struct tsdb *db, const char *team, const char *user, int64_t at_ms,
                  int64_t nanousd)
{
    struct tsdb_batch *b = tsdb_batch_new(ROWS_ORG, TSDB_SPANS, 0);
    struct tsdb_result r;
    struct tsdb_book k = {
        .minute = (uint32_t)(at_ms / 60000),
        .sums = {.calls = 1, .input_tokens = 70, .output_tokens = 30, .nanousd = nanousd}};
    k.value[TSDB_BOOK_TEAM] = bytes_str(team);
    k.value[TSDB_BOOK_USER] = bytes_str(user);
    assert_true(b && tsdb_batch_add_book(b, &k));
    b->received_ns = now_ms * 1000000;
    assert_int_equal(rows_append(db, b, &r), ERR_OK);
}

static struct detectors_budget_answer ask(struct detectors_budgets *b, const char *team,
                                          const char *user, int64_t nanousd)
{
    struct detectors_budget_call call = {.nanousd = nanousd};
    struct detectors_budget_answer a;
    call.value[TSDB_BOOK_TEAM] = bytes_str(team);
    call.value[TSDB_BOOK_USER] = bytes_str(user);
    detectors_budgets_check(b, &call, now_ms, &a);
    return a;
}

#define EACH_USER                                                              \
    "budgets:\n- name: users\n  by: user\n  amount: 10 USD\n  window: 24h\n  " \
    "hard: true\n  fail_open: false\n"

static void a_rolling_window_gives_up_what_is_older_than_it(void **state)
{
    (void)state;
    struct tsdb *db = store();
    struct detectors_budgets *b = budgets(EACH_USER);
    assert_int_equal(detectors_budgets_follow(b, db, ROWS_ORG), ERR_OK);
    spend(db, "", "ann", now_ms - 60000, 6 * USD);
    spend(db, "", "bob", now_ms - 60000, 1 * USD);
    struct detectors_budget_answer a = ask(b, "", "ann", 3 * USD);
    assert_true(a.is_allowed);
    assert_int_equal(a.rows[0].spent, 6 * USD);
    assert_false(a.fail_open);
    assert_false(ask(b, "", "ann", 5 * USD).is_allowed);
    assert_true(ask(b, "", "bob", 5 * USD).is_allowed);
    assert_true(a.rows[0].reset_ms > now_ms + 23 * HOUR_MS &&
                a.rows[0].reset_ms < now_ms + 25 * HOUR_MS);
    now_ms += 20 * HOUR_MS;
    spend(db, "", "ann", now_ms - 60000, 4 * USD);
    assert_false(ask(b, "", "ann", 1).is_allowed);
    now_ms += 3 * HOUR_MS;
    assert_int_equal(ask(b, "", "ann", 0).rows[0].spent, 10 * USD); /* 23 h and a minute old */
    now_ms += 2 * HOUR_MS;
    assert_int_equal(ask(b, "", "ann", 0).rows[0].spent, 4 * USD);
    spend(db, "", "ann", now_ms - 30 * HOUR_MS, 5 * USD); /* too late to matter */
    assert_int_equal(ask(b, "", "ann", 0).rows[0].spent, 4 * USD);
    detectors_budgets_unfollow(b, db);
    detectors_budgets_free(b);
    tsdb_close(db, false);
}

static void a_calendar_month_begins_where_its_time_zone_says(void **state)
{
    struct err_msg msg;
    (void)state;
    if (access("/usr/share/zoneinfo/Asia/Kolkata", R_OK) != 0)
        skip();
    struct tsdb *db = store();
    static const char yaml[] =
        "budgets:\n- name: red\n  by: team\n  value: red\n  amount: 100 USD\n  "
        "window: month\n  time_zone: Asia/Kolkata\n";
    int64_t december = T0_MS + 10 * DAY_MS + 8 * HOUR_MS + 30 * 60000; /* 18:30 UTC, Nov 30 */
    for (int life = 0; life < 2; life++) { /* as it was booked, and filled from the ledger */
        struct detectors_budgets *b = budgets(yaml);
        assert_int_equal(detectors_budgets_follow(b, db, ROWS_ORG), ERR_OK);
        if (!life) {
            spend(db, "red", "", now_ms - 60000, 40 * USD);
            now_ms = december - 60000;
            spend(db, "red", "", december - 60000, 7 * USD);
            assert_int_equal(tsdb_flush(db, false, &msg), ERR_OK);
            spend(db, "red", "", december, 5 * USD); /* a clock that is ahead */
        }
        now_ms = december - 1;
        struct detectors_budget_answer a = ask(b, "red", "", 0);
        assert_int_equal(a.rows[0].spent, 47 * USD);
        assert_int_equal(a.rows[0].reset_ms, december);
        now_ms = december;
        assert_int_equal(ask(b, "red", "", 0).rows[0].spent, 5 * USD);
        detectors_budgets_unfollow(b, db);
        detectors_budgets_free(b);
        now_ms = december - 1;
    }
    tsdb_close(db, false);
}

static void a_restart_changes_no_window(void **state)
{
    struct err_msg msg;
    (void)state;
    static const char yaml[] =
        EACH_USER "- {name: calls, by: user, value: 'a*', amount: 500 calls, window: 7d}\n"
                  "- {name: long, by: team, value: 'r*', together: true, amount: 1000000 tokens, "
                  "window: 90d}\n"
                  "- {name: week, by: team, value: blue, amount: 3 USD, window: week}\n";
    struct tsdb *db = store();
    struct detectors_budgets *b = budgets(yaml);
    assert_int_equal(detectors_budgets_follow(b, db, ROWS_ORG), ERR_OK);
    now_ms -= 60 * DAY_MS;
    for (int i = 0; i < 240; i++, now_ms += 6 * HOUR_MS) {
        spend(db, i % 3 ? "red" : "blue", i % 2 ? "ann" : "bob", now_ms - (i % 5) * 7 * HOUR_MS,
              (i + 1) * 1000000);
        if (i % 50 == 49)
            assert_int_equal(tsdb_flush(db, false, &msg), ERR_OK);
    }
    struct detectors_budgets *again = budgets(yaml);
    detectors_budgets_unfollow(b, db);
    tsdb_close(db, false);
    db = store();
    assert_int_equal(detectors_budgets_follow(again, db, ROWS_ORG), ERR_OK);
    static const char *const who[][2] = {{"red", "ann"}, {"blue", "bob"}, {"", "ann"}};
    unsigned filled = 0;
    for (size_t i = 0; i < ARRAY_LEN(who); i++) {
        struct detectors_budget_answer x = ask(b, who[i][0], who[i][1], 0),
                                       y = ask(again, who[i][0], who[i][1], 0);
        assert_int_equal(x.count, y.count);
        for (uint32_t k = 0; k < x.count; k++) {
            assert_string_equal(x.rows[k].name, y.rows[k].name);
            assert_int_equal(x.rows[k].spent, y.rows[k].spent);
            assert_int_equal(x.rows[k].reset_ms, y.rows[k].reset_ms);
            filled += x.rows[k].spent > 0;
        }
    }
    assert_true(filled >= 4);
    detectors_budgets_unfollow(again, db);
    detectors_budgets_free(again);
    detectors_budgets_free(b);
    tsdb_close(db, false);
}

static void mistakes_are_told_with_file_line_and_key(void **state)
{
    static const struct {
        const char *yaml, *said;
    } cases[] = {
        {"budgets:\n- name: x\n  by: planet\n  amount: 1 USD\n  window: day\n",
         "f:3: by: must be tenant"},
        {"budgets:\n- name: x\n  by: user\n  amount: 1\n  window: day\n",
         "f:4: amount: must be such as"},
        {"budgets:\n- name: x\n  by: user\n  amount: -4 USD\n  window: day\n", "f:4: amount"},
        {"budgets:\n- name: x\n  by: user\n  amount: 1 USD\n  window: 10m\n",
         "f:5: window: must be"},
        {"budgets:\n- name: x\n  by: user\n  amount: 1 USD\n", "f:2: window: is missing"},
        {"budgets:\n- name: x\n  by: user\n  amount: 1 USD\n  window: day\n  colour: red\n",
         "f:6: colour: unknown"},
        {"budgets:\n- name: x\n  by: user\n  amount: 1 USD\n  window: day\n  thresholds: [0]\n",
         "f:6: thresholds"},
        {"budgets:\n- name: x\n  by: user\n  value: 'a*b'\n  amount: 1 USD\n  window: day\n",
         "f:4: value: may have"},
        {"budgets:\n- name: x\n  by: user\n  amount: 1 USD\n  window: day\n  time_zone: "
         "../../etc/passwd\n",
         "f:6: time_zone: \"../"},
        {"budgets:\n- {name: x, by: user, amount: 1 USD, window: day}\n- {name: x, by: user, "
         "amount: 1 USD, window: day}\n",
         "f:3: name: \"x\" is given twice"},
        {"slos: []\n", "f:1: budgets: must be there"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena *a = arena_new(0);
        struct budget *all;
        size_t n;
        struct buf errors = {0};
        assert_int_equal(budget_file_read(bytes_str(cases[i].yaml), "f", a, &all, &n, &errors),
                         ERR_INVALID);
        buf_u8(&errors, 0);
        if (!strstr((const char *)errors.data, cases[i].said))
            fail_msg("case %zu says %s", i, (const char *)errors.data);
        buf_done(&errors);
        arena_free(a);
    }
}

static void bytes_that_are_no_time_zone_are_refused(void **state)
{
    (void)state;
    FILE *f = fopen("/usr/share/zoneinfo/Europe/Berlin", "rb");
    if (!f)
        skip();
    uint8_t text[8192];
    size_t n = fread(text, 1, sizeof(text), f);
    fclose(f);
    struct budget_zone z;
    struct arena *a = arena_new(0);
    assert_int_equal(budget_zone_read(bytes_of(text, n), a, &z), ERR_OK);
    assert_int_equal(budget_zone_offset(&z, T0_MS / 1000), 3600);
    assert_int_equal(budget_zone_offset(&z, T0_MS / 1000 - 100 * 86400), 7200);
    for (size_t cut = 0; cut < n; cut += 7)
        (void)!budget_zone_read(bytes_of(text, cut), a, &z); /* no crash, no read beyond */
    for (size_t i = 0; i < n; i++) {
        uint8_t before = text[i];
        text[i] = (uint8_t)(before ^ (1u << i % 8));
        (void)!budget_zone_read(bytes_of(text, n), a, &z);
        text[i] = before;
    }
    arena_free(a);
}

static size_t alerts(struct detectors *d, struct arena *a, struct detectors_alert **out)
{
    size_t n = 0;
    assert_int_equal(detectors_alerts(d, a, out, &n), ERR_OK);
    return n;
}

static unsigned firing(struct detectors *d, const char *rule)
{
    struct arena *a = arena_new(0);
    struct detectors_alert *list;
    unsigned found = 0;
    size_t n = alerts(d, a, &list);
    for (size_t i = 0; i < n; i++)
        found += list[i].state == DETECTORS_FIRING && bytes_equal_str(list[i].rule, rule) &&
                 bytes_has_prefix(list[i].slo_id, BYTES_LIT("budget:"));
    arena_free(a);
    return found;
}

static void each_threshold_alerts_once_and_resolves_when_the_window_rolls(void **state)
{
    (void)state;
    struct tsdb *db = store();
    struct buf errors = {0};
    struct detectors_receiver hook = {
        .name = "hook", .url = "http://127.0.0.1:1/x", .allow_private = true};
    struct detectors_budgets *b =
        budgets("budgets:\n- {name: day, by: user, amount: 10 USD, window: day, "
                "thresholds: [50, 80, 100]}\n");
    assert_int_equal(detectors_budgets_follow(b, db, ROWS_ORG), ERR_OK);
    struct detectors_options o = {.db = db, .budgets = b, .receivers = &hook, .receiver_count = 1};
    struct detectors *d;
    assert_int_equal(detectors_new(&o, &d, &errors), ERR_OK);
    spend(db, "", "ann", now_ms, 6 * USD);
    spend(db, "", "bob", now_ms, 1 * USD);
    for (int i = 0; i < 3; i++)
        assert_int_equal(detectors_evaluate(d, now_ms), ERR_OK);
    assert_int_equal(firing(d, "50%"), 1);
    assert_int_equal(firing(d, "80%"), 0);
    now_ms += 60000;
    spend(db, "", "ann", now_ms, 5 * USD);
    assert_int_equal(detectors_evaluate(d, now_ms), ERR_OK);
    assert_int_equal(firing(d, "80%") + firing(d, "100%"), 2);
    struct arena *a = arena_new(0);
    struct detectors_outbox_row *rows;
    struct detectors_alert *list;
    size_t sent = 0, n = 0;
    assert_int_equal(detectors_outbox(d, a, &rows, &n), ERR_OK);
    for (size_t i = 0; i < n; i++)
        sent += bytes_find(rows[i].body, BYTES_LIT("BudgetThreshold")) < rows[i].body.size &&
                bytes_find(rows[i].body, BYTES_LIT("of $10.00 spent")) < rows[i].body.size;
    assert_int_equal(sent, 3);
    assert_true(alerts(d, a, &list) >= 3);
    arena_free(a);
    now_ms += DAY_MS;
    assert_int_equal(detectors_evaluate(d, now_ms), ERR_OK);
    assert_int_equal(firing(d, "50%") + firing(d, "80%") + firing(d, "100%"), 0);
    spend(db, "", "ann", now_ms, 6 * USD);
    assert_int_equal(detectors_evaluate(d, now_ms), ERR_OK);
    assert_int_equal(firing(d, "50%"), 1); /* of the new day */
    detectors_free(d);
    /* another process goes on with it, and tells nobody again */
    assert_int_equal(detectors_new(&o, &d, &errors), ERR_OK);
    assert_int_equal(detectors_evaluate(d, now_ms), ERR_OK);
    assert_int_equal(firing(d, "50%"), 1);
    detectors_free(d);
    detectors_budgets_unfollow(b, db);
    detectors_budgets_free(b);
    tsdb_close(db, false);
    buf_done(&errors);
}

#define TWO(limit)                                                                       \
    "budgets:\n- {name: day, by: user, amount: 10 USD, window: day, thresholds: [50]}\n" \
    "- {name: teams, by: team, amount: " limit                                           \
    " USD, window: 24h, hard: true, thresholds: [200]}\n"

static enum err read_again(struct detectors_budgets *b, struct tsdb *db, const char *yaml,
                           struct buf *errors)
{
    char path[96];
    snprintf(path, sizeof(path), "%s/budgets.yaml", dir);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fputs(yaml, f);
    fclose(f);
    return detectors_budgets_reload(b, path, db, errors);
}

static void a_file_that_is_read_again_keeps_sums_and_alerts_and_a_wrong_one_changes_nothing(
    void **state)
{
    (void)state;
    struct tsdb *db = store();
    struct buf errors = {0};
    struct detectors_budgets *b = budgets(TWO("20"));
    assert_int_equal(detectors_budgets_follow(b, db, ROWS_ORG), ERR_OK);
    struct detectors_receiver hook = {
        .name = "hook", .url = "http://127.0.0.1:1/x", .allow_private = true};
    struct detectors_options o = {.db = db, .budgets = b, .receivers = &hook, .receiver_count = 1};
    struct detectors *d;
    assert_int_equal(detectors_new(&o, &d, &errors), ERR_OK);
    spend(db, "red", "ann", now_ms, 6 * USD);
    assert_int_equal(detectors_evaluate(d, now_ms), ERR_OK);
    assert_int_equal(firing(d, "50%"), 1);
    assert_int_equal(read_again(b, db, "budgets:\n- {name: x, by: nobody}\n", &errors),
                     ERR_INVALID);
    assert_true(bytes_find(buf_bytes(&errors), BYTES_LIT("budgets.yaml:2: ")) < errors.size);
    spend(db, "red", "ann", now_ms, 1 * USD);
    assert_int_equal(ask(b, "red", "", 0).rows[0].limit, 20 * USD);
    assert_int_equal(ask(b, "red", "", 0).rows[0].spent, 7 * USD);
    /* the limit of one changes, a third is new: both know what was spent */
    assert_int_equal(read_again(b, db,
                                TWO("7") "- {name: all, by: user, together: true, amount: 9 USD, "
                                         "window: month, thresholds: [200]}\n",
                                &errors),
                     ERR_OK);
    assert_false(ask(b, "red", "ann", 1 * USD).is_allowed);
    assert_int_equal(ask(b, "", "ann", 0).matched, 2);
    spend(db, "red", "ann", now_ms, 1 * USD); /* followed on, once */
    struct detectors_budget_answer a = ask(b, "red", "ann", 0);
    assert_int_equal(a.matched, 3);
    for (uint32_t i = 0; i < a.count; i++)
        assert_int_equal(a.rows[i].spent, 8 * USD);
    assert_int_equal(detectors_evaluate(d, now_ms), ERR_OK);
    assert_int_equal(firing(d, "50%"), 1); /* the same, and told once */
    struct arena *arena = arena_new(0);
    struct detectors_outbox_row *rows;
    size_t n = 0, told = 0;
    assert_int_equal(detectors_outbox(d, arena, &rows, &n), ERR_OK);
    for (size_t i = 0; i < n; i++)
        told += bytes_equal_str(rows[i].slo_id, "budget:day/ann");
    assert_int_equal(told, 1);
    arena_free(arena);
    /* none any more, and back */
    assert_int_equal(read_again(b, db, "budgets: []\n", &errors), ERR_OK);
    assert_int_equal(ask(b, "red", "ann", 0).matched, 0);
    assert_int_equal(detectors_evaluate(d, now_ms), ERR_OK);
    assert_int_equal(firing(d, "50%"), 0);
    spend(db, "red", "ann", now_ms, 1 * USD);
    assert_int_equal(read_again(b, db, TWO("20"), &errors), ERR_OK);
    assert_int_equal(ask(b, "red", "", 0).rows[0].spent, 9 * USD);
    detectors_free(d);
    detectors_budgets_unfollow(b, db);
    detectors_budgets_free(b);
    tsdb_close(db, false);
    buf_done(&errors);
}

/* A call that comes at the n-th time that the reading thread asks for the time: before, while and after the windows are filled. */
static struct {
    struct tsdb *db;
    struct detectors_budgets *b;
    pthread_t reader;
    int left; /* until then; 0: it has come */
    int64_t spent;
    unsigned wrong;
} intrusion;

static int64_t wall_with_intrusion(void)
{
    if (!pthread_equal(pthread_self(), intrusion.reader) || !intrusion.left || --intrusion.left)
        return wall();
    spend(intrusion.db, "red", "ann", now_ms, 1 * USD);
    intrusion.spent += 1 * USD;
    intrusion.wrong += ask(intrusion.b, "red", "", 0).rows[0].spent != intrusion.spent;
    return wall();
}

static void no_booking_is_missed_or_counted_twice_while_the_file_is_read_again(void **state)
{
    (void)state;
    struct tsdb *db = store();
    struct buf errors = {0};
    struct detectors_budgets *b = budgets(TWO("20"));
    assert_int_equal(detectors_budgets_follow(b, db, ROWS_ORG), ERR_OK);
    spend(db, "red", "ann", now_ms, 1 * USD);
    intrusion.db = db;
    intrusion.b = b;
    intrusion.reader = pthread_self();
    intrusion.spent = 1 * USD;
    int n = 1;
    for (bool came = true; came; n++) {
        intrusion.left = n;
        clock_test_set_wall(wall_with_intrusion);
        assert_int_equal(read_again(b, db, TWO("20"), &errors), ERR_OK);
        clock_test_set_wall(wall);
        came = intrusion.left == 0;
        assert_int_equal(intrusion.wrong, 0);
        assert_int_equal(ask(b, "red", "", 0).rows[0].spent, intrusion.spent);
    }
    assert_true(n > 4); /* some of it came while they were filled */
    detectors_budgets_unfollow(b, db);
    detectors_budgets_free(b);
    tsdb_close(db, false);
    buf_done(&errors);
}

static void the_budget_that_has_least_left_binds(void **state)
{
    (void)state;
    struct tsdb *db = store();
    struct detectors_budgets *b = budgets(
        "budgets:\n- {name: soft, by: user, value: ann, amount: 1 USD, window: day}\n"
        "- {name: team, by: team, value: red, amount: 100 USD, window: day, hard: true}\n"
        "- {name: all, by: team, together: true, amount: 40 USD, window: day, hard: true}\n");
    assert_int_equal(detectors_budgets_follow(b, db, ROWS_ORG), ERR_OK);
    spend(db, "red", "ann", now_ms, 2 * USD);
    spend(db, "blue", "bob", now_ms, 30 * USD);
    struct detectors_budget_answer a = ask(b, "red", "ann", 1 * USD);
    assert_int_equal(a.matched, 3);
    assert_true(a.is_allowed); /* only the soft one is passed */
    assert_string_equal(a.rows[0].name, "soft");
    a = ask(b, "red", "ann", 9 * USD);
    assert_false(a.is_allowed);
    assert_string_equal(a.rows[0].name, "all"); /* what denies comes first */
    assert_int_equal(ask(b, "", "", 9 * USD).matched, 0);
    struct arena *arena = arena_new(0);
    struct detectors_budget_row *rows;
    size_t n;
    assert_int_equal(detectors_budgets_rows(b, NULL, BYTES_NONE, 10, now_ms, arena, &rows, &n),
                     ERR_OK);
    assert_int_equal(n, 3);
    assert_int_equal(rows[2].spent, 32 * USD);
    assert_int_equal(
        detectors_budgets_rows(b, "team", BYTES_LIT("red"), 10, now_ms, arena, &rows, &n), ERR_OK);
    assert_int_equal(n, 1);
    assert_int_equal(detectors_budgets_rows(b, "none", BYTES_NONE, 10, now_ms, arena, &rows, &n),
                     ERR_NOT_FOUND);
    arena_free(arena);
    detectors_budgets_unfollow(b, db);
    detectors_budgets_free(b);
    tsdb_close(db, false);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_dir, remove_dir)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_rolling_window_gives_up_what_is_older_than_it),
        TEST(a_calendar_month_begins_where_its_time_zone_says),
        TEST(a_restart_changes_no_window),
        TEST(mistakes_are_told_with_file_line_and_key),
        TEST(bytes_that_are_no_time_zone_are_refused),
        TEST(each_threshold_alerts_once_and_resolves_when_the_window_rolls),
        TEST(a_file_that_is_read_again_keeps_sums_and_alerts_and_a_wrong_one_changes_nothing),
        TEST(no_booking_is_missed_or_counted_twice_while_the_file_is_read_again),
        TEST(the_budget_that_has_least_left_binds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
