/* Silences and maintenance windows: what they hold back, what they never do, and that none is lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/check.h"
#include "base/clock.h"
#include "detectors/detectors_silences.h"
#include "detectors/helper_burning.h"
#include "detectors/helper_state.h"
#include "detectors/silence.h"
#include "detectors/silences.h"
#include "query/helper_slo.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MINUTE INT64_C(60000)
#define DAY (1440 * MINUTE)

/* --- an objective that burns, and nobody who delivers -------------------------------------------- */

static void rig_begin(struct helper_burning *r)
{
    int fd = helper_burning_begin(r);
    r->receiver_count = 1;
    r->receivers[0] = (struct detectors_receiver){.name = "hook", .url = "http://127.0.0.1:1/"};
    helper_burning_document(fd, "answers", "checkout", "availability-request");
    helper_burning_document(fd, "cut", "checkout", "truncation");
    close(fd);
    helper_burning_traffic(r, 0);
    helper_burning_open(r);
}

static void evaluate(struct helper_burning *r, int64_t now_ms)
{
    assert_int_equal(detectors_evaluate(r->d, now_ms), ERR_OK);
}

/* Notifications of this event, "" = all. */
static size_t told(struct helper_burning *r, const char *event)
{
    struct arena *a = arena_new(0);
    struct detectors_outbox_row *rows;
    size_t n, hits = 0;
    assert_int_equal(detectors_outbox(r->d, a, &rows, &n), ERR_OK);
    for (size_t i = 0; i < n; i++)
        hits += !*event || bytes_equal_str(rows[i].event, event);
    arena_free(a);
    return hits;
}

/* How many fire, and how many of those an active silence covers. */
static void count_alerts(struct helper_burning *r, size_t *firing, size_t *silenced)
{
    struct arena *a = arena_new(0);
    struct detectors_alert *rows;
    struct detectors_silence *list;
    size_t n, k;
    uint32_t at[4];
    assert_int_equal(detectors_alerts(r->d, a, &rows, &n), ERR_OK);
    assert_int_equal(detectors_silences(r->d, a, &list, &k), ERR_OK);
    *firing = *silenced = 0;
    for (size_t i = 0; i < n; i++) {
        *firing += rows[i].state == DETECTORS_FIRING;
        *silenced += rows[i].state == DETECTORS_FIRING &&
                     detectors_silences_of(list, k, rows[i].labels, rows[i].label_count,
                                           clock_wall_ms(), at, 4) > 0;
    }
    arena_free(a);
}

static struct detectors_silence silence(const char *name, enum detectors_match op,
                                        const char *value, int64_t ms)
{
    int64_t now = clock_wall_ms();
    struct detectors_silence s = {.starts_ms = now,
                                  .ends_ms = now + ms,
                                  .author = BYTES_LIT("ann@example.com"),
                                  .comment = BYTES_LIT("known, being worked on"),
                                  .matcher_count = 1};
    s.matchers[0] = (struct detectors_matcher){op, bytes_str(name), bytes_str(value)};
    return s;
}

