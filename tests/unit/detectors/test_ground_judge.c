/* What the grounding checker learns and says: figures, trees, calibration, the whole way from judged data to a verdict, and hostile texts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "detectors/detectors_ground_lab.h"
#include "detectors/ground_judge.h"
#include "detectors/ground_measure.h"
#include "detectors/ground_negative.h"

static char directory[] = "/tmp/test_ground_XXXXXX";
static char model_path[64], data_path[64];
static struct ground *ground;
static struct arena *arena;

/* --- figures -------------------------------------------------------------------------------------- */

static void figures_are_those_of_the_definition(void **state)
{
    static const float score[] = {.9f, .8f, .8f, .4f, .3f, .1f};
    static const uint8_t label[] = {1, 1, 0, 0, 1, 0};
    /* Pairs of one of each: 3 × 3; won: 3 + 2.5 + 1. */
    assert_float_equal(ground_measure_auroc(score, label, 6), 6.5 / 9, 1e-9);
    struct ground_measure_at m = ground_measure_at(score, label, 6, .8);
    assert_float_equal(m.precision, 2. / 3, 1e-9);
    assert_float_equal(m.recall, 2. / 3, 1e-9);
    assert_float_equal(m.f1, 2. / 3, 1e-9);
    assert_float_equal(ground_measure_auprc(score, label, 6), (1 + 2. / 3 + 3. / 5) / 3, 1e-9);
    assert_float_equal(ground_measure_precision_at(score, label, 6, 1), 1, 1e-9);
    assert_float_equal(ground_measure_recall_at_fpr(score, label, 6, .01), 1. / 3, 1e-9);
    assert_float_equal(ground_measure_ece(score, label, 6),
                       (fabs(.9 - 1) + fabs(1.6 - 1) + .4 + fabs(.3 - 1) + .1) / 6, 1e-6);
    assert_true(isnan(ground_measure_auroc(score, label, 0)));
    assert_true(isnan(ground_measure_auroc(score, (const uint8_t[]){1, 1}, 2)));
    double t = ground_measure_best_threshold(score, label, 6);
    assert_true(ground_measure_at(score, label, 6, t).f1 >= .75 - 1e-9);
}

/* --- trees ---------------------------------------------------------------------------------------- */

static float random_unit(uint64_t *state)
{
    return (float)(ground_negative_random(state) >> 40) / (float)(1u << 24);
}

static const struct ground_tree_options small = {.trees = 60,
                                                 .rate = .2f,
                                                 .row_share = 1,
                                                 .column_share = 1,
                                                 .least = 1,
                                                 .lambda = 1,
                                                 .seed = 3};

static void trees_learn_what_no_single_column_tells(void **state)
{
    enum { N = 400 };
    static float rows[N * 3];
    static uint8_t label[N];
    uint64_t random = 1;
    struct buf form = {0}, again = {0};
    struct ground_trees t;
    unsigned right = 0;
    for (int i = 0; i < N; i++) {
        for (int k = 0; k < 3; k++)
            rows[3 * i + k] = random_unit(&random);
        label[i] = (rows[3 * i] > .5f) != (rows[3 * i + 1] > .5f);
    }
    assert_int_equal(ground_tree_fit(&small, rows, N, 3, label, NULL, &form), ERR_OK);
    assert_int_equal(ground_tree_fit(&small, rows, N, 3, label, NULL, &again), ERR_OK);
    assert_true(bytes_equal(buf_bytes(&form), buf_bytes(&again)));
    assert_int_equal(ground_tree_read(buf_bytes(&form), &t), ERR_OK);
    for (int i = 0; i < N; i++)
        right += (ground_tree_logit(&t, rows + 3 * i) > 0) == label[i];
    assert_true(right > N * 95 / 100);
    buf_done(&form), buf_done(&again);
}

