/* Rules over a real store: what they record, when alerts go pending, fire and end, who is told, and what a restart, a failing store and a reload leave. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/stats.h"
#include "detectors/detectors_rule_test.h"
#include "detectors/detectors_rules.h"
#include "detectors/detectors_silences.h"
#include "detectors/helper_state.h"
#include "query/helper_slo.h"
#include "query/query.h"
#include "tsdb/files.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define T0_MS (INT64_C(29700000) * 60000 + 7000)
#define STEP_MS 15000

/* --- a program ------------------------------------------------------------------------------------ */

static struct {
    char dir[64], file[128];
    struct helper_slo *cells;
    struct query_slo_source source;
    struct helper_state *state;
    struct detectors_store store;
    struct detectors_receiver receiver;
    struct tsdb *db;
    struct detectors *d;
    struct detectors_rules *r;
    uint32_t mutate;
    const char *paths[1];
    _Atomic int64_t now_ms;
} t;

static int64_t wall(void)
{
    return t.now_ms * 1000000;
}

static void program_start(void)
{
    struct buf errors = {0};
    struct detectors_options o = {.db = t.db,
                                  .receivers = &t.receiver,
                                  .receiver_count = 1,
                                  .mutate = t.mutate,
                                  .store = &t.store,
                                  .source = &t.source};
    t.paths[0] = t.file;
    if (detectors_new(&o, &t.d, &errors) != ERR_OK)
        fail_msg("%.*s", (int)errors.size, (const char *)errors.data);
    struct detectors_rules_options r = {
        .db = t.db, .detectors = t.d, .paths = t.paths, .path_count = 1};
    if (detectors_rules_new(&r, &t.r, &errors) != ERR_OK)
        fail_msg("%.*s", (int)errors.size, (const char *)errors.data);
    buf_done(&errors);
}

static void program_stop(void)
{
    detectors_rules_free(t.r);
    detectors_free(t.d);
    t.r = NULL;
    t.d = NULL;
}

