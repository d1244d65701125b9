/* Receivers of every kind: the exact bodies, against fakes of their services, and the notification that tries one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/json_in.h"
#include "detectors/detectors.h"
#include "detectors/helper_mail.h"
#include "detectors/helper_receiver.h"
#include "detectors/helper_state.h"
#include "detectors/message.h"
#include "query/helper_slo.h"
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define WAIT_MS 8000
#define KEY "R0123456789abcdef0123456789abcde"
#define PRINT "0123456789abcdef0123456789abcdef"

/* --- bodies -------------------------------------------------------------------------------------- */

static const struct query_slo_pair labels[] = {{BYTES_LIT("alertname"), BYTES_LIT("SLOBurnRate")},
                                               {BYTES_LIT("slo"), BYTES_LIT("answers")},
                                               {BYTES_LIT("service"), BYTES_LIT("check<out>")},
                                               {BYTES_LIT("severity"), BYTES_LIT("page")}};
static const struct query_slo_pair notes[] = {
    {BYTES_LIT("summary"), BYTES_LIT("14× & rising")},
    {BYTES_LIT("description"), BYTES_LIT("gpt-4o in eu")},
    {BYTES_LIT("window"), BYTES_LIT("1h/5m")},
    {BYTES_LIT("dashboard"), BYTES_LIT("http://t.test/oncall?slo=a|b")}};

static struct webhook_note note(bool is_resolved)
{
    return (struct webhook_note){.is_resolved = is_resolved,
                                 .labels = labels,
                                 .annotations = notes,
                                 .label_count = ARRAY_LEN(labels),
                                 .annotation_count = ARRAY_LEN(notes),
                                 .group_count = 2,
                                 .starts_ms = INT64_C(1700000000000),
                                 .ends_ms = INT64_C(1700000600000),
                                 .link = "http://t.test/oncall?slo=a|b",
                                 .fingerprint = PRINT,
                                 .event = is_resolved ? "resolved" : "firing",
                                 .now_ms = INT64_C(1700000700000),
                                 .group_key = BYTES_LIT("k")};
}

/* Our JSON has no byte in it that HTML would take for its own. */
static void assert_body(const struct detectors_receiver *r, const struct webhook_note *n,
                        const char *text)
{
    static char want[8192];
    struct buf b;
    size_t size = 0;
    for (; *text; text++)
        size += (size_t)snprintf(want + size, sizeof(want) - size,
                                 strchr("&<>", *text) ? "\\u%04x" : "%c", *text);
    buf_init(&b, 0);
    message_write(r, n, "http://t.test", &b);
    buf_u8(&b, 0);
    assert_true(buf_ok(&b));
    assert_string_equal((char *)b.data, want);
    buf_done(&b);
}

static void slack_gets_blocks_with_its_own_characters_escaped(void **state)
{
    (void)state;
    struct detectors_receiver r = {.kind = DETECTORS_SLACK, .name = "s"};
    struct webhook_note n = note(false);
    assert_body(
        &r, &n,
        "{\"text\":\"[FIRING] 14× &amp; "
        "rising\",\"attachments\":[{\"color\":\"#d00000\",\"blocks\":["
        "{\"type\":\"header\",\"text\":{\"type\":\"plain_text\",\"text\":\"[FIRING] SLOBurnRate: "
        "check&lt;out&gt;\"}},"
        "{\"type\":\"section\",\"text\":{\"type\":\"mrkdwn\",\"text\":\"*14× &amp; "
        "rising*\\ngpt-4o in eu\"}},"
        "{\"type\":\"section\",\"fields\":["
        "{\"type\":\"mrkdwn\",\"text\":\"*service*\\ncheck&lt;out&gt;\"},"
        "{\"type\":\"mrkdwn\",\"text\":\"*window*\\n1h/5m\"},"
        "{\"type\":\"mrkdwn\",\"text\":\"*slo*\\nanswers\"}]},"
        "{\"type\":\"context\",\"elements\":[{\"type\":\"mrkdwn\",\"text\":"
        "\"<http://t.test/oncall?slo=a%7Cb|dashboard>\"}]}]}]}");
    n = note(true);
    struct buf b;
    buf_init(&b, 0);
    message_write(&r, &n, "http://t.test", &b);
    assert_true(bytes_has_prefix(buf_bytes(&b), BYTES_LIT("{\"text\":\"[RESOLVED] ")));
    assert_true(bytes_find(buf_bytes(&b), BYTES_LIT("\"#2eb886\"")) < b.size);
    buf_done(&b);
}

