/* From the outbox to the receiver: signatures, retries, one key for every attempt, nothing lost over a restart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/json_in.h"
#include "detectors/outbox.h"
#include "detectors/detectors.h"
#include "detectors/helper_receiver.h"
#include "detectors/helper_state.h"
#include "detectors/notify.h"
#include "detectors/webhook.h"
#include "query/helper_slo.h"
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SECRET "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
#define OLD_SECRET "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
#define WAIT_MS 8000

/* --- a detector in trouble ----------------------------------------------------------------------- */

struct rig {
    struct helper_slo *cells;
    struct query_slo_source source;
    struct helper_state *state;
    struct detectors_store store;
    struct detectors_receiver receivers[4];
    size_t receiver_count;
    char slo_path[64];
    struct detectors *d;
    uint32_t mutate;
};

static void rig_open(struct rig *r)
{
    const char *paths[] = {r->slo_path};
    struct buf errors;
    buf_init(&errors, 0);
    struct detectors_options o = {.slo_paths = paths,
                                  .slo_path_count = 1,
                                  .receivers = r->receivers,
                                  .receiver_count = r->receiver_count,
                                  .external_url = "http://telltale.test",
                                  .interval_ms = 20,
                                  .retry_base_ms = 20,
                                  .retry_max_ms = 100,
                                  .store = &r->store,
                                  .source = &r->source,
                                  .mutate = r->mutate};
    if (detectors_new(&o, &r->d, &errors) != ERR_OK)
        fail_msg("%.*s", (int)errors.size, errors.data);
    buf_done(&errors);
}

static void rig_start(struct rig *r)
{
    struct err_msg msg;
    assert_int_equal(detectors_start(r->d, &msg), ERR_OK);
}

/* A day of good traffic and an outage in the last minutes: "2%-in-1h" and "5%-in-6h" fire, and a ticket. Only pages are wanted. */
static void rig_begin(struct rig *r, uint32_t mutate)
{
    *r = (struct rig){.cells = helper_slo_new(), .state = helper_state_new(), .mutate = mutate};
    r->source = helper_slo_source(r->cells);
    r->store = helper_state_store(r->state);
    strcpy(r->slo_path, "/tmp/telltale-slo-XXXXXX");
    int fd = mkstemp(r->slo_path);
    assert_true(fd >= 0);
    dprintf(fd,
            "apiVersion: openslo/v1\nkind: SLO\n"
            "metadata: {name: checkout, labels: {team: pay}, annotations: {runbook: "
            "'https://wiki/pay'}}\n"
            "spec:\n  service: checkout\n  indicator:\n    metadata: {name: x}\n"
            "    spec: {ratioMetric: {raw: {metricSource: {type: telltale, spec: {sli: "
            "availability-request}}}}}\n"
            "  timeWindow: [{duration: 30d, isRolling: true}]\n"
            "  budgetingMethod: Occurrences\n  objectives: [{target: 0.999}]\n"
            "  alertPolicies:\n    - kind: AlertPolicy\n      metadata: {name: p}\n      spec:\n"
            "        conditions:\n          - kind: AlertCondition\n            metadata: "
            "{name: fast}\n            spec:\n              severity: page\n"
            "              condition: {kind: burnrate, op: gt, threshold: 14.4, "
            "lookbackWindow: 1h}\n");
    close(fd);
    uint32_t now = (uint32_t)((clock_wall_ms() - QUERY_SLO_DELAY_MS) / 60000);
    for (uint32_t m = now - 1440; m < now - 2; m++)
        helper_slo_request(r->cells, "checkout", "claude", "us", "ok", "", m, 100);
    for (uint32_t m = now - 2; m <= now; m++)
        helper_slo_request(r->cells, "checkout", "gpt-4o", "eu", "timeout", "provider", m, 100);
}

static void rig_receiver(struct rig *r, const char *name, const char *url)
{
    r->receivers[r->receiver_count++] = (struct detectors_receiver){.name = name,
                                                                    .url = url,
                                                                    .secrets = {SECRET, OLD_SECRET},
                                                                    .headers = {"X-Extra: yes"},
                                                                    .timeout_ms = 1500,
                                                                    .allow_private = true};
}

static void rig_close(struct rig *r)
{
    detectors_stop(r->d);
    detectors_free(r->d);
    r->d = NULL;
}

