/* PromQL: grammar, messages, printing, our own evaluation cases (tests/fixtures/promql), limits. */
#include "query/helper_promqltest.h"

#include "base/check.h"
#include "base/clock.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
/* after the four headers it needs */
#include <cmocka.h>

static void test_own_cases(void **state)
{
    static const char *const files[] = {"selectors_and_time", "functions", "operators",
                                        "histograms"};
    const char *dir = getenv("TELLTALE_FIXTURES");
    struct promqltest_totals t = {0};
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        char path[1000];
        snprintf(path, sizeof path, "%s/promql/%s.test", dir ? dir : "tests/fixtures", files[i]);
        promqltest_run_file(path, "", true, &t);
    }
    assert_int_equal(t.failed, 0);
    assert_int_equal(t.passed, 120);
}

/* The runner must be able to fail. */
static void test_runner_can_fail(void **state)
{
    char path[] = "/tmp/promql_case_XXXXXX";
    int fd = mkstemp(path);
    FILE *f = fdopen(fd, "w");
    struct promqltest_totals t = {0};
    assert_non_null(f);
    fputs("load 1m\n  a 1 2\n\neval instant at 0 a\n  a 2\n\neval instant at 0 a\n\n"
          "eval instant at 0 a\n  a 1\n  b 1\n\neval instant at 0 a\n  a 1\n",
          f);
    fclose(f);
    promqltest_run_file(path, "", false, &t);
    remove(path);
    assert_int_equal(t.failed, 3);
    assert_int_equal(t.passed, 1);
}

static void test_errors(void **state)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "no expression found in input"},
        {"1 +", "1:4: parse error: unexpected end of input"},
        {"sum(", "1:5: parse error: unclosed left parenthesis"},
        {"foo{", "unexpected end of input inside braces"},
        {"foo{a=1}", "unexpected number \"1\" in label matching, expected string"},
        {"{}", "vector selector must contain at least one non-empty matcher"},
        {"{a=~\".*\"}", "vector selector must contain at least one non-empty matcher"},
        {"rate(foo)",
         "expected type range vector in call to function \"rate\", got instant vector"},
        {"foo[5m]", NULL},
        {"foo[5m] + 1", "binary expression must contain only scalar and instant vector types"},
        {"foo[5m][5m]", "ranges only allowed for vector selectors"},
        {"foo[0s]", "duration must be greater than 0"},
        {"1 < 2", "comparisons between scalars must use BOOL modifier"},
        {"foo + bool bar", "bool modifier can only be used on comparison operators"},
        {"foo and 1", "set operator \"and\" not allowed in binary scalar expression"},
        {"foo or on(a) group_left bar", "no grouping allowed for \"or\" operation"},
        {"foo * on(a) group_left(a) bar",
         "label \"a\" must not occur in ON and GROUP clause at once"},
        {"foo offset 5m offset 5m", "offset may not be set multiple times"},
        {"(foo + 1) offset 5m", "offset modifier must be preceded by"},
        {"nope(1)", "unknown function with name \"nope\""},
        {"rate()", "expected 1 argument(s) in call to \"rate\", got 0"},
        {"round(foo, 1, 2)", "expected at most 2 argument(s) in call to \"round\", got 3"},
        {"topk(foo)",
         "wrong number of arguments for aggregate expression provided, expected 2, got 1"},
        {"foo{a=~\"(\"}", "error parsing regexp: missing "},
        {"foo{a=~\"a{2001}\"}", "error parsing regexp"},
        {"foo{a=~\"(?=x)\"}", "error parsing regexp"},
        {"\"abc", "unterminated quoted string"},
        {"foo bar", "unexpected identifier \"bar\""},
        {"1d5", "bad number or duration syntax"},
        {"foo)", "unexpected right parenthesis"},
        {"-\"a\"", "unary expression only allowed on expressions of type scalar or instant vector"},
        {"foo @ inf", "timestamp out of bounds for @ modifier"},
        {"\n  foo(", "2:"},
        {"foo # comment", NULL},
        {"sum by (a, \"b.c\",) (foo)", NULL},
        {"sum(foo) without (a)", NULL},
        {"foo{\"a.b\"=\"x\", 'c'!~`d`}", NULL},
        {"foo offset -1h @ start()", NULL},
        {"0x1F + 1e3 + .5 + Inf + NaN + 1_000", NULL},
        {"sum", NULL}, /* a metric may be called so */
        {"max_over_time(rate(foo[5m])[1h:30s] offset 5m)", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena *a = arena_new(1 << 24);
        struct err_msg msg = {""};
        enum err e = query_check(bytes_str(cases[i].text), a, NULL, &msg);
        if ((e == ERR_OK) != (cases[i].message == NULL) ||
            (cases[i].message && !strstr(msg.text, cases[i].message)))
            fail_msg("%s: %s", cases[i].text, e == ERR_OK ? "parses" : msg.text);
        arena_free(a);
    }
}

