/* Labels of people and what they say with the verdicts: found by any id, once each, for ever; a rate with its interval, and none without labels. */
#include <ftw.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/clock.h"
#include "detectors/checker_rows.h"
#include "detectors/detectors_grounding.h"
#include "detectors/grounding_labels.h"

#define ORG 10u
#define VERDICTS 600u

static struct {
    char dir[64];
    struct tsdb *db;
    struct detectors_grounding *g;
    struct checker_rows rows;
    uint64_t seed;
    bool is_bad[VERDICTS];
} t;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    return remove(path);
}

static int setup(void **state)
{
    struct err_msg msg = {""};
    memset(&t, 0, sizeof t);
    snprintf(t.dir, sizeof t.dir, "/tmp/telltale-grounding-XXXXXX");
    assert_non_null(mkdtemp(t.dir));
    struct tsdb_options o = {.dir = t.dir};
    assert_int_equal(tsdb_open(&o, &t.db, &msg), ERR_OK);
    assert_int_equal(detectors_grounding_open(t.db, &t.g), ERR_OK);
    assert_true(checker_rows_init(&t.rows, t.db));
    t.seed = 5;
    return 0;
}

static int teardown(void **state)
{
    checker_rows_done(&t.rows);
    detectors_grounding_close(t.g);
    tsdb_close(t.db, false);
    nftw(t.dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return 0;
}

static double uniform(void)
{
    t.seed = t.seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(t.seed >> 11) / 9007199254740992.0;
}

static struct tsdb_id16 trace_of(uint32_t n)
{
    struct tsdb_id16 id = {{1}};
    bytes_put_u32le(id.b + 8, n);
    return id;
}

static void put_verdict(uint32_t n, const char *service, double probability, const char *version)
{
    char response[32];
    struct bytes document = BYTES_LIT("d");
    struct checker_origin origin = {.index = 0};
    snprintf(response, sizeof response, "resp-%u", n);
    struct ground_verdict v = {.status = GROUND_JUDGED,
                               .probability = (float)probability,
                               .flagged = probability >= 0.5,
                               .logit = (float)log(probability / (1 - probability))};
    struct ground_text text = {.documents = &document, .documents_count = 1, .response = document};
    struct checker_said call = {.org = ORG,
                                .trace_id = trace_of(n),
                                .span_id = {{7}},
                                .end_ns = clock_wall_ns() - (VERDICTS - n) * INT64_C(1000000)};
    call.text[CHECKER_SERVICE] = bytes_str(service);
    call.text[CHECKER_MODEL] = BYTES_LIT("m-1");
    call.text[CHECKER_RESPONSE_ID] = bytes_str(response);
    call.text[CHECKER_CONVERSATION] = BYTES_LIT("conv-1");
    struct checker_result r = {.call = &call,
                               .verdict = &v,
                               .text = &text,
                               .origins = &origin,
                               .score = probability,
                               .inclusion = 0.5,
                               .threshold = 0.5,
                               .version = version};
    assert_int_equal(checker_rows_verdict(&t.rows, &r), ERR_OK);
}

static void write_out(void)
{
    uint32_t n;
    assert_int_equal(checker_rows_write(&t.rows, &n), ERR_OK);
}

static void put_verdicts(void)
{
    for (uint32_t i = 0; i < VERDICTS; i++) {
        t.is_bad[i] = uniform() < 0.2;
        double u = uniform();
        put_verdict(i, "shop", t.is_bad[i] ? 0.95 - 0.6 * u * u : 0.05 + 0.6 * u * u, "v1");
    }
    write_out();
}

static struct grounding_feedback by_trace(uint32_t n, enum grounding_label label)
{
    return (struct grounding_feedback){
        .org = ORG, .has_trace = true, .trace_id = trace_of(n), .label = label};
}

static enum err feed(struct grounding_feedback f, struct grounding_target *out)
{
    struct err_msg msg = {""};
    return detectors_grounding_feedback(t.g, &f, out, &msg);
}

static struct grounding_report report(struct arena *a)
{
    struct tsdb_view *v;
    struct grounding_report out;
    int64_t now = clock_wall_ms();
    struct grounding_ask ask = {.org = ORG, .from_ms = now - 3600000, .to_ms = now + 60000};
    assert_int_equal(tsdb_view_open(t.db, ORG, NULL, &v), ERR_OK);
    assert_int_equal(detectors_grounding_report(t.g, v, &ask, a, &out), ERR_OK);
    tsdb_view_close(v);
    return out;
}

static void without_labels_no_rate_is_told(void **state)
{
    struct arena *a = arena_new(0);
    put_verdicts();
    struct grounding_report r = report(a);
    assert_int_equal(r.row_count, 1);
    assert_int_equal(r.rows[0].judged, VERDICTS);
    assert_false(r.rows[0].has_rate);
    assert_false(r.rows[0].has_rogan_gladen);
    assert_true(r.rows[0].is_stale);
    assert_true(isnan(r.rows[0].precision_threshold));
    assert_string_equal(r.rows[0].calibration, "none");
    assert_int_equal(r.service_count, 1);
    assert_int_equal(r.services[0].checked, VERDICTS);
    assert_true(r.is_complete);
    arena_free(a);
}

static void labels_make_a_rate_whose_interval_holds_the_truth(void **state)
{
    struct arena *a = arena_new(0);
    struct grounding_target target;
    uint32_t bad = 0;
    put_verdicts();
    for (uint32_t i = 0; i < 120; i++)
        assert_int_equal(
            feed(by_trace(i * 5, t.is_bad[i * 5] ? GROUNDING_HALLUCINATED : GROUNDING_SUPPORTED),
                 &target),
            ERR_OK);
    assert_int_equal(feed(by_trace(1, GROUNDING_OTHER), &target), ERR_OK);
    for (uint32_t i = 0; i < VERDICTS; i++)
        bad += t.is_bad[i];
    struct grounding_report r = report(a);
    const struct grounding_row *x = &r.rows[0];
    assert_int_equal(x->labels, 120);
    assert_int_equal(x->labels_other, 1);
    assert_true(x->has_rate && x->has_rogan_gladen);
    assert_true(x->low <= (double)bad / VERDICTS && (double)bad / VERDICTS <= x->high);
    assert_true(x->high - x->low < 0.15);
    assert_true(x->lambda > 0.3);
    assert_false(x->is_stale);
    assert_string_equal(x->calibration, "platt");
    assert_true(x->precision_threshold > 0.5 && x->triage_threshold > 0 &&
                x->triage_threshold < 0.6);
    arena_free(a);
}

static void the_same_word_twice_is_one_label_and_another_word_replaces_it(void **state)
{
    struct arena *a = arena_new(0);
    struct grounding_target target;
    enum grounding_label label;
    put_verdicts();
    assert_int_equal(feed(by_trace(3, GROUNDING_SUPPORTED), &target), ERR_OK);
    assert_true(target.is_new && target.is_judged);
    assert_int_equal(target.span_id.b[0], 7);
    assert_int_equal(feed(by_trace(3, GROUNDING_SUPPORTED), &target), ERR_OK);
    assert_true(!target.is_new && !target.is_changed);
    assert_int_equal(feed(by_trace(3, GROUNDING_HALLUCINATED), &target), ERR_OK);
    assert_true(!target.is_new && target.is_changed);
    struct grounding_report r = report(a);
    assert_int_equal(r.rows[0].labels, 1);
    assert_int_equal(r.rows[0].labels_bad, 1);
    assert_true(detectors_grounding_label(t.g, ORG, trace_of(3), target.span_id, &label));
    assert_int_equal(label, GROUNDING_HALLUCINATED);
    assert_false(detectors_grounding_label(t.g, ORG + 1, trace_of(3), target.span_id, &label));
    arena_free(a);
}

static void an_answer_is_found_by_its_response_and_a_conversation_by_its_newest(void **state)
{
    struct grounding_target target;
    put_verdicts();
    assert_int_equal(
        feed((struct grounding_feedback){.org = ORG, .response_id = BYTES_LIT("resp-5")}, &target),
        ERR_OK);
    assert_memory_equal(target.trace_id.b, trace_of(5).b, 16);
    assert_int_equal(
        feed((struct grounding_feedback){.org = ORG, .conversation_id = BYTES_LIT("conv-1")},
             &target),
        ERR_OK);
    assert_memory_equal(target.trace_id.b, trace_of(VERDICTS - 1).b, 16);
    assert_int_equal(
        feed((struct grounding_feedback){.org = ORG, .response_id = BYTES_LIT("resp-none")},
             &target),
        ERR_NOT_FOUND);
    assert_int_equal(
        feed((struct grounding_feedback){.org = ORG + 1, .response_id = BYTES_LIT("resp-5")},
             &target),
        ERR_NOT_FOUND);
    assert_int_equal(feed((struct grounding_feedback){.org = ORG}, &target), ERR_INVALID);
    /* a trace that was not judged may be labelled all the same */
    assert_int_equal(feed(by_trace(99999, GROUNDING_SUPPORTED), &target), ERR_OK);
    assert_false(target.is_judged);
}

/* A detector that is too sure of itself: of what it calls 90 % a half is bad. */
static void labels_calibrate_the_scores_of_their_application_and_lean_on_all_others(void **state)
{
    struct grounding_target target;
    struct grounding_stream shop = {ORG, BYTES_LIT("shop"), BYTES_LIT("m-1"), BYTES_LIT("v1")},
                            bank = {ORG, BYTES_LIT("bank"), BYTES_LIT("m-1"), BYTES_LIT("v1")},
                            later = {ORG, BYTES_LIT("shop"), BYTES_LIT("m-1"), BYTES_LIT("v2")};
    double last = 0;
    for (uint32_t i = 0; i < 60; i++)
        put_verdict(i, "shop", i % 2 ? 0.9 : 0.1, "v1");
    write_out();
    for (uint32_t i = 0; i < 20; i++)
        assert_int_equal(feed(by_trace(i, GROUNDING_SUPPORTED), &target), ERR_OK);
    assert_true(detectors_grounding_calibrate(t.g, &shop, 0.9) == 0.9); /* too few */
    for (uint32_t i = 20; i < 60; i++)
        assert_int_equal(
            feed(by_trace(i, i % 4 == 1 ? GROUNDING_HALLUCINATED : GROUNDING_SUPPORTED), &target),
            ERR_OK);
    double own = detectors_grounding_calibrate(t.g, &shop, 0.9),
           other = detectors_grounding_calibrate(t.g, &bank, 0.9);
    assert_true(own < 0.65 && own > 0.2);
    assert_true(other < 0.9 && other >= own);
    assert_true(detectors_grounding_calibrate(t.g, &later, 0.9) == 0.9);
    for (double p = 0; p <= 1; p += 0.05) {
        double q = detectors_grounding_calibrate(t.g, &shop, p);
        assert_true(q >= last && q <= 1);
        last = q;
    }
}

static void labels_outlive_the_process(void **state)
{
    struct arena *a = arena_new(0);
    struct grounding_target target;
    put_verdicts();
    for (uint32_t i = 0; i < 70; i++)
        assert_int_equal(feed(by_trace(i, GROUNDING_SUPPORTED), &target), ERR_OK);
    detectors_grounding_close(t.g);
    t.g = NULL;
    assert_int_equal(detectors_grounding_open(t.db, &t.g), ERR_OK);
    assert_int_equal(report(a).rows[0].labels, 70);
    arena_free(a);
}

static void scores_of_an_older_version_of_the_detector_are_not_mixed_in(void **state)
{
    struct arena *a = arena_new(0);
    struct grounding_target target;
    for (uint32_t i = 0; i < 100; i++)
        put_verdict(i, "shop", 0.9, i < 60 ? "v1" : "v2");
    write_out();
    assert_int_equal(feed(by_trace(1, GROUNDING_SUPPORTED), &target), ERR_OK);
    assert_int_equal(feed(by_trace(99, GROUNDING_SUPPORTED), &target), ERR_OK);
    struct grounding_report r = report(a);
    assert_int_equal(r.rows[0].judged, 40);
    assert_int_equal(r.rows[0].labels, 1);
    assert_true(bytes_equal_str(r.rows[0].version, "v2"));
    arena_free(a);
}

static void a_label_is_what_was_written_and_other_bytes_are_none(void **state)
{
    struct grounding_labelled l = {.org = 3,
                                   .label = GROUNDING_HALLUCINATED,
                                   .is_judged = true,
                                   .probability = 0.25,
                                   .logit = -1,
                                   .inclusion = 0.5,
                                   .at_ms = 77,
                                   .service = "shop"},
                              back;
    struct buf value = {0};
    uint8_t key[LABELS_KEY_BYTES];
    grounding_labels_key(&l, key);
    grounding_labels_encode(&l, &value);
    assert_true(grounding_labels_decode(bytes_of(key, sizeof key), buf_bytes(&value), &back));
    assert_memory_equal(&l, &back, sizeof l);
    for (size_t i = 0; i < value.size; i++)
        assert_false(
            grounding_labels_decode(bytes_of(key, sizeof key), bytes_of(value.data, i), &back));
    value.data[1] = 9;
    assert_false(grounding_labels_decode(bytes_of(key, sizeof key), buf_bytes(&value), &back));
    buf_done(&value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(without_labels_no_rate_is_told),
        T(labels_make_a_rate_whose_interval_holds_the_truth),
        T(the_same_word_twice_is_one_label_and_another_word_replaces_it),
        T(an_answer_is_found_by_its_response_and_a_conversation_by_its_newest),
        T(labels_calibrate_the_scores_of_their_application_and_lean_on_all_others),
        T(labels_outlive_the_process),
        T(scores_of_an_older_version_of_the_detector_are_not_mixed_in),
        cmocka_unit_test(a_label_is_what_was_written_and_other_bytes_are_none),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