static void rig_end(struct rig *r)
{
    if (r->d)
        rig_close(r);
    helper_slo_free(r->cells);
    helper_state_free(r->state);
    unlink(r->slo_path);
}

static size_t count_state(struct rig *r, enum detectors_delivery state)
{
    struct arena *a = arena_new(0);
    struct detectors_outbox_row *rows;
    size_t n, hits = 0;
    assert_int_equal(detectors_outbox(r->d, a, &rows, &n), ERR_OK);
    for (size_t i = 0; i < n; i++)
        hits += rows[i].state == state;
    arena_free(a);
    return hits;
}

static bool wait_state(struct rig *r, enum detectors_delivery state, size_t n)
{
    for (int i = 0; i < WAIT_MS / 5; i++) {
        if (count_state(r, state) >= n)
            return true;
        clock_sleep_ms(5);
    }
    return false;
}

/* The signature by another library's HMAC, from the specification. */
static bool is_signed_with(const struct helper_receiver_request *q, const char *secret)
{
    uint8_t key[64], mac[32];
    unsigned mac_size = sizeof(mac);
    int key_size = EVP_DecodeBlock(key, (const uint8_t *)secret + 6, (int)strlen(secret + 6));
    static char text[20000];
    for (size_t i = strlen(secret); i-- > 0 && secret[i] == '=';)
        key_size--;
    int size =
        snprintf(text, sizeof(text), "%s.%s.%.*s", q->id, q->timestamp, (int)q->body_size, q->body);
    HMAC(EVP_sha256(), key, key_size, (uint8_t *)text, (size_t)size, mac, &mac_size);
    char want[64] = "v1,";
    EVP_EncodeBlock((uint8_t *)want + 3, mac, 32);
    return strstr(q->signature, want) != NULL;
}

/* --- tests --------------------------------------------------------------------------------------- */

/* True when every attempt of the first notification had one id. */
static bool two_failures_then_success(uint32_t mutate)
{
    static const int answers[] = {500, 500, 200};
    struct rig r;
    struct helper_receiver *hook = helper_receiver_new(answers, 3, -1);
    rig_begin(&r, mutate);
    rig_receiver(&r, "hook", helper_receiver_url(hook));
    rig_open(&r);
    rig_start(&r);
    assert_true(helper_receiver_wait(hook, 3, WAIT_MS));
    assert_true(wait_state(&r, DETECTORS_DELIVERED, 1));
    clock_sleep_ms(150); /* nothing more comes */
    assert_int_equal(helper_receiver_count(hook), 3);
    struct helper_receiver_request q[3];
    bool one_id = true;
    for (size_t i = 0; i < 3; i++) {
        helper_receiver_get(hook, i, &q[i]);
        assert_true(is_signed_with(&q[i], SECRET));
        assert_true(is_signed_with(&q[i], OLD_SECRET));
        assert_string_equal(q[i].extra, "yes");
        one_id = one_id && strcmp(q[i].id, q[0].id) == 0;
        assert_int_equal(q[i].body_size, q[0].body_size);
        assert_memory_equal(q[i].body, q[0].body, q[0].body_size);
    }
    rig_end(&r);
    helper_receiver_free(hook);
    return one_id;
}

static void a_notification_is_retried_with_one_key_until_it_is_taken(void **state)
{
    (void)state;
    assert_true(two_failures_then_success(0));
}

static void fresh_keys_for_each_attempt_are_caught(void **state)
{
    (void)state;
    assert_false(two_failures_then_success(DETECTORS_MUTATE_NEW_IDS));
}