static void rules_are(const char *text)
{
    FILE *f = fopen(t.file, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int setup(void **state)
{
    struct err_msg msg = {""};
    memset(&t, 0, sizeof(t));
    t.now_ms = T0_MS;
    clock_test_set_wall(wall);
    /* Memory where there is some: every evaluation waits for the disk. */
    snprintf(t.dir, sizeof(t.dir), "%s/telltale-rules-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(t.dir));
    /* When a group is due follows from its file's name: a relative one is the same in each run. */
    assert_int_equal(chdir(t.dir), 0);
    snprintf(t.file, sizeof(t.file), "rules.yml");
    char data[128];
    snprintf(data, sizeof(data), "%s/data", t.dir);
    struct tsdb_options o = {.dir = data, .memory_limit_bytes = 64 << 20};
    if (tsdb_open(&o, &t.db, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    t.cells = helper_slo_new();
    t.source = helper_slo_source(t.cells);
    t.state = helper_state_new();
    t.store = helper_state_store(t.state);
    t.receiver = (struct detectors_receiver){
        .name = "hook", .url = "http://127.0.0.1:9/", .allow_private = true};
    return 0;
}

static int teardown(void **state)
{
    program_stop();
    tsdb_close(t.db, false);
    helper_slo_free(t.cells);
    helper_state_free(t.state);
    clock_test_set_wall(NULL);
    assert_int_equal(chdir("/"), 0);
    files_remove_tree(t.dir);
    return 0;
}

/* A sample of name{job="JOB"} now. */
static void put(const char *name, const char *job, double value)
{
    struct tsdb_label l[] = {{BYTES_LIT("__name__"), bytes_str(name)},
                             {BYTES_LIT("job"), bytes_str(job)}};
    struct tsdb_batch *b = tsdb_batch_new(TSDB_ORG_DEFAULT, TSDB_SAMPLES, 1 << 20);
    struct tsdb_labels labels;
    struct tsdb_ref ref;
    struct tsdb_result result;
    assert_int_equal(tsdb_labels_build(l, 2, b->arena, &labels, NULL), ERR_OK);
    assert_int_equal(
        tsdb_registry_ref(tsdb_series(t.db), TSDB_ORG_DEFAULT, TSDB_SERIES_SAMPLES, labels, &ref),
        ERR_OK);
    assert_true(tsdb_batch_add_sample(b, ref, t.now_ms, value, 0));
    b->received = 1;
    assert_int_equal(tsdb_append_wait(t.db, b, &result), ERR_OK);
}

/* Time passes, quarter minute by quarter minute. up: its value, NAN: it is not sent. */
static enum err pass(unsigned steps, double up)
{
    enum err e = ERR_OK;
    for (unsigned i = 0; i < steps; i++) {
        t.now_ms += STEP_MS;
        if (!isnan(up) && i % 4 == 0)
            put("up", "api", up);
        enum err one = detectors_rules_evaluate(t.r, t.now_ms);
        e = e == ERR_OK ? one : e;
    }
    return e;
}

/* The value of an expression now, -1: it has none. */
static double value_of(const char *expr)
{
    struct tsdb_read_limits none = {0};
    struct query_limits limits = {0};
    struct tsdb_view *v;
    struct query_result q;
    struct err_msg msg = {""};
    struct arena *a = arena_new(0);
    assert_int_equal(tsdb_view_open(t.db, TSDB_ORG_DEFAULT, &none, &v), ERR_OK);
    struct query_source src = query_source_of_view(v);
    if (query_instant(&src, &limits, bytes_str(expr), t.now_ms, a, &q, &msg) != ERR_OK)
        fail_msg("%s: %s", expr, msg.text);
    double out = q.count && q.rows[0].count ? q.rows[0].value[0] : -1;
    tsdb_view_close(v);
    arena_free(a);
    return out;
}

static size_t alerts(enum detectors_state state)
{
    struct arena *a = arena_new(0);
    struct detectors_alert *list;
    size_t n = 0, hits = 0;
    assert_int_equal(detectors_alerts(t.d, a, &list, &n), ERR_OK);
    for (size_t i = 0; i < n; i++)
        hits += list[i].is_rule && list[i].state == state;
    arena_free(a);
    return hits;
}

/* Notifications of the event; their ids must be one. */
static size_t told(const char *event)
{
    struct arena *a = arena_new(0);
    struct detectors_outbox_row *rows;
    struct bytes id = BYTES_NONE;
    size_t n = 0, hits = 0;
    assert_int_equal(detectors_outbox(t.d, a, &rows, &n), ERR_OK);
    for (size_t i = 0; i < n; i++) {
        if (!bytes_equal_str(rows[i].event, event))
            continue;
        assert_true(!id.size || bytes_equal(id, rows[i].webhook_id));
        id = rows[i].webhook_id;
        hits++;
    }
    arena_free(a);
    return hits;
}

static bool was_sent(const char *words)
{
    struct arena *a = arena_new(0);
    struct detectors_outbox_row *rows;
    size_t n = 0;
    bool found = false;
    assert_int_equal(detectors_outbox(t.d, a, &rows, &n), ERR_OK);
    for (size_t i = 0; i < n; i++)
        found = found || bytes_find(rows[i].body, bytes_str(words)) < rows[i].body.size;
    arena_free(a);
    return found;
}

static const char *const down = "groups:\n"
                                "- name: g\n"
                                "  interval: 1m\n"
                                "  rules:\n"
                                "  - alert: Down\n"
                                "    expr: up == 0\n"
                                "    for: 3m\n"
                                "    labels: {severity: page, service: '{{ $labels.job }}'}\n"
                                "    annotations: {summary: '{{ $labels.job }} is {{ $value }}'}\n";

/* --- alerts --------------------------------------------------------------------------------------- */

static void an_alert_waits_for_its_time_fires_once_and_is_taken_back(void **state)
{
    rules_are(down);
    program_start();
    assert_int_equal(pass(8, 1), ERR_OK);
    assert_int_equal(alerts(DETECTORS_PENDING), 0);
    assert_int_equal(pass(8, 0), ERR_OK); /* two minutes */
    assert_int_equal(alerts(DETECTORS_PENDING), 1);
    assert_int_equal(told("firing"), 0);
    assert_float_equal(value_of("ALERTS{alertname=\"Down\",alertstate=\"pending\"}"), 1, 0);
    assert_int_equal(pass(12, 0), ERR_OK);
    assert_int_equal(alerts(DETECTORS_FIRING), 1);
    assert_int_equal(told("firing"), 1);
    assert_true(was_sent("\"alertname\":\"Down\",\"job\":\"api\",\"service\":\"api\",\"severity\":"
                         "\"page\""));
    assert_true(was_sent("\"summary\":\"api is 0\""));
    assert_float_equal(value_of("ALERTS{alertname=\"Down\",alertstate=\"firing\"}"), 1, 0);
    assert_float_equal(value_of("ALERTS{alertname=\"Down\",alertstate=\"pending\"}"), -1, 0);
    assert_true(value_of("time() - ALERTS_FOR_STATE{alertname=\"Down\"}") >= 180);
    assert_int_equal(pass(8, 1), ERR_OK);
    assert_int_equal(alerts(DETECTORS_FIRING), 0);
    assert_int_equal(alerts(DETECTORS_RESOLVED), 1);
    assert_int_equal(told("firing"), 1);
    assert_int_equal(told("resolved"), 1);
    assert_float_equal(value_of("ALERTS"), -1,
                       0); /* ended by a stale marker, not by the lookback */
    assert_int_equal(pass(80, 1), ERR_OK);
    assert_int_equal(alerts(DETECTORS_RESOLVED), 0); /* forgotten after a quarter of an hour */
    assert_int_equal(helper_state_count(t.state, "rule_alerts"), 0);
}

static void a_restart_keeps_the_time_that_an_alert_has_waited_and_tells_nobody_again(void **state)
{
    rules_are(down);
    program_start();
    pass(4, 1);
    pass(8, 0);
    assert_int_equal(alerts(DETECTORS_PENDING), 1);
    program_stop();
    program_start();
    assert_int_equal(alerts(DETECTORS_PENDING), 1);
    pass(11, 0); /* less than three minutes more: without those of before it would wait still */
    assert_int_equal(alerts(DETECTORS_FIRING), 1);
    assert_int_equal(told("firing"), 1);
    program_stop();
    program_start();
    pass(8, 0);
    assert_int_equal(alerts(DETECTORS_FIRING), 1);
    assert_int_equal(told("firing"), 1);
    assert_int_equal(told("resolved"), 0);
}

static void an_alert_waits_for_its_series_to_come_back_after_a_start(void **state)
{
    rules_are(down);
    program_start();
    pass(20, 0);
    assert_int_equal(alerts(DETECTORS_FIRING), 1);
    program_stop();
    t.now_ms += 10 * 60000; /* longer than the lookback */
    program_start();
    pass(3, NAN); /* three quarters of a minute: nobody has sent yet */
    assert_int_equal(alerts(DETECTORS_FIRING), 1);
    pass(8, 0);
    assert_int_equal(alerts(DETECTORS_FIRING), 1);
    assert_int_equal(told("firing"), 1);
    assert_int_equal(told("resolved"), 0);
    pass(40, NAN);
    assert_int_equal(told("resolved"), 1);
}

/* The n-th write fails while an alert waits and fires. How many were told that it fires; whether a write failed at all. */
static size_t told_past_a_failing_write(unsigned n, bool *out_has_failed)
{
    rules_are(down);
    program_start();
    helper_state_fail_at(t.state, n);
    pass(28, 0);
    *out_has_failed = helper_state_has_failed(t.state);
    helper_state_fail_at(t.state, 0);
    program_stop();
    program_start();
    pass(8, 0);
    assert_int_equal(alerts(DETECTORS_FIRING), 1);
    return told("firing");
}

static void a_store_that_fails_at_any_write_loses_no_alert_and_sends_none_twice(void **state)
{
    bool has_failed = true;
    for (unsigned at = 1; has_failed; at++) {
        if (at > 1)
            setup(NULL);
        assert_int_equal(told_past_a_failing_write(at, &has_failed), 1);
        pass(12, 1);
        assert_int_equal(told("firing"), 1);
        assert_int_equal(told("resolved"), 1);
        assert_true(has_failed || at > 6);
        if (has_failed)
            teardown(NULL);
    }
}

static void states_that_are_committed_before_their_notifications_are_seen_to_lose_one(void **state)
{
    bool has_failed = true, has_lost = false;
    for (unsigned at = 1; has_failed && !has_lost; at++) {
        if (at > 1)
            setup(NULL);
        t.mutate = DETECTORS_MUTATE_SPLIT_TXN;
        has_lost = told_past_a_failing_write(at, &has_failed) == 0;
        if (has_failed && !has_lost)
            teardown(NULL);
    }
    assert_true(has_lost);
}

static void a_rule_that_is_silenced_tells_nobody_until_the_silence_ends(void **state)
{
    char id[DETECTORS_SILENCE_ID_MAX];
    struct err_msg msg;
    struct detectors_silence s = {.starts_ms = t.now_ms,
                                  .ends_ms = t.now_ms + 3600000,
                                  .author = BYTES_LIT("ann"),
                                  .comment = BYTES_LIT("known"),
                                  .matcher_count = 1};
    s.matchers[0] =
        (struct detectors_matcher){DETECTORS_MATCH_EQ, BYTES_LIT("alertname"), BYTES_LIT("Down")};
    rules_are(down);
    program_start();
    assert_int_equal(detectors_silence_put(t.d, &s, id, &msg), ERR_OK);
    pass(20, 0);
    assert_int_equal(alerts(DETECTORS_FIRING), 1);
    assert_int_equal(told("firing"), 0);
    program_stop();
    program_start(); /* the silence is there, and so is the alert that was not told */
    pass(4, 0);
    assert_int_equal(told("firing"), 0);
    assert_int_equal(detectors_silence_expire(t.d, bytes_str(id), &msg), ERR_OK);
    pass(4, 0);
    assert_int_equal(told("firing"), 1);
}

static void keep_firing_for_bridges_a_gap(void **state)
{
    rules_are("groups:\n- name: g\n  rules:\n  - {alert: Down, expr: 'up == 0', "
              "keep_firing_for: 4m}\n");
    program_start();
    pass(8, 0);
    assert_int_equal(alerts(DETECTORS_FIRING), 1);
    pass(8, 1);
    assert_int_equal(alerts(DETECTORS_FIRING), 1);
    pass(8, 0);
    pass(12, 1);
    assert_int_equal(alerts(DETECTORS_FIRING), 1);
    assert_int_equal(told("resolved"), 0);
    pass(12, 1);
    assert_int_equal(told("firing"), 1);
    assert_int_equal(told("resolved"), 1);
}

/* --- recording ------------------------------------------------------------------------------------- */

static void rules_of_a_group_see_what_the_ones_before_them_recorded(void **state)
{
    rules_are("groups:\n- name: g\n  interval: 1m\n  rules:\n"
              "  - {record: 'job:up:sum', expr: 'sum by (job) (up)', labels: {level: first}}\n"
              "  - {record: 'up:twice', expr: 'job:up:sum * 2'}\n"
              "  - {alert: Twice, expr: 'up:twice > 5'}\n");
    program_start();
    pass(8, 3);
    assert_float_equal(value_of("job:up:sum{job=\"api\",level=\"first\"}"), 3, 0);
    assert_float_equal(value_of("up:twice{job=\"api\",level=\"first\"}"), 6, 0);
    assert_int_equal(alerts(DETECTORS_FIRING), 1);
    pass(28, NAN); /* past the lookback of up */
    assert_float_equal(value_of("up:twice"), -1, 0);
}

static void evaluations_that_a_stop_has_missed_are_made_up_for(void **state)
{
    rules_are("groups:\n- name: g\n  interval: 1m\n  rules:\n"
              "  - {record: 'r', expr: 'max(up)'}\n");
    program_start();
    pass(16, 1);
    double before = value_of("count_over_time(r[30m])");
    program_stop();
    for (unsigned i = 0; i < 40;
         i++) { /* ten minutes: a sender that keeps what it could not send */
        t.now_ms += STEP_MS;
        put("up", "api", 5);
    }
    program_start();
    pass(4, 1);
    assert_float_equal(value_of("count_over_time(r[30m])"), before + 11, 0);
    assert_float_equal(value_of("max_over_time(r[10m])"), 5, 0);
    program_stop();
    t.now_ms += INT64_C(5) * 3600000; /* bounded: an hour, sixty evaluations */
    program_start();
    int64_t made = stats_sum("telltale_rule_evaluations_caught_up_total");
    pass(4, 1);
    assert_true(stats_sum("telltale_rule_evaluations_caught_up_total") - made <= 61);
}

static void a_rule_that_fails_says_why_and_the_others_go_on(void **state)
{
    rules_are(
        "groups:\n- name: g\n  limit: 1\n  rules:\n"
        "  - {record: 'many', expr: 'label_replace(up, \"x\", \"1\", \"\", \"\") or vector(1)'}\n"
        "  - {record: 'fine', expr: 'sum(up)'}\n");
    program_start();
    pass(8, 1);
    struct arena *a = arena_new(0);
    struct detectors_prom_group *groups;
    size_t n = 0;
    assert_int_equal(detectors_rules(t.d, a, &groups, &n), ERR_OK);
    const struct detectors_prom_group *g = &groups[n - 1];
    assert_true(bytes_equal_str(g->name, "g"));
    assert_int_equal(g->rule_count, 2);
    assert_string_equal(g->rules[0].health, "err");
    assert_true(bytes_equal_str(g->rules[0].last_error, "exceeded limit of 1 with 2 series"));
    assert_string_equal(g->rules[1].health, "ok");
    arena_free(a);
    assert_float_equal(value_of("many"), -1, 0);
    assert_float_equal(value_of("fine"), 1, 0);
    struct buf page = {0};
    detectors_rules_metrics(t.r, &page);
    assert_true(bytes_find(buf_bytes(&page),
                           BYTES_LIT("prometheus_rule_evaluation_failures_total{rule_group=\"")) <
                page.size);
    buf_done(&page);
}

/* --- reading again ---------------------------------------------------------------------------------- */

static enum err reload(struct buf *errors)
{
    buf_clear(errors);
    return detectors_rules_reload(t.r, errors);
}

static void a_reload_keeps_what_is_pending_and_takes_back_what_is_gone(void **state)
{
    struct buf errors = {0};
    char text[2048];
    rules_are(down);
    program_start();
    pass(8, 0);
    assert_int_equal(alerts(DETECTORS_PENDING), 1);
    snprintf(text, sizeof(text), "%s  - {record: more, expr: 'up + 1'}\n", down);
    rules_are(text);
    assert_int_equal(reload(&errors), ERR_OK);
    assert_int_equal(alerts(DETECTORS_PENDING), 1);
    pass(11, 0);
    assert_int_equal(alerts(DETECTORS_FIRING), 1);
    rules_are("groups: [{name: g, rules: [{record: x, expr: 'up ='}]}]\n");
    assert_int_equal(reload(&errors), ERR_INVALID);
    assert_true(bytes_find(buf_bytes(&errors), BYTES_LIT("rules.yml:1: group \"g\", rule 1 \"x\", "
                                                         "could not parse expression: 1:4")) <
                errors.size);
    pass(4, 0);
    assert_int_equal(alerts(DETECTORS_FIRING), 1); /* those of before are there still */
    assert_float_equal(value_of("more"), 1, 0);
    rules_are("groups: [{name: g, rules: [{record: x, expr: 'up'}]}]\n");
    assert_int_equal(reload(&errors), ERR_OK);
    pass(4, 0);
    assert_int_equal(told("resolved"), 1);
    assert_int_equal(helper_state_count(t.state, "rule_alerts"), 0);
    assert_float_equal(value_of("ALERTS"), -1, 0);
    assert_float_equal(value_of("more"), -1, 0);
    buf_done(&errors);
}

/* --- files and templates ----------------------------------------------------------------------------- */

static void mistakes_name_file_line_group_rule_and_what_would_be_valid(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"groups:\n- name: g\n  rules:\n  - {record: a, alert: b, expr: up}\n",
         "rules.yml:4: group \"g\", rule 1 \"b\", only one of 'record' and 'alert' must be set"},
        {"groups:\n- name: g\n  rules:\n  - {expr: up}\n",
         "rules.yml:4: group \"g\", rule 1, one of 'record' or 'alert' must be set"},
        {"groups:\n- name: g\n  rules:\n  - {record: a, expr: up, for: 1m}\n",
         "invalid field 'for' in recording rule"},
        {"groups:\n- name: g\n  rules:\n  - {record: 'a{b}', expr: up}\n",
         "invalid recording rule name: a{b}"},
        {"groups:\n- name: g\n  rules:\n  - {record: a, expr: '\"x\"'}\n", "expr: gives a string"},
        {"groups:\n- name: g\n- name: g\n", "groupname: \"g\" is repeated in the same file"},
        {"groups:\n- rules: []\n", "Groupname must not be empty"},
        {"groups:\n- name: g\n  interval: 5\n", "interval: must be a duration such as 30s"},
        {"groups:\n- name: g\n  every: 5s\n",
         "every: unknown; known are name, interval, limit, query_offset, labels and rules"},
        {"groups:\n- name: g\n  rules:\n  - {alert: a, expr: up, labels: {__name__: x}}\n",
         "labels: \"__name__\" is no valid name"},
        {"groups:\n- name: g\n  rules:\n  - alert: a\n    expr: up\n    annotations:\n"
         "      text: 'x {{ $value | humanise }}'\n",
         "rules.yml:7: group \"g\", rule 1 \"a\", annotations: text: template: 1:15: function "
         "\"humanise\" not defined"},
        {"[1]\n", "must be a map with groups"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf errors = {0};
        const char *path = t.file;
        rules_are(cases[i].text);
        assert_int_equal(detectors_rules_check(&path, 1, NULL, NULL, &errors), ERR_INVALID);
        if (bytes_find(buf_bytes(&errors), bytes_str(cases[i].says)) == errors.size)
            fail_msg("%s\nsays: %.*s", cases[i].says, (int)errors.size, (const char *)errors.data);
        buf_done(&errors);
    }
}

static void directories_and_patterns_name_rule_files(void **state)
{
    struct buf errors = {0};
    const char *paths[] = {"ru*.yml", t.file, t.dir};
    uint32_t groups = 0, rules = 0;
    rules_are(down);
    assert_int_equal(detectors_rules_check(paths + 2, 1, &groups, &rules, &errors), ERR_OK);
    assert_int_equal(groups, 1);
    /* The same file by two names: read once. */
    assert_int_equal(detectors_rules_check(paths, 2, &groups, &rules, &errors), ERR_OK);
    assert_int_equal(groups, 1);
    assert_int_equal(rules, 1);
    paths[0] = "/nowhere/rules.yml";
    assert_int_equal(detectors_rules_check(paths, 1, NULL, NULL, &errors), ERR_INVALID);
    paths[0] = "/nowhere/*.yml";
    assert_int_equal(detectors_rules_check(paths, 1, &groups, NULL, &errors), ERR_OK);
    assert_int_equal(groups, 0);
    buf_done(&errors);
}

static void tests_of_rules_pass_and_fail_as_promtools_do(void **state)
{
    struct buf out = {0};
    char path[512], test[2048];
    snprintf(path, sizeof(path), "%s/rules/web_test.yml", getenv("TELLTALE_FIXTURES"));
    enum err e = detectors_rule_test_run(path, &out);
    if (e != ERR_OK)
        fail_msg("%.*s", (int)out.size, (const char *)out.data);
    rules_are(down);
    snprintf(path, sizeof(path), "%s/test.yml", t.dir);
    snprintf(
        test, sizeof(test),
        "rule_files: [rules.yml]\ntests:\n- input_series: [{series: 'up{job=\"api\"}', values: "
        "'0x10'}]\n  interval: 1m\n  alert_rule_test:\n  - {eval_time: 3m, alertname: Down}\n"
        "  promql_expr_test:\n  - {expr: up, eval_time: 1m, exp_samples: [{labels: "
        "'up{job=\"api\"}', value: 1}]}\n");
    FILE *f = fopen(path, "w");
    fputs(test, f);
    fclose(f);
    buf_clear(&out);
    assert_int_equal(detectors_rule_test_run(path, &out), ERR_EXECUTION);
    assert_true(bytes_find(buf_bytes(&out),
                           BYTES_LIT("    alertname: Down, time: 3m, \n        exp:[], \n        "
                                     "got:[\n            0:\n              Labels:{alertname=")) <
                out.size);
    assert_true(bytes_find(buf_bytes(&out), BYTES_LIT("exp: {__name__=\"up\", job=\"api\"} 1E+00\n"
                                                      "        got: {__name__=\"up\", "
                                                      "job=\"api\"} 0E+00")) < out.size);
    unlink(path);
    buf_done(&out);
}

/* Writes the test file, runs it; what it said lives in the buffer. */
static enum err check_file(const char *text, struct buf *out)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/test.yml", t.dir);
    FILE *f = fopen(path, "w");
    fputs(text, f);
    fclose(f);
    buf_clear(out);
    enum err e = detectors_rule_test_run(path, out);
    unlink(path);
    buf_u8(out, 0);
    return e;
}

static void tests_of_rules_know_native_histograms(void **state)
{
    struct buf out = {0};
    rules_are("groups:\n- name: g\n  rules:\n  - {record: 'lat:sum', expr: 'sum(lat)'}\n"
              "  - {alert: Slow, expr: 'histogram_quantile(0.9, lat:sum) > 2'}\n");
#define LAT "  - {series: 'lat{i=\"1\"}', values: '"
    static const char head[] = "rule_files: [rules.yml]\ntests:\n- interval: 1m\n  input_series:\n";
    char text[2048];
    snprintf(text, sizeof(text),
             "%s" LAT "{{schema:0 count:3 sum:4 buckets:[1 2]}}+{{schema:0 count:1 sum:3 "
             "buckets:[0 1]}}x5'}\n"
             "  - {series: 'lat{i=\"2\"}', values: '{{count:1 sum:1 buckets:[1]}}x2 _ "
             "{{schema:0 count:5 sum:40 buckets:[5] offset:3}}'}\n"
             "  alert_rule_test:\n  - {eval_time: 0, alertname: Slow}\n"
             "  - {eval_time: 4m, alertname: Slow, exp_alerts: [{}]}\n"
             "  promql_expr_test:\n  - expr: lat:sum\n    eval_time: 2m\n    exp_samples:\n"
             "    - {labels: 'lat:sum', histogram: '{{schema:0 count:6 sum:11 buckets:[2 4]}}'}\n",
             head);
    if (check_file(text, &out) != ERR_OK)
        fail_msg("%s", (char *)out.data);
    /* one that differs says both */
    snprintf(text, sizeof(text),
             "%s" LAT "{{schema:0 count:3 sum:4 buckets:[1 2]}}'}\n  promql_expr_test:\n"
             "  - {expr: lat, eval_time: 0, exp_samples: [{labels: 'lat{i=\"1\"}', histogram: "
             "'{{schema:0 count:3 sum:5 buckets:[1 2]}}'}]}\n",
             head);
    assert_int_equal(check_file(text, &out), ERR_EXECUTION);
    assert_non_null(strstr((char *)out.data, "sum:5"));
    assert_non_null(strstr((char *)out.data, "got: {__name__=\"lat\", i=\"1\"} {count:3, sum:4"));
    static const char *const wrong[] = {"{{schema:9}}",
                                        "{{count:x}}",
                                        "{{buckets:[1 2}}",
                                        "{{count:1",
                                        "{{nope:1}}",
                                        "{{custom_values:[1 2]}}",
                                        "{{schema:-53 custom_values:[2 1]}}",
                                        "{{count:1}}+{{count:1}}",
                                        "{{count:1}}y"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        snprintf(text, sizeof(text), "%s" LAT "%s'}\n", head, wrong[i]);
        if (check_file(text, &out) != ERR_INVALID)
            fail_msg("%s: %s", wrong[i], (char *)out.data);
        assert_non_null(strstr((char *)out.data, "input_series: "));
    }
    buf_done(&out);
}

int main(void)
{
#define RULES_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        RULES_TEST(an_alert_waits_for_its_time_fires_once_and_is_taken_back),
        RULES_TEST(a_restart_keeps_the_time_that_an_alert_has_waited_and_tells_nobody_again),
        RULES_TEST(an_alert_waits_for_its_series_to_come_back_after_a_start),
        RULES_TEST(a_store_that_fails_at_any_write_loses_no_alert_and_sends_none_twice),
        RULES_TEST(states_that_are_committed_before_their_notifications_are_seen_to_lose_one),
        RULES_TEST(a_rule_that_is_silenced_tells_nobody_until_the_silence_ends),
        RULES_TEST(keep_firing_for_bridges_a_gap),
        RULES_TEST(rules_of_a_group_see_what_the_ones_before_them_recorded),
        RULES_TEST(evaluations_that_a_stop_has_missed_are_made_up_for),
        RULES_TEST(a_rule_that_fails_says_why_and_the_others_go_on),
        RULES_TEST(a_reload_keeps_what_is_pending_and_takes_back_what_is_gone),
        RULES_TEST(mistakes_name_file_line_group_rule_and_what_would_be_valid),
        RULES_TEST(directories_and_patterns_name_rule_files),
        RULES_TEST(tests_of_rules_pass_and_fail_as_promtools_do),
        RULES_TEST(tests_of_rules_know_native_histograms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
