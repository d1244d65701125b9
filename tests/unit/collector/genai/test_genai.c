/* Dialects, token arithmetic, prices: every case of tests/fixtures/genai, to the unit. */
#include "helper_fixture.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void run_file(const char *path)
{
    struct fixture_file f = fixture_open(path);
    int wrong = 0, cases = 0;
    for (const struct json_node *n = f.cases; n; n = n->next, cases++)
        wrong += fixture_run_case(n, NULL, false);
    print_message("%s: %d cases\n", path, cases);
    fixture_close(&f);
    assert_true(cases > 0);
    assert_int_equal(wrong, 0);
}

static void every_dialect_becomes_the_same_columns_and_sums(void **state)
{
    run_file("genai/dialects.json");
}

static void token_rules_and_prices_match_to_the_unit(void **state)
{
    run_file("genai/tokens.json");
}

static void examples_of_wrong_costs_come_out_right_to_the_nano_dollar(void **state)
{
    run_file("genai/wrong_costs.json");
}

static void model_names_become_families(void **state)
{
    static const char *const pairs[][2] = {
        {"gpt-4o-2024-08-06", "gpt-4o"},
        {"gpt-4-1106-preview", "gpt-4-turbo"},
        {"gpt-4-0613", "gpt-4"},
        {"gpt-35-turbo", "gpt-3.5-turbo"},
        {"gpt-3.5-turbo-0125", "gpt-3.5-turbo"},
        {"us.anthropic.claude-3-5-sonnet-20241022-v2:0", "claude-3-5-sonnet"},
        {"claude-opus-4-6[1m]", "claude-opus-4-6"},
        {"claude-3-5-haiku@20241022", "claude-3-5-haiku"},
        {"models/gemini-1.5-pro-002", "gemini-1.5-pro"},
        {"gemini-2.5-pro-preview-05-06", "gemini-2.5-pro"},
        {"text-embedding-ada-002", "text-embedding-ada-002"},
        {"command-r-plus-08-2024", "command-r-plus"},
        {"mistral-large-2411", "mistral-large"},
        {"o1-preview-2024-09-12", "o1-preview"},
        {"ft:gpt-4o-mini-2024-07-18:acme::x1", "ft:gpt-4o-mini"},
        {"meta-llama/Llama-3.3-70B-Versatile", "llama-3.3-70b-versatile"},
        {"", ""},
        {"/", "/"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        char scratch[GENAI_MODEL_MAX];
        struct bytes got = genai_model_family(bytes_str(pairs[i][0]), scratch);
        if (!bytes_equal_str(got, pairs[i][1]))
            fail_msg("%s became " BYTES_FMT, pairs[i][0], BYTES_ARG(got));
    }
}

static void a_bad_price_document_says_where(void **state)
{
    static const char *const bad[] = {
        "prices:\n  - {model: x, input: 1}\n", "prices:\n  - {model: x, input: free, output: 1}\n",
        "prices: 3\n", "prices:\n  - {model: x, from: soon, input: 1, output: 1}\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct genai *g = NULL;
        struct err_msg msg = {""};
        struct genai_options o = {.prices_yaml = bytes_str(bad[i])};
        assert_int_equal(genai_new(&o, &g, &msg), ERR_INVALID);
        assert_true(bytes_find(bytes_str(msg.text), BYTES_LIT("line")) < strlen(msg.text));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_dialect_becomes_the_same_columns_and_sums),
        cmocka_unit_test(token_rules_and_prices_match_to_the_unit),
        cmocka_unit_test(examples_of_wrong_costs_come_out_right_to_the_nano_dollar),
        cmocka_unit_test(model_names_become_families),
        cmocka_unit_test(a_bad_price_document_says_where),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
