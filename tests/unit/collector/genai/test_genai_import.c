/* Price lists of others: every suffix, every reason to leave a row out. */
#include "collector/genai/genai_import.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct genai_import report;

/* The lines written, without the remark. */
static void becomes(const char *json, const char *lines)
{
    struct buf yaml = {0};
    struct err_msg msg = {""};
    report = (struct genai_import){0};
    if (genai_import_litellm(bytes_str(json), BYTES_LIT("s"), &report, &yaml, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    struct buf want = {0};
    buf_str(&want, "prices:\n");
    buf_str(&want, lines);
    if (!bytes_equal(buf_bytes(&yaml), buf_bytes(&want)))
        fail_msg("became " BYTES_FMT, BYTES_ARG(buf_bytes(&yaml)));
    buf_done(&yaml);
    buf_done(&want);
}

static void every_suffix_becomes_its_tier(void **state)
{
    becomes(
        "{\"sample_spec\": {\"input_cost_per_token\": 0.1, \"output_cost_per_token\": 0.1},"
        "\"m\": {\"litellm_provider\": \"openai\", \"mode\": \"chat\", \"max_input_tokens\": 9,"
        " \"input_cost_per_token\": 2.5e-06, \"output_cost_per_token\": 1.5e-05,"
        " \"cache_read_input_token_cost\": 2.5e-07, \"output_cost_per_reasoning_token\": 2e-05,"
        " \"input_cost_per_token_above_272k_tokens\": 5e-06, "
        "\"output_cost_per_token_above_272k_tokens\": 2.25e-05,"
        " \"cache_read_input_token_cost_above_272k_tokens\": 5e-07,"
        " \"input_cost_per_token_priority\": 0.000005, \"output_cost_per_token_priority\": 3E-5,"
        " \"input_cost_per_token_above_272k_tokens_batches\": 2.5e-6, "
        "\"output_cost_per_token_batches_above_272k_tokens\": 1.125e-5,"
        " \"supports_vision\": true, \"search_context_cost_per_query\": {\"input_cost_per_token\": "
        "1}}}",
        "  - {model: 'm', input: 2.5, cache_read: 0.25, output: 15, reasoning: 20, tiers: ["
        "{tier: default, above: 272000, input: 5, cache_read: 0.5, output: 22.5}, "
        "{tier: priority, above: 0, input: 5, output: 30}, "
        "{tier: batch, above: 272000, input: 2.5, output: 11.25}], source: 's'}\n");
    assert_int_equal(report.models, 1);
    assert_int_equal(report.rows, 4);
    becomes("{\"claude-x\": {\"litellm_provider\": \"anthropic\", \"input_cost_per_token\": 3e-06, "
            "\"output_cost_per_token\": 1.5e-05,"
            " \"cache_creation_input_token_cost\": 3.75e-06, "
            "\"cache_creation_input_token_cost_above_1hr\": 6e-06,"
            " \"cache_creation_input_token_cost_above_1hr_above_200k_tokens\": 1.2e-05,"
            " \"input_cost_per_token_above_200k_tokens\": 6e-06, "
            "\"output_cost_per_token_above_200k_tokens\": 2.25e-05}}",
            "  - {model: 'claude-x', input: 3, cache_write: 3.75, cache_write_1h: 6, output: 15, "
            "tiers: ["
            "{tier: default, above: 200000, input: 6, cache_write_1h: 12, output: 22.5}], source: "
            "'s'}\n");
    becomes(
        "{\"n\": {\"input_cost_per_token\": 1e-06, \"output_cost_per_token\": 2e-06, "
        "\"service_tier_pricing\":"
        " {\"priority\": {\"input_cost_per_token\": 2e-06, \"output_cost_per_token\": 4e-06}}}}",
        "  - {model: 'n', input: 1, output: 2, tiers: [{tier: priority, above: 0, input: 2, "
        "output: 4}], source: 's'}\n");
    becomes("{\"e\": {\"input_cost_per_token\": 1.3e-07, \"output_cost_per_token\": 0.0, "
            "\"input_cost_per_token_batches\": 6.5e-08}}",
            "  - {model: 'e', input: 0.13, output: 0, tiers: [{tier: batch, above: 0, input: "
            "0.065, output: 0}], source: 's'}\n");
}

static void audio_and_images_have_rates_of_their_own(void **state)
{
    becomes("{\"a\": {\"input_cost_per_token\": 4e-06, \"output_cost_per_token\": 1.6e-05, "
            "\"input_cost_per_audio_token\": 3.2e-05,"
            " \"output_cost_per_audio_token\": 6.4e-05, \"cache_read_input_audio_token_cost\": "
            "4e-07, \"input_cost_per_image_token\": 5e-06}}",
            "  - {model: 'a', input: 4, audio_input: 32, audio_cache_read: 0.4, image_input: 5, "
            "output: 16, audio_output: 64, source: 's'}\n");
    /* the same thing said twice: by token and by image */
    becomes("{\"i\": {\"input_cost_per_token\": 2e-06, \"output_cost_per_token\": 1.2e-05, "
            "\"output_cost_per_image\": 0.134, \"output_cost_per_image_token\": 0.00012},"
            "\"j\": {\"input_cost_per_token\": 2e-06, \"output_cost_per_token\": 0, "
            "\"output_cost_per_image\": 0.04, \"input_cost_per_request\": 0.005}}",
            "  - {model: 'i', input: 2, output: 12, image_output: 120, source: 's'}\n"
            "  - {model: 'j', input: 2, output: 0, image: 0.04, request: 0.005, source: 's'}\n");
}

static void a_name_with_a_path_is_its_providers_and_never_shadows_the_bare_one(void **state)
{
    becomes(
        "{\"azure/us/gpt-x\": {\"litellm_provider\": \"azure\", \"input_cost_per_token\": 1.1e-06, "
        "\"output_cost_per_token\": 1e-06},"
        "\"azure/gpt-x\": {\"litellm_provider\": \"azure\", \"input_cost_per_token\": 1e-06, "
        "\"output_cost_per_token\": 1e-06},"
        "\"azure/eu/gpt-x\": {\"litellm_provider\": \"azure\", \"input_cost_per_token\": 1e-06, "
        "\"output_cost_per_token\": 1e-06},"
        "\"openrouter/openai/gpt-x\": {\"litellm_provider\": \"openrouter\", "
        "\"input_cost_per_token\": 9e-06, \"output_cost_per_token\": 9e-06},"
        "\"gpt-x\": {\"litellm_provider\": \"openai\", \"input_cost_per_token\": 2e-06, "
        "\"output_cost_per_token\": 2e-06},"
        "\"anthropic.claude-y-v1:0\": {\"litellm_provider\": \"bedrock_converse\", "
        "\"input_cost_per_token\": 3e-06, \"output_cost_per_token\": 3e-06},"
        "\"us.anthropic.claude-y-v1:0\": {\"litellm_provider\": \"bedrock_converse\", "
        "\"input_cost_per_token\": 4e-06, \"output_cost_per_token\": 3e-06}}",
        "  - {model: 'claude-y-v1:0', provider: 'aws.bedrock', input: 3, output: 3, source: 's'}\n"
        "  - {model: 'gpt-x', input: 2, output: 2, source: 's'}\n"
        "  - {model: 'gpt-x', provider: 'azure.ai.openai', input: 1, output: 1, source: 's'}\n"
        "  - {model: 'gpt-x', provider: 'openrouter', input: 9, output: 9, source: 's'}\n");
    assert_int_equal(report.skipped[GENAI_IMPORT_SHADOW], 2);
    assert_int_equal(report.skipped[GENAI_IMPORT_SAME], 1);
    becomes("{\"ft:gpt-4o-2024-08-06\": {\"litellm_provider\": \"openai\", "
            "\"input_cost_per_token\": 3.75e-06, \"output_cost_per_token\": 1.5e-05}}",
            "  - {model: 'ft:gpt-4o-2024-08-06:*', input: 3.75, output: 15, source: 's'}\n");
}

static uint32_t seen[GENAI_IMPORT_SKIP_COUNT];
static void count_skip(void *ctx, struct bytes name, enum genai_import_skip why)
{
    assert_true(name.size < 1000);
    assert_true(strlen(genai_import_why(why)) > 0);
    seen[why]++;
}

static void what_has_no_price_is_left_out_and_said(void **state)
{
    struct buf yaml = {0};
    struct err_msg msg = {""};
    report = (struct genai_import){.skip = count_skip};
    struct bytes json =
        BYTES_LIT("{\"a\": {\"input_cost_per_token\": 1e-06}, \"b\": {\"output_cost_per_token\": "
                  "1e-06}, \"c\": {},"
                  "\"d\": {\"input_cost_per_token\": 0.0, \"output_cost_per_token\": 0},"
                  "\"e\": {\"input_cost_per_token\": -1e-6, \"output_cost_per_token\": 1e-6},"
                  "\"f\": {\"input_cost_per_token\": \"1e-6\", \"output_cost_per_token\": 1e-6},"
                  "\"g\": {\"input_cost_per_token\": 1e300, \"output_cost_per_token\": 1e-6},"
                  "\"h\": {\"input_cost_per_token\": 1e-6, \"output_cost_per_token\": 1e-6, "
                  "\"output_cost_per_token_flex\": 1e-6},"
                  "\"\": {\"input_cost_per_token\": 1e-6, \"output_cost_per_token\": 1e-6},"
                  "\"i\\u0007\": {\"input_cost_per_token\": 1e-6, \"output_cost_per_token\": 1e-6},"
                  "\"k\": {\"input_cost_per_token\": 1.2345e-12, \"output_cost_per_token\": 1e-6, "
                  "\"input_cost_per_second\": 7}}");
    assert_int_equal(genai_import_litellm(json, BYTES_LIT("it's"), &report, &yaml, &msg), ERR_OK);
    assert_true(bytes_equal_str(buf_bytes(&yaml),
                                "prices:\n  - {model: 'h', input: 1, output: 1, source: 'it''s'}\n"
                                "  - {model: 'k', input: 0.000001, output: 1, source: 'it''s'}\n"));
    assert_int_equal(seen[GENAI_IMPORT_NO_RATE], 3);
    assert_int_equal(seen[GENAI_IMPORT_FREE], 1);
    assert_int_equal(seen[GENAI_IMPORT_NUMBER], 3);
    assert_int_equal(seen[GENAI_IMPORT_TIER], 1);
    assert_int_equal(seen[GENAI_IMPORT_NAME], 2);
    assert_int_equal(report.rounded, 1);
    buf_done(&yaml);
}

static void what_is_no_json_is_refused_with_its_place(void **state)
{
    static const char *const bad[] = {"", "{", "{\"a\": {\"input_cost_per_token\": }}",
                                      "[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct buf yaml = {0};
        struct err_msg msg = {""};
        report = (struct genai_import){0};
        assert_int_not_equal(
            genai_import_litellm(bytes_str(bad[i]), BYTES_LIT("s"), &report, &yaml, &msg), ERR_OK);
        assert_true(msg.text[0]);
        buf_done(&yaml);
    }
    becomes("[]", "  []\n");
    becomes("{\"a\": 3, \"b\": [1, {\"c\": 2}]}", "  []\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_suffix_becomes_its_tier),
        cmocka_unit_test(audio_and_images_have_rates_of_their_own),
        cmocka_unit_test(a_name_with_a_path_is_its_providers_and_never_shadows_the_bare_one),
        cmocka_unit_test(what_has_no_price_is_left_out_and_said),
        cmocka_unit_test(what_is_no_json_is_refused_with_its_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
