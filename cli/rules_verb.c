/* `telltale rules check FILE…` and `telltale rules test FILE…`: what promtool does of that name, with its words and exit codes. */
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "cli/verbs.h"
#include "detectors/detectors_rule_test.h"
#include "detectors/detectors_rules.h"

#define FAILED 1
#define USAGE 2

static int usage(FILE *to)
{
    fprintf(to, "usage: telltale rules check FILE…   are these rule files right? Exit 0, or 1 with "
                "a line for each mistake\n"
                "       telltale rules test FILE…    run unit tests of rules (promtool's form). "
                "Exit 0, or 1 with what differs\n"
                "\nRule files, tests and what is known of templates: docs/rules.md.\n");
    return to == stdout ? 0 : USAGE;
}

static int failed(const struct buf *why, enum err e)
{
    fprintf(stderr, "  FAILED:\n");
    if (why->size)
        fwrite(why->data, 1, why->size, stderr);
    else
        fprintf(stderr, "%s\n", err_text(e));
    return FAILED;
}

static int check(int argc, char **argv)
{
    int rc = 0;
    for (int i = 0; i < argc; i++) {
        const char *path = argv[i];
        uint32_t groups = 0, rules = 0;
        struct buf errors;
        buf_init(&errors, 4u << 20);
        printf("Checking %s\n", path);
        fflush(stdout);
        enum err e = detectors_rules_check(&path, 1, &groups, &rules, &errors);
        if (e == ERR_OK) {
            printf("  SUCCESS: %u rules found\n", rules);
        } else {
            rc = failed(&errors, e);
        }
        printf("\n");
        buf_done(&errors);
    }
    return rc;
}

static int test(int argc, char **argv)
{
    int rc = 0;
    for (int i = 0; i < argc; i++) {
        struct buf out;
        buf_init(&out, 16u << 20);
        printf("Unit Testing:  %s\n", argv[i]);
        fflush(stdout);
        enum err e = detectors_rule_test_run(argv[i], &out);
        if (e == ERR_OK) {
            printf("  SUCCESS\n");
        } else {
            rc = failed(&out, e);
        }
        printf("\n");
        buf_done(&out);
    }
    return rc;
}

int verbs_rules(int argc, char **argv)
{
    const char *what = argc > 0 ? argv[0] : "";
    if (strcmp(what, "--help") == 0 || strcmp(what, "-h") == 0)
        return usage(stdout);
    if (argc < 2)
        return usage(stderr);
    if (strcmp(what, "check") == 0)
        return check(argc - 1, argv + 1);
    return strcmp(what, "test") == 0 ? test(argc - 1, argv + 1) : usage(stderr);
}