static void bytes_that_are_no_trees_are_refused(void **state)
{
    static const float rows[] = {0, 1, 2, 3, 4, 5, 6, 7};
    static const uint8_t label[] = {0, 0, 0, 0, 1, 1, 1, 1};
    struct buf form = {0};
    struct ground_trees t;
    assert_int_equal(ground_tree_fit(&small, rows, 8, 1, label, NULL, &form), ERR_OK);
    for (size_t i = 0; i < form.size; i++)
        assert_int_equal(ground_tree_read(bytes_of(form.data, i), &t), ERR_CORRUPT);
    form.data[16] = 200; /* a column that is not there */
    assert_int_equal(ground_tree_read(buf_bytes(&form), &t), ERR_CORRUPT);
    buf_done(&form);
}

/* --- calibration ---------------------------------------------------------------------------------- */

static void a_curve_gives_the_shares_that_were_observed_and_never_falls(void **state)
{
    enum { N = 4000 };
    static float logit[N], p[N];
    static uint8_t label[N];
    uint64_t random = 9;
    struct ground_curve c, read;
    struct buf form = {0};
    for (int i = 0; i < N; i++) { /* over-confident three times over */
        float x = random_unit(&random) * 4 - 2;
        logit[i] = 3 * x + 1;
        label[i] = random_unit(&random) < 1 / (1 + expf(-x));
    }
    for (int n = 200; n <= N; n *= 20) { /* the line alone, then steps */
        assert_int_equal(ground_curve_fit(logit, label, (uint32_t)n, &c), ERR_OK);
        assert_int_equal(c.points > 0, n >= (int)GROUND_CURVE_LABELS_LEAST);
        for (int i = 0; i < n; i++)
            p[i] = ground_curve_probability(&c, logit[i]);
        assert_true(ground_measure_ece(p, label, (uint32_t)n) < (n < 1000 ? .09 : .03));
        float before = -1;
        for (float x = -20; x < 20; x += .01f) {
            float now = ground_curve_probability(&c, x);
            assert_true(now >= before && now >= 0 && now <= 1);
            before = now;
        }
    }
    ground_curve_write(&c, &form);
    struct reader r = reader_of(buf_bytes(&form));
    assert_int_equal(ground_curve_read(&r, &read), ERR_OK);
    assert_memory_equal(&read, &c, sizeof(c));
    buf_done(&form);
}

static void scores_that_mean_the_same_never_weigh_against_each_other(void **state)
{
    enum { N = 300 };
    static float rows[N * 2];
    static uint8_t label[N];
    uint64_t random = 5;
    float w[3];
    for (int i = 0; i < N; i++) { /* the second column is the first and noise, and says less */
        rows[2 * i] = random_unit(&random) * 6 - 3;
        rows[2 * i + 1] = rows[2 * i] + random_unit(&random) - .5f * (float)label[i];
        label[i] = random_unit(&random) < 1 / (1 + expf(-rows[2 * i]));
        rows[2 * i + 1] -= .3f * (float)label[i];
    }
    assert_int_equal(ground_curve_logistic(rows, N, 2, label, NULL, 1, 3, w), ERR_OK);
    assert_true(w[1] < 0); /* free, it does */
    assert_int_equal(ground_curve_logistic(rows, N, 2, label, NULL, 1, 0, w), ERR_OK);
    assert_true(w[0] > 0 && w[1] == 0);
}

static void tokens_over_the_threshold_are_joined_over_gaps_of_one(void **state)
{
    struct ground_split_range range = {0, 100};
    enum ground_kind kind = GROUND_CLAIM;
    struct ground_words none = {0};
    struct ground_answer answer = {BYTES_NONE, &range, &none, &kind, 1, false};
    struct ground_token t[12];
    static const int bad[12] = {0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 0};
    for (uint32_t i = 0; i < 12; i++)
        t[i] = (struct ground_token){i * 5, i * 5 + 4, bad[i] ? 3.f : -3.f};
    float trees = 0, p = .9f;
    struct ground_judge_input in = {&answer, &trees, t, 12, false, false};
    struct ground_judge j = {.span_token = .5f, .span_sentence = .5f};
    struct ground_span *s;
    uint32_t n;
    struct arena *a = arena_new(1u << 20);
    assert_int_equal(ground_judge_spans(&j, &in, &p, a, &s, &n), ERR_OK);
    assert_int_equal(n, 2);
    assert_true(s[0].begin == 5 && s[0].end == 19 && s[1].begin == 30 && s[1].end == 39);
    p = .1f;
    assert_int_equal(ground_judge_spans(&j, &in, &p, a, &s, &n), ERR_OK);
    assert_int_equal(n, 0);
    arena_free(a);
}

