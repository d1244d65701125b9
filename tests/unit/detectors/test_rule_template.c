/* Templates of rules: what they give, as Go and Prometheus do; where a mistake is; and that none goes on without end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/check.h"
#include "detectors/rule_template.h"
#include "query/query_memory.h"
#include "query/query_text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static struct query_memory *memory;

static enum err ask(void *ctx, struct bytes text, int64_t at_ms, struct arena *a,
                    struct query_result *out, struct err_msg *msg)
{
    struct query_source src = query_memory_source(memory);
    struct query_limits limits = {0};
    return query_instant(&src, &limits, text, at_ms, a, out, msg);
}

static int setup(void **state)
{
    static const struct {
        const char *series;
        double value;
    } rows[] = {{"up{job=\"b\"}", 1}, {"up{job=\"a\"}", 0}, {"load{job=\"a\"}", 1234.5}};
    struct arena *a = arena_new(0);
    struct err_msg msg;
    struct tsdb_labels labels;
    memory = query_memory_new();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(query_text_labels(bytes_str(rows[i].series), a, &labels, &msg), ERR_OK);
        assert_int_equal(query_memory_add(memory, labels, 1000, rows[i].value), ERR_OK);
    }
    arena_free(a);
    return 0;
}

static int teardown(void **state)
{
    query_memory_free(memory);
    return 0;
}

/* What the template gives; "! …": its mistake. malloc'ed. */
static char *expand(const char *text, double value)
{
    struct arena *a = arena_new(0);
    struct rule_template *t;
    struct bytes out = BYTES_NONE;
    struct err_msg msg = {""};
    struct rule_template_data d = {.value = value,
                                   .external_url = "http://example.org:9090/prom",
                                   .at_ms = 1000,
                                   .query = ask};
    char *copy = calloc(1, RULE_TEMPLATE_OUTPUT_MAX + 400);
    assert_int_equal(query_text_labels(BYTES_LIT("{job=\"api\", instance=\"h.example.org:80\"}"), a,
                                       &d.labels, &msg),
                     ERR_OK);
    enum err e = rule_template_parse(bytes_str(text), a, &t, &msg);
    if (e == ERR_OK)
        e = rule_template_expand(t, &d, a, &out, &msg);
    if (e != ERR_OK)
        snprintf(copy, 400, "! %s", msg.text);
    else if (out.size)
        memcpy(copy, out.data, out.size);
    arena_free(a);
    return copy;
}

static void gives(const char *text, double value, const char *expected)
{
    char *got = expand(text, value);
    if (strcmp(got, expected) != 0)
        fail_msg("%s\ngives:  %.500s\nwanted: %.500s", text, got, expected);
    free(got);
}

static void values_labels_and_pipelines_print_as_go_prints_them(void **state)
{
    gives("plain", 1, "plain");
    gives("{{ $value }} {{ .Value }} {{ $labels.job }} {{ .Labels.job }} {{ $.Labels.job }}", 0.25,
          "0.25 0.25 api api api");
    gives("{{ $value }}", 1e6, "1e+06");
    gives("{{ $value }}", 123456.5, "123456.5");
    gives("{{ $value }}", (double)INFINITY, "+Inf");
    gives("{{ $value | printf \"%.1f|%08.3f|%+d\" }}", 2,
          "2.0|%!f(MISSING)"
          "|%!d(MISSING)");
    gives("{{ printf \"%5d|%-5d|%05d|%x|%t|%q\" 42 42 42 255 true \"a\\\"b\" }}", 0,
          "   42|42   |00042|ff|true|\"a\\\"b\"");
    gives("{{ \"x\" | toUpper | printf \"%s%s\" \"a\" }}", 0, "aX");
    gives("{{ ($labels.job | title) | len }}", 0, "3");
    gives("{{ externalURL }} {{ pathPrefix }} {{ stripPort $labels.instance }} {{ stripDomain "
          "$labels.instance }}",
          0, "http://example.org:9090/prom /prom h.example.org h:80");
    gives("{{ parseDuration \"1h30m\" }} {{ now }} {{ graphLink \"up == 1\" }}", 0,
          "5400 1 /graph?g0.expr=up+%3D%3D+1&g0.tab=0");
    gives("{{ with args 1 \"b\" }}{{ .arg0 }}{{ .arg1 }}{{ end }}", 0, "1b");
}

