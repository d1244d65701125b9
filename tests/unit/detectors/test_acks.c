/* Acknowledgements and the steps of an escalation: who is spared, who is told after all, and that none is lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/check.h"
#include "base/clock.h"
#include "detectors/acks.h"
#include "detectors/helper_burning.h"
#include "detectors/helper_state.h"
#include "query/helper_slo.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MINUTE INT64_C(60000)
#define START (INT64_C(29700000) * MINUTE + 45000)

static int64_t wall_ms = START;

static int64_t wall_ns(void)
{
    return wall_ms * 1000000;
}

/* --- an objective that burns, and nobody who delivers -------------------------------------------- */

static void rig_begin(struct helper_burning *r)
{
    wall_ms = START;
    int fd = helper_burning_begin(r);
    r->receiver_count = 2;
    r->receivers[0] = (struct detectors_receiver){
        .name = "first", .url = "http://127.0.0.1:1/", .repeat_ms = MINUTE};
    r->receivers[1] = (struct detectors_receiver){
        .name = "second", .url = "http://127.0.0.1:1/", .after_ms = 10 * MINUTE};
    helper_burning_document(fd, "answers", "checkout", "availability-request");
    close(fd);
    helper_burning_traffic(r, 30);
    helper_burning_open(r);
}

/* Both clocks, the evaluator's and the one on the wall, say this. */
static void evaluate(struct helper_burning *r, int64_t now_ms)
{
    wall_ms = now_ms;
    assert_int_equal(detectors_evaluate(r->d, now_ms), ERR_OK);
}

/* Notifications to a receiver whose event begins so. */
static size_t told(struct helper_burning *r, const char *receiver, const char *event)
{
    struct arena *a = arena_new(0);
    struct detectors_outbox_row *rows;
    size_t n, hits = 0;
    assert_int_equal(detectors_outbox(r->d, a, &rows, &n), ERR_OK);
    for (size_t i = 0; i < n; i++)
        hits += bytes_equal_str(rows[i].receiver, receiver) &&
                bytes_has_prefix(rows[i].event, bytes_str(event));
    arena_free(a);
    return hits;
}

static void fingerprint_of(struct helper_burning *r, char out[33])
{
    struct arena *a = arena_new(0);
    struct detectors_alert *rows;
    size_t n;
    assert_int_equal(detectors_alerts(r->d, a, &rows, &n), ERR_OK);
    assert_true(n == 1 && rows[0].state == DETECTORS_FIRING);
    memcpy(out, rows[0].fingerprint.data, 32);
    out[32] = 0;
    arena_free(a);
}

/* --- tests --------------------------------------------------------------------------------------- */

static void what_is_acknowledged_is_not_repeated_and_goes_no_further(void **state)
{
    (void)state;
    struct helper_burning r;
    struct err_msg msg;
    struct detectors_ack ack;
    char print[33];
    rig_begin(&r);
    evaluate(&r, START);
    evaluate(&r, START + 2 * MINUTE + 1);
    assert_int_equal(told(&r, "first", "firing"), 1);
    assert_int_equal(told(&r, "first", "repeat-"), 0); /* the first waits still: it says it all */
    assert_int_equal(told(&r, "second", ""), 0);
    fingerprint_of(&r, print);
    assert_int_equal(detectors_ack_put(r.d, bytes_str(print), BYTES_LIT("ann"), &msg), ERR_OK);
    helper_burning_again(&r);
    assert_true(detectors_ack_get(r.d, bytes_str(print), &ack));
    assert_string_equal(ack.by, "ann");
    assert_int_equal(detectors_ack_put(r.d, bytes_str(print), BYTES_LIT("bob"), &msg), ERR_OK);
    assert_true(detectors_ack_get(r.d, bytes_str(print), &ack));
    assert_string_equal(ack.by, "ann"); /* who was first */
    for (int64_t m = 3; m < 20; m++)
        evaluate(&r, START + m * MINUTE);
    assert_int_equal(told(&r, "second", ""), 0);
    helper_burning_end(&r);
}

static void nobody_took_it_so_the_next_step_is_told_once_it_is_time(void **state)
{
    (void)state;
    struct helper_burning r;
    rig_begin(&r);
    evaluate(&r, START);
    for (int64_t m = 1; m < 10; m++)
        evaluate(&r, START + m * MINUTE);
    assert_int_equal(told(&r, "second", ""), 0);
    helper_burning_again(&r); /* the moment of firing outlives the process */
    evaluate(&r, START + 10 * MINUTE - 1);
    assert_int_equal(told(&r, "second", ""), 0);
    evaluate(&r, START + 10 * MINUTE);
    assert_int_equal(told(&r, "second", "firing"), 1);
    helper_burning_again(&r);
    evaluate(&r, START + 11 * MINUTE);
    assert_int_equal(told(&r, "second", "firing"), 1);
    assert_int_equal(told(&r, "first", "firing"), 1);
    helper_burning_end(&r);
}

