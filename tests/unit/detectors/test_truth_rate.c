/* The published formulas at worked examples, and the promise of an interval: it holds the truth 93 times of 100 or more. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "detectors/truth_rate.h"

static uint64_t seed;

static double uniform(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(seed >> 11) / 9007199254740992.0;
}

static double normal(void)
{
    return sqrt(-2 * log(uniform() + 1e-300)) * cos(6.283185307179586 * uniform());
}

/* A response: bad with the rate; its logit is normal around -1 or +1, so the scores are neither calibrated nor good. */
static struct truth_label draw(double rate)
{
    struct truth_label l = {.weight = 1};
    l.is_bad = uniform() < rate;
    l.logit = (l.is_bad ? 1 : -1) + normal();
    l.score = 1 / (1 + exp(-l.logit));
    l.is_flagged = l.score >= 0.5;
    return l;
}

/* What is checked is not chosen alike: half of the anomalous, that are bad more often, a twentieth of the rest. */
static struct truth_label draw_weighted(double rate)
{
    for (;;) {
        bool is_anomalous = uniform() < 0.2;
        struct truth_label l = draw(is_anomalous ? rate * 2 : rate * 0.75);
        double share = is_anomalous ? 0.5 : 0.05;
        l.weight = 1 / share;
        if (uniform() < share)
            return l;
    }
}

struct tally {
    unsigned covered, n;
    double width, raw;
};

static struct tally simulate(double rate, size_t labels, size_t pool_size, bool weighted, bool rg)
{
    struct tally t = {0};
    struct truth_label *l = calloc(labels, sizeof *l);
    for (unsigned round = 0; round < 1500; round++) {
        struct truth_pool pool = {0};
        struct truth_interval i;
        double lambda;
        for (size_t k = 0; k < labels; k++)
            l[k] = weighted ? draw_weighted(rate) : draw(rate);
        for (size_t k = 0; k < pool_size; k++) {
            struct truth_label x = weighted ? draw_weighted(rate) : draw(rate);
            truth_pool_add(&pool, x.score, x.is_flagged, x.weight);
        }
        bool ok = rg ? truth_rate_rogan_gladen(l, labels, &pool, &i)
                     : truth_rate_ppi(l, labels, &pool, &i, &lambda);
        if (!ok)
            continue;
        assert_true(0 <= i.low && i.low <= i.rate && i.rate <= i.high && i.high <= 1);
        t.n++;
        t.covered += i.low <= rate && rate <= i.high;
        t.width += i.high - i.low;
        t.raw += fabs(pool.wf / pool.w - rate) < 0.01;
    }
    free(l);
    return t;
}

static void the_interval_of_ppi_holds_the_truth(void **state)
{
    static const struct {
        double rate;
        size_t labels;
        bool weighted;
    } cases[] = {{0.05, 50, false}, {0.05, 200, false}, {0.1, 50, false}, {0.1, 300, false},
                 {0.3, 50, false},  {0.3, 300, false},  {0.1, 100, true}, {0.2, 300, true}};
    seed = 7;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct tally t = simulate(cases[i].rate, cases[i].labels, 1000, cases[i].weighted, false);
        double coverage = (double)t.covered / t.n;
        print_message("rate %.2f, %zu labels%s: coverage %.3f, width %.3f\n", cases[i].rate,
                      cases[i].labels, cases[i].weighted ? ", weighted" : "", coverage,
                      t.width / t.n);
        assert_int_equal(t.n, 1500);
        assert_true(coverage >= 0.93);
    }
}

static void the_interval_of_rogan_and_gladen_holds_the_truth(void **state)
{
    static const double rates[] = {0.1, 0.3};
    seed = 8;
    for (size_t i = 0; i < ARRAY_LEN(rates); i++) {
        struct tally t = simulate(rates[i], 200, 1000, false, true);
        print_message("rate %.2f: coverage %.3f, width %.3f, %u told\n", rates[i],
                      (double)t.covered / t.n, t.width / t.n, t.n);
        assert_true(t.n > 1300 && (double)t.covered / t.n >= 0.93);
    }
}

/* The share of flags itself is far off: it would be red here. */
static void the_raw_share_of_flags_is_not_the_rate(void **state)
{
    seed = 9;
    struct tally t = simulate(0.1, 50, 1000, false, false);
    assert_true(t.raw / t.n < 0.05);
}

static void scores_that_know_make_the_interval_narrower(void **state)
{
    struct truth_label l[200];
    struct truth_pool pool = {0}, none = {0};
    struct truth_interval with, without;
    double lambda, zero;
    seed = 10;
    for (size_t i = 0; i < ARRAY_LEN(l); i++) {
        l[i] = draw(0.3);
        l[i].score = l[i].is_bad ? 0.9 : 0.1;
    }
    for (size_t i = 0; i < 5000; i++)
        truth_pool_add(&pool, uniform() < 0.3 ? 0.9 : 0.1, false, 1);
    assert_true(truth_rate_ppi(l, ARRAY_LEN(l), &pool, &with, &lambda));
    assert_true(truth_rate_ppi(l, ARRAY_LEN(l), &none, &without, &zero));
    assert_true(lambda > 0.9 && zero == 0);
    assert_true((with.high - with.low) * 2 < without.high - without.low);
}