static void the_body_is_alertmanagers_and_says_what_matters(void **state)
{
    (void)state;
    static const int ok[] = {200};
    struct rig r;
    struct helper_receiver *hook = helper_receiver_new(ok, 1, -1);
    rig_begin(&r, 0);
    rig_receiver(&r, "hook", helper_receiver_url(hook));
    rig_open(&r);
    rig_start(&r);
    assert_true(helper_receiver_wait(hook, 1, WAIT_MS));
    struct helper_receiver_request q;
    helper_receiver_get(hook, 0, &q);
    struct arena *a = arena_new(0);
    struct json_node *root;
    struct err_msg msg;
    assert_int_equal(json_in_tree(bytes_of(q.body, q.body_size), 16, a, &root, &msg), ERR_OK);
    assert_true(bytes_equal_str(json_get_str(root, "version"), "4"));
    assert_true(bytes_equal_str(json_get_str(root, "status"), "firing"));
    assert_true(bytes_equal_str(json_get_str(root, "receiver"), "hook"));
    const struct json_node *alert = json_get(root, "alerts")->child;
    const struct json_node *labels = json_get(alert, "labels"),
                           *notes = json_get(alert, "annotations");
    assert_true(bytes_equal_str(json_get_str(labels, "severity"), "page"));
    assert_true(bytes_equal_str(json_get_str(labels, "team"), "pay"));
    assert_true(bytes_equal_str(json_get_str(notes, "window"), "1h/5m"));
    assert_true(bytes_equal_str(json_get_str(notes, "runbook"), "https://wiki/pay"));
    assert_true(json_get_str(notes, "burn_rate").size > 0);
    assert_true(json_get_str(notes, "budget_left").size > 0);
    assert_true(json_get_str(notes, "budget_gone_in").size > 0);
    struct bytes description = json_get_str(notes, "description");
    assert_true(bytes_find(description, BYTES_LIT("gpt-4o")) < description.size);
    assert_true(bytes_equal_str(json_get_str(alert, "endsAt"), "0001-01-01T00:00:00Z"));
    struct bytes print = json_get_str(alert, "fingerprint");
    assert_int_equal(print.size, 32);
    assert_memory_equal(q.id, print.data, 32); /* id = fingerprint + receiver + event */
    assert_string_equal(q.id + 32, "-hook-firing");
    arena_free(a);
    rig_end(&r);
    helper_receiver_free(hook);
}

static void a_slow_receiver_delays_no_other(void **state)
{
    (void)state;
    static const int never[] = {0}, ok[] = {204};
    struct rig r;
    struct helper_receiver *slow = helper_receiver_new(never, 1, -1),
                           *fast = helper_receiver_new(ok, 1, -1);
    rig_begin(&r, 0);
    rig_receiver(&r, "slow", helper_receiver_url(slow));
    rig_receiver(&r, "fast", helper_receiver_url(fast));
    rig_open(&r);
    int64_t begin = clock_mono_ns();
    rig_start(&r);
    assert_true(helper_receiver_wait(fast, 1, 1200));
    print_message("    the other receiver had it after %lld ms\n",
                  (long long)(clock_mono_ns() - begin) / 1000000);
    assert_true(wait_state(&r, DETECTORS_DELIVERED, 1));
    assert_int_equal(count_state(&r, DETECTORS_WAITING), 1);
    rig_end(&r);
    helper_receiver_free(slow);
    helper_receiver_free(fast);
}

static void a_refused_notification_is_a_dead_letter_that_can_be_sent_again(void **state)
{
    (void)state;
    static const int bad[] = {400}, ok[] = {200};
    struct rig r;
    struct helper_receiver *hook = helper_receiver_new(bad, 1, -1);
    rig_begin(&r, 0);
    rig_receiver(&r, "hook", helper_receiver_url(hook));
    rig_open(&r);
    rig_start(&r);
    assert_true(wait_state(&r, DETECTORS_DEAD, 1));
    clock_sleep_ms(150);
    assert_int_equal(helper_receiver_count(hook), 1);
    struct arena *a = arena_new(0);
    struct detectors_outbox_row *rows;
    size_t n;
    assert_int_equal(detectors_outbox(r.d, a, &rows, &n), ERR_OK);
    assert_int_equal(rows[0].last_status, 400);
    assert_true(bytes_equal_str(rows[0].last_error, "HTTP 400"));
    rig_close(&r); /* it is still there for the next process */
    helper_receiver_script(hook, ok, 1);
    rig_open(&r);
    assert_int_equal(count_state(&r, DETECTORS_DEAD), 1);
    assert_int_equal(detectors_outbox_retry(r.d, 999), ERR_NOT_FOUND);
    assert_int_equal(detectors_outbox_retry(r.d, rows[0].id), ERR_OK);
    rig_start(&r);
    assert_true(wait_state(&r, DETECTORS_DELIVERED, 1));
    arena_free(a);
    rig_end(&r);
    helper_receiver_free(hook);
}