static void teams_gets_an_adaptive_card(void **state)
{
    (void)state;
    struct detectors_receiver r = {.kind = DETECTORS_TEAMS, .name = "t"};
    struct webhook_note n = note(false);
    assert_body(
        &r, &n,
        "{\"type\":\"message\",\"attachments\":[{\"contentType\":"
        "\"application/vnd.microsoft.card.adaptive\",\"contentUrl\":null,\"content\":{"
        "\"$schema\":\"http://adaptivecards.io/schemas/adaptive-card.json\",\"type\":"
        "\"AdaptiveCard\",\"version\":\"1.4\",\"body\":["
        "{\"type\":\"TextBlock\",\"text\":\"[FIRING] SLOBurnRate\",\"wrap\":true,\"size\":"
        "\"Large\",\"weight\":\"Bolder\",\"color\":\"Attention\"},"
        "{\"type\":\"TextBlock\",\"text\":\"14× & rising\",\"wrap\":true,\"size\":\"Medium\","
        "\"weight\":\"Bolder\"},"
        "{\"type\":\"TextBlock\",\"text\":\"gpt-4o in eu\",\"wrap\":true},"
        "{\"type\":\"FactSet\",\"facts\":[{\"title\":\"service\",\"value\":\"check<out>\"},"
        "{\"title\":\"window\",\"value\":\"1h/5m\"},{\"title\":\"slo\",\"value\":\"answers\"}]}],"
        "\"actions\":[{\"type\":\"Action.OpenUrl\",\"title\":\"dashboard\",\"url\":"
        "\"http://t.test/oncall?slo=a|b\"}]}}]}");
}

static void pagerduty_gets_trigger_and_resolve_with_one_key(void **state)
{
    (void)state;
    struct detectors_receiver r = {.kind = DETECTORS_PAGERDUTY, .name = "p", .routing_key = KEY};
    struct webhook_note n = note(false), over = note(true);
    struct buf b;
    assert_body(
        &r, &n,
        "{\"event_action\":\"trigger\",\"dedup_key\":\"" PRINT "\",\"payload\":{\"summary\":"
        "\"14× & rising\",\"source\":\"check<out>\",\"severity\":\"critical\",\"timestamp\":"
        "\"2023-11-14T22:13:20.000Z\",\"component\":\"answers\",\"group\":\"check<out>\","
        "\"class\":\"SLOBurnRate\",\"custom_details\":{\"alertname\":\"SLOBurnRate\",\"slo\":"
        "\"answers\",\"service\":\"check<out>\",\"severity\":\"page\",\"summary\":\"14× & "
        "rising\",\"description\":\"gpt-4o in eu\",\"window\":\"1h/5m\",\"dashboard\":"
        "\"http://t.test/oncall?slo=a|b\"}},\"links\":[{\"href\":"
        "\"http://t.test/oncall?slo=a|b\",\"text\":\"dashboard\"}],\"client\":\"Telltale\","
        "\"client_url\":\"http://t.test/oncall?slo=a|b\"}");
    assert_body(&r, &over, "{\"event_action\":\"resolve\",\"dedup_key\":\"" PRINT "\"}");
    buf_init(&b, 0);
    message_seal(&r, BYTES_LIT("{\"event_action\":\"resolve\"}"), &b);
    assert_true(bytes_equal_str(buf_bytes(&b),
                                "{\"routing_key\":\"" KEY "\",\"event_action\":\"resolve\"}"));
    buf_done(&b);
}

