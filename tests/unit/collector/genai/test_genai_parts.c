/* What an answer was made from, dialect by dialect: every case of tests/fixtures/genai/parts.json, to the byte. */
#include "collector/genai/genai_parts.h"
#include "helper_fixture.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdarg.h>

#include <cmocka.h>

static int differ(const char *name, const char *what, struct bytes got, struct bytes want)
{
    if (bytes_equal(got, want))
        return 0;
    print_error("%s: %s is\n  " BYTES_FMT "\nand not\n  " BYTES_FMT "\n", name, what,
                BYTES_ARG(got), BYTES_ARG(want));
    return 1;
}

static int check_case(const struct json_node *one)
{
    struct tsdb_batch *b = fixture_batch(json_get(one, "batches")->child);
    struct arena *a = arena_new(16u << 20);
    struct genai_parts_row rows[GENAI_PARTS_ROWS_MAX];
    struct genai_parts got;
    char name[128];
    size_t n = 0, k = 0;
    int wrong = 0;
    struct bytes title = json_get_str(one, "case");
    snprintf(name, sizeof name, "%.*s", (int)title.size, (const char *)title.data);
    for (uint32_t i = 0; i < b->spans.count; i++)
        rows[n++] =
            (struct genai_parts_row){.attrs = b->spans.attrs[i], .events = b->spans.events[i]};
    for (uint32_t i = 0; i < b->logs.count; i++)
        rows[n++] = (struct genai_parts_row){.attrs = b->logs.attrs[i],
                                             .event_name = b->logs.event_name[i],
                                             .body = b->logs.body[i]};
    assert_int_equal(genai_parts_read(rows, n, a, &got), ERR_OK);
    wrong += differ(name, "response", got.response, json_get_str(one, "response"));
    if (!json_get(one, "loose"))
        wrong += differ(name, "question", got.question, json_get_str(one, "question"));
    for (const struct json_node *d = json_get(one, "documents")->child; d; d = d->next, k++)
        wrong += differ(name, "document", k < got.document_count ? got.documents[k] : BYTES_NONE,
                        d->text);
    if (got.document_count != k) {
        print_error("%s: %u documents and not %zu\n", name, got.document_count, k);
        wrong++;
    }
    if (got.is_source != (json_get(one, "source") != NULL)) {
        print_error("%s: is_source is %d\n", name, got.is_source);
        wrong++;
    }
    if (n && b->spans.count)
        wrong += genai_parts_is_source(rows[0].attrs, rows[0].events) != got.is_source;
    arena_free(a);
    tsdb_batch_free(b);
    return wrong;
}

static void every_dialect_gives_the_same_texts(void **state)
{
    struct fixture_file f = fixture_open("genai/parts.json");
    int wrong = 0, cases = 0;
    for (const struct json_node *n = f.cases; n; n = n->next, cases++)
        wrong += check_case(n);
    fixture_close(&f);
    print_message("%d cases\n", cases);
    assert_true(cases > 30);
    assert_int_equal(wrong, 0);
}

static void a_full_arena_is_said_and_nothing_is_half_read(void **state)
{
    struct buf attrs = {0};
    struct genai_parts got = {.document_count = 77};
    struct arena *a = arena_new(4096);
    char *text = malloc(100000);
    memset(text, 'x', 100000);
    memcpy(text, "[\"", 2);
    memcpy(text + 99998, "\"]", 2);
    tsdb_attrs_put_str(&attrs, BYTES_LIT("gen_ai.prompt"), bytes_of(text, 100000));
    struct genai_parts_row row = {.attrs = buf_bytes(&attrs)};
    assert_int_equal(genai_parts_read(&row, 1, a, &got), ERR_LIMIT);
    assert_int_equal(got.document_count, 77);
    free(text);
    buf_done(&attrs);
    arena_free(a);
}

static void more_documents_than_the_limit_are_cut_and_it_is_said(void **state)
{
    struct buf attrs = {0};
    struct genai_parts got;
    struct arena *a = arena_new(16u << 20);
    struct buf many = {0};
    buf_str(&many, "[");
    for (int i = 0; i < 400; i++)
        buf_printf(&many, "%s\"document %d\"", i ? "," : "", i);
    buf_str(&many, "]");
    tsdb_attrs_put_str(&attrs, BYTES_LIT("gen_ai.retrieval.documents"), buf_bytes(&many));
    struct genai_parts_row row = {.attrs = buf_bytes(&attrs)};
    assert_int_equal(genai_parts_read(&row, 1, a, &got), ERR_OK);
    assert_int_equal(got.document_count, GENAI_PARTS_DOCUMENTS_MAX);
    assert_true(got.cut);
    buf_done(&many);
    buf_done(&attrs);
    arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_dialect_gives_the_same_texts),
        cmocka_unit_test(a_full_arena_is_said_and_nothing_is_half_read),
        cmocka_unit_test(more_documents_than_the_limit_are_cut_and_it_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
