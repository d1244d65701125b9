/* What the grounding checker reads before it judges: words, sentences, contexts, parts, data. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/check.h"
#include "detectors/ground_example.h"
#include "detectors/ground_json.h"
#include "detectors/ground_negative.h"

static struct arena *arena;

static int setup(void **state)
{
    arena = arena_new(256u << 20);
    return arena ? 0 : 1;
}
static int teardown(void **state)
{
    arena_free(arena);
    return 0;
}

/* --- sentences ------------------------------------------------------------------------------------ */

static void expect_sentences(const char *text, const char *const *want, uint32_t n)
{
    struct ground_split_range *r;
    uint32_t count;
    bool cut = false;
    struct bytes t = bytes_str(text);
    assert_int_equal(ground_split_text(t, 100, arena, &r, &count, &cut), ERR_OK);
    for (uint32_t i = 0; i < MIN(n, count); i++) {
        struct bytes s = bytes_slice(t, r[i].begin, r[i].end);
        if (!bytes_equal_str(s, want[i]))
            fail_msg("sentence %u is '" BYTES_FMT "', not '%s'", i, BYTES_ARG(s), want[i]);
    }
    assert_int_equal(count, n);
}
#define EXPECT(text, ...)                              \
    do {                                               \
        const char *const want[] = {__VA_ARGS__};      \
        expect_sentences(text, want, ARRAY_LEN(want)); \
    } while (0)

static void sentences_end_at_marks_and_not_at_abbreviations(void **state)
{
    EXPECT("It opened. It closed!", "It opened.", "It closed!");
    EXPECT("Dr. Smith met Mr. J. Jones at 5 p.m. on Main St. Louis.",
           "Dr. Smith met Mr. J. Jones at 5 p.m. on Main St. Louis.");
    EXPECT("It costs $3.50 (approx. 3 euros). Fine.", "It costs $3.50 (approx. 3 euros).", "Fine.");
    EXPECT("He said \"Stop.\" Then he left.", "He said \"Stop.\"", "Then he left.");
    EXPECT("See e.g. the report, i.e. page 3.", "See e.g. the report, i.e. page 3.");
    EXPECT("Wait... what? Yes.", "Wait... what?", "Yes.");
    EXPECT("今日は晴れです。明日は雨です。", "今日は晴れです。", "明日は雨です。");
}

static void lists_and_line_ends_separate_but_wrapped_lines_go_on(void **state)
{
    EXPECT("Steps:\n1. Open it\n2. Close it", "Steps:", "1. Open it", "2. Close it");
    EXPECT("- one thing\n- another thing", "- one thing", "- another thing");
    EXPECT("A title\n\nthen text", "A title", "then text");
    EXPECT("this line goes\non in the next", "this line goes\non in the next");
}

static void a_sentence_without_an_end_is_cut_at_a_blank_and_never_inside_a_character(void **state)
{
    struct buf b = {0};
    for (int i = 0; i < 3000; i++)
        buf_str(&b, i % 7 ? "é" : "é ");
    struct ground_split_range *r;
    uint32_t n;
    bool cut = false;
    struct bytes t = buf_bytes(&b);
    assert_int_equal(ground_split_text(t, 1000, arena, &r, &n, &cut), ERR_OK);
    assert_true(n > 5);
    for (uint32_t i = 0; i < n; i++) {
        assert_true(r[i].end - r[i].begin <= GROUND_SPLIT_BYTES_MAX);
        assert_true(bytes_is_utf8(bytes_slice(t, r[i].begin, r[i].end)));
    }
    buf_done(&b);
}

static void greetings_and_refusals_are_told_from_claims(void **state)
{
    assert_int_equal(ground_split_kind(BYTES_LIT("Sure! Here is a summary:"), true, false),
                     GROUND_META);
    assert_int_equal(ground_split_kind(BYTES_LIT("I hope this helps!"), false, true), GROUND_META);
    assert_int_equal(ground_split_kind(
                         BYTES_LIT("Here is where the king was crowned in 1066 by the archbishop."),
                         true, false),
                     GROUND_CLAIM);
    assert_int_equal(
        ground_split_kind(BYTES_LIT("Unable to answer based on given passages."), true, true),
        GROUND_REFUSAL);
    assert_int_equal(ground_split_kind(BYTES_LIT("The river is long."), false, false),
                     GROUND_CLAIM);
}