static void alertmanager_gets_an_end_only_when_it_is_over(void **state)
{
    (void)state;
    struct detectors_receiver r = {
        .kind = DETECTORS_ALERTMANAGER, .name = "a", .url = "http://am.test:9093/"};
    struct webhook_note n = note(false), over = note(true);
    char url[256];
#define BODY(ends)                                                                          \
    "[{\"labels\":{\"alertname\":\"SLOBurnRate\",\"slo\":\"answers\",\"service\":"          \
    "\"check<out>\",\"severity\":\"page\"},\"annotations\":{\"summary\":\"14× & rising\"," \
    "\"description\":\"gpt-4o in eu\",\"window\":\"1h/5m\",\"dashboard\":"                  \
    "\"http://t.test/oncall?slo=a|b\"},\"startsAt\":\"2023-11-14T22:13:20.000Z\"," ends     \
    "\"generatorURL\":\"http://t.test/oncall?slo=a|b\"}]"
    assert_body(&r, &n, BODY(""));
    assert_body(&r, &over, BODY("\"endsAt\":\"2023-11-14T22:23:20.000Z\","));
    assert_int_equal(message_url(&r, url, sizeof(url)), ERR_OK);
    assert_string_equal(url, "http://am.test:9093/api/v2/alerts");
    r.url = "http://am.test/x/api/v2/alerts";
    assert_int_equal(message_url(&r, url, sizeof(url)), ERR_OK);
    assert_string_equal(url, "http://am.test/x/api/v2/alerts");
}

static void a_mail_has_an_id_that_stays_and_words_that_can_be_read(void **state)
{
    (void)state;
    struct detectors_receiver r = {.kind = DETECTORS_EMAIL,
                                   .name = "m",
                                   .mail_from = "telltale@example.com",
                                   .mail_to = {"a@example.com", "b@example.com"}};
    struct webhook_note n = note(true);
    struct buf b;
    buf_init(&b, 0);
    message_write(&r, &n, "http://t.test", &b);
    static const char head[] =
        "From: Telltale <telltale@example.com>\r\nTo: <a@example.com>,\r\n <b@example.com>\r\n"
        "Subject: =?UTF-8?B?W1JFU09MVkVEXSBwYWdlOiAxNMOXICYgcmlzaW5n?=\r\n"
        "Date: Tue, 14 Nov 2023 22:25:00 +0000\r\n"
        "Message-ID: <" PRINT "-m-resolved@telltale.invalid>\r\n"
        "References: <" PRINT "-m-firing@telltale.invalid>\r\n"
        "Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n";
    assert_true(b.size > sizeof(head));
    assert_memory_equal(b.data, head, sizeof(head) - 1);
    uint8_t text[4096];
    size_t size;
    assert_int_equal(sodium_base642bin(text, sizeof(text) - 1, (char *)b.data + sizeof(head) - 1,
                                       b.size - sizeof(head) + 1, "\r\n", &size, NULL,
                                       sodium_base64_VARIANT_ORIGINAL),
                     0);
    text[size] = 0;
    assert_string_equal((char *)text,
                        "14× & rising\r\n\r\ngpt-4o in eu\r\n\r\nservice: check<out>\r\nwindow: "
                        "1h/5m\r\nslo: answers\r\nbegan: 2023-11-14T22:13:20.000Z\r\nover: "
                        "2023-11-14T22:23:20.000Z\r\n\r\ndashboard: "
                        "http://t.test/oncall?slo=a|b\r\n");
    buf_done(&b);
}

