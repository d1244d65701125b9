#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/config.h"
#include "base/json_in.h"
#include "base/json_out.h"
#include "base/pool.h"
#include "base/stats.h"
#include "base/zip.h"

static void floats_are_written_as_prometheus_writes_them(void **state)
{
    static const struct {
        double v;
        const char *text;
    } cases[] = {{0, "0"},
                 {-0.0, "-0"},
                 {1, "1"},
                 {-1.5, "-1.5"},
                 {0.1, "0.1"},
                 {1e21, "1e+21"},
                 {1e20, "100000000000000000000"},
                 {1e-6, "0.000001"},
                 {9.5e-7, "9.5e-07"},
                 {123456789.125, "123456789.125"},
                 {0.30000000000000004, "0.30000000000000004"},
                 {5e-324, "5e-324"},
                 {1.7976931348623157e308, "1.7976931348623157e+308"},
                 {1764004937.123, "1764004937.123"},
                 {2.0 / 3, "0.6666666666666666"}};
    char text[JSON_OUT_PROM_FLOAT_MAX];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        size_t n = json_out_prom_float(cases[i].v, text);
        assert_string_equal(text, cases[i].text);
        assert_int_equal(n, strlen(text));
    }
    uint64_t seed = 1;
    for (unsigned i = 0; i < 20000; i++) { /* every bit pattern reads back */
        double v, back;
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        memcpy(&v, &seed, 8);
        if (v - v != 0)
            continue;
        size_t n = json_out_prom_float(v, text);
        assert_true(n < sizeof(text) && bytes_to_f64(bytes_of(text, n), &back) && back == v);
    }
}

static void json_is_escaped_and_repaired(void **state)
{
    struct buf b;
    buf_init(&b, 0);
    struct json_out j = json_out_to(&b);
    json_out_object(&j);
    json_out_key(&j, "a\"b");
    json_out_bytes(&j, BYTES_LIT("x\n\x01\xff\xc3\xa9</script>"));
    json_out_key(&j, "n");
    json_out_array(&j);
    json_out_f64(&j, 1.0 / 0.0);
    json_out_i64_str(&j, INT64_MIN);
    json_out_array_end(&j);
    json_out_object_end(&j);
    buf_u8(&b, 0);
    assert_string_equal((char *)b.data, "{\"a\\\"b\":\"x\\n\\u0001\xef\xbf\xbd\xc3\xa9\\u003c/"
                                        "script\\u003e\",\"n\":[null,\"-9223372036854775808\"]}");
    buf_done(&b);
}

static void json_errors_say_where(void **state)
{
    struct arena *a = arena_new(1u << 20);
    struct json_node *n;
    struct err_msg msg;
    assert_int_equal(json_in_tree(BYTES_LIT("{\"a\": [1, 2"), 8, a, &n, &msg), ERR_INVALID);
    assert_int_equal(json_in_tree(BYTES_LIT("{} x"), 8, a, &n, &msg), ERR_INVALID);
    assert_int_equal(json_in_tree(BYTES_LIT(""), 8, a, &n, &msg), ERR_INVALID);
    assert_int_equal(json_in_tree(BYTES_LIT("\"\xff\""), 8, a, &n, &msg), ERR_INVALID);
    assert_int_equal(json_in_tree(BYTES_LIT("[[[[1]]]]"), 3, a, &n, &msg), ERR_TOO_DEEP);
    assert_non_null(strstr(msg.text, "deeper than 3"));
    assert_int_equal(
        json_in_tree(BYTES_LIT("{\"a\":{\"b\":[1,-2.5,\"x\"]},\"i\":9007199254740993}"), 8, a, &n,
                     &msg),
        ERR_OK);
    assert_int_equal(json_in_tree(BYTES_LIT("\"\xc1\x85\""), 8, a, &n, &msg), ERR_INVALID);
    struct json_node *cut;
    assert_int_equal(json_in_tree(BYTES_LIT("\"a\\udc00b\""), 8, a, &cut, &msg), ERR_OK);
    assert_true(bytes_equal(cut->text, BYTES_LIT("a\xef\xbf\xbd"
                                                 "b")));
    int64_t i;
    assert_true(json_get_i64(n, "i", &i) && i == 9007199254740993);
    const struct json_node *b = json_get(json_get(n, "a"), "b");
    assert_true(b && b->type == JSON_ARRAY && bytes_equal(b->child->next->text, BYTES_LIT("-2.5")));
    arena_free(a);
}