/* A receiver that refuses for good: what waits is kept, of what it refused the newest. */
static void dead_letters_do_not_pile_up_for_ever(void **state)
{
    (void)state;
    enum { REFUSED = OUTBOX_DEAD_KEPT + 50 };
    struct helper_state *disk = helper_state_new();
    struct detectors_store store = helper_state_store(disk);
    struct outbox *o = outbox_new(&store);
    struct outbox_entry e = {.receiver = "hook"}, got;
    void *txn;
    for (unsigned i = 0; i <= REFUSED; i++) {
        uint8_t *body = calloc(1, 8);
        assert_int_equal(store.begin(store.ctx, &txn), ERR_OK);
        assert_int_equal(outbox_stage(o, txn, &e, &body, 8), ERR_OK);
        assert_int_equal(store.commit(store.ctx, txn), ERR_OK);
        outbox_publish(o);
        assert_true(outbox_take(o, "hook", 0, &got));
        assert_int_equal(got.id, i + 1);
        if (i < REFUSED)
            outbox_done(o, got.id, &(struct outbox_result){.state = DETECTORS_DEAD, .status = 404});
    }
    assert_int_equal(helper_state_count(disk, "slo_outbox"), OUTBOX_DEAD_KEPT + 1);
    assert_int_equal(outbox_retry(o, 1, 0), ERR_NOT_FOUND);
    assert_int_equal(outbox_retry(o, REFUSED, 0), ERR_OK);
    outbox_free(o);
    helper_state_free(disk);
}

static void retry_after_is_honoured(void **state)
{
    (void)state;
    static const int busy[] = {429, 200};
    struct rig r;
    struct helper_receiver *hook = helper_receiver_new(busy, 2, 1);
    rig_begin(&r, 0);
    rig_receiver(&r, "hook", helper_receiver_url(hook));
    rig_open(&r);
    rig_start(&r);
    assert_true(helper_receiver_wait(hook, 2, WAIT_MS));
    struct helper_receiver_request first, second;
    helper_receiver_get(hook, 0, &first);
    helper_receiver_get(hook, 1, &second);
    assert_true(second.at_ms - first.at_ms >= 990);
    rig_end(&r);
    helper_receiver_free(hook);
}

/* The receiver took it, but the process died before that was written. */
static void a_crash_after_delivery_repeats_the_same_key(void **state)
{
    (void)state;
    static const int ok[] = {200};
    struct rig r;
    struct helper_receiver *hook = helper_receiver_new(ok, 1, -1);
    rig_begin(&r, 0);
    rig_receiver(&r, "hook", helper_receiver_url(hook));
    rig_open(&r);
    assert_int_equal(detectors_evaluate(r.d, clock_wall_ms()), ERR_OK);
    helper_state_fail_at(r.state, 1); /* the next write is the delivery's result */
    rig_start(&r);
    assert_true(helper_receiver_wait(hook, 1, WAIT_MS));
    assert_true(wait_state(&r, DETECTORS_DELIVERED, 1));
    assert_true(helper_state_has_failed(r.state));
    rig_close(&r);
    helper_state_fail_at(r.state, 0);
    rig_open(&r);
    rig_start(&r);
    assert_true(helper_receiver_wait(hook, 2, WAIT_MS));
    assert_true(wait_state(&r, DETECTORS_DELIVERED, 1));
    struct helper_receiver_request first, second;
    helper_receiver_get(hook, 0, &first);
    helper_receiver_get(hook, 1, &second);
    assert_string_equal(first.id, second.id);
    assert_int_equal(first.body_size, second.body_size);
    rig_end(&r);
    helper_receiver_free(hook);
}

static void a_crash_before_delivery_loses_nothing(void **state)
{
    (void)state;
    static const int ok[] = {200};
    struct rig r;
    struct helper_receiver *hook = helper_receiver_new(ok, 1, -1);
    rig_begin(&r, 0);
    rig_receiver(&r, "hook", helper_receiver_url(hook));
    rig_open(&r);
    assert_int_equal(detectors_evaluate(r.d, clock_wall_ms()), ERR_OK); /* committed, not sent */
    detectors_free(r.d);
    rig_open(&r);
    rig_start(&r);
    assert_true(wait_state(&r, DETECTORS_DELIVERED, 1));
    clock_sleep_ms(100);
    assert_int_equal(helper_receiver_count(hook), 1);
    rig_end(&r);
    helper_receiver_free(hook);
}

