/* Prometheus' own test files (outside of this repository) against the engine: every case passes or is listed with a reason. */
#include "query/helper_promqltest.h"

#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
/* after the four headers it needs */
#include <cmocka.h>

static char *read_known(void)
{
    char path[1000];
    const char *dir = getenv("TELLTALE_FIXTURES");
    snprintf(path, sizeof path, "%s/promql/known_failures.txt", dir ? dir : "tests/fixtures");
    FILE *f = fopen(path, "rb");
    char *text = calloc(1, 1 << 20);
    if (f) {
        text[fread(text, 1, (1 << 20) - 1, f)] = 0;
        fclose(f);
    }
    return text;
}

static void test_files(void **state)
{
    char pattern[1000];
    const char *shared = getenv("TELLTALE_SHARED"), *verbose = getenv("PROMQLTEST_VERBOSE"),
               *only = getenv("PROMQLTEST_ONLY");
    glob_t found = {0};
    snprintf(pattern, sizeof pattern, "%s/promqltest/%s.test", shared ? shared : "../shared",
             only ? only : "*");
    (void)glob(pattern, 0, NULL, &found);
    if (found.gl_pathc == 0) {
        print_message("no promqltest files at %s: skipped\n", pattern);
        skip();
    }
    char *known = read_known();
    struct promqltest_totals all = {0};
    for (size_t i = 0; i < found.gl_pathc; i++) {
        struct promqltest_totals t = {0};
        promqltest_run_file(found.gl_pathv[i], known, verbose != NULL, &t);
        printf("%-60s %u of %u\n", found.gl_pathv[i], t.passed, t.passed + t.failed);
        all.passed += t.passed;
        all.failed += t.failed;
        all.unexpected += t.unexpected;
    }
    printf("passed %u of %u; not as listed: %u\n", all.passed, all.passed + all.failed,
           all.unexpected);
    free(known);
    globfree(&found);
    assert_int_equal(all.unexpected, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_files)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