/* --- words ---------------------------------------------------------------------------------------- */

static void words_that_mean_the_same_have_the_same_stem(void **state)
{
    static const char *const pairs[][2] = {{"restaurants", "restaurant"},
                                           {"Opened", "opening"},
                                           {"1,209", "1209"},
                                           {"twelve", "12"},
                                           {"007", "7"},
                                           {"4.0", "4"},
                                           {"isn't", "not"},
                                           {"isn’t", "not"},
                                           {"cities", "city"},
                                           {"3rd", "3"},
                                           {"Smith's", "smith"}};
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++)
        if (ground_word_hash(bytes_str(pairs[i][0])) != ground_word_hash(bytes_str(pairs[i][1])))
            fail_msg("'%s' is not '%s'", pairs[i][0], pairs[i][1]);
    assert_int_not_equal(ground_word_hash(BYTES_LIT("2015")), ground_word_hash(BYTES_LIT("2016")));
}

/* --- contexts ------------------------------------------------------------------------------------- */

static void expect_lines(struct bytes document, const char *const *want, uint32_t n)
{
    struct ground_context c;
    assert_int_equal(ground_context_make(&document, 1, arena, &c), ERR_OK);
    for (uint32_t i = 0; i < MIN(n, c.count); i++)
        if (!bytes_equal_str(c.lines[i].text, want[i]))
            fail_msg("line %u is '" BYTES_FMT "', not '%s'", i, BYTES_ARG(c.lines[i].text),
                     want[i]);
    assert_int_equal(c.count, n);
}

static void json_is_one_line_a_leaf_with_times_and_dates_said_again(void **state)
{
    const char *const want[] = {"name: The \"Spot\"",
                                "hours Monday: 11:0-17:30 (11 am to 5:30 pm)",
                                "hours Sunday: 0:0-0:0 (24 hours)",
                                "attributes Business Parking street: true",
                                "Wi Fi: null",
                                "stars: 4.50",
                                "seen: 2023-11-29 17:30:00 (29 November 2023 5:30 pm)",
                                "tags: a",
                                "tags: b",
                                "reviews 1 text: good",
                                "reviews 2 text: bad"};
    expect_lines(
        BYTES_LIT(
            "{\"name\":\"The "
            "\\\"Spot\\\"\",\"hours\":{\"Monday\":\"11:0-17:30\",\"Sunday\":\"0:0-0:0\"},"
            "\"attributes\":{\"BusinessParking\":{\"street\":true}},\"WiFi\":null,\"stars\":4.50,"
            "\"seen\":\"2023-11-29 17:30:00\",\"tags\":[\"a\",\"b\"],"
            "\"reviews\":[{\"text\":\"good\"},{\"text\":\"bad\"}]}"),
        want, ARRAY_LEN(want));
}

static void json_that_was_cut_off_counts_as_far_as_it_goes(void **state)
{
    struct bytes document = BYTES_LIT("{\"a\": 1, \"b\": {\"c\": \"two\", \"d\": \"thr");
    struct ground_context c;
    assert_int_equal(ground_context_make(&document, 1, arena, &c), ERR_OK);
    assert_true(c.cut && c.json);
    assert_int_equal(c.count, 3);
    assert_true(bytes_equal_str(c.lines[2].text, "b d: thr"));
}

static void prose_that_begins_with_a_bracket_is_prose(void **state)
{
    const char *const want[] = {"[2] Eighteen is the age.", "It varies."};
    expect_lines(BYTES_LIT("[2] Eighteen is the age. It varies."), want, 2);
}

static void evidence_lies_where_its_line_says(void **state)
{
    struct bytes documents[] = {BYTES_LIT("First one. Second one."),
                                BYTES_LIT("{\"key\": \"value\"}")};
    struct ground_context c;
    assert_int_equal(ground_context_make(documents, 2, arena, &c), ERR_OK);
    assert_int_equal(c.count, 3);
    assert_true(bytes_equal_str(bytes_slice(documents[0], c.lines[1].begin, c.lines[1].end),
                                "Second one."));
    assert_true(
        bytes_equal_str(bytes_slice(documents[1], c.lines[2].begin, c.lines[2].end), "value"));
    assert_int_equal(c.lines[2].document, 1);
}

/* --- parts ---------------------------------------------------------------------------------------- */