static void too_few_labels_say_nothing(void **state)
{
    struct truth_label l[TRUTH_PPI_LABELS_MIN - 1];
    struct truth_pool pool = {0};
    struct truth_interval i = {.rate = 7};
    double lambda;
    for (size_t k = 0; k < ARRAY_LEN(l); k++)
        l[k] = draw(0.2);
    assert_false(truth_rate_ppi(l, ARRAY_LEN(l), &pool, &i, &lambda));
    assert_false(truth_rate_rogan_gladen(l, ARRAY_LEN(l), &pool, &i));
    assert_true(i.rate == 7);
}

/* 50 of 100 flagged, sensitivity 80/100, specificity 90/100: (0.5 + 0.9 - 1) / (0.8 + 0.9 - 1) */
static void rogan_and_gladen_is_their_formula(void **state)
{
    struct truth_label l[200] = {0};
    struct truth_pool pool = {0};
    struct truth_interval i;
    for (size_t k = 0; k < 200; k++)
        l[k] = (struct truth_label){
            .weight = 1, .is_bad = k < 100, .is_flagged = k < 100 ? k < 80 : k >= 190};
    for (size_t k = 0; k < 100; k++)
        truth_pool_add(&pool, 0, k < 50, 1);
    assert_true(truth_rate_rogan_gladen(l, 200, &pool, &i));
    assert_true(fabs(i.rate - 0.4 / 0.7) < 1e-12);
}

static void platt_finds_the_sigmoid_and_leans_on_its_prior_without_labels(void **state)
{
    struct truth_label *l = calloc(20000, sizeof *l);
    struct truth_platt prior = {1, 0};
    seed = 11;
    for (size_t i = 0; i < 20000; i++) {
        double x = 3 * normal();
        l[i] = (struct truth_label){.logit = x, .weight = 1};
        l[i].is_bad = uniform() < 1 / (1 + exp(-(0.5 * x - 1)));
    }
    struct truth_platt p = truth_rate_platt(l, 20000, prior, 20);
    assert_true(fabs(p.a - 0.5) < 0.03 && fabs(p.b + 1) < 0.06);
    p = truth_rate_platt(l, 0, prior, 20);
    assert_true(p.a == 1 && p.b == 0);
    p = truth_rate_platt(l, 20, prior, 20);
    assert_true(p.a > 0.2 && p.a < 1.2 && p.b < 0.1 && p.b > -1.2);
    for (size_t i = 0; i < 20; i++)
        l[i].is_bad = l[i].logit > 0; /* can be told apart: the slope would have no end */
    p = truth_rate_platt(l, 20, prior, 20);
    assert_true(isfinite(p.a) && p.a < 10);
    free(l);
}

static void isotonic_steps_rise_and_pool_what_is_out_of_order(void **state)
{
    struct truth_label l[] = {{.score = 0.1, .weight = 1},
                              {.score = 0.4, .weight = 1},
                              {.score = 0.2, .weight = 1, .is_bad = true},
                              {.score = 0.9, .weight = 1, .is_bad = true},
                              {.score = 0.9, .weight = 1}};
    double bound[5], value[5];
    size_t n = truth_rate_isotonic(l, 5, bound, value);
    /* 0.1 -> 0; 0.2 and 0.4 -> 1/2, and 0.9 twice -> 1/2: one step, for steps that do not rise are pooled */
    assert_int_equal(n, 2);
    assert_true(bound[0] == 0.1 && value[0] == 0);
    assert_true(bound[1] == 0.2 && value[1] == 0.5);
}

static void thresholds_keep_their_promise_on_new_responses(void **state)
{
    unsigned false_flags = 0, missed = 0, clean = 0, bad = 0;
    double scratch[400], precise, triage;
    struct truth_label l[400];
    seed = 12;
    for (unsigned round = 0; round < 300; round++) {
        for (size_t i = 0; i < 400; i++)
            l[i] = draw(0.3);
        assert_true(truth_rate_precision_threshold(l, 400, 0.05, scratch, &precise));
        assert_true(truth_rate_triage_threshold(l, 400, 0.1, scratch, &triage));
        for (size_t i = 0; i < 100; i++) {
            struct truth_label x = draw(0.3);
            false_flags += !x.is_bad && x.score >= precise;
            missed += x.is_bad && x.score < triage;
            clean += !x.is_bad;
            bad += x.is_bad;
        }
    }
    assert_true((double)false_flags / clean < 0.055);
    assert_true((double)missed / bad < 0.11 && (double)missed / bad > 0.08);
    assert_false(truth_rate_precision_threshold(l, 5, 0.01, scratch, &precise));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_interval_of_ppi_holds_the_truth),
        cmocka_unit_test(the_interval_of_rogan_and_gladen_holds_the_truth),
        cmocka_unit_test(the_raw_share_of_flags_is_not_the_rate),
        cmocka_unit_test(scores_that_know_make_the_interval_narrower),
        cmocka_unit_test(too_few_labels_say_nothing),
        cmocka_unit_test(rogan_and_gladen_is_their_formula),
        cmocka_unit_test(platt_finds_the_sigmoid_and_leans_on_its_prior_without_labels),
        cmocka_unit_test(isotonic_steps_rise_and_pool_what_is_out_of_order),
        cmocka_unit_test(thresholds_keep_their_promise_on_new_responses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