static void an_acknowledgement_is_kept_or_refused_at_every_write(void **state)
{
    (void)state;
    unsigned taken = 0;
    for (unsigned n = 1; n < 6; n++) {
        struct helper_burning r;
        struct err_msg msg;
        struct detectors_ack ack;
        char print[33];
        rig_begin(&r);
        evaluate(&r, START);
        fingerprint_of(&r, print);
        helper_state_fail_at(r.state, n);
        enum err e = detectors_ack_put(r.d, bytes_str(print), BYTES_LIT("ann"), &msg);
        helper_state_fail_at(r.state, 0);
        assert_int_equal(detectors_ack_get(r.d, bytes_str(print), &ack), e == ERR_OK);
        helper_burning_again(&r);
        assert_int_equal(detectors_ack_get(r.d, bytes_str(print), &ack), e == ERR_OK);
        taken += e == ERR_OK;
        helper_burning_end(&r);
    }
    assert_true(taken >= 1 && taken < 5);
}

static void only_what_fires_can_be_acknowledged_and_by_somebody(void **state)
{
    (void)state;
    struct helper_burning r;
    struct err_msg msg;
    char print[33];
    rig_begin(&r);
    evaluate(&r, START);
    fingerprint_of(&r, print);
    assert_int_equal(detectors_ack_put(r.d, BYTES_LIT("0"), BYTES_LIT("ann"), &msg), ERR_NOT_FOUND);
    assert_int_equal(detectors_ack_put(r.d, bytes_str(print), BYTES_NONE, &msg), ERR_INVALID);
    assert_int_equal(detectors_ack_put(r.d, bytes_str(print), BYTES_LIT("\xff"), &msg),
                     ERR_INVALID);
    helper_burning_end(&r);
}

static void a_link_is_for_one_alert_one_receiver_and_a_while(void **state)
{
    (void)state;
    struct helper_burning r;
    struct bytes print = BYTES_LIT("0123456789abcdef0123456789abcdef"), team = BYTES_LIT("team");
    char s[DETECTORS_ACK_SIGNATURE_MAX];
    int64_t until_s = START / 1000;
    rig_begin(&r);
    detectors_ack_sign(r.d, print, team, until_s, s);
    helper_burning_again(&r); /* the key outlives the process */
    assert_true(detectors_ack_is_signed(r.d, print, team, until_s, bytes_str(s), START));
    assert_false(detectors_ack_is_signed(r.d, print, team, until_s, bytes_str(s), START + 1000));
    assert_false(detectors_ack_is_signed(r.d, print, team, until_s + 9, bytes_str(s), START));
    assert_false(
        detectors_ack_is_signed(r.d, print, BYTES_LIT("tea"), until_s, bytes_str(s), START));
    assert_false(detectors_ack_is_signed(r.d, BYTES_LIT("x"), team, until_s, bytes_str(s), START));
    s[5] = s[5] == '0' ? '1' : '0';
    assert_false(detectors_ack_is_signed(r.d, print, team, until_s, bytes_str(s), START));
    assert_false(detectors_ack_is_signed(r.d, print, team, until_s, BYTES_NONE, START));
    helper_burning_end(&r);
}

static void a_row_reads_back_and_any_damage_is_refused(void **state)
{
    (void)state;
    struct detectors_ack x = {.at_ms = START}, y;
    struct buf b;
    strcpy(x.fingerprint, "0123456789abcdef0123456789abcdef");
    strcpy(x.by, "ann");
    buf_init(&b, 0);
    ack_encode(&x, &b);
    assert_int_equal(ack_decode(buf_bytes(&b), &y), ERR_OK);
    assert_string_equal(y.by, "ann");
    for (size_t n = 0; n < b.size; n++)
        assert_int_not_equal(ack_decode(bytes_of(b.data, n), &y), ERR_OK);
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_acknowledged_is_not_repeated_and_goes_no_further),
        cmocka_unit_test(nobody_took_it_so_the_next_step_is_told_once_it_is_time),
        cmocka_unit_test(an_acknowledgement_is_kept_or_refused_at_every_write),
        cmocka_unit_test(only_what_fires_can_be_acknowledged_and_by_somebody),
        cmocka_unit_test(a_link_is_for_one_alert_one_receiver_and_a_while),
        cmocka_unit_test(a_row_reads_back_and_any_damage_is_refused),
    };
    clock_test_set_wall(wall_ns);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