static struct gpu_vocab *vocab_of_words(const char *words)
{
    struct gpu_vocab *v;
    struct err_msg msg;
    struct buf b = {0};
    buf_printf(&b, "[UNK]\n[CLS]\n[SEP]\n%s", words);
    assert_int_equal(gpu_vocab_new(buf_bytes(&b), &v, &msg), ERR_OK);
    buf_done(&b);
    return v;
}

static struct ground_idf flat_idf(void)
{
    static const uint8_t table[] = {1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x3f}; /* every word 1.0 */
    struct ground_idf idf;
    assert_int_equal(ground_idf_read(bytes_of(table, sizeof(table)), &idf), ERR_OK);
    return idf;
}

static void make_parts(struct gpu_vocab *v, struct bytes context, const char *question,
                       struct bytes response, struct ground_part **parts, uint32_t *n)
{
    struct ground_context c;
    struct ground_answer answer;
    struct ground_idf idf = flat_idf();
    assert_int_equal(ground_context_make(&context, 1, arena, &c), ERR_OK);
    assert_int_equal(ground_answer_make(response, arena, &answer), ERR_OK);
    struct ground_part_input in = {v, &idf, &c, bytes_str(question), &answer, false};
    assert_int_equal(ground_part_make(&in, arena, parts, n), ERR_OK);
}

static void a_part_is_evidence_question_and_sentences_in_segments_of_their_own(void **state)
{
    struct gpu_vocab *v = vocab_of_words("river\nlong\n.\nhow\nit\nis\nwet\n");
    struct ground_part *p;
    uint32_t n;
    make_parts(v, BYTES_LIT("River is long. It is wet."), "How long", BYTES_LIT("River long."), &p,
               &n);
    static const uint32_t ids[] = {1, 3, 8, 4, 5, 7, 8, 9, 5, 2, 6, 4, 2, 3, 4, 5, 2};
    static const uint8_t types[] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1};
    assert_int_equal(n, 1);
    assert_int_equal(p->count, ARRAY_LEN(ids));
    assert_memory_equal(p->ids, ids, sizeof(ids));
    assert_memory_equal(p->types, types, sizeof(types));
    assert_int_equal(p->first, 13);
    assert_int_equal(p->begin[14], 6);
    assert_int_equal(p->end[14], 10);
    gpu_vocab_free(v);
}

static void the_nearest_line_of_a_long_context_is_in_the_evidence(void **state)
{
    struct gpu_vocab *v = vocab_of_words("filler\nneedle\nof\nthe\nhay\n.\n");
    struct buf b = {0};
    for (int i = 0; i < 2000; i++)
        buf_str(&b, i == 1500 ? "Needle hay.\n" : "Filler the of.\n");
    struct ground_part *p;
    uint32_t n, hits = 0;
    make_parts(v, buf_bytes(&b), "", BYTES_LIT("Needle hay."), &p, &n);
    assert_int_equal(n, 1);
    assert_true(p->count > 480 && p->count <= GROUND_PART_LENGTH_MAX);
    for (uint32_t i = 0; i < p->first; i++)
        hits += p->ids[i] == 4; /* needle */
    assert_int_equal(hits, 1);
    buf_done(&b);
    gpu_vocab_free(v);
}

static void parts_are_whole_sentences_and_every_token_is_in_one(void **state)
{
    struct gpu_vocab *v = vocab_of_words("word\n.\n");
    struct buf b = {0};
    for (int s = 0; s < 40; s++) {
        for (int i = 0; i < (s == 20 ? 190 : 30); i++)
            buf_str(&b, i ? " word" : "Word");
        buf_str(&b, ". ");
    }
    struct ground_part *p;
    uint32_t n, tokens = 0, sentence = 0;
    make_parts(v, BYTES_LIT("Word."), "", buf_bytes(&b), &p, &n);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t own = p[i].count - p[i].first - 1;
        assert_true(own <= GROUND_PART_TOKENS_MAX);
        tokens += own;
        assert_true(p[i].sentence_begin == sentence || p[i].sentence_end == sentence);
        sentence = p[i].sentence_end;
    }
    assert_int_equal(sentence, 40);
    assert_int_equal(tokens, 39 * 31 + 191);
    buf_done(&b);
    gpu_vocab_free(v);
}

/* --- data ----------------------------------------------------------------------------------------- */