/* A rule's labels and annotations may be as long as anybody likes. */
static void what_a_service_does_not_take_is_cut_between_characters(void **state)
{
    (void)state;
    enum { LONG = 60000 };
    static char text[LONG];
    struct query_slo_pair many[60];
    char names[60][16];
    for (size_t i = 0; i + 3 <= LONG; i += 3)
        memcpy(text + i, "€", 3);
    text[0] = text[1] = text[2] = '&';
    struct bytes huge = bytes_of(text, LONG - LONG % 3);
    for (size_t i = 0; i < ARRAY_LEN(many); i++) {
        snprintf(names[i], sizeof(names[i]), "a%zu", i);
        many[i] = (struct query_slo_pair){bytes_str(names[i]), huge};
    }
    many[0].name = BYTES_LIT("summary");
    many[1].name = BYTES_LIT("description");
    struct webhook_note n = note(false);
    n.annotations = many;
    n.annotation_count = ARRAY_LEN(many);
    static const enum detectors_receiver_kind kinds[] = {DETECTORS_SLACK, DETECTORS_TEAMS,
                                                         DETECTORS_PAGERDUTY};
    static const size_t limits[] = {64000, MESSAGE_TEAMS_MAX, MESSAGE_PAGERDUTY_MAX};
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        struct detectors_receiver r = {.kind = kinds[k], .name = "x", .routing_key = KEY};
        struct arena *a = arena_new(0);
        struct json_node *root;
        struct err_msg msg;
        struct buf b;
        buf_init(&b, 0);
        message_write(&r, &n, "http://t.test", &b);
        assert_true(buf_ok(&b) && b.size <= limits[k]);
        assert_int_equal(json_in_tree(buf_bytes(&b), 32, a, &root, &msg), ERR_OK);
        assert_true(bytes_find(buf_bytes(&b), BYTES_LIT("\xef\xbf\xbd")) == b.size);
        if (kinds[k] == DETECTORS_PAGERDUTY)
            assert_true(json_get_str(json_get(root, "payload"), "summary").size <=
                        MESSAGE_PAGERDUTY_SUMMARY_MAX);
        if (kinds[k] == DETECTORS_SLACK)
            for (const struct json_node *block =
                     json_get(json_get(root, "attachments")->child, "blocks")->child;
                 block; block = block->next) {
                const struct json_node *t = json_get(block, "text");
                assert_true(!t || json_get_str(t, "text").size <= MESSAGE_SLACK_TEXT_MAX);
            }
        buf_done(&b);
        arena_free(a);
    }
}

/* --- over the wire ------------------------------------------------------------------------------- */

struct rig {
    struct helper_slo *cells;
    struct query_slo_source source;
    struct helper_state *state;
    struct detectors_store store;
    struct detectors *d;
};

static void rig_begin(struct rig *r, const struct detectors_receiver *receivers, size_t count)
{
    struct buf errors;
    struct err_msg msg;
    *r = (struct rig){.cells = helper_slo_new(), .state = helper_state_new()};
    r->source = helper_slo_source(r->cells);
    r->store = helper_state_store(r->state);
    buf_init(&errors, 0);
    struct detectors_options o = {.receivers = receivers,
                                  .receiver_count = count,
                                  .external_url = "http://t.test",
                                  .interval_ms = 20,
                                  .retry_base_ms = 20,
                                  .retry_max_ms = 100,
                                  .store = &r->store,
                                  .source = &r->source};
    if (detectors_new(&o, &r->d, &errors) != ERR_OK)
        fail_msg("%.*s", (int)errors.size, errors.data);
    assert_int_equal(detectors_start(r->d, &msg), ERR_OK);
    buf_done(&errors);
}

static void rig_end(struct rig *r)
{
    detectors_stop(r->d);
    detectors_free(r->d);
    helper_slo_free(r->cells);
    helper_state_free(r->state);
}

/* Copies the row of this webhook_id once it is in the state. */
static bool wait_row(struct rig *r, const char *id, enum detectors_delivery state, char error[200])
{
    for (int i = 0; i < WAIT_MS / 5; i++) {
        struct arena *a = arena_new(0);
        struct detectors_outbox_row *rows;
        size_t n;
        bool found = false;
        assert_int_equal(detectors_outbox(r->d, a, &rows, &n), ERR_OK);
        for (size_t k = 0; k < n && !found; k++) {
            found = bytes_equal_str(rows[k].webhook_id, id) && rows[k].state == state &&
                    rows[k].attempts > 0;
            if (found)
                snprintf(error, 200, BYTES_FMT, BYTES_ARG(rows[k].last_error));
        }
        arena_free(a);
        if (found)
            return true;
        clock_sleep_ms(5);
    }
    return false;
}