static void yaml_remembers_lines_and_refuses_bombs(void **state)
{
    struct arena *a = arena_new(1u << 22);
    struct yaml_node *d;
    struct err_msg msg;
    assert_int_equal(
        yaml_in_parse(BYTES_LIT("a: 1\nb:\n  c: [x, \"2\"]\n---\nd: ~\n"), a, &d, &msg), ERR_OK);
    assert_true(bytes_equal(yaml_get_str(d, "a"), BYTES_LIT("1")));
    const struct yaml_node *c = yaml_get(yaml_get(d, "b"), "c");
    assert_int_equal(c->line, 3);
    assert_true(c->child->next->quoted && !c->child->quoted);
    assert_int_equal(yaml_get(d->next, "d")->type, YAML_NULL);
    assert_int_equal(yaml_in_parse(BYTES_LIT("a: &x [1]\nb: *x\n"), a, &d, &msg), ERR_INVALID);
    assert_non_null(strstr(msg.text, "line 1"));
    assert_int_equal(yaml_in_parse(BYTES_LIT("a: 1\na: 2\n"), a, &d, &msg), ERR_INVALID);
    assert_non_null(strstr(msg.text, "already given on line 1"));
    assert_int_equal(yaml_in_parse(BYTES_LIT("a: [1\nb: 2\n"), a, &d, &msg), ERR_INVALID);
    arena_free(a);
}

static void compression_goes_both_ways_and_stops_at_the_limit(void **state)
{
    static const enum zip_kind kinds[] = {ZIP_NONE, ZIP_GZIP, ZIP_ZLIB, ZIP_ZSTD, ZIP_SNAPPY};
    struct buf plain, packed, again;
    struct err_msg msg;
    buf_init(&plain, 0);
    buf_init(&packed, 0);
    buf_init(&again, 0);
    for (unsigned i = 0; i < 50000; i++)
        buf_printf(&plain, "%u,", i * i % 977);
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        buf_clear(&packed);
        buf_clear(&again);
        assert_int_equal(zip_deflate(kinds[k], 1, buf_bytes(&plain), &packed), ERR_OK);
        assert_int_equal(zip_inflate(kinds[k], buf_bytes(&packed), plain.size, &again, &msg),
                         ERR_OK);
        assert_true(bytes_equal(buf_bytes(&plain), buf_bytes(&again)));
        buf_clear(&again);
        assert_int_equal(zip_inflate(kinds[k], buf_bytes(&packed), plain.size - 1, &again, &msg),
                         ERR_TOO_LARGE);
        assert_int_equal(again.size, 0);
        if (kinds[k] != ZIP_NONE)
            assert_int_equal(zip_inflate(kinds[k],
                                         bytes_slice(buf_bytes(&packed), 0, packed.size - 5),
                                         plain.size, &again, &msg),
                             ERR_INVALID);
    }
    buf_clear(&packed);
    assert_int_equal(zip_deflate(ZIP_GZIP, 1, BYTES_LIT("one "), &packed), ERR_OK);
    assert_int_equal(zip_deflate(ZIP_GZIP, 1, BYTES_LIT("two"), &packed), ERR_OK);
    buf_clear(&again);
    assert_int_equal(zip_inflate(ZIP_GZIP, buf_bytes(&packed), 100, &again, &msg), ERR_OK);
    assert_true(bytes_equal(buf_bytes(&again), BYTES_LIT("one two")));
    buf_str(&packed, "garbage");
    assert_int_equal(zip_inflate(ZIP_GZIP, buf_bytes(&packed), 100, &again, &msg), ERR_INVALID);
    /* a length of 2^31 in six bytes is a lie that must not be allocated */
    assert_int_equal(
        zip_inflate(ZIP_SNAPPY, BYTES_LIT("\xff\xff\xff\xff\x07x"), (size_t)4 << 30, &again, &msg),
        ERR_INVALID);
    assert_int_equal(zip_kind_of(BYTES_LIT("GZIP")), ZIP_GZIP);
    assert_int_equal(zip_kind_of(BYTES_LIT("br")), ZIP_UNKNOWN);
    buf_done(&plain);
    buf_done(&packed);
    buf_done(&again);
}

struct settings {
    const char *data, *listen;
    bool verbose;
    uint64_t workers, memory;
    int64_t retention_ms;
    struct config_list files;
    const struct yaml_node *webhooks;
};

static const struct config_option options[] = {
    {"data", "--data", CONFIG_STR, "./telltale-data", offsetof(struct settings, data), "DIR",
     "Where."},
    {"listen.http", "--listen-http", CONFIG_ADDR, "127.0.0.1:4320",
     offsetof(struct settings, listen), "A:P", "Page."},
    {"verbose", "--verbose", CONFIG_BOOL, "false", offsetof(struct settings, verbose), NULL,
     "Talk."},
    {"workers", "--workers", CONFIG_U64, "2", offsetof(struct settings, workers), "N", "Threads."},
    {"memory_limit", "--memory-limit", CONFIG_SIZE, "512MiB", offsetof(struct settings, memory),
     "SIZE", "Memory."},
    {"retention.rows", "--retention", CONFIG_DURATION_MS, "30d",
     offsetof(struct settings, retention_ms), "D", "Keep."},
    {"files", "--file", CONFIG_LIST, NULL, offsetof(struct settings, files), "FILE", "Files."},
    {"webhooks", NULL, CONFIG_NODE, NULL, offsetof(struct settings, webhooks), NULL, "Receivers."},
};
static const struct config_table table = {options, ARRAY_LEN(options)};

