/* The price table by itself: documents, dates, ids, decimals. What rows cost is in tests/fixtures/genai. */
#include "base/check.h"
#include "collector/genai/genai.h"
#include "collector/genai/price_list.h"
#include "collector/genai/price_yaml.h"
#include "tsdb/tsdb_attrs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define NOV_20_NS INT64_C(1795168800000000000)

static struct price_table *table_of(const char *yaml)
{
    struct price_table *t = price_table_new();
    struct err_msg msg = {""};
    assert_non_null(t);
    if (price_yaml_load(t, bytes_str(yaml), "prices.yaml", PRICE_LAYER_OWN, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    return t;
}

static enum price_found find(const struct price_table *t, const char *model, uint8_t tier,
                             int64_t input, const struct price_row **out)
{
    struct price_memo *memo = calloc(1, sizeof *memo);
    struct price_question q = {.provider = BYTES_LIT("acme"),
                               .model = bytes_str(model),
                               .family = bytes_str(model),
                               .at_ns = NOV_20_NS,
                               .input_tokens = input,
                               .tier = tier};
    enum price_found f = price_table_find(t, memo, &q, out);
    free(memo);
    return f;
}

static void a_bad_document_says_file_line_and_key(void **state)
{
    static const struct {
        const char *yaml, *says;
    } bad[] = {
        {"prices:\n  - {model: x, input: 1}\n", "prices.yaml, line 2: `output` is missing"},
        {"prices:\n  - {model: x, input: -1, output: 1}\n", "line 2: `input` must be USD"},
        {"prices:\n  - {model: x, input: 0.1234567, output: 1}\n", "`input` must be"},
        {"prices:\n  - model: x\n    input: 1\n    ouput: 1\n", "line 4: `ouput` is no key"},
        {"prices:\n  - {input: 1, output: 1}\n", "`model` is missing"},
        {"prices:\n  - {model: x, input: 1, output: 1, from: 2026-13-01}\n",
         "`from` must be a date"},
        {"prices:\n  - {model: x, input: 1, output: 1, from: 2026-10-02, until: 2026-10-01}\n",
         "`until` must be later"},
        {"prices:\n  - {model: x, input: 1, output: 1, tiers: [{tier: gold, input: 1, output: "
         "1}]}\n",
         "`tier` must be default, priority"},
        {"prices:\n  - {model: x, input: 1, output: 1, tiers: [{input: 1, output: 1}]}\n",
         "`tier` or `above` is missing"},
        {"prices:\n  - {model: x, input: 1, output: 1, tiers: 3}\n", "`tiers` must be a list"},
        {"prices:\n  - {model: x, gpu_hour: 2, gpus: 0}\n", "`gpus` must be a whole number"},
        {"prices:\n  - {model: 'x-*', tenant: a, input: 1, output: 1}\n", "a model's whole name"},
        {"prices:\n  - 3\n", "a map is expected"},
        {"prices: 3\n", "a list `prices:`"},
        {"models: []\n", "a list `prices:`"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct price_table *t = price_table_new();
        struct err_msg msg = {""};
        assert_int_equal(
            price_yaml_load(t, bytes_str(bad[i].yaml), "prices.yaml", PRICE_LAYER_OWN, &msg),
            ERR_INVALID);
        if (bytes_find(bytes_str(msg.text), bytes_str(bad[i].says)) == strlen(msg.text))
            fail_msg("%s\nsays: %s", bad[i].yaml, msg.text);
        price_table_unref(t);
    }
}

static void the_built_in_list_can_be_read_and_knows_no_free_model(void **state)
{
    struct price_table *t = price_table_new();
    struct err_msg msg = {""};
    if (price_yaml_load(t, bytes_str(price_list_yaml), "list", PRICE_LAYER_LIST, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    assert_true(price_table_row_count(t) > 100);
    for (size_t i = 0; i < price_table_row_count(t); i++) {
        const struct price_offer *o;
        const struct price_row *r = price_table_row(t, i, &o);
        if (r->rate[PRICE_RATE_INPUT] <= 0 ||
            r->rate[PRICE_RATE_CACHE_READ] > r->rate[PRICE_RATE_INPUT])
            fail_msg(BYTES_FMT " has an impossible rate", BYTES_ARG(o->model));
        assert_true(i >= o->row_first && i < o->row_first + o->row_count);
    }
    price_table_unref(t);
}

static void the_id_of_a_row_is_its_content_and_nothing_else(void **state)
{
    struct price_table *a = table_of(
        "prices:\n"
        "  - {model: x, input: 1, output: 2}\n"
        "  - {model: y, input: 1, output: 2, tiers: [{tier: flex, input: 0.5, output: 1}]}\n");
    struct price_table *b = table_of("prices:\n"
                                     "  - {model: z, input: 7, output: 7}\n"
                                     "  - {model: y, input: 1.0, output: 2, source: renewed, "
                                     "tiers: [{tier: flex, input: 0.5, output: 1}]}\n"
                                     "  - {model: x, input: 1, output: 3}\n");
    const struct price_row *ra, *rb;
    assert_int_equal(find(a, "y", PRICE_TIER_DEFAULT, 1, &ra), PRICE_FOUND);
    assert_int_equal(find(b, "y", PRICE_TIER_DEFAULT, 1, &rb), PRICE_FOUND);
    assert_int_equal(ra->id,
                     rb->id); /* elsewhere in the document, written otherwise, another remark */
    const struct price_row *flex;
    assert_int_equal(find(a, "y", PRICE_TIER_FLEX, 1, &flex), PRICE_FOUND);
    assert_int_not_equal(ra->id, flex->id);
    assert_int_equal(find(a, "x", PRICE_TIER_DEFAULT, 1, &ra), PRICE_FOUND);
    assert_int_equal(find(b, "x", PRICE_TIER_DEFAULT, 1, &rb), PRICE_FOUND);
    assert_int_not_equal(ra->id, rb->id);
    assert_true(ra->id && rb->id && flex->id);
    price_table_unref(a);
    price_table_unref(b);
}

static void dates_hold_from_the_first_and_up_to_the_last_day(void **state)
{
    struct price_table *t = table_of("prices:\n"
                                     "  - {model: old, until: 2026-11-20, input: 1, output: 1}\n"
                                     "  - {model: new, from: 2026-11-20, input: 1, output: 1}\n"
                                     "  - {model: new, from: 2026-11-21, input: 2, output: 1}\n"
                                     "  - {model: 'ne*', input: 9, output: 1}\n");
    const struct price_row *r;
    assert_int_equal(find(t, "old", 0, 1, &r), PRICE_NO_DATE);
    assert_int_equal(find(t, "none", 0, 1, &r), PRICE_NO_MODEL);
    assert_int_equal(find(t, "new", 0, 1, &r), PRICE_FOUND);
    assert_int_equal(r->rate[PRICE_RATE_INPUT], 1000000);
    assert_int_equal(find(t, "next", 0, 1, &r), PRICE_FOUND);
    assert_int_equal(r->rate[PRICE_RATE_INPUT], 9000000);
    price_table_unref(t);
}

static void rates_that_are_not_said_are_those_of_the_tokens_they_are_part_of(void **state)
{
    struct price_table *t = table_of(
        "prices:\n"
        "  - {model: x, input: 2, output: 8}\n"
        "  - {model: y, input: 2, output: 8, cache_read: 0.5, cache_write: 3, audio_input: 32}\n");
    const struct price_row *r;
    assert_int_equal(find(t, "x", 0, 1, &r), PRICE_FOUND);
    for (int i = 0; i < PRICE_RATE_COUNT; i++)
        assert_int_equal(r->rate[i], i < PRICE_RATE_OUTPUT ? 2000000 : 8000000);
    assert_int_equal(find(t, "y", 0, 1, &r), PRICE_FOUND);
    assert_int_equal(r->rate[PRICE_RATE_CACHE_WRITE_1H], 3000000);
    assert_int_equal(r->rate[PRICE_RATE_AUDIO_CACHE_READ], 500000);
    assert_int_equal(r->rate[PRICE_RATE_IMAGE_INPUT], 2000000);
    price_table_unref(t);
}

static void decimals_are_exact_or_refused(void **state)
{
    static const struct {
        const char *text;
        int digits;
        int64_t v; /* -1: refused */
    } cases[] = {
        {"0.01875", 6, 18750},
        {"1", 6, 1000000},
        {".5", 6, 500000},
        {"5.", 6, 5000000},
        {"1.2500000", 6, 1250000},
        {"0", 6, 0},
        {"0.0000001", 6, -1},
        {"-1", 6, -1},
        {"1e3", 6, -1},
        {"", 6, -1},
        {".", 6, -1},
        {"1.2.3", 6, -1},
        {"999999999999", 6, -1},
        {"0.000000001", 9, 1},
        {"99999999999999999999", 0, -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t v = -1;
        bool ok = price_decimal(bytes_str(cases[i].text), cases[i].digits, &v);
        assert_int_equal(ok, cases[i].v >= 0);
        if (!ok)
            continue;
        assert_int_equal(v, cases[i].v);
        struct buf out = {0};
        int64_t again = -1;
        price_decimal_write(&out, v, cases[i].digits);
        assert_true(price_decimal(buf_bytes(&out), cases[i].digits, &again));
        assert_int_equal(again, v);
        buf_done(&out);
    }
}

/* key, user, team: empty = the call does not say. */
static struct tsdb_batch *call_of(struct bytes key, struct bytes user, struct bytes team)
{
    struct tsdb_batch *b = tsdb_batch_new(TSDB_ORG_DEFAULT, TSDB_SPANS, 1u << 20);
    struct buf attrs = {0};
    uint32_t row = tsdb_batch_add_span(b);
    tsdb_attrs_put_str(&attrs, BYTES_LIT("gen_ai.operation.name"), BYTES_LIT("chat"));
    tsdb_attrs_put_str(&attrs, BYTES_LIT("gen_ai.request.model"), BYTES_LIT("gpt-4o"));
    tsdb_attrs_put_str(&attrs, BYTES_LIT("gen_ai.response.finish_reasons"), BYTES_LIT("stop"));
    tsdb_attrs_put_i64(&attrs, BYTES_LIT("gen_ai.usage.input_tokens"), 1000);
    tsdb_attrs_put_i64(&attrs, BYTES_LIT("gen_ai.usage.output_tokens"), 0);
    if (key.size)
        tsdb_attrs_put_str(&attrs, BYTES_LIT("telltale.api_key"), key);
    if (user.size)
        tsdb_attrs_put_str(&attrs, BYTES_LIT("user.id"), user);
    if (team.size)
        tsdb_attrs_put_str(&attrs, BYTES_LIT("telltale.team"), team);
    b->spans.attrs[row] = arena_copy(b->arena, buf_bytes(&attrs));
    b->spans.kind[row] = 3;
    b->spans.start_ns[row] = NOV_20_NS;
    b->spans.end_ns[row] = NOV_20_NS + 1000000;
    buf_done(&attrs);
    return b;
}

static struct tsdb_batch *call_batch(void)
{
    return call_of(BYTES_NONE, BYTES_NONE, BYTES_NONE);
}

static void a_call_without_a_team_belongs_to_the_centre_of_its_key_or_user_of_that_day(void **state)
{
    static const struct {
        const char *key, *user, *team, *want;
    } cases[] = {
        {"k1", "", "", "research"}, /* not the one of before, nor the one to come */
        {"k1", "u1", "", "research"}, {"k2", "u1", "", "sales"}, {"", "u1", "", "sales"},
        {"k1", "u1", "red", "red"},   {"k3", "", "", ""},        {"", "", "", ""},
    };
    static const char yaml[] =
        "cost_centres:\n"
        "  - {key: k1, centre: old, until: 2026-11-20}\n"
        "  - {key: k1, centre: research, from: 2026-11-20, until: 2026-11-21}\n"
        "  - {key: k1, centre: new, from: 2026-11-21}\n"
        "  - {user: u1, centre: sales}\n";
    struct genai *g;
    struct err_msg msg = {""};
    struct genai_row r;
    (void)state;
    assert_int_equal(genai_new(NULL, &g, &msg), ERR_OK);
    assert_int_equal(genai_set_prices(g, NULL, bytes_str(yaml), "own.yaml", &msg), ERR_OK);
    assert_int_equal(
        genai_set_prices(g, NULL, BYTES_LIT("cost_centres:\n  - {key: a}\n"), "own.yaml", &msg),
        ERR_INVALID);
    assert_non_null(strstr(msg.text, "own.yaml: cost centres, line 2"));
    struct genai_memo *m = genai_memo_new();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct tsdb_batch *b =
            call_of(bytes_str(cases[i].key), bytes_str(cases[i].user), bytes_str(cases[i].team));
        genai_memo_batch(m);
        assert_true(genai_read_span(g, m, b, 0, &r));
        assert_true(bytes_equal_str(r.team, cases[i].want));
        assert_int_equal(r.cost_total, 2500000); /* prices are as they were */
        tsdb_batch_free(b);
    }
    genai_free(g);
    genai_memo_free(m);
}

static void prices_change_between_two_rows_and_a_bad_document_changes_nothing(void **state)
{
    struct genai *g;
    struct err_msg msg = {""};
    struct genai_row r;
    assert_int_equal(genai_new(NULL, &g, &msg), ERR_OK);
    struct genai_memo *m = genai_memo_new();
    struct tsdb_batch *b = call_batch();
    assert_true(genai_read_span(g, m, b, 0, &r));
    assert_int_equal(r.cost_total, 2500000);
    uint32_t list_id = r.price_id;
    assert_int_not_equal(list_id, 0);
    assert_int_equal(
        genai_set_prices(g, NULL, BYTES_LIT("prices:\n  - {model: gpt-4o, input: 1, output: 1}\n"),
                         "own.yaml", &msg),
        ERR_OK);
    assert_true(genai_read_span(g, m, b, 0, &r));
    assert_int_equal(r.cost_total, 1000000);
    assert_int_not_equal(r.price_id, list_id);
    assert_int_equal(genai_set_prices(g, NULL, BYTES_LIT("prices: 1\n"), "own.yaml", &msg),
                     ERR_INVALID);
    assert_true(genai_read_span(g, m, b, 0, &r));
    assert_int_equal(r.cost_total, 1000000);
    assert_int_equal(genai_set_prices(g, NULL, BYTES_NONE, NULL, &msg), ERR_OK);
    genai_memo_batch(m);
    assert_true(genai_read_span(g, m, b, 0, &r));
    assert_int_equal(r.cost_total, 2500000);
    assert_int_equal(r.price_id, list_id); /* the same content, the same id */
    genai_free(g);
    genai_memo_free(m); /* holds its prices longer than their owner */
    tsdb_batch_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bad_document_says_file_line_and_key),
        cmocka_unit_test(the_built_in_list_can_be_read_and_knows_no_free_model),
        cmocka_unit_test(the_id_of_a_row_is_its_content_and_nothing_else),
        cmocka_unit_test(dates_hold_from_the_first_and_up_to_the_last_day),
        cmocka_unit_test(rates_that_are_not_said_are_those_of_the_tokens_they_are_part_of),
        cmocka_unit_test(decimals_are_exact_or_refused),
        cmocka_unit_test(
            a_call_without_a_team_belongs_to_the_centre_of_its_key_or_user_of_that_day),
        cmocka_unit_test(prices_change_between_two_rows_and_a_bad_document_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