static void a_test_takes_the_real_path_to_every_kind(void **state)
{
    (void)state;
    static const int ok[] = {200}, accepted[] = {202}, busy[] = {429, 200}, taken[] = {250};
    static const char *const paths[] = {"/hook", "/hook", "/hook", "/hook", "/hook/api/v2/alerts"};
    struct helper_receiver *fakes[5];
    struct detectors_receiver list[6] = {
        {.kind = DETECTORS_WEBHOOK, .name = "hook"},
        {.kind = DETECTORS_SLACK, .name = "slack"},
        {.kind = DETECTORS_TEAMS, .name = "teams"},
        {.kind = DETECTORS_PAGERDUTY, .name = "pd", .routing_key = KEY},
        {.kind = DETECTORS_ALERTMANAGER, .name = "am"},
        {.kind = DETECTORS_EMAIL,
         .name = "mail",
         .mail_from = "t@example.com",
         .mail_to = {"a@example.com", "b@example.com"},
         .mail_user = "u",
         .mail_password = "hidden",
         .mail_plain = true}};
    struct helper_mail *mail = helper_mail_new(taken, 1);
    char ids[6][DETECTORS_WEBHOOK_ID_MAX], error[200];
    struct rig r;
    for (size_t i = 0; i < 5; i++) {
        fakes[i] = i == 1   ? helper_receiver_new(busy, 2, 1)
                   : i == 3 ? helper_receiver_new(accepted, 1, -1)
                            : helper_receiver_new(ok, 1, -1);
        list[i].url = helper_receiver_url(fakes[i]);
    }
    list[5].url = helper_mail_url(mail);
    for (size_t i = 0; i < ARRAY_LEN(list); i++)
        list[i].allow_private = true;
    rig_begin(&r, list, ARRAY_LEN(list));
    for (size_t i = 0; i < ARRAY_LEN(list); i++) {
        assert_int_equal(detectors_receiver_test(r.d, bytes_str(list[i].name), ids[i]), ERR_OK);
        if (!wait_row(&r, ids[i], DETECTORS_DELIVERED, error))
            fail_msg("%s was not told", list[i].name);
    }
    for (size_t i = 0; i < 5; i++) {
        struct helper_receiver_request q;
        helper_receiver_get(fakes[i], 0, &q);
        assert_string_equal(q.path, paths[i]);
        assert_non_null(strstr(q.body, i == 3 || i == 4 ? "TelltaleTest" : "A test of this"));
        assert_true((q.id[0] != 0) == (i == 0)); /* the webhook's headers are the webhook's */
    }
    struct helper_receiver_request first, second;
    helper_receiver_get(fakes[1], 0, &first); /* Slack was busy for a second */
    helper_receiver_get(fakes[1], 1, &second);
    assert_true(second.at_ms - first.at_ms >= 990);
    assert_string_equal(first.body, second.body);
    assert_true(helper_receiver_wait(fakes[3], 2, WAIT_MS)); /* what it opened it closes */
    helper_receiver_get(fakes[3], 0, &first);
    helper_receiver_get(fakes[3], 1, &second);
    assert_non_null(
        strstr(first.body, "{\"routing_key\":\"" KEY "\",\"event_action\":\"trigger\""));
    assert_non_null(strstr(second.body, "\"event_action\":\"resolve\""));
    assert_true(helper_receiver_wait(fakes[4], 2, WAIT_MS));
    struct helper_mail_message m;
    helper_mail_get(mail, 0, &m);
    assert_non_null(strstr(m.commands, "MAIL FROM:<t@example.com>"));
    assert_non_null(strstr(m.commands, "RCPT TO:<a@example.com>"));
    assert_non_null(strstr(m.commands, "RCPT TO:<b@example.com>"));
    assert_non_null(strstr(m.text, "Message-ID: <"));
    assert_int_equal(detectors_receiver_test(r.d, BYTES_LIT("nobody"), ids[0]), ERR_NOT_FOUND);
    rig_end(&r);
    for (size_t i = 0; i < 5; i++)
        helper_receiver_free(fakes[i]);
    helper_mail_free(mail);
}