static enum err read_text(const char *yaml, int argc, const char *const *argv, struct settings *s,
                          struct arena *a, struct buf *errors)
{
    char path[] = "/tmp/telltale-config-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, yaml, strlen(yaml)) == (ssize_t)strlen(yaml));
    close(fd);
    *s = (struct settings){0};
    enum err e = config_read(&table, s, path, argc, argv, a, errors);
    buf_u8(errors, 0);
    unlink(path);
    return e;
}

static void configuration_is_defaults_then_file_then_flags(void **state)
{
    struct arena *a = arena_new(64u << 20);
    struct buf errors;
    struct settings s;
    buf_init(&errors, 0);
    setenv("TELLTALE_TEST_DIR", "/var/lib/x", 1);
    const char *argv[] = {"--workers", "9", "--file=c", "--file", "d", "--verbose"};
    assert_int_equal(read_text("data: ${env:TELLTALE_TEST_DIR}/y\nworkers: 4\nretention:\n  rows: "
                               "1h30m\nfiles: [a, b]\nwebhooks:\n  - url: x\n",
                               6, argv, &s, a, &errors),
                     ERR_OK);
    assert_string_equal(s.data, "/var/lib/x/y");
    assert_string_equal(s.listen, "127.0.0.1:4320");
    assert_int_equal(s.workers, 9);
    assert_true(s.memory == 512u << 20 && s.retention_ms == 5400000 && s.verbose);
    assert_int_equal(s.files.count, 2);
    assert_string_equal(s.files.items[0], "c");
    assert_true(bytes_equal(yaml_get_str(s.webhooks->child, "url"), BYTES_LIT("x")));
    buf_done(&errors);
    arena_free(a);
}

static void every_configuration_error_has_its_own_line(void **state)
{
    struct arena *a = arena_new(64u << 20);
    struct buf errors;
    struct settings s;
    buf_init(&errors, 0);
    const char *argv[] = {"--worker", "1"};
    assert_int_equal(read_text("dta: x\nlisten:\n  http: nowhere\n  htp: 1\nmemory_limit: 5 "
                               "apples\nworkers: [1]\ndata: ${env:TELLTALE_NO_SUCH}\n",
                               2, argv, &s, a, &errors),
                     ERR_INVALID);
    const char *text = (const char *)errors.data;
    assert_non_null(strstr(text, ":1: dta: unknown key; did you mean data?\n"));
    assert_non_null(strstr(text, ":3: listen.http: 'nowhere' is not valid; give an address like"));
    assert_non_null(strstr(text, ":4: listen.htp: unknown key; did you mean listen.http?\n"));
    assert_non_null(strstr(text, ":5: memory_limit: '5 apples' is not valid; give a size"));
    assert_non_null(strstr(text, ":6: workers: give one plain value\n"));
    assert_non_null(strstr(text, ":7: data: the environment has no variable TELLTALE_NO_SUCH\n"));
    assert_non_null(strstr(text, "--worker: unknown option; did you mean --workers?\n"));
    buf_done(&errors);
    arena_free(a);
}

static void count_up(void *ctx)
{
    atomic_fetch_add((_Atomic int *)ctx, 1);
}

static void a_pool_runs_every_accepted_job_once(void **state)
{
    _Atomic int ran = 0;
    int accepted = 0;
    struct pool *p = pool_new("test", 3, 50);
    for (int i = 0; i < 2000; i++)
        accepted += pool_submit(p, count_up, &ran) == ERR_OK;
    pool_free(p);
    assert_true(accepted >= 50);
    assert_int_equal(ran, accepted);
}

STATS_COUNTER(test_a, "telltale_test_total", "why=\"a\"", "Things.");
STATS_COUNTER(test_b, "telltale_test_total", "why=\"b\"", "Things.");

static void statistics_render_one_header_a_family(void **state)
{
    struct buf b;
    buf_init(&b, 0);
    stats_add(&test_a, 2);
    stats_add(&test_b, 3);
    stats_render(&b);
    buf_u8(&b, 0);
    assert_non_null(strstr(
        (char *)b.data, "# HELP telltale_test_total Things.\n# TYPE telltale_test_total counter\n"
                        "telltale_test_total{why=\"a\"} 2\ntelltale_test_total{why=\"b\"} 3\n"));
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(floats_are_written_as_prometheus_writes_them),
        cmocka_unit_test(json_is_escaped_and_repaired),
        cmocka_unit_test(json_errors_say_where),
        cmocka_unit_test(yaml_remembers_lines_and_refuses_bombs),
        cmocka_unit_test(compression_goes_both_ways_and_stops_at_the_limit),
        cmocka_unit_test(configuration_is_defaults_then_file_then_flags),
        cmocka_unit_test(every_configuration_error_has_its_own_line),
        cmocka_unit_test(a_pool_runs_every_accepted_job_once),
        cmocka_unit_test(statistics_render_one_header_a_family),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
