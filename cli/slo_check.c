#include "cli/slo_check.h"

#include "base/check.h"
#include "detectors/detectors.h"
#include <stdio.h>
#include <string.h>

static void print_all(const struct query_slo_set *set)
{
    struct buf text;
    buf_init(&text, 0);
    for (uint32_t i = 0; i < set->count; i++) {
        query_slo_explain(&set->slos[i], NULL, &text);
        buf_str(&text, "\n");
    }
    fwrite(text.data, 1, text.size, stdout);
    buf_done(&text);
}

static void print_indicators(void)
{
    printf("\nReady-made indicators (llm: {indicator: NAME}):\n");
    for (int i = 0; i < QUERY_SLO_INDICATOR_COUNT; i++)
        if (i != QUERY_SLO_RATIO)
            printf("  %-22s %s\n", query_slo_indicator_name((enum query_slo_indicator)i),
                   query_slo_indicator_what((enum query_slo_indicator)i));
}

int slo_check_main(int argc, char **argv)
{
    struct query_slo_set set;
    struct buf errors;
    if (argc > 0 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0)) {
        printf("usage: telltale slo check [FILE|DIRECTORY]...\n\nShows what OpenSLO documents mean "
               "before they are loaded: windows, factors, how long an\noutage lasts before each "
               "alert fires, and the budget. Without a file: the built-in objectives.\n");
        print_indicators();
        return 0;
    }
    for (int i = 0; i < argc; i++)
        if (argv[i][0] == '-') {
            fprintf(stderr, "slo check: %s is not an option; valid is --help\n", argv[i]);
            return 2;
        }
    if (query_slo_set_init(&set) != ERR_OK) {
        fprintf(stderr, "slo check: out of memory\n");
        return 2;
    }
    buf_init(&errors, (size_t)1 << 20);
    enum err e = argc ? query_slo_load(&set, (const char *const *)argv, (size_t)argc, &errors)
                      : query_slo_load_defaults(&set);
    if (e == ERR_OK)
        e = detectors_slo_check(&set, &errors);
    if (e == ERR_OK)
        print_all(&set);
    if (e == ERR_OK)
        printf("%u objective%s in %u document%s: no mistakes.\n", set.count,
               set.count == 1 ? "" : "s", set.documents, set.documents == 1 ? "" : "s");
    else if (e == ERR_INVALID)
        fwrite(errors.data, 1, errors.size, stderr);
    else
        fprintf(stderr, "slo check: %s\n", err_text(e));
    buf_done(&errors);
    query_slo_set_done(&set);
    return e == ERR_OK ? 0 : 2;
}