struct got {
    struct ground_sample s[16];
    uint32_t n, bad;
    uint64_t bad_line;
};
static enum err keep(void *ctx, const struct ground_sample *s)
{
    struct got *g = ctx;
    if (g->n < ARRAY_LEN(g->s))
        g->s[g->n++] = *s;
    return ERR_OK;
}
static void count_bad(void *ctx, const char *file, uint64_t line, const char *why)
{
    struct got *g = ctx;
    g->bad++;
    g->bad_line = line;
}

static void read_data(const char *text, struct got *g)
{
    struct ground_data_sink sink = {keep, count_bad, g};
    struct err_msg msg = {""};
    *g = (struct got){0};
    assert_int_equal(ground_data_read(bytes_str(text), "dir/set.jsonl", arena, &sink, &msg),
                     ERR_OK);
}

static void each_form_of_data_gives_its_samples(void **state)
{
    struct got g;
    read_data("{\"source_id\":7,\"source\":{\"question\":\"q\",\"passages\":\"p\"},\"responses\":[{"
              "\"response\":\"é bad\",\"labels\":[{\"start\":2,\"end\":5}]},"
              "{\"response\":\"fine\",\"labels\":[]}]}\n"
              "{\"context\":{\"a\":1},\"response\":\"x "
              "y\",\"spans\":[[2,3]],\"label\":1,\"granularity\":\"span\",\"set\":\"more\","
              "\"group\":\"ragtruth-7\"}\n"
              "{\"claim\":\"A b "
              "c.\",\"claim_tokens\":[\"A\",\"b\",\"c\",\".\"],\"non_supported_spans\":[false,true,"
              "true,false],\"label\":\"partially_supported\",\"evidence\":[\"e\"]}\n",
              &g);
    assert_int_equal(g.n, 4);
    assert_int_equal(g.bad, 0);
    assert_int_equal(g.s[0].task, GROUND_TASK_QA);
    assert_int_equal(g.s[0].label, 1);
    assert_int_equal(g.s[0].spans[0].begin, 3); /* é is two bytes */
    assert_int_equal(g.s[0].spans[0].end, 6);
    assert_int_equal(g.s[1].label, 0);
    assert_int_equal(g.s[1].index, 1);
    assert_int_equal(g.s[2].task, GROUND_TASK_DATA);
    assert_true(g.s[2].group == g.s[0].group); /* the same source in two sets */
    assert_int_equal(g.s[3].spans_count, 1);
    assert_int_equal(g.s[3].spans[0].begin, 2);
    assert_int_equal(g.s[3].spans[0].end, 5);
    read_data("[{\"doc\":\"d\",\"summary\":\"the red house\",\"original_summary\":\"the blue "
              "house\",\"label\":\"0\"},"
              "{\"doc\":\"d\",\"summary\":\"s\",\"original_summary\":\"s\",\"label\":\"1\"}]",
              &g);
    assert_int_equal(g.n, 2);
    assert_int_equal(g.s[0].spans[0].begin, 4);
    assert_int_equal(g.s[0].spans[0].end, 7);
    assert_int_equal(g.s[1].label, 0);
}

static void a_bad_line_is_named_and_the_rest_is_read(void **state)
{
    struct got g;
    read_data("{\"source_id\":1,\"source\":\"s\",\"responses\":[{\"response\":\"r\"}]}\n"
              "{broken\n"
              "{\"source_id\":2,\"source\":\"s\",\"responses\":[{\"response\":\"r\"}]}\n",
              &g);
    assert_int_equal(g.n, 2);
    assert_int_equal(g.bad, 1);
    assert_int_equal(g.bad_line, 2);
    assert_int_equal(g.s[0].label, -1);
}

