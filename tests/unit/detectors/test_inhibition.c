/* One outage of a provider in a region: it pages once, the owner of each other service gets a notice, and nothing is lost when the first is over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/check.h"
#include "base/clock.h"
#include "detectors/alert.h"
#include "detectors/detectors.h"
#include "detectors/helper_burning.h"
#include "detectors/helper_state.h"
#include "query/helper_slo.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BASE 29700000u

static void rig_begin(struct helper_burning *r)
{
    static const char *const services[] = {"cart", "search", "support"};
    int fd = helper_burning_begin(r);
    r->receiver_count = 3;
    r->receivers[0] =
        (struct detectors_receiver){.name = "pager", .url = "http://127.0.0.1:1/", .pages = true};
    r->receivers[1] =
        (struct detectors_receiver){.name = "chat", .url = "http://127.0.0.1:1/", .tickets = true};
    r->receivers[2] =
        (struct detectors_receiver){.kind = DETECTORS_PAGERDUTY,
                                    .name = "pd",
                                    .url = "http://127.0.0.1:1/",
                                    .routing_key = "R0123456789abcdef0123456789abcde"};
    for (size_t i = 0; i < ARRAY_LEN(services); i++) {
        char sli[80];
        snprintf(sli, sizeof(sli), "availability-request, service: %s", services[i]);
        helper_burning_document(fd, services[i], services[i], sli);
    }
    close(fd);
    for (size_t i = 0; i < ARRAY_LEN(services); i++)
        for (uint32_t m = BASE - 1440; m < BASE; m++)
            helper_slo_request(r->cells, services[i], "gpt-4o", "eu", "ok", "", m, 100);
    helper_burning_open(r);
}

/* Evaluates this minute, and then the next ones up to `to`. */
static void minutes(struct helper_burning *r, uint32_t from, uint32_t to)
{
    for (uint32_t m = from; m < to; m++)
        assert_int_equal(detectors_evaluate(r->d, ((int64_t)m + 1) * 60000 + QUERY_SLO_DELAY_MS),
                         ERR_OK);
}

static void requests(struct helper_burning *r, const char *service, const char *region, bool bad,
                     uint32_t from, uint32_t to)
{
    for (uint32_t m = from; m < to; m++)
        helper_slo_request(r->cells, service, "gpt-4o", region, bad ? "timeout" : "ok",
                           bad ? "provider" : "", m, 100);
}

static size_t told(struct helper_burning *r, const char *receiver, const char *event,
                   const char *slo)
{
    struct arena *a = arena_new(0);
    struct detectors_outbox_row *rows;
    size_t n, hits = 0;
    assert_int_equal(detectors_outbox(r->d, a, &rows, &n), ERR_OK);
    for (size_t i = 0; i < n; i++)
        hits += bytes_equal_str(rows[i].receiver, receiver) &&
                bytes_equal_str(rows[i].event, event) && bytes_equal_str(rows[i].slo_id, slo);
    arena_free(a);
    return hits;
}

static void one_outage_pages_once_and_every_other_owner_gets_a_notice(void **state)
{
    (void)state;
    struct helper_burning r;
    rig_begin(&r);
    requests(&r, "cart", "eu", true, BASE, BASE + 5);
    requests(&r, "search", "eu", true, BASE, BASE + 5);
    requests(&r, "support", "us", true, BASE, BASE + 5); /* another region: another outage */
    minutes(&r, BASE, BASE + 5);
    assert_int_equal(told(&r, "pager", "firing", "cart"), 1);
    assert_int_equal(told(&r, "pd", "firing", "cart"), 1);
    assert_int_equal(told(&r, "pager", "firing", "search"), 0);
    assert_int_equal(told(&r, "pd", "firing", "search"), 0);
    assert_int_equal(told(&r, "pager", "firing", "support"), 1);
    assert_int_equal(told(&r, "chat", "notice", "search"), 1);
    assert_int_equal(told(&r, "pager", "notice", "search"), 0); /* it takes pages only */
    assert_int_equal(told(&r, "pd", "notice", "search"), 0); /* an incident of a notice? no */
    assert_int_equal(told(&r, "chat", "notice", "support"), 0);
    struct arena *a = arena_new(0);
    struct detectors_outbox_row *rows;
    size_t n, seen = 0;
    assert_int_equal(detectors_outbox(r.d, a, &rows, &n), ERR_OK);
    for (size_t i = 0; i < n; i++)
        if (bytes_equal_str(rows[i].event, "notice")) {
            seen++;
            assert_true(bytes_find(rows[i].body, BYTES_LIT("\"severity\":\"ticket\"")) <
                        rows[i].body.size);
            assert_true(bytes_find(rows[i].body, BYTES_LIT("\"cause\":\"gpt-4o in eu\"")) <
                        rows[i].body.size);
            assert_true(bytes_find(rows[i].body, BYTES_LIT("\"inhibited_by\":\"")) <
                        rows[i].body.size);
        }
    assert_true(seen >= 1);
    arena_free(a);
    helper_burning_end(&r);
}

static void when_the_first_is_over_and_the_other_burns_it_pages(void **state)
{
    (void)state;
    struct helper_burning r;
    rig_begin(&r);
    requests(&r, "cart", "eu", true, BASE, BASE + 3);
    requests(&r, "search", "eu", true, BASE, BASE + 80);
    requests(&r, "support", "us", false, BASE, BASE + 80);
    requests(&r, "cart", "eu", false, BASE + 3, BASE + 80);
    minutes(&r, BASE, BASE + 2);
    detectors_free(r.d); /* the next process knows the cause */
    helper_burning_open(&r);
    minutes(&r, BASE + 2, BASE + 4);
    assert_int_equal(told(&r, "pager", "firing", "search"), 0);
    minutes(&r, BASE + 4, BASE + 80);
    assert_int_equal(told(&r, "pager", "resolved", "cart"), 1);
    assert_int_equal(told(&r, "pager", "firing", "search"), 1);
    assert_int_equal(told(&r, "chat", "notice", "search"), 1);
    helper_burning_end(&r);
}

static void a_cause_needs_a_region_and_nearly_all_bad_events(void **state)
{
    (void)state;
    struct query_slo_blame b = {.provider = BYTES_LIT("openai"),
                                .provider_share = 0.95,
                                .region = BYTES_LIT("eu"),
                                .region_share = 0.9};
    static struct alert x, y;
    alert_blame(&x, &b);
    assert_string_equal(x.cause, "openai in eu");
    b.region_share = 0.7;
    alert_blame(&y, &b);
    assert_string_equal(y.cause, "");
    memcpy(y.cause, x.cause, sizeof(y.cause));
    strcpy(x.service, "a");
    strcpy(y.service, "a");
    x.severity = y.severity = QUERY_SLO_PAGE;
    assert_false(alert_shares_cause(&x, &y)); /* the same service */
    strcpy(y.service, "b");
    assert_true(alert_shares_cause(&x, &y));
    y.start_minute = ALERT_CAUSE_MINUTES + 1;
    assert_false(alert_shares_cause(&x, &y)); /* long after */
    y.start_minute = 0;
    y.severity = QUERY_SLO_TICKET;
    assert_false(alert_shares_cause(&x, &y));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_outage_pages_once_and_every_other_owner_gets_a_notice),
        cmocka_unit_test(when_the_first_is_over_and_the_other_burns_it_pages),
        cmocka_unit_test(a_cause_needs_a_region_and_nearly_all_bad_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