static void a_mail_server_that_refuses_for_good_makes_a_dead_letter(void **state)
{
    (void)state;
    static const int later[] = {451, 250}, never[] = {550};
    struct helper_mail *mail = helper_mail_new(later, 2), *no = helper_mail_new(never, 1);
    struct detectors_receiver list[2] = {{.name = "later", .url = helper_mail_url(mail)},
                                         {.name = "never", .url = helper_mail_url(no)}};
    char id[DETECTORS_WEBHOOK_ID_MAX], error[200];
    struct rig r;
    for (size_t i = 0; i < 2; i++) {
        list[i].kind = DETECTORS_EMAIL;
        list[i].mail_from = "t@example.com";
        list[i].mail_to[0] = "a@example.com";
        list[i].mail_plain = list[i].allow_private = true;
    }
    rig_begin(&r, list, 2);
    assert_int_equal(detectors_receiver_test(r.d, BYTES_LIT("later"), id), ERR_OK);
    assert_true(wait_row(&r, id, DETECTORS_DELIVERED, error));
    struct helper_mail_message a, b;
    helper_mail_get(mail, 0, &a);
    helper_mail_get(mail, 1, &b);
    assert_string_equal(a.text, b.text); /* the same message, the same id */
    assert_int_equal(detectors_receiver_test(r.d, BYTES_LIT("never"), id), ERR_OK);
    assert_true(wait_row(&r, id, DETECTORS_DEAD, error));
    assert_non_null(strstr(error, "550"));
    rig_end(&r);
    helper_mail_free(mail);
    helper_mail_free(no);
}

/* Slack's and Teams' URLs are passwords; so is what libcurl says of them. */
static void nothing_secret_is_in_an_error_or_in_the_outbox(void **state)
{
    (void)state;
    struct detectors_receiver list[2] = {{.kind = DETECTORS_SLACK,
                                          .name = "slack",
                                          .url = "http://127.0.0.1:1/services/T0/B0/SECRET"},
                                         {.kind = DETECTORS_PAGERDUTY,
                                          .name = "pd",
                                          .url = "http://127.0.0.1:1/v2/enqueue",
                                          .routing_key = KEY}};
    char id[DETECTORS_WEBHOOK_ID_MAX], error[200], host[256];
    struct rig r;
    list[0].allow_private = list[1].allow_private = true;
    rig_begin(&r, list, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(detectors_receiver_test(r.d, bytes_str(list[i].name), id), ERR_OK);
        assert_true(wait_row(&r, id, DETECTORS_WAITING, error));
        assert_non_null(strstr(error, "127.0.0.1"));
        assert_null(strstr(error, "SECRET"));
        assert_null(strstr(error, "enqueue"));
    }
    struct arena *a = arena_new(0);
    struct detectors_outbox_row *rows;
    size_t n;
    assert_int_equal(detectors_outbox(r.d, a, &rows, &n), ERR_OK);
    for (size_t i = 0; i < n; i++)
        assert_true(bytes_find(rows[i].body, BYTES_LIT(KEY)) == rows[i].body.size);
    detectors_receiver_host(&list[0], host);
    assert_string_equal(host, "127.0.0.1");
    arena_free(a);
    rig_end(&r);
}

static void a_receiver_gets_no_more_a_minute_than_it_may(void **state)
{
    (void)state;
    static const int ok[] = {200};
    struct helper_receiver *hook = helper_receiver_new(ok, 1, -1),
                           *free_hook = helper_receiver_new(ok, 1, -1);
    struct detectors_receiver list[2] = {
        {.name = "slow", .url = helper_receiver_url(hook), .allow_private = true, .per_minute = 2},
        {.name = "free", .url = helper_receiver_url(free_hook), .allow_private = true}};
    char id[DETECTORS_WEBHOOK_ID_MAX];
    struct rig r;
    rig_begin(&r, list, 2);
    for (size_t i = 0; i < 4; i++)
        for (size_t k = 0; k < 2; k++)
            assert_int_equal(detectors_receiver_test(r.d, bytes_str(list[k].name), id), ERR_OK);
    assert_true(helper_receiver_wait(free_hook, 4, WAIT_MS));
    assert_true(helper_receiver_wait(hook, 2, WAIT_MS));
    clock_sleep_ms(300);
    assert_int_equal(helper_receiver_count(hook), 2); /* the third is due in half a minute */
    rig_end(&r);
    helper_receiver_free(hook);
    helper_receiver_free(free_hook);
}