static void what_keeps_firing_is_repeated_and_the_heartbeat_beats(void **state)
{
    (void)state;
    static const int ok[] = {200};
    struct rig r;
    struct helper_receiver *hook = helper_receiver_new(ok, 1, -1),
                           *heart = helper_receiver_new(ok, 1, -1);
    rig_begin(&r, 0);
    rig_receiver(&r, "hook", helper_receiver_url(hook));
    rig_receiver(&r, "heart", helper_receiver_url(heart));
    r.receivers[0].repeat_ms = 300;
    r.receivers[1].heartbeat = true;
    r.receivers[1].heartbeat_ms = 200;
    rig_open(&r);
    rig_start(&r);
    assert_true(helper_receiver_wait(hook, 3, WAIT_MS));
    assert_true(helper_receiver_wait(heart, 2, WAIT_MS));
    struct helper_receiver_request q;
    /* On a slow machine a turn may be left out. */
    for (int i = 1, last = 0, n; i < 3; i++, last = n) {
        helper_receiver_get(hook, i, &q);
        const char *number = strstr(q.id, "-hook-repeat-");
        assert_non_null(number);
        n = atoi(number + strlen("-hook-repeat-"));
        assert_true(n > last && n >= i);
    }
    helper_receiver_get(heart, 0, &q);
    assert_non_null(strstr(q.body, "Watchdog"));
    assert_non_null(strstr(q.id, "heartbeat-heart-"));
    rig_end(&r);
    helper_receiver_free(hook);
    helper_receiver_free(heart);
}

static void private_addresses_need_permission(void **state)
{
    (void)state;
    static const int ok[] = {200};
    struct rig r;
    struct helper_receiver *hook = helper_receiver_new(ok, 1, -1);
    rig_begin(&r, 0);
    rig_receiver(&r, "hook", helper_receiver_url(hook));
    r.receivers[0].allow_private = false;
    rig_open(&r);
    rig_start(&r);
    clock_sleep_ms(300);
    assert_int_equal(helper_receiver_count(hook), 0);
    assert_int_equal(count_state(&r, DETECTORS_WAITING), 1); /* kept, and the reason is shown */
    struct arena *a = arena_new(0);
    struct detectors_outbox_row *rows;
    size_t n;
    assert_int_equal(detectors_outbox(r.d, a, &rows, &n), ERR_OK);
    assert_true(bytes_find(rows[0].last_error, BYTES_LIT("allow_private")) <
                rows[0].last_error.size);
    arena_free(a);
    rig_end(&r);
    helper_receiver_free(hook);
}

static void addresses_are_judged_by_where_they_lead(void **state)
{
    (void)state;
    static const struct {
        uint8_t a[16];
        size_t size;
        bool open, private_ok;
    } cases[] = {
        {{93, 184, 216, 34}, 4, true, true},
        {{127, 0, 0, 1}, 4, false, true},
        {{10, 1, 2, 3}, 4, false, true},
        {{172, 31, 0, 1}, 4, false, true},
        {{172, 32, 0, 1}, 4, true, true},
        {{192, 168, 1, 1}, 4, false, true},
        {{100, 64, 0, 1}, 4, false, true},
        {{169, 254, 169, 254}, 4, false, false},
        {{0, 0, 0, 0}, 4, false, false},
        {{224, 0, 0, 1}, 4, false, false},
        {{255, 255, 255, 255}, 4, false, false},
        {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, 16, false, true},
        {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 169, 254, 169, 254}, 16, false, false},
        {{0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1}, 16, false, true},
        {{0x20, 0x02, 169, 254, 169, 254}, 16, false, false},
        {{0xfd, 1}, 16, false, true},
        {{0xfe, 0x80}, 16, false, false},
        {{0x26, 0x06, 0x28}, 16, true, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct bytes a = bytes_of(cases[i].a, cases[i].size);
        assert_int_equal(webhook_address_allowed(a, false), cases[i].open);
        assert_int_equal(webhook_address_allowed(a, true), cases[i].private_ok);
    }
}

static void urls_in_disguise_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"ftp://example.com/",
                                      "https://user:pw@example.com/",
                                      "http://2130706433/",
                                      "http://0x7f.1/",
                                      "http://0177.0.0.1/",
                                      "http://127.1/",
                                      "http://[::1/",
                                      "http://exa mple.com/",
                                      "http://example.com:0/",
                                      "http://example.com:99999",
                                      "http:///x",
                                      "http://ex\xc3\xa4mple.com/",
                                      "http://a\r\nb/",
                                      "file:///etc/passwd",
                                      "http://[::1]x/",
                                      "https://1.2.3.4.5/"};
    static const char *const good[] = {"https://example.com/x?y#z", "http://127.0.0.1:9093/api",
                                       "http://[::1]:8080/", "https://hooks.example.org",
                                       "http://alertmanager:9093/hook"};
    struct webhook_url u;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (webhook_url_check(bad[i], &u, NULL) != ERR_INVALID)
            fail_msg("%s was taken", bad[i]);
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        if (webhook_url_check(good[i], &u, NULL) != ERR_OK)
            fail_msg("%s was refused", good[i]);
}