/* --- from data to a verdict ----------------------------------------------------------------------- */

static const char *const towns[] = {"Paris", "Rome",  "Oslo",  "Lima",
                                    "Cairo", "Delhi", "Quito", "Tunis"};

/* Contexts that name a town and a year; every other response says another year and town. */
static void write_data(const char *path)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    for (int i = 0; i < 120; i++) {
        int year = 1900 + i % 97;
        const char *town = towns[i % 8], *other = towns[(i + 3) % 8];
        fprintf(f,
                "{\"source_id\":%d,\"source\":\"House %d stands in %s. It was built in %d by "
                "masons from the hills. Many people like it.\",\"responses\":[",
                i, i, town, year);
        fprintf(f, "{\"response\":\"The house stands in %s. It was built in %d.\",\"labels\":[]},",
                town, year);
        fprintf(f,
                "{\"response\":\"The house stands in %s. It was built in "
                "%d.\",\"labels\":[{\"start\":20,\"end\":%zu}]}]}\n",
                other, year, 20 + strlen(other));
    }
    (void)fclose(f);
}

static int setup(void **state)
{
    const char *paths[] = {data_path};
    struct ground_lab_options o = {.paths = paths, .paths_count = 1, .out = model_path};
    struct ground_options open = {.model = model_path};
    struct err_msg msg = {""};
    if (!mkdtemp(directory))
        return 1;
    (void)snprintf(model_path, sizeof(model_path), "%s/m", directory);
    (void)snprintf(data_path, sizeof(data_path), "%s/d.jsonl", directory);
    write_data(data_path);
    o.report = fopen("/dev/null", "w");
    enum err e = ground_lab_train(&o, &msg);
    if (e == ERR_OK)
        e = ground_open(&open, &ground, &msg);
    if (e != ERR_OK)
        print_message("%s\n", msg.text);
    (void)fclose(o.report);
    arena = arena_new(1u << 30);
    return e != ERR_OK || !arena;
}

static int teardown(void **state)
{
    ground_close(ground);
    arena_free(arena);
    (void)unlink(model_path), (void)unlink(data_path), (void)rmdir(directory);
    return 0;
}

static struct ground_verdict check(struct bytes context, struct bytes response)
{
    struct ground_text t = {&context, 1, BYTES_NONE, response};
    struct ground_verdict v;
    struct err_msg msg = {""};
    arena_reset(arena);
    enum err e = ground_check(ground, &t, 0, arena, &v, &msg);
    if (e != ERR_OK)
        fail_msg("%s", msg.text);
    for (uint32_t i = 0; i < v.sentences_count; i++) {
        assert_true(v.sentences[i].begin < v.sentences[i].end &&
                    v.sentences[i].end <= response.size);
        assert_true(v.sentences[i].probability >= 0 && v.sentences[i].probability <= 1);
        for (uint32_t k = 0; k < v.sentences[i].evidence_count; k++)
            assert_true(v.sentences[i].evidence[k].end <= context.size);
    }
    for (uint32_t i = 0; i < v.spans_count; i++)
        assert_true(v.spans[i].begin < v.spans[i].end && v.spans[i].end <= response.size);
    return v;
}

#define CONTEXT                                                                               \
    BYTES_LIT("House 7 stands in Paris. It was built in 1931 by masons from the hills. Many " \
              "people like it.")

