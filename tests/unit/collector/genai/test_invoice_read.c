/* Exports of providers, CSV and JSON, become the same sums; cost centres have dates. */
#include "collector/genai/invoice_centres.h"
#include "collector/genai/invoice_read.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define OCT_1 20362u /* 2025-10-01 */

static struct invoice *read_as(enum invoice_provider p, const char *columns, const char *text)
{
    struct invoice *v = invoice_new();
    struct invoice_columns c;
    struct err_msg msg = {""};
    assert_non_null(v);
    if (columns)
        assert_int_equal(invoice_columns_parse(bytes_str(columns), &c, &msg), ERR_OK);
    if (invoice_read(v, p, columns ? &c : NULL, bytes_str(text), &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    return v;
}

static const struct invoice_sums *line(const struct invoice *v, uint32_t day, const char *model)
{
    for (size_t i = 0; i < v->line_count; i++)
        if (v->lines[i].day == day && bytes_equal_str(v->lines[i].model, model))
            return &v->lines[i].sums;
    fail_msg("there is no line of day %u and %s", day, model);
    return NULL;
}

static void openai_says_the_same_in_csv_and_json(void **state)
{
    static const char *const texts[] = {
        "start_time,end_time,start_time_iso,end_time_iso,project_id,num_model_requests,user_id,api_"
        "key_id,model,batch,input_tokens,output_tokens,input_cached_tokens\r\n"
        "1759276800,1759363200,2025-10-01T00:00:00+00:00,2025-10-02T00:00:00+00:00,proj_1,5,,key_a,"
        "gpt-4o-2024-08-06,false,1000,500,800\r\n"
        "1759276800,1759363200,2025-10-01T00:00:00+00:00,2025-10-02T00:00:00+00:00,\"proj_1\",2,,"
        "key_b,gpt-4o-2024-08-06,false,\"1,000\",100,0\r\n"
        "\r\n",
        "{\"object\":\"page\",\"data\":[{\"object\":\"bucket\",\"start_time\":1759276800,\"end_"
        "time\":1759363200,\"results\":["
        "{\"object\":\"organization.usage.completions.result\",\"input_tokens\":1000,\"output_"
        "tokens\":500,\"input_cached_tokens\":800,\"num_model_requests\":5,\"project_id\":\"proj_"
        "1\",\"user_id\":null,\"api_key_id\":\"key_a\",\"model\":\"gpt-4o-2024-08-06\",\"batch\":"
        "false},"
        "{\"input_tokens\":1000,\"output_tokens\":100,\"input_cached_tokens\":0,\"num_model_"
        "requests\":2,\"project_id\":\"proj_1\",\"api_key_id\":\"key_b\",\"model\":\"gpt-4o-2024-"
        "08-06\"}]},"
        "{\"object\":\"bucket\",\"start_time\":1759363200,\"results\":[]}],\"has_more\":false}"};
    for (size_t i = 0; i < 2; i++) {
        struct invoice *v = read_as(INVOICE_OPENAI, NULL, texts[i]);
        const struct invoice_sums *s = line(v, OCT_1, "gpt-4o");
        assert_int_equal(v->line_count, 1);
        assert_int_equal(v->rows, 2);
        assert_int_equal(s->input, 2000);
        assert_int_equal(s->cache_read, 800);
        assert_int_equal(s->output, 600);
        assert_int_equal(s->requests, 7);
        assert_true(s->has_tokens && !s->has_cost);
        assert_int_equal(v->key_count, 2);
        invoice_free(v);
    }
}

static void openai_costs_come_by_line_item(void **state)
{
    static const char *const texts[] = {
        "start_time,start_time_iso,amount_value,amount_currency,line_item,project_id\n"
        "1759276800,2025-10-01T00:00:00+00:00,0.0612345678,usd,\"gpt-4o-2024-08-06, "
        "input\",proj_1\n"
        "1759276800,2025-10-01T00:00:00+00:00,1.5e-05,usd,\"gpt-4o-2024-08-06, cached "
        "input\",proj_1\n"
        "1759276800,2025-10-01T00:00:00+00:00,7,eur,\"gpt-4o-2024-08-06, output\",proj_1\n",
        "{\"data\":[{\"start_time\":1759276800,\"results\":["
        "{\"object\":\"organization.costs.result\",\"amount\":{\"value\":0.0612345678,\"currency\":"
        "\"usd\"},\"line_item\":\"gpt-4o-2024-08-06, input\",\"project_id\":\"proj_1\"},"
        "{\"amount\":{\"value\":1.5e-05,\"currency\":\"usd\"},\"line_item\":\"gpt-4o-2024-08-06, "
        "cached input\"},"
        "{\"amount\":{\"value\":7,\"currency\":\"eur\"},\"line_item\":\"gpt-4o-2024-08-06, "
        "output\"}]}]}"};
    for (size_t i = 0; i < 2; i++) {
        struct invoice *v = read_as(INVOICE_OPENAI, NULL, texts[i]);
        const struct invoice_sums *s = line(v, OCT_1, "gpt-4o");
        assert_int_equal(s->cost_nanousd, 61234568 + 15000);
        assert_true(s->has_cost && !s->has_tokens);
        assert_int_equal(v->rows_other_currency, 1);
        invoice_free(v);
    }
}

static void anthropic_leaves_the_cache_out_of_input_and_bills_in_cents(void **state)
{
    struct invoice *v = read_as(
        INVOICE_ANTHROPIC, NULL,
        "{\"data\":[{\"starting_at\":\"2025-10-01T00:00:00Z\",\"ending_at\":\"2025-10-02T00:00:"
        "00Z\",\"results\":["
        "{\"uncached_input_tokens\":1500,\"cache_creation\":{\"ephemeral_1h_input_tokens\":1000,"
        "\"ephemeral_5m_input_tokens\":500},\"cache_read_input_tokens\":200,\"output_tokens\":500,"
        "\"server_tool_use\":{\"web_search_requests\":10},\"api_key_id\":\"apikey_1\",\"workspace_"
        "id\":\"wrk_1\",\"model\":\"claude-sonnet-4-20250514\",\"service_tier\":\"standard\","
        "\"context_window\":\"0-200k\"}]}],\"has_more\":false}");
    const struct invoice_sums *s = line(v, OCT_1, "claude-sonnet-4");
    assert_int_equal(s->input, 1500 + 1500 + 200);
    assert_int_equal(s->cache_write, 1500);
    assert_int_equal(s->cache_read, 200);
    assert_int_equal(s->output, 500);
    assert_true(bytes_equal_str(v->keys[0].api_key, "apikey_1"));
    invoice_free(v);
    v = read_as(
        INVOICE_ANTHROPIC, NULL,
        "{\"data\":[{\"starting_at\":\"2025-10-01T00:00:00Z\",\"results\":[{\"currency\":\"USD\","
        "\"amount\":\"123.78912\",\"description\":\"Claude Sonnet 4 Usage - Input "
        "Tokens\",\"cost_type\":\"tokens\",\"model\":\"claude-sonnet-4-20250514\"},"
        "{\"currency\":\"USD\",\"amount\":\"-1\",\"model\":\"claude-sonnet-4-20250514\"}]}]}");
    assert_int_equal(line(v, OCT_1, "claude-sonnet-4")->cost_nanousd, 1237891200 - 10000000);
    invoice_free(v);
    v = read_as(INVOICE_ANTHROPIC, NULL,
                "usage_date_utc,model,workspace,api_key,usage_input_tokens_no_cache,usage_input_"
                "tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_"
                "read,usage_output_tokens\n"
                "2025-10-01,claude-sonnet-4-20250514,Default,k,10,20,30,40,50\n");
    assert_int_equal(line(v, OCT_1, "claude-sonnet-4")->input, 100);
    assert_int_equal(line(v, OCT_1, "claude-sonnet-4")->cache_write, 50);
    invoice_free(v);
}

static void a_generic_file_has_its_columns_named(void **state)
{
    struct invoice *v = read_as(
        INVOICE_GENERIC, "day=Datum,model=Modell,cost=Betrag,user=Wer",
        "Modell,Datum,Betrag,Wer,day\n\"say "
        "\"\"x\"\"\",2025-10-01,\"$1,234.5\",u1,zz\nm,2025-10-01,oops,u1,\nm,never,1,u1,\n");
    assert_int_equal(line(v, OCT_1, "say \"x\"")->cost_nanousd, INT64_C(1234500000000));
    assert_int_equal(v->rows_bad_number, 1);
    assert_int_equal(v->rows_without_day, 1);
    assert_true(bytes_equal_str(v->keys[0].user, "u1"));
    invoice_free(v);
    v = read_as(INVOICE_GENERIC, NULL,
                "[{\"date\":\"2025-10-01\",\"model\":\"m\",\"cost\":0.5,\"input\":7},{\"date\":"
                "\"2025-10-01\",\"model\":\"m\",\"cost\":0.25}]");
    assert_int_equal(line(v, OCT_1, "m")->cost_nanousd, 750000000);
    assert_int_equal(line(v, OCT_1, "m")->input, 7);
    invoice_free(v);
}

static void what_is_no_table_is_refused_with_its_line(void **state)
{
    static const struct {
        const char *text, *says;
    } bad[] = {{"", "empty"},
               {"a,b\n1,2\n", "line 1: no column with the day"},
               {"day,cost\n2025-10-01,\"1\n", "line 2: a cell without its end"},
               {"day,cost\n2025-10-01,\"1\"x\n", "line 2"},
               {"{\"data\": [", "byte"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct invoice *v = invoice_new();
        struct err_msg msg = {""};
        assert_int_equal(invoice_read(v, INVOICE_GENERIC, NULL, bytes_str(bad[i].text), &msg),
                         ERR_INVALID);
        if (bytes_find(bytes_str(msg.text), bytes_str(bad[i].says)) == strlen(msg.text))
            fail_msg("%s says: %s", bad[i].text, msg.text);
        invoice_free(v);
    }
    struct invoice_columns c;
    struct err_msg msg = {""};
    assert_int_equal(invoice_columns_parse(BYTES_LIT("tag=Datum"), &c, &msg), ERR_INVALID);
    assert_int_equal(invoice_columns_parse(BYTES_LIT("day"), &c, &msg), ERR_INVALID);
}

static void a_cost_centre_holds_from_and_until_its_days(void **state)
{
    struct arena *a = arena_new(64u << 20);
    struct invoice_centres c;
    struct err_msg msg = {""};
    assert_int_equal(
        invoice_centres_read(BYTES_LIT("cost_centres:\n"
                                       "  - {key: k1, centre: old, until: 2025-10-01}\n"
                                       "  - {key: k1, centre: research, from: 2025-10-01}\n"
                                       "  - {user: u1, centre: sales}\n"
                                       "  - {project: p1, centre: platform}\n"),
                             a, &c, &msg),
        ERR_OK);
    struct bytes none = BYTES_NONE, k1 = BYTES_LIT("k1"), u1 = BYTES_LIT("u1"),
                 p1 = BYTES_LIT("p1");
    assert_true(bytes_equal_str(invoice_centres_find(&c, OCT_1 - 1, k1, u1, p1), "old"));
    assert_true(bytes_equal_str(invoice_centres_find(&c, OCT_1, k1, u1, p1), "research"));
    assert_true(bytes_equal_str(invoice_centres_find(&c, OCT_1, BYTES_LIT("k2"), u1, p1), "sales"));
    assert_true(bytes_equal_str(invoice_centres_find(&c, OCT_1, none, none, p1), "platform"));
    assert_int_equal(invoice_centres_find(&c, OCT_1, none, none, k1).size, 0);
    static const char *const bad[] = {
        "cost_centres:\n  - {key: a}\n", "cost_centres:\n  - {key: a, user: b, centre: c}\n",
        "cost_centres:\n  - {key: a, centre: c, from: soon}\n", "cost_centres: 3\n", "x: []\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(invoice_centres_read(bytes_str(bad[i]), a, &c, &msg), ERR_INVALID);
    arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(openai_says_the_same_in_csv_and_json),
        cmocka_unit_test(openai_costs_come_by_line_item),
        cmocka_unit_test(anthropic_leaves_the_cache_out_of_input_and_bills_in_cents),
        cmocka_unit_test(a_generic_file_has_its_columns_named),
        cmocka_unit_test(what_is_no_table_is_refused_with_its_line),
        cmocka_unit_test(a_cost_centre_holds_from_and_until_its_days),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