static void test_format(void **state)
{
    static const char *const cases[][2] = {
        {"foo", "foo"},
        {"sum   by(a,b)(rate(foo{x='y',z!~\"q\"}[5m]))",
         "sum by (a, b) (rate(foo{x=\"y\",z!~\"q\"}[5m]))"},
        {"-foo^2+1", "-foo ^ 2 + 1"},
        {"foo offset 90s @ 1.5", "foo @ 1.500 offset 1m30s"},
        {"a/on(x)group_left(y)b", "a / on (x) group_left (y) b"},
        {"{\"a.b\",c=\"d\"}", "{\"a.b\",c=\"d\"}"},
        {"(a>bool 1)", "(a > bool 1)"},
        {"max_over_time(a[1h:])", "max_over_time(a[1h:])"},
        {"sum(aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa) + "
         "sum(bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb)",
         "  sum(aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa)\n+\n  "
         "sum(bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb)"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena *a = arena_new(1 << 24);
        struct bytes out, again;
        struct err_msg msg;
        assert_int_equal(query_format(bytes_str(cases[i][0]), a, &out, &msg), ERR_OK);
        if (!bytes_equal_str(out, cases[i][1]))
            fail_msg("%s: " BYTES_FMT, cases[i][0], BYTES_ARG(out));
        assert_int_equal(query_format(out, a, &again, &msg), ERR_OK);
        assert_true(bytes_equal(out, again)); /* what it prints, it reads */
        arena_free(a);
    }
}

static void test_depth(void **state)
{
    struct err_msg msg;
    struct buf b;
    const char *const parts[] = {"(", "-", "abs(", "1+(", "a[1m:1m][1m:"};
    for (size_t k = 0; k < ARRAY_LEN(parts); k++) {
        struct arena *a = arena_new(1 << 26);
        buf_init(&b, 0);
        for (int i = 0; i < 12000; i++)
            buf_str(&b, parts[k]);
        assert_int_equal(query_check(buf_bytes(&b), a, NULL, &msg), ERR_INVALID);
        buf_done(&b);
        arena_free(a);
    }
}

static struct memory_source *small_source(void)
{
    struct memory_source *m = memory_source_new();
    const char *why;
    assert_true(
        memory_source_load(m, "load 1m\n  a{x=\"1\"} 0+1x100\n  a{x=\"2\"} 0+2x100\n", &why));
    return m;
}

static void test_limits(void **state)
{
    struct memory_source *m = small_source();
    struct query_source src = memory_source_of(m);
    struct query_result r;
    struct err_msg msg;
    atomic_bool cancel = true;
    const struct {
        struct query_limits limits;
        enum err err;
        const char *type;
    } cases[] = {
        {{.samples_max = 50}, ERR_LIMIT, "execution"},
        {{.series_max = 1}, ERR_LIMIT, "execution"},
        {{.cancel = &cancel}, ERR_CANCELLED, "canceled"},
        {{.deadline_mono_ns = 1}, ERR_TIMEOUT, "timeout"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena *a = arena_new(1 << 24);
        enum err e =
            query_range(&src, &cases[i].limits, BYTES_LIT("a + 1"), 0, 6000000, 60000, a, &r, &msg);
        assert_int_equal(e, cases[i].err);
        assert_string_equal(query_error_type(e), cases[i].type);
        arena_free(a);
    }
    struct arena *tiny = arena_new(8192);
    assert_int_equal(query_range(&src, NULL, BYTES_LIT("a + 1"), 0, 6000000, 600, tiny, &r, &msg),
                     ERR_LIMIT);
    arena_free(tiny);
    struct arena *a = arena_new(0);
    assert_int_equal(query_range(&src, NULL, BYTES_LIT("a"), 0, 100, 0, a, &r, &msg), ERR_INVALID);
    assert_int_equal(query_range(&src, NULL, BYTES_LIT("a"), 100, 0, 1, a, &r, &msg), ERR_INVALID);
    assert_int_equal(query_range(&src, NULL, BYTES_LIT("a[5m]"), 0, 100, 1, a, &r, &msg),
                     ERR_INVALID);
    arena_free(a);
    memory_source_free(m);
}

static void test_selector(void **state)
{
    struct query_selector *s, **list;
    struct err_msg msg;
    size_t n;
    assert_int_equal(query_selector_parse(BYTES_LIT("a{b=~\"x|y\",c!=\"d\"}"), &s, &msg), ERR_OK);
    const struct tsdb_matcher *m = query_selector_matchers(s, &n);
    assert_int_equal(n, 3);
    assert_true(bytes_equal_str(m[0].name, "__name__") && bytes_equal_str(m[0].value, "a"));
    assert_true(m[1].match(m[1].ctx, BYTES_LIT("x")));
    assert_false(m[1].match(m[1].ctx, BYTES_LIT("xx"))); /* anchored */
    query_selector_free(s);
    assert_int_equal(query_selector_parse(BYTES_LIT("sum(a)"), &s, &msg), ERR_INVALID);
    assert_int_equal(query_selector_parse(BYTES_LIT("a offset 1m"), &s, &msg), ERR_INVALID);
    struct arena *a = arena_new(0);
    assert_int_equal(
        query_selectors_of(BYTES_LIT("sum(rate(a[5m])) / b > topk(1, c)"), a, &list, &n, &msg),
        ERR_OK);
    assert_int_equal(n, 3);
    for (size_t i = 0; i < n; i++)
        query_selector_free(list[i]);
    arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_cases), cmocka_unit_test(test_runner_can_fail),
        cmocka_unit_test(test_errors),    cmocka_unit_test(test_format),
        cmocka_unit_test(test_depth),     cmocka_unit_test(test_limits),
        cmocka_unit_test(test_selector),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