static void what_the_context_says_is_told_from_what_it_does_not(void **state)
{
    struct ground_verdict good =
        check(CONTEXT, BYTES_LIT("The house stands in Paris. It was built in 1931."));
    float low = good.probability;
    assert_int_equal(good.status, GROUND_JUDGED);
    assert_false(good.flagged);
    assert_true(good.sentences[1].evidence_count > 0);
    assert_int_equal(good.sentences[1].evidence[0].begin, 25); /* "It was built …" */
    struct ground_verdict bad =
        check(CONTEXT, BYTES_LIT("The house stands in Lima. It was built in 1931."));
    assert_true(bad.flagged);
    assert_true(bad.probability > low + .3f);
    assert_true(bad.sentences[0].probability > bad.sentences[1].probability);
    assert_true(bad.spans_count >= 1);
    assert_int_equal(bad.spans[0].begin, 0);
}

static void without_context_nothing_is_called_supported(void **state)
{
    struct ground_verdict v = check(BYTES_LIT("  \n"), BYTES_LIT("The house stands in Paris."));
    assert_int_equal(v.status, GROUND_UNVERIFIABLE);
    assert_false(v.flagged);
    assert_int_equal(check(BYTES_LIT("..."), BYTES_LIT("It is so.")).status, GROUND_UNVERIFIABLE);
    assert_int_equal(check(CONTEXT, BYTES_LIT("")).status, GROUND_NOTHING_TO_JUDGE);
    assert_int_equal(check(CONTEXT, BYTES_LIT("... !?")).status, GROUND_NOTHING_TO_JUDGE);
    v = check(CONTEXT, BYTES_LIT("I'm sorry, I am unable to answer that."));
    assert_int_equal(v.status, GROUND_NOTHING_TO_JUDGE);
    assert_false(v.flagged);
}

static void any_bytes_and_any_length_get_a_bounded_answer(void **state)
{
    static const char *const units[] = {
        "\xff\xfe\x80", "a",        ". ",           "A. ",          "1",
        "\n- x",        "{\"a\":[", "\xe2\x80\x99", "word Word 7. "};
    for (size_t u = 0; u < ARRAY_LEN(units); u++) {
        struct buf b = {0};
        while (b.size < 10u << 20)
            buf_str(&b, units[u]);
        struct ground_verdict v = check(CONTEXT, buf_bytes(&b));
        assert_true(v.cut || v.status == GROUND_NOTHING_TO_JUDGE);
        assert_true(v.sentences_count <= GROUND_SENTENCES_MAX);
        buf_done(&b);
    }
}

static void a_context_of_a_hundred_thousand_sentences_is_searched(void **state)
{
    struct buf b = {0};
    for (int i = 0; i < 100000; i++)
        buf_printf(&b, "Row %d is of no use to anyone. ", i);
    buf_str(&b, "The house stands in Paris.");
    struct ground_verdict v = check(buf_bytes(&b), BYTES_LIT("The house stands in Paris."));
    assert_int_equal(v.status, GROUND_JUDGED);
    assert_int_equal(v.sentences[0].evidence[0].begin, b.size - 26);
    buf_done(&b);
}

static void past_the_deadline_there_is_no_verdict(void **state)
{
    struct bytes context = CONTEXT;
    struct ground_text t = {&context, 1, BYTES_NONE, BYTES_LIT("The house stands in Paris.")};
    struct ground_verdict v;
    struct err_msg msg = {""};
    assert_int_equal(ground_check(ground, &t, 1, arena, &v, &msg), ERR_TIMEOUT);
    struct arena *little = arena_new(4096);
    assert_int_not_equal(ground_check(ground, &t, 0, little, &v, &msg), ERR_OK);
    arena_free(little);
}