/* --- the file ------------------------------------------------------------------------------------ */

static enum err load(const char *text, struct arena *a, struct detectors_receiver **list, size_t *n,
                     struct buf *errors)
{
    char path[] = "/tmp/telltale-receivers-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    dprintf(fd, "%s", text);
    close(fd);
    buf_init(errors, 0);
    enum err e = detectors_receivers_load(path, a, list, n, errors);
    buf_u8(errors, 0);
    unlink(path);
    return e;
}

static void kinds_are_read_and_their_mistakes_named(void **state)
{
    (void)state;
    struct arena *a = arena_new(0);
    struct detectors_receiver *list;
    struct buf errors;
    size_t n;
    assert_int_equal(load("receivers:\n"
                          "  - {name: s, type: slack, url: 'https://hooks.slack.com/services/x'}\n"
                          "  - {name: t, type: teams, url: 'https://x.example.com/workflows/y'}\n"
                          "  - {name: p, type: pagerduty, routing_key: " KEY "}\n"
                          "  - {name: a, type: alertmanager, url: 'http://am:9093'}\n"
                          "  - {name: m, type: email, url: 'smtp://mail:587', from: t@x.org, to: "
                          "[a@x.org, b@x.org], username: u, password: p}\n"
                          "  - {name: w, url: 'https://x.org'}\n",
                          a, &list, &n, &errors),
                     ERR_OK);
    assert_int_equal(n, 6);
    assert_int_equal(list[0].kind, DETECTORS_SLACK);
    assert_int_equal(list[1].kind, DETECTORS_TEAMS);
    assert_string_equal(list[2].url, "https://events.pagerduty.com/v2/enqueue");
    assert_int_equal(list[3].repeat_ms, 60000);
    assert_string_equal(list[4].mail_to[1], "b@x.org");
    assert_false(list[4].mail_plain);
    assert_int_equal(list[5].kind, DETECTORS_WEBHOOK);
    buf_done(&errors);
    assert_int_equal(
        load("receivers:\n"
             "  - name: a\n    type: pigeon\n    url: https://x.org\n"
             "  - name: b\n    type: pagerduty\n    routing_key: short\n"
             "  - name: c\n    type: email\n    url: https://x.org\n"
             "    from: 'x@y.org\\r\\nBcc: z'\n    to: nobody\n"
             "  - name: d\n    type: slack\n    url: https://x.org\n    heartbeat: true\n",
             a, &list, &n, &errors),
        ERR_INVALID);
    static const char *const lines[] = {
        ":3: type: must be webhook, slack, teams, pagerduty, alertmanager or email",
        ":7: routing_key: ",
        ":10: url: the URL must begin with smtps:// or smtp://",
        ":11: from: must be an address",
        ":12: to: \"nobody\" is no address",
        ":16: heartbeat: only of type webhook"};
    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        if (!strstr((char *)errors.data, lines[i]))
            fail_msg("%s is not in\n%s", lines[i], (char *)errors.data);
    buf_done(&errors);
    arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slack_gets_blocks_with_its_own_characters_escaped),
        cmocka_unit_test(teams_gets_an_adaptive_card),
        cmocka_unit_test(pagerduty_gets_trigger_and_resolve_with_one_key),
        cmocka_unit_test(alertmanager_gets_an_end_only_when_it_is_over),
        cmocka_unit_test(a_mail_has_an_id_that_stays_and_words_that_can_be_read),
        cmocka_unit_test(what_a_service_does_not_take_is_cut_between_characters),
        cmocka_unit_test(a_test_takes_the_real_path_to_every_kind),
        cmocka_unit_test(a_mail_server_that_refuses_for_good_makes_a_dead_letter),
        cmocka_unit_test(nothing_secret_is_in_an_error_or_in_the_outbox),
        cmocka_unit_test(a_receiver_gets_no_more_a_minute_than_it_may),
        cmocka_unit_test(kinds_are_read_and_their_mistakes_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
