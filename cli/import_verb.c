/* The verb `telltale import prices FILE`: LiteLLM's price list -> a price document of ours. */
#include <stdio.h>
#include <string.h>

#include "base/file_in.h"
#include "base/buf.h"
#include "base/check.h"
#include "cli/verbs.h"
#include "collector/genai/genai_import.h"

struct import_args {
    const char *file, *out;
    bool verbose;
};

static int usage(int rc)
{
    fprintf(
        rc ? stderr : stdout,
        "usage: telltale import prices FILE [--out FILE] [--verbose]\n\n"
        "Reads LiteLLM's model_prices_and_context_window.json (`-`: from the standard input) and\n"
        "writes a price document for `prices:` of the configuration (docs/prices.md).\n\n"
        "          --out FILE   write there instead of the standard output\n"
        "          --verbose    name every row that is left out, with the reason\n");
    return rc;
}

static bool read_args(int argc, char **argv, struct import_args *a)
{
    if (argc < 2 || strcmp(argv[0], "prices") != 0)
        return false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--verbose") == 0)
            a->verbose = true;
        else if (strcmp(argv[i], "--out") == 0 && i + 1 < argc)
            a->out = argv[++i];
        else if (!a->file && (argv[i][0] != '-' || strcmp(argv[i], "-") == 0))
            a->file = argv[i];
        else
            return false;
    }
    return a->file != NULL;
}

static void say_skip(void *ctx, struct bytes name, enum genai_import_skip why)
{
    (void)ctx;
    fprintf(stderr, "left out: " BYTES_FMT ": %s\n", BYTES_ARG(name), genai_import_why(why));
}

static void report(const struct genai_import *i)
{
    fprintf(stderr, "%u models, %u price rows\n", i->models, i->rows);
    for (unsigned k = 0; k < GENAI_IMPORT_SKIP_COUNT; k++)
        if (i->skipped[k])
            fprintf(stderr, "left out %u: %s\n", i->skipped[k],
                    genai_import_why((enum genai_import_skip)k));
    if (i->rounded)
        fprintf(stderr, "rounded %u rates to a millionth of a dollar per million tokens\n",
                i->rounded);
}

static bool write_all(const char *path, struct bytes text)
{
    FILE *f = path ? fopen(path, "wb") : stdout;
    if (!f)
        return false;
    bool ok = fwrite(text.data, 1, text.size, f) == text.size;
    return (path ? fclose(f) : fflush(f)) == 0 && ok;
}

int verbs_import(int argc, char **argv)
{
    struct import_args a = {0};
    struct err_msg msg = {""};
    struct buf json, yaml = {0};
    if (argc > 0 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0))
        return usage(0);
    if (!read_args(argc, argv, &a))
        return usage(2);
    struct genai_import i = {.skip = a.verbose ? say_skip : NULL};
    const char *slash = strrchr(a.file, '/');
    int rc = 1;
    if (file_in_read(a.file, GENAI_IMPORT_BYTES_MAX, &json, &msg) != ERR_OK)
        fprintf(stderr, "telltale import: %s\n", msg.text);
    else if (genai_import_litellm(buf_bytes(&json), bytes_str(slash ? slash + 1 : a.file), &i,
                                  &yaml, &msg) != ERR_OK)
        fprintf(stderr, "telltale import: %s: %s\n", a.file, msg.text);
    else if (!write_all(a.out, buf_bytes(&yaml)))
        fprintf(stderr, "telltale import: %s cannot be written\n", a.out ? a.out : "the output");
    else {
        report(&i);
        rc = 0;
    }
    buf_done(&json);
    buf_done(&yaml);
    return rc;
}