static void put(struct helper_burning *r, const struct detectors_silence *s,
                char id[DETECTORS_SILENCE_ID_MAX])
{
    struct err_msg msg = {""};
    if (detectors_silence_put(r->d, s, id, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
}

/* --- tests --------------------------------------------------------------------------------------- */

static void a_silenced_alert_fires_and_tells_nobody_until_the_silence_ends(void **state)
{
    (void)state;
    struct helper_burning r;
    struct err_msg msg;
    char id[DETECTORS_SILENCE_ID_MAX];
    size_t firing, silenced;
    struct detectors_silence s = silence("team", DETECTORS_MATCH_RE, "pay|ship", 60 * MINUTE);
    int64_t now = clock_wall_ms();
    rig_begin(&r);
    put(&r, &s, id);
    evaluate(&r, now);
    count_alerts(&r, &firing, &silenced);
    assert_true(firing >= 1);
    assert_int_equal(silenced, firing);
    assert_int_equal(told(&r, ""), 0);
    evaluate(&r, now + 1000);
    helper_burning_again(&r); /* as after kill -9: the alert and the silence are both there */
    evaluate(&r, now + 2000);
    assert_int_equal(told(&r, ""), 0);
    assert_int_equal(detectors_silence_expire(r.d, bytes_str(id), &msg), ERR_OK);
    evaluate(&r, now + 3000);
    assert_int_equal(told(&r, "firing"), 1);
    evaluate(&r, now + 4000);
    assert_int_equal(told(&r, ""), 1);
    assert_int_equal(detectors_silence_expire(r.d, bytes_str(id), &msg), ERR_CONFLICT);
    assert_int_equal(detectors_silence_expire(r.d, BYTES_LIT("nobody"), &msg), ERR_NOT_FOUND);
    helper_burning_end(&r);
}

static void a_silence_of_something_else_mutes_nothing(void **state)
{
    (void)state;
    struct helper_burning r;
    char id[DETECTORS_SILENCE_ID_MAX];
    struct detectors_silence s = silence("service", DETECTORS_MATCH_EQ, "billing", MINUTE),
                             later = silence("service", DETECTORS_MATCH_EQ, "checkout", MINUTE);
    later.starts_ms += 30000;
    later.ends_ms += 60000;
    rig_begin(&r);
    put(&r, &s, id);
    put(&r, &later, id); /* not yet */
    evaluate(&r, clock_wall_ms());
    assert_int_equal(told(&r, "firing"), 1);
    helper_burning_end(&r);
}

static void who_knows_that_it_fired_hears_that_it_is_over(void **state)
{
    (void)state;
    struct helper_burning r;
    char id[DETECTORS_SILENCE_ID_MAX];
    int64_t now = clock_wall_ms();
    struct detectors_silence s = silence("service", DETECTORS_MATCH_EQ, "checkout", DAY);
    rig_begin(&r);
    r.receivers[0].repeat_ms = MINUTE;
    evaluate(&r, now);
    assert_int_equal(told(&r, "firing"), 1);
    put(&r, &s, id);
    evaluate(&r, now + 2 * MINUTE);
    assert_int_equal(told(&r, ""), 1); /* no repetition */
    uint32_t to = (uint32_t)((now - QUERY_SLO_DELAY_MS) / 60000);
    for (uint32_t m = to + 1; m < to + 120; m++) {
        helper_slo_request(r.cells, "checkout", "claude", "us", "ok", "", m, 100);
        evaluate(&r, ((int64_t)m + 1) * MINUTE + QUERY_SLO_DELAY_MS);
    }
    assert_int_equal(told(&r, "resolved"), 1);
    helper_burning_end(&r);
}

/* Each write fails once: a silence that was refused is nowhere, one that was taken is there for the next process. */
static void a_silence_is_kept_or_refused_at_every_write(void **state)
{
    (void)state;
    struct helper_burning r;
    rig_begin(&r);
    unsigned taken = 0;
    for (unsigned n = 1; n < 8; n++) {
        struct detectors_silence s = silence("service", DETECTORS_MATCH_EQ, "checkout", DAY);
        char id[DETECTORS_SILENCE_ID_MAX];
        struct err_msg msg;
        struct arena *a = arena_new(0);
        struct detectors_silence *list;
        size_t before, after;
        assert_int_equal(detectors_silences(r.d, a, &list, &before), ERR_OK);
        helper_state_fail_at(r.state, n);
        enum err e = detectors_silence_put(r.d, &s, id, &msg);
        helper_state_fail_at(r.state, 0);
        for (int restart = 0; restart < 2; restart++) {
            assert_int_equal(detectors_silences(r.d, a, &list, &after), ERR_OK);
            assert_int_equal(after, before + (e == ERR_OK));
            helper_burning_again(&r);
        }
        assert_int_equal(helper_state_count(r.state, "silences"), after);
        taken += e == ERR_OK;
        arena_free(a);
    }
    assert_true(taken >= 3 && taken < 7);
    helper_burning_end(&r);
}

static void mistakes_are_named(void **state)
{
    (void)state;
    struct helper_burning r;
    struct err_msg msg;
    char id[DETECTORS_SILENCE_ID_MAX];
    rig_begin(&r);
    struct detectors_silence good = silence("slo", DETECTORS_MATCH_EQ, "x", MINUTE), s;
#define REFUSED(change, word)                                                    \
    do {                                                                         \
        s = good;                                                                \
        change;                                                                  \
        assert_int_equal(detectors_silence_put(r.d, &s, id, &msg), ERR_INVALID); \
        assert_non_null(strstr(msg.text, word));                                 \
    } while (0)
    REFUSED(s.ends_ms = s.starts_ms + 30 * DAY + MINUTE, "30 days");
    REFUSED(s.ends_ms = s.starts_ms, "endsAt");
    REFUSED((s.starts_ms -= DAY, s.ends_ms -= DAY), "endsAt");
    REFUSED(s.author = BYTES_NONE, "createdBy");
    REFUSED(s.comment = BYTES_NONE, "comment");
    REFUSED(s.matcher_count = 0, "matchers");
    REFUSED(s.matchers[0].name = BYTES_NONE, "matchers");
    REFUSED((s.matchers[0].op = DETECTORS_MATCH_RE, s.matchers[0].value = BYTES_LIT("(")),
            "matchers: slo");
    REFUSED((s.matchers[0].op = DETECTORS_MATCH_RE, s.matchers[0].value = BYTES_LIT(".*")),
            "empty value");
    REFUSED(s.matchers[0].op = DETECTORS_MATCH_NE, "empty value");
    s = good;
    memcpy(s.id, "00000000-0000-4000-8000-000000000000", sizeof(s.id));
    assert_int_equal(detectors_silence_put(r.d, &s, id, &msg), ERR_NOT_FOUND);
    assert_int_equal(helper_state_count(r.state, "silences"), 0);
    helper_burning_end(&r);
}

static void a_changed_silence_keeps_its_id_only_if_it_covers_the_same(void **state)
{
    (void)state;
    struct helper_burning r;
    char first[DETECTORS_SILENCE_ID_MAX], second[DETECTORS_SILENCE_ID_MAX];
    struct detectors_silence s = silence("slo", DETECTORS_MATCH_EQ, "x", MINUTE), *list;
    struct arena *a = arena_new(0);
    size_t n;
    rig_begin(&r);
    put(&r, &s, first);
    assert_int_equal(detectors_silences(r.d, a, &list, &n), ERR_OK);
    s = list[0];
    s.ends_ms += MINUTE;
    put(&r, &s, second);
    assert_string_equal(first, second);
    s.matchers[0].value = BYTES_LIT("y");
    put(&r, &s, second);
    assert_string_not_equal(first, second);
    assert_int_equal(detectors_silences(r.d, a, &list, &n), ERR_OK);
    assert_int_equal(n, 2);
    int64_t now = clock_wall_ms();
    for (size_t i = 0; i < n; i++)
        assert_int_equal(detectors_silence_state_at(&list[i], now), strcmp(list[i].id, first) == 0
                                                                        ? DETECTORS_SILENCE_EXPIRED
                                                                        : DETECTORS_SILENCE_ACTIVE);
    arena_free(a);
    helper_burning_end(&r);
}

static void a_window_is_short_and_never_covers_outages_or_safety(void **state)
{
    (void)state;
    struct helper_burning r;
    struct err_msg msg;
    char id[DETECTORS_SILENCE_ID_MAX];
    int64_t now = clock_wall_ms();
    struct detectors_window good = {.slo = BYTES_LIT("cut"),
                                    .author = BYTES_LIT("ann"),
                                    .comment = BYTES_LIT("deploy"),
                                    .starts_ms = now,
                                    .ends_ms = now + 30 * MINUTE},
                            w = good;
    rig_begin(&r);
    assert_int_equal(detectors_window_put(r.d, &w, id, &msg), ERR_OK);
    w.ends_ms += 2 * MINUTE;
    assert_int_equal(detectors_window_put(r.d, &w, id, &msg), ERR_INVALID);
    assert_non_null(strstr(msg.text, "30 minutes"));
    w = good;
    w.slo = BYTES_LIT("answers");
    assert_int_equal(detectors_window_put(r.d, &w, id, &msg), ERR_FORBIDDEN);
    w.slo = BYTES_LIT("unknown");
    assert_int_equal(detectors_window_put(r.d, &w, id, &msg), ERR_NOT_FOUND);
    w = good;
    w.rule = BYTES_LIT("no-data");
    assert_int_equal(detectors_window_put(r.d, &w, id, &msg), ERR_FORBIDDEN);
    w.rule = BYTES_LIT("unknown");
    assert_int_equal(detectors_window_put(r.d, &w, id, &msg), ERR_NOT_FOUND);
    w = good;
    w.slo = BYTES_NONE;
    assert_int_equal(detectors_window_put(r.d, &w, id, &msg), ERR_INVALID);
    w.alertname = BYTES_LIT("NoSuchRule");
    assert_int_equal(detectors_window_put(r.d, &w, id, &msg), ERR_NOT_FOUND);
    /* Not even where its matchers would: a label says what it is about. */
    struct detectors_silence s = silence("alertname", DETECTORS_MATCH_EQ, "Leak", MINUTE);
    struct query_slo_pair labels[] = {{BYTES_LIT("alertname"), BYTES_LIT("Leak")},
                                      {BYTES_LIT("kind"), BYTES_LIT("leak")}};
    assert_true(silence_covers(&s, labels, 2));
    s.is_window = true;
    assert_false(silence_covers(&s, labels, 2));
    assert_true(silence_covers(&s, labels, 1));
    evaluate(&r, now);
    assert_int_equal(told(&r, "firing"), 1); /* of the outage, though something else is muted */
    helper_burning_end(&r);
}

static void matchers_are_read_as_amtool_writes_them(void **state)
{
    (void)state;
    static const struct {
        const char *text, *name, *value;
        enum detectors_match op;
    } good[] = {{"a=b", "a", "b", DETECTORS_MATCH_EQ},
                {" alertname = \"x y\" ", "alertname", "x y", DETECTORS_MATCH_EQ},
                {"a!=b", "a", "b", DETECTORS_MATCH_NE},
                {"a=~\"b|c\"", "a", "b|c", DETECTORS_MATCH_RE},
                {"a!~b.*", "a", "b.*", DETECTORS_MATCH_NRE},
                {"a=\"q\\\"\\\\\\n\"", "a", "q\"\\\n", DETECTORS_MATCH_EQ},
                {"a=", "a", "", DETECTORS_MATCH_EQ}};
    static const char *const bad[] = {"",      "a",        "=b",   "a~b",
                                      "a=\"b", "a=\"b\"c", "a=~(", "a=\"\\x\""};
    struct arena *a = arena_new(0);
    struct detectors_matcher m;
    struct err_msg msg;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_int_equal(detectors_matcher_parse(bytes_str(good[i].text), a, &m, &msg), ERR_OK);
        assert_int_equal(m.op, good[i].op);
        assert_true(bytes_equal_str(m.name, good[i].name));
        assert_true(bytes_equal_str(m.value, good[i].value));
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (detectors_matcher_parse(bytes_str(bad[i]), a, &m, &msg) != ERR_INVALID)
            fail_msg("%s was taken", bad[i]);
    struct query_slo_pair labels[] = {{BYTES_LIT("a"), BYTES_LIT("bc")}};
    m = (struct detectors_matcher){DETECTORS_MATCH_RE, BYTES_LIT("a"), BYTES_LIT("b")};
    assert_false(detectors_matcher_holds(&m, labels, 1)); /* of the whole value */
    m = (struct detectors_matcher){DETECTORS_MATCH_NRE, BYTES_LIT("z"), BYTES_LIT(".+")};
    assert_true(detectors_matcher_holds(&m, labels, 1)); /* absent is empty */
    arena_free(a);
}

static void a_row_reads_back_and_any_damage_is_refused(void **state)
{
    (void)state;
    struct detectors_silence s = silence("slo", DETECTORS_MATCH_NRE, "x.*", DAY), out;
    struct buf b, again;
    memcpy(s.id, "01234567-0123-4123-8123-0123456789ab", sizeof(s.id));
    s.is_window = true;
    buf_init(&b, 0);
    buf_init(&again, 0);
    silence_encode(&s, &b);
    assert_int_equal(silence_decode(buf_bytes(&b), &out), ERR_OK);
    silence_encode(&out, &again);
    assert_true(bytes_equal(buf_bytes(&b), buf_bytes(&again)));
    for (size_t n = 0; n < b.size; n++)
        assert_int_not_equal(silence_decode(bytes_of(b.data, n), &out), ERR_OK);
    buf_done(&b);
    buf_done(&again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_silenced_alert_fires_and_tells_nobody_until_the_silence_ends),
        cmocka_unit_test(a_silence_of_something_else_mutes_nothing),
        cmocka_unit_test(who_knows_that_it_fired_hears_that_it_is_over),
        cmocka_unit_test(a_silence_is_kept_or_refused_at_every_write),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(a_changed_silence_keeps_its_id_only_if_it_covers_the_same),
        cmocka_unit_test(a_window_is_short_and_never_covers_outages_or_safety),
        cmocka_unit_test(matchers_are_read_as_amtool_writes_them),
        cmocka_unit_test(a_row_reads_back_and_any_damage_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