static void tokens_of_a_marked_span_are_labelled_and_others_are_not(void **state)
{
    struct gpu_vocab *v = vocab_of_words("red\nblue\nhouse\nthe\n.\n");
    struct ground_idf idf = flat_idf();
    struct got g;
    struct ground_example *x;
    uint32_t n;
    read_data("{\"context\":\"The red house.\",\"response\":\"The blue "
              "house.\",\"spans\":[[4,8]],\"label\":1}\n"
              "{\"context\":\"The red house.\",\"response\":\"The blue "
              "house.\",\"spans\":[[0,15]],\"label\":1,\"granularity\":\"response\"}\n",
              &g);
    assert_int_equal(ground_example_make(&g.s[0], v, &idf, .5f, arena, &x, &n), ERR_OK);
    const int8_t *l = x->labels + x->part.first;
    assert_int_equal(n, 1);
    assert_true(l[0] == 0 && l[1] == 1 && l[2] == 0 && l[3] == 0 && l[4] == -1 && l[-1] == -1);
    assert_int_equal(x->whole, 1);
    assert_int_equal(ground_example_make(&g.s[1], v, &idf, .5f, arena, &x, &n), ERR_OK);
    assert_int_equal(x->labels[x->part.first], -1);
    assert_int_equal(x->whole, 1);
    gpu_vocab_free(v);
}

static void a_negative_says_something_that_the_clean_response_did_not(void **state)
{
    struct got g;
    unsigned made_count = 0;
    read_data(
        "{\"context\":\"In 1999 Anna Bell met Carl Dorn in Paris. In 2004 they left for "
        "Rome.\",\"response\":\"In 1999 they say that Anna Bell met Carl Dorn.\",\"label\":0}\n",
        &g);
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct ground_sample s;
        bool made;
        assert_int_equal(ground_negative_make(&g.s[0], seed, arena, &s, &made), ERR_OK);
        if (!made)
            continue;
        made_count++;
        assert_int_equal(s.spans_count, 1);
        assert_true(s.spans[0].end <= s.response.size && s.spans[0].begin < s.spans[0].end);
        assert_false(bytes_equal(s.response, g.s[0].response));
    }
    assert_true(made_count > 40);
}

static void words_that_many_texts_have_tell_less(void **state)
{
    struct ground_idf_counter *c = ground_idf_counter_new();
    struct ground_words w;
    struct buf b = {0};
    struct ground_idf idf;
    for (int i = 0; i < 40; i++) {
        assert_int_equal(
            ground_word_split(i % 4 ? BYTES_LIT("common") : BYTES_LIT("common scarce scarce"),
                              arena, &w),
            ERR_OK);
        assert_int_equal(ground_idf_counter_add(c, &w), ERR_OK);
    }
    ground_idf_counter_write(c, 2, 100, &b);
    assert_int_equal(ground_idf_read(buf_bytes(&b), &idf), ERR_OK);
    float common = ground_idf_of(&idf, ground_word_hash(BYTES_LIT("common")));
    float scarce = ground_idf_of(&idf, ground_word_hash(BYTES_LIT("scarce")));
    float absent = ground_idf_of(&idf, ground_word_hash(BYTES_LIT("absent")));
    assert_true(common < scarce && scarce < absent);
    for (size_t i = 0; i < b.size; i++)
        assert_int_equal(ground_idf_read(bytes_of(b.data, i), &idf), ERR_CORRUPT);
    buf_done(&b);
    ground_idf_counter_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sentences_end_at_marks_and_not_at_abbreviations),
        cmocka_unit_test(lists_and_line_ends_separate_but_wrapped_lines_go_on),
        cmocka_unit_test(a_sentence_without_an_end_is_cut_at_a_blank_and_never_inside_a_character),
        cmocka_unit_test(greetings_and_refusals_are_told_from_claims),
        cmocka_unit_test(words_that_mean_the_same_have_the_same_stem),
        cmocka_unit_test(json_is_one_line_a_leaf_with_times_and_dates_said_again),
        cmocka_unit_test(json_that_was_cut_off_counts_as_far_as_it_goes),
        cmocka_unit_test(prose_that_begins_with_a_bracket_is_prose),
        cmocka_unit_test(evidence_lies_where_its_line_says),
        cmocka_unit_test(a_part_is_evidence_question_and_sentences_in_segments_of_their_own),
        cmocka_unit_test(the_nearest_line_of_a_long_context_is_in_the_evidence),
        cmocka_unit_test(parts_are_whole_sentences_and_every_token_is_in_one),
        cmocka_unit_test(each_form_of_data_gives_its_samples),
        cmocka_unit_test(a_bad_line_is_named_and_the_rest_is_read),
        cmocka_unit_test(tokens_of_a_marked_span_are_labelled_and_others_are_not),
        cmocka_unit_test(a_negative_says_something_that_the_clean_response_did_not),
        cmocka_unit_test(words_that_many_texts_have_tell_less),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