static void blocks_choose_repeat_and_trim(void **state)
{
    gives("{{ if gt $value 1.0 }}a{{ else if eq $value 1.0 }}b{{ else }}c{{ end }}", 1, "b");
    gives("{{ with $labels.nothing }}x{{ else with $labels.job }}{{ . }}{{ end }}", 1, "api");
    gives("{{ range $i, $s := query \"up\" | sortByLabel \"job\" }}{{ $i }}{{ $s.Labels.job }}={{ "
          ".Value }};{{ end }}",
          0, "0a=0;1b=1;");
    gives(
        "{{ range query \"up\" }}{{ if eq .Value 0.0 }}{{ continue }}{{ end }}{{ .Labels.job }}{{ "
        "break }}{{ end }}",
        0, "b");
    gives("{{ range query \"nothing\" }}x{{ else }}none{{ end }}", 0, "none");
    gives("{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ $y := 3 }}{{ end }}{{ $x }}", 0, "2");
    gives("a {{- /* no */ -}} b {{- 1 }} {{ 2 -}}  c", 0, "ab1 2c");
    gives("{{ query \"load\" | first | value | humanize }}", 0, "1.234k");
    gives("{{ reReplaceAll \"a(b*)\" \"<$1>\" \"abbaab\" }} {{ match \"b+\" \"xbx\" }}", 0,
          "<bb><><b> true");
    gives("{{ reReplaceAll \"x*\" \"-\" \"axc\" }}", 0, "-a-c-"); /* as Go's ReplaceAllString */
}

static void mistakes_say_where(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"x\n {{ nope }}", "! 2:5: function \"nope\" not defined"},
        {"{{ $x }}", "! 1:4: undefined variable \"$x\""},
        {"{{ if true }}x", "! 1:15: a block is not closed with {{end}}"},
        {"{{ end }}", "! 1:10: unexpected {{end}}"},
        {"{{ $value", "! 1:10: an action is not closed with }}"},
        {"{{ \"x }}", "! 1:4: a quoted text has no end"},
        {"{{ humanize }}", "! 1:4: wrong number of args for humanize: want 1 got 0"},
        {"{{ $value $labels }}", "! 1:4: what is no function is given arguments"},
        {"{{ break }}", "! 1:4: {{break}} outside {{range}}"},
        {"{{ define \"x\" }}a", "! 1:4: template \"x\" is not closed with {{end}}"},
        {"{{ define x }}{{ end }}", "! 1:11: the name of a template, in quotes, is wanted here"},
        {"{{ if true }}{{ define \"x\" }}{{ end }}{{ end }}",
         "! 1:17: {{define}} may not stand within a block"},
        {"{{ define \"x\" }}{{ end }}{{ define \"x\" }}{{ end }}",
         "! 1:29: template \"x\" is defined twice"},
        {"{{ define \"x\" }}{{ $labels.job }}{{ end }}",
         "! 1:20: undefined variable \"$labels\""}, /* as in Go: it sees its own $ only */
        {"{{ block \"x\" }}{{ end }}", "! 1:14: missing value for a command"},
        {"{{ template \"y\" . }}", "! template \"y\" not defined"},
        {"{{ toTime 1e300 }}", "! 1e+300 cannot be represented as a time"},
        {"{{ toDuration 1e10 }}", "! 1e+10 cannot be represented as a duration"},
        {"{{ if true }}{{ $y := 1 }}{{ end }}{{ $y }}", "! 1:39: undefined variable \"$y\""},
        {"{{ gt $value 1 }}", "! incompatible types for comparison"},
        {"{{ $value.x }}", "! can't evaluate field x of this value"},
        {"{{ first (query \"nothing\") }}", "! first() called on vector with no elements"},
        {"{{ query \"up ==\" }}", "! query: 1:6: parse error: unexpected end of input"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        gives(cases[i].text, 1, cases[i].says);
}