static void the_published_example_of_a_signature_is_reproduced(void **state)
{
    (void)state;
    /* Standard Webhooks' own libraries test with these values. */
    const char *secrets[DETECTORS_SECRETS_MAX] = {SECRET};
    char out[WEBHOOK_SIGNATURES_MAX];
    webhook_sign(secrets, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330,
                 BYTES_LIT("{\"test\": 2432232314}"), out);
    assert_string_equal(out, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

static void back_off_grows_within_its_bounds(void **state)
{
    (void)state;
    assert_int_equal(notify_backoff_ms(5000, 600000, 1, 0.5), 5000);
    assert_int_equal(notify_backoff_ms(5000, 600000, 2, 0.5), 10000);
    assert_int_equal(notify_backoff_ms(5000, 600000, 1, 0), 4000);
    for (uint32_t n = 1; n < 100; n++)
        assert_true(notify_backoff_ms(5000, 600000, n, 0.999) <= 720000);
}

static void receivers_are_read_with_their_mistakes_named(void **state)
{
    (void)state;
    char path[] = "/tmp/telltale-receivers-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    dprintf(fd, "receivers:\n"
                "  - name: oncall\n    url: https://hooks.example.com/x\n"
                "    secrets: [" SECRET "]\n    severities: [page]\n"
                "    headers: {Authorization: Bearer x}\n    repeat_interval: 1h\n"
                "    send_resolved: false\n");
    struct arena *a = arena_new(0);
    struct detectors_receiver *list;
    size_t n;
    struct buf errors;
    buf_init(&errors, 0);
    assert_int_equal(detectors_receivers_load(path, a, &list, &n, &errors), ERR_OK);
    assert_int_equal(n, 1);
    assert_string_equal(list[0].headers[0], "Authorization: Bearer x");
    assert_true(list[0].pages && !list[0].tickets && list[0].send_resolved_off);
    assert_int_equal(list[0].repeat_ms, 3600000);
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    dprintf(fd, "receivers:\n"
                "  - name: a\n    url: gopher://x\n    colour: red\n"
                "    headers: {webhook-id: x}\n    secrets: [short]\n    severities: loud\n");
    close(fd);
    assert_int_equal(detectors_receivers_load(path, a, &list, &n, &errors), ERR_INVALID);
    buf_u8(&errors, 0);
    assert_non_null(strstr((char *)errors.data, ":3: url: "));
    assert_non_null(strstr((char *)errors.data, ":4: receivers: unknown key; valid are name"));
    assert_non_null(strstr((char *)errors.data, ":5: headers: "));
    assert_non_null(strstr((char *)errors.data, ":6: secrets: "));
    assert_non_null(strstr((char *)errors.data, ":7: severities: "));
    buf_done(&errors);
    arena_free(a);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_notification_is_retried_with_one_key_until_it_is_taken),
        cmocka_unit_test(fresh_keys_for_each_attempt_are_caught),
        cmocka_unit_test(the_body_is_alertmanagers_and_says_what_matters),
        cmocka_unit_test(a_slow_receiver_delays_no_other),
        cmocka_unit_test(a_refused_notification_is_a_dead_letter_that_can_be_sent_again),
        cmocka_unit_test(dead_letters_do_not_pile_up_for_ever),
        cmocka_unit_test(retry_after_is_honoured),
        cmocka_unit_test(a_crash_after_delivery_repeats_the_same_key),
        cmocka_unit_test(a_crash_before_delivery_loses_nothing),
        cmocka_unit_test(what_keeps_firing_is_repeated_and_the_heartbeat_beats),
        cmocka_unit_test(private_addresses_need_permission),
        cmocka_unit_test(addresses_are_judged_by_where_they_lead),
        cmocka_unit_test(urls_in_disguise_are_refused),
        cmocka_unit_test(the_published_example_of_a_signature_is_reproduced),
        cmocka_unit_test(back_off_grows_within_its_bounds),
        cmocka_unit_test(receivers_are_read_with_their_mistakes_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