static void a_file_that_is_no_checker_is_refused_with_a_sentence(void **state)
{
    struct ground *g;
    struct err_msg msg = {""};
    char path[80];
    struct ground_options o = {.model = path};
    (void)snprintf(path, sizeof(path), "%s/none", directory);
    assert_int_equal(ground_open(&o, &g, &msg), ERR_NOT_FOUND);
    (void)snprintf(path, sizeof(path), "%s/cut", directory);
    FILE *in = fopen(model_path, "r"), *out;
    static uint8_t all[4u << 20];
    size_t size = fread(all, 1, sizeof(all), in);
    (void)fclose(in);
    assert_true(size > 1000 && size < sizeof(all));
    for (size_t i = 0; i < 40; i++) { /* cut short, and with one byte wrong */
        size_t n = i < 20 ? size * i / 20 : size;
        out = fopen(path, "w");
        all[size * i / 41] ^= i < 20 ? 0 : 0x55;
        assert_int_equal(fwrite(all, 1, n, out), n);
        (void)fclose(out);
        all[size * i / 41] ^= i < 20 ? 0 : 0x55;
        msg.text[0] = 0;
        if (ground_open(&o, &g, &msg) == ERR_OK) {
            assert_true(i >= 20); /* a wrong number is a number still */
            ground_close(g);
        } else {
            assert_true(msg.text[0]);
        }
    }
    (void)unlink(path);
}

static void cross_validation_finds_what_was_put_in(void **state)
{
    const char *paths[] = {data_path};
    char *text = NULL;
    size_t size = 0;
    struct ground_lab_options o = {.paths = paths, .paths_count = 1};
    struct err_msg msg = {""};
    o.report = open_memstream(&text, &size);
    assert_int_equal(ground_lab_eval(&o, &msg), ERR_OK);
    (void)fclose(o.report);
    const char *row = strstr(text, "\nall ");
    unsigned n;
    double base, auroc;
    assert_non_null(row);
    assert_int_equal(sscanf(row, " all %u %lf | %lf", &n, &base, &auroc), 3);
    assert_int_equal(n, 240);
    assert_true(auroc > .95);
    free(text);
}

static void too_little_to_learn_from_is_said(void **state)
{
    struct ground_lab_options o = {.paths_count = 1, .out = "/dev/null"};
    struct err_msg msg = {""};
    char path[80];
    const char *paths[] = {path};
    (void)snprintf(path, sizeof(path), "%s/few.jsonl", directory);
    FILE *f = fopen(path, "w");
    fprintf(f, "{\"source_id\":1,\"source\":\"One.\",\"responses\":[{\"response\":\"One.\","
               "\"labels\":[]}]}\n");
    (void)fclose(f);
    o.paths = paths, o.report = fopen("/dev/null", "w");
    assert_int_equal(ground_lab_train(&o, &msg), ERR_INVALID);
    assert_non_null(strstr(msg.text, "too few"));
    (void)fclose(o.report);
    (void)unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_are_those_of_the_definition),
        cmocka_unit_test(trees_learn_what_no_single_column_tells),
        cmocka_unit_test(bytes_that_are_no_trees_are_refused),
        cmocka_unit_test(a_curve_gives_the_shares_that_were_observed_and_never_falls),
        cmocka_unit_test(scores_that_mean_the_same_never_weigh_against_each_other),
        cmocka_unit_test(tokens_over_the_threshold_are_joined_over_gaps_of_one),
        cmocka_unit_test(what_the_context_says_is_told_from_what_it_does_not),
        cmocka_unit_test(without_context_nothing_is_called_supported),
        cmocka_unit_test(any_bytes_and_any_length_get_a_bounded_answer),
        cmocka_unit_test(a_context_of_a_hundred_thousand_sentences_is_searched),
        cmocka_unit_test(past_the_deadline_there_is_no_verdict),
        cmocka_unit_test(a_file_that_is_no_checker_is_refused_with_a_sentence),
        cmocka_unit_test(cross_validation_finds_what_was_put_in),
        cmocka_unit_test(too_little_to_learn_from_is_said),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