static void templates_call_each_other_with_variables_of_their_own(void **state)
{
    gives("{{ define \"hi\" }}<{{ . }}|{{ $ }}>{{ end }}{{ template \"hi\" $labels.job }}"
          "{{ template \"hi\" }}",
          0, "<api|api><<no value>|<no value>>");
    gives("{{ $x := 1 }}{{ template \"t\" 5 }}{{ $x }}{{ define \"t\" }}{{ $x := . }}{{ $x }}{{ "
          "end }}",
          0, "51");
    gives("{{ block \"b\" args 1 \"z\" }}{{ .arg1 }}{{ end }}+{{ template \"b\" args 2 \"y\" }}", 0,
          "z+y");
    gives("{{ define \"row\" }}{{ .Labels.job }}={{ .Value }} {{ end }}{{ range query \"up\" | "
          "sortByLabel \"job\" }}{{ template \"row\" . }}{{ end }}",
          0, "a=0 b=1 ");
    gives("{{ define \"u\" }}{{ toUpper . }}{{ end }}{{ tmpl \"u\" \"abc\" | printf \"[%s]\" }}", 0,
          "[ABC]");
    gives("{{ define \"r\" }}{{ range 3 }}{{ if eq . 1 }}{{ break }}{{ end }}{{ . }}{{ end }}{{ "
          "end }}"
          "{{ range 2 }}{{ template \"r\" }};{{ end }}",
          0, "0;0;");
    gives("{{ define \"loop\" }}{{ template \"loop\" . }}{{ end }}{{ template \"loop\" 1 }}", 0,
          "! templates call each other more than 32 times");
    gives("{{ define \"only\" }}x{{ end }}", 0, "");
}

static void times_and_durations_print_as_go_prints_them(void **state)
{
    gives("{{ 1435065584.128 | toTime }} {{ (toTime 1435065584.5).Year }} {{ (1435065584 | "
          "toTime).Unix }}",
          0, "2015-06-23 13:19:44.128 +0000 UTC 2015 1435065584");
    gives(
        "{{ toDuration 3723.5 }} {{ toDuration 60 }} {{ toDuration 0.0015 }} {{ toDuration -1.5 }} "
        "{{ toDuration 0 }} {{ toDuration 0.0000021 }} {{ (toDuration 90).Minutes }}",
        0, "1h2m3.5s 1m0s 1.5ms -1.5s 0s 2.1µs 1.5");
}

static void a_template_that_would_go_on_is_ended(void **state)
{
    char deep[2000] = "";
    size_t n = 0;
    gives("{{ range 1000000 }}{{ end }}", 0, "! the template does not end within 100000 steps");
    gives("{{ range 1000000 }}0123456789{{ end }}", 0, "! the text is longer than 16384 bytes");
    gives("{{ range 1000000 }}{{ $x := query \"up\" }}{{ end }}", 0,
          "! the template does not end within 100000 steps");
    for (unsigned i = 0; i < 40; i++)
        n += (size_t)snprintf(deep + n, sizeof(deep) - n, "{{ if true }}");
    char *got = expand(deep, 0);
    assert_non_null(strstr(got, "more than 32 levels"));
    free(got);
    gives("{{ printf \"%20000s\" \"x\" | len }}", 0, "4096");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_labels_and_pipelines_print_as_go_prints_them),
        cmocka_unit_test(blocks_choose_repeat_and_trim),
        cmocka_unit_test(templates_call_each_other_with_variables_of_their_own),
        cmocka_unit_test(times_and_durations_print_as_go_prints_them),
        cmocka_unit_test(mistakes_say_where),
        cmocka_unit_test(a_template_that_would_go_on_is_ended),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
